package store_test

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// TestHashSetGrows: what was added is found, whatever the size and while it
// grows under readers, and little else is.
func TestHashSetGrows(t *testing.T) {
	s := store.NewHashSet(0)
	number := func(i int) uint32 { return uint32(i) * 2654435761 } // spread, 0 included
	const n = 100_000
	var done sync.WaitGroup
	done.Go(func() {
		for range 20 {
			for i := range 1000 {
				s.Has(number(i)) // must end and not race
			}
		}
	})
	for i := range n {
		s.Add(number(i))
		s.Add(number(i / 2)) // again
	}
	done.Wait()
	wrong := 0
	for i := range n {
		if !s.Has(number(i)) {
			t.Fatalf("%d is lost", i)
		}
		if s.Has(number(n + i)) {
			wrong++
		}
	}
	if wrong > 10 {
		t.Errorf("%d of %d others are found", wrong, n)
	}
}

// TestMayHaveAfterStart: what was on disk is known to be there, and what was not
// is known not to be.
func TestMayHaveAfterStart(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	w := writers(t, 1)[0]
	network := notice.Indicator{Type: notice.TypeCIDR, Value: "198.51.100.0/24"}
	name := notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"}
	s, err := store.Open(store.Options{Dir: dir, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, w.envelope(t, crypto.Header{}, sighting(name, 1, 1), sighting(network, 2, 1)))
	check := func() {
		t.Helper()
		s.AwaitPresence()
		other := notice.Indicator{Type: notice.TypeDomain, Value: "fine.example"}
		if !s.MayHave(name.Key()) || !s.MayHave(network.Key()) || s.MayHave(other.Key()) {
			t.Errorf("may have: %v %v, and not: %v", s.MayHave(name.Key()), s.MayHave(network.Key()), s.MayHave(other.Key()))
		}
		if !s.MayHaveNetwork(netip.MustParsePrefix("198.51.100.0/24")) || s.MayHaveNetwork(netip.MustParsePrefix("198.51.100.0/25")) {
			t.Error("the networks are not as they were stated")
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, store.Options{Dir: dir, Now: c.Now})
	check()
}

// TestSummariesAreSummary: many at once, from the memory of earlier ones, are
// what Summary reads from the disk, whatever is stated, retracted and expires in
// between.
func TestSummariesAreSummary(t *testing.T) {
	authors := writers(t, 2)
	rapid.Check(t, func(rt *rapid.T) {
		c := newClock()
		s, err := store.Open(store.Options{InMemory: true, Now: c.Now})
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		w := []*writer{{Member: authors[0].Member}, {Member: authors[1].Member}} // new chains
		var values []notice.Indicator
		var keys []notice.Key
		for i := range 6 {
			values = append(values, notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("evil-%d.example", i)})
			keys = append(keys, values[i].Key())
		}
		var said []*notice.Notice
		for step := range rapid.IntRange(1, 25).Draw(rt, "steps") {
			who := w[rapid.IntRange(0, 1).Draw(rt, "who")]
			switch rapid.IntRange(0, 4).Draw(rt, "what") {
			case 0, 1:
				n := sighting(values[rapid.IntRange(0, 5).Draw(rt, "value")], uint64(step), uint64(step+1))
				if rapid.Bool().Draw(rt, "short-lived") {
					n.Kind, n.Count, n.ValidUntil = notice.KindIndicator, 0, start+rapid.Int64Range(1, 5).Draw(rt, "hours")*hour
				}
				said = append(said, n)
				put(t, s, who.envelope(t, crypto.Header{TLP: uint8(rapid.IntRange(1, 3).Draw(rt, "tlp"))}, n))
			case 2:
				c.ms.Add(hour)
			case 3:
				if len(said) > 0 {
					ref := crypto.NewItemID(who.ID, crypto.LeafHash(raw(t, said[rapid.IntRange(0, len(said)-1).Draw(rt, "of")])))
					put(t, s, who.envelope(t, crypto.Header{}, &notice.Notice{Kind: notice.KindRetraction, Salt: salt(uint64(1000 + step)), Created: start, Ref: &ref}))
				}
			}
			ceiling := notice.TLP(rapid.IntRange(0, 3).Draw(rt, "ceiling"))
			got, err := s.Summaries(keys, ceiling)
			if err != nil {
				rt.Fatal(err)
			}
			for i := range keys {
				want := summary(t, s, values[i], ceiling)
				want.Indicator = notice.Indicator{}
				if got[i] != want {
					rt.Fatalf("step %d, %s under %v: got %+v, want %+v", step, values[i].Value, ceiling, got[i], want)
				}
			}
		}
	})
}

// TestSummariesUnderWrites: a lookup that begins after a write was acknowledged
// has it, while other lookups remember what they read.
func TestSummariesUnderWrites(t *testing.T) {
	s := open(t, store.Options{InMemory: true, Now: newClock().Now})
	w := writers(t, 1)[0]
	value := notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			last := uint64(0)
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := s.Summaries([]notice.Key{value.Key()}, 0)
				if err != nil || got[0].Sightings < last {
					t.Errorf("%d sightings after %d: %v", got[0].Sightings, last, err)
					return
				}
				last = got[0].Sightings
			}
		})
	}
	for i := range uint64(300) {
		put(t, s, w.envelope(t, crypto.Header{}, sighting(value, i, 1)))
		got, err := s.Summaries([]notice.Key{value.Key()}, 0)
		if err != nil || got[0].Sightings != i+1 {
			t.Errorf("after %d were acknowledged: %+v %v", i+1, got, err)
			break
		}
	}
	close(stop)
	readers.Wait()
}

// TestRecallForgets: the memory of summaries has a bound.
func TestRecallForgets(t *testing.T) {
	if kept := store.RecallKeeps(3 * store.RecallMax); kept > 2*store.RecallMax || kept < store.RecallMax {
		t.Errorf("%d of %d are kept, want %d to %d", kept, 3*store.RecallMax, store.RecallMax, 2*store.RecallMax)
	}
}
