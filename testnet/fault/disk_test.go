//go:build linux

package fault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/testnet/fault"
	"github.com/watchward/watchward/testnet/proc"
)

// endMax is how long a node may take to notice what it cannot live with.
const endMax = 15 * time.Second

// syncs are the calls that make a write durable.
const syncs = "fsync,fdatasync,msync"

// inject makes calls of a node fail, or skips the test.
func inject(t *testing.T, n *proc.Node, how, path string, once bool) *proc.Injection {
	t.Helper()
	i, err := n.Inject(syncs, how, path, once)
	if errors.Is(err, proc.ErrNoTrace) {
		t.Skipf("SKIPPED: this fault was not tried: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// A node is killed at random moments while it takes words. What it acknowledged
// is there afterwards, at everybody.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := setting(t, "WATCHWARD_FAULT_KILLS", 20)
	d, n := hospitals(t, 2, nil, nil)
	for round := range rounds {
		victim := n[round%len(n)]
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ctx.Err() == nil; i++ { // until the kill cuts one off
				if d.Say(ctx, victim, fault.Options{TLP: "GREEN"}, fmt.Sprintf("kill-%d-%d.example", round, i), fmt.Sprintf("kill-%d-%d-b.example", round, i)) != nil {
					return
				}
			}
		}()
		before := d.Acknowledged()
		const least = 4 // words, then it goes in the middle of something
		must(t, proc.Poll(within(t, wordMax), func() error {
			if d.Acknowledged() < before+least {
				return errors.New("too few words were acknowledged")
			}
			return nil
		}))
		must(t, victim.Kill())
		cancel()
		<-done
		must(t, victim.Start(t.Context()))
	}
	check(t, d)
}

// An fsync fails, once or for good: the node acknowledges nothing more, ends, and
// what it had acknowledged is there when it starts again.
func TestFailedSync(t *testing.T) {
	for name, once := range map[string]bool{"once": true, "for good": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, n := hospitals(t, 2, nil, nil)
			say(t, d, n[0], fault.Options{}, "before.example")
			await(t, wordMax, n[1], "before.example")
			i := inject(t, n[0], "error=EIO", "", once)
			err := d.Say(t.Context(), n[0], fault.Options{}, "doubtful.example")
			if err == nil {
				t.Error("a word was acknowledged whose fsync failed")
			}
			t.Logf("the word was answered with: %v", err)
			ended(t, n[0], i, 1)
			if log := n[0].Log(); !strings.Contains(log, "writing to disk failed") {
				t.Errorf("it does not say why it ended: %s", log)
			}
			must(t, n[0].Start(t.Context()))
			say(t, d, n[0], fault.Options{}, "after.example")
			check(t, d)
		})
	}
}

// ended waits until a node has ended by itself with an exit code, and a call of
// it had been made to fail.
func ended(t *testing.T, n *proc.Node, i *proc.Injection, code int) {
	t.Helper()
	start := time.Now()
	select {
	case <-n.Ended():
	case <-time.After(endMax):
		_, _ = i.Close()
		t.Fatalf("the node runs on %s after a failed fsync", endMax)
	}
	said, err := i.Close()
	must(t, err)
	if !strings.Contains(said, "INJECTED") {
		t.Fatalf("no call failed: %s", said)
	}
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(n.How(), &exit) {
		got = exit.ExitCode()
	}
	if got != code {
		t.Errorf("it ended with exit code %d, want %d: %s", got, code, n.Log())
	}
	t.Logf("the node ended by itself after %s", time.Since(start).Round(time.Millisecond))
}

// The fsync of Badger's list of tables fails once, while the node stops.
func TestFailedSyncOfTheTableList(t *testing.T) {
	t.Parallel()
	d, n := hospitals(t, 2, nil, nil)
	say(t, d, n[0], fault.Options{}, "before.example")
	await(t, wordMax, n[1], "before.example")
	i := inject(t, n[0], "error=EIO", filepath.Join(n[0].Dir, "store", "MANIFEST"), true)
	stopped := n[0].Stop()
	said, err := i.Close()
	must(t, err)
	if !strings.Contains(said, "INJECTED") {
		t.Fatalf("no call failed: %s", said)
	}
	t.Logf("it stopped with: %v", stopped)
	must(t, n[0].Start(t.Context()))
	check(t, d)
}

// The disk hangs for seconds: nothing is acknowledged meanwhile, and health answers.
func TestStalledSync(t *testing.T) {
	t.Parallel()
	stalled(t, time.Second, func(ctx context.Context, n *proc.Node) error {
		status, _, err := n.Get(ctx, "/healthz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("health is answered with %d", status)
		}
		return err
	})
}

