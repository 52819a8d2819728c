// Package logs reads a hospital's own logs: a line in, the observables out that
// indicators can be held against. It is pure: it opens nothing and keeps
// nothing but the caches of a Parser.
//
// Internal things are never observables: special-use addresses and names
// (10.0.0.0/8, host.lan), the networks and names of Options.Own, users, and
// recipients of mail. So the address of a client that asked for a name is taken
// only if it is outside. What is no value (a single label, a public suffix, an
// address in disguise) is passed over in silence: logs are full of it.
//
// The reader is no validator. A line is broken where it cannot be read on; what
// was found before stays in the event.
package logs

import (
	"bytes"
	"errors"
	"net/netip"
	"time"

	"github.com/watchward/watchward/node/notice"
)

// Limits of a Parser.
const (
	LineMax        = 64 << 10 // bytes looked at of a line
	ObservablesMax = 256      // of a line; what is beyond is counted in Event.Dropped
)

// A Role is the part that an observable had in the event.
type Role uint8

const (
	RoleSource      Role = iota + 1 // opened the connection, sent the request
	RoleDestination                 // was connected to
	RoleQuery                       // the name was asked for; once for each question
	RoleAnswer                      // a name or an address in an answer, the name asked for included
	RoleHost                        // the server, as the client named it: SNI, HTTP's Host
	RoleRequest                     // the URL was asked for
	RoleReferrer                    // the URL led to the one asked for
	RoleFile                        // hash or name of a file that passed
	RoleCertificate                 // fingerprint of a server's certificate; sha1 or cert-sha256
	RoleClient                      // fingerprint of a client's TLS: ja3, ja4
	RoleSender                      // of mail
	RoleText                        // stands in text: a plain line, the body of a mail
)

var roleNames = [...]string{"", "source", "destination", "query", "answer", "host", "request", "referrer",
	"file", "certificate", "client", "sender", "text"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return "role"
}

// An Observable is one canonical value of a line.
type Observable struct {
	notice.Indicator
	Role Role
	// Start and End are the bytes of the line it came from, as they stand there:
	// still escaped, and of a URL that the line has in parts, the path.
	Start, End int
}

// An Event is what a line says.
type Event struct {
	// Time is when it happened, zero if the line does not say. A stamp with an
	// offset counts as it is; one without is in Options.Zone.
	Time time.Time
	// Observables are without repetition: one for each value and role.
	Observables []Observable
	// Dropped counts the observables beyond ObservablesMax.
	Dropped int
}

// Own is what belongs to the hospital, and so is never an observable.
type Own struct {
	Networks []netip.Prefix
	Names    []string // domains; what is below them is own too
}

// Options of New. The zero value reads any format with the machine's time zone.
type Options struct {
	Format Format
	// Zone is where stamps without an offset were written, nil: time.Local. In an
	// hour that the clocks go through twice it may be either.
	Zone *time.Location
	// Now dates stamps without a year (RFC 3164): they get the latest year that
	// puts them no later than a day after it. nil: time.Now.
	Now func() time.Time
	Own Own
}

// Why a line gives nothing, or not all. Other errors of Line say what is broken.
var (
	// ErrOther says that the line is not of the format: a daemon's word about
	// itself, or a sign that the format is wrong if most lines are so.
	ErrOther = errors.New("not a line of this format")

	errJSON   = errors.New("the JSON breaks off or is none")
	errFields = errors.New("it has too few fields")
	errName   = errors.New("the name in it is damaged")
	errHeader = errors.New("no #fields line came before it")
)

// A Parser reads the lines of one log, in order. It is not safe for concurrent
// use. It holds up to about 1.5 MiB, most of it values seen lately.
type Parser struct {
	format Format // Auto until a line has told
	looked int    // lines that told nothing
	zone   *time.Location
	now    func() time.Time
	memo   memo

	line  []byte
	event Event
	tag   []byte // of the syslog header
	json  scanner
	web   web
	tsv   tsv
	raw   []byte // scratch for values that the line has escaped or in parts
	order order
}

// New returns a Parser of one log.
func New(o Options) *Parser {
	p := &Parser{format: o.Format, zone: o.Zone, now: o.Now}
	if p.zone == nil {
		p.zone = time.Local
	}
	if p.now == nil {
		p.now = time.Now
	}
	p.memo.init(o.Own)
	return p
}

// Format is what the log is read as: Auto until a line has told, then the format
// that was found.
func (p *Parser) Format() Format { return p.format }

// Line reads one line, with or without its end. What is beyond LineMax is not
// looked at. The event is valid until the next call, its values for ever. With
// an error it holds what was found before.
func (p *Parser) Line(line []byte) (*Event, error) {
	line = bytes.TrimRight(line[:min(len(line), LineMax)], "\r\n")
	p.line, p.tag, p.web = line, nil, web{}
	p.event = Event{Observables: p.event.Observables[:0]}
	if len(bytes.TrimSpace(line)) == 0 {
		return &p.event, nil
	}
	msg := p.unframe(line)
	if len(msg) == 0 {
		return &p.event, ErrOther
	}
	err := p.read(p.choose(msg), msg)
	p.request()
	return &p.event, err
}

// choose returns the format to read the line with.
func (p *Parser) choose(msg []byte) Format {
	switch p.format {
	case Auto:
		format := p.look(msg)
		if format != Plain {
			p.format = format
		} else if p.looked++; p.looked >= autoLines {
			p.format = Plain
		}
		return format
	case Mixed:
		return p.look(msg)
	}
	return p.format
}

func (p *Parser) read(format Format, msg []byte) error {
	switch format {
	case Suricata:
		return p.suricata(msg)
	case Zeek:
		return p.zeek(msg)
	case Dnsmasq:
		return p.dnsmasq(msg)
	case Unbound:
		return p.unbound(msg)
	case BIND:
		return p.bind(msg)
	case MicrosoftDNS:
		return p.microsoftDNS(msg)
	case FortiGate:
		return p.fortigate(msg)
	case PANOS:
		return p.panos(msg)
	case Sophos:
		return p.sophos(msg)
	case Squid:
		return p.squid(msg)
	}
	return p.plain(msg)
}

// take adds a value that is part of the line, if it is one.
func (p *Parser) take(role Role, k kind, value []byte) { p.takeAs(role, k, value, value) }

// takeAs adds a value that the line has in another form: at.
func (p *Parser) takeAs(role Role, k kind, value, at []byte) {
	if len(value) == 0 || len(value) > notice.ValueMax {
		return
	}
	i, ok := p.memo.look(k, value)
	if !ok {
		return
	}
	for n := range p.event.Observables {
		if o := &p.event.Observables[n]; o.Role == role && o.Indicator == i {
			return
		}
	}
	if len(p.event.Observables) == ObservablesMax {
		p.event.Dropped++
		return
	}
	start := p.place(at)
	p.event.Observables = append(p.event.Observables, Observable{Indicator: i, Role: role, Start: start, End: start + len(at)})
}

// place is where a part of the line starts in it. A slice of a slice keeps the
// end of its capacity, so nothing has to carry offsets along; that is why no
// part may be made with three indexes.
func (p *Parser) place(part []byte) int { return cap(p.line) - cap(part) }
