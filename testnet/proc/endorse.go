package proc

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/watchward/watchward/node/api"
)

// endorse makes regions endorse each other as their coordinators do: by the file
// that region show writes in the other one. The first hospitals run.
func endorse(ctx context.Context, regions []*Region) error {
	if len(regions) < 2 {
		return nil
	}
	var files []string
	for _, r := range regions {
		file := filepath.Join(r.config.Dir, "region.ww")
		if _, err := r.Nodes[0].Must(ctx, "region", "show", "--out", file); err != nil {
			return err
		}
		files = append(files, file)
	}
	for i, r := range regions {
		others := slices.Concat(files[:i], files[i+1:])
		if _, err := r.Nodes[0].Must(ctx, slices.Concat([]string{"region", "endorse"}, others, r.keys())...); err != nil {
			return err
		}
	}
	return nil
}

// Withdraw makes a region endorse another one no longer. One of its hospitals
// takes that in, which must run, and tells everybody.
func (r *Region) Withdraw(ctx context.Context, at *Node, other *Region) error {
	_, err := at.Must(ctx, append([]string{"region", "endorse", "--withdraw", other.Name}, r.keys()...)...)
	return err
}

// awaitOthers returns when each region is connected to each other one.
func awaitOthers(ctx context.Context, regions []*Region) error {
	for i, r := range regions {
		for _, other := range regions[i+1:] {
			if err := Poll(ctx, func() error { return r.meets(ctx, other) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// meets reports, as an error, that no hospital is connected to another region.
func (r *Region) meets(ctx context.Context, other *Region) error {
	for _, n := range r.Nodes {
		if !n.Running() {
			continue
		}
		c, err := n.Client()
		if err != nil {
			return err
		}
		members, err := c.Members(ctx)
		c.Close()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(members, func(m api.MemberView) bool { return m.Connected && m.Region == other.Name }) {
			return nil
		}
	}
	return fmt.Errorf("%s is not connected to %s", r.Name, other.Name)
}
