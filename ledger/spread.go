package ledger

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

// How often checkpoints are told.
const (
	tellEvery     = time.Second           // to one mirror; voters and witnesses are told at once
	tellPeer      = 20 * time.Millisecond // and so much for each mirror that is connected
	tellAtOnce    = 32                    // peers that are being told
	tellMax       = 5 * time.Second       // until one has answered
	announceEvery = 10 * time.Second      // on the mesh
)

// A teller tells others of the leader's checkpoints.
type teller struct {
	f         *follower
	told      map[string]teld // by peer
	announced time.Time
	last      crypto.Hash // of what was announced
	slots     chan struct{}
}

type teld struct {
	at   time.Time
	what crypto.Hash
}

// spread tells voters, witnesses and those who mirror of each better checkpoint, while
// this node leads: by direct stream, and on the mesh once in a while.
func (f *follower) spread() {
	t := &teller{f: f, told: map[string]teld{}, slots: make(chan struct{}, tellAtOnce)}
	for f.sleep(tellEvery, f.spreads, nil) {
		if f.l.Leads() {
			t.tell()
		} else {
			clear(t.told) // a new leader says so to everybody, whatever they know
		}
	}
}

func (t *teller) tell() {
	track := t.f.current()
	if track == nil {
		return
	}
	s := track.newest()
	if s == nil || !s.Good {
		return
	}
	what := sha256.Sum256(s.raw)
	peers := t.f.peers()
	pause := max(tellEvery, time.Duration(len(peers))*tellPeer)
	for _, p := range peers {
		if old := t.told[p]; old.what == what || !t.f.inCouncil(p) && time.Since(old.at) < pause {
			continue
		}
		if !t.enter(p) {
			continue
		}
		t.told[p] = teld{time.Now(), what}
		t.f.work.Go(func() {
			defer t.leave(p)
			ctx, cancel := context.WithTimeout(t.f.ctx, tellMax)
			defer cancel()
			if _, err := ask[*taken](ctx, t.f.asker, p, &note{Note: s.raw, Leader: t.f.l.c.Self}); err != nil {
				t.f.log.Debug("a checkpoint was not told", "origin", s.Origin, "size", s.Size, "reason", err)
			}
		})
	}
	for p := range t.told {
		if len(t.told) > 2*len(peers)+tellAtOnce {
			delete(t.told, p)
		}
	}
	if what != t.last && time.Since(t.announced) >= announceEvery {
		t.announced, t.last = time.Now(), what
		t.f.announce(t.f.l.c.Region, &note{Note: s.raw, Leader: t.f.l.c.Self})
	}
}

// enter takes a slot to tell a peer, which is told one thing at a time. What is left out
// comes with the next turn.
func (t *teller) enter(peer string) bool {
	select {
	case t.slots <- struct{}{}:
	default:
		return false
	}
	if !t.f.telling.enter(peer) {
		<-t.slots
		return false
	}
	return true
}

func (t *teller) leave(peer string) {
	t.f.telling.leave(peer)
	<-t.slots
	poke(t.f.spreads)
}

// inCouncil reports whether a peer is a voter or a witness.
func (f *follower) inCouncil(peer string) bool {
	c := f.councils.get()
	m, ok := f.councils.member(peer)
	_, voter := seated(c.voters, m)
	_, witness := seated(c.witnesses, m)
	return ok && (voter || witness)
}

// announce says something on the mesh, in the topic of the region that it is about.
func (f *follower) announce(region crypto.Region, m message) {
	raw, err := encodeFrame(m)
	if err == nil {
		ctx, cancel := context.WithTimeout(f.ctx, tellMax)
		defer cancel()
		err = f.l.c.Network.Announce(ctx, region, raw)
	}
	if err != nil && f.ctx.Err() == nil {
		f.log.Warn("a checkpoint was not announced", "reason", err)
	}
}

// Foreign regions' checkpoints.
const (
	foreignMax   = 1024      // origins of which the newest checkpoint is kept
	foreignEvery = time.Hour // one of a region is passed on, and handed out
)

// foreign is what was seen of another region's ledger.
type foreign struct {
	newest  *stand
	relayed time.Time
	handed  time.Time
	fresh   bool // it was not handed out yet
}

// notedForeign looks at the checkpoint of another region, by the word of that region's
// coordinators about who signs. Of its tree nothing is here: two of one size are
// compared.
func (f *follower) notedForeign(origin string, raw []byte) (relay, blame bool) {
	policy := f.councils.policy(origin)
	if policy == nil {
		return false, false
	}
	c, err := policy.Check(raw)
	if err != nil {
		return false, badNote(err)
	}
	if !c.Good {
		return false, false
	}
	s := &stand{policy.Trim(raw), c}
	relay, contradicts := f.keepForeign(s)
	if contradicts != nil {
		f.accuseForeign(contradicts, s)
	}
	return relay, false
}

// keepForeign keeps a good checkpoint of another region if it is the newest. It returns
// the one that is kept if the two contradict each other.
func (f *follower) keepForeign(s *stand) (relay bool, contradicts *stand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.foreign[s.Origin]
	if seen == nil {
		if len(f.foreign) >= foreignMax {
			return false, nil
		}
		seen = &foreign{}
		f.foreign[s.Origin] = seen
	}
	switch old := seen.newest; {
	case old != nil && old.Size == s.Size && old.Root != s.Root:
		return false, old
	case old != nil && (old.Size > s.Size || !s.Time.After(old.Time)):
		return false, nil
	}
	seen.newest, seen.fresh = s, true
	if f.now().Sub(seen.relayed) < foreignEvery {
		return false, nil
	}
	seen.relayed = f.now()
	return true, nil
}

// accuseForeign proves that another region's voters signed two trees of one size.
func (f *follower) accuseForeign(a, b *stand) {
	proof, err := equivocation(a, b, crypto.Hash{}, nil)
	if err != nil {
		f.log.Warn("two checkpoints of another region contradict each other, and nobody signed both", "origin", a.Origin, "reason", err)
		f.alarm(Alarm{Kind: "ledger-differs", Severity: "warning", Dedup: "ledger-differs/" + a.Origin,
			Text: fmt.Sprintf("two checkpoints of the ledger %s contradict each other: ask that region's coordinators", a.Origin)})
		return
	}
	f.convict(a.Origin, proof, true)
}

// Foreign returns, for each other region's ledger, the newest good checkpoint that has
// come since the last call, at most one an hour: what this region's ledger is to keep of
// its neighbours.
func (l *Ledger) Foreign() (notes [][]byte) {
	f := l.follow
	f.mu.Lock()
	defer f.mu.Unlock()
	for origin, s := range f.foreign {
		if region, _, _ := tlog.ParseOrigin(origin); !s.fresh || f.splits[origin] || !l.c.Roster.Endorses(region) || f.now().Sub(s.handed) < foreignEvery {
			continue
		}
		s.fresh, s.handed = false, f.now()
		notes = append(notes, s.newest.raw)
	}
	return notes
}
