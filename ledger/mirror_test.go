package ledger

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
)

func (n *testNode) policy() *verify.Policy {
	n.r.t.Helper()
	p, err := verify.PolicyOf(n.roster, n.r.region.ID, 1)
	if err != nil {
		n.r.t.Fatal(err)
	}
	return p
}

// voters starts voters whose trees have the same entries.
func (r *testRegion) voters(entries [][]byte, names ...string) (out []*testNode) {
	r.t.Helper()
	for _, name := range names {
		n := r.node(name, "")
		n.growAll(entries)
		n.start()
		out = append(out, n)
	}
	for _, n := range out {
		n.signs()
	}
	return out
}

func (n *testNode) growAll(entries [][]byte) {
	n.r.t.Helper()
	for len(entries) > 0 {
		at := min(len(entries), 4096)
		n.grow(entries[:at]...)
		entries = entries[at:]
	}
}

// cosigned has a voter make a round, as the leader does.
func (n *testNode) cosigned() {
	n.r.t.Helper()
	if t := n.track(); !n.follow.round(t, t.tree.Size()) {
		n.r.t.Fatalf("%s gets no quorum for its tree of %d", n.name, t.tree.Size())
	}
}

func TestVotersSignAndMirrorsCopy(t *testing.T) {
	r := newTestRegion(t, 3, 0, 2)
	const entries = 20_000
	var all [][]byte
	for i := range entries {
		all = append(all, append(testEntry("large", i), make([]byte, 900)...))
	}
	voters := r.voters(all, "v1", "v2", "v3")
	voters[0].cosigned()
	if raw, c := voters[0].Checkpoint(); c.Size != entries {
		t.Fatalf("the leader has a checkpoint of %d: %s", c.Size, raw)
	}

	h := r.node("h1", "")
	all = nil
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	var mu sync.Mutex
	var asked int
	var most uint64
	for _, v := range voters { // what the copy takes is seen where it asks
		v.lies(func(_ string, q message) (message, bool) {
			mu.Lock()
			defer mu.Unlock()
			if asked++; asked%20 == 0 {
				runtime.GC()
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
			}
			return nil, false
		})
	}
	h.start()
	r.eventually("h1 has the ledger", func() bool { return h.holdsCheckpoint(entries) })
	mu.Lock()
	defer mu.Unlock()
	if asked < entries/tlog.TileWidth || most == 0 || most > 14<<20 {
		t.Errorf("a copy of 18 MiB took %d KiB of memory at most, in %d questions", most>>10, asked)
	}
	for _, i := range []int{0, 255, 256, 9_999, entries - 1} {
		receipt, err := h.Receipt(append(testEntry("large", i), make([]byte, 900)...))
		if err != nil {
			t.Fatalf("receipt of entry %d: %v", i, err)
		}
		if c, err := receipt.Verify(h.policy()); err != nil || receipt.Index != uint64(i) || !c.Good {
			t.Errorf("receipt of entry %d: index %d, %+v, %v", i, receipt.Index, c, err)
		}
	}
	if _, err := h.Receipt([]byte("never said")); !errors.Is(err, ErrNotCovered) {
		t.Errorf("a receipt of what is not there: %v", err)
	}
}

// Without any coordinator a member that comes anew learns the ledger from another
// hospital, old epochs too.
func TestMirrorsServeWithoutCoordinators(t *testing.T) {
	r := newTestRegion(t, 1, 0, 2)
	v := r.voters(testEntries("a", 0, 700), "v1")[0]
	v.cosigned()
	h1 := r.started("h1")
	r.eventually("h1 has the ledger", func() bool { return h1.holdsCheckpoint(700) })
	v.close()

	h2 := r.started("h2")
	r.eventually("h2 has the ledger", func() bool { return h2.holdsCheckpoint(700) })
	for path, want := range map[string]error{
		"checkpoint": nil, "tile/0/000": nil, "tile/0/002.p/188": nil, "tile/entries/001": nil, "tile/1/000.p/2": nil,
		"tile/0/002": fs.ErrNotExist, "tile/entries/003": fs.ErrNotExist,
	} {
		if data, err := h2.Tile(1, path); !errors.Is(err, want) || want == nil && len(data) == 0 {
			t.Errorf("%s: %d bytes, %v, want %v", path, len(data), err, want)
		}
	}
	if _, err := h2.Tile(2, "checkpoint"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the checkpoint of an epoch that is not: %v", err)
	}
}

