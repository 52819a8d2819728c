package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh/wire"
)

const protocolSync protocol.ID = "/watchward/sync/0"

// Bounds and times of sync streams.
const (
	syncIdle     = 30 * time.Second // without a frame
	syncTime     = time.Hour        // of a whole session; the next one goes on
	pullDayBytes = 64 << 20         // of one author's chains from all peers together
	admitFrames  = 4                // frames that wait to be admitted
)

var errBusy = errors.New("a sync session with this peer is under way")

// SyncResult says what one session did.
type SyncResult struct {
	Equal                     bool  // nothing differed
	BytesIn, BytesOut         int64 // of the whole stream
	EnvelopesIn, EnvelopesOut int64
	RoundTrips                int // before envelopes flowed
}

// SyncNow runs one session with a connected peer.
func (m *Mesh) SyncNow(ctx context.Context, id peer.ID) (SyncResult, error) {
	m.mu.Lock()
	if m.syncing[id] || len(m.syncing) >= sessionsMax {
		m.mu.Unlock()
		return SyncResult{}, errBusy
	}
	m.syncing[id] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.syncing, id)
		m.mu.Unlock()
	}()
	s, err := m.host.NewStream(ctx, id, protocolSync)
	if err != nil {
		return SyncResult{}, err
	}
	return m.runSession(ctx, s, true)
}

// handleSync answers a session that a peer begins. Where both begin at once,
// the one with the lower id goes on.
func (m *Mesh) handleSync(s network.Stream) {
	id := s.Conn().RemotePeer()
	m.mu.Lock()
	busy := m.syncing[id] && id > m.self
	m.mu.Unlock()
	if busy {
		_ = s.Reset()
		return
	}
	if _, err := m.runSession(m.ctx, s, false); err != nil && m.ctx.Err() == nil {
		m.log.Debug("sync", slog.String("peer", id.String()), slog.Any("err", err))
	}
}

// syncLoop compares with a random peer now and then: gossip may lose, sync does
// not.
func (m *Mesh) syncLoop() {
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(syncInterval/2 + rand.N(syncInterval)):
		}
		peers := m.connected()
		if len(peers) == 0 {
			continue
		}
		id := peers[rand.IntN(len(peers))]
		if _, err := m.SyncNow(m.ctx, id); err != nil && m.ctx.Err() == nil && !errors.Is(err, errBusy) {
			m.log.Debug("sync", slog.String("peer", id.String()), slog.Any("err", err))
		}
	}
}

// A driver does the I/O of one session.
type driver struct {
	m       *Mesh
	s       network.Stream
	id      peer.ID
	session *session
	result  SyncResult

	sending  sync.Mutex
	out      atomic.Int64
	sent     atomic.Int64
	incoming chan [][]byte
	group    *errgroup.Group
	ctx      context.Context
}

func (m *Mesh) runSession(ctx context.Context, s network.Stream, initiator bool) (SyncResult, error) {
	id := s.Conn().RemotePeer()
	credential, ok := m.c.Roster.ByPeer(string(id))
	if !ok {
		_ = s.Reset()
		return SyncResult{}, errStranger
	}
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	region := m.c.Roster.Region()
	d := &driver{m: m, s: s, id: id, incoming: make(chan [][]byte, admitFrames)}
	d.group, d.ctx = errgroup.WithContext(ctx)
	d.session = &session{
		initiator: initiator, now: m.now(), frontier: m.c.Frontier, trust: m.c.Roster,
		scopes: scopes(m.c.Roster, credential), peer: credential.Member, region: region, budget: m.budget,
	}
	d.group.Go(d.admit)
	err := d.read()
	close(d.incoming)
	if err != nil {
		_ = s.Reset() // so that a sender does not wait for a peer that is not heard any more
	}
	err = errors.Join(err, d.group.Wait())
	d.result.BytesOut, d.result.EnvelopesOut, d.result.Equal = d.out.Load(), d.sent.Load(), d.session.equal
	m.metrics.transferred(d.result.BytesIn, d.result.BytesOut)
	if err != nil {
		_ = s.Reset()
		m.metrics.session("failed")
		return d.result, err
	}
	word := "different"
	if d.result.Equal {
		word = "equal"
	}
	m.metrics.session(word)
	return d.result, s.Close()
}

