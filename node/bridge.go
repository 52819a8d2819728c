package node

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/stix"
	"github.com/watchward/watchward/node/misp"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/shelf"
	"github.com/watchward/watchward/node/store"
	taxii "github.com/watchward/watchward/node/taxii/client"
)

const (
	bridgeServer    = "bridge/" // and the name: under which the shelf remembers what a service gave
	bridgeGiven     = "/given"  // behind it: ids of what the service has, by whatever way
	bridgePushed    = "/pushed" // ids of what was pushed
	bridgeEvents    = "/events" // MISP events, and of when they were pushed
	bridgeReasons   = 20        // reasons kept for people
	bridgeTries     = 5         // at what a service says nothing of
	bridgeFirst     = time.Second
	bridgeRoundMax  = time.Hour
	bridgeSaved     = time.Minute      // between two times that it is written down that all is well
	bridgeTurn      = 15 * time.Second // in which a word of another bridge is here: it may wait 10 s to be signed
	bridgeTurns     = 4                // that one waits at most
	bridgeOthers    = 64               // members that are remembered
	bridgeForgets   = 7 * 24 * time.Hour
	bridgeAlert     = 24 * time.Hour // until people are alerted of a service that fails
	bridgePatience  = 8              // failures in a row until it is asked no sooner than otherwise
	bridgeSecretMax = 4 << 10        // bytes
	bridgeLineMax   = 300            // characters of what a service says
)

// bridges are those of the configuration. Each has a goroutine of its own.
type bridges struct {
	all []*bridge
}

// A bridge shares with one service.
type bridge struct {
	n *Node
	h *handout
	c config.Bridge

	wait     func(context.Context, time.Duration) error
	within   func(context.Context) (context.Context, context.CancelFunc) // the time of a round
	round    sync.Mutex                                                  // one at a time; guards the next three
	service  service                                                     // nil = to be opened
	failures int                                                         // in a row
	saved    time.Time

	mu   sync.Mutex // guards what follows
	at   bridgeState
	next time.Time
	took time.Duration // of the last round
}

// A bridgeState is what a bridge writes down.
type bridgeState struct {
	// Of are the settings for which the positions hold: with others all is read again.
	Of     string         `json:"of"`
	PushOf string         `json:"push_of"` // likewise: with others all is looked at again
	TAXII  taxii.Position `json:"taxii,omitzero"`
	Other  taxii.Position `json:"other,omitzero"` // of the collection that is pushed to, if another
	MISP   misp.Position  `json:"misp,omitzero"`
	Late   []lateObject   `json:"late,omitempty"`
	// Others are members that took the same in from there, and when that was seen last
	// (ms): their bridges and this one take turns.
	Others map[string]int64 `json:"others,omitempty"`
	Pushed int64            `json:"pushed,omitempty"` // stamp of the shelf up to which all was pushed
	Tries  int              `json:"tries,omitempty"`  // at what follows it
	// Missed are MISP events that the service failed at; the map is never changed.
	Missed map[string]missedEvent `json:"missed,omitempty"`

	Counts  bridgeCounts   `json:"counts"`
	Reasons []bridgeReason `json:"reasons,omitempty"` // the latest last
	Last    int64          `json:"last,omitempty"`    // ms, when all was well
	Down    int64          `json:"down,omitempty"`    // ms, since when it is not; 0: it is
	Why     string         `json:"why,omitempty"`
}

// bridgeCounts are since ever.
type bridgeCounts struct {
	Taken   int64 `json:"taken"`
	Known   int64 `json:"known"`
	Refused int64 `json:"refused"`
	Pushed  int64 `json:"pushed"`
	Failed  int64 `json:"failed"`
}

// A bridgeReason is why something was not taken, or not pushed.
type bridgeReason struct {
	Text  string `json:"text"`
	ID    string `json:"id"` // of the last
	Push  bool   `json:"push,omitempty"`
	Count int64  `json:"count"`
	Last  int64  `json:"last"` // ms
}

