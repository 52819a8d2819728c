// Package node is one hospital's node: the one place where mesh, store and API
// meet. The way of a notice reads from top to bottom: submit.go takes it,
// outbox.go signs it, path.go admits it (own and foreign alike), views.go
// answers with it; lifecycle.go starts and stops the parts in order.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/alert/sink"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/history"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// Options of Open.
type Options struct {
	Dir      string
	Settings config.Config
	Version  string
	Log      *slog.Logger     // nil = none
	Now      func() time.Time // nil = time.Now
	Lab      *Lab             // tests; nil = the real world
}

// A Lab is what tests in virtual time replace, since nothing there may wait for
// the outside: the store is in memory then, and there is no API.
type Lab struct {
	Transports []libp2p.Option             // instead of QUIC, TCP and WebSocket
	Path       func(mesh.Path) mesh.Path   // around the accept order of foreign envelopes
	Sink       func(name string) sink.Sink // instead of what the configuration says; nil where it names none
}

// A Node is safe for concurrent use.
type Node struct {
	o        Options
	log      *slog.Logger
	name     string
	identity *keyfile.Identity
	member   crypto.MemberID
	serial   uint32 // of this node's credential; 0 = no region yet

	roster     *trust.Roster
	store      *store.Store
	mesh       *mesh.Mesh       // nil while the node belongs to no region
	registrar  *registrar       // nil with mesh
	outbox     *outbox          // nil with mesh
	courier    *courier         // nil with mesh
	pulse      *pulseKeeper     // nil with mesh
	ledger     *ledger.Ledger   // nil with mesh, and in a lab
	scribe     *scribe          // nil with ledger
	heed       *heed            // nil with mesh
	history    *history.History // nil when it is off, and in a lab
	picture    *picture
	feeds      *feeds   // nil = none is configured
	handout    *handout // nil = nothing is handed out to other programs
	policies   *policies
	watch      *watch     // nil where no log is named
	documents  *documents // nil in a lab
	drills     *drills
	asked      atomic.Int64 // ns, when somebody looked something up
	alerting   *alerting
	api        *api.Server
	tokens     *token.Tokens
	registry   *prometheus.Registry
	metrics    *metrics
	defaultTLP notice.TLP
	declared   declared
	held       heldQueue
	correction atomic.Int64 // ns, added to the clock
	clockKept  time.Time    // when that was written down; used by compareClock alone
	urgent     urgentBudget
	floods     floods
	started    time.Time
	keeping    sync.Mutex    // held while records are taken into roster and store
	unkept     []trust.Entry // changes of the roster that the store lacks; by keeping
	settling   sync.Mutex
	settled    string // the decisions that the store agrees with

	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup
	closed sync.Once
	ended  error

	mu    sync.Mutex
	names map[crypto.MemberID]string // of members, filled as they are asked for
	out   int64                      // ms, when the last own envelope was signed
	skew  clockSkew
}

// now is this machine's clock, corrected where the members agree that it is
// far off: a time server that is down or lies must not expire everything.
func (n *Node) now() time.Time { return n.o.Now().Add(time.Duration(n.correction.Load())) }

// Name returns the hospital's name.
func (n *Node) Name() string { return n.name }

// PeerID returns the id under which the mesh knows this node.
func (n *Node) PeerID() string {
	if n.mesh == nil {
		return ""
	}
	return n.mesh.PeerID()
}

// MeshAddrs returns the addresses that others can dial.
func (n *Node) MeshAddrs() []string {
	if n.mesh == nil {
		return nil
	}
	return n.mesh.Addrs()
}

// APIURL returns the base URL of the API.
func (n *Node) APIURL() string { return n.api.URL() }

// admitted does what follows on an envelope that is durable now.
func (n *Node) admitted(ctx context.Context, e store.Entry, a store.Appended) {
	h := &e.Envelope.Header
	if a.Duplicate {
		return
	}
	n.metrics.admitted(e, h.Author == n.member, n.now().UnixMilli())
	if h.Author == n.member {
		n.mu.Lock()
		n.out = max(n.out, h.Time)
		n.mu.Unlock()
	}
	if n.pulse != nil {
		n.pulse.word(h.Author, min(h.Time, e.Received))
	}
	if n.heed != nil {
		n.heed.hear(h.Author, h.Exercise, e.Items)
	}
	n.said(&e)
	if a.Fork {
		n.forked(ctx, h)
	}
	bad := slices.DeleteFunc(slices.Clone(e.Items), func(i store.Item) bool { return i.Err == "" })
	if len(bad) > 0 { // one line an envelope: a log is not to be flooded either
		n.log.Warn("items refused, their envelope stays", slog.String("author", n.nameOrID(h.Author)), slog.String("envelope", e.Envelope.ID.String()),
			slog.Int("refused", len(bad)), slog.Int("first", bad[0].Index), slog.String("reason", bad[0].Err))
	}
}

// forked keeps the proof that an author signed two envelopes in one place, with
// the trust records, so that it reaches those who saw only one of the two.
func (n *Node) forked(ctx context.Context, h *crypto.Header) {
	if h.Author == n.member {
		n.outbox.forked(h.Audience)
	}
	forks, err := n.store.Forks(forksMax)
	if err != nil {
		n.log.Error("fork proof", slog.Any("err", err))
		return
	}
	for _, f := range forks {
		if f.Chain != h.Chain() {
			continue
		}
		proof, err := trust.NewForkProof(f.Bare[0], f.Bare[1])
		if err == nil {
			err = path{n}.AddTrust(context.WithoutCancel(ctx), [][]byte{proof})
		}
		if err != nil {
			n.log.Error("fork proof", slog.Any("err", err))
		}
	}
}

