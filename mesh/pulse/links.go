package pulse

import (
	"bufio"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of links.
const (
	linksMax    = 2048             // in all
	linksEach   = 3                // with one peer: both may begin one at once, and a dead one may still be there
	queueMax    = 64               // frames that wait for a slow peer; more are dropped, as datagrams would be
	framesEvery = 32               // a second that are read of a link …
	framesBurst = 256              // … after so many at once; faster ones wait in the stream
	writeTime   = 10 * time.Second // for one frame, or the link ends
	idleTime    = 2 * time.Minute  // without a frame a link ends
	helloTime   = 10 * time.Second
	openTime    = 5 * time.Second
	takeEvery   = time.Second // one that a peer opens
	opensMax    = 16          // at once
	opensTend   = 8           // that tend begins at once
	openAgain   = 4 * time.Second
	hubsWanted  = 4                // live hubs that a member that is no hub is linked to
	hubQuiet    = 12 * time.Second // without a frame another hub is taken …
	avoidQuiet  = 10 * time.Second // … and this one left alone for so long
	avoidOther  = 10 * time.Minute // as is one that is no hub, or says that it does not hear us
)

// links are the streams with other members, few a peer and long-lived. It is safe for
// concurrent use.
type links struct {
	p *Pulse

	mu      sync.Mutex // guards what follows
	closed  bool
	all     map[string][]*link // by peer, the newest last
	count   int
	opening map[string][]frame   // what waits for a link that is being opened
	tried   map[string]time.Time // when one was last opened from here
	taken   map[string]time.Time // when one was last opened from there
	avoid   map[string]time.Time // until then it is not taken for a hub
}

// A link is one stream, and what waits to be written to it.
type link struct {
	s     Stream
	queue chan frame
	done  chan struct{} // closed when it ends

	since time.Time
	// Guarded by links.mu.
	hub   bool      // the other says that it is one
	known bool      // its hello has come
	heard time.Time // its last frame
	ended bool
}

func newLinks(p *Pulse) *links {
	return &links{p: p, all: map[string][]*link{}, opening: map[string][]frame{}, tried: map[string]time.Time{}, taken: map[string]time.Time{}, avoid: map[string]time.Time{}}
}

// take serves a link that a member has opened.
func (l *links) take(peer string, s Stream) {
	now := time.Now()
	l.mu.Lock()
	early := now.Sub(l.taken[peer]) < takeEvery
	if !early {
		l.taken[peer] = now
	}
	l.mu.Unlock()
	if early {
		_ = s.Reset()
		return
	}
	if k := l.add(peer, s, nil); k != nil && !l.p.spawn(func() { l.read(peer, k) }) {
		l.end(peer, k)
	}
}

// add begins a link, with what is to be said first. nil = there are too many.
func (l *links) add(peer string, s Stream, first []frame) *link {
	now := time.Now()
	k := &link{s: s, queue: make(chan frame, queueMax), done: make(chan struct{}), since: now, heard: now}
	k.queue <- hello(l.p.c.Hub)
	for _, f := range first {
		k.queue <- f
	}
	l.mu.Lock()
	var old *link
	if len(l.all[peer]) >= linksEach {
		old = l.all[peer][0]
	}
	if l.closed || l.count >= linksMax && old == nil {
		l.mu.Unlock()
		_ = s.Reset()
		return nil
	}
	l.all[peer] = append(l.all[peer], k)
	l.count++
	l.mu.Unlock()
	if old != nil {
		l.end(peer, old)
	}
	if !l.p.spawn(func() { l.write(peer, k) }) {
		l.end(peer, k)
		return nil
	}
	return k
}

// end forgets a link and resets its stream, which ends both its goroutines.
func (l *links) end(peer string, k *link) {
	l.mu.Lock()
	was := k.ended
	if !was {
		k.ended = true
		l.count--
		l.all[peer] = slices.DeleteFunc(l.all[peer], func(o *link) bool { return o == k })
		if len(l.all[peer]) == 0 {
			delete(l.all, peer)
		}
	}
	l.mu.Unlock()
	if !was {
		close(k.done)
		_ = k.s.Reset()
	}
}

func (l *links) write(peer string, k *link) {
	defer l.end(peer, k)
	for {
		select {
		case f := <-k.queue:
			if k.s.SetWriteDeadline(time.Now().Add(writeTime)) != nil {
				return
			}
			if _, err := k.s.Write(f.bytes()); err != nil {
				return
			}
		case <-k.done:
			return
		}
	}
}

func (l *links) read(peer string, k *link) {
	defer l.end(peer, k)
	l.p.blame(peer, l.frames(peer, k))
}

// frames reads until something is wrong. Of a peer that sends fast it reads slowly.
func (l *links) frames(peer string, k *link) error {
	r := bufio.NewReader(k.s)
	if err := k.s.SetReadDeadline(time.Now().Add(helloTime)); err != nil {
		return err
	}
	f, err := readFrame(r)
	if err != nil {
		return err
	}
	hub, err := greeted(f)
	if err != nil {
		return &refusal{err}
	}
	l.greet(peer, k, hub)
	pace := rate.NewLimiter(framesEvery, framesBurst)
	for {
		if err := k.s.SetReadDeadline(time.Now().Add(idleTime)); err != nil {
			return err
		}
		f, err := readFrame(r)
		if err != nil {
			return err
		}
		if !l.p.region.Load().has(peer) {
			return errors.New("no member any more")
		}
		l.mu.Lock()
		k.heard = time.Now()
		l.mu.Unlock()
		l.p.hears(peer)
		if err := l.handle(peer, k, f); err != nil {
			return err
		}
		if err := pace.Wait(l.p.ctx); err != nil {
			return err
		}
	}
}

// greet notes what a hello says. Where a hub can be dialled is often known here only
// after it has come by itself.
func (l *links) greet(peer string, k *link, hub bool) {
	l.mu.Lock()
	k.hub, k.known, k.heard = hub, true, time.Now()
	if !hub {
		l.avoid[peer] = time.Now().Add(avoidOther)
	}
	l.mu.Unlock()
	l.p.hears(peer)
}

func (l *links) handle(peer string, k *link, f frame) error {
	switch f.kind {
	case framePing:
		k.put(frame{kind: framePong})
	case framePong: // that it came is all it says
	case frameAges:
		if !k.hub {
			return &refusal{errors.New("ages from one that is no hub")}
		}
		ages, err := readReport(f.body, l.p.region.Load().tags)
		if err != nil {
			return &refusal{err}
		}
		now := time.Now()
		l.p.mu.Lock()
		l.p.ears.learn(peer, ages, now)
		l.p.mu.Unlock()
	case framePacket:
		if l.p.swim != nil && l.p.region.Load().members[peer].dialable {
			return l.p.swim.transport.receive(peer, f.body)
		}
	default:
		return &refusal{errors.New("a second hello")}
	}
	return nil
}

// put queues a frame, or drops it.
func (k *link) put(f frame) {
	select {
	case k.queue <- f:
	default:
	}
}

// send queues a frame for a peer and reports whether there is a link for it.
func (l *links) send(peer string, f frame) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all[peer]
	if len(all) == 0 {
		return false
	}
	best := all[len(all)-1]
	for _, k := range all { // a link whose other end has answered, if there is one
		if k.known && (!best.known || k.heard.After(best.heard)) {
			best = k
		}
	}
	best.put(f)
	return true
}

