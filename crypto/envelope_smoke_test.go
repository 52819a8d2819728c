package crypto_test

import (
	"crypto/rand"
	"testing"

	"github.com/watchward/watchward/crypto"
)

func TestEnvelopeRoundTrip(t *testing.T) {
	key, err := crypto.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e, err := crypto.NewEnvelope(crypto.Header{
		Author: crypto.NewMemberID(key.Public()), Serial: 1, Audience: crypto.AudienceRegion,
		Epoch: 1, Seq: 1, Floor: 1, Time: 1, Expiry: 2, TLP: 3,
	}, [][]byte{[]byte("a"), make([]byte, 300), make([]byte, 70000)}, key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := crypto.ParseEnvelope(e.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Verify(key.Public()); err != nil {
		t.Fatal(err)
	}
	item, path, err := again.Prove(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := crypto.CheckProof(path, 3, 1, again.Header.Root, crypto.LeafHash(item)); err != nil {
		t.Fatal(err)
	}
	t.Logf("header %d bytes", len(again.Signed))
}
