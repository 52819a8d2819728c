package bench_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
)

// Bounds of killing voters.
const (
	voterKills   = 20                     // WATCHWARD_LEDGER_KILLS overrides it
	killersLoad  = 6                      // clients that append meanwhile
	killWithin   = 300 * time.Millisecond // at most, once something was acknowledged again
	killLeastNew = 10                     // acknowledged before the next kill
)

// Voters are killed with SIGKILL at random moments while clients append, mostly whoever
// leads. Each entry that was acknowledged is where that was said, none is there twice,
// and every checkpoint of a quorum that a hospital sees fits the one ledger.
func TestVotersKilled(t *testing.T) {
	kills, random := killing(t)
	c := startCluster(t, votersOf, 1)
	c.kill(t, votersOf)
	m := newWatcher(t, c)
	l := newLoad(c)
	var leaders int
	for k := range kills {
		before := l.count.Load()
		eventually(t, fmt.Sprintf("after kill %d entries are acknowledged", k), time.Millisecond, func() bool {
			return l.count.Load() >= before+killLeastNew || l.failed.Load() != nil
		})
		time.Sleep(time.Duration(random.Int64N(int64(killWithin))))
		victim := random.IntN(votersOf)
		if link, place, err := dialLeader(c.ca.file, c.addresses()); err == nil {
			link.close()
			if random.IntN(4) > 0 {
				victim, leaders = place, leaders+1
			}
		}
		c.kill(t, victim)
		c.start(t, victim)
	}
	acknowledged := l.stop(t)
	last := newEntry()
	k, _ := c.leader(t)
	at, err := k.ask(opAppend, last)
	k.close()
	if err != nil {
		t.Fatal(err)
	}
	acknowledged[string(last)] = at
	for place := range votersOf {
		link, err := dialVoter(c.ca.file, c.specs[place].Clients)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("voter %d has everything", place), 10*time.Millisecond, func() bool {
			size, err := link.ask(opSize, nil)
			return err == nil && size > at
		})
		link.close()
	}
	notes := m.close(t, at+1)
	c.stop(t)
	clear(c.procs)
	for place := range c.specs {
		c.checkLedger(t, place, acknowledged, notes)
	}
	t.Logf("%d kills, %d of them of the leader; %d entries acknowledged, %d checkpoints seen", kills, leaders, len(acknowledged), len(notes))
}

// killing returns how often is killed, and what decides in it.
func killing(t *testing.T) (int, *rand.Rand) {
	t.Helper()
	kills, seed := voterKills, uint64(time.Now().UnixNano())
	for name, set := range map[string]func(uint64){
		"WATCHWARD_LEDGER_KILLS": func(n uint64) { kills = int(n) }, "WATCHWARD_FAULT_SEED": func(n uint64) { seed = n },
	} {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 63)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			set(n)
		}
	}
	t.Logf("the same victims again: WATCHWARD_FAULT_SEED=%d", seed)
	return kills, rand.New(rand.NewPCG(seed, 0))
}

// A steadyLoad is clients that append until they are stopped.
type steadyLoad struct {
	count  atomic.Int64
	failed atomic.Pointer[error]
	end    chan struct{}
	wait   sync.WaitGroup

	mu           sync.Mutex
	acknowledged map[string]uint64 // by entry: the index
}

func newLoad(c *cluster) *steadyLoad {
	l := &steadyLoad{end: make(chan struct{}), acknowledged: map[string]uint64{}}
	for range killersLoad {
		a := &appender{ca: c.ca.file, addresses: c.addresses()}
		l.wait.Go(func() {
			defer func() {
				if a.link != nil {
					a.link.close()
				}
			}()
			for {
				select {
				case <-l.end:
					return
				default:
				}
				entry := newEntry()
				at, err := a.append(entry)
				if err != nil {
					l.failed.Store(&err)
					return
				}
				l.count.Add(1)
				l.mu.Lock()
				l.acknowledged[string(entry)] = at
				l.mu.Unlock()
			}
		})
	}
	return l
}

func (l *steadyLoad) stop(t *testing.T) map[string]uint64 {
	t.Helper()
	close(l.end)
	l.wait.Wait()
	if err := l.failed.Load(); err != nil {
		t.Fatalf("a client gave up: %v", *err)
	}
	return l.acknowledged
}

