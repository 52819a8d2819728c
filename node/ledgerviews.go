package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger"
	"github.com/watchward/watchward/ledger/entry"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

var (
	errNoVoters = &api.NoLedger{Reason: "the region's charter names no voters, so there is no ledger yet",
		Fix: "coordinators name them: watchward region amend --voter NAME …"}
	errNotMirrored = &api.NoLedger{Reason: "this node keeps no copy of the ledger", Fix: "set mirror = true under [ledger] in its configuration, or ask another member's node"}
)

// quorumGrace is how long a ledger without a leader is no cause for a warning: a new
// one is elected meanwhile.
const quorumGrace = 5 * time.Second

// ledgerStatus returns the ledger's own status, or why there is none.
func (n *Node) ledgerStatus() (ledger.Status, error) {
	if n.roster == nil {
		return ledger.Status{}, &api.NoLedger{Reason: "this node belongs to no region yet", Fix: "found one (watchward region init) or join one (watchward join)"}
	}
	if n.ledger == nil || len(n.voters()) == 0 {
		return ledger.Status{}, errNoVoters
	}
	s := n.ledger.Status()
	if s.Epoch == 0 { // the charter came in this moment
		return s, &api.NotYet{Reason: "the ledger is just being opened", Fix: "ask again in a second"}
	}
	return s, nil
}

// copied is ledgerStatus for questions that this node's copy answers.
func (n *Node) copied() (ledger.Status, error) {
	s, err := n.ledgerStatus()
	if err == nil && s.Role == ledger.RoleNone {
		err = errNotMirrored
	}
	return s, err
}

// LedgerStatus implements api.Node.
func (n *Node) LedgerStatus(context.Context) (api.LedgerView, error) {
	s, err := n.ledgerStatus()
	if err != nil {
		return api.LedgerView{}, err
	}
	v := api.LedgerView{Origin: s.Origin, Epoch: s.Epoch, Role: roleName(s.Role), Term: s.Term, Size: s.Size, Split: s.Split, Evidence: s.Evidence,
		Checkpoint: n.checkpointView(s.Checkpoint, s.Origin)}
	if s.Leader != (crypto.MemberID{}) {
		v.Leader, v.LeaderName, v.Leads = s.Leader.String(), n.memberName(s.Leader), s.Leader == n.member
	}
	if !s.NoQuorumSince.IsZero() {
		v.Since = api.Time(s.NoQuorumSince.UnixMilli())
	}
	pending, more := n.scribe.pending()
	v.Pending = pending
	n.voterViews(&v, s)
	v.Warnings = n.ledgerWarnings(s, pending, more)
	return v, nil
}

// roleName tells voters, whatever Raft has them do just now, from the others.
func roleName(r ledger.Role) string {
	switch r {
	case ledger.RoleNone, ledger.RoleMirror:
		return string(r)
	}
	return "voter"
}

func (n *Node) checkpointView(c ledger.CheckpointStatus, origin string) *api.LedgerCheckpoint {
	if c.Time.IsZero() {
		return nil
	}
	v := &api.LedgerCheckpoint{Size: c.Size, Root: c.Root.String(), Time: api.Time(c.Time.UnixMilli()), Good: c.Good, Witnessed: c.Witnessed,
		Age: int64(max(n.now().Sub(c.Time), 0) / time.Second), Signers: n.sortedNames(c.Signers), Witnesses: n.sortedNames(c.Witnesses)}
	return v
}

func (n *Node) sortedNames(ids []crypto.MemberID) []string {
	names := []string{}
	for _, id := range ids {
		names = append(names, n.memberName(id))
	}
	slices.Sort(names)
	return names
}

// voterViews lists who is a voter or witness by the charter, and who is one by Raft's
// configuration alone.
func (n *Node) voterViews(v *api.LedgerView, s ledger.Status) {
	charter := n.roster.Charter()
	for _, r := range s.Voters {
		o := api.LedgerVoter{Member: r.Member.String(), Name: n.memberName(r.Member), Charter: slices.Contains(charter.Voters, r.Member)}
		if r.Known {
			o.Healthy = &r.Healthy
		}
		if r.Known && r.SilentSince.IsZero() {
			o.Lag = &r.Lag
		}
		if r.State != "named" {
			o.State = r.State
		}
		if r.LastContact > 0 {
			o.LastContact = api.Time(n.now().Add(-r.LastContact).UnixMilli())
		}
		if !r.Signed.IsZero() {
			o.Signed = api.Time(r.Signed.UnixMilli())
		}
		o.LogKey, o.CosignerKey = n.verifierKeys(r.Member, s.Origin, tlog.KindLog)
		v.Voters = append(v.Voters, o)
	}
	for _, id := range charter.Witnesses {
		w := api.LedgerWitness{Member: id.String(), Name: n.memberName(id), Signed: slices.Contains(s.Checkpoint.Witnesses, id)}
		w.LogKey, w.CosignerKey = n.verifierKeys(id, s.Origin, tlog.KindCosignature)
		v.Witnesses = append(v.Witnesses, w)
	}
}

