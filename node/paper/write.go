package paper

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"time"
)

// The files of a pack. The page is named last in everything, so that it never names a
// playbook that is not there.
const (
	PackPage     = "watchward-pack.html"
	playbooksDir = "playbooks"
)

// Limits of a pack that is unpacked.
const (
	packFilesMax = 4096
	packFileMax  = 64 << 20 // bytes
)

var playbookFile = regexp.MustCompile(`^` + playbooksDir + `/[0-9a-f]{16}-[A-Za-z0-9_][A-Za-z0-9._-]{0,60}$`)

// each yields the files of a pack, the page last.
func (k *Pack) each(yield func(name string, size int64, r io.Reader) error) error {
	for i := range k.Playbooks {
		b := &k.Playbooks[i]
		r, err := b.Open()
		if err != nil {
			return fmt.Errorf("playbook %s: %w", b.File(), err)
		}
		sum := sha256.New()
		err = yield(b.File(), b.Size, io.TeeReader(r, sum))
		if err = errors.Join(err, r.Close()); err == nil && [32]byte(sum.Sum(nil)) != b.SHA256 {
			err = errors.New("it is not what its hash says")
		}
		if err != nil {
			return fmt.Errorf("playbook %s: %w", b.File(), err)
		}
	}
	page, err := k.HTML()
	if err != nil {
		return err
	}
	return yield(PackPage, int64(len(page)), strings.NewReader(string(page)))
}

// Write puts a pack into a directory, which is made if only it is missing. Each file is
// written beside and renamed, the page last: whatever fails, the pack that was there
// stays whole. Playbooks that the new one does not name go.
func (k *Pack) Write(dir string) error {
	w, err := openWriter(dir)
	if err != nil {
		return err
	}
	err = k.each(func(name string, _ int64, r io.Reader) error { return w.add(name, r) })
	return w.close(err)
}

// Tar writes a pack as an archive.
func (k *Pack) Tar(out io.Writer) error {
	t := tar.NewWriter(out)
	err := k.each(func(name string, size int64, r io.Reader) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: packMode, ModTime: time.UnixMilli(int64(k.Report.Now)), Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(t, r)
		return err
	})
	return errors.Join(err, t.Close())
}

// Unpack puts the pack in an archive into a directory, as Write does, and returns how many
// playbooks are in it.
func Unpack(in io.Reader, dir string) (playbooks int, err error) {
	w, err := openWriter(dir)
	if err != nil {
		return 0, err
	}
	err = unpack(in, w)
	return len(w.named), w.close(err)
}

func unpack(in io.Reader, w *writer) error {
	t, last := tar.NewReader(in), ""
	for range packFilesMax {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF) && last == PackPage:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("the pack broke off: its page is missing: try again")
		case err != nil:
			return fmt.Errorf("the pack broke off: %w: try again", err)
		case h.Typeflag != tar.TypeReg || last == PackPage || h.Name != PackPage && !playbookFile.MatchString(h.Name) || h.Size > packFileMax:
			return fmt.Errorf("%.80q does not belong into a pack: is this a node of another version?", h.Name)
		}
		if err := w.add(h.Name, t); err != nil {
			return err
		}
		last = h.Name
	}
	return fmt.Errorf("a pack of more than %d files", packFilesMax)
}

// packMode of files and packDirMode: people of the group may read them, as they may the
// node's socket.
const (
	packMode    = 0o640
	packDirMode = 0o750
	beside      = ".watchward-pack.new"
)

// writer writes into a pack's directory and nowhere else.
type writer struct {
	root  *os.Root
	named map[string]bool // playbooks of the new pack
	fresh []string        // those of them that were not there before
}

func openWriter(dir string) (*writer, error) {
	if err := os.Mkdir(dir, packDirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &writer{root: root, named: map[string]bool{}}, nil
}

// add writes a file beside its place and renames it.
func (w *writer) add(name string, r io.Reader) error {
	if name != PackPage {
		w.named[path.Base(name)] = true
		if err := w.root.Mkdir(playbooksDir, packDirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	_, err := w.root.Lstat(name)
	fresh := errors.Is(err, fs.ErrNotExist) && name != PackPage
	f, err := w.root.OpenFile(beside, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, packMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = w.root.Rename(beside, name)
	}
	if err != nil {
		_ = w.root.Remove(beside) // of a read-only place it was never there
	} else if fresh {
		w.fresh = append(w.fresh, name)
	}
	return err
}

// close ends a pack. One that was written whole lets playbooks of before go, another takes
// its own back: they would fill a disk that is full.
func (w *writer) close(err error) error {
	if err == nil {
		return errors.Join(w.sweep(), w.root.Close())
	}
	for _, name := range w.fresh {
		_ = w.root.Remove(name)
	}
	return errors.Join(err, w.root.Close())
}

func (w *writer) sweep() error {
	entries, err := fs.ReadDir(w.root.FS(), playbooksDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		name := playbooksDir + "/" + e.Name()
		if !w.named[e.Name()] && e.Type().IsRegular() && playbookFile.MatchString(name) {
			err = errors.Join(err, w.root.Remove(name))
		}
	}
	return err
}
