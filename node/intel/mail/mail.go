// Package mail reads indicators from a mail as it was saved (RFC 5322, MIME):
// the subject and the text, plain and HTML, decoded, as package text reads them.
// Mails in it are read as well. No other header is: the relays in Received are
// nobody's attackers.
//
// A marking anywhere in a mail marks all of it: in its subject, its texts, a mail
// in it, a header with TLP in its name, Keywords, Comments or Sensitivity, or the
// name of an attachment. A value that a mail has several times,
// as multipart/alternative does, is given once.
//
// Attachments that are not text are not read, and named. A mail that cannot be
// read to its end gives what preceded and an error with the place. An mbox is
// read if it has one mail.
package mail

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/text"
	"github.com/watchward/watchward/node/notice"
)

// Bounds of a mail.
const (
	SizeMax  = 64 << 20 // bytes of it, and of its decoded texts together
	depthMax = 10       // parts and mails in each other
	partsMax = 1000
)

// Options of Read.
type Options struct {
	// Indicator says which special addresses are taken.
	Indicator notice.Options
	// Unread is told of each part that is not read, by name, when all has been
	// read: "attachment invoice.pdf". It may be nil.
	Unread func(what string)
}

// Read calls yield for every indicator and every refusal in the mail r. An error
// of yield ends the reading and is returned as it is; any other error says what
// cannot be read and where, after what preceded it was yielded.
func Read(r io.Reader, o Options, yield func(intel.Found) error) error {
	raw, err := io.ReadAll(io.LimitReader(r, SizeMax+1))
	if err != nil {
		return fmt.Errorf("read mail: %w", err)
	}
	if len(raw) > SizeMax {
		return fmt.Errorf("read mail: it is larger than %d MiB: save it without its attachments", SizeMax>>20)
	}
	if raw, err = single(raw); err != nil {
		return fmt.Errorf("read mail: %w", err)
	}
	in := &reader{}
	broken := in.message(raw, "", 0)
	if err := in.yield(o, yield); err != nil {
		return err
	}
	if broken != nil {
		return fmt.Errorf("read mail: %w", broken)
	}
	if o.Unread != nil {
		for _, what := range in.unread {
			o.Unread(what)
		}
	}
	return nil
}

// single takes the line off that starts the mail of an mbox, which may have no other.
func single(raw []byte) ([]byte, error) {
	raw = bytes.TrimLeft(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")), " \t\r\n")
	if !bytes.HasPrefix(raw, []byte("From ")) {
		return raw, nil
	}
	_, raw, _ = bytes.Cut(raw, []byte("\n"))
	number := 1
	for line := range bytes.Lines(raw) {
		if number++; bytes.HasPrefix(line, []byte("From ")) {
			return nil, fmt.Errorf("line %d: another mail starts here: an mbox of several is not read, save each mail as a file of its own (.eml)", number)
		}
	}
	return raw, nil
}

type reader struct {
	marks  intel.Marks
	texts  []section
	size   int // of texts
	parts  int
	unread []string
}

// A section is a decoded text of a mail.
type section struct {
	place string
	kind  text.Kind
	text  []byte
}

// message reads a mail: the whole, or one in the part at path.
func (in *reader) message(raw []byte, path string, depth int) error {
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("%sits header: %w", within(path), err)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		for _, value := range m.Header[name] {
			switch {
			case strings.Contains(strings.ToLower(name), "tlp"):
				in.marks.Line(within(path)+name, name+": "+value)
			case slices.Contains(markingHeaders, name):
				if value, err = subject(value); err != nil {
					return fmt.Errorf("%s%s: %w", within(path), name, err)
				}
				in.marks.Add(within(path)+name, headerMark(name, value))
			case name == "Subject":
				if value, err = subject(value); err != nil {
					return fmt.Errorf("%sSubject: %w", within(path), err)
				}
				in.marks.Add(within(path)+"Subject", intel.Title(value))
				in.texts = append(in.texts, section{within(path) + "Subject", text.Line, []byte(value)})
			}
		}
	}
	return in.entity(textproto.MIMEHeader(m.Header), m.Body, "text/plain", path, depth)
}

