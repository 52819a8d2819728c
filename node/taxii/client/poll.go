package client

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Limits of a poll.
const (
	LimitDefault = 1000
	LimitMax     = 10_000
	PagesMax     = 10_000 // the next poll goes on
	EmptyMax     = 10     // pages in a row that hold nothing and promise more

	priorMax = 200_000 // objects that are known again, about

	// Settle is how far a position stays behind the clock of the server (ours if it has no
	// Date): until then objects may appear with the stamp of the last, or one just before.
	Settle = 5 * time.Second
)

// A Position is how far a collection was read. Its zero value is the start. It is JSON
// to be kept durably with what was taken, and stays good when the server is restarted.
type Position struct {
	After string `json:"after,omitempty"` // the added_after of the next poll, RFC 3339 in UTC
}

// Options of a poll.
type Options struct {
	Types []string // only these STIX types; none = all
	Limit int      // objects of a page that are asked for; 0 = LimitDefault, at most LimitMax
}

// A Page is what a poll hands over.
type Page struct {
	Objects  []json.RawMessage // valid JSON, each an object with type and id; the caller's
	Refused  []Refused         // some that are not
	Refusals int               // how many in all
	// Position is where to go on once this page is kept.
	Position Position
	// Gap says, if it is not "", what this server may have left out and nobody can ask for.
	Gap string
}

// Poll reads what came into a collection after a position, in the order it was added,
// and calls take for each page that holds anything. It returns the position of the last
// page that was taken, with an error too: it is always good to go on from. An error of
// take ends the poll and is returned as it is; others are of ctx or say what is wrong
// with the server, most as an *Error.
//
// An object comes once or more, never out of take's order by this client's doing. Only
// the last version of each is asked for. Where a server gives no
// X-TAXII-Date-Added-Last the position cannot move, and each poll reads all anew. Where
// it gives stamps coarser than it keeps, no next, and a page full of one, there is no way
// past that: an error.
func (c *Client) Poll(ctx context.Context, o Collection, from Position, options Options, take func(Page) error) (Position, error) {
	p, err := c.newPoll(o, from, options)
	if err != nil {
		return from, err
	}
	for range PagesMax {
		page, err := p.fetch(ctx)
		if err != nil {
			return p.at, err
		}
		if page == nil { // asked in another way now
			continue
		}
		if len(page.Objects) > 0 || page.Refusals > 0 || page.Gap != "" {
			if err := take(*page); err != nil {
				return p.at, err
			}
		}
		p.at = page.Position
		if p.err != nil || p.done {
			return p.at, p.err
		}
	}
	return p.at, refusal(p.url, http.StatusOK, fmt.Sprintf("it gave %d pages and says there are more: the next poll goes on", PagesMax))
}

// A poll is where one is.
type poll struct {
	c   *Client
	url *url.URL
	at  Position // of what was taken

	query url.Values // filters
	limit int
	after time.Time // zero = from the start
	next  string

	last     time.Time // the latest stamp that the server named; zero = none
	overlap  bool      // what was seen comes again: after is before last
	restarts int       // since anything new came
	empties  int       // pages in a row
	fullest  int       // objects of a page

	seed  maphash.Seed
	prior map[uint64]bool // objects of the pages that ended with the last stamp
	pages map[uint64]bool
	stale int // pages in a row that had nothing new

	done bool
	err  error // after the page is taken
}

func (c *Client) newPoll(o Collection, from Position, options Options) (*poll, error) {
	u, err := c.at(o, "objects/")
	if err != nil {
		return nil, err
	}
	p := &poll{c: c, url: u, at: from, query: url.Values{}, limit: options.Limit, seed: maphash.MakeSeed(), pages: map[uint64]bool{}}
	if p.limit <= 0 {
		p.limit = LimitDefault
	}
	p.limit = min(p.limit, LimitMax)
	if len(options.Types) > 0 {
		p.query.Set("match[type]", strings.Join(options.Types, ","))
	}
	if from.After != "" {
		if p.after = stamp(from.After); p.after.IsZero() {
			return nil, fmt.Errorf("%s: the kept position %s is no time: forget it, and all is read anew", u.Host, show(from.After))
		}
	}
	return p, nil
}

// fetch gets a page. It returns nil for none if it is to be asked for in another way.
func (p *poll) fetch(ctx context.Context) (*Page, error) {
	p.query.Set("limit", strconv.Itoa(p.limit))
	p.query.Del("added_after")
	p.query.Del("next")
	if !p.after.IsZero() {
		p.query.Set("added_after", text(p.after))
	}
	if p.next != "" {
		p.query.Set("next", p.next)
	}
	a, err := p.c.do(ctx, request{method: http.MethodGet, url: p.url, query: p.query, max: p.c.c.PageBytes, once: p.next != ""})
	if err != nil {
		return nil, p.recover(err)
	}
	e, err := readEnvelope(a.body)
	if err != nil {
		return nil, p.recover(&Error{URL: refusal(p.url, 0, "").URL, Status: a.status, Reason: err.Error()})
	}
	return p.digest(e, a.header), nil
}

