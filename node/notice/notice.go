// Package notice is the domain: the kinds of notice, indicators and their
// canonical values, TLP, and the limits every author keeps. It does no I/O and
// reads no clock. Times are milliseconds since the Unix epoch.
//
// An item, the encoded form of a [Notice], is one deterministic CBOR map. Keys
// below 64 are critical: a node that does not know one stores and relays the
// item and never acts on it. Keys from 64 on may be ignored. The keys of this
// version, which are wire format, with their CBOR types:
//
//	 1 kind         uint   see Kind
//	 2 salt         bytes  16, random
//	 3 created      uint   ms, the author's clock
//	 4 type         uint   see Type           (indicator, sighting, dispute of a value)
//	 5 value        text   canonical, ≤ 2,048 bytes; always with key 4
//	 6 ref          bytes  20, an item's id   (retraction, dispute of a notice)
//	 7 first seen   uint   ms                 (sighting; may be in an indicator)
//	 8 last seen    uint   ms, ≥ first seen   (the same)
//	 9 count        uint   1 … 999,999,999    (sighting)
//	10 valid until  uint   ms                 (indicator)
//	11 context      map    1 family, 2 tool, 3 technique, 4 CVE (all text)
//	12 origin       map    1 source, 2 id (text), 3 TLP (uint)
//	13 reason       text   ≤ 500 bytes        (retraction, dispute)
//	14 question     map    1 text (may be missing)
//	15 profile      map    1 name, 2 contact (array), 3 departments (array), 4 suppliers (array), 5 city, 6 country
//	16 mayday       map    1 text
//	17 service      map    1 department, 2 state (uint), 3 until (uint, ms), 4 text
//	18 assistance   map    1 act (uint), 2 what, 3 quantity (uint), 4 unit, 5 until (uint, ms)
//	19 link         map    1 supplier, 2 link, 3 direction (uint), 4 state (uint), 5 at (uint, ms),
//	                       6 reason, 7 criteria, 8 attested by
//	20 advisory     map    1 type (uint), 2 title, 3 text, 4 suppliers (array), 5 products (array), 6 CVEs (array),
//	                       7 due (uint, ms), 8 documents (array of maps: 1 SHA-256 and
//	                       2 that of its chunks' list (bytes), 3 size (uint), 4 name, 5 media type)
//	21 response     map    1 answer (uint)
//
// Keys 14 to 21 are the parts: each belongs to the kind of its name, and is text but
// for what is said otherwise. A question has keys 4 and 5, a response key 6; a mayday
// may have key 6 (the one it replaces), and so must or may an assistance, as Assistance
// says.
//
// Empty fields are left out. The rule for unknown keys holds in the maps too.
package notice

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// Limits of a notice.
const (
	ValueMax  = 2048        // bytes of an indicator's value
	ReasonMax = 500         // bytes of a reason
	NameMax   = 200         // bytes of each field of Context and Origin
	CountMax  = 999_999_999 // the largest count STIX 2.1 knows for a sighting

	skewMax   = 5 * time.Minute      // how far in the future an author may write
	expiryMax = 400 * 24 * time.Hour // the longest life of an envelope
	timeMax   = 253_402_300_799_999  // ms: the end of year 9999
)

// A Kind says what a notice states. The numbers are wire format.
type Kind uint8

const (
	KindIndicator  Kind = 1  // known bad, reported from elsewhere
	KindSighting   Kind = 2  // observed here
	KindRetraction Kind = 3  // the author takes a notice back
	KindDispute    Kind = 4  // anybody says: false positive
	KindQuestion   Kind = 5  // have you seen this?
	KindProfile    Kind = 6  // who the author is, and how to reach it
	KindMayday     Kind = 7  // the author is under attack
	KindService    Kind = 8  // a department is open, diverted or closed
	KindAssistance Kind = 9  // help that is asked for, offered, taken
	KindLink       Kind = 10 // a connection to a supplier was cut or restored
	KindAdvisory   Kind = 11 // what to do, or to look for, with documents
	KindResponse   Kind = 12 // an answer to a notice

	kindLast = KindResponse
)

var kindNames = [...]string{KindIndicator: "indicator", KindSighting: "sighting",
	KindRetraction: "retraction", KindDispute: "dispute", KindQuestion: "question",
	KindProfile: "profile", KindMayday: "mayday", KindService: "service",
	KindAssistance: "assistance", KindLink: "link", KindAdvisory: "advisory", KindResponse: "response"}

func (k Kind) known() bool { return k <= kindLast && kindNames[k] != "" }

// HasPart reports whether a notice of the kind speaks of its author or answers
// somebody, and so is no word about whether an indicator is bad.
func (k Kind) HasPart() bool { return k.known() && k >= KindQuestion }

