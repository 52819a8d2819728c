package ledger_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/hashicorp/raft"

	"github.com/watchward/watchward/ledger"
)

// Bounds of one history.
const (
	historyClients = 5
	historyFaults  = 10
	historyPause   = 400 * time.Millisecond // at most between two faults
	historyWait    = 2 * time.Second        // of one call
	historyCheck   = time.Minute
)

// number is what an environment variable says, for longer runs.
func number(t *testing.T, name string, usual uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// Clients append and read strongly, at all nodes, while leaders die, the network breaks
// and disks wait. What they saw must be explained by one ledger that does one thing after
// the other: nothing acknowledged is lost, nothing is in twice, and no strong read is stale.
func TestHistoriesAreLinearizable(t *testing.T) {
	t.Parallel()
	seed := number(t, "WATCHWARD_FAULT_SEED", uint64(time.Now().UnixNano()))
	for i := range number(t, "WATCHWARD_LEDGER_HISTORIES", 2) {
		t.Run(fmt.Sprint(seed+i), func(t *testing.T) {
			t.Parallel()
			t.Logf("the same faults again: WATCHWARD_FAULT_SEED=%d WATCHWARD_LEDGER_HISTORIES=1", seed+i)
			newHistory(t, seed+i).run()
		})
	}
}

// A history is what clients asked and were told.
type history struct {
	*cluster
	random *rand.Rand // of the faults
	begun  time.Time
	disks  map[*node]*slowDisk
	uses   map[*node]*use

	mu  sync.Mutex
	all []porcupine.Operation
}

// A use lets a node end once nobody calls it any more.
type use struct {
	sync.RWMutex
	ctx    context.Context
	cancel context.CancelFunc
}

// A question is an append or a strong read of an entry.
type question struct {
	entry string
	read  bool
}

// A reply is what was told; of no use if nobody knows what became of an append.
type reply struct {
	known   bool
	index   uint64
	size    uint64 // of a read
	unknown bool
}

// A slowDisk makes each write of the raft log wait.
type slowDisk struct {
	raft.LogStore
	mu   sync.Mutex
	wait time.Duration
}

func (d *slowDisk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

func (d *slowDisk) StoreLogs(logs []*raft.Log) error {
	d.mu.Lock()
	wait := d.wait
	d.mu.Unlock()
	time.Sleep(wait)
	return d.LogStore.StoreLogs(logs)
}

func (d *slowDisk) set(wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wait = wait
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{
		cluster: newWitnessed(t, []string{"a", "b", "c"}, nil, "h"), random: rand.New(rand.NewPCG(seed, 0)),
		begun: time.Now(), disks: map[*node]*slowDisk{}, uses: map[*node]*use{},
	}
	for _, n := range h.nodes {
		d := &slowDisk{}
		h.disks[n], h.uses[n] = d, &use{}
		n.disk = func(s raft.LogStore) raft.LogStore { d.LogStore = s; return d }
	}
	h.nodes["c"].beat = 8 * beat // its clock is slow: as a leader it believes in its lease while others lead
	return h
}

func (h *history) run() {
	h.t.Helper()
	for _, name := range []string{"a", "b", "c", "h"} {
		h.up(h.nodes[name])
	}
	slow := h.nodes["c"]
	h.wait("the slow one leads", func() bool {
		_ = h.leader().Transfer(h.t.Context(), slow.member.ID)
		return slow.Leads()
	})
	ctx, cancel := context.WithCancel(h.t.Context())
	var clients sync.WaitGroup
	for k := range historyClients {
		random := rand.New(rand.NewPCG(h.random.Uint64(), uint64(k)))
		clients.Go(func() { h.client(ctx, k, random) })
	}
	time.Sleep(beat)
	// What was acknowledged before the faults can be lost in them, however little is answered then.
	h.wait("an append and a strong read are answered", h.answered)
	h.t.Logf("%v: c is cut off", h.at())
	h.net.Isolate(slow.peer())
	time.Sleep(6 * beat) // in which the others elect and append
	for range historyFaults {
		time.Sleep(time.Duration(h.random.Int64N(int64(historyPause))))
		h.breakSomething()
	}
	h.heal()
	cancel()
	clients.Wait()
	h.append([]byte("the last"))
	size := h.leader().Status().Size
	h.same(size, "a", "b", "c", "h")
	h.judge(size)
}

// breakSomething does one thing that happens to ledgers, and mends another.
func (h *history) breakSomething() {
	voters := []*node{h.nodes["a"], h.nodes["b"], h.nodes["c"]}
	n := voters[h.random.IntN(3)]
	other := voters[h.random.IntN(3)]
	for other == n {
		other = voters[h.random.IntN(3)]
	}
	kind := h.random.IntN(8)
	if h.random.IntN(2) == 0 { // rather whoever leads
		for _, v := range voters {
			if l := v.running.Load(); l != nil && l.Leads() {
				n = v
			}
		}
	}
	if n == other {
		other = voters[(slices.Index(voters, n)+1)%3]
	}
	names := n.member.Credential.Name + " and " + other.member.Credential.Name
	switch kind {
	case 0, 1:
		h.t.Logf("%v: %s dies", h.at(), names[:1])
		h.down(n)
	case 2:
		h.t.Logf("%v: %s is cut off", h.at(), names[:1])
		h.net.Isolate(n.peer())
	case 3:
		h.t.Logf("%v: %s do not hear each other", h.at(), names)
		h.net.Cut(n.peer(), other.peer())
	case 4:
		h.t.Logf("%v: of %s the second does not hear the first", h.at(), names)
		h.net.Mute(n.peer(), other.peer())
	case 5, 6:
		wait := time.Duration(h.random.Int64N(int64(6 * beat)))
		h.t.Logf("%v: each write of %s takes %v", h.at(), names[:1], wait)
		h.disks[n].set(wait)
	case 7:
		h.t.Logf("%v: all is well again", h.at())
		h.heal()
	}
	for _, v := range voters { // who died comes back at the next fault or the one after
		if v != n && v.running.Load() == nil && h.random.IntN(2) == 0 {
			h.t.Logf("%v: %s is back", h.at(), v.member.Credential.Name)
			h.up(v)
		}
	}
}

func (h *history) at() time.Duration { return time.Since(h.begun).Round(time.Millisecond) }

func (h *history) heal() {
	for _, n := range h.nodes {
		h.net.Rejoin(n.peer())
		h.disks[n].set(0)
	}
	for _, n := range h.nodes {
		if n.running.Load() == nil {
			h.up(n)
		}
	}
}

func (h *history) up(n *node) {
	h.t.Helper()
	u := h.uses[n]
	u.Lock()
	defer u.Unlock()
	u.ctx, u.cancel = context.WithCancel(h.t.Context())
	n.start()
}

func (h *history) down(n *node) {
	if n.running.Load() == nil {
		return
	}
	h.net.Leave(n.peer()) // from here on the others do not hear it
	h.disks[n].set(0)
	u := h.uses[n]
	u.cancel()
	u.Lock()
	defer u.Unlock()
	n.stop()
}

// client appends its entries one after the other, each until it is in, and reads what
// anybody may have appended.
func (h *history) client(ctx context.Context, number int, random *rand.Rand) {
	next := 0
	for ctx.Err() == nil {
		n := h.nodes[string("abch"[random.IntN(4)])]
		q := question{entry: fmt.Sprintf("%d/%d", number, next)}
		if random.IntN(2) == 0 {
			q.read = true
			if q.entry = fmt.Sprintf("%d/%d", random.IntN(historyClients), max(0, next-2+random.IntN(4))); random.IntN(3) == 0 {
				q.entry = fmt.Sprintf("%d/%d", number, max(0, next-1)) // the own last one
			}
		}
		done, pause := h.ask(number, n, q)
		if done && !q.read {
			next++
		}
		if pause {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// ask asks a node, and writes down what it said.
func (h *history) ask(client int, n *node, q question) (done, pause bool) {
	u := h.uses[n]
	u.RLock()
	defer u.RUnlock()
	l := n.running.Load()
	if l == nil || !q.read && !l.Leads() {
		return false, true
	}
	ctx, cancel := context.WithTimeout(u.ctx, historyWait)
	defer cancel()
	call := time.Since(h.begun)
	var a reply
	var err error
	if q.read {
		var f ledger.Found
		f, err = l.Find(ctx, []byte(q.entry), true)
		a = reply{known: f.Known, index: f.Index, size: f.Size}
	} else {
		var out []ledger.Appended
		if out, err = l.Append(ctx, []byte(q.entry)); err == nil {
			a = reply{known: out[0].Known, index: out[0].Index}
		}
	}
	back := int64(time.Since(h.begun))
	switch {
	case err != nil && q.read:
		return false, true // it says nothing
	case err != nil:
		a, back = reply{unknown: true}, math.MaxInt64 // it may still happen
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, porcupine.Operation{ClientId: client, Input: q, Call: int64(call), Output: a, Return: back})
	return err == nil, err != nil
}

// answered reports whether an append and a strong read were answered already.
func (h *history) answered() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	var appended, read bool
	for _, o := range h.all {
		if o.Input.(question).read {
			read = true
		} else if !o.Output.(reply).unknown {
			appended = true
		}
	}
	return appended && read
}

// judge holds the history against the order that the ledger says it had. The state of the
// model is how many entries of it are there.
func (h *history) judge(size uint64) {
	h.t.Helper()
	entries, err := h.leader().EntriesOf(1, 0, size)
	if err != nil {
		h.t.Fatal(err)
	}
	place := map[string]uint64{}
	for i, e := range entries {
		if at, twice := place[string(e)]; twice {
			h.t.Fatalf("%s is in the ledger at %d and at %d", e, at, i)
		}
		place[string(e)] = uint64(i)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var reads, appends, doubtful int
	ops := slices.DeleteFunc(h.all, func(o porcupine.Operation) bool {
		q, a := o.Input.(question), o.Output.(reply)
		_, here := place[q.entry]
		switch {
		case q.read:
			reads++
		case a.unknown:
			doubtful++
			return !here // it never happened
		case !here:
			h.t.Errorf("%s was acknowledged at %d and is lost", q.entry, a.index)
		default:
			appends++
		}
		return false
	})
	if reads == 0 || appends == 0 {
		h.t.Fatalf("nothing was tried: %d appends and %d reads", appends, reads)
	}
	model := porcupine.Model{
		Init: func() any { return uint64(0) },
		Step: func(state, input, output any) (bool, any) {
			n, q, a := state.(uint64), input.(question), output.(reply)
			at, ever := place[q.entry]
			known := ever && at < n
			if q.read {
				return a.known == known && a.size == n && (!known || a.index == at), n
			}
			if known {
				return a.unknown || a.known && a.index == at, n
			}
			return at == n && (a.unknown || !a.known && a.index == at), n + 1
		},
	}
	if said := porcupine.CheckOperationsTimeout(model, ops, historyCheck); said != porcupine.Ok {
		h.t.Errorf("no order explains the history: %s", said)
	}
	h.t.Logf("%d appends and %d strong reads were answered, %d appends had no answer; %d entries", appends, reads, doubtful, size)
}
