package misp

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// An attribute is one, as far as it is needed. It is kept small: an event may
// have 200,000.
type attribute struct {
	object, index       int // object is -1 for an attribute of the event itself
	kind, value, uuid   string
	id                  string // its number at its instance
	refused             string // why it cannot be read
	comment             string // only Writer's, see origin
	context             bool   // to_ids is false
	gone                bool   // deleted
	named               bool   // the name of a file whose hash is beside it
	reach               reach
	firstSeen, lastSeen int64
	tags                tags
	seen                *sightings
}

// A half is what one part of a value is: MISP joins two with "|".
type half uint8

const (
	drop    half = iota // a port, the content of a registry value
	address             // ipv4, ipv6 or cidr
	typed   half = 100  // typed + notice.Type
)

func of(t notice.Type) half { return typed + half(t) }

// attributeTypes are the types taken, and what the parts of their values are.
var attributeTypes = map[string][]half{
	"ip-src": {address}, "ip-dst": {address}, "ip-src|port": {address, drop}, "ip-dst|port": {address, drop},
	"domain": {of(notice.TypeDomain)}, "hostname": {of(notice.TypeDomain)}, "hostname|port": {of(notice.TypeDomain), drop},
	"domain|ip": {of(notice.TypeDomain), address},
	"url":       {of(notice.TypeURL)},
	"email":     {of(notice.TypeEmail)}, "email-src": {of(notice.TypeEmail)}, "email-reply-to": {of(notice.TypeEmail)},
	"md5": {of(notice.TypeMD5)}, "sha1": {of(notice.TypeSHA1)}, "sha256": {of(notice.TypeSHA256)}, "sha512": {of(notice.TypeSHA512)},
	"filename":        {of(notice.TypeFilename)},
	"filename|md5":    {of(notice.TypeFilename), of(notice.TypeMD5)},
	"malware-sample":  {of(notice.TypeFilename), of(notice.TypeMD5)},
	"filename|sha1":   {of(notice.TypeFilename), of(notice.TypeSHA1)},
	"filename|sha256": {of(notice.TypeFilename), of(notice.TypeSHA256)},
	"filename|sha512": {of(notice.TypeFilename), of(notice.TypeSHA512)},
	"mutex":           {of(notice.TypeMutex)},
	"regkey":          {of(notice.TypeRegistryKey)}, "regkey|value": {of(notice.TypeRegistryKey), drop},
	"ja3-fingerprint-md5":     {of(notice.TypeJA3)},
	"ja4":                     {of(notice.TypeJA4)}, // no type of MISP's own: see Writer
	"x509-fingerprint-sha256": {of(notice.TypeCertSHA256)},
	"AS":                      {of(notice.TypeASN)},
	"btc":                     {of(notice.TypeBTC)},
}

// hashKinds are the types beside which the name of a file is context.
var hashKinds = map[string]bool{"md5": true, "sha1": true, "sha256": true, "sha512": true}

// refusals explain types that look as if they could be taken.
var refusals = map[string]string{
	"uri":           "a URI without a host matches everywhere: use url",
	"link":          "a link is a reference for readers, not an indicator",
	"vulnerability": "a CVE is not an indicator: no machine can be seen talking to it",
	"email-dst":     "a recipient is a victim: addresses of victims are not shared",
}

// KnownType reports whether an attribute of this type is an indicator.
func KnownType(kind string) bool { return attributeTypes[kind] != nil }

// A Value is one part of what an attribute's value says: an indicator, or the
// reason why it is none.
type Value struct {
	Text      string
	Indicator notice.Indicator
	Reason    string
	OnlyAll   string // why it is taken only where Options.All is set, "" if always
}

// Why something is taken only where Options.All is set.
const (
	NotForDetection = "not marked for detection (to_ids false): --all takes it all the same"
	nameAlone       = "harmless files have the same name, its hash is taken: --all takes the name too"
)

