package node

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/feed"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
	"github.com/watchward/watchward/node/verdict"
	"github.com/watchward/watchward/node/verdict/warninglist"
)

const (
	feedsDir = "feeds"

	feedShard     = 300_000     // values whose words are in memory at once while lists are made
	feedBatch     = 1_000       // values judged between two looks at what arrived
	feedTouched   = 4_096       // values waiting to be judged again; the store's follower waits beyond
	feedDecided   = 64          // values of one decision that are looked for among all entries at once
	feedLook      = time.Minute // between two looks at consumers and tokens
	feedSaved     = time.Second // who fetched is written down as often
	feedAgain     = time.Second // after an error
	feedDueSpare  = 1_024       // places of entries that left, beyond what the lists have twice
	poisonedMax   = 20          // alerts that a value is guarded, in an hour
	feedTokenSoon = 30 * 24 * time.Hour
)

// feeds keeps the lists that enforcement points fetch: in memory, as they would be if
// all that the store has were judged now. One goroutine (run) owns the lists. They are
// made from the store at a start and when the policy changes, and then kept up by what
// arrives, by what expires and by what is decided here. What was good last is on disk,
// so a restart serves no less.
type feeds struct {
	n      *Node
	lists  []*feedState
	byName map[string]*feedState
	types  map[notice.Type]bool // that any list takes

	diffing sync.Mutex // held while a diff is made
	asks    chan func()
	anew    chan struct{} // words were withdrawn
	touched chan touched
	fetches *fetches
	dns     *zones // nil = no zones are transferred

	// Of run alone.
	due      feedHeap
	decided  map[notice.Indicator]bool // denied, or else allowed
	building bool
	again    bool                      // something was decided since the build began
	fresh    map[notice.Indicator]bool // judged by later words than the build knows
	cut      map[notice.Indicator]bool // words of it were withdrawn, as the last build found
	hour     int64
	told     int
	made     chan struct{} // closed when the lists were made the first time
	once     bool
}

// A feedState is one list.
type feedState struct {
	conf config.FeedList
	list *feed.List                    // of run alone
	now  atomic.Pointer[feed.Snapshot] // what is served; nil = it is being made
}

// touched is a value of which something new was said.
type touched struct {
	notice.Indicator
	uncounted bool // what leaves for it is no shrink
}

// openFeeds opens the lists that are configured. What was kept is served at once,
// without what has expired or must not be blocked.
func (n *Node) openFeeds() error {
	conf := n.o.Settings.Feeds
	if len(conf.List) == 0 || n.o.Lab != nil {
		return nil
	}
	f := &feeds{
		n: n, byName: map[string]*feedState{}, types: map[notice.Type]bool{},
		asks: make(chan func()), anew: make(chan struct{}, 1), touched: make(chan touched, feedTouched), made: make(chan struct{}),
	}
	var err error
	if f.fetches, err = openFetches(n, filepath.Join(n.o.Dir, feedsDir, "consumers.json")); err != nil {
		return err
	}
	n.feeds = f // Close closes what is open
	for _, c := range conf.List {
		p, err := c.Policy()
		if err != nil {
			return fmt.Errorf("feed %s: %w", c.Name, err)
		}
		l, err := feed.Open(filepath.Join(n.o.Dir, feedsDir, c.Name+".list"), p)
		if err != nil {
			return err
		}
		s := &feedState{conf: c, list: l}
		f.lists, f.byName[c.Name] = append(f.lists, s), s
		for _, t := range p.Types {
			f.types[t] = true
		}
		f.recall(s)
	}
	if conf.DNSListen != "" {
		f.dns, err = openZones(f)
	}
	return err
}

// recall serves what was kept of a list.
func (f *feeds) recall(s *feedState) {
	if s.list.Snapshot() == nil {
		return
	}
	now, j, p := f.n.now().UnixMilli(), f.n.judge(), s.list.Policy()
	defer func() {
		for e := range s.list.All {
			if e.Until > 0 {
				f.due = append(f.due, dueEntry{e.Until, s, e})
			}
		}
		heap.Init(&f.due)
	}()
	s.list.Sift(func(e *feed.Entry) bool {
		if e.Until > 0 && e.Until <= now {
			return true
		}
		cause, _ := p.Guards(j, e.Indicator, now)
		return cause != feed.In
	})
	if _, err := s.list.Commit(now); err != nil {
		f.n.log.Error("feed is not kept", slog.String("feed", s.conf.Name), slog.Any("err", err))
	}
	s.now.Store(s.list.Snapshot())
}

