package stix

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// An object is what is kept of a STIX object, whatever its kind.
type object struct {
	place string // without the index
	index int    // -1 if it has none
	holds bool   // other objects

	kind, id           string
	by                 string // created_by_ref
	created, modified  int64  // ms
	revoked            bool
	markings, granular []string
	marked             marking // in its texts
	statement          bool    // a marking that is one
	bad                string  // why nothing of it can be taken
	name               string
	text               string   // the pattern, the explanation, the colour of a marking
	word               string   // pattern_type, relationship_type, opinion, definition_type
	about              string   // sighting_of_ref, source_ref
	refs               []string // target_ref, object_refs, observed_data_refs, recipients
	others             []string // where_sighted_refs
	first, last, until int64    // ms
	count              int64    // -1 if it does not say
	benign             bool     // an indicator of benign activity
	attackers          bool     // an infrastructure of an attacker
	external           external
	values             []observed
	own                *own // our extension
}

// An external is what external_references and names say of ATT&CK and CVE.
type external struct{ technique, cve string }

// An own is our extension, see Writer.
type own struct {
	carrier     bool
	first, last int64
	origin      notice.Origin
	item        *crypto.ItemID // the notice it was written for
}

// matters reports whether anything could come of an object.
func (o *object) matters() bool {
	switch o.kind {
	case "", "indicator", "sighting", "opinion", "relationship", "observed-data", "infrastructure", "identity", "location",
		"malware", "tool", "attack-pattern", "vulnerability", "campaign", "intrusion-set", "threat-actor", "email-message",
		"report", "grouping", "note":
		return true
	}
	return len(o.values) > 0
}

// at names the object for people: its place and its id.
func (o *object) at() string {
	place := o.place
	if o.index >= 0 {
		place += "[" + strconv.Itoa(o.index) + "]"
	}
	return strings.TrimSpace(place + " " + o.id)
}

func (o *object) size() int {
	n := objectBytes + len(o.id) + len(o.name) + len(o.text) + len(o.about)
	for _, s := range o.refs {
		n += len(s) + 16
	}
	for _, s := range o.others {
		n += len(s) + 16
	}
	for _, v := range o.values {
		n += len(v.text) + 24
	}
	return n + 16*(len(o.markings)+len(o.granular)) + len(o.marked.unclear)
}

// holdsRefs reports whether what an object refers to is part of it.
func (o *object) holdsRefs() bool {
	return o.kind == "report" || o.kind == "grouping" || o.kind == "note"
}

// mark adds what a text of the object says of its marking.
func (o *object) mark(m intel.Mark, key string) {
	if m.Unclear != "" {
		m.Unclear = fmt.Sprintf("%q (%s of %s)", m.Unclear, key, o.at())
	}
	o.marked = o.marked.and(marking{m.TLP, m.Unclear})
}

// spoil remembers the first reason why nothing of the object can be taken.
func (o *object) spoil(format string, args ...any) {
	if o.bad == "" {
		o.bad = fmt.Sprintf(format, args...)
	}
}

// object reads the properties that matter. A top object may hold others.
func (in *reader) object(o *object, top bool) error {
	o.count = -1
	var keys []string
	var hashes []observed
	err := in.Object(func(key string) (err error) {
		read, known := fields[key]
		if !known {
			return in.Skip()
		}
		if slices.Contains(keys, key) {
			if key == "objects" { // of a bundle: which of the two, nobody can say
				return in.Errorf("the key objects comes twice")
			}
			o.spoil("the key %s comes twice: programs differ in which they believe", key)
			return in.Skip()
		}
		keys = append(keys, key)
		switch {
		case key == "objects" && top:
			return in.contents(o)
		case key == "hashes":
			hashes, err = in.hashes(o)
			return err
		case read == nil:
			return in.Skip()
		}
		return read(in, o)
	})
	o.complete(hashes)
	return err
}

// contents reads what a bundle holds, or the observables inside observed data of
// STIX 2.0, which have numbers for keys.
func (in *reader) contents(o *object) error {
	c, err := in.Peek()
	if err != nil {
		return err
	}
	if c == '[' {
		o.holds = true
		return in.Array(func(int) error { return in.container() })
	}
	return in.inside(o)
}

// inside reads observables that are inside another object, by their numbers.
func (in *reader) inside(o *object) error {
	var inner []*object
	values := 0
	victims := map[string]bool{}
	err := in.Fields(func(key string) error {
		if c, err := in.Peek(); err != nil || c != '{' {
			return in.Skip()
		}
		one := &object{id: key}
		if err := in.object(one, false); err != nil {
			return err
		}
		values += len(one.values)
		if one.id = key; len(inner) >= refsMax || values > refsMax {
			return in.Errorf("more than %d observables in one object: split it", refsMax)
		}
		inner = append(inner, one)
		if one.kind == "email-message" {
			for _, to := range one.refs {
				victims[to] = true
			}
		}
		return nil
	})
	for _, one := range inner {
		if !victims[one.id] {
			o.values = append(o.values, one.values...)
		}
	}
	return err
}

// complete judges an object when all of it is read: what kind it is may have
// come last.
func (o *object) complete(hashes []observed) {
	if o.modified == 0 {
		o.modified = o.created
	}
	if o.kind != "observed-data" {
		values := append(o.values, hashes...)
		o.values = nil
		if o.name != "" {
			values = append(values, observed{text: "name\x00" + o.name})
		}
		for _, v := range values {
			property, text, _ := strings.Cut(v.text, "\x00")
			as, why := objectPath{o.kind, strings.Split(property, ".")}.reading()
			if why == "" && text != "" {
				as.text = text
				o.values = append(o.values, as)
			}
		}
	}
	if o.name != "" && o.kind != "file" && o.kind != "mutex" {
		m := intel.Marking(o.name)
		if o.holdsRefs() {
			m = intel.Title(o.name)
		}
		o.mark(m, "name")
	}
	switch o.kind {
	case "malware", "tool", "identity", "location":
		if o.name = strings.TrimSpace(o.name); len(o.name) > notice.NameMax || !notice.Printable(o.name) {
			o.name = ""
		}
	case "vulnerability":
		if o.external.cve == "" {
			o.external.cve = strings.ToUpper(strings.TrimSpace(o.name))
		}
	}
}

// definition returns what a marking definition says. One of another kind than TLP
// and a statement is not understood.
func (o *object) definition() marking {
	name := strings.ToUpper(o.name)
	switch {
	case o.text != "":
		return marking{tlp: colourOf(o.text)}.and(o.marked)
	case strings.HasPrefix(name, "TLP"), o.word == "tlp":
		return marking{tlp: colourOf(o.name)}.and(o.marked)
	case o.statement || o.marked != (marking{}) || knownMarkings[o.id] != 0:
		return o.marked
	}
	return marking{unclear: fmt.Sprintf("%q (%s)", cmp.Or(intel.Show(o.name), intel.Show(o.word), "marking-definition"), o.at())}
}

// colourOf reads a TLP colour; one that nobody knows is the strictest.
func colourOf(s string) notice.TLP {
	tlp, err := notice.ParseTLP(s)
	if err != nil {
		return notice.TLPRed
	}
	return tlp
}
