package misp_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/inteltest"
	"github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/notice"
)

// told is what is found, in short.
func told(found []intel.Found) []string {
	var out []string
	for _, f := range found {
		n := f.Notice
		line := n.Kind.String() + " " + n.Indicator.Value + " " + n.Origin.Source
		switch n.Kind {
		case notice.KindSighting:
			line += strings.Repeat("*", int(n.Count))
		case notice.KindDispute:
			line += ": " + n.Reason
		}
		out = append(out, line)
	}
	return out
}

func TestSightings(t *testing.T) {
	const evil = `{"Event": {"uuid": "5be1e65d-8198-497b-bdf5-5ec20a016219", "Orgc": {"name": "CSIRT"}, "Attribute": [{"id": "7", "uuid": "aaaa0000-0000-4000-8000-000000000001", "type": "domain", "value": "evil.example", "to_ids": true, "Sighting": `
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"seen, by organisation": {evil + `[{"type": "0", "date_sighting": "1700000100", "Organisation": {"name": "A"}}, {"type": 0, "date_sighting": 1700000000, "Organisation": {"name": "A"}}, {"date_sighting": "1700000200", "source": "B"}, {"type": "0", "date_sighting": "1700000300"}]}]}}`,
			[]string{"indicator evil.example misp:CSIRT", "sighting evil.example misp:A**", "sighting evil.example misp:B*", "sighting evil.example misp:CSIRT*"}},
		"a false positive": {evil + `[{"type": "1", "date_sighting": "1700000000", "Organisation": {"name": "A"}}]}]}}`,
			[]string{"indicator evil.example misp:CSIRT", "dispute evil.example misp:A: marked as a false positive in MISP"}},
		"expired": {evil + `[{"type": "2", "date_sighting": "1800000000"}]}]}}`, []string{"indicator evil.example misp:CSIRT"}},
		"beside the attributes": {evil + `[]}], "Sighting": [{"attribute_id": "7", "date_sighting": "1700000000", "source": "A"}, {"attribute_uuid": "AAAA0000-0000-4000-8000-000000000001", "date_sighting": "1700000000", "source": "B"}, {"attribute_id": "8", "date_sighting": "1"}]}}`,
			[]string{"indicator evil.example misp:CSIRT", "sighting evil.example misp:A*", "sighting evil.example misp:B*"}},
		"of the hash, not of its name": {`{"Attribute": [{"type": "filename|md5", "value": "a.exe|` + strings.Repeat("a1", 16) + `", "Sighting": [{"date_sighting": "1"}]}]}`,
			[]string{"indicator " + strings.Repeat("a1", 16) + " misp", "sighting " + strings.Repeat("a1", 16) + " misp*"}},
		"of context": {`{"Attribute": [{"type": "domain", "value": "a.example", "to_ids": true}, {"type": "domain", "value": "b.example", "to_ids": false, "Sighting": [{"date_sighting": "1"}, {"type": "1", "date_sighting": "1"}]}]}`,
			[]string{"indicator a.example misp", "dispute b.example misp: marked as a false positive in MISP"}},
		"of what is refused": {`{"Attribute": [{"type": "ip-dst", "value": "10.0.0.1", "Sighting": [{"date_sighting": "1"}]}]}`, nil},
		"a word of its own":  {evil + `[{"date_sighting": "1700000000", "source": "watchward {\"origin\":\"watchward:St Anna\",\"id\":\"x\",\"first\":1699999999001,\"last\":1700000000123,\"count\":3}"}]}]}}`, []string{"indicator evil.example misp:CSIRT", "sighting evil.example watchward:St Anna***"}},
		"a forged word":      {evil + `[{"date_sighting": "1700000000", "source": "watchward {\"origin\":\"x\\u0000\"}"}]}]}}`, []string{"indicator evil.example misp:CSIRT", `sighting evil.example misp:watchward {"origin":"x\u0000"}*`}},
	} {
		taken, _, err := read(strings.NewReader(c.file), misp.Options{})
		if err != nil || !slices.Equal(told(taken), c.want) {
			t.Errorf("%s: %v\n got %q\nwant %q", name, err, told(taken), c.want)
		}
		for _, f := range taken {
			inteltest.MustEncode(t, f.Notice)
			switch n := f.Notice; {
			case name == "seen, by organisation" && n.Origin.Source == "misp:A" && (n.FirstSeen != 1700000000000 || n.LastSeen != 1700000100000):
				t.Errorf("%+v", n)
			case name == "expired" && n.ValidUntil != 1800000000000:
				t.Errorf("%+v", n)
			}
		}
	}
}

