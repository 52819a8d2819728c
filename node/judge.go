package node

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
	"github.com/watchward/watchward/node/verdict"
	"github.com/watchward/watchward/node/verdict/warninglist"
)

// A policy is what this house decided, at one time. Another takes its place.
type policy struct {
	judge *verdict.Judge
	lists *warninglist.Set
	ended chan struct{} // closed when it is the policy no longer
}

// policies keeps the policy of now up with what is decided here and with the
// warninglists.
type policies struct {
	n   *Node
	now atomic.Pointer[policy]

	// mu is held while something changes, from the store to the judge, so that both
	// come to the same.
	mu      sync.Mutex
	decided map[notice.Indicator]store.Policy
	sorted  []notice.Indicator // of decided

	lists listsDir
}

// openPolicies makes the first policy. Warninglists are read before anything is judged:
// what they keep from being blocked must not be in a feed for the first second.
func (n *Node) openPolicies() error {
	p := &policies{n: n, decided: map[notice.Indicator]store.Policy{}}
	n.policies = p
	if dir := n.inDir(n.o.Settings.Warninglists.Dir); dir != "" {
		p.lists = listsDir{path: dir, log: n.log}
		p.lists.refresh()
	}
	stored, err := n.store.Policies()
	if err != nil {
		return err
	}
	for _, s := range stored {
		p.decided[s.Indicator] = s
	}
	return p.renew()
}

// renew makes a policy of what holds now. mu is held, or nobody else is there yet.
func (p *policies) renew() error {
	c := p.n.o.Settings.Verdicts()
	c.Warninglists = p.lists.set
	p.sorted = p.sorted[:0]
	for i, s := range p.decided {
		p.sorted = append(p.sorted, i)
		if s.Denied {
			c.Deny = append(c.Deny, i)
		} else {
			c.Allow = append(c.Allow, i)
		}
	}
	slices.SortFunc(p.sorted, compareIndicators)
	j, err := verdict.New(c)
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if old := p.now.Swap(&policy{j, p.lists.set, make(chan struct{})}); old != nil {
		close(old.ended)
	}
	return nil
}

// judge returns who judges under the policy of now. It is never nil.
func (n *Node) judge() *verdict.Judge { return n.policies.now.Load().judge }

// policyChanged returns a channel that is closed when what is allowed, denied or on a
// warninglist changes. Ask for it before judge or verdict: then no change is missed.
func (n *Node) policyChanged() <-chan struct{} { return n.policies.now.Load().ended }

// warnlisted reports whether a value itself is on a warninglist.
func (n *Node) warnlisted(i notice.Indicator) bool {
	return slices.ContainsFunc(n.policies.now.Load().lists.Match(i), func(m warninglist.Match) bool { return !m.Holds })
}

// verdict judges a value by all that matches it, its host included, of which only
// what may be shown under a ceiling counts (0: everything).
func (n *Node) verdict(i notice.Indicator, ceiling notice.TLP) (verdict.Verdict, error) {
	words, err := n.words(i, ceiling)
	if err != nil {
		return verdict.Verdict{}, err
	}
	return n.judge().Verdict(i, words, ceiling, n.now().UnixMilli()), nil
}

// words returns what was said of a value and of what it matches.
func (n *Node) words(i notice.Indicator, ceiling notice.TLP) (out []verdict.Word, err error) {
	n.candidates(i, true, func(c notice.Indicator) bool {
		if n.store.MayHave(c.Key()) {
			out, err = n.wordsOf(out, c, ceiling)
		}
		return err == nil
	})
	return out, err
}

// wordsOf appends what was said of one thing.
func (n *Node) wordsOf(out []verdict.Word, about notice.Indicator, ceiling notice.TLP) ([]verdict.Word, error) {
	said, err := n.store.Words(about.Key(), ceiling)
	return wordsAbout(out, said, about), err
}

// wordsAbout appends words of the store about one thing.
func wordsAbout(out []verdict.Word, said []store.Word, about notice.Indicator) []verdict.Word {
	for _, w := range said {
		out = append(out, verdict.Word{
			ID: w.ID, Author: w.Author, Kind: w.Kind, About: about, Seen: w.Last, Expires: w.Expiry,
			Source: w.Source, Family: w.Family, TLP: w.TLP, Retracted: w.Retracted, Exercise: w.Exercise,
		})
	}
	return out
}

// unread is the place of a reading that has no verdict.
const unread = -1

// A lookup adds verdicts to answers: to what is known, and to what is decided here.
type lookup struct {
	n        *Node
	o        api.LookupOptions
	judge    *verdict.Judge
	answers  []api.LookupAnswer
	readings []notice.Indicator
	by       []int // of each answer, the place of the reading that is judged, or unread

	words []verdict.Word // room
}

