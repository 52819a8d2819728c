package bench_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/bundle"
)

const (
	bundleAuthors   = 8
	bundleEnvelopes = 1954 // 1,000,448 sightings in full groups
	bundleItems     = 512
	bundleMax       = 60 * time.Second // for each of both ways
)

// BenchmarkBundle carries a million sightings from one hospital to another that
// has never met their authors, over both HTTP APIs, by a sealed file. Beside
// each way stands what no such way can save: copying the same bytes to the same
// disk, and raw Badger writing the keys and values of sightings.
func BenchmarkBundle(b *testing.B) {
	names := make([]string, bundleAuthors)
	for i := range names {
		names[i] = fmt.Sprintf("author %d", i)
	}
	r := testkit.NewRegion(b, append(names, "giver", "taker")...)
	giver, taker := r.Members[bundleAuthors], r.Members[bundleAuthors+1]
	writes := writesOf(b, foreign(b, r.Members[:bundleAuthors], admissionEnvelopes, admissionItems))
	for b.Loop() {
		from := enlist(b, r, giver, giver.Record, taker.Record)
		from.open(b)
		from.start(b)
		first := filepath.Join(b.TempDir(), "first.wwb")
		writeBundle(b, first, r, giver, foreign(b, r.Members[:bundleAuthors], bundleEnvelopes, bundleItems))
		filled := carryIn(b, from, first)
		raw := writeRaw(b, writes)
		file := filepath.Join(b.TempDir(), "second.wwb")
		exported, size := carryOut(b, from, file)
		copied := copyFile(b, file)
		from.stop(b)

		to := enlist(b, r, taker, taker.Record)
		to.open(b)
		to.start(b)
		imported := carryIn(b, to, file)
		rawAfter := writeRaw(b, writes)
		again := carryIn(b, to, file)
		to.stop(b)
		for name, took := range map[string]time.Duration{"export": exported, "import": imported} {
			if took > bundleMax {
				b.Errorf("%s took %s, at most %s", name, took, bundleMax)
			}
		}
		const sightings = bundleEnvelopes * bundleItems
		b.ReportMetric(exported.Seconds(), "export-s")
		b.ReportMetric(imported.Seconds(), "import-s")
		b.ReportMetric(filled.Seconds(), "import-first-s")
		b.ReportMetric(again.Seconds(), "import-again-s")
		b.ReportMetric(copied.Seconds(), "copy-s")
		b.ReportMetric(exported.Seconds()/copied.Seconds(), "export-of-copy")
		b.ReportMetric(float64(size)/sightings, "B/sighting")
		b.ReportMetric(sightings/imported.Seconds(), "import-sightings/s")
		b.ReportMetric((raw+rawAfter)/2, "raw-sightings/s")
		b.ReportMetric(sightings/imported.Seconds()/((raw+rawAfter)/2), "import-of-raw")
		b.ReportMetric(0, "ns/op")
	}
}

// writeBundle makes a sealed part of envelopes by hand.
func writeBundle(b *testing.B, path string, r *testkit.Region, to *testkit.Member, envelopes []*crypto.Envelope) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	h := bundle.Header{Region: r.ID, Name: "test", Created: time.Now().UnixMilli(), Part: 1, Audience: crypto.AudienceRegion}
	w, err := bundle.NewWriter(f, h, []seal.Recipient{{Member: to.ID, Key: to.SealKey()}})
	for _, raw := range r.Records {
		err = errors.Join(err, w.Record(raw))
	}
	for _, e := range envelopes {
		err = errors.Join(err, w.Envelope(e.Raw))
	}
	if err = errors.Join(err, w.Close(false)); err != nil {
		b.Fatal(err)
	}
}

// carryOut exports everything into one file and makes it durable.
func carryOut(b *testing.B, h *hospital, path string) (time.Duration, int64) {
	b.Helper()
	c, err := client.Open(h.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	start := time.Now()
	q := client.BundleQuery{Audience: "region", Created: start, Part: 1, Size: api.BundlePartMax}
	part, some, err := c.ExportBundle(b.Context(), q, f)
	if err = errors.Join(err, f.Sync()); err != nil || !some || part.Notices != bundleEnvelopes*bundleItems || part.Next != 0 {
		b.Fatalf("exported %+v, %v", part, err)
	}
	took := time.Since(start)
	info, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	return took, info.Size()
}

// carryIn imports a file and returns when all of it is durable.
func carryIn(b *testing.B, h *hospital, path string) time.Duration {
	b.Helper()
	c, err := client.Open(h.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	start := time.Now()
	a, err := c.ImportBundle(b.Context(), f)
	if err != nil || a.Read != bundleEnvelopes*bundleItems || a.Taken+a.Known != a.Read || a.Broken != "" {
		b.Fatalf("imported %+v, %v", a, err)
	}
	return time.Since(start)
}

// copyFile is the baseline of an export: the same bytes, copied and synced.
func copyFile(b *testing.B, path string) time.Duration {
	b.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(path + ".copy")
	if err != nil {
		b.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	start := time.Now()
	_, err = io.Copy(f, bytes.NewReader(raw))
	if err = errors.Join(err, f.Sync()); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}
