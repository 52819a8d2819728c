package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	snapshotMeta    = "meta.json"
	snapshotSum     = "meta.sum" // of meta.json: SHA-256, in hex
	snapshotMetaMax = 4 << 20    // bytes
)

var errDamagedSnapshot = errors.New("the snapshot is damaged")

// snapshots are raft's, of which raft sums up the content (state.bin) alone: a bit that
// flips in what is said of it, say its index, would be believed. So that is summed up
// too. A crash between raft's writing and the sum's leaves a snapshot without a sum; it
// gets one at the next start, and is believed as it is then.
type snapshots struct {
	*raft.FileSnapshotStore
	dir string
	log *slog.Logger
}

// openSnapshots opens the snapshots in a replica's directory.
func openSnapshots(dir string, log *slog.Logger, logger hclog.Logger) (*snapshots, error) {
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, logger)
	if err != nil {
		return nil, err
	}
	s := &snapshots{files, filepath.Join(dir, "snapshots"), log}
	names, err := s.names()
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(s.dir, name, snapshotSum)); errors.Is(err, fs.ErrNotExist) {
			if err := s.seal(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // check tells of that
				return nil, fmt.Errorf("snapshot %s: %w", name, err)
			}
		}
	}
	return s, err
}

// names returns the complete snapshots' directories. A name is term-index-time.
func (s *snapshots) names() (names []string, err error) {
	all, err := os.ReadDir(s.dir)
	for _, d := range all {
		if d.IsDir() && !strings.HasSuffix(d.Name(), ".tmp") {
			names = append(names, d.Name())
		}
	}
	return names, err
}

// seal writes the sum of what is said of a snapshot.
func (s *snapshots) seal(name string) error {
	sum, err := s.sum(name)
	if err != nil {
		return err
	}
	return writeDurably(filepath.Join(s.dir, name, snapshotSum), sum)
}

func (s *snapshots) sum(name string) ([]byte, error) {
	meta, err := readSmall(filepath.Join(s.dir, name, snapshotMeta), snapshotMetaMax)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(meta)
	return hex.AppendEncode(nil, sum[:]), nil
}

// sealed returns an error unless what is said of a snapshot is what was written.
func (s *snapshots) sealed(name string) error {
	want, err := os.ReadFile(filepath.Join(s.dir, name, snapshotSum))
	if err != nil {
		return err
	}
	got, err := s.sum(name)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: %s is not what %s was made of", errDamagedSnapshot, snapshotMeta, snapshotSum)
	}
	return nil
}

// Create implements raft.SnapshotStore.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, configIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.FileSnapshotStore.Create(version, index, term, c, configIndex, trans)
	if err != nil {
		return nil, err
	}
	return &sealingSink{sink, s}, nil
}

// A sealingSink seals its snapshot once raft has it in place.
type sealingSink struct {
	raft.SnapshotSink
	of *snapshots
}

func (k *sealingSink) Close() error {
	if err := k.SnapshotSink.Close(); err != nil {
		return err
	}
	return k.of.seal(k.ID())
}

// List implements raft.SnapshotStore. What is damaged is not in it.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	all, err := s.FileSnapshotStore.List()
	return slices.DeleteFunc(all, func(m *raft.SnapshotMeta) bool { return s.sealed(m.ID) != nil }), err
}

// Open implements raft.SnapshotStore.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if err := s.sealed(id); err != nil {
		return nil, nil, err
	}
	return s.FileSnapshotStore.Open(id)
}

// check removes damaged snapshots, for raft reads none before another voter needs it. It
// refuses, and removes nothing, if the log does not have all that one of them had.
func (s *snapshots) check(logs raft.LogStore) error {
	names, err := s.names()
	if err != nil {
		return err
	}
	first, err := logs.FirstIndex() // 0: the log is empty
	if err != nil {
		return err
	}
	intact := uint64(0) // index of the newest that is not damaged
	damaged := map[string]error{}
	for _, name := range names {
		meta, content, err := s.Open(name)
		if file := (*fs.PathError)(nil); errors.As(err, &file) && !errors.Is(err, fs.ErrNotExist) {
			return err // it may be well: too many open files, say
		}
		if err != nil {
			damaged[name] = err
			continue
		}
		intact = max(intact, meta.Index)
		if err := content.Close(); err != nil {
			return err
		}
	}
	for name, why := range damaged {
		if reaches := first != 0 && first <= intact+1; !reaches && indexOf(name) > intact {
			return fmt.Errorf("%w: it begins at %d, and its snapshot %s cannot be read: %w", errDamagedLog, first, name, why)
		}
	}
	for name, why := range damaged {
		s.log.Warn("a damaged snapshot is dropped: the log has all that it had", "snapshot", name, "err", why)
		if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// indexOf returns the last index that a snapshot stands for, by its directory's name.
func indexOf(name string) uint64 {
	var term, index, at uint64
	if n, err := fmt.Sscanf(name, "%d-%d-%d", &term, &index, &at); n != 3 || err != nil {
		return ^uint64(0)
	}
	return index
}
