package node

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// candidatesMax is how many members an error names.
const candidatesMax = 5

// queuedMax bounds what waits for one member.
const queuedMax = 4096

// toField names the recipients in errors.
const toField = "to"

// recipients resolves the members that a submission names: of this region, and of
// those that hear it.
func (n *Node) recipients(names []string, tlp notice.TLP) ([]crypto.MemberID, error) {
	if n.mesh == nil {
		return nil, alone()
	}
	if tlp == 0 {
		return nil, &notice.FieldError{Field: "tlp", Reason: "what goes to named members needs a marking of its own",
			Fix: "say --tlp RED (for those people alone) or --tlp AMBER+STRICT (for their hospitals)"}
	}
	all := n.everyone()
	waiting, err := n.store.Awaiting(0)
	if err != nil {
		return nil, err
	}
	var out []crypto.MemberID
	for _, name := range names {
		c, err := n.recipient(all, name, tlp)
		if err != nil {
			return nil, err
		}
		if waiting[c.Member] >= queuedMax {
			return nil, &notice.FieldError{Field: toField, Reason: fmt.Sprintf("%d words wait for %s already", waiting[c.Member], c.Name), Fix: "call them: their node has not been reached for long"}
		}
		if !slices.Contains(out, c.Member) {
			out = append(out, c.Member)
		}
	}
	if len(out) > seal.NamedMax {
		return nil, &notice.FieldError{Field: toField, Reason: fmt.Sprintf("%d members are named, %d at most", len(out), seal.NamedMax), Fix: "say it to some of them first, then to the others"}
	}
	return sorted(out), nil
}

