package node

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/logs"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
	"github.com/watchward/watchward/node/verdict"
)

// Bounds of hits.
const (
	hitsDay     = 200     // alerts of one log in a day; then one says that there are more
	groupsMax   = 4_000   // in a day, of all logs
	sharedDay   = 100     // sightings in a day, of all logs
	sharesMax   = 1_000   // values that wait to be told
	judgedMax   = 65_536  // values whose verdict is remembered
	absentSlots = 1 << 16 // values that are remembered as unknown; a power of two

	judgedFresh = 200 * time.Millisecond // a verdict holds so long, whatever was stored since
	judgedLife  = time.Minute            // and so long at most
	shareAfter  = 2 * time.Second        // a value's first hits that are told together
	rewordEvery = 10 * time.Second       // an alert's count is written anew

	lineShown  = 300 // bytes of a line in an alert
	valueShown = 200 // bytes of a value
	hitRefs    = 10  // notices that an alert names
)

// hits holds what the logs name against the store. Only the watch's goroutine uses it.
type hits struct {
	n      *Node
	seed   maphash.Seed
	absent []absentSlot
	epoch  uint64 // another whenever an absent value may be here
	from   uint64 // the store's presences, as of epoch
	policy <-chan struct{}
	judged map[notice.Indicator]*judgement
	inLine []notice.Indicator // what a line hit, each counted once
	seen   seen               // not in the history yet

	day      string // UTC
	groups   map[hitKey]*hitGroup
	alerted  map[string]int  // alerts of the day, by log
	more     map[string]int  // lines of values beyond hitsDay
	said     map[string]bool // what was said today once
	sharedOn int             // sightings of the day
	shares   map[notice.Indicator]*share
	owed     []*hitGroup // alerts that are not durable yet
	reworded time.Time
	told     time.Time // when it was looked what is to be told
}

type absentSlot struct {
	value notice.Indicator
	epoch uint64
}

// A judgement is what a value was worth a moment ago.
type judgement struct {
	verdict verdict.Verdict
	about   notice.Indicator // what the words speak of
	tlp     notice.TLP       // the strictest of those words
	at      time.Time
	last    uint64 // of the store
	epoch   uint64
}

// tellable says that hits are told: members' words alone, which speak of that very thing,
// have it watched for. What this house denies or needs is its own business.
func (j *judgement) tellable() bool {
	v := &j.verdict
	return v.Hit() && !v.Guarded && v.Said >= verdict.Detect && v.Matched == j.about && v.Matched != (notice.Indicator{})
}

// A hit is grouped by what matched, the log and the day.
type hitKey struct {
	About notice.Indicator
	Log   string
}

type hitGroup struct {
	hitKey
	Refs  []crypto.ItemID `json:"-"` // of words that raised it, until the alert has them
	Value string          // as the first line has it
	Role  string
	Line  string `json:"-"` // the first, shortened and escaped, until the alert has it
	Why   string
	Level string
	TLP   notice.TLP
	Count uint64
	First int64 // ms
	Last  int64
	Told  uint64 // the count that the alert has; 0 = there is none yet
}

// A share is what may be told of hits of one thing.
type share struct {
	About notice.Indicator
	First int64
	Last  int64
	Count uint64 // not told yet
	Day   string // when it was told last, or found not to be for others
	since time.Time
}

// hitsState is what is kept of hits, with how far the logs are read.
type hitsState struct {
	Day    string         `json:"day"`
	Groups []*hitGroup    `json:"groups"`
	More   map[string]int `json:"more"`
	Shared int            `json:"shared"`
	Shares []*share       `json:"shares"`
}

func newHits(n *Node) *hits {
	return &hits{
		n: n, seen: newSeen(n.history), seed: maphash.MakeSeed(), absent: make([]absentSlot, absentSlots), epoch: 1, judged: map[notice.Indicator]*judgement{},
		groups: map[hitKey]*hitGroup{}, alerted: map[string]int{}, more: map[string]int{}, said: map[string]bool{}, shares: map[notice.Indicator]*share{},
	}
}

// take holds the observables of a line against the store.
func (h *hits) take(s *logSource, line []byte, e *logs.Event) {
	if len(e.Observables) == 0 {
		return
	}
	h.look()
	at := h.n.now().UnixMilli()
	if !e.Time.IsZero() {
		at = min(at, max(e.Time.UnixMilli(), 1))
	}
	h.inLine = h.inLine[:0]
	for i := range e.Observables {
		o := &e.Observables[i]
		hash := maphash.String(h.seed, o.Value) ^ uint64(o.Type)*0x9e3779b97f4a7c15
		if h.n.history != nil {
			h.seen.count(hash, o.Indicator, at)
		}
		j := h.judge(hash, o.Indicator)
		if j == nil || !j.verdict.Hit() || slices.Contains(h.inLine, j.about) {
			continue
		}
		h.inLine = append(h.inLine, j.about)
		h.hit(s, line, at, o, j)
	}
	if len(h.inLine) > 0 {
		s.mu.Lock()
		s.health.hits++
		s.mu.Unlock()
	}
}

