package trust_test

import (
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
)

// A clone knows what its original knew, and neither learns from the other.
func TestClonesGoTheirOwnWays(t *testing.T) {
	a, b := testkit.NewRegionNamed(t, "a", "one", "two"), testkit.NewRegionNamed(t, "b", "three")
	a.Endorse(t, nil, b)
	b.Endorse(t, nil, a)
	header := crypto.Header{Time: 1_000_000}
	fork := func(m *testkit.Member) []byte {
		raw, err := trust.NewForkProof(m.Envelope(t, header, nil, []byte("one")).Bare(), m.Envelope(t, header, nil, []byte("two")).Bare())
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	original := a.Roster(t)
	if _, err := original.AddAll(append(b.Records, fork(a.Members[0]))); err != nil {
		t.Fatal(err)
	}
	clone := original.Clone()
	for _, region := range []*testkit.Region{a, b} {
		for _, m := range region.Members {
			c, known := clone.ByPeer(string(m.Credential.Peer))
			if !known || c.Member != m.ID || !clone.Endorses(region.ID) {
				t.Errorf("the clone does not know %s", m.Credential.Name)
			}
		}
	}
	before := original.Root()
	if clone.Root() != before || len(clone.Forks()) != 1 {
		t.Error("the clone holds something else")
	}
	list := trust.NewRoster(a.ID)
	if _, err := list.AddAll(a.Records); err != nil {
		t.Fatal(err)
	}
	for name, records := range map[string][][]byte{
		"credentials": {a.Admit(t, "four")[0].Record, b.Admit(t, "five")[0].Record},
		"a fork":      {fork(a.Members[1]), fork(b.Members[0])},
		"endorsement": {a.Endorse(t, list.Endorsements(a.ID))},
	} {
		for _, r := range [][2]*trust.Roster{{original, clone}, {original.Clone(), original}} {
			quiet, root := r[1].Changed(), r[1].Root()
			if n, err := r[0].Clone().AddAll(records); err != nil || n != len(records) {
				t.Fatalf("%s: %d, %v", name, n, err)
			}
			select {
			case <-quiet:
				t.Errorf("%s: the other was told", name)
			default:
			}
			if r[1].Root() != root {
				t.Errorf("%s: the other has changed", name)
			}
		}
	}
	if original.Root() != before || clone.Root() != before {
		t.Error("the original has changed")
	}
	if len(original.Forks()) != 1 || !original.Endorses(b.ID) || len(original.Members(a.ID)) != 2 {
		t.Error("the original answers something else")
	}
}

func TestKinds(t *testing.T) {
	r := testkit.NewRegion(t, "a")
	r.Endorse(t, nil)
	roster := r.Roster(t)
	for i, want := range []trust.Kind{trust.KindCharter, trust.KindCredential, trust.KindEndorsements} {
		if kind, ok := trust.KindOf(r.Records[i]); !ok || kind != want {
			t.Errorf("record %d is of kind %d", i, kind)
		}
	}
	for _, id := range roster.IDs() {
		found, ok := roster.Find(id)
		kind, _ := trust.KindOf(found.Raw)
		if !ok || kind != found.Kind || found.Region != r.ID {
			t.Errorf("found %d of %s", found.Kind, found.Region)
		}
	}
	if _, ok := roster.Find(crypto.Hash{}); ok {
		t.Error("found a record that nobody added")
	}
	envelope := r.Members[0].Envelope(t, crypto.Header{Time: 1_000_000}, nil, []byte("word"))
	for _, raw := range [][]byte{nil, {0xa2, 1, 2}, envelope.Raw, {0xa2, 1, 0x18, 2}, {0xa2, 1, 2, 3}} {
		if kind, ok := trust.KindOf(raw); ok {
			t.Errorf("%.8x begins like a record of kind %d", raw, kind)
		}
	}
	for kind, want := range map[trust.Kind]crypto.Audience{
		trust.KindCharter: crypto.AudienceCommunity, trust.KindCredential: crypto.AudienceCommunity, trust.KindRevocation: crypto.AudienceCommunity,
		trust.KindEndorsements: crypto.AudienceCommunity, trust.KindFork: crypto.AudienceCommunity,
		trust.KindProposal: crypto.AudienceRegion, trust.KindApproval: crypto.AudienceRegion,
	} {
		if a, known := kind.Audience(); !known || a != want {
			t.Errorf("kind %d is for %s", kind, a)
		}
	}
	if _, known := trust.Kind(8).Audience(); known {
		t.Error("a kind of a later version is spread")
	}
}
