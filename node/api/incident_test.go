package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// A fakeDesk has the incident 2026-1, and notes what it is asked.
type fakeDesk struct {
	change  api.IncidentChange
	sending api.IncidentSend
	report  api.ReportQuery
	asked   []string
}

func (f *fakeDesk) seen(number, did string, ceiling notice.TLP) (api.IncidentView, bool, error) {
	f.asked = append(f.asked, did)
	v := api.IncidentView{Number: number, Title: "<b>", AwareAt: 1_700_000_000_000, Opened: 1_700_000_000_000, Deadlines: []api.DeadlineView{}, Drafts: []api.DraftBrief{}, Sent: []api.SentView{}}
	if ceiling >= notice.TLPRed {
		v.Ransom = &api.RansomView{Amount: "100"}
	}
	return v, number == "2026-1", nil
}

func (f *fakeDesk) Incidents(context.Context) ([]api.IncidentView, error) {
	f.asked = append(f.asked, "list")
	return nil, nil
}

func (f *fakeDesk) Incident(_ context.Context, number string, ceiling notice.TLP) (api.IncidentView, bool, error) {
	return f.seen(number, "show", ceiling)
}

func (f *fakeDesk) OpenIncident(_ context.Context, c api.IncidentChange, by string, ceiling notice.TLP) (api.IncidentView, error) {
	f.change = c
	v, _, err := f.seen("2026-1", "open by "+by, ceiling)
	return v, err
}

func (f *fakeDesk) UpdateIncident(_ context.Context, number string, c api.IncidentChange, by string, ceiling notice.TLP) (api.IncidentView, bool, error) {
	if f.change = c; c.AwareAt != nil {
		return api.IncidentView{}, true, &notice.FieldError{Field: "aware_at", Reason: "it never changes", Fix: "open another"}
	}
	return f.seen(number, "update by "+by, ceiling)
}

func (f *fakeDesk) DraftIncident(_ context.Context, number string, stage, by string) (api.DraftView, bool, error) {
	_, found, err := f.seen(number, "draft "+stage+" by "+by, 0)
	return api.DraftView{}, found, err
}

func (f *fakeDesk) SendIncident(_ context.Context, number string, s api.IncidentSend, by string, ceiling notice.TLP) (api.IncidentSent, bool, error) {
	f.sending = s
	v, found, err := f.seen(number, "send by "+by, ceiling)
	return api.IncidentSent{Incident: v}, found, err
}

func (f *fakeDesk) CloseIncident(_ context.Context, number, why, by string, ceiling notice.TLP) (api.IncidentView, bool, error) {
	return f.seen(number, "close "+why+" by "+by, ceiling)
}

func (f *fakeDesk) ReportPage(_ context.Context, q api.ReportQuery) ([]byte, bool, error) {
	f.report = q
	return []byte("<p>page</p>"), q.Number == "2026-1" || q.ID == knownID, nil
}

// TestIncidentRoutes: who may do what, and that the node is told by whom.
func TestIncidentRoutes(t *testing.T) {
	s := start(t, nil)
	for _, c := range []struct {
		method, path, body string
		need               string // the weakest role that may
		did                string
		status             int
	}{
		{"GET", "/v1/incidents", "", "reader", "list", 200},
		{"GET", "/v1/incidents/2026-1", "", "reader", "show", 200},
		{"POST", "/v1/incidents", `{"title":"x"}`, "reporter", "open by reporter", 201},
		{"POST", "/v1/incidents/2026-1", `{"impact":"x"}`, "reporter", "update by reporter", 200},
		{"POST", "/v1/incidents/2026-1/drafts", `{"stage":"final"}`, "reporter", "draft final by reporter", 200},
		{"POST", "/v1/incidents/2026-1/send", `{"stage":"final","to":"CSIRT"}`, "reporter", "send by reporter", 200},
		{"POST", "/v1/incidents/2026-1/close", `{"why":"x"}`, "reporter", "close x by reporter", 200},
	} {
		s.node.asked = nil
		if a := s.ask(t, "green", c.method, c.path, c.body); a.StatusCode != 403 {
			t.Errorf("%s %s with the ceiling GREEN: %d", c.method, c.path, a.StatusCode)
		}
		if a := s.ask(t, "reader", c.method, c.path, c.body); c.need != "reader" && a.StatusCode != 403 {
			t.Errorf("%s %s as a reader: %d", c.method, c.path, a.StatusCode)
		}
		if c.need == "reporter" && len(s.node.asked) != 0 {
			t.Errorf("%s %s reached the node: %q", c.method, c.path, s.node.asked)
		}
		s.node.asked = nil
		if a := s.ask(t, c.need, c.method, c.path, c.body); a.StatusCode != c.status || fmt.Sprint(s.node.asked) != "["+c.did+"]" {
			t.Errorf("%s %s: %d %s, and the node was asked %q", c.method, c.path, a.StatusCode, a.body, s.node.asked)
		}
		if other := strings.Replace(c.path, "2026-1", "2026-2", 1); other != c.path {
			if a := s.ask(t, c.need, c.method, other, c.body); a.StatusCode != 404 || !strings.Contains(a.body, "no-such-incident") {
				t.Errorf("%s %s: %d %s", c.method, other, a.StatusCode, a.body)
			}
		}
	}
}