// verifierKeys returns a member's keys as other tools take them, "" where its
// credential is not known.
func (n *Node) verifierKeys(id crypto.MemberID, origin string, kind tlog.Kind) (ed25519, mldsa string) {
	region := n.roster.Region()
	serials := n.roster.Serials(region, id)
	if len(serials) == 0 {
		return "", ""
	}
	public, err := serials[0].LedgerKeys()
	if err != nil {
		return "", ""
	}
	name := tlog.Cosigner(region, id)
	if kind == tlog.KindLog {
		name = origin
	}
	if k, err := tlog.KeyOf(name, kind, public); err == nil {
		ed25519 = k.String()
	}
	if k, err := tlog.KeyOf(tlog.Cosigner(region, id), tlog.KindMLDSA44, public); err == nil {
		mldsa = k.String()
	}
	return ed25519, mldsa
}

// ledgerWarnings is what a person should look at.
func (n *Node) ledgerWarnings(s ledger.Status, pending int, more bool) (out []string) {
	if s.Fenced != "" {
		out = append(out, "this node has left the voters: "+s.Fenced+": check its disk, then restart watchward")
	}
	if s.Split {
		out = append(out, "two checkpoints of the ledger contradict each other, so a coordinator lies or was restored from an old copy: "+
			"call the coordinators, with the proof in "+s.Evidence+" (watchward verify FILE says who signed both); watchward ledger recover begins anew")
	}
	switch {
	case !s.NoQuorumSince.IsZero() && n.now().Sub(s.NoQuorumSince) < quorumGrace: // an election
	case s.Unreached:
		out = append(out, fmt.Sprintf("no coordinator that votes can be reached from here since %s, %s: start their nodes again, or look at this node's network; words, lookups and alerts go on",
			clockTime(s.NoQuorumSince, n.now()), waits(pending, more)))
	case !s.NoQuorumSince.IsZero():
		out = append(out, fmt.Sprintf("the ledger has had no quorum since %s, %s: start the coordinators' nodes again; words, lookups and alerts go on",
			clockTime(s.NoQuorumSince, n.now()), waits(pending, more)))
	case !s.Checkpoint.Time.IsZero() && n.now().Sub(s.Checkpoint.Time) > n.o.Settings.Ledger.Age():
		out = append(out, fmt.Sprintf("the ledger's latest checkpoint is of %s: are the coordinators' nodes reachable?", clockTime(s.Checkpoint.Time, n.now())))
	}
	out = append(out, n.silentVoters(s)...)
	return append(out, n.unsigned(s)...)
}

// signedGrace is how long a voter's signature may be missing: an idle ledger is signed once
// a minute, and who was slow is not asked the next time.
const signedGrace = 5 * time.Minute

// unsigned warns of voters that have not signed for long. That is what a voter that does
// not lead knows of the others.
func (n *Node) unsigned(s ledger.Status) (out []string) {
	if roleName(s.Role) != "voter" || s.Leader == n.member {
		return nil
	}
	ask := "ask the coordinators"
	if s.Leader != (crypto.MemberID{}) {
		ask = "ask at " + n.memberName(s.Leader) + ", which leads: watchward ledger voters"
	}
	for _, v := range s.Voters {
		if !v.Signed.IsZero() && s.Checkpoint.Time.Sub(v.Signed) > signedGrace {
			out = append(out, fmt.Sprintf("%s has signed no checkpoint since %s, as far as is known here: %s", n.memberName(v.Member), clockTime(v.Signed, n.now()), ask))
		}
	}
	return out
}

// silentVoters warns of voters that do not answer. Only the leader knows.
func (n *Node) silentVoters(s ledger.Status) (out []string) {
	votes, answer := 0, 0
	var silent []ledger.VoterStatus
	for _, v := range s.Voters {
		if v.State != "leader" && v.State != "voter" && v.State != "leaving" {
			continue
		}
		votes++
		if v.SilentSince.IsZero() || n.now().Sub(v.SilentSince) < quorumGrace {
			answer++
			continue
		}
		silent = append(silent, v)
	}
	for _, v := range silent {
		more := "the ledger goes on without it"
		if answer <= votes/2+1 {
			more = "one more and the ledger stops"
		}
		out = append(out, fmt.Sprintf("%s does not answer since %s: %s; start its node again", n.memberName(v.Member), clockTime(v.SilentSince, n.now()), more))
	}
	return out
}

