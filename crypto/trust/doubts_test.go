package trust_test

import (
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
)

// Whoever signs is told of what a hostile coordinator hides in a proposal that
// looks harmless, and of nothing else.
func TestDoubts(t *testing.T) {
	c := newCouncil(t, 3, 2)
	r := c.roster(t)
	admit := func(grants ...trust.Grant) trust.Statement {
		t.Helper()
		st, err := trust.Admission(c.charter, grants, testkit.Founded)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	records, err := trust.Act(c.charter, c.keys[:2], testkit.Founded, admit(grant(t, identity(t, "anna"), "Anna"), grant(t, identity(t, "berta"), "Berta")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.AddAll(records); err != nil {
		t.Fatal(err)
	}
	members := r.Members(c.charter.Region())
	anna, berta := members[0], members[1]
	revoke := func(change func(*trust.Revocation)) trust.Statement {
		rev := trust.Revocation{Version: trust.Version, Region: c.charter.Region(), Charter: c.charter.Hash(), Member: anna.Member, Serial: 1, Key: anna.KeyID(), Time: testkit.Founded}
		change(&rev)
		return trust.Statement{Type: 3, Body: mustMarshal(t, rev)}
	}
	next := func(change func(*trust.Grant)) trust.Statement {
		g := grant(t, identity(t, "anna's new keys"), "Anna")
		g.Member, g.Serial = anna.Member, 2
		change(&g)
		return admit(g)
	}
	right := func(*trust.Revocation) {}
	asIs := func(*trust.Grant) {}
	for _, x := range []struct {
		name, want string
		statements []trust.Statement
	}{
		{"revocation", "", []trust.Statement{revoke(right)}},
		{"supersede", "", []trust.Statement{revoke(right), next(asIs)}},
		{"newcomer", "", []trust.Statement{admit(grant(t, identity(t, "cilli"), "Cilli"))}},
		{"renewal", "", []trust.Statement{admit(trust.Grant{Renews: anna, NotBefore: testkit.Founded, NotAfter: testkit.Forever + 1})}},
		{"another's key under a serial that nobody has", "not known", []trust.Statement{revoke(func(r *trust.Revocation) { r.Serial, r.Key = 2, berta.KeyID() })}},
		{"of nobody", "not known", []trust.Statement{revoke(func(r *trust.Revocation) { r.Member[0] ^= 1; r.Key = r.Member })}},
		{"second keys beside the first", "would not be revoked", []trust.Statement{next(asIs)}},
		{"another's name for new keys", `"Anna" would be called "Berta"`, []trust.Statement{revoke(right), next(func(g *trust.Grant) { g.Request.Name = "Berta" })}},
		{"another role", "would be a coordinator", []trust.Statement{revoke(right), next(func(g *trust.Grant) { g.Role = trust.RoleCoordinator })}},
		{"a name that is taken", "called \"Anna\" already", []trust.Statement{admit(grant(t, identity(t, "impostor"), "Anna"))}},
	} {
		p, err := trust.Propose(c.charter, c.keys[0], testkit.Founded, x.statements...)
		if err != nil {
			t.Fatal(x.name, err)
		}
		doubts := strings.Join(r.Doubts(p), "; ")
		if x.want == "" && doubts != "" || !strings.Contains(doubts, x.want) {
			t.Errorf("%s: %q, want %q", x.name, doubts, x.want)
		}
	}
	// The serial is there meanwhile, and the key is still another's.
	if records, err = trust.Act(c.charter, c.keys[:2], testkit.Founded, revoke(right), next(asIs)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.AddAll(records); err != nil {
		t.Fatal(err)
	}
	p, err := trust.Propose(c.charter, c.keys[0], testkit.Founded, revoke(func(r *trust.Revocation) { r.Serial, r.Key = 2, berta.KeyID() }))
	if err != nil {
		t.Fatal(err)
	}
	if doubts := strings.Join(r.Doubts(p), "; "); !strings.Contains(doubts, "another key") {
		t.Errorf("another's key: %q", doubts)
	}
}
