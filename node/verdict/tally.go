package verdict

import (
	"math"
	"slices"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// A tally is what was said of one indicator.
type tally struct {
	about notice.Indicator

	// By what they do to the verdict, and voices of raise in the same order.
	raise, disputes, retracted, expired, drills []*Word
	voices                                      []voice
	authors, sources                            int // how many there are among the voices
	disputers                                   int // distinct members that dispute it

	// apart says that each author has one source of its own: no word says again
	// what another has said.
	apart bool

	scratch
}

// A voice is a word that raises.
type voice struct {
	author, source int // numbers within the tally
	base           float64
	seen, ends     int64 // ms
	sighting       bool
	named          bool // by block.families or block.origins
}

// A scratch is room that score and blocked use again and again.
type scratch struct {
	byAuthor, bySource []float64
	marked             []bool
}

// An origin is whose word it is in the end: an import's source, or else its author.
type origin struct {
	member crypto.MemberID
	source string
}

func (w *Word) origin() origin {
	if w.Source != "" {
		return origin{source: strings.ToLower(w.Source)}
	}
	return origin{member: w.Author}
}

// count sorts out the words about one indicator, which come in order of id.
func (j *Judge) count(about notice.Indicator, words []*Word, retracted map[taken]bool, now int64) *tally {
	t := &tally{about: about}
	var disputers map[crypto.MemberID]bool // how many dispute it
	silenced := map[silence]bool{}         // who raise it no more
	for _, w := range words {
		switch {
		case w.Kind == notice.KindRetraction:
		case w.Retracted || retracted[taken{w.Author, w.ID}]:
			t.retracted = append(t.retracted, w)
		case w.Exercise:
			t.drills = append(t.drills, w)
		case w.Kind == notice.KindDispute && w.Expires > now:
			t.disputes = append(t.disputes, w)
			if disputers == nil {
				disputers = map[crypto.MemberID]bool{}
			}
			disputers[w.Author] = true
			silenced[silence{w.Author, w.Source}] = true
		case w.Kind == notice.KindSighting || w.Kind == notice.KindIndicator:
			t.raise = append(t.raise, w)
		}
	}
	t.disputers = len(disputers)
	t.listen(j, silenced, now)
	return t
}

// A silence is of who disputes a value: a member, and of what it passed on a source, for
// which its own word does not stand.
type silence struct {
	author crypto.MemberID
	source string
}

// listen makes the voices. Who disputes a value raises it no more; a member that disputes
// it itself passes nobody's word on either.
func (t *tally) listen(j *Judge, silenced map[silence]bool, now int64) {
	m := modelOf(t.about.Type)
	all := t.raise
	t.raise = make([]*Word, 0, len(all))
	t.voices = make([]voice, 0, len(all))
	authors, sources := make(map[crypto.MemberID]int, len(all)), make(map[origin]int, len(all))
	pairs := make(map[[2]int]bool, len(all))
	for _, w := range all {
		if silenced[silence{w.Author, ""}] || silenced[silence{w.Author, w.Source}] {
			continue
		}
		ends := min(w.Expires, addCapped(w.Seen, int64(m.lifetime)))
		if ends <= now {
			t.expired = append(t.expired, w)
			continue
		}
		v := voice{
			author: number(authors, w.Author), source: number(sources, w.origin()),
			base: baseReported, seen: w.Seen, ends: ends, named: j.namedBy(w) != "",
		}
		if w.Kind == notice.KindSighting {
			v.base, v.sighting = baseSeen, true
		}
		pairs[[2]int{v.author, v.source}] = true
		t.raise, t.voices = append(t.raise, w), append(t.voices, v)
	}
	t.authors, t.sources = len(authors), len(sources)
	t.apart = len(pairs) == t.authors && len(pairs) == t.sources
	t.scratch = scratch{make([]float64, t.authors), make([]float64, t.sources), make([]bool, t.authors+t.sources)}
}

// number returns k's number among those met so far.
func number[K comparable](met map[K]int, k K) int {
	n, ok := met[k]
	if !ok {
		n = len(met)
		met[k] = n
	}
	return n
}

func addCapped(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// score returns what the voices are worth at a time ≥ now, 0 … 100, as if they
// were as old as they are, or all fresh.
//
// Each member has one voice, its best word, and so has each source, or members
// who imported the same feed would confirm each other and one member could speak
// for many. Both lists are sorted and the n-th voice is the lesser of the n-th of
// each: whatever is taken away, none of them rises. Voices are added up as
// independent chances. Disputes leave r of r + d.
func (t *tally) score(at int64, fresh bool) float64 {
	clear(t.byAuthor)
	clear(t.bySource)
	m := modelOf(t.about.Type)
	for i := range t.voices {
		v := &t.voices[i]
		if at >= v.ends {
			continue
		}
		worth := v.base / 100
		if !fresh {
			worth *= m.left(at - v.seen)
		}
		t.byAuthor[v.author] = max(t.byAuthor[v.author], worth)
		t.bySource[v.source] = max(t.bySource[v.source], worth)
	}
	// In order, so that the order of the words is not in the last bits.
	slices.Sort(t.byAuthor)
	if !t.apart {
		slices.Sort(t.bySource)
	}
	wrong, heard := 1.0, 0
	for n := 1; n <= min(t.authors, t.sources); n++ {
		worth := t.byAuthor[t.authors-n]
		if !t.apart {
			worth = min(worth, t.bySource[t.sources-n])
		}
		if worth <= 0 {
			break
		}
		wrong *= 1 - worth
		heard++
	}
	if heard == 0 {
		return 0
	}
	worth := 100 * (1 - wrong) * float64(heard) / float64(heard+t.disputers)
	return math.Round(worth*1e6) / 1e6 // the same on every processor
}

// detected reports whether the score reaches the threshold. Where nobody disputes, one
// voice that reaches it is enough, and saves most of the work.
func (t *tally) detected(at int64) bool {
	if t.disputers == 0 {
		m := modelOf(t.about.Type)
		for i := range t.voices {
			if v := &t.voices[i]; at < v.ends && v.base*m.left(at-v.seen) >= threshold {
				return true
			}
		}
	}
	return t.score(at, false) >= threshold
}

// members returns how many saw it whose words count at a time: never more than
// members, and never more than sources.
func (t *tally) members(at int64) int {
	return t.distinct(at, func(v *voice) bool { return v.sighting })
}

// named returns how many named a family or a source that is to be blocked.
func (t *tally) named(at int64) int { return t.distinct(at, func(v *voice) bool { return v.named }) }

func (t *tally) distinct(at int64, counts func(*voice) bool) int {
	clear(t.marked)
	authors, sources := 0, 0
	for i := range t.voices {
		v := &t.voices[i]
		if at >= v.ends || !counts(v) {
			continue
		}
		authors += mark(t.marked, v.author)
		sources += mark(t.marked, t.authors+v.source)
	}
	return min(authors, sources)
}

func mark(marked []bool, i int) int {
	if marked[i] {
		return 0
	}
	marked[i] = true
	return 1
}
