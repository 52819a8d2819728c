package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

func newHunt() *cobra.Command {
	var hosts bool
	c := &cobra.Command{
		Use:   "hunt VALUE…|FILE…|-",
		Short: "Ask whether your own logs had something, when first, when last and how often",
		Long: `Hunt for values in the history of your own logs, which is on this node alone. It
holds no values, only keyed hashes of them, of as many days as [history] in the
configuration says. What was read by no log source is not in it.

What names a file is read as watchward import reads it: lists, text and mails with
defanged values, CSV, MISP, STIX, also packed; "-" is standard input. A name was
seen if it or a name below it was; a network if an address in it was, as far as
prefixes under [history] and the addresses themselves can tell (from /24 on they do).

Exit code 0: all were seen. 1: some or none were.`,
		Example: "  watchward hunt evil.example 198.51.100.7\n  watchward hunt advisory.eml --json",
		Args:    cobra.MinimumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			h := hunt{client: c, hosts: hosts, json: jsonFlag(cmd), out: cmd.OutOrStdout(), errOut: cmd.ErrOrStderr(), asked: map[string]bool{}}
			if err := h.collect(cmd.Context(), args, cmd.InOrStdin()); err != nil {
				return err
			}
			all, err := h.run(cmd.Context())
			if err != nil {
				return err
			}
			if !all {
				return differs()
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&hosts, "hosts", false, "look for URLs and e-mail addresses by their host too")
	return c
}

type hunt struct {
	client      *client.Client
	hosts, json bool
	out, errOut io.Writer

	values []string
	asked  map[string]bool // to ask once for each
}

// collect reads what to hunt for from arguments and files.
func (h *hunt) collect(ctx context.Context, args []string, stdin io.Reader) error {
	i := importer{json: h.json, out: h.out, errOut: h.errOut, reach: map[string]int{}, several: len(args) > 1, all: true, sink: h.sink}
	i.say.dryRun, i.say.allowSpecial = true, true
	for _, arg := range args {
		info, err := os.Stat(arg)
		switch {
		case arg == "-":
		case err == nil && info.IsDir():
			return fmt.Errorf("%s is a directory: name the files in it", plain(arg))
		case err != nil:
			if fileLike(arg) {
				fmt.Fprintf(h.errOut, "%s: there is no such file, so it is hunted for as a value\n", plain(arg))
			}
			h.add(arg)
			continue
		}
		if err := i.input(ctx, arg, stdin); err != nil {
			return err
		}
	}
	if len(i.broken) > 0 {
		return errors.New(i.broken[0])
	}
	refused := append(i.total.Refused, i.total.Skipped...)
	for _, r := range refused[:min(len(refused), refusedShown)] {
		fmt.Fprintf(h.errOut, "%s: not hunted for: %s: %s\n", plain(r.At), plain(r.Value), plain(r.Reason))
	}
	if more := len(refused) - refusedShown; more > 0 {
		fmt.Fprintf(h.errOut, "… and %d more\n", more)
	}
	return nil
}

// fileLike reports whether whoever wrote an argument may have meant a file.
func fileLike(arg string) bool {
	if strings.Contains(arg, "://") {
		return false
	}
	ext := strings.ToLower(filepath.Ext(arg))
	return strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, ".") || strings.Contains(arg, `\`) || slices.Contains([]string{".eml", ".mbox", ".txt", ".csv", ".json", ".gz", ".log", ".pdf"}, ext)
}

// sink takes the values of a file that was read.
func (h *hunt) sink(ctx context.Context, s *spool) error {
	values, err := s.values()
	if err != nil {
		return err
	}
	for range s.count {
		var v found
		if err := values.Decode(&v); err != nil {
			return fmt.Errorf("read what was set aside: %w", err)
		}
		if v.S.Value != "" {
			h.add(v.S.Value)
		}
	}
	return ctx.Err()
}

func (h *hunt) add(value string) {
	if !h.asked[value] {
		h.asked[value] = true
		h.values = append(h.values, value)
	}
}

// run asks and prints. It reports whether all were seen.
func (h *hunt) run(ctx context.Context) (all bool, err error) {
	if len(h.values) == 0 {
		fmt.Fprintln(h.errOut, "No values were given.")
		return false, nil
	}
	found, err := h.client.Hunt(ctx, h.values, h.hosts)
	if err != nil {
		return false, err
	}
	all = true
	t := table{header: []string{"VALUE", "SEEN HERE", "TIMES", "FIRST", "LAST", "MATCHED"}}
	for _, a := range found.Answers {
		all = all && a.Seen
		if !h.json {
			t.add(huntRow(a)...)
		} else if err := printJSON(h.out, a); err != nil {
			return false, err
		}
	}
	if h.json {
		return all, nil
	}
	if err := t.print(h.out); err != nil {
		return false, err
	}
	if !all {
		fmt.Fprintf(h.errOut, "The history has what this node read of its logs, from %s on at the earliest. Older logs: watchward scan FILE…\n", stamp(found.Since).UTC().Format(time.DateOnly))
	}
	return all, nil
}

func huntRow(a api.HuntAnswer) []string {
	value := withUnicode(a.Value)
	switch {
	case a.Reason != "":
		return []string{value, "?", "", "", "", a.Reason}
	case !a.Seen:
		return []string{value, "no", "", "", "", ""}
	}
	matched := ""
	if a.Matched != nil {
		matched = a.Matched.Type + " " + withUnicode(a.Matched.Value)
	}
	return []string{value, "YES", fmt.Sprint(a.Count), ago(stamp(a.First), now()), ago(stamp(a.Last), now()), matched}
}
