package mesh

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
)

// Bounds of gossip.
const (
	validateQueue = 1024
	outboundQueue = 512
	subscription  = 1024 // checked envelopes that wait to be admitted
	refusedMax    = 4096 // refused messages that are remembered, with who sent them
	messageIDSize = 20
	graftTime     = 3 * time.Second // heartbeats graft once a second
	relayWait     = 100 * time.Millisecond
	seenTTL       = 12 * time.Minute // longer than the clock window, else messages loop (pubsub#573)
)

// arrived is an envelope that gossip brought.
type arrived struct {
	checked *Checked
	from    peer.ID
}

// newRouter makes the node's GossipSub. Which topics it joins follows the roster.
func (m *Mesh) newRouter() (*pubsub.PubSub, error) {
	return pubsub.NewGossipSub(m.ctx, m.host,
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), // envelopes are signed by their authors
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithMaxMessageSize(GossipMax+4<<10),
		pubsub.WithSubscriptionFilter(m.topics),
		pubsub.WithPeerFilter(m.topics.mayHear),
		pubsub.WithGossipSubProtocols([]protocol.ID{pubsub.GossipSubID_v12, pubsub.GossipSubID_v11}, pubsub.GossipSubDefaultFeatures),
		pubsub.WithLogger(slog.New(slog.DiscardHandler)),    // what matters is counted and logged here
		pubsub.WithRPCLogger(slog.New(slog.DiscardHandler)), // it would write what messages say
		pubsub.WithGossipSubParams(m.degree()),
		pubsub.WithFloodPublish(true),
		pubsub.WithSeenMessagesTTL(seenTTL),
		pubsub.WithValidateQueueSize(validateQueue),
		pubsub.WithValidateThrottle(validateQueue),
		pubsub.WithValidateWorkers(runtime.GOMAXPROCS(0)),
		pubsub.WithPeerOutboundQueueSize(outboundQueue),
		pubsub.WithPeerScore(m.scoring(), &pubsub.PeerScoreThresholds{
			GossipThreshold: -500, PublishThreshold: -1000, GraylistThreshold: -2500, AcceptPXThreshold: 1000, OpportunisticGraftThreshold: 5,
		}),
		pubsub.WithRawTracer(tracer{m}),
	)
}

// welcome announces the youngest envelopes to each peer that joins a topic:
// gossip does not bring what was said before, and sync compares only what has
// settled. It does so again after graftTime, since until the next heartbeat has
// grafted the peer only the author's own connections bring it anything; what of
// the trust records has changed meanwhile is compared then.
func (m *Mesh) welcome(t *topic, joined *pubsub.TopicEventHandler) {
	defer joined.Cancel()
	for {
		e, err := joined.NextPeerEvent(t.ctx)
		if err != nil {
			return
		}
		if e.Type == pubsub.PeerJoin && m.mayHear(e.Peer, t.region, t.audience) {
			m.wait.Go(func() {
				m.direct.catchUp(e.Peer, t.region, t.audience)
				root := m.c.Roster.Root()
				select {
				case <-m.ctx.Done():
					return
				case <-time.After(graftTime):
				}
				m.direct.catchUp(e.Peer, t.region, t.audience)
				if t.audience == crypto.AudienceCommunity && t.region == m.regionOf(e.Peer) && m.c.Roster.Root() != root {
					m.askFor(e.Peer)
				}
			})
		}
	}
}

// reunitePatience is how long a connection that was made or lost may take to
// settle. A peer that has not learned yet which other regions are heard here is
// in none of their topics; it gets longer, and is not disturbed more often.
const (
	reunitePatience = time.Second
	reuniteAbroad   = time.Minute
)

