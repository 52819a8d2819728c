package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	libp2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"golang.org/x/time/rate"

	"github.com/watchward/watchward/mesh/wire"
)

const protocolShow protocol.ID = "/watchward/show/0"

// What a peer that is not in the roster may use until it has shown who it is.
const (
	readmitTime    = 500 * time.Millisecond
	strangerTime   = 5 * time.Second
	strangerBytes  = 32 << 10
	strangersMax   = 16 // at once
	strangersPerIP = 4  // at once
	showsPerMinute = 12 // from one IP address, after a burst of showsBurst
	showsBurst     = 16
	showsTracked   = 4096 // IP addresses
)

// errStranger is what opening a stream to or from a peer outside the roster ends with.
var errStranger = errors.New("peer is not a member")

// gate decides who may connect. Members may; anybody else gets one short
// stream to show a credential that the region's coordinators have signed.
type gate struct {
	m *Mesh

	mu        sync.Mutex
	strangers map[peer.ID]stranger
	shown     map[string]*rate.Limiter // connections of strangers, by IP address
	seeds     map[peer.ID]bool         // may be dialled although not in the roster yet
	waiters   map[peer.ID]*waiter      // whose request to join waits
	failures  map[string]*rate.Limiter // attempts to join that came to nothing, by IP address
	joins     chan struct{}            // requests that are being read
	proofs    map[network.Conn]*proof  // of the connections of now
	members   map[peer.ID]bool         // connected as such
}

type stranger struct {
	ip    string
	until time.Time // after that the entry counts no more, even if no connection came of it
}

func newGate(m *Mesh) *gate {
	return &gate{
		m: m, strangers: map[peer.ID]stranger{}, shown: map[string]*rate.Limiter{}, seeds: map[peer.ID]bool{},
		waiters: map[peer.ID]*waiter{}, failures: map[string]*rate.Limiter{}, joins: make(chan struct{}, joinsMax),
		proofs: map[network.Conn]*proof{}, members: map[peer.ID]bool{},
	}
}

func (g *gate) member(id peer.ID) bool {
	_, ok := g.m.c.Roster.ByPeer(string(id))
	return ok
}

// seed reports whether a peer's address was configured.
func (g *gate) seed(id peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seeds[id]
}

// InterceptPeerDial implements connmgr.ConnectionGater. A mesh that ends dials nobody.
func (g *gate) InterceptPeerDial(id peer.ID) bool {
	return !g.m.ending.Load() && (g.seed(id) || g.member(id))
}

// InterceptAddrDial implements connmgr.ConnectionGater.
func (g *gate) InterceptAddrDial(peer.ID, multiaddr.Multiaddr) bool { return true }

// InterceptAccept implements connmgr.ConnectionGater.
func (g *gate) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured implements connmgr.ConnectionGater.
func (g *gate) InterceptSecured(direction network.Direction, id peer.ID, at network.ConnMultiaddrs) bool {
	if g.member(id) || direction == network.DirOutbound { // InterceptPeerDial let it pass: a seed
		return true
	}
	key, err := id.ExtractPublicKey()
	if err != nil || isCircuit(at.RemoteMultiaddr()) || key.Type() != libp2pcrypto.Ed25519 {
		return false
	}
	return g.admits(id, ipOf(at))
}

// ipOf returns the IP address of a connection's other end, "?" if it has none.
func ipOf(at network.ConnMultiaddrs) string {
	ip, err := manet.ToIP(at.RemoteMultiaddr())
	if err != nil {
		return "?"
	}
	return ip.String()
}

// admits takes note of a stranger, unless there are too many.
func (g *gate) admits(id peer.ID, ip string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, same := time.Now(), 0
	for other, s := range g.strangers {
		switch {
		case now.After(s.until):
			delete(g.strangers, other)
		case s.ip == ip:
			same++
		}
	}
	if _, twice := g.strangers[id]; twice || len(g.strangers) >= strangersMax || same >= strangersPerIP {
		return false
	}
	if len(g.shown) >= showsTracked {
		clear(g.shown) // a flood from so many addresses is for the resource manager
	}
	if g.shown[ip] == nil {
		g.shown[ip] = rate.NewLimiter(rate.Every(time.Minute/showsPerMinute), showsBurst)
	}
	if !g.shown[ip].Allow() {
		return false
	}
	g.strangers[id] = stranger{ip, now.Add(2 * strangerTime)}
	return true
}

