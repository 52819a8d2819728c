package mesh_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
)

const protocolTest = "/watchward/test/0"

func anybody(string) bool { return true }

// echo answers a stream with what comes on it.
func echo(_ string, s mesh.Stream) {
	if _, err := io.Copy(s, s); err != nil {
		_ = s.Reset()
		return
	}
	_ = s.Close()
}

// opens opens a stream to another that is answered, and returns it.
func (n *node) opens(t *testing.T, to *node) mesh.Stream {
	t.Helper()
	s, err := n.tries(t, to)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tries opens a stream and waits for the echo of one byte.
func (n *node) tries(t *testing.T, to *node) (mesh.Stream, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := n.Open(ctx, string(to.libp2pID()), protocolTest)
	if err != nil {
		return nil, err
	}
	return s, answered(s)
}

func answered(s mesh.Stream) error {
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := s.Write([]byte{7}); err != nil {
		return err
	}
	var got [1]byte
	if _, err := io.ReadFull(s, got[:]); err != nil {
		return err
	}
	return s.SetDeadline(time.Time{})
}

func TestCarriedStreams(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	a := start(t, r, 0, nil)
	b := start(t, r, 1, seed(a))
	from := make(chan string, 1)
	b.Handle(protocolTest, anybody, func(peer string, s mesh.Stream) {
		from <- peer
		echo(peer, s)
	})
	awaitPeers(t, 1, a, b)
	// b is the one that has dialled: a knows its address once it has told it.
	await(t, "where b is, at a", func() bool { return a.Dialable(string(b.libp2pID())) })
	// There is no connection now: it makes one.
	if err := a.Host().Network().ClosePeer(b.libp2pID()); err != nil {
		t.Fatal(err)
	}
	s := a.opens(t, b)
	if got := <-from; got != string(r.Members[0].Credential.Peer) {
		t.Errorf("from %x", got)
	}
	if !b.Carries(a.libp2pID()) {
		t.Error("the connection might be changed for another")
	}
	said := bytes.Repeat([]byte("word"), 100_000)
	go func() {
		_, _ = s.Write(said)
		_ = s.CloseWrite()
	}()
	heard, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(heard, said) {
		t.Errorf("%d bytes of %d came back: %v", len(heard), len(said), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	await(t, "nothing carried any more", func() bool { return !b.Carries(a.libp2pID()) })
	a.opens(t, b)
	<-from
	if !b.Carries(a.libp2pID()) {
		t.Error("nothing is carried")
	}
	b.Yield(protocolTest)
	if b.Carries(a.libp2pID()) {
		t.Error("streams that yield keep their connection")
	}
	if _, err := a.Open(t.Context(), string(b.libp2pID()), "/watchward/unheard/0"); err == nil {
		t.Error("a protocol that nobody handles is opened")
	}
}

// Whom the handler does not allow gets nothing, be it a stranger or a member.
func TestCarriedAreRefused(t *testing.T) {
	r := testkit.NewRegion(t, "coordinator", "voter", "hospital")
	var w watch
	served := make(chan string, 8)
	coordinator := start(t, r, 0, w.on)
	coordinator.Handle(protocolTest, func(peer string) bool { return peer == string(r.Members[1].Credential.Peer) }, func(peer string, s mesh.Stream) {
		served <- peer
		echo(peer, s)
	})
	voter, hospital := start(t, r, 1, seed(coordinator)), start(t, r, 2, seed(coordinator))
	awaitPeers(t, 1, voter, hospital)
	_ = voter.opens(t, coordinator).Close()
	if s, err := hospital.tries(t, coordinator); err == nil {
		t.Error("a member that is not allowed is answered")
	} else if s != nil {
		_ = s.Reset()
	}
	if n := w.rejected(t, "carried"); n != 1 {
		t.Errorf("counted %d times", n)
	}

	h := bare(t, sha256.Sum256([]byte("stranger")))
	if err := h.Connect(t.Context(), infoOf(t, coordinator)); err != nil {
		t.Fatal(err)
	}
	if s, err := h.NewStream(t.Context(), coordinator.libp2pID(), protocolTest); err == nil {
		if answered(s) == nil {
			t.Error("a stranger is answered")
		}
		_ = s.Reset()
	}
	if _, err := coordinator.Open(t.Context(), string(h.ID()), protocolTest); err == nil {
		t.Error("a stream is opened to a stranger")
	}
	if len(served) != 1 {
		t.Errorf("%d streams were served, want the voter's", len(served))
	}
}

// streamOf returns both ends of a stream that stays open.
func streamOf(t *testing.T, from, to *node, allow func(string) bool) (near, far mesh.Stream) {
	t.Helper()
	kept := make(chan mesh.Stream, 1)
	to.Handle(protocolTest, allow, func(_ string, s mesh.Stream) {
		var first [1]byte
		if _, err := io.ReadFull(s, first[:]); err == nil {
			_, _ = s.Write(first[:])
			kept <- s
		}
	})
	near = from.opens(t, to)
	return near, <-kept
}

// ends waits until a stream breaks.
func ends(t *testing.T, s mesh.Stream) {
	t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return // it has ended
	}
	_, err := s.Read(make([]byte, 1))
	var late interface{ Timeout() bool }
	if err == nil || errors.Is(err, io.EOF) || errors.As(err, &late) && late.Timeout() {
		t.Errorf("the stream goes on: %v", err)
	}
	_ = s.Reset()
}

func TestCarriedStreamEndsWithItsMember(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	a := start(t, r, 0, nil)
	b := start(t, r, 1, seed(a))
	awaitPeers(t, 1, a, b)
	near, far := streamOf(t, a, b, anybody)
	st, err := trust.Revoking(r.Charter, r.Members[0].Credential, nil, now())
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(r.Charter, []*crypto.PrivateKey{r.Admission}, now(), st)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.AddTrust(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	ends(t, far)
	ends(t, near)
	if s, err := a.tries(t, b); err == nil {
		t.Error("a revoked member opens another")
	} else if s != nil {
		_ = s.Reset()
	}
	if _, err := b.Open(t.Context(), string(a.libp2pID()), protocolTest); err == nil {
		t.Error("one is opened to a revoked member")
	}
}

// Who is no longer allowed by what the roster says loses its streams, and nobody else.
func TestCarriedStreamEndsWithItsLeave(t *testing.T) {
	r := testkit.NewRegionLedger(t, "x", []string{"v1", "v2", "v3"}, nil)
	a := start(t, r, 0, nil)
	b, c := start(t, r, 1, seed(a)), start(t, r, 2, seed(a))
	awaitPeers(t, 1, a, b, c)
	voter := func(peer string) bool {
		m, known := a.roster.ByPeer(peer)
		return known && slices.Contains(a.roster.Charter().Voters, m.Member)
	}
	nearB, farB := streamOf(t, b, a, voter)
	nearC, farC := streamOf(t, c, a, voter)
	record := r.Amend(t, func(charter *trust.Charter) { charter.Voters = []crypto.MemberID{r.Members[0].ID, r.Members[2].ID} })
	if err := a.AddTrust(t.Context(), [][]byte{record}); err != nil {
		t.Fatal(err)
	}
	ends(t, farB)
	ends(t, nearB)
	if _, err := farC.Write([]byte{9}); err != nil {
		t.Errorf("who is a voter still: %v", err)
	}
	var got [1]byte
	if _, err := io.ReadFull(nearC, got[:]); err != nil || got[0] != 9 {
		t.Errorf("who is a voter still: %v", err)
	}
	if s, err := b.tries(t, a); err == nil {
		t.Error("who was a voter opens another")
	} else if s != nil {
		_ = s.Reset()
	}
	_, _ = nearC.Reset(), farC.Reset()
}

func TestCarriedLimit(t *testing.T) {
	const most = 16
	r := testkit.NewRegion(t, "a", "b", "greedy")
	a := start(t, r, 0, nil)
	var served atomic.Int32
	a.Handle(protocolTest, anybody, func(peer string, s mesh.Stream) {
		served.Add(1)
		echo(peer, s)
	})
	b := start(t, r, 1, seed(a))
	awaitPeers(t, 1, a, b)
	var open []mesh.Stream
	for range most {
		open = append(open, b.opens(t, a))
	}
	if _, err := b.Open(t.Context(), string(a.libp2pID()), protocolTest); !errors.Is(err, mesh.ErrCrowded) {
		t.Errorf("one more is opened: %v", err)
	}
	_ = open[0].Reset()
	await(t, "another instead of one that has ended", func() bool { // there too
		s, err := b.tries(t, a)
		if err == nil {
			open[0] = s
		} else if s != nil {
			_ = s.Reset()
		}
		return err == nil
	})
	for _, s := range open {
		_ = s.Reset()
	}

	// Who does not keep to it is held to it.
	h := bare(t, r.Members[2].PeerSeed)
	enter(t, h, r.Members[2], a)
	served.Store(0)
	for i := range most + 4 {
		s, err := h.NewStream(t.Context(), a.libp2pID(), protocolTest)
		if err != nil {
			t.Fatal(err)
		}
		if err := answered(s); (err == nil) != (i < most) {
			t.Errorf("stream %d: %v", i+1, err)
		}
	}
	if n := served.Load(); n != most {
		t.Errorf("%d streams were served", n)
	}
}

// notes judges what is announced by its first word, and keeps it.
type notes struct {
	mu    sync.Mutex
	heard []string
}

func (n *notes) Note(region crypto.Region, raw []byte) (relay, blame bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heard = append(n.heard, string(raw))
	return bytes.HasPrefix(raw, []byte("pass")), bytes.HasPrefix(raw, []byte("bad"))
}

func (n *notes) has(note string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(n.heard, note)
}

func (n *notes) on(c *mesh.Config) { c.Notes = n }

// awaitNotes waits until what one announces comes to another.
func awaitNotes(t *testing.T, from *node, region crypto.Region, to *notes) {
	t.Helper()
	awaitNotesOf(t, func(note []byte) error { return from.Announce(t.Context(), region, note) }, to)
}

// awaitNotesOf says one after the other: what is said before gossip has grafted a
// peer does not come to it.
func awaitNotesOf(t *testing.T, say func(note []byte) error, to *notes) {
	t.Helper()
	await(t, "a note that comes", func() bool {
		note := fmt.Sprintf("pass %d", time.Now().UnixNano())
		if err := say([]byte(note)); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			if to.has(note) {
				return true
			}
			time.Sleep(5 * time.Millisecond)
		}
		return false
	})
}

func TestNotesAreRelayed(t *testing.T) {
	r := testkit.NewRegion(t, "hub", "left", "right", "old")
	var atHub, atLeft, atRight notes
	hub := start(t, r, 0, atHub.on)
	left, right := start(t, r, 1, both(spoke(hub), atLeft.on)), start(t, r, 2, both(spoke(hub), atRight.on))
	old := start(t, r, 3, spoke(hub)) // hears no notes, and is a peer like others
	awaitPeers(t, 3, hub)
	awaitNotes(t, left, r.ID, &atRight)
	for _, note := range []string{"keep this", "pass this"} {
		if err := left.Announce(t.Context(), r.ID, []byte(note)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "what is passed on, at the other end", func() bool { return atRight.has("pass this") })
	if !atHub.has("keep this") || atRight.has("keep this") || atLeft.has("pass this") {
		t.Errorf("at the hub %t, relayed though it should be kept %t, back at its author %t", atHub.has("keep this"), atRight.has("keep this"), atLeft.has("pass this"))
	}
	if err := left.Announce(t.Context(), r.ID, make([]byte, mesh.NoteMax+1)); err == nil {
		t.Error("a long note is announced")
	}
	if left.Announce(t.Context(), crypto.Region{1}, []byte("pass")) == nil || old.Announce(t.Context(), r.ID, []byte("pass")) == nil {
		t.Error("a note without a topic is announced")
	}
	awaitGossip(t, old, hub, right)
}

// Notes of a region come to those that are mutual with it, and to no others.
func TestNotesAbroad(t *testing.T) {
	a, b := testkit.NewRegion(t, "speaker"), testkit.NewRegionNamed(t, "elsewhere", "listener")
	c := testkit.NewRegionNamed(t, "apart", "other")
	a.Endorse(t, nil, b)
	b.Endorse(t, nil, a)
	knows := func(x *testkit.Region, others ...*testkit.Region) func(*mesh.Config) {
		return func(cfg *mesh.Config) {
			for _, o := range others {
				if _, err := cfg.Roster.AddAll(o.Records); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	var here, there notes
	speaker := start(t, a, 0, both(here.on, knows(a, b)))
	listener := start(t, b, 0, both(seed(speaker), there.on, knows(b, a)))
	awaitPeers(t, 1, speaker)
	awaitNotes(t, speaker, a.ID, &there)
	awaitNotes(t, listener, a.ID, &here) // a neighbour brings what it has heard
	if speaker.Announce(t.Context(), c.ID, []byte("pass")) == nil {
		t.Error("a note of a region that is not heard is announced")
	}
}

// Who announces what it must know to be wrong is not heard any more.
func TestBadNotesAreTheSendersBlame(t *testing.T) {
	r := testkit.NewRegion(t, "victim", "other", "bad")
	var log lines
	var atVictim, atOther notes
	victim := start(t, r, 0, both(atVictim.on, func(c *mesh.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) }))
	other := start(t, r, 1, both(spoke(victim), atOther.on))
	awaitPeers(t, 1, victim, other)
	awaitNotes(t, other, r.ID, &atVictim)
	topic := hostile(t, r.Members[2], victim, "watchward/ledger/0/"+r.ID.String())[0]
	id := peer.ID(r.Members[2].Credential.Peer).String()
	publish := func(note []byte) error { return topic.Publish(t.Context(), note) }
	say := func(note []byte) {
		t.Helper()
		if err := publish(note); err != nil {
			t.Fatal(err)
		}
	}
	long := bytes.Repeat([]byte("pass"), mesh.NoteMax/4+1)
	say(long)
	awaitNotesOf(t, publish, &atOther)
	await(t, "a long one named", func() bool { return log.with("note refused", id) == 1 })
	round := 0
	await(t, "no longer heard", func() bool {
		say(fmt.Appendf(nil, "bad %d", round))
		last := fmt.Appendf(nil, "pass %d", round)
		say(last)
		awaitNotes(t, other, r.ID, &atVictim)
		round++
		return !atVictim.has(string(last))
	})
	if n := log.with("note refused", id); n < 5 || n > round+1 {
		t.Errorf("no longer heard after %d bad notes", n)
	}
	if atVictim.has(string(long)) || atOther.has("bad 0") {
		t.Error("bad notes are relayed, or looked at though they are too long")
	}
}
