package ledgertest

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/watchward/watchward/ledger"
)

// windowMax is how much may be on its way: who writes more waits, as on a real stream.
const windowMax = 256 << 10

var errReset = errors.New("the stream was reset")

// A stream is one end of a pair.
type stream struct {
	network *Network
	way     way // of what is written here
	in, out *flow
}

// newStreams returns the ends of one stream: a writes to w's end, b to its beginning.
func newStreams(n *Network, w way) (a, b ledger.Stream) {
	x, y := newFlow(n, w.back()), newFlow(n, w)
	sa, sb := &stream{n, w, x, y}, &stream{n, w.back(), y, x}
	x.ended = func() {
		n.mu.Lock()
		delete(n.streams, sa)
		n.mu.Unlock()
	}
	n.mu.Lock()
	n.streams[sa] = struct{}{}
	n.mu.Unlock()
	return sa, sb
}

func (s *stream) Read(b []byte) (int, error)  { return s.in.read(b) }
func (s *stream) Write(b []byte) (int, error) { return s.out.write(b) }
func (s *stream) CloseWrite() error           { s.out.end(io.EOF); return nil }

func (s *stream) Close() error {
	s.out.end(io.EOF)
	s.in.end(errReset)
	return nil
}

func (s *stream) Reset() error {
	s.out.end(errReset)
	s.in.end(errReset)
	return nil
}

func (s *stream) SetReadDeadline(t time.Time) error { s.in.setDeadline(&s.in.readBy, t); return nil }
func (s *stream) SetWriteDeadline(t time.Time) error {
	s.out.setDeadline(&s.out.writeBy, t)
	return nil
}
func (s *stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// A flow carries bytes one way.
type flow struct {
	network *Network
	way     way
	ended   func() // once

	mu              sync.Mutex
	chunks          []chunk
	size            int
	err             error         // how it ended: EOF after what is on its way, a reset at once
	readBy, writeBy time.Time     // zero: never
	moved           chan struct{} // closed and replaced at each change
}

type chunk struct {
	data []byte
	due  time.Time
}

func newFlow(n *Network, w way) *flow {
	return &flow{network: n, way: w, moved: make(chan struct{})}
}

// changed must be called with the lock.
func (f *flow) changed() {
	close(f.moved)
	f.moved = make(chan struct{})
}

func (f *flow) setDeadline(at *time.Time, t time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*at = t
	f.changed()
}

func (f *flow) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && f.ended != nil {
		defer f.ended()
	}
	if f.err == nil || errors.Is(err, errReset) {
		f.err = err
	}
	f.changed()
}

func (f *flow) write(b []byte) (int, error) {
	n := 0
	for {
		f.mu.Lock()
		moved, by := f.moved, f.writeBy
		switch {
		case f.err != nil:
			f.mu.Unlock()
			return n, errReset
		case len(b) == 0:
			f.mu.Unlock()
			return n, nil
		case f.size < windowMax:
			k := min(windowMax-f.size, len(b))
			delay, _ := f.network.passes(f.way)
			f.chunks = append(f.chunks, chunk{append([]byte(nil), b[:k]...), time.Now().Add(delay)})
			f.size += k
			n, b = n+k, b[k:]
			f.changed()
			f.mu.Unlock()
			continue
		}
		f.mu.Unlock()
		if err := wait(by, time.Time{}, moved, nil); err != nil {
			return n, err
		}
	}
}

func (f *flow) read(b []byte) (int, error) {
	for {
		f.mu.Lock()
		moved, by := f.moved, f.readBy
		if err := f.err; err != nil && err != io.EOF {
			f.mu.Unlock()
			return 0, err
		}
		_, cut := f.network.passes(f.way)
		var due time.Time
		if cut == nil && len(f.chunks) > 0 {
			first := &f.chunks[0]
			if due = first.due; !due.After(time.Now()) {
				n := copy(b, first.data)
				if first.data = first.data[n:]; len(first.data) == 0 {
					f.chunks = f.chunks[1:]
				}
				f.size -= n
				f.changed()
				f.mu.Unlock()
				return n, nil
			}
		} else if cut == nil && f.err == io.EOF {
			f.mu.Unlock()
			return 0, io.EOF
		}
		f.mu.Unlock()
		if err := wait(by, due, moved, cut); err != nil {
			return 0, err
		}
	}
}

// wait returns when something may have changed, with an error once by has passed.
func wait(by, due time.Time, moved, cut <-chan struct{}) error {
	next := by
	if next.IsZero() || !due.IsZero() && due.Before(next) {
		next = due
	}
	var timer <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(time.Until(next))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-moved:
	case <-cut:
	case <-timer:
	}
	if !by.IsZero() && !by.After(time.Now()) {
		return os.ErrDeadlineExceeded
	}
	return nil
}
