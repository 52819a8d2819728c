package shelf

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/taxii"
)

// types are those of the objects that notices are. Their numbers are in keys.
var types = [...]string{
	1: "marking-definition", 2: "extension-definition", 3: "identity", 4: "indicator", 5: "sighting", 6: "opinion",
	7: "malware", 8: "tool", 9: "attack-pattern", 10: "vulnerability", 11: "relationship", 12: "note", 13: "course-of-action",
}

// An objectID is the type's number and the UUID.
type objectID [17]byte

func parseID(id string) (o objectID, ok bool) {
	kind, text, _ := strings.Cut(id, "--")
	n := slices.Index(types[:], kind)
	u, err := uuid.Parse(text)
	if n < 1 || err != nil || len(text) != 36 {
		return o, false
	}
	o[0] = byte(n)
	copy(o[1:], u[:])
	return o, true
}

func (o objectID) String() string { return types[o[0]] + "--" + uuid.UUID(o[1:]).String() }

// A place is where a version of an object is.
type place struct {
	tlp     notice.TLP
	stamp   int64
	version int64 // ms
}

func objectKey(p place, typ byte) []byte {
	return binary.BigEndian.AppendUint64([]byte{tableObject, byte(p.tlp), typ}, uint64(p.stamp))
}

func encodePlaces(all []place) []byte {
	var b []byte
	for _, p := range all {
		b = append(b, byte(p.tlp))
		b = binary.BigEndian.AppendUint64(b, uint64(p.stamp))
		b = binary.BigEndian.AppendUint64(b, uint64(p.version))
	}
	return b
}

func decodePlaces(b []byte) ([]place, error) {
	if len(b)%17 != 0 {
		return nil, fmt.Errorf("shelf: a list of versions is damaged")
	}
	var all []place
	for ; len(b) > 0; b = b[17:] {
		all = append(all, place{notice.TLP(b[0]), int64(binary.BigEndian.Uint64(b[1:])), int64(binary.BigEndian.Uint64(b[9:]))})
	}
	return all, nil
}

// The value of an object: a byte of flags, its version, its UUID, the JSON.
const objectHead = 1 + 8 + 16

const (
	firstBit = 1 << 0 // there is no earlier version
	lastBit  = 1 << 1 // there is no later version
	// ownBit: it is one notice's. Others are there for those that refer to them.
	ownBit = 1 << 2
)

// A held object is a value of the table.
type held struct {
	flags   byte
	version int64
	uuid    uuid.UUID
	json    []byte
}

func (h *held) encode() []byte {
	b := make([]byte, 0, objectHead+len(h.json))
	b = append(b, h.flags)
	b = binary.BigEndian.AppendUint64(b, uint64(h.version))
	b = append(b, h.uuid[:]...)
	return append(b, h.json...)
}

func decodeHeld(b []byte) (h held, err error) {
	if len(b) < objectHead {
		return h, fmt.Errorf("shelf: an object is damaged")
	}
	h.flags, h.version = b[0], int64(binary.BigEndian.Uint64(b[1:]))
	copy(h.uuid[:], b[9:])
	h.json = b[objectHead:]
	return h, nil
}

func versionText(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// mark sets which of an object's versions is the first and which the last. All of them
// have one marking: what gets another leaves and comes again.
func mark(txn *badger.Txn, id objectID, all []place) error {
	for _, p := range all {
		key := objectKey(p, id[0])
		v, err := get(txn, key)
		if err != nil {
			return err
		}
		h, err := decodeHeld(v)
		if err != nil {
			return err
		}
		flags := h.flags & ownBit
		if !slices.ContainsFunc(all, func(q place) bool { return q.version < p.version }) {
			flags |= firstBit
		}
		if !slices.ContainsFunc(all, func(q place) bool { return q.version > p.version }) {
			flags |= lastBit
		}
		if h.flags == flags {
			continue
		}
		h.flags = flags
		if err := txn.Set(key, h.encode()); err != nil {
			return err
		}
	}
	return nil
}

// Objects gives the objects under a ceiling that a query takes: see taxii.Shelf.
func (s *Shelf) Objects(ctx context.Context, ceiling notice.TLP, q *taxii.Query) iter.Seq2[taxii.Object, error] {
	return func(yield func(taxii.Object, error) bool) {
		ceiling = min(ceiling, TLPMax)
		err := s.db.View(func(txn *badger.Txn) error {
			if q.IDs != nil {
				return s.named(ctx, txn, ceiling, q, yield)
			}
			return s.merged(ctx, txn, ceiling, q, yield)
		})
		if err != nil {
			yield(taxii.Object{}, err)
		}
	}
}

// named gives the objects that a query names.
func (s *Shelf) named(ctx context.Context, txn *badger.Txn, ceiling notice.TLP, q *taxii.Query, yield func(taxii.Object, error) bool) error {
	type found struct {
		place
		id objectID
	}
	var all []found
	for _, text := range q.IDs {
		id, ok := parseID(text)
		if !ok {
			continue
		}
		v, err := get(txn, append([]byte{tableID}, id[:]...))
		if err != nil {
			return err
		}
		places, err := decodePlaces(v)
		if err != nil {
			return err
		}
		for _, p := range places {
			if p.tlp <= ceiling && p.stamp > q.After {
				all = append(all, found{p, id})
			}
		}
	}
	slices.SortFunc(all, func(a, b found) int { return int(min(max(a.stamp-b.stamp, -1), 1)) })
	for _, f := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		v, err := get(txn, objectKey(f.place, f.id[0]))
		if err != nil {
			return err
		}
		if more, err := give(v, f.id[0], f.stamp, q, yield); err != nil || !more {
			return err
		}
	}
	return nil
}

