package trust_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
)

func TestRosterAnswers(t *testing.T) {
	region := testkit.NewRegion(t, "St Josef", "St Anna")
	roster := region.Roster(t)
	josef, anna := region.Members[0], region.Members[1]
	members := roster.Members(region.ID)
	if len(members) != 2 || members[0].Name != "St Anna" || members[1].Name != "St Josef" {
		t.Errorf("members: %v", members)
	}
	c, ok := roster.Member(region.ID, josef.ID, 1)
	if !ok || c.Name != "St Josef" || c.Role != trust.RoleHospital || !bytes.Equal(c.SealKey, josef.SealKey()) {
		t.Errorf("got %+v, %v", c, ok)
	}
	if c, ok := roster.ByPeer(string(anna.Credential.Peer)); !ok || c.Member != anna.ID {
		t.Errorf("by peer: %+v, %v", c, ok)
	}
	for i := range 2 { // parsed, then from the cache
		if key, err := roster.Key(c); err != nil || !key.Equal(josef.Signing.Public()) {
			t.Errorf("key, time %d: %v", i, err)
		}
	}
	other := crypto.Region{1}
	if _, ok := roster.Member(other, josef.ID, 1); ok || roster.Members(other) != nil || roster.Endorses(other) || !roster.Endorses(region.ID) {
		t.Error("answers for another region")
	}
	if _, ok := roster.Member(region.ID, josef.ID, 2); ok {
		t.Error("knows a serial that does not exist")
	}
	if _, ok := roster.ByPeer("stranger"); ok {
		t.Error("knows a stranger")
	}
	if roster.Charter().Name != "test" || roster.Region() != region.ID {
		t.Error("another charter")
	}
}

func TestKeyCacheNeverGivesAnotherKey(t *testing.T) {
	region := testkit.NewRegion(t, "a", "b")
	roster := region.Roster(t)
	stale := *region.Members[0].Credential
	if _, err := roster.Key(&stale); err != nil {
		t.Fatal(err)
	}
	stale.Key = region.Members[1].Credential.Key // same member and serial, renewed with another key
	if key, err := roster.Key(&stale); err != nil || !key.Equal(region.Members[1].Signing.Public()) {
		t.Errorf("got the cached key: %v", err)
	}
}

func TestRecordsTravel(t *testing.T) {
	region := testkit.NewRegion(t, "a", "b", "c")
	from, to := region.Roster(t), trust.NewRoster(region.ID)
	changed, empty := to.Changed(), to.Root()
	for _, id := range slices.Backward(from.IDs()) {
		raw, ok := from.Record(id)
		if !ok || !slices.ContainsFunc(region.Records, func(r []byte) bool { return bytes.Equal(r, raw) }) {
			t.Fatalf("record %s is not what was added", id)
		}
		if _, err := to.Add(raw); err != nil && !errors.Is(err, trust.ErrCharterMissing) {
			t.Fatal(err)
		}
	}
	if _, err := to.AddAll(region.Records); err != nil {
		t.Fatal(err)
	}
	if to.Root() != from.Root() || to.Root() == empty {
		t.Error("rosters differ")
	}
	select {
	case <-changed:
	default:
		t.Error("the change was not told")
	}
	if _, ok := from.Record(crypto.Hash{}); ok {
		t.Error("has a record nobody added")
	}
	quiet := to.Changed()
	if added, err := to.AddAll(region.Records); added != 0 || err != nil {
		t.Errorf("again: %d, %v", added, err)
	}
	select {
	case <-quiet:
		t.Error("told a change that was none")
	default:
	}
	raw, ok := from.Record(region.Members[1].Credential.RecordID())
	if !ok || !bytes.Equal(raw, region.Members[1].Record) {
		t.Error("a credential does not lead to its record")
	}
}

func TestForeignRecordsAreRefused(t *testing.T) {
	a, b := testkit.NewRegionNamed(t, "a", "x"), testkit.NewRegionNamed(t, "b", "x")
	roster := a.Roster(t)
	before := roster.Root()
	for _, raw := range b.Records {
		if _, err := roster.Add(raw); !errors.Is(err, trust.ErrRegion) {
			t.Errorf("got %v", err)
		}
	}
	// b's coordinator certifies a member of region a, in a's name.
	forged, err := trust.Admit(a.Charter, []*crypto.PrivateKey{b.Admission}, []trust.Grant{grant(t, identity(t, "z"), "z")}, testkit.Founded)
	if err == nil {
		t.Errorf("b's coordinator admits to a: %d records", len(forged))
	}
	if roster.Root() != before {
		t.Error("the roster changed")
	}
}

