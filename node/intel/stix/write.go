package stix

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// writtenMax bounds the shared objects that a Writer remembers to have written.
// Beyond it one may come again, the same to the byte, which a bundle allows.
const writtenMax = 200_000

// sharedDate is when the objects were made that many notices share: a fixed
// time, so that they are the same in every export.
const sharedDate = "2026-01-01T00:00:00.000Z"

// extensionDate is when the definition of our extension was changed last.
const extensionDate = "2026-11-28T00:00:00.000Z"

// A Writer writes notices as one STIX 2.1 bundle, an object a line. The same
// notices give the same bytes.
//
//   - An indicator is an indicator. valid_from is when it was first seen, or else
//     when it was written; the exact times are in the extension.
//   - A sighting is a sighting by its author, of an indicator that all sightings
//     of the same value under the same marking and with the same context share.
//     That one states nothing by itself: the extension calls it a carrier.
//   - A dispute is an opinion: of the notice, or of a carrier of the value. One
//     of a notice of which nothing is known here is left out.
//   - What its author took back has revoked: true; its modified is 1 ms after its
//     created, so that it is the later version. A retraction itself is nothing.
//   - Family, tool, technique and CVE are a malware, tool, attack-pattern and
//     vulnerability object that the indicator indicates, marked as it is.
//   - An advisory is a note; a playbook is a course of action. It says of its documents
//     their names and hashes, and nothing of what is in them.
//   - An unmarked notice has no marking; the caller decides what is written.
//   - JA3 and JA4 are network-traffic:x_watchward_ja3 and …_ja4, a bitcoin
//     address is cryptocurrency-wallet:value, a path is a file:name.
//   - The extension names each notice by its id, so that a node that holds it
//     takes nothing.
//   - Origin is in external_references for people and other programs, and in
//     the extension, which is what Read believes.
type Writer struct {
	out     *bufio.Writer
	sum     hash.Hash // of all objects: the bundle's id
	written map[string]struct{}
	objects int
	err     error
}

// NewWriter returns a Writer to w, which gets nothing before the first notice.
func NewWriter(w io.Writer) *Writer {
	return &Writer{out: bufio.NewWriterSize(w, 64<<10), sum: sha256.New(), written: map[string]struct{}{}}
}

// Write writes one notice, and what it needs and was not written yet.
func (w *Writer) Write(s intel.Stated) error {
	if w.err == nil {
		w.err = Objects(s, w.known, w.put)
	}
	return w.err
}

func about(k notice.Kind) bool { return k == notice.KindIndicator || k == notice.KindSighting }

// Close ends the bundle. It does not close the underlying writer.
func (w *Writer) Close() error {
	switch {
	case w.err != nil:
		return w.err
	case w.objects == 0:
		w.raw(`{"type":"bundle"`)
	default:
		w.raw("\n]")
	}
	w.raw(",\"id\":\"" + idOf("bundle", hex.EncodeToString(w.sum.Sum(nil))) + "\"}\n")
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return w.err
}

func (w *Writer) raw(text string) {
	if w.err == nil {
		_, w.err = w.out.WriteString(text)
	}
}

// put writes an object.
func (w *Writer) put(o Object) error {
	if w.objects++; w.objects == 1 {
		w.raw("{\"type\":\"bundle\",\"objects\":[\n")
	} else {
		w.raw(",\n")
	}
	if w.err == nil {
		w.sum.Write(o.JSON)
		_, w.err = w.out.Write(o.JSON)
	}
	return w.err
}

// known reports whether a shared object was written already, and notes that it is now.
func (w *Writer) known(id string) bool {
	if _, ok := w.written[id]; ok {
		return true
	}
	if len(w.written) >= writtenMax {
		clear(w.written)
	}
	w.written[id] = struct{}{}
	return false
}

// An Object is a STIX object of a notice.
type Object struct {
	ID      string // type--UUID
	Version string // its modified, else its created
	// Own says that it is this notice's alone: what states it, and what it indicates.
	// Others are shared by all notices that need the same, under the same marking.
	Own  bool
	JSON []byte // in one line; valid until yield returns
}

// A maker makes the objects of one notice.
type maker struct {
	known func(id string) bool
	yield func(Object) error
	buf   bytes.Buffer
	err   error
}

