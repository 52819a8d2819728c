package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/history"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	historyDir    = "history"
	historyCursor = "history"        // up to where what became known was held against it
	historySaved  = 10 * time.Second // between two times that it is written down
	historyAgain  = time.Second      // after an error
	historyTick   = time.Second / 4
	historyLag    = 5 * time.Second // what a log has is in the history after this, if the watch is not behind
	secondMax     = 100_000         // values that wait for their second look
	historyBatch  = 4096            // values that are looked for at once
	seenHereMax   = 50              // alerts of one value each, in an hour; then they are counted
	seenHereRefs  = 10              // notices that one names
)

// errNoHistory: the configuration turned it off.
var errNoHistory = &api.Unavailable{Reason: "this node does not remember what its own logs had", Fix: "set days = 90 under [history] of its configuration, and restart it"}

// openHistory opens the memory of this hospital's own logs, unless it is off. The
// store's lock keeps another process out of it too.
func (n *Node) openHistory() error {
	c := n.o.Settings.History
	if c.Days == 0 || n.o.Lab != nil {
		return nil
	}
	h, err := history.Open(history.Options{
		Dir: filepath.Join(n.o.Dir, historyDir), Days: c.Days, MiB: c.MiB, Parents: c.Parents, Prefixes: c.Prefixes,
		Now: n.now, Log: n.log,
	})
	if err != nil {
		return err
	}
	n.history = h
	// Sizes alone: a metric must not tell what was seen.
	n.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "watchward_history_bytes",
			Help: "Size of the memory of the hospital's own logs."}, func() float64 { return float64(h.Stats().Bytes) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "watchward_history_records",
			Help: "Records in the memory of the hospital's own logs: a value has one for each period."}, func() float64 { return float64(h.Stats().Records) }),
	)
	return nil
}

// historyWarnings say what a person should know of the history.
func (n *Node) historyWarnings() (out []string) {
	if n.history == nil {
		return nil
	}
	s := n.history.Stats()
	if s.Broken {
		out = append(out, "the history of your logs is not kept since the disk failed: check the disk, and restart the node, which then reads the logs again from before that")
	}
	if s.Full {
		out = append(out, fmt.Sprintf("the history of your logs is full: it goes back to %s and not %d days (a larger mib under [history] lets it grow)",
			day(s.Since), n.o.Settings.History.Days))
	}
	if s.Unreadable > 0 {
		out = append(out, fmt.Sprintf("%d MiB of the history of your logs cannot be read, since their key is lost: put back %s, or let them expire",
			s.Unreadable>>20+1, filepath.Join(n.o.Dir, historyDir, "key")))
	}
	if s.Damaged > 0 {
		out = append(out, "parts of the history of your logs are damaged, and what they had counts as never seen: check the disk (the node's log names them)")
	}
	return out
}

func day(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateOnly) }

// Hunt implements api.Node: each value as it was read, or as what else it may stand
// for; with hosts a URL or an e-mail address that was not seen itself by its host.
func (n *Node) Hunt(ctx context.Context, values []string, hosts bool) (api.HuntAnswers, error) {
	if n.history == nil {
		return api.HuntAnswers{}, errNoHistory
	}
	out := api.HuntAnswers{Answers: make([]api.HuntAnswer, len(values)), Since: api.Time(n.history.Stats().Since)}
	var all []candidate
	var asked []notice.Indicator
	var room [readingsMax]notice.Indicator
	for i, value := range values {
		a := &out.Answers[i]
		a.Value = value
		as, err := readings(room[:0], value)
		if err != nil {
			a.Reason = reason(err)
		} else {
			a.Type = as[0].Type.String()
		}
		for j, reading := range as {
			all, asked = append(all, candidate{of: i, itself: j == 0 && err == nil, Indicator: reading}), append(asked, reading)
			if host, ok := reading.Host(); ok && hosts {
				all, asked = append(all, candidate{of: i, Indicator: host}), append(asked, host)
			}
		}
	}
	traces, err := n.history.Find(asked)
	if err != nil {
		return api.HuntAnswers{}, err
	}
	for j, t := range traces {
		a := &out.Answers[all[j].of]
		switch {
		case a.Seen:
		case t.Count > 0:
			a.Seen, a.Reason = true, ""
			a.First, a.Last, a.Count = api.Time(t.First), api.Time(t.Last), t.Count
			if !all[j].itself {
				a.Matched = &api.Indicator{Type: all[j].Type.String(), Value: all[j].Value}
			}
		case t.Unkept && all[j].itself:
			a.Reason = "networks of this length are not remembered: name one that is up to 8 longer in prefixes under [history]"
		}
	}
	return out, ctx.Err()
}

