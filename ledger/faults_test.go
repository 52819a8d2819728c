package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchward/watchward/ledger"
)

func TestLeaderIsKilled(t *testing.T) {
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.append(entriesOf("before", 700)...)
	old := c.leader()
	c.net.Leave(old.peer()) // nothing of it is heard any more
	began := time.Now()
	if next := c.leader(old); next == old {
		t.Fatal("no successor")
	}
	t.Logf("a new leader after %v", time.Since(began).Round(time.Millisecond))
	// The new leader's node appends everything again that it is not sure of.
	got := c.leader(old)
	out, err := got.Append(t.Context(), append(entriesOf("before", 700), []byte("after"))...)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range out[:700] {
		if a.Index != uint64(i) || !a.Known {
			t.Fatalf("entry %d: %v", i, a)
		}
	}
	if out[700].Index != 700 {
		t.Fatalf("the new entry: %v", out[700])
	}
	old.stop()
	old.start()
	c.same(701, "a", "b", "c")
}

func TestMinorityAppendsNothing(t *testing.T) {
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.append([]byte("before"))
	old := c.leader()
	c.net.Isolate(old.peer())
	if _, err := old.Append(t.Context(), []byte("lonely")); !errors.Is(err, ledger.ErrNoQuorum) {
		t.Fatalf("append without quorum: %v", err)
	}
	c.wait("the old leader knows that it has no quorum", func() bool { return !old.Status().NoQuorumSince.IsZero() })
	if old.Leads() {
		t.Error("leads without quorum")
	}
	if f, err := old.Find(t.Context(), []byte("before"), false); err != nil || !f.Known {
		t.Errorf("a stale read without quorum: %v, %v", f, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if f, err := old.Find(ctx, []byte("before"), true); err == nil {
		t.Errorf("a strong read without quorum: %v", f)
	}
	next := c.leader(old)
	if _, err := next.Append(t.Context(), []byte("after")); err != nil {
		t.Fatal(err)
	}
	c.net.Rejoin(old.peer())
	c.same(2, "a", "b", "c")
	c.wait("the old leader has a leader", func() bool { return old.Status().NoQuorumSince.IsZero() })
	if out := c.append([]byte("lonely")); out[0].Index != 2 || out[0].Known {
		t.Errorf("what was refused: %v", out)
	}
}

func TestDelaysLoseNothing(t *testing.T) {
	c := newCluster(t, 3)
	c.net.Delay(10 * time.Millisecond)
	c.start("a", "b", "c")
	var wait sync.WaitGroup
	for k := range 8 {
		wait.Go(func() { c.append(entriesOf(string(rune('a'+k)), 100)...) })
	}
	wait.Wait()
	c.same(800, "a", "b", "c")
}

func TestRestartKeepsEverything(t *testing.T) {
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.append(entriesOf("x", 1000)...)
	for range 2 {
		for _, n := range c.nodes {
			n.stop()
		}
		c.start("a", "b", "c")
		c.append(entriesOf("x", 1000)...)
		c.same(1000, "a", "b", "c")
	}
	c.append([]byte("more"))
	c.same(1001, "a", "b", "c")
}

// A disk passes everything on until it is told not to.
type disk struct {
	raft.LogStore
	mu    sync.Mutex
	stall chan struct{} // writes wait until it is closed; nil: they do not
	err   error
}

func (d *disk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

func (d *disk) StoreLogs(logs []*raft.Log) error {
	d.mu.Lock()
	stall, err := d.stall, d.err
	d.mu.Unlock()
	if stall != nil {
		<-stall
	}
	if err != nil {
		return err
	}
	return d.LogStore.StoreLogs(logs)
}

func (d *disk) set(stall chan struct{}, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stall, d.err = stall, err
}

// withDisks gives every node a disk that can fail.
func withDisks(c *cluster) map[*node]*disk {
	disks := map[*node]*disk{}
	for _, n := range c.nodes {
		d := &disk{}
		disks[n] = d
		n.disk = func(s raft.LogStore) raft.LogStore { d.LogStore = s; return d }
	}
	return disks
}

// How soon is judged by the best of some stalls: a machine that pauses makes others slower.
func TestStalledDiskLosesTheLead(t *testing.T) {
	const tries, most = 8, 3*beat + 500*time.Millisecond
	c := newCluster(t, 3)
	disks := withDisks(c)
	c.start("a", "b", "c")
	c.append([]byte("before"))
	for try := range tries {
		old := c.leader()
		stall := make(chan struct{})
		disks[old].set(stall, nil)
		began := time.Now()
		_, err := old.Append(t.Context(), entryOf("hangs %d", try))
		if !errors.Is(err, ledger.ErrNoQuorum) && !errors.As(err, new(ledger.ErrNotLeader)) {
			t.Errorf("append on a disk that hangs: %v", err)
		}
		c.leader(old)
		took := time.Since(began)
		t.Logf("a new leader %v after the stall", took.Round(time.Millisecond))
		if old.Leads() {
			t.Error("the old leader leads")
		}
		c.append(entryOf("after %d", try))
		disks[old].set(nil, nil)
		close(stall)
		c.wait("it is fenced no more, and has the same", func() bool {
			return old.Status().Fenced == "" && old.Status().Size == c.leader().Status().Size
		})
		if old.Err() != nil {
			t.Errorf("a stall is no failure: %v", old.Err())
		}
		if took <= most || raceEnabled {
			return
		}
	}
	t.Errorf("no new leader within %v in %d stalls", most, tries)
}

// A disk hangs for so short a time that the leader does not lose its lease: whoever leads
// then appends.
func TestShortStallIsNoEnd(t *testing.T) {
	c := newCluster(t, 3)
	disks := withDisks(c)
	c.start("a", "b", "c")
	c.append([]byte("before"))
	old := c.leader()
	stall := make(chan struct{})
	disks[old].set(stall, nil)
	hung := make(chan error, 1)
	go func() {
		_, err := old.Append(t.Context(), []byte("hangs"))
		hung <- err
	}()
	c.wait("it is fenced", func() bool { return old.Status().Fenced != "" })
	disks[old].set(nil, nil)
	close(stall)
	if err := <-hung; !errors.Is(err, ledger.ErrNoQuorum) {
		t.Errorf("append on a disk that hangs: %v", err)
	}
	c.append([]byte("hangs"), []byte("after"))
	c.same(3, "a", "b", "c")
}

func TestFailedDiskIsForGood(t *testing.T) {
	for _, who := range []string{"leader", "follower"} {
		t.Run(who, func(t *testing.T) {
			c := newCluster(t, 3)
			disks := withDisks(c)
			c.start("a", "b", "c")
			c.append([]byte("before"))
			bad := c.leader()
			if who == "follower" {
				for _, n := range c.nodes {
					if n != c.leader() {
						bad = n
					}
				}
			}
			failure := errors.New("input/output error")
			disks[bad].set(nil, failure)
			c.append([]byte("after"))
			select {
			case <-bad.Failed():
			case <-time.After(soon):
				t.Fatal("the failure is not told")
			}
			if !errors.Is(bad.Err(), failure) {
				t.Errorf("Err: %v", bad.Err())
			}
			if !bad.alarmed("ledger-disk") || bad.Status().Fenced == "" {
				t.Error("no alarm, or not fenced")
			}
			disks[bad].set(nil, nil) // a disk that writes again is not trusted
			c.leader(bad)
			if _, err := bad.Append(t.Context(), []byte("no")); err == nil {
				t.Error("it appends again")
			}
			bad.stop()
			bad.start()
			c.append([]byte("last"))
			c.same(3, "a", "b", "c")
		})
	}
}

func TestVoterThatLostItsLogDoesNotVoteAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.append(entriesOf("x", 600)...)
	c.voters(3)
	// Alone with one other it could make a quorum that knows nothing of the leader's log.
	third := c.leader()
	var rest []*node
	for _, n := range c.nodes {
		if n != third {
			rest = append(rest, n)
		}
	}
	lost, other := rest[0], rest[1]
	lost.stop()
	if err := os.RemoveAll(raftDir(lost)); err != nil {
		t.Fatal(err)
	}
	c.append(entriesOf("y", 10)...)
	for tries := 0; c.leader() != third; tries++ { // a machine that pauses makes another lead
		if tries == 10 {
			t.Fatal("the third does not get the lead back")
		}
		_ = other.Transfer(t.Context(), third.member.ID) // the loop looks whether it did
	}
	c.net.Cut(lost.peer(), third.peer())
	c.net.Cut(other.peer(), third.peer())
	lost.start()
	c.wait("it has asked, and the other hears no leader", func() bool {
		_, heard := other.Leader()
		return lost.Status().Role == ledger.RoleJoining && !heard
	})
	for range 20 { // nothing may happen in that time, whatever comes first
		time.Sleep(beat / 2)
		if other.Leads() || lost.Leads() {
			t.Fatal("a voter without its log has elected a leader")
		}
	}
	c.net.Heal(other.peer(), third.peer())
	c.net.Heal(lost.peer(), third.peer())
	c.voters(3)
	c.append([]byte("z"))
	c.same(611, "a", "b", "c")
	c.wait("it votes again", func() bool { return lost.Status().Role != ledger.RoleJoining })
}

// Voters that have entries, and all of whose logs are gone, found no raft: its indexes would
// begin anew, and what is appended at one that was applied before would be lost.
func TestVotersWithoutLogsFoundNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.append(entriesOf("x", 600)...)
	c.same(600, "a", "b", "c")
	for _, n := range c.nodes {
		n.stop()
		if err := os.RemoveAll(raftDir(n)); err != nil {
			t.Fatal(err)
		}
	}
	c.start("a", "b", "c")
	for _, n := range c.nodes {
		c.wait("it has begun", func() bool { return n.Joins() || n.Status().Role != ledger.RoleJoining })
	}
	for range 20 { // nothing may happen in that time, whatever comes first
		time.Sleep(beat / 2)
		for name, n := range c.nodes {
			if n.Leads() || n.Status().Role != ledger.RoleJoining {
				t.Fatalf("%s is a %s of a ledger that nobody remembers", name, n.Status().Role)
			}
		}
	}
	c.same(600, "a", "b", "c")
}

// flip changes one bit of a file.
func flip(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedTilesAreFetchedAgain(t *testing.T) {
	t.Parallel()
	for _, tile := range []string{"tile/entries/001", "tile/0/002"} {
		t.Run(filepath.Base(filepath.Dir(tile)), func(t *testing.T) {
			c := newCluster(t, 3)
			c.start("a", "b", "c")
			c.append(entriesOf("x", 1500)...)
			c.same(1500, "a", "b", "c")
			bad := c.nodes["a"]
			for _, n := range c.nodes {
				n.stop()
			}
			file := filepath.Join(bad.dir, "epoch", "1", "tiles", tile)
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			flip(t, file, 100)
			// Alone with a peer that has not the tile either it stays without office.
			c.start("a", "b")
			c.wait("the tile is whole again", func() bool {
				now, err := os.ReadFile(file)
				return err == nil && bytes.Equal(now, whole)
			})
			c.append([]byte("y"))
			c.start("c")
			c.same(1501, "a", "b", "c")
		})
	}
}

func TestDamagedVoterDoesNotLead(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.append(entriesOf("x", 1500)...)
	c.same(1500, "a", "b", "c")
	for _, n := range c.nodes {
		n.stop()
	}
	for _, name := range []string{"a", "b"} { // neither can help the other
		flip(t, filepath.Join(c.nodes[name].dir, "epoch", "1", "tiles", "tile", "entries", "001"), 100)
	}
	c.start("a", "b")
	time.Sleep(20 * beat) // nothing may happen in that time, whatever comes first
	if c.nodes["a"].Leads() || c.nodes["b"].Leads() {
		t.Fatal("a damaged voter leads")
	}
	c.start("c")
	c.append([]byte("y"))
	c.same(1501, "a", "b", "c")
	for _, name := range []string{"a", "b"} {
		c.wait("it is whole again", func() bool {
			entries, err := c.nodes[name].EntriesOf(1, 256, 512)
			return err == nil && len(entries) == 256
		})
	}
}

func TestTilesThatAreGoneAreFetched(t *testing.T) {
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.append(entriesOf("x", 1500)...)
	c.same(1500, "a", "b", "c")
	bad := c.nodes["a"]
	if err := bad.Snapshot(); err != nil { // behind it there is no log to replay
		t.Fatal(err)
	}
	bad.stop()
	tiles := filepath.Join(bad.dir, "epoch", "1", "tiles", "tile")
	if err := os.RemoveAll(tiles); err != nil {
		t.Fatal(err)
	}
	bad.start()
	c.append([]byte("y"))
	c.same(1501, "a", "b", "c")
	if f, err := bad.Find(t.Context(), []byte("x/700"), false); err != nil || f.Index != 700 {
		t.Errorf("an entry that was fetched: %v, %v", f, err)
	}
}

// A raft log that has a flipped bit, has lost its end, or whose database of terms and votes
// is cut off, is refused before anybody hears of it.
func TestDamagedRaftLogIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file   string
		damage func(t *testing.T, file string)
	}{
		"an entry": {"*.wal", func(t *testing.T, file string) { flip(t, file, 4000) }},
		"the end": {"*.wal", func(t *testing.T, file string) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			flip(t, file, int64(len(bytes.TrimRight(raw, "\x00"))-1))
		}},
		"the database": {"*.db", func(t *testing.T, file string) {
			info, err := os.Stat(file)
			if err == nil {
				err = os.Truncate(file, info.Size()/2)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) { refusesLog(t, c.file, c.damage) })
	}
}

// refusesLog damages a file of a voter's raft log.
func refusesLog(t *testing.T, pattern string, damage func(t *testing.T, file string)) {
	t.Helper()
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	c.append(entriesOf("x", 600)...)
	c.append(entriesOf("y", 600)...)
	c.same(1200, "a", "b", "c")
	bad := c.nodes["a"]
	bad.stop()
	files, err := filepath.Glob(filepath.Join(raftDir(bad), "log", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log files: %v", err)
	}
	damage(t, files[0])
	bad.start()
	c.wait("the alarm", func() bool { return bad.alarmed("ledger-voter") })
	if why := bad.Status().Fenced; !strings.Contains(why, raftDir(bad)) {
		t.Errorf("it does not say what to remove: %s", why)
	}
	c.append([]byte("goes on"))
	c.wait("it copies meanwhile", func() bool { return bad.Status().Size == 1201 })
	bad.stop()
	if err := os.RemoveAll(raftDir(bad)); err != nil {
		t.Fatal(err)
	}
	bad.start()
	c.voters(3)
	c.append([]byte("with all"))
	c.same(1202, "a", "b", "c")
}
