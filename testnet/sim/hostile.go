package sim

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p"
	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
)

// Hostile members are real meshes with the keys of an admitted hospital, whose
// accept order, frontier or clock is not what it should be. Each of the methods
// below is called before the member starts, or once it runs where it says so.

// Censor makes a member take, and so relay, nothing of some authors.
func (m *Member) Censor(authors ...crypto.MemberID) {
	m.ignore = func(e *crypto.Envelope) bool { return slices.Contains(authors, e.Header.Author) }
}

// BreakFirst makes a member send on each envelope with a broken signature
// instead of the genuine one, as fast as it can: who marks what it has seen
// before it verifies would refuse the genuine one after that.
func (m *Member) BreakFirst() {
	m.Change = func(c *mesh.Config) {
		c.Path = &turned{Memory: m.Memory, then: func(e *crypto.Envelope) {
			broken := slices.Clone(e.Raw)
			broken[len(e.Signed)+m.Index%crypto.SignatureSize] ^= 1 // two that break the same would say the same
			m.Publish(&crypto.Envelope{Header: e.Header, ID: e.ID, Raw: broken})
		}}
	}
}

// Replay makes a member bring each envelope of the region's topic into that of
// the community.
func (m *Member) Replay() {
	m.Change = func(c *mesh.Config) {
		c.Path = &turned{Memory: m.Memory, then: func(e *crypto.Envelope) {
			if e.Header.Audience == crypto.AudienceRegion {
				elsewhere := crypto.Header{Region: e.Header.Region, Audience: crypto.AudienceCommunity}
				m.Publish(&crypto.Envelope{Header: elsewhere, ID: e.ID, Raw: e.Raw})
			}
		}}
	}
}

// turned is an accept order that does something with what gossip brings, once
// each, and takes nothing.
type turned struct {
	*Memory
	then func(*crypto.Envelope)
}

// Check implements mesh.Path.
func (p *turned) Check(raw []byte, via mesh.Via, _ crypto.Region, _ crypto.Audience) (*mesh.Checked, error) {
	e, err := crypto.ParseEnvelope(raw)
	if err != nil || via != mesh.ViaGossip {
		return nil, mesh.ErrStale
	}
	p.mu.Lock()
	_, before := p.via[e.ID]
	p.via[e.ID] = via
	p.mu.Unlock()
	if !before {
		p.then(e)
	}
	return nil, mesh.ErrStale
}

// LieAboutFrontiers makes a member claim to hold envelopes that nobody wrote:
// of everybody, the peers it speaks to included.
func (m *Member) LieAboutFrontiers() {
	lie := mesh.NewFrontier()
	for _, o := range m.World.Members {
		chain := crypto.ChainID{Region: m.World.Region.ID, Author: o.ID, Serial: 1, Audience: crypto.AudienceRegion, Epoch: 1}
		var h mesh.Holding
		for seq := uint64(1); seq <= 60; seq++ {
			s := mesh.Slot{Chain: chain, Seq: seq, Time: testkit.Founded + int64(seq), Floor: 1}
			binary.BigEndian.PutUint64(s.ID[:], seq)
			h = h.With(s, time.Now().UnixMilli())
		}
		lie.Put(h)
	}
	m.Change = func(c *mesh.Config) { c.Frontier = lie }
}

// Eclipse makes members know nobody but one another and those they want for
// themselves: they tell everybody of their own addresses alone, dial whoever can
// be dialled, answer as if nobody had said anything, and relay nothing. Hubs among
// the members they want are dialled by all of them.
func (w *World) Eclipse(hostile, victims []*Member) {
	w.Helper()
	for _, m := range hostile {
		records := [][]byte{w.Region.Records[0]} // the charter
		for _, o := range slices.Concat(hostile, victims) {
			records = append(records, w.Region.Records[1+o.Index])
		}
		few := *w.Region
		few.Records = records
		m.Memory.roster = few.Roster(w)
		m.ignore = func(*crypto.Envelope) bool { return true }
		m.Change = func(c *mesh.Config) {
			c.Path = content{m.Memory}
			c.Seeds = nil
			for _, o := range slices.Concat(hostile, victims) {
				if o != m && o.Part != Spoke {
					c.Seeds = append(c.Seeds, o.Addr())
				}
			}
		}
	}
}

