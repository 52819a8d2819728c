//go:build linux

package fault_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/watchward/watchward/testnet/fault"
	"github.com/watchward/watchward/testnet/proc"
)

// Bounds of waiting for a word. An ordinary one may wait 10 s to be signed with
// others; after a partition sync compares at the latest after a minute.
const (
	wordMax = 30 * time.Second
	healMax = 90 * time.Second
)

// A region that is cut in two goes on on both sides, and is one again after it.
// One hospital of each side is restarted meanwhile, so that connections which
// outlast the cut do not carry everything.
func TestSymmetricPartition(t *testing.T) {
	t.Parallel()
	d, n := hospitals(t, 4, network(t), nil)
	say(t, d, n[0], fault.Options{}, "before.example")
	for _, node := range n {
		await(t, wordMax, node, "before.example")
	}
	must(t, d.Region.Split(n[:2], n[2:]))
	must(t, d.Region.Stop(n[1], n[2]))
	must(t, n[1].Start(t.Context()))
	must(t, n[2].Start(t.Context()))
	for i, node := range n {
		say(t, d, node, fault.Options{Urgent: true}, fmt.Sprintf("apart-%d.example", i))
		say(t, d, node, fault.Options{Local: true}, fmt.Sprintf("local-%d.example", i))
	}
	for i, node := range n {
		await(t, wordMax, node, fmt.Sprintf("apart-%d.example", i^1), "before.example")
		if fault.Knows(t.Context(), node, fmt.Sprintf("apart-%d.example", i^2)) == nil {
			t.Errorf("%s hears the other side: nothing is cut", node.Name)
		}
	}
	d.Region.Heal()
	for i, node := range n {
		t.Logf("%s hears the other side %s after healing", node.Name, await(t, healMax, node, fmt.Sprintf("apart-%d.example", i^2)).Round(time.Millisecond))
	}
	check(t, d)
}

// Packets get through in one direction only: the words of the mute one are not
// lost, and the rest of the region does not notice.
func TestOneWayPartition(t *testing.T) {
	t.Parallel()
	d, n := hospitals(t, 3, network(t), nil)
	mute, others := n[2], n[:2]
	for _, other := range others {
		must(t, d.Region.Link(mute, other, proc.Link{Cut: true})) // it hears and cannot answer
	}
	say(t, d, mute, fault.Options{Urgent: true}, "from-mute.example")
	say(t, d, others[0], fault.Options{Urgent: true}, "among-others.example")
	await(t, wordMax, others[1], "among-others.example")
	if err := fault.Knows(t.Context(), others[0], "from-mute.example"); err == nil {
		t.Error("the mute one is heard: nothing is cut")
	}
	must(t, fault.Knows(t.Context(), mute, "from-mute.example"))
	d.Region.Heal()
	for _, other := range others {
		await(t, healMax, other, "from-mute.example")
	}
	await(t, healMax, mute, "among-others.example")
	check(t, d)
}

// Two hospitals that cannot reach each other hear each other through a third.
func TestNonTransitiveLinks(t *testing.T) {
	t.Parallel()
	d, n := hospitals(t, 3, network(t), nil)
	must(t, d.Region.Split(n[:1], n[1:2])) // the third is in neither group
	say(t, d, n[0], fault.Options{Urgent: true}, "urgent.example")
	say(t, d, n[0], fault.Options{}, "ordinary.example")
	t.Logf("urgent through the third after %s", await(t, wordMax, n[1], "urgent.example").Round(time.Millisecond))
	t.Logf("ordinary through the third after %s", await(t, wordMax, n[1], "ordinary.example").Round(time.Millisecond))
	check(t, d)
}

// A third of all packets is lost, in both directions, between all.
func TestLoss(t *testing.T) {
	t.Parallel()
	const loss, words, goal = 0.3, 12, 5 * time.Second
	w := network(t)
	d, n := hospitals(t, 4, w, nil)
	must(t, d.Region.All(proc.Link{Loss: loss, Delay: 10 * time.Millisecond}))
	slowest := slowestWord(t, d, n, "lossy", words)
	carried, dropped := w.Packets()
	t.Logf("the slowest of %d words was at all %d after %s; of %d packets %d were lost", words, len(n), slowest.Round(time.Millisecond), carried+dropped, dropped)
	if slowest > goal {
		t.Errorf("with %.0f %% loss a word took %s, more than %s", loss*100, slowest, goal)
	}
	if share := float64(dropped) / float64(carried+dropped); share < loss/2 {
		t.Errorf("only %.0f %% of the packets were lost: nothing was tried", share*100)
	}
	check(t, d)
}

// slowestWord has hospitals say words, every second one urgent, and returns how
// long the slowest took to be at all of them.
func slowestWord(t *testing.T, d *fault.Driver, n []*proc.Node, name string, words int) time.Duration {
	t.Helper()
	slowest := time.Duration(0)
	for i := range words { // each author has three urgent words to say
		from, value := n[i%len(n)], fmt.Sprintf("%s-%d.example", name, i)
		start := time.Now()
		say(t, d, from, fault.Options{Urgent: i%2 == 0}, value)
		for _, to := range n {
			await(t, healMax, to, value)
		}
		slowest = max(slowest, time.Since(start))
	}
	return slowest
}

// An urgent word overtakes a backlog on a line of 64 kbit/s, in and out.
func TestSlowLine(t *testing.T) {
	t.Parallel()
	const (
		kbit, backlog, rounds = 64, 10_000, 5
		learn                 = 15 * time.Second // in which the peers learn how slow the line is
		goal                  = 3 * time.Second
	)
	d, n := hospitals(t, 3, network(t), nil)
	slow := n[2]
	must(t, slow.Slow(t.Context(), kbit))
	var in, out []string
	for i := range backlog {
		in = append(in, fmt.Sprintf("bulk-in-%d.some-long-name-that-takes-room.example", i))
		out = append(out, fmt.Sprintf("bulk-out-%d.some-long-name-that-takes-room.example", i))
	}
	say(t, d, n[0], fault.Options{}, in...)
	say(t, d, slow, fault.Options{}, out...)
	await(t, healMax, n[1], in[:backlog/2]...) // so the slow one gets it from both
	<-time.After(learn)
	var times []time.Duration
	for i := range rounds {
		there, here := fmt.Sprintf("urgent-in-%d.example", i), fmt.Sprintf("urgent-out-%d.example", i)
		say(t, d, n[0], fault.Options{Urgent: true}, there)
		took := await(t, wordMax, slow, there)
		say(t, d, slow, fault.Options{Urgent: true}, here)
		tookBack := await(t, wordMax, n[0], here)
		t.Logf("urgent in %s, out %s", took.Round(time.Millisecond), tookBack.Round(time.Millisecond))
		times = append(times, took, tookBack)
	}
	slices.Sort(times)
	// The line drops what it cannot hold for 500 ms, and now and then that is the
	// urgent word itself, which is sent again.
	if usual, worst := times[len(times)*8/10-1], times[len(times)-1]; usual > goal || worst > 2*goal {
		t.Errorf("with a backlog at %d kbit/s urgent words took %v: want at most %s, twice that for one in five", kbit, times, goal)
	}
	if fault.Knows(t.Context(), slow, in...) == nil || fault.Knows(t.Context(), n[0], out...) == nil {
		t.Error("there was no backlog: all of it has arrived already")
	}
	must(t, slow.Slow(t.Context(), 0))
	check(t, d)
}
