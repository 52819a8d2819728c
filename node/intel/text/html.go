package text

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/watchward/watchward/node/intel"
)

// inline are the elements that do not end a line of text.
var inline = map[atom.Atom]bool{
	atom.A: true, atom.Abbr: true, atom.B: true, atom.Bdi: true, atom.Bdo: true, atom.Cite: true, atom.Code: true, atom.Del: true,
	atom.Dfn: true, atom.Em: true, atom.Font: true, atom.I: true, atom.Ins: true, atom.Kbd: true, atom.Mark: true, atom.Q: true, atom.S: true,
	atom.Samp: true, atom.Small: true, atom.Span: true, atom.Strong: true, atom.Sub: true, atom.Sup: true, atom.Tt: true, atom.U: true,
	atom.Var: true, atom.Wbr: true, atom.Img: true,
}

// A page collects the text of HTML until a line of it ends.
type page struct {
	line   bytes.Buffer
	start  int // line of the source where it began
	number int // line of the source
	pre    int // open <pre>
	skip   atom.Atom
	linked bool // text in a link that works stands in the line
	opened bool // an <html> that has not ended
}

// htmlMarks looks for the marking in the start of a page: its markup apart, as
// the cells of a table stand in lines of their own.
func htmlMarks(head []byte, o Options) intel.Marks {
	o.As = HTML
	marks, _ := Marks(bytes.NewReader(head), o) // what is wrong with it is found again
	return marks
}

// html reads a page as it streams by.
func (in *reader) html(r io.Reader) error {
	z := html.NewTokenizer(r)
	z.SetMaxBuf(lineMax)
	p := &page{number: 1}
	for {
		kind := z.Next()
		lines := bytes.Count(z.Raw(), []byte("\n"))
		var err error
		switch kind {
		case html.ErrorToken:
			if err = z.Err(); errors.Is(err, io.EOF) {
				return in.endHTML(p, z.Raw())
			}
			if errors.Is(err, html.ErrBufferExceeded) {
				err = errors.New("a piece of text is longer than 1 MiB: break it up")
			}
			return fmt.Errorf("read HTML: line %d: %w", p.number, err)
		case html.TextToken:
			if p.skip == 0 {
				err = in.htmlText(p, z.Text())
			}
		case html.CommentToken:
			err = in.comment(p, z)
		case html.StartTagToken, html.SelfClosingTagToken:
			err = in.open(p, z)
		case html.EndTagToken:
			name, _ := z.TagName()
			err = in.close(p, atom.Lookup(name))
		}
		if err != nil {
			return err
		}
		p.number += lines
	}
}

// endHTML reads the last line, of a page that is whole: what is missing may have
// its marking.
func (in *reader) endHTML(p *page, rest []byte) error {
	number := p.number + bytes.Count(rest, []byte("\n"))
	switch {
	case len(rest) > 0:
		return fmt.Errorf("read HTML: line %d: it breaks off in the middle of a tag: get it again, whole", number)
	case p.opened:
		return fmt.Errorf("read HTML: line %d: it breaks off, there is no </html>: get it again, whole", number)
	}
	return in.endLine(p)
}

// comment looks for a marking in a comment.
func (in *reader) comment(p *page, z *html.Tokenizer) error {
	if raw := z.Raw(); len(raw) > 0 && raw[len(raw)-1] != '>' {
		return fmt.Errorf("read HTML: line %d: it breaks off in a comment that starts here: get it again, whole", p.number)
	}
	number := p.number
	for line := range strings.Lines(string(z.Text())) {
		in.marks.Line(in.at(number), strings.TrimSpace(line))
		number++
	}
	return nil
}

// attribute looks for a marking in an attribute: what stands for a picture, what
// is said of the page, and names that a style goes by.
func (in *reader) attribute(p *page, key, value string) {
	switch {
	case strings.Contains(key, "tlp"): // data-tlp="amber"
		value = key + ": " + value
	case key != "alt" && key != "title" && key != "content" && key != "class" && key != "id":
		return
	}
	in.marks.Add(in.at(p.number), intel.Marking(value))
}

// htmlText adds text to the line. Only in <pre> a line of the source is one.
func (in *reader) htmlText(p *page, text []byte) error {
	number := p.number
	for {
		line, rest, more := bytes.Cut(text, []byte("\n"))
		if p.line.Len() == 0 && len(bytes.TrimSpace(line)) > 0 {
			p.start = number
		}
		if p.line.Len() > 0 || len(bytes.TrimSpace(line)) > 0 {
			p.line.Write(line)
		}
		if !more {
			break
		}
		number++
		text = rest
		if p.pre > 0 {
			if err := in.endLine(p); err != nil {
				return err
			}
		} else if p.line.Len() > 0 {
			p.line.WriteByte(' ')
		}
	}
	if p.line.Len() > lineMax { // a paragraph without end
		return in.endLine(p)
	}
	return nil
}

func (in *reader) open(p *page, z *html.Tokenizer) error {
	name, attributes := z.TagName()
	tag := atom.Lookup(name)
	switch tag {
	case atom.Script, atom.Style, atom.Template:
		p.skip = tag
	case atom.Pre, atom.Textarea:
		p.pre++
	case atom.Html:
		p.opened = true
	}
	if !inline[tag] {
		if err := in.endLine(p); err != nil {
			return err
		}
	}
	for attributes {
		var key, value []byte
		key, value, attributes = z.TagAttr()
		in.attribute(p, string(key), string(value))
		if tag != atom.A || string(key) != "href" {
			continue
		}
		target := strings.TrimSpace(string(value))
		if isDefanged(target) {
			if p.line.Len() == 0 {
				p.start = p.number
			}
			p.line.WriteString(" " + target + " ")
			continue
		}
		p.linked = p.linked || target != "" && target[0] != '#'
	}
	return nil
}

func (in *reader) close(p *page, tag atom.Atom) error {
	if tag == p.skip {
		p.skip = 0
	}
	if tag == atom.Html {
		p.opened = false
	}
	if tag == atom.Pre || tag == atom.Textarea {
		p.pre = max(0, p.pre-1)
	}
	if inline[tag] {
		return nil
	}
	return in.endLine(p)
}

// endLine reads what was collected. The text of a link is not alone: it names
// where the link leads.
func (in *reader) endLine(p *page) error {
	text := p.line.Bytes()
	if p.linked {
		text = append(text, " (link)"...)
	}
	in.place = in.at(p.start)
	err := error(nil)
	if p.line.Len() > 0 {
		err = in.line(text)
	}
	p.line.Reset()
	p.linked = false
	return err
}
