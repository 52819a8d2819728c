package node_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/history"
	"github.com/watchward/watchward/node/notice"
)

// remembers feeds the history of a node as its logs would.
func (h *hospital) remembers(t testing.TB, value string, count uint32, ago time.Duration) {
	t.Helper()
	i, err := notice.Detect(value, notice.Options{AllowSpecial: true})
	if err != nil {
		t.Fatal(err)
	}
	seen := history.Seen{Indicator: i, Time: h.clock.Now().Add(-ago).UnixMilli(), Count: count}
	if err := h.History().Add([]history.Seen{seen}); err != nil {
		t.Fatal(err)
	}
}

// What becomes known and was in one's own logs before alerts once, also when the
// node stopped before it looked; what is harmless, a drill or one's own does not. A
// supplier in other people's hands does.
func TestSeenHere(t *testing.T) {
	b := newBench(t)
	b.clock.stop()
	config := filepath.Join(b.dir, "config.toml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	b.stop(t)
	if err := os.WriteFile(config, bytes.Replace(text, []byte("#suppliers = []"), []byte(`suppliers = ["vendor.example"]`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	list(t, filepath.Join(b.dir, "lists"), "popular.json", popular)
	addSettings(t, b.dir, "[warninglists]\ndir = \"lists\"\n")
	b.open(t)
	b.remembers(t, "www.evil.example", 40, 19*24*time.Hour)
	b.remembers(t, "evil.example", 1, 24*time.Hour)
	for _, v := range []string{"drill.example", "ours.example", "vendor.example", "popular.example", "198.51.100.7"} {
		b.remembers(t, v, 1, time.Hour)
	}
	if err := b.History().Flush(); err != nil {
		t.Fatal(err)
	}
	id, e := b.told(t, b.author, crypto.Header{}, nil, b.sighting(t, "evil.example"))
	_, e = b.told(t, b.author, crypto.Header{}, e, b.sighting(t, "vendor.example"))
	_, e = b.told(t, b.author, crypto.Header{}, e, b.sighting(t, "popular.example"))
	_, e = b.told(t, b.author, crypto.Header{}, e, b.sighting(t, "never.example"))
	_, e = b.told(t, b.author, crypto.Header{Exercise: true}, e, b.sighting(t, "drill.example"))
	b.submit(t, api.SubmitOptions{Local: true}, sighting("ours.example", b.clock.now()))
	b.stop(t) // before anybody looked
	b.open(t)
	b.Remind()
	b.told(t, b.author, crypto.Header{}, e, b.sighting(t, "198.51.100.7"))
	eventually(t, "the alerts", func() bool { return len(b.alerts(t, "seen-here")) >= 3 })
	alerts := b.alerts(t, "seen-here")
	slices.SortFunc(alerts, func(a, b api.AlertView) int { return strings.Compare(a.Text, b.Text) })
	want := "evil.example was seen here before it was known: first 19 days ago, 41 times, last yesterday. author has seen it. Look for what asked for it in your logs of those days."
	if a := alerts[1]; a.Text != want || a.TLP != "AMBER" || a.Severity != "warning" || !slices.Equal(a.Refs, []string{id.String()}) {
		t.Errorf("%+v\nwant %s", a, want)
	}
	if a := alerts[2]; !strings.HasPrefix(a.Text, "vendor.example was seen here before it was known: today, once.") {
		t.Errorf("%+v", a)
	}
	if a := alerts[0]; !strings.HasPrefix(a.Text, "198.51.100.7 was seen here before it was known: today, once.") {
		t.Errorf("%+v", a)
	}

	// Another says the same, and somebody a value that was seen later only.
	_, o := b.told(t, b.other, crypto.Header{}, nil, b.sighting(t, "evil.example"))
	_, o = b.told(t, b.other, crypto.Header{}, o, b.sighting(t, "later.example"))
	b.clock.advance(time.Minute)
	b.remembers(t, "later.example", 1, 0)
	b.remembers(t, "last.example", 1, time.Hour)
	_, o = b.told(t, b.other, crypto.Header{}, o, b.sighting(t, "slow.example"))
	b.told(t, b.other, crypto.Header{}, o, b.sighting(t, "last.example"))
	eventually(t, "the last alert", func() bool {
		return slices.ContainsFunc(b.alerts(t, "seen-here"), func(a api.AlertView) bool { return strings.HasPrefix(a.Text, "last.example") })
	})
	b.remembers(t, "slow.example", 1, time.Hour) // its log was read a moment later
	eventually(t, "the alert at the second look", func() bool {
		return slices.ContainsFunc(b.alerts(t, "seen-here"), func(a api.AlertView) bool { return strings.HasPrefix(a.Text, "slow.example") })
	})
	if all := b.alerts(t, "seen-here"); len(all) != 5 {
		t.Errorf("%d alerts: %+v", len(all), all)
	}
}

// However much is imported at once, people are told of some and how many there are.
func TestSeenHereIsBounded(t *testing.T) {
	b := newBench(t)
	b.clock.stop() // an hour has its own bound
	var seen []history.Seen
	var words []api.Submission
	for i := range 1200 {
		v := notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("n%d.example", i)}
		seen = append(seen, history.Seen{Indicator: v, Time: b.clock.now() - day, Count: 2})
		words = append(words, api.Submission{Kind: "indicator", Type: "domain", Value: v.Value, Origin: &api.Origin{Source: "list"}})
	}
	if err := b.History().Add(seen); err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(words, 400) {
		b.submit(t, api.SubmitOptions{Local: true}, part...)
	}
	b.Remind()
	eventually(t, "the alert of a thousand more", func() bool {
		return slices.ContainsFunc(b.alerts(t, "seen-here"), func(a api.AlertView) bool { return strings.Contains(a.Text, "there are 1,000 more or above") })
	})
	if all := b.alerts(t, "seen-here"); len(all) != 50+4 {
		t.Errorf("%d alerts", len(all))
	}
}

func TestHunt(t *testing.T) {
	b := newBench(t)
	b.remembers(t, "www.evil.example", 3, time.Hour)
	b.remembers(t, "44d88612fea8a8f36de82e1278abb02f", 1, time.Hour)
	got, err := b.Hunt(t.Context(), []string{"evil[.]example", "hxxps://evil.example/x", "other.example", "44D88612FEA8A8F36DE82E1278ABB02F", "198.51.0.0/16", "what is this?"}, true)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, a := range got.Answers {
		line := fmt.Sprint(a.Value, " ", a.Type, " ", a.Seen, " ", a.Count)
		if a.Matched != nil {
			line += " by " + a.Matched.Value
		}
		if a.Reason != "" {
			line += " ?"
		}
		lines = append(lines, line)
	}
	want := []string{
		"evil[.]example domain true 3",
		"hxxps://evil.example/x url true 3 by evil.example",
		"other.example domain false 0",
		"44D88612FEA8A8F36DE82E1278ABB02F md5 true 1",
		"198.51.0.0/16 cidr false 0 ?",
		"what is this?  false 0 ?",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("%q\nwant %q", lines, want)
	}
}
