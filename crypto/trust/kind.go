package trust

import (
	"bytes"

	"github.com/watchward/watchward/crypto"
)

// A Kind says what a record is about. The numbers are wire format.
type Kind uint8

// The kinds of records.
const (
	KindCharter      Kind = 1
	KindCredential   Kind = 2
	KindRevocation   Kind = 3
	KindEndorsements Kind = 4
	KindFork         Kind = 5
	KindProposal     Kind = 6
	KindApproval     Kind = 7
)

// Audience returns who may see records of a kind: what is decided is for every
// region that hears the record's own, what is still being decided for members of
// that region alone. It reports false for kinds that this version does not know.
func (k Kind) Audience() (a crypto.Audience, known bool) {
	switch k {
	case KindCharter, KindCredential, KindRevocation, KindEndorsements, KindFork:
		return crypto.AudienceCommunity, true
	case KindProposal, KindApproval:
		return crypto.AudienceRegion, true
	}
	return 0, false
}

// Undecided reports whether records of a kind belong to an act that still waits for
// signatures.
func (k Kind) Undecided() bool { return k == KindProposal || k == KindApproval }

// Pressing reports whether a record of a kind goes before others: it says who is
// not to be believed any more, or who decides.
func (k Kind) Pressing() bool {
	return k == KindCharter || k == KindRevocation || k == KindFork
}

// KindOf returns the kind that the first bytes of a record name, without looking
// at the rest. It reports false for what does not begin like a record; an
// envelope does not.
func KindOf(raw []byte) (Kind, bool) {
	// A map of two (a2): key 1 with a number below 24, key 2.
	if len(raw) < 4 || !bytes.Equal(raw[:2], []byte{0xa2, 1}) || raw[2] > 23 || raw[3] != 2 {
		return 0, false
	}
	return Kind(raw[2]), true
}

// A Record is one that a roster holds.
type Record struct {
	Kind   Kind
	Region crypto.Region // that it speaks of
	Raw    []byte        // must not be changed
}

// Find returns a record by its id.
func (r *Roster) Find(id crypto.Hash) (Record, bool) {
	r.mu.RLock()
	var found Record
	for _, g := range r.regions {
		if h, ok := g.records[id]; ok {
			found = Record{Kind: Kind(h.kind), Region: g.region}
			break
		}
	}
	r.mu.RUnlock()
	raw, ok := r.Record(id)
	found.Raw = raw
	return found, ok && found.Kind != 0
}