// scopes is what both sides may see: the region audience only where both
// belong to the region.
func scopes(r *trust.Roster, peer *trust.Credential) []scope {
	region := r.Region()
	if !r.Endorses(peer.Region) {
		return nil
	}
	out := []scope{{region, crypto.AudienceCommunity}}
	if charter := r.Charter(); peer.Region == region && charter != nil && charter.Allows(peer.Role, crypto.AudienceRegion) {
		out = append(out, scope{region, crypto.AudienceRegion})
	}
	return out
}

// read feeds the peer's messages to the session until both directions end.
func (d *driver) read() error {
	if err := d.do(d.session.start()); err != nil {
		return err
	}
	in := &counting{r: d.s}
	defer func() { d.result.BytesIn = in.n }()
	greeted := false
	for !d.ended() {
		_ = d.s.SetReadDeadline(time.Now().Add(syncIdle))
		kind, body, err := wire.Read(in, wire.FrameMax)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		message, err := wire.DecodeSync(kind, body)
		if err != nil {
			return err
		}
		if kind != wire.KindEnvelopes && kind != wire.KindDone {
			d.result.RoundTrips++
		}
		actions, err := d.session.handle(message)
		if err != nil {
			d.m.metrics.rejected("sync")
			return err
		}
		if !greeted {
			greeted = true
			d.m.heard(d.id, d.session)
		}
		if err := d.do(actions); err != nil {
			return err
		}
	}
	return nil
}

func (d *driver) ended() bool { return d.session.phase == closed }

func (d *driver) do(actions []action) error {
	for _, a := range actions {
		switch {
		case a.send != nil:
			if err := d.write(a.send); err != nil {
				return err
			}
		case a.trust != nil:
			if err := d.m.c.Path.AddTrust(d.ctx, a.trust); err != nil {
				d.m.log.Warn("trust records of a peer", slog.String("peer", d.id.String()), slog.Any("err", err))
			}
		case a.admit != nil:
			select {
			case d.incoming <- a.admit:
			case <-d.ctx.Done():
				return d.ctx.Err()
			}
		case a.deliver != nil || d.session.phase == transfer && !a.end:
			d.group.Go(func() error { return d.deliver(a.deliver) })
		}
	}
	return nil
}

func kindOf(message any) byte {
	switch message.(type) {
	case *wire.Hello:
		return wire.KindHello
	case *wire.TrustHave:
		return wire.KindTrustHave
	case *wire.Trust:
		return wire.KindTrust
	case *wire.Root:
		return wire.KindRoot
	case *wire.Roots:
		return wire.KindRoots
	case *wire.Chains:
		return wire.KindChains
	case *wire.Want:
		return wire.KindWant
	case *wire.Envelopes:
		return wire.KindEnvelopes
	}
	return wire.KindDone
}

func (d *driver) write(message any) error {
	d.sending.Lock()
	defer d.sending.Unlock()
	_ = d.s.SetWriteDeadline(time.Now().Add(syncIdle))
	n, err := wire.Write(d.s, kindOf(message), message)
	d.out.Add(int64(n))
	return err
}

