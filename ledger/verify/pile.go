package verify

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

// same returns nil only if a tile holds exactly these hashes.
func same(raw []byte, hashes []crypto.Hash) error {
	const size = len(crypto.Hash{})
	if len(raw) != len(hashes)*size {
		return fmt.Errorf("it has %d bytes, want %d", len(raw), len(hashes)*size)
	}
	for i, h := range hashes {
		if !bytes.Equal(raw[i*size:(i+1)*size], h[:]) {
			return fmt.Errorf("hash %d of %d is not that of what lies below it", i+1, len(hashes))
		}
	}
	return nil
}

// A pile is a tree that is built from its tiles of level 0, in order. It holds less
// than a tile of each level.
type pile struct {
	levels [][]crypto.Hash // what the last tile has so far
	count  []uint64        // full tiles of the level
}

// add takes the hashes of the next tile of level 0, of which only the last may be
// partial, and shows each tile above it that this fills.
func (p *pile) add(hashes []crypto.Hash, full func(t tlog.Path, hashes []crypto.Hash) error) error {
	for level := 0; ; level++ {
		if level == len(p.levels) {
			p.levels, p.count = append(p.levels, nil), append(p.count, 0)
		}
		p.levels[level] = append(p.levels[level], hashes...)
		if len(p.levels[level]) < tlog.TileWidth {
			return nil
		}
		if level > 0 {
			if err := full(tlog.Path{Level: level, Index: p.count[level], Width: tlog.TileWidth}, p.levels[level]); err != nil {
				return err
			}
		}
		root, err := rootOf(p.levels[level])
		if err != nil {
			return err
		}
		p.levels[level], p.count[level] = p.levels[level][:0], p.count[level]+1
		hashes = []crypto.Hash{root}
	}
}

// addTile is add for a tile's bytes, and shows nothing.
func (p *pile) addTile(raw []byte) error {
	const size = len(crypto.Hash{})
	if len(raw)%size != 0 || len(raw) > tlog.TileBytes {
		return fmt.Errorf("a tile of %d bytes", len(raw))
	}
	var hashes []crypto.Hash
	for ; len(raw) > 0; raw = raw[size:] {
		hashes = append(hashes, crypto.Hash(raw[:size]))
	}
	return p.add(hashes, func(tlog.Path, []crypto.Hash) error { return nil })
}

// open shows the tiles above level 0 that are not full.
func (p *pile) open(show func(t tlog.Path, hashes []crypto.Hash) error) error {
	for level, hashes := range p.levels {
		if level == 0 || len(hashes) == 0 {
			continue
		}
		if err := show(tlog.Path{Level: level, Index: p.count[level], Width: len(hashes)}, hashes); err != nil {
			return err
		}
	}
	return nil
}

// root returns that of the whole: the last tile of each level is closed by what is open
// below it. RFC 6962 splits a tree at powers of two, and so at borders of tiles.
func (p *pile) root() (crypto.Hash, error) {
	var below []crypto.Hash
	for _, level := range p.levels {
		hashes := slices.Clone(level)
		if len(below) > 0 {
			root, err := rootOf(below)
			if err != nil {
				return crypto.Hash{}, err
			}
			hashes = append(hashes, root)
		}
		below = hashes
	}
	return rootOf(below)
}

func rootOf(hashes []crypto.Hash) (crypto.Hash, error) {
	tree, err := crypto.NewTree(hashes)
	if err != nil {
		return crypto.Hash{}, err
	}
	return tree.Root()
}
