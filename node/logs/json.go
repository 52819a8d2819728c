package logs

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// A scanner walks over the JSON of one line in place: nothing is copied and what
// is not asked for is passed over at the speed of its brackets. It believes what
// it need not check (commas, numbers, the kind of a closing bracket). Every call
// goes on or makes it broken, so that loops over it end.
type scanner struct {
	b      []byte
	i      int
	name   []byte // of the member that key stands at, as written
	broken bool
}

// peek passes white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) fail() bool {
	s.broken, s.i = true, len(s.b)
	return false
}

// open enters an object or an array, by its bracket. Any other value is passed
// over.
func (s *scanner) open(bracket byte) bool {
	if s.peek() == bracket {
		s.i++
		return true
	}
	s.skip()
	return false
}

// key goes to the next member of an object and reports whether there is one.
func (s *scanner) key() bool {
	c := s.peek()
	if c == ',' {
		s.i++
		c = s.peek()
	}
	switch c {
	case '}':
		s.i++
		return false
	case '"':
	default:
		return s.fail()
	}
	s.name = s.str()
	if s.peek() != ':' {
		return s.fail()
	}
	s.i++
	return true
}

// more goes to the next element of an array and reports whether there is one.
func (s *scanner) more() bool {
	c := s.peek()
	if c == ',' {
		s.i++
		c = s.peek()
	}
	switch c {
	case ']':
		s.i++
		return false
	case 0, '}', ':':
		return s.fail()
	}
	return true
}

// text consumes a value and returns a string, as written between its quotes, or
// a number. Of anything else it returns nil.
func (s *scanner) text() []byte {
	switch c := s.peek(); {
	case c == '"':
		return s.str()
	case c == '-' || c >= '0' && c <= '9':
		start := s.i
		s.skip()
		return s.b[start:s.i]
	}
	s.skip()
	return nil
}

// str consumes a string from its quote on.
func (s *scanner) str() []byte {
	s.i++
	start := s.i
	for {
		n := bytes.IndexByte(s.b[s.i:], '"')
		if n < 0 {
			s.fail()
			return nil
		}
		s.i += n + 1
		end := s.i - 1
		first := end
		for first > start && s.b[first-1] == '\\' {
			first--
		}
		if (end-first)%2 == 0 {
			return s.b[start:end]
		}
	}
}

// skip consumes a value.
func (s *scanner) skip() {
	depth := 0
	for {
		c := s.peek()
		switch c {
		case '"':
			s.str()
		case '{', '[':
			s.i++
			depth++
			s.inside()
			continue
		case '}', ']':
			if depth == 0 {
				s.fail()
				return
			}
			s.i++
			depth--
		case ',', ':', 0:
			s.fail()
			return
		default: // a number, true, false, null
			for s.i < len(s.b) && !ends[s.b[s.i]] {
				s.i++
			}
		}
		if s.broken || depth == 0 {
			return
		}
		s.inside()
	}
}

// inside passes what stands between values in a container that is passed over.
func (s *scanner) inside() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ',', ':', ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// ends says which bytes end a number or a word.
var ends = [256]bool{',': true, ':': true, '}': true, ']': true, '{': true, '[': true, '"': true, ' ': true, '\t': true, '\r': true, '\n': true}

// unescape appends what a string of JSON stands for. What is no escape stays.
func unescape(to, s []byte) []byte {
	for {
		n := bytes.IndexByte(s, '\\')
		if n < 0 || n+1 == len(s) {
			return append(to, s...)
		}
		to = append(to, s[:n]...)
		c := s[n+1]
		s = s[n+2:]
		switch c {
		case 'b':
			to = append(to, '\b')
		case 'f':
			to = append(to, '\f')
		case 'n':
			to = append(to, '\n')
		case 'r':
			to = append(to, '\r')
		case 't':
			to = append(to, '\t')
		case 'u':
			r, ok := hex4(s)
			if !ok {
				to = append(to, '\\', 'u')
				continue
			}
			s = s[4:]
			if utf16.IsSurrogate(r) && has(s, `\u`) {
				if low, ok := hex4(s[2:]); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
					r, s = utf16.DecodeRune(r, low), s[6:]
				}
			}
			to = utf8.AppendRune(to, r)
		default:
			to = append(to, c)
		}
	}
}

func hex4(s []byte) (r rune, ok bool) {
	if len(s) < 4 {
		return 0, false
	}
	for _, c := range s[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
