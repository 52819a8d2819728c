// Package trust says who belongs to a region. A charter names the coordinators
// and how many of them must agree; a credential is their word that a member
// owns its keys, a revocation that it counts no longer; a Roster holds the records
// that prove all this and answers who an author or a peer is. Whatever needs
// several coordinators is a Proposal until enough of them have signed.
//
// Nothing here asks a clock or a network: two rosters that hold the same
// records give the same answers, in whatever order the records came.
package trust

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/watchward/watchward/crypto"
)

// Version is the version of charters, credentials, batches and requests.
const Version = 0

// Limits of what is decoded. With seven coordinators a charter signed by all
// of them, and a credential under seven signatures, fit the frames in which
// peers show them (64 KiB and 32 KiB).
const (
	RecordSizeMax   = 64 << 10 // bytes of one record
	RequestSizeMax  = 16 << 10 // bytes of one join request
	NameSizeMax     = 100      // bytes of a name
	CoordinatorsMax = 7
	VotersMax       = 5
	WitnessesMax    = 3
	DistrustsMax    = 32
	BatchMax        = 16_384 // credentials under one set of signatures
	pathMax         = 14     // hashes from a leaf of BatchMax to the root
)

// Reasons for which records are refused. Other errors mean malformed bytes.
var (
	ErrCharterMissing  = errors.New("the charter it refers to is not known yet")
	ErrProposalMissing = errors.New("the proposal it refers to is not known, or decided")
	ErrRegion          = errors.New("belongs to another region")
	ErrThreshold       = errors.New("too few coordinators signed")
	ErrAuthorMissing   = errors.New("the credential it refers to is not known yet")
	ErrUnknownType     = errors.New("record of a type that this version does not know")
)

// A Role says what a member is. The numbers are wire format.
type Role uint8

// The roles of a credential.
const (
	RoleHospital    Role = 1
	RoleCoordinator Role = 2
	RoleBridge      Role = 3 // an ISAC or another exchange
	RoleSupplier    Role = 4
)

var roleNames = [...]string{RoleHospital: "hospital", RoleCoordinator: "coordinator", RoleBridge: "bridge", RoleSupplier: "supplier"}

func (r Role) String() string {
	if !r.known() {
		return fmt.Sprintf("role(%d)", uint8(r))
	}
	return roleNames[r]
}

// ParseRole reads a role's name.
func ParseRole(name string) (Role, error) {
	for r := RoleHospital; r <= RoleSupplier; r++ {
		if roleNames[r] == name {
			return r, nil
		}
	}
	return 0, fmt.Errorf("unknown role %q: use hospital, coordinator, bridge or supplier", name)
}

func (r Role) known() bool { return r >= RoleHospital && r <= RoleSupplier }

// A signature is one coordinator's over a charter or a batch. Lists of them
// are sorted by signer, which makes a second signature by one key malformed.
type signature struct {
	Signer crypto.Hash `cbor:"1,keyasint"` // SignerOf(key)
	Bytes  []byte      `cbor:"2,keyasint"`
}

// SignerOf names a coordinator's admission key, which is given as the bytes of
// its composite public key.
func SignerOf(key []byte) crypto.Hash { return crypto.SumContext("coordinator", crypto.Region{}, key) }

// A quorum is how many of whom must sign.
type quorum struct {
	of   []Coordinator
	need int
}

// find returns the coordinator that a signature names, in any of the quorums.
func find(quorums []quorum, signer crypto.Hash) *Coordinator {
	for _, q := range quorums {
		for i := range q.of {
			if SignerOf(q.of[i].Key) == signer {
				return &q.of[i]
			}
		}
	}
	return nil
}

// lacking returns how many more must sign until all quorums are met.
func lacking(quorums []quorum, signed func(signer crypto.Hash) bool) (n int) {
	for _, q := range quorums {
		have := 0
		for _, c := range q.of {
			if signed(SignerOf(c.Key)) {
				have++
			}
		}
		n = max(n, q.need-have)
	}
	return n
}

// checkSignatures returns nil only if every signature is valid, each by another
// coordinator of a quorum, and all quorums are met.
func checkSignatures(list []signature, quorums []quorum, context, message []byte) error {
	if !ascending(list, func(a, b signature) int { return compareHashes(a.Signer, b.Signer) }) {
		return errors.New("signatures are not sorted by distinct signers")
	}
	for _, s := range list {
		if find(quorums, s.Signer) == nil {
			return fmt.Errorf("signer %s is not a coordinator of the charter", s.Signer)
		}
	}
	missing := lacking(quorums, func(signer crypto.Hash) bool {
		return slices.ContainsFunc(list, func(s signature) bool { return s.Signer == signer })
	})
	if missing > 0 {
		return fmt.Errorf("%w: %d did, %d more must", ErrThreshold, len(list), missing)
	}
	for _, s := range list {
		if err := s.check(quorums, context, message); err != nil {
			return err
		}
	}
	return nil
}

// check verifies the signature of one that find finds.
func (s signature) check(quorums []quorum, context, message []byte) error {
	by := find(quorums, s.Signer)
	key, err := crypto.ParsePublicKey(by.Key)
	if err != nil {
		return fmt.Errorf("coordinator %q: %w", by.Name, err)
	}
	if err := key.Verify(context, message, s.Bytes); err != nil {
		return fmt.Errorf("coordinator %q: %w", by.Name, err)
	}
	return nil
}

// checkName accepts what can be shown to people as it is: no control, format
// (bidirectional) or unassigned characters, and no outer spaces.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > NameSizeMax:
		return fmt.Errorf("the name has %d bytes: at most %d", len(name), NameSizeMax)
	case !utf8.ValidString(name):
		return errors.New("the name is not valid UTF-8")
	case name[0] == ' ' || name[len(name)-1] == ' ':
		return errors.New("the name begins or ends with a space")
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("the name has a character that cannot be shown: %U", r)
		}
	}
	return nil
}

// peerPrefix begins every libp2p peer id of an Ed25519 key: an identity
// multihash (00) of 36 bytes (24), which is the protobuf PublicKey of type
// Ed25519 (08 01) with 32 bytes of data (12 20). See the libp2p peer id spec.
var peerPrefix = [6]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}

// PeerIDSize is the size of the only kind of peer id members may have.
const PeerIDSize = 6 + 32

// PeerID returns the bytes of the libp2p peer id of an Ed25519 public key.
func PeerID(key []byte) []byte { return append(peerPrefix[:], key...) }

// checkPeerID returns the Ed25519 public key within a peer id.
func checkPeerID(id []byte) (key []byte, err error) {
	if len(id) != PeerIDSize || !bytes.HasPrefix(id, peerPrefix[:]) {
		return nil, errors.New("the peer id is not that of an Ed25519 key")
	}
	return id[len(peerPrefix):], nil
}
