package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// diskPrefix begins the names of the directories that MountDisk makes.
const diskPrefix = "watchward-disk-"

// Pause stops the process without its noticing (SIGSTOP), Resume lets it go on.
func (n *Node) Pause() error { return n.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (n *Node) Resume() error { return n.signal(syscall.SIGCONT) }

func (n *Node) signal(s os.Signal) error {
	if !n.Running() {
		return fmt.Errorf("signal %s: it does not run", n.Name)
	}
	if err := n.command.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %s: %w", n.Name, err)
	}
	return nil
}

// OpenFiles returns how many files the node has open.
func (n *Node) OpenFiles() (int, error) {
	list, err := n.files()
	return len(list), err
}

func (n *Node) files() ([]os.DirEntry, error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.Pid()))
	if err != nil {
		return nil, fmt.Errorf("open files of %s: %w", n.Name, err)
	}
	return list, nil
}

// LimitFiles lets the running node open so many files beyond those it has open,
// and returns how many it had.
func (n *Node) LimitFiles(more int) (open int, err error) {
	list, err := n.files()
	if err != nil {
		return 0, err
	}
	// The limit is a highest number, and numbers have gaps.
	used := map[int]bool{}
	for _, e := range list {
		if fd, err := strconv.Atoi(e.Name()); err == nil {
			used[fd] = true
		}
	}
	limit := 0
	for free := 0; free < more; limit++ {
		if !used[limit] {
			free++
		}
	}
	if err := unix.Prlimit(n.Pid(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(limit), Max: uint64(limit)}, nil); err != nil {
		return 0, fmt.Errorf("limit files of %s: %w", n.Name, err)
	}
	return len(list), nil
}

// Slow limits a node's line to so many kbit/s each way: what it sends by the
// kernel's token bucket (tc tbf), what it gets by the switch. 0 lifts both.
func (n *Node) Slow(ctx context.Context, kbit int) error {
	if n.port == nil {
		return fmt.Errorf("slow %s: %w", n.Name, ErrNoNetwork)
	}
	args := []string{"qdisc", "replace", "dev", wireName, "root", "tbf", "rate", fmt.Sprint(kbit) + "kbit", "burst", "3000", "latency", backlogMax.String()}
	if kbit == 0 {
		args = []string{"qdisc", "del", "dev", wireName, "root"}
	}
	var said strings.Builder
	c := exec.CommandContext(ctx, "tc", args...)
	c.Stderr = &said
	err := n.start(c)
	if err == nil {
		err = c.Wait()
	}
	if err != nil {
		return fmt.Errorf("slow %s: tc %s: %w: %s", n.Name, strings.Join(args, " "), err, said.String())
	}
	n.net.slow(n.port, kbit)
	return nil
}

// A Disk is a small file system in memory.
type Disk struct{ Dir string }

// MountDisk mounts a disk of so many bytes on a new directory. What dead runs
// have left is removed first.
func MountDisk(bytes int64) (*Disk, error) {
	if err := reapDisks(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", diskPrefix, os.Getpid()))
	if err != nil {
		return nil, fmt.Errorf("mount disk: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, fmt.Sprintf("size=%d,mode=0700", bytes)); err != nil {
		return nil, errors.Join(fmt.Errorf("mount disk on %s (needs root): %w", dir, err), os.Remove(dir))
	}
	return &Disk{Dir: dir}, nil
}

// fillTries bounds how often Fill begins again: others write to the disk meanwhile.
const fillTries = 100

// Fill writes a file until so many bytes are free, and returns its path.
func (d *Disk) Fill(free int64) (string, error) {
	path := filepath.Join(d.Dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("fill disk: %w", err)
	}
	defer f.Close()
	err = unix.ENOSPC
	for try := 0; errors.Is(err, unix.ENOSPC) && try < fillTries; try++ {
		var s unix.Statfs_t
		if err := unix.Statfs(d.Dir, &s); err != nil {
			return "", fmt.Errorf("fill disk: %w", err)
		}
		size := int64(s.Bavail)*s.Bsize - free
		if size <= 0 {
			return path, nil
		}
		err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	}
	if err != nil {
		return "", fmt.Errorf("fill disk: %w", err)
	}
	return path, nil
}

// Close unmounts and removes the disk.
func (d *Disk) Close() error {
	if err := unix.Unmount(d.Dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: nothing is mounted
		return fmt.Errorf("unmount %s: %w", d.Dir, err)
	}
	return os.Remove(d.Dir)
}

// reapDisks removes the disks of processes that are gone.
func reapDisks() error {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), diskPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), diskPrefix), "-")
		if n, err := strconv.Atoi(pid); err != nil || syscall.Kill(n, 0) == nil {
			continue
		}
		if err := (&Disk{Dir: dir}).Close(); err != nil {
			return fmt.Errorf("remove what a dead run left: %w", err)
		}
	}
	return nil
}

