package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/incident"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	deskEvery    = 30 * time.Second // between two looks at what is due and what has arrived
	incidentsMax = 1_000
	filingBack   = 7 * 24 * time.Hour // what came while this node did not run, and is still worth an alert
)

// desk keeps the incidents of this house. Each change is durable before it is answered.
type desk struct {
	n    *Node
	wake chan struct{}

	mu  sync.Mutex
	all map[string]*incident.Incident // by number; one is replaced, never changed
}

func (n *Node) openDesk() error {
	d := &desk{n: n, wake: make(chan struct{}, 1), all: map[string]*incident.Incident{}}
	kept, err := n.store.Incidents()
	if err != nil {
		return err
	}
	for _, i := range kept {
		d.all[i.Number] = i
	}
	n.desk = d
	return nil
}

// run raises what is due, and notes what has arrived.
func (d *desk) run() {
	tick := time.NewTicker(deskEvery)
	defer tick.Stop()
	for {
		if err := d.look(d.n.ctx); err != nil && d.n.ctx.Err() == nil {
			d.n.log.Error("incidents", slog.Any("err", err))
		}
		select {
		case <-d.n.ctx.Done():
			return
		case <-d.wake:
		case <-tick.C:
		}
	}
}

func (d *desk) look(ctx context.Context) error {
	if err := d.arrivals(ctx); err != nil {
		return err
	}
	now := d.n.now().UnixMilli()
	for _, i := range d.incidents() {
		for _, a := range i.Alarms(now) {
			d.n.alertDeadline(i.Number, a, now)
		}
	}
	return nil
}

// incidents returns those that are open first, then the newest.
func (d *desk) incidents() []*incident.Incident {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(maps.Values(d.all), func(a, b *incident.Incident) int {
		closed := func(i *incident.Incident) int { return min(int(i.Closed), 1) }
		return cmp.Or(cmp.Compare(closed(a), closed(b)), cmp.Compare(b.Opened, a.Opened), strings.Compare(b.Number, a.Number))
	})
}

