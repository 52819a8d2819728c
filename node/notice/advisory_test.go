package notice_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

func TestAdvisoriesAreChecked(t *testing.T) {
	named := func(name string) func(*notice.Notice) {
		return func(n *notice.Notice) { n.Advisory.Documents[0].Name = name }
	}
	said := func(text string) func(*notice.Notice) { return func(n *notice.Notice) { n.Advisory.Text = text } }
	product := func(p string) func(*notice.Notice) {
		return func(n *notice.Notice) { n.Advisory.Products = []string{p} }
	}
	const text, name, products = "advisory.text", "advisory.documents[0].name", "advisory.products"
	for what, c := range map[string]struct {
		f     func(*notice.Notice)
		field string
	}{
		"no type":                         {func(n *notice.Notice) { n.Advisory.Type = 0 }, "advisory.type"},
		"no title":                        {func(n *notice.Notice) { n.Advisory.Title = "" }, "advisory.title"},
		"a title of two lines":            {func(n *notice.Notice) { n.Advisory.Title = "a\nb" }, "advisory.title"},
		"a title of 121":                  {func(n *notice.Notice) { n.Advisory.Title = strings.Repeat("ü", 121) }, "advisory.title"},
		"a ref":                           {func(n *notice.Notice) { n.Ref = &crypto.ItemID{} }, "ref"},
		"an escape sequence":              {said("a\n\x1b[2J"), text},
		"a carriage return that hides":    {said("do it\rdo not"), text},
		"right to left":                   {said("a\n\u202eb"), text},
		"an invisible character":          {said("a\u200bb"), text},
		"a tag character":                 {said("a\U000e0041"), text},
		"no UTF-8":                        {said("a\n\xff"), text},
		"not composed":                    {said("u\u0308"), text},
		"text pushed out of sight":        {said("a" + strings.Repeat("\n", 200) + "b"), text},
		"an empty line at the top":        {said("\na"), text},
		"space at the end of a line":      {said("a \nb"), text},
		"a text that is too long":         {said(strings.Repeat("x", notice.AdviceMax+1)), text},
		"due passed":                      {func(n *notice.Notice) { n.Advisory.Due = now }, "advisory.due"},
		"due in the year 10000":           {func(n *notice.Notice) { n.Advisory.Due = 1 << 60 }, "advisory.due"},
		"no CVE":                          {func(n *notice.Notice) { n.Advisory.CVEs = []string{"cve-2021-1"} }, "advisory.cves"},
		"a CVE twice":                     {func(n *notice.Notice) { n.Advisory.CVEs = []string{"CVE-2021-44228", "CVE-2021-44228"} }, "advisory.cves"},
		"a supplier twice":                {func(n *notice.Notice) { n.Advisory.Suppliers = []string{"LIS GmbH", "lis  gmbh"} }, "advisory.suppliers"},
		"17 suppliers":                    {func(n *notice.Notice) { n.Advisory.Suppliers = wide(17) }, "advisory.suppliers"},
		"a product that is a word":        {product("netscaler"), products},
		"a product that is not canonical": {product("cpe:2.3:a:lis:lab"), products},
		"every product there is":          {product("cpe:2.3:*:*:*:*:*:*:*:*:*:*:*"), products},
		"every product of a letter":       {product("cpe:2.3:a:c*:netscaler:*:*:*:*:*:*:*:*"), products},
		"a package URL with a path up":    {product("pkg:npm/../x"), products},
		"an absolute path":                {named("/etc/cron.d/x"), name},
		"a path up":                       {named("../x"), name},
		"a path of Windows":               {named(`..\x`), name},
		"a drive":                         {named("C:x"), name},
		"a stream of NTFS":                {named("plan.pdf:x"), name},
		"a device":                        {named("nul.pdf"), name},
		"a device with a space":           {named("COM1 .txt"), name},
		"a hidden file":                   {named(".bashrc"), name},
		"an option":                       {named("-rf"), name},
		"a home":                          {named("~root"), name},
		"a dot at the end":                {named("plan.exe."), name},
		"a name that is turned around":    {named("plan\u202efdp.exe"), name},
		"a name with a line break":        {named("a\nb"), name},
		"no name":                         {named(""), name},
		"a name of 121":                   {named(strings.Repeat("x", 121)), name},
		"a name twice":                    {named("CSAF.json"), "advisory.documents"},
		"a document twice":                {func(n *notice.Notice) { n.Advisory.Documents[0].SHA256 = n.Advisory.Documents[1].SHA256 }, "advisory.documents"},
		"an empty document":               {func(n *notice.Notice) { n.Advisory.Documents[0].Size = 0 }, "advisory.documents[0].size"},
		"a document of 80 MB":             {func(n *notice.Notice) { n.Advisory.Documents[0].Size = 80 << 20 }, "advisory.documents[0].size"},
		"a document without a hash":       {func(n *notice.Notice) { n.Advisory.Documents[0].SHA256 = [32]byte{} }, "advisory.documents[0].sha256"},
		"a media type that is a header":   {func(n *notice.Notice) { n.Advisory.Documents[0].Media = "text/html\r\nX: y" }, "advisory.documents[0].media_type"},
		"nine documents":                  {func(n *notice.Notice) { n.Advisory.Documents = make([]notice.Document, 9) }, "advisory.documents"},
		"more than an item can hold": {func(n *notice.Notice) {
			n.Advisory.Text, n.Advisory.Suppliers = strings.Repeat("x", notice.AdviceMax), wide(15)
		}, "advisory"},
	} {
		n := full(notice.KindAdvisory)
		c.f(n)
		err := n.Check(now)
		field := &notice.FieldError{}
		if !errors.As(err, &field) || field.Field != c.field || field.Fix == "" {
			t.Errorf("%s: got %v; want an error of %s with its fix", what, err, c.field)
		}
	}
}

