//go:build !linux

package ledger

import "os"

// syncData returns once a file's bytes are on disk.
func syncData(f *os.File) error { return f.Sync() }
