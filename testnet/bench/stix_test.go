//go:build unix

package bench_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/watchward/watchward/testnet/proc"
)

const (
	bundleObjects   = 100_000
	bundleIndicator = 8 // of ten objects; one is a sighting, one a relationship to a family
)

// BenchmarkImportSTIX takes the time of the import command, from its start to
// its end, for a bundle of 100,000 objects: read, sent over HTTP, and durable at
// a node that runs as another process. The baseline is decoding the same bytes
// with encoding/json, which keeps nothing and asks nobody.
func BenchmarkImportSTIX(b *testing.B) {
	dir := b.TempDir()
	binary, err := proc.Build(b.Context(), dir)
	if err != nil {
		b.Fatal(err)
	}
	r, err := proc.NewRegion(b.Context(), proc.Config{Binary: binary, Dir: dir, Names: []string{"St Anna"}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			b.Error(err)
		}
	}()
	path := filepath.Join(dir, "bundle.json")
	var took, decoded time.Duration
	round, taken := 0, 0
	for b.Loop() {
		round++
		text := makeBundle(round)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		var plain any
		if err := json.Unmarshal(text, &plain); err != nil {
			b.Fatal(err)
		}
		decoded += time.Since(start)
		start = time.Now()
		a, err := r.Nodes[0].Run(b.Context(), nil, "import", path, "--json")
		took += time.Since(start)
		if err != nil || a.Code != 0 {
			b.Fatalf("import: exit code %d, %v: %.500s %.500s", a.Code, err, a.Out, a.Err)
		}
		var said struct{ Taken int }
		if err := json.Unmarshal([]byte(a.Out), &said); err != nil || said.Taken != bundleObjects/10*(bundleIndicator+1) {
			b.Fatalf("%d taken, %v", said.Taken, err)
		}
		taken += said.Taken
	}
	b.ReportMetric(float64(round*bundleObjects)/took.Seconds(), "objects/s")
	b.ReportMetric(float64(taken)/took.Seconds(), "notices/s")
	b.ReportMetric(took.Seconds()/decoded.Seconds(), "times-json-decode")
	b.ReportMetric(0, "ns/op")
}

// makeBundle writes a bundle whose values no other round has.
func makeBundle(round int) []byte {
	var w bytes.Buffer
	const at = `"created":"2026-01-01T00:00:00.000Z","modified":"2026-01-01T00:00:00.000Z","spec_version":"2.1"`
	fmt.Fprintf(&w, `{"type":"bundle","id":"bundle--%08x-0000-4000-8000-000000000000","objects":[`, round)
	for i := range bundleObjects {
		if i > 0 {
			w.WriteString(",\n")
		}
		id := func(kind string, n int) string {
			return fmt.Sprintf("%s--%08x-%04x-4000-8000-000000000000", kind, n, round)
		}
		pattern := [...]string{
			fmt.Sprintf("domain-name:value = 'n%d-%d.evil.example'", i, round), fmt.Sprintf("ipv4-addr:value = '%d.%d.%d.%d'", 20+round, i>>16, i>>8&255, i&255),
			fmt.Sprintf("file:hashes.'SHA-256' = '%064x'", i<<16|round), fmt.Sprintf("url:value = 'http://evil.example/%d/%d'", round, i),
		}[i%4]
		switch kind := i % 10; {
		case i == 9:
			fmt.Fprintf(&w, `{"type":"malware","id":"%s",%s,"name":"Family","is_family":true}`, id("malware", 0), at)
		case kind < bundleIndicator:
			fmt.Fprintf(&w, `{"type":"indicator","id":"%s",%s,"name":"An indicator","indicator_types":["malicious-activity"],"pattern":"[%s]","pattern_type":"stix","valid_from":"2026-01-01T00:00:00Z"}`, id("indicator", i), at, pattern)
		case kind == bundleIndicator:
			fmt.Fprintf(&w, `{"type":"sighting","id":"%s",%s,"sighting_of_ref":"%s","first_seen":"2026-01-02T00:00:00Z","last_seen":"2026-01-03T00:00:00Z","count":3}`, id("sighting", i), at, id("indicator", i-1))
		default:
			fmt.Fprintf(&w, `{"type":"relationship","id":"%s",%s,"relationship_type":"indicates","source_ref":"%s","target_ref":"%s"}`, id("relationship", i), at, id("indicator", i-2), id("malware", 0))
		}
	}
	w.WriteString("]}\n")
	return w.Bytes()
}
