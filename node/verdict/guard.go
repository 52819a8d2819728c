package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"

	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/verdict/warninglist"
)

// NeverBlock lists addresses, networks and names that no policy, no member and no
// denial here blocks. A name stands for all below it too. A value is also kept back
// if blocking it would block one of them: a network around it, a parent name.
type NeverBlock struct {
	// Own is this house's own. It is worth nothing as an indicator either, or every
	// line of the own logs would be an alert.
	Own []string
	// Suppliers and Clinical are what the house needs. They are still detected: a
	// supplier in other people's hands is worth knowing.
	Suppliers, Clinical []string
}

// guardsMax bounds each list of NeverBlock.
const guardsMax = 100_000

// A guarded is something that is not blocked.
type guarded struct {
	cause Cause
	value string
	what  string // of a special-use one: what it is for
	cap   Level  // the most that a value in it is worth
	holds bool   // the value is not in it: it is in the value
}

func (g guarded) reason() Reason {
	what := map[Cause]string{
		CauseOwn: "in never_block.own", CauseSupplier: "in never_block.suppliers", CauseClinical: "in never_block.clinical",
		CauseSpecial: g.what,
	}[g.cause]
	text := g.value + " is " + what
	if g.holds {
		text = "blocking it would block " + g.value + ", " + what
	}
	return Reason{Cause: g.cause, Text: text + ": it is never blocked"}
}

// A zone is a set of networks and names. The zero value is empty.
type zone struct {
	nets  bart.Table[guarded]
	names map[string]guarded // with all below
	above map[string]guarded // parents of names
}

// guard takes in what is special-use and what a configuration names.
func (z *zone) guard(c NeverBlock, problems []error) []error {
	for _, list := range []struct {
		field  string
		values []string
		guarded
	}{
		// Where two have the same, the later stands: it leaves no more.
		{"never_block.suppliers", c.Suppliers, guarded{cause: CauseSupplier, cap: Detect}},
		{"never_block.clinical", c.Clinical, guarded{cause: CauseClinical, cap: Detect}},
		{"", nil, guarded{cause: CauseSpecial, cap: None}},
		{"never_block.own", c.Own, guarded{cause: CauseOwn, cap: None}},
	} {
		if list.cause == CauseSpecial {
			z.guardSpecial(list.guarded)
		}
		if len(list.values) > guardsMax {
			problems = append(problems, &notice.FieldError{Field: list.field, Reason: fmt.Sprintf("it has %d entries", len(list.values)), Fix: fmt.Sprintf("name networks and parent names instead: up to %d", guardsMax)})
			continue
		}
		for i, text := range list.values {
			g := list.guarded
			if err := z.add(text, g); err != nil {
				err.Field = fmt.Sprintf("%s[%d]", list.field, i)
				problems = append(problems, err)
			}
		}
	}
	return problems
}

func (z *zone) guardSpecial(g guarded) {
	for _, s := range specialNetworks {
		g.value, g.what = s.prefix.String(), s.what
		z.nets.Insert(s.prefix, g)
	}
	translated := g
	translated.cap = Detect
	for _, s := range translatedNetworks {
		translated.value, translated.what = s.prefix.String(), s.what
		z.nets.Insert(s.prefix, translated)
	}
	for name, what := range specialNames {
		g.value, g.what = name, what
		z.addName(name, g)
	}
}

const guardFix = "write 198.51.100.0/24, 2001:db8::7 or hospital.example"

// add takes in an address, a network or a name as people write it.
func (z *zone) add(text string, g guarded) *notice.FieldError {
	text = strings.TrimSpace(text)
	if p, ok := parseNetwork(text); ok {
		if p.Bits() == 0 {
			return &notice.FieldError{Reason: text + " is the whole Internet", Fix: "name the networks that must not be blocked"}
		}
		g.value = p.String()
		z.nets.Insert(p, g)
		return nil
	}
	name := strings.TrimPrefix(strings.TrimPrefix(text, "*"), ".")
	// A URL's host may be a public suffix or a special name, which no indicator may.
	u, err := notice.Canonical(notice.TypeURL, "http://"+name+"/", notice.Options{AllowSpecial: true})
	host, ok := u.Host()
	if err != nil || !ok || host.Type != notice.TypeDomain || strings.ContainsAny(name, "/@:?#") {
		return &notice.FieldError{Reason: fmt.Sprintf("%.80q is no address, network or name", text), Fix: guardFix}
	}
	g.value = host.Value
	z.addName(host.Value, g)
	return nil
}

