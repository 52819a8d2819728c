package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/alert/sink"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/stix"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/shelf"
	"github.com/watchward/watchward/node/taxii"
	"github.com/watchward/watchward/node/taxii/client"
)

const (
	taxiiPushed  = 500     // notices pushed at once
	taxiiShared  = 100_000 // shared objects that are remembered to be there
	lateMax      = 1_000   // objects that wait for what they refer to …
	lateBytesMax = 1 << 20 // … in all
	lateTries    = 10      // pages that they wait for
)

// A taxiiService is a collection that is read, and one that is pushed to.
type taxiiService struct {
	b        *bridge
	c        *client.Client
	from, to client.Collection
	shared   map[string]bool // objects without a word of their own that are there
	until    int64           // stamp of the shelf up to which may be pushed
	turned   bool            // this read has waited for those who come first
}

func (b *bridge) openTAXII(ctx context.Context) (service, error) {
	token, err := b.secretOf(b.c.TokenFile)
	if err != nil {
		return nil, err
	}
	password, err := b.secretOf(b.c.PasswordFile)
	if err != nil {
		return nil, err
	}
	tls, err := b.tls()
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{
		URL: b.c.URL, Token: token, User: b.c.User, Password: password, Plain: b.c.Private,
		Agent: "watchward/" + b.n.o.Version, TLS: tls, Dial: sink.Dialer(b.c.Private),
	})
	if err != nil {
		return nil, err
	}
	t := &taxiiService{b: b, c: c, shared: map[string]bool{}}
	if err := t.find(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return t, nil
}

func (t *taxiiService) close() { t.c.Close() }

// find finds the collections, and says what they cannot do.
func (t *taxiiService) find(ctx context.Context) (err error) {
	c := t.b.c
	if t.from, err = t.c.Collection(ctx, c.Collection); err != nil {
		return err
	}
	if !t.from.CanRead {
		return fmt.Errorf("the collection %s cannot be read with these credentials: name another, or ask its operator; one that is only pushed to is push_collection", intel.Show(c.Collection))
	}
	t.to = t.from
	if c.PushCollection != "" && c.Pushes() {
		if t.to, err = t.c.Collection(ctx, c.PushCollection); err != nil {
			return err
		}
	}
	if c.Pushes() && !t.to.CanWrite {
		return errors.New("the collection that is pushed to cannot be written with these credentials: set push_collection, or ask its operator")
	}
	return nil
}

func (t *taxiiService) mark(context.Context) (bool, error) {
	t.until = t.b.h.shelf.Last()
	return t.until > t.b.state().Pushed, nil
}

// read takes in what came into the collection. Of another collection that is pushed to
// it only remembers what is there.
func (t *taxiiService) read(ctx context.Context) error {
	t.turned = false
	at, err := t.c.Poll(ctx, t.from, t.b.state().TAXII, client.Options{}, func(p client.Page) error { return t.take(ctx, p) })
	t.b.reached(func(s *bridgeState) { s.TAXII = at })
	if err != nil || t.to.ID == t.from.ID || !t.to.CanRead || !t.b.c.Pushes() {
		return err
	}
	at, err = t.c.Poll(ctx, t.to, t.b.state().Other, client.Options{}, func(p client.Page) error {
		if err := t.remember(p.Objects); err != nil {
			return err
		}
		return t.b.change(func(s *bridgeState) { s.Other = p.Position })
	})
	t.b.reached(func(s *bridgeState) { s.Other = at })
	return err
}

// reached notes a position that is written down with the next change: going on from the
// one before costs nothing but time.
func (b *bridge) reached(f func(*bridgeState)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.at)
}

