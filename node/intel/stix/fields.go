package stix

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/jsonscan"
	"github.com/watchward/watchward/node/notice"
)

const proseMax = 64 << 10 // bytes of a text for people that are looked at for a marking

// fields says how each property is read. The type may come last, so that a
// property is read as whatever has it.
var fields = map[string]func(*reader, *object) error{
	"objects": nil, "hashes": nil,
	"type":            func(in *reader, o *object) error { return in.word(&o.kind) },
	"id":              (*reader).id,
	"created_by_ref":  func(in *reader, o *object) error { return in.word(&o.by) },
	"created":         func(in *reader, o *object) error { return in.time(o, "created", &o.created) },
	"modified":        func(in *reader, o *object) error { return in.time(o, "modified", &o.modified) },
	"revoked":         func(in *reader, o *object) error { return in.flag(&o.revoked) },
	"valid_from":      func(in *reader, o *object) error { return in.time(o, "valid_from", &o.first) },
	"valid_until":     func(in *reader, o *object) error { return in.time(o, "valid_until", &o.until) },
	"first_seen":      func(in *reader, o *object) error { return in.time(o, "first_seen", &o.first) },
	"last_seen":       func(in *reader, o *object) error { return in.time(o, "last_seen", &o.last) },
	"first_observed":  func(in *reader, o *object) error { return in.time(o, "first_observed", &o.first) },
	"last_observed":   func(in *reader, o *object) error { return in.time(o, "last_observed", &o.last) },
	"count":           (*reader).number,
	"number_observed": (*reader).number,
	"name":            func(in *reader, o *object) error { return in.long(o, "name", jsonscan.TextMax, &o.name) },
	"pattern":         func(in *reader, o *object) error { return in.long(o, "pattern", patternMax, &o.text) },
	"explanation":     func(in *reader, o *object) error { return in.cut(&o.text) },
	"pattern_type":    func(in *reader, o *object) error { return in.word(&o.word) },
	"opinion":         func(in *reader, o *object) error { return in.word(&o.word) },
	"definition_type": func(in *reader, o *object) error { return in.word(&o.word) },
	"definition":      (*reader).colour,
	"extensions":      (*reader).extensions,
	"value":           func(in *reader, o *object) error { return in.property(o, "value") },
	"key":             func(in *reader, o *object) error { return in.property(o, "key") },
	"number":          func(in *reader, o *object) error { return in.property(o, "number") },
	propertyJA3:       func(in *reader, o *object) error { return in.property(o, propertyJA3) },
	propertyJA4:       func(in *reader, o *object) error { return in.property(o, propertyJA4) },
	"sighting_of_ref": func(in *reader, o *object) error { return in.word(&o.about) },
	"source_ref":      func(in *reader, o *object) error { return in.word(&o.about) },
	"target_ref":      func(in *reader, o *object) error { return in.list(&o.refs) },
	"object_refs":     func(in *reader, o *object) error { return in.list(&o.refs) },
	"to_refs":         func(in *reader, o *object) error { return in.list(&o.refs) },
	"cc_refs":         func(in *reader, o *object) error { return in.list(&o.refs) },
	"bcc_refs":        func(in *reader, o *object) error { return in.list(&o.refs) },
	"indicator_types": (*reader).types,
	"labels":          (*reader).labels,
	"description":     func(in *reader, o *object) error { return in.prose(o, "description") },
	"abstract":        func(in *reader, o *object) error { return in.prose(o, "abstract") },
	"content":         func(in *reader, o *object) error { return in.prose(o, "content") },

	"relationship_type":    func(in *reader, o *object) error { return in.word(&o.word) },
	"where_sighted_refs":   func(in *reader, o *object) error { return in.list(&o.others) },
	"observed_data_refs":   func(in *reader, o *object) error { return in.list(&o.refs) },
	"infrastructure_types": (*reader).types,
	"external_references":  (*reader).externals,
	"object_marking_refs":  func(in *reader, o *object) error { return in.list(&o.markings) },
	"granular_markings":    (*reader).granular,
}

// word reads a short text that many objects share: a type, a reference.
func (in *reader) word(to *string) error {
	t, err := in.Text(notice.NameMax)
	if *to = in.share(t.S); t.Long || !utf8.ValidString(t.S) {
		*to = ""
	}
	return err
}

