package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh/wire"
)

// Bounds and times of keeping connected.
const (
	degreeHost  = 24 // connections to others with a port that a node with a port keeps up
	degreeHub   = 8  // and a hub, which gossips with each of them
	degreeSpoke = 8  // and a node without a port: at least four hubs in different places
	abroadHub   = 3  // those of a hub to each region that its own endorses …
	abroadHost  = 1  // … and those of another node with a port
	abroadMax   = 64 // of a node that is no hub, to other regions
	dialsMax    = 8  // at once
	dialTime    = 10 * time.Second
	backoffMin  = 250 * time.Millisecond
	backoffMax  = 30 * time.Second
	superviseIn = 250 * time.Millisecond
	bookPeers   = 4096
	bookAddrs   = 8
	bookHeard   = 4
	bookShown   = 128 // members that one message tells about
	bookSave    = 10 * time.Second
	pingEvery   = 15 * time.Second
	tellEvery   = time.Second
	changeEvery = 3 * time.Minute // then one of the chosen is changed for another
)

// book is the address book: where members were reached. It is kept on disk, so
// that a region starts with its seeds dead.
type book struct {
	path string

	mu      sync.Mutex
	entries map[peer.ID]*bookEntry
	dirty   bool
	version uint64 // rises with each address that worked
}

type bookEntry struct {
	Addrs []string `json:"addrs"`
	Heard []string `json:"heard,omitempty"`
	Seen  int64    `json:"seen_ms,omitempty"` // last connected

	version uint64 // of the book, when its addresses last changed
}

func openBook(path string) (*book, error) {
	b := &book{path: path, entries: map[peer.ID]*bookEntry{}}
	if path == "" {
		return b, nil
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("address book: %w", err)
	}
	var stored map[string]*bookEntry
	if err := json.Unmarshal(raw, &stored); err != nil {
		// It is only a cache: seeds and peers fill it again.
		return b, os.Rename(path, path+".damaged")
	}
	for s, e := range stored {
		if id, err := peer.Decode(s); err == nil && e != nil {
			b.entries[id] = e
		}
	}
	return b, nil
}

// save writes the book in one step if it has changed.
func (b *book) save() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.path == "" || !b.dirty {
		return nil
	}
	stored := make(map[string]*bookEntry, len(b.entries))
	for id, e := range b.entries {
		stored[id.String()] = e
	}
	raw, err := json.MarshalIndent(stored, "", " ")
	if err != nil {
		return fmt.Errorf("address book: %w", err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(b.path), ".peers-*")
	if err != nil {
		return fmt.Errorf("address book: %w", err)
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(raw)
	if err := errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return fmt.Errorf("address book: %w", err)
	}
	b.dirty = false
	return os.Rename(temporary.Name(), b.path)
}

// put adds addresses that a peer was reached at or has itself told, or that
// were configured. seen is when it was connected (ms), 0 = not yet.
func (b *book) put(id peer.ID, addrs []string, seen int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(id)
	if e == nil {
		return
	}
	for _, a := range addrs {
		if len(a) > wire.AddressMax || slices.Contains(e.Addrs, a) {
			continue
		}
		e.Addrs, b.dirty = slices.Insert(e.Addrs, 0, a), true
		b.version++
		e.version = b.version
	}
	e.Addrs = e.Addrs[:min(len(e.Addrs), bookAddrs)]
	if seen > e.Seen+int64(time.Hour/time.Millisecond) || seen != 0 && e.Seen == 0 {
		if e.Seen == 0 { // only now is it told to others
			b.version++
			e.version = b.version
		}
		e.Seen, b.dirty = seen, true
	}
}

// hear adds addresses that somebody else told. The newest are kept; they never
// push out those of put, and are not told on.
func (b *book) hear(id peer.ID, addrs []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(id)
	if e == nil {
		return
	}
	for _, a := range addrs {
		if len(a) <= wire.AddressMax && !slices.Contains(e.Addrs, a) && !slices.Contains(e.Heard, a) {
			e.Heard, b.dirty = append(e.Heard, a), true
		}
	}
	e.Heard = slices.Clone(e.Heard[max(0, len(e.Heard)-bookHeard):])
}

// entry returns a peer's entry, nil when the book is full.
func (b *book) entry(id peer.ID) *bookEntry {
	e := b.entries[id]
	if e == nil && len(b.entries) < bookPeers {
		e = &bookEntry{}
		b.entries[id] = e
	}
	return e
}

