//go:build !windows

package tail

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openShared opens a file that its writer goes on to write and rename. Should a
// pipe have taken its place, it is not waited for.
func openShared(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// identity is what the system knows an open file by.
func identity(_ *os.File, info fs.FileInfo) (volume, number uint64, err error) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, errors.New("the file system has no inodes")
	}
	return uint64(s.Dev), uint64(s.Ino), nil
}
