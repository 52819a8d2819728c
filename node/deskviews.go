package node

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/incident"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// Incidents implements api.Node.
func (n *Node) Incidents(ctx context.Context) ([]api.IncidentView, error) {
	if err := n.desk.arrivals(ctx); err != nil {
		return nil, err
	}
	var out []api.IncidentView
	for _, i := range n.desk.incidents() {
		v := n.incidentView(i, notice.TLPAmberStrict)
		v.Log = nil
		out = append(out, v)
	}
	return out, nil
}

// Incident implements api.Node.
func (n *Node) Incident(ctx context.Context, number string, ceiling notice.TLP) (api.IncidentView, bool, error) {
	if err := n.desk.arrivals(ctx); err != nil {
		return api.IncidentView{}, true, err
	}
	n.desk.mu.Lock()
	i, found := n.desk.all[number]
	n.desk.mu.Unlock()
	if !found {
		return api.IncidentView{}, false, nil
	}
	return n.incidentView(i, ceiling), true, nil
}

// incidentView shows an incident. This is the one place where what is known of a ransom
// leaves the desk, and only to who may see everything.
func (n *Node) incidentView(i *incident.Incident, ceiling notice.TLP) api.IncidentView {
	f, now := i.Facts, n.now().UnixMilli()
	v := api.IncidentView{
		Number: i.Number, Title: i.Title, AwareAt: api.Time(i.AwareAt), Opened: api.Time(i.Opened), Began: api.Time(f.Began), Handled: api.Time(f.Handled),
		Malicious: f.Malicious.String(), CrossBorder: f.CrossBorder.String(), Severity: f.Severity.String(),
		Description: f.Description, Impact: f.Impact, Cause: f.Cause, Measures: f.Measures, Borders: f.Borders,
		Deadlines: []api.DeadlineView{}, Drafts: []api.DraftBrief{}, Sent: []api.SentView{}, Closed: api.Time(i.Closed), Why: i.Why,
	}
	if r := i.Ransom; ceiling >= notice.TLPRed && r != (incident.Ransom{}) {
		v.Ransom = &api.RansomView{Demanded: r.Demanded.String(), Paid: r.Paid.String(), Intends: r.Intends.String(),
			Amount: r.Amount, Currency: r.Currency, Recipient: r.Recipient}
	}
	for _, d := range i.Deadlines() {
		v.Deadlines = append(v.Deadlines, api.DeadlineView{Stage: d.Stage.String(), Due: api.Time(d.Due), Met: api.Time(d.Met), Guessed: d.Guessed,
			State: deadlineState(i, d, now)})
	}
	for _, d := range i.Drafts {
		v.Drafts = append(v.Drafts, api.DraftBrief{Stage: d.Filing.Stage.String(), Made: api.Time(d.Made), Current: i.Current(d)})
	}
	for _, s := range i.Sent {
		sent := api.SentView{Stage: s.Stage.String(), At: api.Time(s.At), To: s.To, Member: s.Member, Notice: s.Notice, State: "waiting"}
		switch {
		case s.Member == "":
			sent.State = "elsewhere"
		case s.Delivered != 0:
			sent.State, sent.Since = "delivered", api.Time(s.Delivered)
		case s.Failed != 0:
			sent.State, sent.Since = "failed", api.Time(s.Failed)
		}
		v.Sent = append(v.Sent, sent)
	}
	for _, c := range i.Log {
		what := c.What
		if ceiling < notice.TLPRed {
			what = withoutRansom(what)
		}
		if what != "" {
			v.Log = append(v.Log, api.ChangeLine{At: api.Time(c.At), By: c.By, What: what})
		}
	}
	return v
}

// withoutRansom is what a log says beside a ransom, "" if that is nothing: also that
// somebody asked for one is for who may see everything.
func withoutRansom(what string) string {
	names, isChange := strings.CutPrefix(what, "changed ")
	if !isChange {
		return what
	}
	kept := slices.DeleteFunc(strings.Split(names, ", "), func(name string) bool { return strings.HasPrefix(name, "ransom") })
	if len(kept) == 0 {
		return ""
	}
	return "changed " + strings.Join(kept, ", ")
}

func deadlineState(i *incident.Incident, d incident.Deadline, now int64) string {
	switch {
	case d.Met != 0:
		return api.DeadlineMet
	case i.Closed != 0:
		return api.DeadlineClosed
	case d.Due == 0 || d.Guessed:
		return api.DeadlineLater
	case now > d.Due:
		return api.DeadlineOverdue
	case d.Sent != 0:
		return api.DeadlineSent
	}
	return api.DeadlineOpen
}

