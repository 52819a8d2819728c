package store

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// Visible reports whether a notice marked tlp may be shown under a ceiling;
// ceiling 0 shows everything. An unmarked notice counts as AMBER+STRICT.
func Visible(tlp, ceiling notice.TLP) bool {
	return notice.Leaves(tlp, crypto.AudienceLocal, notice.ExitAPI, ceiling)
}

// A Summary says what is known of one indicator under a ceiling. Retracted,
// expired and exercise notices do not count.
type Summary struct {
	Indicator notice.Indicator
	// First and Last are when it was seen: of sightings as stated, of
	// indicators as stated or else when they were written. 0 if only disputed.
	First, Last int64
	Sightings   uint64     // sum of the counts of sightings
	Reports     uint64     // indicator notices
	Members     int        // distinct members with a sighting
	Disputes    int        // distinct members that dispute it, or a notice of it
	TLP         notice.TLP // the strictest marking among what is counted here
}

// Summary returns what is known of an indicator. In the common case it is one
// read.
func (s *Store) Summary(key notice.Key, ceiling notice.TLP) (Summary, bool, error) {
	if !s.MayHave(key) {
		return Summary{}, false, nil
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	var f fold
	found, err := view(txn, summaryKey(key), f.decode)
	if err != nil {
		return Summary{}, false, fmt.Errorf("summary: %w", err)
	}
	if !found {
		return Summary{}, false, nil
	}
	sum, known, err := s.under(txn, key, &f.counts, ceiling, s.now())
	if known {
		sum.Indicator = f.indicator
	}
	return sum, known, err
}

// Summaries is Summary for many keys, without the indicators: whoever asks has
// them. An unknown key's summary is zero. Each is as it was when Summaries was
// called or later.
func (s *Store) Summaries(keys []notice.Key, ceiling notice.TLP) ([]Summary, error) {
	out := make([]Summary, len(keys))
	done := make([]bool, len(keys))
	now := s.now()
	var learned []recalled
	mark := s.recall.look(keys, func(i int, b []byte) {
		var c counts
		c.decodeRecalled(b)
		if c.fresh(now) { // else the evidence is summed up below
			out[i], _ = c.under(ceiling)
			done[i] = true
		}
	})
	var txn *badger.Txn // Badger gives no snapshot while a commit hangs: none is asked for what is in memory
	for i, key := range keys {
		if done[i] || !s.MayHave(key) {
			continue
		}
		if txn == nil {
			txn = s.db.NewTransaction(false)
			defer txn.Discard()
		}
		var c counts
		found, err := view(txn, summaryKey(key), func(v []byte) error {
			b, err := c.decodeStored(v)
			if err == nil {
				learned = append(learned, recalled{key, b})
			}
			return err
		})
		if err == nil && found {
			out[i], _, err = s.under(txn, key, &c, ceiling, now)
		}
		if err != nil {
			return nil, fmt.Errorf("summary: %w", err)
		}
	}
	s.recall.learn(mark, learned)
	return out, nil
}

// under applies a ceiling to the counts on disk, summed up anew if they are not
// right for now.
func (s *Store) under(txn *badger.Txn, key notice.Key, c *counts, ceiling notice.TLP, now int64) (Summary, bool, error) {
	if !c.fresh(now) {
		f, err := refold(txn, key, notice.Indicator{}, now)
		if err != nil {
			return Summary{}, false, fmt.Errorf("sum up evidence: %w", err)
		}
		c = &f.counts
	}
	sum, known := c.under(ceiling)
	return sum, known, nil
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
	counts
	spilled bool // members are in table s
	members []countedMember
}

// The counts of a summary are all that a lookup needs of it.
type counts struct {
	// The sum is right for times from dropped until just before next: the
	// latest expiry that was left out, and the earliest that counts. Outside it
	// is summed again, also when a clock that was wrong is set back.
	dropped, next int64
	levels        [notice.TLPRed + 1]level
}

type countedMember struct {
	number uint32
	memberMark
}

// inlineMembersMax is the number of members a summary holds in itself. Beyond
// it a widely seen value would be rewritten whole with each sighting.
const inlineMembersMax = 64

func (f *fold) reset() {
	*f = fold{indicator: f.indicator, counts: counts{next: math.MaxInt64}}
}

func (c *counts) fresh(now int64) bool { return c.dropped <= now && now < c.next }

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
	tlp := e.tlp.House()
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
func (c *counts) under(ceiling notice.TLP) (Summary, bool) {
	if ceiling == 0 || ceiling > notice.TLPRed {
		ceiling = notice.TLPRed
	}
	s := Summary{}
	for tlp := notice.TLPClear; tlp <= ceiling; tlp++ {
		l := &c.levels[tlp]
		if *l != (level{}) {
			s.TLP = tlp
		}
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
	b = append(b, byte(f.indicator.Type), f.used()|bits(f.spilled)<<7)
	b = binary.AppendUvarint(b, uint64(len(f.indicator.Value)))
	b = append(b, f.indicator.Value...)
	b = f.counts.appendTo(b)
	for _, m := range f.members {
		b = binary.AppendUvarint(b, uint64(m.number))
		b = append(b, m.encode())
	}
	return b
}

// used has a bit for each marking that has counts.
func (c *counts) used() (used byte) {
	for tlp, l := range c.levels {
		if l != (level{}) {
			used |= 1 << tlp
		}
	}
	return used
}

func (c *counts) appendTo(b []byte) []byte {
	b = putTime(b, c.dropped)
	b = putTime(b, c.next)
	for _, l := range c.levels {
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
	f.counts.decode(&r, used)
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

func (c *counts) decode(r *reader, used byte) {
	c.dropped, c.next = r.time(), r.time()
	for tlp := range c.levels {
		if used&(1<<tlp) == 0 {
			continue
		}
		l := &c.levels[tlp]
		l.first = r.time()
		l.last = l.first + r.time()
		l.sightings, l.reports = r.uvarint(), r.uvarint()
		l.members, l.disputers = uint32(r.uvarint()), uint32(r.uvarint())
	}
}

// decodeStored reads the counts alone of a stored summary. It returns a copy of
// the bytes that hold them, for decodeRecalled.
func (c *counts) decodeStored(v []byte) ([]byte, error) {
	r := reader{b: v}
	r.byte() // type
	used := r.byte() & 0x7f
	r.bytes(int(min(r.uvarint(), notice.ValueMax+1)))
	rest := r.b
	if c.decode(&r, used); r.bad {
		return nil, fmt.Errorf("summary: %w", errCorrupt)
	}
	rest = rest[:len(rest)-len(r.b)]
	return append(append(make([]byte, 0, 1+len(rest)), used), rest...), nil
}

func (c *counts) decodeRecalled(b []byte) {
	r := reader{b: b}
	used := r.byte()
	c.decode(&r, used)
}
