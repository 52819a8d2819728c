package misp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/inteltest"
	"github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/notice"
)

// read collects what Read finds.
func read(r io.Reader, o misp.Options) (taken, refused []intel.Found, err error) {
	err = misp.Read(r, o, func(f intel.Found) error {
		if f.Reason == "" {
			taken = append(taken, f)
		} else {
			refused = append(refused, f)
		}
		return nil
	})
	return taken, refused, err
}

// values are the taken indicators in short.
func values(found []intel.Found) []string {
	var out []string
	for _, f := range found {
		out = append(out, f.Notice.Indicator.String())
	}
	return out
}

func reasons(found []intel.Found) []string {
	var out []string
	for _, f := range found {
		out = append(out, f.Place+": "+f.Reason)
	}
	return out
}

func TestSamples(t *testing.T) {
	dir := os.Getenv("WATCHWARD_SAMPLES")
	if dir == "" {
		t.Skip("WATCHWARD_SAMPLES is not set: the real MISP events are NOT tested")
	}
	// Counted with a Python script over json.load: a composite value gives two.
	// Nearly everywhere to_ids is false, so all is asked for.
	for _, c := range []struct {
		file           string
		taken, refused int
	}{
		{"2018-11-20_Zebrocy.json", 36, 11},
		{"glupteba.misp-event.json", 331, 0},
		{"misp-badiis.json", 186, 58},
		{"misp-dukes-operation-ghost-event.json", 87, 14},
		{"misp-machete-event.json", 389, 7},
		{"misp.event_2021-06-10_backdoordiplomacy.json", 66, 1},
		{"mozi.misp-event.json", 79, 72},
		{"oceanlotus.misp.event.json", 112, 7},
	} {
		raw, err := os.ReadFile(filepath.Join(dir, "misp-events", c.file))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := intel.Sniff(raw[:min(len(raw), intel.SniffBytes)]); got != intel.FormatMISP {
			t.Errorf("%s: Sniff says %s", c.file, got)
		}
		taken, refused, err := read(bytes.NewReader(raw), misp.Options{All: true})
		if err != nil || len(taken) != c.taken || len(refused) != c.refused {
			t.Errorf("%s: %d taken, %d refused, %v; want %d, %d", c.file, len(taken), len(refused), err, c.taken, c.refused)
		}
		for _, f := range taken {
			if f.Notice.Origin.Source != "misp:ESET" || len(f.Notice.Origin.ID) != 73 {
				t.Fatalf("%s: origin %+v", c.file, f.Notice.Origin)
			}
			inteltest.MustEncode(t, f.Notice)
		}
	}
}

const attributes = `[
	{"type": "domain", "value": "evil[.]example", "uuid": "AAAA0000-0000-4000-8000-000000000001", "to_ids": true},
	{"type": "domain", "value": "gone.example", "to_ids": true, "deleted": true},
	{"type": "domain", "value": "gone2.example", "deleted": "1"},
	{"type": "ip-dst", "value": "192.168.1.4", "to_ids": true},
	{"type": "ip-dst|port", "value": "198.51.100.7|443", "to_ids": true},
	{"type": "filename|sha1", "value": "a.exe|nonsense", "to_ids": "1"}
]`

