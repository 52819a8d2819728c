package logs

import "bytes"

// squid reads a line of access.log, native or in the common and combined format
// of web servers.
func (p *Parser) squid(msg []byte) error {
	switch {
	case squidNative(msg):
		return p.squidNative(msg)
	case squidCommon(msg):
		return p.squidCommon(msg)
	}
	return ErrOther
}

// squidNative tells "1700000000.123    456 client TCP_MISS/200 …".
func squidNative(msg []byte) bool {
	at, rest := cutWord(msg)
	took, rest := cutWord(rest)
	_, rest = cutWord(rest)
	code, _ := cutWord(rest)
	name, status, ok := bytes.Cut(code, []byte("/"))
	return ok && len(at) >= 14 && at[len(at)-4] == '.' && number(at[:len(at)-4]) && number(bytes.TrimPrefix(took, []byte("-"))) &&
		(bytes.Contains(name, []byte("_")) || has(name, "NONE")) && number(status)
}

// squidCommon tells "client ident user [27/Nov/2026:10:00:00 +0100] "GET http://…".
func squidCommon(msg []byte) bool {
	open := bytes.IndexByte(msg, '[')
	if open < 5 || open > 400 || len(msg) < open+32 {
		return false
	}
	b := msg[open:]
	return b[3] == '/' && b[7] == '/' && b[12] == ':' && b[27] == ']' && b[28] == ' ' && b[29] == '"'
}

func (p *Parser) squidNative(msg []byte) error {
	at, rest := cutWord(msg)
	if t, ok := epoch(at); ok {
		p.event.Time = t
	}
	_, rest = cutWord(rest)
	client, rest := cutWord(rest)
	_, rest = cutWord(rest)
	_, rest = cutWord(rest)
	method, rest := cutWord(rest)
	url, rest := cutWord(rest)
	_, rest = cutWord(rest)
	peer, _ := cutWord(rest)
	p.put(fSource, client, false)
	p.squidRequest(method, url)
	how, address, ok := bytes.Cut(peer, []byte("/"))
	if !ok {
		return errFields
	}
	if bytes.Contains(how, []byte("DIRECT")) || bytes.Contains(how, []byte("ORIGINAL_DST")) { // else a proxy of one's own
		p.take(RoleDestination, kindHost, address)
	}
	return nil
}

func (p *Parser) squidCommon(msg []byte) error {
	client, rest := cutWord(msg)
	_, rest, _ = bytes.Cut(rest, []byte("["))
	at, rest, _ := bytes.Cut(rest, []byte("] \""))
	p.setCommonTime(at)
	request, rest, ok := bytes.Cut(rest, []byte(`"`))
	method, target := cutWord(request)
	url, _ := cutWord(target)
	p.put(fSource, client, false)
	p.squidRequest(method, url)
	if !ok {
		return errFields
	}
	if _, rest, ok = bytes.Cut(rest, []byte(`"`)); ok { // combined
		referrer, _, _ := bytes.Cut(rest, []byte(`"`))
		p.put(fReferrer, referrer, false)
	}
	return nil
}

func (p *Parser) squidRequest(method, url []byte) {
	if string(method) == "CONNECT" {
		p.take(RoleHost, kindHost, url)
		return
	}
	p.put(fPath, url, false)
}

// setCommonTime reads "27/Nov/2026:10:00:00 +0100".
func (p *Parser) setCommonTime(b []byte) {
	var s stamp
	c := cursor{b: b}
	s.day = c.number(2, 2, false)
	c.mark("/")
	s.month = c.name()
	c.mark("/")
	s.year = c.number(4, 4, false)
	c.mark(":")
	c.clock(&s)
	c.mark(" ")
	c.zone(&s)
	if !c.bad && s.valid() {
		p.event.Time = p.time(s)
	}
}
