package pulse

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Times and bounds of SWIM, measured at 50 members with 5 % loss (see DESIGN.md).
const (
	probeEvery    = 2 * time.Second
	probeTime     = time.Second
	suspicionMult = 4
	gossipEvery   = 500 * time.Millisecond
	exchangeEvery = 30 * time.Second
	exchangeTime  = 10 * time.Second
	packetsMax    = 256 // that wait for memberlist; more are dropped
	exchangeApart = time.Second
	exchangesMax  = 16 // that members begin here, at once
	rejoinMax     = 16 // at once
	asksMax       = 64 // questions that memberlist may still wait for
)

// A swim is memberlist among the members that can be dialled. What it says is one
// witness among others.
type swim struct {
	p         *Pulse
	list      *memberlist.Memberlist
	transport *transport

	mu      sync.Mutex
	joining map[string]bool // names that are being rejoined
}

func newSwim(p *Pulse) (*swim, error) {
	t := newTransport(p)
	c := memberlist.DefaultLANConfig()
	c.Name = nameOf(p.c.Self)
	c.Label = p.c.Region
	c.Transport = t
	c.ProtocolVersion = versions[2]
	c.BindPort, c.AdvertisePort = fakePort, fakePort
	c.ProbeInterval, c.ProbeTimeout, c.SuspicionMult = probeEvery, probeTime, suspicionMult
	c.GossipInterval = gossipEvery
	c.PushPullInterval, c.TCPTimeout = exchangeEvery, exchangeTime
	c.RequireNodeNames = true
	c.DisableTcpPings = true    // packets travel on the same connection
	c.EnableCompression = false // a bomb: hashicorp/memberlist#362
	c.Logger = log.New(logger{p.log}, "", 0)
	list, err := memberlist.Create(c)
	if err != nil {
		return nil, fmt.Errorf("begin SWIM: %w", err)
	}
	return &swim{p: p, list: list, transport: t, joining: map[string]bool{}}, nil
}

// alive are the names that SWIM does not say are dead. nil of a nil swim.
func (s *swim) alive() map[string]bool {
	if s == nil {
		return nil
	}
	nodes := s.list.Members()
	out := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		out[n.Name] = true
	}
	return out
}

// rejoin exchanges states with members that can be dialled and that SWIM has lost, for
// it never looks for them itself (hashicorp/memberlist#222). That is also a look at
// them with this node's own eyes, whatever SWIM was told.
func (s *swim) rejoin() {
	alive := s.alive()
	for id, m := range s.p.region.Load().members { // in random order
		if !m.dialable || alive[m.name] || id == s.p.c.Self {
			continue
		}
		s.mu.Lock()
		busy := s.joining[m.name]
		full := len(s.joining) >= rejoinMax
		if !busy && !full {
			s.joining[m.name] = true
		}
		s.mu.Unlock()
		if full {
			return
		}
		if !busy {
			s.p.spawn(func() { s.join(m.name) })
		}
	}
}

func (s *swim) join(name string) {
	defer func() {
		s.mu.Lock()
		delete(s.joining, name)
		s.mu.Unlock()
	}()
	at := net.JoinHostPort(address(name).String(), strconv.Itoa(fakePort))
	if _, err := s.list.Join([]string{name + "/" + at}); err != nil {
		s.p.log.Debug("a member cannot be joined, tried again later", "peer", name, "err", err)
	}
}

// close ends memberlist. It waits for nobody itself, so its questions are answered
// here: each is a goroutine that would wait on.
func (s *swim) close() {
	s.transport.answerAll()
	_ = s.list.Shutdown() // its only error is the transport's, which has none
}

// logger passes what memberlist says to slog: its warnings are about peers, who are
// judged elsewhere.
type logger struct{ to *slog.Logger }

func (l logger) Write(b []byte) (int, error) {
	l.to.Debug(string(bytes.TrimSpace(b)))
	return len(b), nil
}

