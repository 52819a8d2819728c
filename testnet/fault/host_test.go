//go:build linux

package fault_test

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/testnet/fault"
	"github.com/watchward/watchward/testnet/proc"
)

// Whoever opens connections until the node has no file descriptor left does not
// keep its health from being asked: a connection that says nothing is closed
// after 5 s, and these are twice as many as there is room for.
func TestFilesExhausted(t *testing.T) {
	t.Parallel()
	const left, connections, answer = 30, 60, 20 * time.Second
	d, n := hospitals(t, 2, nil, nil)
	say(t, d, n[0], fault.Options{}, "before.example")
	await(t, wordMax, n[1], "before.example")
	open, err := n[0].LimitFiles(left)
	must(t, err)
	u, err := url.Parse(n[0].API())
	must(t, err)
	var held []net.Conn
	for range connections { // they say nothing, and stay
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", u.Host)
		if err != nil {
			break // the queue of those who wait is full as well
		}
		held = append(held, c)
	}
	must(t, proc.Poll(within(t, answer), func() error {
		now, err := n[0].OpenFiles()
		if err == nil && now < open+left {
			err = fmt.Errorf("%d files were open, %d more are allowed, %d connections: only %d are open now", open, left, len(held), now)
		}
		return err
	}))
	start := time.Now()
	ctx := within(t, answer)
	must(t, proc.Poll(ctx, func() error {
		status, _, err := n[0].GetTCP(ctx, "/healthz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("health is answered with %d", status)
		}
		return err
	}))
	t.Logf("health answered after %s", time.Since(start).Round(time.Millisecond))
	must(t, proc.Poll(within(t, answer), func() error { return fault.Knows(t.Context(), n[0], "before.example") }))
	for _, c := range held {
		must(t, c.Close())
	}
	must(t, n[0].Stop()) // the limit goes with the process
	must(t, n[0].Start(t.Context()))
	check(t, d)
}

// year is how far clocks are off: longer than any word lives.
const year = 400 * 24 * time.Hour

// One hospital's clock is about a year off, ahead or behind: urgent words are
// shown everywhere at once, nothing expires, the node is warned and takes the
// others' time. Behind, it is less than a domain lives: what its author itself
// said longer ago has expired for it.
func TestClockYearOff(t *testing.T) {
	for name, offset := range map[string]time.Duration{"ahead": year, "behind": -year + 40*24*time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, n, off := clockOff(t, offset)
			must(t, proc.Poll(within(t, wordMax), func() error { return listed(t, n[4], "urgent-of-the-one-off.example") }))
			await(t, wordMax, off, "urgent-of-another.example")
			start := time.Now()
			must(t, proc.Poll(within(t, healMax), func() error { return warned(t, off) }))
			t.Logf("warned and corrected %s after its urgent word", time.Since(start).Round(time.Second))
			for i := range n {
				must(t, fault.Knows(t.Context(), off, fmt.Sprintf("before-%d.example", i)))
			}
			say(t, d, off, fault.Options{}, "ordinary-after.example")
			await(t, healMax, n[4], "ordinary-after.example")
			check(t, d) // another one is left alone, and this one starts again
		})
	}
}

// clockOff starts a region of five and restarts the first with its clock off.
func clockOff(t *testing.T, offset time.Duration) (d *fault.Driver, n []*proc.Node, off *proc.Node) {
	t.Helper()
	d, n = hospitals(t, 5, nil, nil)
	off = n[0]
	for i, node := range n {
		say(t, d, node, fault.Options{}, fmt.Sprintf("before-%d.example", i))
	}
	for i := range n {
		await(t, wordMax, off, fmt.Sprintf("before-%d.example", i))
		await(t, wordMax, n[4], fmt.Sprintf("before-%d.example", i))
	}
	must(t, off.Stop())
	off.Clock = offset
	must(t, off.Start(t.Context()))
	must(t, d.Region.AwaitPeers(within(t, wordMax)))
	say(t, d, off, fault.Options{Urgent: true}, "urgent-of-the-one-off.example")
	say(t, d, n[1], fault.Options{Urgent: true}, "urgent-of-another.example")
	return d, n, off
}

