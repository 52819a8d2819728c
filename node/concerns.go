package node

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	advisoryBack = 30 * 24 * time.Hour // what came while this node did not run, or did not have the supplier, and is still worth an alert
	advisedDay   = 10                  // alerts of advisories of one author a day; one more says that there are more
)

// A declared is what the configuration says this hospital has, of which nobody else knows.
type declared struct {
	suppliers map[string]bool             // by Fold
	products  map[string][]notice.Product // by Words
}

// declare reads a configuration that was checked.
func declare(c config.Advisories) declared {
	d := declared{map[string]bool{}, map[string][]notice.Product{}}
	for _, s := range c.Suppliers {
		d.suppliers[notice.Fold(s)] = true
	}
	for _, s := range c.Products {
		if p, err := notice.ParseProduct(s); err == nil {
			d.products[productKey(p)] = append(d.products[productKey(p)], p)
		}
	}
	return d
}

// productKey is equal for products that match.
func productKey(p notice.Product) string { return strings.Join(p.Words(), " ") }

// concerns are what this hospital has declared: the suppliers of its profile, and what
// its configuration names.
type concerns struct {
	profile store.Record
	known   bool            // it has a profile that may be shown
	names   map[string]bool // of the suppliers in the profile, by Fold
	house   declared        // empty if it may not be shown
}

// house is the marking of what only this house knows.
const house = notice.TLPAmberStrict

// concerns returns those that a ceiling shows.
func (n *Node) concerns(ceiling notice.TLP) (c concerns, err error) {
	if store.Visible(house, ceiling) {
		c.house = n.declared
	}
	c.profile, c.known, err = n.profile(n.member)
	if err != nil || !c.known || c.profile.Retracted || !store.Visible(c.profile.TLP, ceiling) {
		c.known = false
		return c, err
	}
	c.names = map[string]bool{}
	for _, s := range c.profile.Notice.Profile.Suppliers {
		c.names[notice.Fold(s)] = true
	}
	return c, nil
}

// of returns what an advisory is about of it, the strictest marking of that, and whether
// the profile names some of it.
func (c concerns) of(a *notice.Advisory) (names []string, tlp notice.TLP, profile bool) {
	for _, s := range a.Suppliers {
		switch fold := notice.Fold(s); {
		case c.names[fold]:
			names, tlp, profile = append(names, s), max(tlp, c.profile.TLP.House()), true
		case c.house.suppliers[fold]:
			names, tlp = append(names, s), max(tlp, house)
		}
	}
	for _, s := range a.Products {
		if p, err := notice.ParseProduct(s); err == nil && slices.ContainsFunc(c.house.products[productKey(p)], p.Matches) {
			names, tlp = append(names, s), max(tlp, house)
		}
	}
	return names, tlp, profile
}

// advised alerts people of an advisory of another member about something that this house
// has declared. All others page nobody: they are in the list until somebody answers.
func (h *heed) advised(r store.Record) error {
	n := h.n
	a := r.Notice.Advisory
	if a == nil || len(a.Suppliers)+len(a.Products) == 0 || r.Author == n.member || r.Retracted || r.Expiry <= n.now().UnixMilli() {
		return nil
	}
	own, err := n.concerns(0)
	if err != nil {
		return err
	}
	names, tlp, profile := own.of(a)
	if len(names) == 0 {
		return nil
	}
	raised := store.Alert{
		Kind: alert.KindAdvisory, Severity: "warning", TLP: notice.Stricter(r.TLP.House(), tlp), Refs: []crypto.ItemID{r.ID},
		Dedup: fmt.Sprintf("%s/%s", alert.KindAdvisory, r.ID), Text: n.marked(r, n.adviceText(r, names)),
	}
	if profile {
		raised.Refs = append(raised.Refs, own.profile.ID)
	}
	if told, err := n.store.Alerted(raised.Dedup); err != nil || told {
		return err
	}
	room := &h.advice
	if r.Exercise { // a drill takes no room of real ones
		room = &h.drillAdvice
	}
	if !room.room(r.Author, n.now()) {
		raised.Refs, raised.TLP = nil, notice.TLPRed // it may be any of what is not told
		raised.Dedup = drillDedup(r, fmt.Sprintf("%s/more/%s/%s", alert.KindAdvisory, r.Author, n.now().UTC().Format(time.DateOnly)))
		raised.Text = n.marked(r, n.text(catalog.AlertAdvisoryMore, n.nameOrID(r.Author), advisedDay))
	}
	n.alert(raised)
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
