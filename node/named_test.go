package node_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

var red = api.SubmitOptions{TLP: notice.TLPRed}

// to names members that alone get it.
func to(s api.Submission, names ...string) api.Submission {
	s.To = names
	return s
}

// delivery is what became of an own notice at a member.
func (h *hospital) delivery(t testing.TB, id, name string) string {
	t.Helper()
	view, _ := h.notice(t, id)
	for _, to := range view.To {
		if to.Name == name {
			return to.State
		}
	}
	return ""
}

// Every named bad case meets its verdict and leaves no trace; what is sealed is
// refused on every other way, on topics provably.
func TestBadNamedLeaveNoTrace(t *testing.T) {
	b := newBench(t)
	cases := testkit.BadNamed(t, b.region, b.clock.now(), b.item(t, "red.example"))
	bad := 0
	for _, c := range cases {
		if c.Want == testkit.WantGood {
			continue
		}
		bad++
		t.Run(c.Name, func(t *testing.T) { b.says(t, c.Raw, mesh.ViaNamed, c.Want) })
	}
	if bad < 40 || b.knows(t, "red.example") {
		t.Fatalf("%d bad cases, known: %t", bad, b.knows(t, "red.example"))
	}
	good := cases[0].Raw
	for name, via := range vias {
		want := map[mesh.Via]string{mesh.ViaGossip: "region"}[via]
		if want == "" {
			want = "audience"
		}
		t.Run("genuine by "+name, func(t *testing.T) { b.says(t, good, via, want) })
	}
	for _, a := range []crypto.Audience{crypto.AudienceRegion, crypto.AudienceCommunity} {
		_, err := b.Path().Check(good, mesh.ViaGossip, b.region.ID, a)
		var refusal *mesh.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != "region" { // for which the mesh blames the sender
			t.Errorf("sealed bytes on the %s topic: %v", a, err)
		}
	}
	// The genuine ones come last: nothing bad may have spoilt them.
	for _, c := range cases {
		if c.Want == testkit.WantGood {
			if err := b.bring(t.Context(), c.Raw, mesh.ViaNamed, 0); err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
			b.says(t, c.Raw, mesh.ViaNamed, mesh.ErrDuplicate.Error())
		}
	}
	if !b.knows(t, "red.example") || b.lookup(t, "red.example", notice.TLPAmberStrict).Known {
		t.Error("what was sealed for this member is not known, or below its marking")
	}
}

// Any age is taken, a word from the future later, and an expired one never.
func TestNamedTimes(t *testing.T) {
	b := newBench(t)
	now, here := b.clock.now(), []*testkit.Member{b.self}
	old := b.author.Named(t, crypto.Header{Time: now - 60*day, Urgent: true}, here, b.item(t, "old.example"))
	future := b.author.Named(t, crypto.Header{Time: now + 30*minute}, here, b.item(t, "future.example"))
	gone := b.author.Named(t, crypto.Header{Time: now - 2*day, Expiry: now - minute}, here, b.item(t, "gone.example"))
	b.says(t, future.Raw, mesh.ViaNamed, mesh.ErrHeld.Error())
	b.says(t, gone.Raw, mesh.ViaNamed, mesh.ErrStale.Error())
	b.says(t, old.Bare(), mesh.ViaNamed, mesh.ErrStale.Error())
	if err := b.bring(t.Context(), old.Raw, mesh.ViaNamed, 0); err != nil {
		t.Fatal(err)
	}
	if found, _, err := b.Store().List(store.Query{}); err != nil || len(found) != 1 || found[0].Flags != 0 {
		t.Errorf("what waited for this member for long is marked: %+v, %v", found, err)
	}
	b.clock.advance(26 * time.Minute)
	if err := b.bring(t.Context(), future.Raw, mesh.ViaNamed, 0); err != nil {
		t.Fatal(err)
	}
	if !b.knows(t, "future.example") {
		t.Error("a word whose time has come is not known")
	}
}

