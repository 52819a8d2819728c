package node

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/store"
)

// What one author may have relayed at once and over time: several times what an
// honest outbox sends (outbox.go, pace.go). Beyond it the words are kept, and
// travel by sync alone; a flood costs its author's neighbours, and nobody else.
const (
	floodWindow    = 10 * time.Minute
	floodEnvelopes = 600             // at once, and as many again in a window
	floodBytes     = 64 << 20        // likewise
	floodUrgent    = 2 * urgentWords // likewise; they are counted apart
	floodParts     = 512             // likewise: requests, services, links and other words for people
	floodAuthors   = 32_768          // that are watched; who has been quiet is forgotten first
)

// floods is how much each author has said of late. It is safe for concurrent
// use; times are passed in.
type floods struct {
	mu      sync.Mutex
	authors map[crypto.MemberID]*flood
}

// A flood is what is left to one author.
type flood struct {
	envelopes, bytes, urgent, parts *rate.Limiter
	aside                           int // notices that came while nothing was left
	mayday                          place
}

// A place is the one that a mayday of an author has beside all that it says.
type place struct {
	id crypto.EnvelopeID // whose it was last
	at time.Time
}

func newFlood() *flood {
	limiter := func(n int) *rate.Limiter { return rate.NewLimiter(rate.Limit(float64(n)/floodWindow.Seconds()), n) }
	return &flood{envelopes: limiter(floodEnvelopes), bytes: limiter(floodBytes), urgent: limiter(floodUrgent), parts: limiter(floodParts)}
}

// spent reports whether nothing is left. Whoever says too much may still call for help.
func (f *flood) spent(urgent bool, now time.Time) bool {
	if urgent {
		return f.urgent.TokensAt(now) < 1
	}
	return f.envelopes.TokensAt(now) < 1 || f.bytes.TokensAt(now) < 1 || f.parts.TokensAt(now) < 1
}

// loud reports whether little is left.
func (f *flood) loud(now time.Time) bool {
	return f.envelopes.TokensAt(now) < floodEnvelopes/20 || f.bytes.TokensAt(now) < floodBytes/20 || f.parts.TokensAt(now) < floodParts/20
}

// A saying is one envelope as a flood counts it.
type saying struct {
	size, notices int
	parts         int // notices that have a part
	urgent        bool
}

// note counts an envelope that was just said and reports whether its author is
// muted now.
func (x *floods) note(author crypto.MemberID, s saying, now time.Time) (muted bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.authors[author]
	if f == nil {
		x.forget(now)
		f = newFlood()
		x.authors[author] = f
	}
	if !f.loud(now) {
		f.aside = 0
	}
	if f.spent(s.urgent, now) {
		f.aside += s.notices
	}
	take(f.envelopes, 1, now)
	take(f.bytes, s.size, now)
	take(f.parts, s.parts, now)
	if s.urgent {
		take(f.urgent, 1, now)
	}
	return f.spent(s.urgent, now)
}

// take takes n, or what there is: who has been muted is heard again within a
// window, however much was said meanwhile.
func take(l *rate.Limiter, n int, now time.Time) {
	l.AllowN(now, max(min(n, int(l.TokensAt(now))), 0))
}

// muted reports whether an author's words are not to be relayed now.
func (x *floods) muted(author crypto.MemberID, urgent bool, now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.authors[author]
	return f != nil && f.spent(urgent, now)
}

// keptBack reports whether what an author has just said is left to sync. Ordinary words
// go by whether it lately was muted: a moment after its flood it may speak again, and
// what was put aside is still young. A mayday that had its place has it here too.
func (x *floods) keptBack(s mesh.Slot, now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.authors[s.Chain.Author]
	switch {
	case f == nil || f.mayday.id == s.ID:
		return false
	case s.Urgent:
		return f.spent(true, now)
	}
	return f.loud(now)
}

// mayday gives the mayday of a muted author its place, of which there is one in a
// window: however much it said, and whoever says it in its name. The same envelope
// has it again.
func (x *floods) mayday(author crypto.MemberID, id crypto.EnvelopeID, now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.authors[author]
	if f == nil {
		return true
	}
	if f.mayday.id == id {
		return true
	}
	if d := now.Sub(f.mayday.at); !f.mayday.at.IsZero() && d >= 0 && d < urgentWindow {
		return false
	}
	f.mayday = place{id, now}
	return true
}

// loud reports whether an author is, or lately was, muted, and how many of its notices
// were put aside.
func (x *floods) loud(author crypto.MemberID, now time.Time) (loud bool, aside int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.authors[author]
	if f == nil || !f.loud(now) {
		return false, 0
	}
	return true, f.aside
}

// anyLoud returns the authors that are, or lately were, muted, in no order.
func (x *floods) anyLoud(now time.Time) (out []crypto.MemberID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for author, f := range x.authors {
		if f.loud(now) {
			out = append(out, author)
		}
	}
	return out
}

// forget makes room for another author.
func (x *floods) forget(now time.Time) {
	if x.authors == nil {
		x.authors = map[crypto.MemberID]*flood{}
	}
	if len(x.authors) < floodAuthors {
		return
	}
	for author, f := range x.authors {
		if f.envelopes.TokensAt(now) >= floodEnvelopes && f.parts.TokensAt(now) >= floodParts {
			delete(x.authors, author)
		}
	}
	if len(x.authors) >= floodAuthors {
		clear(x.authors)
	}
}

// said counts a foreign envelope among what its author says now. What is caught
// up with is no flood.
func (n *Node) said(e *store.Entry) {
	h, now := &e.Envelope.Header, n.now()
	if h.Author == n.member || e.Flags&store.ClockOff == 0 && h.Time < now.Add(-clockWindow).UnixMilli() {
		return
	}
	s := saying{size: len(e.Envelope.Raw), notices: len(e.Items), urgent: h.Urgent}
	for _, item := range e.Items {
		if item.Notice != nil && item.Notice.Kind.HasPart() {
			s.parts++
		}
	}
	if !n.floods.note(h.Author, s, now) {
		return
	}
	who := n.memberName(h.Author)
	added := n.alert(store.Alert{Kind: "flood", Severity: "info", Dedup: fmt.Sprintf("flood/%s/%s", h.Author, now.UTC().Format(time.DateOnly)),
		Text: who + " says more at once than a hospital does, and is muted: its words are kept, but this node does not hand them on at once (how many: watchward status). Ask them whether a program of theirs has gone wrong."})
	if added {
		n.log.Warn("member says too much at once: not relayed for now", slog.String("member", h.Author.String()), slog.String("name", who))
	}
}

// mutedShown is how many members that are muted status names.
const mutedShown = 5

// muteWarnings say who is muted, who has most put aside first.
func (n *Node) muteWarnings() (out []string) {
	type muted struct {
		name  string
		aside int
	}
	var all []muted
	now := n.now()
	for _, id := range n.floods.anyLoud(now) {
		if loud, aside := n.floods.loud(id, now); loud {
			all = append(all, muted{n.nameOrID(id), aside})
		}
	}
	slices.SortFunc(all, func(a, b muted) int {
		return cmp.Or(cmp.Compare(b.aside, a.aside), cmp.Compare(a.name, b.name))
	})
	for i, m := range all {
		if i == mutedShown {
			return append(out, fmt.Sprintf("%d more members say too much at once and are muted: watchward members", len(all)-i))
		}
		out = append(out, fmt.Sprintf("%s says too much at once and is muted: %d of its words are kept here and not handed on at once", m.name, m.aside))
	}
	return out
}
