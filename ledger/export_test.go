package ledger

import (
	"context"

	"github.com/hashicorp/raft"

	"github.com/watchward/watchward/crypto"
)

// OnDisk puts f between raft and its log on disk.
func (c *Config) OnDisk(f func(raft.LogStore) raft.LogStore) { c.disk = f }

// TileOf returns a tile of an origin.
func (l *Ledger) TileOf(origin, path string) ([]byte, error) {
	for _, e := range l.epochsNow() {
		if e.origin == origin {
			return e.tree.Tile(path)
		}
	}
	return nil, ErrNone
}

// Tree returns size and root of this node's copy of the newest epoch.
func (l *Ledger) Tree() (uint64, crypto.Hash, error) {
	e := l.current()
	size := e.tree.Size()
	root, err := e.tree.Root(size)
	return size, root, err
}

// EntriesOf returns entries of an epoch's tree.
func (l *Ledger) EntriesOf(epoch uint32, from, to uint64) ([][]byte, error) {
	return l.epochsNow()[epoch-1].tree.Entries(from, to)
}

// FindHere is a strong Find that a peer asks for.
func (l *Ledger) FindHere(ctx context.Context, entry []byte) (Found, error) {
	r, err := l.voting()
	if err != nil {
		return Found{}, err
	}
	return l.findHere(ctx, r, entry)
}

// Snapshot takes a snapshot of raft, and leaves no log behind it.
func (l *Ledger) Snapshot() error { return l.snapshot(1) }

// SnapshotOnly takes a snapshot of raft, and leaves the log.
func (l *Ledger) SnapshotOnly() error { return l.snapshot(trailingLogs) }

func (l *Ledger) snapshot(trailing uint64) error {
	r, err := l.voting()
	if err != nil {
		return err
	}
	node := r.node()
	c := node.ReloadableConfig()
	c.TrailingLogs = trailing
	if err := node.ReloadConfig(c); err != nil {
		return err
	}
	return node.Snapshot().Error()
}

// RaftServers returns how many servers of this node's configuration vote, and how many do not.
func (l *Ledger) RaftServers() (voters, others int) {
	r, err := l.voting()
	if err != nil || r.node() == nil {
		return 0, 0
	}
	for _, s := range servers(r.node()) {
		if s.Suffrage == raft.Voter {
			voters++
		} else {
			others++
		}
	}
	return voters, others
}

// AdjustLate is adjust at a leader that has heard from all of its voters, before some died.
func (l *Ledger) AdjustLate(ctx context.Context) error {
	r, err := l.voting()
	if err != nil {
		return err
	}
	said := map[raft.ServerID]health{}
	for _, s := range servers(r.node()) {
		said[s.ID] = health{Started: true}
	}
	r.mu.Lock()
	r.health = said
	r.mu.Unlock()
	return r.adjust(ctx, r.node())
}

// Joins reports whether this voter's raft runs without a log of its own, and waits to be
// taken in.
func (l *Ledger) Joins() bool {
	r, err := l.voting()
	return err == nil && r.node() != nil && r.joining.Load()
}

// RaftProtocols are those that only voters of an epoch may speak.
func RaftProtocols(epoch uint32) []string {
	return []string{raftProtocol(epoch), healthProtocol(epoch)}
}

// Signed returns the size of the largest tree of an epoch that this member knows it has
// signed; 0 before it has asked its peers.
func (l *Ledger) Signed(epoch uint32) uint64 {
	m := &l.epochsNow()[epoch-1].track.marks
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known {
		return 0
	}
	return m.Size
}

// Snapshots are a voter's snapshots, without the voter.
type Snapshots = snapshots

// OpenSnapshots is openSnapshots.
var OpenSnapshots = openSnapshots

// Check is check.
func (s *snapshots) Check(logs raft.LogStore) error { return s.check(logs) }
