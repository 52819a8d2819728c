package intel

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/watchward/watchward/node/notice"
)

// A Mark is what a line says about how far it may travel.
type Mark struct {
	// TLP is the strictest marking in it, 0 if none.
	TLP notice.TLP
	// Unclear is what stands where a marking should and is none, made fit to be
	// shown: "TLP:YELLOW". It is "" if there is no such thing.
	Unclear string
	// Alone says that the line is nothing else.
	Alone bool

	open  bool // a label ends it, or fills a cell: the marking stands elsewhere
	ours  bool // that label names TLP
	colon bool // and ends in a colon
}

// colours are the words of TLP 1 and 2, and how Germans say them.
var colours = map[string]notice.TLP{
	"clear": notice.TLPClear, "white": notice.TLPClear, "weiß": notice.TLPClear, "weiss": notice.TLPClear,
	"green": notice.TLPGreen, "grün": notice.TLPGreen, "gruen": notice.TLPGreen,
	"amber": notice.TLPAmber, "bernstein": notice.TLPAmber, "amberstrict": notice.TLPAmberStrict,
	"red": notice.TLPRed, "rot": notice.TLPRed,
}

// strangers are words that are surely meant as a marking and are none of TLP's.
var strangers = words("yellow gelb orange blue blau black schwarz purple violett pink grey gray grau brown braun " +
	"rouge vert jaune ambre blanc rosso verde rojo giallo amarillo ambar ámbar blanco restricted confidential vertraulich")

// labels announce a marking where they start a line or fill a cell. Other
// things have them too, so only a colour after them counts.
var labels = words("einstufung klassifizierung kennzeichnung vertraulichkeit vertraulichkeitsstufe classification marking markierung freigabe " +
	"handling schutzstufe verteilung sensitivity weitergabe verteiler ampel sharing distribution")

// fillers stand between the label and its word: "TLP level: AMBER".
var fillers = words("level stufe einstufung klassifizierung kennzeichnung marking classification designation label colour color farbe code status is ist version")

// noMarking are words after a label that give none: prose about TLP, and the
// ways to say that there is none.
var noMarking = words("the a an this these what which how each der die das dies ein eine was wie see siehe http https www hxxp hxxps none null keine kein n unmarked mean means")

func words(s string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(s) {
		out[w] = true
	}
	return out
}

// A span of a line: where a label or a word starts and ends.
type span struct{ from, to int }

// Marking reads a line of text, a cell or a subject. A label and its word may be
// apart or not, with any punctuation or markup between: "TLP:AMBER", "TLP 2.0
// AMBER", "**TLP:** AMBER", "Einstufung: bernstein".
func Marking(line string) Mark {
	if !mayMark(line) {
		if mayClass(line) {
			return classMark(line)
		}
		return Mark{}
	}
	m, first, end := Mark{}, -1, 0
	for {
		label, ours, found := nextLabel(line, end)
		if !found {
			break
		}
		if first < 0 {
			first = label.from
		}
		end = m.after(line, label, ours)
	}
	if m.TLP == 0 && m.Unclear == "" { // Einstufung: VS-NfD
		if class := classMark(line); class != (Mark{}) {
			return class
		}
	}
	if first < 0 {
		return m
	}
	m.open = m.open && m.TLP == 0 && m.Unclear == ""
	m.Alone = (m.TLP != 0 || m.Unclear != "" || m.open) && len(line) <= 100 && bare(line[:first]) && bare(line[end:])
	return m
}

// ParseMarking reads a text that is a marking and nothing else: "AMBER",
// "tlp:amber+strict", "bernstein".
func ParseMarking(s string) (tlp notice.TLP, ok bool) {
	if tlp, err := notice.ParseTLP(s); err == nil {
		return tlp, true
	}
	if m := Marking(s); m.TLP != 0 && m.Unclear == "" && m.Alone {
		return m.TLP, true
	}
	m := Mark{}
	word := nextWord(s, 0)
	if _, known := colours[strings.ToLower(s[word.from:word.to])]; !known || !bare(s[:word.from]) {
		return 0, false
	}
	if end := m.word(s, word.from, word); m.Unclear != "" || !bare(s[end:]) {
		return 0, false
	}
	return m.TLP, true
}

