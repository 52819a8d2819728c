package feed

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/watchward/watchward/node/notice"
)

// A Format is how a kind of consumer wants its list. Its text is what the
// configuration says.
type Format string

const (
	Plain     Format = "plain"     // a value a line: OPNsense, pfSense, Pi-hole and most others
	PANOS     Format = "panos"     // Palo Alto external dynamic list of addresses, domains or URLs
	FortiGate Format = "fortigate" // external feed of addresses, domains, URLs or hashes
	Hosts     Format = "hosts"     // a hosts file: Pi-hole
	RPZ       Format = "rpz"       // a DNS response policy zone
	Suricata  Format = "suricata"  // a dataset: strings in base64, hashes in hex, addresses plain
	Zeek      Format = "zeek"      // the Intel framework's file
	CrowdSec  Format = "crowdsec"  // decisions for its bouncers
	CSV       Format = "csv"       // for people and spreadsheets
)

// Formats returns all formats.
func Formats() []Format {
	return []Format{Plain, PANOS, FortiGate, Hosts, RPZ, Suricata, Zeek, CrowdSec, CSV}
}

// Limits of any feed and of FortiOS before 7.4.4, which cuts off what is longer.
const (
	EntriesMax          = 2_000_000
	fortiGateEntriesMax = 131_072
	fortiGateBytesMax   = 10_000_000
)

var (
	addresses = []notice.Type{notice.TypeIPv4, notice.TypeIPv6, notice.TypeCIDR}
	names     = []notice.Type{notice.TypeDomain}
	urls      = []notice.Type{notice.TypeURL}
	hashes    = []notice.Type{notice.TypeMD5, notice.TypeSHA1, notice.TypeSHA256, notice.TypeSHA512}
)

// groups are the types that one list of a format may hold together; the first is the
// default. A consumer that is told "these are addresses" can do nothing with a name.
func (f Format) groups() [][]notice.Type {
	switch f {
	case Plain, CSV:
		return [][]notice.Type{notice.Types()}
	case PANOS:
		return [][]notice.Type{addresses, names, urls}
	case FortiGate:
		return [][]notice.Type{addresses, names, urls, hashes[:3]}
	case Hosts:
		return [][]notice.Type{names}
	case RPZ:
		return [][]notice.Type{append(slices.Clone(names), addresses...)}
	case Suricata:
		return [][]notice.Type{names, urls, addresses[:2], {notice.TypeMD5}, {notice.TypeSHA256}, {notice.TypeJA3}, {notice.TypeFilename}}
	case Zeek:
		return [][]notice.Type{slices.Concat(addresses, names, urls, hashes, []notice.Type{notice.TypeEmail, notice.TypeFilename})}
	case CrowdSec:
		return [][]notice.Type{addresses}
	}
	return nil
}

// Check says what cannot be in a policy. Types may be none: then they are the
// format's default.
func (p *Policy) Check() error {
	groups := p.Format.groups()
	if groups == nil {
		return &notice.FieldError{Field: "format", Reason: fmt.Sprintf("%.40q is no format", string(p.Format)), Fix: fmt.Sprintf("choose one of %v", Formats())}
	}
	if len(p.Types) == 0 {
		if p.Format == Plain {
			return &notice.FieldError{Field: "types", Reason: "a plain list must say what is in it", Fix: `set types = ["ip"], or "domain", "url", "hash"`}
		}
		p.Types = groups[0]
	}
	for _, g := range groups {
		if !slices.ContainsFunc(p.Types, func(t notice.Type) bool { return !slices.Contains(g, t) }) {
			return p.checkZone()
		}
	}
	return &notice.FieldError{Field: "types", Reason: fmt.Sprintf("one list of the format %s cannot hold %v", p.Format, p.Types), Fix: fmt.Sprintf("make a list for each, of %v", groups)}
}

func (p *Policy) checkZone() error {
	if p.Format != RPZ {
		return nil
	}
	if len(p.Zone) == 0 || len(p.Zone) > 100 || !plainName(p.Zone) || strings.HasSuffix(p.Zone, ".") {
		return &notice.FieldError{Field: "zone", Reason: fmt.Sprintf("%.100q is no name of a zone", p.Zone), Fix: `write it as "rpz.hospital.example"`}
	}
	return nil
}

