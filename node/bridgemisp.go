package node

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/watchward/watchward/node/alert/sink"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/intel"
	events "github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/intel/stix"
	"github.com/watchward/watchward/node/misp"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/shelf"
)

const (
	mispEvents    = 20              // events pushed in a round
	mispNotices   = 20_000          // … with so many notices in all, or one event
	mispStrikes   = 3               // failures in a row after which a round ends
	mispPause     = 5 * time.Minute // at least, between two tries that are counted
	mispWitnesses = 100             // notices of a value among which one from there is looked for
	mispDialMax   = 10 * time.Second
	mispHeaderMax = 64 << 10 // bytes
)

// A mispService is a MISP server, or a feed.
type mispService struct {
	b      *bridge
	c      *misp.Client
	t      *http.Transport
	marked []markedEvent
	more   bool  // not all that changed is marked
	again  bool  // not all that was marked is pushed
	held   bool  // not all that failed before is marked, or will fare better
	until  int64 // stamp of the shelf up to which all is marked
	found  []intel.Found
	turned bool

	answered bool  // the service took or refused something in this push
	strikes  int   // failures in a row
	why      error // of the last
}

// A missedEvent is one that the service failed at, again and again.
type missedEvent struct {
	Tries int   `json:"tries"`
	Last  int64 `json:"last"` // ms, when one was counted
}

// A missError is one of the service at one event: it may take others.
type missError struct{ error }

func (e missError) Unwrap() error { return e.error }

// A markedEvent is an event that changed, as it was before a read.
type markedEvent struct {
	event   misp.Event
	notices []intel.Stated
}

func (b *bridge) openMISP() (service, error) {
	key, err := b.mispKey()
	if err != nil {
		return nil, err
	}
	tls, err := b.tls()
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		TLSClientConfig: tls, DialContext: sink.Dialer(b.c.Private), TLSHandshakeTimeout: mispDialMax, ForceAttemptHTTP2: true,
		IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 2, MaxResponseHeaderBytes: mispHeaderMax,
	}
	c, err := misp.New(misp.Config{
		URL: b.c.URL, Key: key, Plain: b.c.Private, Agent: "watchward/" + b.n.o.Version, Transport: t, Now: b.n.now,
	})
	if err != nil {
		return nil, err
	}
	return &mispService{b: b, c: c, t: t}, nil
}

// mispKey is what is sent as Authorization.
func (b *bridge) mispKey() (string, error) {
	key, err := b.secretOf(b.c.KeyFile)
	if err != nil || key != "" {
		return key, err
	}
	if token, err := b.secretOf(b.c.TokenFile); err != nil || token != "" {
		return "Bearer " + token, err
	}
	password, err := b.secretOf(b.c.PasswordFile)
	if err != nil || password == "" {
		return "", err
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(b.c.User+":"+password)), nil
}

func (m *mispService) close() { m.t.CloseIdleConnections() }

// mark takes the notices of events that changed since they were pushed, as they are now.
func (m *mispService) mark(ctx context.Context) (bool, error) {
	b := m.b
	m.marked, m.more, m.again, m.until = nil, false, false, b.h.shelf.Last()
	if m.until == b.state().Pushed {
		return false, nil
	}
	view, count := b.h.shelf.Events(b.c.PushCeiling()), 0
	var held []markedEvent // failed just now: others come first
	for e, err := range view.Events(ctx) {
		if err != nil {
			return false, err
		}
		before, _, err := b.h.shelf.Foreign(b.server()+bridgeEvents, e.UUID())
		if err != nil {
			return false, err
		}
		if before.Version == e.Changed {
			continue
		}
		if m.missedNow(e.UUID()) {
			if len(held) < mispStrikes {
				held = append(held, markedEvent{event: e})
			}
			continue
		}
		if len(m.marked) == mispEvents || count > 0 && count+e.Notices > mispNotices {
			m.more = true
			break
		}
		count += e.Notices
		m.marked = append(m.marked, markedEvent{event: e})
	}
	m.held = len(held) > 0
	if len(m.marked) == 0 {
		m.marked = held
	}
	for i := range m.marked { // not within the other look, which holds the shelf's state
		for n, err := range view.Notices(ctx, m.marked[i].event) {
			if err != nil {
				return false, err
			}
			m.marked[i].notices = append(m.marked[i].notices, n)
		}
	}
	return true, nil
}

