package node

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	heedMax      = 1024           // notices that wait to be heeded; beyond it all are looked at again
	callsMax     = 16             // maydays of one author that wait for their turn; what is more waits with the rest
	sharedWindow = 72 * time.Hour // how long a sighting ties a hospital of another region to this one
	sharedMax    = 200            // of its sightings that are compared
)

// heed is what this node does by itself when it hears something: it alerts its people
// of a mayday and of what becomes of it, and of advisories about what they have, confirms claims on what it asked for, and
// answers questions as far as its policy allows. What came while it did not
// run it looks for at its start, so that nothing is lost between a notice and what
// follows from it; doing it twice changes nothing.
//
// Maydays are heeded by themselves, and authors take turns: however much one member
// says, the call of another waits for none of it.
type heed struct {
	n      *Node
	called chan struct{} // a mayday waits
	wake   chan struct{} // something else does

	answers      answers // of round alone, as the next
	advice       advice
	drillAdvice  advice  // of drills
	drillAnswers answers // to questions of drills, of which none are answered by itself
	drillDay     string  // of drillCount, the alerts of others' drills
	drillCount   int

	mu    sync.Mutex // guards what follows
	calls calls
	queue []crypto.ItemID
	all   bool                     // look at everything that is here
	back  map[crypto.MemberID]bool // who took a mayday back
}

func newHeed(n *Node) *heed {
	return &heed{n: n, drillAnswers: answers{loaded: true}, called: make(chan struct{}, 1), wake: make(chan struct{}, 1), all: true}
}

// calls are maydays that wait, of each author in the order in which they came.
type calls struct {
	turns   []crypto.MemberID // whose mayday is next; each is there once
	waiting map[crypto.MemberID][]crypto.ItemID
}

// add reports false if too many of the author's wait already.
func (c *calls) add(author crypto.MemberID, id crypto.ItemID) bool {
	if c.waiting == nil {
		c.waiting = map[crypto.MemberID][]crypto.ItemID{}
	}
	waiting := c.waiting[author]
	switch len(waiting) {
	case callsMax:
		return false
	case 0:
		c.turns = append(c.turns, author)
	}
	c.waiting[author] = append(waiting, id)
	return true
}

// take takes the mayday whose turn it is; its author's next one waits for all others'.
func (c *calls) take() (id crypto.ItemID, found bool) {
	if len(c.turns) == 0 {
		return id, false
	}
	author := c.turns[0]
	waiting := c.waiting[author]
	c.turns = c.turns[1:]
	if len(waiting) == 1 {
		delete(c.waiting, author)
	} else {
		c.waiting[author] = waiting[1:]
		c.turns = append(c.turns, author)
	}
	return waiting[0], true
}

// hear notes the notices of an envelope that is durable now.
func (h *heed) hear(author crypto.MemberID, exercise bool, items []store.Item) {
	called, heard, drill := false, false, exercise && author != h.n.member
	h.mu.Lock()
	for _, item := range items {
		switch {
		case !heeded(item.Notice) && (!drill || item.Notice == nil || item.Notice.Ref != nil):
		case item.Notice.Kind == notice.KindMayday && h.calls.add(author, item.ID):
			called = true
		case len(h.queue) < heedMax:
			h.queue, heard = append(h.queue, item.ID), true
			drill = false // one word is enough to hear of it
		default:
			h.queue, h.all, heard = nil, true, true
		}
	}
	h.mu.Unlock()
	if called {
		poke(h.called)
	}
	if heard {
		poke(h.wake)
	}
}

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
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
	return n.Kind == notice.KindMayday || n.Kind == notice.KindQuestion || n.Kind == notice.KindLink || n.Kind == notice.KindAdvisory || n.Kind == notice.KindFiling
}

// run heeds until the node stops.
func (h *heed) run() {
	var maydays sync.WaitGroup
	maydays.Go(func() { h.whenever(h.called, h.maydays) })
	h.whenever(h.wake, h.round)
	maydays.Wait()
}

