package bench_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
)

// What meeting may cost beside the envelopes themselves.
const (
	overheadShare = 1.05
	overheadBytes = 16_000
)

// BenchmarkPartitionSync lets two nodes each say 10,000 things while apart,
// then meet: from the start of both nodes, dialling included, until each counts
// all notices. Bytes are the most of all rounds, the time is the median.
func BenchmarkPartitionSync(b *testing.B) {
	const notices, rounds = 10_000, 3
	var worst meeting
	var took []float64
	for b.Loop() {
		for range rounds {
			m := meet(b, notices)
			took = append(took, m.took.Seconds())
			if m.stream-m.payload >= worst.stream-worst.payload {
				worst = m
			}
		}
	}
	b.ReportMetric(float64(worst.stream), "stream-B")
	b.ReportMetric(float64(worst.payload), "payload-B")
	b.ReportMetric(float64(worst.stream)/float64(worst.payload), "of-payload")
	b.ReportMetric(float64(worst.stream-worst.payload), "overhead-B")
	b.ReportMetric(median(took), "s-to-equal")
	b.ReportMetric(slices.Max(took), "s-to-equal-max")
	b.ReportMetric(0, "ns/op")
}

// What a meeting carries stays within its bound.
func TestPartitionBytes(t *testing.T) {
	m := meet(t, 1_300) // two full envelopes and a part of one, on each side
	if limit := overheadShare*float64(m.payload) + overheadBytes; float64(m.stream) > limit {
		t.Errorf("%d bytes at the stream for %d of envelopes, want at most %.0f", m.stream, m.payload, limit)
	}
}

// A meeting is what two nodes exchanged until they were equal.
type meeting struct {
	payload int64 // bytes of the envelopes that the other lacked
	stream  int64 // of all sync streams, both ways
	took    time.Duration
}

// meet lets two nodes that know each other speak apart, meet again, and checks that they end with equal
// sets: as many notices as both have said, each side's envelopes at the other.
func meet(t testing.TB, notices int) (m meeting) {
	t.Helper()
	pair := makeRegion(t, 2)
	startAll(t, pair)
	for _, h := range pair {
		h.awaitSync(t, 1)
	}
	for _, h := range pair {
		h.stop(t)
	}
	payload := make([]int64, len(pair))
	for i, h := range pair {
		h.open(t)
		h.start(t)
		h.clock.settle() // alone, a node waits a little for a peer's word on its own chain
		h.say(t, i, notices)
		h.stop(t)
		_, items, bytes := h.holdings(t)
		if len(items) != notices {
			t.Fatalf("%d of %d notices are signed", len(items), notices)
		}
		payload[i], m.payload = bytes, m.payload+bytes
	}
	pair[0].clock.settle()
	start := time.Now()
	startAll(t, pair)
	eventually(t, "both have everything", 10*time.Millisecond, func() bool {
		return pair[0].status(t).Notices == int64(2*notices) && pair[1].status(t).Notices == int64(2*notices)
	})
	m.took = time.Since(start)
	eventually(t, "the session has ended on both sides", 10*time.Millisecond, func() bool {
		for i, h := range pair {
			in, out := h.syncBytes(t)
			if in < payload[1-i] || out < payload[i] {
				return false
			}
			m.stream = max(m.stream, in+out)
		}
		return true
	})
	for _, h := range pair {
		h.stop(t)
	}
	ids, items, _ := pair[0].holdings(t)
	theirIDs, theirItems, _ := pair[1].holdings(t)
	if len(items) != 2*notices || !maps.Equal(ids, theirIDs) || !maps.Equal(items, theirItems) {
		t.Fatalf("after meeting %d envelopes with %d notices here and %d with %d there, want equal sets of %d notices",
			len(ids), len(items), len(theirIDs), len(theirItems), 2*notices)
	}
	return m
}

// say submits notices in full groups and waits until all are signed.
func (h *hospital) say(t testing.TB, who, notices int) {
	t.Helper()
	const group = 512
	seen := api.Time(h.clock.Now().Add(-time.Minute).UnixMilli())
	for from := 0; from < notices; from += group {
		items := make([]api.Submission, min(group, notices-from))
		for i := range items {
			items[i] = api.Submission{Value: fmt.Sprintf("host-%d-%06d.evil.example", who, from+i), FirstSeen: seen, LastSeen: seen}
		}
		result, err := h.Submit(t.Context(), items, api.SubmitOptions{})
		if err != nil || len(result.Notices) != len(items) {
			t.Fatalf("%d of %d taken: %v", len(result.Notices), len(items), err)
		}
	}
	eventually(t, "all is signed", 10*time.Millisecond, func() bool { return h.status(t).Waiting == 0 })
}
