package ledger_test

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger"
	"github.com/watchward/watchward/ledger/entry"
	"github.com/watchward/watchward/ledger/tlog"
)

// amend changes the charter, and tells every member.
func (c *cluster) amend(change func(*trust.Charter)) {
	c.t.Helper()
	record := c.region.Amend(c.t, change)
	for name, n := range c.nodes {
		if _, err := n.roster.Add(record); err != nil {
			c.t.Fatalf("%s: %v", name, err)
		}
	}
}

func (c *cluster) ids(names ...string) (out []crypto.MemberID) {
	for _, name := range names {
		out = append(out, c.nodes[name].member.ID)
	}
	return out
}

func TestCharterChangesVoters(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, "d", "e")
	c.start("a", "b", "c", "d", "e")
	c.append(entriesOf("x", 100)...)
	c.voters(3)

	c.amend(func(ch *trust.Charter) { ch.Voters = c.ids("a", "b", "c", "d", "e") })
	c.voters(5)
	c.append(entriesOf("y", 100)...)
	c.same(200, "a", "b", "c", "d", "e")

	// The leader is among those who go.
	leader := c.leader()
	var stay []string
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		if c.nodes[name] != leader && len(stay) < 3 {
			stay = append(stay, name)
		}
	}
	c.amend(func(ch *trust.Charter) { ch.Voters = c.ids(stay...) })
	c.voters(3)
	if c.leader() == leader {
		t.Error("a member leads that does not vote")
	}
	c.wait("who has left is a mirror", func() bool { return leader.Status().Role == ledger.RoleMirror })
	c.append([]byte("z"))
	c.same(201, stay...)
}

func TestVoterIsNotDroppedWithoutQuorum(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.append([]byte("x"))
	c.voters(3)
	c.nodes["b"].stop()
	down := c.nodes["b"].member.ID
	c.wait("b is missed", func() bool {
		return !slices.ContainsFunc(c.leader().Status().Voters, func(v ledger.VoterStatus) bool { return v.Member == down && v.Healthy })
	})
	c.wait("b is said to be silent, alone", func() bool {
		voters := c.leader().Status().Voters
		return len(voters) == 3 && !slices.ContainsFunc(voters, func(v ledger.VoterStatus) bool { return !v.Known || v.SilentSince.IsZero() == (v.Member == down) })
	})
	leader := c.leader()
	// b is down: without c or a the remaining quorum of two would have one.
	c.amend(func(ch *trust.Charter) { ch.Voters = c.ids("b", leader.member.Credential.Name) })
	for range 20 { // five looks at the charter
		c.append([]byte("goes on"))
		time.Sleep(beat / 2)
		if n, _ := leader.RaftServers(); n != 3 {
			t.Fatalf("%d voters, want 3", n)
		}
	}
	c.nodes["b"].start()
	c.voters(2)
	c.append([]byte("y"))
	c.same(3, "b", leader.member.Credential.Name)
	c.wait("b is silent no more", func() bool {
		return !slices.ContainsFunc(c.leader().Status().Voters, func(v ledger.VoterStatus) bool { return !v.SilentSince.IsZero() })
	})
	for _, v := range c.nodes["c"].Status().Voters {
		if v.Known && c.leader() != c.nodes["c"] {
			t.Errorf("who does not lead knows how %s is: %+v", v.Name, v)
		}
	}
}

// A voter has died, and the leader does not know it yet when the charter drops another: who
// was well a moment ago is asked again before a vote goes.
func TestVoterIsNotDroppedOnOldNews(t *testing.T) {
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.append([]byte("x"))
	c.voters(3)
	c.nodes["b"].stop()
	leader := c.leader(c.nodes["b"])
	name := leader.member.Credential.Name
	c.amend(func(ch *trust.Charter) { ch.Voters = c.ids("b", name) })
	for range 10 {
		c.append([]byte("goes on"))
		_ = leader.AdjustLate(t.Context()) // who leads no more cannot: what counts is who votes
		if n, _ := leader.RaftServers(); n != 3 {
			t.Fatalf("%d voters, want 3", n)
		}
	}
	c.nodes["b"].start()
	c.voters(2)
	c.append([]byte("y"))
	c.same(3, "b", name)
}