// A service is the other end of a bridge, while it works.
type service interface {
	// mark notes what may be pushed after the read that follows: what the shelf has now.
	// It reports whether there is anything.
	mark(ctx context.Context) (bool, error)
	// read takes in what is new there, or only remembers what there is.
	read(ctx context.Context) error
	// push gives what was marked, and reports whether there is more.
	push(ctx context.Context) (more bool, err error)
	close()
}

// openBridges takes up what each bridge had come to.
func (n *Node) openBridges() error {
	if n.handout == nil || len(n.o.Settings.Bridges) == 0 {
		return nil
	}
	n.bridges = &bridges{}
	for _, c := range n.o.Settings.Bridges {
		b := &bridge{n: n, h: n.handout, c: c, wait: pauseFor, within: withinRound}
		if err := n.handout.shelf.Note(bridgeServer+c.Name, &b.at); err != nil {
			return fmt.Errorf("bridge %s: %w", c.Name, err)
		}
		b.settle()
		n.bridges.all = append(n.bridges.all, b)
	}
	return nil
}

func (n *Node) startBridges() {
	if n.bridges == nil {
		return
	}
	for _, b := range n.bridges.all {
		n.wait.Go(b.run)
	}
}

// settle forgets positions that are of other settings, or of a time when this node was
// allowed to say something else: what was refused then may be taken now.
func (b *bridge) settle() {
	c := b.c
	b.mu.Lock()
	defer b.mu.Unlock()
	of := strings.Join([]string{c.Kind, c.URL, c.Collection, c.PushCollection, c.Marking, fmt.Sprint(c.Pull, c.Share, b.n.speaks())}, "\n")
	if b.at.Of != of {
		b.at.Of, b.at.TAXII, b.at.Other, b.at.MISP, b.at.Late = of, taxii.Position{}, taxii.Position{}, misp.Position{}, nil
	}
	of = strings.Join([]string{c.Kind, c.URL, c.PushCollection, c.Push, c.PushCeiling().String()}, "\n")
	if b.at.PushOf != of {
		b.at.PushOf, b.at.Pushed, b.at.Tries, b.at.Missed = of, 0, 0, nil
	}
}

// speaks says to whom this node may say something.
func (n *Node) speaks() string {
	if n.roster == nil {
		return "nobody"
	}
	if n.silenced() {
		return "revoked"
	}
	if own, known := n.roster.Member(n.roster.Region(), n.member, n.serial); known && !n.roster.Allowed(own, crypto.AudienceRegion) {
		return "community"
	}
	return "region"
}

// server is under which name the shelf remembers what the service gave.
func (b *bridge) server() string { return bridgeServer + b.c.Name }

func (b *bridge) intake() intake {
	return intake{caller: "bridge " + b.c.Name, ceiling: notice.ExportMax, share: b.c.Share, marking: b.c.Unmarked()}
}

func (b *bridge) run() {
	wait := rand.N(bridgeFirst) // not all of them at once
	b.waits(wait)
	for {
		timer := time.NewTimer(wait)
		select {
		case <-b.n.ctx.Done():
			timer.Stop()
			b.round.Lock()
			b.shut()
			b.round.Unlock()
			return
		case <-timer.C:
		}
		wait = b.goOnce(b.n.ctx)
	}
}

func (b *bridge) waits(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = b.n.now().Add(d)
}

// goOnce reads and pushes once, and returns how long to wait until the next time.
func (b *bridge) goOnce(ctx context.Context) time.Duration {
	b.round.Lock()
	defer b.round.Unlock()
	began := time.Now()
	more, err := b.share(ctx)
	if ctx.Err() != nil { // the node ends
		return 0
	}
	b.mu.Lock()
	b.took = time.Since(began)
	b.mu.Unlock()
	wait := b.c.Interval()
	if err != nil {
		b.shut() // the next one looks at the files of its secrets again
		b.failures++
		wait = b.patience(err)
		b.broken(err)
	} else {
		b.failures = 0
		b.well()
		if more {
			return 0
		}
	}
	wait += rand.N(wait / 10)
	b.waits(wait)
	return wait
}

func (b *bridge) shut() {
	if b.service != nil {
		b.service.close()
		b.service = nil
	}
}

