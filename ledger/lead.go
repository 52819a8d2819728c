package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/entry"
	"github.com/watchward/watchward/ledger/tlog"
)

// linkAfter is how long a new epoch's first leader looks for the last checkpoint of the
// epoch before.
const linkAfter = 10 * time.Second

// follow watches who leads, and leads when this voter is elected.
func (r *replica) follow() {
	node := r.node()
	changes := make(chan raft.Observation, 16)
	observer := raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	node.RegisterObserver(observer)
	defer node.DeregisterObserver(observer)
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-changes:
			r.noteLeader()
		case leads := <-node.LeaderCh():
			stop()
			stop = func() {}
			if leads {
				stop = r.reign(node)
			} else {
				r.lose(ErrNotLeader{})
			}
			r.noteLeader()
		}
	}
}

// noteLeader keeps the time since when there is no leader.
func (r *replica) noteLeader() {
	_, leads := r.leader()
	r.mu.Lock()
	switch {
	case leads:
		r.since = time.Time{}
	case r.since.IsZero():
		r.since = r.l.now()
	}
	r.mu.Unlock()
	r.l.leaderChanged()
}

// leader is whom this voter follows.
func (r *replica) leader() (crypto.MemberID, bool) {
	node := r.node()
	if node == nil || r.layer.isFenced() {
		return crypto.MemberID{}, false
	}
	_, id := node.LeaderWithID()
	m, err := memberOf(id)
	return m, err == nil
}

// leads reports whether this voter leads and may append.
func (r *replica) leads() bool {
	node := r.node()
	return node != nil && r.ready.Load() && node.State() == raft.Leader && !r.layer.isFenced()
}

// noQuorumSince is zero while a leader is known.
func (r *replica) noQuorumSince() time.Time {
	if _, ok := r.leader(); ok {
		return time.Time{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() {
		r.since = r.l.now()
	}
	return r.since
}

// reign is what a leader does, until stop is called.
func (r *replica) reign(node *raft.Raft) (stop func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			err := r.take(ctx, node)
			if err == nil {
				r.tend(ctx, node) // ends early when the disk has hung: raft may not have noticed
				continue
			}
			if ctx.Err() == nil && !errors.Is(err, errFenced) {
				r.log.Warn("elected, but cannot lead", "err", err)
				node.LeadershipTransfer()
			}
			if !r.sleep(r.l.c.Heartbeat) {
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// take makes this node ready to append: everything of earlier leaders is applied, and a
// new epoch begins with its link to the one before.
func (r *replica) take(ctx context.Context, node *raft.Raft) error {
	if err := within(ctx, node.Barrier(0)); err != nil {
		return err
	}
	if r.e.number > 1 && r.e.tree.Size() == 0 {
		if err := r.link(ctx, node); err != nil {
			return fmt.Errorf("link to the epoch before: %w", err)
		}
	}
	if r.layer.isFenced() {
		return errFenced
	}
	r.seq.lead()
	r.ready.Store(true)
	r.l.leaderChanged()
	return nil
}

// link appends the hash of the last checkpoint of the epoch before. If nobody has one
// after linkAfter it is that of an empty ledger.
func (r *replica) link(ctx context.Context, node *raft.Raft) error {
	before := tlog.Checkpoint{Origin: tlog.Origin(r.l.c.Region, r.e.number-1), Root: tlog.EmptyRoot()}
	for end := time.Now().Add(linkAfter); time.Now().Before(end); {
		if c, ok := r.l.follow.lastCheckpoint(r.e.number - 1); ok {
			before = c
			break
		}
		if !r.sleep(r.l.c.Heartbeat) || ctx.Err() != nil {
			return ctx.Err()
		}
	}
	pack := addToPack(newPack(r.l.now().UnixMilli()), entry.Encode(entry.Link, sha256.Sum256([]byte(before.Text()))))
	f := node.Apply(seal(pack), 0)
	if err := within(ctx, f); err != nil {
		return err
	}
	_, err := applied(f.Response(), 1)
	return err
}

// tend keeps the configuration in step with the charter, as long as this node may append.
func (r *replica) tend(ctx context.Context, node *raft.Raft) {
	r.mu.Lock()
	r.health, r.silent = nil, nil // of an earlier reign
	r.mu.Unlock()
	beat := max(r.l.c.Heartbeat, 100*time.Millisecond)
	pilot := autopilot.New(node, delegate{r},
		autopilot.WithUpdateInterval(beat), autopilot.WithReconcileInterval(2*beat), autopilot.WithLogger(raftLogger(r.log)))
	pilot.Start(ctx)
	defer func() { <-pilot.Stop() }()
	tick := time.NewTicker(2 * beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !r.ready.Load() {
			return
		}
		if err := r.adjust(ctx, node); err != nil && ctx.Err() == nil && !errors.Is(err, raft.ErrNotLeader) {
			r.log.Warn("the voters cannot be brought in step with the charter yet", "err", err)
		}
	}
}

// verify returns once a quorum has said that this node leads, and everything that was
// acknowledged before the call is applied.
func (r *replica) verify(ctx context.Context) error {
	node := r.node()
	if node == nil || !r.leads() {
		return ErrNotLeader{}
	}
	done := make(chan error, 1)
	// A barrier is an entry of this leader's term that a quorum has stored, so none of them
	// follows another. VerifyLeader would say less, for an answer that was on its way before
	// the call counts for it too; and what it is asked while raft ends it never answers.
	go func() { done <- node.Barrier(0).Error() }()
	select {
	case err := <-done:
		if err != nil {
			return appendError(err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
