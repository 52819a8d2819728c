package api_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestReport: format, marking and language reach the node, a token's ceiling bounds the
// marking, and a browser that shows the page runs nothing.
func TestReport(t *testing.T) {
	s := start(t, nil)
	for _, c := range []struct{ token, query, contentType, body string }{
		{"reader", "", "text/html; charset=utf-8", `html in "", TLP:AMBER, 1 maydays`},
		{"reader", "?format=md&language=de&tlp=RED", "text/markdown; charset=utf-8", `md in "de", TLP:RED, 1 maydays`},
		{"reader", "?tlp=green", "text/html; charset=utf-8", `html in "", TLP:GREEN, 0 maydays`},
		{"green", "?tlp=RED", "text/html; charset=utf-8", `html in "", TLP:GREEN, 0 maydays`},
		{"reader", "?format=json", "application/json", `{"tlp":"AMBER","sources":{"notices":1,"members":1,"fingerprint":"`},
	} {
		got := s.ask(t, c.token, http.MethodGet, "/v1/situation/report"+c.query, "")
		if got.StatusCode != http.StatusOK || !strings.HasPrefix(got.body, c.body) || got.Header.Get("Content-Type") != c.contentType {
			t.Errorf("%s %s: %d %s %s", c.token, c.query, got.StatusCode, got.Header.Get("Content-Type"), got.body)
		}
		if p := got.Header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || !strings.HasSuffix(p, "; sandbox") || strings.Contains(p, "script") {
			t.Errorf("%s %s: policy %q", c.token, c.query, p)
		}
	}
	if got := s.ask(t, "reader", http.MethodGet, "/v1/situation/report?format=json", ""); !strings.Contains(got.body, `"sightings_by_hour":[]`) || strings.Contains(got.body, "null") {
		t.Errorf("lists that are none: %s", got.body)
	}
	for _, query := range []string{"?format=pdf", "?tlp=PURPLE", "?language=fr", "?since=yesterday"} {
		if p := s.ask(t, "reader", http.MethodGet, "/v1/situation/report"+query, "").problem(t); p.Status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %+v", query, p)
		}
	}
}

// TestPack: who may read gets a pack up to its ceiling, and an admin alone has the node
// write one. Half a pack does not look whole.
func TestPack(t *testing.T) {
	s := start(t, nil)
	if got := s.ask(t, "reader", http.MethodGet, "/v1/pack?language=de", ""); got.body != `a pack in "de", TLP:AMBER` || got.Header.Get("Content-Type") != "application/x-tar" {
		t.Errorf("%d %s %s", got.StatusCode, got.Header.Get("Content-Type"), got.body)
	}
	if got := s.ask(t, "green", http.MethodGet, "/v1/pack?tlp=RED", ""); got.body != `a pack in "", TLP:GREEN` {
		t.Errorf("above the ceiling: %s", got.body)
	}
	if got := s.ask(t, "admin", http.MethodPost, "/v1/pack", ""); got.StatusCode != http.StatusOK || !strings.Contains(got.body, `{"dir":"/media/stick","page":"watchward-pack.html","playbooks":0}`) {
		t.Errorf("make: %d %s", got.StatusCode, got.body)
	}
	if p := s.ask(t, "reader", http.MethodPost, "/v1/pack", "").problem(t); p.Status != http.StatusForbidden {
		t.Errorf("a reader: %+v", p)
	}
	s.node.fail = errors.New("the stick was pulled out")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/v1/pack", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.secret["reader"])
	answer, err := http.DefaultClient.Do(r)
	if err == nil {
		_, err = io.ReadAll(answer.Body)
		answer.Body.Close()
	}
	if err == nil {
		t.Error("half a pack looks whole")
	}
}
