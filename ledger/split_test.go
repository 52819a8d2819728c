package ledger

import (
	"bytes"
	"os"
	"sync/atomic"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
)

// A liar is a voter that shows one ledger to some and another to others.
type liar struct {
	node   *testNode
	notes  map[string][]byte // the checkpoint that a peer is shown, by peer
	fork   *tree             // what belongs to it
	hidden bool              // it does not show its tiles
}

// lyingVoter starts a voter whose second ledger begins like the first one.
func (r *testRegion) lyingVoter(name string, common, fork [][]byte) *liar {
	r.t.Helper()
	l := &liar{node: r.node(name, ""), notes: map[string][]byte{}}
	l.node.growAll(common)
	var err error
	if l.fork, err = openTree(r.t.TempDir(), l.node.log); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { l.fork.close() })
	if err := l.fork.Append(fork); err != nil {
		r.t.Fatal(err)
	}
	l.node.lies(func(peer string, q message) (message, bool) {
		raw, told := l.notes[peer]
		switch q := q.(type) {
		case *note:
			return &taken{}, told // it convicts itself to nobody
		case *askNote:
			return &note{Note: raw}, told
		case *askTile:
			data, err := l.fork.Tile(q.Path)
			if told && (l.hidden || err != nil) {
				return &refused{refusedUnknown}, true
			}
			return &tile{data}, told
		}
		return nil, false
	})
	return l
}

// convicted checks that a node has said once that the ledger is split, and that the file
// it keeps convicts a voter by itself.
func (n *testNode) convicted(name string) {
	n.r.t.Helper()
	n.r.eventually(n.name+" alarms", func() bool { return len(n.raised("ledger-split-view")) > 0 })
	alarms := n.raised("ledger-split-view")
	if len(alarms) != 1 || alarms[0].Severity != "critical" {
		n.r.t.Errorf("%s raised %d alarms: %+v", n.name, len(alarms), alarms)
	}
	raw, err := os.ReadFile(n.follow.evidencePath(n.track().origin))
	if err != nil || !bytes.Equal(raw, alarms[0].Evidence) {
		n.r.t.Fatalf("%s keeps evidence of %d bytes, %v", n.name, len(raw), err)
	}
	if len(raw) > evidenceMax {
		n.r.t.Errorf("evidence of %d bytes does not fit a message", len(raw))
	}
	e, err := verify.ParseEquivocation(raw)
	if err != nil {
		n.r.t.Fatal(err)
	}
	policy, err := verify.PolicyOf(n.r.region.Roster(n.r.t), n.r.region.ID, 1)
	if err != nil {
		n.r.t.Fatal(err)
	}
	both, err := e.Verify(policy)
	if err != nil || len(both) != 1 || both[0].Name != name {
		n.r.t.Errorf("%s's evidence convicts %+v, %v, want %s", n.name, both, err, name)
	}
	var s Status
	if n.follow.status(&s); !s.Split {
		n.r.t.Errorf("%s does not say that the ledger is split", n.name)
	}
}

