package bench_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

const (
	reportSamples = 120
	// An author speaks every 1.5 s: with the word before the first sample never
	// more than 7 in 10 s, so nothing waits to be grouped.
	reportPace = 500 * time.Millisecond
	reportPoll = time.Millisecond // between two questions to one hospital
)

// BenchmarkReportToLookup takes the time from a report over one hospital's API
// to the moment when lookup over the APIs of both others has answered with it.
// The floor is what no such path can save: two HTTP round trips and three syncs
// one after the other (submission, signed envelope, the other's copy), each at
// its median in this run and directory. How far the tail of plain computing is
// from its median (work-p99-of-p50) tells how busy the machine was.
func BenchmarkReportToLookup(b *testing.B) {
	all := makeRegion(b, 3)
	startAll(b, all)
	clients := make([]*client.Client, len(all))
	for i, h := range all {
		if err := h.AwaitPeers(b.Context(), len(all)-1); err != nil {
			b.Fatal(err)
		}
		var err error
		if clients[i], err = client.Open(h.dir); err != nil {
			b.Fatal(err)
		}
		defer clients[i].Close()
	}
	for i := range clients { // connections, gossip's links and the first epoch
		report(b, clients, i, fmt.Sprintf("warm-%d.evil.example", i))
	}
	base := newBaseline(b, all[0].dir)
	var acked, took []time.Duration
	pace := time.NewTicker(reportPace)
	defer pace.Stop()
	for b.Loop() {
		for i := range reportSamples {
			<-pace.C
			ack, all := report(b, clients, i%len(clients), fmt.Sprintf("word-%d.evil.example", len(took)))
			acked, took = append(acked, ack), append(took, all)
			base.sample(b)
		}
	}
	floor := 3*quantile(base.disk, 0.5) + 2*quantile(base.http, 0.5)
	b.ReportMetric(milliseconds(quantile(took, 0.5)), "p50-ms")
	b.ReportMetric(milliseconds(quantile(took, 0.9)), "p90-ms")
	b.ReportMetric(milliseconds(quantile(took, 0.99)), "p99-ms")
	b.ReportMetric(milliseconds(quantile(acked, 0.5)), "ack-p50-ms")
	b.ReportMetric(float64(quantile(took, 0.5))/float64(floor), "p50-of-floor")
	b.ReportMetric(milliseconds(quantile(base.disk, 0.5)), "sync-p50-ms")
	b.ReportMetric(milliseconds(quantile(base.disk, 0.99)), "sync-p99-ms")
	b.ReportMetric(milliseconds(quantile(base.http, 0.5)), "http-p50-ms")
	b.ReportMetric(milliseconds(quantile(base.http, 0.99)), "http-p99-ms")
	b.ReportMetric(float64(quantile(base.work, 0.99))/float64(quantile(base.work, 0.5)), "work-p99-of-p50")
	b.ReportMetric(0, "ns/op")
}

// report states a value at one hospital and asks all others until they answer.
// It returns when the first had acknowledged, and when the last had answered.
func report(b *testing.B, clients []*client.Client, from int, value string) (acked, answered time.Duration) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for i, c := range clients {
		if i != from {
			group.Go(func() error { return await(ctx, c, value) })
		}
	}
	answer, err := clients[from].Submit(ctx, []api.Submission{{Kind: "sighting", Value: value}}, client.SubmitOptions{TLP: "GREEN"})
	if err != nil || len(answer.Notices) != 1 {
		b.Fatalf("submit: %+v, %v", answer, err)
	}
	acked = time.Since(start)
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return acked, time.Since(start)
}

// await asks one hospital until it knows a value.
func await(ctx context.Context, c *client.Client, value string) error {
	pause := time.NewTicker(reportPoll)
	defer pause.Stop()
	for {
		known := false
		err := c.Lookup(ctx, []string{value}, client.LookupOptions{}, func(a api.LookupAnswer) error {
			known = a.Known && a.Matched == nil
			return nil
		})
		if err != nil || known {
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
