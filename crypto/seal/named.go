package seal

import (
	"encoding/binary"
	"fmt"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
)

// NamedMax is the most members that one named envelope is sealed for.
const NamedMax = 32

// purposeNamed labels the boxes of named envelopes.
const purposeNamed = "named"

// NewNamed seals items for members and signs the box as the one item of an
// envelope of the named audience. It fills in the header's Version, Audience,
// Count, Size and Root; Epoch, Seq, Prev and Floor must be 0. The author is no
// recipient: its items stay with it in clear.
func NewNamed(header crypto.Header, items [][]byte, to []Recipient, key *crypto.PrivateKey) (*crypto.Envelope, error) {
	if len(to) > NamedMax {
		return nil, fmt.Errorf("seal for %d members: at most %d", len(to), NamedMax)
	}
	if len(items) == 0 || len(items) > crypto.ItemsMax {
		return nil, fmt.Errorf("seal %d items: want 1 to %d", len(items), crypto.ItemsMax)
	}
	header.Version, header.Audience = crypto.Version, crypto.AudienceNamed
	label, err := namedLabel(&header)
	if err != nil {
		return nil, err
	}
	content, err := canon.Marshal(items)
	if err != nil {
		return nil, fmt.Errorf("encode what is sealed: %w", err)
	}
	box, err := Seal(label, to, content)
	if err != nil {
		return nil, err
	}
	return crypto.NewEnvelope(header, [][]byte{box}, key)
}

// OpenNamed returns the items of a named envelope whose signature has been
// verified. The error wraps crypto.ErrItems if the box is not the one that was
// signed, and else is one of Open's or says that the content is none.
func OpenNamed(e *crypto.Envelope, member crypto.MemberID, seed [keyfile.SeedSize]byte) ([][]byte, error) {
	box, err := namedBox(e)
	if err != nil {
		return nil, err
	}
	label, err := namedLabel(&e.Header)
	if err != nil {
		return nil, err
	}
	content, err := Open(label, member, seed, box)
	if err != nil {
		return nil, err
	}
	var items [][]byte
	if err := canon.Unmarshal(content, &items); err != nil {
		return nil, fmt.Errorf("%w: what was sealed is no list of items: %w", crypto.ErrItems, err)
	}
	if len(items) == 0 || len(items) > crypto.ItemsMax {
		return nil, fmt.Errorf("%w: %d are sealed, want 1 to %d", crypto.ErrItems, len(items), crypto.ItemsMax)
	}
	return items, nil
}

// NamedRecipients returns whom a named envelope is sealed for, by its author's
// word: the signature covers the list.
func NamedRecipients(e *crypto.Envelope) ([]crypto.MemberID, error) {
	box, err := namedBox(e)
	if err != nil {
		return nil, err
	}
	if len(box) < headSize {
		return nil, fmt.Errorf("%w: the box breaks off", ErrDamaged)
	}
	count := int(binary.BigEndian.Uint16(box[1:headSize]))
	if count == 0 || count > NamedMax || len(box) < headSize+count*stanzaSize {
		return nil, fmt.Errorf("%w: %d recipients", ErrDamaged, count)
	}
	out := make([]crypto.MemberID, count)
	for i := range out {
		out[i] = crypto.MemberID(box[headSize+i*stanzaSize:])
	}
	return out, nil
}

// namedBox returns the one item of a named envelope, after checking it against
// the signed header.
func namedBox(e *crypto.Envelope) ([]byte, error) {
	if e.Header.Audience != crypto.AudienceNamed || e.Header.Count != 1 || e.Erased() {
		return nil, fmt.Errorf("%w: a named envelope has one box", crypto.ErrItems)
	}
	items, err := e.Split()
	if err != nil {
		return nil, err
	}
	return items[0], nil
}

// namedLabel binds a box to all that its header says, but for what is computed
// from the box itself: size and root. So a member that was sent a box cannot
// sign it as its own, nor set it behind another time, expiry or marking.
func namedLabel(h *crypto.Header) (Label, error) {
	bound := *h
	bound.Count, bound.Size, bound.Root = 0, 0, crypto.Hash{}
	raw, err := canon.Marshal(bound)
	if err != nil {
		return Label{}, fmt.Errorf("encode header: %w", err)
	}
	return Label{Purpose: purposeNamed, Region: h.Region, TLP: h.TLP, Bound: raw}, nil
}