// Objects calls yield for each object of a notice, in an order in which nothing but a
// relationship's notice comes after what refers to it. Of shared objects known says
// whether they were given before; it is asked once for each that is needed. An error
// of yield ends it. What Writer writes is this, so an export and a server that give the
// same notice give the same bytes.
//
// A retraction is nothing by itself, nor is a dispute of a notice of an unknown kind.
// Notices that STIX has no form for are an error.
func Objects(s intel.Stated, known func(id string) bool, yield func(Object) error) error {
	if s.Notice == nil {
		return errors.New("write STIX: no notice")
	}
	m := &maker{known: known, yield: yield}
	n := s.Notice
	tlp := Marking(&s)
	switch {
	case n.Kind == notice.KindRetraction, n.Kind == notice.KindDispute && n.Ref != nil && !about(s.RefKind):
	case n.Kind == notice.KindIndicator:
		m.indicator(&s, tlp)
	case n.Kind == notice.KindSighting:
		m.sighting(&s, tlp)
	case n.Kind == notice.KindDispute:
		m.opinion(&s, tlp)
	case n.Kind == notice.KindAdvisory:
		m.advisory(&s, tlp)
	default:
		return fmt.Errorf("write STIX: %s has no form in it", n.Kind)
	}
	return m.err
}

// Marking is under which the objects of a notice are given: the stricter of its own
// and its origin's.
func Marking(s *intel.Stated) notice.TLP {
	if s.Notice.Origin == nil {
		return s.TLP
	}
	return notice.Stricter(s.TLP, s.Notice.Origin.TLP)
}

// put gives an object that others share.
func (m *maker) put(c *common, v any) { m.give(c, false, v) }

// state gives an object that is this notice's.
func (m *maker) state(c *common, v any) { m.give(c, true, v) }

func (m *maker) give(c *common, own bool, v any) {
	if m.err != nil {
		return
	}
	m.buf.Reset()
	encoder := json.NewEncoder(&m.buf)
	encoder.SetEscapeHTML(false)
	if m.err = encoder.Encode(v); m.err == nil {
		m.err = m.yield(Object{c.ID, cmp.Or(c.Modified, c.Created), own, bytes.TrimSuffix(m.buf.Bytes(), []byte("\n"))})
	}
}

// once reports whether a shared object is still to be given.
func (m *maker) once(id string) bool { return !m.known(id) }

// common is what every object has.
type common struct {
	Type      string   `json:"type"`
	Version   string   `json:"spec_version"`
	ID        string   `json:"id"`
	By        string   `json:"created_by_ref,omitempty"`
	Created   string   `json:"created"`
	Modified  string   `json:"modified,omitempty"`
	Revoked   bool     `json:"revoked,omitempty"`
	External  []source `json:"external_references,omitempty"`
	Markings  []string `json:"object_marking_refs,omitempty"`
	Extension ext      `json:"extensions,omitempty"`
}

type source struct {
	Name        string `json:"source_name"`
	ID          string `json:"external_id,omitempty"`
	Description string `json:"description,omitempty"`
}

type ext map[string]any // one key, so that the bytes are always the same

// ownExtension is what STIX has no property for.
type ownExtension struct {
	Type         string `json:"extension_type"`
	Carrier      bool   `json:"carrier,omitempty"`
	FirstSeen    string `json:"first_seen,omitempty"`
	LastSeen     string `json:"last_seen,omitempty"`
	OriginSource string `json:"origin_source,omitempty"`
	OriginID     string `json:"origin_id,omitempty"`
	OriginTLP    string `json:"origin_tlp,omitempty"`
	Notice       string `json:"notice,omitempty"`
	Advice       string `json:"advice,omitempty"`
	Due          string `json:"due,omitempty"`
}

type indicatorObject struct {
	common
	Types       []string `json:"indicator_types"`
	Name        string   `json:"name"`
	Pattern     string   `json:"pattern"`
	PatternType string   `json:"pattern_type"`
	ValidFrom   string   `json:"valid_from"`
	ValidUntil  string   `json:"valid_until,omitempty"`
}

