package warninglist_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/verdict/warninglist"
)

func value(t testing.TB, s string) notice.Indicator {
	t.Helper()
	i, err := notice.Detect(s, notice.Options{AllowSpecial: true})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// load reads lists that have nothing wrong.
func load(t testing.TB, dir fs.FS) *warninglist.Set {
	t.Helper()
	s, problems, err := warninglist.Load(dir)
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	return s
}

// TestMatch is what each type of list matches, over fixtures in MISP's format.
func TestMatch(t *testing.T) {
	s := load(t, os.DirFS("testdata/lists"))
	for _, c := range []struct{ asked, want string }{
		// strings: equal, in any case
		{"d41d8cd98f00b204e9800998ecf8427e", "Empty files: d41d8cd98f00b204e9800998ecf8427e"},
		{"DA39A3EE5E6B4B0D3255BFEF95601890AFD80709", "Empty files: da39a3ee5e6b4b0d3255bfef95601890afd80709"},
		{"d41d8cd98f00b204e9800998ecf8427f", ""},
		{"office.example", "Office: office.example"},
		{"www.office.example", ""},
		// host names: and all below, and what holds one
		{"popular.example", "Top sites: popular.example"},
		{"a.b.popular.example", "Top sites: popular.example"},
		{"notpopular.example", ""},
		{"http://a.popular.example:8080/x", "Top sites: popular.example"},
		{"a@popular.example", ""}, // the list is not for e-mail addresses
		{"a@sub.throwaway.example", "Throwaway mail: throwaway.example"},
		{"throwaway.example", ""}, // and this one for nothing else
		{"cdn.deep.example", "Top sites: cdn.deep.example"},
		{"deep.example", "Top sites: deep.example holds"},
		{"other.deep.example", ""},
		{"http://deep.example/x", ""}, // a URL holds nothing
		{"xn--mnchen-3ya.example", "Top sites: xn--mnchen-3ya.example"},
		// networks
		{"8.8.8.8", "Resolvers: 8.8.8.8/32"},
		{"8.8.8.9", ""},
		{"8.8.8.0/24", "Resolvers: 8.8.8.8/32 holds"},
		{"198.18.5.5", "Networks: 198.18.0.0/15"},
		{"198.18.5.0/24", "Networks: 198.18.0.0/15"},
		{"2001:db8:ffff::7", "Networks: 2001:db8::/32"},
		{"http://8.8.8.8/x", ""}, // the list is not for URLs
		// substrings, of what the list speaks of
		{"app.analysis.example", "Analysis: analysis.example"},
		{"http://x.example/?to=ANALYSIS.example", "Analysis: analysis.example"},
		{"http://analysis.example/x", "Analysis: analysis.example"},
		{"sandbox.exan.example", ""},
		{"sandbox.examz.test", "Analysis: sandbox.exam"}, // also where a longer one sorts between
		{"a@analysis.example", ""},
		// regular expressions
		{"1.113.0.203.in-addr.arpa", `Reverse: (?i)^[0-9.]+\.in-addr\.arpa$`},
		{"tracker-77.example", "Reverse: ^tracker-[0-9]+"},
		{"a-tracker-77.example", ""},
	} {
		var got []string
		for _, m := range s.Match(value(t, c.asked)) {
			text := m.List + ": " + m.Entry
			if m.Holds {
				text += " holds"
			}
			got = append(got, text)
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s matches %q, want %q", c.asked, got, c.want)
		}
	}
	if got := (*warninglist.Set)(nil).Match(value(t, "8.8.8.8")); got != nil {
		t.Errorf("no lists match %v", got)
	}
	var infos []string
	for _, l := range s.Lists() {
		infos = append(infos, fmt.Sprintf("%s %s %s %s %d", l.File, l.Name, l.Type, l.Version, l.Entries))
	}
	want := []string{
		"analysis.json Analysis substring 5 3", "empty-hashes/list.json Empty files string 3 3", "mail.json Throwaway mail hostname  1",
		"networks.json Networks cidr 4 3", "office.json Office string 20260811 1", "resolvers.json Resolvers cidr 1 1",
		"reverse.json Reverse regex 1 2", "top/list.json Top sites hostname 2 3",
	}
	if !slices.Equal(infos, want) {
		t.Errorf("lists\n%s\nwant\n%s", strings.Join(infos, "\n"), strings.Join(want, "\n"))
	}
}

// What is in many lists is said of up to 16, by name.
func TestManyMatches(t *testing.T) {
	dir := fstest.MapFS{}
	for n := range 30 {
		dir[fmt.Sprintf("%d.json", n)] = file(`{"name": "list %02d", "list": ["evil.example"]}`, 29-n)
	}
	found := load(t, dir).Match(value(t, "evil.example"))
	if len(found) != 16 || found[0].List != "list 00" || found[15].List != "list 15" {
		t.Errorf("%d: %v", len(found), found)
	}
}

func file(format string, args ...any) *fstest.MapFile {
	return &fstest.MapFile{Data: fmt.Appendf(nil, format, args...)}
}

// What is broken is named and left out, alone, and the rest counts.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		name, text, problem string
		entries             int // of the list that is taken all the same
	}{
		{"no JSON", `not JSON`, "is no JSON here", -1},
		{"half a file", `{"name": "x", "type": "string", "list": ["evil.example", "b.exa`, "ends in the middle", -1},
		{"two of them", `{"name": "x", "list": ["evil.example"]}{}`, "something follows", -1},
		{"nothing", ``, "ends in the middle", -1},
		{"an array", `["evil.example"]`, "want one of {", -1},
		{"no list", `{"name": "x", "type": "string"}`, "it has no list", -1},
		{"another type", `{"name": "x", "type": "glob", "list": ["evil.example"]}`, "its type is glob", -1},
		{"nested without end", `{"name": ` + strings.Repeat("[", 100) + `}`, "nested deeper", -1},
		{"a network that is none", `{"type": "cidr", "list": ["192.0.2.0/24", "192.0.2.0/33", "x"]}`, "2 of 3 entries are left out, the first is 192.0.2.0/33: it is no address or network", 1},
		{"everything", `{"type": "cidr", "list": ["0.0.0.0/0", "::/0", "::ffff:0:0/96"]}`, "3 of 3 entries are left out, the first is 0.0.0.0/0: it is the whole Internet", 0},
		{"a name that is none", `{"type": "hostname", "list": ["evil.example", "a b", "."]}`, "2 of 3 entries", 1},
		{"empty entries", `{"list": ["", "evil.example", null]}`, "2 of 3 entries are left out, the first is \"\": it is empty", 1},
		{"a short substring", `{"type": "substring", "list": ["ru", "evil"]}`, "the first is ru: less than 3 bytes are in nearly everything", 1},
		{"not RE2: lookahead", `{"type": "regex", "list": ["/(?!a)b/", "ok"]}`, "1 of 2 entries are left out, the first is /(?!a)b/: error parsing regexp", 1},
		{"not RE2: backreference", `{"type": "regex", "list": ["(a)\\1"]}`, "error parsing regexp", 0},
		{"no expression", `{"type": "regex", "list": ["/a[/"]}`, "error parsing regexp", 0},
		{"a flag that is unknown", `{"type": "regex", "list": ["/a b/x"]}`, "the flags x are not known", 0},
		{"matches everything", `{"type": "regex", "list": ["/.*/"]}`, "it matches everything", 0},
		{"a big expression", `{"type": "regex", "list": ["(a{30}b{30}){30}"]}`, "steps, more than 1000", 0},
		{"a huge expression", `{"type": "regex", "list": ["((a{100}){100}){100}"]}`, "error parsing regexp", 0},
		{"a long expression", `{"type": "regex", "list": ["` + strings.Repeat("a", 1001) + `"]}`, "it has more than 1000 bytes", 0},
		{"a long entry", `{"list": ["evil.example", "` + strings.Repeat("a", 1<<20) + `"]}`, "it is too long", 1},
		{"an entry with control characters", `{"list": ["evil.example"], "type": "cidr\u001b[2J"}`, `its type is "cidr\x1b[2J"`, -1},
	} {
		s, problems, err := warninglist.Load(fstest.MapFS{"bad.json": file("%s", c.text), "good.json": file(`{"name": "good", "list": ["good.example"]}`)})
		if err != nil || len(problems) != 1 {
			t.Errorf("%s: %v %v, want one problem", c.name, problems, err)
			continue
		}
		if text := problems[0].Error(); !strings.HasPrefix(text, "bad.json: ") || !strings.Contains(text, c.problem) || problems[0].Fix == "" || len(text) > 500 {
			t.Errorf("%s: %s, want %s", c.name, text, c.problem)
		}
		entries := -1
		for _, l := range s.Lists() {
			if l.File == "bad.json" {
				entries = l.Entries
			}
		}
		if entries != c.entries {
			t.Errorf("%s: %d entries, want %d", c.name, entries, c.entries)
		}
		if c.entries < 0 && len(s.Match(value(t, "evil.example"))) > 0 {
			t.Errorf("%s: something of it is left", c.name)
		}
		if len(s.Match(value(t, "good.example"))) != 1 {
			t.Errorf("%s: the good list is lost", c.name)
		}
	}
}

