package ledger

import (
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchward/watchward/crypto"
)

// A Role is what this node is to the ledger.
type Role string

// The roles. A joining voter is in the charter, and catches up.
const (
	RoleNone      Role = "none" // neither voter nor mirror
	RoleMirror    Role = "mirror"
	RoleJoining   Role = "joining"
	RoleFollower  Role = "follower"
	RoleCandidate Role = "candidate"
	RoleLeader    Role = "leader"
)

// Status is what this node knows of the region's ledger. Zero times are "never" or
// "not so".
type Status struct {
	Origin        string // of the newest epoch; empty: the charter names no ledger
	Epoch         uint32
	Role          Role
	Leader        crypto.MemberID // zero: none that this node knows of
	Term          uint64
	Size          uint64 // entries of the tree here
	Committed     uint64 // of them, those that a quorum holds
	Checkpoint    CheckpointStatus
	Voters        []VoterStatus // by name; beside what the charter says only the leader knows them
	NoQuorumSince time.Time
	Unreached     bool   // NoQuorumSince is since when no voter can be reached from here: they may have a quorum
	Split         bool   // two checkpoints of the origin contradict each other
	Evidence      string // the file that proves it, of verify.Equivocation; empty: there is none
	Mirror        MirrorStatus
	Fenced        string // why this voter has cut itself off; empty: it has not
}

// CheckpointStatus is about the newest checkpoint that is known here.
type CheckpointStatus struct {
	Size      uint64
	Root      crypto.Hash
	Time      time.Time // when a quorum had signed it, by their clocks
	Signers   []crypto.MemberID
	Witnesses []crypto.MemberID
	Good      bool
	Witnessed bool
}

// VoterStatus is about one voter.
type VoterStatus struct {
	Member      crypto.MemberID
	Name        string
	State       string        // "leader", "voter", "joining", "leaving" or "named": only the charter has it yet
	Size        uint64        // of its tree
	Lag         uint64        // raft entries that it lacks of the leader's
	LastContact time.Duration // since it heard from the leader
	Healthy     bool
	Known       bool      // this node leads: Size, Lag, LastContact and Healthy say something
	SilentSince time.Time // since when it does not answer the leader; zero: it does
	Signed      time.Time // of the newest good checkpoint here that it has signed; every node knows that
}

// MirrorStatus is about the copy of a member that is no voter.
type MirrorStatus struct {
	Size uint64
	Lag  uint64          // entries that the newest good checkpoint has more
	From crypto.MemberID // who gave the last tile
}

// Status returns what this node knows. It asks nobody.
func (l *Ledger) Status() Status {
	e := l.current()
	if e == nil {
		return Status{Role: RoleNone}
	}
	size := e.tree.Size()
	s := Status{Origin: e.origin, Epoch: e.number, Role: RoleMirror, Size: size, Committed: size}
	if !l.c.Mirror {
		s.Role = RoleNone
	}
	s.Leader, _ = l.Leader()
	r := l.replicaOf(e)
	if r != nil {
		r.status(&s)
	}
	s.Voters = l.voterStatus(e, r)
	l.follow.status(&s)
	return s
}

func (r *replica) status(s *Status) {
	s.NoQuorumSince = r.noQuorumSince()
	r.mu.Lock()
	s.Fenced = r.why
	r.mu.Unlock()
	node := r.node()
	s.Role = RoleJoining
	if node == nil {
		return
	}
	s.Term = node.CurrentTerm()
	own := serverID(r.l.c.Self)
	if !slices.ContainsFunc(servers(node), func(s raft.Server) bool { return s.ID == own && s.Suffrage == raft.Voter }) {
		return
	}
	switch node.State() {
	case raft.Leader:
		s.Role = RoleLeader
	case raft.Candidate:
		s.Role = RoleCandidate
	default:
		s.Role = RoleFollower
	}
}

// voterStatus lists the charter's voters and those that leave.
func (l *Ledger) voterStatus(e *epoch, r *replica) []VoterStatus {
	var now []raft.Server
	var said map[raft.ServerID]health
	var silent map[raft.ServerID]time.Time
	var node *raft.Raft
	if r != nil {
		if node = r.node(); node != nil {
			now = servers(node)
		}
		r.mu.Lock()
		said, silent = r.health, r.silent
		r.mu.Unlock()
	}
	leader, _ := l.Leader()
	charter := l.voters(e.number)
	members := slices.Clone(charter)
	for _, s := range now {
		if m, err := memberOf(s.ID); err == nil && !slices.Contains(members, m) {
			members = append(members, m)
		}
	}
	out := make([]VoterStatus, 0, len(members))
	for _, m := range members {
		v := VoterStatus{Member: m, Name: l.nameOf(m), State: "named", Signed: e.track.lastSigned(m)}
		i := slices.IndexFunc(now, func(s raft.Server) bool { return s.ID == serverID(m) })
		switch {
		case m == leader:
			v.State = "leader"
		case i >= 0 && !slices.Contains(charter, m):
			v.State = "leaving"
		case i >= 0 && now[i].Suffrage == raft.Voter:
			v.State = "voter"
		case i >= 0:
			v.State = "joining"
		}
		if v.Known = l.Leads(); v.Known {
			v.SilentSince = silent[serverID(m)]
		}
		if h, ok := said[serverID(m)]; ok && v.Known {
			v.Size, v.LastContact = h.Size, time.Duration(h.ContactMS)*time.Millisecond
			if last := node.LastIndex(); h.LastIndex < last {
				v.Lag = last - h.LastIndex
			}
			v.Healthy = h.Started && !h.Joining && !h.Fenced && h.ContactMS >= 0
		}
		out = append(out, v)
	}
	slices.SortStableFunc(out, func(a, b VoterStatus) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (l *Ledger) term() uint64 {
	if r, err := l.voting(); err == nil {
		if node := r.node(); node != nil {
			return node.CurrentTerm()
		}
	}
	return 0
}

// noQuorumSince returns since when the voters have no quorum, as far as this one knows;
// zero while they have one.
func (l *Ledger) noQuorumSince() time.Time {
	if r, err := l.voting(); err == nil {
		return r.noQuorumSince()
	}
	return time.Time{}
}
