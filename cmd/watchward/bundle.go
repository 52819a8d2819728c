package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

const (
	signPatience = 10 * time.Second       // an export waits so long for what is to be signed
	signAsked    = 100 * time.Millisecond // and asks so often
)

// bundleExport writes bundles.
type bundleExport struct {
	out      string
	since    string
	kind     string
	audience string
	to       []string
	mine     bool
	force    bool // replace files that are there
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
	f.StringVarP(&b.out, "out", "o", "", "file to write, for bundles also a directory; - is standard output")
	f.StringVar(&b.since, "since", "", "only what arrived here, or was taken back, since then: 30d, 12h, 2026-01-31 or a full time")
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
	waiting, err := b.signed(cmd.Context())
	if err != nil {
		return err
	}
	err = b.series(cmd.Context())
	if err == nil && waiting > 0 && len(b.result.Parts) == 0 {
		return stillWaiting(waiting)
	}
	if err == nil || len(b.result.Parts) > 0 {
		b.summary()
	}
	if err == nil && waiting > 0 {
		return fmt.Errorf("not all is in it: %w", stillWaiting(waiting))
	}
	if err == nil && len(b.result.Parts) == 0 {
		return differs()
	}
	return err
}

// signed waits for the node to sign what waits: only what is signed can be
// carried. It returns how many notices wait all the same.
func (b *bundleExport) signed(ctx context.Context) (waiting int, err error) {
	ctx, cancel := context.WithTimeout(ctx, signPatience)
	defer cancel()
	again := time.NewTicker(signAsked)
	defer again.Stop()
	for {
		s, err := b.client.Status(ctx)
		switch {
		case ctx.Err() != nil && b.cmd.Context().Err() == nil && waiting > 0:
			return waiting, nil
		case err != nil || s.Waiting == 0:
			return 0, err
		}
		waiting = s.Waiting
		select {
		case <-again.C:
		case <-ctx.Done():
			return waiting, b.cmd.Context().Err()
		}
	}
}

func stillWaiting(n int) error {
	if n == 1 {
		return errors.New("1 notice is still to be signed: try again in some seconds")
	}
	return fmt.Errorf("%s notices are still to be signed: try again in some seconds", thousands(int64(n)))
}

// name decides what files are called.
func (b *bundleExport) name(ctx context.Context) error {
	b.out = cmp.Or(b.out, ".")
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
		if _, err := os.Lstat(path); err == nil && !b.force {
			return part, false, fmt.Errorf("%s is there already: choose another name with -o, or --force", path)
		}
		f, err := os.CreateTemp(filepath.Dir(path), ".watchward-*.part")
		if err != nil {
			return part, false, fileError(filepath.Dir(path), err)
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
		_ = f.Chmod(0o644) // some sticks keep no rights
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return part, some, fileError(path, err)
		}
		if err := os.Rename(f.Name(), path); err != nil {
			return part, some, fileError(path, err)
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

// path names a part's file. What only some can open is called sealed, so that
// nobody hands it to somebody else, or keeps what is for all.
func (b *bundleExport) path(q client.BundleQuery) string {
	if b.out == "-" {
		return b.out
	}
	name, ext := b.out, filepath.Ext(b.out)
	if b.slug != "" {
		name, ext = filepath.Join(b.out, b.slug), bundleExt
	} else {
		name = strings.TrimSuffix(name, ext)
	}
	if q.Audience == "region" {
		name += "-sealed"
	}
	if q.Part > 1 {
		name += fmt.Sprintf("-%d", q.Part)
	}
	return name + ext
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