// mayMark spares most lines the closer look: it wants "TLP", "Traffic", or a
// label as the first word.
func mayMark(line string) bool {
	for rest := line; ; {
		at := strings.IndexAny(rest, "tT")
		if at < 0 || at+3 > len(rest) {
			break
		}
		if strings.EqualFold(rest[at:at+3], "tlp") || len(rest) >= at+7 && strings.EqualFold(rest[at:at+7], "traffic") {
			return true
		}
		rest = rest[at+1:]
	}
	word := nextWord(line, 0)
	return isLabel(line[word.from:word.to]) || strings.IndexByte(line, '|') >= 0 && len(line) <= 4<<10 && labelledCell(line)
}

// isLabel spares most words the lower case.
func isLabel(word string) bool {
	return len(word) >= 5 && len(word) <= 21 && labels[strings.ToLower(word)]
}

// labelledCell reports whether a row of a table in Markdown has a cell that is a label.
func labelledCell(line string) bool {
	for cell := range strings.SplitSeq(line, "|") {
		word := nextWord(cell, 0)
		if isLabel(cell[word.from:word.to]) && bare(cell[word.to:]) {
			return true
		}
	}
	return false
}

// nextLabel finds the next label from at on. ours says that it names TLP.
func nextLabel(line string, at int) (label span, ours, found bool) {
	for {
		word := nextWord(line, at)
		if word.from == word.to {
			return span{}, false, false
		}
		w := line[word.from:word.to]
		if len(w) >= 3 && strings.EqualFold(w[:3], "tlp") {
			if rest := strings.ToLower(w[3:]); rest == "" || colours[rest] != 0 || strangers[rest] || isVersion(rest) {
				if inLink(line, word.from) {
					at = word.to
					continue
				}
				return span{word.from, word.from + 3}, true, true
			}
		}
		const protocol = "traffic light protocol"
		if strings.EqualFold(w, "traffic") && len(line)-word.from >= len(protocol) {
			phrase := line[word.from : word.from+len(protocol)]
			if strings.EqualFold(strings.ReplaceAll(phrase, "-", " "), protocol) {
				return span{word.from, word.from + len(protocol)}, true, true
			}
		}
		if isLabel(w) && (bare(line[:word.from]) || fillsCell(line, word)) {
			return word, false, true
		}
		at = word.to
	}
}

// after reads what follows a label and returns where that ends.
func (m *Mark) after(line string, label span, ours bool) (end int) {
	at, colon, version := label.to, false, 0
	for range 6 {
		word := nextWord(line, at)
		between := line[at:word.from]
		colon = colon || strings.ContainsAny(between, ":=：")
		w := strings.ToLower(line[word.from:word.to])
		switch {
		case w == "": // the line ends
			if bare(line[:label.from]) || fillsCell(line, label) {
				m.open, m.ours, m.colon = true, m.ours || ours, m.colon || colon && ours
			}
			return at
		case ours && isVersion(w) && version < 2: // "2.0" is two words
			version++
		case ours && fillers[w]:
		case ours && w == "tlp" && strings.Contains(between, "("): // Traffic Light Protocol (TLP): AMBER
		case strings.HasPrefix(w, "tlp"), w == "traffic": // Classification: TLP AMBER
			return word.from
		case colours[w] != 0:
			if !meant(line, word, between, ours, colon) {
				return at
			}
			return m.word(line, label.from, word)
		default:
			if m.unknown(line, label, word, w, ours, colon) {
				return word.to
			}
			if fillsCell(line, label) {
				m.open, m.ours = true, m.ours || ours
			}
			return at
		}
		at = word.to
	}
	return at
}

// meant tells a marking from a colour that happens to follow a label. Where it
// would be CLEAR or GREEN more is asked, since that could loosen.
func meant(line string, word span, between string, ours, colon bool) bool {
	next, _ := utf8.DecodeRuneInString(strings.TrimPrefix(line[word.to:], "."))
	if !colon && (strings.HasPrefix(between, ".") || line[word.to:] != "" && line[word.to] == '.' && (unicode.IsLetter(next) || unicode.IsDigit(next))) {
		return false // a name: tlp.red.example
	}
	space := !colon && between != "" && strings.TrimSpace(between) == ""
	tlp := colours[strings.ToLower(line[word.from:word.to])]
	switch {
	case !ours && space: // "marking red cells"
		return false
	case !ours && tlp < notice.TLPAmber: // "Distribution: Clear Linux"
		return !goesOn(line, word)
	case space && tlp == notice.TLPClear: // "a TLP white paper"
		return line[word.from:word.to] == strings.ToUpper(line[word.from:word.to]) || !goesOn(line, word)
	}
	return true
}

