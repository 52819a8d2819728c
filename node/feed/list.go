package feed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/watchward/watchward/node/notice"
)

// The shrink rule: of the largest that a list was within a day, no more than a fifth
// leaves without a person's word.
const (
	shrinkPercent = 20
	shrinkWindow  = 24 * 60 * 60 * 1000 // ms
)

// Bounds of what a list remembers beside its entries.
const (
	changesMax = 65_536 // entries of the changes that a delta can be made of
	unfitMax   = 10_000 // values that are told apart of those left out
)

// A List is a feed's content. It belongs to one goroutine; what it publishes is a
// Snapshot, which anybody may read.
type List struct {
	p      Policy
	values sorted // all that belongs here, or waits to leave
	ranks  sorted // the same by priority
	inside int    // how many of ranks are within the limits
	size   int    // bytes of these

	entriesMax, sizeMax int // as they are now: lowering them is a shrink too

	epoch    uint64
	building bool
	leaving  []*Entry // in this batch, counted as a shrink
	held     int
	peak     int   // the largest within the window, what the shrink is measured by
	peakAt   int64 // ms, when the window began
	shrunk   int   // counted entries that left within the window
	listed   int   // entries that left for a warninglist since that was last looked at
	listing  int   // and within the window
	waiting  int64 // ms, since when something waits; 0 = nothing does
	unfit    map[notice.Indicator]string

	added, removed []*Entry // since the last commit
	changes        []change // oldest first
	changed        int      // entries in changes
	dropped        uint32   // serial before the first of changes
	filled         bool     // a list that was not empty was published
	empty          bool     // the last word was that it may be empty

	kept *kept
	now  *Snapshot
}

// A change is what one serial made of the one before.
type change struct {
	serial         uint32
	added, removed []*Entry
}

// NewList returns an empty list. The policy has passed Check.
func NewList(p Policy) *List {
	l := &List{p: p, values: sorted{compare: byValue}, ranks: sorted{compare: byPriority}, unfit: map[notice.Indicator]string{}}
	l.entriesMax, l.sizeMax = p.limits()
	return l
}

// Policy returns the list's policy.
func (l *List) Policy() *Policy { return &l.p }

// Get returns the entry of a value, nil if it is not in the list. Held says that it
// belongs here no longer.
func (l *List) Get(i notice.Indicator) (e *Entry, held bool) {
	if e = l.values.get(&Entry{Indicator: i}); e != nil {
		return e, e.held
	}
	return nil, false
}

// Has reports whether e is in the list still, as it is.
func (l *List) Has(e *Entry) bool { return !e.gone }

// Len returns how many entries All yields.
func (l *List) Len() int { return l.values.n }

// All yields the entries by value, those too that wait to leave or do not fit.
func (l *List) All(yield func(*Entry) bool) { l.values.all(yield) }

// Begin starts a build: what Apply does not find until End leaves, and nothing that
// is counted leaves before End.
func (l *List) Begin() {
	l.epoch++
	l.building = true
	l.unfit = map[notice.Indicator]string{}
}

// Apply does what was decided of a value. uncounted says that what leaves now is no
// shrink: it expired or was taken back. It returns the entry if it is in the list and
// not what it was.
func (l *List) Apply(i notice.Indicator, d *Decision, uncounted bool) *Entry {
	if d.Cause == Unfit {
		if len(l.unfit) < unfitMax {
			l.unfit[i] = d.Reason
		}
	} else if len(l.unfit) > 0 {
		delete(l.unfit, i)
	}
	old := l.values.get(&Entry{Indicator: i})
	if d.Cause == In {
		return l.put(old, d.Entry)
	}
	if old == nil {
		return nil
	}
	if d.Cause == Listed {
		l.listed++
	}
	old.epoch = l.epoch
	l.leave(old, d.Cause.Counted() && !uncounted)
	return nil
}

func (l *List) put(old *Entry, e Entry) *Entry {
	if old != nil {
		old.leaving = false
		if old.same(&e) && !old.held {
			old.epoch = l.epoch
			return nil
		}
		if old.Since != 0 {
			e.Since = old.Since
		}
		l.take(old)
	}
	fresh := &e
	fresh.epoch, fresh.size = l.epoch, len(l.p.text(fresh))
	l.add(fresh)
	return fresh
}