// What is false is asked of somebody else, and not believed.
func TestFalseTilesAreNotStored(t *testing.T) {
	r := newTestRegion(t, 3, 0, 1)
	var voters []*testNode
	entries := testEntries("a", 0, 1000)
	var mu sync.Mutex
	lied := map[string]bool{}
	for i, name := range []string{"v1", "v2", "v3"} {
		n := r.node(name, "")
		n.growAll(entries)
		if i < 2 {
			n.lies(func(_ string, q message) (message, bool) {
				ask, ok := q.(*askTile)
				bundle := ok && strings.HasPrefix(ask.Path, "tile/entries/")
				if !ok || bundle != (i == 0) { // the one lies about entries, the other about hashes
					return nil, false
				}
				data, err := n.track().tree.Tile(ask.Path)
				if err != nil {
					return nil, false
				}
				data = bytes.Clone(data)
				data[len(data)-1] ^= 1
				mu.Lock()
				defer mu.Unlock()
				lied[name] = true
				return &tile{data}, true
			})
		}
		n.start()
		voters = append(voters, n)
	}
	for _, v := range voters {
		v.signs()
	}
	voters[2].cosigned()
	h := r.started("h1")
	r.eventually("h1 has the ledger", func() bool { return h.holdsCheckpoint(1000) })
	for i, e := range entries {
		at, ok, err := h.track().tree.index(tlog.LeafHash(e))
		if err != nil || !ok || at != uint64(i) {
			t.Fatalf("entry %d is at %d, %v, %v", i, at, ok, err)
		}
	}
	if !lied["v1"] && !lied["v2"] {
		t.Error("nobody was asked who lies")
	}
}

func TestDamagedTileIsFetchedAgain(t *testing.T) {
	r := newTestRegion(t, 1, 0, 1)
	v := r.voters(testEntries("a", 0, 1000), "v1")[0]
	v.cosigned()
	h := r.started("h1")
	r.eventually("h1 has the ledger", func() bool { return h.holdsCheckpoint(1000) })
	dir := h.dir
	h.close()

	bundle := filepath.Join(dir, "1", "tiles", "tile", "entries", "001")
	raw, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(raw)
	raw[100] ^= 4
	if err := os.WriteFile(bundle, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	h = r.node("h1", dir)
	h.start()
	got, err := h.Tile(1, "tile/entries/001")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("after a bit flipped: %d bytes, %v", len(got), err)
	}
	if on, err := os.ReadFile(bundle); err != nil || !bytes.Equal(on, want) {
		t.Errorf("on disk the tile is still damaged (%v)", err)
	}
}

