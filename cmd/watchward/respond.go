package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

// answers are what a question, a request for help or an advisory can be answered with.
var answers = []string{"seen", "not-seen", "unknown", "done", "na", "help"}

func newRespond() *cobra.Command {
	var o sayOptions
	c := &cobra.Command{
		Use:   "respond [ID seen|done|na|help|not-seen|unknown]",
		Short: "Answer an advisory, or questions: one key each, or one by its id",
		Long: `Without arguments, show the open questions of others that this hospital has not
answered, one after the other, with what it has seen itself and what others answered,
and take one key for each: s seen, n not seen, u unknown, k skip, q quit. Where the
input is no terminal, it takes a line for each. --json lists them and asks nothing.

With an id, answer that notice; the last answer of a hospital counts. An advisory is
answered with seen, done, na (it does not concern this hospital) or help (this hospital
needs help with it); a question or a request for help with seen, not-seen or unknown.
That you saw it yourself is better told with report, which says when and how often.`,
		Example: "  watchward respond\n  watchward respond 000ff21b27cf9b4d446b3d87191d3ea027e3f080 not-seen\n  watchward respond 1c2df11b27cf9b4d446b3d87191d3ea027e3f081 done",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 || len(args) > 2 {
				return fmt.Errorf("give an id and an answer (%s), or nothing to go through the open questions", strings.Join(answers, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				if o.dryRun {
					return usage("--dry-run goes with an id")
				}
				return asking(respondAll)(cmd, args)
			}
			if err := needID(args[0]); err != nil {
				return err
			}
			if !slices.Contains(answers, args[1]) {
				return usage("%q is no answer: choose %s", args[1], strings.Join(answers, ", "))
			}
			return say(cmd, []api.Submission{responseTo(strings.ToLower(args[0]), args[1])}, o)
		},
	}
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "check it and show what would leave, field by field; store nothing")
	return c
}

func responseTo(id, answer string) api.Submission {
	return api.Submission{Kind: "response", Ref: id, Parts: api.Parts{Response: &api.Response{Answer: answer}}}
}

// respondAll goes through the open questions.
func respondAll(cmd *cobra.Command, c *client.Client, _ []string) error {
	open, err := c.Questions(cmd.Context())
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	switch {
	case jsonFlag(cmd):
		return printJSON(out, open)
	case len(open.Questions) == 0:
		fmt.Fprintln(out, "No question waits for an answer of this hospital.")
		return nil
	}
	keys := newKeys(cmd)
	answered, refused := 0, 0
	for i, q := range open.Questions {
		showQuestion(out, q, i+1, len(open.Questions))
		answer, err := keys.choose(cmd.Context(), out)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if answer == "" {
			continue
		}
		said, err := c.Submit(cmd.Context(), []api.Submission{responseTo(q.ID, answer)}, client.SubmitOptions{})
		if err != nil {
			return err
		}
		for _, r := range said.Refused {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n  %s\n", paint(cmd.ErrOrStderr(), "31", "refused"), plain(r.Reason), plain(r.Fix))
		}
		answered, refused = answered+len(said.Notices), refused+len(said.Refused)
	}
	left := len(open.Questions) - answered + open.More
	fmt.Fprintf(out, "\n%d answered, %d left: watchward respond\n", answered, left)
	if refused > 0 {
		return differs()
	}
	return nil
}

func showQuestion(out io.Writer, q api.OpenQuestion, number, of int) {
	line := func(format string, args ...any) { fmt.Fprintln(out, plain(fmt.Sprintf(format, args...))) }
	when := func(t api.Time) string { return fmt.Sprintf("%s (%s)", clock(t), ago(stamp(t), now())) }
	fmt.Fprintln(out)
	line("%d of %d: %s%s asks, %s: who has seen %s %s?", number, of, drill(q.Word), name(q.Party), when(q.Said), q.Indicator.Type, withUnicode(q.Indicator.Value))
	if q.Text != "" {
		line("  %s", q.Text)
	}
	if s := q.Own; s == nil {
		line("  Nothing of it was reported here.")
	} else {
		what, kept := "", ""
		if !slices.Equal(s.Values, []string{q.Indicator.Value}) {
			what = " (" + strings.Join(s.Values, ", ") + ")"
		}
		if s.Kept {
			kept = "; nobody else was told"
		}
		line("  This hospital has seen it%s: %s, last %s%s", what, plural(int64(s.Count), "time"), when(s.Last), kept)
	}
	for _, a := range q.Answers {
		line("  %s: %s, %s", name(a.Party), a.Answer, when(a.Said))
	}
}

const choices = "s seen, n not seen, u unknown, k skip, q quit: "

// keys takes one answer after the other from a person or a program.
type keys struct {
	terminal *os.File // nil = it is none: one line for each
	lines    *bufio.Scanner
}

func newKeys(cmd *cobra.Command) *keys {
	in := cmd.InOrStdin()
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &keys{terminal: f}
	}
	return &keys{lines: bufio.NewScanner(in)}
}

// choose returns an answer, or "" to skip. The error is io.EOF where nobody answers
// any more.
func (k *keys) choose(ctx context.Context, out io.Writer) (string, error) {
	for {
		fmt.Fprint(out, choices)
		key, err := k.read(ctx)
		if err != nil {
			fmt.Fprintln(out)
			return "", err
		}
		for _, c := range [...]struct{ key, word, answer string }{
			{"s", "seen", "seen"}, {"n", "not-seen", "not-seen"}, {"u", "unknown", "unknown"}, {"k", "skip", ""}, {"q", "quit", ""},
		} {
			if key != c.key && key != c.word {
				continue
			}
			fmt.Fprintln(out, c.word)
			if c.word == "quit" {
				return "", io.EOF
			}
			return c.answer, nil
		}
		fmt.Fprintf(out, "%s is none of them\n", plain(fmt.Sprintf("%q", key)))
	}
}

// read returns the next key or line, in lower case.
func (k *keys) read(ctx context.Context) (string, error) {
	if k.terminal == nil {
		if !k.lines.Scan() {
			return "", errors.Join(io.EOF, k.lines.Err())
		}
		return strings.ToLower(strings.TrimSpace(k.lines.Text())), nil
	}
	fd := int(k.terminal.Fd())
	before, err := term.MakeRaw(fd) // so that one key is enough
	if err != nil {
		return "", err
	}
	defer term.Restore(fd, before)
	var key [1]byte
	done := make(chan error, 1)
	go func() {
		_, err := k.terminal.Read(key[:])
		done <- err
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err() // the process ends, and with it the read
	case err := <-done:
		const interrupt, end = 3, 4 // Ctrl-C and Ctrl-D, which make no signal in raw mode
		if err != nil || key[0] == interrupt || key[0] == end {
			return "", io.EOF
		}
	}
	return strings.ToLower(string(key[:])), nil
}
