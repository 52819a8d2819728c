// Package verdict says what a value is worth to this node, and why: none, detect
// or block, from what members said, what this house allows and denies, and what
// must never be blocked. It does no I/O and reads no clock. Times are milliseconds
// since the Unix epoch.
package verdict

import (
	"fmt"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// A Level is what this node does about a value.
type Level uint8

const (
	None   Level = iota // nothing
	Detect              // say when it is seen
	Block               // stop it, also
)

var levelNames = [...]string{None: "none", Detect: "detect", Block: "block"}

func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("level(%d)", uint8(l))
}

// A Word is a notice as evidence: a sighting, an indicator, a dispute or a
// retraction.
type Word struct {
	ID     crypto.ItemID
	Author crypto.MemberID
	Kind   notice.Kind
	// About is the value that was asked or what it matches; of a dispute of a
	// notice, the value that the notice speaks of. Zero is the value.
	About notice.Indicator
	Ref   crypto.ItemID // of a retraction: what its author takes back

	Seen    int64  // ms: when it was last seen, or stated
	Expires int64  // ms: from when on it does not count
	Source  string // of an import: who said it first
	Family  string
	TLP     notice.TLP // 0 = unmarked

	Retracted bool // known to be taken back, by whatever word
	Exercise  bool
}

// NewWord returns what a notice says as evidence about a value. TLP, Retracted and
// Exercise are for the caller to add, and an earlier Expires if its envelope has one.
func NewWord(id crypto.ItemID, author crypto.MemberID, n *notice.Notice, about notice.Indicator) Word {
	w := Word{ID: id, Author: author, Kind: n.Kind, About: about, Seen: n.LastSeen, Expires: n.DefaultExpiry()}
	if w.Seen == 0 {
		w.Seen = n.Created
	}
	if n.Ref != nil {
		w.Ref = *n.Ref
	}
	if n.Origin != nil {
		w.Source = n.Origin.Source
	}
	if n.Context != nil {
		w.Family = n.Context.Family
	}
	return w
}

// A Verdict says what a value is worth.
type Verdict struct {
	Level Level
	Score int // 0 … 100: what the words are worth now, whatever is decided here
	// Said is what the words alone bring Level to: None where a guardrail holds the value,
	// and unmoved by what this house allows or denies.
	Said Level
	// Expires is when Level falls if nobody says anything more (ms), 0 if it does
	// not by itself.
	Expires int64
	// Matched is what the words speak of: the value itself, a parent, a network or
	// a host. Zero if nobody spoke.
	Matched notice.Indicator
	// Guarded says that it belongs in no feed, at whatever level: it is on the
	// never-block list or a warninglist. Reasons say which.
	Guarded bool
	// Listed says that it, or what matched, is on a warninglist: around an entry of one
	// is not enough.
	Listed  bool
	Reasons []Reason // what raised it, then what lowered it
}

// Hit reports whether a house wants to know that its own logs name the value: it is to
// be detected, and not known to be harmless. A supplier in other people's hands is.
func (v *Verdict) Hit() bool { return v.Level >= Detect && !v.Listed }

// A Cause is a kind of reason. The names are stable.
type Cause string

const (
	CauseSeen     Cause = "seen"          // members saw it
	CauseReported Cause = "reported"      // members have it from elsewhere
	CauseMembers  Cause = "block-members" // as many saw it as block.min_members asks
	CauseFamily   Cause = "block-family"  // of a family in block.families
	CauseOrigin   Cause = "block-origin"  // from a source in block.origins
	CauseDenied   Cause = "denied"        // denied here

	CauseAge         Cause = "age"
	CauseDisputed    Cause = "disputed"
	CauseRetracted   Cause = "retracted"
	CauseExpired     Cause = "expired" // too old to count
	CauseDrill       Cause = "drill"
	CauseAllowed     Cause = "allowed"     // it, or something in it, is allowed here
	CauseWarninglist Cause = "warninglist" // it, or something in it, is known to be harmless
	CauseSpecial     Cause = "special-use" // never blocked, as the rest
	CauseOwn         Cause = "own"
	CauseSupplier    Cause = "supplier"
	CauseClinical    Cause = "clinical"
)

// raises reports whether a reason of this cause raised the verdict; all others
// lowered it.
func (c Cause) raises() bool {
	switch c {
	case CauseSeen, CauseReported, CauseMembers, CauseFamily, CauseOrigin, CauseDenied:
		return true
	}
	return false
}

// idsMax bounds the ids of a reason; Reason.More counts the rest.
const idsMax = 50

// A Reason is one thing that raised or lowered a verdict.
type Reason struct {
	Cause  Cause
	Raised bool // else lowered
	Text   string
	IDs    []crypto.ItemID // the notices behind it, the latest first
	More   int             // notices that IDs leaves out
}
