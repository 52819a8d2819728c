package store_test

import (
	"errors"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

func sweep(t *testing.T, s *store.Store) int {
	t.Helper()
	n, err := s.Sweep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func message(t *testing.T, s *store.Store, chain crypto.ChainID, seq uint64) string {
	t.Helper()
	var out []byte
	err := s.Read(chain, mesh.Range{From: seq, To: seq}, false, func(_ uint64, raw []byte) bool { out = raw; return true })
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestExpiryHidesAndLaterDeletes(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		c := newClock()
		s := open(t, store.Options{Dir: dir, Now: c.Now})
		w := writers(t, 1)[0]
		short := w.envelope(t, crypto.Header{Expiry: start + 10*day}, sighting(values[0], 1, 1), sighting(values[1], 2, 1))
		long := w.envelope(t, crypto.Header{}, sighting(values[0], 3, 1))
		put(t, s, short, long)
		stays := local(t, w.ID, sighting(values[2], 4, 1), 0, crypto.AudienceLocal)
		submit(t, s, "", stays)
		chain := short.Envelope.Header.Chain()

		c.ms.Store(start + 10*day)
		if sum := summary(t, s, values[0], 0); sum.Sightings != 1 {
			t.Fatalf("expired counts: %+v", sum)
		}
		if sum := summary(t, s, values[1], 0); sum.Sightings != 0 {
			t.Fatalf("expired counts: %+v", sum)
		}
		if list, _, _ := s.List(store.Query{}); len(list) != 2 {
			t.Fatalf("%d listed, want 2", len(list))
		}
		c.ms.Store(start + 17*day)
		if n := sweep(t, s); n != 0 {
			t.Fatalf("deleted %d in the days of grace", n)
		}
		c.ms.Store(start + 17*day + 2*hour)
		if n := sweep(t, s); n != 1 {
			t.Fatalf("deleted %d, want 1", n)
		}
		if _, ok, _ := s.Record(short.Items[0].ID); ok {
			t.Fatal("a deleted notice has a record")
		}
		if got := message(t, s, chain, 1); got != string(short.Envelope.Bare()) {
			t.Fatal("header and signature did not stay")
		}
		if got := message(t, s, chain, 2); got != string(long.Envelope.Raw) {
			t.Fatal("the other envelope changed")
		}
		if again := put(t, s, short); !again[0].Duplicate {
			t.Fatal("what expired came back")
		}
		if st, _ := s.Stats(); st.Notices != 2 || st.Indicators != 2 || st.Envelopes != 2 {
			t.Fatalf("%+v", st)
		}
		// The floor passes: nothing of the first is needed any more.
		put(t, s, w.envelope(t, crypto.Header{Floor: 2}, sighting(values[0], 5, 1)))
		sweep(t, s)
		if got := message(t, s, chain, 1); got != "" {
			t.Fatal("a header below the floor stayed")
		}
		if again := put(t, s, short); !again[0].Duplicate {
			t.Fatal("what lies below the floor came back")
		}
		c.ms.Store(start + 500*day)
		sweep(t, s)
		if st, _ := s.Stats(); st.Notices != 0 || st.Indicators != 0 || st.Envelopes != 2 {
			t.Fatalf("at the end: %+v", st)
		}
	}
}

// A sweep that joins a batch begun before what it looks for had expired finds it.
func TestSweepKnowsTheTimeItWasAskedAt(t *testing.T) {
	c := newClock()
	s := open(t, store.Options{Now: c.Now})
	put(t, s, writers(t, 1)[0].envelope(t, crypto.Header{Expiry: start + 10*day}, sighting(values[0], 1, 1)))
	swept := make(chan int, 1)
	if err := store.Amid(s, func() {
		c.ms.Store(start + 20*day)
		go func() {
			n, err := s.Sweep(t.Context())
			if err != nil {
				t.Error(err)
			}
			swept <- n
		}()
	}); err != nil {
		t.Fatal(err)
	}
	if n := <-swept; n != 1 {
		t.Fatalf("deleted %d, want 1", n)
	}
}

func TestEraseRemovesWordsAtOnce(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	ws := writers(t, 2)
	e := ws[0].envelope(t, crypto.Header{}, sighting(values[0], 1, 1), sighting(values[0], 2, 1))
	id := e.Items[0].ID
	d := ws[1].envelope(t, crypto.Header{}, &notice.Notice{Kind: notice.KindDispute, Salt: salt(3), Created: start, Ref: &id})
	put(t, s, e, d)
	if sum := summary(t, s, values[0], 0); sum.Sightings != 2 || sum.Disputes != 1 {
		t.Fatalf("%+v", sum)
	}
	if r, _, _ := s.Record(id); r.Disputes != 1 {
		t.Fatalf("%d disputes of the notice", r.Disputes)
	}
	if err := s.Erase(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if sum := summary(t, s, values[0], 0); sum != (store.Summary{}) {
		t.Fatalf("%+v", sum)
	}
	if got := message(t, s, e.Envelope.Header.Chain(), 1); got != string(e.Envelope.Bare()) {
		t.Fatal("header and signature did not stay")
	}
	if err := s.Erase(t.Context(), id); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("second time: %v", err)
	}
	// Taking the dispute back afterwards harms nothing.
	did := d.Items[0].ID
	put(t, s, ws[1].envelope(t, crypto.Header{}, &notice.Notice{Kind: notice.KindRetraction, Salt: salt(4), Created: start, Ref: &did}))
	if r, ok, err := s.Record(did); err != nil || !ok || !r.Retracted {
		t.Fatalf("%v %v %v", r, ok, err)
	}
	here := local(t, ws[0].ID, sighting(values[1], 5, 1), notice.TLPAmber, crypto.AudienceRegion)
	submit(t, s, "", here)
	if err := s.Erase(t.Context(), here.ID); err != nil {
		t.Fatal(err)
	}
	if len(groups(t, s)) != 0 || summary(t, s, values[1], 0) != (store.Summary{}) {
		t.Fatal("an erased local notice is still there")
	}
	if got := submit(t, s, "", here); got[0].Known {
		t.Fatal("what was erased is still known by its content")
	}
}
