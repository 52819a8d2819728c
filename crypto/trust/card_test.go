package trust_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
)

type wireSigned struct {
	Body      []byte `cbor:"1,keyasint"`
	Signature []byte `cbor:"2,keyasint"`
}

func TestCardProvesItsKey(t *testing.T) {
	owner, thief := key(t, "owner"), key(t, "thief")
	request, err := trust.NewRequest(identity(t, "node"), "St Anna", nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := trust.NewCard(owner, "St Anna", request)
	if err != nil {
		t.Fatal(err)
	}
	card, err := trust.ParseCard(raw)
	if err != nil || card.Name != "St Anna" || !bytes.Equal(card.Key, owner.Public().Bytes()) || !bytes.Equal(card.Request, request) {
		t.Fatalf("%+v, %v", card, err)
	}
	if bare, err := trust.NewCard(owner, "Ministry", nil); err != nil {
		t.Error(err)
	} else if _, err := trust.ParseCard(bare); err != nil {
		t.Errorf("a card without a node: %v", err)
	}
	if _, err := trust.NewCard(owner, "St Anna", request[:100]); err == nil {
		t.Error("a card with half a request is made")
	}
	// forge signs a changed card with a key.
	forge := func(change func(c *trust.Card), by *crypto.PrivateKey) []byte {
		c := *card
		change(&c)
		body := mustMarshal(t, c)
		sig, err := by.Sign(crypto.Context("coordinator-card", crypto.Region{}), body)
		if err != nil {
			t.Fatal(err)
		}
		return mustMarshal(t, wireSigned{body, sig})
	}
	if _, err := trust.ParseCard(forge(func(*trust.Card) {}, owner)); err != nil {
		t.Fatalf("the owner's own is refused: %v", err)
	}
	for name, bad := range map[string][]byte{
		"another's key":     forge(func(*trust.Card) {}, thief),
		"another version":   forge(func(c *trust.Card) { c.Version = 1 }, owner),
		"no name":           forge(func(c *trust.Card) { c.Name = "" }, owner),
		"a short key":       forge(func(c *trust.Card) { c.Key = c.Key[1:] }, owner),
		"a broken request":  forge(func(c *trust.Card) { c.Request = bytes.Replace(c.Request, []byte("St Anna"), []byte("St Inna"), 1) }, owner),
		"a changed name":    bytes.Replace(raw, []byte("St Anna"), []byte("St Inna"), 1),
		"a trailing byte":   append(bytes.Clone(raw), 0),
		"more than fits":    make([]byte, trust.CardSizeMax+1),
		"a request instead": request,
	} {
		if _, err := trust.ParseCard(bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestListIsItsPublishers(t *testing.T) {
	publisher, thief := key(t, "publisher"), key(t, "thief")
	a, b := testkit.NewRegionNamed(t, "a"), testkit.NewRegionNamed(t, "b")
	regions := []crypto.Region{a.ID, b.ID}
	slices.SortFunc(regions, func(x, y crypto.Region) int { return bytes.Compare(x[:], y[:]) })
	good := trust.CharterList{Name: "the country", Time: testkit.Founded, Regions: regions, Records: append(slices.Clone(a.Records), b.Records...), Seeds: []string{}}
	raw, err := trust.SignList(good, publisher)
	if err != nil {
		t.Fatal(err)
	}
	list, err := trust.ParseList(raw)
	if err != nil || list.Name != good.Name || !bytes.Equal(list.Publisher, publisher.Public().Bytes()) || !slices.Equal(list.Regions, regions) {
		t.Fatalf("%+v, %v", list, err)
	}
	forge := func(change func(l *trust.CharterList), by *crypto.PrivateKey) []byte {
		l := *list
		change(&l)
		body, err := canon.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := by.Sign(crypto.Context("charter-list", crypto.Region{}), body)
		if err != nil {
			t.Fatal(err)
		}
		return mustMarshal(t, wireSigned{body, sig})
	}
	if _, err := trust.ParseList(forge(func(*trust.CharterList) {}, publisher)); err != nil {
		t.Fatalf("the publisher's own is refused: %v", err)
	}
	for name, bad := range map[string][]byte{
		"another signs":      forge(func(*trust.CharterList) {}, thief),
		"a changed name":     bytes.Replace(raw, []byte("the country"), []byte("tHe country"), 1),
		"regions unsorted":   forge(func(l *trust.CharterList) { l.Regions = []crypto.Region{regions[1], regions[0]} }, publisher),
		"a region twice":     forge(func(l *trust.CharterList) { l.Regions = []crypto.Region{regions[0], regions[0]} }, publisher),
		"no region":          forge(func(l *trust.CharterList) { l.Regions = nil }, publisher),
		"another version":    forge(func(l *trust.CharterList) { l.Version = 1 }, publisher),
		"a name that turns":  forge(func(l *trust.CharterList) { l.Name = "\u202ex" }, publisher),
		"made before 1970":   forge(func(l *trust.CharterList) { l.Time = -1 }, publisher),
		"a card of a region": a.Records[0],
	} {
		if _, err := trust.ParseList(bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzParseCard(f *testing.F) {
	raw, err := trust.NewCard(key(f, "owner"), "a", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := trust.ParseCard(data); err == nil && c.Name != "a" {
			t.Fatalf("nobody signed %+v", c)
		}
	})
}

func FuzzParseList(f *testing.F) {
	r := testkit.NewRegion(f)
	raw, err := trust.SignList(trust.CharterList{Name: "a", Regions: []crypto.Region{r.ID}, Records: r.Records, Seeds: []string{}}, key(f, "publisher"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		if l, err := trust.ParseList(data); err == nil && l.Name != "a" {
			t.Fatalf("nobody signed %+v", l)
		}
	})
}
