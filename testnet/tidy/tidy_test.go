// Package tidy_test lints the repository as a whole: who may import whom, what
// may lie at the top level, and that each package says what it is.
package tidy_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	module = "github.com/watchward/watchward/"
	root   = "../.."
)

// A law forbids a package's non-test files to import something. A package path
// that ends in "/..." covers what lies below it.
type law struct{ of, forbids, reason string }

var laws = []law{
	{"crypto/...", module + "mesh", "floor 0 knows no network"},
	{"crypto/...", module + "ledger", "floor 0 knows no ledger"},
	{"crypto/...", module + "node", "floor 0 knows no domain: its items are opaque"},
	{"crypto/...", "github.com/libp2p", "the trusted core stays small enough to read"},
	{"crypto/...", "github.com/dgraph-io/badger", "the trusted core keeps nothing"},
	{"mesh/...", module + "node", "the mesh carries envelopes and does not know what they say"},
	{"mesh/...", module + "ledger", "gossip never waits for the ledger"},
	{"mesh/...", "github.com/dgraph-io/badger", "what is kept is the store's matter"},
	{"mesh/pulse", module + "mesh", "the pulse works over whatever carries its streams"},
	{"mesh/pulse", module + "crypto", "the pulse knows peer ids alone"},
	{"ledger/...", module + "mesh", "the ledger works whatever carries its traffic"},
	{"ledger/...", module + "node", "the ledger orders ids and does not know what they mean"},
	{"ledger/verify", "github.com/hashicorp/raft", "a verifier needs no cluster"},
	{"ledger/verify", "github.com/dgraph-io/badger", "a verifier needs no database"},
	{"ledger/verify", "github.com/libp2p", "a verifier is no member"},
	{"ledger/tlog", "github.com/hashicorp/raft", "a verifier needs no cluster, and stands on this"},
	{"ledger/tlog", "github.com/dgraph-io/badger", "a verifier needs no database, and stands on this"},
	{"ledger/tlog", "github.com/libp2p", "a verifier is no member, and stands on this"},
	{"node/notice", module + "mesh", "the domain is pure"},
	{"node/notice", module + "node/", "the domain is the lowest room of its floor"},
	{"node/catalog", module, "words need nothing of what they speak of"},
	{"node/catalog", "os", "words are in the program, not beside it"},
	{"node/situation", module + "mesh", "the picture is pure state"},
	{"node/situation", module + "node/store", "the picture is pure state"},
	{"node/situation", module + "node/api", "the picture is pure state"},
	{"node/situation", "os", "the picture is pure state"},
	{"node/advisory", module + "node/store", "the library is an index in memory: what holds is the store's word"},
	{"node/advisory", module + "mesh", "the library is an index in memory: what holds is the store's word"},
	{"node/advisory", "os", "the library is pure state"},
	{"node/proof", module + "mesh", "whoever checks a proof has no network"},
	{"node/proof", module + "node/store", "whoever checks a proof has no node"},
	{"node/proof", module + "node/api", "whoever checks a proof has no node"},
	{"node/proof", "net", "whoever checks a proof has no network"},
	{"node/proof", "os", "whoever checks a proof has no directory"},
	{"node/intel/...", module + "node/store", "mappings are pure"},
	{"node/intel/...", module + "mesh", "mappings are pure"},
	{"node/intel/...", "net/http", "mappings are pure"},
	{"node/verdict/...", module + "node/store", "verdicts are pure: words go in"},
	{"node/verdict/...", module + "mesh", "verdicts are pure: words go in"},
	{"node/verdict/...", "net/http", "verdicts are pure: words go in"},
	{"node/verdict/...", "os", "warninglists are read from the directory that is given"},
	{"node/taxii/...", module + "node/store", "it speaks the protocol; what there is, package node says"},
	{"node/taxii/...", module + "mesh", "it speaks the protocol; what there is, package node says"},
	{"node/shelf", module + "node/store", "it is given what it keeps; package node follows the store"},
	{"node/shelf", module + "node/api", "it keeps; it does not know for whom"},
	{"node/shelf", module + "mesh", "it keeps; it does not know for whom"},
	{"node/feed", module + "node/store", "lists are pure: words go in"},
	{"node/feed", module + "mesh", "a list is served; it does not know by whom"},
	{"node/feed", "net/http", "a list is served; it does not know by whom"},
	{"node/document", module + "node/", "a document is opaque: who names it, package node says"},
	{"node/document", "github.com/libp2p", "it works whatever carries its streams"},
	{"node/alert", "os", "who is told is pure state"},
	{"node/alert", "net", "who is told is pure state"},
	{"node/alert", module + "node/store", "who is told is pure state"},
	{"node/alert/...", module + "mesh", "alerts go out by sinks alone"},
	{"node/logs", "os", "what a line says needs no file"},
	{"node/logs", module + "node/store", "what a line says needs no store"},
	{"node/logs/...", module + "mesh", "logs never leave by themselves"},
	{"node/history", module + "mesh", "what the logs had never leaves"},
	{"node/history", module + "node/api", "what the logs had is told by package node alone"},
	{"node/history", "net/http", "what the logs had never leaves"},
	{"node/store", module + "node/api", "the store serves; it does not know whom"},
	{"node/api/...", module + "mesh", "only package node joins mesh, ledger and store"},
	{"node/api/...", module + "node/store", "only package node joins mesh, ledger and store"},
	{"node/...", module + "cmd", "a library does not know its command"},
	{"node/...", module + "testnet", "nothing shipped depends on tests"},
	{"cmd/...", module + "testnet", "nothing shipped depends on tests"},
	{"cmd/...", module + "crypto/testkit", "nothing shipped depends on tests"},
	{"node/...", module + "crypto/testkit", "nothing shipped depends on tests"},
	{"cmd/...", module + "node/intel/inteltest", "nothing shipped depends on tests"},
	{"node/...", module + "node/intel/inteltest", "nothing shipped depends on tests"},
	{"mesh/...", module + "crypto/testkit", "nothing shipped depends on tests"},
}

