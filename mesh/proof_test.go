package mesh_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	p2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/multiformats/go-multistream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/mesh/wire"
)

const protocolSession protocol.ID = "/watchward/session/0"

// A watch is what a node counts and logs.
type watch struct {
	*prometheus.Registry
	mu  sync.Mutex
	log bytes.Buffer
}

func (w *watch) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

// on makes a node count and log to the watch.
func (w *watch) on(c *mesh.Config) {
	w.Registry = prometheus.NewRegistry()
	c.Registerer, c.Log = w.Registry, slog.New(slog.NewTextHandler(w, nil))
}

// rejected is how often something was refused for a reason.
func (w *watch) rejected(t *testing.T, reason string) (n int) {
	t.Helper()
	families, err := w.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, x := range f.GetMetric() {
			if f.GetName() == "watchward_rejected_total" && x.GetLabel()[0].GetValue() == reason {
				n += int(x.GetCounter().GetValue())
			}
		}
	}
	return n
}

// names reports whether a line of the log has all words.
func (w *watch) names(words ...string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(strings.Split(w.log.String(), "\n"), func(line string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) })
	})
}

// On every transport the keys are agreed on with X25519MLKEM768, without anybody
// asking for it, and both ends have one exporter that no other session has.
func TestPostQuantumKeyExchange(t *testing.T) {
	seen := map[string]string{}
	for name, listen := range map[string]string{"quic-v1": quicAny, "tcp": "/ip4/127.0.0.1/tcp/0", "wss": "/ip4/127.0.0.1/tcp/0/tls/ws"} {
		t.Run(name, func(t *testing.T) {
			r := testkit.NewRegion(t, "a", "b")
			a := start(t, r, 0, func(c *mesh.Config) { c.Listen = []string{listen} })
			b := start(t, r, 1, spoke(a))
			awaitPeers(t, 1, a, b)
			var exported []string
			for _, c := range []network.Conn{a.Links(b.libp2pID())[0], b.Links(a.libp2pID())[0]} {
				e, err := mesh.ExporterOf(c)
				if err != nil {
					t.Fatal(err)
				}
				state, ok := e.(*tls.ConnectionState)
				if !ok || state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 {
					t.Errorf("%T %+v, want TLS 1.3 with X25519MLKEM768", e, state)
				}
				secret, err := e.ExportKeyingMaterial("EXPERIMENTAL test", nil, 32)
				if err != nil {
					t.Fatal(err)
				}
				exported = append(exported, string(secret))
			}
			if exported[0] != exported[1] || seen[exported[0]] != "" {
				t.Errorf("exporters %x, seen before on %q", exported, seen[exported[0]])
			}
			seen[exported[0]] = name
		})
	}
}

// configOf is the TLS of a peer that offers only some curves.
func configOf(t *testing.T, h host.Host, curves ...tls.CurveID) *tls.Config {
	t.Helper()
	identity, err := p2ptls.NewIdentity(h.Peerstore().PrivKey(h.ID()))
	if err != nil {
		t.Fatal(err)
	}
	config, _ := identity.ConfigForPeer("")
	config.CurvePreferences, config.NextProtos = curves, []string{"libp2p"}
	return config
}

