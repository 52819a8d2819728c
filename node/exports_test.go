package node_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// exported are the notices of an export, in words.
func (h *hospital) exported(t *testing.T, q api.ExportQuery) (out []string) {
	t.Helper()
	_, err := h.Export(t.Context(), q, func(s intel.Stated) error {
		said := s.Notice.Kind.String() + " "
		if s.Notice.Indicator != nil {
			said += s.Notice.Indicator.Value
		}
		if s.Retracted {
			said += " retracted"
		}
		if s.RefKind != 0 {
			said += "of a " + s.RefKind.String()
		}
		if s.AuthorName == "" {
			t.Errorf("%s has no author", said)
		}
		out = append(out, strings.TrimSpace(said))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func (h *hospital) exports(t *testing.T, q api.ExportQuery, want ...string) {
	t.Helper()
	if got := h.exported(t, q); !slices.Equal(got, want) {
		t.Errorf("%+v exports %q, want %q", q, got, want)
	}
}

func TestExport(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	at := b.clock.now()
	b.submit(t, api.SubmitOptions{Local: true, TLP: notice.TLPRed}, sighting("red.example", at))
	b.submit(t, local, sighting("unmarked.example", at))
	b.submit(t, amber, sighting("amber.example", at))
	old := b.submit(t, green, sighting("old.example", at))
	strict := sighting("origin.example", at)
	strict.Origin = &api.Origin{Source: "x", ID: "1", TLP: "AMBER"}
	b.submit(t, amber, strict)
	eventually(t, "all is signed", func() bool {
		s, err := b.Status(t.Context(), 0)
		return err == nil && s.Waiting == 0
	})
	b.clock.advance(3 * time.Hour)
	later := b.clock.now()
	b.submit(t, green, api.Submission{Kind: "indicator", Value: "198.51.100.7"}, api.Submission{Kind: "dispute", Ref: old[0].ID})
	gone := b.submit(t, green, api.Submission{Kind: "indicator", Value: "gone.example"})

	g := api.ExportQuery{Ceiling: notice.TLPGreen}
	b.exports(t, api.ExportQuery{Ceiling: notice.TLPClear})
	b.exports(t, g, "dispute of a sighting", "indicator 198.51.100.7", "indicator gone.example", "sighting old.example")
	b.exports(t, api.ExportQuery{Ceiling: notice.TLPAmber, Kind: notice.KindSighting}, "sighting amber.example", "sighting old.example", "sighting origin.example")
	b.exports(t, api.ExportQuery{Ceiling: notice.TLPGreen, Unmarked: true, Kind: notice.KindSighting, Mine: true}, "sighting old.example", "sighting unmarked.example")
	b.exports(t, api.ExportQuery{Ceiling: notice.TLPGreen, Since: later}, "dispute of a sighting", "indicator 198.51.100.7", "indicator gone.example")

	// What was taken back says so, also where it came before what is asked for.
	b.submit(t, green, api.Submission{Kind: "retraction", Ref: old[0].ID}, api.Submission{Kind: "retraction", Ref: gone[0].ID})
	b.exports(t, g, "dispute of a sighting", "indicator 198.51.100.7", "indicator gone.example retracted", "sighting old.example retracted")
	b.exports(t, api.ExportQuery{Ceiling: notice.TLPGreen, Since: later}, "dispute of a sighting", "indicator 198.51.100.7", "indicator gone.example retracted", "sighting old.example retracted")
	b.exports(t, api.ExportQuery{Ceiling: notice.TLPGreen, Since: later, Kind: notice.KindSighting}, "sighting old.example retracted")
	b.exports(t, api.ExportQuery{Ceiling: notice.TLPClear, Since: later})
}

// TestExportPages exports more than a page, while more comes.
func TestExportPages(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	const count = 2500
	items := make([]api.Submission, count)
	for i := range items {
		items[i] = sighting(fmt.Sprintf("n%d.example", i), b.clock.now())
	}
	b.submit(t, local, items...)
	got := 0
	_, err := b.Export(t.Context(), api.ExportQuery{Unmarked: true, Ceiling: notice.TLPGreen}, func(s intel.Stated) error {
		if got++; got == 10 {
			b.submit(t, local, sighting("meanwhile.example", b.clock.now()))
		}
		return nil
	})
	if err != nil || got != count {
		t.Errorf("%d of %d, error %v", got, count, err)
	}
}

// TestExportCounts: what is left out is counted, as far as the caller may see it.
func TestExportCounts(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	at := b.clock.now()
	b.submit(t, api.SubmitOptions{Local: true, TLP: notice.TLPRed}, sighting("red.example", at))
	b.submit(t, local, sighting("unmarked.example", at))
	b.submit(t, api.SubmitOptions{Local: true, TLP: notice.TLPAmber}, sighting("amber.example", at))
	b.submit(t, api.SubmitOptions{Local: true, TLP: notice.TLPGreen}, sighting("green.example", at))
	for sees, want := range map[notice.TLP]api.ExportCount{
		notice.TLPGreen:       {Notices: 1, Local: 1},
		notice.TLPAmber:       {Notices: 1, Local: 1, Stricter: 1},
		notice.TLPAmberStrict: {Notices: 1, Local: 1, Stricter: 1, Unmarked: 1},
		notice.TLPRed:         {Notices: 1, Local: 1, Stricter: 1, Unmarked: 1, Never: 1},
	} {
		got, err := b.Export(t.Context(), api.ExportQuery{Ceiling: notice.TLPGreen, Sees: sees}, func(intel.Stated) error { return nil })
		if err != nil || got != want {
			t.Errorf("who sees %s: %+v, %v; want %+v", sees, got, err, want)
		}
	}
}

// TestWithdraw takes back what came from a source that took it back, and
// nothing else.
func TestWithdraw(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	from := func(id string) *api.Origin { return &api.Origin{Source: "stix:A", ID: id} }
	said := func(value, id string) api.Submission {
		return api.Submission{Kind: "indicator", Value: value, Origin: from(id)}
	}
	b.submit(t, local, said("a.example", "indicator--1"), said("a.example", "indicator--2"), said("b.example", "indicator--1"), api.Submission{Kind: "indicator", Value: "c.example"})
	shared := b.submit(t, green, said("d.example", "indicator--1"))
	back := func(value, id string, o api.SubmitOptions) api.SubmitResult {
		t.Helper()
		r, err := b.Submit(t.Context(), []api.Submission{{Index: 7, Kind: "retraction", Value: value, Origin: from(id)}}, o)
		if err != nil || len(r.Refused) > 0 {
			t.Fatalf("%+v, error %v", r, err)
		}
		return r
	}
	reports := func(value string, want int) {
		t.Helper()
		got := 0
		if s := b.lookup(t, value, 0).Summary; s != nil {
			got = s.Reports
		}
		if got != want {
			t.Errorf("%s has %d reports, want %d", value, got, want)
		}
	}
	dry := local
	dry.DryRun = true
	if r := back("a.example", "indicator--1", dry); len(r.Notices) != 1 {
		t.Errorf("a dry run says %+v", r)
	}
	reports("a.example", 2)
	if r := back("a.example", "indicator--1", local); len(r.Notices) != 1 || r.Notices[0].Kind != "retraction" || len(r.Absent) != 0 {
		t.Errorf("%+v", r)
	}
	reports("a.example", 1)
	reports("b.example", 1)
	for _, id := range []string{"indicator--1", "indicator--99"} { // again, and never known
		if r := back("a.example", id, local); len(r.Notices) != 0 || !slices.Equal(r.Absent, []int{7}) {
			t.Errorf("%+v", r)
		}
	}
	if r := back("nobody.example", "indicator--1", local); !slices.Equal(r.Absent, []int{7}) {
		t.Errorf("%+v", r)
	}
	// Whoever may not see it cannot take it back; what was shared is taken back
	// from everybody.
	if r := back("b.example", "indicator--1", api.SubmitOptions{Local: true, Ceiling: notice.TLPGreen}); len(r.Notices) != 0 {
		t.Errorf("%+v", r)
	}
	reports("b.example", 1)
	if r := back("d.example", "indicator--1", local); len(r.Notices) != 1 || r.Notices[0].Audience != shared[0].Audience || r.Notices[0].TLP != "GREEN" {
		t.Errorf("%+v", r)
	}
	b.refuses(t, local, api.Submission{Kind: "retraction", Value: "c.example"})
	b.refuses(t, local, api.Submission{Kind: "retraction", Value: "not a value", Origin: from("x")})
}
