package tlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/watchward/watchward/crypto"
)

// Open opens the log in a directory, which it makes if there is none. Size is then what
// was appended whole and is sound: what a crash cut off at the end is left out, without
// an error, and goes from the disk with the next Append. Whoever knows that there was
// more, or is told so by Damage, must fetch it and append it again.
//
// What Sync has confirmed is not read, but for the last tile; what came after it is.
func Open(dir string) (*Log, error) {
	cache, err := lru.New[tileKey, []byte](cachedTilesMax)
	if err != nil {
		return nil, err
	}
	l := &Log{dir: filepath.Clean(dir), cache: cache, dirty: map[Path]struct{}{}, dirs: map[string]struct{}{}, unsettled: true}
	if err := l.load(); err != nil {
		return nil, fmt.Errorf("open the log in %s: %w", dir, err)
	}
	return l, nil
}

func (l *Log) load() error {
	if err := os.MkdirAll(l.dir, dirMode); err != nil {
		return err
	}
	m, err := readMarks(l.dir)
	if err != nil {
		return err
	}
	l.lastRun, l.promise = m.run, m
	l.state = state{size: m.size - m.size%TileWidth, tiles: m.tiles}
	for {
		full, err := l.loadTile(m)
		if err != nil {
			return err
		}
		if !full {
			return nil
		}
	}
}

// loadTile takes what is sound of the next tile and bundle into the state, and reports
// whether they were full, so that there may be more.
func (l *Log) loadTile(m mark) (full bool, err error) {
	bundlePath, hashesPath := l.state.open(LevelEntries), l.state.open(0)
	bundle, err := loadFile(l.dir, bundlePath, BundleBytesMax)
	if err != nil {
		return false, err
	}
	hashes, err := loadFile(l.dir, hashesPath, TileBytes)
	if err != nil {
		return false, err
	}
	next := l.state.clone()
	rest := bundle
	for len(next.tile(0)) < TileBytes {
		entry, after, err := nextEntry(rest)
		at := len(next.tile(0))
		if err != nil || len(hashes) < at+hashBytes || LeafHash(entry) != crypto.Hash(hashes[at:]) {
			break
		}
		next.add(0, crypto.Hash(hashes[at:]))
		rest = after
	}
	next.bundle = bytes.Clone(bundle[:len(bundle)-len(rest)])
	next.size += uint64(len(next.tile(0)) / hashBytes)
	if l.state.size <= m.size && next.size >= m.size && !next.agrees(l, m) {
		return false, nil // other entries than Sync confirmed: Damage tells
	}
	if len(next.bundle) > 0 {
		l.note(bundlePath)
		l.note(hashesPath)
	}
	bytesOfBundle := int64(len(next.bundle))
	sealed, err := next.lift()
	if err != nil {
		return false, err
	}
	l.state = next
	if len(sealed) == 0 {
		return false, nil
	}
	return true, l.finish(sealed, bytesOfBundle)
}

// agrees reports whether the state, before its last tile is lifted, begins as the mark says.
func (s state) agrees(l *Log, m mark) bool {
	short := s.clone()
	short.size = m.size
	root, err := view{short, l, 0}.root(m.size)
	return m.size == 0 || err == nil && root == m.root
}

// finish does what a crash may have left undone when tiles became full.
func (l *Log) finish(sealed []lifted, bytesOfBundle int64) error {
	for _, t := range sealed {
		if t.path.Level == 0 {
			bundle := Path{LevelEntries, t.path.Index, TileWidth}
			if err := errors.Join(l.finishFile(bundle, bytesOfBundle), l.finishFile(t.path, TileBytes)); err != nil {
				return err
			}
			continue
		}
		data, err := loadFile(l.dir, t.path, TileBytes)
		if err != nil {
			return err
		}
		if bytes.Equal(data, t.data) {
			l.note(t.path)
		} else if err := l.writeFull(t.path, t.data); err != nil {
			return err
		}
	}
	return nil
}

// finishFile gives a full tile its length and its name.
func (l *Log) finishFile(p Path, size int64) error {
	name := fileOf(l.dir, p)
	if info, err := os.Stat(name); err == nil && info.Size() == size {
		return nil
	}
	f, err := l.openTile(p)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	err = os.Rename(name+openSuffix, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it had the name
	}
	return err
}

// loadFile reads a tile, be it full or not; one that is missing has no bytes, and one that
// is too large is cut.
func loadFile(dir string, p Path, most int) ([]byte, error) {
	data, err := readWhole(dir, p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errLarge) {
		return nil, nil
	}
	return data[:min(len(data), most)], err
}
