// Package fault states what must hold whatever breaks, and checks it on real
// hospitals. MATRIX.md has a row for each fault and attack, with the tests that
// try it; a test keeps the two in step.
package fault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/testnet/proc"
)

// An Invariant holds before, during and after every fault.
type Invariant struct{ Name, Text string }

// Invariants are what Driver.Check checks, in this order.
var Invariants = []Invariant{
	{"I1", "what was acknowledged survives"},
	{"I2", "what is not authorised is never visible"},
	{"I3", "after healing every node of an audience holds the same set"},
	{"I4", "local lookup and alerts work with zero peers"},
	{"I5", "a feed never silently shrinks (nodes serve no feeds yet, so there is nothing to check)"},
}

// Bounds of a check.
const (
	equalMax = 2 * time.Minute // until all hold the same: twice the time that sync lets pass before it compares
	pageMax  = 1000            // of api.Query
	pagesMax = 1000
)

// A Driver remembers what hospitals were told and what they acknowledged, and
// checks the invariants against that. Say may be called by several goroutines,
// Check by one when nothing is broken any more.
type Driver struct {
	Region  *proc.Region   // the first
	Regions []*proc.Region // all, which endorse each other

	mu    sync.Mutex
	words []word            // acknowledged
	asked map[string][]word // by value: what was submitted, acknowledged or not
}

// A word is what a hospital was told.
type word struct {
	node     *proc.Node
	id       string // "" before it is acknowledged
	value    string
	audience string // of api.NoticeView
}

// isFor reports whether a word is for a node.
func (w word) isFor(n *proc.Node) bool {
	switch w.audience {
	case "community":
		return true
	case "region":
		return n.Region == w.node.Region
	default:
		return n == w.node
	}
}

// NewDriver returns a driver for regions that endorse each other, or for one, to
// which nobody else talks.
func NewDriver(regions ...*proc.Region) *Driver {
	return &Driver{Region: regions[0], Regions: regions, asked: map[string][]word{}}
}

// Options of Say.
type Options struct {
	Urgent bool
	Local  bool
	TLP    string // "" = AMBER, none if it is local
}

// Say states sightings of values at a node and returns when they are
// acknowledged. On an error nobody knows whether they are there: they may be
// seen later, and need not.
func (d *Driver) Say(ctx context.Context, n *proc.Node, o Options, values ...string) error {
	submit, audience := client.SubmitOptions{TLP: o.TLP, Local: o.Local}, "region"
	switch {
	case o.Local:
		audience = "local"
	case o.TLP == "GREEN", o.TLP == "CLEAR":
		audience = "community"
	case o.TLP == "":
		submit.TLP = "AMBER"
	}
	d.mu.Lock()
	for _, v := range values {
		d.asked[v] = append(d.asked[v], word{n, "", v, audience})
	}
	d.mu.Unlock()
	c, err := n.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	items := make([]api.Submission, len(values))
	for i, v := range values {
		items[i] = api.Submission{Value: v, Urgent: o.Urgent}
	}
	answer, err := c.Submit(ctx, items, submit)
	if err != nil {
		return fmt.Errorf("say %s at %s: %w", values[0], n.Name, err)
	}
	if len(answer.Refused) > 0 || len(answer.Notices) != len(values) {
		return fmt.Errorf("say %s at %s: %d of %d were taken, refused: %v", values[0], n.Name, len(answer.Notices), len(values), answer.Refused)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, v := range answer.Notices {
		d.words = append(d.words, word{n, v.ID, values[i], audience})
	}
	return nil
}

// Acknowledged is how many words were.
func (d *Driver) Acknowledged() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.words)
}

// Knows reports whether a node knows all values.
func Knows(ctx context.Context, n *proc.Node, values ...string) error {
	c, err := n.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	missing, example := 0, ""
	err = c.Lookup(ctx, values, client.LookupOptions{}, func(a api.LookupAnswer) error {
		if !a.Known {
			missing, example = missing+1, a.Value
		}
		return nil
	})
	if err == nil && missing > 0 {
		err = fmt.Errorf("%s knows %d of %d values, not %s for one", n.Name, len(values)-missing, len(values), example)
	}
	return err
}

// Await returns when a node knows all values, or with what is missing when ctx
// ends.
func Await(ctx context.Context, n *proc.Node, values ...string) error {
	return proc.Poll(ctx, func() error { return Knows(ctx, n, values...) })
}

// Check checks every invariant on the nodes that run; all must be able to reach
// each other. At the end it restarts them.
func (d *Driver) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, equalMax)
	defer cancel()
	var nodes []*proc.Node
	for _, r := range d.Regions {
		for _, n := range r.Nodes {
			if n.Running() {
				nodes = append(nodes, n)
			}
		}
	}
	// I1 to I3 become true while the nodes catch up, and stay true.
	if err := proc.Poll(ctx, func() error { return d.sets(ctx, nodes) }); err != nil {
		return err
	}
	return d.alone(ctx, nodes)
}

