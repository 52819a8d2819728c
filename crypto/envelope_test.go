package crypto_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
)

// accept does the steps of acceptance that live on this floor.
func accept(roster *trust.Roster, raw []byte) string {
	e, err := crypto.ParseEnvelope(raw)
	switch {
	case errors.Is(err, crypto.ErrFrame):
		return testkit.WantFrame
	case errors.Is(err, crypto.ErrHeader):
		return testkit.WantHeader
	case err != nil:
		return err.Error()
	case !roster.Endorses(e.Header.Region):
		return testkit.WantRegion
	}
	credential, ok := roster.Member(e.Header.Region, e.Header.Author, e.Header.Serial)
	if !ok {
		return testkit.WantAuthor
	}
	key, err := roster.Key(credential)
	if err != nil {
		return err.Error()
	}
	if err := e.Verify(key); errors.Is(err, crypto.ErrSignature) {
		return testkit.WantSignature
	} else if err != nil {
		return err.Error()
	}
	if _, err := e.Split(); errors.Is(err, crypto.ErrItems) {
		return testkit.WantItems
	} else if err != nil {
		return err.Error()
	}
	return testkit.WantGood
}

func TestBadEnvelopes(t *testing.T) {
	region := testkit.NewRegion(t, "St Anna", "St Josef")
	roster := region.Roster(t)
	seen := map[string]bool{}
	for _, c := range testkit.BadEnvelopes(t, region, testkit.Founded, []byte("one"), []byte("two"), []byte("three")) {
		t.Run(c.Name, func(t *testing.T) {
			if got := accept(roster, c.Raw); got != c.Want {
				t.Errorf("got %q, want %q", got, c.Want)
			}
		})
		if seen[c.Name] {
			t.Errorf("two cases are called %q", c.Name)
		}
		seen[c.Name] = true
	}
	t.Logf("%d cases", len(seen))
}

func TestEnvelopeRoundTrip(t *testing.T) {
	m := testkit.NewRegion(t, "St Anna").Members[0]
	items := [][]byte{nil, []byte("a"), make([]byte, 23), make([]byte, 24), make([]byte, 255), make([]byte, 256), make([]byte, 65_535), make([]byte, 70_000)}
	e := m.Envelope(t, crypto.Header{Time: 1}, nil, items...)
	again, err := crypto.ParseEnvelope(e.Raw)
	if err != nil {
		t.Fatal(err)
	}
	got, err := again.Split()
	if err != nil || !slices.EqualFunc(got, items, bytes.Equal) {
		t.Fatalf("items differ: %v", err)
	}
	if again.ID != e.ID || again.Header != e.Header || again.Erased() {
		t.Errorf("got %+v", again)
	}
	for i := range items {
		item, path, err := again.Prove(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := crypto.CheckProof(path, len(items), i, again.Header.Root, crypto.LeafHash(item)); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := again.Prove(len(items)); err == nil {
		t.Error("proves an item that is not there")
	}
}

func TestErasedEnvelopeKeepsItsSignature(t *testing.T) {
	m := testkit.NewRegion(t, "St Anna").Members[0]
	e := m.Envelope(t, crypto.Header{Time: 1}, nil, []byte("a"))
	bare, err := crypto.ParseEnvelope(e.Bare())
	if err != nil {
		t.Fatal(err)
	}
	if !bare.Erased() || bare.ID != e.ID {
		t.Errorf("got %+v", bare)
	}
	if err := bare.Verify(m.Signing.Public()); err != nil {
		t.Error(err)
	}
	if _, err := bare.Split(); !errors.Is(err, crypto.ErrItems) {
		t.Errorf("split: %v", err)
	}
}

func TestNewEnvelopeLimits(t *testing.T) {
	m := testkit.NewRegion(t, "St Anna").Members[0]
	header := m.Envelope(t, crypto.Header{Time: 1}, nil, []byte("a")).Header
	for name, items := range map[string][][]byte{
		"none":              {},
		"1,025":             make([][]byte, crypto.ItemsMax+1),
		"65,537":            make([][]byte, 1<<16+1), // one, in 16 bits
		"more than 256 KiB": {make([]byte, crypto.EnvelopeSizeMax)},
	} {
		if _, err := crypto.NewEnvelope(header, items, m.Signing); err == nil {
			t.Errorf("signs %s items", name)
		}
	}
	if _, err := crypto.NewEnvelope(header, make([][]byte, crypto.ItemsMax), m.Signing); err != nil {
		t.Error(err)
	}
}

func TestIDsAndContexts(t *testing.T) {
	id := crypto.NewItemID(crypto.MemberID{1}, crypto.LeafHash([]byte("a")))
	if got, err := crypto.ParseItemID(id.String()); err != nil || got != id {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "ab", id.String() + "0", "zz" + id.String()[2:], string(make([]byte, 5000))} {
		if _, err := crypto.ParseItemID(bad); err == nil || len(err.Error()) > 400 {
			t.Errorf("%.10q: %v", bad, err)
		}
	}
	// Same bytes, another purpose or region: another hash.
	a := crypto.SumContext("a", crypto.Region{}, []byte("x"))
	if a == crypto.SumContext("b", crypto.Region{}, []byte("x")) || a == crypto.SumContext("a", crypto.Region{1}, []byte("x")) {
		t.Error("contexts do not separate")
	}
}

func TestProofsOfAllSizes(t *testing.T) {
	for size := 1; size <= 70; size++ {
		leaves := make([]crypto.Hash, size)
		for i := range leaves {
			leaves[i] = crypto.LeafHash([]byte{byte(i)})
		}
		tree, err := crypto.NewTree(leaves)
		if err != nil {
			t.Fatal(err)
		}
		root, err := tree.Root()
		if err != nil {
			t.Fatal(err)
		}
		for i, leaf := range leaves {
			path, err := tree.Prove(i)
			if err != nil {
				t.Fatal(err)
			}
			if err := crypto.CheckProof(path, size, i, root, leaf); err != nil {
				t.Fatalf("leaf %d of %d: %v", i, size, err)
			}
			for _, bad := range []error{
				crypto.CheckProof(path, size, (i+1)%(size+1), root, leaf),
				crypto.CheckProof(path, size, i, root, leaves[(i+1)%size]),
				crypto.CheckProof(append(slices.Clone(path), leaf), size, i, root, leaf),
				crypto.CheckProof(path, size, -1, root, leaf),
				crypto.CheckProof(path, size, size, root, leaf),
			} {
				if bad == nil && size > 1 {
					t.Fatalf("a wrong proof of leaf %d of %d is accepted", i, size)
				}
			}
		}
		if _, err := tree.Prove(size); err == nil {
			t.Fatal("proves a leaf that is not there")
		}
	}
}

func TestAnyFlippedProofIsRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaves := make([]crypto.Hash, rapid.IntRange(2, 70).Draw(t, "size"))
		for i := range leaves {
			leaves[i] = crypto.LeafHash([]byte{byte(i)})
		}
		tree, err := crypto.NewTree(leaves)
		if err != nil {
			t.Fatal(err)
		}
		root, err := tree.Root()
		if err != nil {
			t.Fatal(err)
		}
		at := rapid.IntRange(0, len(leaves)-1).Draw(t, "at")
		path, err := tree.Prove(at)
		if err != nil {
			t.Fatal(err)
		}
		path[rapid.IntRange(0, len(path)-1).Draw(t, "hash")][rapid.IntRange(0, 31).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if crypto.CheckProof(path, len(leaves), at, root, leaves[at]) == nil {
			t.Fatal("accepted")
		}
	})
}

