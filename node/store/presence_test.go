package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"
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
// what Summary reads from the disk, whatever is stated, retracted, expires and is
// read as after a start in between.
func TestSummariesAreSummary(t *testing.T) {
	t.Parallel()
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
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 4:
				s.Refill(rapid.SampledFrom([]uint64{0, 2 * store.RecallMax}).Draw(rt, "indicators"))
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
// has it, and none has what is not on disk, while other lookups remember what
// they read and all are read as after a start.
func TestSummariesUnderWrites(t *testing.T) {
	s := open(t, store.Options{InMemory: true, Now: newClock().Now})
	w := writers(t, 1)[0]
	value := notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.Refill(0)
			}
		}
	})
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
				if disk, _, err := s.Summary(value.Key(), 0); err != nil || disk.Sightings < last {
					t.Errorf("%d sightings before the disk has more than %d: %v", last, disk.Sightings, err)
					return
				}
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

// TestLookupNeedsNoDisk: what was written is in memory at once, and after a start
// what was on disk.
func TestLookupNeedsNoDisk(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	w := writers(t, 1)[0]
	s, err := store.Open(store.Options{Dir: dir, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	const n = 5000 // more than are read at once
	var keys []notice.Key
	for len(keys) < n {
		var some []*notice.Notice
		for range crypto.ItemsMax {
			i := notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("evil-%d.example", len(keys))}
			some, keys = append(some, sighting(i, uint64(len(keys)), 1)), append(keys, i.Key())
		}
		put(t, s, w.envelope(t, crypto.Header{}, some...))
	}
	if got := s.Recalls(keys); got != len(keys) {
		t.Errorf("%d of %d that were written are in memory", got, len(keys))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, store.Options{Dir: dir, Now: c.Now})
	s.AwaitPresence()
	if got := s.Recalls(keys); got != len(keys) {
		t.Errorf("%d of %d that were on disk are in memory", got, len(keys))
	}
}

// TestFailedWriteIsNotRecalled: what a commit would have changed is as it was.
func TestFailedWriteIsNotRecalled(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	w := writers(t, 1)[0]
	old := notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"}
	other := notice.Indicator{Type: notice.TypeDomain, Value: "new.example"}
	put(t, s, w.envelope(t, crypto.Header{}, sighting(old, 1, 1)))
	store.SetCommit(s, func(*badger.Txn) error { return errors.New("input/output error") })
	if _, err := s.Append(t.Context(), []store.Entry{w.envelope(t, crypto.Header{}, sighting(old, 2, 1), sighting(other, 3, 1))}); err == nil {
		t.Fatal("written all the same")
	}
	for range 2 {
		got, err := s.Summaries([]notice.Key{old.Key(), other.Key()}, 0)
		if err != nil || got[0].Sightings != 1 || got[1].Sightings != 0 {
			t.Errorf("got %+v: %v", got, err)
		}
	}
	// Close leaves the files alone.
	if err := errors.Join(s.Close(), store.CloseFiles(s)); err != nil {
		t.Fatal(err)
	}
}

// TestRecallIsAMap: the memory of summaries has what was put in last and not
// taken out, and no more gaps than it should, whatever the sizes.
func TestRecallIsAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r, want := store.NewRecall(0), map[notice.Key][]byte{}
		keys := make([]notice.Key, rapid.IntRange(1, 3000).Draw(rt, "keys"))
		for i := range keys {
			binary.LittleEndian.PutUint64(keys[i][:], uint64(i))
		}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		largest := rapid.IntRange(1, store.RecallBytesMax+20).Draw(rt, "largest")
		live := 0 // at most
		for range 6 {
			for range rapid.IntRange(0, 4000).Draw(rt, "writes") {
				key := keys[random.IntN(len(keys))]
				r.Forget(key)
				delete(want, key)
				counts := bytes.Repeat([]byte{byte(random.Uint32())}, random.IntN(largest+1))
				if random.IntN(8) == 0 || len(counts) > store.RecallBytesMax {
					continue
				}
				r.Learn(key, counts)
				want[key] = counts
			}
			size := 0
			for i, counts := range r.Look(keys...) {
				if !bytes.Equal(counts, want[keys[i]]) || (counts != nil) != (want[keys[i]] != nil) {
					rt.Fatalf("of key %d there is %v, want %v", i, counts, want[keys[i]])
				}
				if counts != nil {
					size += len(keys[i]) + 1 + len(counts)
				}
			}
			live = max(live, size)
		}
		if got, most := r.Bytes(), live*2+4*store.RecallPart; got > most {
			rt.Fatalf("%d bytes hold at most %d", got, live)
		}
	})
}

// TestRecallForgets: the memory of summaries has a bound, also when the same are
// written over and over.
func TestRecallForgets(t *testing.T) {
	const n = 3 * store.RecallMax
	r, keys := store.NewRecall(n), make([]notice.Key, n)
	for i := range keys {
		binary.LittleEndian.PutUint64(keys[i][:], uint64(i))
		r.Learn(keys[i], []byte{0})
	}
	kept := 0
	for i, counts := range r.Look(keys...) {
		switch {
		case counts != nil:
			kept++
		case i >= n-store.RecallMax/2:
			t.Fatalf("of the last ones number %d is lost", i)
		}
	}
	if kept < store.RecallMax*3/4 || kept > store.RecallMax+store.RecallPart/16 {
		t.Errorf("%d of %d are kept, want %d and few more", kept, n, store.RecallMax)
	}
}
