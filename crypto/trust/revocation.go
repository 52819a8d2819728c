package trust

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// CutsMax is how many chains a revocation names.
const CutsMax = 128

// A Revocation ends a member's serial. It names a cut in each of its chains, not
// a time, since a thief can write any time: what the cut is linked to stays, all
// else of the serial counts no longer. It is never undone; the way back is a new
// serial. The field numbers are wire format.
type Revocation struct {
	Version uint8           `cbor:"1,keyasint"`
	Region  crypto.Region   `cbor:"2,keyasint"`
	Charter crypto.Hash     `cbor:"3,keyasint"` // under whose coordinators and threshold
	Member  crypto.MemberID `cbor:"4,keyasint"`
	Serial  uint32          `cbor:"5,keyasint"`
	Key     crypto.MemberID `cbor:"6,keyasint"` // Credential.KeyID: the key counts under no other serial either
	Time    int64           `cbor:"7,keyasint"` // ms since 1970
	Cuts    []Cut           `cbor:"8,keyasint"` // up to CutsMax, sorted; of chains that are not listed nothing stays

	id crypto.Hash // of the record
}

// A Cut is the last envelope of a chain that counts.
type Cut struct {
	Audience crypto.Audience   `cbor:"1,keyasint"`
	Epoch    uint32            `cbor:"2,keyasint"`
	Seq      uint64            `cbor:"3,keyasint"`
	ID       crypto.EnvelopeID `cbor:"4,keyasint"`
}

type revocationRecord struct {
	Revocation []byte      `cbor:"1,keyasint"`
	Signatures []signature `cbor:"2,keyasint"`
}

// Revoking returns the statement that revokes the serial of a credential, under
// a charter. now is in ms since 1970.
func Revoking(charter *Charter, c *Credential, cuts []Cut, now int64) (Statement, error) {
	r := Revocation{
		Version: Version, Region: charter.Region(), Charter: charter.Hash(), Member: c.Member, Serial: c.Serial, Key: c.KeyID(),
		Time: now, Cuts: slices.Clone(cuts),
	}
	if c.Region != r.Region {
		return Statement{}, fmt.Errorf("revoke %q: %w", c.Name, ErrRegion)
	}
	slices.SortFunc(r.Cuts, compareCuts)
	if err := r.check(); err != nil {
		return Statement{}, err
	}
	raw, err := canon.Marshal(r)
	if err != nil {
		return Statement{}, fmt.Errorf("encode revocation: %w", err)
	}
	return Statement{Type: typeRevocation, Body: raw}, nil
}

func parseRevocation(raw []byte) (*Revocation, error) {
	r := &Revocation{}
	if err := canon.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("revocation: %w", err)
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Revocation) check() error {
	switch {
	case r.Version != Version:
		return fmt.Errorf("revocation: version %d, this build knows %d", r.Version, Version)
	case r.Serial == 0:
		return errors.New("revocation: serials start at 1")
	case r.Serial == 1 && r.Key != r.Member:
		return errors.New("revocation: the member id is not the hash of the first key")
	case r.Time < 0:
		return errors.New("revocation: signed before 1970")
	case len(r.Cuts) > CutsMax:
		return fmt.Errorf("revocation: %d cuts, at most %d", len(r.Cuts), CutsMax)
	case !ascending(r.Cuts, compareCuts):
		return errors.New("revocation: cuts are not sorted by distinct chains")
	}
	for _, c := range r.Cuts {
		if c.Audience != crypto.AudienceRegion && c.Audience != crypto.AudienceCommunity || c.Epoch == 0 || c.Seq == 0 {
			return errors.New("revocation: a cut names no place in a chain")
		}
	}
	return nil
}

func compareCuts(a, b Cut) int {
	return cmp.Or(cmp.Compare(a.Audience, b.Audience), cmp.Compare(a.Epoch, b.Epoch))
}

func revocationContext(region crypto.Region) []byte { return crypto.Context("revocation", region) }

