package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
)

// A Cut says what counts of a chain. The zero Cut: all of it.
type Cut struct {
	Limited bool
	// Of a limited chain what counts is the envelope with this number and id and
	// what its links lead down to, without a gap. Number 0: nothing.
	Seq uint64
	ID  crypto.EnvelopeID
}

// WithdrawnMax is how many envelopes of one serial are kept apart that lie beyond
// a cut, or came when they could not be linked to it.
const WithdrawnMax = 1024

const (
	settleKeys  = 9000     // keys that one step of settling writes, about
	settleBytes = 1 << 20  // and bytes
	settleSmall = 64 << 10 // with Options.Small
	settleLinks = 4096     // envelopes that one step looks at
	restoreRows = 64       // or brings back
	recordsMax  = 1024     // withdrawn envelopes removed in one transaction
)

// Recut asks Options.Cut about every chain, or only about those that are limited
// or unsettled, and brings what is stored into agreement: what counts no longer
// leaves all indexes, counters and the frontier, and is kept apart; what counts
// again comes back from there. It works in steps, each of them durable; after a
// crash call it again. It returns when nothing is left to do.
func (s *Store) Recut(ctx context.Context, all bool) error {
	if s.o.Cut == nil {
		return nil
	}
	var todo []crypto.ChainID
	s.mu.RLock()
	for id, c := range s.chains {
		if (all || c.cut.Limited) && s.cutOf(id) != c.cut || c.unsettled {
			todo = append(todo, id)
		}
	}
	s.mu.RUnlock()
	for _, id := range todo {
		if err := s.agree(ctx, id); err != nil {
			return fmt.Errorf("withdraw what a revocation cuts off: %w", err)
		}
	}
	return nil
}

