package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// A proposal waits until the test commits it.
type proposal struct {
	raft.ApplyFuture // nil: the sequencer uses nothing else
	command          []byte
	done             chan struct{}
	stopped          chan struct{} // the end of the test
	err              error
	response         any
}

func (p *proposal) Error() error {
	select {
	case <-p.done:
		return p.err
	case <-p.stopped:
		return raft.ErrRaftShutdown
	}
}

func (p *proposal) Response() any { return p.response }

// commit answers as the fsm does, at an index.
func (p *proposal) commit(t *testing.T, at uint64) int {
	t.Helper()
	if err := checkCommand(p.command); err != nil {
		t.Fatal(err)
	}
	_, entries, err := decodePack(p.command)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]Appended, len(entries))
	for i := range out {
		out[i].Index = at + uint64(i)
	}
	p.response = out
	close(p.done)
	return len(entries)
}

func newTestSequencer(t *testing.T) (*sequencer, chan *proposal) {
	proposals := make(chan *proposal)
	stopped := make(chan struct{})
	s := newSequencer(func(b []byte) raft.ApplyFuture {
		p := &proposal{command: b, done: make(chan struct{}), stopped: stopped}
		select {
		case proposals <- p:
		case <-stopped:
		}
		return p
	}, func() ([]byte, error) { return nil, errors.New("no mark") }, time.Now, func(float64) {})
	t.Cleanup(func() {
		close(stopped)
		s.close()
	})
	return s, proposals
}

func TestSequencerPacks(t *testing.T) {
	s, proposals := newTestSequencer(t)
	if _, err := s.append(t.Context(), numbered(0, 1)); !errors.As(err, new(ErrNotLeader)) {
		t.Fatalf("before it leads: %v", err)
	}
	s.lead()
	var wait sync.WaitGroup
	wait.Go(func() {
		out, err := s.append(t.Context(), numbered(0, 3*packEntriesMax))
		if err != nil {
			t.Error(err)
			return
		}
		for i, a := range out {
			if a.Index != uint64(i) {
				t.Errorf("entry %d is at %d", i, a.Index)
				return
			}
		}
	})
	first, second := <-proposals, <-proposals // two are under way
	select {
	case <-proposals:
		t.Fatal("a third pack while two are under way")
	case <-time.After(50 * time.Millisecond):
	}
	for i, p := range []*proposal{first, second} {
		if n := p.commit(t, uint64(i)*packEntriesMax); n != packEntriesMax {
			t.Errorf("pack of %d", n)
		}
	}
	(<-proposals).commit(t, 2*packEntriesMax)
	wait.Wait()
}

func TestSequencerGivesUp(t *testing.T) {
	s, proposals := newTestSequencer(t)
	s.lead()
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := s.append(ctx, numbered(0, 1))
		gone <- err
	}()
	p := <-proposals
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatalf("a caller that gave up: %v", err)
	}
	p.commit(t, 0) // committed all the same

	lost := make(chan error)
	for range 2 {
		go func() {
			_, err := s.append(t.Context(), numbered(1, 2))
			lost <- err
		}()
	}
	p = <-proposals
	s.stop(ErrNotLeader{})
	for range 2 {
		if err := <-lost; !errors.Is(err, ErrNoQuorum) && !errors.As(err, new(ErrNotLeader)) {
			t.Errorf("what was under way when the lead was lost: %v", err)
		}
	}
	p.err = raft.ErrLeadershipLost
	close(p.done)
}

func TestSequencerIsBounded(t *testing.T) {
	s, proposals := newTestSequencer(t)
	s.lead()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	done := make(chan error)
	go func() {
		_, err := s.append(ctx, numbered(0, waitingMax+4*packEntriesMax))
		done <- err
	}()
	<-proposals
	<-proposals
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("more than there is room for: %v", err)
	}
	s.mu.Lock()
	n := len(s.queue)
	s.mu.Unlock()
	if n > waitingMax {
		t.Errorf("%d entries wait, want at most %d", n, waitingMax)
	}
}

func TestSequencerErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want error
	}{{raft.ErrLeadershipLost, ErrNoQuorum}, {raft.ErrRaftShutdown, ErrClosed}, {raft.ErrLeadershipTransferInProgress, ErrNoQuorum}, {raft.ErrAbortedByRestore, ErrNoQuorum}} {
		if got := appendError(fmt.Errorf("raft: %w", c.err)); !errors.Is(got, c.want) {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
	if got := appendError(raft.ErrNotLeader); !errors.As(got, new(ErrNotLeader)) {
		t.Errorf("not the leader: %v", got)
	}
}
