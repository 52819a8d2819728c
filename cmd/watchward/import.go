package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// Bounds of an import.
const (
	importBatch    = 2_000     // notices in one request
	importFlying   = 2         // requests at once
	importItemsMax = 2_000_000 // notices of one file
	refusedMax     = 100_000   // refusals that are remembered
	refusedShown   = 20        // refusals in the closing table; --json has all
	wouldMax       = 100_000   // values that a dry run remembers
	wouldShown     = 20        // of them shown; --json has all
	notesMax       = 1_000     // remarks about files
	importPatience = 10 * time.Second
	progressEvery  = time.Second // on a terminal
)

// importFormats may be forced by --format.
var importFormats = []string{intel.FormatMISP, intel.FormatSTIX, intel.FormatCSV, intel.FormatMail, intel.FormatText}

func newImport() *cobra.Command {
	i := importer{patience: importPatience}
	c := &cobra.Command{
		Use:   "import FILE…|DIRECTORY…|-",
		Short: "Take in what others have told you: bundles, MISP, STIX, CSV, lists, mails, text with defanged values",
		Long: `Import what is known elsewhere, as indicators: it is not counted as seen here.
What was imported stays on this node unless --share is given; then each value
needs a marking: its own (a tlp: tag, a column), --tlp, or the node's default. A
marking of the origin is never loosened; what has one that is not understood
("TLP:YELLOW") is not shared until --tlp says how far. Importing a file again takes
nothing, so an import that was cut off is simply repeated.

The format is found by looking: MISP events (JSON) and the directories of MISP
feeds (manifest.json), STIX bundles, CSV, lists with one value a line, and text,
Markdown, HTML or mails with defanged values; in gzip or zip as well. For CSV it is
shown which column is read as what; --columns puts it right: --columns
value=2,type=1,tlp=4. Of a mail (.eml) the subject and the texts are read; attachments
are named and not read.

A bundle (watchward export --bundle) brings what other hospitals of the region
said and signed: it keeps its markings and arrives as if the network had brought it.
With --dry-run it is verified, and shown whose notices it would bring and which.

Any other file is taken whole or, when it breaks off or is no such file, not at all;
single bad values are refused by their place and stop nothing. A directory is read
if it is a MISP feed or holds bundles (*.wwb); of any other, name the files.

Exit code 0: all there is was taken or skipped: known before, taken back by its
source, or not meant for detection (--all takes it). 1: something was refused, or a
file could not be read. A dry run ends as the import would.`,
		Example: "  watchward import event.json list.txt\n  watchward import event.json --share --tlp AMBER\n" +
			"  watchward import ministry.csv --columns value=Indikator,type=2 --dry-run\n  watchward import misp-feed/",
		Args: cobra.MinimumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			args, err := readable(cmd, args)
			if err != nil {
				return err
			}
			if bundles, err := importBundles(cmd, c, args); bundles || err != nil {
				return err
			}
			i.client, i.say.local, i.out, i.errOut = c, !i.share, cmd.OutOrStdout(), cmd.ErrOrStderr()
			i.json, i.several, i.reach = jsonFlag(cmd), len(args) > 1, map[string]int{}
			if i.format != "" && !slices.Contains(importFormats, i.format) {
				return usage("--format %s: choose %s", i.format, strings.Join(importFormats, ", "))
			}
			for _, path := range args {
				if err := i.input(cmd.Context(), path, cmd.InOrStdin()); err != nil {
					i.summary()
					if i.total.Taken+i.total.Known > 0 && !i.say.dryRun {
						err = fmt.Errorf("%w: what was taken stays: give the same command again and it goes on", err)
					}
					return err
				}
			}
			i.summary()
			if len(i.total.Refused) > 0 || len(i.broken) > 0 {
				return differs()
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&i.share, "share", false, "share what is taken, as far as its marking allows")
	c.Flags().StringVar(&i.say.tlp, "tlp", "", "marking of values that have none")
	c.Flags().BoolVar(&i.say.elsewhere, "known-elsewhere", false, "you have it from somebody else too: a stricter marking held here does not bind")
	c.Flags().BoolVar(&i.again, "again", false, "take what was taken back here or by its source")
	c.Flags().BoolVar(&i.exercise, "exercise", false, "it is part of the exercise that runs here; without it what is imported is real")
	c.Flags().BoolVar(&i.say.dryRun, "dry-run", false, "check everything and show what would be taken; store nothing")
	c.Flags().BoolVar(&i.say.allowSpecial, "allow-special", false, "take private and special-use addresses and names")
	c.Flags().BoolVar(&i.all, "all", false, "take what is not marked for detection too (MISP: to_ids false, and the names of files beside their hashes; STIX: observables that nothing calls bad)")
	c.Flags().StringVar(&i.format, "format", "", "read files as this: "+strings.Join(importFormats, ", ")+" (default: found by looking)")
	c.Flags().StringVar(&i.columns, "columns", "", "CSV: which column is what, by number or name: value=2,type=1,tlp=marking")
	c.Flags().BoolVar(&i.noHeader, "no-header", false, "CSV: the first row is data")
	return c
}

// importResult is what --json prints.
type importResult struct {
	Read         int             `json:"read"`
	Taken        int             `json:"taken"`
	Known        int             `json:"known"`
	Shared       int             `json:"shared,omitempty"`        // by this import, of those taken or known before
	SharedBefore int             `json:"shared_before,omitempty"` // of those known before
	DryRun       bool            `json:"dry_run,omitempty"`
	Would        []importValue   `json:"would_take,omitempty"` // of a dry run: what taken counts, up to wouldMax
	Skipped      []importRefused `json:"skipped,omitempty"`    // not meant for detection
	SkippedMore  int             `json:"skipped_more,omitempty"`
	Refused      []importRefused `json:"refused"`
	RefusedMore  int             `json:"refused_more,omitempty"` // beyond refusedMax
	TakenBack    int             `json:"taken_back,omitempty"`   // not taken: the same was retracted here
	Withdrawn    int             `json:"withdrawn,omitempty"`    // notices retracted, since their source took them back
	Absent       int             `json:"absent,omitempty"`       // withdrawals of what was never taken here
	Queries      int             `json:"queries,omitempty"`      // of Shared: URLs with a query
	Unsure       int             `json:"unsure,omitempty"`       // read and sent, and no answer came: they may have been taken
	Notes        []string        `json:"notes,omitempty"`        // how files were read: columns, encoding
	Errors       []string        `json:"errors,omitempty"`
}

type importRefused struct {
	At     string `json:"at"`
	Value  string `json:"value"`
	Reason string `json:"reason"`
}

// importValue is what a dry run would take.
type importValue struct {
	Value string `json:"value"`
	Type  string `json:"type"`
	Kind  string `json:"kind"`
	TLP   string `json:"tlp,omitempty"`
}

type importer struct {
	client   *client.Client
	say      sayOptions
	share    bool
	all      bool
	format   string
	columns  string
	noHeader bool
	again    bool // take what was taken back
	exercise bool // it is part of the exercise that runs
	json     bool
	out      io.Writer
	errOut   io.Writer

	reach   map[string]int // shared, by marking
	several bool           // inputs: then a place names its file
	feeds   map[string]*feed
	whole   intel.Marks // of the file that is read

	// sink, if it is set, gets what was read of a file in place of the node.
	sink func(context.Context, *spool) error

	total  importResult
	broken []string
	pace   pace

	patience time.Duration // for what is on its way when a person stops the import
}

// found is one value to submit, with its place.
type found struct {
	At string         `json:"at"`
	S  api.Submission `json:"s"`
	// Why is set for what is refused unless the node holds the notice it names.
	Why     string `json:"why,omitempty"`
	Value   string `json:"value,omitempty"`
	Skipped bool   `json:"skipped,omitempty"`
}

// submit sends what was read of a file. While the node makes one batch durable
// the next is on its way; answers are taken in order. Whoever stops it still
// learns what became of the batches on their way.
func (i *importer) submit(ctx context.Context, s *spool, hash string) error {
	values, err := s.values()
	if err != nil {
		return err
	}
	i.pace.begin(s.count)
	sending, giveUp := i.outlive(ctx)
	var under []chan sent // way, oldest first
	start, done := 0, 0
	defer func() {
		for _, answer := range under {
			i.count(<-answer)
		}
		giveUp()
		i.total.Read -= s.count - start
	}()
	verb := "stored"
	if i.share {
		verb = "sent"
	}
	for done < s.count {
		for ctx.Err() == nil && len(under) < importFlying && start < s.count {
			batch := make([]found, min(importBatch, s.count-start))
			for j := range batch {
				if err := values.Decode(&batch[j]); err != nil {
					return fmt.Errorf("read what was set aside: %w", err)
				}
				i.mark(&batch[j].S)
			}
			// The key makes a repeated request harmless, not a repeated import:
			// that is the content key's work.
			key := fmt.Sprintf("import-%s-%d-%d", hash[:32], start, now().UnixNano())
			start += len(batch)
			answer := make(chan sent, 1)
			under = append(under, answer)
			go func() { answer <- i.send(sending, batch, key) }()
		}
		if len(under) == 0 {
			return ctx.Err()
		}
		got := <-under[0]
		under = under[1:]
		if i.count(got); got.err != nil {
			return got.err
		}
		done += len(got.batch)
		i.progress(done, verb)
	}
	return nil
}

// outlive returns a context that ends a while after ctx does, or when a person
// asks for the second time: the node may have stored what is on its way.
func (i *importer) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		again, ended := signal.NotifyContext(later, os.Interrupt, syscall.SIGTERM)
		defer ended()
		if _, _, ok := terminal(i.errOut); ok && !i.json {
			fmt.Fprint(i.errOut, "\r\x1b[KStopping: what is on its way is waited for; Ctrl-C again does not wait.\n")
		}
		patience := time.NewTimer(i.patience)
		defer patience.Stop()
		select {
		case <-again.Done():
		case <-patience.C:
		}
		cancel()
	})
	return later, func() { stop(); cancel() }
}

