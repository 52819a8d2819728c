package node

import (
	"sync/atomic"

	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
	"github.com/watchward/watchward/node/verdict"
)

// wordsMax is how many notices of one thing a verdict is made of.
const wordsMax = 1_000

// A policy is what this house decided, at one time. Another takes its place.
type policy struct {
	judge *verdict.Judge
	ended chan struct{} // closed when it is the policy no longer
}

// policies holds the policy of now.
type policies struct{ now atomic.Pointer[policy] }

func (p *policies) replace(j *verdict.Judge) {
	if old := p.now.Swap(&policy{j, make(chan struct{})}); old != nil {
		close(old.ended)
	}
}

// openPolicies makes the first policy.
func (n *Node) openPolicies() error {
	j, err := verdict.New(verdict.Config{})
	if err != nil {
		return err
	}
	n.policies.replace(j)
	return nil
}

// judge returns who judges under the policy of now. It is never nil.
func (n *Node) judge() *verdict.Judge { return n.policies.now.Load().judge }

// policyChanged returns a channel that is closed when what is allowed, denied or on a
// warninglist changes. Ask for it before judge or verdict: then no change is missed.
func (n *Node) policyChanged() <-chan struct{} { return n.policies.now.Load().ended }

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
		if !n.store.MayHave(c.Key()) {
			return true
		}
		var records []store.Record
		if records, err = n.store.Evidence(c.Key(), ceiling, wordsMax); err != nil {
			return false
		}
		for _, r := range records {
			w := verdict.NewWord(r.ID, r.Author, r.Notice, c)
			w.Expires, w.TLP, w.Retracted, w.Exercise = min(w.Expires, r.Expiry), r.TLP, r.Retracted, r.Exercise
			out = append(out, w)
		}
		return true
	})
	return out, err
}
