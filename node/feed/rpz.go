package feed

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/watchward/watchward/node/notice"
)

// Times of a zone, in seconds. Changes are told by NOTIFY; who misses one asks within
// a minute. A secondary that reaches nobody keeps the zone for 30 days: protection
// goes on while we are away.
const (
	rpzTTL     = 60
	rpzRefresh = 60
	rpzRetry   = 30
	rpzExpire  = 30 * 24 * 60 * 60
)

// SOA of an RPZ zone in presentation format, without its owner.
func SOA(serial uint32) string {
	return fmt.Sprintf("localhost. nobody.invalid. %d %d %d %d %d", serial, rpzRefresh, rpzRetry, rpzExpire, rpzTTL)
}

func rpzHead(p *Policy, serial uint32) []byte {
	return fmt.Appendf(nil, "$TTL %d\n$ORIGIN %s.\n@ IN SOA %s\n@ IN NS localhost.\n", rpzTTL, p.Zone, SOA(serial))
}

// Owners returns the names in an RPZ zone that stand for a value, relative to the
// zone: a name and all below it, or an address as rpz-ip writes it. Each gets CNAME
// "." (no such name).
func (p *Policy) Owners(i notice.Indicator) ([]string, error) {
	if i.Type == notice.TypeDomain {
		if err := hostName(i.Value, len("*.")+len(p.Zone)+1); err != nil {
			return nil, err
		}
		if last := i.Value[strings.LastIndexByte(i.Value, '.')+1:]; strings.HasPrefix(last, "rpz-") {
			return nil, errors.New("it would be a trigger of another kind in a zone")
		}
		return []string{i.Value, "*." + i.Value}, nil
	}
	prefix, err := netip.ParsePrefix(i.Value)
	if err != nil {
		addr, err := netip.ParseAddr(i.Value)
		if err != nil || addr.Zone() != "" {
			return nil, errors.New("a zone holds names, addresses and networks")
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	return []string{rpzIP(prefix) + ".rpz-ip"}, nil
}

func rpzLines(b []byte, p *Policy, e *Entry) ([]byte, error) {
	owners, err := p.Owners(e.Indicator)
	if err != nil {
		return b, err
	}
	for _, o := range owners {
		b = append(append(b, o...), " CNAME .\n"...)
	}
	return b, nil
}

// rpzIP writes a network with its labels turned around: 32.7.100.51.198, and
// 128.1.zz.db8.2001 with zz for the longest run of zeros.
func rpzIP(prefix netip.Prefix) string {
	prefix = prefix.Masked()
	addr := prefix.Addr().Unmap()
	labels := []string{fmt.Sprint(prefix.Bits())}
	if addr.Is4() {
		b := addr.As4()
		for k := 3; k >= 0; k-- {
			labels = append(labels, fmt.Sprint(b[k]))
		}
		return strings.Join(labels, ".")
	}
	// RFC 5952 has the same rule for its "::".
	text := addr.StringExpanded()
	groups := strings.Split(text, ":")
	at, length := longestZeros(groups)
	for k := len(groups) - 1; k >= 0; k-- {
		if length > 1 && k == at+length-1 {
			labels = append(labels, "zz")
			k = at
			continue
		}
		group := strings.TrimLeft(groups[k], "0")
		if group == "" {
			group = "0"
		}
		labels = append(labels, group)
	}
	return strings.Join(labels, ".")
}

// longestZeros returns the first longest run of zero groups.
func longestZeros(groups []string) (at, length int) {
	for k := 0; k < len(groups); k++ {
		n := 0
		for k+n < len(groups) && groups[k+n] == "0000" {
			n++
		}
		if n > length {
			at, length = k, n
		}
		k += n
	}
	return at, length
}

func appendTime(b []byte, ms int64) []byte {
	return time.UnixMilli(ms).UTC().AppendFormat(b, time.RFC3339)
}

// printable reports whether s is text on one line, with nothing in it that a reader
// or a terminal takes for more.
func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
