package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchward/watchward/crypto"
)

// A health is what a voter says of itself to another voter: wire format, big endian.
type health struct {
	Version   uint8
	Started   bool // it has a raft, with a log of its own
	Joining   bool // it has lost its log, or never had one
	HasYou    bool // who asks is in its configuration
	Fenced    bool
	Term      uint64
	LastTerm  uint64 // of the last raft entry
	LastIndex uint64
	Size      uint64 // of the tree
	ContactMS int64  // since it heard from the leader; -1: never
}

const healthTimeout = time.Second

// serveHealth answers one question. There is nothing in it but the stream.
func (r *replica) serveHealth(peer string, s Stream) {
	s.SetDeadline(time.Now().Add(healthTimeout))
	out, err := binary.Append(nil, binary.BigEndian, r.ownHealth(peer))
	if err == nil {
		_, err = s.Write(out)
	}
	if err != nil {
		s.Reset()
		return
	}
	s.Close()
}

func (r *replica) ownHealth(peer string) health {
	h := health{Joining: r.joining.Load(), Fenced: r.layer.isFenced(), Size: r.e.tree.Size(), ContactMS: -1}
	node := r.node()
	if node == nil {
		return h
	}
	h.Started, h.Term, h.LastIndex, h.LastTerm = true, node.CurrentTerm(), node.LastIndex(), r.lastTerm()
	if asks, ok := r.l.memberAt(peer); ok {
		h.HasYou = slices.ContainsFunc(servers(node), func(s raft.Server) bool { return s.ID == serverID(asks) })
	}
	if at := node.LastContact(); node.State() == raft.Leader {
		h.ContactMS = 0
	} else if !at.IsZero() {
		h.ContactMS = time.Since(at).Milliseconds()
	}
	return h
}

func (r *replica) lastTerm() uint64 {
	return parseUint(r.node().Stats()["last_log_term"])
}

// askHealth asks a member.
func (r *replica) askHealth(ctx context.Context, m crypto.MemberID) (h health, err error) {
	peer, ok := r.l.peerOf(m)
	if !ok {
		return h, fmt.Errorf("no credential binds a peer id to voter %s", m)
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	s, err := r.l.c.Network.Open(ctx, peer, healthProtocol(r.e.number))
	if err != nil {
		return h, err
	}
	defer s.Reset()
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	if err := s.CloseWrite(); err != nil {
		return h, err
	}
	b := make([]byte, binary.Size(h))
	if _, err := io.ReadFull(s, b); err != nil {
		return h, err
	}
	if _, err = binary.Decode(b, binary.BigEndian, &h); err == nil && h.Version != 0 {
		err = errors.New("a voter of a later version")
	}
	return h, err
}

// askAll asks members at once, and returns what those said who answered.
func (r *replica) askAll(ctx context.Context, members []crypto.MemberID) map[crypto.MemberID]health {
	var mu sync.Mutex
	var wait sync.WaitGroup
	out := make(map[crypto.MemberID]health, len(members))
	for _, m := range members {
		if m == r.l.c.Self {
			continue
		}
		wait.Go(func() {
			if h, err := r.askHealth(ctx, m); err == nil {
				mu.Lock()
				out[m] = h
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return out
}
