//go:build linux

package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/watchward/watchward/testnet/fault"
	"github.com/watchward/watchward/testnet/proc"
)

// A coordinator signs with the key on its stick, at its own node.
type coordinator struct {
	node *proc.Node
	key  string
}

// A region of three coordinators, the machine of one of them off all along. It
// admits a hospital, expels one whose keys a thief uses, changes its charter and
// gives the hospital new keys. What the thief said is nowhere, also where it was
// heard before; what the hospital had said stays.
func TestCouncilWithOneOff(t *testing.T) {
	t.Parallel()
	d := makeRegions(t, proc.Config{Network: network(t), Coordinators: 3, Off: map[int]bool{2: true}}, 4)
	r := d.Region
	first, second := coordinator{r.Nodes[0], r.Key(0)}, coordinator{r.Nodes[1], r.Key(1)}
	off, victim := r.Nodes[2], r.Nodes[3]
	say(t, d, victim, fault.Options{}, "honest.example")

	newcomer := join(t, r, "Hospital 5", func(words string) {
		decide(t, first, second, "region", "admit", words)
	})
	await(t, healMax, newcomer, "honest.example")
	say(t, d, newcomer, fault.Options{Urgent: true}, "newcomer.example")
	for _, n := range []*proc.Node{first.node, second.node, victim} {
		await(t, wordMax, n, "honest.example", "newcomer.example")
	}

	// The thief is heard by the second coordinator alone, when the first one asks
	// for the revocation: it keeps what the first one holds.
	must(t, victim.Stop())
	must(t, proc.CopyDir(victim.Dir, victim.Dir+"-copy"))
	thief, err := r.Clone(victim, victim.Dir+"-copy")
	must(t, err)
	must(t, r.Split([]*proc.Node{first.node, newcomer}, []*proc.Node{second.node, thief}))
	must(t, thief.Start(t.Context()))
	_, err = thief.Must(t.Context(), "report", "stolen.example", "--tlp", "AMBER", "--urgent")
	must(t, err)
	await(t, wordMax, second.node, "stolen.example")
	id := propose(t, first, "region", "revoke", victim.Name)
	r.Heal()
	approve(t, second, id)
	others := []*proc.Node{first.node, second.node, newcomer}
	gone := func() (err error) {
		for _, n := range others {
			if fault.Knows(t.Context(), n, "stolen.example") == nil {
				err = errors.Join(err, fmt.Errorf("%s knows what the thief said", n.Name))
			}
		}
		return err
	}
	for _, n := range others {
		must(t, proc.Poll(within(t, healMax), func() error { return says(t, n, "revoked", "members") }))
	}
	must(t, proc.Poll(within(t, wordMax), gone))
	// Who comes back is told why nobody hears it, and can say nothing more.
	must(t, proc.Poll(within(t, healMax), func() error { return says(t, thief, "revoked", "status") }))
	if a, err := thief.Run(t.Context(), nil, "report", "again.example", "--tlp", "AMBER"); err != nil || a.Code != 1 {
		t.Errorf("the thief is not refused: %+v, %v", a, err)
	}
	must(t, thief.Stop())

	// The one that is off makes room, and the new one decides from then on.
	third := coordinator{newcomer, r.Key(3)}
	_, err = newcomer.Must(t.Context(), "region", "key", "--out", third.key)
	must(t, err)
	decide(t, first, second, "region", "amend", "--remove", off.Name, "--add", third.key+".card")
	must(t, proc.Poll(within(t, healMax), func() error { return says(t, newcomer, "number 2", "region", "show") }))
	back := join(t, r, "Hospital 4 again", func(words string) {
		decide(t, first, third, "region", "supersede", victim.Name, words)
	})
	say(t, d, back, fault.Options{Urgent: true}, "back.example")
	for _, n := range others {
		await(t, wordMax, n, "back.example")
	}
	check(t, d)
	must(t, gone())
}

// join has a new hospital join by an invitation of the first one, and starts it.
// admit gets the words of its request.
func join(t *testing.T, r *proc.Region, name string, admit func(words string)) *proc.Node {
	t.Helper()
	first := r.Nodes[0]
	var invited struct{ Invitation string }
	answer(t, first, &invited, "region", "invite")
	n, err := r.Newcomer(t.Context(), name)
	must(t, err)
	joined := make(chan error, 1)
	go func() {
		_, err := n.Must(t.Context(), "join", invited.Invitation)
		joined <- err
	}()
	var words string
	must(t, proc.Poll(within(t, healMax), func() error {
		var waiting struct {
			Requests []struct {
				Words    string
				Admitted bool
			}
		}
		answer(t, first, &waiting, "region", "requests")
		for _, q := range waiting.Requests {
			if !q.Admitted {
				words = q.Words
				return nil
			}
		}
		return fmt.Errorf("%s has no request of %s", first.Name, name)
	}))
	admit(words)
	must(t, <-joined)
	must(t, n.Start(t.Context()))
	return n
}

// decide has one coordinator ask for an act and another one agree.
func decide(t *testing.T, asks, agrees coordinator, act ...string) {
	t.Helper()
	approve(t, agrees, propose(t, asks, act...))
}

type outcome struct {
	ID   string
	Done bool
}

// propose has a coordinator ask for an act, which it cannot decide alone.
func propose(t *testing.T, c coordinator, act ...string) string {
	t.Helper()
	var o outcome
	answer(t, c.node, &o, append(act, "--key", c.key)...)
	if o.Done {
		t.Fatalf("one coordinator decides alone: %v", act)
	}
	return o.ID
}

// approve waits for a proposal at a coordinator's node, and signs it there.
func approve(t *testing.T, c coordinator, id string) {
	t.Helper()
	must(t, proc.Poll(within(t, healMax), func() error {
		_, err := c.node.Must(t.Context(), "region", "proposals", id)
		return err
	}))
	var o outcome
	answer(t, c.node, &o, "region", "sign", id, "--key", c.key)
	if !o.Done {
		t.Fatalf("two of three coordinators have signed %s, and it is not done", id)
	}
}

// answer runs a command and reads what it prints as JSON.
func answer(t *testing.T, n *proc.Node, v any, args ...string) {
	t.Helper()
	a, err := n.Must(t.Context(), append(args, "--json")...)
	must(t, err)
	must(t, json.Unmarshal([]byte(a.Out), v))
}

// says reports, as an error, that a command does not print a text.
func says(t *testing.T, n *proc.Node, text string, args ...string) error {
	a, err := n.Run(t.Context(), nil, args...)
	if err == nil && !strings.Contains(a.Out+a.Err, text) {
		err = fmt.Errorf("%s says %q, and nothing of %q", n.Name, a.Out+a.Err, text)
	}
	return err
}
