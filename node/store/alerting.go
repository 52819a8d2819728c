package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto/canon"
)

// An Alerting is one step of whoever tells people of alerts: what it remembers, how
// far it followed and what is to be sent are durable together, or not at all.
type Alerting struct {
	Cursors map[string]uint64 // names as SetCursor has them
	Keep    map[string][]byte // name → value; nil deletes
	Send    []Outgoing        // Number is the caller's, rising within a sink
	Done    []Outgoing        // was sent, or is given up; Message is not looked at
}

// An Outgoing message waits for a sink.
type Outgoing struct {
	Sink    string // without a zero byte
	Number  uint64
	Message []byte
}

// KeepAlerting takes one step.
func (s *Store) KeepAlerting(ctx context.Context, a Alerting) error {
	keys := len(a.Cursors) + len(a.Keep) + len(a.Send) + len(a.Done)
	if keys == 0 {
		return nil
	}
	err := s.do(ctx, keys, func(b *batch) error {
		for name, local := range a.Cursors {
			if err := b.set(append([]byte{tableCursor}, name...), binary.AppendUvarint(nil, local)); err != nil {
				return err
			}
		}
		for name, value := range a.Keep {
			key := append([]byte{tableAlerting}, name...)
			if value == nil {
				if err := b.delete(key); err != nil {
					return err
				}
			} else if err := b.set(key, value); err != nil {
				return err
			}
		}
		for _, o := range a.Send {
			if err := b.set(outgoingKey(o.Sink, o.Number), o.Message); err != nil {
				return err
			}
		}
		for _, o := range a.Done {
			if err := b.delete(outgoingKey(o.Sink, o.Number)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep what is alerted: %w", err)
	}
	return nil
}

// Alerting yields all that Keep has kept, in the order of the names. The value is
// valid until yield returns.
func (s *Store) Alerting(yield func(name string, value []byte) error) error {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	err := scan(txn, []byte{tableAlerting}, func(key, v []byte) error { return yield(string(key[1:]), v) })
	if err != nil {
		return fmt.Errorf("what was alerted: %w", err)
	}
	return nil
}

func outgoingPrefix(sink string) []byte {
	return append(append([]byte{tableOutgoing}, sink...), 0)
}

func outgoingKey(sink string, number uint64) []byte {
	return binary.BigEndian.AppendUint64(outgoingPrefix(sink), number)
}

// Outgoing returns the oldest messages that wait for a sink, up to limit.
func (s *Store) Outgoing(sink string, limit int) ([]Outgoing, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	var out []Outgoing
	err := scan(txn, outgoingPrefix(sink), func(key, v []byte) error {
		if len(out) >= limit {
			return errStop
		}
		out = append(out, Outgoing{Sink: sink, Number: binary.BigEndian.Uint64(key[len(key)-8:]), Message: bytes.Clone(v)})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("what waits for sink %s: %w", sink, err)
	}
	return out, nil
}

// OutgoingCounts returns how many messages wait for each sink.
func (s *Store) OutgoingCounts() (map[string]int, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	counts := map[string]int{}
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = []byte{tableOutgoing}, false
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		sink, _, ok := bytes.Cut(it.Item().Key()[1:], []byte{0})
		if !ok {
			return nil, fmt.Errorf("what waits for sinks: %w", errCorrupt)
		}
		counts[string(sink)]++
	}
	return counts, nil
}

// AlertsAfter returns the alerts with an ID above after, the oldest first, up to limit.
func (s *Store) AlertsAfter(after uint64, limit int) ([]Alert, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchSize = []byte{tableAlert}, 16
	it := txn.NewIterator(o)
	defer it.Close()
	var out []Alert
	for it.Seek(key8(tableAlert, after+1)); it.Valid() && len(out) < limit; it.Next() {
		var a Alert
		if err := it.Item().Value(func(v []byte) error { return canon.Unmarshal(v, &a) }); err != nil {
			return nil, fmt.Errorf("alerts: %w", err)
		}
		out = append(out, a)
	}
	return out, nil
}

// LastAlert returns the ID of the latest alert, 0 if there was none.
func (s *Store) LastAlert() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.meta.alerts
}
