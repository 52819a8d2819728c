// Package trust says who belongs to a region. A charter names the coordinators
// and how many of them must agree; a credential is their word that a member
// owns its keys; a Roster holds the records that prove both and answers who an
// author or a peer is.
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
	BatchMax        = 16_384 // credentials under one set of signatures
	pathMax         = 14     // hashes from a leaf of BatchMax to the root
)

// Reasons for which records are refused. Other errors mean malformed bytes.
var (
	ErrCharterMissing = errors.New("the charter it refers to is not known yet")
	ErrRegion         = errors.New("belongs to another region")
	ErrThreshold      = errors.New("too few coordinators signed")
	ErrAuthorMissing  = errors.New("the credential it refers to is not known yet")
	ErrUnknownType    = errors.New("record of a type that this version does not know")
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
	Signer crypto.Hash `cbor:"1,keyasint"` // signerOf(key)
	Bytes  []byte      `cbor:"2,keyasint"`
}

// signerOf names a coordinator's admission key.
func signerOf(key []byte) crypto.Hash { return crypto.SumContext("coordinator", crypto.Region{}, key) }

// addSignature signs message with key on behalf of one of the coordinators.
func addSignature(list []signature, of []Coordinator, context, message []byte, key *crypto.PrivateKey) ([]signature, error) {
	public := key.Public().Bytes()
	if !slices.ContainsFunc(of, func(c Coordinator) bool { return bytes.Equal(c.Key, public) }) {
		return nil, errors.New("this key is not one of the charter's coordinators: use the admission key that the charter lists")
	}
	signer := signerOf(public)
	at, found := slices.BinarySearchFunc(list, signer, func(s signature, h crypto.Hash) int { return bytes.Compare(s.Signer[:], h[:]) })
	if found {
		return nil, errors.New("this coordinator has signed already: another one must sign")
	}
	sig, err := key.Sign(context, message)
	if err != nil {
		return nil, err
	}
	return slices.Insert(list, at, signature{Signer: signer, Bytes: sig}), nil
}

// checkSignatures returns nil only if every signature is valid, each by
// another coordinator of the list, and at least threshold of them.
func checkSignatures(list []signature, of []Coordinator, threshold int, context, message []byte) error {
	if len(list) > len(of) {
		return fmt.Errorf("%d signatures: there are %d coordinators", len(list), len(of))
	}
	if !ascending(list, func(a, b signature) int { return bytes.Compare(a.Signer[:], b.Signer[:]) }) {
		return errors.New("signatures are not sorted by distinct signers")
	}
	if len(list) < threshold {
		return fmt.Errorf("%w: %d, the charter wants %d", ErrThreshold, len(list), threshold)
	}
	for _, s := range list {
		at := slices.IndexFunc(of, func(c Coordinator) bool { return signerOf(c.Key) == s.Signer })
		if at < 0 {
			return fmt.Errorf("signer %s is not a coordinator of the charter", s.Signer)
		}
		key, err := crypto.ParsePublicKey(of[at].Key)
		if err != nil {
			return fmt.Errorf("coordinator %q: %w", of[at].Name, err)
		}
		if err := key.Verify(context, message, s.Bytes); err != nil {
			return fmt.Errorf("coordinator %q: %w", of[at].Name, err)
		}
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
