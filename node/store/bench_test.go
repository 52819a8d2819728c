package store_test

import (
	"fmt"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const benchItems = 512 // sightings of one envelope

// benchEntries makes envelopes of sightings of as many values, from a few authors.
func benchEntries(b *testing.B, n, from int) []store.Entry {
	b.Helper()
	authors := writers(b, 8)
	out := make([]store.Entry, n)
	for i := range out {
		notices := make([]*notice.Notice, benchItems)
		for j := range notices {
			k := from + i*benchItems + j
			v := notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("host-%08d.evil.example", k)}
			notices[j] = sighting(v, uint64(k), 1)
		}
		out[i] = authors[i%len(authors)].envelope(b, crypto.Header{}, notices...)
	}
	return out
}

const benchBatch = 64 // envelopes of one Append

// BenchmarkAppend stores foreign envelopes that are verified and decoded.
func BenchmarkAppend(b *testing.B) {
	entries := benchEntries(b, b.N, 0)
	s := open(b, store.Options{Dir: b.TempDir(), Now: newClock().Now})
	b.ResetTimer()
	for i := 0; i < len(entries); i += benchBatch {
		put(b, s, entries[i:min(i+benchBatch, len(entries))]...)
	}
	b.ReportMetric(float64(b.N*benchItems)/b.Elapsed().Seconds(), "sightings/s")
}

// BenchmarkRawBadger writes the same keys and values with the same options and
// nothing else.
func BenchmarkRawBadger(b *testing.B) {
	entries := benchEntries(b, b.N, 0)
	type pair struct{ key, value []byte }
	var batches [][]pair
	var batch []pair
	s := open(b, store.Options{Now: newClock().Now, OnWrite: func(key, value []byte) {
		batch = append(batch, pair{append([]byte(nil), key...), append([]byte(nil), value...)})
	}})
	for i := 0; i < len(entries); i += 8 { // about what one transaction of Append has
		put(b, s, entries[i:min(i+8, len(entries))]...)
		batches, batch = append(batches, batch), nil
	}
	db, err := badger.Open(store.BadgerOptions(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	b.ResetTimer()
	for _, batch := range batches {
		err := db.Update(func(txn *badger.Txn) error {
			for _, p := range batch {
				if err := txn.Set(p.key, p.value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*benchItems)/b.Elapsed().Seconds(), "sightings/s")
}
