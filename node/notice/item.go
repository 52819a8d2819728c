package notice

import (
	"errors"
	"fmt"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// ErrCritical says that an item is well-formed, but written by a later version
// in a way this one must not act on: store it, relay it, and leave it alone.
var ErrCritical = errors.New("written by a later version: update this node to read it")

const (
	itemMax     = 8192 // bytes: more than a notice with every field at its limit
	ignorableAt = 64   // map keys from here on may be skipped
)

// wire is the item as it is encoded; the keys are in the package comment.
type wire struct {
	Kind       uint64       `cbor:"1,keyasint"`
	Salt       []byte       `cbor:"2,keyasint"`
	Created    int64        `cbor:"3,keyasint"`
	Type       uint64       `cbor:"4,keyasint,omitempty"`
	Value      string       `cbor:"5,keyasint,omitempty"`
	Ref        []byte       `cbor:"6,keyasint,omitempty"`
	FirstSeen  int64        `cbor:"7,keyasint,omitempty"`
	LastSeen   int64        `cbor:"8,keyasint,omitempty"`
	Count      uint64       `cbor:"9,keyasint,omitempty"`
	ValidUntil int64        `cbor:"10,keyasint,omitempty"`
	Context    *wireContext `cbor:"11,keyasint,omitempty"`
	Origin     *wireOrigin  `cbor:"12,keyasint,omitempty"`
	Reason     string       `cbor:"13,keyasint,omitempty"`
	wireParts
}

type wireContext struct {
	Family    string `cbor:"1,keyasint,omitempty"`
	Tool      string `cbor:"2,keyasint,omitempty"`
	Technique string `cbor:"3,keyasint,omitempty"`
	CVE       string `cbor:"4,keyasint,omitempty"`
}

type wireOrigin struct {
	Source string `cbor:"1,keyasint,omitempty"`
	ID     string `cbor:"2,keyasint,omitempty"`
	TLP    uint64 `cbor:"3,keyasint,omitempty"`
}

// Encode returns the item of a notice. It refuses, with a *FieldError, what
// Decode would refuse; what depends on the time is Check's.
func Encode(n *Notice) ([]byte, error) {
	if err := n.validate(); err != nil {
		return nil, err
	}
	return canon.Marshal(n.wire())
}

func (n *Notice) wire() *wire {
	w := &wire{
		Kind: uint64(n.Kind), Salt: n.Salt[:], Created: n.Created,
		FirstSeen: n.FirstSeen, LastSeen: n.LastSeen, Count: n.Count,
		ValidUntil: n.ValidUntil, Reason: n.Reason,
	}
	if n.Indicator != nil {
		w.Type, w.Value = uint64(n.Indicator.Type), n.Indicator.Value
	}
	if n.Ref != nil {
		w.Ref = n.Ref[:]
	}
	if n.Context != nil {
		w.Context = (*wireContext)(n.Context)
	}
	if n.Origin != nil {
		w.Origin = &wireOrigin{Source: n.Origin.Source, ID: n.Origin.ID, TLP: uint64(n.Origin.TLP)}
	}
	if n.Kind.HasPart() {
		w.wireParts = n.wireParts()
	}
	return w
}

// Decode reads one item. It accepts only deterministic CBOR of at most 8 KiB
// with valid fields and a canonical value. Private and special-use addresses
// pass, since the author may have meant them. An unknown kind, indicator type
// or key below 64 gives ErrCritical; any other error means the item is bad. A fault
// of the decoder itself is such an error too: one item must not stop all the nodes
// that hear it, at once and again at each start.
func Decode(item []byte) (*Notice, error) { return guard(decode, item) }

func guard(decode func([]byte) (*Notice, error), item []byte) (n *Notice, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			n, err = nil, fmt.Errorf("decode item: a fault of this version: %v", fault)
		}
	}()
	return decode(item)
}

func decode(item []byte) (*Notice, error) {
	if len(item) > itemMax {
		return nil, fmt.Errorf("decode item: %d bytes: the limit is %d", len(item), itemMax)
	}
	var w wire
	if err := canon.Unmarshal(item, &w); err != nil {
		if err := decodeOpen(item, &w); err != nil {
			return nil, fmt.Errorf("decode item: %w", err)
		}
	}
	n, err := w.notice()
	if err != nil {
		return nil, fmt.Errorf("decode item: %w", err)
	}
	if err := n.validate(); err != nil {
		return nil, fmt.Errorf("decode item: %w", err)
	}
	return n, nil
}

