package node

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	heedMax      = 1024           // notices that wait to be heeded; beyond it all are looked at again
	sharedWindow = 72 * time.Hour // how long a sighting ties a hospital of another region to this one
	sharedMax    = 200            // of its sightings that are compared
)

// heed is what this node does by itself when it hears something: it alerts its people
// of a mayday and of what becomes of it, confirms claims on what it asked for, and
// answers questions as far as its policy allows. What came while it did not
// run it looks for at its start, so that nothing is lost between a notice and what
// follows from it; doing it twice changes nothing.
type heed struct {
	n    *Node
	wake chan struct{}

	// Of round alone.
	answers answers
	back    map[crypto.MemberID]bool // who took a mayday back in this round

	mu    sync.Mutex // guards what follows
	queue []crypto.ItemID
	all   bool // look at everything that is here
}

func newHeed(n *Node) *heed { return &heed{n: n, wake: make(chan struct{}, 1), all: true} }

// hear notes the notices of an envelope that is durable now.
func (h *heed) hear(items []store.Item) {
	heard := false
	for _, item := range items {
		if !heeded(item.Notice) {
			continue
		}
		heard = true
		h.mu.Lock()
		if len(h.queue) < heedMax {
			h.queue = append(h.queue, item.ID)
		} else {
			h.queue, h.all = nil, true
		}
		h.mu.Unlock()
	}
	if !heard {
		return
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func heeded(n *notice.Notice) bool {
	switch {
	case n == nil:
		return false
	case n.Kind == notice.KindRetraction || n.Kind == notice.KindDispute:
		return n.Ref != nil
	case n.Assistance != nil:
		return n.Assistance.Act == notice.ActClaim
	}
	return n.Kind == notice.KindMayday || n.Kind == notice.KindQuestion || n.Kind == notice.KindLink
}

// run heeds until the node stops.
func (h *heed) run() {
	for {
		if err := h.round(); err != nil && h.n.ctx.Err() == nil {
			h.n.log.Error("what was heard is not heeded yet", slog.Any("err", err))
			h.mu.Lock()
			h.all = true // with the next one
			h.mu.Unlock()
		}
		select {
		case <-h.n.ctx.Done():
			return
		case <-h.wake:
		}
	}
}

func (h *heed) round() error {
	h.mu.Lock()
	queue, all := h.queue, h.all
	h.queue, h.all = nil, false
	h.mu.Unlock()
	h.back = map[crypto.MemberID]bool{}
	if err := h.heed(queue, all); err != nil {
		return err
	}
	for author := range h.back {
		if err := h.n.maydayBack(author); err != nil {
			return err
		}
	}
	return nil
}

func (h *heed) heed(queue []crypto.ItemID, all bool) error {
	if all {
		return h.everything()
	}
	claimed := map[crypto.ItemID]bool{} // looked at once, however many claims there are
	for _, id := range queue {
		r, found, err := h.n.store.Record(id)
		if err != nil {
			return err
		}
		if !found || r.Notice.Assistance != nil && claimed[*r.Notice.Ref] {
			continue
		}
		if r.Notice.Assistance != nil {
			claimed[*r.Notice.Ref] = true
		}
		if err := h.one(r); err != nil {
			return err
		}
	}
	return nil
}

// everything heeds all maydays and open questions, and all claims on what is this
// node's own.
func (h *heed) everything() error {
	err := h.n.each(h.n.ctx, store.Query{Kind: notice.KindMayday, Takeback: true}, h.one)
	if err != nil {
		return err
	}
	late := store.Query{Kind: notice.KindLink, Since: h.n.now().Add(-supplierBack).UnixMilli()}
	if err := h.n.each(h.n.ctx, late, h.n.alertSupplier); err != nil {
		return err
	}
	err = h.n.each(h.n.ctx, store.Query{Kind: notice.KindAssistance, Author: &h.n.member}, func(r store.Record) error { return h.n.confirm(r.ID) })
	if err != nil {
		return err
	}
	return h.n.each(h.n.ctx, store.Query{Kind: notice.KindQuestion}, h.one)
}

func (h *heed) one(r store.Record) error {
	switch r.Notice.Kind {
	case notice.KindAssistance:
		return h.n.confirm(*r.Notice.Ref)
	case notice.KindQuestion:
		return h.asked(r)
	case notice.KindLink:
		return h.n.alertSupplier(r)
	case notice.KindMayday:
		if r.Retracted {
			h.back[r.Author] = true
			return nil
		}
		if err := h.n.alertMayday(r); err != nil {
			return err
		}
		return h.n.maydayDisputes(r)
	}
	about, found, err := h.n.store.Record(*r.Notice.Ref)
	switch {
	case err != nil || !found || about.Notice.Mayday == nil:
		return err
	case r.Notice.Kind == notice.KindDispute:
		return h.n.maydayDisputed(about, r)
	case r.Author == about.Author:
		h.back[r.Author] = true
	}
	return nil
}

// alertMayday raises the highest alert of a mayday in the region; of one in another region
// an alert only where something ties that hospital to this one. Who calls again within
// ten minutes alerts nobody again, so that who floods the region with words can raise
// no more alerts than others, and is heard when it calls.
func (n *Node) alertMayday(r store.Record) error {
	if r.Retracted || r.Exercise || r.Expiry <= n.now().UnixMilli() || n.roster == nil {
		return nil
	}
	a := store.Alert{Kind: "mayday", Severity: "critical", TLP: r.TLP, Refs: []crypto.ItemID{r.ID}, Dedup: maydayDedup(r)}
	who := n.nameOrID(r.Author)
	profile, known, err := n.profile(r.Author)
	if err != nil {
		return err
	}
	tie := ""
	if r.Header != nil && r.Header.Region != n.roster.Region() {
		if tie, err = n.tie(r.Author, profile.Notice); err != nil || tie == "" {
			return err
		}
		a.Severity = "warning"
	}
	var text strings.Builder
	fmt.Fprintf(&text, "MAYDAY: %s is under attack and says: %s.", who, strings.TrimSuffix(r.Notice.Mayday.Text, "."))
	if tie != "" {
		fmt.Fprintf(&text, " It is of another region; %s.", tie)
	}
	if known && !profile.Retracted {
		fmt.Fprintf(&text, " Contact: %s.", strings.Join(profile.Notice.Profile.Contact, "; "))
		a.TLP, a.Refs = notice.Stricter(a.TLP, profile.TLP), append(a.Refs, profile.ID)
	} else {
		text.WriteString(" It has told no contact.")
	}
	text.WriteString(" Call back: a stolen key can lie.")
	if r.Flags&store.ClockOff != 0 {
		text.WriteString(" Its clock is off.")
	}
	a.Text = text.String()
	n.alert(a)
	return nil
}

func maydayDedup(r store.Record) string {
	return fmt.Sprintf("mayday/%s/%d", r.Author, r.Received/urgentWindow.Milliseconds())
}

// tie says what a hospital of another region and this one share: a supplier that both
// name, or an indicator that both have seen of late; "" if nothing.
func (n *Node) tie(author crypto.MemberID, theirs *notice.Notice) (string, error) {
	own, known, err := n.profile(n.member)
	if err != nil {
		return "", err
	}
	if known && theirs != nil {
		mine := map[string]bool{}
		for _, s := range own.Notice.Profile.Suppliers {
			mine[notice.Fold(s)] = true
		}
		for _, s := range theirs.Profile.Suppliers {
			if mine[notice.Fold(s)] {
				return "it has the supplier " + s + " too", nil
			}
		}
	}
	seen, _, err := n.store.List(store.Query{Kind: notice.KindSighting, Author: &author,
		Since: n.now().Add(-sharedWindow).UnixMilli(), Limit: sharedMax})
	if err != nil {
		return "", err
	}
	for _, s := range seen {
		evidence, err := n.store.Evidence(s.Notice.Indicator.Key(), 0, evidenceMax)
		if err != nil {
			return "", err
		}
		for _, e := range evidence {
			if e.Author == n.member && e.Notice.Kind == notice.KindSighting {
				return "both have seen " + s.Notice.Indicator.Value, nil
			}
		}
	}
	return "", nil
}
