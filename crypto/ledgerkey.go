package crypto

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha512"
	"fmt"

	"github.com/cloudflare/circl/sign/mldsa/mldsa44"
)

// Sizes in bytes of a member's ledger keys and of what they sign.
const (
	LedgerPublicSize     = ed25519.PublicKeySize + mldsa44.PublicKeySize // 1344
	MLDSA44PublicKeySize = mldsa44.PublicKeySize                         // 1312
	MLDSA44SignatureSize = mldsa44.SignatureSize                         // 2420
)

// A LedgerKey signs checkpoints of a ledger: with Ed25519 and with ML-DSA-44,
// each alone, since that is what the tools of others read. It follows from the
// member's signing key, so there is no second secret to keep. It is safe for
// concurrent use.
type LedgerKey struct {
	ed     ed25519.PrivateKey
	mldsa  *mldsa44.PrivateKey
	public LedgerPublic
}

// LedgerPublic are the two keys that verify what a LedgerKey signs. A credential
// binds them to their member.
type LedgerPublic struct {
	Ed25519 ed25519.PublicKey
	MLDSA44 []byte
}

// NewLedgerKey returns the ledger key of who has a signing key.
func NewLedgerKey(signing *PrivateKey) *LedgerKey {
	k := &LedgerKey{ed: ed25519.NewKeyFromSeed(signing.derive("ledger-ed25519", ed25519.SeedSize))}
	seed := [mldsa44.SeedSize]byte(signing.derive("ledger-mldsa44", mldsa44.SeedSize))
	public, private := mldsa44.NewKeyFromSeed(&seed)
	k.mldsa = private
	k.public = LedgerPublic{Ed25519: k.ed.Public().(ed25519.PublicKey), MLDSA44: public.Bytes()}
	return k
}

// derive returns a secret for another purpose that says nothing of the seed.
func (k *PrivateKey) derive(purpose string, size int) []byte {
	out, err := hkdf.Key(sha512.New, k.seed[:], nil, string(Context(purpose, Region{})), size)
	if err != nil {
		panic(err) // only for sizes above 16 KB
	}
	return out
}

// Public returns the keys that verify k's signatures. They must not be changed.
func (k *LedgerKey) Public() LedgerPublic { return k.public }

// SignEd25519 returns the 64 bytes of the Ed25519 signature of a message.
func (k *LedgerKey) SignEd25519(message []byte) []byte { return ed25519.Sign(k.ed, message) }

// SignMLDSA44 returns the 2420 bytes of the ML-DSA-44 signature of a message under
// a context (≤ 255 bytes; nil for none), hedged with fresh randomness.
func (k *LedgerKey) SignMLDSA44(message, context []byte) ([]byte, error) {
	sig := make([]byte, mldsa44.SignatureSize)
	if err := mldsa44.SignTo(k.mldsa, message, context, true, sig); err != nil {
		return nil, fmt.Errorf("sign with ML-DSA-44: %w", err)
	}
	return sig, nil
}

// ParseLedgerPublic reads 1344 bytes: Ed25519 first, ML-DSA-44 second. It refuses
// what CheckEd25519 refuses. The result shares no memory with raw.
func ParseLedgerPublic(raw []byte) (LedgerPublic, error) {
	if len(raw) != LedgerPublicSize {
		return LedgerPublic{}, fmt.Errorf("ledger keys have %d bytes: want %d", len(raw), LedgerPublicSize)
	}
	raw = bytes.Clone(raw)
	p := LedgerPublic{Ed25519: raw[:ed25519.PublicKeySize:ed25519.PublicKeySize], MLDSA44: raw[ed25519.PublicKeySize:]}
	if err := CheckEd25519(p.Ed25519); err != nil {
		return LedgerPublic{}, fmt.Errorf("ledger keys: %w", err)
	}
	return p, nil
}

// Bytes returns the keys' encoding, 1344 bytes.
func (p LedgerPublic) Bytes() []byte {
	return append(append(make([]byte, 0, LedgerPublicSize), p.Ed25519...), p.MLDSA44...)
}

// VerifyEd25519 returns an error that wraps ErrSignature unless sig is the
// Ed25519 signature of the message.
func (p LedgerPublic) VerifyEd25519(message, sig []byte) error {
	if len(p.Ed25519) != ed25519.PublicKeySize || !ed25519.Verify(p.Ed25519, message, sig) {
		return fmt.Errorf("%w: Ed25519", ErrSignature)
	}
	return nil
}

// VerifyMLDSA44 returns an error that wraps ErrSignature unless sig is the
// ML-DSA-44 signature of the message under the context.
func (p LedgerPublic) VerifyMLDSA44(message, context, sig []byte) error {
	var key mldsa44.PublicKey
	if len(sig) != mldsa44.SignatureSize || key.UnmarshalBinary(p.MLDSA44) != nil || !mldsa44.Verify(&key, message, context, sig) {
		return fmt.Errorf("%w: ML-DSA-44", ErrSignature)
	}
	return nil
}
