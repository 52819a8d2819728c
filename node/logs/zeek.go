package logs

import (
	"bytes"
	"encoding/hex"
	"strings"
)

const tsvFieldsMax = 256 // columns of a TSV log; Zeek's widest have about 60

// A tsv is what the header lines of a Zeek log said.
type tsv struct {
	separator    byte
	set          byte // between the members of a set
	unset, empty string
	fields       []field
	count        int // columns
}

// zeek reads a line of a log of Zeek: TSV, whose header lines come first, or
// JSON.
func (p *Parser) zeek(msg []byte) error {
	switch msg[0] {
	case '{':
		return p.zeekJSON(msg)
	case '#':
		return p.zeekHeader(msg)
	}
	return p.zeekTSV(p.line)
}

func zeekField(name string) field {
	switch name {
	case "ts":
		return fEpoch
	case "id.orig_h", "tx_hosts", "x_originating_ip":
		return fSource
	case "id.resp_h", "rx_hosts":
		return fDestination
	case "id.resp_p":
		return fPort
	case "query":
		return fQuery
	case "answers":
		return fAnswers
	case "host", "server_name":
		return fHost
	case "uri":
		return fPath
	case "referrer":
		return fReferrer
	case "filename":
		return fFile
	case "md5":
		return fMD5
	case "sha1":
		return fSHA1
	case "sha256":
		return fSHA256
	case "ja3":
		return fJA3
	case "ja4":
		return fJA4
	case "fingerprint", "cert_chain_fps":
		return fCertSHA256
	case "mailfrom", "from":
		return fSender
	}
	return none
}

// zeekHeader reads a line that starts with "#".
func (p *Parser) zeekHeader(msg []byte) error {
	t := &p.tsv
	if after, ok := bytes.CutPrefix(msg, []byte("#separator ")); ok {
		*t = tsv{separator: '\t', set: ',', unset: "-", empty: "(empty)"}
		if digits, ok := bytes.CutPrefix(bytes.TrimSpace(after), []byte(`\x`)); ok && len(digits) == 2 {
			if b, err := hex.DecodeString(string(digits)); err == nil {
				t.separator = b[0]
			}
		} else if len(after) == 1 {
			t.separator = after[0]
		}
		return nil
	}
	if t.separator == 0 {
		*t = tsv{separator: '\t', set: ',', unset: "-", empty: "(empty)"}
	}
	name, rest, ok := bytes.Cut(msg, []byte{t.separator})
	if !ok {
		return nil
	}
	switch string(name) {
	case "#set_separator":
		if len(rest) == 1 {
			t.set = rest[0]
		}
	case "#unset_field":
		t.unset = string(rest)
	case "#empty_field":
		t.empty = string(rest)
	case "#fields":
		t.fields = t.fields[:0]
		names := strings.Split(string(rest), string(rune(t.separator)))
		t.count = len(names)
		for _, name := range names[:min(len(names), tsvFieldsMax)] {
			t.fields = append(t.fields, zeekField(name))
		}
	}
	return nil
}

// zeekTSV reads a line of values.
func (p *Parser) zeekTSV(line []byte) error {
	t := &p.tsv
	if t.count == 0 {
		return errHeader
	}
	for _, f := range t.fields {
		value, rest, more := bytes.Cut(line, []byte{t.separator})
		if f != none && len(value) > 0 && string(value) != t.unset && string(value) != t.empty {
			p.zeekValue(f, value)
		}
		if line = rest; !more {
			break
		}
	}
	if bytes.Count(p.line, []byte{t.separator})+1 != t.count {
		return errFields
	}
	return nil
}

// zeekValue takes a value of TSV, which may be a set.
func (p *Parser) zeekValue(f field, value []byte) {
	switch f {
	case fEpoch:
		p.setZeekTime(value)
	case fSource, fDestination, fAnswers, fCertSHA256:
		for more := true; more; {
			var one []byte
			one, value, more = bytes.Cut(value, []byte{p.tsv.set})
			p.put(f, one, false)
		}
	default:
		p.put(f, value, false)
	}
}

// setZeekTime reads seconds since 1970, or the ISO stamp that can be had instead.
func (p *Parser) setZeekTime(value []byte) {
	if at, ok := epoch(value); ok {
		p.event.Time = at
		return
	}
	p.setISO(value)
}

func (p *Parser) zeekJSON(msg []byte) error {
	j := p.enter(msg)
	for j.key() {
		f := zeekField(string(j.name))
		switch {
		case f == none:
			j.skip()
		case f == fEpoch:
			p.setZeekTime(j.text())
		case j.peek() == '[':
			j.open('[')
			for j.more() {
				p.put(f, j.text(), true)
			}
		default:
			p.put(f, j.text(), true)
		}
	}
	return p.leave()
}
