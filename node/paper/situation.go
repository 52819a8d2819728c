package paper

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/situation"
)

// Limits of what is said in a report. What is left out is counted.
const (
	rowsMax = 40  // of a table, before it is fitted to the pages
	rollMax = 600 // names

	nameRunes  = 44
	valueRunes = 72
	textRunes  = 96
	reachRunes = 90
)

// Situation is the situation report of r as HTML, in a language and with times of a zone:
// at most two pages of A4.
func Situation(r *api.Report, language string, zone *time.Location) ([]byte, error) {
	return newReport(r, language, zone).sheet().html()
}

// SituationMarkdown is the same in Markdown.
func SituationMarkdown(r *api.Report, language string, zone *time.Location) []byte {
	return newReport(r, language, zone).sheet().markdown()
}

// A report puts what api says into words.
type report struct {
	*catalog.Printer
	r    *api.Report
	zone *time.Location
	now  time.Time
}

func newReport(r *api.Report, language string, zone *time.Location) *report {
	return &report{catalog.For(language), r, zone, time.UnixMilli(int64(r.Now)).In(zone)}
}

func (p *report) sheet() *sheet {
	s := &sheet{
		Lang: p.Lang(), Title: p.title(), Marking: "TLP:" + p.r.TLP, Lead: p.lead(), Sources: p.sources(),
		Headline: p.headline(), Warnings: p.warnings(),
		Sign: &sign{p.Text(catalog.ReportAssessment), p.Text(catalog.ReportSignName), p.Text(catalog.ReportSignPlace), p.Text(catalog.ReportSignature)},
	}
	all := append([]section{p.states()}, p.events()...)
	s.Sections = slices.DeleteFunc(append(all, p.roll(), p.trust()), section.empty)
	s.fit(p.Printer)
	return s
}

// events are the sections of what people said and saw.
func (p *report) events() []section {
	return []section{p.attacked(), p.dark(), p.spreading(), p.hourly(), p.links(), p.help(), p.services(), p.questions()}
}

func (s section) empty() bool {
	return len(s.Rows) == 0 && s.Figure == "" && len(s.Names) == 0 && len(s.Steps) == 0 && len(s.Text) == 0 && len(s.Forms) == 0
}

func (p *report) title() string {
	if p.r.Region == "" {
		return p.Text(catalog.ReportTitleAlone)
	}
	return p.Text(catalog.ReportTitle, shorten(p.r.Region, nameRunes))
}

func (p *report) lead() string {
	return p.Text(catalog.ReportLead, p.Moment(p.now), shorten(p.r.Name, nameRunes))
}

func (p *report) sources() string {
	return p.Text(catalog.ReportSources, p.Text(catalog.ReportNotices, p.r.Sources.Notices), p.Text(catalog.ReportMembers, p.r.Sources.Members),
		groups(p.r.Sources.Fingerprint[:min(16, len(p.r.Sources.Fingerprint))]))
}

// groups puts a blank between each four digits, so that people can read them out.
func groups(hex string) string {
	var out strings.Builder
	for i, c := range hex {
		if i > 0 && i%4 == 0 {
			out.WriteByte(' ')
		}
		out.WriteRune(c)
	}
	return out.String()
}

func (p *report) headline() string {
	c := p.r.Counts
	if c.UnderAttack+c.DeclaredDown+c.Silent == 0 {
		return p.Text(catalog.ReportQuiet)
	}
	total := c.UnderAttack + c.DeclaredDown + c.Silent + c.OK
	return p.Text(catalog.ReportHeadline, p.Number(c.UnderAttack), p.Number(c.DeclaredDown), p.Number(c.Silent), p.Text(catalog.ReportMembers, total))
}

func (p *report) warnings() (out []string) {
	if p.r.Health.Members > 1 && p.r.Health.Peers == 0 {
		out = append(out, p.Text(catalog.ReportAlone))
	}
	if p.r.Reading {
		out = append(out, p.Text(catalog.ReportReading))
	}
	return out
}

