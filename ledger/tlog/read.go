package tlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/watchward/watchward/crypto"
)

// view returns the log as it is now.
func (l *Log) view() view {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return view{l.state, l, l.reign}
}

// at returns the log as it is now if it has size entries.
func (l *Log) at(size uint64) (view, error) {
	v := l.view()
	if size > v.size {
		return v, fmt.Errorf("%d entries are asked of the log in %s, which has %d", size, l.dir, v.size)
	}
	return v, nil
}

// Root returns the root of the first size entries.
func (l *Log) Root(size uint64) (crypto.Hash, error) {
	v, err := l.at(size)
	if err != nil {
		return crypto.Hash{}, err
	}
	return v.root(size)
}

func (v view) root(size uint64) (crypto.Hash, error) {
	edge, err := v.edge(size)
	if err != nil {
		return crypto.Hash{}, err
	}
	return RootFromEdge(size, edge)
}

// Check returns nil only if the first size entries have the root.
func (l *Log) Check(size uint64, root crypto.Hash) error {
	own, err := l.Root(size)
	if err == nil && own != root {
		err = fmt.Errorf("the first %d entries in %s have the root %s, not %s", size, l.dir, own, root)
	}
	return err
}

// Edge returns the edge of the log of size entries: see RootFromEdge.
func (l *Log) Edge(size uint64) ([]crypto.Hash, error) {
	v, err := l.at(size)
	if err != nil {
		return nil, err
	}
	return v.edge(size)
}

func (v view) edge(size uint64) ([]crypto.Hash, error) {
	hashes, err := v.ReadHashes(edgeIndexes(size))
	return hashesOf(hashes), err
}

// Inclusion returns the audit path of the entry at index in the log of size entries.
func (l *Log) Inclusion(index, size uint64) ([]crypto.Hash, error) {
	v, err := l.at(size)
	if err != nil {
		return nil, err
	}
	if index >= size {
		return nil, fmt.Errorf("entry %d is not in a log of %d entries", index, size)
	}
	path, err := sumdb.ProveRecord(int64(size), int64(index), v)
	return hashesOf(path), err
}

// Consistency returns the proof that the log of a entries is the beginning of that of b.
// For a = 0 and for a = b it is empty.
func (l *Log) Consistency(a, b uint64) ([]crypto.Hash, error) {
	v, err := l.at(b)
	if err != nil {
		return nil, err
	}
	if a > b {
		return nil, fmt.Errorf("a log of %d entries is not the beginning of one of %d", a, b)
	}
	if a == 0 {
		return nil, nil
	}
	proof, err := sumdb.ProveTree(int64(b), int64(a), v)
	return hashesOf(proof), err
}

func hashesOf(in []sumdb.Hash) []crypto.Hash {
	out := make([]crypto.Hash, len(in))
	for i, h := range in {
		out[i] = crypto.Hash(h)
	}
	return out
}

// Entries returns the entries from (inclusive) to (exclusive), each verified. Memory is
// the caller's to bound: ask for some thousands at a time.
func (l *Log) Entries(from, to uint64) ([][]byte, error) {
	v, err := l.at(to)
	if err != nil {
		return nil, err
	}
	if from > to {
		return nil, fmt.Errorf("entries from %d to %d", from, to)
	}
	out := make([][]byte, 0, min(to-from, 1<<16))
	for at := from; at < to; {
		n, first := at/TileWidth, at%TileWidth
		last := min(to-n*TileWidth, TileWidth)
		data, err := v.entries(n, int(last))
		if err != nil {
			return nil, err
		}
		entries, err := SplitBundle(data, int(last))
		if err != nil {
			return nil, err
		}
		out = append(out, entries[first:]...)
		at = n*TileWidth + last
	}
	return out, nil
}

