package proc

import "syscall"

// dieWithParent makes the kernel end a process with the one that started it: a
// test that panics or runs into its time limit cleans up nothing.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
