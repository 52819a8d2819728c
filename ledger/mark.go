package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/watchward/watchward/crypto"
)

// A mark is the largest tree of an epoch that this member has signed. It is on disk
// before the signature leaves, so that no crash and no restored backup of the rest
// makes it sign another tree of that size.
//
// The file has two slots, written in turn and in place: one sync of one block is all that
// a signature waits for. A write that was torn leaves the other slot, and what it was to
// say was not signed. Each slot holds its record twice, far apart, so that no single
// damaged sector makes the mark lower than what was signed.
//
//	"wwsigned" ‖ run uint64 ‖ size uint64 ‖ root ‖ SHA-256 of all before and the origin
type mark struct {
	run    uint64 // the later one counts; 0: nothing is signed
	Origin string
	Size   uint64
	Root   crypto.Hash
}

const (
	markFile   = "signed"
	markMagic  = "wwsigned"
	markBody   = len(markMagic) + 8 + 8 + sha256.Size
	markRecord = markBody + sha256.Size
	markCopy   = 2 << 10 // from one copy of a record to the next
	markSlot   = 2 * markCopy
	markSize   = 2 * markSlot
)

// record is the mark as it is on disk.
func (m mark) record() []byte {
	out := []byte(markMagic)
	out = binary.BigEndian.AppendUint64(out, m.run)
	out = binary.BigEndian.AppendUint64(out, m.Size)
	out = append(out, m.Root[:]...)
	sum := sha256.Sum256(append(out[:markBody:markBody], m.Origin...))
	return append(out, sum[:]...)
}

// slot is the mark's half of the file.
func (m mark) slot() []byte {
	out := make([]byte, markSlot)
	copy(out, m.record())
	copy(out[markCopy:], m.record())
	return out
}

// parseMark reads a record; the second result is false if it is not whole.
func parseMark(record []byte, origin string) (mark, bool) {
	numbers := record[len(markMagic):]
	m := mark{
		run: binary.BigEndian.Uint64(numbers), Origin: origin,
		Size: binary.BigEndian.Uint64(numbers[8:]), Root: crypto.Hash(numbers[16:]),
	}
	return m, m.run > 0 && bytes.Equal(m.record(), record[:markRecord])
}

// readMark returns the mark of an epoch's directory, empty if nothing was signed yet. With
// an error it is the newest that is whole: more may have been signed than it says.
func readMark(dir, origin string) (mark, error) {
	last := mark{Origin: origin}
	raw, err := readSmall(filepath.Join(dir, markFile), markSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return last, nil
	case err != nil:
		return last, err
	case len(raw) != markSize:
		return last, fmt.Errorf("%s is damaged: it has %d bytes, not %d", markFile, len(raw), markSize)
	}
	damaged := 0
	for record := range slices.Chunk(raw, markCopy) {
		m, whole := parseMark(record, origin)
		if !whole {
			damaged++
		} else if m.run > last.run {
			last = m
		}
	}
	unused := raw[:markSlot] // while there is one mark alone
	if damaged == 0 || last.run == 1 && damaged == 2 && len(bytes.Trim(unused, "\x00")) == 0 {
		return last, nil
	}
	return last, fmt.Errorf("%s is damaged, or of another ledger than %s: %d of its 4 records are not whole", markFile, origin, damaged)
}

// writeMark returns once the mark is on disk. Its run is one more than that of the mark
// before, which stays as it is.
func writeMark(dir string, m mark) error {
	path, at := filepath.Join(dir, markFile), int64(m.run%2)*markSlot
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		if info, err := f.Stat(); err == nil && info.Size() == markSize {
			_, err := f.WriteAt(m.slot(), at)
			if err == nil {
				err = syncData(f)
			}
			return errors.Join(err, f.Close())
		}
		_ = f.Close()
	}
	whole := make([]byte, markSize)
	copy(whole[at:], m.slot())
	return writeDurably(path, whole)
}

// readSmall reads a file of at most limit bytes.
func readSmall(path string, limit int) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > int64(limit) {
		return nil, fmt.Errorf("%s has %d bytes, at most %d", path, info.Size(), limit)
	}
	return os.ReadFile(path)
}

// writeDurably replaces a file and returns once the new one is on disk: after a crash
// there is the old one or the new one. One at a time may write a path.
func writeDurably(path string, data []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes new names durable. Windows does so by itself, and has no such call.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
