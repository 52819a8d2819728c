package ledger

import (
	"fmt"
	"time"

	"github.com/watchward/watchward/ledger/tlog"
)

// retryAfter is how long a voter waits before it asks peers for tiles again.
const retryAfter = time.Second

// fetchTo brings the tree to a state whose root is trusted.
func (r *replica) fetchTo(to point) error {
	for {
		src := r.l.follow.sourceFrom(r.ctx, tlog.Checkpoint{Origin: r.e.origin, Size: to.Size, Root: to.Root}, r.l.follow.peers())
		err := src.grow(r.e.tree, r.ctx.Err)
		if err == nil || r.ctx.Err() != nil {
			return err
		}
		r.log.Warn("entries of the ledger cannot be fetched yet", "size", to.Size, "err", err)
		if !r.sleep(retryAfter) {
			return r.ctx.Err()
		}
	}
}

// mend fetches what was on disk once and is there no more. Until then this voter takes
// no part: it must not forget what it has promised.
func (r *replica) mend() error {
	lost := r.e.tree.missing
	if lost == nil {
		return nil
	}
	r.log.Warn("the ledger here has lost entries: they are fetched from other members", "have", r.e.tree.Size(), "had", lost.Size)
	if err := r.fetchTo(*lost); err != nil {
		return err
	}
	root, err := r.e.tree.Root(lost.Size)
	if err != nil {
		return err
	}
	if root != lost.Root {
		return fmt.Errorf("root of %d entries: %w", lost.Size, errDiverged)
	}
	return r.e.tree.settle(lost.Applied, lost.Time)
}

// scrub reads the whole tree and replaces what is damaged. A voter does not stand for
// election before, unless that takes longer than standAfter and nothing was found yet.
func (r *replica) scrub() {
	found := false
	patience := time.AfterFunc(standAfter, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !found {
			r.gate.stands.Store(true)
		}
	})
	defer patience.Stop()
	for at, size := uint64(0), r.e.tree.Size(); at < size; {
		to := min(at+readAtOnce, size)
		_, err := r.e.tree.Entries(at, to)
		if err == nil {
			at = to
			continue
		}
		r.mu.Lock()
		found = true
		r.gate.stands.Store(false)
		r.mu.Unlock()
		if r.l.follow.mend(r.ctx, r.e.track, err) {
			continue
		}
		if r.e.track.worn(err) || !r.sleep(retryAfter) { // on such a disk nobody leads
			return
		}
	}
	r.gate.stands.Store(true)
}
