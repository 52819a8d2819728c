package notice

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Options of Canonical and Detect. The zero value is the safe one.
type Options struct {
	// AllowSpecial takes private and special-use addresses, networks, names
	// and AS numbers, which say more about a hospital's own network than about
	// an attacker's. Documentation addresses and names (RFC 5737, RFC 3849,
	// .example, .test, .invalid) need no leave: drills and manuals live on them.
	AllowSpecial bool
}

// Canonical brings one value of a stated type into its one canonical form:
// refanged, lower case, normalised as the type demands. The result's type
// differs from t where the value says so: an IPv4-mapped IPv6 address is ipv4,
// a /32 is an address. Canonicalising a result again changes nothing. Errors
// are *FieldError with the field "value" (or "type").
func Canonical(t Type, raw string, o Options) (Indicator, error) {
	first, err := canonicalise(t, raw, o)
	if err != nil || first.Value == raw {
		return first, err
	}
	// Unicode normalisation has corners where a second pass differs. What has
	// no stable form has no key, so it is refused.
	second, err := canonicalise(first.Type, first.Value, o)
	if err != nil || second != first {
		return Indicator{}, fieldErrorf("value", "write it in plain letters", "%s has no stable canonical form", show(raw))
	}
	return first, nil
}

// canonicalise is one pass of Canonical. On a canonical value it is cheap.
func canonicalise(t Type, raw string, o Options) (Indicator, error) {
	if !t.known() {
		return Indicator{}, fieldErrorf("type", "choose "+strings.Join(typeNames[1:], ", "), "%s is unknown", t)
	}
	value, err := clean(raw)
	if err != nil {
		return Indicator{}, err
	}
	switch t {
	case TypeIPv4, TypeIPv6:
		t, value, err = canonicalAddress(t, refang(value), o)
	case TypeCIDR:
		t, value, err = canonicalNetwork(refang(value), o)
	case TypeDomain:
		value, err = canonicalDomain(refang(value), o)
		if err == nil && isPublicSuffix(value) {
			err = valueErrorf("name the host or the registered name below it",
				"%s is a public suffix: everybody's names end in it", show(value))
		}
	case TypeURL:
		value, err = canonicalURL(value, o)
	case TypeEmail:
		value, err = canonicalEmail(refang(value), o)
	case TypeFilename:
		value, err = canonicalPath(value, o)
	case TypeRegistryKey:
		value, err = canonicalRegistryKey(value)
	case TypeMutex:
		value = norm.NFC.String(value) // names of kernel objects differ in case
	default:
		value, err = canonicalToken(t, value, o)
	}
	if err != nil {
		return Indicator{}, err
	}
	if len(value) > ValueMax {
		return Indicator{}, tooLong(len(value))
	}
	return Indicator{Type: t, Value: value}, nil
}

// clean trims space and refuses what no value may hold.
func clean(raw string) (string, error) {
	value := strings.TrimSpace(raw)
	switch {
	case value == "":
		return "", valueErrorf("give a value", "it is empty")
	case len(value) > ValueMax:
		return "", tooLong(len(value))
	}
	return value, checkPrintable("value", value)
}

func tooLong(length int) error {
	return valueErrorf("shorten it to 2048", "it has %d bytes", length)
}

// valueErrorf is fieldErrorf for the field every function here speaks of.
func valueErrorf(fix, format string, args ...any) error {
	return fieldErrorf("value", fix, format, args...)
}

// fangs are the ways to make a value unclickable, and what they stand for.
// They are matched in lower case.
var fangs = [...]struct{ from, to string }{
	{"[://]", "://"}, {"(://)", "://"}, {"[:]//", "://"}, {"[:]", ":"}, {"(:)", ":"}, {"{:}", ":"},
	{"[.]", "."}, {"(.)", "."}, {"{.}", "."}, {"[dot]", "."}, {"(dot)", "."}, {"{dot}", "."},
	{"[at]", "@"}, {"(at)", "@"}, {"{at}", "@"}, {"[@]", "@"}, {"(@)", "@"}, {"{@}", "@"},
	{"[/]", "/"},
}

// refang undoes what fangs lists.
func refang(s string) string {
	if !strings.ContainsAny(s, "[({") {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		n := strings.IndexAny(s, "[({")
		if n < 0 {
			break
		}
		b.WriteString(s[:n])
		s = s[n:]
		size, with := 1, s[:1]
		for _, f := range fangs {
			if len(s) >= len(f.from) && strings.EqualFold(s[:len(f.from)], f.from) {
				size, with = len(f.from), f.to
				break
			}
		}
		b.WriteString(with)
		s = s[size:]
	}
	b.WriteString(s)
	return b.String()
}

// lower returns s in lower case; for ASCII without upper case it is free.
func lower(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return norm.NFC.String(strings.ToLower(norm.NFC.String(s)))
		}
	}
	return strings.ToLower(s)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
