package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/feed"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/verdict"
)

// Feed implements api.FeedSource.
func (f *feeds) Feed(name string) (*feed.Snapshot, *feed.Policy, bool) {
	s, ok := f.byName[name]
	if !ok {
		return nil, nil, false
	}
	return s.now.Load(), s.list.Policy(), true
}

// FeedFor implements api.FeedSource.
func (f *feeds) FeedFor(format feed.Format) (name string) {
	for _, s := range f.lists {
		if s.list.Policy().Format != format {
			continue
		}
		if name != "" {
			return ""
		}
		name = s.conf.Name
	}
	return name
}

// MayFetch implements api.FeedSource.
func (f *feeds) MayFetch(name, consumer string) (may, before bool) {
	s, ok := f.byName[name]
	if !ok {
		return false, false
	}
	_, before = f.fetches.get(name, consumer)
	return len(s.conf.Consumers) == 0 || slices.Contains(s.conf.Consumers, consumer), before
}

// Pulled implements api.FeedSource.
func (f *feeds) Pulled(name, consumer string) (uint32, bool) {
	x, ok := f.fetches.get(name, consumer)
	return x.Serial, ok
}

// Fetched implements api.FeedSource.
func (f *feeds) Fetched(q api.Fetch) { f.fetches.note(q) }

// ListFeeds implements api.Feeds.
func (f *feeds) ListFeeds(_ context.Context, ceiling notice.TLP) ([]api.FeedView, error) {
	var out []api.FeedView
	for _, s := range f.lists {
		if s.list.Policy().TLP <= ceiling {
			out = append(out, f.view(s))
		}
	}
	return out, nil
}

func (f *feeds) view(s *feedState) api.FeedView {
	p := s.list.Policy()
	v := api.FeedView{
		Name: p.Name, Format: string(p.Format), Verdict: p.Level.String(), TLP: p.TLP.String(), State: "being-made",
		Path: "/feeds/" + p.Name, Consumers: []api.FeedConsumer{},
	}
	for _, t := range p.Types {
		v.Types = append(v.Types, t.String())
	}
	switch p.Format {
	case feed.CrowdSec:
		v.Path = "/crowdsec/" + p.Name + "/"
	case feed.RPZ:
		v.Zone = p.Zone
	}
	now := s.now.Load()
	if now != nil {
		v.Entries, v.LeftOut, v.Unfit, v.Held, v.Waits, v.Waiting = now.Entries, now.LeftOut, now.Unfit, now.Held, now.Waits, api.Time(now.Waiting)
		v.Serial, v.Changed, v.State = now.Serial, api.Time(now.Modified), "good"
		switch {
		case now.Mute:
			v.State = "silent"
		case now.Waits != "":
			v.State = "waits"
		}
	}
	f.consumers(s, now, &v)
	return v
}

// consumers adds who fetches a feed, and who should.
func (f *feeds) consumers(s *feedState, now *feed.Snapshot, v *api.FeedView) {
	come := map[string]bool{}
	for _, x := range f.fetches.of(s.conf.Name) {
		come[x.Consumer] = true
		c := api.FeedConsumer{
			Name: x.Consumer, Last: api.Time(x.Last.UnixMilli()), Address: x.Addr, Current: now != nil && now.Serial == x.Serial,
			Missed: f.fetches.missed(x.Last, f.n.now()),
		}
		if !x.Expires.IsZero() {
			c.Expires = api.Time(x.Expires.UnixMilli())
		}
		v.Consumers = append(v.Consumers, c)
	}
	for _, name := range s.conf.Consumers {
		if !come[name] {
			v.Consumers = append(v.Consumers, api.FeedConsumer{Name: name})
		}
	}
}

// ShowFeed implements api.Feeds.
func (f *feeds) ShowFeed(ctx context.Context, name string, q api.FeedQuery) (api.FeedDetail, bool, error) {
	s, ok := f.byName[name]
	if !ok || s.list.Policy().TLP > q.Ceiling {
		return api.FeedDetail{}, false, nil
	}
	d := api.FeedDetail{FeedView: f.view(s)}
	if q.Why != "" {
		why, err := f.why(ctx, s, q.Why)
		if err != nil {
			return d, true, err
		}
		d.Why = why
	}
	now := s.now.Load()
	if now == nil || q.Limit == 0 {
		return d, true, nil
	}
	held := map[notice.Indicator]bool{}
	if now.Held > 0 {
		err := f.ask(ctx, func() {
			for e := range s.list.Held {
				held[e.Indicator] = true
			}
		})
		if err != nil {
			return d, true, err
		}
	}
	last := ""
	for e := range now.All {
		if e.Value <= q.After {
			continue
		}
		if len(d.List) >= q.Limit && e.Value != last { // one value may be there as two types
			d.Next = last
			break
		}
		v := entryView(e)
		v.Held = held[e.Indicator]
		d.List, last = append(d.List, v), e.Value
	}
	return d, true, nil
}

