package document

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/watchward/watchward/crypto"
)

// Bounds and times of fetching.
const (
	fetchesMax  = 4                      // documents at once
	sessionsMax = 8                      // peers that are asked for one at once
	fetchTick   = 100 * time.Millisecond // looks for what is overdue …
	peersTick   = 500 * time.Millisecond // … and for other peers
	vainTime    = 5 * time.Second        // a peer that holds nothing gives its place to another
	stuckTime   = 30 * time.Second       // a document of which nothing comes gives its place to another
	restMin     = time.Second            // then it rests, twice as long each time
	restMax     = 5 * time.Minute
	liarTime    = 10 * time.Minute // nothing is asked of a peer that lied
	againTime   = 2 * time.Second  // until a peer whose stream has ended is asked again
	slowTime    = time.Minute      // a peer that takes longer for a chunk is asked again later …
	silentTime  = 15 * time.Second // … unless something of it comes: the line may be slow
	longTime    = 10 * time.Minute // nobody may take longer
	dayTime     = 24 * time.Hour
)

// run fetches what is wanted, until the documents are closed.
func (d *Documents) run() {
	tick := time.NewTicker(restMin)
	defer tick.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-d.wake:
		case <-tick.C:
		}
		for d.begin() {
		}
	}
}

// begin begins to fetch a document that has waited longest. It reports whether there was one.
func (d *Documents) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fetches >= fetchesMax || d.closed || d.c.Network == nil {
		return false
	}
	for _, x := range d.docs {
		if !x.whole && !x.busy && d.dir.has(x.ref.ID) { // it came under another list of chunks
			d.completed(x)
		}
	}
	now, shares := time.Now(), d.shares()
	var best *doc
	for _, x := range d.docs {
		if !x.whole && !x.busy && !x.rests.After(now) && (best == nil || x.rests.Before(best.rests)) && d.affords(x, shares) {
			best = x
		}
	}
	if best == nil {
		return false
	}
	best.busy = true
	d.fetches++
	d.wait.Go(func() { d.fetch(best) })
	return true
}

// A share is what there is, and is on its way, of an author's documents, in bytes.
type share struct{ held, coming int64 }

// shares sums up the documents of each author, and begins a new day. mu is held.
func (d *Documents) shares() map[crypto.MemberID]share {
	if day := d.c.Now().Unix() / int64(dayTime/time.Second); day != d.day {
		d.day = day
		clear(d.spent)
	}
	out := map[crypto.MemberID]share{}
	for _, x := range d.docs {
		s := out[x.author()]
		if x.busy {
			s.coming += x.missing()
		}
		if x.busy || x.whole || x.part != nil {
			s.held += int64(x.ref.Size)
		}
		out[x.author()] = s
	}
	return out
}

// affords reports whether one of those who want a document has a share of the room, and
// of what is fetched in a day, left for it. It is neither whole nor being fetched. mu is
// held.
func (d *Documents) affords(x *doc, shares map[crypto.MemberID]share) bool {
	most := d.c.Max / shareParts
	for _, w := range x.wanted {
		s := shares[w.Author]
		if x.part == nil || x.author() != w.Author { // else it is counted
			s.held += int64(x.ref.Size)
		}
		if w.Author == d.c.Self || s.held <= most && d.spent[w.Author]+s.coming+x.missing() <= most {
			return true
		}
	}
	return false
}

// spend counts what came of a document in its author's share of the day, whatever
// becomes of it.
func (d *Documents) spend(x *doc, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spent[x.author()] += int64(n)
}

