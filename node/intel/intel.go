// Package intel is what the readers of threat intelligence have in common: the
// shape of one thing found in a file, and telling formats apart. The readers
// are pure mappings from bytes to notices; they store nothing and ask nothing.
package intel

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// A Found is one thing that a reader met: a notice to take, or a refusal.
type Found struct {
	// Place says where: "line 12", "Event.Object[3].Attribute[0]".
	Place string
	// Object is the id that its source gave what it was found in, "" if none.
	Object string
	// Notice has neither Salt nor Created; nil if refused.
	Notice *notice.Notice
	// Withdrawn says that the source took it back: what was imported of it, the
	// same value under the same origin, is to be retracted.
	Withdrawn bool
	// Item is the id by which an export of this mesh knows it, nil if it comes
	// from elsewhere. Where that notice is held there is nothing to take, and
	// nothing to refuse either.
	Item *crypto.ItemID
	// TLP is the marking that the source gave, 0 if none.
	TLP notice.TLP
	// Unclear is a marking that the source has and that is not understood, with
	// its place: it may be shared only when a person says how far. "" if there is
	// none.
	Unclear string
	// Reason says why it is refused and what to do; "" if it is not.
	Reason string
	// Skipped says that nothing is wrong with what is refused: its source does
	// not mean it for detection.
	Skipped bool
	// Value is what the source has, made fit to be shown by Show.
	Value string
}

// A Stated is one stored notice as the writers of formats are given it.
type Stated struct {
	ID         crypto.ItemID
	Notice     *notice.Notice
	RefKind    notice.Kind       // of the notice that Notice.Ref names, 0 if unknown here
	RefValue   *notice.Indicator // what that one is about, nil if unknown or nothing
	TLP        notice.TLP        // as it travels, 0 if it never was marked
	Author     crypto.MemberID
	AuthorName string
	Retracted  bool // by its author
}

// ShowMax is the longest result of Show, in bytes.
const ShowMax = 120

