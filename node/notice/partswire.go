package notice

import (
	"crypto/sha256"
	"fmt"
)

// wireParts are the parts as they are encoded, at most one of them.
type wireParts struct {
	Question   *wireQuestion   `cbor:"14,keyasint,omitempty"`
	Profile    *wireProfile    `cbor:"15,keyasint,omitempty"`
	Mayday     *wireMayday     `cbor:"16,keyasint,omitempty"`
	Service    *wireService    `cbor:"17,keyasint,omitempty"`
	Assistance *wireAssistance `cbor:"18,keyasint,omitempty"`
	Link       *wireLink       `cbor:"19,keyasint,omitempty"`
	Advisory   *wireAdvisory   `cbor:"20,keyasint,omitempty"`
	Response   *wireResponse   `cbor:"21,keyasint,omitempty"`
}

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

type wireAdvisory struct {
	Type      uint64         `cbor:"1,keyasint,omitempty"`
	Title     string         `cbor:"2,keyasint,omitempty"`
	Text      string         `cbor:"3,keyasint,omitempty"`
	Suppliers []string       `cbor:"4,keyasint,omitempty"`
	Products  []string       `cbor:"5,keyasint,omitempty"`
	CVEs      []string       `cbor:"6,keyasint,omitempty"`
	Due       int64          `cbor:"7,keyasint,omitempty"`
	Documents []wireDocument `cbor:"8,keyasint,omitempty"`
}

type wireDocument struct {
	SHA256 []byte `cbor:"1,keyasint,omitempty"`
	Chunks []byte `cbor:"2,keyasint,omitempty"`
	Size   uint64 `cbor:"3,keyasint,omitempty"`
	Name   string `cbor:"4,keyasint,omitempty"`
	Media  string `cbor:"5,keyasint,omitempty"`
}

type wireResponse struct {
	Answer uint64 `cbor:"1,keyasint,omitempty"`
}

func (n *Notice) wireParts() wireParts {
	w := wireParts{
		Question: (*wireQuestion)(n.Question), Profile: (*wireProfile)(n.Profile), Mayday: (*wireMayday)(n.Mayday),
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
	if a := n.Advisory; a != nil {
		w.Advisory = &wireAdvisory{uint64(a.Type), a.Title, a.Text, a.Suppliers, a.Products, a.CVEs, a.Due, nil}
		for _, d := range a.Documents {
			w.Advisory.Documents = append(w.Advisory.Documents, wireDocument{d.SHA256[:], d.Chunks[:], uint64(d.Size), d.Name, d.Media})
		}
	}
	if r := n.Response; r != nil {
		w.Response = &wireResponse{uint64(r.Answer)}
	}
	return w
}

// into puts the parts into n without judging their content. A word that this version
// has no name for is one of a later version.
func (w wireParts) into(n *Notice) error {
	n.Question, n.Profile, n.Mayday = (*Question)(w.Question), (*Profile)(w.Profile), (*Mayday)(w.Mayday)
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
	if a := w.Advisory; a != nil {
		n.Advisory = &Advisory{Type: Advice(a.Type), Title: a.Title, Text: a.Text, Suppliers: a.Suppliers, Products: a.Products, CVEs: a.CVEs, Due: a.Due}
		for _, d := range a.Documents {
			if len(d.SHA256) != sha256.Size || len(d.Chunks) != sha256.Size || d.Size > DocumentMax {
				return fieldErrorf("advisory.documents", "give two SHA-256 of 32 bytes and a size of up to 8 MiB",
					"a document has %d bytes, and hashes of %d and %d", d.Size, len(d.SHA256), len(d.Chunks))
			}
			n.Advisory.Documents = append(n.Advisory.Documents, Document{[32]byte(d.SHA256), [32]byte(d.Chunks), uint32(d.Size), d.Name, d.Media})
		}
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
	case w.Advisory != nil:
		return []choice{{"advisory.type", w.Advisory.Type, adviceNames[:]}}
	case w.Response != nil:
		return []choice{{"response.answer", w.Response.Answer, answerNames[:]}}
	}
	return nil
}
