package mesh_test

import (
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
)

// bare returns a plain libp2p host under a peer key, for a hostile peer.
func bare(t *testing.T, seed [32]byte) host.Host {
	t.Helper()
	key, err := p2pcrypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	return hostWith(t, key)
}

func hostWith(t *testing.T, key p2pcrypto.PrivKey) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.Identity(key), libp2p.NoListenAddrs, libp2p.DisableMetrics(), libp2p.DisableIdentifyAddressDiscovery())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func infoOf(t *testing.T, n *node) peer.AddrInfo {
	t.Helper()
	info, err := peer.AddrInfoFromString(n.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	return *info
}

// enter connects a hostile peer that has a member's keys to a node, as that
// member.
func enter(t *testing.T, h host.Host, as *testkit.Member, to *node) {
	t.Helper()
	if err := h.Connect(t.Context(), infoOf(t, to)); err != nil {
		t.Fatal(err)
	}
	if _, err := mesh.Prove(t.Context(), h.Network().ConnsToPeer(to.libp2pID())[0], as.Signing, as.Credential.Region); err != nil {
		t.Fatal(err)
	}
}

func TestEveryTransportCarries(t *testing.T) {
	for name, listen := range map[string]string{
		"quic-v1": quicAny, "tcp": "/ip4/127.0.0.1/tcp/0", "ws": "/ip4/127.0.0.1/tcp/0/tls/ws",
	} {
		t.Run(name, func(t *testing.T) {
			r := testkit.NewRegion(t, "a", "b")
			a := start(t, r, 0, func(c *mesh.Config) { c.Listen = []string{listen} })
			b := start(t, r, 1, spoke(a))
			awaitPeers(t, 1, a, b)
			if at := b.Peers()[0].Addr; !strings.Contains(at, "/"+name) {
				t.Errorf("connected by %s, want %s", at, name)
			}
			awaitGossip(t, a, b)
			awaitGossip(t, b, a)
		})
	}
}

// All ports of a hospital may be one.
func TestOnePort(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b", "c")
	a := start(t, r, 0, func(c *mesh.Config) { c.Listen = []string{"/ip4/127.0.0.1/tcp/0"} })
	tcp := a.Addrs()[0]
	a.stop(t)
	plain := tcp[:strings.Index(tcp, "/p2p/")]
	a = start(t, r, 0, func(c *mesh.Config) {
		c.Listen = []string{plain, plain + "/tls/ws", strings.Replace(plain, "/tcp/", "/udp/", 1) + "/quic-v1"}
	})
	if len(a.Addrs()) != 3 {
		t.Fatalf("listens on %v", a.Addrs())
	}
}

func TestGossipReachesAll(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b", "c", "d", "e", "f")
	hub := start(t, r, 0, func(c *mesh.Config) { c.Hub = true })
	nodes := []*node{hub}
	for i := 1; i < len(r.Members); i++ {
		change := seed(hub)
		if i%2 == 0 {
			change = spoke(hub)
		}
		nodes = append(nodes, start(t, r, i, change))
	}
	awaitPeers(t, 1, nodes...)
	awaitGossip(t, hub, nodes[1:]...)
	for _, n := range nodes[1:] {
		awaitGossip(t, n, hub)
	}
	for _, n := range nodes {
		for _, audience := range []crypto.Audience{crypto.AudienceRegion, crypto.AudienceCommunity} {
			awaitAll(t, n.say(t, crypto.Header{Audience: audience}, []byte(n.member.Credential.Name)), nodes...)
		}
	}
}

// hostile joins a topic as a member would, with the rules of pubsub alone.
func hostile(t *testing.T, as *testkit.Member, victim *node, topics ...string) []*pubsub.Topic {
	t.Helper()
	return join(t, bare(t, as.PeerSeed), as, victim, topics...)
}

func join(t *testing.T, h host.Host, as *testkit.Member, victim *node, topics ...string) []*pubsub.Topic {
	t.Helper()
	enter(t, h, as, victim)
	router, err := pubsub.NewGossipSub(t.Context(), h, pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(func(m *pb.Message) string { return string(m.Data) }), pubsub.WithFloodPublish(true))
	if err != nil {
		t.Fatal(err)
	}
	joined := map[string]*pubsub.Topic{}
	in := func(name string) *pubsub.Topic {
		t.Helper()
		if joined[name] == nil {
			if joined[name], err = router.Join(name); err != nil {
				t.Fatal(err)
			}
		}
		return joined[name]
	}
	// A peer that is not in every topic is connected to again after a second, which would
	// be the end of this one.
	for _, a := range []crypto.Audience{crypto.AudienceRegion, crypto.AudienceCommunity} {
		if _, err := in(fmt.Sprintf("watchward/0/%s/%s", as.Credential.Region, a)).Subscribe(); err != nil {
			t.Fatal(err)
		}
	}
	out := make([]*pubsub.Topic, len(topics))
	for i, name := range topics {
		out[i] = in(name)
		await(t, "the victim in the topic", func() bool { return len(out[i].ListPeers()) > 0 })
	}
	return out
}

func topicName(r *testkit.Region, a crypto.Audience) string {
	return fmt.Sprintf("watchward/0/%s/%s", r.ID, a)
}

// A relay that sends an envelope first, with a broken signature or in another
// topic, must not stop the genuine one.
func TestRelayCannotCensor(t *testing.T) {
	r := testkit.NewRegion(t, "victim", "author", "relay")
	victim := start(t, r, 0, nil)
	author := start(t, r, 1, spoke(victim))
	awaitGossip(t, author, victim)
	topics := hostile(t, r.Members[2], victim, topicName(r, crypto.AudienceRegion), topicName(r, crypto.AudienceCommunity))

	genuine := author.sign(t, crypto.Header{}, []byte("we are under attack"))
	broken := append([]byte(nil), genuine.Raw...)
	broken[len(genuine.Signed)+100] ^= 1
	if err := topics[0].Publish(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	await(t, "refused for its signature", func() bool { return victim.refused("signature") > 0 })
	if err := topics[1].Publish(t.Context(), genuine.Raw); err != nil {
		t.Fatal(err)
	}
	await(t, "refused in the wrong topic", func() bool { return victim.refused("region") > 0 })

	if err := author.Publish(t.Context(), genuine); err != nil {
		t.Fatal(err)
	}
	awaitAll(t, genuine, victim)
	if via := victim.came(genuine); via != mesh.ViaGossip {
		t.Errorf("the genuine envelope came by way %d, want gossip", via)
	}
}

// Gossip drops a copy of what it has seen before anything looks at it. Who sends
// a copy of what was refused is named all the same.
func TestWhoCopiesWhatWasRefusedIsNamed(t *testing.T) {
	r := testkit.NewRegion(t, "victim", "relay", "copier")
	var log lines
	victim := start(t, r, 0, func(c *mesh.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	for i, m := range r.Members[1:] {
		topic := hostile(t, m, victim, topicName(r, crypto.AudienceRegion))[0]
		if err := topic.Publish(t.Context(), []byte("no envelope")); err != nil {
			t.Fatal(err)
		}
		id, err := peer.IDFromBytes(m.Credential.Peer)
		if err != nil {
			t.Fatal(err)
		}
		await(t, m.Credential.Name+" named", func() bool { return log.with("envelope refused", id.String()) > 0 })
		if n := log.with("envelope refused"); n != i+1 {
			t.Errorf("%d lines for %d peers", n, i+1)
		}
	}
	if n := victim.refused("frame"); n != 1 {
		t.Errorf("the copies were checked %d times", n)
	}
}

// lines is a log that can be searched. It is safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	text []string
}

// Write implements io.Writer.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(line))
	return len(line), nil
}

// with counts the lines in which all words occur.
func (l *lines) with(words ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for _, line := range l.text {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue next
			}
		}
		n++
	}
	return n
}

