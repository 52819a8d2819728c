package trust_test

import (
	"testing"

	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
)

// What can do nothing any more is told from what still waits.
func TestMoot(t *testing.T) {
	c := newCouncil(t, 2, 2)
	roster := c.roster(t)
	anna := grant(t, identity(t, "anna"), "St Anna")
	admission := func(now int64) trust.Statement {
		st, err := trust.Admission(c.charter, []trust.Grant{anna}, now)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	amendment := func(name string) trust.Statement {
		st, _, err := trust.Amend(c.charter, trust.Charter{Name: name, Threshold: 2, Coordinators: c.charter.Coordinators})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	open := func(st trust.Statement) *trust.Proposal {
		p, err := trust.Propose(c.charter, c.keys[0], testkit.Founded, st)
		if err != nil {
			t.Fatal(err)
		}
		if roster.Moot(p) {
			t.Fatal("moot before anything was decided")
		}
		return p
	}
	act := func(st trust.Statement) {
		records, err := trust.Act(c.charter, c.keys, testkit.Founded, st)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := roster.AddAll(records); err != nil {
			t.Fatal(err)
		}
	}
	again, overtaken := open(admission(testkit.Founded+1)), open(amendment("North"))
	revoking := func() trust.Statement {
		member, ok := roster.ByKey(anna.Request.Key)
		if !ok {
			t.Fatal("not admitted")
		}
		st, err := trust.Revoking(c.charter, member, nil, testkit.Founded)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	act(admission(testkit.Founded))
	if !roster.Moot(again) {
		t.Error("a second admission of a member waits on")
	}
	revocation := open(revoking())
	act(revoking())
	if !roster.Moot(revocation) {
		t.Error("a second revocation waits on")
	}
	if roster.Moot(overtaken) {
		t.Error("an amendment is moot before another one")
	}
	act(amendment("South"))
	if !roster.Moot(overtaken) {
		t.Error("an amendment that another overtook waits on")
	}
}