func TestShapes(t *testing.T) {
	event := `{"uuid": "5be1e65d-8198-497b-bdf5-5ec20a016219", "Attribute": ` + attributes + `, "Orgc": {"id": "2", "name": "Example CSIRT"}, "Tag": [{"name": "tlp:amber"}]}`
	for name, c := range map[string]struct{ file, place string }{
		"bare":           {event, ""},
		"byte order":     {"\xef\xbb\xbf" + event, ""},
		"Event":          {`{"Event": ` + event + `}`, "Event."},
		"response":       {`{"response": [{"Event": ` + event + `}]}`, "response[0].Event."},
		"array":          {`[{"Event": ` + event + `}]`, "[0].Event."},
		"bare array":     {`[` + event + `]`, "[0]."},
		"in an object":   {strings.Replace(event, `"Attribute": `+attributes, `"Object": [{"Attribute": `+attributes+`}]`, 1), "Object[0]."},
		"response alone": {`{"response": ` + event + `}`, "response."},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.file), iotest.OneByteReader(strings.NewReader(c.file))} {
			taken, refused, err := read(r, misp.Options{})
			want := []string{"domain evil.example", "ipv4 198.51.100.7"}
			if err != nil || !slices.Equal(values(taken), want) || len(refused) != 3 {
				t.Errorf("%s: %q, %q, %v", name, values(taken), reasons(refused), err)
				continue
			}
			if at := c.place + "Attribute[0]"; taken[0].Place != at {
				t.Errorf("%s: place %q, want %q", name, taken[0].Place, at)
			}
			origin := notice.Origin{Source: "misp:Example CSIRT", TLP: notice.TLPAmber,
				ID: "5be1e65d-8198-497b-bdf5-5ec20a016219/aaaa0000-0000-4000-8000-000000000001"}
			if got := *taken[0].Notice.Origin; got != origin || taken[0].TLP != notice.TLPAmber {
				t.Errorf("%s: origin %+v, TLP %v", name, got, taken[0].TLP)
			}
			if at := c.place + "Attribute[3]: 192.168.1.4 is a private address"; !strings.HasPrefix(reasons(refused)[0], at) {
				t.Errorf("%s: refused %q", name, reasons(refused))
			}
			if taken[0].Notice.Kind != notice.KindIndicator || taken[0].Value != "evil[.]example" {
				t.Errorf("%s: %+v", name, taken[0])
			}
		}
	}
	taken, _, err := read(strings.NewReader(event+"\n"+event+"\n"), misp.Options{})
	if err != nil || len(taken) != 4 {
		t.Errorf("two events in a row: %d, %v", len(taken), err)
	}
}

// one is an event with one attribute.
func one(attribute string) string { return `{"Event": {"Attribute": [{` + attribute + `}]}}` }

