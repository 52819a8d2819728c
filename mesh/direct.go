package mesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh/wire"
)

// Urgent words have a stream of their own, so that no bulk stands before them.
const (
	protocolUrgent protocol.ID = "/watchward/urgent/0"
	protocolDirect protocol.ID = "/watchward/direct/0"
	protocolPull   protocol.ID = "/watchward/pull/0"
)

// Bounds and times of direct streams.
const (
	lineQueue     = 256             // messages that wait for one peer on one stream
	lineIdle      = 5 * time.Minute // an idle stream is closed
	writeTime     = 30 * time.Second
	slowLatency   = 400 * time.Millisecond // beyond it a link is slow: the id goes first
	pushOwn       = 2                      // slow links over which an own urgent word goes whole
	pullTime      = 60 * time.Second
	proveTime     = 3 * time.Second
	pullHedge     = time.Second // then the next announcer is asked as well
	pullsMax      = 256         // envelopes that are being pulled
	announcerMax  = 8
	gapPatience   = 2 * time.Second
	gapsMax       = 256      // chains whose gap is being watched
	doubtAsks     = 4        // peers that are asked for the envelope that contradicts another
	pullEnvelopes = 4096     // envelopes of one answer
	pullBytes     = 16 << 20 // of one answer; gaps beyond it are left to sync
	pullStep      = 1 << 20  // read from the store at once
	servedMax     = 32       // pulls that are answered at once
	catchUpMax    = 48       // envelopes announced to a peer that joins, fewer than pullsMax …
	catchUpChain  = 8        // … and of one chain, so that nobody crowds out the others
	sentMax       = 4096     // envelopes that were sent on
	messageRate   = 64       // messages per second of one peer's stream, after a burst of messageBurst
	messageBurst  = 512
)

// direct is what travels from peer to peer beside gossip and sync.
type direct struct {
	m      *Mesh
	recent *lru.Cache[crypto.EnvelopeID, struct{}] // sent on already: each travels once from here
	served chan struct{}                           // one for each pull that is being answered

	mu    sync.Mutex
	lines map[lineKey]*line
	pulls map[crypto.EnvelopeID]*pulling
	gaps  map[crypto.ChainID]bool
}

type lineKey struct {
	peer     peer.ID
	protocol protocol.ID
}

// A line is the queue of messages to one peer on one protocol; one goroutine
// sends them while there are any.
type line struct {
	queue chan outgoing
}

type outgoing struct {
	kind    byte
	message any
}

type pulling struct {
	announcers []peer.ID
	more       chan struct{} // one was added
}

func newDirect(m *Mesh) *direct {
	recent, err := lru.New[crypto.EnvelopeID, struct{}](sentMax)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &direct{m: m, recent: recent, served: make(chan struct{}, servedMax), lines: map[lineKey]*line{}, pulls: map[crypto.EnvelopeID]*pulling{}, gaps: map[crypto.ChainID]bool{}}
}

func (d *direct) listen() {
	d.m.host.SetStreamHandler(protocolUrgent, d.handle)
	d.m.host.SetStreamHandler(protocolDirect, d.handle)
	d.m.host.SetStreamHandler(protocolPull, d.handlePull)
}

// push sends an urgent envelope to every connected peer but the one it came
// from, from "" for this node's own. Over a slow link only its id goes, since
// somebody else may have been faster; an own one nobody else has yet, so that
// pushOwn of them get it all the same. Bulk leaves the link to it.
func (d *direct) push(e *crypto.Envelope, from peer.ID) {
	if known, _ := d.recent.ContainsOrAdd(e.ID, struct{}{}); known {
		return
	}
	whole := 0
	if from == "" {
		whole = pushOwn
	}
	for _, id := range d.m.connected() {
		if id == from || !d.m.mayHear(id, e.Header.Region, e.Header.Audience) {
			continue
		}
		slow := d.m.slow(id)
		if slow {
			d.m.link(id).rest(time.Now())
		}
		if slow && whole == 0 {
			d.send(id, protocolUrgent, wire.KindAnnounce, announcement(e))
			continue
		}
		if slow {
			whole--
		}
		d.send(id, protocolUrgent, wire.KindPush, &wire.Push{Raw: e.Raw})
	}
}

