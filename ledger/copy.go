package ledger

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	sumdb "golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

// Limits of fetching.
const (
	chunkBundles = 16  // bundles that are in memory at once: some 4 MiB at most
	fetchers     = 4   // questions at once
	sourcesMax   = 16  // peers that are tried
	hashTilesMax = 128 // verified tiles of hashes that are kept, 8 KiB each
)

// errSources says that no peer gave what a tree needs.
var errSources = errors.New("no peer shows it")

// A source reads the tree under one checkpoint from several peers, and believes none
// of them: every hash is verified against the checkpoint's root, every entry against
// a hash. It is safe for concurrent use.
type source struct {
	ctx    context.Context
	asker  *asker
	origin string
	size   uint64
	root   crypto.Hash

	mu     sync.Mutex
	peers  []string // the best first; who gave something false goes
	last   string   // who gave the last good answer
	hashes map[sumdb.Tile][]byte
}

// each asks peers in turn until one gives what take accepts, beginning with the one at
// a turn. A peer whose answer is not accepted is not asked again.
func (s *source) each(turn int, path string, take func(data []byte) error) error {
	s.mu.Lock()
	peers := slices.Clone(s.peers)
	s.mu.Unlock()
	err := errSources
	for i := range peers {
		peer := peers[(turn+i)%len(peers)]
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		answer, asked := ask[*tile](s.ctx, s.asker, peer, &askTile{Origin: s.origin, Path: path})
		if asked != nil {
			err = fmt.Errorf("%w: %w", errSources, asked)
			continue
		}
		if err = take(answer.Data); err == nil {
			s.mu.Lock()
			s.last = peer
			s.mu.Unlock()
			return nil
		}
		s.drop(peer)
	}
	return err
}

func (s *source) drop(peer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers = slices.DeleteFunc(slices.Clone(s.peers), func(p string) bool { return p == peer })
}

// ReadHashes returns verified hashes of the tree, in the numbering of sumdb.
func (s *source) ReadHashes(indexes []int64) (hashes []sumdb.Hash, err error) {
	s.mu.Lock()
	peers := slices.Clone(s.peers)
	s.mu.Unlock()
	err = errSources
	for _, peer := range peers {
		one := &oneSource{source: s, peer: peer}
		tree := sumdb.Tree{N: int64(s.size), Hash: sumdb.Hash(s.root)}
		if hashes, err = sumdb.TileHashReader(tree, one).ReadHashes(indexes); err == nil {
			return hashes, nil
		}
		if one.refused == nil {
			s.drop(peer) // it answered, and not with this tree
		}
	}
	return nil, fmt.Errorf("%w: %w", errSources, err)
}

// oneSource reads tiles of hashes from one peer, for sumdb, which verifies them.
type oneSource struct {
	*source
	peer    string
	refused error
}

func (s *oneSource) Height() int { return 8 }

func (s *oneSource) ReadTiles(tiles []sumdb.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		s.mu.Lock()
		out[i] = s.hashes[t]
		s.mu.Unlock()
		if out[i] != nil {
			continue
		}
		path := tlog.Path{Level: t.L, Index: uint64(t.N), Width: t.W}.String()
		answer, err := ask[*tile](s.ctx, s.asker, s.peer, &askTile{Origin: s.origin, Path: path})
		if err != nil {
			s.refused = err
			return nil, err
		}
		out[i] = answer.Data
	}
	return out, nil
}

// SaveTiles is called with tiles that are verified.
func (s *oneSource) SaveTiles(tiles []sumdb.Tile, data [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hashes)+len(tiles) > hashTilesMax || s.hashes == nil {
		s.hashes = map[sumdb.Tile][]byte{}
	}
	for i, t := range tiles {
		s.hashes[t] = data[i]
	}
}

// prefix returns the root of the first size entries of the tree.
func (s *source) prefix(size uint64) (crypto.Hash, error) {
	if size == 0 {
		return tlog.EmptyRoot(), nil
	}
	root, err := sumdb.TreeHash(int64(size), s)
	return crypto.Hash(root), err
}