// look begins a new epoch where what is absent may be here now.
func (h *hits) look() {
	from, policy := h.n.store.Presences(), h.n.policyChanged()
	if from != h.from || policy != h.policy || from == 0 {
		h.from, h.policy = from, policy
		h.epoch++
	}
}

// judge returns what a value is worth, nil if nobody spoke of it.
func (h *hits) judge(hash uint64, i notice.Indicator) *judgement {
	slot := &h.absent[hash%absentSlots]
	if slot.epoch == h.epoch && slot.value == i {
		return nil
	}
	if !h.mayHave(i) {
		*slot = absentSlot{i, h.epoch}
		return nil
	}
	last := h.n.store.Last()
	old := h.judged[i]
	if old != nil {
		age := time.Since(old.at)
		if old.epoch == h.epoch && age < judgedLife && (old.last == last || age < judgedFresh) {
			return old
		}
	}
	j, err := h.weigh(i)
	if err != nil {
		h.n.log.Error("a value of a log is not judged", slog.Any("err", err))
		return old
	}
	j.at, j.last, j.epoch = time.Now(), last, h.epoch
	if len(h.judged) >= judgedMax {
		clear(h.judged)
	}
	h.judged[i] = j
	return j
}

// mayHave reports whether a value, or what it matches, may have a verdict.
func (h *hits) mayHave(i notice.Indicator) (may bool) {
	h.n.candidates(i, true, func(c notice.Indicator) bool {
		may = h.n.store.MayHave(c.Key())
		return !may
	})
	return may || h.n.judge().Decides(i)
}

// weigh judges a value. Hits that nodes told of by themselves are no reason for
// another: one word that was taken back would otherwise go on among the logs of all who
// believed it.
func (h *hits) weigh(i notice.Indicator) (*judgement, error) {
	words, err := h.n.words(i, 0)
	if err != nil {
		return nil, err
	}
	words = slices.DeleteFunc(words, func(w verdict.Word) bool { return w.Kind == notice.KindSighting && w.Source == logsOrigin })
	v := h.n.judge().Verdict(i, words, 0, h.n.now().UnixMilli())
	j := &judgement{verdict: v, about: v.Matched}
	if j.about == (notice.Indicator{}) {
		j.about = i
	}
	for _, w := range words {
		if w.About == j.about {
			j.tlp = notice.Stricter(j.tlp, w.TLP.House())
		}
	}
	denied := slices.ContainsFunc(v.Reasons, func(r verdict.Reason) bool { return r.Cause == verdict.CauseDenied })
	if denied && v.Said < verdict.Detect { // only this house makes it a hit
		j.tlp = notice.Stricter(j.tlp, notice.TLPAmberStrict)
	}
	return j, nil
}

// logsOrigin is the source of sightings that nodes make of their logs.
const logsOrigin = "logs"

// hit notes a line that names something that is to be detected.
func (h *hits) hit(s *logSource, line []byte, at int64, o *logs.Observable, j *judgement) {
	if day := h.n.now().UTC().Format(time.DateOnly); day != h.day {
		h.begin(day)
	}
	if s.share && j.tellable() {
		h.note(j.about, at)
	}
	key := hitKey{j.about, s.name}
	g := h.groups[key]
	if g == nil {
		if h.alerted[s.name] >= hitsDay || len(h.groups) >= groupsMax {
			h.more[s.name]++
			return
		}
		h.alerted[s.name]++
		g = &hitGroup{hitKey: key, Refs: raisedBy(j.verdict), Value: o.Value, Role: o.Role.String(), Line: shownLine(line, o.Start, o.End), Level: j.verdict.Level.String(), Why: why(j.verdict), TLP: j.tlp, First: at}
		h.groups[key] = g
		h.owed = append(h.owed, g)
	}
	g.Count++
	g.First, g.Last = min(g.First, at), max(g.Last, at)
}

// begin begins a day. What was counted on the last one stays to be told.
func (h *hits) begin(day string) {
	h.day, h.sharedOn = day, 0
	clear(h.said)
	clear(h.groups)
	clear(h.alerted)
	clear(h.more)
	maps.DeleteFunc(h.shares, func(_ notice.Indicator, s *share) bool { return s.Count == 0 })
}

