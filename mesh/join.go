package mesh

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/time/rate"

	"github.com/watchward/watchward/mesh/wire"
)

const protocolJoin protocol.ID = "/watchward/join/0"

// Bounds of joining. Who has proved an invitation is no stranger any more, but
// counts here until the admission comes.
const (
	joinsMax       = 8                // handshakes at once
	waitersMax     = 64               // joiners that wait for people, on open connections
	waitersPerIP   = 8                // of them from one address
	joinStep       = 10 * time.Second // for one word of the other side
	keptEvery      = 20 * time.Second // that a request still waits is said so often …
	waitMax        = 10 * time.Minute // … and for so long on one stream
	admissionTime  = time.Minute      // for the whole of it
	failuresBurst  = 6                // refused attempts from one address …
	failuresPerMin = 2                // … and how many a minute after that
)

// A Registrar decides about requests to join; the word is that of RFC 8995. All
// methods must be safe for concurrent use. Errors that the joiner is told are a
// *JoinRefusal.
type Registrar interface {
	// Offers reports whether this node takes requests at all: coordinators' do.
	Offers() bool
	// Challenge checks a request and the proof of its invitation, and returns a
	// box that only the holder of the request's seal key can open, and what is in it.
	Challenge(j *wire.Join, from peer.ID) (box, content []byte, err error)
	// Keep returns when a request whose challenge was answered is durable, and its
	// number. ip is where it came from.
	Keep(ctx context.Context, j *wire.Join, ip string) (number uint64, err error)
	// Admission waits until the request's author is a member and returns what it
	// is handed, at most wire.AdmissionMax bytes.
	Admission(ctx context.Context, j *wire.Join) ([]byte, error)
}

// A JoinRefusal is a coordinator's no.
type JoinRefusal struct {
	Reason uint8 // wire.Refused…
}

// Later reports whether the same request may be taken later.
func (r *JoinRefusal) Later() bool {
	return r.Reason == wire.RefusedFull || r.Reason == wire.RefusedSlower
}

func (r *JoinRefusal) Error() string {
	switch r.Reason {
	case wire.RefusedInvitation:
		return "the coordinator's node does not know this invitation: ask for a new one"
	case wire.RefusedExpired:
		return "the invitation has expired, by the coordinator's clock: ask for a new one"
	case wire.RefusedUsed:
		return "another request has come by this invitation: it is good for one only; tell the coordinator, and ask for a new one"
	case wire.RefusedRequest:
		return "the coordinator's node cannot read this request: is its watchward of another version?"
	case wire.RefusedKeys:
		return "this node did not prove that it holds its seal key: was identity.key or request.ww copied from elsewhere?"
	case wire.RefusedFull:
		return "too many requests wait at the coordinator's node: they must admit some first"
	case wire.RefusedSlower:
		return "too many attempts have come from this address"
	}
	return fmt.Sprintf("the coordinator's node refuses it for reason %d, which this version does not know", r.Reason)
}

// A waiter is a peer whose request waits on an open connection.
type waiter struct {
	ip     string
	cancel context.CancelFunc
}

// offerJoin serves the join stream as long as this node is a coordinator's.
func (g *gate) offerJoin() {
	if g.m.c.Registrar == nil {
		return
	}
	bare := g.m.host.(gatedHost).Host
	if g.m.c.Registrar.Offers() {
		bare.SetStreamHandler(protocolJoin, g.handleJoin)
	} else {
		bare.RemoveStreamHandler(protocolJoin)
	}
}

// waits reports whether a peer's request waits on an open connection.
func (g *gate) waits(id peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiters[id] != nil
}

func (g *gate) handleJoin(s network.Stream) {
	id, ip := s.Conn().RemotePeer(), ipOf(s.Conn())
	g.m.mu.Lock()
	if g.m.ctx.Err() != nil {
		g.m.mu.Unlock()
		_ = s.Reset()
		return
	}
	g.m.wait.Add(1)
	g.m.mu.Unlock()
	defer g.m.wait.Done()
	err := g.takeJoin(s, id, ip)
	var refusal *JoinRefusal
	if errors.As(err, &refusal) {
		err = errors.Join(err, g.refuseJoin(s, refusal))
	}
	if err != nil && g.m.ctx.Err() == nil {
		g.m.metrics.rejected("join")
		g.m.log.Debug("join", slog.String("peer", id.String()), slog.String("ip", ip), slog.Any("err", err))
		_ = s.Reset()
	}
	// A member's next connection finds all protocols open; a stranger has had its
	// stream.
	_ = s.Conn().Close()
}

// refuseJoin says why, and waits a little until it is read.
func (g *gate) refuseJoin(s network.Stream, r *JoinRefusal) error {
	if err := s.SetDeadline(time.Now().Add(strangerTime)); err != nil {
		return err
	}
	if _, err := wire.Write(s, wire.KindRefused, &wire.Refused{Reason: r.Reason}); err != nil {
		return err
	}
	return lastWord(s)
}

// lastWord ends what this side says, and returns when the other has read it; what
// the other was still saying is not looked at.
func lastWord(s network.Stream) error {
	if err := s.CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, io.LimitReader(s, wire.JoinMax))
	return err
}

// takeJoin is the coordinator's side of the stream. The author proves every key:
// the connection proves the peer key, the request's own signatures that and the
// composite one, and the challenge the seal key.
func (g *gate) takeJoin(s network.Stream, id peer.ID, ip string) error {
	j, box, content, err := g.hear(s, id, ip)
	if err != nil {
		return err
	}
	ctx, leave, err := g.enqueue(id, ip)
	if err != nil {
		return err
	}
	defer leave()
	if err := g.challenge(s, box, content); err != nil {
		g.failed(ip)
		return err
	}
	g.welcome(ip)
	number, err := g.m.c.Registrar.Keep(ctx, j, ip)
	if err != nil {
		return err
	}
	if err := sayKept(s, number); err != nil {
		return err
	}
	return g.hold(ctx, s, j, number)
}

