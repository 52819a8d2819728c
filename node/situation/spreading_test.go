package situation_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/situation"
)

func TestSpreadingRule(t *testing.T) {
	qakbot := &notice.Context{Family: "Qakbot"}
	for name, c := range map[string]struct {
		facts []situation.Fact
		want  string // what spreads; "" = nothing
	}{
		"one hospital":   {[]situation.Fact{sighting(1, 1, ago(time.Hour), "evil.example", nil), sighting(2, 1, now, "evil.example", nil)}, ""},
		"two hospitals":  {[]situation.Fact{sighting(1, 1, ago(71*time.Hour), "evil.example", nil), sighting(2, 2, now, "evil.example", nil)}, "domain evil.example"},
		"too long ago":   {[]situation.Fact{sighting(1, 1, ago(72*time.Hour), "evil.example", nil), sighting(2, 2, now, "evil.example", nil)}, ""},
		"another value":  {[]situation.Fact{sighting(1, 1, now, "evil.example", nil), sighting(2, 2, now, "www.evil.example", nil)}, ""},
		"an import":      {[]situation.Fact{sighting(1, 1, now, "evil.example", nil), said(2, 2, now, &notice.Notice{Kind: notice.KindIndicator, Indicator: &notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"}})}, ""},
		"a family":       {[]situation.Fact{sighting(1, 1, now, "a.example", qakbot), sighting(2, 2, now, "b.example", &notice.Context{Family: "QAKBOT"})}, "QAKBOT"},
		"family or tool": {[]situation.Fact{sighting(1, 1, now, "a.example", qakbot), sighting(2, 2, now, "b.example", &notice.Context{Tool: "Qakbot"})}, "Qakbot"},
		"a drill":        {[]situation.Fact{sighting(1, 1, now, "evil.example", nil), exercise(sighting(2, 2, now, "evil.example", nil))}, ""},
		"an address":     {[]situation.Fact{sighting(1, 1, now, "203.0.113.7", nil), sighting(2, 2, now, "203.0.113.7", nil)}, "ipv4 203.0.113.7"},
		"by 2 machines":  {[]situation.Fact{counted(1, 1, now, "203.0.113.7"), counted(2, 2, now, "203.0.113.7")}, ""},
		"by 1 machine":   {[]situation.Fact{counted(1, 1, now, "203.0.113.7"), sighting(2, 2, now, "203.0.113.7", nil)}, ""},
		"by 3 machines":  {[]situation.Fact{counted(1, 1, now, "203.0.113.7"), counted(2, 2, now, "203.0.113.7"), counted(3, 3, now, "203.0.113.7")}, "ipv4 203.0.113.7"},
		"a scanner":      {[]situation.Fact{counted(1, 1, now, "162.142.125.9"), counted(2, 2, now, "162.142.125.9"), counted(3, 3, now, "162.142.125.9")}, ""},
		"scanner by hand": {[]situation.Fact{sighting(1, 1, now, "162.142.125.9", nil), sighting(2, 2, now, "162.142.125.9", nil)},
			"ipv4 162.142.125.9"},
		"the empty file": {[]situation.Fact{sighting(1, 1, now, "d41d8cd98f00b204e9800998ecf8427e", nil), sighting(2, 2, now, "d41d8cd98f00b204e9800998ecf8427e", nil)}, ""},
		"taken back":     {[]situation.Fact{sighting(1, 1, now, "evil.example", nil), sighting(2, 2, now, "evil.example", nil), retraction(3, 2, now, 2)}, ""},
		"taken back by another": {[]situation.Fact{sighting(1, 1, now, "evil.example", nil), sighting(2, 2, now, "evil.example", nil), retraction(3, 1, now, 2)},
			"domain evil.example"},
		"taken back, seen again": {[]situation.Fact{sighting(1, 1, now, "evil.example", nil), sighting(2, 2, now, "evil.example", nil), retraction(3, 2, now, 2), sighting(4, 2, now, "evil.example", nil)},
			"domain evil.example"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, s := range picture(c.facts...).View(ask(3)).Spreading {
				if s.Active {
					got += s.What.String()
				}
			}
			if got != c.want {
				t.Errorf("spreads: %q, want %q", got, c.want)
			}
		})
	}
}

func exercise(f situation.Fact) situation.Fact {
	f.Exercise = true
	return f
}

// TestSpreadingEnds: visibly, with time or since words were taken back.
func TestSpreadingEnds(t *testing.T) {
	p := picture(sighting(1, 1, ago(2*time.Hour), "evil.example", nil), sighting(2, 2, now, "evil.example", nil))
	at := func(d time.Duration) []situation.Spreading {
		a := ask(2)
		a.Now = now + d.Milliseconds()
		return p.View(a).Spreading
	}
	if s := at(0); len(s) != 1 || !s[0].Active || s[0].Started != now || len(s[0].Seen) != 2 || s[0].Seen[0].Member != who(1) || s[0].Seen[1].IDs[0] != item(2) {
		t.Fatalf("at first: %+v", s)
	}
	if s := at(71 * time.Hour); len(s) != 1 || s[0].Active || s[0].TakenBack || s[0].Ends != ago(2*time.Hour)+situation.Window.Milliseconds() {
		t.Errorf("after its window: %+v", s)
	}
	if s := at(95 * time.Hour); len(s) != 0 {
		t.Errorf("a day later: %+v", s)
	}
	p = picture(sighting(1, 1, ago(2*time.Hour), "evil.example", nil), sighting(2, 2, now, "evil.example", nil))
	p.Add(retraction(3, 1, now, 1), now)
	if s := at(time.Minute); len(s) != 1 || s[0].Active || !s[0].TakenBack || !s[0].Seen[0].TakenBack || s[0].Seen[1].TakenBack {
		t.Errorf("taken back: %+v", s)
	}
}

// What is on a warninglist spreads where people report it, and not where machines count
// it: half the Internet asks for it every day.
func TestWarnlistedIsReportedByPeople(t *testing.T) {
	listed := func(i notice.Indicator) bool { return i.Value == "popular.example" }
	for _, c := range []struct {
		value   string
		machine bool
		want    int
	}{{"popular.example", true, 0}, {"popular.example", false, 1}, {"evil.example", true, 1}} {
		p := situation.New(listed)
		started := 0
		for m := range 2 {
			f := sighting(m+1, m, now, c.value, nil)
			if c.machine {
				f = counted(m+1, m, now, c.value)
			}
			started += len(p.Add(f, now))
		}
		if started != c.want {
			t.Errorf("%s, by a machine %v: %d began, want %d", c.value, c.machine, started, c.want)
		}
	}
}

// TestStarted: it is told once, for whom it may be, and again when more may know it or
// when it is a new one.
func TestStarted(t *testing.T) {
	p := situation.New(nil)
	expect := func(f situation.Fact, at int64, want ...notice.TLP) {
		t.Helper()
		var got []notice.TLP
		for _, s := range p.Add(f, at) {
			got = append(got, s.TLP)
			if s.Trigger != f.ID || len(s.Seen) < 2 || s.What.Value != "evil.example" {
				t.Errorf("started: %+v", s)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
	}
	expect(marked(sighting(1, 1, now, "evil.example", nil), notice.TLPGreen), now)
	expect(marked(sighting(2, 2, now, "evil.example", nil), notice.TLPAmber), now, notice.TLPAmber)
	expect(marked(sighting(2, 2, now, "evil.example", nil), notice.TLPAmber), now)
	expect(marked(sighting(3, 3, now, "evil.example", nil), notice.TLPRed), now)
	expect(marked(sighting(4, 3, now, "evil.example", nil), notice.TLPGreen), now, notice.TLPGreen)
	later := now + 80*hour
	expect(marked(sighting(5, 1, later, "evil.example", nil), notice.TLPGreen), later)
	expect(marked(sighting(6, 2, later, "evil.example", nil), notice.TLPGreen), later, notice.TLPGreen)
}

// TestSpreadingModel compares what spreads with the rule written down once more, in a
// way that knows no order and costs what it likes.
func TestSpreadingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		facts := anyFacts(t)
		p := picture(facts...)
		for ceiling := notice.TLPClear; ceiling <= notice.TLPRed; ceiling++ {
			a := ask(4)
			a.Ceiling = ceiling
			var got []string
			for _, s := range p.View(a).Spreading {
				if s.Active {
					got = append(got, notice.Fold(s.What.String()))
				}
			}
			slices.Sort(got)
			if want := spreads(facts, ceiling); !slices.Equal(got, want) {
				t.Fatalf("up to %s spread %q, want %q", ceiling, got, want)
			}
		}
	})
}

func spreads(facts []situation.Fact, ceiling notice.TLP) []string {
	type group struct {
		what   string
		member crypto.MemberID
		tlp    notice.TLP
		auto   bool
	}
	groups := map[group][]situation.Fact{}
	at := func(f situation.Fact) int64 {
		if f.ClockOff {
			return f.Received
		}
		return min(f.Notice.LastSeen, f.Received)
	}
	back := map[crypto.ItemID]bool{}
	for _, f := range facts {
		if f.Notice.Kind == notice.KindRetraction && slices.ContainsFunc(facts, func(g situation.Fact) bool { return g.ID == *f.Notice.Ref && g.Author == f.Author }) {
			back[*f.Notice.Ref] = true
		}
		if f.Notice.Kind != notice.KindSighting || f.Exercise || at(f) <= now-situation.Window.Milliseconds() {
			continue
		}
		g := group{f.Notice.Indicator.String(), f.Author, f.TLP, f.Notice.Origin != nil && f.Notice.Indicator.Type == notice.TypeIPv4}
		if f.Notice.Indicator.Value != "8.8.8.8" || !g.auto {
			groups[g] = append(groups[g], f)
		}
		if c := f.Notice.Context; c != nil {
			g.auto = false
			for _, name := range slices.Compact([]string{c.Family, c.Tool}) {
				if g.what = notice.Fold(name); g.what != "" {
					groups[g] = append(groups[g], f)
				}
			}
		}
	}
	manual, all := map[string]map[crypto.MemberID]bool{}, map[string]map[crypto.MemberID]bool{}
	for g, list := range groups {
		slices.SortFunc(list, func(a, b situation.Fact) int {
			if at(a) != at(b) {
				return int(at(b) - at(a))
			}
			return slices.Compare(a.ID[:], b.ID[:])
		})
		for _, f := range list[:min(16, len(list))] {
			if back[f.ID] || g.tlp > ceiling {
				continue
			}
			if all[g.what] == nil {
				manual[g.what], all[g.what] = map[crypto.MemberID]bool{}, map[crypto.MemberID]bool{}
			}
			all[g.what][g.member] = true
			if !g.auto {
				manual[g.what][g.member] = true
			}
		}
	}
	var out []string
	for what := range all {
		if len(manual[what]) >= 2 || len(all[what]) >= 3 {
			out = append(out, what)
		}
	}
	slices.Sort(out)
	return out
}

// TestHourly counts a sighting once, in the hour it was seen last, as far as a ceiling
// goes; not what is too old, taken back, a drill or everybody's.
func TestHourly(t *testing.T) {
	p := picture(
		sighting(1, 1, now, "a.example", &notice.Context{Family: "Qakbot", Tool: "Cobalt Strike"}), // three subjects
		sighting(2, 2, now, "a.example", nil),
		sighting(3, 2, ago(71*time.Hour), "b.example", nil),
		marked(sighting(4, 3, ago(time.Hour), "c.example", nil), notice.TLPRed),
		sighting(5, 3, ago(73*time.Hour), "d.example", nil),
		sighting(6, 3, now, "e.example", nil), retraction(7, 3, now, 6),
		exercise(sighting(8, 3, now, "f.example", nil)),
		sighting(9, 3, now, "d41d8cd98f00b204e9800998ecf8427e", nil),
	)
	for ceiling, want := range map[notice.TLP][3]int{notice.TLPAmber: {1, 0, 2}, notice.TLPRed: {1, 1, 2}, 0: {1, 1, 2}, notice.TLPGreen: {}} {
		a := ask(0)
		a.Ceiling = ceiling
		h := p.Hourly(a)
		total := 0
		for _, n := range h {
			total += n
		}
		if len(h) != 72 || [3]int{h[0], h[70], h[71]} != want || total != want[0]+want[1]+want[2] {
			t.Errorf("up to %s: %v, want %v at 71 h, 1 h and now", ceiling, h, want)
		}
	}
}

// TestTooMuch: one member's flood takes no more room than its own, and is told; the
// others' sightings count as before.
func TestTooMuch(t *testing.T) {
	p := picture(sighting(1, 2, ago(3*time.Hour), "evil.example", nil), sighting(2, 3, ago(3*time.Hour), "evil.example", nil))
	for i := range 70_000 {
		p.Add(sighting(10+i, 1, ago(2*time.Hour)+int64(i)*50, fmt.Sprintf("v%d.example", i), nil), now)
	}
	v := p.View(ask(3))
	if len(v.Partial) != 1 || v.Partial[0].Member != who(1) {
		t.Errorf("partial: %+v", v.Partial)
	}
	if len(v.Spreading) != 1 || !v.Spreading[0].Active {
		t.Errorf("what others saw: %+v", v.Spreading)
	}
	if n := p.Held(); n > 65_536+2 {
		t.Errorf("%d sightings are held", n)
	}
	later := ask(3)
	later.Now += 200 * hour
	p.View(later)
	if n := p.Held(); n != 0 {
		t.Errorf("%d sightings are held when all are old", n)
	}
}

const million = 1_000_000

// crowded is a picture of 200 members and 1,000,000 sightings, one in 100 of a value
// that others see too, with what each member says of itself.
func crowded(tb testing.TB) *situation.Picture {
	tb.Helper()
	p := situation.New(nil)
	id := 0
	next := func() int { id++; return id }
	for m := range 200 {
		p.Add(profile(next(), m, ago(time.Hour), "+353 1 555"), now)
		for d := range 10 {
			p.Add(service(next(), m, ago(time.Hour), fmt.Sprint("Department ", d), notice.ServiceOpen), now)
		}
		for l := range 3 {
			p.Add(link(next(), m, ago(time.Hour), fmt.Sprint("Supplier ", l), "VPN", notice.LinkCut), now)
		}
		request := next()
		p.Add(assist(request, m, ago(time.Hour), notice.ActRequest, 3, nil), now)
		p.Add(assist(next(), (m+1)%200, ago(time.Hour), notice.ActClaim, 3, ref(request)), now)
		if m%20 == 0 {
			p.Add(mayday(next(), m, ago(time.Hour), "ransom note", nil), now)
		}
	}
	for i := range million {
		value := fmt.Sprintf("v%d.example", i)
		if i%100 == 0 {
			value = fmt.Sprintf("shared%d.example", i/100%1000)
		}
		f := sighting(next(), i%200+i/20000%2, ago(time.Duration(i%4000)*time.Minute), value, nil)
		p.Add(f, now)
	}
	return p
}

// BenchmarkSituation is one view of 200 members and 1,000,000 sightings.
func BenchmarkSituation(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	p := crowded(b)
	runtime.GC()
	runtime.ReadMemStats(&after)
	a := ask(200)
	a.Since = ago(24 * time.Hour)
	for b.Loop() {
		if v := p.View(a); len(v.Maydays) != 10 || len(v.Members) != 200 || len(v.Spreading) == 0 {
			b.Fatalf("%d maydays, %d spreading", len(v.Maydays), len(v.Spreading))
		}
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
	runtime.KeepAlive(p)
}

// BenchmarkSecondSighting is from the second sighting, among 1,000,000, to its word.
func BenchmarkSecondSighting(b *testing.B) {
	p := crowded(b)
	i := 10 * million
	for b.Loop() {
		i += 2
		value := fmt.Sprintf("new%d.example", i)
		m := i / 2 % 199 // no one says too much
		p.Add(sighting(i, m, now, value, nil), now)
		if told := p.Add(sighting(i+1, m+1, now, value, nil), now); len(told) != 1 {
			b.Fatal("not told")
		}
	}
}