// joiners may import mesh, ledger and store together.
var joiners = map[string]bool{"node": true}

func TestImportLaw(t *testing.T) {
	packages := parse(t)
	used := make([]bool, len(laws))
	for dir, p := range packages {
		joins := 0
		for imported, at := range p.imports {
			for i, l := range laws {
				if !covers(l.of, dir) {
					continue
				}
				used[i] = true
				if strings.HasPrefix(imported+"/", l.forbids+"/") || strings.HasSuffix(l.forbids, "/") && strings.HasPrefix(imported, l.forbids) {
					t.Errorf("%s: %s must not import %s: %s", at, dir, imported, l.reason)
				}
			}
			switch imported {
			case module + "mesh", module + "ledger", module + "node/store":
				joins++
			}
		}
		// The store keeps the mesh's frontier, so those two alone join nothing.
		if joins > 1 && !joiners[dir] && !strings.HasPrefix(dir, "testnet") {
			t.Errorf("%s joins mesh, ledger or store: only package node does", dir)
		}
	}
	for i, l := range laws {
		if !used[i] && packages[strings.TrimSuffix(l.of, "/...")] != nil {
			t.Errorf("the law for %s covers no import at all: is it misspelt?", l.of)
		}
	}
}

func TestEachPackageSaysWhatItIs(t *testing.T) {
	for dir, p := range parse(t) {
		if !p.doc {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

// TestTopLevel looks at what git tracks: what somebody keeps beside it in a clone is
// nobody's business.
func TestTopLevel(t *testing.T) {
	allowed := map[string]bool{
		"node": true, "mesh": true, "crypto": true, "ledger": true, "cmd": true, "testnet": true,
		"go.mod": true, "go.sum": true, "README.md": true, "LICENSE": true, "CHANGELOG.md": true,
		"CONTRIBUTING.md": true, "SECURITY.md": true, "Makefile": true,
	}
	git := exec.Command("git", "ls-files", "-z")
	git.Dir = root
	files, err := git.Output()
	if err != nil {
		t.Skipf("SKIPPED: what lies at the top level was NOT checked: git ls-files: %v: run it in a clone, with git", err)
	}
	seen := map[string]bool{}
	for file := range strings.SplitSeq(strings.TrimSuffix(string(files), "\x00"), "\x00") {
		name, _, _ := strings.Cut(file, "/")
		if !seen[name] && !allowed[name] && !strings.HasPrefix(name, ".") {
			t.Errorf("%s does not belong at the top level", name)
		}
		seen[name] = true
	}
	if !seen["go.mod"] {
		t.Errorf("git tracks no go.mod in %s: is it the repository?", root)
	}
}

// TestToolsStayOutside keeps the programs that the ledger is checked with and measured
// beside in the modules that need them.
func TestToolsStayOutside(t *testing.T) {
	product, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for tool, user := range map[string]string{
		"github.com/transparency-dev/tessera": "interop", "github.com/transparency-dev/witness": "interop",
		"filippo.io/torchwood": "interop", "go.etcd.io/etcd/client/v3": "rivals", "go.etcd.io/etcd/server/v3": "rivals",
	} {
		nested, err := os.ReadFile(filepath.Join(root, "testnet", user, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(nested), tool+" v") {
			t.Errorf("testnet/%s does not need %s: is it misspelt?", user, tool)
		}
		if strings.Contains(string(product), tool+" ") {
			t.Errorf("go.mod needs %s: it belongs into testnet/%s alone", tool, user)
		}
	}
}

type pkg struct {
	imports map[string]token.Position // by path, of non-test files
	doc     bool
}

func parse(t *testing.T) map[string]*pkg {
	t.Helper()
	packages := map[string]*pkg{}
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "testdata" || d.Name() == "watchward-dev") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(files, path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		dir = filepath.ToSlash(dir)
		p := packages[dir]
		if p == nil {
			p = &pkg{imports: map[string]token.Position{}}
			packages[dir] = p
		}
		p.doc = p.doc || f.Doc != nil
		if strings.HasSuffix(path, "_test.go") {
			return nil
		}
		for _, imported := range f.Imports {
			p.imports[strings.Trim(imported.Path.Value, `"`)] = files.Position(imported.Pos())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

func covers(of, dir string) bool {
	if prefix, below := strings.CutSuffix(of, "/..."); below {
		return dir == prefix || strings.HasPrefix(dir, prefix+"/")
	}
	return dir == of
}