// sent is what became of a batch.
type sent struct {
	batch  []found
	answer api.SubmitAnswer
	err    error
}

// send submits one batch. Several may be on their way at once.
func (i *importer) send(ctx context.Context, batch []found, key string) sent {
	submissions := make([]api.Submission, len(batch))
	for j, v := range batch {
		submissions[j] = v.S
	}
	answer, err := i.client.Submit(ctx, submissions, client.SubmitOptions{
		TLP: i.say.tlp, Local: i.say.local, DryRun: i.say.dryRun, AllowSpecial: i.say.allowSpecial, Idempotency: key,
		Again: i.again, Elsewhere: i.say.elsewhere, Exercise: i.exercised(),
	})
	return sent{batch, answer, err}
}

// exercised is how what is imported goes with an exercise.
func (i *importer) exercised() string {
	if i.exercise {
		return api.ExerciseYes
	}
	return api.ExerciseNo
}

// count adds what became of a batch to the whole.
func (i *importer) count(s sent) {
	if answered := (*client.Error)(nil); s.err != nil && (!errors.As(s.err, &answered) || answered.Problem == nil) {
		i.total.Unsure += len(s.batch)
	}
	i.total.Absent += len(s.answer.Absent)
	for _, v := range s.answer.Notices {
		switch {
		case v.Kind == notice.KindRetraction.String():
			i.total.Withdrawn++
			continue
		case v.Known && slices.Contains(v.Marks, "retracted"):
			i.total.TakenBack++
			continue
		case v.Known:
			i.total.Known++
		default:
			i.total.Taken++
			i.would(v)
		}
		switch {
		case v.Audience == "local":
		case v.Known && !v.Promoted:
			i.total.SharedBefore++
		default:
			i.total.Shared++
			i.reach[v.TLP]++
			if _, has := withoutQuery(v); has {
				i.total.Queries++
			}
		}
	}
	for _, r := range s.answer.Refused {
		reason := r.Reason
		if r.Fix != "" {
			reason += ": " + r.Fix
		}
		at := s.batch[r.Index]
		if at.Why != "" {
			reason, r.Value = at.Why, at.Value
		}
		i.refuse(at.At, r.Value, reason, at.Skipped)
	}
}

