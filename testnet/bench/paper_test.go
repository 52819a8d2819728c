package bench_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/watchward/watchward/testnet/proc"
)

// paperCalls is how often each format of a report is asked for.
const paperCalls = 50

// BenchmarkPaper takes how long a process of a region of 200 members with 1,000,000
// sightings in its picture takes for a report to print, in each format, and for the pack:
// over HTTP, to the last byte.
func BenchmarkPaper(b *testing.B) {
	sightings := scale(b, pictureSightings)
	binary, err := proc.Build(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		here, _ := crowded(b, sightings)
		n := proc.At(binary, here.dir, "here")
		launch(b, n)
		c := token(b, n)
		defer c.http.CloseIdleConnections()
		for c.situation(b, "").Reading {
			time.Sleep(readLook)
		}
		took := map[string][]time.Duration{}
		for name, path := range map[string]string{"html": "/v1/situation/report", "md": "/v1/situation/report?format=md", "json": "/v1/situation/report?format=json", "pack": "/v1/pack"} {
			if body := c.get(b, path); !bytes.Contains(body, []byte("AMBER")) {
				b.Fatalf("%s: %.200s", path, body)
			}
			for range paperCalls {
				start := time.Now()
				c.get(b, path)
				took[name] = append(took[name], time.Since(start))
			}
		}
		b.ReportMetric(milliseconds(quantile(took["html"], 0.5)), "html-p50-ms")
		b.ReportMetric(milliseconds(slices.Max(took["html"])), "html-max-ms")
		b.ReportMetric(milliseconds(slices.Max(took["md"])), "md-max-ms")
		b.ReportMetric(milliseconds(slices.Max(took["json"])), "json-max-ms")
		b.ReportMetric(milliseconds(quantile(took["pack"], 0.5)), "pack-p50-ms")
		b.ReportMetric(milliseconds(slices.Max(took["pack"])), "pack-max-ms")
	}
	b.ReportMetric(0, "ns/op")
}
