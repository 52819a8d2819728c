package node_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
)

func (h *hospital) drill(t testing.TB, life time.Duration) api.ExerciseView {
	t.Helper()
	v, err := h.StartExercise(t.Context(), "Übung", life, "test")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// drills reports whether what a hospital says is marked now.
func (h *hospital) drills(t testing.TB) bool {
	t.Helper()
	result, err := h.Submit(t.Context(), []api.Submission{sighting("probe.example", h.clock.now())}, api.SubmitOptions{TLP: notice.TLPAmber, DryRun: true})
	if err != nil || len(result.Notices) != 1 {
		t.Fatalf("%+v, %v", result, err)
	}
	return result.Notices[0].Exercise
}

// While an exercise runs each word is marked, but for what is real whatever runs. Real
// words are those about real notices, and what has an origin.
func TestExerciseMarks(t *testing.T) {
	b := newBench(t)
	mine := b.submit(t, amber, sighting("mine.example", b.clock.now()))[0]
	theirs, last := b.told(t, b.author, crypto.Header{TLP: uint8(notice.TLPAmber)}, nil, b.question(t, 1, "theirs.example"))
	drilled, _ := b.told(t, b.author, crypto.Header{TLP: uint8(notice.TLPAmber), Exercise: true}, last, b.question(t, 2, "drilled.example"))
	answer := func(ref string) api.Submission {
		return api.Submission{Kind: "response", Ref: ref, Parts: api.Parts{Response: &api.Response{Answer: "not-seen"}}}
	}
	state := func(o api.SubmitOptions, s api.Submission) (bool, []string) {
		t.Helper()
		result, err := b.Submit(t.Context(), []api.Submission{s}, o)
		if err != nil || len(result.Notices) != 1 || result.Notices[0].Known {
			t.Fatalf("%+v: %+v, %v", s, result, err)
		}
		v, found := b.notice(t, result.Notices[0].ID)
		if !found || v.Exercise != result.Notices[0].Exercise {
			t.Errorf("%+v is shown as %+v and kept as %+v", s, result.Notices[0], v)
		}
		return v.Exercise, result.Notes
	}
	imported := sighting("imported.example", b.clock.now())
	imported.Origin = &api.Origin{Source: "misp", ID: "1"}
	scenario := sighting("scenario.example", b.clock.now())
	scenario.Origin = &api.Origin{Source: "inject.csv", ID: "2"}
	logged := sighting("logged.example", b.clock.now())
	logged.Origin = &api.Origin{Source: "logs"}
	yes, no := amber, amber
	yes.Exercise, no.Exercise = api.ExerciseYes, api.ExerciseNo

	if exercise, notes := state(amber, answer(drilled.String())); !exercise || len(notes) != 1 {
		t.Errorf("who holds none answers a drill's question: marked %v, told %q", exercise, notes)
	}
	if refused := b.refuses(t, yes, scenario); refused.Field != "query.exercise" || refused.Fix == "" {
		t.Errorf("part of what does not run: %+v", refused)
	}
	b.drill(t, time.Hour)
	for _, c := range []struct {
		what string
		o    api.SubmitOptions
		s    api.Submission
		want bool
		note string
	}{
		{"a sighting", amber, sighting("drill.example", b.clock.now()), true, "this is marked EXERCISE"},
		{"one that stays here", api.SubmitOptions{Local: true}, sighting("local.example", b.clock.now()), true, "marked EXERCISE"},
		{"the same as was said for real", amber, sighting("mine.example", b.clock.now()), true, "marked EXERCISE"},
		{"one that is real", no, sighting("real.example", b.clock.now()), false, "this is real, without the mark: sighting"},
		{"a question", amber, api.Submission{Kind: "question", Value: "asked.example"}, true, "marked EXERCISE"},
		{"a department", amber, api.Submission{Kind: "service", Parts: api.Parts{Service: &api.Service{Department: "ER", State: "closed"}}}, true, "marked EXERCISE"},
		{"help", amber, api.Submission{Kind: "assistance", Parts: api.Parts{Assistance: &api.Assistance{Act: "request", What: "beds"}}}, true, "marked EXERCISE"},
		{"a link", amber, api.Submission{Kind: "link", Parts: api.Parts{Link: &api.Link{Supplier: "LIS", Link: "VPN", State: "cut"}}}, true, "marked EXERCISE"},
		{"an advisory", amber, api.Submission{Kind: "advisory", Parts: api.Parts{Advisory: &api.Advisory{Type: "hunt", Title: "Look"}}}, true, "marked EXERCISE"},
		{"a dispute of a value", amber, api.Submission{Kind: "dispute", Value: "drill.example"}, true, "marked EXERCISE"},
		{"a profile", amber, api.Submission{Kind: "profile", Parts: api.Parts{Profile: &api.Profile{Name: "here", Contact: []string{"1"}}}}, false, "real, without the mark: profile"},
		{"a mayday", amber, api.Submission{Kind: "mayday", Parts: api.Parts{Mayday: &api.Mayday{Text: "fire"}}}, false, "this one is REAL"},
		{"a mayday that is called part of it", yes, api.Submission{Kind: "mayday", Parts: api.Parts{Mayday: &api.Mayday{Text: "smoke"}}}, false, "this one is REAL"},
		{"an import", amber, imported, false, "real, without the mark: sighting"},
		{"an import for it", yes, scenario, true, "marked EXERCISE"},
		{"a hit of the logs", amber, logged, false, "real, without the mark: sighting"},
		{"an answer to a real question", amber, answer(theirs.String()), false, "real, without the mark: response"},
		{"a retraction of what is real", amber, api.Submission{Kind: "retraction", Ref: mine.ID}, false, "real, without the mark: retraction"},
		{"a dispute of what is real", amber, api.Submission{Kind: "dispute", Ref: theirs.String()}, false, "real, without the mark: dispute"},
	} {
		got, notes := state(c.o, c.s)
		if got != c.want || len(notes) != 1 || !strings.Contains(notes[0], c.note) {
			t.Errorf("%s: marked %v, told %q", c.what, got, notes)
		}
	}
	if _, err := b.StopExercise(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range []api.Submission{
		sighting("drill.example", b.clock.now()), // which was said in the drill alone
		{Kind: "service", Parts: api.Parts{Service: &api.Service{Department: "ER", State: "closed"}}},
	} {
		if exercise, notes := state(amber, s); exercise || notes != nil {
			t.Errorf("after it %+v: marked %v, told %q", s, exercise, notes)
		}
	}
}

// What hits say by themselves during a drill is real: an attack then is no drill.
func TestExerciseHidesNoHit(t *testing.T) {
	b := newBench(t)
	b.told(t, b.author, crypto.Header{TLP: uint8(notice.TLPAmber)}, nil, b.sighting(t, "evil.example"))
	b.drill(t, time.Hour)
	b.submit(t, amber, sighting("injected.example", b.clock.now()))
	logs := node.NewWatched(b.Node)
	for _, value := range []string{"evil.example", "injected.example"} {
		if err := logs.Line("proxy", value); err != nil {
			t.Fatal(err)
		}
	}
	hits := b.alerts(t, "hit")
	if len(hits) != 1 || !strings.Contains(hits[0].Text, "evil.example") || strings.Contains(hits[0].Text, "EXERCISE") {
		t.Errorf("hits: %+v", hits)
	}
}

// An exercise ends when its time is over by the clock, or when it has run that long
// although the clock was set back; and it outlives a restart.
func TestExerciseEnds(t *testing.T) {
	for name, c := range map[string]struct {
		pass func(t *testing.T, b *bench)
		runs bool
	}{
		"runs":                            {func(_ *testing.T, b *bench) { b.clock.advance(11 * time.Hour) }, true},
		"runs although set back":          {func(_ *testing.T, b *bench) { b.clock.advance(-3 * time.Hour) }, true},
		"by the clock":                    {func(_ *testing.T, b *bench) { b.clock.advance(12 * time.Hour) }, false},
		"although the clock was set back": {func(_ *testing.T, b *bench) { b.clock.advance(-48 * time.Hour); b.ExerciseRan(12 * time.Hour) }, false},
		"outlives a restart":              {func(t *testing.T, b *bench) { b.stop(t); b.clock.advance(time.Hour); b.open(t) }, true},
		"while the node was down":         {func(t *testing.T, b *bench) { b.stop(t); b.clock.advance(12 * time.Hour); b.open(t) }, false},
		"set back, and restarts go on": {func(t *testing.T, b *bench) {
			b.clock.advance(-48 * time.Hour)
			for range 2 {
				b.ExerciseRan(6 * time.Hour)
				if err := b.LookAtExercise(); err != nil {
					t.Fatal(err)
				}
				b.stop(t)
				b.open(t)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			begun := b.drill(t, api.ExerciseMax)
			b.submit(t, amber, sighting("drill.example", b.clock.now()))
			c.pass(t, b)
			if got := b.drills(t); got != c.runs {
				t.Fatalf("marked: %v", got)
			}
			if err := b.LookAtExercise(); err != nil {
				t.Fatal(err)
			}
			all, err := b.Exercises(t.Context())
			if err != nil || len(all) != 1 || all[0].Number != begun.Number || (all[0].Ended == 0) != c.runs || all[0].Itself == c.runs {
				t.Fatalf("%+v, %v", all, err)
			}
			if told := b.alerts(t, "exercise"); (len(told) == 1) == c.runs {
				t.Errorf("alerts: %+v", told)
			}
			came, found, err := b.Exercise(t.Context(), 0)
			if err != nil || !found || len(came.Said) != 1 || came.Said[0].Text != "domain drill.example" {
				t.Errorf("what came of it: %+v, %v, %v", came, found, err)
			}
			var field *notice.FieldError
			if _, err := b.StartExercise(t.Context(), "", time.Hour, "test"); (err == nil) == c.runs || err != nil && !errors.As(err, &field) {
				t.Errorf("another one: %v", err)
			}
		})
	}
}

func TestExerciseBadInput(t *testing.T) {
	b := newBench(t)
	var field *notice.FieldError
	for name, life := range map[string]time.Duration{"a\tb": time.Hour, "a\u202eb": time.Hour, "a\nb": time.Hour, strings.Repeat("é", 81): time.Hour,
		"": 0, "x": -time.Hour, "y": api.ExerciseMax + 1} {
		if _, err := b.StartExercise(t.Context(), name, life, "test"); !errors.As(err, &field) || field.Fix == "" {
			t.Errorf("%q for %s: %v", name, life, err)
		}
	}
	if _, err := b.StopExercise(t.Context()); !errors.As(err, &field) || field.Fix == "" || b.drills(t) {
		t.Errorf("stopped before it begins: %v", err)
	}
	if _, err := b.StartExercise(t.Context(), strings.Repeat("é", 80), time.Hour, "test"); err != nil {
		t.Error(err)
	}
}

// Others' drills are told: a coordinator's at once, all of them once in 12 h, and not more
// than a few a day. What concerns this house is told too, marked, and takes no place of
// what is real.
func TestOthersExercise(t *testing.T) {
	b := newBench(t)
	b.submit(t, amber, sighting("asked.example", b.clock.now()),
		api.Submission{Kind: "profile", Parts: api.Parts{Profile: &api.Profile{Name: "here", Contact: []string{"1"}, Suppliers: []string{"LIS"}}}})
	drill := crypto.Header{TLP: uint8(notice.TLPAmber), Exercise: true}
	real := crypto.Header{TLP: uint8(notice.TLPAmber)}
	link := func(salt byte) *notice.Notice {
		return b.word(notice.KindLink, salt, func(n *notice.Notice) {
			n.Link = &notice.Link{Supplier: "LIS", Link: "VPN", Direction: notice.DirectionBoth, State: notice.LinkCut, At: b.clock.now()}
		})
	}
	kinds := func() (out []string) {
		for _, a := range b.heeded(t) {
			text := a.Kind
			if strings.HasPrefix(a.Text, "EXERCISE: ") {
				text += " EXERCISE"
			}
			out = append(out, text)
		}
		slices.Sort(out)
		return out
	}
	_, last := b.told(t, b.author, drill, nil, b.word(notice.KindService, 1, func(n *notice.Notice) {
		n.Service = &notice.Service{Department: "ER", State: notice.ServiceClosed}
	}))
	_, last = b.told(t, b.author, drill, last, b.question(t, 2, "asked.example"))
	_, last = b.told(t, b.author, drill, last, link(3))
	want := []string{"exercise EXERCISE", "question EXERCISE", "supplier EXERCISE"}
	if got := kinds(); !slices.Equal(got, want) {
		t.Fatalf("alerts %q, want %q", got, want)
	}
	_, last = b.told(t, b.author, real, last, b.question(t, 4, "asked.example"))
	b.told(t, b.author, real, last, link(5))
	want = []string{"exercise EXERCISE", "question", "question EXERCISE", "supplier", "supplier EXERCISE"}
	if got := kinds(); !slices.Equal(got, want) {
		t.Errorf("after the real ones: %q, want %q", got, want)
	}
	b.told(t, b.other, drill, nil, b.sighting(t, "injected.example"))
	for _, a := range b.heeded(t) {
		if a.Kind == "exercise" && a.Severity != map[bool]string{true: "warning", false: "info"}[b.coordinates(t, a.Text)] {
			t.Errorf("%+v", a)
		}
	}
}

// coordinates says whether the one of whom a text is is a coordinator.
func (b *bench) coordinates(t testing.TB, text string) bool {
	t.Helper()
	return slices.ContainsFunc(b.region.Members, func(m *testkit.Member) bool {
		return strings.Contains(text, m.Credential.Name) && m.Credential.Role == trust.RoleCoordinator
	})
}

// Nothing of a drill is in a feed, an export, over TAXII or MISP, in a verdict, in what
// spreads or in the situation's counts: here, or at another member. What is real is in
// all of them.
func TestExerciseLeavesNowhere(t *testing.T) {
	r := makeRegion(t, 2)
	a, b := r.hospitals[0], r.hospitals[1]
	for _, h := range r.hospitals {
		text := fmt.Sprintf(`name = %q
[api]
listen = "127.0.0.1:0"
[mesh]
listen = ["/ip4/127.0.0.1/udp/0/quic-v1"]
[exchange]
taxii = true
misp = true
[block]
min_members = 1
[feeds]
[[feeds.list]]
name = "fw"
format = "plain"
types = ["domain"]
`, filepath.Base(h.dir))
		if err := os.WriteFile(filepath.Join(h.dir, node.ConfigFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		h.open(t)
	}
	for _, h := range r.hospitals {
		h.start(t, nil)
	}
	r.meet(t)
	b.submit(t, green, sighting("real-b.example", b.clock.now()))
	for i, h := range r.hospitals {
		h.drill(t, time.Hour)
		s := sighting(fmt.Sprintf("drill-%d.example", i), h.clock.now())
		s.Context = &api.Context{Family: "Drillbot"}
		h.submit(t, green, s, sighting("drill-both.example", h.clock.now()), sighting("real-b.example", h.clock.now()))
		h.submit(t, green, api.Submission{Kind: "service", Parts: api.Parts{Service: &api.Service{Department: "all", State: "closed"}}})
	}
	no := green
	no.Exercise = api.ExerciseNo
	a.submit(t, no, sighting("real-a.example", a.clock.now()), sighting("end.example", a.clock.now()))
	b.submit(t, no, sighting("end.example", b.clock.now()))
	for _, h := range r.hospitals {
		eventually(t, h.Name()+" has all", func() bool {
			return h.knows(t, "real-a.example") && h.knows(t, "real-b.example") && h.hears(t, "drill-0.example") && h.hears(t, "drill-1.example")
		})
		eventually(t, h.Name()+" has the others' end", func() bool { return h.lookup(t, "end.example", 0).Summary.Members == 2 })
		reader, secret := h.reader(t, notice.TLPAmber)
		ways := map[string]func() string{
			"feed":  func() string { _, body := h.feed(t, "fw"); return body },
			"taxii": func() string { return h.served(t, secret) },
			"misp":  func() string { return h.mispFeed(t, secret) },
		}
		for _, format := range []string{"stix", "misp", "csv"} {
			ways["export "+format] = func() string {
				var out strings.Builder
				if _, err := reader.Export(t.Context(), client.ExportQuery{Format: format, TLP: "AMBER"}, &out); err != nil {
					t.Fatal(err)
				}
				return out.String()
			}
		}
		for way, get := range ways {
			eventually(t, h.Name()+" hands out what is real by "+way, func() bool {
				all := get()
				return strings.Contains(all, "real-a.example") && strings.Contains(all, "real-b.example") && strings.Contains(all, "end.example")
			})
			if all := get(); strings.Contains(all, "drill-") || strings.Contains(all, "Drillbot") || strings.Contains(all, "xercise") {
				t.Errorf("%s hands out a drill by %s:\n%s", h.Name(), way, all)
			}
		}
		for _, value := range []string{"drill-0.example", "drill-1.example", "drill-both.example"} {
			i, err := notice.Detect(value, notice.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if v, err := h.Verdict(i, 0); err != nil || v.Level.String() != "none" {
				t.Errorf("%s is worth %+v at %s, %v", value, v, h.Name(), err)
			}
			if h.lookup(t, value, 0).Known {
				t.Errorf("%s knows %s", h.Name(), value)
			}
		}
		if s := h.lookup(t, "real-b.example", 0).Summary; s.Members != 1 || s.Sightings != 1 {
			t.Errorf("a drill counts beside what is real: %+v", s)
		}
		s, err := h.Situation(t.Context(), 0, 0)
		if err != nil || s.Counts.OK != 2 || s.Counts.DeclaredDown != 0 || s.Exercise == nil || s.Exercise.Services != 2 || s.Exercise.Members != 2 {
			t.Errorf("situation at %s: %+v, %+v, %v", h.Name(), s.Counts, s.Exercise, err)
		}
		if len(s.Spreading) != 1 || s.Spreading[0].Value != "end.example" {
			t.Errorf("what spreads: %+v", s.Spreading)
		}
	}
}
