package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// A mark is the largest tree of an epoch that this member has signed. It is on disk
// before the signature leaves, so that no crash and no restored backup of the rest
// makes it sign another tree of that size.
type mark struct {
	Version uint8       `cbor:"1,keyasint"`
	Origin  string      `cbor:"2,keyasint"`
	Size    uint64      `cbor:"3,keyasint"`
	Root    crypto.Hash `cbor:"4,keyasint"`
}

const (
	markFile    = "signed"
	markSizeMax = 1 << 10
)

// readMark returns the mark of an epoch's directory, empty if nothing was signed yet.
func readMark(dir, origin string) (mark, error) {
	empty := mark{Origin: origin}
	raw, err := readSmall(filepath.Join(dir, markFile), markSizeMax)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return empty, nil
	case err != nil:
		return empty, err
	case len(raw) < sha256.Size:
		return empty, fmt.Errorf("%s is damaged: it has %d bytes", markFile, len(raw))
	}
	sum, body := [sha256.Size]byte(raw), raw[sha256.Size:]
	var m mark
	if sha256.Sum256(body) != sum {
		return empty, fmt.Errorf("%s is damaged: its checksum differs", markFile)
	}
	if err := canon.Unmarshal(body, &m); err != nil || m.Version != 0 || m.Origin != origin {
		return empty, fmt.Errorf("%s is damaged, or of another ledger than %s", markFile, origin)
	}
	return m, nil
}

// writeMark returns once the mark is on disk.
func writeMark(dir string, m mark) error {
	body, err := canon.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the mark: %w", err)
	}
	sum := sha256.Sum256(body)
	return writeDurably(filepath.Join(dir, markFile), append(sum[:], body...))
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

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
