package stix_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/intel/stix"
	"github.com/watchward/watchward/node/intel/text"
	"github.com/watchward/watchward/node/notice"
)

// A failer is a test of the standard library or of rapid.
type failer interface{ Fatal(...any) }

func write(t failer, all ...intel.Stated) []byte {
	var b bytes.Buffer
	w := stix.NewWriter(&b)
	for _, s := range all {
		if err := w.Write(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(t failer, text []byte) (out []intel.Found) {
	err := stix.Read(bytes.NewReader(text), stix.Options{Indicator: notice.Options{AllowSpecial: true}}, func(f intel.Found) error {
		out = append(out, f)
		return nil
	})
	if err != nil {
		t.Fatal(err, string(text))
	}
	return out
}

// values draws a canonical indicator of a type.
func values(t *rapid.T, typ notice.Type) notice.Indicator {
	hex := func(n int) string { return rapid.StringMatching(fmt.Sprintf("[0-9a-f]{%d}", n)).Draw(t, "hex") }
	name := func() string { return rapid.StringMatching(`[a-z0-9]{1,10}\.(example|com)`).Draw(t, "name") }
	odd := func() string { return rapid.StringMatching(`[a-z'\\ é(){}]{0,8}x`).Draw(t, "odd") }
	octet := func() int { return rapid.IntRange(1, 223).Draw(t, "octet") }
	raw := map[notice.Type]func() string{
		notice.TypeIPv4: func() string { return fmt.Sprintf("%d.%d.%d.%d", octet(), octet(), octet(), octet()) },
		notice.TypeIPv6: func() string { return "2001:db8::" + hex(4) },
		notice.TypeCIDR: func() string {
			return fmt.Sprintf("%d.%d.0.0/%d", octet(), octet(), rapid.IntRange(8, 31).Draw(t, "bits"))
		},
		notice.TypeDomain: name, notice.TypeURL: func() string { return "http://" + name() + "/" + odd() + "?q='1" },
		notice.TypeEmail: func() string { return "a@" + name() },
		notice.TypeMD5:   func() string { return hex(32) }, notice.TypeSHA1: func() string { return hex(40) },
		notice.TypeSHA256: func() string { return hex(64) }, notice.TypeSHA512: func() string { return hex(128) },
		notice.TypeJA3: func() string { return hex(32) }, notice.TypeJA4: func() string { return "t13d1516h2_" + hex(12) + "_" + hex(12) },
		notice.TypeCertSHA256: func() string { return hex(64) }, notice.TypeASN: func() string { return fmt.Sprint(rapid.IntRange(1, 4_000_000_000).Draw(t, "asn")) },
		notice.TypeFilename: func() string { return `c:\x\` + odd() }, notice.TypeMutex: func() string { return `Global\` + odd() },
		notice.TypeRegistryKey: func() string { return `HKLM\Software\` + odd() }, notice.TypeBTC: func() string { return "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa" },
	}[typ]()
	if typ == notice.TypeCIDR && rapid.Bool().Draw(t, "six") {
		raw = "2001:db8:" + hex(4) + "::/48"
	}
	i, err := notice.Canonical(typ, raw, notice.Options{AllowSpecial: true})
	if err != nil {
		t.Skip(err)
	}
	return i
}

// stated draws an indicator or a sighting as a store would have it.
func stated(t *rapid.T, typ notice.Type, salt byte) intel.Stated {
	const begin, end = 1_600_000_000_000, 1_790_000_000_000
	text := func(name string) string {
		return strings.TrimSpace(rapid.StringMatching(`[A-Za-zé"'<>&\\ .-]{0,12}`).Draw(t, name))
	}
	at := func(name string) int64 { return rapid.Int64Range(begin, end).Draw(t, name) }
	i := values(t, typ)
	n := &notice.Notice{
		Kind: rapid.SampledFrom([]notice.Kind{notice.KindIndicator, notice.KindSighting}).Draw(t, "kind"),
		Salt: [16]byte{salt}, Created: at("created"), Indicator: &i,
	}
	s := intel.Stated{Notice: n, TLP: notice.TLP(rapid.IntRange(0, 5).Draw(t, "tlp")), AuthorName: "St Anna", Retracted: rapid.Bool().Draw(t, "retracted")}
	if rapid.Bool().Draw(t, "seen") || n.Kind == notice.KindSighting {
		n.FirstSeen = at("first")
		n.LastSeen = n.FirstSeen + rapid.Int64Range(0, 1e10).Draw(t, "last")
	}
	if n.Kind == notice.KindSighting {
		n.Count = rapid.Uint64Range(1, notice.CountMax).Draw(t, "count")
	} else {
		if rapid.Bool().Draw(t, "open") {
			n.LastSeen = 0
		}
		if rapid.Bool().Draw(t, "ends") {
			n.ValidUntil = at("until")
		}
	}
	c := notice.Context{Family: text("family"), Tool: text("tool")}
	if rapid.Bool().Draw(t, "technique") {
		c.Technique = rapid.SampledFrom([]string{"T1059", "T1059.001"}).Draw(t, "technique id")
	}
	if rapid.Bool().Draw(t, "cve") {
		c.CVE = "CVE-2021-44228"
	}
	if c != (notice.Context{}) {
		n.Context = &c
	}
	if rapid.Bool().Draw(t, "imported") {
		source := rapid.SampledFrom([]string{"misp:ESET", "stix:A", "cve", "csv:<a&b>"}).Draw(t, "source")
		id := rapid.SampledFrom([]string{"", "CVE-2021-44228", "indicator--00000001-0000-4000-8000-000000000000", "a/b"}).Draw(t, "id")
		n.Origin = &notice.Origin{Source: source, ID: id, TLP: notice.TLP(rapid.IntRange(0, int(s.TLP)).Draw(t, "origin tlp"))}
	}
	raw, err := notice.Encode(n)
	if err != nil {
		t.Fatal(err)
	}
	s.ID = crypto.NewItemID(s.Author, crypto.LeafHash(raw))
	return s
}

// TestRoundTrip writes what was drawn and reads it again, for each type.
func TestRoundTrip(t *testing.T) {
	for _, typ := range notice.Types() {
		t.Run(typ.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				all := []intel.Stated{stated(t, typ, 1), stated(t, typ, 2), stated(t, typ, 3)}
				text := write(t, all...)
				if again := write(t, all...); !bytes.Equal(text, again) {
					t.Fatal("the same notices give other bytes")
				}
				found := read(t, text)
				for _, s := range all {
					at := slices.IndexFunc(found, func(f intel.Found) bool { return f.Notice != nil && same(s, f) })
					if at < 0 {
						t.Fatalf("not found again: %+v\n%s", show(s.Notice), text)
					}
					found = slices.Delete(found, at, at+1)
				}
				if len(found) > 0 {
					t.Fatalf("also found: %+v %+v", show(found[0].Notice), found[0])
				}
			})
		})
	}
}

// same reports whether what was found is what was stated, but for what an import
// adds: who told us, if it was nobody else's before.
func same(s intel.Stated, f intel.Found) bool {
	want, got := *s.Notice, *f.Notice
	want.Salt, want.Created = got.Salt, got.Created
	if want.Origin == nil {
		want.Origin = &notice.Origin{Source: "stix:St Anna", ID: got.Origin.ID, TLP: s.TLP}
	}
	return f.Item != nil && *f.Item == s.ID && show(&want) == show(&got) && f.TLP == s.TLP && f.Withdrawn == s.Retracted
}

func show(n *notice.Notice) string {
	if n == nil {
		return "nothing"
	}
	text, err := json.Marshal(n)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// TestWrite compares a bundle of every kind of notice with the one in testdata.
func TestWrite(t *testing.T) {
	text := write(t, everyKind(t)...)
	const path = "testdata/bundle.json"
	if *update {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("got:\n%s\nwant:\n%s", text, want)
	}
	got := ""
	for _, f := range read(t, text) {
		kind := "refused " + f.Reason
		if f.Notice != nil {
			kind = fmt.Sprintf("%s %s", f.Notice.Kind, f.Notice.Indicator)
		}
		got += fmt.Sprintf("%s %v\n", kind, f.Withdrawn)
	}
	if strings.Count(got, "true") != 1 || strings.Count(got, "dispute") != 2 || strings.Contains(got, "refused") {
		t.Errorf("read again:\n%s", got)
	}
	if empty := write(t); string(empty[:16]) != `{"type":"bundle"` || strings.Contains(string(empty), "objects") || !json.Valid(empty) {
		t.Errorf("an empty bundle is %s", empty)
	}
}

// everyKind is one notice of each kind and type, with all fields.
func everyKind(t *testing.T) (all []intel.Stated) {
	author := crypto.MemberID{7}
	seen := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMilli()
	for i, typ := range notice.Types() {
		value := map[notice.Type]string{
			notice.TypeIPv4: "198.51.100.7", notice.TypeIPv6: "2001:db8::7", notice.TypeCIDR: "198.51.100.0/24", notice.TypeDomain: "evil.example",
			notice.TypeURL: "http://evil.example/it's", notice.TypeEmail: "a@evil.example", notice.TypeMD5: strings.Repeat("ab", 16),
			notice.TypeSHA1: strings.Repeat("ab", 20), notice.TypeSHA256: strings.Repeat("ab", 32), notice.TypeSHA512: strings.Repeat("ab", 64),
			notice.TypeJA3: strings.Repeat("cd", 16), notice.TypeJA4: "t13d1516h2_8daaf6152771_b186095e22b6", notice.TypeCertSHA256: strings.Repeat("cd", 32),
			notice.TypeASN: "AS64500", notice.TypeFilename: `c:\windows\evil.exe`, notice.TypeMutex: `Global\x`,
			notice.TypeRegistryKey: `HKEY_LOCAL_MACHINE\software\evil`, notice.TypeBTC: "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
		}[typ]
		s := intel.Stated{
			ID: crypto.ItemID{byte(i + 1)}, TLP: notice.TLP(i % 4), Author: author, AuthorName: "St Anna",
			Notice: &notice.Notice{Kind: notice.KindIndicator, Created: seen, Indicator: &notice.Indicator{Type: typ, Value: value}, ValidUntil: seen + 1},
		}
		switch i % 3 {
		case 1:
			s.Notice.Kind, s.Notice.ValidUntil = notice.KindSighting, 0
			s.Notice.FirstSeen, s.Notice.LastSeen, s.Notice.Count = seen, seen+1000, 5
			s.Notice.Context = &notice.Context{Family: "QakBot", Tool: "Cobalt Strike", Technique: "T1059.001", CVE: "CVE-2021-44228"}
		case 2:
			s.Notice.Origin = &notice.Origin{Source: "misp:ESET", ID: "x/y", TLP: s.TLP}
			s.Notice.FirstSeen = seen - 1000
		}
		all = append(all, s)
	}
	all[0].Retracted = true
	target := all[1].ID
	value := *all[3].Notice.Indicator
	dispute := func(id byte, n notice.Notice, k notice.Kind) intel.Stated {
		n.Kind, n.Created, n.Reason = notice.KindDispute, seen, "our own proxy"
		return intel.Stated{ID: crypto.ItemID{id}, TLP: notice.TLPAmber, Author: author, AuthorName: "St Anna", RefKind: k, Notice: &n}
	}
	advice := func(id byte, a notice.Advisory) intel.Stated {
		return intel.Stated{ID: crypto.ItemID{id}, TLP: notice.TLPGreen, Author: author, AuthorName: "St Anna",
			Notice: &notice.Notice{Kind: notice.KindAdvisory, Created: seen, Advisory: &a}}
	}
	full := notice.Advisory{Type: notice.AdviceHunt, Title: "NetScaler: <b>sessions</b> survive", Text: "End them.\n\nThen patch.", Suppliers: []string{"Citrix"},
		Products: []string{"cpe:2.3:a:citrix:netscaler:*:*:*:*:*:*:*:*"}, CVEs: []string{"CVE-2023-4966"}, Due: seen + 1000,
		Documents: []notice.Document{{SHA256: [32]byte{1}, Chunks: [32]byte{2}, Size: 7, Name: "plan.pdf", Media: "application/pdf"}}}
	playbook := full
	playbook.Type = notice.AdvicePlaybook
	all = append(all, advice(110, full), advice(111, playbook), advice(112, notice.Advisory{Type: notice.AdviceGuidance, Title: "Patch"}))
	return append(all, dispute(100, notice.Notice{Ref: &target}, notice.KindSighting), dispute(101, notice.Notice{Indicator: &value}, 0),
		dispute(102, notice.Notice{Ref: &target}, 0),
		intel.Stated{ID: crypto.ItemID{103}, Author: author, Notice: &notice.Notice{Kind: notice.KindRetraction, Created: seen, Ref: &target}})
}

// TestSchemas validates what is written against the JSON schemas that OASIS
// publishes for STIX 2.1: each object by its type; the bundle as a whole, which
// takes much longer, where every kind of object is in it.
func TestSchemas(t *testing.T) {
	dir := filepath.Join(samples(t), "stix2.1-schemas", "schemas")
	valid := schemas(t, dir)
	valid(t, write(t, everyKind(t)...), true)
	rapid.Check(t, func(r *rapid.T) {
		var all []intel.Stated
		for salt := range byte(2) {
			all = append(all, stated(r, rapid.SampledFrom(notice.Types()).Draw(r, "type"), salt))
		}
		valid(r, write(r, all...), false)
	})
	valid(t, write(t), true)
	for pattern, reader := range map[string]func(io.Reader, func(intel.Found) error) error{
		"stix/*.json": readSTIX, "stix/examples/*.json": readSTIX,
		"misp-events/*.json": func(r io.Reader, yield func(intel.Found) error) error {
			return misp.Read(r, misp.Options{All: true}, yield)
		},
		"lists/*": func(r io.Reader, yield func(intel.Found) error) error { return text.Read(r, text.Options{}, yield) },
	} {
		paths, err := filepath.Glob(filepath.Join(dir, "..", "..", filepath.FromSlash(pattern)))
		if err != nil || len(paths) == 0 {
			t.Fatal(pattern, err)
		}
		for _, path := range paths {
			valid(t, write(t, sample(t, path, reader)...), false)
		}
	}
}

func readSTIX(r io.Reader, yield func(intel.Found) error) error {
	return stix.Read(r, stix.Options{Indicator: notice.Options{AllowSpecial: true}, Observables: true}, yield)
}

// sample reads a real file, as if it had been stored.
func sample(t *testing.T, path string, reader func(io.Reader, func(intel.Found) error) error) (all []intel.Stated) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = reader(f, func(f intel.Found) error {
		if f.Notice != nil {
			f.Notice.Created = 1_780_000_000_000
			i := len(all)
			all = append(all, intel.Stated{ID: crypto.ItemID{byte(i), byte(i >> 8)}, Notice: f.Notice, TLP: f.TLP, AuthorName: "St Anna"})
		}
		return nil
	})
	if err != nil {
		t.Fatal(path, err)
	}
	t.Logf("%s comes out as %d valid indicators", filepath.Base(path), len(all))
	return all
}

// unlisted are types of STIX 2.1 that the published bundle.json does not list. It
// takes them for custom objects, of which it demands that they match just one of
// core.json and cyber-observable-core.json; most match both. They are checked by
// their own schemas alone.
var unlisted = []string{"opinion", "note", "extension-definition"}

// schemas compiles the schemas, whose references are resolved among the files of
// dir. It returns what validates a bundle.
func schemas(t *testing.T, dir string) func(t failer, text []byte, whole bool) {
	compiler := jsonschema.NewCompiler()
	ids := map[string]string{} // of the schema, by its title, which is the object's type
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".json" {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		doc, err := jsonschema.UnmarshalJSON(f)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		id, _ := doc.(map[string]any)["$id"].(string)
		ids[strings.TrimSuffix(filepath.Base(path), ".json")] = id
		return compiler.AddResource(id, doc)
	})
	if err != nil {
		t.Fatal(err)
	}
	compiled := map[string]*jsonschema.Schema{}
	for name, id := range ids {
		if compiled[name], err = compiler.Compile(id); err != nil {
			t.Fatal(name, err)
		}
	}
	return func(t failer, text []byte, whole bool) {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		bundle := doc.(map[string]any)
		objects, _ := bundle["objects"].([]any)
		var listed []any
		for _, o := range objects {
			kind, _ := o.(map[string]any)["type"].(string)
			if compiled[kind] == nil {
				t.Fatal("no schema for the type", kind)
			}
			if err := compiled[kind].Validate(o); err != nil {
				t.Fatal(kind, err)
			}
			if !slices.Contains(unlisted, kind) {
				listed = append(listed, o)
			}
		}
		if bundle["objects"] = listed; len(listed) == 0 {
			delete(bundle, "objects")
		}
		if !whole {
			return
		}
		if err := compiled["bundle"].Validate(doc); err != nil {
			t.Fatal("bundle", err)
		}
	}
}
