package ledger

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/watchward/watchward/crypto"
)

// Protocols of voters. Each epoch has its own, so that no voter of one ever speaks to
// a raft of another.
func raftProtocol(epoch uint32) string   { return fmt.Sprintf("/watchward/raft/0/%d", epoch) }
func healthProtocol(epoch uint32) string { return fmt.Sprintf("/watchward/raft-health/0/%d", epoch) }

// acceptMax bounds streams that raft has not taken yet.
const acceptMax = 64

var errFenced = errors.New("this voter has cut itself off")

// A layer is raft's network: streams between the voters, and a fence that cuts them all.
// A server's address is its member id in hex; who answers there now, the roster says.
type layer struct {
	network  Network
	protocol string
	self     crypto.MemberID
	peer     func(crypto.MemberID) (string, bool)

	accepted chan net.Conn
	done     chan struct{} // closed by Close
	calls    context.Context
	hang     context.CancelFunc // ends calls

	mu     sync.Mutex
	conns  map[*conn]struct{}
	fenced int // how many reasons there are
	closed bool
}

func newLayer(n Network, epoch uint32, self crypto.MemberID, peer func(crypto.MemberID) (string, bool), allow func(string) bool) *layer {
	y := &layer{
		network: n, protocol: raftProtocol(epoch), self: self, peer: peer,
		accepted: make(chan net.Conn, acceptMax), done: make(chan struct{}), conns: map[*conn]struct{}{},
	}
	y.calls, y.hang = context.WithCancel(context.Background())
	n.Handle(y.protocol, allow, y.serve)
	return y
}

// serve hands a stream to raft and returns when raft is done with it.
func (y *layer) serve(peer string, s Stream) {
	c, err := y.wrap(peer, s)
	if err != nil {
		return
	}
	defer c.Close()
	select {
	case y.accepted <- c:
	case <-y.done:
		return
	case <-c.done:
		return
	}
	select {
	case <-c.done:
	case <-y.done:
	}
}

// wrap counts a stream among those that the fence cuts.
func (y *layer) wrap(peer string, s Stream) (*conn, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.fenced > 0 || y.closed {
		s.Reset()
		return nil, errFenced
	}
	c := &conn{Stream: s, layer: y, remote: peer, done: make(chan struct{})}
	y.conns[c] = struct{}{}
	return c, nil
}

func (y *layer) Accept() (net.Conn, error) {
	select {
	case c := <-y.accepted:
		return c, nil
	case <-y.done:
		return nil, net.ErrClosed
	}
}

func (y *layer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	y.mu.Lock()
	cut := y.fenced > 0 || y.closed
	y.mu.Unlock()
	if cut {
		return nil, errFenced
	}
	member, err := memberOf(raft.ServerID(address))
	if err != nil {
		return nil, err
	}
	peer, ok := y.peer(member)
	if !ok {
		return nil, fmt.Errorf("no credential binds a peer id to voter %s", member)
	}
	ctx, cancel := context.WithTimeout(y.calls, timeout)
	defer cancel()
	s, err := y.network.Open(ctx, peer, y.protocol)
	if err != nil {
		return nil, err
	}
	c, err := y.wrap(peer, s)
	if err != nil {
		return nil, err // not a nil *conn in an interface
	}
	return c, nil
}

// fence cuts every stream and lets no new one come up, until unfence was called as often.
func (y *layer) fence() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.fenced++
	for c := range y.conns {
		c.Reset()
	}
}

func (y *layer) unfence() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.fenced--
}

func (y *layer) isFenced() bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.fenced > 0
}

// hangUp ends every stream and every call for good: raft waits for them before it ends, also
// for who does not answer.
func (y *layer) hangUp() {
	y.hang()
	y.fence()
}

func (y *layer) Close() error {
	y.hang()
	y.mu.Lock()
	if y.closed {
		y.mu.Unlock()
		return nil
	}
	y.closed = true
	close(y.done)
	for c := range y.conns {
		c.Reset()
	}
	y.mu.Unlock()
	y.network.Handle(y.protocol, nil, nil)
	return nil
}

func (y *layer) Addr() net.Addr { return addr(y.self.String()) }

// An addr is a member id.
type addr string

func (addr) Network() string  { return "watchward" }
func (a addr) String() string { return string(a) }