func (p *report) states() section {
	c := p.r.Counts
	return section{
		Tall: tall(stackedHeight), Figure: stacked([]share{
			{c.UnderAttack, fillAttack, p.Text(catalog.ReportUnderAttack)}, {c.DeclaredDown, fillDown, p.Text(catalog.ReportDown)},
			{c.Silent, fillSilent, p.Text(catalog.ReportSilent)}, {c.OK, fillOK, p.Text(catalog.ReportOK)},
		}),
		Plain: fmt.Sprintf("%s %d · %s %d · %s %d · %s %d", p.Text(catalog.ReportUnderAttack), c.UnderAttack, p.Text(catalog.ReportDown), c.DeclaredDown,
			p.Text(catalog.ReportSilent), c.Silent, p.Text(catalog.ReportOK), c.OK),
	}
}

// party names a member.
func (p *report) party(o api.Party) string {
	n := o.Name
	if n == "" {
		n = p.Text(catalog.ReportMember, o.Member[:min(16, len(o.Member))])
	}
	n = shorten(n, nameRunes)
	if o.Region != "" {
		n = p.Text(catalog.ReportOf, n, shorten(o.Region, nameRunes))
	}
	return n
}

func (p *report) clock(t api.Time) string {
	return p.Clock(time.UnixMilli(int64(t)).In(p.zone))
}

// when dates a word: with the beginning of its id, and a mark of what is new.
func (p *report) when(t api.Time, id string) cell {
	c := cell{Text: p.clock(t), ID: id[:min(8, len(id))]}
	if p.r.Since != 0 && t >= p.r.Since {
		c.Text += " " + p.Text(catalog.ReportNew)
		c.Strong = true
	}
	return c
}

// drilled marks a text of a drill.
func (p *report) drilled(w api.Word, text string) string {
	if w.Exercise {
		return p.Text(catalog.ReportExercise) + ": " + text
	}
	return text
}

// reach is how to reach a member: the first so many lines that it told.
func (p *report) reach(c *api.ContactView, lines int) cell {
	if c == nil || len(c.Lines) == 0 {
		return cell{Text: p.Text(catalog.ReportNoContact)}
	}
	return cell{Text: shorten(strings.Join(c.Lines[:min(lines, len(c.Lines))], "; "), reachRunes)}
}

func (p *report) attacked() section {
	all := p.r.Maydays
	s := section{Title: p.Text(catalog.ReportAttacked), Note: p.Text(catalog.ReportCallBack), Widths: []int{18, 20, 37, 25},
		Head: []string{p.Text(catalog.ReportSince), p.Text(catalog.ReportWho), p.Text(catalog.ReportWords), p.Text(catalog.ReportReach)}, left: max(0, len(all)-rowsMax)}
	for _, m := range all[:min(len(all), rowsMax)] {
		when := p.when(m.Said, m.ID)
		if m.ClockOff {
			when.Small = p.Text(catalog.ReportClockOff)
		}
		var disputed []string
		for _, d := range m.Disputed {
			disputed = append(disputed, p.Text(catalog.ReportDisputed, p.party(d.Party), shorten(d.Reason, textRunes)))
		}
		s.Rows = append(s.Rows, []cell{when, {Text: p.party(m.Party), Strong: true, Mark: "attack"},
			{Text: p.drilled(m.Word, shorten(m.Text, notice.TextMax)), Small: shorten(strings.Join(disputed, " "), 2*textRunes)}, p.reach(m.Contact, 2)})
	}
	return s
}

// marks are the signs of states.
func markOf(state string) string {
	return map[string]string{api.StateUnderAttack: "attack", api.StateDeclaredDown: "down", api.StateSilent: "silent"}[state]
}

func (p *report) stateName(state string) string {
	switch state {
	case api.StateUnderAttack:
		return p.Text(catalog.ReportUnderAttack)
	case api.StateDeclaredDown:
		return p.Text(catalog.ReportDown)
	case api.StateSilent:
		return p.Text(catalog.ReportSilent)
	}
	return p.Text(catalog.ReportOK)
}

