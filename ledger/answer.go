package ledger

import (
	"context"
	"io/fs"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

// answer answers a member's question.
func (f *follower) answer(ctx context.Context, peer string, question message) (message, error) {
	switch q := question.(type) {
	case *askNote:
		return f.answerNote(q)
	case *askMine:
		t := f.trackOf(q.Origin)
		if t == nil {
			return nil, refusedUnknown
		}
		out := &note{Note: t.mine(q.Member)}
		f.say(t, out)
		return out, nil
	case *askTile:
		data, err := f.tile(ctx, q.Origin, q.Path)
		if err != nil {
			return nil, err
		}
		return &tile{data}, nil
	case *askFind:
		return f.answerFind(ctx, q)
	case *cosign:
		return f.answerCosign(ctx, peer, q)
	case *witness:
		return f.answerWitness(ctx, peer, q)
	case *note:
		return f.told(peer, q)
	case *evidence:
		if _, blame := f.accused(f.l.c.Region, q.Proof); blame {
			return nil, refusedDiffers
		}
		return &taken{}, nil
	}
	return nil, refusedUnknown // an answer is no question
}

func (f *follower) answerNote(q *askNote) (message, error) {
	t := f.trackOf(q.Origin)
	if t == nil {
		return nil, refusedUnknown
	}
	out := &note{}
	if s := t.newest(); s != nil {
		out.Note = s.raw
	}
	f.say(t, out)
	return out, nil
}

// say adds what a voter knows of the present ledger.
func (f *follower) say(t *track, out *note) {
	if !t.votes() || t != f.current() {
		return
	}
	out.Leader, _ = f.l.Leader()
	if since := f.l.noQuorumSince(); !since.IsZero() {
		out.NoQuorum = max(since.UnixMilli(), 1)
	}
}

// told takes a checkpoint that a peer has sent at once.
func (f *follower) told(peer string, n *note) (message, error) {
	f.hear(peer, n)
	origin, err := originOf(n.Note)
	if err != nil {
		return nil, refusedDiffers
	}
	t := f.trackOf(origin)
	if t == nil {
		return nil, refusedUnknown
	}
	if _, _, err := t.take(n.Note, peer); err != nil {
		return nil, refusedDiffers
	}
	return &taken{}, nil
}

// tile returns a tile of an epoch, after fetching it again if it is damaged here.
func (f *follower) tile(ctx context.Context, origin, path string) ([]byte, error) {
	t := f.trackOf(origin)
	if t == nil {
		return nil, fs.ErrNotExist
	}
	data, err := t.tree.Tile(path)
	if err != nil && f.mend(ctx, t, err) {
		data, err = t.tree.Tile(path)
	}
	return data, err
}

// Tile returns a file of an epoch's ledger as c2sp.org/tlog-tiles has it: "checkpoint",
// or a path that begins with "tile/". The error is fs.ErrNotExist for what is not there.
func (l *Ledger) Tile(epoch uint32, path string) ([]byte, error) {
	f, origin := l.follow, tlog.Origin(l.c.Region, epoch)
	if path != checkpointFile {
		return f.tile(f.ctx, origin, path)
	}
	if t := f.trackOf(origin); t != nil {
		if s := t.newest(); s != nil {
			return s.raw, nil
		}
	}
	return nil, fs.ErrNotExist
}

// answerFind says where an entry is. The leader's word is strong; a question for it is
// handed on once.
func (f *follower) answerFind(ctx context.Context, q *askFind) (message, error) {
	if t := f.current(); t == nil || t.origin != q.Origin {
		return nil, refusedUnknown
	}
	if q.Strong && !f.l.Leads() {
		leader, ok := f.l.Leader()
		if q.Forwarded || !ok || leader == f.l.c.Self {
			return nil, refusedLeader
		}
		seat, _ := seated(f.councils.get().voters, leader)
		if seat.peer == "" {
			return nil, refusedLeader
		}
		next := *q
		next.Forwarded = true
		return ask[*found](ctx, f.asker, seat.peer, &next)
	}
	r, err := f.l.Find(ctx, q.Entry, q.Strong)
	if err != nil {
		return nil, err
	}
	return &found{Index: r.Index, Size: r.Size, Time: max(r.Time.UnixMilli(), 0), Leader: r.Leader, Here: r.Known}, nil
}

// askFind asks the leader where an entry is: directly if this node knows who leads, and
// through the other voters if it does not, or is wrong.
func (f *follower) askFind(ctx context.Context, leader crypto.MemberID, entry []byte) (Found, error) {
	council := f.councils.get()
	seats := council.voters
	leads, known := seated(seats, leader)
	if known {
		seats = append([]seat{leads}, seats...)
	}
	for i, s := range seats {
		if s.member == f.l.c.Self || s.peer == "" {
			continue
		}
		q := &askFind{Origin: tlog.Origin(f.l.c.Region, council.epoch), Entry: entry, Strong: true, Forwarded: known && i == 0}
		r, err := ask[*found](ctx, f.asker, s.peer, q)
		if err == nil {
			return Found{Index: r.Index, Size: r.Size, Time: time.UnixMilli(r.Time), Leader: r.Leader, Known: r.Here}, nil
		}
		f.log.Debug("a voter did not say where an entry is", "member", s.member, "reason", err)
	}
	return Found{}, ErrNoQuorum
}

// saidLeader returns who leads by what a voter said last, nobody when none is heard.
func (f *follower) saidLeader() (leader crypto.MemberID, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.lost.IsZero() {
		return leader, false
	}
	var last time.Time
	for _, v := range f.said {
		if v.leader != (crypto.MemberID{}) && f.now().Sub(v.at) <= voiceFor && v.at.After(last) {
			leader, last, ok = v.leader, v.at, true
		}
	}
	return leader, ok
}
