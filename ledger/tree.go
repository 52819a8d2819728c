package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

const (
	// indexEvery is after how many entries the index is written, indexMax how many may
	// wait for that: they fit into one transaction.
	indexEvery = 4096
	indexMax   = 12288
	// indexAfter is how long fewer entries wait.
	indexAfter = time.Second
	// readAtOnce is how many entries are read from the tiles at a time.
	readAtOnce = 4096
)

// errDiverged says that the tiles here hold something else than what the voters agreed
// on. Nothing may be built on that.
var errDiverged = errors.New("the tree here contradicts what the voters agreed on")

// A tree is one epoch's entries on disk: tile files, and an index of leaf hashes. A
// voter's fsm adds to it, or the mirror of a member that is no voter; never both.
//
// Only what is committed or verified comes into the tiles, so whatever they hold counts,
// also what a crash kept of them beyond the stored state: raft applies it again, and finds
// that it is known.
//
// The index is written behind, by one goroutine: keys and the state that they belong to in
// one transaction. What a crash takes from it is read from the tiles again.
type tree struct {
	log   *tlog.Log
	db    *badger.DB
	slog  *slog.Logger
	apply sync.Mutex // who changes the tree; held across disk writes

	mu      sync.RWMutex
	state   state
	fresh   map[crypto.Hash]uint64 // not handed to the index yet
	writing map[crypto.Hash]uint64 // being written; replaced, never changed
	grew    chan struct{}          // closed and replaced when state.Size grows
	room    *sync.Cond             // on mu: fresh was emptied, or err is set
	err     error                  // of the index: nothing is taken any more

	flushing sync.Mutex    // who writes the index
	stored   state         // under flushing
	loaded   bool          // all of the tiles is in the index or in fresh
	missing  *point        // set by load: what was on disk once and is not there
	kick     chan struct{} // capacity 1: write the index now
	done     chan struct{}
	finished chan struct{}
}

// A state is how far a tree has come. It is stored as it is here, big endian.
type state struct {
	Size    uint64 // entries in the tiles
	Applied uint64 // raft index whose entries are all within Size; 0 for a mirror
	Time    int64  // ms since 1970, of the last pack, by its leader's clock
	Indexed uint64 // entries whose leaf hashes are in the index
}

// A point is a state that was on disk, tiles and all, when it was written.
type point struct {
	state
	Root crypto.Hash // of Size entries
}

var (
	keyState = []byte("s")
	keyPoint = []byte("p")
)

const keyLeaf = 'h' // and the leaf hash; the value is the index, uint64 big endian

// openTree opens the tree in a directory, which it makes if there is none.
func openTree(dir string, log *slog.Logger) (*tree, error) {
	tiles, err := tlog.Open(filepath.Join(dir, "tiles"))
	if err != nil {
		return nil, err
	}
	index := filepath.Join(dir, "index")
	if err := checkTables(index); err != nil {
		return nil, errors.Join(indexError(index, err), tiles.Close())
	}
	db, err := badger.Open(indexOptions(index))
	if err != nil {
		return nil, errors.Join(indexError(index, err), tiles.Close())
	}
	t := &tree{
		log: tiles, db: db, slog: log,
		fresh: make(map[crypto.Hash]uint64), grew: make(chan struct{}), kick: make(chan struct{}, 1),
		done: make(chan struct{}), finished: make(chan struct{}),
	}
	t.room = sync.NewCond(&t.mu)
	if err := t.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the ledger in %s: %w", dir, err), db.Close(), tiles.Close())
	}
	t.loaded = true
	go t.writeIndex()
	return t, nil
}

// indexOptions are those of an index of small keys that can be lost at its end.
func indexOptions(dir string) badger.Options {
	o := badger.DefaultOptions(dir).WithLogger(nil)
	o.SyncWrites = false // what is lost is read from the tiles again; see sync
	o.DetectConflicts = false
	o.NumVersionsToKeep = 1
	o.MetricsEnabled = false
	o.MemTableSize = 8 << 20 // a transaction may fill 15 % of it: 13,107 keys
	o.NumMemtables = 2
	o.NumLevelZeroTables = 4
	o.NumLevelZeroTablesStall = 10
	o.BlockCacheSize = 8 << 20
	o.IndexCacheSize = 0 // indexes and Bloom filters stay in memory: ≈ 2 bytes a key
	o.NumCompactors = 2
	o.BaseTableSize = 4 << 20
	o.BaseLevelSize = 32 << 20
	o.ValueLogFileSize = 16 << 20 // nothing is large enough for it
	return o
}

