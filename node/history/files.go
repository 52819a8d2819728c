package history

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// replaceFile makes path hold data, all of it or what was there before.
func replaceFile(path string, data []byte) error {
	return createFile(path, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// createFile makes path hold what fill writes, durable when it returns nil.
func createFile(path string, fill func(*os.File) error) (err error) {
	f, err := os.OpenFile(path+temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if err := joinClose(err, f); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

const temporary = ".tmp" // ends the names of files that are being written

func joinClose(err error, f *os.File) error { return errors.Join(err, f.Close()) }

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // which has no such call
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return joinClose(d.Sync(), d)
}