func (h *heed) whenever(wake <-chan struct{}, do func() error) {
	for {
		if err := do(); err != nil && h.n.ctx.Err() == nil {
			h.n.log.Error("what was heard is not heeded yet", slog.Any("err", err))
		}
		select {
		case <-h.n.ctx.Done():
			return
		case <-wake:
		}
	}
}

// again makes the next round look at everything.
func (h *heed) again() {
	h.mu.Lock()
	h.all = true
	h.mu.Unlock()
}

// maydays heeds those that wait for their turn. One that could not be heeded is looked
// for with everything else.
func (h *heed) maydays() (err error) {
	for more := true; more && h.n.ctx.Err() == nil; {
		var failed error
		if more, failed = h.nextMayday(); failed != nil {
			err = failed
			h.again()
			poke(h.wake)
		}
	}
	return err
}

func (h *heed) nextMayday() (more bool, err error) {
	h.mu.Lock()
	id, more := h.calls.take()
	h.mu.Unlock()
	if !more {
		return false, nil
	}
	r, found, err := h.n.store.Record(id)
	if err != nil || !found {
		return true, err
	}
	return true, h.mayday(r)
}

// round heeds the rest.
func (h *heed) round() error {
	h.mu.Lock()
	queue, all := h.queue, h.all
	h.queue, h.all = nil, false
	h.mu.Unlock()
	err := h.heed(queue, all)
	if err == nil {
		err = h.tellBack()
	}
	if err != nil {
		h.again()
	}
	return err
}

// tellBack tells of those who took a mayday back, once each, however many they had said.
func (h *heed) tellBack() error {
	h.mu.Lock()
	back := h.back
	h.back = nil
	h.mu.Unlock()
	for author := range back {
		if err := h.n.maydayBack(author); err != nil {
			return err
		}
	}
	return nil
}

// tookBack has tellBack look at an author's maydays.
func (h *heed) tookBack(author crypto.MemberID) {
	h.mu.Lock()
	if h.back == nil {
		h.back = map[crypto.MemberID]bool{}
	}
	h.back[author] = true
	h.mu.Unlock()
	poke(h.wake)
}

