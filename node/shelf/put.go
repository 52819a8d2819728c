package shelf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/stix"
	"github.com/watchward/watchward/node/notice"
)

// ErrBack says that a notice which was handed out as taken back counts again. No
// version can say so: the shelf must be made anew (Reset).
var ErrBack = errors.New("shelf: what was taken back counts again")

// An Item is a notice to be put.
type Item struct {
	intel.Stated
	// Gone says that it may no longer be handed out, and leaves no trace: it expired or
	// was erased. Only its ID counts then.
	Gone bool
	// Held says that it is taken back, and matters only if it was handed out.
	Held bool
	// Kept says that it is not for others. Its origin is remembered all the same, so
	// that it is known when it is offered again.
	Kept bool
}

// entry is what is remembered of an item that was put.
type entry struct {
	tlp     notice.TLP
	revoked bool
	kept    bool // nothing of it is on the shelf
	about   notice.Kind
	day     int64
	part    int
	kind    notice.Kind
	author  crypto.MemberID
	objects []objectID // its own: one
}

func (e *entry) encode() []byte {
	var flags byte
	if e.revoked {
		flags |= 1
	}
	if e.kept {
		flags |= 2
	}
	b := []byte{byte(e.tlp), flags, byte(e.about), byte(e.kind)}
	b = binary.AppendVarint(b, e.day)
	b = binary.AppendUvarint(b, uint64(e.part))
	b = append(b, e.author[:]...)
	for _, id := range e.objects {
		b = append(b, id[:]...)
	}
	return b
}

func decodeEntry(b []byte) (e entry, err error) {
	if len(b) < 4 {
		return e, errors.New("shelf: an item is damaged")
	}
	e.tlp, e.revoked, e.kept, e.about, e.kind = notice.TLP(b[0]), b[1]&1 != 0, b[1]&2 != 0, notice.Kind(b[2]), notice.Kind(b[3])
	r := reader{b: b[4:]}
	e.day, e.part = r.varint(), int(r.uvarint())
	copy(e.author[:], r.bytes(len(e.author)))
	for len(r.b) >= len(objectID{}) && !r.bad {
		e.objects = append(e.objects, objectID(r.bytes(len(objectID{}))))
	}
	return e, r.done()
}

// Items returns up to limit ids of items that were put, in order, after one (the zero id
// is before all).
func (s *Shelf) Items(after crypto.ItemID, limit int) (ids []crypto.ItemID, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchValues = []byte{tableItem}, false
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Seek(append(itemKey(after), 0)); it.Valid() && len(ids) < limit; it.Next() {
			ids = append(ids, crypto.ItemID(it.Item().Key()[1:]))
		}
		return nil
	})
	return ids, err
}

func itemKey(id crypto.ItemID) []byte { return append([]byte{tableItem}, id[:]...) }

// Put takes notices as they are now. What is there already as it is costs a look. The
// cursor is written with the last of them; a crash before puts some again, which
// changes nothing. Objects that come are later than all that were there.
func (s *Shelf) Put(items []Item, cursor uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	w := s.newWriter()
	defer w.discard()
	for i := range items {
		if err := w.put(&items[i]); err != nil {
			return err
		}
		if err := w.breathe(); err != nil {
			return err
		}
	}
	w.meta.cursor = max(w.meta.cursor, cursor)
	return w.commit()
}

// writer is one Put, in as many transactions as it takes: what a reader sees is always
// all that was put before something.
type writer struct {
	s     *Shelf
	txn   *badger.Txn
	meta  meta
	spent int // bytes in the transaction, about
	now   time.Time
}

// spendMax bounds a transaction: Badger takes 15 % of a memtable, and one item is put
// after the look.
const spendMax = 1 << 20

func (s *Shelf) newWriter() *writer {
	return &writer{s: s, txn: s.db.NewTransaction(true), meta: s.meta, now: s.o.Now()}
}

func (w *writer) discard() { w.txn.Discard() }

func (w *writer) set(key, value []byte) error {
	w.spent += len(key) + len(value) + 64
	return w.txn.Set(key, value)
}

func (w *writer) delete(key []byte) error {
	w.spent += len(key) + 64
	return w.txn.Delete(key)
}

// breathe commits if the transaction is large.
func (w *writer) breathe() error {
	if w.spent < spendMax {
		return nil
	}
	if err := w.commit(); err != nil {
		return err
	}
	w.txn = w.s.db.NewTransaction(true)
	return nil
}

func (w *writer) commit() error {
	if err := w.set([]byte{tableMeta}, w.meta.encode()); err != nil {
		return err
	}
	// A reader that sees the objects must know of their types: meta may run ahead.
	w.s.mu.Lock()
	w.s.meta.types = w.meta.types
	w.s.mu.Unlock()
	if err := w.txn.Commit(); err != nil {
		return fmt.Errorf("write to the shelf: %w", err)
	}
	w.spent = 0
	w.s.mu.Lock()
	w.s.meta = w.meta
	w.s.mu.Unlock()
	return nil
}