// load brings index and tiles together.
func (t *tree) load() error {
	var last point
	err := t.db.View(func(txn *badger.Txn) error {
		return errors.Join(get(txn, keyState, &t.state), get(txn, keyPoint, &last))
	})
	if err != nil {
		return err
	}
	size := t.log.Size()
	if size < max(t.state.Size, t.state.Indexed) {
		// The disk kept the index and lost tiles: a power cut, or damage. The state goes
		// back to one whose tiles are there, and raft applies what follows again.
		if err := t.dropIndex(size); err != nil {
			return fmt.Errorf("drop what the index has more than the tiles: %w", err)
		}
		t.state = last.state
	}
	if size < last.Size {
		t.missing = &last
	}
	t.state.Size, t.state.Indexed = size, min(size, t.state.Indexed)
	for at := t.state.Indexed; at < size; {
		to := min(at+readAtOnce, size)
		entries, err := t.log.Entries(at, to)
		if errors.As(err, new(tlog.ErrCorrupt)) {
			// Nothing says yet that these entries were applied, so they come again.
			t.state.Size = at
			return t.log.Rewind(at)
		}
		if err != nil {
			return err
		}
		places, err := t.places(entries, at)
		if err != nil {
			return err
		}
		maps.Copy(t.fresh, places)
		at, t.state.Indexed = to, to
		if err := t.flush(); err != nil {
			return err
		}
	}
	return nil
}

// places returns where the leaves of entries are that begin at an index, without those
// that are known: the first place counts. The caller holds apply, or is alone.
func (t *tree) places(entries [][]byte, at uint64) (map[crypto.Hash]uint64, error) {
	known := t.lookup()
	defer known.close()
	out := make(map[crypto.Hash]uint64, len(entries))
	for i, e := range entries {
		leaf := tlog.LeafHash(e)
		if _, here := out[leaf]; here {
			continue
		}
		_, before, err := known.index(leaf)
		if err != nil {
			return nil, err
		}
		if !before {
			out[leaf] = at + uint64(i)
		}
	}
	return out, nil
}

func get(txn *badger.Txn, key []byte, s any) error {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return item.Value(func(v []byte) error {
		_, err := binary.Decode(v, binary.BigEndian, s)
		return err
	})
}

func put(txn *badger.Txn, key []byte, s any) error {
	v, err := binary.Append(nil, binary.BigEndian, s)
	if err != nil {
		return err
	}
	return txn.Set(key, v)
}

// dropIndex deletes the keys of entries from size on. It looks at every key.
func (t *tree) dropIndex(size uint64) error {
	var stale [][]byte
	err := t.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{keyLeaf}, PrefetchValues: false})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			err := it.Item().Value(func(v []byte) error {
				if binary.BigEndian.Uint64(v) >= size {
					stale = append(stale, it.Item().KeyCopy(nil))
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	batch := t.db.NewWriteBatch()
	defer batch.Cancel()
	for _, key := range stale {
		if err := batch.Delete(key); err != nil {
			return err
		}
	}
	return batch.Flush()
}

// Size returns the number of entries, all of them indexed.
func (t *tree) Size() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.state.Size
}

// now returns the state.
func (t *tree) now() state {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.state
}

// grown returns a channel that is closed when the tree grows next.
func (t *tree) grown() <-chan struct{} {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.grew
}

func (t *tree) Root(size uint64) (crypto.Hash, error)          { return t.log.Root(size) }
func (t *tree) Edge(size uint64) ([]crypto.Hash, error)        { return t.log.Edge(size) }
func (t *tree) Tile(path string) ([]byte, error)               { return t.log.Tile(path) }
func (t *tree) Entries(from, to uint64) ([][]byte, error)      { return t.log.Entries(from, to) }
func (t *tree) Repair(path string, data []byte) error          { return t.log.Repair(path, data) }
func (t *tree) Consistency(a, b uint64) ([]crypto.Hash, error) { return t.log.Consistency(a, b) }
func (t *tree) Inclusion(index, size uint64) ([]crypto.Hash, error) {
	return t.log.Inclusion(index, size)
}

// index returns where the entry with a leaf hash is.
func (t *tree) index(leaf crypto.Hash) (uint64, bool, error) {
	t.mu.RLock()
	at, ok := t.fresh[leaf]
	if !ok {
		at, ok = t.writing[leaf]
	}
	t.mu.RUnlock()
	if ok {
		return at, true, nil
	}
	txn := t.db.NewTransaction(false)
	defer txn.Discard()
	at, ok, err := stored(txn, leaf)
	if err != nil {
		return 0, false, indexError(t.db.Opts().Dir, err)
	}
	return at, ok, nil
}

// stored returns what the index on disk says of a leaf hash.
func stored(txn *badger.Txn, leaf crypto.Hash) (at uint64, ok bool, err error) {
	var key [1 + len(leaf)]byte
	key[0] = keyLeaf
	copy(key[1:], leaf[:])
	item, err := txn.Get(key[:])
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, false, nil
	}
	if err == nil {
		err = item.Value(func(v []byte) error {
			at = binary.BigEndian.Uint64(v)
			return nil
		})
	}
	return at, err == nil, err
}

