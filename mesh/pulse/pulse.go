// Package pulse says who is alive in the region. Hubs ping whoever is linked to them
// and tell how long ago they heard whom; members that can be dialled also run SWIM
// (hashicorp/memberlist) among themselves. It evicts nobody and decides nothing else.
// See DESIGN.md.
package pulse

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Times. SILENT comes silentAfter after the last sign of life that counts.
const (
	judgeEvery  = time.Second
	beatEvery   = 5 * time.Second  // a hub pings, and tells its ages
	rejoinEvery = 10 * time.Second // memberlist does not look for who is lost
	forgetEvery = time.Minute
	blameEvery  = 10 * time.Minute
	silentAfter = 20 * time.Second
	vouchedFor  = 30 * time.Second // a member that can be dialled, and is alive by SWIM alone, while a hub lives
	newFor      = 30 * time.Second // nobody is silent here before he was known for so long
	stalledFor  = 5 * time.Second  // a judge that comes so late has not listened either …
	deafFor     = 15 * time.Second // … and calls nobody silent for so long
	futureMax   = 5 * time.Second  // by which the time of an envelope may lie ahead of Now
)

// A Stream is a stream between two members that have proved their keys.
type Stream = interface {
	io.ReadWriteCloser
	CloseWrite() error
	Reset() error
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// A Network carries streams between members. Peers are named by their peer ids, as
// bytes. It proves who is at the other end.
type Network interface {
	// Open opens a stream of a protocol to a member, and connects to it if need be.
	Open(ctx context.Context, peer, protocol string) (Stream, error)
	// Handle takes the streams that members open whom allow allows. h runs in a
	// goroutine of its own.
	Handle(protocol string, allow func(peer string) bool, h func(peer string, s Stream))
	// Yield says of a protocol that its streams may end at any time: they are no reason
	// to keep a connection.
	Yield(protocol string)
}

// Config is what a pulse needs. All but Hub, Heard, Now and Log is required.
type Config struct {
	Self    string // peer id of this node, as bytes
	Region  string // label of the region: its genesis hash in hex
	Network Network
	// Roster returns the peer ids of the region's members; whether this node's is
	// among them does not matter. It is asked once a second, and must not block.
	Roster func() []string
	// Hub says that this node pings others and tells the region whom it hears. It must
	// be one that can be dialled. A region needs one hub at least, and three to be safe
	// from one that lies.
	Hub bool
	// Dialable reports whether a member can be dialled. It must not block. Whether this
	// node can be is asked at Start.
	Dialable func(peer string) bool
	// Heard returns when the newest envelope by a member came here, or was made, if that
	// was before; zero = never. It must not block, and not go by the author's clock alone.
	Heard func(peer string) time.Time
	Now   func() time.Time // the time that States and Heard go by; nil = time.Now
	Log   *slog.Logger     // nil = slog.Default
}

// A State is what this node knows of a member. Silence is no attack: it says that
// nobody who is believed has heard the member.
type State struct {
	Peer   string    // peer id, as bytes
	Silent bool      // else OK
	Since  time.Time // when a silent member was last heard; zero = never
	By     string    // peer id of who heard it then, this node too; empty = nobody: by its envelopes, or never
}

// A Pulse is this node's part in the region's pulse. It is safe for concurrent use.
type Pulse struct {
	c     Config
	log   *slog.Logger
	links *links
	swim  *swim // nil = this node cannot be dialled

	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup

	region  atomic.Pointer[region] // as of the last judge
	changed chan struct{}

	mu     sync.Mutex // guards what follows; nothing waits while it is held
	closed bool
	ears   *ears
	known  map[string]time.Time // since when a member is in the roster here
	states map[string]verdict
	blamed map[string]time.Time // when a member was last named in the log
	judged time.Time
	forgot time.Time // when ears last let go of who is gone
	deaf   time.Time // until then nobody turns silent
}

// A verdict is a state, and when the member was last heard by the clock of this
// process, which nobody sets.
type verdict struct {
	State
	at time.Time
}

// A region is who belongs to it, and who of them can be dialled.
type region struct {
	members map[string]member // by peer id
	names   map[string]string // peer ids by the names that memberlist has for them
	tags    map[tag]string    // peer ids by the tags of reports
}

type member struct {
	name     string // that memberlist has for it
	tag      tag    // in reports
	dialable bool
}

func (r *region) has(peer string) bool { _, ok := r.members[peer]; return ok }

// New returns a pulse that does nothing before Start.
func New(c Config) (*Pulse, error) {
	switch {
	case c.Self == "", c.Region == "", len(c.Region) > labelMax, c.Network == nil, c.Roster == nil, c.Dialable == nil:
		return nil, errors.New("pulse: Self, Region (up to 255 bytes), Network, Roster and Dialable are required")
	case c.Hub && !c.Dialable(c.Self):
		return nil, errors.New("pulse: a hub must be one that others can dial: listen, or be no hub")
	}
	if c.Heard == nil {
		c.Heard = func(string) time.Time { return time.Time{} }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	p := &Pulse{
		c: c, log: c.Log, changed: make(chan struct{}, 1),
		ears: newEars(c.Self, c.Hub), known: map[string]time.Time{}, states: map[string]verdict{}, blamed: map[string]time.Time{},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.links = newLinks(p)
	return p, nil
}

// Start joins the region's pulse. Close ends it.
func (p *Pulse) Start() error {
	p.judge(time.Now())
	if p.c.Dialable(p.c.Self) {
		s, err := newSwim(p)
		if err != nil {
			return err
		}
		p.swim = s
	}
	p.c.Network.Yield(protocolLink)
	p.c.Network.Handle(protocolLink, p.allow, p.links.take)
	if p.swim != nil {
		p.c.Network.Handle(protocolState, p.allowState, p.swim.transport.take)
		p.every(rejoinEvery, p.swim.rejoin)
	}
	p.every(judgeEvery, func() { p.judge(time.Now()) })
	p.every(beatEvery, p.links.tend)
	if p.c.Hub {
		p.every(beatEvery, p.beat)
	}
	return nil
}

// Close ends it and waits for all that it began. It may be called again.
func (p *Pulse) Close() {
	p.mu.Lock()
	again := p.closed
	p.closed = true
	p.mu.Unlock()
	if again {
		p.wait.Wait()
		return
	}
	p.cancel()
	if p.swim != nil {
		p.swim.close()
	}
	p.links.close()
	p.wait.Wait()
}

// States returns what is known of each member but this one, ordered by peer id.
func (p *Pulse) States() []State {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]State, 0, len(p.states))
	for _, s := range p.states {
		out = append(out, s.State)
	}
	slices.SortFunc(out, func(a, b State) int { return strings.Compare(a.Peer, b.Peer) })
	return out
}

// Changed has a value whenever States has changed since it was last received from. It
// is for one reader.
func (p *Pulse) Changed() <-chan struct{} { return p.changed }

// spawn runs f in a goroutine that Close waits for, unless Close has begun.
func (p *Pulse) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.wait.Go(f)
	return true
}

