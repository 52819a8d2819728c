//go:build unix

package proc_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/testnet/proc"
)

// Bounds of one round.
const (
	killRounds  = 5                      // WATCHWARD_KILL_ROUNDS overrides it
	killAfter   = 700 * time.Millisecond // at most, from the first submission on
	batchesMax  = 30                     // acknowledged in one round
	batchItems  = 60                     // at most
	askers      = 4
	meetMax     = 2 * time.Minute // until both hold the same: twice the time that sync lets pass before it compares
	killSeedEnv = "WATCHWARD_KILL_SEED"
)

// A batch is what one request submits, and what came back.
type batch struct {
	key   string // idempotency key
	items []api.Submission
	tlp   string
	ids   []string // nil until it is acknowledged
}

// TestKillDuringImport kills hospitals with SIGKILL at random moments while
// words are being submitted and shared. What was acknowledged must be there
// after the restart and reach the other hospital; what was not is submitted
// again, as a client would, and must not be counted twice.
func TestKillDuringImport(t *testing.T) {
	rounds, random := killing(t)
	r := region(t, "St Anna", "Riverside General")
	first, other := r.Nodes[0], r.Nodes[1]
	var all []*batch
	interrupted := 0
	for round := range rounds {
		victim := first
		if random.IntN(4) == 0 {
			victim = other
		}
		batches := submitAndKill(t, random, round, makeBatches(random, round), first, victim)
		if err := victim.Start(t.Context()); err != nil {
			t.Fatalf("round %d: after kill -9: %v", round, err)
		}
		acknowledged := 0
		for _, b := range batches {
			if b.ids == nil {
				interrupted++
			} else {
				acknowledged += len(b.ids)
			}
		}
		checkKept(t, first, batches, fmt.Sprintf("round %d", round))
		retry(t, first, batches)
		all = append(all, batches...)
		t.Logf("round %d: killed %s; %d notices had been acknowledged", round, victim.Name, acknowledged)
	}
	t.Logf("%d requests were cut off and sent again", interrupted)
	checkKept(t, first, all, "at the end")
	start := time.Now()
	for _, n := range r.Nodes {
		checkEqual(t, n, all)
	}
	t.Logf("both hospitals hold the same after %s", time.Since(start).Round(time.Millisecond))
}

// killing returns how many rounds there are, and what decides in them.
func killing(t *testing.T) (rounds int, random *rand.Rand) {
	t.Helper()
	rounds, seed := killRounds, uint64(time.Now().UnixNano())
	for name, set := range map[string]func(uint64){
		"WATCHWARD_KILL_ROUNDS": func(n uint64) { rounds = int(n) }, killSeedEnv: func(n uint64) { seed = n },
	} {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 63)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			set(n)
		}
	}
	t.Logf("%d rounds; the same again: %s=%d", rounds, killSeedEnv, seed)
	return rounds, rand.New(rand.NewPCG(seed, 0))
}

// makeBatches makes what one round submits.
func makeBatches(random *rand.Rand, round int) (batches []*batch) {
	for i := range batchesMax {
		b := &batch{key: fmt.Sprintf("round-%d-batch-%d", round, i), tlp: "GREEN"}
		for j := range 1 + random.IntN(batchItems) {
			s := api.Submission{Kind: "sighting", Value: fmt.Sprintf("r%d-b%d-i%d.example", round, i, j)}
			if j%2 == 1 {
				s.Kind, s.Origin = "indicator", &api.Origin{Source: "list", ID: s.Value}
			}
			b.items = append(b.items, s)
		}
		batches = append(batches, b)
	}
	return batches
}

// submitAndKill submits to n until victim is killed, at a moment drawn at random.
func submitAndKill(t *testing.T, random *rand.Rand, round int, batches []*batch, n, victim *proc.Node) []*batch {
	t.Helper()
	wait := time.Duration(random.Int64N(int64(killAfter)))
	c, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	killed, stop := make(chan struct{}), make(chan struct{})
	var sent int // batches that were begun
	var submitting sync.WaitGroup
	submitting.Go(func() {
		// Evenly over the time in which the kill may come.
		pace := time.NewTicker(killAfter / batchesMax)
		defer pace.Stop()
		for i, b := range batches {
			sent = i + 1
			answer, err := submit(t.Context(), c, b)
			if err == nil {
				b.ids = answer
			} else if victim != n {
				t.Errorf("round %d: %s refuses while the other is killed: %v", round, n.Name, err)
			}
			select {
			case <-stop:
				return
			case <-pace.C:
			}
		}
		<-stop
	})
	go func() {
		defer close(killed)
		<-time.After(wait)
		if err := victim.Kill(); err != nil {
			t.Error(err)
		}
	}()
	<-killed
	close(stop)
	submitting.Wait()
	return batches[:sent]
}

