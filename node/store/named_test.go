package store_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// named seals a sighting of a value for members.
func named(t testing.TB, author *testkit.Member, n uint64, v string, to ...*testkit.Member) store.Entry {
	t.Helper()
	word := sighting(value(t, v), n, 1)
	item := raw(t, word)
	e := author.Named(t, crypto.Header{Time: start, Expiry: start + 30*day}, to, item)
	out := store.Entry{
		Envelope: e, Received: start, Opened: [][]byte{item},
		Items: []store.Item{{ID: crypto.NewItemID(author.ID, crypto.LeafHash(item)), Notice: word}},
	}
	return out
}

// queued adds the members that an own envelope waits for.
func queued(e store.Entry, to ...*testkit.Member) store.Entry {
	for _, m := range to {
		e.To = append(e.To, m.ID)
	}
	return e
}

// What is sealed is listed, looked up and known by its id, and found by nothing
// that reads chains or messages.
func TestNamedIsFoundByWhoMayAndByNothingElse(t *testing.T) {
	w := writers(t, 3)
	s := open(t, store.Options{Now: newClock().Now})
	e := named(t, w[0].Member, 1, "red.example", w[1].Member, w[2].Member)
	first := put(t, s, e)[0]
	if again := put(t, s, e)[0]; !again.Duplicate || again.Local != first.Local {
		t.Errorf("the second time it is %+v", again)
	}
	if known, err := s.Named(e.Envelope.ID); !known || err != nil {
		t.Errorf("known %t, %v", known, err)
	}
	r, found, err := s.Record(e.Items[0].ID)
	if err != nil || !found || r.Audience != crypto.AudienceNamed || r.TLP != notice.TLPRed || len(r.To) != 2 || r.State != store.Signed {
		t.Fatalf("%+v, %t, %v", r, found, err)
	}
	about := value(t, "red.example")
	if got := summary(t, s, about, 0); got.Sightings != 1 {
		t.Errorf("%+v", got)
	}
	if got, known, err := s.Summary(about.Key(), notice.TLPAmberStrict); known || err != nil {
		t.Errorf("below its marking: %+v, %v", got, err)
	}
	messages, _, _, err := s.Messages(0, 1<<20, func(store.Message) bool { return true })
	if err != nil || len(messages) != 0 {
		t.Errorf("%d messages for a bundle, %v", len(messages), err)
	}
	if _, _, err := s.Envelope(e.Items[0].ID); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("a proof: %v", err)
	}
	for _, a := range []crypto.Audience{crypto.AudienceNamed, crypto.AudienceRegion, crypto.AudienceCommunity} {
		if n := len(s.Frontier().Chains(e.Envelope.Header.Region, a)); n != 0 {
			t.Errorf("%d chains of the %s audience", n, a)
		}
	}
}

