package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of a push.
const (
	BatchMax      = 1000            // objects of a POST
	BatchBytesMax = 8 << 20         // of a POST, or Collection.ContentMax if that is less
	StatusWaitMax = 2 * time.Minute // for a status to be complete, for each POST
	SplitsMax     = 100             // batches that are halved to find a bad object, of a push
	strikesMax    = 3               // single objects in a row at which the server fails
	askedMax      = 1000            // objects that are looked for after a refusal, of a push
	askedAtOnce   = 20              // ids in an address
)

// A State is what became of an object.
type State string

const (
	Taken    State = "taken"    // it is in the collection, perhaps from before
	Declined State = "declined" // by the server, or by us before it was sent: it would be again
	Pending  State = "pending"  // the server has it and has not decided within StatusWaitMax
	Unknown  State = "unknown"  // it was sent, and the server does not say: send it again later
	Unsent   State = "unsent"   // the push ended before
)

// An Outcome is what became of one object.
type Outcome struct {
	ID, Version string // Version as the object has it; "" = it has none
	State       State
	Message     string // of the server, fit to be shown; may be ""
}

// Push adds objects to a collection in as many POSTs as its limits need, follows their
// status, and returns an Outcome for each object in the same order, with an error too.
// Where a server refuses a POST for one object, it is halved until that object is alone.
// An object that is refused, or of which nothing is known, is looked for in a collection
// that can be read: many servers refuse what they have already.
//
// The error says what ended the push; what is unsent, pending or unknown is to be pushed
// again, which does no harm. The same object must not be pushed twice at once.
func (c *Client) Push(ctx context.Context, o Collection, objects []json.RawMessage) ([]Outcome, error) {
	u, err := c.at(o, "objects/")
	p := &push{c: c, url: u, o: o, objects: objects, outcomes: make([]Outcome, len(objects))}
	for i, raw := range objects {
		p.outcomes[i] = p.prepare(i, raw)
	}
	if err != nil {
		return p.outcomes, err
	}
	queue := p.batches()
	for len(queue) > 0 && err == nil {
		batch := queue[0]
		queue = queue[1:]
		var halves [][]int
		halves, err = p.send(ctx, batch)
		queue = slices.Concat(halves, queue)
	}
	if ctx.Err() == nil && o.CanRead {
		p.look(ctx)
	}
	return p.outcomes, err
}

type push struct {
	c        *Client
	url      *url.URL
	o        Collection
	objects  []json.RawMessage
	outcomes []Outcome
	splits   int
	strikes  int
}

func (p *push) bytesMax() int {
	if p.o.ContentMax > 0 {
		return int(min(p.o.ContentMax, BatchBytesMax))
	}
	return BatchBytesMax
}

const envelopeBytes = len(`{"objects":[]}`)

// prepare looks at an object before anything is sent.
func (p *push) prepare(i int, raw []byte) Outcome {
	if !json.Valid(raw) {
		return Outcome{ID: fmt.Sprintf("objects[%d]", i), State: Declined, Message: "it is not JSON"}
	}
	l, bad := inspect(bytes.TrimSpace(raw), i)
	switch {
	case bad != nil:
		return Outcome{ID: bad.ID, State: Declined, Message: bad.Reason}
	case len(raw)+envelopeBytes > p.bytesMax():
		return Outcome{ID: l.ID, Version: l.version(), State: Declined, Message: fmt.Sprintf("it is larger than the %d bytes that the server takes", p.bytesMax())}
	}
	return Outcome{ID: l.ID, Version: l.version(), State: Unsent}
}

// batches cuts what is to be sent. An index stands for its object.
func (p *push) batches() (all [][]int) {
	var batch []int
	size := envelopeBytes
	for i, o := range p.outcomes {
		if o.State != Unsent {
			continue
		}
		if n := len(p.objects[i]) + 1; len(batch) == BatchMax || size+n > p.bytesMax()+1 { // no comma before the first
			all, batch, size = append(all, batch), nil, envelopeBytes
		}
		batch = append(batch, i)
		size += len(p.objects[i]) + 1
	}
	if len(batch) > 0 {
		all = append(all, batch)
	}
	return all
}

// send posts a batch, or says in which halves it is to be sent instead.
func (p *push) send(ctx context.Context, batch []int) (halves [][]int, err error) {
	var body bytes.Buffer
	body.WriteString(`{"objects":[`)
	for n, i := range batch {
		if n > 0 {
			body.WriteByte(',')
		}
		body.Write(p.objects[i])
	}
	body.WriteString("]}")
	a, err := p.c.do(ctx, request{method: http.MethodPost, url: p.url, body: body.Bytes(), max: resourceMax, once: true})
	if err == nil {
		p.strikes = 0
		return nil, p.follow(ctx, batch, a)
	}
	var fault *Error
	if !errors.As(err, &fault) {
		p.mark(batch, Unknown, "") // ctx ended in the middle
		return nil, err
	}
	theirs := false // is it perhaps for one object
	switch fault.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity, http.StatusInternalServerError:
		theirs = true
	}
	switch {
	case fault.Status/100 == 2: // taken, in words that we do not understand
		p.mark(batch, Unknown, fault.Reason)
		return nil, nil
	case theirs && len(batch) > 1 && p.splits < SplitsMax:
		p.splits++
		return [][]int{batch[:len(batch)/2], batch[len(batch)/2:]}, nil
	case theirs && len(batch) == 1 && fault.Status != http.StatusInternalServerError:
		p.mark(batch, Declined, fault.Reason)
		return nil, nil
	case theirs && len(batch) == 1 && p.strikes+1 < strikesMax:
		p.strikes++
		p.mark(batch, Unknown, fault.Reason)
		return nil, nil
	case !fault.unsent && fault.Status != http.StatusUnauthorized && fault.Status != http.StatusForbidden && fault.Status != http.StatusNotFound:
		p.mark(batch, Unknown, fault.Reason)
	}
	return nil, err
}

