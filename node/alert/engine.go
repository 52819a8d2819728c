package alert

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
)

// Config of an Engine.
type Config struct {
	Node   string           // the hospital's name
	Words  *catalog.Printer // nil = English
	Prefix string           // of ids of messages: another on every node
	Rules  []Rule           // those behind all others included
	Sinks  []Sink
	Ack    time.Duration // how long somebody may take to acknowledge

	Digest bool // once a day, at
	Hour   int
	Minute int
	Zone   *time.Location // nil = UTC
}

// An Engine is the state of all alerts. One goroutine at a time may use it.
type Engine struct {
	c     Config
	rules map[string]*Rule
	sinks map[string]*Sink
	all   []string // names of sinks

	groups   map[string]*Group
	byKey    map[string]*Group
	byAlert  map[uint64]*Group
	silences map[string]*Silence
	lines    []*line
	meta     meta

	out   Changes
	dirty map[*Group]bool
}

// New returns an engine without a past; Load gives it one.
func New(c Config) *Engine {
	if c.Zone == nil {
		c.Zone = time.UTC
	}
	if c.Words == nil {
		c.Words = catalog.For("")
	}
	e := &Engine{
		c: c, rules: map[string]*Rule{}, sinks: map[string]*Sink{},
		groups: map[string]*Group{}, byKey: map[string]*Group{}, byAlert: map[uint64]*Group{}, silences: map[string]*Silence{},
		dirty: map[*Group]bool{}, meta: meta{Bare: map[string]int64{}, Told: map[string]hour{}},
	}
	for i := range c.Rules {
		e.rules[c.Rules[i].Name] = &c.Rules[i]
	}
	for i := range c.Sinks {
		e.sinks[c.Sinks[i].Name] = &c.Sinks[i]
		e.all = append(e.all, c.Sinks[i].Name)
	}
	return e
}

// Load takes in one thing that Changes.Keep has kept. All come before anything else.
func (e *Engine) Load(name string, value []byte) error {
	if err := e.load(name, value); err != nil {
		return err
	}
	if e.meta.Bare == nil {
		e.meta.Bare = map[string]int64{}
	}
	if e.meta.Told == nil {
		e.meta.Told = map[string]hour{}
	}
	return nil
}

// Take decides about an event.
func (e *Engine) Take(ev Event, now int64) Changes {
	if ev.Alert == 0 {
		ev.TLP = ev.TLP.House()
	}
	switch {
	case ev.Alert != 0 && e.byAlert[ev.Alert] != nil: // it was taken before
	case ev.Kind() == KindLimit:
		e.overLimit(&ev, now)
	case ev.Alert != 0 && e.followUp(&ev, now):
	default:
		e.decide(&ev, now)
	}
	return e.take()
}

// Rule returns the rule that decides about an event, nil if none does.
func (e *Engine) Rule(ev *Event) *Rule {
	for i := range e.c.Rules {
		if e.c.Rules[i].matches(ev) {
			return &e.c.Rules[i]
		}
	}
	return nil
}

func (e *Engine) decide(ev *Event, now int64) {
	r := e.Rule(ev)
	switch {
	case r == nil && ev.Alert == 0 || r != nil && r.Do == Drop:
	case ev.Alert == 0 && (r.Do == Page || r.Do == Digest):
		e.raise(r, ev, now)
	case r == nil || r.Do == Digest:
		e.note(ev, "")
	case e.silenced(ev, now):
		e.quiet(r, ev, now)
	case r.Do == Send:
		if e.within(r, ev, now) {
			e.tell(e.to(r), e.message(TypeSend, ev), ev.TLP, ev.Alert != 0, now)
		} else if ev.Alert != 0 {
			e.note(ev, "")
		}
	case e.inhibited(ev, now):
		e.note(ev, "")
	default:
		e.page(r, ev, now)
	}
}

// to returns the sinks that a rule tells at once.
func (e *Engine) to(r *Rule) []string {
	if len(r.To) == 0 {
		return e.all
	}
	return r.To
}

// raise asks for an alert about a notice: it comes back as an event of its own.
func (e *Engine) raise(r *Rule, ev *Event, now int64) {
	if !e.within(&Rule{Name: r.Name + " (notices)", Limit: r.Limit}, ev, now) {
		return
	}
	e.out.Raise = append(e.out.Raise, Raised{
		Kind: KindNotice, Severity: "info", Text: ev.Text, TLP: ev.TLP, Ref: ev.Notice, Dedup: KindNotice + "/" + ev.Notice,
	})
}

