package misp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/watchward/watchward/node/intel"
	events "github.com/watchward/watchward/node/intel/misp"
)

// Limits of a pull.
const (
	eventsMax = 100_000 // events that changed since the position
	listPage  = 1_000   // events listed at once
	batchMax  = 20      // events fetched at once
	pagesMax  = 10_000
)

// Pull takes the events that a server has published since a position, the batches of
// the oldest first, and returns where it came to, also with an error: what came before the error need
// not come again. Where nothing changed it is one request, whose answer is a list of
// the events published in the last minutes before the position.
//
// An error is an *Error, one of the network, or of in.
func (c *Client) Pull(ctx context.Context, from Position, in Intake) (Position, error) {
	at := from.clone()
	changed, err := c.changed(ctx, &at, &in)
	if err != nil {
		return from, pullError(err)
	}
	for batch := range slices.Chunk(changed, batchMax) {
		uuids := make([]string, len(batch))
		for i, it := range batch {
			uuids[i] = it.uuid
		}
		if err := c.batch(ctx, uuids, &in); err != nil {
			return at, pullError(err)
		}
		for _, it := range batch {
			at.Events.add(it.uuid, c.stamp(it), c.c.Now())
		}
		at.Events.prune()
		if err := in.reached(at); err != nil {
			return at, pullError(err)
		}
	}
	if !in.Sightings {
		return at, nil
	}
	if at.Sightings.Since == 0 { // the events have brought theirs
		at.Sightings.Since = max(c.c.Now().Unix(), 1)
		return at, pullError(in.reached(at))
	}
	return c.pullSightings(ctx, at, changed, in)
}

// pullError says what failed, an error of the intake apart.
func pullError(err error) error {
	if t := (taken{}); errors.As(err, &t) {
		return t.error
	}
	if err != nil {
		return fmt.Errorf("pull from MISP: %w", err)
	}
	return nil
}

// stamp is what the position goes by.
func (c *Client) stamp(it item) int64 {
	if c.c.Unpublished {
		return it.timestamp
	}
	return it.published
}

// search is a request to restSearch.
type search struct {
	ReturnFormat     string   `json:"returnFormat"`
	Page             int      `json:"page,omitempty"`
	Limit            int      `json:"limit,omitempty"`
	Metadata         int      `json:"metadata,omitempty"`
	Published        *bool    `json:"published,omitempty"`
	PublishTimestamp int64    `json:"publish_timestamp,omitempty"`
	Timestamp        int64    `json:"timestamp,omitempty"`
	EventID          []string `json:"eventid,omitempty"`
	Deleted          []int    `json:"deleted,omitempty"`
	Last             int64    `json:"last,omitempty"`
	IncludeEvent     bool     `json:"includeEvent,omitempty"`
}

func (c *Client) search() search {
	s := search{ReturnFormat: "json"}
	if yes := true; !c.c.Unpublished {
		s.Published = &yes
	}
	return s
}

// changed lists what is to be fetched, oldest first. Pages go on until one brings
// nothing new: their size says little, since a server may drop what the key may not
// see after it has cut them, and some know no pages.
func (c *Client) changed(ctx context.Context, at *Position, in *Intake) ([]item, error) {
	q := c.search()
	q.Metadata, q.Limit = 1, listPage
	if since := at.Events.from(); c.c.Unpublished {
		q.Timestamp = since
	} else {
		q.PublishTimestamp = since
	}
	listed := map[string]bool{}
	var out []item
	for q.Page = 1; q.Page <= pagesMax; q.Page++ {
		before := len(listed)
		a, err := c.post(ctx, "events/restSearch", q, c.listMax)
		if err != nil {
			return nil, err
		}
		skipped, _ := strconv.Atoi(a.Response.Header.Get("X-Skipped-Elements-Count"))
		err = a.content(readList(a, func(it item) error {
			if listed[it.uuid] {
				return nil
			}
			if len(listed) == eventsMax {
				return fmt.Errorf("more than %d events changed: begin at a later time, or let the key see less", eventsMax)
			}
			listed[it.uuid] = true
			switch {
			case events.EventFile(it.uuid) == "":
				in.failed(intel.Show(it.uuid), errors.New("the server lists an event by what is no uuid"))
			case !at.Events.had(it.uuid, c.stamp(it)) && !in.skips(it.uuid):
				out = append(out, it)
			}
			return nil
		}))
		a.Close()
		if err != nil {
			return nil, err
		}
		if len(listed) == before && skipped <= 0 {
			break
		}
		if len(listed)-before+skipped < listPage && len(out) == 0 {
			break // not full, and nothing in it moves the position
		}
	}
	slices.SortStableFunc(out, func(a, b item) int { return cmp.Compare(c.stamp(a), c.stamp(b)) })
	return out, nil
}

