package verdict

import (
	"net/netip"
	"slices"
)

// specialNetworks are the blocks of IANA's special-purpose address registries
// (RFC 6890, RFC 8190 and what was registered since) and of its multicast spaces,
// without those for documentation (RFC 5737, 3849, 9637): no house has anything
// there, and drills and manuals block them. Blocks that one entry holds, such as
// those of 192.0.0.0/24 and 2001::/23, are not named apart.
var specialNetworks = [...]struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "\"this network\" (RFC 791)"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private (RFC 1918)"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared by carriers (RFC 6598)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback (RFC 1122)"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local (RFC 3927)"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private (RFC 1918)"},
	{netip.MustParsePrefix("192.0.0.0/24"), "for protocols (RFC 6890)"},
	{netip.MustParsePrefix("192.31.196.0/24"), "AS112's (RFC 7535)"},
	{netip.MustParsePrefix("192.52.193.0/24"), "for AMT relays (RFC 7450)"},
	{netip.MustParsePrefix("192.88.99.0/24"), "for 6to4 relays (RFC 7526)"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private (RFC 1918)"},
	{netip.MustParsePrefix("192.175.48.0/24"), "AS112's (RFC 7534)"},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks (RFC 2544)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast (RFC 5771)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved or broadcast (RFC 1112, RFC 8190)"},
	{netip.MustParsePrefix("::/128"), "unspecified (RFC 4291)"},
	{netip.MustParsePrefix("::1/128"), "loopback (RFC 4291)"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped (RFC 4291)"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "for translation (RFC 8215)"},
	{netip.MustParsePrefix("100::/64"), "for discarding (RFC 6666)"},
	{netip.MustParsePrefix("100:0:0:1::/64"), "a dummy prefix (RFC 9780)"},
	{netip.MustParsePrefix("2001::/23"), "for protocols (RFC 2928)"},
	{netip.MustParsePrefix("2620:4f:8000::/48"), "AS112's (RFC 7534)"},
	{netip.MustParsePrefix("5f00::/16"), "for segment routing (RFC 9602)"},
	{netip.MustParsePrefix("fc00::/7"), "private (RFC 4193)"},
	{netip.MustParsePrefix("fe80::/10"), "link-local (RFC 4291)"},
	{netip.MustParsePrefix("fec0::/10"), "private (site-local, RFC 3879)"},
	{netip.MustParsePrefix("ff00::/8"), "multicast (RFC 4291)"},
}

// translatedNetworks are those blocks of the same registries in which each address stands
// for an IPv4 address that may be anybody's. An attacker seen through a NAT64 has one, so
// they are detected; to block them would be for a translator to do, and a whole block
// would take the IPv4 Internet away.
var translatedNetworks = [...]struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("64:ff9b::/96"), "for translation (RFC 6052)"},
	{netip.MustParsePrefix("2002::/16"), "6to4 (RFC 3056)"},
}

// Special says what a special-use address is for, one of a translator included, behind
// which anything may be; false if it is an ordinary one of the internet, or for
// documentation.
func Special(a netip.Addr) (what string, special bool) {
	a = a.Unmap().WithZone("")
	for _, s := range slices.Concat(specialNetworks[:], translatedNetworks[:]) {
		if s.prefix.Contains(a) {
			return s.what, true
		}
	}
	return "", false
}

// specialNames are the names of IANA's registry of special-use domain names (RFC
// 6761 and what was registered since) and those that routers and directories make
// up, each with all below it. Left out are those for documentation (example, test,
// invalid), for the reason above, and onion, under which nothing is a hospital's.
// What is below arpa is for the network itself.
var specialNames = map[string]string{
	"localhost": "this machine (RFC 6761)", "local": "multicast DNS (RFC 6762)", "alt": "outside the DNS (RFC 9476)",
	"arpa":     "for addressing and routing (RFC 3172, 6761, 8375, 8880, 9031, 9140, 9462, 9665)",
	"internal": "private (ICANN, 2024)", "intranet": "private (RFC 6762)", "private": "private (RFC 6762)", "corp": "private (RFC 6762)",
	"home": "private (RFC 6762)", "lan": "private (RFC 6762)",
	"localdomain": "private, by custom", "mail": "private, by custom", "workgroup": "private, by custom",
}
