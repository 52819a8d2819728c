package pulse

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"

	"github.com/libp2p/go-libp2p/core/peer"
)

// What memberlist would believe, or fall over, is looked at before it sees it: its
// decoder takes a gigabyte for a bomb of compression, gives a stranger's word the
// sender's weight, and panics on a node with four versions. The guard knows the few
// messages that our nodes send, each with its fields, and lets nothing else pass.

// Messages of memberlist's, by its numbers.
const (
	msgPing         = 0
	msgIndirectPing = 1
	msgAck          = 2
	msgSuspect      = 3
	msgAlive        = 4
	msgDead         = 5
	msgPushPull     = 6
	msgCompound     = 7
	msgNack         = 11
	msgCRC          = 12
	msgLabel        = 244
)

// Bounds of what is in them.
const (
	labelMax   = 255
	nameMax    = 128
	fieldBytes = 64
	nodesMax   = membersMax
	stateMax   = nodesMax * 256 // bytes of an exchange of states
	fakePort   = 1
)

// versions are those that our nodes have: of memberlist's protocol, and of delegates,
// of which there are none.
var versions = []byte{1, 5, 5, 0, 0, 0}

// States of a node in an exchange.
const (
	stateAlive   = 0
	stateSuspect = 1
	stateDead    = 2
)

// A refusal is what no node sends.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refused(format string, args ...any) error { return &refusal{fmt.Errorf(format, args...)} }

// nameOf is what memberlist calls a peer.
func nameOf(id string) string { return peer.ID(id).String() }

// address is what a node advertises in place of an address: always the same, for
// memberlist takes a node with a new one for another. Nobody dials it.
func address(name string) net.IP {
	h := sha256.Sum256([]byte(name))
	h[0] = 0xfd // RFC 4193: nobody's
	a := netip.AddrFrom16([16]byte(h[:16]))
	return net.IP(a.AsSlice())
}

// A guard judges what one peer sends for memberlist.
type guard struct {
	label string
	self  string // name
	from  string // name of the sender
	// runs reports whether a name is that of a member that can be dialled.
	runs func(name string) bool
}

// packet judges a packet and returns what memberlist may see of it, nil if that is
// nothing.
func (g *guard) packet(packet []byte) ([]byte, error) {
	label, b, err := cutLabel(packet)
	if err != nil {
		return nil, err
	}
	if label != g.label {
		return nil, refused("packet of another region's pulse")
	}
	if len(b) >= 5 && b[0] == msgCRC {
		if crc32.ChecksumIEEE(b[5:]) != binary.BigEndian.Uint32(b[1:]) {
			return nil, refused("packet with a wrong checksum")
		}
		b = b[5:]
	}
	if len(b) == 0 {
		return nil, refused("empty packet")
	}
	parts := [][]byte{b}
	if b[0] == msgCompound {
		if parts, err = compound(b[1:]); err != nil {
			return nil, err
		}
	}
	var kept [][]byte
	for _, part := range parts {
		switch err := g.message(part); {
		case err == nil:
			kept = append(kept, part)
		case !errors.Is(err, errDrop):
			return nil, err
		}
	}
	if len(kept) == 0 {
		return nil, nil
	}
	out := append([]byte{msgLabel, byte(len(label))}, label...)
	if len(kept) == 1 {
		return append(out, kept[0]...), nil
	}
	out = append(out, msgCompound, byte(len(kept)))
	for _, part := range kept {
		out = binary.BigEndian.AppendUint16(out, uint16(len(part)))
	}
	return append(out, bytes.Join(kept, nil)...), nil
}

func cutLabel(b []byte) (string, []byte, error) {
	if len(b) < 2 || b[0] != msgLabel || len(b) < 2+int(b[1]) {
		return "", nil, refused("no label")
	}
	n := 2 + int(b[1])
	return string(b[2:n]), b[n:], nil
}

func compound(b []byte) (parts [][]byte, err error) {
	if len(b) < 1 || len(b) < 1+2*int(b[0]) {
		return nil, refused("compound message is cut short")
	}
	n := int(b[0])
	lengths, rest := b[1:1+2*n], b[1+2*n:]
	for ; len(lengths) > 0; lengths = lengths[2:] {
		size := int(binary.BigEndian.Uint16(lengths))
		if size == 0 || size > len(rest) {
			return nil, refused("compound message is cut short")
		}
		parts, rest = append(parts, rest[:size]), rest[size:]
	}
	if len(rest) > 0 {
		return nil, refused("compound message with a tail")
	}
	return parts, nil
}

