package paper_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/watchward/watchward/node/paper"
)

// files lists a directory: names below it with their sizes, or contents of what is short.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		out[filepath.ToSlash(name)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var small = region{members: 3, text: usual}

// TestPackReplacesThePackBefore: the new pack is there whole, with its playbooks alone, and
// what is somebody else's in the directory stays.
func TestPackReplacesThePackBefore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pack")
	first := small.pack("en", playbook("old.pdf", "old"), playbook("both.pdf", "both"))
	if err := first.Write(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"notes.txt", "playbooks/own.pdf"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	second := small.pack("de", playbook("both.pdf", "both"), playbook("new.pdf", "new"))
	if err := second.Write(dir); err != nil {
		t.Fatal(err)
	}
	page, err := second.HTML()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"watchward-pack.html": string(page), "notes.txt": "mine", "playbooks/own.pdf": "mine", second.Playbooks[0].File(): "both", second.Playbooks[1].File(): "new"}
	same(t, files(t, dir), want)
	for _, b := range second.Playbooks {
		if !bytes.Contains(page, []byte(b.File())) {
			t.Errorf("the page does not name %s", b.File())
		}
	}
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	names := func(m map[string]string) (out []string) {
		for name := range m {
			out = append(out, name)
		}
		slices.Sort(out)
		return out
	}
	if !slices.Equal(names(got), names(want)) {
		t.Fatalf("files %q, want %q", names(got), names(want))
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s is %.80q, want %.80q", name, got[name], want[name])
		}
	}
}

// TestPackThatFailsLeavesThePackBefore, wherever it fails, and nothing of itself.
func TestPackThatFailsLeavesThePackBefore(t *testing.T) {
	dir := t.TempDir()
	if err := small.pack("en", playbook("old.pdf", "old")).Write(dir); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	gone, torn, forged := playbook("gone.pdf", "gone"), playbook("torn.pdf", "torn"), playbook("forged.pdf", "forged")
	gone.Open = func() (io.ReadCloser, error) { return nil, errPlug }
	torn.Open = func() (io.ReadCloser, error) { return io.NopCloser(iotest.ErrReader(errPlug)), nil }
	forged.SHA256[31]++
	for name, bad := range map[string]paper.Playbook{"cannot be opened": gone, "breaks off": torn, "is another": forged} {
		t.Run(name, func(t *testing.T) {
			if err := small.pack("de", playbook("new.pdf", "new"), bad).Write(dir); err == nil {
				t.Error("no error")
			}
			same(t, files(t, dir), before)
			var archive bytes.Buffer
			if err := small.pack("de", playbook("new.pdf", "new"), bad).Tar(&archive); err == nil {
				t.Error("an archive without an error")
			}
			if _, err := paper.Unpack(&archive, dir); err == nil {
				t.Error("half an archive is taken")
			}
			same(t, files(t, dir), before)
		})
	}
}

// TestUnpackIsWrite: an archive unpacked is what Write writes.
func TestUnpackIsWrite(t *testing.T) {
	k := small.pack("en", playbook("a.pdf", strings.Repeat("a", 100_000)), playbook("../../b", "b"))
	written, unpacked := t.TempDir(), t.TempDir()
	if err := k.Write(written); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := k.Tar(&archive); err != nil {
		t.Fatal(err)
	}
	if n, err := paper.Unpack(&archive, unpacked); err != nil || n != 2 {
		t.Fatalf("%d playbooks, %v", n, err)
	}
	same(t, files(t, unpacked), files(t, written))
}

// TestUnpackHostile: nothing leaves the directory, and nothing of a bad archive stays.
func TestUnpackHostile(t *testing.T) {
	page := &tar.Header{Name: paper.PackPage, Size: 4, Typeflag: tar.TypeReg}
	for name, headers := range map[string][]*tar.Header{
		"a path":              {{Name: "../evil", Typeflag: tar.TypeReg}, page},
		"a path in playbooks": {{Name: "playbooks/0123456789abcdef-../../evil", Typeflag: tar.TypeReg}, page},
		"another file":        {{Name: "notes.txt", Typeflag: tar.TypeReg}, page},
		"an absolute path":    {{Name: "/tmp/evil", Typeflag: tar.TypeReg}, page},
		"a link":              {{Name: "playbooks/0123456789abcdef-x", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}, page},
		"a directory":         {{Name: "playbooks", Typeflag: tar.TypeDir}, page},
		"too large":           {{Name: "playbooks/0123456789abcdef-x", Size: 80 << 20, Typeflag: tar.TypeReg}},
		"no page":             {{Name: "playbooks/0123456789abcdef-x", Size: 4, Typeflag: tar.TypeReg}},
		"after the page":      {page, {Name: "playbooks/0123456789abcdef-x", Size: 4, Typeflag: tar.TypeReg}},
		"nothing":             {},
	} {
		t.Run(name, func(t *testing.T) {
			var archive bytes.Buffer
			w := tar.NewWriter(&archive)
			for _, h := range headers {
				if err := w.WriteHeader(h); err != nil {
					t.Fatal(err)
				}
				if h.Size == 4 {
					if _, err := io.WriteString(w, "text"); err != nil {
						t.Fatal(err)
					}
				}
			}
			_ = w.Close() // of what is too large the content is missing
			parent := t.TempDir()
			dir := filepath.Join(parent, "pack")
			_, err := paper.Unpack(&archive, dir)
			if err == nil || name == "too large" && !strings.Contains(err.Error(), "does not belong") { // before it is read
				t.Errorf("error %v", err)
			}
			got := files(t, parent)
			delete(got, "pack/"+paper.PackPage) // whole, and replaced by the next
			same(t, got, map[string]string{})
		})
	}
}

// TestPackDirectoryIsALink: a link within the directory leads nowhere else.
func TestPackDirectoryIsALink(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(dir, "playbooks")); err != nil {
		t.Skipf("SKIPPED: no links here: %v", err)
	}
	if err := small.pack("en", playbook("a.pdf", "a")).Write(dir); err == nil {
		t.Error("no error")
	}
	same(t, files(t, elsewhere), map[string]string{})
}

// TestNoPlaceForAPack: the error says what it is, for whoever tells people.
func TestNoPlaceForAPack(t *testing.T) {
	if err := small.pack("en").Write(filepath.Join(t.TempDir(), "not", "there")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing place: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := small.pack("en").Write(file); err == nil {
		t.Error("a file is taken for a directory")
	}
}
