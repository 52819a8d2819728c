package node

import (
	"context"
	"errors"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// A candidate is an indicator that may be here and whose presence makes a value
// known.
type candidate struct {
	of      int  // the value's place
	reading int  // what it was read as: a place in a list of such
	itself  bool // it is what the value was read as first
	notice.Indicator
}

// Lookup implements api.Node: each value by the one matching rule, the most
// specific match first.
func (n *Node) Lookup(ctx context.Context, values []string, o api.LookupOptions) ([]api.LookupAnswer, error) {
	answers := make([]api.LookupAnswer, len(values))
	l := lookup{n: n, o: o, judge: n.judge(), answers: answers, by: make([]int, len(values))}
	all := make([]candidate, 0, len(values))
	keys := make([]notice.Key, 0, len(values))
	var room [readingsMax]notice.Indicator
	for i, value := range values {
		answers[i].Value, l.by[i] = value, unread
		asked, err := readings(room[:0], value)
		if err != nil {
			answers[i].Reason = reason(err)
		} else {
			answers[i].Type = asked[0].Type.String()
			if l.judge.Decided() > 0 && l.judge.Decides(asked[0]) {
				l.by[i], l.readings = len(l.readings), append(l.readings, asked[0])
			}
		}
		first := err == nil
		for _, reading := range asked {
			kept := unread
			n.candidates(reading, o.Hosts, func(c notice.Indicator) bool {
				if key := c.Key(); n.store.MayHave(key) {
					if kept == unread {
						kept, l.readings = len(l.readings), append(l.readings, reading)
					}
					all, keys = append(all, candidate{i, kept, first, c}), append(keys, key)
				}
				first = false
				return true
			})
		}
	}
	summaries, err := n.store.Summaries(keys, o.Ceiling)
	if err != nil {
		return nil, err
	}
	views := make([]api.Summary, len(summaries))
	for j := range all {
		a, s := &answers[all[j].of], &summaries[j]
		known := s.Members > 0 || s.Reports > 0
		// A dispute alone makes nothing known, and hides nothing that is.
		if a.Known || !known && (s.Disputes == 0 || a.Summary != nil) {
			continue
		}
		views[j] = summaryView(*s)
		a.Known, a.Reason, a.Summary, a.Matched = known, "", &views[j], nil
		if known {
			l.by[all[j].of] = all[j].reading
		}
		if !all[j].itself {
			a.Matched = &api.Indicator{Type: all[j].Type.String(), Value: all[j].Value}
		}
	}
	if err := l.verdicts(all, summaries); err != nil {
		return nil, err
	}
	return answers, ctx.Err()
}

func reason(err error) string {
	if field := (*notice.FieldError)(nil); errors.As(err, &field) {
		return field.Reason
	}
	return err.Error()
}

// readingsMax is how many things a value may stand for.
const readingsMax = 3

// lookalikes are types that are written like the detected one, and those that
// have no look of their own (0).
var lookalikes = [...][]notice.Type{
	notice.TypeMD5:      {notice.TypeJA3},
	notice.TypeSHA256:   {notice.TypeCertSHA256},
	notice.TypeDomain:   {notice.TypeFilename},
	notice.TypeFilename: {notice.TypeMutex},
	0:                   {notice.TypeFilename, notice.TypeMutex},
	notice.TypeBTC:      nil, // the last
}

// readings appends to out what a value may stand for, the likeliest first:
// whoever asks does not say the type under which another hospital stated it. The
// error says why nothing was detected; there may be readings all the same.
func readings(out []notice.Indicator, value string) ([]notice.Indicator, error) {
	asked, err := notice.Detect(value, notice.Options{AllowSpecial: true})
	if err == nil {
		out = append(out, asked)
	}
	for _, t := range lookalikes[asked.Type] {
		if other, err := notice.Canonical(t, value, notice.Options{AllowSpecial: true}); err == nil {
			out = append(out, other)
		}
	}
	return out, err
}

// candidates yields the indicators whose presence makes a value known, without
// networks that are not here.
func (n *Node) candidates(asked notice.Indicator, hosts bool, yield func(notice.Indicator) bool) {
	asked.MatchesIn(n.store.MayHaveNetwork)(yield)
	if !hosts {
		return
	}
	if host, ok := asked.Host(); ok {
		host.MatchesIn(n.store.MayHaveNetwork)(yield)
	}
}
