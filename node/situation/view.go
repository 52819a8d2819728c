package situation

import (
	"cmp"
	"slices"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// Limits of what a view shows.
const (
	overFor       = Window // how long what is over is shown
	spreadingMax  = 50
	listMax       = 500 // of each other list; the newest
	eachMax       = 64  // of them of one member
	linksShownMax = 100 // lines of a supplier's time line
	actsShownMax  = 100 // claims on a request, as many offers and refused acts
)

// AskedFor is how long a question is open.
const AskedFor = 7 * 24 * time.Hour

// An Ask says what view is wanted.
type Ask struct {
	Now     int64      // ms
	Since   int64      // ms: what changed since then; 0 = not asked
	Ceiling notice.TLP // 0 = none
	// Members are those whose state is told, in this order.
	Members []crypto.MemberID
	// Silence says what the network knows of a member; nil = nothing of anybody.
	Silence func(crypto.MemberID) Silence
	// Coordinator reports whether a may mark the maydays of b as disputed; nil = nobody.
	Coordinator func(a, b crypto.MemberID) bool
}

// A Silence is what the network knows of a member.
type Silence struct {
	Silent bool
	Since  int64           // ms: when it was heard last; 0 = never
	By     crypto.MemberID // who heard it; zero = not known
}

// A View is the picture at one time, up to a ceiling: nothing that is marked stricter
// is in it, nor counted. IDs are of the notices that something comes from.
type View struct {
	Members    []Member
	Maydays    []Mayday
	Services   []Service
	Assistance []Assistance
	Suppliers  []Supplier
	Questions  []Question
	Spreading  []Spreading
	Changes    []Change
	Partial    []Partial
	Aside      []Aside  // who said most first
	More       []string // the lists of which only the newest are here
}

// A State is what is known of a member. Silence is no attack.
type State string

// The states, the worst first.
const (
	UnderAttack  State = "UNDER-ATTACK"  // an open mayday: its own word
	DeclaredDown State = "DECLARED-DOWN" // all departments closed: its own word
	Silent       State = "SILENT"        // nobody hears it
	OK           State = "OK"
)

// A Member is one member's state.
type Member struct {
	ID      crypto.MemberID
	State   State
	Since   int64           // ms: of SILENT when it was heard last; 0 = not known
	By      crypto.MemberID // of SILENT who heard it last; zero = not known
	IDs     []crypto.ItemID // none of SILENT and OK
	Contact *Contact        // nil = it told none
}

// A Contact is from a member's profile.
type Contact struct {
	Lines []string
	ID    crypto.ItemID
}

// A Said is who said something, and when.
type Said struct {
	ID       crypto.ItemID
	Member   crypto.MemberID
	At       int64 // ms: when it was said, by a clock that is not known to be wrong
	TLP      notice.TLP
	Exercise bool
}

// A Mayday is open.
type Mayday struct {
	Said
	Text     string
	ClockOff bool
	Contact  *Contact
	Replaces *crypto.ItemID
	Disputed []Said // by coordinators
	Reasons  []string
}

// A Service is the last word on a department.
type Service struct {
	Said
	Department string
	State      notice.ServiceState
	Until      int64 // ms; 0 = not said
	Past       bool  // that time is over, and nothing was said since
	Text       string
}

// A Supplier has links that were cut or restored.
type Supplier struct {
	Name string
	Cut  []Said // who has a link to it cut now, one a link
	Line []Link // the newest first
}

// A Link is one word of the time line of a supplier.
type Link struct {
	Said
	notice.Link
	Now bool // it is the last word on this link
}

// A Question and what was answered.
type Question struct {
	Said
	Indicator notice.Indicator
	Text      string
	Answers   []Answer
}

// An Answer is a response, or a sighting of what is asked for.
type Answer struct {
	Said
	Answer   notice.Answer
	Sighting bool
}

// A Spreading is something that several organisations saw, or did until lately.
type Spreading struct {
	What    What
	TLP     notice.TLP
	Active  bool
	Started int64 // ms: when one more than before saw it, and they were enough
	Ends    int64 // ms: when the window empties, or emptied
	// TakenBack: it has ended since words were taken back, and not with time.
	TakenBack bool
	Seen      []Seen // the first first
}

// A Partial is a member that says so much that its sightings before a time do not
// count.
type Partial struct {
	Member crypto.MemberID
	Before int64 // ms
}

// An Aside is a member that says so much that some of its words are not shown.
type Aside struct {
	Member crypto.MemberID
	Count  int
}

// viewer makes one view.
type viewer struct {
	p     *Picture
	ask   Ask
	level int
	view  View
	aside map[crypto.MemberID]int

	kinds   [len(shelfMax)][]*entry // what may be shown, taken back or not, by kind
	about   map[crypto.ItemID][]*entry
	contact map[crypto.MemberID]*Contact
}

// View returns what may be shown under a ceiling.
func (p *Picture) View(ask Ask) View {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spread.advance(ask.Now)
	v := newViewer(p, ask)
	v.collect()
	v.profiles()
	v.maydays()
	v.services()
	v.assistance()
	v.links()
	v.questions()
	v.spreading()
	v.members()
	v.partial()
	if ask.Since > 0 {
		v.changes()
	}
	for member, count := range v.aside {
		v.view.Aside = append(v.view.Aside, Aside{member, count})
	}
	slices.SortFunc(v.view.Aside, func(a, b Aside) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), slices.Compare(a.Member[:], b.Member[:]))
	})
	slices.Sort(v.view.More)
	v.view.More = slices.Compact(v.view.More)
	return v.view
}

