package archive_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/archive"
	"github.com/watchward/watchward/node/intel/inteltest"
	"github.com/watchward/watchward/node/notice"
)

// open returns what lies in an input as "path=content", with formats and
// encodings that are not plain text's.
func open(name string, in io.Reader) (out []string, err error) {
	err = archive.Open(name, in, func(f *archive.File) error {
		text, err := io.ReadAll(f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		line := f.Path + "=" + string(text)
		if f.Format != intel.FormatText {
			line += " " + f.Format
		}
		if f.Encoding() != "" {
			line += " " + f.Encoding()
		}
		out = append(out, line)
		return nil
	})
	return out, err
}

type member struct{ name, text string }

func zipped(t testing.TB, members ...member) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range members {
		w, err := z.Create(m.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func gzipped(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func utf16Text(text string, order binary.AppendByteOrder) string {
	b := order.AppendUint16(nil, 0xfeff)
	for _, u := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func TestOpen(t *testing.T) {
	const text = "evil.example\n"
	inner := zipped(t, member{"x.txt", text})
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"plain": {text, []string{"=" + text}},
		"empty": {"", []string{"="}},
		"gzip":  {gzipped(t, text), []string{"=" + text}},
		"zip": {zipped(t, member{"b.txt", "b"}, member{"a/", ""}, member{"a/c.txt", "c"}, member{"a/manifest.json", "{}"}, member{"a/b.txt", "d"},
			member{"__MACOSX/x", "no"}, member{"a/.DS_Store", "no"}, member{`w\d.txt`, "e"}),
			[]string{"a/manifest.json={} json", "a/b.txt=d", "a/c.txt=c", "b.txt=b", "w/d.txt=e"}},
		"zip in zip":   {zipped(t, member{"i.zip", inner}), []string{"i.zip: x.txt=" + text}},
		"gzip in zip":  {zipped(t, member{"i.txt.gz", gzipped(t, text)}), []string{"i.txt.gz=" + text}},
		"zip in gzip":  {gzipped(t, inner), []string{"x.txt=" + text}},
		"UTF-16":       {utf16Text("münchen😀", binary.LittleEndian), []string{"=münchen😀 UTF-16"}},
		"UTF-16 BE":    {utf16Text(`{"Event": {}}`, binary.BigEndian), []string{`={"Event": {}} misp UTF-16`}},
		"Latin-1":      {"# aus K\xf6ln\nm\xfcnchen.example", []string{"=# aus Köln\nmünchen.example Windows-1252"}},
		"Windows-1252": {"\x84evil.example\x93 \x80", []string{"=„evil.example“ € Windows-1252"}},
		"UTF-8":        {"# aus Köln\nbad\xffline", []string{"=# aus Köln\nbad\xffline"}},
		"late Latin-1": {strings.Repeat("evil.example\n", 20_000) + "m\xfcnchen.example", []string{"=" + strings.Repeat("evil.example\n", 20_000) + "münchen.example Windows-1252"}},
		"JSON":         {`{"Event": "m` + "\xfc" + `"}`, []string{`={"Event": "m` + "\xfc" + `"} misp`}},
	} {
		for _, seekable := range []bool{false, true} {
			in := io.Reader(strings.NewReader(c.in))
			if seekable {
				path := filepath.Join(t.TempDir(), "in")
				if err := os.WriteFile(path, []byte(c.in), 0o600); err != nil {
					t.Fatal(err)
				}
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				in = f
			}
			if got, err := open("in", in); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s, seekable %v: %.300q, %v; want %.300q", name, seekable, got, err, c.want)
			}
		}
	}
}

// TestMarkings: what the name of a file says marks it, what a note in an archive
// says marks what has no other marking.
func TestMarkings(t *testing.T) {
	many := []member{}
	for i := range 25 {
		many = append(many, member{fmt.Sprintf("readme%02d.txt", i), "x"})
	}
	for name, c := range map[string]struct {
		name, in string
		own      notice.TLP
		want     string // of the last file
	}{
		"nothing":                  {"x.zip", zipped(t, member{"a.txt", "TLP:AMBER"}, member{"x.csv", "x"}), 0, " "},
		"a note":                   {"x.zip", zipped(t, member{"LIESMICH.txt", "Hallo,\r\nTLP:AMBER\r\n"}, member{"x.csv", "x"}), 0, "AMBER "},
		"a note in UTF-16":         {"x.zip", zipped(t, member{"README", utf16Text("TLP:RED\n", binary.LittleEndian)}, member{"x.csv", "x"}), 0, "RED "},
		"a note behind it":         {"x.zip", zipped(t, member{"a.csv", "x"}, member{"z/readme.md", "TLP:AMBER"}, member{"z/x.csv", "x"}), 0, "AMBER "},
		"a note that is unclear":   {"x.zip", zipped(t, member{"README", "x\nTLP:YELLOW"}, member{"x.csv", "x"}), 0, ` "TLP:YELLOW" (README: line 2)`},
		"a note, and its own":      {"x.zip", zipped(t, member{"README", "TLP:AMBER"}, member{"x.csv", "x"}), notice.TLPGreen, "GREEN "},
		"a note around an archive": {"x.zip", zipped(t, member{"README", "TLP:AMBER"}, member{"x.zip", zipped(t, member{"x.csv", "x"})}), 0, "AMBER "},
		"a note in another":        {"x.zip", zipped(t, member{"a.zip", zipped(t, member{"README", "TLP:AMBER"})}, member{"x.csv", "x"}), 0, " "},
		"a name":                   {"TLP_AMBER_x.csv", "x", 0, "AMBER "},
		"a name that is looser":    {"TLP_GREEN_x.csv", "x", notice.TLPAmber, "AMBER "},
		"a name that is unclear":   {"TLP-GELB.csv", "x", 0, ` "TLP-GELB" (the name TLP-GELB.csv)`},
		"the archive's name":       {"TLP_RED.zip", zipped(t, member{"x.csv", "x"}), 0, "RED "},
		"a directory's name":       {"x.zip", zipped(t, member{"tlp-red/x.csv", "x"}), 0, "RED "},
		"a name before a note":     {"x.zip", zipped(t, member{"README", "TLP:RED"}, member{"x-tlp-green.csv", "x"}), 0, "GREEN "},
		"too many notes":           {"x.zip", zipped(t, append(many, member{"readme99.txt", "TLP:RED"}, member{"x.csv", "x"})...), 0, ` "more than 20 notes" (readme20.txt)`},
	} {
		got := ""
		err := archive.Open(c.name, strings.NewReader(c.in), func(f *archive.File) error {
			found := f.Mark(intel.Found{TLP: c.own, Notice: &notice.Notice{Origin: &notice.Origin{TLP: c.own}}})
			if found.Notice.Origin.TLP != found.TLP {
				t.Errorf("%s: %+v", name, found)
			}
			got = found.TLP.String() + " " + found.Unclear
			return nil
		})
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestGzipName(t *testing.T) {
	names := ""
	err := archive.Open("dir/list.csv.gz", strings.NewReader(gzipped(t, "x")), func(f *archive.File) error { names = f.Name; return nil })
	if err != nil || names != "list.csv" {
		t.Errorf("%q, %v", names, err)
	}
}

// Hostile and broken archives are refused by name, before anything is read or
// with what broke.
func TestRefused(t *testing.T) {
	text := member{"x.txt", "evil.example\n"}
	three := zipped(t, member{"2.zip", zipped(t, member{"3.zip", zipped(t, text)})})
	encrypted := []byte(zipped(t, text))
	for at := range encrypted { // the flags of both headers
		if bytes.HasPrefix(encrypted[at:], []byte("PK\x03\x04")) {
			encrypted[at+6] |= 1
		}
		if bytes.HasPrefix(encrypted[at:], []byte("PK\x01\x02")) {
			encrypted[at+8] |= 1
		}
	}
	whole, packed := zipped(t, text), gzipped(t, strings.Repeat("evil.example\n", 9_000))
	damaged := []byte(whole)
	damaged[bytes.Index(damaged, []byte("x.txt"))+10] ^= 0xff
	for name, c := range map[string]struct{ in, want string }{
		"path traversal":       {zipped(t, text, member{"../../etc/passwd", "x"}), `a member named "../../etc/passwd", which leads out of it`},
		"absolute":             {zipped(t, member{"/etc/passwd", "x"}), "which leads out of it"},
		"a drive":              {zipped(t, member{`C:\x`, "x"}), "which leads out of it"},
		"backslashes":          {zipped(t, member{`..\..\x`, "x"}), "which leads out of it"},
		"a NUL":                {zipped(t, member{"a\x00b", "x"}), "which leads out of it"},
		"a long name":          {zipped(t, member{strings.Repeat("n", 300), "x"}), "which leads out of it"},
		"twice":                {zipped(t, text, text), "two members named x.txt"},
		"too deep":             {three, "2.zip: 3.zip: archives lie too deep"},
		"gzip too deep":        {gzipped(t, gzipped(t, gzipped(t, "x"))), "archives lie too deep"},
		"encrypted":            {string(encrypted), "x.txt in the zip is encrypted"},
		"empty":                {zipped(t), "the zip is empty"},
		"an office document":   {zipped(t, member{"[Content_Types].xml", ""}, text), "this is an office document"},
		"truncated zip":        {whole[:len(whole)-9], "get it again, whole"},
		"truncated gzip":       {packed[:len(packed)/2], "unexpected EOF"},
		"not gzip":             {"\x1f\x8bnonsense", "open gzip"},
		"damaged":              {string(damaged), "x.txt: "},
		"something after gzip": {packed + "some garbage at the end", "gzip: invalid header"},
	} {
		got, err := open("in", strings.NewReader(c.in))
		if err == nil || !strings.Contains(err.Error(), c.want) || len(got) > 0 || strings.ContainsAny(err.Error(), "\n\x00\x1b") {
			t.Errorf("%s: %.100q, %v; want %q", name, got, err, c.want)
		}
	}
	many := make([]member, archive.MembersMax+1)
	for i := range many {
		many[i].name = fmt.Sprint(i)
	}
	if _, err := open("in", strings.NewReader(zipped(t, many...))); err == nil || !strings.Contains(err.Error(), "has 20001 members") {
		t.Error(err)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	link := &zip.FileHeader{Name: "link"}
	link.SetMode(0o777 | fs.ModeSymlink)
	if _, err := z.CreateHeader(link); err != nil {
		t.Fatal(err)
	}
	_ = z.Close()
	if _, err := open("in", &b); err == nil || !strings.Contains(err.Error(), "link in the zip is no file") {
		t.Error(err)
	}
}

// bomb is a gzip or zip of so many equal bytes.
func bomb(t testing.TB, size int64, asZip bool) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	var close io.Closer = z
	w := io.Writer(z)
	if asZip {
		b.Reset()
		archive := zip.NewWriter(&b)
		var err error
		if w, err = archive.Create("bomb.txt"); err != nil {
			t.Fatal(err)
		}
		close = archive
	}
	if _, err := io.Copy(w, inteltest.Endless('a', size)); err != nil {
		t.Fatal(err)
	}
	if err := close.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// TestBombs: what grows two hundredfold is refused long before it has grown,
// wherever it hides, and the file after it is not read.
func TestBombs(t *testing.T) {
	const size = 96 << 20
	inZip := bomb(t, size, true).String()
	for name, in := range map[string]io.Reader{
		"gzip":        bomb(t, size, false),
		"zip":         strings.NewReader(inZip),
		"zip in zip":  strings.NewReader(zipped(t, member{"b.zip", inZip}, member{"c.txt", "x"})),
		"gzip in zip": strings.NewReader(zipped(t, member{"b.gz", bomb(t, size, false).String()}, member{"c.txt", "x"})),
	} {
		read, files := int64(0), 0
		err := archive.Open("in", in, func(f *archive.File) error {
			files++
			n, err := io.Copy(io.Discard, f)
			read += n
			if err == nil || !strings.Contains(err.Error(), "zip bomb") {
				t.Errorf("%s: %d bytes, %v", name, n, err)
			}
			return nil // the caller goes on to the next file
		})
		if err == nil || !strings.Contains(err.Error(), "more than 200 times its size") || read > 80<<20 || files != 1 {
			t.Errorf("%s: %d bytes of %d files, %v", name, read, files, err)
		}
	}
	// What is large and not packed is no bomb.
	n, err := int64(0), error(nil)
	err = archive.Open("in", inteltest.Endless('a', size), func(f *archive.File) error { n, err = io.Copy(io.Discard, f); return err })
	if err != nil || n != size {
		t.Errorf("%d, %v", n, err)
	}
}

func TestTooLarge(t *testing.T) {
	if os.Getenv("WATCHWARD_HUGE") == "" {
		t.Skip("SKIPPED: reads 4 GiB, set WATCHWARD_HUGE=1 to run it")
	}
	err := archive.Open("in", inteltest.Endless('a', archive.BytesMax+1<<20), func(f *archive.File) error { _, err := io.Copy(io.Discard, f); return err })
	if err == nil || !strings.Contains(err.Error(), "larger than 4 GiB") {
		t.Error(err)
	}
}

func TestErrorsOfTheReceiver(t *testing.T) {
	full := errors.New("disk full")
	calls := 0
	err := archive.Open("in", strings.NewReader(zipped(t, member{"a", "a"}, member{"b", "b"})), func(*archive.File) error { calls++; return full })
	if err != full || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(zipped(f, member{"a/b.txt", "evil.example"}, member{"manifest.json", "{}"})))
	f.Add([]byte(gzipped(f, "x")))
	f.Add([]byte(zipped(f, member{"i.zip", zipped(f, member{"x", "y"})})))
	f.Add([]byte("\xff\xfee\x00v\x00\x00\xd8"))
	f.Add([]byte("K\xf6ln"))
	f.Fuzz(func(t *testing.T, in []byte) {
		total := 0
		_ = archive.Open("in", bytes.NewReader(in), func(f *archive.File) error {
			if strings.Contains(f.Path, "..") && !fs.ValidPath(f.Path) && !strings.Contains(f.Path, ": ") || f.Format == intel.FormatZip && f.Encoding() == "" {
				t.Fatalf("%q %s", f.Path, f.Format)
			}
			n, _ := io.Copy(io.Discard, io.LimitReader(f, 1<<20))
			if total += int(n); total > 8<<20 {
				return io.EOF
			}
			return nil
		})
	})
}
