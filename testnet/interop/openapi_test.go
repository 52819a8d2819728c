package interop_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	seedEnv          = "WATCHWARD_SEED" // the same requests again
	examplesEnv      = "WATCHWARD_OPENAPI_EXAMPLES"
	examplesDefault  = 50 // random requests of each operation and kind of data
	schemathesisMost = 4 * time.Minute
)

// leftOut are the operations that schemathesis does not ask, and why.
var leftOut = map[string]string{
	"openapi": "it is what schemathesis reads to know the others",
	"stream":  "its answer never ends",
}

// An example is a request that the node should answer with 2xx.
type example struct {
	Path   map[string]string `json:"path,omitempty"`
	Query  map[string]string `json:"query,omitempty"`
	Body   any               `json:"body,omitempty"`
	Base64 string            `json:"base64,omitempty"` // a body that is not JSON
}

type object = map[string]any

// Schemathesis makes requests of the API's own description, sound and broken ones, as an
// admin of a node in a region. The node must answer none with an error of its own, and
// each as the description says.
func TestSchemathesis(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), schemathesisMost)
	defer cancel()
	c := python(ctx, t, "schemathesis", "-m", "schemathesis.cli", "--no-color", "run")
	seed, examples := number(t, seedEnv, int(time.Now().UnixNano()%1e9)), number(t, examplesEnv, examplesDefault)
	t.Logf("the same requests again: %s=%d", seedEnv, seed)
	d := &dev{dir: t.TempDir()}
	d.start(t, 2)() // makes them members
	config, err := os.OpenFile(filepath.Join(d.nodes[0].Dir, "config.toml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = config.WriteString("\n[[feeds.list]]\nname = \"list\"\nformat = \"plain\"\ntypes = [\"domain\"]\n" +
		"\n[[bridge]]\nname = \"isac\"\nkind = \"taxii\"\nurl = \"http://127.0.0.1:1/taxii2/\"\ncollection = \"green\"\npull = true\nprivate = true\n")
	if err := errors.Join(err, config.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.start(t, 2))

	ask := &ledger{url: d.nodes[0].API + "/", token: strings.TrimSpace(string(d.watchward(t, "token", "create", "schemathesis", "--role", "admin", "--ceiling", "RED")))}
	raw, err := json.Marshal(apiExamples(t, d, ask))
	if err != nil {
		t.Fatal(err)
	}
	hooks, err := filepath.Abs("python/hooks.py")
	if err != nil {
		t.Fatal(err)
	}
	answers := writeFile(t, "answers", nil)
	c.Args = append(c.Args, ask.url+"openapi.json", "--header", "Authorization: Bearer "+ask.token,
		"--seed", strconv.Itoa(seed), "--max-examples", strconv.Itoa(examples), "--phases", "examples,coverage,fuzzing", "--mode", "all",
		"--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
		"--continue-on-failure", "--request-timeout", "20", "--generation-database", "none", "--warnings", "off")
	for id := range leftOut {
		c.Args = append(c.Args, "--exclude-operation-id", id)
	}
	c.Dir = t.TempDir()
	c.Env = append(c.Env, "SCHEMATHESIS_HOOKS="+hooks, "WATCHWARD_EXAMPLES="+writeFile(t, "examples.json", raw),
		"WATCHWARD_ANSWERS="+answers, "WATCHWARD_OWN_TOKEN=schemathesis "+ownToken(t, ask))
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("schemathesis: %v\n%s", err, shortLines(out))
	}
	everyOperation(t, ask, answers)
	if at := strings.LastIndex(string(out), "Test cases:"); at >= 0 {
		t.Log(strings.Join(strings.Fields(string(out[at:])), " "))
	}
}

func number(t *testing.T, env string, otherwise int) int {
	t.Helper()
	text := os.Getenv(env)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n
}

