package tlog

import (
	"fmt"
	"slices"

	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/watchward/watchward/crypto"
)

// A state is the right edge of a log: everything that is not in full tiles. Bytes that a
// state has are never changed, only added to, so that readers need no lock.
type state struct {
	size   uint64
	tiles  [][]byte // by level, the tile that is not full yet: < 256 hashes
	bundle []byte   // the entries of tiles[0]
}

// clone returns a state that can be added to.
func (s state) clone() state {
	s.tiles = slices.Clone(s.tiles)
	return s
}

// open returns the path of what is being filled at a level.
func (s state) open(level int) Path {
	p := Path{Level: level, Width: TileWidth}
	p.Index = s.size / p.span() / TileWidth
	return p
}

// width returns the number of entries in the open bundle.
func (s state) width() int { return int(s.size % TileWidth) }

// tile returns the open tile of a level.
func (s state) tile(level int) []byte {
	if level >= len(s.tiles) {
		return nil
	}
	return s.tiles[level]
}

// add adds a hash to the open tile of a level. Adding leaves does not raise the size.
func (s *state) add(level int, h crypto.Hash) {
	for len(s.tiles) <= level {
		s.tiles = append(s.tiles, nil)
	}
	if s.tiles[level] == nil {
		s.tiles[level] = make([]byte, 0, TileBytes)
	}
	s.tiles[level] = append(s.tiles[level], h[:]...)
}

// A lifted tile is one that has become full.
type lifted struct {
	path Path
	data []byte
}

// lift closes the tiles that the last entry has filled: the root of each becomes a hash
// of the level above. The bundle goes with the tile of level 0.
func (s *state) lift() ([]lifted, error) {
	var out []lifted
	for level := 0; len(s.tile(level)) == TileBytes; level++ {
		data := s.tiles[level]
		root, err := TileRoot(data)
		if err != nil {
			return nil, err
		}
		path := s.open(level)
		path.Index-- // the size is already beyond it
		out = append(out, lifted{path, data})
		s.tiles[level] = nil
		s.add(level+1, root)
	}
	if len(out) > 0 {
		s.bundle = make([]byte, 0, len(s.bundle)) // entries tend to be alike
	}
	return out, nil
}

// A view reads a log as it was at one moment.
type view struct {
	state
	log   *Log
	reign uint64 // of Rewind: what was cached before counts no more
}

// ReadHashes implements sumdb.HashReader.
func (v view) ReadHashes(indexes []int64) ([]sumdb.Hash, error) {
	out := make([]sumdb.Hash, len(indexes))
	for i, at := range indexes {
		t := sumdb.TileForIndex(8, at)
		data, err := v.hashes(Path{t.L, uint64(t.N), t.W})
		if err != nil {
			return nil, err
		}
		if out[i], err = sumdb.HashFromTile(t, data, at); err != nil {
			return nil, fmt.Errorf("hash %d: %w", at, err)
		}
	}
	return out, nil
}