// take takes a page in. What is there is remembered before anything of it is stated, so
// that no crash in between lets it go back.
func (t *taxiiService) take(ctx context.Context, p client.Page) error {
	b := t.b
	if err := t.remember(p.Objects); err != nil {
		return err
	}
	late := b.state().Late
	if b.c.Pull {
		news, err := t.news(p.Objects)
		if err == nil && news {
			err = t.turn(ctx)
		}
		if err != nil {
			return err
		}
		if late, err = t.takeObjects(ctx, p.Objects, late); err != nil {
			return err
		}
		for _, r := range p.Refused {
			b.refused(r.ID, r.Reason)
		}
		b.reached(func(s *bridgeState) { s.Counts.Refused += int64(p.Refusals - len(p.Refused)) })
		if p.Gap != "" {
			b.refused("", p.Gap)
		}
	}
	return b.change(func(s *bridgeState) { s.TAXII, s.Late = p.Position, late })
}

// turn waits once a round: whoever comes first is pages ahead from then on.
func (t *taxiiService) turn(ctx context.Context) error {
	if t.turned {
		return nil
	}
	t.turned = true
	return t.b.turn(ctx)
}

// news reports whether there is an object that did not come before.
func (t *taxiiService) news(objects []json.RawMessage) (bool, error) {
	for _, raw := range objects {
		o, _ := readOffered(raw)
		before, had, err := t.b.h.shelf.Foreign(t.b.server(), o.ID)
		if err != nil || !had || before.Version < o.version {
			return err == nil, err
		}
	}
	return false, nil
}

// takeObjects takes objects in, those before that waited for what they refer to. Such
// that wait are returned.
func (t *taxiiService) takeObjects(ctx context.Context, objects []json.RawMessage, waited []lateObject) (late []lateObject, err error) {
	b := t.b
	all := make([]json.RawMessage, 0, len(waited)+len(objects))
	for _, l := range waited {
		all = append(all, l.Raw)
	}
	all = append(all, objects...)
	taken, err := b.h.takeObjects(ctx, b.intake(), b.server(), b.server(), all)
	if err != nil {
		return nil, err
	}
	there, size := ids(all), 0
	for i := range taken {
		tries := 0
		if i < len(waited) {
			tries = waited[i].Tries
		}
		if taken[i].ok || taken[i].plain || tries >= lateTries || len(late) >= lateMax || size+len(all[i]) > lateBytesMax {
			if taken[i].known && structural(all[i]) {
				taken[i].plain = true
			}
			continue
		}
		misses, err := t.misses(all[i], there)
		if err != nil {
			return nil, err
		}
		if misses {
			taken[i].plain = true // it is counted when it is decided
			size += len(all[i])
			late = append(late, lateObject{all[i], tries + 1})
		}
	}
	b.count(taken, func(i int) string { return idOf(all[i]) })
	return late, nil
}

// A lateObject came before what it refers to: some servers give objects in any order.
type lateObject struct {
	Raw   json.RawMessage `json:"raw"`
	Tries int             `json:"tries"`
}

func idOf(object []byte) string {
	o, _ := readOffered(object)
	return o.ID
}

func ids(objects []json.RawMessage) map[string]bool {
	all := make(map[string]bool, len(objects))
	for _, raw := range objects {
		all[idOf(raw)] = true
	}
	return all
}

// structural reports whether an object states nothing by itself.
func structural(object []byte) bool {
	kind, _, _ := strings.Cut(idOf(object), "--")
	switch kind {
	case "indicator", "sighting", "opinion", "note", "course-of-action", "report":
		return stix.TellOf(object).Carrier
	}
	return true
}

// misses reports whether an object refers to a word that nobody has given yet.
func (t *taxiiService) misses(object []byte, there map[string]bool) (misses bool, err error) {
	shelf.Refs(object, func(id string) {
		if misses || err != nil || there[id] || structuralID(id) {
			return
		}
		var known bool
		if _, known, err = t.b.h.shelf.Foreign(t.b.server(), id); err == nil && !known {
			known, err = t.b.h.shelf.Has(id)
		}
		misses = !known
	})
	return misses && err == nil, err
}

