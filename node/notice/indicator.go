package notice

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// A Type is the type of an indicator. The numbers are wire format.
type Type uint8

const (
	TypeIPv4        Type = 1
	TypeIPv6        Type = 2
	TypeCIDR        Type = 3
	TypeDomain      Type = 4
	TypeURL         Type = 5
	TypeEmail       Type = 6
	TypeMD5         Type = 7
	TypeSHA1        Type = 8
	TypeSHA256      Type = 9
	TypeSHA512      Type = 10
	TypeJA3         Type = 11
	TypeJA4         Type = 12
	TypeCertSHA256  Type = 13
	TypeASN         Type = 14
	TypeFilename    Type = 15
	TypeMutex       Type = 16
	TypeRegistryKey Type = 17
	TypeBTC         Type = 18

	typeLast = TypeBTC
)

var typeNames = [...]string{"", "ipv4", "ipv6", "cidr", "domain", "url", "email", "md5", "sha1", "sha256",
	"sha512", "ja3", "ja4", "cert-sha256", "asn", "filename", "mutex", "registry-key", "btc"}

// Types returns all indicator types in the order of their numbers.
func Types() []Type {
	types := make([]Type, typeLast)
	for i := range types {
		types[i] = Type(i + 1)
	}
	return types
}

func (t Type) known() bool { return t >= 1 && t <= typeLast }

// address reports whether values of t are IP addresses or networks.
func (t Type) address() bool { return t == TypeIPv4 || t == TypeIPv6 || t == TypeCIDR }

func (t Type) String() string {
	if t.known() {
		return typeNames[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// ParseType is the inverse of String, in any case, with - or _.
func ParseType(s string) (Type, error) {
	name := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(s)), "_", "-")
	for t := Type(1); t <= typeLast; t++ {
		if name == typeNames[t] {
			return t, nil
		}
	}
	return 0, fieldErrorf("type", "choose "+strings.Join(typeNames[1:], ", "), "%s is not a type of indicator", show(s))
}

// An Indicator is a canonical value and its type: what Canonical and Detect
// return. Equal things are equal Indicators.
type Indicator struct {
	Type  Type
	Value string
}

func (i Indicator) String() string { return i.Type.String() + " " + i.Value }

// A Key stands for an indicator in indexes: the type's number and the first 16
// bytes of SHA-256 of the canonical value.
type Key [17]byte

// Key returns the key of a canonical indicator.
func (i Indicator) Key() Key {
	var buf [128]byte // spares most values an allocation
	sum := sha256.Sum256(append(buf[:0], i.Value...))
	var k Key
	k[0] = byte(i.Type)
	copy(k[1:], sum[:])
	return k
}

// Matches yields the indicators whose presence means that i is known, the most
// specific first. It is the one matching rule of lookup, logs, history and
// feeds: a name matches itself and its parents (never a public suffix, never
// its children); an address or a network matches the networks that contain it,
// from /31 or /127 down to /8 or /19; anything else matches itself. At most
// 127 are yielded. To match a URL or an e-mail address by its host as well,
// ask Host and go over the host's Matches.
func (i Indicator) Matches(yield func(Indicator) bool) { i.match(nil, yield) }

// MatchesIn is Matches without the networks of which may says that they are no
// indicators: an address is in up to 108, and few of them ever are. may must
// not be wrong when it says no.
func (i Indicator) MatchesIn(may func(netip.Prefix) bool) func(yield func(Indicator) bool) {
	return func(yield func(Indicator) bool) { i.match(may, yield) }
}

func (i Indicator) match(may func(netip.Prefix) bool, yield func(Indicator) bool) {
	if !yield(i) {
		return
	}
	switch i.Type {
	case TypeDomain:
		parents(i.Value, yield)
	case TypeIPv4, TypeIPv6:
		if addr, err := netip.ParseAddr(i.Value); err == nil {
			wider(addr, addr.BitLen()-1, may, yield)
		}
	case TypeCIDR:
		if prefix, err := netip.ParsePrefix(i.Value); err == nil {
			wider(prefix.Addr(), prefix.Bits()-1, may, yield)
		}
	}
}

// parents yields the names above a name that are no public suffix. Between a
// name and its suffix there is none: the rule of the list that is the longest
// for the name is so for them too.
func parents(name string, yield func(Indicator) bool) {
	suffix, _ := publicsuffix.PublicSuffix(name)
	for {
		_, parent, ok := strings.Cut(name, ".")
		if !ok {
			return
		}
		name = parent
		if len(name) <= len(suffix) && isPublicSuffix(name) {
			continue
		}
		if !yield(Indicator{TypeDomain, name}) {
			return
		}
	}
}

// wider yields the networks around addr from the given prefix length to the
// widest that may be an indicator.
func wider(addr netip.Addr, bits int, may func(netip.Prefix) bool, yield func(Indicator) bool) {
	for ; bits >= prefixMin(addr); bits-- {
		prefix, err := addr.Prefix(bits)
		if err != nil {
			return
		}
		if (may == nil || may(prefix)) && !yield(Indicator{TypeCIDR, prefix.String()}) {
			return
		}
	}
}

// Host returns the host of a canonical URL (domain, ipv4 or ipv6) or the domain
// of an e-mail address. A URL's host may be a public suffix or a special name.
func (i Indicator) Host() (Indicator, bool) {
	switch i.Type {
	case TypeEmail:
		if _, domain, ok := strings.Cut(i.Value, "@"); ok {
			return Indicator{TypeDomain, domain}, true
		}
	case TypeURL:
		_, rest, _ := strings.Cut(i.Value, "://")
		authority, _, ok := strings.Cut(rest, "/")
		if !ok {
			return Indicator{}, false
		}
		if host, _, ok := strings.Cut(strings.TrimPrefix(authority, "["), "]"); ok {
			return Indicator{TypeIPv6, host}, true
		}
		host, _, _ := strings.Cut(authority, ":")
		if _, err := netip.ParseAddr(host); err == nil {
			return Indicator{TypeIPv4, host}, true
		}
		return Indicator{TypeDomain, host}, true
	}
	return Indicator{}, false
}

// check refuses an unknown type and any value that Canonical would change.
func (i *Indicator) check() error {
	if !i.Type.known() {
		return fieldErrorf("type", "choose "+strings.Join(typeNames[1:], ", "), "%s is unknown", i.Type)
	}
	got, err := canonicalise(i.Type, i.Value, Options{AllowSpecial: true})
	if err != nil {
		return err
	}
	if got != *i {
		return fieldErrorf("value", "write it as "+got.String(), "%s is not canonical", show(i.Value))
	}
	return nil
}
