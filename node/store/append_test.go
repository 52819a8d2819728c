package store_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

func TestAppendedEnvelopeIsAnswered(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		c := newClock()
		s := open(t, store.Options{Dir: dir, Now: c.Now})
		w := writers(t, 1)[0]
		evil, bad := value(t, "evil.example"), value(t, "198.51.100.7")
		e := w.envelope(t, crypto.Header{}, sighting(evil, 1, 3), sighting(bad, 2, 1), sighting(evil, 3, 2))
		got := put(t, s, e)
		if got[0].Local != 1 || got[0].Duplicate || got[0].Fork {
			t.Fatalf("%+v", got[0])
		}
		if again := put(t, s, e); again[0].Local != 1 || !again[0].Duplicate {
			t.Fatalf("second time: %+v", again[0])
		}
		sum := summary(t, s, evil, 0)
		want := store.Summary{Indicator: evil, First: start - hour, Last: start - hour + 3, Sightings: 5, Members: 1, TLP: notice.TLPAmber}
		if sum != want {
			t.Fatalf("got %+v, want %+v", sum, want)
		}
		if sum := summary(t, s, evil, notice.TLPGreen); sum != (store.Summary{}) {
			t.Fatalf("AMBER shows under GREEN: %+v", sum)
		}
		r, ok, err := s.Record(e.Items[1].ID)
		if err != nil || !ok || r.Notice.Indicator.Value != "198.51.100.7" || r.Author != w.ID || r.State != store.Signed ||
			r.Envelope != e.Envelope.ID || r.Index != 1 || r.TLP != notice.TLPAmber || r.Local != 1 || r.First != 1 {
			t.Fatalf("%+v %v %v", r, ok, err)
		}
		message, index, err := s.Envelope(e.Items[2].ID)
		if err != nil || index != 2 || string(message) != string(e.Envelope.Raw) {
			t.Fatalf("envelope: index %d, %v", index, err)
		}
		if id, ok := s.Slot(e.Envelope.Header.Chain(), 1); !ok || id != e.Envelope.ID {
			t.Fatal("slot 1 is not held")
		}
		if _, ok := s.Slot(e.Envelope.Header.Chain(), 2); ok {
			t.Fatal("slot 2 is held")
		}
	}
}

// Envelopes that come in any order, some twice, end as the same holding.
func TestChainInAnyOrder(t *testing.T) {
	t.Parallel()
	w := writers(t, 1)[0]
	var entries []store.Entry
	for k := range uint64(12) {
		entries = append(entries, w.envelope(t, crypto.Header{Time: start + int64(k)}, sighting(values[0], k, 1)))
	}
	chain := entries[0].Envelope.Header.Chain()
	rapid.Check(t, func(rt *rapid.T) {
		s, err := store.Open(store.Options{InMemory: true, Now: newClock().Now})
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		order := append(rapid.Permutation(entries).Draw(rt, "order"), rapid.SliceOfN(rapid.SampledFrom(entries), 0, 5).Draw(rt, "again")...)
		for len(order) > 0 {
			n := rapid.IntRange(1, len(order)).Draw(rt, "batch")
			if _, err := s.Append(t.Context(), order[:n]); err != nil {
				rt.Fatal(err)
			}
			order = order[n:]
		}
		h, _ := s.Frontier().Get(chain)
		if !slices.Equal(h.Ranges, []mesh.Range{{From: 1, To: 12}}) || h.Top != entries[11].Envelope.ID {
			rt.Fatalf("ranges %v, top %s", h.Ranges, h.Top)
		}
		if sum, _, _ := s.Summary(values[0].Key(), 0); sum.Sightings != 12 || sum.Members != 1 {
			rt.Fatalf("%+v", sum)
		}
		for _, newest := range []bool{false, true} {
			var seqs []uint64
			err := s.Read(chain, mesh.Range{From: 3, To: 9}, newest, func(seq uint64, raw []byte) bool {
				if string(raw) != string(entries[seq-1].Envelope.Raw) {
					rt.Fatalf("seq %d is not what was stored", seq)
				}
				seqs = append(seqs, seq)
				return len(seqs) < 4
			})
			want := []uint64{3, 4, 5, 6}
			if newest {
				want = []uint64{9, 8, 7, 6}
			}
			if err != nil || !slices.Equal(seqs, want) {
				rt.Fatalf("newest first %v: %v, %v", newest, seqs, err)
			}
		}
	})
}

