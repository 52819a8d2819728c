// Package csv reads and writes indicators as tables: CSV with commas,
// semicolons, tabs or bars. Which column is what is guessed from the header, or
// from the first rows when there is none; the guess is told to the caller
// before the first row, and Options.Columns overrides it.
//
// One row may have several values (an address, a name, a hash); each becomes a
// notice of its own. Rows become notices of the kind indicator; where a column
// named kind says dispute or retraction, they are refused.
//
// Decisions:
//   - A column of AS numbers, file names or e-mail addresses beside other
//     values is context, since nobody means to block a network for one address.
//     It is taken when it is the only one, or when Columns names it.
//   - A type that is none here, nor one of MISP's, refuses the row's value.
//   - A marking in a comment line marks the file, one in a row that row; the
//     strictest counts. A word in a marking column that is none refuses the row.
//   - A column has markings if its name has TLP in it, or if most of its cells are
//     markings. One with such a name ("distribution", "Einstufung") and other words
//     says something about sharing that is not understood: Found.Unclear has it,
//     for rows without a marking.
//   - A row without a marking where others have one is unclear as well. One that
//     is too short to have it, or was cut off, is refused by its line.
//   - Lines in front of a header that have fewer cells are titles: passed over,
//     said, and looked at for a marking, as a line of one cell below the table is.
//   - Cells that cannot be times, markings or kinds refuse their row by line and
//     column; context that is not fit to be kept is left out.
//   - Lines that start with # are comments, in front of a table also its header.
//     A first line sep=; says the delimiter, as Excel has it.
//     Empty cells may be written -, none, null or n/a.
//   - A row of more than 1 MiB ends the reading: a quote was not closed.
package csv

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

const (
	rowMax  = 1 << 20  // bytes of one row
	headMax = 64 << 10 // bytes looked at to guess the columns
	bom     = "\xef\xbb\xbf"

	commentMax = 4 << 10 // bytes of a comment that are looked at
)

// Options of Read.
type Options struct {
	// Indicator says which special addresses are taken.
	Indicator notice.Options
	// All takes rows that say to_ids 0 as well.
	All bool
	// Columns overrides the guess: "value=2,type=1,tlp=marking", by number from
	// 1 or by name. What it does not name is not read.
	Columns string
	// NoHeader says that the first row is data.
	NoHeader bool
	// Mapped is told once, before the first row, which column is what.
	Mapped func(string)
	// Marked is told, after the last row, what the comments mark the whole as. It
	// may be nil.
	Marked func(intel.Marks)
}

// Sniff reports whether text, of which head is the start, is a table and not a
// list of values: it has a header that names a column of values, or at least
// three columns in each of at least three rows. When in doubt it is a list.
func Sniff(head []byte) bool {
	t := survey(head, Options{})
	if t.width < 2 || len(t.rows) == 0 || !t.even && !t.named() || t.guessed() != nil || !t.hasValue() {
		return false
	}
	if t.header != nil {
		return true
	}
	// "value comment" and "type value" are what lists look like as well.
	if slices.ContainsFunc(t.role, isMarking) {
		return true
	}
	return len(t.rows) >= 3 && (t.width > 2 || t.role[0].name == "")
}

// Read calls yield for every indicator and every refusal in r, in order. An
// error of yield ends the reading and is returned as it is; any other error
// says that r is no table, with its line.
func Read(r io.Reader, o Options, yield func(intel.Found) error) error {
	in := bufio.NewReaderSize(r, headMax)
	head, err := in.Peek(headMax)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read CSV: %w", err)
	}
	t := survey(head, o)
	if err := t.roles(o.Columns); err != nil {
		return fmt.Errorf("read CSV: %w", err)
	}
	if o.Mapped != nil {
		o.Mapped(t.String())
	}
	for _, row := range t.rows {
		t.marked = t.marked || t.hasMarking(row)
	}
	if bytes.HasPrefix(head, []byte(bom)) {
		_, _ = in.Discard(len(bom))
	}
	src := &source{in: in, marks: t.marks}
	rows := newRows(src, t.comma)
	above := len(t.titles) // rows that are no data
	if t.header != nil && !t.commented {
		above++
	}
	for number := 0; ; number++ {
		src.room = rowMax
		cells, err := rows.Read()
		line, _ := position(rows, cells)
		bad := (*csv.ParseError)(nil)
		switch {
		case errors.Is(err, io.EOF):
			if o.Marked != nil {
				o.Marked(src.marks)
			}
			return nil
		case errors.As(err, &bad):
			if errors.Is(bad.Err, csv.ErrQuote) && src.ended() {
				return fmt.Errorf("read CSV: line %d: a quote that opens here is not closed", bad.StartLine)
			}
			err = yield(intel.Found{Place: fmt.Sprintf("line %d, column %d", bad.Line, bad.Column), TLP: src.marks.TLP, Unclear: src.marks.Unclear,
				Reason: "a quote in a cell without quotes around it: write it twice, in quotes"})
		case err != nil:
			return fmt.Errorf("read CSV: after line %d: %w", line, err)
		case number < above:
			if number < len(t.titles) {
				src.marks.Line("line "+strconv.Itoa(line), joined(cells))
			}
		case used(cells) == 1 && len(t.role) > 1 && src.marks.Line("line "+strconv.Itoa(line), joined(cells)): // a line below the table marks all of it
		case t.lost(cells, src):
			err = yield(intel.Found{Place: "line " + strconv.Itoa(line), TLP: src.marks.TLP, Unclear: src.marks.Unclear, Value: intel.Show(joined(cells)),
				Reason: fmt.Sprintf("the row has %d of the table's %d columns, and what is missing may mark it: complete it, or remove it if it is no row", len(cells), len(t.role))})
		default:
			err = t.row(cells, line, &src.marks, o, yield)
		}
		if err != nil {
			return err
		}
	}
}