// A watcher is a hospital in this process that mirrors the ledger, and keeps each
// checkpoint of a quorum that it sees.
type watcher struct {
	network *plainNetwork
	ledger  *ledger.Ledger
	policy  *verify.Policy
	end     chan struct{}
	wait    sync.WaitGroup

	mu     sync.Mutex
	notes  map[uint64]tlog.Checkpoint // by size
	faults []string
}

// newWatcher opens the ledger of the last place, whose process does not run.
func newWatcher(t *testing.T, c *cluster) *watcher {
	t.Helper()
	s := c.specs[len(c.specs)-1]
	id, err := keyfile.Load(s.Keys)
	if err != nil {
		t.Fatal(err)
	}
	roster := trust.NewRoster(s.Region)
	if _, err := roster.AddAll(s.Records); err != nil {
		t.Fatal(err)
	}
	w := &watcher{end: make(chan struct{}), notes: map[uint64]tlog.Checkpoint{}}
	if w.policy, err = verify.PolicyOf(roster, s.Region, 1); err != nil {
		t.Fatal(err)
	}
	if w.network, err = newPlainNetwork(id, s); err != nil {
		t.Fatal(err)
	}
	w.ledger, err = ledger.Open(ledger.Config{
		Dir: s.Dir, Region: s.Region, Self: crypto.NewMemberID(id.Signing.Public()), Key: crypto.NewLedgerKey(id.Signing),
		Roster: roster, Network: w.network, Mirror: true, Raise: w.alarm,
	})
	if err == nil {
		err = w.ledger.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	w.wait.Go(w.watch)
	return w
}

// alarm takes what says that voters contradict each other; the others come and go.
func (w *watcher) alarm(a ledger.Alarm) {
	if a.Kind == "ledger-no-quorum" || a.Kind == "ledger-stale" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, a.Text)
}

func (w *watcher) watch() {
	for {
		grown := w.ledger.Grown()
		if raw, c := w.ledger.Checkpoint(); c.Size > 0 {
			w.take(raw, c)
		}
		select {
		case <-grown:
		case <-w.end:
			return
		}
	}
}

func (w *watcher) take(raw []byte, c tlog.Checkpoint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	said, err := w.policy.Check(raw)
	switch before, ok := w.notes[c.Size]; {
	case err != nil || !said.Good:
		w.faults = append(w.faults, fmt.Sprintf("a checkpoint of %d that no quorum signed: %v", c.Size, err))
	case ok && before.Root != c.Root:
		w.faults = append(w.faults, fmt.Sprintf("two roots of %d", c.Size))
	}
	w.notes[c.Size] = c
}

// close waits for a checkpoint of a size, ends the hospital and returns what it saw.
func (w *watcher) close(t *testing.T, size uint64) map[uint64]tlog.Checkpoint {
	t.Helper()
	eventually(t, fmt.Sprintf("the hospital has a checkpoint of %d", size), 10*time.Millisecond, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		_, ok := w.notes[size]
		return ok
	})
	close(w.end)
	w.wait.Wait()
	if err := errors.Join(w.ledger.Close(), w.network.close()); err != nil {
		t.Error(err)
	}
	for _, f := range w.faults {
		t.Error(f)
	}
	return w.notes
}

// checkLedger checks the ledger of a place, which nobody has open.
func (c *cluster) checkLedger(t *testing.T, place int, acknowledged map[string]uint64, notes map[uint64]tlog.Checkpoint) {
	t.Helper()
	log, err := tlog.Open(filepath.Join(c.specs[place].Dir, "epoch", "1", "tiles"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var all [][]byte
	for size := log.Size(); uint64(len(all)) < size; {
		more, err := log.Entries(uint64(len(all)), min(size, uint64(len(all))+4096))
		if err != nil {
			t.Fatalf("place %d: %v", place, err)
		}
		all = append(all, more...)
	}
	seen := map[string]bool{}
	for i, e := range all {
		if seen[string(e)] {
			t.Errorf("place %d: entry %d is there twice", place, i)
		}
		seen[string(e)] = true
	}
	lost := 0
	for e, at := range acknowledged {
		if at >= uint64(len(all)) || !bytes.Equal(all[at], []byte(e)) {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("place %d: %d acknowledged entries are not where that was said", place, lost)
	}
	for _, size := range slices.Sorted(maps.Keys(notes)) {
		if root, err := log.Root(size); err != nil || root != notes[size].Root {
			t.Errorf("place %d: its tree of %d is not that of the checkpoint: %v", place, size, err)
		}
	}
}
