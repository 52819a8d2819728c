package logs

import (
	"bytes"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"

	"github.com/watchward/watchward/node/notice"
)

// A kind says how a value is to be read: as one type of indicator, by that
// type's number, or as one of these.
type kind uint8

const (
	kindAddress kind = 128 + iota // ipv4 or ipv6
	kindHost                      // address or name, with or without a port
	kindWord                      // whatever it looks like
)

// kindName is a name as DNS writes it.
const kindName = kind(notice.TypeDomain)

// of is the kind of a type.
func of(t notice.Type) kind { return kind(t) }

const (
	memoSlots  = 4096
	memoRawMax = 256 // bytes; a longer value is worked out each time
)

// A memo keeps what became of the values seen lately, whether they are
// observables or not: logs say the same things again and again, and to work one
// out costs a hundred times as much as to find it here. A slot keeps the last
// value that fell into it; the hash has a seed, so nobody can aim at one.
type memo struct {
	own   Own
	seed  maphash.Seed
	slots []slot
}

type slot struct {
	raw string
	got notice.Indicator
	ok  bool
}

func (m *memo) init(own Own) {
	m.seed, m.slots = maphash.MakeSeed(), make([]slot, memoSlots)
	for _, n := range own.Networks {
		if n.Addr().Is4In6() && n.Bits() >= 96 {
			n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
		}
		m.own.Networks = append(m.own.Networks, n)
	}
	for _, name := range own.Names {
		m.own.Names = append(m.own.Names, strings.ToLower(strings.Trim(name, ".")))
	}
}

// look returns the canonical value, and false if it is no observable.
func (m *memo) look(k kind, raw []byte) (notice.Indicator, bool) {
	if len(raw) > memoRawMax {
		return m.resolve(k, string(raw))
	}
	// An odd factor keeps the kinds apart: two of one value never share a slot.
	s := &m.slots[(maphash.Bytes(m.seed, raw)^uint64(k)*0x9e3779b97f4a7c15)%memoSlots]
	if s.raw != string(raw) {
		text := string(raw)
		got, ok := m.resolve(k, text)
		*s = slot{raw: text, got: got, ok: ok}
	}
	return s.got, s.ok
}

func (m *memo) resolve(k kind, raw string) (notice.Indicator, bool) {
	switch k {
	case kindAddress:
		return m.address(raw)
	case kindHost:
		return m.host(raw)
	case kindWord:
		return m.word(raw)
	}
	return m.outside(notice.Canonical(notice.Type(k), raw, notice.Options{}))
}

// address reads an address, which needs no more than its parser.
func (m *memo) address(raw string) (notice.Indicator, bool) {
	addr, err := netip.ParseAddr(strings.Trim(raw, "[]"))
	if err != nil || addr.Zone() != "" {
		return notice.Indicator{}, false
	}
	addr = addr.Unmap()
	if addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() { // most are, and a refusal is slow
		return notice.Indicator{}, false
	}
	t := notice.TypeIPv4
	if addr.Is6() {
		t = notice.TypeIPv6
	}
	return m.outside(notice.Canonical(t, addr.String(), notice.Options{}))
}

// host reads an address or a name, and drops its port.
func (m *memo) host(raw string) (notice.Indicator, bool) {
	if at := strings.LastIndexByte(raw, ':'); at >= 0 && (strings.Count(raw, ":") == 1 || raw[at-1] == ']') {
		raw = raw[:at]
	}
	if raw == "" {
		return notice.Indicator{}, false
	}
	if last := raw[len(raw)-1]; last >= '0' && last <= '9' || strings.IndexByte(raw, ':') >= 0 {
		return m.address(raw)
	}
	return m.outside(notice.Canonical(notice.TypeDomain, raw, notice.Options{}))
}

// word takes what in running text is surely a value.
func (m *memo) word(raw string) (notice.Indicator, bool) {
	i, err := notice.Detect(raw, notice.Options{})
	switch i.Type {
	case notice.TypeIPv4, notice.TypeIPv6, notice.TypeDomain, notice.TypeURL,
		notice.TypeMD5, notice.TypeSHA1, notice.TypeSHA256, notice.TypeSHA512:
		return m.outside(i, err)
	}
	// The names of files are all over logs; a mailbox may be a recipient's.
	return notice.Indicator{}, false
}

// outside lets through what does not belong to the hospital.
func (m *memo) outside(i notice.Indicator, err error) (notice.Indicator, bool) {
	if err != nil {
		return notice.Indicator{}, false
	}
	of := i
	if host, ok := i.Host(); ok {
		of = host
	}
	switch of.Type {
	case notice.TypeDomain:
		if slices.ContainsFunc(m.own.Names, func(name string) bool { return below(of.Value, name) }) {
			return notice.Indicator{}, false
		}
	case notice.TypeIPv4, notice.TypeIPv6:
		addr, err := netip.ParseAddr(of.Value)
		if err != nil || slices.ContainsFunc(m.own.Networks, func(n netip.Prefix) bool { return n.Contains(addr) }) {
			return notice.Indicator{}, false
		}
	}
	return i, true
}

// below reports whether a name is of a domain or below it.
func below(name, domain string) bool {
	rest, ok := strings.CutSuffix(name, domain)
	return ok && (rest == "" || rest[len(rest)-1] == '.')
}

// hostOf returns the host of a URL as it stands, without user, port apart.
func hostOf(url []byte) []byte {
	_, rest, ok := bytes.Cut(url, []byte("://"))
	if !ok {
		return nil
	}
	if end := bytes.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return rest[bytes.LastIndexByte(rest, '@')+1:]
}