// checkTables reads all tables of the index before Badger does: a key that a flipped bit
// hides would come in twice, and Badger says of a key in a damaged block that there is
// none, or ends the process.
func checkTables(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := checkTable(file); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	return nil
}

func checkTable(file string) (err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil { // what Badger has for an error
			err = fmt.Errorf("a damaged table: %.200v", p)
		}
	}()
	o := indexOptions("")
	t, err := table.OpenInMemoryTable(raw, 0, &table.Options{BlockSize: o.BlockSize, Compression: o.Compression})
	if err != nil {
		return err
	}
	return t.VerifyChecksum()
}

func indexError(dir string, err error) error {
	return fmt.Errorf("the ledger's index in %s cannot be read: %w: if the disk is well, stop the node and remove that directory: the index is made again from the tiles", dir, err)
}

// A lookup finds leaves as index does, many of them in one transaction, for who holds
// apply: nobody else adds to fresh. The maps are taken before the transaction begins, so
// what is written meanwhile is in the one or the other.
type lookup struct {
	fresh, writing map[crypto.Hash]uint64
	txn            *badger.Txn
}

func (t *tree) lookup() *lookup {
	t.mu.RLock()
	l := &lookup{fresh: t.fresh, writing: t.writing}
	t.mu.RUnlock()
	l.txn = t.db.NewTransaction(false)
	return l
}

func (l *lookup) index(leaf crypto.Hash) (uint64, bool, error) {
	if at, ok := l.fresh[leaf]; ok {
		return at, true, nil
	}
	if at, ok := l.writing[leaf]; ok {
		return at, true, nil
	}
	return stored(l.txn, leaf)
}

func (l *lookup) close() { l.txn.Discard() }

// add applies a pack: what is not there yet is appended, and the result says for each
// entry where it is. applied is the pack's raft index, ms its leader's time.
func (t *tree) add(entries [][]byte, applied uint64, ms int64) ([]Appended, error) {
	t.apply.Lock()
	defer t.apply.Unlock()
	next := t.Size()
	known := t.lookup()
	defer known.close()
	out := make([]Appended, len(entries))
	more := make([][]byte, 0, len(entries))
	places := make(map[crypto.Hash]uint64, len(entries)) // of this pack
	for i, e := range entries {
		leaf := tlog.LeafHash(e)
		at, here := places[leaf]
		if !here {
			var err error
			if at, here, err = known.index(leaf); err != nil {
				return nil, indexError(t.db.Opts().Dir, err)
			}
		}
		if !here {
			at = next
			places[leaf] = at
			more = append(more, e)
			next++
		}
		out[i] = Appended{at, here}
	}
	return out, t.extend(more, places, applied, ms)
}

// Append adds verified entries at the end, for a mirror.
func (t *tree) Append(entries [][]byte) error { return t.appendAt(t.Size(), entries) }

