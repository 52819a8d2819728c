package wire

import (
	"errors"
	"fmt"

	"github.com/watchward/watchward/crypto"
)

// The messages of a sync stream, in the order in which they may come.
const (
	KindHello     = 1
	KindTrustHave = 2
	KindTrust     = 3
	KindRoot      = 4
	KindRoots     = 5
	KindChains    = 6
	KindWant      = 7
	KindEnvelopes = 8
	KindDone      = 9
)

// Limits of sync messages, beside those of all.
const (
	TrustPrefix  = 16   // bytes of a record's id that TrustHave sends
	TopPrefix    = 8    // bytes of an envelope's id that Chain sends
	UrgentMax    = 1024 // urgent envelopes of one chain
	ForksMax     = 64   // numbers of one chain that its author used twice
	heldMax      = 256  // chains of one Hello
	scopesMax    = 2048
	envelopesMax = 1024 // of one frame
)

// Hello opens a session, both ways.
type Hello struct {
	Versions []uint8     `cbor:"1,keyasint"`
	Clock    int64       `cbor:"2,keyasint"` // ms
	Trust    crypto.Hash `cbor:"3,keyasint"` // root of the trust records
	Yours    []Held      `cbor:"4,keyasint"` // what the sender holds of the receiver's own chains
}

// Held is the end of one chain as somebody else holds it.
type Held struct {
	_        struct{} `cbor:",toarray"`
	Audience crypto.Audience
	Serial   uint32
	Epoch    uint32
	Seq      uint64
	ID       crypto.EnvelopeID
}

func (m *Hello) check() error {
	if err := atMost("versions", len(m.Versions), VersionsMax); err != nil {
		return err
	}
	if m.Clock < 0 {
		return fmt.Errorf("clock %d ms is before 1970", m.Clock)
	}
	return atMost("chains", len(m.Yours), heldMax)
}

// TrustHave lists the ids of trust records, cut to TrustPrefix bytes each.
type TrustHave struct {
	IDs  []byte `cbor:"1,keyasint"`
	More bool   `cbor:"2,keyasint"`
}

func (m *TrustHave) check() error {
	if len(m.IDs)%TrustPrefix != 0 {
		return fmt.Errorf("%d bytes of ids", len(m.IDs))
	}
	return atMost("ids", len(m.IDs)/TrustPrefix, EntriesMax)
}

// Trust carries trust records that the receiver lacks.
type Trust struct {
	Records [][]byte `cbor:"1,keyasint"`
	More    bool     `cbor:"2,keyasint"`
}

func (m *Trust) check() error {
	for _, r := range m.Records {
		if err := atMost("bytes of a record", len(r), RecordsMax); err != nil {
			return err
		}
	}
	return atMost("records", len(m.Records), EntriesMax)
}

// Root is the digest over everything both sides may see, up to At.
type Root struct {
	At   int64       `cbor:"1,keyasint"` // ms
	Root crypto.Hash `cbor:"2,keyasint"`
}

func (m *Root) check() error { return nil }

// Roots answers a Root that differs with the digest of each scope.
type Roots struct {
	Scopes []ScopeRoot `cbor:"1,keyasint"`
}

// ScopeRoot is the digest of one region's chains for an audience.
type ScopeRoot struct {
	Region   crypto.Region   `cbor:"1,keyasint"`
	Audience crypto.Audience `cbor:"2,keyasint"`
	Root     crypto.Hash     `cbor:"3,keyasint"`
}

func (m *Roots) check() error { return atMost("scopes", len(m.Scopes), scopesMax) }

// Range is an inclusive range of sequence numbers.
type Range struct {
	_    struct{} `cbor:",toarray"`
	From uint64
	To   uint64
}

// Chains lists what the sender holds in the scopes that differ.
type Chains struct {
	Chains []Chain `cbor:"1,keyasint"`
	More   bool    `cbor:"2,keyasint"`
	Scopes []Scope `cbor:"3,keyasint"` // those that differ, in the initiator's first page
}

