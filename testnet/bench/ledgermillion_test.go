package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/entry"
	"github.com/watchward/watchward/ledger/verify"
)

const (
	ledgerEntries = 1_000_000
	ledgerFillers = 1024 // clients that fill it
	receiptChecks = 200
	ledgerStarts  = 5
)

// BenchmarkLedgerMillion fills the ledger with as many entries as the product makes
// them, and takes what a coordinator needs for them: disk, anonymous memory, the time
// from the start of its process to the first answer; what a whole audit takes of one
// core; and the check of one receipt, by who has the region's keys parsed and by who
// has only its records.
func BenchmarkLedgerMillion(b *testing.B) {
	entries := scale(b, ledgerEntries)
	c := startCluster(b, votersOf, 0)
	for b.Loop() {
		took := c.fill(b, entries)
		b.ReportMetric(float64(entries)/took.Seconds(), "filled/s")
		last := c.receipt(b)
		place := 0
		size := c.sizeAt(b, place)
		b.ReportMetric(mebibytes(anonymous(b, c.procs[place].command.Process.Pid)), "filled-MiB")
		var starts, memory []float64
		for range ledgerStarts {
			c.halt(b, place)
			start := time.Now()
			c.start(b, place)
			if have := c.sizeAt(b, place); have < size {
				b.Fatalf("after a start it serves %d of %d entries", have, size)
			}
			starts = append(starts, time.Since(start).Seconds())
			memory = append(memory, mebibytes(anonymous(b, c.procs[place].command.Process.Pid)))
		}
		b.ReportMetric(median(starts), "start-s")
		b.ReportMetric(median(memory), "restarted-MiB")
		c.halt(b, place)
		tiles := filepath.Join(c.specs[place].Dir, "epoch", "1", "tiles")
		b.ReportMetric(float64(diskUsed(b, tiles))/float64(size)-float64(len(numbered(0))), "tiles-B-beside-entry")
		b.ReportMetric(float64(diskUsed(b, c.specs[place].Dir))/float64(size), "all-B/entry")
		b.ReportMetric(c.audit(b, tiles), "audit/s/core")
		c.start(b, place)
		checkReceipt(b, c, last)
	}
	b.ReportMetric(0, "ns/op")
}

// numbered is an entry as the product makes them.
func numbered(k int) []byte {
	return entry.Encode(entry.Envelope, crypto.Hash(fmt.Appendf(make([]byte, 0, 32), "%032d", k)))
}

// fill appends entries by many clients.
func (c *cluster) fill(b *testing.B, entries int) time.Duration {
	var links []*appender
	for range loadProcesses {
		links = append(links, &appender{ca: c.ca.file, addresses: c.addresses()})
	}
	start := time.Now()
	var wait sync.WaitGroup
	failed := make([]error, ledgerFillers)
	for i := range ledgerFillers {
		wait.Go(func() {
			for k := i; k < entries && failed[i] == nil; k += ledgerFillers {
				_, failed[i] = links[i%len(links)].append(numbered(k))
			}
		})
	}
	wait.Wait()
	for _, err := range failed {
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, a := range links {
		if a.link != nil {
			a.link.close()
		}
	}
	return time.Since(start)
}

// receipt appends one more entry and returns its receipt when a quorum has signed.
func (c *cluster) receipt(b *testing.B) *verify.Receipt {
	k, place := c.leader(b)
	defer k.close()
	if _, err := k.ask(opKeep, newEntry()); err != nil {
		b.Fatal(err)
	}
	raw, err := os.ReadFile(c.specs[place].receipt())
	if err != nil {
		b.Fatal(err)
	}
	r, err := verify.ParseReceipt(raw)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// sizeAt waits until a place answers and returns how many entries it has.
func (c *cluster) sizeAt(b *testing.B, place int) uint64 {
	k, err := dialVoter(c.ca.file, c.specs[place].Clients)
	if err != nil {
		b.Fatal(err)
	}
	defer k.close()
	size, err := k.ask(opSize, nil)
	if err != nil {
		b.Fatal(err)
	}
	return size
}

// halt ends a place's process by its input, in order.
func (c *cluster) halt(b *testing.B, place int) {
	p := c.procs[place]
	c.procs[place] = nil
	if err := p.in.Close(); err != nil {
		b.Fatal(err)
	}
	if err := p.command.Wait(); err != nil {
		b.Fatal(err)
	}
}

// audit reads the whole ledger on one core and returns entries a second.
func (c *cluster) audit(b *testing.B, tiles string) float64 {
	policy, err := verify.PolicyOf(c.region.Roster(b), c.region.ID, 1)
	if err != nil {
		b.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	start := time.Now()
	report, err := verify.Audit(b.Context(), verify.Dir(tiles), policy, nil)
	if err != nil {
		b.Fatal(err)
	}
	return float64(report.Size) / time.Since(start).Seconds()
}

// checkReceipt checks a receipt with the region's keys parsed, and from its records.
func checkReceipt(b *testing.B, c *cluster, r *verify.Receipt) {
	roster := c.region.Roster(b)
	policy, err := verify.PolicyOf(roster, c.region.ID, 1)
	if err != nil {
		b.Fatal(err)
	}
	var warm, cold []time.Duration
	for range receiptChecks {
		start := time.Now()
		if _, err := r.Verify(policy); err != nil {
			b.Fatal(err)
		}
		parsed := time.Now()
		warm = append(warm, parsed.Sub(start))
		fresh := c.region.Roster(b)
		p, err := verify.PolicyOf(fresh, c.region.ID, 1)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Verify(p); err != nil {
			b.Fatal(err)
		}
		cold = append(cold, time.Since(parsed))
	}
	b.ReportMetric(milliseconds(quantile(warm, 0.5)), "receipt-warm-ms")
	b.ReportMetric(milliseconds(quantile(cold, 0.5)), "receipt-cold-ms")
}