func (m *maker) indicator(s *intel.Stated, tlp notice.TLP) {
	n := s.Notice
	from := n.FirstSeen
	if from == 0 {
		from = n.Created
	}
	if n.ValidUntil != 0 && from >= n.ValidUntil { // it must end after it begins
		from = n.ValidUntil - 1
	}
	o := indicatorObject{
		common: m.common(s, idOf("indicator", s.ID.String()), tlp), Types: []string{"malicious-activity"},
		Name: n.Indicator.String(), Pattern: patternOf(*n.Indicator), PatternType: "stix",
		ValidFrom: stamp(from), ValidUntil: stamp(n.ValidUntil),
	}
	x := ownOf(s)
	x.FirstSeen, x.LastSeen = stamp(n.FirstSeen), stamp(n.LastSeen)
	m.extend(&o.common, x)
	m.state(&o.common, o)
	m.context(n.Context, o.ID, true, tlp)
}

type sightingObject struct {
	common
	FirstSeen string   `json:"first_seen"`
	LastSeen  string   `json:"last_seen"`
	Count     uint64   `json:"count"`
	Of        string   `json:"sighting_of_ref"`
	Where     []string `json:"where_sighted_refs"`
}

func (m *maker) sighting(s *intel.Stated, tlp notice.TLP) {
	n := s.Notice
	o := sightingObject{
		common: m.common(s, idOf("sighting", s.ID.String()), tlp), FirstSeen: stamp(n.FirstSeen), LastSeen: stamp(n.LastSeen),
		Count: n.Count, Of: m.carrier(*n.Indicator, n.Context, tlp),
	}
	o.Where = []string{o.By}
	m.extend(&o.common, ownOf(s))
	m.state(&o.common, o)
}

type opinionObject struct {
	common
	Explanation string   `json:"explanation,omitempty"`
	Opinion     string   `json:"opinion"`
	About       []string `json:"object_refs"`
}

func (m *maker) opinion(s *intel.Stated, tlp notice.TLP) {
	n := s.Notice
	o := opinionObject{common: m.common(s, idOf("opinion", s.ID.String()), tlp), Explanation: n.Reason, Opinion: "strongly-disagree"}
	if n.Ref != nil {
		o.About = []string{idOf(s.RefKind.String(), n.Ref.String())}
	} else {
		o.About = []string{m.carrier(*n.Indicator, nil, tlp)}
	}
	m.extend(&o.common, ownOf(s))
	m.state(&o.common, o)
}

// carrier writes the indicator that sightings and opinions of a value refer to.
func (m *maker) carrier(i notice.Indicator, c *notice.Context, tlp notice.TLP) string {
	parts := []string{"carrier", i.Type.String(), i.Value, tlp.String()}
	if c != nil {
		parts = append(parts, c.Family, c.Tool, c.Technique, c.CVE)
	}
	id := idOf("indicator", parts...)
	if !m.once(id) {
		return id
	}
	o := indicatorObject{
		common: m.shared("indicator", id, tlp), Types: []string{"malicious-activity"}, Name: i.String(),
		Pattern: patternOf(i), PatternType: "stix", ValidFrom: "1970-01-01T00:00:00Z",
	}
	m.extend(&o.common, ownExtension{Carrier: true})
	m.put(&o.common, o)
	m.context(c, id, false, tlp)
	return id
}

// common starts the object of a notice.
func (m *maker) common(s *intel.Stated, id string, tlp notice.TLP) common {
	n := s.Notice
	kind, _, _ := strings.Cut(id, "--")
	c := m.shared(kind, id, tlp)
	c.By, c.Created, c.Modified = m.identity(s.Author, s.AuthorName), stamp(n.Created), stamp(n.Created)
	if s.Retracted {
		c.Revoked, c.Modified = true, stamp(n.Created+1)
	}
	if o := n.Origin; o != nil && !reserved.MatchString(o.Source) && !reserved.MatchString(o.ID) {
		c.External = []source{{Name: o.Source, ID: o.ID, Description: "where it comes from"}}
	}
	return c
}

// reserved are names and ids that the OASIS schemas keep for CVE and CAPEC.
var reserved = regexp.MustCompile(`^(cve|capec|CVE-\d{4}-\d+|CAPEC-\d+)$`)

// shared starts an object that stands for the same in every export.
func (m *maker) shared(kind, id string, tlp notice.TLP) common {
	c := common{Type: kind, Version: "2.1", ID: id, Created: sharedDate, Modified: sharedDate}
	if ref := markingIDs[tlp]; ref != "" {
		m.marking(tlp, ref)
		c.Markings = []string{ref}
	}
	return c
}