// read takes in the events that changed.
func (m *mispService) read(ctx context.Context) error {
	b := m.b
	m.found, m.turned = nil, false
	in := misp.Intake{
		Sightings: b.c.Kind == config.BridgeMISP,
		Found: func(f intel.Found) error {
			m.found = append(m.found, f)
			if len(m.found) < intakeBatch {
				return nil
			}
			return m.take(ctx)
		},
		Reached: func(at misp.Position) error {
			if err := m.take(ctx); err != nil {
				return err
			}
			return b.change(func(s *bridgeState) { s.MISP = at })
		},
		Failed: func(uuid string, err error) { b.refused(uuid, err.Error()) },
	}
	pull := m.c.Pull
	if b.c.Kind == config.BridgeMISPFeed {
		pull = m.c.PullFeed
	}
	at, err := pull(ctx, b.state().MISP, in)
	if len(m.found) > 0 && ctx.Err() == nil { // of a batch that broke off: it comes again
		err = errors.Join(err, m.take(ctx))
	}
	b.reached(func(s *bridgeState) { s.MISP = at })
	return err
}

// take takes in what was found, once it is remembered that it is there.
func (m *mispService) take(ctx context.Context) error {
	b, found := m.b, m.found
	m.found = nil
	given := map[string]int64{}
	for i := range found {
		f := &found[i]
		if f.Notice == nil {
			continue
		}
		if o := f.Notice.Origin; o != nil {
			names(given, f.Notice.Kind, o.ID)
			if f.Item == nil && strings.Contains(o.ID, "/") { // it is there under this
				given[o.ID] = 1
			}
		}
		if f.Item != nil {
			names(given, f.Notice.Kind, f.Item.String())
		}
	}
	if err := b.given(given); err != nil || !b.c.Pull {
		return err
	}
	if err := m.turn(ctx); err != nil {
		return err
	}
	taken, err := b.n.takeIn(ctx, b.intake(), found)
	if err != nil {
		return err
	}
	b.count(taken, func(i int) string {
		if n := found[i].Notice; n != nil && n.Origin != nil && n.Origin.ID != "" {
			return n.Origin.ID
		}
		return found[i].Place
	})
	return nil
}

// turn waits once a round, since MISP gives the same event again and again.
func (m *mispService) turn(ctx context.Context) error {
	if m.turned {
		return nil
	}
	m.turned = true
	return m.b.turn(ctx)
}

// push pushes the marked events. One that the service fails at holds up no other; a
// service that fails at all is one error.
func (m *mispService) push(ctx context.Context) (more bool, err error) {
	m.answered, m.strikes = false, 0
	missed := m.b.state().Missed
	slices.SortStableFunc(m.marked, func(x, y markedEvent) int {
		return cmp.Compare(missed[x.event.UUID()].Tries, missed[y.event.UUID()].Tries)
	})
	var miss error
	for i := range m.marked {
		if m.strikes >= mispStrikes {
			return false, m.why
		}
		err := m.pushEvent(ctx, &m.marked[i])
		if err != nil && !errors.As(err, new(missError)) {
			return false, err
		}
		if err != nil {
			miss, m.held = err, true
		}
	}
	if miss != nil && !m.answered {
		return false, miss
	}
	if m.again { // when the next second has come, or whoever holds it up is done
		return false, m.b.change(func(s *bridgeState) { s.Tries++ })
	}
	return m.more, m.b.change(func(s *bridgeState) {
		if s.Tries = 0; !m.more && !m.held {
			s.Pushed = m.until
		}
	})
}

