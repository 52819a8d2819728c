package ledger

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits of what one peer may ask.
const (
	serveIdle    = 30 * time.Second // until the next question on a stream
	serveTimeout = 10 * time.Second // for one answer
	peerStreams  = 16               // at once
	peerRate     = 400              // questions a second
	peerBurst    = 1200
	peersRated   = 4096 // whose rates are remembered
	costlyRate   = 100  // of those, such as cost signatures or a word with the leader, a second
	costlyBurst  = 400
)

// A server answers the questions of members.
type server struct {
	answer func(ctx context.Context, peer string, question message) (message, error)
	member func(peer string) bool

	mu    sync.Mutex
	peers map[string]*asking
	wait  sync.WaitGroup
	ctx   context.Context
	stop  context.CancelFunc
}

// asking is what one peer takes up.
type asking struct {
	streams     int
	all, costly *rate.Limiter
}

func newServer(member func(string) bool, answer func(context.Context, string, message) (message, error)) *server {
	s := &server{answer: answer, member: member, peers: map[string]*asking{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

func (s *server) close() {
	s.mu.Lock()
	s.stop() // nobody enters after it
	s.mu.Unlock()
	s.wait.Wait()
}

// handle serves one stream.
func (s *server) handle(peer string, stream Stream) {
	p := s.enter(peer)
	if p == nil {
		stream.Reset()
		return
	}
	defer s.leave(p)
	stop := context.AfterFunc(s.ctx, func() { stream.Reset() })
	defer stop()
	for {
		stream.SetDeadline(time.Now().Add(serveIdle))
		question, err := readFrame(stream, askMax)
		if err != nil || !s.member(peer) {
			stream.Reset()
			return
		}
		stream.SetDeadline(time.Now().Add(2 * serveTimeout))
		if err := writeFrame(stream, s.respond(peer, p, question)); err != nil {
			stream.Reset()
			return
		}
	}
}

func (s *server) respond(peer string, p *asking, question message) message {
	if !p.all.Allow() || isCostly(question) && !p.costly.Allow() {
		return &refused{refusedLater}
	}
	ctx, cancel := context.WithTimeout(s.ctx, serveTimeout)
	defer cancel()
	m, err := s.answer(ctx, peer, question)
	var why refusal
	switch {
	case err == nil:
		return m
	case errors.As(err, &why):
		return &refused{why}
	case errors.Is(err, fs.ErrNotExist):
		return &refused{refusedUnknown}
	}
	return &refused{refusedLater}
}

func isCostly(question message) bool {
	switch question.(type) {
	case *askNote, *askMine, *askTile:
		return false
	}
	return true
}

// enter counts a stream of a peer, nil if it has too many.
func (s *server) enter(peer string) *asking {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[peer]
	if p == nil {
		s.forget()
		p = &asking{all: rate.NewLimiter(peerRate, peerBurst), costly: rate.NewLimiter(costlyRate, costlyBurst)}
		s.peers[peer] = p
	}
	if p.streams >= peerStreams || s.ctx.Err() != nil {
		return nil
	}
	p.streams++
	s.wait.Add(1)
	return p
}

func (s *server) leave(p *asking) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.streams--
	s.wait.Done()
}

// forget makes room among the peers whose rates are known: those that ask nothing now
// and have asked little lately.
func (s *server) forget() {
	if len(s.peers) < peersRated {
		return
	}
	for peer, p := range s.peers {
		if p.streams == 0 && p.all.Tokens() >= peerBurst-1 {
			delete(s.peers, peer)
		}
	}
}
