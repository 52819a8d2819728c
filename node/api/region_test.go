package api_test

import (
	"strings"
	"testing"

	"github.com/watchward/watchward/node/api"
)

func TestInvite(t *testing.T) {
	s := start(t, nil)
	for body, want := range map[string]string{
		`{}`:                     "WW148h0m0s",
		`{"life_seconds":null}`:  "WW148h0m0s",
		`{"life_seconds":86400}`: "WW124h0m0s",
	} {
		a := s.ask(t, "admin", "POST", "/v1/region/invitations", body)
		if a.StatusCode != 201 || !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
	for body, word := range map[string]string{
		`{"life_seconds":"2d"}`: "bad-value", `{"life_seconds":-1}`: "bad-value", `{"days":2}`: "bad-value", `[]`: "bad-value", `{`: "bad-json",
	} {
		if p := s.ask(t, "admin", "POST", "/v1/region/invitations", body).problem(t); p.Word() != word || p.Fix == "" {
			t.Errorf("%s: %+v", body, p)
		}
	}
	s.node.fail = &api.Unavailable{Reason: "no address", Fix: "listen"}
	if p := s.ask(t, "admin", "POST", "/v1/region/invitations", `{}`).problem(t); p.Status != 503 || p.Word() != "unavailable" {
		t.Errorf("%+v", p)
	}
}

// Records are bytes, bounded, and come in nothing else than their own type.
func TestAddRecords(t *testing.T) {
	s := start(t, nil)
	if a := s.ask(t, "admin", "POST", "/v1/region/records", "seventeen bytes.."); a.StatusCode != 200 || !strings.Contains(string(a.body), `"added":17`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := s.ask(t, "admin", "POST", "/v1/region/records", strings.Repeat("x", 1<<20+1)); a.StatusCode != 413 {
		t.Errorf("a megabyte and a byte: %d %s", a.StatusCode, a.body)
	}
}
