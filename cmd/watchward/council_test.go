package main

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
)

// Whoever signs a charter is shown everything that it changes.
func TestCharterIsDescribedWhole(t *testing.T) {
	key, err := crypto.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	terms := trust.Charter{Name: "North", Threshold: 1, Coordinators: []trust.Coordinator{{Name: "a", Key: key.Public().Bytes()}}, RegionRoles: []trust.Role{trust.RoleBridge}}
	st, founded, err := trust.Found(terms)
	if err != nil {
		t.Fatal(err)
	}
	if text := describeCharter(founded, nil); !strings.Contains(text, "a bridge may hear") {
		t.Errorf("founding: %s", text)
	}
	records, err := trust.Act(nil, []*crypto.PrivateKey{key}, 0, st)
	if err != nil {
		t.Fatal(err)
	}
	roster := trust.NewRoster(founded.Region())
	if _, err := roster.AddAll(records); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*trust.Charter){
		"called North":          func(c *trust.Charter) { c.Name = "South" },
		"a supplier may hear":   func(c *trust.Charter) { c.RegionRoles = append(c.RegionRoles, trust.RoleSupplier) },
		"a bridge may not hear": func(c *trust.Charter) { c.RegionRoles = nil },
		"it begins a ledger; the ledger is kept by 0100000000000000…": func(c *trust.Charter) { c.Voters, c.Ledger = []crypto.MemberID{{1}}, 1 },
		"the ledger is witnessed by 0300000000000000…": func(c *trust.Charter) {
			c.Voters, c.Witnesses, c.Ledger = []crypto.MemberID{{1}}, []crypto.MemberID{{3}}, 1
		},
		"distrusts the former key 0100": func(c *trust.Charter) { c.Distrusts = []crypto.Hash{{1}} },
	} {
		next := trust.Charter{Name: founded.Name, Threshold: 1, Coordinators: founded.Coordinators, RegionRoles: append([]trust.Role{}, founded.RegionRoles...)}
		change(&next)
		_, charter, err := trust.Amend(founded, next)
		if err != nil {
			t.Fatal(err)
		}
		if text := describeCharter(charter, roster); !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
}
