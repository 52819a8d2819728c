package alert_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
)

const (
	minute = int64(60_000)
	hour   = 60 * minute
)

// start is some Monday, 12:00 UTC.
var start = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC).UnixMilli()

// A desk is an engine that is made anew from what it kept after every call.
type desk struct {
	t      testing.TB
	c      alert.Config
	e      *alert.Engine
	kept   map[string][]byte
	now    int64
	last   uint64
	raised []alert.Raised
	forget bool // go on with the same engine
}

func newDesk(t testing.TB, c alert.Config) *desk {
	c.Node, c.Prefix = "St Anna", "abc"
	if c.Ack == 0 {
		c.Ack = 15 * time.Minute
	}
	if c.Sinks == nil {
		c.Sinks = []alert.Sink{{Name: "pager", Ceiling: notice.TLPAmberStrict, Bare: true, Digest: true}}
	}
	c.Rules = append(c.Rules, alert.DefaultRules()...)
	return &desk{t: t, c: c, e: alert.New(c), kept: map[string][]byte{}, now: start}
}

// did keeps what was done and returns what is sent, as "sink type kind".
func (d *desk) did(c alert.Changes) (out []string) {
	for name, v := range c.Keep {
		if v == nil {
			delete(d.kept, name)
		} else {
			d.kept[name] = v
		}
	}
	for _, m := range c.Send {
		kind := m.Kind
		if m.Above {
			kind = "above"
		}
		out = append(out, fmt.Sprintf("%s %s %s", m.Sink, m.Type, kind))
	}
	d.raised = append(d.raised, c.Raise...)
	if !d.forget {
		d.e = alert.New(d.c)
		for name, v := range d.kept {
			if err := d.e.Load(name, v); err != nil {
				d.t.Fatal(err)
			}
		}
	}
	return out
}

func (d *desk) event(kind, severity string, tlp notice.TLP, fields ...string) alert.Event {
	d.last++
	ev := alert.Event{Alert: d.last, Time: d.now, Severity: severity, TLP: tlp, Text: fmt.Sprintf("%s %d", kind, d.last),
		Fields: map[string][]string{"kind": {kind}}}
	for i := 0; i+1 < len(fields); i += 2 {
		ev.Fields[fields[i]] = []string{fields[i+1]}
	}
	return ev
}

func (d *desk) alert(kind, severity string, fields ...string) []string {
	return d.did(d.e.Take(d.event(kind, severity, notice.TLPAmber, fields...), d.now))
}

// wait lets time pass, a minute at a time.
func (d *desk) wait(by time.Duration) (out []string) {
	for end := d.now + by.Milliseconds(); d.now < end; {
		d.now = min(d.now+minute, end)
		out = append(out, d.did(d.e.Tick(d.now))...)
	}
	return out
}

func (d *desk) is(got []string, want ...string) {
	d.t.Helper()
	if !slices.Equal(got, want) {
		d.t.Errorf("told %q, want %q", got, want)
	}
}

// By default four things page; the same again does not, for a day.
func TestDefaults(t *testing.T) {
	d := newDesk(t, alert.Config{})
	d.is(d.alert("hit", "warning", "value", "evil.example"), "pager page hit")
	d.is(d.alert("hit", "warning", "value", "evil.example"))
	d.is(d.alert("hit", "warning", "value", "other.example"), "pager page hit")
	d.is(d.alert("hit", "critical", "value", "evil.example"), "pager page hit") // it is worse now
	d.is(d.alert("hit", "warning"), "pager page hit")                           // of nothing known: alone
	d.is(d.alert("hit", "warning"), "pager page hit")
	d.is(d.alert("seen-here", "warning", "value", "old.example"), "pager page seen-here")
	d.is(d.alert("mayday", "critical", "author", "riverside"), "pager page mayday")
	d.is(d.alert("mayday", "warning", "author", "elsewhere"))
	d.is(d.alert("supplier", "warning"), "pager page supplier")
	for _, kind := range []string{"spreading", "question", "flood", "revoked", "sink-failing", "mayday-back", "mayday-disputed"} {
		d.is(d.alert(kind, "warning", "value", "x.example"))
	}
	d.wait(23 * time.Hour)
	d.is(d.alert("hit", "warning", "value", "other.example"))
	d.wait(26 * time.Hour)
	d.is(d.alert("hit", "warning", "value", "other.example"), "pager page hit")
}

