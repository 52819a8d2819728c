package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// fileError says what is wrong with a file and what to do about it.
func fileError(path string, err error) error {
	var inner *fs.PathError
	var link *os.LinkError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: no such file or directory: check the name", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: this user may not open it: give it the right, or be its owner", path)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%s: the disk is full: make room, or choose another place", path)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s: it can only be read there, not written: choose another place", path)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%s: this is a directory: name a file", path)
	case errors.As(err, &inner):
		err = inner.Err
	case errors.As(err, &link):
		err = link.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}