// addRevocation takes a revocation by the quorum of any charter that is proven, in
// the chain or not. Neither distrust of its signers lifts it nor a fork of the
// chain, which who holds enough old keys can make: a revocation is never undone.
func (r *Roster) addRevocation(raw, payload []byte) (bool, error) {
	var rec revocationRecord
	if err := canon.Unmarshal(payload, &rec); err != nil {
		return false, fmt.Errorf("revocation record: %w", err)
	}
	rev, err := parseRevocation(rec.Revocation)
	if err != nil {
		return false, err
	}
	id := recordID(rev.Region, typeRevocation, rec.Revocation, nil)
	rev.id = id
	g, charter := r.under(rev.Region, rev.Charter)
	switch {
	case g == nil:
		return false, fmt.Errorf("revocation of %s: %w, which %s does not endorse", rev.Region, ErrRegion, r.region)
	case charter == nil:
		return false, fmt.Errorf("revocation: %w", ErrCharterMissing)
	case r.has(g, id):
		return false, nil
	}
	if err := checkSignatures(rec.Signatures, []quorum{charter.quorum()}, revocationContext(rev.Region), rec.Revocation); err != nil {
		return false, fmt.Errorf("revocation: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := g.records[id]; known || r.regions[rev.Region] != g {
		return false, nil
	}
	r.noteAdded(raw)
	g.records[id] = held{kind: typeRevocation, whole: bytes.Clone(raw)}
	g.revocations = append(g.revocations, rev)
	g.cut(rev)
	r.decided(g)
	r.noteChange()
	return true, nil
}

// cut enters a revocation. Of several for a serial the lowest cut of each chain
// counts, so that their order never matters.
func (g *regional) cut(rev *Revocation) {
	at := serialID{rev.Member, rev.Serial}
	g.keysRevoked[rev.Key] = true
	before, revoked := g.cuts[at]
	if !revoked {
		g.cuts[at] = slices.Clone(rev.Cuts)
		return
	}
	g.cuts[at] = slices.DeleteFunc(slices.Clone(before), func(c Cut) bool {
		_, listed := slices.BinarySearchFunc(rev.Cuts, c, compareCuts)
		return !listed
	})
	for i, c := range g.cuts[at] {
		j, _ := slices.BinarySearchFunc(rev.Cuts, c, compareCuts)
		if d := rev.Cuts[j]; d.Seq < c.Seq || d.Seq == c.Seq && bytes.Compare(d.ID[:], c.ID[:]) < 0 {
			g.cuts[at][i] = d
		}
	}
}

// Revoked reports whether the serial of a credential is revoked, and where its
// chains are cut: sorted, those that are missing have nothing that counts.
func (r *Roster) Revoked(c *Credential) ([]Cut, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g := r.regions[c.Region]
	if g == nil {
		return nil, false
	}
	return slices.Clone(g.cuts[serialID{c.Member, c.Serial}]), g.revoked(c)
}

func (g *regional) revoked(c *Credential) bool {
	if len(g.cuts) == 0 {
		return false
	}
	_, serial := g.cuts[serialID{c.Member, c.Serial}]
	return serial || g.keysRevoked[c.KeyID()]
}

// RevokedPeer returns a record that proves that the keys behind a libp2p peer id,
// given as its bytes, are revoked; nil if they are not, or nobody has them. It is
// what such a member is told, whom nobody speaks with any more.
func (r *Roster) RevokedPeer(peer string) []byte {
	r.mu.RLock()
	var id crypto.Hash
	for _, region := range r.sorted() {
		g := r.regions[region]
		c := g.peers[peer]
		if c == nil || !g.revoked(c) {
			continue
		}
		for _, rev := range g.revocations {
			if rev.Member == c.Member && rev.Serial == c.Serial || rev.Key == c.KeyID() {
				id = rev.id
			}
		}
	}
	r.mu.RUnlock()
	raw, _ := r.Record(id)
	return raw
}

// Revocations returns the revocations of a region, in no particular order. They are shared and must not be changed.
func (r *Roster) Revocations(region crypto.Region) []*Revocation {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g := r.regions[region]
	if g == nil {
		return nil
	}
	return slices.Clone(g.revocations)
}

// CutAt returns the cut of one chain among those that Revoked returned, zero if
// nothing of it counts.
func CutAt(cuts []Cut, audience crypto.Audience, epoch uint32) Cut {
	i, found := slices.BinarySearchFunc(cuts, Cut{Audience: audience, Epoch: epoch}, compareCuts)
	if !found {
		return Cut{}
	}
	return cuts[i]
}
