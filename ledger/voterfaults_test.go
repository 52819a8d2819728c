package ledger_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger"
)

// A voter that cannot hear the leader, and that the others hear, asks for no election
// again and again.
func TestOneWayCutBringsNoElections(t *testing.T) {
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.append([]byte("before"))
	c.voters(3)
	leader := c.leader()
	deaf := c.nodes["a"]
	if deaf == leader {
		deaf = c.nodes["b"]
	}
	c.net.Mute(leader.peer(), deaf.peer())
	c.wait("it misses its leader", func() bool { return !deaf.Status().NoQuorumSince.IsZero() })
	// It would begin a term in every second beat. A machine that pauses brings an election
	// too, and then the beats are counted anew.
	const calm, most = 15, 100
	var terms [2]uint64
	for n, since := 0, 0; since < calm; n++ {
		if n == most {
			t.Fatalf("in %d beats there were never %d without a new term", most, calm)
		}
		c.append([]byte("goes on"))
		time.Sleep(beat)
		since++
		if now := [2]uint64{c.leader().Status().Term, deaf.Status().Term}; now != terms {
			terms, since = now, 0
		}
	}
	c.net.Heal(leader.peer(), deaf.peer())
	c.append([]byte("after"))
	c.same(3, "a", "b", "c")
}

// Members that are no voters, and strangers, get no answer from a raft.
func TestOnlyVotersSpeakRaft(t *testing.T) {
	c := newWitnessed(t, []string{"a", "b", "c"}, []string{"w"}, "h")
	c.start("a", "b", "c")
	c.append([]byte("x"))
	for name, peer := range map[string]string{"a voter": c.nodes["b"].peer(), "a hospital": c.nodes["h"].peer(), "a witness": c.nodes["w"].peer(), "a stranger": "stranger"} {
		if name == "a voter" {
			c.nodes["b"].stop()
		}
		port := c.net.Join(peer)
		for _, protocol := range ledger.RaftProtocols(1) {
			s, err := port.Open(t.Context(), c.nodes["a"].peer(), protocol)
			if (err == nil) != (name == "a voter") {
				t.Errorf("%s opens %s: %v", name, protocol, err)
			}
			if err == nil {
				s.Reset()
			}
		}
		c.net.Leave(peer)
	}
}

// A leader whose clock is set back while others cannot hear it has no lease by that: it
// answers nothing that is out of date.
func TestStrongReadsWithTheClockSetBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	var off [3]atomic.Int64
	for i, name := range []string{"a", "b", "c"} {
		c.nodes[name].now = func() time.Time { return time.Now().Add(time.Duration(off[i].Load())) }
	}
	c.start("a", "b", "c")
	c.append([]byte("x"))
	c.voters(3)
	old := c.leader()
	set := func(d time.Duration) {
		off[slices.Index([]string{"a", "b", "c"}, old.member.Credential.Name)].Store(int64(d))
	}
	for _, back := range []time.Duration{-time.Hour, -365 * 24 * time.Hour} {
		set(back)
		c.net.Isolate(old.peer())
		c.leader(old)
		entry := entryOf("said %v back", back)
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		c.wait("the others append", func() bool { _, err := c.leader(old).Append(ctx, entry); return err == nil })
		cancel()
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), beat/2)
			if f, err := old.Find(ctx, entry, true); err == nil && !f.Known {
				t.Errorf("a strong read says that %q is not there", entry)
			}
			if f, err := old.FindHere(ctx, entry); err == nil && !f.Known {
				t.Errorf("a strong read of a peer says that %q is not there", entry)
			}
			cancel()
		}
		c.net.Rejoin(old.peer())
		c.wait("it leads again", func() bool { // with its clock as it is
			if err := c.leader().Transfer(t.Context(), old.member.ID); err != nil {
				return false
			}
			return old.Leads()
		})
		c.wait("a strong read knows it", func() bool {
			f, err := old.Find(t.Context(), entry, true)
			return err == nil && f.Known
		})
	}
	c.append([]byte("y"))
	c.same(4, "a", "b", "c")
}

// A leader whose clock is slow believes in its lease while the others have elected another:
// it gives no strong answer.
func TestStrongReadsWithALeaseThatIsTooLong(t *testing.T) {
	c := newCluster(t, 3)
	slow := c.nodes["a"]
	c.start("a", "b", "c")
	c.append([]byte("x"))
	c.voters(3)
	slow.stop()
	slow.beat = 10 * soon
	slow.start()
	c.wait("it leads, and nobody hears it", func() bool {
		_ = c.leader().Transfer(t.Context(), slow.member.ID) // what matters is whether it leads
		if !slow.Leads() {
			return false
		}
		if f, err := slow.Find(t.Context(), []byte("x"), true); err != nil { // it has lost the lead by now
			return false
		} else if !f.Known {
			t.Errorf("a strong read: %+v", f)
		}
		c.net.Isolate(slow.peer())
		if !slow.Leads() {
			c.net.Rejoin(slow.peer())
		}
		return slow.Leads()
	})
	c.leader(slow)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	c.wait("the others append", func() bool { _, err := c.leader(slow).Append(ctx, []byte("y")); return err == nil })
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), beat/4)
		if f, err := slow.Find(ctx, []byte("y"), true); err == nil {
			t.Errorf("a strong read: %+v", f)
		}
		if f, err := slow.FindHere(ctx, []byte("y")); err == nil {
			t.Errorf("a strong read of a peer: %+v", f)
		}
		cancel()
	}
	if !slow.Leads() {
		t.Error("it has noticed, so nothing was tried")
	}
	c.net.Rejoin(slow.peer())
	c.wait("a strong read knows it", func() bool {
		f, err := slow.Find(t.Context(), []byte("y"), true)
		return err == nil && f.Known
	})
	c.same(2, "a", "b", "c")
}

