package tlog_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	stdsync "sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

// sha hashes a prefix byte, if it is not negative, and parts.
func sha(prefix int, parts ...[]byte) crypto.Hash {
	h := sha256.New()
	if prefix >= 0 {
		h.Write([]byte{byte(prefix)})
	}
	for _, p := range parts {
		h.Write(p)
	}
	return crypto.Hash(h.Sum(nil))
}

// The leaves and roots of the reference tree of Certificate Transparency
// (google/certificate-transparency, merkletree tests).
var (
	ctLeaves = []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	ctRoots  = []string{
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
)

func ctEntries(t *testing.T) (out [][]byte) {
	for _, s := range ctLeaves {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// The plain recursion gives the roots of Certificate Transparency, and what verifies
// proofs here takes its proofs and no others.
func TestKnownTree(t *testing.T) {
	entries := ctEntries(t)
	m := modelOf(entries)
	for i, want := range ctRoots {
		if got := m.mth(0, i+1); got.String() != want {
			t.Fatalf("root of %d leaves: %s", i+1, got)
		}
	}
	root := func(n int) crypto.Hash { return m.mth(0, n) }
	for size := 1; size <= len(entries); size++ {
		for i := range size {
			path := m.path(i, 0, size)
			leaf := tlog.LeafHash(entries[i])
			if err := tlog.VerifyInclusion(uint64(i), uint64(size), leaf, path, root(size)); err != nil {
				t.Fatal(err)
			}
			if tlog.VerifyInclusion(uint64(i), uint64(size), leaf, append(path, leaf), root(size)) == nil {
				t.Fatal("a path with one hash too many")
			}
			if size > 1 && tlog.VerifyInclusion(uint64((i+1)%size), uint64(size), leaf, path, root(size)) == nil {
				t.Fatal("a path for another index")
			}
		}
		for a := 1; a <= size; a++ {
			proof := m.proof(a, 0, size, true)
			if err := tlog.VerifyConsistency(uint64(a), uint64(size), root(a), root(size), proof); err != nil {
				t.Fatal(err)
			}
			if a < size && tlog.VerifyConsistency(uint64(a), uint64(size), root(a+1), root(size), proof) == nil {
				t.Fatal("a proof for another root")
			}
		}
	}
	if tlog.EmptyRoot() != sha(-1) {
		t.Fatal("empty root")
	}
	if err := tlog.VerifyConsistency(0, 3, tlog.EmptyRoot(), root(3), nil); err != nil {
		t.Fatal(err)
	}
	if tlog.VerifyConsistency(0, 3, root(1), root(3), nil) == nil || tlog.VerifyConsistency(3, 2, root(3), root(2), nil) == nil {
		t.Fatal("inconsistent logs are taken")
	}
}

// A tester is a testing.T or a rapid.T.
type tester interface {
	Helper()
	Fatalf(string, ...any)
}

// compare holds a log against the model at one size, by everything that it answers.
func compare(t tester, l *tlog.Log, entries [][]byte, m *model, size, index, earlier int) {
	t.Helper()
	fail := func(what string, got, want any, err error) {
		t.Helper()
		t.Fatalf("%s (size %d of %d, index %d, earlier %d): %v, want %v: %v", what, size, len(entries), index, earlier, got, want, err)
	}
	root, err := l.Root(uint64(size))
	if want := m.mth(0, size); err != nil || root != want {
		fail("root", root, want, err)
	}
	edge, err := l.Edge(uint64(size))
	if err != nil {
		fail("edge", edge, nil, err)
	}
	if got, err := tlog.RootFromEdge(uint64(size), edge); err != nil || got != root {
		fail("root of the edge", got, root, err)
	}
	proof, err := l.Consistency(uint64(earlier), uint64(size))
	if want := m.proof(max(earlier, 1), 0, max(size, 1), true); err != nil || earlier > 0 && !slices.Equal(proof, want) {
		fail("consistency", proof, want, err)
	}
	if err := tlog.VerifyConsistency(uint64(earlier), uint64(size), m.mth(0, earlier), root, proof); err != nil {
		fail("consistency", proof, nil, err)
	}
	if index >= size {
		return
	}
	path, err := l.Inclusion(uint64(index), uint64(size))
	if want := m.path(index, 0, size); err != nil || !slices.Equal(path, want) {
		fail("inclusion", path, want, err)
	}
	got, err := l.Entries(uint64(index), uint64(min(size, index+300)))
	if want := entries[index:min(size, index+300)]; err != nil || !slices.EqualFunc(got, want, bytes.Equal) {
		fail("entries", len(got), len(want), err)
	}
}

// Whatever is done to a log, it is the Merkle tree of what was appended and not rewound,
// also after it was opened again.
func TestAgainstThePlainRecursion(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "tlog")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		l, err := tlog.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		var entries [][]byte
		number := 0
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				n := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, 700)).Draw(t, "n")
				more := pack(number, n, rapid.IntRange(4, 40).Draw(t, "bytes"))
				number += n
				if err := l.Append(more); err != nil {
					t.Fatal(err)
				}
				entries = append(entries, more...)
			},
			"sync": func(t *rapid.T) {
				if err := l.Sync(); err != nil {
					t.Fatal(err)
				}
			},
			"rewind": func(t *rapid.T) {
				to := rapid.IntRange(0, len(entries)).Draw(t, "to")
				if err := l.Rewind(uint64(to)); err != nil {
					t.Fatal(err)
				}
				entries = entries[:to:to]
			},
			"again": func(t *rapid.T) {
				// Without Close now and then: a process that died.
				if rapid.Bool().Draw(t, "close") {
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
				}
				if l, err = tlog.Open(dir); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				if got := l.Size(); got != uint64(len(entries)) || l.Damage() != nil {
					t.Fatalf("size %d, want %d; damage %v", got, len(entries), l.Damage())
				}
				size := rapid.IntRange(0, len(entries)).Draw(t, "size")
				index := rapid.IntRange(0, size).Draw(t, "index")
				earlier := rapid.IntRange(0, size).Draw(t, "earlier")
				compare(t, l, entries, modelOf(entries), size, index, earlier)
			},
		})
	})
}