// structuralID names what an object can be taken without.
func structuralID(id string) bool {
	kind, _, _ := strings.Cut(id, "--")
	switch kind {
	case "indicator", "sighting", "observed-data", "malware", "tool", "campaign", "intrusion-set", "threat-actor":
		return false
	}
	return true
}

// remember notes under which ids the service has what a page holds.
func (t *taxiiService) remember(objects []json.RawMessage) error {
	given := map[string]int64{}
	for _, raw := range objects {
		o, ok := readOffered(raw)
		if !ok {
			continue
		}
		given[o.ID] = max(given[o.ID], o.version, 1)
		told := stix.TellOf(raw)
		kind := kindOf(o.ID)
		names(given, kind, told.Notice)
		for _, other := range told.Origins {
			names(given, kind, other)
		}
	}
	return t.b.given(given)
}

// kindOf is the kind of notice that an object states, 0 if it states none.
func kindOf(id string) notice.Kind {
	switch kind, _, _ := strings.Cut(id, "--"); kind {
	case "indicator":
		return notice.KindIndicator
	case "sighting":
		return notice.KindSighting
	case "opinion":
		return notice.KindDispute
	}
	return 0
}

// A pushable is an object of a notice on the shelf.
type pushable struct {
	id      string
	version int64 // ms
	revoked bool
	told    stix.Told
	json    []byte
}

// push pushes what was marked, some hundred notices at once, and writes down how far it
// is after each.
func (t *taxiiService) push(ctx context.Context) (more bool, err error) {
	for {
		some, upTo, err := t.candidates(ctx)
		if err != nil {
			return false, err
		}
		decided, err := t.pushSome(ctx, some)
		if err != nil {
			return false, err
		}
		if !decided && t.b.state().Tries < bridgeTries {
			return false, t.b.change(func(s *bridgeState) { s.Tries++ })
		}
		if err := t.b.change(func(s *bridgeState) { s.Pushed, s.Tries = upTo, 0 }); err != nil {
			return false, err
		}
		if upTo >= t.until {
			return false, nil
		}
	}
}

// candidates are the next objects of notices on the shelf, and the stamp of the last
// that was looked at.
func (t *taxiiService) candidates(ctx context.Context) (all []pushable, upTo int64, err error) {
	q := &taxii.Query{After: t.b.state().Pushed, Last: true, Bodies: true}
	upTo = t.until
	for o, err := range t.b.h.shelf.Objects(ctx, t.b.c.PushCeiling(), q) {
		if err != nil {
			return nil, 0, err
		}
		if o.Added > t.until {
			break
		}
		told := stix.TellOf(o.JSON)
		if told.Notice == "" || told.Carrier {
			continue
		}
		if len(all) == taxiiPushed {
			upTo = o.Added - 1
			break
		}
		offer, _ := readOffered(o.JSON)
		all = append(all, pushable{o.ID, offer.version, offer.Revoked, told, bytes.Clone(o.JSON)})
	}
	return all, upTo, nil
}

// pushSome pushes those that go there, and reports whether it is known what became of
// each.
func (t *taxiiService) pushSome(ctx context.Context, some []pushable) (decided bool, err error) {
	p := parcel{t: t, own: map[int]int64{}, going: map[string]bool{}, shared: map[string]bool{}}
	for i := range some {
		if err := p.add(&some[i]); err != nil {
			return false, err
		}
	}
	if len(p.objects) == 0 {
		return true, nil
	}
	outcomes, err := t.c.Push(ctx, t.to, p.objects)
	taken := map[string]shelf.Foreign{}
	decided = true
	for i, o := range outcomes {
		version, own := p.own[i]
		switch {
		case o.State == client.Taken && own:
			taken[o.ID] = shelf.Foreign{Version: version}
		case o.State == client.Taken:
			if len(t.shared) >= taxiiShared {
				clear(t.shared)
			}
			t.shared[o.ID] = true
		case !own: // whoever needs it says so
		case o.State == client.Declined, t.b.state().Tries >= bridgeTries:
			t.b.failed(o.ID, o.Message)
		default:
			decided = false
		}
	}
	t.b.reached(func(s *bridgeState) { s.Counts.Pushed += int64(len(taken)) })
	if len(taken) > 0 {
		err = errors.Join(err, t.b.h.shelf.Remember(t.b.server()+bridgePushed, taken))
	}
	return decided, err
}

