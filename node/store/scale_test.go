package store_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// TestManyIndicators fills a store, opens it anew and looks everything up. With
// WATCHWARD_SCALE=1000000 it measures what DESIGN.md says.
func TestManyIndicators(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("WATCHWARD_SCALE"))
	if n == 0 {
		n = 100_000
	}
	if testing.Short() {
		n = 10_000
	}
	dir, c := t.TempDir(), newClock()
	s, err := store.Open(store.Options{Dir: dir, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	name := func(k int) notice.Indicator {
		return notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("host-%08d.evil.example", k)}
	}
	authors := writers(t, 8)
	began := time.Now()
	for k := 0; k < n; {
		var entries []store.Entry
		for range 32 {
			var notices []*notice.Notice
			for ; len(notices) < benchItems && k < n; k++ {
				notices = append(notices, sighting(name(k), uint64(k), 1))
			}
			if len(notices) > 0 {
				entries = append(entries, authors[len(entries)%8].envelope(t, crypto.Header{}, notices...))
			}
		}
		put(t, s, entries...)
	}
	st, err := s.Stats()
	if err != nil || st.Indicators != uint64(n) || st.Notices != uint64(n) {
		t.Fatalf("%+v %v", st, err)
	}
	t.Logf("filled, signing included, in %s; %d MiB on disk; anonymous memory %d MiB", time.Since(began), st.DiskBytes>>20, anonymous())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	debug.FreeOSMemory()
	began = time.Now()
	s = open(t, store.Options{Dir: dir, Now: c.Now})
	t.Logf("opened in %s; anonymous memory %d MiB", time.Since(began), anonymous())
	began = time.Now()
	for k := 0; k < n; k += 10 {
		if sum, ok, err := s.Summary(name(k).Key(), 0); err != nil || !ok || sum.Sightings != 1 {
			t.Fatalf("value %d: %+v %v %v", k, sum, ok, err)
		}
		if _, ok, err := s.Summary(name(n+k).Key(), 0); err != nil || ok {
			t.Fatalf("value %d is known: %v", n+k, err)
		}
	}
	t.Logf("%.1f µs a lookup; anonymous memory %d MiB", float64(time.Since(began).Microseconds())/float64(n/5), anonymous())
}

// anonymous returns the process's anonymous memory in MiB, where the system
// tells.
func anonymous() int {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kb >> 10
		}
	}
	return 0
}
