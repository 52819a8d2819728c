// Package sim runs many nodes in one process, in virtual time: the real mesh
// with real libp2p hosts over a simulated network, inside a bubble of package
// testing/synctest. Hours pass in seconds, as long as nothing in the bubble
// waits for the outside.
//
// See DESIGN.md for what is real, what is simulated and what work is charged.
package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
)

// A Part is what a member does for the others.
type Part uint8

const (
	Hub      Part = iota // can be dialled, large gossip degree
	Listener             // can be dialled
	Spoke                // dials out only
)

// Config of a World. Zero values are usable but for the numbers of members.
type Config struct {
	Seed                    uint64 // of the latencies, the losses and Rand; it is printed
	Hubs, Listeners, Spokes int
	Regions                 int           // that members are dealt to and that endorse each other; 0 = 1. Whole nodes know one
	Zones                   int           // places that members are spread over; 0 = 1
	Within, Between         time.Duration // one-way latencies lie between these; 0 = 20 and 50 ms
	Loss                    float64       // share of segments that are lost
	Jitter                  time.Duration // with QUIC: datagrams take up to this longer, and so overtake one another
	QUIC                    bool          // real QUIC over datagrams instead of streams in memory
	Costs                   *Costs        // nil = DefaultCosts
	Apart                   bool          // each member has a roster of its own, which takes memory; otherwise a region's members share one
}

// A World is a region, or several, whose members live in one fabric. One
// goroutine drives it.
type World struct {
	testing.TB
	*Fabric
	Config  Config
	Region  *testkit.Region // the first
	Regions []*testkit.Region
	Members []*Member
	Rand    *rand.Rand
	Journal *Journal

	quic  *packets       // nil without QUIC
	peers map[string]int // places of members by peer id
}

// New makes a world in which nobody runs yet. It must be called in a bubble.
func New(t testing.TB, c Config) *World {
	t.Helper()
	n := c.Hubs + c.Listeners + c.Spokes
	c.Zones, c.Regions = max(c.Zones, 1), max(c.Regions, 1)
	if c.Within == 0 {
		c.Within, c.Between = 20*time.Millisecond, 50*time.Millisecond
	}
	if c.Costs == nil {
		c.Costs = &DefaultCosts
	}
	w := &World{TB: t, Config: c, Rand: rand.New(rand.NewPCG(c.Seed, 1)), Journal: &Journal{}}
	zone := func(i int) int { return i % c.Zones }
	w.Fabric = newFabric(2*n+256, c.Seed, c.Loss, Spread(c.Seed, zone, c.Within, c.Between))
	w.proving = func(node int) {
		if node < len(w.Members) {
			w.Members[node].cpu.work(c.Costs.Prove)
		}
	}
	if c.QUIC {
		w.jitter = c.Jitter
		w.quic = newPackets(w.Fabric)
	}
	w.found(n)
	rosters := w.rosters()
	w.peers = map[string]int{}
	for i := range n {
		home := w.Regions[i%c.Regions]
		m := home.Members[i/c.Regions]
		part := Spoke
		if i < c.Hubs {
			part = Hub
		} else if i < c.Hubs+c.Listeners {
			part = Listener
		}
		x := &Member{Member: m, World: w, Home: home, Index: i, Part: part, Registry: prometheus.NewRegistry(), last: map[crypto.Audience]*crypto.Envelope{}}
		roster := rosters[i%c.Regions]
		if c.Apart {
			roster = roster.Clone()
		}
		x.Memory = newMemory(roster, *c.Costs, &x.cpu, x.Now)
		w.Members = append(w.Members, x)
		w.peers[x.PeerID()] = i
	}
	t.Logf("seed %d: %d hubs, %d listeners, %d spokes in %d zones, %d regions", c.Seed, c.Hubs, c.Listeners, c.Spokes, c.Zones, c.Regions)
	return w
}

