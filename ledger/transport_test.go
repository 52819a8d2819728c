package ledger

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// A full pipeline takes nothing before it is closed, as raft's own does when nobody takes the
// answers.
type full struct {
	raft.AppendPipeline
	once   sync.Once
	closed chan struct{}
}

func (f *full) AppendEntries(*raft.AppendEntriesRequest, *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	<-f.closed
	return nil, raft.ErrPipelineShutdown
}

func (f *full) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// A pipeline that is stuck is closed, after a time or when raft ends.
func TestFullPipelineIsClosed(t *testing.T) {
	for name, answer := range map[string]time.Duration{"after a time": time.Millisecond, "at the end": time.Hour} {
		t.Run(name, func(t *testing.T) {
			inner := &full{closed: make(chan struct{})}
			g := &gate{answer: answer, pipes: map[*pipe]struct{}{}}
			p := &pipe{inner, g}
			g.pipes[p] = struct{}{}
			told := make(chan error, 1)
			go func() {
				_, err := p.AppendEntries(nil, nil)
				told <- err
			}()
			if answer == time.Hour {
				g.hangUp()
			}
			select {
			case err := <-told:
				if !errors.Is(err, raft.ErrPipelineShutdown) {
					t.Errorf("who sends hears %v", err)
				}
			case <-time.After(30 * time.Second):
				_ = inner.Close()
				t.Fatal("who sends waits for ever")
			}
			if err := p.Close(); err != nil || len(g.pipes) != 0 {
				t.Errorf("closed with %v, %d are left", err, len(g.pipes))
			}
		})
	}
}