// fetch asks for a document until it is whole, wanted no longer, or stuck.
func (d *Documents) fetch(x *doc) {
	err := d.prepare(x)
	if err == nil {
		err = newFetch(d, x).run()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fetches--
	x.busy = false
	switch {
	case err == nil:
		d.completed(x)
		d.nudge()
	case x.whole: // somebody has put it here meanwhile
	case errors.Is(err, errStuck): // what is here is served on
		d.rest(x)
	case errors.Is(err, errFalse):
		d.log.Error("a document is not what its author signed, and is given up", slog.String("sha256", x.ref.ID.String()), slog.Any("err", err))
		d.closePart(x)
		d.dir.drop(partName(x.ref))
		x.rests = time.Now().Add(dayTime)
	default:
		d.closePart(x)
		d.rest(x)
		if d.ctx.Err() == nil && !errors.Is(err, errUnwanted) {
			d.log.Error("a document is not kept: trying again later", slog.String("sha256", x.ref.ID.String()), slog.Any("err", err))
		}
	}
	d.forget(x)
}

// rest lets a document wait, longer each time that nothing comes of it. mu is held.
func (d *Documents) rest(x *doc) {
	x.rests = time.Now().Add(min(restMin<<min(x.tries, 10), restMax))
	x.tries++
}

// closePart ends the use of what has come so far, which the next try opens and checks.
// mu is held.
func (d *Documents) closePart(x *doc) {
	if x.part != nil {
		_ = x.part.close() // what it says is found by reading it again
	}
	x.part, x.held, x.list = nil, set{}, nil
}

// What ends a fetch without the document.
var (
	errStuck    = errors.New("nothing comes of it")
	errUnwanted = errors.New("nobody names it any more")
)

// prepare makes room, and finds what is here already.
func (d *Documents) prepare(x *doc) error {
	if x.part != nil {
		return nil
	}
	if err := d.dir.room(int64(x.ref.Size)+int64(x.ref.count()*len(Hash{})), d.pinned); err != nil {
		return err
	}
	p, held, err := d.dir.openPart(x.ref)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	x.part, x.held, x.list = p, held, p.list
	d.more(x)
	return nil
}

// A fetch gets one document from several peers at once.
type fetch struct {
	d      *Documents
	x      *doc
	part   *part
	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup
	done   chan struct{} // closed with the last chunk, or an error

	mu       sync.Mutex
	swarm    *swarm
	sessions map[string]*session
	rests    map[string]time.Time // peers that are not asked before
	progress time.Time            // when something came
	ended    bool
	err      error
}

// A session is a stream to one peer.
type session struct {
	peer  string
	s     Stream
	begun time.Time
	heard atomic.Int64 // ns since 1970, when bytes came
	wants chan *want
}

// A hearing is a reader that notes when bytes come.
type hearing struct {
	r  io.Reader
	at *atomic.Int64
}

func (h hearing) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.at.Store(time.Now().UnixNano())
	return n, err
}

// looking is what a fetch knows of others, of its run alone.
type looking struct {
	candidates []string
	at         time.Time
}

func newFetch(d *Documents, x *doc) *fetch {
	f := &fetch{
		d: d, x: x, part: x.part, done: make(chan struct{}), sessions: map[string]*session{}, rests: map[string]time.Time{},
		swarm: newSwarm(x.ref.count(), x.held, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))), progress: time.Now(),
	}
	f.ctx, f.cancel = context.WithCancel(d.ctx)
	return f
}

func (f *fetch) run() error {
	tick := time.NewTicker(fetchTick)
	defer tick.Stop()
	var l looking
	for more := !f.swarm.whole(); more; {
		f.mu.Lock()
		stuck := time.Since(f.progress) > stuckTime
		f.mu.Unlock()
		wanted := f.wanted()
		switch {
		case stuck:
			f.end(errStuck)
		case len(wanted) == 0:
			f.end(errUnwanted)
		default:
			f.look(&l, wanted)
		}
		select {
		case <-f.done:
			more = false
		case <-f.ctx.Done():
			f.end(f.ctx.Err())
		case <-tick.C:
		}
	}
	f.cancel()
	f.wait.Wait()
	if f.err != nil {
		return f.err
	}
	return f.part.finish()
}

func (f *fetch) wanted() []Wanted {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.x.wanted
}

// end ends the fetch; the first reason counts.
func (f *fetch) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop(err)
}

// stop is end while mu is held.
func (f *fetch) stop(err error) {
	if !f.ended {
		f.ended, f.err = true, err
		close(f.done)
	}
}

