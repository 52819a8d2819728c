package sim

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// What a connection of the fabric does, as QUIC would.
const (
	idleTimeout  = 30 * time.Second // a connection of which one way is cut ends after this
	dialPatience = 5 * time.Second  // a handshake that nobody answers
	windowBytes  = 512 << 10        // of one stream, sent and not yet read
	segmentBytes = 1200             // what one loss takes
	probeExtra   = 25 * time.Millisecond
)

// A Fabric is the network between the nodes of a simulation: latency of each
// ordered pair, lines of a given rate, loss, and cuts. It carries the streams of
// libp2p hosts in memory. It is safe for concurrent use.
type Fabric struct {
	latency func(from, to int) time.Duration
	loss    float64
	jitter  time.Duration  // of datagrams
	proving func(node int) // takes the time of signing or verifying the proof of a session

	mu        sync.Mutex // guards what follows; nothing waits while it is held
	rand      *rand.Rand
	listeners map[string]*listener // by address
	pairs     map[*pair]struct{}
	cut       func(from, to int) bool
	lines     map[int]*line
	bytes     []int64 // sent by each node, without headers below the streams
}

// newFabric returns the network of n nodes, none of them cut off.
func newFabric(n int, seed uint64, loss float64, latency func(from, to int) time.Duration) *Fabric {
	return &Fabric{
		latency: latency, loss: loss, rand: rand.New(rand.NewPCG(seed, 0xfab)),
		listeners: map[string]*listener{}, pairs: map[*pair]struct{}{}, lines: map[int]*line{}, bytes: make([]int64, n),
		cut: func(int, int) bool { return false }, proving: func(int) {},
	}
}

// A pair is one connection, seen from both its ends.
type pair struct {
	ends   [2]*conn // the dialling side first
	secret string   // in place of a TLS session's
	held   time.Time
	timer  *time.Timer // ends it when a cut lasts; nil = not cut
}

// A line is what one node sends through, and what it receives through.
type line struct {
	perByte  time.Duration
	up, down time.Time // free again
}

// Slow gives a node a line of so many bits a second each way. It counts for what
// is sent from now on.
func (f *Fabric) Slow(node int, bits int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines[node] = &line{perByte: 8 * time.Second / time.Duration(bits)}
}

// Cut makes the ordered pairs for which cut holds carry nothing. Connections
// live on for idleTimeout: what was sent meanwhile arrives if the way is whole
// again by then.
func (f *Fabric) Cut(cut func(from, to int) bool) {
	f.mu.Lock()
	f.cut = cut
	now := time.Now()
	var freed []*pair
	for p := range f.pairs {
		a, b := p.ends[0].node, p.ends[1].node
		switch broken := cut(a, b) || cut(b, a); {
		case broken && p.timer == nil:
			p.held = now
			p.timer = time.AfterFunc(idleTimeout, func() { f.lose(p) })
		case !broken && p.timer != nil:
			p.timer.Stop()
			p.timer = nil
			freed = append(freed, p)
		}
	}
	f.mu.Unlock()
	for _, p := range freed {
		for _, c := range p.ends {
			c.release(now.Sub(p.held))
		}
	}
}

// Heal mends all cuts.
func (f *Fabric) Heal() { f.Cut(func(int, int) bool { return false }) }

// Connections returns the connected nodes of each node.
func (f *Fabric) Connections() [][]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([][]int, len(f.bytes))
	for p := range f.pairs {
		a, b := p.ends[0].node, p.ends[1].node
		out[a], out[b] = append(out[a], b), append(out[b], a)
	}
	return out
}

// Sent returns the bytes that each node has sent in streams.
func (f *Fabric) Sent() []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int64(nil), f.bytes...)
}