// inLink reports whether a place lies in the address of a page.
func inLink(line string, at int) bool {
	const far = 500 // bytes; a line may have a label every few
	before := line[max(0, at-far):at]
	return strings.Contains(before[strings.LastIndexAny(before, " \t\"'<>()[]")+1:], "://")
}

// word takes a colour, with what belongs to it: "AMBER+STRICT", "GREEN/AMBER".
func (m *Mark) word(line string, from int, word span) (end int) {
	tlp := colours[strings.ToLower(line[word.from:word.to])]
	next := nextWord(line, word.to)
	between, w := strings.Trim(line[word.to:next.from], "* _`"), strings.ToLower(line[next.from:next.to])
	switch {
	case w == "strict" && tlp == notice.TLPAmber && len(between) <= 2 && strings.Trim(between, "+-(&/") == "":
		tlp, word.to = notice.TLPAmberStrict, next.to
	case line[word.to:next.from] == "+" && w != "":
		m.unclear(line[from:next.to])
		return next.to
	case colours[w] != 0 && (between == "/" || between == "|" || between == "-" || between == ","):
		m.TLP = notice.Stricter(m.TLP, tlp)
		return m.word(line, from, next)
	}
	m.TLP = notice.Stricter(m.TLP, tlp)
	return word.to
}

const chatham = ":ex:chr"

// unknown looks at a word after a label that is no colour of TLP: is it meant
// as a marking?
func (m *Mark) unknown(line string, label, word span, w string, ours, colon bool) bool {
	stranger := strangers[w]
	switch {
	case !ours:
		if !stranger || !colon && !strings.Contains(line[label.to:word.from], "|") {
			return false
		}
	case strings.EqualFold(line[label.to:min(len(line), label.to+len(chatham))], chatham): // the Chatham House rule, beside a marking
		return false
	case stranger:
	case noMarking[w] && line[word.from:word.to] != "A": // "TLP: A M B E R"
		return false
	case colon:
		// "TLP:" starts something else in a sentence: a time, a link.
		if r, _ := utf8.DecodeRuneInString(w); !unicode.IsLetter(r) {
			return false
		}
	default: // "[TLP ABMER]", and not "TLP definitions"
		shouted := len(w) >= 3 && line[word.from:word.to] == strings.ToUpper(w)
		boxed := bare(line[:label.from]) && bare(line[word.to:]) && !strings.Contains(line[label.to:word.from], "|") ||
			strings.HasSuffix(strings.TrimRight(line[:label.from], " *"), "[") && strings.HasPrefix(strings.TrimLeft(line[word.to:], " *"), "]")
		if !shouted || !boxed {
			return false
		}
	}
	m.unclear(line[label.from:word.to])
	return true
}

func (m *Mark) unclear(text string) {
	if m.Unclear == "" {
		m.Unclear = Show(text)
	}
}

// goesOn reports whether a sentence goes on after a word.
func goesOn(line string, word span) bool {
	next, _ := utf8.DecodeRuneInString(strings.TrimLeft(line[word.to:], " "))
	return unicode.IsLetter(next)
}

func isVersion(w string) bool {
	switch strings.TrimPrefix(w, "v") {
	case "0", "1", "2":
		return true
	}
	return false
}

// fillsCell reports whether a word is the whole of a cell of a table in Markdown.
func fillsCell(line string, word span) bool {
	before, after := strings.TrimRight(line[:word.from], " \t*_`:"), strings.TrimLeft(line[word.to:], " \t*_`:")
	return strings.HasSuffix(before, "|") && (after == "" || after[0] == '|') || before == "" && strings.HasPrefix(after, "|")
}

// nextWord finds the next letters or digits from at on; from and to are the end
// if there are none.
func nextWord(line string, at int) span {
	is := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }
	from := strings.IndexFunc(line[at:], is)
	if from < 0 {
		return span{len(line), len(line)}
	}
	from += at
	to := strings.IndexFunc(line[from:], func(r rune) bool { return !is(r) })
	if to < 0 {
		return span{from, len(line)}
	}
	return span{from, from + to}
}

