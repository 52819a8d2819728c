package mesh

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
)

// Bounds of the trust records that gossip carries. Sync brings the rest.
const (
	// What a node says of its own accord. A region admits hospitals one by one;
	// when it admits a thousand, everybody who learns of them would say so, and 16
	// under seven signatures are 450 KB: a minute of a 64 kbit/s line.
	spreadBurst   = 16
	spreadEvery   = time.Minute
	pressingBurst = 128 // revocations, charters, fork proofs, proposals and approvals: what must not wait
	pressingEvery = time.Second

	// What a peer may bring, relayed ones included: up to seven signatures each.
	spreadPeerBurst = 256
	spreadPeerEvery = 500 * time.Millisecond
	spreadEarly     = 16   // what one that starts a sync session counts for
	spreadAtOnce    = 64   // that wait to be verified, one after the other
	spreadLeft      = 1024 // that are remembered when a peer had brought too many

	spreadWait    = time.Second // at most, before a record that a relayed one completed is said
	spreadCarries = 4           // sync sessions at once, of the half of sessionsMax
)

// spread carries trust records as gossip: each that is new to the roster, however
// it came, is said once in the topic of those who may see it. It follows the
// roster itself, so no way of adding records can forget it.
type spread struct {
	m         *Mesh
	verifying chan struct{}                // one for each record of a peer that waits
	paces     paces                        // of what peers bring
	left      *lru.Cache[string, struct{}] // messages that were not looked at, since their bringer had brought too many
	carry     chan struct{}                // there is one that has no place in gossip
	bulk      *rate.Limiter                // of what this node says
	pressing  *rate.Limiter

	adding chan struct{} // held while a record of a peer is added: what has changed then is of that record

	mu      sync.Mutex
	changed <-chan struct{}
	known   map[crypto.Hash]bool // ids of the roster's records when it was last looked at
	waiting map[crypto.Hash]bool // sums of records that are said in a moment, unless a peer is faster
}

func newSpread(m *Mesh) (*spread, error) {
	s := &spread{
		m: m, verifying: make(chan struct{}, spreadAtOnce), carry: make(chan struct{}, 1),
		bulk: rate.NewLimiter(rate.Every(spreadEvery), spreadBurst), pressing: rate.NewLimiter(rate.Every(pressingEvery), pressingBurst),
		adding: make(chan struct{}, 1), waiting: map[crypto.Hash]bool{},
	}
	var err error
	if s.paces, err = newPaces(spreadPeerEvery, spreadPeerBurst); err != nil {
		return nil, err
	}
	if s.left, err = lru.New[string, struct{}](spreadLeft); err != nil {
		return nil, err
	}
	s.fresh() // what is known now is no news
	return s, nil
}

// follow says what is new in the roster.
func (s *spread) follow() {
	for {
		changed := s.m.c.Roster.Changed()
		s.adding <- struct{}{}
		news := s.fresh()
		<-s.adding
		s.say(news)
		select {
		case <-s.m.ctx.Done():
			return
		case <-changed:
		}
	}
}

// fresh returns the records that the roster did not hold when this was last
// asked, pressing ones first.
func (s *spread) fresh() (news []trust.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.changed:
	default:
		if s.changed != nil {
			return nil
		}
	}
	roster := s.m.c.Roster
	s.changed = roster.Changed() // before the ids: what comes meanwhile is looked for again
	ids := roster.IDs()
	known := make(map[crypto.Hash]bool, len(ids))
	for _, id := range ids {
		known[id] = true
		if s.known == nil || s.known[id] {
			continue
		}
		if r, ok := roster.Find(id); ok {
			news = append(news, r)
		}
	}
	s.known = known
	slices.SortStableFunc(news, func(a, b trust.Record) int {
		switch {
		case a.Kind.Pressing() == b.Kind.Pressing():
			return 0
		case a.Kind.Pressing():
			return -1
		}
		return 1
	})
	return news
}