// batch fetches events; where that fails by what they hold, or breaks the server,
// one by one.
func (c *Client) batch(ctx context.Context, uuids []string, in *Intake) error {
	err := c.fetch(ctx, uuids, in)
	if err == nil || !lonely(err) {
		return err
	}
	if len(uuids) == 1 {
		return c.passOver(uuids, map[string]error{uuids[0]: err}, in)
	}
	bad := map[string]error{}
	for _, uuid := range uuids {
		switch err := c.fetch(ctx, []string{uuid}, in); {
		case err == nil:
		case lonely(err):
			bad[uuid] = err
		default:
			return err
		}
	}
	return c.passOver(uuids, bad, in)
}

// passOver tells of the bad ones, unless the server has failed at each: then it is
// the server that is broken.
func (c *Client) passOver(uuids []string, bad map[string]error, in *Intake) error {
	e := (*Error)(nil)
	for _, uuid := range uuids {
		if err := bad[uuid]; err == nil || !errors.As(err, &e) {
			e = nil
			break
		}
	}
	if e != nil {
		return e
	}
	for _, uuid := range uuids {
		if err := bad[uuid]; err != nil {
			in.failed(uuid, err)
		}
	}
	return nil
}

// lonely reports whether an error may be one event's alone.
func lonely(err error) bool {
	if t := (taken{}); errors.As(err, &t) {
		return false
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Status == http.StatusInternalServerError // PHP's way to run out of memory
	}
	return errors.As(err, &contentError{})
}

// fetch reads some events whole.
func (c *Client) fetch(ctx context.Context, uuids []string, in *Intake) error {
	q := c.search()
	q.EventID, q.Deleted, q.Page, q.Limit = uuids, []int{0, 1}, 1, len(uuids)
	a, err := c.post(ctx, "events/restSearch", q, eventsBytesMax)
	if err != nil {
		return err
	}
	defer a.Close()
	return a.content(in.read(a, func(uuid string, _ int64) error {
		if !slices.Contains(uuids, uuid) {
			return fmt.Errorf("it sent the event %q, which was not asked for", intel.Show(uuid))
		}
		return nil
	}))
}

// read reads events from r. event may refuse one before anything is taken of it.
func (in *Intake) read(r io.Reader, event func(uuid string, timestamp int64) error) error {
	return events.Read(r, events.Options{Indicator: in.Indicator, All: in.All, Deleted: true, Event: event}, in.found)
}

// pullSightings takes the events that have new sightings, which changes no stamp of
// theirs. Those that just came are not fetched again.
func (c *Client) pullSightings(ctx context.Context, at Position, had []item, in Intake) (Position, error) {
	q := search{ReturnFormat: "json", Last: at.Sightings.from(), IncludeEvent: true}
	a, err := c.post(ctx, "sightings/restSearch", q, c.listMax)
	if err != nil {
		return at, pullError(err)
	}
	var told []item
	wanted := map[string]bool{}
	err = a.content(readList(a, func(it item) error {
		if len(told) < eventsMax && !at.Sightings.had(it.uuid, it.sighted) {
			told = append(told, it)
			wanted[it.event] = events.EventFile(it.event) != "" && !in.skips(it.event)
		}
		return nil
	}))
	a.Close()
	if err != nil {
		return at, pullError(err)
	}
	for _, it := range had {
		wanted[it.uuid] = false
	}
	var uuids []string
	for uuid, yes := range wanted {
		if yes {
			uuids = append(uuids, uuid)
		}
	}
	slices.Sort(uuids)
	for batch := range slices.Chunk(uuids, batchMax) {
		if err := c.batch(ctx, batch, &in); err != nil {
			return at, pullError(err)
		}
	}
	if len(told) == 0 {
		return at, nil
	}
	for _, it := range told {
		at.Sightings.add(it.uuid, it.sighted, c.c.Now())
	}
	at.Sightings.prune()
	return at, pullError(in.reached(at))
}