// announce tells every connected peer but one of an envelope that is too large
// for gossip.
func (d *direct) announce(e *crypto.Envelope, from peer.ID) {
	if known, _ := d.recent.ContainsOrAdd(e.ID, struct{}{}); known {
		return
	}
	for _, id := range d.m.connected() {
		if id != from && d.m.mayHear(id, e.Header.Region, e.Header.Audience) {
			d.send(id, protocolDirect, wire.KindAnnounce, announcement(e))
		}
	}
}

// catchUp announces to a peer the youngest envelopes of a scope, as far as sync
// would not compare them yet. What muted authors say is left to sync.
func (d *direct) catchUp(id peer.ID, region crypto.Region, a crypto.Audience) {
	since := d.m.now() - (settleAfter + settleStep).Milliseconds()
	var young []Slot
	for _, h := range d.m.c.Frontier.Chains(region, a) {
		for _, s := range h.Recent[max(0, len(h.Recent)-catchUpChain):] {
			s.Chain = h.Chain
			if s.Time > since && !d.m.c.Path.Muted(s) {
				young = append(young, s)
			}
		}
	}
	slices.SortFunc(young, func(a, b Slot) int { return cmp.Compare(b.Time, a.Time) })
	for _, s := range young[:min(len(young), catchUpMax)] {
		d.send(id, protocolDirect, wire.KindAnnounce, &wire.Announce{Chain: s.Chain, Seq: s.Seq, ID: s.ID, Urgent: s.Urgent})
	}
}

func announcement(e *crypto.Envelope) *wire.Announce {
	return &wire.Announce{Chain: e.Header.Chain(), Seq: e.Header.Seq, ID: e.ID, Urgent: e.Header.Urgent}
}

// send queues a message. A full queue drops it: sync brings what it spoke of.
func (d *direct) send(id peer.ID, p protocol.ID, kind byte, message any) {
	key := lineKey{id, p}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.m.ctx.Err() != nil {
		return
	}
	l := d.lines[key]
	if l == nil {
		l = &line{queue: make(chan outgoing, lineQueue)}
		d.lines[key] = l
		d.m.wait.Go(func() { d.run(key, l) })
	}
	select {
	case l.queue <- outgoing{kind, message}:
	default:
		d.m.metrics.result("dropped_outbound")
	}
}

// run sends a line's messages until it is idle or breaks.
func (d *direct) run(key lineKey, l *line) {
	defer func() {
		d.mu.Lock()
		delete(d.lines, key)
		d.mu.Unlock()
	}()
	var s network.Stream
	defer func() {
		if s != nil {
			_ = s.Close()
		}
	}()
	idle := time.NewTimer(lineIdle)
	defer idle.Stop()
	for {
		select {
		case <-d.m.ctx.Done():
			if s != nil {
				_ = s.Reset()
			}
			return
		case <-idle.C:
			return
		case out := <-l.queue:
			fresh := s == nil
			var err error
			if s, err = d.write(s, key, out); err != nil && !fresh {
				// The connection below an idle stream may be gone: the message is not to pay for it.
				s, err = d.write(nil, key, out)
			}
			if err != nil {
				return
			}
			idle.Reset(lineIdle)
		}
	}
}

// write sends a message on s, or on a new stream if that is nil, and returns the
// stream, nil after an error.
func (d *direct) write(s network.Stream, key lineKey, out outgoing) (network.Stream, error) {
	if s == nil {
		ctx, cancel := context.WithTimeout(d.m.ctx, writeTime)
		defer cancel()
		var err error
		if s, err = d.m.host.NewStream(ctx, key.peer, key.protocol); err != nil {
			return nil, err
		}
	}
	_ = s.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := wire.Write(s, out.kind, out.message); err != nil {
		_ = s.Reset()
		return nil, err
	}
	return s, nil
}