// What MISP takes is taken: see its app/Model/Warninglist.php.
func TestVariants(t *testing.T) {
	for name, text := range map[string]string{
		"no type is string, no attributes are all": `{"name": "x", "list": ["evil.example"]}`,
		"an array of types":                        `{"name": "x", "type": ["hostname"], "list": ["evil.example"]}`,
		"entries with comments":                    `{"name": "x", "list": {"evil.example": "why", "b.example": null}}`,
		"attributes before, between and after":     `{"matching_attributes": ["domain"], "list": ["evil.example"], "type": "string", "version": "7"}`,
		"a byte order mark":                        "\xef\xbb\xbf" + `{"name": "x", "list": ["evil.example"]}`,
		"a name with an escape":                    `{"name": "x\u001b[2J", "list": ["evil.example"]}`,
		"a wildcard":                               `{"name": "x", "type": "hostname", "list": ["*.evil.example."]}`,
		"a part of a pair":                         `{"name": "x", "type": "string", "matching_attributes": ["domain|ip"], "list": ["evil.example"]}`,
	} {
		s := load(t, fstest.MapFS{"a/b/list.json": file("%s", text)})
		found := s.Match(value(t, "evil.example"))
		if len(found) != 1 || !notice.Printable(found[0].List) {
			t.Errorf("%s: %v", name, found)
		}
	}
	s := load(t, fstest.MapFS{"phones.json": file(`{"name": "x", "matching_attributes": ["phone-number"], "list": ["evil.example"]}`)})
	if len(s.Lists()) != 0 || len(s.Match(value(t, "evil.example"))) != 0 {
		t.Error("a list of nothing that is an indicator here is kept")
	}
}