// share is one round. What is pushed was there before all was read that the service
// has, so that of everything that came from there this is known.
func (b *bridge) share(ctx context.Context) (more bool, err error) {
	ctx, cancel := b.within(ctx)
	defer cancel()
	if b.service == nil {
		if b.service, err = b.open(ctx); err != nil {
			return false, cmp.Or(context.Cause(ctx), err)
		}
	}
	b.settle()
	before := b.state()
	push := false
	if b.c.Pushes() {
		if push, err = b.service.mark(ctx); err == nil && push {
			err = b.turn(ctx)
		}
		if err != nil {
			return false, err
		}
	}
	if err = b.service.read(ctx); err == nil && push {
		more, err = b.service.push(ctx)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if after := b.state(); errors.Is(err, errRoundMax) && after.beyond(&before) {
		return true, nil // there is much, and it comes
	}
	return more, err
}

var errRoundMax = fmt.Errorf("it did not come to an end within %s: the next try goes on", bridgeRoundMax)

func withinRound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, bridgeRoundMax, errRoundMax)
}

// beyond reports whether more was read or pushed than before.
func (s *bridgeState) beyond(before *bridgeState) bool {
	return s.TAXII != before.TAXII || s.Other != before.Other || s.Pushed != before.Pushed || !reflect.DeepEqual(s.MISP, before.MISP)
}

func (b *bridge) open(ctx context.Context) (service, error) {
	if b.c.Kind == config.BridgeTAXII {
		return b.openTAXII(ctx)
	}
	return b.openMISP()
}

// patience is how long to wait after an error: as long as the service asks for, soon
// where that may help, and otherwise as long as ever.
func (b *bridge) patience(err error) time.Duration {
	after, soon := time.Duration(0), true
	if e := (*taxii.Error)(nil); errors.As(err, &e) {
		after, soon = e.RetryAfter, e.Passing
	}
	if e := (*misp.Error)(nil); errors.As(err, &e) {
		after, soon = e.RetryAfter, e.Temporary()
	}
	wait := b.c.Interval()
	if soon && b.failures < bridgePatience {
		wait = min(wait, taxii.Backoff(b.failures))
	}
	return max(wait, after)
}

// broken notes that something failed: one line in the log each time that it begins.
func (b *bridge) broken(err error) {
	why := err.Error()
	if e := (*taxii.Error)(nil); errors.As(err, &e) {
		why = e.Reason // the address is the bridge's
	}
	why = oneLine(why)
	now := b.n.now().UnixMilli()
	b.mu.Lock()
	first := b.at.Down == 0
	if first {
		b.at.Down = now
	}
	b.at.Why = why
	down, last := b.at.Down, b.at.Last
	b.mu.Unlock()
	if first {
		b.n.log.Warn("a bridge does not reach its service", slog.String("bridge", b.c.Name), slog.String("err", why))
	}
	b.save()
	if time.Duration(now-down)*time.Millisecond < bridgeAlert {
		return
	}
	text := fmt.Sprintf("The bridge %s has never worked.", b.c.Name)
	if last > 0 {
		text = fmt.Sprintf("The bridge %s has not worked since %s.", b.c.Name, time.UnixMilli(last).UTC().Format("2 Jan 15:04 UTC"))
	}
	b.n.alert(store.Alert{
		Kind: "bridge-down", Severity: "warning", TLP: notice.TLPClear, Dedup: fmt.Sprintf("bridge-down/%s/%d", b.c.Name, down),
		Text: text + " What is said here does not reach that service, nor the other way round; nothing is lost meanwhile. Why: watchward bridge show " + b.c.Name,
	})
}

// well notes that all went well.
func (b *bridge) well() {
	now := b.n.now()
	b.mu.Lock()
	down := b.at.Down
	b.at.Down, b.at.Why, b.at.Last = 0, "", now.UnixMilli()
	b.mu.Unlock()
	if down != 0 {
		b.n.log.Info("a bridge reaches its service again", slog.String("bridge", b.c.Name))
	}
	if down != 0 || now.Sub(b.saved).Abs() >= bridgeSaved {
		b.save()
	}
}

