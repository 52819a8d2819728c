package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/entry"
	"github.com/watchward/watchward/ledger/tlog"
)

// A wire joins the nodes of a test in one process. Streams are pipes; what is announced
// reaches everybody who relays it.
type testWires struct {
	mu    sync.Mutex
	nodes map[string]*testNet // by peer
	down  map[string]bool
	asked map[string]int // streams opened, by peer
}

type testNet struct {
	wires *testWires
	peer  string

	mu       sync.Mutex
	handlers map[string]testHandler
	ledger   *Ledger
}

type testHandler struct {
	allow func(string) bool
	h     func(string, Stream)
}

type testPipe struct{ net.Conn }

func (p testPipe) CloseWrite() error { return nil }
func (p testPipe) Reset() error      { return p.Close() }

var errTestUnreachable = errors.New("not connected")

func (n *testNet) Open(_ context.Context, peer, protocol string) (Stream, error) {
	w := n.wires
	w.mu.Lock()
	other := w.nodes[peer]
	if other == nil || w.down[peer] || w.down[n.peer] {
		w.mu.Unlock()
		return nil, errTestUnreachable
	}
	w.asked[peer]++
	w.mu.Unlock()
	other.mu.Lock()
	h, ok := other.handlers[protocol]
	other.mu.Unlock()
	if !ok || !h.allow(n.peer) {
		return nil, errTestUnreachable
	}
	a, b := net.Pipe()
	go h.h(n.peer, testPipe{b})
	return testPipe{a}, nil
}

func (n *testNet) Handle(protocol string, allow func(string) bool, h func(string, Stream)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h == nil {
		delete(n.handlers, protocol)
		return
	}
	n.handlers[protocol] = testHandler{allow, h}
}

func (n *testNet) Peers() (out []string) {
	w := n.wires
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down[n.peer] {
		return nil
	}
	for p := range w.nodes {
		if p != n.peer && !w.down[p] {
			out = append(out, p)
		}
	}
	return out
}

func (n *testNet) Announce(_ context.Context, region crypto.Region, raw []byte) error {
	w := n.wires
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down[n.peer] {
		return errTestUnreachable
	}
	for p, other := range w.nodes {
		if p != n.peer && !w.down[p] && other.ledger != nil {
			go other.ledger.Note(region, raw)
		}
	}
	return nil
}

// A testRegion has voters, witnesses and hospitals of one region, whose trees the test
// itself grows: there is no Raft in it.
type testRegion struct {
	t      *testing.T
	region *testkit.Region
	wires  *testWires
	clock  *testClock
}

type testClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newTestRegion(t *testing.T, voters, witnesses, hospitals int) *testRegion {
	t.Helper()
	names := func(kind string, n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("%s%d", kind, i+1))
		}
		return out
	}
	return &testRegion{
		t: t, region: testkit.NewRegionLedger(t, "test", names("v", voters), names("w", witnesses), names("h", hospitals)...),
		wires: &testWires{nodes: map[string]*testNet{}, down: map[string]bool{}, asked: map[string]int{}},
		clock: &testClock{at: time.Now()},
	}
}

// started is node, on the network.
func (r *testRegion) started(name string) *testNode {
	r.t.Helper()
	n := r.node(name, "")
	n.start()
	return n
}

// A testNode is one member's half of a ledger that needs no Raft.
type testNode struct {
	*Ledger
	r      *testRegion
	name   string
	member *testkit.Member
	roster *trust.Roster
	dir    string
	honest func(ctx context.Context, peer string, question message) (message, error)
	lie    atomic.Pointer[func(peer string, question message) (message, bool)]

	alarmed sync.Mutex
	alarms  []Alarm
	closed  bool
}

func (r *testRegion) member(name string) *testkit.Member {
	r.t.Helper()
	i := slices.IndexFunc(r.region.Members, func(m *testkit.Member) bool { return m.Credential.Name == name })
	if i < 0 {
		r.t.Fatalf("no member %q", name)
	}
	return r.region.Members[i]
}

// node opens a member's ledger in a directory, "" for a new one. It is not on the
// network yet.
func (r *testRegion) node(name, dir string, epochs ...uint32) *testNode {
	r.t.Helper()
	if dir == "" {
		dir = r.t.TempDir()
	}
	if len(epochs) == 0 {
		epochs = []uint32{1}
	}
	m := r.member(name)
	n := &testNode{r: r, name: name, member: m, roster: r.region.Roster(r.t), dir: dir}
	network := &testNet{wires: r.wires, peer: string(m.Credential.Peer), handlers: map[string]testHandler{}}
	n.Ledger = &Ledger{changed: make(chan struct{}), failed: make(chan struct{}), log: slog.New(slog.DiscardHandler), c: Config{
		Dir: dir, Region: r.region.ID, Self: m.ID, Key: crypto.NewLedgerKey(m.Signing), Roster: n.roster, Network: network,
		Mirror: true, MaxAge: 10 * time.Minute, Now: r.clock.now,
		Raise: n.raise,
	}}
	n.follow = newFollower(n.Ledger)
	n.follow.markMax = 300 * time.Millisecond
	n.honest = n.follow.server.answer
	n.follow.server.answer = func(ctx context.Context, peer string, q message) (message, error) {
		if lie := n.lie.Load(); lie != nil {
			if m, ok := (*lie)(peer, q); ok {
				return m, nil
			}
		}
		return n.honest(ctx, peer, q)
	}
	for _, number := range epochs {
		e := &epoch{number: number, origin: tlog.Origin(r.region.ID, number), dir: filepath.Join(dir, fmt.Sprint(number))}
		var err error
		if e.tree, err = openTree(e.dir, n.log); err != nil {
			r.t.Fatal(err)
		}
		if _, voter := seated(n.follow.councils.get().voters, m.ID); voter {
			e.replica = &replica{l: n.Ledger, e: e}
		}
		if e.track, err = n.follow.newTrack(e); err != nil {
			r.t.Fatal(err)
		}
		n.epochs = append(n.epochs, e)
	}
	network.ledger = n.Ledger
	r.t.Cleanup(n.close)
	return n
}

