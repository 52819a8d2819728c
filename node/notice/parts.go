package notice

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits of the parts. Characters are Unicode code points.
const (
	TextMax     = 280 // characters of what is written freely
	WhatMax     = 120 // characters of what is asked for, and of one line of a contact
	PartyMax    = 80  // characters of the name of a hospital, department, supplier, link or person
	UnitMax     = 20  // characters
	ContactMax  = 4   // lines
	ListMax     = 40  // departments, and as many suppliers
	profileMax  = 6 << 10
	QuantityMax = math.MaxUint32
)

// A Question asks the region whether it has seen an indicator.
type Question struct {
	Text string // ≤ TextMax
}

// A Profile is what a hospital says of itself. The newest one of a member counts.
type Profile struct {
	Name          string
	Contact       []string // how to reach somebody at any hour: 1 to ContactMax lines of ≤ WhatMax
	Departments   []string // ≤ ListMax, no two alike
	Suppliers     []string // the same; only those it chooses to name
	City, Country string   // may be empty
}

// A Mayday says that its author is under attack. A retraction closes it; a newer
// one takes its place and has it as Ref.
type Mayday struct {
	Text string
}

// AllDepartments is the department of a Service that speaks of the whole hospital.
const AllDepartments = "all"

// A Service says how a department of the author works. The newest of a department
// counts (by Fold).
type Service struct {
	Department string
	State      ServiceState
	Until      int64 // ms; 0 = not known
	Text       string
}

// A ServiceState is wire format.
type ServiceState uint8

const (
	ServiceOpen     ServiceState = 1
	ServiceDiverted ServiceState = 2
	ServiceClosed   ServiceState = 3
)

// An Assistance is one act of mutual help. A request says what is needed, an offer
// what there is (Ref: the request it answers, or none), a claim takes some of a request
// or an offer (Ref), a confirm lets one claim have it (Ref: the claim), a close ends a
// request or offer (Ref). Of what it is said by others than whom it belongs to, a
// reader takes no notice.
type Assistance struct {
	Act      Act
	What     string // request, offer
	Quantity uint32 // request, offer, claim: ≥ 1
	Unit     string // request, offer; "" = pieces
	Until    int64  // ms; request, offer; 0 = open end
}

// An Act is wire format.
type Act uint8

const (
	ActRequest Act = 1
	ActOffer   Act = 2
	ActClaim   Act = 3
	ActConfirm Act = 4
	ActClose   Act = 5
)

// A Link says that the author cut or restored its connection to a supplier.
type Link struct {
	Supplier   string
	Link       string // "VPN to LIS"
	Direction  Direction
	State      LinkState
	At         int64 // ms
	Reason     string
	Criteria   string // what must hold before it is connected again
	AttestedBy string // who vouches for that
}

// A Direction is wire format: seen from the author.
type Direction uint8

const (
	DirectionIn   Direction = 1
	DirectionOut  Direction = 2
	DirectionBoth Direction = 3
)

// A LinkState is wire format.
type LinkState uint8

const (
	LinkCut      LinkState = 1
	LinkRestored LinkState = 2
)

// A Response answers the notice in Ref.
type Response struct {
	Answer Answer
}

// An Answer is wire format. AnswersTo says which fit a kind; of one that does not fit
// what it answers, a reader takes no notice.
type Answer uint8

const (
	AnswerSeen    Answer = 1
	AnswerNotSeen Answer = 2
	AnswerUnknown Answer = 3
	AnswerDone    Answer = 4 // what the advisory asks for
	AnswerNA      Answer = 5 // it does not concern the author
	AnswerHelp    Answer = 6 // the author needs help with it
)

// Names of the words above, by number.
var (
	serviceNames   = [...]string{"", "open", "diverted", "closed"}
	actNames       = [...]string{"", "request", "offer", "claim", "confirm", "close"}
	directionNames = [...]string{"", "in", "out", "both"}
	linkNames      = [...]string{"", "cut", "restored"}
	answerNames    = [...]string{"", "seen", "not-seen", "unknown", "done", "na", "help"}
)

func (s ServiceState) String() string { return wordName(serviceNames[:], uint8(s)) }
func (a Act) String() string          { return wordName(actNames[:], uint8(a)) }
func (d Direction) String() string    { return wordName(directionNames[:], uint8(d)) }
func (s LinkState) String() string    { return wordName(linkNames[:], uint8(s)) }
func (a Answer) String() string       { return wordName(answerNames[:], uint8(a)) }

// ParseServiceState is the inverse of String, in any case.
func ParseServiceState(s string) (ServiceState, error) {
	return parseWord[ServiceState]("service.state", serviceNames[:], s)
}

// ParseAct is the inverse of String, in any case.
func ParseAct(s string) (Act, error) { return parseWord[Act]("assistance.act", actNames[:], s) }

// ParseDirection is the inverse of String, in any case.
func ParseDirection(s string) (Direction, error) {
	return parseWord[Direction]("link.direction", directionNames[:], s)
}

