package node

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const ledgerDir = "ledger"

// openLedger opens this node's part of the region's ledger. Which part that is, and
// from when on, the charter says; the ledger follows it.
func (n *Node) openLedger() error {
	if n.mesh == nil || n.o.Lab != nil { // in a lab nothing is on disk
		return nil
	}
	s := &n.o.Settings
	var err error
	n.ledger, err = ledger.Open(ledger.Config{
		Dir: filepath.Join(n.o.Dir, ledgerDir), Region: n.roster.Region(), Self: n.member, Key: crypto.NewLedgerKey(n.identity.Signing),
		Roster: n.roster, Network: carrier{n}, Mirror: s.Ledger.Mirror, Vote: s.Coordinator.Vote, MaxAge: s.Ledger.Age(),
		Raise: n.alarm, Now: n.now, Log: n.log, Registerer: n.registry,
	})
	if err != nil {
		return fmt.Errorf("open the ledger in %s: %w", filepath.Join(n.o.Dir, ledgerDir), err)
	}
	n.scribe = newScribe(n, n.ledger)
	n.registerLedgerMetrics()
	return nil
}

func (n *Node) registerLedgerMetrics() {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	since := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return max(n.now().Sub(t).Seconds(), 0)
	}
	n.registry.MustRegister(
		gauge("watchward_ledger_pending", "What belongs in the region's ledger, as far as this node knows, and is not in its copy yet.", func() float64 {
			count, _ := n.scribe.pending()
			return float64(count)
		}),
		gauge("watchward_ledger_no_quorum_seconds", "For how long nothing could be added to the ledger; 0 while there is a quorum.", func() float64 {
			return since(n.ledger.Status().NoQuorumSince)
		}),
		gauge("watchward_ledger_checkpoint_age_seconds", "How old the latest checkpoint is that enough voters signed; 0 before the first.", func() float64 {
			return since(n.ledger.Status().Checkpoint.Time)
		}),
	)
}

// alarm keeps what the ledger raises, which does not wait for it.
func (n *Node) alarm(a ledger.Alarm) { n.wait.Go(func() { n.keepAlarm(a) }) }

// keepAlarm makes an alert of an alarm, whose text names the file of its proof, if any.
func (n *Node) keepAlarm(a ledger.Alarm) {
	if a.Kind != "ledger-split-view" && a.Kind != "ledger-link" { // the others pass, and may come again
		a.Dedup += "/" + date(api.Time(n.now().UnixMilli()))
	}
	n.alert(store.Alert{Kind: a.Kind, Severity: a.Severity, TLP: notice.TLPAmber, Dedup: a.Dedup, Text: a.Text})
}

// notes hands checkpoints that the mesh brings to the ledger. It implements
// mesh.NoteHandler.
type notes struct{ n *Node }

func (h notes) Note(region crypto.Region, raw []byte) (relay, blame bool) {
	if h.n.ledger == nil {
		return false, false
	}
	return h.n.ledger.Note(region, raw)
}

// carrier is the mesh as the ledger sees it.
type carrier struct{ n *Node }

func (c carrier) Open(ctx context.Context, to, protocol string) (ledger.Stream, error) {
	return c.n.mesh.Open(ctx, to, protocol)
}

func (c carrier) Handle(protocol string, allow func(string) bool, h func(string, ledger.Stream)) {
	if h == nil {
		allow, h = func(string) bool { return false }, func(_ string, s ledger.Stream) { _ = s.Reset() }
	}
	c.n.mesh.Handle(protocol, allow, func(from string, s mesh.Stream) { h(from, s) })
}

func (c carrier) Peers() (out []string) {
	for _, p := range c.n.mesh.Peers() {
		if id, err := peer.Decode(p.ID); err == nil {
			out = append(out, string(id))
		}
	}
	return out
}

func (c carrier) Announce(ctx context.Context, region crypto.Region, note []byte) error {
	return c.n.mesh.Announce(ctx, region, note)
}

// ledgerFailed is closed when the ledger cannot be written any more.
func (n *Node) ledgerFailed() <-chan struct{} {
	if n.ledger == nil {
		return nil
	}
	return n.ledger.Failed()
}

// errLedger says what to do when a voter cannot write.
func errLedger(err error) error {
	return fmt.Errorf("the ledger cannot be written, so this node stops: check the disk (dmesg), then start it again: %w", err)
}

// voters returns those that the region's charter names, none if it has no ledger.
func (n *Node) voters() (ids []crypto.MemberID) {
	if c := n.roster.Charter(); c != nil && c.Ledger > 0 {
		ids = slices.Clone(c.Voters)
	}
	return ids
}

// voterCalled finds a voter by its name or the beginning of its id.
func (n *Node) voterCalled(name string) (crypto.MemberID, error) {
	var found []crypto.MemberID
	for _, id := range n.voters() {
		if n.memberName(id) == name {
			return id, nil
		}
		if len(name) >= 4 && len(name) <= len(id.String()) && id.String()[:len(name)] == name {
			found = append(found, id)
		}
	}
	if len(found) != 1 {
		return crypto.MemberID{}, &notice.FieldError{Field: "to", Reason: fmt.Sprintf("no voter is called %.100q", name), Fix: "watchward ledger voters lists them"}
	}
	return found[0], nil
}

// keepers are all whom a charter has named as voters or witnesses: a checkpoint may be
// signed by any of them.
func (n *Node) keepers() (ids []crypto.MemberID) {
	for _, c := range n.roster.Charters(n.roster.Region()) {
		for _, id := range slices.Concat(c.Voters, c.Witnesses) {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// Votes reports whether the charter that was in force when the node was opened has it
// vote on the region's ledger.
func (n *Node) Votes() bool {
	return n.roster != nil && n.o.Settings.Coordinator.Vote && slices.Contains(n.roster.Charter().Voters, n.member)
}
