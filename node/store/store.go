// Package store keeps what a node knows, in one Badger directory: envelopes by
// chain and by local arrival, every item by its id, and for each indicator the
// evidence and a summary that one read answers a lookup with.
//
// One goroutine writes. What it is asked while a commit is under way goes into
// the next one, so many callers share one fsync. A write is acknowledged when
// it is on disk; a reader sees all of a batch or nothing.
//
// Times are milliseconds since the Unix epoch. A local number counts what this
// node stored, in order, from 1; it is the cursor of everything that follows.
// See DESIGN.md for the tables.
package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
)

// Errors that a caller can act on.
var (
	// ErrFull: the disk has too little space left. Reading goes on; writing
	// works again, without a restart, once there is space.
	ErrFull = errors.New("disk is nearly full, so nothing more is stored: free some space, writing then goes on by itself")
	// ErrBroken: a write failed in a way after which nobody can say what is on
	// disk. Nothing more is written until the node starts again.
	ErrBroken = errors.New("writing to disk failed, so nothing more is stored: check the disk (dmesg), then restart watchward")
	// ErrClosed: the store is closed or closing.
	ErrClosed = errors.New("store is closed")
	// ErrUnknown: no such notice is here.
	ErrUnknown = errors.New("no such notice is here")
)

// ReserveDefault is the space in bytes that is never used: what Badger may
// still write after the last batch (memtables to flush, one round of
// compaction). Its files are memory-mapped, so running out kills the process.
const ReserveDefault = 256 << 20

// Options of Open. The zero value of each field but Dir is usable.
type Options struct {
	Dir      string // made if missing, mode 0700
	InMemory bool   // nothing on disk, for tests; Dir is ignored
	Small    bool   // memtables of 4 MiB, for tests with hundreds of stores: a batch has 600 KiB at most

	Now        func() time.Time      // nil = time.Now
	Log        *slog.Logger          // nil = none
	Registerer prometheus.Registerer // nil = no metrics

	// Cut, if set, says what counts of a chain. It is asked with each envelope
	// from the one writing goroutine, and must be quick; see Recut.
	Cut func(crypto.ChainID) Cut

	// Reserve is the free space in bytes below which nothing is written;
	// 0 = ReserveDefault.
	Reserve uint64

	// OnWrite, if set, is shown every key and value that is written (nil
	// value: the key is deleted), before they are committed and from the one
	// writing goroutine. It is for measuring and must not keep the slices.
	OnWrite func(key, value []byte)
}

// A Store is safe for concurrent use.
type Store struct {
	o        Options
	log      *slog.Logger
	db       *badger.DB
	frontier *mesh.Frontier
	metrics  *metrics
	commit   func(*badger.Txn) error          // seam for tests
	free     func(dir string) (uint64, error) // seam for tests

	presence *presence
	recall   *recall

	ops    chan *op      // bounded by opsMax
	stop   chan struct{} // closed by Close
	gone   chan struct{} // closed when the writer has ended
	wait   sync.WaitGroup
	closed sync.Once
	failed chan struct{} // closed with the latch

	mu      sync.RWMutex // guards what follows; the writer alone changes it
	meta    meta
	chains  map[crypto.ChainID]*chainState // values are never changed, only replaced
	numbers map[crypto.MemberID]uint32
	members []crypto.MemberID // by number
	changed chan struct{}     // closed and replaced with every commit
	broken  error             // the latch
}

