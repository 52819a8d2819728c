package bench_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
)

// A speaker is a member's mesh over envelopes in memory. A node that meets it
// takes them by sync, the way that it takes everything it missed.
type speaker struct {
	*mesh.Mesh
	shelf *shelf
}

// speak starts a speaker that dials a node and has compared with it.
func speak(t testing.TB, r *testkit.Region, m *testkit.Member, to *hospital) *speaker {
	t.Helper()
	return speakTo(t, r, m, to.MeshAddrs())
}

func speakTo(t testing.TB, r *testkit.Region, m *testkit.Member, seeds []string) *speaker {
	t.Helper()
	s := &speaker{shelf: &shelf{roster: r.Roster(t), frontier: mesh.NewFrontier(), chains: map[crypto.ChainID][]*crypto.Envelope{}}}
	var err error
	s.Mesh, err = mesh.New(mesh.Config{
		Identity: m.PeerSeed, Signing: m.Signing, Listen: []string{quicAny}, Seeds: seeds,
		Roster: s.shelf.roster, Frontier: s.shelf.frontier, Path: s.shelf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop(t) })
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the speaker has met the node", 5*time.Millisecond, func() bool {
		peers := s.Peers()
		return len(peers) == 1 && !peers[0].LastSync.IsZero()
	})
	return s
}

func (s *speaker) stop(t testing.TB) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// hold puts envelopes on the shelf, each chain's in their order.
func (s *speaker) hold(envelopes []*crypto.Envelope) {
	holdings := map[crypto.ChainID]mesh.Holding{}
	now := time.Now().UnixMilli()
	for _, e := range envelopes {
		h := &e.Header
		s.shelf.chains[h.Chain()] = append(s.shelf.chains[h.Chain()], e)
		holdings[h.Chain()] = holdings[h.Chain()].With(mesh.Slot{
			Chain: h.Chain(), Seq: h.Seq, ID: e.ID, Time: h.Time, Floor: h.Floor, Urgent: h.Urgent}, now)
	}
	for _, h := range holdings {
		s.shelf.frontier.Put(h)
	}
}

// round runs one sync session, once no other is under way.
func (s *speaker) round(t testing.TB) (result mesh.SyncResult) {
	t.Helper()
	id, err := peer.Decode(s.Peers()[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a session ends well", time.Millisecond, func() bool {
		result, err = s.SyncNow(t.Context(), id)
		return err == nil
	})
	return result
}

// A shelf is an accept order that gives and takes nothing. The speaker fills it
// before it tells the frontier, which makes the rest of it safe to read.
type shelf struct {
	roster   *trust.Roster
	frontier *mesh.Frontier
	chains   map[crypto.ChainID][]*crypto.Envelope
}

// Check implements mesh.Path.
func (s *shelf) Check([]byte, mesh.Via, crypto.Region, crypto.Audience) (*mesh.Checked, error) {
	return nil, mesh.ErrStale
}

// Admit implements mesh.Path.
func (s *shelf) Admit(context.Context, []*mesh.Checked) error { return nil }

// Read implements mesh.Path.
func (s *shelf) Read(chain crypto.ChainID, r mesh.Range, newestFirst bool, yield func(uint64, []byte) bool) error {
	all := slices.Clone(s.chains[chain])
	if newestFirst {
		slices.Reverse(all)
	}
	for _, e := range all {
		if e.Header.Seq >= r.From && e.Header.Seq <= r.To && !yield(e.Header.Seq, e.Raw) {
			return nil
		}
	}
	return nil
}

// AddTrust implements mesh.Path.
func (s *shelf) AddTrust(_ context.Context, records [][]byte) error {
	if _, err := s.roster.AddAll(records); err != nil {
		return &mesh.Refusal{Reason: "trust", Err: err}
	}
	return nil
}

// Muted implements mesh.Path.
func (s *shelf) Muted(mesh.Slot) bool { return false }

// host is a value for each number.
func host(k int) notice.Indicator {
	return notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("host-%08d.evil.example", k)}
}

// sightings are items that each name a value of their own, seen ten minutes ago.
func sightings(t testing.TB, from, n int, at time.Time, value func(k int) notice.Indicator) [][]byte {
	t.Helper()
	out := make([][]byte, n)
	for i := range out {
		k := from + i
		seen := at.Add(-10 * time.Minute).UnixMilli()
		salt := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(k)))
		about := value(k)
		raw, err := notice.Encode(&notice.Notice{
			Kind: notice.KindSighting, Salt: [16]byte(salt[:]), Created: at.UnixMilli(),
			Indicator: &about, FirstSeen: seen, LastSeen: seen, Count: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		out[i] = raw
	}
	return out
}

// foreign are envelopes of so many sightings each, by turns of the authors, old
// enough to be compared by sync.
func foreign(t testing.TB, authors []*testkit.Member, envelopes, items int) []*crypto.Envelope {
	t.Helper()
	return foreignOf(t, authors, envelopes, items, host)
}

func foreignOf(t testing.TB, authors []*testkit.Member, envelopes, items int, value func(k int) notice.Indicator) []*crypto.Envelope {
	t.Helper()
	at := time.Now().Add(-20 * time.Minute)
	last := make([]*crypto.Envelope, len(authors))
	out := make([]*crypto.Envelope, envelopes)
	for i := range out {
		who := i % len(authors)
		header := crypto.Header{Time: at.UnixMilli(), Expiry: at.Add(90 * 24 * time.Hour).UnixMilli()}
		last[who] = authors[who].Envelope(t, header, last[who], sightings(t, i*items, items, at, value)...)
		out[i] = last[who]
	}
	return out
}
