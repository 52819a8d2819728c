package node_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const forkMark = "its author said two things at once"

// itemID is the id of an envelope's item.
func itemID(t testing.TB, e *crypto.Envelope, index int) string {
	t.Helper()
	items, err := e.Split()
	if err != nil {
		t.Fatal(err)
	}
	return crypto.NewItemID(e.Header.Author, crypto.LeafHash(items[index])).String()
}

func TestOldWords(t *testing.T) {
	b := newBench(t)
	now := b.clock.now()
	aged := b.author.Envelope(t, crypto.Header{Time: now - 6*minute}, nil, b.item(t, "aged.example"))
	b.says(t, aged.Raw, mesh.ViaGossip, mesh.ErrStale.Error())
	b.takes(t, aged, mesh.ViaSync)
	if !b.knows(t, "aged.example") {
		t.Fatal("a word older than five minutes, taken by sync, is not known")
	}

	b.ClockCompared()
	ended := b.author.Envelope(t, crypto.Header{Time: now - 2*minute, Expiry: now - minute}, aged, b.item(t, "ended.example"))
	b.says(t, ended.Raw, mesh.ViaGossip, mesh.ErrStale.Error())
	before := b.figures(t)
	b.takes(t, ended, mesh.ViaSync)
	after := b.figures(t)
	if after.envelopes != before.envelopes+1 || after.notices != before.notices || after.listed != before.listed || b.knows(t, "ended.example") {
		t.Fatalf("an expired envelope says something: %+v, before %+v", after, before)
	}
	held := b.held(t, b.author.ID)
	if len(held) != 2 || !held[1].Erased() || held[1].ID != ended.ID {
		t.Fatal("the expired envelope is not kept as header and signature")
	}

	// A peer must not make words disappear that have not expired.
	bare := b.author.Envelope(t, crypto.Header{Time: now}, ended, b.item(t, "kept.example")).Bare()
	b.says(t, bare, mesh.ViaSync, mesh.ErrStale.Error())
}

// A node that has not compared its clock since it started throws nothing away:
// its clock may be a year ahead, and what it took for expired is shown once it
// has been put right.
func TestClockAheadErasesNothing(t *testing.T) {
	b := newBench(t)
	e := b.author.Envelope(t, crypto.Header{Time: b.clock.now(), Expiry: b.clock.now() + 30*minute}, nil, b.item(t, "evil.example"))
	b.clock.advance(time.Hour)
	b.takes(t, e, mesh.ViaSync)
	if b.knows(t, "evil.example") {
		t.Fatal("an expired word is known")
	}
	b.clock.advance(-time.Hour)
	if !b.knows(t, "evil.example") {
		t.Fatal("a word that came while the clock was ahead is not known after it was put right")
	}
}

func TestExpiryHides(t *testing.T) {
	b := newBench(t)
	e := b.author.Envelope(t, crypto.Header{Time: b.clock.now(), Expiry: b.clock.now() + 30*minute}, nil, b.item(t, "evil.example"))
	b.takes(t, e, mesh.ViaGossip)
	if !b.knows(t, "evil.example") {
		t.Fatal("not known before it expires")
	}
	b.clock.advance(31 * time.Minute)
	if b.knows(t, "evil.example") {
		t.Fatal("known after it expired")
	}
	if !b.marked(t, itemID(t, e, 0), "expired") {
		t.Fatal("the expired notice is not marked when asked for by its id")
	}
}

// A word from the future waits and is taken when its time has come, without
// anybody sending it again.
func TestWordFromTheFutureWaits(t *testing.T) {
	b := newBench(t)
	b.start(t, nil)
	var last *crypto.Envelope
	for name, via := range vias {
		e := b.author.Envelope(t, crypto.Header{Time: b.clock.now() + 30*minute}, last, b.item(t, name+".example"))
		broken := slices.Clone(e.Raw)
		broken[len(e.Signed)+5] ^= 1
		b.says(t, broken, via, "signature") // only what is genuine may wait
		b.says(t, e.Raw, via, mesh.ErrHeld.Error())
		b.says(t, e.Raw, via, mesh.ErrHeld.Error())
		last = e
	}
	b.clock.advance(24 * time.Minute)
	if b.knows(t, "sync.example") {
		t.Fatal("known before its time")
	}
	b.clock.advance(2 * time.Minute)
	for name := range vias {
		eventually(t, "what waited is known", func() bool { return b.knows(t, name+".example") })
	}
	if n := len(b.held(t, b.author.ID)); n != 3 {
		t.Fatalf("three envelopes waited and %d are stored", n)
	}
	b.says(t, last.Raw, mesh.ViaGossip, mesh.ErrDuplicate.Error())
}

