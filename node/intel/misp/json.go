package misp

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

// Limits of the scanner. Nothing it reads makes it hold more than these.
const (
	depthMax  = 64      // nested objects and arrays; MISP needs about 8
	textMax   = 8 << 10 // bytes kept of one string; the rest is read and dropped
	numberMax = 64      // characters of one number
	keyMax    = 128     // bytes kept of one key
)

// A scanner reads JSON as it streams by. encoding/json would hold each token
// whole, and a MISP attribute may carry a malware sample of many megabytes.
type scanner struct {
	r      *bufio.Reader
	offset int64    // bytes consumed
	path   []string // where we are: "Event", ".Attribute", "[3]"
}

// A text is a string, number, true or false.
type text struct {
	s    string
	long bool // more than textMax; s is its start
}

func newScanner(r io.Reader) *scanner {
	return &scanner{r: bufio.NewReaderSize(r, 64<<10)}
}

// place names the current position for people, such as Event.Attribute[3].
func (s *scanner) place() string {
	if len(s.path) == 0 {
		return "the top"
	}
	return strings.TrimPrefix(strings.Join(s.path, ""), ".")
}

func (s *scanner) errorf(format string, args ...any) error {
	return fmt.Errorf("byte %d, at %s: %s", s.offset, s.place(), fmt.Sprintf(format, args...))
}

// next consumes one byte.
func (s *scanner) next() (byte, error) {
	c, err := s.r.ReadByte()
	switch {
	case errors.Is(err, io.EOF):
		return 0, s.errorf("the file ends in the middle: get it again, whole")
	case err != nil:
		return 0, fmt.Errorf("byte %d, at %s: %w", s.offset, s.place(), err)
	}
	s.offset++
	return c, nil
}

// peek skips white space and returns the byte that comes next.
func (s *scanner) peek() (byte, error) {
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

// more reports whether anything but white space is left.
func (s *scanner) more() (bool, error) {
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
func (s *scanner) unread() {
	if s.r.UnreadByte() == nil {
		s.offset--
	}
}

// token consumes the next byte, which must be one of want.
func (s *scanner) token(want string) (byte, error) {
	c, err := s.peek()
	if err != nil {
		return 0, err
	}
	if strings.IndexByte(want, c) < 0 {
		return 0, s.errorf("%q is no JSON here: want one of %s", c, want)
	}
	return s.next()
}

func (s *scanner) enter(step string) error {
	if len(s.path) >= depthMax {
		return s.errorf("nested deeper than %d", depthMax)
	}
	s.path = append(s.path, step)
	return nil
}

func (s *scanner) leave() { s.path = s.path[:len(s.path)-1] }

// object calls member for each key of the object that comes next. member must
// consume the value.
func (s *scanner) object(member func(key string) error) error {
	if _, err := s.token("{"); err != nil {
		return err
	}
	for first := true; ; first = false {
		c, err := s.peek()
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
		if err := s.enter("." + showKey(key.s)); err != nil {
			return err
		}
		if err := member(key.s); err != nil {
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

// array calls element for each element of the array that comes next.
func (s *scanner) array(element func(index int) error) error {
	if _, err := s.token("["); err != nil {
		return err
	}
	for index := 0; ; index++ {
		c, err := s.peek()
		if err != nil {
			return err
		}
		if index == 0 && c == ']' {
			_, err = s.next()
			return err
		}
		if err := s.enter("[" + strconv.Itoa(index) + "]"); err != nil {
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

// skip consumes the next value, whatever it is.
func (s *scanner) skip() error {
	c, err := s.peek()
	if err != nil {
		return err
	}
	switch c {
	case '{':
		return s.object(func(string) error { return s.skip() })
	case '[':
		return s.array(func(int) error { return s.skip() })
	case '"':
		_, err = s.str(0)
	default:
		_, err = s.text()
	}
	return err
}

// each calls element for each element of the array that comes next; a single
// value counts as an array of one, and null as an empty one.
func (s *scanner) each(element func(index int) error) error {
	c, err := s.peek()
	switch {
	case err != nil:
		return err
	case c == '[':
		return s.array(element)
	case c == 'n':
		return s.skip()
	}
	return element(0)
}

// fields is object for a value that should be one: anything else is skipped.
func (s *scanner) fields(member func(key string) error) error {
	c, err := s.peek()
	switch {
	case err != nil:
		return err
	case c != '{':
		return s.skip()
	}
	return s.object(member)
}

// text consumes a string, number, true, false or null, which is empty. Objects and arrays,
// where MISP has none, are skipped and give an empty text.
func (s *scanner) text() (text, error) {
	c, err := s.peek()
	switch {
	case err != nil:
		return text{}, err
	case c == '"':
		return s.str(textMax)
	case c == '{' || c == '[':
		return text{}, s.skip()
	}
	var word []byte
	for {
		c, err := s.r.ReadByte()
		if errors.Is(err, io.EOF) {
			break // a number may end the file
		}
		if err != nil {
			return text{}, fmt.Errorf("byte %d, at %s: %w", s.offset, s.place(), err)
		}
		s.offset++
		if strings.IndexByte(" \t\r\n,:]}", c) >= 0 {
			s.unread()
			break
		}
		if word = append(word, c); len(word) > numberMax {
			return text{}, s.errorf("a number of more than %d characters", numberMax)
		}
	}
	if !json.Valid(word) {
		return text{}, s.errorf("%q is no JSON", word)
	}
	if string(word) == "null" {
		return text{}, nil
	}
	return text{s: string(word)}, nil
}

// str consumes a string and keeps up to limit bytes of it.
func (s *scanner) str(limit int) (text, error) {
	if _, err := s.token(`"`); err != nil {
		return text{}, err
	}
	var out text
	var kept []byte
	keep := func(b []byte) {
		if out.long = out.long || len(kept)+len(b) > limit; !out.long {
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
			out.s = string(kept)
			return out, nil
		case c < 0x20:
			return out, s.errorf("a bare control character in a string")
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
func (s *scanner) plain() ([]byte, error) {
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
func (s *scanner) escape() (rune, error) {
	c, err := s.next()
	if err != nil {
		return 0, err
	}
	if c != 'u' {
		at := strings.IndexByte(`"\/bfnrt`, c)
		if at < 0 {
			return 0, s.errorf("the escape \\%q is no JSON", c)
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

func (s *scanner) hex4() (rune, error) {
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
		return 0, s.errorf("the escape \\u%q is no JSON", digits)
	}
	return rune(n), nil
}
