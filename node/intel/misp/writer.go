package misp

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// heldMax bounds the attributes and sightings that a Writer holds. An event of
// more becomes several.
const heldMax = 20_000

// sourceMax is what MISP's database holds of a sighting's source, in bytes.
const sourceMax = 255

// WriterOptions say whose event it is.
type WriterOptions struct {
	Org  string // the organisation's name: the node's
	Info string // the event's title; "" = "Shared by Watchward"
	Now  int64  // ms: the event's date and time of change
}

// A Writer writes notices about values as MISP events: one event for each
// marking, {"Event": …}, and {"response": [{"Event": …}, …]} if there are several.
//
// An indicator is an attribute of its own. Sightings and disputes become
// Sighting objects of an attribute with their value and context; if none has
// come before, of an attribute with the tag watchward:sightings-only, which is
// no indicator. valid_until is a sighting of the type expiration; what its
// author took back is deleted. Ids are UUIDv5 of the notices' ids, so that MISP
// knows an event again. The comment and the sightings' source carry the origin,
// times in milliseconds, the count and the notice's id.
//
// MISP has no room for these, so Read cannot give them back: the reason of a
// dispute, and then the origin's id, where source would have more than 255 bytes;
// of more than 100 sightings of one value those of one author apart; a family or
// tool that ends like an ATT&CK id ("x - S0154"), which is cut off; disputes of
// a notice and not of a value, retractions, and who relayed a notice.
type Writer struct {
	w       *bufio.Writer
	o       WriterOptions
	events  map[notice.TLP]*outEvent
	held    int
	written int
	numbers map[notice.TLP]int
}

// NewWriter returns a Writer. Nothing is written before Close or heldMax.
func NewWriter(w io.Writer, o WriterOptions) *Writer {
	o.Info = cmp.Or(o.Info, "Shared by Watchward")
	return &Writer{w: bufio.NewWriterSize(w, 64<<10), o: o, events: map[notice.TLP]*outEvent{}, numbers: map[notice.TLP]int{}}
}

type outEvent struct {
	tlp        notice.TLP
	attributes []*outAttribute
	held       int
	by         map[outKey]*outAttribute // those that may carry sightings
}

type outKey struct {
	indicator notice.Indicator
	context   notice.Context
}

type outAttribute struct {
	UUID      string        `json:"uuid"`
	Type      string        `json:"type"`
	Category  string        `json:"category"`
	Value     string        `json:"value"`
	ToIDs     bool          `json:"to_ids"`
	Comment   string        `json:"comment,omitempty"`
	FirstSeen string        `json:"first_seen,omitempty"`
	LastSeen  string        `json:"last_seen,omitempty"`
	Timestamp stamp         `json:"timestamp"`
	Deleted   bool          `json:"deleted,omitempty"`
	Tag       []outTag      `json:"Tag,omitempty"`
	Sighting  []outSighting `json:"Sighting,omitempty"`
}

// A stamp is a time in s, which MISP writes as text.
type stamp int64

func (s stamp) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(s), 10), nil }

type outTag struct {
	Name string `json:"name"`
}

type outSighting struct {
	UUID         string  `json:"uuid"`
	Type         string  `json:"type"`
	Date         string  `json:"date_sighting"`
	Source       string  `json:"source"`
	Organisation *outOrg `json:"Organisation,omitempty"`
}

type outOrg struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
}

// Write takes one notice.
func (w *Writer) Write(s intel.Stated) error {
	if !writable(&s) {
		return nil
	}
	tlp := markingOf(&s)
	ev := w.events[tlp]
	if ev == nil {
		ev = &outEvent{tlp: tlp, by: map[outKey]*outAttribute{}}
		w.events[tlp] = ev
	}
	before := ev.held
	ev.add(&s)
	if w.held += ev.held - before; w.held < heldMax {
		return nil
	}
	for _, other := range w.events { // the one that frees most
		if other.held > ev.held {
			ev = other
		}
	}
	if w.written == 0 {
		_, _ = w.w.WriteString(`{"response":[`)
	}
	return w.flush(ev)
}

// writable reports whether MISP has a form for a notice.
func writable(s *intel.Stated) bool {
	return valueOf(s) != nil && (!s.Retracted || s.Notice.Kind == notice.KindIndicator)
}

