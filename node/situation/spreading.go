package situation

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"slices"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// The spreading rule: one indicator, malware family or tool that was seen at so many
// organisations within Window.
const (
	Window    = 72 * time.Hour
	organised = 2 // organisations whose people or tools saw it
	automatic = 3 // of an address, where machines count it

	endedFor = 24 * time.Hour // how long the end of a spreading is shown
	keptFor  = Window + endedFor
)

// Limits of what sightings take. An hour is the unit in which they are let go.
const (
	groupMax  = 16      // sightings of one subject by one member under one marking: the newest
	memberMax = 65_536  // subjects in sightings of one member; beyond it its oldest hour goes
	seenMax   = 2 << 20 // the same of all members; beyond it the oldest hour of whoever has most
	levels    = int(notice.TLPRed)
)

var (
	windowMs = Window.Milliseconds()
	endedMs  = endedFor.Milliseconds()
	keptMs   = keptFor.Milliseconds()
)

const hourMs = 3_600_000

// malware is the first byte of the subject of a family or tool: beyond the types of
// indicators.
const malware = 0xff

// A Started tells that something spreads now that did not before, as far as those may
// know who see up to TLP: the strictest marking of the sightings that say so.
type Started struct {
	What    What
	TLP     notice.TLP
	Trigger crypto.ItemID // the sighting by which it began
	Seen    []Seen        // by members, as far as TLP goes
}

// A What is what was seen: an indicator, or a malware family or tool.
type What struct {
	Kind  string // "indicator" or "malware"
	Type  string // of an indicator
	Value string
}

// spread keeps the sightings of the last 96 hours by what was seen. Adding one costs
// the same however many there are.
type spread struct {
	common   common
	members  []member
	subjects map[notice.Key]uint32
	subject  []subject // 0 is none
	freeSub  []uint32
	seen     []sighting // 0 is none
	freeSeen []uint32
	byID     map[crypto.ItemID]uint32 // the first of a sighting's
	hours    map[hourKey]uint32       // the first of a member's hour
	several  []uint32                 // subjects that several members have seen
	count    int
	floor    int64 // hour; what is not after it is let go
}

type member struct {
	id    crypto.MemberID
	count int
	floor int64 // as that of spread, of its own: it said too much
}

type hourKey struct {
	member uint32
	hour   int64
}

// A subject is something that was seen. Most are seen by one member.
type subject struct {
	key   notice.Key
	one   group
	more  map[uint32]*group
	ranks *ranks          // nil while one member saw it
	ever  *ranks          // with what was taken back; nil if nothing was
	name  string          // of an indicator: known when several members saw it
	names *[levels]string // of malware: as it is spelt, up to each level
	at    int             // in several
	told  int             // the loosest level at which it was told to spread, 0 = none
}

// A group is what one member saw under one marking, by hand or by machine.
type group struct {
	who  uint32 // see who
	head uint32 // the newest sighting
	n    int
}

// who is a member, its marking, and whether a machine counted.
func who(author uint32, tlp notice.TLP, auto bool) uint32 {
	w := author<<4 | uint32(tlp)<<1
	if auto {
		w |= 1
	}
	return w
}

type sighting struct {
	id         crypto.ItemID
	at         int64
	who        uint32
	subject    uint32
	next       uint32 // the next older of its group
	twin       uint32 // the next subject of the same sighting
	prev, late uint32 // its neighbours in the hour
	back       *taken
}

// ranks are, for each level of marking, the members that saw a subject last: so many as
// the rule asks for.
type ranks [levels]struct {
	manual [organised]last
	all    [automatic]last
}

type last struct {
	at     int64
	member uint32
}

func newSpread() spread {
	return spread{
		common: parseCommon(commonFile), subjects: map[notice.Key]uint32{}, subject: make([]subject, 1), seen: make([]sighting, 1),
		byID: map[crypto.ItemID]uint32{}, hours: map[hourKey]uint32{}, floor: -1,
	}
}

func hourOf(at int64) int64 { return at / hourMs }

// advance lets go what is too old at time now.
func (s *spread) advance(now int64) {
	floor := hourOf(now - keptMs)
	if floor <= s.floor {
		return
	}
	from := s.floor + 1
	if s.floor < 0 || floor-from > keptMs/hourMs+1 { // the first time, or long after
		for k := range s.hours {
			if k.hour <= floor {
				s.dropHour(k, false)
			}
		}
	} else {
		for hour := from; hour <= floor; hour++ {
			for m := range s.members {
				s.dropHour(hourKey{uint32(m), hour}, false)
			}
		}
	}
	s.floor = floor
}

// dropHour lets go a member's hour. counted says that it may still count.
func (s *spread) dropHour(k hourKey, counted bool) {
	for at := s.hours[k]; at != 0; at = s.hours[k] {
		s.remove(at, counted)
	}
}