// A quorum that colludes shows two ledgers: one to h1, another to h2. As soon as one
// hears of the other's checkpoint, everybody alarms, once.
func TestSplitView(t *testing.T) {
	for name, x := range map[string]struct{ common, first, second int }{
		"of one size":           {300, 320, 320},
		"the second is larger":  {300, 320, 700},
		"the second is smaller": {300, 700, 320},
		"from the first entry":  {0, 320, 320},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestRegion(t, 3, 0, 3)
			common := testEntries("a", 0, x.common)
			first := append(common[:x.common:x.common], testEntries("b", x.common, x.first)...)
			second := append(common[:x.common:x.common], testEntries("c", x.common, x.second)...)
			l := r.lyingVoter("v1", first, second)
			good := r.signedBy(l.node.track().tree, uint64(x.first), 1, "v1", "v2")
			fork := r.signedBy(l.fork, uint64(x.second), 1, "v1", "v3")
			h1, h2, h3 := r.node("h1", ""), r.node("h2", ""), r.node("h3", "")
			l.notes[h2.peer()] = fork
			var alone atomic.Bool // h2 is told nothing of the first, and tells the liar, whose node is an honest one beside its lies, nothing of the second
			alone.Store(true)
			h2.lies(func(_ string, q message) (message, bool) {
				if _, told := q.(*note); told {
					return &taken{}, alone.Load()
				}
				return &refused{refusedUnknown}, alone.Load()
			})
			l.node.start()
			if _, _, err := l.node.track().take(good, ""); err != nil {
				t.Fatal(err)
			}

			// Each alone with the liar is content.
			h1.start()
			r.eventually("h1 has the first", func() bool { return h1.holdsCheckpoint(uint64(x.first)) })
			h1.cut(true)
			h2.start()
			r.eventually("h2 has the second", func() bool { return h2.holdsCheckpoint(uint64(x.second)) })
			if n := len(h1.raised("ledger-split-view")) + len(h2.raised("ledger-split-view")); n != 0 {
				t.Fatalf("%d alarms before they have met", n)
			}
			alone.Store(false)
			h1.cut(false)
			h3.start()
			for _, h := range []*testNode{h1, h2, h3} {
				h.convicted("v1")
			}
			for _, h := range []*testNode{h1, h2, h3} { // they hear both again
				h.Note(r.region.ID, frameOf(t, &note{Note: good}))
				h.Note(r.region.ID, frameOf(t, &note{Note: fork}))
				h.convicted("v1")
			}

			// After a restart it is still known, and not news.
			dir := h1.dir
			h1.close()
			h1 = r.node("h1", dir)
			h1.start()
			h1.Note(r.region.ID, frameOf(t, &note{Note: fork}))
			var s Status
			if h1.follow.status(&s); !s.Split || len(h1.raised("ledger-split-view")) != 0 {
				t.Errorf("after a restart: split %v, %d alarms", s.Split, len(h1.raised("ledger-split-view")))
			}
		})
	}
}

// One voter alone signs another tree: no quorum believes it, and it is convicted all the
// same.
func TestLyingVoterAlone(t *testing.T) {
	r := newTestRegion(t, 3, 0, 2)
	v := r.node("v2", "")
	v.growAll(testEntries("a", 0, 300))
	v.start()
	if _, _, err := v.track().take(r.signedBy(v.track().tree, 300, 1, "v1", "v2"), ""); err != nil {
		t.Fatal(err)
	}
	h1, h2 := r.started("h1"), r.started("h2")
	for _, h := range []*testNode{h1, h2} {
		r.eventually(h.name+" has the ledger", func() bool { return h.holdsCheckpoint(300) })
	}
	l := r.lyingVoter("v1", nil, testEntries("b", 0, 200))
	alone := r.signedBy(l.fork, 200, 1, "v1")
	if relay, blame := h1.Note(r.region.ID, frameOf(t, &note{Note: alone})); relay || blame {
		t.Errorf("a false checkpoint: relay %v, blame %v", relay, blame)
	}
	h1.convicted("v1")
	h2.convicted("v1")
	v.convicted("v1")
	if !h1.holdsCheckpoint(300) {
		t.Error("h1 does not follow the ledger any more")
	}

	// What is larger than the ledger is held against it once the ledger has grown.
	h := r.node("h1", "") // a fresh one, of the same member
	h1.close()
	h.start()
	r.eventually("h has the ledger", func() bool { return h.holdsCheckpoint(300) })
}

