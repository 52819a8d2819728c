package sim

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
)

// A Memory is an accept order whose store is in memory: it verifies what the
// node's own does, as far as the mesh can tell, and charges the same work. Of a
// number that was used twice it keeps both envelopes. It outlives its mesh, as a
// disk outlives a process.
type Memory struct {
	roster   *trust.Roster
	frontier *mesh.Frontier
	costs    Costs
	cpu      *cpu
	clock    func() time.Time
	ignore   func(*crypto.Envelope) bool // a censor's choice; nil = nothing
	muted    func(crypto.MemberID) bool  // nil = nobody

	mu      sync.Mutex
	chains  map[crypto.ChainID]map[uint64]*kept
	arrived map[crypto.EnvelopeID]time.Time
	via     map[crypto.EnvelopeID]mesh.Via
	refused map[string]int // by reason
	forks   int
}

// kept is what is held under one number: with a second one the lower id first.
type kept struct{ first, second *crypto.Envelope }

// clockWindow is that of the node's accept order.
const clockWindow = 5 * time.Minute

func newMemory(roster *trust.Roster, costs Costs, c *cpu, clock func() time.Time) *Memory {
	return &Memory{
		roster: roster, frontier: mesh.NewFrontier(), costs: costs, cpu: c, clock: clock,
		chains: map[crypto.ChainID]map[uint64]*kept{}, arrived: map[crypto.EnvelopeID]time.Time{},
		via: map[crypto.EnvelopeID]mesh.Via{}, refused: map[string]int{},
	}
}

func (p *Memory) refuse(reason string, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused[reason]++
	return &mesh.Refusal{Reason: reason, Err: err}
}

