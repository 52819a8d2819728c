package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/watchward/watchward/crypto"
)

// marked writes so many marks, of size 10, 20, …, and returns the file as it was after each.
func marked(t *testing.T, dir string, count int) (files [][]byte) {
	t.Helper()
	for k := range count {
		before, err := readMark(dir, "o")
		if err != nil {
			t.Fatal(err)
		}
		m := mark{run: before.run + 1, Origin: "o", Size: uint64(10 * (k + 1)), Root: crypto.Hash{byte(k + 1)}}
		if err := writeMark(dir, m); err != nil {
			t.Fatal(err)
		}
		if got, err := readMark(dir, "o"); err != nil || got != m {
			t.Fatalf("the mark on disk is %+v, %v, want %+v", got, err, m)
		}
		raw, err := os.ReadFile(filepath.Join(dir, markFile))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, raw)
	}
	return files
}

func putMarkFile(t *testing.T, dir string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, markFile), raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMarksTakeTurns(t *testing.T) {
	dir := t.TempDir()
	files := marked(t, dir, 4)
	for k := 1; k < len(files); k++ {
		own := (k + 1) % 2 * markSlot // of the run
		other := markSlot - own
		if bytes.Equal(files[k][own:own+markSlot], files[k-1][own:own+markSlot]) || !bytes.Equal(files[k][other:other+markSlot], files[k-1][other:other+markSlot]) {
			t.Errorf("mark %d is not in its slot alone", k+1)
		}
	}
	if _, err := readMark(dir, "other"); err == nil {
		t.Error("a mark is read as another ledger's")
	}
}

// One byte that changes on the disk makes the mark no lower, and is told.
func TestMarkOutlivesADamagedByte(t *testing.T) {
	for count := 1; count <= 3; count++ {
		dir := t.TempDir()
		files := marked(t, dir, count)
		raw := files[count-1]
		want, _ := readMark(dir, "o")
		for record := range markSize / markCopy {
			for at := record * markCopy; at < record*markCopy+markRecord; at++ {
				bad := bytes.Clone(raw)
				bad[at] ^= 1
				putMarkFile(t, dir, bad)
				if got, err := readMark(dir, "o"); got != want || err == nil {
					t.Fatalf("%d marks, byte %d: %+v, %v", count, at, got, err)
				}
			}
		}
	}
}

// A write that was torn leaves the mark before, which is what was signed, or the new one.
func TestTornMarkLeavesTheOneBefore(t *testing.T) {
	dir := t.TempDir()
	files := marked(t, dir, 4)
	for k := 1; k < len(files); k++ {
		before, after := files[k-1], files[k]
		own := (k + 1) % 2 * markSlot
		for cut := range markSize {
			if in := cut % markCopy; cut < own || cut > own+markSlot || in > markRecord {
				continue // nothing changes there
			}
			for _, torn := range [][]byte{
				append(bytes.Clone(after[:cut]), before[cut:]...), // the end is missing
				append(bytes.Clone(before[:cut]), after[cut:]...), // the beginning is
			} {
				putMarkFile(t, dir, torn)
				got, err := readMark(dir, "o")
				if got.Size != uint64(10*k) && got.Size != uint64(10*(k+1)) || got.Root[0] != byte(got.Size/10) {
					t.Fatalf("mark %d torn at %d: %+v, %v", k+1, cut, got, err)
				}
				if bytes.Equal(torn, after) && (got.Size != uint64(10*(k+1)) || err != nil) {
					t.Fatalf("mark %d, whole: %+v, %v", k+1, got, err)
				}
			}
		}
		// What is written over a torn slot is whole, and the slot before untouched.
		torn := bytes.Clone(before)
		copy(torn[own:], after[own:own+markRecord/2])
		putMarkFile(t, dir, torn)
		got, err := readMark(dir, "o")
		if got.Size != uint64(10*k) || err == nil {
			t.Errorf("half of mark %d: %+v, %v", k+1, got, err)
		}
		next := mark{run: got.run + 1, Origin: "o", Size: 99, Root: crypto.Hash{99}}
		if err := writeMark(dir, next); err != nil {
			t.Fatal(err)
		}
		if got, err := readMark(dir, "o"); got != next || err != nil {
			t.Errorf("after a torn mark %d: %+v, %v", k+1, got, err)
		}
	}
}

// A file of another length, or none, is replaced as a whole.
func TestMarkFileOfAnotherLength(t *testing.T) {
	dir := t.TempDir()
	for _, size := range []int{0, 1, markSlot, markSize - 1, markSize + 1} {
		putMarkFile(t, dir, make([]byte, size))
		if m, err := readMark(dir, "o"); err == nil || m.Size != 0 {
			t.Errorf("%d bytes: %+v, %v", size, m, err)
		}
		m := mark{run: 1, Origin: "o", Size: 7}
		if err := writeMark(dir, m); err != nil {
			t.Fatal(err)
		}
		if got, err := readMark(dir, "o"); err != nil || got != m {
			t.Errorf("%d bytes, replaced: %+v, %v", size, got, err)
		}
	}
}
