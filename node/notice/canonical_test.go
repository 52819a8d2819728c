package notice_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/notice"
)

var allow = notice.Options{AllowSpecial: true}

const (
	md5Text    = "9e107d9d372bb6826bd81d3542a419d6"
	sha1Text   = "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"
	sha256Text = "d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592"
)

// same lists, by canonical form, spellings that must all lead to it by Detect.
var same = []struct {
	t     notice.Type
	want  string
	forms []string
}{
	{notice.TypeIPv4, "198.51.100.7", []string{"198.51.100.7", " 198.51.100.7\t", "198.51.100[.]7", "198[.]51[.]100[.]7",
		"198(.)51(.)100(.)7", "198[dot]51.100.7", "::ffff:198.51.100.7", "::FFFF:c633:6407", "198.51.100.7/32",
		"::ffff:198.51.100.7/128", "198.51.100.7:443", "[::ffff:198.51.100.7]:443"}},
	{notice.TypeIPv6, "2001:db8::7", []string{"2001:db8::7", "2001:DB8:0:0:0:0:0:7", "[2001:db8::7]", "2001[:]db8[:]:7",
		"2001:db8::7/128", "[2001:db8::7]:8080", "2001:0db8::0:7"}},
	{notice.TypeCIDR, "198.51.100.0/24", []string{"198.51.100.0/24", "198.51.100.77/24", "198.51.100[.]0/24", "::ffff:198.51.100.0/120"}},
	{notice.TypeCIDR, "2001:db8::/32", []string{"2001:db8::/32", "2001:DB8:1::/32", "2001[:]db8::/32"}},
	{notice.TypeDomain, "evil.example", []string{"evil.example", "EVIL.Example", "evil.example.", "evil[.]example", "evil(.)example",
		"evil{.}example", "evil[dot]example", "evil(DOT)example", "evil.example:8443", "ｅｖｉｌ.example", "evil。example"}},
	{notice.TypeDomain, "xn--bcher-kva.example", []string{"bücher.example", "BÜCHER.example", "xn--bcher-kva.example",
		"XN--BCHER-KVA.example.", "bu\u0308cher[.]example"}},
	{notice.TypeDomain, "_dmarc.evil-1.example", []string{"_dmarc.evil-1.example", "_DMARC[.]evil-1.example"}},
	{notice.TypeDomain, "evil.zip", []string{"evil[.]zip"}},
	{notice.TypeDomain, "www.evil.zip", []string{"www.evil.zip"}},
	{notice.TypeDomain, "allegro.pl", []string{"allegro.pl", "Allegro.PL"}},
	{notice.TypeDomain, "7tkffbh3qiumpfjfq77plcorjmfohmbj6nwq5je6herbpya6kmgoafid.onion",
		[]string{"7tkffbh3qiumpfjfq77plcorjmfohmbj6nwq5je6herbpya6kmgoafid[.]onion"}},
	{notice.TypeURL, "http://evil.example/", []string{"http://evil.example", "hxxp://evil[.]example/", "HXXP://EVIL.example:80",
		"http[:]//evil.example/", "hxxp[://]evil.example/", "http://evil.example./#top", "http://user:pw@evil.example/",
		"http://evil.example/a/..", "http://evil.example/./", "http://%65vil.example/", "h**p://evil.example", "hxxp[:][/][/]evil[.]example[/]"}},
	{notice.TypeURL, "https://evil.example:8443/A/b%20c?q=%3Cx%3E&r=~", []string{"https://evil.example:8443/A/b%20c?q=%3Cx%3E&r=~",
		"hxxps://evil[.]example:08443/A/./b c?q=<x>&r=%7E", "https://evil.example:8443/z/../A/b%20c?q=%3cx%3e&r=%7e"}},
	{notice.TypeURL, "http://[2001:db8::7]:81/x", []string{"http://[2001:db8::7]:81/x", "http://[2001:DB8:0::7]:81/x"}},
	{notice.TypeURL, "http://198.51.100.7/x", []string{"http://198.51.100.7/x", "hxxp://198.51.100[.]7/x", "http://[::ffff:198.51.100.7]/x"}},
	{notice.TypeURL, "http://xn--bcher-kva.example/b%C3%BCcher", []string{"http://bücher.example/bücher", "http://B%C3%BCCHER.example/b%c3%bccher"}},
	{notice.TypeEmail, "anna.x+1@evil.example", []string{"anna.x+1@evil.example", "Anna.X+1@EVIL.example", "anna.x+1[at]evil[.]example",
		"anna.x+1(at)evil(dot)example", "<anna.x+1@evil.example>", "mailto:anna.x+1@evil.example.", "anna.x+1[@]evil.example"}},
	{notice.TypeMD5, md5Text, []string{md5Text, strings.ToUpper(md5Text)}},
	{notice.TypeSHA1, sha1Text, []string{sha1Text, strings.ToUpper(sha1Text)}},
	{notice.TypeSHA256, sha256Text, []string{sha256Text, strings.ToUpper(sha256Text)}},
	{notice.TypeSHA512, sha256Text + sha256Text, []string{strings.ToUpper(sha256Text + sha256Text)}},
	{notice.TypeCertSHA256, sha256Text, []string{colons(sha256Text), strings.ToUpper(colons(sha256Text))}},
	{notice.TypeJA4, "t13d1516h2_8daaf6152771_b186095e22b6", []string{"t13d1516h2_8daaf6152771_b186095e22b6", "T13D1516H2_8DAAF6152771_B186095E22B6"}},
	{notice.TypeASN, "AS64496", []string{"AS64496", "as64496", "ASN64496"}},
	{notice.TypeBTC, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", []string{"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"}},
	{notice.TypeBTC, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", []string{"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4"}},
	{notice.TypeBTC, "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr", []string{"bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr"}},
	{notice.TypeRegistryKey, `HKEY_LOCAL_MACHINE\software\evil`, []string{`HKLM\Software\Evil`, `HKEY_LOCAL_MACHINE\SOFTWARE\Evil\`,
		`HKLM:\Software\Evil`, `hklm\\software\\evil`, `Computer\HKEY_LOCAL_MACHINE\Software\Evil`, `\REGISTRY\MACHINE\Software\Evil`}},
	{notice.TypeRegistryKey, `HKEY_CURRENT_USER\software\evil`, []string{`HKCU\Software\Evil`,
		`HKU\S-1-5-21-1004336348-1177238915-682003330-1001\Software\Evil`}},
	{notice.TypeRegistryKey, `HKEY_LOCAL_MACHINE\system\currentcontrolset\services\evil`, []string{`HKLM\SYSTEM\ControlSet001\Services\evil`}},
	{notice.TypeFilename, "cmd.exe", []string{"cmd.exe", "CMD.EXE", `"cmd.exe"`}},
	{notice.TypeFilename, "readme.zip", []string{"readme.zip"}},
	{notice.TypeFilename, "bins.sh", []string{"bins.sh"}},
	{notice.TypeFilename, "invoice 2024 pdf.scr", []string{"Invoice 2024 pdf.scr"}},
	{notice.TypeFilename, `%USERPROFILE%\appdata\roaming\evil.exe`, []string{`C:\Users\anna\AppData\Roaming\evil.exe`,
		`%APPDATA%\evil.exe`, `c:/users/Berta Müller/appdata/roaming/evil.exe`, `%USERPROFILE%\AppData\Roaming\evil.exe`,
		`C:\\Users\\anna\\AppData\\Roaming\\evil.exe`, `C:\Users\<user>\AppData\Roaming\evil.exe`, `C:\Users\*\AppData\Roaming\evil.exe`, `\\?\D:\Users\x\AppData\Roaming\evil.exe`, `\Device\HarddiskVolume3\Users\anna\appdata\roaming\evil.exe`}},
	{notice.TypeFilename, `%USERPROFILE%\evil.exe`, []string{`C:\Documents and Settings\anna\evil.exe`}},
	{notice.TypeFilename, `c:\windows\temp\evil.tmp`, []string{`%WINDIR%\Temp\evil.tmp`, `C:\Windows\Temp\evil.tmp`, `%systemroot%\temp\EVIL.tmp`}},
	{notice.TypeFilename, `c:\users\public\evil.exe`, []string{`%PUBLIC%\evil.exe`, `C:\Users\Public\evil.exe`}},
	{notice.TypeFilename, "~/.ssh/evil", []string{"/home/anna/.ssh/evil", "~/.ssh/evil", "/Users/Anna/.ssh/evil", "~anna/.ssh/evil", "//home//berta/.ssh/evil"}},
}

func colons(s string) string {
	var parts []string
	for i := 0; i < len(s); i += 2 {
		parts = append(parts, s[i:i+2])
	}
	return strings.Join(parts, ":")
}

func TestEqualThingsGetOneKey(t *testing.T) {
	for _, c := range same {
		want := notice.Indicator{Type: c.t, Value: c.want}
		for _, form := range c.forms {
			got, err := notice.Detect(form, notice.Options{})
			if err != nil || got != want || got.Key() != want.Key() {
				t.Errorf("Detect(%q) = %v, %v; want %v", form, got, err, want)
			}
		}
		if got, err := notice.Canonical(c.t, c.want, notice.Options{}); err != nil || got != want {
			t.Errorf("Canonical(%v, %q) = %v, %v; want it unchanged", c.t, c.want, got, err)
		}
	}
}

func TestStatedTypes(t *testing.T) {
	for _, c := range []struct {
		t         notice.Type
		raw, want string
	}{
		{notice.TypeJA3, strings.ToUpper(md5Text), "ja3 " + md5Text},
		{notice.TypeCertSHA256, sha256Text, "cert-sha256 " + sha256Text},
		{notice.TypeIPv6, "::ffff:198.51.100.7", "ipv4 198.51.100.7"},
		{notice.TypeMutex, `Global\EvilMutex`, `mutex Global\EvilMutex`},
		{notice.TypeMutex, "{46E4D4E6-8B81-84CA-93DA-BB29377B2AC0}", "mutex {46E4D4E6-8B81-84CA-93DA-BB29377B2AC0}"},
		{notice.TypeASN, "64496", "asn AS64496"},
		{notice.TypeASN, "AS1.10", "asn AS65546"},
		{notice.TypeDomain, "evil.zip", "domain evil.zip"},
		{notice.TypeDomain, "name.bit", "domain name.bit"},
		{notice.TypeDomain, "-a.evil.example", "domain -a.evil.example"},
		{notice.TypeFilename, "isapicache_.dll_", "filename isapicache_.dll_"},
		{notice.TypeFilename, `\\.\pipe\EvilPipe`, `filename \\.\pipe\evilpipe`},
		{notice.TypeFilename, "Diseño_pptx.scr", "filename diseño_pptx.scr"},
		{notice.TypeFilename, "Disen\u0303o_pptx.scr", "filename diseño_pptx.scr"},
		{notice.TypeURL, "https://github.io/x", "url https://github.io/x"},
		{notice.TypeURL, "http://evil.example/?", "url http://evil.example/?"},
		{notice.TypeURL, "http://evil.example/100%", "url http://evil.example/100%25"},
		{notice.TypeURL, "http://evil.example/%2e%2e/x", "url http://evil.example/x"},
		{notice.TypeRegistryKey, `HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList\S-1-5-21-1-2-3-1001`,
			`registry-key HKEY_LOCAL_MACHINE\software\microsoft\windows nt\currentversion\profilelist\%SID%`},
	} {
		got, err := notice.Canonical(c.t, c.raw, notice.Options{})
		if err != nil || got.String() != c.want {
			t.Errorf("Canonical(%v, %q) = %q, %v; want %q", c.t, c.raw, got, err, c.want)
		}
	}
}

// TestRefusals lists values that no type takes, with a word of the reason.
func TestRefusals(t *testing.T) {
	for raw, reason := range map[string]string{
		"":                                   "empty",
		" \t":                                "empty",
		strings.Repeat("a", 2049):            "2049 bytes",
		"evil\x00.example":                   "control character",
		"evil\u202e.example":                 "invisible",
		"ev\u200bil.example":                 "invisible",
		"ev\u00adil.example":                 "invisible",
		"evil\xff.example":                   "UTF-8",
		"192.168.1.4":                        "private address: pass --allow-special",
		"10.1.2.3":                           "private address",
		"172.31.255.255":                     "private address",
		"127.0.0.1":                          "loopback",
		"169.254.1.1":                        "link-local",
		"100.64.0.1":                         "RFC 6598",
		"0.0.0.0":                            "unspecified",
		"255.255.255.255":                    "broadcast",
		"239.1.1.1":                          "multicast",
		"::1":                                "loopback",
		"::":                                 "unspecified",
		"fd00::1":                            "private",
		"fe80::1":                            "link-local",
		"fe80::1%eth0":                       "interface",
		"ff02::1":                            "multicast",
		"::ffff:10.0.0.1":                    "private",
		"[::ffff:192.168.1.1]:80":            "private",
		"10.0.0.0/8":                         "private",
		"192.0.0.0/8":                        "in it",
		"8.0.0.0/7":                          "wider than /8",
		"0.0.0.0/0":                          "wider",
		"2000::/3":                           "wider than /19",
		"2001::/18":                          "wider than /19",
		"198.51.100.0/33":                    "not a network",
		"198.51.100.7/x":                     "not a network",
		"http://10.0.0.1/":                   "private",
		"http://[fd00::1]/":                  "private",
		"http://intranet/x":                  "single label",
		"http://pacs.local/x":                "special-use",
		"http:///x":                          "no host",
		"http://evil.example:0/":             "port",
		"http://evil.example:+80/":           "port",
		"http://evil.example:x/":             "port",
		"http://2130706433/":                 "disguise",
		"http://0x7f.0.0.1/":                 "disguise",
		"http://evil.0x7f/":                  "disguise",
		"http://ev%25il.example/":            "host",
		"http://evil%00.example/":            "control",
		"http://evil.exam\\ple/":             "not a domain name",
		"file:///etc/passwd":                 "scheme",
		"meow://evil.example/":               "scheme",
		"pacs.local":                         "special-use",
		"printer.lan":                        "special-use",
		"nas.internal":                       "special-use",
		"a.localhost":                        "special-use",
		"router.home.arpa":                   "special-use",
		"4.3.2.1.in-addr.arpa":               "special-use",
		"co.uk":                              "public suffix",
		"github.io":                          "public suffix",
		"foo.ck":                             "public suffix",
		"com":                                "look of no type",
		"localhost":                          "look of no type",
		"evil..example":                      "look of no type",
		"evil[.]example/gate.php":            "without its scheme",
		"hello world":                        "look of no type",
		"a@b@c.example":                      "look of no type",
		"anna@localhost":                     "single label",
		"anna@198.51.100.7":                  "is an address",
		".anna@evil.example":                 "before the @",
		"an na@evil.example":                 "look of no type",
		md5Text + "0":                        "look of no type",
		md5Text[:31] + "g":                   "look of no type",
		"AS64512":                            "private or reserved",
		"AS0":                                "private or reserved",
		"AS4294967296":                       "not an AS number",
		`\\srv01\share\evil.exe`:             "computer of a network",
		`%USERPROFILE%\Music\`:               "directory",
		`C:\Users\anna`:                      "directory",
		`C:\Windows\cmd.exe /c del x`:        "command line",
		`C:\Windows\*.exe`:                   "path of a file",
		`C:\Users\?\a.exe:stream`:            "path of a file",
		`/home/anna/`:                        "directory",
		`HKLM\`:                              "registry key",
		"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb": "look of no type",
		"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5": "look of no type",
		"tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx": "look of no type",
		strings.Repeat("a", 64) + ".example":         "look of no type",
	} {
		got, err := notice.Detect(raw, notice.Options{})
		field := &notice.FieldError{}
		switch {
		case err == nil:
			t.Errorf("Detect(%.60q) = %v; want a refusal", raw, got)
		case !errors.As(err, &field) || field.Field == "" || field.Reason == "" || field.Fix == "":
			t.Errorf("Detect(%.60q): %v is not a complete FieldError", raw, err)
		case !strings.Contains(err.Error(), reason):
			t.Errorf("Detect(%.60q): %q does not say %q", raw, err, reason)
		case len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\n\x00"):
			t.Errorf("Detect(%.60q): %q is no fit for a terminal", raw, err)
		}
	}
}

func TestAllowSpecial(t *testing.T) {
	for raw, want := range map[string]string{
		"192.168.1.4":                "ipv4 192.168.1.4",
		"10.0.0.0/8":                 "cidr 10.0.0.0/8",
		"fd00::1":                    "ipv6 fd00::1",
		"http://10.0.0.1:8080/":      "url http://10.0.0.1:8080/",
		"pacs.local":                 "domain pacs.local",
		"anna@mail.internal":         "email anna@mail.internal",
		"AS64512":                    "asn AS64512",
		`\\srv01\share\evil.exe`:     `filename \\srv01\share\evil.exe`,
		`\\\\srv01\\share\\evil.exe`: `filename \\srv01\share\evil.exe`,
	} {
		got, err := notice.Detect(raw, allow)
		if err != nil || got.String() != want {
			t.Errorf("Detect(%q) = %q, %v; want %q", raw, got, err, want)
		}
		if _, err := notice.Detect(raw, notice.Options{}); err == nil {
			t.Errorf("Detect(%q) is accepted without leave", raw)
		}
	}
	if got, err := notice.Canonical(notice.TypeDomain, "co.uk", allow); err == nil {
		t.Errorf("a public suffix is accepted as %v", got)
	}
}

// anyName draws domain names that are indicators.
func anyName() *rapid.Generator[string] {
	label := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?`)
	return rapid.Custom(func(t *rapid.T) string {
		labels := rapid.SliceOfN(label, 1, 4).Draw(t, "labels")
		return strings.Join(labels, ".") + rapid.SampledFrom([]string{".example", ".com", ".net", ".onion", ".xn--p1ai"}).Draw(t, "tld")
	}).Filter(func(s string) bool {
		_, err := notice.Canonical(notice.TypeDomain, s, notice.Options{})
		return err == nil
	})
}

// disguise draws another spelling of a network value.
func disguise(t *rapid.T, s string, caseless bool) string {
	var b strings.Builder
	for _, r := range s {
		c := string(r)
		if c == "." {
			c = rapid.SampledFrom([]string{".", "[.]", "(.)", "{.}", "[dot]", "(DOT)"}).Draw(t, "dot")
		} else if caseless && rapid.Bool().Draw(t, "upper") {
			c = strings.ToUpper(c)
		}
		b.WriteString(c)
	}
	return b.String()
}

func TestDisguisesGetOneKey(t *testing.T) {
	check := func(t *rapid.T, typ notice.Type, plain, disguised string) {
		want, err := notice.Canonical(typ, plain, allow)
		if err != nil {
			t.Fatalf("Canonical(%v, %q): %v", typ, plain, err)
		}
		for name, f := range map[string]func() (notice.Indicator, error){
			"Canonical": func() (notice.Indicator, error) { return notice.Canonical(typ, disguised, allow) },
			"Detect":    func() (notice.Indicator, error) { return notice.Detect(disguised, allow) },
		} {
			if got, err := f(); err != nil || got.Key() != want.Key() {
				t.Fatalf("%s(%q) = %v, %v; want %v", name, disguised, got, err, want)
			}
		}
	}
	t.Run("domain", rapid.MakeCheck(func(t *rapid.T) {
		name := anyName().Draw(t, "name")
		dot := rapid.SampledFrom([]string{"", ".", "[.]"}).Draw(t, "end")
		check(t, notice.TypeDomain, name, rapid.SampledFrom([]string{"", " ", "\t"}).Draw(t, "space")+disguise(t, name, true)+dot+"\n")
	}))
	t.Run("ipv4", rapid.MakeCheck(func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")
		plain := fmt.Sprintf("%d.%d.%d.%d", b[0], b[1], b[2], b[3])
		form := rapid.SampledFrom([]string{"%s", "::ffff:%s", "::FFFF:%s", "0:0:0:0:0:ffff:%s", "%s/32"}).Draw(t, "form")
		disguised := fmt.Sprintf(form, disguise(t, plain, false))
		if strings.Contains(form, "/") {
			disguised = fmt.Sprintf(form, plain)
			if got, err := notice.Canonical(notice.TypeCIDR, disguised, allow); err != nil || got.Value != plain {
				t.Fatalf("%v, %v", got, err)
			}
			return
		}
		check(t, notice.TypeIPv4, plain, disguised)
	}))
	t.Run("url", rapid.MakeCheck(func(t *rapid.T) {
		host := anyName().Draw(t, "host")
		path := rapid.StringMatching(`(/[A-Za-z0-9._~-]{1,5}){0,3}`).Draw(t, "path")
		plain := "http://" + host + path
		encoded := ""
		for _, r := range path {
			switch {
			case r != '/' && rapid.Bool().Draw(t, "encode"):
				encoded += fmt.Sprintf(rapid.SampledFrom([]string{"%%%02x", "%%%02X"}).Draw(t, "hex"), r)
			case r == '/' && rapid.Bool().Draw(t, "dot segment"):
				encoded += "/./"
			default:
				encoded += string(r)
			}
		}
		scheme := rapid.SampledFrom([]string{"http://", "hxxp://", "HXXP[://]", "http[:]//", "hXXp://"}).Draw(t, "scheme")
		port := rapid.SampledFrom([]string{"", ":80", ":", ":080"}).Draw(t, "port")
		user := rapid.SampledFrom([]string{"", "anna@", "anna:secret@"}).Draw(t, "user")
		end := rapid.SampledFrom([]string{"", "#", "#part?x"}).Draw(t, "fragment")
		spelled := disguise(t, host, true)
		check(t, notice.TypeURL, plain, scheme+user+spelled+port+encoded+end)
	}))
	t.Run("email", rapid.MakeCheck(func(t *rapid.T) {
		local := rapid.StringMatching(`[a-z0-9]{1,5}(\.[a-z0-9_+-]{1,5})?`).Draw(t, "local")
		host := anyName().Draw(t, "host")
		at := rapid.SampledFrom([]string{"@", "[at]", "(at)", "[@]", "{AT}"}).Draw(t, "at")
		check(t, notice.TypeEmail, local+"@"+host, strings.ToUpper(local)+at+disguise(t, host, true))
	}))
	t.Run("user path", rapid.MakeCheck(func(t *rapid.T) {
		user := rapid.StringMatching(`[A-Za-zÄÖÜ][A-Za-z .]{0,8}[a-z]`).Draw(t, "user")
		switch strings.ToLower(user) {
		case "public", "default", "all users", "default user":
			t.Skip("not a person")
		}
		rest := rapid.StringMatching(`(\\[A-Za-z0-9]{1,4}){0,2}\\[A-Za-z0-9]{1,4}\.exe`).Draw(t, "rest")
		drive := rapid.SampledFrom([]string{`C:\Users\`, `d:\users\`, `\Users\`, `C:\Documents and Settings\`}).Draw(t, "drive")
		got, err := notice.Detect(drive+user+rest, notice.Options{})
		if err != nil || got.Value != "%USERPROFILE%"+strings.ToLower(rest) {
			t.Fatalf("%v, %v", got, err)
		}
	}))
}

// TestCanonicalTwice shows for all types and wild input that canonicalising
// twice changes nothing, and that a canonical value never hides a character.
func TestCanonicalTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := wild().Draw(t, "raw")
		for _, typ := range notice.Types() {
			checkStable(t, typ, raw)
		}
		if got, err := notice.Detect(raw, allow); err == nil {
			checkStable(t, got.Type, got.Value)
		}
	})
}

func wild() *rapid.Generator[string] {
	var forms []string
	for _, c := range same {
		forms = append(forms, c.forms...)
	}
	piece := rapid.OneOf(
		rapid.SampledFrom(forms),
		rapid.SampledFrom([]string{"[", "]", "[.]", "[[.]]", "(dot)", "://", "@", "%", "%2e", "/", "\\", "..", ":", "?", "#", "hxxp://", "::ffff:", "C:\\Users\\",
			"%APPDATA%", "~", "HKU\\", "xn--", "ß", "İ", "K", "\u0301", "ǅ", "ſ", "。", "AS", "bc1", "/0", "\"", "mailto:", "<", "é", "\u1e9e"}),
		rapid.String(),
	)
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(piece, 1, 4).Draw(t, "pieces"), "")
	})
}

type failer interface {
	Fatalf(format string, args ...any)
}

func checkStable(t failer, typ notice.Type, raw string) {
	for _, o := range []notice.Options{{}, allow} {
		got, err := notice.Canonical(typ, raw, o)
		if err != nil {
			field := &notice.FieldError{}
			if !errors.As(err, &field) {
				t.Fatalf("Canonical(%v, %q): %v is no FieldError", typ, raw, err)
			}
			continue
		}
		again, err := notice.Canonical(got.Type, got.Value, o)
		if err != nil || again != got {
			t.Fatalf("Canonical(%v, %q) = %v, and of that %v, %v", typ, raw, got, again, err)
		}
		n := sighting(got)
		if _, err := notice.Encode(n); err != nil {
			t.Fatalf("Canonical(%v, %q) = %v, which Encode refuses: %v", typ, raw, got, err)
		}
	}
}

func FuzzDetect(f *testing.F) {
	for _, c := range same {
		for i, form := range c.forms {
			if i < 3 {
				f.Add(form)
			}
		}
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if got, err := notice.Detect(raw, notice.Options{}); err == nil {
			checkStable(t, got.Type, got.Value)
		}
	})
}

func FuzzCanonical(f *testing.F) {
	for _, c := range same {
		f.Add(uint8(c.t), c.forms[len(c.forms)-1])
	}
	f.Fuzz(func(t *testing.T, typ uint8, raw string) {
		checkStable(t, notice.Type(typ), raw)
	})
}
