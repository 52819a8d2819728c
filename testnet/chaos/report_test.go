package chaos_test

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/testnet/chaos"
)

// trial is a result made by hand: three hospitals, one fault, one word lost.
var trial = chaos.Result{
	Hospitals: 3, Regions: 1, RegionOf: []int{0, 0, 0}, Seed: 7, Began: "2026-01-31T12:00:00Z", DurationMS: 60_000, Networks: true, Refused: 1,
	Words: []chaos.Word{
		{AtMS: 1000, From: 0, Arrived: []int64{1000, 1010, 1020}},
		{AtMS: 22_000, From: 1, Arrived: []int64{34_500, 22_000, 22_030}},
		{AtMS: 50_000, From: 2, Arrived: []int64{50_040, -1, 50_000}},
	},
	Faults:  []chaos.Broken{{FromMS: 20_000, ToMS: 30_000, Text: "cut off: <Hospital> 1", Nodes: []int{0}}},
	Verdict: "I1: lost",
}

func TestSummarize(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	split := trial // the third hospital is of another region, and the last word GREEN
	split.Regions, split.RegionOf, split.Words = 2, []int{0, 0, 1}, slices.Clone(trial.Words)
	split.Words[2].Green = true
	for _, c := range []struct {
		result chaos.Result
		want   chaos.Summary
	}{
		{trial, chaos.Summary{Own: chaos.Deliveries{Delivered: 5, Missing: 1, P50: ms(30), P99: ms(40)}}},
		{split, chaos.Summary{
			Own:    chaos.Deliveries{Delivered: 2, P50: ms(10), P99: ms(10)}, // 10 and 12,500 ms: the lower one
			Across: chaos.Deliveries{Delivered: 1, Missing: 1, P50: ms(40), P99: ms(40)},
			Stray:  2, // AMBER words at the third
		}},
	} {
		if got := chaos.Summarize(c.result); !reflect.DeepEqual(got, c.want) {
			t.Errorf("got %+v, want %+v", got, c.want)
		}
	}
}

// The page is whole, says what was measured, and asks nobody for anything.
func TestReport(t *testing.T) {
	kept, page := filepath.Join(t.TempDir(), "trial.json"), filepath.Join(t.TempDir(), "page.html")
	if err := chaos.Report(kept, page); err == nil || !strings.Contains(err.Error(), "run go run ./testnet chaos first") {
		t.Fatalf("a report about nothing: %v", err)
	}
	if err := errors.Join(chaos.Save(kept, trial), chaos.Report(kept, page)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	html := string(text)
	for _, want := range []string{
		"3 hospitals, 1.0 minutes, 1 faults", `<td class="n">5</td><td class="n">1</td><td class="n">30 ms</td>`,
		"✗ 1 deliveries are missing", "I1: lost",
		"in the author&#39;s region: 3 deliveries", "said while something was broken: 2 deliveries", // of the word that was said meanwhile
		"cut off: &lt;Hospital&gt; 1", ">4.5 s<", // caught up 4.5 s after the end
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, never := range []string{"http:", "https:", "src=", "<script", "@import", "<Hospital>"} {
		if strings.Contains(html, never) {
			t.Errorf("the page has %q", never)
		}
	}
	d := xml.NewDecoder(strings.NewReader(html))
	d.Strict, d.AutoClose, d.Entity = false, []string{"meta"}, xml.HTMLEntity
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the page is broken: %v", err)
		}
	}
}

// A page about several regions says what crossed and what must not.
func TestReportOfRegions(t *testing.T) {
	dir := t.TempDir()
	kept, page := filepath.Join(dir, "trial.json"), filepath.Join(dir, "page.html")
	whole := trial
	whole.Verdict, whole.Regions, whole.RegionOf, whole.Words = "every invariant holds", 2, []int{0, 0, 1}, []chaos.Word{
		{AtMS: 1000, From: 0, Green: true, Arrived: []int64{1000, 1010, 1020}},
		{AtMS: 2000, From: 0, Arrived: []int64{2000, 2010, -1}},
	}
	if err := errors.Join(chaos.Save(kept, whole), chaos.Report(kept, page)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"3 hospitals in 2 regions", "✓ Nothing was lost",
		`GREEN, to other regions</th><td class="n">1</td><td class="n">0</td><td class="n">20 ms</td>`,
		`AMBER, in other regions</th><td class="n">0</td>`, "to another region: 1 deliveries",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	old := trial
	old.RegionOf = nil
	if err := chaos.Save(kept, old); err != nil {
		t.Fatal(err)
	}
	if err := chaos.Report(kept, page); err == nil || !strings.Contains(err.Error(), "run go run ./testnet chaos again") {
		t.Errorf("a result without regions: %v", err)
	}
}
