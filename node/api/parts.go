package api

import (
	"github.com/watchward/watchward/node/notice"
)

// Question is what is asked beside the value.
type Question struct {
	Text string `json:"text" maxLength:"280"`
}

// Profile is what a hospital says of itself. The newest one counts.
type Profile struct {
	Name        string   `json:"name" maxLength:"80"`
	Contact     []string `json:"contact" maxItems:"4" doc:"How to reach somebody at any hour: up to four lines"`
	Departments []string `json:"departments,omitempty" maxItems:"40"`
	Suppliers   []string `json:"suppliers,omitempty" maxItems:"40" doc:"Those that it chooses to name, as on the link register"`
	City        string   `json:"city,omitempty" maxLength:"80"`
	Country     string   `json:"country,omitempty" maxLength:"80"`
}

// Mayday says that its author is under attack. It is urgent, and a new one takes the
// place of the one before; a retraction closes it.
type Mayday struct {
	Text string `json:"text" maxLength:"280"`
}

// Service says how a department works. The newest of a department counts.
type Service struct {
	Department string `json:"department" maxLength:"80" doc:"all: the whole hospital"`
	State      string `json:"state" enum:"open,diverted,closed"`
	Until      Time   `json:"until,omitempty"`
	Text       string `json:"text,omitempty" maxLength:"280"`
}

// Assistance is one act of mutual help.
type Assistance struct {
	Act      string `json:"act" enum:"request,offer,claim,confirm,close" doc:"A claim takes some of a request or an offer (ref); the node of who asked or offered confirms the first one by itself; only who asked or offered closes"`
	What     string `json:"what,omitempty" maxLength:"120" doc:"Of a request or an offer"`
	Quantity uint32 `json:"quantity,omitempty" doc:"Of a request, an offer or a claim"`
	Unit     string `json:"unit,omitempty" maxLength:"20" doc:"Of the quantity"`
	Until    Time   `json:"until,omitempty"`
}

// Link says that a connection to a supplier was cut or restored.
type Link struct {
	Supplier   string `json:"supplier" maxLength:"80"`
	Link       string `json:"link" maxLength:"80" doc:"VPN to LIS"`
	Direction  string `json:"direction" enum:"in,out,both" doc:"Seen from the hospital; both when left out"`
	State      string `json:"state" enum:"cut,restored"`
	At         Time   `json:"at" doc:"Now when left out"`
	Reason     string `json:"reason,omitempty" maxLength:"280"`
	Criteria   string `json:"criteria,omitempty" maxLength:"280" doc:"What must hold before it is connected again"`
	AttestedBy string `json:"attested_by,omitempty" maxLength:"80" doc:"Who vouches for that"`
}

// Response answers the notice in ref.
type Response struct {
	Answer string `json:"answer" enum:"seen,not-seen,unknown,done,na,help" doc:"To a question or a request for help: seen, not-seen or unknown; to an advisory: seen, done, na (it does not concern this hospital) or help"`
}

// Parts are what a kind says that others do not: at most the one of the kind.
type Parts struct {
	Question   *Question   `json:"question,omitempty" doc:"Of a question, beside its value; may be left out"`
	Profile    *Profile    `json:"profile,omitempty" doc:"Of a profile"`
	Mayday     *Mayday     `json:"mayday,omitempty" doc:"Of a mayday"`
	Service    *Service    `json:"service,omitempty" doc:"Of a service"`
	Assistance *Assistance `json:"assistance,omitempty" doc:"Of an assistance"`
	Link       *Link       `json:"link,omitempty" doc:"Of a link"`
	Advisory   *Advisory   `json:"advisory,omitempty" doc:"Of an advisory"`
	Response   *Response   `json:"response,omitempty" doc:"Of a response"`
}

const partFields = "question, profile, mayday, service, assistance, link, advisory, response"

// decode reads the part under key, and reports whether it is one.
func (p *Parts) decode(r *jsonReader, key string) (known bool, err error) {
	switch key {
	case "question":
		p.Question, err = part[Question](r)
	case "profile":
		p.Profile, err = part[Profile](r)
	case "mayday":
		p.Mayday, err = part[Mayday](r)
	case "service":
		p.Service, err = part[Service](r)
	case "assistance":
		p.Assistance, err = part[Assistance](r)
	case "link":
		p.Link, err = part[Link](r)
	case "advisory":
		p.Advisory, err = part[Advisory](r)
	case "response":
		p.Response, err = part[Response](r)
	default:
		return false, nil
	}
	return true, err
}

