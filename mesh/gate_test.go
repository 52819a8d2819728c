package mesh_test

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multiaddr"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/mesh/wire"
)

// open are the protocols that a stranger may speak: who are you, and here is
// who I am.
var open = []protocol.ID{"/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/watchward/show/0"}

func TestStrangerIsRefusedOnEveryProtocol(t *testing.T) {
	t.Parallel()
	r := testkit.NewRegion(t, "a", "b")
	a := start(t, r, 0, nil)
	b := start(t, r, 1, seed(a))
	awaitPeers(t, 1, a, b)

	h := bare(t, sha256.Sum256([]byte("stranger")))
	if err := h.Connect(t.Context(), infoOf(t, a)); err != nil {
		t.Fatal(err)
	}
	// Identify tells which protocols there are, so that a new one is tried too.
	var all []protocol.ID
	await(t, "identified", func() bool {
		all, _ = h.Peerstore().GetProtocols(a.libp2pID())
		return len(all) > len(open)
	})
	for _, want := range []protocol.ID{"/watchward/sync/0", "/watchward/urgent/0", "/watchward/direct/0", "/watchward/pull/0", "/meshsub/1.2.0"} {
		if !slices.Contains(all, want) {
			t.Errorf("%s is not served: %v", want, all)
		}
	}
	for _, p := range all {
		if slices.Contains(open, p) {
			continue
		}
		s, err := h.NewStream(t.Context(), a.libp2pID(), p)
		if err != nil {
			continue
		}
		_, _ = s.Write(make([]byte, 32)) // what ping echoes, and enough for the others to answer with an error
		if n, err := s.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s answered a stranger with %d bytes", p, n)
		}
		_ = s.Reset()
	}
	await(t, "the stranger closed", func() bool { return h.Network().Connectedness(a.libp2pID()) != network.Connected })
	if got := a.Peers(); len(got) != 1 || got[0].ID != b.PeerID() {
		t.Errorf("peers: %v", got)
	}
}

// Shown records decide, not the wish to be in.
func TestStrangerShowsNothingGood(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	other := testkit.NewRegionNamed(t, "elsewhere", "c")
	a := start(t, r, 0, nil)
	for name, show := range map[string]*wire.Show{
		"nothing":        {},
		"garbage":        {Records: [][]byte{[]byte("no record")}},
		"of another":     {Records: [][]byte{r.Members[1].Record}}, // good, but binds another peer
		"another region": {Records: append(slices.Clone(other.Records[:1]), other.Members[0].Record)},
	} {
		t.Run(name, func(t *testing.T) {
			h := bare(t, sha256.Sum256([]byte(name)))
			if err := h.Connect(t.Context(), infoOf(t, a)); err != nil {
				t.Fatal(err)
			}
			s, err := h.NewStream(t.Context(), a.libp2pID(), "/watchward/show/0")
			if err != nil {
				t.Fatal(err)
			}
			// 1: the stranger knows the node, which therefore shows nothing.
			if _, err := s.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			if _, err := wire.Write(s, wire.KindShow, show); err != nil {
				t.Fatal(err)
			}
			await(t, "closed", func() bool { return h.Network().Connectedness(a.libp2pID()) != network.Connected })
			if len(a.Peers()) != 0 {
				t.Errorf("admitted: %v", a.Peers())
			}
		})
	}
}

