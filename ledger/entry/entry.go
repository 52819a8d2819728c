// Package entry says what an entry of a region's ledger states: a type and an id,
// nothing else, so that the ledger tells nobody who spoke when.
package entry

import (
	"errors"
	"fmt"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// A Type says of what an entry holds the id.
type Type uint8

// The types. Their numbers are wire format.
const (
	Envelope   Type = 1 // its id
	Record     Type = 2 // a trust record: its id
	Checkpoint Type = 3 // of another region's ledger: SHA-256 of its text, without signatures
	Charter    Type = 4 // who orders the ledger from here on: the charter's hash
	Link       Type = 5 // the first entry of a later epoch: SHA-256 of the text of the last checkpoint of the one before
)

// String returns the type's name.
func (t Type) String() string {
	switch t {
	case Envelope:
		return "envelope"
	case Record:
		return "record"
	case Checkpoint:
		return "checkpoint"
	case Charter:
		return "charter"
	case Link:
		return "link"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// An Entry is what stands in one place of a ledger. The field numbers are wire format.
type Entry struct {
	Version uint8       `cbor:"1,keyasint"`
	Type    Type        `cbor:"2,keyasint"`
	ID      crypto.Hash `cbor:"3,keyasint"`
}

// Encode returns the bytes of the entry for an id, in canonical CBOR.
func Encode(t Type, id crypto.Hash) []byte {
	raw, err := canon.Marshal(Entry{Type: t, ID: id})
	if err != nil {
		panic(err) // two numbers and 32 bytes have a form
	}
	return raw
}

// Parse reads an entry of this version.
func Parse(raw []byte) (Entry, error) {
	var e Entry
	if err := canon.Unmarshal(raw, &e); err != nil {
		return Entry{}, fmt.Errorf("ledger entry: %w", err)
	}
	if e.Version != 0 {
		return Entry{}, fmt.Errorf("ledger entry: version %d is not known here", e.Version)
	}
	if e.Type < Envelope || e.Type > Link {
		return Entry{}, errors.New("ledger entry: its type is not known here")
	}
	return e, nil
}
