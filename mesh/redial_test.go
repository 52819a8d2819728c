package mesh_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/mesh/wire"
)

// at makes a node listen where another run of it did.
func at(n *node) func(*mesh.Config) {
	return func(c *mesh.Config) {
		c.Listen = nil
		for _, a := range n.addrs {
			c.Listen = append(c.Listen, a[:strings.Index(a, "/p2p/")])
		}
	}
}

func kept(dir, name string) func(*mesh.Config) {
	return func(c *mesh.Config) { c.BookPath = filepath.Join(dir, name) }
}

// Members find each other again without the seed that introduced them.
func TestAddressBookReplacesDeadSeeds(t *testing.T) {
	dir := t.TempDir()
	r := testkit.NewRegion(t, "seed", "a", "b")
	first := start(t, r, 0, nil)
	a := start(t, r, 1, both(seed(first), kept(dir, "a")))
	b := start(t, r, 2, both(spoke(first), kept(dir, "b")))
	awaitPeers(t, 2, a, b) // the seed told each of the other
	for _, n := range []*node{a, b, first} {
		n.stop(t)
	}
	a = start(t, r, 1, both(at(a), seed(first), kept(dir, "a")))
	b = start(t, r, 2, both(spoke(first), kept(dir, "b")))
	awaitPeers(t, 1, a, b)
	awaitGossip(t, a, b)
}

// A connection that breaks comes back, whichever side went away.
func TestRedial(t *testing.T) {
	r := testkit.NewRegion(t, "hub", "spoke")
	hub := start(t, r, 0, nil)
	s := start(t, r, 1, spoke(hub))
	awaitPeers(t, 1, hub, s)
	hub.stop(t)
	await(t, "gone", func() bool { return len(s.Peers()) == 0 })
	hub = start(t, r, 0, at(hub))
	awaitPeers(t, 1, hub, s)
	awaitGossip(t, hub, s)
}

// A damaged address book is put aside, and the seeds do.
func TestDamagedAddressBook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	if err := os.WriteFile(path, []byte("{no"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := testkit.NewRegion(t, "a", "b")
	a := start(t, r, 0, nil)
	b := start(t, r, 1, both(spoke(a), func(c *mesh.Config) { c.BookPath = path }))
	awaitPeers(t, 1, a, b)
	b.stop(t)
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error(err)
	}
	if raw, err := os.ReadFile(path); err != nil || !strings.Contains(string(raw), a.PeerID()) {
		t.Errorf("the new book: %s %v", raw, err)
	}
}

func TestSeedsAreChecked(t *testing.T) {
	r := testkit.NewRegion(t, "a")
	for _, s := range []string{"", "hospital.example", "/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/127.0.0.1/p2p/x"} {
		p := newMemory(r.Roster(t))
		m, err := mesh.New(mesh.Config{Identity: r.Members[0].PeerSeed, Signing: r.Members[0].Signing, Seeds: []string{s}, Roster: p.roster, Frontier: p.frontier, Path: p})
		if err == nil {
			t.Errorf("seed %q is taken", s)
			_ = m.Close()
		} else if !strings.Contains(err.Error(), "/p2p/") {
			t.Errorf("the error for seed %q does not say how to write one: %v", s, err)
		}
	}
}

// What a member says of where others are is hearsay: it never pushes out what
// worked, is kept of members alone, is not told on, and is bounded.
func TestHearsayInTheAddressBook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	b, err := mesh.OpenBook(path)
	if err != nil {
		t.Fatal(err)
	}
	r := testkit.NewRegion(t, "met", "heard of", "other")
	id := func(i int) peer.ID { return peer.ID(r.Members[i].Credential.Peer) }
	worked := "/ip4/192.0.2.1/udp/8461/quic-v1"
	b.Met(id(0), []string{worked}, 1)
	lies := wire.BookEntry{Peer: []byte(id(0)), Addrs: []string{"no address"}}
	for i := range 20 {
		lies.Addrs = append(lies.Addrs, fmt.Sprintf("/ip4/198.51.100.%d/udp/8461/quic-v1", i))
	}
	stranger := testkit.NewRegionNamed(t, "elsewhere", "x").Members[0].Credential.Peer
	b.Heard(&wire.Book{Entries: []wire.BookEntry{
		lies,
		{Peer: []byte(id(1)), Addrs: []string{"/ip4/203.0.113.7/udp/8461/quic-v1"}},
		{Peer: stranger, Addrs: []string{"/ip4/203.0.113.8/udp/8461/quic-v1"}},
		{Peer: []byte("no peer id"), Addrs: []string{"/ip4/203.0.113.9/udp/8461/quic-v1"}},
	}}, func(p peer.ID) bool { return p == id(0) || p == id(1) })

	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	if b, err = mesh.OpenBook(path); err != nil {
		t.Fatal(err)
	}
	known := b.Known()
	if len(known) != 2 || len(known[id(1)]) != 1 {
		t.Errorf("knows %v", known)
	}
	if addrs := known[id(0)]; len(addrs) != 5 || addrs[0] != worked {
		t.Errorf("addresses of the one that was met: %v", addrs)
	}
	page := b.Page(id(2))
	if len(page.Entries) != 1 || !bytes.Equal(page.Entries[0].Peer, []byte(id(0))) || len(page.Entries[0].Addrs) != 1 {
		t.Errorf("tells of %v", page.Entries)
	}
}

// Where a member is its own region is told, and those that are mutual with it:
// not a region that merely has this one in common with it.
func TestAddressesGoNoFurtherThanWords(t *testing.T) {
	a, b, c := testkit.NewRegion(t, "here", "beside"), testkit.NewRegionNamed(t, "b", "berta"), testkit.NewRegionNamed(t, "c", "cilli")
	a.Endorse(t, nil, b, c)
	b.Endorse(t, nil, a)
	c.Endorse(t, nil, a)
	n := start(t, a, 0, func(cfg *mesh.Config) {
		if _, err := cfg.Roster.AddAll(slices.Concat(b.Records, c.Records)); err != nil {
			t.Fatal(err)
		}
	})
	id := func(m *testkit.Member) peer.ID { return peer.ID(m.Credential.Peer) }
	beside, berta, cilli := id(a.Members[1]), id(b.Members[0]), id(c.Members[0])
	stranger := id(testkit.NewRegionNamed(t, "elsewhere", "x").Members[0])
	for _, may := range [][2]peer.ID{{berta, beside}, {beside, berta}, {beside, cilli}} {
		if !n.MayMeet(may[0], may[1]) {
			t.Errorf("%s is not told of %s", may[0], may[1])
		}
	}
	for _, not := range [][2]peer.ID{{berta, cilli}, {cilli, berta}, {berta, stranger}} {
		if n.MayMeet(not[0], not[1]) {
			t.Errorf("%s is told of %s", not[0], not[1])
		}
	}
}
