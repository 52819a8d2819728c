package node

import (
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// maydayChain bounds how many maydays, each in place of the one before, are one call.
const maydayChain = 16

// alertedOf reports whether people were alerted of a mayday, or of one that it took the
// place of.
func (n *Node) alertedOf(m store.Record) (bool, error) {
	for range maydayChain {
		if told, err := n.store.Alerted(maydayDedup(m)); err != nil || told || m.Notice.Ref == nil {
			return told, err
		}
		before, found, err := n.store.Record(*m.Notice.Ref)
		if err != nil || !found || before.Author != m.Author || before.Notice.Mayday == nil {
			return false, err
		}
		m = before
	}
	return false, nil
}

// maydayBack tells the people who were alerted that a member has taken its mayday back,
// once none of it is open: they are on their way to help.
func (n *Node) maydayBack(author crypto.MemberID) error {
	all, _, err := n.store.List(store.Query{Kind: notice.KindMayday, Author: &author, Takeback: true, Limit: store.ListMax})
	if err != nil {
		return err
	}
	for _, m := range all {
		if !m.Retracted {
			return nil
		}
	}
	last, found := newest(all)
	if !found {
		return nil
	}
	if told, err := n.alertedOf(last); err != nil || !told {
		return err
	}
	a := store.Alert{Kind: "mayday-back", Severity: "warning", TLP: last.TLP, Refs: []crypto.ItemID{last.ID}, Dedup: "mayday-back/" + last.ID.String()}
	reason := ""
	said, err := n.store.SpokenBy(last.ID, author)
	if err != nil {
		return err
	}
	for _, r := range said {
		if r.Notice.Kind != notice.KindRetraction {
			continue
		}
		a.TLP, a.Refs = notice.Stricter(a.TLP, r.TLP), append(a.Refs, r.ID)
		if r.Notice.Reason != "" {
			reason = ": " + strings.TrimSuffix(r.Notice.Reason, ".")
		}
		break
	}
	a.Text = n.printer().Text(catalog.AlertMaydayBack, n.nameOrID(author), reason)
	n.alert(a)
	return nil
}

// maydayDisputes tells the people who were alerted of a mayday, once, that a coordinator
// of its author's region disputes it.
func (n *Node) maydayDisputes(m store.Record) error {
	region := n.roster.Region()
	if m.Header != nil {
		region = m.Header.Region
	}
	for _, c := range n.roster.Members(region) {
		if c.Role != trust.RoleCoordinator {
			continue
		}
		said, err := n.store.SpokenBy(m.ID, c.Member)
		if err != nil {
			return err
		}
		for _, d := range said {
			if err := n.maydayDisputed(m, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// maydayDisputed does so for one dispute. What others dispute than coordinators does
// not count.
func (n *Node) maydayDisputed(m, d store.Record) error {
	if d.Notice.Kind != notice.KindDispute || d.Retracted || d.Exercise || m.Retracted || m.Expiry <= n.now().UnixMilli() ||
		!newSituationView(n).coordinates(d.Author, m.Author) {
		return nil
	}
	if told, err := n.alertedOf(m); err != nil || !told {
		return err
	}
	reason := ""
	if d.Notice.Reason != "" {
		reason = ": " + strings.TrimSuffix(d.Notice.Reason, ".")
	}
	n.alert(store.Alert{Kind: "mayday-disputed", Severity: "warning", TLP: notice.Stricter(m.TLP, d.TLP), Refs: []crypto.ItemID{m.ID, d.ID},
		Dedup: "mayday-disputed/" + m.ID.String(),
		Text: n.printer().Text(catalog.AlertMaydayDisputed,
			n.nameOrID(d.Author), n.nameOrID(m.Author), reason)})
	return nil
}
