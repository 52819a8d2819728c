package main

import (
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
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
)

// incidentTextMax bounds a file that a text is read from; the node says how long one may be.
const incidentTextMax = 64 << 10

func newIncident() *cobra.Command {
	c := group("incident", "The desk for reports of incidents to an authority (NIS 2, Article 23)", newIncidentOpen(), newIncidentUpdate(), newIncidentDraft(),
		newIncidentSend(), newIncidentClose(), newIncidentList(), newIncidentShow())
	c.Long = `Keep what is known of an incident, see which report is due when, draft it, and send it
to the CSIRT: an early warning within 24 hours of becoming aware, a notification within
72, a final report one month after the notification, and progress reports while it goes
on. All of it stays on this node until a draft is sent. What is known of a ransom never
leaves it, and is in no draft.`
	return c
}

// A fieldFlag sets one field of an incident.
type fieldFlag struct {
	name, value, help string
	to                func(c *api.IncidentChange) **string
	kind              string // "" a word, text, or time
}

func incidentFlags() []fieldFlag {
	ransom := func(f func(r *api.RansomChange) **string) func(*api.IncidentChange) **string {
		return func(c *api.IncidentChange) **string {
			if c.Ransom == nil {
				c.Ransom = &api.RansomChange{}
			}
			return f(c.Ransom)
		}
	}
	type change = api.IncidentChange
	return []fieldFlag{
		{"began", "", "when it began", func(c *change) **string { return &c.Began }, "time"},
		{"handled", "", "when it was over; until then it goes on", func(c *change) **string { return &c.Handled }, "time"},
		{"malicious", "", "suspected of being unlawful or malicious: yes, no or unknown", func(c *change) **string { return &c.Malicious }, ""},
		{"cross-border", "", "could have an impact in other states: yes, no or unknown", func(c *change) **string { return &c.CrossBorder }, ""},
		{"severity", "", "low, medium, high, critical or unknown", func(c *change) **string { return &c.Severity }, ""},
		{"description", "", "what happened; @FILE reads a file, here and below", func(c *change) **string { return &c.Description }, "text"},
		{"impact", "", "what it does to this hospital", func(c *change) **string { return &c.Impact }, "text"},
		{"cause", "", "the type of threat, or the root cause", func(c *change) **string { return &c.Cause }, "text"},
		{"measures", "", "what is done about it", func(c *change) **string { return &c.Measures }, "text"},
		{"borders", "", "what it does in other states", func(c *change) **string { return &c.Borders }, "text"},
		{"progress-by", "", "until when the authority asked for a progress report", func(c *change) **string { return &c.ProgressBy }, "time"},
		{"ransom-demanded", "", "yes, no or unknown; this and what follows stays in this house", ransom(func(r *api.RansomChange) **string { return &r.Demanded }), ""},
		{"ransom-paid", "", "yes, no or unknown", ransom(func(r *api.RansomChange) **string { return &r.Paid }), ""},
		{"ransom-intends", "", "whether the house intends to pay: yes, no or unknown", ransom(func(r *api.RansomChange) **string { return &r.Intends }), ""},
		{"ransom-amount", "", "how much", ransom(func(r *api.RansomChange) **string { return &r.Amount }), ""},
		{"ransom-currency", "", "of what", ransom(func(r *api.RansomChange) **string { return &r.Currency }), ""},
		{"ransom-recipient", "", "to whom", ransom(func(r *api.RansomChange) **string { return &r.Recipient }), ""},
	}
}

// addFlags declares the flags of some fields.
func addFlags(c *cobra.Command, fields []fieldFlag) {
	for _, f := range fields {
		c.Flags().String(f.name, f.value, f.help)
	}
}

// changed reads the flags that were given.
func changed(cmd *cobra.Command, fields []fieldFlag) (c api.IncidentChange, err error) {
	for _, f := range fields {
		if !cmd.Flags().Changed(f.name) {
			continue
		}
		value, _ := cmd.Flags().GetString(f.name)
		switch {
		case strings.EqualFold(value, "unknown"):
		case f.kind == "time":
			t, err := parseWhen(value, now(), f.name == "progress-by")
			if err != nil {
				return c, usage("--%s %w", f.name, err)
			}
			value = t.UTC().Format(time.RFC3339Nano)
		case f.kind == "text":
			if value, err = textOrFile(value); err != nil {
				return c, err
			}
		}
		*f.to(&c) = &value
	}
	return c, nil
}

