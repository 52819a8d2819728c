package logs

import (
	"bytes"
	"fmt"
	"strings"
)

// A Format is the kind of a log.
type Format uint8

const (
	Auto         Format = iota // the first line that has the look of a format decides
	Mixed                      // each line by its look: one syslog of many devices
	Plain                      // any value in any text
	Suricata                   // eve.json
	Zeek                       // TSV with its header lines, or JSON
	Dnsmasq                    // log-queries
	Unbound                    // log-queries, log-replies, local actions and RPZ
	BIND                       // categories queries, responses, rpz and security
	MicrosoftDNS               // the debug log, without details
	FortiGate                  // key=value, the default
	PANOS                      // CSV: TRAFFIC and THREAT
	Sophos                     // SFOS and UTM
	Squid                      // access.log: native, common or combined
)

// autoLines is how many lines may pass before a log that Auto knows nothing of
// is plain.
const autoLines = 100

var formatNames = [...]string{"auto", "mixed", "plain", "suricata", "zeek", "dnsmasq", "unbound", "bind", "msdns",
	"fortigate", "panos", "sophos", "squid"}

func (f Format) String() string {
	if int(f) < len(formatNames) {
		return formatNames[f]
	}
	return fmt.Sprintf("format(%d)", uint8(f))
}

// ParseFormat is the inverse of String; "" is Auto.
func ParseFormat(s string) (Format, error) {
	if s == "" {
		return Auto, nil
	}
	for f, name := range formatNames {
		if strings.EqualFold(s, name) {
			return Format(f), nil
		}
	}
	return Auto, fmt.Errorf("%q is no format of a log: choose %s", s, strings.Join(formatNames[:], ", "))
}

// look tells the format of a line by marks that no other format has, Plain if it
// has none.
func (p *Parser) look(msg []byte) Format {
	switch c := msg[0]; {
	case c == '{':
		return lookJSON(msg)
	case c == '#' && (has(msg, "#separator ") || has(msg, "#fields")):
		return Zeek
	case has(p.tag, "dnsmasq") || has(msg, "query["):
		return Dnsmasq
	case has(p.tag, "unbound") || c == '[' && bytes.Contains(msg, []byte("] unbound[")):
		return Unbound
	case has(p.tag, "named") || bytes.Contains(msg, []byte("client ")) && bytes.Contains(msg, []byte(": query: ")):
		return BIND
	case c >= '0' && c <= '9':
		return lookDigit(msg)
	case has(msg, "DNS Server log file creation at"):
		return MicrosoftDNS
	}
	return lookPairs(msg)
}

func lookJSON(msg []byte) Format {
	if bytes.Contains(msg, []byte(`"event_type"`)) {
		return Suricata
	}
	if bytes.Contains(msg, []byte(`"ts"`)) {
		for _, mark := range [...]string{`"id.orig_h"`, `"uid"`, `"fuid"`, `"_path"`, `"fingerprint"`} {
			if bytes.Contains(msg, []byte(mark)) {
				return Zeek
			}
		}
	}
	return Plain
}

// lookDigit tells the formats whose lines start with a number.
func lookDigit(msg []byte) Format {
	if bytes.Contains(msg, []byte(" PACKET ")) && (bytes.Contains(msg, []byte(" Rcv ")) || bytes.Contains(msg, []byte(" Snd "))) {
		return MicrosoftDNS
	}
	c := csv{rest: msg}
	if c.skip(3); c.next() && panosType(c.value) {
		return PANOS
	}
	if squidNative(msg) || squidCommon(msg) {
		return Squid
	}
	return lookPairs(msg)
}

// lookPairs tells the formats of key=value.
func lookPairs(msg []byte) Format {
	switch {
	case bytes.Contains(msg, []byte(`log_type="`)) && bytes.Contains(msg, []byte("log_component=")),
		bytes.Contains(msg, []byte(` sys="Secure`)) && bytes.Contains(msg, []byte(` sub="`)):
		return Sophos
	case bytes.Contains(msg, []byte("logid=")) && bytes.Contains(msg, []byte("type=")) &&
		(bytes.Contains(msg, []byte("devid=")) || bytes.Contains(msg, []byte("date="))):
		return FortiGate
	case squidCommon(msg):
		return Squid
	}
	return Plain
}

func has(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}