// leave lets an entry go at once, or at the commit if that is no shrink too many.
func (l *List) leave(e *Entry, counted bool) {
	switch {
	case !counted:
		l.take(e)
	case !e.held && !e.leaving:
		e.leaving = true
		l.leaving = append(l.leaving, e)
	}
}

// End ends a build. What it did not find leaves: at once if known says that there is a
// reason for it, and else as a shrink, for then what it was made of may be lost.
func (l *List) End(known func(*Entry) bool) {
	l.building = false
	var gone []*Entry
	for e := range l.values.all {
		if e.epoch != l.epoch {
			gone = append(gone, e)
		}
	}
	for _, e := range gone {
		l.leave(e, !known(e))
	}
}

// Sift takes out at once what must not be in a list, whoever said it: what is held
// and what was kept on disk have nobody else who looks.
func (l *List) Sift(out func(*Entry) bool) {
	var gone []*Entry
	for e := range l.values.all {
		if out(e) {
			gone = append(gone, e)
		}
	}
	for _, e := range gone {
		l.take(e)
	}
}

// Held yields what waits for a word to leave.
func (l *List) Held(yield func(*Entry) bool) {
	if l.held == 0 {
		return
	}
	l.values.all(func(e *Entry) bool { return !e.held || yield(e) })
}

func (l *List) add(e *Entry) {
	e.gone = false
	l.values.insert(e)
	l.ranks.insert(e)
	if e.held {
		l.held++
	}
	if l.inside < l.ranks.n-1 && l.ranks.rank(e) > l.inside {
		return // beyond what fits already
	}
	l.enter(e)
	for l.inside > l.entriesMax || l.size > l.sizeMax {
		l.exit(l.ranks.at(l.inside - 1))
	}
	l.fill()
}

func (l *List) take(e *Entry) {
	if e.gone {
		return
	}
	e.gone = true
	if e.held {
		l.held--
	}
	if e.in {
		l.exit(e)
	}
	l.values.remove(e)
	l.ranks.remove(e)
	l.fill()
}

// enter and exit move the border between what fits and what is left out.
func (l *List) enter(e *Entry) {
	e.in = true
	l.inside++
	l.size += e.size
	l.values.touch(e)
	l.added = append(l.added, e)
}

func (l *List) exit(e *Entry) {
	e.in = false
	l.inside--
	l.size -= e.size
	l.values.touch(e)
	l.removed = append(l.removed, e)
}

// fill lets in what fits, the first by priority first.
func (l *List) fill() {
	for l.inside < l.entriesMax && l.inside < l.ranks.n {
		next := l.ranks.at(l.inside)
		if next.in || l.size+next.size > l.sizeMax {
			return
		}
		l.enter(next)
	}
}

// settle decides about what wants to leave, and reports whether it has to wait.
func (l *List) settle(now int64) {
	if now-l.peakAt >= shrinkWindow || now < l.peakAt {
		l.peak, l.peakAt, l.shrunk, l.listing = 0, now, 0, 0
	}
	if l.building { // what it finds to leave is one shrink
		return
	}
	leaving := slices.DeleteFunc(l.leaving, func(e *Entry) bool { return e.gone || !e.leaving })
	for _, e := range leaving {
		e.leaving = false
	}
	l.leaving = nil
	l.peak = max(l.peak, l.values.n-l.held+l.listed)
	l.listing, l.listed = l.listing+l.listed, 0
	if (l.shrunk+len(leaving))*100 > l.peak*shrinkPercent {
		for _, e := range leaving {
			e.held = true
		}
		l.held += len(leaving)
	} else {
		l.shrunk += len(leaving)
		for _, e := range leaving {
			l.take(e)
		}
	}
	entries, size := l.p.limits()
	if entries > l.entriesMax || size > l.sizeMax { // wider is no shrink
		l.entriesMax, l.sizeMax = max(entries, l.entriesMax), max(size, l.sizeMax)
		l.fill()
	}
	l.narrow(entries, size)
}

// narrow takes up lower limits where that is no shrink.
func (l *List) narrow(entries, size int) {
	if entries == l.entriesMax && size == l.sizeMax {
		return
	}
	if l.fits(entries, size) {
		l.entriesMax, l.sizeMax = entries, size
		for l.inside > entries || l.size > size {
			l.exit(l.ranks.at(l.inside - 1))
		}
	}
}

