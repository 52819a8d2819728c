package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

// lookupBatch is how many values from standard input go into one request.
const lookupBatch = 2_000

// lineMax bounds a line of standard input, in bytes.
const lineMax = 1 << 20

func newLookup() *cobra.Command {
	var hosts, knownOnly bool
	c := &cobra.Command{
		Use:   "lookup VALUE…|-",
		Short: "Ask what the mesh knows of something; answered from this node's disk",
		Long: `Look values up: one or many, or "-" for one a line on standard input. A name
also matches indicators on its parents, an address the networks that contain it.

Exit code 0: all are known. 1: some or none are.`,
		Example: "  watchward lookup evil.example\n  cut -d, -f3 proxy.csv | watchward lookup - --known",
		Args:    cobra.MinimumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			l := lookup{client: c, hosts: hosts, knownOnly: knownOnly, json: jsonFlag(cmd), out: cmd.OutOrStdout()}
			var err error
			if len(args) == 1 && args[0] == "-" {
				err = l.stream(cmd.Context(), cmd.InOrStdin())
			} else {
				err = l.all(cmd.Context(), args)
			}
			if err != nil {
				return err
			}
			if l.unknown > 0 {
				return differs()
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&hosts, "hosts", false, "match URLs and e-mail addresses by their host too")
	c.Flags().BoolVar(&knownOnly, "known", false, "leave out what nobody knows")
	return c
}

type lookup struct {
	client                 *client.Client
	hosts, knownOnly, json bool
	out                    io.Writer

	printed bool
	unknown int
}

func (l *lookup) stream(ctx context.Context, in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), lineMax)
	var batch []string
	for lines.Scan() {
		if v := strings.TrimSpace(lines.Text()); v != "" {
			batch = append(batch, v)
		}
		if len(batch) == lookupBatch {
			if err := l.all(ctx, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return usage("standard input has a line of more than %d bytes: give one value a line", lineMax)
	} else if err != nil {
		return err
	}
	if len(batch) == 0 {
		return nil
	}
	return l.all(ctx, batch)
}

func (l *lookup) all(ctx context.Context, values []string) error {
	t := table{header: []string{"VALUE", "KNOWN", "SEEN BY", "TIMES", "REPORTS", "DISPUTED", "LAST SEEN", "MATCHED"}}
	err := l.client.Lookup(ctx, values, client.LookupOptions{Hosts: l.hosts}, func(a api.LookupAnswer) error {
		if !a.Known {
			l.unknown++
		}
		switch {
		case !a.Known && l.knownOnly:
		case l.json:
			return printJSON(l.out, a)
		default:
			t.add(lookupRow(a)...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if l.json || len(t.rows) == 0 {
		return nil
	}
	if l.printed {
		t.header = make([]string, len(t.header)) // one heading is enough
	}
	l.printed = true
	t.print(l.out)
	return nil
}

func lookupRow(a api.LookupAnswer) []string {
	if a.Reason != "" {
		reason, _, _ := strings.Cut(a.Reason, ": tried ") // the list of types is for --json
		return []string{a.Value, "?", "", "", "", "", "", reason}
	}
	if !a.Known {
		return []string{a.Value, "no", "", "", "", "", "", ""}
	}
	matched := ""
	if a.Matched != nil {
		matched = a.Matched.Type + " " + a.Matched.Value
	}
	s := a.Summary
	last := "never"
	if s.LastSeen != 0 {
		last = ago(stamp(s.LastSeen), now())
	}
	seen := "nobody"
	if s.Members > 0 {
		seen = plural(int64(s.Members), "hospital")
	}
	return []string{a.Value, "YES", seen, fmt.Sprint(s.Sightings), fmt.Sprint(s.Reports), fmt.Sprint(s.Disputes), last, matched}
}
