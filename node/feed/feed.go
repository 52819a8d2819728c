// Package feed makes lists for enforcement points of what a node has judged: which
// values belong in a list, how each consumer writes them, and when a list that
// shrinks waits for a person. It listens nowhere; package node serves what it makes.
//
// Times are milliseconds since the Unix epoch. See DESIGN.md for the rules.
package feed

import (
	"bytes"
	"cmp"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/verdict"
)

// A Policy says what belongs in a feed and how it is written.
type Policy struct {
	Name   string
	Format Format
	Types  []notice.Type // those that Format carries
	// Level is the least that a value must be worth: verdict.Block for a list that
	// stops, verdict.Detect for one that watches.
	Level      verdict.Level
	TLP        notice.TLP    // words above it do not count; required
	MaxAge     time.Duration // since it was last seen or stated; 0 = as long as it counts
	MaxEntries int           // the first by priority; 0 = as many as the format takes
	Zone       string        // of an RPZ, canonical without the last dot
}

// An Entry is a value in a feed. Its exported fields never change.
type Entry struct {
	notice.Indicator
	Since   int64  // when it came into this list
	Seen    int64  // when it was last seen, or stated; 0 = nobody said
	Until   int64  // when it leaves if nobody says anything more, 0 = never
	Members uint32 // that saw it
	Denied  bool   // denied here

	// Of the one goroutine that owns the list.
	size    int    // bytes of its lines
	epoch   uint64 // of the last build that found it
	in      bool   // within the list's limits
	held    bool   // belongs here no longer, and waits for a word
	gone    bool   // in the list no longer
	leaving bool   // wants to leave with this batch
	shown   bool   // in what was published last
}

// A Cause says why a value is not in a feed.
type Cause uint8

const (
	In      Cause = iota // it is
	Unsaid               // nobody says anything of it: expired, taken back, or never said
	Old                  // last seen too long ago for this feed
	Low                  // worth less than the feed asks for
	Listed               // on a warninglist
	Never                // on the never-block list
	Allowed              // allowed here
	Kind                 // of a type that the feed does not take
	Unfit                // its format cannot carry it
)

var causes = [...]string{In: "in", Unsaid: "unsaid", Old: "old", Low: "low", Listed: "warninglist", Never: "never-block", Allowed: "allowed", Kind: "type", Unfit: "unfit"}

func (c Cause) String() string { return causes[c] }

// Counted reports whether leaving for this cause is a shrink that may wait for a
// word. What expired or was taken back is none, and what must not be blocked, or is
// known to be harmless, waits for nobody.
func (c Cause) Counted() bool { return c == Low || c == Kind }

// A Decision is what a feed does about a value.
type Decision struct {
	Cause   Cause
	Entry   Entry // if In
	Reason  string
	Verdict verdict.Verdict
}

// Decide judges one value by what was said of it alone, as the entry of a list that
// it would be: its parents and networks are entries of their own. Exercises do not
// count.
func (p *Policy) Decide(j *verdict.Judge, i notice.Indicator, words []verdict.Word, now int64) Decision {
	words = p.hear(i, words, now)
	d := Decision{Verdict: j.Verdict(i, words, p.TLP, now)}
	d.Cause, d.Reason = p.cause(i, &d.Verdict, words, now)
	if d.Cause != In {
		return d
	}
	d.Entry = p.entry(i, &d.Verdict, words, now)
	return d
}

// hear leaves out what no feed counts: drills, and what is too strict, too old or over.
func (p *Policy) hear(i notice.Indicator, words []verdict.Word, now int64) []verdict.Word {
	heard := make([]verdict.Word, 0, len(words))
	for _, w := range words {
		if !w.Exercise && !w.Retracted && w.Expires > now && notice.Leaves(w.TLP, crypto.AudienceLocal, notice.ExitAPI, p.TLP) {
			w.About = i
			heard = append(heard, w)
		}
	}
	return heard
}

func (p *Policy) takes(t notice.Type) bool {
	for _, x := range p.Types {
		if x == t {
			return true
		}
	}
	return false
}

