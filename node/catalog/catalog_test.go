package catalog_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/catalog"
)

const root = "../.."

func TestEachKeyHasItsWords(t *testing.T) {
	words, names := catalog.Words(), keys(t)
	if len(words) != catalog.Entries() {
		t.Errorf("%d keys have words, of %d entries: two tables have the same key", len(words), catalog.Entries())
	}
	for key, name := range names {
		if _, ok := words[key]; !ok {
			t.Errorf("%s (%q) has no words: add it to the table of its file", name, key)
		}
	}
	for key, w := range words {
		if names[key] == "" {
			t.Errorf("%q is in a table and is no constant of type Key", key)
		}
		for i, lang := range []string{"English", "German"} {
			if strings.TrimSpace(w[i]) == "" {
				t.Errorf("%q lacks %s", key, lang)
			}
		}
		if (w[2] == "") != (w[3] == "") {
			t.Errorf("%q has a singular in one language alone", key)
		}
		for i, s := range w {
			if s == "" {
				continue
			}
			if got, want := verbs(s), verbs(w[0]); !slices.Equal(got, want) {
				t.Errorf("%q takes %v in %q, and %v in English", key, got, s, want)
			}
			if strings.Contains(s, "${") {
				t.Errorf("%q has ${, which the catalogue would replace: %q", key, s)
			}
			if w[2] != "" && !slices.Contains(verbs(s), "1d") {
				t.Errorf("%q has a singular, and its first argument is no %%d: %q", key, w[i])
			}
		}
	}
}

// TestEachKeyIsUsed looks for keys by name in Go and by value in templates.
func TestEachKeyIsUsed(t *testing.T) {
	names := keys(t)
	byName := map[string]bool{}
	byValue := map[catalog.Key]string{}
	inGo, inTemplate := regexp.MustCompile(`\bcatalog\.([A-Z]\w*)`), regexp.MustCompile(`\btext "([^"]*)"`)
	for _, dir := range []string{"node", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() && (d.Name() == "testdata" || d.Name() == "catalog") {
				if err == nil {
					err = filepath.SkipDir
				}
				return err
			}
			html := strings.HasSuffix(path, ".html")
			if d.IsDir() || strings.HasSuffix(path, "_test.go") || !html && !strings.HasSuffix(path, ".go") {
				return nil
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if html {
				for _, m := range inTemplate.FindAllSubmatch(source, -1) {
					byValue[catalog.Key(m[1])] = path
				}
				return nil
			}
			for _, m := range inGo.FindAllSubmatch(source, -1) {
				byName[string(m[1])] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for key, name := range names {
		if ast.IsExported(name) && !byName[name] && byValue[key] == "" {
			t.Errorf("nobody uses %s (%q): remove it", name, key)
		}
	}
	for key, path := range byValue {
		if names[key] == "" {
			t.Errorf("%s has the text %q, which is no key", path, key)
		}
	}
}

// keys returns the names of the package's constants of type Key by their values.
func keys(t *testing.T) map[catalog.Key]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[catalog.Key]string{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Key" {
				return true
			}
			for i, name := range spec.Names {
				value, err := strconv.Unquote(spec.Values[i].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				if other := found[catalog.Key(value)]; other != "" {
					t.Errorf("%s and %s are both %q", name.Name, other, value)
				}
				found[catalog.Key(value)] = name.Name
			}
			return true
		})
	}
	if len(found) == 0 {
		t.Fatal("the package has no keys: is it another directory?")
	}
	return found
}

// verbs returns the arguments a text takes: index and verb, sorted.
func verbs(s string) []string {
	var list []string
	next := 1
	for _, m := range regexp.MustCompile(`%(?:\[(\d+)\])?[-+# 0-9.]*([a-zA-Z%])`).FindAllStringSubmatch(s, -1) {
		if m[2] == "%" {
			continue
		}
		if m[1] != "" {
			next, _ = strconv.Atoi(m[1])
		}
		list = append(list, fmt.Sprintf("%d%s", next, m[2]))
		next++
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func TestPrinter(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skipf("SKIPPED: no time zones on this machine: %v", err)
	}
	winter := time.Date(2026, 3, 1, 8, 9, 30, 0, time.UTC).In(berlin)
	summer := winter.AddDate(0, 4, 0)
	odd := winter.In(time.FixedZone("", -(3*60+30)*60))
	for _, test := range []struct{ got, want string }{
		{catalog.For("en").Moment(winter), "1 March 2026, 09:09 CET"},
		{catalog.For("de").Moment(winter), "1. März 2026, 09:09 MEZ"},
		{catalog.For("de").Moment(summer), "1. Juli 2026, 09:09 MESZ"},
		{catalog.For("de").Moment(winter.UTC()), "1. März 2026, 08:09 UTC"},
		{catalog.For("en").Moment(odd), "1 March 2026, 04:39 UTC-03:30"},
		{catalog.For("").Moment(winter), "1 March 2026, 09:09 CET"},
		{catalog.For("fr").Lang(), "en"},
		{catalog.For("en").Number(1_000_000), "1,000,000"},
		{catalog.For("de").Number(1_000_000), "1.000.000"},
		{catalog.Say("%d words of %s", "%d word of %s", 1, "A"), "1 word of A"},
		{catalog.Say("%d words of %s", "%d word of %s", 2000, "A"), "2,000 words of A"},
		{catalog.Say("%d words of %s", "%d word of %s", 0, "A"), "0 words of A"},
		{catalog.For("en").Span(24 * time.Hour), "24 h"},
		{catalog.For("en").Span(49 * time.Hour), "2 days"},
		{catalog.For("de").Span(-72 * time.Hour), "3 Tage"},
		{catalog.For("de").Span(3*time.Hour + 20*time.Minute + 59*time.Second), "3 Std. 20 Min."},
		{catalog.For("en").Span(59 * time.Second), "0 min"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}
