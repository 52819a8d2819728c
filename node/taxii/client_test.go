package taxii_test

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
)

// pythonEnv names the Python that testnet/interop/python/environment makes.
const pythonEnv = "WATCHWARD_PYTHON"

// TestForeignClient: OASIS's own client, as it comes, reads, filters, pages and writes.
func TestForeignClient(t *testing.T) {
	python := os.Getenv(pythonEnv)
	if python == "" {
		t.Skipf("SKIPPED: NOT CHECKED with taxii2-client: set %s to the python that testnet/interop/python/environment makes", pythonEnv)
	}
	s := stocked(t)
	server := httptest.NewServer(newServer(t, s, nil))
	defer server.Close()
	cmd := exec.CommandContext(t.Context(), python, "testdata/python/client.py", server.URL+"/taxii2/", feedID, inboxID, deskID)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var told map[string]json.RawMessage
	if err := json.Unmarshal(out, &told); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const (
		who  = `"identity--00000001-2222-4222-8222-222222222222"`
		one  = `"indicator--00000001-1111-4111-8111-111111111111"`
		two  = `"indicator--00000002-1111-4111-8111-111111111111"`
		seen = `"sighting--00000001-3333-4333-8333-333333333333"`
	)
	root := server.URL + "/taxii2/region/"
	for key, want := range map[string]string{
		"server":         `["Watchward of St. Example","soc@example.org",["` + root + `"],"` + root + `"]`,
		"root":           `["The region",["application/taxii+json;version=2.1"],10485760]`,
		"collections":    `[["` + feedID + `","Community",true,false],["` + inboxID + `","Inbox",false,false],["` + deskID + `","Desk",true,false]]`,
		"objects":        `[` + who + `,` + two + `,` + one + `,` + seen + `]`,
		"pages":          `[[` + who + `,` + two + `],[` + one + `,` + seen + `]]`,
		"manifest pages": `[[` + who + `,` + one + `],[` + two + `,` + one + `],[` + one + `,` + seen + `]]`,
		"types":          `[[` + who + `,` + seen + `]]`,
		"id":             `[` + who + `]`,
		"after":          `[` + seen + `]`,
		"nothing":        `{}`,
		"one":            `["2025-12-03T00:00:00.500Z"]`,
		"first":          `["2025-12-01T00:00:00.000Z"]`,
		"versions":       `["2025-12-01T00:00:00.000Z","2025-12-02T00:00:00.000Z","2025-12-03T00:00:00.500Z"]`,
		"lower ceiling":  `["2025-12-01T00:00:00.000Z","2025-12-02T00:00:00.000Z"]`,
		"refused":        `{"limit":[400,"400"],"match":[400,"400"],"next":[400,"400"],"no object":[404,"404"],"nobody":[401,"401"]}`,
		"added":          `["complete",1000,999,1,[{"id":"indicator--000001f4-4444-4444-8444-444444444444","message":"TLP:RED is for named people and does not go through an inbox","version":"2025-12-01T00:00:00.000Z"}]]`,
		"status again":   `true`,
		"too large":      `[413,"413"]`,
		"one deleted":    `["2025-12-02T00:00:00.000Z"]`,
		"all deleted":    `["indicator--00000008-1111-4111-8111-111111111111","indicator--00000009-1111-4111-8111-111111111111","indicator--00000009-1111-4111-8111-111111111111"]`,
	} {
		var got any
		if err := json.Unmarshal(told[key], &got); err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		text, err := json.Marshal(got)
		if err != nil || string(text) != want {
			t.Errorf("%s: %s, want %s", key, text, want)
		}
	}
	if n := len(s.kept[inboxID].objects); n != 999 {
		t.Errorf("the inbox has %d", n)
	}
}
