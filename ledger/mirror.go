package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

// Times of following.
const (
	pollEvery   = time.Minute     // checkpoints are asked for, whatever is told
	pollPeers   = 3               // of so many, voters first
	meetEvery   = time.Second     // who is connected newly is asked
	meetMax     = 8               // at once
	pollFor     = 5 * time.Second // an answer is waited for
	retryEvery  = 2 * time.Second // a copy that failed
	unshownFor  = time.Minute     // that failed so long is said to a person
	syncEntries = 64 << 10        // entries between two syncs of a copy
)

// A follower is the half of a ledger that needs no Raft: it takes checkpoints, copies
// and verifies what they say, serves it, signs as a voter or a witness, and looks for
// checkpoints that contradict each other.
type follower struct {
	l        *Ledger
	log      *slog.Logger
	now      func() time.Time
	councils *councils
	asker    *asker
	server   *server
	busy     *busy // voters and witnesses that are being asked to sign
	telling  *busy // peers that are being told
	started  time.Time
	markMax  time.Duration // askMarkMax, less in tests

	ctx     context.Context
	cancel  context.CancelFunc
	loops   sync.WaitGroup
	work    sync.WaitGroup // short work that loops started
	kick    chan struct{}  // capacity 1: the copying loop has something to do
	spreads chan struct{}  // capacity 1: there is something to tell
	begun   bool

	mu      sync.Mutex
	better  chan struct{}             // closed and replaced with each better checkpoint
	marking map[string]bool           // origins whose marks are looked for or known
	said    map[crypto.MemberID]voice // what voters said last
	lost    time.Time                 // since when no voter is connected, zero while one is
	epochAt time.Time                 // since when the voters of epochOf are watched
	epochOf string
	from    crypto.MemberID        // who gave the last entries
	failing map[string]time.Time   // by origin: since when no peer shows a checkpoint's tree
	foreign map[string]*foreign    // by origin
	splits  map[string]bool        // origins whose voters are proven to have signed two ledgers
	raised  map[string]bool        // alarms that last, by Dedup
	linked  map[string]crypto.Hash // by origin: the checkpoint that it continues, once seen
}

// A voice is what a voter said of the ledger.
type voice struct {
	at       time.Time
	leader   crypto.MemberID
	noQuorum time.Time
}

func newFollower(l *Ledger) *follower {
	f := &follower{
		l: l, log: l.log, now: l.now, started: l.now(), markMax: askMarkMax,
		councils: newCouncils(l.c.Roster, l.c.Region), asker: newAsker(l.c.Network), busy: newBusy(), telling: newBusy(),
		kick: make(chan struct{}, 1), spreads: make(chan struct{}, 1), better: make(chan struct{}),
		marking: map[string]bool{}, said: map[crypto.MemberID]voice{}, failing: map[string]time.Time{},
		foreign: map[string]*foreign{}, splits: map[string]bool{}, raised: map[string]bool{}, linked: map[string]crypto.Hash{},
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.loadEvidence()
	f.server = newServer(func(peer string) bool { _, ok := f.councils.member(peer); return ok }, f.answer)
	return f
}

// newTrack returns what is known of an epoch's checkpoints, from its directory.
func (f *follower) newTrack(e *epoch) (*track, error) {
	t := &track{
		councils: f.councils, origin: e.origin, dir: e.dir, tree: e.tree, signed: map[crypto.MemberID]*stand{}, seen: map[crypto.MemberID]time.Time{},
		votes: func() bool { r := f.l.replicaOf(e); return r != nil && !r.aside.Load() },
		wake:  func() { poke(f.kick) },
		grown: f.checkpointGrew,
	}
	t.shown.path, t.proven.path = t.checkpointPath(), filepath.Join(t.dir, witnessedFile)
	t.marks.open(t.dir, t.origin)
	if t.marks.broken != nil {
		f.log.Warn("how much this member has signed is asked of peers", "origin", t.origin, "reason", t.marks.broken)
	}
	t.split = f.convicted(t.origin)
	if err := t.load(); err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Base(e.dir), err)
	}
	return t, nil
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// start begins to follow and to serve.
func (f *follower) start() {
	f.begun = true
	f.l.c.Network.Handle(Protocol, f.server.member, f.server.handle)
	f.loops.Go(f.meet)
	f.loops.Go(f.copyAll)
	f.loops.Go(f.lead)
	f.loops.Go(f.haveWitnessed)
	f.loops.Go(f.spread)
	f.loops.Go(f.watch)
	f.loops.Go(f.listen)
	f.loops.Go(f.scrub)
	f.opened()
}

