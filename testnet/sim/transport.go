package sim

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	port        = 8461
	firstNet    = 20   // first byte of the first node's address
	acceptQueue = 1024 // connections, and streams of one connection, that wait to be accepted
)

// Transport is the libp2p option that puts a host into the fabric as a node.
// Everything above the transport is real: the swarm with its dialling, gate and
// limits, identify, negotiation of protocols.
func (f *Fabric) Transport(node int) libp2p.Option {
	return libp2p.Transport(func(key p2pcrypto.PrivKey, gater connmgr.ConnectionGater, limits network.ResourceManager) (transport.Transport, error) {
		self, err := peer.IDFromPrivateKey(key)
		if err != nil {
			return nil, err
		}
		if limits == nil {
			limits = &network.NullResourceManager{}
		}
		return &fabricTransport{fabric: f, node: node, self: self, key: key, gater: gater, limits: limits}, nil
	})
}

// Address is where a node listens if it does: each node has an IPv4 /16 of its
// own, as hospitals have.
func Address(node int) string {
	return fmt.Sprintf("/ip4/%d.%d.1.1/udp/%d/quic-v1", firstNet+node/256, node%256, port)
}

type fabricTransport struct {
	fabric *Fabric
	node   int
	self   peer.ID
	key    p2pcrypto.PrivKey
	gater  connmgr.ConnectionGater
	limits network.ResourceManager

	mu        sync.Mutex
	listening bool
}

var errUnreachable = errors.New("nobody answers")

// local is the address that others see: the one listened on, or some port.
func (t *fabricTransport) local() multiaddr.Multiaddr {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listening {
		return multiaddr.StringCast(Address(t.node))
	}
	return multiaddr.StringCast(fmt.Sprintf("/ip4/%d.%d.1.1/udp/40000/quic-v1", firstNet+t.node/256, t.node%256))
}

// Dial implements transport.Transport: one round trip, as QUIC takes.
func (t *fabricTransport) Dial(ctx context.Context, at multiaddr.Multiaddr, id peer.ID) (transport.CapableConn, error) {
	scope, err := t.limits.OpenConnection(network.DirOutbound, false, at)
	if err != nil {
		return nil, err
	}
	c, err := t.dial(ctx, at, id, scope)
	if err != nil {
		scope.Done()
		return nil, err
	}
	return c, nil
}

func (t *fabricTransport) dial(ctx context.Context, at multiaddr.Multiaddr, id peer.ID, scope network.ConnManagementScope) (*conn, error) {
	if err := scope.SetPeer(id); err != nil {
		return nil, err
	}
	l := t.fabric.listener(at.String(), id)
	if l == nil || !t.fabric.reachable(t.node, l.transport.node) {
		return nil, errors.Join(wait(ctx, dialPatience), errUnreachable)
	}
	to := l.transport.node
	if err := wait(ctx, t.fabric.latency(t.node, to)+t.fabric.latency(to, t.node)); err != nil {
		return nil, err
	}
	p := &pair{secret: rand.Text()}
	mine := &conn{pair: p, transport: t, node: t.node, far: to, remote: id, remoteKey: l.transport.key.GetPublic(), from: t.local(), to: at, scope: scope}
	theirs := &conn{pair: p, side: 1, transport: l.transport, node: to, far: t.node, remote: t.self, remoteKey: t.key.GetPublic(), from: at, to: t.local()}
	p.ends = [2]*conn{mine, theirs}
	for _, c := range p.ends {
		c.closed, c.incoming, c.streams = make(chan struct{}), make(chan *stream, acceptQueue), map[*stream]struct{}{}
	}
	if t.gater != nil && !t.gater.InterceptSecured(network.DirOutbound, id, mine) {
		return nil, errors.New("gated")
	}
	if !t.fabric.join(p) {
		return nil, errUnreachable
	}
	time.AfterFunc(t.fabric.latency(t.node, to), func() { l.arrive(theirs) })
	return mine, nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CanDial implements transport.Transport.
func (t *fabricTransport) CanDial(a multiaddr.Multiaddr) bool {
	_, err := a.ValueForProtocol(multiaddr.P_QUIC_V1)
	return err == nil
}

// Protocols implements transport.Transport. The fabric passes for QUIC, so that
// libp2p dials as it would.
func (t *fabricTransport) Protocols() []int { return []int{multiaddr.P_QUIC_V1} }

// Proxy implements transport.Transport.
func (t *fabricTransport) Proxy() bool { return false }

// Listen implements transport.Transport.
func (t *fabricTransport) Listen(at multiaddr.Multiaddr) (transport.Listener, error) {
	l := &listener{transport: t, at: at, incoming: make(chan *conn, acceptQueue), closed: make(chan struct{})}
	if !t.fabric.listen(at.String(), l) {
		return nil, fmt.Errorf("%s is taken", at)
	}
	t.mu.Lock()
	t.listening = true
	t.mu.Unlock()
	return l, nil
}

type listener struct {
	transport *fabricTransport
	at        multiaddr.Multiaddr
	incoming  chan *conn
	closed    chan struct{}
	once      sync.Once
}

// arrive is the last flight of a handshake: the gate and the limits have a say.
func (l *listener) arrive(c *conn) {
	t := l.transport
	refuse := func() { _ = c.Close() }
	if t.gater != nil && !t.gater.InterceptAccept(c) {
		refuse()
		return
	}
	scope, err := t.limits.OpenConnection(network.DirInbound, false, c.to)
	if err != nil {
		refuse()
		return
	}
	c.mu.Lock()
	c.scope = scope
	ended := c.ended
	c.mu.Unlock()
	if ended {
		scope.Done()
		return
	}
	if err := scope.SetPeer(c.remote); err != nil || t.gater != nil && !t.gater.InterceptSecured(network.DirInbound, c.remote, c) {
		refuse()
		return
	}
	select {
	case <-l.closed:
		refuse()
	case l.incoming <- c:
	default:
		refuse()
	}
}

// Accept implements transport.Listener.
func (l *listener) Accept() (transport.CapableConn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, transport.ErrListenerClosed
	}
}

// Close implements transport.Listener.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.transport.fabric.deafen(l.at.String())
		close(l.closed)
		for {
			select {
			case c := <-l.incoming:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// Addr implements transport.Listener.
func (l *listener) Addr() net.Addr {
	a, _ := manet.ToNetAddr(l.at.Decapsulate(multiaddr.StringCast("/quic-v1")))
	return a
}

// Multiaddr implements transport.Listener.
func (l *listener) Multiaddr() multiaddr.Multiaddr { return l.at }
