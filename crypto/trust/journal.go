package trust

import (
	"bytes"

	"github.com/watchward/watchward/crypto"
)

// An Entry of a journal is a record that a roster has taken in, or has let go of.
type Entry struct {
	Raw  []byte // must not be changed
	Left bool   // it was replaced, or is of a proposal that is decided or was pushed out
}

// KeepJournal makes the roster write down from now on how its records change, so
// that somebody can keep the same on a disk. Those of a region that is forgotten
// are not said to leave: they count again when it comes back.
func (r *Roster) KeepJournal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.journal == nil {
		r.journal = &[]Entry{}
	}
}

// TakeJournal returns what has changed since the last call, in its order: also the
// records that the roster itself has made of proposals. What was only offered, and
// was known or not good, is not in it.
func (r *Roster) TakeJournal() []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.journal == nil {
		return nil
	}
	taken := *r.journal
	*r.journal = nil
	return taken
}

// Passing returns those records of the roster that may leave it again, by being
// replaced or decided.
func (r *Roster) Passing() (out [][]byte) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, g := range r.regions {
		for _, h := range g.records {
			if Kind(h.kind).Passes() {
				out = append(out, h.whole)
			}
		}
	}
	return out
}

// Passes reports whether records of a kind may leave a roster again.
func (k Kind) Passes() bool {
	return k == KindEndorsements || k == KindFork || k == KindProposal || k == KindApproval
}

// noteAdded is called with the lock held, as soon as a record counts: what follows
// from it, as when it is the last approval, is noted behind it.
func (r *Roster) noteAdded(raw []byte) {
	if r.journal != nil {
		*r.journal = append(*r.journal, Entry{Raw: bytes.Clone(raw)})
	}
}

// remove lets go of a record that passes.
func (r *Roster) remove(g *regional, id crypto.Hash) {
	h, ok := g.records[id]
	if !ok {
		return
	}
	delete(g.records, id)
	if r.journal != nil {
		*r.journal = append(*r.journal, Entry{Raw: h.whole, Left: true})
	}
}
