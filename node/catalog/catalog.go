// Package catalog has what people read on paper and in alerts, in each language: reports,
// packs, drills, drafts of incidents, alerts. What a terminal shows is English and is not
// here.
//
// A key is a constant, and its words are in the table beside it, one file a subject. A
// test finds a key that lacks a language, that nobody uses, or whose languages take
// different arguments.
package catalog

import (
	"sync"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/message/catalog"
)

// Languages are those that have every text; the first is the default.
var Languages = []string{"en", "de"}

// A Key names a text. Its value is for templates: {{text "draft.title"}}.
type Key string

// A text is what a key says. Where its first argument is a count, en1 and de1 are what is
// said of one.
//
// Verbs are those of fmt, and take explicit indexes where an order differs: %[2]s. %d
// groups digits as the language does, so a number that counts nothing, such as a year or
// a port, is passed as a string to %s.
type text struct{ en, de, en1, de1 string }

type texts map[Key]text

// tables lists the table of each subject.
func tables() []texts {
	return []texts{dateTexts, adviceTexts, alertTexts, drillTexts, incidentTexts, packTexts, reportTexts}
}

// A Printer says texts in one language. It may be used by many at once.
type Printer struct {
	lang    string
	printer *message.Printer
}

// For returns the printer of a language of Languages; of any other, the English one.
func For(lang string) *Printer {
	tag := language.English
	if lang == "de" {
		tag = language.German
	} else {
		lang = "en"
	}
	return &Printer{lang, message.NewPrinter(tag, message.Catalog(compiled()))}
}

// Lang is the printer's language, as HTML's lang attribute has it.
func (p *Printer) Lang() string { return p.lang }

// Text says a key with its arguments. It escapes nothing: html/template does.
func (p *Printer) Text(key Key, args ...any) string {
	return p.printer.Sprintf(string(key), args...)
}

// Number is a count with the language's digit groups: 1,000,000 or 1.000.000.
func (p *Printer) Number(n int) string { return p.printer.Sprintf("%d", n) }

var compiled = sync.OnceValue(func() catalog.Catalog {
	b := catalog.NewBuilder(catalog.Fallback(language.English))
	for _, table := range tables() {
		for key, t := range table {
			set(b, language.English, key, t.en, t.en1)
			set(b, language.German, key, t.de, t.de1)
		}
	}
	return b
})

// set adds a text. The test of the tables sees to it that none can be refused.
func set(b *catalog.Builder, tag language.Tag, key Key, other, one string) {
	if one == "" {
		b.SetString(tag, string(key), other)
		return
	}
	b.Set(tag, string(key), plural.Selectf(1, "%d", plural.One, one, plural.Other, other))
}
