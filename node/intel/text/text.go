// Package text reads indicators from plain text, Markdown and HTML: lists with
// one value a line, and prose such as an e-mail or a report. What it finds becomes notices of the
// kind indicator with the origin "text".
//
// The first 64 KiB decide which of the two a file is: a list, if more than half
// of its lines start with a value.
//
// In a list a line may be "value", "value # comment", "value,comment", "value
// name" (as sha256sum prints it), "type,value", or a line of a hosts file. A
// line that gives nothing is refused with its number. Lines that start with #,
// ; or // are comments.
//
// In prose only what nobody writes by chance is taken: defanged URLs, names and
// e-mail addresses, IP addresses, hashes, JA4 fingerprints and Bitcoin
// addresses, and a name that stands alone on its line. A link that still works
// is skipped: in prose it mostly leads to the report, not to the attacker. Lines that give nothing are no refusals.
//
// HTML is prose whose lines are its paragraphs, cells and items; a name that
// stands alone in one counts, unless it is a link. The target of a link that
// works is never looked at, one that is defanged is. Comments, what stands for a
// picture, names of styles and <meta> are looked at for a marking. A page that
// breaks off is an error: its marking may be in the part that is missing.
//
// A marking ("TLP:AMBER", in any line) marks the file: anywhere in its first
// 64 KiB all of it, later what follows (Options.Marked is told of all). The
// strictest counts. One that is not understood ("TLP:YELLOW") does the same, and so
// does one in a cell of a table that was not recognised: Found.Unclear has it.
package text

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"html"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

const (
	lineMax = 1 << 20  // bytes; a longer line is refused and never held
	headMax = 64 << 10 // bytes looked at before the first line is read
	bom     = "\xef\xbb\xbf"
)

// Options of Read.
type Options struct {
	// Indicator says which special addresses are taken.
	Indicator notice.Options
	// As says what the text is, for somebody who knows; the zero value looks.
	As Kind
	// Source is the origin of what is found, "text" if empty.
	Source string
	// Within is put before every place: "part 2: ".
	Within string
	// Marks is what is known of its marking before it is read.
	Marks intel.Marks
	// Marked is told, once all has been read, what the whole is marked as. It may
	// be nil.
	Marked func(intel.Marks)
}

// A Kind of text.
type Kind int

const (
	Looked Kind = iota // found by looking
	Plain              // a list or prose
	HTML
	Line // one line of prose
)

// Read calls yield for every indicator and every refusal in r, in order. An
// error of yield ends the reading and is returned as it is; other errors are
// those of r, or say that r is no text.
func Read(r io.Reader, o Options, yield func(intel.Found) error) error {
	buffered := bufio.NewReaderSize(r, headMax)
	head, err := buffered.Peek(headMax)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read text: %w", err)
	}
	format := intel.Sniff(head)
	switch {
	case o.As == HTML:
		format = intel.FormatHTML
	case o.As != Looked:
		format = intel.FormatText
	}
	switch format {
	case intel.FormatUTF16, intel.FormatZip, intel.FormatGzip, intel.FormatPDF, intel.FormatOffice, intel.FormatPacked, intel.FormatOpenIOC:
		return fmt.Errorf("read text: %s", intel.Unreadable(format))
	}
	if bytes.HasPrefix(head, []byte(bom)) {
		_, _ = buffered.Discard(len(bom))
		head = head[len(bom):]
	}
	in := &reader{options: o, yield: yield, marks: o.Marks}
	if format == intel.FormatHTML { // never a list: the words of a menu are no values
		in.add(htmlMarks(head, o))
		err = in.html(buffered)
	} else {
		in.survey(head)
		err = in.lines(buffered)
	}
	if err == nil && o.Marked != nil {
		o.Marked(in.marks)
	}
	return err
}

// Marks reads a text, whose kind is known, to its end and for its marking only.
func Marks(r io.Reader, o Options) (intel.Marks, error) {
	in := &reader{options: o, only: true}
	if o.As == HTML {
		return in.marks, in.html(r)
	}
	err := in.lines(bufio.NewReaderSize(r, headMax))
	return in.marks, err
}

// lines reads plain text.
func (in *reader) lines(buffered *bufio.Reader) error {
	for number := 1; ; number++ {
		line, long, err := readLine(buffered)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read text: line %d: %w", number, err)
		}
		in.place = in.at(number)
		if long {
			err = in.refuse(string(line), "the line is longer than 1 MiB: break it up")
		} else {
			err = in.line(line)
		}
		if err != nil {
			return err
		}
	}
}

type reader struct {
	options Options
	yield   func(intel.Found) error
	list    bool // most lines are values
	marks   intel.Marks
	only    bool // the marking is looked for, and nothing else
	place   string
}

// at names a line.
func (in *reader) at(number int) string { return in.options.Within + "line " + strconv.Itoa(number) }

// add takes the marking that was found ahead.
func (in *reader) add(m intel.Marks) {
	in.marks.TLP = notice.Stricter(in.marks.TLP, m.TLP)
	in.marks.Unclear = cmp.Or(in.marks.Unclear, m.Unclear)
}

