package node_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
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
		return b.muted(t, m, last, crypto.Header{Time: at, Urgent: urgent}, via, b.item(t, fmt.Sprintf("flood-%d.example", seqAfter(last[m]))))
	}
	marks := func(m *testkit.Member) []string {
		t.Helper()
		members, err := b.Members(t.Context(), 0)
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
	muted := func(m *testkit.Member) bool {
		return slices.ContainsFunc(marks(m), func(mark string) bool { return strings.HasPrefix(mark, "muted: says too much at once, ") })
	}

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
	if !muted(b.author) || len(b.alerts(t, "flood")) != 1 {
		t.Errorf("marks %v and %d alerts, want a visible mute and one alert", marks(b.author), len(b.alerts(t, "flood")))
	}
	if !b.knows(t, fmt.Sprintf("flood-%d.example", last[b.author].Header.Seq)) {
		t.Error("a muted word is not kept")
	}
	if say(b.other, b.clock.now(), false, mesh.ViaDirect) || muted(b.other) {
		t.Error("another member is muted as well")
	}
	b.clock.advance(5 * time.Second) // it has a few words again
	if !b.Path().Muted(place(last[b.author])) || b.Path().Muted(place(last[b.other])) {
		t.Error("who connects is told of words that were put aside, or of nobody's")
	}

	b.clock.advance(time.Minute)
	if say(b.author, b.clock.now(), false, mesh.ViaDirect) || b.Path().Muted(place(last[b.author])) {
		t.Error("still muted a minute later")
	}
	b.clock.advance(10 * time.Minute)
	if muted(b.author) {
		t.Error("marked as muted long after")
	}

	// Urgent words are counted apart, whatever clock they carry.
	for i := range 6 {
		if say(b.other, b.clock.now()-day, true, mesh.ViaDirect) {
			t.Fatalf("muted after %d urgent words", i)
		}
	}
	if !say(b.other, b.clock.now()-day, true, mesh.ViaDirect) || !b.Path().Muted(place(last[b.other])) {
		t.Error("the seventh urgent word in a moment is relayed")
	}
	if say(b.other, b.clock.now(), false, mesh.ViaDirect) || b.Path().Muted(place(last[b.other])) {
		t.Error("too many urgent words mute the ordinary ones")
	}
}

func seqAfter(e *crypto.Envelope) uint64 {
	if e == nil {
		return 1
	}
	return e.Header.Seq + 1
}

// place is where a stored envelope is.
func place(e *crypto.Envelope) mesh.Slot {
	return mesh.Slot{Chain: e.Header.Chain(), Seq: e.Header.Seq, ID: e.ID, Time: e.Header.Time, Urgent: e.Header.Urgent}
}

// muted brings the next envelope of a member by the whole path and reports whether it
// is kept from others.
func (b *bench) muted(t testing.TB, m *testkit.Member, last map[*testkit.Member]*crypto.Envelope, h crypto.Header, via mesh.Via, items ...[]byte) bool {
	t.Helper()
	e := m.Envelope(t, h, last[m], items...)
	last[m] = e
	checked, err := b.Path().Check(e.Raw, via, crypto.Region{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if h.Urgent { // it comes by another way as well
		if again, err := b.Path().Check(e.Raw, via, crypto.Region{}, 0); err != nil || again.Muted != checked.Muted {
			t.Errorf("the same envelope again: %v, muted %t, before %t", err, again.Muted, checked.Muted)
		}
	}
	if err := b.Path().Admit(t.Context(), []*mesh.Checked{checked}); err != nil {
		t.Fatal(err)
	}
	return checked.Muted
}

// A mayday has a place of its own with those who hear it, one in ten minutes, whatever
// its author, or who has its key, said before.
func TestMaydayOfAFlooderIsHeard(t *testing.T) {
	b := newBench(t)
	last := map[*testkit.Member]*crypto.Envelope{}
	salt := byte(0)
	call := func() []byte {
		salt++
		return encode(t, b.word(notice.KindMayday, salt, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "help"} }))
	}
	urgent := func(items ...[]byte) bool {
		t.Helper()
		return b.muted(t, b.author, last, crypto.Header{Time: b.clock.now(), Urgent: true}, mesh.ViaDirect, items...)
	}
	for i := range 6 {
		if urgent(b.item(t, fmt.Sprintf("flood-%d.example", i))) {
			t.Fatalf("muted after %d urgent words", i)
		}
	}
	if !urgent(b.item(t, "seventh.example")) {
		t.Error("the seventh urgent word is relayed")
	}
	if b.muted(t, b.author, last, crypto.Header{Time: b.clock.now()}, mesh.ViaDirect, call()) {
		t.Error("an ordinary mayday is muted")
	}
	if urgent(b.item(t, "with.example"), call()) || b.Path().Muted(place(last[b.author])) {
		t.Error("the first mayday is muted")
	}
	for range 3 {
		if !urgent(call()) {
			t.Error("a second mayday in ten minutes is relayed")
		}
	}
	if alerts := b.heeded(t); !slices.ContainsFunc(alerts, func(a store.Alert) bool { return a.Kind == "mayday" }) {
		t.Errorf("no alert of it: %+v", alerts)
	}
	b.clock.advance(5 * time.Minute)
	for range 4 { // three came back
		urgent(b.item(t, fmt.Sprintf("late-%d.example", seqAfter(last[b.author]))))
	}
	if !urgent(call()) {
		t.Error("a second mayday after five minutes is relayed")
	}
	b.clock.advance(6 * time.Minute)
	for range 6 {
		urgent(b.item(t, fmt.Sprintf("late-%d.example", seqAfter(last[b.author]))))
	}
	if urgent(call()) || !urgent(call()) {
		t.Error("after ten minutes a mayday has its place again, once")
	}

	// Who says too much of what is ordinary is heard as well when it calls.
	for i := range 700 {
		b.muted(t, b.other, last, crypto.Header{Time: b.clock.now()}, mesh.ViaDirect, b.item(t, fmt.Sprintf("bulk-%d.example", i)))
	}
	if b.muted(t, b.other, last, crypto.Header{Time: b.clock.now(), Urgent: true}, mesh.ViaDirect, call()) {
		t.Error("the mayday of a flooder is muted")
	}
	alerts := b.heeded(t)
	if !slices.ContainsFunc(alerts, func(a store.Alert) bool {
		return a.Kind == "mayday" && strings.Contains(a.Text, "other is under attack")
	}) {
		t.Errorf("no alert of the flooder's mayday: %+v", alerts)
	}
}