// would remembers what a dry run would take.
func (i *importer) would(v api.NoticeView) {
	if !i.say.dryRun || len(i.total.Would) >= wouldMax {
		return
	}
	w := importValue{Value: subject(v), Kind: v.Kind, TLP: v.TLP}
	if v.Indicator != nil {
		w.Type = v.Indicator.Type
	}
	i.total.Would = append(i.total.Would, w)
}

func (i *importer) refuse(at, value, reason string, skipped bool) {
	list, more := &i.total.Refused, &i.total.RefusedMore
	if skipped {
		list, more = &i.total.Skipped, &i.total.SkippedMore
	}
	if len(*list) >= refusedMax {
		*more++
		return
	}
	*list = append(*list, importRefused{at, value, reason})
}

// note tells a person, before anything is taken, how a file is read.
func (i *importer) note(text string) {
	if len(i.total.Notes) == notesMax {
		return
	}
	i.total.Notes = append(i.total.Notes, text)
	if !i.json {
		i.clear()
		fmt.Fprintln(i.errOut, plain(text))
	}
}

// A pace tells how fast something goes and how long it will take.
type pace struct {
	began, shown time.Time
	of           int    // 0 if nobody knows
	noun         string // "" = values
}

func (p *pace) begin(of int) { p.began, p.shown, p.of = now(), now(), of }

