package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/situation"
	"github.com/watchward/watchward/node/store"
)

// diskLow is the free space in bytes below which status warns.
const diskLow = 1 << 30

// Bounds of what is counted one by one for whoever may not see all of it.
const (
	waitingMax      = 10_000
	waitingBytesMax = 8 << 20
)

// Ready implements api.Node.
func (n *Node) Ready(ctx context.Context) error {
	select {
	case <-n.store.Failed():
		return &api.Unavailable{Reason: "the store cannot write any more", Fix: "check the disk, then restart watchward"}
	default:
		return ctx.Err()
	}
}

// Status implements api.Node.
func (n *Node) Status(ctx context.Context, ceiling notice.TLP) (api.Status, error) {
	s, err := n.status(ctx, ceiling)
	if err != nil {
		return s, err
	}
	for _, m := range n.states(n.counted(), ceiling) {
		s.States.Add(string(m.State))
		if m.ID == n.member {
			s.State = string(m.State)
		}
	}
	return s, nil
}

// states returns what is known of members under a ceiling.
func (n *Node) states(members []crypto.MemberID, ceiling notice.TLP) []situation.Member {
	return n.picture.shown().States(situation.Ask{Now: n.now().UnixMilli(), Ceiling: ceiling, Members: members, Silence: n.silence()})
}

// status is Status without the members' states.
func (n *Node) status(ctx context.Context, ceiling notice.TLP) (api.Status, error) {
	stats, err := n.store.Stats()
	if err != nil {
		return api.Status{}, err
	}
	s := api.Status{
		Name: n.name, Version: n.o.Version, Member: n.member.String(), PeerID: n.PeerID(),
		Ready: n.Ready(ctx) == nil, Started: api.Time(n.started.UnixMilli()), Now: api.Time(n.now().UnixMilli()),
		Members: 1, Notices: int64(stats.Within(ceiling)),
		Disk: api.DiskStatus{Used: stats.DiskBytes, Free: int64(stats.Free)}, Listen: n.MeshAddrs(), Warnings: []string{},
	}
	if s.Waiting, err = n.waiting(stats.Waiting, ceiling); err != nil {
		return api.Status{}, err
	}
	awaiting, err := n.store.Awaiting(ceiling)
	if err != nil {
		return api.Status{}, err
	}
	for _, count := range awaiting {
		s.Awaiting, s.Awaited = s.Awaiting+1, s.Awaited+count
	}
	s.Questions = len(n.unanswered(ceiling))
	n.mu.Lock()
	out, skew := n.out, n.skew
	n.mu.Unlock()
	s.LastOut = api.Time(out)
	s.Clock = api.ClockStatus{OffsetMS: skew.offset.Milliseconds(), Members: skew.members,
		OK: skew.members < skewMembers || skew.offset.Abs() <= skewMax}
	for member, heard := range stats.Heard {
		if member == n.member {
			s.LastOut = max(s.LastOut, api.Time(heard))
		} else {
			s.LastIn = max(s.LastIn, api.Time(heard))
		}
	}
	s.LastIn, s.LastOut = min(s.LastIn, s.Now), min(s.LastOut, s.Now) // by a clock that was ahead before
	warn := func(on bool, text string) {
		if on && text != "" {
			s.Warnings = append(s.Warnings, text)
		}
	}
	warn(!s.Ready, "the store cannot write any more: check the disk, then restart watchward")
	warn(stats.Free < diskLow, "less than 1 GiB of disk is free")
	warn(!s.Clock.OK, fmt.Sprintf("the clock is %s off the members' median: check the time server", skew.offset.Abs()))
	for _, w := range n.historyWarnings() {
		warn(true, w)
	}
	for _, w := range n.policies.warnings() {
		warn(true, w)
	}
	for _, w := range n.watch.warnings(n.started, n.now()) {
		warn(true, w)
	}
	for _, w := range n.sinkWarnings() {
		warn(true, w)
	}
	for _, w := range n.bridgeWarnings() {
		warn(true, w)
	}
	if n.roster == nil {
		warn(true, "this node belongs to no region yet: found one (watchward region init) or join one (watchward join)")
		return s, nil
	}
	members := n.roster.Members(n.roster.Region())
	s.Region, s.Members, s.Peers = n.roster.Charter().Name, len(members), len(n.mesh.Peers())
	warn(s.Members > 1 && s.Peers == 0 && !n.silenced(), n.alone(s.Waiting))
	if own := n.credential(); own != nil {
		s.Until = api.Time(own.NotAfter)
		warn(!n.silenced(), ownCredential(own, n.now().UnixMilli()))
	}
	if v, err := n.LedgerStatus(ctx); err == nil {
		s.Ledger = v.Brief()
		for _, w := range v.Warnings {
			warn(true, w)
		}
	}
	if own := n.credential(); own != nil && own.Role == trust.RoleCoordinator {
		open := slices.DeleteFunc(n.roster.Proposals(), n.roster.Moot)
		warn(len(open) == 1, "a proposal waits for coordinators' signatures: watchward region proposals")
		warn(len(open) > 1, fmt.Sprintf("%d proposals wait for coordinators' signatures: watchward region proposals", len(open)))
	}
	waits := ""
	if s.Waiting > 0 {
		waits = fmt.Sprintf(" %d notices wait here and are not sent.", s.Waiting)
	}
	for _, w := range n.muteWarnings() {
		warn(true, w)
	}
	warn(n.silenced(), "this node's credential was revoked."+waits+" "+supersedeFix)
	return s, nil
}

