package crypto

import (
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"

	"filippo.io/edwards25519"
	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
)

// Sizes in bytes of the composite suite, ML-DSA-65 first, Ed25519 second.
const (
	SeedSize      = mldsa65.SeedSize + ed25519.SeedSize           // 64
	PublicKeySize = mldsa65.PublicKeySize + ed25519.PublicKeySize // 1984
	SignatureSize = mldsa65.SignatureSize + ed25519.SignatureSize // 3373
)

// ContextMax is the longest context of a signature, in bytes.
const ContextMax = 255

// The two constants of id-MLDSA65-Ed25519-SHA512 in
// draft-ietf-lamps-pq-composite-sigs, section "Composite ML-DSA".
const (
	compositePrefix = "CompositeAlgorithmSignatures2025"
	compositeLabel  = "COMPSIG-MLDSA65-Ed25519-SHA512"
)

// ErrSignature says that a signature does not verify.
var ErrSignature = errors.New("signature does not verify")

// A PrivateKey signs with ML-DSA-65 and Ed25519 together. It is safe for
// concurrent use.
type PrivateKey struct {
	seed   [SeedSize]byte
	mldsa  *mldsa65.PrivateKey
	ed     ed25519.PrivateKey
	public *PublicKey
}

// A PublicKey verifies composite signatures. It is immutable and safe for
// concurrent use; a parsed key holds about 40 KB.
type PublicKey struct {
	raw   [PublicKeySize]byte
	mldsa mldsa65.PublicKey
	ed    ed25519.PublicKey
}

// GenerateKey returns a new key from the given source of randomness.
func GenerateKey(random io.Reader) (*PrivateKey, error) {
	var seed [SeedSize]byte
	if _, err := io.ReadFull(random, seed[:]); err != nil {
		return nil, fmt.Errorf("read key seed: %w", err)
	}
	return NewPrivateKey(seed[:])
}

// NewPrivateKey returns the key with the given seed: 32 bytes for ML-DSA-65,
// then 32 bytes for Ed25519.
func NewPrivateKey(seed []byte) (*PrivateKey, error) {
	if len(seed) != SeedSize {
		return nil, fmt.Errorf("key seed has %d bytes: want %d", len(seed), SeedSize)
	}
	k := &PrivateKey{seed: [SeedSize]byte(seed)}
	pub, mldsa := mldsa65.NewKeyFromSeed((*[mldsa65.SeedSize]byte)(seed[:mldsa65.SeedSize]))
	k.mldsa = mldsa
	k.ed = ed25519.NewKeyFromSeed(seed[mldsa65.SeedSize:])
	raw := append(pub.Bytes(), k.ed.Public().(ed25519.PublicKey)...)
	public, err := ParsePublicKey(raw)
	if err != nil {
		return nil, err
	}
	k.public = public
	return k, nil
}

// Seed returns the 64 secret bytes that NewPrivateKey takes.
func (k *PrivateKey) Seed() []byte { return append([]byte(nil), k.seed[:]...) }

// Public returns the key that verifies k's signatures.
func (k *PrivateKey) Public() *PublicKey { return k.public }

// Sign returns the composite signature of message under context (≤ 255 bytes).
// The ML-DSA half is hedged with fresh randomness.
func (k *PrivateKey) Sign(context, message []byte) ([]byte, error) {
	rep, err := representative(context, message)
	if err != nil {
		return nil, err
	}
	sig := make([]byte, SignatureSize)
	if err := mldsa65.SignTo(k.mldsa, rep, []byte(compositeLabel), true, sig[:mldsa65.SignatureSize]); err != nil {
		return nil, fmt.Errorf("sign with ML-DSA-65: %w", err)
	}
	copy(sig[mldsa65.SignatureSize:], ed25519.Sign(k.ed, rep))
	return sig, nil
}

// ParsePublicKey reads 1984 bytes. It refuses Ed25519 halves that are not the
// canonical encoding of a point or that have small order: implementations
// disagree on those, and one key must not be valid for some members only.
func ParsePublicKey(raw []byte) (*PublicKey, error) {
	if len(raw) != PublicKeySize {
		return nil, fmt.Errorf("public key has %d bytes: want %d", len(raw), PublicKeySize)
	}
	k := &PublicKey{raw: [PublicKeySize]byte(raw)}
	k.ed = k.raw[mldsa65.PublicKeySize:]
	k.mldsa.Unpack((*[mldsa65.PublicKeySize]byte)(k.raw[:mldsa65.PublicKeySize]))
	if err := CheckEd25519(k.ed); err != nil {
		return nil, err
	}
	return k, nil
}

// CheckEd25519 accepts canonical points outside the small subgroup.
func CheckEd25519(raw []byte) error {
	point, err := new(edwards25519.Point).SetBytes(raw)
	if err != nil {
		return errors.New("public key: the Ed25519 half is not a point")
	}
	if string(point.Bytes()) != string(raw) {
		return errors.New("public key: the Ed25519 half is not canonical")
	}
	if new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return errors.New("public key: the Ed25519 half has small order")
	}
	return nil
}

// Bytes returns the key's encoding, 1984 bytes that must not be changed.
func (k *PublicKey) Bytes() []byte { return k.raw[:] }

// Equal reports whether both keys are the same.
func (k *PublicKey) Equal(other *PublicKey) bool { return k.raw == other.raw }

// Verify returns nil only if both halves of sig are valid for message under
// context, and an error that wraps ErrSignature otherwise. The cheaper half is
// tried first.
func (k *PublicKey) Verify(context, message, sig []byte) error {
	if len(sig) != SignatureSize {
		return fmt.Errorf("%w: %d bytes, want %d", ErrSignature, len(sig), SignatureSize)
	}
	rep, err := representative(context, message)
	if err != nil {
		return err
	}
	if !mldsa65.Verify(&k.mldsa, rep, []byte(compositeLabel), sig[:mldsa65.SignatureSize]) {
		return fmt.Errorf("%w: ML-DSA-65 half", ErrSignature)
	}
	if !ed25519.Verify(k.ed, rep, sig[mldsa65.SignatureSize:]) {
		return fmt.Errorf("%w: Ed25519 half", ErrSignature)
	}
	return nil
}

// representative is the draft's M' = Prefix ‖ Label ‖ len(ctx) ‖ ctx ‖ PH(M).
func representative(context, message []byte) ([]byte, error) {
	if len(context) > ContextMax {
		return nil, fmt.Errorf("signature context has %d bytes: at most %d", len(context), ContextMax)
	}
	digest := sha512.Sum512(message)
	rep := make([]byte, 0, len(compositePrefix)+len(compositeLabel)+1+len(context)+len(digest))
	rep = append(rep, compositePrefix...)
	rep = append(rep, compositeLabel...)
	rep = append(rep, byte(len(context)))
	rep = append(rep, context...)
	return append(rep, digest[:]...), nil
}
