package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/logs"
	"github.com/watchward/watchward/node/verdict"
)

// Bounds of a scan.
const (
	scanBatch   = 10_000  // values of one request
	scanAbsent  = 200_000 // values that are remembered as unknown, twice
	scanHitsMax = 100_000 // values that are remembered as hits; lines of others are counted
	scanShown   = 300     // bytes of a line
	scanTable   = 80      // of them in the table
)

func newScan() *cobra.Command {
	var format, zone string
	c := &cobra.Command{
		Use:   "scan FILE…|-",
		Short: "Look through logs for what the mesh knows: once, of any size, also .gz",
		Long: `Read logs and show what they name that is to be detected here: addresses, names, URLs,
hashes; names and URLs also by their parents and hosts, addresses by their networks. What
belongs to this house or is on a warninglist is passed over. The format is found by looking; --format forces one:
` + scanFormats() + `.

Nothing is stored, alerted or told to others. To have logs read as they are written, name
them in the configuration ([[logs]]).

Exit code 0: all was read, and nothing was found. 1: there are hits, or a file could not
be read.`,
		Example: "  watchward scan /var/log/suricata/eve.json*\n  journalctl -u dnsmasq | watchward scan - --format dnsmasq",
		Args:    cobra.MinimumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			s := newScanner(cmd, c)
			var err error
			if s.options.Format, err = logs.ParseFormat(format); err != nil {
				return usage("--format %w", err)
			}
			if zone != "" {
				if s.options.Zone, err = time.LoadLocation(zone); err != nil {
					return usage("--zone %s: write it as Europe/Berlin or UTC", zone)
				}
			}
			for _, path := range args {
				if err := s.input(path, cmd.InOrStdin()); err != nil {
					s.clear()
					return err
				}
			}
			return s.finish()
		}),
	}
	c.Flags().StringVar(&format, "format", "", "read the logs as this (default: found by looking)")
	c.Flags().StringVar(&zone, "zone", "", "time zone of stamps that name none, such as Europe/Berlin (default: this machine's)")
	return c
}

func scanFormats() string {
	_, choices, _ := strings.Cut(func() string { _, err := logs.ParseFormat("?"); return err.Error() }(), "choose ")
	return choices
}

// A scanHit is one value that is known and was found.
type scanHit struct {
	Value   string         `json:"value"`
	Type    string         `json:"type"`
	Lines   int64          `json:"lines"`
	First   api.Time       `json:"first,omitempty"` // as the lines say
	Last    api.Time       `json:"last,omitempty"`
	Matched *api.Indicator `json:"matched,omitempty"`
	Verdict string         `json:"verdict"`
	Summary *api.Summary   `json:"summary,omitempty"`
	At      string         `json:"at"` // the first line's file and number
	Line    string         `json:"line"`
}

// A scanner reads logs one after the other.
type scanner struct {
	ctx     context.Context
	client  *client.Client
	options logs.Options
	out     io.Writer
	errOut  io.Writer
	json    bool

	hits    map[string]*scanHit
	order   []*scanHit
	beyond  int64 // lines of values beyond scanHitsMax
	pending map[string]*scanHit
	asked   []string // the keys of pending, in order
	absent  map[string]bool
	older   map[string]bool

	lines   int64
	broken  bool // a file was not read to its end
	reading *counted
	total   int64 // bytes of the file; 0 = nobody knows
	shown   time.Time
	began   time.Time
}

func newScanner(cmd *cobra.Command, c *client.Client) *scanner {
	return &scanner{
		ctx: cmd.Context(), client: c, out: cmd.OutOrStdout(), errOut: cmd.ErrOrStderr(), json: jsonFlag(cmd),
		options: logs.Options{Now: now},
		hits:    map[string]*scanHit{}, pending: map[string]*scanHit{}, absent: map[string]bool{}, older: map[string]bool{},
	}
}