// verdicts judges by the summaries of all candidates, which come by value.
func (l *lookup) verdicts(all []candidate, summaries []store.Summary) error {
	views := make([]api.VerdictView, 0, len(l.readings))
	at := 0
	for i, place := range l.by {
		begin := at
		for at < len(all) && all[at].of == i {
			at++
		}
		if place == unread {
			continue
		}
		value := l.readings[place]
		if l.o.Reasons {
			v, err := l.n.verdict(value, l.o.Ceiling)
			if err != nil {
				return err
			}
			l.answers[i].Verdict = verdictView(v, value)
			continue
		}
		v, err := l.brief(value, place, all[begin:at], summaries[begin:at])
		if err != nil {
			return err
		}
		views = append(views, api.VerdictView{Level: v.Level.String(), Score: v.Score, Guarded: v.Guarded, Listed: v.Listed})
		l.answers[i].Verdict = &views[len(views)-1]
	}
	return nil
}

// brief judges a value without the reasons, which would cost reading all that was said
// of it.
func (l *lookup) brief(value notice.Indicator, place int, found []candidate, summaries []store.Summary) (verdict.Verdict, error) {
	l.words = l.words[:0]
	for j := range found {
		if found[j].reading != place {
			continue
		}
		if err := l.hear(found[j].Indicator, &summaries[j]); err != nil {
			return verdict.Verdict{}, err
		}
	}
	if host, ok := value.Host(); ok && !l.o.Hosts {
		var err error
		l.n.candidates(host, false, func(c notice.Indicator) bool {
			var s store.Summary
			if s, _, err = l.n.store.Summary(c.Key(), l.o.Ceiling); err == nil {
				err = l.hear(c, &s)
			}
			return err == nil
		})
		if err != nil {
			return verdict.Verdict{}, err
		}
	}
	return l.judge.Brief(value, l.words, l.o.Ceiling, l.n.now().UnixMilli()), nil
}

// hear notes what was said of one thing. A summary of one voice says all of it that
// counts, unless the policy asks whose it is; else the words are read. One member has
// one voice however often it saw something, that of its latest sighting.
func (l *lookup) hear(about notice.Indicator, s *store.Summary) (err error) {
	kind := notice.Kind(0)
	switch {
	case s.Members == 0 && s.Reports == 0: // what is only disputed is worth nothing
		return nil
	case s.Disputes > 0 || l.judge.AsksWho():
	case s.Members == 1 && s.Reports == 0:
		kind = notice.KindSighting
	case s.Members == 0 && s.Reports == 1:
		kind = notice.KindIndicator
	}
	if kind == 0 {
		l.words, err = l.n.wordsOf(l.words, about, l.o.Ceiling)
		return err
	}
	l.words = append(l.words, verdict.Word{Kind: kind, About: about, Seen: s.Last, Expires: math.MaxInt64, TLP: s.TLP})
	return nil
}

// verdictView is a verdict with its reasons. Matched is left out where it is the value.
func verdictView(v verdict.Verdict, value notice.Indicator) *api.VerdictView {
	out := &api.VerdictView{Level: v.Level.String(), Score: v.Score, Guarded: v.Guarded, Listed: v.Listed, Expires: api.Time(v.Expires)}
	if v.Matched != (notice.Indicator{}) && v.Matched != value {
		out.Matched = &api.Indicator{Type: v.Matched.Type.String(), Value: v.Matched.Value}
	}
	for _, r := range v.Reasons {
		out.Reasons = append(out.Reasons, api.VerdictReason{Cause: string(r.Cause), Raised: r.Raised, Text: r.Text, IDs: idTexts(r.IDs), More: r.More})
	}
	return out
}

// warnings are what a person should know of the policy.
func (p *policies) warnings() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lists.warnings()
}

// watch keeps the policy up with the warninglists until the node stops.
func (p *policies) watch() {
	tick := time.NewTicker(listsEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.n.ctx.Done():
			return
		case <-tick.C:
			p.refresh()
		}
	}
}

// refresh looks at the warninglists, and takes a change in. Reading a million entries
// takes seconds, in which nobody waits who allows or denies something. One goroutine
// calls it.
func (p *policies) refresh() {
	p.mu.Lock()
	lists := p.lists
	p.mu.Unlock()
	changed := lists.refresh()
	p.mu.Lock()
	p.lists = lists
	var err error
	if changed {
		err = p.renew()
	}
	p.mu.Unlock()
	if err != nil {
		p.n.log.Error("policy", slog.Any("err", err))
	}
	if changed {
		p.n.picture.anew() // what is on a list counts otherwise
	}
}
