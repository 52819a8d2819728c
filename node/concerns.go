package node

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	advisoryBack = 30 * 24 * time.Hour // what came while this node did not run, or did not have the supplier, and is still worth an alert
	advisedDay   = 10                  // alerts of advisories of one author a day; one more says that there are more
)

// concerns are what this hospital has declared: the suppliers of its profile, and the
// suppliers and products of its configuration, of which nobody else knows.
type concerns struct {
	suppliers map[string]concern // by Fold
	products  []notice.Product
}

type concern struct {
	tlp notice.TLP // under which it may be told
	ref *crypto.ItemID
}

// house is the marking of what only this house knows.
const house = notice.TLPAmberStrict

// concerns returns those that a ceiling shows.
func (n *Node) concerns(ceiling notice.TLP) (concerns, error) {
	c := concerns{suppliers: map[string]concern{}}
	if store.Visible(house, ceiling) {
		for _, s := range n.o.Settings.Advisories.Suppliers {
			c.suppliers[notice.Fold(s)] = concern{tlp: house}
		}
		for _, s := range n.o.Settings.Advisories.Products {
			if p, err := notice.ParseProduct(s); err == nil { // the configuration was checked
				c.products = append(c.products, p)
			}
		}
	}
	own, known, err := n.profile(n.member)
	if err == nil && known && !own.Retracted && store.Visible(own.TLP, ceiling) {
		for _, s := range own.Notice.Profile.Suppliers {
			c.suppliers[notice.Fold(s)] = concern{own.TLP.House(), &own.ID}
		}
	}
	return c, err
}

// of returns what an advisory is about of it, and the strictest marking of that.
func (c concerns) of(a *notice.Advisory) (names []string, found concern) {
	for _, s := range a.Suppliers {
		if own, ok := c.suppliers[notice.Fold(s)]; ok {
			names = append(names, s)
			found.tlp = max(found.tlp, own.tlp)
			if own.ref != nil {
				found.ref = own.ref
			}
		}
	}
	for _, s := range a.Products {
		if p, err := notice.ParseProduct(s); err == nil && slices.ContainsFunc(c.products, p.Matches) {
			names, found.tlp = append(names, s), max(found.tlp, house)
		}
	}
	return names, found
}

// advised alerts people of an advisory of another member about something that this house
// has declared. All others page nobody: they are in the list until somebody answers.
func (h *heed) advised(r store.Record) error {
	n := h.n
	if r.Notice.Advisory == nil || r.Author == n.member || r.Retracted || r.Expiry <= n.now().UnixMilli() {
		return nil
	}
	own, err := n.concerns(0)
	if err != nil {
		return err
	}
	names, why := own.of(r.Notice.Advisory)
	if len(names) == 0 {
		return nil
	}
	a := store.Alert{
		Kind: alert.KindAdvisory, Severity: "warning", TLP: notice.Stricter(r.TLP.House(), why.tlp), Refs: []crypto.ItemID{r.ID},
		Dedup: fmt.Sprintf("%s/%s", alert.KindAdvisory, r.ID), Text: n.marked(r, n.adviceText(r, names)),
	}
	if why.ref != nil {
		a.Refs = append(a.Refs, *why.ref)
	}
	if told, err := n.store.Alerted(a.Dedup); err != nil || told {
		return err
	}
	if !h.advice.room(r.Author, n.now()) {
		a.Refs, a.TLP = nil, notice.TLPRed // it may be any of what is not told
		a.Dedup = fmt.Sprintf("%s/more/%s/%s", alert.KindAdvisory, r.Author, n.now().UTC().Format(time.DateOnly))
		a.Text = n.text(catalog.AlertAdvisoryMore, n.nameOrID(r.Author), advisedDay)
	}
	n.alert(a)
	return nil
}

// advice counts the alerts of advisories of each author today. heed's round alone uses it.
type advice struct {
	day   string
	count map[crypto.MemberID]int
}

// room takes a place for an alert, and reports whether there was one.
func (a *advice) room(author crypto.MemberID, now time.Time) bool {
	if day := now.UTC().Format(time.DateOnly); day != a.day {
		a.day, a.count = day, map[crypto.MemberID]int{}
	}
	if a.count[author] >= advisedDay {
		return false
	}
	a.count[author]++
	return true
}

// adviceKeys are what an alert calls the types of advisories.
var adviceKeys = map[notice.Advice]catalog.Key{
	notice.AdviceGuidance: catalog.AlertGuidance, notice.AdvicePlaybook: catalog.AlertPlaybook,
	notice.AdviceSupplier: catalog.AlertCompromise, notice.AdviceHunt: catalog.AlertHunt,
}

func (n *Node) adviceText(r store.Record, names []string) string {
	a, due := r.Notice.Advisory, ""
	if a.Due != 0 {
		due = " " + n.text(catalog.AlertAdvisoryDue, n.printer().Day(time.UnixMilli(a.Due)))
	}
	return n.text(catalog.AlertAdvisory, n.text(adviceKeys[a.Type]), strings.TrimSuffix(a.Title, "."), n.nameOrID(r.Author),
		shorten(strings.Join(names, ", "), spreadShownMax), due, r.ID.String())
}

// printer says texts in the language of this node.
func (n *Node) printer() *catalog.Printer { return catalog.For(n.o.Settings.Language) }

func (n *Node) text(key catalog.Key, args ...any) string { return n.printer().Text(key, args...) }
