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

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

func newExport() *cobra.Command {
	var b bundleExport
	var f fileExport
	var bundle bool
	c := &cobra.Command{
		Use:   "export [--bundle]",
		Short: "Write what is known: for other programs (STIX 2.1, MISP, CSV), or as bundles for other hospitals",
		Long: `Export what this node knows and may pass on, as one file for other programs. Each
notice keeps its marking, and nothing stricter than --tlp is in it: GREEN unless
you say AMBER. What was kept on this node (--local, or imported without --share) is
in it as well, as far as its marking allows; the closing line says how much. What is
marked AMBER+STRICT or RED is for named people and never
leaves in an export; drills and what has expired are left out. What its author
took back is in it as revoked, so that whoever had it takes it back as well. What
has no marking stays out, since nobody has said how far it may travel: --unmarked
takes it along.

With --bundle, write notices as their authors signed them, so that a hospital
that is cut off can take them in from a stick: watchward import FILE. Anybody may
carry the files. What is for this region only (AMBER) goes into files of its own,
sealed for all members of the region, or for those named with --to; their names
end in -sealed, and the others' files anybody of the region can read.
What only this node knows, and what is for named members, is never in a bundle.

Without -o a file for programs goes to standard output, and bundles into this
directory. A file is there whole or not at all; of bundles, after an interruption,
those that are there are good, each alone and in any order.`,
		Example: "  watchward export -o region.stix.json\n  watchward export --format csv --tlp AMBER --since 24h --kind sighting --mine\n" +
			"  watchward export --bundle -o /media/stick --since 30d\n  watchward export --bundle -o anna.wwb --to 'St Anna'",
		Args: cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			for _, name := range []string{"format", "tlp", "unmarked"} {
				if bundle && cmd.Flags().Changed(name) {
					return usage("--%s goes without --bundle", name)
				}
			}
			for _, name := range []string{"audience", "to", "part-size"} {
				if !bundle && cmd.Flags().Changed(name) {
					return usage("--%s goes with --bundle", name)
				}
			}
			if _, err := notice.ParseKind(b.kind); b.kind != "" && err != nil {
				return usage("--kind: %s", intel.Reason(err))
			}
			if bundle {
				b.force = f.force
				return b.run(cmd, c)
			}
			f.kind, f.out, f.since, f.mine = b.kind, b.out, b.since, b.mine
			return f.run(cmd, c)
		}),
	}
	c.Flags().BoolVar(&bundle, "bundle", false, "signed notices, for watchward import at another hospital")
	c.Flags().StringVar(&f.query.Format, "format", "stix", "format of the file: stix (STIX 2.1), misp (MISP events) or csv")
	c.Flags().StringVar(&f.query.TLP, "tlp", "GREEN", "the strictest marking that is in it: CLEAR, GREEN or AMBER")
	c.Flags().BoolVar(&f.query.Unmarked, "unmarked", false, "also what has no marking")
	c.Flags().BoolVar(&f.force, "force", false, "replace files that are there")
	b.flags(c)
	return c
}

// fileExport writes one file for other programs.
type fileExport struct {
	query            client.ExportQuery
	out, since, kind string
	mine, force      bool
}

func (f *fileExport) run(cmd *cobra.Command, c *client.Client) error {
	q := f.query
	q.Kind, q.Mine = f.kind, f.mine
	var err error
	if q.Since, err = parseSince(f.since, now()); err != nil {
		return usage("--since %w", err)
	}
	if f.out == "" || f.out == "-" {
		out := bufio.NewWriter(cmd.OutOrStdout())
		count, err := c.Export(cmd.Context(), q, out)
		if err = errors.Join(err, out.Flush()); err != nil {
			return err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), f.said("", count))
		if count.Notices == 0 {
			return differs()
		}
		return nil
	}
	if _, err := os.Lstat(f.out); err == nil && !f.force {
		return fmt.Errorf("%s is there already: choose another name or --force", f.out)
	}
	p := &exportProgress{to: cmd.ErrOrStderr(), quiet: jsonFlag(cmd), began: now()}
	var count api.ExportCount
	err = writeWhole(f.out, func(w io.Writer) error {
		if count, err = c.Export(cmd.Context(), q, io.MultiWriter(w, p)); err == nil && count.Notices == 0 {
			err = errNothing
		}
		return err
	})
	p.clear()
	if err != nil && !errors.Is(err, errNothing) {
		return err
	}
	wrote := ""
	if err == nil {
		wrote = fmt.Sprintf("Wrote %s (%s): ", plain(f.out), size(p.bytes))
	}
	if jsonFlag(cmd) {
		result := map[string]any{"notices": count.Notices, "local": count.Local, "left_out": map[string]int64{"stricter": count.Stricter, "never": count.Never, "unmarked": count.Unmarked}}
		if err == nil {
			result["file"], result["bytes"] = f.out, p.bytes
		}
		_ = printJSON(cmd.OutOrStdout(), result)
	} else {
		fmt.Fprintln(cmd.ErrOrStderr(), f.said(wrote, count))
	}
	if err != nil {
		return differs()
	}
	return nil
}

// errNothing keeps a file from being written that would hold nothing.
var errNothing = errors.New("nothing to export")

// said tells what is in an export, and what is not and why.
func (f *fileExport) said(wrote string, count api.ExportCount) string {
	text := wrote + thousands(count.Notices) + " notices"
	switch count.Notices {
	case 0:
		text = "Nothing to export"
	case 1:
		text = wrote + "1 notice"
	}
	if count.Local > 0 {
		text += fmt.Sprintf(", %s of them kept here only and shared with nobody", thousands(count.Local))
	}
	var left []string
	add := func(n int64, why string) {
		if n > 0 {
			left = append(left, thousands(n)+" "+why)
		}
	}
	add(count.Stricter, "stricter than "+strings.ToUpper(f.query.TLP)+" (--tlp AMBER)")
	add(count.Never, "for named people (in no export)")
	add(count.Unmarked, "without marking (--unmarked)")
	if len(left) > 0 {
		text += "; left out: " + strings.Join(left, ", ")
	}
	return text + "."
}

// writeWhole makes a file that appears when all of it is on disk. One that was
// there stays until then.
func writeWhole(path string, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fileError(filepath.Dir(path), err)
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = fileError(path, os.Rename(f.Name(), path))
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
