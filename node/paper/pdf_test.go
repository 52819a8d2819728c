package paper_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// printMax is how long Chromium may take for a page.
const printMax = 2 * time.Minute

// printed has Chromium print a page, and returns the text of each page of A4 that comes out.
func printed(t *testing.T, page []byte) []string {
	t.Helper()
	browser := chromium(t)
	dir := t.TempDir()
	if *keep != "" {
		dir = *keep
	}
	name := strings.NewReplacer("/", "-", " ", "-").Replace(strings.TrimPrefix(t.Name(), "Test"))
	in, out := filepath.Join(dir, name+".html"), filepath.Join(dir, name+".pdf")
	if err := os.WriteFile(in, page, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), printMax)
	defer cancel()
	c := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", "--user-data-dir="+t.TempDir(),
		"--print-to-pdf="+out, (&url.URL{Scheme: "file", Path: in}).String())
	if said, err := c.CombinedOutput(); err != nil {
		t.Fatalf("print: %v: %s", err, said)
	}
	pdf, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := pagesOf(pdf)
	if err != nil || len(pages) == 0 {
		t.Fatalf("%d pages, %v: does Chromium write PDFs another way now?", len(pages), err)
	}
	return pages
}

// chromium returns the browser that prints.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("SKIPPED: HOW A PAGE PRINTS IS NOT CHECKED: there is no chromium: apt-get install chromium")
	return ""
}

var (
	objectAt   = regexp.MustCompile(`(?m)^(\d+) 0 obj\n`)
	mediaBox   = regexp.MustCompile(`/MediaBox \[0 0 (\d+)\S* (\d+)\S*\]`)
	contentsAt = regexp.MustCompile(`/Contents (\d+) 0 R`)
	fontAt     = regexp.MustCompile(`/(F\d+) (\d+) 0 R`)
	unicodeAt  = regexp.MustCompile(`/ToUnicode (\d+) 0 R`)
	shown      = regexp.MustCompile(`/(F\d+) \S+ Tf|<([0-9A-Fa-f]*)>`)
	mapped     = regexp.MustCompile(`(?m)^<(\w{4})> (?:<(\w{4})> )?<(\w{4})>$`)
)

// pagesOf reads of a PDF as Chromium writes it (no object streams, text as glyphs) what
// these tests need: the text of each page, which must be A4.
func pagesOf(pdf []byte) ([]string, error) {
	objects := map[string][]byte{}
	at := objectAt.FindAllSubmatchIndex(pdf, -1)
	for i, m := range at {
		end := len(pdf)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		objects[string(pdf[m[2]:m[3]])] = pdf[m[1]:end]
	}
	var pages []string
	for _, m := range at {
		page := objects[string(pdf[m[2]:m[3]])]
		if !regexp.MustCompile(`/Type /Page\b`).Match(page) {
			continue
		}
		size, contents := mediaBox.FindSubmatch(page), contentsAt.FindSubmatch(page)
		if size == nil || contents == nil {
			return nil, fmt.Errorf("a page without size or contents: %.300q", page)
		}
		if w, h := string(size[1]), string(size[2]); w != "594" && w != "595" || h != "841" && h != "842" {
			return nil, fmt.Errorf("a page is %s × %s points: A4 is 595 × 842", w, h)
		}
		glyphs := map[string]map[uint16]rune{}
		for _, f := range fontAt.FindAllSubmatch(page, -1) {
			if to := unicodeAt.FindSubmatch(objects[string(f[2])]); to != nil {
				table, err := inflate(objects[string(to[1])])
				if err != nil {
					return nil, err
				}
				glyphs[string(f[1])] = glyphsOf(table)
			}
		}
		stream, err := inflate(objects[string(contents[1])])
		if err != nil {
			return nil, err
		}
		pages = append(pages, textOf(stream, glyphs))
	}
	return pages, nil
}

func inflate(object []byte) ([]byte, error) {
	_, stream, found := bytes.Cut(object, []byte("stream\n"))
	if !found {
		return nil, fmt.Errorf("no stream: %.100q", object)
	}
	r, err := zlib.NewReader(bytes.NewReader(stream))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// glyphsOf reads a font's table of what its glyphs mean: lines <glyph> <letter>, and
// <first> <last> <letter>.
func glyphsOf(table []byte) map[uint16]rune {
	number := func(s []byte) int { n, _ := strconv.ParseUint(string(s), 16, 16); return int(n) }
	out := map[uint16]rune{}
	for _, m := range mapped.FindAllSubmatch(table, -1) {
		first, last := number(m[1]), number(m[1])
		if m[2] != nil {
			last = number(m[2])
		}
		for g := first; g <= last; g++ {
			out[uint16(g)] = rune(number(m[3]) + g - first)
		}
	}
	return out
}

func textOf(stream []byte, glyphs map[string]map[uint16]rune) string {
	var out strings.Builder
	font := ""
	for _, m := range shown.FindAllSubmatch(stream, -1) {
		if m[1] != nil {
			font = string(m[1])
			continue
		}
		raw, _ := hex.DecodeString(string(m[2]))
		for i := 0; i+1 < len(raw); i += 2 {
			out.WriteRune(glyphs[font][uint16(raw[i])<<8|uint16(raw[i+1])])
		}
	}
	return out.String()
}
