package stix

import (
	"cmp"
	"encoding/hex"
	"fmt"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

type noteObject struct {
	common
	Abstract string   `json:"abstract"`
	Content  string   `json:"content"`
	About    []string `json:"object_refs"`
}

type actionObject struct {
	common
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// advisory makes a course of action of a playbook, and a note of all others. Vulnerabilities
// and suppliers are objects of their own; products and documents are external references,
// a document by its name and hash alone.
func (m *maker) advisory(s *intel.Stated, tlp notice.TLP) {
	a := s.Notice.Advisory
	var about []string
	for _, cve := range a.CVEs {
		about = append(about, m.vulnerability(cve, tlp))
	}
	for _, name := range a.Suppliers {
		o := identityObject{common: m.shared("identity", idOf("identity", "supplier", name, tlp.String()), tlp), Name: name, Class: "organization"}
		if m.once(o.ID) {
			m.put(&o.common, o)
		}
		about = append(about, o.ID)
	}
	kind := "note"
	if a.Type == notice.AdvicePlaybook {
		kind = "course-of-action"
	}
	c := m.common(s, idOf(kind, s.ID.String()), tlp)
	for _, p := range a.Products {
		c.External = append(c.External, source{Name: "product", ID: p})
	}
	for _, d := range a.Documents {
		c.External = append(c.External, source{Name: "document", ID: "sha256:" + hex.EncodeToString(d.SHA256[:]), Description: fmt.Sprintf("%s (%s, %d bytes)", d.Name, d.Media, d.Size)})
	}
	x := ownOf(s)
	x.Advice, x.Due = a.Type.String(), stamp(a.Due)
	m.extend(&c, x)
	if kind == "note" {
		if about == nil {
			about = []string{c.By} // a note is of something
		}
		o := noteObject{common: c, Abstract: a.Title, Content: cmp.Or(a.Text, a.Title), About: about}
		m.state(&o.common, o)
		return
	}
	o := actionObject{common: c, Name: a.Title, Description: a.Text}
	m.state(&o.common, o)
	for i, target := range about {
		relation := "mitigates"
		if i >= len(a.CVEs) {
			relation = "related-to"
		}
		r := relationshipObject{common: m.shared("relationship", idOf("relationship", c.ID, target), tlp), Kind: relation, Source: c.ID, Target: target}
		m.state(&r.common, r)
	}
}

// vulnerability gives the object of one, and returns its id.
func (m *maker) vulnerability(cve string, tlp notice.TLP) string {
	o := namedObject{common: m.shared("vulnerability", idOf("vulnerability", cve, tlp.String()), tlp), Name: cve}
	o.External = []source{{Name: "cve", ID: cve}}
	if m.once(o.ID) {
		m.put(&o.common, o)
	}
	return o.ID
}