// Only plain files named *.json are read: a pipe would never end.
func TestOtherFiles(t *testing.T) {
	bad := &fstest.MapFile{Data: []byte("x"), Mode: fs.ModeNamedPipe}
	s, problems, err := warninglist.Load(fstest.MapFS{"pipe.json": bad, "README.md": file("x"), ".git/x.json": file("x"), "a.json": file(`{"list": ["evil.example"]}`)})
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Error(), "pipe.json: it is no plain file") || len(s.Lists()) != 1 {
		t.Errorf("%v %v", problems, err)
	}
	if _, _, err := warninglist.Load(os.DirFS("testdata/absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestLimits(t *testing.T) {
	dir := fstest.MapFS{}
	for n := range 1_005 {
		dir[fmt.Sprintf("%04d.json", n)] = file(`{"list": ["evil.example"]}`)
	}
	s, problems, err := warninglist.Load(dir)
	if err != nil || len(s.Lists()) != 1_000 || len(problems) != 1 || !strings.Contains(problems[0].Error(), "more than 1000 files") {
		t.Errorf("%d lists, %v %v", len(s.Lists()), problems, err)
	}
	clear(dir)
	for n := range 200 {
		dir[fmt.Sprintf("%03d.json", n)] = file(`{`)
	}
	if _, problems, _ := warninglist.Load(dir); len(problems) != 101 {
		t.Errorf("%d problems", len(problems))
	}
	// What is beyond the entries of all lists is left out as a whole file, and names
	// above host names count, since they take the same room.
	many := func(from, n int) *fstest.MapFile {
		return file(`{"name": "n", "type": "hostname", "list": [%s]}`, strings.Join(names(from, n), ", "))
	}
	s, problems, err = warninglist.LoadUpTo(fstest.MapFS{"a.json": many(0, 1_500), "b.json": many(1_500, 600), "c.json": many(3_000, 500)}, 2_000)
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Error(), "b.json: with it there are more than 2000 entries") || len(s.Lists()) != 2 {
		t.Errorf("%v %v %v", s.Lists(), problems, err)
	}
	for n, want := range map[int]int{0: 1, 1_499: 1, 1_500: 0, 3_499: 1} {
		if got := s.Match(value(t, name(n))); len(got) != want {
			t.Errorf("%s: %v", name(n), got)
		}
	}
}