// consistency returns the proof that the first size entries begin the tree.
func (s *source) consistency(size uint64) ([]crypto.Hash, error) {
	proof, err := sumdb.ProveTree(int64(s.size), int64(size), s)
	if err != nil {
		return nil, err
	}
	out := make([]crypto.Hash, len(proof))
	for i, h := range proof {
		out[i] = crypto.Hash(h)
	}
	return out, nil
}

// entries returns the verified entries of some bundles in a row, from the one with a
// number to the end of the tree or chunkBundles of them.
func (s *source) entries(first uint64) ([][]byte, error) {
	end := min((s.size+tlog.TileWidth-1)/tlog.TileWidth, first+chunkBundles)
	want, err := s.bundleHashes(first, end)
	if err != nil {
		return nil, err
	}
	bundles := make([][][]byte, end-first)
	var group errgroup.Group
	group.SetLimit(fetchers)
	for i := range bundles {
		group.Go(func() error {
			number := first + uint64(i)
			path := tlog.Path{Level: tlog.LevelEntries, Index: number, Width: s.width(number)}
			return s.each(i, path.String(), func(data []byte) (err error) {
				bundles[i], err = entriesOf(data, path.Width, want[i])
				return err
			})
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(bundles...), nil
}

// grow appends to a tree what it lacks of this one. Nothing is appended that is not
// proven to be in this one; that the tree begins it is the caller's to know. may is asked
// before each step.
func (s *source) grow(t *tree, may func() error) error {
	size := t.Size()
	for unsynced := uint64(0); size < s.size; {
		entries, err := s.entries(size / tlog.TileWidth)
		if err != nil {
			return err
		}
		entries = entries[size%tlog.TileWidth:] // the first of them are here
		if err := may(); err != nil {
			return err
		}
		if err := t.appendAt(size, entries); err != nil {
			return fmt.Errorf("copy the ledger: %w", err)
		}
		size += uint64(len(entries))
		if unsynced += uint64(len(entries)); unsynced >= syncEntries {
			unsynced = 0
			if err := t.Sync(); err != nil {
				return fmt.Errorf("copy the ledger: %w", err)
			}
		}
	}
	return nil
}

// width returns how many entries of the tree are in a bundle.
func (s *source) width(number uint64) int {
	return int(min(s.size-number*tlog.TileWidth, tlog.TileWidth))
}

// bundleHashes returns what proves each of some bundles: of a full one the hash over
// it, of the last one those of its entries.
func (s *source) bundleHashes(first, end uint64) ([][]sumdb.Hash, error) {
	var indexes []int64
	for n := first; n < end; n++ {
		if s.width(n) == tlog.TileWidth {
			indexes = append(indexes, sumdb.StoredHashIndex(8, int64(n)))
			continue
		}
		for i := range s.width(n) {
			indexes = append(indexes, sumdb.StoredHashIndex(0, int64(n)*tlog.TileWidth+int64(i)))
		}
	}
	hashes, err := s.ReadHashes(indexes)
	if err != nil {
		return nil, err
	}
	out := make([][]sumdb.Hash, end-first)
	for i := range out {
		n := 1
		if w := s.width(first + uint64(i)); w < tlog.TileWidth {
			n = w
		}
		out[i], hashes = hashes[:n], hashes[n:]
	}
	return out, nil
}

// entriesOf returns the entries of a bundle if they are those that the hashes say.
func entriesOf(data []byte, width int, want []sumdb.Hash) ([][]byte, error) {
	entries, err := tlog.SplitBundle(data, width)
	if err != nil {
		return nil, err
	}
	leaves := make([]byte, 0, width*len(crypto.Hash{}))
	for i, e := range entries {
		leaf := tlog.LeafHash(e)
		leaves = append(leaves, leaf[:]...)
		if width < tlog.TileWidth && leaf != crypto.Hash(want[i]) {
			return nil, fmt.Errorf("entry %d of a bundle is not the one in the ledger", i)
		}
	}
	if width < tlog.TileWidth {
		return entries, nil
	}
	root, err := tlog.TileRoot(leaves)
	if err == nil && root != crypto.Hash(want[0]) {
		err = errors.New("the bundle is not the one in the ledger")
	}
	return entries, err
}

// sourceOf reads the tree under a checkpoint from whoever can be reached: first those
// who told or signed it, then the voters, then others.
func (f *follower) sourceOf(ctx context.Context, s *stand, from ...string) *source {
	for _, v := range s.Voters {
		if seat, ok := seated(f.councils.get().voters, v.Member); ok {
			from = append(from, seat.peer)
		}
	}
	reachable := f.peers()
	peers := slices.DeleteFunc(slices.Clone(from), func(p string) bool { return !slices.Contains(reachable, p) })
	for _, p := range reachable {
		if !slices.Contains(peers, p) {
			peers = append(peers, p)
		}
	}
	return f.sourceFrom(ctx, s.Checkpoint, dedup(peers))
}

// sourceFrom reads the tree under a checkpoint from peers, the first first.
func (f *follower) sourceFrom(ctx context.Context, c tlog.Checkpoint, peers []string) *source {
	return &source{ctx: ctx, asker: f.asker, origin: c.Origin, size: c.Size, root: c.Root, peers: peers[:min(len(peers), sourcesMax)]}
}

func dedup(peers []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(peers, func(p string) bool {
		known := seen[p]
		seen[p] = true
		return known
	})
}

// mendsMax is how often one tile is fetched again while a node runs: a disk that damages
// it more often is broken.
const mendsMax = 4

// mend replaces a tile that is damaged here by what a peer has, if an error says that
// there is one. It reports whether it did.
func (f *follower) mend(ctx context.Context, t *track, damage error) bool {
	var corrupt tlog.ErrCorrupt
	if !errors.As(damage, &corrupt) {
		return false
	}
	if t.worn(corrupt) {
		f.badDisk(t, corrupt)
		return false
	}
	for i, peer := range f.peers() {
		if i >= sourcesMax || ctx.Err() != nil {
			break
		}
		answer, err := ask[*tile](ctx, f.asker, peer, &askTile{Origin: t.origin, Path: corrupt.Tile})
		if err == nil {
			err = t.tree.Repair(corrupt.Tile, answer.Data)
		}
		var above tlog.ErrCorrupt
		if errors.As(err, &above) && above.Tile != corrupt.Tile {
			return f.mend(ctx, t, above) && f.mend(ctx, t, corrupt) // a tile is judged by the one above it
		}
		if err == nil {
			t.mended(corrupt)
			f.log.Warn("a damaged tile of the ledger was fetched again", "origin", t.origin, "tile", corrupt.Tile, "reason", corrupt.Why)
			return true
		}
	}
	f.log.Error("a tile of the ledger is damaged and no peer gives it", "origin", t.origin, "tile", corrupt.Tile, "reason", corrupt.Why)
	return false
}

// worn reports whether a tile that an error names was fetched again so often that nothing
// is to be hoped of the disk.
func (t *track) worn(damage error) bool {
	var corrupt tlog.ErrCorrupt
	if !errors.As(damage, &corrupt) {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mends[corrupt.Tile] >= mendsMax
}

func (t *track) mended(corrupt tlog.ErrCorrupt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mends == nil {
		t.mends = map[string]int{}
	}
	t.mends[corrupt.Tile]++
}

// badDisk says that a disk does not keep what is written.
func (f *follower) badDisk(t *track, corrupt tlog.ErrCorrupt) {
	f.log.Error("a tile of the ledger is damaged again and again", "origin", t.origin, "tile", corrupt.Tile, "reason", corrupt.Why)
	f.l.raise(Alarm{
		Kind: "ledger-disk", Severity: "critical", Dedup: "ledger-worn/" + t.origin,
		Text: fmt.Sprintf("The disk of this node does not keep the ledger: %s in %s was fetched from other members %d times and is damaged again. "+
			"Stop the node, replace the disk and copy the node's directory to the new one, then start it: it fetches what is damaged.", corrupt.Tile, filepath.Join(t.dir, tilesDir), mendsMax),
	})
}