// RED goes to whom it names and to nobody else; what is said about it goes to the
// same, from the author and from a recipient.
func TestNamed(t *testing.T) {
	r := startRegion(t, 3)
	a, b, c := r.hospitals[0], r.hospitals[1], r.hospitals[2]
	at := a.clock.now()
	said := a.submit(t, red, to(sighting("red.example", at), b.Name()))[0]
	if said.Audience != "named" || said.TLP != "RED" || len(said.To) != 1 || said.To[0].Name != b.Name() {
		t.Fatalf("%+v", said)
	}
	if again := a.submit(t, red, to(sighting("red.example", at), b.Name()))[0]; !again.Known || again.ID != said.ID {
		t.Errorf("the same to the same: %+v", again)
	}
	eventually(t, "the recipient knows it", func() bool { return b.knows(t, "red.example") })
	eventually(t, "it is confirmed", func() bool { return a.delivery(t, said.ID, b.Name()) == api.DeliveryDone })
	view, _ := b.notice(t, said.ID)
	if view.TLP != "RED" || view.Audience != "named" || view.AuthorName != a.Name() || len(view.To) != 1 {
		t.Errorf("at the recipient: %+v", view)
	}
	if !a.knows(t, "red.example") || a.lookup(t, "red.example", notice.TLPAmberStrict).Known {
		t.Error("the author does not know its own word, or shows it below its marking")
	}

	dispute := b.submit(t, api.SubmitOptions{}, api.Submission{Kind: "dispute", Ref: said.ID, Reason: "ours"})[0]
	if len(dispute.To) != 1 || dispute.To[0].Name != a.Name() {
		t.Fatalf("a dispute goes to %+v", dispute.To)
	}
	eventually(t, "the author hears the dispute", func() bool { return a.marked(t, said.ID, "disputed by 1") })
	back := a.submit(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: said.ID})[0]
	if len(back.To) != 1 || back.To[0].Name != b.Name() {
		t.Fatalf("a retraction goes to %+v", back.To)
	}
	eventually(t, "it is taken back", func() bool { return b.marked(t, said.ID, "retracted") && !b.knows(t, "red.example") })

	// Nothing of it travelled another way.
	r.clock.settle()
	word := a.submit(t, amber, sighting("amber.example", a.clock.now()))[0]
	eventually(t, "the third hears what is for all", func() bool { _, found := c.notice(t, word.ID); return found })
	for _, id := range []string{said.ID, dispute.ID, back.ID} {
		if _, found := c.notice(t, id); found {
			t.Errorf("%s reached who was not named", id)
		}
	}
	status, err := a.Status(t.Context(), 0)
	if err != nil || status.Awaited != 0 || status.Awaiting != 0 {
		t.Errorf("everything arrived and status says %+v, %v", status, err)
	}
	a.exports(t, api.ExportQuery{Ceiling: notice.TLPRed, Sees: notice.TLPRed, Kind: notice.KindSighting}, "sighting amber.example")
}

// The queue is on disk: what a member missed while it was away, and across
// restarts of the author, arrives once it comes, in order and once.
func TestNamedWaitsForItsRecipient(t *testing.T) {
	r := startRegion(t, 3)
	a, b, c := r.hospitals[0], r.hospitals[1], r.hospitals[2]
	name := b.Name()
	b.stop(t)
	var ids []string
	for _, value := range []string{"one.example", "two.example", "three.example"} {
		ids = append(ids, a.submit(t, red, to(sighting(value, a.clock.now()), name, c.Name()))[0].ID)
	}
	for _, id := range ids {
		eventually(t, "who is there has it", func() bool { return a.delivery(t, id, c.Name()) == api.DeliveryDone })
		if got := a.delivery(t, id, name); got != api.DeliveryWaiting {
			t.Errorf("for who is away it is %q", got)
		}
	}
	status, err := a.Status(t.Context(), 0)
	if err != nil || status.Awaited != 3 || status.Awaiting != 1 {
		t.Errorf("three wait for one, and status says %d for %d, %v", status.Awaited, status.Awaiting, err)
	}
	if low, err := a.Status(t.Context(), notice.TLPAmber); err != nil || low.Awaited != 0 {
		t.Errorf("below the marking status says %d, %v", low.Awaited, err)
	}
	a.stop(t)
	a.open(t)
	a.start(t, nil)
	b.open(t)
	b.start(t, nil)
	r.meet(t)
	for _, id := range ids {
		eventually(t, "it is delivered", func() bool { return a.delivery(t, id, name) == api.DeliveryDone })
	}
	if s := b.lookup(t, "one.example", 0).Summary; s == nil || s.Sightings != 1 {
		t.Errorf("%+v", s)
	}
}

// A confirmation that was lost is given again, and makes no second notice.
func TestNamedConfirmationIsLost(t *testing.T) {
	r := startRegion(t, 2)
	a, b := r.hospitals[0], r.hospitals[1]
	name, member := b.Name(), b.member(t)
	b.stop(t)
	said := a.submit(t, red, to(sighting("red.example", a.clock.now()), name))[0]
	eventually(t, "it waits", func() bool { return a.delivery(t, said.ID, name) == api.DeliveryWaiting })
	queued, err := a.Store().Queued(member, 0, 10)
	if err != nil || len(queued) != 1 {
		t.Fatalf("%d wait, %v", len(queued), err)
	}
	b.open(t)
	checked, err := b.Path().Check(queued[0].Raw, mesh.ViaNamed, crypto.Region{}, 0)
	if err == nil {
		err = b.Path().Admit(t.Context(), []*mesh.Checked{checked})
	}
	if err != nil {
		t.Fatal(err)
	}
	b.start(t, nil)
	r.meet(t)
	eventually(t, "it is confirmed", func() bool { return a.delivery(t, said.ID, name) == api.DeliveryDone })
	if s := b.lookup(t, "red.example", 0).Summary; s == nil || s.Sightings != 1 {
		t.Errorf("%+v", s)
	}
}

