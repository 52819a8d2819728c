package incident

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"sync"
	"time"

	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
)

//go:embed report.html
var reportHTML string

// A Page is a report for people.
type Page struct {
	Filing  *notice.Filing
	Marking notice.TLP
	Author  string // who signed and sent it; "" = it is a draft
	Words   *catalog.Printer
	Zone    *time.Location // of its times; those that a deadline counts from are in UTC too
}

var stageKeys = map[notice.Stage][2]catalog.Key{
	notice.StageEarlyWarning: {catalog.IncidentEarlyWarning, catalog.IncidentLawEarlyWarning},
	notice.StageNotification: {catalog.IncidentNotification, catalog.IncidentLawNotification},
	notice.StageProgress:     {catalog.IncidentProgress, catalog.IncidentLawProgress},
	notice.StageFinal:        {catalog.IncidentFinal, catalog.IncidentLawFinal},
}

// StageKey is the name of a report.
func StageKey(s notice.Stage) catalog.Key { return stageKeys[s][0] }

// wordKeys are the words of a filing by how they are written elsewhere.
var wordKeys = map[string]catalog.Key{
	"unknown": catalog.IncidentUnknown, "yes": catalog.IncidentYes, "no": catalog.IncidentNo,
	"low": catalog.IncidentLow, "medium": catalog.IncidentMedium, "high": catalog.IncidentHigh, "critical": catalog.IncidentCritical,
	"open": catalog.IncidentOpen, "diverted": catalog.IncidentDiverted, "closed": catalog.IncidentClosed,
	"cut": catalog.IncidentCut, "restored": catalog.IncidentRestored,
	"request": catalog.IncidentRequest, "offer": catalog.IncidentOffer, "claim": catalog.IncidentClaim,
	"confirm": catalog.IncidentConfirm, "close": catalog.IncidentClose,
	"early-warning": catalog.IncidentEarlyWarning, "notification": catalog.IncidentNotification,
	"progress": catalog.IncidentProgress, "final": catalog.IncidentFinal,
}

// reportTemplate is parsed once; its functions are replaced for each page.
var reportTemplate = sync.OnceValue(func() *template.Template {
	none := Page{Words: catalog.For(""), Zone: time.UTC}
	return template.Must(template.New("report").Funcs(none.funcs()).Parse(reportHTML))
})

// Write writes the report as one HTML document that needs nothing else: no script, no
// picture, no network. Whatever a field says is text in it.
func (p Page) Write(w io.Writer) error {
	t, err := reportTemplate().Clone()
	if err != nil {
		return err
	}
	f, keys := p.Filing, stageKeys[p.Filing.Stage]
	text := p.Words.Text
	view := struct {
		Lang, Title, Law, Number, Marking, State, Entity, Source, More string
		F                                                              *notice.Filing
		Full                                                           bool
		Due                                                            int64
		Texts                                                          []prose
	}{
		Lang: p.Words.Lang(), Title: text(keys[0]), Law: text(keys[1]), Number: f.Incident, Marking: "TLP:" + p.Marking.String(), Entity: f.Entity,
		F: f, Full: f.Stage >= notice.StageNotification, Due: dueOf(f), Texts: p.texts(), More: text(catalog.IncidentMore, f.More),
	}
	if view.State = text(catalog.IncidentDraft, p.moment(f.Made)); p.Author != "" {
		view.State = text(catalog.IncidentSent, p.Author, p.moment(f.Made))
	}
	from, until := (&Incident{AwareAt: f.AwareAt, Facts: Facts{Began: f.Began, Handled: f.Handled}}).Span(f.Made)
	view.Source = text(catalog.IncidentSource, p.moment(from), p.moment(until))
	return t.Funcs(p.funcs()).Execute(w, view)
}

// dueOf is when a report was due, as far as it tells itself; 0 = it does not.
func dueOf(f *notice.Filing) int64 {
	i := &Incident{AwareAt: f.AwareAt, Facts: Facts{Handled: f.Handled}}
	for _, r := range f.Earlier {
		i.Sent = append(i.Sent, Sent{Stage: r.Stage, At: r.At})
	}
	for _, d := range i.Deadlines() {
		if d.Stage == f.Stage && !d.Guessed && d.Due != 0 {
			return d.Due
		}
	}
	return 0
}

type prose struct{ Head, Text string }

// texts are what the stage asks for, in the order of Art. 23(4).
func (p Page) texts() (out []prose) {
	f := p.Filing
	add := func(on bool, key catalog.Key, text string) {
		if on {
			out = append(out, prose{p.Words.Text(key), text})
		}
	}
	add(true, catalog.IncidentDescription, f.Description)
	add(f.Stage >= notice.StageNotification, catalog.IncidentImpact, f.Impact)
	add(f.Stage >= notice.StageProgress, catalog.IncidentCause, f.Cause)
	add(f.Stage >= notice.StageProgress || f.Measures != "", catalog.IncidentMeasures, f.Measures)
	add(f.Stage == notice.StageFinal && f.CrossBorder != notice.WhetherNo || f.Borders != "", catalog.IncidentBorders, f.Borders)
	return out
}

func (p Page) moment(ms int64) string { return p.Words.Moment(time.UnixMilli(ms).In(p.Zone)) }

// funcs are what the template asks for.
func (p Page) funcs() template.FuncMap {
	unknown := func() template.HTML {
		return template.HTML(`<span class="unknown">` + template.HTMLEscapeString(p.Words.Text(catalog.IncidentUnknown)) + `</span>`)
	}
	return template.FuncMap{
		"text": func(key string) string { return p.Words.Text(catalog.Key(key)) },
		"word": func(w fmt.Stringer) any {
			if w.String() == "unknown" {
				return unknown()
			}
			return p.Words.Text(wordKeys[w.String()])
		},
		"unknown": unknown,
		"moment":  p.moment,
		"short":   func(ms int64) string { return p.Words.Short(time.UnixMilli(ms).In(p.Zone)) },
		"utc":     func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04 UTC") },
		"number":  func(n any) string { return p.Words.Number(n) },
		"department": func(name string) string {
			if name == notice.AllDepartments {
				return p.Words.Text(catalog.IncidentWhole)
			}
			return name
		},
	}
}