// readLine returns the next line without its end, or the start of one that is
// too long. It returns io.EOF only when nothing is left.
func readLine(r *bufio.Reader) (line []byte, long bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		switch {
		case long: // read on to its end and drop it
		case len(line)+len(part) > lineMax+2:
			line, long = append(line, part...)[:intel.ShowMax], true
		default:
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && (len(line) > 0 || long):
			return line, long, nil
		case err != nil:
			return nil, false, err
		}
		return bytes.TrimRight(line, "\r\n"), long, nil
	}
}

// survey decides from the start of the file whether it is a list, and looks
// for its marking.
func (in *reader) survey(head []byte) {
	lines := bytes.Split(head, []byte("\n"))
	if len(head) >= headMax-len(bom) && len(lines) > 1 {
		lines = lines[:len(lines)-1] // cut in the middle
	}
	all, starting := 0, 0
	marks, ending := intel.Marks{}, notice.TLP(0)
	for i, raw := range lines {
		line := unescape(strings.TrimSpace(string(raw)))
		if in.mark(&marks, in.at(i+1), line) {
			continue
		}
		if line == "" || comment(line) {
			continue
		}
		all++
		if startsWithValue(line) {
			starting++
		}
		ending = notice.Stricter(ending, listMarking(line))
	}
	in.list = 2*starting > all && in.options.As != Line
	if in.list {
		marks.TLP = notice.Stricter(marks.TLP, ending)
	}
	in.add(marks)
}

// mark adds what a line says of the marking, and reports whether it is nothing
// else. The cells of HTML have lines of their own.
func (in *reader) mark(marks *intel.Marks, place, line string) (alone bool) {
	if in.options.As == HTML {
		return marks.Line(place, line)
	}
	return marks.Text(place, line)
}

// startsWithValue reports whether a line looks like one of a list.
func startsWithValue(line string) bool {
	line = cutComment(line)
	first, _, more := strings.Cut(line, " ")
	if !more && !strings.ContainsAny(first, "\t,") {
		return !strings.HasPrefix(first, "|") && !strings.HasPrefix(first, "[") // one word; no AsciiDoc
	}
	for _, v := range []string{first, field(line)} {
		if i, err := notice.Detect(v, notice.Options{AllowSpecial: true}); err == nil && i.Type != notice.TypeFilename {
			return true
		}
	}
	if _, err := notice.ParseType(strings.TrimSuffix(field(line), ":")); err == nil {
		return true
	}
	// A file's name with spaces: from the drive on, or a few words.
	i, err := notice.Detect(line, notice.Options{AllowSpecial: true})
	return err == nil && i.Type == notice.TypeFilename &&
		(strings.HasPrefix(line[1:], `:\`) || !strings.Contains(line, `\`) && strings.Count(line, " ") < 6)
}

func comment(line string) bool {
	return strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") || strings.HasPrefix(line, "//")
}

// line reads one line of any kind.
func (in *reader) line(raw []byte) error {
	line := unescape(strings.TrimSpace(string(raw)))
	if alone := in.mark(&in.marks, in.place, line); in.only || line == "" {
		return nil
	} else if !utf8.Valid(raw) {
		return in.refuse(string(raw), "the line is not valid UTF-8: save the file as UTF-8")
	} else if alone || comment(line) {
		return nil
	}
	if !in.list {
		_, err := in.prose(line)
		return err
	}
	in.marks.TLP = notice.Stricter(in.marks.TLP, listMarking(line))
	value, indicator, err := listValue(line, in.options.Indicator)
	if err == nil {
		return in.take(value, indicator)
	}
	// A sentence in a list: "1. hxxp://evil[.]example" still has something.
	if found, err := in.prose(line); found || err != nil {
		return err
	}
	return in.refuse(value, intel.Reason(err))
}

// entity is a character as HTML writes it, which Markdown and mails have too.
// Only those that end in ";" are undone: a URL may have "&copy=1" in it.
var entity = regexp.MustCompile(`(?i)&(?:#\d{1,7}|#x[0-9a-f]{1,6}|amp|lt|gt|quot|nbsp|period|colon|sol|commat|lsqb|rsqb|lbrack|rbrack|lpar|rpar|lowbar|hyphen);`)

func unescape(line string) string {
	if !strings.Contains(line, "&") {
		return line
	}
	return entity.ReplaceAllStringFunc(line, html.UnescapeString)
}

func (in *reader) take(value string, indicator notice.Indicator) error {
	return in.yield(intel.Found{Place: in.place, TLP: in.marks.TLP, Unclear: in.marks.Unclear, Value: intel.Show(value), Notice: &notice.Notice{
		Kind: notice.KindIndicator, Indicator: &indicator, Origin: &notice.Origin{Source: cmp.Or(in.options.Source, "text"), TLP: in.marks.TLP},
	}})
}

func (in *reader) refuse(value, reason string) error { return in.leave(value, reason, false) }

// pass leaves out what is not meant, with which nothing is wrong.
func (in *reader) pass(value, reason string) error { return in.leave(value, reason, true) }

func (in *reader) leave(value, reason string, skipped bool) error {
	if in.only {
		return nil
	}
	return in.yield(intel.Found{Place: in.place, TLP: in.marks.TLP, Unclear: in.marks.Unclear, Value: intel.Show(value), Reason: reason, Skipped: skipped})
}
