package ledger

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	walmetrics "github.com/hashicorp/raft-wal/metrics"
	"github.com/hashicorp/raft-wal/verifier"

	"github.com/watchward/watchward/crypto"
)

const (
	// snapshotEvery is after how many raft entries a snapshot is taken, trailingLogs
	// how many stay behind it. A voter that fetches tiles for a snapshot may find that
	// the log has moved on (consul#9609); it then gets another snapshot and needs only
	// the tiles since, which takes less time each round.
	snapshotEvery = 8192
	trailingLogs  = 8192
	// snapshotsKept on disk, of some hundred bytes each.
	snapshotsKept = 2
	// logsCached is how many raft entries are in memory, of ≤ packBytesMax each.
	logsCached = 32
	// walSegment is how much disk the raft log takes at least.
	walSegment = 16 << 20
	// standAfter is when a voter stands for election at the latest, if no damage was
	// found by then: reading a very large tree takes longer.
	standAfter = 10 * time.Second
	// closeMax is how long Close waits for a raft whose disk hangs.
	closeMax = 5 * time.Second
)

// joiningFile says that this voter began with an empty log, in a ledger that others
// may have begun before: it casts no vote until the leader has taken it in again.
const joiningFile = "joining"

// A replica is this node's raft of one epoch.
type replica struct {
	l     *Ledger
	e     *epoch
	log   *slog.Logger
	layer *layer
	seq   *sequencer

	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup
	begun  chan struct{} // closed once raft has started, or will not

	ready   atomic.Bool // leads, and everything of earlier leaders is applied
	joining atomic.Bool // joiningFile is there
	hurt    chan error  // capacity 1: damaged
	aside   atomic.Bool // raft does not run here, and will not: the tree is the mirror's
	cut     bool        // by stalled; the watchdog's calls only

	mu     sync.Mutex
	raft   *raft.Raft // nil until it has started
	ending raft.Future
	gate   *gate
	why    string                      // it is fenced, or does not start
	since  time.Time                   // no leader; zero: there is one
	health map[raft.ServerID]health    // what the others said last, while this node leads
	silent map[raft.ServerID]time.Time // since when others do not answer, while this node leads
	logs   *verifier.LogStore
}

func serverID(m crypto.MemberID) raft.ServerID           { return raft.ServerID(m.String()) }
func serverAddress(m crypto.MemberID) raft.ServerAddress { return raft.ServerAddress(m.String()) }

func memberOf(id raft.ServerID) (m crypto.MemberID, err error) {
	b, err := hex.DecodeString(string(id))
	if err != nil || len(b) != len(m) {
		return m, fmt.Errorf("raft server %q is no member id", id)
	}
	return crypto.MemberID(b), nil
}

