package trust

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// A Fork says that an author signed two envelopes with one number in one
// chain. After a restored backup that is an accident, so it warns and revokes
// nobody.
type Fork struct {
	Chain crypto.ChainID
	Seq   uint64
	IDs   [2]crypto.EnvelopeID // the lower first
	id    crypto.Hash          // of the record
}

// RecordID returns the id of the record that proves the fork.
func (f *Fork) RecordID() crypto.Hash { return f.id }

// forkRecord carries both headers with their signatures.
type forkRecord struct {
	Low  []byte `cbor:"1,keyasint"` // header ‖ signature, the one with the lower id
	High []byte `cbor:"2,keyasint"`
}

// NewForkProof returns the record that proves a fork, from the two messages
// without their items, in any order.
func NewForkProof(a, b []byte) ([]byte, error) {
	x, err := crypto.ParseEnvelope(a)
	if err != nil {
		return nil, fmt.Errorf("fork proof: %w", err)
	}
	y, err := crypto.ParseEnvelope(b)
	if err != nil {
		return nil, fmt.Errorf("fork proof: %w", err)
	}
	if bytes.Compare(x.ID[:], y.ID[:]) > 0 {
		x, y = y, x
	}
	if _, err := checkFork(x, y); err != nil {
		return nil, err
	}
	return encodeRecord(typeFork, forkRecord{Low: x.Bare(), High: y.Bare()})
}

// checkFork checks all but the signatures.
func checkFork(low, high *crypto.Envelope) (*Fork, error) {
	f := &Fork{Chain: low.Header.Chain(), Seq: low.Header.Seq, IDs: [2]crypto.EnvelopeID{low.ID, high.ID}}
	switch {
	case f.Seq == 0:
		return nil, errors.New("fork proof: sealed envelopes belong to no chain")
	case high.Header.Chain() != f.Chain || high.Header.Seq != f.Seq:
		return nil, errors.New("fork proof: the envelopes have different places")
	case bytes.Compare(low.ID[:], high.ID[:]) >= 0:
		return nil, errors.New("fork proof: the ids are not two in ascending order")
	}
	f.id = recordID(f.Chain.Region, typeFork, low.Signed, high.Signed)
	return f, nil
}

// A forkID is the key under which one proof is kept.
type forkID struct {
	serialID
	key crypto.MemberID // hash of the key that signed
}

// addFork keeps one proof for each key, that with the lowest id: rosters agree
// whichever they saw first, and an author who forks a thousand times costs no
// more than one who forked once. A credential that counts no longer proves as
// well, since which count may change with the next charter.
func (r *Roster) addFork(raw, payload []byte) (bool, error) {
	var rec forkRecord
	if err := canon.Unmarshal(payload, &rec); err != nil {
		return false, fmt.Errorf("fork proof: %w", err)
	}
	low, err := crypto.ParseEnvelope(rec.Low)
	if err != nil {
		return false, fmt.Errorf("fork proof: %w", err)
	}
	high, err := crypto.ParseEnvelope(rec.High)
	if err != nil {
		return false, fmt.Errorf("fork proof: %w", err)
	}
	if len(low.Items)+len(high.Items) > 0 {
		return false, errors.New("fork proof: it carries items")
	}
	f, err := checkFork(low, high)
	if err != nil {
		return false, err
	}
	g, _ := r.of(f.Chain.Region)
	if g == nil {
		return false, fmt.Errorf("fork proof of %s: %w, which %s does not endorse", f.Chain.Region, ErrRegion, r.region)
	}
	at := serialID{f.Chain.Author, f.Chain.Serial}
	authors := r.holders(g, at)
	unproven := slices.DeleteFunc(slices.Clone(authors), func(c *Credential) bool {
		known := r.fork(g, forkID{at, c.KeyID()})
		return known != nil && compareHashes(known.id, f.id) <= 0
	})
	if len(authors) > 0 && len(unproven) == 0 {
		return false, nil
	}
	author, err := r.forked(unproven, low, high)
	switch {
	case err != nil && at.serial > 1: // whose other key may still come
		return false, fmt.Errorf("fork proof: %w", errors.Join(ErrAuthorMissing, err))
	case err != nil:
		return false, fmt.Errorf("fork proof: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	by := forkID{at, author.KeyID()}
	known := g.forks[by]
	if r.regions[g.region] != g || known != nil && compareHashes(known.id, f.id) <= 0 {
		return false, nil
	}
	if known != nil {
		r.remove(g, known.id)
	}
	r.noteAdded(raw)
	g.forks[by] = f
	g.records[f.id] = held{kind: typeFork, whole: bytes.Clone(raw)}
	r.noteChange()
	return true, nil
}

// holders returns a credential for each key that a serial has had, whether it
// counts or not.
func (r *Roster) holders(g *regional, at serialID) (out []*Credential) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, c := range g.credentials {
		if c.Member == at.member && c.Serial == at.serial && !slices.ContainsFunc(out, func(o *Credential) bool { return bytes.Equal(o.Key, c.Key) }) {
			out = append(out, c)
		}
	}
	return out
}

// forked returns whose key signed both.
func (r *Roster) forked(authors []*Credential, low, high *crypto.Envelope) (*Credential, error) {
	missing := ErrAuthorMissing
	for _, author := range authors {
		key, err := r.Key(author)
		if err == nil {
			err = errors.Join(low.Verify(key), high.Verify(key))
		}
		if err == nil {
			return author, nil
		}
		missing = err
	}
	return nil, missing
}

func (r *Roster) fork(g *regional, by forkID) *Fork {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return g.forks[by]
}

// Forks returns the proof that is kept of each serial that forked under the key
// that it has now, in this region and in those that it endorses, in no particular
// order.
func (r *Roster) Forks() []Fork {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []Fork
	for _, g := range r.regions {
		for by, f := range g.forks {
			if c := g.serials[by.serialID]; c != nil && c.KeyID() == by.key {
				out = append(out, *f)
			}
		}
	}
	return out
}