// save writes down what the bridge has come to. Whoever cannot go on without it asks
// for the error; a count may be lost.
func (b *bridge) save() {
	if err := b.write(); err != nil && b.n.ctx.Err() == nil {
		b.n.log.Error("a bridge cannot write down how far it is", slog.String("bridge", b.c.Name), slog.Any("err", err))
	}
}

func (b *bridge) write() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saved = b.n.now()
	return b.h.shelf.WriteNote(b.server(), b.at)
}

// change changes what is written down, and writes it.
func (b *bridge) change(f func(*bridgeState)) error {
	b.mu.Lock()
	f(&b.at)
	b.mu.Unlock()
	return b.write()
}

func (b *bridge) state() bridgeState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at
}

// count adds what became of things that a service gave; id names each.
func (b *bridge) count(taken []takenIn, id func(int) string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, t := range taken {
		if t.by != (crypto.MemberID{}) {
			b.at.other(t.by, b.n.now().UnixMilli())
		}
		switch {
		case t.plain:
		case !t.ok:
			b.at.Counts.Refused++
			b.at.reason(bridgeReason{Text: t.reason, ID: id(i)}, b.n.now().UnixMilli())
		case t.known:
			b.at.Counts.Known++
		default:
			b.at.Counts.Taken++
		}
	}
}

// other notes a member whose bridge reads the same service. The map is replaced, since a
// copy of the state may be out.
func (s *bridgeState) other(m crypto.MemberID, now int64) {
	all := maps.Clone(s.Others)
	if all == nil {
		all = map[string]int64{}
	}
	maps.DeleteFunc(all, func(_ string, at int64) bool { return now-at > bridgeForgets.Milliseconds() })
	if len(all) < bridgeOthers {
		all[m.String()] = now
	}
	s.Others = all
}

// turn waits until those have had theirs who come first: bridges that take the same at
// the same time would both say it. Whoever has the lower id comes first.
func (b *bridge) turn(ctx context.Context) error {
	if !b.c.Share && !b.c.Pushes() {
		return nil
	}
	rank, own, now := 0, b.n.member.String(), b.n.now().UnixMilli()
	for m, at := range b.state().Others {
		if m < own && now-at <= bridgeForgets.Milliseconds() {
			rank++
		}
	}
	if rank == 0 {
		return nil
	}
	return b.wait(ctx, time.Duration(min(rank, bridgeTurns))*bridgeTurn)
}

func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// failed notes that something was not pushed.
func (b *bridge) failed(id, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at.Counts.Failed++
	b.at.reason(bridgeReason{Text: cmp.Or(why, "the service did not take it and does not say why"), ID: id, Push: true}, b.n.now().UnixMilli())
}

// refused notes that something was not even looked at.
func (b *bridge) refused(id, why string) {
	b.count([]takenIn{{reason: why}}, func(int) string { return id })
}

// oneLine makes what a service says fit for a line of a table or the log.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case !unicode.IsGraphic(r):
			return '\uFFFD'
		}
		return r
	}, s)
	return shorten(s, bridgeLineMax)
}

// reason keeps why something was refused: of many reasons the latest.
func (s *bridgeState) reason(r bridgeReason, now int64) {
	r.Text, r.ID = oneLine(r.Text), intel.Show(r.ID)
	at := slices.IndexFunc(s.Reasons, func(have bridgeReason) bool { return have.Text == r.Text && have.Push == r.Push })
	if at >= 0 {
		r.Count = s.Reasons[at].Count
		s.Reasons = slices.Delete(slices.Clone(s.Reasons), at, at+1)
	} else if len(s.Reasons) >= bridgeReasons {
		s.Reasons = slices.Clone(s.Reasons[len(s.Reasons)-bridgeReasons+1:])
	}
	r.Count++
	r.Last = now
	s.Reasons = append(slices.Clip(s.Reasons), r)
}