// A node whose clock is a year ahead, and was corrected, starts without anybody
// to ask: what it knew is known.
func TestClockYearOffAlone(t *testing.T) {
	t.Parallel()
	d, n, off := clockOff(t, year)
	must(t, proc.Poll(within(t, healMax), func() error { return warned(t, off) }))
	must(t, d.Region.Stop(n...))
	must(t, off.Start(t.Context()))
	must(t, fault.Knows(t.Context(), off, "before-0.example", "before-4.example"))
}

// What a node says urgently with a clock that is a year behind counts at once
// where it is looked up.
func TestLookupOfAnUrgentWordFromThePast(t *testing.T) {
	t.Parallel()
	_, n, _ := clockOff(t, -year)
	await(t, wordMax, n[4], "urgent-of-the-one-off.example")
}

// listed reports whether a node lists a notice about a value.
func listed(t *testing.T, n *proc.Node, value string) error {
	c, err := n.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	page, err := c.Notices(t.Context(), client.NoticesQuery{Search: value})
	if err == nil && len(page.Notices) == 0 {
		err = fmt.Errorf("%s does not list %s", n.Name, value)
	}
	return err
}

// warned reports whether a node says that its clock is off and shows the
// members' time.
func warned(t *testing.T, n *proc.Node) error {
	all, err := fault.Alerts(t.Context(), n)
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.Kind != "clock" {
			continue
		}
		c, err := n.Client()
		if err != nil {
			return err
		}
		defer c.Close()
		s, err := c.Status(t.Context())
		if err != nil {
			return err
		}
		if off := time.Until(time.UnixMilli(int64(s.Now))).Abs(); off > time.Minute {
			return fmt.Errorf("its time is still %s off", off)
		}
		if s.Clock.OK || !strings.Contains(strings.Join(s.Warnings, " "), "clock") {
			return fmt.Errorf("status does not warn: %+v", s)
		}
		return nil
	}
	return fmt.Errorf("no alert about the clock among %d", len(all))
}

// A machine is lost and comes back from an old backup: it gets its own words
// back, begins a new epoch before it signs, and nobody sees two words in a place.
func TestOldBackup(t *testing.T) {
	t.Parallel()
	d, n := hospitals(t, 3, nil, nil)
	victim := n[2]
	say(t, d, victim, fault.Options{}, "one.example")
	for _, node := range n {
		await(t, wordMax, node, "one.example")
	}
	must(t, victim.Stop())
	backup := victim.Dir + "-backup"
	must(t, proc.CopyDir(victim.Dir, backup))
	must(t, victim.Start(t.Context()))
	say(t, d, victim, fault.Options{}, "two.example")
	say(t, d, victim, fault.Options{}, "three.example")
	for _, node := range n {
		await(t, wordMax, node, "two.example", "three.example")
	}
	must(t, victim.Kill())
	must(t, os.RemoveAll(victim.Dir))
	must(t, proc.CopyDir(backup, victim.Dir))
	must(t, victim.Start(t.Context()))
	say(t, d, victim, fault.Options{}, "four.example")
	await(t, healMax, n[0], "four.example")
	await(t, healMax, victim, "two.example", "three.example")
	alerted(t, victim, "new-epoch")
	for _, node := range n {
		if kinds(t, node)["fork"] > 0 {
			t.Errorf("%s was told of a contradiction: the old numbers were used again", node.Name)
		}
	}
	check(t, d)
}

// A virtual machine is copied and both run: two machines sign under one name.
// Both words stay visible to everybody, and everybody is warned.
func TestClonedMachine(t *testing.T) {
	t.Parallel()
	w := network(t)
	d, n := hospitals(t, 3, w, nil)
	original := n[2]
	say(t, d, original, fault.Options{}, "one.example")
	for _, node := range n {
		await(t, wordMax, node, "one.example")
	}
	must(t, original.Stop())
	must(t, proc.CopyDir(original.Dir, original.Dir+"-clone"))
	must(t, original.Start(t.Context()))
	clone, err := d.Region.Clone(original, original.Dir+"-clone")
	must(t, err)
	// Apart from everybody both say something: the same number, twice.
	must(t, d.Region.Split(n[:2], []*proc.Node{original}, []*proc.Node{clone}))
	must(t, clone.Start(t.Context()))
	say(t, d, original, fault.Options{Urgent: true}, "said-by-the-original.example")
	say(t, d, clone, fault.Options{Urgent: true}, "said-by-the-clone.example")
	await(t, wordMax, original, "said-by-the-original.example")
	d.Region.Heal()
	for _, node := range n[:2] {
		await(t, healMax, node, "said-by-the-original.example", "said-by-the-clone.example")
	}
	must(t, clone.Stop()) // somebody has looked after it
	for _, node := range n[:2] {
		must(t, proc.Poll(within(t, healMax), func() error {
			if kinds(t, node)["fork"] == 0 {
				return fmt.Errorf("%s is not warned", node.Name)
			}
			return nil
		}))
	}
	check(t, d)
}