// newReplica begins to be a voter of an epoch. It does not block: a voter that is
// damaged or new asks the others first.
func newReplica(l *Ledger, e *epoch) *replica {
	r := &replica{
		l: l, e: e, log: l.log.With("origin", e.origin), since: l.now(), begun: make(chan struct{}), hurt: make(chan error, 1), health: map[raft.ServerID]health{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.layer = newLayer(l.c.Network, e.number, l.c.Self, l.peerOf, r.allows)
	r.seq = newSequencer(r.propose, r.mark, l.now, l.metrics.commit.Observe)
	l.c.Network.Handle(healthProtocol(e.number), r.answers, r.serveHealth)
	r.wait.Go(r.start)
	r.wait.Go(r.heedDamage)
	return r
}

func (r *replica) dir() string { return filepath.Join(r.e.dir, "raft") }

// start starts raft once this voter is whole, and leads when it is elected.
func (r *replica) start() {
	err := r.begin()
	close(r.begun)
	if err != nil && r.ctx.Err() == nil {
		r.refuse(err)
		r.stepAside()
	}
	if err != nil {
		return
	}
	r.wait.Go(r.scrub)
	r.wait.Go(r.watch)
	r.follow()
}

// refuse says that this voter does not take part, and what to do.
func (r *replica) refuse(err error) {
	text := fmt.Sprintf("This node does not vote on the ledger: %v. Stop the node, remove %s and start it again: it then gets the ledger's log from the other voters. Until then it only copies the ledger.", err, r.dir())
	r.mu.Lock()
	r.why = text
	r.mu.Unlock()
	r.log.Error("this voter does not start", "err", err)
	r.l.raise(Alarm{Kind: "ledger-voter", Severity: "critical", Dedup: "ledger-voter/" + r.e.origin, Text: text})
}

// damaged is told by whoever reads the log. It is for good.
func (r *replica) damaged(err error) {
	r.layer.fence()
	select {
	case r.hurt <- err:
	default: // it is known
	}
}

// heedDamage ends raft once its log is damaged.
func (r *replica) heedDamage() {
	var err error
	select {
	case err = <-r.hurt:
	case <-r.ctx.Done():
		return
	}
	<-r.begun // raft reads the log while it starts
	r.refuse(err)
	r.lose(ErrClosed)
	_ = r.end()
	r.stepAside()
}

// stepAside lets the ledger here go on as a mirror's, by signed checkpoints.
func (r *replica) stepAside() {
	r.aside.Store(true)
	r.l.follow.opened()
}

func (r *replica) begin() error {
	if err := r.mend(); err != nil {
		return err
	}
	return r.open()
}

// open opens the raft log and starts raft.
func (r *replica) open() error {
	logger := raftLogger(r.log)
	if err := os.MkdirAll(filepath.Join(r.dir(), "log"), 0o700); err != nil {
		return err
	}
	log, err := openWAL(filepath.Join(r.dir(), "log"), logger)
	if err != nil {
		return fmt.Errorf("%w: %w", errDamagedLog, err)
	}
	checked := verifier.NewLogStore(log, isMark, r.verified, &walmetrics.NoOpCollector{})
	var logs raft.LogStore = checked
	if r.l.c.disk != nil {
		logs = r.l.c.disk(logs)
	}
	dog := &watchdog{logs: logs, stable: log, limit: stallAfter(r.l.c.Heartbeat), stalled: r.stalled, recovered: r.recovered, failed: r.fail, damaged: r.damaged}
	cache, err := raft.NewLogCache(logsCached, dog)
	if err != nil {
		return errors.Join(err, checked.Close())
	}
	snaps, err := openSnapshots(r.dir(), r.log, logger)
	if err != nil {
		return errors.Join(err, checked.Close())
	}
	answer := max(time.Second, 5*r.l.c.Heartbeat)
	trans := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: r.layer, MaxPool: 3, Timeout: answer, Logger: logger,
	})
	// A snapshot has some hundred bytes, and taking it means fetching tiles: it gets
	// the time for it.
	trans.TimeoutScale = 16
	g := newGate(trans, answer)
	err = r.run(raftOptions(r.l.c, logger), cache, dog, snaps, g)
	if err != nil {
		return errors.Join(err, g.Close(), checked.Close())
	}
	r.mu.Lock()
	r.logs = checked
	r.mu.Unlock()
	return nil
}

func (r *replica) run(c *raft.Config, logs raft.LogStore, stable raft.StableStore, snaps *snapshots, g *gate) error {
	if err := snaps.check(logs); err != nil {
		return err
	}
	has, err := raft.HasExistingState(logs, stable, snaps)
	if err == nil && has {
		err = r.checkLog(logs, snaps)
	}
	if err != nil {
		return err
	}
	joining := filepath.Join(r.dir(), joiningFile)
	_, err = os.Stat(joining)
	if !has && err != nil {
		founders, err := r.found()
		if err != nil {
			return err
		}
		if founders != nil {
			err = raft.BootstrapCluster(c, logs, stable, snaps, g, configuration(founders))
		} else {
			err = os.WriteFile(joining, nil, 0o600)
		}
		if err != nil {
			return err
		}
	}
	_, err = os.Stat(joining)
	r.joining.Store(err == nil)
	g.votes.Store(!r.joining.Load())
	machine := &fsm{tree: r.e.tree, fetch: r.fetchTo, stop: r.stop}
	node, err := raft.NewRaft(c, machine, logs, stable, snaps, g) // reads the log
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raft, r.gate = node, g
	return nil
}

// checkLog finds a raft log that ends before what was applied from it: its end was
// damaged, and the log store has cut it off.
func (r *replica) checkLog(logs raft.LogStore, snaps raft.SnapshotStore) error {
	last, err := logs.LastIndex()
	if err != nil {
		return err
	}
	list, err := snaps.List()
	if err != nil {
		return err
	}
	if len(list) > 0 {
		last = max(last, list[0].Index)
	}
	if applied := r.e.tree.now().Applied; last < applied {
		return fmt.Errorf("%w: it ends at %d, and %d was applied from it", errDamagedLog, last, applied)
	}
	return nil
}

func raftOptions(c Config, logger hclog.Logger) *raft.Config {
	o := raft.DefaultConfig()
	o.LocalID = serverID(c.Self)
	o.HeartbeatTimeout = c.Heartbeat
	o.ElectionTimeout = c.Heartbeat
	o.LeaderLeaseTimeout = c.Heartbeat
	o.CommitTimeout = min(25*time.Millisecond, c.Heartbeat/4) // until followers hear what is committed, and sign it
	o.MaxAppendEntries = 16                                   // packs are large
	o.SnapshotInterval = 30 * time.Second
	o.SnapshotThreshold = snapshotEvery
	o.TrailingLogs = trailingLogs
	o.NoSnapshotRestoreOnStart = true // the tree is on disk
	o.NoLegacyTelemetry = true
	o.Logger = logger
	return o
}