func (p *report) dark() section {
	s := section{Title: p.Text(catalog.ReportDark), Note: p.Text(catalog.ReportNoAttack), Widths: []int{25, 15, 17, 15, 28},
		Head: []string{p.Text(catalog.ReportWho), p.Text(catalog.ReportState), p.Text(catalog.ReportHeard), p.Text(catalog.ReportHeardBy), p.Text(catalog.ReportReach)}}
	left := -rowsMax
	for _, state := range []string{api.StateDeclaredDown, api.StateSilent} {
		for _, m := range p.r.Members {
			if m.State != state {
				continue
			}
			if left++; left > 0 {
				continue
			}
			since, by := cell{Text: p.Text(catalog.ReportNeverHeard)}, ""
			switch {
			case state == api.StateDeclaredDown:
				id := ""
				if len(m.IDs) > 0 {
					id = m.IDs[0]
				}
				since = p.when(m.Since, id)
			case m.Since != 0:
				since.Text, by = p.clock(m.Since), shorten(m.HeardBy, nameRunes)
			}
			s.Rows = append(s.Rows, []cell{{Text: p.party(m.Party), Strong: true, Mark: markOf(state)}, {Text: p.stateName(state)}, since, {Text: by}, p.reach(m.Contact, 1)})
		}
	}
	s.left = max(0, left)
	return s
}

func (p *report) spreading() section {
	all := p.r.Spreading
	s := section{Title: p.Text(catalog.ReportSpreading), Note: p.Text(catalog.ReportWindow), Widths: []int{39, 11, 34, 16},
		Head: []string{p.Text(catalog.ReportWhat), p.Text(catalog.ReportSeenAt), p.Text(catalog.ReportTimeline), p.Text(catalog.ReportEnds)}, left: max(0, len(all)-rowsMax)}
	for _, e := range all[:min(len(all), rowsMax)] {
		what := shorten(strings.TrimSpace(e.Type+" "+e.Value), valueRunes)
		ends := p.Text(catalog.ReportUntil, p.clock(e.Ends))
		if e.TakenBack {
			ends = p.Text(catalog.ReportTakenBack)
		} else if !e.Active {
			ends = p.Text(catalog.ReportEnded, p.clock(e.Ends))
		}
		var first []time.Time
		for _, m := range e.Seen {
			first = append(first, time.UnixMilli(int64(m.First)))
		}
		seen := cell{Text: p.Text(catalog.ReportAt, len(e.Seen))}
		if p.r.Since != 0 && e.Started >= p.r.Since {
			seen.Text, seen.Strong = seen.Text+" "+p.Text(catalog.ReportNew), true
		}
		line := cell{Figure: ticks(p.now.Add(-situation.Window), p.now, first)}
		if len(e.Seen) > 0 {
			line.Small = fmt.Sprintf("%s, %s", p.party(e.Seen[0].Party), p.clock(e.Seen[0].First))
		}
		s.Rows = append(s.Rows, []cell{{Text: what, Strong: e.Active}, seen, line, {Text: e.TLP, Small: ends}})
	}
	return s
}

func (p *report) hourly() section {
	total, most := 0, 0
	for _, n := range p.r.Hourly {
		total, most = total+n, max(most, n)
	}
	if most == 0 {
		return section{}
	}
	return section{Title: p.Text(catalog.ReportHourly), Note: p.Text(catalog.ReportHourlyNote, p.Number(total), p.Number(most)),
		Tall: tall(hourlyHeight), Figure: hourly(p.r.Hourly, p.now, func(n int) string { return p.Number(n) }, p.Clock), Plain: spark(p.r.Hourly)}
}

func (p *report) links() section {
	all := p.r.Suppliers
	s := section{Title: p.Text(catalog.ReportLinks), Widths: []int{18, 18, 28, 36},
		Head: []string{p.Text(catalog.ReportSupplier), p.Text(catalog.ReportCutBy), p.Text(catalog.ReportCutAt), p.Text(catalog.ReportLastWord)}, left: max(0, len(all)-rowsMax)}
	for _, l := range all[:min(len(all), rowsMax)] {
		var who []string
		for _, c := range l.Cut {
			if n := p.party(c.Party); !slices.Contains(who, n) {
				who = append(who, n)
			}
		}
		cut := cell{Text: p.Text(catalog.ReportCutNone)}
		if len(who) > 0 {
			cut = cell{Text: p.Text(catalog.ReportHospitals, len(who)), Strong: true, Figure: portion(float64(len(who)), float64(len(p.r.Members)))}
		}
		row := []cell{{Text: shorten(l.Name, nameRunes), Strong: true}, cut, {Text: shorten(strings.Join(who, ", "), 2*nameRunes)}, {}}
		if len(l.Line) > 0 {
			row[3] = p.linkWord(&l.Line[0])
		}
		s.Rows = append(s.Rows, row)
	}
	return s
}

