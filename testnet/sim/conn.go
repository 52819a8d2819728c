package sim

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/multiformats/go-multiaddr"
)

// A conn is one side of a connection.
type conn struct {
	pair      *pair
	side      int
	transport *fabricTransport
	node, far int
	remote    peer.ID
	remoteKey p2pcrypto.PubKey
	from, to  multiaddr.Multiaddr
	incoming  chan *stream
	closed    chan struct{}

	mu      sync.Mutex // guards what follows
	scope   network.ConnManagementScope
	ended   bool
	streams map[*stream]struct{}
}

var errConnClosed = errors.New("connection is closed")

func (c *conn) peer() *conn { return c.pair.ends[1-c.side] }

// OpenStream implements network.MuxedConn.
func (c *conn) OpenStream(context.Context) (network.MuxedStream, error) {
	there, back := newLane(c.node, c.far, c.transport.fabric), newLane(c.far, c.node, c.transport.fabric)
	mine, theirs := &stream{c, there, back}, &stream{c.peer(), back, there}
	if !c.add(mine) {
		return nil, errConnClosed
	}
	if !theirs.conn.add(theirs) {
		_ = mine.Reset()
		return nil, errConnClosed
	}
	// It is seen at once there, and has nothing to read before the first bytes
	// have travelled.
	select {
	case theirs.conn.incoming <- theirs:
	default:
		_ = mine.Reset()
		return nil, errors.New("too many streams wait to be accepted")
	}
	return mine, nil
}

func (c *conn) add(s *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.streams[s] = struct{}{}
	return true
}

// AcceptStream implements network.MuxedConn.
func (c *conn) AcceptStream() (network.MuxedStream, error) {
	select {
	case s := <-c.incoming:
		return s, nil
	case <-c.closed:
		return nil, errConnClosed
	}
}

// Close implements network.MuxedConn: the other side hears of it after the
// latency, or never while it is cut off, when it finds out by itself.
func (c *conn) Close() error {
	if !c.end() {
		return nil
	}
	f := c.transport.fabric
	f.forget(c.pair)
	after := f.latency(c.node, c.far)
	if f.arrival(c.node, c.far, 0).IsZero() {
		after = idleTimeout
	}
	time.AfterFunc(after, func() { c.peer().end() })
	return nil
}

// CloseWithError implements network.MuxedConn.
func (c *conn) CloseWithError(network.ConnErrorCode) error { return c.Close() }

// end closes this side.
func (c *conn) end() bool {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return false
	}
	c.ended = true
	scope, streams := c.scope, c.streams
	c.streams = nil
	c.mu.Unlock()
	close(c.closed)
	for s := range streams {
		s.in.fail(network.ErrReset)
		s.out.fail(network.ErrReset)
	}
	if scope != nil {
		scope.Done()
	}
	return true
}

// release lets what was sent while the way was cut travel on: the transport
// probes ever more rarely, so that it takes up to as long again.
func (c *conn) release(outage time.Duration) {
	c.mu.Lock()
	streams := make([]*stream, 0, len(c.streams))
	for s := range c.streams {
		streams = append(streams, s)
	}
	c.mu.Unlock()
	for _, s := range streams {
		s.out.release(outage)
	}
}

// IsClosed implements network.MuxedConn.
func (c *conn) IsClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// As implements network.MuxedConn.
func (c *conn) As(any) bool { return false }

// LocalPeer implements network.ConnSecurity.
func (c *conn) LocalPeer() peer.ID { return c.transport.self }

// RemotePeer implements network.ConnSecurity.
func (c *conn) RemotePeer() peer.ID { return c.remote }

// RemotePublicKey implements network.ConnSecurity.
func (c *conn) RemotePublicKey() p2pcrypto.PubKey { return c.remoteKey }

// ConnState implements network.ConnSecurity.
func (c *conn) ConnState() network.ConnectionState {
	return network.ConnectionState{Transport: "quic-v1"}
}

// LocalMultiaddr implements network.ConnMultiaddrs.
func (c *conn) LocalMultiaddr() multiaddr.Multiaddr { return c.from }

// RemoteMultiaddr implements network.ConnMultiaddrs.
func (c *conn) RemoteMultiaddr() multiaddr.Multiaddr { return c.to }

// Scope implements network.ConnScoper.
func (c *conn) Scope() network.ConnScope {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.scope
}

// Transport implements transport.CapableConn.
func (c *conn) Transport() transport.Transport { return c.transport }

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