// handle reads a peer's urgent or direct stream.
func (d *direct) handle(s network.Stream) {
	defer s.Close()
	from := s.Conn().RemotePeer()
	limit := wire.FrameMax
	if s.Protocol() == protocolUrgent {
		limit = UrgentMax + 1<<10
	}
	pace := rate.NewLimiter(messageRate, messageBurst)
	for {
		if pace.Wait(d.m.ctx) != nil {
			_ = s.Reset()
			return
		}
		_ = s.SetReadDeadline(time.Now().Add(2 * lineIdle))
		kind, body, err := wire.Read(s, limit)
		if err == nil {
			var message any
			if message, err = wire.DecodeDirect(kind, body); err == nil {
				err = d.take(message, from)
			}
		}
		if err != nil {
			switch {
			case errors.Is(err, io.EOF), d.m.ctx.Err() != nil:
			case errors.Is(err, wire.ErrFrame), errors.Is(err, errProtocol):
				d.m.metrics.rejected("direct")
				d.m.log.Warn("a peer's stream is not what it should be", slog.String("peer", from.String()), slog.Any("err", err))
			default:
				d.m.log.Debug("direct stream", slog.String("peer", from.String()), slog.Any("err", err))
			}
			_ = s.Reset()
			return
		}
	}
}

func (d *direct) take(message any, from peer.ID) error {
	switch x := message.(type) {
	case *wire.Push:
		return d.receive([][]byte{x.Raw}, from)
	case *wire.Announce:
		d.announced(x, from)
		return nil
	case *wire.Book:
		d.m.book.learn(x, d.m.gate.member)
		d.m.nudge()
		return nil
	}
	return errProtocol
}

// receive checks and admits envelopes that a peer pushed or was asked for.
func (d *direct) receive(raws [][]byte, from peer.ID) error {
	var batch []*Checked
	var senders []peer.ID
	for _, raw := range raws {
		checked, err := d.m.c.Path.Check(raw, ViaDirect, crypto.Region{}, 0)
		if err != nil {
			if d.m.judge(err, raw, from) {
				return err
			}
			continue
		}
		batch, senders = append(batch, checked), append(senders, from)
	}
	if len(batch) > 0 {
		d.m.admit(batch, senders)
	}
	return nil
}

// announced pulls an envelope that a peer says it holds, unless it is here.
func (d *direct) announced(a *wire.Announce, from peer.ID) {
	if d.here(a) || !d.m.mayHear(d.m.self, a.Chain.Region, a.Chain.Audience) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.pulls[a.ID]; p != nil {
		if len(p.announcers) < announcerMax {
			p.announcers = append(p.announcers, from)
			select {
			case p.more <- struct{}{}:
			default:
			}
		}
		return
	}
	if len(d.pulls) >= pullsMax || d.m.ctx.Err() != nil {
		return // sync brings it
	}
	p := &pulling{announcers: []peer.ID{from}, more: make(chan struct{}, 1)}
	d.pulls[a.ID] = p
	d.m.wait.Go(func() { d.pullOne(a, p) })
}

// here reports whether an announced envelope is held, as far as that is known
// without a read: another one with its number is wanted as the proof of a fork.
func (d *direct) here(a *wire.Announce) bool {
	h, _ := d.m.c.Frontier.Get(a.Chain)
	if !h.Has(a.Seq) || h.HasFork(a.Seq) {
		return h.Has(a.Seq)
	}
	i := slices.IndexFunc(h.Recent, func(s Slot) bool { return s.Seq == a.Seq })
	return i < 0 || h.Recent[i].ID == a.ID
}

// pullOne asks one announcer after the other, the next one already when the
// one before takes longer than a second.
func (d *direct) pullOne(a *wire.Announce, p *pulling) {
	ctx, cancel := context.WithTimeout(d.m.ctx, pullTime)
	defer cancel()
	defer func() {
		d.mu.Lock()
		delete(d.pulls, a.ID)
		d.mu.Unlock()
	}()
	done := make(chan struct{}, announcerMax)
	asked, running := 0, 0
	for {
		d.mu.Lock()
		var next peer.ID
		if asked < len(p.announcers) {
			next = p.announcers[asked]
			asked++
		}
		d.mu.Unlock()
		if next != "" {
			running++
			d.m.wait.Go(func() {
				d.pull(ctx, next, a.Chain, []Range{{a.Seq, a.Seq}})
				done <- struct{}{}
			})
		}
		hedge := time.NewTimer(pullHedge)
		select {
		case <-ctx.Done():
			hedge.Stop()
			return
		case <-done:
			running--
		case <-hedge.C:
		case <-p.more:
		}
		hedge.Stop()
		if d.here(a) {
			return
		}
		d.mu.Lock()
		exhausted := running == 0 && asked == len(p.announcers)
		d.mu.Unlock()
		if exhausted {
			return
		}
	}
}

