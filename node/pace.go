package node

import (
	"sync"
	"time"
)

// Signing costs the same for one item as for a thousand, so an author under
// load signs groups: waiting longer makes each word cheaper (design, Envelope).
const (
	paceEnvelopes = 8                // ordinary envelopes at once …
	paceWindow    = 10 * time.Second // … within this time; also the longest a word waits
	groupItems    = 512              // a group this large gains nothing by waiting
	groupBytes    = 128 << 10
)

// pace says when waiting items may be signed. It is a state machine without
// clock or I/O: times are milliseconds that the caller passes in.
type pace struct {
	signed []int64 // times of the last ordinary envelopes within the window
}

// ready reports whether a group that is not full may be signed at now, and if
// not, when to ask again.
func (p *pace) ready(now int64) (ok bool, next int64) {
	window := paceWindow.Milliseconds()
	recent := p.signed[:0]
	for _, t := range p.signed {
		// A clock that was set back must not stop the outbox for hours.
		if t > now-window && t <= now {
			recent = append(recent, t)
		}
	}
	p.signed = recent
	if len(recent) < paceEnvelopes {
		return true, 0
	}
	return false, recent[0] + window
}

// note records that an ordinary envelope was signed at now.
func (p *pace) note(now int64) { p.signed = append(p.signed, now) }

// Urgent words overtake everything, so that nobody may say many. A mayday has one
// place of its own in each window, so that it is urgent whatever was said before it.
const (
	urgentWords  = 3
	urgentWindow = 10 * time.Minute
)

// urgentBudget says which words may be urgent; the rest are ordinary. It is
// safe for concurrent use.
type urgentBudget struct {
	mu     sync.Mutex
	times  []int64 // ms, of the last urgent words
	mayday int64   // ms, when a mayday had its place; 0 = never
}

func (u *urgentBudget) take(now int64, mayday bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	within := func(t int64) bool { return t > now-urgentWindow.Milliseconds() && t <= now }
	recent := u.times[:0]
	for _, t := range u.times {
		if within(t) {
			recent = append(recent, t)
		}
	}
	u.times = recent
	switch {
	case len(recent) < urgentWords:
		u.times = append(u.times, now)
	case mayday && !within(u.mayday):
		u.mayday = now
	default:
		return false
	}
	return true
}
