package interop_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A stixFile is what OASIS's validator and library say of a file.
type stixFile struct {
	Objects  int
	Types    map[string]int
	Problems []string
}

// validSTIX has all STIX objects of a file, which is a bundle or a TAXII envelope,
// checked by stix2-validator and read by stix2, and fails for what either refuses.
func validSTIX(t *testing.T, path string) (f stixFile) {
	t.Helper()
	c := python(t.Context(), t, "stix2-validator", "-I", "python/valid_stix.py", path)
	var wrong bytes.Buffer
	c.Stderr = &wrong
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &f)
	}
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, wrong.Bytes())
	}
	for _, problem := range f.Problems {
		t.Error(problem)
	}
	return f
}

// stixValues has a value of each type, in the letters that give trouble.
var stixValues = map[string]string{
	"ipv4": "198.51.100.7", "ipv6": "2001:db8::7", "cidr": "198.51.100.0/24", "domain": "münchen.example",
	"url": `https://evil.example/a,b?x='1'&y=ä\`, "email": "anna@evil.example", "md5": strings.Repeat("a1", 16), "sha1": strings.Repeat("b2", 20),
	"sha256": strings.Repeat("c3", 32), "sha512": strings.Repeat("d4", 64), "ja3": strings.Repeat("e5", 16), "ja4": "t13d1516h2_8daaf6152771_b186095e22b6",
	"cert-sha256": strings.Repeat("f6", 32), "asn": "AS64496", "filename": `c:\x\Größe's final.exe`, "mutex": `Global\Größe'`,
	"registry-key": `HKCU\Software\a|b'`, "btc": "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
}

// indicatorTypes are the types that the node knows.
func indicatorTypes(t *testing.T, d *dev) []string {
	t.Helper()
	_, err := execute(t.Context(), "watchward", "report", "x", "--type", "none", "--dry-run", "--dir", d.nodes[0].Dir)
	if err == nil {
		t.Fatal("a type called none is taken")
	}
	_, list, found := strings.Cut(err.Error(), "choose ")
	if !found {
		t.Fatalf("the types are not named: %v", err)
	}
	return strings.Split(strings.TrimSpace(list), ", ")
}

// say posts a notice and returns its id.
func (l *ledger) say(t *testing.T, o object, query string) string {
	t.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.url+"v1/notices?allow_special=true&known_elsewhere=true&"+query, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := l.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	var said struct{ Notices []struct{ ID string } }
	if err == nil {
		err = json.Unmarshal(body, &said)
	}
	if err != nil || answer.StatusCode/100 != 2 || len(said.Notices) != 1 {
		t.Fatalf("%s: %s: %s %v", raw, answer.Status, body, err)
	}
	return said.Notices[0].ID
}

// sayEverything has two hospitals say all that an export may have, and what it may not.
// want are the ids of what the first said, but for what nobody may export; takenBack are
// those of them that it took back.
func sayEverything(t *testing.T, d *dev) (want, takenBack []string) {
	t.Helper()
	api := func(i int) *ledger {
		token := runProgram(t, "watchward", "token", "create", "speaker", "--role", "reporter", "--ceiling", "RED", "--dir", d.nodes[i].Dir)
		return &ledger{url: d.nodes[i].API + "/", token: strings.TrimSpace(string(token))}
	}
	here, there := api(0), api(1)
	keep := func(id string) string { want = append(want, id); return id }
	const seen, last, until = "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.006Z", "2031-01-01T00:00:00Z"
	marked := []string{"CLEAR", "GREEN", "AMBER"}
	const share, kept = "share=true", "share=false"
	for i, typ := range indicatorTypes(t, d) {
		value, tlp := stixValues[typ], marked[i%3]
		if value == "" {
			t.Fatalf("there is no value of type %s to try", typ)
		}
		bare := object{"type": typ, "value": value, "tlp": tlp}
		with := func(more object) object {
			o := object{"context": object{"family": "Qakbot & <Co>", "tool": "a 'tool'", "technique": "T1059.001", "cve": "CVE-2021-44228"}}
			for _, from := range []object{bare, more} {
				for k, v := range from {
					o[k] = v
				}
			}
			return o
		}
		id := keep(here.say(t, with(object{"kind": "indicator", "first_seen": seen, "last_seen": last, "valid_until": until,
			"origin": object{"source": "misp:ESET", "id": "5be1e65d-8198-497b-bdf5-5ec20a016210", "tlp": "CLEAR"}}), share))
		keep(here.say(t, object{"kind": "dispute", "ref": id, "tlp": tlp}, share))
		takenBack = append(takenBack, keep(here.say(t, object{"type": typ, "value": value, "tlp": tlp, "kind": "indicator", "origin": object{"source": "cve", "id": "CVE-2021-44228"}}, share)))
		id = keep(here.say(t, with(object{"first_seen": seen, "last_seen": last, "count": 999_999_999}), share))
		keep(here.say(t, object{"kind": "dispute", "ref": id, "reason": `our "own" <server> & 'more'`, "tlp": tlp}, share))
		takenBack = append(takenBack, keep(here.say(t, bare, share)))
		takenBack = append(takenBack, keep(here.say(t, object{"kind": "dispute", "type": typ, "value": value, "tlp": tlp, "reason": "an error"}, share)))
		keep(here.say(t, object{"kind": "dispute", "type": typ, "value": value, "tlp": tlp, "reason": "ours"}, share))
		keep(here.say(t, object{"type": typ, "value": value, "kind": "indicator", "tlp": marked[(i+1)%3]}, kept))
		there.say(t, bare, share)
	}
	keep(here.say(t, object{"kind": "indicator", "value": "unmarked.example"}, kept))
	d.watchward(t, append([]string{"retract", "--reason", "an error"}, takenBack...)...)
	for _, tlp := range []string{"AMBER+STRICT", "RED"} { // never in an export
		here.say(t, object{"value": "named.example", "tlp": tlp}, kept)
	}
	return want, takenBack
}

