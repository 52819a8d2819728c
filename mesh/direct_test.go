package mesh_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/mesh/wire"
)

// large are items of an envelope of n bytes.
func large(n int) [][]byte {
	source := rand.NewChaCha8([32]byte{1})
	var items [][]byte
	for ; n > 0; n -= 1024 {
		item := make([]byte, 1024)
		_, _ = source.Read(item)
		items = append(items, item)
	}
	return items
}

// deaf makes a node's path ignore what comes some ways.
func deaf(ways ...mesh.Via) func(*mesh.Config) {
	return func(c *mesh.Config) {
		p := newMemory(c.Roster)
		for _, v := range ways {
			p.deaf[v] = true
		}
		c.Path = p
	}
}

func both(changes ...func(*mesh.Config)) func(*mesh.Config) {
	return func(c *mesh.Config) {
		for _, change := range changes {
			change(c)
		}
	}
}

// Envelopes too large for gossip are announced, pulled and announced again.
func TestLargeEnvelopeTravelsByPull(t *testing.T) {
	r := testkit.NewRegion(t, "hub", "author", "other")
	hub := start(t, r, 0, both(deaf(mesh.ViaSync)))
	author := start(t, r, 1, both(spoke(hub), deaf(mesh.ViaSync)))
	other := start(t, r, 2, both(spoke(hub), deaf(mesh.ViaSync)))
	awaitPeers(t, 1, author, other)
	awaitPeers(t, 2, hub)
	for _, size := range []int{mesh.GossipMax, 100 << 10, 240 << 10} {
		e := author.say(t, crypto.Header{}, large(size)...)
		awaitAll(t, e, hub, other)
		if via := other.came(e); via != mesh.ViaDirect {
			t.Errorf("%d bytes came by way %d, want direct", len(e.Raw), via)
		}
	}
}

// Urgent words do not depend on gossip, nor on the author's own connections.
func TestUrgentOvertakesBlockedGossip(t *testing.T) {
	r := testkit.NewRegion(t, "hub", "author", "other")
	hub := start(t, r, 0, deaf(mesh.ViaSync, mesh.ViaGossip))
	author := start(t, r, 1, both(spoke(hub), deaf(mesh.ViaSync, mesh.ViaGossip)))
	other := start(t, r, 2, both(spoke(hub), deaf(mesh.ViaSync, mesh.ViaGossip)))
	awaitPeers(t, 1, author, other)
	awaitPeers(t, 2, hub)
	e := author.say(t, crypto.Header{Urgent: true}, []byte("mayday"))
	awaitAll(t, e, hub, other)
	if via := other.came(e); via != mesh.ViaDirect {
		t.Errorf("came by way %d, want direct", via)
	}
}

// The words of a muted author are kept and handed on by no way but sync.
func TestMutedWordsAreNotRelayed(t *testing.T) {
	r := testkit.NewRegion(t, "hub", "loud", "friend", "other", "late")
	hub := start(t, r, 0, func(c *mesh.Config) {
		p := newMemory(c.Roster)
		p.muted[r.Members[1].ID] = true
		c.Path = p
	})
	loud, friend, other := start(t, r, 1, spoke(hub)), start(t, r, 2, spoke(hub)), start(t, r, 3, both(spoke(hub), deaf(mesh.ViaSync)))
	awaitGossip(t, friend, hub, other)
	awaitGossip(t, loud, hub)
	before := friend.say(t, crypto.Header{Time: now() - 10_000}, []byte("a while ago"))
	awaitAll(t, before, hub)
	var said []*crypto.Envelope
	for _, h := range []crypto.Header{{}, {Urgent: true}} {
		said = append(said, loud.say(t, h, []byte("again and again")))
	}
	said = append(said, loud.say(t, crypto.Header{}, large(100<<10)...))
	for _, e := range said {
		awaitAll(t, e, hub)
	}
	awaitAll(t, friend.say(t, crypto.Header{}, []byte("a word")), hub, other)
	awaitAll(t, friend.say(t, crypto.Header{Urgent: true}, []byte("an urgent word")), hub, other)
	for i, e := range said {
		if other.has(e) {
			t.Errorf("muted word %d was relayed", i)
		}
	}

	// Who connects is told of the youngest words first: muted ones would come before the friend's.
	h := bare(t, r.Members[4].PeerSeed)
	told := announcements(h)
	join(t, h, r.Members[4], hub)
	for end := time.After(patience); ; {
		select {
		case a := <-told:
			if a.Chain.Author == loud.member.ID {
				t.Errorf("who connects is told of muted word %d", a.Seq)
			}
			if a.ID == before.ID {
				return
			}
		case <-end:
			t.Fatal("who connects is not told of the friend's words")
		}
	}
}

