package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

// Times of signing.
const (
	roundEvery  = 100 * time.Millisecond // at most, while the ledger grows
	idleEvery   = time.Minute            // while it does not, so that its age says something
	lackEvery   = 15 * time.Second       // … and a voter that can be reached has not signed
	roundMax    = 2 * time.Second        // for a voter's answer
	applyMax    = time.Second            // until a voter has applied what it is to sign
	askMarkMax  = 3 * time.Second        // until a voter that starts goes by its own mark
	askMarkPeer = 64                     // peers that are asked for it
)

// A markState guards what this member has signed of one epoch.
type markState struct {
	mu     sync.Mutex
	known  bool // it was read, and peers were asked what they have of us
	broken error
	mark
}

// open reads the mark. One that is damaged is a lower bound: peers are asked in any case.
func (m *markState) open(dir, origin string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mark, m.broken = readMark(dir, origin)
}

// raise sets the mark to a tree that this member has signed at some time. It reports
// whether it knew less.
func (m *markState) raise(dir string, c tlog.Checkpoint) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Size <= m.Size {
		return false, nil
	}
	return true, m.set(dir, c)
}

// set writes the mark down. It needs the lock.
func (m *markState) set(dir string, c tlog.Checkpoint) error {
	next := mark{run: m.run + 1, Origin: c.Origin, Size: c.Size, Root: c.Root}
	if err := writeMark(dir, next); err != nil {
		return fmt.Errorf("write down what is signed: %w", err)
	}
	m.mark = next
	return nil
}

// settled says that the mark is what it should be.
func (m *markState) settled() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = true
}

// sign returns a checkpoint of the own tree under this member's two lines. It refuses
// what is below the mark or does not continue it, and has written the new mark to
// disk before it signs.
func (t *track) sign(size uint64, root crypto.Hash, key *crypto.LedgerKey, cosigner string, role tlog.Role, now time.Time) ([]byte, error) {
	own, err := t.tree.Root(size)
	if err != nil {
		return nil, fmt.Errorf("sign a checkpoint: %w", err)
	}
	if own != root {
		return nil, refusedDiffers
	}
	c := tlog.Checkpoint{Origin: t.origin, Size: size, Root: root}
	if err := t.marks.pass(t, c); err != nil {
		return nil, err
	}
	return tlog.Sign(c, cosigner, key, role, now)
}

// pass moves the mark to a checkpoint of the own tree.
func (m *markState) pass(t *track, c tlog.Checkpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !m.known:
		return refusedLater
	case c.Size < m.Size:
		return refusedBelow
	case c.Size == m.Size && c.Size > 0 && c.Root != m.Root:
		return refusedDiffers
	case c.Size == m.Size:
		return nil
	}
	if m.Size > 0 {
		before, err := t.tree.Root(m.Size)
		if err != nil {
			return fmt.Errorf("sign a checkpoint: %w", err)
		}
		if before != m.Root {
			return refusedDiffers // it was another tree that we signed
		}
	}
	return m.set(t.dir, c)
}

// answerCosign signs for a voter, which leads or believes so.
func (f *follower) answerCosign(ctx context.Context, peer string, q *cosign) (message, error) {
	council := f.councils.get()
	asks, _ := f.councils.member(peer)
	_, voter := seated(council.voters, asks)
	_, self := seated(council.voters, f.l.c.Self)
	t := f.trackOf(q.Origin)
	if !voter || !self || f.l.c.Key == nil || t == nil || q.Origin != tlog.Origin(f.l.c.Region, council.epoch) {
		return nil, refusedRole
	}
	ctx, cancel := context.WithTimeout(ctx, applyMax)
	defer cancel()
	if !t.reaches(ctx, q.Size) {
		return nil, refusedLater
	}
	raw, err := f.signAs(t, q.Size, q.Root, tlog.Voter)
	if err != nil {
		return nil, err
	}
	return &note{Note: raw}, nil
}

// reaches waits until the tree has so many entries.
func (t *track) reaches(ctx context.Context, size uint64) bool {
	for {
		grown := t.tree.grown()
		if t.tree.Size() >= size {
			return true
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return false
		}
	}
}

func (f *follower) signAs(t *track, size uint64, root crypto.Hash, role tlog.Role) ([]byte, error) {
	c := f.l.c
	name := tlog.Cosigner(c.Region, c.Self)
	raw, err := t.sign(size, root, c.Key, name, role, f.now())
	if f.mend(f.ctx, t, err) {
		raw, err = t.sign(size, root, c.Key, name, role, f.now())
	}
	if errors.Is(err, refusedBelow) || errors.Is(err, refusedDiffers) {
		f.log.Warn("a checkpoint is not signed", "origin", t.origin, "size", size, "reason", err)
	}
	return raw, err
}

// lead has checkpoints signed while this node leads.
func (f *follower) lead() {
	var last time.Time // when the last round began
	for {
		t := f.current()
		var grown <-chan struct{}
		leads := f.l.LeaderChanged()
		if t != nil {
			grown = t.tree.grown()
		}
		pause := idleEvery
		if t != nil && f.l.Leads() {
			size, good := t.tree.Size(), t.newest()
			if f.lacks(good) {
				pause = lackEvery
			}
			due := size > 0 && (good == nil || good.Size < size || time.Since(last) >= pause)
			if wait := roundEvery - time.Since(last); due && wait > 0 {
				pause, grown = wait, nil
			} else if due {
				last = time.Now()
				if !f.round(t, size) {
					pause, grown = max(roundEvery, f.l.c.Heartbeat), nil // whoever refused is not pressed
				} else {
					continue
				}
			} else {
				pause -= time.Since(last)
			}
		}
		if !f.sleep(min(pause, lackEvery), grown, leads) { // a voter may come back meanwhile
			return
		}
	}
}

