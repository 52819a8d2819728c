package node

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"iter"
	"net/http"
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
	mispEvents    = 20     // events pushed in a round
	mispNotices   = 20_000 // … with so many notices in all, or one event
	mispWitnesses = 100    // notices of a value among which one from there is looked for
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
	until  int64 // stamp of the shelf up to which all is marked
	found  []intel.Found
	turned bool
}

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
		if len(m.marked) == mispEvents || count > 0 && count+e.Notices > mispNotices {
			m.more = true
			break
		}
		count += e.Notices
		m.marked = append(m.marked, markedEvent{event: e})
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

// push pushes the marked events.
func (m *mispService) push(ctx context.Context) (more bool, err error) {
	for i := range m.marked {
		if err := m.pushEvent(ctx, &m.marked[i]); err != nil {
			return false, err
		}
	}
	if m.again { // when the next second has come, or whoever holds it up is done
		return false, m.b.change(func(s *bridgeState) { s.Tries++ })
	}
	return m.more, m.b.change(func(s *bridgeState) {
		if s.Tries = 0; !m.more {
			s.Pushed = m.until
		}
	})
}

// pushEvent pushes what goes there of an event: what is about a value that the service
// has from others is told of theirs, the rest is an event of its own.
func (m *mispService) pushEvent(ctx context.Context, e *markedEvent) error {
	b := m.b
	var own []intel.Stated
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
		case fresh:
			if err := m.sighting(ctx, &w, attribute, &s); err != nil {
				return err
			}
		}
	}
	if len(done) > 0 {
		if had, err := m.putEvent(ctx, e, own, done); err != nil || !had {
			return err
		}
	}
	return b.h.shelf.Remember(b.server()+bridgeEvents, map[string]shelf.Foreign{e.event.UUID(): {Version: e.event.Changed}})
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
	if refusal := (*misp.Error)(nil); errors.As(err, &refusal) && !refusal.Temporary() && refusal.Status != http.StatusUnauthorized && refusal.Status != http.StatusForbidden && refusal.Status/100 == 4 {
		b.failed(e.event.UUID(), err.Error())
		return true, nil // the same again would fare no better
	}
	if err != nil {
		return false, err
	}
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
func (m *mispService) sighting(ctx context.Context, w *word, attribute string, s *intel.Stated) error {
	b := m.b
	x, ok := events.SightingOf(s)
	if !ok {
		return nil
	}
	err := m.c.AddSighting(ctx, attribute, "", x)
	if refusal := (*misp.Error)(nil); errors.Is(err, misp.ErrNoAttribute) || errors.As(err, &refusal) && refusal.Status == http.StatusBadRequest {
		b.failed(w.id, err.Error())
		err = nil // it was deleted there, or cannot be told
	} else if err == nil {
		b.reached(func(s *bridgeState) { s.Counts.Pushed++ })
	}
	if err != nil {
		return err
	}
	return b.h.shelf.Remember(b.server()+bridgePushed, map[string]shelf.Foreign{w.id: {Version: w.version}})
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
