//go:build unix

package sink

import (
	"os/exec"
	"syscall"
)

// together makes what a command starts end with it.
func together(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
}
