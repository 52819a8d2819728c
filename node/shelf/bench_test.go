package shelf_test

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/shelf"
	"github.com/watchward/watchward/node/taxii"
)

// BenchmarkShelf puts notices and reads them in pages of 1,000. WATCHWARD_SHELF says how
// many, 100,000 if it does not.
func BenchmarkShelf(b *testing.B) {
	size := 100_000
	if n, err := strconv.Atoi(os.Getenv("WATCHWARD_SHELF")); err == nil {
		size = n
	}
	s := open(b, b.TempDir())
	defer s.Close()
	began := time.Now()
	for n := 0; n < size; {
		var items []shelf.Item
		for ; n < size && len(items) < 500; n++ {
			items = append(items, shelf.Item{Stated: indicator(uint64(n), notice.TLP(1+n%3))})
		}
		put(b, s, items...)
	}
	filled := time.Since(began)
	b.ResetTimer()
	for b.Loop() {
		began, total := time.Now(), 0
		var pages []time.Duration
		for after, more := int64(0), true; more; {
			page, n := time.Now(), 0
			for o, err := range s.Objects(b.Context(), notice.TLPAmber, &taxii.Query{After: after, Last: true, Bodies: true}) {
				if err != nil {
					b.Fatal(err)
				}
				after = o.Added
				if n++; n == 1_000 {
					break
				}
			}
			total += n
			more = n == 1_000
			pages = append(pages, time.Since(page))
		}
		slices.Sort(pages)
		b.ReportMetric(float64(total)/time.Since(began).Seconds(), "objects/s")
		b.ReportMetric(float64(pages[len(pages)*99/100].Microseconds())/1000, "p99-ms")
		b.ReportMetric(float64(size)/filled.Seconds(), "put/s")
	}
}
