package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
)

// configuration is raft's, of the voters that found a ledger: the same at each of them.
func configuration(members []crypto.MemberID) (c raft.Configuration) {
	for _, m := range members {
		c.Servers = append(c.Servers, raft.Server{ID: serverID(m), Address: serverAddress(m)})
	}
	return c
}

// servers are those of a raft's latest configuration.
func servers(node *raft.Raft) []raft.Server {
	f := node.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// charters returns the region's charters of an epoch, the first first.
func (l *Ledger) charters(epoch uint32) []*trust.Charter {
	all := slices.Clone(l.c.Roster.Charters(l.c.Region))
	slices.SortFunc(all, func(a, b *trust.Charter) int { return int(a.Number) - int(b.Number) })
	return slices.DeleteFunc(all, func(c *trust.Charter) bool { return c.Ledger != epoch })
}

// voters are those that the newest charter of an epoch names.
func (l *Ledger) voters(epoch uint32) []crypto.MemberID {
	if all := l.charters(epoch); len(all) > 0 {
		return all[len(all)-1].Voters
	}
	return nil
}

// peerOf returns the peer id that a member's newest credential binds.
func (l *Ledger) peerOf(m crypto.MemberID) (string, bool) {
	for _, c := range l.c.Roster.Members(l.c.Region) {
		if c.Member == m {
			return string(c.Peer), true
		}
	}
	return "", false
}

// memberAt returns the member of this region at a peer id.
func (l *Ledger) memberAt(peer string) (crypto.MemberID, bool) {
	c, ok := l.c.Roster.ByPeer(peer)
	if !ok || c.Region != l.c.Region {
		return crypto.MemberID{}, false
	}
	return c.Member, true
}

// allows says who may speak raft here: the charter's voters, and those in the
// configuration, which may be about to leave it. A voter that has no configuration yet
// listens to all that were voters in this epoch, one of which will take it in.
func (r *replica) allows(peer string) bool {
	m, ok := r.l.memberAt(peer)
	if !ok {
		return false
	}
	if slices.Contains(r.l.voters(r.e.number), m) {
		return true
	}
	node := r.node()
	if node != nil {
		if now := servers(node); len(now) > 0 {
			return slices.ContainsFunc(now, func(s raft.Server) bool { return s.ID == serverID(m) })
		}
	}
	return r.everNamed(m)
}

// everNamed reports whether a charter of this epoch has named a member as a voter.
func (r *replica) everNamed(m crypto.MemberID) bool {
	return slices.ContainsFunc(r.l.charters(r.e.number), func(c *trust.Charter) bool { return slices.Contains(c.Voters, m) })
}

// answers says who may ask for this voter's health: also who was a voter once, and learns
// by that whether the others have let it go.
func (r *replica) answers(peer string) bool {
	m, ok := r.l.memberAt(peer)
	return ok && (r.everNamed(m) || r.allows(peer))
}

// found returns who founds the ledger together with this voter: the voters of the epoch's
// first charter; or nil if this voter has to be taken in by the others. A voter without a
// log may have had one, whose votes it does not remember: so a quorum must say that
// they have nothing either.
func (r *replica) found() ([]crypto.MemberID, error) {
	all := r.l.charters(r.e.number)
	if len(all) == 0 || !slices.Contains(all[0].Voters, r.l.c.Self) || r.e.tree.now().Applied > 0 {
		return nil, r.ctx.Err()
	}
	voters := all[0].Voters
	for {
		answers := r.askAll(r.ctx, voters)
		for _, h := range answers {
			if h.Started && h.LastIndex > 1 { // more than the configuration
				return nil, nil
			}
		}
		if 1+len(answers) > len(voters)/2 {
			return voters, nil
		}
		if !r.sleep(r.l.c.Heartbeat) {
			return nil, r.ctx.Err()
		}
	}
}

// sleep reports whether this replica goes on.
func (r *replica) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.ctx.Done():
		return false
	}
}

// watch looks whether a joining voter was taken in.
func (r *replica) watch() {
	for r.joining.Load() && r.sleep(r.l.c.Heartbeat) {
		own := serverID(r.l.c.Self)
		// Once it is there as one that does not vote, quorums were counted without it, and
		// what it does not remember binds nobody any more.
		if slices.ContainsFunc(servers(r.node()), func(s raft.Server) bool { return s.ID == own && s.Suffrage == raft.Nonvoter }) {
			if err := os.Remove(filepath.Join(r.dir(), joiningFile)); err != nil {
				r.fail(err)
				return
			}
			r.joining.Store(false)
			r.gate.votes.Store(true)
		}
	}
}

