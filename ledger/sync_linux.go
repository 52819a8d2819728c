package ledger

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData returns once a file's bytes are on disk. Of a file that was as large before,
// and whose blocks were written before, that is all: nothing goes through the journal of
// the file system, where everybody else's syncs wait.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
