package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// warnCredential is how long before its credential's end a node says so.
const warnCredential = 60 * 24 * time.Hour

// withdrawnRefs is how many withdrawn notices an alert names.
const withdrawnRefs = 20

// cut says what of a chain counts, by the roster alone: nothing of an author that
// it does not know (any more), of a revoked serial what its cut is linked to, else
// all.
func (n *Node) cut(chain crypto.ChainID) store.Cut {
	if n.roster == nil {
		return store.Cut{}
	}
	author, known := n.roster.Member(chain.Region, chain.Author, chain.Serial)
	if !known {
		return store.Cut{Limited: true}
	}
	cuts, revoked := n.roster.Revoked(author)
	if !revoked {
		return store.Cut{}
	}
	at := trust.CutAt(cuts, chain.Audience, chain.Epoch)
	return store.Cut{Limited: true, Seq: at.Seq, ID: at.ID}
}

// uncut is step 5 of the accept order: it refuses what can never be linked to the
// cut of a revoked serial. What is not linked yet passes; the store keeps it apart.
func (p path) uncut(cuts []trust.Cut, e *crypto.Envelope) error {
	h := &e.Header
	cut := trust.CutAt(cuts, h.Audience, h.Epoch)
	_, never := p.n.store.Linked(h.Chain(), h.Seq, e.ID)
	switch {
	case cut.Seq == 0 || h.Seq > cut.Seq: // a sealed envelope has no chain, and no cut
		return refuse("revoked", fmt.Errorf("serial %d is revoked, and this lies beyond its cut", h.Serial))
	case never || h.Seq == cut.Seq && e.ID != cut.ID:
		return refuse("revoked", fmt.Errorf("serial %d is revoked, and this does not lead to its cut", h.Serial))
	}
	return nil
}

// settle brings the store into agreement with the roster and says what was
// withdrawn. What a crash or a full disk interrupts is finished by the next call.
func (n *Node) settle() error {
	if n.roster == nil {
		return nil
	}
	n.settling.Lock()
	defer n.settling.Unlock()
	decided := n.decisions()
	if err := n.store.Recut(context.WithoutCancel(n.ctx), decided != n.settled); err != nil {
		return err
	}
	if decided != n.settled {
		n.settled = decided
		if n.picture != nil { // else it is not made yet
			n.picture.anew()
		}
		if n.feeds != nil {
			n.feeds.withdrawn()
		}
		if n.handout != nil {
			n.handout.withdrawn()
		}
		n.warnOfRevocations()
		n.warnOfCharterForks()
	}
	return nil
}

// decisions changes with everything in the roster that takes something from an
// author: charters and revocations, in each region.
func (n *Node) decisions() string {
	var b strings.Builder
	for _, region := range n.roster.Regions() {
		hash := crypto.Hash{}
		if c := n.roster.CharterOf(region); c != nil {
			hash = c.Hash()
		}
		fmt.Fprintf(&b, "%x %x %d %d\n", region, hash, len(n.roster.CharterForks(region)), len(n.roster.Revocations(region)))
	}
	return b.String()
}

// warnOfRevocations says once of each revocation what it took away here.
func (n *Node) warnOfRevocations() {
	for _, region := range n.roster.Regions() {
		for _, rev := range n.roster.Revocations(region) {
			if err := n.warnOfRevocation(rev); err != nil {
				n.log.Error("what is withdrawn is not counted", slog.Any("err", err))
			}
		}
	}
}

func (n *Node) warnOfRevocation(rev *trust.Revocation) error {
	_, words, err := n.store.Withdrawn(rev.Member, rev.Serial)
	if err != nil {
		return err
	}
	a := store.Alert{
		Kind: "revoked", Severity: "warning", TLP: notice.TLPAmber,
		Dedup: fmt.Sprintf("revoked/%s/%d/%d", rev.Member, rev.Serial, rev.Time),
		Text:  fmt.Sprintf("The coordinators revoked the credential of %s. ", cmp.Or(n.memberName(rev.Member), rev.Member.String()[:12]+"…")),
	}
	if rev.Member == n.member && rev.Serial == n.serial {
		a.Severity, a.Text = "critical", "The coordinators revoked this node's credential. "+supersedeFix+" "
	}
	switch words {
	case 0:
		a.Text += "Nothing that is held here lies beyond its cut."
	case 1:
		a.Text += "One of its notices is withdrawn: it counts nowhere any more."
	default:
		a.Text += fmt.Sprintf("%d of its notices are withdrawn: they count nowhere any more.", words)
	}
	if words > 0 {
		a.Text += " watchward show ID still shows what was said."
		err = n.store.WithdrawnRecords(func(r store.Record) bool {
			if r.Author == rev.Member && r.Header.Serial == rev.Serial {
				a.Refs, a.TLP = append(a.Refs, r.ID), notice.Stricter(a.TLP, r.TLP)
			}
			return len(a.Refs) < withdrawnRefs
		})
	}
	n.alert(a)
	return err
}

