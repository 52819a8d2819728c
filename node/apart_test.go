package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// A hospital that was away hears everything after it came back, by the
// addresses it remembers: nobody tells it where the others are.
func TestHospitalThatWasAwayCatchesUp(t *testing.T) {
	r := startRegion(t, 3)
	a, b, away := r.hospitals[0], r.hospitals[1], r.hospitals[2]
	before := away.submit(t, green, sighting("before.example", r.clock.now()))[0]
	a.awaitSigned(t, before.ID)
	away.stop(t)

	var missed []string
	for i := range 5 {
		for _, h := range []*hospital{a, b} {
			value := fmt.Sprintf("missed-%d-%s.example", i, h.PeerID()[len(h.PeerID())-6:])
			missed = append(missed, value)
			h.submit(t, amber, sighting(value, r.clock.now()))
		}
	}
	a.submit(t, api.SubmitOptions{}, api.Submission{Kind: "dispute", Ref: before.ID, Reason: "a test"})
	for _, v := range missed {
		eventually(t, v+" is known to those who stayed", func() bool { return a.knows(t, v) && b.knows(t, v) })
	}

	r.clock.settle()
	away.open(t)
	away.start(t, nil)
	for _, v := range missed {
		eventually(t, v+" is known to the one who was away", func() bool { return away.knows(t, v) })
	}
	eventually(t, "the dispute came", func() bool { return away.marked(t, before.ID, "disputed by 1") })

	// And what it says now is heard, in the same epoch.
	after := away.submit(t, green, sighting("after.example", r.clock.now()))[0]
	a.awaitSigned(t, after.ID)
	if h := a.record(t, after.ID).Header; h.Epoch != 1 || h.Seq != 2 {
		t.Fatalf("after a clean restart the next word is number %d of epoch %d", h.Seq, h.Epoch)
	}
	if n := len(away.alerts(t, "new-epoch")); n != 0 {
		t.Fatal("a clean restart opened a new epoch")
	}
	r.equal(t)
}

// Two hospitals that were apart, each with words of its own, hold the same after
// they meet.
func TestPartitionHeals(t *testing.T) {
	r := makeRegion(t, 2)
	var values [2][]string
	for i, h := range r.hospitals {
		h.open(t)
		h.alone(t)
		for range 8 {
			var items []api.Submission
			for range 25 {
				value := fmt.Sprintf("side-%d-%03d.example", i, len(values[i]))
				values[i] = append(values[i], value)
				items = append(items, sighting(value, r.clock.now()))
			}
			o := []api.SubmitOptions{amber, green}[len(values[i])/25%2]
			last := h.submit(t, o, items...)
			h.awaitSigned(t, last[24].ID)
			r.clock.advance(5 * time.Second)
		}
	}
	for i, h := range r.hospitals {
		if h.knows(t, values[1-i][0]) {
			t.Fatal("they are not apart")
		}
		eventually(t, "200 words in 8 submissions are in 8 envelopes or more", func() bool { return len(h.held(t, h.member(t))) >= 8 })
	}

	r.clock.settle()
	r.meet(t)
	r.equal(t)
	for i, h := range r.hospitals {
		answers, err := h.Lookup(t.Context(), values[1-i], api.LookupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range answers {
			if !a.Known {
				t.Fatalf("%s does not know %s after they met", h.Name(), a.Value)
			}
		}
		status, err := h.Status(t.Context(), 0)
		if err != nil || status.Notices != 400 {
			t.Fatalf("%s counts %d notices, error %v", h.Name(), status.Notices, err)
		}
		if amberless, err := h.Status(t.Context(), notice.TLPGreen); err != nil || amberless.Notices != 200 {
			t.Fatalf("%s counts %d notices up to GREEN, error %v", h.Name(), amberless.Notices, err)
		}
	}
}
