package alert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
)

// Bounds of a digest.
const (
	digestShown = 40      // lines that it shows
	digestLine  = 300     // bytes of each
	digestBytes = 8 << 10 // of all
)

func (e *Engine) number() uint64 {
	e.meta.Number++
	return e.meta.Number
}

// message is what an event says.
func (e *Engine) message(typ string, ev *Event) Message {
	m := Message{
		Type: typ, Time: ev.Time, Severity: ev.Severity, Kind: ev.Kind(), TLP: ev.TLP.String(), Text: ev.Text, Line: ev.Line, Refs: ev.Refs,
		Value: first(ev.Fields[FieldValue]), Valued: first(ev.Fields[FieldType]),
	}
	if ev.Alert == 0 {
		m.Kind = first(ev.Fields[FieldNotice])
	}
	return m
}

// groupMessage is what a group says.
func (e *Engine) groupMessage(g *Group, typ string, now int64) Message {
	m := Message{
		Type: typ, Time: now, Severity: g.Severity, Kind: g.Kind, TLP: g.TLP.String(), Text: g.Text, Line: g.Line, Group: g.ID, Refs: g.Refs,
		Value: g.Value, Valued: g.Valued, Count: g.Count,
	}
	if g.Count > 1 {
		m.Text += e.c.Words.Text(catalog.AlertRepeated, g.Count, e.c.Words.Brief(time.UnixMilli(g.First).UTC()))
	}
	return m
}

// tellGroup tells sinks of a group, and remembers that.
func (e *Engine) tellGroup(g *Group, sinks []string, typ string, now int64) {
	for _, s := range sinks {
		if !slices.Contains(g.Told, s) {
			g.Told = append(slices.Clone(g.Told), s)
		}
	}
	e.tell(sinks, e.groupMessage(g, typ, now), g.TLP, true, now)
}

// tell sends one message to some sinks. A sink that may not be shown it is told, if
// that is asked for, only that there is something, and of a row of such only of the
// first: neither what it is nor how many there are.
func (e *Engine) tell(sinks []string, m Message, tlp notice.TLP, bare bool, now int64) {
	for _, name := range sinks {
		s := e.sinks[name]
		if s == nil { // the configuration has it no longer
			continue
		}
		out := m
		if !s.Lines {
			out.Line = ""
		}
		if !s.shows(tlp) {
			last := e.meta.Bare[name]
			if !bare || !s.Bare || now >= last && now < last+bareEvery.Milliseconds() || !m.Open() || m.Type == TypeUpdate {
				continue
			}
			e.meta.Bare[name] = now
			out = Message{Type: TypePage, Time: now, Severity: "warning", Text: e.c.Words.Text(catalog.AlertAbove), Above: true}
		}
		e.send(name, out)
	}
}

func (e *Engine) send(sink string, m Message) {
	m.Number, m.Sink, m.Node = e.number(), sink, e.c.Node
	m.ID = fmt.Sprintf("%s-%d-%d", e.c.Prefix, m.Time, m.Number)
	e.out.Send = append(e.out.Send, m)
}

// Test sends a message to a sink that says that it is a test. It goes no further than
// what it returns: no rule is asked, and nothing is remembered.
func (e *Engine) Test(now int64) Message {
	return Message{
		ID: fmt.Sprintf("%s-%d-test", e.c.Prefix, now), Type: TypeTest, Node: e.c.Node, Time: now, Severity: "info", Kind: "test",
		TLP: notice.TLPClear.String(), Text: e.c.Words.Text(catalog.AlertTest),
	}
}

// note keeps an event for the digest.
func (e *Engine) note(ev *Event, mark string) {
	l := &line{Time: ev.Time, Kind: ev.Kind(), Severity: ev.Severity, TLP: ev.TLP, Text: cut(mark+ev.Text, digestLine), Count: 1}
	if len(e.lines) >= linesMax {
		for _, other := range e.lines {
			if other.Text == "" && other.Kind == l.Kind && other.TLP == l.TLP {
				other.Count++
				e.out.keep(lineName(other.Number), marshal(other))
				return
			}
		}
		l.Text = ""
	}
	l.Number = e.number()
	e.lines = append(e.lines, l)
	e.out.keep(lineName(l.Number), marshal(l))
}