// Every hospital is off and the founder, whom the admissions name as seed, never
// comes back: the others find each other by the addresses that they remember.
func TestColdStartWithoutSeeds(t *testing.T) {
	t.Parallel()
	d, n := hospitals(t, 4, nil, nil)
	for i, node := range n {
		say(t, d, node, fault.Options{}, fmt.Sprintf("before-%d.example", i))
	}
	for _, node := range n {
		await(t, wordMax, node, "before-0.example", "before-1.example", "before-2.example", "before-3.example")
	}
	must(t, d.Region.Stop(n...))
	start := time.Now()
	var group errgroup.Group
	for _, node := range n[1:] {
		group.Go(func() error { return node.Start(t.Context()) })
	}
	must(t, group.Wait())
	must(t, d.Region.AwaitPeers(within(t, wordMax)))
	t.Logf("three of four are one region again after %s", time.Since(start).Round(time.Millisecond))
	say(t, d, n[3], fault.Options{}, "after.example")
	await(t, wordMax, n[1], "after.example")
	check(t, d)
}

// A hospital whose program has gone mad says more than a hospital does. It is
// kept and named; what the others say is not held up.
func TestFlood(t *testing.T) {
	t.Parallel()
	const words, goal = 25_000, 3 * time.Second
	d, n := hospitals(t, 4, nil, nil)
	mad, others := n[3], n[:3]
	var group errgroup.Group
	for from := 0; from < words; from += 1000 {
		var values []string
		for i := range 1000 {
			values = append(values, fmt.Sprintf("flood-%d.example", from+i))
		}
		group.Go(func() error { return d.Say(t.Context(), mad, fault.Options{}, values...) })
	}
	slowest := slowestWord(t, d, others, "honest", 6)
	must(t, group.Wait())
	t.Logf("during the flood the slowest honest word took %s", slowest.Round(time.Millisecond))
	if slowest > goal {
		t.Errorf("an honest word took %s while another flooded, more than %s", slowest, goal)
	}
	check(t, d)
}

// While one hospital's node makes 2,000 requests, maydays of others and its own raise
// the alert everywhere as fast as ever; it is muted, and each node says so.
func TestMaydayInAFlood(t *testing.T) {
	t.Parallel()
	const words, each, goal = 2000, 250, 3 * time.Second
	_, n := hospitals(t, 4, nil, nil)
	mad, others := n[3], n[:3]
	calm := mayday(t, others, others[0], "before the flood")
	var group errgroup.Group
	group.Go(func() error {
		for from := 0; from < words; from += each {
			items := make([]api.Submission, each)
			for i := range items {
				items[i] = api.Submission{Kind: "assistance", Parts: api.Parts{Assistance: &api.Assistance{
					Act: "request", What: fmt.Sprint("beds ", from+i), Quantity: 1}}}
			}
			if err := submit(t, mad, items...); err != nil {
				return err
			}
		}
		return nil
	})
	alerted(t, others[0], "flood")
	flooded := mayday(t, others, others[1], "in the flood")
	own := mayday(t, others, mad, "from within the flood")
	must(t, group.Wait())
	t.Logf("mayday to the last alert: %s before, %s in the flood, %s of who floods", calm.Round(time.Millisecond), flooded.Round(time.Millisecond), own.Round(time.Millisecond))
	if slowest := max(calm, flooded, own); slowest > goal {
		t.Errorf("a mayday took %s, more than %s", slowest, goal)
	}
	for _, x := range others {
		must(t, proc.Poll(within(t, wordMax), func() error {
			c, err := x.Client()
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := c.Situation(t.Context(), time.Time{})
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(s.Health.Warnings, func(w string) bool { return strings.Contains(w, "too much at once and is muted") }) {
				return fmt.Errorf("%s does not say who is muted: %q", x.Name, s.Health.Warnings)
			}
			if len(s.Maydays) != 3 || len(s.Assistance) > 64 {
				return fmt.Errorf("%s shows %d maydays and %d requests", x.Name, len(s.Maydays), len(s.Assistance))
			}
			return nil
		}))
	}
	for _, x := range n { // what is muted goes from one to the other all the same
		must(t, proc.Poll(within(t, wordMax), func() error {
			c, err := x.Client()
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := c.Status(t.Context())
			if err == nil && s.Notices != words+3 {
				err = fmt.Errorf("%s has %d notices, want %d", x.Name, s.Notices, words+3)
			}
			return err
		}))
	}
}