// every runs f again and again, from a random moment on, so that nodes do not keep step.
func (p *Pulse) every(d time.Duration, f func()) {
	p.spawn(func() {
		first := time.NewTimer(rand.N(d))
		defer first.Stop()
		select {
		case <-first.C:
		case <-p.ctx.Done():
			return
		}
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			f()
			select {
			case <-tick.C:
			case <-p.ctx.Done():
				return
			}
		}
	})
}

func (p *Pulse) allow(peer string) bool {
	return p.ctx.Err() == nil && peer != p.c.Self && p.region.Load().has(peer)
}

func (p *Pulse) allowState(peer string) bool {
	return p.allow(peer) && p.region.Load().members[peer].dialable
}

// hears notes that something came from a member itself.
func (p *Pulse) hears(peer string) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ears.hear(peer, now)
}

// blame names a member that sends what no node sends, once in blameEvery. Its stream
// ends.
func (p *Pulse) blame(peer string, err error) {
	var refused *refusal
	if !errors.As(err, &refused) || !p.region.Load().has(peer) {
		return
	}
	now := time.Now()
	p.mu.Lock()
	often := now.Sub(p.blamed[peer]) < blameEvery
	if !often {
		p.blamed[peer] = now
	}
	p.mu.Unlock()
	if !often {
		p.log.Warn("a member sends what no node sends: its stream is closed", "peer", nameOf(peer), "err", err)
	}
}

