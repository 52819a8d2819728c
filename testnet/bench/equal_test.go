package bench_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
)

const equalBytesMax = 1_000 // of one round between equal nodes, both ways

// BenchmarkEqualRound is one sync round between two that hold the same.
func BenchmarkEqualRound(b *testing.B) {
	const authors = 1_000
	s := equals(b, authors)
	var result mesh.SyncResult
	for b.Loop() {
		result = s.round(b)
		if !result.Equal {
			b.Fatalf("a round of equals ended with %+v", result)
		}
	}
	b.ReportMetric(float64(result.BytesIn+result.BytesOut), "B/round")
	b.ReportMetric(float64(result.RoundTrips), "round-trips")
	b.ReportMetric(authors, "authors")
}

func TestEqualRoundBytes(t *testing.T) {
	result := equals(t, 40).round(t)
	if n := result.BytesIn + result.BytesOut; !result.Equal || n == 0 || n > equalBytesMax {
		t.Errorf("a round of equals took %d bytes, want at most %d: %+v", n, equalBytesMax, result)
	}
}

// equals returns a speaker that has brought a node a word of each of so many
// authors, their credentials before.
func equals(t testing.TB, authors int) *speaker {
	t.Helper()
	names := make([]string, authors)
	for i := range names {
		names[i] = fmt.Sprintf("author %d", i)
	}
	r := testkit.NewRegion(t, "speaker", "here")
	own := r.Records[1:]
	members := r.Admit(t, names...)
	h := enlist(t, r, r.Members[1], own...)
	h.open(t)
	h.start(t)
	s := speak(t, r, r.Members[0], h)
	s.hold(foreign(t, members, authors, 1))
	s.round(t)
	eventually(t, "the node has a word of each", 10*time.Millisecond, func() bool { return h.status(t).Notices == int64(authors) })
	if result := s.round(t); !result.Equal { // the hello of the first was written before the words came
		t.Fatalf("still different: %+v", result)
	}
	return s
}
