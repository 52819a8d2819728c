package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/watchward/watchward/node/logs"
	"github.com/watchward/watchward/node/logs/tail"
)

// Bounds of a source's files.
const (
	logFilesMax = 1_000            // of a directory or pattern
	logDoneMax  = 256              // renamed files that are remembered, so that their new names are not read
	logRest     = 10 * time.Minute // a file that nobody has written to for so long is let go until it changes
	logLook     = time.Second      // between two looks at a directory
	logHeadMax  = 16 << 10         // bytes of a file's start in which its header lines are
)

// A logSource is one [[logs]], or what syslog brings: then it has no files. Only the
// goroutine of the watch uses it, health apart.
type logSource struct {
	name   string
	path   string // a file, a directory or a pattern; "" of syslog
	format logs.Format
	zone   *time.Location
	share  bool

	files  []*logFile // by path
	done   []tail.Position
	looked time.Time

	mu     sync.Mutex // guards what follows
	health logHealth
}

// A logHealth says how a source is.
type logHealth struct {
	lines, broken, other, cut, dropped int64
	hits                               int64 // lines with at least one
	rotated, truncated, lost           int64
	lastLine                           int64 // ms, when the last line was read
	lastStamp                          int64 // ms, when it says that it was written; 0 if it does not
	files                              []logPlace
	problem                            string
	since                              int64 // ms, when the problem began
	format                             string
}

// A logPlace is how far a file is read.
type logPlace struct {
	path   string
	offset int64
}

// A logFile is one that is followed.
type logFile struct {
	path     string
	state    tail.State // while it rests
	follower *tail.Follower
	parser   *logs.Parser
	format   logs.Format // what Auto found
	rested   fs.FileInfo // when it was put to rest
	missed   int         // looks that did not find it
}

func newLogSource(name, path, format, zone string, share bool) (*logSource, error) {
	s := &logSource{name: name, path: path, share: share}
	var err error
	if s.format, err = logs.ParseFormat(format); err != nil {
		return nil, fmt.Errorf("log %s: %w", name, err)
	}
	if zone != "" {
		if s.zone, err = time.LoadLocation(zone); err != nil {
			return nil, fmt.Errorf("log %s: zone: %w", name, err)
		}
	}
	return s, nil
}

func (s *logSource) close() {
	for _, f := range s.files {
		if f.follower != nil {
			f.follower.Close()
		}
	}
}

// count notes a line.
func (s *logSource) count(text []byte, cut bool, event *logs.Event, err error, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.health
	h.lines++
	h.lastLine = now.UnixMilli()
	if !event.Time.IsZero() {
		h.lastStamp = event.Time.UnixMilli()
	}
	h.dropped += int64(event.Dropped)
	switch {
	case cut:
		h.cut++
	case errors.Is(err, logs.ErrOther):
		h.other++
	case err != nil:
		h.broken++
	}
}

// said notes what is wrong with a source, "" if nothing is, and reports whether that is
// news.
func (s *logSource) said(problem string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.health.problem == problem {
		return false
	}
	s.health.problem, s.health.since = problem, now.UnixMilli()
	return true
}

// follow reads what was written to the files of a source. It reports whether there is
// more.
func (w *watch) follow(s *logSource) (more bool) {
	problem := w.look(s)
	for _, f := range s.files {
		if w.n.ctx.Err() != nil {
			return false
		}
		again, err := w.poll(s, f)
		more = more || again
		if err != nil && problem == "" {
			problem = err.Error()
		}
	}
	if s.said(problem, w.n.now()) {
		if problem != "" {
			w.n.log.Warn("a log is not read", slog.String("log", s.name), slog.String("err", problem))
		} else {
			w.n.log.Info("a log is read", slog.String("log", s.name), slog.Int("files", len(s.files)))
		}
	}
	w.placed(s)
	return more
}

// placed notes how far the files are read.
func (w *watch) placed(s *logSource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.health
	h.files, h.format = h.files[:0], s.format.String()
	for _, f := range s.files {
		at := logPlace{path: f.path}
		if state := f.where(); len(state) > 0 {
			at.offset = state[len(state)-1].Offset
		}
		h.files = append(h.files, at)
		if f.format != logs.Auto {
			h.format = f.format.String()
		}
	}
}

// where is how far a file is read.
func (f *logFile) where() tail.State {
	if f.follower != nil {
		return f.follower.State()
	}
	return f.state
}

// look finds the files of a source. What it returns is wrong.
func (w *watch) look(s *logSource) (problem string) {
	if strings.ContainsAny(s.path, "*?[") {
		if time.Since(s.looked) < logLook {
			return s.health.problem
		}
		paths, err := filepath.Glob(s.path)
		if err != nil {
			return fmt.Sprintf("%s: %v", s.path, err)
		}
		return w.found(s, paths, fmt.Sprintf("no file is like %s: check the path", s.path))
	}
	info, err := os.Stat(s.path)
	if err != nil || !info.IsDir() {
		return w.found(s, []string{s.path}, "")
	}
	if time.Since(s.looked) < logLook {
		return s.health.problem
	}
	entries, err := os.ReadDir(s.path)
	if err != nil {
		return fmt.Sprintf("%v: let the user that watchward runs as read it", err)
	}
	var paths []string
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			paths = append(paths, filepath.Join(s.path, e.Name()))
		}
	}
	return w.found(s, paths, fmt.Sprintf("there is no file in %s: check the path", s.path))
}

