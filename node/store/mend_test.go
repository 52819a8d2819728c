package store_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dgraph-io/badger/v4/pb"
	"google.golang.org/protobuf/proto"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/store"
)

// listed appends changes to the list of tables, as Badger does.
func listed(t *testing.T, dir string, changes ...*pb.ManifestChange) {
	t.Helper()
	body, err := proto.Marshal(&pb.ManifestChangeSet{Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "MANIFEST"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entry := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	entry = binary.BigEndian.AppendUint32(entry, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	if _, err := f.Write(append(entry, body...)); err != nil {
		t.Fatal(err)
	}
}

// After a failed write the list of tables may name some that are not there: they
// are taken off it. Where that would lose something the store does not open.
func TestListOfTablesIsMended(t *testing.T) {
	lost := &pb.ManifestChange{Id: 900, Op: pb.ManifestChange_CREATE}
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string, table uint64)
		opens  bool
	}{
		"a table that was written": {func(t *testing.T, dir string, _ uint64) { listed(t, dir, lost) }, true},
		"two in two entries": {func(t *testing.T, dir string, _ uint64) {
			listed(t, dir, lost)
			listed(t, dir, &pb.ManifestChange{Id: 901, Op: pb.ManifestChange_CREATE})
		}, true},
		"a compaction": {func(t *testing.T, dir string, table uint64) {
			listed(t, dir, lost, &pb.ManifestChange{Id: table, Op: pb.ManifestChange_DELETE})
		}, true},
		"what it replaced is gone": {func(t *testing.T, dir string, table uint64) {
			listed(t, dir, lost, &pb.ManifestChange{Id: table, Op: pb.ManifestChange_DELETE})
			if err := os.Remove(tableFile(dir, table)); err != nil {
				t.Fatal(err)
			}
		}, false},
		"a failed write, and nothing to mend": {func(*testing.T, string, uint64) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			clock, dir := newClock(), t.TempDir()
			s, err := store.Open(store.Options{Dir: dir, Now: clock.Now})
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, writers(t, 1)[0].envelope(t, crypto.Header{}, sighting(values[0], 1, 1)))
			if err := s.Close(); err != nil { // which writes a table
				t.Fatal(err)
			}
			tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
			if err != nil || len(tables) != 1 {
				t.Fatal(tables, err)
			}
			s = open(t, store.Options{Dir: dir, Now: clock.Now})
			store.Logger(s).Errorf("error flushing memtable to disk: %v, retrying", syscall.EIO)
			if err := errors.Join(s.Close(), store.CloseFiles(s)); err != nil {
				t.Fatal(err)
			}
			c.change(t, dir, 1)
			again, err := store.Open(store.Options{Dir: dir, Now: clock.Now})
			if !c.opens {
				if err == nil || !strings.Contains(err.Error(), "table") {
					t.Fatalf("it opens: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if sum := summary(t, again, values[0], 0); sum.Sightings != 1 {
				t.Errorf("after mending: %+v", sum)
			}
			if _, err := os.Stat(filepath.Join(dir, "WRITE-FAILED")); err == nil {
				t.Error("the failure is still noted")
			}
		})
	}
}

func tableFile(dir string, id uint64) string {
	name := "00000" + string(rune('0'+id)) + ".sst"
	return filepath.Join(dir, name)
}
