package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node/notice"
)

// TrustSizeMax bounds a trust record, in bytes.
const TrustSizeMax = 64 << 10

// Trust returns all trust records that were added, in no particular order.
func (s *Store) Trust() ([][]byte, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	var out [][]byte
	err := scan(txn, []byte{tableTrust}, func(_, v []byte) error {
		out = append(out, append([]byte(nil), v...))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("trust records: %w", err)
	}
	return out, nil
}

// AddTrust keeps trust records, which the caller has verified. One that is here
// already changes nothing.
func (s *Store) AddTrust(ctx context.Context, records [][]byte) error {
	changes := make([]trust.Entry, len(records))
	for i, raw := range records {
		changes[i].Raw = raw
	}
	return s.ChangeTrust(ctx, changes)
}

// ChangeTrust keeps trust records, which the caller has verified, and deletes those
// that have left the roster, in the order given. Neither is an error where it is so
// already. After an error some of the first may have changed: call it again.
func (s *Store) ChangeTrust(ctx context.Context, changes []trust.Entry) error {
	const part = 1000
	for len(changes) > 0 {
		now := changes[:min(part, len(changes))]
		changes = changes[len(now):]
		err := s.do(ctx, len(now), func(b *batch) error {
			for _, c := range now {
				if err := b.changeTrust(c); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("keep trust records: %w", err)
		}
	}
	return nil
}

func (b *batch) changeTrust(c trust.Entry) error {
	if len(c.Raw) > TrustSizeMax {
		return fmt.Errorf("trust record has %d bytes: at most %d", len(c.Raw), TrustSizeMax)
	}
	sum := sha256.Sum256(c.Raw)
	key := append([]byte{tableTrust}, sum[:]...)
	v, err := b.read(key)
	switch {
	case err != nil || (v == nil) == c.Left:
		return err
	case c.Left:
		return b.remove(key)
	}
	return b.put(key, c.Raw)
}

// A Fork is the proof that an author signed two envelopes with one number: two
// headers with valid signatures, the lower id first.
type Fork struct {
	Chain crypto.ChainID
	Seq   uint64
	IDs   [2]crypto.EnvelopeID
	Bare  [2][]byte // header ‖ signature of each
}

// Forks returns the fork proofs that are kept, up to limit, of one chain after
// another.
func (s *Store) Forks(limit int) ([]Fork, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	var out []Fork
	err := scan(txn, []byte{tableFork}, func(key, v []byte) error {
		f, err := fork(txn, key, v)
		if err != nil {
			return err
		}
		if out = append(out, f); len(out) >= limit {
			return errStop
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("forks: %w", err)
	}
	return out, nil
}

// Forked reports whether there is a fork proof of a chain.
func (s *Store) Forked(chain crypto.ChainID) (bool, error) {
	number, ok := s.chainNumber(chain)
	if !ok {
		return false, nil
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	forked := false
	err := scan(txn, key4(tableFork, number), func(_, _ []byte) error {
		forked = true
		return errStop
	})
	if err != nil {
		return false, fmt.Errorf("forks of a chain: %w", err)
	}
	return forked, nil
}

func fork(txn *badger.Txn, key, v []byte) (Fork, error) {
	second, err := decodeSlot(v)
	if err != nil {
		return Fork{}, err
	}
	first, err := get(txn, append([]byte{tableSlot}, key[1:]...))
	if err != nil {
		return Fork{}, err
	}
	slot, err := decodeSlot(first)
	if err != nil {
		return Fork{}, err
	}
	f := Fork{Seq: seqOf(key), IDs: [2]crypto.EnvelopeID{slot.id, second.id}}
	for i, local := range []uint64{slot.local, second.local} {
		value, err := get(txn, entryKey(local))
		if err != nil {
			return Fork{}, err
		}
		entry, err := decodeEntry(value)
		if err != nil {
			return Fork{}, err
		}
		e, err := crypto.ParseEnvelope(entry.rest)
		if err != nil {
			return Fork{}, err
		}
		f.Chain, f.Bare[i] = e.Header.Chain(), e.Bare()
	}
	return f, nil
}

// Limits of alerts.
const (
	AlertsMax    = 10_000 // kept; the oldest go
	AlertTextMax = 4096   // bytes, of the text and of the line
	alertRefsMax = 64
)

// An Alert is a thing that a person should know, as a plain record. The field
// numbers are disk format.
type Alert struct {
	ID       uint64          `cbor:"1,keyasint"` // set by the store, from 1
	Time     int64           `cbor:"2,keyasint"` // ms
	Kind     string          `cbor:"3,keyasint"` // stable word
	Severity string          `cbor:"4,keyasint"` // stable word
	Text     string          `cbor:"5,keyasint"`
	Refs     []crypto.ItemID `cbor:"6,keyasint"` // notices it speaks of
	TLP      notice.TLP      `cbor:"7,keyasint"` // the strictest of its sources
	// Dedup, if not empty, raises an alert once: while one with the same Dedup
	// is kept, another changes nothing.
	Dedup string `cbor:"8,keyasint"`
	About *About `cbor:"9,keyasint,omitempty"` // the value that it is about, if it is about one
	// Line is of this house's own logs, printable. It may name who sits where: nobody sees
	// it under a ceiling below AMBER+STRICT, whatever TLP says.
	Line string `cbor:"10,keyasint,omitempty"`
}

// An About is a notice.Indicator as alerts have it. The field numbers are disk format.
type About struct {
	Type  notice.Type `cbor:"1,keyasint"`
	Value string      `cbor:"2,keyasint"` // canonical
}

// Alert keeps an alert. It reports false if one with the same Dedup is here.
func (s *Store) Alert(ctx context.Context, a Alert) (added bool, err error) {
	if len(a.Text) > AlertTextMax || len(a.Line) > AlertTextMax || len(a.Refs) > alertRefsMax || len(a.Kind)+len(a.Severity)+len(a.Dedup) > AlertTextMax ||
		a.About != nil && len(a.About.Value) > notice.ValueMax {
		return false, fmt.Errorf("alert is too large: at most %d bytes of text and %d references", AlertTextMax, alertRefsMax)
	}
	if a.Dedup != "" { // a flood makes the same alert without end, which costs no write
		if here, err := s.Alerted(a.Dedup); err != nil || here {
			return false, err
		}
	}
	err = s.do(ctx, 5, func(b *batch) error {
		once := alertOnceKey(a.Dedup)
		if a.Dedup != "" {
			if v, err := b.read(once); err != nil || v != nil {
				added = false
				return err
			}
		}
		b.meta.alerts++
		a.ID, added = b.meta.alerts, true
		v, err := canon.Marshal(a)
		if err != nil {
			return err
		}
		if err := b.put(key8(tableAlert, a.ID), v); err != nil {
			return err
		}
		if a.Dedup != "" {
			if err := b.put(once, binary.AppendUvarint(nil, a.ID)); err != nil {
				return err
			}
		}
		return b.dropAlert(a.ID)
	})
	if err != nil {
		return false, fmt.Errorf("keep alert: %w", err)
	}
	return added, nil
}

// Alerted reports whether an alert with this Dedup is kept.
func (s *Store) Alerted(dedup string) (bool, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	found, err := view(txn, alertOnceKey(dedup), func([]byte) error { return nil })
	if err != nil {
		return false, fmt.Errorf("look for an alert: %w", err)
	}
	return found, nil
}

func alertOnceKey(dedup string) []byte {
	sum := sha256.Sum256([]byte(dedup))
	return append([]byte{tableAlertOnce}, sum[:20]...)
}

// dropAlert removes the alert that is now one too many.
func (b *batch) dropAlert(latest uint64) error {
	if latest <= AlertsMax {
		return nil
	}
	key := key8(tableAlert, latest-AlertsMax)
	v, err := b.read(key)
	if err != nil || v == nil {
		return err
	}
	var old Alert
	if err := canon.Unmarshal(v, &old); err != nil {
		return err
	}
	if old.Dedup != "" {
		if err := b.remove(alertOnceKey(old.Dedup)); err != nil {
			return err
		}
	}
	return b.remove(key)
}

// Alerts returns alerts, the latest first: those with an ID below before (0 =
// all), up to limit, that may be shown under a ceiling.
func (s *Store) Alerts(before uint64, ceiling notice.TLP, limit int) ([]Alert, error) {
	if before == 0 {
		before = ^uint64(0)
	}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.Prefix, o.Reverse = []byte{tableAlert}, true
	it := txn.NewIterator(o)
	defer it.Close()
	var out []Alert
	for it.Seek(key8(tableAlert, before-1)); it.Valid() && len(out) < limit; it.Next() {
		var a Alert
		if err := it.Item().Value(func(v []byte) error { return canon.Unmarshal(v, &a) }); err != nil {
			return nil, fmt.Errorf("alerts: %w", err)
		}
		if a.TLP == 0 || Visible(a.TLP, ceiling) { // an alert about the node itself has no marking
			if !Visible(notice.TLPAmberStrict, ceiling) {
				a.Line = ""
			}
			out = append(out, a)
		}
	}
	return out, nil
}