// learn takes what a peer says of where members are.
func (b *book) learn(m *wire.Book, member func(peer.ID) bool) {
	for _, e := range m.Entries {
		id, err := peer.IDFromBytes(e.Peer)
		if err != nil || !member(id) {
			continue
		}
		var good []string
		for _, s := range e.Addrs {
			if a, err := multiaddr.NewMultiaddr(s); err == nil {
				good = append(good, a.String())
			}
		}
		b.hear(id, good)
	}
}

// page returns what to tell a peer of what changed after a version, those seen
// last first. Version 0 is before everything.
func (b *book) page(to peer.ID, since uint64, member func(peer.ID) bool) *wire.Book {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ids []peer.ID
	for id, e := range b.entries {
		if id != to && member(id) && len(e.Addrs) > 0 && e.Seen != 0 && (since == 0 || e.version > since) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(x, y peer.ID) int { return int(min(max(b.entries[y].Seen-b.entries[x].Seen, -1), 1)) })
	out := &wire.Book{}
	for _, id := range ids[:min(len(ids), bookShown)] {
		out.Entries = append(out.Entries, wire.BookEntry{Peer: []byte(id), Addrs: slices.Clone(b.entries[id].Addrs)})
	}
	return out
}

// known returns every peer with its addresses.
func (b *book) known() map[peer.ID][]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[peer.ID][]string, len(b.entries))
	for id, e := range b.entries {
		out[id] = slices.Concat(e.Addrs, e.Heard)
	}
	return out
}

// knows reports whether any address of a peer is known.
func (b *book) knows(id peer.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[id]
	return e != nil && len(e.Addrs)+len(e.Heard) > 0
}

// Dialable reports whether a member, by its peer id as its credential has it, can be
// dialled as far as this node has heard; of this node itself, whether it listens.
func (m *Mesh) Dialable(id string) bool {
	if peer.ID(id) == m.self {
		return len(m.c.Listen) > 0
	}
	return m.book.knows(peer.ID(id))
}

// AddSeeds adds peers to dial, as multiaddresses that end in /p2p/ID.
func (m *Mesh) AddSeeds(seeds []string) error {
	for _, s := range seeds {
		info, err := peer.AddrInfoFromString(s)
		if err != nil {
			return fmt.Errorf("seed %q: %w: write it as /ip4/203.0.113.5/udp/8461/quic-v1/p2p/PEER-ID", s, err)
		}
		if info.ID == m.self {
			continue
		}
		m.gate.mu.Lock()
		m.gate.seeds[info.ID] = true
		m.gate.mu.Unlock()
		for _, a := range info.Addrs {
			m.book.put(info.ID, []string{a.String()}, 0)
		}
	}
	m.nudge()
	return nil
}

// nudge makes the supervisor look at once.
func (m *Mesh) nudge() {
	select {
	case m.redial <- struct{}{}:
	default:
	}
}

// met does what follows for the side that dialled another member: it notes the
// address that worked and begins a sync.
func (m *Mesh) met(id peer.ID) {
	if !m.gate.member(id) {
		return
	}
	var addrs []string
	for _, c := range m.gate.heard(id) {
		if c.Stat().Direction == network.DirOutbound {
			addrs = append(addrs, c.RemoteMultiaddr().String())
		}
	}
	m.book.put(id, addrs, m.now())
	// Where both dialled at once, the connection may end under the first session.
	for wait := firstSyncWait; wait <= firstSyncWaitMax && m.gate.member(id); wait *= 2 {
		_, err := m.SyncNow(m.ctx, id)
		if err == nil || m.ctx.Err() != nil || errors.Is(err, errBusy) {
			return
		}
		m.log.Debug("first sync", slog.String("peer", id.String()), slog.Any("err", err))
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(wait):
		}
		if m.host.Network().Connectedness(id) != network.Connected {
			return // the next connection begins its own
		}
	}
}

// A first session that was cut off is begun again after so long, then after
// twice as long, up to the longest.
const (
	firstSyncWait    = time.Second
	firstSyncWaitMax = 4 * time.Second
)

// telling is what a peer was told of the book: what changed after since, up to
// version, and how often: a message on a connection that ends is lost.
type telling struct {
	since, version uint64
	times          int
}

const tellTimes = 3

