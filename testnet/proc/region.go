package proc

import (
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Link says what happens to packets from one node to another from now on.
func (r *Region) Link(from, to *Node, l Link) error {
	if from.port == nil || to.port == nil {
		return fmt.Errorf("link %s to %s: %w", from.Name, to.Name, ErrNoNetwork)
	}
	from.net.set(from.port, to.port, l)
	return nil
}

// Split cuts the nodes into groups that do not hear each other. A node that is
// in no group keeps its links.
func (r *Region) Split(groups ...[]*Node) error {
	var errs []error
	for i, group := range groups {
		for j, other := range groups {
			if i == j {
				continue
			}
			for _, from := range group {
				for _, to := range other {
					errs = append(errs, r.Link(from, to, Link{Cut: true}))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// All sets every link between two nodes.
func (r *Region) All(l Link) error {
	var errs []error
	for _, from := range r.Nodes {
		for _, to := range r.Nodes {
			if from != to {
				errs = append(errs, r.Link(from, to, l))
			}
		}
	}
	return errors.Join(errs...)
}

// Heal makes every link perfect. Slow lines stay slow.
func (r *Region) Heal() {
	if n := r.Nodes[0]; n.port != nil {
		n.net.heal()
	}
}

// Stop stops the given nodes, all at once.
func (r *Region) Stop(nodes ...*Node) error {
	var group errgroup.Group
	for _, n := range nodes {
		group.Go(n.Stop)
	}
	return group.Wait()
}
