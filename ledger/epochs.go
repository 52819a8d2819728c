package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

// followEvery is how often the charter is looked at, beside its changes: a voter that
// leaves asks then whether the others have let it go.
const followEvery = 2 * time.Second

// followCharter keeps the epochs, and this node's part in them, as the charter says.
func (l *Ledger) followCharter() {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		changed := l.c.Roster.Changed()
		if err := l.keepUp(); err != nil {
			l.log.Error("the ledger does not follow the charter", "err", err)
			l.raise(Alarm{
				Kind: "ledger-voter", Severity: "critical", Dedup: "ledger-open",
				Text: fmt.Sprintf("This node cannot keep the region's ledger: %v. Check the disk under %s.", err, l.c.Dir),
			})
		}
		select {
		case <-l.ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

// keepUp opens new epochs, and begins and ends voting.
func (l *Ledger) keepUp() error {
	if err := l.openEpochs(); err != nil {
		return err
	}
	l.mu.Lock()
	epochs := slices.Clone(l.epochs)
	l.mu.Unlock()
	var errs []error
	for i, e := range epochs {
		r := l.replicaOf(e)
		newest := i == len(epochs)-1
		named := newest && l.c.Vote && slices.Contains(l.voters(e.number), l.c.Self)
		switch {
		case r == nil && (named || newest && l.c.Vote && !e.left && e.voted()):
			e.left = false
			r = newReplica(l, e)
			l.mu.Lock()
			e.replica = r
			l.mu.Unlock()
		case !newest && r != nil, !named && r != nil && r.left(l.ctx):
			l.log.Info("this node votes on the ledger no more", "origin", e.origin)
			e.left = true
			errs = append(errs, l.endReplica(e))
		}
	}
	return errors.Join(errs...)
}

// voted reports whether this node was a voter of the epoch. Then it is one, whatever the
// charter says, until the others have let it go: they may have no quorum without it.
func (e *epoch) voted() bool {
	_, err := os.Stat(filepath.Join(e.dir, "raft"))
	return err == nil
}

// endReplica closes this node's raft of an epoch. Its tree stays.
func (l *Ledger) endReplica(e *epoch) error {
	l.mu.Lock()
	r := e.replica
	e.replica = nil
	l.mu.Unlock()
	if r == nil {
		return nil
	}
	err := r.close()
	l.leaderChanged()
	return err
}

// openEpochs opens the trees of the epochs up to the charter's, if this node keeps them.
func (l *Ledger) openEpochs() error {
	charter := l.c.Roster.CharterOf(l.c.Region)
	if charter == nil || !l.c.Mirror && !l.c.Vote {
		return nil
	}
	for {
		l.mu.Lock()
		number := uint32(len(l.epochs)) + 1
		l.mu.Unlock()
		if number > charter.Ledger {
			return nil
		}
		dir := filepath.Join(l.c.Dir, "epoch", strconv.FormatUint(uint64(number), 10))
		t, err := openTree(dir, l.log)
		if err != nil {
			return err
		}
		e := &epoch{number: number, origin: tlog.Origin(l.c.Region, number), dir: dir, tree: t}
		if e.track, err = l.follow.newTrack(e); err != nil {
			return errors.Join(err, t.close())
		}
		l.mu.Lock()
		l.epochs = append(l.epochs, e)
		l.mu.Unlock()
		l.follow.opened()
	}
}

// epochsNow returns the epochs that are open, the newest last.
func (l *Ledger) epochsNow() []*epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.epochs)
}

// nameOf returns a member's name.
func (l *Ledger) nameOf(m crypto.MemberID) string {
	for _, c := range l.c.Roster.Members(l.c.Region) {
		if c.Member == m {
			return c.Name
		}
	}
	return ""
}
