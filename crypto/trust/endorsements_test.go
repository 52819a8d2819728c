package trust_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
)

type (
	wireList struct {
		Version uint8           `cbor:"1,keyasint"`
		Region  crypto.Region   `cbor:"2,keyasint"`
		Charter crypto.Hash     `cbor:"3,keyasint"`
		Number  uint64          `cbor:"4,keyasint"`
		Time    int64           `cbor:"5,keyasint"`
		Regions []crypto.Region `cbor:"6,keyasint"`
	}
	wireEndorsements struct {
		List       []byte          `cbor:"1,keyasint"`
		Signatures []wireSignature `cbor:"2,keyasint"`
	}
)

// neighbours are three regions, of which a and b endorse each other, and a
// endorses c, which does not answer.
func neighbours(t testing.TB) (a, b, c *testkit.Region) {
	t.Helper()
	a, b, c = testkit.NewRegionNamed(t, "a", "anna"), testkit.NewRegionNamed(t, "b", "berta"), testkit.NewRegionNamed(t, "c", "cilli")
	a.Endorse(t, nil, b, c)
	b.Endorse(t, nil, a)
	return a, b, c
}

// filled is the roster of a region that was given the records of others too.
func filled(t testing.TB, own *testkit.Region, others ...*testkit.Region) *trust.Roster {
	t.Helper()
	roster := own.Roster(t)
	for _, o := range others {
		if _, err := roster.AddAll(o.Records); err != nil {
			t.Fatal(err)
		}
	}
	return roster
}

func TestRegionsHearEachOtherWhereBothEndorse(t *testing.T) {
	a, b, c := neighbours(t)
	roster := filled(t, a, b, c)
	berta, cilli := b.Members[0], c.Members[0]
	if !roster.Endorses(b.ID) || roster.Endorses(c.ID) || !roster.Endorses(a.ID) {
		t.Errorf("endorses b %v, c %v, itself %v", roster.Endorses(b.ID), roster.Endorses(c.ID), roster.Endorses(a.ID))
	}
	if got := roster.Regions(); !slices.Equal(got, []crypto.Region{a.ID, b.ID}) {
		t.Errorf("hears %v", got)
	}
	if m, ok := roster.Member(b.ID, berta.ID, 1); !ok || m.Name != "berta" {
		t.Errorf("does not know b's member: %v", m)
	}
	if m, ok := roster.Member(a.ID, berta.ID, 1); ok {
		t.Errorf("knows b's member as one of a: %v", m)
	}
	if m, ok := roster.ByPeer(string(cilli.Credential.Peer)); !ok || m.Region != c.ID { // or the lists could not meet
		t.Errorf("does not know who an endorsed region's peer is: %v", m)
	}
	if roster.CharterOf(b.ID).Name != "b" || roster.Charter().Name != "a" {
		t.Error("mixes charters up")
	}
	// c has endorsed nobody and takes nothing of the others.
	if _, err := c.Roster(t).AddAll(a.Records); !errors.Is(err, trust.ErrRegion) {
		t.Errorf("c takes a's records: %v", err)
	}
}

// Whether two others hear each other takes both of their words too.
func TestMutualOfTwoOthers(t *testing.T) {
	a, b, c := testkit.NewRegionNamed(t, "a", "anna"), testkit.NewRegionNamed(t, "b", "berta"), testkit.NewRegionNamed(t, "c", "cilli")
	a.Endorse(t, nil, b, c)
	b.Endorse(t, nil, a, c)
	c.Endorse(t, nil, a)
	roster := filled(t, a, b, c)
	if roster.Mutual(b.ID, c.ID) || roster.Mutual(c.ID, b.ID) {
		t.Error("b endorses c, which does not answer")
	}
	if _, err := roster.Add(c.Endorse(t, roster.Endorsements(c.ID), a, b)); err != nil {
		t.Fatal(err)
	}
	if !roster.Mutual(b.ID, c.ID) || !roster.Mutual(c.ID, b.ID) {
		t.Error("b and c endorse each other")
	}
}

func TestWithdrawalForgets(t *testing.T) {
	a, b, c := neighbours(t)
	roster := filled(t, a, b, c)
	changed := roster.Changed()
	if _, err := roster.Add(a.Endorse(t, roster.Endorsements(a.ID), c)); err != nil {
		t.Fatal(err)
	}
	if _, ok := roster.ByPeer(string(b.Members[0].Credential.Peer)); ok || roster.Endorses(b.ID) || roster.CharterOf(b.ID) != nil {
		t.Error("b is still known")
	}
	if _, ok := roster.ByPeer(string(c.Members[0].Credential.Peer)); !ok {
		t.Error("c is forgotten as well")
	}
	select {
	case <-changed:
	default:
		t.Error("the withdrawal was not told")
	}
	// An older list does not bring it back, whatever the order.
	late := trust.NewRoster(a.ID)
	for _, raw := range slices.Backward(a.Records) {
		_, _ = late.Add(raw)
	}
	if _, err := late.AddAll(a.Records); err != nil {
		t.Fatal(err)
	}
	if late.Endorsements(a.ID).Number != 2 {
		t.Errorf("list %d counts", late.Endorsements(a.ID).Number)
	}
}

