package text_test

import (
	"bytes"
	"errors"
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
	"github.com/watchward/watchward/node/intel/text"
	"github.com/watchward/watchward/node/notice"
)

// read returns what is found as "line 1 ipv4 198.51.100.7" and "line 2 REFUSED reason".
func read(t *testing.T, r io.Reader) []string {
	t.Helper()
	var out []string
	err := text.Read(r, text.Options{}, func(f intel.Found) error {
		if f.Skipped {
			out = append(out, f.Place+" SKIPPED "+f.Reason)
			return nil
		}
		if f.Reason != "" {
			out = append(out, f.Place+" REFUSED "+f.Reason)
			return nil
		}
		inteltest.MustEncode(t, f.Notice)
		out = append(out, f.Place+" "+f.Notice.Indicator.String())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSamples(t *testing.T) {
	dir := os.Getenv("WATCHWARD_SAMPLES")
	if dir == "" {
		t.Skip("WATCHWARD_SAMPLES is not set: the real lists are NOT tested")
	}
	// Counted by hand and with grep -c in the files.
	for file, want := range map[string]map[string]int{
		"cosmicbeetle-README.adoc":    {"domain": 12, "email": 9, "ipv4": 13, "sha1": 21, "url": 3, "SKIPPED": 2},
		"cosmicbeetle-samples.sha256": {"sha256": 21},
		"embargo-README.adoc":         {"sha1": 11, "SKIPPED": 1},
		"embargo-samples.md5":         {"md5": 9},
		"embargo-samples.sha256":      {"sha256": 9},
	} {
		raw, err := os.ReadFile(filepath.Join(dir, "lists", file))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := intel.Sniff(raw); got != intel.FormatText {
			t.Errorf("%s: Sniff says %s", file, got)
		}
		got := map[string]int{}
		for _, line := range read(t, bytes.NewReader(raw)) {
			got[strings.Fields(line)[2]]++
		}
		for kind := range want {
			if got[kind] != want[kind] || len(got) != len(want) {
				t.Errorf("%s: %v, want %v", file, got, want)
				break
			}
		}
	}
}

const sha256 = "d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592"

func TestLists(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"plain": {"evil.example\n198.51.100.7\r\n\n2001:DB8::7\nhttp://evil.example/x\nanna@evil.example\n198.51.100.0/24",
			"line 1 domain evil.example|line 2 ipv4 198.51.100.7|line 4 ipv6 2001:db8::7|line 5 url http://evil.example/x|line 6 email anna@evil.example|line 7 cidr 198.51.100.0/24"},
		"byte order mark": {"\xef\xbb\xbfevil.example", "line 1 domain evil.example"},
		"comments": {"# a list\n; of\n// things\nevil.example # bad\nworse.example\t# too\nhttp://evil.example/a // seen",
			"line 4 domain evil.example|line 5 domain worse.example|line 6 url http://evil.example/a"},
		"fields": {"evil.example,seen in May\nworse.example;x\n" + sha256 + "  evil.exe\n\"http://evil.example/a,b\",\"x, y\"\nhttp://evil.example/a,emotet\nhttp://evil.example/a,b.php?x=1\n198.51.100.7:443,c2",
			"line 1 domain evil.example|line 2 domain worse.example|line 3 sha256 " + sha256 + "|line 4 url http://evil.example/a,b|line 5 url http://evil.example/a|line 6 url http://evil.example/a,b.php?x=1|line 7 ipv4 198.51.100.7"},
		"types": {"type,value\nmutex,Global\\Evil, the mutex\nja3: " + sha256[:32] + "\nsha256 " + sha256 + "\nipv4,evil.example\nasn,64496",
			"line 1 REFUSED *|line 2 mutex Global\\Evil, the mutex|line 3 ja3 " + sha256[:32] + "|line 4 sha256 " + sha256 + "|line 5 REFUSED evil.example is not an IP address*|line 6 asn AS64496"},
		"hosts file": {"127.0.0.1 evil.example\n0.0.0.0 worse.example # ads\n::1 third.example", "line 1 domain evil.example|line 2 domain worse.example|line 3 domain third.example"},
		"files":      {"evil.exe\nInvoice 2024 pdf.scr\nC:\\Program Files\\Evil, Inc\\a.exe\nC:\\Users\\anna\\x.dll", `line 1 filename evil.exe|line 2 filename invoice 2024 pdf.scr|line 3 filename c:\program files\evil, inc\a.exe|line 4 filename %USERPROFILE%\x.dll`},
		"markup":     {"- evil.example\n* `worse.example`\n`+u.evil[.]example+`\n\"quoted.example\"", "line 1 domain evil.example|line 2 domain worse.example|line 3 domain u.evil.example|line 4 domain quoted.example"},
		"bad lines": {"evil.example\n192.168.1.4\nnonsense\nev\xffil.example\nev\u202eil.example\nco.uk\ngood.example",
			"line 1 domain evil.example|line 2 REFUSED 192.168.1.4 is a private address: pass --allow-special*|line 3 REFUSED nonsense has the look of no type*|line 4 REFUSED the line is not valid UTF-8*|line 5 REFUSED *invisible*|line 6 REFUSED co.uk is a public suffix*|line 7 domain good.example"},
		"a sentence in a list": {"a.example\nb.example\nc.example\n4. see hxxp://d[.]example now\nand nothing here", "line 1 domain a.example|line 2 domain b.example|line 3 domain c.example|line 4 url http://d.example/|line 5 REFUSED *"},
		"empty":                {"", ""},
		"blank":                {"\n\n \n", ""},
	} {
		check(t, name, read(t, strings.NewReader(c.file)), c.want)
		check(t, name+", byte by byte", read(t, iotest.OneByteReader(strings.NewReader(c.file))), c.want)
	}
}

// check compares with lines joined by "|", where * stands for anything.
func check(t *testing.T, name string, got []string, want string) {
	t.Helper()
	lines := strings.Split(want, "|")
	if want == "" {
		lines = nil
	}
	same := slices.EqualFunc(got, lines, func(g, w string) bool {
		for i, part := range strings.Split(w, "*") {
			at := strings.Index(g, part)
			if at < 0 || i == 0 && at != 0 {
				return false
			}
			g = g[at+len(part):]
		}
		return g == "" || strings.HasSuffix(w, "*")
	})
	if !same {
		t.Errorf("%s:\n got %q\nwant %q", name, got, lines)
	}
}

func TestProse(t *testing.T) {
	const filler = "This is a report about an attack, e.g. on node.js and README.adoc files.\nIt has several lines, so that nobody takes it for a list.\nMore of it at the end.\n"
	for name, c := range map[string]struct{ line, want string }{
		"words":               {"See README.md, e.g. section 1.2.3 of main.py or www.vendor.com and cmd.exe.", ""},
		"defanged":            {"It talks to evil[.]example, (worse(.)example) and hxxps://third[.]example/a_(b).", "line 4 domain evil.example|line 4 domain worse.example|line 4 url https://third.example/a_(b)"},
		"markdown":            {"| `evil[.]example` | **198.51.100.7** | <hxxp://a.example/> | [b[.]example](https://vendor.com/report)", "line 4 domain evil.example|line 4 ipv4 198.51.100.7|line 4 url http://a.example/|line 4 domain b.example|line 4 SKIPPED a link*"},
		"a working link":      {"The report is at https://vendor.com/report today.", "line 4 SKIPPED a link that works*"},
		"a working link only": {"https://vendor.com/report", "line 4 SKIPPED a link that works*"},
		"a name alone":        {"evil.example", "line 4 domain evil.example"},
		"a file alone":        {"praxisbackup.exe", ""},
		"addresses":           {"From 198.51.100.7 and 2001:db8::7 (198.51.100.0/24), not 10.0.0.1.", "line 4 ipv4 198.51.100.7|line 4 ipv6 2001:db8::7|line 4 cidr 198.51.100.0/24|line 4 REFUSED 10.0.0.1 is a private address*"},
		"versions":            {"Fixed in version 1.2.3.4, v1.2.3.5 and Firmware 9.8.7.6; std::string a::b 12:30:45", ""},
		"mail":                {"Ask it@hospital.example, not anna[at]evil[.]example.", "line 4 email anna@evil.example"},
		"hashes":              {"The hash " + sha256 + " and id {46E4D4E6-8B81-84CA-93DA-BB29377B2AC0}.", "line 4 sha256 " + sha256},
		"76 digits":           {"- `91E3BA8FACDA7D4A0738ADE67846CDB58A7E32575531BCA0348EA73F6191882910B72613F8C4`", ""},
		"defanged and bad":    {"It also uses 192.168.1[.]4 and co[.]uk there.", "line 4 REFUSED 192.168.1.4 is a private*|line 4 SKIPPED co.uk is a public suffix*"},
		"entities":            {"evil&#46;example is it, evil&#x2e;two[.]example, hxxp://three[.]example/?a=1&amp;b=2&copy=3 too", "line 4 domain evil.two.example|line 4 url http://three.example/?a=1&b=2&copy=3"},
		"an entity alone":     {"evil&period;example", "line 4 domain evil.example"},
		"Markdown's escapes":  {"| evil\\[.\\]example | `two[dot]example` | three(.)example | hxxps[:]//four[.]example/a\\_b |", "line 4 domain evil.example|line 4 domain two.example|line 4 domain three.example|line 4 url https://four.example/a_b"},
		"a Markdown link":     {"See [the report](hxxps://evil[.]example/x) or [ours](https://vendor.com/a).", "line 4 url https://evil.example/x|line 4 SKIPPED a link that works*"},
		"not defanged":        {"We met [at] noon [.] and reg delete HKLM\\Software\\Evil /f [redacted].", ""},
		"keys and files":      {"Then C:\\Windows\\System32\\cmd.exe starts /bin/sh in AS64496.", ""},
	} {
		check(t, name, read(t, strings.NewReader(filler+c.line+"\n")), c.want)
	}
}

// whole ends a page that was opened.
func whole(page string) string {
	if strings.Contains(page, "<html>") {
		page += "</html>"
	}
	return page
}

// TestHTMLThatBreaksOff: what is missing may have the marking.
func TestHTMLThatBreaksOff(t *testing.T) {
	for page, want := range map[string]string{
		"<html>\n<p>evil[.]example</p>\n":                     "read HTML: line 3: it breaks off, there is no </html>",
		"<p>evil[.]example</p>\n<td cla":                      "read HTML: line 2: it breaks off in the middle of a tag",
		"<html><p>evil[.]example</p>\n</body></htm":           "read HTML: line 2: it breaks off in the middle of a tag",
		"<p>evil[.]example</p>\n<p title=\"TLP:\n":            "read HTML: line 3: it breaks off in the middle of a tag",
		"<p>evil[.]example</p>\n<!-- TLP:\n":                  "read HTML: line 2: it breaks off in a comment that starts here",
		"<html><p>evil[.]example</p></html>\n<p>after it</p>": "",
		"<p>evil[.]example</p>a < b":                          "",
		"<p>evil[.]example</p><!-- x -->":                     "",
	} {
		err := text.Read(strings.NewReader(page), text.Options{}, func(intel.Found) error { return nil })
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%q: %v", page, err)
		}
	}
}

func TestHTML(t *testing.T) {
	for name, c := range map[string]struct{ page, want string }{
		"tags":                   {"<!DOCTYPE html><html><body>\n<p>It talks to <b>evil[.]example</b>,\n<code>hxxps[:]//two[.]example/a</code> and three<span>[.]</span>example.</p>", "line 2 domain evil.example|line 2 url https://two.example/a|line 2 domain three.example"},
		"links":                  {"<html>\n<a href=\"hxxp://evil[.]example/x\">here</a> <a href='https://vendor.com'>vendor.com</a>\n<li><a href=https://vendor.com>news.vendor.com</a></li>", "line 2 url http://evil.example/x"},
		"a working link as text": {"<html><p>Our report: <a href=\"https://vendor.com/r\">https://vendor.com/r</a>", "line 1 SKIPPED a link that works*"},
		"tables":                 {"<table>\n<tr><td>evil.example</td>\n<td>198.51.100.7</td></tr>\n<tr><td>MD5</td><td>d41d8cd98f00b204e9800998ecf8427e</td><td>invoice.exe</td></tr></table>", "line 2 domain evil.example|line 3 ipv4 198.51.100.7|line 4 md5 d41d8cd98f00b204e9800998ecf8427e"},
		"pre":                    {"<body><pre>\nevil.example\n\ntwo.example\n</pre>", "line 2 domain evil.example|line 4 domain two.example"},
		"entities":               {"<html><p>evil&#46;example</p><p>two&period;example</p><p>x&lt;hxxp://three[.]example/&gt;", "line 1 domain evil.example|line 1 domain two.example|line 1 url http://three.example/"},
		"scripts and comments":   {"<html><script>var a = 'hxxp://evil[.]example/'</script><style>x[.]example{}</style><!-- hxxp://no[.]example/ --><p>two[.]example</p>", "line 1 domain two.example"},
		"a menu":                 {"<html><ul><li>Home</li><li>Contact</li><li>node.js</li></ul>", ""},
		"broken":                 {"<html><p>evil[.]example<p>two[.]example</div></b><td>", "line 1 domain evil.example|line 1 domain two.example"},
	} {
		c.page = whole(c.page)
		check(t, name, read(t, strings.NewReader(c.page)), c.want)
		check(t, name+", byte by byte", read(t, iotest.OneByteReader(strings.NewReader(c.page))), c.want)
	}
	found := 0
	err := text.Read(strings.NewReader("<html><title>TLP:AMBER report</title><p>evil[.]example</html>"), text.Options{}, func(f intel.Found) error {
		if found++; f.TLP != notice.TLPAmber {
			t.Errorf("%+v", f)
		}
		return nil
	})
	if err != nil || found != 1 {
		t.Errorf("%d, %v", found, err)
	}
}

// A gigabyte is never held: one text of it ends the reading, one paragraph of
// many pieces is read in parts.
func TestHugeHTML(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := text.Read(io.MultiReader(strings.NewReader("<html><p>"), inteltest.Endless('x', 1<<30)), text.Options{}, func(intel.Found) error { return nil })
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "read HTML: line 1: a piece of text is longer than 1 MiB") || after.TotalAlloc-before.TotalAlloc > 16<<20 {
		t.Errorf("%v, %d bytes", err, after.TotalAlloc-before.TotalAlloc)
	}
	pieces := strings.NewReader("<html><p>" + strings.Repeat("<b>x </b>", 1<<20) + "</html>")
	if err := text.Read(pieces, text.Options{}, func(intel.Found) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestMarking(t *testing.T) {
	tlp := func(file string) []notice.TLP {
		var out []notice.TLP
		err := text.Read(strings.NewReader(file), text.Options{}, func(f intel.Found) error {
			if f.Notice == nil || f.Notice.Origin.TLP != f.TLP || f.Notice.Origin.Source != "text" {
				t.Errorf("%q: %+v", file, f)
			}
			out = append(out, f.TLP)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return out
	}
	for file, want := range map[string]notice.TLP{
		"evil.example":                                          0,
		"# TLP:AMBER\nevil.example":                             notice.TLPAmber,
		"evil.example\n\n** tlp: amber+strict **":               notice.TLPAmberStrict,
		"TLP:GREEN\nevil.example\nTLP:RED\n":                    notice.TLPRed,
		"Classification: TLP:WHITE\nevil.example":               notice.TLPClear,
		"Subject: [TLP:RED] wave 3\n\nhxxps://evil[.]example/":  notice.TLPRed,
		"Subject: TLP:RED strictly confidential\nevil.example":  notice.TLPRed,
		"This mail is TLP-AMBER+STRICT.\nhxxp://evil[.]example": notice.TLPAmberStrict,
		"# TLP:REDISH\nevil.example":                            0,
	} {
		if got := tlp(file); !slices.Equal(got, []notice.TLP{want}) {
			t.Errorf("%q: %v, want %v", file, got, want)
		}
	}
	// Beyond the first 64 KiB a marking holds for what follows.
	long := strings.Repeat("evil.example\n", 10_000) + "TLP:RED\nevil.example\n"
	if got := tlp(long); len(got) != 10_001 || got[9_999] != 0 || got[10_000] != notice.TLPRed {
		t.Errorf("%d found, the last %v", len(got), got[len(got)-1])
	}
}

// TestUnclear: what a file is marked as and nobody understands is told of every
// value, with its place; also where the marking stands below it.
func TestUnclear(t *testing.T) {
	for file, want := range map[string]string{
		"TLP:AMBER\nevil.example":       "AMBER ",
		"TLP:YELLOW\nevil.example":      ` "TLP:YELLOW" (line 1)`,
		"TLP:&nbsp;AMBER\nevil.example": "AMBER ",
		"evil.example  AMBER":           "AMBER ", "evil.example # seen RED": "RED ", "evil.example AMBER+STRICT": "AMBER+STRICT ", "evil.example seen by WHITE": " ", "evil.example red": " ",
		"evil.example\n# TLP:GREEN\n\nTLP: gelb":                                                     `GREEN "TLP: gelb" (line 4)`,
		"evil.example;Domain;Rot":                                                                    ` "Rot" (line 1)`,
		"evil.example;Einstufung":                                                                    ` "Einstufung" (line 1)`,
		"x,y,Gelb\nEs ist evil[.]example, das ist alles":                                             ` "Gelb" (line 1)`,
		"Adresse\tTLP-Stufe\nevil[.]example\tx":                                                      ` "TLP-Stufe" (line 1)`,
		"Red, amber, red wine and evil[.]example.":                                                   " ",
		"**TLP:** ORANGE\n\nIt is evil[.]example, nothing else.":                                     ` "TLP:** ORANGE" (line 1)`,
		"| IOC | TLP |\n|---|---|\n| evil[.]example | RED |":                                         "RED ",
		"<html><table>\n<tr><td>TLP:</td><td>AMBER</td></tr></table><p>evil[.]example":               "AMBER ",
		"<html><p>evil[.]example</p><table><tr><td>TLP</td><td>\nAMBER</td></tr></table>":            "AMBER ",
		"<html><p>evil[.]example</p>\n<td><b>TLP:</b></td>\n<td>YELLOW</td>":                         ` "YELLOW" (line 3)`,
		"<html><p>evil[.]example</p><img src=x alt=\"TLP AMBER\">":                                   "AMBER ",
		"<html><meta name=x content='TLP:AMBER'><p>evil[.]example":                                   "AMBER ",
		"<html><!-- TLP:AMBER --><p>evil[.]example":                                                  "AMBER ",
		"<html>\n<!-- x\nTLP:YELLOW --><p>evil[.]example":                                            ` "TLP:YELLOW" (line 3)`,
		"<html><div class='badge tlp-amber'>x</div><p>evil[.]example":                                "AMBER ",
		"<html><p>evil[.]example<span id=tlp-red>":                                                   "RED ",
		"<html><p data-tlp=amber>evil[.]example":                                                     "AMBER ",
		"<html><p title='VS-NfD'>evil[.]example":                                                     ` "VS-NfD" (line 1)`,
		"<html><p>VS - Nur f&uuml;r den Dienstgebrauch</p><p>evil[.]example":                         ` "VS - Nur für den Dienstgebrauch" (line 1)`,
		"VERTRAULICH\nevil.example":                                                                  ` "VERTRAULICH" (line 1)`,
		"<html><style>tlp:yellow{}</style><p>evil[.]example <a href='https://www.first.org/tlp'>TLP": " ",
	} {
		got := []string{}
		err := text.Read(strings.NewReader(whole(file)), text.Options{}, func(f intel.Found) error {
			got = append(got, f.TLP.String()+" "+f.Unclear)
			return nil
		})
		if err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("%q: %q, %v; want %q", file, got, err, want)
		}
	}
}

func TestNotText(t *testing.T) {
	for file, word := range map[string]string{
		"\xff\xfee\x00v\x00": "UTF-16", "\xfe\xff\x00e": "UTF-16", "PK\x03\x04...": "zip", "\x1f\x8b\x08": "gzip", "%PDF-1.7": "PDF",
	} {
		err := text.Read(strings.NewReader(file), text.Options{}, func(intel.Found) error { return nil })
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q: %v", file, err)
		}
	}
}

func TestReaderAndReceiverErrors(t *testing.T) {
	full := errors.New("disk full")
	calls := 0
	err := text.Read(strings.NewReader("a.example\nb.example"), text.Options{}, func(intel.Found) error { calls++; return full })
	if err != full || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	r := io.MultiReader(strings.NewReader(strings.Repeat("a.example\n", 10_000)), iotest.ErrReader(full))
	found := 0
	err = text.Read(r, text.Options{}, func(intel.Found) error { found++; return nil })
	if !errors.Is(err, full) || found < 9_000 {
		t.Errorf("%v after %d", err, found)
	}
}

func TestLongLine(t *testing.T) {
	r := io.MultiReader(strings.NewReader("a.example\n"), inteltest.Endless('x', 50<<20), strings.NewReader("\nb.example\n"),
		inteltest.Endless('y', 2<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := read(t, r)
	runtime.ReadMemStats(&after)
	check(t, "50 MB", got, "line 1 domain a.example|line 2 REFUSED the line is longer than 1 MiB*|line 3 domain b.example|line 4 REFUSED the line is longer*")
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
	exact := strings.Repeat("x", 1<<20)
	check(t, "just 1 MiB", read(t, strings.NewReader("a.example\n"+exact+"\r\nb.example")), "line 1 domain a.example|line 2 REFUSED it has 1048576 bytes*|line 3 domain b.example")
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("evil.example\n198.51.100.7,x\n# TLP:RED\nmutex: a b\n"))
	f.Add([]byte("Text about hxxp://evil[.]example/a_(b). And more\nof it, in (two) [lines] with `u[.]example` {x}\n"))
	f.Add([]byte("<!doctype html><p>evil[.]example</p><a href='hxxp://a[.]example'>x</a><pre>\nb.example\n&#46;"))
	f.Add([]byte("127.0.0.1 a.example\n\"x,y\",z\n\xff\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		_ = text.Read(bytes.NewReader(file), text.Options{}, func(found intel.Found) error {
			inteltest.CheckFound(t, found)
			return nil
		})
	})
}
