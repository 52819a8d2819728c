package ledger_test

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/watchward/watchward/ledger"
)

func openSnapshots(t *testing.T, dir string) *ledger.Snapshots {
	t.Helper()
	s, err := ledger.OpenSnapshots(dir, slog.New(slog.DiscardHandler), hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// snapshot takes a snapshot of what is said, and returns its directory.
func snapshot(t *testing.T, dir string, index uint64, said string) string {
	t.Helper()
	s := openSnapshots(t, dir)
	c := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}}}
	_, trans := raft.NewInmemTransport("a")
	sink, err := s.Create(1, index, 3, c, 1, trans)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(sink, said); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "snapshots", sink.ID())
}

// logOf is a raft log of what lies between two indexes, both included.
func logOf(t *testing.T, from, to uint64) raft.LogStore {
	t.Helper()
	logs := raft.NewInmemStore()
	for i := from; i <= to; i++ {
		if err := logs.StoreLog(&raft.Log{Index: i, Term: 1}); err != nil {
			t.Fatal(err)
		}
	}
	return logs
}

// A file of a snapshot with any bit flipped, or torn anywhere, is never read as something
// else: it is dropped where the log has what it had, and else it is refused, and kept.
func TestSnapshotDamage(t *testing.T) {
	dir := t.TempDir()
	path := snapshot(t, dir, 20, "the tree")
	want, content, err := openSnapshots(t, dir).Open(filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	_ = content.Close()
	reaches, short, empty := logOf(t, 1, 30), logOf(t, 21, 30), raft.NewInmemStore()
	for _, file := range []string{"meta.json", "meta.sum", "state.bin"} {
		raw, err := os.ReadFile(filepath.Join(path, file))
		if err != nil {
			t.Fatal(err)
		}
		try := func(damaged []byte, what string, at int) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(path, file), damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			s := openSnapshots(t, dir)
			if _, content, err := s.Open(filepath.Base(path)); err == nil {
				_ = content.Close()
				t.Fatalf("%s, %s at %d: it opens", file, what, at)
			}
			for _, logs := range []raft.LogStore{short, empty} {
				if err := s.Check(logs); err == nil || !strings.Contains(err.Error(), filepath.Base(path)) {
					t.Fatalf("%s, %s at %d: not refused: %v", file, what, at, err)
				}
			}
			if list, err := s.List(); file != "state.bin" && (err != nil || len(list) != 0) {
				t.Fatalf("%s, %s at %d: it is listed: %v %v", file, what, at, list, err)
			}
		}
		for i := range len(raw) * 8 {
			damaged := append([]byte(nil), raw...)
			damaged[i/8] ^= 1 << (i % 8)
			try(damaged, "a bit flipped", i)
		}
		for i := range raw {
			try(raw[:i], "torn", i)
		}
		if err := os.WriteFile(filepath.Join(path, file), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := openSnapshots(t, dir)
	if err := s.Check(short); err != nil {
		t.Fatalf("whole again: %v", err)
	}
	got, content, err := s.Open(filepath.Base(path))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, want %+v, %v", got, want, err)
	}
	_ = content.Close()

	newer := snapshot(t, dir, 25, "the tree, later")
	flip(t, filepath.Join(path, "meta.json"), 20)
	if err := openSnapshots(t, dir).Check(empty); err != nil { // the newer one has all
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("the damaged one stays: %v", err)
	}
	flip(t, filepath.Join(newer, "meta.json"), 20)
	if err := openSnapshots(t, dir).Check(short); err == nil {
		t.Fatal("not refused: the log begins at 21")
	}
	if err := openSnapshots(t, dir).Check(reaches); err != nil {
		t.Fatal(err)
	}
	if list, err := openSnapshots(t, dir).List(); err != nil || len(list) != 0 {
		t.Fatalf("%v %v", list, err)
	}
}

// A crash before the sum is written leaves a snapshot that counts, and has a sum from then on.
func TestSnapshotWithoutSum(t *testing.T) {
	dir := t.TempDir()
	path := snapshot(t, dir, 20, "the tree")
	if err := os.Remove(filepath.Join(path, "meta.sum")); err != nil {
		t.Fatal(err)
	}
	s := openSnapshots(t, dir)
	if list, err := s.List(); err != nil || len(list) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	flip(t, filepath.Join(path, "meta.json"), 20)
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Fatalf("%v %v", list, err)
	}
}