// ParseLinkState is the inverse of String, in any case.
func ParseLinkState(s string) (LinkState, error) {
	return parseWord[LinkState]("link.state", linkNames[:], s)
}

// ParseAnswer is the inverse of String, in any case.
func ParseAnswer(s string) (Answer, error) {
	return parseWord[Answer]("response.answer", answerNames[:], s)
}

func wordName(names []string, w uint8) string {
	if int(w) < len(names) {
		return names[w]
	}
	return "?"
}

func parseWord[W ~uint8](field string, names []string, s string) (W, error) {
	for i, name := range names[1:] {
		if strings.EqualFold(s, name) {
			return W(i + 1), nil
		}
	}
	return 0, fieldErrorf(field, "choose "+strings.Join(names[1:], ", "), "%s is none of them", show(s))
}

// Fold returns the form in which two names that people take for one are equal: case,
// compatibility forms and space do not count.
func Fold(name string) string {
	return strings.Join(strings.Fields(strings.ToLower(norm.NFKC.String(name))), " ")
}

// checkPart checks the part that belongs to the kind, and that no other is there.
func (n *Notice) checkPart() error {
	var err error
	for _, p := range [...]struct {
		kind  Kind
		there bool
		check func() error
	}{
		{KindQuestion, n.Question != nil, func() error { return n.Question.check() }},
		{KindProfile, n.Profile != nil, func() error { return n.Profile.check() }},
		{KindMayday, n.Mayday != nil, func() error { return checkSaid("mayday.text", n.Mayday.Text, TextMax) }},
		{KindService, n.Service != nil, func() error { return n.Service.check() }},
		{KindAssistance, n.Assistance != nil, func() error { return n.Assistance.check() }},
		{KindLink, n.Link != nil, func() error { return n.Link.check() }},
		{KindAdvisory, n.Advisory != nil, func() error { return n.Advisory.check() }},
		{KindResponse, n.Response != nil, func() error { return checkWord("response.answer", n.Response.Answer, answerNames[:]) }},
		{KindFiling, n.Filing != nil, func() error { return n.Filing.Check() }},
	} {
		switch {
		case p.there && p.kind != n.Kind:
			return unwanted(n.Kind, p.kind.String())
		case p.there:
			err = p.check()
		case p.kind == n.Kind && p.kind != KindQuestion: // whose value says it all
			return fieldErrorf(p.kind.String(), "fill it in", "%s needs it", article(n.Kind))
		}
	}
	return err
}

// checkRef checks whether a notice with a part may speak of another.
func (n *Notice) checkRef() error {
	wants, may := false, false
	switch n.Kind {
	case KindMayday:
		may = true
	case KindResponse:
		wants = true
	case KindAssistance:
		if n.Assistance != nil {
			wants, may = n.Assistance.Act >= ActClaim, n.Assistance.Act == ActOffer
		}
	}
	switch {
	case wants && n.Ref == nil:
		return fieldErrorf("ref", "give the id of the notice it speaks of", "%s needs one", article(n.Kind))
	case !wants && !may && n.Ref != nil:
		return unwanted(n.Kind, "ref")
	}
	return nil
}

func (q *Question) check() error { return checkSaid("question.text", q.Text, TextMax) }

func (p *Profile) check() error {
	if err := checkSaid("profile.name", p.Name, PartyMax); err != nil {
		return err
	}
	if len(p.Contact) == 0 || len(p.Contact) > ContactMax {
		return fieldErrorf("profile.contact", "give 1 to 4 lines: a telephone, a name, an address", "it has %d lines", len(p.Contact))
	}
	total := len(p.Name)
	for _, line := range p.Contact {
		if err := checkSaid("profile.contact", line, WhatMax); err != nil {
			return err
		}
		total += len(line)
	}
	for _, list := range []struct {
		field string
		names []string
	}{{"profile.departments", p.Departments}, {"profile.suppliers", p.Suppliers}} {
		if len(list.names) > ListMax {
			return fieldErrorf(list.field, "name the 40 that matter most", "there are %d", len(list.names))
		}
		seen := make(map[string]bool, len(list.names))
		for _, name := range list.names {
			if err := checkSaid(list.field, name, PartyMax); err != nil {
				return err
			}
			if fold := Fold(name); seen[fold] {
				return fieldErrorf(list.field, "name it once", "%s is there twice", show(name))
			} else {
				seen[fold] = true
			}
			total += len(name)
		}
	}
	if err := checkLine("profile.city", p.City, PartyMax); err != nil {
		return err
	}
	if err := checkLine("profile.country", p.Country, PartyMax); err != nil {
		return err
	}
	if total > profileMax { // so that it fits an item, and a page
		return fieldErrorf("profile", "shorten the lists to 6144", "it has %d bytes", total)
	}
	return nil
}