// A disk that damages a tile again and again is not fetched for without end: it is said,
// and the questions stop.
func TestDiskThatDamagesAgain(t *testing.T) {
	r := newTestRegion(t, 1, 0, 1)
	v := r.voters(testEntries("a", 0, 1000), "v1")[0]
	v.cosigned()
	h := r.started("h1")
	r.eventually("h1 has the ledger", func() bool { return h.holdsCheckpoint(1000) })
	track := h.follow.current()
	bundle := filepath.Join(h.dir, "1", "tiles", "tile", "entries", "001")
	for n := range mendsMax + 1 {
		raw, err := os.ReadFile(bundle)
		if err != nil {
			t.Fatal(err)
		}
		raw[100] ^= 4
		if err := os.WriteFile(bundle, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		_, damage := track.tree.Entries(256, 512)
		if damage == nil {
			t.Fatal("a flipped bit is not noticed")
		}
		if got, want := h.follow.mend(t.Context(), track, damage), n < mendsMax; got != want {
			t.Errorf("time %d: fetched again: %t, want %t", n+1, got, want)
		}
	}
	h.alarmed.Lock()
	defer h.alarmed.Unlock()
	at := slices.IndexFunc(h.alarms, func(a Alarm) bool { return a.Kind == "ledger-disk" })
	if at < 0 || !strings.Contains(h.alarms[at].Text, h.dir) {
		t.Errorf("no alarm says which disk: %+v", h.alarms)
	}
}

// What nobody asks for is found too, and fetched again.
func TestScrub(t *testing.T) {
	r := newTestRegion(t, 1, 0, 1)
	v := r.voters(testEntries("a", 0, 1000), "v1")[0]
	v.cosigned()
	h := r.started("h1")
	r.eventually("h1 has the ledger", func() bool { return h.holdsCheckpoint(1000) })
	dir := h.dir
	h.close()
	var damaged []string
	for _, name := range []string{"entries/000", "entries/002", "0/001"} {
		path := filepath.Join(dir, "1", "tiles", "tile", filepath.FromSlash(name))
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		raw[50] ^= 1
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		damaged = append(damaged, path)
	}
	h = r.node("h1", dir)
	h.start()
	for _, path := range damaged {
		name, _ := filepath.Rel(filepath.Join(dir, "1", "tiles"), path)
		want, err := v.Tile(1, filepath.ToSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		r.eventually(name+" is sound", func() bool { raw, err := os.ReadFile(path); return err == nil && bytes.Equal(raw, want) })
	}
}

// A mirror that was stopped in the middle goes on where it was.
func TestMirrorResumes(t *testing.T) {
	r := newTestRegion(t, 1, 0, 1)
	v := r.voters(testEntries("a", 0, 5000), "v1")[0]
	v.cosigned()
	dir := t.TempDir()
	h := r.node("h1", dir)
	h.grow(testEntries("a", 0, 300)...) // as an earlier run left it, in the middle of a bundle
	h.start()
	r.eventually("h1 has the ledger", func() bool { return h.holdsCheckpoint(5000) })
	raw, _ := h.Checkpoint()
	h.close()
	v.close()

	h = r.node("h1", dir)
	if again, c := h.Checkpoint(); c.Size != 5000 || !bytes.Equal(again, raw) {
		t.Errorf("after a restart the checkpoint is of %d", c.Size)
	}
	audit, err := os.ReadFile(filepath.Join(dir, "1", "tiles", "checkpoint"))
	if err != nil || !bytes.Equal(audit, raw) {
		t.Errorf("the checkpoint beside the tiles: %v", err)
	}
}

// A checkpoint's file is whole and seldom written: the newest is there when it is due, and
// at the end.
func TestKeptCheckpointIsWrittenSeldom(t *testing.T) {
	r := newTestRegion(t, 1, 1, 1)
	dir := t.TempDir()
	h := r.node("h1", dir)
	tr := h.track()
	grow := func(size int) []byte {
		t.Helper()
		h.grow(testEntries("a", size-10, size)...)
		raw := r.signedBy(tr.tree, uint64(size), 1, "v1", "w1")
		if _, news, err := tr.take(raw, ""); err != nil || !news || !h.holdsCheckpoint(uint64(size)) {
			t.Fatalf("a checkpoint of %d: %v, %v", size, news, err)
		}
		return raw
	}
	onDisk := func(what string, want []byte) {
		t.Helper()
		for _, path := range []string{tr.shown.path, tr.proven.path} {
			raw, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(raw, want) {
				t.Errorf("%s: %s has %d bytes, %v", what, filepath.Base(path), len(raw), err)
			}
		}
	}
	first := grow(10)
	onDisk("the first", first)
	due := func(at time.Time) { tr.shown.written, tr.proven.written = at, at }
	due(time.Now().Add(time.Hour))
	second := grow(20)
	if err := tr.save(false); err != nil {
		t.Fatal(err)
	}
	onDisk("before the second is due", first)
	due(time.Time{})
	if err := tr.save(false); err != nil {
		t.Fatal(err)
	}
	onDisk("when it is due", second)
	due(time.Now().Add(time.Hour))
	third := grow(30)
	onDisk("before the end", second)
	h.close()
	onDisk("at the end", third)
}

func TestVoterSignsNoSmallerTree(t *testing.T) {
	t.Parallel()
	r := newTestRegion(t, 3, 0, 0)
	dir := t.TempDir()
	v1 := r.voters(testEntries("a", 0, 10), "v1")[0]
	v2 := r.voters(testEntries("a", 0, 10), "v2")[0]
	v3 := r.node("v3", dir)
	v3.grow(testEntries("a", 0, 10)...)
	v3.start()
	v3.signs()
	v1.cosigned()
	r.eventually("v3 has signed 10", func() bool { return v3.track().marks.size() == 10 })
	v3.close()
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	v3 = r.node("v3", dir)
	v3.grow(testEntries("a", 10, 20)...)
	v3.start()
	v3.signs()
	v1.grow(testEntries("a", 10, 20)...)
	v1.cosigned()
	r.eventually("v3 has signed 20", func() bool { return v3.track().marks.size() == 20 })
	r.eventually("v1 has v3's line", func() bool { return v1.track().newest().by(v3.member.ID) && v1.holdsCheckpoint(20) })
	v3.close()
	v2.close()

	for name, x := range map[string]struct {
		entries [][]byte
		want    error
	}{
		"below the mark":    {testEntries("a", 10, 15), refusedBelow},
		"the same tree":     {testEntries("a", 10, 20), nil},
		"a tree that grew":  {testEntries("a", 10, 25), nil},
		"another tree":      {testEntries("b", 10, 20), refusedDiffers},
		"another that grew": {testEntries("b", 10, 25), refusedDiffers},
	} {
		t.Run(name, func(t *testing.T) {
			restored := t.TempDir()
			if err := os.CopyFS(restored, os.DirFS(backup)); err != nil {
				t.Fatal(err)
			}
			v3 := r.node("v3", restored)
			defer v3.close()
			v3.grow(x.entries...)
			v3.start()
			v3.signs()
			tree := v3.track().tree
			root, err := tree.Root(tree.Size())
			if err != nil {
				t.Fatal(err)
			}
			raw, err := v3.follow.signAs(v3.track(), tree.Size(), root, tlog.Voter)
			if !errors.Is(err, x.want) || (err == nil) != (raw != nil) {
				t.Errorf("signs a tree of %d: %v, want %v", tree.Size(), err, x.want)
			}
		})
	}
}

func (m *markState) size() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Size
}

// A voter that has not heard its peers signs nothing, and a mark outlives a crash.
func TestMarkComesFirst(t *testing.T) {
	r := newTestRegion(t, 3, 0, 0)
	dir := t.TempDir()
	v := r.node("v1", dir)
	v.grow(testEntries("a", 0, 10)...)
	root, err := v.track().tree.Root(10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.follow.signAs(v.track(), 10, root, tlog.Voter); !errors.Is(err, refusedLater) {
		t.Errorf("before peers were asked: %v", err)
	}
	v.track().marks.settled()
	if _, err := v.follow.signAs(v.track(), 10, root, tlog.Voter); err != nil {
		t.Fatal(err)
	}
	m, err := readMark(filepath.Join(dir, "1"), tlog.Origin(r.region.ID, 1))
	if err != nil || m.Size != 10 || m.Root != root {
		t.Errorf("the mark on disk is %+v, %v", m, err)
	}
	if _, err := v.follow.signAs(v.track(), 10, crypto.Hash{1}, tlog.Voter); !errors.Is(err, refusedDiffers) {
		t.Errorf("a root that is not ours: %v", err)
	}
}

func TestWitnessesSign(t *testing.T) {
	t.Parallel()
	r := newTestRegion(t, 3, 2, 1)
	voters := r.voters(testEntries("a", 0, 600), "v1", "v2", "v3")
	w1, w2 := r.started("w1"), r.started("w2")
	w1.signs()
	w2.signs()
	v := voters[0]
	v.cosigned()
	if !v.follow.askWitnesses(v.track(), v.track().newest()) {
		t.Fatal("not all witnesses signed")
	}
	if s := v.track().newest(); !s.Witnessed || len(s.Witnesses) != 2 || len(s.Voters) < 2 {
		t.Errorf("the checkpoint has %d voters and %d witnesses", len(s.Voters), len(s.Witnesses))
	}
	receipt, err := v.Receipt(testEntry("a", 3))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := receipt.Verify(v.policy()); err != nil || !c.Witnessed {
		t.Errorf("the receipt is not witnessed: %v", err)
	}

	// A tree that does not continue what a witness saw is not signed, whoever signed it.
	other := r.node("h1", "")
	other.growAll(testEntries("b", 0, 700))
	fork := r.signedBy(other.track().tree, 700, 1, "v1", "v2", "v3")
	if m, err := w1.follow.answer(t.Context(), v.peer(), &witness{Note: fork}); err == nil {
		t.Errorf("a witness signs another tree: %+v", m)
	}
	// Nor what no quorum signed, nor for who is no voter.
	v.grow(testEntries("a", 600, 610)...)
	for _, other := range voters[1:] {
		other.grow(testEntries("a", 600, 610)...)
	}
	alone := r.signedBy(v.track().tree, 610, 1, "v1")
	if m, err := w1.follow.answer(t.Context(), v.peer(), &witness{Note: alone}); !errors.Is(err, refusedRole) {
		t.Errorf("a checkpoint without a quorum is witnessed: %+v, %v", m, err)
	}
	v.cosigned()
	for i, want := range map[int]bool{3: true, 605: false} {
		receipt, err := v.Receipt(testEntry("a", i))
		if err != nil {
			t.Fatal(err)
		}
		if c, err := receipt.Verify(v.policy()); err != nil || c.Witnessed != want {
			t.Errorf("receipt of entry %d under a checkpoint of %d: witnessed %v, %v", i, c.Size, c.Witnessed, err)
		}
	}
	good := r.signedBy(v.track().tree, 600, 1, "v1", "v2")
	if m, err := w1.follow.answer(t.Context(), w2.peer(), &witness{Note: good}); !errors.Is(err, refusedRole) {
		t.Errorf("a hospital has a checkpoint witnessed: %+v, %v", m, err)
	}
	if m, err := other.follow.answer(t.Context(), v.peer(), &witness{Note: good}); !errors.Is(err, refusedRole) {
		t.Errorf("who is no witness signs: %+v, %v", m, err)
	}
	if m, err := w1.follow.answer(t.Context(), v.peer(), &cosign{Origin: v.track().origin, Size: 600, Root: v.track().newest().Root}); !errors.Is(err, refusedRole) {
		t.Errorf("a witness signs as a voter: %+v, %v", m, err)
	}
}

// A ledger in which nothing happens is signed again, by those who are there, and who
// looks at its oldest line sees that.
func TestIdleLedgerStaysFresh(t *testing.T) {
	r := newTestRegion(t, 3, 1, 0)
	voters := r.voters(testEntries("a", 0, 30), "v1", "v2", "v3")
	w := r.started("w1")
	w.signs()
	v := voters[0]
	v.cosigned()
	r.eventually("all have signed", func() bool { return len(v.track().newest().Voters) == 3 })
	if !v.follow.askWitnesses(v.track(), v.track().newest()) {
		t.Fatal("the witness did not sign")
	}
	voters[2].cut(true)
	r.clock.add(time.Hour)
	v.cosigned()
	s := v.track().newest()
	if len(s.Voters) != 2 || !s.Witnessed || !s.unwitnessed() || r.clock.now().Sub(s.signedAt()) > time.Minute {
		t.Fatalf("signed again: %d voters, witnessed %v, asks witnesses %v, as of %v", len(s.Voters), s.Witnessed, s.unwitnessed(), s.signedAt())
	}
	if !v.follow.askWitnesses(v.track(), s) {
		t.Fatal("the witness did not sign again")
	}
	s = v.track().newest()
	if s.unwitnessed() || r.clock.now().Sub(s.Time) > time.Minute {
		t.Errorf("witnessed again: asks witnesses %v, oldest line of %v", s.unwitnessed(), s.Time)
	}
	if over := v.track().over(3); over != v.track().witnessed || over.Time != s.Time {
		t.Errorf("a receipt is as of %v", over.Time)
	}
}

func TestAgeAndQuorumAlarmOnce(t *testing.T) {
	r := newTestRegion(t, 1, 0, 1)
	v := r.voters(testEntries("a", 0, 5), "v1")[0]
	v.cosigned()
	h := r.started("h1")
	r.eventually("h1 has the ledger", func() bool { return h.holdsCheckpoint(5) })
	v.cut(true)
	r.clock.add(11 * time.Minute)
	r.eventually("stale", func() bool { return len(h.raised("ledger-stale")) == 1 })
	r.eventually("no quorum", func() bool { return len(h.raised("ledger-no-quorum")) == 1 })
	for range 3 {
		h.follow.watchAge(h.track())
		h.follow.watchQuorum(h.track())
	}
	var s Status
	if h.follow.status(&s); s.NoQuorumSince.IsZero() || s.Checkpoint.Size != 5 || !s.Checkpoint.Good {
		t.Errorf("status: %+v", s)
	}
	if n, m := len(h.raised("ledger-stale")), len(h.raised("ledger-no-quorum")); n != 1 || m != 1 {
		t.Errorf("%d and %d alarms", n, m)
	}

	v.cut(false)
	v.cosigned() // nothing new, but a fresh time
	raw, _ := v.Checkpoint()
	if relay, blame := h.Note(r.region.ID, frameOf(t, &note{Note: raw})); !relay || blame {
		t.Errorf("a fresh checkpoint: relay %v, blame %v", relay, blame)
	}
	h.follow.watchAge(h.track())
	h.follow.watchQuorum(h.track())
	r.clock.add(11 * time.Minute)
	h.follow.watchAge(h.track())
	if n := len(h.raised("ledger-stale")); n != 2 {
		t.Errorf("%d alarms after it was fresh in between", n)
	}
}

// An election is no loss of the quorum.
func TestQuorumPatience(t *testing.T) {
	r := newTestRegion(t, 1, 0, 1)
	h := r.node("h1", "")
	heard := func(n *note) int {
		h.follow.hear(string(r.member("v1").Credential.Peer), n)
		h.follow.watchQuorum(h.track())
		return len(h.raised("ledger-no-quorum"))
	}
	lost := r.clock.now().UnixMilli()
	if n := heard(&note{NoQuorum: lost}); n != 0 {
		t.Errorf("%d alarms at once", n)
	}
	r.clock.add(quorumPatience + time.Second)
	if n := heard(&note{NoQuorum: lost}); n != 1 {
		t.Errorf("%d alarms after %v", n, quorumPatience)
	}
	if n := heard(&note{Leader: r.member("v1").ID}); n != 1 {
		t.Errorf("%d alarms while there is a leader", n)
	}
	if leader, ok := h.Leader(); !ok || leader != r.member("v1").ID {
		t.Errorf("the leader is %s, %v", leader, ok)
	}
	lost = r.clock.now().UnixMilli()
	r.clock.add(quorumPatience)
	if n := heard(&note{NoQuorum: lost}); n != 2 {
		t.Errorf("%d alarms after the second loss", n)
	}
}

// A member that does not vote says soon that no voter is left, or that none answers.
func TestVotersLost(t *testing.T) {
	for name, connected := range map[string]bool{"gone": false, "connected, and no answer": true} {
		t.Run(name, func(t *testing.T) {
			r := newTestRegion(t, 3, 0, 1)
			var voters []*testNode
			leader, mute := r.member("v1").ID, atomic.Bool{}
			for _, name := range []string{"v1", "v2", "v3"} {
				v := r.node(name, "")
				v.lies(func(_ string, q message) (message, bool) {
					if mute.Load() {
						return &refused{refusedLater}, true
					}
					_, mine := q.(*askMine)
					return &note{Leader: leader}, mine
				})
				v.start()
				voters = append(voters, v)
			}
			h := r.node("h1", "") // without its loops, for the clock is ours
			h.c.Network.(*testNet).join()
			status := func() (s Status) {
				h.follow.watchVoters(h.track())
				h.follow.watchQuorum(h.track())
				h.follow.status(&s)
				return s
			}
			h.follow.watchVoters(h.track())
			h.follow.askVoters(h.track())
			if s := status(); s.Leader != leader || !s.NoQuorumSince.IsZero() {
				t.Fatalf("with all voters: %+v", s)
			}
			lost := r.clock.now()
			for _, v := range voters {
				v.cut(!connected)
			}
			mute.Store(true)
			status()
			h.follow.askVoters(h.track())
			if r.clock.add(lostFor + time.Second); connected {
				r.clock.add(voiceFor - lostFor)
			}
			s := status()
			if s.Leader != (crypto.MemberID{}) || !s.NoQuorumSince.Equal(lost) || !s.Unreached {
				t.Errorf("without voters: leader %s, no quorum since %v, want %v, unreached %v", s.Leader, s.NoQuorumSince, lost, s.Unreached)
			}
			if a := h.raised("ledger-no-quorum"); len(a) != 1 || !strings.Contains(a[0].Text, "no coordinator that votes could be reached from here") {
				t.Errorf("alarms: %+v", a)
			}

			// What a quorum signed meanwhile comes by others, and says enough for a while.
			voters[0].growAll(testEntries("a", 0, 5))
			h.growAll(testEntries("a", 0, 5))
			raw := r.signedBy(voters[0].track().tree, 5, 1, "v1", "v2")
			h.Note(r.region.ID, frameOf(t, &note{Note: raw}))
			if s := status(); !s.NoQuorumSince.IsZero() {
				t.Errorf("signed since: no quorum since %v", s.NoQuorumSince)
			}
			signed := r.clock.now()
			r.clock.add(quorumSeen + time.Second)
			if s := status(); s.NoQuorumSince.Unix() != signed.Unix() || !s.Unreached {
				t.Errorf("signed long ago: no quorum since %v", s.NoQuorumSince)
			}

			for _, v := range voters {
				v.cut(false)
			}
			mute.Store(false)
			status()
			h.follow.askVoters(h.track())
			if s := status(); s.Leader != leader || !s.NoQuorumSince.IsZero() {
				t.Errorf("with all voters again: %+v", s)
			}
		})
	}
}

// A busy ledger's last checkpoint does not outlive its voters.
func TestLastCheckpointIsNoQuorum(t *testing.T) {
	r := newTestRegion(t, 1, 0, 1)
	h := r.node("h1", "")
	h.follow.watchVoters(h.track())
	h.follow.hear(string(r.member("v1").Credential.Peer), &note{Leader: r.member("v1").ID})
	r.clock.add(time.Second)
	h.growAll(testEntries("a", 0, 5))
	h.Note(r.region.ID, frameOf(t, &note{Note: r.signedBy(h.track().tree, 5, 1, "v1")}))
	if h.track().newest() == nil {
		t.Fatal("its checkpoint was not taken")
	}
	r.clock.add(voiceFor)
	if since, unreached := h.follow.noQuorumSince(h.track()); since.IsZero() || !unreached {
		t.Errorf("no quorum since %v, unreached %v", since, unreached)
	}
}

func frameOf(t *testing.T, m message) []byte {
	t.Helper()
	raw, err := encodeFrame(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestNotesThatAreJudged(t *testing.T) {
	r := newTestRegion(t, 3, 0, 2)
	v := r.node("v1", "")
	v.growAll(testEntries("a", 0, 20))
	h := r.node("h1", "")
	tree := v.track().tree
	good := r.signedBy(tree, 20, 1, "v1", "v2")
	flip := bytes.Clone(good)
	flip[len(flip)-20] ^= 1
	for _, x := range []struct {
		name         string
		raw          []byte
		region       crypto.Region
		relay, blame bool
	}{
		{"no frame", []byte{1, 2, 3}, r.region.ID, false, true},
		{"a question", frameOf(t, &askNote{Origin: v.track().origin}), r.region.ID, false, true},
		{"no note", frameOf(t, &note{Note: []byte("hello")}), r.region.ID, false, true},
		{"of another topic", frameOf(t, &note{Note: good}), crypto.Region{1}, false, true},
		{"a flipped bit", frameOf(t, &note{Note: flip}), r.region.ID, false, true},
		{"too few signed", frameOf(t, &note{Note: r.signedBy(tree, 20, 1, "v1")}), r.region.ID, false, false},
		{"nobody who votes signed", frameOf(t, &note{Note: r.signedBy(tree, 20, 1, "h1", "h2")}), r.region.ID, false, false},
		{"an epoch to come", frameOf(t, &note{Note: r.signedBy(tree, 20, 2, "v1", "v2")}), r.region.ID, false, false},
		{"good", frameOf(t, &note{Note: good}), r.region.ID, true, false},
		{"good again", frameOf(t, &note{Note: good}), r.region.ID, false, false},
		{"no proof", frameOf(t, &evidence{Proof: []byte{1}}), r.region.ID, false, true},
	} {
		if relay, blame := h.Note(x.region, x.raw); relay != x.relay || blame != x.blame {
			t.Errorf("%s: relay %v, blame %v, want %v, %v", x.name, relay, blame, x.relay, x.blame)
		}
	}
}

func TestQuestionsAreBounded(t *testing.T) {
	r := newTestRegion(t, 1, 0, 2)
	v := r.voters(testEntries("a", 0, 5), "v1")[0]
	h := r.node("h1", "")
	a := newAsker(h.c.Network)
	defer a.close()
	s := v.follow.server
	if p := s.enter(h.peer()); p != nil {
		p.all.SetLimit(1) // on a slow machine nobody asks as fast as may be asked
		s.leave(p)
	}
	var later int
	for end := time.Now().Add(20 * time.Second); later == 0 && time.Now().Before(end); {
		if _, err := ask[*note](t.Context(), a, v.peer(), &askNote{Origin: v.track().origin}); errors.Is(err, refusedLater) {
			later++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if later == 0 {
		t.Error("whatever is asked is answered")
	}
	if n := r.wires.asked[v.peer()]; n != 1 {
		t.Errorf("%d streams for questions one after the other", n)
	}
	var open []Stream
	defer func() {
		for _, s := range open {
			s.Reset()
		}
	}()
	for range peerStreams + 1 {
		s, err := h.c.Network.Open(t.Context(), v.peer(), Protocol)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	r.eventually("a stream too many is cut", func() bool {
		for _, s := range open {
			s.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := s.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return true
			}
		}
		return false
	})
	if v.follow.server.member("a stranger") {
		t.Error("a stranger is a member")
	}
}

// A later epoch begins with a link to what was seen of the one before.
func TestLinkOfAnEpoch(t *testing.T) {
	for name, x := range map[string]struct {
		size  uint64 // of the checkpoint that is linked
		kind  string
		alarm bool
	}{
		"what was seen":   {20, "a", false},
		"what is larger":  {30, "a", false},
		"what is smaller": {10, "a", true},
		"another ledger":  {20, "b", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestRegion(t, 1, 0, 1)
			r.region.Amend(t, amendEpoch)
			old := r.node("v1", "", 1)
			h := r.node("h1", "", 1, 2)
			entries := testEntries(x.kind, 0, 30)
			if err := old.epochs[0].tree.Append(entries); err != nil {
				t.Fatal(err)
			}
			if err := h.epochs[0].tree.Append(testEntries("a", 0, 20)); err != nil {
				t.Fatal(err)
			}
			first := h.epochs[0].track
			if _, _, err := first.take(r.signedBy(first.tree, 20, 1, "v1"), ""); err != nil {
				t.Fatal(err)
			}
			c := checkpointAt(t, old.epochs[0].tree, tlog.Origin(r.region.ID, 1), x.size)
			if x.size > 20 {
				if _, _, err := first.take(r.noteOf(c, "v1"), ""); err != nil {
					t.Fatal(err)
				}
			}
			second := h.epochs[1].track
			if err := second.tree.Append([][]byte{linkTo(c)}); err != nil {
				t.Fatal(err)
			}
			r.clock.add(2 * time.Minute)
			for range 2 {
				h.follow.checkLink(second)
			}
			want := 0
			if x.alarm {
				want = 1
			}
			if n := len(h.raised("ledger-link")); n != want {
				t.Errorf("%d alarms, want %d", n, want)
			}
		})
	}
}

func checkpointAt(t *testing.T, tree *tree, origin string, size uint64) tlog.Checkpoint {
	t.Helper()
	root, err := tree.Root(size)
	if err != nil {
		t.Fatal(err)
	}
	return tlog.Checkpoint{Origin: origin, Size: size, Root: root}
}