func TestRecordIsRefused(t *testing.T) {
	region := testkit.NewRegion(t, "a", "b", "c")
	good := unpack[wireCredential](t, region.Members[1].Record)
	change := func(f func(c *wireCredential)) []byte {
		c := good
		c.Path = slices.Clone(c.Path)
		f(&c)
		return pack(t, 2, c)
	}
	raw := region.Members[1].Record
	for name, bad := range map[string][]byte{
		"nothing":                      nil,
		"a trailing byte":              append(bytes.Clone(raw), 0),
		"cut short":                    raw[:len(raw)-1],
		"a long integer":               slices.Concat(raw[:2], []byte{0x18, 0x02}, raw[3:]),
		"an unknown type":              pack(t, 8, good),
		"a credential as a revocation": pack(t, 3, good),
		"type 0":                       pack(t, 0, good),
		"a credential as a charter":    pack(t, 1, good),
		"more than 64 KiB":             make([]byte, trust.RecordSizeMax+1),
		"another index":                change(func(c *wireCredential) { c.Index = 0 }),
		"an index beyond the batch":    change(func(c *wireCredential) { c.Index = 3 }),
		"a path too short":             change(func(c *wireCredential) { c.Path = c.Path[1:] }),
		"a path too long":              change(func(c *wireCredential) { c.Path = append(c.Path, crypto.Hash{}) }),
		"a path of 15":                 change(func(c *wireCredential) { c.Path = make([]crypto.Hash, 15) }),
		"another hash in the path":     change(func(c *wireCredential) { c.Path[0][0] ^= 1 }),
		"another name": change(func(c *wireCredential) {
			c.Credential = bytes.Replace(c.Credential, []byte("\x61b"), []byte("\x61x"), 1)
		}),
		"a re-encoded credential": change(func(c *wireCredential) {
			c.Credential = bytes.Replace(c.Credential, []byte{0x01, 0x00}, []byte{0x01, 0x18, 0x00}, 1)
		}),
		"another time of the batch":  change(func(c *wireCredential) { c.Batch = bytes.Replace(c.Batch, []byte{0x05, 0x03}, []byte{0x05, 0x04}, 1) }),
		"a batch that is no batch":   change(func(c *wireCredential) { c.Batch = []byte{0xa0} }),
		"an empty path written down": explicitEmptyPath(t),
	} {
		roster := trust.NewRoster(region.ID)
		if _, err := roster.Add(region.Records[0]); err != nil {
			t.Fatal(err)
		}
		if added, err := roster.Add(bad); added || err == nil {
			t.Errorf("%s: added %v", name, added)
		}
	}
	if _, err := trust.NewRoster(region.ID).Add(pack(t, 8, good)); !errors.Is(err, trust.ErrUnknownType) {
		t.Errorf("an unknown type: %v", err)
	}
}

// explicitEmptyPath is the record of a batch of one whose empty path is written
// down, which would be a second encoding of the same record.
func explicitEmptyPath(t testing.TB) []byte {
	one := unpack[wireCredential](t, testkit.NewRegion(t, "a").Members[0].Record)
	return pack(t, 2, struct {
		Credential []byte          `cbor:"1,keyasint"`
		Index      uint32          `cbor:"2,keyasint"`
		Path       []crypto.Hash   `cbor:"3,keyasint"`
		Batch      []byte          `cbor:"4,keyasint"`
		Signatures []wireSignature `cbor:"5,keyasint"`
	}{one.Credential, one.Index, []crypto.Hash{}, one.Batch, one.Signatures})
}

func TestValidity(t *testing.T) {
	c := trust.Credential{NotBefore: 10, NotAfter: 20}
	for at, want := range map[int64]bool{-1: false, 9: false, 10: true, 15: true, 20: true, 21: false} {
		if c.ValidAt(at) != want {
			t.Errorf("at %d: %v", at, !want)
		}
	}
	region := testkit.NewRegion(t)
	g := grant(t, identity(t, "a"), "a")
	g.NotAfter = 50
	if _, err := trust.Admission(region.Charter, []trust.Grant{g}, 50); err == nil {
		t.Error("admits what has expired")
	}
}

