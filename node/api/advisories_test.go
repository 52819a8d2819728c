package api_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// TestAdvisories: what is asked for and the token's ceiling reach the node, and lists are
// never null.
func TestAdvisories(t *testing.T) {
	s := start(t, nil)
	got := s.ask(t, "reader", http.MethodGet, "/v1/advisories?search=session+tokens&product=cpe:2.3:a:citrix:netscaler&supplier=lis&author=me&open=true&since=2026-01-31T12:00:00Z&limit=7&next=a.b", "")
	if got.StatusCode != http.StatusOK || !strings.Contains(got.body, `"advisories":[{"id":"`+knownID) || !strings.Contains(got.body, `"title":"Look for it"`) {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	s.node.mu.Lock()
	asked := s.node.asked
	s.node.mu.Unlock()
	want := api.AdvisoryQuery{Search: "session tokens", Product: "cpe:2.3:a:citrix:netscaler", Supplier: "lis", Mine: true, Open: true,
		Since: 1769860800000, Limit: 7, Next: "a.b", Ceiling: asked.Ceiling}
	if asked != want || asked.Ceiling < notice.TLPAmber {
		t.Errorf("asked %+v; want %+v", asked, want)
	}
	if got := s.ask(t, "green", http.MethodGet, "/v1/advisories", ""); got.StatusCode != http.StatusOK || !strings.Contains(got.body, `"advisories":[]`) {
		t.Errorf("above the ceiling: %d %s", got.StatusCode, got.body)
	}
	if p := s.ask(t, "green", http.MethodGet, "/v1/advisories/"+knownID, "").problem(t); p.Status != http.StatusNotFound {
		t.Errorf("one above the ceiling: %+v", p)
	}
	if p := s.ask(t, "reader", http.MethodGet, "/v1/advisories/..%2f..%2fetc", "").problem(t); p.Status != http.StatusUnprocessableEntity {
		t.Errorf("a path as an id: %+v", p)
	}
}

// TestSubmitAdvisory: all that an advisory may say reaches the node, and what is none is
// refused with its place.
func TestSubmitAdvisory(t *testing.T) {
	s := start(t, nil)
	hash := strings.Repeat("ab", 32)
	const fields = `"type":"HUNT","title":"t","text":"a\nb","suppliers":["LIS"],"products":["pkg:npm/x"],"cves":["CVE-2021-44228"],"due":"2026-01-31T12:00:00Z"`
	got := s.ask(t, "reporter", http.MethodPost, "/v1/notices?dry_run=true", `{"kind":"advisory","advisory":{`+fields+`,"documents":[{"sha256":"`+strings.ToUpper(hash)+`","size":7,"name":"a.pdf","media_type":"application/pdf"}]}}`)
	if got.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	s.node.mu.Lock()
	said := s.node.submitted[len(s.node.submitted)-1].Advisory
	s.node.mu.Unlock()
	want := &api.Advisory{Type: "hunt", Title: "t", Text: "a\nb", Suppliers: []string{"LIS"}, Products: []string{"pkg:npm/x"}, CVEs: []string{"CVE-2021-44228"},
		Due: 1769860800000, Documents: []api.Document{{SHA256: hash, Size: 7, Name: "a.pdf", Media: "application/pdf"}}}
	if !reflect.DeepEqual(said, want) {
		t.Errorf("got %+v; want %+v", said, want)
	}
	for body, place := range map[string]string{
		`{"type":"rumour","title":"t"}`:                                     "advisory.type",
		`{"type":"hunt","titel":"t"}`:                                       "advisory.titel",
		`{"type":"hunt","title":"t","due":"tomorrow"}`:                      "advisory.due",
		`{"type":"hunt","title":"t","documents":[{"size":99999999}]}`:       "advisory.documents[0].size",
		`{"type":"hunt","title":"t","documents":[{"path":"/etc"}]}`:         "advisory.documents[0].path",
		`{"type":"hunt","documents":[{},{},{},{},{},{},{},{},{}]}`:          "advisory.documents[8]",
		`{"type":"hunt","cves":[` + strings.Repeat(`"x",`, 32) + `"x"]}`:    "advisory.cves[32]",
		`{"type":"hunt","title":"t","suppliers":[{"name":"LIS"}],"cves":1}`: "advisory.suppliers[0]",
	} {
		p := s.ask(t, "reporter", http.MethodPost, "/v1/notices", `{"kind":"advisory","advisory":`+body+`}`).problem(t)
		if len(p.Refused) != 1 || p.Refused[0].Field != place || p.Refused[0].Fix == "" {
			t.Errorf("%s: %+v; want a refusal of %s", body, p.Refused, place)
		}
	}
}
