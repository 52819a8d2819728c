package interop_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// exchangingDev starts two hospitals, of which the first serves TAXII and a feed of MISP,
// takes in what is added, and has been told everything. It returns its admin's token.
func exchangingDev(t *testing.T) (d *dev, token string) {
	t.Helper()
	d = &dev{dir: t.TempDir()}
	d.start(t, 2)()
	path := filepath.Join(d.nodes[0].Dir, "config.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for old, set := range map[string]string{"#taxii = false": "taxii = true", "#misp = false": "misp = true", `#inbox = "local"`: `inbox = "share"`} {
		if !bytes.Contains(text, []byte(old)) {
			t.Fatalf("the configuration has no line %q", old)
		}
		text = bytes.Replace(text, []byte(old), []byte(set), 1)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.start(t, 2))
	sayEverything(t, d)
	secret, err := os.ReadFile(filepath.Join(d.nodes[0].Dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	return d, strings.TrimSpace(string(secret))
}

// A taxiiTold is what python/taxii_client.py tells.
type taxiiTold struct {
	Title       string
	Collections map[string][2]bool
	Pages       []int
	Objects     []json.RawMessage
	Manifest    []struct {
		ID, Version string
		Added       string `json:"date_added"`
	}
	Sightings   []string
	TwoTypes    []string `json:"two types"`
	Versions    []json.RawMessage
	One         []string
	AfterLast   map[string]any `json:"after the last"`
	AfterHalf   int            `json:"after half"`
	WantedAfter int            `json:"wanted after half"`
	Refused     map[string][2]any
	Added       []json.RawMessage
	StatusAgain bool `json:"status again"`
}

// OASIS's client, as it is, reads, filters, pages and writes, and OASIS's validator takes
// everything that it got.
func TestTAXIIClientAndValidator(t *testing.T) {
	python(t.Context(), t, "taxii2-client") // skips before there is work
	d, token := exchangingDev(t)
	read := func() (told taxiiTold) {
		c := python(t.Context(), t, "taxii2-client", "-I", "python/taxii_client.py", d.nodes[0].API+"/taxii2/", token)
		var wrong bytes.Buffer
		c.Stderr = &wrong
		out, err := c.Output()
		if err == nil {
			err = json.Unmarshal(out, &told)
		}
		if err != nil {
			t.Fatalf("%v\n%s%s", err, out, wrong.Bytes())
		}
		return told
	}
	var told taxiiTold
	eventually(t, "the collection has what the other hospital said", func() bool {
		told = read()
		return len(told.Sightings) >= 3*len(stixValues)
	})
	if want := map[string][2]bool{"Community, TLP:CLEAR": {true, false}, "Community, up to TLP:GREEN": {true, false}, "Region, up to TLP:AMBER": {true, false}, "Inbox": {false, true}}; !maps.Equal(told.Collections, want) {
		t.Errorf("the collections are %v", told.Collections)
	}
	total := 0
	for i, n := range told.Pages {
		if total += n; n != 50 && i < len(told.Pages)-1 {
			t.Errorf("page %d has %d objects", i, n)
		}
	}
	if total != len(told.Objects) || len(told.Pages) < 3 {
		t.Errorf("pages of %v objects", told.Pages)
	}
	latest := map[string]string{}
	for i, m := range told.Manifest {
		if i > 0 && m.Added <= told.Manifest[i-1].Added {
			t.Errorf("%s was added at %s, after %s", m.ID, m.Added, told.Manifest[i-1].Added)
		}
		latest[m.ID] = max(latest[m.ID], m.Version)
	}
	for _, o := range told.Objects {
		var common struct{ ID, Modified, Created string }
		if err := json.Unmarshal(o, &common); err != nil {
			t.Fatal(err)
		}
		if v := latest[common.ID]; v == "" || common.Modified != "" && v != common.Modified {
			t.Errorf("%s is read in the version %s, and listed in %s", common.ID, common.Modified, v)
		}
		delete(latest, common.ID)
	}
	if len(latest) > 0 {
		t.Errorf("listed and not read: %v", slices.Collect(maps.Keys(latest)))
	}
	for _, id := range told.Sightings {
		if !strings.HasPrefix(id, "sighting--") {
			t.Errorf("among sightings is %s", id)
		}
	}
	if len(told.Sightings) == 0 || !slices.Equal(told.TwoTypes, []string{"identity", "opinion"}) || len(told.One) != 1 || len(told.AfterLast) != 0 || told.AfterHalf != told.WantedAfter || told.AfterHalf == 0 {
		t.Errorf("filters: %d sightings, types %v, one %v, after the last %v, after half %d of %d", len(told.Sightings), told.TwoTypes, told.One, told.AfterLast, told.AfterHalf, told.WantedAfter)
	}
	var versions [2][]string
	if err := json.Unmarshal(told.Versions[1], &versions[0]); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(told.Versions[2], &versions[1]); err != nil {
		t.Fatal(err)
	}
	if slices.Sort(versions[0]); len(versions[0]) != 2 || !slices.Equal(versions[0], versions[1]) {
		t.Errorf("versions of what was taken back: %v, in the manifest %v", versions[0], versions[1])
	}
	if got := fmt.Sprint(told.Refused); got != "map[limit:[400 400] next:[400 400] nobody:[401 401]]" {
		t.Errorf("refused: %s", got)
	}
	if got := fmt.Sprintf("%s", told.Added[:4]); got != `["complete" 1000 999 1]` || !bytes.Contains(told.Added[4], []byte("TLP:RED")) || !told.StatusAgain {
		t.Errorf("added: %s, %s", got, told.Added[4])
	}
	var known struct{ Known bool }
	if err := json.Unmarshal(d.watchward(t, "lookup", "added-999.example", "--json"), &known); err != nil || !known.Known {
		t.Errorf("what was added is not known: %v", err)
	}

	envelope, err := json.Marshal(map[string]any{"objects": told.Objects})
	if err != nil {
		t.Fatal(err)
	}
	f := validSTIX(t, writeFile(t, "envelope.json", envelope))
	t.Logf("%d objects are valid: %v", f.Objects, f.Types)
	if f.Objects != len(told.Objects) {
		t.Errorf("%d objects were checked of %d", f.Objects, len(told.Objects))
	}
}

// A feed pulled as MISP does is for PyMISP what the hospital holds.
func TestMISPPullsWhatIsHeld(t *testing.T) {
	python(t.Context(), t, "PyMISP")
	d, token := exchangingDev(t)
	l := &ledger{url: d.nodes[0].API + "/misp/", token: token}
	fetch := func(dir, name string) []byte {
		raw, err := l.get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return raw
	}
	type attribute struct {
		UUID, Type, Value, Event string
		Deleted                  bool
		Sightings                []string
	}
	var read struct {
		Version    string
		Problems   []string
		Attributes []attribute
	}
	pull := func() {
		dir := t.TempDir()
		var manifest map[string]any
		if err := json.Unmarshal(fetch(dir, "manifest.json"), &manifest); err != nil {
			t.Fatal(err)
		}
		fetch(dir, "hashes.csv")
		for uuid := range manifest {
			fetch(dir, uuid+".json")
		}
		c := python(t.Context(), t, "PyMISP", "-I", "../../node/misp/testdata/read_feed.py", dir)
		var wrong bytes.Buffer
		c.Stderr = &wrong
		out, err := c.Output()
		read.Problems, read.Attributes = nil, nil
		if err == nil {
			err = json.Unmarshal(out, &read)
		}
		if err != nil {
			t.Fatalf("%v\n%s%s", err, out, wrong.Bytes())
		}
	}
	eventually(t, "the feed has what both said", func() bool {
		pull()
		return len(read.Attributes) >= 4*len(stixValues) && len(read.Problems) == 0
	})
	// Of each value: whether anything that calls it bad stands, and how often it was seen
	// and disputed.
	type held struct {
		stands         bool
		seen, disputed int
	}
	got, want := map[string]held{}, heldValues(t, d, func(h *held, kind string) {
		switch kind {
		case "sighting":
			h.seen++
			h.stands = true
		case "indicator":
			h.stands = true
		case "dispute":
			h.disputed++
		}
	})
	for _, a := range read.Attributes {
		h := got[a.Value]
		h.stands = h.stands || !a.Deleted
		for _, kind := range a.Sightings {
			switch kind {
			case "0":
				h.seen++
			case "1":
				h.disputed++
			}
		}
		got[a.Value] = h
	}
	for _, value := range slices.Sorted(maps.Keys(want)) {
		if got[value] != want[value] {
			t.Errorf("%s is for PyMISP %+v, held is %+v", value, got[value], want[value])
		}
		delete(got, value)
	}
	if len(got) > 0 {
		t.Errorf("PyMISP reads what is not held: %v", got)
	}
	t.Logf("PyMISP %s read %d attributes of %d values", read.Version, len(read.Attributes), len(want))
}

// heldValues counts what the first hospital holds that was told to members, by value.
func heldValues[H any](t *testing.T, d *dev, count func(h *H, kind string)) map[string]H {
	t.Helper()
	type view struct {
		ID, Kind, TLP, Audience, Ref string
		Marks                        []string
		Indicator                    *struct{ Value string }
	}
	var all []view
	for next := ""; ; {
		l := &ledger{url: d.nodes[0].API + "/v1/", token: strings.TrimSpace(string(runProgram(t, "watchward", "token", "create", "lister-"+fmt.Sprint(len(all)), "--role", "reader", "--ceiling", "RED", "--dir", d.nodes[0].Dir)))}
		raw, err := l.get(t.Context(), "notices?limit=1000&next="+next)
		var page struct {
			Notices []view
			Next    string
		}
		if err == nil {
			err = json.Unmarshal(raw, &page)
		}
		if err != nil {
			t.Fatal(err)
		}
		if all, next = append(all, page.Notices...), page.Next; next == "" {
			break
		}
	}
	values := map[string]string{}
	for _, v := range all {
		if v.Indicator != nil {
			values[v.ID] = v.Indicator.Value
		}
	}
	out := map[string]H{}
	for _, v := range all {
		value := values[v.ID]
		if value == "" {
			value = values[v.Ref]
		}
		told := v.Audience == "region" || v.Audience == "community"
		if !told || v.Kind == "retraction" || value == "" {
			continue
		}
		h := out[value]
		if !slices.ContainsFunc(v.Marks, func(m string) bool { return strings.HasPrefix(m, "retracted") }) {
			count(&h, v.Kind)
		}
		out[value] = h
	}
	return out
}