// A transport carries memberlist's packets on links and its exchanges on streams of
// their own. It implements memberlist.NodeAwareTransport. Nothing in it waits for a
// peer but an exchange.
type transport struct {
	p       *Pulse
	packets chan *memberlist.Packet
	streams chan net.Conn

	mu     sync.Mutex // guards what follows
	closed bool
	asked  [asksMax]uint32 // sequence numbers of the last questions
	asks   int
	open   map[*exchange]bool
	taken  map[string]bool      // peers that have an exchange here, which they began …
	last   map[string]time.Time // … when they began the last one
}

func newTransport(p *Pulse) *transport {
	return &transport{
		p: p, packets: make(chan *memberlist.Packet, packetsMax), streams: make(chan net.Conn),
		open: map[*exchange]bool{}, taken: map[string]bool{}, last: map[string]time.Time{},
	}
}

func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }

func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return address(nameOf(t.p.c.Self)), fakePort, nil
}

var errNameless = errors.New("pulse: nodes are reached by name alone")

func (t *transport) WriteTo([]byte, string) (time.Time, error) { return time.Time{}, errNameless }

func (t *transport) DialTimeout(string, time.Duration) (net.Conn, error) { return nil, errNameless }

// errGone is what memberlist takes for a failure of the other side, not of its own.
var errGone = &net.OpError{Op: "write", Net: "udp", Err: errors.New("no member that can be dialled")}

// to finds who is meant.
func (t *transport) to(a memberlist.Address) (string, error) {
	r := t.p.region.Load()
	id, ok := r.names[a.Name]
	if !ok || id == t.p.c.Self || !r.members[id].dialable {
		return "", errGone
	}
	return id, nil
}

func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if !t.asking(b) {
		return time.Time{}, net.ErrClosed
	}
	id, err := t.to(a)
	if err != nil {
		return time.Time{}, err
	}
	t.p.links.reach(id, frame{framePacket, bytes.Clone(b)})
	return time.Now(), nil
}

// asking keeps the sequence number of a question, for memberlist waits for an answer
// even if it could not be sent. It reports whether anything may be sent.
func (t *transport) asking(packet []byte) bool {
	seq, asks := question(packet)
	t.mu.Lock()
	defer t.mu.Unlock()
	if asks {
		t.asked[t.asks%asksMax] = seq
		t.asks++
	}
	return !t.closed
}

// question finds the sequence number of the ping that a packet begins with.
func question(packet []byte) (seq uint32, ok bool) {
	_, b, err := cutLabel(packet)
	if err != nil {
		return 0, false
	}
	if len(b) > 5 && b[0] == msgCRC {
		b = b[5:]
	}
	if len(b) > 0 && b[0] == msgCompound {
		parts, err := compound(b[1:])
		if err != nil || len(parts) == 0 {
			return 0, false
		}
		b = parts[0]
	}
	if len(b) == 0 || b[0] != msgPing {
		return 0, false
	}
	r := &fields{r: bytes.NewReader(b[1:])}
	if r.object(pingFields) != nil {
		return 0, false
	}
	return uint32(r.number["SeqNo"]), true
}

// answerAll stops packets both ways, and answers all questions. Those that came before,
// and have memberlist ask others, come first.
func (t *transport) answerAll() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.answer(0) // nobody's: what came before it is done when memberlist takes it
	t.drain()
	t.mu.Lock()
	asked := slices.Clone(t.asked[:min(t.asks, asksMax)])
	t.mu.Unlock()
	for _, seq := range asked {
		t.answer(seq)
	}
	t.drain()
}

// answer gives memberlist the answer to a question.
func (t *transport) answer(seq uint32) {
	b := append([]byte{msgLabel, byte(len(t.p.c.Region))}, t.p.c.Region...)
	b = append(b, msgAck, 0x82, 0xa5)
	b = append(b, "SeqNo"...)
	b = binary.BigEndian.AppendUint32(append(b, 0xce), seq)
	b = append(append(b, 0xa7), "Payload"...)
	t.packets <- &memberlist.Packet{Buf: append(b, 0xc0), From: peerAddr(""), Timestamp: time.Now()}
}

