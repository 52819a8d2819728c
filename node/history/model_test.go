package history_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/history"
	"github.com/watchward/watchward/node/notice"
)

// A model is what a history must say: all that was seen, by value.
type model map[notice.Indicator]history.Trace

func (m model) add(s history.Seen) {
	at := s.Time / 1000 * 1000
	t, here := m[s.Indicator]
	if !here {
		t.First, t.Last = at, at
	}
	t.First, t.Last, t.Count = min(t.First, at), max(t.Last, at), t.Count+uint64(s.Count)
	m[s.Indicator] = t
}

func name(i int) notice.Indicator {
	return notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("n%d.example", i)}
}

// same compares a history with what it must say, and with values nobody saw.
func same(t rapid.TB, h *history.History, m model) {
	t.Helper()
	var asked []notice.Indicator
	for i := range 80 {
		asked = append(asked, name(i))
	}
	got, err := h.Find(asked)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range asked {
		if got[i] != m[v] {
			t.Fatalf("%s: %+v, want %+v", v.Value, got[i], m[v])
		}
	}
}

func TestAHistoryIsAMap(t *testing.T) {
	root := t.TempDir()
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		now := noon
		o := history.Options{Dir: filepath.Join(root, fmt.Sprint(round)), Days: 90, MiB: 16, Now: func() time.Time { return now }}
		o.RecordsMax(rapid.IntRange(1, 40).Draw(t, "records of a segment"))
		h, err := history.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { h.Abandon() }()
		all, flushed := model{}, []history.Seen{}
		var since []history.Seen
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				var seen []history.Seen
				for range rapid.IntRange(1, 30).Draw(t, "many") {
					ago := time.Duration(rapid.IntRange(0, 80*24*3600).Draw(t, "ago")) * time.Second
					seen = append(seen, history.Seen{Indicator: name(rapid.IntRange(0, 60).Draw(t, "value")),
						Time: now.Add(-ago).UnixMilli(), Count: rapid.Uint32Range(1, 9).Draw(t, "count")})
				}
				if err := h.Add(seen); err != nil {
					t.Fatal(err)
				}
				since = append(since, seen...)
				for _, s := range seen {
					all.add(s)
				}
			},
			"flush": func(t *rapid.T) {
				if err := h.Flush(); err != nil {
					t.Fatal(err)
				}
				flushed, since = append(flushed, since...), nil
			},
			"tend": func(t *rapid.T) {
				if err := h.Tend(); err != nil {
					t.Fatal(err)
				}
			},
			"reopen": func(t *rapid.T) {
				if err := h.Close(); err != nil {
					t.Fatal(err)
				}
				flushed, since = append(flushed, since...), nil
				if h, err = history.Open(o); err != nil {
					t.Fatal(err)
				}
			},
			"crash": func(t *rapid.T) {
				h.Abandon()
				if h, err = history.Open(o); err != nil {
					t.Fatal(err)
				}
				all, since = model{}, nil
				for _, s := range flushed {
					all.add(s)
				}
			},
			"": func(t *rapid.T) { same(t, h, all) },
		})
	})
}

// A life of a history: files of all kinds are made, merged and dropped. It
// calls flushed after each Flush, and stops at the first error.
func live(h *history.History, flushed func(history.Seen)) error {
	for i := range 24 {
		s := history.Seen{Indicator: name(i % 7), Time: noon.AddDate(0, 0, -(i%3)*20).UnixMilli(), Count: uint32(i + 1)}
		if err := h.Add([]history.Seen{s}); err != nil {
			return err
		}
		if err := h.Flush(); err != nil {
			return err
		}
		flushed(s)
		if i%5 == 4 {
			if err := h.Tend(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Whatever step a crash comes before, all that was flushed is there and nothing
// counts twice: at most the words of the one Flush that was cut off are there too.
func TestACrashBeforeAnyStep(t *testing.T) {
	crash := errors.New("crash")
	for step := 1; ; step++ {
		dir := t.TempDir()
		o := history.Options{Dir: dir, Days: 90, MiB: 16, Now: func() time.Time { return noon }}
		o.RecordsMax(2)
		var mu sync.Mutex // its upkeep takes steps too
		steps, where := 0, ""
		o.OnStep(func(what string) error {
			mu.Lock()
			defer mu.Unlock()
			if steps++; steps >= step { // dead from here on
				if where == "" {
					where = what
				}
				return crash
			}
			return nil
		})
		kept, flying := model{}, model{}
		h, err := history.Open(o)
		if err == nil {
			n := 0
			err = live(h, func(s history.Seen) { kept.add(s); n++ })
			h.Abandon()
			for v, t := range kept {
				flying[v] = t
			}
			if i := n; i < 24 {
				flying.add(history.Seen{Indicator: name(i % 7), Time: noon.AddDate(0, 0, -(i%3)*20).UnixMilli(), Count: uint32(i + 1)})
			}
		}
		if err == nil {
			if step < 60 {
				t.Fatalf("only %d steps", step)
			}
			return
		}
		if !errors.Is(err, crash) {
			t.Fatalf("before step %d, %s: %v", step, where, err)
		}
		o.OnStep(nil)
		h, err = history.Open(o)
		if err != nil {
			t.Fatalf("before step %d, %s: %v", step, where, err)
		}
		var asked []notice.Indicator
		for i := range 7 {
			asked = append(asked, name(i))
		}
		got, err := h.Find(asked)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range asked {
			if got[i] != kept[v] && got[i] != flying[v] {
				t.Errorf("before step %d, %s: %s is %+v, want %+v", step, where, v.Value, got[i], kept[v])
			}
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		journals := 0
		for _, f := range files {
			if strings.HasSuffix(f.Name(), ".journal") {
				journals++
			}
			if strings.HasSuffix(f.Name(), ".tmp") || journals > 1 {
				t.Errorf("before step %d, %s: %s is left", step, where, f.Name())
			}
		}
	}
}

// A journal that is cut at any byte gives what was whole before.
func TestATornJournal(t *testing.T) {
	dir := t.TempDir()
	o := history.Options{Dir: dir}
	h := open(t, o)
	sizes, kept := []int64{journalOf(t, dir)}, []model{{}}
	for i := range 6 {
		s := history.Seen{Indicator: name(i % 4), Time: noon.UnixMilli(), Count: uint32(i + 1)}
		if err := errors.Join(h.Add([]history.Seen{s}), h.Flush()); err != nil {
			t.Fatal(err)
		}
		m := model{}
		for v, t := range kept[i] {
			m[v] = t
		}
		m.add(s)
		sizes, kept = append(sizes, journalOf(t, dir)), append(kept, m)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	for cut := sizes[0]; cut <= sizes[6]; cut++ {
		torn := filepath.Join(t.TempDir(), "history")
		if err := os.CopyFS(torn, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(theJournal(t, torn), cut); err != nil {
			t.Fatal(err)
		}
		whole := 0
		for whole < 6 && sizes[whole+1] <= cut {
			whole++
		}
		o.Dir = torn
		h := open(t, o)
		same(t, h, kept[whole])
		add(t, h, "more.example", noon, 1) // what follows is whole again
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		h = open(t, o)
		same(t, h, kept[whole])
		if find(t, h, "more.example").Count != 1 {
			t.Fatalf("cut at %d: what came after is lost", cut)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func theJournal(t testing.TB, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	return files[0]
}

func journalOf(t testing.TB, dir string) int64 {
	t.Helper()
	info, err := os.Stat(theJournal(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
