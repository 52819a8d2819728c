package history_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/watchward/watchward/node/history"
)

// files makes one of each kind, as seeds.
func files(f *testing.F, pattern string) [][]byte {
	dir := f.TempDir()
	o := history.Options{Dir: dir}
	o.RecordsMax(3)
	h := open(f, o)
	for i := range 7 {
		if err := h.Add([]history.Seen{{Indicator: name(i), Time: noon.UnixMilli()}}); err != nil {
			f.Fatal(err)
		}
		if err := h.Flush(); err != nil {
			f.Fatal(err)
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	var out [][]byte
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

func FuzzJournal(f *testing.F) {
	for _, b := range files(f, "*.journal") {
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := history.Decode(bytes.NewReader(b)); err == nil && n*20 > len(b) {
			t.Errorf("%d records of %d bytes", n, len(b))
		}
	})
}

func FuzzManifest(f *testing.F) {
	for _, b := range files(f, "manifest") {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if again, err := history.DecodeManifest(b); err == nil && !bytes.Equal(b, again) {
			t.Errorf("%x is encoded as %x", b, again)
		}
	})
}

func FuzzSegment(f *testing.F) {
	for _, b := range files(f, "*.seg") {
		f.Add(b)
		f.Add(b[:5000])
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, "fuzzed.seg")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := history.ReadSegment(path); err == nil && n*20 > len(b) {
			t.Errorf("%d records of %d bytes", n, len(b))
		}
	})
}
