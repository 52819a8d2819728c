package api_test

import (
	"testing"

	"github.com/watchward/watchward/node/api"
)

func TestProofFile(t *testing.T) {
	s := start(t, nil)
	at := "/v1/notices/" + knownID + "/proof"
	if a := s.ask(t, "reader", "GET", at, ""); a.StatusCode != 200 || a.body != "a proof" || a.Header.Get("Content-Type") != api.ProofType {
		t.Errorf("%d %q %q", a.StatusCode, a.body, a.Header.Get("Content-Type"))
	}
	if a := s.ask(t, "reader", "GET", "/v1/notices/xyz/proof", ""); a.StatusCode != 422 || a.problem(t).Errors[0].Location != "path.id" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	s.node.fail = &api.NoProof{Reason: "it never left", Fix: "share it"}
	if p := s.ask(t, "reader", "GET", at, "").problem(t); p.Status != 409 || p.Detail != "it never left" || p.Fix != "share it" {
		t.Errorf("%+v", p)
	}
}

func TestRegionFile(t *testing.T) {
	s := start(t, nil)
	for query, want := range map[string]string{"": "a region, members false", "?members=true": "a region, members true"} {
		if a := s.ask(t, "reader", "GET", "/v1/region/file"+query, ""); a.StatusCode != 200 || a.body != want || a.Header.Get("Content-Type") != api.RegionType {
			t.Errorf("%s: %d %q", query, a.StatusCode, a.body)
		}
	}
	s.node.fail = &api.Unavailable{Reason: "no region", Fix: "join one"}
	if p := s.ask(t, "reader", "GET", "/v1/region/file", "").problem(t); p.Status != 503 || p.Fix != "join one" {
		t.Errorf("%+v", p)
	}
}
