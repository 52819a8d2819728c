package keyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// create writes a new file of mode 0600 that appears whole or not at all, and
// survives a power cut once create has returned.
func create(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("create key file: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	if err := errors.Join(writeOut(tmp, data), tmp.Close()); err != nil {
		return fmt.Errorf("create key file %s: %w", path, err)
	}
	switch err := os.Link(tmp.Name(), path); { // unlike a rename, a link never replaces
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("key file %s exists, and keys are never overwritten: move it away first: %w", path, fs.ErrExist)
	case err != nil: // no hard links here, as on a USB stick with FAT
		if err := createInPlace(path, data); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

func createInPlace(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // follows no link
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("key file %s exists, and keys are never overwritten: move it away first: %w", path, fs.ErrExist)
	}
	if err != nil {
		return fmt.Errorf("create key file: %w", err)
	}
	if err := errors.Join(writeOut(f, data), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("create key file %s: %w", path, err), os.Remove(path))
	}
	return nil
}

func writeOut(f *os.File, data []byte) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// syncDir makes the new name durable. Windows has no such call.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("create key file: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// fileSystem is rightless, but for tests.
var fileSystem = rightless

// Rightless returns the name of the file system on which path lies, if it keeps
// no rights of files, as FAT and exFAT on a stick: then everybody with the stick
// can read the key, and on Unix most users of the machine in which it is. "" if it
// keeps them, or nobody knows.
func Rightless(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	return fileSystem(f)
}

// read returns the contents of a regular file that nobody else can read; of one
// that may lie on a stick, also where the stick keeps no rights. What is checked is
// the opened file, so that it cannot be swapped in between.
func read(path string, stick bool) ([]byte, error) {
	before, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		fix := "restore it from a backup"
		if stick {
			fix = "check the path, and that the stick is in"
		}
		return nil, fmt.Errorf("key file %s: %w: %s", path, fs.ErrNotExist, fix)
	}
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	if before.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("key file %s is a symbolic link: give the path of the file itself", path)
	}
	if !before.Mode().IsRegular() { // opening a pipe would wait for ever
		return nil, fmt.Errorf("key file %s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	if !os.SameFile(before, info) {
		return nil, fmt.Errorf("key file %s was replaced while it was opened: try again", path)
	}
	if err := checkMode(path, f, info.Mode().Perm(), stick); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, fileSizeMax+1))
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	if len(data) > fileSizeMax {
		return nil, fmt.Errorf("key file %s has more than %d bytes: this is no key file", path, fileSizeMax)
	}
	return data, nil
}

// checkMode refuses a file that others on this machine can reach.
func checkMode(path string, f *os.File, mode fs.FileMode, stick bool) error {
	if runtime.GOOS == "windows" || mode&0o077 == 0 {
		return nil
	}
	switch name := fileSystem(f); {
	case name == "":
		return fmt.Errorf("key file %s has mode %04o, others can reach it: run chmod 600 %s; if that changes nothing, its file system keeps no rights: copy it to one that does", path, mode, path)
	case !stick:
		return fmt.Errorf("key file %s lies on %s, which keeps no rights, so others can reach it: move the node's directory to another file system", path, name)
	}
	return nil
}
