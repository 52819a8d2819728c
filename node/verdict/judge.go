package verdict

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/verdict/warninglist"
)

// A Config is a house's policy. The zero value blocks nothing, and guards what is
// special-use.
type Config struct {
	Block       BlockRule
	Allow, Deny []notice.Indicator // canonical; what is in both is allowed
	NeverBlock  NeverBlock
	// Warninglists, if not nil, name what is known to be harmless.
	Warninglists *warninglist.Set
}

// A BlockRule says what is blocked, by any of its fields. It lifts what is worth
// detecting and nothing else, and more members must stand behind it than dispute it.
type BlockRule struct {
	MinMembers int      // so many members saw it; 0 = never for that
	Families   []string // of malware, in any case
	Origins    []string // sources of imports, such as misp:ESET, in any case
}

// A Judge gives verdicts under one policy. It may be used concurrently.
type Judge struct {
	minMembers        int
	families, origins map[string]bool // lower case

	local    map[notice.Indicator]bool // allowed, or else denied
	networks map[netip.Prefix]bool     // those in local
	allowed  zone
	never    zone
	lists    *warninglist.Set
}

// New returns a Judge. The error joins a *notice.FieldError for each value of the
// policy that cannot be.
func New(c Config) (*Judge, error) {
	j := &Judge{minMembers: c.Block.MinMembers, lists: c.Warninglists}
	var problems []error
	if c.Block.MinMembers < 0 {
		problems = append(problems, &notice.FieldError{Field: "block.min_members", Reason: "it is less than 0", Fix: "give a number of members, or 0 to block nothing for that"})
	}
	j.families, problems = lowerSet("block.families", c.Block.Families, problems)
	j.origins, problems = lowerSet("block.origins", c.Block.Origins, problems)
	j.decideLocally(c.Allow, c.Deny)
	problems = j.never.guard(c.NeverBlock, problems)
	return j, errors.Join(problems...)
}

func lowerSet(field string, values []string, problems []error) (map[string]bool, []error) {
	set := make(map[string]bool, len(values))
	for i, v := range values {
		v = strings.ToLower(strings.TrimSpace(v))
		if v == "" {
			problems = append(problems, &notice.FieldError{Field: fmt.Sprintf("%s[%d]", field, i), Reason: "it is empty", Fix: "name it, or leave it out"})
			continue
		}
		set[v] = true
	}
	return set, problems
}

// Verdict judges a value by what was said of it and of what it matches, of which
// only what may be shown under a ceiling counts (0: everything). The verdict is then
// that of a node that never heard the rest. Neither order nor repetition of words
// matters.
//
// Each thing that the value matches is judged by itself, as the entry of a list
// would be, and the strongest counts.
func (j *Judge) Verdict(value notice.Indicator, words []Word, ceiling notice.TLP, now int64) Verdict {
	return j.verdict(value, words, ceiling, now, false)
}

// Brief is Verdict without Expires and Reasons, at a fraction of its cost.
func (j *Judge) Brief(value notice.Indicator, words []Word, ceiling notice.TLP, now int64) Verdict {
	v := j.verdict(value, words, ceiling, now, true)
	v.Expires, v.Reasons = 0, nil
	return v
}

// AsksWho reports whether verdicts depend on the families and sources of words.
func (j *Judge) AsksWho() bool { return len(j.families)+len(j.origins) > 0 }

// Decided returns how many values are allowed or denied here.
func (j *Judge) Decided() int { return len(j.local) }

// Decides reports whether a value, a parent, a network around it or its host is allowed
// or denied here.
func (j *Judge) Decides(value notice.Indicator) bool {
	_, _, ok := j.decided(value)
	return ok
}

func (j *Judge) verdict(value notice.Indicator, words []Word, ceiling notice.TLP, now int64, brief bool) Verdict {
	heard, retracted := hear(value, words, ceiling)
	var best Verdict
	for len(heard) > 0 {
		about := heard[0].about(value)
		end := slices.IndexFunc(heard, func(w *Word) bool { return w.about(value) != about })
		if end < 0 {
			end = len(heard)
		}
		v := j.weigh(value, j.count(about, heard[:end], retracted, now), now, brief)
		lasts := v.Expires
		if v.Level == best.Level {
			lasts = max(lasts, best.Expires) // while one of them holds it
		}
		if best.Matched == (notice.Indicator{}) || stronger(&v, &best, value) {
			best = v
		}
		if v.Level == best.Level {
			best.Expires = lasts
		}
		heard = heard[end:]
	}
	if !best.Guarded {
		best.Said = best.Level
	}
	return j.overrule(value, best)
}

