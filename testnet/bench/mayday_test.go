package bench_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/testnet/proc"
)

const (
	maydayRounds = 3  // a member's urgent words are ordinary beyond three in ten minutes
	flowItems    = 64 // sightings of one submission
	flowEvery    = time.Second * flowItems / 1000
	maydayPace   = 500 * time.Millisecond
)

// BenchmarkMayday lets twelve hospitals, processes in networks of their own with lines
// of 25 ms between all, report 1,000 sightings a second, 64 at a time. Meanwhile each
// says a mayday three times, and each time as much that is ordinary. It takes the time
// from the submission to the other hospitals' streams.
func BenchmarkMayday(b *testing.B) {
	region := networked(b)
	if err := region.All(proc.Link{Delay: lineDelay}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		urgent, ordinary, flowed := maydays(b, region)
		b.ReportMetric(milliseconds(quantile(urgent, 0.5)), "p50-ms")
		b.ReportMetric(milliseconds(quantile(urgent, 0.99)), "p99-ms")
		b.ReportMetric(milliseconds(slices.Max(urgent)), "max-ms")
		b.ReportMetric(milliseconds(quantile(ordinary, 0.5)), "ordinary-p50-ms")
		b.ReportMetric(milliseconds(quantile(ordinary, 0.99)), "ordinary-p99-ms")
		b.ReportMetric(flowed, "sightings/s")
	}
	b.ReportMetric(0, "ns/op")
}

func maydays(b *testing.B, region *proc.Region) (urgent, ordinary []time.Duration, flowed float64) {
	b.Helper()
	r := hospitalWords(b, region)
	defer r.stop()
	r.words(b, processes) // connections learn their round trips

	stop := flow(b, region)
	said := map[bool]map[int]time.Time{true: {}, false: {}}
	by := map[int]int{}
	start := time.Now()
	for n := range 2 * maydayRounds * processes {
		place, number, attacked := n/2%processes, r.next, n%2 == 0
		r.next++
		speak := r.say
		if attacked {
			speak = r.mayday
		}
		said[attacked][number], by[number] = time.Now(), place
		if err := speak(place, number); err != nil {
			b.Fatal(err)
		}
		time.Sleep(maydayPace)
	}
	sent := stop()
	flowed = float64(sent) / time.Since(start).Seconds()
	for attacked, words := range said {
		for number, at := range words {
			eventually(b, fmt.Sprintf("word %d is everywhere", number), 10*time.Millisecond, func() bool {
				r.mu.Lock()
				defer r.mu.Unlock()
				return len(r.got[number]) == processes
			})
			for place, came := range r.got[number] {
				if place == by[number] {
					continue
				}
				if took := came.Sub(at); attacked {
					urgent = append(urgent, took)
				} else {
					ordinary = append(ordinary, took)
				}
			}
		}
	}
	return urgent, ordinary, flowed
}

// flow lets the hospitals report by turns. What it returns ends that, and returns how
// many sightings were reported.
func flow(b *testing.B, region *proc.Region) (stop func() int) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var wait sync.WaitGroup
	counts := make([]int, processes)
	for place, n := range region.Nodes {
		c, err := n.Client()
		if err != nil {
			b.Fatal(err)
		}
		wait.Go(func() {
			defer c.Close()
			pace := time.NewTicker(flowEvery * processes)
			defer pace.Stop()
			for {
				items := make([]api.Submission, flowItems)
				for i := range items {
					items[i] = api.Submission{Kind: "sighting", Value: fmt.Sprintf("flow-%d-%d.example", place, counts[place]+i)}
				}
				if _, err := c.Submit(ctx, items, client.SubmitOptions{TLP: "GREEN"}); err != nil {
					if ctx.Err() == nil {
						b.Error(err)
					}
					return
				}
				counts[place] += flowItems
				select {
				case <-pace.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return func() (sum int) {
		cancel()
		wait.Wait()
		for _, n := range counts {
			sum += n
		}
		return sum
	}
}
