package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/advisory"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/situation"
	"github.com/watchward/watchward/node/store"
)

const (
	pictureCursor = "situation"      // up to where people were alerted
	pictureSaved  = 10 * time.Second // between two times that it is written down
	pictureAgain  = time.Second      // after an error
	pictureBack   = situation.Window + 24*time.Hour
	spreadingMax  = 20 // alerts that something spreads, in an hour
)

// A picture keeps the regional picture up with the store. At a start, and when it
// changes who counts, it is made anew from what is stored.
type picture struct {
	n       *Node
	opened  uint64            // the last local number at the start
	library *advisory.Library // brought up like the picture, and never made anew: the store has the last word

	mu      sync.Mutex // guards what follows
	now     *situation.Picture
	reading bool               // not all that is stored is in it yet
	cancel  context.CancelFunc // of what follows the store
	stale   bool

	// Of run alone.
	local uint64 // up to where it followed
	here  uint64 // the last that was stored when it began
	saved time.Time
	hour  int64
	told  int // alerts in that hour
}

func newPicture(n *Node) *picture {
	return &picture{n: n, opened: n.store.Last(), library: advisory.New(), now: situation.New(n.warnlisted), reading: true}
}

// anew makes the picture be made anew.
func (p *picture) anew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stale = true
	if p.reading {
		p.now = situation.New(p.n.warnlisted)
	}
	if p.cancel != nil {
		p.cancel()
	}
}