// A checkpoint ahead of the ledger waits, and is judged when the ledger has come so far.
func TestLyingVoterAhead(t *testing.T) {
	r := newTestRegion(t, 3, 0, 1)
	v := r.node("v2", "")
	v.growAll(testEntries("a", 0, 100))
	v.start()
	v.track().take(r.signedBy(v.track().tree, 100, 1, "v1", "v2"), "")
	h := r.started("h1")
	r.eventually("h1 has the ledger", func() bool { return h.holdsCheckpoint(100) })
	l := r.lyingVoter("v1", nil, testEntries("b", 0, 150))
	h.Note(r.region.ID, frameOf(t, &note{Note: r.signedBy(l.fork, 150, 1, "v1")}))
	if n := len(h.raised("ledger-split-view")); n != 0 {
		t.Fatalf("%d alarms about what cannot be known yet", n)
	}
	v.growAll(testEntries("a", 100, 400))
	h.Note(r.region.ID, frameOf(t, &note{Note: r.signedBy(v.track().tree, 400, 1, "v1", "v2")}))
	h.convicted("v1")
}

// Who refuses to show the tree behind a checkpoint cannot be convicted, but a person
// hears of it.
func TestHiddenTree(t *testing.T) {
	r := newTestRegion(t, 3, 0, 1)
	l := r.lyingVoter("v1", testEntries("a", 0, 100), testEntries("b", 0, 150))
	l.hidden = true
	l.node.start()
	l.node.track().take(r.signedBy(l.node.track().tree, 100, 1, "v1", "v2"), "")
	h := r.started("h1")
	r.eventually("h1 has the ledger", func() bool { return h.holdsCheckpoint(100) })
	h.Note(r.region.ID, frameOf(t, &note{Note: r.signedBy(l.fork, 150, 1, "v1", "v2")}))
	h.follow.copy(h.track())
	r.clock.add(unshownFor)
	h.follow.copy(h.track())
	h.follow.copy(h.track())
	if n, m := len(h.raised("ledger-differs")), len(h.raised("ledger-split-view")); n != 1 || m != 0 {
		t.Errorf("%d lesser and %d critical alarms, want 1 and 0", n, m)
	}
	// A larger good checkpoint that can be shown is followed all the same.
	l.node.growAll(testEntries("a", 100, 120))
	h.Note(r.region.ID, frameOf(t, &note{Note: r.signedBy(l.node.track().tree, 120, 1, "v1", "v3")}))
	r.eventually("h1 goes on", func() bool { return h.holdsCheckpoint(120) })
}