// Show makes foreign text fit for a terminal, a log or a table: one line,
// without control, format or other invisible characters, cut at ShowMax.
func Show(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsGraphic(r) {
			r = '\uFFFD'
		}
		if b.Len()+utf8.RuneLen(r)+len("…") > ShowMax {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

// Reason is the text of a refusal's error for Found.Reason: what is wrong and
// the fix, without the field's name, which a reader's user knows.
func Reason(err error) string {
	if field := (*notice.FieldError)(nil); errors.As(err, &field) {
		return field.Reason + ": " + field.Fix
	}
	return err.Error()
}

// The formats that Sniff and package csv tell apart. Those without a reader have
// names so that a refusal can say what the file is.
const (
	FormatMISP    = "misp"
	FormatText    = "text"
	FormatCSV     = "csv" // told from text by csv.Sniff, which looks closer
	FormatHTML    = "html"
	FormatMail    = "mail" // RFC 5322, or an mbox
	FormatSTIX    = "stix"
	FormatJSON    = "json" // of a kind not known here
	FormatUTF16   = "utf-16"
	FormatZip     = "zip"
	FormatGzip    = "gzip"
	FormatPDF     = "pdf"
	FormatOpenIOC = "openioc"
	FormatXML     = "xml"
	FormatOffice  = "office"
	FormatPacked  = "packed" // by what is not opened here: 7z, rar, xz, tar …
	FormatBinary  = "binary"
)

// SniffBytes is how much of a file's start Sniff wants to see.
const SniffBytes = 64 << 10

// Sniff names the format of a file by its first bytes, SniffBytes of them if
// the file has as many.
func Sniff(head []byte) (format string) {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.format
		}
	}
	if len(head) > tarMagicAt && bytes.HasPrefix(head[tarMagicAt:], []byte("ustar")) {
		return FormatPacked
	}
	if bytes.IndexByte(head, 0) >= 0 {
		return FormatBinary
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	if len(text) > 0 && text[0] == '<' {
		return sniffMarkup(text)
	}
	if looksMail(text) {
		return FormatMail
	}
	if !looksJSON(text) {
		return FormatText
	}
	if has(text, `"spec_version"`) || has(text, `"type"`) && has(text, `"bundle"`) && has(text, `"objects"`) {
		return FormatSTIX
	}
	for _, key := range []string{`"Event"`, `"response"`, `"Attribute"`, `"Orgc"`, `"orgc_id"`, `"threat_level_id"`} {
		if has(text, key) {
			return FormatMISP
		}
	}
	if has(text, `"type"`) && (has(text, `"indicator--`) || has(text, `"sighting--`)) { // objects of STIX 2.0
		return FormatSTIX
	}
	return FormatJSON
}

// magics are the first bytes of what is no text.
var magics = [...]struct{ magic, format string }{
	{"\xff\xfe", FormatUTF16}, {"\xfe\xff", FormatUTF16}, {"PK\x03\x04", FormatZip}, {"PK\x05\x06", FormatZip},
	{"\x1f\x8b", FormatGzip}, {"%PDF-", FormatPDF}, {"{\\rtf", FormatOffice}, {"\xd0\xcf\x11\xe0", FormatOffice},
	{"7z\xbc\xaf", FormatPacked}, {"Rar!", FormatPacked}, {"\xfd7zXZ", FormatPacked}, {"BZh", FormatPacked}, {"\x28\xb5\x2f\xfd", FormatPacked},
}

const tarMagicAt = 257

// markup finds the first element: what stands before it is a declaration, a
// document type or a comment.
var markup = regexp.MustCompile(`(?is)^(?:<\?.*?\?>|<!--.*?-->|<!doctype[^>]*>|\s+)*<([a-z][a-z0-9:._-]*)`)

// sniffMarkup tells HTML from XML, and those from text that starts with "<".
func sniffMarkup(text []byte) string {
	element := markup.FindSubmatch(text)
	name := ""
	if element != nil {
		name = strings.ToLower(string(element[1]))
	}
	switch name[strings.IndexByte(name, ':')+1:] {
	case "ioc", "openioc":
		return FormatOpenIOC
	case "html", "head", "body", "title", "meta", "div", "p", "table", "ul", "ol", "pre", "h1", "h2", "article", "main", "style", "script":
		return FormatHTML
	}
	if bytes.HasPrefix(text, []byte("<?xml")) {
		return FormatXML
	}
	if len(text) > 9 && strings.EqualFold(string(text[:9]), "<!doctype") {
		return FormatHTML
	}
	return FormatText // such as <hxxp://evil[.]example/>
}

// Unreadable says what a file of a format without a reader is, and what to do.
func Unreadable(format string) string {
	what := map[string][2]string{
		FormatOpenIOC: {"OpenIOC", "ask its author for STIX 2.1 or a MISP event, or copy its values into a list, one a line"},
		FormatPDF:     {"PDF", "save it as text, or copy its values into a list"},
		FormatOffice:  {"an office document", "save it as CSV or as text in UTF-8"},
		FormatPacked:  {"an archive that is not opened here", "unpack it first; gzip and zip need not be unpacked"},
		FormatXML:     {"XML of a kind not known here", "ask its author for STIX 2.1 or a MISP event, or copy its values into a list"},
		FormatJSON:    {"JSON, but neither a MISP event nor a STIX bundle", "give one of those, CSV, or a list with one value a line"},
		FormatUTF16:   {"UTF-16 text", "save it as UTF-8"},
		FormatZip:     {"a zip archive", "unpack it first"},
		FormatGzip:    {"a gzip file", "unpack it first"},
	}[format]
	if what[0] == "" {
		what = [2]string{"not text", "give a MISP event, a STIX bundle, CSV or plain text"}
	}
	return "this is " + what[0] + ", which is not read: " + what[1]
}

// looksJSON tells JSON from text that starts with a bracket, such as the
// "[options" and "[[anchor]]" of AsciiDoc or a mutex "{46E4…}".
func looksJSON(text []byte) bool {
	if len(text) == 0 || text[0] != '{' && text[0] != '[' {
		return false
	}
	after := bytes.TrimLeft(text[1:], " \t\r\n")
	if len(after) == 0 {
		return true // "{" alone: broken off, and nothing a list would hold
	}
	if text[0] == '{' {
		return after[0] == '"' || after[0] == '}'
	}
	return after[0] == '{' || after[0] == '"' || after[0] == ']'
}

// mailFields are header fields that tell a mail from a text with colons.
var mailFields = words("received from to cc subject date message-id mime-version return-path delivered-to reply-to sender content-type dkim-signature authentication-results")

// looksMail reports whether a text starts with the header of a mail: only
// fields, two of them known, among those a From, Subject or Received.
func looksMail(text []byte) bool {
	if bytes.HasPrefix(text, []byte("From ")) { // an mbox
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	seen, folded := map[string]bool{}, false
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if folded && (line[0] == ' ' || line[0] == '\t') {
			continue
		}
		name, _, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return false
		}
		if field := strings.ToLower(string(name)); mailFields[field] {
			seen[field] = true
		}
		folded = true // it may go on in the next line
	}
	return len(seen) >= 2 && (seen["from"] || seen["subject"] || seen["received"])
}

func has(text []byte, key string) bool { return bytes.Contains(text, []byte(key)) }
