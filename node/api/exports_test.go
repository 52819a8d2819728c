package api_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

func TestExportAsks(t *testing.T) {
	s := start(t, nil)
	s.node.exports = 2
	for query, want := range map[string]struct {
		who    string
		status int
		q      api.ExportQuery
	}{
		"":                  {"reader", 200, api.ExportQuery{Advisories: true, Ceiling: notice.TLPGreen}},
		"?tlp=AMBER":        {"reader", 200, api.ExportQuery{Advisories: true, Ceiling: notice.TLPAmber}},
		"?tlp=tlp:clear":    {"reader", 200, api.ExportQuery{Advisories: true, Ceiling: notice.TLPClear}},
		"?tlp=AMBER#green":  {"green", 200, api.ExportQuery{Advisories: true, Ceiling: notice.TLPGreen}},
		"?tlp=RED":          {"reader", 422, api.ExportQuery{}},
		"?tlp=AMBER-STRICT": {"reader", 422, api.ExportQuery{}},
		"?tlp=PURPLE":       {"reader", 422, api.ExportQuery{}},
		"?format=pdf":       {"reader", 422, api.ExportQuery{}},
		"?kind=mayday":      {"reader", 422, api.ExportQuery{}},
		"?since=yesterday":  {"reader", 422, api.ExportQuery{}},
		"?unmarked=true":    {"reader", 200, api.ExportQuery{Advisories: true, Ceiling: notice.TLPGreen, Unmarked: true}},
		"?format=csv":       {"reader", 200, api.ExportQuery{Ceiling: notice.TLPGreen}},
		"?format=misp":      {"reader", 200, api.ExportQuery{Ceiling: notice.TLPGreen}},
		"?unmarked=1#green": {"green", 403, api.ExportQuery{}},
		"?kind=sighting&mine=true&since=2026-01-02T03:04:05Z&format=stix": {"reader", 200,
			api.ExportQuery{Advisories: true, Kind: notice.KindSighting, Mine: true, Since: 1_767_323_045_000, Ceiling: notice.TLPGreen}},
	} {
		s.node.exported = api.ExportQuery{}
		a := s.ask(t, want.who, "GET", "/v1/export"+query, "")
		if sees := s.node.exported.Sees; want.who == "green" && want.status == 200 && sees != notice.TLPGreen {
			t.Errorf("%q: what is left out is counted up to %s", query, sees)
		}
		s.node.exported.Sees = 0
		if a.StatusCode != want.status || s.node.exported != want.q {
			t.Errorf("%q: status %d, query %+v; want %d and %+v", query, a.StatusCode, s.node.exported, want.status, want.q)
		}
		if a.StatusCode != 200 {
			a.problem(t)
			continue
		}
		if got := a.Header.Get("Content-Type"); want.q.Advisories && (got != "application/stix+json;version=2.1" || strings.Count(a.body, `"type":"indicator"`) != 2) {
			t.Errorf("%q answers %s: %s", query, got, a.body)
		}
	}
}

// TestExportFails has a node that fails, before and after the first byte was
// sent. What is not whole must not look so.
func TestExportFails(t *testing.T) {
	s := start(t, nil)
	s.node.exports, s.node.fail = 2, errors.New("insides of the node")
	if a := s.ask(t, "reader", "GET", "/v1/export", ""); a.StatusCode != 500 || strings.Contains(a.body, "insides") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	s.node.exports = 5000
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/v1/export", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.secret["reader"])
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err == nil || n == 0 {
		t.Errorf("%d bytes came and then %v: it must break off", n, err)
	}
}

// TestSlowExportIsDropped has a client that never reads.
func TestSlowExportIsDropped(t *testing.T) {
	s := start(t, func(c *api.Config) { c.Limits.StreamWrite = 50 * time.Millisecond })
	s.node.exports = 200_000 // some 100 MB: more than any socket buffer
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "GET /v1/export HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", s.secret["reader"]); err != nil {
		t.Fatal(err)
	}
	wait(t, "the export to end", func() bool {
		a := s.ask(t, "admin", "GET", "/metrics", "")
		return strings.Contains(a.body, `route="GET /v1/export",status="200"} 1`)
	})
}

func TestSubmitTellsWhatIsAbsent(t *testing.T) {
	s := start(t, nil)
	a := s.ask(t, "reporter", "POST", "/v1/notices", `{"notices":[{"value":"evil.example"},{"kind":"retraction","value":"absent.example","origin":{"source":"stix","id":"x"}}]}`)
	if a.StatusCode != 201 || !strings.Contains(a.body, `"absent":[1]`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	a = s.ask(t, "reporter", "POST", "/v1/notices", `{"kind":"retraction","value":"absent.example","origin":{"source":"stix","id":"x"}}`)
	if a.StatusCode != 200 || !strings.Contains(a.body, `"absent":[0]`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}
