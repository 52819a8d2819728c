package history_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/watchward/watchward/node/history"
	"github.com/watchward/watchward/node/notice"
)

// What is older than its days is never told, and goes from the disk with its period.
func TestOldThingsAreForgotten(t *testing.T) {
	var ahead atomic.Int64 // the upkeep reads the clock too
	dir := t.TempDir()
	o := history.Options{Dir: dir, Days: 12, Now: func() time.Time { return noon.Add(time.Duration(ahead.Load())) }}
	h := open(t, o)
	add(t, h, "old.example", noon.AddDate(0, 0, -20), 1)
	add(t, h, "both.example", noon.AddDate(0, 0, -11), 1)
	add(t, h, "both.example", noon, 1)
	add(t, h, "once.example", noon.AddDate(0, 0, -11), 1)
	if find(t, h, "old.example").Count != 0 || find(t, h, "once.example").Count != 1 {
		t.Fatal("days are not kept to")
	}
	o.RecordsMax(1)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = open(t, o)
	add(t, h, "more.example", noon, 1)
	if err := h.Flush(); err != nil { // all becomes segments
		t.Fatal(err)
	}
	before := h.Segments()
	ahead.Store(int64(2 * 24 * time.Hour))
	if got := find(t, h, "once.example"); got.Count != 0 {
		t.Errorf("told after its days: %+v", got)
	}
	if got := find(t, h, "both.example"); got.Count != 1 || got.First != noon.UnixMilli() {
		t.Errorf("%+v", got)
	}
	if err := h.Tend(); err != nil {
		t.Fatal(err)
	}
	if after := h.Segments(); before != 2 || after != 1 {
		t.Errorf("%d segments, before %d", after, before)
	}
	ahead.Store(int64(365 * 24 * time.Hour))
	if err := h.Tend(); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*.seg")); len(files) != 0 {
		t.Errorf("left on the disk: %v", files)
	}
}

// A clock that is ahead brings nothing to come into the history.
func TestTimesToComeAreNow(t *testing.T) {
	h := open(t, history.Options{Dir: t.TempDir()})
	add(t, h, "evil.example", noon.AddDate(3, 0, 0), 1)
	if got := find(t, h, "evil.example"); got.Last != noon.UnixMilli() {
		t.Errorf("%+v", got)
	}
}