// recover returns nil if the page can be asked for in another way: smaller, or from the
// last stamp where the token failed.
func (p *poll) recover(err error) error {
	var fault *Error
	switch {
	case !errors.As(err, &fault):
		return err
	case fault.tooLarge && p.limit > 1 && (p.next == "" || !p.last.IsZero()):
		p.limit = max(1, p.limit/4)
	case p.next != "" && !p.last.IsZero() && p.restarts == 0 && fault.RetryAfter <= WaitMax &&
		fault.Status != http.StatusUnauthorized && fault.Status != http.StatusForbidden:
		p.restarts++
	default:
		return err
	}
	if p.next != "" {
		p.back()
	}
	return nil
}

// back makes the poll go on from the last stamp, including it: more objects may have it.
func (p *poll) back() {
	p.next, p.overlap = "", true
	p.after = p.last.Add(-time.Microsecond)
}

// digest makes a Page of an envelope and says how to go on.
func (p *poll) digest(e *envelope, h http.Header) *Page {
	before := p.last
	if at := stamp(h.Get("X-TAXII-Date-Added-Last")); at.After(p.last) {
		p.last = at
	}
	page := &Page{Refused: e.refused, Refusals: e.refusals}
	content := p.sift(e, page, p.last.After(before))
	size := len(e.objects) + e.refusals
	fresh := len(page.Objects) > 0 || p.last.After(before) || !p.overlap && size > 0
	if fresh {
		p.restarts = 0
	}
	if p.stale++; fresh {
		p.stale = 0
	}
	if size > 0 && (p.pages[content] && (fresh && len(page.Objects) == size || !p.overlap) || p.stale > len(p.pages)+EmptyMax) {
		p.err = refusal(p.url, http.StatusOK, "it gives the same page again and again: its paging is broken")
		return &Page{Position: p.at}
	}
	p.pages[content] = true
	p.onward(e, page, size, fresh)
	p.fullest = max(p.fullest, size)
	page.Position = p.position(h)
	return page
}

// onward chooses how the next page is asked for, if there is one.
func (p *poll) onward(e *envelope, page *Page, size int, fresh bool) {
	if p.empties++; size > 0 {
		p.empties = 0
	}
	more := e.more != nil && *e.more || e.more == nil && e.next != "" && size > 0
	switch {
	case !more, size == 0 && e.next == "": // more than nothing, and no way to it: a later poll asks
		p.done = true
	case p.empties >= EmptyMax:
		p.err = refusal(p.url, http.StatusOK, fmt.Sprintf("it gave %d empty pages in a row and says there are more: its paging is broken", EmptyMax))
	case e.next != "":
		p.next, p.overlap = e.next, p.overlap && !fresh
	case p.last.IsZero():
		p.err = refusal(p.url, http.StatusOK, "it says there are more objects and not how to get them: it gives neither next nor X-TAXII-Date-Added-Last")
	case fresh:
		p.back()
	case size < p.fullest: // the page had room, so nothing else has this stamp
		p.next, p.overlap, p.after = "", false, p.last
	case p.limit < LimitMax:
		p.next, p.limit = "", min(4*p.limit, LimitMax)
	default:
		p.next, p.overlap, p.after = "", false, p.last
		page.Gap = fmt.Sprintf("more objects were added at %s than it gives at once, and it has no next: some of them may be missing", text(p.last))
	}
}

// sift leaves out what pages before had with the same last stamp, and returns a hash of
// the whole page.
func (p *poll) sift(e *envelope, page *Page, advanced bool) (content uint64) {
	now := make(map[uint64]bool, len(e.objects))
	var all maphash.Hash
	all.SetSeed(p.seed)
	for _, o := range e.objects {
		id := maphash.Bytes(p.seed, o)
		all.Write(binary.BigEndian.AppendUint64(nil, id))
		if !p.prior[id] {
			page.Objects = append(page.Objects, o)
		}
		now[id] = true
	}
	for _, r := range e.refused {
		all.WriteString(r.ID)
	}
	switch {
	case len(now) == 0:
	case advanced || p.prior == nil || len(p.prior) > priorMax:
		p.prior = now
	default:
		maps.Copy(p.prior, now)
	}
	return all.Sum64()
}

// position is where a later poll goes on once this page is taken. It never goes back,
// and stays behind the server's clock: what is stamped now may become visible later.
func (p *poll) position(h http.Header) Position {
	if p.last.IsZero() {
		return p.at
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	at := p.last
	if !p.done {
		at = at.Add(-time.Microsecond)
	}
	if settled := now.Add(-Settle); at.After(settled) {
		at = settled.UTC()
	}
	if !at.After(stamp(p.at.After)) {
		return p.at
	}
	return Position{After: text(at)}
}

// stamp reads a time of TAXII; zero if it is none. Some servers leave out the Z.
func stamp(s string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil && t.Year() >= 1970 && t.Year() < 10000 {
			return t.UTC()
		}
	}
	return time.Time{}
}

// text writes a stamp with the six digits that servers read, and all it has if it has more.
func text(t time.Time) string {
	if t.Nanosecond()%1000 != 0 {
		return t.Format("2006-01-02T15:04:05.000000000Z")
	}
	return t.Format("2006-01-02T15:04:05.000000Z")
}