// linkWord is the last word on the links to a supplier.
func (p *report) linkWord(l *api.LinkView) cell {
	state := p.Text(catalog.ReportRestored)
	if l.State == "cut" {
		state = p.Text(catalog.ReportCut)
	}
	c := p.when(l.At, l.ID)
	c.Text = p.drilled(l.Word, fmt.Sprintf("%s %s, %s, %s", shorten(l.Link.Link, nameRunes), state, p.party(l.Party), c.Text))
	var more []string
	for _, e := range []struct {
		key  catalog.Key
		text string
	}{{catalog.ReportWhy, l.Reason}, {catalog.ReportReconnect, l.Criteria}, {catalog.ReportAttested, l.AttestedBy}} {
		if e.text != "" {
			more = append(more, p.Text(e.key, shorten(e.text, textRunes)))
		}
	}
	c.Small = shorten(strings.Join(more, " · "), 2*textRunes)
	return c
}

// amount says how much of what, as situation.Amount does.
func (p *report) amount(a *api.Assistance) string {
	what := shorten(a.What, nameRunes)
	switch {
	case a.Unit != "":
		return p.Text(catalog.ReportAmount, p.Number(int(a.Quantity)), shorten(a.Unit, nameRunes), what)
	case a.Quantity == 1:
		return what
	}
	return p.Number(int(a.Quantity)) + " × " + what
}

var helpStates = map[string]catalog.Key{
	situation.HelpOpen: catalog.ReportHelpOpen, situation.HelpCovered: catalog.ReportHelpCovered,
	situation.HelpClosed: catalog.ReportHelpClosed, situation.HelpLapsed: catalog.ReportHelpLapsed,
}