func (l *List) fits(entries, size int) bool {
	return l.inside-min(l.inside, entries) <= l.inside*shrinkPercent/100 && (l.size <= size || l.size-size <= l.size*shrinkPercent/100)
}

// WouldWait reports whether something would wait for a word if so many entries left
// that are counted as a shrink, so many stayed, and the limits were those of p.
func (l *List) WouldWait(leave, stay int, p *Policy, now int64) bool {
	peak, shrunk := l.peak, l.shrunk
	if now-l.peakAt >= shrinkWindow || now < l.peakAt {
		peak, shrunk = 0, 0
	}
	entries, size := p.limits()
	return leave > 0 && (shrunk+leave)*100 > max(peak, l.values.n-l.held)*shrinkPercent ||
		(entries < l.entriesMax || size < l.sizeMax) && !l.fits(entries, size) ||
		stay == 0 && l.filled && !l.empty && !p.Format.explicit()
}

// Accept lets go what waits. It returns how many entries left.
func (l *List) Accept(now int64) int {
	before := l.inside
	var gone []*Entry
	for e := range l.Held {
		gone = append(gone, e)
	}
	for _, e := range gone {
		l.take(e)
	}
	l.entriesMax, l.sizeMax = l.p.limits()
	for l.inside > l.entriesMax || l.size > l.sizeMax {
		l.exit(l.ranks.at(l.inside - 1))
	}
	l.peak, l.peakAt, l.shrunk, l.listing, l.empty = l.inside, now, 0, 0, true
	return max(0, before-l.inside)
}

// disarmed returns how many entries left for warninglists within a day, if they are
// more than a fifth of the list, and else 0.
func (l *List) disarmed() int {
	if l.listing*100 > l.peak*shrinkPercent {
		return l.listing
	}
	return 0
}

// Waits says what waits for a person's word, "" if nothing does.
func (l *List) Waits() string {
	entries, size := l.p.limits()
	var why []string
	if l.held > 0 {
		why = append(why, fmt.Sprintf("%d of %d entries would leave at once, more than %d %%: they stay", l.held, l.values.n, shrinkPercent))
	}
	if entries < l.entriesMax || size < l.sizeMax {
		why = append(why, fmt.Sprintf("the new limit of %d entries would cut %d off: the old one stays", entries, l.inside-entries))
	}
	if l.mute() {
		why = append(why, "nothing is left in it: consumers get no answer, and keep what they have")
	}
	return strings.Join(why, "; ")
}

// mute reports whether the list would be empty where the last good one was not.
func (l *List) mute() bool { return l.inside == 0 && l.filled && !l.empty && !l.p.Format.explicit() }

// Commit makes the batch visible: it writes down what changed and publishes a new
// Snapshot. It reports whether anything changed. An error means that it could not be
// written down; it is visible all the same.
func (l *List) Commit(now int64) (changed bool, err error) {
	l.settle(now)
	waits := l.Waits()
	if waits == "" {
		l.waiting = 0
	} else if l.waiting == 0 {
		l.waiting = now
	}
	added, removed, renewed := l.net()
	if l.now != nil && len(added)+len(removed)+len(renewed) == 0 {
		if l.now.Mute != l.mute() || l.now.Waits != waits || l.now.LeftOut != l.values.n-l.inside || l.now.Unfit != len(l.unfit) || l.now.Listed != l.disarmed() {
			s := *l.now
			s.Mute, s.Waits, s.Waiting, s.LeftOut, s.Unfit, s.Held = l.mute(), waits, l.waiting, l.values.n-l.inside, len(l.unfit), l.held
			s.Truncated, s.Listed = l.truncated(), l.disarmed()
			l.now = &s
			return true, l.write(nil, nil, nil)
		}
		return false, nil
	}
	first := l.now == nil
	if l.inside > 0 {
		l.filled, l.empty = true, false
	}
	serial := uint32(0)
	if !first && len(added)+len(removed) == 0 { // the same text
		serial = l.now.Serial
	}
	l.publish(now, waits, serial)
	if !first && serial == 0 {
		l.remember(change{l.now.Serial, added, removed})
	}
	return true, l.write(added, renewed, removed)
}