// look takes a new picture of the roster, the old one if nothing has changed.
func (p *Pulse) look() *region {
	ids := append(slices.Clone(p.c.Roster()), p.c.Self)
	old := p.region.Load()
	if old != nil && old.is(ids, p.c.Dialable) {
		return old
	}
	r := &region{members: map[string]member{}, names: map[string]string{}, tags: map[tag]string{}}
	slices.Reverse(ids) // this node first
	for _, id := range ids[:min(len(ids), membersMax)] {
		m := member{name: nameOf(id), tag: tagOf(id), dialable: p.c.Dialable(id)}
		r.members[id], r.names[m.name], r.tags[m.tag] = m, id, id
	}
	return r
}

// is reports whether the region is one of these members. The last of them may come
// twice.
func (r *region) is(ids []string, dialable func(string) bool) bool {
	for _, id := range ids {
		if m, ok := r.members[id]; !ok || m.dialable != dialable(id) {
			return false
		}
	}
	last := len(ids) - 1
	return len(r.members) == len(ids) || len(r.members) == last && slices.Contains(ids[:last], ids[last])
}

// judge says of each member whether it is silent.
func (p *Pulse) judge(now time.Time) {
	r := p.look()
	p.region.Store(r)
	alive := p.swim.alive() // by name
	wall := p.c.Now()
	envelopes := make(map[string]time.Time, len(r.members))
	for id := range r.members {
		if at := p.c.Heard(id); !at.IsZero() {
			if age := wall.Sub(at); age >= -futureMax {
				envelopes[id] = now.Add(-max(age, 0))
			}
		}
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.judged.IsZero() && now.Sub(p.judged) > stalledFor {
		p.deaf = now.Add(deafFor)
	}
	p.judged = now
	if now.Sub(p.forgot) >= forgetEvery {
		p.ears.forget(now, r)
		p.forgot = now
	}
	differs := false
	for id, m := range r.members {
		if id == p.c.Self {
			continue
		}
		if p.known[id].IsZero() {
			p.known[id] = now
		}
		was, had := p.states[id]
		is := verdict{State: State{Peer: id}}
		at, by, hubs := p.ears.heard(id, now)
		if e := envelopes[id]; e.After(at) {
			at, by = e, ""
		}
		if p.silent(m, alive, now, at, hubs) && (was.Silent || now.Sub(p.known[id]) > newFor && now.After(p.deaf)) {
			is.Silent, is.By, is.at = true, by, at
			if !at.IsZero() {
				is.Since = wall.Add(-now.Sub(at))
			}
			if was.Silent && is.By == was.By && at.Sub(was.at).Abs() < time.Second {
				is.Since = was.Since // the same moment, whatever became of the clock
			}
		}
		differs = differs || !had || is.State != was.State
		p.states[id] = is
	}
	for id := range p.known {
		if !r.has(id) {
			delete(p.known, id)
			delete(p.states, id)
			delete(p.blamed, id)
			differs = true
		}
	}
	if differs {
		select {
		case p.changed <- struct{}{}:
		default:
		}
	}
}

// silent is the definition. hubs counts those that live, this node too if it is one.
func (p *Pulse) silent(m member, alive map[string]bool, now, at time.Time, hubs int) bool {
	unheard := now.Sub(at)
	if m.dialable && alive[m.name] && (hubs == 0 || unheard <= vouchedFor) {
		return false // nobody else could have heard it, or somebody may be about to
	}
	return unheard > silentAfter
}

// beat is what a hub does: it pings whoever is linked to it and tells its ages.
func (p *Pulse) beat() {
	now := time.Now()
	r := p.region.Load()
	p.mu.Lock()
	told := report(p.ears.ages(now, r), r)
	p.mu.Unlock()
	for _, peer := range p.links.peers() {
		p.links.send(peer, frame{kind: framePing})
		p.links.send(peer, frame{kind: frameAges, body: told})
	}
}
