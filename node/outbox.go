package node

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// Bounds of one round of signing.
const (
	roundEnvelopes = 16        // envelopes in one transaction
	urgentBytesMax = 14 << 10  // of items, so that header and signature fit the 16 KiB of an urgent message
	itemBytesMax   = 200 << 10 // of items in one envelope, well within its 256 KiB
)

// epochPatience is how long the first signature waits for a peer's word on how
// much of this author it holds. Urgent words never wait.
const epochPatience = 3 * time.Second

// outbox signs what waits. The items are durable already: it may stop at any
// point, and what it did not sign it signs after the next start. One goroutine
// runs it, so that each chain has a single writer.
type outbox struct {
	n    *Node
	wake chan struct{}
	pace pace

	started time.Time // the first signature waits a little for a peer's word

	mu    sync.Mutex // guards chains, which forked also reads
	chain map[crypto.Audience]*position
}

// position is the end of one of this node's own chains.
type position struct {
	epoch uint32
	seq   uint64 // last signed
	id    crypto.EnvelopeID
	time  int64
	floor uint64
	renew string // why the next envelope opens a new epoch; "" = it does not
}

// renewFork is why a chain is left in which one number was used twice.
const renewFork = "two envelopes in one place"

func newOutbox(n *Node) *outbox {
	o := &outbox{n: n, wake: make(chan struct{}, 1), started: n.now()}
	o.load()
	return o
}

// load takes the ends of this node's own chains from the store. The caller
// holds mu, or is the only one yet.
func (o *outbox) load() {
	before := o.chain
	o.chain = map[crypto.Audience]*position{}
	for _, h := range o.n.store.Frontier().Author(o.n.roster.Region(), o.n.member) {
		p := o.chain[h.Chain.Audience]
		if h.Chain.Serial != o.n.serial || p != nil && p.epoch >= h.Chain.Epoch {
			continue
		}
		p = &position{epoch: h.Chain.Epoch, seq: h.Highest(), id: h.Top, floor: max(h.Floor, 1)}
		for _, s := range h.Recent {
			p.time = max(p.time, s.Time)
		}
		if forked, err := o.n.store.Forked(h.Chain); err != nil {
			o.n.log.Error("outbox: look for forks of this node's own chain", slog.Any("err", err))
		} else if forked {
			p.renew = renewFork
		}
		o.chain[h.Chain.Audience] = p
	}
	for a, old := range before { // an epoch that was opened stays open
		if p := o.chain[a]; p == nil || old.epoch > p.epoch {
			o.chain[a] = &position{epoch: old.epoch, floor: 1, renew: old.renew}
			if p != nil {
				o.chain[a].id = p.id
			}
		} else if old.epoch == p.epoch && p.renew == "" {
			p.renew = old.renew
		}
	}
}

// nudge makes the outbox look at what waits.
func (o *outbox) nudge() {
	if o == nil {
		return
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// forked makes the next envelope of a chain open a new epoch.
func (o *outbox) forked(a crypto.Audience) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.chain[a]; p != nil {
		p.renew = renewFork
	}
}

// run signs until ctx ends.
func (o *outbox) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.wake:
		case <-timer.C:
		}
		waited := o.n.now().Sub(o.started) // negative where the clock was set back
		patient := waited >= 0 && waited < epochPatience && !o.n.mesh.Greeted()
		next, err := o.round(ctx, patient)
		if err != nil && ctx.Err() == nil {
			o.n.log.Error("outbox: what waits is kept and tried again", slog.Any("err", err))
			next = paceWindow
		}
		if patient {
			next = 50 * time.Millisecond
		}
		timer.Reset(next)
	}
}

// round signs what may be signed now and returns when to look again. While
// urgentOnly holds, ordinary words wait.
func (o *outbox) round(ctx context.Context, urgentOnly bool) (time.Duration, error) {
	for {
		if o.n.silenced() { // nobody would take it: it stays here
			return paceWindow, nil
		}
		waiting, err := o.n.store.Waiting(roundEnvelopes*groupItems, roundEnvelopes*itemBytesMax)
		if err != nil {
			return 0, err
		}
		now := o.n.now().UnixMilli()
		groups, next := o.choose(waiting, now, urgentOnly)
		if len(groups) == 0 {
			return time.Duration(min(max(next-now, 1), paceWindow.Milliseconds())) * time.Millisecond, nil
		}
		if err := o.sign(ctx, groups, now); err != nil {
			return 0, err
		}
	}
}

