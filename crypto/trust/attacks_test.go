package trust_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
)

type (
	wireProposal struct {
		Body       []byte   `cbor:"1,keyasint"`
		Signatures [][]byte `cbor:"2,keyasint"`
	}
	wireApproval struct {
		Region     crypto.Region `cbor:"1,keyasint"`
		Proposal   crypto.Hash   `cbor:"2,keyasint"`
		Signer     crypto.Hash   `cbor:"3,keyasint"`
		Signatures [][]byte      `cbor:"4,keyasint"`
	}
)

// besieged is a region with records of every type, by name, and a step that makes
// a roster which knows only the charters that they stand on.
func besieged(t testing.TB) (w *world, fresh func(names ...string) *trust.Roster) {
	t.Helper()
	w = newWorld()
	for _, line := range []string{
		"region A m=2 a1 a2 a3", "region B m=1 b1",
		"propose amend a1 charter A2 A1 m=2 a1 a4 a5", "sign amend a2", "sign amend a4", "act amend",
		"propose admit a1 admit A1 anna", "sign admit a2", "act admit",
		"propose renew a2 renew A1 anna", "sign renew a3", "act renew",
		"propose revoke a1 revoke A1 anna 1 0", "sign revoke a2", "act revoke",
		"propose endorse a1 endorse A1 1 B", "sign endorse a2", "act endorse",
		"propose further a1 charter A3 A2 m=1 a1", "sign further a4", "act further",
		"propose open a1 admit A1 berta", "sign open a2", "propose other a1 admit A1 cilli",
		"stolen anna 1",
	} {
		if shown, err := w.do(line); err != nil || shown != "" {
			t.Fatal(line, shown, err)
		}
	}
	return w, func(names ...string) *trust.Roster {
		r := trust.NewRoster(w.charters["A1"].Region())
		for _, name := range append([]string{"A1"}, names...) {
			if _, err := r.AddAll(w.records[name]); err != nil {
				t.Fatal(name, err)
			}
		}
		return r
	}
}

// finished are the records that several coordinators sign.
var finished = []string{"amend!", "admit!", "revoke!", "endorse!"}