func waits(pending int, more bool) string {
	switch {
	case more:
		return fmt.Sprintf("more than %d entries wait", pending)
	case pending == 1:
		return "1 entry waits"
	}
	return fmt.Sprintf("%d entries wait", pending)
}

// clockTime names a moment as short as is clear: the time of today, or with its day.
func clockTime(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if now.Sub(t) < 20*time.Hour {
		return t.Format("15:04 UTC")
	}
	return t.Format("2006-01-02 15:04 UTC")
}

// LedgerEntry implements api.Node.
func (n *Node) LedgerEntry(ctx context.Context, id string, strong bool, ceiling notice.TLP) (api.LedgerEntry, bool, error) {
	s, err := n.copied()
	if err != nil {
		return api.LedgerEntry{}, false, err
	}
	asked, found, err := n.entriesFor(id, ceiling)
	if err != nil || !found {
		return api.LedgerEntry{}, false, err
	}
	for _, e := range asked {
		at, err := n.ledger.Find(ctx, entry.Encode(e.Type, e.ID), strong)
		if err != nil {
			return api.LedgerEntry{}, true, n.noQuorum(ctx, err)
		}
		if at.Known {
			out := api.LedgerEntry{ID: id, Entry: e.ID.String(), Kind: e.Type.String(), Origin: s.Origin, Index: at.Index, Size: at.Size, Strong: strong,
				Checkpoint: n.checkpointView(s.Checkpoint, s.Origin)}
			out.Covered = s.Checkpoint.Good && at.Index < s.Checkpoint.Size
			return out, true, nil
		}
	}
	return api.LedgerEntry{}, true, n.notYet()
}

// notYet says that something is not in the ledger, and whether it can come in now.
func (n *Node) notYet() error {
	s := n.ledger.Status()
	if !s.NoQuorumSince.IsZero() {
		pending, more := n.scribe.pending()
		why := "which has had no quorum"
		if s.Unreached {
			why = "none of whose coordinators can be reached from here"
		}
		return &api.NotYet{Reason: fmt.Sprintf("it is not in the ledger yet, %s since %s: %s", why, clockTime(s.NoQuorumSince, n.now()), waits(pending, more)),
			Fix: "start the coordinators' nodes again, then ask once more"}
	}
	return &api.NotYet{Reason: "it is not in the ledger yet", Fix: "ask again in a second"}
}

// noQuorum turns the ledger's errors into what a client is told.
func (n *Node) noQuorum(ctx context.Context, err error) error {
	var elsewhere ledger.ErrNotLeader
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ledger.ErrNone):
		return errNoVoters
	case errors.Is(err, ledger.ErrNoQuorum), errors.As(err, &elsewhere) && elsewhere.Leader == (crypto.MemberID{}):
		since := ""
		if t := n.ledger.Status().NoQuorumSince; !t.IsZero() {
			since = " since " + clockTime(t, n.now())
		}
		return &api.NoQuorum{Reason: "too few of the ledger's voters can be reached" + since,
			Fix: "start the coordinators' nodes again, or ask this node's copy: without strong=true it answers, with its age"}
	}
	return err
}

// entriesFor returns the entries that an id may stand for: a notice's envelope, or
// whatever has an id of 64 digits. A notice above the ceiling is not found.
func (n *Node) entriesFor(id string, ceiling notice.TLP) (out []entry.Entry, found bool, err error) {
	if raw, err := hex.DecodeString(id); err == nil && len(raw) == len(crypto.Hash{}) {
		h := crypto.Hash(raw)
		for _, t := range []entry.Type{entry.Envelope, entry.Record, entry.Charter, entry.Checkpoint, entry.Link} {
			out = append(out, entry.Entry{Type: t, ID: h})
		}
		return out, true, nil
	}
	item, err := crypto.ParseItemID(id)
	if err != nil {
		return nil, false, &notice.FieldError{Field: "id", Reason: err.Error(), Fix: "copy it from watchward list"}
	}
	e, found, err := n.signed(item, ceiling)
	if err != nil || !found {
		return nil, found, err
	}
	return []entry.Entry{{Type: entry.Envelope, ID: crypto.Hash(e.ID)}}, true, nil
}