// note counts what may be told.
func (h *hits) note(about notice.Indicator, at int64) {
	s := h.shares[about]
	if s == nil {
		if len(h.shares) >= sharesMax { // more than can be told in ten days
			return
		}
		s = &share{About: about}
		h.shares[about] = s
	}
	if s.Count == 0 {
		s.First, s.Last, s.since = at, at, time.Now()
	}
	s.First, s.Last = min(s.First, at), max(s.Last, at)
	s.Count = min(s.Count+1, notice.CountMax)
}

// settle makes durable what follows from the lines so far: alerts, then what is told.
func (h *hits) settle() error {
	if err := h.seen.ready(); err != nil {
		return err
	}
	for len(h.owed) > 0 {
		g := h.owed[0]
		if err := h.alert(g); err != nil {
			return err
		}
		h.owed = h.owed[1:]
	}
	h.reword()
	h.sayMore()
	return h.share()
}

// alert raises the alert of a group and returns when it is durable.
func (h *hits) alert(g *hitGroup) error {
	severity := "warning"
	if g.Level == verdict.Block.String() {
		severity = "critical"
	}
	told := g.Count
	about := store.About(g.About)
	kept := store.Alert{Kind: alert.KindHit, Severity: severity, TLP: g.TLP, Text: g.text(h.n.printer()), Line: g.Line, Refs: g.Refs, About: &about, Dedup: h.dedup(g)}
	if _, err := h.n.keepAlert(kept); err != nil {
		return fmt.Errorf("the alert of a hit is not kept: %w", err)
	}
	g.Told, g.Refs, g.Line = told, nil, ""
	return nil
}

func (h *hits) dedup(g *hitGroup) string {
	return fmt.Sprintf("hit/%s/%s/%s", h.day, g.Log, g.About)
}

// text is what a person reads, without the line: that goes to who may see it alone.
func (g *hitGroup) text(words *catalog.Printer) string {
	text := words.Text(catalog.AlertHit, g.Log, g.Role, shorten(g.Value, valueShown))
	if g.Value != g.About.Value {
		text += words.Text(catalog.AlertHitMatches, g.About.Type.String(), shorten(g.About.Value, valueShown))
	}
	clock := func(ms int64) string { return words.BriefSeconds(time.UnixMilli(ms).UTC()) }
	if g.Count == 1 {
		text += words.Text(catalog.AlertHitLine, g.Level, clock(g.First))
	} else {
		text += words.Text(catalog.AlertHitLines, g.Count, g.Level, clock(g.First), clock(g.Last))
	}
	if g.Why != "" {
		text += words.Text(catalog.AlertHitWhy, g.Why)
	}
	return text
}