// pushEvent pushes what goes there of an event: what is about a value that the service
// has from others is told of theirs, the rest is an event of its own.
func (m *mispService) pushEvent(ctx context.Context, e *markedEvent) error {
	b := m.b
	var own []intel.Stated
	var miss error
	done := map[string]shelf.Foreign{}
	for i := range e.notices {
		s := e.notices[i]
		w, goes, fresh, err := m.goes(&s)
		if err != nil {
			return err
		}
		if !goes {
			continue
		}
		attribute, err := m.theirs(&s)
		switch {
		case err != nil:
			return err
		case attribute == "":
			own = append(own, s)
			if fresh {
				done[w.id] = shelf.Foreign{Version: w.version}
			}
		case fresh && miss == nil:
			if err := m.sighting(ctx, e, &w, attribute, &s); errors.As(err, new(missError)) {
				miss = err
			} else if err != nil {
				return err
			}
		}
	}
	if m.strikes >= mispStrikes { // it would fail as well
		return miss
	}
	if len(done) > 0 {
		if had, err := m.putEvent(ctx, e, own, done); err != nil || !had {
			return cmp.Or(err, miss)
		}
	}
	if miss != nil {
		return miss
	}
	b.reached(func(s *bridgeState) { s.missed(e.event.UUID(), missedEvent{}) })
	return b.h.shelf.Remember(b.server()+bridgeEvents, map[string]shelf.Foreign{e.event.UUID(): {Version: e.event.Changed}})
}

// missedNow reports whether the service failed at an event a short time ago.
func (m *mispService) missedNow(uuid string) bool {
	at, ok := m.b.state().Missed[uuid]
	return ok && m.b.n.now().UnixMilli()-at.Last < max(mispPause, m.b.c.Interval()/2).Milliseconds()
}

// miss counts a failure of the service at an event, and reports whether that is given up.
// One is counted in some time, so that a service that fails for a while loses nothing.
func (m *mispService) miss(uuid string, err error) (over bool) {
	m.strikes++
	m.why = missError{err}
	at := m.b.state().Missed[uuid]
	if !m.missedNow(uuid) {
		at = missedEvent{at.Tries + 1, m.b.n.now().UnixMilli()}
		m.b.reached(func(s *bridgeState) { s.missed(uuid, at) })
	}
	return at.Tries >= bridgeTries
}

// missed notes how often the service failed at an event; with no tries it forgets that.
func (s *bridgeState) missed(uuid string, at missedEvent) {
	all := maps.Clone(s.Missed)
	if all == nil {
		all = map[string]missedEvent{}
	}
	all[uuid] = at
	maps.DeleteFunc(all, func(id string, have missedEvent) bool {
		return have.Tries == 0 || at.Tries > 0 && at.Last-have.Last > bridgeForgets.Milliseconds()
	})
	s.Missed = all
}

// ofOne reports whether an error is of what was sent, and not of the service as a whole.
func ofOne(ctx context.Context, err error) bool {
	refusal := (*misp.Error)(nil)
	if !errors.As(err, &refusal) {
		return ctx.Err() == nil
	}
	return ctx.Err() == nil && refusal.RetryAfter == 0 && refusal.Status != http.StatusUnauthorized && refusal.Status != http.StatusTooManyRequests
}

// goes reports whether a notice is for the service, and whether it is news there: an
// event is pushed whole, so that its attributes stay as they are.
func (m *mispService) goes(s *intel.Stated) (w word, goes, fresh bool, err error) {
	w = word{id: stix.ID(s.Notice.Kind, s.ID), version: max(s.Notice.Created, 1), own: m.b.n.isOwn(s), revoked: s.Retracted}
	if s.Retracted {
		w.version++
	}
	if o := s.Notice.Origin; o != nil && o.ID != "" {
		w.origins = []string{o.ID}
	}
	if w.id == "" {
		return w, false, false, nil
	}
	fresh, err = m.b.goes(&w)
	if err != nil || fresh {
		return w, fresh, fresh, err
	}
	_, before, err := m.b.pushed(w.id)
	return w, before, false, err
}

