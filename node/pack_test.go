package node_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// TestReportKeepsToItsMarking: what is stricter than a report is marked is neither in it
// nor among its sources, in any format.
func TestReportKeepsToItsMarking(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	for tlp, text := range map[notice.TLP]string{notice.TLPGreen: "green-word", notice.TLPAmber: "amber-word", notice.TLPRed: "red-word"} {
		o := api.SubmitOptions{TLP: tlp, Local: tlp == notice.TLPRed}
		b.submit(t, o, api.Submission{Kind: "service", Parts: api.Parts{Service: &api.Service{Department: text, State: "diverted"}}}, sighting(text+".example", b.clock.now()))
	}
	seen := func(r api.Report) (n int) {
		for _, count := range r.Hourly {
			n += count
		}
		return n
	}
	eventually(t, "all is in the picture", func() bool {
		r, err := b.Report(t.Context(), 0, notice.TLPRed)
		return err == nil && len(r.Services) == 3 && seen(r) == 3 && !r.Reading
	})
	for ceiling, want := range map[notice.TLP]int{notice.TLPClear: 0, notice.TLPGreen: 1, notice.TLPAmber: 2, notice.TLPRed: 3} {
		r, err := b.Report(t.Context(), 0, ceiling)
		if err != nil {
			t.Fatal(err)
		}
		if r.TLP != ceiling.String() || r.Sources.Notices != want || seen(r) != want {
			t.Errorf("TLP:%s is marked %s, from %d notices and %d sightings, want %d", ceiling, r.TLP, r.Sources.Notices, seen(r), want)
		}
		for _, format := range []string{api.ReportHTML, api.ReportMarkdown} {
			page, err := b.PrintReport(&r, format, "de")
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(string(page), "-word"); got != want || !strings.Contains(string(page), "TLP:"+ceiling.String()) {
				t.Errorf("TLP:%s as %s has %d words, want %d", ceiling, format, got, want)
			}
		}
	}
}

// TestPackIsMadeAnew when it is missing or too old, and not before; that it fails is an
// alert, once a day, in the node's language, and the pack before stays.
func TestPackIsMadeAnew(t *testing.T) {
	b := benchAt(t, t.TempDir(), &clock{})
	config := filepath.Join(b.dir, "config.toml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, append([]byte("language = \"de\"\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	b.open(t)
	dir := filepath.Join(b.dir, "pack")
	page := filepath.Join(dir, "watchward-pack.html")
	look := func() string {
		t.Helper()
		b.LookAtPack(b.clock.Now())
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	first := look()
	if !strings.Contains(first, "Notfallmappe: here") || !strings.Contains(first, "TLP:AMBER") {
		t.Fatalf("the pack: %.2000s", first)
	}
	aged := func(age time.Duration) {
		t.Helper()
		if err := os.Chtimes(page, time.Time{}, b.clock.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	b.clock.advance(time.Hour)
	aged(7*24*time.Hour - time.Minute)
	if look() != first {
		t.Error("a pack of less than a week was made anew")
	}
	aged(7 * 24 * time.Hour)
	second := look()
	if second == first {
		t.Error("a pack of a week was not made anew")
	}
	aged(-time.Hour) // the clock was set back
	b.clock.advance(time.Minute)
	if third := look(); third == second {
		t.Error("a pack of the future was not made anew")
	} else {
		second = third
	}

	aged(8 * 24 * time.Hour)
	playbooks := filepath.Join(dir, ".watchward-pack.new")
	if err := os.Mkdir(playbooks, 0o700); err != nil { // nothing can be written beside
		t.Fatal(err)
	}
	if look() != second {
		t.Error("the pack before is not whole")
	}
	look()
	alerts, _, err := b.Alerts(t.Context(), api.AlertQuery{Limit: 10, Ceiling: notice.TLPRed})
	if err != nil || len(alerts) != 1 || alerts[0].Kind != "pack" || !strings.Contains(alerts[0].Text, dir) ||
		!strings.Contains(alerts[0].Text, "nicht nach") || !strings.Contains(alerts[0].Text, "ist noch da, vollständig") {
		t.Errorf("alerts %+v, %v", alerts, err)
	}
	if _, err := b.MakePack(t.Context()); err == nil || !strings.Contains(err.Error(), "[pack] dir") {
		t.Errorf("on demand: %v", err)
	}
	if err := os.Remove(playbooks); err != nil {
		t.Fatal(err)
	}
	if a, err := b.MakePack(t.Context()); err != nil || a.Dir != dir {
		t.Errorf("on demand, after that: %+v, %v", a, err)
	}
}

// TestPackTrouble says what to do for each thing that is wrong with a place.
func TestPackTrouble(t *testing.T) {
	b := newBench(t)
	for err, want := range map[error]string{
		fs.ErrPermission: "this user may not write there: give it the right", fs.ErrNotExist: "there is no such place: make it or plug it in",
		&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}: "the disk is full: make room there", syscall.EROFS: "it can only be read there, not written", fs.ErrClosed: "file already closed: look at that place",
	} {
		got := b.PackTrouble(err)
		if !strings.Contains(got, want) || !strings.Contains(got, filepath.Join(b.dir, "pack")) || !strings.Contains(got, "There is no older pack there.") {
			t.Errorf("%v: %s", err, got)
		}
	}
}
