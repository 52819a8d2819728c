package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/hashicorp/raft"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

// snapshotVersion is the first byte of a snapshot.
const snapshotVersion = 0

// snapshotBytesMax is more than any snapshot has: an edge has at most 64 hashes.
const snapshotBytesMax = 4 << 10

// A snapshot says which tree a raft index leads to. It holds no entries: they are in the
// tiles, which any peer serves and which do not change. The configuration is in raft's
// own part of it.
type snapshot struct {
	tree *tree
	at   point
	edge []crypto.Hash
}

// Snapshot is called between two commands. It must be quick.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.first != nil {
		return nil, f.first
	}
	s := snapshot{tree: f.tree, at: point{state: f.tree.now()}}
	var err error
	if s.edge, err = f.tree.Edge(s.at.Size); err != nil {
		return nil, err
	}
	s.at.Root, err = tlog.RootFromEdge(s.at.Size, s.edge)
	return s, err
}

// Persist runs beside Apply. Raft drops the log behind it, so the tiles must be on disk
// first.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	err := s.tree.Sync()
	if err == nil {
		_, err = sink.Write(s.bytes())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("snapshot of the ledger: %w", err), sink.Cancel())
	}
	return sink.Close()
}

func (snapshot) Release() {}

// bytes: version, size, applied raft index, time, root, edge.
func (s snapshot) bytes() []byte {
	b := []byte{snapshotVersion}
	b = binary.BigEndian.AppendUint64(b, s.at.Size)
	b = binary.BigEndian.AppendUint64(b, s.at.Applied)
	b = binary.BigEndian.AppendUint64(b, uint64(s.at.Time))
	b = append(b, s.at.Root[:]...)
	for _, h := range s.edge {
		b = append(b, h[:]...)
	}
	return b
}

const snapshotHead = 1 + 3*8 + 32

func readSnapshot(b []byte) (at point, edge []crypto.Hash, err error) {
	if len(b) < snapshotHead || b[0] != snapshotVersion || (len(b)-snapshotHead)%len(crypto.Hash{}) != 0 {
		return at, nil, fmt.Errorf("a snapshot of %d bytes: this version reads version %d", len(b), snapshotVersion)
	}
	at.Size = binary.BigEndian.Uint64(b[1:])
	at.Applied = binary.BigEndian.Uint64(b[9:])
	at.Time = int64(binary.BigEndian.Uint64(b[17:]))
	at.Root = crypto.Hash(b[25:])
	for rest := b[snapshotHead:]; len(rest) > 0; rest = rest[len(crypto.Hash{}):] {
		edge = append(edge, crypto.Hash(rest[:len(crypto.Hash{})]))
	}
	if at.Size > math.MaxInt64 {
		return at, nil, fmt.Errorf("a snapshot of %d entries", at.Size)
	}
	root, err := tlog.RootFromEdge(at.Size, edge)
	if err == nil && root != at.Root {
		err = errors.New("a snapshot whose edge does not lead to its root")
	}
	return at, edge, err
}

// Restore brings the tree to a snapshot of the leader: what is missing is fetched from
// peers, and nothing of it is believed before it leads to the snapshot's root. What is
// here already stays: a tree only grows.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, snapshotBytesMax))
	if err != nil {
		return err
	}
	at, _, err := readSnapshot(b)
	if err != nil {
		return err
	}
	if err := f.fetch(at); err != nil {
		return fmt.Errorf("fetch the %d entries of a snapshot: %w", at.Size, err)
	}
	if err := f.compare(at.Size, at.Root); err != nil {
		f.stop(err)
		return err
	}
	if err := f.tree.settle(at.Applied, at.Time); err != nil {
		return err
	}
	return f.tree.Sync()
}