// Scope names one region's chains for an audience.
type Scope struct {
	Region   crypto.Region   `cbor:"1,keyasint"`
	Audience crypto.Audience `cbor:"2,keyasint"`
}

// Chain is what the sender holds of one chain.
type Chain struct {
	_      struct{} `cbor:",toarray"`
	Scope  uint16   // place in the initiator's Scopes
	Author crypto.MemberID
	Serial uint32
	Epoch  uint32
	Floor  uint64
	Ranges []Range
	Top    [TopPrefix]byte // of the id of the highest
	Time   int64           // s since 1970, of the latest envelope
	Urgent []uint64        // seqs of recent urgent envelopes
	Forks  []Fork          // numbers that the author used twice
}

// Fork is the higher id of two envelopes with one number.
type Fork struct {
	_   struct{} `cbor:",toarray"`
	Seq uint64
	ID  [TopPrefix]byte
}

func (m *Chains) check() error {
	if err := atMost("scopes", len(m.Scopes), scopesMax); err != nil {
		return err
	}
	for _, c := range m.Chains {
		if err := checkRanges(c.Ranges); err != nil {
			return err
		}
		if err := atMost("urgent envelopes", len(c.Urgent), UrgentMax); err != nil {
			return err
		}
		if err := atMost("forks", len(c.Forks), ForksMax); err != nil {
			return err
		}
	}
	return atMost("chains", len(m.Chains), EntriesMax)
}

// Want asks for envelopes, in the order in which they are wanted.
type Want struct {
	Wants []ChainWant `cbor:"1,keyasint"`
	More  bool        `cbor:"2,keyasint"`
}

// ChainWant asks for ranges of one chain.
type ChainWant struct {
	_      struct{} `cbor:",toarray"`
	Chain  uint32   // place in all that the receiver has listed, from 0
	Ranges []Range
	Oldest bool   // oldest first
	Bytes  uint64 // the envelope that reaches it is the last; 0 = no bound
}

func (m *Want) check() error {
	for _, w := range m.Wants {
		if err := checkRanges(w.Ranges); err != nil {
			return err
		}
	}
	return atMost("chains", len(m.Wants), EntriesMax)
}

// checkRanges wants them ascending, disjoint and not empty.
func checkRanges(ranges []Range) error {
	if err := atMost("ranges", len(ranges), RangesMax); err != nil {
		return err
	}
	last := uint64(0)
	for _, r := range ranges {
		if r.From <= last || r.To < r.From {
			return fmt.Errorf("range %d to %d after %d", r.From, r.To, last)
		}
		last = r.To
	}
	return nil
}

// Envelopes carries envelopes as they were signed.
type Envelopes struct {
	Raw [][]byte `cbor:"1,keyasint"`
}

func (m *Envelopes) check() error {
	for _, raw := range m.Raw {
		if err := atMost("bytes of an envelope", len(raw), crypto.EnvelopeSizeMax); err != nil {
			return err
		}
	}
	if len(m.Raw) == 0 {
		return errors.New("no envelopes")
	}
	return atMost("envelopes", len(m.Raw), envelopesMax)
}

// Done ends one direction.
type Done struct{}

func (m *Done) check() error { return nil }

// DecodeSync reads a message of a sync stream.
func DecodeSync(kind byte, body []byte) (any, error) {
	switch kind {
	case KindHello:
		return decode(body, &Hello{})
	case KindTrustHave:
		return decode(body, &TrustHave{})
	case KindTrust:
		return decode(body, &Trust{})
	case KindRoot:
		return decode(body, &Root{})
	case KindRoots:
		return decode(body, &Roots{})
	case KindChains:
		return decode(body, &Chains{})
	case KindWant:
		return decode(body, &Want{})
	case KindEnvelopes:
		return decode(body, &Envelopes{})
	case KindDone:
		return decode(body, &Done{})
	}
	return nil, fmt.Errorf("sync message of unknown kind %d", kind)
}
