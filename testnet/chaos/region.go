// Package chaos runs a region of real hospitals for people to look at: up keeps
// it running, a trial breaks it on purpose while words are said and measures
// what arrives, and a report shows the trial on one page.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/watchward/watchward/testnet/proc"
)

// hospitalsMax keeps a region of processes within one machine's means.
const hospitalsMax = 60

// Up starts a region on loopback, prints where each hospital is, and runs until
// ctx ends. Its data is gone afterwards.
func Up(ctx context.Context, hospitals int, out io.Writer) (err error) {
	fmt.Fprintf(out, "Building watchward and starting %d hospitals …\n", hospitals)
	r, clean, err := start(ctx, hospitals, nil)
	defer func() { err = errors.Join(err, clean()) }()
	if err != nil {
		return quietly(ctx, err)
	}
	fmt.Fprintf(out, "%d hospitals in one region, each a process of its own, ready.\n\n", hospitals)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOSPITAL\tAPI\tPID\tDIRECTORY")
	for _, n := range r.Nodes {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", n.Name, n.API(), n.Pid(), n.Dir)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	first, last := r.Nodes[0], r.Nodes[len(r.Nodes)-1]
	fmt.Fprintf(out, "\nTry, in another terminal:\n  %s report evil.example --dir %s\n  %s lookup evil.example --dir %s\n\nCtrl-C stops the region and removes its data.\n",
		first.Binary(), first.Dir, first.Binary(), last.Dir)
	<-ctx.Done()
	return nil
}

// quietly drops an error that is only the user's Ctrl-C.
func quietly(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// start builds the binary and starts a region in a new directory. clean ends
// and removes all of it and is never nil.
func start(ctx context.Context, hospitals int, w *proc.Network) (r *proc.Region, clean func() error, err error) {
	clean = func() error { return nil }
	if hospitals < 2 || hospitals > hospitalsMax {
		return nil, clean, fmt.Errorf("--hospitals %d: choose 2 to %d", hospitals, hospitalsMax)
	}
	dir, err := os.MkdirTemp("", "ww")
	if err != nil {
		return nil, clean, err
	}
	clean = func() error { return os.RemoveAll(dir) }
	c := proc.Config{Dir: filepath.Join(dir, "r"), Network: w}
	if c.Binary, err = proc.Build(ctx, dir); err != nil {
		return nil, clean, err
	}
	for i := range hospitals {
		c.Names = append(c.Names, fmt.Sprintf("Hospital %d", i+1))
	}
	r, err = proc.NewRegion(ctx, c)
	clean = func() error { return errors.Join(r.Close(), os.RemoveAll(dir)) }
	return r, clean, err
}