// pull asks a peer for ranges of a chain and admits what comes.
func (d *direct) pull(ctx context.Context, from peer.ID, chain crypto.ChainID, want []Range) {
	b, err := d.ask(ctx, from, chain, want)
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { _ = b.s.Reset() })()
	for n := 0; err == nil; n++ {
		var push *wire.Push
		if push, err = readPush(b); err == nil {
			err = d.receive([][]byte{push.Raw}, from)
		}
		if n > pullEnvelopes { // one more than that may be the second of a number
			err = errProtocol
		}
	}
	b.end(!errors.Is(err, io.EOF))
}

// ask opens a pull stream and sends what is wanted. The caller ends it.
func (d *direct) ask(ctx context.Context, from peer.ID, chain crypto.ChainID, want []Range) (*bulk, error) {
	s, err := d.m.host.NewStream(ctx, from, protocolPull)
	if err != nil {
		return nil, err
	}
	b := d.m.bulk(ctx, s)
	if _, err = wire.Write(urgent{b}, wire.KindPull, &wire.Pull{Chain: chain, Ranges: toWire(want)}); err != nil {
		b.end(true)
		return nil, err
	}
	return b, nil
}

func readPush(r io.Reader) (*wire.Push, error) {
	kind, body, err := wire.Read(r, wire.FrameMax)
	if err != nil {
		return nil, err
	}
	message, err := wire.DecodeDirect(kind, body)
	if err != nil {
		return nil, err
	}
	push, ok := message.(*wire.Push)
	if !ok {
		return nil, fmt.Errorf("%w: %T as the answer to a pull", errProtocol, message)
	}
	return push, nil
}

