package verify

import (
	"errors"
	"fmt"
	"math"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/ledger/tlog"
)

// Limits of a receipt.
const (
	ReceiptSizeMax = tlog.EntryBytesMax + pathMax*(len(crypto.Hash{})+2) + tlog.NoteSizeMax + 64
	pathMax        = 63 // hashes from an entry to the root of a tree below 2^63
)

// A Receipt proves that an entry is in a ledger. Nothing in one from ParseReceipt is
// verified. The field numbers are wire format.
type Receipt struct {
	Entry []byte        `cbor:"1,keyasint"` // 1 to tlog.EntryBytesMax bytes
	Index uint64        `cbor:"2,keyasint"` // of the entry, from 0
	Path  []crypto.Hash `cbor:"3,keyasint,omitempty"`
	Note  []byte        `cbor:"4,keyasint"` // signed checkpoint
}

// Encode returns the receipt's bytes.
func (r *Receipt) Encode() ([]byte, error) {
	raw, err := canon.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode receipt: %w", err)
	}
	if _, err := ParseReceipt(raw); err != nil { // what cannot be read back must not be handed out
		return nil, err
	}
	return raw, nil
}

// ParseReceipt reads a receipt and checks its limits and form, but nothing of what it
// says.
func ParseReceipt(raw []byte) (*Receipt, error) {
	if len(raw) > ReceiptSizeMax {
		return nil, fmt.Errorf("the receipt has more than %d bytes", ReceiptSizeMax)
	}
	r := &Receipt{}
	if err := canon.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("the receipt is damaged: %w", err)
	}
	return r, r.Valid()
}

// Valid checks limits and form, for receipts inside of other formats.
func (r *Receipt) Valid() error {
	switch n := len(r.Entry); {
	case n == 0 || n > tlog.EntryBytesMax:
		return fmt.Errorf("the receipt is damaged: an entry of %d bytes, want 1 to %d", n, tlog.EntryBytesMax)
	case len(r.Path) > pathMax:
		return fmt.Errorf("the receipt is damaged: a path of %d hashes, at most %d", len(r.Path), pathMax)
	case r.Index > math.MaxInt64:
		return errors.New("the receipt is damaged: its index lies beyond 2^63")
	}
	if _, err := r.Checkpoint(); err != nil {
		return fmt.Errorf("the receipt is damaged: %w", err)
	}
	return nil
}

// Checkpoint returns what the receipt's note says, unverified.
func (r *Receipt) Checkpoint() (tlog.Checkpoint, error) {
	n, err := tlog.ParseNote(r.Note)
	if err != nil {
		return tlog.Checkpoint{}, err
	}
	return n.Checkpoint()
}

// Verify returns nil only if the entry is in the policy's ledger under a good
// checkpoint. The cheaper inclusion proof is looked at first. The error wraps one of
// Check or ErrQuorum.
func (r *Receipt) Verify(p *Policy) (*Checked, error) {
	c, err := r.Checkpoint()
	if err != nil {
		return nil, err
	}
	if c.Origin != p.origin {
		return nil, fmt.Errorf("%w: its origin is %q, want %q", ErrOrigin, c.Origin, p.origin)
	}
	if err := tlog.VerifyInclusion(r.Index, c.Size, tlog.LeafHash(r.Entry), r.Path, c.Root); err != nil {
		return nil, fmt.Errorf("the entry is not where the receipt says: %w", err)
	}
	checked, err := p.Check(r.Note)
	if err != nil {
		return nil, err
	}
	return checked, checked.quorate()
}

// quorate returns an error that wraps ErrQuorum unless the checkpoint is good.
func (c *Checked) quorate() error {
	if c.Good {
		return nil
	}
	return fmt.Errorf("%w: %d of %d, and it takes %d", ErrQuorum, len(c.Voters), c.VotersOf, c.Quorum)
}