// Tile returns the bytes of a tile or an entry bundle, verified. The path is as in
// ParsePath (error: ErrPath). A partial one may have any width that is there, also when the
// tile has been filled since. What is not there yet is fs.ErrNotExist, what is damaged
// ErrCorrupt.
func (l *Log) Tile(path string) ([]byte, error) {
	p, err := ParsePath(path)
	if err != nil {
		return nil, err
	}
	v := l.view()
	var data []byte
	if p.Level == LevelEntries {
		data, err = v.entries(p.Index, p.Width)
	} else {
		data, err = v.hashes(p)
	}
	return data[:len(data):len(data)], err
}

// has returns fs.ErrNotExist if the log has less than the path asks for.
func (v view) has(p Path) error {
	if p.In(v.size) < p.Width {
		return fmt.Errorf("%s in a log of %d entries: %w", p, v.size, fs.ErrNotExist)
	}
	return nil
}

// hashes returns the first hashes of a tile, as many as the path says, verified.
func (v view) hashes(p Path) ([]byte, error) {
	if err := v.has(p); err != nil {
		return nil, err
	}
	size := p.Width * hashBytes
	if p.full().In(v.size) < TileWidth {
		return v.tile(p.Level)[:size], nil
	}
	key := tileKey{v.reign, p.Level, p.Index}
	if data, ok := v.log.cache.Get(key); ok {
		return data[:size], nil
	}
	data, err := v.log.read(p, TileBytes)
	if err != nil {
		return nil, err
	}
	if err := v.verify(p, data); err != nil {
		return nil, err
	}
	v.log.cache.Add(key, data)
	return data[:size], nil
}

// verify holds the hashes of a full tile, or those of a full bundle, against the tile
// above, and that against the one above it, up to what is in memory.
func (v view) verify(p Path, hashes []byte) error {
	if len(hashes) != TileBytes {
		return ErrCorrupt{p.full().String(), fmt.Sprintf("it has %d bytes, not %d", len(hashes), TileBytes)}
	}
	root, err := TileRoot(hashes)
	if err != nil {
		return err
	}
	at := int(p.Index % TileWidth)
	above, err := v.hashes(Path{max(p.Level, 0) + 1, p.Index / TileWidth, at + 1})
	if err != nil {
		return err
	}
	if crypto.Hash(above[at*hashBytes:]) != root {
		return ErrCorrupt{p.full().String(), "its hash is not in the tile above"}
	}
	return nil
}

// entries returns the bytes of the first entries of a bundle, verified.
func (v view) entries(index uint64, width int) ([]byte, error) {
	p := Path{LevelEntries, index, width}
	if err := v.has(p); err != nil {
		return nil, err
	}
	if p.full().In(v.size) < TileWidth {
		return cutBundle(v.bundle, width)
	}
	data, err := v.log.read(p, BundleBytesMax)
	if err != nil {
		return nil, err
	}
	own, err := leafHashes(data)
	if err != nil {
		return nil, ErrCorrupt{p.full().String(), err.Error()}
	}
	// Against the tile of level 0 and not the one above it: that is cached.
	hashes, err := v.hashes(Path{0, index, TileWidth})
	if err != nil {
		return nil, err
	}
	if !slices.Equal(own, hashes) {
		return nil, ErrCorrupt{p.full().String(), "an entry has not the hash that the tree has"}
	}
	return cutBundle(data, width)
}

// leafHashes returns the tile of level 0 that belongs to a full bundle.
func leafHashes(bundle []byte) ([]byte, error) {
	entries, err := SplitBundle(bundle, TileWidth)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, TileBytes)
	for _, entry := range entries {
		h := LeafHash(entry)
		out = append(out, h[:]...)
	}
	return out, nil
}

// read returns a full tile as it lies on disk. One that is missing or too large is
// corrupt: the log is said to have it.
func (l *Log) read(p Path, most int) ([]byte, error) {
	data, err := readFile(fileOf(l.dir, p), most)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errLarge) {
		return nil, ErrCorrupt{p.full().String(), err.Error()}
	}
	return data, err
}

