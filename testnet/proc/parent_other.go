//go:build !linux

package proc

import "syscall"

// dieWithParent does nothing here: the system has no such service.
func dieWithParent() *syscall.SysProcAttr { return nil }