// reach sends a frame to a peer that can be dialled, and opens a link if there is none.
// It never waits.
func (l *links) reach(peer string, f frame) {
	if l.send(peer, f) {
		return
	}
	l.mu.Lock()
	waiting, opens := l.opening[peer]
	switch {
	case l.closed:
	case opens:
		if len(waiting) < queueMax/2 {
			l.opening[peer] = append(waiting, f)
		}
	case len(l.opening) < opensMax && time.Since(l.tried[peer]) >= openAgain:
		l.opening[peer] = []frame{f}
		l.tried[peer] = time.Now()
		l.mu.Unlock()
		if !l.p.spawn(func() { l.open(peer) }) {
			l.mu.Lock()
			delete(l.opening, peer)
			l.mu.Unlock()
		}
		return
	}
	l.mu.Unlock()
}

func (l *links) open(peer string) {
	ctx, cancel := context.WithTimeout(l.p.ctx, openTime)
	defer cancel()
	s, err := l.p.c.Network.Open(ctx, peer, protocolLink)
	l.mu.Lock()
	first := l.opening[peer]
	delete(l.opening, peer)
	l.mu.Unlock()
	if err != nil {
		return // whoever wants it tries again
	}
	if k := l.add(peer, s, first); k != nil {
		l.read(peer, k)
	}
}

// peers are those that there is a link with.
func (l *links) peers() (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for peer := range l.all {
		out = append(out, peer)
	}
	return out
}

// tend keeps this node linked: a hub to all that can be dialled, everybody else to
// hubsWanted hubs that live and hear it.
func (l *links) tend() {
	now := time.Now()
	r := l.p.region.Load()
	l.p.mu.Lock()
	denied := map[string]bool{}
	for _, id := range l.p.ears.reporters() {
		denied[id] = l.p.ears.denies(id, now)
	}
	l.p.mu.Unlock()

	var quiet []*link
	var quietPeers []string
	hubs := 0
	l.mu.Lock()
	for peer, all := range l.all {
		good := false
		for _, k := range all {
			switch {
			case !k.hub:
			case now.Sub(k.heard) > hubQuiet:
				quiet, quietPeers = append(quiet, k), append(quietPeers, peer)
				l.avoid[peer] = now.Add(avoidQuiet)
			case denied[peer] && now.Sub(k.since) > hubQuiet:
				l.avoid[peer] = now.Add(avoidOther)
			default:
				good = true
			}
		}
		if good {
			hubs++
		}
	}
	var wanted []string
	for peer, m := range r.members {
		if m.dialable && peer != l.p.c.Self && len(l.all[peer]) == 0 && (l.p.c.Hub || now.After(l.avoid[peer])) {
			wanted = append(wanted, peer)
		}
	}
	for peer := range l.avoid {
		if !r.has(peer) || now.After(l.avoid[peer]) {
			delete(l.avoid, peer)
		}
	}
	for _, m := range []map[string]time.Time{l.tried, l.taken} {
		for peer := range m {
			if !r.has(peer) {
				delete(m, peer)
			}
		}
	}
	l.mu.Unlock()
	for i, k := range quiet {
		l.end(quietPeers[i], k)
	}
	rand.Shuffle(len(wanted), func(i, j int) { wanted[i], wanted[j] = wanted[j], wanted[i] })
	most := opensTend
	if !l.p.c.Hub {
		most = min(most, max(hubsWanted-hubs, 0)+1) // one may be no hub, or not be there
		if hubs >= hubsWanted {
			most = 0
		}
	}
	for _, peer := range wanted[:min(most, len(wanted))] {
		l.reach(peer, frame{kind: framePing})
	}
}

// close ends all links. Nobody may begin one after it.
func (l *links) close() {
	l.mu.Lock()
	l.closed = true
	type one struct {
		peer string
		k    *link
	}
	var all []one
	for peer, ks := range l.all {
		for _, k := range ks {
			all = append(all, one{peer, k})
		}
	}
	l.mu.Unlock()
	for _, o := range all {
		l.end(o.peer, o.k)
	}
}
