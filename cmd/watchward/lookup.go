package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
)

func newLookup() *cobra.Command {
	var hosts, knownOnly, why, traces bool
	c := &cobra.Command{
		Use:   "lookup VALUE…|-",
		Short: "Ask what the mesh knows of something; answered from this node's disk",
		Long: `Look values up: one or many, or "-" for one a line on standard input, of any
length, answered in order as they come. A name also matches indicators on its
parents, an address the networks that contain it; with --hosts a URL or an e-mail
address also matches by its host. Empty lines are passed over; a line that can be
no value is answered with the reason and stops nothing.

VERDICT is what it is worth here: none, detect or block, and a number up to 100. Of
single values it says why, of more with --why.

SEEN BY and TIMES count what hospitals saw themselves, IMPORTED what they know from
elsewhere, DISPUTED who calls it a false positive. LAST SEEN OR TOLD is when it was
seen last, as far as its sources say, or else when it was imported.

Exit code 0: all are known. 1: some or none are.`,
		Example: "  watchward lookup evil.example\n  cut -d, -f3 proxy.csv | watchward lookup - --known",
		Args:    cobra.MinimumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			l := lookup{client: c, hosts: hosts, knownOnly: knownOnly, history: traces, json: jsonFlag(cmd), out: cmd.OutOrStdout()}
			stream := len(args) == 1 && args[0] == "-"
			l.reasons, l.why = why || !stream, why || !stream && len(args) == 1
			l.table.header = []string{"VALUE", "KNOWN", "VERDICT", "SEEN BY", "TIMES", "IMPORTED", "DISPUTED", "LAST SEEN OR TOLD", "MATCHED"}
			if traces {
				l.table.header = append(l.table.header, "IN YOUR OWN LOGS")
			}
			var err error
			if stream {
				l.counts = !l.json
				if err = l.stream(cmd.Context(), cmd.InOrStdin()); err == nil {
					err = l.closing(cmd.ErrOrStderr())
				}
			} else {
				lines := make([]line, len(args))
				for i, arg := range args {
					lines[i] = newLine([]byte(arg))
				}
				err = l.print(l.ask(cmd.Context(), lines))
			}
			if errors.Is(err, syscall.EPIPE) { // whoever reads has seen enough
				return differs()
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
	c.Flags().BoolVar(&traces, "history", false, "also say when it was in your own logs")
	c.Flags().BoolVar(&knownOnly, "known", false, "leave out what nobody knows")
	c.Flags().BoolVar(&why, "why", false, "say of each value what raised and lowered its verdict")
	return c
}

type lookup struct {
	client                 *client.Client
	hosts, knownOnly, json bool
	history                bool
	reasons                bool // ask for what verdicts come from
	why                    bool // show it to people
	counts                 bool // closing says how many of each there were
	out                    io.Writer

	// What print goes on with: the columns stay as wide as they were.
	table   table
	text    []byte
	lines   int64
	unknown int64 // of lines, with those that can be no value
	bad     int64 // can be no value; only with counts
}

// ask returns the answers to lines, in their order. With knownOnly there are
// fewer, unless they are to be counted.
func (l *lookup) ask(ctx context.Context, lines []line) (int, []api.LookupAnswer, error) {
	values := make([]string, 0, len(lines))
	for _, line := range lines {
		if line.refused == "" {
			values = append(values, line.value)
		}
	}
	answers := make([]api.LookupAnswer, 0, len(lines))
	fewer := l.knownOnly && !l.counts
	next := 0
	refused := func() { // those before the next value
		for next < len(lines) && lines[next].refused != "" {
			if !fewer {
				answers = append(answers, api.LookupAnswer{Value: lines[next].value, Reason: lines[next].refused})
			}
			next++
		}
	}
	err := l.client.Lookup(ctx, values, client.LookupOptions{Hosts: l.hosts, KnownOnly: fewer, Reasons: l.reasons}, func(a api.LookupAnswer) error {
		if !fewer {
			refused()
			next++
		}
		answers = append(answers, a)
		return nil
	})
	refused()
	if l.history && err == nil {
		err = l.remember(ctx, answers)
	}
	return len(lines), answers, err
}

// remember asks when the values of answers were in one's own logs.
func (l *lookup) remember(ctx context.Context, answers []api.LookupAnswer) error {
	var values []string
	var of []int
	for i, a := range answers {
		if a.Reason == "" && (a.Known || !l.knownOnly) {
			values, of = append(values, a.Value), append(of, i)
		}
	}
	hunted, err := l.client.Hunt(ctx, values, l.hosts)
	for j := range hunted.Answers {
		answers[of[j]].History = &hunted.Answers[j]
	}
	return err
}

// print shows the answers to so many lines.
func (l *lookup) print(asked int, answers []api.LookupAnswer, err error) error {
	if err != nil {
		return err
	}
	l.lines += int64(asked)
	l.unknown += int64(asked)
	l.text, l.table.rows = l.text[:0], l.table.rows[:0]
	for i := range answers {
		if answers[i].Known {
			l.unknown--
		}
		if answers[i].Reason != "" {
			l.bad++
		}
		if l.knownOnly && !answers[i].Known {
			continue
		}
		if l.json {
			start := len(l.text)
			l.text = api.AppendAnswer(l.text, &answers[i])
			if t := answers[i].History; t != nil {
				own, err := json.Marshal(lookupHistory{t.Seen, t.First, t.Last, t.Count})
				if err != nil {
					return err
				}
				l.text = append(append(append(l.text[:len(l.text)-1], `,"history":`...), own...), '}')
			}
			if line := string(l.text[start:]); !notice.Printable(line) {
				l.text = append(l.text[:start], escaped(line)...)
			}
			l.text = append(l.text, '\n')
		} else {
			row := lookupRow(answers[i])
			if l.history {
				row = append(row, ownLogs(answers[i].History))
			}
			l.table.add(row...)
		}
	}
	switch {
	case len(l.text)+len(l.table.rows) == 0:
		return nil
	case l.json:
		_, err = l.out.Write(l.text)
		return err
	}
	if err = l.table.print(l.out); err != nil {
		return err
	}
	l.table.header = make([]string, len(l.table.header)) // one heading is enough
	return l.explain(answers)
}

// explain says where verdicts come from.
func (l *lookup) explain(answers []api.LookupAnswer) error {
	var text bytes.Buffer
	for _, a := range answers {
		if l.why && a.Verdict != nil && (a.Known || !l.knownOnly) {
			fmt.Fprintln(&text)
			showVerdict(&text, a.Value, a.Verdict)
		}
	}
	_, err := l.out.Write(text.Bytes())
	return err
}

// closing tells whoever sees nothing whether there was nothing to see.
func (l *lookup) closing(errOut io.Writer) error {
	if l.lines == 0 {
		fmt.Fprintln(errOut, "No values were given.")
		return differs()
	}
	if !l.counts {
		return nil
	}
	lines := "1 line"
	if l.lines != 1 {
		lines = thousands(l.lines) + " lines"
	}
	fmt.Fprintf(errOut, "%s: %s known, %s not, %s unreadable\n", lines,
		thousands(l.lines-l.unknown), thousands(l.unknown-l.bad), thousands(l.bad))
	if l.bad > l.lines/2 {
		fmt.Fprintln(errOut, "Most lines can be no value: is it the right column? --hosts for URLs by their host")
	}
	return nil
}

func lookupRow(a api.LookupAnswer) []string {
	if a.Reason != "" {
		reason, _, _ := strings.Cut(a.Reason, ": tried ") // the list of types is for --json
		return []string{a.Value, "?", "", "", "", "", "", "", reason}
	}
	if !a.Known {
		return []string{withUnicode(a.Value), "no", verdictText(a.Verdict), "", "", "", "", "", ""}
	}
	matched := ""
	if a.Matched != nil {
		matched = a.Matched.Type + " " + withUnicode(a.Matched.Value)
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
	return []string{withUnicode(a.Value), "YES", verdictText(a.Verdict), seen, fmt.Sprint(s.Sightings), fmt.Sprint(s.Reports), fmt.Sprint(s.Disputes), last, matched}
}

// lookupHistory is what --json has of one's own logs.
type lookupHistory struct {
	Seen  bool     `json:"seen"`
	First api.Time `json:"first,omitempty"`
	Last  api.Time `json:"last,omitempty"`
	Count uint64   `json:"count,omitempty"`
}

func ownLogs(a *api.HuntAnswer) string {
	switch {
	case a == nil || a.Reason != "":
		return "?"
	case !a.Seen:
		return "never"
	}
	return fmt.Sprintf("%s, last %s", plural(int64(a.Count), "time"), ago(stamp(a.Last), now()))
}