func ownOf(s *intel.Stated) ownExtension {
	x := ownExtension{Notice: s.ID.String()}
	if o := s.Notice.Origin; o != nil {
		x.OriginSource, x.OriginID, x.OriginTLP = o.Source, o.ID, o.TLP.String()
	}
	return x
}

type definitionObject struct {
	common
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Schema      string   `json:"schema"`
	Edition     string   `json:"version"`
	Types       []string `json:"extension_types"`
}

// extend adds our extension, and its definition before its first use.
func (m *maker) extend(c *common, x ownExtension) {
	x.Type = "property-extension"
	c.Extension = ext{extensionOwn: x}
	if !m.once(extensionOwn) {
		return
	}
	by := idOf("identity", "project")
	p := identityObject{common: m.shared("identity", by, 0), Name: "Watchward", Class: "system"}
	m.put(&p.common, p)
	o := definitionObject{
		common: m.shared("extension-definition", extensionOwn, 0), Name: "Watchward notices", Edition: "1.1.0",
		Description: "What a notice of the Watchward alert mesh says beyond STIX.",
		Schema: "carrier (boolean): the indicator states nothing by itself, it is there for what refers to it. " +
			"first_seen, last_seen (timestamp): when it was seen, as stated. " +
			"origin_source, origin_id, origin_tlp (string): who stated it first, under which id and TLP marking. " +
			"notice (string): id of the notice in the mesh; whoever holds it has nothing to take. " +
			"advice (string): guidance, playbook, supplier-compromise or hunt (look for it even if it was patched). " +
			"due (timestamp): until when it should be done.",
		Types: []string{"property-extension"},
	}
	o.By, o.Modified = by, extensionDate
	m.put(&o.common, o)
}

type identityObject struct {
	common
	Name  string `json:"name"`
	Class string `json:"identity_class"`
}

// identity writes the author of notices.
func (m *maker) identity(author crypto.MemberID, name string) string {
	id := idOf("identity", author.String())
	if m.once(id) {
		if name == "" {
			name = "member " + author.String()[:16]
		}
		o := identityObject{common: m.shared("identity", id, 0), Name: name, Class: "organization"}
		m.put(&o.common, o)
	}
	return id
}

type markingObject struct {
	common
	Name string `json:"name"`
}

// marking writes the definition of a TLP 2.0 marking, as OASIS publishes it.
func (m *maker) marking(tlp notice.TLP, id string) {
	if !m.once(id) {
		return
	}
	o := markingObject{Name: "TLP:" + tlp.String(), common: common{
		Type: "marking-definition", Version: "2.1", ID: id, Created: "2022-10-01T00:00:00.000Z",
		Extension: ext{extensionTLP: struct {
			Type string `json:"extension_type"`
			TLP  string `json:"tlp_2_0"`
		}{"property-extension", strings.ToLower(tlp.String())}},
	}}
	m.put(&o.common, o)
}

type namedObject struct {
	common
	Name   string `json:"name"`
	Family *bool  `json:"is_family,omitempty"`
}

type relationshipObject struct {
	common
	Kind   string `json:"relationship_type"`
	Source string `json:"source_ref"`
	Target string `json:"target_ref"`
}

// context writes what an indicator indicates; own says that the indicator is one
// notice's.
func (m *maker) context(c *notice.Context, indicator string, own bool, tlp notice.TLP) {
	if c == nil {
		return
	}
	for _, one := range []struct{ kind, name, source string }{
		{"malware", c.Family, ""}, {"tool", c.Tool, ""},
		{"attack-pattern", c.Technique, "mitre-attack"}, {"vulnerability", c.CVE, "cve"},
	} {
		if one.name == "" {
			continue
		}
		o := namedObject{common: m.shared(one.kind, idOf(one.kind, one.name, tlp.String()), tlp), Name: one.name}
		if one.source != "" {
			o.External = []source{{Name: one.source, ID: one.name}}
		}
		if one.kind == "malware" {
			yes := true
			o.Family = &yes
		}
		if m.once(o.ID) {
			m.put(&o.common, o)
		}
		r := relationshipObject{
			common: m.shared("relationship", idOf("relationship", indicator, o.ID), tlp),
			Kind:   "indicates", Source: indicator, Target: o.ID,
		}
		m.give(&r.common, own, r)
	}
}

// stamp writes a time in ms, "" for 0.
func stamp(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
