package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

func newSituation() *cobra.Command {
	var since string
	var ids bool
	var report client.ReportQuery
	c := &cobra.Command{
		Use:   "situation",
		Short: "Who is under attack, dark or in need; which links are cut; what spreads",
		Long: `Show the picture of the region as this node has it, from local data alone: it needs
nobody else to be reached. Silence is never called an attack: SILENT says that nobody
hears a member, the other states are a member's own signed words.

With --format it is a report: at most two pages of A4 for 200 members, with plots,
to print, sign and hand on. What it is marked and made from stands on every page,
with a fingerprint: whoever holds the same notices gets the same. Nothing stricter
than --tlp is in it, AMBER unless you say otherwise.`,
		Example: "  watchward situation --since 24h\n  watchward situation --ids\n  watchward situation --format html > report.html\n  watchward situation --format md --tlp GREEN --language de",
		Args:    cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			from, err := parseSince(since, now())
			if err != nil {
				return usage("--since %w", err)
			}
			if report.Format != "" {
				report.Since = from
				return printReport(cmd, c, report)
			}
			for _, name := range []string{"tlp", "language"} {
				if cmd.Flags().Changed(name) {
					return usage("--%s goes with --format", name)
				}
			}
			s, err := c.Situation(cmd.Context(), from)
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), s)
			}
			p := picture{out: cmd.OutOrStdout(), s: s, ids: ids, now: stamp(s.Now)}
			p.width, _, _ = terminal(p.out)
			p.print()
			return nil
		}),
	}
	c.Flags().StringVar(&since, "since", "", "also what changed here since then: 24h, 2d, 2026-01-31 or a full time")
	c.Flags().BoolVar(&ids, "ids", false, "show the ids of the notices behind it, for watchward show")
	c.Flags().StringVar(&report.Format, "format", "", "a report instead: html (to print), md or json")
	c.Flags().StringVar(&report.TLP, "tlp", "", "the report's marking, beyond which nothing is in it (default AMBER)")
	c.Flags().StringVar(&report.Language, "language", "", "the report's language: en or de (default: the node's)")
	return c
}

// printReport writes the situation as a report to standard output.
func printReport(cmd *cobra.Command, c *client.Client, q client.ReportQuery) error {
	switch {
	case !slices.Contains([]string{api.ReportHTML, api.ReportMarkdown, api.ReportJSON}, q.Format):
		return usage("--format %q: give html, md or json", q.Format)
	case q.Language != "" && !slices.Contains(catalog.Languages, q.Language):
		return usage("--language %q: give %s", q.Language, strings.Join(catalog.Languages, " or "))
	case jsonFlag(cmd) && q.Format != api.ReportJSON:
		return usage("--json goes without --format %s", q.Format)
	}
	if _, err := notice.ParseTLP(q.TLP); q.TLP != "" && err != nil {
		return usage("--tlp: %s", intel.Reason(err))
	}
	body, err := c.Report(cmd.Context(), q)
	if err == nil {
		_, err = cmd.OutOrStdout().Write(body)
	}
	return err
}

// A picture prints a situation for somebody who was not there: the worst first, each
// thing with when and by whom. What is long has lines of its own, so that it fits into
// 80 columns unless people wrote much.
type picture struct {
	out   io.Writer
	s     api.Situation
	ids   bool
	now   time.Time
	width int // columns at which lines are broken; 0 = never, since a program reads them
}

// line prints one line. Its arguments come from other hospitals, so they are made
// harmless first.
func (p *picture) line(format string, args ...any) {
	fmt.Fprintln(p.out, wrap(strings.TrimRight(plain(fmt.Sprintf(format, args...)), " "), "    ", p.width))
}

// wrap breaks a line between words, and lets what follows begin further in. Width 0
// is no limit.
func wrap(line, further string, width int) string {
	indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
	words := strings.Split(line[len(indent):], " ")
	var out strings.Builder
	out.WriteString(indent + words[0])
	column := utf8.RuneCountInString(indent + words[0])
	for _, word := range words[1:] {
		if length := utf8.RuneCountInString(word); width == 0 || column+1+length <= width {
			out.WriteString(" " + word)
			column += 1 + length
		} else {
			out.WriteString("\n" + indent + further + word)
			column = len(indent+further) + length
		}
	}
	return out.String()
}