// A filling is what one envelope will carry.
type filling struct {
	store.Group
	bytes int
	full  bool
	to    []crypto.MemberID // of the named audience
}

// choose packs waiting items into envelopes and returns those that may be
// signed now: urgent ones, full ones, and others as the pace allows.
func (o *outbox) choose(waiting []store.Group, now int64, urgentOnly bool) (chosen []*filling, next int64) {
	next = now + paceWindow.Milliseconds()
	for _, f := range pack(waiting) {
		switch {
		case len(chosen) == roundEnvelopes:
			return chosen, now
		case f.Urgent:
			chosen = append(chosen, f)
		case urgentOnly:
		case f.full:
			chosen = append(chosen, f)
		default:
			ok, again := o.pace.ready(now)
			if !ok {
				next = min(next, again)
				continue
			}
			o.pace.note(now)
			chosen = append(chosen, f)
		}
	}
	return chosen, next
}

// pack cuts each group into envelopes and keeps the order of arrival.
func pack(waiting []store.Group) []*filling {
	var all []*filling
	for _, g := range waiting {
		limit := itemBytesMax
		if g.Urgent {
			limit = urgentBytesMax
		}
		var f *filling
		for _, w := range g.Items {
			if f == nil || f.full || f.bytes+len(w.Raw) > limit || !slices.Equal(f.to, w.To) {
				if f != nil {
					f.full = true
				}
				f = &filling{Group: store.Group{Audience: g.Audience, TLP: g.TLP, Exercise: g.Exercise, Urgent: g.Urgent}, to: w.To}
				all = append(all, f)
			}
			f.Items = append(f.Items, w)
			f.bytes += len(w.Raw) + 5 // and the length in front of it
			f.full = len(f.Items) == groupItems || f.bytes >= groupBytes
		}
	}
	return all
}

// sign makes the envelopes, admits them like anybody's, and hands them to the
// mesh. Until Append returns nothing of them has left this node.
func (o *outbox) sign(ctx context.Context, groups []*filling, now int64) error {
	entries, done, err := o.extend(ctx, groups, now)
	if err != nil {
		return fmt.Errorf("sign %d envelopes: %w", len(groups), err)
	}
	for i, a := range done {
		o.n.admitted(ctx, entries[i], a)
		if a.Withdrawn { // revoked in this moment: its words wait on
			continue
		}
		if entries[i].Envelope.Header.Audience == crypto.AudienceNamed {
			o.n.courier.nudge()
			continue
		}
		if err := o.n.mesh.Publish(ctx, entries[i].Envelope); err != nil && ctx.Err() == nil {
			o.n.log.Warn("publish: sync will carry it", slog.String("envelope", entries[i].Envelope.ID.String()), slog.Any("err", err))
		}
	}
	return nil
}

// extend signs the groups at the ends of their chains, durably.
func (o *outbox) extend(ctx context.Context, groups []*filling, now int64) ([]store.Entry, []store.Appended, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	entries := make([]store.Entry, 0, len(groups))
	for _, f := range groups {
		entry, err := o.next(ctx, f, now)
		if err != nil {
			o.load()
			return nil, nil, err
		}
		if entry.Envelope == nil { // nobody is left to seal it for
			continue
		}
		entries = append(entries, entry)
	}
	// The write is not cut off half way: nobody could say then which places
	// in the chain are taken.
	done, err := o.n.store.Append(context.WithoutCancel(ctx), entries)
	if err != nil {
		o.load() // some may be on disk
	}
	return entries, done, err
}

// next makes the envelope of one group; none if it cannot be sealed for anybody.
func (o *outbox) next(ctx context.Context, f *filling, now int64) (store.Entry, error) {
	if f.Audience == crypto.AudienceNamed {
		return o.sealed(ctx, f, now)
	}
	return o.envelope(f, o.position(f.Audience, now), now)
}

