package mesh

import (
	"context"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh/wire"
)

// Bulk is a stream as sync and pulls use it.
func (m *Mesh) Bulk(ctx context.Context, s network.Stream) io.ReadWriter { return m.bulk(ctx, s) }

// A Book lets tests fill an address book directly.
type Book struct{ b *book }

func OpenBook(path string) (Book, error) {
	b, err := openBook(path)
	return Book{b}, err
}

func (x Book) Met(id peer.ID, addrs []string, at int64) { x.b.put(id, addrs, at) }
func (x Book) Heard(m *wire.Book, member func(peer.ID) bool) {
	x.b.learn(m, member)
}
func (x Book) Page(to peer.ID) *wire.Book  { return x.b.page(to, 0, func(peer.ID) bool { return true }) }
func (x Book) Known() map[peer.ID][]string { return x.b.known() }
func (x Book) Save() error                 { return x.b.save() }

// MayMeet says whether a peer is told where another is.
func (m *Mesh) MayMeet(id, of peer.ID) bool { return m.mayMeet(id, of) }

// Links are the connections to a peer, whatever was proved on them.
func (m *Mesh) Links(id peer.ID) []network.Conn { return m.host.Network().ConnsToPeer(id) }

// Remembered is how many connections something is known of.
func (m *Mesh) Remembered() int {
	m.gate.mu.Lock()
	defer m.gate.mu.Unlock()
	return len(m.gate.proofs)
}

// ProofMessage is what the side that dialled a connection signs, or the other.
func ProofMessage(c network.Conn, dialled bool) ([]byte, error) {
	if dialled {
		return proofMessage(c, sideDialled)
	}
	return proofMessage(c, sideAccepted)
}

// ExporterOf is the exporter of a connection's TLS session.
func ExporterOf(c network.Conn) (Exporter, error) { return exporterOf(c) }

// Host is the host that every protocol gets.
func (m *Mesh) Host() host.Host { return m.host }

// Relays are the connected members that relay.
func (m *Mesh) Relays() []peer.ID { return m.relays() }

// Carries reports whether others' streams are open with a peer.
func (m *Mesh) Carries(id peer.ID) bool { return m.carries(id) }

// Wanted is how many more connections the supervisor wants to the own region.
func (m *Mesh) Wanted() int { return m.wanted(m.connected(), nil)[m.c.Roster.Region()] }

// RelayACL is what decides whom this node relays for.
func (m *Mesh) RelayACL() relay.ACLFilter { return relayACL{m} }

// A NamedBudget is what each author may bring a day.
type NamedBudget struct{ n *named }

func NewNamedBudget() NamedBudget { return NamedBudget{&named{}} }

func (b NamedBudget) Spend(author crypto.MemberID, bytes int, now int64) bool {
	return b.n.spend(author, bytes, now)
}

// LongestAgo chooses whom to compare with.
func LongestAgo(peers []peer.ID, compared map[peer.ID]time.Time, opened func(peer.ID) time.Time) peer.ID {
	return longestAgo(peers, compared, opened)
}

// NextToCompare is LongestAgo of those who are connected.
func (m *Mesh) NextToCompare() peer.ID { return m.nextToCompare(m.connected()) }

// Compared are those of whom it is known when they were compared with.
func (m *Mesh) Compared() []peer.ID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.compared))
}