func FuzzParseEnvelope(f *testing.F) {
	region := testkit.NewRegion(f, "St Anna", "St Josef")
	for _, c := range testkit.BadEnvelopes(f, region, testkit.Founded, []byte("one"), []byte("two"), []byte("three")) {
		if len(c.Raw) < 10_000 {
			f.Add(c.Raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := crypto.ParseEnvelope(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(slices.Concat(e.Signed, e.Signature, e.Items), raw) {
			t.Fatal("parts are not the whole")
		}
		items, err := e.Split()
		if err != nil {
			return
		}
		for i := range items {
			item, path, err := e.Prove(i)
			if err != nil {
				t.Fatal(err)
			}
			if err := crypto.CheckProof(path, len(items), i, e.Header.Root, crypto.LeafHash(item)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzCheckProof(f *testing.F) {
	f.Add([]byte{}, 1, 0)
	f.Add(make([]byte, 64), 3, 2)
	f.Fuzz(func(t *testing.T, raw []byte, size, index int) {
		path := make([]crypto.Hash, len(raw)/32)
		for i := range path {
			path[i] = crypto.Hash(raw[32*i:])
		}
		leaf := crypto.LeafHash(raw)
		if crypto.CheckProof(path, size, index, crypto.Hash{1}, leaf) == nil {
			t.Fatal("proves a root that nothing hashes to")
		}
	})
}

func BenchmarkSign(b *testing.B) {
	key, message := newKey(b, "a"), make([]byte, 250)
	for b.Loop() {
		if _, err := key.Sign(nil, message); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	key, message := newKey(b, "a"), make([]byte, 250)
	sig, err := key.Sign(nil, message)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := key.Public().Verify(nil, message, sig); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParsePublicKey(b *testing.B) {
	raw := newKey(b, "a").Public().Bytes()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := crypto.ParsePublicKey(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAndSplit512(b *testing.B) {
	m := testkit.NewRegion(b, "St Anna").Members[0]
	items := make([][]byte, 512)
	for i := range items {
		items[i] = bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 100)
	}
	raw := m.Envelope(b, crypto.Header{Time: 1}, nil, items...).Raw
	b.ReportAllocs()
	for b.Loop() {
		e, err := crypto.ParseEnvelope(raw)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := e.Split(); err != nil {
			b.Fatal(err)
		}
	}
}
