package mesh

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	p2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	"github.com/libp2p/go-libp2p/x/rate"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Limits of a host's connections by its part: outbound only, listening, hub.
var connsMax = map[part]int{spoke: 64, listener: 512, hub: 2048}

const (
	streamsPerPeer  = 96 // carryMax of two protocols among them, each way
	dialTimeout     = 10 * time.Second
	memoryMax       = 512 << 20 // bytes of all buffers
	memoryPerPeer   = 32 << 20
	connsPerPeer    = 8
	connsPerAddress = 64 // hospitals behind one address
	dialsPerSecond  = 2  // new connections from one address, after a burst of connsPerAddress
)

// A part is what a node does for others in the mesh.
type part uint8

const (
	spoke    part = iota // dials out only
	listener             // others can dial it
	hub                  // serves many spokes
)

func (c *Config) part() part {
	switch {
	case c.Hub:
		return hub
	case len(c.Listen) > 0:
		return listener
	}
	return spoke
}

// newHost listens with QUIC, TCP and WebSocket, always under TLS 1.3 in which
// both ends prove their peer ids. Noise is left out: it has no post-quantum
// exchange. There is no DHT and no mDNS: peers come from the roster. Relaying, for what
// is sealed alone, comes behind the gate (relay.go).
func newHost(c Config, g *gate) (host.Host, error) {
	key, err := p2pcrypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(c.Identity[:]))
	if err != nil {
		return nil, fmt.Errorf("peer key: %w", err)
	}
	announce, err := parseAddrs(c.Announce)
	if err != nil {
		return nil, fmt.Errorf("announce: %w", err)
	}
	transports := c.Transports
	if transports == nil {
		if transports, err = newTransports(); err != nil {
			return nil, err
		}
	}
	resources, err := newResources(c.part())
	if err != nil {
		return nil, fmt.Errorf("resource limits: %w", err)
	}
	high := connsMax[c.part()] * 3 / 4
	conns, err := connmgr.NewConnManager(high*3/4, high)
	if err != nil {
		return nil, fmt.Errorf("connection limits: %w", err)
	}
	options := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.UserAgent("watchward"),
		libp2p.Security(p2ptls.ID, p2ptls.New),
		libp2p.Muxer(yamux.ID, exporting{yamux.DefaultTransport}),
		libp2p.ConnectionGater(g),
		libp2p.ResourceManager(resources),
		libp2p.ConnectionManager(conns),
		libp2p.AddrsFactory(func(found []multiaddr.Multiaddr) []multiaddr.Multiaddr {
			return multiaddr.Unique(append(announce[:len(announce):len(announce)], found...))
		}),
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.Ping(false),
		libp2p.WithDialTimeout(dialTimeout),
		// After an outage they would keep QUIC and IPv6 from being dialled for
		// minutes; the supervisor has a pace of its own.
		libp2p.UDPBlackHoleSuccessCounter(nil),
		libp2p.IPv6BlackHoleSuccessCounter(nil),
	}
	if len(c.Listen) == 0 {
		options = append(options, libp2p.NoListenAddrs)
	} else {
		options = append(options, libp2p.ListenAddrStrings(c.Listen...))
	}
	if c.Transports == nil {
		if err := probe(c.Listen); err != nil {
			return nil, err
		}
	}
	h, err := libp2p.New(append(options, transports...)...)
	if err != nil {
		return nil, fmt.Errorf("listen on %v: %w", c.Listen, err)
	}
	return h, nil
}

// probe reports why none of the addresses can be listened on. libp2p would say it
// three times in its own log, and in no words for people.
func probe(listen []string) error {
	var failed error
	for _, address := range listen {
		m, err := multiaddr.NewMultiaddr(address)
		if err != nil {
			return fmt.Errorf("listen on %q: %w", address, err)
		}
		transport, _ := multiaddr.SplitFunc(m, func(c multiaddr.Component) bool {
			return c.Protocol().Code != multiaddr.P_IP4 && c.Protocol().Code != multiaddr.P_IP6 &&
				c.Protocol().Code != multiaddr.P_UDP && c.Protocol().Code != multiaddr.P_TCP
		})
		network, at, err := manet.DialArgs(transport)
		if err != nil {
			return nil // a name or a zone: libp2p knows better
		}
		if err = tryListen(network, at); err == nil {
			return nil
		}
		failed = fmt.Errorf("cannot listen for other members on %s: %w: %s", at, err, listenFix(err))
	}
	return failed
}