// A parcel is what is pushed at once.
type parcel struct {
	t       *taxiiService
	objects []json.RawMessage
	own     map[int]int64 // versions (ms) of those that are notices
	going   map[string]bool
	shared  map[string]bool
}

// add adds a notice with what it needs, if it goes there.
func (p *parcel) add(c *pushable) error {
	b := p.t.b
	id, err := crypto.ParseItemID(c.told.Notice)
	if err != nil {
		return nil // no notice of ours
	}
	s, found, err := b.h.stated(id)
	if err != nil {
		return err
	}
	if found && stix.Marking(&s) > b.c.PushCeiling() {
		return nil
	}
	w := word{id: c.id, version: c.version, origins: c.told.Origins, revoked: c.revoked, own: found && b.n.isOwn(&s)}
	if !found { // its author was revoked: who was told of it is told that too
		_, w.own, err = b.pushed(c.id)
		if err != nil || !c.revoked {
			return err
		}
	}
	if goes, err := b.goes(&w); err != nil || !goes {
		return err
	}
	if !found {
		p.put(c.json, c.version)
		return nil
	}
	p.going[c.id] = true
	rename := ""
	if s.Notice.Kind == notice.KindDispute && s.Notice.Ref != nil {
		if rename, err = b.disputes(&s, p.going); err != nil {
			return err
		}
	}
	known := func(id string) bool {
		had := p.t.shared[id] || p.shared[id]
		p.shared[id] = true
		return had
	}
	return stix.Objects(s, known, func(o stix.Object) error {
		if strings.HasPrefix(o.ID, "extension-definition--") {
			return nil // its version is no time, and medallion can then give nothing of its collection
		}
		text := bytes.Clone(o.JSON)
		if o.ID != c.id {
			p.put(text, -1)
			return nil
		}
		if rename != "" {
			text = bytes.ReplaceAll(text, []byte(stix.ID(s.RefKind, *s.Notice.Ref)), []byte(rename))
		}
		at, err := time.Parse(time.RFC3339Nano, o.Version)
		p.put(text, at.UnixMilli())
		return err
	})
}

// put adds an object; version (ms) is that of a notice's own, -1 of another.
func (p *parcel) put(object []byte, version int64) {
	if version >= 0 {
		p.own[len(p.objects)] = version
	}
	p.objects = append(p.objects, object)
}

// disputes makes a dispute of a notice one that the service understands: of the object
// that it gave (rename is its id), of one that it was given, or else of the value.
func (b *bridge) disputes(s *intel.Stated, going map[string]bool) (rename string, err error) {
	target, found, err := b.n.store.Record(*s.Notice.Ref)
	if err != nil {
		return "", err
	}
	if found && target.Notice.Origin != nil && strings.Contains(target.Notice.Origin.ID, "--") {
		version, has, err := b.has(target.Notice.Origin.ID)
		if err != nil || has && version > 0 {
			return target.Notice.Origin.ID, err
		}
	}
	about := stix.ID(s.RefKind, *s.Notice.Ref)
	if going[about] {
		return "", nil
	}
	version, has, err := b.has(about)
	if err != nil || has && version > 0 {
		return "", err
	}
	if _, has, err = b.pushed(about); err != nil || has {
		return "", err
	}
	if s.RefValue != nil {
		n := *s.Notice
		n.Ref, n.Indicator = nil, s.RefValue
		s.Notice, s.RefKind, s.RefValue = &n, 0, nil
	}
	return "", nil
}
