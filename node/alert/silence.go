package alert

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/watchward/watchward/node/notice"
)

// whyMax is how many bytes the reason of a silence may have.
const whyMax = 500

// Silence keeps what matches from telling anybody at once, for so long.
func (e *Engine) Silence(m Match, life time.Duration, why, by string, now int64) (Silence, Changes, error) {
	s := Silence{Match: Match{}, Until: now + life.Milliseconds(), Why: why, By: by, Created: now}
	for field, words := range m {
		if len(words) == 0 {
			continue
		}
		if !slices.Contains(Fields(), field) {
			return s, Changes{}, &notice.FieldError{Field: "match", Reason: fmt.Sprintf("%.80q is nothing to choose by", field), Fix: "choose " + strings.Join(Fields(), ", ")}
		}
		s.Match[field] = words
	}
	switch {
	case len(s.Match) == 0:
		return s, Changes{}, &notice.FieldError{Field: "match", Reason: "this would silence everything", Fix: "name a kind, a value, an author …"}
	case life < time.Minute || life > SilenceMax:
		return s, Changes{}, &notice.FieldError{Field: "seconds", Reason: fmt.Sprintf("%s is out of range", life), Fix: "choose 1 minute to 30 days"}
	case why == "":
		return s, Changes{}, &notice.FieldError{Field: "why", Reason: "the reason is missing", Fix: "say why, for whoever wonders later"}
	case len(why) > whyMax:
		return s, Changes{}, &notice.FieldError{Field: "why", Reason: fmt.Sprintf("it has %d bytes", len(why)), Fix: fmt.Sprintf("use at most %d", whyMax)}
	case len(e.silences) >= SilencesMax:
		return s, Changes{}, &notice.FieldError{Field: "match", Reason: fmt.Sprintf("there are %d silences", len(e.silences)), Fix: "end one first"}
	}
	s.ID = strconv.FormatUint(e.number(), 10)
	e.silences[s.ID] = &s
	e.out.keep(nameSilence+s.ID, marshal(s))
	return s, e.take(), nil
}

// Speak ends a silence; false if there is none with that id.
func (e *Engine) Speak(id string) (Silence, bool, Changes) {
	s := e.silences[id]
	if s == nil {
		return Silence{}, false, Changes{}
	}
	delete(e.silences, id)
	e.out.keep(nameSilence+id, nil)
	return *s, true, e.take()
}

// Silences returns those that hold, what ends first in front.
func (e *Engine) Silences(now int64) []Silence {
	var out []Silence
	for _, s := range e.silences {
		if s.Until > now {
			out = append(out, *s)
		}
	}
	slices.SortFunc(out, func(a, b Silence) int { return cmp.Or(cmp.Compare(a.Until, b.Until), cmp.Compare(a.ID, b.ID)) })
	return out
}

func (e *Engine) silenced(ev *Event, now int64) bool {
	for s := range maps.Values(e.silences) {
		if s.Until > now && s.Match.matches(ev) {
			return true
		}
	}
	return false
}

// quiet keeps an alert that is silenced as a group, and for the digest.
func (e *Engine) quiet(r *Rule, ev *Event, now int64) {
	if ev.Alert == 0 {
		return
	}
	e.note(ev, "silenced: ")
	if r.Do != Page {
		return
	}
	key := groupKey(r, ev)
	if g := e.byKey[key]; g != nil && g.joinable(now) {
		e.join(g, ev)
		return
	}
	e.open(r, ev, key).State = Silenced
}
