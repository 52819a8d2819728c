package keyfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// noRights are the file systems of sticks, by the numbers that statfs(2) has.
var noRights = map[int64]string{0x4d44: "FAT", 0x2011bab0: "exFAT"}

// rightless returns the name of f's file system if it keeps no rights of files.
func rightless(f *os.File) string {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return ""
	}
	return noRights[int64(st.Type)]
}