// cause says whether a judged value belongs here, and if not why.
func (p *Policy) cause(i notice.Indicator, v *verdict.Verdict, words []verdict.Word, now int64) (Cause, string) {
	if !p.takes(i.Type) {
		return Kind, "this feed takes no " + i.Type.String()
	}
	denied := false
	for _, r := range v.Reasons {
		switch r.Cause {
		case verdict.CauseSpecial, verdict.CauseOwn, verdict.CauseSupplier, verdict.CauseClinical:
			return Never, r.Text
		case verdict.CauseAllowed:
			if v.Level < p.Level { // what is around something allowed may still be watched
				return Allowed, r.Text
			}
		case verdict.CauseWarninglist:
			return Listed, r.Text
		case verdict.CauseDenied:
			denied = true
		}
	}
	switch seen := lastSeen(words); {
	case v.Guarded:
		return Never, "it is never blocked"
	case !denied && seen == 0:
		return Unsaid, "nobody says anything of it that may be in this feed"
	case v.Level < p.Level:
		return Low, "it is worth " + v.Level.String() + " here, and this feed asks for " + p.Level.String()
	case !denied && p.MaxAge > 0 && seen <= now-p.MaxAge.Milliseconds():
		return Old, "it was last seen longer than max_age ago"
	}
	if _, err := p.Format.line(nil, p, &Entry{Indicator: i}); err != nil {
		return Unfit, err.Error()
	}
	return In, ""
}

func raises(w *verdict.Word) bool {
	return w.Kind == notice.KindSighting || w.Kind == notice.KindIndicator
}

func lastSeen(words []verdict.Word) (seen int64) {
	for i := range words {
		if raises(&words[i]) {
			seen = max(seen, words[i].Seen, 1)
		}
	}
	return seen
}

// entry makes the entry of a value that belongs here. All that it is sorted by comes
// from the words, so that two nodes that heard the same make the same list.
func (p *Policy) entry(i notice.Indicator, v *verdict.Verdict, words []verdict.Word, now int64) Entry {
	e := Entry{Indicator: i, Since: now, Seen: lastSeen(words), Until: v.Expires}
	for _, r := range v.Reasons {
		e.Denied = e.Denied || r.Cause == verdict.CauseDenied
	}
	authors := map[crypto.MemberID]bool{}
	for k := range words {
		if words[k].Kind == notice.KindSighting {
			authors[words[k].Author] = true
		}
	}
	e.Members = uint32(len(authors))
	if p.MaxAge > 0 && !e.Denied {
		e.Until = earlier(e.Until, e.Seen+p.MaxAge.Milliseconds())
	}
	return e
}

func earlier(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// Poisoned says why a value that would be blocked is in no feed, "" if it would not,
// or is. A person should know: it is a mistake or an attack.
func (d *Decision) Poisoned() string {
	if d.Cause != Never && d.Cause != Listed {
		return ""
	}
	for _, r := range d.Verdict.Reasons {
		switch r.Cause {
		case verdict.CauseMembers, verdict.CauseFamily, verdict.CauseOrigin, verdict.CauseDenied:
			return d.Reason
		case verdict.CauseSeen, verdict.CauseReported:
			if d.Cause == Never {
				return d.Reason
			}
		}
	}
	return ""
}

// Guards says whether a value is never blocked or allowed here, whatever was said.
func (p *Policy) Guards(j *verdict.Judge, i notice.Indicator, now int64) (Cause, string) {
	word := verdict.Word{Kind: notice.KindSighting, Seen: now, Expires: now + 1, TLP: notice.TLPClear}
	d := p.Decide(j, i, []verdict.Word{word}, now)
	if d.Cause == Never || d.Cause == Allowed {
		return d.Cause, d.Reason
	}
	return In, ""
}

// byValue orders the lines of a list.
func byValue(a, b *Entry) int {
	return cmp.Or(strings.Compare(a.Value, b.Value), cmp.Compare(a.Type, b.Type))
}

// byPriority orders what is kept when not all fits: denied here, then what more
// members saw, then what was seen last, then by value.
func byPriority(a, b *Entry) int {
	return cmp.Or(-compareBool(a.Denied, b.Denied), -cmp.Compare(a.Members, b.Members), -cmp.Compare(a.Seen, b.Seen), byValue(a, b))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// same reports whether two entries say the same.
func (e *Entry) same(o *Entry) bool {
	return e.Indicator == o.Indicator && e.Seen == o.Seen && e.Until == o.Until && e.Members == o.Members && e.Denied == o.Denied
}

// text returns the lines of an entry, nil if the format cannot carry it.
func (p *Policy) text(e *Entry) []byte {
	b, err := p.Format.line(nil, p, e)
	if err != nil {
		return nil
	}
	return bytes.Clone(b)
}

// Read returns what a person means by a value in this feed: of what it may stand for,
// the first of a type that the feed takes.
func (p *Policy) Read(value string) (notice.Indicator, error) {
	i, err := notice.Detect(value, notice.Options{AllowSpecial: true})
	if err == nil && p.takes(i.Type) {
		return i, nil
	}
	for _, t := range p.Types {
		if other, e := notice.Canonical(t, value, notice.Options{AllowSpecial: true}); e == nil {
			return other, nil
		}
	}
	return i, err
}