// TestGrantsAreRefused covers what coordinators could get wrong.
func TestGrantsAreRefused(t *testing.T) {
	region := testkit.NewRegion(t)
	for name, change := range map[string]func(g *trust.Grant){
		"no request":             func(g *trust.Grant) { g.Request = nil },
		"an unknown role":        func(g *trust.Grant) { g.Role = 9 },
		"a second key, nobody's": func(g *trust.Grant) { g.Serial = 2 },
		"ends before it begins":  func(g *trust.Grant) { g.NotBefore = g.NotAfter + 1 },
		"begins before 1970":     func(g *trust.Grant) { g.NotBefore = -1 },
	} {
		g := grant(t, identity(t, "a"), "a")
		change(&g)
		if _, err := trust.Admission(region.Charter, []trust.Grant{g}, testkit.Founded); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := trust.Admission(region.Charter, nil, testkit.Founded); err == nil {
		t.Error("a batch of nobody")
	}
}

// TestLatestCredentialCounts renews one member, and gives another new keys.
func TestLatestCredentialCounts(t *testing.T) {
	region := testkit.NewRegion(t, "a", "b")
	a, b := region.Members[0], region.Members[1]
	keys := []*crypto.PrivateKey{region.Admission}
	renewed := grant(t, a.Identity, "a renewed")
	moved := grant(t, identity(t, "b's new keys"), "b")
	moved.Member, moved.Serial = b.ID, 2
	later, err := trust.Admit(region.Charter, keys, []trust.Grant{renewed, moved}, testkit.Founded+1)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		records := rapid.Permutation(slices.Concat(region.Records, later)).Draw(rt, "records")
		roster := trust.NewRoster(region.ID)
		if _, err := roster.AddAll(records); err != nil {
			rt.Fatal(err)
		}
		if c, _ := roster.Member(region.ID, a.ID, 1); c.Name != "a renewed" {
			rt.Errorf("a is %q", c.Name)
		}
		if c, ok := roster.Member(region.ID, b.ID, 1); !ok || !bytes.Equal(c.Key, b.Signing.Public().Bytes()) {
			rt.Error("b's first key is forgotten: its old envelopes could not be verified")
		}
		if _, ok := roster.ByPeer(string(b.Credential.Peer)); ok {
			rt.Error("b's old peer id still counts")
		}
		if c, ok := roster.ByPeer(string(moved.Request.Peer)); !ok || c.Serial != 2 || c.Member != b.ID {
			rt.Error("b's new peer id does not count")
		}
		if n := len(roster.Members(region.ID)); n != 2 {
			rt.Errorf("%d members", n)
		}
	})
}

func TestOrderNeverMatters(t *testing.T) {
	region := testkit.NewRegion(t, "a", "b", "c", "d", "e")
	region.Admit(t, "f", "g")
	want := region.Roster(t)
	rapid.Check(t, func(t *rapid.T) {
		records := slices.Concat(region.Records, region.Records[:rapid.IntRange(0, 4).Draw(t, "again")])
		roster := trust.NewRoster(region.ID)
		added, err := roster.AddAll(rapid.Permutation(records).Draw(t, "records"))
		if err != nil || added != len(region.Records) {
			t.Fatalf("added %d: %v", added, err)
		}
		if roster.Root() != want.Root() || !slices.Equal(roster.IDs(), want.IDs()) {
			t.Fatal("rosters differ")
		}
	})
}

// Any m of n may sign: the record is the same.
func TestSignersDoNotChangeTheRecord(t *testing.T) {
	c := newCouncil(t, 3, 2)
	roots := map[crypto.Hash]bool{}
	for i := range 3 {
		signers := []*crypto.PrivateKey{c.keys[i], c.keys[(i+1)%3]}
		records, err := trust.Admit(c.charter, signers, []trust.Grant{grant(t, identity(t, "a"), "a")}, testkit.Founded)
		if err != nil {
			t.Fatal(err)
		}
		roster := c.roster(t)
		if _, err := roster.Add(records[0]); err != nil {
			t.Fatal(err)
		}
		roots[roster.Root()] = true
	}
	if len(roots) != 1 {
		t.Errorf("%d roots", len(roots))
	}
}

