package logs

import (
	"bytes"

	"github.com/watchward/watchward/node/notice"
)

// A field is what a format's own name for a value means.
type field uint8

const (
	none field = iota
	fTime
	fDate // its clock is in fTime, its offset in fZone
	fZone
	fEpoch // since 1970, in a unit that its size tells
	fSource
	fDestination
	fQuery
	fAnswers // one or several, by commas
	fHost
	fPath // of a URL, or all of it
	fPort // of the destination
	fTLS  // the request went through TLS
	fReferrer
	fFile
	fMD5
	fSHA1
	fSHA256
	fJA3
	fJA4
	fCertSHA1
	fCertSHA256
	fSender
	fText // a URL in text
)

// A web is a request whose URL stands in parts.
type web struct {
	host, path, port []byte // as written
	tls              bool
	escaped          bool // as in JSON
}

// put takes a value by what it means. escaped says that it is as in JSON.
func (p *Parser) put(f field, value []byte, escaped bool) {
	at := value
	if escaped && bytes.IndexByte(value, '\\') >= 0 {
		p.raw = unescape(p.raw[:0], value)
		value = p.raw
	}
	switch f {
	case fSource:
		p.takeAs(RoleSource, kindAddress, value, at)
	case fDestination:
		p.takeAs(RoleDestination, kindAddress, value, at)
	case fQuery:
		p.takeAs(RoleQuery, kindName, value, at)
	case fAnswers:
		p.answers(at)
	case fHost:
		p.web.host, p.web.escaped = at, escaped
		p.takeAs(RoleHost, kindHost, value, at)
	case fPath:
		p.web.path, p.web.escaped = at, escaped
	case fPort:
		p.web.port = at
	case fReferrer:
		p.takeAs(RoleReferrer, of(notice.TypeURL), value, at)
	case fFile:
		// Of a path only the name counts: what leads to it is the sender's or the
		// hospital's.
		p.takeAs(RoleFile, of(notice.TypeFilename), value[bytes.LastIndexAny(value, `/\`)+1:], at)
	case fMD5:
		p.takeAs(RoleFile, of(notice.TypeMD5), value, at)
	case fSHA1:
		p.takeAs(RoleFile, of(notice.TypeSHA1), value, at)
	case fSHA256:
		p.takeAs(RoleFile, of(notice.TypeSHA256), value, at)
	case fJA3:
		p.takeAs(RoleClient, of(notice.TypeJA3), value, at)
	case fJA4:
		p.takeAs(RoleClient, of(notice.TypeJA4), value, at)
	case fCertSHA1:
		p.certificate(value, at)
	case fCertSHA256:
		p.takeAs(RoleCertificate, of(notice.TypeCertSHA256), value, at)
	case fSender:
		p.sender(value, at)
	case fText:
		p.takeAs(RoleText, of(notice.TypeURL), value, at)
	}
}

// answers takes what stands between commas.
func (p *Parser) answers(list []byte) {
	for more := true; more; {
		var one []byte
		one, list, more = bytes.Cut(list, []byte(","))
		p.take(RoleAnswer, kindHost, bytes.TrimSpace(one))
	}
}

// certificate takes a fingerprint of SHA-1, which tools print with colons.
func (p *Parser) certificate(value, at []byte) {
	digits := value
	if bytes.IndexByte(value, ':') >= 0 {
		p.raw = p.raw[:0]
		for _, c := range value {
			if c != ':' {
				p.raw = append(p.raw, c)
			}
		}
		digits = p.raw
	}
	p.takeAs(RoleCertificate, of(notice.TypeSHA1), digits, at)
}

// sender takes the mailbox out of "Name <name@evil.example>".
func (p *Parser) sender(value, at []byte) {
	if open := bytes.LastIndexByte(value, '<'); open >= 0 {
		value = value[open+1:]
		if end := bytes.IndexByte(value, '>'); end >= 0 {
			value = value[:end]
		}
	}
	p.takeAs(RoleSender, of(notice.TypeEmail), value, at)
}

// request takes the URL that a line has in parts, once all of it is read.
func (p *Parser) request() {
	w := &p.web
	if len(w.path) == 0 {
		return
	}
	url := p.raw[:0]
	path := w.path
	if w.escaped && bytes.IndexByte(path, '\\') >= 0 {
		path = unescape(nil, path)
	}
	switch {
	case bytes.Contains(path[:min(len(path), 16)], []byte("://")): // asked of a proxy: it is whole
		p.whole(RoleRequest, path, w.path)
		return
	case len(w.host) == 0:
		return
	case path[0] != '/' && path[0] != '?':
		return // CONNECT has a host and a port there, OPTIONS a star
	}
	port := string(w.port)
	scheme := "http"
	if w.tls || port == "443" {
		scheme = "https"
	}
	url = append(append(url, scheme...), "://"...)
	start := len(url)
	if w.escaped {
		url = unescape(url, w.host)
	} else {
		url = append(url, w.host...)
	}
	host := url[start:]
	named := bytes.IndexByte(host, ':') >= 0 && (host[0] != '[' || host[len(host)-1] != ']')
	if port != "" && port != "80" && port != "443" && !named {
		url = append(append(url, ':'), port...)
	}
	url = append(url, path...)
	p.raw = url
	p.takeAs(RoleRequest, of(notice.TypeURL), url, w.path)
}

// whole takes a URL and its host.
func (p *Parser) whole(role Role, url, at []byte) {
	if role == RoleRequest {
		p.takeAs(RoleHost, kindHost, hostOf(url), at)
	}
	p.takeAs(role, of(notice.TypeURL), url, at)
}
