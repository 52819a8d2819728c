package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	opsMax        = 256              // writes that wait; more callers block
	keysMax       = 36_000           // keys estimated for one transaction; see badgerOptions
	gcEvery       = 10 * time.Minute // value-log collection
	gcFilesMax    = 4                // files rewritten a time
	gcDiscardable = 0.5              // share of a file that must be garbage
)

// An op is one caller's write. Ops are staged one after the other into a batch
// and become durable together.
type op struct {
	at   int64 // ms, when it was handed in
	keys int   // estimate of the keys it writes
	run  func(*batch) error
	done chan error // buffered
}

// do hands run to the writer and waits until it is durable. When ctx ends
// first, the write may still happen.
func (s *Store) do(ctx context.Context, keys int, run func(*batch) error) error {
	o, err := s.hand(ctx, keys, run)
	if err != nil {
		return err
	}
	return s.await(ctx, o)
}

// hand puts an op into the writer's queue.
func (s *Store) hand(ctx context.Context, keys int, run func(*batch) error) (*op, error) {
	if err := s.latched(); err != nil {
		return nil, err
	}
	select {
	case <-s.stop:
		return nil, ErrClosed
	default:
	}
	o := &op{at: s.now(), keys: keys, run: run, done: make(chan error, 1)}
	select {
	case s.ops <- o:
		return o, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.stop:
		return nil, ErrClosed
	}
}

func (s *Store) await(ctx context.Context, o *op) error {
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.gone:
		select {
		case err := <-o.done:
			return err
		default:
			return ErrClosed // it came after the writer's last look
		}
	}
}

// write is the one writer. While one batch is being committed it stages the
// next, so that staging and the disk's work overlap; there is never more than
// one commit at a time.
func (s *Store) write() {
	defer close(s.gone)
	var flying *batch // being committed
	var first *op     // of the next batch
	for {
		var b *batch
		var ok bool
		b, first, ok = s.gather(flying, first)
		if !ok {
			return
		}
		if flying != nil {
			<-flying.landed
			flying.discardNext()
			flying = nil
		}
		switch {
		case b == nil: // there was only that to wait for
		case b.prev != nil && b.prev.err != nil, // staged on what never happened
			b.err != nil && len(b.ops) > 1: // one of its ops failed
			s.alone(b)
		default:
			flying = s.launch(b)
		}
	}
}

// gather stages ops, the first of them given, until the batch is full or can be
// committed at once. It returns no batch if flying landed before an op came,
// and the op that did not fit. ok is false when the store is closed and nothing
// is left.
func (s *Store) gather(flying *batch, first *op) (b *batch, rest *op, ok bool) {
	landed := (chan struct{})(nil)
	if flying != nil {
		landed = flying.landed
	}
	for {
		o := first
		first = nil
		if o == nil {
			if o, ok = s.next(landed, b != nil); !ok {
				return nil, nil, false
			}
		}
		switch {
		case o == nil && (b == nil || landed == nil):
			return b, nil, true
		case o == nil: // flying has landed: take what is there already, then commit
			landed = nil
			continue
		case b != nil && b.keys+o.keys > keysMax:
			return b, o, true
		case b == nil:
			b = s.newBatch(flying)
		}
		b.ops, b.keys, b.now = append(b.ops, o), b.keys+o.keys, max(b.now, o.at)
		if b.err = o.run(b); b.err != nil {
			return b, nil, true
		}
	}
}

// next returns an op, or none when landed is closed or, if something is staged
// and nothing flies, when no op is there.
func (s *Store) next(landed chan struct{}, staged bool) (o *op, ok bool) {
	if landed == nil && staged {
		select {
		case o = <-s.ops:
		default:
		}
		return o, true
	}
	stop := s.stop
	if landed != nil {
		stop = nil // that comes first
	}
	select {
	case o = <-s.ops:
		return o, true
	case <-landed:
		return nil, true
	case <-stop:
		select {
		case o = <-s.ops: // accepted before Close
			return o, true
		default:
			return nil, false
		}
	}
}

// launch commits a staged batch in the background, and returns it, or nil if
// there is nothing to wait for.
func (s *Store) launch(b *batch) *batch {
	if b.err == nil {
		b.err = s.ready(b)
	}
	b.prev, b.under = nil, nil // it landed, and its memory can go
	if b.err != nil && len(b.ops) > 1 && s.latched() == nil && !errors.Is(b.err, ErrFull) {
		s.alone(b)
		return nil
	}
	if b.err != nil || b.staged == 0 {
		b.finish()
		return nil
	}
	s.enrol(b)
	// The next batch is staged on what is on disk now and on b's overlay: a
	// snapshot taken later would wait for b.
	b.landed = make(chan struct{})
	b.nextRead, b.nextWrite = s.db.NewTransaction(false), s.db.NewTransaction(true)
	s.wait.Go(func() {
		defer close(b.landed)
		b.err = s.settle(b)
		b.finish()
	})
	return b
}

