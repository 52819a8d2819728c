package tlog_test

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/ledger/tlog"
)

func TestPaths(t *testing.T) {
	for path, want := range map[string]tlog.Path{
		"tile/0/000":                                      {Level: 0, Index: 0, Width: 256},
		"tile/0/x001/x234/067":                            {Level: 0, Index: 1_234_067, Width: 256},
		"tile/63/x999/999.p/255":                          {Level: 63, Index: 999_999, Width: 255},
		"tile/entries/x001/000.p/1":                       {Level: tlog.LevelEntries, Index: 1000, Width: 1},
		"tile/entries/x036/x028/x797/x018/x963/967.p/255": {Level: tlog.LevelEntries, Index: 1<<55 - 1, Width: 255},
	} {
		got, err := tlog.ParsePath(path)
		if err != nil || got != want || want.String() != path {
			t.Errorf("%s: %+v, %v; back %s", path, got, err, want)
		}
	}
	for _, path := range []string{
		"", "tile", "tile/", "tile/0", "tile/0/", "/tile/0/000", "tile/0/000/", "tile//000", "tile/0//000",
		"tile/00/000", "tile/-1/000", "tile/+1/000", "tile/64/000", "tile/256/000", "tile/0x1/000", "tile/data/000", "tile/8/0/000",
		"tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/1000", "tile/0/x000", "tile/0/x000/001", "tile/0/001/002", "tile/0/x01/002", "tile/0/x1000/002", "tile/0/xx01/002", "tile/0/x+01/002", "tile/0/X001/002", "tile/0/x001/x002",
		"tile/0/000.p", "tile/0/000.p/", "tile/0/000.p/0", "tile/0/000.p/00", "tile/0/000.p/01", "tile/0/000.p/256", "tile/0/000.p/-1", "tile/0/000.p/+1", "tile/0/000.p/1/", "tile/0/000.p/1/2", "tile/0/000.p/1.p/1", "tile/0/.p/1", "tile/0/000.P/1",
		"tile/0/../../edge.0", "tile/0/..", "../tile/0/000", "tile/../tile/0/000", "tile/0/./000", "tile/0/000.open", `tile\0\000`, "tile/0/000\x00", "tile/0/000 ", "tile/0/%30%30%30", "tile/0/٠٠٠",
		"tile/0/x036/x028/x797/x018/x963/968", "tile/0/" + strings.Repeat("x001/", 100) + "001",
	} {
		if p, err := tlog.ParsePath(path); !errors.Is(err, tlog.ErrPath) {
			t.Errorf("%q is taken for %+v: %v", path, p, err)
		}
		if _, err := tlog.ReadTile(t.TempDir(), path); !errors.Is(err, tlog.ErrPath) {
			t.Errorf("%q: %v", path, err)
		}
	}
	for _, c := range []struct {
		path string
		size uint64
		in   int
	}{
		{"tile/0/273", 70_000, 112}, {"tile/0/272", 70_000, 256}, {"tile/0/274", 70_000, 0}, {"tile/1/001", 70_000, 17},
		{"tile/2/000", 70_000, 1}, {"tile/3/000", 70_000, 0}, {"tile/63/000", 1 << 61, 0}, {"tile/7/000", 1 << 61, 32}, {"tile/entries/273", 70_000, 112},
	} {
		if p, err := tlog.ParsePath(c.path); err != nil || p.In(c.size) != c.in {
			t.Errorf("%s in %d: %d, want %d", c.path, c.size, p.In(c.size), c.in)
		}
	}
}

func FuzzTilePath(f *testing.F) {
	for _, s := range []string{"tile/0/000", "tile/63/x999/999.p/255", "tile/entries/x001/x234/067.p/1", "tile/0/../000", "tile/0/x000/001"} {
		f.Add(s)
	}
	l := open(f, f.TempDir())
	fill(f, l, 300, 8)
	f.Fuzz(func(t *testing.T, path string) {
		p, err := tlog.ParsePath(path)
		data, err2 := l.Tile(path)
		if err != nil {
			if !errors.Is(err, tlog.ErrPath) || !errors.Is(err2, tlog.ErrPath) {
				t.Fatal(err, err2)
			}
			return
		}
		if p.String() != path || p.Width < 1 || p.Width > 256 || p.Level < -1 || p.Level > 63 || strings.Contains(path, "..") {
			t.Fatalf("%q is taken for %+v", path, p)
		}
		if there := p.In(300) >= p.Width; there != (err2 == nil) || !there && !errors.Is(err2, fs.ErrNotExist) {
			t.Fatalf("%q: %v", path, err2)
		} else if there && p.Level >= 0 && len(data) != 32*p.Width {
			t.Fatalf("%q has %d bytes", path, len(data))
		}
	})
}

func FuzzBundle(f *testing.F) {
	good, err := tlog.JoinBundle(nil, pack(0, 3, 8)...)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, uint8(3))
	f.Add(good[:len(good)-1], uint8(3))
	f.Add([]byte{0, 0}, uint8(1))
	f.Add([]byte{4, 1}, uint8(1))
	f.Add([]byte{}, uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, width uint8) {
		entries, err := tlog.SplitBundle(data, int(width))
		if err != nil {
			return
		}
		back, err := tlog.JoinBundle(nil, entries...)
		if err != nil || !bytes.Equal(back, data) || len(entries) != int(width) {
			t.Fatalf("%x: %d entries, back %x: %v", data, len(entries), back, err)
		}
		again, err := tlog.SplitBundle(back, int(width))
		if err != nil || !slices.EqualFunc(again, entries, bytes.Equal) {
			t.Fatal(err)
		}
	})
}
