package pulse

import (
	"bytes"
	"net"
	"time"
)

// Seams for tests.
const (
	ProtocolLink  = protocolLink
	ProtocolState = protocolState
	FrameHello    = frameHello
	FramePing     = framePing
	FramePong     = framePong
	FrameAges     = frameAges
	FramePacket   = framePacket
	SilentAfter   = silentAfter
	LoneFor       = loneFor
	StateMax      = stateMax
)

type (
	Frame  = frame
	Ears   = ears
	Tag    = tag
	Region = region
)

var (
	NewEars    = newEars
	ReadFrame  = readFrame
	ReadReport = readReport
	TagOf      = tagOf
	NameOf     = nameOf
)

func NewFrame(kind byte, body []byte) Frame { return frame{kind, body} }
func (f frame) Kind() byte                  { return f.kind }
func (f frame) Body() []byte                { return f.body }
func (f frame) Bytes() []byte               { return f.bytes() }

func Address(name string) net.IP { return address(name) }

// Hears, Learns and HeardBy are the ears' own methods.
var (
	Hears  = (*ears).hear
	Learns = (*ears).learn
	Heard  = (*ears).heard
)

// Report writes ages of members, whoever they are.
func Report(ages map[string]time.Duration) []byte {
	r := &region{members: map[string]member{}}
	for id := range ages {
		r.members[id] = member{tag: tagOf(id)}
	}
	return report(ages, r)
}

// GuardPacket judges a packet from a sender to self; runs are who can be dialled.
func GuardPacket(label, self, from string, runs func(string) bool, b []byte) ([]byte, error) {
	g := guard{label: label, self: self, from: from, runs: runs}
	return g.packet(b)
}

// GuardState judges an exchange.
func GuardState(label, from string, runs func(string) bool, b []byte, labelled bool) ([]byte, error) {
	g := guard{label: label, from: from, runs: runs}
	return g.state(bytes.NewReader(b), labelled)
}

// SwimAlive are the names that SWIM at a node does not hold for dead.
func (p *Pulse) SwimAlive() map[string]bool { return p.swim.alive() }

// Judge is one round of the judge.
func (p *Pulse) Judge(now time.Time) { p.judge(now) }

// Hears notes a frame of a member's.
func (p *Pulse) Hears(peer string, at time.Time) { p.ears.hear(peer, at) }

// IsSilent is the definition.
func (p *Pulse) IsSilent(dialable, alive bool, unheard time.Duration, hubs int) bool {
	now := time.Now()
	return p.silent(member{name: "x", dialable: dialable}, map[string]bool{"x": alive}, now, now.Add(-unheard), hubs)
}