func TestEscalation(t *testing.T) {
	sinks := []alert.Sink{{Name: "first", Ceiling: notice.TLPAmber}, {Name: "second", Ceiling: notice.TLPAmber}, {Name: "third", Ceiling: notice.TLPAmber}}
	d := newDesk(t, alert.Config{Sinks: sinks, Rules: []alert.Rule{{Name: "r", Match: alert.Match{"kind": {"hit"}}, Do: alert.Page,
		To: []string{"first"}, Then: []string{"second", "third"}, GroupBy: []string{"value"}, Repeat: time.Hour, Limit: 20}}})
	d.is(d.alert("hit", "warning", "value", "a.example"), "first page hit")
	d.is(d.wait(14 * time.Minute))
	d.is(d.wait(time.Minute), "second escalation hit")
	d.is(d.wait(15*time.Minute), "third escalation hit")
	d.is(d.wait(59 * time.Minute))
	d.is(d.wait(time.Minute), "first repeat hit", "second repeat hit", "third repeat hit")
	if g, c := d.e.Ack("99", "eva", d.now); g != nil || len(c.Keep) > 0 {
		t.Errorf("what is not there is acknowledged: %+v", g)
	}
	_, c := d.e.Ack("1", "eva", d.now)
	d.is(d.did(c), "first acknowledged hit", "second acknowledged hit", "third acknowledged hit")
	d.is(d.wait(20 * time.Hour))
	d.is(d.alert("hit", "warning", "value", "a.example"))
	if g := d.e.Group("2"); g == nil || g.ID != "1" || g.State != alert.Acknowledged || g.By != "eva" || g.Count != 2 {
		t.Errorf("%+v", g)
	}

	// What the first sink never takes goes to the next at once.
	d.is(d.alert("hit", "warning", "value", "b.example"), "first page hit")
	d.is(d.did(d.e.Failed("3", d.now)), "second escalation hit")
	d.is(d.wait(15*time.Minute), "third escalation hit")
	// A clock that was set back delays nothing.
	d.now -= 30 * hour
	d.is(d.alert("hit", "warning", "value", "c.example"), "first page hit")
	d.is(d.wait(30*time.Minute), "second escalation hit", "third escalation hit")
}

