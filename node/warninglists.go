package node

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/watchward/watchward/node/verdict/warninglist"
)

// listsEvery is how often the directory of warninglists is looked at. A change counts
// when two looks in a row have found the same, since files are seldom written at once.
const listsEvery = 2 * time.Second

// listsShown is how many files a status names.
const listsShown = 3

// A listsDir keeps what was read of a directory of warninglists. It is not safe for
// concurrent use. The zero value has none.
type listsDir struct {
	path string
	log  *slog.Logger

	set    *warninglist.Set
	read   uint64 // what the directory looked like when it was read
	looked uint64 // … at the last look
	broken []warninglist.Problem
	gone   error // the directory cannot be read
}

// refresh reads the directory if it has changed, and reports whether the lists did.
// Lists that count do not go because a file of theirs is broken now: nobody wants an
// address unguarded since a download broke off. A file that was deleted goes.
func (d *listsDir) refresh() bool {
	if d.path == "" {
		return false
	}
	looks, err := look(d.path)
	settled := looks == d.looked || d.looked == 0
	d.looked = looks
	if err != nil {
		d.lost(err)
		return false
	}
	if looks == d.read && d.gone == nil || !settled {
		return false
	}
	set, problems, err := warninglist.Load(os.DirFS(d.path))
	if err != nil {
		d.lost(err)
		return false
	}
	d.read, d.gone, d.broken = looks, nil, nil
	good := map[string]bool{}
	for _, l := range set.Lists() {
		good[l.File] = true
	}
	for _, p := range problems {
		d.log.Warn("warninglist", slog.String("file", p.File), slog.String("reason", p.Reason), slog.String("fix", p.Fix))
		if !good[p.File] {
			d.broken = append(d.broken, p)
		}
	}
	for _, old := range d.set.Lists() {
		if _, err := os.Stat(filepath.Join(d.path, old.File)); !good[old.File] && err == nil {
			d.log.Warn("warninglists: what was read before still counts, as a whole", slog.String("broken", old.File))
			return false
		}
	}
	d.set = set
	entries := 0
	for _, l := range set.Lists() {
		entries += l.Entries
	}
	d.log.Info("warninglists were read", slog.Int("lists", len(good)), slog.Int("entries", entries))
	return true
}

// lost says once that there is nothing to read.
func (d *listsDir) lost(err error) {
	if d.gone == nil {
		d.log.Warn("warninglists cannot be read: what was read before still counts", slog.Any("err", err))
	}
	d.gone = err
}

// warnings are what a person should know.
func (d *listsDir) warnings() (out []string) {
	if d.gone != nil {
		out = append(out, fmt.Sprintf("the warninglists cannot be read, what was read before still counts: %v: set [warninglists] dir", d.gone))
	}
	for _, p := range d.broken[:min(len(d.broken), listsShown)] {
		out = append(out, fmt.Sprintf("warninglist %v", p))
	}
	if more := len(d.broken) - listsShown; more > 0 {
		out = append(out, fmt.Sprintf("%d more warninglists are broken: the log names them", more))
	}
	return out
}

// look returns a hash of the names, sizes and times of the files that Load reads,
// never 0.
func look(dir string) (uint64, error) {
	h := fnv.New64a()
	tree := os.DirFS(dir)
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == ".":
			return err
		case err != nil:
			fmt.Fprintln(h, name, err)
			return nil
		case d.IsDir() && name != "." && d.Name()[0] == '.':
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(name) != ".json":
			return nil
		}
		if info, err := fs.Stat(tree, name); err == nil {
			fmt.Fprintln(h, name, info.Size(), info.ModTime().UnixNano())
		} else {
			fmt.Fprintln(h, name, err)
		}
		return nil
	})
	return cmp.Or(h.Sum64(), 1), err
}
