// Package keyfile keeps secret keys at rest: a node's identity, and the
// admission keys with which coordinators sign. One key set is one text file of
// mode 0600 that is created once and never overwritten.
package keyfile

import (
	"crypto/ed25519"
	"fmt"
	"io"

	"github.com/cloudflare/circl/kem/xwing"

	"github.com/watchward/watchward/crypto"
)

// SeedSize is the size of the peer and seal seeds, in bytes.
const SeedSize = 32

// SealKeySize is the size of an X-Wing public key, in bytes.
const SealKeySize = xwing.PublicKeySize

// An Identity is all the secrets of one node: what it signs with, what its
// connections prove, and what opens items sealed for it.
type Identity struct {
	Signing  *crypto.PrivateKey // composite ML-DSA-65 + Ed25519
	PeerSeed [SeedSize]byte     // Ed25519 key of the libp2p peer id
	SealSeed [SeedSize]byte     // X-Wing key (draft-connolly-cfrg-xwing-kem)
}

// NewIdentity draws an identity from the given source of randomness.
func NewIdentity(random io.Reader) (*Identity, error) {
	signing, err := crypto.GenerateKey(random)
	if err != nil {
		return nil, err
	}
	id := &Identity{Signing: signing}
	for _, seed := range [][]byte{id.PeerSeed[:], id.SealSeed[:]} {
		if _, err := io.ReadFull(random, seed); err != nil {
			return nil, fmt.Errorf("read key seed: %w", err)
		}
	}
	return id, nil
}

// PeerKey returns the key that libp2p proves on every connection.
func (id *Identity) PeerKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(id.PeerSeed[:]) }

// SealKey returns the X-Wing public key that others seal for, 1216 bytes.
func (id *Identity) SealKey() []byte {
	_, public := xwing.DeriveKeyPairPacked(id.SealSeed[:])
	return public
}
