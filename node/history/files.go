package history

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

const temporary = ".tmp" // ends the names of files that are being written

// A disk writes into one directory.
type disk struct {
	dir string
	// step, of tests alone, is asked before each change; its error is as if the
	// disk had given it.
	step func(what string) error
}

func (d *disk) path(name string) string { return filepath.Join(d.dir, name) }

func (d *disk) before(what string) error {
	if d.step == nil {
		return nil
	}
	return d.step(what)
}

// replace makes the file hold data, all of it or what was there before.
func (d *disk) replace(name string, data []byte) error {
	return d.create(name, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// create makes the file hold what fill writes, durable when it returns nil.
func (d *disk) create(name string, fill func(*os.File) error) (err error) {
	if err := d.before("create " + name); err != nil {
		return err
	}
	f, err := os.OpenFile(d.path(name)+temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = d.sync(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		if err = d.before("rename " + name); err == nil {
			err = os.Rename(f.Name(), d.path(name))
		}
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return d.syncNames()
}

func (d *disk) sync(f *os.File) error {
	if err := d.before("sync " + filepath.Base(f.Name())); err != nil {
		return err
	}
	return f.Sync()
}

func (d *disk) remove(name string) error {
	if err := d.before("remove " + name); err != nil {
		return err
	}
	return os.Remove(d.path(name))
}

// syncNames makes the names in the directory durable.
func (d *disk) syncNames() error {
	if err := d.before("sync names"); err != nil || runtime.GOOS == "windows" { // which has no such call
		return err
	}
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