// shown is the picture as it is now.
func (p *picture) shown() *situation.Picture {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// run follows the store until the node stops.
func (p *picture) run() {
	for p.n.ctx.Err() == nil {
		ctx, cancel := context.WithCancel(p.n.ctx)
		p.mu.Lock()
		p.cancel, p.stale = cancel, false
		p.mu.Unlock()
		err := p.follow(ctx)
		cancel()
		if errors.Is(err, store.ErrClosed) {
			return
		}
		p.mu.Lock()
		stale := p.stale
		p.mu.Unlock()
		if stale || p.n.ctx.Err() != nil {
			continue
		}
		p.n.log.Error("the situation is not kept up: trying again", slog.Any("err", err))
		select {
		case <-p.n.ctx.Done():
		case <-time.After(pictureAgain):
		}
	}
}

// follow makes the picture from what is stored, and brings it up with what comes.
// Whatever came before the cursor alerts nobody again.
func (p *picture) follow(ctx context.Context) error {
	if p.local == 0 {
		cursor, err := p.n.store.Cursor(pictureCursor)
		if err != nil {
			return err
		}
		if p.local = cursor; cursor == 0 {
			p.local = p.opened
		}
	}
	fresh := situation.New(p.n.warnlisted)
	p.mu.Lock()
	if p.reading {
		fresh = p.now // better a part than nothing
	}
	p.mu.Unlock()
	if err := p.replay(ctx, fresh); err != nil {
		return err
	}
	p.mu.Lock()
	p.now, p.reading = fresh, p.reading && p.here > p.local
	p.mu.Unlock()
	return p.n.store.Follow(ctx, p.local, 0, func(local uint64, records []store.Record) error {
		now := p.n.now()
		for _, r := range records {
			p.shelve(r)
			for _, s := range fresh.Add(p.fact(r), now.UnixMilli()) {
				p.spreading(s, now)
			}
		}
		p.local = local
		if local >= p.here {
			p.mu.Lock()
			p.reading = false
			p.mu.Unlock()
		}
		if now.Sub(p.saved).Abs() < pictureSaved {
			return nil
		}
		p.saved = now
		if err := p.n.store.SetCursor(ctx, pictureCursor, local); err != nil && ctx.Err() == nil {
			p.n.log.Warn("how far people were alerted is not kept", slog.Any("err", err)) // the picture goes on
		}
		return nil
	})
}

// replay takes in what is stored up to where the picture follows: of the kinds that it
// is made of everything, of sightings what may still count.
func (p *picture) replay(ctx context.Context, into *situation.Picture) error {
	now := p.n.now()
	p.here = 0
	add := func(r store.Record) error {
		p.here = max(p.here, r.Local)
		into.Add(p.fact(r), now.UnixMilli())
		p.shelve(r)
		if r.Notice.Kind != notice.KindMayday && !r.Retracted {
			return nil
		}
		said, err := p.n.store.Spoken(r.ID, 0)
		for _, r := range said {
			into.Add(p.fact(r), now.UnixMilli())
		}
		return err
	}
	for _, kind := range notice.Kinds() {
		if !kind.HasPart() {
			continue
		}
		if err := p.n.each(ctx, store.Query{Kind: kind, Takeback: true}, add); err != nil {
			return err
		}
	}
	sightings := store.Query{Kind: notice.KindSighting, Takeback: true, Lapsed: true, Since: now.Add(-pictureBack).UnixMilli()}
	return p.n.each(ctx, sightings, func(r store.Record) error {
		p.here = max(p.here, r.Local)
		if r.Local <= p.local {
			into.Add(p.fact(r), now.UnixMilli())
		}
		return nil
	})
}

// shelve puts an advisory into the library.
func (p *picture) shelve(r store.Record) {
	if r.Notice.Advisory != nil {
		p.library.Add(advisory.Place{Local: r.First, ID: r.ID}, r.Author, r.Notice)
	}
}

// each does something with all notices that a query finds, until ctx ends.
func (n *Node) each(ctx context.Context, q store.Query, do func(store.Record) error) error {
	q.Limit = store.ListMax
	for {
		records, next, err := n.store.List(q)
		if err != nil {
			return err
		}
		for _, r := range records {
			if err := do(r); err != nil {
				return err
			}
		}
		if q.Cursor = next; next == "" || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// fact is what a record tells. What this node said by a clock that was ahead, and has
// been corrected since, was said when the corrected one says.
func (p *picture) fact(r store.Record) situation.Fact {
	f := situation.Fact{
		ID: r.ID, Author: r.Author, Notice: r.Notice, TLP: r.TLP, Audience: r.Audience, Received: r.Received, Expiry: r.Expiry,
		Exercise: r.Exercise, ClockOff: r.Flags&store.ClockOff != 0, Retracted: r.Retracted,
		Order: situation.Order{Unsigned: true, Seq: r.Local, Index: r.Index},
	}
	if h := r.Header; h != nil {
		f.Order = situation.Order{Serial: h.Serial, Epoch: h.Epoch, Seq: h.Seq, Time: h.Time, Index: r.Index}
	}
	now := p.n.now().UnixMilli()
	if r.Author == p.n.member && r.Received > now+clockWindow.Milliseconds() {
		f.Received = min(now, r.Received+time.Duration(p.n.correction.Load()).Milliseconds())
		f.ClockOff = true
	}
	return f
}

// seenNamed is how many members an alert names.
const seenNamed = 6

// spreading alerts people that something spreads: once, and again when more of them
// may know it. A flood of such alerts becomes one that says so.
func (p *picture) spreading(s situation.Started, now time.Time) {
	if hour := now.Unix() / 3600; hour != p.hour {
		p.hour, p.told = hour, 0
	}
	a := store.Alert{Kind: "spreading", Severity: "warning", TLP: s.TLP}
	if p.told >= spreadingMax {
		a.TLP = notice.TLPRed // it may be any of what is not told
		a.Text = p.n.printer().Text(catalog.AlertSpreadingMore, spreadingMax)
		a.Dedup = fmt.Sprintf("spreading/more/%d", p.hour)
		p.n.alert(a)
		return
	}
	var who []string
	count := 0
	for _, m := range s.Seen {
		if m.TakenBack {
			continue
		}
		if count++; count <= seenNamed {
			who = append(who, fmt.Sprintf("%s (%s)", p.n.nameOrID(m.Member), p.n.printer().Brief(time.UnixMilli(m.First).UTC())))
			a.Refs = append(a.Refs, m.IDs[0])
		}
	}
	if count > seenNamed {
		who = append(who, p.n.printer().Text(catalog.AlertAndMore, count-seenNamed))
	}
	a.Text = p.n.printer().Text(catalog.AlertSpreading,
		shorten(s.What.String(), spreadShownMax), count, strings.Join(who, ", "))
	a.Dedup = fmt.Sprintf("spreading/%s/%s/%s", s.Trigger, shorten(s.What.String(), spreadShownMax), s.TLP)
	if p.n.alert(a) {
		p.told++
	}
}

// spreadShownMax is how many bytes of a value an alert shows.
const spreadShownMax = 200

func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// nameOrID returns a member's name, or the start of its id where that is not known.
func (n *Node) nameOrID(id crypto.MemberID) string {
	if name := n.memberName(id); name != "" {
		return name
	}
	return id.String()[:16]
}
