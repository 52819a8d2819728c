package trust

import "bytes"

// Speaks reports whether a credential may speak for its member id here. An id is the
// hash of its member's first key, which proves a first serial by itself; of a later
// one only the region's word says whose it is, and that is good in its own name
// alone. So no region speaks for a member of this one, and where two others say
// different things neither does.
func (r *Roster) Speaks(c *Credential) bool {
	if c.Serial == 1 || c.Region == r.region {
		return true
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for region, g := range r.regions {
		if region == c.Region || !r.mutual(r.region, region) {
			continue
		}
		if o := g.members[c.Member]; o != nil && !bytes.Equal(o.Key, c.Key) {
			return false
		}
	}
	return true
}
