package node

import (
	"context"
	"fmt"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/situation"
)

// Situation implements api.Node.
func (n *Node) Situation(ctx context.Context, since int64, ceiling notice.TLP) (api.Situation, error) {
	status, err := n.status(ctx, ceiling)
	if err != nil {
		return api.Situation{}, err
	}
	n.picture.mu.Lock()
	picture, reading := n.picture.now, n.picture.reading
	n.picture.mu.Unlock()
	now := n.now().UnixMilli()
	s := newSituationView(n)
	v := picture.View(situation.Ask{Now: now, Since: since, Ceiling: ceiling, Members: n.counted(), Silence: n.silence(), Coordinator: s.coordinates})
	out := api.Situation{
		Name: n.name, Region: status.Region, Now: api.Time(now), Since: api.Time(since), Reading: reading, More: v.More,
		Health: api.Health{
			Ready: status.Ready, Peers: status.Peers, Members: status.Members, LastIn: status.LastIn, LastOut: status.LastOut,
			Waiting: status.Waiting, Warnings: status.Warnings,
		},
	}
	for _, a := range v.Aside[:min(len(v.Aside), mutedShown)] {
		out.Health.Warnings = append(out.Health.Warnings, fmt.Sprintf("%s says so much that %d of its words are not shown here: watchward list has all", n.nameOrID(a.Member), a.Count))
	}
	for _, m := range v.Members {
		out.Members = append(out.Members, s.member(m))
		out.Counts.Add(string(m.State))
	}
	out.Exercise = exerciseCounts(&v)
	for _, m := range v.Maydays {
		out.Maydays = append(out.Maydays, s.mayday(m))
	}
	for _, e := range v.Services {
		out.Services = append(out.Services, api.ServiceView{Word: s.word(e.Said), Past: e.Past, Service: api.Service{
			Department: e.Department, State: e.State.String(), Until: api.Time(e.Until), Text: e.Text,
		}})
	}
	for _, h := range v.Assistance {
		out.Assistance = append(out.Assistance, s.help(h))
	}
	for _, l := range v.Suppliers {
		out.Suppliers = append(out.Suppliers, s.supplier(l))
	}
	for _, q := range v.Questions {
		out.Questions = append(out.Questions, s.question(q))
	}
	for _, e := range v.Spreading {
		out.Spreading = append(out.Spreading, s.spreading(e))
	}
	for _, c := range v.Changes {
		out.Changes = append(out.Changes, api.ChangeView{Party: s.party(c.Member), At: api.Time(c.At), Kind: c.Kind, Text: c.Text, IDs: idTexts(c.IDs)})
	}
	for _, e := range v.Partial {
		out.Partial = append(out.Partial, api.PartialView{Party: s.party(e.Member), Before: api.Time(e.Before)})
	}
	return out, nil
}

// exerciseCounts counts what a picture has of drills, nil if it has nothing.
func exerciseCounts(v *situation.View) *api.ExerciseCounts {
	var c api.ExerciseCounts
	members := map[crypto.MemberID]bool{}
	count := func(s situation.Said, of *int) {
		if s.Exercise {
			members[s.Member] = true
			*of++
		}
	}
	for _, e := range v.Services {
		count(e.Said, &c.Services)
	}
	for _, h := range v.Assistance {
		count(h.Said, &c.Assistance)
	}
	for _, s := range v.Suppliers {
		for _, l := range s.Line {
			count(l.Said, &c.Links)
		}
	}
	for _, q := range v.Questions {
		count(q.Said, &c.Questions)
	}
	if c.Members = len(members); c.Members == 0 {
		return nil
	}
	return &c
}

// counted returns the members of this region that belong to it still, by name.
func (n *Node) counted() []crypto.MemberID {
	if n.roster == nil {
		return []crypto.MemberID{n.member}
	}
	var out []crypto.MemberID
	for _, c := range n.roster.Members(n.roster.Region()) {
		if !n.revoked(c) {
			out = append(out, c.Member)
		}
	}
	return out
}

// A situationView turns what the picture says into what the API shows.
type situationView struct {
	n       *Node
	roles   map[crypto.MemberID][]*trust.Credential // by need
	parties map[crypto.MemberID]api.Party           // named so far
}

func newSituationView(n *Node) *situationView {
	return &situationView{n: n, parties: map[crypto.MemberID]api.Party{}}
}

// credentials returns a member's, one a region.
func (s *situationView) credentials(id crypto.MemberID) []*trust.Credential {
	if s.n.roster == nil {
		return nil
	}
	if s.roles == nil {
		s.roles = map[crypto.MemberID][]*trust.Credential{}
		for _, region := range s.n.roster.Regions() {
			for _, c := range s.n.roster.Members(region) {
				s.roles[c.Member] = append(s.roles[c.Member], c)
			}
		}
	}
	return s.roles[id]
}

// coordinates reports whether a is a coordinator of b's region.
func (s *situationView) coordinates(a, b crypto.MemberID) bool {
	for _, by := range s.credentials(a) {
		for _, of := range s.credentials(b) {
			if by.Role == trust.RoleCoordinator && by.Region == of.Region && !s.n.revoked(by) {
				return true
			}
		}
	}
	return false
}