// ReportPage implements api.Node.
func (n *Node) ReportPage(ctx context.Context, q api.ReportQuery) ([]byte, bool, error) {
	words := n.printer()
	if q.Language != "" {
		words = catalog.For(q.Language)
	}
	page := incident.Page{Marking: notice.TLPAmberStrict, Words: words, Zone: time.Local}
	if q.ID == "" {
		stage, err := notice.ParseStage(q.Stage)
		if err != nil {
			return nil, true, err
		}
		n.desk.mu.Lock()
		i, found := n.desk.all[q.Number]
		n.desk.mu.Unlock()
		if !found {
			return nil, false, nil
		}
		d, found := i.Drafted(stage)
		if !found {
			return nil, false, nil
		}
		page.Filing = &d.Filing
		return paperOf(page, q.Format)
	}
	id, err := crypto.ParseItemID(q.ID)
	if err != nil {
		return nil, false, nil
	}
	r, found, err := n.store.Record(id)
	if err != nil || !found || r.Notice.Filing == nil || !store.Visible(r.TLP, q.Ceiling) {
		return nil, false, err
	}
	page.Filing, page.Marking, page.Author = r.Notice.Filing, r.TLP, n.nameOrID(r.Author)
	return paperOf(page, q.Format)
}

func paperOf(page incident.Page, format string) ([]byte, bool, error) {
	if format == "json" {
		text, err := json.MarshalIndent(filingView(page.Filing), "", "  ")
		return append(text, '\n'), true, err
	}
	var out bytes.Buffer
	err := page.Write(&out)
	return out.Bytes(), true, err
}

// filingView shows a filing.
func filingView(f *notice.Filing) api.Filing {
	v := api.Filing{
		Incident: f.Incident, Stage: f.Stage.String(), AwareAt: api.Time(f.AwareAt), Made: api.Time(f.Made), Title: f.Title,
		Malicious: f.Malicious.String(), CrossBorder: f.CrossBorder.String(), Severity: f.Severity.String(),
		Description: f.Description, Impact: f.Impact, Cause: f.Cause, Measures: f.Measures, Borders: f.Borders,
		Began: api.Time(f.Began), Handled: api.Time(f.Handled), Entity: f.Entity, Contact: f.Contact, More: f.More,
	}
	for _, r := range f.Earlier {
		v.Earlier = append(v.Earlier, api.FiledReport{Stage: r.Stage.String(), At: api.Time(r.At)})
	}
	for _, s := range f.Sightings {
		v.Sightings = append(v.Sightings, api.FiledSighting{Indicator: api.Indicator{Type: s.Type.String(), Value: s.Value},
			First: api.Time(s.First), Last: api.Time(s.Last), Count: s.Count, Family: s.Family})
	}
	for _, s := range f.Services {
		v.Services = append(v.Services, api.FiledService{Department: s.Department, State: s.State.String(), At: api.Time(s.At), Until: api.Time(s.Until)})
	}
	for _, l := range f.Links {
		v.Links = append(v.Links, api.FiledLink{Supplier: l.Supplier, Link: l.Link, State: l.State.String(), At: api.Time(l.At), Reason: l.Reason})
	}
	for _, a := range f.Assistance {
		v.Assistance = append(v.Assistance, api.FiledAssistance{Act: a.Act.String(), What: a.What, Quantity: a.Quantity, Unit: a.Unit, At: api.Time(a.At)})
	}
	return v
}

// incidentUpdate reads what is said of an incident. Unknown, in any case, is nothing.
func incidentUpdate(c api.IncidentChange) (u incident.Update, err error) {
	moment := func(name string, from *string, to **int64) {
		if from == nil || err != nil {
			return
		}
		*to = new(int64)
		if isUnknown(*from) && name != "aware_at" {
			return
		}
		t, failed := time.Parse(time.RFC3339, *from)
		if failed != nil || t.UnixMilli() <= 0 {
			err = &notice.FieldError{Field: name, Reason: "it is not a time", Fix: "write it as 2026-01-31T12:00:00+01:00"}
			return
		}
		**to = t.UnixMilli()
	}
	moment("aware_at", c.AwareAt, &u.AwareAt)
	moment("began", c.Began, &u.Began)
	moment("handled", c.Handled, &u.Handled)
	moment("progress_by", c.ProgressBy, &u.ProgressBy)
	whether := func(name string, from *string, to **notice.Whether) {
		if from != nil && err == nil {
			var w notice.Whether
			w, err = notice.ParseWhether(name, *from)
			*to = &w
		}
	}
	whether("malicious", c.Malicious, &u.Malicious)
	whether("cross_border", c.CrossBorder, &u.CrossBorder)
	if c.Severity != nil && err == nil {
		var s notice.Severity
		s, err = notice.ParseSeverity(*c.Severity)
		u.Severity = &s
	}
	u.Title = c.Title
	for _, t := range []struct {
		from *string
		to   **string
	}{{c.Description, &u.Description}, {c.Impact, &u.Impact}, {c.Cause, &u.Cause}, {c.Measures, &u.Measures}, {c.Borders, &u.Borders}} {
		*t.to = known(t.from)
	}
	if r := c.Ransom; r != nil {
		whether("ransom.demanded", r.Demanded, &u.Demanded)
		whether("ransom.paid", r.Paid, &u.Paid)
		whether("ransom.intends", r.Intends, &u.Intends)
		u.Amount, u.Currency, u.Recipient = known(r.Amount), known(r.Currency), known(r.Recipient)
	}
	return u, err
}

func isUnknown(s string) bool { return strings.EqualFold(strings.TrimSpace(s), "unknown") }

// known is a text, empty where it says that it is unknown.
func known(s *string) *string {
	if s == nil || !isUnknown(*s) {
		return s
	}
	return new(string)
}