func TestSilence(t *testing.T) {
	d := newDesk(t, alert.Config{})
	for name, m := range map[string]alert.Match{"nothing": {}, "colour": {"colour": {"red"}}, "no words": {"kind": nil}} {
		if _, _, err := d.e.Silence(m, time.Hour, "why", "eva", d.now); err == nil {
			t.Errorf("%s is silenced", name)
		}
	}
	for _, bad := range []struct {
		life time.Duration
		why  string
	}{{time.Second, "why"}, {31 * 24 * time.Hour, "why"}, {time.Hour, ""}, {time.Hour, strings.Repeat("x", 501)}} {
		if _, _, err := d.e.Silence(alert.Match{"kind": {"hit"}}, bad.life, bad.why, "eva", d.now); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	s, c, err := d.e.Silence(alert.Match{"kind": {"hit"}, "value": {"Scanner.example", "x.example"}}, 4*time.Hour, "our own test", "eva", d.now)
	if err != nil {
		t.Fatal(err)
	}
	d.did(c)
	d.is(d.alert("hit", "warning", "value", "scanner.example"))
	if g := d.e.Group("1"); g == nil || g.State != alert.Silenced {
		t.Errorf("%+v", g)
	}
	d.is(d.alert("hit", "warning", "value", "other.example"), "pager page hit")
	d.is(d.alert("seen-here", "warning", "value", "scanner.example"), "pager page seen-here")
	if all := d.e.Silences(d.now); len(all) != 1 || all[0].ID != s.ID || all[0].Why != "our own test" {
		t.Errorf("%+v", all)
	}
	d.wait(4 * time.Hour)
	if all := d.e.Silences(d.now); len(all) != 0 {
		t.Errorf("%+v holds after its end", all)
	}
	d.is(d.alert("hit", "warning", "value", "scanner.example"), "pager page hit")

	s, c, _ = d.e.Silence(alert.Match{"kind": {"*"}}, time.Hour, "move", "eva", d.now)
	d.did(c)
	d.is(d.alert("mayday", "critical", "author", "riverside"))
	_, found, c := d.e.Speak(s.ID)
	d.did(c)
	if _, again, _ := d.e.Speak(s.ID); !found || again {
		t.Errorf("ended: %t, again: %t", found, again)
	}
	d.is(d.alert("mayday", "critical", "author", "riverside"), "pager page mayday")
}

func TestInhibition(t *testing.T) {
	d := newDesk(t, alert.Config{})
	d.is(d.alert("hit", "warning", "value", "evil.example"), "pager page hit")
	d.is(d.alert("seen-here", "warning", "value", "evil.example"))
	d.is(d.alert("seen-here", "warning", "value", "other.example"), "pager page seen-here")
	d.wait(25 * time.Hour)
	d.is(d.alert("seen-here", "warning", "value", "evil.example"), "pager page seen-here")
}

// Those who were paged of a mayday hear what becomes of it; nobody else does.
func TestMaydayFollowUp(t *testing.T) {
	d := newDesk(t, alert.Config{})
	d.is(d.alert("mayday-back", "warning", "author", "riverside"))
	d.is(d.alert("mayday", "critical", "author", "riverside"), "pager page mayday")
	d.is(d.alert("mayday-disputed", "warning", "author", "riverside"), "pager update mayday-disputed")
	d.is(d.alert("mayday-back", "warning", "author", "anna"))
	d.is(d.alert("mayday-back", "warning", "author", "riverside"), "pager over mayday-back")
	if g := d.e.Group("2"); g == nil || g.State != alert.Over {
		t.Errorf("%+v", g)
	}
	d.is(d.alert("mayday", "critical", "author", "riverside"), "pager page mayday")
}

// A sink hears nothing of what is above it: of pages only that there is one, not how
// many, and of the day only what it may see.
func TestCeiling(t *testing.T) {
	sinks := []alert.Sink{
		{Name: "green", Ceiling: notice.TLPGreen, Bare: true, Digest: true},
		{Name: "mute", Ceiling: notice.TLPGreen, Digest: true},
		{Name: "strict", Ceiling: notice.TLPAmberStrict, Bare: true},
	}
	d := newDesk(t, alert.Config{Sinks: sinks, Digest: true, Hour: 7})
	d.wait(time.Minute)
	take := func(kind string, tlp notice.TLP, value string) []string {
		return d.did(d.e.Take(d.event(kind, "warning", tlp, "value", value), d.now))
	}
	d.is(take("hit", notice.TLPAmber, "a.example"), "green page above", "strict page hit")
	d.is(take("hit", notice.TLPAmber, "b.example"), "strict page hit")
	d.is(take("hit", notice.TLPGreen, "c.example"), "green page hit", "mute page hit", "strict page hit")
	d.is(take("hit", 0, "d.example"), "green page hit", "mute page hit", "strict page hit")
	d.wait(10 * time.Minute)
	d.is(take("hit", notice.TLPRed, "e.example"), "green page above", "strict page above")
	c := d.e.Take(d.event("hit", "critical", notice.TLPAmber, "value", "a.example"), d.now+10*minute)
	for _, m := range c.Send {
		if m.Sink == "green" && (m.Text != catalog.For("").Text(catalog.AlertAbove) || m.Kind+m.TLP+m.Value+m.Group != "" || m.Count != 0 || m.Severity != "warning" || len(m.Refs) > 0) {
			t.Errorf("a sink is shown %+v", m)
		}
	}
	d.did(c)
	// A group that takes in something stricter is stricter.
	d.is(take("hit", notice.TLPAmber, "c.example"))
	_, c = d.e.Ack("3", "eva", d.now)
	d.is(d.did(c), "strict acknowledged hit")

	for i := range 3 {
		d.is(take("spreading", notice.TLPAmber, fmt.Sprint(i)))
		d.is(take("question", notice.TLPGreen, fmt.Sprint(i)))
	}
	for d.now < time.Date(2026, 6, 2, 7, 0, 0, 0, time.UTC).UnixMilli()-minute {
		d.is(d.wait(time.Minute))
	}
	d.now += minute
	c = d.e.Tick(d.now)
	if len(c.Send) != 2 {
		t.Fatalf("digests: %+v", c.Send)
	}
	for _, m := range c.Send {
		if m.Type != alert.TypeDigest || !strings.Contains(m.Text, "3 × question") || strings.Contains(m.Text, "spreading") || strings.Contains(m.Text, "e.example") {
			t.Errorf("%s is sent %q", m.Sink, m.Text)
		}
	}
	d.did(c)
	// One a day, and none of a day without anything new but what is open.
	for _, g := range []string{"1", "2", "3", "4", "5"} {
		_, c := d.e.Ack(g, "eva", d.now)
		d.did(c)
	}
	d.is(d.wait(48 * time.Hour))
}

// A digest goes out at the same time of day where the clocks change.
func TestDigestTime(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("SKIPPED: no time zones here")
	}
	d := newDesk(t, alert.Config{Digest: true, Hour: 2, Minute: 30, Zone: zone})
	d.now = time.Date(2026, 3, 27, 12, 0, 0, 0, zone).UnixMilli()
	d.forget = true
	var days []string
	for range 4 * 24 * 4 {
		d.alert("question", "warning")
		d.now += 15 * minute
		if len(d.did(d.e.Tick(d.now))) > 0 {
			days = append(days, time.UnixMilli(d.now).In(zone).Format("2 15:04"))
		}
	}
	if want := []string{"28 02:30", "29 03:30", "30 02:30", "31 02:30"}; !slices.Equal(days, want) { // 02:30 is not on the 29th
		t.Errorf("%q, want %q", days, want)
	}
}