// Kinds returns the kinds that this version knows, in the order of their numbers.
func Kinds() []Kind {
	var all []Kind
	for k := KindIndicator; k <= kindLast; k++ {
		if k.known() {
			all = append(all, k)
		}
	}
	return all
}

func kindChoices() string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.String())
	}
	return strings.Join(names, ", ")
}

func (k Kind) String() string {
	if k.known() {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// ParseKind is the inverse of String for the kinds this version knows.
func ParseKind(s string) (Kind, error) {
	for _, k := range Kinds() {
		if strings.EqualFold(s, kindNames[k]) {
			return k, nil
		}
	}
	return 0, fieldErrorf("kind", "choose "+kindChoices(), "%s is not a kind of notice", show(s))
}

// A FieldError names the field, what is wrong with it and how to put it right.
// Its text is one line, safe to print, and quotes at most 80 bytes of input.
type FieldError struct {
	Field, Reason, Fix string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason + ": " + e.Fix }

func fieldErrorf(field, fix, format string, args ...any) *FieldError {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...), Fix: fix}
}

// A Notice is the unit a person or a machine states. Which fields a kind has is
// in the package comment; the others must be zero.
type Notice struct {
	Kind      Kind
	Salt      [16]byte // random, so that an item's hash says nothing once the item is erased
	Created   int64    // ms, the author's clock
	Indicator *Indicator
	Ref       *crypto.ItemID

	FirstSeen, LastSeen int64 // ms; an indicator may leave out both or the second
	Count               uint64

	ValidUntil int64 // ms; 0 = DefaultExpiry by type
	Context    *Context
	Origin     *Origin
	Reason     string

	// Parts: at most the one of the kind.
	Question   *Question
	Profile    *Profile
	Mayday     *Mayday
	Service    *Service
	Assistance *Assistance
	Link       *Link
	Advisory   *Advisory
	Response   *Response
}

// A Context says what an indicator belongs to. Empty fields are unknown.
type Context struct {
	Family    string // malware family
	Tool      string
	Technique string // ATT&CK id: T1059 or T1059.001
	CVE       string // CVE-2021-44228
}

// An Origin says where an imported notice comes from.
type Origin struct {
	Source string // "misp:ESET"
	ID     string // the origin's own id of it; makes imports idempotent
	TLP    TLP    // the origin's marking, 0 if it has none
}

// Check reports, as a *FieldError, the first thing that a well-behaved author
// at time now (ms) must not send.
func (n *Notice) Check(now int64) error {
	if err := n.validate(); err != nil {
		return err
	}
	if n.Salt == ([16]byte{}) {
		return fieldErrorf("salt", "draw 16 random bytes", "the salt is zero")
	}
	latest := now + skewMax.Milliseconds()
	for _, f := range []struct {
		name string
		time int64
	}{{"created", n.Created}, {"first_seen", n.FirstSeen}, {"last_seen", n.LastSeen}, {"link.at", n.linkAt()}} {
		if f.time > latest {
			return fieldErrorf(f.name, "give a time up to now, and check this machine's clock",
				"%s is in the future", showTime(f.time))
		}
	}
	if n.ValidUntil != 0 && n.ValidUntil <= now {
		return fieldErrorf("valid_until", "give a later time, or leave it out", "%s has passed", showTime(n.ValidUntil))
	}
	if field, until := n.until(); until != 0 && until <= now {
		return fieldErrorf(field, "give a later time, or leave it out", "%s has passed", showTime(until))
	}
	return nil
}

// FitsHeader refuses what a notice may not say in its envelope. It asks the header's
// time, not the reader's, so that all who hear it agree.
func (n *Notice) FitsHeader(h *crypto.Header) error {
	switch {
	case n.Kind == KindMayday && h.Exercise:
		return fieldErrorf("exercise", "send it without", "a mayday is never part of a drill")
	case n.linkAt() > h.Time+skewMax.Milliseconds():
		return fieldErrorf("link.at", "give a time up to now", "%s is in the future", showTime(n.linkAt()))
	}
	return nil
}

func (n *Notice) linkAt() int64 {
	if n.Link == nil {
		return 0
	}
	return n.Link.At
}

// until returns until when the author expects what its part says to hold.
func (n *Notice) until() (field string, until int64) {
	switch {
	case n.Service != nil:
		return "service.until", n.Service.Until
	case n.Assistance != nil:
		return "assistance.until", n.Assistance.Until
	case n.Advisory != nil:
		return "advisory.due", n.Advisory.Due
	}
	return "", 0
}

