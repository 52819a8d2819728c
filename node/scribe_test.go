package node_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger"
	"github.com/watchward/watchward/ledger/entry"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
)

// A book is a ledger that the test holds: no Raft, one copy.
type book struct {
	epoch   uint32
	leads   bool
	fails   error // of Append
	entries [][]byte
	at      map[crypto.Hash]uint64
	calls   int
	cp      ledger.CheckpointStatus
	foreign [][]byte
}

func newBook() *book { return &book{epoch: 1, at: map[crypto.Hash]uint64{}} }

func (b *book) put(raw []byte) (index uint64, known bool) {
	leaf := crypto.LeafHash(raw)
	if index, known = b.at[leaf]; !known {
		index = uint64(len(b.entries))
		b.at[leaf], b.entries = index, append(b.entries, raw)
	}
	return index, known
}

func (b *book) Append(_ context.Context, entries ...[]byte) (out []ledger.Appended, err error) {
	if b.calls++; b.fails != nil {
		return nil, b.fails
	}
	for _, raw := range entries {
		index, known := b.put(raw)
		out = append(out, ledger.Appended{Index: index, Known: known})
	}
	return out, nil
}

func (b *book) Index(leaf crypto.Hash) (uint64, bool, error) {
	index, ok := b.at[leaf]
	return index, ok, nil
}

func (b *book) Leads() bool                    { return b.leads }
func (b *book) LeaderChanged() <-chan struct{} { return nil }
func (b *book) Grown() <-chan struct{}         { return nil }

func (b *book) Foreign() [][]byte {
	out := b.foreign
	b.foreign = nil
	return out
}

func (b *book) Status() ledger.Status {
	return ledger.Status{Epoch: b.epoch, Role: ledger.RoleFollower, Size: uint64(len(b.entries)), Checkpoint: b.cp}
}

