package ledger_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/ledger/ledgertest"
	"github.com/watchward/watchward/ledger/tlog"
)

// damagedEntries fill several tiles, and more than one segment of nothing.
const damagedEntries = 1500

// A file of a voter's directory, any of them, is torn or has a bit flipped, while its node
// does not run. The voter mends it, or refuses and says which directory it is about; it
// never leads, nor shows anybody, another ledger; and the others go on.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	seed := number(t, "WATCHWARD_FAULT_SEED", uint64(time.Now().UnixNano()))
	c := newWitnessed(t, []string{"a", "b", "c"}, nil, "h")
	c.start("a", "b", "c", "h")
	c.append(entriesOf("x", damagedEntries)...)
	c.same(damagedEntries, "a", "b", "c", "h")
	c.wait("a has signed it", func() bool {
		s := c.nodes["h"].Status().Checkpoint
		return s.Size == damagedEntries && slices.Contains(s.Signers, c.nodes["a"].member.ID)
	})
	if err := c.nodes["a"].SnapshotOnly(); err != nil {
		t.Fatal(err)
	}
	c.append(entriesOf("y", 100)...)
	c.same(damagedEntries+100, "a", "b", "c", "h")
	whole := map[string]string{}
	for name, n := range c.nodes {
		n.stop()
		whole[name] = n.dir
	}
	files := filesOf(t, whole["a"])
	for i := range number(t, "WATCHWARD_LEDGER_DAMAGE", 8) {
		random := rand.New(rand.NewPCG(seed+i, 0))
		file := files[random.IntN(len(files))]
		t.Run(fmt.Sprintf("%d/%s", seed+i, strings.ReplaceAll(file, "/", "_")), func(t *testing.T) {
			t.Parallel()
			t.Logf("the same again: WATCHWARD_FAULT_SEED=%d WATCHWARD_LEDGER_DAMAGE=1", seed+i)
			d := &cluster{t: t, region: c.region, net: ledgertest.New(), nodes: map[string]*node{}}
			for name, n := range c.nodes {
				d.nodes[name] = &node{c: d, member: n.member, dir: t.TempDir(), roster: n.roster}
				if err := os.CopyFS(d.nodes[name].dir, os.DirFS(whole[name])); err != nil {
					t.Fatal(err)
				}
			}
			damage(t, random, filepath.Join(d.nodes["a"].dir, file))
			d.damaged()
		})
	}
}

// filesOf lists the files of a directory that have something in them.
func filesOf(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() > 0 {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// damage tears a file off, or flips one of its bits, where there is something.
func damage(t *testing.T, random *rand.Rand, file string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	used := len(raw)
	for used > 1 && raw[used-1] == 0 { // files that are made large before they are filled
		used--
	}
	at := random.IntN(used)
	if random.IntN(2) == 0 {
		t.Logf("%s ends after %d of %d bytes", file, at, len(raw))
		raw = raw[:at]
	} else {
		bit := byte(1) << random.IntN(8)
		t.Logf("of byte %d of %d in %s bit %#x flips", at, len(raw), file, bit)
		raw[at] ^= bit
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// damaged starts the nodes, of which a is damaged.
func (c *cluster) damaged() {
	t := c.t
	bad := c.nodes["a"]
	defer func() {
		for _, n := range c.nodes {
			n.stop()
		}
	}()
	opened := bad.open()
	if opened != nil {
		t.Logf("it does not open: %v", opened)
		if !strings.Contains(opened.Error(), bad.dir) {
			t.Errorf("the error does not say where: %v", opened)
		}
		if index := filepath.Join(bad.dir, "epoch", "1", "index"); strings.Contains(opened.Error(), index) {
			if err := os.RemoveAll(index); err != nil { // as it says
				t.Fatal(err)
			}
			if opened = bad.open(); opened != nil {
				t.Errorf("without the index: %v", opened)
			}
		}
	}
	c.start("b", "c", "h")
	const size = damagedEntries + 101
	c.append([]byte("after"))
	c.same(size, "b", "c", "h")
	if opened == nil {
		c.wait("it is whole, or refuses", func() bool {
			s := bad.Status()
			return s.Size == size || s.Fenced != ""
		})
		if why := bad.Status().Fenced; why != "" {
			t.Logf("it refuses: %s", why)
			if bad.Leads() || !strings.Contains(why, bad.dir) {
				t.Errorf("it leads (%t), or does not say where: %s", bad.Leads(), why)
			}
		} else {
			c.same(size, "a", "b")
			c.index(bad, c.nodes["b"], size)
		}
	}
	for name, n := range c.nodes {
		for _, kind := range []string{"ledger-split-view", "ledger-differs", "ledger-diverged"} {
			if n.alarmed(kind) {
				t.Errorf("%s alarms: %s", name, kind)
			}
		}
	}
}

// index compares what two nodes say of every entry, of which the first may refuse.
func (c *cluster) index(n, other *node, size uint64) {
	c.t.Helper()
	entries, err := other.EntriesOf(1, 0, size)
	if err != nil {
		c.t.Fatal(err)
	}
	for i, e := range entries {
		at, ok, err := n.Index(tlog.LeafHash(e))
		if err != nil && strings.Contains(err.Error(), n.dir) {
			c.t.Logf("entry %d: %v", i, err)
			return
		}
		if err != nil || !ok || at != uint64(i) {
			c.t.Fatalf("entry %d is at %d (%t) there: %v", i, at, ok, err)
		}
	}
}