// A conn is a stream as raft wants it.
type conn struct {
	Stream
	layer  *layer
	remote string
	once   sync.Once
	done   chan struct{} // closed by Close
}

// Write refuses behind a fence: what a voter says then may rest on what is not on disk.
func (c *conn) Write(b []byte) (int, error) {
	if c.layer.isFenced() {
		return 0, errFenced
	}
	return c.Stream.Write(b)
}

func (c *conn) Close() error {
	err := error(nil)
	c.once.Do(func() {
		c.layer.mu.Lock()
		delete(c.layer.conns, c)
		c.layer.mu.Unlock()
		close(c.done)
		// Raft closes a connection when it has no use for what may still come.
		err = c.Reset()
	})
	return err
}

func (c *conn) LocalAddr() net.Addr  { return c.layer.Addr() }
func (c *conn) RemoteAddr() net.Addr { return addr(fmt.Sprintf("%x", c.remote)) }

// A gate is raft's transport with two doors.
//
// A voter that is not whole does not stand for election: it asks for no votes and takes
// no leadership. One that has lost its log casts no vote: it may have voted already in
// the terms that it does not remember.
type gate struct {
	*raft.NetworkTransport
	stands, votes atomic.Bool
	rpcs          chan raft.RPC
	done          chan struct{}
	wait          sync.WaitGroup
	answer        time.Duration // the longest that an answer may take

	mu    sync.Mutex
	pipes map[*pipe]struct{}
}

var errGate = errors.New("this voter is not whole yet")

func newGate(t *raft.NetworkTransport, answer time.Duration) *gate {
	g := &gate{NetworkTransport: t, answer: answer, rpcs: make(chan raft.RPC), done: make(chan struct{}), pipes: map[*pipe]struct{}{}}
	g.wait.Go(g.pass)
	return g
}

func (g *gate) pass() {
	for {
		select {
		case <-g.done:
			return
		case rpc := <-g.NetworkTransport.Consumer():
			switch rpc.Command.(type) {
			case *raft.RequestVoteRequest, *raft.RequestPreVoteRequest:
				if !g.votes.Load() {
					rpc.Respond(nil, errGate)
					continue
				}
			case *raft.TimeoutNowRequest:
				if !g.stands.Load() || !g.votes.Load() {
					rpc.Respond(nil, errGate)
					continue
				}
			}
			select {
			case g.rpcs <- rpc:
			case <-g.done:
				return
			}
		}
	}
}

// Consumer gives raft what passes.
func (g *gate) Consumer() <-chan raft.RPC { return g.rpcs }

// RequestVote asks for a vote.
func (g *gate) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if !g.stands.Load() || !g.votes.Load() {
		return errGate
	}
	return g.NetworkTransport.RequestVote(id, target, args, resp)
}

// RequestPreVote asks whether a vote would be given.
func (g *gate) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if !g.stands.Load() || !g.votes.Load() {
		return errGate
	}
	return g.NetworkTransport.RequestPreVote(id, target, args, resp)
}

// A pipe is a pipeline that is closed when it is stuck. Raft stays in one that is full once an
// answer was a refusal: nobody takes the answers any more, and who sends waits for that. It
// would tell the other voter nothing more, and could not end.
type pipe struct {
	raft.AppendPipeline
	g *gate
}

// AppendEntries waits while the pipeline is full, for as long as an answer may take.
func (p *pipe) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	stuck := time.AfterFunc(2*p.g.answer, func() { _ = p.AppendPipeline.Close() })
	defer stuck.Stop()
	return p.AppendPipeline.AppendEntries(args, resp)
}

// AppendEntriesPipeline begins a pipeline.
func (g *gate) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := g.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	p := &pipe{inner, g}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pipes[p] = struct{}{}
	return p, nil
}

func (p *pipe) Close() error {
	p.g.mu.Lock()
	delete(p.g.pipes, p)
	p.g.mu.Unlock()
	return p.AppendPipeline.Close()
}

// hangUp closes all pipelines. Raft must have been told to end.
func (g *gate) hangUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p := range g.pipes {
		_ = p.AppendPipeline.Close()
	}
}

// Close closes the transport and its streams.
func (g *gate) Close() error {
	err := g.NetworkTransport.Close()
	g.CloseStreams()
	select {
	case <-g.done:
	default:
		close(g.done)
	}
	g.wait.Wait()
	return err
}
