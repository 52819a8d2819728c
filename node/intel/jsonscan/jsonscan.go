// Package jsonscan reads JSON as it streams by, within bounds: nothing that a
// file holds makes it keep more than one text, and every error names the byte
// and the place. encoding/json would hold each token whole, and a field of
// threat intelligence may carry a malware sample of many megabytes.
package jsonscan

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of a Scanner. Nothing it reads makes it hold more than these.
const (
	TextMax = 8 << 10 // bytes kept of one text; the rest is read and dropped

	depthMax  = 64  // nested objects and arrays; MISP needs about 8
	numberMax = 64  // characters of one number
	keyMax    = 128 // bytes kept of one key
)

// A Scanner reads one value after the other; which, is for its caller to say.
type Scanner struct {
	r      *bufio.Reader
	offset int64  // bytes consumed
	path   []step // where we are
}

// A step is a key, or an index when there is none.
type step struct {
	key   string
	index int // -1 for a key
}

// A Text is a string, number, true or false.
type Text struct {
	S    string
	Long bool // more than the limit; S is its start
}

// New returns a Scanner of r, which may start with a byte order mark.
func New(r io.Reader) *Scanner {
	s := &Scanner{r: bufio.NewReaderSize(r, 64<<10)}
	if bom, _ := s.r.Peek(3); string(bom) == "\xef\xbb\xbf" {
		_, _ = s.r.Discard(3)
		s.offset += 3
	}
	return s
}

// Path names the current position, such as Event.Attribute[3]; "" is the top.
func (s *Scanner) Path() string {
	var b strings.Builder
	for i, at := range s.path {
		switch {
		case at.index >= 0:
			b.WriteString("[" + strconv.Itoa(at.index) + "]")
		case i > 0:
			b.WriteString("." + showKey(at.key))
		default:
			b.WriteString(showKey(at.key))
		}
	}
	return b.String()
}

// Place is Path in two: what it is in, and its index there, -1 if it has none.
func (s *Scanner) Place() (in string, index int) {
	end := len(s.path) - 1
	if end < 0 || s.path[end].index < 0 {
		return s.Path(), -1
	}
	outer := Scanner{path: s.path[:end]}
	return outer.Path(), s.path[end].index
}

// place is Path for people.
func (s *Scanner) place() string {
	if len(s.path) == 0 {
		return "the top"
	}
	return s.Path()
}

func (s *Scanner) Errorf(format string, args ...any) error {
	return fmt.Errorf("byte %d, at %s: %s", s.offset, s.place(), fmt.Sprintf(format, args...))
}

// next consumes one byte.
func (s *Scanner) next() (byte, error) {
	c, err := s.r.ReadByte()
	switch {
	case errors.Is(err, io.EOF):
		return 0, s.Errorf("the file ends in the middle: get it again, whole")
	case err != nil:
		return 0, fmt.Errorf("byte %d, at %s: %w", s.offset, s.place(), err)
	}
	s.offset++
	return c, nil
}

// Peek skips white space and returns the byte that comes next.
func (s *Scanner) Peek() (byte, error) {
	for {
		c, err := s.next()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			s.unread()
			return c, nil
		}
	}
}

// More reports whether anything but white space is left.
func (s *Scanner) More() (bool, error) {
	for {
		c, err := s.r.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("byte %d: %w", s.offset, err)
		}
		s.offset++
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			s.unread()
			return true, nil
		}
	}
}

// unread gives back the byte that next just returned.
func (s *Scanner) unread() {
	if s.r.UnreadByte() == nil {
		s.offset--
	}
}

// token consumes the next byte, which must be one of want.
func (s *Scanner) token(want string) (byte, error) {
	c, err := s.Peek()
	if err != nil {
		return 0, err
	}
	if strings.IndexByte(want, c) < 0 {
		return 0, s.Errorf("%q is no JSON here: want one of %s", c, want)
	}
	return s.next()
}

func (s *Scanner) enter(at step) error {
	if len(s.path) >= depthMax {
		return s.Errorf("nested deeper than %d", depthMax)
	}
	s.path = append(s.path, at)
	return nil
}

func (s *Scanner) leave() { s.path = s.path[:len(s.path)-1] }

// Object calls member for each key of the object that comes next. member must
// consume the value.
func (s *Scanner) Object(member func(key string) error) error {
	if _, err := s.token("{"); err != nil {
		return err
	}
	for first := true; ; first = false {
		c, err := s.Peek()
		if err != nil {
			return err
		}
		if first && c == '}' {
			_, err = s.next()
			return err
		}
		key, err := s.str(keyMax)
		if err != nil {
			return err
		}
		if _, err := s.token(":"); err != nil {
			return err
		}
		if err := s.enter(step{key.S, -1}); err != nil {
			return err
		}
		if err := member(key.S); err != nil {
			return err
		}
		s.leave()
		if c, err = s.token(",}"); err != nil || c == '}' {
			return err
		}
	}
}

// showKey makes a key of the file fit for an error message.
func showKey(key string) string {
	if quoted := strconv.QuoteToASCII(key); len(key) > 40 || quoted[1:len(quoted)-1] != key {
		return quoted[:min(len(quoted), 40)]
	}
	return key
}

// Array calls element for each element of the array that comes next.
func (s *Scanner) Array(element func(index int) error) error {
	if _, err := s.token("["); err != nil {
		return err
	}
	for index := 0; ; index++ {
		c, err := s.Peek()
		if err != nil {
			return err
		}
		if index == 0 && c == ']' {
			_, err = s.next()
			return err
		}
		if err := s.enter(step{"", index}); err != nil {
			return err
		}
		if err := element(index); err != nil {
			return err
		}
		s.leave()
		if c, err = s.token(",]"); err != nil || c == ']' {
			return err
		}
	}
}