// Whoever forwarded an envelope is asked for the ones before it, which here are
// too old for anybody to announce them.
func TestGapIsAskedFor(t *testing.T) {
	t.Parallel()
	r := testkit.NewRegion(t, "a", "b")
	a := start(t, r, 0, deaf(mesh.ViaSync))
	b := start(t, r, 1, both(spoke(a), deaf(mesh.ViaSync)))
	awaitGossip(t, a, b)
	var missed []*crypto.Envelope
	for range 5 {
		missed = append(missed, a.sign(t, crypto.Header{Time: settled()}, []byte("missed")))
	}
	missed = append(missed, a.say(t, crypto.Header{}, []byte("heard")))
	for _, e := range missed {
		awaitAll(t, e, b)
	}
	if via := b.came(missed[0]); via != mesh.ViaDirect {
		t.Errorf("came by way %d, want direct", via)
	}
}

// A node that has lost its store hears from its peers how far it had been.
func TestPeersTellWhatTheyHold(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	a := start(t, r, 0, nil)
	b := start(t, r, 1, spoke(a))
	awaitGossip(t, b, a)
	last := b.say(t, crypto.Header{}, []byte("last"))
	awaitAll(t, last, a)
	b.stop(t)

	b = start(t, r, 1, spoke(a)) // with an empty store
	await(t, "told", func() bool { return b.Greeted() })
	epoch, seq, id := b.Mine(crypto.AudienceRegion)
	told := epoch == last.Header.Epoch && seq == last.Header.Seq && id == last.ID
	// Or it has been sent already, before the peer said what it holds.
	held, _ := b.frontier.Get(last.Header.Chain())
	if !told && held.Top != last.ID {
		t.Errorf("told of epoch %d seq %d, want %d %d", epoch, seq, last.Header.Epoch, last.Header.Seq)
	}
}

// A peer that only claims to hold more is not believed.
func TestClaimsNeedProof(t *testing.T) {
	r := testkit.NewRegion(t, "liar", "b")
	liar := start(t, r, 0, nil)
	chain := crypto.ChainID{Region: r.ID, Author: r.Members[1].ID, Serial: 1, Audience: crypto.AudienceRegion, Epoch: 1 << 30}
	liar.frontier.Put(mesh.Holding{Chain: chain}.With(mesh.Slot{Chain: chain, Seq: 7, ID: crypto.EnvelopeID{1}, Time: now()}, now()))
	b := start(t, r, 1, spoke(liar))
	await(t, "told", func() bool { return b.Greeted() })
	if epoch, seq, _ := b.Mine(crypto.AudienceRegion); epoch != 0 || seq != 0 {
		t.Errorf("believes in epoch %d seq %d without proof", epoch, seq)
	}
}

// announcements are what a hostile peer is told of, in order.
func announcements(h host.Host) <-chan *wire.Announce {
	told := make(chan *wire.Announce, 256)
	h.SetStreamHandler("/watchward/direct/0", func(s network.Stream) {
		for {
			kind, body, err := wire.Read(s, wire.FrameMax)
			if err != nil {
				return
			}
			if m, err := wire.DecodeDirect(kind, body); err == nil {
				if a, ok := m.(*wire.Announce); ok {
					told <- a
				}
			}
		}
	})
	return told
}

