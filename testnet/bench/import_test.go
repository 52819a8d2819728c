package bench_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const importAttributes = 100_000

// BenchmarkImport is the command `watchward import` on a MISP event of 100,000
// attributes: a process of its own reads the file and submits it over HTTP; the
// clock stops when it has ended, and then everything is durable. Again is the
// same file once more, which takes nothing. Raw Badger beside it is in
// BenchmarkAdmission; here the baseline is one core's hashing of as many bytes
// as the file has, which tells how busy the machine was.
func BenchmarkImport(b *testing.B) {
	command := buildCommand(b)
	file := filepath.Join(b.TempDir(), "event.json")
	if err := os.WriteFile(file, mispEvent(importAttributes), 0o600); err != nil {
		b.Fatal(err)
	}
	var first, again, shared []float64
	for b.Loop() {
		h := makeRegion(b, 1)[0]
		base := newBaseline(b, h.dir)
		h.open(b)
		h.start(b)
		first = append(first, importFile(b, command, h, file, importAttributes, 0))
		again = append(again, importFile(b, command, h, file, 0, importAttributes))
		base.sample(b)
		h.stop(b)
		h = makeRegion(b, 1)[0]
		h.open(b)
		h.start(b)
		shared = append(shared, importFile(b, command, h, file, importAttributes, 0, "--share"))
		h.stop(b)
		b.Logf("taken %.0f/s, again %.0f/s, shared %.0f/s; sync %.2f ms, hashing 8 MiB %.1f ms", first[len(first)-1], again[len(again)-1],
			shared[len(shared)-1], milliseconds(base.disk[0]), milliseconds(base.work[0]))
	}
	b.ReportMetric(median(first), "taken/s")
	b.ReportMetric(median(again), "known/s")
	b.ReportMetric(median(shared), "shared/s")
	b.ReportMetric(0, "ns/op")
}

// buildCommand builds the command as it is shipped.
func buildCommand(b *testing.B) string {
	b.Helper()
	out := filepath.Join(b.TempDir(), "watchward")
	build := exec.Command("go", "build", "-o", out, "github.com/watchward/watchward/cmd/watchward")
	if text, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build the command: %v\n%s", err, text)
	}
	return out
}

// mispEvent is an event like those of public feeds: half domains, the rest
// addresses, URLs and hashes.
func mispEvent(n int) []byte {
	var out bytes.Buffer
	out.WriteString(`{"Event": {"uuid": "5be1e65d-8198-497b-bdf5-5ec20a016219", "info": "Generated", "timestamp": "1764000000", "Orgc": {"name": "Bench"}, "Tag": [{"name": "tlp:green"}], "Attribute": [`)
	for i := range n {
		kind, value := "domain", fmt.Sprintf("host-%d.evil.example", i)
		switch i % 6 {
		case 1:
			kind, value = "ip-dst", fmt.Sprintf("198.%d.%d.%d", 20+i>>16, i>>8&255, i&255)
		case 3:
			kind, value = "url", fmt.Sprintf("http://host-%d.evil.example/gate.php?id=%d", i, i)
		case 5:
			kind, value = "sha256", fmt.Sprintf("%064x", i)
		}
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, `{"id": "%d", "uuid": "5be1e65d-8198-497b-bdf5-%012x", "type": %q, "category": "Network activity", "to_ids": true, "distribution": "5", "timestamp": "1764000000", "comment": "", "value": %q}`, i, i, kind, value)
	}
	out.WriteString("]}}")
	return out.Bytes()
}

// importFile runs the command and returns values a second.
func importFile(b *testing.B, command string, h *hospital, file string, taken, known int, flags ...string) float64 {
	b.Helper()
	run := exec.Command(command, append([]string{"import", file, "--json", "--dir", h.dir}, flags...)...)
	start := time.Now()
	out, err := run.Output()
	passed := time.Since(start)
	var got struct {
		Taken, Known int
		Refused      []json.RawMessage
	}
	if err != nil || json.Unmarshal(out, &got) != nil || got.Taken != taken || got.Known != known || len(got.Refused) > 0 {
		b.Fatalf("import: %v: %.500s", err, out)
	}
	return float64(taken+known) / passed.Seconds()
}