// Values reads a value of one of MISP's types: "domain|ip" gives two.
func Values(kind, value string, o notice.Options) []Value {
	parts, reason := split(kind, value)
	if reason != "" {
		return []Value{{Text: value, Reason: reason}}
	}
	var out []Value
	for i, p := range parts {
		if p.half == drop {
			continue
		}
		v := Value{Text: p.value}
		if i == 0 && len(parts) > 1 && p.half == of(notice.TypeFilename) {
			v.OnlyAll = nameAlone
		}
		var err error
		if v.Indicator, err = p.indicator(o); err != nil {
			v.Reason = intel.Reason(err)
		}
		out = append(out, v)
	}
	return out
}

type part struct {
	half  half
	value string
}

// split takes a value apart as its type says, or gives the reason why not.
func split(kind, value string) ([]part, string) {
	halves, ok := attributeTypes[kind]
	switch {
	case kind == "":
		return nil, "it has no type"
	case refusals[kind] != "":
		return nil, refusals[kind]
	case strings.HasPrefix(kind, "target-"):
		return nil, refusals["email-dst"]
	case !ok:
		return nil, "the type " + intel.Show(kind) + " is no type of indicator here"
	case len(halves) == 1:
		return []part{{halves[0], value}}, ""
	}
	at := strings.LastIndexByte(value, '|')
	if strings.HasPrefix(kind, "regkey") { // the name of a value may have a "|" as well
		at = strings.IndexByte(value, '|')
	}
	if at < 0 && halves[1] == drop && strings.HasSuffix(kind, "|port") {
		at = strings.LastIndexByte(value, ':') // 198.51.100.7:443, as old events have it
		if strings.Count(value, ":") > 1 {
			at = -1
		}
	}
	if at < 0 {
		return nil, "a value of type " + kind + " has two parts with | between them"
	}
	return []part{{halves[0], value[:at]}, {halves[1], value[at+1:]}}, ""
}

// indicator reads one part of a value.
func (p *part) indicator(o notice.Options) (notice.Indicator, error) {
	t := notice.Type(p.half - typed)
	if p.half == address {
		switch {
		case strings.Contains(p.value, "/"):
			t = notice.TypeCIDR
		case strings.Contains(p.value, ":"):
			t = notice.TypeIPv6
		default:
			t = notice.TypeIPv4
		}
	}
	indicator, err := notice.Canonical(t, p.value, o)
	if t == notice.TypeURL && err != nil && !strings.ContainsAny(p.value, "/@") { // a bare host in a field for URLs is common
		indicator, err = host(p.value, o, err)
	}
	return indicator, err
}

// host reads the host, perhaps with a port, that stands where a URL should be.
func host(value string, o notice.Options, otherwise error) (notice.Indicator, error) {
	indicator, err := notice.Detect(value, o)
	switch indicator.Type {
	case notice.TypeDomain, notice.TypeIPv4, notice.TypeIPv6:
		return indicator, nil
	}
	if err != nil {
		return indicator, err
	}
	return notice.Indicator{}, otherwise
}

