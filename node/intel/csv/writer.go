package csv

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// Header is the first row of what Writer writes:
//
//	kind         indicator, sighting or dispute
//	type, value  the canonical value
//	tlp          the stricter of the marking it travels under and its origin's
//	first_seen, last_seen, valid_until   RFC 3339 in UTC, with milliseconds
//	count        of a sighting
//	family, tool, technique, cve         its context
//	origin, origin_id   where it was first said; for a notice without an origin
//	             "watchward:" and its author, and the notice's id
//	reason       of a dispute
//	author       name of the member who stated it here
//	retracted    true if the author has taken it back; Read passes such rows over
//	notice       its id in the mesh: a node that holds it takes nothing
//
// A table says what is known, not who saw it: Read makes an indicator of a
// sighting, with its times and without its count, and refuses a dispute.
//
// A cell that starts with a character by which a spreadsheet takes it for a
// formula (= + - @, their full-width forms, a tab), or with ', has a ' in front.
// Read takes it off again where the header is exactly this one.
var Header = []string{"kind", "type", "value", "tlp", "first_seen", "last_seen", "count", "valid_until",
	"family", "tool", "technique", "cve", "origin", "origin_id", "reason", "author", "retracted", "notice"}

// A Writer writes notices about values as CSV with commas. Retractions, and
// disputes of a notice and not a value, have no row of their own.
type Writer struct {
	w       *csv.Writer
	started bool
}

// NewWriter returns a Writer that holds no more than a buffer of rows.
func NewWriter(w io.Writer) *Writer { return &Writer{w: csv.NewWriter(w)} }

// Write writes one notice.
func (w *Writer) Write(s intel.Stated) error {
	if err := w.start(); err != nil {
		return err
	}
	n := s.Notice
	if n.Indicator == nil {
		return nil
	}
	context, origin := notice.Context{}, notice.Origin{Source: "watchward:" + s.AuthorName, ID: s.ID.String()}
	if s.AuthorName == "" {
		origin.Source = "watchward:" + s.Author.String()
	}
	if n.Context != nil {
		context = *n.Context
	}
	if n.Origin != nil {
		origin = *n.Origin
	}
	row := []string{n.Kind.String(), n.Indicator.Type.String(), n.Indicator.Value, notice.Stricter(s.TLP, origin.TLP).String(),
		formatTime(n.FirstSeen), formatTime(n.LastSeen), "", formatTime(n.ValidUntil),
		context.Family, context.Tool, context.Technique, context.CVE, origin.Source, origin.ID, n.Reason, s.AuthorName, "", s.ID.String()}
	if n.Count > 0 {
		row[6] = strconv.FormatUint(n.Count, 10)
	}
	if s.Retracted {
		row[16] = "true"
	}
	for i, cell := range row {
		row[i] = neutral(cell)
	}
	if err := w.w.Write(row); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// start writes the header, once.
func (w *Writer) start() error {
	if w.started {
		return nil
	}
	w.started = true
	if err := w.w.Write(Header); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// Close writes what is buffered, and the header if there was no notice.
func (w *Writer) Close() error {
	if err := w.start(); err != nil {
		return err
	}
	w.w.Flush()
	if err := w.w.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

func formatTime(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// formula are the characters that start one.
const formula = "=+-@\t\r＝＋－＠"

// neutral puts a ' before what a spreadsheet would run, and before a ' itself,
// so that it can be undone.
func neutral(cell string) string {
	first, _ := utf8.DecodeRuneInString(cell)
	if cell != "" && (first == '\'' || strings.ContainsRune(formula, first)) {
		return "'" + cell
	}
	return cell
}

// restore undoes neutral.
func restore(cell string) string {
	rest, ok := strings.CutPrefix(cell, "'")
	first, _ := utf8.DecodeRuneInString(rest)
	if ok && rest != "" && (first == '\'' || strings.ContainsRune(formula, first)) {
		return rest
	}
	return cell
}
