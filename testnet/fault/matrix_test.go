package fault_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// How many rows the matrix and the list of attacks have.
const (
	faults  = 70
	attacks = 42
)

var (
	named  = regexp.MustCompile("`([a-z/]+) ((?:Test|Fuzz)[A-Za-z0-9]+)`")
	reason = regexp.MustCompile(`(?:^|: |· )not yet(: .{10,}|, .{10,}|$| tried$)`)
)

// TestMatrix keeps MATRIX.md and the tests in step: each fault has a row, each
// row a test or a reason, each test that is named anywhere exists, and each test
// of this package is in it.
func TestMatrix(t *testing.T) {
	exist := tests(t)
	used := checkTable(t, "MATRIX.md", faults, exist)
	for name := range exist {
		dir, test, _ := strings.Cut(name, " ")
		if dir == "testnet/fault" && test != "TestMatrix" && test != "TestAttackList" && !used[name] {
			t.Errorf("%s is in no row", test)
		}
	}
}

// TestAttackList keeps the list of attacks and their tests in step.
func TestAttackList(t *testing.T) {
	checkTable(t, "../../crypto/ATTACKS.md", attacks, tests(t))
}

// checkTable checks that a table has so many rows, in order, each with a test or
// a reason, and returns the tests that it names.
func checkTable(t *testing.T, file string, rows int, exist map[string]bool) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	row := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		number, err := strconv.Atoi(strings.TrimPrefix(cells[0], "| "))
		if err != nil {
			for _, m := range named.FindAllStringSubmatch(line, -1) { // the table of wrong changes
				if !exist[m[1]+" "+m[2]] {
					t.Errorf("%q names %s in %s, which does not exist", line, m[2], m[1])
				}
			}
			continue
		}
		if row++; number != row || len(cells) != 4 {
			t.Fatalf("after row %d comes %q: want 4 cells, in order", row-1, line)
		}
		tried := strings.TrimSuffix(cells[3], " |")
		all := named.FindAllStringSubmatch(tried, -1)
		for _, m := range all {
			if !exist[m[1]+" "+m[2]] {
				t.Errorf("row %d names %s in %s, which does not exist", row, m[2], m[1])
			}
			used[m[1]+" "+m[2]] = true
		}
		if len(all) == 0 && !reason.MatchString(tried) {
			t.Errorf("row %d names no test and no reason: %q", row, tried)
		}
		if left := strings.Count(tried, "`"); left != 2*len(all) {
			t.Errorf("row %d quotes something that is no `package TestName`: %q", row, tried)
		}
	}
	if row != rows {
		t.Errorf("%s has %d rows, want %d", file, row, rows)
	}
	return used
}

// tests finds every test and fuzz target of the repository, as "package TestName".
func tests(t *testing.T) map[string]bool {
	t.Helper()
	const root = "../.."
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if ok && fn.Recv == nil && fn.Name.Name != "TestMain" && (strings.HasPrefix(fn.Name.Name, "Test") || strings.HasPrefix(fn.Name.Name, "Fuzz")) {
				found[filepath.ToSlash(dir)+" "+fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