// Nor does a lookup wait for the disk.
func TestLookupWhileTheDiskHangs(t *testing.T) {
	t.Parallel()
	stalled(t, time.Second, func(ctx context.Context, n *proc.Node) error { return fault.Knows(ctx, n, "before.example") })
}

// stalled makes the disk hang while a word is said, and asks the node something
// meanwhile that must be answered within a time.
func stalled(t *testing.T, limit time.Duration, ask func(context.Context, *proc.Node) error) {
	t.Helper()
	const stall = 3 * time.Second
	d, n := hospitals(t, 2, nil, nil)
	say(t, d, n[0], fault.Options{}, "before.example")
	await(t, wordMax, n[1], "before.example")
	i := inject(t, n[0], fmt.Sprintf("delay_enter=%d", stall.Microseconds()), "", true)
	start := time.Now()
	said := make(chan error, 1)
	go func() { said <- d.Say(t.Context(), n[0], fault.Options{}, "stalled.example") }()
	asked, slowest := 0, time.Duration(0)
	for over := false; !over; asked++ {
		before := time.Now()
		must(t, ask(t.Context(), n[0]))
		slowest = max(slowest, time.Since(before))
		select {
		case err := <-said:
			must(t, err)
			over = true
		default:
		}
	}
	took := time.Since(start)
	t.Logf("acknowledged after %s; the slowest of %d answers meanwhile took %s", took.Round(time.Millisecond), asked, slowest.Round(time.Millisecond))
	if took < stall {
		t.Errorf("the word was acknowledged after %s, before the disk had it", took)
	}
	if slowest > limit {
		t.Errorf("an answer took %s while the disk hung, more than %s", slowest, limit)
	}
	_, err := i.Close()
	must(t, err)
	check(t, d)
}

// The disk is full: nothing is taken, everything is answered, and once there is
// room again writing goes on without a restart.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	const size, room = 400 << 20, 64 << 20 // the node keeps a reserve of 256 MiB
	disk, err := proc.MountDisk(size)
	if err != nil {
		t.Skipf("SKIPPED: this fault was not tried: %v", err)
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	full := filepath.Join(disk.Dir, "n")
	d, n := hospitals(t, 2, nil, map[int]string{1: full})
	must(t, n[1].Stop())
	path := filepath.Join(full, "config.toml")
	config, err := os.ReadFile(path)
	must(t, err)
	config = bytes.Replace(config, []byte("#min_members = 0"), []byte("min_members = 1"), 1)
	must(t, os.WriteFile(path, append(config, "\n[[feeds.list]]\nname = \"names\"\nformat = \"plain\"\ntypes = [\"domain\"]\n"...), 0o600))
	must(t, n[1].Start(t.Context()))
	token, err := os.ReadFile(filepath.Join(full, "token"))
	must(t, err)
	feed := "/feeds/" + strings.TrimSpace(string(token)) + "/names"
	say(t, d, n[1], fault.Options{}, "before.example")
	await(t, wordMax, n[0], "before.example")
	for _, free := range []int64{room, 0} {
		ballast, err := disk.Fill(free)
		must(t, err)
		err = d.Say(t.Context(), n[1], fault.Options{}, fmt.Sprintf("refused-%d.example", free))
		var e *client.Error
		if !errors.As(err, &e) || e.Problem == nil || e.Problem.Status != http.StatusServiceUnavailable || !strings.Contains(e.Problem.Detail, "disk") {
			t.Errorf("a word for a full disk is answered with %v, want 503 and that the disk is full", err)
		}
		elsewhere := fmt.Sprintf("elsewhere-%d.example", free)
		say(t, d, n[0], fault.Options{Urgent: true}, elsewhere)
		must(t, fault.Knows(t.Context(), n[1], "before.example"))
		if status, text, err := n[1].Get(t.Context(), feed); err != nil || status != http.StatusOK || !strings.Contains(text, "before.example\n") {
			t.Errorf("the feed with a full disk: %d %q %v", status, text, err)
		}
		if status, text, err := n[1].Get(t.Context(), "/readyz"); err != nil || status != http.StatusOK {
			t.Errorf("ready with a full disk: %d %s %v", status, text, err)
		}
		must(t, os.Remove(ballast))
		say(t, d, n[1], fault.Options{}, fmt.Sprintf("room-again-%d.example", free))
		t.Logf("with %d MiB free; what was said elsewhere came %s after there was room", free>>20, await(t, healMax, n[1], elsewhere).Round(time.Millisecond))
	}
	check(t, d)
}