// lost reports whether a row is too short to have what marks it, or was cut off.
func (t *table) lost(cells []string, src *source) bool {
	if len(t.role) < 2 || len(cells) >= len(t.role) || t.own {
		return false
	}
	if src.started && src.ended() { // the last line has no end
		return true
	}
	return slices.ContainsFunc(t.role[len(cells):], isMarking)
}

func newRows(r io.Reader, comma rune) *csv.Reader {
	rows := csv.NewReader(r)
	rows.Comma, rows.FieldsPerRecord, rows.ReuseRecord = comma, -1, true
	rows.TrimLeadingSpace = comma != '\t' // it would eat empty cells
	return rows
}

// position is where a row starts; rows has no position for none.
func position(rows *csv.Reader, cells []string) (line, column int) {
	if len(cells) == 0 {
		return 0, 0
	}
	return rows.FieldPos(0)
}

// statedLine is how Excel is told the delimiter.
var statedLine = regexp.MustCompile(`^"?(?i:sep)=([,;\t|])"?\r?(\n|$)`)

// stated returns the delimiter that the first line of a table names, 0 if none.
func stated(head []byte) rune {
	if m := statedLine.FindSubmatch(head[:min(len(head), 10)]); m != nil {
		return rune(m[1][0])
	}
	return 0
}

// A source passes a table on without its comment lines, and stops at a row that
// does not end.
type source struct {
	in      *bufio.Reader
	begun   bool
	started bool // the line is not at its start
	room    int  // bytes that the present row may still take
	lines   int  // that ended
	marks   intel.Marks
	last    string // the last comment line
}

var errLong = errors.New("a row is longer than 1 MiB: is a quote not closed?")

func (s *source) Read(p []byte) (int, error) {
	if s.room <= 0 {
		return 0, errLong
	}
	first, err := s.in.Peek(1)
	if err != nil {
		return 0, err
	}
	if !s.begun {
		s.begun = true
		if start, _ := s.in.Peek(10); stated(start) != 0 {
			err := s.comment()
			s.last = ""
			return copy(p, "\n"), err
		}
	}
	if first[0] == '#' && !s.started {
		return copy(p, "\n"), s.comment()
	}
	ahead, _ := s.in.Peek(s.in.Buffered())
	ahead = ahead[:min(len(ahead), len(p), s.room)]
	if end := bytes.IndexByte(ahead, '\n'); end >= 0 {
		ahead = ahead[:end+1]
	}
	if s.started = ahead[len(ahead)-1] != '\n'; !s.started {
		s.lines++
	}
	s.room -= len(ahead)
	n := copy(p, ahead)
	return s.in.Discard(n)
}

// comment drops a line, and looks into its start for a marking.
func (s *source) comment() error {
	var start []byte
	for {
		part, err := s.in.ReadSlice('\n')
		if room := commentMax - len(start); room > 0 {
			start = append(start, part[:min(len(part), room)]...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		break
	}
	s.last = strings.TrimSpace(string(start))
	s.lines++
	s.marks.Line("line "+strconv.Itoa(s.lines), s.last)
	return nil
}

// ended reports whether nothing is left.
func (s *source) ended() bool {
	_, err := s.in.Peek(1)
	return err != nil
}

// place names a cell for people.
func place(line, column int, name string) string {
	at := "line " + strconv.Itoa(line) + ", column " + strconv.Itoa(column)
	if name != "" {
		at += " (" + intel.Show(name) + ")"
	}
	return at
}