// stop returns once everything that start began has ended.
func (f *follower) stop() {
	f.cancel()
	if f.begun {
		f.l.c.Network.Handle(Protocol, nil, nil)
	}
	f.asker.close()
	f.server.close()
	f.loops.Wait()
	f.work.Wait()
	for _, t := range f.tracks() {
		if err := t.save(true); err != nil {
			f.log.Error("signatures of the ledger are not kept", "origin", t.origin, "reason", err)
		}
	}
}

// opened is called when an epoch was opened, or has become one in which this node
// votes or does not any more.
func (f *follower) opened() {
	poke(f.kick)
	t := f.current()
	if t == nil || !f.begun || f.ctx.Err() != nil {
		return
	}
	council := f.councils.get()
	_, voter := seated(council.voters, f.l.c.Self)
	_, witness := seated(council.witnesses, f.l.c.Self)
	f.mu.Lock()
	defer f.mu.Unlock()
	if (voter || witness) && !f.marking[t.origin] {
		f.marking[t.origin] = true
		f.loops.Go(func() { f.askMarks(t) })
	}
}

// tracks returns what is known of each epoch, the newest first.
func (f *follower) tracks() (out []*track) {
	for _, e := range slices.Backward(f.l.epochsNow()) {
		out = append(out, e.track)
	}
	return out
}

func (f *follower) trackOf(origin string) *track {
	for _, t := range f.tracks() {
		if t.origin == origin {
			return t
		}
	}
	return nil
}

// current returns the track of the epoch that the charter names, nil if it is not
// open.
func (f *follower) current() *track {
	epoch := f.councils.get().epoch
	if epoch == 0 {
		return nil
	}
	return f.trackOf(tlog.Origin(f.l.c.Region, epoch))
}

// lastCheckpoint returns the newest good checkpoint of an epoch.
func (f *follower) lastCheckpoint(epoch uint32) (tlog.Checkpoint, bool) {
	t := f.trackOf(tlog.Origin(f.l.c.Region, epoch))
	if t == nil {
		return tlog.Checkpoint{}, false
	}
	s := t.newest()
	if s == nil {
		return tlog.Checkpoint{}, false
	}
	return s.Checkpoint, true
}

func (f *follower) checkpointGrew() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.better)
	f.better = make(chan struct{})
	poke(f.spreads)
}

