package api

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of a JSON body. Its size is limited before it is read.
const (
	jsonDepthMax     = 32
	jsonNumberMax    = 32   // bytes of a number
	jsonKeysMax      = 64   // members of one object
	jsonStringMax    = 4096 // bytes of a string, decoded
	jsonKeyShownMax  = 64
	locationMax      = 200
	jsonLocationRoot = "body"
)

// A jsonReader reads one JSON text strictly: valid UTF-8, no duplicate or
// unknown keys, bounded depth, nothing after the value. It exists because
// encoding/json takes invalid UTF-8, duplicate keys and names in any case, stops
// at the first wrong member, and costs too much for ten thousand values.
//
// Two kinds of errors: a broken text ends everything (fatal); a wrong value
// belongs to one place (*badValue) and reading may go on behind it, see tolerate.
type jsonReader struct {
	s     string
	pos   int
	depth int
	path  []segment
}

// A segment of a path is a key, or an index when key is "". Paths are built for
// every value and formatted only for an error.
type segment struct {
	key   string
	index int
}

// A badValue is well-formed JSON that means nothing here.
type badValue struct {
	location, value, reason, fix string
}

func (e *badValue) Error() string { return e.location + ": " + e.reason }

// A badText is text that is not JSON, or is over a limit.
type badText struct {
	line, column int
	location     string
	reason       string
}

func (e *badText) Error() string {
	return fmt.Sprintf("line %d, column %d (%s): %s", e.line, e.column, e.location, e.reason)
}

// newJSONReader checks that body is UTF-8 and starts at its first value.
func newJSONReader(body []byte) (*jsonReader, error) {
	r := &jsonReader{s: string(body)}
	if strings.HasPrefix(r.s, "\ufeff") {
		return nil, r.broken("the text starts with a byte order mark: leave it out")
	}
	if !utf8.ValidString(r.s) {
		for i, c := range r.s {
			if c == utf8.RuneError && !strings.HasPrefix(r.s[i:], "\ufffd") {
				r.pos = i
				break
			}
		}
		return nil, r.broken("the text is not valid UTF-8")
	}
	r.space()
	return r, nil
}

// end reports an error if anything follows the value.
func (r *jsonReader) end() error {
	r.space()
	if r.pos < len(r.s) {
		return r.broken("something follows the end of the JSON value")
	}
	return nil
}

// kind returns what the next value is: { [ " 0 t n or 0 at the end.
func (r *jsonReader) kind() byte {
	if r.pos >= len(r.s) {
		return 0
	}
	switch c := r.s[r.pos]; {
	case c == '-' || c >= '0' && c <= '9':
		return '0'
	case c == 'f':
		return 't'
	default:
		return c
	}
}

// object reads an object and calls member for each key, whose value member must
// read. Unknown keys are for member to refuse, see unknown.
func (r *jsonReader) object(member func(key string) error) error {
	if r.kind() != '{' {
		return r.mismatch("an object {…}")
	}
	if err := r.enter(); err != nil {
		return err
	}
	var seen [jsonKeysMax]string
	count := 0
	r.space()
	for first := true; ; first = false {
		if r.take('}') {
			break
		}
		if !first && !r.take(',') {
			return r.broken("expected , or } in an object")
		}
		r.space()
		if r.kind() != '"' {
			return r.broken("expected a key in double quotes")
		}
		key, err := r.rawString()
		if err != nil {
			return err
		}
		if count == len(seen) {
			return r.broken(fmt.Sprintf("an object has more than %d keys", jsonKeysMax))
		}
		for _, k := range seen[:count] {
			if k == key {
				return r.broken("the key " + strconv.Quote(shorten(key)) + " comes twice")
			}
		}
		seen[count] = key
		count++
		r.space()
		if !r.take(':') {
			return r.broken("expected : behind a key")
		}
		r.space()
		r.push(keySegment(key))
		if err := member(key); err != nil {
			return err
		}
		r.pop()
		r.space()
	}
	r.depth--
	return nil
}

// array reads an array and calls element for each value, which element must read.
func (r *jsonReader) array(element func(i int) error) error {
	if r.kind() != '[' {
		return r.mismatch("a list […]")
	}
	if err := r.enter(); err != nil {
		return err
	}
	r.space()
	for i := 0; ; i++ {
		if r.take(']') {
			break
		}
		if i > 0 && !r.take(',') {
			return r.broken("expected , or ] in a list")
		}
		r.space()
		r.push(segment{index: i})
		if err := element(i); err != nil {
			return err
		}
		r.pop()
		r.space()
	}
	r.depth--
	return nil
}

