package tlog

import (
	"path/filepath"
	"slices"
)

// Pending returns what the next Sync will make durable: tiles, and directories as slash
// paths below the log's.
func (l *Log) Pending() (tiles, dirs []string) {
	l.writing.Lock()
	defer l.writing.Unlock()
	for p := range l.dirty {
		tiles = append(tiles, p.String())
	}
	for dir := range l.dirs {
		rest, _ := filepath.Rel(l.dir, dir)
		dirs = append(dirs, filepath.ToSlash(rest))
	}
	slices.Sort(tiles)
	slices.Sort(dirs)
	return tiles, dirs
}
