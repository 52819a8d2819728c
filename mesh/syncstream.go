package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh/wire"
)

const protocolSync protocol.ID = "/watchward/sync/0"

// Bounds and times of sync streams.
const (
	frameTime    = time.Minute // for one chunk
	syncTime     = time.Hour   // of a whole session; the next one goes on
	pullDayBytes = 64 << 20    // of one author's chains from all peers together
	admitFrames  = 32          // frames that wait to be admitted …
	waitingBytes = 2 << 20     // … and their bytes, one frame at least
	answersMax   = 2 * sessionsMax
	writesMax    = 1024    // messages and deliveries that wait to be sent, a chain list of 48 MB
	readStep     = 1 << 20 // bytes read from the store at once
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
	if _, begun := m.syncing[id]; begun || m.answering[id] || len(m.syncing) >= sessionsMax {
		m.mu.Unlock()
		return SyncResult{}, errBusy
	}
	m.syncing[id] = false // until the peer has answered
	m.compared[id] = time.Now()
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

// comparing reports whether a session with a peer is under way, which brings
// what a gap lacks without asking twice.
func (m *Mesh) comparing(id peer.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, begun := m.syncing[id]
	return begun || m.answering[id]
}

// handleSync answers a session that a peer begins. Where both begin at once,
// the one with the lower id goes on.
func (m *Mesh) handleSync(s network.Stream) {
	id := s.Conn().RemotePeer()
	m.mu.Lock()
	answered, begun := m.syncing[id]
	if m.ctx.Err() != nil || m.answering[id] || begun && (answered || id > m.self) || len(m.answering) >= answersMax {
		m.mu.Unlock()
		_ = s.Reset()
		return
	}
	m.answering[id] = true
	m.compared[id] = time.Now()
	m.wait.Add(1)
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.answering, id)
		m.mu.Unlock()
		m.wait.Done()
	}()
	if _, err := m.runSession(m.ctx, s, false); err != nil && m.ctx.Err() == nil {
		m.log.Debug("sync", slog.String("peer", id.String()), slog.Any("err", err))
	}
}

// syncLoop compares with one peer after the other: gossip may lose, sync does not.
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
		id := m.nextToCompare(peers)
		if _, err := m.SyncNow(m.ctx, id); err != nil && m.ctx.Err() == nil && !errors.Is(err, errBusy) {
			m.log.Debug("sync", slog.String("peer", id.String()), slog.Any("err", err))
		}
	}
}

// nextToCompare returns the peer with whom the last session was begun, by either
// side, longest ago. By chance the one honest peer among hostile ones might not be
// met for long. Who has left is forgotten: should it come back, what counts is when it
// connected, which is later than any session before.
func (m *Mesh) nextToCompare(peers []peer.ID) peer.ID {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.compared, func(id peer.ID, _ time.Time) bool { return !slices.Contains(peers, id) })
	return longestAgo(peers, m.compared, m.opened)
}

// opened is when the youngest connection to a peer was made.
func (m *Mesh) opened(id peer.ID) (at time.Time) {
	for _, c := range m.host.Network().ConnsToPeer(id) {
		if t := c.Stat().Opened; t.After(at) {
			at = t
		}
	}
	return at
}

// longestAgo chooses by when peers were compared, or connected if that was later: a
// peer that is new, or comes again and again, waits behind those who are there.
func longestAgo(peers []peer.ID, compared map[peer.ID]time.Time, opened func(peer.ID) time.Time) peer.ID {
	since := func(id peer.ID) time.Time {
		if at := opened(id); at.After(compared[id]) {
			return at
		}
		return compared[id]
	}
	return slices.MinFunc(peers, func(x, y peer.ID) int { return since(x).Compare(since(y)) })
}