// tell sends a peer what has changed in the address book.
func (m *Mesh) tell(id peer.ID) {
	m.book.mu.Lock()
	version := m.book.version
	m.book.mu.Unlock()
	m.mu.Lock()
	t := m.told[id]
	switch {
	case t.version == version:
	case t.times >= tellTimes:
		t = telling{since: t.version, version: version}
	default: // the last may have been lost
		t = telling{since: t.since, version: version}
	}
	t.times++
	m.told[id] = t
	m.mu.Unlock()
	if t.times > tellTimes {
		return
	}
	if page := m.book.page(id, t.since, func(of peer.ID) bool { return m.mayMeet(id, of) }); len(page.Entries) > 0 {
		m.direct.send(id, protocolDirect, wire.KindBook, page)
	}
}

// mayMeet reports whether a peer may be told where a member is: one whose region
// hears its own. A region that this one endorses need not know the others.
func (m *Mesh) mayMeet(id, of peer.ID) bool {
	return m.gate.member(of) && m.c.Roster.Mutual(m.regionOf(id), m.regionOf(of))
}

// tellNews tells those who are connected what has changed since they were told.
func (m *Mesh) tellNews(connected []peer.ID) {
	m.book.mu.Lock()
	version := m.book.version
	m.book.mu.Unlock()
	for _, id := range connected {
		m.mu.Lock()
		t, told := m.told[id]
		m.mu.Unlock()
		if told && t.version != version { // who was told nothing has not been identified yet
			m.tell(id)
		}
	}
}

// watchIdentify notes where members say that they listen, and tells each that
// comes where the others are.
func (m *Mesh) watchIdentify() {
	sub, err := m.host.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted))
	if err != nil {
		m.log.Error("watch for addresses of members", slog.Any("err", err))
		return
	}
	defer sub.Close()
	for {
		select {
		case <-m.ctx.Done():
			return
		case e := <-sub.Out():
			identified, ok := e.(event.EvtPeerIdentificationCompleted)
			if !ok || !m.gate.member(identified.Peer) || m.host.Network().Connectedness(identified.Peer) != network.Connected {
				continue
			}
			m.wait.Go(func() { m.identified(identified) })
		}
	}
}

// identified notes what a member has said of itself, once it has proved that it
// is the one.
func (m *Mesh) identified(e event.EvtPeerIdentificationCompleted) {
	if m.gate.await(m.ctx, e.Conn) != nil {
		return
	}
	var addrs []string
	for _, a := range e.ListenAddrs[:min(len(e.ListenAddrs), bookAddrs)] {
		addrs = append(addrs, a.String())
	}
	m.book.put(e.Peer, addrs, m.now())
	m.mu.Lock()
	delete(m.told, e.Peer) // a new connection may be to one that has forgotten everything
	m.mu.Unlock()
	m.tell(e.Peer)
}

// An attempt is the state of dialling one peer.
type attempt struct {
	next  time.Time
	delay time.Duration
	since time.Time // of the last success
	tried time.Time // when it was last begun, or its connection given up
}

// after plans the next attempt: later and later after failures, and after
// connections that were closed again soon.
func (a *attempt) after(err error) {
	now := time.Now()
	if err == nil {
		a.since = now
	}
	a.delay = min(max(2*a.delay, backoffMin), backoffMax)
	a.next = now.Add(a.delay/2 + rand.N(a.delay))
}

// settle forgets earlier failures once a connection has lasted.
func (a *attempt) settle() {
	if time.Since(a.since) > dialTime {
		a.delay, a.next = 0, time.Time{}
	}
}

type dialled struct {
	id  peer.ID
	err error
}

// supervise keeps enough members connected until the mesh closes.
func (m *Mesh) supervise() {
	attempts := map[peer.ID]*attempt{}
	results := make(chan dialled, dialsMax)
	dialing := map[peer.ID]bool{}
	tick := time.NewTicker(superviseIn)
	defer tick.Stop()
	var saved, pinged, told time.Time
	c := changing{next: time.Now().Add(changeEvery/2 + rand.N(changeEvery))}
	for {
		select {
		case <-m.ctx.Done():
			return
		case r := <-results:
			delete(dialing, r.id)
			attempts[r.id].after(r.err)
			if r.err != nil {
				m.log.Debug("dial", slog.String("peer", r.id.String()), slog.Any("err", r.err))
			}
			if r.id == c.to {
				m.changed(&c, r, attempts)
			}
		case <-m.redial:
		case <-tick.C:
		}
		connected, linked := m.connected(), m.linked()
		for _, id := range connected {
			if a := attempts[id]; a != nil {
				a.settle()
			}
		}
		m.dialMore(linked, attempts, dialing, results, &c)
		if time.Since(saved) > bookSave {
			saved = time.Now()
			if err := m.book.save(); err != nil {
				m.log.Warn("address book is not saved", slog.Any("err", err))
			}
		}
		if time.Since(pinged) > pingEvery {
			pinged = time.Now()
			m.pingAll(connected)
		}
		if time.Since(told) > tellEvery {
			told = time.Now()
			m.tellNews(connected)
		}
	}
}

