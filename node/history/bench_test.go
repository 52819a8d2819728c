//go:build linux

package history_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/watchward/watchward/node/history"
	"github.com/watchward/watchward/node/notice"
)

// address returns one of 10,000,000 that differ.
func address(i int) notice.Indicator {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0x0b000000+uint32(i))
	return notice.Indicator{Type: notice.TypeIPv4, Value: netip.AddrFrom4(b).String()}
}

// BenchmarkHistory fills a history with 10,000,000 observables of 90 days, and asks for
// one value at a time: with all in memory, and after the system has let the files go.
//
//	go test ./node/history -run xxx -bench History -benchtime 1x
func BenchmarkHistory(b *testing.B) {
	const observables, days, each = 10_000_000, 90, 20_000
	dir := b.TempDir()
	h := open(b, history.Options{Dir: dir, Days: days, MiB: 1024})
	began := time.Now()
	seen := make([]history.Seen, 0, each)
	for i := range observables {
		at := noon.Add(-time.Duration(observables-1-i) * ((days*24*time.Hour - time.Hour) / observables))
		seen = append(seen, history.Seen{Indicator: address(i), Time: at.UnixMilli(), Count: uint32(1 + i%7)})
		if len(seen) < each {
			continue
		}
		if err := errors.Join(h.Add(seen), h.Flush()); err != nil {
			b.Fatal(err)
		}
		seen = seen[:0]
	}
	filled := time.Since(began)
	if err := h.Tend(); err != nil {
		b.Fatal(err)
	}
	if err := h.Close(); err != nil {
		b.Fatal(err)
	}
	size := sizeOf(b, dir)
	h = open(b, history.Options{Dir: dir, Days: days, MiB: 1024})
	b.Logf("%d segments, %.1f MiB, filled at %.0f observables/s", h.Segments(), float64(size)/(1<<20), observables/filled.Seconds())
	ask := func(b *testing.B, i int) {
		traces, err := h.Find([]notice.Indicator{address(i)})
		if err != nil {
			b.Fatal(err)
		}
		if traces[0].Count == 0 != (i >= observables) {
			b.Fatalf("value %d: %+v", i, traces[0])
		}
	}
	// one asks for values one by one and reports how long they took.
	one := func(b *testing.B, asked int, before func()) {
		for range b.N {
			took := make([]time.Duration, asked)
			for i := range took {
				before()
				at := time.Now()
				ask(b, i*399_989%(2*observables))
				took[i] = time.Since(at)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[asked/2].Microseconds()), "µs/median")
			b.ReportMetric(float64(took[asked*99/100].Microseconds()), "µs/p99")
			b.ReportMetric(float64(took[asked-1].Microseconds()), "µs/worst")
			b.ReportMetric(float64(size)/observables, "bytes/observable")
		}
	}
	b.Run("warm", func(b *testing.B) { one(b, 10_000, func() {}) })
	b.Run("cold", func(b *testing.B) { one(b, 200, func() { letGo(b, dir) }) })
	b.Run("100000 at once", func(b *testing.B) {
		values := make([]notice.Indicator, 100_000)
		for i := range values {
			values[i] = address(i * 199)
		}
		for range b.N {
			began := time.Now()
			if _, err := h.Find(values); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms")
		}
	})
}

// letGo has the system forget what it holds of the files in memory.
func letGo(b *testing.B, dir string) {
	b.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range names {
		f, err := os.Open(dir + "/" + n.Name())
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAdd is what a log source pays for an observable that was seen before.
func BenchmarkAdd(b *testing.B) {
	h := open(b, history.Options{Dir: b.TempDir(), Parents: true})
	seen := make([]history.Seen, 256)
	for i := range seen {
		seen[i] = history.Seen{Indicator: notice.Indicator{Type: notice.TypeDomain, Value: "www." + name(i%60).Value}, Time: noon.UnixMilli()}
	}
	for range b.N {
		if err := h.Add(seen); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(seen)), "ns/observable")
}
