package notice

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// Limits of an advisory.
const (
	TitleMax     = 120     // characters
	AdviceMax    = 4 << 10 // bytes of the text
	PartiesMax   = 16      // suppliers
	ProductsMax  = 16
	CVEsMax      = 32
	blankMax     = 2               // empty lines in a row: more would push text out of sight
	advisoryMax  = 7 << 10         // bytes of it all, so that it fits an item
	documentSize = 32 + 32 + 4 + 8 // bytes of a document beside its texts
)

// An Advisory tells others what to do, or what to look for. Whoever hears it answers
// with a Response.
type Advisory struct {
	Type      Advice
	Title     string
	Text      string   // lines that "\n" parts; Markdown if people like, nobody renders it
	Suppliers []string // whom it is about, no two alike; may be empty, as all that follow
	Products  []string // canonical, see ParseProduct
	CVEs      []string
	Due       int64 // ms: until when it should be done; 0 = no date
	Documents []Document
}

// An Advice is the type of an advisory; wire format.
type Advice uint8

const (
	AdviceGuidance Advice = 1 // what to do
	AdvicePlaybook Advice = 2 // what to do when it happens
	AdviceSupplier Advice = 3 // a supplier is compromised
	AdviceHunt     Advice = 4 // look for it even if you have patched
)

var adviceNames = [...]string{"", "guidance", "playbook", "supplier-compromise", "hunt"}

func (a Advice) String() string { return wordName(adviceNames[:], uint8(a)) }

// ParseAdvice is the inverse of String, in any case.
func ParseAdvice(s string) (Advice, error) {
	return parseWord[Advice]("advisory.type", adviceNames[:], s)
}

// Fits reports whether a can answer a notice of a kind.
func (a Answer) Fits(k Kind) bool { return slices.Contains(AnswersTo(k), a) }

// AnswersTo returns what a notice of a kind can be answered with, nothing if it cannot be.
func AnswersTo(k Kind) []Answer {
	switch k {
	case KindQuestion, KindAssistance:
		return []Answer{AnswerSeen, AnswerNotSeen, AnswerUnknown}
	case KindAdvisory:
		return []Answer{AnswerSeen, AnswerDone, AnswerNA, AnswerHelp}
	}
	return nil
}

func (a *Advisory) check() error {
	if err := checkWord("advisory.type", a.Type, adviceNames[:]); err != nil {
		return err
	}
	if err := checkSaid("advisory.title", a.Title, TitleMax); err != nil {
		return err
	}
	if err := checkLines("advisory.text", a.Text, AdviceMax); err != nil {
		return err
	}
	for _, list := range []struct {
		field string
		texts []string
		limit int
		fold  func(string) string
		check func(field, s string) error
	}{
		{"advisory.suppliers", a.Suppliers, PartiesMax, Fold, func(field, s string) error { return checkSaid(field, s, PartyMax) }},
		{"advisory.products", a.Products, ProductsMax, strings.Clone, checkProduct},
		{"advisory.cves", a.CVEs, CVEsMax, strings.Clone, checkCVE},
	} {
		if len(list.texts) > list.limit {
			return fieldErrorf(list.field, fmt.Sprintf("name the %d that matter most", list.limit), "there are %d", len(list.texts))
		}
		seen := map[string]bool{}
		for _, s := range list.texts {
			if err := list.check(list.field, s); err != nil {
				return err
			}
			if fold := list.fold(s); seen[fold] {
				return fieldErrorf(list.field, "name it once", "%s is there twice", show(s))
			} else {
				seen[fold] = true
			}
		}
	}
	if err := checkTime("advisory.due", a.Due); err != nil {
		return err
	}
	if err := a.checkDocuments(); err != nil {
		return err
	}
	if size := a.size(); size > advisoryMax {
		return fieldErrorf("advisory", fmt.Sprintf("shorten it to %d, or put the text into a document", advisoryMax), "it has %d bytes", size)
	}
	return nil
}

func (a *Advisory) checkDocuments() error {
	if len(a.Documents) > DocumentsMax {
		return fieldErrorf("advisory.documents", fmt.Sprintf("give %d, or pack them into one", DocumentsMax), "there are %d", len(a.Documents))
	}
	names, hashes := map[string]bool{}, map[[32]byte]bool{}
	for i, d := range a.Documents {
		if err := d.check(fmt.Sprintf("advisory.documents[%d]", i)); err != nil {
			return err
		}
		if fold := Fold(d.Name); names[fold] || hashes[d.SHA256] {
			return fieldErrorf("advisory.documents", "give it once", "%s is there twice, by its name or its content", show(d.Name))
		} else {
			names[fold], hashes[d.SHA256] = true, true
		}
	}
	return nil
}

// IsFileName reports whether s can be the name of a document: a plain one of a file on
// every system, without a path.
func IsFileName(s string) bool {
	return checkSaid("name", s, WhatMax) == nil && isFileName(s)
}

// size is how many bytes the texts and documents take in an item, roughly.
func (a *Advisory) size() int {
	n := len(a.Title) + len(a.Text)
	for _, s := range slices.Concat(a.Suppliers, a.Products, a.CVEs) {
		n += len(s) + 2
	}
	for _, d := range a.Documents {
		n += len(d.Name) + len(d.Media) + documentSize
	}
	return n
}

func checkCVE(field, s string) error {
	if !IsCVE(s) {
		return fieldErrorf(field, "give an id such as CVE-2021-44228", "%s is not one", show(s))
	}
	return nil
}

// checkLines accepts up to limit bytes of printable lines in NFC, without space at their
// ends, with no empty line at the top or the bottom.
func checkLines(field, s string, limit int) error {
	if len(s) > limit {
		return fieldErrorf(field, fmt.Sprintf("shorten it to %d, or put it into a document", limit), "it has %d bytes", len(s))
	}
	if !norm.NFC.IsNormalString(s) {
		return fieldErrorf(field, "write it in Unicode's NFC", "it is not")
	}
	if strings.HasPrefix(s, "\n") || strings.HasSuffix(s, "\n") {
		return fieldErrorf(field, "remove it", "it begins or ends with an empty line")
	}
	blank := 0
	for line := range strings.SplitSeq(s, "\n") {
		if err := checkPrintable(field, line); err != nil {
			return err
		}
		if strings.TrimRight(line, " \u00a0\u3000") != line {
			return fieldErrorf(field, "trim it", "the line %s has space at its end", show(line))
		}
		if blank++; line != "" {
			blank = 0
		}
		if blank > blankMax {
			return fieldErrorf(field, fmt.Sprintf("leave %d", blankMax), "it has more than %d empty lines in a row", blankMax)
		}
	}
	return nil
}

// CleanLines brings a text into the form that an advisory has, as far as that changes
// nothing that a reader sees: line ends, tabs, space at the ends of lines, empty lines, NFC.
func CleanLines(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\t", "    ")
	var out []string
	blank := 0
	for line := range strings.SplitSeq(s, "\n") {
		line = strings.TrimRight(line, " \u00a0\u3000\r")
		if blank++; line != "" {
			blank = 0
		}
		if blank <= blankMax {
			out = append(out, line)
		}
	}
	return norm.NFC.String(strings.Trim(strings.Join(out, "\n"), "\n"))
}

// texts are what is written freely in it.
func (a *Advisory) texts() []string {
	out := slices.Concat([]string{a.Title, a.Text}, a.Suppliers, a.Products, a.CVEs)
	for _, d := range a.Documents {
		out = append(out, d.Name)
	}
	return out
}