func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// digest sends the digest when its time has come.
func (e *Engine) digest(now int64) {
	if !e.c.Digest {
		for _, l := range e.lines {
			e.out.keep(lineName(l.Number), nil)
		}
		e.lines = nil
		return
	}
	next := e.nextDigest(now)
	if e.meta.DigestAt == 0 || e.meta.DigestAt > next {
		e.meta.DigestAt = next
		e.out.keep(nameMeta, nil) // take writes it
	}
	if now < e.meta.DigestAt {
		return
	}
	e.meta.DigestAt = next
	e.out.keep(nameMeta, nil)
	for i := range e.c.Sinks {
		if s := &e.c.Sinks[i]; s.Digest {
			if text := e.digestText(s); text != "" {
				e.send(s.Name, Message{Type: TypeDigest, Time: now, Severity: "info", Kind: "digest", TLP: s.Ceiling.String(), Text: text})
			}
		}
	}
	for _, l := range e.lines {
		e.out.keep(lineName(l.Number), nil)
	}
	e.lines = nil
}

// nextDigest returns the first time of the digest after now.
func (e *Engine) nextDigest(now int64) int64 {
	t := time.UnixMilli(now).In(e.c.Zone)
	for day := range 3 {
		at := time.Date(t.Year(), t.Month(), t.Day()+day, e.c.Hour, e.c.Minute, 0, 0, e.c.Zone)
		if at.After(t) {
			return at.UnixMilli()
		}
	}
	return now + (24 * time.Hour).Milliseconds()
}

// digestText is what a sink may know of the day, "" if that is nothing. Only that is
// counted.
func (e *Engine) digestText(s *Sink) string {
	counts := map[string]uint64{}
	var shown []*line
	for _, l := range e.lines {
		if s.shows(l.TLP) {
			counts[l.Kind] += l.Count
			if l.Text != "" {
				shown = append(shown, l)
			}
		}
	}
	var open []*Group
	for _, g := range e.ordered() {
		if g.State == Open && s.shows(g.TLP) {
			open = append(open, g)
		}
	}
	if len(counts) == 0 && len(open) == 0 {
		return ""
	}
	words := e.c.Words
	var b strings.Builder
	e.writeOpen(&b, open)
	var kinds []string
	for kind := range counts {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d × %s", counts[kind], kind)
	}
	if len(kinds) > 0 {
		b.WriteString(words.Text(catalog.AlertDigestKinds, strings.Join(kinds, ", ")) + "\n")
	}
	slices.SortStableFunc(shown, func(a, b *line) int {
		return cmp.Or(cmp.Compare(rank(b.Severity), rank(a.Severity)), cmp.Compare(a.Number, b.Number))
	})
	for i, l := range shown {
		if i == digestShown || b.Len() > digestBytes {
			b.WriteString(words.Text(catalog.AlertDigestMore, len(shown)-i) + "\n")
			break
		}
		fmt.Fprintf(&b, "- %s %s: %s\n", words.BriefLocal(time.UnixMilli(l.Time).In(e.c.Zone)), l.Kind, l.Text)
	}
	b.WriteString(words.Text(catalog.AlertDigestAbove))
	return b.String()
}

// openShown is how many groups that nobody acknowledged a digest shows.
const openShown = 10

func (e *Engine) writeOpen(b *strings.Builder, open []*Group) {
	if len(open) == 0 {
		return
	}
	words := e.c.Words
	b.WriteString(words.Text(catalog.AlertDigestOpen, len(open)) + "\n")
	for i, g := range open {
		if i == openShown {
			b.WriteString(words.Text(catalog.AlertDigestMore, len(open)-i) + "\n")
			break
		}
		b.WriteString(words.Text(catalog.AlertDigestGroup, g.ID, g.Kind, cut(g.Text, digestLine)) + "\n")
	}
}