// finish turns the attributes of an event that has ended into results.
func (in *reader) finish(ev *event) error {
	ev.assign()
	for i := range ev.attributes {
		a := &ev.attributes[i]
		values := []Value{{Text: a.value, Reason: a.refused}}
		if a.refused == "" {
			kind := a.kind
			if kind == "other" && a.tags.kind == notice.TypeJA4.String() {
				kind = a.tags.kind
			}
			values = Values(kind, a.value, in.options.Indicator)
		}
		for _, v := range values {
			if err := in.take(ev, a, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// take yields what one part of an attribute says: the indicator, or its
// refusal, and who saw it or disputes it.
func (in *reader) take(ev *event, a *attribute, v Value) error {
	if a.named {
		v.OnlyAll = nameAlone
	}
	context := a.context && !in.options.All
	switch {
	case a.gone && (v.Reason != "" || a.tags.carrier): // nobody took it
		return nil
	case a.gone:
		return in.found(in.withdrawn(ev, a, v))
	case v.Reason != "" && context:
		return in.found(in.skipped(ev, a, v.Text, v.Reason))
	case v.Reason != "":
		return in.found(in.refusal(ev, a, v.Text, v.Reason))
	case a.tags.carrier: // it is there for its sightings alone
		return in.takeSightings(ev, a, v, false)
	case context:
		if err := in.found(in.skipped(ev, a, v.Text, NotForDetection)); err != nil {
			return err
		}
		return in.takeSightings(ev, a, v, true)
	case v.OnlyAll != "" && !in.options.All:
		return in.found(in.skipped(ev, a, v.Text, v.OnlyAll))
	case a.lastSeen != 0 && a.lastSeen < a.firstSeen:
		return in.found(in.refusal(ev, a, v.Text, "last_seen is before first_seen"))
	}
	n := &notice.Notice{
		Kind: notice.KindIndicator, Indicator: &v.Indicator, FirstSeen: a.firstSeen, LastSeen: a.lastSeen,
		ValidUntil: a.seen.until(), Context: contextOf(&a.tags, &ev.tags), Origin: ev.origin(a),
	}
	if n.FirstSeen == 0 {
		n.FirstSeen = n.LastSeen
	}
	if err := in.found(intel.Found{Place: ev.placeOf(a), Item: a.item(), Notice: n, TLP: n.Origin.TLP, Unclear: ev.unclear(a), Value: intel.Show(v.Text)}); err != nil {
		return err
	}
	return in.takeSightings(ev, a, v, false)
}

// withdrawn is an indicator that was deleted.
func (in *reader) withdrawn(ev *event, a *attribute, v Value) intel.Found {
	n := &notice.Notice{Kind: notice.KindIndicator, Indicator: &v.Indicator, Origin: ev.origin(a)}
	return intel.Found{Place: ev.placeOf(a), Item: a.item(), Notice: n, Withdrawn: true, TLP: n.Origin.TLP, Unclear: ev.unclear(a), Value: intel.Show(v.Text)}
}

// skipped is what is not meant for detection.
func (in *reader) skipped(ev *event, a *attribute, value, reason string) intel.Found {
	f := in.refusal(ev, a, value, reason)
	f.Skipped = true
	return f
}

func (in *reader) refusal(ev *event, a *attribute, value, reason string) intel.Found {
	return intel.Found{Place: ev.placeOf(a), TLP: notice.Stricter(ev.tags.tlp, a.tags.tlp), Reason: reason, Value: intel.Show(value)}
}

// unclear is what nobody understands of an attribute's marking, "" if nothing.
func (ev *event) unclear(a *attribute) string {
	unclear := cmp.Or(a.tags.strange, ev.tags.strange)
	if unclear == "" && a.tags.tlp == 0 {
		if unclear = a.reach.unclear(ev.placeOf(a)); unclear == "" && ev.tags.tlp == 0 {
			unclear = ev.reach.unclear(ev.place)
		}
	}
	return unclear
}

// item is the notice that Writer made the attribute of, nil if it did not.
func (a *attribute) item() *crypto.ItemID {
	n, _ := readNote(a.comment)
	return n.item()
}

// origin is who said it first: the event's organisation, unless Writer has
// passed on another's word and says whose.
func (ev *event) origin(a *attribute) *notice.Origin {
	tlp := notice.Stricter(ev.tags.tlp, a.tags.tlp)
	if source, id, ok := readOrigin(a.comment); ok {
		return &notice.Origin{Source: source, ID: id, TLP: tlp}
	}
	source := "misp"
	if name := cmp.Or(ev.orgc, ev.org); name != "" {
		source += ":" + name
	}
	return &notice.Origin{Source: source, ID: strings.Trim(ev.uuid+"/"+a.uuid, "/"), TLP: tlp}
}

func (ev *event) placeOf(a *attribute) string {
	place := ev.place
	if a.object >= 0 {
		place += ".Object[" + strconv.Itoa(a.object) + "]"
	}
	return strings.TrimPrefix(place+".Attribute["+strconv.Itoa(a.index)+"]", ".")
}
