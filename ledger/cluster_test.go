package ledger_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger"
	"github.com/watchward/watchward/ledger/ledgertest"
	"github.com/watchward/watchward/ledger/verify"
)

// newWitnessed makes a region with voters, witnesses and other hospitals.
func newWitnessed(t *testing.T, voters, witnesses []string, hospitals ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, region: testkit.NewRegionLedger(t, "test", voters, witnesses, hospitals...), net: ledgertest.New(), nodes: map[string]*node{}}
	for _, m := range c.region.Members {
		c.nodes[m.Credential.Name] = &node{c: c, member: m, dir: t.TempDir(), roster: c.region.Roster(t)}
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.stop()
		}
	})
	return c
}

func (c *cluster) policy(epoch uint32) *verify.Policy {
	c.t.Helper()
	p, err := verify.PolicyOf(c.region.Roster(c.t), c.region.ID, epoch)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// receipt waits for the receipt of an entry at a node, witnessed or not.
func (n *node) receipt(entry []byte, witnessed bool) *verify.Receipt {
	n.c.t.Helper()
	policy := n.c.policy(1)
	for end := time.Now().Add(soon); time.Now().Before(end); {
		grown := n.Grown()
		r, err := n.Receipt(entry)
		switch {
		case errors.Is(err, ledger.ErrNotCovered):
		case err != nil:
			n.c.t.Fatal(err)
		default:
			c, err := r.Verify(policy)
			if err != nil {
				n.c.t.Fatalf("%s has a receipt that is false: %v", n.member.Credential.Name, err)
			}
			if c.Witnessed || !witnessed {
				return r
			}
		}
		select {
		case <-grown:
		case <-time.After(time.Second):
		}
	}
	n.c.t.Fatalf("%s has no receipt of %q within %v", n.member.Credential.Name, entry, soon)
	return nil
}

// What is appended has receipts everywhere, soon; how soon on a busy machine is told and
// not judged.
func TestReceiptsEverywhere(t *testing.T) {
	t.Parallel()
	c := newWitnessed(t, []string{"a", "b", "c"}, []string{"w", "x"}, "h", "i")
	c.start("a", "b", "c", "w", "x", "h")
	c.append(entryOf("first"))
	leader := c.leader()
	leader.receipt(entryOf("first"), true)
	var good, witnessed []time.Duration
	for i := range 20 {
		e := entryOf("entry %d", i)
		begun := time.Now()
		c.append(e)
		leader.receipt(e, false)
		good = append(good, time.Since(begun))
		leader.receipt(e, true)
		witnessed = append(witnessed, time.Since(begun))
	}
	slices.Sort(good)
	slices.Sort(witnessed)
	t.Logf("receipts: p50 %v, max %v; witnessed: p50 %v, max %v", good[10], good[19], witnessed[10], witnessed[19])

	for _, name := range []string{"a", "b", "c", "w", "x", "h"} {
		c.nodes[name].receipt(entryOf("entry 19"), true)
	}
	c.start("i") // comes later, and learns it all
	c.nodes["i"].receipt(entryOf("entry 0"), false)
	h := c.nodes["h"]
	c.wait("h knows who leads", func() bool { return h.Status().Leader == c.leader().member.ID })
	s := h.Status()
	if s.Role != ledger.RoleMirror || s.Checkpoint.Size != 21 || !s.Checkpoint.Good || len(s.Checkpoint.Signers) < 2 || !s.NoQuorumSince.IsZero() || s.Split {
		t.Errorf("status of a hospital: %+v", s)
	}
	c.wait("a strong answer through the network", func() bool { // a new leader may be elected just now
		found, err := h.Find(t.Context(), entryOf("entry 7"), true)
		return err == nil && found.Known && found.Index == 8 && found.Leader == c.leader().member.ID
	})
	c.wait("a strong answer about what is not there", func() bool {
		found, err := h.Find(t.Context(), entryOf("never said"), true)
		return err == nil && !found.Known && found.Size >= 21
	})
}

// With the leader gone the next one has checkpoints signed; with all gone hospitals go on.
func TestCheckpointsOutliveLeaders(t *testing.T) {
	c := newWitnessed(t, []string{"a", "b", "c"}, nil, "h", "i")
	c.start("a", "b", "c", "h")
	c.append(entriesOf("one", 300)...)
	c.nodes["h"].receipt(entryOf("one/299"), false)
	c.leader().stop()
	c.append(entriesOf("two", 300)...)
	c.nodes["h"].receipt(entryOf("two/299"), false)
	for _, name := range []string{"a", "b", "c"} {
		c.nodes[name].stop()
	}
	c.start("i")
	c.nodes["i"].receipt(entryOf("one/0"), false)
	c.nodes["i"].receipt(entryOf("two/299"), false)
	c.nodes["h"].stop()
	c.start("h") // from its disk alone
	c.nodes["h"].receipt(entryOf("two/0"), false)
	for name, n := range c.nodes {
		for _, kind := range []string{"ledger-split-view", "ledger-differs", "ledger-link"} {
			if n.alarmed(kind) {
				t.Errorf("%s alarms: %s", name, kind)
			}
		}
	}
}

// A new epoch continues the one before, which is still served and proven.
func TestNewEpochIsLinked(t *testing.T) {
	t.Parallel()
	c := newWitnessed(t, []string{"a", "b", "c"}, nil, "h", "i")
	c.start("a", "b", "c", "h")
	c.append(entriesOf("one", 300)...)
	c.nodes["h"].receipt(entryOf("one/299"), false)
	record := c.region.Amend(t, func(ch *trust.Charter) { ch.Ledger++ })
	for _, n := range c.nodes {
		if _, err := n.roster.Add(record); err != nil {
			t.Fatal(err)
		}
	}
	c.wait("a leader of the second epoch", func() bool { return c.leader().Status().Epoch == 2 })
	c.append(entriesOf("two", 10)...)
	h := c.nodes["h"]
	c.wait("h has the second epoch", func() bool { s := h.Status(); return s.Epoch == 2 && s.Checkpoint.Size == 11 && s.Checkpoint.Good })
	c.start("i")
	i := c.nodes["i"]
	c.wait("i has the second epoch", func() bool { s := i.Status(); return s.Epoch == 2 && s.Checkpoint.Size == 11 })
	for _, name := range []string{"a", "b", "c"} {
		c.nodes[name].stop()
	}
	i.receipt(entryOf("one/7"), false)
	r, err := i.Receipt(entryOf("two/7"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify(c.policy(2)); err != nil || r.Index != 8 {
		t.Errorf("receipt of the second epoch: index %d, %v", r.Index, err)
	}
	for name, n := range c.nodes {
		if n.alarmed("ledger-link") || n.alarmed("ledger-split-view") {
			t.Errorf("%s alarms", name)
		}
	}
}
