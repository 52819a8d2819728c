package ledger

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/entry"
	"github.com/watchward/watchward/ledger/tlog"
)

// How a member that does not vote hears whether there is a quorum.
const (
	listenEvery = 10 * time.Second             // connected voters are asked
	voiceFor    = 20 * time.Second             // an answer counts
	lostFor     = 10 * time.Second             // no voter is connected, before that says anything
	quorumSeen  = 2*idleEvery + 30*time.Second // a checkpoint counts where no voter is heard: leaders have one signed each minute
)

// quorumPatience is how long there may be no quorum before a person hears of it: when a
// leader dies the next one is elected within a second.
const quorumPatience = 5 * time.Second

// watch looks once a second at what a person should know.
func (f *follower) watch() {
	for f.sleep(time.Second) {
		f.asker.tidy()
		for _, t := range f.tracks() {
			if err := t.save(false); err != nil {
				f.log.Error("signatures of the ledger are not kept", "origin", t.origin, "reason", err)
			}
		}
		if t := f.current(); t != nil {
			f.watchVoters(t)
			f.watchAge(t)
			f.watchQuorum(t)
		}
	}
}

// watchAge raises an alarm when the newest good checkpoint is older than it may be.
func (f *follower) watchAge(t *track) {
	dedup := "ledger-stale/" + t.origin
	since := f.started
	if s := t.newest(); s != nil && !s.signedAt().IsZero() {
		since = s.signedAt()
	}
	age := f.now().Sub(since)
	if f.l.c.MaxAge <= 0 || age <= f.l.c.MaxAge {
		f.over(dedup)
		return
	}
	f.alarm(Alarm{Kind: "ledger-stale", Severity: "warning", Dedup: dedup,
		Text: fmt.Sprintf("the newest checkpoint of the ledger is %s old, and %s is allowed: what was reported since is not proven yet; see whether the coordinators run (watchward ledger status)", age.Round(time.Second), f.l.c.MaxAge)})
}

func (f *follower) watchQuorum(t *track) {
	dedup := "ledger-no-quorum/" + t.origin
	since, unreached := f.noQuorumSince(t)
	if since.IsZero() {
		f.over(dedup)
		return
	}
	if f.now().Sub(since) < quorumPatience {
		return
	}
	// The text stands when it is over, too.
	what := "from %s on the ledger had no quorum of coordinators"
	if unreached {
		what = "from %s on no coordinator that votes could be reached from here"
	}
	f.alarm(Alarm{Kind: "ledger-no-quorum", Severity: "warning", Dedup: dedup,
		Text: fmt.Sprintf(what+": until that is over (watchward ledger status) what is reported waits, and everything else goes on; see which of them run (watchward ledger voters)", since.UTC().Format(time.RFC3339))})
}

// watchVoters notes whether any voter is connected. It asks nobody.
func (f *follower) watchVoters(t *track) {
	connected := len(f.votersHere()) > 0
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.epochOf != t.origin {
		if f.epochOf != "" {
			clear(f.said) // of the epoch before
		}
		f.epochOf, f.epochAt = t.origin, f.now()
	}
	switch {
	case connected:
		f.lost = time.Time{}
	case f.lost.IsZero():
		f.lost = f.now()
	}
}

// votersHere returns the connected voters of the charter.
func (f *follower) votersHere() (peers []string) {
	council := f.councils.get()
	for _, p := range f.peers() {
		if slices.ContainsFunc(council.voters, func(s seat) bool { return s.peer == p }) {
			peers = append(peers, p)
		}
	}
	return peers
}

// listen asks the voters all the time who leads, where this node is none of them.
func (f *follower) listen() {
	for {
		if t := f.current(); t != nil && !t.votes() {
			f.askVoters(t)
		}
		if !f.sleep(listenEvery) {
			return
		}
	}
}

func (f *follower) askVoters(t *track) {
	ctx, cancel := context.WithTimeout(f.ctx, pollFor)
	defer cancel()
	var wait sync.WaitGroup
	for _, p := range f.votersHere() {
		wait.Go(func() {
			if answer, err := ask[*note](ctx, f.asker, p, &askMine{Origin: t.origin}); err == nil {
				f.hear(p, answer)
			}
		})
	}
	wait.Wait()
}