// isMark tells the log's verifier where to compare its sums with the leader's.
func isMark(l *raft.Log) (bool, error) {
	return l.Type == raft.LogCommand && len(l.Data) > 0 && l.Data[0] == kindMark, nil
}

// verified hears what the log's verifier found.
func (r *replica) verified(report verifier.VerificationReport) {
	if report.Err != nil && !errors.Is(report.Err, verifier.ErrRangeMismatch) && !errors.Is(report.Err, raft.ErrLogNotFound) {
		r.log.Error("the raft log does not verify", "range", report.Range.String(), "err", report.Err)
		r.l.raise(Alarm{
			Kind: "ledger-voter", Severity: "critical", Dedup: "ledger-log/" + r.e.origin,
			Text: fmt.Sprintf("This node's raft log in %s is not what the leader wrote (%v). Check the disk, remove the directory and start the node again.", r.dir(), report.Err),
		})
	}
}

// stalled is called when a write to the raft log hangs. Only a leader cuts itself off:
// others go on without a follower that waits.
func (r *replica) stalled() {
	if node := r.node(); node == nil || node.State() != raft.Leader {
		return
	}
	r.cut = true
	r.layer.fence()
	r.log.Warn("the disk does not answer: another voter may lead", "after", stallAfter(r.l.c.Heartbeat))
	r.say("its disk does not answer")
	r.lose(ErrNoQuorum)
}

func (r *replica) recovered() {
	if !r.cut {
		return
	}
	r.cut = false
	r.say("")
	r.layer.unfence()
}

// fail is for good: this node cannot write, so what it promised may be lost.
func (r *replica) fail(err error) {
	r.layer.fence()
	r.say(fmt.Sprintf("its disk failed: %v", err))
	r.lose(ErrClosed)
	r.l.fail(fmt.Errorf("the ledger in %s cannot be written: %w", r.e.dir, err))
}

// stop is for good: the tree here must not grow.
func (r *replica) stop(err error) {
	if errors.Is(err, errDamagedLog) {
		r.damaged(err)
		return
	}
	if !errors.Is(err, errDiverged) {
		r.fail(err)
		return
	}
	r.layer.fence()
	r.say(err.Error())
	r.lose(ErrClosed)
	r.log.Error("the ledger here is not what the voters agreed on", "err", err)
	r.l.raise(Alarm{
		Kind: "ledger-diverged", Severity: "critical", Dedup: "ledger-diverged/" + r.e.origin,
		Text: fmt.Sprintf("This node has stopped voting on the ledger: %v. Keep %s for whoever looks into it, and move it away before the node starts again.", err, r.e.dir),
	})
	r.cancel()
	r.shutdown()
}

// shutdown tells raft to end, and returns what to wait for; nil: it has not started.
func (r *replica) shutdown() raft.Future {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending == nil && r.raft != nil {
		r.ending = r.raft.Shutdown()
	}
	return r.ending
}

// end returns once raft has ended, which waits for no other voter.
func (r *replica) end() error {
	end := r.shutdown()
	r.layer.hangUp()
	r.mu.Lock()
	g := r.gate
	r.mu.Unlock()
	if g != nil {
		g.hangUp()
	}
	if end == nil {
		return nil
	}
	return end.Error()
}

func (r *replica) say(why string) {
	r.mu.Lock()
	r.why = why
	r.mu.Unlock()
}

func (r *replica) node() *raft.Raft {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.raft
}

func (r *replica) propose(command []byte) raft.ApplyFuture { return r.node().Apply(command, 0) }

func (r *replica) mark() ([]byte, error) {
	size := r.e.tree.Size()
	root, err := r.e.tree.Root(size)
	return encodeMark(size, root), err
}

// lose says that this node leads no more.
func (r *replica) lose(why error) {
	r.ready.Store(false)
	r.seq.stop(why)
	r.l.leaderChanged()
}

// close ends everything of this replica. What hangs on a disk is left behind.
func (r *replica) close() error {
	r.cancel()
	r.l.c.Network.Handle(healthProtocol(r.e.number), nil, nil)
	done := make(chan error, 1)
	go func() {
		var errs []error
		<-r.begun
		errs = append(errs, r.end(), r.layer.Close())
		r.mu.Lock()
		g, logs := r.gate, r.logs
		r.mu.Unlock()
		if g != nil {
			errs = append(errs, g.Close())
		}
		r.seq.close()
		r.wait.Wait()
		if logs != nil {
			errs = append(errs, logs.Close())
		}
		done <- errors.Join(errs...)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(closeMax):
		r.layer.Close()
		return fmt.Errorf("close the raft in %s: its disk does not answer", r.dir())
	}
}