func TestOnlyEd25519(t *testing.T) {
	r := testkit.NewRegion(t, "a")
	a := start(t, r, 0, nil)
	for _, kind := range []int{p2pcrypto.ECDSA, p2pcrypto.Secp256k1, p2pcrypto.RSA} {
		key, _, err := p2pcrypto.GenerateKeyPairWithReader(kind, 2048, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		h := hostWith(t, key)
		_ = h.Connect(t.Context(), infoOf(t, a)) // QUIC learns of the refusal only later
		await(t, "closed", func() bool { return h.Network().Connectedness(a.libp2pID()) != network.Connected })
		if len(a.Peers()) != 0 {
			t.Errorf("key type %d admitted", kind)
		}
	}
}

func TestFloodOfIdentities(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	a := start(t, r, 0, nil)
	let := 0
	for i := range 60 {
		h := bare(t, sha256.Sum256([]byte(fmt.Sprint("flood", i))))
		if h.Connect(t.Context(), infoOf(t, a)) != nil {
			continue
		}
		// A refused QUIC connection looks open until the refusal arrives.
		if _, err := h.NewStream(t.Context(), a.libp2pID(), "/watchward/show/0"); err == nil {
			let++
		}
	}
	if let > 16 {
		t.Errorf("%d of 60 identities got a stream", let)
	}
	if len(a.Peers()) != 0 {
		t.Errorf("admitted: %v", a.Peers())
	}
	b := start(t, r, 1, seed(a))
	awaitPeers(t, 1, a, b)
}

// partial returns the roster of a region as somebody has it who knows only some
// of its members.
func partial(t *testing.T, r *testkit.Region, members ...int) *trust.Roster {
	t.Helper()
	roster := trust.NewRoster(r.ID)
	records := [][]byte{r.Records[0]}
	for _, i := range members {
		records = append(records, r.Members[i].Record)
	}
	if _, err := roster.AddAll(records); err != nil {
		t.Fatal(err)
	}
	return roster
}

func TestNewcomerIsKept(t *testing.T) {
	for name, known := range map[string][]int{"knows the hub": {0, 1}, "knows itself alone": {1}} {
		t.Run(name, func(t *testing.T) {
			r := testkit.NewRegion(t, "hub", "newcomer")
			hub := start(t, r, 0, func(c *mesh.Config) { c.Roster = partial(t, r, 0) })
			newcomer := start(t, r, 1, func(c *mesh.Config) {
				spoke(hub)(c)
				c.Roster = partial(t, r, known...)
			})
			awaitPeers(t, 1, hub, newcomer)
			awaitGossip(t, newcomer, hub)
			awaitGossip(t, hub, newcomer)
		})
	}
}

// Who came as a stranger and becomes a member by a record that came another way
// is let in anew: on the old connection everything has been refused.
func TestStrangerWhoBecomesAMemberStartsAfresh(t *testing.T) {
	r := testkit.NewRegion(t, "a", "late")
	a := start(t, r, 0, func(c *mesh.Config) {
		c.Roster = trust.NewRoster(r.ID)
		if _, err := c.Roster.AddAll(r.Records[:2]); err != nil {
			t.Fatal(err)
		}
	})
	h := bare(t, r.Members[1].PeerSeed)
	if err := h.Connect(t.Context(), infoOf(t, a)); err != nil {
		t.Fatal(err)
	}
	served := func() bool {
		s, err := h.NewStream(t.Context(), a.libp2pID(), "/ipfs/ping/1.0.0")
		if err != nil {
			return false
		}
		defer func() { _ = s.Reset() }()
		_ = s.SetDeadline(time.Now().Add(time.Second))
		_, _ = s.Write(make([]byte, 32))
		_, err = io.ReadFull(s, make([]byte, 32))
		return err == nil
	}
	await(t, "known as connected", func() bool { return h.Network().Connectedness(a.libp2pID()) == network.Connected })
	if served() {
		t.Fatal("a stranger is served")
	}
	if _, err := a.roster.Add(r.Records[2]); err != nil {
		t.Fatal(err)
	}
	await(t, "dropped", func() bool { return h.Network().Connectedness(a.libp2pID()) != network.Connected })
	enter(t, h, r.Members[1], a)
	if !served() {
		t.Error("a member is not served")
	}
}

// An envelope of a member who is not known yet waits until the sender has shown
// the credential.
func TestUnknownAuthorIsAskedFor(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	a := start(t, r, 0, nil)
	var heard atomic.Bool // b takes no records before: gossip may bring this one faster than the words
	b := start(t, r, 1, both(spoke(a), func(c *mesh.Config) {
		p := newMemory(c.Roster)
		p.takes = func([]byte) bool { return heard.Load() }
		p.unknown = func() { heard.Store(true) }
		c.Path = p
	}))
	awaitGossip(t, a, b)
	newcomer := r.Admit(t, "newcomer")[0]
	if err := a.AddTrust(t.Context(), [][]byte{newcomer.Record}); err != nil {
		t.Fatal(err)
	}
	if _, known := b.roster.ByPeer(string(newcomer.Credential.Peer)); known {
		t.Fatal("known already")
	}
	e := newcomer.Envelope(t, crypto.Header{Time: now()}, nil, []byte("hello"))
	if err := a.Admit(t.Context(), []*mesh.Checked{{Envelope: e}}); err != nil {
		t.Fatal(err)
	}
	if err := a.Publish(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	awaitAll(t, e, b)
}

// libp2pID turns what the mesh reports back into what libp2p takes.
func (n *node) libp2pID() peer.ID {
	id, err := peer.Decode(n.PeerID())
	if err != nil {
		panic(err)
	}
	return id
}

// A member that is revoked loses its connections at once, also one to a configured
// seed, whose own side would keep it.
func TestRevokedMemberIsDisconnected(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	h := bare(t, r.Members[1].PeerSeed)
	var asked atomic.Bool
	h.SetStreamHandlerMatch("/watchward/", func(p protocol.ID) bool {
		return strings.HasPrefix(string(p), "/watchward/") && p != "/watchward/show/0"
	},
		func(s network.Stream) { asked.Store(true) })
	if err := h.Network().Listen(multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")); err != nil {
		t.Fatal(err)
	}
	a := start(t, r, 0, func(c *mesh.Config) {
		c.Listen = append(c.Listen, "/ip4/127.0.0.1/tcp/0")
		c.Seeds = []string{fmt.Sprintf("%s/p2p/%s", h.Network().ListenAddresses()[0], h.ID())}
	})
	await(t, "connected", func() bool { return h.Network().Connectedness(a.libp2pID()) == network.Connected })
	await(t, "it has been asked for its addresses, after the greeting", func() bool { return asked.Load() })
	live := h.Network().ConnsToPeer(a.libp2pID())
	st, err := trust.Revoking(r.Charter, r.Members[1].Credential, nil, now())
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(r.Charter, []*crypto.PrivateKey{r.Admission}, now(), st)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.roster.AddAll(records); err != nil {
		t.Fatal(err)
	}
	await(t, "cut off", func() bool { return !slices.ContainsFunc(live, func(c network.Conn) bool { return !c.IsClosed() }) })
}
