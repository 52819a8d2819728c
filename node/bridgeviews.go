package node

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/config"
)

// Values of api.BridgeView.State.
const (
	bridgeStarting = "starting"
	bridgeGood     = "good"
	bridgeFails    = "fails"
)

func (b *bridge) view() api.BridgeView {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := api.BridgeView{
		Name: b.c.Name, Kind: b.c.Kind, URL: b.c.URL, Pull: b.c.Pull, Share: b.c.Share, Push: b.c.Push, State: bridgeGood,
		Last: api.Time(b.at.Last), Next: api.Time(b.next.UnixMilli()), Taken: b.at.Counts.Taken, Known: b.at.Counts.Known,
		Refused: b.at.Counts.Refused, Pushed: b.at.Counts.Pushed, Failed: b.at.Counts.Failed,
		TookMS: float64(b.took.Microseconds()) / 1000,
	}
	if v.Push == "" {
		v.Push = config.PushNone
	}
	if b.c.Pushes() {
		v.Ceiling = b.c.PushCeiling().String()
	}
	switch {
	case b.at.Down != 0:
		v.State, v.Since, v.Reason = bridgeFails, api.Time(b.at.Down), b.at.Why
	case b.at.Last == 0:
		v.State = bridgeStarting
	}
	return v
}

func (b *bridge) detail() api.BridgeDetail {
	d := api.BridgeDetail{
		BridgeView: b.view(), Collection: b.c.Collection, PushCollection: b.c.PushCollection, Marking: b.c.Marking,
		Every: b.c.Interval().String(), Reasons: []api.BridgeReason{},
	}
	s := b.state()
	d.Waiting = len(s.Late)
	for i := len(s.Reasons) - 1; i >= 0; i-- {
		r := s.Reasons[i]
		d.Reasons = append(d.Reasons, api.BridgeReason{Reason: r.Text, ID: r.ID, Push: r.Push, Count: r.Count, Last: api.Time(r.Last)})
	}
	return d
}

// bridgeWarnings has a line for each bridge that does not reach its service.
func (n *Node) bridgeWarnings() (all []string) {
	if n.bridges == nil {
		return nil
	}
	for _, b := range n.bridges.all {
		v := b.view()
		if v.State != bridgeFails {
			continue
		}
		since := v.Since
		if v.Last != 0 {
			since = v.Last
		}
		all = append(all, fmt.Sprintf("bridge %s: not reached since %s, next try %s: %s", v.Name, clockText(since), clockText(v.Next), v.Reason))
	}
	return all
}

func clockText(t api.Time) string { return time.UnixMilli(int64(t)).UTC().Format("2 Jan 15:04 UTC") }

// bridgeFigures tell Prometheus what bridges do.
type bridgeFigures struct{ x *bridges }

var (
	bridgeObjects = prometheus.NewDesc("watchward_bridge_objects_total", "What became of what a bridge read and pushed.", []string{"bridge", "result"}, nil)
	bridgeLast    = prometheus.NewDesc("watchward_bridge_last_success_timestamp_seconds", "When a bridge last did all that it had to; 0 = never.", []string{"bridge"}, nil)
	bridgeTook    = prometheus.NewDesc("watchward_bridge_round_seconds", "How long the last round of a bridge took.", []string{"bridge"}, nil)
	bridgeUp      = prometheus.NewDesc("watchward_bridge_up", "Whether a bridge reaches its service.", []string{"bridge"}, nil)
)

func (f bridgeFigures) Describe(ch chan<- *prometheus.Desc) {
	ch <- bridgeObjects
	ch <- bridgeLast
	ch <- bridgeUp
	ch <- bridgeTook
}

func (f bridgeFigures) Collect(ch chan<- prometheus.Metric) {
	for _, b := range f.x.all {
		v := b.view()
		for result, count := range map[string]int64{"taken": v.Taken, "known": v.Known, "refused": v.Refused, "pushed": v.Pushed, "failed": v.Failed} {
			ch <- prometheus.MustNewConstMetric(bridgeObjects, prometheus.CounterValue, float64(count), v.Name, result)
		}
		up := 0.0
		if v.State == bridgeGood {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(bridgeTook, prometheus.GaugeValue, v.TookMS/1000, v.Name)
		ch <- prometheus.MustNewConstMetric(bridgeUp, prometheus.GaugeValue, up, v.Name)
		ch <- prometheus.MustNewConstMetric(bridgeLast, prometheus.GaugeValue, float64(v.Last)/1000, v.Name)
	}
}
