package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
)

// Flags say what is doubtful about an envelope. Its words stay visible.
type Flags uint8

const (
	ClockOff Flags = 1 << 0 // urgent, and its author's clock is more than 5 min off
	Mismatch Flags = 1 << 1 // prev or time do not fit a neighbour in its chain
	Forked   Flags = 1 << 2 // its author signed another envelope with the same number
)

// An Entry is one envelope that passed the accept order, own or foreign.
type Entry struct {
	Envelope *crypto.Envelope // erased: stored without items
	Items    []Item
	Received int64 // ms
	Flags    Flags

	// Of a named envelope: its items as they were opened, and, if it is this
	// node's own, the members that it waits for.
	Opened [][]byte
	To     []crypto.MemberID
}

// An Item is one decoded item of an envelope.
type Item struct {
	Index  int
	ID     crypto.ItemID
	Notice *notice.Notice // nil if the item was refused alone
	Err    string         // why; such an item is stored in its envelope and not indexed
}

// Appended says what became of an Entry.
type Appended struct {
	Local     uint64 // its local number; that of the one stored before if Duplicate
	Duplicate bool   // it was here already, or is below its author's floor and expired
	Fork      bool   // its number in the chain was, or is now, taken by another envelope
	Withdrawn bool   // it is not linked to its chain's cut, and kept apart at best
}

const keysPerItem = 4 // item, evidence, summary, and now and then a reference

// Append stores envelopes, in the order given, and indexes their items. It
// returns when all are durable. It is idempotent: an envelope that is here
// already changes nothing. An item that is here already, in another envelope or
// waiting in the outbox, counts once; one that waited is signed from now on.
//
// Of envelopes with the same number in one chain the two with the lowest ids
// are kept, whatever the order they come in; see Forks.
//
// A batch of up to 17 envelopes of 512 items is one transaction: stored whole or
// not at all. A larger one is split between envelopes, and after an error some
// of it may be stored. Frontier then says what is; a caller that signs must go
// on from there, lest it sign a number twice.
func (s *Store) Append(ctx context.Context, entries []Entry) ([]Appended, error) {
	out := make([]Appended, len(entries))
	var ops []*op
	var first error
	most := keysMax
	if estimate(entries) > keysMax {
		most = keysMax / 2 // one half is staged while another is committed
	}
	for rest := entries; len(rest) > 0 && first == nil; {
		n := 1
		for n < len(rest) && estimate(rest[:n+1]) <= most {
			n++
		}
		keys := estimate(rest[:n])
		at := len(entries) - len(rest)
		var o *op
		if o, first = s.appendPart(ctx, rest[:n], out[at:at+n], keys); o != nil {
			ops = append(ops, o)
		}
		rest = rest[n:]
	}
	for _, o := range ops {
		if err := s.await(ctx, o); first == nil {
			first = err
		}
	}
	if first == nil && s.o.Cut != nil {
		first = s.settleAfter(ctx, entries)
	}
	if first != nil {
		return nil, fmt.Errorf("append: %w", first)
	}
	return out, nil
}

// estimate returns about how many keys entries write.
func estimate(entries []Entry) (keys int) {
	for i := range entries {
		keys += 8 + keysPerItem*len(entries[i].Items) + 2*len(entries[i].To)
	}
	return keys
}

func (s *Store) appendPart(ctx context.Context, entries []Entry, out []Appended, keys int) (*op, error) {
	part := make([]prepared, len(entries))
	for i := range part {
		var err error
		if part[i], err = prepare(&entries[i]); err != nil {
			return nil, err
		}
	}
	return s.hand(ctx, keys, func(b *batch) error {
		fromAbove := slices.ContainsFunc(part, func(p prepared) bool { return s.cutOf(p.envelope.Header.Chain()).Limited })
		for i := range part {
			if fromAbove { // a batch is sorted, and a limited chain is linked downwards
				i = len(part) - 1 - i
			}
			var err error
			if out[i], err = b.append(&part[i]); err != nil {
				return fmt.Errorf("envelope %s: %w", part[i].envelope.ID, err)
			}
		}
		return nil
	})
}

