package node

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/mesh/wire"
	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/document"
	"github.com/watchward/watchward/node/history"
	"github.com/watchward/watchward/node/logs"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
	"github.com/watchward/watchward/node/verdict"
)

// What tests of a node look at, and feed, from inside.

// Path is the accept order of a node.
func (n *Node) Path() mesh.Path { return path{n} }

// Store is where a node keeps what it knows.
func (n *Node) Store() *store.Store { return n.store }

// Unkept makes a node owe its disk a record, as one that was full does.
func (n *Node) Unkept(raw []byte) {
	n.keeping.Lock()
	defer n.keeping.Unlock()
	n.unkept = append(n.unkept, trust.Entry{Raw: raw})
}

// LookAtPack makes the offline pack if that which is there is too old.
func (n *Node) LookAtPack(now time.Time) { n.packs.look(now) }

// PackTrouble is what an alert says of a pack that could not be written.
func (n *Node) PackTrouble(err error) string { return n.packs.trouble(err) }

// Mesh is a node's place among its peers.
func (n *Node) Mesh() *mesh.Mesh { return n.mesh }

// Documents are those of the node.
func (n *Node) Documents() *document.Documents { return n.documents.Documents }

// WantWhile lists the documents that are named, and wants these alone after meanwhile.
func (n *Node) WantWhile(meanwhile func()) error {
	return n.documents.only(func() ([]document.Wanted, error) {
		all, err := n.documents.named()
		meanwhile()
		return all, err
	})
}

// Heard are the regions that the node hears.
func (n *Node) Heard() []crypto.Region { return n.roster.Regions() }

// Endorsements is the list of a region that the node knows.
func (n *Node) Endorsements(region crypto.Region) *trust.Endorsements {
	return n.roster.Endorsements(region)
}

// RosterRoot is the root of a node's trust records.
func (n *Node) RosterRoot() [32]byte { return n.roster.Root() }

// Registry has a node's metrics.
func (n *Node) Registry() *prometheus.Registry { return n.registry }

// NudgeCourier makes a node look at what waits for named members.
func (n *Node) NudgeCourier() { n.courier.nudge() }

// ClockCompared makes a node take its clock for as good as the members'.
func (n *Node) ClockCompared() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.skew.members = skewMembers
}

// KeptCorrection is what a node that starts adds to its machine's clock, which
// shows now, when it had added offset and the time was good (ms).
func KeptCorrection(offset, good, now int64) time.Duration {
	return keptClock{offset, good}.correction(now)
}

// Possession is the label of a challenge.
var Possession = possession

// Dialable returns the addresses of use in an invitation.
var Dialable = dialable

// Keep keeps a request as if its author had proved all keys.
func (n *Node) Keep(j *wire.Join) (uint64, error) { return n.registrar.Keep(n.ctx, j, "192.0.2.1") }

// Roster is who a node takes for a member.
func (n *Node) Roster() *trust.Roster { return n.roster }

// SignNow signs what waits, as the outbox of a node that runs does.
func (n *Node) SignNow(ctx context.Context) error {
	_, err := newOutbox(n).round(ctx, false)
	return err
}

// CanName reports whether a word can be sealed for the member with a name.
func (n *Node) CanName(name string) bool {
	c, err := n.recipient(n.everyone(), name, notice.TLPRed)
	if err != nil {
		return false
	}
	sealed := n.credentialOf(c.Member)
	return sealed != nil && sealed.RecordID() == c.RecordID()
}

// A Scribe is the one of a node, with a ledger of the test's.
type Scribe struct{ *scribe }

// NewScribe returns one that remembers so many entries at most.
func NewScribe(n *Node, l book, most int) Scribe {
	s := newScribe(n, l)
	s.most = most
	return Scribe{s}
}

// Step does all that can be done now, as if the last time was long ago.
func (s Scribe) Step(ctx context.Context) error {
	for {
		s.savedAt, s.pruned = time.Time{}, time.Time{}
		if more, err := s.step(ctx); err != nil || !more {
			return err
		}
	}
}

// Pending is what the node says that waits.
func (s Scribe) Pending() (int, bool) { return s.pending() }

// Saved is the durable cursor of an epoch.
func (s Scribe) Saved(epoch uint32) (uint64, error) { return s.n.store.Cursor(cursorOf(epoch)) }

// Heed does what follows on what was heard, also on what was heard before a start.
func (n *Node) Heed() error {
	if err := n.heed.maydays(); err != nil {
		return err
	}
	return n.heed.round()
}

// CallsMax is how many maydays of one author wait for a turn.
const CallsMax = callsMax

// HeedMayday heeds the mayday whose turn it is.
func (n *Node) HeedMayday() (more bool, err error) { return n.heed.nextMayday() }

// HeedAsRead heeds a mayday as it was when it was read.
func (n *Node) HeedAsRead(r store.Record) error { return n.heed.mayday(r) }

// OwnAnswer is what a node answers by itself.
var OwnAnswer = ownAnswer

// History is what a node remembers of its own logs.
func (n *Node) History() *history.History { return n.history }

// Remind holds what becomes known against the history, as a node that runs does.
func (n *Node) Remind() { n.wait.Go(newReminder(n).run) }

// RefreshPolicies looks at the warninglists now.
func (n *Node) RefreshPolicies() { n.policies.refresh() }

// PolicyChanged is policyChanged.
func (n *Node) PolicyChanged() <-chan struct{} { return n.policyChanged() }

// Verdict is verdict.
func (n *Node) Verdict(i notice.Indicator, ceiling notice.TLP) (verdict.Verdict, error) {
	return n.verdict(i, ceiling)
}

