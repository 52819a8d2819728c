package bench_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	for env, process := range map[string]func(spec string, in io.Reader, out io.Writer) error{
		plainEnv: plain, voterEnv: runVoter, appenderEnv: runAppender,
	} {
		if spec := os.Getenv(env); spec != "" { // this is a process of a benchmark
			if err := process(spec, os.Stdin, os.Stdout); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	goleak.VerifyTestMain(m)
}

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

// A baseline takes the times of what nothing here can be faster than. Samples
// are taken between those of a benchmark, so that load from outside falls on
// both alike.
type baseline struct {
	file   *os.File
	server *httptest.Server

	disk []time.Duration // appending 4 KiB to a file and syncing it: one durable write
	http []time.Duration // a request to a server on loopback that does nothing
	work []time.Duration // hashing workBytes: one core's computing, milliseconds of it
}

const workBytes = 8 << 20

func newBaseline(t testing.TB, dir string) *baseline {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "baseline"))
	if err != nil {
		t.Fatal(err)
	}
	answer := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }
	x := &baseline{file: f, server: httptest.NewServer(http.HandlerFunc(answer))}
	t.Cleanup(func() {
		x.server.Close()
		if err := x.file.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

func (x *baseline) sample(t testing.TB) {
	t.Helper()
	block := make([]byte, workBytes)
	start := time.Now()
	if _, err := x.file.Write(block[:4<<10]); err != nil {
		t.Fatal(err)
	}
	if err := x.file.Sync(); err != nil {
		t.Fatal(err)
	}
	synced := time.Now()
	get(t, x.server.Client(), x.server.URL)
	got := time.Now()
	sha256.Sum256(block)
	x.disk = append(x.disk, synced.Sub(start))
	x.http = append(x.http, got.Sub(synced))
	x.work = append(x.work, time.Since(got))
}
