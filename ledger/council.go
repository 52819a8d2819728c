package ledger

import (
	"slices"
	"sync"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
)

// A council is who keeps a region's ledger and who witnesses it, as the roster has it
// now. It is not changed once made.
type council struct {
	epoch     uint32 // that the charter names, 0: no ledger
	voters    []seat
	witnesses []seat
}

// A seat is one member of a council.
type seat struct {
	member crypto.MemberID
	peer   string // empty: no credential of it counts
}

func seated(seats []seat, member crypto.MemberID) (seat, bool) {
	i := slices.IndexFunc(seats, func(s seat) bool { return s.member == member })
	if i < 0 {
		return seat{}, false
	}
	return seats[i], true
}

// councils answers who counts, and keeps the answer as long as the roster is the same.
type councils struct {
	roster *trust.Roster
	region crypto.Region

	mu       sync.Mutex
	changed  <-chan struct{} // of the roster that the rest is from; nil at first
	now      *council
	policies map[string]*verify.Policy // by origin
}

func newCouncils(roster *trust.Roster, region crypto.Region) *councils {
	return &councils{roster: roster, region: region}
}

// fresh forgets what an earlier roster said. It needs the lock.
func (c *councils) fresh() {
	if c.changed != nil {
		select {
		case <-c.changed:
		default:
			return
		}
	}
	c.changed = c.roster.Changed() // before it is read
	c.now, c.policies = nil, map[string]*verify.Policy{}
}

func (c *councils) get() *council {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fresh(); c.now == nil {
		c.now = councilOf(c.roster, c.region)
	}
	return c.now
}

func councilOf(roster *trust.Roster, region crypto.Region) *council {
	charter := roster.CharterOf(region)
	if charter == nil {
		return &council{}
	}
	out := &council{epoch: charter.Ledger}
	peers := map[crypto.MemberID]string{}
	for _, m := range roster.Members(region) {
		if _, revoked := roster.Revoked(m); !revoked {
			peers[m.Member] = string(m.Peer)
		}
	}
	for _, v := range charter.Voters {
		out.voters = append(out.voters, seat{v, peers[v]})
	}
	for _, w := range charter.Witnesses {
		out.witnesses = append(out.witnesses, seat{w, peers[w]})
	}
	return out
}

// policy returns whose signatures count for an origin, of this region or of another
// that the roster knows; nil if nobody's are known.
func (c *councils) policy(origin string) *verify.Policy {
	region, epoch, err := tlog.ParseOrigin(origin)
	if err != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh()
	p := c.policies[origin]
	if p != nil {
		return p
	}
	// Anybody can name an epoch that no charter has: it takes nobody's place.
	if p, err = verify.PolicyOf(c.roster, region, epoch); err != nil {
		return nil
	}
	if len(c.policies) >= policiesMax {
		clear(c.policies)
	}
	c.policies[origin] = p
	return p
}

// policiesMax bounds the policies that are kept, some 300 KB each: of the own region's
// epochs, and of one origin for each region that may be endorsed.
const policiesMax = trust.EndorsedMax + 64

// member returns whose peer id it is, if it belongs to the own region.
func (c *councils) member(peer string) (crypto.MemberID, bool) {
	m, ok := c.roster.ByPeer(peer)
	if !ok || m.Region != c.region {
		return crypto.MemberID{}, false
	}
	return m.Member, true
}
