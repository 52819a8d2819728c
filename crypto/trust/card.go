package trust

import (
	"errors"
	"fmt"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// CardSizeMax bounds an encoded card, in bytes.
const CardSizeMax = RequestSizeMax + 8<<10

// A Card is what a coordinator-to-be hands to whoever writes a charter: its name,
// its admission key with the proof that it holds it, and the join request of its
// node, if it has one. It holds no secret. The field numbers are file format.
type Card struct {
	Version uint8  `cbor:"1,keyasint"`
	Name    string `cbor:"2,keyasint"`
	Key     []byte `cbor:"3,keyasint"`           // composite public key of the admission key, 1984 bytes
	Request []byte `cbor:"4,keyasint,omitempty"` // as NewRequest returns it
}

type signedCard struct {
	Body      []byte `cbor:"1,keyasint"`
	Signature []byte `cbor:"2,keyasint"` // by Key
}

var cardContext = crypto.Context("coordinator-card", crypto.Region{})

// NewCard returns the encoded card of an admission key. request may be nil.
func NewCard(key *crypto.PrivateKey, name string, request []byte) ([]byte, error) {
	c := Card{Version: Version, Name: name, Key: key.Public().Bytes(), Request: request}
	if err := c.check(); err != nil {
		return nil, err
	}
	body, err := canon.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode card: %w", err)
	}
	sig, err := key.Sign(cardContext, body)
	if err != nil {
		return nil, err
	}
	return canon.Marshal(signedCard{body, sig})
}

// ParseCard reads a card and verifies its proofs.
func ParseCard(raw []byte) (*Card, error) {
	if len(raw) > CardSizeMax {
		return nil, fmt.Errorf("card has %d bytes: at most %d", len(raw), CardSizeMax)
	}
	var signed signedCard
	c := &Card{}
	if err := canon.Unmarshal(raw, &signed); err != nil {
		return nil, fmt.Errorf("card: %w", err)
	}
	if err := canon.Unmarshal(signed.Body, c); err != nil {
		return nil, fmt.Errorf("card: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	key, err := crypto.ParsePublicKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("card: %w", err)
	}
	if err := key.Verify(cardContext, signed.Body, signed.Signature); err != nil {
		return nil, fmt.Errorf("card: the coordinator does not hold its key: %w", err)
	}
	return c, nil
}

func (c *Card) check() error {
	if c.Version != Version {
		return fmt.Errorf("card: version %d, this build knows %d", c.Version, Version)
	}
	if err := checkName(c.Name); err != nil {
		return fmt.Errorf("card: %w", err)
	}
	if len(c.Key) != crypto.PublicKeySize {
		return errors.New("card: the key is not an admission key")
	}
	if c.Request != nil {
		if _, err := ParseRequest(c.Request); err != nil {
			return fmt.Errorf("card: %w", err)
		}
	}
	return nil
}

// Asks reports whether the card carries the join request of a credential's keys.
func (c *Card) Asks(of *Credential) bool {
	if c.Request == nil {
		return false
	}
	r, err := ParseRequest(c.Request)
	return err == nil && r.asks(of)
}

// Coordinator returns the charter's entry.
func (c *Card) Coordinator() Coordinator { return Coordinator{Name: c.Name, Key: c.Key} }

// ListSizeMax bounds an encoded CharterList, in bytes.
const ListSizeMax = 16 << 20

// A CharterList is a publisher's list of regions, such as one kept for a country,
// from which a region may endorse. It says who they are and decides nothing. The
// field numbers are file format.
type CharterList struct {
	Version   uint8           `cbor:"1,keyasint"`
	Name      string          `cbor:"2,keyasint"`
	Time      int64           `cbor:"3,keyasint"` // ms since 1970
	Publisher []byte          `cbor:"4,keyasint"` // composite public key
	Regions   []crypto.Region `cbor:"5,keyasint"` // up to EndorsedMax, sorted
	Records   [][]byte        `cbor:"6,keyasint"` // trust records of those regions
	Seeds     []string        `cbor:"7,keyasint"` // addresses there
}

type signedList struct {
	Body      []byte `cbor:"1,keyasint"`
	Signature []byte `cbor:"2,keyasint"`
}

var listContext = crypto.Context("charter-list", crypto.Region{})

// SignList returns the encoded list under its publisher's key. Version and
// Publisher are filled in.
func SignList(l CharterList, key *crypto.PrivateKey) ([]byte, error) {
	l.Version, l.Publisher = Version, key.Public().Bytes()
	if err := l.check(); err != nil {
		return nil, err
	}
	body, err := canon.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode list: %w", err)
	}
	sig, err := key.Sign(listContext, body)
	if err != nil {
		return nil, err
	}
	return canon.Marshal(signedList{body, sig})
}

// ParseList reads a list and verifies that its publisher signed it. Whether that
// is who the reader takes it for is for the reader to say.
func ParseList(raw []byte) (*CharterList, error) {
	if len(raw) > ListSizeMax {
		return nil, fmt.Errorf("list has %d bytes: at most %d", len(raw), ListSizeMax)
	}
	var signed signedList
	l := &CharterList{}
	if err := canon.Unmarshal(raw, &signed); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	if err := canon.Unmarshal(signed.Body, l); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	key, err := crypto.ParsePublicKey(l.Publisher)
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	if err := key.Verify(listContext, signed.Body, signed.Signature); err != nil {
		return nil, fmt.Errorf("list: its publisher has not signed it: %w", err)
	}
	return l, nil
}

func (l *CharterList) check() error {
	switch {
	case l.Version != Version:
		return fmt.Errorf("list: version %d, this build knows %d", l.Version, Version)
	case len(l.Publisher) != crypto.PublicKeySize:
		return errors.New("list: it names no publisher")
	case l.Time < 0:
		return errors.New("list: made before 1970")
	case len(l.Regions) == 0 || len(l.Regions) > EndorsedMax:
		return fmt.Errorf("list: %d regions, want 1 to %d", len(l.Regions), EndorsedMax)
	case !ascending(l.Regions, compareRegions):
		return errors.New("list: regions are not sorted and distinct")
	}
	if err := checkName(l.Name); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	return nil
}