// given remembers what a service has: under each id the version (ms), 0 if it is only
// known under another id there.
func (b *bridge) given(ids map[string]int64) error {
	server := b.server() + bridgeGiven
	news := map[string]shelf.Foreign{}
	for id, version := range ids {
		before, ok, err := b.h.shelf.Foreign(server, id)
		if err != nil {
			return err
		}
		if !ok || before.Version < version {
			news[id] = shelf.Foreign{Version: version}
		}
	}
	if len(news) == 0 {
		return nil
	}
	return b.h.shelf.Remember(server, news)
}

// names adds an id under which something is known elsewhere, and the ids that it then
// has in STIX and in MISP.
func names(ids map[string]int64, kind notice.Kind, other string) {
	if other == "" {
		return
	}
	if _, ok := ids[other]; !ok {
		ids[other] = 0
	}
	if id, err := crypto.ParseItemID(other); err == nil {
		if s := stix.ID(kind, id); s != "" {
			if _, ok := ids[s]; !ok {
				ids[s] = 0
			}
		}
	}
}

// has returns in which version (ms) the service gave something; 0 = under another id.
func (b *bridge) has(id string) (version int64, ok bool, err error) {
	f, ok, err := b.h.shelf.Foreign(b.server()+bridgeGiven, id)
	return f.Version, ok, err
}

// pushed returns in which version (ms) something was pushed.
func (b *bridge) pushed(id string) (version int64, ok bool, err error) {
	f, ok, err := b.h.shelf.Foreign(b.server()+bridgePushed, id)
	return f.Version, ok, err
}

// A word is what is to be pushed, or not.
type word struct {
	id      string // of its object
	version int64  // ms
	own     bool   // this hospital said it, and had it from nobody
	origins []string
	revoked bool
}

// goes reports whether a word is for the service: not what came from there, by whatever
// way, and not what it has already. What is taken back is told to whom it was told.
func (b *bridge) goes(w *word) (bool, error) {
	if b.c.Push != config.PushAll && !w.own {
		return false, nil
	}
	for _, o := range w.origins {
		if _, ok, err := b.has(o); ok || err != nil {
			return false, err
		}
	}
	version, before, err := b.pushed(w.id)
	if err != nil || before && version >= w.version {
		return false, err
	}
	there, has, err := b.has(w.id)
	switch {
	case err != nil:
		return false, err
	case has && there >= w.version:
		return false, nil
	case w.revoked:
		return before || there > 0, nil
	}
	return !has || before, nil
}

// isOwn reports whether a notice is this hospital's own word.
func (n *Node) isOwn(s *intel.Stated) bool {
	return s.Author == n.member && (s.Notice.Origin == nil || s.Notice.Origin.ID == "")
}

// secretOf reads a file with one secret line that nobody else can read.
func (b *bridge) secretOf(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	path = b.n.inDir(path)
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("its secret cannot be read: %w", err)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 && keyfile.Rightless(path) == "" {
		return "", fmt.Errorf("%s has mode %04o, so others on this machine can read the secret in it: run chmod 600 %s", path, mode, path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("its secret cannot be read: %w", err)
	}
	s := string(bytes.TrimSpace(raw))
	if s == "" || len(raw) > bridgeSecretMax || strings.ContainsAny(s, "\r\n") {
		return "", fmt.Errorf("%s holds no secret: put one line of at most %d bytes there", path, bridgeSecretMax)
	}
	return s, nil
}

func (b *bridge) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if b.c.CAFile == "" {
		return t, nil
	}
	path := b.n.inDir(b.c.CAFile)
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("its ca_file cannot be read: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", path)
	}
	return t, nil
}

// ListBridges implements api.Bridges.
func (x *bridges) ListBridges(_ context.Context) []api.BridgeView {
	out := []api.BridgeView{}
	for _, b := range x.all {
		out = append(out, b.view())
	}
	return out
}

// ShowBridge implements api.Bridges.
func (x *bridges) ShowBridge(_ context.Context, name string) (api.BridgeDetail, bool) {
	for _, b := range x.all {
		if b.c.Name == name {
			return b.detail(), true
		}
	}
	return api.BridgeDetail{}, false
}