// A peer that wants classical keys only is refused, member or not, by either
// side.
func TestDowngradeIsRefused(t *testing.T) {
	classical := []tls.CurveID{tls.X25519, tls.CurveP256}
	ways := map[string]struct {
		listen string
		dial   func(t *testing.T, at net.Addr, config *tls.Config) (closed func() error)
	}{
		"quic": {quicAny, func(t *testing.T, at net.Addr, config *tls.Config) func() error {
			c, err := quic.DialAddr(t.Context(), at.String(), config, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.CloseWithError(0, "") })
			return func() error { _, err := c.AcceptStream(t.Context()); return err }
		}},
		"tcp": {"/ip4/127.0.0.1/tcp/0", func(t *testing.T, at net.Addr, config *tls.Config) func() error {
			plain, err := net.Dial("tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = plain.Close() })
			if err := multistream.SelectProtoOrFail(protocol.ID(p2ptls.ID), plain); err != nil {
				t.Fatal(err)
			}
			config.NextProtos = []string{"/yamux/1.0.0"}
			c := tls.Client(plain, config)
			if err := c.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			return func() error { _, err := io.Copy(io.Discard, c); return err }
		}},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			r := testkit.NewRegion(t, "a", "b")
			var w watch
			a := start(t, r, 0, both(w.on, func(c *mesh.Config) { c.Listen = []string{way.listen} }))
			base, _ := multiaddr.SplitFunc(multiaddr.StringCast(a.addrs[0]), func(c multiaddr.Component) bool {
				return c.Protocol().Code == multiaddr.P_QUIC_V1 || c.Protocol().Code == multiaddr.P_P2P
			})
			at, err := manet.ToNetAddr(base)
			if err != nil {
				t.Fatal(err)
			}
			h := bare(t, r.Members[1].PeerSeed)
			way.dial(t, at, configOf(t, h))
			await(t, "connected with the keys that everybody offers", func() bool { return len(a.Links(h.ID())) == 1 })
			closed := way.dial(t, at, configOf(t, h, classical...))
			if closed() == nil && name == "quic" {
				t.Error("the connection is open")
			}
			await(t, "counted", func() bool { return w.rejected(t, "downgrade") == 1 })
			if n := len(a.Links(h.ID())); n != 1 {
				t.Errorf("%d connections, want the first alone", n)
			}
			if !w.names("member=b", "X25519", "tlsmlkem") {
				t.Errorf("the log does not name it: %s", w.log.String())
			}
		})
	}
	t.Run("who is dialled", func(t *testing.T) {
		r := testkit.NewRegion(t, "a", "b")
		h := bare(t, r.Members[1].PeerSeed)
		l, err := quic.ListenAddr("127.0.0.1:0", configOf(t, h, classical...), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var w watch
		start(t, r, 0, both(w.on, func(c *mesh.Config) {
			c.Seeds = []string{fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1/p2p/%s", l.Addr().(*net.UDPAddr).Port, h.ID())}
		}))
		await(t, "refused", func() bool { return w.rejected(t, "downgrade") > 0 })
	})
}

// halves joins the ML-DSA half of one signature with the Ed25519 half of
// another.
func halves(mldsa, ed []byte) []byte {
	const cut = crypto.SignatureSize - ed25519.SignatureSize
	return slices.Concat(mldsa[:cut], ed[cut:])
}

// stolen is what a thief of all Ed25519 keys can sign with in a member's place: its own
// ML-DSA key beside the member's Ed25519 key.
func stolen(t *testing.T, from *testkit.Member) *crypto.PrivateKey {
	t.Helper()
	own := testkit.Random("thief")
	seed := make([]byte, 32)
	if _, err := io.ReadFull(own, seed); err != nil {
		t.Fatal(err)
	}
	key, err := crypto.NewPrivateKey(append(seed, from.Signing.Seed()[32:]...))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A bad is what somebody says in place of the good proof of a side that dialled
// or accepted a connection.
type bad func(t *testing.T, c network.Conn, m *testkit.Member, dialled bool) []byte

func sign(t *testing.T, key *crypto.PrivateKey, context, message []byte) []byte {
	t.Helper()
	signature, err := key.Sign(context, message)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func message(t *testing.T, c network.Conn, dialled bool) []byte {
	t.Helper()
	m, err := mesh.ProofMessage(c, dialled)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func contextOf(m *testkit.Member) []byte { return crypto.Context("session", m.Credential.Region) }

var badProofs = map[string]bad{
	"nothing": func(*testing.T, network.Conn, *testkit.Member, bool) []byte { return nil },
	"short": func(t *testing.T, c network.Conn, m *testkit.Member, dialled bool) []byte {
		return sign(t, m.Signing, contextOf(m), message(t, c, dialled))[:crypto.SignatureSize-1]
	},
	"zeroes": func(*testing.T, network.Conn, *testkit.Member, bool) []byte {
		return make([]byte, crypto.SignatureSize)
	},
	"ML-DSA half alone": func(t *testing.T, c network.Conn, m *testkit.Member, dialled bool) []byte {
		return halves(sign(t, m.Signing, contextOf(m), message(t, c, dialled)), make([]byte, crypto.SignatureSize))
	},
	"Ed25519 half alone": func(t *testing.T, c network.Conn, m *testkit.Member, dialled bool) []byte {
		return halves(make([]byte, crypto.SignatureSize), sign(t, m.Signing, contextOf(m), message(t, c, dialled)))
	},
	"stolen Ed25519 half": func(t *testing.T, c network.Conn, m *testkit.Member, dialled bool) []byte {
		return sign(t, stolen(t, m), contextOf(m), message(t, c, dialled))
	},
	"key of nobody": func(t *testing.T, c network.Conn, m *testkit.Member, dialled bool) []byte {
		key, err := crypto.GenerateKey(testkit.Random("nobody"))
		if err != nil {
			t.Fatal(err)
		}
		return sign(t, key, contextOf(m), message(t, c, dialled))
	},
	"another context": func(t *testing.T, c network.Conn, m *testkit.Member, dialled bool) []byte {
		return sign(t, m.Signing, crypto.Context("envelope", m.Credential.Region), message(t, c, dialled))
	},
	"no context": func(t *testing.T, c network.Conn, m *testkit.Member, dialled bool) []byte {
		return sign(t, m.Signing, nil, message(t, c, dialled))
	},
	"another region": func(t *testing.T, c network.Conn, m *testkit.Member, dialled bool) []byte {
		return sign(t, m.Signing, crypto.Context("session", crypto.Region{1}), message(t, c, dialled))
	},
	"the other side's": func(t *testing.T, c network.Conn, m *testkit.Member, dialled bool) []byte {
		return sign(t, m.Signing, contextOf(m), message(t, c, !dialled))
	},
	"peer ids exchanged": func(t *testing.T, c network.Conn, m *testkit.Member, dialled bool) []byte {
		b := message(t, c, dialled)
		ids := b[33:]
		return sign(t, m.Signing, contextOf(m), slices.Concat(b[:33], ids[len(ids)/2:], ids[:len(ids)/2]))
	},
	"exporter alone": func(t *testing.T, c network.Conn, m *testkit.Member, dialled bool) []byte {
		return sign(t, m.Signing, contextOf(m), message(t, c, dialled)[:32])
	},
}

// Who has a member's peer key and says a bad proof is dropped, counted and
// named, gets no proof of the other side, and is not remembered.
func TestBadProofsAreRefused(t *testing.T) {
	t.Parallel()
	r := testkit.NewRegion(t, "a", "victim")
	var w watch
	a := start(t, r, 0, w.on)
	count := 0
	for name, say := range badProofs {
		t.Run(name, func(t *testing.T) {
			h := bare(t, r.Members[1].PeerSeed)
			if err := h.Connect(t.Context(), infoOf(t, a)); err != nil {
				t.Fatal(err)
			}
			c := h.Network().ConnsToPeer(a.libp2pID())[0]
			s, err := h.NewStream(t.Context(), a.libp2pID(), protocolSession)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Write(say(t, c, r.Members[1], true)); err != nil {
				t.Fatal(err)
			}
			if err := s.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if answer, err := io.ReadAll(s); err == nil || len(answer) > 0 {
				t.Errorf("answered with %d bytes, %v", len(answer), err)
			}
			await(t, "closed", func() bool { return c.IsClosed() })
			count++
			await(t, "counted", func() bool { return w.rejected(t, "session") == count })
			if len(a.Peers()) != 0 {
				t.Errorf("heard: %v", a.Peers())
			}
		})
	}
	if !w.names("member=victim", "level=WARN", "peer=12D3Koo") {
		t.Errorf("the log does not name it: %s", w.log.String())
	}
	await(t, "everything forgotten", func() bool { return a.Remembered() == 0 })

	h := bare(t, r.Members[1].PeerSeed) // the genuine member is heard all the same
	enter(t, h, r.Members[1], a)
	await(t, "heard", func() bool { return len(a.Peers()) == 1 })
	s, err := h.NewStream(t.Context(), a.libp2pID(), protocolSession)
	if err == nil {
		_, _ = s.Write(make([]byte, crypto.SignatureSize))
		_, err = s.Read(make([]byte, 1))
	}
	if err == nil {
		t.Error("a second proof on one connection is looked at")
	}
	if len(a.Peers()) != 1 || w.rejected(t, "session") != count {
		t.Error("a second proof took the first away")
	}
}

// The same where the thief is dialled: it hears the node's proof and has none.
func TestBadAnswersAreRefused(t *testing.T) {
	t.Parallel()
	r := testkit.NewRegion(t, "a", "victim")
	answers := badProofs
	for name, say := range answers {
		t.Run(name, func(t *testing.T) {
			h := listening(t, r.Members[1].PeerSeed)
			h.SetStreamHandler(protocolSession, func(s network.Stream) {
				_, _ = io.ReadFull(s, make([]byte, crypto.SignatureSize))
				_, _ = s.Write(say(t, s.Conn(), r.Members[1], false))
				_ = s.Close()
			})
			refusedBy(t, r, h)
		})
	}
	t.Run("the node's own", func(t *testing.T) {
		h := listening(t, r.Members[1].PeerSeed)
		h.SetStreamHandler(protocolSession, func(s network.Stream) {
			_, _ = io.CopyN(s, s, crypto.SignatureSize)
			_ = s.Close()
		})
		refusedBy(t, r, h)
	})
	t.Run("no such protocol", func(t *testing.T) { refusedBy(t, r, listening(t, r.Members[1].PeerSeed)) })
}

// listening is a hostile peer that can be dialled.
func listening(t *testing.T, seed [32]byte) host.Host {
	t.Helper()
	h := bare(t, seed)
	if err := h.Network().Listen(multiaddr.StringCast(quicAny)); err != nil {
		t.Fatal(err)
	}
	return h
}

func seedOf(h host.Host) string { return h.Addrs()[0].String() + "/p2p/" + h.ID().String() }

// refusedBy checks that a node which dials a host in the place of the region's
// second member names it and speaks no protocol of members with it.
func refusedBy(t *testing.T, r *testkit.Region, h host.Host) {
	t.Helper()
	spoken := make(chan protocol.ID, 64)
	for _, p := range []protocol.ID{"/watchward/sync/0", "/watchward/urgent/0", "/watchward/direct/0", "/meshsub/1.2.0", "/ipfs/ping/1.0.0"} {
		h.SetStreamHandler(p, func(s network.Stream) {
			if n, _ := s.Read(make([]byte, 1)); n > 0 {
				spoken <- p
			}
			_ = s.Reset()
		})
	}
	var w watch
	a := start(t, r, 0, both(w.on, func(c *mesh.Config) { c.Listen, c.Seeds = nil, []string{seedOf(h)} }))
	await(t, "refused and named", func() bool { return w.rejected(t, "session") > 0 && w.names("member=victim", "level=WARN") })
	if len(a.Peers()) != 0 {
		t.Errorf("heard: %v", a.Peers())
	}
	a.stop(t)
	select {
	case p := <-spoken:
		t.Errorf("%s was spoken", p)
	default:
	}
}

// A proof is of one TLS session: who stands between two members with the peer
// keys of both cannot hand on what one of them signed.
func TestRelayedProofIsRefused(t *testing.T) {
	r := testkit.NewRegion(t, "hub", "victim")
	var w watch
	hub := start(t, r, 0, w.on)

	between := listening(t, r.Members[0].PeerSeed)
	proofs := make(chan []byte, 1)
	between.SetStreamHandler(protocolSession, func(s network.Stream) {
		defer s.Reset()
		proof := make([]byte, crypto.SignatureSize)
		if _, err := io.ReadFull(s, proof); err != nil {
			t.Error(err)
		}
		if err := r.Members[1].Signing.Public().Verify(contextOf(r.Members[1]), message(t, s.Conn(), true), proof); err != nil {
			t.Errorf("the proof is not what it should be: %v", err)
		}
		proofs <- proof
		<-t.Context().Done()
	})
	start(t, r, 1, func(c *mesh.Config) { c.Listen, c.Seeds = nil, []string{seedOf(between)} })
	proof := <-proofs

	h := bare(t, r.Members[1].PeerSeed)
	if err := h.Connect(t.Context(), infoOf(t, hub)); err != nil {
		t.Fatal(err)
	}
	s, err := h.NewStream(t.Context(), hub.libp2pID(), protocolSession)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(proof); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Error("a relayed proof is answered")
	}
	await(t, "refused", func() bool { return w.rejected(t, "session") == 1 })
	if len(hub.Peers()) != 0 {
		t.Errorf("heard: %v", hub.Peers())
	}
}

// What is proved counts on its own connection: beside a member that is heard,
// its peer key alone opens nothing, and does not drive it away.
func TestProofIsOfOneConnection(t *testing.T) {
	r := testkit.NewRegion(t, "a", "victim")
	a := start(t, r, 0, nil)
	victim := start(t, r, 1, spoke(a))
	awaitGossip(t, victim, a)
	h := bare(t, r.Members[1].PeerSeed)
	if err := h.Connect(t.Context(), infoOf(t, a)); err != nil {
		t.Fatal(err)
	}
	ping, err := h.NewStream(t.Context(), a.libp2pID(), "/ipfs/ping/1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = ping.Write(make([]byte, 32))
	// It says that it does not know the node, after which the connection is made
	// anew: its own alone.
	show, err := h.NewStream(t.Context(), a.libp2pID(), "/watchward/show/0")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = show.Write([]byte{0})
	_ = show.CloseWrite()
	await(t, "closed", func() bool { return h.Network().Connectedness(a.libp2pID()) != network.Connected })
	if n, err := ping.Read(make([]byte, 32)); err == nil {
		t.Errorf("ping answered with %d bytes", n)
	}
	if n := len(a.Peers()); n != 1 {
		t.Fatalf("%d peers, want the genuine one", n)
	}
	awaitAll(t, victim.say(t, crypto.Header{}, []byte("still here")), a)
}

// When a member gets a new key, a session that was proved with the old one ends,
// and the old key opens no other.
func TestNewKeyEndsOldSessions(t *testing.T) {
	r := testkit.NewRegion(t, "a", "member")
	var w watch
	a := start(t, r, 0, w.on)
	member := start(t, r, 1, spoke(a))
	awaitPeers(t, 1, a)
	old := a.Links(member.libp2pID())[0]

	next, err := keyfile.NewIdentity(testkit.Random("the member's next key"))
	if err != nil {
		t.Fatal(err)
	}
	next.PeerSeed = member.member.PeerSeed
	raw, err := trust.NewRequest(next, "member", nil)
	if err != nil {
		t.Fatal(err)
	}
	request, err := trust.ParseRequest(raw)
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Admit(r.Charter, []*crypto.PrivateKey{r.Admission}, []trust.Grant{{
		Request: request, Role: trust.RoleHospital, Member: member.member.ID, Serial: 2, NotBefore: testkit.Founded, NotAfter: testkit.Forever,
	}}, testkit.Founded)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.AddTrust(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	await(t, "the old session ended", old.IsClosed)
	await(t, "the old key refused", func() bool { return w.rejected(t, "session") > 0 })
	if len(a.Peers()) != 0 {
		t.Errorf("heard: %v", a.Peers())
	}
	member.stop(t)

	h := bare(t, next.PeerSeed)
	enter(t, h, &testkit.Member{Identity: next, Credential: member.member.Credential}, a)
	await(t, "heard with the new key", func() bool { return len(a.Peers()) == 1 })
}

// Q-day: all Ed25519 keys are published. Nothing that is made with them is
// accepted, neither a session nor an envelope, whoever brings it.
func TestQDay(t *testing.T) {
	r := testkit.NewRegion(t, "hub", "victim", "insider")
	var w watch
	hub := start(t, r, 0, w.on)
	victim := r.Members[1]

	thief := *victim
	identity := *victim.Identity
	identity.Signing = stolen(t, victim)
	thief.Identity = &identity
	var forged []*crypto.Envelope
	before := victim.Envelope(t, crypto.Header{Time: now()}, nil, []byte("genuine"))
	for i := range 4 {
		header := crypto.Header{Time: now() + int64(i), Urgent: i%2 == 0}
		e := thief.Envelope(t, header, nil, []byte("all is well"))
		if i > 1 { // with a genuine ML-DSA half, of something else
			e = forgery(t, e, halves(before.Signature, e.Signature))
		}
		forged = append(forged, e)
	}

	// As the victim itself: it is not even looked at.
	for range 3 {
		h := bare(t, victim.PeerSeed)
		if err := h.Connect(t.Context(), infoOf(t, hub)); err != nil {
			t.Fatal(err)
		}
		for _, e := range forged {
			if s, err := h.NewStream(t.Context(), hub.libp2pID(), "/watchward/urgent/0"); err == nil {
				_, _ = wire.Write(s, wire.KindPush, &wire.Push{Raw: e.Raw})
			}
		}
		c := h.Network().ConnsToPeer(hub.libp2pID())[0]
		_, err := mesh.Prove(t.Context(), c, thief.Signing, r.ID)
		if err == nil {
			t.Error("a session is proved with stolen keys")
		}
		await(t, "dropped", func() bool { return c.IsClosed() })
	}
	await(t, "counted", func() bool { return w.rejected(t, "session") == 3 })
	if n := hub.refused("signature"); n != 0 || len(hub.Peers()) != 0 {
		t.Errorf("%d envelopes of somebody without a session were looked at, peers %v", n, hub.Peers())
	}

	// By a member that is in league with the thief: each is refused.
	h := bare(t, r.Members[2].PeerSeed)
	enter(t, h, r.Members[2], hub)
	for i, e := range forged {
		s, err := h.NewStream(t.Context(), hub.libp2pID(), "/watchward/urgent/0")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wire.Write(s, wire.KindPush, &wire.Push{Raw: e.Raw}); err != nil {
			t.Fatal(err)
		}
		await(t, "refused", func() bool { return hub.refused("signature") == i+1 })
	}
	for _, e := range forged {
		if hub.has(e) {
			t.Errorf("a forged envelope is accepted")
		}
	}
}

// forgery is an envelope under another signature.
func forgery(t *testing.T, e *crypto.Envelope, signature []byte) *crypto.Envelope {
	t.Helper()
	out, err := crypto.ParseEnvelope(slices.Concat(e.Signed, signature, e.Items))
	if err != nil {
		t.Fatal(err)
	}
	return out
}
