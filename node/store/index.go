package store

import (
	"fmt"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// state brings one word into the indexes at a place. It reports whether the
// item was here already. The result does not depend on the order in which
// items, what retracts them and what disputes them arrive.
func (b *batch) state(w *word, place itemState) (known bool, err error) {
	it, err := b.item(w.id)
	if err != nil {
		return false, err
	}
	w.evidence.member = place.member
	if it.here && it.state != itemReferred {
		return true, b.again(it, w, place)
	}
	place.flags = it.flags
	it.itemState, it.here, it.dirty, it.silenced = place, true, true, false
	b.meta.notices[w.evidence.tlp]++
	it.target = w.notice.Ref
	if w.about != (notice.Key{}) {
		about := w.about
		it.about = &about
	}
	stated := w.evidence // a copy: an op may run a second time
	it.evidence = &stated

	var spoken map[crypto.ItemID]*evidence
	if it.flags&itemSpokenOf != 0 {
		if spoken, err = b.references(w.id); err != nil {
			return false, err
		}
		b.judge(it, spoken)
	}
	switch {
	case w.notice.Kind.HasPart():
		it.restated = true
		if it.target != nil {
			_, err = b.speakOf(it)
		}
		return false, err
	case w.notice.Kind == notice.KindRetraction:
		return false, b.retract(it)
	case it.target != nil:
		return false, b.dispute(it)
	}
	it.restated = true
	if err := b.count(it, *w.notice.Indicator); err != nil {
		return false, err
	}
	return false, b.disputed(it, spoken, *w.notice.Indicator)
}

// judge applies what was said of an item before it came.
func (b *batch) judge(it *item, spoken map[crypto.ItemID]*evidence) {
	if it.evidence.kind == notice.KindRetraction {
		return // a retraction stands
	}
	for _, e := range spoken {
		if e.kind == notice.KindRetraction && e.member == it.member {
			it.flags |= itemRetracted
			it.evidence.retracted = true
		}
	}
}

// disputed counts the disputes of an item that came before it. A dispute of a
// dispute is kept and counts nowhere.
func (b *batch) disputed(it *item, spoken map[crypto.ItemID]*evidence, i notice.Indicator) error {
	if it.evidence.kind == notice.KindDispute {
		return nil
	}
	for id, e := range spoken {
		if e.kind != notice.KindDispute {
			continue
		}
		d, err := b.item(id)
		if err != nil {
			return err
		}
		d.about, d.evidence, d.restated, d.silenced = it.about, e, true, false
		if err := b.count(d, i); err != nil {
			return err
		}
	}
	return nil
}

// retract takes the target back, if it is here and by the same author, and is
// kept for when it comes.
func (b *batch) retract(it *item) error {
	target, err := b.speakOf(it)
	if err != nil || target.state == itemReferred || target.member != it.member || target.flags&itemRetracted != 0 {
		return err
	}
	if err := b.load(target); err != nil {
		return err
	}
	if target.evidence == nil || target.evidence.kind == notice.KindRetraction {
		return nil
	}
	target.flags |= itemRetracted
	target.dirty = true
	target.evidence.retracted = true
	return b.restate(target)
}

// dispute counts a dispute of a notice on that notice's indicator, if it is about one:
// what is said of a member counts nowhere.
func (b *batch) dispute(it *item) error {
	target, err := b.speakOf(it)
	if err != nil || target.state == itemReferred {
		return err
	}
	if err := b.load(target); err != nil {
		return err
	}
	if target.about == nil || target.evidence == nil || target.evidence.kind == notice.KindDispute || target.evidence.kind.HasPart() {
		return nil
	}
	it.about, it.restated = target.about, true
	return b.count(it, notice.Indicator{})
}

// speakOf records that an item refers to another, which may not be here yet.
func (b *batch) speakOf(it *item) (*item, error) {
	b.refs[refID{*it.target, it.id}] = it.evidence
	target, err := b.item(*it.target)
	if err != nil {
		return nil, err
	}
	if !target.here {
		target.itemState, target.here, target.dirty = itemState{state: itemReferred}, true, true
	}
	if target.flags&itemSpokenOf == 0 {
		target.flags |= itemSpokenOf
		target.dirty = true
	}
	return target, nil
}

// restate writes changed evidence wherever it is and sums up anew.
func (b *batch) restate(it *item) error {
	if it.target != nil {
		b.refs[refID{*it.target, it.id}] = it.evidence
	}
	if it.about == nil {
		return nil
	}
	it.restated = true
	return b.recount(*it.about)
}

// again is for an item that is here already: signed at last, or stated in a
// second envelope. What is loosest of several statements holds, so that every
// node ends with the same whatever came first.
func (b *batch) again(it *item, w *word, place itemState) error {
	if it.state == itemSigned && place.state == itemSigned && it.local != place.local {
		if err := b.share(it, place.local); err != nil {
			return err
		}
	}
	if err := b.loadAs(it, w.notice); err != nil {
		return err
	}
	if it.evidence == nil {
		return nil
	}
	was := *it.evidence
	if it.state != itemSigned && place.state == itemSigned {
		if err := b.leaveLocal(it.local); err != nil {
			return err
		}
		first := it.first
		it.state, it.local, it.index, it.first, it.dirty = place.state, place.local, place.index, first, true
		it.evidence.tlp, it.evidence.exercise, it.evidence.expiry = w.evidence.tlp, w.evidence.exercise, w.evidence.expiry
	} else if place.state == itemSigned {
		it.evidence.tlp = min(was.tlp, w.evidence.tlp)
		it.evidence.exercise = was.exercise && w.evidence.exercise
		it.evidence.expiry = max(was.expiry, w.evidence.expiry)
	}
	if *it.evidence == was {
		return nil
	}
	b.remark(was.tlp, it.evidence.tlp)
	return b.restate(it)
}

// remark counts a notice under another marking.
func (b *batch) remark(from, to notice.TLP) {
	b.meta.notices[from]--
	b.meta.notices[to]++
}

// leaveLocal removes the local entry of an item that an envelope carries now.
func (b *batch) leaveLocal(local uint64) error {
	w, err := b.localEntry(local)
	if err != nil {
		return err
	}
	if err := b.remove(entryKey(local)); err != nil {
		return err
	}
	if err := b.delete(expiryKey(w.expiry, local)); err != nil {
		return err
	}
	if w.flags&flagWaiting == 0 {
		return nil
	}
	b.meta.waiting--
	return b.delete(outboxKey(w, local))
}

func (b *batch) localEntry(local uint64) (*localEntry, error) {
	v, err := b.read(entryKey(local))
	if err != nil {
		return nil, err
	}
	e, err := decodeEntry(v)
	if err != nil {
		return nil, fmt.Errorf("local %d: %w", local, err)
	}
	return e.local()
}

// load finds what an item says and its evidence. Of an item whose words are
// gone it finds nothing.
func (b *batch) load(it *item) error {
	if it.evidence != nil {
		return nil
	}
	n, err := b.notice(it)
	if err != nil || n == nil {
		return err
	}
	return b.loadAs(it, n)
}

func (b *batch) loadAs(it *item, n *notice.Notice) error {
	if it.evidence != nil {
		return nil
	}
	it.target = n.Ref
	if about := subject(n); about != (notice.Key{}) {
		it.about = &about
	}
	if n.Kind == notice.KindDispute && n.Ref != nil {
		target, err := b.item(*n.Ref)
		if err != nil {
			return err
		}
		if target.here && target.state != itemReferred {
			about, err := b.notice(target)
			if err != nil {
				return err
			}
			if about != nil && about.Kind != notice.KindDispute && !about.Kind.HasPart() && about.Indicator != nil {
				key := about.Indicator.Key()
				it.about = &key
			}
		}
	}
	if it.target != nil {
		e, err := b.reference(refID{*it.target, it.id})
		it.evidence = e
		return err
	}
	v, err := b.get(evidenceKey(*it.about, it.id))
	if err != nil || v == nil {
		return err
	}
	e, err := decodeEvidence(v)
	it.evidence = &e
	return err
}

// splitMax bounds the envelopes a batch keeps cut into items, for retractions
// of many notices of one envelope.
const splitMax = 16

// A splitEnvelope is a stored envelope cut into its items.
type splitEnvelope struct {
	envelope *crypto.Envelope
	items    [][]byte
	named    bool // they were sealed in it
}

// notice reads an item's words, nil if they are gone or not for this version.
func (b *batch) notice(it *item) (*notice.Notice, error) {
	if it.state != itemSigned {
		w, err := b.localEntry(it.local)
		if err != nil {
			return nil, err
		}
		return notice.Decode(w.raw)
	}
	s, ok := b.split[it.local]
	if !ok {
		v, err := b.read(entryKey(it.local))
		if err != nil {
			return nil, err
		}
		if s, err = splitEntry(v); err != nil {
			return nil, fmt.Errorf("local %d: %w", it.local, err)
		}
		if len(b.split) >= splitMax {
			clear(b.split)
		}
		b.split[it.local] = s
	}
	if int(it.index) >= len(s.items) {
		return nil, nil
	}
	return notice.Decode(s.items[it.index])
}

// splitEntry parses the value of a stored envelope and checks its items.
func splitEntry(v []byte) (*splitEnvelope, error) {
	e, err := decodeEntry(v)
	if err != nil {
		return nil, err
	}
	if e.kind == entryNamed {
		return e.named()
	}
	if e.kind != entryEnvelope {
		return nil, fmt.Errorf("entry: %w", errCorrupt)
	}
	s := &splitEnvelope{}
	if s.envelope, err = crypto.ParseEnvelope(e.rest); err != nil {
		return nil, err
	}
	if !s.envelope.Erased() {
		s.items, err = s.envelope.Split()
	}
	return s, err
}
