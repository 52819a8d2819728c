package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multistream"
	"github.com/quic-go/quic-go"

	"github.com/watchward/watchward/crypto"
)

// TLS proves peer ids, which are Ed25519 keys. Members prove their composite
// keys as well, over the exporter of the TLS session (RFC 8446, 7.5), on a
// stream that each connection begins with.
const (
	protocolSession protocol.ID = "/watchward/session/0"

	proofTime     = 10 * time.Second                   // from connecting until both sides have proved who they are
	proofEnd      = time.Second                        // a broken stream is blamed on nobody if its connection ends within
	exporterLabel = "EXPERIMENTAL watchward session 0" // for private use, RFC 5705, 4
	exporterBytes = 32
)

var (
	errUnproven  = errors.New("peer has not proved that it holds its member's key")
	errClassical = errors.New("the TLS session has no post-quantum key exchange: take tlsmlkem=0 out of GODEBUG on both sides")
)

// An Exporter derives secrets that only the two ends of one TLS session share.
// *tls.ConnectionState is one. Connections of a transport that is neither QUIC
// nor secured by TLS give theirs by As(*Exporter), which tests do.
type Exporter interface {
	ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error)
}

// exporterOf returns the exporter of a connection, whose keys were agreed on with
// X25519MLKEM768.
func exporterOf(c network.Conn) (Exporter, error) {
	var e Exporter
	var q *quic.Conn
	if c.As(&q) {
		state := q.ConnectionState().TLS
		e = &state
	} else if !c.As(&e) {
		return nil, errors.New("the connection has no TLS session")
	}
	if state, ok := e.(*tls.ConnectionState); ok && (state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768) {
		return nil, fmt.Errorf("TLS %x with %s: %w", state.Version, state.CurveID, errClassical)
	}
	return e, nil
}

// exporting makes connections that are multiplexed above TLS give their
// exporter.
type exporting struct{ network.Multiplexer }

// NewConn implements network.Multiplexer.
func (x exporting) NewConn(secured net.Conn, server bool, scope network.PeerScope) (network.MuxedConn, error) {
	c, err := x.Multiplexer.NewConn(secured, server, scope)
	if err != nil {
		return nil, err
	}
	return exportingConn{c, secured}, nil
}

type exportingConn struct {
	network.MuxedConn
	secured net.Conn
}

// As implements network.MuxedConn.
func (c exportingConn) As(target any) bool {
	e, wanted := target.(*Exporter)
	secured, ok := c.secured.(interface{ ConnectionState() tls.ConnectionState })
	if !wanted || !ok {
		return c.MuxedConn.As(target)
	}
	state := secured.ConnectionState()
	*e = &state
	return true
}

// A side of a connection: what one signs is no proof of the other's.
type side byte

const (
	sideDialled  side = 1
	sideAccepted side = 2
)

// proofMessage is what one side signs: the session, which side it is, and the
// peer ids of both, that of the side that dialled first.
func proofMessage(c network.Conn, by side) ([]byte, error) {
	e, err := exporterOf(c)
	if err != nil {
		return nil, err
	}
	message, err := e.ExportKeyingMaterial(exporterLabel, nil, exporterBytes)
	if err != nil {
		return nil, fmt.Errorf("exporter of the TLS session: %w", err)
	}
	dialled, accepted := c.LocalPeer(), c.RemotePeer()
	if c.Stat().Direction != network.DirOutbound {
		dialled, accepted = accepted, dialled
	}
	return slices.Concat(message, []byte{byte(by)}, []byte(dialled), []byte(accepted)), nil
}

func signProof(c network.Conn, by side, key *crypto.PrivateKey, region crypto.Region) ([]byte, error) {
	message, err := proofMessage(c, by)
	if err != nil {
		return nil, err
	}
	return key.Sign(crypto.Context("session", region), message)
}