// page tells of an event, unless it belongs to what was told already.
func (e *Engine) page(r *Rule, ev *Event, now int64) {
	key := groupKey(r, ev)
	g := e.byKey[key]
	if g != nil && g.joinable(now) && g.State != Silenced {
		worse := rank(ev.Severity) > rank(g.Severity)
		e.join(g, ev)
		if !worse || !e.within(r, ev, now) {
			return
		}
		g.State, g.Severity, g.Text, g.Line, g.Step, g.By, g.At = Open, ev.Severity, ev.Text, ev.Line, 0, "", 0
	} else {
		if !e.within(r, ev, now) {
			e.note(ev, "")
			return
		}
		g = e.open(r, ev, key)
	}
	g.Next = e.after(r, g, now)
	e.tellGroup(g, e.to(r), TypePage, now)
}

// open begins a group.
func (e *Engine) open(r *Rule, ev *Event, key string) *Group {
	g := &Group{
		ID: strconv.FormatUint(ev.Alert, 10), Rule: r.Name, Key: key, State: Open, First: ev.Time, Last: ev.Time, Count: 1,
		Kind: ev.Kind(), Severity: ev.Severity, Text: ev.Text, Line: ev.Line, TLP: ev.TLP, Alerts: []uint64{ev.Alert}, Refs: ev.Refs,
		Value: first(ev.Fields[FieldValue]), Valued: first(ev.Fields[FieldType]), Author: first(ev.Fields[FieldAuthor]),
	}
	e.index(g)
	e.dirty[g] = true
	for len(e.groups) > groupsMax {
		e.forget(slices.MinFunc(slices.Collect(maps.Values(e.groups)), func(a, b *Group) int {
			return cmp.Or(cmp.Compare(a.Last, b.Last), cmp.Compare(a.Alerts[0], b.Alerts[0]))
		}))
	}
	return g
}

func (e *Engine) join(g *Group, ev *Event) {
	g.Last, g.Count, g.TLP = max(g.Last, ev.Time), g.Count+1, notice.Stricter(g.TLP, ev.TLP)
	if len(g.Alerts) < membersMax {
		g.Alerts = append(g.Alerts, ev.Alert)
		e.index(g)
	}
	e.dirty[g] = true
}

// groupKey is what makes events one group. What lacks a field that groups go by, or
// goes by none, is alone.
func groupKey(r *Rule, ev *Event) string {
	parts := []string{r.Name}
	for _, field := range r.GroupBy {
		value := first(ev.values(field))
		if value == "" {
			return fmt.Sprintf("%s/%d", r.Name, ev.Alert)
		}
		parts = append(parts, strings.ToLower(value))
	}
	if len(parts) == 1 {
		return fmt.Sprintf("%s/%d", r.Name, ev.Alert)
	}
	return strings.Join(parts, "\x00")
}

func rank(severity string) int {
	return slices.Index([]string{"info", "warning", "critical"}, severity)
}

// after returns when a group is told of again; 0 is never.
func (e *Engine) after(r *Rule, g *Group, now int64) int64 {
	switch {
	case r == nil || g.State != Open:
		return 0
	case g.Step < uint64(len(r.Then)):
		return now + e.c.Ack.Milliseconds()
	case r.Repeat > 0:
		return now + r.Repeat.Milliseconds()
	}
	return 0
}

// within counts what a rule tells in an hour. The first beyond its limit raises an
// alert that says so, marked as the strictest of all that was told or is not.
func (e *Engine) within(r *Rule, ev *Event, now int64) bool {
	if h := now / time.Hour.Milliseconds(); h != e.meta.Hour {
		e.meta.Hour, e.meta.Told = h, map[string]hour{}
	}
	told := e.meta.Told[r.Name]
	within := told.Count < int64(r.Limit)
	if !within && told.Said { // what is beyond the limit is counted no more, and need not be kept
		return false
	}
	told.TLP = notice.Stricter(told.TLP, ev.TLP)
	if within {
		told.Count++
	} else {
		told.Said = true
		e.out.Raise = append(e.out.Raise, Raised{
			Kind: KindLimit, Severity: "warning", TLP: told.TLP, Dedup: fmt.Sprintf("%s%s/%d", limitDedupPrefix, r.Name, e.meta.Hour),
			Text: e.c.Words.Text(catalog.AlertLimit, r.Name, r.Limit),
		})
	}
	e.meta.Told[r.Name] = told
	e.out.keep(nameMeta, nil) // take writes it
	return within
}

// overLimit tells those whom a rule tells that it is over its limit.
func (e *Engine) overLimit(ev *Event, now int64) {
	name := strings.TrimPrefix(ev.Dedup, limitDedupPrefix)
	name = strings.TrimSuffix(name[:max(0, strings.LastIndexByte(name, '/'))], " (notices)")
	e.note(ev, "")
	if r := e.rules[name]; r != nil && r.Do != Digest {
		e.tell(e.to(r), e.message(TypePage, ev), ev.TLP, true, now)
	}
}