// DefaultExpiry returns the time (ms) at which the notice stops counting:
// addresses change hands, so 90 days after Created for ipv4, ipv6 and cidr;
// 365 days for other values; a retraction or dispute lives as long as anything
// it may speak of, and what an author says of itself until it says otherwise: 400
// days. ValidUntil shortens it and never lengthens it.
func (n *Notice) DefaultExpiry() int64 {
	const day = 24 * time.Hour
	life := 365 * day
	switch {
	case n.Kind == KindRetraction || n.Kind == KindDispute || n.Kind.HasPart() && n.Kind != KindQuestion:
		life = expiryMax
	case n.Indicator != nil && n.Indicator.Type.address():
		life = 90 * day
	}
	expiry := n.Created + life.Milliseconds()
	if n.ValidUntil != 0 {
		expiry = min(expiry, n.ValidUntil)
	}
	return expiry
}

// ContentKey is equal for two notices of one author that state the same thing:
// everything counts but Salt and Created. Imports and submissions use it to
// take nothing twice. The notice must be valid.
func ContentKey(author crypto.MemberID, n *Notice) [20]byte {
	content := *n
	content.Salt, content.Created = [16]byte{}, 0
	encoded, err := canon.Marshal(content.wire())
	if err != nil {
		panic(err) // a wire holds only integers, bytes and text
	}
	h := sha256.New()
	h.Write([]byte("watchward/0/content/"))
	h.Write(author[:])
	h.Write(encoded)
	return [20]byte(h.Sum(nil))
}

// validate checks all that needs no clock; Decode and Check share it.
func (n *Notice) validate() error {
	if !n.Kind.known() {
		return fieldErrorf("kind", "choose "+kindChoices(), "%s is unknown", n.Kind)
	}
	if n.Created <= 0 || n.Created > timeMax {
		return fieldErrorf("created", "give ms since 1970", "%d is not a time", n.Created)
	}
	if err := n.checkSubject(); err != nil {
		return err
	}
	if err := n.checkTimes(); err != nil {
		return err
	}
	if n.Context != nil {
		if err := n.Context.check(); err != nil {
			return err
		}
	}
	if n.Origin != nil {
		if err := n.Origin.check(); err != nil {
			return err
		}
	}
	return checkText("reason", n.Reason, ReasonMax)
}

// checkSubject checks what the notice speaks of, and that it has no field
// which its kind does not know.
func (n *Notice) checkSubject() error {
	unwanted := func(field string) error { return unwanted(n.Kind, field) }
	about := n.Kind == KindIndicator || n.Kind == KindSighting || n.Kind == KindQuestion
	apart := n.Kind.HasPart()
	switch {
	case about && n.Indicator == nil:
		return fieldErrorf("indicator", "give a value", "%s needs a value", article(n.Kind))
	case n.Kind == KindRetraction && n.Ref == nil:
		return fieldErrorf("ref", "give the id of the notice to take back", "a retraction needs one")
	case apart && !about && n.Indicator != nil:
		return unwanted("indicator")
	case n.Kind == KindDispute && (n.Ref == nil) == (n.Indicator == nil):
		return fieldErrorf("ref", "give the id of a notice or a value, one of them", "a dispute is of one thing")
	case about && n.Ref != nil:
		return unwanted("ref")
	case n.Kind == KindRetraction && n.Indicator != nil:
		return unwanted("indicator")
	case (about || apart) && n.Reason != "":
		return unwanted("reason")
	case (!about || apart) && n.Context != nil:
		return unwanted("context")
	case (n.Kind == KindRetraction || apart) && n.Origin != nil:
		return unwanted("origin")
	case (!about || apart) && (n.FirstSeen != 0 || n.LastSeen != 0):
		return unwanted("first_seen")
	case n.Kind != KindSighting && n.Count != 0:
		return unwanted("count")
	case n.Kind != KindIndicator && n.ValidUntil != 0:
		return unwanted("valid_until")
	}
	if apart {
		if err := n.checkRef(); err != nil {
			return err
		}
	}
	if err := n.checkPart(); err != nil {
		return err
	}
	if n.Indicator != nil {
		return n.Indicator.check()
	}
	return nil
}

func (n *Notice) checkTimes() error {
	if n.Kind == KindSighting {
		if n.FirstSeen == 0 || n.LastSeen == 0 {
			return fieldErrorf("first_seen", "give first and last seen (ms)", "a sighting says when")
		}
		if n.Count < 1 || n.Count > CountMax {
			return fieldErrorf("count", "give 1 to 999999999", "%d is out of range", n.Count)
		}
	}
	if n.LastSeen != 0 && (n.FirstSeen == 0 || n.LastSeen < n.FirstSeen) {
		return fieldErrorf("last_seen", "give a time at or after first_seen", "%s is before first_seen", showTime(n.LastSeen))
	}
	for _, t := range []int64{n.FirstSeen, n.LastSeen, n.ValidUntil} {
		if t < 0 || t > timeMax {
			return fieldErrorf("time", "give ms since 1970", "%d is not a time", t)
		}
	}
	return nil
}