// parseWhen reads when something was, or how long ago; or, to come, is to be, or how
// long from now. A time on this machine's clock that was twice, or never, is refused:
// deadlines count from it.
func parseWhen(s string, now time.Time, toCome bool) (time.Time, error) {
	const wall = "2006-01-02T15:04"
	if t, err := time.Parse(wall, s); err == nil {
		switch at := onTheWall(t, time.Local); len(at) {
		case 0:
			return t, fmt.Errorf("%q never was, as clocks were set forward: write it in UTC, as %s", s, t.Format(time.RFC3339))
		case 2:
			return t, fmt.Errorf("%q was twice, as clocks were set back: write it as %s or %s", s, at[0].Format(time.RFC3339), at[1].Format(time.RFC3339))
		}
	}
	if toCome {
		return parseLife(s, now)
	}
	t, err := parseSince(s, now)
	if err == nil && t.IsZero() {
		err = errors.New("is empty: give how long ago (2h) or a time (2026-01-31T12:00)")
	}
	return t, err
}

// onTheWall returns when clocks of a zone show what t shows in UTC, the first time first:
// once, but for the nights in which they are set.
func onTheWall(t time.Time, zone *time.Location) (at []time.Time) {
	for _, near := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		_, offset := t.Add(near).In(zone).Zone()
		then := t.Add(-time.Duration(offset) * time.Second).In(zone)
		if then.Format(time.DateTime) == t.Format(time.DateTime) && (len(at) == 0 || !at[0].Equal(then)) {
			at = append(at, then)
		}
	}
	return at
}

// textOrFile is a text, or what is in the file that @ stands before.
func textOrFile(s string) (string, error) {
	path, isFile := strings.CutPrefix(s, "@")
	if !isFile {
		return s, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fileError(path, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, incidentTextMax))
	return string(text), fileError(path, err)
}

func newIncidentOpen() *cobra.Command {
	fields := incidentFlags()
	var aware string
	c := &cobra.Command{
		Use:   "open TITLE",
		Short: "Open an incident: the clock runs from when the hospital became aware",
		Long: `Open an incident. --aware is when the hospital became aware of it; from then on the
24 and 72 hours of NIS 2 count, and it is never changed afterwards. What is not known
yet is left out: "unknown" may be reported.`,
		Example: "  watchward incident open \"Ransomware in radiology\" --aware 40m --malicious yes",
		Args:    cobra.ExactArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			q, err := changed(cmd, fields)
			if err != nil {
				return err
			}
			q.Title = &args[0]
			if aware != "" {
				t, err := parseWhen(aware, now(), false)
				if err != nil {
					return usage("--aware %w", err)
				}
				text := t.UTC().Format(time.RFC3339Nano)
				q.AwareAt = &text
			}
			v, err := c.OpenIncident(cmd.Context(), q)
			return showChanged(cmd, v, err)
		}),
	}
	c.Flags().StringVar(&aware, "aware", "", "when the hospital became aware of it: 40m (ago) or a time (default: now)")
	addFlags(c, fields)
	return c
}

func newIncidentUpdate() *cobra.Command {
	fields := append([]fieldFlag{
		{"title", "", "what it is called", func(c *api.IncidentChange) **string { return &c.Title }, ""},
		{"aware", "", "is refused: when the hospital became aware never changes", func(c *api.IncidentChange) **string { return &c.AwareAt }, "time"},
	}, incidentFlags()...)
	c := &cobra.Command{
		Use:     "update NUMBER",
		Short:   "Say what is known of an incident; unknown takes it back",
		Example: "  watchward incident update 2026-1 --severity high --impact \"no imaging\" --description @what.txt",
		Args:    cobra.ExactArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			q, err := changed(cmd, fields)
			if err != nil {
				return err
			}
			if q == (api.IncidentChange{}) {
				return usage("nothing is said: give at least one flag, as watchward incident update --help lists them")
			}
			v, err := c.UpdateIncident(cmd.Context(), args[0], q)
			return showChanged(cmd, v, err)
		}),
	}
	addFlags(c, fields)
	_ = c.Flags().MarkHidden("aware")
	return c
}

func showChanged(cmd *cobra.Command, v api.IncidentView, err error) error {
	if err != nil {
		return err
	}
	if jsonFlag(cmd) {
		return printJSON(cmd.OutOrStdout(), v)
	}
	showIncident(cmd.OutOrStdout(), v)
	return nil
}

// stageArg checks the name of a report.
func stageArg(s string) (string, error) {
	stage, err := notice.ParseStage(s)
	if err != nil {
		return "", usage("%w", err)
	}
	return stage.String(), nil
}