// markingHeaders are those that people and mailers mark a mail in.
var markingHeaders = []string{"Keywords", "Comments", "Sensitivity", "X-Classification", "Classification"}

// headerMark reads such a header. Sensitivity has words of its own (RFC 4021): of
// them company-confidential is a marking that is not TLP's; personal and private
// say whose business it is.
func headerMark(name, value string) intel.Mark {
	if strings.EqualFold(strings.TrimSpace(value), "company-confidential") {
		return intel.Mark{Unclear: name + ": " + intel.Show(value)}
	}
	m := intel.Title(value)
	for word := range strings.SplitSeq(value, ",") { // Keywords: wave, AMBER
		if tlp, ok := intel.ParseMarking(word); ok && tlp >= notice.TLPAmber {
			m.TLP = notice.Stricter(m.TLP, tlp)
		}
	}
	return m
}

// subject decodes a subject (RFC 2047). One that stays encoded could hide a marking.
func subject(value string) (string, error) {
	words := mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
		raw, err := io.ReadAll(r)
		if err == nil {
			raw, err = decodeCharset(charset, raw)
		}
		return bytes.NewReader(raw), err
	}}
	decoded, err := words.DecodeHeader(value)
	if at := strings.Index(decoded, "=?"); err == nil && at >= 0 && strings.Count(decoded[at:], "?") >= 4 && strings.Contains(decoded[at:], "?=") {
		err = errors.New("an encoded word in it is broken")
	}
	if err != nil {
		return "", fmt.Errorf("%q: %w: save the text of the mail as a file", intel.Show(value), err)
	}
	return strings.Join(strings.Fields(decoded), " "), nil
}

// entity reads what a header describes: parts, a text, or something else. usual
// is its type where none is given.
func (in *reader) entity(h textproto.MIMEHeader, body io.Reader, usual, path string, depth int) error {
	if in.parts++; in.parts > partsMax {
		return fmt.Errorf("%sit has more than %d parts", within(path), partsMax)
	}
	if depth > depthMax {
		return fmt.Errorf("%sit lies more than %d parts deep: save it as a file of its own", within(path), depthMax)
	}
	kind, params, err := mime.ParseMediaType(cmp.Or(h.Get("Content-Type"), usual))
	if err != nil && (kind == "" || strings.HasPrefix(kind, "multipart/")) {
		return fmt.Errorf("%sits Content-Type %q: %w", within(path), intel.Show(h.Get("Content-Type")), err)
	}
	if kind == "text" { // as mailers wrote it before MIME
		kind = "text/plain"
	}
	in.marks.Add(within(path)+"its name", intel.FileName(attachment(h, params)))
	body, err = transfer(h.Get("Content-Transfer-Encoding"), body, kind)
	switch {
	case strings.HasPrefix(kind, "multipart/"):
		if err == nil {
			err = in.multipart(body, kind, params["boundary"], path, depth)
			return err
		}
	case kind == "message/rfc822" || kind == "message/global":
		var raw []byte
		if err == nil {
			raw, err = in.all(body)
		}
		if err == nil {
			return in.message(raw, path, depth+1)
		}
	case kind == "text/plain" || kind == "text/html":
		if err == nil {
			err = in.text(body, kind, params["charset"], path)
		}
	default:
		in.leave(attachment(h, params), kind, path)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s%w", within(cmp.Or(path, "body")), err)
	}
	return nil
}

// multipart reads parts in their order.
func (in *reader) multipart(body io.Reader, kind, boundary, path string, depth int) error {
	if boundary == "" {
		return fmt.Errorf("%sit is %s and names no boundary between its parts", within(path), kind)
	}
	usual := "text/plain"
	if kind == "multipart/digest" {
		usual = "message/rfc822"
	}
	parts := multipart.NewReader(body, boundary)
	for number := 1; ; number++ {
		at := strconv.Itoa(number)
		if path != "" {
			at = path + "." + at
		}
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%sthe mail ends without its boundary %q: get it again, whole", within(at), intel.Show(boundary))
		}
		if err != nil {
			return fmt.Errorf("%s%w", within(at), err)
		}
		if err := in.entity(part.Header, part, usual, at, depth+1); err != nil {
			return err
		}
	}
}

