package store

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// Limits of reading many records.
const (
	ListMax       = 1000    // records of one List
	examinedMax   = 100_000 // notices one List looks at; then it returns what it found, and a cursor
	followEntries = 64      // entries Follow reads in one snapshot
)

// ErrCursor: a cursor is not one that List returned.
var ErrCursor = errors.New("this cursor is not valid: start again without one")

// A Query selects notices. The zero value selects all that hold now.
type Query struct {
	Kind     notice.Kind      // 0 = every kind
	Author   *crypto.MemberID // nil = every author
	Ceiling  notice.TLP       // 0 = none
	Search   string           // part of the value, the reason or another text, in any case
	Since    int64            // ms: received at or after
	Limit    int              // 1 to ListMax; 0 = 100
	Cursor   string           // where an earlier List stopped
	Lapsed   bool             // also the expired
	Takeback bool             // also the retracted
}

// List returns notices, the last received first, and a cursor if there may be
// more. A page can be shorter than the limit, even empty, and still have a
// cursor: one call looks at no more than 100,000 notices.
func (s *Store) List(q Query) ([]Record, string, error) {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	q.Limit = min(q.Limit, ListMax)
	q.Search = strings.ToLower(q.Search)
	at, err := parseCursor(q.Cursor)
	if err != nil {
		return nil, "", err
	}
	v := s.newView()
	defer v.txn.Discard()
	if q.Kind.HasPart() {
		return v.listKind(&q, at)
	}
	o := badger.DefaultIteratorOptions
	o.Prefix, o.Reverse, o.PrefetchValues = []byte{tableEntry}, true, false
	it := v.txn.NewIterator(o)
	defer it.Close()
	l := lister{v: v, q: &q, now: s.now()}
	for it.Seek(entryKey(at.local)); it.Valid(); it.Next() {
		local := seqOf(it.Item().Key())
		if full, err := l.entry(local, at, it.Item()); err != nil {
			return nil, "", fmt.Errorf("list: %w", err)
		} else if full {
			return l.out, l.next.String(), nil
		}
		if l.past {
			break
		}
	}
	return l.out, "", nil
}

type lister struct {
	v        *reading
	q        *Query
	now      int64
	out      []Record
	examined int
	next     cursor
	past     bool // everything from here on is older than Since
}

// entry adds what an entry has, its last item first, and reports whether the
// page is full, next then being where the following one starts.
func (l *lister) entry(local uint64, at cursor, item *badger.Item) (full bool, err error) {
	if len(l.out) >= l.q.Limit || l.examined >= examinedMax {
		l.next = cursor{local, crypto.ItemsMax}
		if local == at.local {
			l.next = at
		}
		return true, nil
	}
	l.examined++ // an entry without items costs as well
	value, err := item.ValueCopy(nil)
	if err != nil {
		return false, err
	}
	head, err := decodeEntry(value)
	if err != nil {
		return false, err
	}
	if head.received < l.q.Since {
		// Entries are in order of arrival; a clock that was set back makes
		// exceptions, which are looked past for one hour.
		l.past = head.received < l.q.Since-hourMs
		return false, nil
	}
	records, err := l.v.decode(local, value)
	if err != nil {
		return false, err
	}
	for i := len(records) - 1; i >= 0; i-- {
		r := &records[i]
		if local == at.local && r.Index > at.index {
			continue
		}
		if len(l.out) >= l.q.Limit || l.examined >= examinedMax {
			l.next = cursor{local, r.Index}
			return true, nil
		}
		l.examined++
		if err := l.take(r); err != nil {
			return false, err
		}
	}
	return false, nil
}

// take adds r if the query selects it. The cheap questions come first.
func (l *lister) take(r *Record) error {
	q := l.q
	switch {
	case q.Kind != 0 && r.Notice.Kind != q.Kind,
		q.Author != nil && r.Author != *q.Author,
		!Visible(r.TLP, q.Ceiling),
		!q.Lapsed && r.Expiry <= l.now,
		q.Search != "" && !says(r.Notice, q.Search):
		return nil
	}
	mine, err := l.v.belongs(r)
	if err != nil || !mine || r.Retracted && !q.Takeback {
		return err
	}
	l.out = append(l.out, *r)
	return nil
}