// valueOf is what a notice is about, itself or by what it disputes; nil if nothing.
func valueOf(s *intel.Stated) *notice.Indicator {
	if s.Notice.Indicator == nil && s.Notice.Kind == notice.KindDispute {
		return s.RefValue
	}
	return s.Notice.Indicator
}

// markingOf is the marking of a notice or that of its origin, the stricter.
func markingOf(s *intel.Stated) notice.TLP {
	if o := s.Notice.Origin; o != nil {
		return notice.Stricter(s.TLP, o.TLP)
	}
	return s.TLP
}

// Close writes what is left.
func (w *Writer) Close() error {
	several := w.written > 0 || len(w.events) > 1
	if several && w.written == 0 {
		_, _ = w.w.WriteString(`{"response":[`)
	}
	if !several && len(w.events) == 0 {
		w.events[0] = &outEvent{}
	}
	for _, tlp := range slices.Sorted(maps.Keys(w.events)) {
		if err := w.flush(w.events[tlp]); err != nil {
			return err
		}
	}
	if several {
		_, _ = w.w.WriteString("]}")
	}
	_, _ = w.w.WriteString("\n")
	if err := w.w.Flush(); err != nil {
		return fmt.Errorf("write MISP event: %w", err)
	}
	return nil
}

// add puts a notice into its event.
func (e *outEvent) add(s *intel.Stated) {
	n := s.Notice
	key := outKey{indicator: *valueOf(s)}
	if n.Context != nil {
		key.context = *n.Context
	}
	a := e.by[key]
	if n.Kind == notice.KindIndicator || a == nil {
		a = newAttribute(s)
		e.attributes = append(e.attributes, a)
		e.held++
		if !a.Deleted && e.by[key] == nil {
			e.by[key] = a
		}
	}
	a.Timestamp = max(a.Timestamp, stamp(n.Created/1000))
	if base, ok := sightingOf(s); ok {
		a.Sighting = append(a.Sighting, base)
		e.held++
	}
}

// sightingOf is what a notice says of a value beside that it is one: that it was
// seen, is disputed, or until when it holds.
func sightingOf(s *intel.Stated) (base outSighting, ok bool) {
	n, o := s.Notice, originOf(s)
	base.UUID = v5("sighting", s.ID.String())
	base.Organisation = &outOrg{v5("organisation", s.Author.String()), cmp.Or(s.AuthorName, s.Author.String())}
	switch n.Kind {
	case notice.KindSighting:
		o.First, o.Last, o.Count = n.FirstSeen, n.LastSeen, n.Count
		base.Type, base.Date = sightingSeen, seconds(n.LastSeen)
	case notice.KindDispute:
		o.Reason = n.Reason
		base.Type, base.Date = sightingFalse, seconds(n.Created)
	default:
		if n.ValidUntil == 0 {
			return base, false
		}
		o = note{Last: n.ValidUntil}
		base.Type, base.Date = sightingExpired, seconds(n.ValidUntil)
	}
	if base.Source = o.String(); len(base.Source) > sourceMax {
		o.Reason = ""
		base.Source = o.String()
	}
	if len(base.Source) > sourceMax && o.Notice != "" {
		o.ID = ""
		base.Source = o.String()
	}
	return base, true
}

// A Sighting is what MISP's API is told of one, beside of what it is.
type Sighting struct {
	Type   string `json:"type"` // 0 seen, 1 false positive, 2 expiration
	Source string `json:"source"`
	Time   string `json:"timestamp"` // s
}

// SightingOf returns what MISP's API is told of a notice; ok is false where there is
// nothing to tell: of an indicator without an end, and of what was taken back.
func SightingOf(s *intel.Stated) (x Sighting, ok bool) {
	if !writable(s) || s.Retracted {
		return x, false
	}
	base, ok := sightingOf(s)
	return Sighting{Type: base.Type, Source: base.Source, Time: base.Date}, ok
}

// AttributeUUID is the id of the attribute that an event has of a notice. That of a
// sighting is another's where the event has its value already.
func AttributeUUID(s *intel.Stated) string { return v5("attribute", s.ID.String()) }

