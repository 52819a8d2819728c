package mesh_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/mesh/wire"
)

// settled is a time in ms that peers compare already.
func settled() int64 { return now() - 10*60_000 }

func syncNow(t *testing.T, n, with *node) (out mesh.SyncResult) {
	t.Helper()
	id, err := peer.Decode(with.PeerID())
	if err != nil {
		t.Fatal(err)
	}
	await(t, "a session", func() bool { // another may be under way
		out, err = n.SyncNow(t.Context(), id)
		return err == nil
	})
	return out
}

// Two nodes that were apart exchange what each lacks, small and large, of both
// audiences, and say next to nothing afterwards.
func TestSyncBothWays(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	a, b := start(t, r, 0, deaf(mesh.ViaDirect, mesh.ViaGossip)), start(t, r, 1, deaf(mesh.ViaDirect, mesh.ViaGossip))
	var all []*crypto.Envelope
	for i := range 40 {
		for _, n := range []*node{a, b} {
			h := crypto.Header{Time: settled() + int64(i), Audience: []crypto.Audience{crypto.AudienceRegion, crypto.AudienceCommunity}[i%2]}
			items := [][]byte{[]byte(fmt.Sprint(i))}
			if i%10 == 0 {
				items = large(240 << 10)
			}
			all = append(all, n.sign(t, h, items...))
		}
	}
	if err := b.AddSeeds(a.addrs); err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		awaitAll(t, e, a, b)
	}
	// The first session of a connection may still be closing.
	var out mesh.SyncResult
	await(t, "equal", func() bool { out = syncNow(t, a, b); return out.Equal })
	t.Logf("%+v", out)
	if out.EnvelopesIn != 0 || out.EnvelopesOut != 0 || out.BytesIn+out.BytesOut > 400 || out.RoundTrips != 2 {
		t.Errorf("equal nodes said %+v", out)
	}
}

// Two halves of a region that each admitted many members have more trust
// records to tell than a stream takes unread. Both tell at once.
func TestSyncManyTrustRecordsBothWays(t *testing.T) {
	names := []string{"a", "b"}
	for i := range 600 {
		names = append(names, fmt.Sprint("member ", i))
	}
	r := testkit.NewRegion(t, names...)
	half := func(i int) func(*mesh.Config) {
		return func(c *mesh.Config) {
			c.Roster = trust.NewRoster(r.ID)
			rest := r.Records[3:]
			if _, err := c.Roster.AddAll(slices.Concat(r.Records[:3], rest[i*len(rest)/2:(i+1)*len(rest)/2])); err != nil {
				t.Fatal(err)
			}
		}
	}
	a, b := start(t, r, 0, half(0)), start(t, r, 1, half(1))
	if err := b.AddSeeds(a.addrs); err != nil {
		t.Fatal(err)
	}
	whole := r.Roster(t).Root()
	await(t, "the same roster", func() bool { return a.roster.Root() == whole && b.roster.Root() == whole })
}

