package ledger

import (
	"time"

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
	Split         bool // two checkpoints of the origin contradict each other
	Mirror        MirrorStatus
	Fenced        string // why this voter has cut itself off; empty: it has not
}

// CheckpointStatus is about the newest checkpoint that is known here.
type CheckpointStatus struct {
	Size      uint64
	Root      crypto.Hash
	Time      time.Time // oldest ML-DSA-44 cosignature of a voter
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
}

// MirrorStatus is about the copy of a member that is no voter.
type MirrorStatus struct {
	Size uint64
	Lag  uint64          // entries that the newest good checkpoint has more
	From crypto.MemberID // who gave the last tile
}

// Status returns what this node knows. It asks nobody.
func (l *Ledger) Status() Status { return Status{} }