// A taken is what an author took back.
type taken struct {
	author crypto.MemberID
	id     crypto.ItemID
}

func (w *Word) about(value notice.Indicator) notice.Indicator {
	if w.About == (notice.Indicator{}) {
		return value
	}
	return w.About
}

// hear returns the words that may be shown, each once, by what they are about and
// then by id, and what they take back.
func hear(value notice.Indicator, words []Word, ceiling notice.TLP) ([]*Word, map[taken]bool) {
	heard := make([]*Word, 0, len(words))
	var retracted map[taken]bool
	for i := range words {
		w := &words[i]
		if !notice.Leaves(w.TLP, crypto.AudienceLocal, notice.ExitAPI, ceiling) {
			continue
		}
		if w.Kind != notice.KindRetraction {
			heard = append(heard, w)
			continue
		}
		if retracted == nil {
			retracted = map[taken]bool{}
		}
		retracted[taken{w.Author, w.Ref}] = true
	}
	slices.SortFunc(heard, func(a, b *Word) int {
		return cmp.Or(compare(a.about(value), b.about(value)), bytes.Compare(a.ID[:], b.ID[:]), bytes.Compare(a.Author[:], b.Author[:]), cmp.Compare(a.standing(), b.standing()))
	})
	heard = slices.CompactFunc(heard, func(a, b *Word) bool {
		return a.ID == b.ID && a.Author == b.Author && a.about(value) == b.about(value)
	})
	return heard, retracted
}

func compare(a, b notice.Indicator) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), strings.Compare(a.Value, b.Value))
}

// standing is less for what counts for less: of two copies that stands which says more
// of what became of the word.
func (w *Word) standing() int {
	switch {
	case w.Retracted:
		return 0
	case w.Exercise:
		return 1
	}
	return 2
}

// weigh judges what was said of one thing.
func (j *Judge) weigh(value notice.Indicator, t *tally, now int64, brief bool) Verdict {
	score := t.score(now, false)
	v := Verdict{Score: int(score), Matched: t.about}
	cap, listed, guards := j.guards(value, t.about)
	v.Guarded, v.Listed = len(guards) > 0, listed
	v.Level = min(cap, j.level(t, now, score >= threshold))
	if held, ok := j.allowed.holds(t.about); ok && v.Level > Detect {
		v.Level, cap = Detect, Detect
		guards = append(guards, Reason{Cause: CauseAllowed, Text: held.value + ", which blocking it would block, is allowed here"})
	}
	if brief {
		return v
	}
	if v.Level > None {
		v.Expires = j.falls(t, cap, v.Level, now)
	}
	v.Reasons = append(j.reasons(t, score, now), guards...)
	return v
}

// level is what the words and the policy come to.
func (j *Judge) level(t *tally, at int64, detected bool) Level {
	switch {
	case !detected:
		return None
	case j.minMembers > 0 && t.members(at)-t.disputers >= j.minMembers, t.named(at) > t.disputers:
		return Block
	}
	return Detect
}

// falls returns when a level is lost by age alone. Scores only fall, so it is
// searched by halves.
func (j *Judge) falls(t *tally, cap, level Level, now int64) int64 {
	ends := now
	for i := range t.voices {
		ends = max(ends, t.voices[i].ends)
	}
	for now+1 < ends { // the level holds at now and is lost at ends
		at := now + (ends-now)/2
		if min(cap, j.level(t, at, t.detected(at))) >= level {
			now = at
		} else {
			ends = at
		}
	}
	return ends
}

// stronger reports whether a counts before b: by level, by score, then what is
// closer to the value.
func stronger(a, b *Verdict, value notice.Indicator) bool {
	return cmp.Or(
		cmp.Compare(a.Level, b.Level), cmp.Compare(a.Score, b.Score),
		cmp.Compare(closeness(a.Matched, value), closeness(b.Matched, value)), -compare(a.Matched, b.Matched),
	) > 0
}

func closeness(matched, value notice.Indicator) int {
	if matched == value {
		return math.MaxInt
	}
	if matched.Type == notice.TypeCIDR {
		if p, err := netip.ParsePrefix(matched.Value); err == nil {
			return p.Bits()
		}
	}
	return len(matched.Value)
}

// namedBy returns the cause for which a word's value is to be blocked, or "".
func (j *Judge) namedBy(w *Word) Cause {
	switch {
	case w.Family != "" && len(j.families) > 0 && j.families[strings.ToLower(w.Family)]:
		return CauseFamily
	case w.Source != "" && len(j.origins) > 0 && j.origins[strings.ToLower(w.Source)]:
		return CauseOrigin
	}
	return ""
}
