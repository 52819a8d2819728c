//go:build linux

package fault_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/testnet/fault"
	"github.com/watchward/watchward/testnet/proc"
)

const voters = 3

// keepers makes a region of three coordinators that keep its ledger, and of a hospital
// that witnesses it.
func keepers(t *testing.T, w *proc.Network) (*fault.Driver, []*proc.Node) {
	t.Helper()
	d := makeRegions(t, proc.Config{Network: w, Coordinators: voters}, voters+1)
	n := d.Region.Nodes
	args := []string{"region", "amend", "--witness", n[voters].Name, "--key", d.Region.Key(0), "--key", d.Region.Key(1)}
	for _, v := range n[:voters] {
		args = append(args, "--voter", v.Name)
	}
	_, err := n[0].Must(t.Context(), args...)
	must(t, err)
	allIn(t, n)
	return d, n
}

func ledgerOf(ctx context.Context, n *proc.Node) (api.LedgerView, error) {
	c, err := n.Client()
	if err != nil {
		return api.LedgerView{}, err
	}
	defer c.Close()
	return c.Ledger(ctx)
}

// leading waits until one of some nodes leads the ledger, and returns it.
func leading(t *testing.T, among ...*proc.Node) (leader *proc.Node) {
	t.Helper()
	must(t, proc.Poll(within(t, healMax), func() error {
		for _, n := range among {
			if v, err := ledgerOf(t.Context(), n); err == nil && v.Leads {
				leader = n
				return nil
			}
		}
		return errors.New("nobody leads the ledger")
	}))
	return leader
}

// without returns the voters but one.
func without(n []*proc.Node, one *proc.Node) []*proc.Node {
	return slices.DeleteFunc(slices.Clone(n[:voters]), func(v *proc.Node) bool { return v == one })
}

// allIn waits until nodes have one ledger with all that belongs in it, under a checkpoint
// of a quorum.
func allIn(t *testing.T, nodes []*proc.Node) {
	t.Helper()
	must(t, proc.Poll(within(t, healMax), func() error {
		var root string
		for _, n := range nodes {
			v, err := ledgerOf(t.Context(), n)
			switch {
			case err != nil:
				return err
			case v.Split:
				t.Fatalf("%s: %q", n.Name, v.Warnings)
			case v.Size == 0 || v.Pending > 0 || v.Checkpoint == nil || !v.Checkpoint.Good || v.Checkpoint.Size != v.Size:
				return fmt.Errorf("%s has %d entries, %d wait, its checkpoint is %+v", n.Name, v.Size, v.Pending, v.Checkpoint)
			case root != "" && v.Checkpoint.Root != root:
				return fmt.Errorf("%s has a checkpoint of another tree", n.Name)
			}
			root = v.Checkpoint.Root
		}
		return nil
	}))
}

// raftLog is the file that a voter's raft writes its log to.
func raftLog(t *testing.T, n *proc.Node) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(n.Dir, "ledger", "epoch", "1", "raft", "log", "*.wal"))
	if err != nil || len(all) == 0 {
		t.Fatalf("%s has no raft log: %v", n.Name, err)
	}
	return slices.Max(all)
}

// The leader is cut off. It appends nothing and says so, and its words go no further; the
// others elect another and go on. Afterwards everything is in, once.
func TestLedgerInAPartition(t *testing.T) {
	t.Parallel()
	d, n := keepers(t, network(t))
	say(t, d, n[voters], fault.Options{Urgent: true, TLP: "GREEN"}, "before.example")
	for _, node := range n {
		await(t, wordMax, node, "before.example")
	}
	old := leading(t, n[:voters]...)
	rest := append(without(n, old), n[voters])
	allIn(t, n)
	must(t, d.Region.Split([]*proc.Node{old}, rest))
	next := leading(t, without(n, old)...)
	say(t, d, rest[0], fault.Options{Urgent: true, TLP: "GREEN"}, "majority.example")
	say(t, d, old, fault.Options{Urgent: true, TLP: "GREEN"}, "minority.example")
	allIn(t, rest)
	must(t, proc.Poll(within(t, wordMax), func() error {
		v, err := ledgerOf(t.Context(), old)
		if err == nil && (v.Since == 0 || v.Pending == 0 || v.Leads || !strings.Contains(strings.Join(v.Warnings, "\n"), "no quorum since")) {
			err = fmt.Errorf("the minority says: no quorum since %d, %d wait, leads %t, %q", v.Since, v.Pending, v.Leads, v.Warnings)
		}
		return err
	}))
	must(t, fault.Knows(t.Context(), old, "before.example", "minority.example"))
	t.Logf("%s was cut off, %s leads", old.Name, next.Name)
	d.Region.Heal()
	for _, node := range n {
		await(t, healMax, node, "majority.example", "minority.example")
	}
	allIn(t, n)
	check(t, d)
	allIn(t, n)
}

// The disk of the leader hangs in the middle of a write to its raft log: another leads,
// and when the disk answers again all have everything.
func TestStalledSyncOfTheLeader(t *testing.T) {
	t.Parallel()
	const stall, most = 5 * time.Second, 30 * time.Second
	d, n := keepers(t, nil)
	old := leading(t, n[:voters]...)
	i := inject(t, old, fmt.Sprintf("delay_enter=%d", stall.Microseconds()), raftLog(t, old), true)
	start := time.Now()
	say(t, d, old, fault.Options{Urgent: true, TLP: "GREEN"}, "stalled.example")
	next := leading(t, without(n, old)...)
	took := time.Since(start)
	t.Logf("%s leads %s after a word at %s, whose disk hung", next.Name, took.Round(time.Millisecond), old.Name)
	if took > most {
		t.Errorf("a new leader only after %s", took)
	}
	must(t, fault.Knows(t.Context(), old, "stalled.example"))
	allIn(t, append(without(n, old), n[voters])) // gossip brought the word to the next leader
	said, err := i.Close()
	must(t, err)
	if !strings.Contains(said, "sync(") {
		t.Fatalf("no call was delayed: %s", said)
	}
	allIn(t, n)
	check(t, d)
}

// An fsync of the leader's raft log fails: it is out, ends and says why; the others go on,
// and it comes back with everything.
func TestFailedSyncOfAVoter(t *testing.T) {
	t.Parallel()
	d, n := keepers(t, nil)
	bad := leading(t, n[:voters]...)
	i := inject(t, bad, "error=EIO", raftLog(t, bad), true)
	say(t, d, n[voters], fault.Options{Urgent: true, TLP: "GREEN"}, "doubtful.example")
	ended(t, bad, i, 1)
	if log := bad.Log(); !strings.Contains(log, "the ledger cannot be written, so this node stops") {
		t.Errorf("it does not say why it ended: %s", log)
	}
	next := leading(t, without(n, bad)...)
	say(t, d, next, fault.Options{Urgent: true, TLP: "GREEN"}, "after.example")
	allIn(t, append(without(n, bad), n[voters]))
	must(t, bad.Start(t.Context()))
	allIn(t, n)
	check(t, d)
}