// Repair puts a full tile or entry bundle, fetched from a peer, in the place of a damaged
// one. It is taken, and then on disk, only if it is what the tree says. ErrCorrupt of
// another tile says that this one, above it, has to be repaired first.
func (l *Log) Repair(path string, data []byte) error {
	p, err := ParsePath(path)
	if err != nil {
		return err
	}
	if p.Width != TileWidth {
		return fmt.Errorf("repair %s: only full tiles lie on disk; what Open left out is appended", path)
	}
	v := l.view()
	if err := v.has(p); err != nil {
		return err
	}
	hashes := data
	if p.Level == LevelEntries {
		if hashes, err = leafHashes(data); err != nil {
			return fmt.Errorf("repair %s: what came is damaged: %w", path, err)
		}
	}
	if err := v.verify(p, hashes); err != nil {
		return fmt.Errorf("repair %s: %w", path, err)
	}
	return l.replace(p, data)
}

func (l *Log) replace(p Path, data []byte) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.writing.Lock()
	err := l.prepare()
	if err == nil {
		err = l.writeFull(p, data)
	}
	l.writing.Unlock()
	if err != nil {
		return fmt.Errorf("repair %s: %w", p, err)
	}
	return l.sync()
}

// cut returns the state of the first size entries.
func (v view) cut(size uint64) (state, error) {
	next := state{size: size}
	for level := 0; size>>(8*level) > 0; level++ {
		p := next.open(level)
		p.Width = p.In(size)
		next.tiles = append(next.tiles, nil)
		if p.Width == 0 {
			continue
		}
		data, err := v.hashes(p)
		if err != nil {
			return state{}, err
		}
		next.tiles[level] = append(make([]byte, 0, TileBytes), data...)
	}
	if next.width() > 0 {
		data, err := v.entries(next.open(LevelEntries).Index, next.width())
		if err != nil {
			return state{}, err
		}
		next.bundle = slices.Clone(data)
	}
	return next, nil
}

// ReadTile reads a tile or bundle from the directory of a log without opening it, also
// while a process appends to it, and verifies nothing: for who audits a directory.
// Partial tiles are cut out of what lies there, or put together from the level below.
// What is not there is fs.ErrNotExist.
func ReadTile(dir, path string) ([]byte, error) {
	p, err := ParsePath(path)
	if err != nil {
		return nil, err
	}
	if p.Width == TileWidth {
		return readFile(fileOf(dir, p), BundleBytesMax)
	}
	data, err := readWhole(dir, p)
	if errors.Is(err, fs.ErrNotExist) && p.Level > 0 {
		return fromBelow(dir, p)
	}
	if err != nil {
		return nil, err
	}
	if p.Level == LevelEntries {
		data, err = cutBundle(data, p.Width)
	} else if len(data) < p.Width*hashBytes {
		err = errors.New("it is shorter")
	} else {
		data = data[:p.Width*hashBytes]
	}
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w (%w)", path, dir, fs.ErrNotExist, err)
	}
	return data, nil
}

// readWhole reads a tile, be it full or not. It may become full at the same time, which
// is why the first name is tried twice.
func readWhole(dir string, p Path) (data []byte, err error) {
	name := fileOf(dir, p)
	for _, name := range []string{name, name + openSuffix, name} {
		if data, err = readFile(name, BundleBytesMax); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return data, err
}

// fromBelow returns a partial tile made of the full ones below it.
func fromBelow(dir string, p Path) ([]byte, error) {
	out := make([]byte, 0, p.Width*hashBytes)
	for i := range p.Width {
		below := Path{p.Level - 1, p.Index*TileWidth + uint64(i), TileWidth}
		data, err := readFile(fileOf(dir, below), TileBytes)
		if err != nil {
			return nil, err
		}
		root, err := TileRoot(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", below, err)
		}
		out = append(out, root[:]...)
	}
	return out, nil
}

var errLarge = errors.New("the file is too large")

// readFile reads a file of at most so many bytes.
func readFile(name string, most int) ([]byte, error) {
	f, err := openFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > int64(most) {
		return nil, fmt.Errorf("%s: %w", name, errLarge)
	}
	data := make([]byte, info.Size())
	n, err := f.ReadAt(data, 0)
	if n < len(data) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}
