package notice

import "fmt"

// wireParts are the parts as they are encoded, at most one of them.
type wireParts struct {
	Question   *wireQuestion   `cbor:"14,keyasint,omitempty"`
	Profile    *wireProfile    `cbor:"15,keyasint,omitempty"`
	Mayday     *wireMayday     `cbor:"16,keyasint,omitempty"`
	Service    *wireService    `cbor:"17,keyasint,omitempty"`
	Assistance *wireAssistance `cbor:"18,keyasint,omitempty"`
	Link       *wireLink       `cbor:"19,keyasint,omitempty"`
	Response   *wireResponse   `cbor:"21,keyasint,omitempty"`
	Filing     *Filing         `cbor:"22,keyasint,omitempty"`
}

// filingKey is the key of a filing in the item.
const filingKey = 22

type wireQuestion struct {
	Text string `cbor:"1,keyasint,omitempty"`
}

type wireProfile struct {
	Name        string   `cbor:"1,keyasint,omitempty"`
	Contact     []string `cbor:"2,keyasint,omitempty"`
	Departments []string `cbor:"3,keyasint,omitempty"`
	Suppliers   []string `cbor:"4,keyasint,omitempty"`
	City        string   `cbor:"5,keyasint,omitempty"`
	Country     string   `cbor:"6,keyasint,omitempty"`
}

type wireMayday struct {
	Text string `cbor:"1,keyasint,omitempty"`
}

type wireService struct {
	Department string `cbor:"1,keyasint,omitempty"`
	State      uint64 `cbor:"2,keyasint,omitempty"`
	Until      int64  `cbor:"3,keyasint,omitempty"`
	Text       string `cbor:"4,keyasint,omitempty"`
}

type wireAssistance struct {
	Act      uint64 `cbor:"1,keyasint,omitempty"`
	What     string `cbor:"2,keyasint,omitempty"`
	Quantity uint64 `cbor:"3,keyasint,omitempty"`
	Unit     string `cbor:"4,keyasint,omitempty"`
	Until    int64  `cbor:"5,keyasint,omitempty"`
}

type wireLink struct {
	Supplier   string `cbor:"1,keyasint,omitempty"`
	Link       string `cbor:"2,keyasint,omitempty"`
	Direction  uint64 `cbor:"3,keyasint,omitempty"`
	State      uint64 `cbor:"4,keyasint,omitempty"`
	At         int64  `cbor:"5,keyasint,omitempty"`
	Reason     string `cbor:"6,keyasint,omitempty"`
	Criteria   string `cbor:"7,keyasint,omitempty"`
	AttestedBy string `cbor:"8,keyasint,omitempty"`
}

type wireResponse struct {
	Answer uint64 `cbor:"1,keyasint,omitempty"`
}

func (n *Notice) wireParts() wireParts {
	w := wireParts{
		Question: (*wireQuestion)(n.Question), Profile: (*wireProfile)(n.Profile), Mayday: (*wireMayday)(n.Mayday), Filing: n.Filing,
	}
	if s := n.Service; s != nil {
		w.Service = &wireService{s.Department, uint64(s.State), s.Until, s.Text}
	}
	if a := n.Assistance; a != nil {
		w.Assistance = &wireAssistance{uint64(a.Act), a.What, uint64(a.Quantity), a.Unit, a.Until}
	}
	if l := n.Link; l != nil {
		w.Link = &wireLink{l.Supplier, l.Link, uint64(l.Direction), uint64(l.State), l.At, l.Reason, l.Criteria, l.AttestedBy}
	}
	if r := n.Response; r != nil {
		w.Response = &wireResponse{uint64(r.Answer)}
	}
	return w
}

// into puts the parts into n without judging their content. A word that this version
// has no name for is one of a later version.
func (w wireParts) into(n *Notice) error {
	n.Question, n.Profile, n.Mayday, n.Filing = (*Question)(w.Question), (*Profile)(w.Profile), (*Mayday)(w.Mayday), w.Filing
	for _, p := range w.choices() {
		if p.chosen >= uint64(len(p.names)) {
			return fmt.Errorf("%s %d: %w", p.field, p.chosen, ErrCritical)
		}
	}
	if s := w.Service; s != nil {
		n.Service = &Service{s.Department, ServiceState(s.State), s.Until, s.Text}
	}
	if a := w.Assistance; a != nil {
		if a.Quantity > QuantityMax {
			return fieldErrorf("assistance.quantity", "give 1 to 4294967295", "%d is out of range", a.Quantity)
		}
		n.Assistance = &Assistance{Act(a.Act), a.What, uint32(a.Quantity), a.Unit, a.Until}
	}
	if l := w.Link; l != nil {
		n.Link = &Link{l.Supplier, l.Link, Direction(l.Direction), LinkState(l.State), l.At, l.Reason, l.Criteria, l.AttestedBy}
	}
	if r := w.Response; r != nil {
		n.Response = &Response{Answer(r.Answer)}
	}
	return nil
}

// A choice is a number that stands for one of a list of names.
type choice struct {
	field  string
	chosen uint64
	names  []string
}

func (w wireParts) choices() []choice {
	switch {
	case w.Service != nil:
		return []choice{{"service.state", w.Service.State, serviceNames[:]}}
	case w.Assistance != nil:
		return []choice{{"assistance.act", w.Assistance.Act, actNames[:]}}
	case w.Link != nil:
		return []choice{{"link.direction", w.Link.Direction, directionNames[:]}, {"link.state", w.Link.State, linkNames[:]}}
	case w.Response != nil:
		return []choice{{"response.answer", w.Response.Answer, answerNames[:]}}
	case w.Filing != nil:
		return w.Filing.choices()
	}
	return nil
}