func (w *writer) put(item *Item) error {
	v, err := get(w.txn, itemKey(item.ID))
	if err != nil {
		return err
	}
	var before *entry
	if v != nil {
		e, err := decodeEntry(v)
		if err != nil {
			return err
		}
		before = &e
	}
	if item.Held && before == nil {
		return nil
	}
	if item.Gone {
		if before == nil {
			return nil
		}
		return w.leave(item.ID, before)
	}
	if o := item.Notice.Origin; o != nil && o.ID != "" {
		if err := w.txn.SetEntry(badger.NewEntry(originKey(o.ID, item.ID), nil).WithTTL(ForeignKept)); err != nil {
			return err
		}
	}
	now := entry{
		tlp: stix.Marking(&item.Stated), revoked: item.Retracted, kept: item.Kept, about: item.RefKind, kind: item.Notice.Kind,
		day: dayOf(item.Notice.Created), author: item.Author,
	}
	if now.kept || now.tlp == 0 || now.tlp > TLPMax {
		if before != nil && !before.kept {
			return w.leave(item.ID, before)
		}
		if item.Notice.Origin == nil {
			return nil
		}
		now.kept = true
		return w.set(itemKey(item.ID), now.encode())
	}
	switch {
	case before == nil || before.kept:
	case before.tlp == now.tlp && before.revoked == now.revoked && before.about == now.about:
		return nil
	case before.revoked && !now.revoked:
		return ErrBack
	case before.tlp != now.tlp: // it goes to readers that had nothing of it, or from some
		if err := w.leave(item.ID, before); err != nil {
			return err
		}
		before = nil
	}
	return w.stand(item, &now, before)
}

// stand puts the objects of an item, and the item into its event.
func (w *writer) stand(item *Item, now, before *entry) error {
	err := stix.Objects(item.Stated, func(id string) bool {
		o, ok := parseID(id)
		if !ok {
			return false
		}
		places, err := w.places(o)
		return err == nil && slices.ContainsFunc(places, func(p place) bool { return p.tlp <= now.tlp })
	}, func(o stix.Object) error {
		id, err := w.object(now.tlp, &o)
		if err == nil && o.Own {
			now.objects = append(now.objects, id)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("notice %s: %w", item.ID, err)
	}
	if before == nil || before.kept {
		err = w.join(item, now)
	} else {
		now.part = before.part
		err = w.touch(now, item.AuthorName, 0)
	}
	if err != nil {
		return err
	}
	return w.set(itemKey(item.ID), now.encode())
}

func (w *writer) places(id objectID) ([]place, error) {
	v, err := get(w.txn, append([]byte{tableID}, id[:]...))
	if err != nil {
		return nil, err
	}
	return decodePlaces(v)
}

// object puts a version of an object, unless those who may see the marking have it.
func (w *writer) object(tlp notice.TLP, o *stix.Object) (id objectID, err error) {
	id, ok := parseID(o.ID)
	if !ok {
		return id, fmt.Errorf("shelf: %s is of a type that it does not know", o.ID)
	}
	at, err := time.Parse(time.RFC3339Nano, o.Version)
	if err != nil {
		return id, err
	}
	places, err := w.places(id)
	if err != nil {
		return id, err
	}
	p := place{tlp, w.s.stamps.Next(w.now), at.UnixMilli()}
	for i, q := range places {
		if q.version != p.version {
			continue
		}
		if q.tlp <= tlp {
			return id, nil
		}
		if err := w.delete(objectKey(q, id[0])); err != nil {
			return id, err
		}
		places = slices.Delete(places, i, i+1)
		break
	}
	h := held{version: p.version, json: o.JSON}
	copy(h.uuid[:], id[1:])
	if o.Own {
		h.flags = ownBit
	}
	if err := w.set(objectKey(p, id[0]), h.encode()); err != nil {
		return id, err
	}
	w.meta.stamp = p.stamp
	w.meta.types[tlp] |= 1 << id[0]
	places = append(places, p)
	if err := mark(w.txn, id, places); err != nil {
		return id, err
	}
	return id, w.set(append([]byte{tableID}, id[:]...), encodePlaces(places))
}

// leave takes an item's own objects away, and the item out of its event.
func (w *writer) leave(item crypto.ItemID, e *entry) error {
	for _, id := range e.objects {
		places, err := w.places(id)
		if err != nil {
			return err
		}
		for _, p := range places {
			if err := w.delete(objectKey(p, id[0])); err != nil {
				return err
			}
		}
		if err := w.delete(append([]byte{tableID}, id[:]...)); err != nil {
			return err
		}
	}
	if !e.kept {
		if err := w.part(item, e); err != nil {
			return err
		}
	}
	return w.delete(itemKey(item))
}
