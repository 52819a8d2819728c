package mesh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/mesh/wire"
)

// Bounds and times of bulk on a link.
const (
	windowMin  = 4 << 10 // bytes of bulk under way on a slow link, and to begin with
	windowSlow = 8 << 10 // a link counts as slow when its window closes to so much
	windowMax  = 4 << 20
	queueShort = 250 * time.Millisecond // what bulk may add to a link's round trip …
	queueLong  = 2 * queueShort         // … and when it is too much
	baseFor    = 10 * time.Minute       // a link's round trip is learned anew after this time
	slowFor    = 5 * time.Minute        // a link counts as slow after it was too much
	urgentTime = 2 * time.Second        // bulk leaves a slow link to an urgent word for so long
	linksMax   = 4096
	tellLazy   = 1 << 10 // bytes
)

// A link is the way to one peer, as far as bulk is concerned. What stands in the
// way of an urgent word on a slow line is what has been handed to the transport
// already, so no more is handed to it than is read there within queueShort, but
// windowMin at least. All streams of bulk to the peer share it. It is safe for
// concurrent use.
type link struct {
	mu      sync.Mutex
	window  int
	flying  int           // bytes that were sent and not yet read
	base    time.Duration // shortest round trip; 0 = not known
	learned time.Time     // when base was
	slow    time.Time     // when it was last found to be slow
	resting time.Time     // until then an urgent word has the link for itself
	changed chan struct{} // closed when bytes were read
}

func newLink() *link { return &link{window: windowMin, changed: make(chan struct{})} }