func TestBadSightings(t *testing.T) {
	for sighting, want := range map[string]string{
		`{"type": "0"}`:                                      `date_sighting "" is not a time`,
		`{"date_sighting": "soon"}`:                          `date_sighting "soon" is not a time`,
		`{"date_sighting": "-5"}`:                            "is not a time",
		`{"date_sighting": "99999999999999"}`:                "is not a time",
		`{"date_sighting": "1700000000", "type": "3"}`:       `"3" is not a type of sighting`,
		`{"date_sighting": "1700000000", "type": "\u001b["}`: "is not a type of sighting",
	} {
		taken, refused, err := read(strings.NewReader(one(`"type": "domain", "value": "evil.example", "Sighting": [`+sighting+`]`)), misp.Options{})
		if err != nil || len(taken) != 1 || len(refused) != 1 || !strings.Contains(refused[0].Reason, want) || refused[0].Place != "Event.Attribute[0].Sighting[0]" {
			t.Errorf("%s: %q, %q, %v", sighting, values(taken), reasons(refused), err)
		}
	}
	many := strings.Repeat(`{"date_sighting": "1", "source": "x"},`, 10) // one witness
	for i := range 105 {
		many += `{"date_sighting": "1", "source": "` + strings.Repeat("y", i+1) + `"},`
	}
	taken, refused, err := read(strings.NewReader(one(`"type": "domain", "value": "evil.example", "Sighting": [`+strings.TrimSuffix(many, ",")+`]`)), misp.Options{})
	if err != nil || len(refused) == 0 || !strings.Contains(refused[0].Reason, "more than 100 organisations") || taken[1].Notice.Count != 10 {
		t.Errorf("%d, %q, %v", len(taken), reasons(refused)[:min(1, len(refused))], err)
	}
}

// Programs differ in which of two equal keys they believe.
func TestKeysThatComeTwice(t *testing.T) {
	for _, keys := range []string{`"value": "a.example", "value": "b.example"`, `"value": "a.example", "type": "url"`, `"value": "a.example", "to_ids": true, "to_ids": false`} {
		taken, refused, err := read(strings.NewReader(one(`"type": "domain", `+keys)), misp.Options{})
		if err != nil || len(taken) != 0 || len(refused) != 1 || !strings.Contains(refused[0].Reason, "stands in it twice") {
			t.Errorf("%s: %q, %q, %v", keys, values(taken), reasons(refused), err)
		}
	}
	// Of markings that come twice both count.
	taken, _, err := read(strings.NewReader(one(`"type": "domain", "value": "a.example", "Tag": [{"name": "tlp:red"}], "Tag": []`)), misp.Options{})
	if err != nil || len(taken) != 1 || taken[0].TLP != notice.TLPRed {
		t.Errorf("%+v, %v", taken, err)
	}
}

func TestEventsAreTold(t *testing.T) {
	var got []string
	file := `{"response": [{"Event": {"Attribute": [], "uuid": "5be1e65d-8198-497b-bdf5-5ec20a016219", "timestamp": "1700000000"}}, {"Event": {"Orgc": {}}}]}`
	err := misp.Read(strings.NewReader(file), misp.Options{Event: func(uuid string, timestamp int64) error {
		if got = append(got, uuid); timestamp != 1700000000*int64(2-len(got)) {
			t.Errorf("%s: timestamp %d", uuid, timestamp)
		}
		return nil
	}}, func(intel.Found) error { return nil })
	if err != nil || !slices.Equal(got, []string{"5be1e65d-8198-497b-bdf5-5ec20a016219", ""}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestManifest(t *testing.T) {
	const id = "5be1e65d-8198-497b-bdf5-5ec20a016219"
	hash := strings.Repeat("ab", 32)
	m, err := misp.ReadManifest(strings.NewReader(`{"` + id + `": {"info": "x", "Orgc": {"name": "y"}, "timestamp": "1700000000", "integrity:sha256": "` + strings.ToUpper(hash) + `"}, "6BE1E65D-8198-497b-bdf5-5ec20a016219": {"timestamp": 7}}`))
	if err != nil || len(m) != 2 || m[id] != (misp.Listed{Timestamp: 1700000000, SHA256: hash}) {
		t.Errorf("%+v, %v", m, err)
	}
	for _, c := range []struct {
		sha256    string
		timestamp int64
		listed    misp.Listed
		want      string
	}{
		{hash, 1, misp.Listed{SHA256: hash, Timestamp: 2}, ""}, {hash, 1, misp.Listed{SHA256: "x"}, "SHA-256 is not the one"},
		{hash, 1, misp.Listed{Timestamp: 2}, "its timestamp is 1, in manifest.json 2"}, {hash, 0, misp.Listed{Timestamp: 2}, ""}, {hash, 1, misp.Listed{}, ""},
	} {
		if err := c.listed.Check(c.sha256, c.timestamp); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for file, want := range map[string]string{
		"": "the file ends", "[]": "is no JSON here", `{"../../etc/passwd": {}}`: "is not the uuid of an event", `{"` + id + `": {}, "` + id + `": {}}`: "listed twice",
		`{"` + id + `": {"integrity:sha256": "x"}}`: "is not a SHA-256", `{"` + id + `": {}} x`: "something follows", `{"` + id + `": ` + strings.Repeat("[", 10_000): "nested deeper",
	} {
		if _, err := misp.ReadManifest(strings.NewReader(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v", file, err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"5be1e65d-8198-497b-bdf5-5ec20a016219": {"timestamp": "1", "integrity:sha256": ""}}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := misp.ReadManifest(strings.NewReader(string(file)))
		for id := range m {
			if err == nil && (len(id) != 36 || strings.ContainsAny(id, `/\.`)) {
				t.Errorf("%q", id)
			}
		}
	})
}
