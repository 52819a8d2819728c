package mesh

import (
	"context"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/watchward/watchward/crypto"
)

// bulkSmall is how many bytes a Write may have that does not wait for the link: what
// asks and answers beside what is large.
const bulkSmall = 1 << 10

// A Bulk is a stream of another package that carries what is large: as with sync and
// pulls, no more of it is under way than leaves the line to urgent words. One goroutine
// reads on either side as long as another writes, since what the other side has read comes
// that way too; something must come, and be read, within a minute.
type Bulk struct {
	b      *bulk
	m      *Mesh
	name   string
	cancel context.CancelFunc // ends a Write that waits for the link
	stop   func() bool
}

func (m *Mesh) carryBulk(ctx context.Context, name string, s network.Stream) *Bulk {
	ctx, cancel := context.WithCancel(ctx)
	b := &Bulk{b: m.bulk(ctx, s), m: m, name: name, cancel: cancel, stop: context.AfterFunc(ctx, func() { _ = s.Reset() })}
	b.b.lazy = true // nobody waits for the end of such a stream
	b.b.wrote = func(n int) { m.metrics.carried(name, "out", n) }
	return b
}

// Read implements io.Reader.
func (b *Bulk) Read(p []byte) (int, error) {
	before := b.b.in.n
	n, err := b.b.Read(p)
	b.m.metrics.carried(b.name, "in", int(b.b.in.n-before))
	return n, err
}

// Write implements io.Writer.
func (b *Bulk) Write(p []byte) (int, error) { return b.b.send(p, len(p) <= bulkSmall) }

// Close ends the stream both ways at once, whatever is under way. It waits for nobody
// else, and ends a Read and a Write.
func (b *Bulk) Close() error {
	b.stop()
	b.cancel()
	b.b.end(true)
	return nil
}

// Connected returns the members that are connected now and have proved their keys, by
// their peer ids as their credentials have them.
func (m *Mesh) Connected() (out []string) {
	for _, id := range m.connected() {
		out = append(out, string(id))
	}
	return out
}

// OpenBulk opens a stream of a protocol to a member that is connected, by its peer id
// as its credential has it. It ends with ctx. A member that does not allow the stream
// resets it, which the first Read tells.
func (m *Mesh) OpenBulk(ctx context.Context, to, name string) (*Bulk, error) {
	id := peer.ID(to)
	if m.streams(id, protocol.ID(name), network.DirOutbound) >= carryMax {
		return nil, ErrCrowded
	}
	s, err := m.host.NewStream(ctx, id, protocol.ID(name))
	if err != nil {
		return nil, err
	}
	return m.carryBulk(ctx, name, s), nil
}

// HandleBulk takes the streams that members open with OpenBulk under a protocol's name,
// from now on. h runs in a goroutine of its own, and closes the stream in the end. The
// streams do not keep the supervisor from changing their connection for another.
func (m *Mesh) HandleBulk(name string, h func(peer string, s *Bulk)) {
	m.Yield(name)
	m.Handle(name, func(string) bool { return true }, func(from string, s Stream) {
		h(from, m.carryBulk(m.ctx, name, s.(network.Stream)))
	})
}

// MayHear reports whether the credential of a peer, by its id as that has it, lets it
// hear what is said to an audience of a region.
func (m *Mesh) MayHear(id string, region crypto.Region, a crypto.Audience) bool {
	return m.mayHear(peer.ID(id), region, a)
}
