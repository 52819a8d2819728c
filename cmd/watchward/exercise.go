package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/catalog"
)

func newExercise() *cobra.Command {
	c := &cobra.Command{
		Use:   "exercise [start|stop|show]",
		Short: "Hold a drill: what this hospital says is marked EXERCISE",
		Long: `While an exercise runs, what this hospital says is marked EXERCISE, under its
signature: everybody sees it, and it counts nowhere: in no feed, no verdict, no export,
nothing that spreads. Not part of it are, whatever runs: a mayday; the profile; what is
imported and what the own logs have (import --exercise takes a file as part of it); and
what is said with --real. A word about a notice is as real as the notice is.

It ends with stop, or by itself when its time is over. Who takes part and wants its own
words marked as well starts one too. Without arguments: whether one runs.`,
		Example: "  watchward exercise start \"Ransomware at LIS\" --for 3h\n  watchward exercise stop",
		Args:    cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			all, err := c.Exercises(cmd.Context())
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), all)
			}
			showExercises(cmd.OutOrStdout(), all)
			return nil
		}),
	}
	c.AddCommand(newExerciseStart(), newExerciseStop(), newExerciseShow())
	return c
}

func newExerciseStart() *cobra.Command {
	var life time.Duration
	c := &cobra.Command{
		Use:     `start ["NAME"]`,
		Short:   "Begin an exercise; there is one at a time",
		Example: "  watchward exercise start \"Ransomware at LIS\" --for 3h",
		Args:    cobra.MaximumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if life < time.Second || life > api.ExerciseMax {
				return usage("--for %s: give a time such as 90m or 2h, at most 12h", life)
			}
			v, err := c.StartExercise(cmd.Context(), strings.Join(args, ""), life)
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), v)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "EXERCISE %d%s runs until %s: what this hospital says is marked EXERCISE, but never a mayday.\n", v.Number, quoted(v.Name), exerciseTime(v.Until))
			return nil
		}),
	}
	c.Flags().DurationVar(&life, "for", api.ExerciseDefault, "how long at most: 90m, 2h; up to 12h")
	return c
}

func newExerciseStop() *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "End the exercise, and show who saw, answered and acted",
		Args:  cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			a, err := c.StopExercise(cmd.Context())
			if err != nil {
				return err
			}
			return showAfterAction(cmd, a)
		}),
	}
}

func newExerciseShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show [NUMBER]",
		Short: "Who saw, answered and acted: in the last exercise, or in another; also while it runs",
		Args:  cobra.MaximumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			number := "last"
			if len(args) > 0 {
				number = args[0]
			}
			a, err := c.Exercise(cmd.Context(), number)
			if err != nil {
				return err
			}
			return showAfterAction(cmd, a)
		}),
	}
}

func quoted(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" %q", plain(name))
}

func exerciseTime(t api.Time) string { return stamp(t).Local().Format("2006-01-02 15:04 MST") }

func showExercises(out io.Writer, all api.ExerciseAnswer) {
	if r := all.Running; r != nil {
		fmt.Fprintf(out, "EXERCISE %d%s runs since %s, until %s.\n", r.Number, quoted(r.Name), exerciseTime(r.Started), exerciseTime(r.Until))
	} else {
		fmt.Fprintln(out, "No exercise runs: what this hospital says is real.")
	}
	over := slices.DeleteFunc(slices.Clone(all.Exercises), func(v api.ExerciseView) bool { return v.Ended == 0 })
	if len(over) == 0 {
		return
	}
	fmt.Fprintln(out)
	t := table{header: []string{"NUMBER", "NAME", "FROM", "TO", ""}}
	for _, v := range over {
		how := ""
		if v.Itself {
			how = "ended by itself"
		}
		t.add(fmt.Sprint(v.Number), v.Name, exerciseTime(v.Started), exerciseTime(v.Ended), how)
	}
	t.print(out)
}

// showAfterAction prints what came of an exercise, in English, as all that is printed on a
// terminal: --json has the node's language for whoever makes a report of it.
func showAfterAction(cmd *cobra.Command, a api.AfterAction) error {
	out := cmd.OutOrStdout()
	if jsonFlag(cmd) {
		return printJSON(out, a)
	}
	p := catalog.For("en")
	title, to := a.Name, p.Text(catalog.DrillRuns)
	if title == "" {
		title = p.Text(catalog.DrillUnnamed)
	}
	if a.Ended != 0 {
		to = exerciseTime(a.Ended)
	}
	fmt.Fprintf(out, "%s\n\n%s:\n", plain(p.Text(catalog.DrillTitle, title, exerciseTime(a.Started), to)), p.Text(catalog.DrillSaid))
	said := table{header: []string{"", "", "", ""}}
	for _, w := range a.Said {
		said.add(hour(w.At), w.Kind, w.Text, answersText(w.Answers))
	}
	if len(a.Said) == 0 {
		said.add("", p.Text(catalog.DrillNothing), "", "")
	}
	said.print(out)
	fmt.Fprintln(out)
	head := func(keys ...catalog.Key) (cells []string) {
		for _, k := range keys {
			cells = append(cells, strings.ToUpper(p.Text(k)))
		}
		return cells
	}
	t := table{header: head(catalog.DrillMember, catalog.DrillReached, catalog.DrillSaw, catalog.DrillAnswered, catalog.DrillActed)}
	deeds := table{header: head(catalog.DrillAt, catalog.DrillMember, catalog.DrillWhat)}
	silent := 0
	for _, m := range a.Members {
		reached := hour(m.Reached)
		if m.Reached == 0 && m.Saw == 0 {
			reached = p.Text(catalog.DrillNotKnown)
		}
		answered := hour(m.Answered)
		if m.Asked > 0 {
			answered = strings.TrimSpace(answered + " " + p.Text(catalog.DrillOf, m.Answers, m.Asked))
		}
		t.add(name(m.Party), reached, hour(m.Saw), answered, hour(m.Acted))
		if m.Saw == 0 {
			silent++
		}
		for _, d := range m.Did {
			deeds.add(hour(d.At), name(m.Party), d.Kind+": "+d.Text)
		}
	}
	t.print(out)
	if silent > 0 {
		fmt.Fprintf(out, "\n%s.\n", p.Text(catalog.DrillSilent, silent))
	}
	if len(deeds.rows) > 0 {
		slices.SortStableFunc(deeds.rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
		fmt.Fprintf(out, "\n%s:\n", p.Text(catalog.DrillDeeds))
		deeds.print(out)
	}
	if a.More > 0 {
		fmt.Fprintf(out, "\n%s.\n", p.Text(catalog.DrillMore, a.More))
	}
	return nil
}

// hour is a time of a drill, which may go over midnight; "" if there is none.
func hour(t api.Time) string {
	if t == 0 {
		return ""
	}
	return stamp(t).Local().Format("01-02 15:04:05")
}

// answersText counts answers: 2 done, 1 help.
func answersText(answers map[string]int) string {
	var out []string
	for answer, count := range answers {
		out = append(out, fmt.Sprintf("%d %s", count, answer))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