// Fields of the messages, by type: u a number of 32 bits, s text, b bytes, o true or false.
var (
	pingFields     = map[string]byte{"SeqNo": 'u', "Node": 's', "SourceAddr": 'b', "SourcePort": 'u', "SourceNode": 's'}
	indirectFields = map[string]byte{"SeqNo": 'u', "Target": 'b', "Port": 'u', "Node": 's', "Nack": 'o', "SourceAddr": 'b', "SourcePort": 'u', "SourceNode": 's'}
	ackFields      = map[string]byte{"SeqNo": 'u', "Payload": 'b'}
	nackFields     = map[string]byte{"SeqNo": 'u'}
	accuseFields   = map[string]byte{"Incarnation": 'u', "Node": 's', "From": 's'}
	aliveFields    = map[string]byte{"Incarnation": 'u', "Node": 's', "Addr": 'b', "Port": 'u', "Meta": 'b', "Vsn": 'b'}
	headerFields   = map[string]byte{"Nodes": 'u', "UserStateLen": 'u', "Join": 'o'}
	nodeFields     = map[string]byte{"Name": 's', "Addr": 'b', "Port": 'u', "Meta": 'b', "Incarnation": 'u', "State": 'u', "Vsn": 'b'}
)

// message judges one message of a packet. One that names members who are not in the
// roster here, or not yet, is nobody's fault: errDrop.
func (g *guard) message(b []byte) error {
	if len(b) == 0 {
		return refused("empty message")
	}
	r := &fields{r: bytes.NewReader(b[1:])}
	var err error
	switch b[0] {
	case msgPing:
		if err = r.object(pingFields); err == nil {
			err = g.source(r)
		}
		if err == nil && r.text["Node"] != g.self {
			err = errDrop
		}
	case msgIndirectPing:
		if err = r.object(indirectFields); err == nil {
			err = g.source(r)
		}
		if err == nil {
			err = g.place(r.text["Node"], r.data["Target"], r.number["Port"])
		}
	case msgAck:
		if err = r.object(ackFields); err == nil && len(r.data["Payload"]) > 0 {
			err = refused("answer with a payload")
		}
	case msgNack:
		err = r.object(nackFields)
	case msgSuspect, msgDead:
		if err = r.object(accuseFields); err == nil {
			err = g.accusation(r.text["Node"], r.text["From"])
		}
	case msgAlive:
		if err = r.object(aliveFields); err == nil {
			err = g.node(r.text["Node"], r)
		}
	default:
		return refused("message of kind %d", b[0]) // compressed, encrypted, a label within, what users send
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return refused("message is cut short")
	case err == nil && len(r.seen) != len(b)-1:
		return refused("message with a tail")
	}
	return err
}

// errDrop says of a message that it is not given to memberlist, though nobody is to blame.
var errDrop = errors.New("of no use here")

// source checks that who asks wants to be answered itself.
func (g *guard) source(r *fields) error {
	if r.text["SourceNode"] != g.from || !bytes.Equal(r.data["SourceAddr"], address(g.from)) || r.number["SourcePort"] != fakePort {
		return refused("question in another's name")
	}
	return nil
}

func (g *guard) place(name string, addr []byte, port uint64) error {
	if !bytes.Equal(addr, address(name)) || port != fakePort {
		return refused("node with an address that is not made of its name")
	}
	if !g.runs(name) {
		return errDrop
	}
	return nil
}

// accusation: nobody says of itself that it has left. Our nodes just stop, so whoever
// says so of another is lying.
func (g *guard) accusation(node, from string) error {
	if node == from {
		return refused("somebody is said to have left")
	}
	if !g.runs(node) || !g.runs(from) {
		return errDrop
	}
	return nil
}

func (g *guard) node(name string, r *fields) error {
	if !bytes.Equal(r.data["Vsn"], versions) || len(r.data["Meta"]) != 0 {
		return refused("node of other versions, or with metadata")
	}
	return g.place(name, r.data["Addr"], r.number["Port"])
}

// state reads one exchange of states and returns what memberlist may see of it: all
// but the nodes that are not known here. labelled says that a label comes first: the
// side that asks sends one.
func (g *guard) state(from io.Reader, labelled bool) ([]byte, error) {
	r := &fields{r: bufio.NewReader(io.LimitReader(from, stateMax))}
	var out []byte
	if labelled {
		head, err := r.take(2)
		if err != nil {
			return nil, err
		}
		if head[0] != msgLabel {
			return nil, refused("no label")
		}
		label, err := r.take(int(head[1]))
		if err != nil {
			return nil, err
		}
		if string(label) != g.label {
			return nil, refused("exchange of another region's pulse")
		}
		out = append(out, r.seen...)
	}
	kind, err := r.take(1)
	if err != nil {
		return nil, err
	}
	if kind[0] != msgPushPull {
		return nil, refused("exchange of kind %d", kind[0])
	}
	if err := r.object(headerFields); err != nil {
		return nil, err
	}
	n, join := r.number["Nodes"], r.yes["Join"]
	if n > nodesMax || r.number["UserStateLen"] > 0 {
		return nil, refused("exchange of %d nodes and %d bytes of users' state", n, r.number["UserStateLen"])
	}
	var nodes []byte
	kept := 0
	for range n {
		r.seen = r.seen[:0]
		if err := r.object(nodeFields); err != nil {
			return nil, err
		}
		if s := r.number["State"]; s != stateAlive && s != stateSuspect && s != stateDead {
			return nil, refused("node in state %d", s)
		}
		switch err := g.node(r.text["Name"], r); {
		case err == nil:
			nodes = append(nodes, r.seen...)
			kept++
		case !errors.Is(err, errDrop):
			return nil, err
		}
	}
	out = append(out, msgPushPull)
	out = append(out, header(kept, join)...)
	return append(out, nodes...), nil
}

