package trust

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"github.com/cloudflare/circl/kem/xwing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
)

// Limits of the addresses in a request.
const (
	AddrsMax    = 8
	AddrSizeMax = 200 // bytes
)

// A Request is what a hospital hands to coordinators to become a member: who
// it is, and proof that it holds the keys it names. It names no region, so one
// request serves whoever admits it. The field numbers are wire format.
type Request struct {
	Version uint8    `cbor:"1,keyasint"`
	Name    string   `cbor:"2,keyasint"`
	Key     []byte   `cbor:"3,keyasint"`           // composite public key, 1984 bytes
	SealKey []byte   `cbor:"4,keyasint"`           // X-Wing public key, 1216 bytes
	Peer    []byte   `cbor:"5,keyasint"`           // libp2p peer id of an Ed25519 key, 38 bytes
	Addrs   []string `cbor:"6,keyasint,omitempty"` // where it can be dialled, as multiaddresses
	Ledger  []byte   `cbor:"7,keyasint,omitempty"` // ledger keys, 1344 bytes; older nodes have none

	raw []byte // as it was signed and sent
}

// signedRequest carries a request under all keys that can sign. An X-Wing key
// cannot: a coordinator has it open a challenge instead.
type signedRequest struct {
	Body        []byte `cbor:"1,keyasint"`
	Signature   []byte `cbor:"2,keyasint"`           // by Key
	PeerProof   []byte `cbor:"3,keyasint"`           // by the key within Peer
	LedgerProof []byte `cbor:"4,keyasint,omitempty"` // by both of Ledger, where there is one
}

// NewRequest returns the encoded join request of a node.
func NewRequest(id *keyfile.Identity, name string, addrs []string) ([]byte, error) {
	peer, ledger := id.PeerKey(), crypto.NewLedgerKey(id.Signing)
	r := Request{
		Version: Version, Name: name, Addrs: addrs, Ledger: ledger.Public().Bytes(),
		Key: id.Signing.Public().Bytes(), SealKey: id.SealKey(), Peer: PeerID(peer.Public().(ed25519.PublicKey)),
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("join request: %w", err)
	}
	body, err := canon.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode join request: %w", err)
	}
	sig, err := id.Signing.Sign(requestContext, body)
	if err != nil {
		return nil, err
	}
	proof, err := proveLedger(ledger, body)
	if err != nil {
		return nil, err
	}
	return canon.Marshal(signedRequest{Body: body, Signature: sig, PeerProof: ed25519.Sign(peer, peerMessage(body)), LedgerProof: proof})
}

// ParseRequest reads a join request and verifies that its author holds all the
// keys in it that sign.
func ParseRequest(raw []byte) (*Request, error) {
	if len(raw) > RequestSizeMax {
		return nil, fmt.Errorf("join request has %d bytes: at most %d", len(raw), RequestSizeMax)
	}
	var signed signedRequest
	if err := canon.Unmarshal(raw, &signed); err != nil {
		return nil, fmt.Errorf("join request: %w", err)
	}
	r := &Request{raw: raw}
	if err := canon.Unmarshal(signed.Body, r); err != nil {
		return nil, fmt.Errorf("join request: %w", err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("join request: %w", err)
	}
	key, err := crypto.ParsePublicKey(r.Key)
	if err != nil {
		return nil, fmt.Errorf("join request: %w", err)
	}
	if err := key.Verify(requestContext, signed.Body, signed.Signature); err != nil {
		return nil, fmt.Errorf("join request: the member does not hold its key: %w", err)
	}
	if !ed25519.Verify(ed25519.PublicKey(r.Peer[len(peerPrefix):]), peerMessage(signed.Body), signed.PeerProof) {
		return nil, fmt.Errorf("join request: the member does not hold its peer id: %w", crypto.ErrSignature)
	}
	if err := r.checkLedgerProof(signed.Body, signed.LedgerProof); err != nil {
		return nil, fmt.Errorf("join request: the member does not hold its ledger keys: %w", err)
	}
	return r, nil
}

// Member returns the id that the author has if it is admitted with its first key.
func (r *Request) Member() crypto.MemberID { return memberOf(r.Key) }

var requestContext = crypto.Context("join-request", crypto.Region{})

// peerMessage is what the peer key signs. libp2p signs other things with the
// same key, all of which begin differently.
func peerMessage(body []byte) []byte {
	sum := crypto.SumContext("peer-possession", crypto.Region{}, body)
	return append(crypto.Context("peer-possession", crypto.Region{}), sum[:]...)
}

func (r *Request) check() error {
	if r.Version != Version {
		return fmt.Errorf("version %d, this build knows %d", r.Version, Version)
	}
	if err := checkName(r.Name); err != nil {
		return err
	}
	if len(r.Key) != crypto.PublicKeySize {
		return fmt.Errorf("the key has %d bytes: want %d", len(r.Key), crypto.PublicKeySize)
	}
	peer, err := checkPeerID(r.Peer)
	if err != nil {
		return err
	}
	if err := crypto.CheckEd25519(peer); err != nil {
		return fmt.Errorf("peer id: %w", err)
	}
	if len(r.Addrs) > AddrsMax {
		return fmt.Errorf("%d addresses, at most %d", len(r.Addrs), AddrsMax)
	}
	if slices.ContainsFunc(r.Addrs, func(a string) bool { return a == "" || len(a) > AddrSizeMax }) {
		return fmt.Errorf("an address is empty or longer than %d bytes", AddrSizeMax)
	}
	if len(r.Ledger) > 0 {
		if _, err := crypto.ParseLedgerPublic(r.Ledger); err != nil {
			return err
		}
	}
	return checkSealKey(r.SealKey)
}

// checkSealKey refuses keys that nothing could be sealed for.
func checkSealKey(raw []byte) error {
	if len(raw) != keyfile.SealKeySize {
		return fmt.Errorf("the seal key has %d bytes: want %d", len(raw), keyfile.SealKeySize)
	}
	var key xwing.PublicKey
	if err := key.Unpack(raw); err != nil {
		return errors.New("the seal key is not an X-Wing public key")
	}
	return nil
}
