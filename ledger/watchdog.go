package ledger

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// stallMargin is added to the heartbeat: a write that takes longer has stalled. The
// others elect some three heartbeats after the fence.
const stallMargin = 100 * time.Millisecond

// stallAfter is how long a leader waits for its disk. Raft's heartbeats do not wait for
// it (hashicorp/raft#503), so a leader whose disk hangs would lead for ever.
func stallAfter(heartbeat time.Duration) time.Duration {
	return min(heartbeat, HeartbeatDefault) + stallMargin
}

// A watchdog is a raft log that watches its disk. While a write hangs stalled has been
// called and recovered has not; after the first error failed has been called, nothing is
// written any more and the error comes again: what was written before it may be lost.
type watchdog struct {
	logs   raft.LogStore
	stable raft.StableStore
	limit  time.Duration

	stalled, recovered func()      // in turns, must not block
	failed             func(error) // once, must not block
	damaged            func(error) // what was read is not what was written; must not block
	latch              atomic.Pointer[error]
	once               sync.Once
}

func (w *watchdog) fail(err error) error {
	if err != nil {
		w.latch.CompareAndSwap(nil, &err)
		w.once.Do(func() { w.failed(err) })
	}
	return err
}

func (w *watchdog) latched() error {
	if err := w.latch.Load(); err != nil {
		return *err
	}
	return nil
}

func (w *watchdog) FirstIndex() (uint64, error)          { return w.logs.FirstIndex() }
func (w *watchdog) LastIndex() (uint64, error)           { return w.logs.LastIndex() }
func (w *watchdog) StoreLog(log *raft.Log) error         { return w.StoreLogs([]*raft.Log{log}) }
func (w *watchdog) Get(key []byte) ([]byte, error)       { return w.stable.Get(key) }
func (w *watchdog) GetUint64(key []byte) (uint64, error) { return w.stable.GetUint64(key) }

// IsMonotonic says that raft must drop the whole log after it restored a snapshot.
func (w *watchdog) IsMonotonic() bool { return true }

// GetLog reads an entry. Raft panics if it cannot be read, so a damaged one is returned:
// damaged has fenced this voter before, and the fsm does not take it either.
func (w *watchdog) GetLog(index uint64, log *raft.Log) error {
	err := w.logs.GetLog(index, log)
	if err == nil && log.Type == raft.LogCommand {
		if err := checkCommand(log.Data); err != nil {
			w.damaged(fmt.Errorf("entry %d: %w", index, err))
		}
	}
	return err
}

// StoreLogs returns once the logs are on disk.
func (w *watchdog) StoreLogs(logs []*raft.Log) error {
	if err := w.latched(); err != nil {
		return err
	}
	fired := make(chan struct{})
	timer := time.AfterFunc(w.limit, func() {
		defer close(fired)
		w.stalled()
	})
	err := w.logs.StoreLogs(logs)
	if !timer.Stop() {
		<-fired
		if err == nil {
			w.recovered()
		}
	}
	return w.fail(err)
}

// DeleteRange drops logs that a snapshot holds, or that a new leader does not have.
func (w *watchdog) DeleteRange(min, max uint64) error {
	if err := w.latched(); err != nil {
		return err
	}
	return w.fail(w.logs.DeleteRange(min, max))
}

// Set stores what raft must remember: votes and terms. Raft panics if a term cannot be
// stored. By the time that this returns the voter is fenced for good, so nobody hears
// what it does with a term that nobody stored.
func (w *watchdog) Set(key, value []byte) error {
	if w.latched() == nil {
		w.fail(w.stable.Set(key, value))
	}
	return nil
}

// SetUint64 is as Set.
func (w *watchdog) SetUint64(key []byte, value uint64) error {
	if w.latched() == nil {
		w.fail(w.stable.SetUint64(key, value))
	}
	return nil
}