// Of what is too large for gossip those alone are told who may hear it.
func TestAnnouncedToThoseWhoMayHear(t *testing.T) {
	r := testkit.NewRegion(t, "speaker")
	supplier := r.AdmitAs(t, trust.RoleSupplier, "supplier")[0]
	speaker := start(t, r, 0, nil)
	h := bare(t, supplier.PeerSeed)
	told := announcements(h)
	enter(t, h, supplier, speaker)
	awaitPeers(t, 1, speaker)
	for _, a := range []crypto.Audience{crypto.AudienceRegion, crypto.AudienceCommunity} {
		speaker.say(t, crypto.Header{Audience: a}, large(100<<10)...)
	}
	select {
	case a := <-told: // in the order in which they were said
		if a.Chain.Audience != crypto.AudienceCommunity {
			t.Errorf("a supplier is told what is said to the %s", a.Chain.Audience)
		}
	case <-time.After(patience):
		t.Fatal("told of nothing")
	}
}

// What a member sends wrongly ends its stream and nothing else.
func TestBrokenFramesEndTheStream(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b", "broken")
	a := start(t, r, 0, nil)
	b := start(t, r, 1, spoke(a))
	awaitGossip(t, a, b)
	h := bare(t, r.Members[2].PeerSeed)
	enter(t, h, r.Members[2], a)
	frame := func(kind byte, message any) []byte {
		var buf bytes.Buffer
		if _, err := wire.Write(&buf, kind, message); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	oversized := binary.BigEndian.AppendUint32(nil, wire.FrameMax+1)
	strange := testkit.NewRegionNamed(t, "elsewhere", "x").ID
	cases := map[string][]byte{
		"empty frame":   {0, 0, 0, 0},
		"oversized":     append(oversized, make([]byte, 1024)...),
		"4 GiB":         {255, 255, 255, 255, 1},
		"unknown kind":  {0, 0, 0, 1, 99},
		"no CBOR":       {0, 0, 0, 3, wire.KindPush, 255, 255},
		"bad envelope":  frame(wire.KindPush, &wire.Push{Raw: []byte("no envelope")}),
		"out of place":  frame(wire.KindShow, &wire.Show{}),
		"other region":  frame(wire.KindPull, &wire.Pull{Chain: crypto.ChainID{Region: strange, Audience: crypto.AudienceRegion}, Ranges: []wire.Range{{From: 1, To: 2}}}),
		"named is none": frame(wire.KindPull, &wire.Pull{Chain: crypto.ChainID{Region: r.ID, Audience: crypto.AudienceNamed}, Ranges: []wire.Range{{From: 1, To: 2}}}),
	}
	for _, p := range []protocol.ID{"/watchward/urgent/0", "/watchward/direct/0", "/watchward/pull/0", "/watchward/sync/0"} {
		for name, raw := range cases {
			t.Run(string(p)+" "+name, func(t *testing.T) {
				s, err := h.NewStream(t.Context(), a.libp2pID(), p)
				if err != nil {
					t.Fatal(err)
				}
				if p == "/watchward/pull/0" || p == "/watchward/sync/0" {
					raw = append(wire.AppendChunk(nil, len(raw)), raw...)
				}
				_, _ = s.Write(raw)
				if n, err := io.Copy(io.Discard, s); err == nil || n > 1<<10 {
					t.Errorf("the stream ended with %d bytes and %v, want a reset", n, err)
				}
			})
		}
	}
	awaitGossip(t, a, b)
}

// Who connects gets at once what was said while it was away.
func TestFirstSyncBringsWhatWasMissed(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	a := start(t, r, 0, nil)
	var missed []*crypto.Envelope
	for i := range 3 {
		missed = append(missed, a.sign(t, crypto.Header{Time: now() - int64(10-i)*60_000}, []byte("while you were away")))
	}
	b := start(t, r, 1, spoke(a))
	for _, e := range missed {
		awaitAll(t, e, b)
		if via := b.came(e); via != mesh.ViaSync {
			t.Errorf("came by way %d, want sync", via)
		}
	}
}

// What was said a moment before somebody joined does not wait until it has
// settled for sync.
func TestYoungWordsAreCaughtUp(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	a := start(t, r, 0, nil)
	e := a.say(t, crypto.Header{}, []byte("nobody hears this yet"))
	b := start(t, r, 1, spoke(a))
	awaitAll(t, e, b)
}