func entryView(e *feed.Entry) api.FeedEntry {
	v := api.FeedEntry{Type: e.Type.String(), Value: e.Value, Since: api.Time(e.Since), Until: api.Time(e.Until), Members: e.Members, Denied: e.Denied}
	if e.Seen > 1 {
		v.Seen = api.Time(e.Seen)
	}
	return v
}

// why says why a value is in a feed or not.
func (f *feeds) why(ctx context.Context, s *feedState, value string) (*api.FeedWhy, error) {
	p := s.list.Policy()
	i, err := p.Read(value)
	if err != nil {
		return nil, err
	}
	words, err := f.n.wordsFor(i)
	if err != nil {
		return nil, err
	}
	d := p.Decide(f.n.judge(), i, words, f.n.now().UnixMilli())
	out := &api.FeedWhy{Type: i.Type.String(), Value: i.Value, Cause: d.Cause.String(), Reason: d.Reason, Verdict: d.Verdict.Level.String()}
	for _, r := range d.Verdict.Reasons {
		out.Reasons = append(out.Reasons, r.Text)
	}
	if out.Reasons == nil {
		out.Reasons = []string{}
	}
	now := s.now.Load()
	if now == nil {
		return out, nil
	}
	out.In = now.Get(i) != nil
	switch {
	case out.In && d.Cause != feed.In:
		out.Reason += "; it is still in the feed, and waits to leave"
	case !out.In && d.Cause == feed.In:
		out.Cause, out.Reason = "limit", "it does not fit: "+now.Truncated
	}
	if out.In {
		return out, ctx.Err()
	}
	for c := range i.Matches {
		if e := now.Get(c); e != nil {
			out.By = e.Value
			break
		}
	}
	return out, ctx.Err()
}

// AcceptFeed implements api.Feeds.
func (f *feeds) AcceptFeed(ctx context.Context, name, caller string) (a api.FeedAccepted, ok bool, err error) {
	s, ok := f.byName[name]
	if !ok {
		return a, false, nil
	}
	if s.now.Load() == nil {
		return a, true, &api.Unavailable{Reason: "the feed is being made", Fix: "ask again in a moment"}
	}
	err = f.ask(ctx, func() {
		a.Left = s.list.Accept(f.n.now().UnixMilli())
		f.commit()
	})
	a.Name = name
	if now := s.now.Load(); now != nil {
		a.Entries = now.Entries
	}
	return a, true, err
}

// feedChangesMax is how many changes of each kind a diff shows.
const feedChangesMax = 1_000