func newIncidentDraft() *cobra.Command {
	var out, lang string
	c := &cobra.Command{
		Use:   "draft NUMBER early-warning|notification|progress|final",
		Short: "Draft a report from what is known, to read before it is sent",
		Long: `Draft a report: from what was said of the incident, and from this hospital's own
sightings, services, links and requests for help in its span. --out writes it as a page
to print (.html) or for a program (.json). A draft is kept until the next one of its
kind; send sends it as it was drafted.`,
		Example: "  watchward incident draft 2026-1 early-warning --out warning.html",
		Args:    cobra.ExactArgs(2),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			stage, err := stageArg(args[1])
			if err != nil {
				return err
			}
			format, err := documentFormat(out, lang)
			if err != nil {
				return err
			}
			v, err := c.DraftIncident(cmd.Context(), args[0], stage)
			if err != nil {
				return err
			}
			if out != "" {
				page, err := c.Draft(cmd.Context(), args[0], stage, format, lang)
				if err == nil {
					err = writeReport(out, page)
				}
				if err != nil {
					return err
				}
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), v)
			}
			showDraft(cmd.OutOrStdout(), v, args[0], out)
			return nil
		}),
	}
	c.Flags().StringVar(&out, "out", "", "write it to this file: .html to print, .json for a program")
	c.Flags().StringVar(&lang, "lang", "", "language of the page: en or de (default: the node's)")
	return c
}

// documentFormat is what a file is written as, by its name.
func documentFormat(path, lang string) (string, error) {
	if lang != "" && !slices.Contains(catalog.Languages, lang) {
		return "", usage("--lang %q: choose %s", lang, strings.Join(catalog.Languages, ", "))
	}
	switch ext := filepath.Ext(path); {
	case path == "" || ext == ".html":
		return "html", nil
	case ext == ".json":
		return "json", nil
	}
	return "", usage("--out %s: let the name end in .html or .json", path)
}

// writeReport writes a report, which is for named people, for its owner to read.
func writeReport(path string, page []byte) error {
	return fileError(path, os.WriteFile(path, page, 0o600))
}

func showDraft(w io.Writer, v api.DraftView, number, path string) {
	f := v.Filing
	fmt.Fprintf(w, "Drafted the %s of incident %s: %s, %s, %s, %s.\n", f.Stage, plain(number), plural(int64(len(f.Sightings))+int64(f.More), "indicator"),
		plural(int64(len(f.Services)), "service"), plural(int64(len(f.Links)), "link"), plural(int64(len(f.Assistance)), "request"))
	if len(v.Unknown) > 0 {
		fmt.Fprintf(w, "Unknown, and reported so: %s.\n", strings.Join(v.Unknown, ", "))
	}
	if slices.Contains(v.Unknown, "contact") {
		fmt.Fprintln(w, "The contact is of the profile:  watchward profile edit --contact 'TELEPHONE (WHO)'")
	}
	if v.LeftOut > 0 {
		fmt.Fprintf(w, "Left out: %s marked stricter than AMBER. If their authors allow it, say what matters in --description.\n", plural(int64(v.LeftOut), "own word"))
	}
	if path == "" {
		fmt.Fprintf(w, "To read it:  watchward incident draft %s %s --out report.html\n", plain(number), f.Stage)
		return
	}
	fmt.Fprintf(w, "Wrote %s. Read it, then:  watchward incident send %s %s --to MEMBER\n", path, plain(number), f.Stage)
}