// TestAttacks gives a roster what thieves make of good records: none is taken,
// and the good one is.
func TestAttacks(t *testing.T) {
	w, fresh := besieged(t)
	raw := func(name string) []byte { return w.records[name][0] }
	type attack struct {
		name    string
		good    string   // record that it is made of
		after   []string // records that are known
		records [][]byte
	}
	var attacks []attack
	add := func(name, good string, record []byte, after ...string) {
		attacks = append(attacks, attack{name, good, after, [][]byte{record}})
	}
	for _, name := range finished {
		signed := func(how string, change func(list []wireSignature) []wireSignature) {
			add(name+" "+how, name, resign(raw(name), change))
		}
		signed("signed m times by one key", func(list []wireSignature) []wireSignature { return []wireSignature{list[0], list[0]} })
		signed("signed by one, and by him under another's name", func(list []wireSignature) []wireSignature {
			return append(slices.Clone(list[:1]), wireSignature{list[1].Signer, list[0].Bytes})
		})
		signed("signed by m-1", func(list []wireSignature) []wireSignature { return list[:1] })
		signed("with the signatures of another", func([]wireSignature) []wireSignature {
			return mustUnmarshal[wireCredential](mustUnmarshal[wireRecord](raw("renew!")).Payload).Signatures
		})
		for how, change := range brokenSignatures {
			signed(how, func(list []wireSignature) []wireSignature {
				list = slices.Clone(list)
				list[0].Bytes = change(list[0].Bytes)
				return list
			})
		}
	}
	for how, change := range brokenSignatures {
		p := mustUnmarshal[wireProposal](mustUnmarshal[wireRecord](raw("open")).Payload)
		p.Signatures = [][]byte{change(p.Signatures[0])}
		add("proposal "+how, "open", pack(t, 6, p))
		ap := wireApproval(unpackApproval(raw("open/a2")))
		ap.Signatures = [][]byte{change(ap.Signatures[0])}
		add("approval "+how, "open/a2", pack(t, 7, ap), "open")
		f := mustUnmarshal[struct {
			Low  []byte `cbor:"1,keyasint"`
			High []byte `cbor:"2,keyasint"`
		}](mustUnmarshal[wireRecord](raw("fork-anna-1")).Payload)
		at := len(f.High) - crypto.SignatureSize
		f.High = slices.Concat(f.High[:at], change(f.High[at:]))
		add("fork proof "+how, "fork-anna-1", pack(t, 5, f), "admit!")
	}
	for _, name := range append(slices.Clone(finished), "open", "open/a2", "fork-anna-1") {
		outer := mustUnmarshal[wireRecord](raw(name))
		after := map[string][]string{"open/a2": {"open"}, "fork-anna-1": {"admit!"}}[name]
		for kind := uint8(0); kind <= 8; kind++ {
			if kind != outer.Type {
				outer := outer
				outer.Type = kind
				add(fmt.Sprintf("%s as a record of type %d", name, kind), name, mustMarshal(t, outer), after...)
			}
		}
		for how, bomb := range map[string][]byte{
			"5,000 deep": bytes.Repeat([]byte{0x81}, 5000), "a map of 2^64-1": append([]byte{0xbb}, bytes.Repeat([]byte{0xff}, 8)...),
			"bytes of 2^63": {0x5b, 0x80, 0, 0, 0, 0, 0, 0, 0}, "an array of 2^32": {0x9a, 0xff, 0xff, 0xff, 0xff}, "without end": {0xbf},
		} {
			add(name+" "+how, name, mustMarshal(t, wireRecord{outer.Type, bomb}), after...)
		}
	}
	ap := wireApproval(unpackApproval(raw("open/a2")))
	ap.Proposal = w.proposals["other"].ID()
	add("approval moved to another proposal", "open/a2", pack(t, 7, ap), "open", "other")
	ap = wireApproval(unpackApproval(raw("open/a2")))
	ap.Region = w.charters["B1"].Region()
	add("approval moved to another region", "open/a2", pack(t, 7, ap), "open")
	ap = wireApproval(unpackApproval(raw("open/a2")))
	ap.Signer = trust.SignerOf(w.key("a3").Public().Bytes())
	add("approval under another's name", "open/a2", pack(t, 7, ap), "open")
	add("charter 3 without charter 2", "further!", raw("further!"))
	onlyBy := func(names ...string) func([]wireSignature) []wireSignature {
		return func(list []wireSignature) []wireSignature {
			return slices.DeleteFunc(slices.Clone(list), func(s wireSignature) bool {
				return !slices.ContainsFunc(names, func(n string) bool { return s.Signer == trust.SignerOf(w.key(n).Public().Bytes()) })
			})
		}
	}
	add("charter 2 signed by the old only", "amend!", resign(raw("amend!"), onlyBy("a2")))
	add("charter 2 signed by the new only", "amend!", resign(raw("amend!"), onlyBy("a1", "a4")))
	add("genesis of another region", "A1", raw("A1"), "A1")

	for _, x := range attacks {
		t.Run(x.name, func(t *testing.T) {
			r := fresh(x.after...)
			before := whole(w, r)
			for _, record := range x.records {
				if _, err := r.Add(record); err == nil && x.good != "A1" {
					t.Error("taken")
				}
			}
			if got := whole(w, r); got != before {
				t.Errorf("the roster changed:\n%s", got)
			}
			if x.good == "further!" {
				r = fresh("amend!")
			}
			if added, err := r.Add(raw(x.good)); x.good != "A1" && (!added || err != nil) {
				t.Errorf("the good one: %v, %v", added, err)
			}
		})
	}
}

var brokenSignatures = map[string]func([]byte) []byte{
	"without its ML-DSA half":  func(s []byte) []byte { return s[len(s)-64:] },
	"without its Ed25519 half": func(s []byte) []byte { return s[:len(s)-64] },
	"with a zeroed half":       func(s []byte) []byte { return append(bytes.Clone(s[:len(s)-64]), make([]byte, 64)...) },
	"with a short signature":   func(s []byte) []byte { return s[:len(s)-1] },
	"with a trailing byte":     func(s []byte) []byte { return append(bytes.Clone(s), 0) },
	"with an empty signature":  func([]byte) []byte { return []byte{} },
}

