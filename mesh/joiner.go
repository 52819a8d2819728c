package mesh

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	p2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"

	"github.com/watchward/watchward/mesh/wire"
)

// A joiner that has been heard once goes on after an interruption, at this pace.
const (
	rejoinFirst = time.Second
	rejoinMax   = 30 * time.Second
)

// A Joiner hands a request to join to a coordinator's node and waits for the
// admission. All fields but Transports are required.
type Joiner struct {
	Identity [32]byte  // seed of the libp2p Ed25519 key that the request names
	Seeds    []string  // multiaddresses that end in /p2p/ID, tried in their order
	Join     wire.Join // the request
	// Open returns what a challenge holds.
	Open func(box []byte) ([]byte, error)
	// Kept is called whenever a coordinator's node says that it has the request.
	Kept func(number uint64)
	// Lost is called when contact is lost; the joiner tries again after a while.
	Lost func(err error, again time.Duration)

	Transports []libp2p.Option // tests: instead of QUIC, TCP and WebSocket
}

// Run returns the admission, of which nothing is verified. Until a coordinator's
// node has kept the request, the first round in which no seed takes it is an
// error; then only the end of ctx and a *JoinRefusal are.
func (j *Joiner) Run(ctx context.Context) ([]byte, error) {
	seeds, err := j.seeds()
	if err != nil {
		return nil, err
	}
	h, err := j.host()
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	defer h.Close()
	kept := false
	for pause := rejoinFirst; ; pause = min(2*pause, rejoinMax) {
		admission, err := j.round(ctx, h, seeds, func(number uint64) {
			kept, pause = true, rejoinFirst
			j.Kept(number)
		})
		var refusal *JoinRefusal
		refused := errors.As(err, &refusal)
		switch {
		case err == nil:
			return admission, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case refused && !refusal.Later(), !refused && !kept:
			return nil, err
		}
		again := pause/2 + rand.N(pause)
		j.Lost(err, again)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(again):
		}
	}
}

func (j *Joiner) seeds() ([]peer.AddrInfo, error) {
	addrs, err := parseAddrs(j.Seeds)
	if err != nil {
		return nil, err
	}
	return peer.AddrInfosFromP2pAddrs(addrs...)
}

// host makes a host that dials and serves nobody.
func (j *Joiner) host() (host.Host, error) {
	key, err := p2pcrypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(j.Identity[:]))
	if err != nil {
		return nil, fmt.Errorf("peer key: %w", err)
	}
	transports := j.Transports
	if transports == nil {
		if transports, err = newTransports(); err != nil {
			return nil, err
		}
	}
	resources, err := newResources(spoke)
	if err != nil {
		return nil, err
	}
	return libp2p.New(append([]libp2p.Option{
		libp2p.Identity(key),
		libp2p.UserAgent("watchward"),
		libp2p.Security(p2ptls.ID, p2ptls.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ResourceManager(resources),
		libp2p.NoListenAddrs,
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.Ping(false),
		libp2p.WithDialTimeout(dialTimeout),
	}, transports...)...)
}

// round tries every seed until one takes the request.
func (j *Joiner) round(ctx context.Context, h host.Host, seeds []peer.AddrInfo, kept func(uint64)) ([]byte, error) {
	var errs []error
	for _, seed := range seeds {
		admission, err := j.ask(ctx, h, seed, kept)
		if err == nil || ctx.Err() != nil {
			return admission, err
		}
		var refusal *JoinRefusal
		if errors.As(err, &refusal) { // its words are enough
			return nil, err
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// ask speaks to one coordinator's node.
func (j *Joiner) ask(ctx context.Context, h host.Host, to peer.AddrInfo, kept func(uint64)) ([]byte, error) {
	if err := h.Connect(ctx, to); err != nil {
		return nil, &UnreachableError{Addrs: where(to), Err: err}
	}
	defer h.Network().ClosePeer(to.ID)
	opening, cancel := context.WithTimeout(ctx, joinStep)
	defer cancel()
	s, err := h.NewStream(opening, to.ID, protocolJoin)
	if err != nil {
		return nil, fmt.Errorf("the node at %s takes no requests now: is it a coordinator's, and does it run this version? Try again in a minute (%w)", where(to), err)
	}
	defer s.Close()
	ended := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer ended()
	step := func() { _ = s.SetDeadline(time.Now().Add(joinStep)) }
	step()
	if _, err := wire.Write(s, wire.KindJoin, &j.Join); err != nil {
		return nil, fmt.Errorf("hand over the request: %w", err)
	}
	challenge, err := readJoin[*wire.Challenge](s, wire.ChallengeMax+64)
	if err != nil {
		return nil, fmt.Errorf("hand over the request: %w", err)
	}
	content, err := j.Open(challenge.Box)
	if err != nil {
		return nil, fmt.Errorf("the challenge of the node at %s does not open: is it of another region than the invitation? (%w)", where(to), err)
	}
	step()
	if _, err := wire.Write(s, wire.KindAnswer, &wire.Answer{Content: content}); err != nil {
		return nil, fmt.Errorf("prove the keys: %w", err)
	}
	for {
		kind, body, err := wire.Read(s, wire.AdmissionPartMax+64)
		if err != nil {
			return nil, fmt.Errorf("wait for the admission: %w", err)
		}
		message, err := wire.DecodeJoin(kind, body)
		if err != nil {
			return nil, err
		}
		switch m := message.(type) {
		case *wire.Refused:
			return nil, &JoinRefusal{m.Reason}
		case *wire.Kept:
			kept(m.Number)
			_ = s.SetDeadline(time.Now().Add(keptEvery + joinStep))
		case *wire.Admission:
			_ = s.SetDeadline(time.Now().Add(admissionTime))
			return readAdmission(s, m)
		default:
			return nil, fmt.Errorf("%T while waiting for the admission", m)
		}
	}
}

// readAdmission reads the parts that follow the first.
func readAdmission(s interface{ Read([]byte) (int, error) }, part *wire.Admission) ([]byte, error) {
	out := part.Part
	for part.More {
		next, err := readJoin[*wire.Admission](s, wire.AdmissionPartMax+64)
		if err != nil {
			return nil, fmt.Errorf("receive the admission: %w", err)
		}
		if part = next; len(out)+len(part.Part) > wire.AdmissionMax {
			return nil, fmt.Errorf("the admission has more than %d bytes", wire.AdmissionMax)
		}
		out = append(out, part.Part...)
	}
	return out, nil
}

// An UnreachableError says that no address of a node could be dialled.
type UnreachableError struct {
	Addrs string
	Err   error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("cannot reach the coordinator's node at %s", e.Addrs)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

func where(to peer.AddrInfo) string {
	out := make([]string, len(to.Addrs))
	for i, a := range to.Addrs {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}
