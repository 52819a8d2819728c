package node_test

import (
	"slices"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// card is what another region needs of this one to endorse it.
func (r *region) card(t testing.TB) (crypto.Region, []byte) {
	t.Helper()
	_, roster, err := node.ParseAdmission(r.admission(t, r.hospitals[len(r.hospitals)-1].dir))
	if err != nil {
		t.Fatal(err)
	}
	raw, ok := roster.Record(roster.Charter().RecordID())
	if !ok {
		t.Fatal("the charter has no record")
	}
	return roster.Region(), raw
}

// endorsing returns the record by which a region endorses others, or withdraws.
func (r *region) endorsing(t testing.TB, before *trust.Endorsements, others ...crypto.Region) []byte {
	t.Helper()
	charter, _, err := node.Charter(r.hospitals[0].dir)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := trust.Endorse(charter, []*crypto.PrivateKey{r.key}, before, others, time.Now().UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// endorse makes a region endorse another, known to its first hospital only.
func (r *region) endorse(t testing.TB, other *region) {
	t.Helper()
	id, charter := other.card(t)
	if err := node.AddRecords(r.hospitals[0].dir, [][]byte{charter, r.endorsing(t, nil, id)}); err != nil {
		t.Fatal(err)
	}
}

// makeRegions makes two regions of n hospitals each that go by one clock.
func makeRegions(t testing.TB, n int) (a, b *region) {
	t.Helper()
	a, b = makeRegion(t, n), makeRegion(t, n)
	b.clock = a.clock
	for _, h := range b.hospitals {
		h.clock = a.clock
	}
	return a, b
}

// run starts a region that was made.
func (r *region) run(t testing.TB) {
	t.Helper()
	for _, h := range r.hospitals {
		h.open(t)
	}
	for _, h := range r.hospitals {
		h.start(t, nil)
	}
	r.meet(t)
}

// Two regions of two hospitals. Only their first ones are told of each other;
// the second ones learn who is endorsed, and who belongs to it, from those.
func TestRegionsThatEndorseEachOther(t *testing.T) {
	t.Parallel()
	a, b := makeRegions(t, 2)
	a.endorse(t, b)
	b.endorse(t, a)
	a.run(t)
	b.run(t)
	one, two, far := a.hospitals[0], b.hospitals[0], b.hospitals[1]
	if err := one.Mesh().AddSeeds(two.MeshAddrs()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first hospitals have met", func() bool { return len(one.Mesh().Peers()) >= 2 && len(two.Mesh().Peers()) >= 2 })
	for _, h := range []*hospital{a.hospitals[1], far} { // trust records spread by sync, which begins every half a minute
		eventuallyIn(t, 4*patience, h.Name()+" hears both regions", func() bool { return len(h.Heard()) == 2 })
	}

	at := one.clock.now()
	said := a.hospitals[1].submit(t, green, sighting("green.example", at))[0]
	secret := a.hospitals[1].submit(t, amber, sighting("amber.example", at))[0]
	eventually(t, "AMBER is known in its region", func() bool { _, ok := one.notice(t, secret.ID); return ok })
	eventually(t, "GREEN is known two hospitals away, in the other region", func() bool { return far.knows(t, "green.example") })
	if v, ok := far.notice(t, said.ID); !ok || v.AuthorName != "Hospital 2" || v.TLP != "GREEN" {
		t.Errorf("it is shown as %+v", v)
	}
	back := far.submit(t, green, sighting("back.example", far.clock.now()))[0]
	eventually(t, "an answer comes back", func() bool { _, ok := a.hospitals[1].notice(t, back.ID); return ok })
	for _, h := range b.hospitals {
		if h.knows(t, "amber.example") {
			t.Errorf("%s of the other region knows what is AMBER", h.Name())
		}
		for _, e := range h.held(t, a.hospitals[1].member(t)) {
			if e.Header.Audience != crypto.AudienceCommunity {
				t.Errorf("%s holds an envelope for the %s", h.Name(), e.Header.Audience)
			}
		}
	}

	// Of the other region's members there is no pulse, so no word of them.
	views, err := one.Members(t.Context(), 0)
	if err != nil || len(views) != 4 {
		t.Fatalf("%d members are shown: %v", len(views), err)
	}
	for _, m := range views {
		if want := map[bool]string{true: api.StateOK}[m.ID == one.member(t).String() || m.ID == a.hospitals[1].member(t).String()]; m.State != want {
			t.Errorf("%s of %s is shown as %q, not %q", m.Name, m.Region, m.State, want)
		}
	}

	// Withdrawn, the region is not heard any more, and connections end.
	charter, _, err := node.Charter(one.dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := trust.Endorse(charter, []*crypto.PrivateKey{a.key}, one.Endorsements(charter.Region()), nil, time.Now().UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Path().AddTrust(t.Context(), [][]byte{list}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other region is gone", func() bool { return len(one.Mesh().Peers()) == 1 })
	late := two.submit(t, green, sighting("late.example", two.clock.now()))[0]
	eventually(t, "its own region hears it", func() bool { _, ok := far.notice(t, late.ID); return ok })
	if one.knows(t, "late.example") {
		t.Error("a withdrawn region is heard")
	}
}

// An endorsement alone opens nothing: the other region has to answer.
func TestOneSidedEndorsementIsNotHeard(t *testing.T) {
	a, b := makeRegions(t, 1)
	a.endorse(t, b)
	a.run(t)
	b.run(t)
	one, two := a.hospitals[0], b.hospitals[0]
	if err := one.Mesh().AddSeeds(two.MeshAddrs()); err != nil {
		t.Fatal(err)
	}
	if err := two.Mesh().AddSeeds(one.MeshAddrs()); err != nil {
		t.Fatal(err)
	}
	one.submit(t, green, sighting("evil.example", one.clock.now()))
	two.submit(t, green, sighting("wicked.example", two.clock.now()))
	one.clock.advance(4 * time.Second) // they wait no longer for somebody who knows how far they were
	eventually(t, "both have signed", func() bool {
		return len(one.held(t, one.member(t))) > 0 && len(two.held(t, two.member(t))) > 0
	})
	time.Sleep(time.Second)
	if one.knows(t, "wicked.example") || two.knows(t, "evil.example") || len(two.Mesh().Peers()) > 0 {
		t.Error("they hear each other")
	}
	for from, to := range map[*hospital]*hospital{one: two, two: one} {
		for _, e := range from.held(t, from.member(t)) {
			if _, err := to.Path().Check(e.Raw, mesh.ViaSync, crypto.Region{}, 0); verdict(err) != "region" {
				t.Errorf("carried there by hand: %v", err)
			}
		}
	}
}

// Of a region that is endorsed and endorses, what is for the community is taken,
// and what is for that region alone is refused, whoever brings it.
func TestEndorsedRegionIsHeardForTheCommunity(t *testing.T) {
	b := newBench(t)
	other := testkit.NewRegionNamed(t, "elsewhere", "them")
	them, at := other.Members[0], b.clock.now()
	open := them.Envelope(t, crypto.Header{Time: at, Audience: crypto.AudienceCommunity, TLP: uint8(notice.TLPGreen)}, nil, b.item(t, "open.example"))
	secret := them.Envelope(t, crypto.Header{Time: at}, nil, b.item(t, "secret.example"))
	learn := func(records ...[]byte) {
		t.Helper()
		if err := b.Path().AddTrust(t.Context(), records); err != nil {
			t.Fatal(err)
		}
	}
	learn(append(slices.Clone(other.Records), b.region.Endorse(t, nil, other))...)
	b.says(t, open.Raw, mesh.ViaSync, "region") // the other has not answered
	learn(other.Endorse(t, nil, b.region))
	for _, via := range []mesh.Via{mesh.ViaSync, mesh.ViaDirect} {
		b.says(t, secret.Raw, via, "audience")
	}
	b.takes(t, open, mesh.ViaSync)
	if b.knows(t, "secret.example") || !b.knows(t, "open.example") {
		t.Error("it knows what is for the other region alone, or not what is for all")
	}
}

// A withdrawal in an admission takes what it ends out of it, so that the node
// starts with what is left.
func TestAdmissionWithAWithdrawal(t *testing.T) {
	a, b := makeRegion(t, 1), makeRegion(t, 1)
	a.endorse(t, b)
	one := a.hospitals[0]
	_, roster, err := node.ParseAdmission(a.admission(t, one.dir))
	if err != nil {
		t.Fatal(err)
	}
	other, _ := b.card(t)
	before := roster.Endorsements(roster.Region())
	if len(before.Regions) != 1 || before.Regions[0] != other {
		t.Fatalf("it endorses %v, want %s", before.Regions, other)
	}
	if err := node.AddRecords(one.dir, [][]byte{a.endorsing(t, before)}); err != nil {
		t.Fatal(err)
	}
	a.run(t)
	if list := one.Endorsements(roster.Region()); list.Number != 2 || len(list.Regions) != 0 {
		t.Errorf("it starts with list %d, which endorses %v", list.Number, list.Regions)
	}
}
