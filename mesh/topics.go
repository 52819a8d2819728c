package mesh

import (
	"context"
	"fmt"
	"slices"
	"sync"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/crypto"
)

// A topic is what members of one region say to one audience, or the notes of one.
type topic struct {
	region   crypto.Region
	audience crypto.Audience
	notes    bool // no envelopes: it is relayed, and nobody here reads it
	name     string
	topic    *pubsub.Topic
	sub      *pubsub.Subscription // nil for notes
	end      func()               // the subscription
	incoming chan arrived         // checked, to be admitted

	ctx    context.Context // ends when the topic is left
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// topicName is one topic for each origin region and audience, so that those who
// do not endorse a region never relay for it.
func topicName(s scope) string {
	return fmt.Sprintf("watchward/%d/%s/%s", crypto.Version, s.region, s.audience)
}

// topics are those that a node takes part in: its region's own, and the
// community topic of each region that is mutual with it. They follow the roster.
type topics struct {
	m      *Mesh
	router *pubsub.PubSub

	mu     sync.Mutex
	joined []*topic
	names  map[string]scope
	rights map[peer.ID]right // of peers that have subscribed to anything
}

// A right is what a peer might hear when its subscriptions were last looked at.
// pubsub sends its own words to whoever has subscribed, whatever the peer filter
// says, and a subscription comes once a connection: where the right changes, the
// connection has to be made anew.
type right struct {
	scopes []scope
	denied bool // it subscribed to something else, which may be its right later
}

// subscriptionsMax bounds the topics in one message of a peer.
const subscriptionsMax = 4096

func newTopics(m *Mesh) *topics {
	return &topics{m: m, names: map[string]scope{}, rights: map[peer.ID]right{}}
}

// start joins the topics that the roster names, and follows it from then on.
func (t *topics) start() (err error) {
	if t.router, err = t.m.newRouter(); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	changed := t.m.c.Roster.Changed()
	if err := t.follow(); err != nil {
		return err
	}
	t.m.wait.Go(func() {
		defer func() { // those of the end
			t.mu.Lock()
			rest := slices.Clone(t.joined)
			t.mu.Unlock()
			t.leave(rest)
		}()
		for {
			select {
			case <-t.m.ctx.Done():
				return
			case <-changed:
			}
			changed = t.m.c.Roster.Changed()
			if err := t.follow(); err != nil && t.m.ctx.Err() == nil {
				t.m.log.Error("topics", "err", err)
			}
		}
	})
	return nil
}

// scopes returns what is said to members of this node's region, in an order on
// which both sides of a session agree.
func (m *Mesh) scopes() []scope {
	own := m.c.Roster.Region()
	out := []scope{{own, crypto.AudienceRegion}}
	for _, region := range m.c.Roster.Regions() {
		out = append(out, scope{region, crypto.AudienceCommunity})
	}
	slices.SortFunc(out, compareScopes)
	return out
}

// follow joins and leaves topics as the roster says, and makes connections anew
// whose peers may hear something else now.
func (t *topics) follow() error {
	want := t.m.scopes()
	t.mu.Lock()
	t.names = map[string]scope{}
	for _, s := range want {
		t.names[topicName(s)] = s
		if t.hasNotes(s) {
			t.names[noteTopic(s.region)] = s
		}
	}
	var gone []*topic
	t.joined = slices.DeleteFunc(t.joined, func(j *topic) bool {
		if slices.Contains(want, scope{j.region, j.audience}) {
			return false
		}
		gone = append(gone, j)
		return true
	})
	t.mu.Unlock()
	t.leave(gone)
	for _, s := range want {
		if t.of(s) == nil {
			if err := t.join(s); err != nil {
				return fmt.Errorf("gossip: join %s: %w", topicName(s), err)
			}
		}
		if t.hasNotes(s) && t.notes(s.region) == nil {
			if err := t.joinNotes(s); err != nil {
				return fmt.Errorf("gossip: join %s: %w", noteTopic(s.region), err)
			}
		}
	}
	t.renew()
	return nil
}

// hasNotes reports whether notes go to those of a scope.
func (t *topics) hasNotes(s scope) bool {
	return t.m.c.Notes != nil && s.audience == crypto.AudienceCommunity
}

// enter joins a topic whose validator is given.
func (t *topics) enter(j *topic, check pubsub.ValidatorEx, opts ...pubsub.ValidatorOpt) (err error) {
	j.ctx, j.cancel = context.WithCancel(t.m.ctx)
	if err := t.router.RegisterTopicValidator(j.name, check, opts...); err != nil {
		return err
	}
	if j.topic, err = t.router.Join(j.name); err != nil {
		return err
	}
	return j.topic.SetScoreParams(topicScore())
}

// joinNotes joins the topic of a region's notes.
func (t *topics) joinNotes(s scope) (err error) {
	j := &topic{region: s.region, audience: s.audience, notes: true, name: noteTopic(s.region)}
	if err := t.enter(j, t.m.noteValidator(j), pubsub.WithValidatorConcurrency(notesAtOnce)); err != nil {
		return err
	}
	if j.end, err = j.topic.Relay(); err != nil {
		return err
	}
	t.mu.Lock()
	t.joined = append(t.joined, j)
	t.mu.Unlock()
	return nil
}

func (t *topics) join(s scope) (err error) {
	j := &topic{region: s.region, audience: s.audience, name: topicName(s), incoming: make(chan arrived, admitMax)}
	if err := t.enter(j, t.m.validator(j)); err != nil {
		return err
	}
	if j.sub, err = j.topic.Subscribe(pubsub.WithBufferSize(subscription)); err != nil {
		return err
	}
	j.end = j.sub.Cancel
	events, err := j.topic.EventHandler()
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.joined = append(t.joined, j)
	t.mu.Unlock()
	j.work.Go(func() { t.m.receive(j) })
	j.work.Go(func() { t.m.welcome(j, events) })
	return nil
}

// leave ends topics that are no longer heard.
func (t *topics) leave(gone []*topic) {
	for _, j := range gone {
		j.cancel()
		j.end()
		j.work.Wait()
		if t.m.ctx.Err() != nil {
			continue // the router has ended and takes no more orders
		}
		if err := j.topic.Close(); err != nil {
			t.m.log.Warn("leave topic", "topic", j.name, "err", err)
		}
		_ = t.router.UnregisterTopicValidator(j.name)
	}
}

// renew closes the connections of peers whose rights have changed: they
// subscribe again on the next one.
func (t *topics) renew() {
	t.mu.Lock()
	var changed []peer.ID
	for id, r := range t.rights {
		now := t.may(id)
		lost := slices.ContainsFunc(r.scopes, func(s scope) bool { return !slices.Contains(now, s) })
		if lost || r.denied && len(now) > len(r.scopes) {
			changed = append(changed, id)
			delete(t.rights, id)
		} else {
			t.rights[id] = right{now, r.denied}
		}
	}
	t.mu.Unlock()
	for _, id := range changed {
		_ = t.m.host.Network().ClosePeer(id)
	}
	if len(changed) > 0 {
		t.m.nudge()
	}
}

// may returns what a peer may hear of what is heard here.
func (t *topics) may(id peer.ID) (out []scope) {
	for _, s := range t.names {
		if t.m.mayHear(id, s.region, s.audience) {
			out = append(out, s)
		}
	}
	return out
}

// forget is told that a peer has no connection any more.
func (t *topics) forget(id peer.ID) {
	t.mu.Lock()
	delete(t.rights, id)
	t.mu.Unlock()
}

// all returns the topics of envelopes that are joined now.
func (t *topics) all() []*topic {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(t.joined), func(j *topic) bool { return j.notes })
}

