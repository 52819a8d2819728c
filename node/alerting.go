package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/alert/sink"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	alertsCursor  = "alerts"         // the last alert that was decided about, and 1
	noticesCursor = "alerts-notices" // up to where notices were

	alertsRead   = 64               // alerts that are read at once
	alertsWait   = time.Minute      // the longest that time is not looked at: the clock may be set
	alertsAgain  = time.Second      // after an error
	noticesSaved = 10 * time.Second // between two times that it is written down how far no rule matched
	refsRead     = 8                // notices of an alert that rules look at
)

// alerting tells people: it follows the alerts that are stored and, where rules ask for
// them, the notices, and keeps what it decides with how far it has followed and what
// waits to be sent. So a crash loses nothing, and decides nothing twice; what was
// being sent is sent again, under the same id.
type alerting struct {
	n       *Node
	queues  map[string]*sinkQueue
	order   []string // names of sinks, as configured
	notices bool     // a rule is about notices
	judged  bool     // a rule asks for verdicts
	ceiling notice.TLP
	wake    chan struct{}
	local   uint64 // of follow alone

	mu     sync.Mutex // guards what follows, also while it is written down
	engine *alert.Engine
	after  uint64 // the last alert that was decided about
}

// openAlerting takes up what was decided before. It comes before all that alerts: the
// first start of alerting tells nobody of what is there already.
func (n *Node) openAlerting() error {
	c := n.o.Settings.Alerts
	a := &alerting{n: n, queues: map[string]*sinkQueue{}, wake: make(chan struct{}, 1)}
	for _, s := range c.Sinks {
		way, err := n.openSink(s)
		if err != nil {
			return err
		}
		a.queues[s.Name] = newSinkQueue(a, s.Name, way)
		a.order = append(a.order, s.Name)
		if a.ceiling == 0 || s.Ceiling() < a.ceiling {
			a.ceiling = s.Ceiling()
		}
	}
	for _, r := range c.Rules {
		a.notices = a.notices || len(r.Notice) > 0
		a.judged = a.judged || len(r.Verdict) > 0
	}
	var err error
	if a.after, err = a.begin(alertsCursor, n.store.LastAlert()); err != nil {
		return err
	}
	if a.local, err = a.begin(noticesCursor, n.store.Last()); err != nil {
		return err
	}
	counts, err := n.store.OutgoingCounts()
	if err != nil {
		return err
	}
	for name, count := range counts {
		if q := a.queues[name]; q != nil {
			q.waiting.Store(int64(count))
		} else {
			n.log.Warn("alerts wait for a sink that is configured no longer: they are kept until it is", slog.String("sink", name), slog.Int("alerts", count))
		}
	}
	n.alerting = a
	return a.reload()
}

// startAlerting begins to tell.
func (n *Node) startAlerting() {
	n.wait.Go(n.alerting.run)
	if n.alerting.notices {
		n.wait.Go(n.alerting.follow)
	}
	for _, q := range n.alerting.queues {
		n.wait.Go(q.run)
	}
}

// openSink returns the way out of a sink; in a lab, the lab's.
func (n *Node) openSink(s config.AlertSink) (sink.Sink, error) {
	if lab := n.o.Lab; lab != nil {
		if lab.Sink == nil {
			return nil, errors.New("a lab has no sinks of its own")
		}
		return lab.Sink(s.Name), nil
	}
	for _, path := range []*string{&s.URLFile, &s.SecretFile, &s.CAFile} {
		*path = n.inDir(*path)
	}
	return sink.New(s, sink.Options{Version: n.o.Version, Words: n.printer()})
}

// begin returns a cursor, which is written down at the first start: what comes from
// then on counts. It is kept with 1 added, so that 0 is none.
func (a *alerting) begin(name string, now uint64) (uint64, error) {
	at, err := a.n.store.Cursor(name)
	if err != nil || at > 0 {
		return at - 1, err
	}
	return now, a.n.store.SetCursor(a.n.ctx, name, now+1)
}

// reload makes the engine from what is durable. mu is held, or nobody else there yet.
func (a *alerting) reload() error {
	a.engine = alert.New(a.config())
	return a.n.store.Alerting(a.engine.Load)
}

func (a *alerting) config() alert.Config {
	s := a.n.o.Settings.Alerts
	c := alert.Config{Node: a.n.name, Words: a.n.printer(), Prefix: a.n.member.String()[:16], Ack: s.Ack(), Zone: time.Local}
	if at, err := time.Parse("15:04", s.Digest); err == nil {
		c.Digest, c.Hour, c.Minute = true, at.Hour(), at.Minute()
	}
	for _, k := range s.Sinks {
		digest := k.Type != config.SinkSyslog && k.Type != config.SinkAlertmanager
		if len(s.DigestTo) > 0 {
			digest = false
			for _, name := range s.DigestTo {
				digest = digest || name == k.Name
			}
		}
		c.Sinks = append(c.Sinks, alert.Sink{Name: k.Name, Ceiling: k.Ceiling(), Bare: k.Above != config.AboveNothing, Digest: digest, Lines: k.Lines})
	}
	for _, r := range s.Rules {
		rule := alert.Rule{
			Name: r.Name, Match: alert.Match{}, Do: alert.Action(r.Do), To: r.To, Then: r.Then, GroupBy: r.GroupBy, Repeat: r.Every(), Limit: int(r.Limit),
		}
		for _, w := range config.AlertWords() {
			rule.Match[w.Key] = *w.Of(&r)
		}
		if rule.Limit == 0 {
			rule.Limit = config.RuleLimit
			if r.Do == config.RuleSend {
				rule.Limit = config.RuleSendLimit
			}
		}
		c.Rules = append(c.Rules, rule)
	}
	c.Rules = append(c.Rules, alert.DefaultRules()...)
	return c
}

