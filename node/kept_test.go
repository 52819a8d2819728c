package node_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
)

// stored counts the trust records on the disk.
func (b *bench) stored(t testing.TB) int {
	t.Helper()
	records, err := b.Store().Trust()
	if err != nil {
		t.Fatal(err)
	}
	return len(records)
}

// A member that sends what is known with other signatures, beside one good record,
// fills nobody's disk; nor does one that proves its own forks without end.
func TestOnlyWhatCountsIsKept(t *testing.T) {
	b := newBench(t)
	before := b.stored(t)
	member := b.region.Admit(t, "Newcomer")[0]
	spoilt := [][]byte{member.Record}
	for i := range 200 {
		raw := bytes.Clone(b.author.Record)
		raw[len(raw)-1-i] ^= 0x55
		spoilt = append(spoilt, raw)
	}
	if err := b.Path().AddTrust(t.Context(), spoilt); err != nil {
		t.Fatal(err)
	}
	if got := b.stored(t); got != before+1 {
		t.Errorf("%d records are kept of one that is new", got-before)
	}
	e := func(n byte) []byte {
		return b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, nil, []byte{n}).Bare()
	}
	before = b.stored(t)
	for i := range byte(30) {
		proof, err := trust.NewForkProof(e(2*i), e(2*i+1))
		if err != nil {
			t.Fatal(err)
		}
		b.adds(t, [][]byte{proof})
	}
	if got := b.stored(t); got != before+1 {
		t.Errorf("%d fork proofs of one key are kept", got-before)
	}
}

// council makes a second coordinator, without whom nothing is decided, and returns
// its key and the charter.
func (b *bench) council(t testing.TB) (second *crypto.PrivateKey, charter *trust.Charter) {
	t.Helper()
	second, err := crypto.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	next := trust.Charter{Name: "two decide", Threshold: 2, MinVersion: crypto.Version, Created: b.clock.now(), Coordinators: append(
		slices.Clone(b.region.Charter.Coordinators), trust.Coordinator{Name: "second", Key: second.Public().Bytes()})}
	st, charter, err := trust.Amend(b.region.Charter, next)
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(b.region.Charter, []*crypto.PrivateKey{b.region.Admission, second}, b.clock.now(), st)
	if err != nil {
		t.Fatal(err)
	}
	b.adds(t, records)
	return second, charter
}

// proposes opens a proposal that revokes the bench's author, and returns it with
// its records: the second coordinator's approval is the last.
func (b *bench) proposes(t testing.TB, charter *trust.Charter, second *crypto.PrivateKey, at int64) (proposal, approval []byte, acts [][]byte) {
	t.Helper()
	st, err := trust.Revoking(charter, b.author.Credential, nil, at)
	if err != nil {
		t.Fatal(err)
	}
	p, err := trust.Propose(charter, b.region.Admission, at, st)
	if err != nil {
		t.Fatal(err)
	}
	records, err := p.Records()
	if err != nil {
		t.Fatal(err)
	}
	proposal = records[0]
	if err := p.Sign(second); err != nil {
		t.Fatal(err)
	}
	after, err := p.Records()
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range after[1:] {
		if !bytes.Equal(raw, records[1]) {
			approval = raw
		}
	}
	acts, err = p.Act()
	if err != nil {
		t.Fatal(err)
	}
	return proposal, approval, acts
}

// Whatever of the last signature and of what it decides was on the disk when a node
// stopped, it is decided when it starts, for good, and nothing else is left.
func TestLastSignatureOutlivesAStop(t *testing.T) {
	b := newBench(t)
	second, charter := b.council(t)
	settled := b.stored(t)
	proposal, approval, acts := b.proposes(t, charter, second, b.clock.now())
	b.adds(t, [][]byte{proposal})
	if got := b.stored(t); got != settled+1 {
		t.Fatalf("%d records of an open proposal", got-settled)
	}
	if err := b.Store().AddTrust(t.Context(), [][]byte{approval}); err != nil { // and then the power fails
		t.Fatal(err)
	}
	decided := func(when string) {
		t.Helper()
		if !b.revoked(t) {
			t.Errorf("%s: what was signed does not count", when)
		}
		if got := b.stored(t); got != settled+1 {
			t.Errorf("%s: %d records are kept of what was decided, want the revocation alone", when, got-settled)
		}
		records, err := b.Store().Trust()
		if err != nil || !slices.ContainsFunc(records, func(raw []byte) bool { return bytes.Equal(raw, acts[0]) }) {
			t.Errorf("%s: the revocation is not on the disk (%v)", when, err)
		}
	}
	for _, when := range []string{"started", "started again"} {
		b.stop(t)
		b.open(t)
		decided(when)
	}
	// What was decided is offered again by whoever was away.
	if err := b.Path().AddTrust(t.Context(), [][]byte{proposal, acts[0]}); err != nil {
		t.Fatal(err)
	}
	decided("offered again")
}

// revoked reports whether the bench's author is.
func (b *bench) revoked(t testing.TB) bool {
	t.Helper()
	members, err := b.Members(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(members, func(m api.MemberView) bool {
		return m.Name == b.author.Credential.Name && slices.Contains(m.Marks, "revoked")
	})
}

// A coordinator that opens proposals without end leaves no more on the disk than a
// roster keeps.
func TestProposalsWithoutEndLeaveTheDisk(t *testing.T) {
	b := newBench(t)
	second, charter := b.council(t)
	settled := b.stored(t)
	for i := range int64(trust.ProposalsMax + 20) {
		proposal, _, _ := b.proposes(t, charter, second, b.clock.now()+i)
		b.adds(t, [][]byte{proposal})
	}
	if got := b.stored(t); got != settled+trust.ProposalsMax {
		t.Errorf("%d proposals are on the disk", got-settled)
	}
}

// What counts and found no room on the disk is written down with whatever comes
// next, also if that is known: whoever tries again is told the truth.
func TestWhatFoundNoRoomIsKeptLater(t *testing.T) {
	b := newBench(t)
	before := b.stored(t)
	b.Unkept([]byte("a record that had no room"))
	b.adds(t, [][]byte{b.author.Record})
	if got := b.stored(t); got != before+1 {
		t.Errorf("%d records more", got-before)
	}
	b.Unkept(make([]byte, 1<<20)) // no disk takes it
	if err := b.Path().AddTrust(t.Context(), [][]byte{b.author.Record}); err == nil {
		t.Error("a record is said to be kept while one that counts is not on the disk")
	}
}

// Records that are too many for what a node is handed before its first start are
// refused, and it starts with what it had. One that has run keeps them in its store.
func TestTooManyRecordsForANodeThatDoesNotRun(t *testing.T) {
	b := benchAt(t, t.TempDir(), &clock{})
	names := make([]string, 160)
	for i := range names {
		names[i] = fmt.Sprint("newcomer ", i)
	}
	var records [][]byte
	for _, m := range b.region.Admit(t, names...) {
		records = append(records, m.Record)
	}
	if err := node.AddRecords(b.dir, records); err == nil || !strings.Contains(err.Error(), "watchward run") {
		t.Errorf("too many: %v", err)
	}
	if err := node.AddRecords(b.dir, records[:3]); err != nil {
		t.Error(err)
	}
	count := func() int {
		b.open(t)
		defer b.stop(t)
		members, err := b.Members(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(members)
	}
	if n := count(); n != 3+3 {
		t.Errorf("%d members at the first start", n)
	}
	if err := node.AddRecords(b.dir, records); err != nil {
		t.Error(err)
	}
	if n := count(); n != 3+160 {
		t.Errorf("%d members at the second start", n)
	}
}