// alone is what a node says that is connected to nobody and has so many words to sign.
func (n *Node) alone(unsigned int) string {
	waits := "what is said here is"
	if count := uint64(unsigned) + n.unheld(); count == 1 {
		waits = "1 word that nobody else is known to hold is"
	} else if count > 1 {
		waits = fmt.Sprintf("%d words that nobody else is known to hold are", count)
	}
	return "no other member is connected: check the network; local answers go on, and " + waits + " sent once one is"
}

// unheld counts the envelopes of this node of which no peer has said that it holds
// them; 0 before any peer has said since the start what it holds.
func (n *Node) unheld() (count uint64) {
	for _, h := range n.store.Frontier().Author(n.roster.Region(), n.member) {
		if h.Chain.Serial != n.serial {
			continue
		}
		switch epoch, seq := n.mesh.Held(h.Chain.Audience); {
		case epoch == 0:
		case h.Chain.Epoch > epoch:
			count += h.Highest()
		case h.Chain.Epoch == epoch && h.Highest() > seq:
			count += h.Highest() - seq
		}
	}
	return count
}

// ownCredential is what a node says of its credential at a time (ms), "" while it
// has long to live.
func ownCredential(c *trust.Credential, now int64) string {
	end, last := api.Time(c.NotAfter), api.Time(c.NotAfter+trust.Grace.Milliseconds())
	switch {
	case c.GraceAt(now):
		return fmt.Sprintf("this node's credential expired on %s: what it says is marked, and counts until %s: ask a coordinator to renew it", date(end), date(last))
	case now > c.NotAfter:
		return fmt.Sprintf("this node's credential expired on %s, and nothing counts that it says: ask a coordinator to renew it", date(end))
	case now < c.NotBefore:
		return fmt.Sprintf("this node's credential is valid from %s only: check the clock", date(api.Time(c.NotBefore)))
	case now > c.NotAfter-warnCredential.Milliseconds():
		return fmt.Sprintf("this node's credential ends on %s: ask a coordinator to renew it", date(end))
	}
	return ""
}

func date(t api.Time) string { return time.UnixMilli(int64(t)).UTC().Format(time.DateOnly) }

