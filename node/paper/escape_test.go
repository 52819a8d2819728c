package paper_test

import (
	"bytes"
	"flag"
	"html/template"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/paper"
)

var update = flag.Bool("update", false, "rewrite the expected reports")

// attacks are what somebody might write into any field.
var attacks = []string{
	`<script>alert(1)</script>`,
	`"'><img src=x onerror=y>{{.Lead}}</table><style>`,
	"|[a](javascript:b)`*_#![c](d) <b> \\` ~~e~~",
	"www.evil.example https://evil.example a@b.example",
}

func says(what string) func(string, int) string {
	return func(_ string, limit int) string { return what[:min(len(what), limit)] }
}

// harmless is as long as what it stands for.
func harmless(what string) string { return strings.Repeat("x", len(what)) }

// skeleton is a page without its texts: tags with their attributes.
func skeleton(t *testing.T, page []byte) string {
	t.Helper()
	var out strings.Builder
	z := html.NewTokenizer(bytes.NewReader(page))
	for z.Next() != html.ErrorToken {
		token := z.Token()
		if token.Type == html.TextToken || token.Type == html.DoctypeToken {
			continue
		}
		out.WriteString(token.String() + "\n")
	}
	return out.String()
}

// TestWordsOfOthersAreNoMarkup: whatever people write, a page has the tags that it would
// have without, and shows what was written.
func TestWordsOfOthersAreNoMarkup(t *testing.T) {
	for name, print := range map[string]func(g region) ([]byte, error){
		"report": func(g region) ([]byte, error) { return paper.Situation(g.report(), "en", time.UTC) },
		"pack": func(g region) ([]byte, error) {
			b := playbook("x", "content")
			b.Name, b.Title, b.From, b.Media = g.text("", 200), g.text("", 120), g.text("", 100), g.text("", 100)
			k := g.pack("en", b)
			k.Addresses = append(k.Addresses, g.text("", 300))
			return k.HTML()
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, attack := range attacks {
				bad, err := print(region{members: 12, text: says(attack), least: true})
				if err != nil {
					t.Fatal(err)
				}
				good, err := print(region{members: 12, text: says(harmless(attack)), least: true})
				if err != nil {
					t.Fatal(err)
				}
				if got, want := skeleton(t, bad), skeleton(t, good); got != want {
					t.Errorf("%s: tags of the page:\n%s\nwithout what was written:\n%s", attack, got, want)
				}
				if !bytes.Contains(bad, []byte(html.EscapeString(attack[:20]))) && !bytes.Contains(bad, []byte(template.HTMLEscapeString(attack[:20]))) {
					t.Errorf("%s is not shown", attack)
				}
			}
		})
	}
}

// signs are what makes markup in Markdown and in HTML within it.
var signs = regexp.MustCompile("\\\\[[:punct:]]|&(amp|lt);|[<>`*_|#\\[\\]~!@]|://|(?i)www\\.")

// TestWordsOfOthersAreNoMarkdown: all signs that people write are escaped, so that those
// which are not are as many as without.
func TestWordsOfOthersAreNoMarkdown(t *testing.T) {
	bare := func(text func(string, int) string) string {
		out := paper.SituationMarkdown(region{members: 12, text: text, least: true}.report(), "en", time.UTC)
		var found strings.Builder
		for _, s := range signs.FindAllString(string(out), -1) {
			if s[0] != '\\' && s[0] != '&' {
				found.WriteString(s)
			}
		}
		return found.String()
	}
	for _, attack := range attacks {
		if got, want := bare(says(attack)), bare(says(harmless(attack))); got != want {
			t.Errorf("%s: signs:\n%s\nwithout what was written:\n%s", attack, got, want)
		}
	}
}

// TestReportReads compares whole reports, in Markdown, with what was looked at.
func TestReportReads(t *testing.T) {
	for _, language := range catalog.Languages {
		r := region{members: 12, text: usual}.report()
		r.Since = ago(2 * time.Hour)
		got := paper.SituationMarkdown(r, language, time.UTC)
		path := filepath.Join("testdata", "situation."+language+".md")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs: go test ./node/paper -run ReportReads -update, and read the difference:\n%s", path, got)
		}
	}
}
