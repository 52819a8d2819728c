package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

const (
	// Grace is how long after expiry items are kept: expiry hides at once, and
	// a clock that is a few days wrong deletes nothing.
	Grace = 7 * 24 * time.Hour

	sweepEntries = 16   // entries removed in one transaction
	sweepSlots   = 1024 // slots below a floor removed in one transaction
)

// Sweep deletes what expired more than Grace ago: items, evidence, ids. Of an
// envelope the header and signature stay until its author's floor has passed,
// so that "gone" stays the author's word. It returns the number of entries
// whose items it deleted; run it every hour or so.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	total := 0
	for {
		swept := 0
		err := s.do(ctx, sweepEntries*keysPerItem*crypto.ItemsMax/4, func(b *batch) error {
			locals, err := b.lapsed(sweepEntries)
			if err != nil {
				return err
			}
			for _, local := range locals {
				if err := b.drop(local); err != nil {
					return fmt.Errorf("local %d: %w", local, err)
				}
			}
			swept = len(locals)
			return nil
		})
		if err != nil {
			return total, fmt.Errorf("sweep: %w", err)
		}
		total += swept
		if swept < sweepEntries {
			break
		}
	}
	if err := errors.Join(s.sweepFloors(ctx), s.sweepWithdrawn(ctx)); err != nil {
		return total, fmt.Errorf("sweep: %w", err)
	}
	return total, nil
}

// lapsed returns entries whose time to be deleted has come, and removes their
// marks.
func (b *batch) lapsed(limit int) ([]uint64, error) {
	until := uint32(max(b.now-Grace.Milliseconds(), 0) / hourMs)
	if err := b.catchUp(); err != nil {
		return nil, err
	}
	var locals []uint64
	var keys [][]byte
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = []byte{tableExpiry}, false
	it := b.r.NewIterator(o)
	for it.Rewind(); it.Valid() && len(locals) < limit; it.Next() {
		key := it.Item().KeyCopy(nil)
		if len(key) != 1+4+8 || binary.BigEndian.Uint32(key[1:]) > until {
			break
		}
		locals, keys = append(locals, seqOf(key)), append(keys, key)
	}
	it.Close()
	for _, key := range keys {
		if err := b.delete(key); err != nil {
			return nil, err
		}
	}
	return locals, nil
}

// Erase removes the items of the envelope that carries a notice, or one local
// notice, at once and for good. The words are gone from every answer; their
// bytes leave the disk with the next compaction and value-log collection.
func (s *Store) Erase(ctx context.Context, id crypto.ItemID) error {
	err := s.do(ctx, keysPerItem*crypto.ItemsMax, func(b *batch) error {
		it, err := b.item(id)
		if err != nil {
			return err
		}
		if !it.here || it.state == itemReferred {
			return ErrUnknown
		}
		return b.drop(it.local)
	})
	if err != nil {
		return fmt.Errorf("erase %s: %w", id, err)
	}
	return nil
}

// drop removes the items of an entry and everything derived from them. Of an
// envelope the header and signature stay.
func (b *batch) drop(local uint64) error {
	value, err := b.read(entryKey(local))
	if err != nil || value == nil {
		return err
	}
	e, err := decodeEntry(value)
	if err != nil {
		return err
	}
	if e.kind == entryLocal {
		return b.dropLocal(local, e)
	}
	split, err := splitEntry(value)
	if err != nil {
		return err
	}
	h := &split.envelope.Header
	to, err := split.recipients()
	if err != nil {
		return err
	}
	for i, raw := range split.items {
		n, err := notice.Decode(raw)
		if err != nil {
			continue
		}
		it, err := b.item(crypto.NewItemID(h.Author, crypto.LeafHash(raw)))
		if err != nil {
			return err
		}
		if it.here && it.state != itemReferred && it.local == local && int(it.index) == i {
			content := notice.ContentKey(h.Author, n)
			if h.Exercise {
				content = DrillContent(content)
			}
			if err := b.forget(it, n, keyFor(content, to)); err != nil {
				return err
			}
		}
	}
	if split.named {
		delete(b.split, local)
		return b.dropNamed(local, e, split)
	}
	if split.envelope.Erased() {
		return nil
	}
	if err := b.put(entryKey(local), append(appendEntryHead(nil, entryEnvelope, e.flags, e.received), split.envelope.Bare()...)); err != nil {
		return err
	}
	delete(b.split, local)
	return errors.Join(b.delete(expiryKey(h.Expiry+Flags(e.flags).late(h, e.received), local)), b.bare(h, split.envelope.ID))
}

// bare marks the slot of an envelope whose items are gone.
func (b *batch) bare(h *crypto.Header, id crypto.EnvelopeID) error {
	at := slotAt{b.chain(h.Chain()).number, h.Seq}
	held, ok, err := b.slot(at)
	if err != nil {
		return err
	}
	if ok && held.id == id {
		held.bare = true
		return b.putSlot(at, held)
	}
	other, ok, err := b.second(at)
	if err != nil || !ok || other.id != id {
		return err
	}
	other.bare = true
	b.forks[at] = other
	return b.set(slotKey(tableFork, at.chain, at.seq), other.encode())
}

