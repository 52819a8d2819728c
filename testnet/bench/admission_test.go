package bench_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	admissionAuthors   = 8
	admissionEnvelopes = 200
	admissionItems     = 512 // a full group
	admissionRounds    = 5
	rawEnvelopes       = 8 // in one transaction, as Append cuts a batch of 64
)

// BenchmarkAdmission is the way of foreign envelopes as sync brings them over
// loopback: framed, parsed, verified, split, decoded, indexed, on disk. A round
// starts with an empty node and ends when it counts all notices. Beside each
// round, raw Badger writes the same keys and values to an empty directory. The
// ratio is taken round by round, so that load from outside falls on both.
func BenchmarkAdmission(b *testing.B) {
	names := make([]string, admissionAuthors)
	for i := range names {
		names[i] = fmt.Sprintf("author %d", i)
	}
	r := testkit.NewRegion(b, append(names, "speaker", "here")...)
	envelopes := foreign(b, r.Members[:admissionAuthors], admissionEnvelopes, admissionItems)
	writes := writesOf(b, envelopes)
	var rates, raws, ratios []float64
	for b.Loop() {
		for range admissionRounds {
			rates = append(rates, admit(b, r, envelopes))
			raws = append(raws, writeRaw(b, writes))
			ratios = append(ratios, rates[len(rates)-1]/raws[len(raws)-1])
			b.Logf("admitted %.0f sightings/s, raw Badger %.0f", rates[len(rates)-1], raws[len(raws)-1])
		}
	}
	b.ReportMetric(median(rates), "sightings/s")
	b.ReportMetric(median(raws), "raw-sightings/s")
	b.ReportMetric(median(ratios), "of-raw")
	b.ReportMetric(slices.Max(ratios), "of-raw-best")
	b.ReportMetric(slices.Min(ratios), "of-raw-worst")
	b.ReportMetric(0, "ns/op")
}

// admit brings envelopes to a new node and returns sightings a second.
func admit(b *testing.B, r *testkit.Region, envelopes []*crypto.Envelope) float64 {
	b.Helper()
	h := enlist(b, r, r.Members[admissionAuthors+1], r.Records...)
	defer h.stop(b)
	h.open(b)
	h.start(b)
	s := speak(b, r, r.Members[admissionAuthors], h)
	defer s.stop(b)
	s.hold(envelopes)
	start := time.Now()
	s.round(b)
	want := int64(len(envelopes) * admissionItems)
	eventually(b, "the node has everything", 10*time.Millisecond, func() bool { return h.status(b).Notices == want })
	return float64(want) / time.Since(start).Seconds()
}

// A write is one key and its value.
type write struct{ key, value []byte }

// writesOf records what the store writes for envelopes, a transaction an entry.
func writesOf(b *testing.B, envelopes []*crypto.Envelope) [][]write {
	b.Helper()
	var batch []write
	s, err := store.Open(store.Options{InMemory: true, OnWrite: func(key, value []byte) {
		batch = append(batch, write{append([]byte(nil), key...), append([]byte(nil), value...)})
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var out [][]write
	for i := 0; i < len(envelopes); i += rawEnvelopes {
		var entries []store.Entry
		for _, e := range envelopes[i:min(i+rawEnvelopes, len(envelopes))] {
			entries = append(entries, entryOf(b, e))
		}
		if _, err := s.Append(b.Context(), entries); err != nil {
			b.Fatal(err)
		}
		out, batch = append(out, batch), nil
	}
	return out
}

// entryOf decodes an envelope as the accept order does.
func entryOf(b testing.TB, e *crypto.Envelope) store.Entry {
	b.Helper()
	items, err := e.Split()
	if err != nil {
		b.Fatal(err)
	}
	out := store.Entry{Envelope: e, Received: time.Now().UnixMilli(), Items: make([]store.Item, len(items))}
	for i, raw := range items {
		n, err := notice.Decode(raw)
		if err != nil {
			b.Fatal(err)
		}
		out.Items[i] = store.Item{Index: i, ID: crypto.NewItemID(e.Header.Author, crypto.LeafHash(raw)), Notice: n}
	}
	return out
}

// rawOptions are those of package store, stated again: it keeps them to itself.
func rawOptions(dir string) badger.Options {
	o := badger.DefaultOptions(dir).WithLogger(nil)
	o.SyncWrites, o.DetectConflicts, o.NumVersionsToKeep, o.MetricsEnabled = true, false, 1, false
	o.MemTableSize, o.NumMemtables = 32<<20, 2
	o.Compression, o.BlockSize, o.BlockCacheSize, o.IndexCacheSize = options.Snappy, 8<<10, 16<<20, 0
	o.NumCompactors, o.BaseTableSize, o.BaseLevelSize = 2, 8<<20, 32<<20
	o.ValueThreshold, o.ValueLogFileSize = 4<<10, 256<<20
	o.ChecksumVerificationMode, o.VerifyValueChecksum = options.OnBlockRead, true
	return o
}

// writeRaw writes transactions to a new Badger and returns sightings a second.
func writeRaw(b *testing.B, writes [][]write) float64 {
	b.Helper()
	db, err := badger.Open(rawOptions(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	start := time.Now()
	for _, batch := range writes {
		err := db.Update(func(txn *badger.Txn) error {
			for _, w := range batch {
				if err := txn.Set(w.key, w.value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return admissionEnvelopes * admissionItems / time.Since(start).Seconds()
}
