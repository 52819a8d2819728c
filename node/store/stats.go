package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// Stats are the figures of a status page.
type Stats struct {
	Notices    uint64 // items by id, until they are deleted
	Indicators uint64 // values with evidence
	Envelopes  uint64
	Waiting    uint64                    // items in the outbox
	Last       uint64                    // last local number
	DiskBytes  int64                     // what the files take up
	Free       uint64                    // bytes left on the disk, the reserve included
	Heard      map[crypto.MemberID]int64 // as Store.Heard

	meta meta
}

// Within returns how many of the notices may be shown under a ceiling.
func (s *Stats) Within(ceiling notice.TLP) uint64 { return s.meta.within(ceiling) }

// Stats looks at every file of the store; call it when somebody asks. It counts all
// that a reader could see when it was called.
func (s *Store) Stats() (Stats, error) {
	m, err := s.counted()
	if err != nil {
		return Stats{}, fmt.Errorf("stats: %w", err)
	}
	out := Stats{
		Notices: m.within(0), Indicators: m.indicators, Envelopes: m.envelopes, Waiting: m.waiting, Last: m.local,
		Heard: s.Heard(), meta: m,
	}
	if s.o.InMemory {
		return out, nil
	}
	err = filepath.WalkDir(s.o.Dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err == nil {
			out.DiskBytes += sizeOnDisk(info)
		}
		return ignoreGone(err)
	})
	if err != nil {
		return out, err
	}
	out.Free, err = s.free(s.o.Dir)
	return out, err
}

// Heard returns when the last envelope of each author came (ms). It needs no disk.
func (s *Store) Heard() map[crypto.MemberID]int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make(map[crypto.MemberID]int64, len(s.members))
	for id, c := range s.chains {
		out[id.Author] = max(out[id.Author], c.received)
	}
	return out
}

// counted reads the counters of the last commit from the disk: what it wrote is seen
// there a moment before they are in memory.
func (s *Store) counted() (m meta, err error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	_, err = view(txn, []byte{tableMeta}, func(v []byte) (err error) {
		m, err = decodeMeta(v)
		return err
	})
	return m, err
}

// ignoreGone: Badger removes files while we look.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

type metrics struct {
	registerer prometheus.Registerer
	all        []prometheus.Collector
	fsync      prometheus.Histogram
}

func newMetrics(s *Store, r prometheus.Registerer) (*metrics, error) {
	m := &metrics{registerer: r}
	m.fsync = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "watchward_store_fsync_seconds", Help: "Time from a staged batch to its being on disk.",
		Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
	})
	gauge := func(name, help string, value func(*meta) uint64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			s.mu.RLock()
			defer s.mu.RUnlock()
			return float64(value(&s.meta))
		})
	}
	m.all = []prometheus.Collector{
		m.fsync,
		gauge("watchward_store_notices", "Notices held.", func(m *meta) uint64 { return m.within(0) }),
		gauge("watchward_store_indicators", "Values with evidence.", func(m *meta) uint64 { return m.indicators }),
		gauge("watchward_store_envelopes", "Envelopes held.", func(m *meta) uint64 { return m.envelopes }),
		gauge("watchward_store_waiting", "Own notices that wait to be signed.", func(m *meta) uint64 { return m.waiting }),
	}
	if r == nil {
		return m, nil
	}
	for i, c := range m.all {
		if err := r.Register(c); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) committed(d time.Duration) { m.fsync.Observe(d.Seconds()) }

func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.all {
		m.registerer.Unregister(c)
	}
}
