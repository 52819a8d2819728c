package verify

import (
	"errors"
	"fmt"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/ledger/tlog"
)

// Limits of an equivocation.
const (
	EquivocationSizeMax = 2*tlog.NoteSizeMax + proofMax*(len(crypto.Hash{})+2) + 64
	proofMax            = 1 + 2*pathMax
)

// ErrNoEquivocation says that two checkpoints do not prove that one signer told two
// stories.
var ErrNoEquivocation = errors.New("this does not prove that a ledger told two stories")

// An Equivocation is the portable proof that a member signed two checkpoints of which
// no ledger can have both. The field numbers are wire format.
type Equivocation struct {
	A []byte `cbor:"1,keyasint"` // signed checkpoint, not the larger
	B []byte `cbor:"2,keyasint"` // another
	// Proof is empty for equal sizes. Else its first hash is the root of the first
	// entries of B's tree, as many as A has, and the others are the consistency proof
	// (RFC 6962 §2.1.2) which shows that.
	Proof []crypto.Hash `cbor:"3,keyasint,omitempty"`
}

// NewEquivocation orders two signed checkpoints by size. For different sizes, prefix is
// the root at the smaller size in the tree of the larger, and path the consistency
// proof between these two sizes in it; for equal ones they are not looked at. It does
// not verify the result.
func NewEquivocation(a, b []byte, prefix crypto.Hash, path []crypto.Hash) (*Equivocation, error) {
	ca, err := checkpointOf(a)
	if err != nil {
		return nil, err
	}
	cb, err := checkpointOf(b)
	if err != nil {
		return nil, err
	}
	if ca.Size > cb.Size {
		a, b = b, a
	}
	e := &Equivocation{A: a, B: b}
	if ca.Size != cb.Size {
		e.Proof = append([]crypto.Hash{prefix}, path...)
	}
	return e, nil
}

func checkpointOf(note []byte) (tlog.Checkpoint, error) {
	n, err := tlog.ParseNote(note)
	if err != nil {
		return tlog.Checkpoint{}, err
	}
	return n.Checkpoint()
}

// Encode returns the proof's bytes.
func (e *Equivocation) Encode() ([]byte, error) {
	raw, err := canon.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode equivocation: %w", err)
	}
	if _, err := ParseEquivocation(raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// ParseEquivocation reads a proof and checks its limits and form, but nothing of what
// it says.
func ParseEquivocation(raw []byte) (*Equivocation, error) {
	if len(raw) > EquivocationSizeMax {
		return nil, fmt.Errorf("the proof has more than %d bytes", EquivocationSizeMax)
	}
	e := &Equivocation{}
	if err := canon.Unmarshal(raw, e); err != nil {
		return nil, fmt.Errorf("the proof is damaged: %w", err)
	}
	if len(e.Proof) > proofMax {
		return nil, fmt.Errorf("the proof is damaged: %d hashes, at most %d", len(e.Proof), proofMax)
	}
	for _, note := range [][]byte{e.A, e.B} {
		if _, err := checkpointOf(note); err != nil {
			return nil, fmt.Errorf("the proof is damaged: %w", err)
		}
	}
	return e, nil
}

// Verify returns who signed both, by member, if the two contradict each other. A
// credential that was revoked meanwhile still convicts. The error wraps
// ErrNoEquivocation, or one of Check.
func (e *Equivocation) Verify(p *Policy) ([]Signature, error) {
	var at [2]tlog.Checkpoint
	var by [2][]signedBy
	for i, note := range [][]byte{e.A, e.B} {
		n, err := tlog.ParseNote(note)
		if err != nil {
			return nil, err
		}
		if at[i], err = n.Checkpoint(); err != nil {
			return nil, err
		}
		if at[i].Origin != p.origin {
			return nil, fmt.Errorf("%w: its origin is %q, want %q", ErrOrigin, at[i].Origin, p.origin)
		}
		if by[i], err = p.signed(n); err != nil {
			return nil, err
		}
	}
	if err := e.contradicts(at[0], at[1]); err != nil {
		return nil, err
	}
	var both []Signature
	for _, s := range by[1] {
		id := s.by.Member
		in := func(o signedBy) bool { return o.by.Member == id }
		if slices.ContainsFunc(by[0], in) && !slices.ContainsFunc(both, func(o Signature) bool { return o.Member == id }) {
			both = append(both, Signature{id, s.by.Name, s.at})
		}
	}
	if len(both) == 0 {
		return nil, fmt.Errorf("%w: nobody signed both", ErrNoEquivocation)
	}
	return both, nil
}

// contradicts returns nil only if no tree has both roots.
func (e *Equivocation) contradicts(a, b tlog.Checkpoint) error {
	switch {
	case a.Size > b.Size:
		return fmt.Errorf("%w: the larger checkpoint comes first", ErrNoEquivocation)
	case a.Size == b.Size && len(e.Proof) > 0:
		return fmt.Errorf("%w: hashes for two checkpoints of one size", ErrNoEquivocation)
	case a.Size == b.Size && a.Root != b.Root:
		return nil
	case a.Size == b.Size || a.Size == 0:
		return fmt.Errorf("%w: the checkpoints agree", ErrNoEquivocation)
	case len(e.Proof) == 0:
		return fmt.Errorf("%w: nothing shows what the larger tree began with", ErrNoEquivocation)
	}
	prefix := e.Proof[0]
	if err := tlog.VerifyConsistency(a.Size, b.Size, prefix, b.Root, e.Proof[1:]); err != nil {
		return fmt.Errorf("%w: %w", ErrNoEquivocation, err)
	}
	if prefix == a.Root {
		return fmt.Errorf("%w: the smaller checkpoint is the beginning of the larger", ErrNoEquivocation)
	}
	return nil
}
