package trust

import (
	"slices"

	"github.com/watchward/watchward/crypto"
)

// Proof returns what somebody who knows a region's name alone needs to judge the
// words of one serial for an audience: the region's charters, the serial's
// credential, and what is proven against it, in an order in which it can be added
// to the roster of the region. It is empty if the serial is unknown. A fork among
// words for the region alone is not told to the community. Of others, such as those who
// sign the region's ledger, it adds the latest credential and what revokes that.
func (r *Roster) Proof(region crypto.Region, member crypto.MemberID, serial uint32, audience crypto.Audience, others ...crypto.MemberID) [][]byte {
	r.mu.RLock()
	g := r.regions[region]
	var author *Credential
	var fork *Fork
	credentials, revoking := map[crypto.Hash]bool{}, map[crypto.Hash]bool{}
	if g != nil {
		author = g.serials[serialID{member, serial}]
	}
	if author != nil {
		fork = g.forks[forkID{serialID{member, serial}, author.KeyID()}]
		of := []*Credential{author}
		for _, other := range others {
			if c := g.members[other]; c != nil {
				of = append(of, c)
			}
		}
		for _, c := range of {
			credentials[c.record] = true
			for _, rev := range g.revocations {
				if rev.Member == c.Member && rev.Serial == c.Serial || rev.Key == c.KeyID() {
					revoking[rev.id] = true
				}
			}
		}
	}
	r.mu.RUnlock()
	if author == nil {
		return nil
	}
	return r.records(region, func(kind uint8, id crypto.Hash) bool {
		switch kind {
		case typeCharter:
			return true
		case typeCredential:
			return credentials[id]
		case typeRevocation:
			return revoking[id]
		case typeFork:
			return fork != nil && id == fork.id && (audience != crypto.AudienceCommunity || fork.Chain.Audience == audience)
		}
		return false
	})
}

// Serials returns a member's credentials that count, one a serial, the latest first,
// revoked or not. It looks at each serial of the region.
func (r *Roster) Serials(region crypto.Region, member crypto.MemberID) (out []*Credential) {
	r.mu.RLock()
	if g := r.regions[region]; g != nil {
		for at, c := range g.serials {
			if at.member == member {
				out = append(out, c)
			}
		}
	}
	r.mu.RUnlock()
	slices.SortFunc(out, func(a, b *Credential) int { return compareCredentials(b, a) })
	return out
}

// Standing returns the records that say what a region is: its charters, its
// endorsements and whom it revoked; with members also who belongs to it and what is proven against
// them. They can be added in their order.
func (r *Roster) Standing(region crypto.Region, members bool) [][]byte {
	return r.records(region, func(kind uint8, _ crypto.Hash) bool {
		switch kind {
		case typeCharter, typeEndorsements, typeRevocation:
			return true
		case typeCredential, typeFork:
			return members
		}
		return false
	})
}

// records returns those of a region's records that want selects, each kind behind
// those that it stands on.
func (r *Roster) records(region crypto.Region, want func(kind uint8, id crypto.Hash) bool) (out [][]byte) {
	r.mu.RLock()
	chosen := r.ordered(false, func(g *regional, id crypto.Hash, h held) bool { return g.region == region && want(h.kind, id) })
	r.mu.RUnlock()
	for _, id := range chosen {
		if raw, ok := r.Record(id); ok { // else it was replaced in this moment
			out = append(out, raw)
		}
	}
	return out
}