// header writes that of an exchange, in MessagePack.
func header(nodes int, join bool) []byte {
	out := []byte{0x83, 0xa5}
	out = append(out, "Nodes"...)
	out = binary.BigEndian.AppendUint16(append(out, 0xcd), uint16(nodes))
	out = append(append(out, 0xac), "UserStateLen"...)
	out = append(append(out, 0, 0xa4), "Join"...)
	if join {
		return append(out, 0xc3)
	}
	return append(out, 0xc2)
}

// fields reads the maps of MessagePack that memberlist sends: named fields of known
// types, each once, and none within another.
type fields struct {
	r    io.Reader
	seen []byte // what was read

	number map[string]uint64
	text   map[string]string
	data   map[string][]byte
	yes    map[string]bool
}

func (f *fields) take(n int) ([]byte, error) {
	at := len(f.seen)
	f.seen = append(f.seen, make([]byte, n)...)
	if _, err := io.ReadFull(f.r, f.seen[at:]); err != nil {
		return nil, err
	}
	return f.seen[at:], nil
}

// uint reads a number of so many bytes.
func (f *fields) uint(bytes int) (n uint64, err error) {
	b, err := f.take(bytes)
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n, err
}

func (f *fields) object(types map[string]byte) error {
	f.number, f.text, f.data, f.yes = map[string]uint64{}, map[string]string{}, map[string][]byte{}, map[string]bool{}
	b, err := f.uint(1)
	if err != nil {
		return err
	}
	if b&0xf0 != 0x80 {
		return refused("no map of up to 15 fields")
	}
	got := map[string]bool{}
	for range b & 0x0f {
		name, err := f.bytes()
		if err != nil {
			return err
		}
		key := string(name)
		if types[key] == 0 || got[key] {
			return refused("a field that is not known, or comes twice")
		}
		got[key] = true
		if err := f.value(key, types[key]); err != nil {
			return err
		}
	}
	return nil
}

func (f *fields) value(key string, kind byte) (err error) {
	switch kind {
	case 'u':
		f.number[key], err = f.whole()
	case 's':
		var b []byte
		b, err = f.bytes()
		f.text[key] = string(b)
	case 'b':
		var b []byte
		if b, err = f.bytes(); len(b) > fieldBytes {
			return refused("field %s has %d bytes", key, len(b))
		}
		f.data[key] = bytes.Clone(b)
	case 'o':
		var b uint64
		if b, err = f.uint(1); err == nil && b != 0xc2 && b != 0xc3 {
			return refused("field %s is neither true nor false", key)
		}
		f.yes[key] = b == 0xc3
	}
	return err
}

// whole reads a number from 0 to 2^32-1.
func (f *fields) whole() (uint64, error) {
	b, err := f.uint(1)
	if err != nil || b < 0x80 {
		return b, err
	}
	size, ok := map[uint64]int{0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8}[b]
	if !ok {
		return 0, refused("no whole number")
	}
	n, err := f.uint(size)
	if err == nil && n > 1<<32-1 {
		return 0, refused("number beyond 32 bits")
	}
	return n, err
}

// bytes reads text or bytes of up to nameMax, or nil.
func (f *fields) bytes() ([]byte, error) {
	b, err := f.uint(1)
	if err != nil {
		return nil, err
	}
	var n uint64
	switch {
	case b == 0xc0:
		return nil, nil
	case b&0xe0 == 0xa0:
		n = b & 0x1f
	case b == 0xd9, b == 0xc4:
		n, err = f.uint(1)
	case b == 0xda, b == 0xc5:
		n, err = f.uint(2)
	default:
		return nil, refused("neither text nor bytes")
	}
	if err != nil {
		return nil, err
	}
	if n > nameMax {
		return nil, refused("text of %d bytes", n)
	}
	return f.take(int(n))
}
