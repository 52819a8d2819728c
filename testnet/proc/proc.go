// Package proc runs hospitals as real processes: the binary built from this
// tree, each node with its own directory, on ports of loopback or in a network
// namespace of its own, made into a region by the same commands that people
// use. It is how kill -9, restarts, broken networks, disks and clocks, and
// whole commands are tried.
package proc

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// regionKey is the name of the admission key's file in a region's directory.
const regionKey = "admission.key"

// Build compiles cmd/watchward into dir and returns the binary's path. It uses
// the go command and the module of the working directory.
func Build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "watchward")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	// With the tag the binary takes another clock from its environment.
	build := exec.CommandContext(ctx, "go", "build", "-tags", "testclock", "-o", binary, "github.com/watchward/watchward/cmd/watchward")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build watchward: %w\n%s", err, out)
	}
	return binary, nil
}

// A Builder builds the binary once for everybody who asks, into a directory of
// its own. Its zero value is ready; it is safe for concurrent use.
type Builder struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Binary returns the binary's path.
func (b *Builder) Binary(ctx context.Context) (string, error) {
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "watchward-build"); b.err == nil {
			b.path, b.err = Build(ctx, b.dir)
		}
	})
	return b.path, b.err
}

// Close removes the binary.
func (b *Builder) Close() error {
	if b.dir == "" {
		return nil
	}
	return os.RemoveAll(b.dir)
}

// Config of a region. Binary, Dir and Names are required.
type Config struct {
	Binary  string         // of Build
	Dir     string         // an empty directory; each node's is in it
	Name    string         // of the region, no other's; "" = Region and its number
	Names   []string       // the hospitals; the first founds the region
	Network *Network       // where the nodes are; nil = on ports of loopback
	Dirs    map[int]string // another directory for the node with this index
}

// A Region is hospitals that run as processes on this machine. Close ends every
// process it started, whatever has happened.
type Region struct {
	Name  string
	Nodes []*Node

	dir string
}

// NewRegion makes a region as its coordinator would: init for each hospital,
// region init at the first, which then runs, and admit and join for the others.
// All nodes run when it returns; on an error none does.
func NewRegion(ctx context.Context, c Config) (*Region, error) {
	regions, err := NewRegions(ctx, c)
	return regions[0], err
}

// NewRegions makes regions that endorse each other, each like NewRegion and with
// a directory of its own. The first hospitals of the others are seeds of each.
// It returns a region for each Config, also with an error: then no node runs.
func NewRegions(ctx context.Context, configs ...Config) (regions []*Region, err error) {
	defer func() {
		if err != nil {
			for _, r := range regions {
				err = errors.Join(err, r.Close())
			}
		}
	}()
	for number, c := range configs {
		r := &Region{Name: cmp.Or(c.Name, fmt.Sprintf("Region %d", number+1)), dir: c.Dir}
		regions = append(regions, r)
		for i, name := range c.Names {
			n := &Node{Name: name, Dir: filepath.Join(c.Dir, fmt.Sprintf("hospital-%d", i+1)), Region: r, binary: c.Binary, net: c.Network}
			if dir, ok := c.Dirs[i]; ok {
				n.Dir = dir
			}
			r.Nodes = append(r.Nodes, n)
		}
	}
	for _, r := range regions {
		for _, n := range r.Nodes {
			if err := n.init(ctx); err != nil {
				return regions, err
			}
		}
	}
	if err := found(ctx, regions); err != nil {
		return regions, err
	}
	var group errgroup.Group
	for _, r := range regions {
		group.Go(func() error { return r.fill(ctx) })
	}
	if err := group.Wait(); err != nil {
		return regions, err
	}
	return regions, awaitOthers(ctx, regions)
}

