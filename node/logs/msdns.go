package logs

import "bytes"

// An order is what a log has told of the order of its dates: Windows writes them
// as its server's language does.
type order uint8

const (
	orderUnknown order = iota
	monthFirst
	dayFirst
)

// microsoftDNS reads a line of the DNS server's debug log:
//
//	27.11.2026 10:00:00 0D84 PACKET  00000…F0 UDP Rcv 198.51.100.7 3a4f   Q [0001   D   NOERROR] A      (3)www(4)evil(7)example(0)
//
// The lines of its heading, of details and of other contexts are of no use.
func (p *Parser) microsoftDNS(msg []byte) error {
	head, rest, ok := bytes.Cut(msg, []byte(" PACKET "))
	if !ok {
		return ErrOther
	}
	p.setMicrosoftTime(head)
	id, rest := cutWord(rest)
	if string(id) != "UDP" && string(id) != "TCP" { // the packet's address in memory, if it is there
		_, rest = cutWord(rest)
	}
	direction, rest := cutWord(rest)
	remote, rest := cutWord(rest)
	flags, rest, ok := bytes.Cut(rest, []byte("]"))
	if !ok || string(direction) != "Rcv" && string(direction) != "Snd" {
		return errFields
	}
	_, name := cutWord(rest)
	_, mark := cutWord(flags) // after the packet's number: "R Q [8081 …" or "  Q [0001 …"
	mark, _ = cutWord(mark)
	role := RoleQuery
	switch response := string(mark) == "R"; {
	case response:
		role = RoleAnswer
	case string(direction) == "Rcv":
		p.take(RoleSource, kindAddress, remote)
	default: // our own question, on the way to the answer
		role = RoleAnswer
		p.take(RoleDestination, kindAddress, remote)
	}
	name = bytes.TrimSpace(name)
	if p.raw, ok = labels(p.raw[:0], name); !ok {
		return errName
	}
	p.takeAs(role, kindName, p.raw, name)
	return nil
}

// labels appends the name that "(3)www(4)evil(7)example(0)" stands for.
func labels(to, s []byte) ([]byte, bool) {
	for len(s) > 0 {
		end := bytes.IndexByte(s, ')')
		if s[0] != '(' || end < 2 || end > 3 || !number(s[1:end]) {
			return to, false
		}
		n := 0
		for _, d := range s[1:end] {
			n = 10*n + int(d-'0')
		}
		if s = s[end+1:]; n == 0 {
			return to, len(s) == 0
		}
		if n > len(s) {
			return to, false
		}
		if len(to) > 0 {
			to = append(to, '.')
		}
		to = append(to, s[:n]...)
		s = s[n:]
	}
	return to, false
}

// setMicrosoftTime reads the date in any of the orders that Windows has. The
// year first is clear, dots are written where the day is first, and AM or PM
// where the month is. With slashes and 24 hours the day is first until a number
// above 12 says other; what has told counts for the rest of the log.
func (p *Parser) setMicrosoftTime(head []byte) {
	if s, _, ok := iso(head, " "); ok {
		p.event.Time = p.time(s)
		return
	}
	var s stamp
	c := cursor{b: head}
	first := c.number(1, 2, false)
	mark := c.mark("/.-")
	second := c.number(1, 2, false)
	c.mark("/.-")
	s.year = c.number(2, 4, false)
	c.mark(" ")
	c.clock(&s)
	if s.year < 100 {
		s.year += 2000
	}
	half := byte(0)
	if rest := head[c.i:]; !c.bad && len(rest) > 2 && rest[0] == ' ' && rest[2]|0x20 == 'm' { // not the thread's number
		half = rest[1] | 0x20
	}
	if half == 'a' || half == 'p' {
		s.hour %= 12
	}
	if half == 'p' {
		s.hour += 12
	}
	switch {
	case first > 12:
		p.order = dayFirst
	case second > 12:
		p.order = monthFirst
	case p.order == orderUnknown && (half == 'a' || half == 'p'):
		p.order = monthFirst
	}
	s.day, s.month = first, second
	if p.order == monthFirst && mark != '.' {
		s.day, s.month = second, first
	}
	if !c.bad && s.valid() {
		p.event.Time = p.time(s)
	}
}
