package logs

import "bytes"

// dnsmasq reads "query[A] name from client" and "reply name is address", which
// with log-queries=extra have a number and the client before them.
func (p *Parser) dnsmasq(msg []byte) error {
	word, rest := cutWord(msg)
	if number(word) {
		_, rest = cutWord(rest)
		word, rest = cutWord(rest)
	}
	name, rest := cutWord(rest)
	what, value := cutWord(rest)
	switch {
	case has(word, "query["):
		p.take(RoleQuery, kindName, name)
		if string(what) != "from" {
			return errFields
		}
		client, _ := cutWord(value)
		p.take(RoleSource, kindAddress, client)
	case string(word) == "reply", string(word) == "cached", string(word) == "cached-stale", string(word) == "validation":
		if string(what) != "is" {
			return errFields
		}
		p.take(RoleAnswer, kindName, name)
		p.take(RoleAnswer, kindAddress, value)
	default:
		return ErrOther
	}
	return nil
}

// unbound reads "info: client name type class", with the answer's code where
// replies are logged, and what local zones and RPZ say of a question: "info: zone
// action client@port name type class". With log-tag-queryreply "query:" or
// "reply:" stands in the place of "info:".
func (p *Parser) unbound(msg []byte) error {
	if end := bytes.IndexByte(msg, ']'); msg[0] == '[' && end > 0 { // not from syslog: seconds since 1970
		if at, ok := epoch(msg[1:end]); ok {
			p.event.Time = at
		}
	}
	role := RoleQuery
	_, rest, ok := bytes.Cut(msg, []byte("info: "))
	if !ok {
		_, rest, ok = bytes.Cut(msg, []byte("query: "))
	}
	if !ok {
		role = RoleAnswer
		_, rest, ok = bytes.Cut(msg, []byte("reply: "))
	}
	if !ok {
		return ErrOther
	}
	client, rest := cutWord(rest)
	if local := bytes.IndexByte(rest, '@'); local >= 0 {
		role = RoleAnswer
		client, rest = cutWord(rest[bytes.LastIndexByte(rest[:local], ' ')+1:])
		client, _, _ = bytes.Cut(client, []byte("@"))
	}
	name, rest := cutWord(rest)
	_, rest = cutWord(rest)
	class, rest := cutWord(rest)
	if !dnsClass(class) {
		return ErrOther
	}
	if code, _ := cutWord(rest); len(code) > 0 {
		role = RoleAnswer
	}
	p.take(RoleSource, kindAddress, client)
	p.take(role, kindName, name)
	return nil
}

func dnsClass(b []byte) bool {
	switch string(b) {
	case "IN", "CH", "HS", "ANY":
		return true
	}
	return has(b, "CLASS")
}

// bind reads the categories queries, responses, rpz and query-errors: after
// "client @0x… address#port (name)" and perhaps a view, "query: name class
// type". The date is BIND's own, ISO or syslog's.
func (p *Parser) bind(msg []byte) error {
	p.setBINDTime(msg)
	_, rest, ok := bytes.Cut(msg, []byte("client "))
	if !ok {
		return ErrOther
	}
	client, after := cutWord(rest)
	if has(client, "@0x") {
		client, after = cutWord(after)
	}
	client, _, ok = bytes.Cut(client, []byte("#"))
	if !ok {
		return ErrOther
	}
	rest = after
	role := RoleQuery
	if _, name, ok := bytes.Cut(rest, []byte("query: ")); ok {
		rest = name
	} else if _, name, ok := bytes.Cut(rest, []byte("response: ")); ok {
		role, rest = RoleAnswer, name
	} else if _, name, ok := bytes.Cut(rest, []byte(" rewrite ")); ok { // rpz
		role = RoleAnswer
		rest, _, _ = bytes.Cut(name, []byte("/"))
	} else if _, name, ok := bytes.Cut(rest, []byte("query (cache) '")); ok { // refused
		role = RoleAnswer
		rest, _, _ = bytes.Cut(name, []byte("/"))
	} else {
		return ErrOther
	}
	name, _ := cutWord(rest)
	p.take(RoleSource, kindAddress, client)
	p.take(role, kindName, name)
	return nil
}

// setBINDTime reads "27-Nov-2026 10:00:00.123"; other stamps are read before.
func (p *Parser) setBINDTime(msg []byte) {
	var s stamp
	c := cursor{b: msg}
	s.day = c.number(2, 2, false)
	c.mark("-")
	s.month = c.name()
	c.mark("-")
	s.year = c.number(4, 4, false)
	c.mark(" ")
	if c.clock(&s); !c.bad && s.valid() {
		p.event.Time = p.time(s)
	}
}

// cutWord cuts off the first word. Spaces before it do not count.
func cutWord(b []byte) (word, rest []byte) {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	end := bytes.IndexByte(b, ' ')
	if end < 0 {
		return b, b[len(b):]
	}
	return b[:end], b[end+1:]
}

func number(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}