// found makes the regions, with n members dealt to them, each of which endorses
// all others.
func (w *World) found(n int) {
	for r := range w.Config.Regions {
		var names []string
		for i := r; i < n; i += w.Config.Regions {
			names = append(names, fmt.Sprintf("hospital-%04d", i))
		}
		name := "test" // that of a world's one region
		if r > 0 {
			name = fmt.Sprintf("test %d", r+1)
		}
		w.Regions = append(w.Regions, testkit.NewRegionNamed(w, name, names...))
	}
	w.Region = w.Regions[0]
	for r, region := range w.Regions {
		if others := slices.Delete(slices.Clone(w.Regions), r, r+1); len(others) > 0 {
			region.Endorse(w, nil, others...)
		}
	}
}

// rosters are what members of each region know: everybody.
func (w *World) rosters() (out []*trust.Roster) {
	for _, region := range w.Regions {
		roster := region.Roster(w)
		for _, other := range w.Regions {
			if _, err := roster.AddAll(other.Records); err != nil {
				w.Fatal(err)
			}
		}
		out = append(out, roster)
	}
	return out
}

// A Member is one hospital's mesh over a memory.
type Member struct {
	*testkit.Member
	*Memory
	World    *World
	Home     *testkit.Region
	Index    int
	Part     Part
	Mesh     *mesh.Mesh // nil while it is stopped
	Registry *prometheus.Registry
	Ahead    time.Duration // its clock's error
	Change   func(*mesh.Config)

	cpu  cpu
	last map[crypto.Audience]*crypto.Envelope
}

// Now is the member's clock.
func (m *Member) Now() time.Time { return time.Now().Add(m.Ahead) }

// Slow makes a member's work take so many times longer.
func (m *Member) Slow(times int) { m.cpu.slow = time.Duration(times) }

// Start runs the members' meshes. Each knows four hubs, or all if there are
// fewer; the others it finds by itself.
func (w *World) Start(members ...*Member) {
	w.Helper()
	for _, m := range members {
		m.start()
	}
}

func (m *Member) start() {
	w := m.World
	w.Helper()
	c := mesh.Config{
		Identity: m.PeerSeed, Signing: m.Signing, Hub: m.Part == Hub, Roster: m.Memory.roster, Frontier: m.Memory.frontier, Path: m.Memory,
		Now: m.Now, Log: w.Journal.logger(m.Credential.Name), Registerer: m.Registry, Transports: w.transport(m.Index),
	}
	if m.Part != Spoke {
		c.Listen = []string{Address(m.Index)}
	}
	c.Seeds = m.seeds()
	if m.Change != nil {
		m.Change(&c)
	}
	x, err := mesh.New(c)
	if err != nil {
		w.Fatal(err)
	}
	if err := x.Start(); err != nil {
		w.Fatal(err)
	}
	m.Mesh = x
}

// seeds are four hubs of the member's region, or all if there are fewer, and for a
// hub one of each other region.
func (m *Member) seeds() (seeds []string) {
	w := m.World
	left := map[*testkit.Region]int{m.Home: 4}
	if m.Part == Hub {
		for _, other := range w.Regions {
			left[other] = max(left[other], 1)
		}
	}
	for _, h := range w.Rand.Perm(w.Config.Hubs) {
		if home := w.Members[h].Home; left[home] > 0 {
			left[home]--
			if h != m.Index {
				seeds = append(seeds, w.Members[h].Addr())
			}
		}
	}
	return seeds
}

func (w *World) transport(node int) []libp2p.Option {
	if w.quic != nil {
		return w.quic.transport(node)
	}
	return []libp2p.Option{w.Fabric.Transport(node)}
}

// Close stops everybody and the network.
func (w *World) Close() {
	w.Helper()
	w.Stop(w.Members...)
	if w.quic != nil {
		w.quic.net.Close()
	}
}

// Links returns the connected members of each member.
func (w *World) Links() [][]int {
	if w.quic == nil {
		return w.Connections()
	}
	links := make([][]int, len(w.Members))
	for i, m := range w.Members {
		if m.Mesh == nil {
			continue
		}
		for _, p := range m.Mesh.Peers() {
			links[i] = append(links[i], w.peers[p.ID])
		}
	}
	return links
}

// Stop ends meshes and keeps what they hold.
func (w *World) Stop(members ...*Member) {
	w.Helper()
	var group sync.WaitGroup
	for _, m := range members {
		if m.Mesh != nil {
			group.Go(func() {
				if err := m.Mesh.Close(); err != nil {
					w.Errorf("close %s: %v", m.Credential.Name, err)
				}
				m.Mesh = nil
			})
		}
	}
	group.Wait()
}

