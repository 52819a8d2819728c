package tlog

import (
	"errors"
	"fmt"
	"os"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/watchward/watchward/crypto"
)

// cachedTilesMax bounds the full tiles of hashes in memory: 4 MiB.
const cachedTilesMax = 512

// ErrCorrupt says that what lies on disk is not what the tree says: damaged, missing or
// exchanged. The cure is Repair with the same tile from a peer, or Append for what Open
// left out.
type ErrCorrupt struct {
	Tile string // path of the full tile
	Why  string
}

func (e ErrCorrupt) Error() string {
	return fmt.Sprintf("%s is damaged (%s): fetch it again from a peer", e.Tile, e.Why)
}

// A Log is a Merkle log of RFC 6962 in a directory, laid out as c2sp.org/tlog-tiles.
// One process may have it open. All methods are safe for concurrent use; readers do not
// wait for the disk of who appends. What readers return must not be changed.
type Log struct {
	dir   string
	cache *lru.Cache[tileKey, []byte] // verified

	syncing sync.Mutex // one Sync or Rewind at a time; taken before writing
	lastRun uint64     // number of the last mark, owned by syncing

	writing   sync.Mutex // owns the files and what follows
	files     [2]*os.File
	unsettled bool // the disk may hold more than the state
	dirty     map[Path]struct{}
	dirs      map[string]struct{}
	failed    error // of a Sync: nothing is written any more

	mu      sync.RWMutex // owns what follows; held for moments
	state   state
	reign   uint64
	promise mark // what Sync had made durable and Open did not find
}

type tileKey struct {
	reign uint64
	level int
	index uint64
}

// Size returns the number of entries.
func (l *Log) Size() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.size
}

// Damage returns an ErrCorrupt if Open found less than Sync had made durable and it has not
// been appended again, else nil. The log is sound up to Size but lacks what it once said
// that it had.
func (l *Log) Damage() error {
	l.mu.RLock()
	promise, at := l.promise, l.state.open(LevelEntries)
	l.mu.RUnlock()
	if promise.size == 0 {
		return nil
	}
	root, err := l.Root(promise.size)
	switch {
	case err != nil:
		return ErrCorrupt{at.String(), fmt.Sprintf("there were %d entries", promise.size)}
	case root != promise.root:
		return ErrCorrupt{at.String(), fmt.Sprintf("the first %d entries were others", promise.size)}
	}
	return nil
}

// Append adds entries of 1 to EntryBytesMax bytes, all or none. They are with the
// operating system when it returns, not yet on disk: see Sync.
func (l *Log) Append(entries [][]byte) error {
	leaves := make([]crypto.Hash, len(entries))
	for i, entry := range entries {
		if len(entry) == 0 || len(entry) > EntryBytesMax {
			return fmt.Errorf("append an entry of %d bytes: want 1 to %d", len(entry), EntryBytesMax)
		}
		leaves[i] = LeafHash(entry)
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.prepare(); err != nil {
		return err
	}
	next := l.state.clone() // only who holds writing changes it
	for len(entries) > 0 {
		n := min(len(entries), TileWidth-next.width())
		if err := l.extend(&next, entries[:n], leaves[:n]); err != nil {
			l.unsettled = true
			return fmt.Errorf("append to the log in %s: %w", l.dir, err)
		}
		entries, leaves = entries[n:], leaves[n:]
	}
	l.mu.Lock()
	l.state = next
	l.mu.Unlock()
	return nil
}

// prepare makes the files agree with the state. Needs writing.
func (l *Log) prepare() error {
	if l.failed != nil {
		return l.failed
	}
	if !l.unsettled {
		return nil
	}
	if err := l.settle(); err != nil {
		return fmt.Errorf("clear the end of the log in %s: %w", l.dir, err)
	}
	l.unsettled = false
	return nil
}

// extend adds entries to the open bundle and tile, of which they fill no more than the
// rest. Needs writing.
func (l *Log) extend(next *state, entries [][]byte, leaves []crypto.Hash) error {
	bundleAt, hashesAt := len(next.bundle), len(next.tile(0))
	bundle, err := JoinBundle(next.bundle, entries...)
	if err != nil {
		return err
	}
	next.bundle = bundle
	for _, leaf := range leaves {
		next.add(0, leaf)
	}
	if err := l.write(next.open(LevelEntries), bundle, bundleAt); err != nil {
		return err
	}
	if err := l.write(next.open(0), next.tile(0), hashesAt); err != nil {
		return err
	}
	next.size += uint64(len(leaves))
	full, err := next.lift()
	if err != nil {
		return err
	}
	return l.keep(full)
}

// keep gives the names of full tiles to what has become full. Needs writing.
func (l *Log) keep(full []lifted) error {
	for _, t := range full {
		if t.path.Level > 0 {
			if err := l.writeFull(t.path, t.data); err != nil {
				return err
			}
			continue
		}
		bundle := Path{LevelEntries, t.path.Index, TileWidth}
		if err := errors.Join(l.seal(bundle), l.seal(t.path)); err != nil {
			return err
		}
	}
	return nil
}

// Sync returns when everything that was appended before is on disk. After an error of
// the disk the log takes nothing more (the error comes again) until it is opened anew.
// Appends and readers do not wait for it.
func (l *Log) Sync() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	return l.sync()
}

// sync needs syncing.
func (l *Log) sync() error {
	l.writing.Lock()
	failed, files, dirs := l.failed, l.dirty, l.dirs
	now := view{l.state, l, l.reign}
	l.dirty, l.dirs = map[Path]struct{}{}, map[string]struct{}{}
	l.writing.Unlock()
	if failed != nil {
		return failed
	}
	err := l.flush(now, files, dirs)
	if err == nil {
		return nil
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	// What the disk did not take may look clean from now on: no second try.
	l.failed = fmt.Errorf("the log in %s has not reached the disk: restart after mending the disk: %w", l.dir, err)
	return l.failed
}

// flush makes files durable, and then the mark that says so.
func (l *Log) flush(now view, files map[Path]struct{}, dirs map[string]struct{}) error {
	if len(files) == 0 && len(dirs) == 0 {
		return nil
	}
	for p := range files {
		if err := l.syncTile(p, now.size); err != nil {
			return err
		}
	}
	for dir := range dirs {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	if l.Damage() != nil {
		return nil // the promise stands until it is kept
	}
	return l.putMark(now)
}

// Close makes everything durable, as Sync, and closes the files.
func (l *Log) Close() error {
	err := l.Sync()
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.failed == nil {
		l.failed = fmt.Errorf("append to the log in %s: %w", l.dir, os.ErrClosed)
	}
	return errors.Join(err, l.closeFiles())
}

// Rewind drops entries so that size are left, on disk too when it returns. Readers of
// what is dropped may get errors. A size above Size is an error.
func (l *Log) Rewind(size uint64) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if err := l.sync(); err != nil { // a mark is never ahead of the disk
		return err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	now := view{l.state, l, l.reign}
	if size >= now.size {
		if size > now.size {
			return fmt.Errorf("rewind to %d: the log in %s has %d entries", size, l.dir, now.size)
		}
		return l.prepare()
	}
	next, err := now.cut(size)
	if err != nil {
		return fmt.Errorf("rewind the log in %s to %d: %w", l.dir, size, err)
	}
	if err := l.putMark(view{next, l, l.reign}); err != nil {
		return fmt.Errorf("rewind the log in %s to %d: %w", l.dir, size, err)
	}
	l.mu.Lock()
	l.state, l.promise = next, mark{}
	l.reign++
	l.mu.Unlock()
	l.unsettled = true
	return l.prepare()
}
