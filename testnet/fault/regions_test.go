//go:build linux

package fault_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/watchward/watchward/testnet/fault"
	"github.com/watchward/watchward/testnet/proc"
)

// Two regions that endorse each other are cut apart, go on each for itself, and
// know the same of what is for both after it. What is AMBER stays in its region
// all the time, and a region that withdraws is out.
func TestTwoRegions(t *testing.T) {
	t.Parallel()
	green := fault.Options{TLP: "GREEN"}
	urgent := fault.Options{TLP: "GREEN", Urgent: true}
	d := federation(t, network(t), nil, 2, 2)
	a, b := d.Regions[0], d.Regions[1]
	everybody := slices.Concat(a.Nodes, b.Nodes)
	say(t, d, a.Nodes[1], green, "before.example")
	say(t, d, a.Nodes[1], fault.Options{}, "amber-before.example")
	for _, n := range everybody {
		await(t, wordMax, n, "before.example")
	}
	await(t, wordMax, a.Nodes[0], "amber-before.example")

	must(t, d.Region.Split(a.Nodes, b.Nodes))
	must(t, d.Region.Stop(a.Nodes[1], b.Nodes[1])) // so that no old connection carries anything
	must(t, a.Nodes[1].Start(t.Context()))
	must(t, b.Nodes[1].Start(t.Context()))
	for i, n := range everybody {
		say(t, d, n, urgent, fmt.Sprintf("green-%d.example", i))
		say(t, d, n, fault.Options{Urgent: true}, fmt.Sprintf("amber-%d.example", i))
	}
	for i, n := range everybody {
		await(t, wordMax, n, fmt.Sprintf("green-%d.example", i^1), fmt.Sprintf("amber-%d.example", i^1))
		if fault.Knows(t.Context(), n, fmt.Sprintf("green-%d.example", i^2)) == nil {
			t.Errorf("%s hears the other region: nothing is cut", n.Name)
		}
	}
	d.Region.Heal()
	for i, n := range everybody {
		t.Logf("%s hears the other region after %s", n.Name, await(t, healMax, n, fmt.Sprintf("green-%d.example", i^2)))
	}
	check(t, d)

	// One hospital brings the withdrawal and its own region hears of it; neither
	// of them hears the other region after that, nor is heard.
	must(t, b.Withdraw(t.Context(), b.Nodes[1], a))
	for _, n := range everybody {
		must(t, proc.Poll(within(t, healMax), func() error { return onePeer(t.Context(), n) }))
	}
	for i, n := range everybody {
		say(t, d, n, urgent, fmt.Sprintf("late-%d.example", i))
		await(t, wordMax, everybody[i^1], fmt.Sprintf("late-%d.example", i))
	}
	for i, n := range everybody {
		if fault.Knows(t.Context(), n, fmt.Sprintf("late-%d.example", i^2)) == nil {
			t.Errorf("%s hears a region that has withdrawn", n.Name)
		}
	}
}

// onePeer reports, as an error, that a node is connected to none or to several.
func onePeer(ctx context.Context, n *proc.Node) error {
	c, err := n.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if err == nil && s.Peers != 1 {
		err = fmt.Errorf("%s has %d peers, want its own region's only", n.Name, s.Peers)
	}
	return err
}
