package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/watchward/watchward/crypto"
)

// What other packages say to members over this host: streams of their own
// protocols, and notes that gossip spreads. The mesh knows nothing of what is in
// them and lets nobody but members say it.

// Bounds of what is carried.
const (
	NoteMax      = 32 << 10                 // bytes of a note
	carryMax     = 16                       // streams of one protocol with one peer, each way
	notesAtOnce  = 16                       // of one topic that are looked at
	noteEvery    = 250 * time.Millisecond   // a note that is new here, of one peer …
	noteBurst    = 1024                     // … after so many at once: an hour's of all regions
	noteTopicAt  = "watchward/ledger/%d/%s" // version, region
	notesVersion = 0
)

// ErrCrowded says that there are as many streams with a member as there may be.
var ErrCrowded = errors.New("too many streams with this member are open: close one")

// A Stream is a libp2p stream between two members that have proved their keys.
// Whoever has one closes or resets it in the end; Close alone waits for nobody.
type Stream = interface {
	io.ReadWriteCloser
	CloseWrite() error
	Reset() error
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// A NoteHandler judges what members announce. It must be safe for concurrent use.
type NoteHandler interface {
	// Note is given a note that came in the topic of a region, up to NoteMax bytes
	// that must not be changed. It reports whether the note is to be passed on, and
	// whether its sender must have known better.
	Note(region crypto.Region, raw []byte) (relay, blame bool)
}

// cargo are the protocols that others handle here, with whom each allows, and how
// much each peer announces.
type cargo struct {
	paces paces

	mu     sync.RWMutex
	allows map[protocol.ID]func(peer string) bool
	yields map[protocol.ID]bool
}

func newCargo() (*cargo, error) {
	p, err := newPaces(noteEvery, noteBurst)
	return &cargo{paces: p, allows: map[protocol.ID]func(string) bool{}, yields: map[protocol.ID]bool{}}, err
}

// allow returns who may open streams of a protocol, nil if others do not handle it.
func (c *cargo) allow(p protocol.ID) func(peer string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.allows[p]
}

// Open opens a stream of a protocol to a member, by its peer id as its credential
// has it, and connects directly if need be: nothing goes through a relay. ctx is for
// opening alone. A member that does not allow the stream resets it, which the first
// Read tells. The stream ends with the connection, so when the member is revoked or
// has new keys.
func (m *Mesh) Open(ctx context.Context, to, name string) (Stream, error) {
	id := peer.ID(to)
	if !m.gate.member(id) {
		return nil, errStranger
	}
	if m.streams(id, protocol.ID(name), network.DirOutbound) >= carryMax {
		return nil, ErrCrowded
	}
	if err := m.reach(ctx, id, false); err != nil {
		return nil, err
	}
	return m.host.NewStream(ctx, id, protocol.ID(name))
}

// Handle takes the streams that members open under a protocol's name, from now on.
// allow is asked of each, by the peer id as the credential has it, and again of open
// ones whenever the roster changes: it must not block. h runs in a goroutine of its
// own and may keep the stream when it returns.
func (m *Mesh) Handle(name string, allow func(peer string) bool, h func(peer string, s Stream)) {
	p := protocol.ID(name)
	m.cargo.mu.Lock()
	m.cargo.allows[p] = allow
	m.cargo.mu.Unlock()
	m.host.SetStreamHandler(p, func(s network.Stream) {
		from := s.Conn().RemotePeer()
		if !allow(string(from)) || m.streams(from, p, network.DirInbound) > carryMax {
			m.metrics.rejected("carried")
			_ = s.Reset()
			return
		}
		h(string(from), s)
	})
}

// Yield says of a protocol that its streams may end at any time, so that they do not
// keep the supervisor from changing their connection for another. Streams that are
// always there must say so: peers that never change are what an eclipse needs.
func (m *Mesh) Yield(name string) {
	m.cargo.mu.Lock()
	defer m.cargo.mu.Unlock()
	m.cargo.yields[protocol.ID(name)] = true
}

// holds reports whether streams of a protocol keep their connection.
func (c *cargo) holds(p protocol.ID) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.allows[p] != nil && !c.yields[p]
}

// streams counts those of a protocol with a peer.
func (m *Mesh) streams(id peer.ID, p protocol.ID, d network.Direction) (n int) {
	for _, c := range m.host.Network().ConnsToPeer(id) {
		for _, s := range c.GetStreams() {
			if s.Protocol() == p && s.Stat().Direction == d {
				n++
			}
		}
	}
	return n
}

// dismiss ends the streams on a connection that are not allowed any more.
func (m *Mesh) dismiss(c network.Conn) {
	for _, s := range c.GetStreams() {
		allow := m.cargo.allow(s.Protocol())
		if allow != nil && s.Stat().Direction == network.DirInbound && !allow(string(c.RemotePeer())) {
			_ = s.Reset()
		}
	}
}

// carries reports whether streams of others that do not yield are open with a peer: the
// supervisor does not change it for another then.
func (m *Mesh) carries(id peer.ID) bool {
	for _, c := range m.host.Network().ConnsToPeer(id) {
		if slices.ContainsFunc(c.GetStreams(), func(s network.Stream) bool { return m.cargo.holds(s.Protocol()) }) {
			return true
		}
	}
	return false
}

// Announce says a note, at most NoteMax bytes, to the members of a region and of
// those that are mutual with it. region is this node's or one that it hears.
func (m *Mesh) Announce(ctx context.Context, region crypto.Region, raw []byte) error {
	if len(raw) > NoteMax {
		return fmt.Errorf("note has %d bytes: at most %d", len(raw), NoteMax)
	}
	t := m.topics.notes(region)
	if t == nil {
		return fmt.Errorf("no topic for notes of region %s", region)
	}
	return t.topic.Publish(ctx, raw)
}

func noteTopic(region crypto.Region) string { return fmt.Sprintf(noteTopicAt, notesVersion, region) }

// noteValidator lets the handler judge a note before it is relayed.
func (m *Mesh) noteValidator(t *topic) pubsub.ValidatorEx {
	refuse := func(message *pubsub.Message, from peer.ID, why string) pubsub.ValidationResult {
		refusal := &Refusal{Reason: "note", Err: errors.New(why)}
		m.judge(refusal, nil, from)
		m.remember(message, from, refusal)
		return pubsub.ValidationReject
	}
	return func(_ context.Context, from peer.ID, message *pubsub.Message) pubsub.ValidationResult {
		if from == m.self {
			return pubsub.ValidationAccept
		}
		if len(message.Data) > NoteMax {
			return refuse(message, from, fmt.Sprintf("%d bytes, at most %d", len(message.Data), NoteMax))
		}
		if !m.cargo.paces.may(from, 1) { // the note itself may be good: whoever brings it again is not to blame
			m.judge(&Refusal{Reason: "note", Err: errors.New("too many of them")}, nil, from)
			return pubsub.ValidationReject
		}
		switch relay, blame := m.c.Notes.Note(t.region, message.Data); {
		case blame:
			return refuse(message, from, "it is not what it says")
		case !relay:
			return pubsub.ValidationIgnore
		}
		m.useful(from)
		if len(m.c.Listen) == 0 {
			return relayIn(t)
		}
		return pubsub.ValidationAccept
	}
}