// give hands an object on if the query takes it, and reports whether more is wanted.
func give(v []byte, typ byte, stamp int64, q *taxii.Query, yield func(taxii.Object, error) bool) (more bool, err error) {
	h, err := decodeHeld(v)
	if err != nil {
		return false, err
	}
	var id objectID
	id[0] = typ
	copy(id[1:], h.uuid[:])
	o := taxii.Object{
		ID: id.String(), Version: versionText(h.version), Added: stamp,
		First: h.flags&firstBit != 0, Last: h.flags&lastBit != 0,
	}
	if !q.Match(&o) {
		return true, nil
	}
	o.JSON = h.json
	return yield(o, nil), nil
}

// A run goes through the objects of one marking and type.
type run struct {
	it    *badger.Iterator
	typ   byte
	stamp int64
}

func (r *run) read() (ok bool) {
	if !r.it.Valid() {
		return false
	}
	key := r.it.Item().Key()
	r.stamp = int64(binary.BigEndian.Uint64(key[3:]))
	return true
}

// merged gives objects by their stamps, out of one row for each marking and type.
func (s *Shelf) merged(ctx context.Context, txn *badger.Txn, ceiling notice.TLP, q *taxii.Query, yield func(taxii.Object, error) bool) error {
	var runs []*run
	defer func() {
		for _, r := range runs {
			r.it.Close()
		}
	}()
	s.mu.RLock()
	there := s.meta.types // at least those that txn sees: it began before
	s.mu.RUnlock()
	for tlp := notice.TLPClear; tlp <= ceiling; tlp++ {
		for typ := 1; typ < len(types); typ++ {
			if there[tlp]&(1<<typ) == 0 || q.Types != nil && !slices.Contains(q.Types, types[typ]) {
				continue
			}
			o := badger.DefaultIteratorOptions
			o.Prefix, o.PrefetchValues = []byte{tableObject, byte(tlp), byte(typ)}, false
			r := &run{it: txn.NewIterator(o), typ: byte(typ)}
			runs = append(runs, r)
			r.it.Seek(objectKey(place{tlp: tlp, stamp: q.After + 1}, r.typ))
		}
	}
	live := slices.DeleteFunc(slices.Clone(runs), func(r *run) bool { return !r.read() })
	var value []byte
	for n := 0; len(live) > 0; {
		// The first goes on until it is no longer the first.
		next, bound := 0, int64(-1)
		for i, r := range live {
			if r.stamp < live[next].stamp {
				next = i
			}
		}
		for i, r := range live {
			if i != next && (bound < 0 || r.stamp < bound) {
				bound = r.stamp
			}
		}
		r := live[next]
		for bound < 0 || r.stamp < bound {
			if n++; n%256 == 0 {
				if err := ctx.Err(); err != nil {
					return err
				}
			}
			var err error
			if value, err = r.it.Item().ValueCopy(value); err != nil {
				return err
			}
			if more, err := give(value, r.typ, r.stamp, q, yield); err != nil || !more {
				return err
			}
			r.it.Next()
			if !r.read() {
				live = slices.Delete(live, next, next+1)
				break
			}
		}
	}
	return nil
}

// Has reports whether an object is on the shelf, under any marking.
func (s *Shelf) Has(id string) (has bool, err error) {
	o, ok := parseID(id)
	if !ok {
		return false, nil
	}
	err = s.db.View(func(txn *badger.Txn) error {
		v, err := get(txn, append([]byte{tableID}, o[:]...))
		has = len(v) > 0
		return err
	})
	return has, err
}
