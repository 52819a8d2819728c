// Package mesh is who talks to whom: one libp2p host that carries gossip for
// speed, frontier sync for certainty and direct streams for what must overtake,
// between members of the roster only. It carries envelopes and does not know
// what they say; the node above decides by the Path what is admitted.
//
// See DESIGN.md.
package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
)

// Sizes in bytes of what travels which way.
const (
	GossipMax = 32 << 10 // larger envelopes are announced and pulled
	UrgentMax = 16 << 10 // larger envelopes cannot be urgent
)

// Via says how an envelope came.
type Via uint8

const (
	ViaGossip Via = 1 + iota
	ViaSync
	ViaDirect
	ViaNamed // sealed, from its author
)

// Checked is an envelope that passed steps 1 to 9 of the accept order.
type Checked struct {
	Envelope *crypto.Envelope
	Items    [][]byte // nil when erased
	ClockOff bool     // urgent, and its author's clock is off
	Mismatch bool     // set by Admit: it does not follow, or is not followed by, what is here
	Muted    bool     // its author says too much: it is kept and not relayed
	Received int64    // ms, this node's clock
}

// Path is the accept order (design, Envelope) as the node implements it. All
// methods must be safe for concurrent use.
type Path interface {
	// Check runs steps 1 to 9 on raw, which is kept and must not change. The
	// region and audience are those of the topic; the zero region means any.
	// It returns ErrDuplicate, ErrStale, ErrHeld, ErrUnknownAuthor, or a
	// *Refusal for what no honest peer sends.
	Check(raw []byte, via Via, region crypto.Region, audience crypto.Audience) (*Checked, error)
	// Admit runs steps 10 to 12 and returns when the batch is durable. What is
	// stored already is no error.
	Admit(ctx context.Context, batch []*Checked) error
	// Read yields stored messages of a chain within r until yield returns
	// false. One whose items were erased comes without them; of a number that
	// was used twice both come, one after the other.
	Read(chain crypto.ChainID, r Range, newestFirst bool, yield func(seq uint64, raw []byte) bool) error
	// AddTrust keeps and applies trust records. Bad ones are refused alone, with a
	// *Refusal that joins why; any other error is this node's own.
	AddTrust(ctx context.Context, records [][]byte) error
	// Muted reports whether a stored envelope, of which s is the place, is one of an
	// author who says, or lately said, too much: who connects is not told of it.
	Muted(s Slot) bool
}

// What Check says of envelopes that are not admitted now.
var (
	ErrDuplicate     = errors.New("envelope is here already")
	ErrStale         = errors.New("envelope is too old for gossip")
	ErrHeld          = errors.New("envelope is from the future and waits")
	ErrUnknownAuthor = errors.New("envelope of an author whose credential is not known yet")
)

// A Refusal says that an envelope, or a trust record, is not taken.
type Refusal struct {
	Reason string // one word, for metrics: frame, header, region, audience, tlp, credential, signature, items, trust, recipient, sealed, author, note
	Err    error
}

func (r *Refusal) Error() string { return fmt.Sprintf("refused (%s): %v", r.Reason, r.Err) }

func (r *Refusal) Unwrap() error { return r.Err }

// provable reports whether whoever sent it must have known better.
// The other reasons depend on clocks and trust records, in which honest nodes
// differ for a while.
func (r *Refusal) provable() bool {
	switch r.Reason {
	case "frame", "header", "region", "audience", "tlp", "signature", "items", "note":
		return true
	case "trust":
		return !early(r.Err) && !errors.Is(r.Err, trust.ErrUnknownType)
	}
	return false
}

// Config of a Mesh. Identity, Signing, Roster, Frontier and Path are required.
type Config struct {
	Identity   [32]byte           // seed of the libp2p Ed25519 key
	Signing    *crypto.PrivateKey // the member's, with which it proves each session
	Listen     []string           // multiaddresses; none = outbound only, a spoke
	Announce   []string           // told to others instead of what is listened on
	Seeds      []string           // multiaddresses that end in /p2p/ID, dialled first
	BookPath   string             // address book; "" = in memory
	Hub        bool               // many others depend on this node: large gossip degree
	Roster     *trust.Roster
	Frontier   *Frontier
	Path       Path
	Notes      NoteHandler           // judges what is announced; nil = this node hears no notes
	Registrar  Registrar             // who may ask to join; nil = nobody
	Now        func() time.Time      // nil = time.Now
	Log        *slog.Logger          // nil = none
	Reached    func(peer string)     // called when a member can be spoken to on a new connection; must not block; nil = none
	Registerer prometheus.Registerer // nil = no metrics
	Transports []libp2p.Option       // tests: instead of QUIC, TCP and WebSocket
}