// A reminder holds what becomes known against what was seen here before: it
// follows the store, so that nothing is missed and nobody waits for it.
type reminder struct {
	n *Node

	mu     sync.Mutex // guards what follows
	batch  map[notice.Indicator]*news
	second []secondLook // batches that were looked at once, and found nowhere; the oldest first
	behind int          // values in second
	taken  uint64       // up to where the batch goes
	looked uint64       // up to where it was looked at
	done   uint64       // up to where all was looked at twice
	cursor uint64       // what is written down of that
	saved  time.Time
	hour   int64
	told   int        // alerts of one value each, in that hour
	untold int        // values beyond them
	marked notice.TLP // the strictest marking among those
}

// news is what came of one value since the last look.
type news struct {
	from     store.Record // the first that spoke of it
	refs     []crypto.ItemID
	received int64 // the latest
}

// A secondLook is what was not in the history, and is looked for again when what the logs had
// before is.
type secondLook struct {
	due   time.Time
	batch map[notice.Indicator]*news
	size  int // of the batch, when it came
	taken uint64
}

func newReminder(n *Node) *reminder { return &reminder{n: n, batch: map[notice.Indicator]*news{}} }

// run reminds until the node stops.
func (r *reminder) run() {
	r.n.wait.Go(r.tick)
	for r.n.ctx.Err() == nil {
		err := r.follow()
		if r.n.ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			return
		}
		r.n.log.Error("what became known is not held against the history: trying again", slog.Any("err", err))
		select {
		case <-r.n.ctx.Done():
		case <-time.After(historyAgain):
		}
	}
}

// tick looks at what is left when the last that was stored is nothing to follow, and
// writes down how far all was looked at.
func (r *reminder) tick() {
	tick := time.NewTicker(historyTick)
	defer tick.Stop()
	for {
		select {
		case <-r.n.ctx.Done():
			return
		case <-tick.C:
		}
		r.mu.Lock()
		err := r.look()
		if err == nil {
			err = r.again(time.Now())
		}
		if err == nil {
			err = r.save()
		}
		r.mu.Unlock()
		if err != nil && r.n.ctx.Err() == nil {
			r.n.log.Error("what became known is not held against the history: trying again", slog.Any("err", err))
		}
	}
}

func (r *reminder) follow() error {
	cursor, err := r.n.store.Cursor(historyCursor)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.cursor = cursor
	r.taken, r.looked = max(r.taken, cursor), max(r.looked, cursor)
	after := r.taken
	r.mu.Unlock()
	return r.n.store.Follow(r.n.ctx, after, 0, func(local uint64, records []store.Record) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.batch) >= historyBatch { // an error kept it
			if err := r.look(); err != nil {
				return err
			}
		}
		for i := range records {
			r.take(&records[i])
		}
		r.taken = local
		if len(r.batch) < historyBatch && local < r.n.store.Last() {
			return nil // more is there already
		}
		return r.look()
	})
}

// save writes down how far all was looked at. A crash before has it looked at again,
// which alerts nobody twice.
func (r *reminder) save() error {
	now := r.n.now()
	if r.done <= r.cursor || now.Sub(r.saved).Abs() < historySaved {
		return nil
	}
	if err := r.n.store.SetCursor(r.n.ctx, historyCursor, r.done); err != nil {
		return err
	}
	r.cursor, r.saved = r.done, now
	return nil
}

// take notes a value that somebody else has seen, or that anybody brought in.
func (r *reminder) take(rec *store.Record) {
	switch {
	case rec.Notice == nil || rec.Notice.Indicator == nil || rec.Retracted || rec.Exercise || rec.First < rec.Local:
		return
	case rec.Notice.Kind == notice.KindIndicator:
	case rec.Notice.Kind == notice.KindSighting && rec.Author != r.n.member:
	default:
		return
	}
	i := *rec.Notice.Indicator
	w := r.batch[i]
	if w == nil {
		w = &news{from: *rec}
		r.batch[i] = w
	}
	if len(w.refs) < seenHereRefs {
		w.refs = append(w.refs, rec.ID)
	}
	w.received = max(w.received, rec.Received)
}

// look holds the batch against the history. After an error the batch stays.
func (r *reminder) look() error {
	now := time.Now()
	if err := r.find(r.batch); err != nil {
		return err
	}
	if r.taken > r.looked {
		r.second = append(r.second, secondLook{now.Add(historyLag), r.batch, len(r.batch), r.taken})
		r.behind += len(r.batch)
		r.looked = r.taken
	}
	r.batch = map[notice.Indicator]*news{}
	if r.behind > secondMax {
		return r.again(r.second[len(r.second)/2].due)
	}
	return nil
}

