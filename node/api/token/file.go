package token

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/watchward/watchward/node/notice"
)

const (
	fileVersion  = 0
	fileBytesMax = 256 << 10
	lockWaitMax  = 3 * time.Second
	lockStaleAge = 30 * time.Second // no writer holds the lock for longer: it died
	lockPoll     = 10 * time.Millisecond
)

// file is the JSON form. Times are RFC 3339.
type file struct {
	Version int         `json:"version"`
	Tokens  []fileToken `json:"tokens"`
}

type fileToken struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Role    string     `json:"role"`
	Ceiling string     `json:"ceiling"`
	SHA256  string     `json:"sha256"` // of the whole secret text
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"`
}

// A stamp tells one state of the file from another. Writers rename a new file
// into place, so identity alone already differs; size and time catch editors
// that write in place.
type stamp struct{ info fs.FileInfo }

func (s stamp) same(other fs.FileInfo) bool {
	if s.info == nil || other == nil {
		return s.info == nil && other == nil
	}
	return os.SameFile(s.info, other) && s.info.Size() == other.Size() && s.info.ModTime().Equal(other.ModTime())
}

// refresh reads the file again if it is another than before. A file that cannot
// be read or understood refuses every token: an old list might still hold a
// revoked one. The caller holds mu.
func (t *Tokens) refresh() error {
	info, err := os.Stat(t.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read tokens: %w", err)
	}
	if t.loaded && t.seen.same(info) {
		return nil
	}
	t.loaded, t.list = false, nil
	if info == nil {
		t.loaded, t.seen = true, stamp{}
		return nil
	}
	list, info, err := read(t.path)
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	t.loaded, t.seen, t.list = true, stamp{info}, list
	return nil
}

func read(path string) ([]entry, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of the open file: a rename in between cannot mix two states
	if err != nil {
		return nil, nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return nil, nil, err
	}
	list, err := decode(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w: restore it from a backup, or remove it and create new tokens", path, err)
	}
	return list, info, nil
}

func decode(raw []byte) ([]entry, error) {
	if len(raw) > fileBytesMax {
		return nil, fmt.Errorf("the file is larger than %d bytes", fileBytesMax)
	}
	var f file
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON value")
	}
	if f.Version != fileVersion {
		return nil, fmt.Errorf("version %d is not known to this program", f.Version)
	}
	if len(f.Tokens) > TokensMax {
		return nil, fmt.Errorf("more than %d tokens", TokensMax)
	}
	list := make([]entry, 0, len(f.Tokens))
	for i, ft := range f.Tokens {
		e, err := ft.entry()
		if err != nil {
			return nil, fmt.Errorf("tokens[%d]: %w", i, err)
		}
		list = append(list, e)
	}
	return list, nil
}

func (ft fileToken) entry() (entry, error) {
	e := entry{Token: Token{ID: ft.ID, Name: ft.Name, Created: ft.Created}}
	var err error
	if e.Role, err = ParseRole(ft.Role); err != nil {
		return e, err
	}
	if e.Ceiling, err = notice.ParseTLP(ft.Ceiling); err != nil {
		return e, err
	}
	hash, err := hex.DecodeString(ft.SHA256)
	if err != nil || len(hash) != sha256.Size {
		return e, errors.New("sha256: want 64 hexadecimal digits")
	}
	copy(e.hash[:], hash)
	if ft.Expires != nil {
		e.Expires = *ft.Expires
	}
	return e, nil
}

// change rewrites the file under the lock, from what is on disk now.
func (t *Tokens) change(edit func([]entry) ([]entry, error)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	unlock, err := lock(t.path + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if err := t.refresh(); err != nil {
		return err
	}
	list, err := edit(append([]entry(nil), t.list...))
	if err != nil {
		return err
	}
	if err := write(t.path, list); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	t.loaded = false // the next use reads what was written, as every other process does
	return nil
}

// write replaces the file durably: a crash leaves the old list or the new one.
func write(path string, list []entry) (err error) {
	f := file{Version: fileVersion, Tokens: make([]fileToken, 0, len(list))}
	for _, e := range list {
		ft := fileToken{
			ID: e.ID, Name: e.Name, Role: e.Role.String(), Ceiling: e.Ceiling.String(),
			SHA256: hex.EncodeToString(e.hash[:]), Created: e.Created,
		}
		if !e.Expires.IsZero() {
			expires := e.Expires.UTC()
			ft.Expires = &expires
		}
		f.Tokens = append(f.Tokens, ft)
	}
	raw, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(append(raw, '\n'))
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	syncDir(filepath.Dir(path))
	return nil
}

// syncDir makes a rename durable where directories can be synced; elsewhere
// (Windows) the rename is durable by itself.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// lock keeps two processes from losing each other's change. It is a file made
// exclusively, which works on every system and file system alike.
func lock(path string) (unlock func(), err error) {
	deadline := time.Now().Add(lockWaitMax)
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			_ = f.Close()
			return func() { _ = os.Remove(path) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("lock tokens: %w", err)
		}
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > lockStaleAge {
			_ = os.Remove(path)
			continue
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("lock tokens: %s is held by another process: wait, or remove it if none is running", path)
		}
		time.Sleep(lockPoll)
	}
}