// The example of c2sp.org/tlog-tiles: a tree of 70,000 has 273 full tiles of level 0 and
// one of 112, a full one of level 1 and one of 17, and one of 1 of level 2.
func TestSeventyThousand(t *testing.T) {
	t.Parallel()
	const size = 70_000
	dir := t.TempDir()
	l := open(t, dir)
	fill(t, l, size, 8)
	sync(t, l)
	entries := pack(0, size, 8)
	m := modelOf(entries)
	for _, at := range [][3]int{{size, size - 1, 1}, {size, 0, size}, {65_536, 65_535, 65_535}, {65_537, 65_536, 256}, {256, 255, 255}, {257, 256, 256}, {1, 0, 0}, {0, 0, 0}, {65_535, 3, 512}} {
		compare(t, l, entries, m, at[0], at[1], at[2])
	}
	for path, want := range map[string][]byte{
		"tile/0/000":       m.tile(0, 0, 256),
		"tile/0/000.p/7":   m.tile(0, 0, 7),
		"tile/0/272":       m.tile(0, 272, 256),
		"tile/0/273.p/112": m.tile(0, 273, 112),
		"tile/0/273.p/1":   m.tile(0, 273, 1),
		"tile/1/000":       m.tile(1, 0, 256),
		"tile/1/000.p/255": m.tile(1, 0, 255),
		"tile/1/001.p/17":  m.tile(1, 1, 17),
		"tile/2/000.p/1":   m.tile(2, 0, 1),
	} {
		if got, err := l.Tile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", path, err)
		}
		if got, err := tlog.ReadTile(dir, path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s in the directory: %v", path, err)
		}
	}
	for path, want := range map[string][][]byte{
		"tile/entries/000":       entries[:256],
		"tile/entries/000.p/9":   entries[:9],
		"tile/entries/273.p/112": entries[273*256:],
		"tile/entries/273.p/2":   entries[273*256:][:2],
	} {
		joined, err := tlog.JoinBundle(nil, want...)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := l.Tile(path); err != nil || !bytes.Equal(got, joined) {
			t.Errorf("%s: %v", path, err)
		}
		if got, err := tlog.ReadTile(dir, path); err != nil || !bytes.Equal(got, joined) {
			t.Errorf("%s in the directory: %v", path, err)
		}
	}
	for _, path := range []string{"tile/0/273", "tile/0/273.p/113", "tile/0/274.p/1", "tile/1/001.p/18", "tile/2/000.p/2", "tile/3/000.p/1", "tile/63/000.p/1", "tile/63/000", "tile/entries/273.p/113", "tile/entries/x036/x028/x797/x018/x963/967"} {
		if _, err := l.Tile(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := tlog.ReadTile(dir, path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s in the directory: %v", path, err)
		}
	}
	if over := float64(onDisk(t, dir))/size - 8; over > 36 {
		t.Errorf("%.2f bytes an entry on disk besides the entry: want ≤ 36", over)
	}
	t.Run("flip", func(t *testing.T) { flips(t, dir, entries, m) })
}

