// Package ledgertest is a network between ledgers in one process, with the faults of
// real ones: cut links, delays, and peers that are gone. For tests.
package ledgertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger"
)

// A Network joins ports. It is safe for concurrent use.
type Network struct {
	mu      sync.Mutex
	ports   map[string]*Port
	cut     map[way]bool
	delay   time.Duration
	changed chan struct{} // closed and replaced when a link is cut or heals
	streams map[*stream]struct{}
}

// A way leads from one peer to another.
type way struct{ from, to string }

func (w way) back() way { return way{w.to, w.from} }

// New returns a network without ports.
func New() *Network {
	return &Network{ports: map[string]*Port{}, cut: map[way]bool{}, changed: make(chan struct{}), streams: map[*stream]struct{}{}}
}

// Join adds a peer, or what comes after one that has left.
func (n *Network) Join(peer string) *Port {
	p := &Port{network: n, peer: peer, handlers: map[string]handler{}}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports[peer] = p
	return p
}

// Delay makes whatever is written from now on arrive so much later.
func (n *Network) Delay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
}

// Cut holds everything between two peers back, as a router does that has lost its way:
// nobody gets an error. Heal lets it arrive.
func (n *Network) Cut(a, b string) { n.set(true, way{a, b}, way{b, a}) }

// Mute holds back what one peer sends to another, and nothing that comes from there.
func (n *Network) Mute(from, to string) { n.set(true, way{from, to}) }

// Heal ends Cut and Mute.
func (n *Network) Heal(a, b string) { n.set(false, way{a, b}, way{b, a}) }

func (n *Network) set(cut bool, ways ...way) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range ways {
		if cut {
			n.cut[w] = true
		} else {
			delete(n.cut, w)
		}
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// Isolate cuts a peer off from all others.
func (n *Network) Isolate(peer string) { n.each(peer, n.Cut) }

// Rejoin ends Isolate.
func (n *Network) Rejoin(peer string) { n.each(peer, n.Heal) }

func (n *Network) each(peer string, do func(a, b string)) {
	n.mu.Lock()
	var others []string
	for p := range n.ports {
		if p != peer {
			others = append(others, p)
		}
	}
	n.mu.Unlock()
	for _, p := range others {
		do(peer, p)
	}
}

// Leave takes a peer off the network at once, as the end of its process does: its
// streams are reset.
func (n *Network) Leave(peer string) {
	n.mu.Lock()
	delete(n.ports, peer)
	var ends []*stream
	for s := range n.streams {
		if s.way.from == peer || s.way.to == peer {
			ends = append(ends, s)
		}
	}
	n.mu.Unlock()
	for _, s := range ends {
		s.Reset()
	}
}

// passes returns how long what is sent now takes on a way, and, if it is cut, what to
// wait for.
func (n *Network) passes(w way) (time.Duration, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[w] {
		return 0, n.changed
	}
	return n.delay, nil
}

// A Port is one peer's ledger.Network.
type Port struct {
	network *Network
	peer    string

	mu       sync.Mutex
	handlers map[string]handler
	notes    func(region crypto.Region, note []byte)
}

type handler struct {
	allow func(string) bool
	serve func(string, ledger.Stream)
}

var errUnreachable = errors.New("the peer is not connected")

// Open waits on a link that is cut either way until ctx ends.
func (p *Port) Open(ctx context.Context, peer, protocol string) (ledger.Stream, error) {
	n := p.network
	w := way{p.peer, peer}
	for {
		_, cut := n.passes(w)
		if cut == nil {
			_, cut = n.passes(w.back())
		}
		if cut == nil {
			break
		}
		select {
		case <-cut:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	n.mu.Lock()
	here, other := n.ports[p.peer], n.ports[peer]
	n.mu.Unlock()
	if here != p || other == nil {
		return nil, errUnreachable
	}
	other.mu.Lock()
	h, ok := other.handlers[protocol]
	other.mu.Unlock()
	if !ok || !h.allow(p.peer) {
		return nil, errUnreachable
	}
	a, b := newStreams(n, w)
	go h.serve(p.peer, b)
	return a, nil
}

// Handle is as the interface says.
func (p *Port) Handle(protocol string, allow func(string) bool, h func(string, ledger.Stream)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h == nil {
		delete(p.handlers, protocol)
		return
	}
	p.handlers[protocol] = handler{allow, h}
}

// Peers are those on the network to whom no link is cut, either way.
func (p *Port) Peers() (out []string) {
	n := p.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports[p.peer] != p {
		return nil
	}
	for peer := range n.ports {
		if peer != p.peer && !n.cut[way{p.peer, peer}] && !n.cut[way{peer, p.peer}] {
			out = append(out, peer)
		}
	}
	return out
}

// Notes sets who hears what others announce.
func (p *Port) Notes(hear func(region crypto.Region, note []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notes = hear
}

// Announce tells every peer in reach, one after the other.
func (p *Port) Announce(_ context.Context, region crypto.Region, note []byte) error {
	for _, peer := range p.Peers() {
		p.network.mu.Lock()
		other := p.network.ports[peer]
		p.network.mu.Unlock()
		if other == nil {
			continue
		}
		other.mu.Lock()
		hear := other.notes
		other.mu.Unlock()
		if hear != nil {
			hear(region, note)
		}
	}
	return nil
}