// putEvent pushes an event, and notes what of it is there now.
func (m *mispService) putEvent(ctx context.Context, e *markedEvent, own []intel.Stated, done map[string]shelf.Foreign) (had bool, err error) {
	b := m.b
	var text bytes.Buffer
	if err := misp.WriteEvent(&text, e.event, b.n.now(), each(own)); err != nil {
		b.failed(e.event.UUID(), err.Error())
		return true, nil
	}
	put, err := m.c.PutEvent(ctx, e.event.UUID(), text.Bytes())
	refusal := (*misp.Error)(nil)
	if errors.As(err, &refusal) && !refusal.Temporary() && refusal.Status != http.StatusUnauthorized && refusal.Status != http.StatusForbidden && refusal.Status/100 == 4 {
		m.answer()
		b.failed(e.event.UUID(), err.Error())
		return true, nil // the same again would fare no better
	}
	if err != nil {
		if !ofOne(ctx, err) || refusal != nil && refusal.Status == http.StatusForbidden { // the latter is most likely the key's
			return false, err
		}
		if !m.miss(e.event.UUID(), err) {
			return false, missError{err}
		}
		b.failed(e.event.UUID(), err.Error())
		return true, nil
	}
	m.answer()
	if put.Refused != "" {
		b.failed(e.event.UUID(), put.Refused)
	}
	if !put.Changed { // it was changed there in this second, or by a clock that is ahead
		if b.state().Tries < bridgeTries {
			m.again = true
			return false, nil
		}
		b.failed(e.event.UUID(), "the service says that it has a newer event: look at the clocks")
		return true, nil
	}
	b.reached(func(s *bridgeState) { s.Counts.Pushed += int64(len(done)) })
	return true, b.h.shelf.Remember(b.server()+bridgePushed, done)
}

// answer notes that the service works.
func (m *mispService) answer() { m.answered, m.strikes = true, 0 }

func each(all []intel.Stated) iter.Seq2[intel.Stated, error] {
	return func(yield func(intel.Stated, error) bool) {
		for _, s := range all {
			if !yield(s, nil) {
				return
			}
		}
	}
}

// sighting tells of a sighting or dispute of an attribute that the service has.
func (m *mispService) sighting(ctx context.Context, e *markedEvent, w *word, attribute string, s *intel.Stated) error {
	b := m.b
	x, ok := events.SightingOf(s)
	if !ok {
		return nil
	}
	err := m.c.AddSighting(ctx, attribute, "", x)
	if refusal := (*misp.Error)(nil); errors.Is(err, misp.ErrNoAttribute) || errors.As(err, &refusal) && refusal.Status == http.StatusBadRequest {
		m.answer()
		b.failed(w.id, err.Error()) // it was deleted there, or cannot be told
	} else if err == nil {
		m.answer()
		b.reached(func(s *bridgeState) { s.Counts.Pushed++ })
	} else if !ofOne(ctx, err) {
		return err
	} else if !m.miss(e.event.UUID(), err) {
		return missError{err}
	} else {
		b.failed(w.id, err.Error())
	}
	err = b.h.shelf.Remember(b.server()+bridgePushed, map[string]shelf.Foreign{w.id: {Version: w.version}})
	if err == nil && m.strikes >= mispStrikes {
		err = m.why
	}
	return err
}

// theirs returns the attribute of the service that a sighting or dispute is about, ""
// if there is none.
func (m *mispService) theirs(s *intel.Stated) (attribute string, err error) {
	value := s.Notice.Indicator
	if value == nil {
		value = s.RefValue
	}
	if s.Notice.Kind == notice.KindIndicator || value == nil {
		return "", nil
	}
	records, err := m.b.n.store.Evidence(value.Key(), m.b.c.PushCeiling(), mispWitnesses)
	if err != nil {
		return "", err
	}
	for _, r := range records {
		if r.Notice.Origin == nil || r.Retracted {
			continue
		}
		_, uuid, ok := strings.Cut(r.Notice.Origin.ID, "/")
		if !ok {
			continue
		}
		version, has, err := m.b.has(r.Notice.Origin.ID)
		if err != nil {
			return "", err
		}
		if has && version > 0 {
			return uuid, nil
		}
	}
	return "", nil
}
