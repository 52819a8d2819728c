//go:build unix

package proc_test

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

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

// region starts a region and ends its processes with the test.
func region(t *testing.T, names ...string) *proc.Region {
	t.Helper()
	r, err := proc.NewRegion(t.Context(), proc.Config{Binary: binary(t), Dir: t.TempDir(), Names: names})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, n := range r.Nodes {
				t.Logf("%s logged at the end: %s", n.Name, n.Log())
			}
		}
	})
	return r
}

func TestStopAndKill(t *testing.T) {
	r := region(t, "St Anna", "Riverside General")
	for _, n := range r.Nodes {
		pid := n.Pid()
		if err := n.Stop(); err != nil {
			t.Fatalf("a node that is told to stop: %v", err)
		}
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("process %d of %s is there after Stop", pid, n.Name)
		}
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.AwaitPeers(within(t, time.Minute)); err != nil {
		t.Fatalf("after both were stopped and started: %v", err)
	}
	pid := r.Nodes[0].Pid()
	if err := r.Nodes[0].Kill(); err != nil {
		t.Fatal(err)
	}
	if r.Nodes[0].Running() || syscall.Kill(pid, 0) == nil {
		t.Errorf("process %d is there after Kill", pid)
	}
	if a, err := r.Nodes[0].Run(t.Context(), nil, "status"); err != nil || a.Code != 3 {
		t.Errorf("status of a node that was killed: %+v, %v, want exit code 3", a, err)
	}
}

// within is a context for waiting on something.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Regions that endorse each other hear what is GREEN of each other, on loopback
// too, where anybody can try it.
func TestRegionsEndorseEachOther(t *testing.T) {
	regions, err := proc.NewRegions(within(t, time.Minute),
		proc.Config{Binary: binary(t), Dir: t.TempDir(), Names: []string{"St Anna"}},
		proc.Config{Binary: binary(t), Dir: t.TempDir(), Names: []string{"Riverside General", "County Clinic"}})
	t.Cleanup(func() {
		for _, r := range regions {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	a, b := regions[0].Nodes[0], regions[1].Nodes[1]
	if a, err := a.Run(t.Context(), nil, "report", "evil.example", "--tlp", "GREEN"); err != nil || a.Code != 0 {
		t.Fatalf("report: %+v, %v", a, err)
	}
	err = proc.Poll(within(t, time.Minute), func() error {
		answer, err := b.Run(t.Context(), nil, "lookup", "evil.example")
		if err == nil && answer.Code != 0 {
			err = fmt.Errorf("%s of %s answers %d: %s%s", b.Name, b.Region.Name, answer.Code, answer.Out, answer.Err)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
