package mesh_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const quicAny = "/ip4/127.0.0.1/udp/0/quic-v1"

// patience is how long a test waits for what must happen: less than a round of sync, which
// would hide what does not come at once.
const patience = 25 * time.Second

// memory is an accept order whose store is in memory. It verifies like the real
// one, as far as the mesh can tell.
type memory struct {
	roster   *trust.Roster
	frontier *mesh.Frontier

	// deaf makes Check ignore everything that comes one way.
	deaf map[mesh.Via]bool
	// takes is what AddTrust looks at; nil = everything.
	takes func(raw []byte) bool
	// admitting is called at each Admit; nil = nothing.
	admitting func()
	// unknown is called where Check finds that it does not know an author; nil = nothing.
	unknown func()
	// strangers makes Check refuse, and so count, what unknown members say.
	strangers bool
	// muted are members whose words Check wants kept and not relayed.
	muted map[crypto.MemberID]bool

	mu     sync.Mutex
	stored map[crypto.ChainID]map[uint64][]byte
	via    map[crypto.EnvelopeID]mesh.Via // of what was accepted
	said   map[string]int                 // refusals by reason
	wake   chan struct{}                  // closed and replaced at every change
}

func newMemory(roster *trust.Roster) *memory {
	return &memory{
		roster: roster, frontier: mesh.NewFrontier(), deaf: map[mesh.Via]bool{}, muted: map[crypto.MemberID]bool{},
		stored: map[crypto.ChainID]map[uint64][]byte{}, via: map[crypto.EnvelopeID]mesh.Via{},
		said: map[string]int{}, wake: make(chan struct{}),
	}
}

func (p *memory) changed() {
	close(p.wake)
	p.wake = make(chan struct{})
}

func (p *memory) refuse(reason string, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said[reason]++
	p.changed()
	return &mesh.Refusal{Reason: reason, Err: err}
}

// Check implements mesh.Path.
func (p *memory) Check(raw []byte, via mesh.Via, region crypto.Region, audience crypto.Audience) (*mesh.Checked, error) {
	if p.deaf[via] {
		return nil, mesh.ErrStale
	}
	e, err := crypto.ParseEnvelope(raw)
	if err != nil {
		return nil, p.refuse("frame", err)
	}
	h := &e.Header
	if region != (crypto.Region{}) && (h.Region != region || h.Audience != audience) || !p.roster.Endorses(h.Region) {
		return nil, p.refuse("region", errors.New("not of this topic"))
	}
	author, known := p.roster.Member(h.Region, h.Author, h.Serial)
	if !known && p.strangers {
		return nil, p.refuse("credential", errors.New("unknown"))
	}
	if !known {
		if p.unknown != nil {
			p.unknown()
		}
		return nil, mesh.ErrUnknownAuthor
	}
	if (via == mesh.ViaNamed) != (h.Audience == crypto.AudienceNamed) {
		return nil, p.refuse("audience", errors.New("not this way"))
	}
	if p.has(e) {
		return nil, mesh.ErrDuplicate
	}
	key, err := p.roster.Key(author)
	if err != nil {
		return nil, p.refuse("signature", err)
	}
	if err := e.Verify(key); err != nil {
		return nil, p.refuse("signature", err)
	}
	items, err := e.Split()
	if err != nil {
		return nil, p.refuse("items", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, twice := p.via[e.ID]; !twice {
		p.via[e.ID] = via
	}
	return &mesh.Checked{Envelope: e, Items: items, Received: time.Now().UnixMilli(), Muted: p.muted[h.Author]}, nil
}

// Admit implements mesh.Path.
func (p *memory) Admit(_ context.Context, batch []*mesh.Checked) error {
	if p.admitting != nil {
		p.admitting()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range batch {
		h := &c.Envelope.Header
		chain := h.Chain()
		if p.stored[chain] == nil {
			p.stored[chain] = map[uint64][]byte{}
		}
		if _, here := p.stored[chain][slot(c.Envelope)]; here {
			continue
		}
		p.stored[chain][slot(c.Envelope)] = c.Envelope.Raw
		if h.Audience == crypto.AudienceNamed {
			continue
		}
		holding, _ := p.frontier.Get(chain)
		p.frontier.Put(holding.With(mesh.Slot{
			Chain: chain, Seq: h.Seq, ID: c.Envelope.ID, Time: h.Time, Floor: h.Floor, Urgent: h.Urgent,
		}, time.Now().UnixMilli()))
	}
	p.changed()
	return nil
}

// Read implements mesh.Path.
func (p *memory) Read(chain crypto.ChainID, r mesh.Range, newestFirst bool, yield func(uint64, []byte) bool) error {
	p.mu.Lock()
	var seqs []uint64
	raws := map[uint64][]byte{}
	for seq, raw := range p.stored[chain] {
		if r.From <= seq && seq <= r.To {
			seqs, raws[seq] = append(seqs, seq), raw
		}
	}
	p.mu.Unlock()
	slices.Sort(seqs)
	if newestFirst {
		slices.Reverse(seqs)
	}
	for _, seq := range seqs {
		if !yield(seq, raws[seq]) {
			return nil
		}
	}
	return nil
}

// AddTrust implements mesh.Path.
func (p *memory) AddTrust(_ context.Context, records [][]byte) error {
	if p.takes != nil {
		records = slices.DeleteFunc(slices.Clone(records), func(raw []byte) bool { return !p.takes(raw) })
	}
	if _, err := p.roster.AddAll(records); err != nil {
		return &mesh.Refusal{Reason: "trust", Err: err}
	}
	return nil
}

// Muted implements mesh.Path.
func (p *memory) Muted(s mesh.Slot) bool { return p.muted[s.Chain.Author] }

func (p *memory) has(e *crypto.Envelope) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, here := p.stored[e.Header.Chain()][slot(e)]
	return here
}

// slot is an envelope's place in its chain; what is named has none, and is known
// by its id.
func slot(e *crypto.Envelope) uint64 {
	if e.Header.Audience == crypto.AudienceNamed {
		return binary.BigEndian.Uint64(e.ID[:])
	}
	return e.Header.Seq
}

func (p *memory) came(e *crypto.Envelope) mesh.Via {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.via[e.ID]
}

func (p *memory) refused(reason string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said[reason]
}

// A node is one member's mesh over a memory.
type node struct {
	*mesh.Mesh
	*memory
	member *testkit.Member
	addrs  []string // while it ran
	last   map[crypto.Audience]*crypto.Envelope
}

// start runs the mesh of a region's member, which listens on loopback and knows
// the whole roster unless change says otherwise.
func start(t *testing.T, r *testkit.Region, member int, change func(*mesh.Config)) *node {
	t.Helper()
	m := r.Members[member]
	c := mesh.Config{Identity: m.PeerSeed, Signing: m.Signing, Listen: []string{quicAny}, Roster: r.Roster(t)}
	if change != nil {
		change(&c)
	}
	store, given := c.Path.(*memory)
	if !given {
		store = newMemory(c.Roster)
	}
	if c.Log == nil && testing.Verbose() {
		c.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", m.Credential.Name)
	}
	c.Path, c.Frontier, c.Roster = store, store.frontier, store.roster
	x, err := mesh.New(c)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Mesh: x, memory: store, member: m, last: map[crypto.Audience]*crypto.Envelope{}}
	t.Cleanup(func() { n.stop(t) })
	if err := x.Start(); err != nil {
		t.Fatal(err)
	}
	n.addrs = x.Addrs()
	return n
}

func (n *node) stop(t *testing.T) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Errorf("close %s: %v", n.member.Credential.Name, err)
	}
}