// party names a member. Most are named many times.
func (s *situationView) party(id crypto.MemberID) api.Party {
	p, named := s.parties[id]
	if !named {
		p = s.name(id)
		s.parties[id] = p
	}
	return p
}

func (s *situationView) name(id crypto.MemberID) api.Party {
	p := api.Party{Member: id.String(), Name: s.n.memberName(id)}
	for _, c := range s.credentials(id) {
		if c.Region == s.n.roster.Region() {
			return p
		}
		p.Region = s.n.roster.CharterOf(c.Region).Name
		if p.Name == "" {
			p.Name = c.Name
		}
	}
	return p
}

func (s *situationView) word(w situation.Said) api.Word {
	return api.Word{ID: w.ID.String(), Party: s.party(w.Member), Said: api.Time(w.At), TLP: w.TLP.String(), Exercise: w.Exercise}
}

func (s *situationView) words(all []situation.Said) (out []api.Word) {
	for _, w := range all {
		out = append(out, s.word(w))
	}
	return out
}

func contactView(c *situation.Contact) *api.ContactView {
	if c == nil {
		return nil
	}
	return &api.ContactView{Lines: c.Lines, ID: c.ID.String()}
}

func idTexts(ids []crypto.ItemID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}

func (s *situationView) member(m situation.Member) api.StateView {
	v := api.StateView{Party: s.party(m.ID), State: string(m.State), Since: api.Time(m.Since), IDs: idTexts(m.IDs), Contact: contactView(m.Contact)}
	if m.By != (crypto.MemberID{}) {
		v.HeardBy = s.n.nameOrID(m.By)
	}
	return v
}

func (s *situationView) mayday(m situation.Mayday) api.MaydayView {
	v := api.MaydayView{Word: s.word(m.Said), Text: m.Text, ClockOff: m.ClockOff, Contact: contactView(m.Contact)}
	if m.Replaces != nil {
		v.Replaces = m.Replaces.String()
	}
	for i, d := range m.Disputed {
		v.Disputed = append(v.Disputed, api.DisputeView{Word: s.word(d), Reason: m.Reasons[i]})
	}
	return v
}

func (s *situationView) help(h situation.Assistance) api.HelpView {
	v := api.HelpView{Word: s.word(h.Said), State: h.State, Confirmed: h.Confirmed, Offers: s.words(h.Offers), Assistance: api.Assistance{
		Act: h.Act.String(), What: h.What, Quantity: h.Quantity, Unit: h.Unit, Until: api.Time(h.Until),
	}}
	for _, c := range h.Claims {
		claim := api.ClaimView{Word: s.word(c.Said), Quantity: c.Quantity, State: c.State}
		if c.Confirm != nil {
			claim.Confirm = c.Confirm.ID.String()
		}
		v.Claims = append(v.Claims, claim)
	}
	if h.Closed != nil {
		v.Closed = h.Closed.ID.String()
	}
	for _, r := range h.Refused {
		v.Refused = append(v.Refused, api.RefusedAct{Word: s.word(r.Said), Act: r.Act.String()})
	}
	return v
}

func (s *situationView) supplier(l situation.Supplier) api.SupplierView {
	v := api.SupplierView{Name: l.Name, Cut: s.words(l.Cut)}
	for _, e := range l.Line {
		v.Line = append(v.Line, api.LinkView{Word: s.word(e.Said), Now: e.Now, Link: api.Link{
			Supplier: e.Supplier, Link: e.Link.Link, Direction: e.Direction.String(), State: e.State.String(), At: api.Time(e.Link.At),
			Reason: e.Reason, Criteria: e.Criteria, AttestedBy: e.AttestedBy,
		}})
	}
	return v
}

func (s *situationView) question(q situation.Question) api.QuestionView {
	v := api.QuestionView{Word: s.word(q.Said), Indicator: api.Indicator{Type: q.Indicator.Type.String(), Value: q.Indicator.Value}, Text: q.Text}
	for _, a := range q.Answers {
		if s.n.keeps(a) {
			continue
		}
		v.Answers = append(v.Answers, api.AnswerView{Word: s.word(a.Said), Answer: a.Answer.String(), Sighting: a.Sighting})
	}
	return v
}

func (s *situationView) spreading(e situation.Spreading) api.SpreadingView {
	v := api.SpreadingView{
		Kind: e.What.Kind, Type: e.What.Type, Value: e.What.Value, TLP: e.TLP.String(), Active: e.Active, TakenBack: e.TakenBack,
		Started: api.Time(e.Started), Ends: api.Time(e.Ends),
	}
	for _, m := range e.Seen {
		v.Seen = append(v.Seen, api.SeenView{Party: s.party(m.Member), First: api.Time(m.First), Last: api.Time(m.Last),
			TLP: m.TLP.String(), IDs: idTexts(m.IDs), TakenBack: m.TakenBack})
	}
	return v
}