func (s *Service) check() error {
	if err := checkSaid("service.department", s.Department, PartyMax); err != nil {
		return err
	}
	if err := checkWord("service.state", s.State, serviceNames[:]); err != nil {
		return err
	}
	if err := checkTime("service.until", s.Until); err != nil {
		return err
	}
	return checkLine("service.text", s.Text, TextMax)
}

func (a *Assistance) check() error {
	if err := checkWord("assistance.act", a.Act, actNames[:]); err != nil {
		return err
	}
	states := a.Act == ActRequest || a.Act == ActOffer
	if states {
		if err := checkSaid("assistance.what", a.What, WhatMax); err != nil {
			return err
		}
		if err := checkLine("assistance.unit", a.Unit, UnitMax); err != nil {
			return err
		}
		if err := checkTime("assistance.until", a.Until); err != nil {
			return err
		}
	} else if a.What != "" || a.Unit != "" || a.Until != 0 {
		return fieldErrorf("assistance.what", "leave out what, unit and until", "a %s has none: they are in what it speaks of", a.Act)
	}
	if counts := states || a.Act == ActClaim; counts != (a.Quantity > 0) {
		if counts {
			return fieldErrorf("assistance.quantity", "give 1 or more", "how many is not said")
		}
		return fieldErrorf("assistance.quantity", "leave it out", "a %s has none", a.Act)
	}
	return nil
}

func (l *Link) check() error {
	if err := checkSaid("link.supplier", l.Supplier, PartyMax); err != nil {
		return err
	}
	if err := checkSaid("link.link", l.Link, PartyMax); err != nil {
		return err
	}
	if err := checkWord("link.direction", l.Direction, directionNames[:]); err != nil {
		return err
	}
	if err := checkWord("link.state", l.State, linkNames[:]); err != nil {
		return err
	}
	if l.At == 0 {
		return fieldErrorf("link.at", "give the time (ms)", "when is not said")
	}
	if err := checkTime("link.at", l.At); err != nil {
		return err
	}
	if err := checkLine("link.reason", l.Reason, TextMax); err != nil {
		return err
	}
	if err := checkLine("link.criteria", l.Criteria, TextMax); err != nil {
		return err
	}
	return checkLine("link.attested_by", l.AttestedBy, PartyMax)
}

func unwanted(k Kind, field string) error {
	return fieldErrorf(field, "leave it out", "%s has no such field", article(k))
}

func checkWord[W ~uint8](field string, w W, names []string) error {
	if w == 0 || int(w) >= len(names) {
		return fieldErrorf(field, "choose "+strings.Join(names[1:], ", "), "%d is none of them", w)
	}
	return nil
}

func checkTime(field string, ms int64) error {
	if ms < 0 || ms > timeMax {
		return fieldErrorf(field, "give ms since 1970", "%d is not a time", ms)
	}
	return nil
}

// CheckLine accepts up to limit characters of one printable line in NFC. Its error is a
// *FieldError.
func CheckLine(field, s string, limit int) error { return checkLine(field, s, limit) }

// checkSaid is checkLine of what must not be empty.
func checkSaid(field, s string, limit int) error {
	if s == "" {
		return fieldErrorf(field, "fill it in", "it is empty")
	}
	return checkLine(field, s, limit)
}

// checkLine accepts up to limit characters of one printable line in NFC.
func checkLine(field, s string, limit int) error {
	if n := utf8.RuneCountInString(s); n > limit {
		return fieldErrorf(field, fmt.Sprintf("shorten it to %d", limit), "it has %d characters", n)
	}
	if err := checkText(field, s, limit*utf8.UTFMax); err != nil {
		return err
	}
	if !norm.NFC.IsNormalString(s) {
		return fieldErrorf(field, "write it in Unicode's NFC", "%s is not", show(s))
	}
	return nil
}

// Texts yields what is written freely in the notice.
func (n *Notice) Texts(yield func(string) bool) {
	texts := []string{n.Reason}
	switch {
	case n.Question != nil:
		texts = append(texts, n.Question.Text)
	case n.Profile != nil:
		p := n.Profile
		texts = append(texts, p.Name, p.City, p.Country)
		texts = slices.Concat(texts, p.Contact, p.Departments, p.Suppliers)
	case n.Mayday != nil:
		texts = append(texts, n.Mayday.Text)
	case n.Service != nil:
		texts = append(texts, n.Service.Department, n.Service.Text)
	case n.Assistance != nil:
		texts = append(texts, n.Assistance.What, n.Assistance.Unit)
	case n.Link != nil:
		l := n.Link
		texts = append(texts, l.Supplier, l.Link, l.Reason, l.Criteria, l.AttestedBy)
	case n.Advisory != nil:
		texts = append(texts, n.Advisory.texts()...)
	case n.Filing != nil:
		f := n.Filing
		texts = append(texts, f.Incident, f.Title, f.Description, f.Impact, f.Cause, f.Measures, f.Borders, f.Entity)
	}
	for _, t := range texts {
		if t != "" && !yield(t) {
			return
		}
	}
}