// Of all envelopes signed with one number the two with the lowest ids stay,
// whatever order they come in, and their words are visible and marked.
func TestForkKeepsTheTwoLowest(t *testing.T) {
	t.Parallel()
	w := writers(t, 1)[0]
	var entries []store.Entry
	for k := range uint64(5) {
		w.last = nil
		entries = append(entries, w.envelope(t, crypto.Header{}, sighting(values[0], k, 1<<k)))
	}
	sorted := slices.Clone(entries)
	slices.SortFunc(sorted, func(a, b store.Entry) int { return slices.Compare(a.Envelope.ID[:], b.Envelope.ID[:]) })
	rapid.Check(t, func(rt *rapid.T) {
		s, err := store.Open(store.Options{InMemory: true, Now: newClock().Now})
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		order := append(rapid.Permutation(entries).Draw(rt, "order"), rapid.SliceOfN(rapid.SampledFrom(entries), 0, 5).Draw(rt, "again")...)
		for k := 0; k < len(order); {
			n := rapid.IntRange(1, len(order)-k).Draw(rt, "batch")
			got, err := s.Append(t.Context(), order[k:k+n])
			if err != nil {
				rt.Fatal(err)
			}
			if k == 0 && (got[0].Fork || got[0].Duplicate) || k > 0 && !got[0].Fork && !got[0].Duplicate {
				rt.Fatalf("entry %d: %+v", k, got[0])
			}
			k += n
		}
		forks, err := s.Forks(10)
		if err != nil || len(forks) != 1 || forks[0].Seq != 1 || forks[0].Chain != entries[0].Envelope.Header.Chain() {
			rt.Fatalf("%+v %v", forks, err)
		}
		sightings := uint64(0)
		for k, e := range sorted[:2] {
			if forks[0].IDs[k] != e.Envelope.ID || string(forks[0].Bare[k]) != string(e.Envelope.Bare()) {
				rt.Fatalf("proof has %s at %d, want %s", forks[0].IDs[k], k, e.Envelope.ID)
			}
			r, ok, err := s.Record(e.Items[0].ID)
			if err != nil || !ok || r.Flags&store.Forked == 0 {
				rt.Fatalf("word %d: %v %+v %v", k, ok, r.Flags, err)
			}
			sightings += e.Items[0].Notice.Count
		}
		for _, e := range sorted[2:] {
			if _, ok, _ := s.Record(e.Items[0].ID); ok {
				rt.Fatal("a third word is visible")
			}
		}
		if sum, _, _ := s.Summary(values[0].Key(), 0); sum.Sightings != sightings {
			rt.Fatalf("%d sightings, want %d", sum.Sightings, sightings)
		}
		if h, _ := s.Frontier().Get(forks[0].Chain); h.Top != sorted[0].Envelope.ID {
			rt.Fatal("the holding does not name the lowest id")
		}
		if st, _ := s.Stats(); st.Envelopes != 2 || st.Notices != 2 {
			rt.Fatalf("%+v", st)
		}
	})
}

// A refused item stays in its envelope and harms nothing.
func TestRefusedItemIsKeptAndNotIndexed(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	w := writers(t, 1)[0]
	good := sighting(values[0], 1, 1)
	e := entry(t, w.Envelope(t, crypto.Header{Time: start, Expiry: start + day}, nil, raw(t, good), []byte{0xa0}))
	if e.Items[1].Err == "" {
		t.Fatal("the kit decoded nonsense")
	}
	put(t, s, e)
	if sum := summary(t, s, values[0], 0); sum.Sightings != 1 {
		t.Fatalf("%+v", sum)
	}
	if _, ok, _ := s.Record(e.Items[1].ID); ok {
		t.Fatal("a refused item has a record")
	}
	err := s.Read(e.Envelope.Header.Chain(), mesh.Range{From: 1, To: 1}, false, func(_ uint64, raw []byte) bool {
		if string(raw) != string(e.Envelope.Raw) {
			t.Error("the envelope changed")
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A batch larger than one transaction is stored whole, and a second time not at all.
func TestLargeBatch(t *testing.T) {
	s := open(t, store.Options{Dir: t.TempDir(), Now: newClock().Now})
	w := writers(t, 1)[0]
	const envelopes, items = 24, 1000
	var entries []store.Entry
	for k := range uint64(envelopes) {
		var notices []*notice.Notice
		for j := range uint64(items) {
			i := notice.Indicator{Type: notice.TypeASN, Value: "AS" + string(rune('1'+k%9))}
			notices = append(notices, sighting(i, k*items+j, 1))
		}
		entries = append(entries, w.envelope(t, crypto.Header{}, notices...))
	}
	for range 2 {
		got := put(t, s, entries...)
		if len(got) != envelopes || got[envelopes-1].Local != envelopes {
			t.Fatalf("%+v", got[len(got)-1])
		}
	}
	st, err := s.Stats()
	if err != nil || st.Notices != envelopes*items || st.Envelopes != envelopes || st.Indicators != 9 || st.DiskBytes == 0 {
		t.Fatalf("%+v %v", st, err)
	}
}
