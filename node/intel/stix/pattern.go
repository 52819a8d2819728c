package stix

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of one pattern (STIX 2.1, section 9). The length bounds all work: the
// parser looks at each character once.
const (
	patternMax      = 64 << 10 // bytes
	patternDepthMax = 32       // brackets and parentheses inside each other
	patternPathMax  = 16       // steps of an object path
	patternTakenMax = 1_000    // values
)

// A pattern is what can be taken from a STIX pattern: the values that something
// is compared with. How they are combined only matters for a sighting, which
// says that the pattern matched and not by which value.
type pattern struct {
	values       []observed
	alternatives bool   // OR or IN: a match leaves open which of the values it was
	together     bool   // AND or FOLLOWEDBY: it matches several at once
	left         string // why the first comparison that gave no value gave none
}

// parsePattern reads a pattern. The error names the character.
func parsePattern(text string) (pattern, error) {
	p := &patternParser{text: text}
	p.next()
	err := p.observations(0)
	if err == nil && p.kind != tokenEnd {
		err = p.unexpected("AND, OR, FOLLOWEDBY or the end")
	}
	return p.out, err
}

type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenWord             // a name, a keyword, a number
	tokenString           // '…', with the escapes undone
	tokenSign             // one of [ ] ( ) , : . * or a comparison
	tokenBad
)

// A patternParser holds one token ahead.
type patternParser struct {
	text  string
	at    int // of the next character
	start int // of the token
	kind  tokenKind
	word  string // the token
	typed byte   // of a string: h, b or t before it
	out   pattern
}

const wordCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

// next reads the next token.
func (p *patternParser) next() {
	p.at += len(p.text[p.at:]) - len(strings.TrimLeft(p.text[p.at:], " \t\r\n"))
	p.start, p.typed = p.at, 0
	rest := p.text[p.at:]
	switch {
	case rest == "":
		p.kind, p.word = tokenEnd, ""
	case rest[0] == '\'':
		p.str()
	case len(rest) > 1 && rest[1] == '\'' && strings.IndexByte("hbt", rest[0]) >= 0:
		p.typed = rest[0]
		p.at++
		p.str()
	case strings.IndexByte(wordCharacters, rest[0]) >= 0 || rest[0] == '+':
		n := len(rest) - len(strings.TrimLeft(rest[1:], wordCharacters))
		p.take(tokenWord, n)
	case strings.IndexByte("=!<>", rest[0]) >= 0:
		n := 1
		if len(rest) > 1 && strings.IndexByte("=>", rest[1]) >= 0 {
			n = 2
		}
		p.take(tokenSign, n)
	case strings.IndexByte("[](),:.*", rest[0]) >= 0:
		p.take(tokenSign, 1)
	default:
		_, n := utf8.DecodeRuneInString(rest)
		p.take(tokenBad, n)
	}
}

func (p *patternParser) take(kind tokenKind, n int) {
	p.kind, p.word = kind, p.text[p.at:p.at+n]
	p.at += n
}

// str reads a string; a backslash stands before a quote or another backslash.
func (p *patternParser) str() {
	var b strings.Builder
	for i := p.at + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '\\' && i+1 < len(p.text):
			i++
			b.WriteByte(p.text[i])
		case c == '\'':
			p.kind, p.word, p.at = tokenString, b.String(), i+1
			return
		default:
			b.WriteByte(c)
		}
	}
	p.kind, p.word, p.at = tokenBad, "", len(p.text)
}

func (p *patternParser) sign(s string) bool { return p.kind == tokenSign && p.word == s }

// keyword reports whether the token is one of these words, in capitals as the
// grammar has them.
func (p *patternParser) keyword(words ...string) bool {
	return p.kind == tokenWord && slices.Contains(words, p.word)
}

func (p *patternParser) unexpected(want string) error {
	got := fmt.Sprintf("%+.40q", p.word)
	switch {
	case p.kind == tokenEnd:
		got = "the end"
	case p.kind == tokenBad && p.word == "":
		return fmt.Errorf("character %d of the pattern: the string has no closing quote", p.start+1)
	}
	return fmt.Errorf("character %d of the pattern: %s is out of place: want %s", p.start+1, got, want)
}

func (p *patternParser) expect(sign string) error {
	if !p.sign(sign) {
		return p.unexpected(sign)
	}
	p.next()
	return nil
}

func (p *patternParser) deeper(depth int) error {
	if depth >= patternDepthMax {
		return fmt.Errorf("character %d of the pattern: nested deeper than %d", p.start+1, patternDepthMax)
	}
	return nil
}

// observations reads [ … ] and what combines and qualifies it. Which binds
// stronger makes no difference to the values.
func (p *patternParser) observations(depth int) error {
	if err := p.deeper(depth); err != nil {
		return err
	}
	for {
		var err error
		switch {
		case p.sign("["):
			p.next()
			if err = p.comparisons(depth + 1); err == nil {
				err = p.expect("]")
			}
		case p.sign("("):
			p.next()
			if err = p.observations(depth + 1); err == nil {
				err = p.expect(")")
			}
		default:
			err = p.unexpected("[ or (")
		}
		if err == nil {
			err = p.qualifiers()
		}
		if err != nil || !p.keyword("AND", "OR", "FOLLOWEDBY") {
			return err
		}
		p.out.alternatives = p.out.alternatives || p.word == "OR"
		p.out.together = p.out.together || p.word != "OR"
		p.next()
	}
}

