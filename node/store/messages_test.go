package store_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/store"
)

// Whatever the steps, each envelope comes once, in order of arrival, both of a
// fork, and what has no envelope never.
func TestMessagesComeInOrder(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	ws := writers(t, 2)
	var want []crypto.EnvelopeID
	for k := range uint64(8) {
		e := ws[k%2].envelope(t, crypto.Header{}, sighting(values[k%3], k, 1))
		put(t, s, e)
		want = append(want, e.Envelope.ID)
		submit(t, s, "", local(t, ws[0].ID, sighting(values[0], 100+k, 1), 0, crypto.AudienceLocal))
	}
	other := writers(t, 2)[1]
	fork := other.envelope(t, crypto.Header{}, sighting(values[2], 77, 1))
	put(t, s, fork)
	want = append(want, fork.Envelope.ID)
	skipped := want[3]
	want = slices.Delete(want, 3, 4)
	rapid.Check(t, func(rt *rapid.T) {
		var got []crypto.EnvelopeID
		for after, done := uint64(0), false; !done; {
			page, next, end, err := s.Messages(after, rapid.IntRange(1, 20_000).Draw(rt, "bytes"), func(m store.Message) bool { return m.Envelope.ID != skipped })
			if err != nil || next < after || !end && next == after {
				rt.Fatalf("from %d to %d, done %v: %v", after, next, end, err)
			}
			for _, m := range page {
				if m.Local <= after || m.Local > next || m.Received == 0 {
					rt.Fatalf("%+v between %d and %d", m, after, next)
				}
				got = append(got, m.Envelope.ID)
			}
			after, done = next, end
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("got %v\nwant %v", got, want)
		}
	})
	if page, _, done, err := s.Messages(math.MaxUint64, 1, func(store.Message) bool { return true }); len(page) > 0 || !done || err != nil {
		t.Errorf("behind the end: %d, %v, %v", len(page), done, err)
	}
}
