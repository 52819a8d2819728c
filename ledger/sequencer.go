package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// packsInFlight is how many packs are under way: one is written and replicated
	// while the next is made.
	packsInFlight = 2
	// waitingMax is how many entries wait to be packed; who appends more waits.
	waitingMax = 16 * packEntriesMax
	// markEvery is after how many packs the leader says what its tree is, markAfter
	// how long at most once it has grown.
	markEvery = 256
	markAfter = 10 * time.Second
)

// A sequencer packs entries of many callers into raft commands.
type sequencer struct {
	propose func(command []byte) raft.ApplyFuture
	mark    func() ([]byte, error) // a mark of what is applied
	now     func() time.Time
	observe func(seconds float64)

	slots chan struct{} // packsInFlight
	kick  chan struct{} // capacity 1
	done  chan struct{}
	wait  sync.WaitGroup

	mu     sync.Mutex
	queue  []item
	room   chan struct{} // closed and replaced when the queue shrinks
	open   error         // why nothing is taken, nil while this node leads
	flying map[*pack]struct{}
}

// An item is one entry of a call.
type item struct {
	entry []byte
	call  *call
	at    int // in the call
}

// A call is one Append.
type call struct {
	mu   sync.Mutex
	out  []Appended
	left int
	err  error
	done chan struct{} // closed when every entry has an answer
}

// A pack is a command under way.
type pack struct {
	items []item
	began time.Time
}

func newSequencer(propose func([]byte) raft.ApplyFuture, mark func() ([]byte, error), now func() time.Time, observe func(float64)) *sequencer {
	s := &sequencer{
		propose: propose, mark: mark, now: now, observe: observe,
		slots: make(chan struct{}, packsInFlight), kick: make(chan struct{}, 1), done: make(chan struct{}),
		room: make(chan struct{}), open: ErrNotLeader{}, flying: map[*pack]struct{}{},
	}
	s.wait.Go(s.run)
	return s
}

// append queues entries and waits for their places.
func (s *sequencer) append(ctx context.Context, entries [][]byte) ([]Appended, error) {
	entries = copied(entries) // the caller may come back before they are packed
	c := &call{out: make([]Appended, len(entries)), left: len(entries), done: make(chan struct{})}
	for at := 0; at < len(entries); {
		n, err := s.enqueue(ctx, c, entries, at)
		if err != nil {
			return nil, err
		}
		at += n
	}
	select {
	case <-c.done:
		return c.out, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func copied(entries [][]byte) [][]byte {
	size := 0
	for _, e := range entries {
		size += len(e)
	}
	out, buf := make([][]byte, len(entries)), make([]byte, 0, size)
	for i, e := range entries {
		buf = append(buf, e...)
		out[i] = buf[len(buf)-len(e):]
	}
	return out
}

// enqueue queues as many entries of a call as there is room for, at least one.
func (s *sequencer) enqueue(ctx context.Context, c *call, entries [][]byte, at int) (int, error) {
	for {
		s.mu.Lock()
		if s.open != nil {
			defer s.mu.Unlock()
			return 0, s.open
		}
		if n := min(waitingMax-len(s.queue), len(entries)-at); n > 0 {
			for i := range n {
				s.queue = append(s.queue, item{entries[at+i], c, at + i})
			}
			s.mu.Unlock()
			s.wake()
			return n, nil
		}
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (s *sequencer) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// lead opens the sequencer.
func (s *sequencer) lead() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = nil
}

// stop closes the sequencer and answers everybody who waits. What is under way may
// still be committed.
func (s *sequencer) stop(why error) {
	s.mu.Lock()
	queue, flying := s.queue, s.flying
	s.queue, s.flying, s.open = nil, map[*pack]struct{}{}, why
	close(s.room)
	s.room = make(chan struct{})
	s.mu.Unlock()
	for p := range flying {
		answer(p.items, nil, ErrNoQuorum)
	}
	answer(queue, nil, why)
}

func (s *sequencer) close() {
	s.stop(ErrClosed)
	close(s.done)
	s.wait.Wait()
}

// run makes packs, in the order of the queue.
func (s *sequencer) run() {
	packs := 0
	tick := time.NewTicker(markAfter)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case s.slots <- struct{}{}:
		}
		p := s.next()
		for p == nil {
			select {
			case <-s.done:
				return
			case <-s.kick:
			case <-tick.C:
				if packs > 0 {
					packs = markEvery
				}
			}
			if p = s.next(); p == nil && packs >= markEvery {
				break
			}
		}
		if packs >= markEvery {
			packs = 0
			s.stamp()
		}
		if p == nil {
			<-s.slots
			continue
		}
		packs++
		s.send(p)
	}
}

// next takes a pack off the queue, nil when it is empty.
func (s *sequencer) next() *pack {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil
	}
	n, size := 0, 0
	for n < min(len(s.queue), packEntriesMax) && (n == 0 || size+2+len(s.queue[n].entry) <= packBytesMax) {
		size += 2 + len(s.queue[n].entry)
		n++
	}
	p := &pack{items: s.queue[:n:n], began: time.Now()}
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil // lets go of the array
	}
	s.flying[p] = struct{}{}
	close(s.room)
	s.room = make(chan struct{})
	return p
}

// send proposes a pack. Its slot is free when it is answered.
func (s *sequencer) send(p *pack) {
	size := packHead
	for _, i := range p.items {
		size += 2 + len(i.entry)
	}
	command := append(make([]byte, 0, size), newPack(s.now().UnixMilli())...)
	for _, i := range p.items {
		command = addToPack(command, i.entry)
	}
	future := s.propose(seal(command))
	s.wait.Go(func() {
		err := future.Error()
		<-s.slots
		s.mu.Lock()
		_, waits := s.flying[p]
		delete(s.flying, p)
		s.mu.Unlock()
		if !waits {
			return // stop has answered
		}
		var places []Appended
		if err != nil {
			err = appendError(err)
		} else {
			places, err = applied(future.Response(), len(p.items))
			s.observe(time.Since(p.began).Seconds())
		}
		answer(p.items, places, err)
	})
}

// applied reads what the fsm answered.
func applied(response any, n int) ([]Appended, error) {
	switch r := response.(type) {
	case []Appended:
		if len(r) == n {
			return r, nil
		}
	case error:
		return nil, r
	}
	return nil, fmt.Errorf("%w: the fsm's answer is not for this pack", ErrClosed)
}

// answer gives each entry its place, or all of them an error.
func answer(items []item, places []Appended, err error) {
	for k, i := range items {
		c := i.call
		c.mu.Lock()
		if err != nil {
			c.err = err
		} else {
			c.out[i.at] = places[k]
		}
		if c.left--; c.left == 0 {
			if c.err != nil {
				c.out = nil
			}
			close(c.done)
		}
		c.mu.Unlock()
	}
}

// stamp proposes a mark. Nobody waits for it.
func (s *sequencer) stamp() {
	if m, err := s.mark(); err == nil {
		s.propose(m)
	}
}

// appendError says in our words why raft did not commit.
func appendError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader):
		return ErrNotLeader{}
	case errors.Is(err, raft.ErrRaftShutdown):
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrNoQuorum, err)
}