// take waits until some of at most n bytes may be sent and returns how many,
// and how many are under way then. What is urgent does not wait.
func (l *link) take(ctx context.Context, n int, urgent bool) (granted, flying int, err error) {
	for {
		l.mu.Lock()
		rest := time.Until(l.resting)
		free := l.window - l.flying
		if urgent {
			rest, free = 0, n
		}
		if rest <= 0 && free > 0 {
			granted = min(n, free, max(l.window/4, windowMin/2), wire.ChunkMax)
			l.flying += granted
			flying = l.flying
			l.mu.Unlock()
			return granted, flying, nil
		}
		changed := l.changed
		l.mu.Unlock()
		var rested <-chan time.Time
		if rest > 0 {
			rested = time.After(rest)
		}
		select {
		case <-changed:
		case <-rested:
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
}

// rest keeps bulk off the link while an urgent word passes.
func (l *link) rest(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resting = now.Add(urgentTime)
}

// give returns n bytes that were read, or that will not be. took is how long
// that was after they were sent, 0 = not measured, when flying bytes were under
// way.
func (l *link) give(n, flying int, took time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying -= n
	close(l.changed)
	l.changed = make(chan struct{})
	if took <= 0 {
		return
	}
	if l.base == 0 || took < l.base || now.Sub(l.learned) > baseFor {
		l.base, l.learned = took, now
	}
	switch queue := took - l.base; {
	case queue > queueLong:
		l.window = max(windowMin, int(int64(flying)*int64(queueShort)/int64(queue)))
		if l.window <= windowSlow {
			l.slow = now
		}
	case queue <= queueShort && flying >= l.window/2:
		l.window = min(windowMax, l.window+n)
	}
}

// measured notes a round trip that no bulk was part of.
func (l *link) measured(rtt time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rtt > 0 && (l.base == 0 || rtt < l.base) {
		l.base, l.learned = rtt, now
	}
}

func (l *link) isSlow(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.slow.IsZero() && now.Sub(l.slow) < slowFor
}

// link returns the link to a peer. Those that were used last are remembered.
func (m *Mesh) link(id peer.ID) *link {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.links.Get(id)
	if !ok {
		l = newLink()
		m.links.Add(id, l)
	}
	l.measured(m.host.Peerstore().LatencyEWMA(id), time.Now())
	return l
}

// slow reports whether bulk or distance makes urgent words wait on the way to a
// peer.
func (m *Mesh) slow(id peer.ID) bool {
	return m.host.Peerstore().LatencyEWMA(id) > slowLatency || m.link(id).isSlow(time.Now())
}

// A bulk is a stream cut into chunks (package wire), of which no more are under
// way than the link allows. One goroutine may read while another writes.
type bulk struct {
	s     network.Stream
	link  *link
	ctx   context.Context
	in    counting
	r     *bufio.Reader
	chunk int // bytes left of the chunk that is being read
	size  int // of the whole chunk

	writing chan struct{} // holds one: a chunk, or word of what was read, is being written
	buffer  []byte        // of what is being written; guarded by writing
	out     int64         // bytes written, with heads; guarded by writing
	wrote   func(n int)   // is told of them; nil = nobody
	lazy    bool          // less than tellLazy is told with what comes next
	wait    sync.WaitGroup

	mu       sync.Mutex
	sent     []sending // oldest first
	owed     int       // bytes that were read and not yet told
	telling  bool
	finished bool // nothing more will be written
	draining bool // nothing more is expected but what the peer has read
	ended    bool
}

// A sending is a chunk that the peer has not read yet.
type sending struct {
	n, flying int
	at        time.Time
}

// errAllRead ends drain: nothing is left to wait for.
var errAllRead = errors.New("the peer has read everything")

func (m *Mesh) bulk(ctx context.Context, s network.Stream) *bulk {
	b := &bulk{s: s, link: m.link(s.Conn().RemotePeer()), ctx: ctx, in: counting{r: s}, writing: make(chan struct{}, 1)}
	b.r = bufio.NewReaderSize(&b.in, 8<<10)
	return b
}

// Write sends p as chunks, as the link allows. The peer must read something of
// it within frameTime.
func (b *bulk) Write(p []byte) (n int, err error) { return b.send(p, false) }

// urgent is a Writer that does not wait for the link.
type urgent struct{ *bulk }

func (u urgent) Write(p []byte) (n int, err error) { return u.send(p, true) }

func (b *bulk) send(p []byte, urgent bool) (n int, err error) {
	for n < len(p) {
		ctx, cancel := context.WithTimeout(b.ctx, frameTime)
		granted, flying, err := b.link.take(ctx, len(p)-n, urgent)
		cancel()
		if err != nil {
			return n, fmt.Errorf("wait for the peer to read: %w", err)
		}
		if !b.note(granted, flying) {
			return n, io.ErrClosedPipe
		}
		if err := b.put(wire.AppendChunk(nil, granted), p[n:n+granted]); err != nil {
			return n, err
		}
		n += granted
	}
	return n, nil
}

func (b *bulk) put(head, body []byte) error {
	b.writing <- struct{}{} // not a mutex: simulated time stands still while one is waited for
	defer func() { <-b.writing }()
	b.buffer = append(append(b.buffer[:0], head...), body...) // one write, so that a small chunk is one packet
	_ = b.s.SetWriteDeadline(time.Now().Add(frameTime))
	n, err := b.s.Write(b.buffer)
	b.out += int64(n)
	if b.wrote != nil {
		b.wrote(n)
	}
	return err
}

// note remembers a chunk that is about to be sent. After end it gives it back
// and reports false.
func (b *bulk) note(n, flying int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		b.link.give(n, 0, 0, time.Time{})
		return false
	}
	b.sent = append(b.sent, sending{n, flying, time.Now()})
	return true
}

// Read returns bytes of the peer's chunks, which it tells what was read. The
// peer must send something within frameTime.
func (b *bulk) Read(p []byte) (int, error) {
	for b.chunk == 0 {
		if err := b.patience(); err != nil {
			return 0, err
		}
		chunk, taken, err := wire.ReadChunk(b.r)
		if err != nil {
			return 0, err
		}
		if taken > 0 {
			if err := b.taken(taken); err != nil {
				return 0, err
			}
		}
		b.chunk, b.size = chunk, chunk
	}
	n, err := b.r.Read(p[:min(len(p), b.chunk)])
	if b.chunk -= n; b.chunk == 0 {
		b.tell(b.size)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// patience sets how long the next chunk may take.
func (b *bulk) patience() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.allRead() {
		return errAllRead
	}
	return b.s.SetReadDeadline(time.Now().Add(frameTime))
}

func (b *bulk) allRead() bool { return b.draining && b.finished && len(b.sent) == 0 }

// taken notes that the peer has read n bytes more.
func (b *bulk) taken(n int) error {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for n > 0 {
		if len(b.sent) == 0 {
			return fmt.Errorf("%w: the peer says that it read what was not sent", errProtocol)
		}
		first := &b.sent[0]
		if n < first.n {
			b.link.give(n, 0, 0, now)
			first.n -= n
			return nil
		}
		b.link.give(first.n, first.flying, now.Sub(first.at), now)
		n -= first.n
		b.sent = b.sent[1:]
	}
	return nil
}

// tell lets the peer know that n bytes were read. Reading does not wait for it:
// what is being written may itself wait for the peer.
func (b *bulk) tell(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owed += n
	if b.telling || b.ended || b.lazy && b.owed < tellLazy {
		return
	}
	b.telling = true
	b.wait.Go(func() {
		for {
			b.mu.Lock()
			owed := b.owed
			b.owed = 0
			if owed == 0 {
				b.telling = false
				b.mu.Unlock()
				return
			}
			b.mu.Unlock()
			_ = b.put(wire.AppendTaken(nil, owed), nil) // the reader sees why it fails
		}
	})
}

// finish says that nothing more will be written.
func (b *bulk) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finished = true
	if b.allRead() {
		_ = b.s.SetReadDeadline(time.Now()) // wakes drain
	}
}

// drain reads on, where nothing more is expected, until everything was written
// and the peer has read it.
func (b *bulk) drain() error {
	b.mu.Lock()
	b.draining = true
	b.mu.Unlock()
	var one [1]byte
	n, err := b.Read(one[:])
	if n > 0 {
		return fmt.Errorf("%w: the peer goes on after its end", errProtocol)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.allRead() || errors.Is(err, io.EOF) && len(b.sent) == 0 {
		return nil
	}
	return err
}

// end closes the stream, or resets it after an error, and gives back what the
// peer will not read any more.
func (b *bulk) end(failed bool) {
	if failed {
		_ = b.s.Reset()
	}
	b.mu.Lock()
	b.ended = true
	for _, s := range b.sent {
		b.link.give(s.n, 0, 0, time.Time{})
	}
	b.sent = nil
	b.mu.Unlock()
	b.wait.Wait()   // a stream must not be closed while it is written to
	_ = b.s.Close() // an error says that the peer, which has heard all, was faster
}