// signed returns the envelope of a notice that can be in the region's ledger.
func (n *Node) signed(item crypto.ItemID, ceiling notice.TLP) (*crypto.Envelope, bool, error) {
	r, found, err := n.store.Record(item)
	if err != nil || !found || !store.Visible(r.TLP, ceiling) {
		return nil, false, err
	}
	switch {
	case r.State == store.Waits:
		return nil, true, &api.NotYet{Reason: "it is not signed yet", Fix: "ask again in ten seconds"}
	case r.Audience == crypto.AudienceNamed:
		return nil, true, &api.NoProof{Reason: "it was sealed for named members, and such words never enter the ledger", Fix: "let them ask its author"}
	case r.State != store.Signed:
		return nil, true, &api.NoProof{Reason: "it never left this node, so it is in no ledger", Fix: "share it first: say it again with a marking"}
	}
	e, _, err := n.envelopeOf(item)
	if e == nil || err != nil {
		return nil, err != nil, err
	}
	if e.Header.Region != n.roster.Region() {
		return nil, true, &api.NoProof{Reason: "its author is of another region, whose ledger it is in: " + n.regionName(e.Header.Region), Fix: "ask a member of that region for a receipt"}
	}
	return e, true, nil
}

// LedgerReceipt implements api.Node.
func (n *Node) LedgerReceipt(_ context.Context, id string, ceiling notice.TLP) (file []byte, found bool, err error) {
	if _, err := n.copied(); err != nil {
		return nil, false, err
	}
	item, err := crypto.ParseItemID(id)
	if err != nil {
		return nil, false, &notice.FieldError{Field: "id", Reason: err.Error(), Fix: "copy it from watchward list"}
	}
	e, found, err := n.signed(item, ceiling)
	if err != nil || !found {
		return nil, found, err
	}
	receipt, err := n.ledger.Receipt(entry.Encode(entry.Envelope, crypto.Hash(e.ID)))
	if errors.Is(err, ledger.ErrNotCovered) {
		return nil, true, n.notYet()
	}
	if err != nil {
		return nil, true, err
	}
	return n.proofFile(id, ceiling, receipt)
}

// LedgerTransfer implements api.Node.
func (n *Node) LedgerTransfer(ctx context.Context, to string) (api.LedgerTransfer, error) {
	s, err := n.ledgerStatus()
	if err != nil {
		return api.LedgerTransfer{}, err
	}
	var next crypto.MemberID
	if to != "" {
		if next, err = n.voterCalled(to); err != nil {
			return api.LedgerTransfer{}, err
		}
	}
	if s.Leader == n.member && next == n.member {
		return api.LedgerTransfer{Leader: n.member.String(), Name: n.name}, nil
	}
	changed := n.ledger.LeaderChanged()
	err = n.ledger.Transfer(ctx, next)
	var elsewhere ledger.ErrNotLeader
	if errors.As(err, &elsewhere) && elsewhere.Leader != (crypto.MemberID{}) {
		name := n.memberName(elsewhere.Leader)
		return api.LedgerTransfer{}, &api.Unavailable{Reason: fmt.Sprintf("this node does not lead the ledger, %s does", name), Fix: "say it at that node"}
	}
	if errors.Is(err, ledger.ErrAlone) {
		return api.LedgerTransfer{}, &notice.FieldError{Field: "to", Reason: err.Error(), Fix: "let the charter name more voters: watchward region amend --help"}
	}
	if err != nil {
		return api.LedgerTransfer{}, n.noQuorum(ctx, err)
	}
	for {
		if leader, ok := n.ledger.Leader(); ok && leader != n.member {
			return api.LedgerTransfer{Leader: leader.String(), Name: n.memberName(leader)}, nil
		}
		select {
		case <-changed:
			changed = n.ledger.LeaderChanged()
		case <-ctx.Done():
			return api.LedgerTransfer{}, ctx.Err()
		}
	}
}

// LedgerTile implements api.Node.
func (n *Node) LedgerTile(_ context.Context, region crypto.Region, epoch uint32, path string) (api.LedgerTile, bool, error) {
	if n.ledger == nil || region != n.roster.Region() {
		return api.LedgerTile{}, false, nil
	}
	body, err := n.ledger.Tile(epoch, path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ledger.ErrNone) {
		return api.LedgerTile{}, false, nil
	}
	if err != nil {
		return api.LedgerTile{}, false, err
	}
	text := path == "checkpoint"
	return api.LedgerTile{Body: body, Text: text, Full: !text && !strings.Contains(path, ".p/")}, true, nil
}