// A Mesh is one node's place among its peers. It is safe for concurrent use.
type Mesh struct {
	c       Config
	log     *slog.Logger
	host    host.Host // refuses peers outside the roster on every protocol
	gate    *gate
	self    peer.ID
	topics  *topics
	book    *book
	metrics *metrics
	direct  *direct
	spread  *spread
	named   named
	cargo   *cargo
	relay   *relay.Relay // nil unless others can dial this node
	links   *lru.Cache[peer.ID, *link]
	refused *lru.Cache[copied, error]
	redial  chan struct{}

	ending atomic.Bool // it dials nobody any more
	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup
	closed sync.Once

	mu        sync.Mutex
	syncing   map[peer.ID]bool // sync sessions this side began, and whether the peer has answered
	answering map[peer.ID]bool // and those that peers began
	sync      map[peer.ID]syncState
	mine      map[crypto.Audience]position
	held      map[crypto.Audience]position                     // own places that a peer said it holds
	holders   map[crypto.Audience]map[crypto.MemberID]position // the same, by the member that said so
	told      map[peer.ID]telling
	reunited  map[peer.ID]time.Time // when a connection was made anew for the sake of another region's topic
	brought   map[peer.ID]time.Time // when a peer last brought something new
	compared  map[peer.ID]time.Time // when the last session with a peer was begun
	parked    parking
	pulled    map[crypto.MemberID]int64 // bytes of each author today
	day       int64
}

type syncState struct {
	last   int64 // ms
	offset int64 // ms that the peer's clock is ahead
}

// offMax is how far a peer's clock may be off without a word in the log: beyond
// it what the peer says is held or stale.
const offMax = 5 * time.Minute

// off is how far the peer's clock is ahead if that is too far, else 0.
func (s syncState) off() time.Duration {
	if off := time.Duration(s.offset) * time.Millisecond; off.Abs() > offMax {
		return off
	}
	return 0
}

// clocksOff counts the peers whose clock was far off when they were last heard.
func (m *Mesh) clocksOff() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sync {
		if s.off() != 0 {
			n++
		}
	}
	return n
}

// position is the end of one of this node's own chains as a peer holds it.
type position struct {
	epoch uint32
	seq   uint64
	id    crypto.EnvelopeID
}

// Bounds of concurrent work.
const (
	sessionsMax  = 8 // sync sessions this side begins at once
	admitMax     = 64
	admitBytes   = 4 << 20
	syncInterval = 30 * time.Second
)

