package shelf

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
)

const (
	// ForeignKept is how long what a server gave is remembered after it was last seen:
	// as long as a notice can live.
	ForeignKept = 400 * 24 * time.Hour
	// ForeignTextMax is how much of an object's text is kept; a longer one is known by
	// its id alone.
	ForeignTextMax = 16 << 10
)

func originKey(origin string, item crypto.ItemID) []byte {
	return append(originPrefix(origin), item[:]...)
}

func originPrefix(origin string) []byte {
	sum := sha256.Sum256([]byte(origin))
	return append([]byte{tableOrigin}, sum[:16]...)
}

// Origin returns up to ten notices that were put with an id as that of their origin,
// those that are kept here among them.
func (s *Shelf) Origin(id string) (items []crypto.ItemID, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchValues = originPrefix(id), false
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Rewind(); it.Valid() && len(items) < 10; it.Next() {
			var item crypto.ItemID
			copy(item[:], it.Item().Key()[len(o.Prefix):])
			items = append(items, item)
		}
		return nil
	})
	return items, err
}

// A Foreign is an object that another server gave, as it is remembered.
type Foreign struct {
	Version int64  // ms, of its modified
	Creator string // its created_by_ref, "" = unknown
	Text    []byte // the object, nil if it was too long
}

// foreignIDMax is the longest id that is a key as it is, in bytes: Badger's keys have a
// bound, and ids are what others write.
const foreignIDMax = 512

func foreignKey(server, id string) []byte {
	if len(id) > foreignIDMax {
		sum := sha256.Sum256([]byte(id))
		id = "sha256:" + hex.EncodeToString(sum[:])
	}
	return append(append([]byte{tableForeign}, server...), "\x00"+id...)
}

// Foreign returns what is remembered of an object of a server.
func (s *Shelf) Foreign(server, id string) (f Foreign, ok bool, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		v, err := get(txn, foreignKey(server, id))
		if err != nil || v == nil {
			return err
		}
		r := reader{b: v}
		f.Version = r.varint()
		f.Creator = string(r.bytes(int(min(r.uvarint(), 1<<10))))
		if f.Text = r.bytes(len(r.b)); len(f.Text) == 0 {
			f.Text = nil
		}
		ok = true
		return r.done()
	})
	return f, ok, err
}

// Remember notes what a server gave: objects by their ids.
func (s *Shelf) Remember(server string, objects map[string]Foreign) error {
	if s.o.Room != nil && len(objects) > 0 {
		if err := s.o.Room(); err != nil {
			return fmt.Errorf("remember what %s gave: %w", server, err)
		}
	}
	batch := s.db.NewWriteBatch()
	defer batch.Cancel()
	for id, f := range objects {
		b := binary.AppendVarint(nil, f.Version)
		if len(f.Creator) > 1<<10 {
			f.Creator = ""
		}
		b = binary.AppendUvarint(b, uint64(len(f.Creator)))
		b = append(b, f.Creator...)
		if len(f.Text) <= ForeignTextMax {
			b = append(b, f.Text...)
		}
		if err := batch.SetEntry(badger.NewEntry(foreignKey(server, id), b).WithTTL(ForeignKept)); err != nil {
			return fmt.Errorf("remember what %s gave: %w", server, err)
		}
	}
	if err := batch.Flush(); err != nil {
		return fmt.Errorf("remember what %s gave: %w", server, err)
	}
	return nil
}

// Note reads what was written down under a name, and leaves v as it is if nothing was.
func (s *Shelf) Note(name string, v any) error {
	return s.db.View(func(txn *badger.Txn) error {
		text, err := get(txn, append([]byte{tableNote}, name...))
		if err != nil || text == nil {
			return err
		}
		return json.Unmarshal(text, v)
	})
}

// WriteNote writes something down under a name, durably.
func (s *Shelf) WriteNote(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if name == "" {
		return errors.New("shelf: a note needs a name")
	}
	return s.db.Update(func(txn *badger.Txn) error { return txn.Set(append([]byte{tableNote}, name...), text) })
}