func (p *picture) title(code, format string, args ...any) {
	fmt.Fprintf(p.out, "\n%s\n", paint(p.out, code, plain(fmt.Sprintf(format, args...))))
}

// from prints the ids of the notices that something comes from.
func (p *picture) from(indent string, ids ...string) {
	if p.ids {
		for _, id := range ids {
			p.line("%snotice %s", indent, id)
		}
	}
}

const bold, red = "1", "1;31"

// when is a time with how long ago it was.
func (p *picture) when(t api.Time) string {
	return fmt.Sprintf("%s (%s)", clock(t), ago(stamp(t), p.now))
}

// clock is a time in UTC, as the first line says of all.
func clock(t api.Time) string { return stamp(t).UTC().Format("2 Jan 15:04") }

func (p *picture) print() {
	s := &p.s
	where := s.Region
	if where == "" {
		where = "This hospital alone"
	}
	p.line("%s on %s UTC, as %s has it", where, clock(s.Now), s.Name)
	p.line("%d under attack, %d declared down, %d silent, %d OK", s.Counts.UnderAttack, s.Counts.DeclaredDown, s.Counts.Silent, s.Counts.OK)
	if e := s.Exercise; e != nil {
		p.line("EXERCISE, counted apart, by %s: services %d, assistance %d, links %d, questions %d", plural(int64(e.Members), "member"), e.Services, e.Assistance, e.Links, e.Questions)
	}
	if s.Health.Members > 1 && s.Health.Peers == 0 {
		p.line("! This node is connected to nobody: it shows what it holds, and cannot know who is well.")
	}
	if s.Reading {
		p.line("! This node has just started and still reads what it holds: more will appear.")
	}
	p.attacked()
	p.states()
	p.spreading()
	p.help()
	p.links()
	p.services()
	p.questions()
	p.fine()
	p.changes()
	p.health()
}

func name(o api.Party) string {
	n := o.Name
	if n == "" {
		n = "member " + o.Member[:min(16, len(o.Member))]
	}
	if o.Region != "" {
		n += " of " + o.Region
	}
	return n
}

func drill(w api.Word) string { return drillMark(w.Exercise) }

func drillMark(exercise bool) string {
	if exercise {
		return "EXERCISE: "
	}
	return ""
}

func (p *picture) attacked() {
	if len(p.s.Maydays) == 0 {
		return
	}
	p.title(red, "UNDER ATTACK, by their own word. Call back: a stolen key can lie")
	for _, m := range p.s.Maydays {
		p.line("  %s: %s", name(m.Party), m.Text)
		note := ""
		if m.ClockOff {
			note = ", when it came here: its clock is off"
		}
		p.line("    since %s%s", p.when(m.Said), note)
		if m.Contact == nil {
			p.line("    it has told nobody how to reach it")
		}
		p.reach(m.Contact)
		for _, d := range m.Disputed {
			p.line("    DISPUTED by %s, a coordinator, %s: %s", name(d.Party), p.when(d.Said), d.Reason)
		}
		p.from("    ", m.ID)
	}
}

// reach prints how to reach a member, if it has told.
func (p *picture) reach(c *api.ContactView) {
	if c != nil {
		p.line("    reach: %s", strings.Join(c.Lines, "; "))
	}
}

func (p *picture) states() {
	for _, state := range []string{api.StateDeclaredDown, api.StateSilent} {
		first := true
		for _, m := range p.s.Members {
			if m.State != state {
				continue
			}
			if first {
				title := "DECLARED DOWN, by their own word"
				switch {
				case state == api.StateSilent && p.s.Health.Peers == 0:
					title = "SILENT: not heard here, since this node hears nobody; no attack"
				case state == api.StateSilent:
					title = "SILENT: nobody hears them, which is no attack"
				}
				p.title(bold, "%s", title)
				first = false
			}
			text := "since " + p.when(m.Since)
			if state == api.StateSilent {
				when := ""
				if m.Since != 0 {
					when = p.when(m.Since)
				}
				text = lastHeard(when, m.HeardBy)
			}
			p.line("  %s, %s", name(m.Party), text)
			p.reach(m.Contact)
			p.from("    ", m.IDs...)
		}
	}
}

