package trust_test

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
)

func TestForkProofs(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	header := crypto.Header{Audience: crypto.AudienceRegion, TLP: 3, Epoch: 1, Seq: 1, Floor: 1, Time: 1_000_000, Expiry: 2_000_000}
	said := func(m *testkit.Member, h crypto.Header, word string) []byte {
		return m.Envelope(t, h, nil, []byte(word)).Bare()
	}
	a := r.Members[0]
	one, two, three := said(a, header, "one"), said(a, header, "two"), said(a, header, "three")
	proof := func(x, y []byte) []byte {
		raw, err := trust.NewForkProof(x, y)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}

	t.Run("any order, one proof", func(t *testing.T) {
		proofs := [][]byte{proof(one, two), proof(three, one), proof(two, three), proof(two, one)}
		var want crypto.Hash
		rapid.Check(t, func(rt *rapid.T) {
			roster := r.Roster(t)
			for _, p := range rapid.Permutation(proofs).Draw(rt, "order") {
				if _, err := roster.Add(p); err != nil {
					rt.Fatal(err)
				}
			}
			if len(roster.Forks()) != 1 {
				rt.Fatalf("%d forks", len(roster.Forks()))
			}
			if want == (crypto.Hash{}) {
				want = roster.Root()
			}
			if roster.Root() != want {
				rt.Fatal("the roster depends on the order")
			}
			again := trust.NewRoster(roster.Region())
			var all [][]byte
			for _, id := range roster.IDs() {
				raw, ok := roster.Record(id)
				if !ok {
					rt.Fatal("a record is listed and not there")
				}
				all = append(all, raw)
			}
			if _, err := again.AddAll(rapid.Permutation(all).Draw(rt, "records")); err != nil || again.Root() != want {
				rt.Fatalf("another roster of the same records differs: %v", err)
			}
		})
	})

	other := header
	other.Seq, other.Prev = 2, crypto.EnvelopeID{1}
	for name, bad := range map[string][2][]byte{
		"the same twice":     {one, one},
		"different places":   {one, said(a, other, "two")},
		"different authors":  {one, said(r.Members[1], header, "two")},
		"a truncated header": {one, two[:20]},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := trust.NewForkProof(bad[0], bad[1]); err == nil {
				t.Error("made")
			}
		})
	}

	t.Run("a broken signature", func(t *testing.T) {
		broken := func(raw []byte) []byte {
			out := append([]byte(nil), raw...)
			out[len(out)-1] ^= 1
			return out
		}
		// Either of the two, since only one of them has the lower id.
		for _, pair := range [][2][]byte{{one, broken(two)}, {broken(one), two}} {
			roster := r.Roster(t)
			if _, err := roster.Add(proof(pair[0], pair[1])); !errors.Is(err, crypto.ErrSignature) {
				t.Errorf("got %v", err)
			}
			if len(roster.Forks()) != 0 {
				t.Error("kept")
			}
		}
	})
	t.Run("the higher id first", func(t *testing.T) {
		var rec struct {
			Type    uint8  `cbor:"1,keyasint"`
			Payload []byte `cbor:"2,keyasint"`
		}
		var pair struct {
			Low  []byte `cbor:"1,keyasint"`
			High []byte `cbor:"2,keyasint"`
		}
		if err := canon.Unmarshal(proof(one, two), &rec); err != nil {
			t.Fatal(err)
		}
		if err := canon.Unmarshal(rec.Payload, &pair); err != nil {
			t.Fatal(err)
		}
		pair.Low, pair.High = pair.High, pair.Low
		var err error
		if rec.Payload, err = canon.Marshal(pair); err != nil {
			t.Fatal(err)
		}
		raw, err := canon.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Roster(t).Add(raw); err == nil {
			t.Error("one proof has two encodings")
		}
	})
	t.Run("an unknown author", func(t *testing.T) {
		stranger := testkit.NewRegionNamed(t, "elsewhere", "x")
		h := header
		x, y := said(stranger.Members[0], h, "one"), said(stranger.Members[0], h, "two")
		if _, err := r.Roster(t).Add(proof(x, y)); !errors.Is(err, trust.ErrRegion) {
			t.Errorf("got %v", err)
		}
	})
}
