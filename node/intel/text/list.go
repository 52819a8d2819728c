package text

import (
	"net/netip"
	"strings"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// listValue finds the value of a line of a list. It returns the text it took
// for the value with an error as well.
func listValue(line string, o notice.Options) (string, notice.Indicator, error) {
	line = unwrap(cutComment(line))
	if value, t, ok := typedValue(line); ok {
		i, err := notice.Canonical(t, value, o)
		return value, i, err
	}
	if name, ok := hostsLine(line); ok {
		i, err := notice.Detect(name, o)
		return name, i, err
	}
	word := unwrap(field(line))
	i, err := notice.Detect(word, o)
	if err == nil && i.Type != notice.TypeFilename || word == line {
		return word, i, err
	}
	// A file's name may have spaces and commas: "Invoice 2024.exe".
	if whole, wholeErr := notice.Detect(line, o); wholeErr == nil && whole.Type == notice.TypeFilename {
		return line, whole, nil
	}
	return word, i, err
}

// listMarking is the marking that ends a line of a list, 0 if none does:
// "evil.example  AMBER". A word that would loosen is not taken for one.
func listMarking(line string) notice.TLP {
	if line == "" || line[len(line)-1] < 'A' || line[len(line)-1] > 'Z' {
		return 0
	}
	at := strings.LastIndexAny(line, " \t,;#")
	if at < 0 || len(line)-at > len(" AMBER+STRICT") {
		return 0
	}
	if tlp, ok := intel.ParseMarking(line[at+1:]); ok && tlp >= notice.TLPAmber && line[at+1:] == strings.ToUpper(line[at+1:]) {
		return tlp
	}
	return 0
}

// cutComment drops " # …" and " // …" from a line.
func cutComment(line string) string {
	for _, mark := range [...]string{" #", "\t#", " // ", "\t// "} {
		if at := strings.Index(line, mark); at > 0 {
			line = line[:at]
		}
	}
	return strings.TrimSpace(line)
}

// unwrap takes off bullets, quotes and the marks of Markdown and AsciiDoc.
func unwrap(s string) string {
	for _, bullet := range [...]string{"- ", "* ", "• ", "– ", "| "} {
		if rest, ok := strings.CutPrefix(s, bullet); ok {
			s = strings.TrimSpace(rest)
			break
		}
	}
	for {
		n := len(s)
		if n < 3 || s[0] != s[n-1] || strings.IndexByte("`'\"+*|", s[0]) < 0 || strings.IndexByte(s[1:n-1], s[0]) >= 0 {
			return s
		}
		s = strings.TrimSpace(s[1 : n-1])
	}
}

// field returns the first field of a line: up to white space, or a comma or
// semicolon. A quoted field ends at its quote. In a URL a comma is part of it
// where what follows still looks like one.
func field(line string) string {
	if rest, ok := strings.CutPrefix(line, `"`); ok {
		if value, _, ok := strings.Cut(rest, `"`); ok {
			return value
		}
	}
	word := line
	if at := strings.IndexAny(word, " \t"); at >= 0 {
		word = word[:at]
	}
	at := strings.IndexAny(word, ",;")
	if at > 0 && !(strings.Contains(word[:at], "//") && strings.ContainsAny(word[at:], "/?=&")) {
		word = word[:at]
	}
	return strings.TrimRight(word, ",;")
}

// typedValue reads "type,value", "type: value" and "type value".
func typedValue(line string) (string, notice.Type, bool) {
	at := strings.IndexAny(line, ",;:\t ")
	if at <= 0 {
		return "", 0, false
	}
	t, err := notice.ParseType(strings.Trim(line[:at], `"`))
	if err != nil {
		return "", 0, false
	}
	value := strings.TrimLeft(line[at:], ",;:\t ")
	switch t {
	case notice.TypeFilename, notice.TypeMutex, notice.TypeRegistryKey: // may have spaces and commas
		value = unwrap(value)
	default:
		value = unwrap(field(value))
	}
	return value, t, value != ""
}

// hostsLine reads a line of a hosts file that blocks a name: an address of
// nobody, then the name.
func hostsLine(line string) (string, bool) {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return "", false
	}
	addr, err := netip.ParseAddr(fields[0])
	return fields[1], err == nil && (addr.IsUnspecified() || addr.IsLoopback())
}
