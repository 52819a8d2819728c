package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	quotedSpan = regexp.MustCompile("`([^`\n]+)`")
	testName   = regexp.MustCompile(`^([a-z0-9/]+) ((?:Test|Fuzz)[A-Za-z0-9_]+)$`)
	linkTarget = regexp.MustCompile(`\]\(([^)#]+)\)`)
)

// Whatever docs/ names is there: files, tests, commands with their flags, links.
func TestDocsNameWhatIsThere(t *testing.T) {
	files, err := filepath.Glob("docs/*.md")
	if err != nil || len(files) < 4 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range linkTarget.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join("docs", m[1])); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			}
		}
		for _, m := range quotedSpan.FindAllStringSubmatch(string(text), -1) {
			if why := missing(m[1]); why != "" {
				t.Errorf("%s names `%s`: %s", file, m[1], why)
			}
		}
	}
	for _, wrong := range []string{"node TestThatNobodyWrote", "node/nothing.go", "watchward exercise begin", "watchward exercise start --until", "nowhere TestNobodySpeaksForAnother"} {
		if missing(wrong) == "" {
			t.Errorf("%q is taken for something that is there", wrong)
		}
	}
}

// missing says what is wrong with a span that names something; "" if it is there.
func missing(span string) string {
	root := filepath.Join("..", "..")
	if m := testName.FindStringSubmatch(span); m != nil {
		tests, _ := filepath.Glob(filepath.Join(root, m[1], "*_test.go"))
		for _, file := range tests {
			if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "\nfunc "+m[2]+"(") {
				return ""
			}
		}
		return "there is no such test"
	}
	if words := strings.Fields(span); words[0] == "watchward" {
		return command(words[1:])
	}
	if strings.HasPrefix(span, "go test ") || strings.HasPrefix(span, "--") {
		return ""
	}
	if _, err := os.Stat(filepath.Join(root, span)); err != nil {
		return "there is no such file, test or command"
	}
	return ""
}

// command says what is wrong with the words of a command. Words in capitals stand for
// what people put there.
func command(words []string) string {
	c, rest, err := newRoot().Find(words)
	if err != nil {
		return err.Error()
	}
	c.InitDefaultHelpFlag()
	for _, w := range rest {
		switch name, flag := strings.CutPrefix(w, "--"); {
		case flag && c.Flags().Lookup(name) == nil && c.InheritedFlags().Lookup(name) == nil:
			return "it has no flag --" + name
		case !flag && w != strings.ToUpper(w) && c.HasSubCommands():
			return c.CommandPath() + " has no command " + w
		}
	}
	return ""
}