// What a member may not say on a topic never reaches the others.
func TestBadEnvelopesStop(t *testing.T) {
	r := testkit.NewRegion(t, "victim", "other", "relay")
	victim := start(t, r, 0, nil)
	other := start(t, r, 1, spoke(victim))
	awaitGossip(t, victim, other)
	topic := hostile(t, r.Members[2], victim, topicName(r, crypto.AudienceRegion))[0]
	before := other.refused("frame") + other.refused("signature")
	for _, raw := range [][]byte{{}, []byte("no envelope"), make([]byte, mesh.GossipMax)} {
		if err := topic.Publish(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "refused", func() bool { return victim.refused("frame") >= 3 })
	awaitGossip(t, victim, other)
	if after := other.refused("frame") + other.refused("signature"); after != before {
		t.Errorf("%d bad messages were relayed", after-before)
	}
}

// Who may not hear an audience hears it by no way, although it joins the topic,
// asks for what it lacks and takes what comes.
func TestWhoMayNotHear(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		community bool // it may hear that
		make      func(*testing.T) (speakers, listeners *testkit.Region, listener int, records [][]byte)
	}{
		{"a supplier", true, func(t *testing.T) (_, _ *testkit.Region, _ int, _ [][]byte) {
			a := testkit.NewRegion(t, "speaker", "hospital")
			a.AdmitAs(t, trust.RoleSupplier, "supplier")
			return a, a, 2, nil
		}},
		{"a region that endorses", true, func(t *testing.T) (_, _ *testkit.Region, _ int, _ [][]byte) {
			a, b := testkit.NewRegion(t, "speaker", "hospital"), testkit.NewRegionNamed(t, "elsewhere", "listener")
			a.Endorse(t, nil, b)
			b.Endorse(t, nil, a)
			return a, b, 0, b.Records
		}},
		{"a region that does not", false, func(t *testing.T) (_, _ *testkit.Region, _ int, _ [][]byte) {
			a, b := testkit.NewRegion(t, "speaker", "hospital"), testkit.NewRegionNamed(t, "elsewhere", "listener")
			a.Endorse(t, nil, b)
			known := slices.Clone(b.Records)
			b.Endorse(t, nil, a) // as the listener alone knows
			return a, b, 0, known
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, theirs, at, records := c.make(t)
			knows := func(c *mesh.Config) {
				p := newMemory(r.Roster(t))
				if _, err := p.roster.AddAll(records); err != nil {
					t.Fatal(err)
				}
				p.takes = func([]byte) bool { return false }
				c.Path = p
			}
			speaker := start(t, r, 0, knows)
			hospital := start(t, r, 1, both(spoke(speaker), knows))
			listener := start(t, theirs, at, both(seed(speaker), func(c *mesh.Config) {
				if _, err := c.Roster.AddAll(r.Records); err != nil {
					t.Fatal(err)
				}
			}))
			awaitPeers(t, 2, speaker)
			say := func(a crypto.Audience) (all []*crypto.Envelope) {
				all = append(all, speaker.sign(t, crypto.Header{Audience: a, Time: settled()}, []byte("for sync")))
				for _, urgent := range []bool{false, true} {
					all = append(all, speaker.say(t, crypto.Header{Audience: a, Urgent: urgent}, []byte("a word")))
				}
				return append(all, speaker.say(t, crypto.Header{Audience: a}, large(100<<10)...))
			}
			hears := func() {
				t.Helper()
				await(t, "gossip to the listener", func() bool {
					e := speaker.say(t, crypto.Header{Audience: crypto.AudienceCommunity}, []byte("are you there?"))
					time.Sleep(100 * time.Millisecond)
					return listener.came(e) == mesh.ViaGossip
				})
			}
			if c.community {
				hears() // its subscriptions have come
			}
			secret, open := say(crypto.AudienceRegion), say(crypto.AudienceCommunity)
			syncNow(t, hospital, speaker)
			syncNow(t, listener, speaker)
			for _, e := range slices.Concat(secret, open) {
				awaitAll(t, e, hospital)
			}
			if c.community {
				for _, e := range open {
					awaitAll(t, e, listener)
				}
				hears() // what was on the way before has come too
			} else {
				secret = append(secret, open...)
			}
			for i, e := range secret {
				if listener.has(e) {
					t.Errorf("word %d came by way %d", i, listener.came(e))
				}
			}
		})
	}
}