// A driver does the I/O of one session: one goroutine reads, one
// writes and one admits. Reading never waits for writing, so that two peers
// that both have much to say do not wait for each other.
type driver struct {
	m       *Mesh
	s       *bulk
	id      peer.ID
	session *session
	result  SyncResult // the reader's but for what is written and admitted

	writes   chan action
	incoming chan [][]byte
	waiting  *semaphore.Weighted // bytes in incoming
	ctx      context.Context     // ends with the first error
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
	d := &driver{m: m, id: id, writes: make(chan action, writesMax), incoming: make(chan [][]byte, admitFrames), waiting: semaphore.NewWeighted(waitingBytes)}
	d.session = &session{
		initiator: initiator, now: m.now(), frontier: m.c.Frontier, trust: m.c.Roster.For(credential.Region),
		common: func() []scope { return m.common(id) }, peer: credential.Member, region: credential.Region, budget: m.budget,
	}
	var group *errgroup.Group
	group, d.ctx = errgroup.WithContext(ctx)
	d.s = m.bulk(d.ctx, s)
	for _, part := range []func() error{d.read, d.write, d.admit} {
		group.Go(func() error {
			err := part()
			if err != nil {
				_ = s.Reset() // wakes the two others, and the peer
			}
			return err
		})
	}
	err := group.Wait()
	d.s.end(err != nil)
	d.result.BytesIn, d.result.BytesOut = d.s.in.n, d.s.out
	m.metrics.transferred(d.result.BytesIn, d.result.BytesOut)
	if err != nil {
		m.metrics.session("failed")
		return d.result, err
	}
	word := "different"
	if d.result.Equal {
		word = "equal"
	}
	m.metrics.session(word)
	m.tell(id)
	return d.result, nil
}

// common is what this node and a peer may both see.
func (m *Mesh) common(id peer.ID) []scope {
	return slices.DeleteFunc(m.scopes(), func(s scope) bool {
		return !m.mayHear(id, s.region, s.audience) || !m.mayHear(m.self, s.region, s.audience)
	})
}

// read feeds the peer's messages to the session until both directions end.
func (d *driver) read() error {
	if err := d.listen(); err != nil {
		return err
	}
	return d.s.drain()
}

func (d *driver) listen() error {
	defer close(d.writes)
	defer close(d.incoming)
	defer func() { d.result.Equal, d.result.RoundTrips = d.session.equal, d.session.trips }()
	if err := d.do(d.session.start()); err != nil {
		return err
	}
	for greeted := false; d.session.phase != closed; {
		kind, body, err := wire.Read(d.s, wire.FrameMax)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		message, err := wire.DecodeSync(kind, body)
		if err != nil {
			d.m.metrics.rejected("sync")
			return err
		}
		actions, err := d.session.handle(message)
		if err != nil {
			d.m.metrics.rejected("sync")
			return err
		}
		if !greeted {
			greeted = true
			d.m.heard(d.id, d.session)
			if d.session.initiator {
				d.m.mu.Lock()
				d.m.syncing[d.id] = true
				d.m.mu.Unlock()
			}
		}
		if err := d.do(actions); err != nil {
			return err
		}
	}
	if n := d.session.short(); n > 0 {
		d.m.metrics.session("short")
		d.m.log.Info("a peer lists envelopes and does not give them", slog.String("peer", d.id.String()), slog.Int("chains", n))
	}
	return nil
}

func (d *driver) do(actions []action) error {
	for _, a := range actions {
		switch {
		case a.trust != nil:
			if err := d.m.c.Path.AddTrust(d.ctx, a.trust); err != nil {
				d.m.log.Warn("trust records of a peer", slog.String("peer", d.id.String()), slog.Any("err", err))
			}
		case a.admit != nil:
			if err := d.waiting.Acquire(d.ctx, weight(a.admit)); err != nil {
				return err
			}
			select {
			case d.incoming <- a.admit:
			case <-d.ctx.Done():
				return d.ctx.Err()
			}
		default:
			select {
			case d.writes <- a:
			default:
				return fmt.Errorf("%w: more than %d messages wait to be sent", errProtocol, writesMax)
			}
		}
	}
	return nil
}

