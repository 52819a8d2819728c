package bench_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
)

const (
	bridgeNotices = 10_000
	bridgeRounds  = 8
)

// BenchmarkBridge is a bridge that reads and pushes every 10 s and finds nothing new, over
// HTTP on loopback, at a node that serves ten thousand notices.
func BenchmarkBridge(b *testing.B) {
	all := makeRegion(b, 2)
	there := all[0]
	serveTAXII(b, there.dir)
	there.open(b)
	there.start(b)
	for from := 0; from < bridgeNotices; from += 1000 {
		items := make([]api.Submission, 1000)
		for i := range items {
			items[i] = api.Submission{Kind: "sighting", Value: fmt.Sprintf("word-%d.example", from+i)}
		}
		if _, err := there.Submit(b.Context(), items, api.SubmitOptions{TLP: notice.TLPGreen}); err != nil {
			b.Fatal(err)
		}
	}
	here := all[1]
	extend(b, filepath.Join(here.dir, node.ConfigFile), fmt.Sprintf(`
[[bridge]]
name = "there"
kind = "taxii"
url = "%s/taxii2/"
collection = "green"
push_collection = "inbox"
token_file = %q
pull = true
push = "all"
every = "10s"
private = true
`, there.APIURL(), filepath.Join(there.dir, "token")))
	here.open(b)
	here.start(b)
	if err := here.Meet(there.MeshAddrs()); err != nil {
		b.Fatal(err)
	}
	c, err := client.Open(here.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	shown := func() api.BridgeDetail {
		d, err := c.Bridge(b.Context(), "there")
		if err != nil || d.State == "fails" {
			b.Fatal(err, d.Reason)
		}
		return d
	}
	round := func() api.BridgeDetail {
		last := shown().Last
		var d api.BridgeDetail
		eventually(b, "the bridge has gone another round", 50*time.Millisecond, func() bool {
			d = shown()
			return d.Last != last
		})
		return d
	}
	eventually(b, "all is held", 100*time.Millisecond, func() bool {
		return here.status(b).Notices >= bridgeNotices
	})
	before := round()
	eventually(b, "nothing new comes", 50*time.Millisecond, func() bool {
		after := round()
		same := after.Taken+after.Known == before.Taken+before.Known
		before = after
		return same
	})
	longest := 0.0
	for b.Loop() {
		for range bridgeRounds {
			longest = max(longest, round().TookMS)
		}
	}
	b.ReportMetric(longest, "no-news-ms")
	b.ReportMetric(0, "ns/op")
}

func serveTAXII(b *testing.B, dir string) {
	b.Helper()
	path := filepath.Join(dir, node.ConfigFile)
	raw, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(raw, []byte("#taxii = false"), []byte("taxii = true"), 1), 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
}
