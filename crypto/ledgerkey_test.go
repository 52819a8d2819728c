package crypto_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/cloudflare/circl/sign/mldsa/mldsa44"

	"github.com/watchward/watchward/crypto"
)

func TestLedgerKeyFollowsFromSeed(t *testing.T) {
	signing, other := newKey(t, "a"), newKey(t, "b")
	key := crypto.NewLedgerKey(signing)
	again, err := crypto.NewPrivateKey(signing.Seed())
	if err != nil {
		t.Fatal(err)
	}
	raw := key.Public().Bytes()
	if len(raw) != crypto.LedgerPublicSize {
		t.Fatalf("%d bytes", len(raw))
	}
	if !bytes.Equal(raw, crypto.NewLedgerKey(again).Public().Bytes()) {
		t.Error("the same seed gives two ledger keys")
	}
	if bytes.Equal(raw, crypto.NewLedgerKey(other).Public().Bytes()) {
		t.Error("two seeds give one ledger key")
	}
	// The digits are what nodes have published: another derivation would lock them out of their ledger.
	const want = "47ea7fac6a86fc2b"
	if sum := crypto.SumContext("test", crypto.Region{}, raw); hex.EncodeToString(sum[:8]) != want {
		t.Errorf("hash of the ledger keys of a certain seed begins with %x, want %s", sum[:8], want)
	}
}

// Neither key is the other's seed, nor the Ed25519 half of the signing key.
func TestLedgerKeysAreSeparate(t *testing.T) {
	signing := newKey(t, "a")
	public := crypto.NewLedgerKey(signing).Public()
	seed := signing.Seed()
	for name, s := range map[string][]byte{"first half": seed[:32], "second half": seed[32:]} {
		if bytes.Equal(public.Ed25519, ed25519.NewKeyFromSeed(s).Public().(ed25519.PublicKey)) {
			t.Errorf("the Ed25519 key is that of the seed's %s", name)
		}
		if key, _ := mldsa44.NewKeyFromSeed((*[32]byte)(s)); bytes.Equal(public.MLDSA44, key.Bytes()) {
			t.Errorf("the ML-DSA-44 key is that of the seed's %s", name)
		}
	}
}

func TestLedgerSignatures(t *testing.T) {
	key, other := crypto.NewLedgerKey(newKey(t, "a")), crypto.NewLedgerKey(newKey(t, "b"))
	message, context := []byte("message"), []byte("context")
	ed := key.SignEd25519(message)
	mldsa, err := key.SignMLDSA44(message, context)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.SignMLDSA44(message, make([]byte, 256)); err == nil {
		t.Error("signs under a context of 256 bytes")
	}
	flipped := func(sig []byte) []byte {
		sig = bytes.Clone(sig)
		sig[7] ^= 1
		return sig
	}
	public := key.Public()
	for _, c := range []struct {
		name string
		err  error
		good bool
	}{
		{"Ed25519", public.VerifyEd25519(message, ed), true},
		{"Ed25519, other message", public.VerifyEd25519([]byte("other"), ed), false},
		{"Ed25519, other key", other.Public().VerifyEd25519(message, ed), false},
		{"Ed25519, flipped", public.VerifyEd25519(message, flipped(ed)), false},
		{"Ed25519, no key", crypto.LedgerPublic{}.VerifyEd25519(message, ed), false},
		{"ML-DSA-44", public.VerifyMLDSA44(message, context, mldsa), true},
		{"ML-DSA-44, other message", public.VerifyMLDSA44([]byte("other"), context, mldsa), false},
		{"ML-DSA-44, other context", public.VerifyMLDSA44(message, nil, mldsa), false},
		{"ML-DSA-44, other key", other.Public().VerifyMLDSA44(message, context, mldsa), false},
		{"ML-DSA-44, flipped", public.VerifyMLDSA44(message, context, flipped(mldsa)), false},
		{"ML-DSA-44, short", public.VerifyMLDSA44(message, context, mldsa[1:]), false},
		{"ML-DSA-44, no key", crypto.LedgerPublic{}.VerifyMLDSA44(message, context, mldsa), false},
	} {
		if (c.err == nil) != c.good || !c.good && !errors.Is(c.err, crypto.ErrSignature) {
			t.Errorf("%s: %v", c.name, c.err)
		}
	}
}

func TestParseLedgerPublic(t *testing.T) {
	good := crypto.NewLedgerKey(newKey(t, "a")).Public().Bytes()
	with := func(first string) []byte {
		ed, err := hex.DecodeString(first)
		if err != nil {
			t.Fatal(err)
		}
		return append(ed, good[32:]...)
	}
	parsed, err := crypto.ParseLedgerPublic(good)
	if err != nil || !bytes.Equal(parsed.Bytes(), good) {
		t.Errorf("good keys: %v", err)
	}
	for name, raw := range map[string][]byte{
		"nothing":       nil,
		"a byte less":   good[1:],
		"a byte more":   append(bytes.Clone(good), 0),
		"identity":      with("0100000000000000000000000000000000000000000000000000000000000000"),
		"order 8":       with("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
		"not canonical": with("f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // y = 3 + p
		"no point":      with("0200000000000000000000000000000000000000000000000000000000000000"),
	} {
		if _, err := crypto.ParseLedgerPublic(raw); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
