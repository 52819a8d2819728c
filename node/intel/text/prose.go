package text

import (
	"strings"
	"unicode"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// prose takes from a line what is surely meant as an indicator, and reports
// whether it found or refused anything.
func (in *reader) prose(line string) (found bool, err error) {
	if alone := unwrap(escaped.Replace(line)); !strings.ContainsAny(alone, " \t<>") {
		return in.word(trim(alone), "", true)
	}
	previous := ""
	line = markdown.Replace(line)
	for _, word := range strings.FieldsFunc(line, separates) {
		word = trim(word)
		did, err := in.word(word, previous, false)
		if err != nil {
			return found, err
		}
		found = found || did
		previous = word
	}
	return found, nil
}

// escaped undoes the backslashes of Markdown, markdown takes its links apart too.
var (
	escaped  = strings.NewReplacer(`\[`, "[", `\]`, "]", `\(`, "(", `\)`, ")", `\.`, ".", `\_`, "_", `\:`, ":")
	markdown = strings.NewReplacer(`\[`, "[", `\]`, "]", `\(`, "(", `\)`, ")", `\.`, ".", `\_`, "_", `\:`, ":", "](", " ")
)

// separates says which characters never are part of a value in prose.
func separates(r rune) bool {
	return unicode.IsSpace(r) || strings.ContainsRune("`\"'<>|,;“”„‘’«»", r)
}

// trim takes punctuation and markup off a word, but leaves "[.]" alone.
func trim(word string) string {
	word = strings.TrimLeft(word, "+*_~([{=")
	for word != "" {
		last := word[len(word)-1]
		open := strings.IndexByte(")]}", last)
		switch {
		case strings.IndexByte("+*_~.:!?=", last) >= 0:
		case open >= 0 && strings.Count(word, string("([{"[open])) < strings.Count(word, string(last)):
		default:
			return word
		}
		word = word[:len(word)-1]
	}
	return word
}

// word takes, refuses or passes over one word. previous is the word before it,
// alone says that the line has no other.
func (in *reader) word(word, previous string, alone bool) (found bool, err error) {
	if !worthwhile(word) {
		return false, nil
	}
	defanged := isDefanged(word)
	indicator, err := notice.Detect(word, in.options.Indicator)
	if err != nil {
		// What was defanged was meant; so was what is an address.
		if _, special := notice.Detect(word, notice.Options{AllowSpecial: true}); defanged || special == nil && !strings.Contains(word, `\`) && looksLikeAddress(word) {
			reason := intel.Reason(err)
			if strings.Contains(reason, "is a public suffix") { // nobody's name
				return true, in.pass(word, reason)
			}
			return true, in.refuse(word, reason)
		}
		return false, nil
	}
	switch indicator.Type {
	case notice.TypeURL:
		if !defanged {
			return true, in.pass(word, "a link that works, in prose, is mostly a reference: write it as hxxp:// or in a list if it is meant")
		}
	case notice.TypeDomain:
		if !defanged && !alone {
			return false, nil
		}
	case notice.TypeEmail:
		if !defanged {
			return false, nil
		}
	case notice.TypeIPv4, notice.TypeIPv6, notice.TypeCIDR:
		if !defanged && (isVersion(previous) || !looksLikeAddress(word)) {
			return false, nil
		}
	case notice.TypeFilename, notice.TypeRegistryKey, notice.TypeASN:
		return false, nil // legitimate ones are in every report
	}
	return true, in.take(word, indicator)
}

// worthwhile spares Detect the words that cannot be values.
func worthwhile(word string) bool {
	return len(word) >= 26 || len(word) >= 4 && strings.ContainsAny(word, ".:@[(")
}

// isDefanged reports whether somebody made the word unclickable on purpose.
func isDefanged(word string) bool {
	low := strings.ToLower(word)
	if scheme, _, ok := strings.Cut(low, ":"); ok {
		switch scheme {
		case "hxxp", "hxxps", "h**p", "h**ps", "hxtp", "htxp", "hxtps", "htxps", "fxp", "fxps":
			return true
		}
	}
	for _, mark := range [...]string{"[.]", "(.)", "{.}", "[dot]", "(dot)", "{dot}", "[:]", "[://]", "(://)", "[at]", "(at)", "[@]", "(@)", "{at}"} {
		if at := strings.Index(low, mark); at > 0 {
			return true
		}
	}
	return false
}

// looksLikeAddress tells 198.51.100.7 and 2001:db8::7 from the "a::b" of a
// programming language.
func looksLikeAddress(word string) bool {
	bare, _, _ := strings.Cut(word, "/")
	if strings.Count(bare, ".") >= 3 && strings.Trim(bare, "0123456789.:[]()") == "" {
		return true
	}
	return strings.Count(bare, ":") >= 3 && strings.ContainsAny(bare, "0123456789")
}

// isVersion reports whether the number after word is a version, not an address.
func isVersion(word string) bool {
	switch strings.ToLower(strings.TrimRight(word, ".:")) {
	case "v", "ver", "version", "versions", "release", "build", "firmware":
		return true
	}
	return false
}