// say publishes records to those who may see them.
func (s *spread) say(news []trust.Record) {
	for _, r := range news {
		t, known := s.topic(r)
		switch {
		case !known:
		case len(r.Raw) > GossipMax, t == nil && (r.Kind.Pressing() || r.Kind == trust.KindEndorsements):
			select {
			case s.carry <- struct{}{}:
			default: // one that has not begun yet brings this one too
			}
		case t == nil || !s.budget(r.Kind).Allow():
			s.m.metrics.trust("left")
		default:
			if err := t.topic.Publish(s.m.ctx, r.Raw); err != nil {
				s.m.log.Debug("gossip a trust record", slog.Any("err", err))
				continue
			}
			s.m.metrics.trust("said")
		}
	}
}

func (s *spread) budget(k trust.Kind) *rate.Limiter {
	if k.Pressing() || k.Undecided() { // few, and people wait for them
		return s.pressing
	}
	return s.bulk
}

// topic returns where a record is said: who hears a region's community topic is
// shown its records (trust.View), and what is still being decided stays among its
// members. It is nil for a region that does not hear this one yet; known is false
// for what is not spread at all.
func (s *spread) topic(r trust.Record) (t *topic, known bool) {
	audience, known := r.Kind.Audience()
	if !known || audience == crypto.AudienceRegion && r.Region != s.m.c.Roster.Region() {
		return nil, false
	}
	return s.m.topics.of(scope{r.Region, audience}), true
}

// carrying brings records that have no place in gossip to the connected peers by
// sync, which shows each what it may see. Whoever learns of them does the same,
// so that most sessions find both sides equal.
func (s *spread) carrying() {
	slots := make(chan struct{}, spreadCarries)
	for {
		select {
		case <-s.m.ctx.Done():
			return
		case <-s.carry:
		}
		peers := s.m.connected()
		rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
		for _, id := range peers {
			select {
			case <-s.m.ctx.Done():
				return
			case slots <- struct{}{}:
			}
			s.m.wait.Go(func() {
				defer func() { <-slots }()
				if err := s.m.syncSoon(id); err != nil && s.m.ctx.Err() == nil {
					s.m.log.Debug("bring a trust record", slog.String("peer", id.String()), slog.Any("err", err))
				}
			})
		}
	}
}

// validate takes a trust record that gossip brought, and relays it if it is new
// and good.
func (s *spread) validate(t *topic, message *pubsub.Message, from peer.ID) pubsub.ValidationResult {
	if !s.may(from, 1) || !s.enter() {
		// Gossip asks about a message once: who has brought too many would keep the
		// others from bringing it.
		s.left.Add(messageID(message.Message), struct{}{})
		s.m.metrics.trust("left")
		return pubsub.ValidationIgnore
	}
	defer s.leave()
	news, err := s.take(t, message.Data, from)
	switch {
	case err != nil && s.judge(err, message.Data, from):
		s.m.remember(message, from, err)
		return pubsub.ValidationReject
	case err != nil || !news:
		return pubsub.ValidationIgnore
	case len(s.m.c.Listen) == 0:
		return relayIn(t)
	}
	return pubsub.ValidationAccept
}

// take adds a record that came in a topic, and reports whether it is to be relayed.
func (s *spread) take(t *topic, raw []byte, from peer.ID) (bool, error) {
	kind, _ := trust.KindOf(raw)
	if audience, known := kind.Audience(); known && audience != t.audience {
		return false, &Refusal{Reason: "audience", Err: errors.New("a trust record in the topic of another audience")}
	}
	news, err := s.add(raw)
	if err != nil {
		return false, err
	}
	if s.awaited(raw) {
		return true, nil
	}
	if len(news) == 0 {
		s.m.metrics.trust("known")
		return false, nil
	}
	s.m.metrics.trust("accepted")
	s.m.useful(from)
	// The last approval of a proposal is not kept: then all that is new was completed by it.
	own := slices.IndexFunc(news, func(r trust.Record) bool { return bytes.Equal(r.Raw, raw) })
	if own < 0 && len(news) == 1 && news[0].Kind == kind { // kept under other signatures
		own = 0
	}
	if own >= 0 && news[own].Region != t.region {
		err = &Refusal{Reason: "region", Err: errors.New("a trust record in the topic of another region")}
	}
	if own >= 0 {
		news = slices.Delete(news, own, own+1)
	}
	s.complete(news)
	return err == nil, err
}