func TestParentsCount(t *testing.T) {
	deep := file(`{"name": "n", "type": "hostname", "list": ["%s1.example", "%s2.example"]}`, strings.Repeat("a.", 50), strings.Repeat("b.", 50))
	if s, problems, err := warninglist.LoadUpTo(fstest.MapFS{"a.json": deep}, 50); err != nil || len(problems) != 1 || len(s.Lists()) != 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func name(n int) string { return fmt.Sprintf("site-%d.example", n) }

func names(from, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = `"` + name(from+i) + `"`
	}
	return out
}

// TestAgainstOracle compares each way to search with one that goes over all entries.
func TestAgainstOracle(t *testing.T) {
	label := rapid.SampledFrom([]string{"a", "b", "ab", "ba", "evil", "aab"})
	host := rapid.Map(rapid.SliceOfN(label, 1, 4), func(l []string) string { return strings.Join(append(l, "example"), ".") })
	network := rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := netip.AddrFrom4([4]byte{198, 51, byte(rapid.IntRange(0, 3).Draw(t, "b")), byte(rapid.IntRange(0, 255).Draw(t, "c"))})
		if rapid.Bool().Draw(t, "ipv6") {
			a = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(rapid.IntRange(0, 3).Draw(t, "b")), 15: byte(rapid.IntRange(0, 255).Draw(t, "c"))})
		}
		p, _ := a.Prefix(rapid.IntRange(a.BitLen()-14, a.BitLen()).Draw(t, "bits"))
		return p
	})
	rapid.Check(t, func(rt *rapid.T) {
		hosts := rapid.SliceOfN(host, 0, 6).Draw(rt, "hosts")
		parts := rapid.SliceOfN(rapid.StringMatching(`[ab]{3,5}|[abel.]{3,6}`), 0, 9).Draw(rt, "substrings")
		nets := rapid.SliceOfN(network, 0, 6).Draw(rt, "networks")
		list := func(kind string, entries any) *fstest.MapFile {
			return file(`{"name": %q, "type": %q, "list": %s}`, kind, kind, strings.ReplaceAll(fmt.Sprintf("%q", entries), `" "`, `", "`))
		}
		var prefixes []string
		for _, p := range nets {
			prefixes = append(prefixes, p.String())
		}
		s := load(t, fstest.MapFS{"a.json": list("hostname", hosts), "b.json": list("substring", parts), "c.json": list("cidr", prefixes), "d.json": list("string", hosts)})

		v := value(t, host.Draw(rt, "asked"))
		in := func(entry string) bool { return v.Value == entry || strings.HasSuffix(v.Value, "."+entry) }
		holds := func(entry string) bool { return strings.HasSuffix(entry, "."+v.Value) && v.Value != "example" }
		check(rt, s, v, "hostname", slices.ContainsFunc(hosts, in), slices.ContainsFunc(hosts, holds))
		check(rt, s, v, "string", slices.Contains(hosts, v.Value), false)
		check(rt, s, v, "substring", slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(v.Value, p) }), false)

		asked := network.Draw(rt, "asked network")
		v = value(t, asked.String())
		around := func(p netip.Prefix) bool { return p.Bits() <= asked.Bits() && p.Contains(asked.Addr()) }
		inside := func(p netip.Prefix) bool { return asked.Bits() < p.Bits() && asked.Contains(p.Addr()) }
		check(rt, s, v, "cidr", slices.ContainsFunc(nets, around), slices.ContainsFunc(nets, inside))
	})
}

