package crypto_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
)

// vectors is testdata/composite.json: the draft's own entry for this suite.
type vectors struct {
	Message      []byte `json:"m"`
	Context      []byte `json:"ctx"`
	PublicKey    []byte `json:"pk"`
	Seed         []byte `json:"sk"`
	Signature    []byte `json:"s"`
	SWithContext []byte `json:"sWithContext"`
}

func TestDraftVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/composite.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	private, err := crypto.NewPrivateKey(v.Seed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(private.Public().Bytes(), v.PublicKey) || !bytes.Equal(private.Seed(), v.Seed) {
		t.Error("the secret key does not give the draft's public key")
	}
	public, err := crypto.ParsePublicKey(v.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	own, err := private.Sign(v.Context, v.Message)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name         string
		context, sig []byte
		good         bool
	}{
		{"without context", nil, v.Signature, true},
		{"with context", v.Context, v.SWithContext, true},
		{"our own", v.Context, own, true},
		{"without its context", nil, v.SWithContext, false},
		{"with a context it was not made for", v.Context, v.Signature, false},
	} {
		if err := public.Verify(c.context, v.Message, c.sig); (err == nil) != c.good || !c.good && !errors.Is(err, crypto.ErrSignature) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestSignatureIsRefused(t *testing.T) {
	key, other := newKey(t, "a"), newKey(t, "b")
	message, context := []byte("message"), crypto.Context("test", crypto.Region{1})
	sign := func(k *crypto.PrivateKey, context, message []byte) []byte {
		sig, err := k.Sign(context, message)
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	good := sign(key, context, message)
	const cut = mldsa65.SignatureSize
	halves := func(a, b []byte) []byte { return slices.Concat(a[:cut], b[cut:]) }
	// An ML-DSA-65 and an Ed25519 signature that the same secrets made outside
	// the suite, over the bare message.
	aloneEd := ed25519.Sign(ed25519.NewKeyFromSeed(key.Seed()[32:]), message)
	_, alone := mldsa65.NewKeyFromSeed((*[32]byte)(key.Seed()[:32]))
	aloneML := make([]byte, cut)
	if err := mldsa65.SignTo(alone, message, context, true, aloneML); err != nil {
		t.Fatal(err)
	}
	for name, sig := range map[string][]byte{
		"nothing":                       nil,
		"short by one byte":             good[:len(good)-1],
		"one trailing byte":             append(slices.Clone(good), 0),
		"ML-DSA half stripped":          good[cut:],
		"Ed25519 half stripped":         good[:cut],
		"ML-DSA half zeroed":            slices.Concat(make([]byte, cut), good[cut:]),
		"Ed25519 half zeroed":           slices.Concat(good[:cut], make([]byte, 64)),
		"halves of two messages":        halves(good, sign(key, context, []byte("another"))),
		"halves of two messages, other": halves(sign(key, context, []byte("another")), good),
		"halves of two keys":            halves(good, sign(other, context, message)),
		"halves of two keys, other":     halves(sign(other, context, message), good),
		"another key":                   sign(other, context, message),
		"another purpose":               sign(key, crypto.Context("tests", crypto.Region{1}), message),
		"another region":                sign(key, crypto.Context("test", crypto.Region{2}), message),
		"another version":               sign(key, bytes.Replace(context, []byte("/0/"), []byte("/1/"), 1), message),
		"no context":                    sign(key, nil, message),
		"Ed25519 S+L":                   slices.Concat(good[:cut], testkit.AddOrder(good[cut:])),
		"Ed25519 made alone":            slices.Concat(good[:cut], aloneEd),
		"ML-DSA made alone":             slices.Concat(aloneML, good[cut:]),
		"halves swapped":                slices.Concat(good[cut:], good[:cut]),
	} {
		t.Run(name, func(t *testing.T) {
			if err := key.Public().Verify(context, message, sig); !errors.Is(err, crypto.ErrSignature) {
				t.Errorf("got %v", err)
			}
		})
	}
	if err := key.Public().Verify(context, message, good); err != nil {
		t.Error(err)
	}
}

// A component signature of ours must be worthless outside the suite: ML-DSA
// binds the label as its context, and both sign M', not the message.
func TestComponentIsWorthlessAlone(t *testing.T) {
	key, message := newKey(t, "a"), []byte("message")
	sig, err := key.Sign(nil, message)
	if err != nil {
		t.Fatal(err)
	}
	var pk mldsa65.PublicKey
	pk.Unpack((*[mldsa65.PublicKeySize]byte)(key.Public().Bytes()[:mldsa65.PublicKeySize]))
	digest := sha512.Sum512(message)
	for _, m := range [][]byte{message, digest[:]} {
		if mldsa65.Verify(&pk, m, nil, sig[:mldsa65.SignatureSize]) {
			t.Error("the ML-DSA half verifies by itself")
		}
		if ed25519.Verify(key.Public().Bytes()[mldsa65.PublicKeySize:], m, sig[mldsa65.SignatureSize:]) {
			t.Error("the Ed25519 half verifies by itself")
		}
	}
}

func TestPublicKeyIsRefused(t *testing.T) {
	good := newKey(t, "a").Public().Bytes()
	ed := func(h string) []byte {
		half, err := hex.DecodeString(h)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Concat(good[:mldsa65.PublicKeySize], half)
	}
	for name, raw := range map[string][]byte{
		"nothing":       nil,
		"short":         good[:len(good)-1],
		"long":          append(slices.Clone(good), 0),
		"identity":      ed("0100000000000000000000000000000000000000000000000000000000000000"),
		"order 2":       ed("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
		"order 4":       ed("0000000000000000000000000000000000000000000000000000000000000000"),
		"order 8":       ed("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
		"not canonical": ed("f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // y = p + 3
		"not a point":   ed("0200000000000000000000000000000000000000000000000000000000000000"),
	} {
		if _, err := crypto.ParsePublicKey(raw); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := crypto.ParsePublicKey(good); err != nil {
		t.Error(err)
	}
}

func TestContextTooLong(t *testing.T) {
	key := newKey(t, "a")
	if _, err := key.Sign(make([]byte, crypto.ContextMax), nil); err != nil {
		t.Error(err)
	}
	if _, err := key.Sign(make([]byte, crypto.ContextMax+1), nil); err == nil {
		t.Error("a context of 256 bytes is accepted")
	}
}

func TestSignAndVerify(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, err := crypto.NewPrivateKey(rapid.SliceOfN(rapid.Byte(), crypto.SeedSize, crypto.SeedSize).Draw(t, "seed"))
		if err != nil {
			t.Fatal(err)
		}
		context := rapid.SliceOfN(rapid.Byte(), 0, crypto.ContextMax).Draw(t, "context")
		message := rapid.SliceOf(rapid.Byte()).Draw(t, "message")
		sig, err := key.Sign(context, message)
		if err != nil {
			t.Fatal(err)
		}
		if err := key.Public().Verify(context, message, sig); err != nil {
			t.Fatal(err)
		}
		sig[rapid.IntRange(0, len(sig)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if err := key.Public().Verify(context, message, sig); !errors.Is(err, crypto.ErrSignature) {
			t.Fatalf("a flipped bit: %v", err)
		}
	})
}

func newKey(t testing.TB, seed string) *crypto.PrivateKey {
	t.Helper()
	key, err := crypto.GenerateKey(testkit.Random(seed))
	if err != nil {
		t.Fatal(err)
	}
	return key
}