// Hourly counts the sightings that may be shown of the last 72 hours, by the hour in which
// each was seen last, the oldest first; the last hour is not over. What spreading leaves
// out (drills, what everybody's machines ask for) is not counted. Of ask only the time
// and the ceiling count.
func (p *Picture) Hourly(ask Ask) []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spread.advance(ask.Now)
	return p.spread.perHour(newViewer(p, ask).level, ask.Now)
}

func newViewer(p *Picture, ask Ask) *viewer {
	v := &viewer{p: p, ask: ask, level: int(ask.Ceiling), about: map[crypto.ItemID][]*entry{}, contact: map[crypto.MemberID]*Contact{}, aside: map[crypto.MemberID]int{}}
	if ask.Ceiling == 0 {
		v.level = levels
	}
	return v
}

// States returns what View says of ask.Members, for less work.
func (p *Picture) States(ask Ask) []Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := newViewer(p, ask)
	v.collect(notice.KindProfile, notice.KindMayday, notice.KindService)
	v.profiles()
	v.maydays()
	v.services()
	v.members()
	return v.view.Members
}

// collect finds what may be shown of some kinds, of all if none is named, each author's
// in its order.
func (v *viewer) collect(kinds ...notice.Kind) {
	for k, s := range v.p.shelves {
		if !v.within(k.tlp) || len(kinds) > 0 && !slices.Contains(kinds, k.kind) {
			continue
		}
		for _, e := range s.entries {
			if e.Expiry <= v.ask.Now {
				continue
			}
			v.kinds[k.kind] = append(v.kinds[k.kind], e)
			if e.Notice.Ref != nil && e.back == nil {
				v.about[*e.Notice.Ref] = append(v.about[*e.Notice.Ref], e)
			}
		}
	}
	for _, list := range v.kinds {
		slices.SortFunc(list, latest)
	}
	for _, list := range v.about {
		slices.SortFunc(list, func(a, b *entry) int { return latest(b, a) })
	}
}

// within reports whether what is marked so may be shown.
func (v *viewer) within(tlp notice.TLP) bool {
	return notice.Leaves(tlp, crypto.AudienceLocal, notice.ExitAPI, v.ask.Ceiling)
}

// latest sorts by when something was said, the last first.
func latest(a, b *entry) int {
	return cmp.Or(cmp.Compare(b.at(), a.at()), slices.Compare(a.ID[:], b.ID[:]))
}

