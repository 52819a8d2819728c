package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api/client"
)

func newExport() *cobra.Command {
	var q client.ExportQuery
	var since time.Duration
	var path string
	c := &cobra.Command{
		Use:   "export",
		Short: "Write what is known as one file for other programs: STIX 2.1, MISP, CSV",
		Long: `Export what this node knows and may pass on. Each notice keeps its marking, and
nothing stricter than --tlp is in it: GREEN unless you say AMBER. What is marked
AMBER+STRICT or RED is for named people and never leaves in an export; drills and
what has expired are left out. What its author took back is in it as revoked, so
that whoever had it takes it back as well.

What has no marking stays out, since nobody has said how far it may travel:
--unmarked takes it along. A file appears whole or not at all.`,
		Example: "  watchward export -o region.stix.json\n  watchward export --tlp AMBER --since 24h --kind sighting --mine",
		Args:    cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			if since > 0 {
				q.Since = now().Add(-since)
			}
			if path == "" || path == "-" {
				out := bufio.NewWriter(cmd.OutOrStdout())
				return errors.Join(c.Export(cmd.Context(), q, out), out.Flush())
			}
			p := &exportProgress{to: cmd.ErrOrStderr(), quiet: jsonFlag(cmd), began: now()}
			err := writeWhole(path, func(w io.Writer) error { return c.Export(cmd.Context(), q, io.MultiWriter(w, p)) })
			p.clear()
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]any{"file": path, "bytes": p.bytes})
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "Wrote %s: %s.\n", plain(path), size(p.bytes))
			return nil
		}),
	}
	c.Flags().StringVar(&q.Format, "format", "stix", "format of the file: stix (STIX 2.1), misp (MISP events) or csv")
	c.Flags().StringVar(&q.TLP, "tlp", "GREEN", "the strictest marking that is in it: CLEAR, GREEN or AMBER")
	c.Flags().StringVar(&q.Kind, "kind", "", "only indicator, sighting or dispute")
	c.Flags().DurationVar(&since, "since", 0, "only what arrived, or was taken back, within this time: 24h")
	c.Flags().BoolVar(&q.Mine, "mine", false, "only this node's own")
	c.Flags().BoolVar(&q.Unmarked, "unmarked", false, "also what has no marking")
	c.Flags().StringVarP(&path, "out", "o", "", "file to write (default: standard output)")
	return c
}

// writeWhole makes a file that appears when all of it is on disk. One that was
// there stays until then.
func writeWhole(path string, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// exportProgress tells a person how much has come.
type exportProgress struct {
	to    io.Writer
	quiet bool
	bytes int64
	began time.Time
	shown time.Time
}

func (p *exportProgress) Write(b []byte) (int, error) {
	p.bytes += int64(len(b))
	if _, _, ok := terminal(p.to); ok && !p.quiet && time.Since(p.shown) >= progressEvery {
		p.shown = time.Now()
		rate := float64(p.bytes) / max(time.Since(p.began).Seconds(), 0.001)
		fmt.Fprintf(p.to, "\r%s, %s/s ", size(p.bytes), size(int64(rate)))
	}
	return len(b), nil
}

func (p *exportProgress) clear() {
	if !p.shown.IsZero() {
		fmt.Fprintf(p.to, "\r%s\r", strings.Repeat(" ", 30))
	}
}
