package ledger_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/watchward/watchward/ledger"
)

func TestMain(m *testing.M) {
	// badger's Open starts these two first and leaves them behind where it fails, as of an
	// index that a test has damaged. What a database that is not closed leaves is more.
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
		goleak.IgnoreTopFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"))
}

func TestThreeVotersAppend(t *testing.T) {
	c := newCluster(t, 3)
	c.start("a", "b", "c")
	got := c.append([]byte("one"), []byte("two"), []byte("one"))
	want := []ledger.Appended{{Index: 0}, {Index: 1}, {Index: 0, Known: true}}
	if !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if got := c.append([]byte("two")); got[0] != (ledger.Appended{Index: 1, Known: true}) {
		t.Fatalf("again: %v", got)
	}
	c.same(2, "a", "b", "c")

	leader := c.leader()
	for name, n := range c.nodes {
		if n == leader {
			continue
		}
		c.wait("a known leader", func() bool { m, ok := n.Leader(); return ok && m == leader.member.ID })
		var not ledger.ErrNotLeader
		if _, err := n.Append(t.Context(), []byte("three")); !errors.As(err, &not) || not.Leader != leader.member.ID {
			t.Errorf("append at %s: %v", name, err)
		}
		entries, err := n.EntriesOf(1, 0, 2)
		if err != nil || !bytes.Equal(entries[1], []byte("two")) {
			t.Errorf("entries at %s: %q, %v", name, entries, err)
		}
	}
}