// What waits is bounded, whoever floods.
func TestWordsFromTheFutureAreBounded(t *testing.T) {
	b := newBench(t)
	b.start(t, nil)
	item := b.item(t, "evil.example")
	var last *crypto.Envelope
	for range 300 {
		last = b.author.Envelope(t, crypto.Header{Time: b.clock.now() + 30*minute}, last, item)
		if _, err := b.Path().Check(last.Raw, mesh.ViaGossip, b.region.ID, crypto.AudienceRegion); !errors.Is(err, mesh.ErrHeld) {
			t.Fatal(err)
		}
	}
	other := b.other.Envelope(t, crypto.Header{Time: b.clock.now() + 40*minute}, nil, b.item(t, "dropped.example"))
	b.says(t, other.Raw, mesh.ViaGossip, mesh.ErrHeld.Error())
	b.clock.advance(time.Hour)
	eventually(t, "256 of what waited is stored", func() bool { return len(b.held(t, b.author.ID)) == 256 })
	b.takes(t, other, mesh.ViaSync) // it did not fit, and comes again
}

// Urgent words fail nothing for their author's clock; they are marked.
func TestUrgentWithAWrongClock(t *testing.T) {
	for _, c := range []struct {
		name   string
		off    int64
		via    mesh.Via
		marked bool
	}{
		{"three days ahead, gossip", 3 * day, mesh.ViaGossip, true},
		{"three days ahead, direct", 3 * day, mesh.ViaDirect, true},
		{"three days ahead, sync", 3 * day, mesh.ViaSync, true},
		{"three days behind, gossip", -3 * day, mesh.ViaGossip, true},
		{"three days behind, direct", -3 * day, mesh.ViaDirect, true},
		{"three days behind, sync", -3 * day, mesh.ViaSync, false}, // history
		{"a minute ahead", minute, mesh.ViaGossip, false},
		{"a minute behind", -minute, mesh.ViaDirect, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			now := b.clock.now()
			e := b.author.Envelope(t, crypto.Header{Time: now + c.off, Expiry: now + 10*day, Urgent: true}, nil, b.item(t, "evil.example"))
			b.takes(t, e, c.via)
			if !b.knows(t, "evil.example") {
				t.Fatal("an urgent word is not known")
			}
			if got := b.marked(t, itemID(t, e, 0), "clock off"); got != c.marked {
				t.Fatalf("marked %t, want %t", got, c.marked)
			}
		})
	}
}

func TestDuplicatesChangeNothing(t *testing.T) {
	b := newBench(t)
	e := b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, nil, b.item(t, "evil.example"))
	checked, err := b.Path().Check(e.Raw, mesh.ViaGossip, b.region.ID, crypto.AudienceRegion)
	if err != nil {
		t.Fatal(err)
	}
	// Two peers bring it before either is stored.
	again, err := b.Path().Check(bytes.Clone(e.Raw), mesh.ViaDirect, crypto.Region{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Path().Admit(t.Context(), []*mesh.Checked{checked, again}); err != nil {
		t.Fatal(err)
	}
	before := b.figures(t)
	if before.envelopes != 1 || before.notices != 1 {
		t.Fatalf("one envelope twice left %+v", before)
	}
	if err := b.Path().Admit(t.Context(), []*mesh.Checked{again, checked}); err != nil {
		t.Fatal(err)
	}
	for _, via := range vias {
		b.says(t, e.Raw, via, mesh.ErrDuplicate.Error())
	}
	// A relay that breaks what is here already is to be named.
	broken := bytes.Clone(e.Raw)
	broken[len(e.Signed)] ^= 1
	b.says(t, broken, mesh.ViaGossip, "signature")
	b.says(t, broken, mesh.ViaDirect, mesh.ErrDuplicate.Error())
	if got := b.lookup(t, "evil.example", 0).Summary; got == nil || got.Sightings != 1 || got.Members != 1 {
		t.Fatalf("one sighting that came five times counts as %+v", got)
	}
	if len(b.alerts(t, "fork")) != 0 {
		t.Fatal("a duplicate is no fork")
	}
}

// Two envelopes in one place: both words are kept and marked, and a person is
// told once.
func TestForkKeepsBothWords(t *testing.T) {
	b := newBench(t)
	h := crypto.Header{Time: b.clock.now()}
	one := b.author.Envelope(t, h, nil, b.item(t, "one.example"))
	two := b.author.Envelope(t, h, nil, b.item(t, "two.example"))
	for _, e := range []*crypto.Envelope{one, two} {
		if err := b.bring(t.Context(), e.Raw, mesh.ViaGossip, crypto.AudienceRegion); err != nil {
			t.Fatal(err)
		}
	}
	b.bothForked(t, one, two)
	for _, e := range []*crypto.Envelope{two, one} { // once more
		if err := b.bring(t.Context(), e.Raw, mesh.ViaSync, crypto.AudienceRegion); err != nil && !errors.Is(err, mesh.ErrDuplicate) {
			t.Fatal(err)
		}
	}
	b.bothForked(t, one, two)

	// What the author says afterwards is heard, without the mark.
	next := b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, one, b.item(t, "three.example"))
	b.takes(t, next, mesh.ViaGossip)
	if !b.knows(t, "three.example") || b.marked(t, itemID(t, next, 0), forkMark) {
		t.Fatal("the author's next word is lost or marked as forked")
	}
}

