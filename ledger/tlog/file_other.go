//go:build !windows

package tlog

import "os"

// openFile opens a file that may be renamed while it is open.
func openFile(name string, flag int) (*os.File, error) { return os.OpenFile(name, flag, fileMode) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close()
		return err
	}
	return d.Close()
}
