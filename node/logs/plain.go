package logs

import "bytes"

// plain takes from any text what is surely a value: addresses, names under a
// known top-level domain, URLs and hashes. It is not the reader of reports
// (intel/text), which takes only what was made unclickable on purpose: in a log
// a name that works is the very thing that is looked for.
func (p *Parser) plain(msg []byte) error {
	if p.event.Time.IsZero() {
		if s, size, ok := iso(msg, "T "); ok {
			p.event.Time = p.time(s)
			msg = msg[size:]
		}
	}
	start := 0
	for i := 0; i <= len(msg); i++ {
		if i < len(msg) && !separator[msg[i]] {
			continue
		}
		if i-start >= wordMin {
			p.word(msg[start:i])
		}
		start = i + 1
	}
	return nil
}

const wordMin = 4 // "a.de"

// separator says which bytes never are part of a value in a line.
var separator = [256]bool{' ': true, '\t': true, '"': true, '\'': true, '<': true, '>': true, '|': true, ',': true, ';': true,
	'`': true, '{': true, '}': true, '\\': true, 0: true}

// word takes a word, or what stands after its "=", without the marks around it.
func (p *Parser) word(word []byte) {
	if eq := bytes.IndexByte(word, '='); eq >= 0 && !bytes.ContainsAny(word[:eq], ":/?") {
		word = word[eq+1:]
	}
	word = bytes.TrimLeft(word, "([=/*")
	if word = bytes.TrimRight(word, ".:!?)=/*"); bytes.IndexByte(word, '[') < 0 {
		word = bytes.TrimRight(word, "].:") // "(see evil.example]"
	}
	if worthwhile(word) {
		p.take(RoleText, kindWord, word)
	}
}

// worthwhile spares Detect, whose refusals are slow, what cannot be a value: one
// has a scheme, the length and the digits of a hash, the colons and a number of
// an IPv6 address ("a::b" is of a programming language), or a dot that is not
// the point of a number.
func worthwhile(word []byte) bool {
	dots, colons, letters, numbers, other := 0, 0, 0, 0, 0
	for _, c := range word {
		switch {
		case c >= '0' && c <= '9':
			numbers++
		case c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			letters++
		case c == '.':
			dots++
		case c == ':':
			colons++
		case c != '[' && c != ']':
			other++
		}
	}
	last := byte(0)
	if len(word) > 0 {
		last = word[len(word)-1]
	}
	switch {
	case other == 0 && colons >= 2:
		return numbers > 0 && (colons >= 7 || bytes.Contains(word, []byte("::")))
	case other+dots+colons == 0:
		return len(word) == 32 || len(word) == 40 || len(word) == 64 || len(word) == 128
	case dots == 0:
		return bytes.Contains(word, []byte("://"))
	case letters+other == 0:
		return dots == 3
	}
	return last < '0' || last > '9' || colons > 0
}
