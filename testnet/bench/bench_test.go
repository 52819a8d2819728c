// Package bench measures what a hospital feels: how fast foreign words become
// durable and searchable, how soon a report is answered at the others, and what
// meeting again costs on the line. Every figure stands beside a baseline of the
// same run, because machines differ and their load does. RESULTS.md has the
// figures and the command.
package bench_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a step may take before a run is given up.
const patience = time.Minute

// quantile returns the value below which a share q of samples lie.
func quantile(samples []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func median(samples []float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[len(sorted)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// eventually asks every so often until it holds.
func eventually(t testing.TB, what string, every time.Duration, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("after %s it does not hold that %s", patience, what)
		}
	}
}

const baselineSamples = 200

// syncTimes are the times of appending 4 KiB to a file in dir and syncing it:
// what one durable write costs at least.
func syncTimes(t testing.TB, dir string) []time.Duration {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "sync-baseline"))
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4<<10)
	out := make([]time.Duration, baselineSamples)
	for i := range out {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		out[i] = time.Since(start)
	}
	return out
}

// roundTrips are the times of requests to a server on loopback that does
// nothing, over one kept connection.
func roundTrips(t testing.TB) []time.Duration {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }))
	defer s.Close()
	out := make([]time.Duration, baselineSamples)
	for i := range out {
		start := time.Now()
		get(t, s.Client(), s.URL)
		out[i] = time.Since(start)
	}
	return out
}
