package ledger

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
)

// Times of witnessing.
const (
	witnessMax   = 5 * time.Second        // for a witness's answer, which may have to copy first
	witnessRetry = 500 * time.Millisecond // after one that did not sign
)

// answerWitness signs for a witness: a good checkpoint, of which the whole tree is here
// and was verified.
func (f *follower) answerWitness(ctx context.Context, peer string, q *witness) (message, error) {
	council := f.councils.get()
	asks, _ := f.councils.member(peer)
	_, voter := seated(council.voters, asks)
	_, self := seated(council.witnesses, f.l.c.Self)
	t := f.current()
	if !voter || !self || f.l.c.Key == nil || t == nil {
		return nil, refusedRole
	}
	s, _, err := t.take(q.Note, peer)
	switch {
	case err != nil:
		return nil, refusedDiffers
	case !s.Good:
		return nil, refusedRole
	}
	ctx, cancel := context.WithTimeout(ctx, witnessMax)
	defer cancel()
	if !t.reaches(ctx, s.Size) {
		return nil, refusedLater
	}
	raw, err := f.signAs(t, s.Size, s.Root, tlog.Witness)
	if err != nil {
		return nil, err
	}
	return &note{Note: raw}, nil
}

// haveWitnessed asks the charter's witnesses to sign, while this node leads. Nothing
// waits for them: while they sign one checkpoint, others come and go, and the next that
// they are asked for is the newest.
func (f *follower) haveWitnessed() {
	for {
		better := f.l.Grown()
		pause := idleEvery
		if t := f.current(); t != nil && f.l.Leads() {
			if s := t.newest(); s != nil && s.Good && s.unwitnessed() && len(f.councils.get().witnesses) > 0 {
				if f.askWitnesses(t, s) {
					continue
				}
				pause, better = witnessRetry, nil
			}
		}
		if !f.sleep(pause, better, f.l.LeaderChanged()) {
			return
		}
	}
}

// witnessedBy reports whether a witness has signed, and not long before the voters did.
func (s *stand) witnessedBy(member crypto.MemberID) bool {
	return slices.ContainsFunc(s.Witnesses, func(w verify.Signature) bool {
		return w.Member == member && s.signedAt().Sub(w.Time) <= uniteFor
	})
}

// unwitnessed reports whether a witness has to be asked.
func (s *stand) unwitnessed() bool {
	return !s.Witnessed || slices.ContainsFunc(s.Witnesses, func(w verify.Signature) bool { return !s.witnessedBy(w.Member) })
}

// askWitnesses asks those that have not signed a checkpoint, and reports whether all
// have.
func (f *follower) askWitnesses(t *track, s *stand) bool {
	var wait sync.WaitGroup
	var mu sync.Mutex
	raw, left, reachable := s.raw, 0, f.peers()
	for _, w := range f.councils.get().witnesses {
		if s.witnessedBy(w.member) {
			continue
		}
		if left++; !slices.Contains(reachable, w.peer) || !f.busy.enter(w.peer) {
			continue
		}
		wait.Go(func() {
			defer f.busy.leave(w.peer)
			ctx, cancel := context.WithTimeout(f.ctx, witnessMax)
			defer cancel()
			answer, err := ask[*note](ctx, f.asker, w.peer, &witness{Note: s.raw})
			var signed *stand
			if err == nil {
				signed, err = t.check(join(answer.Note, s.raw))
			}
			if err != nil {
				f.log.Debug("a witness did not sign", "origin", t.origin, "size", s.Size, "member", w.member, "reason", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			raw, left = join(signed.raw, raw), left-1
			if _, _, err := t.take(raw, ""); err != nil {
				f.log.Error("a checkpoint is not kept", "origin", t.origin, "reason", err)
			}
		})
	}
	wait.Wait()
	return left == 0
}

// join adds a signer's lines to a checkpoint, and returns the checkpoint alone if they
// are not of it.
func join(lines, to []byte) []byte {
	if both, err := tlog.Merge(lines, to); err == nil {
		return both
	}
	return to
}

// busy says which peers are being asked, so that one that hangs is not asked again and
// again.
type busy struct {
	mu    sync.Mutex
	peers map[string]bool
}

func newBusy() *busy { return &busy{peers: map[string]bool{}} }

func (b *busy) enter(peer string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peers[peer] {
		return false
	}
	b.peers[peer] = true
	return true
}

func (b *busy) leave(peer string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.peers, peer)
}