// A rule that matches everything is bounded, and one alert says so, marked as the
// strictest of what it stands for.
func TestRuleThatMatchesEverything(t *testing.T) {
	d := newDesk(t, alert.Config{Rules: []alert.Rule{{Name: "all", Do: alert.Page, Limit: 5}, {Name: "notices", Match: alert.Match{"notice": {"*"}}, Do: alert.Send, Limit: 7}},
		Sinks: []alert.Sink{{Name: "pager", Ceiling: notice.TLPAmber, Bare: true}}})
	pages := 0
	for range 1000 {
		pages += len(d.alert("spreading", "warning"))
	}
	if pages != 5 {
		t.Errorf("%d pages", pages)
	}
	d.forget = true
	for range 50 {
		d.alert("spreading", "warning")
	}
	d.forget = false
	dedup := map[string]bool{}
	for _, r := range d.raised {
		dedup[r.Dedup] = true
		if r.Kind != alert.KindLimit || r.TLP != notice.TLPAmber || !strings.Contains(r.Text, `"all"`) {
			t.Errorf("%+v", r)
		}
	}
	if len(dedup) != 1 {
		t.Errorf("%d alerts say so: %v", len(dedup), dedup)
	}
	said := d.event(alert.KindLimit, "warning", notice.TLPAmber)
	said.Dedup = d.raised[0].Dedup
	d.is(d.did(d.e.Take(said, d.now)), "pager page alerts-limit")
	d.now += hour
	d.is(d.alert("spreading", "warning"), "pager page spreading")

	d.raised = nil
	sent := 0
	for i := range 100 {
		ev := alert.Event{Notice: fmt.Sprint(i), Time: d.now, TLP: notice.TLPGreen, Fields: map[string][]string{"notice": {"sighting"}}}
		sent += len(d.did(d.e.Take(ev, d.now)))
	}
	if sent != 7 || len(d.raised) == 0 || d.raised[0].Kind != alert.KindLimit {
		t.Errorf("%d notices sent, raised %+v", sent, d.raised)
	}
}

