package bench_test

import (
	"bytes"
	crand "crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/document"
	"github.com/watchward/watchward/testnet/proc"
)

const (
	documentMembers = 50
	documentRounds  = 5
	documentSettles = 15 * time.Second // 50 processes that have just met compare, and dial
)

// BenchmarkDocument takes the time from the POST of an advisory with a document of 8 MiB
// until all other members of a region of 50 processes on loopback have the document on
// their disks, checked. Beside it, the same bytes written and synced as often, by one
// process. It takes 2 GB of the disk.
func BenchmarkDocument(b *testing.B) {
	var built proc.Builder
	defer built.Close()
	program, err := built.Binary(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ww") // b.TempDir is too long for a socket
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var names []string
	for i := range documentMembers {
		names = append(names, fmt.Sprintf("Hospital %d", i+1))
	}
	region, err := proc.NewRegion(b.Context(), proc.Config{Binary: program, Dir: dir, Names: names})
	if err != nil {
		b.Fatal(err)
	}
	defer region.Close()
	author := region.Nodes[documentMembers/2]
	for b.Loop() {
		time.Sleep(documentSettles)
		var took, copied []time.Duration
		var most float64
		for range documentRounds {
			before := uploaded(b, author)
			file := make([]byte, document.SizeMax)
			_, _ = crand.Read(file)
			took = append(took, advise(b, region, author, file))
			times := (uploaded(b, author) - before) / float64(len(file))
			most = max(most, times)
			copied = append(copied, copyEach(b, dir, file))
			b.Logf("all had it after %s; its author sent it %.2f times; copies took %s", took[len(took)-1], times, copied[len(copied)-1])
		}
		b.ReportMetric(quantile(took, 0.5).Seconds(), "p50-s")
		b.ReportMetric(slices.Max(took).Seconds(), "longest-s")
		b.ReportMetric(quantile(copied, 0.5).Seconds(), "copy-s")
		b.ReportMetric(most, "uploads")
	}
	b.ReportMetric(0, "ns/op")
}

// advise lets a node advise with a document, and returns after how long all others have it.
func advise(b *testing.B, region *proc.Region, author *proc.Node, file []byte) time.Duration {
	b.Helper()
	c, err := author.Client()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	put, err := c.PutDocument(b.Context(), bytes.NewReader(file))
	if err != nil {
		b.Fatal(err)
	}
	advisory := &api.Advisory{Type: "playbook", Title: "What to do", Documents: []api.Document{{SHA256: put.SHA256, Name: "playbook.pdf", Media: "application/pdf"}}}
	begun := time.Now()
	if _, err := c.Submit(b.Context(), []api.Submission{{Kind: "advisory", Parts: api.Parts{Advisory: advisory}}}, client.SubmitOptions{TLP: "AMBER"}); err != nil {
		b.Fatal(err)
	}
	paths := map[string]bool{}
	for _, n := range region.Nodes {
		paths[filepath.Join(n.Dir, "documents", put.SHA256)] = true
	}
	last := time.Now()
	eventually(b, "all have the document", 20*time.Millisecond, func() bool {
		for path := range paths { // it has this name once it is whole and durable
			if _, err := os.Stat(path); err == nil {
				delete(paths, path)
				last = time.Now()
			}
		}
		return len(paths) == 0
	})
	for _, n := range region.Nodes {
		got, err := os.ReadFile(filepath.Join(n.Dir, "documents", put.SHA256))
		if err != nil || sha256.Sum256(got) != sha256.Sum256(file) {
			b.Fatalf("%s has another document, %v", n.Name, err)
		}
	}
	return last.Sub(begun)
}

// uploaded is what a node has sent of documents, in bytes, as it counts them itself.
func uploaded(b *testing.B, n *proc.Node) float64 {
	b.Helper()
	status, text, err := n.Get(b.Context(), "/metrics")
	if err != nil || status != 200 {
		b.Fatalf("metrics of %s: %d, %v", n.Name, status, err)
	}
	_, value, found := strings.Cut(text, `watchward_bulk_bytes_total{direction="out",protocol="`+document.Protocol+`"} `)
	if !found {
		return 0
	}
	value, _, _ = strings.Cut(value, "\n")
	bytes, err := strconv.ParseFloat(value, 64)
	if err != nil {
		b.Fatal(err)
	}
	return bytes
}

// copyEach writes and syncs a file for each of the others.
func copyEach(b *testing.B, dir string, file []byte) time.Duration {
	b.Helper()
	begun := time.Now()
	for i := range documentMembers - 1 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("copy-%d", i)))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Write(file); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(begun)
}