// drain waits until memberlist has taken all packets, which it does until Shutdown.
func (t *transport) drain() {
	for len(t.packets) > 0 {
		time.Sleep(time.Millisecond)
	}
}

// receive gives a packet of a peer's to memberlist as far as that is harmless.
func (t *transport) receive(from string, b []byte) error {
	b, err := t.guard(from).packet(b)
	if err != nil || b == nil {
		return err
	}
	packet := &memberlist.Packet{Buf: b, From: peerAddr(t.p.region.Load().members[from].name), Timestamp: time.Now()}
	t.mu.Lock() // none may come once questions are answered
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	select {
	case t.packets <- packet:
	default:
	}
	return nil
}

func (t *transport) guard(from string) *guard {
	r := t.p.region.Load()
	return &guard{label: t.p.c.Region, self: r.members[t.p.c.Self].name, from: r.members[from].name, runs: func(name string) bool {
		id, ok := r.names[name]
		return ok && r.members[id].dialable
	}}
}

func (t *transport) DialAddressTimeout(a memberlist.Address, d time.Duration) (net.Conn, error) {
	id, err := t.to(a)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(t.p.ctx, d)
	defer cancel()
	s, err := t.p.c.Network.Open(ctx, id, protocolState)
	if err != nil {
		return nil, err
	}
	e := &exchange{Stream: s, t: t, peer: id}
	if !t.keep(e) {
		return nil, net.ErrClosed
	}
	return e, nil
}

// take gives memberlist an exchange that a member begins, one a member at once.
func (t *transport) take(peer string, s Stream) {
	e := &exchange{Stream: s, t: t, peer: peer, theirs: true}
	if !t.keep(e) {
		return
	}
	select {
	case t.streams <- e:
	case <-t.p.ctx.Done():
		_ = e.Close()
	}
}

// keep notes an exchange, or ends it.
func (t *transport) keep(e *exchange) bool {
	t.mu.Lock()
	now := time.Now()
	if len(t.last) > membersMax {
		clear(t.last)
	}
	may := !t.closed && (!e.theirs || !t.taken[e.peer] && len(t.taken) < exchangesMax && now.Sub(t.last[e.peer]) >= exchangeApart)
	if may {
		t.open[e] = true
		if e.theirs {
			t.taken[e.peer], t.last[e.peer] = true, now
		}
	}
	t.mu.Unlock()
	if !may {
		_ = e.Reset()
	}
	return may
}

func (t *transport) Shutdown() error {
	t.mu.Lock()
	t.closed = true
	var all []*exchange
	for e := range t.open {
		all = append(all, e)
	}
	t.mu.Unlock()
	for _, e := range all {
		_ = e.Reset()
	}
	return nil
}

// An exchange is one stream of memberlist's, from which it reads what the guard has let
// pass. One goroutine reads it.
type exchange struct {
	Stream
	t      *transport
	peer   string
	theirs bool // they began it

	read  bool
	clean bytes.Reader
}

func (e *exchange) Read(b []byte) (int, error) {
	if !e.read {
		e.read = true
		raw, err := e.t.guard(e.peer).state(e.Stream, e.theirs)
		if err != nil {
			e.t.p.blame(e.peer, err)
			return 0, err
		}
		e.t.p.hears(e.peer)
		e.clean.Reset(raw)
	}
	return e.clean.Read(b)
}

func (e *exchange) Close() error {
	e.t.mu.Lock()
	if e.t.open[e] {
		delete(e.t.open, e)
		if e.theirs {
			delete(e.t.taken, e.peer)
		}
	}
	e.t.mu.Unlock()
	return e.Stream.Close()
}

func (e *exchange) LocalAddr() net.Addr  { return peerAddr(nameOf(e.t.p.c.Self)) }
func (e *exchange) RemoteAddr() net.Addr { return peerAddr(nameOf(e.peer)) }

// A peerAddr is a peer in place of an address.
type peerAddr string

func (peerAddr) Network() string  { return "libp2p" }
func (a peerAddr) String() string { return string(a) }