// parseNetwork reads a network, or an address as a network of one.
func parseNetwork(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, false
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

func (z *zone) addName(name string, g guarded) {
	if z.names == nil {
		z.names, z.above = map[string]guarded{}, map[string]guarded{}
	}
	z.names[name] = g
	g.holds = true
	for {
		_, parent, ok := strings.Cut(name, ".")
		if !ok {
			return
		}
		z.above[parent] = g
		name = parent
	}
}

// protect takes in an indicator that is a network or a name, or has one as host, for
// holds. Nothing holds what else there is.
func (z *zone) protect(i notice.Indicator, g guarded) {
	switch i.Type {
	case notice.TypeIPv4, notice.TypeIPv6, notice.TypeCIDR:
		if p, ok := parseNetwork(i.Value); ok {
			z.nets.Insert(p, g)
		}
	case notice.TypeDomain:
		z.addName(i.Value, g)
	case notice.TypeURL, notice.TypeEmail:
		if host, ok := i.Host(); ok && host.Type == notice.TypeDomain {
			z.addName(host.Value, g)
			z.above[host.Value] = g // its host holds it
		}
	}
}

// hit returns what of the zone an indicator, or its host, is in or holds: of
// several, what leaves least, then what is closest.
func (z *zone) hit(i notice.Indicator) (guarded, bool) {
	if host, ok := i.Host(); ok {
		return z.hit(host)
	}
	if i.Type == notice.TypeDomain {
		return z.hitName(i.Value)
	}
	if p, ok := prefixOf(i); ok {
		return z.hitNetwork(p)
	}
	return guarded{}, false
}

func prefixOf(i notice.Indicator) (netip.Prefix, bool) {
	switch i.Type {
	case notice.TypeIPv4, notice.TypeIPv6, notice.TypeCIDR:
		return parseNetwork(i.Value)
	}
	return netip.Prefix{}, false
}

func (z *zone) hitName(name string) (best guarded, found bool) {
	for at, ok := name, true; ok; _, at, ok = strings.Cut(at, ".") {
		if g, in := z.names[at]; in && (!found || g.cap < best.cap) {
			best, found = g, true
		}
	}
	if found {
		return best, true
	}
	best, found = z.above[name]
	best.cap = Detect
	return best, found
}

func (z *zone) hitNetwork(p netip.Prefix) (best guarded, found bool) {
	for _, g := range z.nets.Supernets(p) { // the longest first
		if !found || g.cap < best.cap {
			best, found = g, true
		}
	}
	if found {
		return best, true
	}
	for _, g := range z.nets.Subnets(p) {
		g.holds, g.cap = true, Detect
		return g, true
	}
	return guarded{}, false
}

// holds returns what of the zone an indicator holds, other than itself.
func (z *zone) holds(i notice.Indicator) (guarded, bool) {
	if i.Type == notice.TypeDomain {
		g, ok := z.above[i.Value]
		return g, ok
	}
	p, ok := prefixOf(i)
	if !ok || i.Type != notice.TypeCIDR {
		return guarded{}, false
	}
	for inner, g := range z.nets.Subnets(p) {
		if inner != p {
			return g, true
		}
	}
	return guarded{}, false
}

// guards returns the most that a value is worth which is judged by what was said of
// about, whether one of the two is on a warninglist itself, and why.
func (j *Judge) guards(value, about notice.Indicator) (cap Level, onList bool, why []Reason) {
	cap = Block
	if g, hit := j.neverBlocked(about, value); hit {
		cap = g.cap
		why = append(why, g.reason())
	}
	said := false
	for _, i := range []notice.Indicator{about, value} {
		found := j.lists.Match(i)
		if len(found) == 0 {
			continue
		}
		cap = min(cap, Detect)
		onList = onList || slices.ContainsFunc(found, func(m warninglist.Match) bool { return !m.Holds })
		if !said {
			why, said = append(why, listed(i, found)), true
		}
	}
	return cap, onList, why
}

// neverBlocked returns what keeps two from being blocked: of both, what leaves less.
func (j *Judge) neverBlocked(a, b notice.Indicator) (guarded, bool) {
	g, hit := j.never.hit(a)
	if a == b {
		return g, hit
	}
	if h, also := j.never.hit(b); also && (!hit || h.cap < g.cap) {
		return h, true
	}
	return g, hit
}
