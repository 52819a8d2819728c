package bench_test

import (
	"errors"
	"sync"
	"testing"
	"time"
)

const (
	leaderKills     = 30
	leaderTransfers = 30
	receiptCount    = 200
	receiptPace     = 50 * time.Millisecond // nothing waits to be grouped
)

// BenchmarkLedgerLeader takes how long nothing can be appended when the leader's
// process is killed, and when its lead is handed over. A client appends again and again
// at each of the others; the first whose entry is committed ends the wait.
func BenchmarkLedgerLeader(b *testing.B) {
	c := startCluster(b, votersOf, 0)
	for b.Loop() {
		var killed, moved []time.Duration
		for range leaderTransfers {
			moved = append(moved, c.transfer(b))
		}
		for range leaderKills {
			killed = append(killed, c.failover(b))
		}
		b.ReportMetric(milliseconds(quantile(killed, 0.5)), "failover-p50-ms")
		b.ReportMetric(milliseconds(quantile(killed, 0.99)), "failover-p99-ms")
		b.ReportMetric(milliseconds(quantile(moved, 0.5)), "transfer-p50-ms")
		b.ReportMetric(milliseconds(quantile(moved, 0.99)), "transfer-p99-ms")
	}
	b.ReportMetric(0, "ns/op")
}

// failover kills the leader and returns when another voter has committed an entry. The
// dead one is back and even with the others when it returns.
func (c *cluster) failover(b *testing.B) time.Duration {
	k, place := c.leader(b)
	size, err := k.ask(opSize, nil)
	if err != nil {
		b.Fatal(err)
	}
	k.close()
	others := c.others(b, place)
	start := time.Now()
	c.kill(b, place)
	took := firstAppend(b, others, start)
	c.start(b, place)
	back, err := dialVoter(c.ca.file, c.specs[place].Clients)
	if err != nil {
		b.Fatal(err)
	}
	defer back.close()
	eventually(b, "the killed voter has caught up", 20*time.Millisecond, func() bool {
		have, err := back.ask(opSize, nil)
		return err == nil && have > size
	})
	return took
}

// transfer lets the leader hand over to the next voter and returns when that one has
// committed an entry.
func (c *cluster) transfer(b *testing.B) time.Duration {
	k, place := c.leader(b)
	defer k.close()
	if _, err := k.ask(opAppend, newEntry()); err != nil { // all is well before
		b.Fatal(err)
	}
	next := (place + 1) % votersOf
	others := c.others(b, place)
	start := time.Now()
	failed := make(chan error, 1)
	go func() {
		id := c.region.Members[next].ID
		_, err := k.ask(opTransfer, id[:])
		failed <- err
	}()
	took := firstAppend(b, others, start)
	if err := <-failed; err != nil {
		b.Fatal(err)
	}
	return took
}

// others connects to the voters at other places.
func (c *cluster) others(b *testing.B, place int) (all []*link) {
	for k, s := range c.specs {
		if !s.Voter || k == place {
			continue
		}
		other, err := dialVoter(c.ca.file, s.Clients)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, other)
	}
	return all
}

// firstAppend appends at all links until one has committed, and closes them.
func firstAppend(b *testing.B, links []*link, start time.Time) time.Duration {
	done := make(chan time.Duration, len(links))
	var wait sync.WaitGroup
	end := start.Add(patience)
	stop := make(chan struct{})
	for _, k := range links {
		wait.Go(func() {
			defer k.close()
			for time.Now().Before(end) {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := k.ask(opAppend, newEntry()); err == nil {
					done <- time.Since(start)
					return
				} else if !errors.Is(err, errRefused) {
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	var first time.Duration
	select {
	case first = <-done:
	case <-time.After(patience):
		b.Fatalf("nothing was committed within %s", patience)
	}
	close(stop)
	wait.Wait()
	return first
}

// BenchmarkLedgerReceipt takes how long an entry that comes alone at the leader has no
// receipt by a quorum of the voters, and none that a witness signed too. Each receipt
// is verified as a stranger would.
func BenchmarkLedgerReceipt(b *testing.B) {
	c := startCluster(b, votersOf, 1)
	for b.Loop() {
		var committed, signed, witnessed []time.Duration
		k, _ := c.leader(b)
		for range receiptCount {
			committed = append(committed, alone(b, k, opAppend))
			signed = append(signed, alone(b, k, opReceipt))
			witnessed = append(witnessed, alone(b, k, opWitness))
		}
		k.close()
		b.ReportMetric(milliseconds(quantile(committed, 0.99)), "committed-p99-ms")
		b.ReportMetric(milliseconds(quantile(signed, 0.5)), "receipt-p50-ms")
		b.ReportMetric(milliseconds(quantile(signed, 0.99)), "receipt-p99-ms")
		b.ReportMetric(milliseconds(quantile(witnessed, 0.5)), "witnessed-p50-ms")
		b.ReportMetric(milliseconds(quantile(witnessed, 0.99)), "witnessed-p99-ms")
	}
	b.ReportMetric(0, "ns/op")
}

func alone(b *testing.B, k *link, op byte) time.Duration {
	time.Sleep(receiptPace)
	start := time.Now()
	if _, err := k.ask(op, newEntry()); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}