// sign makes the node's next envelope and stores it, without telling anybody.
func (n *node) sign(t *testing.T, header crypto.Header, items ...[]byte) *crypto.Envelope {
	t.Helper()
	if header.Time == 0 {
		header.Time = time.Now().UnixMilli()
	}
	if header.Audience == crypto.AudienceLocal {
		header.Audience = crypto.AudienceRegion
	}
	e := n.member.Envelope(t, header, n.last[header.Audience], items...)
	n.last[header.Audience] = e
	if err := n.Admit(t.Context(), []*mesh.Checked{{Envelope: e, Items: items}}); err != nil {
		t.Fatal(err)
	}
	return e
}

// say signs an envelope and publishes it.
func (n *node) say(t *testing.T, header crypto.Header, items ...[]byte) *crypto.Envelope {
	t.Helper()
	e := n.sign(t, header, items...)
	if err := n.Publish(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	return e
}

func seed(nodes ...*node) func(*mesh.Config) {
	return func(c *mesh.Config) {
		for _, n := range nodes {
			c.Seeds = append(c.Seeds, n.addrs...)
		}
	}
}

// spoke makes a node outbound only.
func spoke(hubs ...*node) func(*mesh.Config) {
	return func(c *mesh.Config) {
		seed(hubs...)(c)
		c.Listen = nil
	}
}

// await waits until condition holds.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("after %s: not %s", patience, what)
		}
	}
}

// awaitPeers waits until each node has at least n peers.
func awaitPeers(t *testing.T, n int, nodes ...*node) {
	t.Helper()
	for _, x := range nodes {
		await(t, fmt.Sprintf("%d peers of %s", n, x.member.Credential.Name), func() bool { return len(x.Peers()) >= n })
	}
}

// awaitGossip waits until a word of from reaches all of to by gossip: the
// topics are joined then.
func awaitGossip(t *testing.T, from *node, to ...*node) {
	t.Helper()
	for _, x := range to {
		await(t, "gossip to "+x.member.Credential.Name, func() bool {
			e := from.say(t, crypto.Header{}, []byte("are you there?"))
			deadline := time.NewTimer(300 * time.Millisecond)
			defer deadline.Stop()
			for !x.has(e) {
				x.mu.Lock()
				wake := x.wake
				x.mu.Unlock()
				select {
				case <-wake:
				case <-deadline.C:
					return false
				}
			}
			return x.came(e) == mesh.ViaGossip
		})
	}
}

func awaitAll(t *testing.T, e *crypto.Envelope, nodes ...*node) {
	t.Helper()
	for _, x := range nodes {
		await(t, "the envelope at "+x.member.Credential.Name, func() bool { return x.has(e) })
	}
}

func now() int64 { return time.Now().UnixMilli() }
