package catalog

import (
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/message/catalog"
)

// Say is what a printer makes of a text with a singular.
func Say(other, one string, args ...any) string {
	b := catalog.NewBuilder()
	set(b, language.English, "key", other, one)
	return (&Printer{"en", message.NewPrinter(language.English, message.Catalog(b))}).Text("key", args...)
}

// Words returns what a key says in English and German, of many and of one.
func Words() map[Key][4]string {
	all := map[Key][4]string{}
	for _, table := range tables() {
		for key, t := range table {
			all[key] = [4]string{t.en, t.de, t.en1, t.de1}
		}
	}
	return all
}

// Entries is how many all tables have together.
func Entries() int {
	n := 0
	for _, table := range tables() {
		n += len(table)
	}
	return n
}
