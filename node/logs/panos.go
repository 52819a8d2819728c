package logs

import "bytes"

// A csv walks over one line of CSV. A quote in a quoted field is written twice.
type csv struct {
	rest  []byte
	value []byte // without its quotes, as written between them
	done  bool
}

func (c *csv) next() bool {
	if c.done {
		return false
	}
	if len(c.rest) == 0 || c.rest[0] != '"' {
		var more bool
		c.value, c.rest, more = bytes.Cut(c.rest, []byte(","))
		c.done = !more
		return true
	}
	end := 1
	for {
		n := bytes.IndexByte(c.rest[end:], '"')
		if n < 0 {
			c.value, c.rest, c.done = c.rest[1:], nil, true
			return true
		}
		if end += n; end+1 < len(c.rest) && c.rest[end+1] == '"' {
			end += 2
			continue
		}
		break
	}
	c.value = c.rest[1:end]
	_, c.rest, c.done = bytes.Cut(c.rest[end+1:], []byte(","))
	c.done = !c.done
	return true
}

func (c *csv) skip(n int) {
	for ; n > 0 && c.next(); n-- {
	}
}

// The columns of PAN-OS's TRAFFIC and THREAT logs, from 0.
const (
	panosKind      = 3
	panosSubtype   = 4
	panosTime      = 6
	panosSource    = 7
	panosTarget    = 8
	panosPort      = 25
	panosLeast     = 30 // the action; both kinds have it
	panosMisc      = 31 // URL, file name or domain
	panosThreat    = 32
	panosDigest    = 43
	panosForwarded = 48
	panosReferer   = 49
	panosSender    = 50
)

func panosType(kind []byte) bool {
	switch string(kind) {
	case "TRAFFIC", "THREAT", "SYSTEM", "CONFIG", "GLOBALPROTECT", "USERID", "HIPMATCH", "DECRYPTION", "AUTHENTICATION", "CORRELATION":
		return true
	}
	return false
}

// panos reads TRAFFIC and THREAT logs of PAN-OS in their default CSV. Other
// kinds speak of the firewall and its users. Addresses after translation are
// the hospital's own.
func (p *Parser) panos(msg []byte) error {
	var subtype, misc []byte
	threat := false
	c := csv{rest: msg}
	i := -1
	for c.next() {
		i++
		switch value := c.value; i {
		case panosKind:
			if threat = string(value) == "THREAT"; !threat && string(value) != "TRAFFIC" {
				return ErrOther
			}
		case panosSubtype:
			subtype = value
		case panosTime:
			p.setISO(value)
		case panosSource:
			p.put(fSource, value, false)
		case panosTarget:
			p.put(fDestination, value, false)
		case panosPort:
			p.put(fPort, value, false)
		case panosMisc:
			misc = value
		case panosThreat:
			if threat {
				p.panosThreat(string(subtype), misc, value)
			}
		case panosDigest:
			if threat {
				p.put(fSHA256, value, false)
			}
		case panosForwarded:
			if threat {
				p.put(fSource, value, false)
			}
		case panosReferer:
			if threat {
				p.put(fReferrer, value, false)
			}
		case panosSender:
			if threat {
				p.put(fSender, value, false)
			}
			return nil
		}
	}
	if i < panosLeast {
		return errFields
	}
	return nil
}

// panosThreat takes what the column of many uses has, by the kind of threat, and
// the name that DNS security puts into its own: "…(generic:evil.example)".
func (p *Parser) panosThreat(subtype string, misc, threat []byte) {
	if _, name, ok := bytes.Cut(threat, []byte("(generic:")); ok {
		name, _, _ = bytes.Cut(name, []byte(")"))
		p.take(RoleQuery, kindName, name)
	}
	switch subtype {
	case "url":
		p.panosURL(misc)
	case "file", "virus", "wildfire", "wildfire-virus", "ml-virus", "data":
		p.put(fFile, misc, false)
	default:
		if bytes.IndexByte(misc, '/') >= 0 {
			p.panosURL(misc)
		} else {
			p.take(RoleHost, kindHost, misc)
		}
	}
}

// panosURL takes a URL, which PAN-OS writes without its scheme.
func (p *Parser) panosURL(misc []byte) {
	if bytes.Contains(misc[:min(len(misc), 16)], []byte("://")) {
		p.put(fPath, misc, false)
		return
	}
	end := bytes.IndexAny(misc, "/?")
	if end < 0 {
		end = len(misc)
	}
	host := misc[:end]
	p.put(fHost, host, false)
	if end < len(misc) {
		p.web.path = misc[end:]
	}
}