// TestIncidentBodies: what is left out is nil, and what is wrong is named.
func TestIncidentBodies(t *testing.T) {
	s := start(t, nil)
	a := s.ask(t, "reporter", "POST", "/v1/incidents/2026-1", `{"impact":"a\nb","severity":"high","title":null,"ransom":{"amount":"100","paid":"no"}}`)
	c := s.node.change
	if a.StatusCode != 200 || *c.Impact != "a\nb" || *c.Severity != "high" || c.Title != nil || c.AwareAt != nil || *c.Ransom.Amount != "100" || *c.Ransom.Paid != "no" || c.Ransom.Recipient != nil {
		t.Errorf("%d %+v", a.StatusCode, c)
	}
	s.ask(t, "reporter", "POST", "/v1/incidents/2026-1/send", `{"stage":"final","elsewhere":"portal","at":"2026-11-28T09:00:00Z","dry_run":true}`)
	if q := (api.IncidentSend{Stage: "final", Elsewhere: "portal", At: 1795856400000, DryRun: true}); s.node.sending != q {
		t.Errorf("%+v", s.node.sending)
	}
	for _, bad := range []struct{ path, body, location string }{
		{"", `{"colour":"red"}`, "body.colour"}, {"", `{"ransom":{"colour":"red"}}`, "body.ransom.colour"}, {"", `{"impact":7}`, "body.impact"},
		{"", `{"aware_at":"2026-11-28T09:00:00Z"}`, "body.aware_at"}, {"/send", `{"stage":"final","at":"noon"}`, "body.at"}, {"/drafts", `{"step":"final"}`, "body.step"}, {"/close", `{"because":"x"}`, "body.because"},
	} {
		var p api.Problem
		a := s.ask(t, "reporter", "POST", "/v1/incidents/2026-1"+bad.path, bad.body)
		a.decode(t, &p)
		if a.StatusCode != 422 || p.Fix == "" || len(p.Errors) != 1 || p.Errors[0].Location != bad.location && "body."+p.Errors[0].Location != bad.location {
			t.Errorf("%s %s: %d %s", bad.path, bad.body, a.StatusCode, a.body)
		}
	}
}

// TestDocuments: what others wrote is handed out as a file, and never shown in place.
func TestDocuments(t *testing.T) {
	s := start(t, nil)
	for path, want := range map[string]api.ReportQuery{
		"/v1/incidents/2026-1/drafts/final?format=json&lang=de": {Number: "2026-1", Stage: "final", Format: "json", Language: "de", Ceiling: notice.TLPRed},
		"/v1/incidents/2026-1/drafts/early-warning":             {Number: "2026-1", Stage: "early-warning", Format: "html", Ceiling: notice.TLPRed},
		"/v1/filings/" + knownID:                                {ID: knownID, Format: "html", Ceiling: notice.TLPRed},
	} {
		a := s.ask(t, "reader", "GET", path, "")
		h := a.Header
		if a.StatusCode != 200 || a.body != "<p>page</p>" || s.node.report != want {
			t.Errorf("%s: %d %s for %+v", path, a.StatusCode, a.body, s.node.report)
		}
		if !strings.HasPrefix(h.Get("Content-Disposition"), `attachment; filename="`) || h.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") ||
			want.Format == "json" != (h.Get("Content-Type") == "application/json") {
			t.Errorf("%s: %v", path, h)
		}
	}
	for _, path := range []string{"/v1/incidents/2026-2/drafts/final", "/v1/filings/" + strings.Repeat("0", 40)} {
		if a := s.ask(t, "reader", "GET", path, ""); a.StatusCode != 404 {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	for _, path := range []string{"/v1/incidents/2026-1/drafts/last", "/v1/incidents/2026-1/drafts/final?format=pdf", "/v1/filings/..%2fx", "/v1/incidents/2026-1/drafts/final?lang=fr"} {
		if a := s.ask(t, "reader", "GET", path, ""); a.StatusCode != 422 && a.StatusCode != 404 {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	if a := s.ask(t, "green", "GET", "/v1/incidents/2026-1/drafts/final", ""); a.StatusCode != 403 {
		t.Errorf("a draft with the ceiling GREEN: %d", a.StatusCode)
	}
}
