package verdict

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/verdict/warninglist"
)

// reasons says what the words did to the score and the level.
func (j *Judge) reasons(t *tally, score float64, now int64) []Reason {
	var seen, reported, families, origins []*Word
	for _, w := range t.raise {
		if w.Kind == notice.KindSighting {
			seen = append(seen, w)
		} else {
			reported = append(reported, w)
		}
		switch j.namedBy(w) {
		case CauseFamily:
			families = append(families, w)
		case CauseOrigin:
			origins = append(origins, w)
		}
	}
	var out []Reason
	add := func(c Cause, words []*Word, format string, args ...any) {
		if len(words) > 0 {
			out = append(out, because(c, words, fmt.Sprintf(format, args...)))
		}
	}
	add(CauseSeen, seen, "seen by %s", members(seen))
	add(CauseReported, reported, "reported by %s%s", members(reported), from(reported))
	if n := t.members(now); score >= threshold && j.minMembers > 0 && n-t.disputers >= j.minMembers {
		add(CauseMembers, seen, "block.min_members is %d, and %d more saw it than dispute it", j.minMembers, n-t.disputers)
	}
	if score >= threshold && t.named(now) > t.disputers {
		add(CauseFamily, families, "%s is in block.families", first(families, func(w *Word) string { return w.Family }))
		add(CauseOrigin, origins, "%s is in block.origins", first(origins, func(w *Word) string { return w.Source }))
	}
	if fresh := t.score(now, true); int(score) < int(fresh) {
		add(CauseAge, t.raise, "%s: %d of %d is left", age(t.raise, now), int(score), int(fresh))
	}
	add(CauseDisputed, t.disputes, "disputed by %s", members(t.disputes))
	add(CauseRetracted, t.retracted, "taken back by %s", members(t.retracted))
	add(CauseExpired, t.expired, "too old to count, of %s", members(t.expired))
	add(CauseDrill, t.drills, "part of a drill, of %s", members(t.drills))
	return out
}

// because makes a reason of words: the latest first.
func because(c Cause, words []*Word, text string) Reason {
	words = slices.Clone(words)
	slices.SortFunc(words, func(a, b *Word) int { return cmp.Or(cmp.Compare(b.Seen, a.Seen), bytes.Compare(a.ID[:], b.ID[:])) })
	r := Reason{Cause: c, Raised: c.raises(), Text: text, IDs: make([]crypto.ItemID, min(len(words), idsMax))}
	for i := range r.IDs {
		r.IDs[i] = words[i].ID
	}
	r.More = len(words) - len(r.IDs)
	return r
}

func listed(i notice.Indicator, found []warninglist.Match) Reason {
	var names []string
	for _, m := range found {
		if name := fmt.Sprintf("%q", m.List); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	text := fmt.Sprintf("%s is on the warninglist %s", i.Value, strings.Join(names, " and "))
	if m := found[0]; m.Holds {
		text = fmt.Sprintf("blocking it would block %s, on the warninglist %s", m.Entry, strings.Join(names, " and "))
	}
	return Reason{Cause: CauseWarninglist, Text: text + ": deny it here to block it all the same"}
}

func members(words []*Word) string {
	authors := make(map[crypto.MemberID]bool, len(words))
	for _, w := range words {
		authors[w.Author] = true
	}
	if len(authors) == 1 {
		return "1 member"
	}
	return fmt.Sprintf("%d members", len(authors))
}

// from names up to three sources.
func from(words []*Word) string {
	var sources []string
	for _, w := range words {
		if w.Source != "" {
			sources = append(sources, w.Source)
		}
	}
	slices.Sort(sources)
	sources = slices.Compact(sources)
	switch n := len(sources); {
	case n == 0:
		return ""
	case n > 3:
		return fmt.Sprintf(", from %s and %d more", strings.Join(sources[:3], ", "), n-3)
	}
	return ", from " + strings.Join(sources, ", ")
}

// first returns the first in the alphabet: the words have no order of their own.
func first(words []*Word, of func(*Word) string) string {
	var all []string
	for _, w := range words {
		all = append(all, of(w))
	}
	if len(all) == 0 {
		return ""
	}
	return slices.Min(all)
}

func age(words []*Word, now int64) string {
	latest := words[0].Seen
	for _, w := range words {
		latest = max(latest, w.Seen)
	}
	const day = 24 * 60 * 60 * 1000
	switch days := (now - latest) / day; {
	case days < 1:
		return "last seen today"
	case days == 1:
		return "last seen a day ago"
	default:
		return fmt.Sprintf("last seen %d days ago", days)
	}
}
