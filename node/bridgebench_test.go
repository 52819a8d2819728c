package node_test

import (
	"testing"
	"time"

	"github.com/watchward/watchward/node/taxii/client"
)

// BenchmarkBridgePoll is a round of a bridge that reads and pushes and finds nothing new:
// over HTTP on loopback, from a node that serves ten thousand notices. The issue wants 5 ms.
func BenchmarkBridgePoll(b *testing.B) {
	b.Setenv("WATCHWARD_BRIDGED", "10000")
	_, here := exchanged(b)
	time.Sleep(client.Settle + time.Second) // what came just now is asked for once more
	h := here.hospitals[0]
	h.bridges(b, "isac")
	var longest time.Duration
	for b.Loop() {
		b.StopTimer()
		time.Sleep(150 * time.Millisecond) // or the bridge's own limit of requests would be measured
		b.StartTimer()
		start := time.Now()
		h.bridges(b, "isac")
		longest = max(longest, time.Since(start))
	}
	b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest")
}