// What expires before its recipient comes is given up, and a person is told.
func TestNamedExpires(t *testing.T) {
	t.Parallel()
	r := startRegion(t, 2)
	a, b := r.hospitals[0], r.hospitals[1]
	name := b.Name()
	b.stop(t)
	said := a.submit(t, red, to(api.Submission{Kind: "indicator", Value: "red.example", ValidUntil: api.Time(a.clock.now() + 2*day)}, name))[0]
	eventually(t, "it waits", func() bool { return a.delivery(t, said.ID, name) == api.DeliveryWaiting })
	r.clock.advance(3 * 24 * time.Hour)
	a.NudgeCourier()
	eventually(t, "it is given up", func() bool { return a.delivery(t, said.ID, name) == api.DeliveryLapsed })
	eventually(t, "a person is told", func() bool { return len(a.alerts(t, "not-delivered")) == 1 })
	alert := a.alerts(t, "not-delivered")[0]
	if !strings.Contains(alert.Text, name) || !slices.Contains(alert.Refs, said.ID) || alert.TLP != "RED" {
		t.Errorf("%+v", alert)
	}
}

// Members of a region that hears this one can be named; AMBER does not go there.
func TestNamedAcrossRegions(t *testing.T) {
	a, b := makeRegions(t, 1)
	a.endorse(t, b)
	b.endorse(t, a)
	a.run(t)
	b.run(t)
	here, there := a.hospitals[0], b.hospitals[0]
	if err := here.Mesh().AddSeeds(there.MeshAddrs()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both regions are heard", func() bool { return len(here.Heard()) == 2 && len(there.Heard()) == 2 })

	word := sighting("red.example", here.clock.now())
	if got := here.refuses(t, red, to(word, "hospital 1")); !strings.Contains(got.Reason, "2 members are called") || !strings.Contains(got.Reason, there.member(t).String()[:16]) {
		t.Errorf("a name in two regions: %+v", got)
	}
	id := there.member(t).String()
	if got := here.refuses(t, amber, to(word, id)); got.Field != "to" || !strings.Contains(got.Reason, "TLP:AMBER stays in its region") {
		t.Errorf("AMBER to another region: %+v", got)
	}
	said := here.submit(t, api.SubmitOptions{TLP: notice.TLPAmberStrict}, to(word, id[:16]))[0]
	if len(said.To) != 1 || said.To[0].Region != "Test region" {
		t.Errorf("that it leaves the region is not said: %+v", said.To)
	}
	eventually(t, "the other region's member has it", func() bool { return there.knows(t, "red.example") })
	eventually(t, "it is confirmed", func() bool { return here.delivery(t, said.ID, "Hospital 1") == api.DeliveryDone })
}

func TestNamedRefusals(t *testing.T) {
	r := startRegion(t, 3)
	a := r.hospitals[0]
	word := func(names ...string) api.Submission { return to(sighting("red.example", a.clock.now()), names...) }
	for _, c := range []struct {
		name, field, says string
		o                 api.SubmitOptions
		item              api.Submission
	}{
		{"RED to nobody", "tlp", "named members only", red, word()},
		{"unmarked to somebody", "tlp", "a marking of its own", api.SubmitOptions{}, word("Hospital 2")},
		{"local to somebody", "to", "cannot stay on this node", api.SubmitOptions{Local: true, TLP: notice.TLPRed}, word("Hospital 2")},
		{"to itself", "to", "this node itself", red, word("Hospital 1")},
		{"to nobody known", "to", "called \"Hospitl 2\"", red, word("Hospitl 2")},
	} {
		if got := a.refuses(t, c.o, c.item); got.Field != c.field || !strings.Contains(got.Reason, c.says) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	if got := a.refuses(t, red, word("hospital")); !strings.Contains(got.Fix, "did you mean Hospital 1 (") || !strings.Contains(got.Fix, "Hospital 3 (") {
		t.Errorf("candidates: %+v", got)
	}
	said := a.submit(t, red, word("hospital 2"))[0]
	if got := a.refuses(t, api.SubmitOptions{}, to(api.Submission{Kind: "retraction", Ref: said.ID}, "Hospital 3")); got.Field != "to" {
		t.Errorf("a retraction to others: %+v", got)
	}
	// The same words for another are another notice: who was not named must hear them.
	other := a.submit(t, red, word("Hospital 3"))[0]
	if other.Known || other.ID == said.ID {
		t.Errorf("the same to another: %+v", other)
	}
	eventually(t, "the other has it", func() bool { return r.hospitals[2].knows(t, "red.example") })
	// What was kept here keeps its id when it is said to some.
	kept := a.submit(t, local, sighting("kept.example", 1_000_000_000_000))[0]
	told := a.submit(t, red, to(sighting("kept.example", 1_000_000_000_000), "Hospital 2"))[0]
	if told.ID != kept.ID || !told.Promoted {
		t.Errorf("kept as %s, said as %+v", kept.ID, told)
	}
	eventually(t, "it is delivered", func() bool { return a.delivery(t, kept.ID, "Hospital 2") == api.DeliveryDone })
}
