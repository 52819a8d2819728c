package warninglist

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/gaissmai/bart"

	"github.com/watchward/watchward/node/intel/jsonscan"
	"github.com/watchward/watchward/node/notice"
)

// A stage holds the entries of one file until it has been read to its end.
type stage struct {
	head
	number uint16
	l      *loader

	entries, left int
	first, why    string // of those left out

	hashed   []entry
	networks *bart.Lite
	texts    []string
	bytes    int
	exprs    []*regexp.Regexp
	steps    int
}

func newStage(h head, number uint16, l *loader) *stage {
	return &stage{head: h, number: number, l: l, networks: &bart.Lite{}}
}

// take takes in one entry or leaves it out. The error ends the file.
func (s *stage) take(t jsonscan.Text) error {
	if s.l.entries+s.size() >= s.l.entriesMax {
		return &Problem{Reason: fmt.Sprintf("with it there are more than %d entries", s.l.entriesMax), Fix: "remove lists that are not needed: it is left out"}
	}
	value := strings.TrimSpace(t.S)
	err := errors.New("it is too long")
	if !t.Long {
		err = s.add(value)
	}
	if err != nil {
		if s.left++; s.left == 1 {
			s.first, s.why = value, err.Error()
		}
		return nil
	}
	s.entries++
	return nil
}

// size counts names above host names too: they take the same room.
func (s *stage) size() int { return max(s.entries, len(s.hashed)) }

func (s *stage) add(value string) error {
	if value == "" {
		return errors.New("it is empty")
	}
	if !utf8.ValidString(value) {
		return errors.New("it is no UTF-8")
	}
	switch s.Type {
	case "cidr":
		return s.addNetwork(value)
	case "hostname":
		return s.addHost(value)
	case "substring":
		return s.addSubstring(strings.ToLower(value))
	case "regex":
		return s.addPattern(value)
	}
	s.hash(strings.ToLower(value), false)
	return nil
}

func (s *stage) hash(text string, holds bool) {
	s.hashed = append(s.hashed, entry{maphash.String(s.l.set.seed, text), s.number, holds})
}

func (s *stage) addNetwork(value string) error {
	p, err := netip.ParsePrefix(value)
	if a, alone := netip.ParseAddr(value); alone == nil {
		p, err = netip.PrefixFrom(a.WithZone(""), a.BitLen()), nil
	}
	if err != nil {
		return errors.New("it is no address or network")
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	if p.Bits() == 0 {
		return errors.New("it is the whole Internet")
	}
	s.networks.Insert(p.Masked())
	return nil
}

// addHost also notes the names above a name that are one owner's.
func (s *stage) addHost(value string) error {
	name := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(value, "*"), "."), "."))
	if strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		u, err := notice.Canonical(notice.TypeURL, "http://"+name+"/", notice.Options{AllowSpecial: true})
		if err != nil {
			return errors.New("it is no name")
		}
		host, _ := u.Host()
		name = host.Value
	}
	if name == "" || strings.ContainsAny(name, " /\t") {
		return errors.New("it is no name")
	}
	s.hash(name, false)
	if strings.Count(name, ".") < 2 { // above it is a public suffix at most
		return nil
	}
	for parent := range (notice.Indicator{Type: notice.TypeDomain, Value: name}).Matches {
		if parent.Value != name {
			s.hash(parent.Value, true)
		}
	}
	return nil
}

func (s *stage) addSubstring(text string) error {
	if len(text) < substringBytesMin {
		return fmt.Errorf("less than %d bytes are in nearly everything", substringBytesMin)
	}
	if s.l.substringBytes+s.bytes+len(text) > substringsMax {
		return fmt.Errorf("all substrings together have more than %d bytes", substringsMax)
	}
	s.bytes += len(text)
	s.texts = append(s.texts, text)
	return nil
}

func (s *stage) addPattern(text string) error {
	if len(text) > patternBytesMax {
		return fmt.Errorf("it has more than %d bytes", patternBytesMax)
	}
	e, steps, err := pattern(text)
	switch {
	case err != nil:
		return err
	case s.l.patternSteps+s.steps+steps > patternsStepsMax:
		return fmt.Errorf("all patterns together compile to more than %d steps", patternsStepsMax)
	}
	s.steps += steps
	s.exprs = append(s.exprs, e)
	return nil
}

// commit makes what was taken in a list of the set.
func (s *stage) commit() {
	set := s.l.set
	s.Entries = s.entries
	set.lists = append(set.lists, s.list)
	s.l.entries += s.size()
	s.l.substringBytes += s.bytes
	s.l.patternSteps += s.steps
	switch s.Type {
	case "cidr":
		set.networks = append(set.networks, networks{s.number, s.networks})
	case "hostname":
		set.hosts = append(set.hosts, s.hashed...)
	case "substring":
		set.substrings = append(set.substrings, substrings{s.number, s.texts})
	case "regex":
		set.patterns = append(set.patterns, patterns{s.number, s.exprs})
	default:
		set.strings = append(set.strings, s.hashed...)
	}
}
