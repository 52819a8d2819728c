package proc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Bounds of a network.
const (
	portsMax   = 250                    // nodes: the last byte of an address
	packetMax  = 64 << 10               // bytes
	backlogMax = 500 * time.Millisecond // a slow line holds so much, and drops the rest
)

// ErrNoNetwork says that this machine cannot give nodes networks of their own.
var ErrNoNetwork = errors.New("no networks of their own for the nodes: that needs Linux, root and /dev/net/tun")

// A Link is what happens to packets in one direction between two nodes. The
// zero value is a perfect wire.
type Link struct {
	Cut   bool
	Loss  float64       // share of packets that are lost, 0 to 1
	Delay time.Duration // added to each
}

// A Network puts each node into a network namespace of its own, whose one wire
// ends in this process. This process is the switch, so it decides for each pair
// and direction what gets through: it drops, delays and slows packets, whatever
// they carry. That needs neither the root namespace's interfaces nor netem.
//
// A namespace has no name and is held by an open file alone: when this process
// ends, in whatever way, nothing is left. It is safe for concurrent use.
type Network struct {
	mu     sync.Mutex
	ports  []*port
	links  map[[2]int]Link
	random *rand.Rand
	closed bool

	carried, dropped int // packets

	wait sync.WaitGroup // one a port
}

// A port is the end of a node's wire.
type port struct {
	number int
	addr   netip.Addr
	wire   *os.File // a packet each Read and Write
	space  *os.File // the namespace

	// Guarded by the network's mu.
	down int       // kbit/s towards the node, 0 = unlimited
	free time.Time // when the line towards the node has sent all it holds
}

// NewNetwork returns a network without nodes. The seed decides which packets
// are lost; the node's own randomness is not in it.
func NewNetwork(seed uint64) (*Network, error) {
	if err := networkPossible(); err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrNoNetwork, err)
	}
	return &Network{links: map[[2]int]Link{}, random: rand.New(rand.NewPCG(seed, 1))}, nil
}

// attach makes a namespace with an address and begins to switch its packets.
func (w *Network) attach() (*port, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.ports) == portsMax {
		return nil, fmt.Errorf("attach to the network: it is closed or has %d nodes", portsMax)
	}
	p := &port{number: len(w.ports), addr: netip.AddrFrom4([4]byte{10, 83, 0, byte(len(w.ports) + 1)})}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("attach to the network: %w", err)
	}
	w.ports = append(w.ports, p)
	w.wait.Go(func() { w.carry(p) })
	return p, nil
}

// carry switches what a node sends, until its wire is closed.
func (w *Network) carry(from *port) {
	buffer := make([]byte, packetMax)
	for {
		n, err := from.wire.Read(buffer)
		if err != nil {
			return
		}
		w.forward(from, buffer[:n])
	}
}

// forward sends one IPv4 packet on; everything else is dropped. packet is only
// valid until it returns.
func (w *Network) forward(from *port, packet []byte) {
	const header, version4, destination = 20, 4, 16
	if len(packet) < header || packet[0]>>4 != version4 {
		return
	}
	to, wait, ok := w.route(from, [4]byte(packet[destination:header]), len(packet))
	switch {
	case !ok:
	case wait <= 0:
		_, _ = to.wire.Write(packet) // a node that is gone loses it
	default:
		kept := append([]byte(nil), packet...)
		time.AfterFunc(wait, func() { _, _ = to.wire.Write(kept) })
	}
}

// route decides where a packet goes and how long it takes.
func (w *Network) route(from *port, destination [4]byte, size int) (to *port, wait time.Duration, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	index := int(destination[3]) - 1
	if w.closed || index < 0 || index >= len(w.ports) || w.ports[index].addr.As4() != destination {
		return nil, 0, false
	}
	to = w.ports[index]
	link := w.links[[2]int{from.number, to.number}]
	if link.Cut || link.Loss > 0 && w.random.Float64() < link.Loss {
		w.dropped++
		return nil, 0, false
	}
	w.carried++
	wait = link.Delay
	if to.down > 0 {
		now := time.Now()
		if to.free.Before(now) {
			to.free = now
		}
		if to.free.Sub(now) > backlogMax {
			w.dropped++
			return nil, 0, false
		}
		to.free = to.free.Add(time.Duration(size*8) * time.Millisecond / time.Duration(to.down))
		wait += to.free.Sub(now)
	}
	return to, wait, true
}

// Packets returns how many were carried and how many were dropped: lost, cut off
// or too much for a slow line.
func (w *Network) Packets() (carried, dropped int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.carried, w.dropped
}

// set says what happens from one port to another from now on.
func (w *Network) set(from, to *port, l Link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.links[[2]int{from.number, to.number}] = l
}

// heal makes every wire perfect; slow lines stay slow.
func (w *Network) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.links)
}

func (w *Network) slow(p *port, kbit int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.down = kbit
}

// Close takes all wires away.
func (w *Network) Close() error {
	w.mu.Lock()
	w.closed = true
	ports := w.ports
	w.mu.Unlock()
	var errs []error
	for _, p := range ports {
		errs = append(errs, p.wire.Close(), p.space.Close())
	}
	w.wait.Wait()
	return errors.Join(errs...)
}
