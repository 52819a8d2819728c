// Package shelf keeps what a node hands out to other programs, ready to be given: the
// STIX objects of notices by the time when they were added, as TAXII serves them, and
// which notices make which MISP event. It also remembers what other servers gave, so
// that nothing goes back to where it came from.
//
// It is made from the store, which has the truth. Whoever loses it begins anew, under
// another generation. See DESIGN.md for keys and invariants.
package shelf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/google/uuid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/taxii"
)

// TLPMax is the strictest marking of what is on a shelf.
const TLPMax = notice.ExportMax

// Tables, by the first byte of a key.
const (
	tableObject  = 'o' // TLP, type, stamp → flags, version, id, JSON
	tableID      = 'i' // type, UUID → where its versions are
	tableItem    = 'n' // item id → what was put
	tableEvent   = 'e' // day (latest first), TLP, author, part → notices, change, name
	tableMember  = 'm' // as its event, then rank and item id
	tableUUID    = 'u' // MISP event UUID → key of the event
	tableOrigin  = 'x' // hash of an origin's id, item id
	tableForeign = 'f' // server, object's id → version, creator, JSON
	tableNote    = 'b' // name → what a bridge wrote down
	tableMeta    = 'z'
)

// made are the tables that are made from the store.
var made = []byte{tableObject, tableID, tableItem, tableEvent, tableMember, tableUUID, tableOrigin}

const format = 1

// Options of a Shelf.
type Options struct {
	Dir string
	Now func() time.Time
	Log *slog.Logger
	// Room refuses what others give when the disk has little left, so that no service can
	// fill it up to where the node itself stores nothing more. May be nil.
	Room func() error
	// Stated returns a notice as it was put, and whether it is still there and may go
	// out. It is asked when a MISP event is read.
	Stated func(crypto.ItemID) (intel.Stated, bool, error)
}

// A Shelf is safe for concurrent use. Writers wait for one another; readers see it as
// it was when they began, and wait for nobody.
type Shelf struct {
	o  Options
	db *badger.DB

	writing sync.Mutex // one writer; guards stamps
	stamps  taxii.Stamps

	mu   sync.RWMutex // guards meta, which is replaced after a commit
	meta meta
}

// meta is what is written with every batch.
type meta struct {
	generation uuid.UUID
	cursor     uint64 // local number in the store up to which it was put
	stamp      int64  // the last
	types      [notice.TLPAmber + 1]uint32
}

func (m *meta) encode() []byte {
	b := append([]byte{format}, m.generation[:]...)
	b = binary.AppendUvarint(b, m.cursor)
	b = binary.AppendVarint(b, m.stamp)
	for _, t := range m.types {
		b = binary.AppendUvarint(b, uint64(t))
	}
	return b
}

func (m *meta) decode(b []byte) error {
	if len(b) < 17 || b[0] != format {
		return errors.New("shelf: made by another version")
	}
	copy(m.generation[:], b[1:])
	r := reader{b: b[17:]}
	m.cursor, m.stamp = r.uvarint(), r.varint()
	for i := range m.types {
		m.types[i] = uint32(r.uvarint())
	}
	return r.done()
}

// Open opens the shelf in a directory, or begins one. One that cannot be read, or that
// another version made, is begun anew: the store has all of it.
func Open(o Options) (*Shelf, error) {
	s, err := open(o)
	if err == nil {
		return s, nil
	}
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	o.Log.Warn("the shelf of what is handed out cannot be read and is made anew", "err", err)
	if err := os.RemoveAll(o.Dir); err != nil {
		return nil, fmt.Errorf("begin the shelf anew: %w", err)
	}
	return open(o)
}

func open(o Options) (*Shelf, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	db, err := badger.Open(badgerOptions(o))
	if err != nil {
		return nil, fmt.Errorf("open shelf: %w", err)
	}
	s := &Shelf{o: o, db: db}
	err = db.View(func(txn *badger.Txn) error {
		v, err := get(txn, []byte{tableMeta})
		if v == nil || err != nil {
			return err
		}
		return s.meta.decode(v)
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if s.meta.generation == uuid.Nil {
		s.meta.generation = uuid.New()
	}
	s.stamps = taxii.After(s.meta.stamp)
	return s, nil
}

// badgerOptions: as the store's, smaller. Objects are texts that are much alike, which
// Snappy makes a quarter of; all stay in the tree, where a page is read in order.
func badgerOptions(o Options) badger.Options {
	b := badger.DefaultOptions(o.Dir).WithLogger(nil)
	b.SyncWrites = true // or a stamp could be given twice after a crash with a clock set back
	b.DetectConflicts = false
	b.NumVersionsToKeep = 1
	b.MetricsEnabled = false
	b.MemTableSize = 16 << 20
	b.NumMemtables = 2
	b.NumCompactors = 2
	b.ValueThreshold = 1 << 20
	b.ValueLogFileSize = 16 << 20
	b.Compression = options.Snappy
	b.BlockSize = 16 << 10
	b.BlockCacheSize = 8 << 20
	b.BaseTableSize = 8 << 20
	b.BaseLevelSize = 32 << 20
	b.ChecksumVerificationMode = options.OnBlockRead
	b.VerifyValueChecksum = true
	return b
}

// Close closes the files.
func (s *Shelf) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.db.Close()
}

// Generation is another text after the shelf was made anew: see taxii.Collection.
func (s *Shelf) Generation() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.meta.generation.String()
}

// Cursor is the local number of the store up to which everything was put.
func (s *Shelf) Cursor() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.meta.cursor
}

// Last is the last stamp that was given, in µs since 1970.
func (s *Shelf) Last() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.meta.stamp
}

// Reset empties it of all that is made from the store, and begins a generation. What
// was learnt of other servers stays.
func (s *Shelf) Reset() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	for _, table := range made {
		if err := s.db.DropPrefix([]byte{table}); err != nil {
			return fmt.Errorf("empty the shelf: %w", err)
		}
	}
	m := meta{generation: uuid.New(), stamp: s.meta.stamp}
	if err := s.db.Update(func(txn *badger.Txn) error { return txn.Set([]byte{tableMeta}, m.encode()) }); err != nil {
		return fmt.Errorf("empty the shelf: %w", err)
	}
	s.mu.Lock()
	s.meta = m
	s.mu.Unlock()
	return nil
}

// get returns a value, nil if there is none.
func get(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return item.ValueCopy(nil)
}

// A reader reads numbers; the first error stays.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	return number(r, v, n)
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	return number(r, v, n)
}

func number[T any](r *reader, v T, n int) T {
	if n <= 0 {
		r.bad = true
		r.b = nil
		return v
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.bad = true
		n = len(r.b)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) done() error {
	if r.bad || len(r.b) > 0 {
		return errors.New("shelf: a value is damaged")
	}
	return nil
}
