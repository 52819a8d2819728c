package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// Link says what happens to packets from one node to another from now on. Like
// Split and Stop it takes nodes of any region.
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

// Heal makes every link of the network perfect, other regions' too. Slow lines
// stay slow.
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

// Clone adds a node that runs from dir, a copy of another's directory: a copied
// virtual machine, which has the same keys at another address. It does not run
// yet.
func (r *Region) Clone(n *Node, dir string) (*Node, error) {
	if n.port == nil {
		return nil, fmt.Errorf("clone %s: %w", n.Name, ErrNoNetwork)
	}
	port, err := n.net.attach()
	if err != nil {
		return nil, fmt.Errorf("clone %s: %w", n.Name, err)
	}
	clone := &Node{Name: n.Name + " (clone)", Dir: dir, Region: r, binary: n.binary, net: n.net, port: port}
	r.Nodes = append(r.Nodes, clone)
	path := filepath.Join(dir, "config.toml")
	text, err := os.ReadFile(path)
	if err == nil {
		text = bytes.ReplaceAll(text, []byte("/"+n.port.addr.String()+"/"), []byte("/"+port.addr.String()+"/"))
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("clone %s: %w", n.Name, err)
	}
	return clone, nil
}

// CopyDir copies a node's directory, with the files' modes and without sockets:
// a backup, or a machine's image.
func CopyDir(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), info.Mode().Perm())
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), text, info.Mode().Perm())
	})
}
