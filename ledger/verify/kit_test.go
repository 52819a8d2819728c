package verify_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
)

var signedAt = time.UnixMilli(testkit.Founded).Add(time.Hour).Truncate(time.Second)

// A world is a region whose ledger three voters keep and one hospital witnesses.
type world struct {
	*testkit.Region
	origin string
}

func newWorld(t testing.TB) *world {
	r := testkit.NewRegionLedger(t, "north", []string{"ada", "bob", "cyd"}, []string{"wim"}, "hal")
	return &world{r, tlog.Origin(r.ID, 1)}
}

func (w *world) policy(t testing.TB) *verify.Policy {
	t.Helper()
	return policyOf(t, w.Roster(t), w.ID, 1)
}

func policyOf(t testing.TB, roster *trust.Roster, region crypto.Region, epoch uint32) *verify.Policy {
	t.Helper()
	p, err := verify.PolicyOf(roster, region, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (w *world) member(name string) *testkit.Member {
	for _, m := range w.Members {
		if m.Credential.Name == name {
			return m
		}
	}
	panic(name)
}

// sign is the note of a checkpoint with the lines of some members: hal and wim sign as
// witnesses, whatever the charter says.
func (w *world) sign(t testing.TB, c tlog.Checkpoint, names ...string) []byte {
	t.Helper()
	return w.signAt(t, c, signedAt, names...)
}

func (w *world) signAt(t testing.TB, c tlog.Checkpoint, at time.Time, names ...string) []byte {
	t.Helper()
	var notes [][]byte
	for _, name := range names {
		role := tlog.Voter
		if name == "wim" || name == "hal" {
			role = tlog.Witness
		}
		m := w.member(name)
		raw, err := tlog.Sign(c, tlog.Cosigner(w.ID, m.ID), crypto.NewLedgerKey(m.Signing), role, at)
		if err != nil {
			t.Fatal(err)
		}
		notes = append(notes, raw)
	}
	raw, err := tlog.Merge(notes...)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func entries(n, size int) (out [][]byte) {
	for i := range n {
		e := fmt.Appendf(make([]byte, 0, size), "%d", i)
		out = append(out, append(e, make([]byte, max(0, size-len(e)))...))
	}
	return out
}

func hashesOf(entries [][]byte) (out []crypto.Hash) {
	for _, e := range entries {
		out = append(out, crypto.LeafHash(e))
	}
	return out
}

func treeOf(t testing.TB, hashes []crypto.Hash) (*crypto.Tree, crypto.Hash) {
	t.Helper()
	tree, err := crypto.NewTree(hashes)
	if err != nil {
		t.Fatal(err)
	}
	root, err := tree.Root()
	if err != nil {
		t.Fatal(err)
	}
	return tree, root
}

func (w *world) checkpoint(t testing.TB, entries [][]byte) tlog.Checkpoint {
	t.Helper()
	_, root := treeOf(t, hashesOf(entries))
	return tlog.Checkpoint{Origin: w.origin, Size: uint64(len(entries)), Root: root}
}

// files is a source in memory, and what a static server would have of a ledger.
type files map[string][]byte

func (f files) Read(_ context.Context, path string, _ int) ([]byte, error) {
	raw, ok := f[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return raw, nil
}

func (f files) Parallel() int { return 0 }

// publish makes the tiles of entries by the letter of tlog-tiles: level by level.
func publish(t testing.TB, entries [][]byte, note []byte) files {
	t.Helper()
	out := files{"checkpoint": note}
	for i := 0; i < len(entries); i += tlog.TileWidth {
		chunk := entries[i:min(i+tlog.TileWidth, len(entries))]
		raw, err := tlog.JoinBundle(nil, chunk...)
		if err != nil {
			t.Fatal(err)
		}
		out[tlog.Path{Level: tlog.LevelEntries, Index: uint64(i / tlog.TileWidth), Width: len(chunk)}.String()] = raw
	}
	for level, hashes := 0, hashesOf(entries); len(hashes) > 0; level++ {
		var above []crypto.Hash
		for i := 0; i < len(hashes); i += tlog.TileWidth {
			chunk := hashes[i:min(i+tlog.TileWidth, len(hashes))]
			var raw []byte
			for _, h := range chunk {
				raw = append(raw, h[:]...)
			}
			out[tlog.Path{Level: level, Index: uint64(i / tlog.TileWidth), Width: len(chunk)}.String()] = raw
			if len(chunk) == tlog.TileWidth {
				_, root := treeOf(t, chunk)
				above = append(above, root)
			}
		}
		hashes = above
	}
	return out
}

// dir writes the files into a new directory.
func (f files) dir(t testing.TB) verify.Dir {
	t.Helper()
	dir := t.TempDir()
	for path, raw := range f {
		put(t, dir, path, raw)
	}
	return verify.Dir(dir)
}

func put(t testing.TB, dir, path string, raw []byte) {
	t.Helper()
	name := filepath.Join(dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ledger is what everybody agrees on: entries, signed by a quorum and witnessed.
func (w *world) ledger(t testing.TB, n, size int) files {
	t.Helper()
	all := entries(n, size)
	return publish(t, all, w.sign(t, w.checkpoint(t, all), "ada", "bob", "wim"))
}

func (w *world) receipt(t testing.TB, all [][]byte, index int, note []byte) *verify.Receipt {
	t.Helper()
	tree, _ := treeOf(t, hashesOf(all))
	path, err := tree.Prove(index)
	if err != nil {
		t.Fatal(err)
	}
	return &verify.Receipt{Entry: slices.Clone(all[index]), Index: uint64(index), Path: path, Note: note}
}
