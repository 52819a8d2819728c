package intel

import (
	"slices"
	"strings"
	"unicode"

	"github.com/watchward/watchward/node/notice"
)

// Title reads a subject or the name of a report or a file: what Marking reads, and
// a colour in brackets, "[AMBER]", or a word of other ways of marking anywhere in it.
func Title(line string) Mark {
	m := Marking(line)
	for rest := line; ; {
		open := strings.IndexAny(rest, "[({")
		if open < 0 {
			break
		}
		rest = rest[open+1:]
		end := strings.IndexAny(rest, "])}[({")
		if end < 0 {
			break
		}
		text := rest[:end]
		shouted := text == strings.ToUpper(text)
		if tlp, ok := ParseMarking(text); ok && (shouted || tlp >= notice.TLPAmber) {
			m.TLP = notice.Stricter(m.TLP, tlp)
		} else if shouted && strangers[strings.ToLower(strings.TrimSpace(text))] {
			m.unclear(text)
		}
	}
	if len(line) <= titleMax {
		if text, _ := classified(line); text != "" {
			m.unclear(text)
		}
	}
	return m
}

// FileName reads the name of a file: "TLP_AMBER_list.csv", "iocs-tlp-red.txt".
func FileName(name string) Mark {
	return Title(strings.Map(func(r rune) rune {
		if r == '_' || r == '.' {
			return ' '
		}
		return r
	}, name[strings.LastIndexAny(name, `/\`)+1:]))
}

const titleMax = 1_000 // bytes of a title that are looked at for classes

// classes are what authorities and companies mark with instead of TLP, longest first.
var classes = [][]string{
	{"nur", "für", "den", "dienstgebrauch"}, {"nur", "fuer", "den", "dienstgebrauch"}, {"vs", "nfd"}, {"vs", "vertraulich"}, {"streng", "vertraulich"}, {"streng", "geheim"},
	{"verschlusssache"}, {"verschlußsache"}, {"vertraulich"}, {"dienstgebrauch"},
}

// beside are words of such a line that say nothing else.
var beside = words("vs amtlich geheimgehalten")

// classified finds the first class in a text, and reports whether it has nothing else.
func classified(text string) (class string, alone bool) {
	in := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	alone = true
	for len(in) > 0 {
		at := slices.IndexFunc(classes, func(c []string) bool { return len(c) <= len(in) && slices.Equal(c, in[:len(c)]) })
		switch {
		case at >= 0:
			if class == "" {
				class = strings.Join(classes[at], " ")
			}
			in = in[len(classes[at]):]
			continue
		case !beside[in[0]] && !labels[in[0]]:
			alone = false
		}
		in = in[1:]
	}
	return class, alone
}

// classMark reads a line that is such a class and nothing else.
func classMark(line string) (m Mark) {
	const lineMax = 100
	if len(line) > lineMax {
		return m
	}
	if class, alone := classified(line); class != "" && alone {
		m.unclear(strings.TrimSpace(line))
		m.Alone = true
	}
	return m
}

// mayClass spares most lines the closer look.
func mayClass(line string) bool {
	word := nextWord(line, 0)
	w := line[word.from:min(len(line), word.from+3)]
	switch {
	case len(w) < 3:
		return false
	case strings.EqualFold(w[:2], "vs"), strings.EqualFold(w, "ver"), strings.EqualFold(w, "nur"), strings.EqualFold(w, "str"), strings.EqualFold(w, "die"), strings.EqualFold(w, "amt"):
		return true
	}
	return false
}
