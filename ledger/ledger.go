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
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/tlog"
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
	// ErrAlone: no other member votes, so nobody can lead instead.
	ErrAlone = errors.New("no other member votes on the ledger")
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

	disk func(raft.LogStore) raft.LogStore // tests: faults of the raft log's disk
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
	c       Config
	log     *slog.Logger
	metrics *metrics

	follow *follower // set by Open

	mu      sync.Mutex
	epochs  []*epoch      // by number from 1, the last is the one that grows
	changed chan struct{} // closed and replaced when the leader changes
	ctx     context.Context
	cancel  context.CancelFunc
	wait    sync.WaitGroup
	started bool
	closed  atomic.Bool // nothing is raised any more, also by what hangs on a disk

	failOnce sync.Once
	failed   chan struct{}
	err      error // read once failed is closed
}

// An epoch is one origin's ledger as this node holds it.
type epoch struct {
	number  uint32
	origin  string
	dir     string
	tree    *tree
	track   *track   // what is known of its checkpoints
	left    bool     // the others have let this voter go; followCharter's alone
	replica *replica // under Ledger.mu; nil where this node is no voter of it, or not yet, or no more
}

// Open opens what DIR holds of every epoch of the charter, and joins nothing yet.
func Open(c Config) (*Ledger, error) {
	if c.Heartbeat == 0 {
		c.Heartbeat = HeartbeatDefault
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	l := &Ledger{c: c, log: c.Log, changed: make(chan struct{}), failed: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	var err error
	if l.metrics, err = newMetrics(l, c.Registerer); err != nil {
		return nil, err
	}
	l.follow = newFollower(l)
	if err := l.openEpochs(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Start joins the voters, if the charter names this node and Config.Vote is set,
// and goes on following the charter.
func (l *Ledger) Start() error {
	l.mu.Lock()
	l.started = true
	l.mu.Unlock()
	l.follow.start()
	l.wait.Go(l.followCharter)
	return nil
}

// Close leaves the voters, waits for all goroutines and closes the files.
func (l *Ledger) Close() error {
	l.cancel()
	l.wait.Wait()
	l.follow.stop()
	l.mu.Lock()
	epochs := l.epochs
	l.mu.Unlock()
	var errs []error
	for _, e := range epochs {
		errs = append(errs, l.endReplica(e))
	}
	l.closed.Store(true)
	for _, e := range epochs {
		errs = append(errs, e.tree.close())
	}
	l.metrics.unregister()
	return errors.Join(errs...)
}

// Failed is closed when this node cannot persist any more; Err says why. It has fenced
// itself off by then, and the process must end: what it wrote last may be lost.
func (l *Ledger) Failed() <-chan struct{} { return l.failed }

// Err returns why Failed is closed, nil while it is not.
func (l *Ledger) Err() error {
	select {
	case <-l.failed:
		return l.err
	default:
		return nil
	}
}

func (l *Ledger) fail(err error) {
	l.failOnce.Do(func() {
		l.err = err
		close(l.failed)
		l.log.Error("the ledger cannot be written: the node must stop", "err", err)
		l.raise(Alarm{
			Kind: "ledger-disk", Severity: "critical", Dedup: "ledger-disk",
			Text: fmt.Sprintf("This node cannot write the ledger and stops: %v. Check the disk, then start the node again.", err),
		})
	})
}

func (l *Ledger) raise(a Alarm) {
	if l.c.Raise != nil && !l.closed.Load() {
		l.c.Raise(a)
	}
}

func (l *Ledger) now() time.Time {
	if l.c.Now != nil {
		return l.c.Now()
	}
	return time.Now()
}

// Append adds entries of 1 to EntryMax bytes and returns once a quorum of voters
// holds them and they are applied here, with a result for each in order. Only the
// leader appends: others give ErrNotLeader. ErrNoQuorum says that the entries may
// or may not be in the ledger, as does an error of ctx: appending them again is
// right in either case, for an entry gets one index.
func (l *Ledger) Append(ctx context.Context, entries ...[]byte) ([]Appended, error) {
	for i, e := range entries {
		if len(e) == 0 || len(e) > EntryMax {
			return nil, fmt.Errorf("entry %d has %d bytes: want 1 to %d", i, len(e), EntryMax)
		}
	}
	r, err := l.voting()
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, nil
	}
	out, err := r.seq.append(ctx, entries)
	return out, l.named(err)
}

// named adds to an ErrNotLeader who leads instead.
func (l *Ledger) named(err error) error {
	if errors.As(err, new(ErrNotLeader)) {
		leader, _ := l.Leader()
		if leader == l.c.Self {
			return ErrNotLeader{} // not ready yet
		}
		return ErrNotLeader{leader}
	}
	return err
}

// current returns the newest epoch, nil: the charter names no ledger.
func (l *Ledger) current() *epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.epochs) == 0 {
		return nil
	}
	return l.epochs[len(l.epochs)-1]
}

// replicaOf returns this node's raft of an epoch, nil: it does not vote there.
func (l *Ledger) replicaOf(e *epoch) *replica {
	l.mu.Lock()
	defer l.mu.Unlock()
	return e.replica
}

// voting returns this node's raft of the newest epoch.
func (l *Ledger) voting() (*replica, error) {
	e := l.current()
	if e == nil {
		return nil, ErrNone
	}
	r := l.replicaOf(e)
	if r == nil {
		return nil, l.named(ErrNotLeader{})
	}
	return r, nil
}

// Leader returns who leads the voters, as far as this node knows.
func (l *Ledger) Leader() (crypto.MemberID, bool) {
	e := l.current()
	if e == nil {
		return crypto.MemberID{}, false
	}
	if r := l.replicaOf(e); r != nil {
		return r.leader()
	}
	return l.follow.saidLeader()
}

// Leads reports whether this node leads, with everything of earlier leaders applied.
func (l *Ledger) Leads() bool {
	e := l.current()
	if e == nil {
		return false
	}
	r := l.replicaOf(e)
	return r != nil && r.leads()
}

// LeaderChanged returns a channel that is closed when Leader or Leads changes.
func (l *Ledger) LeaderChanged() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *Ledger) leaderChanged() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// Index returns the index of the entry with a leaf hash in this node's copy of the
// newest epoch.
func (l *Ledger) Index(leaf crypto.Hash) (uint64, bool, error) {
	e := l.current()
	if e == nil {
		return 0, false, ErrNone
	}
	return e.tree.index(leaf)
}