// again looks for the second time at what is due.
func (r *reminder) again(now time.Time) error {
	for len(r.second) > 0 && !r.second[0].due.After(now) {
		s := r.second[0]
		if err := r.find(s.batch); err != nil {
			return err
		}
		r.second, r.behind, r.done = r.second[1:], r.behind-s.size, max(r.done, s.taken)
	}
	return nil
}

// find alerts of what is in the history, and takes it out of the batch.
func (r *reminder) find(batch map[notice.Indicator]*news) error {
	values := make([]notice.Indicator, 0, len(batch))
	for i := range batch {
		values = append(values, i)
	}
	traces, err := r.n.history.Find(values)
	if err != nil {
		return err
	}
	for j, i := range values {
		t := traces[j]
		if t.Count == 0 {
			continue
		}
		// What was first seen later is a hit of the logs, and alerted as one.
		if t.First <= batch[i].received {
			if err := r.remind(i, batch[i], t); err != nil {
				return err
			}
		}
		delete(batch, i)
	}
	return nil
}

// remind alerts that a value was seen here: once, however many speak of it.
func (r *reminder) remind(i notice.Indicator, w *news, t history.Trace) error {
	dedup := fmt.Sprintf("seen-here/%x", i.Key())
	if known, err := r.n.store.Alerted(dedup); err != nil || known {
		return err
	}
	v, err := r.n.verdict(i, 0)
	if err != nil || !v.Hit() {
		return err
	}
	tlp, err := r.n.store.Strictest(i.Key(), 0)
	if err != nil {
		return err
	}
	now := r.n.now()
	if hour := now.Unix() / 3600; hour != r.hour {
		r.hour, r.told, r.untold, r.marked = hour, 0, 0, 0
	}
	tlp = notice.Stricter(tlp, w.from.TLP)
	if r.told >= seenHereMax {
		return r.more(i, tlp)
	}
	r.told++
	how := catalog.AlertSeenHere
	if w.from.Notice.Kind == notice.KindSighting {
		how = catalog.AlertSeenHereToo
	}
	return r.alert(store.Alert{
		Kind: "seen-here", Severity: "warning", TLP: tlp, Refs: w.refs, Dedup: dedup,
		Text: r.n.printer().Text(how, i.Value, traceText(r.n.printer(), t, now), r.n.nameOrID(w.from.Author)),
	})
}

// alert returns when an alert is kept.
func (r *reminder) alert(a store.Alert) error {
	if r.n.alert(a) {
		return nil
	}
	known, err := r.n.store.Alerted(a.Dedup)
	if err == nil && !known {
		err = errors.New("an alert is not kept")
	}
	return err
}

// more alerts that there are more values than are told one by one, when they are one,
// ten, a hundred …
func (r *reminder) more(i notice.Indicator, tlp notice.TLP) error {
	r.untold++
	r.marked = notice.Stricter(r.marked, tlp)
	for at := 1; at <= r.untold; at *= 10 {
		if at == r.untold {
			return r.alert(store.Alert{
				Kind: "seen-here", Severity: "warning", TLP: r.marked, Dedup: fmt.Sprintf("seen-here/more/%d/%d", r.hour, at),
				Text: r.n.printer().Text(catalog.AlertSeenHereMore, seenHereMax, at, i.Value),
			})
		}
	}
	return nil
}

// traceText says when something was seen, as a person would.
func traceText(words *catalog.Printer, t history.Trace, now time.Time) string {
	times := words.Text(catalog.AlertOnce)
	if t.Count > 1 {
		times = words.Text(catalog.AlertTimes, t.Count)
	}
	first, last := dayText(words, t.First, now), dayText(words, t.Last, now)
	if t.Count == 1 || first == last {
		return first + ", " + times
	}
	return words.Text(catalog.AlertFirstLast, first, times, last)
}

func dayText(words *catalog.Printer, ms int64, now time.Time) string {
	at := time.UnixMilli(ms)
	day := func(t time.Time) int64 { return t.Unix() / (24 * 3600) }
	switch days := day(now) - day(at); {
	case days <= 0:
		return words.Text(catalog.AlertToday)
	case days == 1:
		return words.Text(catalog.AlertYesterday)
	default:
		return words.Text(catalog.AlertDaysAgo, days)
	}
}
