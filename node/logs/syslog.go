package logs

import "bytes"

const tagMax = 64 // bytes of a syslog tag with its number

// unframe takes the header of syslog off a line: RFC 5424, RFC 3164, what is
// left of it in files, or the ISO stamp that newer daemons write there. Its time
// is the event's until the message says better; what named itself is p.tag.
func (p *Parser) unframe(line []byte) []byte {
	if line[0] == '{' {
		return line
	}
	rest, framed := priority(line)
	if framed {
		if has(rest, "1 ") {
			if msg, ok := p.rfc5424(rest[2:]); ok {
				return msg
			}
		}
	}
	rest = bytes.TrimLeft(rest, " \ufeff")
	if len(rest) == 0 {
		return rest
	}
	at, size, ok := p.undated(rest)
	if !ok {
		var s stamp
		if s, size, ok = iso(rest, "T-"); ok {
			at = p.time(s)
		}
	}
	if !ok || size == len(rest) || rest[size] != ' ' && rest[size] != ':' {
		return rest
	}
	p.event.Time = at
	return p.untag(bytes.TrimLeft(rest[size+1:], " "), framed)
}

// priority takes off "<134>".
func priority(b []byte) ([]byte, bool) {
	if b[0] != '<' {
		return b, false
	}
	end := bytes.IndexByte(b[:min(len(b), 5)], '>')
	if end < 2 {
		return b, false
	}
	for _, c := range b[1:end] {
		if c < '0' || c > '9' {
			return b, false
		}
	}
	return b[end+1:], true
}

// untag takes host and tag off what follows the stamp. Some daemons write no
// host, some devices no tag: a host is one if syslog's priority came before it,
// if a tag follows, or what firewalls write.
func (p *Parser) untag(rest []byte, framed bool) []byte {
	if msg, ok := p.tagged(rest); ok {
		return msg
	}
	host, after, ok := bytes.Cut(rest, []byte(" "))
	if !ok || bytes.ContainsAny(host, "=,{") {
		return rest
	}
	if msg, ok := p.tagged(after); ok {
		return msg
	}
	next, _, _ := bytes.Cut(after, []byte(" "))
	if framed || bytes.ContainsAny(next, "=,{") {
		return after
	}
	return rest
}

// tagged takes a tag off: "named:", "named[12]:", "unbound[12:0]".
func (p *Parser) tagged(rest []byte) ([]byte, bool) {
	word, after, ok := bytes.Cut(rest, []byte(" "))
	n := len(word)
	if !ok || n == 0 || n > tagMax || word[n-1] != ':' && (word[n-1] != ']' || word[0] == '[') || word[0] == '{' {
		return rest, false
	}
	p.tag = word
	return bytes.TrimLeft(after, " \ufeff"), true
}

// rfc5424 reads from after the version: stamp, host, application, process,
// message id, structured data, message.
func (p *Parser) rfc5424(rest []byte) ([]byte, bool) {
	var head [5][]byte
	for i := range head {
		var ok bool
		if head[i], rest, ok = bytes.Cut(rest, []byte(" ")); !ok || len(head[i]) == 0 {
			return nil, false
		}
	}
	rest, ok := structured(rest)
	if !ok {
		return nil, false
	}
	p.setISO(head[0])
	p.tag = head[2]
	return bytes.TrimLeft(rest, " \ufeff"), true
}

// structured passes the structured data: "-", or elements in brackets.
func structured(b []byte) ([]byte, bool) {
	if has(b, "-") {
		return b[1:], true
	}
	i := 0
	for i < len(b) && b[i] == '[' {
		quoted := false
		for i++; ; i++ {
			if i >= len(b) {
				return nil, false
			}
			if c := b[i]; c == '\\' && quoted {
				i++
			} else if c == '"' {
				quoted = !quoted
			} else if c == ']' && !quoted {
				i++
				break
			}
		}
	}
	return b[i:], i > 0
}
