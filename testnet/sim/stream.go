package sim

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// A stream is one side of a stream.
type stream struct {
	conn    *conn
	out, in *lane
}

// Read implements network.MuxedStream.
func (s *stream) Read(p []byte) (int, error) { return s.in.read(p) }

// Write implements network.MuxedStream.
func (s *stream) Write(p []byte) (int, error) { return s.out.write(p) }

// CloseWrite implements network.MuxedStream.
func (s *stream) CloseWrite() error {
	s.out.finish()
	return nil
}

// CloseRead implements network.MuxedStream.
func (s *stream) CloseRead() error {
	s.in.fail(network.ErrReset)
	return nil
}

// Close implements network.MuxedStream.
func (s *stream) Close() error {
	s.out.finish()
	s.in.drop()
	s.gone()
	return nil
}

// Reset implements network.MuxedStream.
func (s *stream) Reset() error {
	s.in.fail(network.ErrReset)
	s.out.reset()
	s.gone()
	return nil
}

// ResetWithError implements network.MuxedStream.
func (s *stream) ResetWithError(network.StreamErrorCode) error { return s.Reset() }

func (s *stream) gone() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	delete(s.conn.streams, s)
}

// SetDeadline implements network.MuxedStream.
func (s *stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline implements network.MuxedStream.
func (s *stream) SetReadDeadline(t time.Time) error {
	s.in.deadline(t, true)
	return nil
}

// SetWriteDeadline implements network.MuxedStream.
func (s *stream) SetWriteDeadline(t time.Time) error {
	s.out.deadline(t, false)
	return nil
}

// A lane is one direction of a stream: bytes on their way, in order.
type lane struct {
	fabric   *Fabric
	from, to int

	mu      sync.Mutex // guards what follows; nothing waits while it is held
	flying  []flight
	unread  int
	last    time.Time     // when what was sent last arrives
	err     error         // both sides see it at once
	dropped bool          // the reader has closed: what is written goes nowhere
	changed chan struct{} // closed and replaced when any of this changes
	readBy  time.Time
	writeBy time.Time
}

// A flight is bytes with the time they arrive, zero while they cannot. What
// ends the stream comes as one: EOF after CloseWrite, or a reset.
type flight struct {
	data []byte
	end  error
	at   time.Time
}

func newLane(from, to int, f *Fabric) *lane {
	return &lane{fabric: f, from: from, to: to, changed: make(chan struct{})}
}

// change wakes whoever waits. The caller holds mu.
func (l *lane) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *lane) write(p []byte) (n int, err error) {
	for n < len(p) {
		l.mu.Lock()
		switch free := windowBytes - l.unread; {
		case l.err != nil:
			err = l.err
		case l.ending():
			err = errors.New("stream is closed for writing")
		case l.dropped:
			err = network.ErrReset
		case free > 0:
			part := min(free, len(p)-n)
			l.unread += part
			l.put(flight{data: append([]byte(nil), p[n:n+part]...)}, part)
			n += part
		}
		by, changed := l.writeBy, l.changed
		l.mu.Unlock()
		if err != nil || n == len(p) {
			return n, err
		}
		if !await(changed, time.Time{}, by) {
			return n, os.ErrDeadlineExceeded
		}
	}
	return n, nil
}

// put sends something off. The caller holds mu.
func (l *lane) put(x flight, n int) {
	at := l.fabric.arrival(l.from, l.to, n)
	held := len(l.flying) > 0 && l.flying[len(l.flying)-1].at.IsZero()
	if !at.IsZero() && !held {
		l.last = later(l.last, at)
		x.at = l.last
	}
	l.flying = append(l.flying, x)
	l.change()
}

func (l *lane) ending() bool {
	return len(l.flying) > 0 && l.flying[len(l.flying)-1].end != nil
}

func (l *lane) read(p []byte) (int, error) {
	for {
		l.mu.Lock()
		if l.err != nil {
			l.mu.Unlock()
			return 0, l.err
		}
		var arrives time.Time
		if len(l.flying) > 0 {
			head := &l.flying[0]
			arrives = head.at
			switch here := !head.at.IsZero() && !head.at.After(time.Now()); {
			case here && head.end != nil:
				err := head.end
				l.mu.Unlock()
				return 0, err
			case here:
				n := copy(p, head.data)
				if head.data = head.data[n:]; len(head.data) == 0 {
					l.flying = l.flying[1:]
				}
				l.unread -= n
				l.change()
				l.mu.Unlock()
				return n, nil
			}
		}
		by, changed := l.readBy, l.changed
		l.mu.Unlock()
		if !await(changed, arrives, by) {
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// await returns when something changed or the time is there, and false when the
// deadline has passed. Zero times never come.
func await(changed <-chan struct{}, at, deadline time.Time) bool {
	now := time.Now()
	if !deadline.IsZero() && !deadline.After(now) {
		return false
	}
	next := at
	if !deadline.IsZero() && (at.IsZero() || deadline.Before(at)) {
		next = deadline
	}
	if next.IsZero() {
		<-changed
		return true
	}
	timer := time.NewTimer(next.Sub(now))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
	return true
}

func (l *lane) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && !l.ending() {
		l.put(flight{end: io.EOF}, 0)
	}
}

// reset makes what is under way lost; the reader hears of it after the latency.
func (l *lane) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.flying = nil
	l.put(flight{end: network.ErrReset}, 0)
}

func (l *lane) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropped = true
	l.change()
}

func (l *lane) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
		l.flying = nil
		l.change()
	}
}

func (l *lane) deadline(t time.Time, read bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if read {
		l.readBy = t
	} else {
		l.writeBy = t
	}
	l.change()
}

func (l *lane) release(outage time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	probe := l.fabric.latency(l.from, l.to) + outage
	for i := range l.flying {
		if l.flying[i].at.IsZero() {
			l.last = later(l.last, time.Now().Add(probe))
			l.flying[i].at = l.last
		}
	}
	l.change()
}