func TestEndorsementsAreRefused(t *testing.T) {
	a, b, c := neighbours(t)
	good := unpack[wireEndorsements](t, a.Records[len(a.Records)-1])
	list := wireList{Region: a.ID, Charter: a.Charter.Hash(), Number: 7, Regions: []crypto.Region{b.ID}}
	signed := func(by *testkit.Region, context crypto.Region, l wireList) []byte {
		raw := mustMarshal(t, l)
		s, err := by.Admission.Sign(crypto.Context("endorsements", context), raw)
		if err != nil {
			t.Fatal(err)
		}
		return pack(t, 4, wireEndorsements{raw, []wireSignature{{Signer: crypto.SumContext("coordinator", crypto.Region{}, by.Admission.Public().Bytes()), Bytes: s}}})
	}
	change := func(f func(l *wireList)) []byte {
		l := list
		f(&l)
		return signed(a, a.ID, l)
	}
	for name, test := range map[string]struct {
		raw  []byte
		want string
	}{
		"unsigned":                 {pack(t, 4, wireEndorsements{mustMarshal(t, list), nil}), "too few"},
		"b's coordinator for a":    {signed(b, a.ID, list), "not a coordinator"},
		"signed for b":             {signed(a, b.ID, list), "coordinator \"coordinator\""},
		"of a region not known":    {change(func(l *wireList) { l.Region = crypto.Region{9} }), "another region"},
		"under another charter":    {change(func(l *wireList) { l.Charter = crypto.Hash{1} }), "charter"},
		"number 0":                 {change(func(l *wireList) { l.Number = 0 }), "start at 1"},
		"version 1":                {change(func(l *wireList) { l.Version = 1 }), "version 1"},
		"before 1970":              {change(func(l *wireList) { l.Time = -1 }), "1970"},
		"itself":                   {change(func(l *wireList) { l.Regions = []crypto.Region{a.ID} }), "itself"},
		"twice":                    {change(func(l *wireList) { l.Regions = []crypto.Region{b.ID, b.ID} }), "distinct"},
		"more than a list has":     {change(func(l *wireList) { l.Regions = make([]crypto.Region, trust.EndorsedMax+1) }), "at most"},
		"bytes that are no list":   {pack(t, 4, wireEndorsements{[]byte{0xff}, good.Signatures}), "endorsements"},
		"bytes that are no record": {pack(t, 4, "?"), "endorsements"},
	} {
		t.Run(name, func(t *testing.T) {
			roster := filled(t, a, b, c)
			before := roster.Root()
			if _, err := roster.Add(test.raw); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
			if roster.Root() != before {
				t.Error("the roster changed")
			}
		})
	}
	if _, err := filled(t, a, b, c).Add(signed(a, a.ID, list)); err != nil {
		t.Errorf("the one that all others differ from: %v", err)
	}
	// Who may not sign cannot make one either.
	if _, err := trust.Endorse(a.Charter, []*crypto.PrivateKey{b.Admission}, nil, []crypto.Region{b.ID}, 0); err == nil {
		t.Error("b's key signs for a")
	}
	if _, err := trust.Endorse(a.Charter, nil, nil, nil, 0); !errors.Is(err, trust.ErrThreshold) {
		t.Errorf("without keys: %v", err)
	}
}

// An endorsed region speaks in its own name only.
func TestEndorsedRegionCertifiesOnlyItsOwn(t *testing.T) {
	a, b, c := neighbours(t)
	roster := filled(t, a, b, c)
	before := roster.Root()
	anna := grant(t, identity(t, "z"), "z")
	forged, err := trust.Admit(b.Charter, []*crypto.PrivateKey{b.Admission}, []trust.Grant{anna}, testkit.Founded)
	if err != nil {
		t.Fatal(err)
	}
	// The same batch with a's name on it.
	record := unpack[wireCredential](t, forged[0])
	record.Batch = slices.Concat(record.Batch)
	at := strings.Index(string(record.Batch), string(b.ID[:]))
	copy(record.Batch[at:], a.ID[:])
	if _, err := roster.Add(pack(t, 2, record)); err == nil || roster.Root() != before {
		t.Errorf("b admits to a: %v", err)
	}
}

// Any order of the same records gives the same roster, and members of different
// regions agree on what both are shown.
func TestOrderNeverMattersAcrossRegions(t *testing.T) {
	a, b, c := neighbours(t)
	c.Endorse(t, nil, a, b)
	b.Endorse(t, b.Roster(t).Endorsements(b.ID), a, c)
	a.Endorse(t, a.Roster(t).Endorsements(a.ID), b)
	regions := []*testkit.Region{a, b, c}
	all := slices.Concat(a.Records, b.Records, c.Records)
	rapid.Check(t, func(t *rapid.T) {
		var rosters [3]*trust.Roster
		for i, own := range regions {
			for range 2 {
				roster := trust.NewRoster(own.ID)
				_, _ = roster.AddAll(rapid.Permutation(all).Draw(t, "records"))
				_, _ = roster.AddAll(all) // what came before it was endorsed comes again
				if rosters[i] != nil && rosters[i].Root() != roster.Root() {
					t.Fatalf("rosters of %s differ", own.Charter.Name)
				}
				rosters[i] = roster
			}
		}
		// a and b are mutual, and so are b and c; c is endorsed by a no longer.
		ab, ba := rosters[0].For(b.ID), rosters[1].For(a.ID)
		if ab.Root() != ba.Root() || !slices.Equal(ab.IDs(), ba.IDs()) {
			t.Fatal("a and b do not agree on what both are shown")
		}
		if rosters[0].Endorses(c.ID) || rosters[2].Endorses(a.ID) || !rosters[1].Mutual(b.ID, c.ID) {
			t.Fatal("who hears whom is wrong")
		}
	})
}
