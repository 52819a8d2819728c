package misp

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// An attribute is one, as far as it is needed. It is kept small: an event may
// have 200,000.
type attribute struct {
	object, index       int // object is -1 for an attribute of the event itself
	kind, value, uuid   string
	long                bool // value is only the start of it
	context             bool // to_ids is false
	firstSeen, lastSeen int64
	tags                tags
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
	"x509-fingerprint-sha256": {of(notice.TypeCertSHA256)},
	"AS":                      {of(notice.TypeASN)},
	"btc":                     {of(notice.TypeBTC)},
}

// refusals explain types that look as if they could be taken.
var refusals = map[string]string{
	"uri":           "a URI without a host matches everywhere: use url",
	"link":          "a link is a reference for readers, not an indicator",
	"vulnerability": "a CVE is not an indicator: no machine can be seen talking to it",
	"email-dst":     "a recipient is a victim: addresses of victims are not shared",
}

// finish turns the attributes of an event that has ended into results.
func (in *reader) finish(ev *event) error {
	for i := range ev.attributes {
		a := &ev.attributes[i]
		parts, reason := a.split()
		if reason != "" {
			if err := in.found(in.refusal(ev, a, a.value, reason)); err != nil {
				return err
			}
			continue
		}
		for _, part := range parts {
			if part.half == drop {
				continue
			}
			if err := in.found(in.take(ev, a, part)); err != nil {
				return err
			}
		}
	}
	return nil
}

type part struct {
	half  half
	value string
}

// split takes a value apart as its type says, or gives the reason why not.
func (a *attribute) split() ([]part, string) {
	halves, ok := attributeTypes[a.kind]
	switch {
	case a.kind == "":
		return nil, "it has no type"
	case refusals[a.kind] != "":
		return nil, refusals[a.kind]
	case strings.HasPrefix(a.kind, "target-"):
		return nil, refusals["email-dst"]
	case !ok:
		return nil, "the type " + intel.Show(a.kind) + " is no type of indicator here"
	case a.long:
		return nil, "the value is longer than " + strconv.Itoa(notice.ValueMax) + " bytes"
	case len(halves) == 1:
		return []part{{halves[0], a.value}}, ""
	}
	at := strings.LastIndexByte(a.value, '|')
	if strings.HasPrefix(a.kind, "regkey") { // the name of a value may have a "|" as well
		at = strings.IndexByte(a.value, '|')
	}
	if at < 0 && halves[1] == drop && strings.HasSuffix(a.kind, "|port") {
		at = strings.LastIndexByte(a.value, ':') // 198.51.100.7:443, as old events have it
		if strings.Count(a.value, ":") > 1 {
			at = -1
		}
	}
	if at < 0 {
		return nil, "a value of type " + a.kind + " has two parts with | between them"
	}
	return []part{{halves[0], a.value[:at]}, {halves[1], a.value[at+1:]}}, ""
}

// take makes the notice of one part of an attribute, or its refusal.
func (in *reader) take(ev *event, a *attribute, p part) intel.Found {
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
	indicator, err := notice.Canonical(t, p.value, in.options.Indicator)
	if t == notice.TypeURL && err != nil && !strings.ContainsAny(p.value, "/@") { // a bare host in a field for URLs is common
		indicator, err = in.host(p.value, err)
	}
	if err != nil {
		return in.refusal(ev, a, p.value, intel.Reason(err))
	}
	if a.context && ev.flagged && !in.options.All {
		return in.refusal(ev, a, p.value, "not marked for detection (to_ids false)")
	}
	if strange := cmp.Or(a.tags.strange, ev.tags.strange); strange != "" {
		return in.refusal(ev, a, p.value, "its marking "+strange+" is not known, so nobody can say how far it may travel")
	}
	if a.lastSeen != 0 && a.lastSeen < a.firstSeen {
		return in.refusal(ev, a, p.value, "last_seen is before first_seen")
	}
	n := &notice.Notice{
		Kind: notice.KindIndicator, Indicator: &indicator, FirstSeen: a.firstSeen, LastSeen: a.lastSeen,
		Context: contextOf(&a.tags, &ev.tags), Origin: ev.origin(a),
	}
	if n.FirstSeen == 0 {
		n.FirstSeen = n.LastSeen
	}
	return intel.Found{Place: ev.placeOf(a), Notice: n, TLP: n.Origin.TLP, Value: intel.Show(p.value)}
}

// host reads the host, perhaps with a port, that stands where a URL should be.
func (in *reader) host(value string, otherwise error) (notice.Indicator, error) {
	indicator, err := notice.Detect(value, in.options.Indicator)
	switch indicator.Type {
	case notice.TypeDomain, notice.TypeIPv4, notice.TypeIPv6:
		return indicator, nil
	}
	if err != nil {
		return indicator, err
	}
	return notice.Indicator{}, otherwise
}

func (in *reader) refusal(ev *event, a *attribute, value, reason string) intel.Found {
	return intel.Found{Place: ev.placeOf(a), TLP: notice.Stricter(ev.tags.tlp, a.tags.tlp), Reason: reason, Value: intel.Show(value)}
}

func (ev *event) origin(a *attribute) *notice.Origin {
	source := "misp"
	for _, name := range []string{ev.orgc, ev.org} {
		if name != "" {
			source += ":" + name
			break
		}
	}
	id := strings.Trim(ev.uuid+"/"+a.uuid, "/")
	return &notice.Origin{Source: source, ID: id, TLP: notice.Stricter(ev.tags.tlp, a.tags.tlp)}
}

func (ev *event) placeOf(a *attribute) string {
	place := ev.place
	if a.object >= 0 {
		place += ".Object[" + strconv.Itoa(a.object) + "]"
	}
	return strings.TrimPrefix(place+".Attribute["+strconv.Itoa(a.index)+"]", ".")
}
