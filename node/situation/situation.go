// Package situation is the regional picture: who is under attack, down or silent, who
// needs what, which links are cut, what spreads. It is pure state: notices go in, in
// any order, and a [View] comes out; it reads no clock, no disk and no network. See
// DESIGN.md.
package situation

import (
	"cmp"
	"slices"
	"sync"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// Limits of what one author's notices take. The newest stay, in the author's order,
// of each audience and marking: what an author says too much of pushes out its own.
var shelfMax = [...]int{
	notice.KindDispute: 256, notice.KindQuestion: 64, notice.KindProfile: 2, notice.KindMayday: 16, notice.KindService: 256,
	notice.KindAssistance: 256, notice.KindLink: 256, notice.KindAdvisory: 64, notice.KindResponse: 256,
}

// aheadMax bounds the retractions that are remembered before what they take back.
// Beyond it the word of who adds counts (Fact.Retracted).
const aheadMax = 65_536

// An Order is where a notice stands among its author's in one chain. What is not
// signed yet comes last.
type Order struct {
	Unsigned bool
	Serial   uint32
	Epoch    uint32
	Seq      uint64 // unsigned: its local number
	Time     int64  // ms, of the envelope: orders what is sealed, and so in no chain
	Index    int
}

func (o Order) compare(b Order) int {
	unsigned := 0
	if o.Unsigned != b.Unsigned {
		if unsigned = -1; o.Unsigned {
			unsigned = 1
		}
	}
	return cmp.Or(unsigned, cmp.Compare(o.Serial, b.Serial), cmp.Compare(o.Epoch, b.Epoch), cmp.Compare(o.Seq, b.Seq),
		cmp.Compare(o.Time, b.Time), cmp.Compare(o.Index, b.Index))
}

// A Fact is a notice as it is here. Its author speaks for itself only.
type Fact struct {
	ID        crypto.ItemID
	Author    crypto.MemberID
	Notice    *notice.Notice // not changed by the picture, and not to be changed
	TLP       notice.TLP
	Audience  crypto.Audience
	Order     Order
	Received  int64 // ms
	Expiry    int64 // ms
	Exercise  bool
	ClockOff  bool // its author's clock is known to be wrong: when it came counts
	Retracted bool // known to be taken back; a retraction that is added says it as well
}

// at is when the fact was said, never after it came.
func (f *Fact) at() int64 {
	if f.ClockOff {
		return f.Received
	}
	return min(f.Notice.Created, f.Received)
}

// seen is when a sighting was seen last, never after it came.
func (f *Fact) seen() int64 {
	if f.ClockOff {
		return f.Received
	}
	return min(f.Notice.LastSeen, f.Received)
}

// A Picture is safe for concurrent use.
type Picture struct {
	mu      sync.Mutex
	authors map[crypto.MemberID]uint32
	shelves map[shelfKey]*shelf
	byID    map[crypto.ItemID]*entry
	ahead   map[reference]taken
	line    []reference // of ahead, in order of arrival; a ring
	next    int         // in line
	spread  *spread
}

// A reference is what an author says it takes back.
type reference struct {
	id     crypto.ItemID
	author uint32
}

// A taken is what is known of a retraction. Its zero id: only that there is one.
type taken struct {
	id  crypto.ItemID
	at  int64 // ms, when it came
	tlp notice.TLP
}

type shelfKey struct {
	author   uint32
	kind     notice.Kind
	audience crypto.Audience
	tlp      notice.TLP
	answer   notice.Act // claims and confirms stand apart: others' claims push out no request
}

// A shelf holds what one author said of one kind in one chain, in order.
type shelf struct{ entries []*entry }

type entry struct {
	Fact
	key  shelfKey
	back *taken // taken back
}

func (e *entry) compare(b *entry) int {
	return cmp.Or(e.Order.compare(b.Order), slices.Compare(e.ID[:], b.ID[:]))
}

// New returns an empty picture. listed, unless nil, says which values are known to be
// harmless or everybody's: those spread only as far as people report them.
func New(listed func(notice.Indicator) bool) *Picture {
	return &Picture{
		authors: map[crypto.MemberID]uint32{}, shelves: map[shelfKey]*shelf{}, byID: map[crypto.ItemID]*entry{},
		ahead: map[reference]taken{}, spread: newSpread(listed),
	}
}

// Add takes a notice in at time now (ms), and returns what begins to spread by it.
// The same notice may be added again, with another place or marking too: the signed
// word and the looser marking count.
func (p *Picture) Add(f Fact, now int64) []Started {
	p.mu.Lock()
	defer p.mu.Unlock()
	author := p.author(f.Author)
	switch kind := f.Notice.Kind; {
	case kind == notice.KindRetraction:
		p.takeBack(reference{*f.Notice.Ref, author}, taken{f.ID, f.Received, f.TLP})
		return nil
	case kind == notice.KindSighting:
		return p.sighting(&f, author, now)
	case kind == notice.KindDispute && f.Notice.Ref == nil, int(kind) >= len(shelfMax), shelfMax[kind] == 0:
		return nil // no word about the picture
	}
	p.shelve(&f, author)
	return nil
}

func (p *Picture) author(id crypto.MemberID) uint32 {
	n, ok := p.authors[id]
	if !ok {
		n = uint32(len(p.authors))
		p.authors[id] = n
		p.spread.members = append(p.spread.members, member{id: id})
	}
	return n
}

func (p *Picture) sighting(f *Fact, author uint32, now int64) []Started {
	p.spread.advance(now)
	if f.Exercise {
		return nil
	}
	back := p.known(f, author)
	return p.spread.add(f, author, back, now)
}

// known returns what is known of the retraction of a fact, nil if it stands.
func (p *Picture) known(f *Fact, author uint32) *taken {
	if t, ok := p.ahead[reference{f.ID, author}]; ok {
		return &t
	}
	if f.Retracted {
		return &taken{}
	}
	return nil
}

// takeBack marks what an author takes back. It is remembered in any case: what it
// speaks of may come later, or come again.
func (p *Picture) takeBack(ref reference, t taken) {
	if before, ok := p.ahead[ref]; ok {
		t = before.earlier(t)
		p.ahead[ref] = t
	} else {
		p.remember(ref, t)
	}
	if e := p.byID[ref.id]; e != nil && e.key.author == ref.author {
		e.back = merge(e.back, &t)
	}
	p.spread.takeBack(ref, t)
}

func (p *Picture) remember(ref reference, t taken) {
	if len(p.line) < aheadMax {
		p.line = append(p.line, ref)
	} else {
		delete(p.ahead, p.line[p.next])
		p.line[p.next] = ref
		p.next = (p.next + 1) % aheadMax
	}
	p.ahead[ref] = t
}

// earlier returns the one of two retractions that counts: that which is known by its
// id, and came first.
func (t taken) earlier(b taken) taken {
	switch none := (crypto.ItemID{}); {
	case t.id == none:
		return b
	case b.id == none || t.at < b.at || t.at == b.at && slices.Compare(t.id[:], b.id[:]) <= 0:
		return t
	}
	return b
}

func merge(a, b *taken) *taken {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	t := a.earlier(*b)
	return &t
}

// shelve puts a fact on its author's shelf.
func (p *Picture) shelve(f *Fact, author uint32) {
	e := &entry{Fact: *f, back: p.known(f, author)}
	if before := p.byID[f.ID]; before != nil {
		e.back = merge(before.back, e.back)
		if before.Order.compare(e.Order) < 0 {
			e.Order = before.Order
		}
		if before.TLP.House() < e.TLP.House() {
			e.TLP, e.Audience = before.TLP, before.Audience
		}
		e.Received = min(before.Received, e.Received)
		e.Expiry = max(before.Expiry, e.Expiry)
		p.unshelve(before)
	}
	e.key = shelfKey{author: author, kind: f.Notice.Kind, audience: e.Audience, tlp: e.TLP}
	if a := f.Notice.Assistance; a != nil && (a.Act == notice.ActClaim || a.Act == notice.ActConfirm) {
		e.key.answer = a.Act
	}
	s := p.shelves[e.key]
	if s == nil {
		s = &shelf{}
		p.shelves[e.key] = s
	}
	i, _ := slices.BinarySearchFunc(s.entries, e, (*entry).compare)
	s.entries = slices.Insert(s.entries, i, e)
	p.byID[f.ID] = e
	if len(s.entries) > shelfMax[f.Notice.Kind] {
		p.unshelve(s.entries[0])
	}
}

func (p *Picture) unshelve(e *entry) {
	s := p.shelves[e.key]
	if i, found := slices.BinarySearchFunc(s.entries, e, (*entry).compare); found {
		s.entries = slices.Delete(s.entries, i, i+1)
	}
	delete(p.byID, e.ID)
}
