package crypto

import (
	"errors"
	"fmt"
	"time"

	"github.com/watchward/watchward/crypto/canon"
)

// Limits of an envelope.
const (
	EnvelopeSizeMax = 256 << 10            // bytes of a whole message
	ItemsMax        = 1024                 // items of one envelope
	HeaderSizeMax   = 512                  // bytes of an encoded header
	LifetimeMax     = 400 * 24 * time.Hour // from time to expiry
)

// Reasons for which ParseEnvelope and Split refuse an envelope.
var (
	ErrFrame  = errors.New("envelope frame")  // sizes, trailing bytes
	ErrHeader = errors.New("envelope header") // encoding, version, limits
	ErrItems  = errors.New("envelope items")  // count, size or root differ
)

// A Header is what an author signs. Times are the author's clock in
// milliseconds since 1970. The field numbers are wire format and closed: a
// header with another field is another version.
type Header struct {
	Version  uint8      `cbor:"1,keyasint"`
	Region   Region     `cbor:"2,keyasint"`
	Author   MemberID   `cbor:"3,keyasint"`
	Serial   uint32     `cbor:"4,keyasint"` // of the author's credential
	Audience Audience   `cbor:"5,keyasint"`
	Epoch    uint32     `cbor:"6,keyasint"` // from 1; 0 only when sealed
	Seq      uint64     `cbor:"7,keyasint"` // from 1 in each epoch; 0 only when sealed
	Prev     EnvelopeID `cbor:"8,keyasint"` // id of seq-1; the first of an epoch links the last of the one before
	Floor    uint64     `cbor:"9,keyasint"` // lowest seq the author still needs
	Time     int64      `cbor:"10,keyasint"`
	Expiry   int64      `cbor:"11,keyasint"`
	TLP      uint8      `cbor:"12,keyasint"`
	Exercise bool       `cbor:"13,keyasint"`
	Urgent   bool       `cbor:"14,keyasint"`
	Count    uint16     `cbor:"15,keyasint"` // items
	Size     uint32     `cbor:"16,keyasint"` // bytes of the encoded items
	Root     Hash       `cbor:"17,keyasint"` // RFC 6962 root over the items
}

// A ChainID names one author's numbered and linked envelopes for one audience.
type ChainID struct {
	Region   Region   `cbor:"1,keyasint"`
	Author   MemberID `cbor:"2,keyasint"`
	Serial   uint32   `cbor:"3,keyasint"`
	Audience Audience `cbor:"4,keyasint"`
	Epoch    uint32   `cbor:"5,keyasint"`
}

// Chain returns the chain the header belongs to.
func (h *Header) Chain() ChainID {
	return ChainID{Region: h.Region, Author: h.Author, Serial: h.Serial, Audience: h.Audience, Epoch: h.Epoch}
}

// An Envelope is one message, cut into its parts. All slices are parts of Raw
// and must not be changed: what was signed is what is sent and stored.
type Envelope struct {
	Header    Header
	ID        EnvelopeID
	Raw       []byte // header ‖ signature ‖ items
	Signed    []byte // the encoded header
	Signature []byte
	Items     []byte // a sequence of CBOR byte strings; empty when erased
}

// Erased reports whether the items are gone, after expiry or by erasure. The
// header and its signature still hold the chain together.
func (e *Envelope) Erased() bool { return len(e.Items) == 0 && e.Header.Size != 0 }

// Bare returns the message without its items.
func (e *Envelope) Bare() []byte { return e.Raw[:len(e.Raw)-len(e.Items)] }

// NewEnvelope signs items with key under header, whose Version, Count, Size
// and Root it fills in.
func NewEnvelope(header Header, items [][]byte, key *PrivateKey) (*Envelope, error) {
	encoded, leaves, err := encodeItems(items)
	if err != nil {
		return nil, err
	}
	tree, err := NewTree(leaves)
	if err != nil {
		return nil, err
	}
	root, err := tree.Root()
	if err != nil {
		return nil, err
	}
	header.Version, header.Count, header.Size, header.Root = Version, uint16(len(items)), uint32(len(encoded)), root
	signed, err := canon.Marshal(header)
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	signature, err := key.Sign(Context("envelope", header.Region), signed)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, 0, len(signed)+len(signature)+len(encoded))
	raw = append(append(append(raw, signed...), signature...), encoded...)
	return ParseEnvelope(raw)
}

func encodeItems(items [][]byte) (encoded []byte, leaves []Hash, err error) {
	if len(items) == 0 || len(items) > ItemsMax {
		return nil, nil, fmt.Errorf("%w: %d, want 1 to %d", ErrItems, len(items), ItemsMax)
	}
	leaves = make([]Hash, len(items))
	for i, item := range items {
		if item == nil {
			item = []byte{} // nil would become CBOR's null
		}
		b, err := canon.Marshal(item)
		if err != nil {
			return nil, nil, fmt.Errorf("encode item %d: %w", i, err)
		}
		encoded = append(encoded, b...)
		leaves[i] = LeafHash(item)
	}
	return encoded, leaves, nil
}

