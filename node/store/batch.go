package store

import (
	"errors"
	"fmt"
	"maps"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// A batch is one transaction in the making. It reads from a snapshot, r, under
// its own overlay of what it has changed so far, and writes everything at its
// end: an item or summary that several ops touch is written once. Only the
// writer has one.
type batch struct {
	s   *Store
	now int64 // ms, not before any of its ops was handed in
	r   *badger.Txn
	w   *badger.Txn

	ops  []*op
	keys int   // estimate
	err  error // of an op, or of the commit

	// While prev is being committed the snapshot lacks it, and its overlay,
	// under, lies between the two. catchUp ends that.
	prev, under         *batch
	landed              chan struct{} // closed when the commit has ended
	nextRead, nextWrite *badger.Txn   // opened before the commit, for the next batch

	meta        meta
	chains      map[crypto.ChainID]*chainState // copies
	slots       map[slotAt]slot                // of this batch; zero: deleted
	forks       map[slotAt]slot                // of this batch; zero: deleted
	newMembers  map[crypto.MemberID]uint32
	memberOrder []crypto.MemberID

	items     map[crypto.ItemID]*item
	contents  map[[20]byte]crypto.ItemID // of this batch
	written   map[string][]byte          // of this batch, what read may ask for; nil: deleted
	summaries map[notice.Key]*foldable
	refs      map[refID]*evidence       // nil: deleted
	split     map[uint64]*splitEnvelope // envelopes whose items were needed again, bounded by splitMax

	staged int // keys
	bytes  int
}

type slotAt struct {
	chain uint32
	seq   uint64
}

type refID struct{ target, from crypto.ItemID }

// An item is an item's record, and its evidence once somebody asked for it.
type item struct {
	itemState
	id    crypto.ItemID
	here  bool // a record exists, or will
	dirty bool // the record must be written or deleted

	about    *notice.Key    // indicator it speaks of, if known yet
	target   *crypto.ItemID // notice it speaks of
	evidence *evidence
	restated bool // the evidence must be written
	silenced bool // the evidence must be deleted
}

// newBatch returns an empty batch on top of one that is being committed, if any.
func (s *Store) newBatch(flying *batch) *batch {
	b := &batch{
		s: s, now: s.now(),
		chains: map[crypto.ChainID]*chainState{}, slots: map[slotAt]slot{}, forks: map[slotAt]slot{},
		newMembers: map[crypto.MemberID]uint32{},
		items:      map[crypto.ItemID]*item{}, contents: map[[20]byte]crypto.ItemID{}, written: map[string][]byte{},
		summaries: map[notice.Key]*foldable{}, refs: map[refID]*evidence{}, split: map[uint64]*splitEnvelope{},
	}
	if flying != nil {
		b.meta, b.prev, b.under = flying.meta, flying, flying
		b.r, b.w = flying.nextRead, flying.nextWrite
		flying.nextRead, flying.nextWrite = nil, nil
		return b
	}
	b.meta = s.meta // nothing flies, so nobody changes it
	b.r, b.w = s.db.NewTransaction(false), s.db.NewTransaction(true)
	return b
}

func (b *batch) discard() {
	b.r.Discard()
	b.w.Discard()
}

// discardNext drops the snapshots for a next batch that never came.
func (b *batch) discardNext() {
	if b.nextRead != nil {
		b.nextRead.Discard()
		b.nextWrite.Discard()
	}
}

// catchUp waits until the batch before is on disk and takes a snapshot that has
// it. What is read often comes from its overlay instead, so that it can be
// committed meanwhile.
func (b *batch) catchUp() error {
	if b.under == nil {
		return nil
	}
	<-b.under.landed
	if b.under.err != nil {
		return b.under.err
	}
	b.under = nil
	b.r.Discard()
	b.r = b.s.db.NewTransaction(false)
	return nil
}

// get returns a copy of a value on disk, or nil. This batch's overlay is not
// asked.
func (b *batch) get(key []byte) ([]byte, error) {
	if err := b.catchUp(); err != nil {
		return nil, err
	}
	return get(b.r, key)
}

// read is get for keys that were written by put.
func (b *batch) read(key []byte) ([]byte, error) {
	if v, ok := b.written[string(key)]; ok {
		return append([]byte(nil), v...), nil
	}
	return b.get(key)
}

// put is set for keys that read may ask for.
func (b *batch) put(key, value []byte) error {
	b.written[string(key)] = value
	return b.set(key, value)
}

// remove is delete for keys that read may ask for.
func (b *batch) remove(key []byte) error {
	b.written[string(key)] = nil
	return b.delete(key)
}

// scan goes over what is on disk; see the function scan.
func (b *batch) scan(prefix []byte, read func(key, v []byte) error) error {
	if err := b.catchUp(); err != nil {
		return err
	}
	return scan(b.r, prefix, read)
}

func get(txn *badger.Txn, key []byte) ([]byte, error) {
	it, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v, err := it.ValueCopy(nil)
	if v == nil && err == nil {
		v = []byte{} // there, and empty
	}
	return v, err
}

// view calls read with a key's value, which is valid only inside, and reports
// whether the key is there.
func view(txn *badger.Txn, key []byte, read func(v []byte) error) (bool, error) {
	it, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, it.Value(read)
}

func (b *batch) set(key, value []byte) error { return b.setEntry(badger.NewEntry(key, value)) }

func (b *batch) setEntry(e *badger.Entry) error {
	if b.s.o.OnWrite != nil {
		b.s.o.OnWrite(e.Key, e.Value)
	}
	b.staged++
	b.bytes += len(e.Key) + len(e.Value)
	return b.w.SetEntry(e)
}

func (b *batch) delete(key []byte) error {
	if b.s.o.OnWrite != nil {
		b.s.o.OnWrite(key, nil)
	}
	b.staged++
	b.bytes += len(key)
	return b.w.Delete(key)
}

func (b *batch) nextLocal() uint64 {
	b.meta.local++
	return b.meta.local
}

// member returns the number of a member, a new one if need be.
func (b *batch) member(id crypto.MemberID) (uint32, error) {
	if n, ok := b.newMembers[id]; ok {
		return n, nil
	}
	b.s.mu.RLock()
	n, ok := b.s.numbers[id]
	next := len(b.s.members)
	b.s.mu.RUnlock()
	if ok {
		return n, nil
	}
	n = uint32(next + len(b.memberOrder))
	b.newMembers[id] = n
	b.memberOrder = append(b.memberOrder, id)
	return n, b.set(key4(tableMember, n), id[:])
}

// chain returns this batch's copy of a chain's state.
func (b *batch) chain(id crypto.ChainID) *chainState {
	if c, ok := b.chains[id]; ok {
		return c
	}
	var old *chainState
	if b.under != nil {
		old = b.under.chains[id]
	}
	if old == nil {
		b.s.mu.RLock()
		old = b.s.chains[id]
		b.s.mu.RUnlock()
	}
	c := &chainState{}
	if old != nil {
		*c = *old
	} else {
		c.number = b.meta.chains
		b.meta.chains++
		c.holding.Chain = id
	}
	c.dirty = false
	b.chains[id] = c
	return c
}

func (b *batch) slot(at slotAt) (slot, bool, error) {
	if s, ok := b.slots[at]; ok {
		return s, s != slot{}, nil
	}
	if b.under != nil {
		if s, ok := b.under.slots[at]; ok {
			return s, s != slot{}, nil
		}
	}
	v, err := get(b.r, slotKey(tableSlot, at.chain, at.seq))
	if err != nil || v == nil {
		return slot{}, false, err
	}
	s, err := decodeSlot(v)
	return s, err == nil, err
}

func (b *batch) putSlot(at slotAt, s slot) error {
	b.slots[at] = s
	return b.set(slotKey(tableSlot, at.chain, at.seq), s.encode())
}

// item returns the item with an id; here is false if nothing is known of it.
func (b *batch) item(id crypto.ItemID) (*item, error) {
	if it, ok := b.items[id]; ok {
		return it, nil
	}
	it := &item{id: id}
	b.items[id] = it
	if b.under != nil {
		if old, ok := b.under.items[id]; ok {
			it.itemState, it.here = old.itemState, old.here
			return it, nil
		}
	}
	found, err := view(b.r, itemKey(id), func(v []byte) (err error) {
		it.itemState, err = decodeItem(v)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("item %s: %w", id, err)
	}
	it.here = found
	return it, nil
}

// reference returns what from says of target, nil if nothing.
func (b *batch) reference(at refID) (*evidence, error) {
	if e, ok := b.refs[at]; ok {
		return e, nil
	}
	v, err := b.get(referenceKey(at.target, at.from))
	if err != nil || v == nil {
		return nil, err
	}
	e, err := decodeEvidence(v)
	return &e, err
}

// references returns all that is said of target.
func (b *batch) references(target crypto.ItemID) (map[crypto.ItemID]*evidence, error) {
	out := map[crypto.ItemID]*evidence{}
	err := b.scan(referencePrefix(target), func(key, v []byte) error {
		e, err := decodeEvidence(v)
		out[crypto.ItemID(key[1+len(target):])] = &e
		return err
	})
	for at, e := range b.refs {
		if at.target == target {
			out[at.from] = e
		}
	}
	maps.DeleteFunc(out, func(_ crypto.ItemID, e *evidence) bool { return e == nil })
	return out, err
}

// scan calls read for each key with a prefix, in order, with its value; both
// are valid only inside. errStop ends it without an error.
func scan(txn *badger.Txn, prefix []byte, read func(key, v []byte) error) error {
	o := badger.DefaultIteratorOptions
	o.Prefix = prefix
	o.PrefetchSize = 16
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		key := it.Item().Key()
		err := it.Item().Value(func(v []byte) error { return read(key, v) })
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var errStop = errors.New("stop")

// stage writes the overlay into the transaction.
func (b *batch) stage() error {
	if err := b.stageItems(); err != nil {
		return err
	}
	for at, e := range b.refs {
		key := referenceKey(at.target, at.from)
		if e == nil {
			if err := b.delete(key); err != nil {
				return err
			}
		} else if err := b.set(key, e.appendTo(nil)); err != nil {
			return err
		}
	}
	if err := b.stageSummaries(); err != nil {
		return err
	}
	for _, c := range b.chains {
		if !c.dirty {
			continue
		}
		if err := b.set(key4(tableChain, c.number), c.encode()); err != nil {
			return err
		}
	}
	if b.staged == 0 {
		return nil
	}
	return b.set([]byte{tableMeta}, b.meta.encode())
}

func (b *batch) stageItems() error {
	for id, it := range b.items {
		if it.dirty {
			key := itemKey(id)
			if !it.here {
				if err := b.delete(key); err != nil {
					return err
				}
			} else if err := b.set(key, it.encode()); err != nil {
				return err
			}
		}
		if it.about == nil {
			continue
		}
		switch {
		case it.silenced:
			if err := b.delete(evidenceKey(*it.about, id)); err != nil {
				return err
			}
		case it.restated:
			if err := b.set(evidenceKey(*it.about, id), it.evidence.appendTo(make([]byte, 0, 40))); err != nil {
				return err
			}
		}
	}
	return nil
}