const (
	fineNamed = 20 // hospitals that are well and named
	listWidth = 80 // columns of a list that holds nothing for programs
)

// fine prints who is well: last, for nobody looks for it first.
func (p *picture) fine() {
	var fine []string
	for _, m := range p.s.Members {
		if !slices.Contains([]string{api.StateUnderAttack, api.StateDeclaredDown, api.StateSilent}, m.State) {
			fine = append(fine, name(m.Party))
		}
	}
	switch {
	case len(fine) > fineNamed:
		p.title(bold, "OK")
		p.line("  %s: watchward members lists them", plural(int64(len(fine)), "hospital"))
	case len(fine) > 0:
		p.title(bold, "OK")
		for i, n := range fine {
			fine[i] = strings.ReplaceAll(n, " ", "\u00a0") // a name is not broken
		}
		list := wrap("  "+strings.Join(fine, ", "), "", cmp.Or(p.width, listWidth))
		for line := range strings.Lines(strings.ReplaceAll(list, "\u00a0", " ")) {
			fmt.Fprintln(p.out, plain(strings.TrimSuffix(line, "\n")))
		}
	}
}

func (p *picture) spreading() {
	if len(p.s.Spreading) == 0 {
		return
	}
	p.title(bold, "SPREADING, seen at several hospitals within 72 h")
	for _, e := range p.s.Spreading {
		what := e.Value
		if e.Type != "" {
			what = e.Type + " " + withUnicode(e.Value)
		}
		switch {
		case e.Active:
			p.line("  %s  (%s; until %s if nobody sees it again)", what, e.TLP, clock(e.Ends))
		case e.TakenBack:
			p.line("  %s  (%s; ENDED: words were taken back)", what, e.TLP)
		default:
			p.line("  %s  (%s; ENDED %s: nobody new has seen it)", what, e.TLP, p.when(e.Ends))
		}
		for _, m := range e.Seen {
			last := ""
			if m.Last != m.First {
				last = ", last " + p.when(m.Last)
			}
			if m.TakenBack {
				last += ", TAKEN BACK"
			}
			p.line("    %s  %s%s", p.when(m.First), name(m.Party), last)
			p.from("      ", m.IDs...)
		}
	}
}

func (p *picture) help() {
	if len(p.s.Assistance) == 0 {
		return
	}
	p.title(bold, "ASSISTANCE")
	for _, h := range p.s.Assistance {
		asks := "asks for"
		if h.Act == "offer" {
			asks = "offers"
		}
		p.line("  %s%s: %s %s %s", drill(h.Word), strings.ToUpper(h.State), name(h.Party), asks, helpText(&h.Assistance))
		p.line("    since %s%s", p.when(h.Said), until(h.Until))
		p.from("    ", h.ID)
		if h.State != "closed" && h.State != "lapsed" {
			p.reach(p.contact(h.Party))
		}
		for _, o := range h.Offers {
			p.line("    %s offers help with it, %s", name(o.Party), p.when(o.Said))
			p.from("      ", o.ID)
		}
		confirmedFirst := slices.Clone(h.Claims)
		slices.SortStableFunc(confirmedFirst, func(a, b api.ClaimView) int {
			return cmp.Compare(cond(a.Confirm == "", "not"), cond(b.Confirm == "", "not"))
		})
		for _, c := range confirmedFirst {
			p.line("    %s takes %d: %s, %s", name(c.Party), c.Quantity, c.State, p.when(c.Said))
			p.from("      ", c.ID)
		}
		for _, r := range h.Refused {
			p.line("    does not count: %s by %s, to whom it does not belong", r.Act, name(r.Party))
			p.from("      ", r.ID)
		}
		if h.State == "open" {
			p.line("    to take it: watchward assist claim %s", h.ID)
		}
	}
}

func until(t api.Time) string {
	if t == 0 {
		return ""
	}
	return ", until " + clock(t)
}

// contact is how to reach a member of this region, nil if it told no contact.
func (p *picture) contact(who api.Party) *api.ContactView {
	for _, m := range p.s.Members {
		if m.Member == who.Member {
			return m.Contact
		}
	}
	return nil
}

