package keyfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// noRights are the file systems of sticks, by the names that statfs(2) has.
var noRights = map[string]string{"msdos": "FAT", "exfat": "exFAT"}

// rightless returns the name of f's file system if it keeps no rights of files.
func rightless(f *os.File) string {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return ""
	}
	return noRights[unix.ByteSliceToString(st.Fstypename[:])]
}