// input reads one file, or standard input. What is wrong with a file is said and stops
// no other; the error is the node's.
func (s *scanner) input(path string, stdin io.Reader) error {
	name, in, size := path, stdin, int64(0)
	if path == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(path)
		if err == nil {
			defer f.Close()
			var info os.FileInfo
			if info, err = f.Stat(); err == nil && info.IsDir() {
				err = errors.New("it is a directory: name the files in it")
			} else if err == nil {
				size = info.Size()
			}
		}
		if err != nil {
			s.breaks(path, err)
			return nil
		}
		in = f
	}
	s.reading, s.total, s.began, s.shown = &counted{in: in}, size, now(), now()
	text, err := unpacked(s.reading)
	if err != nil {
		s.breaks(name, err)
		return nil
	}
	parser := logs.New(s.options)
	var failed error
	tally, err := parser.Read(text, func(number int64, line []byte, e *logs.Event) error {
		if number%1024 == 0 {
			s.progress(name, number)
		}
		failed = s.line(name, number, line, e)
		return failed
	})
	s.lines += tally.Lines
	if failed == nil {
		failed = s.ask()
	}
	if failed != nil {
		return failed
	}
	s.clear()
	if err != nil {
		s.breaks(name, err)
	}
	s.told(name, parser.Format(), tally)
	return nil
}

// unpacked takes gzip off.
func unpacked(in io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(in, 256<<10)
	if magic, _ := b.Peek(2); string(magic) != "\x1f\x8b" {
		return b, nil
	}
	return gzip.NewReader(b)
}

func (s *scanner) breaks(name string, err error) {
	s.broken = true
	s.clear()
	if text := err.Error(); strings.Contains(text, name) {
		fmt.Fprintln(s.errOut, plain(text))
	} else {
		fmt.Fprintln(s.errOut, plain(name+": "+text))
	}
}

// told says how a file was read.
func (s *scanner) told(name string, format logs.Format, t logs.Tally) {
	if s.json {
		return
	}
	text := fmt.Sprintf("%s: %s lines, read as %s", name, thousands(t.Lines), format)
	for _, c := range []struct {
		count int64
		what  string
	}{{t.Other, "not of this format"}, {t.Broken, "broken"}, {t.Cut, "longer than 64 KiB"}} {
		if c.count > 0 {
			text += fmt.Sprintf(", %s %s", thousands(c.count), c.what)
		}
	}
	fmt.Fprintln(s.errOut, plain(text))
	if t.Other+t.Broken > t.Lines/2 && t.Lines > 0 {
		fmt.Fprintln(s.errOut, plain("Most lines gave nothing, such as "+t.First[0].String()+". Is it another --format?"))
	}
}

// line counts what is known of a line, and keeps what is to be asked.
func (s *scanner) line(name string, number int64, line []byte, e *logs.Event) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	for i := range e.Observables {
		o := &e.Observables[i]
		if slices.ContainsFunc(e.Observables[:i], func(b logs.Observable) bool { return b.Value == o.Value }) {
			continue // once a line, whatever part it had
		}
		hit := s.hits[o.Value]
		if hit == nil {
			if s.absent[o.Value] || s.older[o.Value] {
				continue
			}
			if hit = s.pending[o.Value]; hit == nil {
				hit = &scanHit{Value: o.Value, Type: o.Type.String(), At: fmt.Sprintf("%s:%d", name, number), Line: scanLine(line)}
				s.pending[o.Value], s.asked = hit, append(s.asked, o.Value)
			}
		}
		hit.Lines++
		if !e.Time.IsZero() {
			at := api.Time(e.Time.UnixMilli())
			if hit.First == 0 || at < hit.First {
				hit.First = at
			}
			hit.Last = max(hit.Last, at)
		}
	}
	if len(s.asked) >= scanBatch {
		return s.ask()
	}
	return nil
}

// scanLine is the beginning of a line.
func scanLine(line []byte) string {
	if len(line) <= scanShown {
		return strings.ToValidUTF8(string(line), "\uFFFD")
	}
	return strings.ToValidUTF8(string(line[:scanShown]), "\uFFFD") + "…"
}

