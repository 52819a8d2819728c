package node

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh/pulse"
	"github.com/watchward/watchward/node/situation"
)

// silentLines is how many members that fall silent, or are heard again, have each a line
// in the log. More of them at once have one: it is this node's own network then.
const silentLines = 8

// A pulseKeeper runs this node's part of the region's pulse, and knows the members by
// their peer ids, as the pulse does. It is safe for concurrent use.
type pulseKeeper struct {
	n      *Node
	pulse  *pulse.Pulse
	roster atomic.Pointer[pulseRoster]

	mu    sync.Mutex
	words map[crypto.MemberID]int64 // ms, when the newest envelope of each came here, or was made if that was before
}

// A pulseRoster is who belongs to the region and is not revoked.
type pulseRoster struct {
	changed <-chan struct{} // closed when it is not that any more
	peers   []string
	members map[string]crypto.MemberID // by peer id
}

// openPulse joins nothing yet. Whoever listens is a hub, for others can link to it:
// see DESIGN.md.
func (n *Node) openPulse() error {
	if n.mesh == nil {
		return nil
	}
	k := &pulseKeeper{n: n, words: map[crypto.MemberID]int64{}}
	k.recall()
	id, err := peer.Decode(n.PeerID())
	if err != nil {
		return err
	}
	self := string(id)
	k.pulse, err = pulse.New(pulse.Config{
		Self: self, Region: n.roster.Region().String(), Network: n.mesh, Roster: k.peers,
		Hub: n.mesh.Dialable(self), Dialable: n.mesh.Dialable, Heard: k.heard, Now: n.now, Log: n.log,
	})
	if err != nil {
		return err
	}
	n.pulse = k
	n.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "watchward_members_silent", Help: "Members of the region that nobody hears, as far as this node knows.",
	}, func() float64 { return float64(len(k.silent())) }))
	return nil
}

// recall fills the times of the members' newest envelopes from what is stored.
func (k *pulseKeeper) recall() {
	heard := k.n.store.Heard()
	region := k.n.roster.Region()
	for _, audience := range []crypto.Audience{crypto.AudienceRegion, crypto.AudienceCommunity} {
		for _, chain := range k.n.store.Frontier().Chains(region, audience) {
			if last := len(chain.Recent) - 1; last >= 0 {
				k.word(chain.Chain.Author, min(chain.Recent[last].Time, heard[chain.Chain.Author]))
			}
		}
	}
}

// word notes that an envelope of a member was made and has come by then (ms).
func (k *pulseKeeper) word(by crypto.MemberID, at int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.words[by] = max(k.words[by], at)
}

// heard is pulse.Config.Heard.
func (k *pulseKeeper) heard(peer string) time.Time {
	id, known := k.region().members[peer]
	k.mu.Lock()
	defer k.mu.Unlock()
	if at := k.words[id]; known && at > 0 {
		return time.UnixMilli(at)
	}
	return time.Time{}
}

func (k *pulseKeeper) peers() []string { return k.region().peers }

// region is made anew only when the roster has changed.
func (k *pulseKeeper) region() *pulseRoster {
	if r := k.roster.Load(); r != nil {
		select {
		case <-r.changed:
		default:
			return r
		}
	}
	roster := k.n.roster
	r := &pulseRoster{changed: roster.Changed(), members: map[string]crypto.MemberID{}} // the channel first, or a change could be missed
	for _, c := range roster.Members(roster.Region()) {
		if !k.n.revoked(c) {
			r.peers = append(r.peers, string(c.Peer))
			r.members[string(c.Peer)] = c.Member
		}
	}
	k.roster.Store(r)
	return r
}

// silent returns the members that are silent now.
func (k *pulseKeeper) silent() map[crypto.MemberID]situation.Silence {
	out := map[crypto.MemberID]situation.Silence{}
	r := k.region()
	for _, s := range k.pulse.States() {
		id, known := r.members[s.Peer]
		if !known || !s.Silent {
			continue
		}
		silence := situation.Silence{Silent: true, By: r.members[s.By]}
		if !s.Since.IsZero() {
			silence.Since = s.Since.UnixMilli()
		}
		out[id] = silence
	}
	return out
}

// silence returns what the network knows of each member at this moment, nil if there
// is none.
func (n *Node) silence() func(crypto.MemberID) situation.Silence {
	if n.pulse == nil {
		return nil
	}
	silent := n.pulse.silent()
	return func(id crypto.MemberID) situation.Silence { return silent[id] }
}

// run says in the log who falls silent and who is heard again, until the node stops.
// It alerts nobody: silence is no attack.
func (k *pulseKeeper) run() {
	was := map[crypto.MemberID]situation.Silence{}
	for {
		select {
		case <-k.n.ctx.Done():
			return
		case <-k.pulse.Changed():
		}
		is := k.silent()
		var gone, back []crypto.MemberID
		for id := range is {
			if !was[id].Silent {
				gone = append(gone, id)
			}
		}
		for id := range was {
			if !is[id].Silent {
				back = append(back, id)
			}
		}
		k.tell("members are silent", gone, is)
		k.tell("members are silent no longer", back, was)
		was = is
	}
}

func (k *pulseKeeper) tell(what string, who []crypto.MemberID, silence map[crypto.MemberID]situation.Silence) {
	if len(who) > silentLines {
		k.n.log.Info(what, slog.Int("count", len(who)), slog.Int("connected", len(k.n.mesh.Peers())))
		return
	}
	for _, id := range who {
		s := silence[id]
		attrs := []any{slog.String("member", id.String()), slog.String("name", k.n.memberName(id))}
		if s.Since != 0 {
			attrs = append(attrs, slog.Time("last_heard", time.UnixMilli(s.Since)))
		}
		if s.By != (crypto.MemberID{}) {
			attrs = append(attrs, slog.String("by", k.n.nameOrID(s.By)))
		}
		k.n.log.Info(strings.Replace(what, "members are", "member is", 1), attrs...)
	}
}
