package api

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The words, numbers and strings of a jsonReader (RFC 8259).

func (r *jsonReader) take(c byte) bool {
	if r.pos < len(r.s) && r.s[r.pos] == c {
		r.pos++
		return true
	}
	return false
}

func (r *jsonReader) space() {
	for r.pos < len(r.s) {
		switch r.s[r.pos] {
		case ' ', '\t', '\r', '\n':
			r.pos++
		default:
			return
		}
	}
}

// number reads a number by the grammar of RFC 8259, as text.
func (r *jsonReader) number() (string, error) {
	start := r.pos
	digits := func() bool {
		from := r.pos
		for r.pos < len(r.s) && r.s[r.pos] >= '0' && r.s[r.pos] <= '9' {
			r.pos++
		}
		return r.pos > from
	}
	r.take('-')
	ok := r.take('0') || digits()
	if ok && r.take('.') {
		ok = digits()
	}
	if ok && (r.take('e') || r.take('E')) {
		if !r.take('-') {
			r.take('+')
		}
		ok = digits()
	}
	if !ok {
		return "", r.broken("this is not a number")
	}
	if r.pos-start > jsonNumberMax {
		return "", r.broken(fmt.Sprintf("a number has more than %d characters", jsonNumberMax))
	}
	return r.s[start:r.pos], nil
}

// rawString reads a string. Without escapes it shares the text's memory.
func (r *jsonReader) rawString() (string, error) {
	start := r.pos + 1
	for i := start; i < len(r.s); i++ {
		switch c := r.s[i]; {
		case c == '"':
			r.pos = i + 1
			if i-start > jsonStringMax {
				return "", r.tooLong()
			}
			return r.s[start:i], nil
		case c == '\\':
			return r.escaped(start, i)
		case c < ' ':
			r.pos = i
			return "", r.broken("a control character in a text: escape it")
		}
	}
	r.pos = len(r.s)
	return "", r.broken("a text is not closed")
}

func (r *jsonReader) tooLong() error {
	return r.broken(fmt.Sprintf("a text is longer than %d bytes", jsonStringMax))
}

// escaped goes on with a string whose first backslash is at i.
func (r *jsonReader) escaped(start, i int) (string, error) {
	out := append(make([]byte, 0, i-start+32), r.s[start:i]...)
	for r.pos = i; r.pos < len(r.s); {
		switch c := r.s[r.pos]; {
		case c == '"':
			r.pos++
			return string(out), nil
		case c == '\\':
			var err error
			if out, err = r.escape(out); err != nil {
				return "", err
			}
		case c < ' ':
			return "", r.broken("a control character in a text: escape it")
		default:
			out = append(out, c)
			r.pos++
		}
		if len(out) > jsonStringMax {
			return "", r.tooLong()
		}
	}
	return "", r.broken("a text is not closed")
}

func (r *jsonReader) escape(out []byte) ([]byte, error) {
	if r.pos+1 >= len(r.s) {
		return nil, r.broken("a text is not closed")
	}
	c := r.s[r.pos+1]
	if at := strings.IndexByte(`"\/bfnrt`, c); at >= 0 {
		r.pos += 2
		return append(out, "\"\\/\b\f\n\r\t"[at]), nil
	}
	if c != 'u' {
		return nil, r.broken("an unknown escape in a text")
	}
	unit, ok := r.unit()
	if ok && utf16.IsSurrogate(unit) {
		low, second := r.unit()
		unit = utf16.DecodeRune(unit, low)
		ok = second && unit != utf8.RuneError
	}
	if !ok {
		return nil, r.broken(`an escape \u… that is no character`)
	}
	return utf8.AppendRune(out, unit), nil
}

// unit reads one \uXXXX.
func (r *jsonReader) unit() (rune, bool) {
	if r.pos+6 > len(r.s) || r.s[r.pos:r.pos+2] != `\u` {
		return 0, false
	}
	n, err := strconv.ParseUint(r.s[r.pos+2:r.pos+6], 16, 16)
	if err != nil {
		return 0, false
	}
	r.pos += 6
	return rune(n), true
}

// cut returns at most n bytes of s, whole characters only.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func keySegment(key string) segment {
	if key == "" {
		return segment{key: `""`}
	}
	return segment{key: cut(key, jsonKeyShownMax)}
}