func (h *heed) heed(queue []crypto.ItemID, all bool) error {
	if all {
		return h.everything()
	}
	records, err := h.n.store.Records(queue) // at once: words of one envelope are read together
	if err != nil {
		return err
	}
	claimed := map[crypto.ItemID]bool{} // looked at once, however many claims there are
	for _, id := range queue {
		r, found := records[id]
		claims := r.Notice != nil && r.Notice.Assistance != nil && r.Notice.Ref != nil
		if !found || claims && claimed[*r.Notice.Ref] {
			continue
		}
		if claims {
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
	if err := h.n.each(h.n.ctx, late, h.one); err != nil {
		return err
	}
	advised := store.Query{Kind: notice.KindAdvisory, Since: h.n.now().Add(-advisoryBack).UnixMilli()}
	if err := h.n.each(h.n.ctx, advised, h.one); err != nil {
		return err
	}
	late = store.Query{Kind: notice.KindFiling, Since: h.n.now().Add(-filingBack).UnixMilli()}
	if err := h.n.each(h.n.ctx, late, h.n.alertFiling); err != nil {
		return err
	}
	err = h.n.each(h.n.ctx, store.Query{Kind: notice.KindAssistance, Author: &h.n.member}, func(r store.Record) error { return h.n.confirm(r.ID) })
	if err != nil {
		return err
	}
	return h.n.each(h.n.ctx, store.Query{Kind: notice.KindQuestion}, h.one)
}

func (h *heed) one(r store.Record) error {
	if err := h.hearDrill(r); err != nil {
		return err
	}
	switch r.Notice.Kind {
	case notice.KindAssistance:
		if r.Notice.Ref == nil { // the first word of a drill
			return nil
		}
		return h.n.confirm(*r.Notice.Ref)
	case notice.KindQuestion:
		return h.asked(r)
	case notice.KindLink:
		return h.n.alertSupplier(r)
	case notice.KindAdvisory:
		return h.advised(r)
	case notice.KindMayday:
		return h.mayday(r)
	case notice.KindFiling:
		return h.n.alertFiling(r)
	}
	if r.Notice.Ref == nil {
		return nil
	}
	about, found, err := h.n.store.Record(*r.Notice.Ref)
	switch {
	case err != nil || !found || about.Notice.Mayday == nil:
		return err
	case r.Notice.Kind == notice.KindDispute:
		return h.n.maydayDisputed(about, r)
	case r.Author == about.Author:
		h.tookBack(r.Author)
	}
	return nil
}

// mayday alerts people of a mayday, and tells them what has become of it already.
func (h *heed) mayday(r store.Record) error {
	if r.Retracted {
		h.tookBack(r.Author)
		return nil
	}
	added, err := h.n.alertMayday(r)
	if err != nil {
		return err
	}
	if err := h.n.maydayDisputes(r); err != nil || !added {
		return err
	}
	// Whoever took it back just before that told nobody, since nobody was alerted.
	now, found, err := h.n.store.Record(r.ID)
	if err == nil && found && now.Retracted {
		h.tookBack(r.Author)
	}
	return err
}

// alertMayday raises the highest alert of a mayday in the region; of one in another region
// an alert only where something ties that hospital to this one. Who calls again within
// ten minutes alerts nobody again, so that who floods the region with words can raise
// no more alerts than others, and is heard when it calls. It reports false if people
// are not alerted, or have been before.
func (n *Node) alertMayday(r store.Record) (added bool, err error) {
	if r.Retracted || r.Exercise || r.Expiry <= n.now().UnixMilli() || n.roster == nil {
		return false, nil
	}
	a := store.Alert{Kind: "mayday", Severity: "critical", TLP: r.TLP, Refs: []crypto.ItemID{r.ID}, Dedup: maydayDedup(r)}
	if told, err := n.store.Alerted(a.Dedup); err != nil || told {
		return false, err
	}
	who := n.nameOrID(r.Author)
	profile, known, err := n.profile(r.Author)
	if err != nil {
		return false, err
	}
	tie := ""
	if r.Header != nil && r.Header.Region != n.roster.Region() {
		if tie, err = n.tie(r.Author, profile.Notice); err != nil || tie == "" {
			return false, err
		}
		a.Severity = "warning"
	}
	a.Text = n.printer().Text(catalog.AlertMayday, who, strings.TrimSuffix(r.Notice.Mayday.Text, "."))
	if tie != "" {
		a.Text += n.printer().Text(catalog.AlertMaydayElsewhere, tie)
	}
	if known && !profile.Retracted {
		a.Text += n.printer().Text(catalog.AlertMaydayContact, strings.Join(profile.Notice.Profile.Contact, "; "))
		a.TLP, a.Refs = notice.Stricter(a.TLP, profile.TLP), append(a.Refs, profile.ID)
	} else {
		a.Text += n.printer().Text(catalog.AlertMaydayNoContact)
	}
	a.Text += n.printer().Text(catalog.AlertMaydayCall)
	if r.Flags&store.ClockOff != 0 {
		a.Text += n.printer().Text(catalog.AlertMaydayClock)
	}
	return n.alert(a), nil
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
				return n.printer().Text(catalog.AlertTieSupplier, s), nil
			}
		}
	}
	seen, _, err := n.store.List(store.Query{Kind: notice.KindSighting, Author: &author,
		Since: n.now().Add(-sharedWindow).UnixMilli(), Limit: sharedMax})
	if err != nil {
		return "", err
	}
	for _, s := range seen {
		if s.Exercise {
			continue
		}
		evidence, err := n.store.Evidence(s.Notice.Indicator.Key(), 0, evidenceMax)
		if err != nil {
			return "", err
		}
		for _, e := range evidence {
			if e.Author == n.member && e.Notice.Kind == notice.KindSighting && !e.Exercise {
				return n.text(catalog.AlertTieSeen, s.Notice.Indicator.Value), nil
			}
		}
	}
	return "", nil
}
