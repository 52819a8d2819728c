package config_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/config"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestFiles has one file a rule. Beside each testdata/conf.X.toml that is wrong
// lies conf.X.err with the errors as a person sees them.
func TestFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "conf.*.toml"))
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		_, err := config.Load(file)
		got := ""
		if err != nil {
			got = filepath.ToSlash(err.Error()) + "\n"
			checkErrors(t, file, err)
		}
		golden := strings.TrimSuffix(file, ".toml") + ".err"
		if *update {
			_ = os.Remove(golden)
			if got != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s:\ngot  %swant %s", file, got, want)
		}
	}
}

// checkErrors: every error names file, key and fix, and its line if the key is
// in the file.
func checkErrors(t *testing.T, file string, err error) {
	t.Helper()
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	for _, err := range list {
		var e *config.Error
		if !errors.As(err, &e) || e.File != file || e.Fix == "" || e.Reason == "" {
			t.Errorf("%s: incomplete error: %#v", file, err)
			continue
		}
		if e.Line == 0 && e.Key != "name" && !strings.Contains(file, "hidden") {
			t.Errorf("%s: no line: %v", file, err)
		}
	}
}

func TestGoodFile(t *testing.T) {
	c, err := config.Load(filepath.Join("testdata", "conf.good.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if c.API.Listen != "[::1]:0" || !c.Mesh.Hub || c.Share.TLP != "tlp:amber" || c.Log.Format != "json" || c.API.BodyMax != 8<<20 {
		t.Errorf("%+v", c)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "config.toml"))
	if err == nil || !strings.Contains(err.Error(), "watchward init") {
		t.Errorf("%v", err)
	}
}

func TestDefaultNeedsOnlyAName(t *testing.T) {
	c := config.Default()
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "name: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("without a name: %v", err)
	}
	c.Name = "St Anna"
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// TestEveryFieldIsDescribed compares the struct with the reference.
func TestEveryFieldIsDescribed(t *testing.T) {
	c := config.Default()
	c.Name = "x"
	var b strings.Builder
	if err := config.Show(&b, c); err != nil {
		t.Fatal(err)
	}
	var walk func(reflect.Type, string)
	walk = func(typ reflect.Type, table string) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			key := f.Tag.Get("toml")
			if f.Type.Kind() == reflect.Struct {
				walk(f.Type, key)
				continue
			}
			if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
				walk(f.Type.Elem(), "["+strings.TrimPrefix(table+"."+key, ".")+"]")
				continue
			}
			_, section, _ := strings.Cut("[]\n"+b.String(), "["+table+"]\n")
			section, _, _ = strings.Cut(section, "\n[")
			if section = strings.ReplaceAll(section, "\n#", "\n"); !strings.Contains("\n"+section, "\n"+key+" = ") { // of a list there is none yet
				t.Errorf("[%s] %s is not in the table of fields", table, key)
			}
		}
	}
	walk(reflect.TypeFor[config.Config](), "")
}

func TestShowLoadsBack(t *testing.T) {
	c, err := config.Load(filepath.Join("testdata", "conf.good.toml"))
	if err != nil {
		t.Fatal(err)
	}
	c.Name = `St "Anna" \ Ünït`
	var b strings.Builder
	if err := config.Show(&b, c); err != nil {
		t.Fatal(err)
	}
	back, err := config.Parse("shown", []byte(b.String()))
	if err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("%v\n%+v\n%+v\n%s", err, back, c, b.String())
	}
}

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	c := config.Default()
	c.Name, c.API.Listen = "St Anna", "127.0.0.1:0"
	if err := config.Write(path, c); err != nil {
		t.Fatal(err)
	}
	back, err := config.Load(path)
	if err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("%v\n%+v\n%+v", err, back, c)
	}
	text, _ := os.ReadFile(path)
	for _, line := range []string{"\nname = \"St Anna\"\n", "\nlisten = \"127.0.0.1:0\"\n", "\n#hub = false\n"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	if info, _ := os.Stat(path); runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
	if err := config.Write(path, c); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an existing file: %v", err)
	}
	c.Name = ""
	if err := config.Write(path+"2", c); err == nil {
		t.Error("wrote a configuration that does not load")
	}
}

func TestReference(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the default of api.socket differs on Windows")
	}
	if *update {
		if err := os.WriteFile("REFERENCE.md", []byte(config.Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("REFERENCE.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != config.Reference() {
		t.Error("REFERENCE.md is old: go test ./node/config -run Reference -update")
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob(filepath.Join("testdata", "conf.*.toml"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := config.Parse("f", text)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without a text")
			}
			return
		}
		var b strings.Builder
		if err := config.Show(&b, c); err != nil {
			t.Fatal(err)
		}
		if back, err := config.Parse("shown", []byte(b.String())); err != nil || fmt.Sprint(back) != fmt.Sprint(c) {
			t.Fatalf("%v\n%s", err, b.String())
		}
	})
}
