// Package intel is what the readers of threat intelligence have in common: the
// shape of one thing found in a file, and telling formats apart. The readers
// are pure mappings from bytes to notices; they store nothing and ask nothing.
package intel

import (
	"bytes"
	"errors"
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
	// Notice has neither Salt nor Created; nil if refused.
	Notice *notice.Notice
	// Withdrawn says that the source took it back: what was imported of it, the
	// same value under the same origin, is to be retracted.
	Withdrawn bool
	// TLP is the marking that the source gave, 0 if none.
	TLP notice.TLP
	// Reason says why it is refused and what to do; "" if it is not.
	Reason string
	// Value is what the source has, made fit to be shown by Show.
	Value string
}

// A Stated is one stored notice as the writers of formats are given it.
type Stated struct {
	ID         crypto.ItemID
	Notice     *notice.Notice
	RefKind    notice.Kind // of the notice that Notice.Ref names, 0 if unknown here
	TLP        notice.TLP  // as it travels, 0 if it never was marked
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

// The formats that Sniff tells apart. Only MISP, STIX and Text have a reader; the
// others have names so that a refusal can say what the file is.
const (
	FormatMISP   = "misp"
	FormatText   = "text"
	FormatSTIX   = "stix"
	FormatJSON   = "json" // of a kind not known here
	FormatUTF16  = "utf-16"
	FormatZip    = "zip"
	FormatGzip   = "gzip"
	FormatPDF    = "pdf"
	FormatXML    = "xml"
	FormatBinary = "binary"
)

// SniffBytes is how much of a file's start Sniff wants to see.
const SniffBytes = 64 << 10

// Sniff names the format of a file by its first bytes, SniffBytes of them if
// the file has as many.
func Sniff(head []byte) (format string) {
	for _, m := range []struct{ magic, format string }{
		{"\xff\xfe", FormatUTF16}, {"\xfe\xff", FormatUTF16}, {"PK\x03\x04", FormatZip},
		{"\x1f\x8b", FormatGzip}, {"%PDF-", FormatPDF},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.format
		}
	}
	if bytes.IndexByte(head, 0) >= 0 {
		return FormatBinary
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	if bytes.HasPrefix(text, []byte("<?xml")) {
		return FormatXML
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

func has(text []byte, key string) bool { return bytes.Contains(text, []byte(key)) }
