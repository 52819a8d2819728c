package notice

import (
	"net/netip"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

const (
	domainMax = 253 // bytes, RFC 1035
	labelMax  = 63
	localMax  = 64 // bytes of a mailbox's name, RFC 5321
)

// idnaProfile maps and checks names as a browser would when it looks them up
// (UTS #46, non-transitional). The characters of the result are ours to check:
// real names have underscores and hyphens that the strict rules forbid.
var idnaProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false),
	idna.StrictDomainName(false), idna.CheckHyphens(false))

// specialNames are the last labels of names that mean something only inside a
// network: RFC 6761, 6762, 8375, .internal, and what routers make up.
// Names for documentation are not among them, nor is .onion.
var specialNames = [...]string{"local", "localhost", "localdomain", "internal", "intranet", "private",
	"lan", "home", "corp", "mail", "workgroup", "home.arpa", "in-addr.arpa", "ip6.arpa"}

// canonicalDomain returns a name of two labels or more as A-labels in lower
// case without a trailing dot.
func canonicalDomain(s string, o Options) (string, error) {
	name := s
	if !plainName(name) {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if !isASCII(name) || strings.Contains(name, "xn--") {
			ascii, err := idnaProfile.ToASCII(name)
			if err != nil {
				return "", valueErrorf("check its spelling", "%s is not a valid international name", show(s))
			}
			name = strings.TrimSuffix(ascii, ".")
		}
	}
	if err := checkName(name, s); err != nil {
		return "", err
	}
	if o.AllowSpecial {
		return name, nil
	}
	if end := specialEnd(name); end != "" {
		return "", valueErrorf(allowFix, "%s is a special-use name (.%s): it means something only inside a network", show(s), end)
	}
	return name, nil
}

func specialName(name string) bool { return specialEnd(name) != "" }

// specialEnd returns the special name that a canonical name is or ends in, or "".
func specialEnd(name string) string {
	for _, end := range specialNames {
		if strings.HasSuffix(name, end) && (len(name) == len(end) || name[len(name)-len(end)-1] == '.') {
			return end
		}
	}
	return ""
}

// plainName reports whether s is in lower-case ASCII already and has no
// A-label, so that IDNA has nothing to say about it.
func plainName(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_':
		case c == '-':
			if i > 2 && s[i-1] == '-' && s[i-2] == 'n' && s[i-3] == 'x' {
				return false
			}
		default:
			return false
		}
	}
	return s != "" && s[len(s)-1] != '.'
}

// checkName checks the form of a name that is lower-case ASCII, s as written.
func checkName(name, s string) error {
	if len(name) > domainMax {
		return valueErrorf("names have up to 253", "the name %s has %d bytes", show(s), len(name))
	}
	label, labels := 0, 1
	for i := 0; i <= len(name); i++ {
		if i == len(name) || name[i] == '.' {
			if label == 0 || label > labelMax {
				return valueErrorf("labels have 1 to 63 bytes", "%s is not a domain name", show(s))
			}
			if i < len(name) {
				label, labels = 0, labels+1
			}
			continue
		}
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return valueErrorf("names have letters, digits, hyphens and dots", "%s is not a domain name", show(s))
		}
		label++
	}
	if labels < 2 {
		return valueErrorf("give the full name, such as host.evil.example", "%s is a single label", show(s))
	}
	last := name[len(name)-label:]
	if digits(last) || last[0] == '-' || last[label-1] == '-' || strings.Contains(last, "_") {
		return valueErrorf("check its last label", "%s is not a domain name", show(s))
	}
	return nil
}

// isPublicSuffix reports whether a canonical name is on the public suffix
// list, the private section included: github.io is as many people's as co.uk.
func isPublicSuffix(name string) bool {
	suffix, _ := publicsuffix.PublicSuffix(name)
	return suffix == name
}

// knownTLD reports whether a canonical name ends in a delegated top-level
// domain, or one that is in use without: onion, and those for documentation.
func knownTLD(name string) bool {
	_, known := suffixOf(name)
	return known
}

// suffixOf returns the public suffix of a canonical name, and whether its
// top-level domain is known (see knownTLD).
func suffixOf(name string) (suffix string, known bool) {
	suffix, icann := publicsuffix.PublicSuffix(name)
	tld := name[strings.LastIndexByte(name, '.')+1:]
	switch tld {
	case "onion", "example", "test", "invalid":
		return suffix, true
	}
	if icann || len(suffix) == len(tld) { // a rule of its own, or none
		return suffix, icann
	}
	_, icann = publicsuffix.PublicSuffix("x." + tld) // the list has *.ck and not ck
	return suffix, icann
}

// canonicalEmail returns a mailbox. Its name is lower-cased too: RFC 5321
// leaves case to the receiver, no provider makes use of it, and one sender
// must have one key. Quoted names and address literals are refused.
func canonicalEmail(s string, o Options) (string, error) {
	if len(s) > 7 && strings.EqualFold(s[:7], "mailto:") {
		s = s[7:]
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || strings.Contains(domain, "@") {
		return "", valueErrorf("write name@evil.example", "%s is not an e-mail address", show(s))
	}
	local = lower(local)
	if len(local) > localMax || local[0] == '.' || local[len(local)-1] == '.' || strings.Contains(local, "..") {
		return "", valueErrorf("check the part before the @", "%s is not an e-mail address", show(s))
	}
	for _, r := range local {
		if !(unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) || strings.ContainsRune(".!#$%&'*+/=?^_`{|}~-", r)) {
			return "", valueErrorf("check the part before the @", "%s is not an e-mail address", show(s))
		}
	}
	if _, err := netip.ParseAddr(domain); err == nil {
		return "", valueErrorf("report the address itself", "the domain of %s is an address", show(s))
	}
	domain, err := canonicalDomain(domain, o)
	if err != nil {
		return "", err
	}
	return local + "@" + domain, nil
}
