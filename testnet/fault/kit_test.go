//go:build linux

package fault_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/watchward/watchward/testnet/fault"
	"github.com/watchward/watchward/testnet/proc"
)

func TestMain(m *testing.M) {
	code := m.Run()
	_ = built.Close()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

// built is the binary under test.
var built proc.Builder

func binary(t *testing.T) string {
	t.Helper()
	path, err := built.Binary(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// setting is a number that an environment variable may change, for longer runs.
func setting(t *testing.T, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is no number above 0", name, text)
	}
	return n
}

// seed is what a test draws its random choices from.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := setting(t, "WATCHWARD_FAULT_SEED", int(time.Now().UnixNano()))
	t.Logf("the same choices again: WATCHWARD_FAULT_SEED=%d", n)
	return uint64(n)
}

// network gives nodes networks of their own, or skips the test.
func network(t *testing.T) *proc.Network {
	t.Helper()
	w, err := proc.NewNetwork(seed(t))
	if errors.Is(err, proc.ErrNoNetwork) {
		t.Skipf("SKIPPED: this fault was not tried: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// hospitals starts a region of n, in a network or (nil) on loopback, and ends
// its processes with the test.
func hospitals(t *testing.T, n int, w *proc.Network, dirs map[int]string) (*fault.Driver, []*proc.Node) {
	t.Helper()
	d := federation(t, w, dirs, n)
	return d, d.Region.Nodes
}

// federation is hospitals for several regions that endorse each other, of so
// many hospitals each; dirs are of the first.
func federation(t *testing.T, w *proc.Network, dirs map[int]string, sizes ...int) *fault.Driver {
	t.Helper()
	return makeRegions(t, proc.Config{Network: w, Dirs: dirs}, sizes...)
}

// makeRegions is federation for regions like c; its Dirs are of the first.
func makeRegions(t *testing.T, c proc.Config, sizes ...int) *fault.Driver {
	t.Helper()
	// Not t.TempDir, which is too long for a socket's path.
	dir, err := os.MkdirTemp("", "ww")
	if err != nil {
		t.Fatal(err)
	}
	var configs []proc.Config
	number := 0
	for i, n := range sizes {
		c.Binary, c.Dir, c.Names = binary(t), filepath.Join(dir, strconv.Itoa(i)), nil
		for range n {
			number++
			c.Names = append(c.Names, fmt.Sprintf("Hospital %d", number))
		}
		configs, c.Dirs = append(configs, c), nil
	}
	regions, err := proc.NewRegions(within(t, 2*time.Minute), configs...)
	t.Cleanup(func() {
		for _, r := range regions {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			for _, n := range r.Nodes {
				if t.Failed() {
					t.Logf("%s logged at the end: %s", n.Name, n.Log())
				}
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return fault.NewDriver(regions...)
}

// check checks the invariants at the end of a scenario.
func check(t *testing.T, d *fault.Driver) {
	t.Helper()
	start := time.Now()
	if err := d.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d acknowledged words; I1 to I4 hold after %s", d.Acknowledged(), time.Since(start).Round(time.Millisecond))
}

func say(t *testing.T, d *fault.Driver, n *proc.Node, o fault.Options, values ...string) {
	t.Helper()
	if err := d.Say(t.Context(), n, o, values...); err != nil {
		t.Fatal(err)
	}
}

// await waits until a node knows values.
func await(t *testing.T, limit time.Duration, n *proc.Node, values ...string) time.Duration {
	t.Helper()
	start := time.Now()
	if err := fault.Await(within(t, limit), n, values...); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within is a context for waiting on something.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