// net returns what was added to what is published and removed from it. Renewed entries
// took another's place and are written as it was.
func (l *List) net() (added, removed, renewed []*Entry) {
	old := map[notice.Indicator]*Entry{}
	for _, e := range l.removed {
		if e.shown && !e.in {
			e.shown = false
			old[e.Indicator] = e
		}
	}
	for _, e := range l.added {
		if e.shown || !e.in {
			continue
		}
		e.shown = true
		before := old[e.Indicator]
		delete(old, e.Indicator)
		switch {
		case before == nil:
			added = append(added, e)
		case l.p.Format != CrowdSec && bytes.Equal(l.p.text(before), l.p.text(e)):
			renewed = append(renewed, e)
		default:
			added, removed = append(added, e), append(removed, before)
		}
	}
	for _, e := range old {
		removed = append(removed, e)
	}
	l.added, l.removed = nil, nil
	slices.SortFunc(added, byValue)
	slices.SortFunc(removed, byValue)
	return added, removed, renewed
}

// remember keeps a change for deltas.
func (l *List) remember(c change) {
	l.changes = append(l.changes, c)
	l.changed += len(c.added) + len(c.removed)
	for l.changed > changesMax && len(l.changes) > 0 {
		l.changed -= len(l.changes[0].added) + len(l.changes[0].removed)
		l.dropped = l.changes[0].serial
		l.changes = l.changes[1:] // snapshots share what is behind it
	}
	l.now.changes, l.now.dropped = slices.Clip(l.changes), l.dropped
}

// publish renders what changed and makes it the list of now, under a serial, or under
// the next.
func (l *List) publish(now int64, waits string, serial uint32) {
	s := &Snapshot{
		Policy: l.p, Entries: l.inside, LeftOut: l.values.n - l.inside, Held: l.held, Unfit: len(l.unfit), Listed: l.disarmed(),
		Mute: l.mute(), Waits: waits, Waiting: l.waiting, Truncated: l.truncated(), views: make([]*view, 0, len(l.values.chunks)),
	}
	switch {
	case serial != 0 && l.now != nil:
		s.Serial, s.Modified = serial, l.now.Modified
	case serial != 0:
		s.Serial, s.Modified = serial, now
	default:
		s.Serial, s.Modified = l.next(now)
	}
	s.changes, s.dropped = slices.Clip(l.changes), l.dropped
	for _, k := range l.values.chunks {
		if k.view == nil {
			k.view = l.render(k)
		}
		if len(k.view.entries) > 0 {
			s.views = append(s.views, k.view)
			s.size += int64(len(k.view.text))
		}
	}
	s.head = l.p.header(s.Serial)
	s.size += int64(len(s.head))
	s.tag()
	l.now = s
}

// next is a serial later than any before, and than any that a lost file had:
// secondaries never see it fall. RFC 1982 lets it wrap. HTTP tells seconds apart.
func (l *List) next(now int64) (serial uint32, modified int64) {
	serial, modified = uint32(now/1000), now
	if l.now == nil {
		l.dropped = serial
		return serial, modified
	}
	if next := l.now.Serial + 1; int32(serial-next) < 0 {
		serial = next
	}
	return serial, max(now, l.now.Modified+1000)
}

func (l *List) truncated() string {
	if l.inside == l.values.n {
		return ""
	}
	return fmt.Sprintf("%d of %d left out, by priority: at most %d entries", l.values.n-l.inside, l.values.n, l.entriesMax)
}

// A view is a chunk as it was published.
type view struct {
	entries []*Entry // those within the limits
	text    []byte
}

func (l *List) render(k *chunk) *view {
	v := &view{entries: make([]*Entry, 0, len(k.entries))}
	size := 0
	for _, e := range k.entries {
		if e.in {
			v.entries = append(v.entries, e)
			size += e.size
		}
	}
	if l.p.Format == CrowdSec {
		return v
	}
	v.text = make([]byte, 0, size)
	for _, e := range v.entries {
		v.text, _ = l.p.Format.line(v.text, &l.p, e) // it was one before
	}
	return v
}

