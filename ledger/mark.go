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
	"slices"

	"github.com/watchward/watchward/crypto"
)

// A mark is the largest tree of an epoch that this member has signed. It is on disk
// before the signature leaves, so that no crash and no restored backup of the rest
// makes it sign another tree of that size.
type mark struct {
	Origin string
	Size   uint64
	Root   crypto.Hash
}

const (
	markFile = "signed"
	markSlot = 512 // bytes: a sector, so that writing one slot leaves the other alone
	markBody = sha256.Size + 8 + sha256.Size
)

// readMark returns the mark of an epoch's directory, empty if nothing was signed yet. With
// an error it is what can still be read.
//
// The file has two slots, which are written in turn, so that a torn write loses only what
// was not signed yet: checksum, hash of the origin, size (big endian), root.
func readMark(dir, origin string) (mark, error) {
	m := mark{Origin: origin}
	raw, err := readSmall(filepath.Join(dir, markFile), 2*markSlot)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	for slot := range slices.Chunk(raw, markSlot) {
		if len(bytes.Trim(slot, "\x00")) == 0 {
			continue
		}
		if bad := m.take(slot); bad != nil {
			err = bad
		}
	}
	return m, err
}

// take reads a slot into the mark if it is larger.
func (m *mark) take(slot []byte) error {
	if len(slot) < sha256.Size+markBody || len(bytes.Trim(slot[sha256.Size+markBody:], "\x00")) != 0 {
		return fmt.Errorf("%s is damaged: a slot of %d bytes", markFile, len(slot))
	}
	body := slot[sha256.Size:][:markBody]
	of := sha256.Sum256([]byte(m.Origin))
	if sha256.Sum256(body) != [sha256.Size]byte(slot) || !bytes.HasPrefix(body, of[:]) {
		return fmt.Errorf("%s is damaged, or of another ledger than %s", markFile, m.Origin)
	}
	if size := binary.BigEndian.Uint64(body[sha256.Size:]); size > m.Size {
		m.Size, m.Root = size, crypto.Hash(body[sha256.Size+8:])
	}
	return nil
}

// encode returns a slot.
func (m mark) encode() []byte {
	of := sha256.Sum256([]byte(m.Origin))
	body := binary.BigEndian.AppendUint64(of[:], m.Size)
	body = append(body, m.Root[:]...)
	sum := sha256.Sum256(body)
	return append(append(make([]byte, 0, markSlot), sum[:]...), body...)[:markSlot]
}

// writeMark returns once the mark is on disk, in a slot: 0 or 1. It writes into a file that
// has its size from the first time on, for each checkpoint waits for it.
func writeMark(dir string, m mark, slot int) error {
	path := filepath.Join(dir, markFile)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := writeDurably(path, make([]byte, 2*markSlot)); err != nil {
			return err
		}
		f, err = os.OpenFile(path, os.O_WRONLY, 0)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt(m.encode(), int64(slot)*markSlot)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
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
	if err := replace(path, data, true); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// replace replaces a file. Without sync a power cut may leave an empty one.
func replace(path string, data []byte, sync bool) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
