package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// clockWindow is how far an author's clock may be from ours (accept order,
// step 6) before an envelope is held or left to sync.
const clockWindow = 5 * time.Minute

// path is the accept order: every envelope, own and foreign, by gossip, sync or
// direct stream, passes through Check (steps 1 to 9, no writes) and Admit
// (steps 10 to 12, one transaction). It is safe for concurrent use.
type path struct{ n *Node }

// Check implements mesh.Path. The order is that of the design, cheapest first,
// and nothing is remembered of an envelope before its signature verified.
func (p path) Check(raw []byte, via mesh.Via, region crypto.Region, audience crypto.Audience) (*mesh.Checked, error) {
	checked, early, err := p.check(p.n.roster, raw, via, region, audience)
	if early != nil {
		p.n.held.add(early, early.Header.Time-clockWindow.Milliseconds())
	}
	if checked != nil && checked.Muted && saysMayday(checked) {
		h := &checked.Envelope.Header
		checked.Muted = !p.n.floods.mayday(h.Author, checked.Envelope.ID, p.n.now())
	}
	return checked, err
}

// saysMayday reports whether an urgent envelope has a mayday among its items.
func saysMayday(c *mesh.Checked) bool {
	h := &c.Envelope.Header
	return h.Urgent && len(c.Envelope.Raw) <= mesh.UrgentMax && slices.ContainsFunc(c.Items, func(raw []byte) bool {
		n, err := notice.Decode(raw)
		return err == nil && n.Kind == notice.KindMayday && n.FitsHeader(h) == nil
	})
}

// check is Check by any roster, and leaves no trace. early is an envelope whose time
// has not come, with mesh.ErrHeld.
func (p path) check(roster *trust.Roster, raw []byte, via mesh.Via, region crypto.Region, audience crypto.Audience) (checked *mesh.Checked, early *crypto.Envelope, err error) {
	// 1, 2: frame, canonical header, version, limits; region and audience of the topic.
	e, err := crypto.ParseEnvelope(raw)
	if err != nil {
		return nil, nil, refuse(parseReason(err), err)
	}
	h := &e.Header
	if region != (crypto.Region{}) && (h.Region != region || h.Audience != audience) {
		return nil, nil, refuse("region", fmt.Errorf("envelope of %s/%s in the topic of %s/%s", h.Region, h.Audience, region, audience))
	}
	named := via == mesh.ViaNamed
	if named != (h.Audience == crypto.AudienceNamed) {
		return nil, nil, refuse("audience", fmt.Errorf("an envelope of the %s audience: what is sealed travels on streams of its own, and nothing else does", h.Audience))
	}
	// 3: the region is endorsed, the serial is in the roster.
	if !roster.Endorses(h.Region) {
		return nil, nil, refuse("region", fmt.Errorf("region %s is not endorsed here", h.Region))
	}
	if h.Audience == crypto.AudienceRegion && h.Region != roster.Region() {
		return nil, nil, refuse("audience", fmt.Errorf("what is for region %s alone", h.Region))
	}
	author, known := roster.Member(h.Region, h.Author, h.Serial)
	if !known {
		return nil, nil, mesh.ErrUnknownAuthor
	}
	if !roster.Speaks(author) { // no relay's fault: who endorses other regions may not see it
		return nil, nil, refuse("credential", fmt.Errorf("region %s says that %q is a member that another region has", h.Region, author.Name))
	}
	// 4: the author's role may speak there, and the marking fits the audience. A later
	// charter, which may not be here yet, can allow more, so nobody is to blame.
	if !roster.Allowed(author, h.Audience) {
		return nil, nil, mesh.ErrStale
	}
	exit := notice.ExitMesh
	if h.Audience == crypto.AudienceNamed {
		exit = notice.ExitNamed
	}
	if tlp := notice.TLP(h.TLP); !notice.Leaves(tlp, h.Audience, exit, 0) {
		return nil, nil, refuse("tlp", fmt.Errorf("TLP:%s does not fit the %s audience", tlp, h.Audience))
	}
	// 5: of a revoked serial only what is linked to its cut. It is history, for sync.
	// What it sealed is in no chain, so that nothing of it is.
	if cuts, revoked := roster.Revoked(author); revoked {
		if err := p.uncut(cuts, e); err != nil {
			return nil, nil, err
		}
		if via == mesh.ViaGossip {
			return nil, nil, mesh.ErrStale
		}
	}
	// 6: time.
	now := p.n.now().UnixMilli()
	// By sync an old envelope is history, and a sealed one waited for this member;
	// otherwise it was just said.
	off := h.Time > now+clockWindow.Milliseconds() || via != mesh.ViaSync && !named && h.Time < now-clockWindow.Milliseconds()
	off = off || h.Time < author.NotBefore // which no clock that was right has shown
	if !author.ValidAt(h.Time) && !author.GraceAt(h.Time) && !h.Urgent {
		return nil, nil, refuse("credential", fmt.Errorf("signed outside the validity of serial %d", h.Serial))
	}
	gone := h.Expiry <= now
	if named && gone {
		return nil, nil, mesh.ErrStale
	}
	if via == mesh.ViaGossip && !h.Urgent && (gone || h.Time < now-clockWindow.Milliseconds()) {
		return nil, nil, mesh.ErrStale
	}
	if e.Erased() && !gone {
		// "Gone" is the author's word, by expiry, never a peer's.
		return nil, nil, mesh.ErrStale
	}
	// 7: already stored. Gossip asks once about the same bytes, so that what it
	// brings of a stored envelope may be a broken copy, whose sender is to be named.
	duplicate, err := p.stored(e)
	if err != nil {
		return nil, nil, err
	}
	if duplicate && via != mesh.ViaGossip {
		return nil, nil, mesh.ErrDuplicate
	}
	// 8: both halves of the signature.
	key, err := roster.Key(author)
	if err != nil {
		return nil, nil, refuse("signature", err)
	}
	if err := e.Verify(key); err != nil {
		return nil, nil, refuse("signature", err)
	}
	// 9: the items are the ones that were signed.
	checked = &mesh.Checked{Envelope: e, Received: now, ClockOff: off && h.Urgent, Muted: p.n.floods.muted(h.Author, h.Urgent, p.n.now())}
	if !e.Erased() {
		if checked.Items, err = p.open(e); err != nil {
			return nil, nil, err
		}
	}
	if duplicate {
		return nil, nil, mesh.ErrDuplicate
	}
	if gone && !h.Urgent && p.n.clockCompared() {
		// It still holds its chain together, and says nothing any more.
		if checked.Envelope, err = crypto.ParseEnvelope(e.Bare()); err != nil {
			return nil, nil, refuse("items", err)
		}
		checked.Items = nil
	}
	if off && !h.Urgent && h.Time > now {
		if named { // its author keeps it and tries again
			return nil, nil, mesh.ErrHeld
		}
		return nil, e, mesh.ErrHeld
	}
	return checked, nil, nil
}