// ready stages what is left of a batch and checks that it may be written.
func (s *Store) ready(b *batch) error {
	if err := s.latched(); err != nil {
		return err
	}
	if err := b.stage(); err != nil {
		return fmt.Errorf("stage batch: %w", err)
	}
	if b.staged == 0 {
		return nil
	}
	return s.checkSpace(b.bytes)
}

// settle commits a batch and makes it what readers see.
func (s *Store) settle(b *batch) error {
	start := time.Now()
	s.recall.begin(b.changing())
	err := s.commit(b.w)
	if err == nil {
		s.recall.renew(b.summed)
	}
	s.recall.end()
	if err != nil {
		s.expel(b)
		if isFull(err) {
			return fmt.Errorf("%w (%w)", ErrFull, err)
		}
		return s.latch(err)
	}
	if err := s.latched(); err != nil { // Badger only logs some failed fsyncs
		return err
	}
	s.metrics.committed(time.Since(start))
	s.publish(b)
	return nil
}

// alone runs the ops of a batch each in a batch of its own: one that fails must
// not take others with it. Nothing may be flying.
func (s *Store) alone(b *batch) {
	b.discard()
	for _, o := range b.ops {
		one := s.newBatch(nil)
		one.ops = []*op{o}
		if one.err = o.run(one); one.err == nil {
			one.err = s.ready(one)
		}
		if one.err == nil && one.staged > 0 {
			s.enrol(one)
			one.err = s.settle(one)
		}
		one.finish()
	}
}

// finish tells the callers.
func (b *batch) finish() {
	b.discard()
	for _, o := range b.ops {
		o.done <- b.err
	}
}

// checkSpace refuses a batch that would use the reserve. Badger's files are
// memory-mapped and sparse: writing to a full disk would end the process.
func (s *Store) checkSpace(bytes int) error {
	if s.o.InMemory {
		return nil
	}
	free, err := s.free(s.o.Dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", s.o.Dir, err)
	}
	if need := s.o.Reserve + 2*uint64(bytes); free < need {
		return fmt.Errorf("%w (%s has %d MiB free and needs %d)", ErrFull, s.o.Dir, free>>20, need>>20)
	}
	return nil
}

// Room returns ErrFull if fewer bytes than these are left on the disk beside the reserve,
// for who can wait, so that those who cannot need not.
func (s *Store) Room(bytes int) error { return s.checkSpace(bytes / 2) }

// enrol makes a batch's new members known just before it commits: a reader of
// the committed batch needs their ids.
func (s *Store) enrol(b *batch) {
	if len(b.memberOrder) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, number := range b.newMembers {
		s.numbers[id] = number
	}
	s.members = append(s.members, b.memberOrder...)
}

func (s *Store) expel(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range b.newMembers {
		delete(s.numbers, id)
	}
	s.members = s.members[:len(s.members)-len(b.memberOrder)]
}

// publish makes a durable batch the state that readers and the next batch see.
func (s *Store) publish(b *batch) {
	s.mu.Lock()
	s.meta = b.meta
	for id, c := range b.chains {
		if c.dirty {
			s.chains[id] = c
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	for _, c := range b.chains {
		if c.dirty {
			s.frontier.Put(c.holding)
		}
	}
}

// collect gives the space of erased envelopes back to the disk.
func (s *Store) collect() {
	tick := time.NewTicker(gcEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		for range gcFilesMax {
			err := s.db.RunValueLogGC(gcDiscardable)
			if errors.Is(err, badger.ErrNoRewrite) {
				break
			}
			if err != nil {
				s.log.Warn("value log not collected", "err", err)
				break
			}
		}
	}
}

// badgerLog passes on what Badger logs. It also catches the failed writes that
// Badger logs and does not return: the fsync of the value log, and of tables and
// their list, which it would write again for ever. A full disk is none of these:
// that passes.
type badgerLog struct{ s *Store }

func (l badgerLog) Errorf(format string, args ...any) {
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	l.s.log.Error("badger", "text", text)
	if failed := strings.Contains(format, "curlf sync") || strings.Contains(format, "flushing memtable"); failed && !strings.Contains(text, syscall.ENOSPC.Error()) {
		l.s.latch(errors.New(text))
	}
}

func (l badgerLog) Warningf(format string, args ...any) {
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	l.s.log.Warn("badger", "text", text)
	if strings.Contains(format, "doCompact") && !strings.Contains(text, syscall.ENOSPC.Error()) {
		l.s.latch(errors.New(text))
	}
}

func (l badgerLog) Infof(format string, args ...any) {
	l.s.log.Debug("badger", "text", strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l badgerLog) Debugf(string, ...any) {}