// hear wakes it: an alert was stored.
func (a *alerting) hear() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// step decides something and writes it down, together with cursors; then it is told.
// Alerts that it makes come first: a crash in between makes them twice, which is once.
func (a *alerting) step(decide func(*alert.Engine) alert.Changes, cursors map[string]uint64) error {
	a.mu.Lock()
	c := decide(a.engine)
	err := a.raise(c.Raise)
	var full []alert.Message
	if err == nil {
		full, err = a.write(&c, cursors)
	}
	if err == nil && cursors[alertsCursor] > 0 {
		a.after = cursors[alertsCursor] - 1
	}
	if err != nil {
		err = errors.Join(err, a.reload())
	}
	a.mu.Unlock()
	if err != nil {
		return err
	}
	for _, m := range c.Send {
		a.queues[m.Sink].hear()
	}
	for _, m := range full {
		err = errors.Join(err, a.queues[m.Sink].tellFailing(m, errFull, true))
	}
	return err
}

// errFull is why an alert is given up that a sink's queue has no room for.
var errFull = fmt.Errorf("%d alerts wait for it", outgoingMax)

// write writes down what was decided. What a queue has no room for is returned.
func (a *alerting) write(c *alert.Changes, cursors map[string]uint64) (full []alert.Message, err error) {
	out := store.Alerting{Cursors: cursors, Keep: c.Keep}
	added := map[*sinkQueue]int64{}
	for _, m := range c.Send {
		q := a.queues[m.Sink]
		if q.waiting.Load()+added[q] >= outgoingMax {
			full = append(full, m)
			continue
		}
		raw, err := canon.Marshal(m)
		if err != nil {
			return nil, err
		}
		added[q]++
		out.Send = append(out.Send, store.Outgoing{Sink: m.Sink, Number: m.Number, Message: raw})
	}
	if err := a.n.store.KeepAlerting(context.WithoutCancel(a.n.ctx), out); err != nil {
		return nil, err
	}
	for q, count := range added {
		q.waiting.Add(count)
	}
	return full, nil
}

// raise stores alerts about alerts, or about notices that rules chose.
func (a *alerting) raise(raised []alert.Raised) error {
	for _, r := range raised {
		out := store.Alert{Kind: r.Kind, Severity: r.Severity, Text: r.Text, TLP: r.TLP, Dedup: r.Dedup}
		if id, err := crypto.ParseItemID(r.Ref); r.Ref != "" && err == nil {
			out.Refs = []crypto.ItemID{id}
		}
		if _, err := a.n.keepAlert(out); err != nil {
			return fmt.Errorf("alert %s: %w", r.Kind, err)
		}
	}
	return nil
}

