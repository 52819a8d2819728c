package node

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// Bounds of what came of a drill.
const (
	drillMembersMax = 2_000
	drillSaidMax    = 200    // words of this house
	drillDeedsMax   = 50     // of one member
	drillReadMax    = 20_000 // notices of one kind that are looked at
)

// drillKinds are what is said in a drill.
var drillKinds = []notice.Kind{notice.KindQuestion, notice.KindAdvisory, notice.KindService, notice.KindAssistance, notice.KindLink,
	notice.KindResponse, notice.KindSighting, notice.KindIndicator, notice.KindDispute, notice.KindRetraction}

var errEnough = errors.New("enough was read")

// drilled calls do for what was said in drills while one ran: by this house alone, or by
// others alone.
func (n *Node) drilled(ctx context.Context, d *store.Drill, own bool, do func(store.Record)) error {
	for _, kind := range drillKinds {
		q := store.Query{Kind: kind, Since: d.Low, Lapsed: true, Takeback: true}
		if own {
			q.Author = &n.member
		}
		read := 0
		err := n.each(ctx, q, func(r store.Record) error {
			if read++; read > drillReadMax {
				return errEnough
			}
			if r.Exercise && r.First > d.After && (r.Author == n.member) == own && r.TLP != notice.TLPRed {
				do(r)
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
	}
	return nil
}

// firstOf returns the first word of this house in a drill that went to others.
func (n *Node) firstOf(d *store.Drill) (first store.Record, found bool, err error) {
	err = n.drilled(n.ctx, d, true, func(r store.Record) {
		if begins(true, r.Notice, r.Audience) && (!found || r.First < first.First) {
			first, found = r, true
		}
	})
	return first, found, err
}

// afterAction is what came of a drill, or has so far: what this house said, and who saw,
// answered and acted.
func (n *Node) afterAction(ctx context.Context, d *store.Drill) (out api.AfterAction, err error) {
	out = api.AfterAction{ExerciseView: drillView(d), Language: n.printer().Lang(), Said: []api.ExerciseWord{}, Members: []api.ExerciseMember{}}
	own := map[crypto.ItemID]store.Record{}
	var said []store.Record
	err = n.drilled(ctx, d, true, func(r store.Record) {
		own[r.ID] = r
		if r.Notice.Kind != notice.KindResponse && r.Notice.Kind != notice.KindRetraction {
			said = append(said, r)
		}
	})
	if err != nil {
		return out, err
	}
	byFirst := func(a, b store.Record) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Index, b.Index))
	}
	slices.SortFunc(said, byFirst)
	out.More += max(0, len(said)-drillSaidMax)
	said = said[:min(len(said), drillSaidMax)]
	asked := 0
	for _, r := range said {
		if len(notice.AnswersTo(r.Notice.Kind)) > 0 && r.Notice.Ref == nil {
			asked++
		}
	}
	by := map[crypto.MemberID][]store.Record{}
	if err := n.drilled(ctx, d, false, func(r store.Record) {
		if r.Notice.Ref != nil {
			if _, about := own[*r.Notice.Ref]; !about && !n.answersIn(own, r) {
				return // of somebody else's drill
			}
		}
		by[r.Author] = append(by[r.Author], r)
	}); err != nil {
		return out, err
	}
	last := map[crypto.ItemID]map[crypto.MemberID]string{}
	members := n.counted()
	for m := range by {
		if !slices.Contains(members, m) {
			members = append(members, m)
		}
	}
	names := newSituationView(n)
	for _, m := range members[:min(len(members), drillMembersMax)] {
		if m == n.member {
			continue
		}
		slices.SortFunc(by[m], byFirst)
		v, more := memberIn(d, m, by[m], last)
		v.Party, v.Asked = names.party(m), asked
		out.Members, out.More = append(out.Members, v), out.More+more
	}
	slices.SortStableFunc(out.Members, func(a, b api.ExerciseMember) int {
		return cmp.Or(cmp.Compare(late(a.Acted), late(b.Acted)), cmp.Compare(late(a.Answered), late(b.Answered)),
			cmp.Compare(late(a.Saw), late(b.Saw)), cmp.Compare(late(a.Reached), late(b.Reached)), cmp.Compare(a.Name, b.Name))
	})
	for _, r := range said {
		w := api.ExerciseWord{ID: r.ID.String(), Kind: r.Notice.Kind.String(), Text: drillText(r.Notice), At: api.Time(factSaid(r))}
		for _, answer := range last[r.ID] {
			if w.Answers == nil {
				w.Answers = map[string]int{}
			}
			w.Answers[answer]++
		}
		out.Said = append(out.Said, w)
	}
	return out, nil
}