// judge counts why a record was not taken, asks for what it stands on, and reports
// whether its sender is to blame.
func (s *spread) judge(err error, raw []byte, from peer.ID) (blame bool) {
	if !early(err) {
		return s.m.judge(err, raw, from)
	}
	s.m.metrics.trust("early")
	if s.may(from, spreadEarly) {
		s.m.askFor(from)
	}
	return false
}

// add takes a record of a peer, and returns what is new by it: itself, and what
// it completed.
func (s *spread) add(raw []byte) ([]trust.Record, error) {
	s.adding <- struct{}{}
	defer func() { <-s.adding }()
	s.say(s.fresh()) // what had changed before
	err := s.m.c.Path.AddTrust(s.m.ctx, [][]byte{raw})
	return s.fresh(), err
}

// complete says in a moment what a relayed record has completed, as the last
// approval of a proposal does. It did so everywhere at once, and whoever approved
// has said it already.
func (s *spread) complete(news []trust.Record) {
	if len(news) == 0 {
		return
	}
	s.mu.Lock()
	for _, r := range news {
		s.waiting[sha256.Sum256(r.Raw)] = true
	}
	s.mu.Unlock()
	s.m.begin(func() {
		select {
		case <-s.m.ctx.Done():
			return
		case <-time.After(rand.N(spreadWait)):
		}
		s.say(slices.DeleteFunc(news, func(r trust.Record) bool { return !s.awaited(r.Raw) }))
	})
}

// awaited reports whether a record is said in a moment, and is told that this is
// no longer needed.
func (s *spread) awaited(raw []byte) bool {
	sum := crypto.Hash(sha256.Sum256(raw))
	s.mu.Lock()
	defer s.mu.Unlock()
	defer delete(s.waiting, sum)
	return s.waiting[sum]
}

// repeated is told of a message that a peer sent again. One that was not looked
// at, because another had brought too many, is looked at now.
func (s *spread) repeated(message *pubsub.Message) {
	id, from := messageID(message.Message), message.ReceivedFrom
	if !s.left.Contains(id) || !s.may(from, 1) || !s.enter() {
		return
	}
	s.left.Remove(id)
	s.m.begin(func() {
		defer s.leave()
		news, err := s.add(message.Data)
		if err != nil {
			s.judge(err, message.Data, from)
		}
		s.say(news)
	})
}

// may charges a peer for a record.
func (s *spread) may(from peer.ID, n int) bool { return s.paces.may(from, n) }

// paces bound what each peer may bring.
type paces struct {
	of    *lru.Cache[peer.ID, *rate.Limiter]
	every time.Duration
	burst int
}

func newPaces(every time.Duration, burst int) (paces, error) {
	of, err := lru.New[peer.ID, *rate.Limiter](linksMax)
	return paces{of, every, burst}, err
}

func (p paces) may(from peer.ID, n int) bool {
	pace, known := p.of.Get(from)
	if !known {
		fresh := rate.NewLimiter(rate.Every(p.every), p.burst)
		if pace, known, _ = p.of.PeekOrAdd(from, fresh); !known {
			pace = fresh
		}
	}
	return pace.AllowN(time.Now(), n)
}

func (s *spread) enter() bool {
	select {
	case s.verifying <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *spread) leave() { <-s.verifying }

// early reports whether a record may be good once others are known.
func early(err error) bool {
	return errors.Is(err, trust.ErrRegion) || errors.Is(err, trust.ErrCharterMissing) || errors.Is(err, trust.ErrAuthorMissing) ||
		errors.Is(err, trust.ErrProposalMissing)
}
