//go:build unix

package proc_test

import (
	"fmt"
	"testing"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/testnet/proc"
)

// namedRounds are fewer: each word is an envelope of its own kind.
const namedRounds = 3

// TestKillNamed kills the author or the recipient of RED words with SIGKILL at
// random moments: before they are sealed, on the way, between the recipient's
// disk and the author's. Each must arrive once, and its author must know.
func TestKillNamed(t *testing.T) {
	rounds, random := killing(t)
	r := region(t, "St Anna", "Riverside General", "University Hospital")
	first, other, third := r.Nodes[0], r.Nodes[1], r.Nodes[2]
	var all []*batch
	for round := range min(rounds, namedRounds) {
		batches := makeBatches(random, round)
		for _, b := range batches {
			b.tlp = "RED"
			for i := range b.items {
				b.items[i].To = []string{other.Name}
			}
		}
		victim := first
		if random.IntN(2) == 0 {
			victim = other
		}
		batches = submitAndKill(t, random, round, batches, first, victim)
		if err := victim.Start(t.Context()); err != nil {
			t.Fatalf("round %d: after kill -9: %v", round, err)
		}
		retry(t, first, batches)
		all = append(all, batches...)
		t.Logf("round %d: killed %s", round, victim.Name)
	}
	for _, n := range []*proc.Node{first, other} {
		checkEqual(t, n, all)
	}
	checkDelivered(t, first, all)
	c, err := third.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if s, err := c.Status(t.Context()); err != nil || s.Notices != 0 {
		t.Errorf("who was not named holds %d notices, %v", s.Notices, err)
	}
}

// checkDelivered waits until nothing is on its way, and checks that each word is
// said to have arrived.
func checkDelivered(t *testing.T, n *proc.Node, batches []*batch) {
	t.Helper()
	c, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := within(t, meetMax)
	err = proc.Poll(ctx, func() error {
		s, err := c.Status(ctx)
		if err == nil && s.Awaited > 0 {
			err = fmt.Errorf("%w: %d for %d members", errMissing, s.Awaited, s.Awaiting)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		v, err := c.Notice(ctx, b.ids[0])
		if err != nil || len(v.To) != 1 || v.To[0].State != api.DeliveryDone {
			t.Fatalf("%s: %+v, %v", b.items[0].Value, v.To, err)
		}
	}
}