// False proofs convict nobody.
func TestFalseAccusations(t *testing.T) {
	r := newTestRegion(t, 3, 0, 1)
	v := r.node("v1", "")
	v.growAll(testEntries("a", 0, 100))
	fork := r.node("v2", "")
	fork.growAll(testEntries("b", 0, 100))
	h := r.node("h1", "")
	prove := func(a, b []byte, prefix crypto.Hash, path []crypto.Hash) []byte {
		e, err := verify.NewEquivocation(a, b, prefix, path)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	root, err := v.track().tree.Root(50)
	if err != nil {
		t.Fatal(err)
	}
	path, err := v.track().tree.Consistency(50, 100)
	if err != nil {
		t.Fatal(err)
	}
	for name, proof := range map[string][]byte{
		"two voters":       prove(r.signedBy(v.track().tree, 100, 1, "v1"), r.signedBy(fork.track().tree, 100, 1, "v2"), crypto.Hash{}, nil),
		"one tree":         prove(r.signedBy(v.track().tree, 50, 1, "v1"), r.signedBy(v.track().tree, 100, 1, "v1"), root, path),
		"one checkpoint":   prove(r.signedBy(v.track().tree, 100, 1, "v1"), r.signedBy(v.track().tree, 100, 1, "v1"), crypto.Hash{}, nil),
		"nothing is shown": prove(r.signedBy(fork.track().tree, 50, 1, "v1"), r.signedBy(v.track().tree, 100, 1, "v1"), crypto.Hash{1}, path),
		"hospitals signed": prove(r.signedBy(v.track().tree, 100, 1, "h1"), r.signedBy(fork.track().tree, 100, 1, "h1"), crypto.Hash{}, nil),
	} {
		if relay, _ := h.Note(r.region.ID, frameOf(t, &evidence{Proof: proof})); relay {
			t.Errorf("%s: relayed", name)
		}
	}
	if n := len(h.raised("ledger-split-view")); n != 0 {
		t.Errorf("%d alarms", n)
	}
	true := prove(r.signedBy(v.track().tree, 100, 1, "v1"), r.signedBy(fork.track().tree, 100, 1, "v1"), crypto.Hash{}, nil)
	if relay, blame := h.Note(r.region.ID, frameOf(t, &evidence{Proof: true})); !relay || blame {
		t.Errorf("a true one: relay %v, blame %v", relay, blame)
	}
	if relay, blame := h.Note(r.region.ID, frameOf(t, &evidence{Proof: true})); relay || blame {
		t.Errorf("again: relay %v, blame %v", relay, blame)
	}
	if n := len(h.raised("ledger-split-view")); n != 1 {
		t.Errorf("%d alarms, want 1", n)
	}
}

// Neighbours' checkpoints are verified, kept once an hour, and held against each other.
func TestForeignCheckpoints(t *testing.T) {
	r := newTestRegion(t, 1, 0, 1)
	far := &testRegion{t: t, region: testkit.NewRegionLedger(t, "far", []string{"f1", "f2", "f3"}, nil), clock: r.clock}
	r.region.Records = append(r.region.Records, r.region.Endorse(t, nil, far.region), far.region.Endorse(t, nil, r.region))
	r.region.Records = append(r.region.Records, far.region.Records...)
	h := r.node("h1", "")
	c := func(size uint64, root byte) tlog.Checkpoint {
		return tlog.Checkpoint{Origin: tlog.Origin(far.region.ID, 1), Size: size, Root: crypto.Hash{root}}
	}
	told := func(raw []byte) (relay, blame bool) {
		return h.Note(far.region.ID, frameOf(t, &note{Note: raw}))
	}
	ten := far.noteOf(c(10, 1), "f1", "f2")
	if relay, blame := told(far.noteOf(c(9, 1), "f1")); relay || blame {
		t.Errorf("without a quorum: relay %v, blame %v", relay, blame)
	}
	if relay, blame := told(ten); !relay || blame {
		t.Errorf("a good one: relay %v, blame %v", relay, blame)
	}
	if got := h.Foreign(); len(got) != 1 || !bytes.Equal(got[0], ten) {
		t.Errorf("%d checkpoints are handed out", len(got))
	}
	r.clock.add(2e9)
	twenty := far.noteOf(c(20, 2), "f2", "f3")
	if relay, blame := told(twenty); relay || blame {
		t.Errorf("the second within an hour: relay %v, blame %v", relay, blame)
	}
	if got := h.Foreign(); len(got) != 0 {
		t.Errorf("%d checkpoints within an hour", len(got))
	}
	r.clock.add(foreignEvery)
	if got := h.Foreign(); len(got) != 1 || !bytes.Equal(got[0], twenty) {
		t.Errorf("%d checkpoints after an hour", len(got))
	}
	if relay, blame := told(ten); relay || blame {
		t.Errorf("an old one: relay %v, blame %v", relay, blame)
	}
	if _, blame := h.Note(r.region.ID, frameOf(t, &note{Note: twenty})); !blame {
		t.Error("a checkpoint in another region's topic is not blamed")
	}

	told(far.noteOf(c(20, 3), "f1", "f2"))
	r.eventually("h1 alarms", func() bool { return len(h.raised("ledger-split-view")) == 1 })
	e, err := verify.ParseEquivocation(h.raised("ledger-split-view")[0].Evidence)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := verify.PolicyOf(far.region.Roster(t), far.region.ID, 1)
	if err != nil {
		t.Fatal(err)
	}
	if both, err := e.Verify(policy); err != nil || len(both) != 1 || both[0].Name != "f2" {
		t.Errorf("convicted: %+v, %v", both, err)
	}
	if got := h.Foreign(); len(got) != 0 {
		t.Errorf("%d checkpoints of a ledger that is split are handed out", len(got))
	}
}