func newIncidentSend() *cobra.Command {
	var q api.IncidentSend
	var at string
	c := &cobra.Command{
		Use:   "send NUMBER early-warning|notification|progress|final",
		Short: "Send a draft to a member, sealed for it, or note where it was handed in",
		Long: `Send the draft of a report to the member that --to names, such as the CSIRT, sealed so
that only that member can read it. A deadline is met when the member's node has
confirmed that it has it; incident show says when. What was handed in another way, in a
portal or by telephone, is noted with --elsewhere.`,
		Example: "  watchward incident send 2026-1 early-warning --to \"CSIRT North\"\n" +
			"  watchward incident send 2026-1 notification --elsewhere \"portal of the authority, file 4711\" --at 2h",
		Args: cobra.ExactArgs(2),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			var err error
			if q.Stage, err = stageArg(args[1]); err != nil {
				return err
			}
			switch {
			case (q.To == "") == (q.Elsewhere == ""):
				return usage("say one of the two: --to MEMBER, or --elsewhere \"where it was handed in\"")
			case q.Elsewhere != "" && q.DryRun:
				return usage("--dry-run goes with --to: elsewhere sends nothing")
			case at != "" && q.To != "":
				return usage("--at goes with --elsewhere: what is sent is sent now")
			case at != "":
				t, err := parseWhen(at, now(), false)
				if err != nil {
					return usage("--at %w", err)
				}
				q.At = api.Time(t.UnixMilli())
			}
			v, err := c.SendIncident(cmd.Context(), args[0], q)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			switch {
			case jsonFlag(cmd):
				return printJSON(out, v)
			case q.DryRun && v.Notice != nil && v.Notice.Leaves != nil:
				showLeaving(out, *v.Notice)
				return nil
			case v.Notice != nil:
				fmt.Fprintf(out, "Sealed for %s, as notice %s. It is met when they confirm:  watchward incident show %s\n\n", plain(reachOf(*v.Notice)), v.Notice.ID, plain(args[0]))
			}
			showIncident(out, v.Incident)
			return nil
		}),
	}
	c.Flags().StringVar(&q.To, "to", "", "the member that alone gets it: name or id")
	c.Flags().StringVar(&q.TLP, "tlp", "", "AMBER+STRICT (default) or RED")
	c.Flags().StringVar(&q.Elsewhere, "elsewhere", "", "instead: where it was handed in, and under which number")
	c.Flags().BoolVar(&q.Real, "real", false, "send it although an exercise runs here: it is real")
	c.Flags().StringVar(&at, "at", "", "with --elsewhere, when: 2h (ago) or a time (default: now)")
	c.Flags().BoolVar(&q.DryRun, "dry-run", false, "show what would leave, field by field; send nothing")
	return c
}

func newIncidentClose() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use:     "close NUMBER",
		Short:   "Close an incident: nothing of it is due any more, and nothing of it changes",
		Example: "  watchward incident close 2026-1 --why \"not significant, by the CSIRT's word\"",
		Args:    cobra.ExactArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			v, err := c.CloseIncident(cmd.Context(), args[0], why)
			return showChanged(cmd, v, err)
		}),
	}
	c.Flags().StringVar(&why, "why", "", "why, where no final report has arrived")
	return c
}

func newIncidentList() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "list",
		Short: "Open incidents, and what is due next",
		Long:  "Open incidents, and what is due next. Exit code 1: a report is overdue.",
		Args:  cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			incidents, err := c.Incidents(cmd.Context())
			if err != nil {
				return err
			}
			if !all {
				incidents = slices.DeleteFunc(incidents, func(v api.IncidentView) bool { return v.Closed != 0 })
			}
			out := cmd.OutOrStdout()
			if jsonFlag(cmd) {
				err = printJSON(out, api.IncidentsAnswer{Incidents: incidents})
			} else {
				err = listIncidents(out, incidents)
			}
			if err == nil && slices.ContainsFunc(incidents, func(v api.IncidentView) bool { return next(v).State == api.DeadlineOverdue }) {
				err = differs()
			}
			return err
		}),
	}
	c.Flags().BoolVar(&all, "all", false, "also those that are closed")
	return c
}

func listIncidents(out io.Writer, incidents []api.IncidentView) error {
	if len(incidents) == 0 {
		fmt.Fprintln(out, "No incident is open.")
		return nil
	}
	t := table{header: []string{"NUMBER", "AWARE", "NEXT", "DUE", "STATE", "TITLE"}}
	for _, v := range incidents {
		d := next(v)
		state, due := d.State, deadlineText(d)
		switch {
		case v.Closed != 0:
			state = "closed"
		case d.Stage == "":
			state = "all sent"
		}
		t.add(v.Number, ago(stamp(v.AwareAt), now()), d.Stage, due, state, v.Title)
	}
	return t.print(out)
}

// next is the deadline that comes first, or is overdue the longest.
func next(v api.IncidentView) (d api.DeadlineView) {
	for _, c := range v.Deadlines {
		if c.State == api.DeadlineMet || c.State == api.DeadlineClosed {
			continue
		}
		if d.Stage == "" || c.Due != 0 && (d.Due == 0 || c.Due < d.Due) {
			d = c
		}
	}
	return d
}

// wallTime is a time for people: their own clock's, whose name tells the two hours apart
// that bear one time when clocks are set back.
func wallTime(t api.Time) string { return stamp(t).Local().Format("Mon 2 Jan 2006 15:04 MST") }

func deadlineText(d api.DeadlineView) string {
	switch {
	case d.Stage == "":
		return ""
	case d.Due == 0:
		return "one month after it is handled"
	}
	text := wallTime(d.Due)
	if d.Guessed {
		text = "one month after the notification, about " + text
	}
	if d.State == api.DeadlineOpen || d.State == api.DeadlineSent || d.State == api.DeadlineOverdue {
		text += ", " + ago(stamp(d.Due), now())
	}
	return text
}