// settleAfter settles the chains of entries where there is need.
func (s *Store) settleAfter(ctx context.Context, entries []Entry) error {
	for i := range entries {
		id := entries[i].Envelope.Header.Chain()
		s.mu.RLock()
		c := s.chains[id]
		s.mu.RUnlock()
		if c == nil || !c.unsettled {
			continue
		}
		if err := s.agree(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) agree(ctx context.Context, id crypto.ChainID) error {
	for done := false; !done; {
		err := s.do(ctx, keysMax, func(b *batch) (err error) {
			done, err = b.agree(b.chain(id))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// limited reports whether only a part of a chain counts.
func (s *Store) limited(chain crypto.ChainID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.chains[chain]
	return c != nil && c.cut.Limited
}

// Linked reports what is known of an envelope of a limited chain: that it is
// linked to the cut, or that it never will be, or neither yet.
func (s *Store) Linked(chain crypto.ChainID, seq uint64, id crypto.EnvelopeID) (linked, never bool) {
	s.mu.RLock()
	c := s.chains[chain]
	s.mu.RUnlock()
	switch {
	case c == nil || !c.cut.Limited:
		return false, false
	case seq+1 == c.low:
		return id == c.next, id != c.next
	case seq >= c.low && seq <= c.cut.Seq:
		held, ok := s.Slot(chain, seq)
		return ok && held == id, ok && held != id
	}
	return false, seq > c.cut.Seq
}

// cutOf returns the cut in force.
func (s *Store) cutOf(chain crypto.ChainID) Cut {
	if s.o.Cut == nil {
		return Cut{}
	}
	cut := s.o.Cut(chain)
	if !cut.Limited {
		return Cut{}
	}
	return cut
}

// recut makes the cut in force that of the chain. What is stored is then to be
// settled; nothing of a limited chain is in the frontier before it is linked.
func (b *batch) recut(c *chainState) error {
	cut := b.s.cutOf(c.holding.Chain)
	if cut == c.cut {
		return nil
	}
	c.cut, c.low, c.next, c.unsettled, c.dirty = cut, 0, crypto.EnvelopeID{}, true, true
	c.holding = mesh.Holding{Chain: c.holding.Chain}
	if cut.Limited {
		c.low, c.next = cut.Seq+1, cut.ID
		return nil
	}
	return b.rehold(c)
}

// A spending is what one step of settling may still write and read.
type spending struct{ keys, bytes, links int }

func (b *batch) allowance() *spending {
	sp := &spending{settleKeys, settleBytes, settleLinks}
	if b.s.o.Small {
		sp.bytes = settleSmall
	}
	return sp
}

func (sp *spending) spent() bool { return sp.keys <= 0 || sp.bytes <= 0 || sp.links <= 0 }

func (sp *spending) pay(count uint16, bytes int) {
	sp.keys -= 8 + keysPerItem*int(count)
	sp.bytes -= bytes
}

// agree does one step towards what is stored agreeing with the cut. It reports
// whether nothing is left to do.
func (b *batch) agree(c *chainState) (done bool, err error) {
	if err := b.recut(c); err != nil {
		return false, err
	}
	if !c.unsettled {
		return true, nil
	}
	sp := b.allowance()
	if !c.cut.Limited {
		done, err = b.restoreAll(c, sp)
	} else if done, err = b.linkDown(c, sp); err == nil && done {
		done, err = b.withdrawRest(c, sp)
	}
	if err == nil && done {
		c.unsettled, c.dirty = false, true
	}
	return done, err
}

// linkDown adds to the holding what the links from the cut lead to, wherever it
// is. It is done at the first gap.
func (b *batch) linkDown(c *chainState, sp *spending) (done bool, err error) {
	for c.low > 1 {
		if sp.spent() {
			return false, nil
		}
		sp.links--
		if c.low <= c.swept {
			c.holdSwept()
			return true, nil
		}
		if found, err := b.link(c, sp); err != nil || !found {
			return true, err
		}
	}
	return true, nil
}

// holdSwept adds to the holding what was held, has expired and is deleted.
func (c *chainState) holdSwept() {
	from, ranges := max(c.holding.Floor, 1), slices.Clone(c.holding.Ranges)
	switch {
	case from >= c.swept || len(ranges) == 0 || ranges[0].From <= from:
		return
	case ranges[0].From <= c.swept:
		ranges[0].From = from
	default:
		ranges = slices.Insert(ranges, 0, mesh.Range{From: from, To: c.swept - 1})
	}
	c.holding.Ranges, c.dirty = ranges, true
}

// link adds the one envelope that counts below what is linked, if it is here.
func (b *batch) link(c *chainState, sp *spending) (found bool, err error) {
	at := slotAt{c.number, c.low - 1}
	first, taken, err := b.slot(at)
	if err != nil {
		return false, err
	}
	second, twice, err := b.second(at)
	if err != nil {
		return false, err
	}
	switch {
	case taken && first.id == c.next:
		if twice {
			err = b.withdrawSecond(c, at, second, sp)
		}
	case twice && second.id == c.next:
		if err = b.withdrawFirst(c, at, first, sp); err == nil {
			err = b.deleteFork(at)
		}
		first = second
	default:
		return b.linkWithdrawn(c, at, sp)
	}
	if err != nil {
		return false, err
	}
	if twice {
		if err := b.putSlot(at, first); err != nil {
			return false, err
		}
	}
	h, err := b.proven(first.local)
	if err != nil {
		return false, err
	}
	b.extend(c, h, first.id)
	return true, nil
}

// proven returns the header of a stored envelope, and takes back the doubts about
// it that others in its place or beside it had raised: the cut vouches for it.
func (b *batch) proven(local uint64) (*crypto.Header, error) {
	v, err := b.read(entryKey(local))
	if err != nil {
		return nil, err
	}
	s, err := parseEntry(v)
	if err != nil {
		return nil, fmt.Errorf("local %d: %w", local, err)
	}
	if v[1]&byte(Forked|Mismatch) == 0 {
		return &s.Header, nil
	}
	v[1] &^= byte(Forked | Mismatch)
	return &s.Header, b.put(entryKey(local), v)
}

// parseEntry reads the envelope of an entry without cutting it into items.
func parseEntry(v []byte) (*crypto.Envelope, error) {
	e, err := decodeEntry(v)
	if err != nil {
		return nil, err
	}
	if e.kind != entryEnvelope {
		return nil, fmt.Errorf("entry: %w", errCorrupt)
	}
	return crypto.ParseEnvelope(e.rest)
}

// extend makes an envelope the lowest that is linked.
func (b *batch) extend(c *chainState, h *crypto.Header, id crypto.EnvelopeID) {
	c.holding = c.holding.With(mesh.Slot{Chain: h.Chain(), Seq: h.Seq, ID: id, Time: h.Time, Floor: h.Floor, Urgent: h.Urgent}, b.now)
	c.low, c.next, c.dirty = h.Seq, h.Prev, true
}

// linkWithdrawn brings back the one envelope that counts below what is linked.
func (b *batch) linkWithdrawn(c *chainState, at slotAt, sp *spending) (found bool, err error) {
	key, value, err := b.withdrawn(at, c.next)
	if err != nil || key == nil {
		return false, err
	}
	if err := b.withdrawAt(c, at, sp); err != nil {
		return false, err
	}
	p, err := b.takeBack(c, key, value)
	if err != nil {
		return false, err
	}
	sp.pay(p.envelope.Header.Count, len(value))
	_, err = b.countNext(c, at, p)
	return true, err
}

// countNext stores the one envelope that counts below what is linked.
func (b *batch) countNext(c *chainState, at slotAt, p *prepared) (Appended, error) {
	h := &p.envelope.Header
	now := slot{local: b.nextLocal(), id: p.envelope.ID, time: h.Time, expiry: h.Expiry, floor: h.Floor, urgent: h.Urgent, bare: p.envelope.Erased()}
	if err := b.putSlot(at, now); err != nil {
		return Appended{}, err
	}
	b.extend(c, h, p.envelope.ID)
	c.received = max(c.received, p.received)
	return Appended{Local: now.local}, b.enter(p, now.local, p.flags&^(Forked|Mismatch))
}

// appendCut stages one envelope of a limited chain.
func (b *batch) appendCut(c *chainState, p *prepared) (Appended, error) {
	e := p.envelope
	at := slotAt{c.number, e.Header.Seq}
	first, taken, err := b.slot(at)
	if err != nil {
		return Appended{}, err
	}
	second, twice, err := b.second(at)
	if err != nil {
		return Appended{}, err
	}
	switch {
	case taken && first.id == e.ID:
		return Appended{Local: first.local, Duplicate: true}, nil
	case twice && second.id == e.ID:
		return Appended{Local: second.local, Duplicate: true}, nil
	case !taken && at.seq+1 == c.low && e.ID == c.next:
		c.unsettled = true // what waits below may be linked now
		return b.countNext(c, at, p)
	case at.seq > c.cut.Seq || at.seq >= c.low:
		return Appended{Duplicate: true, Withdrawn: true}, nil // never linked
	}
	return Appended{Duplicate: true, Withdrawn: true}, b.setApart(c, e, p.value, true)
}

// restoreAll brings everything of a chain that is limited no more back. What was
// not withdrawn yet is in its slots.
func (b *batch) restoreAll(c *chainState, sp *spending) (done bool, err error) {
	rows, err := b.rows(key4(tableWithdrawn, c.number), restoreRows)
	if err != nil {
		return false, err
	}
	for _, r := range rows {
		if sp.spent() {
			return false, nil
		}
		p, err := b.takeBack(c, r.key, r.value)
		if err != nil {
			return false, err
		}
		sp.pay(p.envelope.Header.Count, len(r.value))
		p.flags &^= Forked // unless the other comes back too
		if _, err := b.append(p); err != nil {
			return false, err
		}
	}
	return len(rows) < restoreRows, nil
}

// rehold takes a chain's holding from its slots; no write may come between this
// and what emptied it.
func (b *batch) rehold(c *chainState) error {
	seqs, err := b.slotsOf(c, 0, ^uint64(0), int(^uint(0)>>1))
	if err != nil {
		return err
	}
	for _, seq := range seqs {
		at := slotAt{c.number, seq}
		s, ok, err := b.slot(at)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		c.holding = c.holding.With(mesh.Slot{Chain: c.holding.Chain, Seq: seq, ID: s.id, Time: s.time, Floor: s.floor, Urgent: s.urgent}, b.now)
		second, twice, err := b.second(at)
		if err != nil {
			return err
		}
		if twice {
			c.holding = c.holding.WithFork(mesh.Fork{Seq: seq, ID: second.id})
		}
	}
	c.holdSwept()
	return nil
}

// withdrawRest withdraws what is stored and not linked.
func (b *batch) withdrawRest(c *chainState, sp *spending) (done bool, err error) {
	for _, part := range [][2]uint64{{c.cut.Seq + 1, ^uint64(0)}, {0, max(c.low, 1) - 1}} {
		if part[0] > part[1] {
			continue
		}
		seqs, err := b.slotsOf(c, part[0], part[1], settleLinks)
		if err != nil {
			return false, err
		}
		for _, seq := range seqs {
			if sp.spent() {
				return false, nil
			}
			if err := b.withdrawAt(c, slotAt{c.number, seq}, sp); err != nil {
				return false, err
			}
		}
		if len(seqs) >= settleLinks {
			return false, nil
		}
	}
	return true, nil
}

// slotsOf returns the taken numbers of a chain within bounds, up to limit.
func (b *batch) slotsOf(c *chainState, from, to uint64, limit int) ([]uint64, error) {
	if err := b.catchUp(); err != nil {
		return nil, err
	}
	var out []uint64
	for at, s := range b.slots { // of this batch; never many
		if at.chain == c.number && at.seq >= from && at.seq <= to && s != (slot{}) {
			out = append(out, at.seq)
		}
	}
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = key4(tableSlot, c.number), false
	it := b.r.NewIterator(o)
	defer it.Close()
	for it.Seek(slotKey(tableSlot, c.number, from)); it.Valid() && len(out) < limit; it.Next() {
		seq := seqOf(it.Item().Key())
		if seq > to {
			break
		}
		if _, changed := b.slots[slotAt{c.number, seq}]; !changed {
			out = append(out, seq)
		}
	}
	slices.Sort(out)
	return out, nil
}

// withdrawAt withdraws whatever has a number of a chain.
func (b *batch) withdrawAt(c *chainState, at slotAt, sp *spending) error {
	second, twice, err := b.second(at)
	if err == nil && twice {
		err = b.withdrawSecond(c, at, second, sp)
	}
	if err != nil {
		return err
	}
	first, taken, err := b.slot(at)
	if err != nil || !taken {
		return err
	}
	return b.withdrawFirst(c, at, first, sp)
}

func (b *batch) withdrawFirst(c *chainState, at slotAt, s slot, sp *spending) error {
	if err := b.withdraw(c, s.local, sp); err != nil {
		return err
	}
	b.slots[at] = slot{}
	return b.delete(slotKey(tableSlot, at.chain, at.seq))
}

func (b *batch) withdrawSecond(c *chainState, at slotAt, s slot, sp *spending) error {
	if err := b.withdraw(c, s.local, sp); err != nil {
		return err
	}
	return b.deleteFork(at)
}

func (b *batch) deleteFork(at slotAt) error {
	b.forks[at] = slot{}
	return b.delete(slotKey(tableFork, at.chain, at.seq))
}

// withdraw takes an envelope out of everything that is read and sets it apart.
func (b *batch) withdraw(c *chainState, local uint64, sp *spending) error {
	value, err := b.read(entryKey(local))
	if err != nil {
		return err
	}
	split, err := splitEntry(value)
	if err != nil {
		return fmt.Errorf("local %d: %w", local, err)
	}
	e := split.envelope
	sp.pay(e.Header.Count, len(value))
	for i, raw := range split.items {
		n, err := notice.Decode(raw)
		if err != nil {
			continue
		}
		if err := b.unstate(local, i, e.Header.Author, raw, n); err != nil {
			return fmt.Errorf("item %d of local %d: %w", i, local, err)
		}
	}
	if !e.Erased() {
		late := Flags(value[1]).late(&e.Header, receivedOf(value))
		if err := b.delete(expiryKey(e.Header.Expiry+late, local)); err != nil {
			return err
		}
	}
	delete(b.split, local)
	b.meta.envelopes--
	if err := b.remove(entryKey(local)); err != nil {
		return err
	}
	return b.setApart(c, e, value, false)
}

func receivedOf(value []byte) int64 { return int64(binary.BigEndian.Uint64(value[2:])) }

// unstate is state undone: the item is as if the envelope in a place had never
// come. Where others carry it too, what they say of it holds.
func (b *batch) unstate(local uint64, index int, author crypto.MemberID, raw []byte, n *notice.Notice) error {
	id := crypto.NewItemID(author, crypto.LeafHash(raw))
	it, err := b.item(id)
	if err != nil || !it.here || it.state != itemSigned {
		return err
	}
	var others []uint64
	if it.flags&itemShared != 0 {
		if others, err = b.places(id); err != nil {
			return err
		}
		others = slices.DeleteFunc(others, func(o uint64) bool { return o == local })
	}
	if len(others) == 0 && (it.local != local || int(it.index) != index) {
		return nil
	}
	if n.Kind == notice.KindRetraction {
		if err := b.unretract(it, n); err != nil {
			return err
		}
	}
	if err := b.forget(it, n, notice.ContentKey(author, n)); err != nil {
		return err
	}
	for _, o := range others {
		if err := b.stateAt(it.id, o); err != nil {
			return err
		}
	}
	return nil
}

// stateAt states an item anew as the envelope in a place says it.
func (b *batch) stateAt(id crypto.ItemID, local uint64) error {
	v, err := b.read(entryKey(local))
	if err != nil || v == nil {
		return err
	}
	p, err := preparedFrom(v)
	if err != nil {
		return fmt.Errorf("local %d: %w", local, err)
	}
	for i := range p.words {
		w := &p.words[i]
		if w.id != id {
			continue
		}
		member, err := b.member(p.envelope.Header.Author)
		if err != nil {
			return err
		}
		_, err = b.state(w, itemState{state: itemSigned, local: local, index: uint16(w.index), member: member, first: local})
		return err
	}
	return nil
}

// unretract lets a notice count again that nobody else than it takes back.
func (b *batch) unretract(it *item, n *notice.Notice) error {
	target, err := b.item(*n.Ref)
	if err != nil || !target.here || target.flags&itemRetracted == 0 || target.member != it.member {
		return err
	}
	said, err := b.references(*n.Ref)
	if err != nil {
		return err
	}
	for id, e := range said {
		if id != it.id && e.kind == notice.KindRetraction && e.member == target.member {
			return nil
		}
	}
	if err := b.load(target); err != nil || target.evidence == nil {
		return err
	}
	target.flags &^= itemRetracted
	target.dirty = true
	target.evidence.retracted = false
	return b.restate(target)
}

// --- items in several envelopes ---

func placePrefix(id crypto.ItemID) []byte {
	return append(append(make([]byte, 0, 1+len(id)+8), tablePlace), id[:]...)
}

func placeKey(id crypto.ItemID, local uint64) []byte {
	return binary.BigEndian.AppendUint64(placePrefix(id), local)
}

// share notes that an item is in another envelope too.
func (b *batch) share(it *item, local uint64) error {
	it.flags |= itemShared
	it.dirty = true
	return errors.Join(b.put(placeKey(it.id, it.local), []byte{}), b.put(placeKey(it.id, local), []byte{}))
}

// unshare removes the notes of where an item is.
func (b *batch) unshare(it *item) error {
	all, err := b.places(it.id)
	for _, local := range all {
		err = errors.Join(err, b.remove(placeKey(it.id, local)))
	}
	it.flags &^= itemShared
	return err
}

// places returns the envelopes that carry a shared item, by local number.
func (b *batch) places(id crypto.ItemID) ([]uint64, error) {
	rows, err := b.rows(placePrefix(id), int(^uint(0)>>1))
	out := make([]uint64, len(rows))
	for i, r := range rows {
		out[i] = seqOf(r.key)
	}
	return out, err
}

// A row is a key and its value.
type row struct{ key, value []byte }

// rows is scan for what was written by put, in this batch too: up to limit, by
// key. It is for tables of which a batch changes little.
func (b *batch) rows(prefix []byte, limit int) ([]row, error) {
	var out []row
	err := b.scan(prefix, func(key, v []byte) error {
		if _, changed := b.written[string(key)]; !changed {
			out = append(out, row{slices.Clone(key), slices.Clone(v)})
		}
		if len(out) >= limit {
			return errStop
		}
		return nil
	})
	for key, v := range b.written {
		if v != nil && len(key) > len(prefix) && key[:len(prefix)] == string(prefix) {
			out = append(out, row{[]byte(key), v})
		}
	}
	slices.SortFunc(out, func(x, y row) int { return slices.Compare(x.key, y.key) })
	return out[:min(len(out), limit)], err
}

// --- what is withdrawn ---

func withdrawnPrefix(at slotAt, id crypto.EnvelopeID) []byte {
	return append(slotKey(tableWithdrawn, at.chain, at.seq), id[:]...)
}

// setApart keeps an envelope that does not count, as evidence and in case that it
// will. What came before the cut is kept whole up to it; of the rest there is a
// bound.
func (b *batch) setApart(c *chainState, e *crypto.Envelope, value []byte, late bool) error {
	h := &e.Header
	hour := uint32(max(h.Expiry+Flags(value[1]).late(h, receivedOf(value)), 0)/hourMs) + 1
	key := binary.BigEndian.AppendUint32(withdrawnPrefix(slotAt{c.number, h.Seq}, e.ID), hour)
	if v, err := b.read(key); err != nil || v != nil {
		return err
	}
	t, err := b.tally(h.Author, h.Serial)
	if err != nil {
		return err
	}
	if beyond := c.cut.Seq > 0 && h.Seq > c.cut.Seq; (late || beyond) && t.envelopes >= WithdrawnMax {
		return nil
	}
	t.envelopes++
	if !e.Erased() {
		t.words += uint64(h.Count)
	}
	return errors.Join(b.put(key, value), b.putTally(h.Author, h.Serial, t))
}

// takeBack removes an envelope from what is withdrawn, to be stored again.
func (b *batch) takeBack(c *chainState, key, value []byte) (*prepared, error) {
	p, err := preparedFrom(value)
	if err != nil {
		return nil, err
	}
	return p, b.dropWithdrawn(c.holding.Chain, p.envelope, key)
}

func (b *batch) dropWithdrawn(chain crypto.ChainID, e *crypto.Envelope, key []byte) error {
	t, err := b.tally(chain.Author, chain.Serial)
	if err != nil {
		return err
	}
	t.envelopes--
	if !e.Erased() {
		t.words -= uint64(e.Header.Count)
	}
	return errors.Join(b.remove(key), b.putTally(chain.Author, chain.Serial, t))
}

// preparedFrom makes of an entry's value what Append made of it.
func preparedFrom(value []byte) (*prepared, error) {
	split, err := splitEntry(value)
	if err != nil {
		return nil, err
	}
	e := Entry{Envelope: split.envelope, Received: receivedOf(value), Flags: Flags(value[1])}
	for i, raw := range split.items {
		if n, err := notice.Decode(raw); err == nil && n.FitsHeader(&split.envelope.Header) == nil {
			e.Items = append(e.Items, Item{Index: i, ID: crypto.NewItemID(split.envelope.Header.Author, crypto.LeafHash(raw)), Notice: n})
		}
	}
	p, err := prepare(&e)
	return &p, err
}

// withdrawn returns the row of a withdrawn envelope, nil if there is none.
func (b *batch) withdrawn(at slotAt, id crypto.EnvelopeID) (key, value []byte, err error) {
	rows, err := b.rows(withdrawnPrefix(at, id), 1)
	if err != nil || len(rows) == 0 {
		return nil, nil, err
	}
	return rows[0].key, rows[0].value, nil
}

// A tally counts what is withdrawn of a serial.
type tally struct{ envelopes, words uint64 }

func tallyKey(member, serial uint32) []byte {
	return binary.BigEndian.AppendUint32(key4(tableTally, member), serial)
}

func decodeTally(v []byte) (tally, error) {
	r := reader{b: v}
	t := tally{envelopes: r.uvarint(), words: r.uvarint()}
	return t, r.done("tally")
}

func (b *batch) tally(author crypto.MemberID, serial uint32) (tally, error) {
	member, err := b.member(author)
	if err != nil {
		return tally{}, err
	}
	v, err := b.read(tallyKey(member, serial))
	if err != nil || v == nil {
		return tally{}, err
	}
	return decodeTally(v)
}

func (b *batch) putTally(author crypto.MemberID, serial uint32, t tally) error {
	member, err := b.member(author)
	if err != nil {
		return err
	}
	return b.put(tallyKey(member, serial), binary.AppendUvarint(binary.AppendUvarint(nil, t.envelopes), t.words))
}

// Withdrawn returns how many envelopes of a serial are kept apart, and how many
// words they have.
func (s *Store) Withdrawn(author crypto.MemberID, serial uint32) (envelopes, words int, err error) {
	s.mu.RLock()
	member, ok := s.numbers[author]
	s.mu.RUnlock()
	if !ok {
		return 0, 0, nil
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	v, err := get(txn, tallyKey(member, serial))
	if err != nil || v == nil {
		return 0, 0, err
	}
	t, err := decodeTally(v)
	return int(t.envelopes), int(t.words), err
}

// WithdrawnRecords yields the withdrawn notices, until yield returns false. Their
// Local is 0. It reads all of them: they are few.
func (s *Store) WithdrawnRecords(yield func(Record) bool) error {
	v := s.newView()
	defer v.txn.Discard()
	err := scan(v.txn, []byte{tableWithdrawn}, func(_, value []byte) error {
		records, err := v.decode(0, slices.Clone(value))
		if err != nil {
			return err
		}
		for _, r := range records {
			r.State = Withdrawn
			if !yield(r) {
				return errStop
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("withdrawn: %w", err)
	}
	return nil
}

// sweepWithdrawn deletes what is withdrawn and expired more than Grace ago.
func (s *Store) sweepWithdrawn(ctx context.Context) error {
	for {
		removed := 0
		err := s.do(ctx, 2*recordsMax, func(b *batch) (err error) {
			removed, err = b.sweepWithdrawn()
			return err
		})
		if err != nil || removed < recordsMax {
			return err
		}
	}
}

func (b *batch) sweepWithdrawn() (removed int, err error) {
	until := uint32(max(b.now-Grace.Milliseconds(), 0) / hourMs)
	if err := b.catchUp(); err != nil {
		return 0, err
	}
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = []byte{tableWithdrawn}, false
	it := b.r.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid() && removed < recordsMax; it.Next() {
		key := it.Item().KeyCopy(nil)
		if binary.BigEndian.Uint32(key[len(key)-4:]) > until {
			continue
		}
		v, err := b.read(key)
		if err != nil || v == nil {
			return removed, err
		}
		e, err := parseEntry(v)
		if err != nil {
			return removed, err
		}
		if err := b.dropWithdrawn(e.Header.Chain(), e, key); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}
