package ledger

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	registerer prometheus.Registerer
	all        []prometheus.Collector
	commit     prometheus.Histogram
}

func newMetrics(l *Ledger, r prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	m := &metrics{registerer: r, commit: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "watchward_ledger_commit_seconds", Help: "From packing entries to their being committed and applied, at the leader.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
	})}
	m.all = []prometheus.Collector{
		m.commit,
		gauge("watchward_ledger_size", "Entries of the newest epoch that are here.", func() float64 {
			if e := l.current(); e != nil {
				return float64(e.tree.Size())
			}
			return 0
		}),
		gauge("watchward_ledger_epoch", "Number of the newest epoch, 0: the charter names no ledger.", func() float64 {
			if e := l.current(); e != nil {
				return float64(e.number)
			}
			return 0
		}),
		gauge("watchward_ledger_term", "Raft's term, 0 where this node does not vote.", func() float64 { return float64(l.term()) }),
		gauge("watchward_ledger_leader", "1 while this node leads.", func() float64 {
			if l.Leads() {
				return 1
			}
			return 0
		}),
		gauge("watchward_ledger_no_quorum_since_seconds", "When this voter lost the ledger's leader, in seconds since 1970; 0: it has one.", func() float64 {
			if at := l.noQuorumSince(); !at.IsZero() {
				return float64(at.UnixMilli()) / 1000
			}
			return 0
		}),
	}
	if r == nil {
		return m, nil
	}
	var errs []error
	for _, c := range m.all {
		errs = append(errs, r.Register(c))
	}
	return m, errors.Join(errs...)
}

func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.all {
		m.registerer.Unregister(c)
	}
}