// stored reports whether an envelope is here already.
func (p path) stored(e *crypto.Envelope) (bool, error) {
	if e.Header.Audience == crypto.AudienceNamed {
		return p.n.store.Named(e.ID)
	}
	id, held := p.n.store.Slot(e.Header.Chain(), e.Header.Seq)
	return held && id == e.ID, nil
}

// open is step 9: the items are the ones that were signed. Of a sealed envelope
// that is the box, which only its recipients can open.
func (p path) open(e *crypto.Envelope) ([][]byte, error) {
	if e.Header.Audience != crypto.AudienceNamed {
		items, err := e.Split()
		if err != nil {
			return nil, refuse("items", err)
		}
		return items, nil
	}
	items, err := seal.OpenNamed(e, p.n.member, p.n.identity.SealSeed)
	var others *seal.NotRecipientError
	switch {
	case errors.As(err, &others):
		return nil, refuse("recipient", err)
	case errors.Is(err, crypto.ErrItems):
		return nil, refuse("items", err)
	case err != nil: // also what was sealed for a key that this member has no more
		return nil, refuse("sealed", err)
	}
	return items, nil
}

// Muted implements mesh.Path.
func (p path) Muted(s mesh.Slot) bool { return p.n.floods.keptBack(s, p.n.now()) }

func refuse(reason string, err error) error { return &mesh.Refusal{Reason: reason, Err: err} }

func parseReason(err error) string {
	if errors.Is(err, crypto.ErrHeader) {
		return "header"
	}
	return "frame"
}

// Admit implements mesh.Path: neighbours, items, one transaction. It returns
// when the batch is on disk and visible.
func (p path) Admit(ctx context.Context, batch []*mesh.Checked) error {
	_, err := p.admit(ctx, batch)
	return err
}