func TestTypes(t *testing.T) {
	md5, sha1, sha256 := strings.Repeat("a1", 16), strings.Repeat("b2", 20), strings.Repeat("c3", 32)
	for _, c := range []struct {
		kind, value string
		want        []string // "" stands for a refusal
	}{
		{"ip-src", "2001:DB8::7", []string{"ipv6 2001:db8::7"}},
		{"ip-src", "198.51.100.9/24", []string{"cidr 198.51.100.0/24"}},
		{"ip-src|port", "2001:db8::7|443", []string{"ipv6 2001:db8::7"}},
		{"ip-dst|port", "198.51.100.7:443", []string{"ipv4 198.51.100.7"}},
		{"ip-dst|port", "2001:db8::7", []string{""}},
		{"hostname", "A.evil.example", []string{"domain a.evil.example"}},
		{"hostname|port", "a.evil.example|80", []string{"domain a.evil.example"}},
		{"domain|ip", "evil.example|198.51.100.7", []string{"domain evil.example", "ipv4 198.51.100.7"}},
		{"domain|ip", "evil.example", []string{""}},
		{"url", "hxxp://evil[.]example/x", []string{"url http://evil.example/x"}},
		{"url", "www.evil.example:80", []string{"domain www.evil.example"}},
		{"url", "evil.example/x", []string{""}},
		{"url", md5, []string{""}},
		{"email-src", "Anna@evil.example", []string{"email anna@evil.example"}},
		{"email", "anna@evil.example", []string{"email anna@evil.example"}},
		{"email-dst", "anna@hospital.example", []string{""}},
		{"target-machine", "ws-17", []string{""}},
		{"md5", md5, []string{"md5 " + md5}},
		{"sha512", sha256 + sha256, []string{"sha512 " + sha256 + sha256}},
		{"filename|md5", "a|b.exe|" + md5, []string{"filename a|b.exe", "md5 " + md5}},
		{"malware-sample", "b.exe|" + md5, []string{"filename b.exe", "md5 " + md5}},
		{"filename|sha256", "x.exe|" + sha1, []string{"filename x.exe", ""}},
		{"mutex", `Global\Evil`, []string{`mutex Global\Evil`}},
		{"regkey", `HKCU\Software\Evil\`, []string{`registry-key HKEY_CURRENT_USER\software\evil`}},
		{"regkey|value", `HKCU\Software\Evil|a|b`, []string{`registry-key HKEY_CURRENT_USER\software\evil`}},
		{"ja3-fingerprint-md5", md5, []string{"ja3 " + md5}},
		{"x509-fingerprint-sha256", sha256, []string{"cert-sha256 " + sha256}},
		{"AS", "64496", []string{"asn AS64496"}},
		{"btc", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", []string{"btc 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"}},
		{"uri", "/gate.php", []string{""}},
		{"link", "https://blog.example/", []string{""}},
		{"vulnerability", "CVE-2021-44228", []string{""}},
		{"jarm", "x", []string{""}},
		{"ssdeep", "x", []string{""}},
		{"", "x", []string{""}},
		{"domain", "", []string{""}},
		{"domain", "evil\u202e.example", []string{""}},
		{"domain", strings.Repeat("a", 9000), []string{""}},
	} {
		pair, err := json.Marshal(map[string]string{"type": c.kind, "value": c.value})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		err = misp.Read(strings.NewReader(one(strings.Trim(string(pair), "{}"))), misp.Options{All: true}, func(f intel.Found) error {
			if f.Reason != "" {
				got = append(got, "")
				return nil
			}
			inteltest.MustEncode(t, f.Notice)
			got = append(got, f.Notice.Indicator.String())
			return nil
		})
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s %.40q: %q, %v; want %q", c.kind, c.value, got, err, c.want)
		}
	}
}

func TestMarkings(t *testing.T) {
	for _, c := range []struct {
		event, attribute string
		want             notice.TLP
	}{
		{"", "", 0},
		{"tlp:green", "", notice.TLPGreen},
		{"tlp:white", "TLP:AMBER", notice.TLPAmber},
		{"tlp:red", "tlp:clear", notice.TLPRed},
		{"tlp:amber+strict", "tlp:amber", notice.TLPAmberStrict},
		{"tlp:ex:chr", "", 0},
	} {
		file := fmt.Sprintf(`{"Event": {"Attribute": [{"type": "domain", "value": "evil.example", "Tag": [{"name": %q}]}], "Tag": [{"name": "x"}, {"name": %q}]}}`,
			c.attribute, c.event)
		taken, _, err := read(strings.NewReader(file), misp.Options{})
		if err != nil || len(taken) != 1 || taken[0].TLP != c.want || taken[0].Notice.Origin.TLP != c.want {
			t.Errorf("event %q, attribute %q: %+v, %v", c.event, c.attribute, taken, err)
		}
	}
}

// TestMarkingsInOtherPlaces: what an event, an object or an attribute says of its
// marking in another way than by a tag counts, or is unclear with its place.
func TestMarkingsInOtherPlaces(t *testing.T) {
	const attribute = `"type": "domain", "value": "evil.example"`
	tag := func(name string) string { return fmt.Sprintf(`"Tag": [{"name": %q}]`, name) }
	file := func(event, own string) string {
		return `{"Event": {"Attribute": [{` + attribute + own + `}]` + event + `}}`
	}
	object := func(event, object, own string) string {
		return `{"Event": {"Object": [{"Attribute": [{` + attribute + own + `}]` + object + `}]` + event + `}}`
	}
	for name, c := range map[string]struct{ file, want string }{
		"nothing":                   {file("", ""), " "},
		"info":                      {file(`, "info": "TLP:AMBER - wave 3"`, ""), "AMBER "},
		"info in brackets":          {file(`, "info": "[RED] wave 3"`, ""), "RED "},
		"info that is none":         {file(`, "info": "TLP:YELLOW wave 3"`, ""), ` "TLP:YELLOW" (Event.info)`},
		"info of an authority":      {file(`, "info": "VS-NfD: wave 3"`, ""), ` "vs nfd" (Event.info)`},
		"info about nothing":        {file(`, "info": "Red Team report"`, ""), " "},
		"quoted tag":                {file(`, `+tag(`tlp="amber"`), ""), "AMBER "},
		"capitals":                  {file(`, `+tag(`TLP:AMBER`), ""), "AMBER "},
		"strict":                    {file(`, `+tag(`tlp:amber+strict`), ""), "AMBER+STRICT "},
		"a longer tag":              {file(`, `+tag(`marking:"TLP:AMBER"`), ""), "AMBER "},
		"Chatham House":             {file(`, `+tag(`tlp:ex:chr`), ""), " "},
		"another tag":               {file(`, `+tag(`tlpdump`), ""), " "},
		"unknown":                   {file(`, `+tag(`tlp:pink`), ""), ` "tlp:pink" (Event.Tag[0].name)`},
		"no word":                   {file(`, `+tag(`TLP:`), ""), ` "TLP:" (Event.Tag[0].name)`},
		"unknown beside a known":    {file(`, "Tag": [{"name": "tlp:unclear"}, {"name": "tlp:green"}]`, ""), `GREEN "tlp:unclear" (Event.Tag[0].name)`},
		"an attribute's":            {file(`, `+tag(`tlp:green`), `, `+tag(`tlp:pink`)), `GREEN "tlp:pink" (Event.Attribute[0].Tag[0].name)`},
		"a comment":                 {file("", `, "comment": "TLP:RED for us"`), "RED "},
		"a comment that is none":    {file("", `, "comment": "TLP:YELLOW"`), ` "TLP:YELLOW" (Event.Attribute[0].comment)`},
		"an object's comment":       {object("", `, "comment": "TLP:RED"`, ""), "RED "},
		"organisation":              {file(`, "distribution": "0"`, ""), ` "distribution: your organisation only" (Event)`},
		"community":                 {file(`, "distribution": 1`, ""), ` "distribution: this community only" (Event)`},
		"connected communities":     {file(`, "distribution": "2"`, ""), " "},
		"all communities":           {file(`, "distribution": "3"`, `, "distribution": "5"`), " "},
		"sharing group":             {file(`, "distribution": "4"`, ""), ` "distribution: sharing group" (Event)`},
		"no distribution of MISP's": {file(`, "distribution": "9"`, ""), ` "distribution: sharing group" (Event)`},
		"an attribute of ours":      {file(`, "distribution": "3"`, `, "distribution": "0"`), ` "distribution: your organisation only" (Event.Attribute[0])`},
		"an object of ours":         {object(`, "distribution": "3"`, `, "distribution": "1"`, `, "distribution": "5"`), ` "distribution: this community only" (Event.Object[0].Attribute[0])`},
		"a tag beside it":           {file(`, "distribution": "0", `+tag("tlp:green"), ""), "GREEN "},
		"info beside it":            {file(`, "distribution": "1", "info": "TLP:AMBER"`, ""), "AMBER "},
		"the event's tag, and an attribute of ours":    {file(`, "distribution": "3", `+tag("tlp:clear"), `, "distribution": "0"`), `CLEAR "distribution: your organisation only" (Event.Attribute[0])`},
		"an attribute's tag, and an attribute of ours": {file(`, "distribution": "0"`, `, "distribution": "0", `+tag("tlp:green")), "GREEN "},
	} {
		taken, refused, err := read(strings.NewReader(c.file), misp.Options{})
		if err != nil || len(taken) != 1 || len(refused) != 0 || taken[0].TLP.String()+" "+taken[0].Unclear != c.want || taken[0].Notice.Origin.TLP != taken[0].TLP {
			t.Errorf("%s: %+v, %q, %v; want %q", name, taken, reasons(refused), err, c.want)
		}
	}
}

func TestTheStrictestMarkingCounts(t *testing.T) {
	file := `{"Attribute": [{"type": "domain", "value": "evil.example"}], "Tag": [{"name": "tlp:red"}, {"name": "tlp:green"}]}`
	if taken, _, err := read(strings.NewReader(file), misp.Options{}); err != nil || len(taken) != 1 || taken[0].TLP != notice.TLPRed {
		t.Errorf("%+v, %v", taken, err)
	}
}

func TestContext(t *testing.T) {
	tag := func(names ...string) string {
		var out []string
		for _, n := range names {
			quoted, _ := json.Marshal(n)
			out = append(out, `{"name": `+string(quoted)+`}`)
		}
		return "[" + strings.Join(out, ",") + "]"
	}
	const technique = `misp-galaxy:mitre-attack-pattern="PowerShell - T1059.001"`
	for name, c := range map[string]struct {
		event, attribute string
		want             notice.Context
	}{
		"from the event": {tag(technique, `misp-galaxy:malpedia="Emotet"`, `misp-galaxy:mitre-tool="Cobalt Strike - S0154"`), tag(),
			notice.Context{Family: "Emotet", Tool: "Cobalt Strike", Technique: "T1059.001"}},
		"one of its own wins": {tag(`misp-galaxy:malpedia="Emotet"`), tag(`misp-galaxy:ransomware="LockBit"`), notice.Context{Family: "LockBit"}},
		"several say nothing": {tag(technique, `misp-galaxy:mitre-attack-pattern="Malware - T1587.001"`, `misp-galaxy:tool="Mimikatz"`), tag(),
			notice.Context{Tool: "Mimikatz"}},
		"the same twice":    {tag(`misp-galaxy:malpedia="Emotet"`, `misp-galaxy:malpedia="emotet"`), tag(), notice.Context{Family: "Emotet"}},
		"nothing for us":    {tag(`misp-galaxy:threat-actor="Sofacy"`, `osint:x="y"`, "misp-galaxy:tool", `misp-galaxy:tool=""`), tag(), notice.Context{}},
		"not fit to keep":   {tag("misp-galaxy:tool=\"a\u202eb\"", `misp-galaxy:mitre-attack-pattern="PowerShell"`), tag(), notice.Context{}},
		"too long a family": {tag(`misp-galaxy:malpedia="` + strings.Repeat("x", 300) + `"`), tag(), notice.Context{}},
	} {
		file := `{"Attribute": [{"type": "domain", "value": "evil.example", "Tag": ` + c.attribute + `}], "Tag": ` + c.event + `}`
		taken, _, err := read(strings.NewReader(file), misp.Options{})
		if err != nil || len(taken) != 1 {
			t.Fatalf("%s: %v, %v", name, taken, err)
		}
		got := notice.Context{}
		if taken[0].Notice.Context != nil {
			got = *taken[0].Notice.Context
		}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		inteltest.MustEncode(t, taken[0].Notice)
	}
	file := `{"Attribute": [{"type": "domain", "value": "evil.example"}], "Galaxy": [{"GalaxyCluster": [{"tag_name": "misp-galaxy:tool=\"Mimikatz\""}]}]}`
	if taken, _, err := read(strings.NewReader(file), misp.Options{}); err != nil || len(taken) != 1 || taken[0].Notice.Context.Tool != "Mimikatz" {
		t.Errorf("from Galaxy: %v, %v", taken, err)
	}
}

func TestToIDs(t *testing.T) {
	event := func(a, b string) string {
		return `{"Attribute": [{"type": "domain", "value": "a.example"` + a + `}, {"type": "domain", "value": "b.example"` + b + `}]}`
	}
	for name, c := range map[string]struct {
		file string
		all  bool
		want []string
	}{
		"both":                {event(`, "to_ids": false`, `, "to_ids": true`), false, []string{"domain b.example"}},
		"both, all asked for": {event(`, "to_ids": false`, `, "to_ids": true`), true, []string{"domain a.example", "domain b.example"}},
		"set nowhere":         {event(`, "to_ids": false`, `, "to_ids": "0"`), false, nil},
		"nowhere, all":        {event(`, "to_ids": false`, `, "to_ids": "0"`), true, []string{"domain a.example", "domain b.example"}},
		"left out":            {event(``, `, "to_ids": "1"`), false, []string{"domain a.example", "domain b.example"}},
		"true in a deleted":   {event(`, "to_ids": true, "deleted": true`, `, "to_ids": false`), false, nil},
	} {
		taken, refused, err := read(strings.NewReader(c.file), misp.Options{All: c.all})
		if err != nil || !slices.Equal(values(taken), c.want) {
			t.Errorf("%s: %q, %q, %v", name, values(taken), reasons(refused), err)
		}
		for _, why := range reasons(refused) {
			if !strings.Contains(why, "--all takes it") {
				t.Errorf("%s: the refusal does not say what to do: %s", name, why)
			}
		}
	}
}

// A file's name beside its hash is no indicator by itself.
func TestNameBesideHash(t *testing.T) {
	file := one(`"type": "filename|md5", "to_ids": true, "value": "setup.exe|d41d8cd98f00b204e9800998ecf8427e"`)
	for all, want := range map[bool][]string{false: {"md5 d41d8cd98f00b204e9800998ecf8427e"}, true: {"filename setup.exe", "md5 d41d8cd98f00b204e9800998ecf8427e"}} {
		taken, refused, err := read(strings.NewReader(file), misp.Options{All: all})
		if err != nil || !slices.Equal(values(taken), want) || len(taken)+len(refused) != 2 {
			t.Errorf("all %v: %q, %q, %v", all, values(taken), reasons(refused), err)
		}
	}
	// In an object they are attributes of their own; without a hash it is all there is.
	object := func(more string) string {
		return `{"Event": {"Object": [{"name": "file", "Attribute": [{"type": "filename", "value": "setup.exe"}` + more + `]}]}}`
	}
	hash := `, {"type": "md5", "value": "d41d8cd98f00b204e9800998ecf8427e"}`
	for file, want := range map[string][]string{
		object(hash): {"md5 d41d8cd98f00b204e9800998ecf8427e"},
		object(""):   {"filename setup.exe"},
		object(strings.Replace(hash, "}", `, "deleted": true}`, 1)): {"filename setup.exe"},
	} {
		taken, refused, err := read(strings.NewReader(file), misp.Options{})
		if err != nil || !slices.Equal(values(taken), want) || len(refused) > 0 && !refused[0].Skipped {
			t.Errorf("%s: %q, %q, %v", file, values(taken), reasons(refused), err)
		}
	}
	if taken, _, err := read(strings.NewReader(object(hash)), misp.Options{All: true}); err != nil || len(taken) != 2 {
		t.Errorf("%q, %v", values(taken), err)
	}
}

func TestTimes(t *testing.T) {
	for times, want := range map[string][2]int64{
		`"first_seen": "2023-09-29T11:42:22.000000+00:00"`:                                     {1695987742000, 0},
		`"first_seen": "2023-09-29T13:42:22+02:00", "last_seen": "2023-09-29T11:42:23.5+0000"`: {1695987742000, 1695987743500},
		`"last_seen": "2023-09-29T11:42:22Z"`:                                                  {1695987742000, 1695987742000},
		`"first_seen": null, "last_seen": ""`:                                                  {0, 0},
		`"first_seen": "soon"`:                                                                 {0, 0},
		`"first_seen": "1969-01-01"`:                                                           {0, 0},
		`"first_seen": 99999999999999999999999999`:                                             {0, 0},
	} {
		taken, refused, err := read(strings.NewReader(one(`"type": "domain", "value": "evil.example", `+times)), misp.Options{})
		if err != nil || len(taken) != 1 || taken[0].Notice.FirstSeen != want[0] || taken[0].Notice.LastSeen != want[1] {
			t.Errorf("%s: %v, %q, %v", times, taken, reasons(refused), err)
			continue
		}
		inteltest.MustEncode(t, taken[0].Notice)
	}
	_, refused, err := read(strings.NewReader(one(`"type": "domain", "value": "evil.example", "first_seen": "2023-01-02", "last_seen": "2023-01-01"`)), misp.Options{})
	if err != nil || len(refused) != 1 {
		t.Errorf("last before first: %q, %v", reasons(refused), err)
	}
}

func TestDeletedObject(t *testing.T) {
	file := `{"Object": [{"Attribute": [{"type": "domain", "value": "a.example"}], "deleted": true}, {"Attribute": {"type": "domain", "value": "b.example"}}]}`
	taken, _, err := read(strings.NewReader(file), misp.Options{})
	if err != nil || !slices.Equal(values(taken), []string{"domain b.example"}) || taken[0].Place != "Object[1].Attribute[0]" {
		t.Errorf("%v, %v", taken, err)
	}
}

func TestForeignNamesAreNotKept(t *testing.T) {
	for _, org := range []string{`"x\u0000y"`, `"x\u202ey"`, `""`, `null`, `{"a": 1}`, `"` + strings.Repeat("x", 500) + `"`, "\"\xff\""} {
		file := `{"uuid": "<script>", "Orgc": {"name": ` + org + `}, "Attribute": [{"type": "domain", "value": "evil.example", "uuid": "` + strings.Repeat("a", 9999) + `"}]}`
		taken, _, err := read(strings.NewReader(file), misp.Options{})
		if err != nil || len(taken) != 1 || *taken[0].Notice.Origin != (notice.Origin{Source: "misp"}) {
			t.Errorf("%s: %+v, %v", org, taken, err)
			continue
		}
		inteltest.MustEncode(t, taken[0].Notice)
	}
}

// TestBroken: what is no whole JSON gives the whole events before the break
// and an error that says where.
func TestBroken(t *testing.T) {
	good := `{"Event": {"Attribute": [{"type": "domain", "value": "evil.example"}]}}`
	for file, where := range map[string]string{
		"":             "byte 0, at the top: the file ends",
		"   ":          "byte 3, at the top: the file ends",
		"evil.example": "'e' is not the start of an event",
		"null":         "'n' is not the start of an event",
		`{"a": 1}`:     "not a MISP event",
		`[1]`:          "at [0]: '1' is not",
		`{"response": [{"Event": {"Attribute": [{"type": "domain"}, {"type" "x"}]}}]}`: "response[0].Event.Attribute[1]",
		`{"Attribute": [{"type": "domain",}]}`:                                         "at Attribute[0]",
		`{"Attribute": [{"type": "domain"},]}`:                                         "at Attribute[1]",
		`{"Attribute": [{"type": 'x'}]}`:                                               "Attribute[0].type",
		`{"Attribute": [{"type": nulll}]}`:                                             `"nulll" is no JSON`,
		`{"Attribute": [{"value": 01}]}`:                                               `"01" is no JSON`,
		`{"Attribute": [{"value": ` + strings.Repeat("9", 100) + `}]}`:                 "a number of more than 64",
		`{"Attribute": [{"value": "a` + "\n" + `"}]}`:                                  "bare control character",
		`{"Attribute": [{"value": "\x41"}]}`:                                           "escape",
		`{"Attribute": [{"value": "\u00zz"}]}`:                                         "escape",
		`{"Attribute": ` + strings.Repeat("[", 100_000):                                "nested deeper than 64",
		strings.Repeat(`{"Event":`, 100_000):                                           "nested deeper than 64",
		`{"x": ` + strings.Repeat(`{"a":`, 100_000):                                    "nested deeper than 64",
		`{"\u001b[31m": {]`:                                                            `at "\x1b[31m": ']' is no JSON`,
		good + good + "]":                                                              "']' is not the start",
	} {
		taken, _, err := read(strings.NewReader(file), misp.Options{})
		if err == nil || !strings.Contains(err.Error(), where) || !strings.HasPrefix(err.Error(), "read MISP event: ") {
			t.Errorf("%.60q: %v; want %q in it", file, err, where)
		}
		if want := strings.Count(file, "evil.example") * strings.Count(file, "Event") / 2; len(taken) > 2 || strings.HasPrefix(file, good) && len(taken) != want {
			t.Errorf("%.60q: %d taken, want %d", file, len(taken), want)
		}
		if err != nil && (strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 500) {
			t.Errorf("%.60q: %q is no fit for a terminal", file, err)
		}
	}
}

// TestTruncated cuts an event at every byte: never is anything of it taken,
// since the marking, at its end, is missing.
func TestTruncated(t *testing.T) {
	file := `{"Event": {"Attribute": ` + attributes + `, "Tag": [{"name": "tlp:red"}]}}`
	for i := range file {
		taken, _, err := read(strings.NewReader(file[:i]), misp.Options{})
		if err == nil {
			t.Fatalf("%d bytes of %d: no error", i, len(file))
		}
		for _, f := range taken { // the inner event was whole
			if f.TLP != notice.TLPRed {
				t.Fatalf("%d bytes of %d: %+v without its marking", i, len(file), f)
			}
		}
	}
	two := `{"response": [{"Event": {"Attribute": [{"type": "domain", "value": "a.example"}]}}, {"Event": {"Attribute": [{"type": "domain", "value": "b.example"}`
	taken, _, err := read(strings.NewReader(two), misp.Options{})
	if err == nil || !strings.Contains(err.Error(), "the 1 attributes before it") || !slices.Equal(values(taken), []string{"domain a.example"}) {
		t.Errorf("%q, %v", values(taken), err)
	}
}

func TestReaderAndReceiverErrors(t *testing.T) {
	full := errors.New("disk full")
	file := `{"Attribute": ` + attributes + `}`
	calls := 0
	err := misp.Read(strings.NewReader(file), misp.Options{}, func(intel.Found) error { calls++; return full })
	if err != full || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	_, _, err = read(io.MultiReader(strings.NewReader(file[:50]), iotest.ErrReader(full)), misp.Options{})
	if !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
}

// TestHugeString: an attribute with a gigabyte of sample data does not stop the
// others and is not held; a value of a gigabyte is refused alone. It is 64 MiB
// each unless WATCHWARD_HUGE is set.
func TestHugeString(t *testing.T) {
	size := int64(1 << 30)
	if os.Getenv("WATCHWARD_HUGE") == "" {
		size = 64 << 20
	}
	r := io.MultiReader(strings.NewReader(`{"Attribute": [{"data": "`), inteltest.Endless('A', size),
		strings.NewReader(`", "type": "domain", "value": "a.example"}, {"type": "domain", "value": "`), inteltest.Endless('b', size),
		strings.NewReader(`"}, {"type": "domain", "value": "c.example"}]}`))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	taken, refused, err := read(r, misp.Options{})
	runtime.ReadMemStats(&after)
	if err != nil || !slices.Equal(values(taken), []string{"domain a.example", "domain c.example"}) || len(refused) != 1 ||
		!strings.Contains(refused[0].Reason, "longer than 2048") || len(refused[0].Value) > intel.ShowMax {
		t.Errorf("%q, %.200q, %v", values(taken), reasons(refused), err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
		t.Errorf("%d bytes were allocated", got)
	}
}

func TestTooManyAttributes(t *testing.T) {
	const n = 200_010
	var b bytes.Buffer
	b.WriteString(`{"Attribute": [`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"type":"domain","value":"%d.example"}`, i)
	}
	b.WriteString(`]}`)
	taken, refused, err := read(&b, misp.Options{})
	if err != nil || len(taken) != 200_000 || len(refused) != 10 || refused[0].Place != "Attribute[200000]" {
		t.Errorf("%d taken, %d refused, %v", len(taken), len(refused), err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"Event": {"uuid": "a", "Attribute": ` + attributes + `, "Tag": [{"name": "tlp:red"}], "Orgc": {"name": "x"}}}`))
	f.Add([]byte(`[{"response": [{"Object": [{"Attribute": [{"type": "regkey|value", "value": "HKCU\\a|b\ud83d\ude00"}]}]}]}]`))
	f.Add([]byte(one(`"type": "filename|md5", "value": "\ud800", "to_ids": 1, "first_seen": "2023-09-29T11:42:22Z"`)))
	f.Fuzz(func(t *testing.T, file []byte) {
		err := misp.Read(bytes.NewReader(file), misp.Options{}, func(found intel.Found) error {
			inteltest.CheckFound(t, found)
			return nil
		})
		if err == nil && len(bytes.Fields(file)) > 0 && !json.Valid(file) {
			// Several values in a row are fine; nothing else that is no JSON is.
			for d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(file, []byte("\xef\xbb\xbf")))); ; {
				var v any
				if err := d.Decode(&v); err == io.EOF {
					return
				} else if err != nil {
					t.Fatalf("accepted, but encoding/json says: %v", err)
				}
			}
		}
	})
}
