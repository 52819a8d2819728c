package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/crypto"
)

// A node restored from a backup does not know what it said since. It asks
// before it signs, goes on in a new epoch, and gets its own words back.
func TestRestoredBackup(t *testing.T) {
	r := startRegion(t, 3)
	a, b, c := r.hospitals[0], r.hospitals[1], r.hospitals[2]
	say := func(value string) string {
		t.Helper()
		id := a.submit(t, amber, sighting(value, r.clock.now()))[0].ID
		for _, h := range r.hospitals {
			h.awaitSigned(t, id)
		}
		return id
	}
	said := []string{say("one.example"), say("two.example")}
	a.stop(t)
	backup := filepath.Join(t.TempDir(), "backup")
	copyNode(t, backup, a.dir)
	a.open(t)
	a.start(t, nil)
	r.awaitPeers(t)
	said = append(said, say("three.example"), say("four.example"))
	a.stop(t)

	// The disk is lost.
	if err := os.RemoveAll(a.dir); err != nil {
		t.Fatal(err)
	}
	copyNode(t, a.dir, backup)
	r.clock.settle()
	a.open(t)
	if a.knows(t, "three.example") {
		t.Fatal("the backup is not older than the loss")
	}
	a.start(t, nil)
	said = append(said, say("five.example"), say("six.example"))

	for _, h := range r.hospitals {
		for i, id := range said {
			want := crypto.Header{Epoch: 1, Seq: uint64(i + 1)}
			if i >= 4 {
				want = crypto.Header{Epoch: 2, Seq: uint64(i - 3)}
			}
			eventually(t, "every word is at "+h.Name(), func() bool { _, found := h.notice(t, id); return found })
			record := h.record(t, id)
			if record.Header.Epoch != want.Epoch || record.Header.Seq != want.Seq || record.Flags != 0 {
				t.Errorf("%s has word %d as number %d of epoch %d, flags %b", h.Name(), i+1, record.Header.Seq, record.Header.Epoch, record.Flags)
			}
		}
		if forks, err := h.Store().Forks(10); err != nil || len(forks) != 0 {
			t.Errorf("%s has %d fork proofs, error %v", h.Name(), len(forks), err)
		}
	}
	last := b.record(t, said[3]).Envelope
	if got := c.record(t, said[4]).Header.Prev; got != last {
		t.Error("the new epoch does not link to the last word of the one before")
	}
	if n := len(a.alerts(t, "new-epoch")); n != 1 {
		t.Errorf("%d alerts about the new epoch", n)
	}
	r.equal(t)
}

// A node restored from a backup that says something urgent before it can ask
// anybody takes a number which it has used already. Nobody loses either word:
// not those who meet it, nor those who only meet them.
func TestRestoredBackupSpeaksAlone(t *testing.T) {
	t.Parallel()
	for _, settled := range []bool{false, true} {
		t.Run(fmt.Sprintf("settled=%v", settled), func(t *testing.T) {
			r := startRegion(t, 3)
			a, b, c := r.hospitals[0], r.hospitals[1], r.hospitals[2]
			say := func(h *hospital, value string, urgent bool) string {
				t.Helper()
				word := sighting(value, r.clock.now())
				word.Urgent = urgent
				id := h.submit(t, amber, word)[0].ID
				h.awaitSigned(t, id)
				return id
			}
			say(a, "one.example", false)
			a.stop(t)
			backup := filepath.Join(t.TempDir(), "backup")
			copyNode(t, backup, a.dir)
			a.open(t)
			a.start(t, nil)
			r.awaitPeers(t)
			said := []string{"two.example", "three.example", "four.example"}
			for _, v := range said {
				say(a, v, false)
			}
			for _, h := range r.hospitals {
				eventually(t, "all is heard", func() bool { return h.knows(t, "four.example") })
			}
			for _, h := range r.hospitals {
				h.stop(t)
			}
			if err := os.RemoveAll(a.dir); err != nil {
				t.Fatal(err)
			}
			copyNode(t, a.dir, backup)

			r.clock.settle()
			a.open(t)
			a.start(t, nil)
			id := say(a, "alone.example", true)
			if h := a.record(t, id).Header; h.Seq != 2 || h.Epoch != 1 {
				t.Fatalf("the urgent word is number %d of epoch %d, want a number that was used", h.Seq, h.Epoch)
			}
			if settled {
				r.clock.settle()
			}
			b.open(t)
			b.start(t, nil)
			r.meet(t)
			for _, v := range said {
				eventually(t, "the restored node has its words back", func() bool { return a.knows(t, v) })
			}
			eventually(t, "the one that meets it hears the word", func() bool {
				_, _ = a.Mesh().SyncNow(t.Context(), peerOf(t, b)) // instead of waiting for the next round
				return b.knows(t, "alone.example")
			})
			a.stop(t)
			c.open(t)
			c.start(t, nil)
			r.meet(t)
			eventually(t, "the one that meets only the other hears it", func() bool {
				_, _ = b.Mesh().SyncNow(t.Context(), peerOf(t, c))
				return c.knows(t, "alone.example")
			})
			a.open(t)
			a.start(t, nil)
			r.meet(t)
			r.clock.settle()
			r.equal(t)
			for _, h := range r.hospitals {
				if !h.marked(t, id, "its author said two things at once") || !h.knows(t, "two.example") {
					t.Errorf("%s does not show both words, marked", h.Name())
				}
			}
		})
	}
}

func peerOf(t *testing.T, h *hospital) peer.ID {
	t.Helper()
	id, err := peer.Decode(h.PeerID())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A clock that is set back far opens a new epoch; a little is bridged.
func TestClockSetBack(t *testing.T) {
	for _, c := range []struct {
		back  time.Duration
		epoch uint32
	}{{4 * time.Minute, 1}, {6 * time.Minute, 2}, {400 * 24 * time.Hour, 2}} {
		for _, restart := range []bool{false, true} {
			t.Run(c.back.String(), func(t *testing.T) {
				b := newBench(t)
				b.alone(t)
				first := b.submit(t, amber, sighting("one.example", b.clock.now()))[0]
				b.awaitSigned(t, first.ID)
				before := b.record(t, first.ID)
				if restart {
					b.stop(t)
				}
				b.clock.advance(-c.back)
				if restart {
					b.open(t)
					b.alone(t)
				}
				second := b.submit(t, amber, sighting("two.example", b.clock.now()))[0]
				b.awaitSigned(t, second.ID)
				after := b.record(t, second.ID)
				if after.Header.Epoch != c.epoch || after.Header.Prev != before.Envelope {
					t.Fatalf("the next word is in epoch %d and links to %s", after.Header.Epoch, after.Header.Prev)
				}
				if c.epoch == 1 && after.Header.Time < before.Header.Time {
					t.Fatal("time decreases within an epoch")
				}
				if after.Flags != 0 {
					t.Fatalf("it is marked, flags %b", after.Flags)
				}
				if n := len(b.alerts(t, "new-epoch")); n != int(c.epoch)-1 {
					t.Fatalf("%d alerts about new epochs", n)
				}
			})
		}
	}
}
