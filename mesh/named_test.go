package mesh_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/mesh/wire"
)

// seal makes an envelope of the node's for others.
func (n *node) seal(t *testing.T, word string, to ...*node) *crypto.Envelope {
	t.Helper()
	members := make([]*testkit.Member, len(to))
	for i, x := range to {
		members[i] = x.member
	}
	return n.member.Named(t, crypto.Header{Time: now()}, members, []byte(word))
}

// delivers brings an envelope to another and returns the receipt.
func (n *node) delivers(t *testing.T, e *crypto.Envelope, to *node) uint8 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result, err := n.Deliver(ctx, string(to.libp2pID()), e.Raw)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestDeliver(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b", "c")
	a := start(t, r, 0, nil)
	b := start(t, r, 1, seed(a))
	c := start(t, r, 2, seed(a, b))
	awaitPeers(t, 2, a, b, c)
	e := a.seal(t, "red", b)
	for range 2 { // a receipt that is lost is given again
		if got := a.delivers(t, e, b); got != wire.ReceiptTaken || !b.has(e) {
			t.Fatalf("receipt %d, stored: %t", got, b.has(e))
		}
	}
	// What is sealed is brought by its author alone, and nothing else comes so.
	if got := c.delivers(t, e, b); got != wire.ReceiptRefused {
		t.Errorf("by another member it is answered with %d", got)
	}
	if got := a.delivers(t, a.sign(t, crypto.Header{}, []byte("amber")), b); got != wire.ReceiptRefused {
		t.Errorf("what is for the region is answered with %d", got)
	}
	broken := bytes.Clone(e.Raw)
	broken[len(e.Signed)+7] ^= 1
	if got, err := c.Deliver(t.Context(), string(b.libp2pID()), broken); err != nil || got != wire.ReceiptRefused {
		t.Errorf("a broken signature is answered with %d, %v", got, err)
	}
	if err := a.Publish(t.Context(), e); err == nil {
		t.Error("what is sealed is published")
	}
	if c.has(e) || c.came(e) != 0 {
		t.Error("it came to who is not named")
	}
	if _, err := a.Deliver(t.Context(), "nobody", e.Raw); err == nil {
		t.Error("it goes to strangers")
	}
}

// A member that says more in a day than all hospitals have to say is asked to
// come again later.
func TestNamedBudget(t *testing.T) {
	n := mesh.NewNamedBudget()
	author, other := crypto.MemberID{1}, crypto.MemberID{2}
	const day = 24 * 60 * 60 * 1000
	for range 64 {
		if !n.Spend(author, 1<<20, 5*day) {
			t.Fatal("64 MiB a day are refused")
		}
	}
	if n.Spend(author, 1, 5*day+1) || !n.Spend(other, 1, 5*day+1) || !n.Spend(author, 1, 6*day) {
		t.Error("a day's budget is not one author's alone")
	}
}

// Two nodes that nobody can dial reach each other end to end through a hub, for
// what is sealed and for nothing else.
func TestSpokesDeliverThroughAHub(t *testing.T) {
	t.Parallel()
	r := testkit.NewRegion(t, "hub", "a", "b")
	hub := start(t, r, 0, func(c *mesh.Config) { c.Hub = true })
	a := start(t, r, 1, spoke(hub))
	b := start(t, r, 2, spoke(hub))
	awaitPeers(t, 1, a, b)
	awaitGossip(t, a, b)
	wanted := a.Wanted()

	e := a.seal(t, "red", b)
	await(t, "delivery once b has its place at the hub", func() bool {
		got, err := a.Deliver(t.Context(), string(b.libp2pID()), e.Raw)
		return err == nil && got == wire.ReceiptTaken
	})
	if !b.has(e) || hub.has(e) || hub.came(e) != 0 {
		t.Fatalf("at b %t, at the hub %t", b.has(e), hub.has(e))
	}
	conns := a.Host().Network().ConnsToPeer(b.libp2pID())
	if len(conns) == 0 {
		t.Fatal("no circuit is left to look at")
	}
	for _, c := range conns {
		// libp2p's TLS is the only security there is, so a proven key is b's own.
		key := c.RemotePublicKey()
		if !c.Stat().Limited || c.ConnState().Transport != "p2p-circuit" || key == nil || !b.libp2pID().MatchesPublicKey(key) {
			t.Errorf("limited %t, transport %q, key %v", c.Stat().Limited, c.ConnState().Transport, key)
		}
	}

	// Nothing else runs through it, on either end's word.
	ctx := network.WithAllowLimitedConn(t.Context(), "test")
	protocols := []protocol.ID{ping.ID, pubsub.GossipSubID_v12, "/watchward/sync/0", "/watchward/urgent/0", "/watchward/direct/0", "/watchward/pull/0", proto.ProtoIDv2Hop, proto.ProtoIDv2Stop}
	for _, p := range protocols {
		s, err := a.Host().NewStream(ctx, b.libp2pID(), p)
		if err != nil {
			continue
		}
		_ = s.SetDeadline(time.Now().Add(patience))
		_, _ = s.Write([]byte{0})
		if n, err := s.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("%s runs through a relay", p)
		}
		_ = s.Reset()
	}
	// Nor does it count as a connection: the supervisor and people see the hub alone.
	for _, x := range []*node{a, b} {
		if peers := x.Peers(); len(peers) != 1 || peers[0].ID != hub.PeerID() {
			t.Errorf("peers through a circuit: %v", peers)
		}
	}
	if got := a.Wanted(); got != wanted {
		t.Errorf("%d connections are wanted, %d before", got, wanted)
	}
	// What is for all still comes by gossip, not through the circuit.
	awaitGossip(t, b, a)
	if len(a.Relays()) != 1 || slices.Contains(a.Relays(), b.libp2pID()) {
		t.Errorf("relays: %v", a.Relays())
	}
}

// A hub relays for members of regions that hear each other, and for nobody else.
func TestHubRelaysForMembersOnly(t *testing.T) {
	r := testkit.NewRegion(t, "hub", "a", "b")
	other := testkit.NewRegionNamed(t, "other", "c").Members[0]
	roster := partial(t, r, 0, 1) // b is not known to the hub
	hub := start(t, r, 0, func(c *mesh.Config) { c.Hub, c.Roster = true, roster })
	id := func(m *testkit.Member) peer.ID {
		out, err := peer.IDFromBytes(m.Credential.Peer)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	a, b, c := id(r.Members[1]), id(r.Members[2]), id(other)
	acl := hub.RelayACL()
	for _, x := range []struct {
		from, to peer.ID
		want     bool
	}{{a, hub.libp2pID(), true}, {a, b, false}, {b, a, false}, {a, c, false}, {c, a, false}} {
		if got := acl.AllowConnect(x.from, nil, x.to); got != x.want {
			t.Errorf("from %s to %s: %t", x.from, x.to, got)
		}
	}
	if !acl.AllowReserve(a, nil) || acl.AllowReserve(b, nil) || acl.AllowReserve(c, nil) {
		t.Error("others than members have a place")
	}
}
