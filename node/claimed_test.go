package node_test

import (
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
)

// claims makes, by the coordinators of a region, a member of it under the id of
// somebody else.
func claims(t testing.TB, r *testkit.Region, victim crypto.MemberID, name string) *testkit.Member {
	t.Helper()
	id, err := keyfile.NewIdentity(testkit.Random("an impostor in " + r.Charter.Name))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := trust.NewRequest(id, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	request, err := trust.ParseRequest(raw)
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Admit(r.Charter, []*crypto.PrivateKey{r.Admission}, []trust.Grant{{Request: request, Serial: 2, Member: victim,
		NotBefore: testkit.Founded, NotAfter: testkit.Forever}}, testkit.Founded)
	if err != nil {
		t.Fatal(err)
	}
	r.Records = append(r.Records, records...)
	c, _ := r.Roster(t).Member(r.ID, victim, 2)
	return &testkit.Member{Identity: id, ID: victim, Credential: c, Record: records[0]}
}

// A region that is heard speaks in its own name only: nobody there is heard under
// the id of a member of this region, or of a third one, nor takes back what that
// one said, nor gets what is sealed for it.
func TestRegionClaimsNobodyElsesMember(t *testing.T) {
	b := newBench(t)
	third, hostile := testkit.NewRegionNamed(t, "third", "them"), testkit.NewRegionNamed(t, "hostile", "one")
	for i := 0; string(hostile.ID[:]) > string(third.ID[:]); i++ { // it comes first wherever regions are in order
		hostile = testkit.NewRegionNamed(t, "hostile"+string(rune('a'+i)), "one")
	}
	b.adds(t, [][]byte{b.region.Endorse(t, nil, third, hostile)})
	third.Endorse(t, nil, b.region)
	hostile.Endorse(t, nil, b.region)
	b.adds(t, third.Records)
	them := third.Members[0]
	ours, theirs := claims(t, hostile, b.author.ID, "author"), claims(t, hostile, them.ID, "shadow")
	b.adds(t, hostile.Records)
	at := b.clock.now()
	community := crypto.Header{Time: at, Audience: crypto.AudienceCommunity, TLP: uint8(notice.TLPGreen)}
	for m, value := range map[*testkit.Member]string{b.author: "ours.example", them: "theirs.example", hostile.Members[0]: "own.example"} {
		b.takes(t, m.Envelope(t, community, nil, b.item(t, value)), mesh.ViaSync)
	}
	for m, value := range map[*testkit.Member]string{ours: "false.example", theirs: "wrong.example"} {
		b.says(t, m.Envelope(t, community, nil, b.item(t, value)).Raw, mesh.ViaSync, "credential")
		if b.knows(t, value) {
			t.Errorf("%s is known in another's name", value)
		}
	}
	for name, want := range map[string]bool{"them": true, "shadow": false} {
		got := b.CanName(name)
		if got != want {
			t.Errorf("sealing for %s: %t", name, got)
		}
	}
}