// lacks reports whether a voter that can be reached has not signed: it has just started,
// and may know by now how much it has signed.
func (f *follower) lacks(s *stand) bool {
	reachable := f.peers()
	return s != nil && slices.ContainsFunc(f.councils.get().voters, func(v seat) bool {
		return slices.Contains(reachable, v.peer) && !s.by(v.member)
	})
}

// sleep waits for one of several things and reports false at the end.
func (f *follower) sleep(d time.Duration, wake ...<-chan struct{}) bool {
	var a, b <-chan struct{}
	if len(wake) > 0 {
		a = wake[0]
	}
	if len(wake) > 1 {
		b = wake[1]
	}
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-a:
	case <-b:
	case <-timer.C:
	case <-f.ctx.Done():
		return false
	}
	return true
}

// round asks the voters to sign the tree of a size, and reports whether a quorum did.
// It returns as soon as that is so; the others' lines come after.
func (f *follower) round(t *track, size uint64) bool {
	root, err := t.tree.Root(size)
	if err != nil {
		f.log.Error("a checkpoint cannot be made", "origin", t.origin, "size", size, "reason", err)
		return false
	}
	own, err := f.signAs(t, size, root, tlog.Voter)
	if err != nil {
		return false
	}
	r := &round{f: f, t: t, raw: own, left: 1, done: make(chan struct{})}
	var ask []seat
	reachable := f.peers()
	for _, v := range f.councils.get().voters {
		if v.member != f.l.c.Self && slices.Contains(reachable, v.peer) && f.busy.enter(v.peer) {
			ask = append(ask, v)
		}
	}
	r.left += len(ask)
	for _, v := range ask {
		f.work.Go(func() {
			defer f.busy.leave(v.peer)
			raw, err := f.askVoter(v, &cosign{Origin: t.origin, Size: size, Root: root})
			if err != nil {
				f.log.Debug("a voter did not sign", "origin", t.origin, "size", size, "member", v.member, "reason", err)
			}
			r.answered(raw)
		})
	}
	r.answered(own) // alone it may be a quorum
	select {
	case <-r.done:
	case <-f.ctx.Done():
	}
	return r.isGood()
}

func (f *follower) askVoter(v seat, question *cosign) ([]byte, error) {
	ctx, cancel := context.WithTimeout(f.ctx, roundMax)
	defer cancel()
	answer, err := ask[*note](ctx, f.asker, v.peer, question)
	if err != nil {
		return nil, err
	}
	return answer.Note, nil
}

// A round collects the lines of one checkpoint.
type round struct {
	f    *follower
	t    *track
	done chan struct{} // closed when it is good, or all have answered

	mu    sync.Mutex
	raw   []byte // what is signed so far
	left  int    // those who have not answered, with the one who asks
	good  bool
	ended bool
}

func (r *round) isGood() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.good
}

// answered takes a voter's lines, nil for none.
func (r *round) answered(raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if raw != nil {
		r.unite(raw)
	}
	r.left--
	if (r.good || r.left == 0) && !r.ended {
		r.ended = true
		close(r.done)
	}
}

// unite adds lines that verify, of the same text.
func (r *round) unite(raw []byte) {
	s, err := r.t.check(raw)
	if err != nil {
		r.f.log.Warn("a voter's signature is not taken", "origin", r.t.origin, "reason", err)
		return
	}
	if raw, err = tlog.Merge(r.raw, s.raw); err != nil {
		return
	}
	s, _, err = r.t.take(raw, "")
	if err != nil {
		r.f.log.Error("a checkpoint is not kept", "origin", r.t.origin, "reason", err)
		return
	}
	r.raw, r.good = raw, r.good || s.Good
}

// askMarks learns from peers how much this member has signed, for after a restored
// backup its own disk says too little. Whoever shows it must show our signature.
func (f *follower) askMarks(t *track) {
	ctx, cancel := context.WithTimeout(f.ctx, f.markMax)
	defer cancel()
	asked := map[string]bool{}
	for {
		var wait sync.WaitGroup
		for _, peer := range f.peers() {
			if asked[peer] || len(asked) >= askMarkPeer {
				continue
			}
			asked[peer] = true
			wait.Go(func() { f.askMark(ctx, t, peer) })
		}
		wait.Wait()
		// Connections come up one after the other when a node starts: who is there
		// only in a second may know more.
		if len(asked) >= askMarkPeer || ctx.Err() != nil || f.allVoters(asked) {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(f.markMax / 20):
		}
	}
	if f.ctx.Err() == nil {
		t.marks.settled()
	}
}

// allVoters reports whether every other voter was asked.
func (f *follower) allVoters(asked map[string]bool) bool {
	for _, v := range f.councils.get().voters {
		if v.member != f.l.c.Self && !asked[v.peer] {
			return false
		}
	}
	return true
}

func (f *follower) askMark(ctx context.Context, t *track, peer string) {
	answer, err := ask[*note](ctx, f.asker, peer, &askMine{Origin: t.origin, Member: f.l.c.Self})
	if err != nil || len(answer.Note) == 0 {
		return
	}
	s, _, err := t.take(answer.Note, peer)
	if err != nil || !s.by(f.l.c.Self) {
		return
	}
	raised, err := t.marks.raise(t.dir, s.Checkpoint)
	switch {
	case err != nil:
		f.log.Error("the mark of what is signed is not kept", "origin", t.origin, "reason", err)
	case raised:
		f.log.Warn("a peer holds a larger checkpoint with our signature than we know of: nothing smaller is signed", "origin", t.origin, "size", s.Size)
	}
}
