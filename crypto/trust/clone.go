package trust

import (
	"maps"
	"slices"

	"github.com/watchward/watchward/crypto"
)

// Clone returns a roster that holds the same records and goes its own way from
// here. It verifies nothing again and shares what never changes, parsed keys
// included.
func (r *Roster) Clone() *Roster {
	out := NewRoster(r.region)
	r.mu.RLock()
	defer r.mu.RUnlock()
	out.keys = r.keys
	clear(out.regions)
	for region, g := range r.regions {
		out.regions[region] = g.clone()
	}
	for peer, g := range r.peers {
		out.peers[peer] = out.regions[g.region]
	}
	return out
}

func (g *regional) clone() *regional {
	c := *g
	c.records, c.charters, c.lists = maps.Clone(g.records), maps.Clone(g.charters), maps.Clone(g.lists)
	c.batches, c.forks, c.counts = maps.Clone(g.batches), maps.Clone(g.forks), maps.Clone(g.counts)
	c.credentials, c.revocations, c.chain = slices.Clone(g.credentials), slices.Clone(g.revocations), slices.Clone(g.chain)
	c.serials, c.members, c.peers = maps.Clone(g.serials), maps.Clone(g.members), maps.Clone(g.peers)
	c.cuts, c.keysRevoked = make(map[serialID][]Cut, len(g.cuts)), maps.Clone(g.keysRevoked)
	for at, cuts := range g.cuts { // lowered in place
		c.cuts[at] = slices.Clone(cuts)
	}
	c.proposals = make(map[crypto.Hash]*Proposal, len(g.proposals))
	for id, p := range g.proposals { // approvals are added to them
		own := *p
		own.approvals = maps.Clone(p.approvals)
		c.proposals[id] = &own
	}
	return &c
}