// What a revoked member could come back with is revoked as well, and so is what
// arrives after the revocation.
func TestRevokedComesBackAsNothing(t *testing.T) {
	w, fresh := besieged(t)
	for _, line := range []string{
		"propose again a1 admit A1 anna", "sign again a2", "act again", // the same keys in another record
	} {
		if _, err := w.do(line); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"admit!", "renew!", "again!"} {
		r := fresh("revoke!")
		if _, err := r.AddAll(w.records[name]); err != nil {
			t.Fatal(err)
		}
		c, ok := r.Member(r.Region(), w.member("anna"), 1)
		if !ok {
			t.Fatal("old words of a revoked member could not be verified")
		}
		if _, revoked := r.Revoked(c); !revoked {
			t.Errorf("%s: not revoked", name)
		}
		if _, bound := r.ByPeer(string(c.Peer)); bound {
			t.Errorf("%s: its peer is let in", name)
		}
	}
	// The key counts under no other serial and no other member id either.
	g := grant(t, peopleMade["anna:1"], "anna")
	g.Serial, g.Member = 5, crypto.MemberID{7}
	r := fresh("revoke!")
	records, err := trust.Admit(w.charters["A1"], []*crypto.PrivateKey{w.key("a1"), w.key("a3")}, []trust.Grant{g}, w.time)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.AddAll(records); err != nil {
		t.Fatal(err)
	}
	c, ok := r.Member(r.Region(), crypto.MemberID{7}, 5)
	if !ok {
		t.Fatal("not there")
	}
	if _, revoked := r.Revoked(c); !revoked {
		t.Error("the same key under another name is not revoked")
	}
	// One more byte, or one encoded longer, is another credential, which nobody signed.
	wire := unpack[wireCredential](t, w.records["admit!"][0])
	for name, credential := range map[string][]byte{
		"longer":       bytes.Replace(wire.Credential, []byte{0x01, 0x00}, []byte{0x01, 0x18, 0x00}, 1),
		"with a tail":  append(bytes.Clone(wire.Credential), 0),
		"another name": bytes.Replace(wire.Credential, []byte("anna"), []byte("bnna"), 1),
	} {
		forged := wire
		forged.Credential = credential
		if _, err := fresh("revoke!").Add(pack(t, 2, forged)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A region's coordinators say nothing in another region's name, in one proposal
// with their own or not, and proposals are opened by coordinators in force.
func TestProposalsStayInTheirRegion(t *testing.T) {
	w, fresh := besieged(t)
	own, _, err := w.state(strings.Fields("endorse B1 1 A"))
	if err != nil {
		t.Fatal(err)
	}
	foreign, _, err := w.state(strings.Fields("admit A1 dora"))
	if err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string][]trust.Statement{"alone": {foreign}, "behind its own": {own, foreign}} {
		if _, err := trust.Propose(w.charters["B1"], w.key("b1"), testkit.Founded, list...); err == nil {
			t.Errorf("%s: B proposes for A", name)
		}
	}
	if _, err := fresh().AddAll(w.records["B1"]); !errors.Is(err, trust.ErrRegion) {
		t.Errorf("B's charter: %v", err)
	}
	amend, _, err := w.state(strings.Fields("charter A2x A1 m=1 a4"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Propose(w.charters["A1"], w.key("a4"), testkit.Founded, amend); err == nil {
		t.Error("who is only in the new charter proposes it")
	}
	if _, err := w.do("propose x a4 charter A2y A1 m=1 a4"); err == nil {
		t.Error("the same, by another way")
	}
	// A distrusted key is no coordinator of the charter that distrusts it, either.
	terms := w.terms("A", "m=1", []string{"a1", "-a2"})
	terms.Coordinators = append(terms.Coordinators, trust.Coordinator{Name: "a2", Key: w.key("a2").Public().Bytes()})
	if _, _, err := trust.Amend(w.charters["A1"], terms); err == nil {
		t.Error("distrusted, and a coordinator")
	}
}

// Whoever holds a coordinator's key opens proposals without end: the latest stay,
// and none of another's goes for them.
func TestProposalsAreBounded(t *testing.T) {
	w, fresh := besieged(t)
	r := fresh()
	if _, err := w.do("propose kept a2 admit A1 dora"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.AddAll(w.records["kept"]); err != nil {
		t.Fatal(err)
	}
	var flood [][]byte
	for i := range trust.ProposalsMax + 3 {
		name := fmt.Sprint("flood", i)
		if _, err := w.do("propose " + name + " a1 admit A1 emil"); err != nil {
			t.Fatal(err)
		}
		flood = append(flood, w.records[name][0])
	}
	slices.Reverse(flood)
	for _, raw := range append(flood, flood[:3]...) {
		if _, err := r.Add(raw); err != nil {
			t.Fatal(err)
		}
	}
	open := r.Proposals()
	if len(open) != trust.ProposalsMax+1 || open[0].ID() != w.proposals["kept"].ID() || open[1].ID() != w.proposals["flood3"].ID() {
		t.Errorf("%d are open:\n%s", len(open), w.show(r))
	}
	other := fresh("kept")
	for _, raw := range slices.Backward(flood) {
		if _, err := other.Add(raw); err != nil {
			t.Fatal(err)
		}
	}
	if whole(w, other) != whole(w, r) {
		t.Error("which stay depends on the order")
	}
}

// What a region has not decided is shown to none but its own members, even to one
// who knows the id.
func TestProposalsAreNotShownToOthers(t *testing.T) {
	w, fresh := besieged(t)
	r := fresh("open", "endorse!")
	view := r.For(w.charters["B1"].Region())
	for _, id := range r.IDs() {
		_, own := r.Record(id)
		_, foreign := view.Record(id)
		if listed := slices.Contains(view.IDs(), id); !own || foreign != listed {
			t.Errorf("%s: own %v, others %v, listed to them %v", id, own, foreign, listed)
		}
	}
	if _, ok := view.Record(w.proposals["open"].ID()); ok {
		t.Error("shown")
	}
	if _, ok := r.Find(w.proposals["open"].ID()); !ok || slices.Contains(r.Decided(r.Region()), w.proposals["open"].ID()) {
		t.Errorf("it is known: %t, and counts as decided", ok)
	}
}

// Two credentials for one key: which is found does not change from call to call.
func TestByKeyIsOne(t *testing.T) {
	w, fresh := besieged(t)
	g := grant(t, peopleMade["anna:1"], "anna")
	g.Serial, g.Member = 2, w.member("anna")
	r := fresh("admit!")
	records, err := trust.Admit(w.charters["A1"], []*crypto.PrivateKey{w.key("a1"), w.key("a3")}, []trust.Grant{g}, w.time)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.AddAll(records); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if c, ok := r.ByKey(g.Request.Key); !ok || c.Serial != 2 {
			t.Fatal("not the latest")
		}
	}
}

// The largest charter that amends the largest fits a record.
func TestLargestAmendmentFits(t *testing.T) {
	terms := func(from int) trust.Charter {
		c := trust.Charter{Name: strings.Repeat("x", trust.NameSizeMax), Threshold: trust.CoordinatorsMax, Created: testkit.Founded, RegionRoles: []trust.Role{trust.RoleBridge, trust.RoleSupplier}}
		for i := range trust.CoordinatorsMax {
			k := key(t, fmt.Sprint("coordinator ", from+i))
			c.Coordinators = append(c.Coordinators, trust.Coordinator{Name: fmt.Sprint(from+i, strings.Repeat("y", trust.NameSizeMax-2)), Key: k.Public().Bytes()})
		}
		for i := range trust.VotersMax {
			c.Voters, c.Ledger = append(c.Voters, crypto.MemberID{byte(i)}), 1
		}
		for i := range trust.WitnessesMax {
			c.Witnesses = append(c.Witnesses, crypto.MemberID{0xff, byte(i)})
		}
		for i := range trust.DistrustsMax {
			c.Distrusts = append(c.Distrusts, crypto.Hash{byte(i)})
		}
		return c
	}
	var keys []*crypto.PrivateKey
	for i := range 2 * trust.CoordinatorsMax {
		keys = append(keys, key(t, fmt.Sprint("coordinator ", 10+i)))
	}
	found, first, err := trust.Found(terms(10))
	if err != nil {
		t.Fatal(err)
	}
	genesis, err := trust.Act(nil, keys[:trust.CoordinatorsMax], testkit.Founded, found)
	if err != nil {
		t.Fatal(err)
	}
	amend, _, err := trust.Amend(first, terms(10+trust.CoordinatorsMax))
	if err != nil {
		t.Fatal(err)
	}
	second, err := trust.Act(first, keys, testkit.Founded, amend)
	if err != nil {
		t.Fatal(err)
	}
	r := trust.NewRoster(first.Region())
	if n, err := r.AddAll(slices.Concat(second, genesis)); n != 2 || err != nil {
		t.Error(n, err)
	}
}

func FuzzReadProposals(f *testing.F) {
	w, _ := besieged(f)
	found, _, err := trust.Found(w.terms("D", "m=1", []string{"a1"}))
	if err != nil {
		f.Fatal(err)
	}
	draft, err := trust.Propose(nil, w.key("a1"), testkit.Founded, found)
	if err != nil {
		f.Fatal(err)
	}
	records, err := draft.Records()
	if err != nil {
		f.Fatal(err)
	}
	for name := range w.proposals {
		records = append(records, w.records[name]...)
	}
	records = append(records, w.records["open/a2"]...)
	for _, raw := range records {
		f.Add(raw, records[0])
		f.Add(raw[:len(raw)/2], raw)
	}
	charters := func(hash crypto.Hash) *trust.Charter {
		for _, name := range []string{"A1", "A2"} {
			if c := w.charters[name]; c.Hash() == hash {
				return c
			}
		}
		return nil
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		proposals, err := trust.ReadProposals([][]byte{a, b}, charters)
		if err != nil {
			return
		}
		for _, p := range proposals {
			if p.Lacking() < 0 || len(p.Changes()) == 0 || len(p.Signed()) == 0 {
				t.Fatalf("nobody signed %s", p.ID())
			}
			if _, err := p.Records(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// rivals is a region with two charters that follow its first: the first named
// loses to the second.
func rivals(t *testing.T) (w *world, loses, wins string) {
	t.Helper()
	w = newWorld()
	for _, line := range []string{
		"region A m=1 a1", "region B m=1 b1", "propose first a1 admit A1 anna + endorse A1 1 B", "act first",
		"propose x a1 charter A2x A1 m=1 a1 a2", "act x", "propose y a1 charter A2y A1 m=1 a1 a3", "act y",
	} {
		if _, err := w.do(line); err != nil {
			t.Fatal(line, err)
		}
	}
	if bytes.Compare(hashOf(w.charters["A2x"]), hashOf(w.charters["A2y"])) < 0 {
		return w, "y", "x"
	}
	return w, "x", "y"
}

// A region that was left out under a charter that loses is there again, whole.
func TestForgottenRegionComesBack(t *testing.T) {
	w, _, wins := rivals(t)
	if _, err := w.do("propose gone a1 charter A2g A1 m=1 a1 + endorse A2g 1"); err != nil {
		t.Fatal(err)
	}
	if bytes.Compare(hashOf(w.charters["A2g"]), hashOf(w.charters["A2"+wins])) < 0 {
		t.Fatal("the test needs other keys: its charter that leaves B out wins")
	}
	r := trust.NewRoster(w.charters["A1"].Region())
	known := slices.Concat(w.records["A1"], w.records["first!"], w.records["B1"])
	if _, err := r.AddAll(known); err != nil {
		t.Fatal(err)
	}
	// Proposals act last: the one leaves B out, the other's charter counts instead.
	_, _ = r.AddAll(slices.Concat(known, w.records["gone"], w.records[wins]))
	if r.CharterOf(w.charters["B1"].Region()) == nil {
		t.Errorf("B is forgotten:\n%s", w.show(r))
	}
}

// A fork proof stands although the credential of its author counts no longer, and
// is taken when it comes only then.
func TestForkProofOfOneWhoCountsNoLonger(t *testing.T) {
	w, loses, wins := rivals(t)
	for _, line := range []string{"propose late a1 admit A2" + loses + " berta", "act late", "stolen berta 1"} {
		if _, err := w.do(line); err != nil {
			t.Fatal(line, err)
		}
	}
	var rosters []*trust.Roster
	for _, order := range [][]string{
		{"A1", loses + "!", "late!", "fork-berta-1", wins + "!"},
		{"A1", loses + "!", "late!", wins + "!", "fork-berta-1"},
	} {
		r := trust.NewRoster(w.charters["A1"].Region())
		for _, name := range order {
			if added, err := r.Add(w.records[name][0]); !added || err != nil {
				t.Fatal(name, added, err)
			}
		}
		if len(r.Forks()) != 0 {
			t.Error("warns of one who is no member")
		}
		rosters = append(rosters, r)
	}
	if whole(w, rosters[0]) != whole(w, rosters[1]) {
		t.Error("the order matters")
	}
	r := trust.NewRoster(w.charters["A1"].Region())
	if _, err := r.Add(w.records["A1"][0]); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Add(w.records["fork-berta-1"][0]); !errors.Is(err, trust.ErrAuthorMissing) {
		t.Errorf("before the credential: %v", err)
	}
}
