package api_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// Admins decide, readers read, and the node is told by whom and for whom.
func TestPolicies(t *testing.T) {
	s := start(t, nil)
	a := s.ask(t, "reader", "GET", "/v1/policies?decision=deny&limit=7&next=domain%20a.example", "")
	want := `{"policies":[{"type":"domain","value":"evil.example","decision":"deny","at":"2023-11-14T22:13:20.000Z","effect":"block"}],"next":"more"}`
	if q := (api.PolicyQuery{Decision: "deny", Limit: 7, Next: "domain a.example", Ceiling: notice.TLPRed}); a.StatusCode != 200 || strings.TrimSpace(a.body) != want || s.node.policyQuery != q {
		t.Errorf("%d %s for %+v", a.StatusCode, a.body, s.node.policyQuery)
	}
	body := `{"policies":[{"value":"hxxp://evil[.]example/","type":"url","decision":"deny","why":"<phish>"},{"value":"b.example","decision":"allow","remove":true}]}`
	for _, role := range []string{"reader", "reporter"} {
		if a := s.ask(t, role, "POST", "/v1/policies", body); a.StatusCode != 403 || s.node.decided != nil {
			t.Errorf("a %s decides: %d %s", role, a.StatusCode, a.body)
		}
	}
	var got api.PoliciesAnswer
	a = s.ask(t, "admin", "POST", "/v1/policies", body)
	a.decode(t, &got)
	asked := []api.PolicyRequest{{Value: "hxxp://evil[.]example/", Type: "url", Decision: "deny", Why: "<phish>"}, {Value: "b.example", Decision: "allow", Remove: true}}
	if a.StatusCode != 200 || len(got.Policies) != 2 || got.Policies[0].By != "admin" || !slices.Equal(s.node.decided, asked) {
		t.Errorf("%d %s for %+v", a.StatusCode, a.body, s.node.decided)
	}
}

func TestPoliciesBadInput(t *testing.T) {
	s := start(t, nil)
	for body, location := range map[string]string{
		`{"policies":[]}`: "body.policies",
		`{}`:              "body.policies",
		`{"policies":[{"value":"a.example","decision":"deny","colour":"red"}]}`: "body.policies[0].colour",
		`{"policies":[{"value":7}]}`: "body.policies[0].value",
		`{"policies":[` + strings.Repeat(`{"value":"a"},`, 1000) + `{"value":"a"}]}`:     "body.policies[1000]",
		`{"policies":[{"value":"a.example","decision":"deny","remove":"yes"}],"more":1}`: "body.policies[0].remove",
	} {
		var p api.Problem
		a := s.ask(t, "admin", "POST", "/v1/policies", body)
		a.decode(t, &p)
		if a.StatusCode != 422 || len(p.Errors) != 1 || p.Errors[0].Location != location || p.Fix == "" {
			t.Errorf("%.80s: %d %s", body, a.StatusCode, a.body)
		}
	}
	if s.node.decided != nil {
		t.Error("something was decided")
	}
	if a := s.ask(t, "reader", "GET", "/v1/policies?limit=0", ""); a.StatusCode != 422 {
		t.Errorf("limit 0: %d", a.StatusCode)
	}
}