// submit returns the ids once the node has acknowledged all of a batch.
func submit(ctx context.Context, c *client.Client, b *batch) ([]string, error) {
	answer, err := c.Submit(ctx, b.items, client.SubmitOptions{TLP: b.tlp, Idempotency: b.key})
	if err != nil {
		return nil, err
	}
	if len(answer.Refused) > 0 || len(answer.Notices) != len(b.items) {
		return nil, fmt.Errorf("%d of %d taken, refused: %+v", len(answer.Notices), len(b.items), answer.Refused)
	}
	ids := make([]string, len(answer.Notices))
	for i, v := range answer.Notices {
		ids[i] = v.ID
	}
	return ids, nil
}

// checkKept asks for every acknowledged notice by its id.
func checkKept(t *testing.T, n *proc.Node, batches []*batch, when string) {
	t.Helper()
	c, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var group errgroup.Group
	group.SetLimit(askers)
	var lost atomic.Int64
	for _, b := range batches {
		group.Go(func() error {
			for i, id := range b.ids {
				v, err := c.Notice(t.Context(), id)
				if err != nil {
					lost.Add(1)
					return fmt.Errorf("%s was acknowledged and is not there: %w", b.items[i].Value, err)
				}
				if v.Indicator == nil || v.Indicator.Value != b.items[i].Value || v.State == api.StateLocal {
					return fmt.Errorf("%s is another notice now: %+v", b.items[i].Value, v.NoticeView)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatalf("%s: %s: in %d requests something was lost: %v", when, n.Name, lost.Load(), err)
	}
}

// retry sends again what was not acknowledged, and what was: both are harmless.
func retry(t *testing.T, n *proc.Node, batches []*batch) {
	t.Helper()
	c, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, b := range batches {
		if b.ids != nil && i != 0 {
			continue
		}
		ids, err := submit(t.Context(), c, b)
		if err != nil {
			t.Fatalf("send %s again: %v", b.key, err)
		}
		if b.ids != nil && fmt.Sprint(ids) != fmt.Sprint(b.ids) {
			t.Errorf("%s has other ids when it is sent again", b.key)
		}
		b.ids = ids
	}
}

var errMissing = errors.New("not there yet")

// checkEqual waits until a node knows every value, and checks that each counts once.
func checkEqual(t *testing.T, n *proc.Node, batches []*batch) {
	t.Helper()
	c, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var values []string
	for _, b := range batches {
		for _, s := range b.items {
			values = append(values, s.Value)
		}
	}
	ctx := within(t, meetMax)
	var twice []string
	err = proc.Poll(ctx, func() error {
		missing, example := 0, ""
		twice = nil
		err := c.Lookup(ctx, values, client.LookupOptions{}, func(a api.LookupAnswer) error {
			switch {
			case !a.Known:
				missing, example = missing+1, a.Value
			case a.Summary.Sightings+uint64(a.Summary.Reports) != 1:
				twice = append(twice, fmt.Sprintf("%s: %+v", a.Value, *a.Summary))
			}
			return nil
		})
		if err == nil && missing > 0 {
			err = fmt.Errorf("%w: %d of %d values, for one %s", errMissing, missing, len(values), example)
		}
		return err
	})
	if err != nil {
		t.Fatalf("%s after %s: %v", n.Name, meetMax, err)
	}
	if len(twice) > 0 {
		t.Errorf("%s counts %d values not once, for one %s", n.Name, len(twice), twice[0])
	}
	s, err := c.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if s.Notices != int64(len(values)) {
		t.Errorf("%s holds %d notices, want %d", n.Name, s.Notices, len(values))
	}
}