// A Snapshot is a feed as it was published. It never changes.
type Snapshot struct {
	Policy    Policy
	Serial    uint32 // rises with each change, across restarts
	Modified  int64  // a second after the one before at least
	Entries   int
	LeftOut   int    // beyond the limits
	Truncated string // says so; "" if nothing is left out
	Held      int    // of Entries, waiting to leave
	Waits     string // why it waits for a word; "" if it does not
	Waiting   int64  // since when
	Unfit     int    // values that its format cannot carry
	Listed    int    // that left for warninglists within a day, if more than a fifth
	Mute      bool   // no answer is to be given: it would be empty, and was not

	head    []byte
	views   []*view
	size    int64
	etag    string
	changes []change
	dropped uint32
}

// Snapshot returns the list as it was last committed, nil before the first time.
func (l *List) Snapshot() *Snapshot { return l.now }

// Unfit returns the values that the format cannot carry, with why.
func (l *List) Unfit() map[notice.Indicator]string { return l.unfit }

// written is the version of how formats are written: it is part of a tag, so that
// nobody takes what another version wrote for the same.
const written = 1

func (s *Snapshot) tag() {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %v %s %d", written, s.Policy.Format, s.Policy.Types, s.Policy.Zone, s.Policy.Level))
	s.etag = fmt.Sprintf(`"%d-%s"`, s.Serial, hex.EncodeToString(sum[:4]))
}

// ETag is a strong validator: equal tags are equal bytes.
func (s *Snapshot) ETag() string { return s.etag }

// Size of the text in bytes.
func (s *Snapshot) Size() int64 { return s.size }

// WriteTo writes the text.
func (s *Snapshot) WriteTo(w io.Writer) (n int64, err error) {
	k, err := w.Write(s.head)
	n = int64(k)
	for _, v := range s.views {
		if err != nil {
			return n, err
		}
		if len(v.text) > 0 {
			k, err = w.Write(v.text)
			n += int64(k)
		}
	}
	return n, err
}

// All yields the entries by value.
func (s *Snapshot) All(yield func(*Entry) bool) {
	for _, v := range s.views {
		for _, e := range v.entries {
			if !yield(e) {
				return
			}
		}
	}
}

// Get returns the entry of a value, nil if it is not in the feed.
func (s *Snapshot) Get(i notice.Indicator) *Entry {
	want := &Entry{Indicator: i}
	at, _ := slices.BinarySearchFunc(s.views, want, func(v *view, e *Entry) int {
		if byValue(v.entries[len(v.entries)-1], e) < 0 {
			return -1
		}
		return 1
	})
	if at == len(s.views) {
		return nil
	}
	if k, ok := slices.BinarySearchFunc(s.views[at].entries, want, byValue); ok {
		return s.views[at].entries[k]
	}
	return nil
}

// A Delta is what happened to a feed between two serials, the last word on each value.
type Delta struct {
	Added, Removed []*Entry
	Renewed        []*Entry // in both, and not the same
}

// Since returns what happened after a serial. It reports false if that is too long
// ago to say, or was never a serial of this feed.
func (s *Snapshot) Since(serial uint32) (d Delta, ok bool) {
	if serial == s.Serial {
		return d, true
	}
	from := slices.IndexFunc(s.changes, func(c change) bool { return int32(c.serial-serial) > 0 })
	if from < 0 || from == 0 && serial != s.dropped || from > 0 && s.changes[from-1].serial != serial {
		return d, false
	}
	before := map[notice.Indicator]*Entry{} // nil: was not in it
	for _, c := range s.changes[from:] {
		for _, e := range c.removed {
			if _, seen := before[e.Indicator]; !seen {
				before[e.Indicator] = e
			}
		}
		for _, e := range c.added {
			if _, seen := before[e.Indicator]; !seen {
				before[e.Indicator] = nil
			}
		}
	}
	for i, was := range before {
		switch is := s.Get(i); {
		case is != nil && was != nil:
			d.Renewed = append(d.Renewed, is)
		case is != nil:
			d.Added = append(d.Added, is)
		case was != nil:
			d.Removed = append(d.Removed, was)
		}
	}
	for _, list := range [][]*Entry{d.Added, d.Removed, d.Renewed} {
		slices.SortFunc(list, byValue)
	}
	return d, true
}