// content is an accept order that learns of nobody.
type content struct{ *Memory }

// AddTrust implements mesh.Path.
func (content) AddTrust(context.Context, [][]byte) error { return nil }

// Fork makes a running member say two envelopes with one number: another one
// beside the nth it has said, which is found by its number, and all that follows
// the first stays as it is.
func (m *Member) Fork(nth uint64, items ...[]byte) *crypto.Envelope {
	m.World.Helper()
	last := m.last[crypto.AudienceRegion]
	m.Memory.mu.Lock()
	chain := m.chains[last.Header.Chain()]
	var prev *crypto.Envelope
	if nth > 1 {
		prev = chain[nth-1].first
	}
	at := chain[nth].first.Header.Time
	m.Memory.mu.Unlock()
	e := m.Envelope(m.World, crypto.Header{Time: at}, prev, items...)
	if err := m.Admit(context.Background(), []*mesh.Checked{{Envelope: e, Items: items}}); err != nil {
		m.World.Fatal(err)
	}
	m.Publish(e)
	return e
}

// SayBad lets a running member publish every named bad envelope of the kit.
func (m *Member) SayBad() {
	m.World.Helper()
	region := crypto.Header{Region: m.World.Region.ID, Audience: crypto.AudienceRegion}
	for _, c := range testkit.BadEnvelopes(m.World, m.World.Region, m.Now().UnixMilli(), []byte("one"), []byte("two"), []byte("three")) {
		if c.Want != testkit.WantGood && c.Want != testkit.WantAuthor && len(c.Raw) <= mesh.GossipMax {
			m.Publish(&crypto.Envelope{Header: region, Raw: c.Raw})
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// A Raw is a libp2p host that speaks no protocol of the mesh by itself: a
// hostile peer says with it whatever bytes it likes. The caller closes it.
type Raw struct {
	host.Host
	w *World
}

// Raw makes a host at a place of the fabric beyond those of the members, the first of which is 0. With the seed of
// a member's peer key it is that member, with any other a stranger.
func (w *World) Raw(place int, seed [32]byte) Raw {
	w.Helper()
	key, err := p2pcrypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		w.Fatal(err)
	}
	h, err := libp2p.New(append(w.transport(len(w.Members)+place), libp2p.Identity(key), libp2p.NoListenAddrs, libp2p.DisableRelay(),
		libp2p.DisableMetrics(), libp2p.DisableIdentifyAddressDiscovery(), libp2p.ResourceManager(&network.NullResourceManager{}))...)
	if err != nil {
		w.Fatal(err)
	}
	return Raw{h, w}
}

// Reach connects to a member.
func (r Raw) Reach(m *Member) (peer.ID, error) {
	info, err := peer.AddrInfoFromString(m.Addr())
	if err != nil {
		r.w.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return info.ID, r.Connect(ctx, *info)
}

// Prove makes a host that has reached a member prove a key to it.
func (r Raw) Prove(to peer.ID, as *Member) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := mesh.Prove(ctx, r.Network().ConnsToPeer(to)[0], as.Signing, as.Credential.Region)
	return err
}

// Pour opens a stream and writes to it, then holds it open.
func (r Raw) Pour(to peer.ID, p protocol.ID, what []byte) error {
	ctx, cancel := context.WithTimeout(network.WithNoDial(context.Background(), "hostile"), 20*time.Second)
	defer cancel()
	s, err := r.NewStream(ctx, to, p)
	if err != nil {
		return err
	}
	_ = s.SetDeadline(time.Now().Add(time.Minute))
	_, err = s.Write(what)
	return err
}

// Oversized is the head of a frame that promises 2 GiB.
var Oversized = []byte{0x7f, 0xff, 0xff, 0xff, 1, 2, 3}