// holds returns the ids of one type, in order.
func (b *book) holds(t *testing.T, typ entry.Type) (ids []crypto.Hash) {
	t.Helper()
	for _, raw := range b.entries {
		e, err := entry.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == typ {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// A scribing is a node whose scribe works for a book.
type scribing struct {
	*bench
	*book
	node.Scribe
	last *crypto.Envelope // of the author
}

func newScribing(t *testing.T) *scribing {
	b := newBench(t)
	k := newBook()
	return &scribing{bench: b, book: k, Scribe: node.NewScribe(b.Node, k, 100)}
}

// words brings n envelopes of the author, one at a time.
func (s *scribing) words(t *testing.T, n int) (ids []crypto.Hash) {
	t.Helper()
	for range n {
		e := s.author.Envelope(t, crypto.Header{Time: s.clock.now()}, s.last, s.item(t, fmt.Sprintf("w%d.example", s.Store().Last())))
		s.takes(t, e, mesh.ViaDirect)
		s.last = e
		ids = append(ids, crypto.Hash(e.ID))
	}
	return ids
}

func (s *scribing) step(t *testing.T) {
	t.Helper()
	if err := s.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// waits checks what is said to wait, and where the cursor is.
func (s *scribing) waits(t *testing.T, count int, cursor uint64) {
	t.Helper()
	got, _ := s.Pending()
	saved, err := s.Saved(s.epoch)
	if err != nil || got != count || saved != cursor {
		t.Fatalf("%d wait and the cursor is at %d, want %d and %d; error %v", got, saved, count, cursor, err)
	}
}

func TestLeaderAppendsWhatLacks(t *testing.T) {
	s := newScribing(t)
	s.leads = true
	ids := s.words(t, 3)
	e := s.other.Envelope(t, crypto.Header{Time: s.clock.now(), Audience: crypto.AudienceCommunity, TLP: 2}, nil, s.item(t, "green.example"))
	s.takes(t, e, mesh.ViaDirect)
	ids = append(ids, crypto.Hash(e.ID))
	s.step(t)
	if got := s.holds(t, entry.Envelope); !slices.Equal(got, ids) {
		t.Fatalf("the ledger holds %v, want %v in order of arrival", got, ids)
	}
	roster := s.Roster()
	if got := s.holds(t, entry.Charter); len(got) != 1 || got[0] != roster.Charter().Hash() {
		t.Errorf("charters %v", got)
	}
	if got := s.holds(t, entry.Record); len(got) != 3 || !slices.Contains(got, s.credential(t).RecordID()) {
		t.Errorf("%d records, want the credentials of three members", len(got))
	}
	s.waits(t, 0, s.Store().Last())
	calls := s.calls
	s.step(t)
	again := node.NewScribe(s.Node, s.book, 100) // as after a restart
	if err := again.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.calls != calls {
		t.Error("what is in is appended again")
	}

	// A new epoch holds all of it anew.
	s.book.epoch, s.book.entries, s.book.at = 2, nil, map[crypto.Hash]uint64{}
	s.step(t)
	if got := s.holds(t, entry.Envelope); !slices.Equal(got, ids) {
		t.Errorf("the second epoch holds %v", got)
	}
	s.waits(t, 0, s.Store().Last())
}

// credential is the author's.
func (s *scribing) credential(t *testing.T) *trust.Credential {
	t.Helper()
	c, ok := s.Roster().Member(s.region.ID, s.author.ID, 1)
	if !ok {
		t.Fatal("the author is not in the roster")
	}
	return c
}

// A follower appends nothing, knows what lacks, and its cursor passes only what the
// ledger has. When it leads, it finishes, and nothing is there twice.
func TestNewLeaderFinishes(t *testing.T) {
	s := newScribing(t)
	first := s.words(t, 1)
	before := s.Store().Last() - 1
	rest := s.words(t, 2)
	s.step(t)
	if s.calls != 0 {
		t.Fatal("a follower appends")
	}
	s.waits(t, 4+3, before) // charter and credentials too

	// The old leader got the second in, and what is not of the store.
	s.put(entry.Encode(entry.Envelope, rest[0]))
	s.put(entry.Encode(entry.Charter, s.Roster().Charter().Hash()))
	s.step(t)
	s.waits(t, 3+2, before)
	s.put(entry.Encode(entry.Envelope, first[0]))
	s.step(t)
	s.waits(t, 3+1, s.Store().Last()-1)

	s.leads = true
	s.step(t)
	s.waits(t, 0, s.Store().Last())
	if got := s.holds(t, entry.Envelope); !slices.Equal(got, []crypto.Hash{rest[0], first[0], rest[1]}) {
		t.Errorf("the ledger holds %v", got)
	}
	if got := len(s.entries); got != 3+1+3 {
		t.Errorf("%d entries", got)
	}
}

func TestQueueWaitsForQuorum(t *testing.T) {
	s := newScribing(t)
	s.leads = true
	s.step(t)
	at := s.Store().Last()
	s.fails = ledger.ErrNoQuorum
	ids := s.words(t, 37)
	if err := s.Step(t.Context()); err == nil {
		t.Fatal("no error without a quorum")
	}
	s.waits(t, 37, at)
	s.fails = nil
	s.step(t)
	s.waits(t, 0, s.Store().Last())
	if got := s.holds(t, entry.Envelope); !slices.Equal(got, ids) {
		t.Errorf("%d are in", len(got))
	}
}

// More than there is room for is looked at when the first are in.
func TestQueueHasABound(t *testing.T) {
	s := newScribing(t)
	s.leads = true
	s.step(t)
	s.leads = false
	s.Scribe = node.NewScribe(s.Node, s.book, 5)
	ids := s.words(t, 12)
	s.step(t)
	if n, more := s.Pending(); n != 5 || !more {
		t.Fatalf("%d wait, more %t", n, more)
	}
	for _, id := range ids[:4] {
		s.put(entry.Encode(entry.Envelope, id))
	}
	s.step(t)
	if n, more := s.Pending(); n != 5 || !more {
		t.Fatalf("%d wait, more %t", n, more)
	}
	s.leads = true
	s.step(t)
	if got := s.holds(t, entry.Envelope); !slices.Equal(got, ids) {
		t.Errorf("%d of 12 are in", len(got))
	}
	s.waits(t, 0, s.Store().Last())
	if _, more := s.Pending(); more {
		t.Error("there is more")
	}
}

// What is sealed, and what is local, is not for the ledger.
func TestSealedWordsNeverEnter(t *testing.T) {
	s := newScribing(t)
	s.leads = true
	s.submit(t, local, sighting("local.example", s.clock.now()))
	sealed := s.author.Named(t, crypto.Header{Time: s.clock.now()}, []*testkit.Member{s.self}, s.item(t, "red.example"))
	checked, err := s.Path().Check(sealed.Raw, mesh.ViaNamed, crypto.Region{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Path().Admit(t.Context(), []*mesh.Checked{checked}); err != nil {
		t.Fatal(err)
	}
	if !s.knows(t, "red.example") || !s.knows(t, "local.example") {
		t.Fatal("they are not known here, so this proves nothing")
	}
	s.step(t)
	if got := s.holds(t, entry.Envelope); len(got) != 0 {
		t.Errorf("the ledger holds %v", got)
	}
	s.waits(t, 0, s.Store().Last())
}

// Words of a region that is endorsed are in that region's ledger, not in ours.
func TestOthersWordsNeverEnter(t *testing.T) {
	s := newScribing(t)
	s.leads = true
	other := testkit.NewRegionNamed(t, "elsewhere", "cara")
	s.adds(t, [][]byte{s.region.Endorse(t, nil, other)})
	s.adds(t, append(slices.Clone(other.Records), other.Endorse(t, nil, s.region)))
	e := other.Members[0].Envelope(t, crypto.Header{Time: s.clock.now(), Audience: crypto.AudienceCommunity, TLP: 2}, nil, s.item(t, "green.example"))
	s.takes(t, e, mesh.ViaDirect)
	s.step(t)
	if got := s.holds(t, entry.Envelope); len(got) != 0 {
		t.Errorf("the ledger holds %v", got)
	}
	if got := s.holds(t, entry.Record); len(got) != 4 {
		t.Errorf("%d records, want three credentials and whom the region endorses", len(got))
	}
	s.waits(t, 0, s.Store().Last())
}

// What a revocation cuts off is due no longer; the revocation is.
func TestCutWordsAreNotDue(t *testing.T) {
	s := newScribing(t)
	s.leads = true
	s.step(t)
	s.leads = false
	kept := s.words(t, 1)
	cut := cutAt(s.last)
	s.words(t, 2)
	s.step(t)
	if n, _ := s.Pending(); n != 3 {
		t.Fatalf("%d wait", n)
	}
	s.adds(t, revoke(t, s.region.Charter, s.region.Admission, s.author.Credential, s.clock.now(), cut))
	s.step(t)
	if n, _ := s.Pending(); n != 2 {
		t.Fatalf("%d wait, want the word before the cut and the revocation", n)
	}
	s.leads = true
	s.step(t)
	if got := s.holds(t, entry.Envelope); !slices.Equal(got, kept) {
		t.Errorf("the ledger holds %v", got)
	}
	if got := s.holds(t, entry.Record); len(got) != 4 {
		t.Errorf("%d records, want three credentials and the revocation", len(got))
	}
}

// Of another region's checkpoints the latest is appended, once for what it says.
func TestForeignCheckpointsEnter(t *testing.T) {
	s := newScribing(t)
	key := crypto.NewLedgerKey(s.other.Identity.Signing)
	origin := tlog.Origin(crypto.Region{9}, 1)
	note := func(size uint64, at time.Time) []byte {
		t.Helper()
		c := tlog.Checkpoint{Origin: origin, Size: size, Root: crypto.Hash{byte(size)}}
		raw, err := tlog.Sign(c, tlog.Cosigner(crypto.Region{9}, s.other.ID), key, tlog.Voter, at)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	s.foreign = [][]byte{note(1, s.clock.Now()), note(2, s.clock.Now())}
	s.step(t)
	s.leads = true
	s.step(t)
	s.foreign = [][]byte{note(2, s.clock.Now().Add(time.Hour))} // the same, signed again
	s.step(t)
	if got := s.holds(t, entry.Checkpoint); len(got) != 1 {
		t.Errorf("%d checkpoints of another region are in, want the latest one", len(got))
	}
}

// A ledger that goes on and leaves a word out is told of: after five minutes without a
// break, once a day and author.
func TestOmission(t *testing.T) {
	s := newScribing(t)
	s.leads = true
	s.step(t)
	s.leads = false
	s.clock.stop() // what is told is told once a day
	start := s.clock.Now()
	s.words(t, 3)
	at := start.Add(time.Minute)
	goesOn := func(d, every time.Duration) {
		t.Helper()
		for end := at.Add(d); at.Before(end); {
			at = at.Add(every)
			s.cp = ledger.CheckpointStatus{Size: uint64(len(s.entries)), Time: at, Good: true}
			s.step(t)
		}
	}
	told := func(want int) {
		t.Helper()
		if got := s.alerts(t, "ledger-omission"); len(got) != want {
			t.Fatalf("%d alerts, want %d: %+v", len(got), want, got)
		}
	}
	goesOn(4*time.Minute, time.Minute)
	told(0)
	at = at.Add(time.Hour) // without a quorum: nobody held anything back
	goesOn(4*time.Minute, time.Minute)
	told(0)
	goesOn(3*time.Minute, 30*time.Second)
	told(1)
	if a := s.alerts(t, "ledger-omission")[0]; a.Severity != "critical" || !strings.Contains(a.Text, "author") {
		t.Errorf("the alert says %+v", a)
	}
	goesOn(10*time.Minute, time.Minute)
	told(1)
	goesOn(24*time.Hour, time.Minute)
	told(2)
	s.leads = true
	s.step(t)
	goesOn(24*time.Hour, time.Minute)
	told(2)
}

// A checkpoint that is not good, or that is ahead of this node's copy, accuses nobody.
func TestNobodyIsAccusedByWhatIsNotKnown(t *testing.T) {
	s := newScribing(t)
	s.words(t, 1)
	at := s.clock.Now()
	for range 30 {
		at = at.Add(time.Minute)
		s.cp = ledger.CheckpointStatus{Size: 0, Time: at}
		s.step(t)
		s.cp = ledger.CheckpointStatus{Size: uint64(len(s.entries)) + 1, Time: at, Good: true}
		s.step(t)
	}
	if got := s.alerts(t, "ledger-omission"); len(got) != 0 {
		t.Errorf("alerts %+v", got)
	}
}
