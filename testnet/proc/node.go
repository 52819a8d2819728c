package proc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

// Bounds of waiting for a process.
const (
	startMax  = time.Minute // many start at once on few cores
	stopMax   = 15 * time.Second
	answerMax = 16 << 20 // bytes that Get reads
	pollEvery = 20 * time.Millisecond
)

// clockEnv is read by binaries that are built with the tag testclock.
const clockEnv = "WATCHWARD_TEST_CLOCK_OFFSET"

// A Node is one hospital. It is used by one goroutine but for Client and Run,
// which any may use.
type Node struct {
	Name   string
	Dir    string
	Region *Region       // nil of a node that At returned
	Clock  time.Duration // how far its clock is ahead, from the next start on

	binary  string
	net     *Network
	port    *port         // nil on loopback
	command *exec.Cmd     // nil while it does not run
	ended   chan struct{} // closed when the process is gone
	how     error         // how it ended, after ended
	api     string        // its API's URL, as it said at its start
}

// At is a node whose directory somebody else has made, and fits into no Region:
// whoever starts it ends it.
func At(binary, dir, name string) *Node { return &Node{Name: name, Dir: dir, binary: binary} }

// Start runs the node and returns when it says that it is ready, which it does
// after its API answers.
func (n *Node) Start(ctx context.Context) error {
	if n.Running() {
		return fmt.Errorf("start %s: it runs", n.Name)
	}
	log, err := os.OpenFile(n.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	defer log.Close() // the process has its own
	c := exec.Command(n.binary, "run", "--json", "--dir", n.Dir)
	c.Stderr, c.SysProcAttr = log, dieWithParent()
	c.Env = append(os.Environ(), clockEnv+"="+n.Clock.String())
	out, err := c.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	if err := n.start(c); err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	ended := make(chan struct{})
	n.command, n.ended = c, ended
	ready := make(chan error, 1)
	go func() { // until the process is gone, which Kill and Stop wait for
		defer close(ended)
		lines := bufio.NewReader(out)
		line, err := lines.ReadBytes('\n')
		if err == nil {
			var said struct{ API string }
			if err = json.Unmarshal(line, &said); err == nil && said.API == "" {
				err = fmt.Errorf("it said %q", line)
			}
			n.api = said.API // before ready tells Start
		}
		ready <- err
		_, _ = io.Copy(io.Discard, lines)
		n.how = c.Wait()
	}()
	timer := time.NewTimer(startMax)
	defer timer.Stop()
	select {
	case err = <-ready:
	case <-timer.C:
		err = fmt.Errorf("not ready after %s", startMax)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w: its log ends: %s", n.Name, err, n.Log()), n.Kill())
	}
	return nil
}

// StartBeside starts another program where the node is: in its network, if it has
// one of its own. The caller waits for it.
func (n *Node) StartBeside(c *exec.Cmd) error { return n.start(c) }

// Host returns the IP address at which other nodes find this one.
func (n *Node) Host() string {
	if n.port == nil {
		return "127.0.0.1"
	}
	return n.port.addr.String()
}

// Running reports whether the process is there.
func (n *Node) Running() bool {
	if n.command == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// Kill ends the process at once, as kill -9 or a power cut would: it gets to do
// nothing more. It returns when the process is gone.
func (n *Node) Kill() error {
	if n.command == nil {
		return nil
	}
	if err := n.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", n.Name, err)
	}
	<-n.ended
	n.command = nil
	return nil
}

// Stop interrupts the node, as Ctrl-C does, and returns when it has ended. An
// exit code other than 0 is an error; so is a process that has to be killed.
func (n *Node) Stop() error {
	if n.command == nil {
		return nil
	}
	if err := n.command.Process.Signal(os.Interrupt); err != nil {
		return errors.Join(fmt.Errorf("stop %s: %w", n.Name, err), n.Kill())
	}
	timer := time.NewTimer(stopMax)
	defer timer.Stop()
	select {
	case <-n.ended:
		n.command = nil
		if n.how != nil {
			return fmt.Errorf("stop %s: %w", n.Name, n.how)
		}
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("stop %s: it still runs after %s", n.Name, stopMax), n.Kill())
	}
}

// Client returns a client of the node's API. Each start has another address, so
// a client is of no use after the next one.
func (n *Node) Client() (*client.Client, error) {
	if n.port != nil { // loopback is another one there
		return client.New(client.Config{Socket: n.socket(), Dir: n.Dir})
	}
	return client.Open(n.Dir)
}

// Get asks the node over a connection of its own, which nothing but its Unix
// socket is needed for, and returns the answer's status and text.
func (n *Node) Get(ctx context.Context, path string) (status int, text string, err error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", n.socket())
		},
	}
	return get(ctx, transport, "http://watchward"+path)
}

// GetTCP is Get by the API's TCP address, for a node on loopback.
func (n *Node) GetTCP(ctx context.Context, path string) (status int, text string, err error) {
	return get(ctx, &http.Transport{DisableKeepAlives: true}, n.api+path)
}

func get(ctx context.Context, transport *http.Transport, url string) (status int, text string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, answerMax))
	return answer.StatusCode, string(body), err
}

// API returns the address of the node's API, of its last start.
func (n *Node) API() string { return n.api }

// Ended returns a channel that is closed when the process is gone. It is of the
// last start.
func (n *Node) Ended() <-chan struct{} { return n.ended }

// How returns how the process ended, once Ended is closed; nil is exit code 0.
func (n *Node) How() error { return n.how }

func (n *Node) status(ctx context.Context) (api.Status, error) {
	c, err := n.Client()
	if err != nil {
		return api.Status{}, err
	}
	defer c.Close()
	return c.Status(ctx)
}

// Poll runs try until it succeeds or ctx ends, and returns what try said last.
func Poll(ctx context.Context, try func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error // before ctx ended: after that try can only say that it did
	for {
		err := try()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-tick.C:
		}
	}
}

// Pid returns the process id, 0 while the node does not run.
func (n *Node) Pid() int {
	if !n.Running() {
		return 0
	}
	return n.command.Process.Pid
}

// Request returns the file with the node's request to join a region.
func (n *Node) Request() string { return filepath.Join(n.Dir, node.RequestFile) }

// Binary returns the path of the program that the node runs.
func (n *Node) Binary() string { return n.binary }

// Socket returns the path of the node's Unix socket, the same at each start.
func (n *Node) Socket() string { return n.socket() }