// ParseTypes reads names of types, and "ip" and "hash" for all of these.
func ParseTypes(list []string) (out []notice.Type, err error) {
	for _, s := range list {
		switch strings.ToLower(strings.TrimSpace(s)) {
		case "ip":
			out = append(out, addresses...)
			continue
		case "hash":
			out = append(out, hashes...)
			continue
		}
		t, err := notice.ParseType(s)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// ContentType of what a feed of the format is served as.
func (f Format) ContentType() string {
	switch f {
	case CSV:
		return "text/csv; charset=utf-8"
	case RPZ:
		return "text/dns"
	}
	return "text/plain; charset=utf-8"
}

// Explicit reports whether consumers are told of each value that leaves, or get a
// list that is never empty as bytes. Elsewhere empty may mean broken.
func (f Format) explicit() bool { return f == RPZ || f == CrowdSec }

// limits of a list: what its policy says, within what the consumer takes.
func (p *Policy) limits() (entries, size int) {
	entries, size = EntriesMax, 1<<30
	if p.Format == FortiGate {
		entries, size = fortiGateEntriesMax, fortiGateBytesMax
	}
	if p.MaxEntries > 0 {
		entries = min(entries, p.MaxEntries)
	}
	return entries, size
}

// line appends the lines of an entry to b. The error says what in the value the
// format cannot carry: such a value is left out and never bent.
func (f Format) line(b []byte, p *Policy, e *Entry) ([]byte, error) {
	switch f {
	case Plain:
		return plainLine(b, e, "#;")
	case PANOS:
		return panosLine(b, e)
	case FortiGate:
		return plainLine(b, e, "#;*^,")
	case Hosts:
		if err := hostName(e.Value, 0); err != nil {
			return b, err
		}
		return append(append(append(b, "0.0.0.0 "...), e.Value...), '\n'), nil
	case RPZ:
		return rpzLines(b, p, e)
	case Suricata:
		return suricataLine(b, e)
	case Zeek:
		return zeekLine(b, e)
	case CrowdSec:
		return crowdsecLine(b, e)
	case CSV:
		return csvLine(b, e)
	}
	return b, fmt.Errorf("no format %s", f)
}

// header is what stands before the lines of a list.
func (p *Policy) header(serial uint32) []byte {
	switch p.Format {
	case RPZ:
		return rpzHead(p, serial)
	case Zeek:
		return []byte("#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\tmeta.url\n")
	case CSV:
		return []byte("type,value,since,last_seen,until,members\n")
	}
	return nil
}

var errBytes = errors.New("it has characters that the format cannot carry")

// plainLine is the value alone, of visible ASCII without the characters that start a
// comment or stand for others.
func plainLine(b []byte, e *Entry, without string) ([]byte, error) {
	if e.Type == notice.TypeDomain {
		if err := hostName(e.Value, 0); err != nil {
			return b, err
		}
	}
	if err := visible(e.Value, without); err != nil {
		return b, err
	}
	return append(append(b, e.Value...), '\n'), nil
}

func visible(s, without string) error {
	if s == "" {
		return errors.New("it is empty")
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(without, c) >= 0 {
			return errBytes
		}
	}
	if s[0] == '#' || s[0] == ';' || s[0] == '!' {
		return errors.New("it begins as a comment does")
	}
	return nil
}

// panosLine writes URLs without scheme and with a slash behind a bare host, without
// which PAN-OS also takes hosts that only begin so. Its wildcards are * and ^.
func panosLine(b []byte, e *Entry) ([]byte, error) {
	if e.Type != notice.TypeURL {
		return plainLine(b, e, "#*^,")
	}
	rest, err := withoutScheme(e.Value)
	if err != nil {
		return b, err
	}
	if err := visible(rest, "#*^"); err != nil {
		return b, err
	}
	if len(rest) > 255 {
		return b, errors.New("PAN-OS takes URLs of up to 255 characters")
	}
	return append(append(b, rest...), '\n'), nil
}

// withoutScheme cuts a canonical URL's scheme off; a host has a slash behind it.
func withoutScheme(url string) (string, error) {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return "", errors.New("it is of another scheme than http and https")
	}
	if !strings.Contains(rest, "/") {
		rest += "/"
	}
	if strings.HasPrefix(rest, "/") || strings.Contains(rest[:strings.IndexByte(rest, '/')], "@") {
		return "", errors.New("it names no plain host")
	}
	return rest, nil
}

// hostName checks a name as DNS carries it, with room for extra bytes.
func hostName(s string, extra int) error {
	if !plainName(s) {
		return errors.New("it is no host name that DNS carries")
	}
	if len(s)+2+extra > 255 {
		return errors.New("it is too long for DNS")
	}
	return nil
}

// plainName takes letters, digits, - and _ in labels of up to 63.
func plainName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}

