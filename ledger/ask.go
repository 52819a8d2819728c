package ledger

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Limits of questions to other members.
const (
	askTimeout = 10 * time.Second // for one answer, unless the context ends before
	idleMax    = 4                // streams to one peer that are kept open between questions
	idleFor    = 10 * time.Second // how long; less than serveIdle
)

// An asker puts questions to peers. It keeps streams open for the next question,
// since a mirror that catches up asks thousands. It is safe for concurrent use.
type asker struct {
	network Network

	mu     sync.Mutex
	idle   map[string][]idleStream // by peer
	closed bool
}

type idleStream struct {
	stream Stream
	since  time.Time
}

func newAsker(n Network) *asker { return &asker{network: n, idle: map[string][]idleStream{}} }

// ask returns a peer's answer of type M. A refusal is an error of type refusal.
func ask[M message](ctx context.Context, a *asker, peer string, question message) (answer M, err error) {
	m, err := a.ask(ctx, peer, question)
	if err != nil {
		return answer, err
	}
	switch m := m.(type) {
	case M:
		return m, nil
	case *refused:
		return answer, m.Reason
	}
	return answer, fmt.Errorf("%w: %T answers %T", errFrame, m, question)
}

func (a *asker) ask(ctx context.Context, peer string, question message) (message, error) {
	if s, ok := a.take(peer); ok {
		// The peer may have ended an idle stream: then a new one is opened.
		if m, err := a.exchange(ctx, peer, s, question); err == nil || ctx.Err() != nil {
			return m, err
		}
	}
	s, err := a.network.Open(ctx, peer, Protocol)
	if err != nil {
		return nil, fmt.Errorf("open a ledger stream: %w", err)
	}
	return a.exchange(ctx, peer, s, question)
}

func (a *asker) exchange(ctx context.Context, peer string, s Stream, question message) (message, error) {
	deadline := time.Now().Add(askTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	s.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	if err := writeFrame(s, question); err != nil {
		s.Reset()
		return nil, fmt.Errorf("ask: %w", err)
	}
	m, err := readFrame(s, frameMax)
	if err != nil {
		s.Reset()
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if stop() {
		a.keep(peer, s)
	}
	return m, nil
}

func (a *asker) take(peer string) (Stream, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for list := a.idle[peer]; len(list) > 0; list = a.idle[peer] {
		last := list[len(list)-1]
		a.set(peer, list[:len(list)-1])
		if time.Since(last.since) < idleFor {
			return last.stream, true
		}
		last.stream.Reset()
	}
	return nil, false
}

func (a *asker) keep(peer string, s Stream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || len(a.idle[peer]) >= idleMax {
		s.Close()
		return
	}
	a.idle[peer] = append(a.idle[peer], idleStream{s, time.Now()})
}

func (a *asker) set(peer string, list []idleStream) {
	if len(list) == 0 {
		delete(a.idle, peer)
		return
	}
	a.idle[peer] = list
}

// tidy ends streams that nobody has used for a while.
func (a *asker) tidy() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for peer, list := range a.idle {
		for len(list) > 0 && time.Since(list[0].since) >= idleFor {
			list[0].stream.Close()
			list = list[1:]
		}
		a.set(peer, list)
	}
}

func (a *asker) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, list := range a.idle {
		for _, s := range list {
			s.stream.Reset()
		}
	}
	a.idle = nil
}
