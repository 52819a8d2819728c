package situation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// A Change is something that became known here after a time.
type Change struct {
	At     int64  // ms: when it came here
	Kind   string // mayday, service, assistance, link, question, advisory, response, profile, spreading or silent
	Member crypto.MemberID
	Text   string // what the member did, in words, without its name
	IDs    []crypto.ItemID
}

const changesMax = 200

// changes tells what came since a time. It comes after all lists.
func (v *viewer) changes() {
	for _, list := range v.kinds {
		for _, e := range list {
			if e.back == nil && e.Received >= v.ask.Since {
				v.change(e)
			} else if e.back != nil && e.back.at >= v.ask.Since && v.within(e.back.tlp) {
				v.view.Changes = append(v.view.Changes, Change{e.back.at, e.Notice.Kind.String(), e.Author,
					drill(e, "takes back: "+v.words(e)), ids(e.ID, e.back.id)})
			}
		}
	}
	for _, s := range v.view.Spreading {
		switch member := s.newest(); {
		case s.Active && s.Started >= v.ask.Since:
			v.view.Changes = append(v.view.Changes, Change{s.Started, "spreading", member, "SPREADING: " + s.What.String() + " was seen at " + hospitals(len(s.Seen)), s.ids()})
		case !s.Active && !s.TakenBack && s.Ends >= v.ask.Since:
			v.view.Changes = append(v.view.Changes, Change{s.Ends, "spreading", member, "no longer spreading, nobody new has seen it: " + s.What.String(), s.ids()})
		}
	}
	for _, m := range v.view.Members {
		if m.State == Silent && m.Since >= v.ask.Since {
			v.view.Changes = append(v.view.Changes, Change{m.Since, "silent", m.ID, "is SILENT: it was heard last then", nil})
		}
	}
	slices.SortFunc(v.view.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(b.At, a.At), slices.Compare(a.Member[:], b.Member[:]), strings.Compare(a.Text, b.Text), slices.CompareFunc(a.IDs, b.IDs, compareIDs))
	})
	v.view.Changes = even(v, "changes", v.view.Changes, changesMax, changesMax, func(c Change) crypto.MemberID { return c.Member }, nil)
}

func compareIDs(a, b crypto.ItemID) int { return slices.Compare(a[:], b[:]) }

// ids returns those that are known.
func ids(all ...crypto.ItemID) []crypto.ItemID {
	return slices.DeleteFunc(all, func(id crypto.ItemID) bool { return id == crypto.ItemID{} })
}

func (v *viewer) change(e *entry) {
	text := v.words(e)
	if text == "" {
		return
	}
	c := Change{e.Received, e.Notice.Kind.String(), e.Author, drill(e, text), ids(e.ID)}
	if e.Notice.Ref != nil {
		c.IDs = append(c.IDs, *e.Notice.Ref)
	}
	v.view.Changes = append(v.view.Changes, c)
}

func drill(e *entry, text string) string {
	if e.Exercise {
		return "EXERCISE: " + text
	}
	return text
}

// words says what a notice does; "" if a reader need not know.
func (v *viewer) words(e *entry) string {
	n := e.Notice
	switch {
	case n.Mayday != nil:
		return "MAYDAY: " + n.Mayday.Text
	case n.Service != nil:
		return n.Service.Department + " " + n.Service.State.String()
	case n.Profile != nil:
		return "has a new profile"
	case n.Kind == notice.KindQuestion:
		return "asks: who has seen " + n.Indicator.Value + "?"
	case n.Link != nil:
		return fmt.Sprintf("%s %s to %s", n.Link.State, n.Link.Link, n.Link.Supplier)
	case n.Assistance != nil:
		return v.helpWords(n)
	case n.Advisory != nil:
		return "advises: " + n.Advisory.Title
	case n.Response != nil:
		return "answers: " + n.Response.Answer.String() + v.of(n, " %s")
	case n.Kind == notice.KindDispute:
		about := v.p.byID[*n.Ref]
		if !v.shows(about) || about.Notice.Mayday == nil {
			return "" // it is of a value, or of what may not be shown
		}
		return "disputes the mayday: " + n.Reason
	}
	return ""
}

// shows reports whether an entry is in the view.
func (v *viewer) shows(e *entry) bool {
	return e != nil && v.within(e.TLP) && e.Expiry > v.ask.Now
}

func (v *viewer) helpWords(n *notice.Notice) string {
	a := n.Assistance
	switch a.Act {
	case notice.ActRequest:
		return "asks for " + Amount(a.Quantity, a.Unit, a.What)
	case notice.ActOffer:
		return "offers " + Amount(a.Quantity, a.Unit, a.What)
	case notice.ActClaim:
		return fmt.Sprintf("takes %d", a.Quantity) + v.of(n, " of: %s")
	case notice.ActConfirm:
		return "confirms a claim"
	}
	return "closes" + v.of(n, ": %s")
}

// of names what a notice speaks of, if that may be shown.
func (v *viewer) of(n *notice.Notice, format string) string {
	about := v.p.byID[*n.Ref]
	switch {
	case !v.shows(about):
		return ""
	case about.Notice.Assistance != nil && about.Notice.Assistance.What != "":
		return fmt.Sprintf(format, about.Notice.Assistance.What)
	case about.Notice.Advisory != nil:
		return fmt.Sprintf(format, about.Notice.Advisory.Title)
	case about.Notice.Indicator != nil:
		return fmt.Sprintf(format, about.Notice.Indicator.Value)
	}
	return ""
}

// Amount says how much of what: "20 units of blood, O negative".
func Amount(quantity uint32, unit, what string) string {
	switch {
	case unit != "":
		return fmt.Sprintf("%d %s of %s", quantity, unit, what)
	case quantity == 1:
		return what
	}
	return fmt.Sprintf("%d × %s", quantity, what)
}

func (w What) String() string {
	if w.Type == "" {
		return w.Value
	}
	return w.Type + " " + w.Value
}

func hospitals(n int) string {
	if n == 1 {
		return "1 organisation"
	}
	return fmt.Sprintf("%d organisations", n)
}

// newest is the member that saw it last.
func (s *Spreading) newest() (m crypto.MemberID) {
	last := int64(0)
	for _, e := range s.Seen {
		if e.Last > last {
			m, last = e.Member, e.Last
		}
	}
	return m
}

func (s *Spreading) ids() []crypto.ItemID {
	var out []crypto.ItemID
	for _, m := range s.Seen {
		out = append(out, m.IDs...)
	}
	return out
}