func (b *bench) bothForked(t *testing.T, one, two *crypto.Envelope) {
	t.Helper()
	for _, e := range []*crypto.Envelope{one, two} {
		if !b.marked(t, itemID(t, e, 0), forkMark) {
			view, found := b.notice(t, itemID(t, e, 0))
			t.Errorf("not marked: %+v, found %t", view.Marks, found)
		}
	}
	if !b.knows(t, "one.example") || !b.knows(t, "two.example") {
		t.Error("a word of the two is not known any more")
	}
	forks, err := b.Store().Forks(10)
	if err != nil || len(forks) != 1 || !slices.Contains(forks[0].IDs[:], one.ID) || !slices.Contains(forks[0].IDs[:], two.ID) {
		t.Errorf("fork proofs %v, error %v", forks, err)
	}
	if n := len(b.alerts(t, "fork")); n != 1 {
		t.Errorf("%d alerts about one fork", n)
	}
}

// A node that meets another word of its own in a place it has used begins a new
// epoch, also when it was stopped in between.
func TestOwnForkOpensANewEpoch(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(map[bool]string{false: "at once", true: "after a restart"}[restart], func(t *testing.T) {
			b := newBench(t)
			b.alone(t)
			first := b.submit(t, api.SubmitOptions{TLP: notice.TLPAmber}, sighting("mine.example", b.clock.now()))[0]
			b.awaitSigned(t, first.ID)
			mine := b.held(t, b.self.ID)[0]
			twin := b.self.Envelope(t, crypto.Header{Time: b.clock.now(), Epoch: mine.Header.Epoch, Seq: mine.Header.Seq}, nil, b.item(t, "twin.example"))
			if err := b.bring(t.Context(), twin.Raw, mesh.ViaDirect, 0); err != nil {
				t.Fatal(err)
			}
			if n := len(b.alerts(t, "fork")); n != 1 {
				t.Fatalf("%d alerts about one fork", n)
			}
			if restart {
				b.stop(t)
				b.open(t)
				b.alone(t)
			}
			second := b.submit(t, api.SubmitOptions{TLP: notice.TLPAmber}, sighting("later.example", b.clock.now()))[0]
			b.awaitSigned(t, second.ID)
			record := b.record(t, second.ID)
			if record.Header.Epoch != mine.Header.Epoch+1 || record.Header.Seq != 1 {
				t.Fatalf("the next word is number %d of epoch %d", record.Header.Seq, record.Header.Epoch)
			}
			if prev := record.Header.Prev; prev != mine.ID && prev != twin.ID {
				t.Fatal("the new epoch does not link to what was said before")
			}
			for _, v := range []string{"mine.example", "twin.example", "later.example"} {
				if !b.knows(t, v) {
					t.Errorf("%s is not known", v)
				}
			}
			third := b.submit(t, api.SubmitOptions{TLP: notice.TLPAmber}, sighting("third.example", b.clock.now()))[0]
			b.awaitSigned(t, third.ID)
			if h := b.record(t, third.ID).Header; h.Epoch != mine.Header.Epoch+1 || h.Seq != 2 {
				t.Fatalf("the word after it is number %d of epoch %d", h.Seq, h.Epoch)
			}
		})
	}
}

func (h *hospital) awaitSigned(t testing.TB, id string) {
	t.Helper()
	eventually(t, "the notice is signed", func() bool {
		view, found := h.notice(t, id)
		return found && (view.State == api.StateSigned || view.State == api.StateSent)
	})
}

func (h *hospital) record(t testing.TB, id string) store.Record {
	t.Helper()
	item, err := crypto.ParseItemID(id)
	if err != nil {
		t.Fatal(err)
	}
	r, found, err := h.Store().Record(item)
	if err != nil || !found {
		t.Fatalf("record of %s: found %t, error %v", id, found, err)
	}
	return r
}
