package wire

import (
	"crypto/sha256"
	"fmt"
)

// The messages of a join stream, by which somebody who is no member yet hands a
// request to a coordinator: Join, Challenge, Answer, then Kept as often as the
// coordinator likes, and the parts of the admission. Refused may come instead of
// any word of the coordinator, and ends the stream.
const (
	KindJoin      = 48
	KindChallenge = 49
	KindAnswer    = 50
	KindKept      = 51
	KindAdmission = 52
	KindRefused   = 53

	JoinMax          = 17 << 10 // bytes of a frame that a coordinator reads
	JoinRequestMax   = 16 << 10 // bytes; trust.RequestSizeMax
	ChallengeMax     = 4 << 10  // bytes of a sealed challenge
	AnswerSize       = 32
	AdmissionPartMax = 64 << 10 // bytes of one part
	AdmissionMax     = 1 << 20  // bytes of all parts
	InvitationIDSize = 8
)

// Join is a join request with the proof that its author holds an invitation's secret.
type Join struct {
	Invitation []byte `cbor:"1,keyasint"` // its id
	Proof      []byte `cbor:"2,keyasint"` // HMAC-SHA256 of the request
	Request    []byte `cbor:"3,keyasint"`
}

func (m *Join) check() error {
	if len(m.Invitation) != InvitationIDSize || len(m.Proof) != sha256.Size {
		return fmt.Errorf("an invitation's id of %d bytes and a proof of %d, want %d and %d", len(m.Invitation), len(m.Proof), InvitationIDSize, sha256.Size)
	}
	return atMost("bytes of a request", len(m.Request), JoinRequestMax)
}

// Challenge is sealed for the request's X-Wing key.
type Challenge struct {
	Box []byte `cbor:"1,keyasint"`
}

func (m *Challenge) check() error { return atMost("bytes of a challenge", len(m.Box), ChallengeMax) }

// Answer is what the challenge holds.
type Answer struct {
	Content []byte `cbor:"1,keyasint"`
}

func (m *Answer) check() error {
	if len(m.Content) != AnswerSize {
		return fmt.Errorf("an answer of %d bytes, want %d", len(m.Content), AnswerSize)
	}
	return nil
}

// Kept says that the request is on the coordinator's disk and waits for people.
type Kept struct {
	Number uint64 `cbor:"1,keyasint"` // under which they see it
}

func (m *Kept) check() error { return nil }

// Admission is a part of what the new member is handed.
type Admission struct {
	Part []byte `cbor:"1,keyasint"`
	More bool   `cbor:"2,keyasint"` // parts follow
}

func (m *Admission) check() error {
	return atMost("bytes of an admission's part", len(m.Part), AdmissionPartMax)
}

// Why a coordinator's node takes no request. The numbers are wire format.
const (
	RefusedInvitation = 1 // it made none such, or the proof does not fit
	RefusedExpired    = 2 // the invitation is too old
	RefusedUsed       = 3 // another request came by it
	RefusedRequest    = 4 // the request is damaged, of another version, or not of this peer
	RefusedKeys       = 5 // the challenge was not opened
	RefusedFull       = 6 // too many wait: later
	RefusedSlower     = 7 // too many attempts from this address: later
)

// Refused says why a request is not taken.
type Refused struct {
	Reason uint8 `cbor:"1,keyasint"`
}

func (m *Refused) check() error { return nil }

// DecodeJoin reads a message of a join stream.
func DecodeJoin(kind byte, body []byte) (any, error) {
	switch kind {
	case KindJoin:
		return decode(body, &Join{})
	case KindChallenge:
		return decode(body, &Challenge{})
	case KindAnswer:
		return decode(body, &Answer{})
	case KindKept:
		return decode(body, &Kept{})
	case KindAdmission:
		return decode(body, &Admission{})
	case KindRefused:
		return decode(body, &Refused{})
	}
	return nil, fmt.Errorf("join message of unknown kind %d", kind)
}