// add takes in a sighting and returns what begins to spread by it.
func (s *spread) add(f *Fact, author uint32, back *taken, now int64) []Started {
	at := min(f.seen(), now)
	tlp := f.TLP.House()
	if first := s.byID[f.ID]; first != 0 {
		if old := s.seen[first]; notice.TLP(old.who>>1&7) <= tlp {
			if back != nil {
				s.takeBack(reference{f.ID, author}, *back)
			}
			return nil
		}
		back = merge(back, s.seen[first].back)
		s.forget(f.ID) // it is known under a looser marking now
	}
	if hour := hourOf(at); hour <= s.floor || hour <= s.members[author].floor {
		return nil
	}
	var out []Started
	for _, sub := range s.subjectsOf(f) {
		if began := s.put(f, sub, who(author, tlp, sub.auto), at, back, now); began != nil {
			out = append(out, *began)
		}
	}
	s.limit(author)
	return out
}

type seenSubject struct {
	key  notice.Key
	name string
	auto bool
}

// subjectsOf returns what a sighting is of: its value, its family and its tool. Where a
// family and a tool have one name they are one: hospitals call a thing by either word.
func (s *spread) subjectsOf(f *Fact) []seenSubject {
	out := make([]seenSubject, 0, 3)
	i := *f.Notice.Indicator
	// Whoever imports or counts names an origin; a person who reports has none.
	auto := address(i.Type) && f.Notice.Origin != nil
	if !s.common.has(i) || address(i.Type) && !auto {
		out = append(out, seenSubject{i.Key(), i.Value, auto})
	}
	if c := f.Notice.Context; c != nil {
		for _, name := range []string{c.Family, c.Tool} {
			if name == "" {
				continue
			}
			sub := seenSubject{key: malwareKey(name), name: name}
			if len(out) == 0 || out[len(out)-1].key != sub.key {
				out = append(out, sub)
			}
		}
	}
	return out
}

func malwareKey(name string) notice.Key {
	sum := sha256.Sum256([]byte(notice.Fold(name)))
	k := notice.Key{malware}
	copy(k[1:], sum[:])
	return k
}

// put notes one subject of a sighting.
func (s *spread) put(f *Fact, of seenSubject, w uint32, at int64, back *taken, now int64) *Started {
	n := s.intern(of.key)
	i := s.allocate(sighting{id: f.ID, at: at, who: w, subject: n, twin: s.byID[f.ID], back: back})
	s.byID[f.ID] = i
	sub := &s.subject[n]
	if of.key[0] == malware {
		sub.spell(of.name, int(w>>1&7))
	}
	if sub.ranks.end(levels) <= now {
		sub.told = 0
	}
	g := sub.group(w)
	place := &g.head
	for *place != 0 && s.seen[*place].newer(&s.seen[i]) {
		place = &s.seen[*place].next
	}
	s.seen[i].next, *place = *place, i
	if g.n++; g.n > groupMax {
		if oldest := s.oldest(g); oldest == i {
			s.remove(i, false)
			return nil
		} else {
			s.remove(oldest, sub.ever != nil || back != nil)
		}
	}
	s.note(n, of.name, &s.seen[i])
	return s.began(n, f.ID, now)
}

// newer orders the sightings of a group.
func (a *sighting) newer(b *sighting) bool {
	return cmp.Or(cmp.Compare(b.at, a.at), slices.Compare(a.id[:], b.id[:])) < 0
}

func (s *spread) oldest(g *group) uint32 {
	i := g.head
	for s.seen[i].next != 0 {
		i = s.seen[i].next
	}
	return i
}

// intern returns the number of a subject.
func (s *spread) intern(key notice.Key) uint32 {
	n, ok := s.subjects[key]
	if ok {
		return n
	}
	if last := len(s.freeSub) - 1; last >= 0 {
		n, s.freeSub = s.freeSub[last], s.freeSub[:last]
		s.subject[n] = subject{key: key}
	} else {
		n = uint32(len(s.subject))
		s.subject = append(s.subject, subject{key: key})
	}
	s.subjects[key] = n
	return n
}

// allocate stores a sighting and puts it into its member's hour.
func (s *spread) allocate(g sighting) uint32 {
	k := hourKey{g.who >> 4, hourOf(g.at)}
	g.late = s.hours[k]
	var i uint32
	if last := len(s.freeSeen) - 1; last >= 0 {
		i, s.freeSeen = s.freeSeen[last], s.freeSeen[:last]
		s.seen[i] = g
	} else {
		i = uint32(len(s.seen))
		s.seen = append(s.seen, g)
	}
	if g.late != 0 {
		s.seen[g.late].prev = i
	}
	s.hours[k] = i
	s.count++
	s.members[k.member].count++
	return i
}