// What a topic that was joined after the start was doing has ended when Close
// returns.
func TestCloseWaitsForTopicsJoinedLater(t *testing.T) {
	a, b := testkit.NewRegion(t, "a"), testkit.NewRegionNamed(t, "b", "speaker")
	list, other := a.Endorse(t, nil, b), b.Endorse(t, nil, a)
	began, ended := make(chan struct{}), make(chan struct{})
	p := newMemory(trust.NewRoster(a.ID))
	if _, err := p.roster.AddAll(a.Records[:2]); err != nil {
		t.Fatal(err)
	}
	p.deaf[mesh.ViaDirect], p.deaf[mesh.ViaSync] = true, true // whatever comes, comes in the topic
	var once sync.Once
	p.admitting = func() {
		once.Do(func() {
			close(began)
			time.Sleep(300 * time.Millisecond) // a slow disk: longer than anything else takes to end
			close(ended)
		})
	}
	n := start(t, a, 0, func(c *mesh.Config) { c.Path = p })
	if err := n.AddTrust(t.Context(), append([][]byte{list, other}, b.Records...)); err != nil {
		t.Fatal(err)
	}
	speaker := start(t, b, 0, both(seed(n), func(c *mesh.Config) {
		if _, err := c.Roster.AddAll(a.Records); err != nil {
			t.Fatal(err)
		}
	}))
	community := crypto.Header{Region: b.ID, Audience: crypto.AudienceCommunity}
	await(t, "a word of the other region", func() bool {
		speaker.say(t, community, []byte("word"))
		select {
		case <-began:
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
	n.stop(t)
	select {
	case <-ended:
	default:
		t.Error("its topic still admits a word")
	}
}
