package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
)

// sourcesMax is how many other sources are told apart, to name them when the one
// that was asked for has nothing.
const sourcesMax = 20

// sourceRetract takes back what was imported from one source.
type sourceRetract struct {
	source, since, reason string
	dryRun, yes           bool

	client *client.Client
	cmd    *cobra.Command
	query  client.NoticesQuery
	result retractResult
	others map[string]bool // sources
}

// retractResult is what --json prints.
type retractResult struct {
	Source    string        `json:"source"`
	Found     int           `json:"found"` // stated from there, and not taken back
	Retracted int           `json:"retracted"`
	DryRun    bool          `json:"dry_run,omitempty"`
	Refused   []api.Refused `json:"refused"`
}

func newRetract() *cobra.Command {
	var o sayOptions
	var s sourceRetract
	var reason string
	c := &cobra.Command{
		Use:   "retract ID…",
		Short: "Take your own words back, everywhere: by their ids, or all from one source",
		Long: `Take back what this hospital said, by its id; what others said is disputed instead.
With --source, take back all that was imported from there, as show names it as origin
("csv:CERT"): on a terminal it asks before, elsewhere it needs --yes. One that was cut
off is repeated and goes on. To state it after all:
import --again.`,
		Example: "  watchward retract 000ff21b27cf9b4d446b3d87191d3ea027e3f080 --reason \"a test\"\n" +
			"  watchward retract --source csv:CERT --since 2h --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case cmd.Flags().Changed("source"):
				if len(args) > 0 {
					return usage("--source takes back all from there: leave out the ids, or --source")
				}
				s.reason, s.dryRun, s.cmd = reason, o.dryRun, cmd
				return asking(func(_ *cobra.Command, c *client.Client, _ []string) error {
					s.client = c
					return s.run(cmd.Context())
				})(cmd, args)
			case len(args) == 0:
				return usage("what is to be taken back? Give ids (watchward list --mine shows them), or --source")
			case s.since != "" || s.yes:
				return usage("--since and --yes go with --source")
			}
			submissions := make([]api.Submission, len(args))
			for i, id := range args {
				if !isID(id) {
					return usage("%q is not an id: copy one of 40 hexadecimal digits, all of it, from watchward list --mine", id)
				}
				submissions[i] = about("retraction", id, reason)
			}
			return say(cmd, submissions, o)
		},
	}
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "check it, store nothing")
	c.Flags().StringVar(&reason, "reason", "", "why")
	c.Flags().StringVar(&s.source, "source", "", "all that was imported from this origin, as show names it: csv:CERT")
	c.Flags().StringVar(&s.since, "since", "", "with --source: only what was said since then: 30d, 12h, 2026-01-31 or a full time")
	c.Flags().BoolVar(&s.yes, "yes", false, "with --source: do not ask")
	return c
}

func (s *sourceRetract) run(ctx context.Context) error {
	var err error
	s.query = client.NoticesQuery{Mine: true, Limit: api.PageMax}
	if s.query.Since, err = parseSince(s.since, now()); err != nil {
		return usage("--since %w", err)
	}
	s.result = retractResult{Source: s.source, DryRun: s.dryRun, Refused: []api.Refused{}}
	s.others = map[string]bool{}
	err = s.pages(ctx, func(ids []string) error { s.result.Found += len(ids); return nil })
	if err != nil {
		return err
	}
	if s.result.Found > 0 && !s.dryRun {
		if err := s.agreed(); err != nil {
			return err
		}
		if err := s.pages(ctx, func(ids []string) error { return s.retract(ctx, ids) }); err != nil {
			return err
		}
	}
	s.summary()
	if s.result.Found == 0 || len(s.result.Refused) > 0 {
		return differs()
	}
	return nil
}

// pages yields the ids of what was stated from the source and not taken back, a page
// at a time. Retractions that are made meanwhile are newer than any page to come.
func (s *sourceRetract) pages(ctx context.Context, yield func(ids []string) error) error {
	for q := s.query; ; {
		page, err := s.client.Notices(ctx, q)
		if err != nil {
			return err
		}
		var ids []string
		for _, v := range page.Notices {
			if v.Origin == nil || v.Kind == notice.KindRetraction.String() || slices.Contains(v.Marks, "retracted") {
				continue
			}
			if v.Origin.Source == s.source {
				ids = append(ids, v.ID)
			} else if len(s.others) < sourcesMax {
				s.others[v.Origin.Source] = true
			}
		}
		if len(ids) > 0 {
			if err := yield(ids); err != nil {
				return err
			}
		}
		if q.Next = page.Next; page.Next == "" {
			return nil
		}
	}
}

func (s *sourceRetract) retract(ctx context.Context, ids []string) error {
	submissions := make([]api.Submission, len(ids))
	for i, id := range ids {
		submissions[i] = about("retraction", id, s.reason)
	}
	answer, err := s.client.Submit(ctx, submissions, client.SubmitOptions{})
	if err != nil {
		return err
	}
	s.result.Retracted += len(answer.Notices)
	s.result.Refused = append(s.result.Refused, answer.Refused...)
	if errOut := s.cmd.ErrOrStderr(); !jsonFlag(s.cmd) {
		if _, _, ok := terminal(errOut); ok {
			fmt.Fprintf(errOut, "\r\x1b[K%d of %d retracted", s.result.Retracted, s.result.Found)
		}
	}
	return nil
}

// agreed asks a person, who may have meant another source.
func (s *sourceRetract) agreed() error {
	if s.yes {
		return nil
	}
	what := plural(int64(s.result.Found), "notice") + " from " + plain(s.source)
	in := s.cmd.InOrStdin()
	if f, ok := in.(*os.File); !ok || !isTerminal(f) {
		return usage("this would take back %s, everywhere: say --yes, or look first with --dry-run", what)
	}
	fmt.Fprintf(s.cmd.ErrOrStderr(), "Take back %s, everywhere? [y/N] ", what)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if word := strings.ToLower(strings.TrimSpace(answer)); word != "y" && word != "yes" {
		return &failure{code: client.ExitNo, err: errors.New("nothing was taken back")}
	}
	return nil
}

func isTerminal(f *os.File) bool {
	_, _, ok := terminal(f)
	return ok
}

func (s *sourceRetract) summary() {
	out, errOut, r := s.cmd.OutOrStdout(), s.cmd.ErrOrStderr(), &s.result
	if jsonFlag(s.cmd) {
		_ = printJSON(out, r)
		return
	}
	if _, _, ok := terminal(errOut); ok {
		fmt.Fprint(errOut, "\r\x1b[K")
	}
	switch {
	case r.Found == 0:
		fmt.Fprintf(out, "Nothing of this hospital's own is from %s, or all was taken back before.\n", plain(s.source))
		if len(s.others) > 0 {
			fmt.Fprintf(out, "There is something from: %s\n", plain(strings.Join(slices.Sorted(maps.Keys(s.others)), ", ")))
		}
	case s.dryRun:
		fmt.Fprintf(out, "Would take back %s from %s. Dry run: nothing was stored.\n", plural(int64(r.Found), "notice"), plain(s.source))
	default:
		fmt.Fprintf(out, "Took back %s from %s.\n", plural(int64(r.Retracted), "notice"), plain(s.source))
	}
	for _, refused := range r.Refused[:min(len(r.Refused), refusedShown)] {
		fmt.Fprintf(errOut, "%s %s: %s\n", paint(errOut, "31", "refused"), plain(refused.Value), plain(refused.Reason))
	}
}
