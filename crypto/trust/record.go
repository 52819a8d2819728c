package trust

import (
	"fmt"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// Types of records. The numbers are wire format.
const (
	typeCharter      = 1
	typeCredential   = 2
	typeRevocation   = 3
	typeEndorsements = 4
	typeFork         = 5
	typeProposal     = 6
	typeApproval     = 7
)

// record is the envelope of everything a roster is built from.
type record struct {
	Type    uint8  `cbor:"1,keyasint"`
	Payload []byte `cbor:"2,keyasint"` // canonical CBOR of the type
}

func encodeRecord(kind uint8, payload any) ([]byte, error) {
	inner, err := canon.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	raw, err := canon.Marshal(record{Type: kind, Payload: inner})
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	if limit := sizeMax(kind); len(raw) > limit {
		return nil, fmt.Errorf("encode record: %d bytes, at most %d", len(raw), limit)
	}
	return raw, nil
}

// sizeMax is the limit of a kind of record outside a roster.
func sizeMax(kind uint8) int {
	if kind == typeProposal {
		return ProposalSizeMax
	}
	return RecordSizeMax
}

func decodeRecord(raw []byte, limit int) (record, error) {
	var r record
	if len(raw) > limit {
		return r, fmt.Errorf("trust record has %d bytes: at most %d", len(raw), limit)
	}
	if payload, ok := payloadOf(raw); ok {
		r = record{raw[2], payload}
	} else if err := canon.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("trust record: %w", err)
	}
	if r.Type < typeCharter || r.Type > typeApproval {
		return r, fmt.Errorf("trust record: %w: %d", ErrUnknownType, r.Type)
	}
	return r, nil
}

// payloadOf returns the payload of a record that is encoded as Marshal does,
// without copying it: most of the time to load a roster went into copies.
func payloadOf(raw []byte) ([]byte, bool) {
	const head, long, longMin = 5, 0x59, 256 // bytes with a length of two bytes, the usual case
	if len(raw) < head+2 || raw[0] != 0xa2 || raw[1] != 1 || raw[2] > 23 || raw[3] != 2 || raw[4] != long {
		return nil, false
	}
	size, payload := int(raw[head])<<8|int(raw[head+1]), raw[head+2:]
	return payload, size >= longMin && size == len(payload)
}

// recordID names what a record says and under which batch, but not its
// signatures: they are hedged and any m of n will do, so an id over them would
// give one statement many names and rosters would never agree.
func recordID(region crypto.Region, kind uint8, statement, batch []byte) crypto.Hash {
	a, b := crypto.LeafHash(statement), crypto.LeafHash(batch)
	return crypto.SumContext("record", region, append(append([]byte{kind}, a[:]...), b[:]...))
}
