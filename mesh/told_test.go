package mesh_test

import (
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/multiformats/go-multiaddr"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/mesh/wire"
)

// revocation ends a member's credential, by the key of whoever signs it.
func revocation(t *testing.T, charter *trust.Charter, key *crypto.PrivateKey, m *testkit.Member) []byte {
	t.Helper()
	st, err := trust.Revoking(charter, m.Credential, nil, now())
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(charter, []*crypto.PrivateKey{key}, now(), st)
	if err != nil {
		t.Fatal(err)
	}
	return records[0]
}

// A member that was revoked while it was away learns so from whomever it dials,
// though nobody speaks with it any more; who was never revoked is told nothing.
func TestRevokedMemberIsToldWhy(t *testing.T) {
	r := testkit.NewRegion(t, "a", "expelled", "stranger")
	record := revocation(t, r.Charter, r.Admission, r.Members[1])
	a := start(t, r, 0, func(c *mesh.Config) {
		c.Roster = partial(t, r, 0, 1)
		if _, err := c.Roster.Add(record); err != nil {
			t.Fatal(err)
		}
	})
	for name, listens := range map[string]bool{"spoke": false, "listener": true} {
		t.Run(name, func(t *testing.T) {
			b := start(t, r, 1, func(c *mesh.Config) {
				seed(a)(c)
				if !listens {
					c.Listen = nil
				}
				c.Roster = partial(t, r, 0, 1)
			})
			await(t, "it knows", func() bool { return b.roster.RevokedPeer(string(b.member.Credential.Peer)) != nil })
			if len(a.Peers())+len(b.Peers()) != 0 {
				t.Error("they are peers")
			}
			b.stop(t)
		})
	}
}

// The side that dialled ends a greeting when it has heard what the other shows
// last: whoever showed it may hang up then, and nothing is lost.
func TestEndOfGreetingMeansHeard(t *testing.T) {
	r := testkit.NewRegion(t, "revoked", "teller")
	record := revocation(t, r.Charter, r.Admission, r.Members[0])
	h := bare(t, r.Members[1].PeerSeed)
	ends := make(chan error, 1)
	h.SetStreamHandler("/watchward/show/0", func(s network.Stream) {
		ends <- func() error {
			_ = s.SetDeadline(time.Now().Add(patience))
			_, _ = s.Write([]byte{0}) // who are you?
			if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
				return err
			}
			if _, _, err := wire.Read(s, 1<<20); err != nil {
				return err
			}
			if _, err := wire.Write(s, wire.KindShow, &wire.Show{Records: [][]byte{record}}); err != nil {
				return err
			}
			_, _ = io.Copy(io.Discard, s) // to its end, or that of the connection, while this side is open
			return nil
		}()
	})
	if err := h.Network().Listen(multiaddr.StringCast(quicAny)); err != nil {
		t.Fatal(err)
	}
	a := start(t, r, 0, func(c *mesh.Config) {
		c.Seeds = []string{fmt.Sprintf("%s/p2p/%s", h.Network().ListenAddresses()[0], h.ID())}
	})
	if err := <-ends; err != nil {
		t.Fatal(err)
	}
	if a.roster.RevokedPeer(string(a.member.Credential.Peer)) == nil {
		t.Error("it ended before it heard that it is revoked")
	}
}

// What a liar shows at the end of a greeting makes nobody believe that it is
// revoked, and holds nobody for long.
func TestLiarRevokesNobody(t *testing.T) {
	r := testkit.NewRegion(t, "honest", "liar", "friend")
	other := testkit.NewRegionNamed(t, "elsewhere", "x")
	good := revocation(t, r.Charter, r.Admission, r.Members[0])
	spoilt := append([]byte{}, good...)
	spoilt[len(spoilt)-1] ^= 1
	foreign := revocation(t, other.Charter, other.Admission, other.Members[0])
	for name, last := range map[string]func(network.Stream){
		"a spoilt signature": func(s network.Stream) {
			_, _ = wire.Write(s, wire.KindShow, &wire.Show{Records: [][]byte{spoilt, foreign}})
			_ = s.CloseWrite()
		},
		"something else": func(s network.Stream) {
			_, _ = wire.Write(s, wire.KindPush, &wire.Push{Raw: good})
			_ = s.CloseWrite()
		},
		"garbage without end": func(s network.Stream) {
			for {
				if _, err := s.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		},
		"nothing, for ever": func(network.Stream) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := bare(t, r.Members[1].PeerSeed)
			var greeted, ended atomic.Int32
			h.SetStreamHandler("/watchward/show/0", func(s network.Stream) {
				var theirs [1]byte
				_ = s.SetDeadline(time.Now().Add(time.Minute))
				_, _ = s.Write([]byte{0}) // who are you?
				if _, err := s.Read(theirs[:]); err != nil {
					return
				}
				if _, _, err := wire.Read(s, 1<<20); err != nil {
					return
				}
				greeted.Add(1)
				last(s)
			})
			h.Network().Notify(&network.NotifyBundle{DisconnectedF: func(network.Network, network.Conn) { ended.Add(1) }})
			if err := h.Network().Listen(multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")); err != nil {
				t.Fatal(err)
			}
			friend := start(t, r, 2, nil)
			a := start(t, r, 0, func(c *mesh.Config) {
				seed(friend)(c)
				c.Listen = append(c.Listen, "/ip4/127.0.0.1/tcp/0")
				c.Seeds = append(c.Seeds, fmt.Sprintf("%s/p2p/%s", h.Network().ListenAddresses()[0], h.ID()))
			})
			await(t, "the liar has lied, and is left", func() bool { return greeted.Load() > 0 && ended.Load() > 0 })
			if a.roster.RevokedPeer(string(a.member.Credential.Peer)) != nil {
				t.Error("it believes that it is revoked")
			}
			awaitPeers(t, 1, a, friend)
		})
	}
}
