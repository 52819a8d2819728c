package verify

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/watchward/watchward/crypto"
)

// A tile has 256 hashes, or entries (c2sp.org/tlog-tiles).
const (
	width         = 256
	hashSize      = len(crypto.Hash{})
	tileSizeMax   = width * hashSize
	bundleSizeMax = width * (2 + EntrySizeMax)
	levelMax      = 7
	entries       = -1 // the level of bundles
)

// A tile names a file: n counts from 0 in its level, and w is how many hashes or
// entries it has, width if it is full.
type tile struct {
	level int
	n     uint64
	w     int
}

// path returns the file's name. That of a partial tile is a directory's and its width.
func (t tile) path() string {
	level := "entries"
	if t.level != entries {
		level = strconv.Itoa(t.level)
	}
	number := fmt.Sprintf("%03d", t.n%1000)
	for n := t.n / 1000; n > 0; n /= 1000 {
		number = fmt.Sprintf("x%03d/%s", n%1000, number)
	}
	path := "tile/" + level + "/" + number
	if t.w != width {
		path += ".p/" + strconv.Itoa(t.w)
	}
	return path
}

// parseTile is the inverse of path.
func parseTile(path string) (t tile, ok bool) {
	rest, ok := strings.CutPrefix(path, "tile/")
	level, number, cut := strings.Cut(rest, "/")
	if !ok || !cut {
		return t, false
	}
	t.level, t.w = entries, width
	if level != "entries" {
		n, err := strconv.Atoi(level)
		if err != nil || n < 0 || n > levelMax {
			return t, false
		}
		t.level = n
	}
	if full, w, partial := strings.Cut(number, ".p/"); partial {
		n, err := strconv.Atoi(w)
		if err != nil || n < 1 || n >= width {
			return t, false
		}
		number, t.w = full, n
	}
	for part := range strings.SplitSeq(number, "/") {
		n, err := strconv.ParseUint(strings.TrimPrefix(part, "x"), 10, 64)
		if err != nil || n > 999 || t.n > 1<<53 {
			return t, false
		}
		t.n = t.n*1000 + n
	}
	return t, t.path() == path
}

// in reports whether a tree of size has the whole of the tile.
func (t tile) in(size uint64) bool {
	for range max(t.level, 0) {
		size /= width
	}
	return t.n < size/width || t.n == size/width && uint64(t.w) <= size%width
}

func (t tile) sizeMax() int {
	if t.level == entries {
		return bundleSizeMax
	}
	return tileSizeMax
}

// split takes a bundle apart: each entry has two bytes of length before it. at is how
// many came before the error.
func split(raw []byte) (all [][]byte, err error) {
	for len(raw) > 0 {
		if len(raw) < 2 {
			return all, errors.New("a byte too many at the end")
		}
		n := int(binary.BigEndian.Uint16(raw))
		switch {
		case n == 0 || n > EntrySizeMax:
			return all, fmt.Errorf("entry %d has %d bytes, want 1 to %d", len(all), n, EntrySizeMax)
		case len(raw) < 2+n:
			return all, fmt.Errorf("entry %d is cut short", len(all))
		case len(all) == width:
			return all, fmt.Errorf("more than %d entries", width)
		}
		all, raw = append(all, raw[2:2+n]), raw[2+n:]
	}
	return all, nil
}

// same returns nil only if a tile holds exactly these hashes.
func same(raw []byte, hashes []crypto.Hash) error {
	if len(raw) != len(hashes)*hashSize {
		return fmt.Errorf("%d bytes, want %d", len(raw), len(hashes)*hashSize)
	}
	for i, h := range hashes {
		if !bytes.Equal(raw[i*hashSize:(i+1)*hashSize], h[:]) {
			return fmt.Errorf("hash %d of %d is not that of what lies below it", i+1, len(hashes))
		}
	}
	return nil
}

// A pile is a tree that is built tile by tile, the leaves' first. It holds less than a
// tile a level.
type pile struct {
	levels [][]crypto.Hash // from level 1; what its last tile has so far
	tail   []crypto.Hash   // of the last tile of level 0 if it is partial
}

// add takes the hashes of the next tile of level 0, and calls full for each tile above
// it that this fills. Only the last may be partial.
func (p *pile) add(hashes []crypto.Hash, full func(t tile, hashes []crypto.Hash) error, n uint64) error {
	if len(hashes) < width {
		p.tail = slices.Clone(hashes)
		return nil
	}
	for level := 0; len(hashes) == width; level++ {
		root, err := rootOf(hashes)
		if err != nil {
			return err
		}
		if level == len(p.levels) {
			p.levels = append(p.levels, make([]crypto.Hash, 0, width))
		}
		p.levels[level] = append(p.levels[level], root)
		if hashes = p.levels[level]; len(hashes) < width {
			break
		}
		n /= width
		if err := full(tile{level + 1, n, width}, hashes); err != nil {
			return err
		}
		defer func() { p.levels[level] = p.levels[level][:0] }()
	}
	return nil
}

// root returns that of the whole tree: each level's last tile, closed by what is open
// below it.
func (p *pile) root() (crypto.Hash, error) {
	open := p.tail
	for _, level := range p.levels {
		hashes := slices.Clone(level)
		if len(open) > 0 {
			root, err := rootOf(open)
			if err != nil {
				return crypto.Hash{}, err
			}
			hashes = append(hashes, root)
		}
		open = hashes
	}
	return rootOf(open)
}

func rootOf(hashes []crypto.Hash) (crypto.Hash, error) {
	tree, err := crypto.NewTree(hashes)
	if err != nil {
		return crypto.Hash{}, err
	}
	return tree.Root()
}