func (n *testNode) peer() string { return string(n.member.Credential.Peer) }

// close ends a node as a stop of its process does; twice does nothing.
func (n *testNode) close() {
	n.alarmed.Lock()
	closed := n.closed
	n.closed = true
	n.alarmed.Unlock()
	if closed {
		return
	}
	n.r.wires.mu.Lock()
	delete(n.r.wires.nodes, n.peer())
	n.r.wires.mu.Unlock()
	n.follow.stop()
	for _, e := range n.epochs {
		if err := e.tree.close(); err != nil {
			n.r.t.Errorf("close %s: %v", n.name, err)
		}
	}
}

func (n *testNode) cut(down bool) {
	n.r.wires.mu.Lock()
	defer n.r.wires.mu.Unlock()
	n.r.wires.down[n.peer()] = down
}

func (n *testNode) track() *track { return n.follow.current() }

// grow appends entries to a tree, as Raft would at a voter.
func (n *testNode) grow(entries ...[]byte) {
	n.r.t.Helper()
	if err := n.track().tree.Append(entries); err != nil {
		n.r.t.Fatal(err)
	}
}

// entry returns one of many different entries.
func testEntry(kind string, i int) []byte { return fmt.Appendf(nil, "%s entry %d", kind, i) }

func testEntries(kind string, from, to int) (out [][]byte) {
	for i := from; i < to; i++ {
		out = append(out, testEntry(kind, i))
	}
	return out
}

// signedBy returns the checkpoint of a tree under the lines of some members.
func (r *testRegion) signedBy(tree *tree, size uint64, epoch uint32, names ...string) []byte {
	r.t.Helper()
	root, err := tree.Root(size)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.noteOf(tlog.Checkpoint{Origin: tlog.Origin(r.region.ID, epoch), Size: size, Root: root}, names...)
}

func (r *testRegion) noteOf(c tlog.Checkpoint, names ...string) []byte {
	r.t.Helper()
	var notes [][]byte
	for _, name := range names {
		m := r.member(name)
		role := tlog.Voter
		if name[0] == 'w' {
			role = tlog.Witness
		}
		raw, err := tlog.Sign(c, tlog.Cosigner(r.region.ID, m.ID), crypto.NewLedgerKey(m.Signing), role, r.clock.now())
		if err != nil {
			r.t.Fatal(err)
		}
		notes = append(notes, raw)
	}
	raw, err := tlog.Merge(notes...)
	if err != nil {
		r.t.Fatal(err)
	}
	return raw
}

// eventually waits until something is so.
func (r *testRegion) eventually(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// holdsCheckpoint reports whether a node has a good checkpoint of a size.
func (n *testNode) holdsCheckpoint(size uint64) bool {
	_, c := n.Checkpoint()
	return c.Size == size
}

func (n *testNode) raise(a Alarm) {
	n.alarmed.Lock()
	defer n.alarmed.Unlock()
	n.alarms = append(n.alarms, a)
}

// lies makes a node answer some questions otherwise from now on, on top of earlier lies.
func (n *testNode) lies(lie func(peer string, question message) (message, bool)) {
	before := n.lie.Load()
	both := func(peer string, q message) (message, bool) {
		if m, ok := lie(peer, q); ok || before == nil {
			return m, ok
		}
		return (*before)(peer, q)
	}
	n.lie.Store(&both)
}

// start puts a node on the network.
func (n *testNode) start() {
	n.c.Network.(*testNet).join()
	n.follow.start()
}

func (n *testNet) join() {
	n.wires.mu.Lock()
	defer n.wires.mu.Unlock()
	n.wires.nodes[n.peer] = n
}

// signs waits until a voter or witness knows how much it has signed.
func (n *testNode) signs() {
	n.r.t.Helper()
	m := &n.track().marks
	n.r.eventually(n.name+" knows its mark", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.known })
}

// raised returns the alarms of a kind.
func (n *testNode) raised(kind string) (out []Alarm) {
	n.alarmed.Lock()
	defer n.alarmed.Unlock()
	for _, a := range n.alarms {
		if a.Kind == kind {
			out = append(out, a)
		}
	}
	return out
}

func amendEpoch(c *trust.Charter) { c.Ledger++ }

func linkTo(c tlog.Checkpoint) []byte { return entry.Encode(entry.Link, textHash(c)) }
