package csv

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

const (
	surveyRows = 50 // rows looked at to guess the columns
	headerMax  = 60 // bytes of a column's name
	titlesMax  = 10 // rows in front of a header
)

// A table is what the start of a file says about the rest.
type table struct {
	comma     rune
	width     int        // columns of most rows
	even      bool       // nearly all rows have as many
	rows      [][]string // the first ones, without the header
	header    []string   // nil if there is none
	commented bool       // the header is a comment line
	titles    []string   // lines in front of the header, cells joined
	headless  bool       // Options.NoHeader
	own       bool       // Writer wrote it
	marks     intel.Marks
	role      []role
	marked    bool   // a row was met that has something in a column of markings
	unmarked  string // the first that has nothing there, met before such a row; "" if none was
}

// survey reads the start of a table with each delimiter, and keeps the reading
// in which most rows have the same number of columns.
func survey(head []byte, o Options) *table {
	cut := len(head) >= headMax
	head = bytes.TrimPrefix(head, []byte(bom))
	commas := []rune{',', ';', '\t', '|'}
	if comma := stated(head); comma != 0 {
		commas = []rune{comma}
	}
	best := &table{comma: commas[0], width: 1}
	score := 0
	for _, comma := range commas {
		t := &table{comma: comma, headless: o.NoHeader}
		last := t.sample(head, cut)
		same := t.measure()
		t.findHeader(last)
		if comma == '|' && bytes.HasPrefix(bytes.TrimSpace(head), []byte("|")) {
			continue // a table of Markdown
		}
		if t.named() { // by this delimiter the header has names, which is no chance
			same += surveyRows
		}
		if t.width > 1 && (same > score || same == score && t.width > best.width) {
			best, score = t, same
		} else if score == 0 && comma == commas[0] {
			best = t
		}
	}
	return best
}

// sample reads the first rows, and returns the last comment in front of them.
func (t *table) sample(head []byte, cut bool) (comment string) {
	src := &source{in: newBuffered(head), room: headMax}
	rows := newRows(src, t.comma)
	for len(t.rows) <= surveyRows {
		cells, err := rows.Read()
		if err != nil {
			if len(t.rows) == 0 {
				comment = src.last
			}
			break
		}
		if len(t.rows) == 0 {
			comment = src.last
		}
		t.rows = append(t.rows, slices.Clone(cells))
	}
	if cut && src.ended() && len(t.rows) > 1 { // the last row may go on
		t.rows = t.rows[:len(t.rows)-1]
	}
	// The marking may stand below the rows looked at, anywhere in the head.
	number := 0
	for line := range bytes.Lines(head) {
		if number++; bytes.HasPrefix(line, []byte("#")) {
			t.marks.Line("line "+strconv.Itoa(number), string(line[:min(len(line), commentMax)]))
		}
	}
	return comment
}

// measure finds how wide most rows are, and how many are so.
func (t *table) measure() int {
	count := map[int]int{}
	for _, row := range t.rows {
		count[len(row)]++
	}
	for width, n := range count {
		if n > count[t.width] || n == count[t.width] && width > t.width {
			t.width = width
		}
	}
	t.even = 10*count[t.width] >= 9*len(t.rows)
	return count[t.width]
}

// findHeader takes the first row, or the comment before it, for the header if
// it reads like one: it has a name known here, and is not itself values.
func (t *table) findHeader(comment string) {
	if t.headless || len(t.rows) == 0 && comment == "" {
		return
	}
	if at := t.headerAt(); at >= 0 {
		for _, row := range t.rows[:at] {
			t.titles = append(t.titles, joined(row))
		}
		t.header, t.rows = t.rows[at], t.rows[at+1:]
	} else if names := t.split(comment); len(names) == t.width && t.width > 1 && readsAsHeader(names) {
		t.header, t.commented = names, true
	}
	if t.header != nil {
		t.width = len(t.header)
	}
	t.own = slices.Equal(t.header, Header)
}