// group returns what a member saw of a subject under one marking.
func (b *subject) group(w uint32) *group {
	if b.one.n > 0 && b.one.who == w {
		return &b.one
	}
	if g := b.more[w]; g != nil {
		return g
	}
	if b.one.n == 0 {
		b.one = group{who: w}
		return &b.one
	}
	if b.more == nil {
		b.more = map[uint32]*group{}
	}
	b.more[w] = &group{who: w}
	return b.more[w]
}

// groups yields the groups of a subject, in no order.
func (b *subject) groups(yield func(*group) bool) {
	if b.one.n > 0 && !yield(&b.one) {
		return
	}
	for g := range maps.Values(b.more) {
		if !yield(g) {
			return
		}
	}
}

// note brings the ranks of a subject up to a new sighting.
func (s *spread) note(n uint32, name string, g *sighting) {
	sub := &s.subject[n]
	if sub.ranks == nil {
		others := false
		for o := range sub.groups {
			others = others || o.who>>4 != g.who>>4
		}
		if !others {
			return
		}
		sub.at = len(s.several)
		if sub.key[0] != malware {
			sub.name = name
		}
		s.several = append(s.several, n)
		s.rank(sub)
		return
	}
	if g.back != nil && sub.ever == nil {
		s.rank(sub)
		return
	}
	if g.back == nil {
		sub.ranks.add(g)
	}
	if sub.ever != nil {
		sub.ever.add(g)
	}
}

// rank makes the ranks of a subject from its sightings.
func (s *spread) rank(sub *subject) {
	ranks, ever, back := &ranks{}, &ranks{}, false
	for g := range sub.groups {
		for i := g.head; i != 0; i = s.seen[i].next {
			ever.add(&s.seen[i])
			if s.seen[i].back == nil {
				ranks.add(&s.seen[i])
			} else {
				back = true
			}
		}
	}
	if sub.ranks, sub.ever = ranks, nil; back {
		sub.ever = ever
	}
}

func (r *ranks) add(g *sighting) {
	l := last{g.at, g.who >> 4}
	for level := int(g.who >> 1 & 7); level <= levels; level++ {
		at := &r[level-1]
		if g.who&1 == 0 {
			l.into(at.manual[:])
		}
		l.into(at.all[:])
	}
}

// into puts l among the latest of several members.
func (l last) into(r []last) {
	place := len(r) - 1
	for i := range r {
		if r[i].at != 0 && r[i].member == l.member {
			place = i
		}
	}
	if l.at <= r[place].at {
		return
	}
	for ; place > 0 && r[place-1].at < l.at; place-- {
		r[place] = r[place-1]
	}
	r[place] = l
}

// end returns when a subject stops spreading (ms) for who sees up to a level, if
// nothing is seen any more. 0 = it never did.
func (r *ranks) end(level int) int64 {
	if r == nil {
		return 0
	}
	at := max(r[level-1].manual[organised-1].at, r[level-1].all[automatic-1].at)
	if at == 0 {
		return 0
	}
	return at + windowMs
}

// began tells if a subject spreads now that did not, or for more eyes than before.
func (s *spread) began(n uint32, trigger crypto.ItemID, now int64) *Started {
	sub := &s.subject[n]
	for level := 1; level <= levels && (sub.told == 0 || level < sub.told); level++ {
		if sub.ranks.end(level) > now {
			sub.told = level
			return &Started{sub.what(level), notice.TLP(level), trigger, s.timeLine(sub, level, now-windowMs)}
		}
	}
	return nil
}

// spell notes how a family or tool is spelt by a word of some level: of several
// spellings each level has always the same, and none of a word beyond it.
func (b *subject) spell(name string, level int) {
	if b.names == nil {
		b.names = &[levels]string{}
	}
	for ; level <= levels; level++ {
		if at := &b.names[level-1]; *at == "" || name < *at {
			*at = name
		}
	}
}

func (b *subject) what(level int) What {
	if b.key[0] == malware {
		return What{Kind: "malware", Value: b.names[level-1]}
	}
	return What{Kind: "indicator", Type: notice.Type(b.key[0]).String(), Value: b.name}
}

// takeBack marks a sighting as taken back by its author.
func (s *spread) takeBack(ref reference, t taken) {
	for i := s.byID[ref.id]; i != 0; i = s.seen[i].twin {
		g := &s.seen[i]
		if g.who>>4 != ref.author {
			return
		}
		first := g.back == nil
		g.back = merge(g.back, &t)
		if sub := &s.subject[g.subject]; first && sub.ranks != nil {
			s.rank(sub)
		}
	}
}