// sets checks I1, I2 and I3 by comparing what each node holds with what was said.
func (d *Driver) sets(ctx context.Context, nodes []*proc.Node) error {
	held := make([]map[string]api.NoticeView, len(nodes))
	var group errgroup.Group
	for i, n := range nodes {
		group.Go(func() (err error) {
			held[i], err = notices(ctx, n)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, n := range nodes {
		for _, w := range d.words {
			if _, there := held[i][w.id]; !there && w.isFor(n) {
				return fmt.Errorf("I1: %s has not %s, which %s acknowledged", n.Name, w.value, w.node.Name)
			}
		}
		for id, v := range held[i] {
			said, err := d.whoSaid(n, v)
			switch {
			case err != nil:
				return err
			case said.audience == "local":
				continue
			case v.State != api.StateSigned && v.State != api.StateSent:
				return fmt.Errorf("I3: %s at %s is %s, not signed yet", v.Indicator.Value, n.Name, v.State)
			}
			for j, other := range nodes {
				if _, there := held[j][id]; !there && said.isFor(other) {
					return fmt.Errorf("I3: %s has %s and %s has not", n.Name, v.Indicator.Value, other.Name)
				}
			}
		}
	}
	return nil
}

// whoSaid returns the word that a node holds, and checks I2: that it was said,
// with this audience, and is for this node.
func (d *Driver) whoSaid(n *proc.Node, v api.NoticeView) (word, error) {
	if v.Indicator == nil || len(d.asked[v.Indicator.Value]) == 0 {
		return word{}, fmt.Errorf("I2: %s has notice %s, which nobody said", n.Name, v.ID)
	}
	said := d.asked[v.Indicator.Value]
	for _, w := range said {
		if w.audience == v.Audience && w.isFor(n) {
			return w, nil
		}
	}
	return word{}, fmt.Errorf("I2: %s of %s has %s for the audience %s, which %s of %s said for the audience %s", n.Name, n.Region.Name, v.Indicator.Value, v.Audience, said[0].node.Name, said[0].node.Region.Name, said[0].audience)
}

// notices returns all that a node holds, by id.
func notices(ctx context.Context, n *proc.Node) (map[string]api.NoticeView, error) {
	c, err := n.Client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	all := map[string]api.NoticeView{}
	q := client.NoticesQuery{Limit: pageMax}
	for range pagesMax {
		page, err := c.Notices(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, v := range page.Notices {
			all[v.ID] = v
		}
		if q.Next = page.Next; q.Next == "" {
			return all, nil
		}
	}
	return nil, fmt.Errorf("%s holds more than %d notices", n.Name, pagesMax*pageMax)
}

// alone checks I4: with everybody else stopped one node starts, answers from its
// own disk, and takes a word, which the others get when they are back.
func (d *Driver) alone(ctx context.Context, nodes []*proc.Node) error {
	if err := d.Region.Stop(nodes...); err != nil {
		return err
	}
	n := nodes[len(nodes)-1]
	if err := n.Start(ctx); err != nil {
		return fmt.Errorf("I4: with zero peers: %w", err)
	}
	values := d.known(n)
	err := errors.Join(ready(ctx, n), Knows(ctx, n, values...), noPeers(ctx, n), alerts(ctx, n))
	last := fmt.Sprintf("said-alone-%d.example", len(values))
	if err = errors.Join(err, d.Say(ctx, n, Options{TLP: "GREEN"}, last), Knows(ctx, n, last)); err != nil {
		return fmt.Errorf("I4: with zero peers: %w", err)
	}
	var group errgroup.Group
	for _, other := range nodes[:len(nodes)-1] {
		group.Go(func() error {
			if err := other.Start(ctx); err != nil {
				return err
			}
			return Await(ctx, other, last)
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("I3: after a word that was said with zero peers: %w", err)
	}
	return nil
}

// known are the acknowledged values that a node must know.
func (d *Driver) known(n *proc.Node) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var values []string
	for _, w := range d.words {
		if w.isFor(n) {
			values = append(values, w.value)
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}

func ready(ctx context.Context, n *proc.Node) error {
	status, text, err := n.Get(ctx, "/readyz")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s is not ready: %d %s", n.Name, status, text)
	}
	return err
}

func noPeers(ctx context.Context, n *proc.Node) error {
	c, err := n.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if err == nil && s.Peers > 0 {
		err = fmt.Errorf("%s has %d peers", n.Name, s.Peers)
	}
	if err == nil && !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, "no other member is connected") }) {
		err = fmt.Errorf("%s does not say that it is alone: %q", n.Name, s.Warnings)
	}
	return err
}

func alerts(ctx context.Context, n *proc.Node) error {
	_, err := Alerts(ctx, n)
	return err
}

// Alerts returns a node's alerts, newest first.
func Alerts(ctx context.Context, n *proc.Node) ([]api.AlertView, error) {
	c, err := n.Client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	page, err := c.Alerts(ctx, time.Time{}, pageMax, "")
	return page.Alerts, err
}
