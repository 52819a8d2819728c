package bench_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/watchward/watchward/testnet/bench"
)

// Each figure names a benchmark that is here, and units that it reports.
func TestFiguresAreMeasured(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text += string(raw)
	}
	for _, f := range bench.Figures {
		for _, want := range []string{"func Benchmark" + f.Benchmark + "(b *testing.B)", `"` + f.Metric + `")`, `"` + f.Base + `")`} {
			if want != `"")` && !strings.Contains(text, want) {
				t.Errorf("%s %s: no benchmark has %s", f.Benchmark, f.Name, want)
			}
		}
	}
	for _, name := range strings.Split(text, "\nfunc Benchmark")[1:] {
		name, _, _ = strings.Cut(name, "(")
		found := false
		for _, f := range bench.Figures {
			found = found || f.Benchmark == name
		}
		if !found {
			t.Errorf("Benchmark%s is in no figure", name)
		}
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	bench.Table(&out, map[string]map[string]float64{
		"Admission":     {"sightings/s": 64_703, "raw-sightings/s": 100_000, "of-raw": 0.4},
		"PartitionSync": {"of-payload": 1.05},
		"EqualRound":    {},
	})
	for _, want := range []string{
		"≥ 15,000 /s | 64,703 /s | raw Badger, same keys and values 100,000 /s | 0.647 | met",
		"≥ 0.5 × | 0.4 × | | | **missed**",
		"≤ 1.05 × | 1.05 × | | | met",
		"≤ 1,000 B | not measured",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "STIX") {
		t.Error("a benchmark that did not run is in the table")
	}
}

func TestKeepReplacesTheTableOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "RESULTS.md")
	marks := "before\n<!-- made by go run ./testnet bench -->\nold\n<!-- end -->\nafter\n"
	if err := os.WriteFile(path, []byte(marks), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := bench.Keep(path, "new\n"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != strings.Replace(marks, "old", "new", 1) {
		t.Errorf("%q %v", got, err)
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := bench.Keep(path, "new"); err == nil || !strings.Contains(err.Error(), "no place for the table") {
		t.Error(err)
	}
}
