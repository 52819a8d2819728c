package document

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Bounds and times of asking.
const (
	askedMax   = 4 // chunks that one peer is asked for at once
	windowMin  = 2 // chunks that are under way from all peers together …
	windowMax  = 64
	windowFast = 2 * time.Second  // … more when one takes less
	windowSlow = 10 * time.Second // … fewer when one takes longer
	quietTime  = time.Second      // without news of others a peer is asked for what it put off
	twiceAfter = 10 * time.Second // what is under way for so long is asked of a second peer
)

// A swarm decides which chunks are asked of whom. It does no I/O and reads no clock,
// and is used by one goroutine at a time.
type swarm struct {
	n      int // chunks
	held   set
	window int
	flying int // asked, and not yet here
	peers  map[string]*source
	holds  [chunksMax]int   // how many of them hold a chunk
	asked  map[int][]asking // under way, at most two of each chunk
	random *rand.Rand
}

// A source is a peer that may hold something.
type source struct {
	has    set
	put    map[int]time.Time // put off then: others were given it
	flying int               // asked of it, and not yet here
	news   time.Time         // when it last told of more, or gave something
}

type asking struct {
	peer string
	at   time.Time
}

func newSwarm(n int, held set, random *rand.Rand) *swarm {
	return &swarm{n: n, held: held, window: 2 * windowMin, peers: map[string]*source{}, asked: map[int][]asking{}, random: random}
}

// join adds a peer of which nothing is known yet.
func (s *swarm) join(peer string) { s.peers[peer] = &source{put: map[int]time.Time{}} }

// leave forgets a peer, and what was asked of it.
func (s *swarm) leave(peer string) {
	for i := range s.n {
		s.answered(peer, i)
		if s.peers[peer].has.has(i) {
			s.holds[i]--
		}
	}
	delete(s.peers, peer)
}

// offers notes what a peer says that it holds.
func (s *swarm) offers(peer string, has set, now time.Time) {
	p := s.peers[peer]
	for i := range s.n {
		if has.has(i) && !p.has.has(i) {
			p.has.add(i)
			p.news = now
			s.holds[i]++
		}
	}
}

// next returns what a peer is asked for now, if anything: what fewest peers hold, by
// chance among those, so that all do not ask for the same. alone is what it has put off
// and nobody else has had news of since.
func (s *swarm) next(peer string, now time.Time) (chunks, alone []uint8) {
	p := s.peers[peer]
	if p.flying > askedMax/2 { // several at once are fewer messages
		return nil, nil
	}
	for p.flying < askedMax && s.flying < s.window {
		i := s.choose(peer, p, now)
		if i < 0 {
			break
		}
		s.asked[i] = append(s.asked[i], asking{peer, now})
		p.flying++
		s.flying++
		if p.put[i].IsZero() {
			chunks = append(chunks, uint8(i))
		} else {
			alone = append(alone, uint8(i))
			delete(p.put, i)
		}
	}
	return chunks, alone
}

// choose returns a chunk for a peer, -1 if there is none.
func (s *swarm) choose(peer string, p *source, now time.Time) (best int) {
	best = -1
	least, same := 0, 0
	quiet := len(p.put) > 0 && s.quiet(peer, now)
	for i := range s.n {
		if s.held.has(i) || !p.has.has(i) || !s.free(peer, i, now) {
			continue
		}
		if at, off := p.put[i]; off && (!quiet || now.Sub(at) < quietTime) {
			continue
		}
		weight := s.holds[i] + len(s.asked[i])*(len(s.peers)+1) // what is under way comes last
		switch {
		case best < 0 || weight < least:
			best, least, same = i, weight, 1
		case weight == least:
			if same++; s.random.IntN(same) == 0 {
				best = i
			}
		}
	}
	return best
}

// free reports whether a chunk may be asked of a peer: it is under way from nobody, or
// from one other peer for long.
func (s *swarm) free(peer string, i int, now time.Time) bool {
	a := s.asked[i]
	return len(a) == 0 || len(a) == 1 && a[0].peer != peer && now.Sub(a[0].at) >= twiceAfter
}

// quiet reports whether no other peer had anything new for a while.
func (s *swarm) quiet(peer string, now time.Time) bool {
	for id, p := range s.peers {
		if id != peer && !p.news.IsZero() && now.Sub(p.news) < quietTime {
			return false
		}
	}
	return true
}

// got notes that a peer gave a chunk for which it was asked.
func (s *swarm) got(peer string, i int, now time.Time) {
	at, _ := s.answered(peer, i)
	switch took := now.Sub(at); {
	case took > windowSlow:
		s.window = max(windowMin, s.window/2)
	case took < windowFast:
		s.window = min(windowMax, s.window+1)
	}
	s.held.add(i)
	s.peers[peer].news = now
}

// later notes that a peer puts a chunk off, and reports whether it was asked for it.
func (s *swarm) later(peer string, i int, now time.Time) bool {
	_, asked := s.answered(peer, i)
	if asked {
		s.peers[peer].put[i] = now
	}
	return asked
}

// asks reports whether a chunk is under way from a peer.
func (s *swarm) asks(peer string, i int) bool {
	return slices.ContainsFunc(s.asked[i], func(a asking) bool { return a.peer == peer })
}

// overdue reports whether a peer takes longer than so for a chunk.
func (s *swarm) overdue(peer string, now time.Time, than time.Duration) bool {
	for _, all := range s.asked {
		if slices.ContainsFunc(all, func(a asking) bool { return a.peer == peer && now.Sub(a.at) > than }) {
			return true
		}
	}
	return false
}

// answered takes back what was asked of a peer.
func (s *swarm) answered(peer string, i int) (at time.Time, asked bool) {
	for j, a := range s.asked[i] {
		if a.peer != peer {
			continue
		}
		if s.asked[i] = append(s.asked[i][:j], s.asked[i][j+1:]...); len(s.asked[i]) == 0 {
			delete(s.asked, i)
		}
		s.peers[peer].flying--
		s.flying--
		return a.at, true
	}
	return time.Time{}, false
}

// whole reports whether nothing is missing.
func (s *swarm) whole() bool { return s.held.count() == s.n }