func newIncidentShow() *cobra.Command {
	var out, lang string
	c := &cobra.Command{
		Use:   "show NUMBER|ID",
		Short: "Show an incident with what is due and what was sent, or a report that came from a member",
		Long: `Show an incident of this house: what is known, which reports are due, which were sent,
and when the member confirmed that it has them. With the id of a filing, as watchward
list filing shows them, show the report that was sent or received; --out writes it.`,
		Args: cobra.ExactArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			format, err := documentFormat(out, lang)
			switch {
			case err != nil:
				return err
			case out != "" && !isID(args[0]):
				return usage("--out takes a filing's id; a draft is written with watchward incident draft %s STAGE --out", args[0])
			case out != "":
				page, err := c.Filing(cmd.Context(), strings.ToLower(args[0]), format, lang)
				if err == nil {
					err = writeReport(out, page)
				}
				if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), "Wrote %s.\n", out)
				}
				return err
			case isID(args[0]):
				return showNotice(cmd, c, strings.ToLower(args[0]))
			}
			v, err := c.Incident(cmd.Context(), args[0])
			return showChanged(cmd, v, err)
		}),
	}
	c.Flags().StringVar(&out, "out", "", "write the report to this file: .html to print, .json for a program")
	c.Flags().StringVar(&lang, "lang", "", "language of the page: en or de (default: the node's)")
	return c
}

func showIncident(out io.Writer, v api.IncidentView) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(out, "%-12s %s\n", name, plainLines(value))
		}
	}
	at := func(name string, t api.Time) {
		if t != 0 {
			line(name, wallTime(t)+" ("+stamp(t).UTC().Format("2006-01-02 15:04 MST")+")")
		}
	}
	line("incident", v.Number+": "+v.Title)
	at("aware", v.AwareAt)
	at("closed", v.Closed)
	line("why", v.Why)
	at("began", v.Began)
	at("handled", v.Handled)
	line("malicious", v.Malicious)
	line("cross-border", v.CrossBorder)
	line("severity", v.Severity)
	line("description", v.Description)
	line("impact", v.Impact)
	line("cause", v.Cause)
	line("measures", v.Measures)
	line("borders", v.Borders)
	if r := v.Ransom; r != nil {
		line("ransom", strings.TrimSpace(fmt.Sprintf("demanded %s, paid %s, intends to pay %s; %s %s to %s", r.Demanded, r.Paid, r.Intends,
			orUnknown(r.Amount), r.Currency, orUnknown(r.Recipient)))+" (stays in this house)")
	}
	fmt.Fprintln(out)
	t := table{header: []string{"REPORT", "STATE", "DUE"}}
	for _, d := range v.Deadlines {
		state := d.State
		if d.Due != 0 && d.Met > d.Due {
			state += " late"
		}
		if d.Met != 0 {
			state += " " + wallTime(d.Met)
		}
		t.add(d.Stage, state, deadlineText(d))
	}
	_ = t.print(out)
	if len(v.Sent) > 0 {
		fmt.Fprintln(out)
		t = table{header: []string{"SENT", "REPORT", "TO", "STATE", "NOTICE"}}
		for _, s := range v.Sent {
			state := s.State
			if s.Since != 0 {
				state += " " + wallTime(s.Since)
			}
			t.add(wallTime(s.At), s.Stage, s.To, state, s.Notice)
		}
		_ = t.print(out)
	}
	if d := next(v); d.Stage != "" && v.Closed == 0 {
		fmt.Fprintf(out, "\nNext:  %s\n", nextStep(v, d))
	}
}

// nextStep is what is to be done for a deadline: nothing, while what was sent is on its
// way.
func nextStep(v api.IncidentView, d api.DeadlineView) string {
	for _, s := range slices.Backward(v.Sent) {
		if s.State == "waiting" && (s.Stage == d.Stage || d.State == api.DeadlineSent) {
			return fmt.Sprintf("the %s waits until %s has confirmed it:  watchward incident show %s", s.Stage, plain(s.To), plain(v.Number))
		}
	}
	return fmt.Sprintf("watchward incident draft %s %s --out report.html", plain(v.Number), d.Stage)
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// plainLines is plain for a text with lines, each but the first below the first's begin.
func plainLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = plain(lines[i])
	}
	return strings.Join(lines, "\n"+strings.Repeat(" ", 13))
}