// credentialMark is what a reader should know of a member's credential at a time
// (ms), "" if nothing.
func credentialMark(c *trust.Credential, now int64) string {
	switch {
	case c.GraceAt(now):
		return "credential expired, counts until " + date(api.Time(c.NotAfter+trust.Grace.Milliseconds()))
	case !c.ValidAt(now):
		return "credential expired"
	case now > c.NotAfter-warnCredential.Milliseconds():
		return "credential ends on " + date(api.Time(c.NotAfter))
	}
	return ""
}

// waiting counts the notices that wait to be signed and may be shown under a
// ceiling.
func (n *Node) waiting(all uint64, ceiling notice.TLP) (count int, err error) {
	if all == 0 || store.Visible(notice.TLPRed, ceiling) {
		return int(all), nil
	}
	groups, err := n.store.Waiting(waitingMax, waitingBytesMax)
	for _, g := range groups {
		if store.Visible(g.TLP, ceiling) {
			count += len(g.Items)
		}
	}
	return count, err
}

// Members implements api.Node.
func (n *Node) Members(_ context.Context, ceiling notice.TLP) ([]api.MemberView, error) {
	if n.roster == nil {
		v := api.MemberView{ID: n.member.String(), Name: n.name, Roles: []string{}, Self: true}
		n.stateOf(&v, n.states([]crypto.MemberID{n.member}, ceiling)[0])
		return []api.MemberView{v}, nil
	}
	heard := n.store.Heard()
	type link struct {
		addr    string
		latency float64
		sync    api.Time
		id      string
	}
	links := map[string]link{}
	for _, p := range n.mesh.Peers() {
		l := link{addr: p.Addr, latency: float64(p.Latency.Microseconds()) / 1000, id: p.ID}
		if !p.LastSync.IsZero() {
			l.sync = api.Time(p.LastSync.UnixMilli())
		}
		links[string(p.Member[:])] = l
	}
	views := []api.MemberView{}
	now := n.now().UnixMilli()
	var members []*trust.Credential
	var ids []crypto.MemberID
	for _, region := range n.roster.Regions() {
		for _, c := range n.roster.Members(region) {
			members, ids = append(members, c), append(ids, c.Member)
		}
	}
	states := n.states(ids, ceiling)
	for i, c := range members {
		v := api.MemberView{
			ID: c.Member.String(), Name: c.Name, Region: n.roster.CharterOf(c.Region).Name, Roles: []string{c.Role.String()},
			Self: c.Member == n.member && c.Region == n.roster.Region(), Hub: c.Role == trust.RoleCoordinator, LastWord: api.Time(heard[c.Member]),
		}
		if v.Self {
			v.PeerID = n.PeerID()
		}
		if l, ok := links[string(c.Member[:])]; ok {
			v.Connected, v.Address, v.LatencyMS, v.LastSync, v.PeerID = true, l.addr, l.latency, l.sync, l.id
		}
		v.Until = api.Time(c.NotAfter)
		if _, revoked := n.roster.Revoked(c); revoked {
			v.Marks = append(v.Marks, "revoked")
		} else if mark := credentialMark(c, now); mark != "" {
			v.Marks = append(v.Marks, mark)
		}
		if loud, aside := n.floods.loud(c.Member, n.now()); loud {
			v.Marks = append(v.Marks, fmt.Sprintf("muted: says too much at once, %d words put aside", aside))
		}
		// Of other regions' members there is no pulse, and a revoked one is none.
		if m := states[i]; c.Region == n.roster.Region() && !n.revoked(c) || m.State != situation.OK && m.State != situation.Silent {
			n.stateOf(&v, m)
		}
		views = append(views, v)
	}
	return views, nil
}

// stateOf fills in a member's state.
func (n *Node) stateOf(v *api.MemberView, m situation.Member) {
	v.State, v.Since = string(m.State), api.Time(m.Since)
	if m.By != (crypto.MemberID{}) {
		v.HeardBy = n.nameOrID(m.By)
	}
}
