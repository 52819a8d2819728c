package node

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// More files in a node's directory.
const (
	tokenFile  = "token"       // of the local commands; mode 0600
	tokensFile = "tokens.json" // hashes of all tokens
	storeDir   = "store"
	bookFile   = "peers.json"
	clockFile  = "clock.json"

	localToken = "local-commands" // its name
)

// Times of housekeeping.
const (
	sweepEvery = time.Hour
	heldEvery  = time.Second
	clockEvery = 5 * time.Second // also how long a clock that is off does harm after a start
)

// InitOptions of Init. Empty fields keep the defaults of package config.
type InitOptions struct {
	Name string
	API  string   // listen address of the API
	Mesh []string // multiaddresses to listen on; none = outbound only
	TLP  string   // marking of what is shared without one
}

// Init makes a node's directory: new keys, a configuration, a token for the
// local commands and a join request. It changes nothing that is there.
func Init(dir string, o InitOptions) error {
	settings := config.Default()
	settings.Name, settings.Share.TLP = o.Name, o.TLP
	if o.API != "" {
		settings.API.Listen = o.API
	}
	settings.Mesh.Listen = o.Mesh
	if err := settings.Validate(); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, ConfigFile)); err == nil {
		return fmt.Errorf("%s holds a node already: choose another directory", dir)
	}
	id, err := loadOrMake(filepath.Join(dir, identityFile))
	if err != nil {
		return err
	}
	request, err := trust.NewRequest(id, o.Name, fixed(o.Mesh))
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, RequestFile), request, 0o644); err != nil {
		return err
	}
	tokens, err := token.Open(filepath.Join(dir, tokensFile), time.Now)
	if err != nil {
		return err
	}
	_, _ = tokens.Revoke(localToken) // of an Init that was cut off
	secret, _, err := tokens.Create(localToken, token.Admin, notice.TLPRed, time.Time{})
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, tokenFile), []byte(secret+"\n"), 0o600); err != nil {
		return err
	}
	// The configuration comes last: where it is, all the rest is.
	return config.Write(filepath.Join(dir, ConfigFile), settings)
}

// fixed returns those addresses that others can dial as they are: not those of
// all interfaces, nor of any free port.
func fixed(addrs []string) []string {
	return slices.DeleteFunc(slices.Clone(addrs), func(s string) bool {
		m, err := multiaddr.NewMultiaddr(s)
		return err != nil || manet.IsIPUnspecified(m) || strings.Contains(s+"/", "/tcp/0/") || strings.Contains(s+"/", "/udp/0/")
	})
}

// loadOrMake returns the keys in path, which it makes if there are none: those
// of an Init that was cut off are kept.
func loadOrMake(path string) (*keyfile.Identity, error) {
	if _, err := os.Stat(path); err == nil {
		return keyfile.Load(path)
	}
	id, err := keyfile.NewIdentity(rand.Reader)
	if err != nil {
		return nil, err
	}
	return id, keyfile.Save(path, id)
}

// Joined reports whether the node in dir belongs to a region.
func Joined(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, admissionFile))
	return err == nil
}