// found makes the first hospital of each region its coordinator, who endorses
// the other regions, and starts it.
func found(ctx context.Context, regions []*Region) error {
	for _, r := range regions {
		args := []string{"region", "init", "--name", r.Name, "--key", r.keyPath()}
		for _, other := range regions {
			if other == r {
				continue
			}
			seeds, err := other.Nodes[0].addresses()
			if err != nil {
				return err
			}
			for _, seed := range seeds {
				args = append(args, "--seed", seed)
			}
		}
		if _, err := r.Nodes[0].must(ctx, args...); err != nil {
			return err
		}
	}
	for _, r := range regions {
		others := slices.DeleteFunc(slices.Clone(regions), func(other *Region) bool { return other == r })
		if len(others) == 0 {
			break
		}
		if err := r.Endorse(r.Nodes[0], others...); err != nil {
			return err
		}
	}
	for _, r := range regions {
		if err := r.Nodes[0].Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fill admits and starts all hospitals but the first. Their admissions have what
// the first one's has: the endorsements and the seeds too.
func (r *Region) fill(ctx context.Context) error {
	first := r.Nodes[0]
	for i, n := range r.Nodes[1:] {
		admission := filepath.Join(r.dir, fmt.Sprintf("admission-%d.ww", i+2))
		// The first one runs, so that the admission names its addresses.
		if _, err := first.must(ctx, "region", "admit", filepath.Join(n.Dir, "request.ww"), "--key", r.keyPath(), "--out", admission); err != nil {
			return err
		}
		if _, err := n.must(ctx, "join", "--in", admission); err != nil {
			return err
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	return r.AwaitPeers(ctx)
}

func (r *Region) keyPath() string { return filepath.Join(r.dir, regionKey) }

// hears is how many others a node of a large region must hear: on loopback all
// have one address, from which a node takes few connections.
const hears = 8

// AwaitPeers returns when each node that runs is connected to the others that
// run, or to many of them.
func (r *Region) AwaitPeers(ctx context.Context) error {
	running := 0
	for _, n := range r.Nodes {
		if n.Running() {
			running++
		}
	}
	for _, n := range r.Nodes {
		if !n.Running() {
			continue
		}
		err := Poll(ctx, func() error {
			s, err := n.status(ctx)
			if want := min(running-1, hears); err == nil && s.Peers < want {
				err = fmt.Errorf("%s has %d of %d peers", n.Name, s.Peers, want)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Close kills every node that runs.
func (r *Region) Close() error {
	var errs []error
	for _, n := range r.Nodes {
		errs = append(errs, n.Kill())
	}
	return errors.Join(errs...)
}

// An Answer is what a command printed and how it ended.
type Answer struct {
	Out, Err string
	Code     int // the exit code; -1 when a signal ended it
}

// Run runs one command on the node with its directory and standard input, which
// may be nil. An exit code other than 0 is no error.
func (n *Node) Run(ctx context.Context, in io.Reader, args ...string) (Answer, error) {
	var out, errOut bytes.Buffer
	c := exec.CommandContext(ctx, n.binary, append(args, "--dir", n.Dir)...)
	c.Stdin, c.Stdout, c.Stderr, c.SysProcAttr = in, &out, &errOut, dieWithParent()
	err := n.start(c)
	if err != nil {
		return Answer{}, fmt.Errorf("run watchward %s: %w", strings.Join(args, " "), err)
	}
	err = c.Wait()
	answer := Answer{Out: out.String(), Err: errOut.String(), Code: c.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		err = nil
	}
	if err != nil {
		return answer, fmt.Errorf("run watchward %s: %w", strings.Join(args, " "), err)
	}
	return answer, nil
}

// must runs a command that has to succeed.
func (n *Node) must(ctx context.Context, args ...string) (Answer, error) {
	a, err := n.Run(ctx, nil, args...)
	if err == nil && a.Code != 0 {
		err = fmt.Errorf("watchward %s: exit code %d: %s", strings.Join(args, " "), a.Code, a.Err)
	}
	return a, err
}

// init makes the node's directory. Its mesh port is drawn now and kept, as a
// hospital's is: one that changed at each start could not be found again by a
// peer that was down at the same time.
func (n *Node) init(ctx context.Context) error {
	host, port, err := "127.0.0.1", meshPort, error(nil)
	if n.net == nil {
		port, err = freePort()
	} else if n.port, err = n.net.attach(); err == nil {
		host = n.port.addr.String()
		if len(n.socket()) > socketPathMax {
			err = fmt.Errorf("the directory %s is too deep for a socket, by which the node is reached", n.Dir)
		}
	}
	if err != nil {
		return err
	}
	_, err = n.must(ctx, "init", "--name", n.Name, "--api-listen", "127.0.0.1:0",
		"--mesh-host", host, "--mesh-port", fmt.Sprint(port), "--tlp", "GREEN")
	return err
}

// In a namespace of its own a node has every port; its API is reached by the
// Unix socket, which no network separates.
const (
	meshPort      = 8461
	socketPathMax = 100 // of package node
)

func (n *Node) socket() string { return filepath.Join(n.Dir, "watchward.sock") }

// freePort returns a port that is free for TCP and UDP on loopback at the moment.
func freePort() (int, error) {
	const attempts = 20
	var last error
	for range attempts {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, fmt.Errorf("find a port: %w", err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			err = udp.Close()
		}
		if last = errors.Join(err, tcp.Close()); last == nil {
			return tcp.Addr().(*net.TCPAddr).Port, nil
		}
	}
	return 0, fmt.Errorf("find a port: %w", last)
}

// logPath is the file that gets a node's standard error, all its runs.
func (n *Node) logPath() string { return filepath.Join(n.Dir, "process.log") }

// Log returns the end of what the node logged, for messages of failed tests.
func (n *Node) Log() string {
	const shown = 4 << 10
	text, err := os.ReadFile(n.logPath())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-shown):])
}
