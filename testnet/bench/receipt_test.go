package bench_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/testnet/proc"
)

const (
	receiptWords = 90
	// Each coordinator speaks 7 times in 10 s: nothing waits to be grouped.
	wordEach   = 480 * time.Millisecond
	receiptAsk = 2 * time.Millisecond
)

// BenchmarkReceipt takes the way of a word from its submission at a coordinator over
// HTTP to a receipt that a quorum of the voters has signed, and to a checkpoint over
// it that the charter's witness has signed too: four hospitals, processes with all
// that they do.
func BenchmarkReceipt(b *testing.B) {
	r := ledgerRegion(b)
	defer r.Close()
	var clients []*client.Client
	for _, n := range r.Nodes[:votersOf] {
		c, err := n.Client()
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
	}
	for b.Loop() {
		var signed, witnessed []time.Duration
		for k := range receiptWords {
			start := time.Now()
			c := clients[k%len(clients)]
			sent, err := c.Submit(b.Context(), []api.Submission{{Kind: "sighting", Value: fmt.Sprintf("r%d.example", k)}}, client.SubmitOptions{TLP: "GREEN"})
			if err != nil {
				b.Fatal(err)
			}
			id := sent.Notices[0].ID
			eventually(b, "the word has a receipt", receiptAsk, func() bool {
				_, err := c.Receipt(b.Context(), id, 0)
				return err == nil
			})
			signed = append(signed, time.Since(start))
			eventually(b, "a witness has signed", receiptAsk, func() bool {
				e, err := c.LedgerEntry(b.Context(), id, false)
				return err == nil && e.Covered && e.Checkpoint.Witnessed
			})
			witnessed = append(witnessed, time.Since(start))
			time.Sleep(wordEach - time.Since(start))
		}
		b.ReportMetric(milliseconds(quantile(signed, 0.5)), "receipt-p50-ms")
		b.ReportMetric(milliseconds(quantile(signed, 0.99)), "receipt-p99-ms")
		b.ReportMetric(milliseconds(quantile(witnessed, 0.5)), "witnessed-p50-ms")
		b.ReportMetric(milliseconds(quantile(witnessed, 0.99)), "witnessed-p99-ms")
	}
	b.ReportMetric(0, "ns/op")
}

// ledgerRegion runs three coordinators that vote and a hospital that witnesses.
func ledgerRegion(b *testing.B) *proc.Region {
	var built proc.Builder
	b.Cleanup(func() {
		if err := built.Close(); err != nil {
			b.Error(err)
		}
	})
	program, err := built.Binary(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ww") // b.TempDir is too long for a socket
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	names := []string{"North", "East", "South", "West"}
	r, err := proc.NewRegion(b.Context(), proc.Config{Binary: program, Dir: dir, Names: names, Coordinators: votersOf})
	if err != nil {
		b.Fatal(err)
	}
	amend := []string{"region", "amend", "--witness", names[votersOf]}
	for k, n := range names[:votersOf] {
		amend = append(amend, "--voter", n)
		if k < 2 { // two of three decide
			amend = append(amend, "--key", r.Key(k))
		}
	}
	if _, err := r.Nodes[0].Must(b.Context(), amend...); err != nil {
		b.Fatal(err)
	}
	c, err := r.Nodes[0].Client()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	eventually(b, "the ledger has a witnessed checkpoint", 50*time.Millisecond, func() bool {
		v, err := c.Ledger(b.Context())
		return err == nil && v.Checkpoint != nil && v.Checkpoint.Witnessed
	})
	return r
}
