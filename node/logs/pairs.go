package logs

import "bytes"

// A pairs walks over key=value and key="some value".
type pairs struct {
	rest       []byte
	key, value []byte
}

// next goes to the next pair and reports whether there is one. Words without
// "=" are passed over. A quote that is escaped, or that nothing ends, does not
// end a value.
func (s *pairs) next() bool {
	for {
		eq := bytes.IndexByte(s.rest, '=')
		if eq < 0 {
			return false
		}
		s.key = s.rest[bytes.LastIndexByte(s.rest[:eq], ' ')+1 : eq]
		s.rest = s.rest[eq+1:]
		if len(s.rest) > 0 && s.rest[0] == '"' {
			end := 1
			for end < len(s.rest) && s.rest[end] != '"' {
				if s.rest[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end, len(s.rest))
			s.value = s.rest[1:end]
			s.rest = s.rest[min(end+1, len(s.rest)):]
		} else {
			s.value, s.rest = cutWord(s.rest)
			s.value = bytes.TrimRight(s.value, ",;")
		}
		if len(s.key) > 0 && len(s.value) > 0 && string(s.value) != "N/A" && string(s.value) != "-" {
			return true
		}
	}
}

// A when is a time whose parts stand in pairs of their own.
type when struct{ date, clock, zone, epoch []byte }

func (w *when) put(f field, value []byte) bool {
	switch f {
	case fDate:
		w.date = value
	case fTime:
		w.clock = value
	case fZone:
		w.zone = value
	case fEpoch:
		w.epoch = value
	default:
		return false
	}
	return true
}

// setWhen sets the event's time from its parts, the exact one first.
func (p *Parser) setWhen(w when) {
	if at, ok := epoch(w.epoch); ok {
		p.event.Time = at
		return
	}
	if w.date == nil {
		p.setISO(w.clock)
		return
	}
	var s stamp
	c := cursor{b: w.date}
	c.date(&s, "-/")
	if !c.bad {
		c = cursor{b: w.clock}
		c.clock(&s)
	}
	if c.bad || !s.valid() {
		return
	}
	if z := (cursor{b: w.zone}); z.at("+-") {
		if z.zone(&s); z.bad || !s.valid() {
			return
		}
	}
	p.event.Time = p.time(s)
}

// pairs reads a line of pairs. known names the fields, least is how many of them
// make it a line of the format.
func (p *Parser) pairs(msg []byte, known func(key []byte) field) error {
	var w when
	found := false
	for s := (pairs{rest: msg}); s.next(); {
		f := known(s.key)
		if f == none {
			continue
		}
		found = true
		switch {
		case w.put(f, s.value):
		case f == fTLS:
			p.web.tls = p.web.tls || bytes.EqualFold(s.value, []byte("HTTPS"))
		default:
			p.put(f, s.value, false)
		}
	}
	p.setWhen(w)
	if !found {
		return ErrOther
	}
	return nil
}

// fortigate reads FortiOS's key=value. Its own addresses, users and recipients
// are not taken.
func (p *Parser) fortigate(msg []byte) error { return p.pairs(msg, fortigateField) }

func fortigateField(key []byte) field {
	switch string(key) {
	case "eventtime":
		return fEpoch
	case "date":
		return fDate
	case "time":
		return fTime
	case "tz":
		return fZone
	case "srcip", "remip":
		return fSource
	case "dstip", "botnetip":
		return fDestination
	case "dstport":
		return fPort
	case "service":
		return fTLS
	case "qname", "botnetdomain":
		return fQuery
	case "ipaddr":
		return fAnswers
	case "hostname":
		return fHost
	case "url":
		return fPath
	case "referralurl":
		return fReferrer
	case "filename":
		return fFile
	case "filehash", "analyticscksum":
		return fSHA256
	case "certhash":
		return fCertSHA1
	case "sender", "from":
		return fSender
	}
	return none
}

// sophos reads the key=value of SFOS (XG, XGS) and of UTM 9.
func (p *Parser) sophos(msg []byte) error { return p.pairs(msg, sophosField) }

func sophosField(key []byte) field {
	switch string(key) {
	case "timestamp":
		return fTime
	case "date":
		return fDate
	case "time":
		return fTime
	case "timezone":
		return fZone
	case "src_ip", "srcip", "sourceip":
		return fSource
	case "dst_ip", "dstip", "destinationip":
		return fDestination
	case "domain", "domainname", "dns_query":
		return fHost
	case "url":
		return fPath
	case "referer":
		return fReferrer
	case "file_name", "filename":
		return fFile
	case "sha1sum":
		return fSHA1
	case "sha256sum":
		return fSHA256
	case "sender", "from", "from_email_address":
		return fSender
	}
	return none
}