// raisedBy returns notices that raised a verdict.
func raisedBy(v verdict.Verdict) (out []crypto.ItemID) {
	for _, r := range v.Reasons {
		for _, id := range r.IDs {
			if r.Raised && len(out) < hitRefs && !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out
}

// whyShown bounds the reasons that an alert gives.
const whyShown = 300

// why is what raised a verdict, and whose the value is.
func why(v verdict.Verdict) string {
	var out []string
	for _, r := range v.Reasons {
		if r.Raised || r.Cause == verdict.CauseSupplier || r.Cause == verdict.CauseClinical {
			out = append(out, r.Text)
		}
	}
	return shorten(strings.Join(out, "; "), whyShown)
}

// shownLine is a line for an alert: around what was found in it, with all that is not
// printable escaped.
func shownLine(line []byte, start, end int) string {
	from, to := 0, len(line)
	if to > lineShown {
		end = min(end, start+lineShown)
		from = max(0, min(start-(lineShown-(end-start))/2, to-lineShown))
		to = from + lineShown
	}
	var b strings.Builder
	if from > 0 {
		b.WriteString("…")
	}
	for part := line[from:to]; len(part) > 0; {
		r, size := utf8.DecodeRune(part)
		if text := string(part[:size]); notice.Printable(text) {
			b.WriteString(text)
		} else if r == utf8.RuneError {
			fmt.Fprintf(&b, `\x%02x`, part[0])
			size = 1
		} else {
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
		part = part[size:]
	}
	if to < len(line) {
		b.WriteString("…")
	}
	return b.String()
}

// reword brings the counts in today's alerts up. It may fail: the next time has it.
func (h *hits) reword() {
	if time.Since(h.reworded) < rewordEvery {
		return
	}
	h.reworded = time.Now()
	var behind []*hitGroup
	for _, g := range h.groups {
		if g.Told != 0 && g.Told != g.Count {
			behind = append(behind, g)
		}
	}
	for part := range slices.Chunk(behind, store.RewordMax) { // a write each
		var texts []store.Reworded
		for _, g := range part {
			texts = append(texts, store.Reworded{Dedup: h.dedup(g), Text: g.text(h.n.printer())})
		}
		if _, err := h.n.store.RewordAlerts(h.n.background(), texts); err != nil {
			return
		}
		for _, g := range part {
			g.Told = g.Count
		}
	}
}

// sayMore says once a day and log that there is more than is alerted.
func (h *hits) sayMore() {
	for log := range h.more {
		h.once(store.Alert{Kind: "hit", Severity: "warning", TLP: notice.TLPRed, Dedup: fmt.Sprintf("hit/%s/%s/more", h.day, log),
			Text: h.n.printer().Text(catalog.AlertHitMore, log, hitsDay)})
	}
}

// once raises an alert, and does not try it again on the same day.
func (h *hits) once(a store.Alert) {
	if !h.said[a.Dedup] {
		h.said[a.Dedup] = true
		h.n.alert(a)
	}
}

// share tells the other hospitals of hits, as far as what is held of the value lets it.
func (h *hits) share() error {
	if time.Since(h.told) < shareAfter/2 {
		return nil
	}
	h.told = time.Now()
	for _, s := range h.shares {
		if s.Count == 0 || s.Day == h.day || time.Since(s.since) < shareAfter {
			continue
		}
		if h.sharedOn >= sharedDay {
			h.once(store.Alert{Kind: "hits-not-told", Severity: "info", Dedup: "hits-not-told/" + h.day,
				Text: fmt.Sprintf("%d values that were hit were told to the other hospitals today, and no more are told by machine today: watchward report tells them one by one", sharedDay)})
			return nil
		}
		told, err := h.tell(s)
		if err != nil {
			return err
		}
		if told {
			h.sharedOn++
		}
		s.Day, s.Count = h.day, 0
	}
	return nil
}

// tell tells of one thing, if it is still to be detected.
func (h *hits) tell(s *share) (bool, error) {
	j, err := h.weigh(s.About)
	if err != nil || !j.tellable() || j.about != s.About {
		return false, err
	}
	return h.n.tellHit(s, h.day)
}

// tellHit makes a sighting of what was hit and reports whether it is told. It names what
// others know already and nothing that only this house's logs have. What may not go as
// far as share.tlp says goes as far as it may, or stays here.
func (n *Node) tellHit(s *share, day string) (bool, error) {
	held, err := n.store.Strictest(s.About.Key(), 0)
	if err != nil {
		return false, err
	}
	now := n.now().UnixMilli()
	item, err := n.state(api.Submission{
		Kind: notice.KindSighting.String(), Type: s.About.Type.String(), Value: s.About.Value,
		FirstSeen: api.Time(s.First), LastSeen: api.Time(s.Last), Count: s.Count,
		TLP: notice.Stricter(n.defaultTLP, held).String(), Origin: &api.Origin{Source: logsOrigin},
	}, api.SubmitOptions{}, now)
	if field := (*notice.FieldError)(nil); errors.As(err, &field) {
		n.log.Info("a hit is not told", slog.String("reason", field.Reason))
		return false, nil
	}
	if err != nil {
		return false, err
	}
	key := "logs/" + day + "/" + s.About.String()
	sum := sha256.Sum256([]byte(key))
	taken, err := n.store.AppendLocal(n.background(), store.LocalBatch{
		Items: []store.LocalItem{item}, Received: now, Idempotency: fmt.Sprintf("logs/%s/%x", day, sum[:16]), Request: sum,
	})
	if err != nil {
		return false, err
	}
	n.metrics.submitted(notice.KindSighting, taken[0].Known)
	n.outbox.nudge()
	return true, nil
}

// state is what is to be kept with how far the logs are read.
func (h *hits) state() hitsState {
	s := hitsState{Day: h.day, More: h.more, Shared: h.sharedOn}
	for _, g := range h.groups {
		s.Groups = append(s.Groups, g)
	}
	for _, v := range h.shares {
		s.Shares = append(s.Shares, v)
	}
	return s
}

// recall goes on from what was kept.
func (h *hits) recall(s hitsState) {
	h.day, h.sharedOn = s.Day, s.Shared
	for _, g := range s.Groups {
		h.groups[g.hitKey] = g
		h.alerted[g.Log]++
		if g.Told == 0 {
			h.owed = append(h.owed, g)
		}
	}
	for _, v := range s.Shares {
		h.shares[v.About] = v
	}
}
