package ledger

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	wal "github.com/hashicorp/raft-wal"
	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	walsegment "github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
	"go.etcd.io/bbolt"
)

const (
	// spareFile is the next segment of the raft log, while it is made.
	spareFile = "spare"
	// zerosAtOnce are written and synced at a time: other syncs get in between.
	zerosAtOnce = 1 << 20
)

// segments are the files of a raft log. Space that was only reserved becomes space that
// is written with each append, and the sync of that goes through the journal of the file
// system: here the next segment is filled with zeros beforehand, while the one before is
// in its second half, so that the sync of an append writes the append and nothing else.
// A segment that is needed before it is filled is one that is reserved.
type segments struct {
	walfs.FS
	wait sync.WaitGroup

	mu     sync.Mutex
	making bool
	spare  *os.File // filled and synced
}

// A walLog is a raft log in segments.
type walLog struct {
	*wal.WAL
	files *segments
}

func openWAL(dir string, logger hclog.Logger) (*walLog, error) {
	if err := checkMeta(dir); err != nil {
		return nil, err
	}
	files := &segments{}
	log, err := wal.Open(dir, wal.WithSegmentSize(walSegment), wal.WithSegmentFiler(walsegment.NewFiler(dir, files)), wal.WithLogger(logger))
	if err != nil {
		return nil, err
	}
	return &walLog{log, files}, nil
}

// checkMeta reads all of the log's small database, in which raft keeps its term and vote.
// The library maps that file and believes it: of one that was cut off, or leads nowhere,
// it would end the process, with gossip and lookup in it.
func checkMeta(dir string) (err error) {
	path := filepath.Join(dir, metadb.FileName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil // a new log
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s is damaged: %v", path, r)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(_, v []byte) error {
				_ = crc32.ChecksumIEEE(v) // reads it
				return nil
			})
		})
	})
	return errors.Join(err, db.Close())
}

func (l *walLog) Close() error { return errors.Join(l.WAL.Close(), l.files.close()) }

// close lets go of the spare.
func (s *segments) close() error {
	s.wait.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spare == nil {
		return nil
	}
	f := s.spare
	s.spare = nil
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Create makes a segment. Its name is durable when it is synced first.
func (s *segments) Create(dir, name string, size uint64) (types.WritableFile, error) {
	path := filepath.Join(dir, name)
	if f := s.take(int64(size)); f != nil {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(&fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}, f.Close())
		}
		if err := os.Rename(f.Name(), path); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return &segment{File: f, of: s, dir: dir, size: int64(size)}, nil
	}
	f, err := s.FS.Create(dir, name, size)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return s.open(dir, name)
}

// Delete removes a segment, also where directories cannot be synced.
func (s *segments) Delete(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

// OpenWriter opens a segment that goes on to be written.
func (s *segments) OpenWriter(dir, name string) (types.WritableFile, error) { return s.open(dir, name) }

func (s *segments) open(dir, name string) (*segment, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &segment{File: f, of: s, dir: dir, size: info.Size()}, nil
}

// take returns the spare if there is one of that size.
func (s *segments) take(size int64) *os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.spare
	if f == nil {
		return nil
	}
	s.spare = nil
	if info, err := f.Stat(); err == nil && info.Size() == size {
		return f
	}
	_ = f.Close() // the next one replaces it
	return nil
}

// prepare makes the spare, unless there is one.
func (s *segments) prepare(dir string, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spare != nil || s.making || runtime.GOOS == "windows" { // which renames no open file
		return
	}
	s.making = true
	s.wait.Go(func() {
		f, _ := fill(filepath.Join(dir, spareFile), size) // without it the log is slower
		s.mu.Lock()
		defer s.mu.Unlock()
		s.spare, s.making = f, false
	})
}

// fill makes a file of zeros that are on disk.
func fill(path string, size int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, zerosAtOnce)
	for at := int64(0); at < size && err == nil; at += zerosAtOnce {
		if _, err = f.WriteAt(zeros[:min(zerosAtOnce, size-at)], at); err == nil {
			err = syncData(f)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return f, nil
}

// A segment is a file of the raft log that is written.
type segment struct {
	*os.File
	of    *segments
	dir   string
	size  int64
	named atomic.Bool // the name is durable
	half  bool        // the next one is being made
}

func (s *segment) WriteAt(data []byte, at int64) (int, error) {
	if !s.half && at > s.size/2 {
		s.half = true
		s.of.prepare(s.dir, s.size)
	}
	return s.File.WriteAt(data, at)
}

// Sync returns once what was written is on disk, and the name with it.
func (s *segment) Sync() error {
	if s.named.Load() {
		return syncData(s.File)
	}
	if err := errors.Join(s.File.Sync(), syncDir(s.dir)); err != nil {
		return err
	}
	s.named.Store(true)
	return nil
}
