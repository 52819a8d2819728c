package pulse_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/mesh/pulse"
)

// ages of one member in a report.
func ages(who string, age time.Duration) map[string]time.Duration {
	return map[string]time.Duration{who: age}
}

func TestWhatHubsSayIsBelieved(t *testing.T) {
	now := time.Now()
	const x = "x"
	for _, c := range []struct {
		name string
		hub  bool                     // this node is one
		own  time.Duration            // what it heard itself; 0 = nothing
		hubs map[string]time.Duration // what each says of x; 0 = nothing
		want time.Duration            // -1 = never heard
		by   string
	}{
		{"own ears count alone", false, 3 * time.Second, map[string]time.Duration{"a": 0, "b": 0, "c": 0}, 3 * time.Second, "self"},
		{"the newest of two that agree", false, 0, map[string]time.Duration{"a": 4 * time.Second, "b": 2 * time.Second, "c": 9 * time.Minute}, 2 * time.Second, "b"},
		{"one of three alone, and another long ago", false, 0, map[string]time.Duration{"a": time.Second, "b": 50 * time.Second, "c": 0}, 50 * time.Second, "b"},
		{"one of three alone, and another lately", false, 0, map[string]time.Duration{"a": time.Second, "b": 30 * time.Second, "c": 0}, time.Second, "a"},
		{"one of three alone, and no other ever", false, 0, map[string]time.Duration{"a": time.Second, "b": 0, "c": 0}, -1, ""},
		{"one of two: either may lie, and nobody is called silent for a lie", false, 0, map[string]time.Duration{"a": time.Second, "b": 0}, time.Second, "a"},
		{"this hub is the third", true, 0, map[string]time.Duration{"a": time.Second, "b": 0}, -1, ""},
		{"this hub agrees", true, 30 * time.Second, map[string]time.Duration{"a": time.Second, "b": 0}, time.Second, "a"},
		{"what a hub says of itself is not its word but its voice", false, 0, map[string]time.Duration{x: time.Second, "b": 0, "c": 0}, -1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := pulse.NewEars("self", c.hub)
			if c.own > 0 {
				pulse.Hears(e, x, now.Add(-c.own))
			}
			for hub, age := range c.hubs {
				said := map[string]time.Duration{}
				if age > 0 {
					said = ages(x, age)
				}
				pulse.Learns(e, hub, said, now)
			}
			at, by, _ := pulse.Heard(e, x, now)
			if c.want < 0 {
				if !at.IsZero() {
					t.Errorf("heard %v ago by %s", now.Sub(at), by)
				}
			} else if now.Sub(at) != c.want || by != c.by {
				t.Errorf("heard %v ago by %q, want %v by %q", now.Sub(at), by, c.want, c.by)
			}
		})
	}
}

// Whatever one hub says: who is heard by two others is not silent, and who is heard by
// no other is, LoneFor later at the latest, if three others live.
func TestALiarChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		e := pulse.NewEars("self", rapid.Bool().Draw(t, "hub"))
		honest := rapid.IntRange(2, 6).Draw(t, "honest")
		heard := 0
		for step := range 4 {
			now = now.Add(5 * time.Second)
			heard = 0
			for h := range honest {
				if rapid.Bool().Draw(t, fmt.Sprint("hears ", step)) {
					age := time.Duration(rapid.IntRange(0, 599).Draw(t, "age")) * time.Second
					pulse.Learns(e, fmt.Sprint(h), ages("x", age), now)
					if age <= pulse.SilentAfter {
						heard++
					}
				} else {
					pulse.Learns(e, fmt.Sprint(h), nil, now)
				}
			}
			pulse.Learns(e, "liar", ages("x", time.Duration(rapid.IntRange(0, 599).Draw(t, "lie"))*time.Second), now)
		}
		at, _, _ := pulse.Heard(e, "x", now)
		silent := now.Sub(at) > pulse.SilentAfter
		if heard >= 2 && silent {
			t.Errorf("heard by %d hubs, and silent", heard)
		}
		// Hubs never take back what they said, so only a member that none heard at all shows the rest.
		quiet := pulse.NewEars("self", false)
		for h := range honest {
			pulse.Learns(quiet, fmt.Sprint(h), ages("x", pulse.LoneFor+time.Second), now)
		}
		pulse.Learns(quiet, "liar", ages("x", time.Duration(rapid.IntRange(0, 600).Draw(t, "lie"))*time.Second), now)
		if at, _, _ := pulse.Heard(quiet, "x", now); honest >= 2 && now.Sub(at) <= pulse.SilentAfter {
			t.Error("heard by a liar alone, and not silent")
		}
	})
}

func TestReports(t *testing.T) {
	known := map[pulse.Tag]string{}
	said := map[string]time.Duration{}
	for i := range 200 {
		known[pulse.TagOf(id(i))] = id(i)
		said[id(i)] = time.Duration(i) * 2900 * time.Millisecond
	}
	said["stranger"] = time.Second
	got, err := pulse.ReadReport(pulse.Report(said), known)
	if err != nil || len(got) != 200 {
		t.Fatalf("%d members: %v", len(got), err)
	}
	for peer, age := range got {
		if age != said[peer].Truncate(100*time.Millisecond) {
			t.Errorf("%v, want %v", age, said[peer])
		}
	}
	one := pulse.Report(ages(id(1), time.Second))
	for name, b := range map[string][]byte{
		"cut short":   one[:5],
		"without age": one[:8],
		"twice":       append(append([]byte{}, one...), one...),
		"too old":     append(append([]byte{}, one[:8]...), 0xff, 0xff, 0x7f),
		"endless":     append(append([]byte{}, one[:8]...), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
	} {
		if _, err := pulse.ReadReport(b, known); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