// Erased, it says nothing, waits for nobody and is not taken again; once it has
// expired for good nothing of it is left.
func TestNamedIsErasedAndSwept(t *testing.T) {
	w := writers(t, 3)
	c := newClock()
	s := open(t, store.Options{Now: c.Now})
	e := queued(named(t, w[0].Member, 1, "red.example", w[1].Member), w[1].Member)
	put(t, s, e)
	if err := s.Erase(t.Context(), e.Items[0].ID); err != nil {
		t.Fatal(err)
	}
	if again := put(t, s, e)[0]; !again.Duplicate {
		t.Errorf("erased and taken again: %+v", again)
	}
	if waits, err := s.Awaiting(0); err != nil || len(waits) != 0 {
		t.Errorf("erased and waiting: %v, %v", waits, err)
	}
	if _, found, _ := s.Record(e.Items[0].ID); found {
		t.Error("erased and found")
	}
	kept := named(t, w[0].Member, 2, "kept.example", w[1].Member)
	put(t, s, kept)
	c.ms.Store(start + 38*day)
	if n, err := s.Sweep(t.Context()); n != 2 || err != nil {
		t.Fatalf("swept %d, %v", n, err)
	}
	for _, x := range []store.Entry{e, kept} {
		if known, err := s.Named(x.Envelope.ID); known || err != nil {
			t.Errorf("swept and known, %v", err)
		}
	}
	if st, err := s.Stats(); err != nil || st.Envelopes != 0 || st.Notices != 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

// A notice whose recipients are gone stays here, under its id.
func TestRetain(t *testing.T) {
	w := writers(t, 2)
	s := open(t, store.Options{Now: newClock().Now})
	l := local(t, w[0].ID, sighting(value(t, "red.example"), 1, 1), notice.TLPRed, crypto.AudienceNamed)
	l.To = []crypto.MemberID{w[1].ID}
	id := submit(t, s, "", l)[0].ID
	if g := groups(t, s); len(g) != 1 || !slices.Equal(g[0].Items[0].To, l.To) {
		t.Fatalf("%+v", g)
	}
	if err := s.Retain(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if r, found, err := s.Record(id); !found || err != nil || r.State != store.Local || r.Audience != crypto.AudienceLocal || len(r.To) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if st, err := s.Stats(); err != nil || st.Waiting != 0 || len(groups(t, s)) != 0 {
		t.Errorf("%d wait, %v", st.Waiting, err)
	}
}

// Whatever comes in whatever order, twice or across a stop, each envelope is
// stored once and each wait ends once: with what was said first.
func TestDeliveriesAreSettledOnce(t *testing.T) {
	t.Parallel()
	w := writers(t, 4)
	var all []store.Entry
	for i := range 4 {
		to := []*testkit.Member{w[1+i%3].Member, w[1+(i+1)%3].Member}
		all = append(all, queued(named(t, w[0].Member, uint64(i), "red.example", to...), to...))
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		s, err := store.Open(store.Options{Dir: dir, Small: true, Now: newClock().Now})
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		locals := map[int]uint64{}                                     // of what was appended
		states := map[uint64]map[crypto.MemberID]store.DeliveryState{} // as they must be
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				i := rapid.IntRange(0, len(all)-1).Draw(rt, "envelope")
				done, err := s.Append(t.Context(), []store.Entry{all[i], all[i]}[:rapid.IntRange(1, 2).Draw(rt, "times")])
				if err != nil {
					rt.Fatal(err)
				}
				before, here := locals[i]
				if done[0].Duplicate != here || here && done[0].Local != before || len(done) > 1 && !done[1].Duplicate {
					rt.Fatalf("%+v, here before: %t", done, here)
				}
				if !here {
					locals[i], states[done[0].Local] = done[0].Local, map[crypto.MemberID]store.DeliveryState{}
					for _, m := range all[i].To {
						states[done[0].Local][m] = store.Undelivered
					}
				}
			},
			"settle": func(rt *rapid.T) {
				if len(locals) == 0 {
					rt.Skip("nothing waits")
				}
				local := rapid.SampledFrom(slices.Sorted(maps.Values(locals))).Draw(rt, "local")
				m := w[rapid.IntRange(1, 3).Draw(rt, "member")].ID
				state := store.DeliveryState(rapid.IntRange(int(store.Delivered), int(store.Lapsed)).Draw(rt, "state"))
				settled, err := s.Settle(t.Context(), m, local, state, start)
				if err != nil || settled != (states[local][m] == store.Undelivered) {
					rt.Fatalf("settled %t, was %d, %v", settled, states[local][m], err)
				}
				if settled {
					states[local][m] = state
				}
			},
			"stop and start": func(rt *rapid.T) {
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				if s, err = store.Open(store.Options{Dir: dir, Small: true, Now: newClock().Now}); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) { checkQueue(rt, s, states) },
		})
	})
}

// checkQueue compares the queue with what it must be.
func checkQueue(t *rapid.T, s *store.Store, states map[uint64]map[crypto.MemberID]store.DeliveryState) {
	waits := map[crypto.MemberID]int{}
	for local, members := range states {
		found, err := s.Deliveries(local)
		if err != nil || len(found) != len(members) {
			t.Fatalf("%d deliveries, want %d, %v", len(found), len(members), err)
		}
		for _, d := range found {
			if d.State != members[d.Member] {
				t.Fatalf("a delivery is %d, want %d", d.State, members[d.Member])
			}
			if d.State == store.Undelivered {
				waits[d.Member]++
			}
		}
	}
	got, err := s.Awaiting(0)
	if err != nil || !maps.Equal(got, waits) {
		t.Fatalf("waiting %v, want %v, %v", got, waits, err)
	}
	for m, n := range waits {
		q, err := s.Queued(m, 0, 10)
		if err != nil || len(q) != n || !slices.IsSortedFunc(q, func(a, b store.Queued) int { return int(a.Local) - int(b.Local) }) {
			t.Fatalf("queue of %d, want %d, %v", len(q), n, err)
		}
	}
}