// transfer undoes a Content-Transfer-Encoding. What is not read needs none.
func transfer(encoding string, body io.Reader, kind string) (io.Reader, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "7bit", "8bit", "binary":
		return body, nil
	case "quoted-printable":
		return quotedprintable.NewReader(body), nil
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, body), nil
	}
	return nil, fmt.Errorf("%s in the Content-Transfer-Encoding %q, which is not known: save its text as a file", kind, intel.Show(encoding))
}

// all reads the rest of a part, as far as the bound of all of them allows.
func (in *reader) all(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, int64(SizeMax-in.size)+1))
	if in.size += len(raw); in.size > SizeMax {
		return nil, fmt.Errorf("its texts are larger than %d MiB: save them as files", SizeMax>>20)
	}
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends in the middle: get it again, whole")
		}
		return nil, fmt.Errorf("line %d of its text: %w", 1+bytes.Count(raw, []byte("\n")), err)
	}
	return raw, nil
}

// text sets a text aside, in UTF-8.
func (in *reader) text(body io.Reader, kind, charset, path string) error {
	raw, err := in.all(body)
	if err != nil {
		return err
	}
	if raw, err = decodeCharset(charset, raw); err != nil {
		return err
	}
	s := section{place: cmp.Or(named(path), "body"), kind: text.Plain, text: raw}
	if kind == "text/html" {
		s.kind = text.HTML
	}
	in.texts = append(in.texts, s)
	return nil
}

// attachment is the name that a part has as a file, "" if it has none.
func attachment(h textproto.MIMEHeader, params map[string]string) string {
	_, disposition, _ := mime.ParseMediaType(h.Get("Content-Disposition"))
	name := cmp.Or(disposition["filename"], params["name"])
	if decoded, err := subject(name); err == nil {
		name = decoded
	}
	return name
}

// leave notes what is not read. A signature holds nothing to read.
func (in *reader) leave(name, kind, path string) {
	if strings.HasSuffix(kind, "-signature") {
		return
	}
	if name == "" {
		in.unread = append(in.unread, cmp.Or(named(path), "body")+" ("+intel.Show(kind)+")")
		return
	}
	in.unread = append(in.unread, "attachment "+intel.Show(name))
}

// yield reads the texts, once the marking of all of them is known.
func (in *reader) yield(o Options, yield func(intel.Found) error) error {
	options := func(s section) text.Options {
		return text.Options{Indicator: o.Indicator, As: s.kind, Source: "mail", Within: s.place + ": ", Marks: in.marks}
	}
	for _, s := range in.texts {
		m, err := text.Marks(bytes.NewReader(s.text), options(s))
		if err != nil {
			return fmt.Errorf("read mail: %s: %w", s.place, err)
		}
		in.marks.TLP = notice.Stricter(in.marks.TLP, m.TLP)
		in.marks.Unclear = cmp.Or(in.marks.Unclear, m.Unclear)
	}
	seen := map[string]bool{}
	for _, s := range in.texts {
		failed := error(nil)
		err := text.Read(bytes.NewReader(s.text), options(s), func(f intel.Found) error {
			key := f.Value + "\n" + f.Reason
			if f.Notice != nil {
				key = f.Notice.Indicator.String()
			}
			if seen[key] {
				return nil
			}
			seen[key] = true
			if s.kind == text.Line {
				f.Place = s.place
			}
			failed = yield(f)
			return failed
		})
		if failed != nil {
			return failed
		}
		if err != nil {
			return fmt.Errorf("read mail: %s: %w", s.place, err)
		}
	}
	return nil
}

// named is the place of a part, within what stands before a place in it.
func named(path string) string {
	if path == "" {
		return ""
	}
	return "part " + path
}

func within(path string) string {
	switch path {
	case "":
		return ""
	case "body":
		return "body: "
	}
	return named(path) + ": "
}