// deliver sends what the peer wants, small envelopes together, then Done.
func (d *driver) deliver(wants []wire.ChainWant) error {
	page, size := &wire.Envelopes{}, 0
	flush := func() error {
		if len(page.Raw) == 0 {
			return nil
		}
		d.sent.Add(int64(len(page.Raw)))
		err := d.write(page)
		page, size = &wire.Envelopes{}, 0
		return err
	}
	for _, w := range wants {
		if !d.m.mayHear(d.id, w.ID.Region, w.ID.Audience) {
			continue
		}
		all := fromWire(w.Ranges)
		if !w.Oldest {
			slices.Reverse(all)
		}
		for _, r := range all {
			var failed error
			err := d.m.c.Path.Read(w.ID, r, !w.Oldest, func(_ uint64, raw []byte) bool {
				if size+len(raw) > wire.PageBytes {
					failed = flush()
				}
				page.Raw, size = append(page.Raw, slices.Clone(raw)), size+len(raw)
				return failed == nil && d.ctx.Err() == nil
			})
			if err := errors.Join(err, failed, d.ctx.Err()); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return d.write(&wire.Done{})
}

// admit checks and admits what the reader hands over. While it works the reader
// waits, the stream's window fills and the peer waits too.
func (d *driver) admit() error {
	for raws := range d.incoming {
		size := total(raws)
	more:
		for len(raws) < admitMax && size < admitBytes {
			select {
			case next, ok := <-d.incoming:
				if !ok {
					break more
				}
				raws, size = append(raws, next...), size+total(next)
			default:
				break more
			}
		}
		if err := d.take(raws); err != nil {
			_ = d.s.Reset()
			return err
		}
	}
	return nil
}

func total(raws [][]byte) (n int) {
	for _, raw := range raws {
		n += len(raw)
	}
	return n
}

func (d *driver) take(raws [][]byte) error {
	checked := make([]*Checked, len(raws))
	errs := make([]error, len(raws))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, raw := range raws {
		group.Go(func() error {
			checked[i], errs[i] = d.m.c.Path.Check(raw, ViaSync, crypto.Region{}, 0)
			return nil
		})
	}
	_ = group.Wait()
	var batch []*Checked
	for i, c := range checked {
		if errs[i] == nil {
			batch = append(batch, c)
		} else if d.m.judge(errs[i], raws[i], d.id) {
			return errs[i]
		}
	}
	if len(batch) == 0 {
		return nil
	}
	// A predecessor goes first, so that neighbours can be compared.
	slices.SortStableFunc(batch, func(a, b *Checked) int {
		x, y := &a.Envelope.Header, &b.Envelope.Header
		if x.Chain() != y.Chain() || x.Seq == y.Seq {
			return 0
		}
		if x.Seq < y.Seq {
			return -1
		}
		return 1
	})
	if err := d.m.c.Path.Admit(d.ctx, batch); err != nil {
		return fmt.Errorf("admit: %w", err)
	}
	d.result.EnvelopesIn += int64(len(batch))
	d.m.metrics.results("synced", len(batch))
	d.m.spend(batch)
	d.m.forwardRecent(batch, d.id)
	return nil
}

// forwardRecent sends on what is new to the mesh; old history is found by the
// others' own sessions.
func (m *Mesh) forwardRecent(batch []*Checked, from peer.ID) {
	since := m.now() - settleAfter.Milliseconds()
	var fresh []*Checked
	for _, c := range batch {
		if c.Envelope.Header.Time > since {
			fresh = append(fresh, c)
		}
	}
	m.forward(fresh, from)
}

// heard notes a peer's clock and what it holds of this node's own chains. It
// takes up to proveTime where the peer holds more than this node.
func (m *Mesh) heard(id peer.ID, s *session) {
	// A claim to hold more than this node does must be proved by this node's own
	// signature, or any member could make it open epoch after epoch.
	own, ok := m.c.Roster.ByPeer(string(m.self))
	for _, h := range s.held {
		if !ok || h.Serial != own.Serial || !m.beyond(own, h) {
			continue
		}
		if err := m.direct.prove(id, own, h); err != nil {
			m.log.Warn("a peer says that it holds more of this node, and does not show it", slog.String("peer", id.String()), slog.Any("err", err))
			break // a proof takes time, and a liar gets no more of it
		}
		m.mu.Lock()
		m.mine[h.Audience] = position{h.Epoch, h.Seq, h.ID}
		m.mu.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sync[id] = syncState{last: s.now, offset: s.clock - s.now}
}

// beyond reports whether h is more than this node holds or was shown.
func (m *Mesh) beyond(own *trust.Credential, h wire.Held) bool {
	m.mu.Lock()
	p := m.mine[h.Audience]
	m.mu.Unlock()
	if h.Epoch < p.epoch || h.Epoch == p.epoch && h.Seq <= p.seq {
		return false
	}
	mine, _ := m.c.Frontier.Get(crypto.ChainID{Region: own.Region, Author: own.Member, Serial: own.Serial, Audience: h.Audience, Epoch: h.Epoch})
	return h.Seq > mine.Highest()
}

// budget says how much more of an author is pulled today: history first where
// there is much of it, and beyond the budget nothing but urgent words, so that
// one member cannot fill every disk in a day.
func (m *Mesh) budget(author crypto.MemberID) pull {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turnDay()
	switch n := m.pulled[author]; {
	case n > pullDayBytes:
		return pullUrgent
	case n > pullDayBytes/2:
		return pullOldest
	}
	return pullAll
}

func (m *Mesh) spend(batch []*Checked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turnDay()
	for _, c := range batch {
		if !c.Envelope.Header.Urgent {
			m.pulled[c.Envelope.Header.Author] += int64(len(c.Envelope.Raw))
		}
	}
}

func (m *Mesh) turnDay() {
	if day := m.now() / (24 * time.Hour).Milliseconds(); day != m.day {
		m.day = day
		clear(m.pulled)
	}
}

type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
