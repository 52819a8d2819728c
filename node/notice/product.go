package notice

import (
	"net/url"
	"path"
	"regexp"
	"strings"
)

// productMax bounds a product, in bytes.
const productMax = 200

const productFix = "write it as cpe:2.3:a:VENDOR:PRODUCT:VERSION (NIST's dictionary has them) or as a package URL: pkg:npm/NAME@VERSION"

// A Product names software or a device: by a CPE 2.3 formatted string (NISTIR 7695) or
// by a package URL (purl).
type Product struct {
	text    string
	cpe     []string // the attributes: part, vendor, product, version …; nil if it is a purl
	name    string   // of a purl, without the version, in small letters
	version string   // of a purl; "" = any
}

// cpeAttributes is how many follow cpe:2.3.
const cpeAttributes = 11

// cpeAttribute is one, in small letters: * (any), - (none), or text in which all but
// letters, digits, ., - and _ is escaped, with wildcards at its ends alone.
var cpeAttribute = regexp.MustCompile(`^(\*|-|(\*|\?+)?([a-z0-9._-]|\\[!-/:-@\[-` + "`" + `{-~])+(\*|\?+)?)$`)

// cpeKnown is an attribute without wildcards.
var cpeKnown = regexp.MustCompile(`^([a-z0-9._-]|\\.)+$`)

var cpeEscape = regexp.MustCompile(`\\(.)`)

// purlName is scheme, type and the segments up to the name, percent-encoded.
var purlName = regexp.MustCompile(`^pkg:[a-z][a-z0-9.+-]*(/[a-z0-9._~!$&'()*+,;=:%-]+)+$`)

// ParseProduct reads a product, in any case; a CPE may leave out what is not known at
// its end, and of a package URL what follows the version is left out. One that would
// match whatever there is, is refused.
func ParseProduct(s string) (Product, error) {
	bad := func(reason string) (Product, error) {
		return Product{}, fieldErrorf("product", productFix, "%s %s", show(s), reason)
	}
	lower := strings.ToLower(s)
	switch {
	case len(s) > productMax:
		return bad("is too long")
	case strings.HasPrefix(lower, "cpe:2.3:"):
		p, ok := parseCPE(lower)
		if !ok {
			return bad("is no CPE 2.3")
		}
		for _, known := range p.cpe[1:3] {
			if known == "-" || !cpeKnown.MatchString(known) {
				return bad("does not say whose product it is, or which")
			}
		}
		return p, nil
	case strings.HasPrefix(lower, "pkg:"):
		p, ok := parsePurl(s)
		if !ok {
			return bad("is no package URL")
		}
		return p, nil
	}
	return bad("is neither a CPE 2.3 nor a package URL")
}

// String is the canonical form.
func (p Product) String() string { return p.text }

// Words are what all products have in their canonical form, in small letters, that
// Matches p.
func (p Product) Words() []string {
	if p.cpe != nil {
		return []string{":" + p.cpe[1] + ":" + p.cpe[2] + ":"}
	}
	return []string{p.name}
}

// Matches reports whether two products can be the same: of vendor and name they agree,
// and of the rest as far as both say it.
func (p Product) Matches(q Product) bool {
	if p.cpe == nil || q.cpe == nil {
		return p.cpe == nil && q.cpe == nil && p.name == q.name && (p.version == "" || q.version == "" || p.version == q.version)
	}
	for i, a := range p.cpe {
		if !cpeMatches(a, q.cpe[i]) {
			return false
		}
	}
	return true
}

func cpeMatches(a, b string) bool {
	return a == b || a == "*" || b == "*" || cpeCovers(a, b) || cpeCovers(b, a)
}

// cpeCovers matches wildcards, which are those of path.Match, but for the slash.
func cpeCovers(pattern, s string) bool {
	if pattern == "-" || s == "-" {
		return false
	}
	const slash = "\x00"
	plain := cpeEscape.ReplaceAllString(s, "$1")
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", slash), strings.ReplaceAll(plain, "/", slash))
	return ok && err == nil
}

func parseCPE(s string) (Product, bool) {
	parts := splitCPE(strings.TrimPrefix(s, "cpe:2.3:"))
	if len(parts) < 3 || len(parts) > cpeAttributes {
		return Product{}, false
	}
	for len(parts) < cpeAttributes {
		parts = append(parts, "*")
	}
	for i, a := range parts {
		if !cpeAttribute.MatchString(a) || i == 0 && !strings.Contains("aoh*", a) {
			return Product{}, false
		}
	}
	return Product{text: "cpe:2.3:" + strings.Join(parts, ":"), cpe: parts}, true
}

// splitCPE splits at colons that are not escaped.
func splitCPE(s string) (parts []string) {
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ':':
			parts, start = append(parts, s[start:i]), i+1
		}
	}
	return append(parts, s[start:])
}

func parsePurl(s string) (Product, bool) {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return Product{}, false
		}
	}
	rest, _, _ := strings.Cut(s, "#")
	rest, _, _ = strings.Cut(rest, "?")
	version := ""
	if i := strings.LastIndex(rest, "@"); i > strings.LastIndex(rest, "/") {
		rest, version = rest[:i], rest[i+1:]
		if version == "" {
			return Product{}, false
		}
	}
	name := strings.ToLower(strings.Replace(rest, "@", "%40", 1)) // npm's scope, as people write it
	if !purlName.MatchString(name) {
		return Product{}, false
	}
	for segment := range strings.SplitSeq(name, "/") {
		if plain, err := url.PathUnescape(segment); err != nil || plain == "." || plain == ".." || strings.Contains(plain, "/") {
			return Product{}, false
		}
	}
	if _, err := url.PathUnescape(version); err != nil {
		return Product{}, false
	}
	text := name
	if version != "" {
		text += "@" + version
	}
	return Product{text: text, name: name, version: version}, true
}

// checkProduct accepts the canonical form alone.
func checkProduct(field, s string) error {
	p, err := ParseProduct(s)
	if err != nil {
		err.(*FieldError).Field = field
		return err
	}
	if p.text != s {
		return fieldErrorf(field, "write it as "+show(p.text), "%s is not canonical", show(s))
	}
	return nil
}