// headerAt finds the row that reads as a header, -1 if none does: one that names a
// column of values, perhaps below titles, which have fewer cells in use, or the first.
func (t *table) headerAt() int {
	titled := 0 // most cells in use of a title
	for i, row := range t.rows[:min(len(t.rows), 1+titlesMax)] {
		n := used(row)
		if readsAsHeader(row) && namesColumns(row) && (i == 0 || n >= 2 && (titled <= 1 || 2*titled <= n)) {
			return i
		}
		titled = max(titled, n)
	}
	if len(t.rows) > 0 && readsAsHeader(t.rows[0]) {
		return 0
	}
	return -1
}

// named reports whether the header names a column of values among others, and
// at least half of the rows that have more than one cell are as wide as it.
func (t *table) named() bool {
	if len(t.header) < 2 || !namesColumns(t.header) {
		return false
	}
	as, all := 0, 0
	for _, row := range t.rows {
		if len(row) == len(t.header) {
			as++
		}
		if len(row) > 1 {
			all++
		}
	}
	return as > 0 && 2*as >= all
}

// namesColumns reports whether a row has the name of a column of values.
func namesColumns(row []string) bool {
	return slices.ContainsFunc(row, func(c string) bool { return headed(c).name == "value" })
}

// used counts the cells of a row that say something.
func used(row []string) (n int) {
	for _, c := range row {
		if strings.TrimSpace(c) != "" {
			n++
		}
	}
	return n
}

// joined writes a row of few cells as the line that it is.
func joined(row []string) string {
	var out []string
	for _, c := range row {
		if c = strings.TrimSpace(c); c != "" {
			out = append(out, c)
		}
	}
	return strings.Join(out, " | ")
}

// split reads a comment line as a row of names.
func (t *table) split(comment string) []string {
	comment = strings.TrimSpace(strings.TrimPrefix(strings.TrimLeft(comment, "# "), "fields\t")) // Zeek says #fields
	names, err := newRows(strings.NewReader(comment), t.comma).Read()
	if err != nil {
		return nil
	}
	return names
}

func readsAsHeader(cells []string) bool {
	known, values := 0, 0
	for _, c := range cells {
		if len(c) > headerMax {
			return false
		}
		if headed(c).name != "" {
			known++
		} else if i, err := notice.Detect(c, notice.Options{AllowSpecial: true}); err == nil && i.Type != notice.TypeFilename {
			values++
		}
	}
	return known > values
}

// normal writes a header as byHeader has it: "IOC Type" is ioc_type.
func normal(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	return strings.Join(words, "_")
}

// roles decides which column is what: as it was told, or by a guess.
func (t *table) roles(told string) error {
	if told != "" {
		return t.told(told)
	}
	if err := t.guessed(); err != nil {
		return err
	}
	if !t.hasValue() {
		return fmt.Errorf("no column with values was found: say which it is with --columns value=NUMBER; the columns are %s", t.names())
	}
	return nil
}

func (t *table) hasValue() bool {
	return slices.ContainsFunc(t.role, func(r role) bool { return r.name == "value" })
}

// guessed finds the roles by the header, else by what the first rows hold.
func (t *table) guessed() error {
	t.role = make([]role, max(t.width, len(t.header)))
	if t.header == nil {
		t.byContent()
		t.findMarkings()
		return nil
	}
	taken := map[role]bool{}
	for i, name := range t.header {
		if r := headed(name); r.name != "" && !taken[r] {
			t.role[i], taken[r] = r, !isMarking(r)
		}
	}
	if t.own {
		return nil
	}
	t.dropForeignTypes()
	t.dropContext()
	t.findMarkings()
	if !t.hasValue() && slices.ContainsFunc(t.role, isMarking) { // no list either: there the markings would be lost
		t.byContent()
	}
	return nil
}

func isMarking(r role) bool { return r.name == "tlp" || r.name == "sharing" }

// findMarkings takes the columns in which most cells are markings, whatever
// they are called.
func (t *table) findMarkings() {
	for i, r := range t.role {
		if r.name != "" && r.name != "sharing" {
			continue
		}
		grade := i < len(t.header) && grades[normal(t.header[i])]
		found, all := 0, 0
		for _, row := range t.rows {
			if i >= len(row) || empty(row[i]) {
				continue
			}
			all++
			if _, ok := intel.ParseMarking(row[i]); ok && (!grade || intel.Marking(row[i]).TLP != 0) {
				found++
			}
		}
		if 2*found > all {
			t.role[i] = role{name: "tlp"}
		}
	}
}

