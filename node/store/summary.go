package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// unmarked is the marking by which an unmarked notice counts and is shown: what
// has no marking never leaves the house, which is what AMBER+STRICT means.
const unmarked = notice.TLPAmberStrict

// Visible reports whether a notice marked tlp may be shown under a ceiling;
// ceiling 0 shows everything. An unmarked notice counts as AMBER+STRICT.
func Visible(tlp, ceiling notice.TLP) bool {
	return ceiling == 0 || effective(tlp) <= ceiling
}

func effective(tlp notice.TLP) notice.TLP {
	if tlp == 0 || tlp > notice.TLPRed {
		return unmarked
	}
	return tlp
}

// A Summary says what is known of one indicator under a ceiling. Retracted,
// expired and exercise notices do not count.
type Summary struct {
	Indicator notice.Indicator
	// First and Last are when it was seen: of sightings as stated, of
	// indicators as stated or else when they were written. 0 if only disputed.
	First, Last int64
	Sightings   uint64 // sum of the counts of sightings
	Reports     uint64 // indicator notices
	Members     int    // distinct members with a sighting
	Disputes    int    // distinct members that dispute it, or a notice of it
}

// Summary returns what is known of an indicator. In the common case it is one
// read.
func (s *Store) Summary(key notice.Key, ceiling notice.TLP) (Summary, bool, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	return s.summary(txn, key, ceiling, s.now())
}