// Check implements mesh.Path.
func (p *Memory) Check(raw []byte, via mesh.Via, region crypto.Region, audience crypto.Audience) (*mesh.Checked, error) {
	p.cpu.work(p.costs.Check)
	e, err := crypto.ParseEnvelope(raw)
	if err != nil {
		reason := "frame"
		if errors.Is(err, crypto.ErrHeader) {
			reason = "header"
		}
		return nil, p.refuse(reason, err)
	}
	h := &e.Header
	if region != (crypto.Region{}) && (h.Region != region || h.Audience != audience) || !p.roster.Endorses(h.Region) {
		return nil, p.refuse("region", errors.New("not of this topic"))
	}
	author, known := p.roster.Member(h.Region, h.Author, h.Serial)
	if !known {
		return nil, mesh.ErrUnknownAuthor
	}
	now := p.clock()
	old := h.Time < now.Add(-clockWindow).UnixMilli()
	switch {
	case p.ignore != nil && p.ignore(e), via == mesh.ViaGossip && old && !h.Urgent:
		return nil, mesh.ErrStale
	case via != mesh.ViaGossip && p.Has(e):
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
	if p.Has(e) {
		return nil, mesh.ErrDuplicate
	}
	if h.Time > now.Add(clockWindow).UnixMilli() && !h.Urgent {
		return nil, mesh.ErrHeld
	}
	p.mu.Lock()
	if _, twice := p.via[e.ID]; !twice {
		p.via[e.ID] = via
	}
	p.mu.Unlock()
	p.cpu.work(p.costs.Relay)
	return &mesh.Checked{Envelope: e, Items: items, Received: now.UnixMilli(), Muted: p.mutes(h.Author)}, nil
}

// Admit implements mesh.Path.
func (p *Memory) Admit(_ context.Context, batch []*mesh.Checked) error {
	work := time.Duration(len(batch)) * p.costs.Admit
	for _, c := range batch {
		work += time.Duration(len(c.Items)) * p.costs.Item
	}
	p.cpu.work(work)
	time.Sleep(p.costs.Commit)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range batch {
		c.Mismatch = !p.fits(c.Envelope)
		p.keep(c.Envelope)
	}
	return nil
}

// fits is step 10 of the accept order.
func (p *Memory) fits(e *crypto.Envelope) bool {
	h, chain := &e.Header, p.chains[e.Header.Chain()]
	before, after := chain[h.Seq-1], chain[h.Seq+1]
	follows := func(next, prev *crypto.Envelope) bool {
		return next != nil && prev != nil && next.Header.Prev == prev.ID && next.Header.Time >= prev.Header.Time
	}
	return (h.Seq == 1 || before == nil || follows(e, before.first) || follows(e, before.second)) &&
		(after == nil || follows(after.first, e) || follows(after.second, e))
}

func (p *Memory) keep(e *crypto.Envelope) {
	h, chain := &e.Header, e.Header.Chain()
	if p.chains[chain] == nil {
		p.chains[chain] = map[uint64]*kept{}
	}
	slot := func(e *crypto.Envelope) mesh.Slot {
		h := &e.Header
		return mesh.Slot{Chain: chain, Seq: h.Seq, ID: e.ID, Time: h.Time, Floor: h.Floor, Urgent: h.Urgent}
	}
	holding, _ := p.frontier.Get(chain)
	now := p.clock().UnixMilli()
	switch k := p.chains[chain][h.Seq]; {
	case k == nil:
		p.chains[chain][h.Seq] = &kept{first: e}
		p.frontier.Put(holding.With(slot(e), now))
	case k.first.ID == e.ID || k.second != nil && k.second.ID == e.ID:
		return
	default: // the two lowest ids stay
		all := []*crypto.Envelope{k.first, e}
		if k.second != nil {
			all = append(all, k.second)
		}
		slices.SortFunc(all, func(a, b *crypto.Envelope) int { return bytes.Compare(a.ID[:], b.ID[:]) })
		if all[0] != k.first {
			holding = holding.With(slot(all[0]), now)
		}
		p.chains[chain][h.Seq] = &kept{all[0], all[1]}
		p.frontier.Put(holding.WithFork(mesh.Fork{Seq: h.Seq, ID: all[1].ID}))
		p.forks++
	}
	p.arrived[e.ID] = time.Now()
}

// Read implements mesh.Path.
func (p *Memory) Read(chain crypto.ChainID, r mesh.Range, newestFirst bool, yield func(uint64, []byte) bool) error {
	p.mu.Lock()
	var seqs []uint64
	found := map[uint64]*kept{}
	for seq, k := range p.chains[chain] {
		if r.From <= seq && seq <= r.To {
			seqs, found[seq] = append(seqs, seq), k
		}
	}
	p.mu.Unlock()
	slices.Sort(seqs)
	if newestFirst {
		slices.Reverse(seqs)
	}
	for _, seq := range seqs {
		k := found[seq]
		if !yield(seq, k.first.Raw) || k.second != nil && !yield(seq, k.second.Raw) {
			return nil
		}
	}
	return nil
}

// AddTrust implements mesh.Path.
func (p *Memory) AddTrust(_ context.Context, records [][]byte) error {
	p.cpu.work(time.Duration(len(records)) * p.costs.Check)
	time.Sleep(p.costs.Commit)
	if _, err := p.roster.AddAll(records); err != nil {
		return &mesh.Refusal{Reason: "trust", Err: err}
	}
	return nil
}

// Muted implements mesh.Path.
func (p *Memory) Muted(s mesh.Slot) bool { return p.mutes(s.Chain.Author) }

func (p *Memory) mutes(author crypto.MemberID) bool { return p.muted != nil && p.muted(author) }

// Roster is what the member knows of its region.
func (p *Memory) Roster() *trust.Roster { return p.roster }

// Has reports whether an envelope is held.
func (p *Memory) Has(e *crypto.Envelope) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.chains[e.Header.Chain()][e.Header.Seq]
	return k != nil && (k.first.ID == e.ID || k.second != nil && k.second.ID == e.ID)
}

// Arrived returns when an envelope became visible.
func (p *Memory) Arrived(id crypto.EnvelopeID) (at time.Time, came bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, came = p.arrived[id]
	return at, came
}

// IDs returns the ids of everything that is held.
func (p *Memory) IDs() map[crypto.EnvelopeID]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[crypto.EnvelopeID]bool, len(p.arrived))
	for _, chain := range p.chains {
		for _, k := range chain {
			out[k.first.ID] = true
			if k.second != nil {
				out[k.second.ID] = true
			}
		}
	}
	return out
}

// Refused returns how often envelopes were refused for a reason.
func (p *Memory) Refused(reason string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused[reason]
}