// Prove proves on a connection that this side dialled that it holds a member's
// key, and returns what the other side proves with, unverified. A Mesh does that
// by itself: this is for a host without one, as hostile peers in tests have.
func Prove(ctx context.Context, c network.Conn, key *crypto.PrivateKey, region crypto.Region) ([]byte, error) {
	mine, err := signProof(c, sideDialled, key, region)
	if err != nil {
		return nil, err
	}
	s, err := c.NewStream(network.WithAllowLimitedConn(ctx, "session")) // of this connection: another one is another session
	if err != nil {
		return nil, err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	if err := s.SetProtocol(protocolSession); err != nil {
		_ = s.Reset()
		return nil, err
	}
	theirs := make([]byte, crypto.SignatureSize)
	named := multistream.NewMSSelect(s, protocolSession) // one round trip in all
	if _, err := named.Write(mine); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(named, theirs); err != nil {
		return nil, err
	}
	return theirs, nil
}

// A proof is what is known of one connection.
type proof struct {
	begun   bool          // the peer has begun: one proof a connection is looked at
	key     []byte        // that the peer has proved to hold, nil = none yet
	decided chan struct{} // closed once it has, or the connection has ended
}

// proofOf returns what is known of a connection.
func (g *gate) proofOf(c network.Conn) *proof {
	g.mu.Lock()
	p := g.proofs[c]
	if p == nil {
		p = &proof{decided: make(chan struct{})}
		g.proofs[c] = p
	}
	g.mu.Unlock()
	if c.IsClosed() { // maybe forgotten already: what is closed later is forgotten then
		g.ended(c)
	}
	return p
}

// ended forgets a connection.
func (g *gate) ended(c network.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.proofs[c]; p != nil {
		delete(g.proofs, c)
		if p.key == nil {
			close(p.decided)
		}
	}
}

// proven notes that the peer has proved to hold a key.
func (g *gate) proven(c network.Conn, key []byte) {
	p := g.proofOf(c)
	g.mu.Lock()
	if g.proofs[c] == p && p.key == nil {
		p.key = key
		close(p.decided)
	}
	g.mu.Unlock()
}

// provenKey returns the key that was proved on a connection, nil if none was.
func (g *gate) provenKey(c network.Conn) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.proofs[c]; p != nil {
		return p.key
	}
	return nil
}

// heard returns those of a peer's connections on which it has proved itself, but
// for circuits.
func (g *gate) heard(id peer.ID) []network.Conn {
	return slices.DeleteFunc(slices.Clone(g.m.host.Network().ConnsToPeer(id)), func(c network.Conn) bool {
		return c.IsClosed() || c.Stat().Limited || g.provenKey(c) == nil
	})
}