// Summaries is Summary for many keys, all at one point in time. An unknown
// key's summary is zero.
func (s *Store) Summaries(keys []notice.Key, ceiling notice.TLP) ([]Summary, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	out, now := make([]Summary, len(keys)), s.now()
	for i, key := range keys {
		var err error
		if out[i], _, err = s.summary(txn, key, ceiling, now); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Store) summary(txn *badger.Txn, key notice.Key, ceiling notice.TLP, now int64) (Summary, bool, error) {
	var f fold
	found, err := view(txn, summaryKey(key), f.decode)
	if err == nil && found && !f.fresh(now) {
		f, err = refold(txn, key, f.indicator, now)
	}
	if err != nil {
		return Summary{}, false, fmt.Errorf("summary: %w", err)
	}
	sum, known := f.under(ceiling)
	return sum, found && known, nil
}

func refold(txn *badger.Txn, key notice.Key, i notice.Indicator, now int64) (fold, error) {
	f := fold{indicator: i}
	f.reset()
	marks := map[uint32]memberMark{}
	err := scan(txn, evidencePrefix(key), func(_, v []byte) error {
		e, err := decodeEvidence(v)
		if err == nil {
			f.add(&e, marksMap(marks), now)
		}
		return err
	})
	return f, err
}

// A level is what a summary keeps of one marking, so that a ceiling can be
// applied without the numbers above it leaking.
type level struct {
	first, last int64
	sightings   uint64
	reports     uint64
	members     uint32 // whose least strict sighting has this marking
	disputers   uint32 // whose least strict dispute has this marking
}

// A memberMark is the least strict marking of a member's sightings and of its
// disputes; 0 = it has none.
type memberMark struct {
	sighting, dispute notice.TLP
}

// A marks is the set of members a fold counts.
type marks interface {
	mark(member uint32) memberMark
	setMark(member uint32, m memberMark)
}

type marksMap map[uint32]memberMark

func (m marksMap) mark(member uint32) memberMark       { return m[member] }
func (m marksMap) setMark(member uint32, k memberMark) { m[member] = k }

// A fold is a summary as it is stored: the sum over an indicator's evidence, in
// whatever order it came.
type fold struct {
	indicator notice.Indicator
	// The sum is right for times from dropped until just before next: the
	// latest expiry that was left out, and the earliest that counts. Outside it
	// is summed again, also when a clock that was wrong is set back.
	dropped, next int64
	levels        [notice.TLPRed + 1]level
	spilled       bool // members are in table s
	members       []countedMember
}

type countedMember struct {
	number uint32
	memberMark
}

// inlineMembersMax is the number of members a summary holds in itself. Beyond
// it a widely seen value would be rewritten whole with each sighting.
const inlineMembersMax = 64

func (f *fold) reset() {
	*f = fold{indicator: f.indicator, next: math.MaxInt64}
}

func (f *fold) fresh(now int64) bool { return f.dropped <= now && now < f.next }

// add counts e, if it counts at now.
func (f *fold) add(e *evidence, members marks, now int64) {
	if e.retracted || e.exercise {
		return
	}
	if e.expiry <= now {
		f.dropped = max(f.dropped, e.expiry)
		return
	}
	f.next = min(f.next, e.expiry)
	tlp := effective(e.tlp)
	l := &f.levels[tlp]
	mark := members.mark(e.member)
	old := mark
	switch e.kind {
	case notice.KindSighting:
		l.span(e)
		l.sightings = addCapped(l.sightings, e.count)
		lower(&f.levels, &mark.sighting, tlp, func(l *level) *uint32 { return &l.members })
	case notice.KindIndicator:
		l.span(e)
		l.reports++
	case notice.KindDispute:
		lower(&f.levels, &mark.dispute, tlp, func(l *level) *uint32 { return &l.disputers })
	}
	if mark != old {
		members.setMark(e.member, mark)
	}
}

func (l *level) span(e *evidence) {
	if l.sightings+l.reports == 0 {
		l.first, l.last = e.first, e.last
		return
	}
	l.first, l.last = min(l.first, e.first), max(l.last, e.last)
}

// addCapped adds without wrapping: counts are other people's numbers.
func addCapped(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}

// lower moves a member to a less strict level, where it then counts once.
func lower(levels *[notice.TLPRed + 1]level, have *notice.TLP, tlp notice.TLP, count func(*level) *uint32) {
	if *have != 0 && *have <= tlp {
		return
	}
	if *have != 0 {
		*count(&levels[*have])--
	}
	*count(&levels[tlp])++
	*have = tlp
}

// under applies a ceiling. It reports false if nothing below it is known.
func (f *fold) under(ceiling notice.TLP) (Summary, bool) {
	if ceiling == 0 || ceiling > notice.TLPRed {
		ceiling = notice.TLPRed
	}
	s := Summary{Indicator: f.indicator}
	for tlp := notice.TLPClear; tlp <= ceiling; tlp++ {
		l := &f.levels[tlp]
		if l.sightings+l.reports > 0 {
			if s.Sightings+s.Reports == 0 {
				s.First, s.Last = l.first, l.last
			}
			s.First, s.Last = min(s.First, l.first), max(s.Last, l.last)
		}
		s.Sightings = addCapped(s.Sightings, l.sightings)
		s.Reports += l.reports
		s.Members += int(l.members)
		s.Disputes += int(l.disputers)
	}
	if s.Sightings+s.Reports == 0 && s.Disputes == 0 {
		return Summary{}, false
	}
	return s, true
}

func (f *fold) encode() []byte {
	b := make([]byte, 0, 48+len(f.indicator.Value)+6*len(f.members))
	used := byte(0)
	for tlp, l := range f.levels {
		if l != (level{}) {
			used |= 1 << tlp
		}
	}
	b = append(b, byte(f.indicator.Type), used|bits(f.spilled)<<7)
	b = binary.AppendUvarint(b, uint64(len(f.indicator.Value)))
	b = append(b, f.indicator.Value...)
	b = putTime(b, f.dropped)
	b = putTime(b, f.next)
	for _, l := range f.levels {
		if l == (level{}) {
			continue
		}
		b = putTime(b, l.first)
		b = putTime(b, l.last-l.first)
		b = binary.AppendUvarint(b, l.sightings)
		b = binary.AppendUvarint(b, l.reports)
		b = binary.AppendUvarint(b, uint64(l.members))
		b = binary.AppendUvarint(b, uint64(l.disputers))
	}
	for _, m := range f.members {
		b = binary.AppendUvarint(b, uint64(m.number))
		b = append(b, m.encode())
	}
	return b
}

func (m memberMark) encode() byte { return byte(m.sighting) | byte(m.dispute)<<4 }

func decodeMark(c byte) (memberMark, error) {
	m := memberMark{notice.TLP(c & 15), notice.TLP(c >> 4)}
	if max(m.sighting, m.dispute) > notice.TLPRed {
		return m, fmt.Errorf("member's marking: %w", errCorrupt)
	}
	return m, nil
}

func (f *fold) decode(v []byte) error {
	r := reader{b: v}
	f.indicator.Type = notice.Type(r.byte())
	used := r.byte()
	f.spilled = used&0x80 != 0
	f.indicator.Value = string(r.bytes(int(min(r.uvarint(), notice.ValueMax+1))))
	f.dropped, f.next = r.time(), r.time()
	for tlp := range f.levels {
		if used&(1<<tlp) == 0 {
			continue
		}
		l := &f.levels[tlp]
		l.first = r.time()
		l.last = l.first + r.time()
		l.sightings, l.reports = r.uvarint(), r.uvarint()
		l.members, l.disputers = uint32(r.uvarint()), uint32(r.uvarint())
	}
	f.members = nil
	for len(r.b) > 0 && len(f.members) < inlineMembersMax {
		m := countedMember{number: uint32(r.uvarint())}
		mark, err := decodeMark(r.byte())
		if err != nil {
			return err
		}
		m.memberMark = mark
		f.members = append(f.members, m)
	}
	return r.done("summary")
}

// --- within a batch ---

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
	found, err := view(b.r, summaryKey(key), f.decode)
	if err != nil {
		return nil, fmt.Errorf("summary: %w", err)
	}
	if f.stored = found; found {
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
		} else if err := b.set(summaryKey(key), f.encode()); err != nil {
			return err
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
