package bench_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api/client"
)

const webhookSamples = 120

// BenchmarkWebhook takes the time from a report over one hospital's API to the call of
// another's webhook, whose rule takes every sighting; beside it the time until that
// other has it in its lookup, polled over HTTP.
func BenchmarkWebhook(b *testing.B) {
	type call struct {
		value string
		at    time.Time
	}
	called := make(chan call, webhookSamples)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		at := time.Now()
		var m struct {
			Value string `json:"value"`
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			b.Error(err)
		}
		called <- call{m.Value, at}
	}))
	defer hook.Close()
	all := makeRegion(b, 2)
	key := filepath.Join(b.TempDir(), "key")
	if err := os.WriteFile(key, []byte("a key of the benchmark's own\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	extend(b, filepath.Join(all[1].dir, node.ConfigFile), fmt.Sprintf(`
[[alerts.sinks]]
name = "hook"
type = "webhook"
url = %q
secret_file = %q
private = true
tlp = "AMBER"

[[alerts.rules]]
name = "all"
notice = ["sighting"]
do = "send"
`, hook.URL, key))
	startAll(b, all)
	var clients []*client.Client
	for _, h := range all {
		if err := h.AwaitPeers(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
		c, err := client.Open(h.dir)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
	}
	say := func(value string) (hooked, known time.Duration) {
		start := time.Now()
		_, known = report(b, clients, 0, value)
		select {
		case c := <-called:
			if c.value != value {
				b.Fatalf("the webhook has %q, want %q", c.value, value)
			}
			return c.at.Sub(start), known
		case <-time.After(patience):
			b.Fatalf("the webhook is not called for %s", value)
		}
		return 0, 0
	}
	say("warm.evil.example")
	var hooked, known []time.Duration
	pace := time.NewTicker(spreadPace)
	defer pace.Stop()
	for b.Loop() {
		for range webhookSamples {
			<-pace.C
			h, k := say(fmt.Sprintf("word-%d.evil.example", len(hooked)))
			hooked, known = append(hooked, h), append(known, k)
		}
	}
	b.ReportMetric(milliseconds(quantile(hooked, 0.5)), "hooked-p50-ms")
	b.ReportMetric(milliseconds(quantile(hooked, 0.99)), "hooked-p99-ms")
	b.ReportMetric(milliseconds(quantile(known, 0.99)), "known-p99-ms")
	b.ReportMetric(0, "ns/op")
}
