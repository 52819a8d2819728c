package stix_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/stix"
	"github.com/watchward/watchward/node/notice"
)

var update = flag.Bool("update", false, "rewrite what the files of testdata/kit give")

// TestKit reads each file of a hand-made kit, good and hostile, and compares
// every result with the file of the same name.
func TestKit(t *testing.T) {
	files, err := filepath.Glob("testdata/kit/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := transcript(text, stix.Options{Observables: strings.Contains(path, "-all")})
			want := strings.TrimSuffix(path, ".json") + ".want"
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			expected, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(expected) {
				t.Errorf("got:\n%s\nwant:\n%s", got, expected)
			}
		})
	}
}

func transcript(text []byte, o stix.Options) string {
	var b strings.Builder
	err := stix.Read(bytes.NewReader(text), o, func(f intel.Found) error {
		if f.Notice == nil {
			fmt.Fprintf(&b, "- %s: %s: %s%s\n", f.Place, f.Value, f.Reason, marked(f.TLP))
			return nil
		}
		sign := "+"
		if f.Withdrawn {
			sign = "withdrawn"
		}
		n := f.Notice
		fmt.Fprintf(&b, "%s %s: %s %s%s", sign, f.Place, n.Kind, n.Indicator, marked(f.TLP))
		for _, at := range []struct {
			name string
			ms   int64
		}{{"first", n.FirstSeen}, {"last", n.LastSeen}, {"until", n.ValidUntil}} {
			if at.ms != 0 {
				fmt.Fprintf(&b, " %s %s", at.name, time.UnixMilli(at.ms).UTC().Format(time.RFC3339))
			}
		}
		if n.Count != 0 {
			fmt.Fprintf(&b, " × %d", n.Count)
		}
		if n.Context != nil {
			fmt.Fprintf(&b, " %+v", *n.Context)
		}
		fmt.Fprintf(&b, " from %s %s%s", n.Origin.Source, n.Origin.ID, marked(n.Origin.TLP))
		if n.Reason != "" {
			fmt.Fprintf(&b, " because %s", n.Reason)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		fmt.Fprintf(&b, "error: %v\n", err)
	}
	return b.String()
}

func marked(tlp notice.TLP) string {
	if tlp == 0 {
		return ""
	}
	return " TLP:" + tlp.String()
}

// TestMarkingsInOtherPlaces: what says in another way than by a TLP marking how far
// an indicator may travel counts, or is unclear with its place.
func TestMarkingsInOtherPlaces(t *testing.T) {
	const (
		id   = `indicator--00000001-0000-4000-8000-000000000000`
		mark = `marking-definition--00000002-0000-4000-8000-000000000000`
		none = `{"type":"grouping","id":"grouping--00000003-0000-4000-8000-000000000000"`
	)
	file := func(own string, others ...string) string {
		objects := append(others, `{"type":"indicator","id":"`+id+`","pattern":"[domain-name:value = 'evil.example']"`+own+`}`)
		return `{"type":"bundle","objects":[` + strings.Join(objects, ",") + `]}`
	}
	define := func(fields string) string { return `{"type":"marking-definition","id":"` + mark + `",` + fields + `}` }
	const (
		ref   = `,"object_marking_refs":["` + mark + `"]`
		amber = `,"object_marking_refs":["marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421"]`
		green = `,"object_marking_refs":["marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"]`
		to    = `,"object_refs":["` + id + `"]}`
	)
	at := "(objects[0] " + id + ")"
	for name, c := range map[string]struct{ file, want string }{
		"nothing":                       {file(""), " "},
		"a label":                       {file(`,"labels":["malicious-activity","tlp:amber"]`), "AMBER "},
		"a label that is none":          {file(`,"labels":["tlp:pink"]`), ` "tlp:pink" (label of ` + at[1:]},
		"a label of a colour":           {file(`,"labels":["red"]`), "RED "},
		"a label that would loosen":     {file(`,"labels":["white"]`), " "},
		"a description":                 {file(`,"description":"Seen.\nTLP:AMBER"`), "AMBER "},
		"a description that is none":    {file(`,"description":"TLP:YELLOW"`), ` "TLP:YELLOW" (description of ` + id + ")"},
		"a name":                        {file(`,"name":"TLP:RED wave"`), "RED "},
		"a statement":                   {file(ref, define(`"definition_type":"statement","definition":{"statement":"TLP:AMBER - nur fuer die Region"}`)), "AMBER "},
		"a statement of an authority":   {file(ref, define(`"definition_type":"statement","definition":{"statement":"VS-NfD"}`)), ` "VS-NfD" (statement of objects[0] ` + mark + ")"},
		"a copyright":                   {file(ref, define(`"definition_type":"statement","definition":{"statement":"Copyright 2026, Example CSIRT"}`)), " "},
		"TLP 2":                         {file(ref, define(`"extensions":{"extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d":{"extension_type":"property-extension","tlp_2_0":"amber+strict"}}`)), "AMBER+STRICT "},
		"a definition of another kind":  {file(ref, define(`"definition_type":"iep","definition":{"x":"y"}`)), ` "iep" (objects[0] ` + mark + ")"},
		"another extension":             {file(ref, define(`"name":"ACS","extensions":{"extension-definition--3a65884d-005a-4290-8335-cb2d778a83ce":{}}`)), ` "ACS" (objects[0] ` + mark + ")"},
		"a definition that is not here": {file(ref), ` "` + mark + `" ` + at},
		"a well-known one":              {file(amber), "AMBER "},
		"granular":                      {file(amber + `,"granular_markings":[{"selectors":["pattern"],"marking_ref":"marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1"}]`), "RED "},
		"granular alone":                {file(`,"granular_markings":[{"selectors":["description"],"marking_ref":"marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487"}]`), `CLEAR "granular_markings" ` + at},
		"markings without end":          {file(`,"object_marking_refs":["marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"` + strings.Repeat(`,"marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"`, 10_000) + `]`), `GREEN "object_marking_refs of too many" ` + at},
		"a report":                      {file("", none+amber+to), "AMBER "},
		"a report by its name":          {file("", none+`,"name":"[RED] wave"`+to), "RED "},
		"a note":                        {file("", `{"type":"note","id":"note--00000003-0000-4000-8000-000000000000","content":"TLP:AMBER"`+to), "AMBER "},
		"a report that is unclear":      {file("", none+`,"name":"TLP:YELLOW"`+to), ` "TLP:YELLOW" (name of objects[0] grouping--00000003-0000-4000-8000-000000000000)`},
		"a report, and its own":         {file(green, none+amber+to), "GREEN "},
		"a report of others":            {file("", none+amber+`,"object_refs":["`+mark+`"]}`), " "},
		"a report of a report": {file("", none+to, `{"type":"report","id":"report--00000004-0000-4000-8000-000000000000"`+amber+`,"object_refs":["grouping--00000003-0000-4000-8000-000000000000"]}`),
			"AMBER "},
		"a report of too much": {file("", none+amber+`,"object_refs":["x"`+strings.Repeat(`,"x"`, 10_000)+`]}`), "AMBER "},
	} {
		got := []string{}
		err := stix.Read(strings.NewReader(c.file), stix.Options{}, func(f intel.Found) error {
			got = append(got, f.TLP.String()+" "+f.Unclear)
			if f.Notice == nil || f.Notice.Origin.TLP != f.TLP {
				t.Errorf("%s: %+v", name, f)
			}
			return nil
		})
		if err != nil || !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// TestApart: patterns that match only several values together are counted.
func TestApart(t *testing.T) {
	for pattern, want := range map[string]int{
		"[url:value = 'http://a.example/'] AND [url:value = 'http://b.example/']":        1,
		"[url:value = 'http://a.example/'] FOLLOWEDBY [url:value = 'http://b.example/']": 1,
		"[url:value = 'http://a.example/' AND domain-name:value = 'b.example']":          1,
		"[url:value = 'http://a.example/' AND file:size = 7]":                            0,
		"[url:value = 'http://a.example/'] OR [url:value = 'http://b.example/']":         0,
	} {
		got := 0
		file := `{"type":"indicator","id":"indicator--00000001-0000-4000-8000-000000000000","pattern":"` + pattern + `"}`
		err := stix.Read(strings.NewReader(file), stix.Options{Apart: func(n int) { got += n }}, func(intel.Found) error { return nil })
		if err != nil || got != want {
			t.Errorf("%s: %d, %v", pattern, got, err)
		}
	}
}

// TestHostile reads files that no tool makes by accident. Each must end with an
// error that has the byte or take nothing, and soon.
func TestHostile(t *testing.T) {
	indicator := `{"type":"indicator","id":"indicator--00000001-0000-4000-8000-000000000000","pattern":`
	for name, c := range map[string]struct{ text, want string }{
		"deep":           {strings.Repeat(`{"objects":[`, 10_000), "nested deeper than 64"},
		"deep skipped":   {`{"type":"indicator","x":` + strings.Repeat(`[`, 10_000), "nested deeper than 64"},
		"huge string":    {`{"type":"x","name":"` + strings.Repeat("a", 32<<20) + `"}`, ""},
		"huge unended":   {`{"type":"x","name":"` + strings.Repeat("a", 1<<20), "the file ends in the middle"},
		"huge number":    {`{"type":"x","count":` + strings.Repeat("1", 1<<20) + `}`, "a number of more than 64 characters"},
		"many keys":      {`{"type":"x"` + strings.Repeat(`,"name":"a"`, 100_000) + `}`, ""},
		"two contents":   {`{"type":"bundle","objects":[],"objects":[]}`, "byte 40, at objects: the key objects comes twice"},
		"many values":    {`{"type":"url","id":"url--00000001-0000-4000-8000-000000000000"` + strings.Repeat(`,"value":"a"`, 100_000) + `}`, "the key value comes twice"},
		"many hashes":    {`{"type":"file","hashes":{"MD5":"a"` + strings.Repeat(`,"MD5":"a"`, 100_000) + `}}`, "more than 10000 hashes"},
		"many inside":    {`{"type":"observed-data","objects":{"0":{}` + strings.Repeat(`,"0":{}`, 100_000) + `}}`, "more than 10000 observables"},
		"open brackets":  {indicator + `"` + strings.Repeat("(", 60_000) + `"}`, "- "},
		"open brackets2": {indicator + `"[` + strings.Repeat("(", 60_000) + `"}`, "- "},
		"many ands":      {indicator + `"[a:b = 'c'` + strings.Repeat(" AND a:b = 'c'", 4_000) + `]"}`, "- "},
		"backslashes":    {indicator + `"[a:b = '` + strings.Repeat(`\\`, 20_000) + `"}`, "- "},
		"not UTF-8":      {indicator + `"[domain-name:value = 'b` + "\xff" + `d.example']"}`, "not valid UTF-8"},
		"UTF-16":         {"\xff\xfe{\x00", "is not the start of an object"},
		"empty":          {"", "the file ends in the middle"},
		"text":           {"evil.example", "is not the start of an object"},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			got := transcript([]byte(c.text), stix.Options{})
			if !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got %.300q, want %q", got, c.want)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestManyReferences reads files in which few objects lead to very much.
func TestManyReferences(t *testing.T) {
	id := func(kind string, n int) string { return fmt.Sprintf("%s--%08d-0000-4000-8000-000000000000", kind, n) }
	const many, limit = 1_000, 100_000
	var refs, values, sightings, opinions, relations []string
	for i := range many {
		refs = append(refs, `"`+id("domain-name", i)+`"`)
		values = append(values, fmt.Sprintf("'n%d.example'", i))
		for j := range 8 {
			sightings = append(sightings, fmt.Sprintf(`{"type":"sighting","id":"%s","sighting_of_ref":"%s","observed_data_refs":["%s"]}`, id("sighting", 8*i+j), id("malware", 1), id("observed-data", 1)))
			opinions = append(opinions, fmt.Sprintf(`{"type":"opinion","id":"%s","opinion":"disagree","object_refs":["%s"]}`, id("opinion", 8*i+j), id("indicator", 1)))
		}
		relations = append(relations, fmt.Sprintf(`{"type":"relationship","id":"%s","relationship_type":"indicates","source_ref":"%s","target_ref":"%s"}`, id("relationship", i), id("indicator", 1), id("indicator", 1)))
	}
	var observables []string
	for i := range many {
		observables = append(observables, fmt.Sprintf(`{"type":"domain-name","id":"%s","value":"n%d.example"}`, id("domain-name", i), i))
	}
	data := fmt.Sprintf(`{"type":"observed-data","id":"%s","object_refs":[%s]},%s,{"type":"malware","id":"%s","name":"x"}`,
		id("observed-data", 1), strings.Join(refs, ","), strings.Join(observables, ","), id("malware", 1))
	claim := fmt.Sprintf(`{"type":"indicator","id":"%s","pattern":"[domain-name:value IN (%s)]"}`, id("indicator", 1), strings.Join(values, ","))
	for name, objects := range map[string][]string{
		"sightings": append(sightings, data), "opinions": append(opinions, claim), "relations": append(append(relations, opinions...), claim),
	} {
		t.Run(name, func(t *testing.T) {
			taken, refused := 0, 0
			err := stix.ReadFollowing(strings.NewReader("["+strings.Join(objects, ",")+"]"), stix.Options{}, limit, func(f intel.Found) error {
				if taken++; f.Notice == nil {
					taken--
					if refused++; !strings.Contains(f.Reason, "lead to too much") {
						t.Fatalf("refused because %s", f.Reason)
					}
				}
				return nil
			})
			if err != nil || taken > limit || taken < limit/4 || refused == 0 {
				t.Errorf("%d taken, %d refused, %v", taken, refused, err)
			}
		})
	}
}

func TestYieldStops(t *testing.T) {
	text, err := os.ReadFile("testdata/kit/context.json")
	if err != nil {
		t.Fatal(err)
	}
	stop, calls := errors.New("enough"), 0
	err = stix.Read(bytes.NewReader(text), stix.Options{}, func(intel.Found) error { calls++; return stop })
	if !errors.Is(err, stop) || err.Error() != "enough" || calls != 1 {
		t.Errorf("after %d calls: %v", calls, err)
	}
}

// TestSamples reads the real files, every one of which gives values.
func TestSamples(t *testing.T) {
	dir := samples(t)
	for path, least := range map[string]int{
		"stix/apt1.json": 10, "stix/poisonivy.json": 66,
		"stix/examples/indicator-for-c2-ip-address.json": 1, "stix/examples/indicator-to-campaign-relationship.json": 1,
		"stix/examples/indicators-for-C2-with-COA.json": 2, "stix/examples/infrastructure.json": 2,
		"stix/examples/interop-objectmarking-test.json": 0, "stix/examples/malicious-email-indicator-with-attachment.json": 0,
	} {
		f, err := os.Open(filepath.Join(dir, filepath.FromSlash(path)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		taken := 0
		err = stix.Read(f, stix.Options{Indicator: notice.Options{AllowSpecial: true}}, func(f intel.Found) error {
			if f.Notice != nil {
				taken++
			} else {
				t.Logf("%s: %s: %s: %s", path, f.Place, f.Value, f.Reason)
			}
			return nil
		})
		if err != nil || taken < least {
			t.Errorf("%s: %d values taken, want %d: %v", path, taken, least, err)
		}
		t.Logf("%s: %d values", path, taken)
	}
}

// samplesEnv names the directory of real files.
const samplesEnv = "WATCHWARD_SAMPLES"

func samples(t *testing.T) string {
	dir := os.Getenv(samplesEnv)
	if dir == "" {
		t.Skipf("SKIPPED: no real samples were tried: set %s to the directory that holds stix and stix2.1-schemas", samplesEnv)
	}
	return dir
}

func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/kit/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(text) < 32<<10 {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) { check(t, text) })
}

// FuzzPattern reads an indicator with any pattern, and with one of ours in it.
func FuzzPattern(f *testing.F) {
	for _, pattern := range []string{
		"[ipv4-addr:value = '198.51.100.7']", "([file:hashes.'SHA-256' IN ('a', 'b')] FOLLOWEDBY [a:b[*].c NOT LIKE 'x']) WITHIN 5 SECONDS",
		"[a:b = h'00' AND EXISTS c:d] REPEATS 3 TIMES START t'x' STOP t'y'", "[a:b = 1.5 OR (a:b >= -1)]", `[file:name = 'it\'s\\']`, "[", "'", "[a:",
	} {
		f.Add(pattern)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		for _, p := range []string{pattern, "[domain-name:value = '" + pattern + "' OR domain-name:value = 'evil.example']"} {
			text, err := json.Marshal(map[string]string{"type": "indicator", "id": "indicator--00000001-0000-4000-8000-000000000000", "pattern": p})
			if err != nil {
				t.Fatal(err)
			}
			if results := check(t, text); results == 0 {
				t.Errorf("%q gives neither a notice nor a refusal", p)
			}
		}
	})
}

// check reads a text and demands that every result is a notice that can be
// stated, or a refusal with a reason.
func check(t *testing.T, text []byte) (results int) {
	_ = stix.Read(bytes.NewReader(text), stix.Options{Observables: true}, func(f intel.Found) error {
		results++
		if (f.Notice == nil) == (f.Reason == "") {
			t.Errorf("neither a notice nor a refusal: %+v", f)
		}
		if f.Notice == nil {
			return nil
		}
		n := *f.Notice
		n.Created = 1_700_000_000_000
		if n.Kind == notice.KindSighting && n.LastSeen == 0 { // the node fills in when
			n.FirstSeen, n.LastSeen = n.Created, n.Created
		}
		if _, err := notice.Encode(&n); err != nil {
			t.Errorf("%+v is no notice: %v", n, err)
		}
		return nil
	})
	return results
}