// ask asks the node for what was found since the last time.
func (s *scanner) ask() error {
	err := s.client.Lookup(s.ctx, s.asked, client.LookupOptions{Hosts: true}, func(a api.LookupAnswer) error {
		hit := s.pending[a.Value]
		switch {
		case hit == nil || !detected(&a):
			return nil
		case len(s.hits) == scanHitsMax:
			s.beyond += hit.Lines
			return nil
		}
		hit.Matched, hit.Summary, hit.Verdict = a.Matched, a.Summary, a.Verdict.Level
		s.hits[a.Value], s.order = hit, append(s.order, hit)
		return nil
	})
	if err != nil {
		return err
	}
	if len(s.absent) >= scanAbsent {
		s.absent, s.older = map[string]bool{}, s.absent
	}
	for _, v := range s.asked {
		if s.hits[v] == nil {
			s.absent[v] = true
		}
	}
	clear(s.pending)
	s.asked = s.asked[:0]
	return nil
}

// detected reports whether a value would be a hit in the logs of the node.
func detected(a *api.LookupAnswer) bool {
	return a.Verdict != nil && a.Verdict.Level != verdict.None.String() && !a.Verdict.Listed
}

// finish prints what was found.
func (s *scanner) finish() error {
	slices.SortStableFunc(s.order, func(a, b *scanHit) int { return int(b.Lines - a.Lines) })
	if err := s.print(); err != nil {
		return err
	}
	if !s.json {
		switch {
		case len(s.order) == 0:
			fmt.Fprintf(s.errOut, "%s lines, and nothing in them is to be detected.\n", thousands(s.lines))
		default:
			fmt.Fprintf(s.errOut, "%s lines; found: %s. What is known of one: watchward show VALUE\n", thousands(s.lines), plural(int64(len(s.order)), "value"))
		}
		if s.beyond > 0 {
			fmt.Fprintf(s.errOut, "And more than %s values: %s further lines are not shown. Scan fewer files at once.\n", thousands(scanHitsMax), thousands(s.beyond))
		}
	}
	if len(s.order) > 0 || s.broken {
		return differs()
	}
	return nil
}

func (s *scanner) print() error {
	if s.json {
		for _, h := range s.order {
			if err := printJSON(s.out, h); err != nil {
				return err
			}
		}
		return nil
	}
	if len(s.order) == 0 {
		return nil
	}
	t := table{header: []string{"VALUE", "VERDICT", "LINES", "FIRST", "LAST", "MATCHED", "AT", "LINE"}}
	for _, h := range s.order {
		matched := ""
		if h.Matched != nil {
			matched = h.Matched.Type + " " + withUnicode(h.Matched.Value)
		}
		line := h.Line
		if utf8.RuneCountInString(line) > scanTable {
			line = string([]rune(line)[:scanTable]) + "…"
		}
		t.add(withUnicode(h.Value), h.Verdict, thousands(h.Lines), scanClock(h.First), scanClock(h.Last), matched, h.At, line)
	}
	return t.print(s.out)
}

func scanClock(t api.Time) string {
	if t == 0 {
		return ""
	}
	return stamp(t).UTC().Format("2006-01-02 15:04:05Z")
}

// progress tells a person how far it is.
func (s *scanner) progress(name string, lines int64) {
	if _, _, ok := terminal(s.errOut); !ok || s.json || now().Sub(s.shown) < progressEvery {
		return
	}
	s.clear()
	s.shown = now()
	rate := float64(s.reading.n) / max(s.shown.Sub(s.began).Seconds(), 1e-3)
	text := fmt.Sprintf("%s: %s lines, %s", name, thousands(lines), size(s.reading.n))
	if s.total > s.reading.n && rate > 0 {
		text += fmt.Sprintf(" of %s, %s left", size(s.total), span(time.Duration(float64(s.total-s.reading.n)/rate*float64(time.Second))))
	}
	fmt.Fprintf(s.errOut, "%s; %s", plain(text), plural(int64(len(s.order)), "hit"))
}

// clear empties the line in which progress is shown.
func (s *scanner) clear() {
	if _, _, ok := terminal(s.errOut); ok {
		fmt.Fprint(s.errOut, "\r\x1b[K")
	}
}

// counted counts what is read of a file.
type counted struct {
	in io.Reader
	n  int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	c.n += int64(n)
	return n, err
}