// A member that breaks the protocol, or begins session after session without
// ever going on, costs one session, and the others are served as before.
func TestHostileSync(t *testing.T) {
	r := testkit.NewRegion(t, "victim", "friend", "hostile")
	victim := start(t, r, 0, nil)
	friend := start(t, r, 1, nil)
	h := bare(t, r.Members[2].PeerSeed)
	enter(t, h, r.Members[2], victim)
	open := func() io.ReadWriter {
		s, err := h.NewStream(t.Context(), infoOf(t, victim).ID, "/watchward/sync/0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Reset() })
		if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		return victim.Bulk(t.Context(), s)
	}
	hello := &wire.Hello{Versions: []uint8{0}, Clock: now(), Trust: victim.roster.Root()}
	greet := func(s io.ReadWriter) error {
		if _, err := wire.Write(s, wire.KindHello, hello); err != nil {
			return err
		}
		_, _, err := wire.Read(s, wire.FrameMax)
		return err
	}
	for name, send := range map[string]func(io.Writer) error{
		"a frame too long": func(w io.Writer) error { _, err := w.Write([]byte{255, 0, 0, 0, 1}); return err },
		"an unknown kind":  func(w io.Writer) error { _, err := wire.Write(w, 31, &wire.Done{}); return err },
		"out of order":     func(w io.Writer) error { _, err := wire.Write(w, wire.KindWant, &wire.Want{}); return err },
	} {
		var s io.ReadWriter
		await(t, "a session for "+name, func() bool { s = open(); return greet(s) == nil })
		if err := send(s); err != nil {
			t.Fatal(err)
		}
		if _, _, err := wire.Read(s, wire.FrameMax); err == nil {
			t.Errorf("%s is answered", name)
		}
	}
	await(t, "a session", func() bool { return greet(open()) == nil }) // and then silence
	for range 3 {
		if greet(open()) == nil {
			t.Error("a second session at once")
		}
	}
	e := friend.sign(t, crypto.Header{Time: settled()}, []byte("hello"))
	if err := friend.AddSeeds(victim.addrs); err != nil {
		t.Fatal(err)
	}
	awaitAll(t, e, victim)
}

// Whoever asks, by a pull or in a session, gets what its role may hear and does
// not learn of the rest, even if it leaves out its own checks.
func TestAskingNeedsTheRight(t *testing.T) {
	r := testkit.NewRegion(t, "speaker", "hospital")
	r.AdmitAs(t, trust.RoleSupplier, "supplier")
	speaker := start(t, r, 0, nil)
	e := speaker.sign(t, crypto.Header{Time: settled()}, []byte("for hospitals"))
	for i, may := range map[int]bool{1: true, 2: false} {
		t.Run(r.Members[i].Credential.Name, func(t *testing.T) {
			h := bare(t, r.Members[i].PeerSeed)
			enter(t, h, r.Members[i], speaker)
			open := func(p protocol.ID) io.ReadWriter {
				s, err := h.NewStream(t.Context(), speaker.libp2pID(), p)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.Reset() })
				if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				return speaker.Bulk(t.Context(), s)
			}
			pull := open("/watchward/pull/0")
			if _, err := wire.Write(pull, wire.KindPull, &wire.Pull{Chain: e.Header.Chain(), Ranges: []wire.Range{{From: 1, To: 1}}}); err != nil {
				t.Fatal(err)
			}
			_, body, err := wire.Read(pull, wire.FrameMax)
			if got := err == nil && bytes.Contains(body, e.Raw); got != may {
				t.Errorf("a pull gives it: %t, %v", got, err)
			}

			at := now() - 1000 // before the speaker's clock, so that both compare the same moment
			var roots *wire.Roots
			await(t, "a session", func() bool {
				s := open("/watchward/sync/0")
				if _, err := wire.Write(s, wire.KindHello, &wire.Hello{Versions: []uint8{0}, Clock: at, Trust: speaker.roster.Root()}); err != nil {
					return false
				}
				if _, _, err := wire.Read(s, wire.FrameMax); err != nil {
					return false
				}
				const step = 30_000
				if _, err := wire.Write(s, wire.KindRoot, &wire.Root{At: (at - 60_000) / step * step}); err != nil {
					return false
				}
				kind, body, err := wire.Read(s, wire.FrameMax)
				if err != nil {
					return false
				}
				message, err := wire.DecodeSync(kind, body)
				if err != nil {
					t.Fatal(err)
				}
				roots = message.(*wire.Roots)
				return true
			})
			got := slices.ContainsFunc(roots.Scopes, func(s wire.ScopeRoot) bool { return s.Audience == crypto.AudienceRegion })
			if got != may || len(roots.Scopes) == 0 {
				t.Errorf("a session compares %+v", roots.Scopes)
			}
		})
	}
}

// Each peer has its turn of being compared with. One that comes again and again, which
// has its session with each connection, takes nobody's.
func TestEachPeerIsComparedInTurn(t *testing.T) {
	peers := []peer.ID{"again", "b", "c", "d"}
	at := time.Unix(0, 0)
	opened, compared := map[peer.ID]time.Time{}, map[peer.ID]time.Time{}
	for _, id := range peers {
		opened[id] = at
	}
	var turns []peer.ID
	for turn := range 7 {
		at = at.Add(time.Second)
		if turn < 3 {
			opened["again"] = at
		}
		id := mesh.LongestAgo(peers, compared, func(id peer.ID) time.Time { return opened[id] })
		turns = append(turns, id)
		at = at.Add(time.Second)
		compared[id] = at
	}
	if want := []peer.ID{"b", "c", "d", "b", "c", "again", "d"}; !slices.Equal(turns, want) {
		t.Errorf("%q, want %q", turns, want)
	}
}

// When who has left was compared with is forgotten, and of those who are there it is not.
func TestWhoLeftHasNoTurn(t *testing.T) {
	r := testkit.NewRegion(t, "hub", "b", "c", "leaves")
	hub := start(t, r, 0, nil)
	b, c, leaves := start(t, r, 1, spoke(hub)), start(t, r, 2, spoke(hub)), start(t, r, 3, spoke(hub))
	awaitGossip(t, hub, b, c, leaves)
	for _, n := range []*node{b, c, leaves} {
		syncNow(t, hub, n)
	}
	if known := hub.Compared(); !slices.Contains(known, leaves.libp2pID()) {
		t.Fatalf("%q were compared with, want all three", known)
	}
	leaves.stop(t)
	await(t, "forgotten alone", func() bool {
		hub.NextToCompare()
		known := hub.Compared()
		return len(known) == 2 && !slices.Contains(known, leaves.libp2pID())
	})
}