// changing is when one more peer than needed is dialled, whom a peer that was
// connected for long makes room for. Members that admit nobody else's words, or
// crowd the address book, are thus never all that a node sees for long: each
// address it knows gets its turn, every second time one of the seeds.
type changing struct {
	next   time.Time
	to     peer.ID // the last that was dialled so
	seeded bool    // the last was a seed
}

// due reports whether it is time, and plans the next time.
func (c *changing) due() bool {
	now := time.Now()
	if now.Before(c.next) {
		return false
	}
	c.next = now.Add(changeEvery/2 + rand.N(changeEvery))
	return true
}

// choose returns whom of those that are not connected to dial: who was tried
// longest ago.
func (c *changing) choose(from []peer.ID, attempts map[peer.ID]*attempt, seed func(peer.ID) bool) []peer.ID {
	seeds := slices.DeleteFunc(slices.Clone(from), func(id peer.ID) bool { return !seed(id) })
	if c.seeded = !c.seeded && len(seeds) > 0; c.seeded {
		from = seeds
	}
	if len(from) == 0 {
		return nil
	}
	c.to = slices.MinFunc(from, func(x, y peer.ID) int { return tried(attempts, x).Compare(tried(attempts, y)) })
	return []peer.ID{c.to}
}

func tried(attempts map[peer.ID]*attempt, id peer.ID) time.Time {
	if a := attempts[id]; a != nil {
		return a.tried
	}
	return time.Time{}
}

// changed ends a change: with the next one soon, where it failed.
func (m *Mesh) changed(c *changing, r dialled, attempts map[peer.ID]*attempt) {
	if c.to = ""; r.err == nil {
		if left := m.leave(r.id); attempts[left] != nil {
			attempts[left].tried = time.Now() // the others have their turn first
		}
	} else if soon := time.Now().Add(backoffMax); soon.Before(c.next) {
		c.next = soon
	}
}

// leave closes the connection to one of the peers that this node chose long ago,
// the one that brought nothing new for the longest time, since another has come. It
// returns which, "" if there is none.
func (m *Mesh) leave(newcomer peer.ID) peer.ID {
	old := slices.DeleteFunc(m.ofRegion(m.c.Roster.Region(), m.connected()), func(id peer.ID) bool {
		conns := m.host.Network().ConnsToPeer(id)
		return id == newcomer || m.comparing(id) || m.carries(id) || len(conns) == 0 ||
			conns[0].Stat().Direction != network.DirOutbound || time.Since(conns[0].Stat().Opened) < changeEvery/2
	})
	if len(old) == 0 {
		return ""
	}
	rand.Shuffle(len(old), func(i, j int) { old[i], old[j] = old[j], old[i] })
	m.mu.Lock()
	least := slices.MinFunc(old, func(x, y peer.ID) int { return m.brought[x].Compare(m.brought[y]) })
	delete(m.brought, least)
	m.mu.Unlock()
	m.log.Debug("changed for another", slog.String("peer", least.String()), slog.String("for", newcomer.String()))
	_ = m.host.Network().ClosePeer(least)
	return least
}

// ofRegion returns those of a region.
func (m *Mesh) ofRegion(region crypto.Region, ids []peer.ID) (out []peer.ID) {
	for _, id := range ids {
		if m.regionOf(id) == region {
			out = append(out, id)
		}
	}
	return out
}

// useful notes that a peer brought something new.
func (m *Mesh) useful(from peer.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.brought[from] = time.Now()
}

