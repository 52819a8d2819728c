package bench_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/testnet/proc"
)

const (
	flowItems  = 64                             // sightings of an envelope
	flowPace   = time.Second * flowItems / 1000 // between two envelopes of all hospitals
	callPace   = 500 * time.Millisecond         // between two words or maydays that are timed
	callsEach  = 60                             // words; each fifth is followed by a mayday, one of each hospital
	alertLooks = 2 * time.Millisecond
)

// BenchmarkMaydayProcesses takes the time from a mayday over one hospital's API to the
// moment when the API of another shows the alert: signed, durable and sent here, verified,
// durable, heeded and written down there. Each of 12 hospitals, processes with lines of
// 25 ms, calls once, while 1,000 sightings a second flow in envelopes of 64. Beside it, in the same run,
// an ordinary word to the other's stream, and then GossipSub alone in the same places.
func BenchmarkMaydayProcesses(b *testing.B) {
	var built proc.Builder
	defer built.Close()
	program, err := built.Binary(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		w, err := proc.NewNetwork(1)
		if errors.Is(err, proc.ErrNoNetwork) {
			b.Skipf("SKIPPED: %v", err)
		}
		if err != nil {
			b.Fatal(err)
		}
		maydays(b, w, program)
		if err := w.Close(); err != nil {
			b.Error(err)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// maydays is one run, with a region of its own: who has called before alerts nobody again
// for a while.
func maydays(b *testing.B, w *proc.Network, program string) {
	dir, err := os.MkdirTemp("", "ww") // b.TempDir is too long for a socket
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var names []string
	for i := range processes {
		names = append(names, fmt.Sprintf("Hospital %d", i+1))
	}
	region, err := proc.NewRegion(b.Context(), proc.Config{Binary: program, Dir: dir, Names: names, Network: w})
	if err != nil {
		b.Fatal(err)
	}
	defer region.Close()
	if err := region.All(proc.Link{Delay: lineDelay}); err != nil {
		b.Fatal(err)
	}
	c := newCalls(b, region)
	words, alerts := c.run(b)
	c.stop()
	if err := region.Stop(region.Nodes...); err != nil {
		b.Fatal(err)
	}
	r := plainWords(b, region)
	defer r.stop()
	r.words(b, processes) // connections learn their round trips
	plain := r.words(b, wordsEach)
	b.ReportMetric(milliseconds(quantile(alerts, 0.5)), "p50-ms")
	b.ReportMetric(milliseconds(quantile(alerts, 0.99)), "p99-ms")
	b.ReportMetric(milliseconds(quantile(words, 0.5)), "word-p50-ms")
	b.ReportMetric(milliseconds(quantile(words, 0.99)), "word-p99-ms")
	b.ReportMetric(milliseconds(quantile(plain, 0.99)), "plain-p99-ms")
	b.ReportMetric(float64(quantile(alerts, 0.99))/float64(quantile(words, 0.99)), "of-word")
}

// calls are words and maydays on their way to all others.
type calls struct {
	clients []*client.Client
	stop    func()

	mu    sync.Mutex
	begun map[string]time.Time // by the text of the word
	words []time.Duration
	calls []time.Duration // maydays
}

func newCalls(b *testing.B, region *proc.Region) *calls {
	ctx, cancel := context.WithCancel(b.Context())
	var wait sync.WaitGroup
	c := &calls{begun: map[string]time.Time{}}
	c.stop = func() {
		cancel()
		wait.Wait()
		for _, each := range c.clients {
			each.Close()
		}
	}
	for _, n := range region.Nodes {
		each, err := n.Client()
		if err != nil {
			b.Fatal(err)
		}
		self, err := each.Status(ctx)
		if err != nil {
			b.Fatal(err)
		}
		c.clients = append(c.clients, each)
		wait.Go(func() {
			_ = each.Tail(ctx, 0, func(v api.NoticeView) error {
				if now := time.Now(); v.Author != self.Member {
					wait.Go(func() { c.arrived(ctx, each, v, now) })
				}
				return nil
			}, nil)
		})
	}
	return c
}

// arrived takes the time of a word of another hospital that came now, and of a mayday
// once the alert of it is there.
func (c *calls) arrived(ctx context.Context, at *client.Client, v api.NoticeView, now time.Time) {
	text := ""
	switch {
	case v.Mayday != nil:
		text = v.Mayday.Text
	case v.Indicator != nil:
		text = v.Indicator.Value
	}
	c.mu.Lock()
	begun, timed := c.begun[text]
	c.mu.Unlock()
	if !timed {
		return
	}
	for v.Mayday != nil && !alerted(ctx, at, v.ID) {
		if ctx.Err() != nil {
			return
		}
		time.Sleep(alertLooks)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.Mayday == nil {
		c.words = append(c.words, now.Sub(begun))
	} else {
		c.calls = append(c.calls, time.Since(begun))
	}
}

func alerted(ctx context.Context, at *client.Client, id string) bool {
	answer, err := at.Alerts(ctx, time.Time{}, 10, "")
	return err == nil && slices.ContainsFunc(answer.Alerts, func(a api.AlertView) bool {
		return a.Kind == "mayday" && a.Severity == "critical" && slices.Contains(a.Refs, id)
	})
}

// run says all that is timed while sightings flow, and returns when it has arrived
// everywhere.
func (c *calls) run(b *testing.B) (words, alerts []time.Duration) {
	ctx, cancel := context.WithCancel(b.Context())
	var flow errgroup.Group
	flow.Go(func() error { return c.flow(ctx) })
	pace := time.NewTicker(callPace)
	defer pace.Stop()
	maydays := 0
	for i := range callsEach {
		<-pace.C
		c.say(b, i%processes, api.Submission{Kind: "sighting", Value: fmt.Sprintf("word-%d.example", i)}, fmt.Sprintf("word-%d.example", i))
		if (i+1)%(callsEach/processes) != 0 {
			continue
		}
		<-pace.C
		text := fmt.Sprintf("ransom note %d", maydays)
		c.say(b, maydays, api.Submission{Kind: "mayday", Parts: api.Parts{Mayday: &api.Mayday{Text: text}}}, text)
		maydays++
	}
	eventually(b, "all words and alerts are there", 10*time.Millisecond, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.words) == callsEach*(processes-1) && len(c.calls) == processes*(processes-1)
	})
	cancel()
	if err := flow.Wait(); err != nil {
		b.Fatal(err)
	}
	return c.words, c.calls
}

// say says a word over the API of one place; its time begins before that.
func (c *calls) say(b *testing.B, place int, s api.Submission, text string) {
	b.Helper()
	c.mu.Lock()
	c.begun[text] = time.Now()
	c.mu.Unlock()
	if _, err := c.clients[place].Submit(b.Context(), []api.Submission{s}, client.SubmitOptions{TLP: "AMBER"}); err != nil {
		b.Fatal(err)
	}
}

// flow lets one hospital after the other share an envelope of sightings, until ctx ends.
func (c *calls) flow(ctx context.Context) error {
	pace := time.NewTicker(flowPace)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-pace.C:
		}
		items := make([]api.Submission, flowItems)
		for i := range items {
			items[i] = api.Submission{Kind: "sighting", Value: fmt.Sprintf("flow-%d-%d.example", n, i)}
		}
		if _, err := c.clients[n%processes].Submit(ctx, items, client.SubmitOptions{TLP: "GREEN"}); err != nil && ctx.Err() == nil {
			return err
		}
	}
}
