package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"google.golang.org/protobuf/proto"
)

// failedFile says that the process before this one ended because a write failed.
const failedFile = "WRITE-FAILED"

// noteFailure leaves word of a failed write for the next start, as far as the
// disk lets it.
func (s *Store) noteFailure(cause error) {
	if s.o.InMemory {
		return
	}
	if err := os.WriteFile(filepath.Join(s.o.Dir, failedFile), []byte(cause.Error()+"\n"), 0o600); err != nil {
		s.log.Warn("the failure is not noted for the next start", "err", err)
	}
}

// openBadger opens the database. Where a write failed before, and only there, it
// looks first whether the list of tables has to be mended.
func openBadger(b badger.Options) (*badger.DB, error) {
	failed := filepath.Join(b.Dir, failedFile)
	if _, err := os.Stat(failed); err == nil && !b.InMemory {
		mended, err := mend(b.Dir)
		if err != nil {
			return nil, fmt.Errorf("mend the list of tables: %w", err)
		}
		if mended {
			b.Logger.Warningf("a table that a failed write had not left was taken off the list of tables")
		}
	}
	db, err := badger.Open(b)
	if err != nil || b.InMemory {
		return db, err
	}
	if err := os.Remove(failed); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// mend takes back what Badger wrote into its list of tables, MANIFEST, and could
// not make durable. It deletes the new tables then, and leaves their names in
// the list, so that it does not open any more (4.9.6). What they held is still
// in the logs or the tables that they were made from, if those are there. It
// reports whether it changed the list; the old one stays as MANIFEST.failed.
func mend(dir string) (bool, error) {
	path := filepath.Join(dir, badger.ManifestFilename)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	sets, err := changeSets(raw)
	if err != nil {
		return false, err
	}
	live := map[uint64]bool{}
	for _, s := range sets {
		for _, c := range s.changes.Changes {
			live[c.Id] = c.Op == pb.ManifestChange_CREATE
		}
	}
	has := func(id uint64) bool {
		_, err := os.Stat(table.NewFilename(id, dir))
		return err == nil
	}
	out, changed := bytes.Clone(raw[:manifestHead]), false
	for _, s := range sets {
		lost, spent := uint64(0), uint64(0)
		for _, c := range s.changes.Changes {
			switch {
			case c.Op == pb.ManifestChange_CREATE && live[c.Id] && !has(c.Id):
				lost = c.Id
			case c.Op == pb.ManifestChange_CREATE && !live[c.Id], c.Op == pb.ManifestChange_DELETE && !has(c.Id):
				spent = c.Id
			}
		}
		switch {
		case lost == 0:
			out = append(out, s.raw...)
		case spent != 0:
			return false, fmt.Errorf("table %d is missing, and so is table %d, which it was made from: restore the node's directory from a backup", lost, spent)
		default:
			changed = true
		}
	}
	if !changed {
		return false, nil
	}
	if err := os.WriteFile(path+".failed", raw, 0o600); err != nil {
		return false, err
	}
	return true, replaceFile(path, out)
}

// replaceFile writes a file in one step.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".mend-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// A changeSet is one entry of the list of tables.
type changeSet struct {
	raw     []byte
	changes *pb.ManifestChangeSet
}

// manifestHead is the magic text and the versions in front of the entries, each
// of which has its length, its CRC-32C and a protocol buffer (Badger, manifest.go).
const (
	manifestHead  = 8
	changeSetHead = 8
)

func changeSets(raw []byte) (out []changeSet, err error) {
	if len(raw) < manifestHead || string(raw[:4]) != "Bdgr" {
		return nil, errors.New("MANIFEST is none of Badger's")
	}
	for rest := raw[manifestHead:]; len(rest) >= changeSetHead; {
		n := int64(binary.BigEndian.Uint32(rest))
		if n > int64(len(rest)-changeSetHead) {
			break // a torn end, which Badger drops as well
		}
		body := rest[changeSetHead : changeSetHead+n]
		if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(rest[4:]) {
			return nil, errors.New("MANIFEST is damaged")
		}
		s := changeSet{rest[:changeSetHead+n], &pb.ManifestChangeSet{}}
		if err := proto.Unmarshal(body, s.changes); err != nil {
			return nil, fmt.Errorf("MANIFEST: %w", err)
		}
		out, rest = append(out, s), rest[changeSetHead+n:]
	}
	return out, nil
}