// Addr is where the member can be dialled, if it can.
func (m *Member) Addr() string { return Address(m.Index) + "/p2p/" + m.PeerID() }

// PeerID is the member's id below the region.
func (m *Member) PeerID() string { return peerOf(m.World, m.Credential) }

// Sign makes the member's next envelope and keeps it, without telling anybody.
func (m *Member) Sign(header crypto.Header, items ...[]byte) *crypto.Envelope {
	m.World.Helper()
	if header.Time == 0 {
		header.Time = m.Now().UnixMilli()
	}
	if header.Audience == crypto.AudienceLocal {
		header.Audience = crypto.AudienceRegion
	}
	e := m.Envelope(m.World, header, m.last[header.Audience], items...)
	m.last[header.Audience] = e
	if err := m.Admit(context.Background(), []*mesh.Checked{{Envelope: e, Items: items}}); err != nil {
		m.World.Fatal(err)
	}
	return e
}

// Say signs an envelope and publishes it.
func (m *Member) Say(header crypto.Header, items ...[]byte) *crypto.Envelope {
	m.World.Helper()
	e := m.Sign(header, items...)
	m.Publish(e)
	return e
}

// Publish sends out any envelope, whoever made it.
func (m *Member) Publish(e *crypto.Envelope) {
	m.World.Helper()
	if err := m.Mesh.Publish(context.Background(), e); err != nil {
		m.World.Fatal(err)
	}
}

// Running returns the members that run.
func (w *World) Running() []*Member {
	return slices.DeleteFunc(slices.Clone(w.Members), func(m *Member) bool { return m.Mesh == nil })
}

// Equal fails the test unless members of one region hold the same envelopes and
// their frontiers say so. It compares history that has settled.
func (w *World) Equal(members ...*Member) {
	w.Helper()
	if err := w.differ(members); err != nil {
		w.Errorf("seed %d: %v", w.Config.Seed, err)
	}
}

func (w *World) differ(members []*Member) error {
	at := time.Now().UnixMilli()
	first := members[0]
	want := first.IDs()
	var errs []error
	for _, m := range members[1:] {
		got := m.IDs()
		for id := range want {
			if !got[id] {
				errs = append(errs, fmt.Errorf("%s lacks %s, which %s holds", m.Credential.Name, id, first.Credential.Name))
				break
			}
		}
		if len(got) > len(want) {
			errs = append(errs, fmt.Errorf("%s holds %d envelopes, %s %d", m.Credential.Name, len(got), first.Credential.Name, len(want)))
		}
		for _, a := range []crypto.Audience{crypto.AudienceRegion, crypto.AudienceCommunity} {
			if x, y := first.frontier.Root(first.Home.ID, a, at), m.frontier.Root(first.Home.ID, a, at); x != y {
				errs = append(errs, fmt.Errorf("the roots of %s and %s differ for the %s audience", first.Credential.Name, m.Credential.Name, a))
			}
		}
	}
	return errors.Join(errs[:min(len(errs), 10)]...)
}

// AwaitEqual lets time pass until the members hold the same, and returns how
// long it took. It fails the test after a while.
func (w *World) AwaitEqual(patience time.Duration, members ...*Member) time.Duration {
	w.Helper()
	start := time.Now()
	for w.differ(members) != nil {
		if time.Since(start) > patience {
			w.Equal(members...)
			break
		}
		time.Sleep(time.Second)
	}
	return time.Since(start)
}

// Count sums a counter or a gauge over members, of one label value or of all ("").
func Count(w *World, name, value string, members ...*Member) (sum float64) {
	w.Helper()
	for _, m := range members {
		families, err := m.Registry.Gather()
		if err != nil {
			w.Fatal(err)
		}
		for _, f := range families {
			for _, x := range f.GetMetric() {
				if f.GetName() == name && (value == "" || len(x.GetLabel()) > 0 && x.GetLabel()[0].GetValue() == value) {
					sum += x.GetCounter().GetValue() + x.GetGauge().GetValue()
				}
			}
		}
	}
	return sum
}