func (b *batch) dropLocal(local uint64, e entry) error {
	w, err := e.local()
	if err != nil {
		return err
	}
	n, err := notice.Decode(w.raw)
	if err != nil {
		return err
	}
	author := b.s.memberID(w.member)
	it, err := b.item(crypto.NewItemID(author, crypto.LeafHash(w.raw)))
	if err != nil {
		return err
	}
	if err := b.leaveLocal(local); err != nil {
		return err
	}
	if !it.here || it.local != local {
		return nil
	}
	return b.forget(it, n, w.content)
}

// forget removes one item: its record, its evidence, what others said of it on
// its indicator, and what it said of another.
func (b *batch) forget(it *item, n *notice.Notice, content [20]byte) error {
	if err := b.loadAs(it, n); err != nil {
		return err
	}
	if it.evidence != nil {
		b.meta.notices[it.evidence.tlp]--
	}
	if it.about != nil && n.Kind != notice.KindDispute && it.flags&itemSpokenOf != 0 {
		if err := b.hushDisputes(it); err != nil {
			return err
		}
	}
	if err := b.hush(it); err != nil {
		return err
	}
	if it.target != nil {
		if err := b.unsay(it); err != nil {
			return err
		}
	}
	if it.flags&itemShared != 0 {
		if err := b.unshare(it); err != nil {
			return err
		}
	}
	it.here, it.dirty = false, true
	if it.flags&itemSpokenOf != 0 { // the references stay until they expire themselves
		it.itemState, it.here = itemState{state: itemReferred, flags: itemSpokenOf}, true
	}
	it.evidence, it.target = nil, nil
	id, ok := b.contents[content]
	if !ok {
		v, err := b.get(contentKey(content))
		if err != nil || len(v) != len(id) {
			return err
		}
		id = crypto.ItemID(v)
	}
	if id != it.id { // the same was stated again
		return nil
	}
	b.contents[content] = crypto.ItemID{}
	return b.delete(contentKey(content))
}

// hush removes an item's evidence from its indicator.
func (b *batch) hush(it *item) error {
	if it.about == nil {
		return nil
	}
	it.restated, it.silenced = false, true
	return b.recount(*it.about)
}

func (b *batch) hushDisputes(it *item) error {
	spoken, err := b.references(it.id)
	if err != nil {
		return err
	}
	for id, e := range spoken {
		if e.kind != notice.KindDispute {
			continue
		}
		d, err := b.item(id)
		if err != nil {
			return err
		}
		if d.about == nil {
			d.about = it.about
		}
		if err := b.hush(d); err != nil {
			return err
		}
	}
	return nil
}

// unsay removes an item's reference to another, and that one's record if
// nothing else is known of it.
func (b *batch) unsay(it *item) error {
	b.refs[refID{*it.target, it.id}] = nil
	target, err := b.item(*it.target)
	if err != nil || !target.here || target.state != itemReferred {
		return err
	}
	rest, err := b.references(*it.target)
	if err != nil || len(rest) > 0 {
		return err
	}
	target.here, target.dirty = false, true
	return nil
}

// sweepFloors deletes bare headers below their author's floor.
func (s *Store) sweepFloors(ctx context.Context) error {
	for {
		removed := 0
		err := s.do(ctx, 3*sweepSlots, func(b *batch) error {
			var err error
			removed, err = b.sweepFloors()
			return err
		})
		if err != nil || removed < sweepSlots {
			return err
		}
	}
}

func (b *batch) sweepFloors() (removed int, err error) {
	if err := b.catchUp(); err != nil {
		return 0, err
	}
	b.s.mu.RLock()
	var low []crypto.ChainID
	for id, c := range b.s.chains {
		if c.swept < c.holding.Floor {
			low = append(low, id)
		}
	}
	b.s.mu.RUnlock()
	for _, id := range low {
		n, err := b.sweepChain(b.chain(id), sweepSlots-removed)
		if removed += n; err != nil || removed >= sweepSlots {
			return removed, err
		}
	}
	return removed, nil
}

// sweepChain deletes bare slots from the bottom of a chain up to its floor. One
// that still has items ends it: it comes again when those have expired.
func (b *batch) sweepChain(c *chainState, limit int) (removed int, err error) {
	o := badger.DefaultIteratorOptions
	o.Prefix = key4(tableSlot, c.number)
	it := b.r.NewIterator(o)
	defer it.Close()
	end := c.holding.Floor
	for it.Seek(slotKey(tableSlot, c.number, c.swept)); it.Valid() && removed < limit; it.Next() {
		key := it.Item().KeyCopy(nil)
		seq := seqOf(key)
		if seq >= c.holding.Floor {
			break
		}
		at := slotAt{c.number, seq}
		held, ok, err := b.slot(at)
		if err != nil {
			return removed, err
		}
		second, forked, err := b.second(at)
		if err != nil {
			return removed, err
		}
		if !ok || !held.bare || forked && !second.bare {
			end = seq
			break
		}
		if err := errors.Join(b.delete(key), b.remove(entryKey(held.local))); err != nil {
			return removed, err
		}
		b.meta.envelopes--
		if forked {
			if err := errors.Join(b.delete(slotKey(tableFork, at.chain, at.seq)), b.remove(entryKey(second.local))); err != nil {
				return removed, err
			}
			b.meta.envelopes--
		}
		removed++
		end = seq + 1
	}
	if end > c.swept {
		c.swept, c.dirty = end, true
	}
	return removed, nil
}