// One bit in any full file is found by whoever needs it, with its name, and mended by the
// same tile from elsewhere only.
func flips(t *testing.T, dir string, entries [][]byte, m *model) {
	const size = 70_000
	for _, path := range []string{"tile/0/000", "tile/0/255", "tile/0/272", "tile/1/000", "tile/entries/000", "tile/entries/255", "tile/entries/272"} {
		t.Run(path, func(t *testing.T) {
			dir := copyDir(t, dir)
			good := readFile(t, dir, path)
			p, err := tlog.ParsePath(path)
			if err != nil {
				t.Fatal(err)
			}
			index := p.Index * 256
			for _, at := range []int{0, 1, 2, len(good) / 2, len(good) - 1} {
				bad := bytes.Clone(good)
				bad[at] ^= 1 << (at % 8)
				writeFile(t, dir, path, bad)
				l := open(t, dir)
				if err := l.Check(size, m.mth(0, size)); err != nil {
					t.Fatal(err) // the edge does not need it
				}
				var corrupt tlog.ErrCorrupt
				if _, err := l.Tile(path); !errors.As(err, &corrupt) || corrupt.Tile != path {
					t.Fatalf("tile: %v", err)
				}
				corrupt = tlog.ErrCorrupt{}
				if _, err := l.Entries(index, index+1); !errors.As(err, &corrupt) || corrupt.Tile != path {
					t.Fatalf("entries: %v", err)
				}
				if p.Level >= 0 {
					corrupt = tlog.ErrCorrupt{}
					if _, err := l.Inclusion(index, size); !errors.As(err, &corrupt) || corrupt.Tile != path {
						t.Fatalf("inclusion: %v", err)
					}
				}
				other := bytes.Clone(bad)
				other[len(other)-1] ^= 0x10
				for _, wrong := range [][]byte{bad, other, nil, good[:len(good)-1], append(bytes.Clone(good), 0)} {
					if l.Repair(path, wrong) == nil {
						t.Fatal("Repair took what the tree does not say")
					}
				}
				if err := l.Repair(path, good); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(readFile(t, dir, path), good) {
					t.Fatal("not mended")
				}
				compare(t, l, entries, m, size, int(index), 300)
				_ = l.Close()
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		dir := copyDir(t, dir)
		for _, path := range []string{"tile/1/000", "tile/0/007", "tile/entries/007"} {
			good := readFile(t, dir, path)
			if err := os.Remove(filepath.Join(dir, filepath.FromSlash(path))); err != nil {
				t.Fatal(err)
			}
			l := open(t, dir)
			var corrupt tlog.ErrCorrupt
			if _, err := l.Entries(7*256, 8*256); !errors.As(err, &corrupt) || corrupt.Tile != path {
				t.Fatal(err)
			}
			if err := l.Repair(path, good); err != nil {
				t.Fatal(err)
			}
			compare(t, l, entries, m, size, 7*256, 300)
			_ = l.Close()
		}
	})
}

// Every byte of a bundle counts.
func TestEveryByteOfABundle(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	fill(t, l, 300, 3)
	sync(t, l)
	const path = "tile/entries/000"
	good := readFile(t, dir, path)
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 1 << (at % 8)
		writeFile(t, dir, path, bad)
		var corrupt tlog.ErrCorrupt
		if data, err := l.Tile(path); !errors.As(err, &corrupt) || corrupt.Tile != path {
			t.Fatalf("byte %d: %d bytes and %v", at, len(data), err)
		}
	}
}

// Readers see a whole log of some size at any moment, while another appends, syncs and
// the tiles under them become full.
func TestReadersWhileOneAppends(t *testing.T) {
	const size = 3000
	dir := t.TempDir()
	l := open(t, dir)
	entries := pack(0, size, 8)
	roots := make([]crypto.Hash, size+1)
	m := modelOf(entries)
	for n := range roots {
		roots[n] = m.mth(0, n)
	}
	done := make(chan struct{})
	var readers stdsync.WaitGroup
	for r := range 4 {
		readers.Go(func() {
			for round := r; ; round++ {
				n := l.Size()
				if err := l.Check(n, roots[n]); err != nil {
					t.Error(err)
					return
				}
				if n > 0 {
					index := uint64(round*7919) % n
					path, err := l.Inclusion(index, n)
					got, err2 := l.Entries(index, index+1)
					if err != nil || err2 != nil || tlog.VerifyInclusion(index, n, tlog.LeafHash(got[0]), path, roots[n]) != nil {
						t.Error(n, index, err, err2)
						return
					}
					p := tlog.Path{Level: tlog.LevelEntries, Index: index / 256, Width: int(min(n-index/256*256, 256))}
					if data, err := tlog.ReadTile(dir, p.String()); err != nil || len(data) != 10*p.Width {
						t.Errorf("%s in the directory: %v", p, err)
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for at := 0; at < size; at += 25 {
		appendTo(t, l, entries[at:at+25])
		if at%100 == 0 {
			sync(t, l)
		}
	}
	close(done)
	readers.Wait()
	if l.Size() != size {
		t.Fatal(l.Size())
	}
}

// What a reader was given stays as it was.
func TestReadersKeepWhatTheyHave(t *testing.T) {
	l := open(t, t.TempDir())
	fill(t, l, 300, 8)
	type had struct{ data, copy []byte }
	have := map[string]had{}
	paths := []string{"tile/0/000", "tile/0/000.p/5", "tile/0/001.p/44", "tile/0/001.p/3", "tile/1/000.p/1", "tile/entries/001.p/3", "tile/entries/001.p/44"}
	for _, path := range paths {
		data, err := l.Tile(path)
		if err != nil {
			t.Fatal(err)
		}
		have[path] = had{data, bytes.Clone(data)}
		_ = append(data, make([]byte, 100)...)
	}
	entries, m := pack(0, 300, 8), modelOf(pack(0, 300, 8))
	compare(t, l, entries, m, 300, 259, 5)
	for _, to := range []uint64{258, 5} {
		if err := l.Rewind(to); err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, pack(1_000_000, 300, 8))
	}
	for path, h := range have {
		if !bytes.Equal(h.data, h.copy) {
			t.Errorf("%s has changed in the hands of its reader", path)
		}
	}
}

func TestRefusals(t *testing.T) {
	l := open(t, t.TempDir())
	fill(t, l, 10, 8)
	for name, err := range map[string]error{
		"an entry of no bytes":  l.Append([][]byte{{1}, {}}),
		"an entry of 1025":      l.Append([][]byte{make([]byte, tlog.EntryBytesMax+1)}),
		"rewind beyond":         l.Rewind(11),
		"a root beyond":         second(l.Root(11)),
		"a root that is not it": l.Check(10, crypto.Hash{}),
		"an edge beyond":        second(l.Edge(11)),
		"inclusion beyond":      second(l.Inclusion(10, 10)),
		"inclusion in more":     second(l.Inclusion(1, 11)),
		"consistency beyond":    second(l.Consistency(1, 11)),
		"consistency backwards": second(l.Consistency(3, 2)),
		"entries beyond":        second(l.Entries(0, 11)),
		"entries backwards":     second(l.Entries(3, 2)),
		"a partial repair":      l.Repair("tile/0/000.p/3", nil),
		"a repair beyond":       l.Repair("tile/0/001", nil),
		"an edge too short":     second(tlog.RootFromEdge(3, make([]crypto.Hash, 1))),
		"a tile of three":       second(tlog.TileRoot(make([]byte, 3*32))),
	} {
		if err == nil {
			t.Error(name)
		}
	}
	if l.Size() != 10 {
		t.Fatal(l.Size())
	}
	big := make([]byte, tlog.EntryBytesMax)
	appendTo(t, l, slices.Repeat([][]byte{big}, 600))
	if got, err := l.Entries(609, 610); err != nil || !bytes.Equal(got[0], big) {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(pack(0, 1, 8)); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
}

func second[T any](_ T, err error) error { return err }