// originOf is whose word a notice is.
func originOf(s *intel.Stated) note {
	if o := s.Notice.Origin; o != nil {
		return note{Origin: o.Source, ID: o.ID, Notice: s.ID.String()}
	}
	return note{Origin: ownOrigin + cmp.Or(s.AuthorName, s.Author.String()), ID: s.ID.String()}
}

// outTypes are MISP's types and categories, by ours.
var outTypes = map[notice.Type][2]string{
	notice.TypeIPv4: {"ip-dst", "Network activity"}, notice.TypeIPv6: {"ip-dst", "Network activity"}, notice.TypeCIDR: {"ip-dst", "Network activity"},
	notice.TypeDomain: {"domain", "Network activity"}, notice.TypeURL: {"url", "Network activity"}, notice.TypeEmail: {"email-src", "Payload delivery"},
	notice.TypeMD5: {"md5", "Payload delivery"}, notice.TypeSHA1: {"sha1", "Payload delivery"},
	notice.TypeSHA256: {"sha256", "Payload delivery"}, notice.TypeSHA512: {"sha512", "Payload delivery"},
	notice.TypeJA3: {"ja3-fingerprint-md5", "Network activity"}, notice.TypeJA4: {"other", "Network activity"},
	notice.TypeCertSHA256: {"x509-fingerprint-sha256", "Network activity"}, notice.TypeASN: {"AS", "Network activity"},
	notice.TypeFilename: {"filename", "Payload delivery"}, notice.TypeMutex: {"mutex", "Artifacts dropped"},
	notice.TypeRegistryKey: {"regkey", "Artifacts dropped"}, notice.TypeBTC: {"btc", "Financial fraud"},
}

func newAttribute(s *intel.Stated) *outAttribute {
	n := s.Notice
	value := valueOf(s)
	words := outTypes[value.Type]
	a := &outAttribute{
		UUID: AttributeUUID(s), Type: words[0], Category: words[1], Value: value.Value,
		ToIDs: n.Kind != notice.KindDispute, Timestamp: stamp(n.Created / 1000), Deleted: s.Retracted,
	}
	if s.Retracted { // a server that has it takes only what is newer
		a.Timestamp++
	}
	if c := n.Context; c != nil {
		a.tag(`misp-galaxy:malpedia="`, c.Family, `"`)
		a.tag(`misp-galaxy:tool="`, c.Tool, `"`)
		a.tag(`misp-galaxy:mitre-attack-pattern="`, c.Technique, ` - `+c.Technique+`"`)
		a.tag("", c.CVE, "")
	}
	if value.Type == notice.TypeJA4 {
		a.tag(tagType+`"`, value.Type.String(), `"`)
	}
	if n.Kind != notice.KindIndicator {
		a.tag("", tagCarrier, "")
		return a
	}
	a.Comment = originOf(s).String()
	if n.FirstSeen != 0 {
		a.FirstSeen = formatTime(n.FirstSeen)
	}
	if n.LastSeen != 0 {
		a.LastSeen = formatTime(n.LastSeen)
	}
	return a
}

func (a *outAttribute) tag(before, value, after string) {
	if value != "" {
		a.Tag = append(a.Tag, outTag{before + value + after})
	}
}

// flush writes an event and forgets it.
func (w *Writer) flush(e *outEvent) error {
	if w.written > 0 {
		_ = w.w.WriteByte(',')
	}
	number := strconv.Itoa(w.numbers[e.tlp])
	h := Head{
		UUID: v5("event", w.o.Org+"\x00"+e.tlp.String()+"\x00"+number), Info: w.o.Info, Org: w.o.Org, OrgUUID: v5("organisation", w.o.Org),
		Date: w.o.Now, Changed: w.o.Now / 1000, TLP: e.tlp, Private: true,
	}
	if err := e.write(w.w, h); err != nil {
		return err
	}
	w.held -= e.held
	w.written++
	w.numbers[e.tlp]++
	delete(w.events, e.tlp)
	return nil
}

// space is the namespace of the ids that Writer makes, drawn once.
var space = uuid.MustParse("7d0c1c52-0b35-4f0e-9d5b-6f2e6c1f1a53")

func v5(what, name string) string { return uuid.NewSHA1(space, []byte(what+" "+name)).String() }

func seconds(ms int64) string { return strconv.FormatInt(ms/1000, 10) }

// formatTime writes a time as MISP does.
func formatTime(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000000+00:00")
}
