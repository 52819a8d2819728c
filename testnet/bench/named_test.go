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

// BenchmarkNamed takes the time from a RED report over one hospital's API to the
// moment when lookup over the API of the member that it names has answered with
// it: sealed, signed, durable here, brought over QUIC, verified, opened, durable
// there. It is paced like BenchmarkReportToLookup and has the same floor.
func BenchmarkNamed(b *testing.B) {
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
	for i := range clients { // connections and the first epoch
		report(b, clients, i, fmt.Sprintf("warm-%d.evil.example", i))
	}
	base := newBaseline(b, all[0].dir)
	var took []time.Duration
	pace := time.NewTicker(reportPace)
	defer pace.Stop()
	for b.Loop() {
		for i := range reportSamples {
			<-pace.C
			from, to := i%len(all), (i+1)%len(all)
			took = append(took, tell(b, clients[from], clients[to], fmt.Sprintf("Hospital %d", to+1), fmt.Sprintf("red-%d.evil.example", len(took))))
			base.sample(b)
		}
	}
	floor := 3*quantile(base.disk, 0.5) + 2*quantile(base.http, 0.5)
	b.ReportMetric(milliseconds(quantile(took, 0.5)), "p50-ms")
	b.ReportMetric(milliseconds(quantile(took, 0.99)), "p99-ms")
	b.ReportMetric(float64(quantile(took, 0.5))/float64(floor), "p50-of-floor")
	b.ReportMetric(milliseconds(quantile(base.disk, 0.99)), "sync-p99-ms")
	b.ReportMetric(float64(quantile(base.work, 0.99))/float64(quantile(base.work, 0.5)), "work-p99-of-p50")
	b.ReportMetric(0, "ns/op")
}

// tell states a value for one member and asks that one until it answers.
func tell(b *testing.B, from, to *client.Client, name, value string) time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	group.Go(func() error { return await(ctx, to, value) })
	answer, err := from.Submit(ctx, []api.Submission{{Kind: "sighting", Value: value, To: []string{name}}}, client.SubmitOptions{TLP: "RED"})
	if err != nil || len(answer.Notices) != 1 || answer.Notices[0].Audience != "named" {
		b.Fatalf("submit: %+v, %v", answer, err)
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}