// dialMore begins to dial as many peers as are wanting and may be tried now:
// those in places where nobody is connected first, so that no single failure
// takes all away. Where none of the own region is wanting one is changed now and
// then.
func (m *Mesh) dialMore(connected []peer.ID, attempts map[peer.ID]*attempt, dialing map[peer.ID]bool, results chan<- dialled, c *changing) {
	own, want := m.c.Roster.Region(), m.wanted(connected, dialing)
	change := want[own] == 0 && c.due()
	if change {
		want[own] = 1
	}
	if len(want) == 0 {
		return
	}
	places := map[string]bool{}
	for _, id := range connected {
		for _, c := range m.host.Network().ConnsToPeer(id) {
			places[place(c.RemoteMultiaddr())] = true
		}
	}
	var elsewhere, beside []peer.ID
	known := m.book.known()
	for id, addrs := range shuffled(known) {
		a := attempts[id]
		if id == m.self || dialing[id] || len(addrs) == 0 || want[m.regionOf(id)] == 0 || a != nil && time.Now().Before(a.next) || slices.Contains(connected, id) || !m.gate.InterceptPeerDial(id) {
			continue
		}
		first, err := multiaddr.NewMultiaddr(addrs[0])
		if err == nil && !places[place(first)] {
			elsewhere = append(elsewhere, id)
		} else {
			beside = append(beside, id)
		}
	}
	candidates := append(elsewhere, beside...)
	if change {
		candidates = append(c.choose(m.ofRegion(own, candidates), attempts, m.gate.seed), candidates...)
	}
	for _, id := range candidates {
		if len(dialing) >= dialsMax {
			return
		}
		region := m.regionOf(id)
		if want[region] == 0 {
			continue
		}
		want[region]--
		if attempts[id] == nil {
			attempts[id] = &attempt{}
		}
		attempts[id].tried = time.Now()
		dialing[id] = true
		m.wait.Go(func() { results <- dialled{id, m.dial(id, known[id])} })
	}
}

// wanted returns how many more connections there should be to members of each
// region, without those that need none. Nodes with a port keep their region in
// touch with the others; those without hear them through those.
func (m *Mesh) wanted(connected []peer.ID, dialing map[peer.ID]bool) map[crypto.Region]int {
	own := m.c.Roster.Region()
	want := map[crypto.Region]int{own: degreeHost}
	if m.c.Hub {
		want[own] = degreeHub
	}
	if len(m.c.Listen) == 0 {
		want[own] = degreeSpoke
	} else if list := m.c.Roster.Endorsements(own); list != nil {
		for i, region := range list.Regions {
			switch {
			case m.c.Hub:
				want[region] = abroadHub
			case i < abroadMax:
				want[region] = abroadHost
			}
		}
	}
	for _, id := range connected {
		// Of those without a port as many come as there are. They lead nowhere: if they
		// counted, hubs with enough of them would not look for one another.
		if len(m.c.Listen) == 0 || m.book.knows(id) {
			want[m.regionOf(id)]--
		}
	}
	for id := range dialing {
		want[m.regionOf(id)]--
	}
	maps.DeleteFunc(want, func(_ crypto.Region, n int) bool { return n <= 0 })
	return want
}

// place is the network that an address lies in, as far as it can be told: what
// fails together. Names are places of their own.
func place(a multiaddr.Multiaddr) string {
	ip, err := manet.ToIP(a)
	if err != nil {
		return a.String()
	}
	if v4 := ip.To4(); v4 != nil {
		return v4.Mask(net.CIDRMask(16, 32)).String()
	}
	return ip.Mask(net.CIDRMask(32, 128)).String()
}

// shuffled yields the book in random order, so that nodes do not all depend on
// the same few.
func shuffled(known map[peer.ID][]string) func(func(peer.ID, []string) bool) {
	ids := make([]peer.ID, 0, len(known))
	for id := range known {
		ids = append(ids, id)
	}
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return func(yield func(peer.ID, []string) bool) {
		for _, id := range ids {
			if !yield(id, known[id]) {
				return
			}
		}
	}
}

func (m *Mesh) dial(id peer.ID, addrs []string) error {
	ctx, cancel := context.WithTimeout(m.ctx, dialTime)
	defer cancel()
	return m.dialAt(ctx, id, addrs)
}

// dialAt connects to a peer directly, at addresses.
func (m *Mesh) dialAt(ctx context.Context, id peer.ID, addrs []string) error {
	info := peer.AddrInfo{ID: id}
	for _, s := range addrs {
		if a, err := multiaddr.NewMultiaddr(s); err == nil {
			info.Addrs = append(info.Addrs, a)
		}
	}
	m.host.Peerstore().AddAddrs(id, info.Addrs, peerstore.TempAddrTTL)
	return m.host.Connect(network.WithForceDirectDial(ctx, "direct"), info)
}

// pingAll measures each link, so that slow ones are known.
func (m *Mesh) pingAll(peers []peer.ID) {
	for _, id := range peers {
		m.wait.Go(func() {
			ctx, cancel := context.WithTimeout(m.ctx, pingEvery)
			defer cancel()
			// The result is recorded in the peer store's moving average.
			<-ping.Ping(ctx, m.host, id)
		})
	}
}