// submit states what a node is asked to.
func submit(t *testing.T, n *proc.Node, items ...api.Submission) error {
	c, err := n.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	answer, err := c.Submit(t.Context(), items, client.SubmitOptions{})
	if err == nil && len(answer.Refused) > 0 {
		err = fmt.Errorf("%s refuses: %+v", n.Name, answer.Refused[0])
	}
	return err
}

// mayday is how long a hospital's call takes until all have alerted.
func mayday(t *testing.T, all []*proc.Node, from *proc.Node, text string) time.Duration {
	t.Helper()
	start := time.Now()
	must(t, submit(t, from, api.Submission{Kind: "mayday", Parts: api.Parts{Mayday: &api.Mayday{Text: text}}}))
	for _, n := range all {
		must(t, proc.Poll(within(t, healMax), func() error {
			alerts, err := fault.Alerts(t.Context(), n)
			if err == nil && !slices.ContainsFunc(alerts, func(a api.AlertView) bool { return a.Kind == "mayday" && strings.Contains(a.Text, text) }) {
				err = fmt.Errorf("%s has not alerted of %q", n.Name, text)
			}
			return err
		}))
	}
	return time.Since(start)
}

// alerted waits for an alert.
func alerted(t *testing.T, n *proc.Node, kind string) {
	t.Helper()
	must(t, proc.Poll(within(t, wordMax), func() error {
		if kinds(t, n)[kind] == 0 {
			return fmt.Errorf("%s has no alert about %s", n.Name, kind)
		}
		return nil
	}))
}

// kinds counts a node's alerts.
func kinds(t *testing.T, n *proc.Node) map[string]int {
	t.Helper()
	all, err := fault.Alerts(t.Context(), n)
	must(t, err)
	count := map[string]int{}
	for _, a := range all {
		count[a.Kind]++
	}
	return count
}

// Nodes whose peers are killed and cut off again and again hold no more files open
// than they did after the first rounds.
func TestFilesUnderChurn(t *testing.T) {
	t.Parallel()
	const warm, slack, meet = 3, 8, time.Minute // rounds, files, until they have found each other again
	rounds := setting(t, "WATCHWARD_FAULT_FILES", 8)
	if rounds <= warm {
		t.Fatalf("WATCHWARD_FAULT_FILES: more than %d rounds", warm)
	}
	d, n := hospitals(t, 4, network(t), nil)
	stay, leave := n[:2], n[2:]
	var first, last [2]int
	for round := range rounds {
		must(t, leave[round%2].Kill())
		must(t, d.Region.Split(stay[:1], stay[1:]))
		say(t, d, stay[0], fault.Options{}, fmt.Sprintf("word-%d.example", round))
		d.Region.Heal()
		must(t, leave[round%2].Start(t.Context()))
		must(t, d.Region.AwaitPeers(within(t, meet)))
		await(t, meet, leave[round%2], fmt.Sprintf("word-%d.example", round))
		for i, x := range stay {
			open, err := x.OpenFiles()
			must(t, err)
			if last[i] = open; round < warm {
				first[i] = max(first[i], open)
			}
		}
		t.Logf("round %d: %d files are open", round, last)
	}
	for i, x := range stay {
		if last[i] > first[i]+slack {
			t.Errorf("%s holds %d files open after %d rounds, %d after %d", x.Name, last[i], rounds, first[i], warm)
		}
	}
	check(t, d)
}
