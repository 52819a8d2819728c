package history_test

import (
	"encoding/binary"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// BenchmarkBadger says what a million records cost in Badger, at its best: each
// written once, then everything compacted. DESIGN.md compares.
func BenchmarkBadger(b *testing.B) {
	for name, packing := range map[string]options.CompressionType{"none": options.None, "snappy": options.Snappy, "zstd": options.ZSTD} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				const records = 1_000_000
				dir := b.TempDir()
				db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithCompression(packing).WithMetricsEnabled(false))
				if err != nil {
					b.Fatal(err)
				}
				random := rand.New(rand.NewPCG(1, 2))
				w := db.NewWriteBatch()
				for range records {
					key := binary.BigEndian.AppendUint64([]byte{1, 2}, random.Uint64()) // period, mark
					first := 1_780_000_000 + random.Uint32N(7*86_400)
					v := binary.BigEndian.AppendUint32(nil, first)
					v = binary.BigEndian.AppendUint32(v, first+random.Uint32N(86_400))
					v = binary.BigEndian.AppendUint32(v, 1+random.Uint32N(50))
					if err := w.Set(key, v); err != nil {
						b.Fatal(err)
					}
				}
				if err := w.Flush(); err != nil {
					b.Fatal(err)
				}
				if err := db.Flatten(1); err != nil {
					b.Fatal(err)
				}
				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(tables(b, dir))/records, "bytes/observable")
			}
		})
	}
}

// tables is the size of Badger's tables; its logs are left out.
func tables(b *testing.B, dir string) (size int64) {
	files, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(files) == 0 {
		b.Fatal("no tables", err)
	}
	for _, f := range files {
		size += sizeOf(b, f)
	}
	return size
}

func sizeOf(t testing.TB, path string) (size int64) {
	t.Helper()
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}