// newest returns of one author's words the last that stands, in its order: of each
// chain the last, of several chains the one with the latest time. nil if none stands.
func newest(entries []*entry) *entry {
	var chains [8]*entry
	for _, e := range entries {
		if at := &chains[e.Audience&7]; e.back == nil && (*at == nil || (*at).compare(e) < 0) {
			*at = e
		}
	}
	var last *entry
	for _, e := range chains {
		if e != nil && (last == nil || e.said() > last.said() || e.said() == last.said() && e.Audience > last.Audience) {
			last = e
		}
	}
	return last
}

// said is the author's time of an entry.
func (e *entry) said() int64 {
	if !e.Order.Unsigned && e.Order.Time != 0 {
		return e.Order.Time
	}
	return e.Notice.Created
}

// slot is what several words of an author are about: of them the newest counts.
type slot struct {
	author   uint32
	subject  string
	exercise bool
}

// newestBy returns the last word of each slot, in the order of latest.
func newestBy(entries []*entry, subject func(*entry) string) []*entry {
	by := map[slot][]*entry{}
	for _, e := range entries {
		k := slot{e.key.author, subject(e), e.Exercise}
		by[k] = append(by[k], e)
	}
	out := make([]*entry, 0, len(by))
	for _, list := range by {
		if e := newest(list); e != nil {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, latest)
	return out
}

func (v *viewer) saidBy(e *entry) Said {
	return Said{ID: e.ID, Member: e.Author, At: e.at(), TLP: e.TLP, Exercise: e.Exercise}
}

// cut shortens a list to its limit, and says so.
func cut[T any](v *viewer, name string, list []T, limit int) []T {
	if len(list) <= limit {
		return list
	}
	v.view.More = append(v.view.More, name)
	return list[:limit]
}

// share shortens a list to listMax, and each member's part of it to eachMax or less:
// who says much puts aside its own words, and nobody else's. Of each the first stay.
func share[T any](v *viewer, name string, list []T, by func(T) crypto.MemberID) []T {
	return even(v, name, list, eachMax, listMax, by, func(m crypto.MemberID) { v.aside[m]++ })
}

// even is share by other limits. What by has the zero member for is not cut for others.
func even[T any](v *viewer, name string, list []T, each, limit int, by func(T) crypto.MemberID, aside func(crypto.MemberID)) []T {
	if len(list) <= each {
		return list
	}
	count := map[crypto.MemberID]int{}
	for _, e := range list {
		count[by(e)]++
	}
	each, out := fair(count, each, limit), list[:0:0]
	clear(count)
	for _, e := range list {
		m := by(e)
		if count[m]++; m == (crypto.MemberID{}) || count[m] <= each {
			out = append(out, e)
		} else if aside != nil {
			aside(m)
		}
	}
	if len(out) < len(list) {
		v.view.More = append(v.view.More, name)
	}
	return cut(v, name, out, limit)
}

// fair is the largest share up to each with which all have room, and 1 at least.
func fair(count map[crypto.MemberID]int, each, limit int) int {
	for ; each > 1; each-- {
		sum := 0
		for m, n := range count {
			if m != (crypto.MemberID{}) {
				n = min(n, each)
			}
			sum += n
		}
		if sum <= limit {
			break
		}
	}
	return each
}

func (v *viewer) profiles() {
	for _, e := range newestBy(v.kinds[notice.KindProfile], func(*entry) string { return "" }) {
		if !e.Exercise {
			v.contact[e.Author] = &Contact{e.Notice.Profile.Contact, e.ID}
		}
	}
}

// maydays are never a drill. Of several that are open the newest is shown.
func (v *viewer) maydays() {
	by := map[uint32][]*entry{}
	for _, e := range v.kinds[notice.KindMayday] {
		replaced := slices.ContainsFunc(v.about[e.ID], func(b *entry) bool {
			return b.Notice.Kind == notice.KindMayday && b.key.author == e.key.author
		})
		if e.back == nil && !replaced && !e.Exercise {
			by[e.key.author] = append(by[e.key.author], e)
		}
	}
	for _, list := range by {
		e := newest(list)
		m := Mayday{Said: v.saidBy(e), Text: e.Notice.Mayday.Text, ClockOff: e.ClockOff, Contact: v.contact[e.Author], Replaces: e.Notice.Ref}
		if last := v.setBack(e); last != 0 {
			m.ClockOff, m.At = true, max(e.Received, last)
		}
		for _, d := range v.about[e.ID] {
			if d.Notice.Kind != notice.KindDispute || v.ask.Coordinator == nil || !v.ask.Coordinator(d.Author, e.Author) {
				continue
			}
			if i := slices.IndexFunc(m.Disputed, func(w Said) bool { return w.Member == d.Author }); i >= 0 { // it says it again
				m.Disputed, m.Reasons = slices.Delete(m.Disputed, i, i+1), slices.Delete(m.Reasons, i, i+1)
			}
			m.Disputed, m.Reasons = append(m.Disputed, v.saidBy(d)), append(m.Reasons, d.Notice.Reason)
		}
		v.view.Maydays = append(v.view.Maydays, m)
	}
	slices.SortFunc(v.view.Maydays, Mayday.compare)
}

// setBackMin is how far a clock is set back, in ms, when what it says counts no more.
const setBackMin = 5 * 60_000

// setBack returns when the author of e had said something before, if its clock was set
// back since; else 0. Who gets e late can tell only by that. It goes by what States knows.
func (v *viewer) setBack(e *entry) (last int64) {
	if e.Order.Unsigned {
		return 0
	}
	for _, kind := range []notice.Kind{notice.KindProfile, notice.KindMayday, notice.KindService} {
		for _, b := range v.kinds[kind] {
			if b.key.author == e.key.author && b.Audience == e.Audience && !b.Order.Unsigned && !b.ClockOff && b.compare(e) < 0 {
				last = max(last, min(b.said(), b.Received))
			}
		}
	}
	if last <= e.said()+setBackMin {
		return 0
	}
	return last
}

// compare sorts the last first.
func (a Said) compare(b Said) int {
	return cmp.Or(cmp.Compare(b.At, a.At), slices.Compare(a.ID[:], b.ID[:]))
}

// compare sorts the last first. When one was said by a wrong clock nobody knows, and it
// came to each node at another time: it is first, so that all have one order.
func (a Mayday) compare(b Mayday) int {
	switch {
	case a.ClockOff && b.ClockOff:
		return slices.Compare(a.ID[:], b.ID[:])
	case a.ClockOff:
		return -1
	case b.ClockOff:
		return 1
	}
	return a.Said.compare(b.Said)
}

func (v *viewer) services() {
	for _, e := range newestBy(v.kinds[notice.KindService], func(e *entry) string { return notice.Fold(e.Notice.Service.Department) }) {
		s := e.Notice.Service
		v.view.Services = append(v.view.Services, Service{
			Said: v.saidBy(e), Department: s.Department, State: s.State, Until: s.Until, Text: s.Text,
			Past: s.Until != 0 && s.Until <= v.ask.Now,
		})
	}
}

// members comes after maydays and services.
func (v *viewer) members() {
	mayday, down := map[crypto.MemberID]Said{}, map[crypto.MemberID]Said{}
	for _, m := range v.view.Maydays {
		mayday[m.Member] = m.Said
	}
	for _, s := range v.view.Services {
		if s.State == notice.ServiceClosed && !s.Past && !s.Exercise && notice.Fold(s.Department) == notice.AllDepartments {
			down[s.Member] = s.Said
		}
	}
	for _, id := range v.ask.Members {
		m := Member{ID: id, State: OK, Contact: v.contact[id]}
		var silence Silence
		if v.ask.Silence != nil {
			silence = v.ask.Silence(id)
		}
		if said, attacked := mayday[id]; attacked {
			m.State, m.Since, m.IDs = UnderAttack, said.At, []crypto.ItemID{said.ID}
		} else if said, closed := down[id]; closed {
			m.State, m.Since, m.IDs = DeclaredDown, said.At, []crypto.ItemID{said.ID}
		} else if silence.Silent {
			m.State, m.Since, m.By = Silent, silence.Since, silence.By
		}
		v.view.Members = append(v.view.Members, m)
	}
	v.view.Maydays = cut(v, "maydays", v.view.Maydays, listMax) // one a member
	v.view.Services = share(v, "services", v.view.Services, func(s Service) crypto.MemberID { return s.Member })
}

// links sorts the words on links by supplier.
func (v *viewer) links() {
	name := func(e *entry) string {
		return notice.Fold(e.Notice.Link.Supplier) + "\x00" + notice.Fold(e.Notice.Link.Link)
	}
	last := map[crypto.ItemID]bool{}
	for _, e := range newestBy(v.kinds[notice.KindLink], name) {
		last[e.ID] = true
	}
	by := map[string]*Supplier{}
	for _, e := range v.kinds[notice.KindLink] {
		if e.back != nil {
			continue
		}
		l := *e.Notice.Link
		l.At += e.at() - e.Notice.Created // by a clock that is right, and never after it came
		l.At = min(l.At, e.Received)
		s := by[notice.Fold(l.Supplier)]
		if s == nil {
			s = &Supplier{Name: l.Supplier}
			by[notice.Fold(l.Supplier)] = s
		}
		s.Name = min(s.Name, l.Supplier) // of several spellings always the same
		s.Line = append(s.Line, Link{v.saidBy(e), l, last[e.ID]})
		if last[e.ID] && l.State == notice.LinkCut && !e.Exercise {
			s.Cut = append(s.Cut, v.saidBy(e))
		}
	}
	for _, s := range by {
		slices.SortFunc(s.Line, func(a, b Link) int { return cmp.Or(cmp.Compare(b.Link.At, a.Link.At), a.Said.compare(b.Said)) })
		v.view.Suppliers = append(v.view.Suppliers, *s)
	}
	slices.SortFunc(v.view.Suppliers, func(a, b Supplier) int {
		return cmp.Or(cmp.Compare(members(b.Cut), members(a.Cut)), cmp.Compare(a.Name, b.Name))
	})
	v.view.Suppliers = share(v, "suppliers", v.view.Suppliers, func(s Supplier) crypto.MemberID {
		by := s.Line[0].Member
		if slices.ContainsFunc(s.Line, func(l Link) bool { return l.Member != by }) {
			return crypto.MemberID{} // several name it
		}
		return by
	})
	for i := range v.view.Suppliers {
		s := &v.view.Suppliers[i]
		s.Line = even(v, "links", s.Line, linksShownMax, linksShownMax, func(l Link) crypto.MemberID { return l.Member }, nil)
		s.Cut = even(v, "links", s.Cut, linksShownMax, linksShownMax, Said.by, nil)
	}
}

func (w Said) by() crypto.MemberID { return w.Member }

// members counts those that said something.
func members(all []Said) int {
	seen := map[crypto.MemberID]bool{}
	for _, w := range all {
		seen[w.Member] = true
	}
	return len(seen)
}

func (v *viewer) questions() {
	for _, e := range v.kinds[notice.KindQuestion] {
		if v.asks(e) {
			v.view.Questions = append(v.view.Questions, v.question(e))
		}
	}
	v.view.Questions = share(v, "questions", v.view.Questions, func(q Question) crypto.MemberID { return q.Member })
}

// asks reports whether a question is open.
func (v *viewer) asks(e *entry) bool {
	return e.back == nil && e.at() > v.ask.Now-AskedFor.Milliseconds()
}

func (v *viewer) question(e *entry) Question {
	q := Question{Said: v.saidBy(e), Indicator: *e.Notice.Indicator}
	if e.Notice.Question != nil {
		q.Text = e.Notice.Question.Text
	}
	responses := slices.DeleteFunc(slices.Clone(v.about[e.ID]), func(a *entry) bool {
		return a.Exercise != e.Exercise || a.Notice.Kind != notice.KindResponse || !a.Notice.Response.Answer.Fits(notice.KindQuestion)
	})
	for _, a := range newestBy(responses, func(*entry) string { return "" }) {
		q.Answers = append(q.Answers, Answer{Said: v.saidBy(a), Answer: a.Notice.Response.Answer})
	}
	for _, seen := range v.sightings(e.Notice.Indicator.Key()) {
		if !e.Exercise && !seen.TakenBack && seen.Member != e.Author { // what was seen is real
			q.Answers = append(q.Answers, Answer{Said{ID: seen.IDs[0], Member: seen.Member, At: seen.Last, TLP: seen.TLP}, notice.AnswerSeen, true})
		}
	}
	slices.SortFunc(q.Answers, func(a, b Answer) int { return a.Said.compare(b.Said) })
	return q
}

// Questions returns all questions that are open, the oldest first. Of ask only the
// time and the ceiling count.
func (p *Picture) Questions(ask Ask) []Question {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spread.advance(ask.Now)
	v := newViewer(p, ask)
	v.collect(notice.KindQuestion, notice.KindResponse)
	var out []Question
	for _, e := range slices.Backward(v.kinds[notice.KindQuestion]) {
		if v.asks(e) {
			out = append(out, v.question(e))
		}
	}
	return out
}

func (v *viewer) sightings(key notice.Key) []Seen {
	n := v.p.spread.byKey.find(key[:])
	if n == 0 {
		return nil
	}
	return v.p.spread.timeLine(v.p.spread.subjects.at(n), v.level, v.ask.Now-keptMs)
}

func (v *viewer) spreading() {
	s := v.p.spread
	type found struct {
		n         uint32
		end       int64
		takenBack bool
	}
	var all []found
	for _, n := range s.several {
		c := s.crowdOf(s.subjects.at(n))
		f := found{n: n, end: c.ranks.end(v.level)}
		if ever := c.ever.end(v.level); f.end <= v.ask.Now && ever > v.ask.Now {
			f.end, f.takenBack = ever, true
		}
		if f.end > v.ask.Now-endedMs && f.end != 0 {
			all = append(all, f)
		}
	}
	over := func(f found) int {
		if f.end <= v.ask.Now || f.takenBack {
			return 1
		}
		return 0
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(over(a), over(b)), cmp.Compare(b.end, a.end), slices.Compare(s.subjects.at(a.n).key[:], s.subjects.at(b.n).key[:]))
	})
	for _, f := range cut(v, "spreading", all, spreadingMax) {
		sub := s.subjects.at(f.n)
		c := s.crowdOf(sub)
		out := Spreading{What: c.what(sub.key, v.level), Active: over(f) == 0, Ends: f.end, TakenBack: f.takenBack}
		out.Seen = s.timeLine(sub, v.level, min(v.ask.Now, f.end)-windowMs)
		ranks, need, seen := c.ranks, organised, 0
		if f.takenBack {
			ranks = c.ever
		}
		if ranks[v.level-1].manual[organised-1].at+windowMs != f.end {
			need = automatic
		}
		for _, m := range out.Seen {
			out.TLP = notice.Stricter(out.TLP, m.TLP)
			if m.TakenBack && !f.takenBack {
				continue
			}
			if seen++; seen == need {
				out.Started = m.First
			}
		}
		v.view.Spreading = append(v.view.Spreading, out)
	}
}

func (v *viewer) partial() {
	for _, m := range v.p.spread.members {
		if m.floor > v.p.spread.floor {
			v.view.Partial = append(v.view.Partial, Partial{m.id, (m.floor + 1) * hourMs})
		}
	}
	slices.SortFunc(v.view.Partial, func(a, b Partial) int { return slices.Compare(a.Member[:], b.Member[:]) })
}