// apiExamples lets the region have something of everything, and says what to ask for.
func apiExamples(t *testing.T, d *dev, ask *ledger) map[string][]example {
	t.Helper()
	get := func(path string) []byte {
		raw, err := ask.get(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	there := func(args ...string) { runProgram(t, "watchward", append(args, "--dir", d.nodes[1].Dir)...) }
	var said struct{ Notices []struct{ ID string } }
	if err := json.Unmarshal(d.watchward(t, "report", "evil.example", "--tlp", "GREEN", "--family", "Qakbot", "--json"), &said); err != nil {
		t.Fatal(err)
	}
	id := map[string]string{"id": said.Notices[0].ID}
	d.watchward(t, "deny", "bad.example", "--why", "a test")
	d.watchward(t, "token", "create", "spare")
	there("report", "worse.example", "--tlp", "AMBER")
	there("mayday", "a drill")
	bundle := filepath.Join(t.TempDir(), "there")
	if err := os.Mkdir(bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	there("report", "carried.example", "--tlp", "GREEN")
	there("export", "--bundle", "--audience", "community", "-o", bundle)
	files, err := filepath.Glob(filepath.Join(bundle, "*.wwb"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no bundle: %v", err)
	}
	carried, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var alerts struct{ Alerts []struct{ ID any } }
	eventually(t, "the mayday is an alert", func() bool {
		return json.Unmarshal(get("v1/alerts"), &alerts) == nil && len(alerts.Alerts) > 0
	})
	eventually(t, "the ledger has a receipt", func() bool {
		_, err := ask.get(t.Context(), "v1/ledger/receipts/"+id["id"])
		return err == nil
	})
	var silences struct{ Silences []struct{ ID any } }
	d.watchward(t, "alerts", "silence", "--kind", "hit", "--for", "4h", "--why", "a test")
	if err := json.Unmarshal(get("v1/silences"), &silences); err != nil || len(silences.Silences) == 0 {
		t.Fatalf("no silence: %v", err)
	}
	advisory := map[string]string{"id": ask.say(t, object{"kind": "advisory", "tlp": "GREEN", "advisory": object{"type": "guidance", "title": "What to do", "text": "This."}}, "share=true")}
	d.watchward(t, "exercise", "start", "a test")
	d.watchward(t, "exercise", "stop")
	incident, closed := map[string]string{"number": fmt.Sprint(time.Now().UTC().Year(), "-1")}, map[string]string{"number": fmt.Sprint(time.Now().UTC().Year(), "-2")}
	d.watchward(t, "incident", "open", "A test")
	d.watchward(t, "incident", "open", "Another")
	d.watchward(t, "incident", "draft", incident["number"], "early-warning", "--out", filepath.Join(t.TempDir(), "draft.html"))
	draft := maps.Clone(incident)
	draft["stage"] = "early-warning"
	there("incident", "open", "Theirs")
	there("incident", "draft", incident["number"], "early-warning", "--out", filepath.Join(t.TempDir(), "draft.html"))
	there("incident", "send", incident["number"], "early-warning", "--to", d.nodes[0].Name)
	var filings struct{ Notices []struct{ ID string } }
	eventually(t, "a report has come", func() bool {
		return json.Unmarshal(get("v1/notices?kind=filing"), &filings) == nil && len(filings.Notices) > 0
	})
	filing := map[string]string{"id": filings.Notices[0].ID}
	s := d.status(t)
	region, _, _ := strings.Cut(strings.TrimPrefix(s.Origin, "watchward/"), "/")
	of := map[string]string{"region": region, "epoch": "1"}
	tile := maps.Clone(of)
	tile["path"] = "0/000.p/" + strconv.Itoa(s.Checkpoint.Size)
	now := time.Now().UTC().Format(time.RFC3339)
	share := map[string]string{"tlp": "AMBER", "share": "true"}
	submit := func(o object) example { return example{Query: share, Body: o} }
	return map[string][]example{
		"get-advisory":     {{Path: advisory}},
		"get-exercise":     {{Path: map[string]string{"number": "last"}}},
		"open-incident":    {{Body: object{"title": "A third"}}},
		"get-incident":     {{Path: incident}},
		"update-incident":  {{Path: incident, Body: object{"impact": "none"}}},
		"draft-incident":   {{Path: incident, Body: object{"stage": "early-warning"}}},
		"get-draft":        {{Path: draft}},
		"send-incident":    {{Path: incident, Body: object{"stage": "early-warning", "elsewhere": "portal, file 4711"}}},
		"close-incident":   {{Path: closed, Body: object{"why": "a test"}}},
		"get-filing":       {{Path: filing}},
		"show-bridge":      {{Path: map[string]string{"name": "isac"}}},
		"ack-alert":        {{Path: map[string]string{"id": fmt.Sprint(alerts.Alerts[0].ID)}}},
		"add-records":      {{Base64: base64.StdEncoding.EncodeToString(get("v1/region/records?all=true"))}},
		"create-token":     {{Body: object{"name": "another", "role": "reporter", "ceiling": "AMBER"}}},
		"decide":           {{Body: object{"policies": []object{{"value": "worst.example", "decision": "deny", "why": "a test"}}}}},
		"diff-feed":        {{Path: map[string]string{"name": "list"}, Body: object{"deny": []string{"other.example"}}}},
		"end-silence":      {{Path: map[string]string{"id": fmt.Sprint(silences.Silences[0].ID)}}},
		"export":           {{Query: map[string]string{"format": "stix", "tlp": "AMBER"}}, {Query: map[string]string{"format": "misp", "tlp": "AMBER"}}, {Query: map[string]string{"format": "csv"}}},
		"export-bundle":    {{Query: map[string]string{"audience": "community"}}},
		"get-checkpoint":   {{Path: of}},
		"get-cuts":         {{Query: map[string]string{"member": member(t, get("v1/members"))}}},
		"get-indicator":    {{Query: map[string]string{"value": "evil[.]example"}}},
		"get-ledger-entry": {{Path: id}, {Path: id, Query: map[string]string{"strong": "true"}}},
		"get-notice":       {{Path: id}},
		"get-proof":        {{Path: id}},
		"get-receipt":      {{Path: id}},
		"get-tile":         {{Path: tile}},
		"hunt":             {{Body: object{"values": []string{"evil.example", "198.51.100.7"}}}},
		"import-bundle":    {{Base64: base64.StdEncoding.EncodeToString(carried)}},
		"invite":           {{Body: object{"life_seconds": 3600}}},
		"lookup":           {{Body: object{"values": []string{"evil.example", "no value"}, "reasons": true, "hosts": true}}},
		"revoke-token":     {{Path: map[string]string{"id": "spare"}}},
		"show-feed":        {{Path: map[string]string{"name": "list"}}, {Path: map[string]string{"name": "list"}, Query: map[string]string{"why": "evil.example"}}},
		"silence":          {{Body: object{"match": object{"kind": []string{"hit"}}, "seconds": 60, "why": "a test"}}},
		"transfer-ledger":  {{Body: object{"to": d.nodes[0].Name}}},
		"submit": {
			submit(object{"kind": "indicator", "value": "one.example", "context": object{"family": "Emotet", "cve": "CVE-2021-44228"}}),
			submit(object{"value": "two.example", "count": 3, "first_seen": now, "last_seen": now}),
			submit(object{"kind": "dispute", "ref": id["id"], "reason": "a test"}),
			submit(object{"kind": "dispute", "value": "three.example", "reason": "a test"}),
			submit(object{"kind": "question", "value": "four.example", "question": object{"text": "who?"}}),
			submit(object{"kind": "mayday", "mayday": object{"text": "a test"}}),
			submit(object{"kind": "service", "service": object{"department": "stroke", "state": "closed", "text": "a test"}}),
			submit(object{"kind": "link", "link": object{"supplier": "Lab", "link": "vpn", "direction": "both", "state": "cut", "at": now, "reason": "a test"}}),
			{Query: share, Body: object{"notices": []object{{"value": "five.example"}, {"value": "no value"}}}},
		},
	}
}

func member(t *testing.T, raw []byte) string {
	t.Helper()
	var all struct{ Members []struct{ Member, ID string } }
	if err := json.Unmarshal(raw, &all); err != nil || len(all.Members) == 0 {
		t.Fatalf("no members in %s: %v", raw, err)
	}
	return all.Members[0].Member + all.Members[0].ID
}

// ownToken returns the id of the token with which schemathesis asks, which it must not
// revoke.
func ownToken(t *testing.T, ask *ledger) string {
	t.Helper()
	raw, err := ask.get(t.Context(), "v1/tokens")
	var all struct{ Tokens []struct{ ID, Name string } }
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all.Tokens {
		if one.Name == "schemathesis" {
			return one.ID
		}
	}
	t.Fatalf("no token in %s", raw)
	return ""
}

// everyOperation wants that all operations were asked, and answered with 2xx at times.
func everyOperation(t *testing.T, ask *ledger, answers string) {
	t.Helper()
	raw, err := ask.get(t.Context(), "openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var described struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(raw, &described); err != nil {
		t.Fatal(err)
	}
	if _, err := ask.get(t.Context(), "v1/tokens"); err != nil {
		t.Errorf("at the end the token is not good any more: %v", err)
	}
	lines, err := os.ReadFile(answers)
	if err != nil {
		t.Fatal(err)
	}
	good, asked := map[string]int{}, map[string]int{}
	for line := range strings.Lines(string(lines)) {
		id, status, _ := strings.Cut(strings.TrimSpace(line), " ")
		asked[id]++
		if strings.HasPrefix(status, "2") {
			good[id]++
		}
	}
	listed := map[string]bool{}
	for path, methods := range described.Paths {
		for method, o := range methods {
			id := o.OperationID
			listed[id] = true
			_, out := leftOut[id]
			switch {
			case !out && asked[id] == 0:
				t.Errorf("%s %s (%s) was not asked: give it an example or a reason", method, path, id)
			case !out && good[id] == 0:
				t.Errorf("%s %s (%s) was answered %d times and never with 2xx: give it an example or a reason", method, path, id, asked[id])
			}
		}
	}
	for id := range leftOut {
		if !listed[id] {
			t.Errorf("%s is no operation any more", id)
		}
	}
}

// shortLines cuts what a person would not read.
func shortLines(out []byte) []byte {
	const most = 2000
	var short bytes.Buffer
	for line := range bytes.Lines(out) {
		if len(line) > most {
			line = append(line[:most:most], "…\n"...)
		}
		short.Write(line)
	}
	return short.Bytes()
}