// of returns the topic of a scope, nil if it is not joined.
func (t *topics) of(s scope) *topic { return t.called(topicName(s)) }

// notes returns the topic of a region's notes, nil if it is not joined.
func (t *topics) notes(region crypto.Region) *topic { return t.called(noteTopic(region)) }

func (t *topics) called(name string) *topic {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, j := range t.joined {
		if j.name == name {
			return j
		}
	}
	return nil
}

// mayHear is pubsub's peer filter.
func (t *topics) mayHear(id peer.ID, name string) bool {
	t.mu.Lock()
	s, ok := t.names[name]
	t.mu.Unlock()
	return ok && t.m.mayHear(id, s.region, s.audience)
}

// CanSubscribe implements pubsub.SubscriptionFilter.
func (t *topics) CanSubscribe(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.names[name]
	return ok
}

// FilterIncomingSubscriptions implements pubsub.SubscriptionFilter: a peer is in
// those topics only that it may hear, since pubsub sends this node's own words to
// all that are.
func (t *topics) FilterIncomingSubscriptions(id peer.ID, subs []*pb.RPC_SubOpts) ([]*pb.RPC_SubOpts, error) {
	if len(subs) > subscriptionsMax {
		return nil, pubsub.ErrTooManySubscriptions
	}
	denied := false
	out := pubsub.FilterSubscriptions(subs, func(name string) bool {
		may := t.mayHear(id, name)
		denied = denied || !may
		return may
	})
	t.mu.Lock()
	t.rights[id] = right{t.may(id), denied || t.rights[id].denied}
	t.mu.Unlock()
	return out, nil
}
