package store

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// A foldable is a summary within a batch.
type foldable struct {
	fold
	stored bool // there is one in the snapshot
	again  bool // to be summed again at the end of the batch
	dirty  bool
	wasOut bool                  // members were spilled in the snapshot
	spill  map[uint32]memberMark // members changed in table s
	batch  *batch
	key    notice.Key
	err    error // of reading table s
}

// foldable returns the summary of an indicator in this batch.
func (b *batch) foldable(key notice.Key) (*foldable, error) {
	if f, ok := b.summaries[key]; ok {
		return f, nil
	}
	f := &foldable{batch: b, key: key}
	b.summaries[key] = f
	if b.under != nil {
		if old, ok := b.under.summaries[key]; ok {
			f.copy(&old.fold, b.now)
			return f, nil
		}
	}
	if b.s.MayHave(key) {
		var err error
		if f.stored, err = view(b.r, summaryKey(key), f.decode); err != nil {
			return nil, fmt.Errorf("summary: %w", err)
		}
	}
	if f.stored {
		f.again = !f.fresh(b.now)
		f.wasOut = f.spilled
	} else {
		f.reset()
	}
	return f, nil
}

// copy takes over a summary as the batch before leaves it.
func (f *foldable) copy(old *fold, now int64) {
	if old.indicator.Type == 0 {
		f.reset()
		return
	}
	f.fold, f.stored, f.wasOut = *old, true, old.spilled
	f.members = slices.Clone(old.members)
	f.again = !f.fresh(now)
}

// count adds an item's evidence to the summary of its indicator.
func (b *batch) count(it *item, i notice.Indicator) error {
	if ofKind(*it.about) {
		return nil
	}
	f, err := b.foldable(*it.about)
	if err != nil {
		return err
	}
	if f.indicator.Type == 0 {
		f.indicator = i
	}
	f.dirty = true
	if !f.again {
		f.add(it.evidence, f, b.now)
	}
	return f.err
}

// recount has the summary of an indicator summed again at the end of the batch.
func (b *batch) recount(key notice.Key) error {
	if ofKind(key) {
		return nil
	}
	f, err := b.foldable(key)
	if err == nil {
		f.again, f.dirty = true, true
	}
	return err
}

// mark implements marks.
func (f *foldable) mark(member uint32) memberMark {
	if !f.spilled {
		for _, m := range f.members {
			if m.number == member {
				return m.memberMark
			}
		}
		return memberMark{}
	}
	if m, ok := f.spill[member]; ok {
		return m
	}
	v, err := f.batch.get(spillKey(f.key, member))
	if err != nil || len(v) != 1 {
		f.err = err
		return memberMark{}
	}
	m, err := decodeMark(v[0])
	f.err = err
	return m
}

// setMark implements marks.
func (f *foldable) setMark(member uint32, m memberMark) {
	if !f.spilled {
		for i := range f.members {
			if f.members[i].number == member {
				f.members[i].memberMark = m
				return
			}
		}
		if len(f.members) < inlineMembersMax {
			f.members = append(f.members, countedMember{member, m})
			return
		}
		f.spilled, f.spill = true, map[uint32]memberMark{}
		for _, old := range f.members {
			f.spill[old.number] = old.memberMark
		}
		f.members = nil
	}
	if f.spill == nil {
		f.spill = map[uint32]memberMark{}
	}
	f.spill[member] = m
}

// stageSummaries sums again what must be, and writes what changed.
func (b *batch) stageSummaries() error {
	var restated map[notice.Key][]*item // this batch's evidence by indicator, for those summed again
	for key, f := range b.summaries {
		if !f.dirty {
			continue
		}
		if f.again {
			if restated == nil {
				restated = b.restated()
			}
			if err := f.refold(restated[key]); err != nil {
				return err
			}
		}
		if !f.stored && f.indicator.Type != 0 {
			b.meta.indicators++
		}
		if f.indicator.Type == 0 { // the last evidence is gone
			if f.stored {
				b.meta.indicators--
				if err := b.delete(summaryKey(key)); err != nil {
					return err
				}
			}
		} else {
			b.s.presence.add(key, f.indicator)
			if err := b.set(summaryKey(key), f.encode()); err != nil {
				return err
			}
		}
		for member, m := range f.spill {
			var err error
			if m == (memberMark{}) {
				err = b.delete(spillKey(key, member))
			} else {
				err = b.set(spillKey(key, member), []byte{m.encode()})
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// changing returns the summaries on disk that this batch changes.
func (b *batch) changing() map[notice.Key]struct{} {
	out := map[notice.Key]struct{}{}
	for key, f := range b.summaries {
		if f.dirty && f.stored {
			out[key] = struct{}{}
		}
	}
	return out
}

// summed yields the counts of the summaries that this batch wrote.
func (b *batch) summed(yield func(notice.Key, *counts) bool) {
	for key, f := range b.summaries {
		if f.dirty && f.indicator.Type != 0 && !yield(key, &f.counts) {
			return
		}
	}
}

func (b *batch) restated() map[notice.Key][]*item {
	out := map[notice.Key][]*item{}
	for _, it := range b.items {
		if it.about == nil || !it.restated && !it.silenced {
			continue
		}
		if f := b.summaries[*it.about]; f != nil && f.again {
			out[*it.about] = append(out[*it.about], it)
		}
	}
	return out
}

// refold sums the snapshot's evidence under the batch's own.
func (f *foldable) refold(own []*item) error {
	b, all := f.batch, map[uint32]memberMark{}
	overlay := make(map[crypto.ItemID]bool, len(own))
	sum := fold{indicator: f.indicator}
	sum.reset()
	pieces := 0
	for _, it := range own {
		overlay[it.id] = true
		if !it.silenced {
			sum.add(it.evidence, marksMap(all), b.now)
			pieces++
		}
	}
	err := b.scan(evidencePrefix(f.key), func(key, v []byte) error {
		if overlay[crypto.ItemID(key[1+len(f.key):])] {
			return nil
		}
		e, err := decodeEvidence(v)
		if err == nil {
			sum.add(&e, marksMap(all), b.now)
			pieces++
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("sum up evidence: %w", err)
	}
	if pieces == 0 {
		sum.indicator = notice.Indicator{}
	}
	f.fold, f.spill = sum, nil
	return f.respill(all)
}

// respill lays the members of a new sum out, inline or in table s, where it
// changes only what differs.
func (f *foldable) respill(all map[uint32]memberMark) error {
	f.spilled = len(all) > inlineMembersMax
	if !f.spilled {
		for number, m := range all {
			f.members = append(f.members, countedMember{number, m})
		}
		if !f.wasOut {
			return nil
		}
		clear(all) // nothing stays in table s
	}
	f.spill = map[uint32]memberMark{}
	for number, m := range all {
		f.spill[number] = m
	}
	if !f.wasOut {
		return nil
	}
	prefix := spillPrefix(f.key)
	return f.batch.scan(prefix, func(key, v []byte) error {
		number := binary.BigEndian.Uint32(key[len(prefix):])
		m, ok := f.spill[number]
		switch {
		case !ok:
			f.spill[number] = memberMark{} // delete
		case len(v) == 1 && v[0] == m.encode():
			delete(f.spill, number)
		}
		return nil
	})
}
