package ledger_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger"
	"github.com/watchward/watchward/ledger/ledgertest"
)

const (
	beat = 200 * time.Millisecond
	soon = 30 * time.Second // far more than anything takes
)

// A cluster is the ledgers of a region's members on a network in this process.
type cluster struct {
	t      *testing.T
	region *testkit.Region
	net    *ledgertest.Network
	nodes  map[string]*node
}

// A node is one member, with or without a running ledger.
type node struct {
	*ledger.Ledger
	running atomic.Pointer[ledger.Ledger] // the same, nil while it is stopped; for all goroutines
	c       *cluster
	member  *testkit.Member
	dir     string
	roster  *trust.Roster
	disk    func(raft.LogStore) raft.LogStore
	now     func() time.Time // nil: the real one
	beat    time.Duration    // 0: that of the others

	mu     sync.Mutex
	alarms []ledger.Alarm
}

// newCluster makes a region whose voters are named a, b, c, …, and others that are not.
func newCluster(t *testing.T, voters int, others ...string) *cluster {
	t.Helper()
	var names []string
	for i := range voters {
		names = append(names, string(rune('a'+i)))
	}
	c := &cluster{t: t, region: testkit.NewRegionLedger(t, "test", names, nil), net: ledgertest.New(), nodes: map[string]*node{}}
	if len(others) > 0 {
		c.region.AdmitAs(t, trust.RoleCoordinator, others...)
	}
	for _, m := range c.region.Members {
		c.nodes[m.Credential.Name] = &node{c: c, member: m, dir: t.TempDir(), roster: c.region.Roster(t)}
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.stop()
		}
	})
	return c
}

func (c *cluster) start(names ...string) {
	c.t.Helper()
	for _, name := range names {
		c.nodes[name].start()
	}
}

func (n *node) peer() string { return string(n.member.Credential.Peer) }

func (n *node) start() {
	n.c.t.Helper()
	if err := n.open(); err != nil {
		n.c.t.Fatal(err)
	}
}

func (n *node) open() error {
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() && os.Getenv("LEDGER_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", n.member.Credential.Name)
	}
	port := n.c.net.Join(n.peer())
	c := ledger.Config{
		Dir: n.dir, Region: n.c.region.ID, Self: n.member.ID, Key: crypto.NewLedgerKey(n.member.Signing), Roster: n.roster,
		Network: port, MaxAge: 10 * time.Minute, Heartbeat: cmp.Or(n.beat, beat), Mirror: true, Vote: true, Raise: n.raise, Now: n.now, Log: log,
	}
	if n.disk != nil {
		c.OnDisk(n.disk)
	}
	l, err := ledger.Open(c)
	if err != nil {
		return err
	}
	n.Ledger = l
	port.Notes(func(region crypto.Region, note []byte) { l.Note(region, note) })
	err = l.Start()
	n.running.Store(l)
	return err
}

// stop ends a node in order.
func (n *node) stop() {
	l := n.running.Swap(nil)
	if l == nil {
		return
	}
	n.c.net.Leave(n.peer())
	if err := l.Close(); err != nil && l.Err() == nil {
		n.c.t.Errorf("close %s: %v", n.member.Credential.Name, err)
	}
}

func (n *node) raise(a ledger.Alarm) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.alarms = append(n.alarms, a)
}

func (n *node) alarmed(kind string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.alarms {
		if a.Kind == kind {
			return true
		}
	}
	return false
}

// wait waits for a condition, of one node or of all.
func (c *cluster) wait(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(soon); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("not within %v: %s", soon, what)
		}
	}
}

// leader waits for a leader among the nodes that run.
func (c *cluster) leader(except ...*node) (found *node) {
	c.t.Helper()
	c.wait("a leader", func() bool {
	next:
		for _, n := range c.nodes {
			for _, e := range except {
				if n == e {
					continue next
				}
			}
			if l := n.running.Load(); l != nil && l.Leads() {
				found = n
				return true
			}
		}
		return false
	})
	return found
}

// append appends at whoever leads, as the leader's node does: again until it is in.
func (c *cluster) append(entries ...[]byte) []ledger.Appended {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), soon)
	defer cancel()
	for {
		out, err := c.leader().Append(ctx, entries...)
		if err == nil {
			return out
		}
		var not ledger.ErrNotLeader
		if !errors.As(err, &not) && !errors.Is(err, ledger.ErrNoQuorum) && !errors.Is(err, ledger.ErrClosed) {
			c.t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// same waits until the nodes have the same tree of a size.
func (c *cluster) same(size uint64, names ...string) {
	c.t.Helper()
	var want crypto.Hash
	for i, name := range names {
		n := c.nodes[name]
		c.wait(fmt.Sprintf("%d entries at %s", size, name), func() bool { return n.Status().Size >= size })
		got, root, err := n.Tree()
		if err != nil || got != size {
			c.t.Fatalf("%s has %d entries, want %d: %v", name, got, size, err)
		}
		if i > 0 && root != want {
			c.t.Fatalf("%s has root %s, %s has %s", name, root, names[0], want)
		}
		want = root
	}
}

// voters waits until every voter of the charter votes and nobody else is in the configuration.
func (c *cluster) voters(n int) {
	c.t.Helper()
	c.wait(fmt.Sprintf("%d voters", n), func() bool {
		voters, others := c.leader().RaftServers()
		return voters == n && others == 0
	})
}

func entryOf(format string, args ...any) []byte { return fmt.Appendf(nil, format, args...) }

func entriesOf(prefix string, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = entryOf("%s/%d", prefix, i)
	}
	return out
}

func raftDir(n *node) string { return filepath.Join(n.dir, "epoch", "1", "raft") }
