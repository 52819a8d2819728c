package ledger

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// A log over several segments, prepared and not, is the same after it is opened again,
// and nothing else is left in its directory.
func TestRaftLogOverSegments(t *testing.T) {
	dir := t.TempDir()
	log, err := openWAL(dir, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	const size = 256 << 10
	data := make([]byte, size)
	count := uint64(3*walSegment/size + 40) // in the second half of a segment, so there is a spare
	filled := 0
	for i := uint64(1); i <= count; i++ {
		data[0], data[size-1] = byte(i), byte(i)
		if err := log.StoreLog(&raft.Log{Index: i, Term: 1, Data: data}); err != nil {
			t.Fatal(err)
		}
		log.files.wait.Wait() // the next one is ready before it is needed
		log.files.mu.Lock()
		if log.files.spare != nil {
			filled++
		}
		log.files.mu.Unlock()
	}
	if filled == 0 || log.files.spare == nil {
		t.Error("no segment was made beforehand")
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(names, func(e fs.DirEntry) bool { return e.Name() == spareFile }) {
		t.Error("a segment that nobody needs is left")
	}
	// What a crash leaves of a spare harms nothing.
	if err := os.WriteFile(filepath.Join(dir, spareFile), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if log, err = openWAL(dir, hclog.NewNullLogger()); err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if last, err := log.LastIndex(); err != nil || last != count {
		t.Fatalf("the log ends at %d, %v, want %d", last, err, count)
	}
	for i := uint64(1); i <= count; i++ {
		var got raft.Log
		if err := log.GetLog(i, &got); err != nil || len(got.Data) != size || got.Data[0] != byte(i) || got.Data[size-1] != byte(i) {
			t.Fatalf("entry %d: %v", i, err)
		}
	}

	// What a snapshot has made needless leaves the disk.
	segments := func() int {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	before := segments()
	if err := log.DeleteRange(1, count-1); err != nil {
		t.Fatal(err)
	}
	if after := segments(); before < 3 || after != 1 {
		t.Errorf("%d segments, %d after all but the last entry were dropped", before, after)
	}
}

// A segment takes no other's place, and a spare of another size is not taken.
func TestSegmentIsNew(t *testing.T) {
	dir, s := t.TempDir(), &segments{}
	for _, spare := range []int64{100, 200} {
		s.prepare(dir, spare)
		s.wait.Wait()
		f, err := s.Create(dir, "a", 200)
		if spare == 200 {
			if !errors.Is(err, fs.ErrExist) {
				t.Errorf("a second a: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(dir, "a")); err != nil || info.Size() != 200 {
			t.Errorf("%v, %v", info, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}
