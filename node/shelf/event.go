package shelf

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"iter"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	events "github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/misp"
	"github.com/watchward/watchward/node/notice"
)

const dayMs = 86_400_000

func dayOf(ms int64) int64 { return ms / dayMs }

// eventKey begins with the table, and the latest day is first.
func eventKey(table byte, e *misp.Event) []byte {
	b := binary.BigEndian.AppendUint32([]byte{table}, ^uint32(e.Day))
	b = append(b, byte(e.TLP))
	b = append(b, e.Author[:]...)
	return binary.BigEndian.AppendUint16(b, uint16(e.Part))
}

func decodeEvent(key, v []byte) (e misp.Event, err error) {
	if len(key) != 1+4+1+len(e.Author)+2 {
		return e, errors.New("shelf: an event's key is damaged")
	}
	e.Day = int64(^binary.BigEndian.Uint32(key[1:]))
	e.TLP = notice.TLP(key[5])
	copy(e.Author[:], key[6:])
	e.Part = int(binary.BigEndian.Uint16(key[6+len(e.Author):]))
	r := reader{b: v}
	e.Notices, e.Changed = int(r.uvarint()), r.varint()
	e.Name = string(r.bytes(len(r.b)))
	return e, r.done()
}

// rank puts indicators before what is said of them.
func rank(k notice.Kind) byte {
	if k == notice.KindIndicator {
		return 0
	}
	return 1
}

func memberKey(e *misp.Event, k notice.Kind, item crypto.ItemID) []byte {
	return append(append(eventKey(tableMember, e), rank(k)), item[:]...)
}

// inEvent reports whether notices of a kind are in events of MISP.
func inEvent(k notice.Kind) bool {
	return k == notice.KindIndicator || k == notice.KindSighting || k == notice.KindDispute
}

func (e *entry) event(part int) misp.Event {
	return misp.Event{Author: e.author, Day: e.day, TLP: e.tlp, Part: part}
}

// join puts an item into the last part of its author's day that has a place.
func (w *writer) join(item *Item, e *entry) error {
	if !inEvent(e.kind) {
		return nil
	}
	for ; ; e.part++ {
		at := e.event(e.part)
		v, err := get(w.txn, eventKey(tableEvent, &at))
		if err != nil {
			return err
		}
		if v != nil {
			if at, err = decodeEvent(eventKey(tableEvent, &at), v); err != nil {
				return err
			}
		}
		if at.Notices < events.EventNoticesMax {
			if err := w.set(memberKey(&at, e.kind, item.ID), nil); err != nil {
				return err
			}
			return w.touch(e, item.AuthorName, 1)
		}
	}
}

// touch notes that an event has more or fewer notices, or another word in one.
func (w *writer) touch(e *entry, name string, more int) error {
	if !inEvent(e.kind) {
		return nil
	}
	at := e.event(e.part)
	key := eventKey(tableEvent, &at)
	v, err := get(w.txn, key)
	if err != nil {
		return err
	}
	if v != nil {
		if at, err = decodeEvent(key, v); err != nil {
			return err
		}
	} else if err := w.set(uuidKey(at.UUID()), key); err != nil {
		return err
	}
	at.Notices += more
	at.Changed = max(at.Changed+1, w.now.UnixMicro())
	if name != "" {
		at.Name = name
	}
	b := binary.AppendUvarint(nil, uint64(at.Notices))
	b = append(binary.AppendVarint(b, at.Changed), at.Name...)
	if at.Notices > 0 {
		return w.set(key, b)
	}
	// Empty, it is in no feed; but when it changed must be remembered for a while, or one
	// that begins anew could have another content at the same time.
	w.spent += len(key) + len(b) + 64
	return w.txn.SetEntry(badger.NewEntry(key, b).WithTTL(ForeignKept))
}

// part takes an item out of its event.
func (w *writer) part(item crypto.ItemID, e *entry) error {
	if !inEvent(e.kind) {
		return nil
	}
	at := e.event(e.part)
	if err := w.delete(memberKey(&at, e.kind, item)); err != nil {
		return err
	}
	return w.touch(e, "", -1)
}

func uuidKey(text string) []byte {
	u, err := uuid.Parse(text)
	if err != nil {
		return []byte{tableUUID} // no event has it
	}
	return append([]byte{tableUUID}, u[:]...)
}

// Events are what a reader with a ceiling may see of the shelf as a feed of MISP.
func (s *Shelf) Events(ceiling notice.TLP) misp.Shelf { return eventShelf{s, min(ceiling, TLPMax)} }

type eventShelf struct {
	s       *Shelf
	ceiling notice.TLP
}

// Events implements misp.Shelf.
func (x eventShelf) Events(ctx context.Context) iter.Seq2[misp.Event, error] {
	return func(yield func(misp.Event, error) bool) {
		err := x.s.db.View(func(txn *badger.Txn) error {
			o := badger.DefaultIteratorOptions
			o.Prefix, o.PrefetchValues = []byte{tableEvent}, false
			it := txn.NewIterator(o)
			defer it.Close()
			var value []byte
			for it.Rewind(); it.Valid(); it.Next() {
				var err error
				if value, err = it.Item().ValueCopy(value); err != nil {
					return err
				}
				e, err := decodeEvent(it.Item().Key(), value)
				if err != nil {
					return err
				}
				if e.TLP > x.ceiling || e.Notices == 0 {
					continue
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				if !yield(e, nil) {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			yield(misp.Event{}, err)
		}
	}
}

// Event implements misp.Shelf.
func (x eventShelf) Event(_ context.Context, id string) (e misp.Event, ok bool, err error) {
	err = x.s.db.View(func(txn *badger.Txn) error {
		key, err := get(txn, uuidKey(id))
		if err != nil || key == nil {
			return err
		}
		v, err := get(txn, key)
		if err != nil || v == nil {
			return err
		}
		e, err = decodeEvent(key, v)
		ok = err == nil && e.TLP <= x.ceiling && e.Notices > 0
		return err
	})
	return e, ok, err
}

// Notices implements misp.Shelf.
func (x eventShelf) Notices(ctx context.Context, e misp.Event) iter.Seq2[intel.Stated, error] {
	return func(yield func(intel.Stated, error) bool) {
		if e.TLP > x.ceiling {
			return
		}
		err := x.s.db.View(func(txn *badger.Txn) error {
			prefix := eventKey(tableMember, &e)
			o := badger.DefaultIteratorOptions
			o.Prefix, o.PrefetchValues = prefix, false
			it := txn.NewIterator(o)
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				if err := ctx.Err(); err != nil {
					return err
				}
				var id crypto.ItemID
				copy(id[:], bytes.TrimPrefix(it.Item().Key(), prefix)[1:])
				n, ok, err := x.s.o.Stated(id)
				if err != nil {
					return err
				}
				if ok && !yield(n, nil) {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			yield(intel.Stated{}, err)
		}
	}
}
