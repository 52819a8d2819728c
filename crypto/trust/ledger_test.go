package trust_test

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
)

// ledgerProof is what a join request proves its ledger keys with.
func ledgerProof(t testing.TB, key *crypto.LedgerKey, body []byte) []byte {
	t.Helper()
	context := crypto.Context("ledger-possession", crypto.Region{})
	sum := crypto.SumContext("ledger-possession", crypto.Region{}, body)
	message := append(bytes.Clone(context), sum[:]...)
	sig, err := key.SignMLDSA44(message, context)
	if err != nil {
		t.Fatal(err)
	}
	return append(key.SignEd25519(message), sig...)
}

// request is an identity's join request with other ledger keys and another proof.
func request(t testing.TB, id *keyfile.Identity, ledger []byte, prove func(body []byte) []byte) []byte {
	t.Helper()
	raw, err := trust.NewRequest(id, "St Anna", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := trust.ParseRequest(raw)
	if err != nil {
		t.Fatal(err)
	}
	changed := *r
	changed.Ledger = ledger
	body := mustMarshal(t, changed)
	sig, err := id.Signing.Sign(crypto.Context("join-request", crypto.Region{}), body)
	if err != nil {
		t.Fatal(err)
	}
	sum := crypto.SumContext("peer-possession", crypto.Region{}, body)
	peer := ed25519.Sign(id.PeerKey(), append(crypto.Context("peer-possession", crypto.Region{}), sum[:]...))
	return mustMarshal(t, wireRequest{body, sig, peer, prove(body)})
}

func TestRequestProvesLedgerKeys(t *testing.T) {
	a, b := identity(t, "a"), identity(t, "b")
	keyA, keyB := crypto.NewLedgerKey(a.Signing), crypto.NewLedgerKey(b.Signing)
	rawA, rawB := keyA.Public().Bytes(), keyB.Public().Bytes()
	by := func(key *crypto.LedgerKey) func([]byte) []byte {
		return func(body []byte) []byte { return ledgerProof(t, key, body) }
	}
	mixed := func(ed, mldsa *crypto.LedgerKey) func([]byte) []byte {
		return func(body []byte) []byte {
			return slices.Concat(ledgerProof(t, ed, body)[:64], ledgerProof(t, mldsa, body)[64:])
		}
	}
	identityPoint := slices.Concat([]byte{1}, make([]byte, 31), rawA[32:])
	for name, c := range map[string]struct {
		ledger []byte
		prove  func([]byte) []byte
		good   bool
	}{
		"its own":                         {rawA, by(keyA), true},
		"none, as older nodes have":       {nil, func([]byte) []byte { return nil }, true},
		"none, and a proof":               {nil, by(keyA), false},
		"no proof":                        {rawA, func([]byte) []byte { return nil }, false},
		"a short proof":                   {rawA, func(body []byte) []byte { return ledgerProof(t, keyA, body)[:64] }, false},
		"a long proof":                    {rawA, func(body []byte) []byte { return append(ledgerProof(t, keyA, body), 0) }, false},
		"a proof of another request":      {rawA, func([]byte) []byte { return ledgerProof(t, keyA, []byte("another")) }, false},
		"another's":                       {rawB, by(keyA), false},
		"the Ed25519 key is another's":    {slices.Concat(rawB[:32], rawA[32:]), by(keyA), false},
		"the ML-DSA-44 key is another's":  {slices.Concat(rawA[:32], rawB[32:]), by(keyA), false},
		"one of each, and a proof by all": {slices.Concat(rawA[:32], rawB[32:]), mixed(keyA, keyB), true},
		"an Ed25519 key of small order": {identityPoint, func(body []byte) []byte {
			return slices.Concat([]byte{1}, make([]byte, 63), ledgerProof(t, keyA, body)[64:])
		}, false},
		"a short key": {rawA[1:], by(keyA), false},
	} {
		r, err := trust.ParseRequest(request(t, a, c.ledger, c.prove))
		if (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && !bytes.Equal(r.Ledger, c.ledger) {
			t.Errorf("%s: the request says other keys", name)
		}
	}
}

func TestCredentialBindsLedgerKeys(t *testing.T) {
	c := newCouncil(t, 1, 1)
	anna, again := identity(t, "anna"), identity(t, "anna again")
	want := crypto.NewLedgerKey(anna.Signing).Public().Bytes()
	admit := func(g trust.Grant, now int64) *trust.Credential {
		t.Helper()
		records, err := trust.Admit(c.charter, c.keys, []trust.Grant{g}, now)
		if err != nil {
			t.Fatal(err)
		}
		roster := c.roster(t)
		if _, err := roster.Add(records[0]); err != nil {
			t.Fatal(err)
		}
		return roster.Members(roster.Region())[0]
	}
	first := admit(grant(t, anna, "St Anna"), testkit.Founded)
	if keys, err := first.LedgerKeys(); err != nil || !bytes.Equal(keys.Bytes(), want) {
		t.Errorf("admitted: %v", err)
	}
	renewed := admit(trust.Grant{Renews: first, NotBefore: testkit.Founded, NotAfter: testkit.Forever}, testkit.Founded+1)
	if !bytes.Equal(renewed.Ledger, want) || !renewed.SameKeys(first) {
		t.Error("renewed with other ledger keys")
	}
	g := grant(t, again, "St Anna")
	g.Serial, g.Member = 2, first.Member
	superseded := admit(g, testkit.Founded+2)
	if !bytes.Equal(superseded.Ledger, crypto.NewLedgerKey(again.Signing).Public().Bytes()) {
		t.Error("superseded and not with the new ledger keys")
	}
	other := *first
	other.Ledger = superseded.Ledger
	if other.SameKeys(first) {
		t.Error("other ledger keys are the same keys")
	}

	older, err := trust.ParseRequest(request(t, anna, nil, func([]byte) []byte { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	g = grant(t, anna, "St Anna")
	g.Request, g.Role = older, trust.RoleCoordinator
	without := admit(g, testkit.Founded)
	if _, err := without.LedgerKeys(); err == nil || without.MayVote() == nil || without.MayWitness() == nil {
		t.Error("a member without ledger keys has some")
	}
	other = *first
	other.Ledger = want[1:]
	if _, err := trust.Admit(c.charter, c.keys, []trust.Grant{{Renews: &other, NotBefore: testkit.Founded, NotAfter: testkit.Forever}}, testkit.Founded); err == nil {
		t.Error("ledger keys of a byte less are taken")
	}
}

func TestWhoMayKeepTheLedger(t *testing.T) {
	keys := crypto.NewLedgerKey(key(t, "a")).Public().Bytes()
	for role, want := range map[trust.Role][2]bool{
		trust.RoleHospital: {false, true}, trust.RoleCoordinator: {true, true}, trust.RoleBridge: {false, false}, trust.RoleSupplier: {false, false},
	} {
		c := &trust.Credential{Name: "x", Role: role, Ledger: keys}
		if vote, witness := c.MayVote(), c.MayWitness(); (vote == nil) != want[0] || (witness == nil) != want[1] {
			t.Errorf("%v: vote %v, witness %v", role, vote, witness)
		}
		c.Ledger = append(make([]byte, 32), keys[32:]...) // a point of order 4
		if c.MayVote() == nil || c.MayWitness() == nil {
			t.Errorf("%v with a key of small order", role)
		}
	}
}

func TestLedgerOfACharter(t *testing.T) {
	good := func() trust.Charter {
		return trust.Charter{Name: "x", Threshold: 1, Coordinators: []trust.Coordinator{{Name: "a", Key: key(t, "a").Public().Bytes()}},
			Voters: []crypto.MemberID{{2}, {1}}, Witnesses: []crypto.MemberID{{4}, {3}}, Ledger: 1}
	}
	_, founded, err := trust.Found(good())
	if err != nil {
		t.Fatal(err)
	}
	if founded.Voters[0] != (crypto.MemberID{1}) || founded.Witnesses[0] != (crypto.MemberID{3}) {
		t.Error("voters and witnesses are not sorted")
	}
	for name, c := range map[string]struct {
		change func(c *trust.Charter)
		say    string
	}{
		"six voters":             {func(c *trust.Charter) { c.Voters = []crypto.MemberID{{11}, {12}, {13}, {14}, {15}, {16}} }, "6 voters"},
		"a voter twice":          {func(c *trust.Charter) { c.Voters = []crypto.MemberID{{1}, {1}} }, "voters are not sorted and distinct"},
		"four witnesses":         {func(c *trust.Charter) { c.Witnesses = []crypto.MemberID{{11}, {12}, {13}, {14}} }, "4 witnesses"},
		"a witness twice":        {func(c *trust.Charter) { c.Witnesses = []crypto.MemberID{{3}, {3}} }, "witnesses are not sorted and distinct"},
		"a voter as witness":     {func(c *trust.Charter) { c.Witnesses = []crypto.MemberID{{2}} }, "a voter and a witness"},
		"voters and no epoch":    {func(c *trust.Charter) { c.Ledger = 0 }, "epochs start at 1"},
		"an epoch and no voters": {func(c *trust.Charter) { c.Voters, c.Witnesses = nil, nil }, "nobody keeps"},
		"witnesses of nothing":   {func(c *trust.Charter) { c.Voters, c.Ledger = nil, 0 }, "no ledger to witness"},
		"a genesis in epoch 2":   {func(c *trust.Charter) { c.Ledger = 2 }, "the first is 1"},
	} {
		terms := good()
		c.change(&terms)
		if _, _, err := trust.Found(terms); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// From one charter to the next.
	second := func(before *trust.Charter, epoch uint32) (*trust.Charter, error) {
		next := good()
		if next.Ledger = epoch; epoch == 0 {
			next.Voters, next.Witnesses = nil, nil
		}
		_, c, err := trust.Amend(before, next)
		return c, err
	}
	again, err := second(founded, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		before *trust.Charter
		epoch  uint32
		good   bool
	}{{founded, 0, false}, {founded, 1, true}, {founded, 3, false}, {again, 0, false}, {again, 1, false}, {again, 2, true}, {again, 3, true}} {
		if _, err := second(c.before, c.epoch); (err == nil) != c.good {
			t.Errorf("from epoch %d to %d: %v", c.before.Ledger, c.epoch, err)
		}
	}
	plain := good()
	plain.Voters, plain.Witnesses, plain.Ledger = nil, nil, 0
	_, none, err := trust.Found(plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second(none, 1); err != nil {
		t.Errorf("a ledger that begins later: %v", err)
	}
	if _, err := second(none, 2); err == nil {
		t.Error("a ledger begins with epoch 2")
	}
}

func TestTestkitLedger(t *testing.T) {
	r := testkit.NewRegionLedger(t, "x", []string{"v1", "v2", "v3"}, []string{"w"}, "h")
	charter := r.Roster(t).Charter()
	if len(r.Members) != 5 || len(charter.Voters) != 3 || len(charter.Witnesses) != 1 || charter.Ledger != 1 {
		t.Fatalf("%d members, charter %+v", len(r.Members), charter)
	}
	for i, m := range r.Members {
		voter, witness := slices.Contains(charter.Voters, m.ID), slices.Contains(charter.Witnesses, m.ID)
		if voter != (i < 3) || witness != (i == 3) || voter && m.Credential.MayVote() != nil || m.Credential.MayWitness() != nil {
			t.Errorf("member %d is not what it should be", i)
		}
		if keys, err := m.Credential.LedgerKeys(); err != nil || !bytes.Equal(keys.Bytes(), crypto.NewLedgerKey(m.Signing).Public().Bytes()) {
			t.Errorf("member %d: %v", i, err)
		}
	}
	r.Amend(t, func(c *trust.Charter) { c.Ledger, c.Voters = 2, c.Voters[:1] })
	if c := r.Roster(t).Charter(); c.Number != 2 || c.Ledger != 2 || len(c.Voters) != 1 {
		t.Errorf("amended: %+v", c)
	}
}

// Coordinators are told before they sign that somebody cannot keep the ledger.
func TestDoubtsOfTheLedger(t *testing.T) {
	c := newCouncil(t, 1, 1)
	roster := c.roster(t)
	add := func(records [][]byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := roster.AddAll(records); err != nil {
			t.Fatal(err)
		}
	}
	member := func(name string, role trust.Role, like *keyfile.Identity) crypto.MemberID {
		t.Helper()
		g := grant(t, identity(t, name), name)
		if g.Role = role; like != nil {
			g.Request.Ledger = crypto.NewLedgerKey(like.Signing).Public().Bytes()
		}
		add(trust.Admit(c.charter, c.keys, []trust.Grant{g}, testkit.Founded))
		return g.Request.Member()
	}
	north, south := member("north", trust.RoleCoordinator, nil), member("south", trust.RoleCoordinator, nil)
	twin := member("twin", trust.RoleCoordinator, identity(t, "north"))
	gone := member("gone", trust.RoleCoordinator, nil)
	clinic, isac := member("clinic", trust.RoleHospital, nil), member("isac", trust.RoleBridge, nil)
	expelled, _ := roster.Member(roster.Region(), gone, 1)
	revoke, err := trust.Revoking(c.charter, expelled, nil, testkit.Founded)
	if err != nil {
		t.Fatal(err)
	}
	add(trust.Act(c.charter, c.keys, testkit.Founded, revoke))

	doubts := func(before *trust.Charter, voters, witnesses []crypto.MemberID, more ...func(*trust.Charter) trust.Statement) []string {
		t.Helper()
		next := *before
		next.Voters, next.Witnesses, next.Ledger = voters, witnesses, 1
		st, charter, err := trust.Amend(before, next)
		if err != nil {
			t.Fatal(err)
		}
		act := []trust.Statement{st}
		for _, m := range more {
			act = append(act, m(charter))
		}
		p, err := trust.Propose(before, c.keys[0], testkit.Founded, act...)
		if err != nil {
			t.Fatal(err)
		}
		return roster.Doubts(p)
	}
	as := func(m crypto.MemberID, role trust.Role) func(*trust.Charter) trust.Statement {
		return func(charter *trust.Charter) trust.Statement {
			cred, _ := roster.Member(roster.Region(), m, 1)
			st, err := trust.Admission(charter, []trust.Grant{{Renews: cred, Role: role, NotBefore: cred.NotBefore, NotAfter: cred.NotAfter}}, testkit.Founded+1)
			if err != nil {
				t.Fatal(err)
			}
			return st
		}
	}
	of := func(m ...crypto.MemberID) []crypto.MemberID { return m }
	for name, x := range map[string]struct {
		got  []string
		want string
	}{
		"in order":                   {doubts(c.charter, of(north, south), of(clinic)), ""},
		"a hospital votes":           {doubts(c.charter, of(north, clinic), nil), `"clinic" is a hospital`},
		"who comes with it votes":    {doubts(c.charter, of(north, clinic), nil, as(clinic, trust.RoleCoordinator)), ""},
		"who leaves with it votes":   {doubts(c.charter, of(north, south), nil, as(south, trust.RoleHospital)), `"south" is a hospital`},
		"a bridge is a witness":      {doubts(c.charter, of(north), of(isac)), `"isac" is a bridge`},
		"a stranger votes":           {doubts(c.charter, of(north, crypto.MemberID{9}), nil), "is no member that is known here"},
		"a revoked member votes":     {doubts(c.charter, of(north, gone), nil), `"gone" is to keep or witness the ledger, and its key is revoked`},
		"a revoked member witnesses": {doubts(c.charter, of(north), of(gone)), "revoked"},
		"two with one key":           {doubts(c.charter, of(north, twin), nil), "have the same ledger keys"},
	} {
		if all := strings.Join(x.got, "; "); x.want == "" && all != "" || !strings.Contains(all, x.want) {
			t.Errorf("%s: %q", name, all)
		}
	}

	// Who votes already and is revoked since does not keep others from being named.
	next := *c.charter
	next.Voters, next.Ledger = of(north, gone), 1
	st, second, err := trust.Amend(c.charter, next)
	if err != nil {
		t.Fatal(err)
	}
	add(trust.Act(c.charter, c.keys, testkit.Founded, st))
	if got := doubts(second, of(north, gone, south), nil); len(got) > 0 {
		t.Errorf("a voter that was there before: %v", got)
	}
	if got := doubts(second, of(north, gone), nil, as(north, trust.RoleHospital)); len(got) != 1 {
		t.Errorf("a voter that leaves: %v", got)
	}
}
