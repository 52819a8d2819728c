package shelf

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"
)

// Refs calls yield for everything in the text of an object that looks like the id of
// one, its own among them.
func Refs(json []byte, yield func(id string)) {
	for {
		i := bytes.Index(json, []byte("--"))
		if i < 0 {
			return
		}
		start := i
		for start > 0 && (json[start-1] >= 'a' && json[start-1] <= 'z' || json[start-1] >= '0' && json[start-1] <= '9' || json[start-1] == '-') {
			start--
		}
		if end := i + 2 + 36; end <= len(json) && start < i {
			yield(string(json[start:end]))
		}
		json = json[i+2:]
	}
}

func refs(json []byte, yield func(objectID)) {
	Refs(json, func(id string) {
		if o, ok := parseID(id); ok {
			yield(o)
		}
	})
}

// Sweep takes away what nothing refers to any more: values, families and names of
// which every notice has left. It goes through all that there is, without holding up
// readers, and holds about 20 bytes a shared object meanwhile. It returns how many
// objects went.
func (s *Shelf) Sweep(ctx context.Context) (gone int, err error) {
	s.writing.Lock() // or what is put meanwhile could need what goes
	defer s.writing.Unlock()
	needed := map[uint64]struct{}{}
	need := func(id objectID) { needed[binary.BigEndian.Uint64(id[9:])^uint64(id[0])] = struct{}{} }
	isNeeded := func(id objectID) bool {
		_, ok := needed[binary.BigEndian.Uint64(id[9:])^uint64(id[0])]
		return ok
	}
	relationship, _ := parseID("relationship--" + uuid.Nil.String())
	// What is a notice's needs what it names; that needs what it names in turn. A shared
	// relationship is needed by its source, which does not name it.
	for before := -1; before != len(needed); {
		before = len(needed)
		err := s.each(ctx, func(_ []byte, id objectID, h *held) error {
			switch {
			case h.flags&ownBit != 0, id[0] != relationship[0] && isNeeded(id):
				refs(h.json, need)
			case id[0] == relationship[0] && sourceNeeded(h.json, isNeeded):
				need(id)
				refs(h.json, need)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	w := s.newWriter()
	defer w.discard()
	var keys [][]byte
	var ids []objectID
	err = s.each(ctx, func(key []byte, id objectID, h *held) error {
		if h.flags&ownBit == 0 && !isNeeded(id) {
			keys, ids = append(keys, bytes.Clone(key)), append(ids, id)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for i, key := range keys {
		if err := w.delete(key); err != nil {
			return 0, err
		}
		if err := w.delete(append([]byte{tableID}, ids[i][:]...)); err != nil {
			return 0, err
		}
		if err := w.breathe(); err != nil {
			return 0, err
		}
	}
	return len(keys), w.commit()
}

// sourceNeeded reports whether the source of a shared relationship is there to stay.
func sourceNeeded(json []byte, needed func(objectID) bool) bool {
	_, rest, ok := bytes.Cut(json, []byte(`"source_ref":"`))
	if !ok {
		return false
	}
	text, _, _ := bytes.Cut(rest, []byte(`"`))
	id, ok := parseID(string(text))
	return ok && needed(id)
}

// each calls yield for every object, as they were when it began.
func (s *Shelf) each(ctx context.Context, yield func(key []byte, id objectID, h *held) error) error {
	return s.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchValues = []byte{tableObject}, false
		it := txn.NewIterator(o)
		defer it.Close()
		var value []byte
		for it.Rewind(); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			if value, err = it.Item().ValueCopy(value); err != nil {
				return err
			}
			h, err := decodeHeld(value)
			if err != nil {
				return err
			}
			var id objectID
			id[0] = it.Item().Key()[2]
			copy(id[1:], h.uuid[:])
			if err := yield(it.Item().Key(), id, &h); err != nil {
				return err
			}
		}
		return nil
	})
}
