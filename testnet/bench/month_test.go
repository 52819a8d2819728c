package bench_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
)

const (
	monthAuthors   = 200
	monthEnvelopes = 1954 // 1,000,448 sightings in full groups
	monthItems     = 512
	suffixBytes    = 8_000 // that a session with 200 authors may cost beside 1.05 × the payload
	suffixTrips    = 3
)

// BenchmarkMonthOffline lets a node that was away take a million sightings of 200
// authors from one peer: the time from the start of the session until it counts
// them all, and the session's bytes beside those of the envelopes.
func BenchmarkMonthOffline(b *testing.B) {
	for b.Loop() {
		m := missed(b, monthAuthors, monthEnvelopes, monthItems)
		b.ReportMetric(m.took.Seconds(), "month-s")
		b.ReportMetric(float64(m.result.BytesIn+m.result.BytesOut)/float64(m.payload), "of-payload")
		b.ReportMetric(float64(m.result.BytesIn+m.result.BytesOut-m.payload), "overhead-B")
		b.ReportMetric(float64(m.result.RoundTrips), "round-trips")
	}
	b.ReportMetric(0, "ns/op")
}

// What a suffix of 200 authors costs beside its envelopes stays within its bound.
func TestMissedSuffixBytes(t *testing.T) {
	m := missed(t, monthAuthors, 2*monthAuthors, 8)
	n := m.result.BytesIn + m.result.BytesOut
	if limit := overheadShare*float64(m.payload) + suffixBytes; float64(n) > limit || m.result.RoundTrips > suffixTrips {
		t.Errorf("%d bytes in %d round trips for %d of envelopes, want at most %.0f in %d", n, m.result.RoundTrips, m.payload, limit, suffixTrips)
	}
}

// A suffix is what a node lacked and took in one session.
type suffix struct {
	payload int64
	took    time.Duration
	result  mesh.SyncResult
}

// missed brings a node, once it knows all authors' credentials, envelopes of
// theirs in one session.
func missed(t testing.TB, authors, envelopes, items int) suffix {
	t.Helper()
	names := make([]string, authors)
	for i := range names {
		names[i] = fmt.Sprintf("author %d", i)
	}
	r := testkit.NewRegion(t, "peer", "away")
	own := r.Records[1:]
	said := foreign(t, r.Admit(t, names...), envelopes, items)
	h := enlist(t, r, r.Members[1], own...)
	defer h.stop(t)
	h.open(t)
	h.start(t)
	s := speak(t, r, r.Members[0], h)
	defer s.stop(t)
	eventually(t, "the node knows all authors", 10*time.Millisecond, func() bool { return s.round(t).Equal && h.status(t).Members == authors+2 })
	var m suffix
	for _, e := range said {
		m.payload += int64(len(e.Raw))
	}
	s.hold(said)
	start := time.Now()
	m.result = s.round(t)
	eventually(t, "the node has everything", 10*time.Millisecond, func() bool { return h.status(t).Notices == int64(envelopes*items) })
	m.took = time.Since(start)
	return m
}
