package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"

	sumdb "golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

// fetchAtOnce is how many entry bundles are asked for at a time.
const fetchAtOnce = 16

// A getter gives a tile or an entry bundle from any peer, by its path. Nothing of it is
// verified.
type getter func(ctx context.Context, path string) ([]byte, error)

// fetch appends what a tree lacks of the tree of size entries with a root that is
// trusted. Each bundle is verified against that root before it is appended, so that an
// interrupted fetch can go on where it was.
func fetch(ctx context.Context, t *tree, size uint64, root crypto.Hash, get getter) error {
	if size > math.MaxInt64 {
		return fmt.Errorf("a tree of %d entries", size)
	}
	hashes := sumdb.TileHashReader(sumdb.Tree{N: int64(size), Hash: sumdb.Hash(root)}, &tileReader{ctx: ctx, get: get, kept: map[sumdb.Tile][]byte{}})
	for t.Size() < size {
		have := t.Size()
		first := have / tlog.TileWidth
		bundles := make([][][]byte, min(fetchAtOnce, (size+tlog.TileWidth-1)/tlog.TileWidth-first))
		group, ctx := errgroup.WithContext(ctx)
		for i := range bundles {
			group.Go(func() (err error) {
				bundles[i], err = fetchBundle(ctx, first+uint64(i), size, get)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		for i, entries := range bundles {
			n := first + uint64(i)
			if err := checkBundle(hashes, n, entries); err != nil {
				return fmt.Errorf("entry bundle %d: %w", n, err)
			}
			if err := t.Append(entries[have-n*tlog.TileWidth:]); err != nil {
				return err
			}
			have = (n + 1) * tlog.TileWidth
		}
	}
	return nil
}

func fetchBundle(ctx context.Context, n, size uint64, get getter) ([][]byte, error) {
	p := tlog.Path{Level: tlog.LevelEntries, Index: n}
	p.Width = p.In(size)
	raw, err := get(ctx, p.String())
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", p, err)
	}
	return tlog.SplitBundle(raw, p.Width)
}

// checkBundle compares the entries of a bundle with verified hashes: of a full one with
// the one hash that stands for it.
func checkBundle(hashes sumdb.HashReader, n uint64, entries [][]byte) error {
	leaves := make([]byte, 0, tlog.TileBytes)
	places := make([]int64, len(entries))
	for i, e := range entries {
		leaf := tlog.LeafHash(e)
		leaves = append(leaves, leaf[:]...)
		places[i] = sumdb.StoredHashIndex(0, int64(n*tlog.TileWidth)+int64(i))
	}
	own := leaves
	if len(entries) == tlog.TileWidth {
		root, err := tlog.TileRoot(leaves)
		if err != nil {
			return err
		}
		own, places = root[:], []int64{sumdb.StoredHashIndex(8, int64(n))}
	}
	want, err := hashes.ReadHashes(places)
	if err != nil {
		return err
	}
	for i, h := range want {
		if sumdb.Hash(own[i*sumdb.HashSize:]) != h {
			return errors.New("it is not what the tree says: the peer that gave it has another tree, or a damaged one")
		}
	}
	return nil
}

// A tileReader reads tiles of hashes for sumdb, which verifies them.
type tileReader struct {
	ctx  context.Context
	get  getter
	kept map[sumdb.Tile][]byte
}

// tilesKept bounds the verified tiles that are kept: a path from a leaf to the root, and
// those beside it that come next.
const tilesKept = 64

func (r *tileReader) Height() int { return 8 }

func (r *tileReader) ReadTiles(tiles []sumdb.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, tile := range tiles {
		if kept, ok := r.kept[tile]; ok {
			out[i] = kept
			continue
		}
		p := tlog.Path{Level: tile.L, Index: uint64(tile.N), Width: tile.W}
		raw, err := r.get(r.ctx, p.String())
		if err != nil {
			return nil, fmt.Errorf("fetch %s: %w", p, err)
		}
		if len(raw) != tile.W*sumdb.HashSize {
			return nil, fmt.Errorf("fetch %s: it has %d bytes, want %d", p, len(raw), tile.W*sumdb.HashSize)
		}
		out[i] = raw
	}
	return out, nil
}

func (r *tileReader) SaveTiles(tiles []sumdb.Tile, data [][]byte) {
	if len(r.kept)+len(tiles) > tilesKept {
		clear(r.kept)
	}
	for i, tile := range tiles {
		r.kept[tile] = data[i]
	}
}
