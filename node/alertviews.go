package node

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/alert/sink"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// Alerts implements api.Node.
func (n *Node) Alerts(_ context.Context, q api.AlertQuery) ([]api.AlertView, string, error) {
	before := uint64(0)
	if q.Next != "" {
		var err error
		if before, err = strconv.ParseUint(q.Next, 10, 64); err != nil {
			return nil, "", badCursor()
		}
	}
	alerts, err := n.store.Alerts(before, q.Ceiling, q.Limit)
	if err != nil {
		return nil, "", err
	}
	views := make([]api.AlertView, 0, len(alerts))
	for _, a := range alerts {
		if a.Time < q.Since {
			return views, "", nil
		}
		views = append(views, n.alertView(a))
	}
	if len(alerts) < q.Limit {
		return views, "", nil
	}
	return views, views[len(views)-1].ID, nil
}

// alertView shows an alert, with what people did about it.
func (n *Node) alertView(a store.Alert) api.AlertView {
	v := api.AlertView{ID: strconv.FormatUint(a.ID, 10), Time: api.Time(a.Time), Kind: a.Kind, Severity: a.Severity, TLP: a.TLP.String(), Text: a.Text, Line: a.Line}
	if a.About != nil {
		v.About = &api.Indicator{Type: a.About.Type.String(), Value: a.About.Value}
	}
	for _, ref := range a.Refs {
		v.Refs = append(v.Refs, ref.String())
	}
	n.alerting.mu.Lock()
	defer n.alerting.mu.Unlock()
	if g := n.alerting.engine.Group(v.ID); g != nil {
		v.State, v.Group, v.AckBy, v.AckTime = g.State.String(), g.ID, g.By, api.Time(g.At)
	}
	return v
}

// AckAlert implements api.Node.
func (n *Node) AckAlert(_ context.Context, id, by string, ceiling notice.TLP) (api.AlertView, bool, error) {
	number, err := strconv.ParseUint(id, 10, 64)
	if err != nil || number == 0 {
		return api.AlertView{}, false, nil
	}
	found, err := n.store.Alerts(number+1, ceiling, 1)
	if err != nil || len(found) == 0 || found[0].ID != number {
		return api.AlertView{}, false, err
	}
	known := false
	err = n.alerting.step(func(e *alert.Engine) alert.Changes {
		g, c := e.Ack(id, by, n.now().UnixMilli())
		known = g != nil
		return c
	}, nil)
	if err != nil || !known {
		return api.AlertView{}, false, err
	}
	return n.alertView(found[0]), true, nil
}

// Silences implements api.Node.
func (n *Node) Silences(context.Context) ([]api.SilenceView, error) {
	n.alerting.mu.Lock()
	defer n.alerting.mu.Unlock()
	var out []api.SilenceView
	for _, s := range n.alerting.engine.Silences(n.now().UnixMilli()) {
		out = append(out, silenceView(s))
	}
	return out, nil
}

func silenceView(s alert.Silence) api.SilenceView {
	return api.SilenceView{ID: s.ID, Match: s.Match, Created: api.Time(s.Created), Until: api.Time(s.Until), Why: s.Why, By: s.By}
}

// Silence implements api.Node.
func (n *Node) Silence(_ context.Context, q api.SilenceRequest, by string) (api.SilenceView, error) {
	var s alert.Silence
	var wrong error
	err := n.alerting.step(func(e *alert.Engine) (c alert.Changes) {
		s, c, wrong = e.Silence(q.Match, time.Duration(q.Seconds)*time.Second, q.Why, by, n.now().UnixMilli())
		return c
	}, nil)
	if wrong != nil {
		return api.SilenceView{}, wrong
	}
	return silenceView(s), err
}

// EndSilence implements api.Node.
func (n *Node) EndSilence(_ context.Context, id string) (api.SilenceView, bool, error) {
	var s alert.Silence
	found := false
	err := n.alerting.step(func(e *alert.Engine) (c alert.Changes) {
		s, found, c = e.Speak(id)
		return c
	}, nil)
	return silenceView(s), found && err == nil, err
}

// TestSinks implements api.Node.
func (n *Node) TestSinks(ctx context.Context, name string) ([]api.SinkTest, bool, error) {
	a := n.alerting
	if name != "" && a.queues[name] == nil {
		return nil, false, nil
	}
	a.mu.Lock()
	m := a.engine.Test(n.now().UnixMilli())
	a.mu.Unlock()
	var out []api.SinkTest
	for _, s := range n.o.Settings.Alerts.Sinks {
		if name == "" || name == s.Name {
			out = append(out, api.SinkTest{Sink: s.Name, Type: s.Type, TLP: s.Ceiling().String(), Waiting: a.queues[s.Name].waiting.Load()})
		}
	}
	var wait sync.WaitGroup
	for i := range out {
		wait.Go(func() { // each has its own time, and none waits for another
			ctx, cancel := context.WithTimeout(ctx, sink.TimeMax)
			defer cancel()
			began := time.Now()
			err := a.queues[out[i].Sink].way.Send(ctx, m)
			out[i].OK, out[i].Millis = err == nil, float64(time.Since(began).Microseconds())/1000
			if err != nil {
				out[i].Error = shorten(err.Error(), alertErrorMax)
			}
		})
	}
	wait.Wait()
	return out, true, nil
}

// alertErrorMax is how many bytes of an error a person is shown.
const alertErrorMax = 500

// sinkWarnings says which sinks fail.
func (n *Node) sinkWarnings() (out []string) {
	for _, name := range n.alerting.order {
		q := n.alerting.queues[name]
		if failed, since, _ := q.health(); failed != "" {
			out = append(out, fmt.Sprintf("the sink %q fails since %s, %d alerts wait for it: watchward alerts test %s", name, since.UTC().Format("2 Jan 15:04 UTC"), q.waiting.Load(), name))
		}
	}
	return out
}