// await returns once the peer has proved itself on a connection. It waits no
// longer than the connection lasts without.
func (g *gate) await(ctx context.Context, c network.Conn) error {
	p := g.proofOf(c)
	select {
	case <-p.decided:
	default:
		timer := time.NewTimer(proofTime)
		defer timer.Stop()
		select {
		case <-p.decided:
		case <-timer.C:
		case <-ctx.Done():
		case <-g.m.ctx.Done():
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.key == nil {
		return errUnproven
	}
	return nil
}

// prove is the proof of both on a connection that this side dialled. It reports
// whether the peer's was good, and closes the connection otherwise.
func (g *gate) prove(c network.Conn) bool {
	ctx, cancel := context.WithDeadline(g.m.ctx, c.Stat().Opened.Add(proofTime))
	defer cancel()
	theirs, err := Prove(ctx, c, g.m.c.Signing, g.m.c.Roster.Region())
	if err == nil {
		err = g.verify(c, sideAccepted, theirs)
	}
	if err != nil {
		g.refuse(c, err)
	}
	return err == nil
}

// handleSession is the proof of both on a connection that the peer dialled. It
// goes first: this side signs for nobody who has proved nothing.
func (g *gate) handleSession(s network.Stream) {
	c := s.Conn()
	defer s.Close()
	if !g.member(c.RemotePeer()) || !g.begin(c) {
		g.m.metrics.rejected("stranger")
		_ = s.Reset()
		return
	}
	g.m.mu.Lock()
	if g.m.ctx.Err() != nil {
		g.m.mu.Unlock()
		_ = s.Reset()
		return
	}
	g.m.wait.Add(1)
	g.m.mu.Unlock()
	defer g.m.wait.Done()
	if err := g.answer(s); err != nil {
		_ = s.Reset()
		g.refuse(c, err)
	}
}

// begin reports whether a connection that the peer dialled may begin with a
// proof now: it does so once.
func (g *gate) begin(c network.Conn) bool {
	p := g.proofOf(c)
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.begun || c.Stat().Direction == network.DirOutbound {
		return false
	}
	p.begun = true
	return true
}

func (g *gate) answer(s network.Stream) error {
	c := s.Conn()
	if err := s.SetDeadline(c.Stat().Opened.Add(proofTime)); err != nil {
		return err
	}
	theirs := make([]byte, crypto.SignatureSize)
	if _, err := io.ReadFull(s, theirs); err != nil {
		return err
	}
	if err := g.verify(c, sideDialled, theirs); err != nil {
		return err
	}
	mine, err := signProof(c, sideAccepted, g.m.c.Signing, g.m.c.Roster.Region())
	if err != nil {
		return err
	}
	_, err = s.Write(mine)
	return err
}

// verify checks the peer's proof with the key of the credential that binds its
// peer id, and lets it be heard.
func (g *gate) verify(c network.Conn, by side, theirs []byte) error {
	credential, known := g.m.c.Roster.ByPeer(string(c.RemotePeer()))
	if !known {
		return errStranger
	}
	key, err := g.m.c.Roster.Key(credential)
	if err != nil {
		return err
	}
	message, err := proofMessage(c, by)
	if err != nil {
		return err
	}
	if err := key.Verify(crypto.Context("session", credential.Region), message, theirs); err != nil {
		return err
	}
	g.proven(c, credential.Key)
	g.changed(c.RemotePeer())
	if g.m.c.Reached != nil {
		g.m.c.Reached(string(c.RemotePeer()))
	}
	return nil
}

// expect drops a connection that the peer dialled unless it proves itself in
// time.
func (g *gate) expect(c network.Conn) {
	p := g.proofOf(c)
	timer := time.NewTimer(time.Until(c.Stat().Opened.Add(proofTime)))
	defer timer.Stop()
	select {
	case <-g.m.ctx.Done():
	case <-p.decided:
	case <-timer.C:
		if g.member(c.RemotePeer()) { // strangers are dropped elsewhere
			g.refuse(c, fmt.Errorf("%w within %s", errUnproven, proofTime))
		}
	}
}

// refuse drops a connection on which the peer has not proved itself, and names
// the member. Nobody is blamed for a connection that just ended.
func (g *gate) refuse(c network.Conn, err error) {
	defer c.Close()
	if !errors.Is(err, crypto.ErrSignature) && !errors.Is(err, errUnproven) {
		select {
		case <-g.proofOf(c).decided:
		case <-g.m.ctx.Done():
		case <-time.After(proofEnd):
		}
	}
	credential, known := g.m.c.Roster.ByPeer(string(c.RemotePeer()))
	if g.m.ctx.Err() != nil || c.IsClosed() || !known || g.provenKey(c) != nil {
		g.m.log.Debug("session", slog.String("peer", c.RemotePeer().String()), slog.Any("err", err))
		return
	}
	g.m.metrics.rejected("session")
	if !errors.Is(err, crypto.ErrSignature) {
		// Silence is no proof of theft: the line was cut, or the other side is starting.
		g.m.log.Warn("peer has not proved its keys in time, and is dropped", slog.String("member", credential.Name),
			slog.String("peer", c.RemotePeer().String()), slog.String("addr", c.RemoteMultiaddr().String()), slog.Any("err", err))
		return
	}
	g.m.log.Warn("peer does not prove that it holds this member's key and is dropped: its peer key may be in other hands",
		slog.String("member", credential.Name), slog.String("peer", c.RemotePeer().String()),
		slog.String("addr", c.RemoteMultiaddr().String()), slog.Any("err", err))
}

// outdated reports whether a connection was proved with a key that the peer's
// credential does not hold any more.
func (g *gate) outdated(c network.Conn) bool {
	key := g.provenKey(c)
	credential, known := g.m.c.Roster.ByPeer(string(c.RemotePeer()))
	return key != nil && known && string(credential.Key) != string(key)
}