// write sends what the session says, in order.
func (d *driver) write() error {
	defer d.s.finish()
	for a := range d.writes {
		var err error
		switch {
		case a.send != nil:
			err = d.send(a.send)
		case a.pages != nil:
			for message := range a.pages {
				if err = d.send(message); err != nil {
					break
				}
			}
		case a.deliver != nil:
			err = d.deliver(*a.deliver)
		}
		if err != nil {
			return fmt.Errorf("send: %w", err)
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

func (d *driver) send(message any) error {
	_, err := wire.Write(d.s, kindOf(message), message)
	return err
}

// deliver sends what the peer wants, small envelopes together, then Done.
func (d *driver) deliver(wants []delivery) error {
	page, size := &wire.Envelopes{}, 0
	flush := func() error {
		if len(page.Raw) == 0 {
			return nil
		}
		d.result.EnvelopesOut += int64(len(page.Raw))
		err := d.send(page)
		page, size = &wire.Envelopes{}, 0
		return err
	}
	for _, w := range wants {
		err := stored(d.m.c.Path, w, func(raw []byte) error {
			if size+len(raw) > wire.PageBytes {
				if err := flush(); err != nil {
					return err
				}
			}
			page.Raw, size = append(page.Raw, raw), size+len(raw)
			return d.ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return d.send(&wire.Done{})
}

type reader interface {
	Read(chain crypto.ChainID, r Range, newestFirst bool, yield func(seq uint64, raw []byte) bool) error
}

// stored yields the envelopes of one want. They are read in steps and yielded
// between them, so that a slow peer does not hold up the store.
func stored(from reader, w delivery, yield func(raw []byte) error) error {
	ranges := slices.Clone(w.ranges)
	if !w.oldest {
		slices.Reverse(ranges)
	}
	left := uint64(math.MaxInt64)
	if w.bytes > 0 {
		left = w.bytes
	}
	for _, r := range ranges {
		for more := true; more && left > 0; {
			var raws [][]byte
			size, last := 0, uint64(0)
			more = false
			err := from.Read(w.chain, r, !w.oldest, func(seq uint64, raw []byte) bool {
				if more = (size >= readStep || uint64(size) >= left) && seq != last; more {
					return false
				}
				raws, size, last = append(raws, slices.Clone(raw)), size+len(raw), seq
				return true
			})
			if err != nil {
				return err
			}
			for _, raw := range raws {
				if err := yield(raw); err != nil {
					return err
				}
			}
			left -= min(left, uint64(size))
			switch {
			case !more || w.oldest && last >= r.To || !w.oldest && last <= r.From:
				more = false
			case w.oldest:
				r.From = last + 1
			default:
				r.To = last - 1
			}
		}
	}
	return nil
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
			m.metrics.rejected("claim")
			m.log.Warn("a peer says that it holds more of this node, and does not show it", slog.String("peer", id.String()), slog.Any("err", err))
			break // a proof takes time, and a liar gets no more of it
		}
		m.mu.Lock()
		m.mine[h.Audience] = position{h.Epoch, h.Seq, h.ID}
		m.mu.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range s.held {
		if !ok || h.Serial != own.Serial {
			continue
		}
		mine, _ := m.c.Frontier.Get(crypto.ChainID{Region: own.Region, Author: own.Member, Serial: own.Serial, Audience: h.Audience, Epoch: h.Epoch})
		seq := min(h.Seq, mine.Highest())
		if p := m.held[h.Audience]; seq > 0 && (h.Epoch > p.epoch || h.Epoch == p.epoch && seq > p.seq) {
			m.held[h.Audience] = position{epoch: h.Epoch, seq: seq}
		}
		if seq > 0 {
			m.holds(s.peer, h.Audience, position{epoch: h.Epoch, seq: seq})
		}
	}
	before := m.sync[id]
	m.sync[id] = syncState{last: s.now, offset: s.clock - s.now}
	if off := m.sync[id].off(); off != 0 && before.off() == 0 {
		m.log.Info("a peer's clock is far off", slog.String("peer", id.String()), slog.Duration("ahead", off))
	}
}

// holds notes how far a member holds this node's own chain. mu is held.
func (m *Mesh) holds(member crypto.MemberID, a crypto.Audience, at position) {
	if m.holders[a] == nil {
		m.holders[a] = map[crypto.MemberID]position{}
	}
	if p := m.holders[a][member]; at.epoch > p.epoch || at.epoch == p.epoch && at.seq > p.seq {
		m.holders[a][member] = at
	}
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

type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