func (f *feeds) close() error {
	var errs []error
	for _, s := range f.lists {
		errs = append(errs, s.list.Close())
	}
	return errors.Join(append(errs, f.fetches.save())...)
}

// run owns the lists until the node stops.
func (f *feeds) run() {
	after := f.n.store.Last()
	f.n.wait.Go(func() { f.follow(after) })
	look, save, due := time.NewTicker(feedLook), time.NewTicker(feedSaved), time.NewTimer(time.Hour)
	defer look.Stop()
	defer save.Stop()
	defer due.Stop()
	f.decided = f.n.decided()
	changed := f.n.policyChanged()
	said, stop := f.begin()
	defer func() { stop() }()
	for {
		due.Reset(f.nextDue())
		select {
		case <-f.n.ctx.Done():
			return
		case ask := <-f.asks:
			ask()
		case t := <-f.touched:
			f.hear(t)
		case part, ok := <-said:
			if !ok {
				said = nil
				f.end()
				if f.again {
					stop()
					said, stop = f.begin()
				}
				continue
			}
			f.take(part)
		case <-changed:
			changed = f.n.policyChanged()
			f.redecide()
			if f.again = f.building; f.again {
				continue // many decisions do not keep it from ever ending
			}
			stop()
			said, stop = f.begin()
		case <-f.anew:
			stop()
			said, stop = f.begin()
		case <-due.C:
			f.expire()
		case <-look.C:
			f.fetches.look()
		case <-save.C:
			if err := f.fetches.save(); err != nil {
				f.n.log.Error("who fetched a feed is not kept", slog.Any("err", err))
			}
		}
	}
}