// DiffFeed implements api.Feeds. It judges all that is stored, as a build does.
func (f *feeds) DiffFeed(ctx context.Context, name string, q api.FeedDiffRequest) (api.FeedDiff, bool, error) {
	s, ok := f.byName[name]
	if !ok {
		return api.FeedDiff{}, false, nil
	}
	now := s.now.Load()
	if now == nil {
		return api.FeedDiff{}, true, &api.Unavailable{Reason: "the feed is being made", Fix: "ask again in a moment"}
	}
	if !f.diffing.TryLock() {
		return api.FeedDiff{}, true, &api.Unavailable{Reason: "another feed diff is being made, and each needs as much memory as a feed", Fix: "ask again when it is done"}
	}
	defer f.diffing.Unlock()
	p, j, err := f.candidate(s, q)
	if err != nil {
		return api.FeedDiff{}, true, err
	}
	would := feed.NewList(p)
	types := map[notice.Type]bool{}
	for _, t := range p.Types {
		types[t] = true
	}
	at := f.n.now().UnixMilli()
	out := map[notice.Indicator]gone{} // of what is in it: why it would not be
	judge := func(i notice.Indicator, words []verdict.Word) {
		d := p.Decide(j, i, words, at)
		would.Apply(i, &d, false)
		if d.Cause != feed.In && now.Get(i) != nil {
			out[i] = gone{d.Cause, d.Reason}
		}
	}
	err = f.n.eachSaid(ctx, types, func(batch []spoken) error {
		for _, b := range batch {
			judge(b.Indicator, b.words)
		}
		return nil
	})
	if err != nil {
		return api.FeedDiff{}, true, err
	}
	for _, value := range q.Deny { // nobody said anything of some
		if i, err := p.Read(value); err == nil && types[i.Type] {
			words, err := f.n.wordsFor(i)
			if err != nil {
				return api.FeedDiff{}, true, err
			}
			judge(i, words)
		}
	}
	if _, err := would.Commit(at); err != nil {
		return api.FeedDiff{}, true, err
	}
	d := diffFeeds(now, would.Snapshot(), out)
	cut, err := f.n.cutOff(types)
	if err != nil {
		return api.FeedDiff{}, true, err
	}
	counted := 0
	for e := range now.All {
		why, said := out[e.Indicator]
		stays, _ := would.Get(e.Indicator) // or does not fit
		if stays == nil && (!said || why.cause.Counted()) && !knownGone(e, at, cut) {
			counted++
		}
	}
	err = f.ask(ctx, func() { d.Waits = s.list.WouldWait(counted, d.Would, &p, at) })
	return d, true, err
}

// gone says why a value would be in a feed no longer.
type gone struct {
	cause  feed.Cause
	reason string
}

// diffFeeds compares two states. Why says of what leaves why.
func diffFeeds(now, would *feed.Snapshot, why map[notice.Indicator]gone) api.FeedDiff {
	d := api.FeedDiff{Name: now.Policy.Name, Entries: now.Entries, Would: would.Entries, Changes: []api.FeedChange{}}
	for e := range now.All {
		if would.Get(e.Indicator) != nil {
			continue
		}
		if d.Removed++; d.Removed <= feedChangesMax {
			reason := why[e.Indicator].reason
			if reason == "" {
				reason = "nobody says anything of it any more, or it does not fit"
			}
			d.Changes = append(d.Changes, api.FeedChange{Type: e.Type.String(), Value: e.Value, Reason: reason})
		}
	}
	for e := range would.All {
		if now.Get(e.Indicator) != nil {
			continue
		}
		if d.Added++; d.Added <= feedChangesMax {
			d.Changes = append(d.Changes, api.FeedChange{Type: e.Type.String(), Value: e.Value, Added: true})
		}
	}
	return d
}

// candidate returns the policy and the judge that a diff asks about.
func (f *feeds) candidate(s *feedState, q api.FeedDiffRequest) (feed.Policy, *verdict.Judge, error) {
	p, settings := *s.list.Policy(), f.n.o.Settings
	if len(q.Config) > 0 {
		var err error
		if settings, err = config.Parse("the configuration", []byte(strings.Join(q.Config, "\n"))); err != nil {
			return p, nil, &notice.FieldError{Field: "body.config", Reason: err.Error(), Fix: "watchward config validate FILE says the same with places"}
		}
		at := slices.IndexFunc(settings.Feeds.List, func(l config.FeedList) bool { return l.Name == p.Name })
		if at < 0 {
			return p, nil, &notice.FieldError{Field: "body.config", Reason: fmt.Sprintf("it has no feed %q", p.Name), Fix: "name the feed as it is called now"}
		}
		if p, err = settings.Feeds.List[at].Policy(); err != nil {
			return p, nil, err
		}
	}
	decided := f.n.decided()
	for list, denied := range map[*[]string]bool{&q.Allow: false, &q.Deny: true} {
		for _, value := range *list {
			i, err := notice.Detect(value, notice.Options{AllowSpecial: true})
			if err != nil {
				return p, nil, err
			}
			decided[i] = denied
		}
	}
	c := settings.Verdicts()
	c.Warninglists = f.n.warninglists()
	for i, denied := range decided {
		if denied {
			c.Deny = append(c.Deny, i)
		} else {
			c.Allow = append(c.Allow, i)
		}
	}
	j, err := verdict.New(c)
	if field := (*notice.FieldError)(nil); errors.As(err, &field) {
		return p, nil, field
	}
	return p, j, err
}