// TestLargestAdvisoryFits: what the checks let through has room in an item.
func TestLargestAdvisoryFits(t *testing.T) {
	n := full(notice.KindAdvisory)
	a := n.Advisory
	a.Title, a.Text, a.Products, a.CVEs = strings.Repeat("\U00020000", notice.TitleMax), "", nil, nil
	a.Documents = nil
	for i := range notice.DocumentsMax {
		a.Documents = append(a.Documents, notice.Document{SHA256: [32]byte{byte(i + 1)}, Chunks: [32]byte{1}, Size: notice.DocumentMax,
			Name: strings.Repeat("x", 110) + string(rune('a'+i)), Media: "application/" + strings.Repeat("x", 60)})
	}
	for i := range notice.CVEsMax {
		a.CVEs = append(a.CVEs, "CVE-2021-"+strings.Repeat("1", 17)+string(rune('0'+i/10))+string(rune('0'+i%10)))
	}
	a.Suppliers = wide(6)
	for a.Text = "x"; n.Check(now) == nil; a.Text += "x" { // until it is too large
	}
	a.Text = a.Text[1:]
	item, err := notice.Encode(n)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := notice.Decode(item); err != nil || len(item) < 7<<10 {
		t.Errorf("%d bytes: %v", len(item), err)
	}
}

// TestLaterDocuments: a document may say more in a later version.
func TestLaterDocuments(t *testing.T) {
	with := func(key uint64) []byte {
		return edit(t, full(notice.KindAdvisory), func(m map[uint64]any) {
			m[20].(map[any]any)[uint64(8)].([]any)[0].(map[any]any)[key] = true
		})
	}
	if _, err := notice.Decode(with(63)); !errors.Is(err, notice.ErrCritical) {
		t.Errorf("a later key: %v", err)
	}
	if n, err := notice.Decode(with(64)); err != nil || !reflect.DeepEqual(n, full(notice.KindAdvisory)) {
		t.Errorf("an ignorable key: %v, %v", n, err)
	}
}

func TestAnswersFit(t *testing.T) {
	for _, c := range []struct {
		kind notice.Kind
		a    notice.Answer
		fits bool
	}{
		{notice.KindAdvisory, notice.AnswerSeen, true}, {notice.KindAdvisory, notice.AnswerHelp, true}, {notice.KindAdvisory, notice.AnswerNotSeen, false},
		{notice.KindQuestion, notice.AnswerNotSeen, true}, {notice.KindQuestion, notice.AnswerDone, false}, {notice.KindMayday, notice.AnswerSeen, false},
	} {
		if got := c.a.Fits(c.kind); got != c.fits {
			t.Errorf("%s to %s: %v", c.a, c.kind, got)
		}
	}
}

