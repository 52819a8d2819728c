package situation

import (
	"cmp"
	"crypto/sha256"
	"iter"
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
// the same however many there are. Nearly all are of a subject that nobody else saw:
// what such a one takes is 56 + 32 bytes and two places in an index, and no pointers.
type spread struct {
	common   common
	listed   func(notice.Indicator) bool // nil = nothing is
	members  []member
	subjects rows[subject]
	byKey    *index // of subjects
	crowds   rows[crowd]
	seen     rows[sighting]
	byID     *index             // the first of a sighting's
	back     map[uint32]*taken  // of sightings that were taken back
	hours    map[hourKey]uint32 // the first of a member's hour
	several  []uint32           // subjects that several members have seen
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
	crowd uint32 // 0 while there is one group of an indicator
}

// A crowd is what else there is to a subject.
type crowd struct {
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
	head uint32 // the newest sighting, 0 = none
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

func newSpread(listed func(notice.Indicator) bool) *spread {
	s := &spread{listed: listed, common: parseCommon(commonFile), back: map[uint32]*taken{}, hours: map[hourKey]uint32{}, floor: -1}
	s.byKey = newIndex(func(row uint32) []byte { return s.subjects.at(row).key[:] })
	s.byID = newIndex(func(row uint32) []byte { return s.seen.at(row).id[:] })
	return s
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
	if first := s.byID.find(f.ID[:]); first != 0 {
		if old := s.seen.at(first); notice.TLP(old.who>>1&7) <= tlp {
			if back != nil {
				s.takeBack(reference{f.ID, author}, *back)
			}
			return nil
		}
		back = merge(back, s.back[first])
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
	machine := f.Notice.Origin != nil
	auto := address(i.Type) && machine
	common := s.common.has(i) && (auto || !address(i.Type))
	if !common && !(machine && s.listed != nil && s.listed(i)) {
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
	i := s.allocate(sighting{id: f.ID, at: at, who: w, subject: n, twin: s.byID.find(f.ID[:])})
	s.byID.set(i)
	if back != nil {
		s.back[i] = back
	}
	sub := s.subjects.at(n)
	if of.key[0] == malware {
		s.crowd(sub).spell(of.name, int(w>>1&7))
	}
	if c := s.crowdOf(sub); c != nil && c.ranks.end(levels) <= now {
		c.told = 0
	}
	g := s.group(sub, w)
	place, held := &g.head, 1
	for ; *place != 0 && s.seen.at(*place).newer(s.seen.at(i)); held++ {
		place = &s.seen.at(*place).next
	}
	s.seen.at(i).next, *place = *place, i
	oldest := i
	for ; s.seen.at(oldest).next != 0; held++ {
		oldest = s.seen.at(oldest).next
	}
	if held > groupMax {
		if oldest == i {
			s.remove(i, false)
			return nil
		}
		c := s.crowdOf(sub)
		s.remove(oldest, c != nil && c.ever != nil || back != nil)
	}
	s.note(sub, of.name, i)
	return s.began(sub, f.ID, now)
}

// newer orders the sightings of a group.
func (a *sighting) newer(b *sighting) bool {
	return cmp.Or(cmp.Compare(b.at, a.at), slices.Compare(a.id[:], b.id[:])) < 0
}

// intern returns the number of a subject.
func (s *spread) intern(key notice.Key) uint32 {
	n := s.byKey.find(key[:])
	if n == 0 {
		n = s.subjects.add(subject{key: key})
		s.byKey.set(n)
	}
	return n
}

// crowdOf returns the crowd of a subject, nil if it has none.
func (s *spread) crowdOf(sub *subject) *crowd {
	if sub.crowd == 0 {
		return nil
	}
	return s.crowds.at(sub.crowd)
}

// crowd returns the crowd of a subject, and makes it.
func (s *spread) crowd(sub *subject) *crowd {
	if sub.crowd == 0 {
		sub.crowd = s.crowds.add(crowd{})
	}
	return s.crowds.at(sub.crowd)
}

// allocate stores a sighting and puts it into its member's hour.
func (s *spread) allocate(g sighting) uint32 {
	k := hourKey{g.who >> 4, hourOf(g.at)}
	g.late = s.hours[k]
	i := s.seen.add(g)
	if g.late != 0 {
		s.seen.at(g.late).prev = i
	}
	s.hours[k] = i
	s.count++
	s.members[k.member].count++
	return i
}

// group returns what a member saw of a subject under one marking.
func (s *spread) group(sub *subject, w uint32) *group {
	if sub.one.head != 0 && sub.one.who == w {
		return &sub.one
	}
	if c := s.crowdOf(sub); c != nil && c.more[w] != nil {
		return c.more[w]
	}
	if sub.one.head == 0 {
		sub.one = group{who: w}
		return &sub.one
	}
	c := s.crowd(sub)
	if c.more == nil {
		c.more = map[uint32]*group{}
	}
	c.more[w] = &group{who: w}
	return c.more[w]
}

// groups yields the groups of a subject, in no order.
func (s *spread) groups(sub *subject) iter.Seq[*group] {
	return func(yield func(*group) bool) {
		if sub.one.head != 0 && !yield(&sub.one) {
			return
		}
		if c := s.crowdOf(sub); c != nil {
			for _, g := range c.more {
				if !yield(g) {
					return
				}
			}
		}
	}
}

// note brings the ranks of a subject up to a new sighting.
func (s *spread) note(sub *subject, name string, i uint32) {
	c, g, back := s.crowdOf(sub), s.seen.at(i), s.back[i]
	if c == nil {
		return
	}
	if c.ranks == nil {
		others := false
		for o := range s.groups(sub) {
			others = others || o.who>>4 != g.who>>4
		}
		if !others {
			return
		}
		c.at = len(s.several)
		if sub.key[0] != malware {
			c.name = name
		}
		s.several = append(s.several, g.subject)
		s.rank(sub)
		return
	}
	if back != nil && c.ever == nil {
		s.rank(sub)
		return
	}
	if back == nil {
		c.ranks.add(g)
	}
	if c.ever != nil {
		c.ever.add(g)
	}
}

// rank makes the ranks of a subject from its sightings.
func (s *spread) rank(sub *subject) {
	ranks, ever, back := &ranks{}, &ranks{}, false
	for g := range s.groups(sub) {
		for i := g.head; i != 0; i = s.seen.at(i).next {
			ever.add(s.seen.at(i))
			if s.back[i] == nil {
				ranks.add(s.seen.at(i))
			} else {
				back = true
			}
		}
	}
	c := s.crowdOf(sub)
	if c.ranks, c.ever = ranks, nil; back {
		c.ever = ever
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
func (s *spread) began(sub *subject, trigger crypto.ItemID, now int64) *Started {
	c := s.crowdOf(sub)
	if c == nil {
		return nil
	}
	for level := 1; level <= levels && (c.told == 0 || level < c.told); level++ {
		if c.ranks.end(level) > now {
			c.told = level
			return &Started{c.what(sub.key, level), notice.TLP(level), trigger, s.timeLine(sub, level, now-windowMs)}
		}
	}
	return nil
}

// spell notes how a family or tool is spelt by a word of some level: of several
// spellings each level has always the same, and none of a word beyond it.
func (c *crowd) spell(name string, level int) {
	if c.names == nil {
		c.names = &[levels]string{}
	}
	for ; level <= levels; level++ {
		if at := &c.names[level-1]; *at == "" || name < *at {
			*at = name
		}
	}
}

func (c *crowd) what(key notice.Key, level int) What {
	if key[0] == malware {
		return What{Kind: "malware", Value: c.names[level-1]}
	}
	return What{Kind: "indicator", Type: notice.Type(key[0]).String(), Value: c.name}
}

// takeBack marks a sighting as taken back by its author.
func (s *spread) takeBack(ref reference, t taken) {
	for i := s.byID.find(ref.id[:]); i != 0; i = s.seen.at(i).twin {
		g := s.seen.at(i)
		if g.who>>4 != ref.author {
			return
		}
		first := s.back[i] == nil
		s.back[i] = merge(s.back[i], &t)
		sub := s.subjects.at(g.subject)
		if c := s.crowdOf(sub); first && c != nil && c.ranks != nil {
			s.rank(sub)
		}
	}
}

// forget lets go a sighting.
func (s *spread) forget(id crypto.ItemID) {
	for i := s.byID.find(id[:]); i != 0; i = s.byID.find(id[:]) {
		s.remove(i, true)
	}
}

// remove lets go one subject of a sighting. counted says that it may still count.
func (s *spread) remove(i uint32, counted bool) {
	g := *s.seen.at(i)
	if g.prev != 0 {
		s.seen.at(g.prev).late = g.late
	} else if k := (hourKey{g.who >> 4, hourOf(g.at)}); g.late != 0 {
		s.hours[k] = g.late
	} else {
		delete(s.hours, k)
	}
	if g.late != 0 {
		s.seen.at(g.late).prev = g.prev
	}
	s.unchain(i, &g)
	sub := s.subjects.at(g.subject)
	in := s.group(sub, g.who)
	place := &in.head
	for *place != i {
		place = &s.seen.at(*place).next
	}
	*place = g.next
	c := s.crowdOf(sub)
	if in.head == 0 && c != nil {
		delete(c.more, g.who)
	}
	s.seen.drop(i)
	delete(s.back, i)
	s.count--
	s.members[g.who>>4].count--
	if counted && c != nil && c.ranks != nil {
		s.rank(sub)
	}
	if sub.one.head == 0 && (c == nil || len(c.more) == 0) {
		s.release(g.subject)
	}
}

// unchain takes i out of the subjects of its sighting.
func (s *spread) unchain(i uint32, g *sighting) {
	at := s.byID.find(g.id[:])
	if at == i {
		if g.twin == 0 {
			s.byID.drop(g.id[:])
		} else {
			s.byID.set(g.twin)
		}
		return
	}
	for s.seen.at(at).twin != i {
		at = s.seen.at(at).twin
	}
	s.seen.at(at).twin = g.twin
}

// release lets go a subject that nobody saw.
func (s *spread) release(n uint32) {
	sub := s.subjects.at(n)
	if c := s.crowdOf(sub); c != nil {
		if c.ranks != nil {
			moved := s.several[len(s.several)-1]
			s.several[c.at], s.crowdOf(s.subjects.at(moved)).at = moved, c.at
			s.several = s.several[:len(s.several)-1]
		}
		s.crowds.drop(sub.crowd)
	}
	s.byKey.drop(sub.key[:])
	s.subjects.drop(n)
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

// perHour counts the sightings of the last hours of Window, the oldest first. A sighting
// of several subjects is one: of its rows only the last has no twin.
func (s *spread) perHour(level int, now int64) []int {
	out := make([]int, Window/time.Hour)
	first := hourOf(now) - int64(len(out)) + 1
	for i := uint32(1); i <= s.seen.last; i++ {
		g := s.seen.at(i)
		hour := hourOf(g.at) - first
		if g.subject == 0 || g.twin != 0 || hour < 0 || hour >= int64(len(out)) || int(g.who>>1&7) > level || s.back[i] != nil {
			continue
		}
		out[hour]++
	}
	return out
}

// timeLine returns who saw a subject after a time (ms), the first first, as far as a
// level goes. What was taken back is in it, so that its end is understood.
func (s *spread) timeLine(sub *subject, level int, after int64) []Seen {
	by := map[uint32]*Seen{}
	var found []uint32
	for g := range s.groups(sub) {
		if int(g.who>>1&7) > level {
			continue
		}
		for i := g.head; i != 0; i = s.seen.at(i).next {
			if s.seen.at(i).at >= after {
				found = append(found, i)
			}
		}
	}
	slices.SortFunc(found, func(a, b uint32) int {
		x, y := s.seen.at(a), s.seen.at(b)
		return cmp.Or(cmp.Compare(y.at, x.at), slices.Compare(x.id[:], y.id[:]))
	})
	for _, standing := range []bool{true, false} { // what stands first
		for _, i := range found {
			g := s.seen.at(i)
			m := g.who >> 4
			if (s.back[i] == nil) != standing || by[m] != nil && !standing && !by[m].TakenBack {
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
