package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/alert/sink"
	"github.com/watchward/watchward/node/store"
)

// Bounds of what waits for a sink.
const (
	outgoingMax  = 1_000          // messages
	outgoingLife = 24 * time.Hour // then one is given up
	outgoingRead = 16             // that are read at once
	sinkBackMin  = time.Second    // after the first failure; twice as long after each
	sinkBackMax  = 5 * time.Minute
	sinkTries    = 5 // failures in a row after which people hear of it, and the next sink is told
	refusedTries = 3 // after which what a sink will never take is given up
)

// A sinkQueue brings what waits for one sink there, the oldest first. Each sink has its own:
// one that hangs keeps nobody else waiting.
type sinkQueue struct {
	a       *alerting
	name    string
	way     sink.Sink
	wake    chan struct{}
	waiting atomic.Int64

	mu     sync.Mutex // guards what follows
	failed string     // why the last try failed, "" if it did not
	since  time.Time  // of failing
	sent   time.Time  // the last that was
}

func newSinkQueue(a *alerting, name string, way sink.Sink) *sinkQueue {
	return &sinkQueue{a: a, name: name, way: way, wake: make(chan struct{}, 1)}
}

func (q *sinkQueue) hear() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run sends until the node stops.
func (q *sinkQueue) run() {
	ctx := q.a.n.ctx
	for ctx.Err() == nil {
		out, err := q.a.n.store.Outgoing(q.name, outgoingRead)
		for _, o := range out {
			if err = q.bring(ctx, o); err != nil {
				break
			}
		}
		if errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrBroken) {
			return
		}
		if err != nil {
			if ctx.Err() == nil {
				q.a.n.log.Error("alerts are not sent yet: trying again", slog.String("sink", q.name), slog.Any("err", err))
			}
			pause(ctx, alertsAgain)
			continue
		}
		if len(out) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-q.wake:
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// bring sends one message until the sink has it or it is given up, and takes it off the
// queue. An error is the store's, or that ctx ended.
func (q *sinkQueue) bring(ctx context.Context, o store.Outgoing) error {
	var m alert.Message
	if err := canon.Unmarshal(o.Message, &m); err != nil {
		q.a.n.log.Error("a message that waits for a sink cannot be read: it is dropped", slog.String("sink", q.name), slog.Any("err", err))
		return q.done(ctx, o)
	}
	back := sinkBackMin
	for tries := 1; ; tries++ {
		err := q.send(ctx, m)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		q.note(err)
		if err == nil {
			return q.done(ctx, o)
		}
		var refused *sink.Refused
		old := q.a.n.now().UnixMilli() - m.Time
		over := old > outgoingLife.Milliseconds() || errors.As(err, &refused) && tries >= refusedTries
		if over || tries == sinkTries {
			if err := q.tellFailing(m, err, over); err != nil {
				return err
			}
		}
		if over {
			return q.done(ctx, o)
		}
		q.a.n.log.Warn("an alert is not sent: trying again", slog.String("sink", q.name), slog.Int("tries", tries), slog.Duration("in", back), slog.Any("err", err))
		pause(ctx, back)
		back = min(2*back, sinkBackMax)
	}
}

func (q *sinkQueue) send(ctx context.Context, m alert.Message) error {
	ctx, cancel := context.WithTimeout(ctx, sink.TimeMax)
	defer cancel()
	return q.way.Send(ctx, m)
}

func (q *sinkQueue) done(ctx context.Context, o store.Outgoing) error {
	o.Message = nil
	if err := q.a.n.store.KeepAlerting(context.WithoutCancel(ctx), store.Alerting{Done: []store.Outgoing{o}}); err != nil {
		return err
	}
	q.waiting.Add(-1)
	return nil
}

func (q *sinkQueue) note(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.a.n.now()
	switch {
	case err == nil:
		q.failed, q.sent = "", now
	case q.failed == "":
		q.since = now
		fallthrough
	default:
		q.failed = err.Error()
	}
}

// tellFailing says once a day that a sink fails, and lets the next sink of who was to be paged
// be told.
func (q *sinkQueue) tellFailing(m alert.Message, err error, over bool) error {
	n := q.a.n
	what := "is not reached, and tried again for 24 hours"
	if over {
		what = "did not take an alert, which is given up"
	}
	n.alert(store.Alert{
		Kind: "sink-failing", Severity: "warning", Dedup: fmt.Sprintf("sink-failing/%s/%s", q.name, n.now().UTC().Format(time.DateOnly)),
		Text: fmt.Sprintf("The sink %q %s: %s. Try it: watchward alerts test %s", q.name, what, shorten(err.Error(), spreadShownMax), q.name),
	})
	if m.Group == "" {
		return nil
	}
	return q.a.step(func(e *alert.Engine) alert.Changes { return e.Failed(m.Group, n.now().UnixMilli()) }, nil)
}

// health is how a sink is: why it fails and since when, or "".
func (q *sinkQueue) health() (failed string, since, sent time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failed, q.since, q.sent
}
