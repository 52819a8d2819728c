// Package tail follows a file that another program writes: it gives each line
// once, through rotation by renaming (the old file is read to its end), through
// truncation, and through restarts, by a State that the caller keeps.
//
// It asks the file system at each Poll and waits for no notice from it: see
// DESIGN.md.
package tail

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/watchward/watchward/node/logs"
)

const (
	headMax    = 1024    // bytes by which a file is known again
	pollMax    = 8 << 20 // bytes read in one Poll
	chunkSize  = 256 << 10
	filesMax   = 8      // open at once: the one at the path, and renamed ones
	siblingMax = 10_000 // names looked at for a file that was renamed
)

// A State says where a Follower stands: in one file, and while renamed ones are
// read in up to filesMax, the oldest first. nil is the start of whatever file
// there is. It is small and may be kept in any form.
type State []Position

// A Position is a place in a file, which is known again by what the system knows
// it by and by how it starts.
type Position struct {
	Volume, File uint64 // device and inode, or what Windows has for them
	Offset       int64  // of the first byte that is in no line given
	Head         int    // bytes of the start that Sum is of
	Sum          [sha256.Size]byte
}

// A Line is valid until yield returns.
type Line struct {
	Text   []byte // without its end
	Cut    bool   // there was more than logs.LineMax of it
	Offset int64  // where it starts in its file
	Old    bool   // from the file that was there before
}

// A Report says what a Poll met, for a log and for counters. Its zero value is
// nothing out of the way.
type Report struct {
	More      bool // there is more to read at once
	Missing   bool // there is no file
	Rotated   bool // another file is there now
	Truncated bool // the file was made shorter, or written anew
	Lost      bool // the file that State speaks of was not found: lines may be missing
	// Done are the files that were renamed and are read to their end: who finds one of
	// them under its new name has read it.
	Done []Position
}

// Is reports whether a position is in the file at a path.
func (p Position) Is(path string) bool {
	at, err := open(path)
	if err != nil {
		return false
	}
	defer at.close()
	return at.is(p)
}

// A Follower follows the file at one path. It is not safe for concurrent use.
type Follower struct {
	path  string
	from  State   // not yet looked for
	files []*file // the one at the path comes last; those before it were renamed
}

// Open starts where from says. It touches no file yet: the first Poll does, and
// the file may be missing for as long as it likes.
func Open(path string, from State) *Follower { return &Follower{path: path, from: from} }

// Close lets the files go. Nothing is lost: State says where to go on.
func (f *Follower) Close() {
	f.from = f.State()
	for _, at := range f.files {
		at.close()
	}
	f.files = nil
}

// State is where to go on after a restart, given that all lines given so far are
// dealt with.
func (f *Follower) State() State {
	if len(f.files) == 0 {
		return f.from
	}
	var s State
	for _, at := range f.files {
		s = append(s, at.position())
	}
	return s
}

// Poll gives yield what was written since the last one, up to some MiB: the
// report says whether to call again at once. A last line without an end waits
// for it, unless its file was renamed. An error of yield ends the poll and is
// returned; the line it came from counts as given. Other errors name the path;
// the next Poll tries again.
func (f *Follower) Poll(yield func(Line) error) (Report, error) {
	var r Report
	if err := f.look(&r); err != nil || len(f.files) == 0 {
		return r, err
	}
	for len(f.files) > 1 {
		if done, err := f.finish(&r, yield); err != nil || !done {
			return r, err
		}
	}
	return r, f.files[0].read(&r, yield)
}

// look sees which file is at the path now.
func (f *Follower) look(r *Report) error {
	if len(f.files) >= filesMax {
		return nil // the oldest is read first
	}
	there, err := os.Stat(f.path)
	if n := len(f.files); err == nil && n > 0 && os.SameFile(there, f.files[n-1].info) {
		return nil
	}
	var now *file
	if err == nil {
		now, err = open(f.path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist): // not yet, or between the two steps of a rotation
		r.Missing = true
	case err != nil:
		return fmt.Errorf("follow %s: %w", f.path, err)
	case len(f.files) > 0:
		r.Rotated = true
	}
	if len(f.files) == 0 {
		f.resume(now, r)
	}
	if now != nil {
		f.files, f.from = append(f.files, now), nil
	}
	return nil
}

// resume finds the files that were followed before a restart. now is the one at
// the path, nil if there is none yet.
func (f *Follower) resume(now *file, r *Report) {
	for _, from := range f.from {
		switch {
		case now != nil && now.is(from):
			now.resume(from)
		case now != nil && now.volume == from.Volume && now.number == from.File: // the same, written anew
			r.Truncated = true
		default:
			if at := f.renamed(from); at != nil {
				f.files = append(f.files, at)
				r.Rotated = true
			} else if now != nil {
				r.Lost = true
			}
		}
	}
}

// renamed looks beside the path for a file that was followed before.
func (f *Follower) renamed(from Position) *file {
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(siblingMax)
	base := filepath.Base(f.path)
	stem := strings.TrimSuffix(base, filepath.Ext(base)) // conn.log becomes conn.2026-11-27-10-00-00.log
	for _, name := range names {
		if name == base || !strings.HasPrefix(name, stem) {
			continue
		}
		at, err := open(filepath.Join(filepath.Dir(f.path), name))
		if err != nil {
			continue
		}
		if at.is(from) {
			at.resume(from)
			return at
		}
		at.close()
	}
	return nil
}