// Rules are about notices only if they say so, and about own ones only by name. What
// has no marking goes nowhere below AMBER+STRICT.
func TestNotices(t *testing.T) {
	d := newDesk(t, alert.Config{
		Sinks: []alert.Sink{{Name: "siem", Ceiling: notice.TLPAmber, Bare: true}},
		Rules: []alert.Rule{
			{Name: "family", Match: alert.Match{"notice": {"sighting"}, "family": {"qakbot"}}, Do: alert.Page, Limit: 20},
			{Name: "own", Match: alert.Match{"notice": {"*"}, "author": {"St Anna"}}, Do: alert.Send, Limit: 20},
			{Name: "domains", Match: alert.Match{"notice": {"indicator"}, "type": {"domain"}}, Do: alert.Send, Limit: 20},
			{Name: "all", Do: alert.Page, Limit: 20},
		}})
	told := func(own bool, tlp notice.TLP, fields ...string) []string {
		ev := d.event("", "info", tlp, fields...)
		ev.Alert, ev.Notice, ev.Own = 0, "id", own
		delete(ev.Fields, "kind")
		return d.did(d.e.Take(ev, d.now))
	}
	d.is(told(false, notice.TLPGreen, "notice", "indicator", "type", "domain"), "siem send indicator")
	d.is(told(false, notice.TLPGreen, "notice", "indicator", "type", "ipv4"))
	d.is(told(true, notice.TLPGreen, "notice", "indicator", "type", "domain"))
	d.is(told(true, notice.TLPGreen, "notice", "indicator", "author", "st anna"), "siem send indicator")
	d.is(told(false, 0, "notice", "indicator", "type", "domain"))
	d.is(told(false, notice.TLPRed, "notice", "indicator", "type", "domain"))
	d.is(told(false, notice.TLPAmber, "notice", "sighting", "family", "Qakbot"))
	if len(d.raised) != 1 || d.raised[0].Kind != alert.KindNotice || d.raised[0].Ref != "id" || d.raised[0].TLP != notice.TLPAmber {
		t.Fatalf("raised %+v", d.raised)
	}
	d.is(d.alert("notice", "info", "notice", "sighting", "family", "Qakbot"), "siem page notice")
}

// Whatever happens, an engine that is made anew from what it kept after every call
// says and keeps what one does that goes on.
func TestKeptIsAll(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := alert.Config{
			Digest: true, Hour: 7,
			Sinks: []alert.Sink{{Name: "a", Ceiling: notice.TLPGreen, Bare: true, Digest: true}, {Name: "b", Ceiling: notice.TLPAmber}},
			Rules: []alert.Rule{
				{Name: "esc", Match: alert.Match{"kind": {"hit"}}, Do: alert.Page, To: []string{"a"}, Then: []string{"b"}, GroupBy: []string{"value"}, Repeat: time.Hour, Limit: 3},
				{Name: "send", Match: alert.Match{"kind": {"flood"}}, Do: alert.Send, Limit: 4},
				{Name: "lesser", Match: alert.Match{"kind": {"mayday"}, "severity": {"warning"}}, Do: alert.Page, Limit: 9}, // an author has several groups
			},
		}
		anew, same := newDesk(t, c), newDesk(t, c)
		same.forget = true
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			step := rapid.IntRange(0, 11).Draw(rt, "step")
			kind := rapid.SampledFrom([]string{"hit", "flood", "spreading", "mayday", "seen-here", "mayday-back", "mayday-disputed"}).Draw(rt, "kind")
			severity := rapid.SampledFrom([]string{"warning", "critical"}).Draw(rt, "severity")
			value := rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "value")
			tlp := rapid.SampledFrom([]notice.TLP{0, notice.TLPGreen, notice.TLPAmber, notice.TLPRed}).Draw(rt, "tlp")
			id := fmt.Sprint(rapid.IntRange(1, 20).Draw(rt, "id"))
			ahead := time.Duration(rapid.IntRange(1, 600).Draw(rt, "minutes")) * time.Minute
			back := rapid.IntRange(0, 9).Draw(rt, "back") == 0
			do := func(d *desk) (c alert.Changes) {
				switch step {
				case 0, 1, 2, 3, 4, 5:
					c = d.e.Take(d.event(kind, severity, tlp, "value", value, "author", value), d.now)
				case 6:
					_, c = d.e.Ack(id, "eva", d.now)
				case 7:
					_, c, _ = d.e.Silence(alert.Match{"value": {value}}, ahead, "why", "eva", d.now)
				case 8:
					_, _, c = d.e.Speak(id)
				case 9:
					c = d.e.Failed(id, d.now)
				default:
					d.now += ahead.Milliseconds()
					if back {
						d.now -= 2 * ahead.Milliseconds()
					}
					c = d.e.Tick(d.now)
				}
				d.did(c)
				return c
			}
			if got, want := do(anew), do(same); !reflect.DeepEqual(got, want) {
				rt.Fatalf("step %d, %s: made anew\n%+v\ngoing on\n%+v", step, kind, got, want)
			}
		}
	})
}
