package situation

import (
	_ "embed"
	"net/netip"
	"strings"

	"github.com/watchward/watchward/node/notice"
)

//go:embed common.txt
var commonFile string

// A common set holds the values of common.txt.
type common struct {
	networks []netip.Prefix // few
	values   map[string]bool
}

func parseCommon(text string) common {
	c := common{values: map[string]bool{}}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		switch value := strings.TrimSpace(line); {
		case value == "":
		default:
			if network, err := netip.ParsePrefix(value); err == nil {
				c.networks = append(c.networks, network.Masked())
			} else if addr, err := netip.ParseAddr(value); err == nil {
				c.networks = append(c.networks, netip.PrefixFrom(addr, addr.BitLen()))
			} else {
				c.values[value] = true
			}
		}
	}
	return c
}

// has reports whether a canonical value is a common one: of networks those inside one.
func (c *common) has(i notice.Indicator) bool {
	if !address(i.Type) {
		return c.values[i.Value]
	}
	asked, err := netip.ParsePrefix(i.Value)
	if err != nil {
		addr, err := netip.ParseAddr(i.Value)
		if err != nil {
			return false
		}
		asked = netip.PrefixFrom(addr, addr.BitLen())
	}
	for _, network := range c.networks {
		if network.Bits() <= asked.Bits() && network.Contains(asked.Addr()) {
			return true
		}
	}
	return false
}

func address(t notice.Type) bool {
	return t == notice.TypeIPv4 || t == notice.TypeIPv6 || t == notice.TypeCIDR
}
