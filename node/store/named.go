package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/node/notice"
)

// Named envelopes belong to no chain, so that nothing that reads chains, or asks
// for messages, can find them: sync, pulls and bundles. They are known by their
// id, and listed by their place of arrival like everything else.

// A DeliveryState says what became of a named envelope on its way to one member.
type DeliveryState uint8

const (
	Undelivered DeliveryState = 1 // it is tried again
	Delivered   DeliveryState = 2 // durable there, by the member's own word
	Declined    DeliveryState = 3 // the member cannot open or does not take it
	Lapsed      DeliveryState = 4 // it expired first
)

// A Delivery is an own named envelope's way to one member.
type Delivery struct {
	Member crypto.MemberID
	State  DeliveryState
	At     int64 // ms: since when it waits, or when that ended
}

// A Queued envelope waits for a member.
type Queued struct {
	Local  uint64
	TLP    notice.TLP
	Expiry int64 // ms
	Raw    []byte
}

func namedKey(id crypto.EnvelopeID) []byte { return append([]byte{tableNamed}, id[:]...) }

func queuePrefix(m crypto.MemberID) []byte { return append([]byte{tableQueue}, m[:]...) }

func queueKey(m crypto.MemberID, local uint64) []byte {
	return binary.BigEndian.AppendUint64(queuePrefix(m), local)
}

func deliveryKey(local uint64, m crypto.MemberID) []byte {
	return append(key8(tableDelivery, local), m[:]...)
}

// Named reports whether a named envelope is stored. It stays known until its
// items are swept, long after it has expired and nobody would take it again.
func (s *Store) Named(id crypto.EnvelopeID) (bool, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	v, err := get(txn, namedKey(id))
	return v != nil, err
}

// Queued returns the oldest envelopes that wait for a member: up to limit of
// them, after a local number.
func (s *Store) Queued(m crypto.MemberID, after uint64, limit int) ([]Queued, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.Prefix = queuePrefix(m)
	it := txn.NewIterator(o)
	defer it.Close()
	var out []Queued
	for it.Seek(queueKey(m, after+1)); it.Valid() && len(out) < limit; it.Next() {
		q := Queued{Local: seqOf(it.Item().Key())}
		v, err := get(txn, entryKey(q.Local))
		if err != nil {
			return nil, fmt.Errorf("queue: %w", err)
		}
		split, err := splitEntry(v)
		if err != nil {
			return nil, fmt.Errorf("queue: local %d: %w", q.Local, err)
		}
		h := &split.envelope.Header
		q.TLP, q.Expiry, q.Raw = notice.TLP(h.TLP), h.Expiry, split.envelope.Raw
		out = append(out, q)
	}
	return out, nil
}

// Awaiting returns for each member how many notices wait for it, those marked
// above a ceiling left out.
func (s *Store) Awaiting(ceiling notice.TLP) (map[crypto.MemberID]int, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	out := map[crypto.MemberID]int{}
	err := scan(txn, []byte{tableQueue}, func(key, v []byte) error {
		r := reader{b: v}
		tlp, count := notice.TLP(r.byte()), r.uvarint()
		if len(key) != 1+len(crypto.MemberID{})+8 {
			return errCorrupt
		}
		if Visible(tlp, ceiling) {
			out[crypto.MemberID(key[1:])] += int(count)
		}
		return r.done("queue")
	})
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	return out, nil
}

// ItemAt returns the id of the first notice of a named envelope.
func (s *Store) ItemAt(local uint64) (crypto.ItemID, error) {
	v := s.newView()
	defer v.txn.Discard()
	records, err := v.entry(local)
	if err == nil && len(records) == 0 {
		err = ErrUnknown
	}
	if err != nil {
		return crypto.ItemID{}, fmt.Errorf("notice at %d: %w", local, err)
	}
	return records[0].ID, nil
}

// Deliveries returns what became of the own named envelope in a place, by member
// id. Others' envelopes have none.
func (s *Store) Deliveries(local uint64) ([]Delivery, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	var out []Delivery
	err := scan(txn, key8(tableDelivery, local), func(key, v []byte) error {
		r := reader{b: v}
		d := Delivery{Member: crypto.MemberID(key[1+8:]), State: DeliveryState(r.byte()), At: r.time()}
		out = append(out, d)
		return r.done("delivery")
	})
	if err != nil {
		return nil, fmt.Errorf("deliveries: %w", err)
	}
	return out, nil
}

// Settle ends the wait of an envelope for a member and returns when that is
// durable. It reports false if it had ended before: then nothing changes.
func (s *Store) Settle(ctx context.Context, m crypto.MemberID, local uint64, state DeliveryState, at int64) (settled bool, err error) {
	err = s.do(ctx, 2, func(b *batch) error {
		v, err := b.read(queueKey(m, local))
		if settled = v != nil; err != nil || !settled {
			return err
		}
		if err := b.remove(queueKey(m, local)); err != nil {
			return err
		}
		return b.put(deliveryKey(local, m), putTime([]byte{byte(state)}, at))
	})
	if err != nil {
		return false, fmt.Errorf("settle a delivery: %w", err)
	}
	return settled, nil
}