// Without a quorum the charter changes no voters, whatever it says.
func TestVotersStayWithoutQuorum(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, "d")
	c.start("a", "b", "c", "d")
	c.append([]byte("x"))
	c.voters(3)
	left := c.leader()
	for name, n := range c.nodes {
		if n != left && name != "d" {
			n.stop()
		}
	}
	name := left.member.Credential.Name
	c.amend(func(ch *trust.Charter) { ch.Voters = c.ids(name, "d") })
	c.wait("it knows that it has no quorum", func() bool { return !left.Status().NoQuorumSince.IsZero() })
	time.Sleep(20 * beat) // nothing may happen in that time
	if voters, others := left.RaftServers(); voters != 3 || others != 0 {
		t.Errorf("%d voters and %d others without a quorum", voters, others)
	}
	if left.Leads() || c.nodes["d"].Leads() {
		t.Error("somebody leads without a quorum")
	}
	for other, n := range c.nodes {
		if n.running.Load() == nil {
			c.start(other)
		}
	}
	c.voters(2)
	c.append([]byte("y"))
	c.same(2, name, "d")
	for other, n := range c.nodes {
		if other == name || other == "d" {
			continue
		}
		c.wait("who was dropped is a mirror", func() bool { return n.Status().Role == ledger.RoleMirror })
		n.stop()
		n.start() // finds out again that the others have let it go
		c.wait("it is a mirror again, and copies", func() bool { s := n.Status(); return s.Role == ledger.RoleMirror && s.Size == 2 })
	}
	c.append([]byte("z"))
	c.same(3, "a", "b", "c", "d")
}

// A voter is restored from an old backup, votes, raft log and mark. It signs nothing that
// is smaller than what it has signed, and gets the rest from the others.
func TestRestoredVoter(t *testing.T) {
	t.Parallel()
	c := newWitnessed(t, []string{"a", "b", "c"}, nil, "h")
	c.start("a", "b", "c", "h")
	c.append(entriesOf("old", 50)...)
	signed := func(n *node, size uint64) bool {
		s := c.nodes["h"].Status().Checkpoint
		return s.Size == size && slices.Contains(s.Signers, n.member.ID)
	}
	n := c.nodes["b"]
	c.wait("b has signed 50", func() bool { return signed(n, 50) })
	n.stop()
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(n.dir)); err != nil {
		t.Fatal(err)
	}
	n.start()
	c.append(entriesOf("new", 50)...)
	c.wait("b has signed 100", func() bool { return signed(n, 100) })
	n.stop()
	if err := errors.Join(os.RemoveAll(n.dir), os.CopyFS(n.dir, os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	// It hears the hospital, which has its signature, and no other voter.
	for _, v := range []string{"a", "c"} {
		c.net.Cut(n.peer(), c.nodes[v].peer())
	}
	n.start()
	c.wait("it knows what it has signed", func() bool { return n.Signed(1) == 100 })
	for _, v := range []string{"a", "c"} {
		c.net.Heal(n.peer(), c.nodes[v].peer())
	}
	c.append([]byte("last"))
	c.same(101, "a", "b", "c")
	c.wait("it signs what is larger", func() bool { return signed(n, 101) })
	for name, n := range c.nodes {
		for _, kind := range []string{"ledger-split-view", "ledger-differs", "ledger-diverged"} {
			if n.alarmed(kind) {
				t.Errorf("%s alarms: %s", name, kind)
			}
		}
	}
}

// A damaged snapshot is dropped as long as the log has what it had; else the voter
// refuses, and says what to do.
func TestDamagedSnapshot(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"state.bin", "meta.json"} {
		for name, reaches := range map[string]bool{"the log reaches back": true, "the log does not": false} {
			t.Run(file+", "+name, func(t *testing.T) {
				c := newCluster(t, 3)
				c.start("a", "b", "c")
				bad := c.nodes["a"]
				c.append(entriesOf("x", 600)...)
				c.same(600, "a", "b", "c")
				snapshot := bad.Snapshot
				if reaches {
					snapshot = bad.SnapshotOnly
				}
				if err := snapshot(); err != nil {
					t.Fatal(err)
				}
				bad.stop()
				files, err := filepath.Glob(filepath.Join(raftDir(bad), "snapshots", "*", file))
				if err != nil || len(files) == 0 {
					t.Fatalf("no snapshot: %v", err)
				}
				flip(t, files[len(files)-1], 20)
				bad.start()
				if reaches {
					c.append([]byte("y"))
					c.same(601, "a", "b", "c")
					return
				}
				c.wait("it refuses", func() bool { return bad.Status().Fenced != "" })
				if why := bad.Status().Fenced; !strings.Contains(why, raftDir(bad)) || bad.Leads() {
					t.Errorf("it does not say what to remove: %s", why)
				}
			})
		}
	}
}