// dropForeignTypes leaves out a column of types whose words are not types:
// "phishing", "c2".
func (t *table) dropForeignTypes() {
	for i, r := range t.role {
		if r.name != "type" && r.name != "kind" {
			continue
		}
		known, all := 0, 0
		for _, row := range t.rows {
			if i >= len(row) || row[i] == "" {
				continue
			}
			all++
			_, err := notice.ParseKind(row[i])
			if r.name == "kind" && err == nil || r.name == "type" && knownType(row[i]) {
				known++
			}
		}
		if 2*known < all {
			t.role[i] = role{}
		}
	}
}

// dropContext leaves out what is context where other columns are values.
func (t *table) dropContext() {
	isContext := func(r role) bool { return slices.Contains(contextKinds, r.kind) }
	if !slices.ContainsFunc(t.role, func(r role) bool { return r.name == "value" && !isContext(r) }) {
		return
	}
	for i, r := range t.role {
		if r.name == "value" && isContext(r) {
			t.role[i] = role{}
		}
	}
}

// byContent takes the columns in which at least four of five cells look like
// values, the first where several have mostly the same type; and a column of
// types.
func (t *table) byContent() {
	taken := map[string]bool{}
	for i, r := range t.role {
		if r.name != "" {
			continue
		}
		found := map[string]int{}
		all, values := 0, 0
		for _, row := range t.rows {
			if i < len(row) && !empty(row[i]) {
				what, isValue := looks(row[i])
				found[what]++
				all++
				if isValue {
					values++
				}
			}
		}
		delete(found, "")
		most := ""
		for _, what := range slices.Sorted(maps.Keys(found)) {
			if found[what] > found[most] {
				most = what
			}
		}
		switch {
		case most == "" || taken[most]:
		case 5*values >= 4*all:
			t.role[i], taken[most] = role{name: "value", kind: "value"}, true
		case 5*found[most] >= 4*all && most == "type":
			t.role[i], taken[most] = role{name: most}, true
		}
	}
}

// looks says what a cell looks like, "" for nothing that is read.
func looks(cell string) (what string, isValue bool) {
	if knownType(cell) {
		return "type", false
	}
	if i, err := notice.Detect(cell, notice.Options{AllowSpecial: true}); err == nil {
		switch i.Type {
		case notice.TypeIPv4, notice.TypeIPv6, notice.TypeCIDR:
			return "address", true
		case notice.TypeFilename, notice.TypeASN, notice.TypeEmail: // mostly context
			return "", false
		}
		return i.Type.String(), true
	}
	return "", false
}

// String says which column is what, and what was passed over in front of them:
// value=2 (ioc), type=1 (ioc_type).
func (t *table) String() string {
	var out []string
	for i, r := range t.role {
		if r.name == "" {
			continue
		}
		name := r.name
		if r.kind != "" {
			name = strings.Replace(r.kind, "host", "domain", 1)
		}
		text := name + "=" + strconv.Itoa(i+1)
		if i < len(t.header) {
			text += " (" + intel.Show(t.header[i])
			if r.name == "sharing" {
				text += ": what is not TLP in it needs --tlp to be shared"
			}
			text += ")"
		}
		out = append(out, text)
	}
	said := strings.Join(out, ", ")
	if n := len(t.titles); n > 0 {
		said += fmt.Sprintf("; %d in front of the header passed over: %q", n, intel.Show(t.titles[0]))
	}
	return said
}

// names lists the columns for somebody who has to choose.
func (t *table) names() string {
	cells := t.header
	if cells == nil && len(t.rows) > 0 {
		cells = t.rows[0]
	}
	var out []string
	for i, c := range cells[:min(len(cells), 12)] {
		out = append(out, fmt.Sprintf("%d %q", i+1, intel.Show(c)))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}
