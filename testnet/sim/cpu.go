package sim

import (
	"sync"
	"time"
)

// Costs is the work that virtual time would not see. The defaults were measured
// on two cores of an AMD EPYC; DESIGN.md has the commands.
type Costs struct {
	Check  time.Duration // parsing and both halves of a signature
	Admit  time.Duration // staging one envelope, beside its items
	Item   time.Duration // decoding and staging one of its items
	Commit time.Duration // one transaction with its fsync, which takes no core
	Relay  time.Duration // handing one envelope to the connected peers
	Prove  time.Duration // signing or verifying the proof of a session: each connection costs either side both
}

// DefaultCosts is what is charged unless a scenario says otherwise.
var DefaultCosts = Costs{
	Check:  120 * time.Microsecond, // BenchmarkVerify 71 µs, BenchmarkParseAndSplit512 and a lookup of the key
	Admit:  40 * time.Microsecond,  // the envelope's own keys
	Item:   20 * time.Microsecond,  // BenchmarkAppend: 9.9 ms for 512 sightings, 19 µs each; decoding is 4 % of admission
	Commit: 400 * time.Microsecond, // append 4 KiB and sync: 0.33 ms (testnet/bench/RESULTS.md, run F)
	Relay:  100 * time.Microsecond, // hashing, RPC encoding and up to 96 queues
	Prove:  250 * time.Microsecond, // half of BenchmarkSign and BenchmarkVerify
}

const cores = 2

// A cpu is a node's cores: work waits for one to be free.
type cpu struct {
	slow time.Duration // how many times slower than the measured machine; 0 = as fast

	mu   sync.Mutex
	free [cores]time.Time
}

// work takes a core for so long.
func (c *cpu) work(d time.Duration) {
	if d <= 0 {
		return
	}
	if c.slow > 1 {
		d *= c.slow
	}
	now := time.Now()
	c.mu.Lock()
	core := 0
	for i := range c.free {
		if c.free[i].Before(c.free[core]) {
			core = i
		}
	}
	done := later(c.free[core], now).Add(d)
	c.free[core] = done
	c.mu.Unlock()
	time.Sleep(done.Sub(now))
}