// An inhibition keeps an alert back while a group of another kind is there, of the same
// value: it tells nothing that somebody could do more about.
var inhibitions = map[string][]string{ // kept back → by
	KindSeenHere: {KindHit},
	"spreading":  {KindHit},
	"question":   {KindHit},
}

func (e *Engine) inhibited(ev *Event, now int64) bool {
	value := first(ev.Fields[FieldValue])
	if value == "" {
		return false
	}
	for _, g := range e.groups {
		if g.Value == value && g.State != Silenced && g.joinable(now) && slices.Contains(inhibitions[ev.Kind()], g.Kind) {
			return true
		}
	}
	return false
}

// followUp tells those who were paged of a mayday what becomes of it.
func (e *Engine) followUp(ev *Event, now int64) bool {
	kind := ev.Kind()
	if kind != KindMaydayBack && kind != KindMaydayDoubt {
		return false
	}
	author, found := first(ev.Fields[FieldAuthor]), false
	for _, g := range e.ordered() {
		if author == "" || g.Kind != KindMayday || g.Author != author || !g.joinable(now) || g.State == Silenced {
			continue
		}
		found = true
		typ := TypeUpdate
		e.join(g, ev)
		if kind == KindMaydayBack {
			typ, g.State, g.Next = TypeOver, Over, 0
		}
		m := e.message(typ, ev)
		m.Group = g.ID
		e.tell(g.Told, m, g.TLP, true, now)
	}
	return found
}

// Tick does what time brings: who has not been answered is followed by the next, what
// is old is forgotten, the digest goes out. Call it when Next has come, and now and
// then.
func (e *Engine) Tick(now int64) Changes {
	for _, g := range e.ordered() {
		if now > g.Last+groupLife.Milliseconds() && now > g.First+groupLife.Milliseconds() {
			e.forget(g)
			continue
		}
		e.again(g, now)
	}
	for id, s := range e.silences {
		if s.Until <= now {
			delete(e.silences, id)
			e.out.keep(nameSilence+id, nil)
		}
	}
	e.digest(now)
	return e.take()
}

// again tells of a group whose time has come.
func (e *Engine) again(g *Group, now int64) {
	r := e.rules[g.Rule]
	if g.State != Open || r == nil || g.Next == 0 {
		return
	}
	if latest := e.after(r, g, now); g.Next > latest { // the clock was set back
		g.Next = latest
		e.dirty[g] = true
	}
	if g.Next > now {
		return
	}
	to, typ := g.Told, TypeRepeat
	if g.Step < uint64(len(r.Then)) {
		to, typ = []string{r.Then[g.Step]}, TypeEscalation
		g.Step++
	}
	g.Next = e.after(r, g, now)
	e.dirty[g] = true
	e.tellGroup(g, to, typ, now)
}

// Failed says that a page could not be brought to a sink: the next is told at once.
func (e *Engine) Failed(group string, now int64) Changes {
	g := e.groups[group]
	if g != nil && g.State == Open {
		if r := e.rules[g.Rule]; r != nil && g.Step < uint64(len(r.Then)) {
			g.Next = now
			e.again(g, now)
		}
	}
	return e.take()
}

// ordered are the groups, the oldest first.
func (e *Engine) ordered() []*Group {
	return slices.SortedFunc(maps.Values(e.groups), func(a, b *Group) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Alerts[0], b.Alerts[0]))
	})
}

// Next returns when Tick has something to do, 0 if that is not known.
func (e *Engine) Next() int64 {
	next := int64(0)
	sooner := func(at int64) {
		if at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	for _, g := range e.groups {
		if g.State == Open && e.rules[g.Rule] != nil {
			sooner(g.Next)
		}
	}
	for _, s := range e.silences {
		sooner(s.Until)
	}
	if e.c.Digest {
		sooner(e.meta.DigestAt)
	}
	return next
}

// Ack notes that somebody looks after a group, named by its id or one of its alerts. It
// returns nil if there is no such group.
func (e *Engine) Ack(id, by string, now int64) (*Group, Changes) {
	g := e.Group(id)
	if g == nil {
		return nil, Changes{}
	}
	if g.State == Open || g.State == Silenced {
		told := g.State == Open
		g.State, g.By, g.At, g.Next = Acknowledged, by, now, 0
		e.dirty[g] = true
		if told {
			m := e.groupMessage(g, TypeAcknowledged, now)
			m.By = by
			e.tell(g.Told, m, g.TLP, false, now)
		}
	}
	return g, e.take()
}

// Group returns the group with an id, or of an alert with that number; nil if none.
func (e *Engine) Group(id string) *Group {
	if g := e.groups[id]; g != nil {
		return g
	}
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return nil
	}
	return e.byAlert[n]
}