// admit is Admit that says what became of each.
func (p path) admit(ctx context.Context, batch []*mesh.Checked) ([]store.Appended, error) {
	entries := make([]store.Entry, len(batch))
	group := errgroup.Group{}
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, c := range batch {
		group.Go(func() error {
			entries[i] = decode(c)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i := range entries { // 10, in order: the predecessor may be in this batch
		if batch[i].Envelope.Header.Audience != crypto.AudienceNamed && !p.fits(entries, i) {
			entries[i].Flags |= store.Mismatch
			batch[i].Mismatch = true
		}
	}
	done, err := p.n.store.Append(ctx, entries)
	if err != nil {
		return nil, fmt.Errorf("admit %d envelopes: %w", len(batch), err)
	}
	for i, a := range done {
		batch[i].Muted = batch[i].Muted || a.Withdrawn
		p.n.admitted(ctx, entries[i], a)
	}
	return done, nil
}

// decode is step 11: a bad item is refused alone, the envelope stays.
func decode(c *mesh.Checked) store.Entry {
	entry := store.Entry{Envelope: c.Envelope, Received: c.Received, Items: make([]store.Item, len(c.Items))}
	if c.Envelope.Header.Audience == crypto.AudienceNamed {
		entry.Opened = c.Items
	}
	if c.ClockOff {
		entry.Flags |= store.ClockOff
	}
	for i, raw := range c.Items {
		item := store.Item{Index: i, ID: crypto.NewItemID(c.Envelope.Header.Author, crypto.LeafHash(raw))}
		n, err := notice.Decode(raw)
		if err == nil {
			err = n.FitsHeader(&c.Envelope.Header)
		}
		if err != nil {
			item.Err = err.Error()
		} else {
			item.Notice = n
		}
		entry.Items[i] = item
	}
	return entry
}

// fits is step 10: the neighbours that are here agree with the envelope's link
// and time, whichever came first. A missing neighbour delays nothing; sync
// fetches it.
func (p path) fits(entries []store.Entry, i int) bool {
	e, chain := entries[i].Envelope, entries[i].Envelope.Header.Chain()
	h := &e.Header
	var before, after []*crypto.Envelope // two where the author used a number twice
	for _, o := range entries[:i] {
		if other := &o.Envelope.Header; other.Author != h.Author || other.Chain() != chain {
			continue
		} else if other.Seq == h.Seq-1 {
			before = append(before, o.Envelope)
		} else if other.Seq == h.Seq+1 {
			after = append(after, o.Envelope)
		}
	}
	holding, _ := p.n.store.Frontier().Get(chain)
	if len(before) == 0 && h.Seq > 1 && holding.Has(h.Seq-1) {
		// The last envelopes of a chain are known without a read.
		for j := len(holding.Recent) - 1; j >= 0 && holding.Recent[j].Seq >= h.Seq-1 && !holding.HasFork(h.Seq-1); j-- {
			if slot := holding.Recent[j]; slot.Seq == h.Seq-1 {
				before = []*crypto.Envelope{{ID: slot.ID, Header: crypto.Header{Time: slot.Time}}}
			}
		}
		if len(before) == 0 {
			before = p.neighbours(chain, h.Seq-1)
		}
	}
	if len(after) == 0 && holding.Has(h.Seq+1) {
		after = p.neighbours(chain, h.Seq+1)
	}
	return (len(before) == 0 || slices.ContainsFunc(before, func(b *crypto.Envelope) bool { return follows(e, b) })) &&
		(len(after) == 0 || slices.ContainsFunc(after, func(a *crypto.Envelope) bool { return follows(a, e) }))
}

func follows(e, before *crypto.Envelope) bool {
	return e.Header.Prev == before.ID && e.Header.Time >= before.Header.Time
}

// neighbours returns the envelopes with a number of a chain: none, one, or two
// where the author used it twice.
func (p path) neighbours(chain crypto.ChainID, seq uint64) (found []*crypto.Envelope) {
	err := p.n.store.Read(chain, mesh.Range{From: seq, To: seq}, false, func(_ uint64, raw []byte) bool {
		if e, err := crypto.ParseEnvelope(raw); err == nil { // what is stored was parsed before
			found = append(found, e)
		}
		return true
	})
	if err != nil {
		p.n.log.Error("read a neighbour", slog.Uint64("seq", seq), slog.Any("err", err))
		return nil
	}
	return found
}