func (p *picture) links() {
	if len(p.s.Suppliers) == 0 {
		return
	}
	p.title(bold, "LINKS TO SUPPLIERS")
	for _, s := range p.s.Suppliers {
		by := "nobody has a link cut now"
		if len(s.Cut) > 0 {
			var who []string
			for _, c := range s.Cut {
				if n := name(c.Party); !slices.Contains(who, n) {
					who = append(who, n)
				}
			}
			by = "cut now by " + strings.Join(who, ", ")
		}
		p.line("  %s: %s", s.Name, by)
		for _, l := range s.Line {
			p.line("    %s%s %s %s, %s, %s", drill(l.Word), name(l.Party), l.State, l.Link.Link, way(l.Direction), p.when(l.At))
			for _, n := range [][2]string{{"why", l.Reason}, {"reconnect when", l.Criteria}, {"attested by", l.AttestedBy}} {
				if n[1] != "" {
					p.line("      %s: %s", n[0], n[1])
				}
			}
			p.from("      ", l.ID)
		}
	}
}

// way says in which direction a link goes.
func way(direction string) string {
	return map[string]string{"in": "inbound", "out": "outbound", "both": "both ways"}[direction]
}

func (p *picture) services() {
	first := true
	for _, e := range p.s.Services {
		if e.State == "open" && !e.Past {
			continue
		}
		if first {
			p.title(bold, "SERVICES that are not open")
			first = false
		}
		text, over := "", ""
		if e.Text != "" {
			text = ", " + e.Text
		}
		if e.Past {
			over = ", which is over; no word since"
		}
		p.line("  %s%s, %s: %s%s", drill(e.Word), name(e.Party), e.Department, e.State, text)
		p.line("    since %s%s%s", p.when(e.Said), until(e.Until), over)
		p.from("    ", e.ID)
	}
}

func (p *picture) questions() {
	if len(p.s.Questions) == 0 {
		return
	}
	p.title(bold, "QUESTIONS")
	for _, q := range p.s.Questions {
		p.line("  %s%s asks: who has seen %s %s?", drill(q.Word), name(q.Party), q.Indicator.Type, withUnicode(q.Indicator.Value))
		if q.Text != "" {
			p.line("    %s", q.Text)
		}
		p.line("    since %s", p.when(q.Said))
		p.from("    ", q.ID)
		if len(q.Answers) == 0 {
			p.line("    no answer yet; seen, not-seen or unknown:")
			p.line("      watchward respond %s unknown", q.ID)
		}
		for _, a := range q.Answers {
			how := ""
			if a.Sighting {
				how = " (its own report)"
			}
			p.line("    %s: %s%s, %s", name(a.Party), a.Answer, how, p.when(a.Said))
			p.from("      ", a.ID)
		}
	}
}

func (p *picture) changes() {
	if p.s.Since == 0 {
		return
	}
	p.title(bold, "CHANGED since %s", p.when(p.s.Since))
	if len(p.s.Changes) == 0 {
		p.line("  nothing")
	}
	for _, c := range p.s.Changes {
		text := name(c.Party) + ": " + c.Text
		if c.Kind == "spreading" {
			text = c.Text
		}
		p.line("  %s  %s", clock(c.At), text)
		p.from("    ", c.IDs...)
	}
}

func (p *picture) health() {
	h := &p.s.Health
	p.title(bold, "HOW FAR TO TRUST THIS")
	if others := h.Members - 1; others > 0 {
		p.line("  %d of %s connected; last word heard: %s, said: %s", h.Peers, plural(int64(others), "other member"),
			ago(stamp(h.LastIn), p.now), ago(stamp(h.LastOut), p.now))
	}
	for _, w := range h.Warnings {
		p.line("  ! %s", w)
	}
	for _, e := range p.s.Partial {
		p.line("  ! %s reports so much that its sightings before %s do not count", name(e.Party), clock(e.Before))
	}
	if len(p.s.More) > 0 {
		p.line("  ! only the newest are shown of: %s", strings.Join(p.s.More, ", "))
	}
	if !p.ids {
		p.line("  The notices behind this: --ids or --json; one in full: watchward show ID")
	}
}
