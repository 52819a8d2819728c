package sim

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/multiformats/go-multiaddr"

	"github.com/watchward/watchward/mesh"
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

// As implements network.MuxedConn: there is no TLS, and so the connection itself
// gives what the mesh binds a session to.
func (c *conn) As(target any) bool {
	e, ok := target.(*mesh.Exporter)
	if ok {
		*e = c
	}
	return ok
}

// ExportKeyingMaterial implements mesh.Exporter. A mesh asks when it signs and
// when it verifies: the work is charged here.
func (c *conn) ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error) {
	c.transport.fabric.proving(c.node)
	return hkdf.Key(sha256.New, []byte(c.pair.secret), context, label, length)
}

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