// A prepared entry has all that can be computed before the writer's turn.
type prepared struct {
	envelope *crypto.Envelope
	flags    Flags
	received int64
	value    []byte
	words    []word
	to       []crypto.MemberID
}

// A word is an item on its way into the indexes.
type word struct {
	id       crypto.ItemID
	index    int
	notice   *notice.Notice
	about    notice.Key // subject of notice
	evidence evidence   // without member
}

func prepare(e *Entry) (prepared, error) {
	h := &e.Envelope.Header
	p := prepared{envelope: e.Envelope, flags: e.Flags, received: e.Received, to: e.To}
	if h.Audience == crypto.AudienceNamed {
		content, err := canon.Marshal(e.Opened)
		if err != nil {
			return prepared{}, fmt.Errorf("encode opened items: %w", err)
		}
		p.value = encodeNamed(byte(e.Flags), e.Received, e.Envelope.Raw, content)
	} else if h.Seq == 0 || h.Epoch == 0 {
		return prepared{}, errors.New("an envelope without a place in a chain that is not sealed")
	} else {
		p.value = append(appendEntryHead(make([]byte, 0, entryHeadSize+len(e.Envelope.Raw)), entryEnvelope, byte(e.Flags), e.Received), e.Envelope.Raw...)
	}
	p.words = make([]word, 0, len(e.Items))
	for i := range e.Items {
		if n := e.Items[i].Notice; n != nil {
			p.words = append(p.words, newWord(e.Items[i].ID, e.Items[i].Index, n, notice.TLP(h.TLP), h.Exercise, h.Expiry, e.Flags.late(h, e.Received)))
		}
	}
	return p, nil
}

// late is how much later than its author says (ms) what an envelope says stops
// counting here. By a clock that is a year behind it has stopped when it comes,
// by one that is ahead it would not for a year: an urgent word of such an author
// lives as if it had been said when it came.
func (f Flags) late(h *crypto.Header, received int64) int64 {
	if f&ClockOff == 0 {
		return 0
	}
	return received - h.Time
}

func newWord(id crypto.ItemID, index int, n *notice.Notice, tlp notice.TLP, exercise bool, expiry, late int64) word {
	w := word{id: id, index: index, notice: n, about: subject(n)}
	w.evidence = evidence{
		kind: n.Kind, tlp: tlp, exercise: exercise, count: n.Count,
		first: n.FirstSeen, last: n.LastSeen, expiry: min(n.DefaultExpiry(), expiry) + late, whole: true,
	}
	if n.Origin != nil {
		w.evidence.source = n.Origin.Source
	}
	if n.Context != nil {
		w.evidence.family = n.Context.Family
	}
	if n.FirstSeen == 0 {
		w.evidence.first = n.Created
	}
	if n.LastSeen == 0 {
		w.evidence.last = w.evidence.first
	}
	return w
}

// append stages one envelope.
func (b *batch) append(p *prepared) (Appended, error) {
	e := p.envelope
	h := &e.Header
	if h.Audience == crypto.AudienceNamed {
		return b.appendNamed(p)
	}
	c := b.chain(h.Chain())
	if h.Seq < c.swept { // its author no longer needs it
		return Appended{Duplicate: true}, nil
	}
	if err := b.recut(c); err != nil {
		return Appended{}, err
	}
	if c.cut.Limited {
		return b.appendCut(c, p)
	}
	at := slotAt{c.number, h.Seq}
	if c.holding.Has(h.Seq) {
		held, taken, err := b.slot(at)
		if err != nil {
			return Appended{}, err
		}
		if taken && held.id == e.ID {
			return Appended{Local: held.local, Duplicate: true}, nil
		}
		if taken {
			return b.fork(p, c, at, held)
		}
	}
	now := slot{local: b.nextLocal(), id: e.ID, time: h.Time, expiry: h.Expiry, floor: h.Floor, urgent: h.Urgent, bare: e.Erased()}
	if err := b.putSlot(at, now); err != nil {
		return Appended{}, err
	}
	b.hold(c, p)
	return Appended{Local: now.local}, b.enter(p, now.local, p.flags)
}