// hear reads a request and the proof of its invitation, of which few are checked
// at once. Until then its author is a stranger.
func (g *gate) hear(s network.Stream, id peer.ID, ip string) (j *wire.Join, box, content []byte, err error) {
	if !g.mayTry(ip) {
		return nil, nil, nil, &JoinRefusal{wire.RefusedSlower}
	}
	select {
	case g.joins <- struct{}{}:
		defer func() { <-g.joins }()
	default:
		return nil, nil, nil, &JoinRefusal{wire.RefusedFull}
	}
	if err := s.SetDeadline(time.Now().Add(strangerTime)); err != nil {
		return nil, nil, nil, err
	}
	if j, err = readJoin[*wire.Join](s, wire.JoinMax); err == nil {
		box, content, err = g.m.c.Registrar.Challenge(j, id)
	}
	if err != nil {
		g.failed(ip)
	}
	return j, box, content, err
}

// challenge has the joiner open a box.
func (g *gate) challenge(s network.Stream, box, content []byte) error {
	if err := s.SetDeadline(time.Now().Add(joinStep)); err != nil {
		return err
	}
	if _, err := wire.Write(s, wire.KindChallenge, &wire.Challenge{Box: box}); err != nil {
		return err
	}
	answer, err := readJoin[*wire.Answer](s, 2*wire.AnswerSize)
	if err == nil && subtle.ConstantTimeCompare(answer.Content, content) != 1 {
		err = &JoinRefusal{wire.RefusedKeys}
	}
	return err
}

// readJoin reads one message of a join stream, which must be an M.
func readJoin[M any](s io.Reader, limit int) (m M, err error) {
	kind, body, err := wire.Read(s, limit)
	if err != nil {
		return m, err
	}
	message, err := wire.DecodeJoin(kind, body)
	if err != nil {
		return m, err
	}
	if refused, ok := message.(*wire.Refused); ok {
		return m, &JoinRefusal{refused.Reason}
	}
	m, ok := message.(M)
	if !ok {
		return m, fmt.Errorf("%T instead of %T", message, m)
	}
	return m, nil
}

// mayTry reports whether an address has attempts left.
func (g *gate) mayTry(ip string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failures[ip] == nil || g.failures[ip].Tokens() >= 1
}

// failed counts an attempt from an address that came to nothing.
func (g *gate) failed(ip string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.failures) >= showsTracked {
		clear(g.failures)
	}
	if g.failures[ip] == nil {
		g.failures[ip] = rate.NewLimiter(rate.Every(time.Minute/failuresPerMin), failuresBurst)
	}
	g.failures[ip].Allow()
}

// welcome forgets what an address has cost: somebody there was invited, and many
// hospitals may stand behind it.
func (g *gate) welcome(ip string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.shown, ip)
}

// enqueue counts a peer as one that waits. An older stream of the same peer ends:
// its other end is gone, or was restarted.
func (g *gate) enqueue(id peer.ID, ip string) (context.Context, func(), error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before, same := g.waiters[id], 0
	for _, w := range g.waiters {
		if w.ip == ip && w != before {
			same++
		}
	}
	if before != nil {
		before.cancel()
	} else if len(g.waiters) >= waitersMax || same >= waitersPerIP {
		return nil, nil, &JoinRefusal{wire.RefusedFull}
	}
	ctx, cancel := context.WithTimeout(g.m.ctx, waitMax)
	w := &waiter{ip, cancel}
	g.waiters[id] = w
	delete(g.strangers, id)
	return ctx, func() {
		cancel()
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.waiters[id] == w {
			delete(g.waiters, id)
		}
	}, nil
}

func sayKept(s network.Stream, number uint64) error {
	if err := s.SetWriteDeadline(time.Now().Add(joinStep)); err != nil {
		return err
	}
	_, err := wire.Write(s, wire.KindKept, &wire.Kept{Number: number})
	return err
}

// hold keeps the stream until people have decided, and tells the joiner now and
// then that it is not forgotten. After waitMax the joiner comes again.
func (g *gate) hold(ctx context.Context, s network.Stream, j *wire.Join, number uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	gone := make(chan struct{})
	g.m.wait.Go(func() { // the joiner says nothing more: an end of the stream is its own
		defer close(gone)
		_, _ = s.Read(make([]byte, 1))
		cancel()
	})
	decided := make(chan error, 1)
	var admission []byte
	g.m.wait.Go(func() {
		var err error
		admission, err = g.m.c.Registrar.Admission(ctx, j)
		decided <- err
	})
	tick := time.NewTicker(keptEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-decided:
			if ctx.Err() != nil || err != nil {
				return err
			}
			err = sendAdmission(s, admission)
			if err == nil {
				<-gone // with the stream's deadline at the latest
			}
			return err
		case <-tick.C:
			if err := sayKept(s, number); err != nil {
				return err
			}
		}
	}
}

func sendAdmission(s network.Stream, admission []byte) error {
	if err := s.SetDeadline(time.Now().Add(admissionTime)); err != nil {
		return err
	}
	for parts := bytes.NewBuffer(admission); ; {
		part := parts.Next(wire.AdmissionPartMax)
		more := parts.Len() > 0
		if _, err := wire.Write(s, wire.KindAdmission, &wire.Admission{Part: part, More: more}); err != nil {
			return err
		}
		if !more {
			return s.CloseWrite()
		}
	}
}
