package tlog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	fileMode = 0o600
	dirMode  = 0o700

	// What is being filled has the name of the full tile and this after it, so that a
	// name of C2SP always has a full tile under it.
	openSuffix = ".open"
)

// fileOf returns where a full tile lies.
func fileOf(dir string, p Path) string {
	return filepath.Join(dir, filepath.FromSlash(p.full().String()))
}

// slot returns which of the two open files a level has.
func slot(level int) int { return level - LevelEntries }

// write writes what data has from offset on to the open file of a level. Needs writing.
func (l *Log) write(p Path, data []byte, from int) error {
	f := &l.files[slot(p.Level)]
	if *f == nil {
		var err error
		if *f, err = l.create(fileOf(l.dir, p) + openSuffix); err != nil {
			return err
		}
		l.note(p)
	}
	l.dirty[p] = struct{}{}
	_, err := (*f).WriteAt(data[from:], int64(from))
	return err
}

// note says that the next Sync has to make a tile durable, and its name.
func (l *Log) note(p Path) {
	l.dirty[p] = struct{}{}
	for dir := fileOf(l.dir, p); dir != l.dir; {
		dir = filepath.Dir(dir)
		l.dirs[dir] = struct{}{}
	}
}

// create opens a file to write.
func (l *Log) create(name string) (*os.File, error) {
	f, err := openFile(name, os.O_RDWR|os.O_CREATE)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := os.MkdirAll(filepath.Dir(name), dirMode); err != nil {
		return nil, err
	}
	return openFile(name, os.O_RDWR|os.O_CREATE)
}

// seal gives an open file, which is full, its name. Needs writing.
func (l *Log) seal(p Path) error {
	f := &l.files[slot(p.Level)]
	err := (*f).Close()
	*f = nil
	if err != nil {
		return err
	}
	l.note(p)
	name := fileOf(l.dir, p)
	return os.Rename(name+openSuffix, name)
}

// writeFull writes a full tile of a level above 0, or one from a peer. Needs writing.
func (l *Log) writeFull(p Path, data []byte) error {
	name := fileOf(l.dir, p)
	f, err := l.create(name + openSuffix)
	if err != nil {
		return err
	}
	l.note(p)
	_, err = f.WriteAt(data, 0)
	err = errors.Join(err, f.Truncate(int64(len(data))), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(name+openSuffix, name)
}

// syncTile makes a tile durable, be it full or not. One that a failed Append left beyond
// size may have gone.
func (l *Log) syncTile(p Path, size uint64) error {
	f, err := l.openTile(p)
	if errors.Is(err, fs.ErrNotExist) && p.In(size) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// openTile opens a tile under the name that it has. It may be sealed at the same time,
// which is why the first name is tried twice.
func (l *Log) openTile(p Path) (f *os.File, err error) {
	name := fileOf(l.dir, p)
	for _, name := range []string{name, name + openSuffix, name} {
		if f, err = openFile(name, os.O_RDWR); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return f, err
}

func (l *Log) closeFiles() error {
	var errs []error
	for i, f := range l.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
		l.files[i] = nil
	}
	return errors.Join(errs...)
}

// settle makes the disk hold what the state has and no more, durably, so that nothing of
// an earlier end can come back after a crash. What the state has is there already, so
// that settling only renames, cuts and removes. Needs writing.
func (l *Log) settle() error {
	if err := l.closeFiles(); err != nil {
		return err
	}
	for level, size := range []int{len(l.state.bundle), len(l.state.tile(0))} {
		if err := l.reopen(l.state.open(level+LevelEntries), int64(size)); err != nil {
			return err
		}
	}
	touched, err := l.removeBeyond()
	if err != nil {
		return err
	}
	for dir := range touched {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// reopen cuts what is being filled to size bytes, under the name of what is not full.
func (l *Log) reopen(p Path, size int64) error {
	if size == 0 {
		return nil // removeBeyond takes it
	}
	name := fileOf(l.dir, p)
	if err := os.Rename(name, name+openSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := openFile(name+openSuffix, os.O_RDWR)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}

// removeBeyond removes the tiles that the state does not have and returns the directories
// that it changed, and those of the open files.
func (l *Log) removeBeyond() (map[string]struct{}, error) {
	touched := map[string]struct{}{}
	err := filepath.WalkDir(filepath.Join(l.dir, "tile"), func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		rest, err := filepath.Rel(l.dir, name)
		if err != nil {
			return err
		}
		plain, open := strings.CutSuffix(filepath.ToSlash(rest), openSuffix)
		p, err := ParsePath(plain)
		if err != nil {
			return nil // not ours
		}
		now := l.state.open(p.Level)
		stays := p.Index < now.Index
		if open {
			stays = p.Index == now.Index && p.Level <= 0 && l.state.width() > 0
		}
		if !stays || open {
			touched[filepath.Dir(name)] = struct{}{}
		}
		if stays {
			return nil
		}
		return os.Remove(name)
	})
	return touched, err
}
