// Package testkit makes what tests of all floors need from crypto: regions
// with members and rosters in one line, and envelopes that must be refused.
// Only tests import it.
package testkit

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
)

// Founded and Forever bound the validity of all credentials, in ms since 1970.
// Founded is where the clocks of testing/synctest start, less a day.
const (
	Founded = 946_598_400_000   // 1999-12-31
	Forever = 4_102_444_800_000 // 2100-01-01
)

// A Region is a region with one coordinator whose members' keys follow from
// their names: equal names give equal regions in every run.
type Region struct {
	ID        crypto.Region
	Charter   *trust.Charter
	Admission *crypto.PrivateKey // the coordinator's key
	Records   [][]byte           // the charter's, then one a member
	Members   []*Member          // in the order of their names' arguments
}

// A Member has been admitted, as a hospital unless by AdmitAs.
type Member struct {
	*keyfile.Identity
	ID         crypto.MemberID
	Credential *trust.Credential
	Record     []byte
}

// NewRegion founds a region called "test" with a hospital of each name.
func NewRegion(t testing.TB, names ...string) *Region {
	t.Helper()
	return NewRegionNamed(t, "test", names...)
}

// NewRegionNamed is NewRegion for tests that need several regions.
func NewRegionNamed(t testing.TB, region string, names ...string) *Region {
	t.Helper()
	return newRegion(t, trust.Charter{Name: region}, names)
}

// NewRegionLedger founds a region with a ledger in its first epoch. Its members are
// the voters (coordinators), then the witnesses and then the others (hospitals).
func NewRegionLedger(t testing.TB, region string, voters, witnesses []string, others ...string) *Region {
	t.Helper()
	terms := trust.Charter{Name: region, Ledger: 1}
	for _, name := range voters {
		terms.Voters = append(terms.Voters, memberOf(t, region, name))
	}
	for _, name := range witnesses {
		terms.Witnesses = append(terms.Witnesses, memberOf(t, region, name))
	}
	r := newRegion(t, terms, nil)
	r.AdmitAs(t, trust.RoleCoordinator, voters...)
	if names := slices.Concat(witnesses, others); len(names) > 0 {
		r.Admit(t, names...)
	}
	return r
}

func memberOf(t testing.TB, region, name string) crypto.MemberID {
	t.Helper()
	return crypto.NewMemberID(identity(t, region, name).Signing.Public())
}

func identity(t testing.TB, region, name string) *keyfile.Identity {
	t.Helper()
	id, err := keyfile.NewIdentity(Random(region + "/" + name))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func newRegion(t testing.TB, terms trust.Charter, names []string) *Region {
	t.Helper()
	region := terms.Name
	key, err := crypto.GenerateKey(Random("coordinator of " + region))
	if err != nil {
		t.Fatal(err)
	}
	terms.Created, terms.Threshold = Founded, 1
	terms.Coordinators = []trust.Coordinator{{Name: "coordinator", Key: key.Public().Bytes()}}
	found, charter, err := trust.Found(terms)
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(nil, []*crypto.PrivateKey{key}, Founded, found)
	if err != nil {
		t.Fatal(err)
	}
	r := &Region{ID: charter.Region(), Charter: charter, Admission: key, Records: records}
	if len(names) > 0 {
		r.Admit(t, names...)
	}
	return r
}

// Admit adds hospitals to the region, in one batch, and returns them.
func (r *Region) Admit(t testing.TB, names ...string) []*Member {
	t.Helper()
	return r.AdmitAs(t, trust.RoleHospital, names...)
}

// AdmitAs is Admit for members of another role.
func (r *Region) AdmitAs(t testing.TB, role trust.Role, names ...string) []*Member {
	t.Helper()
	members := make([]*Member, len(names))
	grants := make([]trust.Grant, len(names))
	for i, name := range names {
		id := identity(t, r.Charter.Name, name)
		raw, err := trust.NewRequest(id, name, nil)
		if err != nil {
			t.Fatal(err)
		}
		request, err := trust.ParseRequest(raw)
		if err != nil {
			t.Fatal(err)
		}
		members[i] = &Member{Identity: id, ID: crypto.NewMemberID(id.Signing.Public())}
		grants[i] = trust.Grant{Request: request, Role: role, NotBefore: Founded, NotAfter: Forever}
	}
	records, err := trust.Admit(r.Charter, []*crypto.PrivateKey{r.Admission}, grants, Founded)
	if err != nil {
		t.Fatal(err)
	}
	r.Records = append(r.Records, records...)
	roster := r.Roster(t)
	for i, m := range members {
		m.Record = records[i]
		m.Credential, _ = roster.Member(r.ID, m.ID, 1)
	}
	r.Members = append(r.Members, members...)
	return members
}

// Amend replaces the charter by what change makes of it, adds the record to the
// region's and returns it. The region's name must stay, since keys follow from it.
func (r *Region) Amend(t testing.TB, change func(*trust.Charter)) []byte {
	t.Helper()
	next := *r.Charter
	next.Distrusts = nil
	change(&next)
	st, charter, err := trust.Amend(r.Charter, next)
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(r.Charter, []*crypto.PrivateKey{r.Admission}, Founded, st)
	if err != nil {
		t.Fatal(err)
	}
	r.Charter, r.Records = charter, append(r.Records, records...)
	return records[0]
}

// Endorse adds the region's list of those it endorses to its records, and
// returns the record. before is the list it replaces, nil for the first.
func (r *Region) Endorse(t testing.TB, before *trust.Endorsements, others ...*Region) []byte {
	t.Helper()
	regions := make([]crypto.Region, len(others))
	for i, o := range others {
		regions[i] = o.ID
	}
	raw, err := trust.Endorse(r.Charter, []*crypto.PrivateKey{r.Admission}, before, regions, Founded)
	if err != nil {
		t.Fatal(err)
	}
	r.Records = append(r.Records, raw)
	return raw
}

// Roster returns a new roster of the region that holds all records so far.
func (r *Region) Roster(t testing.TB) *trust.Roster {
	t.Helper()
	roster := trust.NewRoster(r.ID)
	if _, err := roster.AddAll(r.Records); err != nil {
		t.Fatal(err)
	}
	return roster
}

// Envelope signs items as the member's next envelope after prev, or as the
// first of its chain when prev is nil. Only what header leaves zero is filled
// in: the region audience, TLP 3, and one day from Time to Expiry.
func (m *Member) Envelope(t testing.TB, header crypto.Header, prev *crypto.Envelope, items ...[]byte) *crypto.Envelope {
	t.Helper()
	header.Region, header.Author, header.Serial = m.Credential.Region, m.ID, m.Credential.Serial
	if header.Audience == crypto.AudienceLocal {
		header.Audience = crypto.AudienceRegion
	}
	if prev != nil {
		header.Epoch, header.Seq, header.Prev = prev.Header.Epoch, prev.Header.Seq+1, prev.ID
	}
	if header.Audience != crypto.AudienceNamed {
		header.Epoch, header.Seq, header.Floor = max(header.Epoch, 1), max(header.Seq, 1), max(header.Floor, 1)
	}
	if header.TLP == 0 {
		header.TLP = 3
	}
	if header.Expiry == 0 {
		header.Expiry = header.Time + 24*60*60*1000
	}
	e, err := crypto.NewEnvelope(header, items, m.Signing)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Random returns a reproducible source of bytes. It is for tests alone: who
// knows the seed knows the keys.
func Random(seed string) io.Reader { return rand.NewChaCha8(sha256.Sum256([]byte(seed))) }