// Retain keeps a notice that waits to be sealed on this node, since none of its
// recipients is a member any more.
func (s *Store) Retain(ctx context.Context, id crypto.ItemID) error {
	err := s.do(ctx, 3, func(b *batch) error {
		it, err := b.item(id)
		if err != nil || it.state != itemWaiting {
			return err
		}
		w, err := b.localEntry(it.local)
		if err != nil {
			return err
		}
		if err := b.delete(outboxKey(w, it.local)); err != nil {
			return err
		}
		b.meta.waiting--
		it.state, it.dirty = itemLocal, true
		w.flags &^= flagWaiting
		w.audience, w.to = crypto.AudienceLocal, nil
		return b.put(entryKey(it.local), w.encode())
	})
	if err != nil {
		return fmt.Errorf("retain %s: %w", id, err)
	}
	return nil
}

// appendNamed stages one named envelope.
func (b *batch) appendNamed(p *prepared) (Appended, error) {
	e := p.envelope
	v, err := b.read(namedKey(e.ID))
	if err != nil {
		return Appended{}, err
	}
	if v != nil {
		r := reader{b: v}
		return Appended{Local: r.uvarint(), Duplicate: true}, r.done("named")
	}
	local := b.nextLocal()
	if err := b.put(namedKey(e.ID), binary.AppendUvarint(nil, local)); err != nil {
		return Appended{}, err
	}
	for _, m := range p.to {
		if err := b.put(queueKey(m, local), binary.AppendUvarint([]byte{e.Header.TLP}, uint64(len(p.words)))); err != nil {
			return Appended{}, err
		}
		if err := b.put(deliveryKey(local, m), putTime([]byte{byte(Undelivered)}, p.received)); err != nil {
			return Appended{}, err
		}
	}
	return Appended{Local: local}, b.enter(p, local, p.flags)
}

// dropNamed removes what a named envelope said. Until it has expired for good its
// header stays, so that it is not taken a second time; nobody is sent it any more.
func (b *batch) dropNamed(local uint64, e entry, split *splitEnvelope) error {
	h, id := &split.envelope.Header, split.envelope.ID
	to, err := b.deliveries(local, split.envelope)
	if err != nil {
		return err
	}
	for _, m := range to {
		if err := b.remove(queueKey(m, local)); err != nil {
			return err
		}
	}
	if h.Expiry+Flags(e.flags).late(h, e.received)+Grace.Milliseconds() > b.now {
		return b.put(entryKey(local), encodeNamed(e.flags, e.received, split.envelope.Bare(), nil))
	}
	for _, m := range to {
		if err := b.remove(deliveryKey(local, m)); err != nil {
			return err
		}
	}
	b.meta.envelopes--
	if err := b.remove(namedKey(id)); err != nil {
		return err
	}
	return b.remove(entryKey(local))
}

// deliveries returns the members that an envelope waits or waited for.
func (b *batch) deliveries(local uint64, e *crypto.Envelope) (to []crypto.MemberID, err error) {
	if !e.Erased() {
		return seal.NamedRecipients(e)
	}
	prefix := key8(tableDelivery, local)
	err = b.scan(prefix, func(key, _ []byte) error {
		to = append(to, crypto.MemberID(key[len(prefix):]))
		return nil
	})
	return to, err
}

// encodeNamed is the entry of a named envelope: the message as it was signed, and
// the items that were sealed in it. They stand here in clear like all others: a
// lookup must not open boxes.
func encodeNamed(flags byte, received int64, raw, items []byte) []byte {
	b := appendEntryHead(make([]byte, 0, entryHeadSize+binary.MaxVarintLen32+len(raw)+len(items)), entryNamed, flags, received)
	b = binary.AppendUvarint(b, uint64(len(raw)))
	return append(append(b, raw...), items...)
}

// named cuts the entry of a named envelope.
func (e entry) named() (*splitEnvelope, error) {
	r := reader{b: e.rest}
	raw := r.bytes(int(min(r.uvarint(), crypto.EnvelopeSizeMax)))
	if r.bad {
		return nil, fmt.Errorf("named entry: %w", errCorrupt)
	}
	s := &splitEnvelope{named: true}
	var err error
	if s.envelope, err = crypto.ParseEnvelope(raw); err != nil {
		return nil, err
	}
	if len(r.b) > 0 {
		if err := canon.Unmarshal(r.b, &s.items); err != nil {
			return nil, fmt.Errorf("named entry: %w: %w", errCorrupt, err)
		}
	}
	return s, nil
}

// recipients returns whom a stored envelope was sealed for; nobody, once that is
// erased or if it never was sealed.
func (s *splitEnvelope) recipients() ([]crypto.MemberID, error) {
	if !s.named || s.envelope.Erased() {
		return nil, nil
	}
	return seal.NamedRecipients(s.envelope)
}

// key is what a local item is known by. What was said to some is not said to
// others: the same words for other members are another notice.
func (l *LocalItem) key() [20]byte { return keyFor(l.Content, l.To) }

func keyFor(content [20]byte, to []crypto.MemberID) [20]byte {
	if len(to) == 0 {
		return content
	}
	to = slices.Clone(to)
	slices.SortFunc(to, func(x, y crypto.MemberID) int { return slices.Compare(x[:], y[:]) })
	h := sha256.New()
	h.Write(content[:])
	for _, m := range to {
		h.Write(m[:])
	}
	return [20]byte(h.Sum(nil))
}
