package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

type metrics struct {
	notices  *prometheus.CounterVec
	delivery prometheus.Histogram
	skew     prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		notices: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "watchward_notices_total",
			Help: "Notices, by kind and by what became of them."}, []string{"kind", "result"}),
		delivery: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "watchward_delivery_seconds",
			Help:    "From an author's clock to this node's store, of foreign envelopes.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 600, 3600}}),
		skew: prometheus.NewGauge(prometheus.GaugeOpts{Name: "watchward_clock_skew_seconds",
			Help: "How far the median of the members' clocks is ahead of this node's."}),
	}
	r.MustRegister(m.notices, m.delivery, m.skew)
	return m
}

func (m *metrics) submitted(kind notice.Kind, known bool) {
	result := "submitted"
	if known {
		result = "known"
	}
	m.notices.WithLabelValues(kind.String(), result).Inc()
}

// admitted counts an envelope that is durable now.
func (m *metrics) admitted(e store.Entry, own bool, now int64) {
	if !own {
		m.delivery.Observe(float64(now-e.Envelope.Header.Time) / 1000)
	}
	result := "received"
	if own {
		result = "signed"
	}
	for _, item := range e.Items {
		if item.Notice != nil {
			m.notices.WithLabelValues(item.Notice.Kind.String(), result).Inc()
		} else {
			m.notices.WithLabelValues("unknown", "refused").Inc()
		}
	}
}
