//go:build linux

package proc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/watchward/watchward/testnet/proc"
)

// Two hospitals in networks of their own hear each other, not while they are
// cut apart, and again after it.
func TestNetwork(t *testing.T) {
	w, err := proc.NewNetwork(1)
	if errors.Is(err, proc.ErrNoNetwork) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	dir, err := os.MkdirTemp("", "ww")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	r, err := proc.NewRegion(within(t, time.Minute), proc.Config{Binary: binary(t), Dir: dir, Names: []string{"St Anna", "Riverside General"}, Network: w})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	a, b := r.Nodes[0], r.Nodes[1]
	if err := r.Split(r.Nodes[:1], r.Nodes[1:]); err != nil {
		t.Fatal(err)
	}
	// Nothing is left of the connection, and no new one comes about.
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	peers := func(ctx context.Context, n *proc.Node) (int, error) {
		c, err := n.Client()
		if err != nil {
			return 0, err
		}
		defer c.Close()
		s, err := c.Status(ctx)
		return s.Peers, err
	}
	_, before := w.Packets()
	err = proc.Poll(within(t, time.Minute), func() error { // it dials, and that is lost
		if _, dropped := w.Packets(); dropped < before+3 {
			return fmt.Errorf("%d packets were dropped", dropped-before)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := peers(t.Context(), b); err != nil || n != 0 {
		t.Fatalf("while they are cut apart %s has %d peers, error %v", b.Name, n, err)
	}
	// A command runs where its node is.
	if answer, err := a.Run(t.Context(), nil, "status"); err != nil || answer.Code != 0 {
		t.Fatalf("status: %+v, %v", answer, err)
	}
	r.Heal()
	if err := r.AwaitPeers(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
}

// What a dead run has left is removed by the next one, and nobody else's.
func TestDisksOfDeadRunsAreRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	const nobody = 1 << 30 // above every process id
	left := filepath.Join(os.TempDir(), fmt.Sprintf("watchward-disk-%d-x", nobody))
	other := filepath.Join(os.TempDir(), fmt.Sprintf("watchward-disk-%d-x", os.Getppid()))
	for _, dir := range []string{left, other} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d, err := proc.MountDisk(1 << 20)
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("%s is there still: %v", left, err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("that of a living process was removed: %v", err)
	}
}