// arrivals notes which reports their members have confirmed.
func (d *desk) arrivals(ctx context.Context) error {
	for _, i := range d.incidents() {
		for _, s := range i.Sent {
			if s.Member == "" || s.Delivered != 0 || s.Failed != 0 {
				continue
			}
			delivered, failed, err := d.n.arrived(s)
			if err != nil {
				return err
			}
			if delivered == 0 && failed == 0 {
				continue
			}
			if _, _, err := d.change(ctx, i.Number, func(i *incident.Incident) error {
				i.NoteDelivery(s.Notice, s.Member, delivered, failed)
				return nil
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// arrived is when a member confirmed a report, or it is known that it never will.
func (n *Node) arrived(s incident.Sent) (delivered, failed int64, err error) {
	id, err := crypto.ParseItemID(s.Notice)
	if err != nil {
		return 0, 0, err
	}
	r, found, err := n.store.Record(id)
	if err != nil || !found {
		return 0, 0, err
	}
	if r.State == store.Local { // nobody was left to seal it for
		return 0, n.now().UnixMilli(), nil
	}
	for _, d := range n.deliveries(r) {
		switch {
		case d.Member.String() != s.Member:
		case d.State == store.Delivered:
			return max(d.At, 1), 0, nil
		case d.State == store.Declined || d.State == store.Lapsed:
			return 0, max(d.At, 1), nil
		}
	}
	return 0, 0, nil
}

// change changes one incident, durably, or leaves it as it was.
func (d *desk) change(ctx context.Context, number string, do func(*incident.Incident) error) (*incident.Incident, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	held, found := d.all[number]
	if !found {
		return nil, false, nil
	}
	next := *held
	if err := do(&next); err != nil {
		return nil, true, err
	}
	return &next, true, d.keep(ctx, &next)
}

// keep makes an incident durable. The caller holds mu.
func (d *desk) keep(ctx context.Context, i *incident.Incident) error {
	if err := d.n.store.KeepIncident(context.WithoutCancel(ctx), i); err != nil {
		return unwritten(err)
	}
	d.all[i.Number] = i
	poke(d.wake)
	return nil
}

// alertDeadline tells people that a report is due soon, or overdue, once each. That there
// is an incident is the house's own.
func (n *Node) alertDeadline(number string, a incident.Alarm, now int64) {
	name, due := n.printer().Text(incident.StageKey(a.Stage)), n.printer().Moment(time.UnixMilli(a.Due).Local())
	out := store.Alert{Kind: alert.KindDeadline, Severity: "warning", TLP: notice.TLPAmberStrict,
		Dedup: fmt.Sprintf("%s/%s/%s/%d/%t", alert.KindDeadline, number, a.Stage, a.Due, a.Overdue),
		Text:  n.printer().Text(catalog.AlertReportDue, name, number, due, n.printer().Span(time.Duration(a.Due-now)*time.Millisecond), number)}
	if a.Overdue {
		out.Severity, out.Text = "critical", n.printer().Text(catalog.AlertReportOverdue, name, number, due, number)
	}
	n.alert(out)
}

// alertFiling tells people that another member has reported an incident to this house.
func (n *Node) alertFiling(r store.Record) error {
	f := r.Notice.Filing
	if f == nil || r.Author == n.member || r.Retracted || r.Expiry <= n.now().UnixMilli() {
		return nil
	}
	_, err := n.keepAlert(store.Alert{Kind: alert.KindFiling, Severity: "warning", TLP: r.TLP.House(), Refs: []crypto.ItemID{r.ID},
		Dedup: alert.KindFiling + "/" + r.ID.String(),
		Text: n.printer().Text(catalog.AlertFiling, n.nameOrID(r.Author), f.Incident, n.printer().Text(incident.StageKey(f.Stage)),
			n.printer().Moment(time.UnixMilli(f.AwareAt).Local()), r.ID.String())})
	return err
}

// overdue is how many reports are overdue.
func (d *desk) overdue(now int64) (count int) {
	for _, i := range d.incidents() {
		for _, a := range i.Alarms(now) {
			if a.Overdue {
				count++
			}
		}
	}
	return count
}

// OpenIncident implements api.Node.
func (n *Node) OpenIncident(ctx context.Context, c api.IncidentChange, by string, ceiling notice.TLP) (api.IncidentView, error) {
	now := n.now().UnixMilli()
	u, err := incidentUpdate(c)
	if err != nil {
		return api.IncidentView{}, err
	}
	aware, title := now, ""
	if u.AwareAt != nil {
		aware = *u.AwareAt
	}
	if u.Title != nil {
		title = *u.Title
	}
	d := n.desk
	d.mu.Lock()
	defer d.mu.Unlock()
	number, err := d.nextNumber(now)
	if err != nil {
		return api.IncidentView{}, err
	}
	i, err := incident.Open(number, title, aware, now, by)
	if err != nil {
		return api.IncidentView{}, err
	}
	u.AwareAt, u.Title = nil, nil
	if err := i.Update(u, now, by); err != nil {
		return api.IncidentView{}, err
	}
	if err := d.keep(ctx, i); err != nil {
		return api.IncidentView{}, err
	}
	n.log.Info("incident opened", slog.String("incident", number), slog.String("by", by))
	return n.incidentView(i, ceiling), nil
}

// nextNumber counts incidents by year. The caller holds mu.
func (d *desk) nextNumber(now int64) (string, error) {
	if len(d.all) >= incidentsMax {
		return "", &notice.FieldError{Field: "title", Reason: fmt.Sprintf("this house has %d incidents", incidentsMax), Fix: "work with those that are open: watchward incident list"}
	}
	year := time.UnixMilli(now).UTC().Format("2006-")
	for count := 1; ; count++ {
		number := year + strconv.Itoa(count)
		if _, taken := d.all[number]; !taken {
			return number, nil
		}
	}
}

// UpdateIncident implements api.Node.
func (n *Node) UpdateIncident(ctx context.Context, number string, c api.IncidentChange, by string, ceiling notice.TLP) (v api.IncidentView, found bool, err error) {
	u, err := incidentUpdate(c)
	if err != nil {
		return v, true, err
	}
	return n.changeIncident(ctx, number, ceiling, func(i *incident.Incident) error { return i.Update(u, n.now().UnixMilli(), by) })
}

// CloseIncident implements api.Node.
func (n *Node) CloseIncident(ctx context.Context, number, why, by string, ceiling notice.TLP) (api.IncidentView, bool, error) {
	if err := n.desk.arrivals(ctx); err != nil { // a final report that has arrived needs no other word
		return api.IncidentView{}, true, err
	}
	return n.changeIncident(ctx, number, ceiling, func(i *incident.Incident) error { return i.Close(why, n.now().UnixMilli(), by) })
}

func (n *Node) changeIncident(ctx context.Context, number string, ceiling notice.TLP, do func(*incident.Incident) error) (v api.IncidentView, found bool, err error) {
	i, found, err := n.desk.change(ctx, number, do)
	if err == nil && found {
		v = n.incidentView(i, ceiling)
	}
	return v, found, err
}

// DraftIncident implements api.Node.
func (n *Node) DraftIncident(ctx context.Context, number, stage, by string) (v api.DraftView, found bool, err error) {
	s, err := notice.ParseStage(stage)
	if err != nil {
		return v, true, err
	}
	now := n.now().UnixMilli()
	n.desk.mu.Lock()
	held, found := n.desk.all[number]
	n.desk.mu.Unlock()
	if !found {
		return v, false, nil
	}
	evidence, leftOut, err := n.evidence(ctx, held, now)
	if err != nil {
		return v, true, err
	}
	_, found, err = n.desk.change(ctx, number, func(i *incident.Incident) error {
		filing, err := i.Draft(s, evidence, now, by)
		v = api.DraftView{Filing: filingView(&filing), Unknown: incident.Unknown(&filing)}
		if s >= notice.StageNotification {
			v.LeftOut = leftOut
		}
		return err
	})
	return v, found, err
}

// SendIncident implements api.Node. What was said to the outbox is noted then: if the
// node stops in between, the same send finds the same notice again.
func (n *Node) SendIncident(ctx context.Context, number string, q api.IncidentSend, by string, ceiling notice.TLP) (out api.IncidentSent, found bool, err error) {
	stage, err := notice.ParseStage(q.Stage)
	if err != nil {
		return out, true, err
	}
	now := n.now().UnixMilli()
	if q.Elsewhere != "" {
		if q.To != "" || q.TLP != "" || q.DryRun {
			return out, true, &notice.FieldError{Field: "elsewhere", Reason: "it is either sent to a member or was handed in elsewhere", Fix: "say one of the two"}
		}
		at := cmp.Or(int64(q.At), now)
		out.Incident, found, err = n.changeIncident(ctx, number, ceiling, func(i *incident.Incident) error { return i.NoteElsewhere(stage, q.Elsewhere, at, now, by) })
		return out, found, err
	}
	if q.To == "" || q.At != 0 {
		return out, true, &notice.FieldError{Field: toField, Reason: "who gets it is not said", Fix: "name the member, or say elsewhere, and when, if it was handed in another way"}
	}
	if n.drills.now() != nil && !q.Real && !q.DryRun {
		return out, true, &notice.FieldError{Field: "real", Reason: "an exercise runs here, and a report to an authority is never part of one: it would be taken for a real one", Fix: "end the exercise first (watchward exercise stop), or send it with --real if it is real"}
	}
	n.desk.mu.Lock()
	i, found := n.desk.all[number]
	n.desk.mu.Unlock()
	if !found {
		return out, false, nil
	}
	filing, err := i.Ready(stage)
	if err != nil {
		return out, true, err
	}
	said, err := n.file(ctx, &filing, q, ceiling)
	if err != nil {
		return out, true, err
	}
	out.Notice = &said
	if q.DryRun {
		out.Incident = n.incidentView(i, ceiling)
		return out, true, nil
	}
	to := said.To[0]
	sent := incident.Sent{Stage: stage, At: now, To: to.Name, Member: to.Member, Notice: said.ID}
	out.Incident, found, err = n.changeIncident(ctx, number, ceiling, func(i *incident.Incident) error {
		i.NoteSent(sent, now, by)
		return nil
	})
	return out, found, err
}

// file states a filing for one member.
func (n *Node) file(ctx context.Context, filing *notice.Filing, q api.IncidentSend, ceiling notice.TLP) (api.NoticeView, error) {
	if q.TLP == "" {
		q.TLP = notice.TLPAmberStrict.String()
	}
	if t, err := notice.ParseTLP(q.TLP); err != nil {
		return api.NoticeView{}, err
	} else if t < notice.TLPAmberStrict {
		return api.NoticeView{}, &notice.FieldError{Field: "tlp", Reason: fmt.Sprintf("a report of an incident is not for all who may see TLP:%s", t), Fix: "choose AMBER+STRICT or RED"}
	}
	result, err := n.Submit(ctx, []api.Submission{{Kind: notice.KindFiling.String(), Report: filing, TLP: q.TLP, To: []string{q.To}}},
		api.SubmitOptions{DryRun: q.DryRun, Ceiling: ceiling})
	switch {
	case err != nil:
		return api.NoticeView{}, err
	case len(result.Refused) > 0:
		r := result.Refused[0]
		return api.NoticeView{}, &notice.FieldError{Field: r.Field, Reason: r.Reason, Fix: r.Fix}
	}
	return result.Notices[0], nil
}

// evidence is what this house said itself in the span of an incident. What is marked
// stricter than AMBER was for others than an authority, and is left out; how much is
// counted.
func (n *Node) evidence(ctx context.Context, i *incident.Incident, now int64) (e incident.Evidence, leftOut int, err error) {
	from, until := i.Span(now)
	e.Entity = n.name
	if own, known, err := n.profile(n.member); err != nil {
		return e, 0, err
	} else if known && !own.Retracted && own.TLP <= notice.TLPAmber {
		p := own.Notice.Profile
		e.Entity, e.Contact = p.Name, p.Contact
		for _, place := range []string{p.City, p.Country} {
			if longer := e.Entity + ", " + place; place != "" && len(longer) <= notice.PartyMax {
				e.Entity = longer
			}
		}
	}
	said := func(kind notice.Kind, do func(store.Record) error) {
		if err == nil {
			err = n.each(ctx, store.Query{Kind: kind, Author: &n.member, Since: from}, func(r store.Record) error {
				if r.Exercise {
					return nil
				}
				return do(r)
			})
		}
	}
	seen := map[notice.Indicator]*notice.FiledSighting{}
	said(notice.KindSighting, func(r store.Record) error {
		if w := r.Notice; w.LastSeen < from || w.FirstSeen > until || w.Origin != nil && w.Origin.Source != logsOrigin {
			return nil // of another time, or taken in: somebody else saw it
		}
		if held, err := n.store.Strictest(r.Notice.Indicator.Key(), 0); err != nil || max(held, r.TLP) > notice.TLPAmber {
			leftOut++
			return err
		}
		addSighting(seen, r.Notice)
		return nil
	})
	for _, s := range seen {
		e.Sightings = append(e.Sightings, *s)
	}
	slices.SortFunc(e.Sightings, func(a, b notice.FiledSighting) int {
		return cmp.Or(cmp.Compare(b.Last, a.Last), cmp.Compare(b.Count, a.Count), strings.Compare(a.Value, b.Value))
	})
	within := func(do func(w *notice.Notice, at int64) error) func(store.Record) error {
		return func(r store.Record) error {
			at := saidAt(r)
			if r.Notice.Link != nil {
				at = r.Notice.Link.At
			}
			switch {
			case at < from || at > until:
				return nil
			case r.TLP > notice.TLPAmber:
				leftOut++
				return nil
			}
			return do(r.Notice, at)
		}
	}
	said(notice.KindService, within(func(w *notice.Notice, at int64) error {
		s := w.Service
		e.Services = append(e.Services, notice.FiledService{Department: s.Department, State: s.State, At: at, Until: s.Until})
		return nil
	}))
	said(notice.KindLink, within(func(w *notice.Notice, at int64) error {
		l := w.Link
		e.Links = append(e.Links, notice.FiledLink{Supplier: l.Supplier, Link: l.Link, State: l.State, At: at, Reason: l.Reason})
		return nil
	}))
	said(notice.KindAssistance, within(func(w *notice.Notice, at int64) error {
		if a := w.Assistance; a.Act == notice.ActRequest || a.Act == notice.ActOffer {
			e.Assistance = append(e.Assistance, notice.FiledAssistance{Act: a.Act, What: a.What, Quantity: a.Quantity, Unit: a.Unit, At: at})
		}
		return nil
	}))
	slices.SortStableFunc(e.Services, func(a, b notice.FiledService) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(e.Links, func(a, b notice.FiledLink) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(e.Assistance, func(a, b notice.FiledAssistance) int { return cmp.Compare(a.At, b.At) })
	return e, leftOut, err
}

// addSighting adds a sighting to those of the same value.
func addSighting(seen map[notice.Indicator]*notice.FiledSighting, w *notice.Notice) {
	s := seen[*w.Indicator]
	if s == nil {
		s = &notice.FiledSighting{Type: w.Indicator.Type, Value: w.Indicator.Value, First: w.FirstSeen}
		seen[*w.Indicator] = s
	}
	s.First, s.Last, s.Count = min(s.First, w.FirstSeen), max(s.Last, w.LastSeen), min(s.Count+w.Count, notice.CountMax)
	if w.Context != nil && s.Family == "" {
		s.Family = cmp.Or(w.Context.Family, w.Context.Tool)
	}
}