func TestSnapshotUnderLoad(t *testing.T) {
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.voters(3)
	late := c.nodes["a"]
	if c.leader() == late {
		late = c.nodes["b"]
	}
	late.stop()
	c.append(entriesOf("x", 5000)...)
	for _, n := range c.nodes {
		if n != late {
			if err := n.Snapshot(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var stop atomic.Bool
	var wait sync.WaitGroup
	var size atomic.Uint64
	for k := range 2 {
		wait.Go(func() {
			for i := 0; !stop.Load(); i++ {
				for _, a := range c.append(entryOf("load %d/%d", k, i)) {
					size.Store(max(size.Load(), a.Index+1))
				}
			}
		})
	}
	late.start()
	c.wait("the snapshot is here", func() bool { return late.Status().Size > 5000 })
	stop.Store(true)
	wait.Wait()
	_, _, err := c.leader().Tree()
	if err != nil {
		t.Fatal(err)
	}
	c.append([]byte("last"))
	want, _, _ := c.leader().Tree()
	c.same(want, "a", "b", "c")
	if f, err := late.Find(t.Context(), []byte("x/4999"), false); err != nil || f.Index != 4999 || !f.Known {
		t.Errorf("an entry of the snapshot: %v, %v", f, err)
	}
	late.stop()
	late.start()
	c.append([]byte("after the restart"))
	c.same(want+1, "a", "b", "c")
}

func TestNewEpochLinksTheOld(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.append(entriesOf("x", 10)...)
	c.same(10, "a", "b", "c")
	var last tlog.Checkpoint
	c.wait("a good checkpoint of all", func() bool {
		_, last = c.nodes["a"].Checkpoint()
		return last.Size == 10 && c.nodes["a"].Status().Checkpoint.Good
	})
	c.nodes["c"].stop()
	// Two of three are gone for good; the charter begins anew with who is there.
	c.nodes["b"].stop()
	c.amend(func(ch *trust.Charter) { ch.Ledger, ch.Voters = 2, c.ids("a") })
	c.wait("the new epoch is led", func() bool { return c.nodes["a"].Status().Epoch == 2 && c.nodes["a"].Leads() })
	if out := c.append([]byte("x/3")); out[0].Index != 1 || out[0].Known {
		t.Errorf("an entry of the old epoch: %v", out)
	}
	got, err := c.nodes["a"].EntriesOf(2, 0, 1)
	if want := entry.Encode(entry.Link, sha256.Sum256([]byte(last.Text()))); err != nil || !bytes.Equal(got[0], want) {
		t.Errorf("the first entry: %x, want %x: %v", got, want, err)
	}
	if old, err := c.nodes["a"].EntriesOf(1, 0, 10); err != nil || string(old[9]) != "x/9" {
		t.Errorf("the old epoch: %q, %v", old, err)
	}
	c.amend(func(ch *trust.Charter) { ch.Voters = c.ids("a", "b", "c") })
	c.start("b", "c")
	c.voters(3)
	c.same(2, "a", "b", "c")
	if origin := c.nodes["b"].Status().Origin; origin != tlog.Origin(c.region.ID, 2) {
		t.Errorf("origin %s", origin)
	}
}

func TestTransferAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.start("a")
	c.append([]byte("x"))
	if err := c.leader().Transfer(t.Context(), crypto.MemberID{}); err != ledger.ErrAlone {
		t.Errorf("the only voter hands over: %v", err)
	}
}

func TestTransferAndStrongReads(t *testing.T) {
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.append([]byte("x"))
	c.voters(3)
	old := c.leader()
	to := c.nodes["a"]
	if to == old {
		to = c.nodes["b"]
	}
	if err := to.Transfer(t.Context(), to.member.ID); err == nil {
		t.Error("a follower hands over")
	}
	if err := old.Transfer(t.Context(), to.member.ID); err != nil {
		t.Fatal(err)
	}
	c.wait("the new leader", to.Leads)
	c.append([]byte("y"))
	for name, n := range c.nodes {
		c.wait("a leader is known", func() bool { m, ok := n.Leader(); return ok && m == to.member.ID })
		f, err := n.Find(t.Context(), []byte("y"), true)
		if err != nil || !f.Known || f.Index != 1 || f.Leader != to.member.ID {
			t.Errorf("strong read at %s: %+v, %v", name, f, err)
		}
		if f, err := n.Find(t.Context(), []byte("never"), true); err != nil || f.Known || f.Size != 2 {
			t.Errorf("strong read of nothing at %s: %+v, %v", name, f, err)
		}
	}
	s := to.Status()
	if s.Role != ledger.RoleLeader || s.Leader != to.member.ID || s.Term == 0 || s.Size != 2 {
		t.Errorf("status: %+v", s)
	}
	c.wait("the leader hears the voters' health", func() bool {
		for _, v := range to.Status().Voters {
			if !v.Healthy || v.Size != 2 {
				return false
			}
		}
		return true
	})
}
