package misp

import (
	"maps"
	"slices"
	"time"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// A Position is how far the pulls from one server or feed have come. The zero value
// is the beginning. Its JSON is for the caller to keep; with an older one a pull
// takes again what it had.
type Position struct {
	Events    Window `json:"events,omitzero"`
	Sightings Window `json:"sightings,omitzero"`
	// Files are the events had of a feed, by uuid, as its manifest listed them.
	Files map[string]string `json:"files,omitempty"`
	// Tag and Modified are the manifest's ETag and Last-Modified.
	Tag      string `json:"tag,omitempty"`
	Modified string `json:"modified,omitempty"`
}

// A Window is what was had by its stamps (s), the last minutes one by one: stamps
// are no finer than a second, and a server may show one late.
type Window struct {
	Since int64            `json:"since,omitempty"` // all before it was had
	Seen  map[string]int64 `json:"seen,omitempty"`  // the stamp of what was had at or after Since, less overlap
}

// Limits of a Window.
const (
	overlap = 5 * time.Minute
	seenMax = 50_000 // more is had again
)

// from is what to ask for.
func (w *Window) from() int64 { return max(w.Since-int64(overlap/time.Second), 0) }

func (w *Window) had(id string, stamp int64) bool {
	at, ok := w.Seen[id]
	return ok && at == stamp
}

// add notes what was had. A stamp of tomorrow is no reason to miss today's.
func (w *Window) add(id string, stamp int64, now time.Time) {
	if w.Seen == nil {
		w.Seen = map[string]int64{}
	}
	w.Seen[id] = stamp
	w.Since = max(w.Since, min(stamp, now.Unix()))
}

// prune forgets what need not be remembered.
func (w *Window) prune() {
	from := w.from()
	maps.DeleteFunc(w.Seen, func(_ string, stamp int64) bool { return stamp < from })
	if len(w.Seen) <= seenMax {
		return
	}
	oldest := slices.SortedFunc(maps.Keys(w.Seen), func(a, b string) int { return int(w.Seen[a] - w.Seen[b]) })
	for _, id := range oldest[:len(oldest)-seenMax] {
		delete(w.Seen, id)
	}
}

// clone returns a position that shares nothing with p.
func (p Position) clone() Position {
	p.Events.Seen, p.Sightings.Seen, p.Files = maps.Clone(p.Events.Seen), maps.Clone(p.Sightings.Seen), maps.Clone(p.Files)
	return p
}

// An Intake takes what a pull finds. An error of Found or Reached ends the pull and
// is returned as it is.
//
// What an event holds comes whole each time the event changed, and once more where a
// pull broke off: the same value under the same origin is the same notice. What was
// deleted comes as Withdrawn. Events that the server deletes are not told of.
type Intake struct {
	// Indicator and All are as in intel/misp.Options.
	Indicator notice.Options
	All       bool
	// Sightings asks which events have new sightings, with one request more. Events
	// that come anyhow have theirs.
	Sightings bool
	// Skip names the events that are not wanted, such as those that came from here;
	// nil = none.
	Skip func(uuid string) bool
	// Found takes what events hold, in order.
	Found func(intel.Found) error
	// Reached is told what to keep after each batch of events; nil = nobody.
	Reached func(Position) error
	// Failed is told of an event that cannot be had or read. It is passed over until
	// it changes. nil = nobody.
	Failed func(uuid string, err error)
}

// taken is an error of the Intake, which no other attempt mends.
type taken struct{ error }

func (t taken) Unwrap() error { return t.error }

func (in *Intake) found(f intel.Found) error {
	if err := in.Found(f); err != nil {
		return taken{err}
	}
	return nil
}

func (in *Intake) reached(p Position) error {
	if in.Reached == nil {
		return nil
	}
	if err := in.Reached(p.clone()); err != nil {
		return taken{err}
	}
	return nil
}

func (in *Intake) failed(uuid string, err error) {
	if in.Failed != nil {
		in.Failed(uuid, err)
	}
}

func (in *Intake) skips(uuid string) bool { return in.Skip != nil && in.Skip(uuid) }