// finish reads the oldest file, which was renamed. Its writer may not have
// noticed yet, so it is done with only when a later one has bytes; that is looked
// at first, for then nothing more comes.
func (f *Follower) finish(r *Report, yield func(Line) error) (done bool, err error) {
	began := false
	for _, later := range f.files[1:] {
		info, err := later.f.Stat()
		began = began || err == nil && info.Size() > 0
	}
	at := f.files[0]
	old := func(l Line) error { l.Old = true; return yield(l) }
	if err := at.read(r, old); err != nil || r.More || !began && len(f.files) < filesMax {
		return false, err
	}
	err = at.flush(old)
	r.Done = append(r.Done, at.position())
	at.close()
	f.files = f.files[1:]
	return true, err
}

// Follow polls until ctx ends or yield fails, every so often as pause says.
// report is called after each poll, by the same goroutine: the place to keep
// State and to say what was met.
func (f *Follower) Follow(ctx context.Context, pause time.Duration, yield func(Line) error, report func(Report, error)) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		var failed error
		r, err := f.Poll(func(l Line) error { failed = yield(l); return failed })
		if failed != nil {
			return failed
		}
		report(r, err)
		if r.More && err == nil && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// A file is one that is open, and where it is read.
type file struct {
	f              *os.File
	path           string
	info           fs.FileInfo
	volume, number uint64
	head           []byte // its start, as far as it was read
	base           int64  // where split began
	next           int64  // the next byte to read
	split          logs.Splitter
	buffer         []byte
}

// open opens a file that is one: a pipe would block, a directory has no lines.
func open(path string) (*file, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, errNoFile
	}
	if err != nil {
		return nil, err
	}
	f, err := openShared(path)
	if err != nil {
		return nil, err
	}
	at := &file{f: f, path: path}
	if at.info, err = f.Stat(); err == nil && !at.info.Mode().IsRegular() {
		err = errNoFile
	} else if err == nil {
		at.volume, at.number, err = identity(f, at.info)
	}
	if err != nil {
		at.close()
		return nil, err
	}
	return at, nil
}

var errNoFile = errors.New("it is no regular file: name the log itself")

func (at *file) close() { _ = at.f.Close() } // it was only read

// is reports whether it is the file of a position: by number, for as long as the
// system does not give the number again, and by its start.
func (at *file) is(s Position) bool {
	if at.volume != s.Volume || at.number != s.File {
		return false
	}
	info, err := at.f.Stat()
	if err != nil || info.Size() < s.Offset || s.Head < 0 || s.Head > headMax {
		return false
	}
	head := make([]byte, s.Head)
	n, _ := at.f.ReadAt(head, 0)
	return n == s.Head && sha256.Sum256(head) == s.Sum
}

// resume goes on where a position says.
func (at *file) resume(s Position) {
	at.base, at.next = s.Offset, s.Offset
	at.head = make([]byte, s.Head)
	_, _ = at.f.ReadAt(at.head, 0) // as is did
}

func (at *file) position() Position {
	return Position{Volume: at.volume, File: at.number, Offset: at.base + at.split.Before(),
		Head: len(at.head), Sum: sha256.Sum256(at.head)}
}

// read gives the lines that end in what is new.
func (at *file) read(r *Report, yield func(Line) error) error {
	info, err := at.f.Stat()
	if err != nil {
		return fmt.Errorf("follow %s: %w", at.path, err)
	}
	if info.Size() < at.next || info.Size() > at.next && !at.same() {
		r.Truncated = true
		at.base, at.next, at.head, at.split = 0, 0, nil, logs.Splitter{}
	}
	if info.Size() == at.next {
		return nil
	}
	if at.buffer == nil {
		at.buffer = make([]byte, chunkSize)
	}
	for end := at.next + pollMax; at.next < end; {
		n, err := at.f.ReadAt(at.buffer, at.next)
		if failed := at.lines(at.buffer[:n], yield); failed != nil {
			return failed
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow %s: byte %d: %w", at.path, at.next, err)
		}
	}
	r.More = true
	return nil
}

// lines gives the lines that end in b, which was read at next.
func (at *file) lines(b []byte, yield func(Line) error) error {
	if had := int64(len(at.head)) - at.next; had >= 0 && had < int64(len(b)) {
		at.head = append(at.head, b[had:min(int64(len(b)), headMax-at.next)]...)
	}
	n, err := at.split.Write(b, at.give(yield))
	at.next += int64(n)
	return err
}

// flush gives a last line that will have no end.
func (at *file) flush(yield func(Line) error) error { return at.split.Flush(at.give(yield)) }

func (at *file) give(yield func(Line) error) func([]byte, bool) error {
	return func(line []byte, cut bool) error {
		return yield(Line{Text: bytes.TrimSuffix(line, []byte("\r")), Cut: cut, Offset: at.base + at.split.Before()})
	}
}

// same reports whether the file still starts as it did: one that was emptied and
// written again since may be longer than before.
func (at *file) same() bool {
	head := make([]byte, len(at.head))
	n, _ := at.f.ReadAt(head, 0)
	return n == len(head) && bytes.Equal(head, at.head)
}
