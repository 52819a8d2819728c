package sim

import (
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/marcopolo/simnet"
	"github.com/quic-go/quic-go"
	"go.uber.org/fx"
)

const (
	lineBits = 1_000_000_000   // of a node on the packet network, each way
	never    = 100 * time.Hour // after this a lost packet arrives, long after its connection
)

// packets is the fabric for real QUIC: datagrams on simulated lines, under the
// fabric's latencies, losses and cuts.
type packets struct {
	fabric *Fabric
	net    *simnet.Simnet

	mu    sync.Mutex // held while simnet makes an endpoint too, which it does one at a time
	ports int        // of spokes, so that a new socket is another one
}

func newPackets(f *Fabric) *packets {
	p := &packets{fabric: f, ports: 40_000}
	p.net = &simnet.Simnet{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), LatencyFunc: func(x *simnet.Packet) time.Duration {
		return f.fate(placeOf(x.From), placeOf(x.To))
	}}
	p.net.Start()
	return p
}

// fate is how long a datagram takes.
func (f *Fabric) fate(from, to int) time.Duration {
	way := f.latency(from, to)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut(from, to) || f.rand.Float64() < f.loss {
		return never
	}
	return way + time.Duration(f.rand.Float64()*float64(f.jitter))
}

func placeOf(a net.Addr) int {
	ip := a.(*net.UDPAddr).IP.To4()
	return 256*(int(ip[0])-firstNet) + int(ip[1])
}

// transport is the libp2p options of a node on real QUIC.
func (p *packets) transport(node int) []libp2p.Option {
	ip := net.IPv4(byte(firstNet+node/256), byte(node%256), 1, 1)
	line := simnet.LinkSettings{BitsPerSecond: lineBits}
	open := func(_ string, at *net.UDPAddr) (net.PacketConn, error) {
		here := &net.UDPAddr{IP: ip, Port: at.Port}
		p.mu.Lock()
		defer p.mu.Unlock()
		if here.Port == 0 {
			p.ports++
			here.Port = p.ports
		}
		return p.net.NewEndpoint(here, simnet.NodeBiDiLinkSettings{Downlink: line, Uplink: line}), nil
	}
	return []libp2p.Option{
		libp2p.Transport(libp2pquic.NewTransport),
		libp2p.QUICReuse(func(l fx.Lifecycle, reset quic.StatelessResetKey, token quic.TokenGeneratorKey, o ...quicreuse.Option) (*quicreuse.ConnManager, error) {
			m, err := quicreuse.NewConnManager(reset, token, o...)
			if err == nil {
				l.Append(fx.StopHook(m.Close))
			}
			return m, err
		}, quicreuse.OverrideListenUDP(open), quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return source(ip), nil })),
	}
}

// source is the one address of a node.
type source net.IP

// PreferredSourceIPForDestination implements quicreuse.SourceIPSelector.
func (s source) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) { return net.IP(s), nil }