// The oldest goes when there is no more room, and that is said.
func TestTheOldestGoes(t *testing.T) {
	o := history.Options{Dir: t.TempDir(), MiB: history.MiBMin}
	o.RecordsMax(50_000)
	h := open(t, o)
	const days, each = 80, 25_000
	for d := days; d >= 0; d -= 2 {
		seen := make([]history.Seen, each)
		for i := range seen {
			seen[i] = history.Seen{Indicator: notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("d%d-%d.example", d, i)}, Time: noon.AddDate(0, 0, -d).UnixMilli()}
		}
		if err := errors.Join(h.Add(seen), h.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Tend(); err != nil {
		t.Fatal(err)
	}
	s := h.Stats()
	if s.Bytes > history.MiBMin<<20 || !s.Full || s.Since <= noon.AddDate(0, 0, -days).UnixMilli() {
		t.Fatalf("%+v", s)
	}
	if old, now := find(t, h, fmt.Sprintf("d%d-7.example", days)), find(t, h, "d0-7.example"); old.Count != 0 || now.Count != 1 {
		t.Errorf("oldest %+v, newest %+v", old, now)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if again := open(t, o).Stats(); !again.Full || again.Since != s.Since {
		t.Errorf("after a restart %+v, before %+v", again, s)
	}
}

// Without its key nothing can be read: that is said, nothing is told wrongly, and the
// key that is put back opens all again.
func TestALostKey(t *testing.T) {
	dir := t.TempDir()
	o := history.Options{Dir: dir}
	o.RecordsMax(1)
	h := open(t, o)
	add(t, h, "evil.example", noon, 5)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	o.RecordsMax(100)
	h = open(t, o)
	add(t, h, "journal.example", noon, 5)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "key")
	key, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode: %v %v", info.Mode(), err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	h = open(t, o)
	if find(t, h, "evil.example").Count+find(t, h, "journal.example").Count != 0 || h.Stats().Unreadable == 0 {
		t.Errorf("told without the key, or not said: %+v", h.Stats())
	}
	add(t, h, "evil.example", noon, 2)
	if find(t, h, "evil.example").Count != 2 {
		t.Error("does not go on")
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, key, 0o600); err != nil {
		t.Fatal(err)
	}
	h = open(t, o)
	if find(t, h, "evil.example").Count != 5 || find(t, h, "journal.example").Count != 5 {
		t.Error("the key that was put back does not open what it closed")
	}
}

// A bit that a disk turned is found, costs a block and is said.
func TestADamagedBlock(t *testing.T) {
	dir := t.TempDir()
	o := history.Options{Dir: dir}
	o.RecordsMax(1)
	h := open(t, o)
	var seen []history.Seen
	for i := range 1000 {
		seen = append(seen, history.Seen{Indicator: name(i), Time: noon.UnixMilli()})
	}
	if err := errors.Join(h.Add(seen), h.Close()); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	if len(files) != 1 {
		t.Fatal(files)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	text[4096+500] ^= 4
	if err := os.WriteFile(files[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	h = open(t, o)
	found := 0
	for i := range 1000 {
		traces, err := h.Find([]notice.Indicator{name(i)})
		if err != nil {
			t.Fatal(err)
		}
		if traces[0].Count == 1 {
			found++
		} else if traces[0] != (history.Trace{}) {
			t.Fatalf("%+v", traces[0])
		}
	}
	if found != 1000-204 || h.Stats().Damaged != 1 {
		t.Errorf("%d found, %+v", found, h.Stats())
	}
}

// A full disk is waited for; one that fails ends the writing, and reading goes on.
func TestADiskThatFails(t *testing.T) {
	var fails error
	o := history.Options{Dir: t.TempDir()}
	o.OnStep(func(what string) error {
		if strings.HasPrefix(what, "sync") {
			return fails
		}
		return nil
	})
	h := open(t, o)
	add(t, h, "evil.example", noon, 1)
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	add(t, h, "two.example", noon, 1)
	fails = syscall.EIO
	if err := h.Flush(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	fails = nil
	if err := h.Flush(); !errors.Is(err, syscall.EIO) {
		t.Fatal("after a failed fsync nothing is certain, and it was written all the same:", err)
	}
	if find(t, h, "evil.example").Count != 1 || find(t, h, "two.example").Count != 1 {
		t.Error("reading does not go on")
	}
}

func TestReadersAndAWriter(t *testing.T) {
	o := history.Options{Dir: t.TempDir()}
	o.RecordsMax(20)
	h := open(t, o)
	var wait sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		wait.Go(func() {
			last := uint64(0)
			for {
				select {
				case <-stop:
					return
				default:
				}
				traces, err := h.Find([]notice.Indicator{name(0), name(1)})
				if err != nil || traces[0].Count < last {
					t.Errorf("%+v after %d, %v", traces, last, err)
					return
				}
				last = traces[0].Count
				h.Stats()
			}
		})
	}
	for i := range 150 {
		seen := []history.Seen{{Indicator: name(0), Time: noon.UnixMilli()}, {Indicator: name(i % 50), Time: noon.AddDate(0, 0, -i%80).UnixMilli()}}
		if err := h.Add(seen); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			if err := h.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if i%20 == 0 {
			if err := h.Tend(); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	wait.Wait()
	if got := find(t, h, "n0.example"); got.Count != 153 {
		t.Errorf("%+v", got)
	}
}

// A failed fsync ends all writing, which the figures say.
func TestBrokenIsSaid(t *testing.T) {
	failing := false
	o := history.Options{Dir: t.TempDir(), Days: 90, MiB: 16}
	o.OnStep(func(what string) error {
		if failing {
			return errors.New("input/output error")
		}
		return nil
	})
	h, err := history.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	failing = true
	if err := h.Add([]history.Seen{{Indicator: notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"}}}); err != nil || h.Stats().Broken {
		t.Fatalf("before: %v", err)
	}
	for range 2 {
		if err := h.Flush(); !errors.Is(err, history.ErrBroken) || !h.Stats().Broken {
			t.Errorf("%v, %+v", err, h.Stats())
		}
		failing = false
	}
}
