package tlog_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/watchward/watchward/ledger/tlog"
)

func onDisk(t testing.TB, dir string) (bytes int64) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		bytes += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// Entries of 512 bytes in packs of 512, into the cache of the operating system.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 64, 512} {
		b.Run(map[int]string{1: "one", 64: "pack=64", 512: "pack=512"}[n], func(b *testing.B) {
			dir := b.TempDir()
			l := open(b, dir)
			entries := pack(0, n, 512)
			b.ReportAllocs()
			b.SetBytes(512)
			b.ResetTimer()
			for i := 0; i < b.N; i += n {
				if err := l.Append(entries); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(l.Size())/b.Elapsed().Seconds(), "entries/s")
			if err := l.Sync(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(onDisk(b, dir))/float64(l.Size())-512, "B-over/entry")
		})
	}
}

// What was appended since the last Sync, onto the disk.
func BenchmarkSync(b *testing.B) {
	for _, n := range []int{1, 512} {
		b.Run(map[int]string{1: "one", 512: "pack=512"}[n], func(b *testing.B) {
			l := open(b, b.TempDir())
			entries := pack(0, n, 512)
			for b.Loop() {
				if err := l.Append(entries); err != nil {
					b.Fatal(err)
				}
				if err := l.Sync(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

const million = 1_000_000

func millionDir(b *testing.B) string {
	dir := b.TempDir()
	l := open(b, dir)
	fill(b, l, million, 512)
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	return dir
}

func BenchmarkOpenMillion(b *testing.B) {
	dir := millionDir(b)
	before := heap()
	for b.Loop() {
		l, err := tlog.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := l.Root(million); err != nil || l.Size() != million {
			b.Fatal(l.Size(), err)
		}
	}
	l := open(b, dir)
	b.ReportMetric(float64(heap()-before), "heap-B")
	runtime.KeepAlive(l)
}

// What Open has to do when it has lost both marks: read everything.
func BenchmarkScanMillion(b *testing.B) {
	dir := millionDir(b)
	for b.Loop() {
		_ = os.Remove(filepath.Join(dir, "edge.0"))
		_ = os.Remove(filepath.Join(dir, "edge.1"))
		if l, err := tlog.Open(dir); err != nil || l.Size() != million {
			b.Fatal(l, err)
		}
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Proofs of entries far apart, so that the cache of tiles helps little.
func BenchmarkInclusion(b *testing.B) {
	dir := millionDir(b)
	l := open(b, dir)
	at := uint64(0)
	for b.Loop() {
		at = (at + 611_953) % million
		if _, err := l.Inclusion(at, million); err != nil {
			b.Fatal(err)
		}
	}
}

// One entry of a million, verified, as for a receipt.
func BenchmarkEntry(b *testing.B) {
	dir := millionDir(b)
	l := open(b, dir)
	at := uint64(0)
	for b.Loop() {
		at = (at + 611_953) % million
		if _, err := l.Entries(at, at+1); err != nil {
			b.Fatal(err)
		}
	}
}