// Open opens the parts of a node in order: keys, store, trust, mesh, pulse, ledger, API. The
// mesh listens and the API answers when Start has returned.
func Open(o Options) (n *Node, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	n = &Node{
		o: o, log: o.Log, name: o.Settings.Name, started: o.Now(),
		names: map[crypto.MemberID]string{}, registry: prometheus.NewRegistry(),
		declared: declare(o.Settings.Advisories),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if o.Settings.Share.TLP != "" {
		if n.defaultTLP, err = notice.ParseTLP(o.Settings.Share.TLP); err != nil {
			return n, err
		}
	}
	if n.identity, err = keyfile.Load(filepath.Join(o.Dir, identityFile)); err != nil {
		return n, err
	}
	n.member = crypto.NewMemberID(n.identity.Signing.Public())
	n.metrics = newMetrics(n.registry)
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n.recallClock()
	if n.store, err = store.Open(store.Options{
		Dir: filepath.Join(o.Dir, storeDir), InMemory: o.Lab != nil, Small: o.Lab != nil, Now: n.now, Log: o.Log, Registerer: n.registry, Cut: n.cut,
	}); err != nil {
		if strings.Contains(err.Error(), "directory lock") { // Badger has no error to compare with
			err = fmt.Errorf("a node runs in %s already: stop that one first, or choose another directory", o.Dir)
		}
		return n, err
	}
	if err = n.openAlerting(); err != nil {
		return n, err
	}
	if err = n.openDrills(); err != nil {
		return n, err
	}
	if err = n.openTrust(); err != nil {
		return n, err
	}
	if err = n.openPolicies(); err != nil {
		return n, err
	}
	if err = n.openHistory(); err != nil {
		return n, err
	}
	n.picture = newPicture(n)
	if err = n.openWatch(); err != nil {
		return n, err
	}
	if err = n.openMesh(); err != nil {
		return n, err
	}
	if err = n.openPulse(); err != nil {
		return n, err
	}
	if err = n.openLedger(); err != nil {
		return n, err
	}
	if o.Lab != nil {
		return n, nil
	}
	if err = n.openDocuments(); err != nil {
		return n, err
	}
	if err = n.openFeeds(); err != nil {
		return n, err
	}
	if err = n.openHandout(); err != nil {
		return n, err
	}
	return n, n.openAPI()
}

// openTrust builds the roster from the admission, which pins the region, and
// from what peers have shown since.
func (n *Node) openTrust() error {
	path := filepath.Join(n.o.Dir, admissionFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		n.log.Info("this node belongs to no region yet: it answers from what it imports")
		return nil
	}
	if err != nil {
		return err
	}
	admission, roster, err := ParseAdmission(raw)
	if err != nil {
		return fmt.Errorf("%s: %w: put back the file that the coordinator handed you", path, err)
	}
	stored, err := n.store.Trust()
	if err != nil {
		return err
	}
	if err := n.loadTrust(roster, admission.Records, stored); err != nil {
		return err
	}
	own, ok := roster.ByKey(n.identity.Signing.Public().Bytes())
	if !ok {
		return errors.New("the admission names another key than identity.key holds: was one of the files copied?")
	}
	n.member, n.serial = own.Member, own.Serial
	n.roster = roster
	if err := n.settle(); err != nil {
		return err
	}
	n.o.Settings.Mesh.Seeds = append(n.o.Settings.Mesh.Seeds, admission.Seeds...)
	return nil
}

// loadTrust adds to the roster of the admission what was stored, and brings the store
// into agreement: it may lack what the admission says and what follows from an
// approval, and may have what was replaced or decided since.
func (n *Node) loadTrust(roster *trust.Roster, admission, stored [][]byte) error {
	here := make(map[crypto.Hash]bool, len(stored))
	var open, others [][]byte
	for _, raw := range stored {
		here[sha256.Sum256(raw)] = true
		if isProposal(raw) {
			open = append(open, raw)
		} else {
			others = append(others, raw)
		}
	}
	_, err := roster.AddAll(others)
	roster.KeepJournal()
	_, e := roster.AddAll(open)
	if err = errors.Join(err, e); err != nil { // also records of regions that are endorsed no longer
		n.log.Debug("stored trust records", slog.Any("err", err))
	}
	passing := map[crypto.Hash]bool{}
	for _, raw := range roster.Passing() {
		passing[sha256.Sum256(raw)] = true
	}
	var changes []trust.Entry
	for _, e := range roster.TakeJournal() {
		admission = append(admission, e.Raw)
	}
	for _, raw := range admission {
		sum := crypto.Hash(sha256.Sum256(raw))
		if kind, _ := trust.KindOf(raw); !here[sum] && (!kind.Passes() || passing[sum]) {
			changes = append(changes, trust.Entry{Raw: raw})
		}
	}
	gone := 0
	for _, raw := range stored {
		kind, _ := trust.KindOf(raw)
		if !kind.Passes() || passing[sha256.Sum256(raw)] {
			continue
		}
		// What only stands on records that are not here stays.
		if _, err := roster.Add(raw); err == nil || errors.Is(err, trust.ErrProposalMissing) {
			changes = append(changes, trust.Entry{Raw: raw, Left: true})
			gone++
		}
	}
	if gone > 0 {
		n.log.Debug("trust records that were replaced or decided are deleted", slog.Int("records", gone))
	}
	return n.store.ChangeTrust(n.ctx, changes)
}

func (n *Node) openMesh() error {
	if n.roster == nil {
		return nil
	}
	m := n.o.Settings.Mesh
	var err error
	if n.registrar, err = openRegistrar(n); err != nil {
		return err
	}
	c := mesh.Config{
		Identity: n.identity.PeerSeed, Signing: n.identity.Signing, Listen: m.Listen, Announce: m.Announce, Seeds: m.Seeds,
		BookPath: filepath.Join(n.o.Dir, bookFile), Hub: m.Hub,
		Roster: n.roster, Frontier: n.store.Frontier(), Path: path{n}, Registrar: n.registrar,
		Now: n.o.Now, Log: n.log, Registerer: n.registry, Reached: n.reached, Notes: notes{n},
	}
	n.courier = newCourier(n)
	n.heed = newHeed(n)
	if lab := n.o.Lab; lab != nil {
		c.BookPath, c.Transports, c.Path = "", lab.Transports, lab.Path(c.Path)
	}
	n.mesh, err = mesh.New(c)
	return err
}

func (n *Node) openAPI() error {
	var err error
	if n.tokens, err = token.Open(filepath.Join(n.o.Dir, tokensFile), n.o.Now); err != nil {
		return err
	}
	a, c := n.o.Settings.API, n.o.Settings.Feeds
	var lists api.Feeds // nil, and not a nil *feeds
	if n.feeds != nil {
		lists = n.feeds
		n.registry.MustRegister(fetchAges{n.feeds.fetches})
	}
	x := n.o.Settings.Exchange
	var handed api.Exchange // nil, and not a nil *handout
	if n.handout != nil {
		handed = n.handout
	}
	n.api, err = api.New(api.Config{
		Exchange: handed, TAXII: x.TAXII, MISP: x.MISP,
		Feeds: lists, FeedsListen: c.Listen, FeedsCert: c.TLSCert, FeedsKey: c.TLSKey,
		Node: n, Tokens: n.tokens, Listen: a.Listen, Socket: n.socket(), Hosts: a.Hosts,
		TLSCert: a.TLSCert, TLSKey: a.TLSKey, BodyMax: a.BodyMax, Version: n.o.Version, Name: n.name,
		Registerer: n.registry, Gatherer: n.registry, MetricsPublic: n.o.Settings.Metrics.Public, LedgerPublic: n.o.Settings.Ledger.Public, Log: n.log,
	})
	return err
}

// Meet adds peers to dial, beside the configured ones.
func (n *Node) Meet(seeds []string) error {
	if n.mesh == nil {
		return nil
	}
	return n.mesh.AddSeeds(seeds)
}

// Start takes up work: the mesh joins, what waits is signed, the API answers.
func (n *Node) Start() error {
	if n.mesh != nil {
		n.outbox = newOutbox(n)
		if err := n.mesh.Start(); err != nil {
			return err
		}
		n.wait.Go(func() { n.outbox.run(n.ctx) })
		n.wait.Go(n.release)
		n.wait.Go(func() { n.courier.run(n.ctx) })
		n.wait.Go(n.heed.run)
		if err := n.pulse.pulse.Start(); err != nil {
			return err
		}
		n.wait.Go(n.pulse.run)
	}
	if n.ledger != nil {
		if err := n.ledger.Start(); err != nil {
			return err
		}
		n.wait.Go(func() { n.scribe.run(n.ctx) })
	}
	n.wait.Go(n.keep)
	n.wait.Go(n.drills.run)
	n.wait.Go(n.picture.run)
	if n.history != nil {
		n.wait.Go(newReminder(n).run)
	}
	if n.policies.lists.path != "" {
		n.wait.Go(n.policies.watch)
	}
	if n.watch != nil {
		n.wait.Go(n.watch.run)
	}
	n.startAlerting()
	if n.o.Lab != nil {
		return nil
	}
	n.documents.start()
	if n.feeds != nil {
		n.wait.Go(n.feeds.run)
		n.feeds.dns.start()
	}
	if n.handout != nil {
		n.wait.Go(n.handout.run)
	}
	if err := n.api.Start(); err != nil {
		return err
	}
	return n.endpoint()
}

// release checks held envelopes again when their time has come.
func (n *Node) release() {
	tick := time.NewTicker(heldEvery)
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
		for _, raw := range n.held.due(n.now().UnixMilli()) {
			checked, err := path{n}.Check(raw, mesh.ViaDirect, crypto.Region{}, 0)
			if err != nil {
				continue // it was stored meanwhile, or waits again
			}
			if err := (path{n}).Admit(n.ctx, []*mesh.Checked{checked}); err != nil && n.ctx.Err() == nil {
				n.log.Error("admit a held envelope", slog.Any("err", err))
			}
		}
	}
}