// attachMax bounds how long strace may take to hold a process.
const attachMax = 10 * time.Second

// detachMax bounds how long it may take to let it go.
const detachMax = 5 * time.Second

// ErrNoTrace says that system calls cannot be made to fail here.
var ErrNoTrace = errors.New("system calls cannot be made to fail: that needs Linux, the right to trace, and strace (apt-get install strace)")

// An Injection makes system calls of a node fail or wait, until Close.
type Injection struct {
	strace *exec.Cmd
	said   <-chan string
}

// Inject attaches strace to the running node: calls are names as strace knows
// them ("fsync,fdatasync,msync"), how is what becomes of them ("error=EIO",
// "delay_enter=2000000"). With once it lets the node go after the first call
// that was hit. A path narrows it to calls on that file, "" is any. It returns
// when every thread is held.
func (n *Node) Inject(calls, how, path string, once bool) (*Injection, error) {
	args := []string{"-f", "-p", fmt.Sprint(n.Pid()), "-e", "trace=" + calls, "-e", "inject=" + calls + ":" + how, "-e", "signal=none"}
	if path != "" {
		args = append(args, "-P", path)
	}
	c := exec.Command("strace", args...)
	c.SysProcAttr = dieWithParent()
	out, err := c.StderrPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrNoTrace, err)
	}
	attached, said := make(chan struct{}), make(chan string, 1)
	go func() { // until strace ends, which Close waits for
		var text strings.Builder
		lines := bufio.NewScanner(io.TeeReader(out, &text))
		for held := false; lines.Scan(); {
			if !held && strings.Contains(lines.Text(), "attached") {
				held = true
				close(attached)
			}
			if once && strings.Contains(lines.Text(), "INJECTED") {
				_ = letGo(c)
			}
		}
		said <- text.String()
	}()
	i := &Injection{strace: c, said: said}
	timer := time.NewTimer(attachMax)
	defer timer.Stop()
	select {
	case <-attached:
		return i, nil
	case text := <-said:
		_ = c.Wait()
		return nil, fmt.Errorf("%w (%s)", ErrNoTrace, text)
	case <-timer.C:
		_, _ = i.Close()
		return nil, fmt.Errorf("%w (strace holds nothing after %s)", ErrNoTrace, attachMax)
	}
}

// letGo has strace detach. Now and then it waits for ever for a process whose first thread
// has just ended, and holds the others: it is killed then, which lets them go too.
func letGo(strace *exec.Cmd) error {
	time.AfterFunc(detachMax, func() { _ = strace.Process.Kill() })
	return strace.Process.Signal(os.Interrupt)
}

// Close lets the node go and returns what strace saw. It may have ended with
// the node already.
func (i *Injection) Close() (string, error) {
	if err := letGo(i.strace); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return "", fmt.Errorf("end strace: %w", err)
	}
	text := <-i.said
	_ = i.strace.Wait() // its exit code is the signal's or the node's
	return text, nil
}
