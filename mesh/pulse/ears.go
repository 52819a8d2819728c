package pulse

import (
	"slices"
	"time"
)

// Bounds of what hubs are believed.
const (
	hubLives = 12 * time.Second // a hub that has told no ages for so long counts for nothing
	hubsMax  = 64               // that are listened to
	hubsSafe = 3                // if so many live, one hub alone is believed …
	loneFor  = 40 * time.Second // … only if another heard the member so lately
	ageMax   = 10 * time.Minute // older than this is not told
)

// ears are who was heard when, by this node and by hubs. It has no clock and no lock.
type ears struct {
	self string
	hub  bool
	own  map[string]time.Time
	hubs map[string]*hub
}

// A hub is what one has told.
type hub struct {
	told  time.Time            // last
	heard map[string]time.Time // by this node's clock
}

func newEars(self string, isHub bool) *ears {
	return &ears{self: self, hub: isHub, own: map[string]time.Time{}, hubs: map[string]*hub{}}
}

func (e *ears) hear(peer string, now time.Time) { e.own[peer] = now }

// learn takes the ages that a hub tells. What it told before stays true.
func (e *ears) learn(from string, ages map[string]time.Duration, now time.Time) {
	h := e.hubs[from]
	if h == nil {
		if len(e.hubs) >= hubsMax {
			return
		}
		h = &hub{heard: map[string]time.Time{}}
		e.hubs[from] = h
	}
	h.told = now
	for peer, age := range ages {
		if at := now.Add(-age); at.After(h.heard[peer]) {
			h.heard[peer] = at
		}
	}
}

// heard returns when a member was last heard as far as that is believed, who heard it,
// and how many hubs live that could have: this node's own ears count always; of what
// hubs say the newest, if another has heard the member lately or fewer than three hubs
// live. This node is one of them if it is a hub.
func (e *ears) heard(peer string, now time.Time) (at time.Time, by string, live int) {
	var second time.Time
	var secondBy string
	say := func(t time.Time, who string) {
		switch {
		case t.After(at):
			second, secondBy = at, by
			at, by = t, who
		case t.After(second):
			second, secondBy = t, who
		}
	}
	for id, h := range e.hubs {
		if id == peer {
			continue
		}
		if now.Sub(h.told) <= hubLives {
			live++
		}
		if t, ok := h.heard[peer]; ok {
			say(t, id)
		}
	}
	own, ok := e.own[peer]
	if e.hub {
		live++
		if ok {
			say(own, e.self)
		}
	}
	if live >= hubsSafe && now.Sub(second) > loneFor {
		at, by = second, secondBy
	}
	if ok && !own.Before(at) {
		at, by = own, e.self
	}
	return at, by, live
}

// lives reports whether a hub has told ages lately.
func (e *ears) lives(peer string, now time.Time) bool {
	h := e.hubs[peer]
	return h != nil && now.Sub(h.told) <= hubLives
}

// denies reports whether a hub that lives says that it has not heard this node.
func (e *ears) denies(peer string, now time.Time) bool {
	return e.lives(peer, now) && now.Sub(e.hubs[peer].heard[e.self]) > 3*beatEvery
}

// ages returns how long ago this node itself heard each member.
func (e *ears) ages(now time.Time, r *region) map[string]time.Duration {
	out := make(map[string]time.Duration, len(e.own))
	for peer, at := range e.own {
		if age := now.Sub(at); age <= ageMax && r.has(peer) {
			out[peer] = age
		}
	}
	return out
}

// forget drops who is no member, and hubs that have long been quiet.
func (e *ears) forget(now time.Time, r *region) {
	gone := func(m map[string]time.Time) {
		for peer := range m {
			if !r.has(peer) {
				delete(m, peer)
			}
		}
	}
	gone(e.own)
	for id, h := range e.hubs {
		if !r.has(id) || now.Sub(h.told) > ageMax {
			delete(e.hubs, id)
			continue
		}
		gone(h.heard)
	}
}

// reporters lists who has told ages, for tests and logs.
func (e *ears) reporters() (out []string) {
	for id := range e.hubs {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}
