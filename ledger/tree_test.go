package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

func testTree(t testing.TB, dir string) *tree {
	t.Helper()
	tree, err := openTree(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func numbered(from, to int) (out [][]byte) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Appendf(nil, "entry %d", i))
	}
	return out
}

// checkTree looks every entry up.
func checkTree(t testing.TB, tree *tree, want [][]byte) {
	t.Helper()
	if got := tree.Size(); got != uint64(len(want)) {
		t.Fatalf("%d entries, want %d", got, len(want))
	}
	for i, e := range want {
		if at, ok, err := tree.index(tlog.LeafHash(e)); err != nil || !ok || at != uint64(i) {
			t.Fatalf("entry %d is at %d (%v), %v", i, at, ok, err)
		}
	}
	got, err := tree.Entries(0, uint64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range got {
		if !bytes.Equal(e, want[i]) {
			t.Fatalf("entry %d is %q, want %q", i, e, want[i])
		}
	}
}

// copyDir copies what lies in a directory now, as a crash leaves it: files that a process
// has open are copied as they are.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(to, "index", "LOCK"))
	return to
}

// A flipped bit in the index hides no entry: what is not found would come in twice.
func TestFlippedIndex(t *testing.T) {
	dir := t.TempDir()
	want := numbered(0, 3000)
	tree := testTree(t, dir)
	if err := tree.Append(want); err != nil {
		t.Fatal(err)
	}
	if err := tree.close(); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "index", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	for part := range 8 {
		damaged := copyDir(t, dir)
		table := filepath.Join(damaged, "index", filepath.Base(tables[0]))
		raw, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)*(2*part+1)/16] ^= 1
		if err := os.WriteFile(table, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		tree, err := openTree(damaged, slog.New(slog.DiscardHandler))
		for i := 0; err == nil && i < len(want); i++ {
			var at uint64
			var ok bool
			if at, ok, err = tree.index(tlog.LeafHash(want[i])); err == nil && (!ok || at != uint64(i)) {
				t.Fatalf("entry %d is at %d (%v)", i, at, ok)
			}
		}
		if err == nil {
			t.Errorf("nobody noticed the flipped bit in %s", table)
		} else if !strings.Contains(err.Error(), filepath.Join(damaged, "index")) {
			t.Errorf("the error does not say what to remove: %v", err)
		}
		if tree != nil {
			if err := tree.close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(filepath.Join(damaged, "index")); err != nil {
			t.Fatal(err)
		}
		tree = testTree(t, damaged)
		checkTree(t, tree, want)
		if err := tree.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTreeAfterCrash(t *testing.T) {
	dir := t.TempDir()
	live := testTree(t, dir)
	all := numbered(0, 0)
	for pack := range 40 {
		next := numbered(len(all), len(all)+331)
		if _, err := live.add(next, uint64(pack+1), 7); err != nil {
			t.Fatal(err)
		}
		all = append(all, next...)
	}
	crashed := testTree(t, copyDir(t, dir))
	checkTree(t, crashed, all)
	applied := crashed.now().Applied
	if applied >= 40 {
		t.Logf("the index was written in full: %d", applied)
	}
	// Raft applies again what the stored state does not have.
	for pack := applied; pack < 40; pack++ {
		out, err := crashed.add(all[pack*331:(pack+1)*331], pack+1, 7)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range out {
			if !a.Known || a.Index != pack*331+uint64(i) {
				t.Fatalf("pack %d, entry %d: %v", pack, i, a)
			}
		}
	}
	checkTree(t, crashed, all)
	for _, tree := range []*tree{crashed, live} {
		if err := tree.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// lost is a tree whose tiles end before the index does, as after a power cut.
func lost(t *testing.T, synced, size, left int) (*tree, [][]byte) {
	dir := t.TempDir()
	tree := testTree(t, dir)
	all := numbered(0, size)
	for at := 0; at < size; at += 500 {
		if at == synced {
			if err := tree.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tree.add(all[at:at+500], uint64(at/500+1), 7); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.flush(); err != nil {
		t.Fatal(err)
	}
	crashed := copyDir(t, dir)
	if err := tree.close(); err != nil {
		t.Fatal(err)
	}
	log, err := tlog.Open(filepath.Join(crashed, "tiles"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(log.Rewind(uint64(left)), log.Close()); err != nil {
		t.Fatal(err)
	}
	after := testTree(t, crashed)
	t.Cleanup(func() { after.close() })
	return after, all
}

func TestTreeThatLostItsEnd(t *testing.T) {
	tree, all := lost(t, 2000, 6000, 2300)
	if got := tree.now().Applied; got != 4 || tree.missing != nil {
		t.Fatalf("applied %d, want 4 as when it was synced; missing %v", got, tree.missing)
	}
	checkTree(t, tree, all[:2300])
	for _, e := range all[2300:] {
		if at, ok, err := tree.index(tlog.LeafHash(e)); ok || err != nil {
			t.Fatalf("%q is at %d: %v", e, at, err)
		}
	}
	for pack := 4; pack < 12; pack++ {
		if _, err := tree.add(all[pack*500:(pack+1)*500], uint64(pack+1), 7); err != nil {
			t.Fatal(err)
		}
	}
	checkTree(t, tree, all)
}

func TestTreeThatLostWhatWasSynced(t *testing.T) {
	tree, all := lost(t, 2000, 6000, 1500)
	if tree.missing == nil || tree.missing.Size != 2000 || tree.missing.Applied != 4 {
		t.Fatalf("missing: %+v", tree.missing)
	}
	checkTree(t, tree, all[:1500])
	if err := tree.Append(all[1500:2000]); err != nil {
		t.Fatal(err)
	}
	if root, err := tree.Root(2000); err != nil || root != tree.missing.Root {
		t.Fatalf("root %v, want %v: %v", root, tree.missing.Root, err)
	}
}

func TestTreeModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "tree")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		open := func() *tree {
			tree, err := openTree(dir, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return tree
		}
		tree := open()
		defer func() { // rapid gives some tries up in the middle
			if tree != nil {
				_ = tree.close()
			}
		}()
		var all [][]byte
		places := map[string]uint64{}
		for applied := uint64(1); applied <= 12; applied++ {
			switch rapid.SampledFrom([]string{"add", "add", "mirror", "flush", "reopen"}).Draw(t, "do") {
			case "add":
				var pack [][]byte
				var want []Appended
				for _, n := range rapid.SliceOfN(rapid.IntRange(0, 400), 1, 300).Draw(t, "pack") {
					e := fmt.Appendf(nil, "%d", n)
					at, known := places[string(e)]
					if !known {
						at = uint64(len(all))
						places[string(e)] = at
						all = append(all, e)
					}
					pack, want = append(pack, e), append(want, Appended{at, known})
				}
				got, err := tree.add(pack, applied, int64(applied))
				if err != nil {
					t.Fatal(err)
				}
				for i := range got {
					if got[i] != want[i] {
						t.Fatalf("%q: %v, want %v", pack[i], got[i], want[i])
					}
				}
			case "mirror":
				e := fmt.Appendf(nil, "m%d", applied)
				places[string(e)] = uint64(len(all))
				all = append(all, e)
				if err := tree.Append([][]byte{e}); err != nil {
					t.Fatal(err)
				}
			case "flush":
				if err := tree.flush(); err != nil {
					t.Fatal(err)
				}
			case "reopen":
				err := tree.close()
				if tree = nil; err != nil {
					t.Fatal(err)
				}
				tree = open()
			}
		}
		leaves := make([]crypto.Hash, len(all))
		for i, e := range all {
			leaves[i] = tlog.LeafHash(e)
			if at, ok, err := tree.index(leaves[i]); err != nil || !ok || at != uint64(i) {
				t.Fatalf("%q is at %d, want %d: %v", e, at, i, err)
			}
		}
		if tree.Size() != uint64(len(all)) {
			t.Fatalf("%d entries, want %d", tree.Size(), len(all))
		}
		err = tree.close()
		if tree = nil; err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzDecodePack(f *testing.F) {
	f.Add(seal(addToPack(addToPack(newPack(7), []byte("a")), bytes.Repeat([]byte("b"), EntryMax))))
	f.Add(newPack(0))
	f.Add([]byte{kindPack})
	f.Fuzz(func(t *testing.T, b []byte) {
		ms, entries, err := decodePack(b)
		if err != nil {
			return
		}
		again := newPack(ms)
		for _, e := range entries {
			again = addToPack(again, e)
		}
		copy(again[1:commandHead], b[1:commandHead])
		if !bytes.Equal(again, b) {
			t.Fatalf("%x is read as %x", b, again)
		}
	})
}

func FuzzDecodeSnapshot(f *testing.F) {
	f.Add(snapshot{at: point{state: state{Size: 0, Applied: 3, Time: 7}, Root: tlog.EmptyRoot()}}.bytes())
	edge := []crypto.Hash{{1}, {2}}
	root, err := tlog.RootFromEdge(3, edge)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(snapshot{at: point{state: state{Size: 3, Applied: 3, Time: 7}, Root: root}, edge: edge}.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		at, edge, err := readSnapshot(b)
		if err != nil {
			return
		}
		if again := (snapshot{at: at, edge: edge}).bytes(); !bytes.Equal(again, b) {
			t.Fatalf("%x is read as %x", b, again)
		}
	})
}

func TestMarkStopsAReplicaThatDiffers(t *testing.T) {
	tree := testTree(t, t.TempDir())
	defer tree.close()
	if _, err := tree.add(numbered(0, 10), 1, 7); err != nil {
		t.Fatal(err)
	}
	var stopped error
	f := &fsm{tree: tree, stop: func(err error) { stopped = err }}
	right, _ := tree.Root(7)
	for _, c := range []struct {
		size uint64
		root crypto.Hash
		ok   bool
	}{{7, right, true}, {0, tlog.EmptyRoot(), true}, {8, right, false}, {11, right, false}} {
		if err := f.compare(c.size, c.root); (err == nil) != c.ok || !c.ok && !errors.Is(err, errDiverged) {
			t.Errorf("mark of %d: %v", c.size, err)
		}
	}
	if got := f.Apply(logOf(2, encodeMark(9, right))); got == nil || !errors.Is(stopped, errDiverged) {
		t.Fatalf("a false mark: %v, stopped by %v", got, stopped)
	}
	if got := f.Apply(logOf(3, seal(addToPack(newPack(7), []byte("more"))))); got == nil || tree.Size() != 10 {
		t.Errorf("it applies more: %v, %d entries", got, tree.Size())
	}
}

// What is on its way into the index is known meanwhile, to who looks and to who appends.
func TestTreeKnowsWhatIsBeingWritten(t *testing.T) {
	tree := testTree(t, t.TempDir())
	defer tree.close()
	all := numbered(0, 300)
	tree.flushing.Lock() // as a write of the index that takes its time
	defer tree.flushing.Unlock()
	if err := tree.Append(all); err != nil {
		t.Fatal(err)
	}
	tree.mu.Lock()
	tree.writing, tree.fresh = tree.fresh, map[crypto.Hash]uint64{}
	tree.mu.Unlock()
	checkTree(t, tree, all)
	out, err := tree.add(all, 1, 7)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range out {
		if !a.Known || a.Index != uint64(i) {
			t.Fatalf("entry %d is appended again, at %d", i, a.Index)
		}
	}
	checkTree(t, tree, all)
	tree.mu.Lock()
	tree.writing, tree.fresh = nil, tree.writing
	tree.mu.Unlock()
}

// A command that is not what was sealed is not applied, whichever way it came, nor is
// anything after it.
func TestDamagedCommandIsNotApplied(t *testing.T) {
	tree := testTree(t, t.TempDir())
	defer tree.close()
	var stopped error
	f := &fsm{tree: tree, stop: func(err error) { stopped = err }}
	pack := func(entry string) []byte { return seal(addToPack(newPack(7), []byte(entry))) }
	damaged := pack("one")
	damaged[len(damaged)-1] ^= 1
	f.Apply(logOf(1, damaged))
	if !errors.Is(stopped, errDamagedLog) || tree.Size() != 0 {
		t.Errorf("stopped by %v, with %d entries", stopped, tree.Size())
	}
	if err, _ := f.Apply(logOf(2, pack("two"))).(error); !errors.Is(err, errDamagedLog) || tree.Size() != 0 {
		t.Errorf("it goes on: %v, %d entries", err, tree.Size())
	}
}

func logOf(index uint64, command []byte) *raft.Log {
	return &raft.Log{Index: index, Type: raft.LogCommand, Data: command}
}
