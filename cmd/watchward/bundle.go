package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/bundle"
)

// bundleExport writes bundles.
type bundleExport struct {
	out      string
	since    string
	kind     string
	audience string
	to       []string
	mine     bool
	partSize string

	client *client.Client
	cmd    *cobra.Command
	query  client.BundleQuery
	slug   string
	result exportResult
	left   []string // members that nobody can seal for
	alone  bool     // the only recipient is this node
}

// exportResult is what --json prints.
type exportResult struct {
	Notices int64        `json:"notices"`
	Parts   []exportPart `json:"parts"`
}

type exportPart struct {
	File      string `json:"file"`
	Audience  string `json:"audience"`
	Part      int    `json:"part"`
	Notices   int64  `json:"notices"`
	Expired   int64  `json:"expired"`
	Authors   int    `json:"authors"`
	SealedFor int    `json:"sealed_for,omitempty"`
	Bytes     int64  `json:"bytes"`
}

func (b *bundleExport) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&b.out, "out", "o", ".", "directory or file to write; - is standard output")
	f.StringVar(&b.since, "since", "", "only what arrived here since then: 30d, 12h, 2026-01-31 or a full time")
	f.StringVar(&b.kind, "kind", "", "only what holds a notice of this kind: sighting, indicator …")
	f.StringVar(&b.audience, "audience", "", "what the receiver may hold: community (up to GREEN) or region (default: also AMBER, sealed)")
	f.StringArrayVar(&b.to, "to", nil, "seal what is for the region for this member only: name or id; repeat it for more")
	f.BoolVar(&b.mine, "mine", false, "only what this hospital said")
	f.StringVar(&b.partSize, "part-size", "512M", "largest file: 1M to 4G (a FAT32 stick takes no more)")
}

func (b *bundleExport) run(cmd *cobra.Command, c *client.Client) error {
	b.cmd, b.client = cmd, c
	created := now()
	since, err := parseSince(b.since, created)
	if err != nil {
		return usage("--since %w", err)
	}
	size, err := parseSize(b.partSize)
	if err != nil || size < api.BundlePartMin || size > api.BundlePartMax+1 {
		return usage("--part-size %q: give a number from 1M to 4G", b.partSize)
	}
	if b.audience != "" && b.audience != "community" && b.audience != "region" {
		return usage("--audience %q: community or region", b.audience)
	}
	if b.audience == "community" && len(b.to) > 0 {
		return usage("--to goes with what is for the region: what is for the community may be carried by anybody")
	}
	b.query = client.BundleQuery{To: b.to, Since: since, Kind: b.kind, Mine: b.mine, Created: created, Size: min(size, api.BundlePartMax)}
	if err := b.name(cmd.Context()); err != nil {
		return err
	}
	err = b.series(cmd.Context())
	if err == nil || len(b.result.Parts) > 0 {
		b.summary()
	}
	if err == nil && len(b.result.Parts) == 0 {
		return differs()
	}
	return err
}

// name decides what files are called.
func (b *bundleExport) name(ctx context.Context) error {
	if b.out == "-" {
		return nil
	}
	if info, err := os.Stat(b.out); err != nil || !info.IsDir() {
		if strings.HasSuffix(b.out, "/") || strings.HasSuffix(b.out, string(filepath.Separator)) {
			return fmt.Errorf("%s: there is no such directory", b.out)
		}
		return nil // it is the name of a file
	}
	s, err := b.client.Status(ctx)
	if err != nil {
		return err
	}
	region := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(s.Region))
	b.slug = fmt.Sprintf("watchward-%.30s-%s", strings.Trim(region, "-"), b.query.Created.UTC().Format("20060102-150405"))
	return nil
}

// series writes part after part: first what may be read by anybody, then what
// is sealed.
func (b *bundleExport) series(ctx context.Context) error {
	audiences := []string{"community", "region"}
	if b.audience == "community" {
		audiences = audiences[:1]
	} else if allowed, err := b.mayseal(ctx); err != nil {
		return err
	} else if !allowed {
		audiences = audiences[:1]
	}
	for _, audience := range audiences {
		q := b.query
		q.Audience, q.Part = audience, 1
		if audience == "community" {
			q.To = nil
		}
		for {
			part, some, err := b.part(ctx, q)
			if err != nil {
				return err
			}
			if some {
				b.left, b.alone = part.Left, part.SealedFor == 1 && len(b.to) == 0
			}
			if !some || part.Next == 0 {
				break
			}
			q.Part, q.After = q.Part+1, part.Next
		}
	}
	return nil
}