// keep does the housekeeping: expiry, and a look at the clock.
func (n *Node) keep() {
	sweep, clock := time.NewTicker(sweepEvery), time.NewTicker(clockEvery)
	defer sweep.Stop()
	defer clock.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-clock.C:
			n.compareClock()
			n.keepLeft()
			if err := n.settle(); err != nil && n.ctx.Err() == nil { // what failed before
				n.log.Error("settle", slog.Any("err", err))
			}
		case <-sweep.C:
			if deleted, err := n.store.Sweep(n.ctx); err != nil && n.ctx.Err() == nil {
				n.log.Error("sweep", slog.Any("err", err))
			} else if deleted > 0 {
				n.log.Info("expired notices were deleted", slog.Int("envelopes", deleted))
			}
		}
	}
}

// AwaitPeers returns when so many members are connected and listen, or ctx ends.
func (n *Node) AwaitPeers(ctx context.Context, count int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if n.mesh == nil || min(len(n.mesh.Peers()), n.mesh.Listeners()) >= count {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Wait returns when ctx ends, or with the reason when the node cannot go on:
// after a failed write only a restart shows what the disk has.
func (n *Node) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-n.store.Failed():
		return store.ErrBroken
	case <-n.ledgerFailed():
		return errLedger(n.ledger.Err())
	}
}

// Close stops the parts in reverse order. It is safe on a node that Open
// returned with an error, and a second call does nothing.
func (n *Node) Close() error {
	n.closed.Do(func() {
		n.cancel()
		var errs []error
		if n.api != nil {
			errs = append(errs, n.api.Close())
		}
		if n.ledger != nil { // it hands its lead over, so before the mesh
			errs = append(errs, n.ledger.Close())
		}
		if n.pulse != nil {
			n.pulse.pulse.Close()
		}
		if n.documents != nil {
			errs = append(errs, n.documents.Close())
		}
		if n.mesh != nil {
			errs = append(errs, n.mesh.Close())
		}
		if n.feeds != nil {
			n.feeds.dns.close()
		}
		n.wait.Wait()
		if n.history != nil {
			errs = append(errs, n.history.Close())
		}
		if n.feeds != nil {
			errs = append(errs, n.feeds.close())
		}
		if n.handout != nil {
			errs = append(errs, n.handout.shelf.Close())
		}
		if n.store != nil {
			errs = append(errs, n.store.Close())
		}
		n.ended = errors.Join(errs...)
	})
	return n.ended
}
