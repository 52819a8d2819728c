package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	circuit "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	p2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/multiformats/go-multiaddr"
)

// Bounds of relaying: what a node that listens does for two that cannot dial each
// other. A circuit carries named streams alone, so it needs little.
const (
	relayData      = 4 << 20 // bytes of a circuit, each way
	relayDuration  = 2 * time.Minute
	relayCircuits  = 16 // of one member at once
	relayBuffer    = 4 << 10
	relayReserved  = 2048          // spokes that can be reached through one node
	relayTTL       = 2 * time.Hour // of a reservation
	reserveEvery   = time.Second
	reserveTime    = 10 * time.Second
	reserveAgain   = 5 * time.Minute // after a refusal
	relaysTried    = 16              // for one attempt to reach a member …
	relaysDialled  = 4               // … of which so many were not connected
	relayDialTime  = 5 * time.Second
	circuitAddress = "/p2p/%s/p2p-circuit"
)

// openRelay makes circuits possible: through others for every node, and through
// this one if it listens. Their protocols go through the gate like all others, and
// the TLS of the two ends is inside.
func (m *Mesh) openRelay() error {
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: exporting{yamux.DefaultTransport}}}
	key := m.host.Peerstore().PrivKey(m.self)
	security, err := p2ptls.New(p2ptls.ID, key, muxers)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	up, err := upgrader.New([]sec.SecureTransport{security}, muxers, nil, m.host.Network().ResourceManager(), m.gate)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	if err := circuit.AddTransport(m.host, up); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	if m.c.part() == spoke {
		m.wait.Go(m.reserve)
		return nil
	}
	m.relay, err = relay.New(m.host, relay.WithACL(relayACL{m}), relay.WithResources(relay.Resources{
		Limit:          &relay.RelayLimit{Duration: relayDuration, Data: relayData},
		ReservationTTL: relayTTL, MaxReservations: relayReserved, MaxCircuits: relayCircuits, BufferSize: relayBuffer,
		MaxReservationsPerIP: connsPerAddress, MaxReservationsPerASN: relayReserved,
	}))
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	return nil
}

// relayACL lets members reserve, and connect to members whose region hears theirs.
type relayACL struct{ m *Mesh }

// AllowReserve implements relay.ACLFilter.
func (a relayACL) AllowReserve(id peer.ID, _ multiaddr.Multiaddr) bool { return a.m.mayMeet(id, id) }

// AllowConnect implements relay.ACLFilter.
func (a relayACL) AllowConnect(from peer.ID, _ multiaddr.Multiaddr, to peer.ID) bool {
	return a.m.gate.member(from) && a.m.mayMeet(from, to)
}

// A reservation is a spoke's place at a relay. It ends with the connection.
type reservation struct {
	conn string    // id of the connection it was made on
	next time.Time // when to ask again
}

// reserve keeps a place at each connected relay, so that others reach this node
// through it.
func (m *Mesh) reserve() {
	places := map[peer.ID]reservation{}
	tick := time.NewTicker(reserveEvery)
	defer tick.Stop()
	for {
		for _, id := range m.relays() {
			conns := m.host.Network().ConnsToPeer(id)
			if len(conns) == 0 {
				continue
			}
			at := conns[0].ID()
			if p := places[id]; p.conn == at && time.Now().Before(p.next) {
				continue
			}
			places[id] = reservation{conn: at, next: time.Now().Add(m.reserveAt(id))}
		}
		for id := range places {
			if m.host.Network().Connectedness(id) != network.Connected {
				delete(places, id)
			}
		}
		select {
		case <-m.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reserveAt asks one relay for a place and returns when to ask it again.
func (m *Mesh) reserveAt(id peer.ID) time.Duration {
	ctx, cancel := context.WithTimeout(m.ctx, reserveTime)
	defer cancel()
	if _, err := circuit.Reserve(ctx, m.host, peer.AddrInfo{ID: id}); err != nil {
		if m.ctx.Err() == nil {
			m.log.Debug("no place at a relay", slog.String("peer", id.String()), slog.Any("err", err))
		}
		return reserveAgain
	}
	return relayTTL / 2
}

// relays returns the connected members that relay.
func (m *Mesh) relays() []peer.ID {
	return slices.DeleteFunc(m.connected(), func(id peer.ID) bool {
		spoken, err := m.host.Peerstore().SupportsProtocols(id, proto.ProtoIDv2Hop)
		return err != nil || len(spoken) == 0
	})
}

// relayed connects to a member through a relay: one of those that are connected,
// or one of some others, since the member may be at home there.
func (m *Mesh) relayed(ctx context.Context, id peer.ID) error {
	tried := m.relays()
	rand.Shuffle(len(tried), func(i, j int) { tried[i], tried[j] = tried[j], tried[i] })
	tried = tried[:min(len(tried), relaysTried-relaysDialled)]
	for _, at := range tried {
		if m.circuit(ctx, at, id) == nil {
			return nil
		}
	}
	dialled := 0
	for at, addrs := range shuffled(m.book.known()) {
		if dialled == relaysDialled || ctx.Err() != nil {
			break
		}
		if at == id || at == m.self || len(addrs) == 0 || slices.Contains(tried, at) || !m.gate.member(at) || m.host.Network().Connectedness(at) == network.Connected {
			continue
		}
		dialled++
		if m.circuitVia(ctx, at, addrs, id) == nil {
			return nil
		}
	}
	return ErrUnreached
}

// circuitVia connects to a relay for one circuit. Where that is of no use the
// connection is closed again: how many there are is the supervisor's business.
func (m *Mesh) circuitVia(ctx context.Context, at peer.ID, addrs []string, id peer.ID) error {
	ctx, cancel := context.WithTimeout(ctx, relayDialTime)
	defer cancel()
	if err := m.dialAt(ctx, at, addrs); err != nil {
		return err
	}
	err := m.circuit(ctx, at, id)
	if err != nil {
		_ = m.host.Network().ClosePeer(at)
	}
	return err
}

// circuit connects to a member through one relay.
func (m *Mesh) circuit(ctx context.Context, at, id peer.ID) error {
	way, err := multiaddr.NewMultiaddr(fmt.Sprintf(circuitAddress, at))
	if err != nil {
		return err
	}
	// No peer store: the way leads nowhere once the circuit has ended.
	m.host.Peerstore().AddAddr(id, way, circuitLife)
	defer m.host.Peerstore().SetAddr(id, way, 0)
	ctx, cancel := context.WithTimeout(network.WithAllowLimitedConn(ctx, "named"), relayDialTime)
	defer cancel()
	// The pace is the caller's: the swarm would not try for 5 s after the member was
	// not at home.
	if s, ok := m.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(id)
	}
	_, err = m.host.Network().DialPeer(ctx, id)
	return err
}

// circuitLife is how long the address of a circuit is kept while it is dialled.
const circuitLife = 10 * time.Second

// isCircuit reports whether an address leads through a relay.
func isCircuit(a multiaddr.Multiaddr) bool {
	_, err := a.ValueForProtocol(multiaddr.P_CIRCUIT)
	return err == nil
}
