package pulse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/watchward/watchward/mesh/pulse"
)

const (
	label      = "8f1d2c3b4a5968778695a4b3c2d1e0ff8f1d2c3b4a5968778695a4b3c2d1e0ff"
	windowMax  = 512 << 10        // bytes of a stream that are sent and not read
	idleAfter  = 30 * time.Second // a way that is cut for so long loses its streams
	segmentMax = 1200
)

func TestMain(m *testing.M) {
	if raceEnabled {
		runtime.GOMAXPROCS(1) // golang/go#78156: bubbles and the race detector
	}
	os.Exit(m.Run())
}

// A net is a network in memory, in virtual time: streams between nodes with latency,
// loss that delays what follows, slow nodes and cuts.
type net struct {
	loss float64

	mu      sync.Mutex
	rand    *rand.Rand
	nodes   []*node
	peers   []string       // their peer ids
	places  map[string]int // of peer ids
	cut     func(a, b int) bool
	cuts    int
	ctx     context.Context
	slow    map[int]bool
	hidden  map[int]bool // listen, and the others do not know it
	streams map[*stream]bool
}

// A node is one member. Those below hubs listen and are hubs.
type node struct {
	n        *net
	index    int
	listens  bool
	hub      bool
	handlers map[string]func(string, pulse.Stream)
	allows   map[string]func(string) bool
	pulse    *pulse.Pulse
}

// id is the peer id of a node, which need not be one of libp2p's.
func id(i int) string { return fmt.Sprintf("\x00\x24\x08\x01\x12\x20 %030d", i) }

// newNet makes nodes of which the first hubs listen and are hubs. None has started.
func newNet(t testing.TB, nodes, hubs int, loss float64) *net {
	n := &net{loss: loss, rand: rand.New(rand.NewPCG(7, uint64(nodes))), slow: map[int]bool{}, streams: map[*stream]bool{}, places: map[string]int{}}
	n.ctx = t.Context()
	n.cut = func(int, int) bool { return false }
	for i := range nodes {
		n.peers = append(n.peers, id(i))
		n.places[id(i)] = i
		n.nodes = append(n.nodes, &node{n: n, index: i, listens: i < hubs, hub: i < hubs})
	}
	return n
}

func (n *net) dialable(peer string) bool {
	i, ok := n.places[peer]
	n.mu.Lock()
	defer n.mu.Unlock()
	return ok && n.nodes[i].listens && !n.hidden[i]
}

// hide lets nobody know any more that these nodes listen.
func (n *net) hide(nodes map[int]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hidden = nodes
}