// errMoved says that the tree has grown meanwhile.
var errMoved = errors.New("the tree has grown meanwhile")

// appendAt adds verified entries that belong at an index, if that is where the tree ends.
func (t *tree) appendAt(index uint64, entries [][]byte) error {
	t.apply.Lock()
	defer t.apply.Unlock()
	if t.Size() != index {
		return errMoved
	}
	for part := range slices.Chunk(entries, readAtOnce) {
		s := t.now()
		places, err := t.places(part, s.Size)
		if err != nil {
			return err
		}
		if err := t.extend(part, places, s.Applied, s.Time); err != nil {
			return err
		}
	}
	return nil
}

// extend appends entries to the tiles, and makes them known. The caller holds apply.
func (t *tree) extend(entries [][]byte, places map[crypto.Hash]uint64, applied uint64, ms int64) error {
	if len(entries) > 0 {
		if err := t.log.Append(entries); err != nil {
			return err
		}
	}
	return t.publish(places, t.Size()+uint64(len(entries)), applied, ms)
}

// settle says which raft index the tree is at: what was applied up to it is here.
func (t *tree) settle(applied uint64, ms int64) error {
	t.apply.Lock()
	defer t.apply.Unlock()
	return t.extend(nil, nil, applied, ms)
}

// publish makes new entries known, and waits while the index is too far behind.
func (t *tree) publish(places map[crypto.Hash]uint64, size, applied uint64, ms int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.fresh)+len(places) > indexMax && len(t.fresh) > 0 && t.err == nil {
		t.wake()
		t.room.Wait()
	}
	if t.err != nil {
		return t.err
	}
	maps.Copy(t.fresh, places)
	t.state.Applied, t.state.Time = applied, ms
	if size > t.state.Size {
		t.state.Size = size
		close(t.grew)
		t.grew = make(chan struct{})
	}
	if len(t.fresh) >= indexEvery {
		t.wake()
	}
	return nil
}

func (t *tree) wake() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// writeIndex writes the index behind what is appended.
func (t *tree) writeIndex() {
	defer close(t.finished)
	tick := time.NewTicker(indexAfter)
	defer tick.Stop()
	for {
		select {
		case <-t.done:
			return
		case <-t.kick:
		case <-tick.C:
		}
		if err := t.flush(); err != nil {
			t.slog.Error("the ledger's index cannot be written", "err", err)
			return
		}
	}
}

// flush writes what waits for the index, with the state that it leads to.
func (t *tree) flush() error {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	t.mu.Lock()
	if t.err != nil || len(t.fresh) == 0 && t.state == t.stored {
		defer t.mu.Unlock()
		return t.err
	}
	t.writing, t.fresh = t.fresh, make(map[crypto.Hash]uint64)
	if t.loaded {
		t.state.Indexed = t.state.Size
	}
	s := t.state
	t.room.Broadcast()
	t.mu.Unlock()

	err := t.db.Update(func(txn *badger.Txn) error {
		for leaf, at := range t.writing {
			key := append(make([]byte, 0, 1+len(leaf)), keyLeaf)
			if err := txn.Set(append(key, leaf[:]...), binary.BigEndian.AppendUint64(nil, at)); err != nil {
				return err
			}
		}
		return put(txn, keyState, s)
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.err = fmt.Errorf("write the ledger's index: %w", err)
		t.room.Broadcast()
		return t.err
	}
	t.writing, t.stored = nil, s
	return nil
}

// Sync returns when all that was added before is on disk, and remembers that it was.
func (t *tree) Sync() error {
	s := t.now()
	root, err := t.log.Root(s.Size)
	if err != nil {
		return err
	}
	if err := errors.Join(t.flush(), t.log.Sync()); err != nil {
		return err
	}
	err = t.db.Update(func(txn *badger.Txn) error { return put(txn, keyPoint, point{s, root}) })
	if err != nil {
		return fmt.Errorf("write the ledger's index: %w", err)
	}
	return t.db.Sync()
}

// close writes the index and closes the files. Nobody may use the tree any more.
func (t *tree) close() error {
	close(t.done)
	<-t.finished
	return errors.Join(t.flush(), t.log.Close(), t.db.Close())
}
