package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
	"github.com/watchward/watchward/node/verdict"
)

// decisionsMax is how many values may be allowed and denied here: a list of more is a
// feed's, to be imported.
const decisionsMax = 100_000

func compareIndicators(a, b notice.Indicator) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), strings.Compare(a.Value, b.Value))
}

// Policies implements api.Node.
func (n *Node) Policies(ctx context.Context, q api.PolicyQuery) ([]api.PolicyView, string, error) {
	p := n.policies
	p.mu.Lock()
	defer p.mu.Unlock()
	from := 0
	if q.Next != "" {
		typ, value, _ := strings.Cut(q.Next, " ")
		t, err := notice.ParseType(typ)
		if err != nil {
			return nil, "", badCursor()
		}
		at, found := slices.BinarySearchFunc(p.sorted, notice.Indicator{Type: t, Value: value}, compareIndicators)
		if from = at; found {
			from++
		}
	}
	out := []api.PolicyView{}
	for at, i := range p.sorted[from:] {
		if s := p.decided[i]; q.Decision == "" || q.Decision == decision(s.Denied) {
			if len(out) == q.Limit {
				return out, p.sorted[from+at-1].String(), nil
			}
			out = append(out, n.policyView(s, q.Ceiling))
		}
	}
	return out, "", ctx.Err()
}

func decision(denied bool) string {
	if denied {
		return api.DecisionDeny
	}
	return api.DecisionAllow
}

// policyView shows a policy with what it comes to. Who and why are words of this house,
// marked for nobody else.
func (n *Node) policyView(s store.Policy, ceiling notice.TLP) api.PolicyView {
	v := n.judge().Verdict(s.Indicator, nil, 0, n.now().UnixMilli())
	view := api.PolicyView{
		Indicator: api.Indicator{Type: s.Indicator.Type.String(), Value: s.Indicator.Value},
		Decision:  decision(s.Denied), At: api.Time(s.Time), Effect: v.Level.String(),
	}
	if store.Visible(0, ceiling) {
		view.By, view.Why = s.By, s.Why
	}
	if s.Denied && v.Level < verdict.Block {
		for _, r := range v.Reasons {
			if !r.Raised {
				view.Note = "it has no effect: " + r.Text
			}
		}
	}
	return view
}

// Decide implements api.Node.
func (n *Node) Decide(ctx context.Context, by string, asked []api.PolicyRequest) ([]api.PolicyView, error) {
	p := n.policies
	p.mu.Lock()
	defer p.mu.Unlock()
	now := n.now().UnixMilli()
	var set []store.Policy
	var gone []notice.Indicator
	out := make([]api.PolicyView, len(asked))
	fresh := map[notice.Indicator]store.Policy{} // of this request
	dropped := map[notice.Indicator]bool{}
	all := make([]store.Policy, len(asked))
	added := 0
	for i, a := range asked {
		s, err := decided(a)
		if err != nil {
			return nil, placed(err, i)
		}
		s.Time, s.By = now, by
		held, known := fresh[s.Indicator]
		if dropped[s.Indicator] || known && a.Remove {
			return nil, placed(&notice.FieldError{Field: "value", Reason: shown(s) + " is named twice", Fix: "say once what to do about it"}, i)
		}
		if !known {
			held, known = p.decided[s.Indicator]
		}
		switch {
		case known && held.Denied != s.Denied:
			return nil, placed(opposed(held), i)
		case a.Remove && !known:
			return nil, placed(&notice.FieldError{Field: "value", Reason: fmt.Sprintf("%s is not %s here", shown(s), past(s.Denied)),
				Fix: fmt.Sprintf("watchward %s --list shows what is", decision(s.Denied))}, i)
		case a.Remove:
			gone, dropped[s.Indicator] = append(gone, s.Indicator), true
			s, out[i].Removed = held, true
		case known && (s.Why == "" || s.Why == held.Why):
			s, out[i].Known = held, true
		default:
			if !known {
				added++
			}
			set, fresh[s.Indicator] = append(set, s), s
		}
		all[i] = s
	}
	if len(p.decided)+added-len(gone) > decisionsMax {
		return nil, &notice.FieldError{Field: "body.policies", Reason: fmt.Sprintf("more than %d values would be allowed and denied here", decisionsMax),
			Fix: "take back what is not needed any more (--remove), or name a network or a parent name"}
	}
	if len(set)+len(gone) > 0 {
		if err := n.store.ChangePolicies(ctx, set, gone); err != nil {
			return nil, err
		}
		for _, s := range set {
			p.decided[s.Indicator] = s
		}
		for _, i := range gone {
			delete(p.decided, i)
		}
		if err := p.renew(); err != nil {
			return nil, err
		}
		n.log.Info("policies changed", slog.String("by", by), slog.Int("set", len(set)), slog.Int("removed", len(gone)))
	}
	for i, s := range all {
		view := n.policyView(s, 0)
		if view.Known, view.Removed = out[i].Known, out[i].Removed; view.Removed {
			view.Note = ""
		}
		out[i] = view
	}
	return out, nil
}

// decided reads one request. What is special may be allowed and denied: it has no
// effect, which is said, and is no mistake that must stop the others.
func decided(a api.PolicyRequest) (store.Policy, error) {
	s := store.Policy{Denied: a.Decision == api.DecisionDeny, Why: strings.TrimSpace(a.Why)}
	if a.Decision != api.DecisionDeny && a.Decision != api.DecisionAllow {
		return s, &notice.FieldError{Field: "decision", Reason: fmt.Sprintf("%.40q is no decision", a.Decision), Fix: "choose allow or deny"}
	}
	if len(s.Why) > api.PolicyWhyMax || !notice.Printable(s.Why) {
		return s, &notice.FieldError{Field: "why", Reason: "it is no short text", Fix: fmt.Sprintf("write up to %d bytes in one line", api.PolicyWhyMax)}
	}
	var err error
	s.Indicator, err = canonical(a.Type, a.Value, notice.Options{AllowSpecial: true})
	return s, err
}

// opposed says that the opposite was decided.
func opposed(held store.Policy) error {
	was := decision(held.Denied)
	by := ""
	if held.By != "" {
		by = " by " + held.By
	}
	return &notice.FieldError{Field: "value", Reason: fmt.Sprintf("%s is %s here, since %s%s, and cannot be %s too", shown(held), past(held.Denied), date(api.Time(held.Time)), by, past(!held.Denied)),
		Fix: fmt.Sprintf("take that back first: watchward %s --remove %s", was, shown(held))}
}

func shown(s store.Policy) string { return shorten(s.Indicator.Value, spreadShownMax) }

func past(denied bool) string {
	if denied {
		return "denied"
	}
	return "allowed"
}

// placed says in which of several policies an error is.
func placed(err error, i int) error {
	field, ok := err.(*notice.FieldError)
	if !ok {
		return err
	}
	at := *field
	at.Field = fmt.Sprintf("body.policies[%d].%s", i, field.Field)
	return &at
}