// Bound returns the times a flood over connections needs from a node to each
// other: the shortest path with the same latencies and no work at all.
func (f *Fabric) Bound(from int, links [][]int) []time.Duration {
	const far = time.Duration(math.MaxInt64)
	best := make([]time.Duration, len(links))
	for i := range best {
		best[i] = far
	}
	best[from] = 0
	queue := []int{from}
	queued := make([]bool, len(links))
	for len(queue) > 0 { // Bellman and Ford with a queue: few hops, so few rounds
		at := queue[0]
		queue = queue[1:]
		queued[at] = false
		for _, to := range links[at] {
			if d := best[at] + f.latency(at, to); d < best[to] {
				best[to] = d
				if !queued[to] {
					queued[to] = true
					queue = append(queue, to)
				}
			}
		}
	}
	return best
}

// reachable reports whether a handshake between two nodes succeeds now.
func (f *Fabric) reachable(from, to int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.cut(from, to) && !f.cut(to, from)
}

// arrival returns when n bytes that a node sends now are at another, the zero
// time while the way is cut.
func (f *Fabric) arrival(from, to, n int) time.Time {
	now := time.Now()
	way := f.latency(from, to)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes[from] += int64(n)
	if f.cut(from, to) {
		return time.Time{}
	}
	at := f.lines[from].send(now, n).Add(way)
	if f.loss > 0 {
		probe := (way+f.latency(to, from))*3/2 + probeExtra
		for range (n + segmentBytes - 1) / segmentBytes {
			if again := f.resend(probe); again > 0 {
				at = at.Add(again) // what follows a lost segment waits for it
				break
			}
		}
	}
	return f.lines[to].receive(at, n)
}

// resend is how much later a segment arrives because of losses: each costs a
// probe, which takes twice as long the next time.
func (f *Fabric) resend(probe time.Duration) (later time.Duration) {
	for f.rand.Float64() < f.loss {
		later += probe
		probe *= 2
	}
	return later
}

func (l *line) send(now time.Time, n int) time.Time {
	if l == nil {
		return now
	}
	l.up = later(l.up, now).Add(time.Duration(n) * l.perByte)
	return l.up
}

func (l *line) receive(at time.Time, n int) time.Time {
	if l == nil {
		return at
	}
	l.down = later(l.down, at).Add(time.Duration(n) * l.perByte)
	return l.down
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// join makes a connection known, unless it was cut meanwhile.
func (f *Fabric) join(p *pair) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, b := p.ends[0].node, p.ends[1].node
	if f.cut(a, b) || f.cut(b, a) {
		return false
	}
	f.pairs[p] = struct{}{}
	return true
}

// lose ends a connection at both sides at once, without a word between them.
func (f *Fabric) lose(p *pair) {
	f.forget(p)
	for _, c := range p.ends {
		c.end()
	}
}

func (f *Fabric) forget(p *pair) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pairs, p)
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

func (f *Fabric) listen(at string, l *listener) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listeners[at] != nil {
		return false
	}
	f.listeners[at] = l
	return true
}

func (f *Fabric) deafen(at string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.listeners, at)
}

func (f *Fabric) listener(at string, id peer.ID) *listener {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.listeners[at]; l != nil && l.transport.self == id {
		return l
	}
	return nil
}

// Spread returns a latency function: from within to between one way, drawn once
// for each pair from seed; nodes of one zone have a quarter of that.
func Spread(seed uint64, zone func(node int) int, within, between time.Duration) func(from, to int) time.Duration {
	return func(from, to int) time.Duration {
		pair := [3]uint64{seed, uint64(min(from, to)), uint64(max(from, to))}
		share := float64(mix(pair)>>11) / (1 << 53)
		way := within + time.Duration(share*float64(between-within))
		if zone(from) == zone(to) {
			way /= 4
		}
		return way
	}
}

// mix hashes in the same way in every run.
func mix(x [3]uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, v := range x {
		h ^= v
		h *= 0xbf58476d1ce4e5b9
		h ^= h >> 29
		h *= 0x94d049bb133111eb
		h ^= h >> 32
	}
	return h
}