// mayseal asks for a part behind everything that is stored, which has nothing in
// it: a wrong name must be found before the first file is written.
func (b *bundleExport) mayseal(ctx context.Context) (bool, error) {
	q := b.query
	q.Audience, q.Part, q.After = "region", 1, math.MaxInt64
	_, _, err := b.client.ExportBundle(ctx, q, io.Discard)
	var e *client.Error
	if !errors.As(err, &e) || e.Problem == nil {
		return err == nil, err
	}
	switch {
	case e.Problem.Word() == "low-ceiling" && b.audience == "":
		fmt.Fprintln(b.cmd.ErrOrStderr(), "note: this token's ceiling is below AMBER, so what is for the region only is left out")
		return false, nil
	case e.Problem.Status == http.StatusUnprocessableEntity:
		return false, usage("%w", e.Problem) // its fix names the flag, not the request's parameter
	}
	return false, err
}

// part writes one file, under another name until it is whole and on the disk.
func (b *bundleExport) part(ctx context.Context, q client.BundleQuery) (part api.BundlePart, some bool, err error) {
	count := &counter{w: b.cmd.OutOrStdout(), progress: b.progress}
	path := b.path(q)
	if path != "-" {
		if _, err := os.Lstat(path); err == nil {
			return part, false, fmt.Errorf("%s is there already: choose another name with -o", path)
		}
		f, err := os.CreateTemp(filepath.Dir(path), ".watchward-*.part")
		if err != nil {
			return part, false, err
		}
		defer os.Remove(f.Name()) // once renamed there is none
		defer f.Close()
		count.w = f
	}
	part, some, err = b.client.ExportBundle(ctx, q, count)
	count.end()
	if err != nil || !some {
		return part, some, err
	}
	if f, ok := count.w.(*os.File); ok && path != "-" {
		if err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
			return part, some, fmt.Errorf("write %s: %w", path, err)
		}
		if err := os.Rename(f.Name(), path); err != nil {
			return part, some, err
		}
		syncDir(filepath.Dir(path))
	}
	b.result.Notices += part.Notices
	b.result.Parts = append(b.result.Parts, exportPart{
		File: path, Audience: q.Audience, Part: q.Part, Notices: part.Notices, Expired: part.Expired,
		Authors: part.Authors, SealedFor: part.SealedFor, Bytes: count.n,
	})
	return part, some, nil
}

// path names the next file.
func (b *bundleExport) path(q client.BundleQuery) string {
	switch n := len(b.result.Parts) + 1; {
	case b.out == "-":
		return b.out
	case b.slug != "":
		return filepath.Join(b.out, fmt.Sprintf("%s-%s-%d.wwb", b.slug, q.Audience, q.Part))
	case n > 1: // further parts of one that was named
		ext := filepath.Ext(b.out)
		return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(b.out, ext), n, ext)
	}
	return b.out
}

// syncDir makes a new name durable where the system can: a stick is pulled soon.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync() // Windows cannot
		_ = d.Close()
	}
}

func (b *bundleExport) progress(bytes int64, rate float64, done bool) {
	showRate(b.cmd, bytes, -1, rate, done)
}

func (b *bundleExport) summary() {
	out := b.cmd.OutOrStdout()
	if b.out == "-" {
		out = b.cmd.ErrOrStderr()
	}
	if jsonFlag(b.cmd) {
		if b.result.Parts == nil {
			b.result.Parts = []exportPart{}
		}
		_ = printJSON(out, b.result)
		return
	}
	if len(b.result.Parts) == 0 {
		fmt.Fprintln(out, "Nothing to export.")
		return
	}
	t := table{header: []string{"FILE", "FOR", "HOSPITALS", "NOTICES", "SIZE"}}
	for _, p := range b.result.Parts {
		who := "anybody"
		if p.SealedFor > 0 {
			who = "sealed for " + plural(int64(p.SealedFor), "member")
		}
		t.add(p.File, who, fmt.Sprint(p.Authors), fmt.Sprint(p.Notices), size(p.Bytes))
	}
	t.print(out)
	if b.alone {
		fmt.Fprintln(out, "Only this hospital can open what is sealed: it has heard of no other member yet. A bundle of theirs introduces them.")
	}
	if len(b.left) > 0 {
		fmt.Fprintf(out, "Left out, since their key for sealing is broken: %s.\n", plain(strings.Join(b.left, ", ")))
	}
	fmt.Fprintln(out, "To take them in: watchward import FILE…")
}