// InterceptUpgraded implements connmgr.ConnectionGater: no session without
// post-quantum keys, be it a stranger's.
func (g *gate) InterceptUpgraded(c network.Conn) (bool, control.DisconnectReason) {
	_, err := exporterOf(c)
	if err == nil {
		return true, 0
	}
	g.m.metrics.rejected("downgrade")
	credential, known := g.m.c.Roster.ByPeer(string(c.RemotePeer()))
	if known {
		g.m.log.Warn("connection refused", slog.String("member", credential.Name), slog.String("peer", c.RemotePeer().String()), slog.Any("err", err))
	}
	return false, 0
}

// listen takes up the gate's work on the host.
func (g *gate) listen() {
	bare := g.m.host.(gatedHost).Host
	bare.SetStreamHandler(protocolShow, g.handleShow)
	g.offerJoin()
	bare.SetStreamHandler(protocolSession, g.handleSession)
	bare.Network().Notify(&network.NotifyBundle{
		ConnectedF: func(_ network.Network, c network.Conn) { g.connected(c) },
		DisconnectedF: func(_ network.Network, c network.Conn) {
			g.ended(c)
			g.forget(c.RemotePeer())
			if g.m.host.Network().Connectedness(c.RemotePeer()) != network.Connected {
				g.m.topics.forget(c.RemotePeer())
				g.mu.Lock()
				delete(g.members, c.RemotePeer())
				g.mu.Unlock()
			}
			g.changed(c.RemotePeer())
		},
	})
	for _, c := range bare.Network().Conns() { // made before anybody listened here
		g.connected(c)
	}
	g.m.wait.Go(g.watch)
}

// connected greets a new connection: the side that dialled shows itself and
// asks the other to. Where both know each other, both prove their keys then.
func (g *gate) connected(c network.Conn) {
	id := c.RemotePeer()
	if g.m.ctx.Err() != nil {
		return
	}
	if c.Stat().Limited { // through a relay come members only, whom nobody greets
		g.m.wait.Go(func() {
			if c.Stat().Direction == network.DirOutbound {
				g.prove(c)
			} else {
				g.expect(c)
			}
		})
		return
	}
	member := g.member(id)
	g.mu.Lock()
	g.members[id] = member
	g.mu.Unlock()
	if c.Stat().Direction == network.DirOutbound {
		g.m.wait.Go(func() {
			ctx, cancel := context.WithTimeout(g.m.ctx, strangerTime)
			defer cancel()
			if err := g.show(ctx, id); err != nil {
				if g.m.ctx.Err() == nil {
					g.m.log.Debug("show", slog.String("peer", id.String()), slog.Any("err", err))
				}
				if !g.member(id) {
					_ = c.Close()
					return
				}
			}
			if g.prove(c) {
				g.m.met(id)
			}
		})
		return
	}
	if g.member(id) {
		g.m.wait.Go(func() { g.expect(c) })
		return
	}
	g.m.wait.Go(func() {
		timer := time.NewTimer(strangerTime)
		defer timer.Stop()
		select {
		case <-g.m.ctx.Done():
		case <-timer.C:
			if !g.member(id) && !g.waits(id) {
				_ = c.Close()
			}
		}
	})
}

// changed looks after a member that is heard on other connections than before.
func (g *gate) changed(id peer.ID) {
	if g.m.ctx.Err() == nil && g.member(id) && len(g.heard(id)) > 0 {
		g.m.wait.Go(func() { g.m.reunite(id) })
	}
}

func (g *gate) forget(id peer.ID) {
	g.mu.Lock()
	delete(g.strangers, id)
	g.mu.Unlock()
}