// ZonesAddr is where zones are transferred.
func (n *Node) ZonesAddr() string { return n.feeds.dns.addr.String() }

// Feeds are the lists that a node makes.
func (n *Node) Feeds() api.Feeds { return n.feeds }

// Diffing makes a diff, until done is called.
func (n *Node) Diffing() (done func()) {
	n.feeds.diffing.Lock()
	return n.feeds.diffing.Unlock
}

// SeeAgain has the feeds judge a value so often, each time as seen later, and returns
// how many entries wait for their end.
func (n *Node) SeeAgain(ctx context.Context, i notice.Indicator, times int) (due int, err error) {
	f := n.feeds
	err = f.ask(ctx, func() {
		now := n.now().UnixMilli()
		for k := range int64(times) {
			w := verdict.Word{Kind: notice.KindSighting, Author: crypto.MemberID{1}, Seen: now + k, Expires: now + 1_000_000, TLP: notice.TLPGreen}
			f.apply(i, []verdict.Word{w}, true, now)
		}
		due = len(f.due)
	})
	return due, err
}

// LookAtConsumers does what is done once a minute.
func (n *Node) LookAtConsumers() { n.feeds.fetches.look() }

// Raise stores an alert as parts of a node do.
func (n *Node) Raise(a store.Alert) bool { return n.alert(a) }

// A Watched is a node's watch of logs without files.
type Watched struct{ hits *hits }

// NewWatched returns one that has read nothing.
func NewWatched(n *Node) *Watched { return &Watched{newHits(n)} }

// Line takes in a line of a log that names a value, and sees to what follows from it.
func (w *Watched) Line(log, value string) error {
	i, err := notice.Detect(value, notice.Options{})
	if err != nil {
		return err
	}
	w.hits.take(&logSource{name: log}, []byte(value), &logs.Event{Observables: []logs.Observable{{Indicator: i, End: len(value)}}})
	return w.hits.settle()
}

// StartTelling begins what makes alerts of notices, and tells of them, without a mesh.
func (n *Node) StartTelling() {
	if n.heed != nil {
		n.wait.Go(n.heed.run)
	}
	n.wait.Go(n.picture.run)
	n.startAlerting()
}

// StepAlerting takes a step in which a rule makes an alert, and returns up to which
// alert is decided now.
func (n *Node) StepAlerting(made alert.Raised, at uint64) (uint64, error) {
	decide := func(*alert.Engine) alert.Changes { return alert.Changes{Raise: []alert.Raised{made}} }
	failed := n.alerting.step(decide, map[string]uint64{alertsCursor: at + 1})
	now, err := n.store.Cursor(alertsCursor)
	return now - 1, errors.Join(failed, err)
}

// BridgeOnce makes a bridge read and push once, and returns why it failed.
func (n *Node) BridgeOnce(ctx context.Context, name string) string {
	for _, b := range n.bridges.all {
		if b.c.Name == name {
			b.goOnce(ctx)
			return b.view().Reason
		}
	}
	return "there is no bridge of this name"
}

// BridgeTurns has a test do what a bridge does in the time in which others come first.
func (n *Node) BridgeTurns(name string, wait func()) {
	if n.bridges == nil {
		return
	}
	for _, b := range n.bridges.all {
		if b.c.Name == name {
			b.round.Lock()
			b.wait = func(context.Context, time.Duration) error { wait(); return nil }
			b.round.Unlock()
		}
	}
}

// BridgeSaw has a bridge know of another that comes first.
func (n *Node) BridgeSaw(name string) {
	for _, b := range n.bridges.all {
		if b.c.Name == name {
			b.mu.Lock()
			b.at.other(crypto.MemberID{}, n.now().UnixMilli())
			b.mu.Unlock()
		}
	}
}

// BridgeRounds has a test end the rounds of a bridge, as their time does.
func (n *Node) BridgeRounds(name string, begin func(end func())) {
	for _, b := range n.bridges.all {
		if b.c.Name == name {
			b.round.Lock()
			b.within = func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, end := context.WithCancelCause(ctx)
				begin(func() { end(errRoundMax) })
				return ctx, func() { end(nil) }
			}
			b.round.Unlock()
		}
	}
}

// Bridge is what is shown of a bridge.
func (n *Node) Bridge(name string) (api.BridgeDetail, bool) {
	if n.bridges == nil {
		return api.BridgeDetail{}, false
	}
	return n.bridges.ShowBridge(n.ctx, name)
}

// HandsOutAll reports whether what the store has is on the shelf.
func (n *Node) HandsOutAll() bool {
	return n.handout == nil || n.handout.shelf.Cursor() >= n.store.Last()
}

// ExerciseRan makes the exercise that runs have run for so long more, whatever the clock
// says.
func (n *Node) ExerciseRan(d time.Duration) {
	n.drills.mu.Lock()
	defer n.drills.mu.Unlock()
	n.drills.since = n.drills.since.Add(-d)
}

// LookAtExercise does what is done each second of an exercise.
func (n *Node) LookAtExercise() error { return n.drills.look() }

// LookAgain has a shelf whose node is not started look at everything from the beginning,
// and reports whether it would have to once more.
func (n *Node) LookAgain(ctx context.Context) (again bool) {
	n.handout.withdrawn()
	<-n.handout.anew
	_ = n.handout.keepUp(ctx) // which ends with ctx
	return n.handout.again.Load()
}

// Looked reports whether the shelf has written down that it looked at everything.
func (n *Node) Looked() bool {
	var recheck bool
	return n.handout.shelf.Note(recheckNote, &recheck) == nil && !recheck
}