// qualifiers skips WITHIN n SECONDS, REPEATS n TIMES and START t STOP t.
func (p *patternParser) qualifiers() error {
	for {
		var want []string
		switch {
		case p.keyword("WITHIN"):
			want = []string{"", "SECONDS"}
		case p.keyword("REPEATS"):
			want = []string{"", "TIMES"}
		case p.keyword("START"):
			want = []string{"", "STOP", ""}
		default:
			return nil
		}
		p.next()
		for _, word := range want {
			if word != "" && !p.keyword(word) {
				return p.unexpected(word)
			}
			if word == "" && !p.literal() {
				return p.unexpected("a number or a time")
			}
			p.next()
			if p.sign(".") { // a number's fraction
				p.next()
				p.next()
			}
		}
	}
}

func (p *patternParser) literal() bool { return p.kind == tokenString || p.kind == tokenWord }

// comparisons reads what stands inside [ ].
func (p *patternParser) comparisons(depth int) error {
	if err := p.deeper(depth); err != nil {
		return err
	}
	for {
		var err error
		switch {
		case p.sign("("):
			p.next()
			if err = p.comparisons(depth + 1); err == nil {
				err = p.expect(")")
			}
		case p.keyword("EXISTS"):
			p.next()
			p.leave("EXISTS compares with no value")
			_, err = p.path()
		default:
			err = p.comparison()
		}
		if err != nil || !p.keyword("AND", "OR") {
			return err
		}
		p.out.alternatives = p.out.alternatives || p.word == "OR"
		p.out.together = p.out.together || p.word != "OR"
		p.next()
	}
}

// comparison reads one: a path, an operator and what it compares with.
func (p *patternParser) comparison() error {
	at, err := p.path()
	if err != nil {
		return err
	}
	negated := p.keyword("NOT")
	if negated {
		p.next()
	}
	operator := p.word
	switch {
	case p.kind == tokenSign && slices.Contains([]string{"=", "==", "!=", "<>", "<", "<=", ">", ">="}, operator):
	case p.keyword("IN", "LIKE", "MATCHES", "ISSUBSET", "ISSUPERSET"):
	default:
		return p.unexpected("a comparison such as =")
	}
	p.next()
	var values []observed
	if operator == "IN" {
		values, err = p.set()
	} else {
		var v observed
		v, err = p.value()
		values = []observed{v}
	}
	switch {
	case err != nil:
		return err
	case negated:
		p.leave("NOT names what is not meant")
		return nil
	case operator == "=" || operator == "==" || operator == "IN" || operator == "ISSUBSET":
		return p.hold(at, operator, values)
	}
	p.leave(operator + " compares with no single value")
	return nil
}

// leave remembers why a comparison gives nothing.
func (p *patternParser) leave(why string) {
	if p.out.left == "" {
		p.out.left = why
	}
}

// hold keeps the values that a path is compared with.
func (p *patternParser) hold(at objectPath, operator string, values []observed) error {
	as, why := at.reading()
	if operator == "ISSUBSET" && why == "" && as.kind != lookAddress && as.kind != lookAny {
		why = "ISSUBSET is for addresses"
	}
	if why != "" {
		p.leave(why)
		return nil
	}
	p.out.alternatives = p.out.alternatives || len(values) > 1
	for _, v := range values {
		as.text = v.text
		if slices.Contains(p.out.values, as) {
			continue
		}
		if len(p.out.values) >= patternTakenMax {
			return fmt.Errorf("character %d of the pattern: more than %d values: split it", p.start, patternTakenMax)
		}
		p.out.values = append(p.out.values, as)
	}
	return nil
}

// set reads ('a', 'b', …).
func (p *patternParser) set() ([]observed, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	var out []observed
	for {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		if p.sign(")") {
			p.next()
			return out, nil
		}
		if err := p.expect(","); err != nil {
			return nil, err
		}
	}
}

// value reads a literal: a string, a number, true or false.
func (p *patternParser) value() (observed, error) {
	if !p.literal() {
		return observed{}, p.unexpected("a value in single quotes")
	}
	v := observed{text: p.word}
	p.next()
	if p.sign(".") { // a number with a fraction, which no value here has
		p.next()
		v.text += "." + p.word
		p.next()
	}
	return v, nil
}

// path reads type:property.property[*].'quoted property'.
func (p *patternParser) path() (objectPath, error) {
	var at objectPath
	if p.kind != tokenWord {
		return at, p.unexpected("an object path such as ipv4-addr:value")
	}
	at.object = strings.ToLower(p.word)
	p.next()
	if err := p.expect(":"); err != nil {
		return at, err
	}
	for {
		if !p.literal() {
			return at, p.unexpected("a property")
		}
		if at.steps = append(at.steps, strings.ToLower(p.word)); len(at.steps) > patternPathMax {
			return at, fmt.Errorf("character %d of the pattern: an object path of more than %d steps", p.start+1, patternPathMax)
		}
		p.next()
		for p.sign("[") { // an index says nothing about the type
			p.next()
			if p.kind != tokenWord && !p.sign("*") {
				return at, p.unexpected("a number or *")
			}
			p.next()
			if err := p.expect("]"); err != nil {
				return at, err
			}
		}
		if !p.sign(".") {
			return at, nil
		}
		p.next()
	}
}