// importBundles imports files that are bundles, and reports whether they are.
func importBundles(cmd *cobra.Command, c *client.Client, args []string) (bool, error) {
	var found, others []string
	for _, path := range args {
		is, err := isBundle(cmd, path)
		if err != nil {
			return false, err
		}
		if is {
			found = append(found, path)
		} else {
			others = append(others, path)
		}
	}
	if len(found) == 0 {
		return false, nil
	}
	if len(others) > 0 {
		return true, usage("%s is a bundle and %s is none: import them one after the other", found[0], others[0])
	}
	for _, name := range []string{"share", "tlp", "dry-run", "allow-special", "all"} {
		if cmd.Flags().Changed(name) {
			return true, usage("--%s says nothing about a bundle: what is in it stays as its authors signed it", name)
		}
	}
	i := bundleImport{client: c, cmd: cmd}
	err := i.all(found)
	i.summary()
	if err == nil && (len(i.result.Refused) > 0 || len(i.result.Unknown) > 0 || len(i.result.Errors) > 0) {
		return true, differs()
	}
	return true, err
}

// isBundle looks at the beginning of a file. Of standard input nothing is lost.
func isBundle(cmd *cobra.Command, path string) (bool, error) {
	if path == "-" {
		in := bufio.NewReader(cmd.InOrStdin())
		head, _ := in.Peek(len(bundle.Magic)) // what cannot be read is found by whoever reads on
		cmd.SetIn(in)
		return bundle.Is(head), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, nil // the other import says it as well
	}
	defer f.Close()
	head := make([]byte, len(bundle.Magic))
	n, _ := io.ReadFull(f, head)
	return bundle.Is(head[:n]), nil
}

// bundleImport takes in bundles.
type bundleImport struct {
	client *client.Client
	cmd    *cobra.Command
	result bundleResult
	read   []api.BundleRead
}

// bundleResult is what --json prints.
type bundleResult struct {
	Read       int64               `json:"read"`
	Taken      int64               `json:"taken"`
	Known      int64               `json:"known"`
	Expired    int64               `json:"expired"`
	Held       int64               `json:"held"`
	Refused    []api.BundleRefused `json:"refused"`
	refused    int64
	Unknown    []api.BundleUnknown `json:"unknown"`
	NewMembers int                 `json:"new_members"`
	Errors     []string            `json:"errors,omitempty"`
}

// all imports files one by one: one that is no good stops none of the others.
func (i *bundleImport) all(paths []string) error {
	for _, path := range paths {
		a, err := i.file(path)
		var e *client.Error
		switch {
		case i.cmd.Context().Err() != nil:
			return fmt.Errorf("%s: cut off: import it again, it goes on where it was", path)
		case errors.As(err, &e) && e.Problem != nil && (e.Problem.Status == http.StatusUnprocessableEntity || e.Problem.Status == http.StatusRequestEntityTooLarge):
			i.result.Errors = append(i.result.Errors, fmt.Sprintf("%s: %v", path, e.Problem)) // of the file, not of the request's body
			continue
		case e != nil:
			return err
		case err != nil:
			i.result.Errors = append(i.result.Errors, fmt.Sprintf("%s: %v", path, err))
			continue
		}
		i.add(path, a, len(paths) > 1)
	}
	return nil
}

func (i *bundleImport) add(path string, a api.BundleAnswer, several bool) {
	r := &i.result
	r.Read, r.Taken, r.Known = r.Read+a.Read, r.Taken+a.Taken, r.Known+a.Known
	r.Expired, r.Held, r.NewMembers = r.Expired+a.Expired, r.Held+a.Held, r.NewMembers+a.NewMembers
	for _, one := range a.Refused {
		if several {
			one.At = filepath.Base(path) + ": " + one.At
		}
		r.Refused = append(r.Refused, one)
	}
	r.refused += a.RefusedCount
	r.Unknown = append(r.Unknown, a.Unknown...)
	i.read = append(i.read, a.Parts...)
	if a.Broken != "" {
		r.Errors = append(r.Errors, fmt.Sprintf("%s: %s; what came before was taken", path, a.Broken))
	}
}

func (i *bundleImport) file(path string) (api.BundleAnswer, error) {
	in, total := i.cmd.InOrStdin(), int64(-1)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return api.BundleAnswer{}, err
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil {
			total = info.Size()
		}
		in = f
	}
	count := &counter{r: in, progress: func(bytes int64, rate float64, done bool) { showRate(i.cmd, bytes, total, rate, done) }}
	a, err := i.client.ImportBundle(i.cmd.Context(), count)
	count.end()
	return a, err
}

