package node_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// A supplier has no part in what is for the region alone, until the charter says so.
func TestRolesSpeakWhereTheCharterSays(t *testing.T) {
	b := newBench(t)
	supplier := b.region.AdmitAs(t, trust.RoleSupplier, "supplier")[0]
	if err := b.Path().AddTrust(t.Context(), [][]byte{supplier.Record}); err != nil {
		t.Fatal(err)
	}
	says := func(a crypto.Audience, tlp notice.TLP) []byte {
		return supplier.Envelope(t, crypto.Header{Audience: a, TLP: uint8(tlp), Time: b.clock.now()}, nil, b.item(t, "role.example")).Raw
	}
	check := func(raw []byte) error {
		_, err := b.Path().Check(raw, mesh.ViaSync, crypto.Region{}, 0)
		return err
	}
	amber := says(crypto.AudienceRegion, notice.TLPAmber)
	if err := check(says(crypto.AudienceCommunity, notice.TLPGreen)); err != nil {
		t.Errorf("GREEN of a supplier: %v", err)
	}
	if err := check(amber); !errors.Is(err, mesh.ErrStale) {
		t.Errorf("AMBER of a supplier: %v", err)
	}
	allow, _, err := trust.Amend(b.region.Charter, trust.Charter{Name: "test", Threshold: 1, Coordinators: b.region.Charter.Coordinators, RegionRoles: []trust.Role{trust.RoleSupplier}})
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(b.region.Charter, []*crypto.PrivateKey{b.region.Admission}, b.clock.now(), allow)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Path().AddTrust(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	if err := check(amber); err != nil {
		t.Errorf("AMBER of a supplier that the charter allows: %v", err)
	}
}

// Its own node says so before anything is signed.
func TestSupplierIsToldWhatItMaySay(t *testing.T) {
	r := testkit.NewRegion(t, "author")
	self := r.AdmitAs(t, trust.RoleSupplier, "supplier")[0]
	h := &hospital{dir: t.TempDir(), clock: &clock{}}
	if err := keyfile.Save(filepath.Join(h.dir, "identity.key"), self.Identity); err != nil {
		t.Fatal(err)
	}
	makeNode(t, h.dir, "supplier")
	admission, err := canon.Marshal(node.Admission{Region: r.ID, Records: r.Records, Seeds: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.Join(h.dir, admission); err != nil {
		t.Fatal(err)
	}
	h.open(t)
	t.Cleanup(func() { h.stop(t) })
	for tlp, taken := range map[notice.TLP]bool{notice.TLPGreen: true, notice.TLPAmber: false} {
		result, err := h.Submit(t.Context(), []api.Submission{sighting("role-"+tlp.String()+".example", h.clock.now())}, api.SubmitOptions{TLP: tlp})
		if err != nil || (len(result.Notices) == 1) != taken {
			t.Errorf("TLP:%s: %+v, error %v", tlp, result, err)
		}
	}
}