// run decides about alerts as they are stored, and does what time brings.
func (a *alerting) run() {
	ctx := a.n.ctx
	for {
		wait, err := a.round(ctx)
		if err != nil && ctx.Err() == nil {
			if errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrBroken) {
				return
			}
			a.n.log.Error("alerts are not told yet: trying again", slog.Any("err", err))
			wait = alertsAgain
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-a.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// round decides about what there is, and returns how long there is nothing to do.
func (a *alerting) round(ctx context.Context) (time.Duration, error) {
	for ctx.Err() == nil {
		a.mu.Lock()
		after := a.after
		a.mu.Unlock()
		alerts, err := a.n.store.AlertsAfter(after, alertsRead)
		if err != nil {
			return 0, err
		}
		for _, s := range alerts {
			ev, err := a.event(s)
			if err != nil {
				return 0, err
			}
			take := func(e *alert.Engine) alert.Changes { return e.Take(ev, a.n.now().UnixMilli()) }
			if err := a.step(take, map[string]uint64{alertsCursor: s.ID + 1}); err != nil {
				return 0, err
			}
		}
		if len(alerts) < alertsRead {
			break
		}
	}
	if err := a.step(func(e *alert.Engine) alert.Changes { return e.Tick(a.n.now().UnixMilli()) }, nil); err != nil {
		return 0, err
	}
	a.mu.Lock()
	next := a.engine.Next()
	a.mu.Unlock()
	wait := alertsWait
	if next != 0 {
		wait = max(0, min(wait, time.Duration(next-a.n.now().UnixMilli())*time.Millisecond))
	}
	return wait, nil
}

// event is a stored alert as rules see it: with what it and the notices behind it are
// about.
func (a *alerting) event(s store.Alert) (alert.Event, error) {
	ev := alert.Event{Alert: s.ID, Time: s.Time, Severity: s.Severity, TLP: s.TLP, Text: s.Text, Line: s.Line, Dedup: s.Dedup,
		Fields: map[string][]string{alert.FieldKind: {s.Kind}}}
	if s.About != nil {
		if err := a.value(&ev, notice.Indicator(*s.About)); err != nil {
			return ev, err
		}
	}
	for i, ref := range s.Refs {
		ev.Refs = append(ev.Refs, ref.String())
		if i >= refsRead {
			continue
		}
		r, found, err := a.n.store.Record(ref)
		if err != nil {
			return ev, err
		}
		if !found {
			continue
		}
		if err := a.describe(&ev, r, s.Kind == alert.KindNotice); err != nil {
			return ev, err
		}
	}
	return ev, nil
}

// describe adds what a notice is about.
func (a *alerting) describe(ev *alert.Event, r store.Record, itself bool) error {
	add := ev.Add
	add(alert.FieldAuthor, r.Author.String(), a.n.memberName(r.Author))
	if itself {
		add(alert.FieldNotice, r.Notice.Kind.String())
	}
	if r.Header != nil && a.n.roster != nil {
		add(alert.FieldRegion, a.n.regionName(r.Header.Region))
	}
	if r.Notice.Context != nil {
		add(alert.FieldFamily, r.Notice.Context.Family)
	}
	if r.Notice.Indicator == nil {
		return nil
	}
	return a.value(ev, *r.Notice.Indicator)
}

// value adds a value, and what it is worth.
func (a *alerting) value(ev *alert.Event, i notice.Indicator) error {
	known := slices.Contains(ev.Fields[alert.FieldValue], i.Value)
	ev.Add(alert.FieldType, i.Type.String())
	ev.Add(alert.FieldValue, i.Value)
	if !a.judged || known {
		return nil
	}
	v, err := a.n.verdict(i, a.ceiling) // by what all may know who may be told
	if err == nil {
		ev.Add(alert.FieldVerdict, v.Level.String())
	}
	return err
}

// follow decides about notices as they arrive.
func (a *alerting) follow() {
	for a.n.ctx.Err() == nil {
		err := a.n.store.Follow(a.n.ctx, a.local, 0, a.arrived())
		if a.n.ctx.Err() != nil || errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrBroken) {
			return
		}
		a.n.log.Error("rules are not asked about notices: trying again", slog.Any("err", err))
		select {
		case <-a.n.ctx.Done():
		case <-time.After(alertsAgain):
		}
	}
}

// arrived returns what is done with each entry of the store.
func (a *alerting) arrived() func(uint64, []store.Record) error {
	saved := a.n.now()
	return func(local uint64, records []store.Record) error {
		var events []alert.Event
		now := a.n.now()
		for _, r := range records {
			if r.First < r.Local || r.Retracted || r.Expiry <= now.UnixMilli() { // told before, or over
				continue
			}
			ev, err := a.noticeEvent(r)
			if err != nil {
				return err
			}
			events = append(events, ev)
		}
		take := func(e *alert.Engine) (all alert.Changes) {
			for _, ev := range events {
				all.Add(e.Take(ev, now.UnixMilli()))
			}
			return all
		}
		var cursor map[string]uint64
		if a.matched(events) || now.Sub(saved).Abs() >= noticesSaved {
			cursor, saved = map[string]uint64{noticesCursor: local + 1}, now
		}
		if err := a.step(take, cursor); err != nil {
			return err
		}
		a.local = local
		return nil
	}
}

// matched says whether a rule is about one of some events.
func (a *alerting) matched(events []alert.Event) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range events {
		if a.engine.Rule(&events[i]) != nil {
			return true
		}
	}
	return false
}

func (a *alerting) noticeEvent(r store.Record) (alert.Event, error) {
	ev := alert.Event{
		Notice: r.ID.String(), Time: r.Received, Severity: "info", TLP: r.TLP, Own: r.Author == a.n.member,
		Refs: []string{r.ID.String()}, Fields: map[string][]string{},
	}
	if r.Notice.Kind == notice.KindMayday {
		ev.Severity = "critical"
	}
	if err := a.describe(&ev, r, true); err != nil {
		return ev, err
	}
	ev.Text = a.n.noticeText(r)
	return ev, nil
}

// noticeText is what an alert says of a notice.
func (n *Node) noticeText(r store.Record) string {
	what := r.Notice.Kind.String()
	if r.Exercise {
		what = "EXERCISE: " + what
	}
	if i := r.Notice.Indicator; i != nil {
		what += fmt.Sprintf(" of %s %s", i.Type, shorten(i.Value, spreadShownMax))
	}
	if c := r.Notice.Context; c != nil && c.Family != "" {
		what += ", " + c.Family
	}
	if a := r.Notice.Advisory; a != nil {
		what += fmt.Sprintf(" (%s): %s", a.Type, a.Title)
	}
	return fmt.Sprintf("%s, by %s. More: watchward show %s", what, n.nameOrID(r.Author), r.ID)
}
