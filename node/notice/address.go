package notice

import (
	"net/netip"
	"strings"
)

// special are the networks that are nobody's on the Internet (IANA's
// special-purpose registries of RFC 6890), without those set aside for
// documentation. Loopback, link-local and so on each have their entry so that
// the refusal can say which it is.
var special = [...]struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("10.0.0.0/8"), "a private address"},
	{netip.MustParsePrefix("172.16.0.0/12"), "a private address"},
	{netip.MustParsePrefix("192.168.0.0/16"), "a private address"},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address"},
	{netip.MustParsePrefix("100.64.0.0/10"), "a carrier's internal address (RFC 6598)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
	{netip.MustParsePrefix("240.0.0.0/4"), "a reserved address"},
	{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified address"},
	{netip.MustParsePrefix("192.0.0.0/24"), "a protocol's own address (RFC 6890)"},
	{netip.MustParsePrefix("198.18.0.0/15"), "an address for benchmarks (RFC 2544)"},
	{netip.MustParsePrefix("::/128"), "the unspecified address"},
	{netip.MustParsePrefix("::1/128"), "the loopback address"},
	{netip.MustParsePrefix("fc00::/7"), "a private address"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("fec0::/10"), "a private address (site-local)"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
}

const allowFix = "pass --allow-special if you mean it"

// canonicalAddress returns an address in the form of RFC 5952.
func canonicalAddress(t Type, s string, o Options) (Type, string, error) {
	addr, err := parseAddr(s)
	if err != nil {
		return 0, "", err
	}
	got := addressType(addr)
	if got != t && !strings.Contains(s, ":") { // ipv4 written as ::ffff:192.0.2.1 is welcome under both types
		return 0, "", valueErrorf("state the type "+got.String(), "%s is not %s", show(s), t)
	}
	if got == TypeIPv6 && t == TypeIPv4 {
		return 0, "", valueErrorf("state the type ipv6", "%s is not ipv4", show(s))
	}
	if err := checkSpecial(netip.PrefixFrom(addr, addr.BitLen()), s, o); err != nil {
		return 0, "", err
	}
	return got, addr.String(), nil
}

// parseAddr reads an address, in brackets or not, and unwraps an IPv4-mapped one.
func parseAddr(s string) (netip.Addr, error) {
	bare := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		bare = s[1 : len(s)-1]
	}
	addr, err := netip.ParseAddr(bare)
	if err != nil {
		return addr, valueErrorf("write 198.51.100.7 or 2001:db8::7, without leading zeros", "%s is not an IP address", show(s))
	}
	if addr.Zone() != "" {
		return addr, valueErrorf("leave out %"+show(addr.Zone()), "%s names an interface of one machine", show(s))
	}
	return addr.Unmap(), nil
}

// canonicalNetwork returns a network with its host bits cleared, or the
// address where the network holds just one.
func canonicalNetwork(s string, o Options) (Type, string, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return 0, "", valueErrorf("write 198.51.100.0/24 or 2001:db8::/32", "%s is not a network", show(s))
	}
	addr, bits := prefix.Addr(), prefix.Bits()
	if addr.Is4In6() {
		addr, bits = addr.Unmap(), bits-96
	}
	if bits < prefixMin(addr) {
		return 0, "", valueErrorf("name the networks in it that are bad",
			"%s is wider than /%d: too much of the Internet", show(s), prefixMin(addr))
	}
	prefix = netip.PrefixFrom(addr, bits).Masked()
	if err := checkSpecial(prefix, s, o); err != nil {
		return 0, "", err
	}
	if bits == addr.BitLen() {
		return addressType(addr), addr.String(), nil
	}
	return TypeCIDR, prefix.String(), nil
}

// prefixMin is the shortest prefix that may be an indicator: what one
// registry hands out at most, a /8 of IPv4 or a /19 of IPv6.
func prefixMin(addr netip.Addr) int {
	if addr.Is4() {
		return 8
	}
	return 19
}

func addressType(addr netip.Addr) Type {
	if addr.Is4() {
		return TypeIPv4
	}
	return TypeIPv6
}

// checkSpecial refuses a network that holds any special address.
func checkSpecial(p netip.Prefix, shown string, o Options) error {
	if o.AllowSpecial {
		return nil
	}
	for _, s := range special {
		if !s.prefix.Overlaps(p) {
			continue
		}
		if p.Bits() < s.prefix.Bits() {
			return valueErrorf(allowFix, "%s has %s in it (%s)", show(shown), s.what, s.prefix)
		}
		return valueErrorf(allowFix, "%s is %s", show(shown), s.what)
	}
	return nil
}