// forget lets go a sighting.
func (s *spread) forget(id crypto.ItemID) {
	for i := s.byID[id]; i != 0; i = s.byID[id] {
		s.remove(i, true)
	}
}

// remove lets go one subject of a sighting. counted says that it may still count.
func (s *spread) remove(i uint32, counted bool) {
	g := s.seen[i]
	if g.prev != 0 {
		s.seen[g.prev].late = g.late
	} else if k := (hourKey{g.who >> 4, hourOf(g.at)}); g.late != 0 {
		s.hours[k] = g.late
	} else {
		delete(s.hours, k)
	}
	if g.late != 0 {
		s.seen[g.late].prev = g.prev
	}
	s.unchain(i, &g)
	sub := &s.subject[g.subject]
	in := sub.group(g.who)
	place := &in.head
	for *place != i {
		place = &s.seen[*place].next
	}
	*place = g.next
	if in.n--; in.n == 0 {
		delete(sub.more, g.who)
	}
	s.seen[i] = sighting{}
	s.freeSeen = append(s.freeSeen, i)
	s.count--
	s.members[g.who>>4].count--
	if counted && sub.ranks != nil {
		s.rank(sub)
	}
	if sub.one.n == 0 && len(sub.more) == 0 {
		s.release(g.subject)
	}
}

// unchain takes i out of the subjects of its sighting.
func (s *spread) unchain(i uint32, g *sighting) {
	if s.byID[g.id] == i {
		if g.twin == 0 {
			delete(s.byID, g.id)
		} else {
			s.byID[g.id] = g.twin
		}
		return
	}
	at := s.byID[g.id]
	for s.seen[at].twin != i {
		at = s.seen[at].twin
	}
	s.seen[at].twin = g.twin
}

// release lets go a subject that nobody saw.
func (s *spread) release(n uint32) {
	sub := &s.subject[n]
	if sub.ranks != nil {
		moved := s.several[len(s.several)-1]
		s.several[sub.at], s.subject[moved].at = moved, sub.at
		s.several = s.several[:len(s.several)-1]
	}
	delete(s.subjects, sub.key)
	*sub = subject{}
	s.freeSub = append(s.freeSub, n)
}

// limit lets go the oldest hours of who said too much.
func (s *spread) limit(author uint32) {
	for s.members[author].count > memberMax {
		s.dropOldest(author)
	}
	for s.count > seenMax {
		loudest := uint32(0)
		for m := range s.members {
			if s.members[m].count > s.members[loudest].count {
				loudest = uint32(m)
			}
		}
		s.dropOldest(loudest)
	}
}

func (s *spread) dropOldest(m uint32) {
	hour := max(s.floor, s.members[m].floor) + 1
	for s.hours[hourKey{m, hour}] == 0 {
		hour++
	}
	s.dropHour(hourKey{m, hour}, true)
	s.members[m].floor = hour
}

// Seen says that a member saw something.
type Seen struct {
	Member      crypto.MemberID
	First, Last int64 // ms; First of the newest 16
	TLP         notice.TLP
	IDs         []crypto.ItemID // the newest, up to seenShown
	TakenBack   bool            // all of it
}

const seenShown = 4

// timeLine returns who saw a subject after a time (ms), the first first, as far as a
// level goes. What was taken back is in it, so that its end is understood.
func (s *spread) timeLine(sub *subject, level int, after int64) []Seen {
	by := map[uint32]*Seen{}
	var found []*sighting
	for g := range sub.groups {
		if int(g.who>>1&7) > level {
			continue
		}
		for i := g.head; i != 0; i = s.seen[i].next {
			if s.seen[i].at >= after {
				found = append(found, &s.seen[i])
			}
		}
	}
	slices.SortFunc(found, func(a, b *sighting) int {
		return cmp.Or(cmp.Compare(b.at, a.at), slices.Compare(a.id[:], b.id[:]))
	})
	for _, standing := range []bool{true, false} { // what stands first
		for _, g := range found {
			m := g.who >> 4
			if (g.back == nil) != standing || by[m] != nil && !standing && !by[m].TakenBack {
				continue
			}
			e := by[m]
			if e == nil {
				e = &Seen{Member: s.members[m].id, Last: g.at, TakenBack: !standing}
				by[m] = e
			}
			e.First = g.at
			e.TLP = notice.Stricter(e.TLP, notice.TLP(g.who>>1&7))
			if len(e.IDs) < seenShown {
				e.IDs = append(e.IDs, g.id)
			}
		}
	}
	out := make([]Seen, 0, len(by))
	for _, e := range by {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b Seen) int {
		return cmp.Or(cmp.Compare(a.First, b.First), slices.Compare(a.Member[:], b.Member[:]))
	})
	return out
}