// text reads a string.
func (r *jsonReader) text() (string, error) {
	if r.kind() != '"' {
		return "", r.mismatch("a text in double quotes")
	}
	return r.rawString()
}

// uint reads a whole number from 0 to limit.
func (r *jsonReader) uint(limit uint64) (uint64, error) {
	if r.kind() != '0' {
		return 0, r.mismatch("a whole number")
	}
	number, err := r.number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n > limit {
		return 0, r.bad(number, fmt.Sprintf("%s is not a whole number from 0 to %d", number, limit), "")
	}
	return n, nil
}

// boolean reads true or false.
func (r *jsonReader) boolean() (bool, error) {
	switch {
	case r.word("true"):
		return true, nil
	case r.word("false"):
		return false, nil
	}
	return false, r.mismatch("true or false")
}

// null takes a null.
func (r *jsonReader) null() bool { return r.word("null") }

func (r *jsonReader) word(w string) bool {
	if !strings.HasPrefix(r.s[r.pos:], w) {
		return false
	}
	r.pos += len(w)
	return true
}

// skip reads any value and throws it away.
func (r *jsonReader) skip() error {
	switch r.kind() {
	case '{':
		return r.object(func(string) error { return r.skip() })
	case '[':
		return r.array(func(int) error { return r.skip() })
	case '"':
		_, err := r.rawString()
		return err
	case '0':
		_, err := r.number()
		return err
	case 't', 'n':
		if r.word("true") || r.word("false") || r.word("null") {
			return nil
		}
	case 0:
		return r.broken("the text ends in the middle of a value")
	}
	return r.broken("expected a value")
}

// tolerate runs read over the next value. If the value is wrong it is skipped
// and returned as bad, so that its neighbours can still be read; a broken text
// is an error.
func (r *jsonReader) tolerate(read func() error) (bad *badValue, err error) {
	pos, depth, path := r.pos, r.depth, len(r.path)
	err = read()
	if err == nil {
		return nil, nil
	}
	bad, ok := err.(*badValue)
	if !ok {
		return nil, err
	}
	r.pos, r.depth, r.path = pos, depth, r.path[:path]
	return bad, r.skip()
}

// unknown refuses the key just read.
func (r *jsonReader) unknown(key string, known string) error {
	return r.bad("", strconv.Quote(shorten(key))+" is not a field here", "known fields: "+known)
}

// bad reports a wrong value at the current place.
func (r *jsonReader) bad(value, reason, fix string) error {
	return &badValue{location: r.location(), value: shorten(value), reason: reason, fix: fix}
}

// broken reports a broken text at the current position.
func (r *jsonReader) broken(reason string) error {
	before := r.s[:min(r.pos, len(r.s))]
	return &badText{
		line:     1 + strings.Count(before, "\n"),
		column:   1 + len(before) - (strings.LastIndexByte(before, '\n') + 1),
		location: r.location(), reason: reason,
	}
}

// mismatch reports a value of another type, or a broken text if there is none.
func (r *jsonReader) mismatch(want string) error {
	start := r.pos
	found := map[byte]string{'{': "an object", '[': "a list", '"': "a text", '0': "a number", 't': "true or false", 'n': "null"}[r.kind()]
	if found == "" {
		if r.pos >= len(r.s) {
			return r.broken("the text ends where " + want + " should be")
		}
		return r.broken("expected " + want)
	}
	saved := *r
	if err := r.skip(); err != nil {
		return err
	}
	value := r.s[start:r.pos]
	r.path, r.depth = saved.path, saved.depth
	return r.bad(value, "expected "+want+", found "+found, "")
}

func (r *jsonReader) location() string {
	var b strings.Builder
	b.WriteString(jsonLocationRoot)
	for _, p := range r.path {
		if p.key != "" {
			b.WriteString("." + p.key)
		} else {
			fmt.Fprintf(&b, "[%d]", p.index)
		}
	}
	return shortenTo(b.String(), locationMax)
}

func (r *jsonReader) push(p segment) { r.path = append(r.path, p) }
func (r *jsonReader) pop()           { r.path = r.path[:len(r.path)-1] }

// enter steps into an object or a list.
func (r *jsonReader) enter() error {
	if r.depth++; r.depth > jsonDepthMax {
		return r.broken(fmt.Sprintf("nested deeper than %d", jsonDepthMax))
	}
	r.pos++
	return nil
}
