package sim

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/watchward/watchward/crypto"
)

// Plain is GossipSub and nothing else, in place of the same members: the same
// connections, latencies and degrees, the work of relaying and no other. It is
// what the mesh is measured against.
type Plain struct {
	w     *World
	hosts []Raw
	nodes []*plainNode
	wait  sync.WaitGroup
	end   context.CancelFunc
}

type plainNode struct {
	*Member
	topic *pubsub.Topic

	mu      sync.Mutex
	arrived map[[32]byte]time.Time
}

// Plain connects plain hosts as links say. Nobody may run in the world.
func (w *World) Plain(links [][]int) *Plain {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &Plain{w: w, end: cancel}
	for _, m := range w.Members {
		p.hosts = append(p.hosts, w.Raw(m.Index-len(w.Members), m.PeerSeed))
		if err := p.hosts[m.Index].Network().Listen(multiaddr.StringCast(Address(m.Index))); err != nil {
			w.Fatal(err)
		}
		p.nodes = append(p.nodes, p.node(ctx, m))
	}
	for from, all := range links {
		for _, to := range all {
			if from < to {
				info := peer.AddrInfo{ID: p.hosts[from].ID(), Addrs: []multiaddr.Multiaddr{multiaddr.StringCast(Address(from))}}
				if err := p.hosts[to].Connect(ctx, info); err != nil {
					w.Fatal(err)
				}
			}
		}
	}
	return p
}

func (p *Plain) node(ctx context.Context, m *Member) *plainNode {
	w := p.w
	n := &plainNode{Member: m, arrived: map[[32]byte]time.Time{}}
	params := pubsub.DefaultGossipSubParams() // the mesh's degrees
	params.HeartbeatInitialDelay = 50 * time.Millisecond
	switch m.Part {
	case Hub:
		params.D, params.Dlo, params.Dhi, params.Dout = 96, 64, 160, 2
	case Spoke:
		params.D, params.Dlo, params.Dhi, params.Dout = 4, 3, 6, 1
	}
	router, err := pubsub.NewGossipSub(ctx, p.hosts[m.Index], pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(func(x *pb.Message) string { h := sha256.Sum256(x.Data); return string(h[:20]) }),
		pubsub.WithGossipSubParams(params), pubsub.WithFloodPublish(true), pubsub.WithPeerOutboundQueueSize(512), pubsub.WithValidateQueueSize(1024))
	if err != nil {
		w.Fatal(err)
	}
	err = router.RegisterTopicValidator("plain", func(_ context.Context, from peer.ID, _ *pubsub.Message) bool {
		if from != p.hosts[m.Index].ID() {
			m.cpu.work(w.Config.Costs.Relay)
		}
		return true
	})
	if err != nil {
		w.Fatal(err)
	}
	if n.topic, err = router.Join("plain"); err != nil {
		w.Fatal(err)
	}
	sub, err := n.topic.Subscribe(pubsub.WithBufferSize(1024))
	if err != nil {
		w.Fatal(err)
	}
	p.wait.Go(func() {
		for {
			x, err := sub.Next(ctx)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.arrived[sha256.Sum256(x.Data)] = time.Now()
			n.mu.Unlock()
		}
	})
	return n
}

// Repeat publishes the bytes of words again, in the same order and pace, and
// returns how they came.
func (p *Plain) Repeat(words []Word, every time.Duration) Delivery {
	p.w.Helper()
	again := slices.Clone(words)
	for i := range again {
		again[i].Bound = p.w.Bound(again[i].By.Index, p.w.Connections())
		again[i].At = time.Now()
		if err := p.nodes[again[i].By.Index].topic.Publish(context.Background(), again[i].Raw); err != nil {
			p.w.Fatal(err)
		}
		time.Sleep(every)
	}
	time.Sleep(10 * time.Second)
	sums := map[crypto.EnvelopeID][32]byte{}
	for _, w := range words {
		sums[w.ID] = sha256.Sum256(w.Raw)
	}
	receivers := make([]plainReceiver, len(p.nodes))
	for i, n := range p.nodes {
		receivers[i] = plainReceiver{n, sums}
	}
	return Measure(p.w, again, receivers)
}

// Close ends the hosts.
func (p *Plain) Close() {
	p.end()
	for _, h := range p.hosts {
		if err := h.Close(); err != nil {
			p.w.Error(err)
		}
	}
	p.wait.Wait()
}

type plainReceiver struct {
	*plainNode
	sums map[crypto.EnvelopeID][32]byte
}

// Arrived implements Receiver.
func (r plainReceiver) Arrived(id crypto.EnvelopeID) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, came := r.arrived[r.sums[id]]
	return at, came
}