// ParseEnvelope does the first two steps of accepting an envelope: the frame
// is within its limit, and the header is canonical, of a known version and
// within its limits. Nothing in the result is verified yet. The envelope keeps
// raw.
func ParseEnvelope(raw []byte) (*Envelope, error) {
	if len(raw) > EnvelopeSizeMax {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrFrame, len(raw), EnvelopeSizeMax)
	}
	e := &Envelope{Raw: raw}
	rest, err := canon.UnmarshalFirst(raw[:min(len(raw), HeaderSizeMax)], &e.Header)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	size := min(len(raw), HeaderSizeMax) - len(rest)
	if err := e.Header.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	if len(raw) < size+SignatureSize {
		return nil, fmt.Errorf("%w: %d bytes after the header, a signature has %d", ErrFrame, len(raw)-size, SignatureSize)
	}
	e.Signed, e.Signature, e.Items = raw[:size:size], raw[size:size+SignatureSize:size+SignatureSize], raw[size+SignatureSize:]
	if n := len(e.Items); n != 0 && uint32(n) != e.Header.Size {
		return nil, fmt.Errorf("%w: %d bytes of items, the header says %d", ErrFrame, n, e.Header.Size)
	}
	e.ID = EnvelopeID(SumContext("envelope-id", e.Header.Region, e.Signed))
	return e, nil
}

func (h *Header) check() error {
	switch {
	case h.Version != Version:
		return fmt.Errorf("version %d, this build knows %d", h.Version, Version)
	case h.Audience == AudienceLocal || h.Audience > AudienceCommunity:
		return fmt.Errorf("audience %d does not travel", h.Audience)
	case h.TLP < 1 || h.TLP > 5:
		return fmt.Errorf("TLP %d is not 1 to 5", h.TLP)
	case h.Time < 0 || h.Expiry <= h.Time || h.Expiry-h.Time > LifetimeMax.Milliseconds():
		return fmt.Errorf("expiry is not within %d days after time", int(LifetimeMax.Hours()/24))
	case h.Count == 0 || h.Count > ItemsMax:
		return fmt.Errorf("%d items, want 1 to %d", h.Count, ItemsMax)
	case h.Size == 0 || h.Size > EnvelopeSizeMax:
		return fmt.Errorf("%d bytes of items, want 1 to %d", h.Size, EnvelopeSizeMax)
	}
	if h.Audience == AudienceNamed {
		if h.Epoch != 0 || h.Seq != 0 || h.Floor != 0 || h.Prev != (EnvelopeID{}) {
			return errors.New("a sealed envelope belongs to no chain: epoch, seq, prev and floor must be 0")
		}
		return nil
	}
	switch {
	case h.Epoch == 0 || h.Seq == 0:
		return errors.New("epoch and seq start at 1")
	case h.Floor == 0 || h.Floor > h.Seq:
		return fmt.Errorf("floor %d is not within 1 to seq %d", h.Floor, h.Seq)
	case h.Epoch == 1 && h.Seq == 1 && h.Prev != (EnvelopeID{}):
		return errors.New("the first envelope of a chain has no prev")
	case h.Seq > 1 && h.Prev == (EnvelopeID{}):
		return errors.New("prev is missing")
	}
	return nil
}

// Verify checks both halves of the signature with the author's key.
func (e *Envelope) Verify(key *PublicKey) error {
	return key.Verify(Context("envelope", e.Header.Region), e.Signed, e.Signature)
}

// Split checks that count, size and root match the items and returns the
// items. It must not be called on an erased envelope.
func (e *Envelope) Split() ([][]byte, error) {
	items := make([][]byte, 0, e.Header.Count)
	leaves := make([]Hash, 0, e.Header.Count)
	for rest := e.Items; len(rest) > 0; {
		if len(items) == int(e.Header.Count) {
			return nil, fmt.Errorf("%w: more than the header's %d", ErrItems, e.Header.Count)
		}
		item, after, err := cutItem(rest)
		if err != nil {
			return nil, fmt.Errorf("%w: item %d: %w", ErrItems, len(items), err)
		}
		items, leaves, rest = append(items, item), append(leaves, LeafHash(item)), after
	}
	if len(items) != int(e.Header.Count) {
		return nil, fmt.Errorf("%w: %d, the header says %d", ErrItems, len(items), e.Header.Count)
	}
	tree, err := NewTree(leaves)
	if err != nil {
		return nil, err
	}
	root, err := tree.Root()
	if err != nil {
		return nil, err
	}
	if root != e.Header.Root {
		return nil, fmt.Errorf("%w: root differs", ErrItems)
	}
	return items, nil
}

// Prove returns the item at index with the audit path that CheckProof takes.
func (e *Envelope) Prove(index int) (item []byte, path []Hash, err error) {
	items, err := e.Split()
	if err != nil {
		return nil, nil, err
	}
	if index < 0 || index >= len(items) {
		return nil, nil, fmt.Errorf("item %d of %d", index, len(items))
	}
	leaves := make([]Hash, len(items))
	for i, it := range items {
		leaves[i] = LeafHash(it)
	}
	tree, err := NewTree(leaves)
	if err != nil {
		return nil, nil, err
	}
	path, err = tree.Prove(index)
	return items[index], path, err
}

// cutItem takes one canonical CBOR byte string (major type 2) off the front,
// without copying it.
func cutItem(b []byte) (item, rest []byte, err error) {
	if len(b) == 0 || b[0]>>5 != 2 {
		return nil, nil, errors.New("not a byte string")
	}
	head, n := 1, uint64(b[0]&0x1f)
	if n >= 24 {
		if n > 26 { // more than 4 bytes of length, or an indefinite one
			return nil, nil, errors.New("bad length")
		}
		width, least := 1<<(n-24), [...]uint64{24, 1 << 8, 1 << 16}[n-24]
		if len(b) < 1+width {
			return nil, nil, errors.New("bad length")
		}
		n = 0
		for _, c := range b[1 : 1+width] {
			n = n<<8 | uint64(c)
		}
		if n < least {
			return nil, nil, canon.ErrNotCanonical
		}
		head += width
	}
	if n > uint64(len(b)-head) {
		return nil, nil, errors.New("cut short")
	}
	end := head + int(n)
	return b[head:end:end], b[end:], nil
}
