// Package chaos runs regions of real hospitals for people to look at: up keeps
// them running, a trial breaks them on purpose while words are said and measures
// what arrives, and a report shows the trial on one page.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/watchward/watchward/testnet/proc"
)

// Bounds that keep processes within one machine's means.
const (
	hospitalsMax = 60 // in all
	regionsMax   = 5
	regionMin    = 2 // hospitals
)

// Up starts hospitals, in all, in so many regions that endorse each other, on
// loopback. It prints where each is, and runs until ctx ends. Their data is gone
// afterwards.
func Up(ctx context.Context, hospitals, regions int, out io.Writer) (err error) {
	all, clean, err := start(ctx, hospitals, regions, nil, out)
	defer func() { err = errors.Join(err, clean()) }()
	if err != nil {
		return quietly(ctx, err)
	}
	fmt.Fprintf(out, "%d hospitals in %s, each a process of its own, ready.\n\n", hospitals, regionsText(regions))
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOSPITAL\tREGION\tAPI\tPID\tDIRECTORY")
	for _, r := range all {
		for _, n := range r.Nodes {
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", n.Name, r.Name, n.API(), n.Pid(), n.Dir)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	first, other := all[0].Nodes, all[len(all)-1].Nodes
	try(out, first[0], first[len(first)-1], other[len(other)-1])
	<-ctx.Done()
	fmt.Fprintln(out, "\nStopping all, and removing their data …")
	return nil
}

// try prints commands: from says something, near is of its region, and so is
// far if there is no other.
func try(out io.Writer, from, near, far *proc.Node) {
	fmt.Fprintf(out, "\nTry, in another terminal:\n  cd %s\n", filepath.Dir(from.Binary()))
	command := func(n *proc.Node, text, note string) {
		dir := strings.TrimPrefix(n.Dir, filepath.Dir(n.Binary())+string(filepath.Separator))
		fmt.Fprintf(out, "  ./%s %s --dir %s%s\n", filepath.Base(n.Binary()), text, dir, note)
	}
	command(from, "report evil.example --tlp GREEN", "")
	if near == far {
		command(near, "lookup evil.example", "")
	} else {
		command(from, "report secret.example --tlp AMBER", "")
		command(near, "lookup evil.example secret.example", "  # both: the same region")
		command(far, "lookup evil.example secret.example", "  # the GREEN one only: another region")
	}
	fmt.Fprintln(out, "\nCtrl-C stops all of them and removes their data.")
}

func regionsText(n int) string {
	if n == 1 {
		return "one region"
	}
	return fmt.Sprintf("%d regions that endorse each other", n)
}

// quietly drops an error that is only the user's Ctrl-C.
func quietly(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// start builds the binary and starts regions in a new directory. clean ends and
// removes all of it and is never nil.
func start(ctx context.Context, hospitals, regions int, w *proc.Network, out io.Writer) (all []*proc.Region, clean func() error, err error) {
	clean = func() error { return nil }
	if regions < 1 || regions > regionsMax {
		return nil, clean, fmt.Errorf("--regions %d: choose 1 to %d", regions, regionsMax)
	}
	if hospitals < regionMin*regions || hospitals > hospitalsMax {
		return nil, clean, fmt.Errorf("--hospitals %d: choose %d to %d in all, %d for each region at least", hospitals, regionMin*regions, hospitalsMax, regionMin)
	}
	fmt.Fprintf(out, "Building watchward and starting %d hospitals in %s …\n", hospitals, regionsText(regions))
	dir, err := os.MkdirTemp("", "ww")
	if err != nil {
		return nil, clean, err
	}
	clean = func() error { return os.RemoveAll(dir) }
	binary, err := proc.Build(ctx, dir)
	if err != nil {
		return nil, clean, err
	}
	configs := make([]proc.Config, regions)
	for i := range hospitals {
		c := &configs[i*regions/hospitals]
		c.Names = append(c.Names, fmt.Sprintf("Hospital %d", i+1))
	}
	for i := range configs {
		configs[i].Binary, configs[i].Network, configs[i].Dir = binary, w, filepath.Join(dir, fmt.Sprintf("region-%d", i+1))
	}
	all, err = proc.NewRegions(ctx, configs...)
	clean = func() error {
		var errs []error
		for _, r := range all {
			errs = append(errs, r.Close())
		}
		return errors.Join(append(errs, os.RemoveAll(dir))...)
	}
	return all, clean, err
}
