package pulse

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Protocols. A link carries frames for as long as both live; a state stream carries
// one exchange of memberlist's and ends.
const (
	protocolLink  = "/watchward/pulse/0"
	protocolState = "/watchward/pulse/state/0"
)

// Bounds of what peers send.
const (
	membersMax = 4096
	packetMax  = 4 << 10 // bytes of a packet of memberlist's, which sends 1,400
	agesMax    = membersMax * (tagSize + 3)
	helloSize  = 2
	linkWire   = 0 // version
)

// Kinds of frames.
const (
	frameHello  = 1 // first each way: version, flags
	framePing   = 2
	framePong   = 3
	frameAges   = 4
	framePacket = 5
)

const flagHub = 1

// A frame is one byte of kind, two of length, big-endian, and the body.
type frame struct {
	kind byte
	body []byte
}

// bodyMax is how long the body of a kind may be; below zero = no such kind.
func bodyMax(kind byte) int {
	switch kind {
	case frameHello:
		return helloSize
	case framePing, framePong:
		return 0
	case frameAges:
		return agesMax
	case framePacket:
		return packetMax
	}
	return -1
}

func (f frame) bytes() []byte {
	out := binary.BigEndian.AppendUint16([]byte{f.kind}, uint16(len(f.body)))
	return append(out, f.body...)
}

// readFrame reads one. It takes no memory before it knows that the length is allowed.
func readFrame(r io.Reader) (frame, error) {
	var head [3]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{kind: head[0]}
	n := int(binary.BigEndian.Uint16(head[1:]))
	if n > bodyMax(f.kind) {
		return frame{}, fmt.Errorf("frame of kind %d with %d bytes", f.kind, n)
	}
	if n > 0 {
		f.body = make([]byte, n)
	}
	_, err := io.ReadFull(r, f.body)
	return f, err
}

func hello(hub bool) frame {
	body := []byte{linkWire, 0}
	if hub {
		body[1] = flagHub
	}
	return frame{frameHello, body}
}

// greeted reads a hello. Flags of later versions are ignored.
func greeted(f frame) (hub bool, err error) {
	if f.kind != frameHello || len(f.body) != helloSize {
		return false, errors.New("a link begins with a hello")
	}
	if f.body[0] != linkWire {
		return false, fmt.Errorf("links of version %d: this node speaks version %d", f.body[0], linkWire)
	}
	return f.body[1]&flagHub != 0, nil
}

const (
	tagSize = 8
	ageUnit = 100 * time.Millisecond
)

// A tag names a member in a report: the first bytes of the hash of its peer id.
type tag [tagSize]byte

func tagOf(peer string) (t tag) {
	h := sha256.Sum256([]byte(peer))
	copy(t[:], h[:])
	return t
}

// report writes ages of members, of at most ageMax: a tag and an age in units of 100 ms each.
func report(ages map[string]time.Duration, r *region) []byte {
	out := make([]byte, 0, len(ages)*(tagSize+2))
	for peer, age := range ages {
		t := r.members[peer].tag
		out = append(out, t[:]...)
		out = binary.AppendUvarint(out, uint64(max(age, 0)/ageUnit))
	}
	return out
}

// readReport reads one. Members that are not known here are left out.
func readReport(b []byte, known map[tag]string) (map[string]time.Duration, error) {
	out := make(map[string]time.Duration, min(len(b)/(tagSize+1), len(known)))
	for len(b) > 0 {
		if len(b) <= tagSize {
			return nil, io.ErrUnexpectedEOF
		}
		peer, ok := known[tag(b)]
		b = b[tagSize:]
		age, n := binary.Uvarint(b)
		if n <= 0 || age > uint64(ageMax/ageUnit) {
			return nil, errors.New("age beyond its bound")
		}
		b = b[n:]
		if !ok {
			continue
		}
		if _, twice := out[peer]; twice {
			return nil, errors.New("a member twice")
		}
		out[peer] = time.Duration(age) * ageUnit
	}
	return out, nil
}