// start begins a node's pulse.
func (n *net) start(t testing.TB, i int) *pulse.Pulse {
	t.Helper()
	d := n.nodes[i]
	n.mu.Lock()
	d.handlers, d.allows = map[string]func(string, pulse.Stream){}, map[string]func(string) bool{}
	n.mu.Unlock()
	level := slog.LevelError
	if os.Getenv("PULSE_LOG") != "" {
		level = slog.LevelWarn
	}
	p, err := pulse.New(pulse.Config{
		Self: id(i), Region: label, Network: d, Roster: func() []string { return n.peers },
		Hub: d.hub, Dialable: func(peer string) bool { return peer == id(i) && d.listens || n.dialable(peer) },
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	d.pulse = p
	return p
}

func (n *net) startAll(t testing.TB) {
	t.Helper()
	for i := range n.nodes {
		n.start(t, i)
	}
}

// stop ends all pulses that run.
func (n *net) stop() {
	for _, d := range n.nodes {
		if d.pulse != nil {
			d.pulse.Close()
		}
	}
	n.mu.Lock()
	all := make([]*stream, 0, len(n.streams))
	for s := range n.streams {
		all = append(all, s)
	}
	n.mu.Unlock()
	for _, s := range all {
		s.kill()
	}
}

// breaks cuts ways from now on: what is under way is held, and streams are lost if it
// lasts.
func (n *net) breaks(cut func(a, b int) bool) {
	n.mu.Lock()
	n.cut = cut
	n.cuts++
	epoch := n.cuts
	all := make([]*stream, 0, len(n.streams))
	for s := range n.streams {
		all = append(all, s)
	}
	n.mu.Unlock()
	for _, s := range all {
		s.poke()
		a, b := s.from, s.to
		if !cut(a, b) {
			continue
		}
		time.AfterFunc(idleAfter, func() {
			n.mu.Lock()
			still := n.cuts == epoch || n.cut(a, b)
			n.mu.Unlock()
			if still {
				s.kill()
			}
		})
	}
}

func (n *net) isCut(a, b int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut(a, b)
}

// delay draws how long a piece takes one way.
func (n *net) delay(a, b, size int) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	one := 20*time.Millisecond + time.Duration((a*31+b*31)%30)*time.Millisecond
	d := one
	for range (size + segmentMax - 1) / segmentMax {
		for again := 3 * one; n.rand.Float64() < n.loss; again *= 2 {
			d += again
		}
	}
	for _, i := range []int{a, b} {
		if n.slow[i] {
			d += 200*time.Millisecond + time.Duration(n.rand.Int64N(int64(1300*time.Millisecond)))
		}
	}
	return d
}

func (d *node) Handle(protocol string, allow func(string) bool, h func(string, pulse.Stream)) {
	d.n.mu.Lock()
	defer d.n.mu.Unlock()
	d.handlers[protocol], d.allows[protocol] = h, allow
}

func (d *node) Yield(string) {}

func (d *node) Open(ctx context.Context, peer, protocol string) (pulse.Stream, error) {
	n := d.n
	to, ok := n.places[peer]
	if !ok {
		return nil, errors.New("no member")
	}
	trip := time.NewTimer(2 * n.delay(d.index, to, 1))
	defer trip.Stop()
	select {
	case <-trip.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if n.isCut(d.index, to) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	n.mu.Lock()
	other := n.nodes[to]
	h, allow := other.handlers[protocol], other.allows[protocol]
	n.mu.Unlock()
	if !other.listens || h == nil || !allow(id(d.index)) {
		return nil, errors.New("refused")
	}
	a, b := n.connect(d.index, to)
	go h(id(d.index), b)
	return a, nil
}

func (n *net) connect(from, to int) (a, b *stream) {
	ab, ba := newHalf(), newHalf()
	a = &stream{n: n, from: from, to: to, in: ba, out: ab}
	b = &stream{n: n, from: to, to: from, in: ab, out: ba}
	a.other, b.other = b, a
	n.mu.Lock()
	n.streams[a], n.streams[b] = true, true
	n.mu.Unlock()
	return a, b
}

// A half is one direction of a stream.
type half struct {
	mu     sync.Mutex
	pieces []piece
	size   int
	last   time.Time
	dead   bool
	wake   chan struct{} // the reader: something has come
	room   chan struct{} // the writer: something was read
}

type piece struct {
	b   []byte
	at  time.Time
	eof bool
}

func newHalf() *half { return &half{wake: make(chan struct{}, 1), room: make(chan struct{}, 1)} }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

type stream struct {
	n        *net
	from, to int
	in, out  *half
	other    *stream

	mu    sync.Mutex
	read  time.Time
	write time.Time
}

func (s *stream) poke() {
	for _, h := range []*half{s.in, s.out} {
		poke(h.wake)
		poke(h.room)
	}
}

// kill ends both ends at once.
func (s *stream) kill() {
	for _, h := range []*half{s.in, s.out} {
		h.mu.Lock()
		h.dead = true
		h.mu.Unlock()
	}
	s.poke()
	s.n.mu.Lock()
	delete(s.n.streams, s)
	delete(s.n.streams, s.other)
	s.n.mu.Unlock()
}

// Reset ends this end now and the other when it hears of it.
func (s *stream) Reset() error {
	s.in.mu.Lock()
	s.in.dead = true
	s.in.mu.Unlock()
	poke(s.in.wake)
	if s.n.isCut(s.from, s.to) {
		return nil // breaks ends the other
	}
	s.kill()
	return nil
}

func (s *stream) Close() error { return s.CloseWrite() }

func (s *stream) CloseWrite() error {
	s.send(piece{eof: true})
	return nil
}

func (s *stream) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

func (s *stream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	s.read = t
	s.mu.Unlock()
	poke(s.in.wake)
	return nil
}

func (s *stream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	s.write = t
	s.mu.Unlock()
	return nil
}

func (s *stream) send(p piece) {
	d := s.n.delay(s.from, s.to, len(p.b))
	h := s.out
	h.mu.Lock()
	p.at = time.Now().Add(d)
	if p.at.Before(h.last) {
		p.at = h.last
	}
	h.last = p.at
	h.pieces = append(h.pieces, p)
	h.size += len(p.b)
	h.mu.Unlock()
	poke(h.wake)
}

func (s *stream) Write(b []byte) (int, error) {
	for {
		s.out.mu.Lock()
		dead, full := s.out.dead, s.out.size+len(b) > windowMax && s.out.size > 0
		s.out.mu.Unlock()
		switch {
		case dead:
			return 0, io.ErrClosedPipe
		case !full:
			s.send(piece{b: slices.Clone(b)})
			return len(b), nil
		}
		s.mu.Lock()
		until := s.write
		s.mu.Unlock()
		if err := await(s.out.room, time.Time{}, until); err != nil {
			return 0, err
		}
	}
}

func (s *stream) Read(b []byte) (int, error) {
	for {
		cut := s.n.isCut(s.from, s.to)
		h := s.in
		h.mu.Lock()
		if h.dead {
			h.mu.Unlock()
			return 0, io.ErrClosedPipe
		}
		var next time.Time
		if len(h.pieces) > 0 && !cut {
			p := &h.pieces[0]
			if !p.at.After(time.Now()) {
				if p.eof {
					h.mu.Unlock()
					return 0, io.EOF
				}
				k := copy(b, p.b)
				p.b = p.b[k:]
				h.size -= k
				if len(p.b) == 0 {
					h.pieces = h.pieces[1:]
				}
				h.mu.Unlock()
				poke(h.room)
				return k, nil
			}
			next = p.at
		}
		h.mu.Unlock()
		s.mu.Lock()
		until := s.read
		s.mu.Unlock()
		if err := await(h.wake, next, until); err != nil {
			return 0, err
		}
	}
}

// await waits for c, or until next; until is a deadline. Zero times are never.
func await(c chan struct{}, next, until time.Time) error {
	first := next
	if first.IsZero() || !until.IsZero() && until.Before(first) {
		first = until
	}
	if first.IsZero() {
		<-c
		return nil
	}
	timer := time.NewTimer(time.Until(first))
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
	}
	if !until.IsZero() && !time.Now().Before(until) {
		return os.ErrDeadlineExceeded
	}
	return nil
}
