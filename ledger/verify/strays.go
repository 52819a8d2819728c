package verify

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/watchward/watchward/ledger/tlog"
)

// strays looks at what lies in a directory beside the files that the tree is made of:
// older partial tiles must fit, and else there is nothing.
func (a *audit) strays(ctx context.Context, dir Dir) error {
	return filepath.WalkDir(string(dir), func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(string(dir), name)
		if err != nil {
			return err
		}
		path := filepath.ToSlash(relative)
		if private(path) {
			return nil
		}
		t, err := tlog.ParsePath(path)
		if err != nil {
			return &Fault{path, errors.New("this does not belong into a ledger: move it away")}
		}
		return a.stray(ctx, dir, t)
	})
}

// private reports whether a file is the checkpoint, or one that a node has beside the
// tiles for itself: what is not full yet, and what it knows to be durable.
func private(path string) bool {
	switch path {
	case checkpointFile, checkpointFile + ".tmp", "edge.0", "edge.1":
		return true
	}
	full, open := strings.CutSuffix(path, openSuffix)
	t, err := tlog.ParsePath(full)
	return open && err == nil && t.Width == tlog.TileWidth
}

func (a *audit) stray(ctx context.Context, dir Dir, t tlog.Path) error {
	now := t
	now.Width = t.In(a.report.Size)
	switch {
	case now.Width == t.Width: // the tree is made of it
		return nil
	case now.Width < t.Width:
		a.report.Beyond++
		return nil
	}
	raw, err := a.tile(ctx, t)
	if err != nil {
		return err
	}
	whole, err := a.tile(ctx, now)
	if err != nil {
		return err
	}
	if string(raw) != string(first(whole, t)) {
		return &Fault{t.String(), damaged(errors.New("it is not the beginning of " + now.String()))}
	}
	return nil
}
