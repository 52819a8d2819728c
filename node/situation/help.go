package situation

import (
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// What becomes of a request or an offer.
const (
	HelpOpen    = "open"
	HelpCovered = "covered" // as much was confirmed as there is
	HelpClosed  = "closed"
	HelpLapsed  = "lapsed" // its time is over
)

// What becomes of a claim.
const (
	ClaimWaits     = "waiting"   // for who asked or offered
	ClaimConfirmed = "confirmed" // it is theirs
	ClaimLate      = "too late"  // others have it, or it was closed before
)

// An Assistance is a request or an offer with all that belongs to it.
type Assistance struct {
	Said
	notice.Assistance // Act is ActRequest or ActOffer
	State             string
	Confirmed         uint64 // how many of the quantity
	Claims            []Claim
	Offers            []Said // to a request
	Closed            *Said
	Refused           []Refused // what others said that was not theirs to say
}

// A Claim wants some of a request or an offer.
type Claim struct {
	Said
	Quantity uint32
	State    string
	Confirm  *Said
}

// A Refused is an act that does not count, since its author had no right to it.
type Refused struct {
	Said
	Act notice.Act
}

// assistance shows what is open, and what is over for a short time. It ages by Said.At.
func (v *viewer) assistance() {
	for _, e := range v.kinds[notice.KindAssistance] {
		if a := e.Notice.Assistance; a.Act > notice.ActOffer || e.back != nil {
			continue
		}
		if h, shown := v.help(e); shown {
			v.view.Assistance = append(v.view.Assistance, h)
		}
	}
	slices.SortStableFunc(v.view.Assistance, func(a, b Assistance) int { return a.rank() - b.rank() })
	v.view.Assistance = share(v, "assistance", v.view.Assistance, func(h Assistance) crypto.MemberID { return h.Member })
}

func (h *Assistance) rank() int {
	return slices.Index([]string{HelpOpen, HelpCovered, HelpClosed, HelpLapsed}, h.State)
}

func (v *viewer) help(e *entry) (Assistance, bool) {
	a := e.Notice.Assistance
	h := Assistance{Said: v.saidBy(e), Assistance: *a, State: HelpOpen}
	over := int64(0)
	for _, said := range v.about[e.ID] {
		b := said.Notice.Assistance
		mine := said.key.author == e.key.author
		switch {
		case b == nil || said.Exercise != e.Exercise:
		case b.Act == notice.ActOffer && a.Act == notice.ActRequest:
			h.Offers = append(h.Offers, v.saidBy(said))
		case b.Act == notice.ActClose && mine:
			if h.Closed == nil {
				by := v.saidBy(said)
				h.Closed, h.State, over = &by, HelpClosed, by.At
			}
		case b.Act == notice.ActClaim && !mine:
			h.Claims = append(h.Claims, v.claim(e, said, &h))
		default:
			h.Refused = append(h.Refused, Refused{v.saidBy(said), b.Act})
		}
	}
	switch {
	case h.State == HelpClosed:
	case a.Until != 0 && a.Until <= v.ask.Now:
		h.State, over = HelpLapsed, a.Until
	case h.Confirmed >= uint64(a.Quantity):
		h.State = HelpCovered
	}
	for i := range h.Claims {
		if c := &h.Claims[i]; c.State == ClaimWaits && h.State != HelpOpen {
			c.State = ClaimLate
		}
	}
	if over != 0 && over <= v.ask.Now-overFor.Milliseconds() {
		return h, false
	}
	h.Offers = even(v, "offers", h.Offers, actsShownMax, actsShownMax, Said.by, nil)
	h.Refused = even(v, "refused", h.Refused, actsShownMax, actsShownMax, func(r Refused) crypto.MemberID { return r.Member }, nil)
	h.Claims = even(v, "claims", h.Claims, actsShownMax, actsShownMax, func(c Claim) crypto.MemberID {
		if c.Confirm != nil {
			return crypto.MemberID{} // which stays
		}
		return c.Member
	}, nil)
	return h, true
}

// claim shows a claim on e; only e's author confirms one.
func (v *viewer) claim(e, said *entry, h *Assistance) Claim {
	c := Claim{Said: v.saidBy(said), Quantity: said.Notice.Assistance.Quantity, State: ClaimWaits}
	for _, confirm := range v.about[said.ID] {
		b := confirm.Notice.Assistance
		switch {
		case b == nil:
		case confirm.key.author != e.key.author || b.Act != notice.ActConfirm:
			h.Refused = append(h.Refused, Refused{v.saidBy(confirm), b.Act})
		case c.Confirm == nil:
			by := v.saidBy(confirm)
			c.Confirm, c.State = &by, ClaimConfirmed
			h.Confirmed += uint64(c.Quantity)
		}
	}
	return c
}