func says(n *notice.Notice, part string) bool {
	if n.Indicator != nil && strings.Contains(strings.ToLower(n.Indicator.Value), part) {
		return true
	}
	for text := range n.Texts {
		if strings.Contains(strings.ToLower(text), part) {
			return true
		}
	}
	return false
}

// belongs completes r and reports whether its entry is the one that carries
// it: an item in two envelopes is shown once.
func (v *reading) belongs(r *Record) (bool, error) {
	st, err := getItem(v.txn, r.ID)
	if errors.Is(err, ErrUnknown) {
		return false, nil
	}
	if err != nil || st.local != r.Local || int(st.index) != r.Index {
		return false, err
	}
	return true, v.complete(r, st)
}

// A cursor is the place of the next record to look at.
type cursor struct {
	local uint64
	index int
}

func (c cursor) String() string {
	b := binary.AppendUvarint(nil, c.local)
	return hex.EncodeToString(binary.AppendUvarint(b, uint64(c.index)))
}

func parseCursor(s string) (cursor, error) {
	if s == "" {
		return cursor{^uint64(0), crypto.ItemsMax}, nil
	}
	if len(s) > 64 {
		return cursor{}, ErrCursor
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		return cursor{}, ErrCursor
	}
	r := reader{b: b}
	c := cursor{r.uvarint(), int(min(r.uvarint(), crypto.ItemsMax))}
	if r.done("cursor") != nil {
		return cursor{}, ErrCursor
	}
	return c, nil
}

// Follow yields what was stored after a local number, entry by entry in order,
// then what is being stored, until ctx ends or yield returns an error, which it
// returns. Expired and retracted notices come too, marked; what a ceiling hides
// does not. Each entry is yielded at least once: an item that waited in the
// outbox comes again when it is signed, with First less than Local.
func (s *Store) Follow(ctx context.Context, after uint64, ceiling notice.TLP, yield func(local uint64, records []Record) error) error {
	for {
		changed := s.Changed()
		for {
			entries, err := s.after(after, ceiling)
			if err != nil {
				return fmt.Errorf("follow: %w", err)
			}
			for _, e := range entries {
				if err := ctx.Err(); err != nil {
					return err
				}
				if len(e.records) > 0 {
					if err := yield(e.local, e.records); err != nil {
						return err
					}
				}
				after = e.local
			}
			if len(entries) < followEntries {
				break
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.stop:
			return ErrClosed
		}
	}
}

type followed struct {
	local   uint64
	records []Record
}

func (s *Store) after(local uint64, ceiling notice.TLP) ([]followed, error) {
	v := s.newView()
	defer v.txn.Discard()
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchSize = []byte{tableEntry}, followEntries
	it := v.txn.NewIterator(o)
	defer it.Close()
	var out []followed
	for it.Seek(entryKey(local + 1)); it.Valid() && len(out) < followEntries; it.Next() {
		value, err := it.Item().ValueCopy(nil)
		if err != nil {
			return nil, err
		}
		f := followed{local: seqOf(it.Item().Key())}
		records, err := v.decode(f.local, value)
		if err != nil {
			return nil, err
		}
		for i := range records {
			if !Visible(records[i].TLP, ceiling) {
				continue
			}
			mine, err := v.belongs(&records[i])
			if err != nil {
				return nil, err
			}
			if mine {
				f.records = append(f.records, records[i])
			}
		}
		out = append(out, f)
	}
	return out, nil
}

// cursorNameMax bounds the name of a durable cursor, in bytes.
const cursorNameMax = 100

// Cursor returns the local number that a follower saved under a name, 0 if it
// never did.
func (s *Store) Cursor(name string) (uint64, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	v, err := get(txn, append([]byte{tableCursor}, name...))
	if err != nil || v == nil {
		return 0, err
	}
	r := reader{b: v}
	local := r.uvarint()
	return local, r.done("cursor")
}

// SetCursor saves a follower's place, durably.
func (s *Store) SetCursor(ctx context.Context, name string, local uint64) error {
	if name == "" || len(name) > cursorNameMax {
		return fmt.Errorf("cursor name has %d bytes: want 1 to %d", len(name), cursorNameMax)
	}
	return s.do(ctx, 1, func(b *batch) error {
		return b.set(append([]byte{tableCursor}, name...), binary.AppendUvarint(nil, local))
	})
}
