// Package warninglist reads the warninglists of MISP
// (https://github.com/MISP/misp-warninglists): what is known to be harmless, or is
// everybody's, and so is likely a mistake as an indicator. It reads the files it is
// given and nothing else.
package warninglist

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/gaissmai/bart"

	"github.com/watchward/watchward/node/notice"
)

// matchesMax bounds what Match returns.
const matchesMax = 16

// A Set is what was read of a directory. It never changes and may be used
// concurrently; nil is the empty set.
type Set struct {
	lists []list

	// Entries of lists of strings and of host names are kept as their hash. It is
	// seeded, so that nobody makes two values collide, and has 64 bits, so that of
	// 10¹² lookups among 1,000,000 entries none is likely wrong.
	seed           maphash.Seed
	strings, hosts []entry

	networks   []networks
	substrings []substrings
	patterns   []patterns
}

// A list is what all entries of one file share.
type list struct {
	Info
	types uint32 // a bit for each notice.Type
}

// Info tells of one list.
type Info struct {
	File, Name, Type, Version string
	Entries                   int
}

type entry struct {
	hash uint64
	list uint16
	// holds says that it is no entry: one is below it.
	holds bool
}

type networks struct {
	list  uint16
	table *bart.Lite
}

// Substrings are sorted, and none begins with another, so that one search for a text
// finds the only one that the text may begin with.
type substrings struct {
	list  uint16
	texts []string
}

type patterns struct {
	list  uint16
	exprs []*regexp.Regexp
}

// A Match is an entry of a list.
type Match struct {
	List  string // its name
	Entry string
	Holds bool // the value is not what the entry names: the entry is in the value
}

// Lists tells of the lists, by file.
func (s *Set) Lists() []Info {
	if s == nil {
		return nil
	}
	out := make([]Info, len(s.lists))
	for i := range s.lists {
		out[i] = s.lists[i].Info
	}
	return out
}

// Match returns the entries that name an indicator, up to 16, by list. A list speaks of
// the types in its matching_attributes alone. As in MISP, a list of
//
//   - strings names what is equal,
//   - hostnames the name and all below, and URLs of such a host,
//   - cidr the addresses and networks in it,
//   - substrings what has one in it,
//   - regex what one matches;
//
// unlike there, case never matters to the first four, the domain of an e-mail address
// is a host, and a name or network that holds an entry matches too: to block 8.0.0.0/8
// is to block 8.8.8.8.
func (s *Set) Match(i notice.Indicator) []Match {
	if s == nil {
		return nil
	}
	f := finder{s: s, bit: bit(i.Type), value: strings.ToLower(i.Value)}
	f.exact(s.strings, f.value, false)
	f.matchHost(i)
	f.matchNetworks(i)
	f.matchSubstrings()
	f.matchPatterns(i.Value)
	if len(f.found) > 1 {
		slices.SortStableFunc(f.found, func(a, b Match) int { return cmp.Or(cmp.Compare(a.List, b.List), compareBool(a.Holds, b.Holds)) })
		f.found = f.found[:min(len(f.found), matchesMax)]
	}
	return f.found
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func bit(t notice.Type) uint32 { return 1 << t }

// A finder is one search.
type finder struct {
	s     *Set
	bit   uint32
	value string // in lower case
	found []Match
}

// add notes a match if the list speaks of the type.
func (f *finder) add(number uint16, entry string, holds bool) {
	l := &f.s.lists[number]
	if l.types&f.bit != 0 && len(f.found) < 4*matchesMax {
		f.found = append(f.found, Match{List: l.Name, Entry: entry, Holds: holds})
	}
}

// exact finds the entries that are equal to text and, of whole, those that are below.
func (f *finder) exact(entries []entry, text string, whole bool) {
	if len(entries) == 0 {
		return
	}
	h := maphash.String(f.s.seed, text)
	at, _ := slices.BinarySearchFunc(entries, h, func(e entry, h uint64) int { return cmp.Compare(e.hash, h) })
	for ; at < len(entries) && entries[at].hash == h; at++ {
		if !entries[at].holds || whole {
			f.add(entries[at].list, text, entries[at].holds)
		}
	}
}

// matchHost goes over a name and all its parents, as MISP does.
func (f *finder) matchHost(i notice.Indicator) {
	name, whole := f.value, i.Type == notice.TypeDomain
	if host, ok := i.Host(); ok {
		name = host.Value
	} else if !whole {
		return
	}
	for ok := true; ok; _, name, ok = strings.Cut(name, ".") {
		f.exact(f.s.hosts, name, whole)
		whole = false
	}
}

func (f *finder) matchNetworks(i notice.Indicator) {
	if len(f.s.networks) == 0 {
		return
	}
	var p netip.Prefix
	switch i.Type {
	case notice.TypeIPv4, notice.TypeIPv6:
		a, err := netip.ParseAddr(i.Value)
		if err != nil {
			return
		}
		p = netip.PrefixFrom(a, a.BitLen())
	case notice.TypeCIDR:
		var err error
		if p, err = netip.ParsePrefix(i.Value); err != nil {
			return
		}
	default:
		return
	}
	for _, n := range f.s.networks {
		if around, ok := n.table.LookupPrefixLPM(p); ok {
			f.add(n.list, around.String(), false)
			continue
		}
		for inner := range n.table.Subnets(p) {
			f.add(n.list, inner.String(), true)
			break
		}
	}
}

func (f *finder) matchSubstrings() {
	for _, l := range f.s.substrings {
		if f.s.lists[l.list].types&f.bit == 0 {
			continue
		}
		if text, ok := l.in(f.value); ok {
			f.add(l.list, text, false)
		}
	}
}

// in returns the first of the texts that is in a value.
func (l *substrings) in(value string) (string, bool) {
	for at := range len(value) {
		rest := value[at:]
		n, found := slices.BinarySearch(l.texts, rest)
		if found {
			return rest, true
		}
		if n > 0 && strings.HasPrefix(rest, l.texts[n-1]) {
			return l.texts[n-1], true
		}
	}
	return "", false
}

func (f *finder) matchPatterns(value string) {
	for _, l := range f.s.patterns {
		if f.s.lists[l.list].types&f.bit == 0 {
			continue
		}
		for _, e := range l.exprs {
			if e.MatchString(value) {
				f.add(l.list, e.String(), false)
				break
			}
		}
	}
}

// A Problem is something that was left out. Fix says what to do.
type Problem struct {
	File        string
	Reason, Fix string
}

func (p Problem) Error() string { return fmt.Sprintf("%s: %s: %s", p.File, p.Reason, p.Fix) }