// peers returns the members of the region that can be reached, voters first and the
// others in no order.
func (f *follower) peers() []string {
	var out []string
	for _, p := range f.l.c.Network.Peers() {
		if m, ok := f.councils.member(p); ok && m != f.l.c.Self {
			out = append(out, p)
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	voters := f.councils.get().voters
	votes := func(p string) int {
		if slices.ContainsFunc(voters, func(s seat) bool { return s.peer == p }) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(out, func(a, b string) int { return votes(a) - votes(b) })
	return out
}

// meet asks those who are connected newly for their checkpoints, and a few of all once
// a minute.
func (f *follower) meet() {
	met := map[string]bool{}
	var polled time.Time
	for {
		peers := f.peers()
		here := map[string]bool{}
		var due []string
		for _, p := range peers {
			if here[p] = true; !met[p] && len(due) < meetMax {
				due = append(due, p)
			}
		}
		for p := range met {
			if !here[p] {
				delete(met, p)
			}
		}
		if time.Since(polled) >= pollEvery {
			polled = time.Now()
			due = dedup(append(due, f.toPoll(peers)...))
		}
		var wait sync.WaitGroup
		for _, p := range due {
			fresh := !met[p]
			met[p] = true
			wait.Go(func() { f.greet(p, fresh) })
		}
		wait.Wait()
		f.opened() // the charter may name us now
		if !f.sleep(meetEvery) {
			return
		}
	}
}

// toPoll returns all voters, for they say who leads, or so many others.
func (f *follower) toPoll(peers []string) []string {
	voters := 0
	for _, s := range f.councils.get().voters {
		if slices.Contains(peers, s.peer) {
			voters++
		}
	}
	return peers[:min(len(peers), max(voters, pollPeers))]
}

// greet asks a peer for what it has of each epoch, and shows it what proves that a
// ledger is split.
func (f *follower) greet(peer string, fresh bool) {
	ctx, cancel := context.WithTimeout(f.ctx, pollFor)
	defer cancel()
	for _, t := range f.tracks() {
		answer, err := ask[*note](ctx, f.asker, peer, &askNote{Origin: t.origin})
		if err != nil {
			continue
		}
		f.hear(peer, answer)
		if len(answer.Note) > 0 {
			if _, _, err := t.take(answer.Note, peer); err != nil {
				f.log.Debug("a checkpoint is not taken", "origin", t.origin, "peer", peer, "reason", err)
			}
		}
	}
	if fresh {
		f.showEvidence(ctx, peer)
	}
}

// hear keeps what a voter says of the present ledger.
func (f *follower) hear(peer string, n *note) {
	m, ok := f.councils.member(peer)
	if _, voter := seated(f.councils.get().voters, m); !ok || !voter {
		return
	}
	if n.Leader == (crypto.MemberID{}) && n.NoQuorum == 0 {
		return // it does not take part yet
	}
	v := voice{at: f.now(), leader: n.Leader}
	if n.NoQuorum > 0 {
		v.noQuorum = time.UnixMilli(n.NoQuorum)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said[m] = v
}

// copyAll grows the trees here to the checkpoints that are known, for as long as this
// node does not vote in them.
func (f *follower) copyAll() {
	for {
		pause := time.Hour
		var grown <-chan struct{}
		for _, t := range f.tracks() {
			t.settle()
			if f.mend(f.ctx, t, t.damaged()) {
				t.settle()
			}
			if !t.votes() && f.l.c.Mirror && !f.copy(t) {
				pause = retryEvery
			}
			f.prove(t)
			f.checkLink(t)
			if t.waits() {
				grown, pause = t.tree.grown(), min(pause, retryEvery)
			}
		}
		if !f.sleep(pause, f.kick, grown) {
			return
		}
	}
}

// waits reports whether there are checkpoints that the tree has to grow to, or that
// are still to be proven false.
func (t *track) waits() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.targets)+len(t.pending) > 0 || len(t.doubts) > 0 && !t.split
}

// copy grows a tree to the largest checkpoint that peers can show. It reports false if
// there is one that none can.
func (f *follower) copy(t *track) bool {
	for {
		targets := t.larger()
		if len(targets) == 0 {
			f.shown(t)
			return true
		}
		copied := false
		for _, s := range targets {
			err := f.copyTo(t, s)
			if f.ctx.Err() != nil {
				return true
			}
			if err == nil {
				copied = true
				break
			}
			f.log.Debug("a checkpoint cannot be followed now", "origin", t.origin, "size", s.Size, "reason", err)
			f.mend(f.ctx, t, err)
		}
		t.settle()
		if !copied {
			f.unshown(t)
			return false
		}
	}
}

func (t *track) larger() []*stand {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.targets)
}

// copyTo fetches what a tree lacks of a good checkpoint, verifies it, and appends it.
// Nothing is appended that is not proven to be in that checkpoint's tree, and nothing
// at all unless the tree here is its beginning.
func (f *follower) copyTo(t *track, s *stand) error {
	src := f.sourceOf(f.ctx, s)
	size := t.tree.Size()
	if size >= s.Size {
		return nil
	}
	begins, err := src.prefix(size)
	if err != nil {
		return err
	}
	own, err := t.tree.Root(size)
	if err != nil {
		return err
	}
	if begins != own {
		t.refuse(s)
		return fmt.Errorf("it does not continue the %d entries here", size)
	}
	err = src.grow(t.tree, func() error {
		if t.votes() {
			return errors.New("this node votes now")
		}
		return f.ctx.Err()
	})
	if err != nil {
		return err
	}
	if m, ok := f.councils.member(src.last); ok {
		f.mu.Lock()
		f.from = m
		f.mu.Unlock()
	}
	return nil
}

// refuse takes a checkpoint from those to copy to those that contradict the tree.
func (t *track) refuse(s *stand) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.targets = slices.DeleteFunc(t.targets, func(o *stand) bool { return o.Size == s.Size && o.Root == s.Root })
	t.doubt(doubt{s, ""})
}

// shown and unshown note whether peers show what a checkpoint says.
func (f *follower) shown(t *track) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.failing, t.origin)
}

func (f *follower) unshown(t *track) {
	f.mu.Lock()
	since, known := f.failing[t.origin]
	if !known {
		since = f.now()
		f.failing[t.origin] = since
	}
	f.mu.Unlock()
	if f.now().Sub(since) >= unshownFor {
		f.alarm(Alarm{Kind: "ledger-differs", Severity: "warning", Dedup: "ledger-differs/" + t.origin,
			Text: fmt.Sprintf("a signed checkpoint of the ledger %s is larger than the copy here and nobody shows its entries: ask the coordinators why (watchward ledger status)", t.origin)})
	}
}