// bare reports whether a text has nothing to read.
func bare(s string) bool { return nextWord(s, 0).from == len(s) }

// Marks gathers what a text says about its marking, line by line. The zero value
// has met none.
type Marks struct {
	// TLP is the strictest so far, 0 if none.
	TLP notice.TLP
	// Unclear is the first that is there and not understood, with its place; "" if
	// there is none. What has one may be shared only when a person says how far.
	Unclear string

	labelled bool // a label was met that has its markings in cells of its own
	next     bool // it was in the line before
	ours     bool // it names TLP
	colon    bool // and ends in a colon
}

// Line adds a line, and reports whether it is a marking and nothing else.
func (m *Marks) Line(place, line string) (alone bool) { return m.line(place, line, false) }

// Text is Line for what may be the row of a table that was not recognised as one:
// a cell that looks like a marking, or like the name of a column of them, is unclear.
func (m *Marks) Text(place, line string) (alone bool) { return m.line(place, line, true) }

func (m *Marks) line(place, line string, cells bool) (alone bool) {
	mark := Marking(line)
	if m.labelled && mark == (Mark{}) {
		mark = m.cells(line)
	}
	if cells && mark == (Mark{}) {
		mark = lostCells(line)
	}
	m.Add(place, mark)
	if mark.open {
		m.labelled, m.ours, m.colon = true, mark.ours, mark.colon
	}
	m.next = mark.open || m.next && bare(line)
	return mark.Alone
}

// Add adds what was found at a place.
func (m *Marks) Add(place string, mark Mark) {
	m.TLP = notice.Stricter(m.TLP, mark.TLP)
	if m.Unclear == "" && mark.Unclear != "" {
		m.Unclear = fmt.Sprintf("%q (%s)", mark.Unclear, place)
	}
}

// cells reads a line below a label: the next cell of a table in HTML, a row of
// one in Markdown.
func (m *Marks) cells(line string) (mark Mark) {
	if bare(line) || len(line) > 4<<10 {
		return mark
	}
	row, next := strings.Contains(line, "|"), m.next
	for cell := range strings.SplitSeq(line, "|") {
		word := nextWord(cell, 0)
		w := strings.ToLower(cell[word.from:word.to])
		one := bare(cell[word.to:])
		tlp, whole := ParseMarking(cell)
		switch {
		case whole && (next && m.ours || tlp != notice.TLPClear): // "clear" may be a button
			mark.TLP, mark.Alone = notice.Stricter(mark.TLP, tlp), !row
		case whole:
		case next && !row && m.colon && colours[w] != 0:
			mark.word(cell, word.from, word)
		case one && strangers[w], one && next && !row && m.colon && w != "" && !noMarking[w] && strings.IndexFunc(w, unicode.IsDigit) < 0:
			mark.unclear(strings.TrimSpace(cell))
			mark.Alone = !row
		}
	}
	return mark
}

// lostCells reads a line as a row of a table that nobody recognised: of a cell that
// is a colour, or the name of a column of markings, nobody can say what it marks.
func lostCells(line string) (mark Mark) {
	const cellMax = 60
	at := strings.IndexAny(line, ";\t|")
	if at < 0 && (strings.IndexByte(line, ',') < 0 || strings.Contains(line, ", ")) { // commas of a sentence
		return mark
	}
	delimiters := ";\t|"
	if at < 0 {
		delimiters = ","
	}
	for cell := range strings.FieldsFuncSeq(line, func(r rune) bool { return strings.ContainsRune(delimiters, r) }) {
		cell = strings.Trim(cell, " \"'\r")
		if len(cell) < 3 || len(cell) > cellMax || len(cell) == len(line) {
			continue
		}
		word := nextWord(cell, 0)
		if word.to-word.from > 21 {
			continue
		}
		w := strings.ToLower(cell[word.from:word.to])
		if colours[w] == 0 && !strangers[w] && !labels[w] && !strings.HasPrefix(w, "tlp") && w != "traffic" {
			continue
		}
		_, colour := ParseMarking(cell)
		one := bare(cell[:word.from]) && bare(cell[word.to:])
		if colour || one && (strangers[w] || labels[w]) || strings.HasPrefix(w, "tlp") && (one || labels[w] || Marking(cell).open) {
			mark.unclear(cell)
			return mark
		}
	}
	return mark
}
