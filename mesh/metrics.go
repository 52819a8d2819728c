package mesh

import (
	"errors"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	registerer prometheus.Registerer
	all        []prometheus.Collector
	envelopes  *prometheus.CounterVec
	refused    *prometheus.CounterVec
	records    *prometheus.CounterVec
	sessions   *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	bulk       *prometheus.CounterVec
}

func newMetrics(m *Mesh, r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	x := &metrics{
		registerer: r,
		envelopes:  counter("watchward_envelopes_total", "Foreign envelopes, by what became of them.", "result"),
		refused:    counter("watchward_rejected_total", "What no honest peer sends, by reason.", "reason"),
		records:    counter("watchward_trust_records_total", "Trust records of gossip, by what became of them.", "result"),
		sessions:   counter("watchward_sync_sessions_total", "Sync sessions, by how they ended.", "result"),
		bytes:      counter("watchward_sync_bytes_total", "Bytes of sync streams.", "direction"),
		bulk:       counter("watchward_bulk_bytes_total", "Bytes of the streams that carry what is large for others, such as documents.", "protocol", "direction"),
	}
	peers := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "watchward_mesh_peers", Help: "Members connected now."},
		func() float64 { return float64(len(m.connected())) })
	clocks := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "watchward_mesh_clocks_off", Help: "Members met since the start whose clock was far off when they were last heard."},
		func() float64 { return float64(m.clocksOff()) })
	x.all = []prometheus.Collector{x.envelopes, x.refused, x.records, x.sessions, x.bytes, x.bulk, peers, clocks}
	if r == nil {
		return x, nil
	}
	var errs []error
	for _, c := range x.all {
		errs = append(errs, r.Register(c))
	}
	return x, errors.Join(errs...)
}

func (x *metrics) unregister() {
	if x.registerer == nil {
		return
	}
	for _, c := range x.all {
		x.registerer.Unregister(c)
	}
}

func (x *metrics) result(word string)         { x.envelopes.WithLabelValues(word).Inc() }
func (x *metrics) results(word string, n int) { x.envelopes.WithLabelValues(word).Add(float64(n)) }
func (x *metrics) rejected(reason string)     { x.refused.WithLabelValues(reason).Inc() }
func (x *metrics) trust(word string)          { x.records.WithLabelValues(word).Inc() }
func (x *metrics) session(word string)        { x.sessions.WithLabelValues(word).Inc() }
func (x *metrics) transferred(in, out int64) {
	x.bytes.WithLabelValues("in").Add(float64(in))
	x.bytes.WithLabelValues("out").Add(float64(out))
}

func (x *metrics) carried(protocol, direction string, n int) {
	x.bulk.WithLabelValues(protocol, direction).Add(float64(n))
}

// tracer counts what gossip drops before or after validation, and names who
// sends a copy of what was refused: gossip drops it without asking again.
type tracer struct{ m *Mesh }

func (t tracer) RejectMessage(_ *pubsub.Message, reason string) {
	switch reason {
	case pubsub.RejectValidationQueueFull, pubsub.RejectValidationThrottled:
		t.m.metrics.result("dropped")
	}
}
func (t tracer) UndeliverableMessage(*pubsub.Message) { t.m.metrics.result("dropped") }
func (t tracer) DropRPC(*pubsub.RPC, peer.ID)         { t.m.metrics.result("dropped_outbound") }
func (t tracer) DuplicateMessage(message *pubsub.Message) {
	t.m.metrics.result("repeated")
	t.m.refusedAgain(message)
	t.m.spread.repeated(message)
}

func (tracer) OnNewOutboundStream(peer.ID, protocol.ID)             {}
func (tracer) OnClosedOutboundStream(peer.ID)                       {}
func (tracer) SendRPCCompleted(*pubsub.RPC, peer.ID, time.Duration) {}
func (tracer) Join(string)                                          {}
func (tracer) Leave(string)                                         {}
func (tracer) Graft(peer.ID, string)                                {}
func (tracer) Prune(peer.ID, string)                                {}
func (tracer) ValidateMessage(*pubsub.Message)                      {}
func (tracer) DeliverMessage(*pubsub.Message)                       {}
func (tracer) ThrottlePeer(peer.ID)                                 {}
func (tracer) RecvRPC(*pubsub.RPC)                                  {}
func (tracer) SendRPC(*pubsub.RPC, peer.ID)                         {}