// watch drops live connections of peers that the roster no longer knows, or knows
// under another key: those of a member that was revoked too, who is a stranger from
// then on.
func (g *gate) watch() {
	for {
		changed := g.m.c.Roster.Changed()
		select {
		case <-g.m.ctx.Done():
			return
		case <-changed:
		}
		g.offerJoin()
		g.m.wait.Go(g.readmit)
		for _, c := range g.m.host.Network().Conns() {
			g.mu.Lock()
			_, stranger := g.strangers[c.RemotePeer()]
			seed, was := g.seeds[c.RemotePeer()], g.members[c.RemotePeer()]
			g.mu.Unlock()
			if !g.member(c.RemotePeer()) && (was || !stranger && !seed && !g.waits(c.RemotePeer())) || g.outdated(c) {
				_ = c.Close()
			} else {
				g.m.dismiss(c)
			}
		}
	}
}

// One byte each way says whether the speaker knows the other.
const (
	sayKnown   = 1
	sayUnknown = 0
)

// readmit drops the connections of peers that were strangers when they were
// made and are members now, by a record that came another way. Protocols have
// been refused on them and would not try again; a greeting that is under way
// does the same by itself, so it gets a moment.
func (g *gate) readmit() {
	select {
	case <-g.m.ctx.Done():
		return
	case <-time.After(readmitTime):
	}
	g.mu.Lock()
	var known []peer.ID
	for id := range g.strangers {
		if g.member(id) {
			known = append(known, id)
		}
	}
	g.mu.Unlock()
	for _, id := range known {
		g.forget(id)
		_ = g.m.host.Network().ClosePeer(id)
	}
	if len(known) > 0 {
		g.m.nudge()
	}
}

// show is the greeting of the side that dialled. Where either side did not know
// the other and does now, the connection is closed, since other protocols have
// been refused on it: the next one finds both known.
func (g *gate) show(ctx context.Context, id peer.ID) error {
	bare := g.m.host.(gatedHost).Host
	s, err := bare.NewStream(ctx, id, protocolShow)
	if err != nil {
		return err
	}
	defer s.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := s.SetDeadline(deadline); err != nil {
			return err
		}
	}
	return g.greet(s, id, true)
}

func (g *gate) handleShow(s network.Stream) {
	defer s.Close()
	if err := s.SetDeadline(time.Now().Add(strangerTime)); err != nil {
		_ = s.Reset()
		return
	}
	if s.Conn().Stat().Limited { // a circuit is for what is sealed
		_ = s.Reset()
		return
	}
	if err := g.greet(s, s.Conn().RemotePeer(), false); err != nil {
		g.m.log.Debug("show", slog.String("peer", s.Conn().RemotePeer().String()), slog.Any("err", err))
		_ = s.Reset()
		if !g.member(s.Conn().RemotePeer()) {
			g.m.metrics.rejected("stranger")
			_ = s.Conn().Close()
		}
	}
}

// greet lets the side that dialled show itself first: a node says who it is only
// to peers that it dialled or that have proved to be members.
func (g *gate) greet(s network.Stream, id peer.ID, dialled bool) error {
	known := g.member(id)
	say := byte(sayUnknown)
	if known {
		say = sayKnown
	}
	if _, err := s.Write([]byte{say}); err != nil {
		return err
	}
	var theirs [1]byte
	if _, err := io.ReadFull(s, theirs[:]); err != nil { // Read may return the byte and EOF together
		return err
	}
	if !known && !dialled {
		if err := g.learn(s, id); err != nil {
			g.tellRevoked(s, id)
			return err
		}
	}
	if theirs[0] == sayUnknown {
		own, ok := g.m.c.Roster.ByPeer(string(g.m.self))
		if !ok {
			return errors.New("this node has no credential to show")
		}
		record, ok := g.m.c.Roster.Record(own.RecordID())
		if !ok {
			return errors.New("this node's credential has no record")
		}
		if _, err := wire.Write(s, wire.KindShow, &wire.Show{Records: [][]byte{record}}); err != nil {
			return err
		}
	}
	if !known && dialled {
		if err := g.learn(s, id); err != nil {
			return err
		}
	}
	g.mu.Lock()
	_, stranger := g.strangers[id] // when the connection was made
	g.mu.Unlock()
	if known && !stranger && theirs[0] == sayKnown {
		return nil
	}
	// The last word of each side must arrive before the connection goes. The side
	// that was dialled has it first, and the end of the other says that it was read.
	if dialled {
		g.hearRevoked(s)
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	if !dialled {
		g.hearRevoked(s)
	}
	g.forget(id)
	defer g.m.nudge()
	// All of them: where both sides dialled at once, other protocols have been
	// refused on the second connection too, and would not try again on it. Where
	// the peer has proved itself they have not, and this one may be somebody
	// else who has its peer key.
	for _, c := range g.m.host.Network().ConnsToPeer(id) {
		if g.provenKey(c) == nil {
			_ = c.Close()
		}
	}
	return nil
}

// tellRevoked shows to a member that was revoked why nobody hears it: it may be an
// honest machine whose people do not know yet.
func (g *gate) tellRevoked(s network.Stream, id peer.ID) {
	record := g.m.c.Roster.RevokedPeer(string(id))
	if record == nil {
		return
	}
	if _, err := wire.Write(s, wire.KindShow, &wire.Show{Records: [][]byte{record}}); err != nil {
		return
	}
	if s.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(s, strangerBytes)) // it must arrive before the connection goes
	}
}