func TestCleanLines(t *testing.T) {
	if got := notice.CleanLines("\r\n# Title \r\n\tcode\n\n\n\n\nu\u0308 \n\n"); got != "# Title\n    code\n\n\nü" {
		t.Errorf("got %q", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := notice.CleanLines(rapid.StringMatching(`[a \t\r\nü]{0,40}`).Draw(t, "text"))
		if again := notice.CleanLines(text); again != text {
			t.Fatalf("%q becomes %q", text, again)
		}
	})
}

func TestProducts(t *testing.T) {
	for _, c := range []struct {
		a, b    string
		matches bool
	}{
		{"cpe:2.3:a:citrix:netscaler", "CPE:2.3:a:Citrix:NetScaler:13.1:*:*:*:*:*:*:*", true},
		{"cpe:2.3:a:citrix:netscaler:13.1", "cpe:2.3:a:citrix:netscaler:12.0", false},
		{"cpe:2.3:a:citrix:netscaler:13.*", "cpe:2.3:a:citrix:netscaler:13.1", true},
		{"cpe:2.3:a:citrix:netscaler:13.*", "cpe:2.3:a:citrix:netscaler:14.1", false},
		{"cpe:2.3:a:citrix:netscaler:-", "cpe:2.3:a:citrix:netscaler", true},
		{"cpe:2.3:a:citrix:netscaler:-", "cpe:2.3:a:citrix:netscaler:1*", false},
		{`cpe:2.3:a:a\:b:x\/y:1\[2`, `cpe:2.3:a:a\:b:x\/y:1*`, true},
		{"cpe:2.3:o:citrix:netscaler", "cpe:2.3:a:citrix:netscaler", false},
		{"cpe:2.3:a:citrix:netscaler", "cpe:2.3:a:citrix:xenapp", false},
		{"cpe:2.3:a:lis:agent", "pkg:npm/agent", false},
		{"pkg:npm/@lis/agent@1.0.0", "PKG:npm/%40lis/Agent?arch=x86#src", true},
		{"pkg:npm/@lis/agent@1.0.0", "pkg:npm/%40lis/agent@1.0.1", false},
	} {
		a, err := notice.ParseProduct(c.a)
		if err != nil {
			t.Fatal(err)
		}
		b, err := notice.ParseProduct(c.b)
		if err != nil {
			t.Fatal(err)
		}
		if a.Matches(b) != c.matches || b.Matches(a) != c.matches {
			t.Errorf("%s and %s: %v and %v", a, b, a.Matches(b), b.Matches(a))
		}
		for _, p := range []notice.Product{a, b} {
			if again, err := notice.ParseProduct(p.String()); err != nil || !reflect.DeepEqual(again, p) {
				t.Errorf("%s is not canonical: %v, %v", p, again, err)
			}
			for _, word := range p.Words() {
				if !strings.Contains(p.String(), word) {
					t.Errorf("%s has no %q", p, word)
				}
			}
		}
	}
	for _, bad := range []string{"", "cpe:2.3:", "cpe:2.3:a:x", "cpe:2.3:z:x:y", "cpe:2.3:a:x:y:1:2:3:4:5:6:7:8:9", "cpe:2.3:a:x y:z", "cpe:2.3:a:-:z", "cpe:2.3:a:x:*",
		"cpe:/a:x:y", "pkg:", "pkg:npm", "pkg:npm/", "pkg:npm/a//b", "pkg:npm/%2e%2e/b", "pkg:npm/a%2fb", "pkg:npm/a@", "pkg:npm/a\x00", "pkg:npm/" + strings.Repeat("x", 200)} {
		if p, err := notice.ParseProduct(bad); err == nil {
			t.Errorf("%q is %s", bad, p)
		}
	}
}

func FuzzParseProduct(f *testing.F) {
	f.Add(`cpe:2.3:a:a\:b:x\/y:1*`)
	f.Add("pkg:npm/%40lis/agent@1.0.0?a=b#c")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := notice.ParseProduct(s)
		if err != nil {
			return
		}
		if again, err := notice.ParseProduct(p.String()); err != nil || again.String() != p.String() || !again.Matches(p) {
			t.Fatalf("%q: %q, %v", s, p, err)
		}
	})
}
