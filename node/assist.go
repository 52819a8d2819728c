package node

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// fitsRef checks that a word speaks of something that its kind speaks of. What was
// said by others is not refused for it: it may have been right where it was said, and
// readers take no notice of it.
func (n *Node) fitsRef(w *notice.Notice) error {
	if w.Ref == nil || !w.Kind.HasPart() {
		return nil
	}
	about, found, err := n.store.Record(*w.Ref)
	if err != nil || !found {
		return err
	}
	wrong := func(reason, fix string, args ...any) error {
		return &notice.FieldError{Field: "ref", Reason: fmt.Sprintf(reason, args...), Fix: fix}
	}
	switch w.Kind {
	case notice.KindMayday:
		if about.Notice.Kind != notice.KindMayday || about.Author != n.member {
			return wrong("a mayday takes the place of this hospital's own", "leave it out: the open one is found by itself")
		}
	case notice.KindResponse:
		if w.Response == nil { // Check says so
			return nil
		}
		return n.fitsResponse(w.Response.Answer, about, wrong)
	case notice.KindAssistance:
		return n.fitsAssistance(w.Assistance.Act, about, wrong)
	}
	return nil
}

func (n *Node) fitsResponse(answer notice.Answer, about store.Record, wrong func(reason, fix string, args ...any) error) error {
	fit := notice.AnswersTo(about.Notice.Kind)
	switch {
	case len(fit) == 0:
		return wrong("a %s is not answered", "give the id of a question or an advisory: watchward list advisory", about.Notice.Kind)
	case about.Notice.Advisory != nil && about.Author == n.member:
		return wrong("it is this hospital's own advisory", "the others answer it: watchward show "+about.ID.String())
	case !slices.Contains(fit, answer):
		var choices []string
		for _, a := range fit {
			choices = append(choices, a.String())
		}
		return &notice.FieldError{Field: "response.answer", Reason: fmt.Sprintf("%s is no answer to this %s", answer, about.Notice.Kind), Fix: "choose " + strings.Join(choices, ", ")}
	}
	return nil
}

func (n *Node) fitsAssistance(act notice.Act, about store.Record, wrong func(reason, fix string, args ...any) error) error {
	of := notice.Act(0)
	if about.Notice.Assistance != nil {
		of = about.Notice.Assistance.Act
	}
	own := about.Author == n.member
	const see = "watchward assist list shows what is open"
	switch {
	case act == notice.ActConfirm:
		if of != notice.ActClaim {
			return wrong("only a claim is confirmed", "give the claim's id")
		}
		return n.fitsConfirm(about, wrong)
	case of != notice.ActRequest && (of != notice.ActOffer || act == notice.ActOffer):
		return wrong("it is no request for help or offer that a %s can speak of", see, act)
	case act == notice.ActClose:
		if !own {
			return wrong("only %s, who said it, closes it", "ask them to", n.memberName(about.Author))
		}
		return nil
	case act == notice.ActClaim && own:
		return wrong("it is this hospital's own", see)
	}
	over, err := n.isOver(about)
	if err != nil {
		return err
	}
	if over {
		return wrong("the %s is closed", see, of)
	}
	return nil
}

// fitsConfirm checks that a claim is on what this hospital asked for or offered.
func (n *Node) fitsConfirm(claim store.Record, wrong func(reason, fix string, args ...any) error) error {
	about, found, err := n.store.Record(*claim.Notice.Ref)
	if err != nil {
		return err
	}
	if !found || about.Author != n.member || about.Notice.Assistance == nil {
		return wrong("the claim is on what another hospital asked for or offered", "leave it to them")
	}
	over, err := n.isOver(about)
	if err == nil && over {
		return wrong("the %s is closed", "make a new one if it is needed still", about.Notice.Assistance.Act)
	}
	return err
}

// isOver reports whether a request or offer is over: closed or taken back by its
// author, or past the time that it gave.
func (n *Node) isOver(r store.Record) (bool, error) {
	now := n.now().UnixMilli()
	a := r.Notice.Assistance
	if r.Retracted || r.Expiry <= now || a != nil && a.Until != 0 && a.Until <= now {
		return true, nil
	}
	said, err := n.store.Spoken(r.ID, 0)
	return slices.ContainsFunc(said, func(s store.Record) bool {
		return s.Author == r.Author && s.Notice.Assistance != nil && s.Notice.Assistance.Act == notice.ActClose
	}), err
}

// claimsMax is how many claims of one member on one thing are confirmed without a
// person: nobody makes this node say more than that.
const claimsMax = 8

// confirm answers the claims on a request or an offer of this hospital, the first that
// came first, as long as there is something left of it.
func (n *Node) confirm(id crypto.ItemID) error {
	r, found, err := n.store.Record(id)
	if err != nil || !found || r.Author != n.member || r.Notice.Assistance == nil || r.Notice.Assistance.Act > notice.ActOffer {
		return err
	}
	if over, err := n.isOver(r); err != nil || over {
		return err
	}
	said, err := n.store.Spoken(id, 0)
	if err != nil {
		return err
	}
	claims := slices.DeleteFunc(said, func(s store.Record) bool {
		return s.Author == n.member || s.Notice.Assistance == nil || s.Notice.Assistance.Act != notice.ActClaim || s.Exercise != r.Exercise
	})
	slices.SortFunc(claims, func(a, b store.Record) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Index, b.Index))
	})
	left, open, of := int64(r.Notice.Assistance.Quantity), claims[:0], map[crypto.MemberID]int{}
	for _, c := range claims {
		done, err := n.confirmed(c)
		if err != nil {
			return err
		}
		of[c.Author]++
		if done {
			left -= int64(c.Notice.Assistance.Quantity)
		} else if of[c.Author] <= claimsMax {
			open = append(open, c)
		}
	}
	for _, c := range open {
		if left <= 0 {
			return nil
		}
		left -= int64(c.Notice.Assistance.Quantity)
		done, err := n.Submit(n.ctx, []api.Submission{{Kind: notice.KindAssistance.String(), Ref: c.ID.String(),
			Parts: api.Parts{Assistance: &api.Assistance{Act: notice.ActConfirm.String()}}}}, api.SubmitOptions{})
		if err != nil {
			return err
		}
		for _, refused := range done.Refused {
			return fmt.Errorf("confirm claim %s: %s", c.ID, refused.Reason)
		}
	}
	return nil
}

// confirmed reports whether this hospital has confirmed a claim.
func (n *Node) confirmed(claim store.Record) (bool, error) {
	said, err := n.store.Spoken(claim.ID, 0)
	return slices.ContainsFunc(said, func(s store.Record) bool {
		return s.Author == n.member && s.Notice.Assistance != nil && s.Notice.Assistance.Act == notice.ActConfirm
	}), err
}
