// Package ledger is a region's shared record: entries in one order, by Raft
// among the voters that the charter names, under a Merkle tree that anybody can
// check. Voters append; every member mirrors, verifies and serves.
//
// It takes entries of 1 to EntryMax bytes and does not know what they say. The
// same bytes are in an epoch's ledger once, however often they are appended.
//
// See DESIGN.md.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
)

// EntryMax is the size of the largest entry in bytes.
const EntryMax = 1024

// HeartbeatDefault is how often a leader says that it lives. A leader that dies
// has a successor within some three of them.
const HeartbeatDefault = 300 * time.Millisecond

var (
	// ErrNoQuorum: there is no leader, or it cannot reach a quorum of the
	// voters. Nothing is lost: who appends keeps its entries and tries again.
	ErrNoQuorum = errors.New("the ledger has no quorum")
	// ErrClosed: the ledger is closed, or has fenced itself off (see Failed).
	ErrClosed = errors.New("the ledger is closed")
	// ErrNone: the region's charter names no voters, or no epoch yet.
	ErrNone = errors.New("the region has no ledger yet")
)

// ErrNotLeader says who takes entries instead.
type ErrNotLeader struct {
	Leader crypto.MemberID // zero when there is none just now
}

func (e ErrNotLeader) Error() string {
	if e.Leader == (crypto.MemberID{}) {
		return "this node does not lead the ledger, and nobody does just now"
	}
	return fmt.Sprintf("this node does not lead the ledger, member %s does", e.Leader)
}

// Stream is a stream between two proven members.
type Stream interface {
	io.ReadWriteCloser
	CloseWrite() error
	Reset() error // ends both directions at once, unread data is lost
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// Network carries streams and checkpoints between proven members of the region.
// A peer is the bytes of its libp2p peer id, as trust.Roster.ByPeer takes them.
// All methods are safe for concurrent use.
type Network interface {
	// Open opens a stream to a connected peer. It does not dial.
	Open(ctx context.Context, peer, protocol string) (Stream, error)
	// Handle serves a protocol to the peers that allow names; asked for each
	// stream. A second call replaces the first; nil handlers end it.
	Handle(protocol string, allow func(peer string) bool, h func(peer string, s Stream))
	// Peers are the members that can be reached now.
	Peers() []string
	// Announce spreads a checkpoint of a region to everybody whom it concerns.
	Announce(ctx context.Context, region crypto.Region, note []byte) error
}

// An Alarm is what a person should know. Kinds with the same Dedup are one alarm.
type Alarm struct {
	Kind     string // "ledger-split-view", "ledger-disk", …
	Severity string // "warning" or "critical"
	Dedup    string
	Text     string // one sentence, with the way out
	Evidence []byte // of a split view: the proof; else nil
}

// Config of a ledger. Roster, Network and Dir are required; the zero value of
// everything else is usable.
type Config struct {
	Dir     string // one directory an epoch: DIR/epoch/<n>
	Region  crypto.Region
	Self    crypto.MemberID
	Key     *crypto.LedgerKey // nil: nothing is signed
	Roster  *trust.Roster
	Network Network

	Heartbeat  time.Duration // 0 is HeartbeatDefault; the same at all voters
	Mirror     bool          // keep and serve the region's ledger
	Vote       bool          // be a voter when the charter says so
	MaxAge     time.Duration // of the newest good checkpoint, before an alarm; 0: none
	Raise      func(Alarm)   // must not block; nil drops alarms
	Now        func() time.Time
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Appended is where an entry is.
type Appended struct {
	Index uint64
	Known bool // it was there before
}

// Found is where an entry is, and how fresh that answer is.
type Found struct {
	Index  uint64
	Size   uint64          // of the ledger that was looked at; the answer holds for all of it
	Time   time.Time       // of the last entry of that ledger, by its leader's clock
	Leader crypto.MemberID // who answered, zero for this node's own copy
	Known  bool            // false: none of the Size entries is this one
}

// A Ledger is this node's part of its region's ledger. It is safe for
// concurrent use.
type Ledger struct {
	c Config

	// What the mirror's half gives this half, set by Open and not changed after.
	lastCheckpoint func(epoch uint32) (note []byte)                                               // newest good one of an epoch, nil: none
	fetchTile      func(ctx context.Context, origin, path string) ([]byte, error)                 // from any peer, unverified
	askFind        func(ctx context.Context, leader crypto.MemberID, entry []byte) (Found, error) // over the network

	mu      sync.Mutex
	epochs  []*epoch      // by number, the last is the one that grows
	changed chan struct{} // closed and replaced when the leader changes
	closed  bool
	cancel  context.CancelFunc
	failed  chan error // capacity 1
	wait    sync.WaitGroup
}

// An epoch is one origin's ledger as this node holds it.
type epoch struct {
	number  uint32
	origin  string
	dir     string
	tree    *tree
	replica *replica // nil where this node is no voter of it, or not yet, or no more
}

// Origin returns the name of a region's ledger in an epoch.
func Origin(region crypto.Region, epoch uint32) string {
	return fmt.Sprintf("watchward/%s/%d", region, epoch)
}

// Open opens what DIR holds, every epoch of it, and joins nothing yet.
func Open(c Config) (*Ledger, error) {
	return &Ledger{c: c, changed: make(chan struct{}), failed: make(chan error, 1)}, nil
}

// Start joins the voters, if the charter names this node and Config.Vote is set,
// and goes on following the charter.
func (l *Ledger) Start() error { return nil }

// Close leaves the voters, waits for all goroutines and closes the files.
func (l *Ledger) Close() error { return nil }

// Failed gives one error when this node cannot persist any more. It has fenced
// itself off by then, and the process must end: what it wrote last may be lost.
func (l *Ledger) Failed() <-chan error { return l.failed }

// Append adds entries of 1 to EntryMax bytes and returns once a quorum of voters
// holds them and they are applied here, with a result for each in order. Only the
// leader appends: others give ErrNotLeader. ErrNoQuorum says that the entries may
// or may not be in the ledger, as does an error of ctx: appending them again is
// right in either case, for an entry gets one index.
func (l *Ledger) Append(ctx context.Context, entries ...[]byte) ([]Appended, error) {
	return nil, ErrNone
}

// Leader returns who leads the voters, as far as this node knows.
func (l *Ledger) Leader() (crypto.MemberID, bool) { return crypto.MemberID{}, false }

// Leads reports whether this node leads, with everything of earlier leaders applied.
func (l *Ledger) Leads() bool { return false }

// LeaderChanged returns a channel that is closed when Leader or Leads changes.
func (l *Ledger) LeaderChanged() <-chan struct{} { return l.changed }

// Index returns the index of the entry with a leaf hash in this node's copy of the
// newest epoch.
func (l *Ledger) Index(leaf crypto.Hash) (uint64, bool, error) { return 0, false, ErrNone }

// Find says where an entry is in the newest epoch. A strong answer is the leader's,
// who asks a quorum first: it holds whatever was acknowledged before the call.
func (l *Ledger) Find(ctx context.Context, entry []byte, strong bool) (Found, error) {
	return Found{}, ErrNone
}

// Transfer hands the leadership to a voter, to the one that is furthest if to is
// zero. Only the leader does.
func (l *Ledger) Transfer(ctx context.Context, to crypto.MemberID) error { return ErrNone }