// long reads a text that must be whole to be of use.
func (in *reader) long(o *object, key string, limit int, to *string) error {
	t, err := in.Text(limit)
	*to = t.S
	switch {
	case t.Long && key == "pattern":
		o.spoil("the %s is longer than %d bytes", key, limit)
	case !utf8.ValidString(t.S):
		o.spoil("the %s is not valid UTF-8: save the file as UTF-8", key)
	}
	return err
}

// cut reads a text for people, as much of it as a reason may have.
func (in *reader) cut(to *string) error {
	t, err := in.Text(notice.ReasonMax)
	*to = reasonOf(t.S)
	return err
}

// reasonOf makes a foreign text fit to be the reason of a notice.
func reasonOf(s string) string {
	var b strings.Builder
	for _, r := range strings.Join(strings.Fields(s), " ") {
		if !notice.Printable(string(r)) {
			r = ' '
		}
		if b.Len()+utf8.RuneLen(r) > notice.ReasonMax {
			break
		}
		b.WriteRune(r)
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// id reads an id and refuses what is none: it becomes part of what others store.
func (in *reader) id(o *object) error {
	t, err := in.Text(notice.NameMax)
	if isID(t.S) {
		o.id = t.S
	} else {
		o.spoil("its id %s is none: an id is a type, -- and a UUID", intel.Show(t.S))
	}
	return err
}

func isID(s string) bool {
	kind, uuid, ok := strings.Cut(s, "--")
	if !ok || kind == "" || len(uuid) != 36 || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return false
	}
	for i := range len(uuid) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (uuid[i] == '-') || !dash && strings.IndexByte("0123456789abcdefABCDEF", uuid[i]) < 0 {
			return false
		}
	}
	return true
}

// time reads a timestamp as ms.
func (in *reader) time(o *object, key string, to *int64) error {
	t, err := in.Text(notice.NameMax)
	if t.S == "" {
		return err
	}
	at, bad := time.Parse(time.RFC3339Nano, t.S)
	if year := at.UTC().Year(); bad != nil || year < 1970 || year > 9999 {
		o.spoil("%s %s is no time of the years 1970 to 9999: write it as 2026-01-31T12:00:00Z", key, intel.Show(t.S))
		return err
	}
	*to = at.UnixMilli()
	return err
}

func (in *reader) flag(to *bool) error {
	t, err := in.Text(notice.NameMax)
	*to = t.S == "true"
	return err
}

func (in *reader) number(o *object) error {
	t, err := in.Text(notice.NameMax)
	n, bad := strconv.ParseInt(t.S, 10, 64)
	if bad != nil || n < 0 || n > notice.CountMax {
		o.spoil("its count %s is not one of 0 to %d", intel.Show(t.S), notice.CountMax)
		return err
	}
	o.count = n
	return err
}

// property reads one that may be a value; complete says as what.
func (in *reader) property(o *object, name string) error {
	t, err := in.Text(jsonscan.TextMax)
	o.values = append(o.values, observed{text: name + "\x00" + t.S})
	return err
}

func (in *reader) hashes(o *object) (out []observed, err error) {
	err = in.Fields(func(key string) error {
		t, err := in.Text(notice.NameMax)
		if out = append(out, observed{text: "hashes." + strings.ToLower(key) + "\x00" + t.S}); len(out) > refsMax {
			return in.Errorf("more than %d hashes of one object", refsMax)
		}
		return err
	})
	return out, err
}

// list adds to a list of references.
func (in *reader) list(to *[]string) error {
	return in.Each(func(int) error {
		t, err := in.Text(notice.NameMax)
		if err == nil && !t.Long && t.S != "" && len(*to) < refsMax {
			*to = append(*to, in.share(t.S))
		}
		return err
	})
}

// attackerKinds are the infrastructure types (STIX 2.1, section 10.9) of what
// attackers run and use; a workstation or a database may be the victim's.
var attackerKinds = map[string]bool{
	"amplification": true, "botnet": true, "command-and-control": true, "exfiltration": true, "hosting-malware": true,
	"hosting-target-lists": true, "phishing": true, "reconnaissance": true, "staging": true,
}