// forksMax is how many kept forks are looked through for a new one.
const forksMax = 10_000

// warnOfForks says once an author that it contradicts itself. After a restored
// backup that is an accident, so it warns and revokes nobody.
func (n *Node) warnOfForks() {
	for _, f := range n.roster.Forks() {
		who := n.memberName(f.Chain.Author)
		if f.Chain.Author == n.member {
			who = "This node"
		}
		n.alert(store.Alert{
			Kind: "fork", Severity: "warning", TLP: notice.TLPAmber, Dedup: fmt.Sprintf("fork/%s/%d", f.Chain.Author, f.Chain.Serial),
			Text: who + " said two different things in one place. A restored backup or a copied machine does that, and so does a stolen key: ask them. Both words stay visible, marked.",
		})
	}
}

// alert keeps something that a person should know. It reports false if the same
// is kept already.
func (n *Node) alert(a store.Alert) bool {
	added, err := n.keepAlert(a)
	if err != nil {
		n.log.Error("alert is not kept", slog.String("kind", a.Kind), slog.Any("err", err))
	}
	return added
}

// keepAlert is alert for those who go on only once the alert is durable, be it from before.
func (n *Node) keepAlert(a store.Alert) (added bool, err error) {
	a.Time = n.now().UnixMilli()
	added, err = n.store.Alert(context.WithoutCancel(n.ctx), a)
	if added {
		n.alerting.hear()
	}
	return added, err
}

// memberName returns a member's name, or the start of its id.
func (n *Node) memberName(id crypto.MemberID) string {
	if id == n.member {
		return n.name
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if name, ok := n.names[id]; ok {
		return name
	}
	if n.roster == nil {
		return ""
	}
	if len(n.names) > namesMax {
		clear(n.names)
	}
	for _, region := range slices.Backward(n.roster.Regions()) { // its own last, whose word counts
		for _, c := range n.roster.Members(region) {
			if n.roster.Speaks(c) {
				n.names[c.Member] = c.Name
			}
		}
	}
	return n.names[id]
}

// namesMax bounds the cache of names.
const namesMax = 65_536

// AddTrust implements mesh.Path: records are verified first and kept then. It
// returns when all that counts is on disk, whoever brought it.
func (p path) AddTrust(ctx context.Context, records [][]byte) error {
	p.n.keeping.Lock()
	defer p.n.keeping.Unlock()
	_, err := p.n.roster.AddAll(records)
	if err != nil {
		err = refuse("trust", err)
	}
	changed, e := p.n.keepTrust(ctx)
	if e != nil {
		return e
	}
	if !changed {
		return err
	}
	p.n.mu.Lock()
	clear(p.n.names)
	p.n.mu.Unlock()
	p.n.warnOfForks()
	return errors.Join(err, p.n.settle())
}

// keepTrust makes the records in the store those of the roster, and reports whether
// they were others. keeping is held. What counts already cannot be taken back: what
// a full disk refuses is tried again by the next call.
func (n *Node) keepTrust(ctx context.Context) (changed bool, err error) {
	n.unkept = append(n.unkept, n.roster.TakeJournal()...)
	if len(n.unkept) == 0 {
		return false, nil
	}
	if err := n.store.ChangeTrust(context.WithoutCancel(ctx), n.unkept); err != nil {
		return false, err
	}
	n.unkept = nil
	return true, nil
}

// keepLeft writes down what could not be before.
func (n *Node) keepLeft() {
	n.keeping.Lock()
	defer n.keeping.Unlock()
	if len(n.unkept) == 0 {
		return
	}
	if _, err := n.keepTrust(n.ctx); err != nil && n.ctx.Err() == nil {
		n.log.Error("trust records are not kept", slog.Any("err", err))
	}
}

// Read implements mesh.Path. What was erased here before it expired is left
// out: "gone" is the author's word, so a peer would not take it without items.
func (p path) Read(chain crypto.ChainID, r mesh.Range, newestFirst bool, yield func(seq uint64, raw []byte) bool) error {
	now := p.n.now().UnixMilli()
	return p.n.store.Read(chain, r, newestFirst, func(seq uint64, raw []byte) bool {
		e, err := crypto.ParseEnvelope(raw)
		if err == nil && e.Erased() && e.Header.Expiry > now {
			return true
		}
		return yield(seq, raw)
	})
}

// endpoint tells commands where this node's API is.
func (n *Node) endpoint() error {
	e := client.Endpoint{URL: n.api.URL(), TokenFile: tokenFile}
	if n.socket() != "" {
		e.Socket = n.o.Settings.API.Socket // relative to the directory, as in the configuration
	}
	return client.WriteEndpoint(n.o.Dir, e)
}

// inDir returns a path of the configuration, which starts at the node's directory if it
// is relative; "" stays so.
func (n *Node) inDir(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(n.o.Dir, path)
}

// socketPathMax is the longest path of a Unix socket that every system takes.
const socketPathMax = 100

// socket returns the path of the Unix socket, "" if there is none. A directory
// too deep for one does without: the API has its TCP address.
func (n *Node) socket() string {
	s := n.inDir(n.o.Settings.API.Socket)
	if len(s) > socketPathMax && n.o.Settings.API.Listen != "" {
		return ""
	}
	return s
}