func (c *Context) check() error {
	if *c == (Context{}) {
		return fieldErrorf("context", "leave it out", "it is empty")
	}
	if err := checkText("context.family", c.Family, NameMax); err != nil {
		return err
	}
	if err := checkText("context.tool", c.Tool, NameMax); err != nil {
		return err
	}
	if c.Technique != "" && !IsTechnique(c.Technique) {
		return fieldErrorf("context.technique", "give an ATT&CK id such as T1059 or T1059.001",
			"%s is not one", show(c.Technique))
	}
	if c.CVE != "" && !IsCVE(c.CVE) {
		return fieldErrorf("context.cve", "give an id such as CVE-2021-44228", "%s is not one", show(c.CVE))
	}
	return nil
}

func (o *Origin) check() error {
	if o.Source == "" {
		return fieldErrorf("origin.source", `name the source, such as "misp:ESET", or leave the origin out`, "it is empty")
	}
	if err := checkText("origin.source", o.Source, NameMax); err != nil {
		return err
	}
	if err := checkText("origin.id", o.ID, NameMax); err != nil {
		return err
	}
	if o.TLP > TLPRed {
		return fieldErrorf("origin.tlp", "choose "+tlpChoices, "%d is not a marking", o.TLP)
	}
	return nil
}

// checkText accepts up to limit bytes of printable text without space around it.
func checkText(field, s string, limit int) error {
	if len(s) > limit {
		return fieldErrorf(field, fmt.Sprintf("shorten it to %d", limit), "it has %d bytes", len(s))
	}
	if err := checkPrintable(field, s); err != nil {
		return err
	}
	if strings.TrimSpace(s) != s {
		return fieldErrorf(field, "trim it", "it has space around it")
	}
	return nil
}

// IsTechnique reports whether s matches T[0-9]{4}(\.[0-9]{3})?
func IsTechnique(s string) bool {
	return len(s) >= 5 && s[0] == 'T' && digits(s[1:5]) && (len(s) == 5 || len(s) == 9 && s[5] == '.' && digits(s[6:]))
}

// IsCVE reports whether s matches CVE-[0-9]{4}-[0-9]{4,19}, the whole format.
func IsCVE(s string) bool {
	return len(s) >= 13 && len(s) <= 28 && s[:4] == "CVE-" && digits(s[4:8]) && s[8] == '-' && digits(s[9:])
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// checkPrintable refuses what can hide, reorder or break text: invalid UTF-8,
// control, format, bidirectional and other invisible characters.
func checkPrintable(field, s string) error {
	ascii := true
	for i := range len(s) {
		if s[i]-0x20 >= 0x7f-0x20 { // control, DEL or not ASCII
			ascii = false
			break
		}
	}
	if ascii {
		return nil
	}
	if !utf8.ValidString(s) {
		return fieldErrorf(field, "save the text as UTF-8", "%s is not valid UTF-8", show(s))
	}
	for _, r := range s {
		if !visible(r) {
			return fieldErrorf(field, "remove it", "%s has an invisible or control character (%U)", show(s), r)
		}
	}
	return nil
}

// Printable reports whether s may stand in a notice: valid UTF-8 without
// control, format, bidirectional or other invisible characters.
func Printable(s string) bool { return checkPrintable("", s) == nil }

// visible says whether r shows as itself. unicode.IsGraphic has no control,
// format, surrogate or private-use character; those named here it does have.
func visible(r rune) bool {
	switch {
	case r == utf8.RuneError, // what stands for damaged text
		r == 0x034f, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5, r == 0x2800, r == 0x3164, r == 0xffa0, // shown as nothing
		unicode.Is(unicode.Variation_Selector, r):
		return false
	}
	return unicode.IsGraphic(r)
}

// show quotes input for an error message.
func show(s string) string {
	const limit = 80
	if len(s) > limit {
		return fmt.Sprintf("%+q…", s[:limit])
	}
	plain := s != ""
	for _, r := range s {
		plain = plain && r > 0x20 && r < 0x7f && r != '"'
	}
	if plain {
		return s
	}
	return fmt.Sprintf("%+q", s)
}

func showTime(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

func article(k Kind) string {
	if k == KindIndicator || k == KindAssistance || k == KindAdvisory {
		return "an " + k.String()
	}
	return "a " + k.String()
}
