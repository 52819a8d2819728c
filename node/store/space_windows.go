package store

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/windows"
)

// freeSpace returns the bytes that the user may still write to dir.
func freeSpace(dir string) (uint64, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	err = windows.GetDiskFreeSpaceEx(path, &free, nil, nil)
	return free, err
}

func sizeOnDisk(info fs.FileInfo) int64 { return info.Size() }

func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