// noQuorumSince returns since when the ledger has no quorum, zero while it has one: as a
// voter this node's own word, else what the voters say, or their silence, which is
// unreached.
func (f *follower) noQuorumSince(t *track) (since time.Time, unreached bool) {
	if t.votes() {
		return f.l.noQuorumSince(), false
	}
	now := f.now()
	f.mu.Lock()
	last, patience := f.started, idleEvery+lostFor // it may never be connected to a voter
	if f.epochAt.After(last) {
		last = f.epochAt
	}
	lost, said, quorum := f.lost, time.Time{}, false
	var newest voice
	for _, v := range f.said {
		if v.at.After(newest.at) {
			newest = v
		}
		switch {
		case !lost.IsZero() || now.Sub(v.at) > voiceFor:
		case v.noQuorum.IsZero():
			quorum = true
		case said.IsZero() || v.noQuorum.Before(said):
			said = v.noQuorum
		}
	}
	f.mu.Unlock()
	if quorum {
		return time.Time{}, false
	}
	if !said.IsZero() {
		return said, false
	}
	if !newest.at.IsZero() && !newest.at.Before(last) {
		last, patience = newest.at, voiceFor
		if lost.After(last) {
			last = lost
		}
		if !lost.IsZero() {
			patience = lostFor
		}
	}
	// What voters signed well after they were heard last, they signed with a quorum.
	if s := t.newest(); s != nil && s.signedAt().Sub(last) > patience {
		last, patience = s.signedAt(), quorumSeen
	} else if !newest.noQuorum.IsZero() {
		return newest.noQuorum, true
	}
	if now.Sub(last) <= patience {
		return time.Time{}, false
	}
	return last, true
}

// alarm tells a person, once until it is over.
func (f *follower) alarm(a Alarm) {
	f.mu.Lock()
	raised := f.raised[a.Dedup]
	f.raised[a.Dedup] = true
	f.mu.Unlock()
	if raised {
		return
	}
	f.log.Warn(a.Text, "alarm", a.Kind)
	if f.l.c.Raise != nil {
		f.l.c.Raise(a)
	}
}

// over says that what an alarm was for is so no longer.
func (f *follower) over(dedup string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.raised, dedup)
}

// checkLink looks at what a later epoch says that it continues. It must be the newest
// checkpoint of the epoch before that was seen here, or one that contains it.
func (f *follower) checkLink(t *track) {
	before := f.before(t)
	if before == nil || t.tree.Size() == 0 {
		return
	}
	seen := before.newest()
	if seen == nil {
		return
	}
	f.mu.Lock()
	link, known := f.linked[t.origin]
	f.mu.Unlock()
	if !known {
		entries, err := t.tree.Entries(0, 1)
		if err != nil {
			f.mend(f.ctx, t, err)
			return
		}
		e, err := entry.Parse(entries[0])
		if err != nil || e.Type != entry.Link {
			f.unlinked(t, "it begins with no link to the one before")
			return
		}
		link = e.ID
	}
	switch {
	case textHash(seen.Checkpoint) == link:
		f.mu.Lock()
		f.linked[t.origin] = link
		f.mu.Unlock()
		f.over("ledger-link/" + t.origin)
	case before.continues(link):
		// The linked checkpoint is larger than what is here, and is being copied.
	case f.now().Sub(f.started) >= unshownFor:
		f.unlinked(t, fmt.Sprintf("it does not continue the checkpoint of %d entries that was seen here", seen.Size))
	}
}

func (f *follower) unlinked(t *track, why string) {
	f.alarm(Alarm{Kind: "ledger-link", Severity: "critical", Dedup: "ledger-link/" + t.origin,
		Text: fmt.Sprintf("the ledger %s: %s; entries that coordinators had signed may be missing from it: compare the receipts you hold (watchward verify FILE)", t.origin, why)})
}

// before returns the track of the epoch before, nil if there is none.
func (f *follower) before(t *track) *track {
	region, epoch, err := tlog.ParseOrigin(t.origin)
	if err != nil || epoch < 2 {
		return nil
	}
	return f.trackOf(tlog.Origin(region, epoch-1))
}

// continues reports whether a checkpoint that is still to be copied has a text of this
// hash.
func (t *track) continues(link crypto.Hash) bool {
	for _, s := range t.larger() {
		if textHash(s.Checkpoint) == link {
			return true
		}
	}
	return false
}

func textHash(c tlog.Checkpoint) crypto.Hash { return sha256.Sum256([]byte(c.Text())) }

// status fills in what this half knows.
func (f *follower) status(s *Status) {
	t := f.current()
	if t == nil {
		return
	}
	if newest := t.newest(); newest != nil {
		s.Checkpoint = CheckpointStatus{Size: newest.Size, Root: newest.Root, Time: newest.signedAt(), Good: newest.Good, Witnessed: newest.Witnessed}
		for _, v := range newest.Voters {
			s.Checkpoint.Signers = append(s.Checkpoint.Signers, v.Member)
		}
		for _, w := range newest.Witnesses {
			s.Checkpoint.Witnesses = append(s.Checkpoint.Witnesses, w.Member)
		}
	}
	if s.Split = f.convicted(t.origin); s.Split {
		s.Evidence = f.evidencePath(t.origin)
	}
	s.NoQuorumSince, s.Unreached = f.noQuorumSince(t)
	if t.votes() {
		return
	}
	if leader, ok := f.saidLeader(); ok {
		s.Leader = leader
	}
	s.Mirror.Size = t.tree.Size()
	if larger := t.larger(); len(larger) > 0 {
		s.Mirror.Lag = larger[0].Size - min(larger[0].Size, s.Mirror.Size)
	}
	f.mu.Lock()
	s.Mirror.From = f.from
	f.mu.Unlock()
}
