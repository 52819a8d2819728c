package notice

import (
	"net/netip"
	"strconv"
	"strings"
)

// schemes are the URL schemes with a host that malware is fetched from or talks
// to, and their default ports.
var schemes = map[string]string{
	"http": "80", "https": "443", "ftp": "21", "ftps": "990", "sftp": "22", "ssh": "22", "tftp": "69",
	"ws": "80", "wss": "443", "ldap": "389", "ldaps": "636", "smb": "445", "telnet": "23", "git": "9418",
	"irc": "6667", "ircs": "6697", "tcp": "", "udp": "",
}

// canonicalURL normalises by RFC 3986 §6.2.2 and §6.2.3: scheme and host in
// lower case, the default port, dot segments and needless percent-encoding
// gone, percent triplets in upper case, an empty path as "/". The fragment is
// dropped, since no server sees it. So is the user part: it is not sent as part
// of the address either, a browser shows it to deceive, and it may be a
// victim's own name and password.
func canonicalURL(raw string, o Options) (string, error) {
	scheme, rest, ok := cutScheme(raw)
	if !ok {
		return "", valueErrorf("write http://evil.example/path", "%s is not a URL with a scheme and a host", show(raw))
	}
	port, ok := schemes[scheme]
	if !ok {
		return "", valueErrorf("use http, https, ftp or the like, or report the host", "the scheme of %s is not known here", show(raw))
	}
	rest = strings.ReplaceAll(rest, "[/]", "/")
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, err := canonicalAuthority(refang(rest[:end]), port, raw, o)
	if err != nil {
		return "", err
	}
	tail, _, _ := strings.Cut(refangPath(rest[end:]), "#")
	path, query, asked := strings.Cut(tail, "?")
	path = removeDots(normalisePercent(path, false))
	if asked {
		query = "?" + normalisePercent(query, true)
	}
	if len(scheme) <= 16 && raw == scheme+"://"+authority+path+query {
		return raw, nil // keep the one string
	}
	return scheme + "://" + authority + path + query, nil
}

// cutScheme splits a URL at "://", defanged or not, and mends the scheme.
func cutScheme(s string) (scheme, rest string, ok bool) {
	end := strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '+' && r != '*'
	})
	if end <= 0 {
		return "", "", false
	}
	for _, sep := range [...]string{"://", "[://]", "(://)", "[:]//", "(:)//", "{:}//", "[:][/][/]", ":[/][/]", ":[//]", "[:]/[/]"} {
		if strings.HasPrefix(s[end:], sep) {
			rest, ok = s[end+len(sep):], true
			break
		}
	}
	scheme = strings.ToLower(s[:end])
	switch scheme {
	case "hxxp", "h**p", "hxtp", "htxp", "hxx", "hp", "xttp":
		scheme = "http"
	case "hxxps", "h**ps", "hxtps", "htxps", "xttps":
		scheme = "https"
	case "fxp", "f*p":
		scheme = "ftp"
	case "fxps":
		scheme = "ftps"
	}
	return scheme, rest, ok
}

// refangPath undoes in a path what people do to one. "(at)" and the like stay:
// in a path they are more often meant.
func refangPath(s string) string {
	if !strings.Contains(s, "[") {
		return s
	}
	return strings.NewReplacer("[.]", ".", "[dot]", ".", "[:]", ":").Replace(s)
}

// canonicalAuthority returns host and port; whole is the URL for messages.
func canonicalAuthority(s, defaultPort, whole string, o Options) (string, error) {
	s = s[strings.LastIndexByte(s, '@')+1:]
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.Contains(s[i:], "]") {
		host, port = s[:i], s[i+1:]
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || !digits(port) {
			return "", valueErrorf("give 1 to 65535", "the port of %s is not a number", show(whole))
		}
		port = strconv.FormatUint(n, 10)
	}
	host, err := canonicalHost(host, whole, o)
	if err != nil {
		return "", err
	}
	if port == "" || port == defaultPort {
		return host, nil
	}
	return host + ":" + port, nil
}

// canonicalHost returns a name, an IPv4 address or an IPv6 address in brackets.
func canonicalHost(host, whole string, o Options) (string, error) {
	if strings.Contains(host, "%") {
		decoded, ok := percentDecode(host)
		if !ok {
			return "", valueErrorf("write the host plainly", "the host of %s is not a name", show(whole))
		}
		host = decoded
		if err := checkPrintable("value", host); err != nil {
			return "", err
		}
	}
	if host == "" {
		return "", valueErrorf("write http://evil.example/path", "%s has no host", show(whole))
	}
	bare := strings.TrimSuffix(host, ".")
	if _, err := netip.ParseAddr(bare); err == nil || host[0] == '[' {
		addr, err := parseAddr(bare)
		if err == nil && addr.Is6() && host[0] != '[' {
			return "", valueErrorf("put it in brackets", "the host of %s is an IPv6 address", show(whole))
		}
		if err == nil {
			err = checkSpecial(netip.PrefixFrom(addr, addr.BitLen()), addr.String(), o)
		}
		if err != nil {
			return "", err
		}
		if addr.Is4() {
			return addr.String(), nil
		}
		return "[" + addr.String() + "]", nil
	}
	if looksNumeric(bare) {
		return "", valueErrorf("write the address as four decimal numbers",
			"the host of %s is an address in disguise", show(whole))
	}
	return canonicalDomain(host, o)
}

// looksNumeric reports whether a browser would read the host as an IPv4
// address in other notation: its last label is a decimal or hexadecimal number.
func looksNumeric(host string) bool {
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if digits(last) {
		return true
	}
	hex, ok := strings.CutPrefix(last, "0x")
	return ok && strings.Trim(hex, "0123456789abcdef") == ""
}

func percentDecode(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		c, ok := triplet(s[i:])
		if !ok || c == '%' { // no double decoding: a name has no percent sign
			return "", false
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String(), true
}

// triplet reads %XX at the start of s.
func triplet(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:3], 16, 8)
	return byte(n), err == nil && s[1] != '+' && s[2] != '_'
}

// normalisePercent decodes what need not be encoded and encodes what must be,
// in a path or a query. A percent sign that starts no triplet stands for itself.
func normalisePercent(s string, query bool) string {
	if plainPath(s, query) {
		return s
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); i++ {
		c, encoded := s[i], false
		if c == '%' {
			if d, ok := triplet(s[i:]); ok {
				c, encoded = d, true
				i += 2
			}
		}
		if unreserved(c) || !encoded && delimiter(c, query) {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}

func plainPath(s string, query bool) bool {
	for i := range len(s) {
		if !unreserved(s[i]) && !delimiter(s[i], query) {
			return false
		}
	}
	return true
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// delimiter says whether c may stand for itself although encoding it would
// change its meaning (RFC 3986 §3.3, §3.4).
func delimiter(c byte, query bool) bool {
	return strings.IndexByte("!$&'()*+,;=:@/", c) >= 0 || query && c == '?'
}

// removeDots is RFC 3986 §5.2.4 for a path that is empty or starts with "/".
func removeDots(path string) string {
	if path == "" {
		return "/"
	}
	if !strings.Contains(path, "/.") {
		return path
	}
	var out []string
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch segment {
		case ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, segment)
			continue
		}
		if last {
			out = append(out, "") // "/a/." is the directory "/a/"
		}
	}
	return "/" + strings.Join(out, "/")
}
