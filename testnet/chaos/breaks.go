package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/watchward/watchward/testnet/proc"
)

// Of the faults that have a size.
const (
	slowKbit  = 64
	lossShare = 0.3
)

// A breakage breaks something and mends it. Nodes are those who miss words
// meanwhile; silent ones are not asked to say anything.
type breakage struct {
	text   string
	nodes  []int
	silent bool
	begin  func(context.Context) error
	end    func(context.Context) error
}

// breakThings breaks one thing after the other until trying ends, and leaves
// all mended.
func (t *trial) breakThings(ctx, trying context.Context) error {
	for kind := 0; ; kind++ {
		if !pause(trying, calmFor) {
			return nil
		}
		b := t.draw(kind)
		t.mu.Lock()
		t.broken = b.text
		for _, i := range b.nodes {
			t.down[i] = b.silent
		}
		at := t.ms()
		t.mu.Unlock()
		if err := b.begin(ctx); err != nil {
			return err
		}
		pause(trying, brokenFor)
		if err := b.end(ctx); err != nil {
			return err
		}
		t.mu.Lock()
		t.broken = "nothing"
		clear(t.down)
		t.result.Faults = append(t.result.Faults, Broken{FromMS: at, ToMS: t.ms(), Text: b.text, Nodes: b.nodes})
		t.mu.Unlock()
	}
}

// pause reports false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// draw chooses the victims of the next kind of fault; every kind has its turn.
func (t *trial) draw(kind int) breakage {
	order := t.random.Perm(len(t.nodes))
	kinds := []func([]int) breakage{t.kill, t.freeze}
	if t.result.Networks {
		kinds = []func([]int) breakage{t.split, t.kill, t.cut, t.freeze, t.oneWay, t.loss, t.slow}
		if len(t.driver.Regions) > 1 {
			kinds = append([]func([]int) breakage{t.apart}, kinds...)
		}
	}
	return kinds[kind%len(kinds)](order)
}

func (t *trial) node(i int) *proc.Node { return t.nodes[i] }

// some names the first victims: one in five, one at least.
func (t *trial) some(order []int) (victims []int, names string) {
	victims = order[:max(1, len(order)/5)]
	var all []string
	for _, i := range victims {
		all = append(all, t.node(i).Name)
	}
	return victims, strings.Join(all, ", ")
}

// each does something to each of some nodes.
func (t *trial) each(nodes []int, do func(*proc.Node) error) func(context.Context) error {
	return func(context.Context) error {
		var errs []error
		for _, i := range nodes {
			errs = append(errs, do(t.node(i)))
		}
		return errors.Join(errs...)
	}
}

func (t *trial) heal(context.Context) error {
	t.driver.Region.Heal()
	return nil
}

func (t *trial) kill(order []int) breakage {
	victims, names := t.some(order)
	return breakage{"kill -9: " + names, victims, true,
		t.each(victims, (*proc.Node).Kill),
		func(ctx context.Context) error {
			return t.each(victims, func(n *proc.Node) error { return n.Start(ctx) })(ctx)
		}}
}

func (t *trial) freeze(order []int) breakage {
	victims, names := t.some(order)
	return breakage{"paused: " + names, victims, true, t.each(victims, (*proc.Node).Pause), t.each(victims, (*proc.Node).Resume)}
}

func (t *trial) split(order []int) breakage {
	half := len(order) / 2
	var a, b []*proc.Node
	for i, n := range order {
		if i < half {
			a = append(a, t.node(n))
		} else {
			b = append(b, t.node(n))
		}
	}
	return breakage{fmt.Sprintf("cut in two: %d and %d", len(a), len(b)), order, false,
		func(context.Context) error { return t.driver.Region.Split(a, b) }, t.heal}
}

// apart cuts every region off from the others.
func (t *trial) apart(order []int) breakage {
	var groups [][]*proc.Node
	for _, r := range t.driver.Regions {
		groups = append(groups, r.Nodes)
	}
	return breakage{"regions cut off from each other", order, false,
		func(context.Context) error { return t.driver.Region.Split(groups...) }, t.heal}
}

func (t *trial) cut(order []int) breakage {
	victims, names := t.some(order)
	return breakage{"cut off: " + names, victims, false, t.links(victims, true), t.heal}
}

func (t *trial) oneWay(order []int) breakage {
	victims, names := t.some(order)
	return breakage{"hear and are not heard: " + names, order, false, t.links(victims, false), t.heal}
}

// links cuts what victims send, and with both also what they hear.
func (t *trial) links(victims []int, both bool) func(context.Context) error {
	return func(context.Context) error {
		var errs []error
		for _, v := range victims {
			for _, other := range t.nodes {
				if n := t.node(v); n != other {
					errs = append(errs, t.driver.Region.Link(n, other, proc.Link{Cut: true}))
					if both {
						errs = append(errs, t.driver.Region.Link(other, n, proc.Link{Cut: true}))
					}
				}
			}
		}
		return errors.Join(errs...)
	}
}

func (t *trial) loss(order []int) breakage {
	return breakage{fmt.Sprintf("%.0f %% of all packets lost", 100*lossShare), order, false,
		func(context.Context) error {
			var errs []error
			for _, from := range t.nodes {
				for _, to := range t.nodes {
					if from != to {
						errs = append(errs, t.driver.Region.Link(from, to, proc.Link{Loss: lossShare}))
					}
				}
			}
			return errors.Join(errs...)
		}, t.heal}
}

func (t *trial) slow(order []int) breakage {
	victims, names := t.some(order)
	line := func(kbit int) func(context.Context) error {
		return func(ctx context.Context) error {
			return t.each(victims, func(n *proc.Node) error { return n.Slow(ctx, kbit) })(ctx)
		}
	}
	return breakage{fmt.Sprintf("%d kbit/s: %s", slowKbit, names), victims, false, line(slowKbit), line(0)}
}