func suricataLine(b []byte, e *Entry) ([]byte, error) {
	switch e.Type {
	case notice.TypeMD5, notice.TypeSHA256, notice.TypeIPv4, notice.TypeIPv6:
		return plainLine(b, e, "#,")
	}
	if e.Value == "" {
		return b, errors.New("it is empty")
	}
	b = base64.StdEncoding.AppendEncode(b, []byte(e.Value))
	return append(b, '\n'), nil
}

var zeekTypes = map[notice.Type]string{
	notice.TypeIPv4: "Intel::ADDR", notice.TypeIPv6: "Intel::ADDR", notice.TypeCIDR: "Intel::SUBNET", notice.TypeDomain: "Intel::DOMAIN",
	notice.TypeURL: "Intel::URL", notice.TypeEmail: "Intel::EMAIL", notice.TypeFilename: "Intel::FILE_NAME",
	notice.TypeMD5: "Intel::FILE_HASH", notice.TypeSHA1: "Intel::FILE_HASH", notice.TypeSHA256: "Intel::FILE_HASH", notice.TypeSHA512: "Intel::FILE_HASH",
}

// zeekLine has literal tabs between its fields. Zeek reads "\x09" in a value as a tab,
// "-" as nothing and "(empty)" as empty.
func zeekLine(b []byte, e *Entry) ([]byte, error) {
	value := e.Value
	if e.Type == notice.TypeURL {
		var err error
		if value, err = withoutScheme(value); err != nil {
			return b, err
		}
	}
	if value == "" || value == "-" || value == "(empty)" || value[0] == '#' || strings.ContainsRune(value, '\\') || !printable(value) {
		return b, errBytes
	}
	kind, ok := zeekTypes[e.Type]
	if !ok {
		return b, fmt.Errorf("no type of Zeek is %s", e.Type)
	}
	b = append(append(append(append(b, value...), '\t'), kind...), "\twatchward\t"...)
	return append(append(b, said(e)...), "\t-\n"...), nil
}

// said is why an entry is in a list, in words that no format trips over.
func said(e *Entry) string {
	switch {
	case e.Denied:
		return "denied here"
	case e.Members == 1:
		return "seen by 1 member"
	case e.Members > 1:
		return fmt.Sprintf("seen by %d members", e.Members)
	}
	return "reported"
}

// csvLine leaves out what a spreadsheet would take for a formula.
func csvLine(b []byte, e *Entry) ([]byte, error) {
	if e.Value == "" || !printable(e.Value) {
		return b, errBytes
	}
	if strings.IndexByte("=+-@", e.Value[0]) >= 0 {
		return b, errors.New("a spreadsheet would take it for a formula")
	}
	b = append(append(b, e.Type.String()...), ',')
	if strings.ContainsAny(e.Value, `,"`) {
		b = append(b, '"')
		b = append(b, strings.ReplaceAll(e.Value, `"`, `""`)...)
		b = append(b, '"')
	} else {
		b = append(b, e.Value...)
	}
	for _, ms := range []int64{e.Since, e.Seen, e.Until} {
		b = append(b, ',')
		if ms > 1 {
			b = appendTime(b, ms)
		}
	}
	return fmt.Appendf(b, ",%d\n", e.Members), nil
}

// crowdsecLine is not served: decisions are made when they are asked for, since they
// say for how long. It checks that the value can be one.
func crowdsecLine(b []byte, e *Entry) ([]byte, error) {
	if _, err := netip.ParsePrefix(e.Value); err != nil {
		if _, err := netip.ParseAddr(e.Value); err != nil {
			return b, errors.New("it is neither an address nor a network")
		}
	}
	return plainLine(b, e, "#")
}