// A node that holds all that an export may have writes STIX that OASIS's validator takes.
func TestExportBySTIXValidator(t *testing.T) {
	python(t.Context(), t, "stix2-validator") // skips before there is work
	d := &dev{dir: t.TempDir()}
	t.Cleanup(d.start(t, 2))
	want, takenBack := sayEverything(t, d)
	path := filepath.Join(t.TempDir(), "export.json")
	var got, revoked []string
	eventually(t, "the export has what the other hospital said", func() bool {
		d.watchward(t, "export", "--tlp", "AMBER", "--unmarked", "--force", "-o", path)
		got, revoked = exported(t, path)
		return len(got) == len(want)+len(stixValues)
	})
	for _, id := range want {
		if !slices.Contains(got, id) {
			t.Errorf("%s is not in the export", id)
		}
	}
	if slices.Sort(revoked); !slices.Equal(revoked, slices.Sorted(slices.Values(takenBack))) {
		t.Errorf("revoked are %d notices and not the %d that were taken back", len(revoked), len(takenBack))
	}
	f := validSTIX(t, path)
	t.Logf("%d objects are valid: %v", f.Objects, f.Types)
	for _, typ := range []string{"indicator", "sighting", "opinion", "identity", "marking-definition", "extension-definition", "malware", "tool", "attack-pattern", "vulnerability", "relationship"} {
		if f.Types[typ] == 0 {
			t.Errorf("no %s was checked", typ)
		}
	}
}

// exported returns the ids of the notices that a file has.
func exported(t *testing.T, path string) (all, revoked []string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var bundle struct {
		Objects []struct {
			Revoked    bool
			Extensions map[string]struct{ Notice string }
		}
	}
	if err := json.Unmarshal(raw, &bundle); err != nil {
		t.Fatal(err)
	}
	for _, o := range bundle.Objects {
		for _, x := range o.Extensions {
			if x.Notice == "" {
				continue
			}
			all = append(all, x.Notice)
			if o.Revoked {
				revoked = append(revoked, x.Notice)
			}
		}
	}
	return all, revoked
}

// What is wrong in a file is found, so that a validator that looks at nothing is too.
func TestSTIXValidatorRefuses(t *testing.T) {
	const indicator = `{"type":"indicator","spec_version":"2.1","id":"indicator--00000001-0000-4000-8000-000000000000","created":"2026-01-01T00:00:00.000Z",` +
		`"modified":"2026-01-01T00:00:00.000Z","name":"x","pattern":"[domain-name:value = 'evil.example']","pattern_type":"stix","valid_from":"2026-01-01T00:00:00Z"%s}`
	for name, c := range map[string]struct{ more, want string }{
		"a sound one":         {"", ""},
		"a time":              {`,"valid_until":"tomorrow"`, "'tomorrow'"},
		"a property":          {`,"colour":"red"`, "colour"},
		"an end before begin": {`,"valid_until":"2025-01-01T00:00:00Z"`, "valid_until"},
		"a confidence":        {`,"confidence":101`, "101"},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, "envelope.json", fmt.Appendf(nil, `{"objects":[`+indicator+`]}`, c.more))
			out, err := python(t.Context(), t, "stix2-validator", "-I", "python/valid_stix.py", path).Output()
			var f stixFile
			if err == nil {
				err = json.Unmarshal(out, &f)
			}
			if err != nil || f.Objects != 1 || (len(f.Problems) > 0) != (c.want != "") || !strings.Contains(strings.Join(f.Problems, "\n"), c.want) {
				t.Errorf("%q, %v", f.Problems, err)
			}
		})
	}
}