// New makes the host and listens. Start joins the mesh.
func New(c Config) (*Mesh, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Signing == nil {
		return nil, errors.New("mesh: no member's key to prove sessions with")
	}
	m := &Mesh{
		c: c, log: c.Log, redial: make(chan struct{}, 1),
		syncing: map[peer.ID]bool{}, answering: map[peer.ID]bool{}, sync: map[peer.ID]syncState{},
		told: map[peer.ID]telling{}, reunited: map[peer.ID]time.Time{}, brought: map[peer.ID]time.Time{}, compared: map[peer.ID]time.Time{}, mine: map[crypto.Audience]position{}, held: map[crypto.Audience]position{}, holders: map[crypto.Audience]map[crypto.MemberID]position{}, pulled: map[crypto.MemberID]int64{},
		parked: parking{raws: map[crypto.EnvelopeID]parked{}, asking: map[peer.ID]bool{}},
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	var err error
	if m.links, err = lru.New[peer.ID, *link](linksMax); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	if m.refused, err = lru.New[copied, error](refusedMax); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	if m.cargo, err = newCargo(); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	m.gate, m.topics = newGate(m), newTopics(m)
	if m.metrics, err = newMetrics(m, m.c.Registerer); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	bare, err := newHost(c, m.gate) // connections come from here on
	if err != nil {
		m.metrics.unregister()
		return nil, fmt.Errorf("mesh: %w", err)
	}
	m.host, m.self = gatedHost{bare, m.gate}, bare.ID()
	if err := m.open(); err != nil {
		m.cancel()
		m.metrics.unregister()
		return nil, errors.Join(fmt.Errorf("mesh: %w", err), bare.Close())
	}
	return m, nil
}

func (m *Mesh) open() error {
	var err error
	if m.book, err = openBook(m.c.BookPath); err != nil {
		return err
	}
	if err := m.AddSeeds(m.c.Seeds); err != nil {
		return err
	}
	m.direct = newDirect(m)
	m.spread, err = newSpread(m)
	return err
}

// Start opens the protocols, joins the topics and begins to dial.
func (m *Mesh) Start() error {
	m.gate.listen()
	m.direct.listen()
	m.host.SetStreamHandler(protocolSync, m.handleSync)
	m.host.SetStreamHandler(protocolNamed, m.handleNamed)
	if err := m.openRelay(); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	if err := m.topics.start(); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	ping.NewPingService(m.host) // behind the gate: members only
	m.wait.Go(m.supervise)
	m.wait.Go(m.watchIdentify)
	m.wait.Go(m.syncLoop)
	m.wait.Go(m.spread.follow)
	m.wait.Go(m.spread.carrying)
	return nil
}

// Close leaves the mesh and waits for everything it started.
func (m *Mesh) Close() error {
	var err error
	m.closed.Do(func() {
		m.ending.Store(true)
		time.Sleep(dialsEnd)
		m.mu.Lock() // after this no handler counts itself in any more
		m.cancel()
		m.mu.Unlock()
		if m.relay != nil {
			err = m.relay.Close()
		}
		err = errors.Join(err, m.host.Close(), m.book.save())
		m.wait.Wait()
		m.metrics.unregister()
	})
	return err
}

// dialsEnd is how long a mesh that ends dials nobody before its host is closed. go-libp2p
// 0.51 does not wait for dials, and ends the process if one that has just begun to choose
// addresses meets a closed host (swarm.nonProxyAddr has no transport then).
const dialsEnd = 50 * time.Millisecond

// begin runs a task that Close waits for, unless the mesh has ended.
func (m *Mesh) begin(task func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() == nil {
		m.wait.Go(task)
	}
}

// Publish sends an own envelope, which must be durable, to its audience:
// urgent ones on their own streams as well as by gossip, large ones by
// announcing them.
func (m *Mesh) Publish(ctx context.Context, e *crypto.Envelope) error {
	if e.Header.Audience == crypto.AudienceNamed {
		return errors.New("what is sealed is delivered, not published")
	}
	m.forward([]*Checked{{Envelope: e}}, "")
	if len(e.Raw) > GossipMax {
		return nil
	}
	if t := m.topics.of(scope{e.Header.Region, e.Header.Audience}); t != nil {
		return t.topic.Publish(ctx, e.Raw)
	}
	return fmt.Errorf("no topic for %s of region %s", e.Header.Audience, e.Header.Region)
}

// forward sends on what was just admitted and does not travel by gossip alone.
func (m *Mesh) forward(batch []*Checked, from peer.ID) {
	for _, c := range batch {
		switch e := c.Envelope; {
		case c.Muted:
		case e.Header.Urgent && len(e.Raw) <= UrgentMax && !e.Erased():
			m.direct.push(e, from)
		case len(e.Raw) > GossipMax:
			m.direct.announce(e, from)
		}
	}
}

// PeerID returns this node's peer id.
func (m *Mesh) PeerID() string { return m.self.String() }

// Addrs returns the addresses that others can dial, with the peer id.
func (m *Mesh) Addrs() []string {
	var out []string
	for _, a := range m.host.Addrs() {
		out = append(out, a.String()+"/p2p/"+m.self.String())
	}
	sort.Strings(out)
	return out
}

// A Peer is a member that is connected now and has proved its key.
type Peer struct {
	ID       string
	Member   crypto.MemberID
	Addr     string // multiaddress
	Inbound  bool
	Since    time.Time
	Latency  time.Duration // 0 = not measured yet
	LastSync time.Time     // zero = never
	Offset   time.Duration // how far its clock is ahead of this node's
}

// Peers returns the members that are connected now, by peer id.
func (m *Mesh) Peers() []Peer {
	var out []Peer
	for _, id := range m.host.Network().Peers() {
		credential, known := m.c.Roster.ByPeer(string(id))
		conns := m.gate.heard(id)
		if !known || len(conns) == 0 || m.host.Network().Connectedness(id) != network.Connected { // a circuit is for one word
			continue
		}
		p := Peer{ID: id.String(), Member: credential.Member, Addr: conns[0].RemoteMultiaddr().String(),
			Inbound: conns[0].Stat().Direction == network.DirInbound, Since: conns[0].Stat().Opened,
			Latency: m.host.Peerstore().LatencyEWMA(id)}
		m.mu.Lock()
		if s, ok := m.sync[id]; ok {
			p.LastSync, p.Offset = time.UnixMilli(s.last), time.Duration(s.offset)*time.Millisecond
		}
		m.mu.Unlock()
		out = append(out, p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// Listeners returns how many connected peers are known to listen to every topic
// of this node's region: what it publishes goes straight to them.
func (m *Mesh) Listeners() int {
	least := -1
	for _, t := range m.topics.all() {
		if n := len(t.topic.ListPeers()); t.region == m.c.Roster.Region() && (least < 0 || n < least) {
			least = n
		}
	}
	return max(least, 0)
}

// Mine returns the furthest end of this node's own chain for an audience that
// any peer has said it holds.
func (m *Mesh) Mine(a crypto.Audience) (epoch uint32, seq uint64, id crypto.EnvelopeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.mine[a]
	return p.epoch, p.seq, p.id
}

// Held returns the furthest place in this node's own chain for an audience that
// any peer has said since the start that it holds; never beyond what this node
// holds itself.
func (m *Mesh) Held(a crypto.Audience) (epoch uint32, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.held[a]
	return p.epoch, p.seq
}

// Holders returns the members that have said since the start, on a connection of their
// own, that they hold this node's own chain for an audience up to a place. Who is not
// connected says nothing, so others may hold it too.
func (m *Mesh) Holders(a crypto.Audience, epoch uint32, seq uint64) (out []crypto.MemberID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for member, p := range m.holders[a] {
		if p.epoch > epoch || p.epoch == epoch && p.seq >= seq {
			out = append(out, member)
		}
	}
	return out
}

// Greeted reports whether any peer has said yet what it holds of this node.
func (m *Mesh) Greeted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.sync) > 0
}

func (m *Mesh) now() int64 { return m.c.Now().UnixMilli() }

// connected returns the roster's peers that are connected now and have proved
// their keys.
func (m *Mesh) connected() []peer.ID {
	return slices.DeleteFunc(m.linked(), func(id peer.ID) bool { return len(m.gate.heard(id)) == 0 })
}

// linked returns the roster's peers that are connected now, also those that may
// be somebody else.
func (m *Mesh) linked() []peer.ID {
	var out []peer.ID
	for _, id := range m.host.Network().Peers() {
		if m.gate.member(id) && m.host.Network().Connectedness(id) == network.Connected {
			out = append(out, id)
		}
	}
	return out
}

// mayHear reports whether the credential of a peer lets it take part in an
// audience of a region: the region audience is for the region's own members, the
// community one for those of every region that is mutual with it.
func (m *Mesh) mayHear(id peer.ID, region crypto.Region, a crypto.Audience) bool {
	credential, known := m.c.Roster.ByPeer(string(id))
	charter := m.c.Roster.CharterOf(region)
	if !known || charter == nil || !m.c.Roster.Endorses(region) {
		return false
	}
	switch a {
	case crypto.AudienceRegion:
		return credential.Region == region && charter.Allows(credential.Role, a)
	case crypto.AudienceCommunity:
		return m.c.Roster.Mutual(region, credential.Region)
	}
	return false
}

// regionOf returns the region of a peer, this node's own while it is unknown.
func (m *Mesh) regionOf(id peer.ID) crypto.Region {
	if credential, known := m.c.Roster.ByPeer(string(id)); known {
		return credential.Region
	}
	return m.c.Roster.Region()
}
