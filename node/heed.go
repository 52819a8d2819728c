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
// of a mayday, and confirms claims on what it asked for. What came while it did not
// run it looks for at its start, so that nothing is lost between a notice and what
// follows from it; doing it twice changes nothing.
type heed struct {
	n    *Node
	wake chan struct{}

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
	return n != nil && (n.Kind == notice.KindMayday || n.Assistance != nil && n.Assistance.Act == notice.ActClaim)
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

// everything heeds all maydays, and all claims on what is this node's own.
func (h *heed) everything() error {
	err := h.each(store.Query{Kind: notice.KindMayday}, h.one)
	if err != nil {
		return err
	}
	return h.each(store.Query{Kind: notice.KindAssistance, Author: &h.n.member}, func(r store.Record) error { return h.n.confirm(r.ID) })
}

func (h *heed) each(q store.Query, do func(store.Record) error) error {
	q.Limit = store.ListMax
	for {
		records, next, err := h.n.store.List(q)
		if err != nil {
			return err
		}
		for _, r := range records {
			if err := do(r); err != nil {
				return err
			}
		}
		if q.Cursor = next; next == "" || h.n.ctx.Err() != nil {
			return h.n.ctx.Err()
		}
	}
}

func (h *heed) one(r store.Record) error {
	if r.Notice.Kind == notice.KindAssistance {
		return h.n.confirm(*r.Notice.Ref)
	}
	return h.n.alertMayday(r)
}

// alertMayday raises the highest alert of a mayday in the region; of one in another region
// an alert only where something ties that hospital to this one. Who calls again within
// ten minutes alerts nobody again; who floods, within a day.
func (n *Node) alertMayday(r store.Record) error {
	if r.Retracted || r.Exercise || r.Expiry <= n.now().UnixMilli() || n.roster == nil {
		return nil
	}
	window := urgentWindow
	if r.Author != n.member && n.floods.muted(r.Author, false, n.now()) { // it may be true all the same
		window = 24 * time.Hour
	}
	a := store.Alert{Kind: "mayday", Severity: "critical", TLP: r.TLP, Refs: []crypto.ItemID{r.ID},
		Dedup: fmt.Sprintf("mayday/%s/%d/%s", r.Author, r.Received/window.Milliseconds(), window)}
	who := n.memberName(r.Author)
	if who == "" {
		who = "member " + r.Author.String()[:16]
	}
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