// warnOfCharterForks says once of each fork that coordinators signed two charters
// in one place.
func (n *Node) warnOfCharterForks() {
	for _, region := range n.roster.Regions() {
		for _, f := range n.roster.CharterForks(region) {
			hash := f.Other.Hash()
			n.alert(store.Alert{
				Kind: "charter-fork", Severity: "critical", TLP: notice.TLPAmber, Dedup: fmt.Sprintf("charter-fork/%x", hash[:]),
				Text: fmt.Sprintf("Coordinators of %q signed two charters with the number %d. Everywhere the same one counts, that of %s; those who signed both made a mistake, or their keys are stolen: call the coordinators, and amend the charter without those keys.",
					f.Counts.Name, f.Counts.Number, coordinators(f.Counts)),
			})
		}
	}
}

func coordinators(c *trust.Charter) string {
	names := make([]string, len(c.Coordinators))
	for i, o := range c.Coordinators {
		names[i] = o.Name
	}
	return strings.Join(names, ", ")
}

// supersedeFix is what a member does whose credential was revoked.
const supersedeFix = "Nothing that it says is heard any more; reading goes on. Ask a coordinator for watchward region supersede."

// credential returns this node's own, nil without one.
func (n *Node) credential() *trust.Credential {
	if n.roster == nil {
		return nil
	}
	c, _ := n.roster.Member(n.roster.Region(), n.member, n.serial)
	return c
}

// silenced reports whether nobody hears this node: its credential was revoked, or
// counts no longer since its region lost trust in who signed it.
func (n *Node) silenced() bool {
	if n.roster == nil {
		return false
	}
	own := n.credential()
	if own == nil {
		return true
	}
	return n.revoked(own)
}

// CutsOf returns the ends of a member's chains as this node holds them, which a
// revocation of that serial is cut at; 0 means the member's latest. Of more chains
// than a revocation names the latest epochs are returned.
func (n *Node) CutsOf(member crypto.MemberID, serial uint32) (*trust.Credential, []trust.Cut, error) {
	if n.roster == nil {
		return nil, nil, errNoRegion
	}
	var c *trust.Credential
	for _, m := range n.roster.Members(n.roster.Region()) {
		if m.Member == member {
			c = m
		}
	}
	if c != nil && serial != 0 {
		c, _ = n.roster.Member(n.roster.Region(), member, serial)
	}
	if c == nil {
		return nil, nil, noSuchMember
	}
	var cuts []trust.Cut
	for _, h := range n.store.Frontier().Author(n.roster.Region(), member) {
		if h.Chain.Serial == c.Serial && len(h.Ranges) > 0 {
			cuts = append(cuts, trust.Cut{Audience: h.Chain.Audience, Epoch: h.Chain.Epoch, Seq: h.Highest(), ID: h.Top})
		}
	}
	slices.SortStableFunc(cuts, func(a, b trust.Cut) int { return cmp.Compare(b.Epoch, a.Epoch) })
	cuts = cuts[:min(len(cuts), trust.CutsMax)]
	slices.SortFunc(cuts, func(a, b trust.Cut) int {
		return cmp.Or(cmp.Compare(a.Audience, b.Audience), cmp.Compare(a.Epoch, b.Epoch))
	})
	return c, cuts, nil
}

// Cuts implements api.Node.
func (n *Node) Cuts(_ context.Context, member string, serial uint32) (api.CutsAnswer, error) {
	if n.roster == nil {
		return api.CutsAnswer{}, errNoRegion
	}
	var id crypto.MemberID
	for _, m := range n.roster.Members(n.roster.Region()) {
		if m.Member.String() == member {
			id = m.Member
		}
	}
	c, cuts, err := n.CutsOf(id, serial)
	if err != nil {
		return api.CutsAnswer{}, err
	}
	a := api.CutsAnswer{Member: c.Member.String(), Name: c.Name, Serial: c.Serial, Cuts: []api.CutView{}}
	for _, cut := range cuts {
		a.Cuts = append(a.Cuts, api.CutView{Audience: cut.Audience.String(), Epoch: cut.Epoch, Seq: cut.Seq, ID: cut.ID.String()})
	}
	return a, nil
}

// noSuchMember is the answer to a member id that the region does not have.
var noSuchMember = &notice.FieldError{Field: "member", Reason: "no such member, or serial, in this region", Fix: "copy the member's id from watchward members --json"}

// withdrawnNotice returns a notice that is kept as evidence, and why.
func (n *Node) withdrawnNotice(id crypto.ItemID) (record store.Record, why string, found bool, err error) {
	err = n.store.WithdrawnRecords(func(r store.Record) bool {
		if r.ID == id {
			record, found = r, true
		}
		return !found
	})
	if !found {
		return record, "", false, err
	}
	why = "withdrawn: signed after its author was revoked"
	switch cut := n.cut(record.Header.Chain()); {
	case record.Header.Seq < cut.Seq:
		why = "withdrawn: its author was revoked, and nothing proves yet that it was signed before"
	case cut.Seq == 0:
		if _, known := n.roster.Member(record.Header.Region, record.Author, record.Header.Serial); !known {
			why = "withdrawn: its author's credential counts no longer"
		}
	}
	return record, why, true, err
}