// hearRevoked waits for the end of a greeting, where a peer may show that this node
// is revoked.
func (g *gate) hearRevoked(s network.Stream) {
	kind, body, err := wire.Read(s, strangerBytes)
	if err != nil {
		return
	}
	if message, err := wire.DecodeDirect(kind, body); err == nil {
		if shown, ok := message.(*wire.Show); ok {
			_ = g.m.c.Path.AddTrust(g.m.ctx, shown.Records)
		}
	}
}

// learn reads the credential that a stranger shows.
func (g *gate) learn(s network.Stream, id peer.ID) error {
	kind, body, err := wire.Read(s, strangerBytes)
	if err != nil {
		return err
	}
	message, err := wire.DecodeDirect(kind, body)
	if err != nil {
		return err
	}
	shown, ok := message.(*wire.Show)
	if !ok {
		return fmt.Errorf("%T instead of a credential", message)
	}
	if err := g.m.c.Path.AddTrust(g.m.ctx, shown.Records); err != nil {
		return fmt.Errorf("credential of a stranger: %w", err)
	}
	if !g.member(id) {
		return errors.New("the credential shown is for another peer")
	}
	g.m.log.Info("new member", slog.String("peer", id.String()))
	return nil
}

// gatedHost is the host that every protocol gets: it refuses streams from and
// to peers outside the roster, in one place, and lets those of members wait until
// the peer has proved its key.
type gatedHost struct {
	host.Host
	gate *gate
}

// SetStreamHandler implements host.Host.
func (h gatedHost) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	h.Host.SetStreamHandler(id, h.guard(handle))
}

// SetStreamHandlerMatch implements host.Host.
func (h gatedHost) SetStreamHandlerMatch(id protocol.ID, match func(protocol.ID) bool, handle network.StreamHandler) {
	h.Host.SetStreamHandlerMatch(id, match, h.guard(handle))
}

func (h gatedHost) guard(handle network.StreamHandler) network.StreamHandler {
	return func(s network.Stream) {
		// Through a relay nothing travels but what is sealed.
		if !h.gate.member(s.Conn().RemotePeer()) || s.Conn().Stat().Limited && s.Protocol() != protocolNamed {
			h.gate.m.metrics.rejected("stranger")
			_ = s.Reset()
			return
		}
		if err := h.gate.await(h.gate.m.ctx, s.Conn()); err != nil {
			_ = s.Reset()
			return
		}
		handle(s)
	}
}

// NewStream implements host.Host.
func (h gatedHost) NewStream(ctx context.Context, id peer.ID, protocols ...protocol.ID) (network.Stream, error) {
	if !h.gate.member(id) {
		return nil, errStranger
	}
	// Whom to dial is the supervisor's business alone.
	s, err := h.Host.NewStream(network.WithNoDial(ctx, "stream"), id, protocols...)
	if err != nil {
		return nil, err
	}
	if err := h.gate.await(ctx, s.Conn()); err != nil {
		_ = s.Reset()
		return nil, err
	}
	return s, nil
}