// sorted brings members into the order in which equal lists are equal.
func sorted(ids []crypto.MemberID) []crypto.MemberID {
	slices.SortFunc(ids, func(a, b crypto.MemberID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// everyone returns the members that can be named, those of this region first.
func (n *Node) everyone() []*trust.Credential {
	own := n.roster.Region()
	all := n.roster.Members(own)
	for _, region := range n.roster.Regions() {
		if region != own && n.roster.Endorses(region) {
			all = append(all, n.roster.Members(region)...)
		}
	}
	return slices.DeleteFunc(all, func(c *trust.Credential) bool { return !n.roster.Speaks(c) })
}

// recipient finds the member that a name means, and checks that the word may go
// there.
func (n *Node) recipient(all []*trust.Credential, name string, tlp notice.TLP) (*trust.Credential, error) {
	found := matching(all, name)
	switch {
	case len(found) > 1:
		return nil, &notice.FieldError{Field: toField, Reason: fmt.Sprintf("%d members are called %.80q: %s", len(found), name, n.namesOf(found)),
			Fix: "give the id instead, as watchward members --json shows it"}
	case len(found) == 0:
		fix := "watchward members lists those who are"
		if like := resembling(all, name); len(like) > 0 {
			fix = "did you mean " + n.namesOf(like) + "?"
		}
		return nil, &notice.FieldError{Field: toField, Reason: fmt.Sprintf("no member that is known here is called %.80q", name), Fix: fix}
	}
	c := found[0]
	switch {
	case c.Member == n.member:
		return nil, &notice.FieldError{Field: toField, Reason: "that is this node itself", Fix: "name others, or keep it here with --local"}
	case c.Region != n.roster.Region() && tlp == notice.TLPAmber:
		return nil, &notice.FieldError{Field: toField, Reason: fmt.Sprintf("%s belongs to region %s, and TLP:AMBER stays in its region", c.Name, n.regionName(c.Region)),
			Fix: "mark it AMBER+STRICT or RED"}
	case seal.CheckKey(c.SealKey) != nil:
		return nil, &notice.FieldError{Field: toField, Reason: fmt.Sprintf("nobody can seal for %s: its key for that is broken", c.Name), Fix: "ask a coordinator to give it new keys"}
	case !n.sealsWith(c):
		return nil, &notice.FieldError{Field: toField, Reason: fmt.Sprintf("two regions name different keys for %s", c.Name), Fix: "ask a coordinator which region is wrong, and not to endorse it"}
	case n.revoked(c):
		return nil, &notice.FieldError{Field: toField, Reason: fmt.Sprintf("the credential of %s was revoked: its keys may be in other hands", c.Name), Fix: "call them; a coordinator gives them new keys with watchward region supersede"}
	case !n.sealable(c, n.now().UnixMilli()):
		return nil, &notice.FieldError{Field: toField, Reason: fmt.Sprintf("the credential of %s ended more than 90 days ago", c.Name), Fix: "a coordinator renews it"}
	}
	return c, nil
}

// sealsWith reports whether what is for a credential's member is sealed with its keys.
func (n *Node) sealsWith(c *trust.Credential) bool {
	current := n.credentialOf(c.Member)
	return current != nil && current.SameKeys(c)
}

// sealable reports whether a credential is still sealed for.
func (n *Node) sealable(c *trust.Credential, now int64) bool {
	return c.NotAfter+sealGrace.Milliseconds() >= now && seal.CheckKey(c.SealKey) == nil && !n.revoked(c)
}

func (n *Node) revoked(c *trust.Credential) bool {
	_, revoked := n.roster.Revoked(c)
	return revoked
}

func (n *Node) regionName(region crypto.Region) string {
	if charter := n.roster.CharterOf(region); charter != nil {
		return charter.Name
	}
	return region.String()
}

// namesOf names members so that they can be told apart.
func (n *Node) namesOf(of []*trust.Credential) string {
	var out []string
	for _, c := range of[:min(len(of), candidatesMax)] {
		out = append(out, fmt.Sprintf("%s (%s, region %s)", c.Name, c.Member.String()[:16], n.regionName(c.Region)))
	}
	if more := len(of) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, ", ")
}

// resembling returns the members whose names have something of a name.
func resembling(all []*trust.Credential, name string) (out []*trust.Credential) {
	for _, part := range strings.Fields(strings.ToLower(name)) {
		for _, c := range all {
			if len(part) > 2 && strings.Contains(strings.ToLower(c.Name), part) && !slices.Contains(out, c) {
				out = append(out, c)
			}
		}
	}
	return out
}

// hearers are the members that heard a named notice, this one left out: a word
// about it goes to the same.
func (n *Node) hearers(r store.Record) ([]crypto.MemberID, error) {
	out := slices.DeleteFunc(append(slices.Clone(r.To), r.Author), func(id crypto.MemberID) bool {
		return id == n.member || n.credentialOf(id) == nil
	})
	if len(out) == 0 {
		return nil, &notice.FieldError{Field: "ref", Reason: "none of those who heard the notice is a member any more", Fix: "nobody is left to tell"}
	}
	return sorted(out), nil
}

// credentialOf returns the current credential of a member that can be named, nil
// if there is none: this region's, else that on whose keys all others agree.
func (n *Node) credentialOf(id crypto.MemberID) (found *trust.Credential) {
	for _, c := range n.everyone() {
		switch {
		case c.Member != id:
		case found == nil:
			found = c
		case found.Region != n.roster.Region() && !found.SameKeys(c):
			return nil
		}
	}
	return found
}

// sealed makes the envelope of one group for named members. Who is no member any
// more is left out, which a person is told; if nobody is left, the words stay here.
func (o *outbox) sealed(ctx context.Context, f *filling, now int64) (store.Entry, error) {
	header := crypto.Header{
		Region: o.n.roster.Region(), Author: o.n.member, Serial: o.n.serial,
		Time: now, TLP: uint8(f.TLP), Exercise: f.Exercise, Urgent: f.Urgent,
	}
	entry, raws, err := f.items(&header, now)
	if err != nil {
		return entry, err
	}
	var to []seal.Recipient
	for _, id := range f.to {
		c := o.n.credentialOf(id)
		if c == nil || !o.n.sealable(c, now) {
			o.n.unsent(f.TLP, id, f.Items[0].ID, catalog.AlertNoMember)
			continue
		}
		to, entry.To = append(to, seal.Recipient{Member: c.Member, Key: c.SealKey}), append(entry.To, c.Member)
	}
	if len(to) == 0 {
		for _, w := range f.Items {
			if err := o.n.store.Retain(context.WithoutCancel(ctx), w.ID); err != nil {
				return store.Entry{}, err
			}
		}
		return store.Entry{}, nil
	}
	if entry.Envelope, err = seal.NewNamed(header, raws, to, o.n.identity.Signing); err != nil {
		return entry, fmt.Errorf("seal an envelope: %w", err)
	}
	entry.Opened = raws
	return entry, nil
}

// unsent tells a person that a named word did not reach a member, and never will.
func (n *Node) unsent(tlp notice.TLP, to crypto.MemberID, id crypto.ItemID, why catalog.Key) {
	who := n.memberName(to)
	n.log.Warn("a named notice is not delivered", slog.String("member", to.String()), slog.String("reason", catalog.For("").Text(why)))
	n.alert(store.Alert{Kind: "not-delivered", Severity: "warning", TLP: max(tlp, notice.TLPAmberStrict), Dedup: fmt.Sprintf("not-delivered/%s/%s", id, to),
		Refs: []crypto.ItemID{id}, Text: n.printer().Text(catalog.AlertNotDelivered, id.String(), cmp.Or(who, to.String()[:16]), n.printer().Text(why))})
}

// deliveryNames are the states of a delivery as the API shows them.
var deliveryNames = map[store.DeliveryState]string{
	store.Undelivered: api.DeliveryWaiting, store.Delivered: api.DeliveryDone,
	store.Declined: api.DeliveryDeclined, store.Lapsed: api.DeliveryLapsed,
}

// recipientViews shows whom a named notice is for, and, of this node's own, what
// became of it there.
func (n *Node) recipientViews(to []crypto.MemberID, deliveries []store.Delivery) []api.RecipientView {
	var out []api.RecipientView
	for _, id := range to {
		v := api.RecipientView{Member: id.String(), Name: n.memberName(id)}
		if n.roster != nil && id != n.member {
			if c := n.credentialOf(id); c != nil && c.Region != n.roster.Region() {
				v.Region = n.regionName(c.Region)
			}
		}
		if i := slices.IndexFunc(deliveries, func(d store.Delivery) bool { return d.Member == id }); i >= 0 {
			v.State, v.At = deliveryNames[deliveries[i].State], api.Time(deliveries[i].At)
		}
		out = append(out, v)
	}
	slices.SortStableFunc(out, func(a, b api.RecipientView) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// alone is what sharing meets on a node without a region.
func alone() error {
	return &notice.FieldError{Field: "tlp", Reason: "this node belongs to no region yet, so there is nobody to share with",
		Fix: "join one (watchward join), or say --local to keep it here"}
}
