package pulse_test

import (
	"testing"
	"time"

	"github.com/watchward/watchward/mesh/pulse"
)

func TestDefinitionOfSilence(t *testing.T) {
	p := judge(t, nil, nil)
	for _, c := range []struct {
		name            string
		dialable, alive bool
		unheard         time.Duration
		hubs            int
		want            bool
	}{
		{"a spoke, heard", false, false, 19 * time.Second, 3, false},
		{"a spoke, unheard", false, false, 21 * time.Second, 3, true},
		{"a spoke that SWIM is said to know", false, true, 21 * time.Second, 3, true},
		{"dead by SWIM, but heard", true, false, 19 * time.Second, 3, false},
		{"dead by SWIM, and unheard", true, false, 21 * time.Second, 3, true},
		{"alive by SWIM, unheard, hubs may be late", true, true, 29 * time.Second, 3, false},
		{"alive by SWIM alone while a hub lives", true, true, 31 * time.Second, 1, true},
		{"alive by SWIM, and no hub lives", true, true, time.Hour, 0, false},
	} {
		if got := p.IsSilent(c.dialable, c.alive, c.unheard, c.hubs); got != c.want {
			t.Errorf("%s: silent %v", c.name, got)
		}
	}
}

func judge(t *testing.T, now func() time.Time, heard func(string) time.Time) *pulse.Pulse {
	n := newNet(t, 2, 0, 0)
	p, err := pulse.New(pulse.Config{
		Self: id(0), Region: label, Network: n.nodes[0], Roster: func() []string { return n.peers },
		Dialable: func(string) bool { return false }, Now: now, Heard: heard,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What becomes of one member, second by second.
func TestJudge(t *testing.T) {
	start := time.Now()
	wall := start.Round(0).Add(-1000 * time.Hour) // this node's clock is wrong, and will be set
	at := start
	var envelope time.Time
	p := judge(t, func() time.Time { return wall }, func(string) time.Time { return envelope })
	pass := func(d time.Duration) {
		for range d / time.Second {
			at, wall = at.Add(time.Second), wall.Add(time.Second)
			p.Judge(at)
		}
	}
	is := func(silent bool, since time.Time, by string, what string) {
		t.Helper()
		s := p.States()[0]
		if want := (pulse.State{Peer: id(1), Silent: silent, Since: since, By: by}); s != want {
			t.Errorf("%s: %+v, want %+v", what, s, want)
		}
	}
	ok := func(what string) { t.Helper(); is(false, time.Time{}, "", what) }
	changed := func(what string, want bool) {
		t.Helper()
		select {
		case <-p.Changed():
			if !want {
				t.Errorf("%s: has changed", what)
			}
		default:
			if want {
				t.Errorf("%s: has not changed", what)
			}
		}
	}

	p.Judge(at)
	changed("first", true)
	pass(30 * time.Second)
	ok("new")
	changed("new", false)
	pass(time.Second)
	is(true, time.Time{}, "", "never heard")
	changed("never heard", true)

	p.Hears(id(1), at)
	heard := wall
	pass(20 * time.Second)
	ok("heard")
	pass(time.Second)
	is(true, heard, id(0), "heard long ago")
	changed("silent again", true)
	wall = wall.Add(1000 * time.Hour)
	pass(5 * time.Second)
	is(true, heard, id(0), "the clock was set")
	changed("the clock was set", false)

	envelope = wall.Add(time.Hour)
	pass(time.Second)
	is(true, heard, id(0), "an envelope of tomorrow")
	envelope = wall
	said := wall
	pass(20 * time.Second)
	ok("an envelope")
	pass(time.Second)
	is(true, said, "", "the last that came was an envelope")

	p.Hears(id(1), at)
	pass(time.Second)
	at, wall = at.Add(time.Hour), wall.Add(time.Hour) // this node stood still
	p.Judge(at)
	ok("nobody could be heard")
	pass(15 * time.Second)
	ok("who is there would soon be heard")
	pass(time.Second)
	if !p.States()[0].Silent {
		t.Error("still not heard, and not silent")
	}
	if again := p.States(); len(again) != 1 {
		t.Errorf("%d states, this node has none", len(again))
	}
}