// ask has run do something, and waits for it.
func (f *feeds) ask(ctx context.Context, do func()) error {
	done := make(chan struct{})
	select {
	case f.asks <- func() { do(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	case <-f.n.ctx.Done():
		return store.ErrClosed
	}
	<-done
	return nil
}

// withdrawn makes the lists anew: the words of somebody count no longer.
func (f *feeds) withdrawn() {
	select {
	case f.anew <- struct{}{}:
	default:
	}
}

// spoken is a value with all that was said of it.
type spoken struct {
	notice.Indicator
	words []verdict.Word
}

// A part of a build is what is said of some values, or else of which words were withdrawn.
type part struct {
	said []spoken
	cut  map[notice.Indicator]bool
}

// begin starts to make the lists from all that is stored. stop ends it early.
func (f *feeds) begin() (<-chan part, func()) {
	ctx, cancel := context.WithCancel(f.n.ctx)
	f.building, f.again, f.fresh = true, false, map[notice.Indicator]bool{}
	for _, s := range f.lists {
		s.list.Begin()
	}
	out, gone := make(chan part), make(chan struct{})
	give := func(p part) error {
		select {
		case out <- p:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	go func() {
		defer close(gone)
		for {
			cut, err := f.n.cutOff(f.types)
			if err == nil {
				err = give(part{cut: cut})
			}
			if err == nil {
				err = f.n.eachSaid(ctx, f.types, func(batch []spoken) error { return give(part{said: batch}) })
			}
			if err == nil {
				close(out)
				return
			}
			if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
				return
			}
			f.n.log.Error("feeds are not made: trying again", slog.Any("err", err))
			select {
			case <-ctx.Done():
				return
			case <-time.After(feedAgain):
			}
		}
	}()
	return out, func() { cancel(); <-gone }
}

// take judges what a build found. What was judged meanwhile by later words stays.
func (f *feeds) take(p part) {
	if p.cut != nil {
		f.cut = p.cut
	}
	now := f.n.now().UnixMilli()
	for i := range p.said {
		if !f.fresh[p.said[i].Indicator] {
			f.apply(p.said[i].Indicator, p.said[i].words, false, now)
		}
	}
}

// end ends a build: the lists are what the store says. Of what it does not have any
// more it must say why: a store that was lost or restored has forgotten what still counts.
func (f *feeds) end() {
	f.building, f.fresh = false, nil
	now := f.n.now().UnixMilli()
	for _, s := range f.lists {
		s.list.End(func(e *feed.Entry) bool { return knownGone(e, now, f.cut) })
	}
	f.commit()
	if !f.once {
		f.once = true
		close(f.made)
	}
}

// knownGone reports whether it is known why nothing is said of an entry any more: its
// time is over, or the words were withdrawn.
func knownGone(e *feed.Entry, now int64, cut map[notice.Indicator]bool) bool {
	return e.Until > 0 && e.Until <= now || cut[e.Indicator]
}

// hear judges anew what arrived, as much of it as is there.
func (f *feeds) hear(t touched) {
	batch := map[notice.Indicator]bool{t.Indicator: t.uncounted}
	for range feedTouched {
		select {
		case t := <-f.touched:
			uncounted, there := batch[t.Indicator]
			batch[t.Indicator] = t.uncounted && (uncounted || !there)
			continue
		default:
		}
		break
	}
	for i, uncounted := range batch {
		f.rejudge(i, uncounted)
	}
	f.commit()
}

// rejudge judges one value by what is stored of it now.
func (f *feeds) rejudge(i notice.Indicator, uncounted bool) {
	words, err := f.n.wordsFor(i)
	if err != nil {
		f.n.log.Error("feeds: a value is not judged", slog.Any("err", err))
		return
	}
	if f.building {
		f.fresh[i] = true
	}
	f.apply(i, words, uncounted, f.n.now().UnixMilli())
}

// apply has each list decide about a value.
func (f *feeds) apply(i notice.Indicator, words []verdict.Word, uncounted bool, now int64) {
	j := f.n.judge()
	uncounted = uncounted || f.cut[i]
	poisoned := ""
	for _, s := range f.lists {
		p := s.list.Policy()
		d := p.Decide(j, i, words, now)
		if e := s.list.Apply(i, &d, uncounted); e != nil && e.Until > 0 {
			f.await(s, e)
		}
		if poisoned == "" && d.Cause != feed.Kind {
			poisoned = d.Poisoned()
		}
	}
	if poisoned != "" {
		f.poisoned(i, words, poisoned, now)
	}
}

// commit makes visible what was judged.
func (f *feeds) commit() {
	now := f.n.now().UnixMilli()
	for _, s := range f.lists {
		before := s.now.Load()
		if before == nil && f.building {
			continue // half a list is none
		}
		changed, err := s.list.Commit(now)
		if err != nil {
			f.n.log.Error("feed is not kept", slog.String("feed", s.conf.Name), slog.Any("err", err))
		}
		if !changed && before != nil {
			continue
		}
		after := s.list.Snapshot()
		s.now.Store(after)
		if before == nil || before.Serial != after.Serial {
			f.dns.notify(s)
		}
		f.waits(before, after)
		f.disarmed(before, after)
	}
}

// waits alerts that a list waits for a word: once each time.
func (f *feeds) waits(before, after *feed.Snapshot) {
	if after.Waits == "" || before != nil && before.Waits != "" {
		return
	}
	f.n.alert(store.Alert{
		Kind: "feed-waits", Severity: "warning", TLP: after.Policy.TLP, Dedup: fmt.Sprintf("feed-waits/%s/%d", after.Policy.Name, after.Waiting),
		Text: fmt.Sprintf("The feed %s waits for a word: %s. Look: watchward feed diff %s; if that is right: watchward feed accept %s", after.Policy.Name, after.Waits, after.Policy.Name, after.Policy.Name),
	})
}

// disarmed alerts that warninglists took more than a fifth of a list away: one of them
// may be broken. Once each time.
func (f *feeds) disarmed(before, after *feed.Snapshot) {
	if after.Listed == 0 || before != nil && before.Listed != 0 {
		return
	}
	f.n.alert(store.Alert{
		Kind: "feed-listed", Severity: "critical", TLP: after.Policy.TLP, Dedup: fmt.Sprintf("feed-listed/%s/%d", after.Policy.Name, after.Modified),
		Text: fmt.Sprintf("Warninglists took %d values out of the feed %s within a day, more than a fifth of it: they are blocked no longer. Look at what changed in [warninglists] dir; if a list there is broken, remove it, and they come back", after.Listed, after.Policy.Name),
	})
}

// poisoned alerts that somebody's word would block what must not be blocked. A flood of
// such words becomes one alert that says so.
func (f *feeds) poisoned(i notice.Indicator, words []verdict.Word, why string, now int64) {
	dedup := "feed-guarded/" + i.Type.String() + "/" + shorten(i.Value, spreadShownMax)
	if known, err := f.n.store.Alerted(dedup); err != nil || known {
		return
	}
	if hour := now / 3_600_000; hour != f.hour {
		f.hour, f.told = hour, 0
	}
	a := store.Alert{Kind: "feed-guarded", Severity: "warning", Dedup: dedup}
	for _, w := range words {
		a.TLP = notice.Stricter(a.TLP, w.TLP.House())
		if len(a.Refs) < 8 {
			a.Refs = append(a.Refs, w.ID)
		}
	}
	if f.told++; f.told > poisonedMax {
		a.Dedup, a.TLP, a.Refs = fmt.Sprintf("feed-guarded/more/%d", f.hour), notice.TLPRed, nil
		a.Text = fmt.Sprintf("More than %d values within an hour were kept out of every feed, for they must not be blocked. Each says why: watchward feed show NAME --why VALUE", poisonedMax)
	} else {
		a.Text = fmt.Sprintf("%s is said to be bad and was kept out of every feed: %s.", shorten(i.Value, spreadShownMax), why)
		if len(words) > 0 { // not the value, which may mean something to a shell
			a.Text += fmt.Sprintf(" If members are wrong, tell them: watchward dispute %s", words[0].ID)
		}
	}
	f.n.alert(a)
}

// A dueEntry is an entry that is judged again at a time.
type dueEntry struct {
	at    int64 // ms
	state *feedState
	entry *feed.Entry
}

type feedHeap []dueEntry

func (h feedHeap) Len() int           { return len(h) }
func (h feedHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h feedHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *feedHeap) Push(x any)        { *h = append(*h, x.(dueEntry)) }
func (h *feedHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = dueEntry{}
	*h = old[:len(old)-1]
	return x
}

// await has an entry judged again when it is worth less. Each sighting makes another
// entry: those whose place was taken are thrown out once they are most of the heap.
func (f *feeds) await(s *feedState, e *feed.Entry) {
	heap.Push(&f.due, dueEntry{e.Until, s, e})
	live := 0
	for _, s := range f.lists {
		live += s.list.Len()
	}
	if len(f.due) > 2*live+feedDueSpare {
		f.due = slices.DeleteFunc(f.due, func(d dueEntry) bool { return !d.state.list.Has(d.entry) })
		heap.Init(&f.due)
	}
}

// nextDue is how long until something is to be judged again.
func (f *feeds) nextDue() time.Duration {
	if len(f.due) == 0 {
		return time.Hour
	}
	return min(max(time.Duration(f.due[0].at-f.n.now().UnixMilli())*time.Millisecond, time.Millisecond), time.Hour)
}

// expire judges again what may have lost its worth by now.
func (f *feeds) expire() {
	now, judged := f.n.now().UnixMilli(), map[notice.Indicator]bool{}
	for len(f.due) > 0 && f.due[0].at <= now && len(judged) < feedBatch {
		d := heap.Pop(&f.due).(dueEntry)
		if !d.state.list.Has(d.entry) || judged[d.entry.Indicator] {
			continue
		}
		judged[d.entry.Indicator] = true
		f.rejudge(d.entry.Indicator, true)
	}
	if len(judged) > 0 {
		f.commit()
	}
}

// follow tells run of each value of which something is said, until the node stops.
func (f *feeds) follow(after uint64) {
	ctx := f.n.ctx
	for ctx.Err() == nil {
		err := f.n.store.Follow(ctx, after, 0, func(local uint64, records []store.Record) error {
			for i := range records {
				values, err := f.n.subjects(&records[i])
				if err != nil {
					return err
				}
				for _, v := range values {
					if !f.types[v.Type] {
						continue
					}
					select {
					case f.touched <- touched{v, records[i].Notice.Kind != notice.KindDispute}:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			}
			after = local
			return nil
		})
		if errors.Is(err, store.ErrClosed) || ctx.Err() != nil {
			return
		}
		f.n.log.Error("feeds are not kept up: trying again", slog.Any("err", err))
		select {
		case <-ctx.Done():
		case <-time.After(feedAgain):
		}
	}
}

// subjects returns the values of which a notice says something: its own, and that of
// what it disputes or takes back.
func (n *Node) subjects(r *store.Record) (out []notice.Indicator, err error) {
	for hop := 0; hop < 3; hop++ { // a dispute may be taken back
		if r.Notice.Indicator != nil {
			out = append(out, *r.Notice.Indicator)
		}
		if r.Notice.Ref == nil {
			return out, nil
		}
		of, ok, err := n.store.Record(*r.Notice.Ref)
		if err != nil || !ok { // if it comes later, it is a word of its own
			return out, err
		}
		r = &of
	}
	return out, nil
}

// cutOff returns the values of some types of which words were withdrawn with a revoked
// member: what leaves a list for it waits for nobody, also after a restart.
func (n *Node) cutOff(types map[notice.Type]bool) (map[notice.Indicator]bool, error) {
	out := map[notice.Indicator]bool{}
	err := n.store.WithdrawnRecords(func(r store.Record) bool {
		if i := r.Notice.Indicator; i != nil && types[i.Type] {
			out[*i] = true
		}
		return n.ctx.Err() == nil
	})
	return out, err
}

// wordsFor returns what was said of a value itself.
func (n *Node) wordsFor(i notice.Indicator) ([]verdict.Word, error) {
	if !n.store.MayHave(i.Key()) {
		return nil, nil
	}
	return n.wordsOf(nil, i, 0)
}

// eachSaid yields all values of some types with what was said of them, and those that
// are denied here of which nobody says anything.
func (n *Node) eachSaid(ctx context.Context, types map[notice.Type]bool, yield func([]spoken) error) error {
	denied := map[notice.Indicator]bool{}
	for i, no := range n.decided() {
		if no && types[i.Type] {
			denied[i] = true
		}
	}
	batch := make([]spoken, 0, feedBatch)
	add := func(s spoken) error {
		if batch = append(batch, s); len(batch) < feedBatch {
			return nil
		}
		full := batch
		batch = make([]spoken, 0, feedBatch)
		return yield(full)
	}
	err := n.store.EachWords(ctx, func(i notice.Indicator, said []store.Word) error {
		if !types[i.Type] {
			return nil
		}
		delete(denied, i)
		i.Value = strings.Clone(i.Value) // not the whole of what it was read from
		return add(spoken{Indicator: i, words: wordsAbout(nil, said, i)})
	})
	for i := range denied {
		if err == nil {
			err = add(spoken{Indicator: i})
		}
	}
	if err == nil && len(batch) > 0 {
		err = yield(batch)
	}
	return err
}

// decided returns what is denied here (true) and what is allowed.
func (n *Node) decided() map[notice.Indicator]bool {
	p := n.policies
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[notice.Indicator]bool, len(p.decided))
	for i, s := range p.decided {
		out[i] = s.Denied
	}
	return out
}

// redecide takes up at once what was decided here: the lists are made anew after it,
// which takes longer.
func (f *feeds) redecide() {
	now := f.n.decided()
	var changed []notice.Indicator
	for i, denied := range now {
		if was, ok := f.decided[i]; !ok || was != denied {
			changed = append(changed, i)
		}
	}
	for i := range f.decided {
		if _, ok := now[i]; !ok {
			changed = append(changed, i)
		}
	}
	f.decided = now
	if len(changed) == 0 {
		return
	}
	for _, i := range changed {
		f.rejudge(i, false)
	}
	if len(changed) <= feedDecided {
		seen := map[notice.Indicator]bool{}
		for _, s := range f.lists {
			for e := range s.list.All {
				for _, c := range changed {
					if !seen[e.Indicator] && related(e.Indicator, c) {
						seen[e.Indicator] = true
					}
				}
			}
		}
		for i := range seen {
			f.rejudge(i, false)
		}
	}
	f.commit()
}

// related reports whether one of two values is within the other.
func related(a, b notice.Indicator) bool {
	if host, ok := a.Host(); ok {
		a = host
	}
	if host, ok := b.Host(); ok {
		b = host
	}
	if a.Type == notice.TypeDomain || b.Type == notice.TypeDomain {
		return a.Type == b.Type && (a.Value == b.Value || strings.HasSuffix(a.Value, "."+b.Value) || strings.HasSuffix(b.Value, "."+a.Value))
	}
	p, ok := asNetwork(a)
	q, also := asNetwork(b)
	return ok && also && p.Overlaps(q)
}

func asNetwork(i notice.Indicator) (netip.Prefix, bool) {
	if i.Type == notice.TypeCIDR {
		p, err := netip.ParsePrefix(i.Value)
		return p, err == nil
	}
	a, err := netip.ParseAddr(i.Value)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// warninglists are those that the policy of now knows.
func (n *Node) warninglists() *warninglist.Set { return n.policies.now.Load().lists }