// Find says where an entry is in the newest epoch. A strong answer is the leader's,
// who asks a quorum first: it holds whatever was acknowledged before the call.
func (l *Ledger) Find(ctx context.Context, raw []byte, strong bool) (Found, error) {
	e := l.current()
	if e == nil {
		return Found{}, ErrNone
	}
	if !strong {
		return e.find(raw)
	}
	r := l.replicaOf(e)
	if r == nil || !r.leads() {
		leader, _ := l.Leader()
		if leader == l.c.Self {
			return Found{}, ErrNotLeader{}
		}
		return l.follow.askFind(ctx, leader, raw)
	}
	return l.findHere(ctx, r, raw)
}

// findHere is a strong Find at the leader.
func (l *Ledger) findHere(ctx context.Context, r *replica, raw []byte) (Found, error) {
	if err := r.verify(ctx); err != nil {
		return Found{}, l.named(err)
	}
	f, err := r.e.find(raw)
	f.Leader = l.c.Self
	return f, err
}

func (e *epoch) find(raw []byte) (Found, error) {
	s := e.tree.now() // before the index is asked, so that the answer holds for it
	at, ok, err := e.tree.index(tlog.LeafHash(raw))
	if err != nil {
		return Found{}, err
	}
	f := Found{Size: s.Size, Time: time.UnixMilli(s.Time)}
	if ok {
		f.Index, f.Known = at, true
		f.Size = max(f.Size, at+1)
	}
	return f, nil
}

// Transfer hands the leadership to a voter, to the one that is furthest if to is
// zero; ErrAlone if there is none. Only the leader does.
func (l *Ledger) Transfer(ctx context.Context, to crypto.MemberID) error {
	r, err := l.voting()
	if err != nil {
		return err
	}
	return l.named(r.transfer(ctx, to))
}
