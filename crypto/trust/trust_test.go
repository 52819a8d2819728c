package trust_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
)

// The wire formats once more, so that tests can forge what the package would
// never encode.
type (
	wireRecord struct {
		Type    uint8  `cbor:"1,keyasint"`
		Payload []byte `cbor:"2,keyasint"`
	}
	wireSignature struct {
		Signer crypto.Hash `cbor:"1,keyasint"`
		Bytes  []byte      `cbor:"2,keyasint"`
	}
	wireCharter struct {
		Charter    []byte          `cbor:"1,keyasint"`
		Signatures []wireSignature `cbor:"2,keyasint"`
	}
	wireCredential struct {
		Credential []byte          `cbor:"1,keyasint"`
		Index      uint32          `cbor:"2,keyasint"`
		Path       []crypto.Hash   `cbor:"3,keyasint,omitempty"`
		Batch      []byte          `cbor:"4,keyasint"`
		Signatures []wireSignature `cbor:"5,keyasint"`
	}
	wireRequest struct {
		Body        []byte `cbor:"1,keyasint"`
		Signature   []byte `cbor:"2,keyasint"`
		PeerProof   []byte `cbor:"3,keyasint"`
		LedgerProof []byte `cbor:"4,keyasint,omitempty"`
	}
)

func key(t testing.TB, seed string) *crypto.PrivateKey {
	t.Helper()
	k, err := crypto.GenerateKey(testkit.Random(seed))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func identity(t testing.TB, seed string) *keyfile.Identity {
	t.Helper()
	id, err := keyfile.NewIdentity(testkit.Random(seed))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func grant(t testing.TB, id *keyfile.Identity, name string) trust.Grant {
	t.Helper()
	raw, err := trust.NewRequest(id, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := trust.ParseRequest(raw)
	if err != nil {
		t.Fatal(err)
	}
	return trust.Grant{Request: r, NotBefore: testkit.Founded, NotAfter: testkit.Forever}
}

// council is a charter of n coordinators, threshold of whom must agree, with
// its record.
type council struct {
	keys    []*crypto.PrivateKey
	charter *trust.Charter
	record  []byte
}

func newCouncil(t testing.TB, n, threshold int) council {
	t.Helper()
	var c council
	terms := trust.Charter{Name: "council", Threshold: uint8(threshold), Created: testkit.Founded}
	for i := range n {
		k := key(t, fmt.Sprint("coordinator ", i))
		c.keys = append(c.keys, k)
		terms.Coordinators = append(terms.Coordinators, trust.Coordinator{Name: fmt.Sprint("coordinator ", i), Key: k.Public().Bytes()})
	}
	found, charter, err := trust.Found(terms)
	if err != nil {
		t.Fatal(err)
	}
	draft, err := trust.Propose(nil, c.keys[0], testkit.Founded, found)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range c.keys[1:] {
		if _, err := draft.Act(); !errors.Is(err, trust.ErrThreshold) || draft.Lacking() != n-i-1 {
			t.Fatalf("a charter that %d of %d signed: %v", i+1, n, err)
		}
		if err := draft.Sign(k); err != nil {
			t.Fatal(err)
		}
	}
	records, err := draft.Act()
	if err != nil {
		t.Fatal(err)
	}
	c.charter, c.record = charter, records[0]
	return c
}

func (c council) roster(t testing.TB) *trust.Roster {
	t.Helper()
	r := trust.NewRoster(c.charter.Region())
	if added, err := r.Add(c.record); err != nil || !added {
		t.Fatal(added, err)
	}
	return r
}

func unpack[T any](t testing.TB, record []byte) T {
	t.Helper()
	var outer wireRecord
	var inner T
	if err := errors.Join(canon.Unmarshal(record, &outer), canon.Unmarshal(outer.Payload, &inner)); err != nil {
		t.Fatal(err)
	}
	return inner
}

func pack(t testing.TB, kind uint8, payload any) []byte {
	t.Helper()
	inner, err := canon.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := canon.Marshal(wireRecord{kind, inner})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestThresholdCountsDistinctCoordinators(t *testing.T) {
	c := newCouncil(t, 3, 2)
	admission, err := trust.Admission(c.charter, []trust.Grant{grant(t, identity(t, "anna"), "St Anna")}, testkit.Founded)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Propose(c.charter, key(t, "stranger"), testkit.Founded, admission); err == nil {
		t.Error("a stranger may propose")
	}
	batch, err := trust.Propose(c.charter, c.keys[0], testkit.Founded, admission)
	if err != nil {
		t.Fatal(err)
	}
	if err := batch.Sign(key(t, "stranger")); err == nil {
		t.Error("a stranger may sign")
	}
	if err := batch.Sign(c.keys[0]); err == nil {
		t.Error("a coordinator may sign twice")
	}
	if _, err := batch.Act(); !errors.Is(err, trust.ErrThreshold) {
		t.Errorf("one of two: %v", err)
	}
	if err := errors.Join(batch.Sign(c.keys[1]), batch.Sign(c.keys[2])); err != nil {
		t.Fatal(err)
	}
	records, err := batch.Act()
	if err != nil {
		t.Fatal(err)
	}
	whole := unpack[wireCredential](t, records[0])
	s := whole.Signatures
	sign := func(k *crypto.PrivateKey) wireSignature {
		sig, err := k.Sign(crypto.Context("admission", c.charter.Region()), whole.Batch)
		if err != nil {
			t.Fatal(err)
		}
		return wireSignature{crypto.SumContext("coordinator", crypto.Region{}, k.Public().Bytes()), sig}
	}
	stranger := sign(key(t, "stranger"))
	again := s[0]
	again.Bytes = bytes.Clone(again.Bytes)
	for _, k := range c.keys {
		if other := sign(k); other.Signer == again.Signer {
			again = other // hedged, so other bytes by the same key
		}
	}
	broken := wireSignature{s[1].Signer, bytes.Clone(s[1].Bytes)}
	broken.Bytes[100] ^= 1
	sorted := func(list ...wireSignature) []wireSignature {
		slices.SortFunc(list, func(a, b wireSignature) int { return bytes.Compare(a.Signer[:], b.Signer[:]) })
		return list
	}
	for _, x := range []struct {
		name string
		list []wireSignature
		good bool
	}{
		{"all three", s, true},
		{"two", s[1:], true},
		{"none", nil, false},
		{"one", s[:1], false},
		{"one key twice", []wireSignature{s[0], again}, false},
		{"one signature twice", []wireSignature{s[0], s[0]}, false},
		{"one and a stranger", sorted(s[0], stranger), false},
		{"two and a stranger", sorted(s[0], s[1], stranger), false},
		{"one under another's name", []wireSignature{s[0], {s[1].Signer, s[0].Bytes}}, false},
		{"two, one of them broken", []wireSignature{s[0], broken}, false},
		{"out of order", []wireSignature{s[1], s[0]}, false},
		{"more than coordinators", append(sorted(stranger), s...), false},
	} {
		t.Run(x.name, func(t *testing.T) {
			forged := whole
			forged.Signatures = x.list
			roster := c.roster(t)
			if added, err := roster.Add(pack(t, 2, forged)); added != x.good || (err == nil) != x.good {
				t.Errorf("added %v: %v", added, err)
			}
			if n := len(roster.Members(roster.Region())); (n == 1) != x.good {
				t.Errorf("%d members", n)
			}
		})
	}
}

func TestCharterNeedsAllItsCoordinators(t *testing.T) {
	c := newCouncil(t, 3, 1)
	whole := unpack[wireCharter](t, c.record)
	forged := whole
	forged.Signatures = whole.Signatures[:2]
	if _, err := trust.NewRoster(c.charter.Region()).Add(pack(t, 1, forged)); !errors.Is(err, trust.ErrThreshold) {
		t.Errorf("two of three: %v", err)
	}
	forged.Signatures = []wireSignature{whole.Signatures[0], whole.Signatures[0], whole.Signatures[1]}
	if _, err := trust.NewRoster(c.charter.Region()).Add(pack(t, 1, forged)); err == nil {
		t.Error("one coordinator counts twice")
	}
	forged = whole
	forged.Charter = bytes.Replace(whole.Charter, []byte("council"), []byte("kouncil"), 1)
	if _, err := trust.NewRoster(c.charter.Region()).Add(pack(t, 1, forged)); !errors.Is(err, trust.ErrRegion) {
		t.Errorf("another charter under the pinned name: %v", err)
	}
}

func TestCharterIsRefused(t *testing.T) {
	k := key(t, "a").Public().Bytes()
	many := func(n int) (out []trust.Coordinator) {
		for i := range n {
			out = append(out, trust.Coordinator{Name: fmt.Sprint(i), Key: key(t, fmt.Sprint(i)).Public().Bytes()})
		}
		return out
	}
	good := func() trust.Charter {
		return trust.Charter{Name: "Bayern", Threshold: 1, Coordinators: many(2)}
	}
	if _, _, err := trust.Found(good()); err != nil {
		t.Fatal(err)
	}
	lowOrder := append(bytes.Clone(k[:len(k)-32]), make([]byte, 32)...)
	for name, change := range map[string]func(c *trust.Charter){
		"no name":                     func(c *trust.Charter) { c.Name = "" },
		"no coordinators":             func(c *trust.Charter) { c.Coordinators = nil },
		"eight coordinators":          func(c *trust.Charter) { c.Coordinators = many(8) },
		"threshold 0":                 func(c *trust.Charter) { c.Threshold = 0 },
		"threshold above n":           func(c *trust.Charter) { c.Threshold = 3 },
		"one key twice":               func(c *trust.Charter) { c.Coordinators[0].Key = c.Coordinators[1].Key },
		"one name twice":              func(c *trust.Charter) { c.Coordinators[0].Name = c.Coordinators[1].Name },
		"a coordinator without name":  func(c *trust.Charter) { c.Coordinators[0].Name = "" },
		"a short key":                 func(c *trust.Charter) { c.Coordinators[0].Key = k[:100] },
		"a key of small order":        func(c *trust.Charter) { c.Coordinators[0].Key = lowOrder },
		"a minimal version to come":   func(c *trust.Charter) { c.MinVersion = 1 },
		"created before 1970":         func(c *trust.Charter) { c.Created = -1 },
		"leave for hospitals":         func(c *trust.Charter) { c.RegionRoles = []trust.Role{trust.RoleHospital} },
		"leave for unknown roles":     func(c *trust.Charter) { c.RegionRoles = []trust.Role{9} },
		"leave for bridges twice":     func(c *trust.Charter) { c.RegionRoles = []trust.Role{trust.RoleBridge, trust.RoleBridge} },
		"a name that turns the text":  func(c *trust.Charter) { c.Name = "Bay\u202eern" },
		"a name with a new line":      func(c *trust.Charter) { c.Name = "Bay\nern" },
		"a name of 101 bytes":         func(c *trust.Charter) { c.Name = strings.Repeat("x", 101) },
		"a name that is not UTF-8":    func(c *trust.Charter) { c.Name = "\xff" },
		"a name with an outer space":  func(c *trust.Charter) { c.Name = "Bayern " },
		"a name with invisible joins": func(c *trust.Charter) { c.Name = "Bay\u200dern" },
	} {
		c := good()
		change(&c)
		if _, _, err := trust.Found(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCharterAllows(t *testing.T) {
	terms := trust.Charter{Name: "x", Threshold: 1, RegionRoles: []trust.Role{trust.RoleBridge}, Coordinators: []trust.Coordinator{{Name: "a", Key: key(t, "a").Public().Bytes()}}}
	_, charter, err := trust.Found(terms)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		role     trust.Role
		audience crypto.Audience
		want     bool
	}{
		{trust.RoleHospital, crypto.AudienceRegion, true},
		{trust.RoleCoordinator, crypto.AudienceRegion, true},
		{trust.RoleBridge, crypto.AudienceRegion, true},
		{trust.RoleSupplier, crypto.AudienceRegion, false},
		{trust.RoleSupplier, crypto.AudienceCommunity, true},
		{trust.RoleSupplier, crypto.AudienceNamed, true},
		{trust.RoleHospital, crypto.AudienceLocal, false},
		{trust.RoleHospital, 4, false},
		{0, crypto.AudienceCommunity, false},
		{5, crypto.AudienceCommunity, false},
	} {
		if got := charter.Allows(x.role, x.audience); got != x.want {
			t.Errorf("%v in %v: %v", x.role, x.audience, got)
		}
	}
}

func TestRoles(t *testing.T) {
	for _, name := range []string{"hospital", "coordinator", "bridge", "supplier"} {
		if r, err := trust.ParseRole(name); err != nil || r.String() != name {
			t.Errorf("%q: %v, %v", name, r, err)
		}
	}
	for _, name := range []string{"", "Hospital", "role(9)"} {
		if _, err := trust.ParseRole(name); err == nil {
			t.Errorf("%q is a role", name)
		}
	}
	if trust.Role(0).String() != "role(0)" || trust.Role(200).String() != "role(200)" {
		t.Error("unknown roles do not print as such")
	}
}

func TestRequestProvesPossession(t *testing.T) {
	a, b := identity(t, "a"), identity(t, "b")
	raw, err := trust.NewRequest(a, "St Anna", []string{"/ip4/192.0.2.1/udp/4242/quic-v1"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := trust.ParseRequest(raw)
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "St Anna" || len(r.Addrs) != 1 || !bytes.Equal(r.Peer, trust.PeerID(a.PeerKey().Public().(ed25519.PublicKey))) {
		t.Errorf("got %+v", r)
	}
	var signed wireRequest
	if err := canon.Unmarshal(raw, &signed); err != nil {
		t.Fatal(err)
	}
	// claim is what a forger who holds signer's keys, but not all that the body
	// names, can send.
	claim := func(change func(r *trust.Request), signer *keyfile.Identity) []byte {
		forged := *r
		change(&forged)
		body, err := canon.Marshal(forged)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := signer.Signing.Sign(crypto.Context("join-request", crypto.Region{}), body)
		if err != nil {
			t.Fatal(err)
		}
		sum := crypto.SumContext("peer-possession", crypto.Region{}, body)
		proof := ed25519.Sign(signer.PeerKey(), append(crypto.Context("peer-possession", crypto.Region{}), sum[:]...))
		var ledger []byte
		if len(forged.Ledger) > 0 {
			ledger = ledgerProof(t, crypto.NewLedgerKey(signer.Signing), body)
		}
		out, err := canon.Marshal(wireRequest{body, sig, proof, ledger})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if _, err := trust.ParseRequest(claim(func(*trust.Request) {}, a)); err != nil {
		t.Fatalf("the forger's own is refused: %v", err)
	}
	// The identity element as a key: this proof is valid for it over anything.
	universal := slices.Concat([]byte{1}, make([]byte, 63))
	var anybody wireRequest
	if err := canon.Unmarshal(claim(func(r *trust.Request) { r.Peer = trust.PeerID(universal[:32]) }, a), &anybody); err != nil {
		t.Fatal(err)
	}
	anybody.PeerProof = universal
	for name, bad := range map[string][]byte{
		"a peer id of anybody":    mustMarshal(t, anybody),
		"another's peer id":       claim(func(r *trust.Request) { r.Peer = trust.PeerID(b.PeerKey().Public().(ed25519.PublicKey)) }, a),
		"another's key":           claim(func(r *trust.Request) { r.Key = b.Signing.Public().Bytes() }, a),
		"all another's":           claim(func(*trust.Request) {}, b),
		"a changed name":          bytes.Replace(raw, []byte("St Anna"), []byte("St Inna"), 1),
		"an RSA peer id":          claim(func(r *trust.Request) { r.Peer = append([]byte{0x12, 0x20}, make([]byte, 32)...) }, a),
		"a peer id of zeros":      claim(func(r *trust.Request) { r.Peer = trust.PeerID(make([]byte, 32)) }, a),
		"a long peer id":          claim(func(r *trust.Request) { r.Peer = append(bytes.Clone(r.Peer), 0) }, a),
		"no seal key":             claim(func(r *trust.Request) { r.SealKey = nil }, a),
		"an impossible seal key":  claim(func(r *trust.Request) { r.SealKey = bytes.Repeat([]byte{0xff}, keyfile.SealKeySize) }, a),
		"a short key":             claim(func(r *trust.Request) { r.Key = r.Key[1:] }, a),
		"a name that turns text":  claim(func(r *trust.Request) { r.Name = "\u2066x" }, a),
		"the next version":        claim(func(r *trust.Request) { r.Version = 1 }, a),
		"nine addresses":          claim(func(r *trust.Request) { r.Addrs = slices.Repeat(r.Addrs, 9) }, a),
		"an empty address":        claim(func(r *trust.Request) { r.Addrs = []string{""} }, a),
		"a trailing byte":         append(bytes.Clone(raw), 0),
		"nothing":                 nil,
		"more than fits":          make([]byte, trust.RequestSizeMax+1),
		"no signature":            mustMarshal(t, wireRequest{signed.Body, []byte{}, signed.PeerProof, signed.LedgerProof}),
		"no proof of the peer id": mustMarshal(t, wireRequest{signed.Body, signed.Signature, []byte{}, signed.LedgerProof}),
		"halves of two requests":  mustMarshal(t, wireRequest{signed.Body, signed.Signature, make([]byte, 64), signed.LedgerProof}),
	} {
		if _, err := trust.ParseRequest(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func mustMarshal(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := canon.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Coordinators may err, or run software that does: what they signed is checked
// all the same.
func TestWhatCoordinatorsSignedIsChecked(t *testing.T) {
	type header struct {
		Version uint8         `cbor:"1,keyasint"`
		Region  crypto.Region `cbor:"2,keyasint"`
		Charter crypto.Hash   `cbor:"3,keyasint"`
		Time    int64         `cbor:"4,keyasint"`
		Count   uint32        `cbor:"5,keyasint"`
		Root    crypto.Hash   `cbor:"6,keyasint"`
	}
	region := testkit.NewRegion(t, "a")
	signer := crypto.SumContext("coordinator", crypto.Region{}, region.Admission.Public().Bytes())
	for name, change := range map[string]func(c *trust.Credential, h *header){
		"":                            func(*trust.Credential, *header) {},
		"batch of another region":     func(_ *trust.Credential, h *header) { h.Region[0] ^= 1 },
		"batch under another charter": func(_ *trust.Credential, h *header) { h.Charter[0] ^= 1 },
		"batch of nobody":             func(_ *trust.Credential, h *header) { h.Count = 0 },
		"batch too large":             func(_ *trust.Credential, h *header) { h.Count = trust.BatchMax + 1 },
		"batch from before 1970":      func(_ *trust.Credential, h *header) { h.Time = -1 },
		"batch of the next version":   func(_ *trust.Credential, h *header) { h.Version = 1 },
		"another region":              func(c *trust.Credential, _ *header) { c.Region[0] ^= 1 },
		"another's member id":         func(c *trust.Credential, _ *header) { c.Member[0] ^= 1 },
		"the next version":            func(c *trust.Credential, _ *header) { c.Version = 1 },
		"serial 0":                    func(c *trust.Credential, _ *header) { c.Serial = 0 },
		"a short key":                 func(c *trust.Credential, _ *header) { c.Key = c.Key[1:] },
		"a short seal key":            func(c *trust.Credential, _ *header) { c.SealKey = c.SealKey[1:] },
		"a peer id of another kind":   func(c *trust.Credential, _ *header) { c.Peer = []byte{0x12, 0x20} },
		"no role":                     func(c *trust.Credential, _ *header) { c.Role = 0 },
		"an unknown role":             func(c *trust.Credential, _ *header) { c.Role = 5 },
		"a name that turns the text":  func(c *trust.Credential, _ *header) { c.Name = "\u202ea" },
		"an end before its start":     func(c *trust.Credential, _ *header) { c.NotAfter = c.NotBefore - 1 },
	} {
		c := *region.Members[0].Credential
		h := header{Region: region.ID, Charter: region.Charter.Hash(), Time: testkit.Founded + 1, Count: 1}
		change(&c, &h)
		raw := mustMarshal(t, c)
		h.Root = crypto.LeafHash(raw)
		batch := mustMarshal(t, h)
		sig, err := region.Admission.Sign(crypto.Context("admission", region.ID), batch)
		if err != nil {
			t.Fatal(err)
		}
		roster := region.Roster(t)
		added, err := roster.Add(pack(t, 2, wireCredential{Credential: raw, Batch: batch, Signatures: []wireSignature{{signer, sig}}}))
		if good := name == ""; added != good || (err == nil) != good {
			t.Errorf("%s: added %v, %v", name, added, err)
		}
	}
}