// left reports whether the others have dropped this voter, which the charter does not
// name any more.
func (r *replica) left(ctx context.Context) bool {
	if node := r.node(); node != nil {
		own := serverID(r.l.c.Self)
		if now := servers(node); len(now) > 0 && !slices.ContainsFunc(now, func(s raft.Server) bool { return s.ID == own }) {
			return true
		}
	}
	without := 0
	voters := r.l.voters(r.e.number)
	for _, h := range r.askAll(ctx, voters) {
		if h.Started && !h.Joining && !h.HasYou {
			without++
		}
	}
	return without > len(voters)/2
}

// adjustTimeout is for one change of the configuration to be committed.
const adjustTimeout = 5 * time.Second

// adjust brings the configuration one step closer to the charter. Only a leader that is
// heard by a quorum can.
func (r *replica) adjust(ctx context.Context, node *raft.Raft) error {
	f := node.GetConfiguration()
	if err := f.Error(); err != nil {
		return err
	}
	now, at := f.Configuration().Servers, f.Index()
	want := r.l.voters(r.e.number)
	r.mu.Lock()
	said := r.health
	r.mu.Unlock()
	healthy := func(s raft.Server) bool {
		h, ok := said[s.ID]
		return s.ID == serverID(r.l.c.Self) || ok && h.Started && !h.Joining && !h.Fenced
	}
	// Who has died since is asked before a vote goes: what was said last may be a second old.
	safe := func(gone raft.ServerID) bool {
		if !safeWithout(now, gone, healthy) {
			return false
		}
		said = r.askServers(ctx, now)
		return safeWithout(now, gone, healthy)
	}
	catching := false
	for _, m := range want {
		i := slices.IndexFunc(now, func(s raft.Server) bool { return s.ID == serverID(m) })
		if i < 0 {
			r.log.Info("a voter of the charter joins the ledger", "member", m)
			return node.AddNonvoter(serverID(m), serverAddress(m), at, adjustTimeout).Error()
		}
		if now[i].Suffrage == raft.Voter && said[now[i].ID].Joining && safe(now[i].ID) {
			r.log.Info("a voter has lost its log and catches up", "member", m)
			return node.DemoteVoter(now[i].ID, at, adjustTimeout).Error()
		}
		catching = catching || now[i].Suffrage != raft.Voter && healthy(now[i])
	}
	if catching {
		return nil // who comes counts before somebody goes
	}
	for _, s := range now {
		m, err := memberOf(s.ID)
		if err != nil {
			return err
		}
		if slices.Contains(want, m) || s.Suffrage == raft.Voter && !safe(s.ID) {
			continue
		}
		if m == r.l.c.Self {
			return r.handOver(node, now, want, healthy)
		}
		r.log.Info("a voter leaves the ledger, as the charter says", "member", m)
		return node.RemoveServer(s.ID, at, adjustTimeout).Error()
	}
	return nil
}

// askServers asks the servers of a configuration at once.
func (r *replica) askServers(ctx context.Context, now []raft.Server) map[raft.ServerID]health {
	var members []crypto.MemberID
	for _, s := range now {
		if m, err := memberOf(s.ID); err == nil {
			members = append(members, m)
		}
	}
	said := map[raft.ServerID]health{}
	for m, h := range r.askAll(ctx, members) {
		said[serverID(m)] = h
	}
	return said
}

// handOver gives the leadership to a healthy voter that stays.
func (r *replica) handOver(node *raft.Raft, now []raft.Server, want []crypto.MemberID, healthy func(raft.Server) bool) error {
	for _, s := range now {
		m, err := memberOf(s.ID)
		if err == nil && m != r.l.c.Self && slices.Contains(want, m) && s.Suffrage == raft.Voter && healthy(s) {
			return node.LeadershipTransferToServer(s.ID, s.Address).Error()
		}
	}
	return nil
}