// part reads one part, nil for null.
func part[P any, D interface {
	*P
	decode(*jsonReader) error
}](r *jsonReader) (*P, error) {
	if r.null() {
		return nil, nil
	}
	p := D(new(P))
	return p, p.decode(r)
}

// fields reads an object of texts and, with other, of what is none; other reports
// false for a key that it does not know.
func (r *jsonReader) fields(texts map[string]*string, known string, other func(key string) (bool, error)) error {
	return r.object(func(key string) error {
		if to := texts[key]; to != nil {
			return r.parsed(to, nil)
		}
		if other != nil {
			if found, err := other(key); found {
				return err
			}
		}
		return r.unknown(key, known)
	})
}

// texts reads a list of texts.
func (r *jsonReader) texts(to *[]string, limit int, fix string) error {
	if r.null() {
		return nil
	}
	*to = []string{}
	return r.array(func(i int) error {
		if i >= limit {
			return r.bad("", "the list is too long", fix)
		}
		*to = append(*to, "")
		return r.parsed(&(*to)[i], nil)
	})
}

func (q *Question) decode(r *jsonReader) error {
	return r.fields(map[string]*string{"text": &q.Text}, "text", nil)
}

func (m *Mayday) decode(r *jsonReader) error {
	return r.fields(map[string]*string{"text": &m.Text}, "text", nil)
}

func (p *Profile) decode(r *jsonReader) error {
	return r.fields(map[string]*string{"name": &p.Name, "city": &p.City, "country": &p.Country},
		"name, contact, departments, suppliers, city, country", func(key string) (bool, error) {
			switch key {
			case "contact":
				return true, r.texts(&p.Contact, notice.ContactMax, "give up to four lines")
			case "departments":
				return true, r.texts(&p.Departments, notice.ListMax, "name the 40 that matter most")
			case "suppliers":
				return true, r.texts(&p.Suppliers, notice.ListMax, "name the 40 that matter most")
			}
			return false, nil
		})
}

func (s *Service) decode(r *jsonReader) error {
	return r.fields(map[string]*string{"department": &s.Department, "text": &s.Text}, "department, state, until, text", func(key string) (bool, error) {
		switch key {
		case "state":
			return true, r.parsed(&s.State, func(text string) (string, error) { v, err := notice.ParseServiceState(text); return v.String(), err })
		case "until":
			return true, r.time(&s.Until)
		}
		return false, nil
	})
}

func (a *Assistance) decode(r *jsonReader) error {
	return r.fields(map[string]*string{"what": &a.What, "unit": &a.Unit}, "act, what, quantity, unit, until", func(key string) (bool, error) {
		switch key {
		case "act":
			return true, r.parsed(&a.Act, func(text string) (string, error) { v, err := notice.ParseAct(text); return v.String(), err })
		case "until":
			return true, r.time(&a.Until)
		case "quantity":
			if r.null() {
				return true, nil
			}
			n, err := r.uint(notice.QuantityMax)
			a.Quantity = uint32(n)
			return true, err
		}
		return false, nil
	})
}

func (l *Link) decode(r *jsonReader) error {
	texts := map[string]*string{"supplier": &l.Supplier, "link": &l.Link, "reason": &l.Reason, "criteria": &l.Criteria, "attested_by": &l.AttestedBy}
	return r.fields(texts, "supplier, link, direction, state, at, reason, criteria, attested_by", func(key string) (bool, error) {
		switch key {
		case "direction":
			return true, r.parsed(&l.Direction, func(text string) (string, error) { v, err := notice.ParseDirection(text); return v.String(), err })
		case "state":
			return true, r.parsed(&l.State, func(text string) (string, error) { v, err := notice.ParseLinkState(text); return v.String(), err })
		case "at":
			return true, r.time(&l.At)
		}
		return false, nil
	})
}

func (a *Response) decode(r *jsonReader) error {
	return r.fields(nil, "answer", func(key string) (bool, error) {
		if key != "answer" {
			return false, nil
		}
		return true, r.parsed(&a.Answer, func(text string) (string, error) { v, err := notice.ParseAnswer(text); return v.String(), err })
	})
}
