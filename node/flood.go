package node

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/store"
)

// What one author may have relayed at once and over time: several times what an
// honest outbox sends (outbox.go, pace.go). Beyond it the words are kept, and
// travel by sync alone; a flood costs its author's neighbours, and nobody else.
const (
	floodWindow    = 10 * time.Minute
	floodEnvelopes = 600             // at once, and as many again in a window
	floodBytes     = 64 << 20        // likewise
	floodUrgent    = 2 * urgentWords // likewise
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
	envelopes, bytes, urgent *rate.Limiter
	mayday                   place
}

// A place is the one that a mayday of an author has beside all that it says.
type place struct {
	id crypto.EnvelopeID // whose it was last
	at time.Time
}

func newFlood() *flood {
	limiter := func(n int) *rate.Limiter { return rate.NewLimiter(rate.Limit(float64(n)/floodWindow.Seconds()), n) }
	return &flood{envelopes: limiter(floodEnvelopes), bytes: limiter(floodBytes), urgent: limiter(floodUrgent)}
}

// spent reports whether nothing is left.
func (f *flood) spent(urgent bool, now time.Time) bool {
	return f.envelopes.TokensAt(now) < 1 || f.bytes.TokensAt(now) < 1 || urgent && f.urgent.TokensAt(now) < 1
}

// loud reports whether little is left.
func (f *flood) loud(now time.Time) bool {
	return f.envelopes.TokensAt(now) < floodEnvelopes/20 || f.bytes.TokensAt(now) < floodBytes/20
}

// note counts an envelope that was just said and reports whether its author is
// muted now.
func (x *floods) note(author crypto.MemberID, size int, urgent bool, now time.Time) (muted bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.authors[author]
	if f == nil {
		x.forget(now)
		f = newFlood()
		x.authors[author] = f
	}
	take(f.envelopes, 1, now)
	take(f.bytes, size, now)
	if urgent {
		take(f.urgent, 1, now)
	}
	return f.spent(urgent, now)
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

// loud reports whether an author is, or lately was, muted.
func (x *floods) loud(author crypto.MemberID, now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.authors[author]
	return f != nil && f.loud(now)
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
		if f.envelopes.TokensAt(now) >= floodEnvelopes {
			delete(x.authors, author)
		}
	}
	if len(x.authors) >= floodAuthors {
		clear(x.authors)
	}
}

// said counts a foreign envelope among what its author says now. What is caught
// up with is no flood.
func (n *Node) said(h *crypto.Header, size int, clockOff bool) {
	now := n.now()
	if h.Author == n.member || !clockOff && h.Time < now.Add(-clockWindow).UnixMilli() {
		return
	}
	if !n.floods.note(h.Author, size, h.Urgent, now) {
		return
	}
	who := n.memberName(h.Author)
	added := n.alert(store.Alert{Kind: "flood", Severity: "info", Dedup: fmt.Sprintf("flood/%s/%s", h.Author, now.UTC().Format(time.DateOnly)),
		Text: who + " says more at once than a hospital does. Its words are kept, but this node does not hand them on at once. Ask them whether a program of theirs has gone wrong."})
	if added {
		n.log.Warn("member says too much at once: not relayed for now", slog.String("member", h.Author.String()), slog.String("name", who))
	}
}