// reunite mends what a change of connections to a peer may have torn. Pubsub has
// one stream each way, not always on the same connection. What was on its way on
// one that ended is lost; and this side then forgets the peer's subscriptions,
// which the peer, whose stream lives on, does not send again. pubsub's events do
// not show it: a leave and a join in quick succession cancel each other.
func (m *Mesh) reunite(id peer.ID) {
	for again := true; again; {
		timer := time.NewTimer(reunitePatience)
		select {
		case <-m.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if m.host.Network().Connectedness(id) != network.Connected {
			return
		}
		torn := false
		torn, again = m.torn(id)
		if torn { // only a new connection brings both to say it again
			m.log.Info("connected and not in every topic: connect again", slog.String("peer", id.String()))
			_ = m.host.Network().ClosePeer(id)
			m.nudge()
			return
		}
	}
	for _, t := range m.topics.all() {
		if m.mayHear(id, t.region, t.audience) {
			m.direct.catchUp(id, t.region, t.audience)
		}
	}
}

// torn reports whether a peer is missing in a topic that it may hear, or that it
// has to be asked again, since a session may just be telling it of a region.
func (m *Mesh) torn(id peer.ID) (torn, again bool) {
	for _, t := range m.topics.all() {
		if !m.mayHear(id, t.region, t.audience) || slices.Contains(t.topic.ListPeers(), id) {
			continue
		}
		if m.regionOf(id) == t.region && t.region == m.c.Roster.Region() {
			return true, false
		}
		if m.comparing(id) {
			again = true
			continue
		}
		m.mu.Lock()
		due := time.Since(m.reunited[id]) > reuniteAbroad
		if due {
			m.reunited[id] = time.Now()
		}
		m.mu.Unlock()
		if due {
			return true, false
		}
	}
	return false, again
}

// messageID is over the topic and the whole message. pubsub marks an id seen
// before it validates: an id over the signed part alone would let any relay
// censor an envelope by sending it first under a broken signature, and one
// without the topic by sending it first in another topic.
func messageID(message *pb.Message) string {
	h := sha256.New()
	h.Write([]byte(message.GetTopic()))
	h.Write([]byte{0})
	h.Write(message.Data)
	return string(h.Sum(nil)[:messageIDSize])
}

// degree is how many peers a node gossips with. A hub carries its spokes'
// traffic; a spoke only its own.
func (m *Mesh) degree() pubsub.GossipSubParams {
	p := pubsub.DefaultGossipSubParams()
	p.HeartbeatInitialDelay = 50 * time.Millisecond // a region is ready in seconds
	p.Dhi = 8                                       // not 12: a quarter fewer duplicates at the same p99 (testnet/sim)
	switch {
	case m.c.Hub:
		p.D, p.Dlo, p.Dhi, p.Dout = 96, 64, 160, 2
	case len(m.c.Listen) == 0: // more make no word faster and many duplicates (testnet/sim)
		p.D, p.Dlo, p.Dhi, p.Dout = 5, 4, 7, 1
	}
	return p
}

// scoring punishes what is provably bad (P4, P7) and nothing that sparse
// traffic would look like (P3).
func (m *Mesh) scoring() *pubsub.PeerScoreParams {
	return &pubsub.PeerScoreParams{
		Topics: map[string]*pubsub.TopicScoreParams{}, TopicScoreCap: 50,
		AppSpecificScore: func(id peer.ID) float64 {
			if m.gate.member(id) {
				return 0
			}
			return -10_000
		},
		AppSpecificWeight:      1,
		BehaviourPenaltyWeight: -10, BehaviourPenaltyThreshold: 6, BehaviourPenaltyDecay: 0.9,
		DecayInterval: time.Second, DecayToZero: 0.01, RetainScore: 30 * time.Minute,
	}
}

func topicScore() *pubsub.TopicScoreParams {
	return &pubsub.TopicScoreParams{
		TopicWeight:      1,
		TimeInMeshWeight: 0.01, TimeInMeshQuantum: time.Second, TimeInMeshCap: 300,
		FirstMessageDeliveriesWeight: 0.1, FirstMessageDeliveriesDecay: 0.9, FirstMessageDeliveriesCap: 100,
		InvalidMessageDeliveriesWeight: -100, InvalidMessageDeliveriesDecay: 0.999,
	}
}

// validator runs the accept order before anything is relayed.
func (m *Mesh) validator(t *topic) pubsub.ValidatorEx {
	return func(_ context.Context, from peer.ID, message *pubsub.Message) pubsub.ValidationResult {
		if from == m.self { // admitted before it was published
			return pubsub.ValidationAccept
		}
		if _, record := trust.KindOf(message.Data); record {
			return m.spread.validate(t, message, from)
		}
		checked, err := m.c.Path.Check(message.Data, ViaGossip, t.region, t.audience)
		if err == nil && checked.Muted { // kept, and not relayed
			m.metrics.result("muted")
			select {
			case t.incoming <- arrived{checked, from}:
			default: // sync brings it
			}
			return pubsub.ValidationIgnore
		}
		if err == nil && len(m.c.Listen) == 0 {
			return m.relayLater(t, arrived{checked, from})
		}
		if err == nil {
			message.ValidatorData = checked
			return pubsub.ValidationAccept
		}
		if m.judge(err, message.Data, from) {
			m.remember(message, from, err)
			return pubsub.ValidationReject
		}
		return pubsub.ValidationIgnore
	}
}

// relayLater admits an envelope and lets gossip relay it a moment later. Hubs hear
// of it from one another as soon as from a spoke, and say meanwhile that they do
// not want it again: nearly half of all duplicates came from spokes. Where hubs do
// not reach one another it is still the spokes that carry it between them.
func (m *Mesh) relayLater(t *topic, a arrived) pubsub.ValidationResult {
	select {
	case t.incoming <- a:
	case <-t.ctx.Done():
		return pubsub.ValidationIgnore
	}
	return relayIn(t)
}

func relayIn(t *topic) pubsub.ValidationResult {
	select {
	case <-time.After(relayWait):
		return pubsub.ValidationAccept
	case <-t.ctx.Done():
		return pubsub.ValidationIgnore
	}
}

// copied is a refused message and one of those who sent it; "" stands for the
// message itself.
type copied struct {
	id   string
	from peer.ID
}

// remember notes a message that was refused, and that who sent it is named.
func (m *Mesh) remember(message *pubsub.Message, from peer.ID, err error) {
	id := messageID(message.Message)
	m.refused.Add(copied{id: id}, err)
	m.refused.Add(copied{id, from}, err)
}

// refusedAgain names who sends a copy of a message that was refused, once: it is
// as much to blame as who was faster.
func (m *Mesh) refusedAgain(message *pubsub.Message) {
	id := messageID(message.Message)
	err, refused := m.refused.Get(copied{id: id})
	if !refused {
		return
	}
	if named, _ := m.refused.ContainsOrAdd(copied{id, message.ReceivedFrom}, err); !named {
		m.judge(err, message.Data, message.ReceivedFrom)
	}
}

// judge counts why an envelope or a trust record was not taken, parks one of an unknown author,
// and reports whether its sender is to blame.
func (m *Mesh) judge(err error, raw []byte, from peer.ID) (blame bool) {
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		m.metrics.rejected(refusal.Reason)
		what := "envelope refused"
		switch refusal.Reason {
		case "trust":
			what = "trust record refused"
		case "note":
			what = "note refused"
		}
		m.log.Warn(what, slog.String("peer", from.String()), slog.String("reason", refusal.Reason), slog.Any("err", refusal.Err))
		return refusal.provable()
	case errors.Is(err, ErrUnknownAuthor):
		m.park(raw, from)
		m.metrics.result("parked")
	case errors.Is(err, ErrDuplicate):
		m.metrics.result("duplicate")
	case errors.Is(err, ErrStale):
		m.metrics.result("stale")
	case errors.Is(err, ErrHeld):
		m.metrics.result("held")
	default:
		m.log.Error("check what gossip brought", slog.Any("err", err))
	}
	return false
}