// hold adds an envelope to the holding of its chain.
func (b *batch) hold(c *chainState, p *prepared) {
	h := &p.envelope.Header
	c.holding = c.holding.With(mesh.Slot{
		Chain: h.Chain(), Seq: h.Seq, ID: p.envelope.ID, Time: h.Time, Floor: h.Floor, Urgent: h.Urgent,
	}, b.now)
	c.received = max(c.received, p.received)
	c.dirty = true
}

// enter stages the message of an envelope and indexes its items.
func (b *batch) enter(p *prepared, local uint64, flags Flags) error {
	h := &p.envelope.Header
	p.value[1] = byte(flags)
	if err := b.put(entryKey(local), p.value); err != nil {
		return err
	}
	b.meta.envelopes++
	if p.envelope.Erased() {
		return nil
	}
	if err := b.set(expiryKey(h.Expiry+flags.late(h, p.received), local), nil); err != nil {
		return err
	}
	if len(p.words) == 0 {
		return nil
	}
	member, err := b.member(h.Author)
	if err != nil {
		return err
	}
	for i := range p.words {
		w := &p.words[i]
		place := itemState{state: itemSigned, local: local, index: uint16(w.index), member: member, first: local}
		if _, err := b.state(w, place); err != nil {
			return fmt.Errorf("item %d: %w", w.index, err)
		}
	}
	return nil
}

// fork keeps the two envelopes with the lowest ids of all that were signed with
// one number: the lower in the slot, the other beside it.
func (b *batch) fork(p *prepared, c *chainState, at slotAt, held slot) (Appended, error) {
	e := p.envelope
	second, twice, err := b.second(at)
	if err != nil {
		return Appended{}, err
	}
	if twice && second.id == e.ID {
		return Appended{Local: second.local, Duplicate: true, Fork: true}, nil
	}
	if twice && !lowerID(e.ID, second.id) {
		return Appended{Duplicate: true, Fork: true}, nil // proven already, and more says no more
	}
	if twice { // it displaces the higher of the two
		if err := b.drop(second.local); err != nil {
			return Appended{}, err
		}
		if err := b.remove(entryKey(second.local)); err != nil {
			return Appended{}, err
		}
		b.meta.envelopes--
	} else if err := b.flag(held.local, Forked); err != nil {
		return Appended{}, err
	}
	h := &e.Header
	now := slot{local: b.nextLocal(), id: e.ID, time: h.Time, expiry: h.Expiry, floor: h.Floor, urgent: h.Urgent, bare: e.Erased()}
	lower, higher := held, now
	if lowerID(now.id, held.id) {
		lower, higher = now, held
		b.hold(c, p)
	}
	if err := b.putSlot(at, lower); err != nil {
		return Appended{}, err
	}
	if err := b.set(slotKey(tableFork, at.chain, at.seq), higher.encode()); err != nil {
		return Appended{}, err
	}
	b.forks[at] = higher
	c.holding, c.dirty = c.holding.WithFork(mesh.Fork{Seq: at.seq, ID: higher.id}), true
	return Appended{Local: now.local, Fork: true}, b.enter(p, now.local, p.flags|Forked)
}

func (b *batch) second(at slotAt) (slot, bool, error) {
	if s, ok := b.forks[at]; ok {
		return s, s != slot{}, nil
	}
	v, err := b.get(slotKey(tableFork, at.chain, at.seq))
	if err != nil || v == nil {
		return slot{}, false, err
	}
	s, err := decodeSlot(v)
	return s, err == nil, err
}

func lowerID(a, b crypto.EnvelopeID) bool { return string(a[:]) < string(b[:]) }

// flag marks a stored envelope.
func (b *batch) flag(local uint64, flags Flags) error {
	v, err := b.read(entryKey(local))
	if err != nil {
		return err
	}
	if len(v) < entryHeadSize {
		return fmt.Errorf("entry %d: %w", local, errCorrupt)
	}
	v[1] |= byte(flags)
	return b.put(entryKey(local), v)
}