func (i *bundleImport) summary() {
	out, errOut, r := i.cmd.OutOrStdout(), i.cmd.ErrOrStderr(), &i.result
	if jsonFlag(i.cmd) {
		if r.Refused == nil {
			r.Refused = []api.BundleRefused{}
		}
		if r.Unknown == nil {
			r.Unknown = []api.BundleUnknown{}
		}
		_ = printJSON(out, r)
		return
	}
	t := table{header: []string{"READ", "TAKEN", "KNOWN BEFORE", "EXPIRED", "REFUSED"}}
	t.add(fmt.Sprint(r.Read), fmt.Sprint(r.Taken), fmt.Sprint(r.Known), fmt.Sprint(r.Expired), fmt.Sprint(r.refused))
	t.print(out)
	if r.NewMembers > 0 {
		fmt.Fprintf(out, "%s of the region became known.\n", plural(int64(r.NewMembers), "new member"))
	}
	if r.Held > 0 {
		fmt.Fprintf(out, "%s from the future: a clock is wrong there, or here. They are shown when their time comes.\n", plural(r.Held, "notice"))
	}
	for _, u := range r.Unknown {
		fmt.Fprintf(out, "%s by member %.16s…, whom this node cannot check: its credential is neither here nor in the bundle.\n", plural(u.Notices, "notice"), u.Member)
	}
	if text := missingParts(i.read); text != "" {
		fmt.Fprintln(out, text)
	}
	if len(r.Refused) > 0 {
		fmt.Fprintln(out)
		t := table{header: []string{"REFUSED AT", "OF", "WHY"}}
		for _, one := range r.Refused[:min(len(r.Refused), refusedShown)] {
			t.add(one.At, one.Value, one.Reason)
		}
		t.print(out)
		if more := r.refused - refusedShown; more > 0 {
			fmt.Fprintf(out, "… and %d more (--json lists them)\n", more)
		}
	}
	for _, e := range r.Errors {
		fmt.Fprintf(errOut, "%s %s\n", paint(errOut, "31", "error"), plain(e))
	}
}

// missingParts says which parts of an export were not among those read. Each is
// good alone, so it is a hint and no more.
func missingParts(read []api.BundleRead) string {
	type export struct {
		created  api.Time
		audience string
	}
	have, last := map[export]map[uint32]bool{}, map[export]uint32{}
	for _, p := range read {
		e := export{p.Created, p.Audience}
		if have[e] == nil {
			have[e] = map[uint32]bool{}
		}
		have[e][p.Part] = true
		if p.More {
			last[e] = max(last[e], p.Part+1)
		}
		last[e] = max(last[e], p.Part)
	}
	missing := 0
	for e, parts := range have {
		missing += int(last[e]) - len(parts)
	}
	if missing <= 0 {
		return ""
	}
	return fmt.Sprintf("The export has at least %s that was not among these: import them too.", plural(int64(missing), "part"))
}

// A counter counts what passes, and says once a second how fast it goes.
type counter struct {
	r        io.Reader
	w        io.Writer
	n        int64
	progress func(bytes int64, rate float64, done bool)
	start    time.Time
	shown    time.Time
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.count(n)
	return n, err
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.count(n)
	return n, err
}

func (c *counter) count(n int) {
	if c.start.IsZero() {
		c.start = time.Now()
		c.shown = c.start
	}
	c.n += int64(n)
	if time.Since(c.shown) >= progressEvery {
		c.shown = time.Now()
		c.progress(c.n, c.rate(), false)
	}
}

func (c *counter) rate() float64 { return float64(c.n) / max(time.Since(c.start).Seconds(), 0.001) }

func (c *counter) end() { c.progress(c.n, c.rate(), true) }

// showRate tells a person how far it is; total is -1 if nobody knows.
func showRate(cmd *cobra.Command, bytes, total int64, rate float64, done bool) {
	errOut := cmd.ErrOrStderr()
	if _, _, ok := terminal(errOut); !ok || jsonFlag(cmd) {
		return
	}
	text := fmt.Sprintf("%s, %s/s", size(bytes), size(int64(rate)))
	if total > 0 && rate > 0 {
		left := time.Duration(float64(total-bytes) / rate * float64(time.Second))
		text = fmt.Sprintf("%s of %s, %s/s, %s left", size(bytes), size(total), size(int64(rate)), span(left))
	}
	if done {
		text = ""
	}
	fmt.Fprintf(errOut, "\r%-60s\r%s", "", text)
}

// parseSince reads a time, a date, or how long ago. "" is the zero time.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	number, unit := s[:len(s)-1], s[len(s)-1]
	if days, err := strconv.Atoi(number); err == nil && days >= 0 && days <= 100_000 && (unit == 'd' || unit == 'w') {
		if unit == 'w' {
			days *= 7
		}
		return now.AddDate(0, 0, -days), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q: give how long ago (30d, 12h) or a time (2026-01-31, 2026-01-31T12:00:00Z)", s)
}

// parseSize reads bytes with K, M or G, which are powers of 1024.
func parseSize(s string) (int64, error) {
	shift := 0
	switch number := strings.TrimRight(s, "KMGkmg"); {
	case len(s)-len(number) > 1:
		return 0, errors.New("one unit")
	case len(s) > len(number):
		shift = 10 * (1 + strings.Index("KMG", strings.ToUpper(s[len(number):])))
		s = number
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return 0, errors.New("no number")
	}
	return n << shift, nil
}