// prose looks for a marking in a text for people.
func (in *reader) prose(o *object, key string) error {
	t, err := in.Text(proseMax)
	var m intel.Marks
	for line := range strings.SplitSeq(t.S, "\n") {
		m.Line(key+" of "+o.id, line)
	}
	o.marked = o.marked.and(marking{m.TLP, m.Unclear})
	return err
}

// labels reads types of STIX 2.0, and markings that are written as labels.
func (in *reader) labels(o *object) error {
	var labels []string
	err := in.list(&labels)
	for _, l := range labels {
		tlp, ok := intel.ParseMarking(l)
		switch m := intel.Marking(l); {
		case ok && (m.TLP != 0 || tlp >= notice.TLPAmber):
			o.mark(intel.Mark{TLP: tlp}, "label")
		case m.TLP == 0 && m.Unclear == "" && len(l) > 4 && strings.EqualFold(l[:4], "tlp:") && !strings.EqualFold(l, "tlp:ex:chr"):
			o.mark(intel.Mark{Unclear: intel.Show(l)}, "label")
		default:
			o.mark(m, "label")
		}
	}
	o.judge(labels)
	return err
}

// types reads indicator_types and infrastructure_types.
func (in *reader) types(o *object) error {
	var types []string
	err := in.list(&types)
	o.judge(types)
	return err
}

func (o *object) judge(types []string) {
	bad := false
	for _, t := range types {
		o.benign = o.benign || t == "benign"
		bad = bad || t == "malicious-activity"
		o.attackers = o.attackers || attackerKinds[t]
	}
	o.benign = o.benign && !bad
}

// externals looks for ids of ATT&CK and CVE.
func (in *reader) externals(o *object) error {
	return in.Each(func(int) error {
		var source, id string
		err := in.Fields(func(key string) error {
			switch key {
			case "source_name":
				return in.word(&source)
			case "external_id":
				return in.word(&id)
			}
			return in.Skip()
		})
		switch {
		case source == "cve":
			o.external.cve = id
		case strings.HasPrefix(source, "mitre-") && strings.HasPrefix(id, "T"):
			o.external.technique = id
		}
		return err
	})
}

// granular reads the markings of parts of an object, which count for all of it.
func (in *reader) granular(o *object) error {
	return in.Each(func(int) error {
		return in.Fields(func(key string) error {
			if key != "marking_ref" {
				return in.Skip()
			}
			return in.list(&o.granular)
		})
	})
}

// colour reads the definition of a TLP 1.0 marking, or a statement.
func (in *reader) colour(o *object) error {
	return in.Fields(func(key string) error {
		switch key {
		case "tlp":
			return in.word(&o.text)
		case "statement":
			t, err := in.Text(proseMax)
			o.statement = true
			for line := range strings.SplitSeq(t.S, "\n") {
				o.mark(intel.Title(line), "statement")
			}
			return err
		}
		return in.Skip()
	})
}

// extensions reads the TLP 2.0 marking and our own extension.
func (in *reader) extensions(o *object) error {
	return in.Fields(func(id string) error {
		switch id {
		case extensionTLP:
			return in.Fields(func(key string) error {
				if key != "tlp_2_0" {
					return in.Skip()
				}
				return in.word(&o.text)
			})
		case extensionOwn:
			o.own = &own{}
			return in.Fields(func(key string) error { return in.ownField(o, key) })
		}
		return in.Skip()
	})
}

func (in *reader) ownField(o *object, key string) error {
	switch key {
	case "carrier":
		return in.flag(&o.own.carrier)
	case "first_seen":
		return in.time(o, key, &o.own.first)
	case "last_seen":
		return in.time(o, key, &o.own.last)
	case "origin_source":
		return in.word(&o.own.origin.Source)
	case "origin_id":
		return in.word(&o.own.origin.ID)
	case "notice":
		var text string
		err := in.word(&text)
		if id, bad := crypto.ParseItemID(text); bad == nil {
			o.own.item = &id
		}
		return err
	case "origin_tlp":
		var colour string
		err := in.word(&colour)
		if colour != "" {
			o.own.origin.TLP = colourOf(colour)
		}
		return err
	}
	return in.Skip()
}