// memberIn is what a member did in a drill, by its words in order, and how many of them
// have no room. Its last answers are noted in last.
func memberIn(d *store.Drill, m crypto.MemberID, words []store.Record, last map[crypto.ItemID]map[crypto.MemberID]string) (v api.ExerciseMember, more int) {
	v.Did = []api.ExerciseDeed{}
	for _, x := range d.Reached {
		if x.Member == m {
			v.Reached = api.Time(x.At)
		}
	}
	answered := map[crypto.ItemID]bool{}
	for _, r := range words {
		at := api.Time(factSaid(r))
		first(&v.Saw, at)
		if r.Notice.Response != nil {
			first(&v.Answered, at)
			answered[*r.Notice.Ref] = true
			if last[*r.Notice.Ref] == nil {
				last[*r.Notice.Ref] = map[crypto.MemberID]string{}
			}
			last[*r.Notice.Ref][m] = r.Notice.Response.Answer.String()
		}
		if acts(r.Notice) {
			first(&v.Acted, at)
		}
		if len(v.Did) == drillDeedsMax {
			more++
			continue
		}
		deed := api.ExerciseDeed{ID: r.ID.String(), At: at, Kind: r.Notice.Kind.String(), Text: drillText(r.Notice)}
		if r.Notice.Ref != nil {
			deed.Ref = r.Notice.Ref.String()
		}
		v.Did = append(v.Did, deed)
	}
	v.Answers = len(answered)
	return v, more
}

// answersIn reports whether a word speaks of one that speaks of this house's: a claim is
// confirmed so.
func (n *Node) answersIn(own map[crypto.ItemID]store.Record, r store.Record) bool {
	about, found, err := n.store.Record(*r.Notice.Ref)
	if err != nil || !found || about.Notice.Ref == nil {
		return false
	}
	_, ours := own[*about.Notice.Ref]
	return ours
}

// first keeps the earlier time; 0 is none.
func first(at *api.Time, t api.Time) {
	if *at == 0 || t < *at {
		*at = t
	}
}

// late sorts what never was last.
func late(t api.Time) uint64 { return uint64(t) - 1 }

// acts reports whether a word is more than an answer.
func acts(w *notice.Notice) bool {
	if w.Response != nil {
		return w.Response.Answer == notice.AnswerDone || w.Response.Answer == notice.AnswerHelp
	}
	return w.Kind != notice.KindRetraction
}

// drillText says in one line what a word says.
func drillText(w *notice.Notice) string {
	switch {
	case w.Response != nil:
		return w.Response.Answer.String()
	case w.Advisory != nil:
		return w.Advisory.Title
	case w.Service != nil:
		return w.Service.Department + ": " + w.Service.State.String()
	case w.Link != nil:
		return w.Link.Supplier + ", " + w.Link.Link + ": " + w.Link.State.String()
	case w.Assistance != nil && w.Assistance.What != "":
		return w.Assistance.Act.String() + ": " + w.Assistance.What
	case w.Assistance != nil:
		return w.Assistance.Act.String()
	case w.Indicator != nil:
		return w.Indicator.Type.String() + " " + shorten(w.Indicator.Value, spreadShownMax)
	}
	return w.Kind.String()
}