// The largest records fit the frames that carry them: 64 KiB, and 32 KiB for
// the credential a stranger shows.
func TestLargestRecordsFit(t *testing.T) {
	c := newCouncil(t, trust.CoordinatorsMax, trust.CoordinatorsMax)
	const depth, depthMax, hashSize = 7, 14, 2 + 32 // of paths in this batch, in one of BatchMax
	grants := slices.Repeat([]trust.Grant{grant(t, identity(t, "a"), strings.Repeat("x", trust.NameSizeMax))}, 1<<depth)
	records, err := trust.Admit(c.charter, c.keys, grants, testkit.Founded)
	if err != nil {
		t.Fatal(err)
	}
	charter, credential := len(c.record), len(records[0])+(depthMax-depth)*hashSize
	t.Logf("charter %d bytes, credential %d bytes", charter, credential)
	if trust.BatchMax != 1<<depthMax || charter > trust.RecordSizeMax || credential > 32<<10 {
		t.Error("too large")
	}
	if added, err := c.roster(t).Add(records[len(records)-1]); err != nil || !added {
		t.Error(err)
	}
	if _, err := trust.Admission(c.charter, slices.Repeat(grants, trust.BatchMax/len(grants)+1), testkit.Founded); err == nil {
		t.Error("a batch beyond BatchMax")
	}
}

func TestRosterIsSafeForConcurrentUse(t *testing.T) {
	region := testkit.NewRegion(t, "a", "b", "c", "d")
	roster := trust.NewRoster(region.ID)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := roster.AddAll(region.Records); err != nil {
				t.Error(err)
			}
			for _, c := range roster.Members(region.ID) {
				if _, err := roster.Key(c); err != nil {
					t.Error(err)
				}
			}
			roster.Root()
		})
	}
	wg.Wait()
	if roster.Root() != region.Roster(t).Root() {
		t.Error("rosters differ")
	}
}

// FuzzRosterAdd changes records of every type. The roster knows what they stand
// on, so that each gets as far as its signatures.
func FuzzRosterAdd(f *testing.F) {
	w, fresh := besieged(f)
	full, all := fresh(), [][]byte{}
	for _, name := range w.names {
		all = append(all, w.records[name]...)
	}
	if _, err := w.do("act open"); err != nil {
		f.Fatal(err)
	}
	known := map[crypto.Hash]bool{}
	note := func(r *trust.Roster) {
		for _, id := range r.IDs() {
			known[id] = true
		}
	}
	for _, raw := range append(all, w.records["open!"]...) {
		f.Add(raw)
		f.Add(raw[:len(raw)/2])
		_, _ = full.Add(raw)
		note(full)
	}
	if _, err := full.AddAll(all); err != nil && !trust.IsEarly(err) { // approvals of what is decided
		f.Fatal(err)
	}
	note(full)
	// One for all inputs: it knows the charters, whose keys take longest to parse.
	roster := fresh("amend!", "endorse!", "admit!", "open")
	if _, err := roster.AddAll(w.records["B1"]); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := roster.Add(raw); err != nil {
			return
		}
		for _, id := range roster.IDs() {
			record, _ := roster.Record(id)
			undecided := record[2] >= 6 // names requests, whose proofs each process makes anew
			if !known[id] && !undecided {
				t.Fatalf("nobody signed %s", id)
			}
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	raw, err := trust.NewRequest(identity(f, "a"), "a", []string{"/ip4/192.0.2.1/tcp/1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := trust.ParseRequest(data); err == nil && r.Name != "a" {
			t.Fatalf("nobody signed %+v", r)
		}
	})
}

// BenchmarkRosterAdd loads a batch of 2,000 members; the goal is 15,000 in a
// second.
func BenchmarkRosterAdd(b *testing.B) {
	const n = 2000
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("hospital ", rand.Uint64(), i)
	}
	region := testkit.NewRegion(b, names...)
	var roster *trust.Roster
	for b.Loop() {
		roster = trust.NewRoster(region.ID)
		if _, err := roster.AddAll(region.Records); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "µs/record")
	var with, without runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&with)
	runtime.KeepAlive(roster)
	roster = nil
	runtime.GC()
	runtime.ReadMemStats(&without)
	b.ReportMetric(float64(with.HeapAlloc-without.HeapAlloc)/n, "B/record")
	b.ReportMetric(float64(len(region.Records[1])), "wireB/record")
}