// handlePull answers a peer's Pull from the store.
func (d *direct) handlePull(s network.Stream) {
	select {
	case d.served <- struct{}{}:
		defer func() { <-d.served }()
	default: // the peer asks another one
		_ = s.Reset()
		return
	}
	ctx, cancel := context.WithTimeout(d.m.ctx, pullTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	b := d.m.bulk(ctx, s)
	b.end(d.answer(b, cancel) != nil)
}

func (d *direct) answer(b *bulk, stop func()) error {
	kind, body, err := wire.Read(b, wire.PageBytes*2)
	if err != nil {
		return err
	}
	message, err := wire.DecodeDirect(kind, body)
	want, ok := message.(*wire.Pull)
	if err != nil || !ok || !d.m.mayHear(b.s.Conn().RemotePeer(), want.Chain.Region, want.Chain.Audience) {
		d.m.metrics.rejected("pull")
		return errProtocol
	}
	var group errgroup.Group
	group.Go(func() error { // while this side writes, the peer says what it has read
		err := b.drain()
		if err != nil {
			stop()
		}
		return err
	})
	group.Go(func() error {
		defer b.finish()
		return d.serve(b, want)
	})
	return group.Wait()
}

// serve sends what a Pull wants, within the bounds of one answer.
func (d *direct) serve(b *bulk, want *wire.Pull) error {
	left, bytes := pullEnvelopes, pullBytes
	for _, r := range fromWire(want.Ranges) {
		for left > 0 && bytes > 0 && r.From <= r.To {
			n, size, last, err := d.step(b, want.Chain, r, left)
			if err != nil {
				return err
			}
			if n == 0 || last == r.To {
				break
			}
			left, bytes, r.From = left-n, bytes-size, last+1
		}
	}
	return nil
}

// step sends at most limit envelopes and about pullStep bytes of a range. They
// are read first and sent then, so that a slow peer does not hold up the store.
func (d *direct) step(b *bulk, chain crypto.ChainID, r Range, limit int) (n, size int, last uint64, err error) {
	var raws [][]byte
	err = d.m.c.Path.Read(chain, r, false, func(seq uint64, raw []byte) bool {
		if (len(raws) >= limit || size >= pullStep) && seq != last {
			return false
		}
		raws, size, last = append(raws, slices.Clone(raw)), size+len(raw), seq
		return true
	})
	for _, raw := range raws {
		if err == nil {
			_, err = wire.Write(d.lane(b, raw), wire.KindPush, &wire.Push{Raw: raw})
		}
	}
	return len(raws), size, last, err
}

// lane is how an envelope is sent: a small urgent one does not wait.
func (d *direct) lane(b *bulk, raw []byte) io.Writer {
	if len(raw) > UrgentMax {
		return b
	}
	if e, err := crypto.ParseEnvelope(raw); err != nil || !e.Header.Urgent {
		return b
	}
	return urgent{b}
}

// prove asks a peer for the envelope at the end of one of this node's own
// chains, of which it claims to hold more than this node, and checks that it
// is really signed by this node.
func (d *direct) prove(from peer.ID, own *trust.Credential, claim wire.Held) error {
	ctx, cancel := context.WithTimeout(d.m.ctx, proveTime)
	defer cancel()
	chain := crypto.ChainID{Region: own.Region, Author: own.Member, Serial: own.Serial, Audience: claim.Audience, Epoch: claim.Epoch}
	b, err := d.ask(ctx, from, chain, []Range{{claim.Seq, claim.Seq}})
	if err != nil {
		return err
	}
	defer b.end(true) // one envelope is enough
	defer context.AfterFunc(ctx, func() { _ = b.s.Reset() })()
	push, err := readPush(b)
	if err != nil {
		return err
	}
	e, err := crypto.ParseEnvelope(push.Raw)
	if err != nil {
		return err
	}
	if e.ID != claim.ID || e.Header.Chain() != chain || e.Header.Seq != claim.Seq {
		return errors.New("another envelope than the one it claims to hold")
	}
	key, err := d.m.c.Roster.Key(own)
	if err != nil {
		return err
	}
	return e.Verify(key)
}

// gap watches a chain in which an envelope left a hole, or in which it does not
// fit its neighbours: then the author signed two with one number, and the other
// one is wanted too. What is still lacking after a moment is asked of whoever
// sent the envelope, and what contradicts also of some others.
func (d *direct) gap(c *Checked, from peer.ID) {
	chain, seq := c.Envelope.Header.Chain(), c.Envelope.Header.Seq
	var doubtful []Range
	if c.Mismatch {
		doubtful = []Range{{max(seq-1, 1), seq}}
	}
	if len(d.lacking(chain, doubtful)) == 0 || from == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gaps[chain] || len(d.gaps) >= gapsMax || d.m.ctx.Err() != nil {
		return
	}
	d.gaps[chain] = true
	d.m.wait.Go(func() {
		defer func() {
			d.mu.Lock()
			delete(d.gaps, chain)
			d.mu.Unlock()
		}()
		select {
		case <-d.m.ctx.Done():
			return
		case <-time.After(gapPatience):
		}
		ctx, cancel := context.WithTimeout(d.m.ctx, pullTime)
		defer cancel()
		ask := []peer.ID{from}
		if c.Mismatch {
			ask = append(ask, d.m.connected()...)
		}
		for _, id := range ask[:min(len(ask), doubtAsks)] {
			if want := d.lacking(chain, doubtful); len(want) > 0 && d.m.mayHear(id, chain.Region, chain.Audience) && (c.Mismatch || !d.m.comparing(id)) {
				d.pull(ctx, id, chain, want)
			}
		}
	})
}

// lacking returns a chain's gaps, and of what is in doubt the numbers of which
// one envelope is held.
func (d *direct) lacking(chain crypto.ChainID, doubtful []Range) []Range {
	h, _ := d.m.c.Frontier.Get(chain)
	want := h.Gaps()
	for _, r := range doubtful {
		for seq := r.From; ; seq++ {
			if seq >= h.Floor && h.Has(seq) && !h.HasFork(seq) {
				want = insert(want, seq)
			}
			if seq == r.To {
				break
			}
		}
	}
	return want
}
