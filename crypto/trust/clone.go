package trust

import "maps"

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
	c.records, c.batches, c.forks = maps.Clone(g.records), maps.Clone(g.batches), maps.Clone(g.forks)
	c.serials, c.members, c.peers = maps.Clone(g.serials), maps.Clone(g.members), maps.Clone(g.peers)
	return &c
}
