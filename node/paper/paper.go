// Package paper makes what is printed: the situation report that a coordinator signs, and
// the offline pack that is at hand when nothing works. The HTML prints on A4, in black
// and white, needs no script and fetches nothing.
package paper

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"unicode"

	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
)

// A sheet is what is printed, in the words of one language.
type sheet struct {
	Lang     string
	Title    string
	Marking  string // TLP:AMBER
	Lead     string // who has it so, and when
	Sources  string // with the fingerprint; stands on every page, as title and marking do
	Headline string
	Warnings []string // before all else
	Parts    []part
	Sections []section
	Sign     *sign
}

// A part of a pack begins on a page of its own.
type part struct {
	ID, Title, Note string
	Sections        []section
}

// A section is a table, a figure or names, under a title. What is empty is left out.
type section struct {
	Title, Note string
	Class       string
	Head        []string
	Widths      []int // of its columns, in percent
	Rows        [][]cell
	Figure      template.HTML
	Tall        float64 // mm, of the figure
	Plain       string  // the figure in text, for Markdown
	Names       []mark
	Text        []string
	Steps       []string
	Forms       []field
	More        string
	left        int // rows that are not in it
}

// A cell has a text, and small print below it.
type cell struct {
	Text, Small string
	ID          string // the beginning of a notice's, behind the text
	Strong      bool
	Mark        string        // a member's state, see marks
	Figure      template.HTML // before the text
}

// A mark is a name behind the sign of its state.
type mark struct{ State, Text string }

// A field of a form is filled in by hand.
type field struct {
	Label, Hint string
	Lines       int      // to write on; 0 = one
	Boxes       []string // to tick instead
}

// Rules are the lines to write on.
func (f field) Rules() []struct{} {
	if f.Boxes != nil {
		return make([]struct{}, f.Lines)
	}
	return make([]struct{}, max(f.Lines, 1))
}

// sign is where a report is signed.
type sign struct{ Assessment, Name, Place, Signature string }

//go:embed sheet.html
var sheetHTML string

// page is parsed once. It has no functions: a sheet's words are chosen before.
var page = template.Must(template.New("sheet").Parse(sheetHTML))

// html writes a sheet as a page of its own.
func (s *sheet) html() ([]byte, error) {
	var out bytes.Buffer
	if err := page.Execute(&out, s); err != nil {
		return nil, fmt.Errorf("print %s: %w", s.Title, err)
	}
	return out.Bytes(), nil
}

// shorten makes words of others fit: cut to so many characters, which it shows, and
// without what moves or hides other text.
func shorten(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsSpace(r) && !notice.Printable(string(r)) {
			return '\uFFFD'
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > limit {
		return strings.TrimRight(string(r[:limit-1]), " ") + "…"
	}
	return s
}

// more says how many rows a table lacks, "" if none.
func more(p *catalog.Printer, n int) string {
	if n <= 0 {
		return ""
	}
	return p.Text(catalog.ReportMore, n)
}