// found makes the files of a source those at the paths.
func (w *watch) found(s *logSource, paths []string, none string) (problem string) {
	s.looked = time.Now()
	paths = slices.DeleteFunc(paths, func(path string) bool { return compressed(path) && path != s.path })
	slices.Sort(paths)
	if len(paths) == 0 {
		problem = none
	}
	if len(paths) > logFilesMax {
		problem = fmt.Sprintf("there are %d files like %s, and only %d are read: name fewer", len(paths), s.path, logFilesMax)
		paths = paths[:logFilesMax]
	}
	here := map[string]*logFile{}
	for _, f := range s.files {
		here[f.path] = f
	}
	for _, path := range paths {
		if here[path] == nil {
			if f := s.open(path); f != nil {
				s.files = append(s.files, f)
			}
		}
	}
	s.files = slices.DeleteFunc(s.files, func(f *logFile) bool { return s.gone(f, paths) })
	slices.SortFunc(s.files, func(a, b *logFile) int { return strings.Compare(a.path, b.path) })
	return problem
}

func compressed(path string) bool {
	return slices.Contains([]string{".gz", ".xz", ".zst", ".bz2", ".zip", ".lz4"}, strings.ToLower(filepath.Ext(path)))
}

// open begins with a file that was not here before: from its start, or, where it is one
// that was followed under another name, from where that ended. It returns nil for one
// that is followed under another name now.
func (s *logSource) open(path string) *logFile {
	for _, f := range s.files {
		for _, at := range f.where() {
			if at.Is(path) {
				return nil
			}
		}
	}
	for _, at := range s.done {
		if at.Is(path) {
			return &logFile{path: path, state: tail.State{at}}
		}
	}
	return &logFile{path: path}
}

// gone reports whether a file can be let go: it is at no path of the source, and read to
// its end.
func (s *logSource) gone(f *logFile, paths []string) bool {
	if _, ok := slices.BinarySearch(paths, f.path); ok {
		f.missed = 0
		return false
	}
	if f.missed++; f.missed < 2 { // what is open is read to its end first
		return false
	}
	s.finish(f.where())
	if f.follower != nil {
		f.follower.Close()
	}
	return true
}

// finish remembers files that were read.
func (s *logSource) finish(done []tail.Position) {
	for _, at := range done {
		s.done = slices.DeleteFunc(s.done, func(d tail.Position) bool { return d.Volume == at.Volume && d.File == at.File })
		s.done = append(s.done, at)
	}
	s.done = s.done[max(0, len(s.done)-logDoneMax):]
}

// poll reads what was written to a file.
func (w *watch) poll(s *logSource, f *logFile) (more bool, err error) {
	if f.follower == nil {
		info, err := os.Stat(f.path)
		if err == nil && f.rested != nil && os.SameFile(info, f.rested) && info.Size() == f.rested.Size() && info.ModTime().Equal(f.rested.ModTime()) {
			return false, nil
		}
		w.begin(s, f)
	}
	report, err := f.follower.Poll(func(l tail.Line) error {
		w.line(s, f.parser, l.Text, l.Cut)
		return w.n.ctx.Err()
	})
	f.format = f.parser.Format()
	s.finish(report.Done)
	w.reported(s, f, report)
	switch {
	case w.n.ctx.Err() != nil:
		return false, nil
	case errors.Is(err, fs.ErrPermission):
		return false, fmt.Errorf("%w: let the user that watchward runs as read it", err)
	case err != nil:
		return false, err
	case report.Missing && f.path == s.path:
		return false, fmt.Errorf("there is no file %s: check the path, or wait for its first line", f.path)
	}
	if !report.More {
		f.rest()
	}
	return report.More, nil
}

// begin follows a file from where it was left.
func (w *watch) begin(s *logSource, f *logFile) {
	f.rested = nil
	f.follower = tail.Open(f.path, f.state)
	format := f.format
	if format == logs.Auto {
		format = s.format
	}
	f.parser = logs.New(logs.Options{Format: format, Zone: s.zone, Now: w.n.now, Own: w.own})
	if len(f.state) > 0 && f.state[len(f.state)-1].Offset > 0 {
		prime(f.parser, f.path)
	}
}

// prime shows a parser the header lines with which a file starts: Zeek names its
// fields there, and nowhere else.
func prime(p *logs.Parser, path string) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	head := make([]byte, logHeadMax)
	n, _ := file.Read(head)
	for line := range bytes.Lines(head[:n]) {
		if line[0] != '#' {
			return
		}
		_, _ = p.Line(line) // they say nothing
	}
}

// rest lets a file go that nobody writes to: a directory may hold years of them.
func (f *logFile) rest() {
	info, err := os.Stat(f.path)
	if err != nil || time.Since(info.ModTime()) < logRest {
		return
	}
	f.state = f.follower.State()
	if len(f.state) != 1 || f.state[0].Offset != info.Size() { // something waits for its end
		return
	}
	f.follower.Close()
	f.follower, f.parser, f.rested = nil, nil, info
}

func (w *watch) reported(s *logSource, f *logFile, r tail.Report) {
	if !r.Rotated && !r.Truncated && !r.Lost {
		return
	}
	w.changed = true
	s.mu.Lock()
	for _, at := range []struct {
		is    bool
		count *int64
	}{{r.Rotated, &s.health.rotated}, {r.Truncated, &s.health.truncated}, {r.Lost, &s.health.lost}} {
		if at.is {
			*at.count++
		}
	}
	s.mu.Unlock()
	if r.Lost {
		w.n.log.Warn("the file that was read is gone, so some of its lines may not have been read", slog.String("log", s.name), slog.String("path", f.path))
	}
}