func (p *push) mark(batch []int, s State, message string) {
	for _, i := range batch {
		p.outcomes[i].State, p.outcomes[i].Message = s, message
	}
}

// A status is a status resource, section 4.3.1, as far as it matters.
type status struct {
	ID       string   `json:"id"`
	Status   string   `json:"status"`
	Total    int      `json:"total_count"`
	Success  int      `json:"success_count"`
	Failure  int      `json:"failure_count"`
	Pending  int      `json:"pending_count"`
	Taken    []detail `json:"successes"`
	Declined []detail `json:"failures"`
	Open     []detail `json:"pendings"`
}

type detail struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	Message string `json:"message"`
}

func (s *status) complete() bool { return s.Status == "complete" && s.Pending <= 0 }

// follow asks for the status of a batch until it is complete.
func (p *push) follow(ctx context.Context, batch []int, a *answer) error {
	var s status
	if err := json.Unmarshal(a.body, &s); err != nil || s.Status == "" {
		p.mark(batch, Unknown, "the server took it and gave no status")
		return nil
	}
	id := s.ID
	end := time.Now().Add(StatusWaitMax)
	for n := 1; !s.complete() && identifier.MatchString(id); n++ {
		wait := min(Backoff(n), StatusWaitMax/8)
		if time.Now().Add(wait).After(end) {
			break
		}
		var next status
		err := pause(ctx, wait)
		if err == nil {
			err = p.c.resource(ctx, p.status(id), &next)
		}
		var fault *Error
		if err != nil && !errors.As(err, &fault) {
			p.apply(batch, &s)
			return err
		}
		if err == nil && next.Status != "" {
			s = next
		} else if fault != nil && !fault.Passing { // forgotten
			break
		}
	}
	p.apply(batch, &s)
	return nil
}

func (p *push) status(id string) *url.URL {
	root, _ := p.c.within(p.c.base, p.o.Root) // checked by at
	return root.JoinPath("status", id, "/")
}

// apply says of each object of a batch what a status says. The lists are optional, and
// the counts are believed only where they leave one reading.
func (p *push) apply(batch []int, s *status) {
	rest := Unknown
	switch {
	case !s.complete():
		rest = Pending
	case s.Failure == len(s.Declined) && s.Success == len(batch)-s.Failure && s.Failure >= 0:
		rest = Taken
	case s.Success == 0 && s.Failure == len(batch), s.Success == len(s.Taken) && s.Failure == len(batch)-s.Success && s.Success >= 0:
		rest = Declined
	}
	p.mark(batch, rest, "")
	for _, list := range []struct {
		state   State
		details []detail
	}{{Taken, s.Taken}, {Pending, s.Open}, {Declined, s.Declined}} {
		for _, d := range list.details {
			for _, i := range p.named(batch, d) {
				p.outcomes[i].State, p.outcomes[i].Message = list.state, p.c.hide(d.Message)
			}
		}
	}
}

// named finds an object of a batch. A server may write a version in another way, and
// gives one of its own where the object has none.
func (p *push) named(batch []int, d detail) (found []int) {
	for _, i := range batch {
		if p.outcomes[i].ID == d.ID {
			found = append(found, i)
		}
	}
	if len(found) > 1 {
		return slices.DeleteFunc(found, func(i int) bool { return !same(p.outcomes[i].Version, d.Version) })
	}
	return found
}

func same(a, b string) bool {
	at := stamp(a)
	return a == b || !at.IsZero() && at.Equal(stamp(b))
}

// look finds out which of the objects that were not taken are there all the same.
func (p *push) look(ctx context.Context) {
	var asked []int
	for i, o := range p.outcomes {
		sent := o.State == Unknown || o.State == Declined && stixID(o.ID) && len(p.objects[i]) < ObjectBytesMax
		if sent && len(asked) < askedMax {
			asked = append(asked, i)
		}
	}
	for chunk := range slices.Chunk(asked, askedAtOnce) {
		if !p.lookFor(ctx, chunk) {
			return
		}
	}
}

func stixID(id string) bool { return strings.Contains(id, "--") && !strings.ContainsAny(id, ",…") }

func (p *push) lookFor(ctx context.Context, chunk []int) bool {
	var ids []string
	for _, i := range chunk {
		ids = append(ids, p.outcomes[i].ID)
	}
	u, err := p.c.at(p.o, "manifest/")
	if err != nil {
		return false
	}
	query := url.Values{"match[id]": {strings.Join(ids, ",")}, "match[version]": {"all"}, "limit": {strconv.Itoa(LimitDefault)}}
	a, err := p.c.do(ctx, request{method: http.MethodGet, url: u, query: query, max: resourceMax})
	if err != nil {
		return false // the outcome stays what it was
	}
	var manifest struct {
		Objects []detail `json:"objects"`
	}
	if json.Unmarshal(a.body, &manifest) != nil {
		return false
	}
	for _, d := range manifest.Objects {
		for _, i := range chunk {
			o := &p.outcomes[i]
			if o.ID == d.ID && (o.Version == "" || same(o.Version, d.Version)) {
				o.State, o.Message = Taken, "it was there already"
			}
		}
	}
	return true
}
