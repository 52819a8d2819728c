package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/intel/text"
	"github.com/watchward/watchward/node/notice"
)

// Bounds of an import.
const (
	importBatch    = 2_000          // notices in one request
	importItemsMax = 2_000_000      // notices of one file
	refusedShown   = 20             // refusals in the closing table; --json has all
	progressEvery  = time.Second    // on a terminal
	inputMax       = int64(4) << 30 // bytes of one file
)

func newImport() *cobra.Command {
	var i importer
	c := &cobra.Command{
		Use:   "import FILE…|-",
		Short: "Take in what others have told you: bundles, MISP events, lists, text with defanged values",
		Long: `Import what is known elsewhere, as indicators: it is not counted as seen here.
What was imported stays on this node unless --share is given; then each value
needs a marking: its own (a tlp: tag), --tlp, or the node's default. A marking
of the origin is never loosened. Importing a file again takes nothing.

A bundle (watchward export --bundle) brings what other hospitals of the region
said and signed: it keeps its markings and arrives as if the network had brought it.

Any other file is taken whole or, when it breaks off or is no such file, not at all;
single bad values are refused by their place and stop nothing.`,
		Example: "  watchward import event.json list.txt\n  watchward import event.json --share --tlp AMBER",
		Args:    cobra.MinimumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if bundles, err := importBundles(cmd, c, args); bundles || err != nil {
				return err
			}
			i.client, i.say.local, i.out, i.errOut = c, !i.share, cmd.OutOrStdout(), cmd.ErrOrStderr()
			i.json, i.several, i.reach = jsonFlag(cmd), len(args) > 1, map[string]int{}
			for _, path := range args {
				if err := i.file(cmd.Context(), path, cmd.InOrStdin()); err != nil {
					var stop *client.Error
					if errors.As(err, &stop) || cmd.Context().Err() != nil {
						i.summary()
						return err
					}
					i.broken = append(i.broken, fmt.Sprintf("%s: %v", path, err))
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
	c.Flags().BoolVar(&i.say.dryRun, "dry-run", false, "check everything, store nothing")
	c.Flags().BoolVar(&i.say.allowSpecial, "allow-special", false, "take private and special-use addresses and names")
	c.Flags().BoolVar(&i.all, "all", false, "MISP: take attributes that are not marked for detection (to_ids false) too")
	return c
}

// importResult is what --json prints.
type importResult struct {
	Read    int             `json:"read"`
	Taken   int             `json:"taken"`
	Known   int             `json:"known"`
	Shared  int             `json:"shared,omitempty"` // of those taken or known before
	Refused []importRefused `json:"refused"`
	Errors  []string        `json:"errors,omitempty"`
}

type importRefused struct {
	At     string `json:"at"`
	Value  string `json:"value"`
	Reason string `json:"reason"`
}

type importer struct {
	client *client.Client
	say    sayOptions
	share  bool
	all    bool
	json   bool
	out    io.Writer
	errOut io.Writer

	reach   map[string]int // shared, by marking
	several bool           // files: then a place names its file

	total  importResult
	broken []string
	shown  time.Time
}

// found is one value to submit, with its place.
type found struct {
	at string
	s  api.Submission
}

func (i *importer) file(ctx context.Context, path string, stdin io.Reader) error {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	values, hash, err := i.read(path, in)
	if err != nil {
		return err
	}
	for start := 0; start < len(values); start += importBatch {
		batch := values[start:min(start+importBatch, len(values))]
		submissions := make([]api.Submission, len(batch))
		for j, v := range batch {
			submissions[j] = v.s
		}
		// The key makes a repeated request harmless, not a repeated import: that
		// is the content key's work.
		answer, err := i.client.Submit(ctx, submissions, client.SubmitOptions{
			TLP: i.say.tlp, Local: i.say.local, DryRun: i.say.dryRun, AllowSpecial: i.say.allowSpecial,
			Idempotency: fmt.Sprintf("import-%s-%d-%d", hash[:32], start, now().UnixNano()),
		})
		if err != nil {
			return err
		}
		for _, v := range answer.Notices {
			if v.Known {
				i.total.Known++
			} else {
				i.total.Taken++
			}
			if v.Audience != "local" {
				i.total.Shared++
				i.reach[v.TLP]++
			}
		}
		for _, r := range answer.Refused {
			reason := r.Reason
			if r.Fix != "" {
				reason += ": " + r.Fix
			}
			i.refuse(batch[r.Index].at, r.Value, reason)
		}
		i.progress(start+len(batch), len(values))
	}
	return nil
}

// read takes a whole file before anything is submitted, so that a file that
// breaks off leaves nothing behind.
func (i *importer) read(path string, in io.Reader) ([]found, string, error) {
	sum := sha256.New()
	limited := &io.LimitedReader{R: in, N: inputMax + 1}
	buffered := bufio.NewReaderSize(io.TeeReader(limited, sum), intel.SniffBytes)
	head, err := buffered.Peek(intel.SniffBytes)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, "", err
	}
	var values []found
	read, refusals := 0, len(i.total.Refused)
	yield := func(f intel.Found) error {
		read++
		at := f.Place
		if i.several {
			at = filepath.Base(path) + ": " + at
		}
		if f.Notice == nil {
			i.refuse(at, f.Value, f.Reason)
			return nil
		}
		if len(values) == importItemsMax {
			return fmt.Errorf("more than %d values: split the file", importItemsMax)
		}
		values = append(values, found{at: at, s: submission(f)})
		return nil
	}
	options := notice.Options{AllowSpecial: i.say.allowSpecial}
	switch format := intel.Sniff(head); format {
	case intel.FormatMISP:
		err = misp.Read(buffered, misp.Options{Indicator: options, All: i.all}, yield)
	case intel.FormatText:
		err = text.Read(buffered, text.Options{Indicator: options}, yield)
	default:
		return nil, "", fmt.Errorf("this looks like %s, which this version cannot read: give a MISP event (JSON) or plain text", format)
	}
	if err == nil && limited.N <= 0 {
		err = fmt.Errorf("more than %d GiB: split the file", inputMax>>30)
	}
	if err != nil {
		i.total.Refused = i.total.Refused[:refusals]
		return nil, "", fmt.Errorf("nothing of it was taken: %w", err)
	}
	i.total.Read += read
	return values, hex.EncodeToString(sum.Sum(nil)), nil
}

// submission is what a found indicator states.
func submission(f intel.Found) api.Submission {
	n := f.Notice
	s := api.Submission{
		Kind: n.Kind.String(), TLP: f.TLP.String(), FirstSeen: api.Time(n.FirstSeen), LastSeen: api.Time(n.LastSeen),
		Count: n.Count, ValidUntil: api.Time(n.ValidUntil), Reason: n.Reason,
	}
	if n.Indicator != nil {
		s.Type, s.Value = n.Indicator.Type.String(), n.Indicator.Value
	}
	if c := n.Context; c != nil {
		s.Context = &api.Context{Family: c.Family, Tool: c.Tool, Technique: c.Technique, CVE: c.CVE}
	}
	if o := n.Origin; o != nil {
		s.Origin = &api.Origin{Source: o.Source, ID: o.ID, TLP: o.TLP.String()}
	}
	return s
}

func (i *importer) refuse(at, value, reason string) {
	i.total.Refused = append(i.total.Refused, importRefused{at, value, reason})
}

// progress tells a person how far it is.
func (i *importer) progress(done, of int) {
	if _, _, ok := terminal(i.errOut); !ok || i.json || time.Since(i.shown) < progressEvery && done < of {
		return
	}
	i.shown = time.Now()
	fmt.Fprintf(i.errOut, "\r%d of %d", done, of)
	if done == of {
		fmt.Fprintf(i.errOut, "\r%s\r", strings.Repeat(" ", 30))
	}
}

func (i *importer) summary() {
	if i.json {
		i.total.Errors = i.broken
		if i.total.Refused == nil {
			i.total.Refused = []importRefused{}
		}
		_ = printJSON(i.out, i.total)
		return
	}
	t := table{header: []string{"READ", "TAKEN", "KNOWN BEFORE", "REFUSED"}}
	t.add(fmt.Sprint(i.total.Read), fmt.Sprint(i.total.Taken), fmt.Sprint(i.total.Known), fmt.Sprint(len(i.total.Refused)))
	t.print(i.out)
	switch {
	case i.say.dryRun:
		fmt.Fprintln(i.out, "Dry run: nothing was stored.")
	case i.total.Read == 0 && len(i.broken) == 0:
		fmt.Fprintln(i.out, "No values were found.")
	case i.total.Shared > 0:
		var by []string
		for _, tlp := range slices.Sorted(maps.Keys(i.reach)) {
			by = append(by, fmt.Sprintf("%d as TLP:%s", i.reach[tlp], tlp))
		}
		fmt.Fprintf(i.out, "Shared: %s.\n", strings.Join(by, ", "))
	case i.total.Taken > 0 && i.say.local:
		fmt.Fprintln(i.out, "It stays on this node; --share shares it.")
	}
	if len(i.total.Refused) > 0 {
		fmt.Fprintln(i.out)
		t := table{header: []string{"REFUSED AT", "VALUE", "WHY"}}
		for _, r := range i.total.Refused[:min(len(i.total.Refused), refusedShown)] {
			t.add(r.At, r.Value, r.Reason)
		}
		t.print(i.out)
		if more := len(i.total.Refused) - refusedShown; more > 0 {
			fmt.Fprintf(i.out, "… and %d more (--json lists all)\n", more)
		}
	}
	for _, b := range i.broken {
		fmt.Fprintf(i.errOut, "%s %s\n", paint(i.errOut, "31", "error"), plain(b))
	}
}
