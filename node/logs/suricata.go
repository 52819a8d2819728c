package logs

import "bytes"

// dnsDepthMax bounds the objects in each other that a DNS event has: an alert of
// Suricata 7 has three.
const dnsDepthMax = 4

// suricata reads a line of eve.json, whatever its event_type: what an alert has
// of the flow's HTTP, TLS or DNS has the same names as in events of their own.
// Recipients of mail are never taken.
func (p *Parser) suricata(msg []byte) error {
	if msg[0] != '{' {
		return ErrOther
	}
	j := p.enter(msg)
	for j.key() {
		switch string(j.name) {
		case "timestamp":
			p.setISO(j.text())
		case "src_ip":
			p.put(fSource, j.text(), true)
		case "dest_ip":
			p.put(fDestination, j.text(), true)
		case "dns":
			p.eveDNS(dnsDepthMax, RoleQuery)
		case "http", "tls", "quic", "fileinfo", "smtp", "email":
			p.eveObject()
		case "files":
			if j.open('[') {
				for j.more() {
					p.eveObject()
				}
			}
		default:
			j.skip()
		}
	}
	return p.leave()
}

// enter starts to read an object of JSON.
func (p *Parser) enter(msg []byte) *scanner {
	p.json = scanner{b: msg, i: 1}
	return &p.json
}

// leave says whether the JSON was whole.
func (p *Parser) leave() error {
	if p.json.broken || p.json.peek() != 0 {
		return errJSON
	}
	return nil
}

// eveObject reads the object of one protocol.
func (p *Parser) eveObject() {
	j := &p.json
	if !j.open('{') {
		return
	}
	for j.key() {
		switch f := eveField(j.name); {
		case f != none:
			p.put(f, j.text(), true)
		case string(j.name) == "ja3": // of tls and quic, beside ja3s, which is the server's
			if j.open('{') {
				for j.key() {
					if string(j.name) == "hash" {
						p.put(fJA3, j.text(), true)
					} else {
						j.skip()
					}
				}
			}
		case string(j.name) == "url" && j.peek() == '[': // of a mail's body
			j.open('[')
			for j.more() {
				p.put(fText, j.text(), true)
			}
		case string(j.name) == "attachment":
			if j.open('[') {
				for j.more() {
					p.put(fFile, j.text(), true)
				}
			}
		case string(j.name) == "url":
			p.put(fPath, j.text(), true)
		default:
			j.skip()
		}
	}
}

func eveField(name []byte) field {
	switch string(name) {
	case "hostname", "sni":
		return fHost
	case "http_port":
		return fPort
	case "http_refer":
		return fReferrer
	case "xff":
		return fSource
	case "filename":
		return fFile
	case "md5":
		return fMD5
	case "sha1":
		return fSHA1
	case "sha256":
		return fSHA256
	case "fingerprint":
		return fCertSHA1
	case "ja4":
		return fJA4
	case "mail_from", "from":
		return fSender
	}
	return none
}

// eveDNS reads a DNS event in any of its layouts: one record a line (version 1,
// Suricata 4), answers and grouped (version 2, Suricata 5 to 7), queries and
// answers (version 3, Suricata 8), and those of alerts.
func (p *Parser) eveDNS(depth int, role Role) {
	j := &p.json
	if depth == 0 || !j.open('{') {
		if depth == 0 {
			j.skip()
		}
		return
	}
	var kindOf, data []byte // of a record, whose rrtype may come later
	for j.key() {
		switch string(j.name) {
		case "type":
			if t := j.text(); string(t) == "answer" || string(t) == "response" {
				role = RoleAnswer
			}
		case "rrname":
			p.eveName(role, j.text())
		case "rrtype":
			kindOf = j.text()
		case "rdata":
			data = j.text()
		case "queries", "query":
			p.eveRecords(depth, role)
		case "answers", "answer":
			p.eveRecords(depth, RoleAnswer)
		case "grouped":
			p.eveGrouped()
		default:
			j.skip()
		}
	}
	if hasHost(kindOf) {
		p.put(fAnswers, data, true)
	}
}

// eveRecords reads a record or an array of them.
func (p *Parser) eveRecords(depth int, role Role) {
	j := &p.json
	if j.peek() != '[' {
		p.eveDNS(depth-1, role)
		return
	}
	j.open('[')
	for j.more() {
		p.eveDNS(depth-1, role)
	}
}

// eveGrouped reads {"A": ["198.51.100.7"], "CNAME": […]}.
func (p *Parser) eveGrouped() {
	j := &p.json
	if !j.open('{') {
		return
	}
	for j.key() {
		if !hasHost(j.name) || j.peek() != '[' {
			j.skip()
			continue
		}
		j.open('[')
		for j.more() {
			p.put(fAnswers, j.text(), true)
		}
	}
}

func (p *Parser) eveName(role Role, name []byte) {
	at := name
	if bytes.IndexByte(name, '\\') >= 0 {
		p.raw = unescape(p.raw[:0], name)
		name = p.raw
	}
	p.takeAs(role, kindName, name, at)
}

// hasHost says which types of records point to a name or an address. What
// others hold only looks like one.
func hasHost(rrtype []byte) bool {
	switch string(rrtype) {
	case "A", "AAAA", "CNAME", "DNAME", "NS", "MX", "PTR":
		return true
	}
	return false
}