// safeWithout reports whether the voters that are left have a healthy quorum.
func safeWithout(now []raft.Server, gone raft.ServerID, healthy func(raft.Server) bool) bool {
	left, well := 0, 0
	for _, s := range now {
		if s.ID == gone || s.Suffrage != raft.Voter {
			continue
		}
		left++
		if healthy(s) {
			well++
		}
	}
	return left > 0 && well > left/2
}

// A delegate answers autopilot, which judges health and promotes who has caught up. It
// never removes anybody: the charter does.
type delegate struct{ r *replica }

func (d delegate) AutopilotConfig() *autopilot.Config {
	beat := d.r.l.c.Heartbeat
	return &autopilot.Config{
		CleanupDeadServers:      false,
		LastContactThreshold:    max(time.Second, 10*beat),
		MaxTrailingLogs:         128,
		ServerStabilizationTime: 4 * beat,
	}
}

// NotifyState has nothing to do: who asks for the health gets what was heard last.
func (d delegate) NotifyState(*autopilot.State) {}

// RemoveFailedServer is never called without CleanupDeadServers.
func (d delegate) RemoveFailedServer(*autopilot.Server) {}

func (d delegate) KnownServers() map[raft.ServerID]*autopilot.Server {
	out := map[raft.ServerID]*autopilot.Server{}
	for _, m := range d.r.l.voters(d.r.e.number) {
		id := serverID(m)
		out[id] = &autopilot.Server{
			ID: id, Address: serverAddress(m), Name: m.String(), NodeStatus: autopilot.NodeAlive,
			RaftVersion: raft.ProtocolVersionMax, IsLeader: m == d.r.l.c.Self, NodeType: autopilot.NodeVoter,
		}
	}
	return out
}

func (d delegate) FetchServerStats(ctx context.Context, known map[raft.ServerID]*autopilot.Server) map[raft.ServerID]*autopilot.ServerStats {
	var members []crypto.MemberID
	for id := range known {
		if m, err := memberOf(id); err == nil {
			members = append(members, m)
		}
	}
	said := d.r.askAll(ctx, members)
	own := d.r.ownHealth("")
	said[d.r.l.c.Self] = own
	heard := make(map[raft.ServerID]health, len(said))
	out := make(map[raft.ServerID]*autopilot.ServerStats, len(said))
	for m, h := range said {
		heard[serverID(m)] = h
		s := &autopilot.ServerStats{LastContact: time.Duration(h.ContactMS) * time.Millisecond, LastTerm: h.LastTerm, LastIndex: h.LastIndex}
		if h.Joining || h.Fenced || h.ContactMS < 0 {
			s.LastContact = -1 // not healthy
		}
		out[serverID(m)] = s
	}
	silent := map[raft.ServerID]time.Time{}
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	for id := range known {
		if _, ok := heard[id]; ok {
			continue
		}
		silent[id] = d.r.l.now()
		if since, ok := d.r.silent[id]; ok {
			silent[id] = since
		}
	}
	d.r.health, d.r.silent = heard, silent
	return out
}

// transfer hands the leadership to a voter, to whom raft chooses if to is zero.
func (r *replica) transfer(ctx context.Context, to crypto.MemberID) error {
	node := r.node()
	if node == nil || !r.leads() {
		return ErrNotLeader{}
	}
	if to == r.l.c.Self {
		return nil
	}
	var f raft.Future
	if to == (crypto.MemberID{}) {
		self := serverID(r.l.c.Self)
		if !slices.ContainsFunc(servers(node), func(s raft.Server) bool { return s.ID != self && s.Suffrage == raft.Voter }) {
			return ErrAlone
		}
		f = node.LeadershipTransfer()
	} else {
		i := slices.IndexFunc(servers(node), func(s raft.Server) bool { return s.ID == serverID(to) && s.Suffrage == raft.Voter })
		if i < 0 {
			return fmt.Errorf("member %s does not vote on the ledger: look at `watchward ledger voters`", to)
		}
		f = node.LeadershipTransferToServer(serverID(to), serverAddress(to))
	}
	if err := within(ctx, f); err != nil {
		if errors.Is(err, raft.ErrNotLeader) {
			return ErrNotLeader{}
		}
		return fmt.Errorf("hand over the ledger: %w", err)
	}
	return nil
}

// within waits for a future, or for the context.
func within(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func parseUint(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64) // "" is 0
	return n
}
