package trust

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"

	"github.com/watchward/watchward/crypto"
)

// IDs returns the ids of all records in an order in which they can be added.
func (r *Roster) IDs() []crypto.Hash { return r.For(r.region).IDs() }

// Root returns a hash over the ids of all records: equal rosters have equal
// roots.
func (r *Roster) Root() crypto.Hash { return r.For(r.region).Root() }

// Record returns the bytes of a record, for another roster's Add.
func (r *Roster) Record(id crypto.Hash) ([]byte, bool) { return r.For(r.region).Record(id) }

// A View is the part of a roster that members of one region are shown: for
// members of the roster's own region all of it, for others the records of both
// regions and of those that both endorse mutually, without proposals. Two that agree on these have
// the same root. It is live, and safe for concurrent use.
type View struct {
	r    *Roster
	peer crypto.Region
}

// For returns what members of a region are shown.
func (r *Roster) For(region crypto.Region) View { return View{r, region} }

// IDs returns the ids of the view's records in an order in which they can be
// added: charters by number, endorsements, credentials, revocations, fork proofs,
// proposals, approvals; those of other regions last.
func (v View) IDs() []crypto.Hash {
	v.r.mu.RLock()
	defer v.r.mu.RUnlock()
	return v.ids()
}

func (v View) ids() []crypto.Hash {
	// To members of the own region, which learn from it whom it endorses, that comes
	// first; what two regions show each other has one order on both sides.
	return v.r.ordered(v.peer == v.r.region, func(g *regional, _ crypto.Hash, h held) bool { return v.shows(g.region) && v.has(h) })
}

// ordered returns the ids of those records that want selects, each behind those
// that it stands on: charters by number, and with ownFirst other regions' behind the
// list that names them. The caller holds the lock.
func (r *Roster) ordered(ownFirst bool, want func(g *regional, id crypto.Hash, h held) bool) []crypto.Hash {
	type entry struct {
		rank   int
		number uint64 // of a charter
		id     crypto.Hash
	}
	var all []entry
	for _, g := range r.regions {
		for id, h := range g.records {
			if !want(g, id, h) {
				continue
			}
			rank := slices.Index(order[:], h.kind)
			if ownFirst && g.region != r.region {
				rank += len(order)
			}
			all = append(all, entry{rank, h.number, id})
		}
	}
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.number, b.number), bytes.Compare(a.id[:], b.id[:]))
	})
	out := make([]crypto.Hash, len(all))
	for i, e := range all {
		out[i] = e.id
	}
	return out
}

// order puts each kind behind those that it stands on.
var order = [...]uint8{typeCharter, typeEndorsements, typeCredential, typeRevocation, typeFork, typeProposal, typeApproval}

// Decided returns the ids of what enough coordinators of a region have signed, or
// what proves itself, charters apart (see Charters): endorsements, credentials,
// revocations and fork proofs.
func (r *Roster) Decided(region crypto.Region) []crypto.Hash {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.ordered(false, func(g *regional, _ crypto.Hash, h held) bool {
		return g.region == region && h.kind != typeCharter && !Kind(h.kind).Undecided()
	})
}

func (v View) shows(region crypto.Region) bool {
	own := v.r.region
	return v.peer == own || region == own || region == v.peer || v.r.mutual(region, own) && v.r.mutual(region, v.peer)
}

// Root returns a hash over the ids of the view's records.
func (v View) Root() crypto.Hash {
	v.r.mu.Lock()
	defer v.r.mu.Unlock()
	root, ok := v.r.roots[v.peer]
	if !ok {
		h := sha256.New()
		h.Write(crypto.Context("roster", crypto.Region{}))
		for _, id := range v.ids() {
			h.Write(id[:])
		}
		root = crypto.Hash(h.Sum(nil))
		v.r.roots[v.peer] = root
	}
	return root
}

// Record returns the bytes of a record of the view.
func (v View) Record(id crypto.Hash) ([]byte, bool) {
	v.r.mu.RLock()
	var h held
	ok := false
	for _, g := range v.r.regions {
		if h, ok = g.records[id]; ok {
			ok = v.shows(g.region) && v.has(h)
			break
		}
	}
	v.r.mu.RUnlock()
	if !ok {
		return nil, false
	}
	if h.whole != nil {
		return h.whole, true
	}
	raw, err := encodeRecord(typeCredential, credentialRecord{
		Credential: h.credential, Index: h.index, Path: h.path, Batch: h.batch.raw, Signatures: h.batch.signatures,
	})
	return raw, err == nil
}

// has reports whether the view has a record of a region that it shows.
func (v View) has(h held) bool {
	return v.peer == v.r.region || h.kind != typeProposal && h.kind != typeApproval
}