// look drops peers that are of no use, asks others, and asks again what is overdue.
func (f *fetch) look(l *looking, wanted []Wanted) {
	now := time.Now()
	if now.Sub(l.at) >= peersTick {
		l.candidates, l.at = f.candidates(wanted), now
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var fresh []string
	for _, peer := range f.d.honest(l.candidates) {
		if f.sessions[peer] == nil && !f.rests[peer].After(now) {
			fresh = append(fresh, peer)
		}
	}
	for peer, s := range f.sessions {
		source := f.swarm.peers[peer]
		silent := now.Sub(time.Unix(0, s.heard.Load())) > silentTime
		slow := silent && f.swarm.overdue(peer, now, slowTime) || f.swarm.overdue(peer, now, longTime)
		if slow || source.has.count() == 0 && len(fresh) > 0 && now.Sub(s.begun) > vainTime {
			f.drop(s, now)
		}
	}
	if len(fresh) > 1 { // the author stays first
		rest := fresh[1:]
		rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	}
	for _, peer := range fresh[:min(len(fresh), max(0, sessionsMax-len(f.sessions)))] {
		s := &session{peer: peer, begun: now, wants: make(chan *want, 2*askedMax)}
		f.sessions[peer] = s
		f.swarm.join(peer)
		f.wait.Go(func() { f.talk(s) })
	}
	f.ask(now)
}

// candidates returns who may have the document, the authors of notices that name it first.
func (f *fetch) candidates(wanted []Wanted) (out []string) {
	seen := map[string]bool{}
	for _, w := range wanted {
		for _, peer := range f.d.c.Network.Peers(w) {
			if !seen[peer] {
				seen[peer] = true
				out = append(out, peer)
			}
		}
	}
	return out
}

// honest returns those that have not lied lately.
func (d *Documents) honest(peers []string) (out []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, peer := range peers {
		if until, lied := d.left[peer]; lied && until.After(now) {
			continue
		}
		delete(d.left, peer)
		out = append(out, peer)
	}
	return out
}

// drop ends a session. mu is held.
func (f *fetch) drop(s *session, now time.Time) {
	if f.sessions[s.peer] != s {
		return
	}
	delete(f.sessions, s.peer)
	f.swarm.leave(s.peer)
	f.rests[s.peer] = now.Add(againTime)
	close(s.wants)
	if s.s != nil {
		f.wait.Go(func() { _ = s.s.Close() }) // which may wait for who reads
	}
}

// ask asks each peer for what there is to ask. mu is held.
func (f *fetch) ask(now time.Time) {
	if f.part.list == nil {
		return
	}
	for peer, s := range f.sessions {
		chunks, alone := f.swarm.next(peer, now)
		if len(chunks) > 0 && !s.wish(&want{Chunks: chunks}) || len(alone) > 0 && !s.wish(&want{Chunks: alone, Alone: true}) {
			f.drop(s, now)
		}
	}
}

// wish gives the writer something to say, and reports whether there was room. There is
// for all that may be under way, unless the peer answers what it has not read.
func (s *session) wish(w *want) bool {
	select {
	case s.wants <- w:
		return true
	default:
		return false
	}
}

// talk seeks the document at one peer.
func (f *fetch) talk(s *session) {
	err := f.seek(s)
	f.mu.Lock()
	f.drop(s, time.Now())
	f.mu.Unlock()
	if errors.Is(err, errProtocol) {
		f.d.liar(s.peer, err)
	} else if f.ctx.Err() == nil {
		f.d.log.Debug("document stream", slog.Any("err", err))
	}
}

func (f *fetch) seek(s *session) error {
	stream, err := f.d.c.Network.Open(f.ctx, s.peer)
	if err != nil {
		return err
	}
	defer stream.Close()
	f.mu.Lock()
	s.s = stream
	gone := f.sessions[s.peer] != s
	f.mu.Unlock()
	if gone {
		return errStuck
	}
	if err := send(stream, &seek{ID: f.x.ref.ID, Chunks: f.x.ref.Chunks, Size: f.x.ref.Size}); err != nil {
		return err
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		for w := range s.wants {
			if send(stream, w) != nil {
				_ = stream.Close() // the reader sees it
				break
			}
		}
		for range s.wants { // nobody is to find it full
		}
	})
	in := &receiver{r: hearing{stream, &s.heard}, limit: answerMax}
	for err == nil {
		var message any
		if message, err = in.next(); err == nil {
			err = f.take(s, message)
		}
	}
	f.mu.Lock()
	f.drop(s, time.Now()) // ends the writer
	f.mu.Unlock()
	_ = stream.Close()
	writer.Wait()
	return err
}

// take takes one message of a peer.
func (f *fetch) take(s *session, message any) error {
	now := time.Now()
	if c, ok := message.(*chunk); ok {
		return f.takeChunk(s, c, now)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sessions[s.peer] != s {
		return errStuck
	}
	switch m := message.(type) {
	case *list:
		if f.part.list != nil {
			return nil
		}
		if err := f.part.learn(m.Hashes); err != nil {
			if !errors.Is(err, errProtocol) {
				f.stop(err)
			}
			return err
		}
		f.d.mu.Lock()
		f.x.list = m.Hashes
		f.d.mu.Unlock()
	case *have:
		var has set
		copy(has[:], m.Chunks)
		f.swarm.offers(s.peer, has, now)
	case *later:
		if !f.swarm.later(s.peer, int(m.Index), now) {
			return errUnasked
		}
	default:
		return errUnasked
	}
	f.ask(now)
	return nil
}

// takeChunk keeps a chunk that is what it must be.
func (f *fetch) takeChunk(s *session, c *chunk, now time.Time) error {
	i := int(c.Index)
	f.mu.Lock()
	if f.sessions[s.peer] != s {
		f.mu.Unlock()
		return errStuck
	}
	if !f.swarm.asks(s.peer, i) {
		f.mu.Unlock()
		return errUnasked
	}
	before := f.swarm.held.has(i)
	f.mu.Unlock()
	if !f.part.fits(i, c.Data) {
		return errChunk
	}
	if !before {
		if err := f.part.write(i, c.Data); err != nil {
			f.end(err)
			return err
		}
		f.d.spend(f.x, len(c.Data))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sessions[s.peer] != s {
		return errStuck
	}
	f.swarm.got(s.peer, i, now)
	f.progress = now
	f.d.mu.Lock()
	f.x.held.add(i)
	f.x.tries = 0
	f.d.more(f.x)
	f.d.mu.Unlock()
	if f.swarm.whole() {
		f.stop(nil)
		return nil
	}
	f.ask(now)
	return nil
}