// decodeOpen reads an item that the strict way refused: one with keys unknown
// to this version, or a bad one. It takes the unknown keys out and decodes the
// rest strictly. The common item pays nothing for it.
func decodeOpen(item []byte, w *wire) error {
	if err := canon.UnmarshalOpen(item, &struct{}{}); err != nil { // unknown values must be deterministic too
		return err
	}
	var fields map[uint64]canon.Raw
	if err := canon.Unmarshal(item, &fields); err != nil {
		return err
	}
	// A later kind may use the known keys in its own way: look at it first.
	var kind uint64
	if err := canon.Unmarshal(fields[1], &kind); err != nil {
		return fmt.Errorf("key 1: %w", err)
	}
	if !knownKind(kind) {
		return fmt.Errorf("kind %d: %w", kind, ErrCritical)
	}
	if err := stripUnknown(fields, 21); err != nil {
		return err
	}
	if err := stripDocuments(fields); err != nil {
		return err
	}
	for key, last := range map[uint64]uint64{11: 4, 12: 3, 14: 1, 15: 6, 16: 1, 17: 4, 18: 5, 19: 8, 20: 8, 21: 1} {
		if err := stripInner(fields, key, last); err != nil {
			return fmt.Errorf("key %d: %w", key, err)
		}
	}
	known, err := canon.Marshal(fields)
	if err != nil {
		return err
	}
	*w = wire{}
	return canon.Unmarshal(known, w)
}

func knownKind(k uint64) bool { return k <= uint64(kindLast) && Kind(k).known() }

// stripDocuments does for each document of an advisory what stripUnknown does at the top.
func stripDocuments(fields map[uint64]canon.Raw) error {
	raw, ok := fields[20]
	if !ok {
		return nil
	}
	var advisory map[uint64]canon.Raw
	if err := canon.Unmarshal(raw, &advisory); err != nil {
		return err
	}
	if raw, ok = advisory[8]; !ok {
		return nil
	}
	var documents []map[uint64]canon.Raw
	if err := canon.Unmarshal(raw, &documents); err != nil {
		return err
	}
	for i := range documents {
		if err := stripUnknown(documents[i], 5); err != nil {
			return fmt.Errorf("document %d: %w", i, err)
		}
	}
	var err error
	if advisory[8], err = canon.Marshal(documents); err == nil {
		fields[20], err = canon.Marshal(advisory)
	}
	return err
}

// stripInner does for the map under key what stripUnknown does at the top.
func stripInner(fields map[uint64]canon.Raw, key, last uint64) error {
	raw, ok := fields[key]
	if !ok {
		return nil
	}
	var inner map[uint64]canon.Raw
	if err := canon.Unmarshal(raw, &inner); err != nil {
		return err
	}
	if err := stripUnknown(inner, last); err != nil {
		return err
	}
	known, err := canon.Marshal(inner)
	fields[key] = known
	return err
}

// stripUnknown removes the ignorable keys and refuses critical ones beyond the
// last this version knows.
func stripUnknown(fields map[uint64]canon.Raw, last uint64) error {
	for key := range fields {
		switch {
		case key >= ignorableAt:
			delete(fields, key)
		case key == 0 || key > last:
			return fmt.Errorf("key %d: %w", key, ErrCritical)
		}
	}
	return nil
}

// notice converts the decoded fields without judging their content.
func (w *wire) notice() (*Notice, error) {
	if !knownKind(w.Kind) {
		return nil, fmt.Errorf("kind %d: %w", w.Kind, ErrCritical)
	}
	// One allocation for what a sighting always has.
	room := &struct {
		notice    Notice
		indicator Indicator
	}{}
	n := &room.notice
	*n = Notice{
		Kind: Kind(w.Kind), Created: w.Created, FirstSeen: w.FirstSeen, LastSeen: w.LastSeen,
		Count: w.Count, ValidUntil: w.ValidUntil, Reason: w.Reason,
	}
	if copy(n.Salt[:], w.Salt) != len(n.Salt) || len(w.Salt) != len(n.Salt) {
		return nil, fieldErrorf("salt", "give 16", "it has %d bytes", len(w.Salt))
	}
	if w.Type > uint64(typeLast) {
		return nil, fmt.Errorf("indicator type %d: %w", w.Type, ErrCritical)
	}
	if w.Type != 0 || w.Value != "" {
		room.indicator = Indicator{Type: Type(w.Type), Value: w.Value}
		n.Indicator = &room.indicator
	}
	if w.Ref != nil {
		if len(w.Ref) != len(crypto.ItemID{}) {
			return nil, fieldErrorf("ref", "give 20", "it has %d bytes", len(w.Ref))
		}
		id := crypto.ItemID(w.Ref)
		n.Ref = &id
	}
	n.Context = (*Context)(w.Context)
	if w.Origin != nil {
		if w.Origin.TLP > uint64(TLPRed) {
			return nil, fieldErrorf("origin.tlp", "choose "+tlpChoices, "%d is not a marking", w.Origin.TLP)
		}
		n.Origin = &Origin{Source: w.Origin.Source, ID: w.Origin.ID, TLP: TLP(w.Origin.TLP)}
	}
	if w.wireParts != (wireParts{}) {
		if err := w.wireParts.into(n); err != nil {
			return nil, err
		}
	}
	return n, nil
}
