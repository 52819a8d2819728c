package store_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

func submit(t *testing.T, s *store.Store, key string, items ...store.LocalItem) []store.Submitted {
	t.Helper()
	got, err := s.AppendLocal(t.Context(), store.LocalBatch{Items: items, Received: start, Idempotency: key})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func groups(t *testing.T, s *store.Store) []store.Group {
	t.Helper()
	g, err := s.Waiting(512, 128<<10)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestWordGoesFromOutboxToEnvelope(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s := open(t, store.Options{Dir: dir, Now: newClock().Now})
		w := writers(t, 1)[0]
		n := sighting(values[0], 1, 4)
		item := local(t, w.ID, n, notice.TLPAmber, crypto.AudienceRegion)
		if got := submit(t, s, "", item); got[0].Known || got[0].ID != item.ID {
			t.Fatalf("%+v", got[0])
		}
		if sum := summary(t, s, values[0], 0); sum.Sightings != 4 || sum.Members != 1 {
			t.Fatalf("before it is signed: %+v", sum)
		}
		r, ok, err := s.Record(item.ID)
		if err != nil || !ok || r.State != store.Waits || r.Header != nil || r.Author != w.ID || r.Local != 1 {
			t.Fatalf("%+v %v %v", r, ok, err)
		}
		g := groups(t, s)
		if len(g) != 1 || g[0].Audience != crypto.AudienceRegion || g[0].TLP != notice.TLPAmber || len(g[0].Items) != 1 || string(g[0].Items[0].Raw) != string(item.Raw) {
			t.Fatalf("%+v", g)
		}
		if st, _ := s.Stats(); st.Waiting != 1 {
			t.Fatalf("%+v", st)
		}
		e := w.envelope(t, crypto.Header{TLP: uint8(notice.TLPAmber)}, n)
		put(t, s, e)
		if g := groups(t, s); len(g) != 0 {
			t.Fatalf("still waits: %+v", g)
		}
		if sum := summary(t, s, values[0], 0); sum.Sightings != 4 || sum.Members != 1 {
			t.Fatalf("counted again: %+v", sum)
		}
		r, ok, err = s.Record(item.ID)
		if err != nil || !ok || r.State != store.Signed || r.Envelope != e.Envelope.ID || r.Local != 2 || r.First != 1 {
			t.Fatalf("%+v %v %v", r, ok, err)
		}
		if st, _ := s.Stats(); st.Waiting != 0 || st.Notices != 1 {
			t.Fatalf("%+v", st)
		}
	}
}

func TestSameContentIsTakenOnce(t *testing.T) {
	c := newClock()
	s := open(t, store.Options{Now: c.Now})
	w := writers(t, 1)[0]
	say := func(salt uint64, created int64) store.LocalItem {
		n := sighting(values[0], salt, 1)
		n.FirstSeen, n.LastSeen, n.Created = start, start, created
		return local(t, w.ID, n, notice.TLPAmber, crypto.AudienceRegion)
	}
	first := say(1, start)
	got := submit(t, s, "", first, say(2, start)) // within a batch
	if got[0].Known || !got[1].Known || got[1].ID != first.ID {
		t.Fatalf("%+v", got)
	}
	if got := submit(t, s, "", say(3, start+hour)); !got[0].Known || got[0].ID != first.ID {
		t.Fatalf("%+v", got)
	}
	put(t, s, w.envelope(t, crypto.Header{}, first.Notice))
	if got := submit(t, s, "", say(4, start)); !got[0].Known {
		t.Fatal("taken again after it was signed")
	}
	back := &notice.Notice{Kind: notice.KindRetraction, Salt: salt(9), Created: start, Ref: &first.ID}
	submit(t, s, "", local(t, w.ID, back, notice.TLPAmber, crypto.AudienceRegion))
	if sum := summary(t, s, values[0], 0); sum.Sightings != 0 {
		t.Fatalf("retracted, and %+v", sum)
	}
	if got := submit(t, s, "", say(5, start)); got[0].Known {
		t.Fatal("what was taken back cannot be said again")
	}
	c.ms.Store(start + 366*day)
	if got := submit(t, s, "", say(6, start+366*day)); got[0].Known {
		t.Fatal("what expired cannot be said again")
	}
}

func TestSharingLaterKeepsTheID(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	w := writers(t, 1)[0]
	n := sighting(values[0], 1, 1)
	here := local(t, w.ID, n, 0, crypto.AudienceLocal)
	submit(t, s, "", here)
	if sum := summary(t, s, values[0], notice.TLPAmber); sum.Sightings != 0 {
		t.Fatalf("unmarked shows under AMBER: %+v", sum)
	}
	again := sighting(values[0], 1, 1)
	again.Salt = salt(77)
	got := submit(t, s, "", local(t, w.ID, again, notice.TLPGreen, crypto.AudienceCommunity))
	if !got[0].Known || !got[0].Promoted || got[0].ID != here.ID {
		t.Fatalf("%+v", got[0])
	}
	if sum := summary(t, s, values[0], notice.TLPGreen); sum.Sightings != 1 {
		t.Fatalf("%+v", sum)
	}
	g := groups(t, s)
	if len(g) != 1 || g[0].TLP != notice.TLPGreen || g[0].Items[0].ID != here.ID {
		t.Fatalf("%+v", g)
	}
	if got := submit(t, s, "", local(t, w.ID, again, notice.TLPGreen, crypto.AudienceCommunity)); got[0].Promoted || !got[0].Known {
		t.Fatalf("%+v", got[0])
	}
	r, _, _ := s.Record(here.ID)
	if r.TLP != notice.TLPGreen || r.Audience != crypto.AudienceCommunity || r.State != store.Waits {
		t.Fatalf("%+v", r)
	}
}

func TestIdempotencyKey(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	w := writers(t, 1)[0]
	a := local(t, w.ID, sighting(values[0], 1, 1), notice.TLPAmber, crypto.AudienceRegion)
	b := local(t, w.ID, sighting(values[1], 2, 1), notice.TLPAmber, crypto.AudienceRegion)
	submit(t, s, "key", a)
	if got := submit(t, s, "key", a); !got[0].Known || got[0].ID != a.ID {
		t.Fatalf("%+v", got)
	}
	if _, err := s.AppendLocal(t.Context(), store.LocalBatch{Items: []store.LocalItem{b}, Idempotency: "key"}); !errors.Is(err, store.ErrIdempotency) {
		t.Fatalf("other content under the same key: %v", err)
	}
	if _, ok, _ := s.Record(b.ID); ok {
		t.Fatal("it was stored all the same")
	}
}

func TestOutboxGroupsByWhatOneEnvelopeCarries(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	w := writers(t, 1)[0]
	var items []store.LocalItem
	for k := range uint64(12) {
		it := local(t, w.ID, sighting(values[k%3], k, 1), notice.TLP(1+k%3), notice.TLP(1+k%3).Audience())
		it.Exercise, it.Urgent = k%4 == 0, k%6 == 5
		items = append(items, it)
	}
	submit(t, s, "", items...)
	var seen []crypto.ItemID
	for _, g := range groups(t, s) {
		last := int64(-1)
		for _, it := range g.Items {
			k := int64(slices.IndexFunc(items, func(l store.LocalItem) bool { return l.ID == it.ID }))
			l := items[k]
			if l.TLP != g.TLP || l.Audience != g.Audience || l.Exercise != g.Exercise || l.Urgent != g.Urgent || k < last {
				t.Fatalf("item %d in group %+v", k, g)
			}
			last, seen = k, append(seen, it.ID)
		}
	}
	if len(seen) != len(items) {
		t.Fatalf("%d of %d wait", len(seen), len(items))
	}
	g, err := s.Waiting(1, 1<<20)
	if err != nil || len(g) != len(groups(t, s)) || len(g[0].Items) != 1 || !slices.ContainsFunc(g, func(g store.Group) bool { return g.More }) {
		t.Fatalf("%+v %v", g, err)
	}
}