// check asks for a match of one list, which is one where the value is in an entry or
// else holds one.
func check(t *rapid.T, s *warninglist.Set, v notice.Indicator, list string, in, holds bool) {
	t.Helper()
	i := slices.IndexFunc(s.Match(v), func(m warninglist.Match) bool { return m.List == list })
	if i >= 0 != (in || holds) {
		t.Fatalf("%s matches the list of %s: %v, want %v", v, list, i >= 0, in || holds)
	}
	if i >= 0 && s.Match(v)[i].Holds == in {
		t.Fatalf("%s of %s: in it %v, but %+v", v, list, in, s.Match(v)[i])
	}
}

// FuzzLoad: whatever a file holds, nothing panics, and what is taken can be searched.
func FuzzLoad(f *testing.F) {
	for _, kind := range []string{"string", "hostname", "cidr", "substring", "regex"} {
		f.Add([]byte(`{"name": "x", "type": "`+kind+`", "matching_attributes": ["domain", "ip-src"], "list": ["evil.example", "192.0.2.0/24", "/a+/i", "b*", ""]}`), "evil.example")
	}
	f.Add([]byte(`{"list": {"a": "b"}, "type": ["cidr"]}`), "198.51.100.0/24")
	f.Fuzz(func(t *testing.T, text []byte, asked string) {
		s, problems, err := warninglist.Load(fstest.MapFS{"x.json": {Data: text}})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			if !notice.Printable(p.Error()) {
				t.Errorf("%q", p.Error())
			}
		}
		i, err := notice.Detect(asked, notice.Options{AllowSpecial: true})
		if err != nil {
			return
		}
		for _, m := range s.Match(i) {
			if m.List == "" || m.Entry == "" {
				t.Errorf("%+v", m)
			}
		}
	})
}

// big are 1,000,000 entries of one type, in the shape of real ones.
func big(kind string) fs.FS {
	const n = 1_000_000
	random := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	fmt.Fprintf(&b, `{"name": "big", "type": %q, "list": [`, kind)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		switch kind {
		case "string":
			fmt.Fprintf(&b, `"%016x%016x"`, random.Uint64(), random.Uint64())
		case "ipv4":
			fmt.Fprintf(&b, `"%d.%d.%d.%d"`, 1+random.IntN(223), random.IntN(256), random.IntN(256), random.IntN(256))
		case "ipv6":
			fmt.Fprintf(&b, `"2%03x:%x:%x::%x"`, random.IntN(4096), random.IntN(65536), random.IntN(65536), random.IntN(65536))
		default:
			fmt.Fprintf(&b, `"site-%x.%s"`, random.Uint32(), [...]string{"example.com", "example", "com", "co.uk"}[i%4])
		}
	}
	b.WriteString(`]}`)
	text := b.String()
	if kind == "ipv4" || kind == "ipv6" {
		text = strings.Replace(text, kind, "cidr", 1)
	}
	return fstest.MapFS{"big.json": {Data: []byte(text)}}
}

var kinds = []string{"string", "hostname", "ipv4", "ipv6", "substring"}

// BenchmarkMatch looks values up that are in no list, among 1,000,000 entries.
func BenchmarkMatch(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind, func(b *testing.B) {
			s := load(b, big(kind))
			asked := []notice.Indicator{value(b, "www.quite-another-site.example.com"), value(b, "7.7.7.7"), value(b, "2001:db8::7"), value(b, strings.Repeat("ab", 16))}
			b.ReportAllocs()
			b.ResetTimer()
			for n := range b.N {
				s.Match(asked[n%len(asked)])
			}
		})
	}
}

// BenchmarkLoad reads 1,000,000 entries, and says what the set takes of the heap.
func BenchmarkLoad(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind, func(b *testing.B) {
			dir := big(kind)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			b.ResetTimer()
			var s *warninglist.Set
			for range b.N {
				s = load(b, dir)
			}
			b.StopTimer()
			runtime.GC()
			runtime.ReadMemStats(&after)
			runtime.KeepAlive(dir)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
			runtime.KeepAlive(s)
		})
	}
}
