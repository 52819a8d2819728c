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

	// So many of the first hospitals are coordinators, of whom more than half
	// decide; 0 = one. Off are not started.
	Coordinators int
	Off          map[int]bool
}

// A Region is hospitals that run as processes on this machine. Close ends every
// process it started, whatever has happened.
type Region struct {
	Name  string
	Nodes []*Node

	config Config
}

// NewRegion makes a region as its coordinators would: init for each hospital,
// region init at the first, and admit and join for those who are no coordinators.
// All nodes run when it returns but those that are Off; on an error none does.
func NewRegion(ctx context.Context, c Config) (*Region, error) {
	regions, err := NewRegions(ctx, c)
	return regions[0], err
}

// NewRegions makes regions that endorse each other, each like NewRegion and with
// a directory of its own. It returns a region for each Config, also with an error:
// then no node runs.
func NewRegions(ctx context.Context, configs ...Config) (regions []*Region, err error) {
	defer func() {
		if err != nil {
			for _, r := range regions {
				err = errors.Join(err, r.Close())
			}
		}
	}()
	for number, c := range configs {
		r := &Region{Name: cmp.Or(c.Name, fmt.Sprintf("Region %d", number+1)), config: c}
		regions = append(regions, r)
		for i, name := range c.Names {
			n := r.place(name)
			if dir, ok := c.Dirs[i]; ok {
				n.Dir = dir
			}
		}
	}
	for _, r := range regions {
		for _, n := range r.Nodes {
			if err := n.init(ctx); err != nil {
				return regions, err
			}
		}
		if err := r.found(ctx); err != nil {
			return regions, err
		}
	}
	if err := endorse(ctx, regions); err != nil {
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

// place adds a hospital, whose directory is not made yet.
func (r *Region) place(name string) *Node {
	dir := filepath.Join(r.config.Dir, fmt.Sprintf("hospital-%d", len(r.Nodes)+1))
	n := &Node{Name: name, Dir: dir, Region: r, binary: r.config.Binary, net: r.config.Network}
	r.Nodes = append(r.Nodes, n)
	return n
}

// Newcomer makes the directory of one more hospital, which does not run and is
// nobody's member yet.
func (r *Region) Newcomer(ctx context.Context, name string) (*Node, error) {
	n := r.place(name)
	return n, n.init(ctx)
}

// Key returns the file with the admission key of a coordinator, the first is 0.
func (r *Region) Key(coordinator int) string {
	return filepath.Join(r.config.Dir, fmt.Sprintf("admission-%d.key", coordinator+1))
}

// keys are the flags by which an act is decided at once, by as many coordinators
// as it takes.
func (r *Region) keys() (flags []string) {
	for i := range max(1, r.config.Coordinators)/2 + 1 {
		flags = append(flags, "--key", r.Key(i))
	}
	return flags
}

// found makes the first hospitals coordinators, and starts them.
func (r *Region) found(ctx context.Context) error {
	first, others := r.Nodes[0], r.Nodes[1:max(1, r.config.Coordinators)]
	args := []string{"region", "init", "--name", r.Name, "--key", r.Key(0)}
	if len(others) == 0 {
		if _, err := first.Must(ctx, args...); err != nil {
			return err
		}
		return r.start(ctx, first)
	}
	draft := filepath.Join(r.config.Dir, "charter.ww")
	if _, err := first.Must(ctx, "region", "key", "--out", r.Key(0)); err != nil {
		return err
	}
	for i, n := range others {
		if _, err := n.Must(ctx, "region", "key", "--out", r.Key(i+1)); err != nil {
			return err
		}
		args = append(args, "--with", r.Key(i+1)+".card")
	}
	if _, err := first.Must(ctx, append(args, "--out", draft)...); err != nil {
		return err
	}
	for i, n := range others {
		if _, err := n.Must(ctx, "region", "sign", draft, "--key", r.Key(i+1)); err != nil {
			return err
		}
	}
	for i, n := range r.Nodes[:len(others)+1] {
		if _, err := n.Must(ctx, "join", "--in", draft); err != nil {
			return err
		}
		if i > 0 && !r.config.Off[i] { // where the first one is, it learns from a file
			where := filepath.Join(r.config.Dir, fmt.Sprintf("where-%d.ww", i+1))
			if _, err := first.Must(ctx, "region", "show", "--out", where); err != nil {
				return err
			}
			if _, err := n.Must(ctx, "region", "take", where); err != nil {
				return err
			}
		}
		if err := r.start(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// start starts a node, but for those that are off.
func (r *Region) start(ctx context.Context, n *Node) error {
	if r.config.Off[slices.Index(r.Nodes, n)] {
		return nil
	}
	return n.Start(ctx)
}

// fill admits and starts those who are no coordinators. Their admissions have what
// the first one knows: which regions are endorsed, too.
func (r *Region) fill(ctx context.Context) error {
	first := r.Nodes[0]
	for i, n := range r.Nodes {
		if i < max(1, r.config.Coordinators) {
			continue
		}
		admission := filepath.Join(r.config.Dir, fmt.Sprintf("admission-%d.ww", i+1))
		// The first one runs, so that the admission names its addresses.
		if _, err := first.Must(ctx, append([]string{"region", "admit", n.Request(), "--out", admission}, r.keys()...)...); err != nil {
			return err
		}
		if _, err := n.Must(ctx, "join", "--in", admission); err != nil {
			return err
		}
		if err := r.start(ctx, n); err != nil {
			return err
		}
	}
	return r.AwaitPeers(ctx)
}

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

// Must is Run for a command that has to succeed: another exit code is an error.
func (n *Node) Must(ctx context.Context, args ...string) (Answer, error) {
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
	_, err = n.Must(ctx, "init", "--name", n.Name, "--api-listen", "127.0.0.1:0",
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