// Skip consumes the next value, whatever it is.
func (s *Scanner) Skip() error {
	c, err := s.Peek()
	if err != nil {
		return err
	}
	switch c {
	case '{':
		return s.Object(func(string) error { return s.Skip() })
	case '[':
		return s.Array(func(int) error { return s.Skip() })
	case '"':
		_, err = s.str(0)
	default:
		_, err = s.Text(0)
	}
	return err
}

// Each calls element for each element of the array that comes next; a single
// value counts as an array of one, and null as an empty one.
func (s *Scanner) Each(element func(index int) error) error {
	c, err := s.Peek()
	switch {
	case err != nil:
		return err
	case c == '[':
		return s.Array(element)
	case c == 'n':
		return s.Skip()
	}
	return element(0)
}

// Fields is Object for a value that should be one: anything else is skipped.
func (s *Scanner) Fields(member func(key string) error) error {
	c, err := s.Peek()
	switch {
	case err != nil:
		return err
	case c != '{':
		return s.Skip()
	}
	return s.Object(member)
}

// Text consumes a string, number, true, false or null, which is empty, and keeps
// up to limit bytes of it. An object or array is skipped and gives an empty text.
func (s *Scanner) Text(limit int) (Text, error) {
	c, err := s.Peek()
	switch {
	case err != nil:
		return Text{}, err
	case c == '"':
		return s.str(limit)
	case c == '{' || c == '[':
		return Text{}, s.Skip()
	}
	var word []byte
	for {
		c, err := s.r.ReadByte()
		if errors.Is(err, io.EOF) {
			break // a number may end the file
		}
		if err != nil {
			return Text{}, fmt.Errorf("byte %d, at %s: %w", s.offset, s.place(), err)
		}
		s.offset++
		if strings.IndexByte(" \t\r\n,:]}", c) >= 0 {
			s.unread()
			break
		}
		if word = append(word, c); len(word) > numberMax {
			return Text{}, s.Errorf("a number of more than %d characters", numberMax)
		}
	}
	if !json.Valid(word) {
		return Text{}, s.Errorf("%q is no JSON", word)
	}
	if string(word) == "null" {
		return Text{}, nil
	}
	return Text{S: string(word)}, nil
}

// str consumes a string and keeps up to limit bytes of it.
func (s *Scanner) str(limit int) (Text, error) {
	if _, err := s.token(`"`); err != nil {
		return Text{}, err
	}
	var out Text
	var kept []byte
	keep := func(b []byte) {
		if out.Long = out.Long || len(kept)+len(b) > limit; !out.Long {
			kept = append(kept, b...)
		} else if room := limit - len(kept); room > 0 {
			kept = append(kept, b[:min(room, len(b))]...)
		}
	}
	for {
		plain, err := s.plain()
		keep(plain)
		if err != nil {
			return out, err
		}
		c, err := s.next()
		switch {
		case err != nil:
			return out, err
		case c == '"':
			out.S = string(kept)
			return out, nil
		case c < 0x20:
			return out, s.Errorf("a bare control character in a string")
		case c != '\\':
			keep([]byte{c})
			continue
		}
		r, err := s.escape()
		if err != nil {
			return out, err
		}
		keep(utf8.AppendRune(nil, r))
	}
}

// plain consumes what is buffered of a string up to the next character that
// needs a look. The result is valid until the next read.
func (s *Scanner) plain() ([]byte, error) {
	chunk, err := s.r.Peek(s.r.Buffered())
	if err != nil {
		return nil, err
	}
	end := 0
	for end < len(chunk) && chunk[end] != '"' && chunk[end] != '\\' && chunk[end] >= 0x20 {
		end++
	}
	n, err := s.r.Discard(end)
	s.offset += int64(n)
	return chunk[:end], err
}

// escape reads what follows a backslash. Half a surrogate pair is U+FFFD.
func (s *Scanner) escape() (rune, error) {
	c, err := s.next()
	if err != nil {
		return 0, err
	}
	if c != 'u' {
		at := strings.IndexByte(`"\/bfnrt`, c)
		if at < 0 {
			return 0, s.Errorf("the escape \\%q is no JSON", c)
		}
		return rune("\"\\/\b\f\n\r\t"[at]), nil
	}
	r, err := s.hex4()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	// The low half may follow; if it does not, what follows stays unread.
	ahead, _ := s.r.Peek(6)
	if len(ahead) < 6 || ahead[0] != '\\' || ahead[1] != 'u' {
		return utf8.RuneError, nil
	}
	low, err := strconv.ParseUint(string(ahead[2:]), 16, 16)
	pair := utf16.DecodeRune(r, rune(low))
	if err != nil || pair == utf8.RuneError {
		return utf8.RuneError, nil
	}
	_, _ = s.r.Discard(6)
	s.offset += 6
	return pair, nil
}

func (s *Scanner) hex4() (rune, error) {
	var digits [4]byte
	for i := range digits {
		c, err := s.next()
		if err != nil {
			return 0, err
		}
		digits[i] = c
	}
	n, err := strconv.ParseUint(string(digits[:]), 16, 16)
	if err != nil {
		return 0, s.Errorf("the escape \\u%q is no JSON", digits)
	}
	return rune(n), nil
}
