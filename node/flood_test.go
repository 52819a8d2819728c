package node_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
)

// Who floods the region is heard and kept, and not relayed; nobody else is the
// worse for it, and history that is caught up with is no flood.
func TestFloodIsMuted(t *testing.T) {
	const budget = 600
	b := newBench(t)
	b.clock.stop()
	last := map[*testkit.Member]*crypto.Envelope{}
	say := func(m *testkit.Member, at int64, urgent bool, via mesh.Via) (muted bool) {
		t.Helper()
		seq := uint64(1)
		if last[m] != nil {
			seq = last[m].Header.Seq + 1
		}
		e := m.Envelope(t, crypto.Header{Time: at, Urgent: urgent}, last[m], b.item(t, fmt.Sprintf("flood-%d.example", seq)))
		last[m] = e
		checked, err := b.Path().Check(e.Raw, via, crypto.Region{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Path().Admit(t.Context(), []*mesh.Checked{checked}); err != nil {
			t.Fatal(err)
		}
		return checked.Muted
	}
	marks := func(m *testkit.Member) []string {
		t.Helper()
		members, err := b.Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range members {
			if v.ID == m.ID.String() {
				return v.Marks
			}
		}
		t.Fatal("the member is not listed")
		return nil
	}
	const mark = "muted: says too much at once"

	for range 2 * budget {
		if say(b.author, b.clock.now()-day, false, mesh.ViaSync) {
			t.Fatal("history is a flood")
		}
	}
	for i := range budget {
		if say(b.author, b.clock.now(), false, mesh.ViaDirect) {
			t.Fatalf("muted after %d words", i)
		}
	}
	for i := range 100 {
		if !say(b.author, b.clock.now(), false, mesh.ViaDirect) {
			t.Errorf("word %d over the budget is relayed", i+1)
		}
	}
	if !slices.Contains(marks(b.author), mark) || len(b.alerts(t, "flood")) != 1 {
		t.Errorf("marks %v and %d alerts, want a visible mute and one alert", marks(b.author), len(b.alerts(t, "flood")))
	}
	if !b.knows(t, fmt.Sprintf("flood-%d.example", last[b.author].Header.Seq)) {
		t.Error("a muted word is not kept")
	}
	if say(b.other, b.clock.now(), false, mesh.ViaDirect) || slices.Contains(marks(b.other), mark) {
		t.Error("another member is muted as well")
	}

	b.clock.advance(time.Minute)
	if say(b.author, b.clock.now(), false, mesh.ViaDirect) {
		t.Error("still muted a minute later")
	}
	b.clock.advance(10 * time.Minute)
	if slices.Contains(marks(b.author), mark) {
		t.Error("marked as muted long after")
	}

	// Urgent words are counted apart, whatever clock they carry.
	for i := range 6 {
		if say(b.other, b.clock.now()-day, true, mesh.ViaDirect) {
			t.Fatalf("muted after %d urgent words", i)
		}
	}
	if !say(b.other, b.clock.now()-day, true, mesh.ViaDirect) {
		t.Error("the seventh urgent word in a moment is relayed")
	}
	if say(b.other, b.clock.now(), false, mesh.ViaDirect) {
		t.Error("too many urgent words mute the ordinary ones")
	}
}
