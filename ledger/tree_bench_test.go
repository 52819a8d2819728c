package ledger

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"time"
)

// BenchmarkTreeAdd is what applying packs costs a voter beside raft: 512 entries of 512
// bytes an operation.
func BenchmarkTreeAdd(b *testing.B) {
	tree := testTree(b, b.TempDir())
	defer tree.close()
	pack, n := make([][]byte, packEntriesMax), uint64(0)
	b.SetBytes(packEntriesMax * 512)
	for applied := uint64(1); b.Loop(); applied++ {
		for i := range pack {
			pack[i] = binary.BigEndian.AppendUint64(make([]byte, 504, 512), n)
			n++
		}
		if _, err := tree.add(pack, applied, 7); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkTreeOpen opens a tree of 1,000,000 entries.
func BenchmarkTreeOpen(b *testing.B) {
	dir := b.TempDir()
	tree := testTree(b, dir)
	pack := make([][]byte, packEntriesMax)
	for n := uint64(0); n < 1_000_000; n += packEntriesMax {
		for i := range pack {
			pack[i] = binary.BigEndian.AppendUint64(make([]byte, 34, 42), n+uint64(i))
		}
		if _, err := tree.add(pack, n, 7); err != nil {
			b.Fatal(err)
		}
	}
	if err := tree.close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		began := time.Now()
		tree := testTree(b, dir)
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-open")
		began = time.Now()
		for at := uint64(0); at < tree.Size(); at += readAtOnce {
			if _, err := tree.Entries(at, min(at+readAtOnce, tree.Size())); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-scrub")
		if err := tree.close(); err != nil {
			b.Fatal(err)
		}
	}
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range strings.Lines(string(status)) {
			if strings.HasPrefix(line, "RssAnon") {
				b.Log(line)
			}
		}
	}
}