func (p *pace) text(done int, verb string) string {
	passed := now().Sub(p.began).Seconds()
	if passed <= 0 {
		passed = 1e-3
	}
	rate, noun := float64(done)/passed, cmp.Or(p.noun, "values")
	if p.of == 0 {
		return fmt.Sprintf("%d %s %s, %.0f/s", done, noun, verb, rate)
	}
	left := time.Duration(float64(p.of-done) / rate * float64(time.Second))
	return fmt.Sprintf("%d of %d %s %s, %.0f/s, %s left", done, p.of, noun, verb, rate, span(left))
}

// progress tells a person how far it is.
func (i *importer) progress(done int, verb string) {
	if _, _, ok := terminal(i.errOut); !ok || i.json || now().Sub(i.pace.shown) < progressEvery && done != i.pace.of {
		return
	}
	i.clear()
	if i.pace.shown = now(); done != i.pace.of {
		fmt.Fprint(i.errOut, i.pace.text(done, verb))
	}
}

// clear empties the line in which progress is shown.
func (i *importer) clear() {
	if _, _, ok := terminal(i.errOut); ok {
		fmt.Fprint(i.errOut, "\r\x1b[K")
	}
}

func (i *importer) summary() {
	i.clear()
	if i.json {
		i.total.Errors, i.total.DryRun = i.broken, i.say.dryRun
		if i.total.Refused == nil {
			i.total.Refused = []importRefused{}
		}
		_ = printJSON(i.out, i.total)
		return
	}
	refused := len(i.total.Refused) + i.total.RefusedMore
	t := table{header: []string{"READ", "TAKEN", "KNOWN BEFORE", "REFUSED"}}
	if i.say.dryRun {
		t.header[1] = "WOULD TAKE"
	}
	t.add(fmt.Sprint(i.total.Read), fmt.Sprint(i.total.Taken), fmt.Sprint(i.total.Known), fmt.Sprint(refused))
	t.print(i.out)
	switch {
	case i.say.dryRun:
		fmt.Fprintln(i.out, "Dry run: nothing was stored.")
		if i.total.Shared > 0 {
			fmt.Fprintf(i.out, "Would be shared: %s.\n", i.byMarking())
		}
	case i.total.Read == 0 && len(i.broken) == 0:
		fmt.Fprintln(i.out, "No values were found.")
	case i.total.Shared > 0:
		fmt.Fprintf(i.out, "Shared: %s.\n", i.byMarking())
	case i.total.Taken > 0 && i.say.local:
		fmt.Fprintln(i.out, "It stays on this node; --share shares it.")
	}
	if i.total.Queries > 0 {
		is, queries := "is", fmt.Sprintf("%d URLs with a query are", i.total.Queries)
		if i.total.Queries == 1 {
			queries = "1 URL with a query is"
		}
		if i.say.dryRun {
			is = "would be"
		}
		fmt.Fprintf(i.out, "%s among them: what follows the ? %s shared too, also where it names a session or a person.\n", queries, is)
	}
	if i.total.Unsure > 0 && !i.say.dryRun {
		fmt.Fprintf(i.out, "Of %d more that were sent there is no answer: at least %d were taken and up to %d. The same command goes on from there.\n",
			i.total.Unsure, i.total.Taken, i.total.Taken+i.total.Unsure)
	}
	if i.total.SharedBefore > 0 && !i.say.dryRun {
		fmt.Fprintf(i.out, "%d of them were shared before.\n", i.total.SharedBefore)
	}
	if i.total.Withdrawn+i.total.Absent > 0 {
		would := ""
		if i.say.dryRun {
			would = "would be "
		}
		fmt.Fprintf(i.out, "Taken back by their source: %d %sretracted here, %d with nothing to withdraw.\n", i.total.Withdrawn, would, i.total.Absent)
	}
	if i.total.TakenBack > 0 {
		fmt.Fprintf(i.out, "Left out: %d that was taken back here or by its source (--again takes it).\n", i.total.TakenBack)
	}
	if skipped := len(i.total.Skipped) + i.total.SkippedMore; skipped > 0 {
		fmt.Fprintf(i.out, "Skipped: %d not meant for detection (--all takes what can be taken, --json lists them).\n", skipped)
	}
	if len(i.total.Would) > 0 {
		i.showWould()
	}
	if refused > 0 {
		fmt.Fprintln(i.out)
		t := table{header: []string{"REFUSED AT", "VALUE", "WHY"}}
		for _, r := range i.total.Refused[:min(len(i.total.Refused), refusedShown)] {
			t.add(r.At, r.Value, r.Reason)
		}
		t.print(i.out)
		if more := refused - refusedShown; more > 0 {
			fmt.Fprintf(i.out, "… and %d more (--json lists all)\n", more)
		}
	}
	for _, b := range i.broken {
		fmt.Fprintf(i.errOut, "%s %s\n", paint(i.errOut, "31", "error"), plain(b))
	}
}

// byMarking says how many were shared with which marking.
func (i *importer) byMarking() string {
	var by []string
	for _, tlp := range slices.Sorted(maps.Keys(i.reach)) {
		by = append(by, fmt.Sprintf("%d as TLP:%s", i.reach[tlp], tlp))
	}
	return strings.Join(by, ", ")
}

func (i *importer) showWould() {
	fmt.Fprintln(i.out)
	t := table{header: []string{"WOULD TAKE", "TYPE", "KIND", "TLP"}}
	for _, w := range i.total.Would[:min(len(i.total.Would), wouldShown)] {
		tlp := w.TLP
		if tlp == "" {
			tlp = "none"
		}
		t.add(withUnicode(w.Value), w.Type, w.Kind, tlp)
	}
	t.print(i.out)
	if more := i.total.Taken - wouldShown; more > 0 {
		fmt.Fprintf(i.out, "… and %d more (--json lists them)\n", more)
	}
}
