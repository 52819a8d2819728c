package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// What was acknowledged and not signed when the node went down is signed after
// the next start, once and under the id that was answered.
func TestOutboxSurvivesAStop(t *testing.T) {
	b := newBench(t)
	said := b.submit(t, amber, sighting("one.example", b.clock.now()), sighting("two.example", b.clock.now()))
	said = append(said, b.submit(t, green, sighting("three.example", b.clock.now()))...)
	if n := len(b.held(t, b.self.ID)); n != 0 {
		t.Fatal("a node that was not started has signed")
	}
	for round := range 3 {
		b.stop(t)
		b.open(t)
		if round == 0 {
			for _, s := range said {
				if view, found := b.notice(t, s.ID); !found || view.State != api.StateWaiting {
					t.Fatalf("after the stop: found %t, %s", found, view.State)
				}
			}
		}
		b.alone(t)
		for _, s := range said {
			b.awaitSigned(t, s.ID)
		}
		if held := b.awaitHeld(t, b.self.ID, 2); held[0].Header.Count+held[1].Header.Count != 3 {
			t.Fatalf("in round %d three words are not in two envelopes", round)
		}
	}
	b.awaitSigned(t, b.submit(t, amber, sighting("four.example", b.clock.now()))[0].ID)
	for _, e := range b.awaitHeld(t, b.self.ID, 3) {
		h := &e.Header
		if want := map[crypto.Audience]uint64{crypto.AudienceRegion: 2, crypto.AudienceCommunity: 1}[h.Audience]; h.Epoch != 1 || h.Seq > want {
			t.Errorf("after a stop like any other it signs number %d of epoch %d for the %s", h.Seq, h.Epoch, h.Audience)
		}
	}
	status, err := b.Status(t.Context(), 0)
	if err != nil || status.Waiting != 0 || status.Notices != 4 {
		t.Fatalf("%d wait, %d notices, error %v", status.Waiting, status.Notices, err)
	}
}

// A burst of single words becomes few envelopes, and none waits longer than the
// window.
func TestBurstIsGrouped(t *testing.T) {
	b := newBench(t)
	b.clock.stop()
	b.alone(t)
	began := b.clock.now()
	var said []string
	for i := range 50 {
		said = append(said, b.submit(t, amber, sighting(fmt.Sprintf("burst-%02d.example", i), began))[0].ID)
	}
	eventually(t, "the first words have left at once", func() bool { return len(b.held(t, b.self.ID)) == 8 })
	b.clock.advance(10 * time.Second)
	said = append(said, b.submit(t, amber, sighting("one-more.example", began))[0].ID) // wakes the outbox
	for _, id := range said {
		b.awaitSigned(t, id)
	}
	held := b.held(t, b.self.ID)
	if len(held) > 10 {
		t.Fatalf("51 words became %d envelopes", len(held))
	}
	var prev crypto.EnvelopeID
	for i, e := range held {
		if e.Header.Seq != uint64(i+1) || e.Header.Prev != prev || e.Header.Epoch != 1 {
			t.Fatalf("envelope %d is number %d and links to %s", i+1, e.Header.Seq, e.Header.Prev)
		}
		prev = e.ID
	}
	// They leave in the order in which they were said.
	var last [2]uint64
	for i, id := range said {
		r := b.record(t, id)
		if at := [2]uint64{r.Header.Seq, uint64(r.Index)}; i > 0 && (at[0] < last[0] || at[0] == last[0] && at[1] <= last[1]) {
			t.Fatalf("word %d is at %v, the one before at %v", i, at, last)
		} else {
			last = at
		}
		if waited := r.Header.Time - b.receivedAt(t, id); waited > 11_000 {
			t.Errorf("word %d waited %d ms", i, waited)
		}
	}
}

// receivedAt is when a notice was submitted, which is when it was written.
func (b *bench) receivedAt(t testing.TB, id string) int64 {
	t.Helper()
	view, found := b.notice(t, id)
	if !found {
		t.Fatalf("%s is gone", id)
	}
	return int64(view.Created)
}

// Urgent words neither wait nor share an envelope with others; there are few.
func TestUrgentWordsOvertake(t *testing.T) {
	b := newBench(t)
	b.clock.stop()
	b.start(t, nil) // and nobody greets it: ordinary words wait
	ordinary := b.submit(t, amber, sighting("ordinary.example", b.clock.now()))[0]
	for i := range 3 {
		item := sighting(fmt.Sprintf("urgent-%d.example", i), b.clock.now())
		item.Urgent = true
		said := b.submit(t, amber, item)[0]
		b.awaitSigned(t, said.ID)
		if r := b.record(t, said.ID); !r.Urgent || !r.Header.Urgent || len(b.awaitHeld(t, b.self.ID, i+1)[0].Raw) > 16<<10 {
			t.Fatalf("urgent word %d left as an ordinary one", i)
		}
		if view, _ := b.notice(t, ordinary.ID); i == 0 && view.State != api.StateWaiting {
			t.Fatal("the ordinary word did not wait for a greeting")
		}
	}
	item := sighting("too-many.example", b.clock.now())
	item.Urgent = true
	fourth := b.submit(t, amber, item)[0]
	b.clock.advance(4 * time.Second)
	b.awaitSigned(t, fourth.ID)
	b.awaitSigned(t, ordinary.ID)
	if b.record(t, fourth.ID).Urgent || b.record(t, ordinary.ID).Urgent {
		t.Fatal("a fourth word in ten minutes is urgent")
	}
	if notice.TLP(b.record(t, fourth.ID).Header.TLP) != notice.TLPAmber {
		t.Fatal("the marking changed")
	}
}