// receive admits what gossip brings, as much at once as is waiting.
func (m *Mesh) receive(t *topic) {
	t.work.Go(func() {
		for {
			message, err := t.sub.Next(t.ctx)
			if err != nil {
				return
			}
			if message.ValidatorData == nil { // our own, admitted already, or a trust record
				continue
			}
			select {
			case t.incoming <- arrived{message.ValidatorData.(*Checked), message.ReceivedFrom}:
			case <-t.ctx.Done():
				return
			}
		}
	})
	for {
		var first arrived
		select {
		case first = <-t.incoming:
		case <-t.ctx.Done():
			return
		}
		batch, from, size := []*Checked{first.checked}, []peer.ID{first.from}, len(first.checked.Envelope.Raw)
	more:
		for len(batch) < admitMax && size < admitBytes {
			select {
			case next := <-t.incoming:
				batch, from = append(batch, next.checked), append(from, next.from)
				size += len(next.checked.Envelope.Raw)
			default:
				break more
			}
		}
		m.admit(batch, from)
	}
}

// admit hands a batch to the path and sends on what travels by other ways.
// from has the sender of each.
func (m *Mesh) admit(batch []*Checked, from []peer.ID) {
	if err := m.c.Path.Admit(m.ctx, batch); err != nil {
		if m.ctx.Err() == nil {
			m.log.Error("admit", slog.Int("envelopes", len(batch)), slog.Any("err", err))
		}
		return
	}
	m.metrics.results("accepted", len(batch))
	for i, c := range batch {
		m.useful(from[i])
		m.forward([]*Checked{c}, from[i])
		m.direct.gap(c, from[i])
	}
}