// position returns the end of the chain for an audience, after opening a new
// epoch where one is due (design, Time 3).
func (o *outbox) position(a crypto.Audience, now int64) *position {
	p := o.chain[a]
	if p == nil {
		p = &position{epoch: 1, floor: 1}
		o.chain[a] = p
	}
	further := func(epoch uint32, seq uint64, id crypto.EnvelopeID) {
		if epoch > p.epoch || epoch == p.epoch && seq > p.seq {
			p.renew = "others hold more of this author than this node has signed"
			p.epoch, p.seq, p.id = epoch, seq, id
		}
	}
	further(o.n.mesh.Mine(a))
	for _, h := range o.n.store.Frontier().Author(o.n.roster.Region(), o.n.member) {
		if h.Chain.Serial == o.n.serial && h.Chain.Audience == a { // it may have come by gossip already
			further(h.Chain.Epoch, h.Highest(), h.Top)
		}
	}
	if now < p.time-clockWindow.Milliseconds() {
		p.renew = "the clock was set back"
	}
	if p.renew != "" {
		o.n.log.Warn("a new epoch begins", slog.String("reason", p.renew), slog.Uint64("epoch", uint64(p.epoch)+1))
		o.n.alert(store.Alert{Kind: "new-epoch", Severity: "info", Dedup: fmt.Sprintf("epoch/%s/%d", a, p.epoch+1),
			Text: "This node numbers its words anew: " + p.renew + ". If it was restored from a backup or its clock was set, all is well; if not, another machine may be using its keys."})
		*p = position{epoch: p.epoch + 1, id: p.id, floor: 1}
	}
	return p
}

// envelope signs one group at the end of p and moves p.
func (o *outbox) envelope(f *filling, p *position, now int64) (store.Entry, error) {
	if !notice.Leaves(f.TLP, f.Audience, notice.ExitMesh, 0) { // nothing of the kind is taken: what stands in the outbox is damaged
		return store.Entry{}, fmt.Errorf("what is marked TLP:%s waits for the %s audience", f.TLP, f.Audience)
	}
	header := crypto.Header{
		Region: o.n.roster.Region(), Author: o.n.member, Serial: o.n.serial, Audience: f.Audience,
		Epoch: p.epoch, Seq: p.seq + 1, Prev: p.id, Floor: o.floor(f.Audience, p, now),
		Time: max(now, p.time), TLP: uint8(f.TLP), Exercise: f.Exercise, Urgent: f.Urgent,
	}
	entry, raws, err := f.items(&header, now)
	if err != nil {
		return entry, err
	}
	e, err := crypto.NewEnvelope(header, raws, o.n.identity.Signing)
	if err != nil {
		return entry, fmt.Errorf("sign envelope: %w", err)
	}
	entry.Envelope = e
	p.seq, p.id, p.time = header.Seq, e.ID, header.Time
	return entry, nil
}

// items are what the envelope carries, until all of them have expired.
func (f *filling) items(header *crypto.Header, now int64) (entry store.Entry, raws [][]byte, err error) {
	raws = make([][]byte, len(f.Items))
	entry = store.Entry{Received: now, Items: make([]store.Item, len(f.Items))}
	for i, w := range f.Items {
		word, err := notice.Decode(w.Raw)
		if err != nil {
			return entry, nil, fmt.Errorf("item %s waits and cannot be read: %w", w.ID, err)
		}
		raws[i] = w.Raw
		entry.Items[i] = store.Item{Index: i, ID: w.ID, Notice: word}
		header.Expiry = max(header.Expiry, word.DefaultExpiry())
	}
	header.Expiry = expiryOf(header.Time, header.Expiry)
	return entry, raws, nil
}

// expiryOf brings the expiry of the longest-lived word in an envelope within what
// a header allows.
func expiryOf(signed, expiry int64) int64 {
	return min(max(expiry, signed+1), signed+crypto.LifetimeMax.Milliseconds())
}

// floor raises the chain's floor over what has expired: nobody needs to keep
// or fetch it any more.
func (o *outbox) floor(a crypto.Audience, p *position, now int64) uint64 {
	if p.seq == 0 {
		return 1
	}
	chain := crypto.ChainID{Region: o.n.roster.Region(), Author: o.n.member, Serial: o.n.serial, Audience: a, Epoch: p.epoch}
	err := o.n.store.Read(chain, mesh.Range{From: p.floor, To: p.seq}, false, func(seq uint64, raw []byte) bool {
		e, err := crypto.ParseEnvelope(raw)
		if err != nil || e.Header.Expiry > now {
			return false
		}
		p.floor = seq + 1
		return true
	})
	if err != nil {
		o.n.log.Warn("floor: stays where it is", slog.Any("err", err))
	}
	return p.floor
}