func (p *report) help() section {
	all := slices.Clone(p.r.Assistance)
	slices.SortStableFunc(all, func(a, b api.HelpView) int {
		return cmp.Compare(boolInt(a.State != situation.HelpOpen), boolInt(b.State != situation.HelpOpen))
	})
	s := section{Title: p.Text(catalog.ReportHelp), Note: p.Text(catalog.ReportHelpOver), Widths: []int{25, 19, 17, 15, 24},
		Head: []string{p.Text(catalog.ReportWhat), p.Text(catalog.ReportWho), p.Text(catalog.ReportSince), p.Text(catalog.ReportConfirmed), p.Text(catalog.ReportReach)}, left: max(0, len(all)-rowsMax)}
	contacts := map[string]*api.ContactView{}
	for _, m := range p.r.Members {
		contacts[m.Member] = m.Contact
	}
	for _, h := range all[:min(len(all), rowsMax)] {
		key := catalog.ReportAsks
		if h.Act == "offer" {
			key = catalog.ReportOffers
		}
		what := cell{Text: p.drilled(h.Word, p.Text(key, p.amount(&h.Assistance))), Strong: h.State == situation.HelpOpen}
		if h.Until != 0 {
			what.Small = p.Text(catalog.ReportUntil, p.clock(h.Until))
		}
		when := p.when(h.Said, h.ID)
		confirmed := cell{Figure: portion(float64(h.Confirmed), float64(h.Quantity)), Text: p.Text(catalog.ReportSoMany, p.Number(int(h.Confirmed)), p.Number(int(h.Quantity)))}
		if key, ok := helpStates[h.State]; ok {
			confirmed.Text += ", " + p.Text(key)
		}
		s.Rows = append(s.Rows, []cell{what, {Text: p.party(h.Party)}, when, confirmed, p.reach(contacts[h.Member], 1)})
	}
	return s
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

var serviceStates = map[string]catalog.Key{"closed": catalog.ReportClosed, "diverted": catalog.ReportDiverted, "open": catalog.ReportOpen}

func (p *report) services() section {
	s := section{Title: p.Text(catalog.ReportServices), Widths: []int{21, 10, 25, 18, 26},
		Head: []string{p.Text(catalog.ReportDepartment), p.Text(catalog.ReportState), p.Text(catalog.ReportWho), p.Text(catalog.ReportSince), p.Text(catalog.ReportRemark)}}
	left := -rowsMax
	for _, e := range p.r.Services {
		if e.State == "open" && !e.Past {
			continue
		}
		if left++; left > 0 {
			continue
		}
		department := shorten(e.Department, nameRunes)
		if strings.EqualFold(department, "all") {
			department = p.Text(catalog.ReportAll)
		}
		when := p.when(e.Said, e.ID)
		var remark []string
		if e.Until != 0 {
			remark = append(remark, p.Text(catalog.ReportUntil, p.clock(e.Until)))
		}
		if e.Past {
			remark = append(remark, p.Text(catalog.ReportOver))
		}
		if e.Text != "" {
			remark = append(remark, shorten(e.Text, textRunes))
		}
		s.Rows = append(s.Rows, []cell{{Text: p.drilled(e.Word, department), Strong: true}, {Text: p.Text(serviceStates[e.State])}, {Text: p.party(e.Party)}, when, {Text: strings.Join(remark, "; ")}})
	}
	s.left = max(0, left)
	return s
}

func (p *report) questions() section {
	all := p.r.Questions
	s := section{Title: p.Text(catalog.ReportQuestions), Widths: []int{34, 23, 18, 25},
		Head: []string{p.Text(catalog.ReportAsked), p.Text(catalog.ReportWho), p.Text(catalog.ReportSince), p.Text(catalog.ReportAnswers)}, left: max(0, len(all)-rowsMax)}
	for _, q := range all[:min(len(all), rowsMax)] {
		counts := map[string]int{}
		for _, a := range q.Answers {
			counts[a.Answer]++
		}
		var answers []string
		for _, e := range []struct {
			answer string
			key    catalog.Key
		}{{"seen", catalog.ReportSeen}, {"not-seen", catalog.ReportNotSeen}, {"unknown", catalog.ReportUnknown}} {
			if n := counts[e.answer]; n > 0 {
				answers = append(answers, p.Text(e.key, n))
			}
		}
		if len(answers) == 0 {
			answers = append(answers, p.Text(catalog.ReportNoAnswer))
		}
		s.Rows = append(s.Rows, []cell{{Text: p.drilled(q.Word, shorten(q.Indicator.Type+" "+q.Indicator.Value, valueRunes)), Small: shorten(q.Text, textRunes), Strong: true},
			{Text: p.party(q.Party)}, p.when(q.Said, q.ID), {Text: strings.Join(answers, ", ")}})
	}
	return s
}

// roll names all members, the worst first.
func (p *report) roll() section {
	s := section{Title: p.Text(catalog.ReportRoll), left: max(0, len(p.r.Members)-rollMax)}
	for _, state := range []string{api.StateUnderAttack, api.StateDeclaredDown, api.StateSilent, api.StateOK} {
		for _, m := range p.r.Members {
			if m.State == state && len(s.Names) < rollMax {
				s.Names = append(s.Names, mark{markOf(state), p.party(m.Party)})
			}
		}
	}
	return s
}

func (p *report) trust() section {
	h, s := p.r.Health, section{Title: p.Text(catalog.ReportTrust)}
	var lines []string
	if others := h.Members - 1; others > 0 {
		last := p.Text(catalog.ReportNever)
		if h.LastIn != 0 {
			last = p.clock(h.LastIn)
		}
		lines = append(lines, p.Text(catalog.ReportConnected, p.Number(h.Peers), p.Number(others)), p.Text(catalog.ReportLastIn, last))
	}
	if n := len(h.Warnings); n > 0 {
		lines = append(lines, p.Text(catalog.ReportNodeWarns, n))
	}
	if n := len(p.r.Partial); n > 0 {
		lines = append(lines, p.Text(catalog.ReportPartial, n))
	}
	if len(p.r.More) > 0 {
		lines = append(lines, p.Text(catalog.ReportListsCut))
	}
	s.Text = []string{strings.Join(append(lines, p.Text(catalog.ReportShortened)), " "), p.Text(catalog.ReportPrint, groups(p.r.Sources.Fingerprint))}
	return s
}