// Open opens or makes the store in o.Dir. One process at a time can have it.
func Open(o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Reserve == 0 {
		o.Reserve = ReserveDefault
	}
	s := &Store{
		o: o, log: o.Log, frontier: mesh.NewFrontier(),
		commit: func(t *badger.Txn) error { return t.Commit() }, free: freeSpace,
		ops: make(chan *op, opsMax), stop: make(chan struct{}), gone: make(chan struct{}),
		failed: make(chan struct{}), changed: make(chan struct{}),
		chains: map[crypto.ChainID]*chainState{}, numbers: map[crypto.MemberID]uint32{},
	}
	if !o.InMemory {
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	db, err := openBadger(badgerOptions(o, s))
	if err != nil {
		return nil, fmt.Errorf("open store in %s: %w", o.Dir, err)
	}
	s.db = db
	if err = s.load(); err == nil {
		s.metrics, err = newMetrics(s, o.Registerer)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store in %s: %w", o.Dir, err), db.Close())
	}
	s.presence, s.recall = newPresence(s.meta.indicators), newRecall(s.meta.indicators)
	indicators := s.meta.indicators // before the writer changes it
	s.wait.Go(func() { s.fill(indicators) })
	s.wait.Go(s.write)
	if !o.InMemory {
		s.wait.Go(s.collect)
	}
	return s, nil
}

// badgerOptions states every option that matters here and why.
func badgerOptions(o Options, s *Store) badger.Options {
	dir := o.Dir
	if o.InMemory {
		dir = ""
	}
	b := badger.DefaultOptions(dir).WithInMemory(o.InMemory).WithLogger(badgerLog{s})
	b.SyncWrites = true       // acknowledged means on disk
	b.DetectConflicts = false // there is one writer
	b.NumVersionsToKeep = 1   // nothing reads the past
	b.MetricsEnabled = false  // expvar is global state

	// Memory. Arenas of memtables are the largest anonymous memory: 1.3 × 32 MiB
	// each, one filling and two waiting for the disk. A transaction may fill
	// 15 % of one: 52,428 keys or 4.8 MiB, the value log apart.
	b.MemTableSize = 32 << 20
	b.NumMemtables = 2
	// Snappy takes a third off the tables, mostly the versions and offsets that
	// Badger keeps of each key: 2.5 times the envelopes instead of 3.2. It costs
	// a quarter of the speed of writing; ZSTD would take a tenth more for half of
	// it. Larger blocks give it more to work with. The few blocks that are read
	// again and again are kept unpacked.
	b.Compression = options.Snappy
	b.BlockSize = 8 << 10
	b.BlockCacheSize = 16 << 20
	b.IndexCacheSize = 0 // indexes and bloom filters stay in memory: ≈ 2 bytes a key
	b.NumCompactors = 2  // the least that Badger allows, beside two cores' other work
	b.BaseTableSize = 8 << 20
	b.BaseLevelSize = 32 << 20

	// Envelopes of more than some items go to the value log, so that compaction
	// does not copy them again and again. A single notice (≈ 3.8 KiB with its
	// signature) stays in the tree and needs no second fsync.
	b.ValueThreshold = 4 << 10
	if o.InMemory {
		b.ValueThreshold = 1 << 20 // there is no value log
	}
	if o.Small {
		b.MemTableSize, b.ValueThreshold = 4<<20, 256<<10
	}
	b.ValueLogFileSize = 256 << 20 // what one collection rewrites, and Open scans

	// A flipped bit must not become a word: blocks and values are checked when
	// they are read, which costs less than reading all tables at the start.
	b.ChecksumVerificationMode = options.OnBlockRead
	b.VerifyValueChecksum = true
	return b
}

// Close waits for what was accepted to be written, then closes the files.
// Writes that come later get ErrClosed. Once a write has failed it leaves the
// files to the end of the process, as a crash would: Badger would write its
// tables again and again until that works, on a disk that nobody can trust.
func (s *Store) Close() error {
	err := error(nil)
	s.closed.Do(func() {
		close(s.stop)
		s.wait.Wait()
		s.metrics.unregister()
		if s.latched() != nil {
			return // whoever wrote, and who watches Failed, was told
		}
		files := make(chan error, 1)
		go func() { files <- s.db.Close() }()
		select {
		case e := <-files:
			if e != nil {
				err = fmt.Errorf("close store: %w", e)
			}
		case <-s.failed:
			err = fmt.Errorf("close store: %w", s.latched())
		}
	})
	return err
}

// Frontier is every chain held here; it follows each durable commit.
func (s *Store) Frontier() *mesh.Frontier { return s.frontier }

// Failed is closed when the store refuses to write for good (ErrBroken). The
// process should then end: after a failed fsync only a restart shows what the
// disk has.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Changed is closed at the next commit. Take it before reading, read, then
// wait on it.
func (s *Store) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// Last returns the last local number.
func (s *Store) Last() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.meta.local
}

func (s *Store) now() int64 { return s.o.Now().UnixMilli() }

// latch makes every later write fail with ErrBroken.
func (s *Store) latch(cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = fmt.Errorf("%w (%w)", ErrBroken, cause)
		s.noteFailure(cause)
		close(s.failed)
	}
	return s.broken
}

func (s *Store) latched() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.broken
}
