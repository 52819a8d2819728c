package api_test

import (
	"context"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// ledgerRegion is the region of the fake node's ledger.
var ledgerRegion = strings.Repeat("ab", 32)

func (f *fakeNode) LedgerStatus(context.Context) (api.LedgerView, error) {
	return api.LedgerView{Origin: "watchward/" + ledgerRegion + "/1", Epoch: 1, Checkpoint: &api.LedgerCheckpoint{Size: 7}}, f.fail
}

func (f *fakeNode) LedgerEntry(_ context.Context, id string, strong bool, ceiling notice.TLP) (api.LedgerEntry, bool, error) {
	return api.LedgerEntry{ID: id, Strong: strong, Index: 3}, id == knownID && ceiling >= notice.TLPAmber, f.fail
}

func (f *fakeNode) LedgerReceipt(_ context.Context, id string, ceiling notice.TLP) ([]byte, bool, error) {
	return []byte("a receipt"), id == knownID && ceiling >= notice.TLPAmber, f.fail
}

func (f *fakeNode) LedgerTransfer(_ context.Context, to string) (api.LedgerTransfer, error) {
	return api.LedgerTransfer{Name: to}, f.fail
}

// LedgerTile knows two tiles and a checkpoint of one ledger.
func (f *fakeNode) LedgerTile(_ context.Context, region crypto.Region, epoch uint32, path string) (api.LedgerTile, bool, error) {
	if region.String() != ledgerRegion || epoch != 1 {
		return api.LedgerTile{}, false, f.fail
	}
	switch path {
	case "checkpoint":
		return api.LedgerTile{Body: []byte("a note"), Text: true}, true, f.fail
	case "tile/0/000", "tile/entries/x001/234":
		return api.LedgerTile{Body: []byte(path), Full: true}, true, f.fail
	case "tile/0/001.p/5":
		return api.LedgerTile{Body: []byte(path)}, true, f.fail
	}
	return api.LedgerTile{}, false, f.fail
}

func TestLedgerTiles(t *testing.T) {
	for _, public := range []bool{false, true} {
		s := start(t, func(c *api.Config) { c.LedgerPublic = public })
		who, scope := "reader", "private"
		if public {
			who, scope = "", "public"
		}
		base := "/ledger/" + ledgerRegion + "/1/"
		for path, want := range map[string]struct{ body, kind, cache string }{
			"checkpoint":            {"a note", "text/plain; charset=utf-8", "no-cache"},
			"tile/0/000":            {"tile/0/000", "application/octet-stream", scope + ", max-age=31536000, immutable"},
			"tile/entries/x001/234": {"tile/entries/x001/234", "application/octet-stream", scope + ", max-age=31536000, immutable"},
			"tile/0/001.p/5":        {"tile/0/001.p/5", "application/octet-stream", "no-cache"},
		} {
			a := s.ask(t, who, "GET", base+path, "")
			if h := a.Header; a.StatusCode != 200 || a.body != want.body || h.Get("Content-Type") != want.kind || h.Get("Cache-Control") != want.cache {
				t.Errorf("public %t, %s: %d %q, type %q, cache %q", public, path, a.StatusCode, a.body, h.Get("Content-Type"), h.Get("Cache-Control"))
			}
		}
		for _, path := range []string{base + "tile/0/999", "/ledger/" + strings.Repeat("cd", 32) + "/1/checkpoint", "/ledger/" + ledgerRegion + "/2/checkpoint", "/ledger/" + strings.Repeat("zz", 32) + "/1/checkpoint"} {
			if a := s.ask(t, who, "GET", path, ""); a.StatusCode != 404 || a.problem(t).Fix == "" {
				t.Errorf("public %t, %s: %d %s", public, path, a.StatusCode, a.body)
			}
		}
		for _, path := range []string{"0/000.open", "0/0", "entries/000.p/256", "64/000"} {
			if a := s.ask(t, who, "GET", base+"tile/"+path, ""); a.StatusCode != 404 || !strings.Contains(a.problem(t).Fix, "tile/entries/N") {
				t.Errorf("public %t, %s: %d %s", public, path, a.StatusCode, a.body)
			}
		}
		// Tiles alone are for all.
		if a := s.ask(t, "", "GET", "/v1/ledger/status", ""); a.StatusCode != 401 {
			t.Errorf("public %t: the status is shown to nobody in particular: %d", public, a.StatusCode)
		}
	}
}

func TestLedgerAnswers(t *testing.T) {
	s := start(t, nil)
	var v api.LedgerView
	s.ask(t, "reader", "GET", "/v1/ledger/status", "").decode(t, &v)
	if v.Epoch != 1 || v.Checkpoint == nil || v.Checkpoint.Signers == nil || v.Voters == nil || v.Warnings == nil {
		t.Errorf("status %+v", v)
	}
	for query, strong := range map[string]bool{"": false, "?strong=true": true} {
		var e api.LedgerEntry
		s.ask(t, "reader", "GET", "/v1/ledger/entries/"+knownID+query, "").decode(t, &e)
		if e.ID != knownID || e.Strong != strong || e.Index != 3 {
			t.Errorf("entry %q: %+v", query, e)
		}
	}
	if a := s.ask(t, "reader", "GET", "/v1/ledger/receipts/"+knownID, ""); a.body != "a receipt" || a.Header.Get("Content-Type") != api.ProofType {
		t.Errorf("receipt: %q %q", a.body, a.Header.Get("Content-Type"))
	}
	// What is above a token's ceiling does not exist.
	for _, path := range []string{"entries/", "receipts/"} {
		if a := s.ask(t, "green", "GET", "/v1/ledger/"+path+knownID, ""); a.StatusCode != 404 {
			t.Errorf("%s of an AMBER notice for a GREEN token: %d", path, a.StatusCode)
		}
	}
	if a := s.ask(t, "reader", "GET", "/v1/ledger/entries/xyz", ""); a.StatusCode != 422 || a.problem(t).Errors[0].Location != "path.id" {
		t.Errorf("no id: %d %s", a.StatusCode, a.body)
	}
	var done api.LedgerTransfer
	s.ask(t, "admin", "POST", "/v1/ledger/transfer", `{"to":"St Anna"}`).decode(t, &done)
	if done.Name != "St Anna" {
		t.Errorf("transfer %+v", done)
	}
	if a := s.ask(t, "admin", "POST", "/v1/ledger/transfer", `{"who":"St Anna"}`); a.StatusCode/100 != 4 {
		t.Errorf("an unknown field: %d", a.StatusCode)
	}
}

func TestLedgerProblems(t *testing.T) {
	s := start(t, nil)
	for word, c := range map[string]struct {
		err    error
		status int
	}{
		"no-quorum": {&api.NoQuorum{Reason: "one of three is there", Fix: "start another"}, 503},
		"no-ledger": {&api.NoLedger{Reason: "the charter names no voters", Fix: "amend it"}, 404},
		"not-yet":   {&api.NotYet{Reason: "it waits", Fix: "ask again"}, 409},
	} {
		s.node.fail = c.err
		for _, path := range []string{"status", "entries/" + knownID, "receipts/" + knownID} {
			a := s.ask(t, "reader", "GET", "/v1/ledger/"+path, "")
			if p := a.problem(t); a.StatusCode != c.status || p.Word() != word || p.Fix == "" || p.Detail == "" {
				t.Errorf("%s, %s: %d %s", word, path, a.StatusCode, a.body)
			}
		}
	}
}
