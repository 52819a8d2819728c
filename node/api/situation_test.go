package api_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestSituation: the token's ceiling and the time reach the node, lists are never null,
// and a time that is none is refused.
func TestSituation(t *testing.T) {
	s := start(t, nil)
	got := s.ask(t, "reader", http.MethodGet, "/v1/situation?since=2026-01-31T12:00:00Z", "")
	for _, part := range []string{`"text":"ransom note"`, `"since":"2026-01-31T12:00:00.000Z"`, `"spreading":[]`, `"changes":[]`, `"warnings":[]`} {
		if got.StatusCode != http.StatusOK || !strings.Contains(got.body, part) {
			t.Errorf("%d without %s: %s", got.StatusCode, part, got.body)
		}
	}
	if got := s.ask(t, "green", http.MethodGet, "/v1/situation", ""); !strings.Contains(got.body, `"maydays":[]`) {
		t.Errorf("above the ceiling: %s", got.body)
	}
	if got := s.ask(t, "reader", http.MethodGet, "/v1/questions", ""); got.StatusCode != http.StatusOK || !strings.Contains(got.body, `"own":{"count":3`) {
		t.Errorf("questions: %d %s", got.StatusCode, got.body)
	}
	if got := s.ask(t, "green", http.MethodGet, "/v1/questions", ""); !strings.Contains(got.body, `"questions":[]`) {
		t.Errorf("questions above the ceiling: %s", got.body)
	}
	if p := s.ask(t, "reader", http.MethodGet, "/v1/situation?since=yesterday", "").problem(t); p.Status != http.StatusUnprocessableEntity {
		t.Errorf("since yesterday: %+v", p)
	}
}