func tryListen(network, at string) error {
	var l io.Closer
	var err error
	if strings.HasPrefix(network, "udp") {
		l, err = net.ListenPacket(network, at)
	} else {
		l, err = net.Listen(network, at)
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Err // the address is in our words
	}
	if err != nil {
		return err
	}
	return l.Close()
}

// listenFix says what to do when an address cannot be listened on.
func listenFix(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine has no such address: put one that it has, or 0.0.0.0, into mesh.listen of its configuration; the address of a router that forwards the port belongs into mesh.announce"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens there: stop it, or choose another port in mesh.listen of the configuration"
	}
	return "choose another address or port in mesh.listen of the configuration"
}

// newTransports returns QUIC, TCP and WebSocket.
func newTransports() ([]libp2p.Option, error) {
	cert, err := wssCertificate()
	if err != nil {
		return nil, fmt.Errorf("websocket certificate: %w", err)
	}
	return []libp2p.Option{
		libp2p.Transport(libp2pquic.NewTransport),
		libp2p.Transport(tcp.NewTCPTransport, tcp.WithConnectionTimeout(10*time.Second)),
		// The outer TLS only looks like the web's, for firewalls: the proof of
		// who is there is libp2p's own TLS inside. So any certificate will do.
		libp2p.Transport(websocket.New,
			websocket.WithTLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}),
			websocket.WithTLSClientConfig(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})),
		libp2p.ShareTCPListener(),
	}, nil
}

// newResources bounds connections, streams and memory. Counts matter more than
// memory, of which libp2p does not see all.
func newResources(p part) (network.ResourceManager, error) {
	conns := connsMax[p]
	partial := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: rcmgr.LimitVal(conns), ConnsInbound: rcmgr.LimitVal(conns), ConnsOutbound: rcmgr.LimitVal(conns),
			Streams: rcmgr.LimitVal(16 * conns), StreamsInbound: rcmgr.LimitVal(8 * conns), StreamsOutbound: rcmgr.LimitVal(8 * conns),
			FD: rcmgr.LimitVal(conns), Memory: memoryMax,
		},
		Transient: rcmgr.ResourceLimits{
			Conns: rcmgr.LimitVal(max(conns/4, 64)), ConnsInbound: rcmgr.LimitVal(max(conns/8, 32)), ConnsOutbound: rcmgr.LimitVal(max(conns/8, 32)),
			FD: rcmgr.LimitVal(max(conns/8, 32)),
		},
		PeerDefault: rcmgr.ResourceLimits{
			Conns: connsPerPeer, ConnsInbound: connsPerPeer, ConnsOutbound: connsPerPeer, FD: connsPerPeer,
			Streams: streamsPerPeer, StreamsInbound: streamsPerPeer / 2, StreamsOutbound: streamsPerPeer / 2, Memory: memoryPerPeer,
		},
	}
	limits := partial.Build(rcmgr.DefaultLimits.Scale(memoryMax, conns))
	fresh := rate.Limit{RPS: dialsPerSecond, Burst: connsPerAddress}
	loopback := []rate.PrefixLimit{
		{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")},
	}
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsPerAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 64, ConnCount: connsPerAddress}, {PrefixLength: 48, ConnCount: 4 * connsPerAddress}}),
		rcmgr.WithConnRateLimiters(&rate.Limiter{
			NetworkPrefixLimits: loopback,
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: fresh}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 64, Limit: fresh}},
				GracePeriod:      time.Minute,
			},
		}))
}

// wssCertificate makes a certificate for the outer TLS of WebSocket listeners.
func wssCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(10, 0, 0),
		DNSNames:     []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func parseAddrs(in []string) ([]multiaddr.Multiaddr, error) {
	out := make([]multiaddr.Multiaddr, len(in))
	for i, s := range in {
		a, err := multiaddr.NewMultiaddr(s)
		if err != nil {
			return nil, fmt.Errorf("%q is no multiaddr such as /ip4/192.0.2.1/udp/8461/quic-v1: %w", s, err)
		}
		out[i] = a
	}
	return out, nil
}
