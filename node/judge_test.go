package node_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// configure adds lines to tables of a bench's configuration, and opens it again.
func (b *bench) configure(t testing.TB, tables map[string]string) {
	t.Helper()
	b.stop(t)
	path := filepath.Join(b.dir, node.ConfigFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := string(text)
	for table, lines := range tables {
		all = strings.Replace(all, "["+table+"]\n", "["+table+"]\n"+lines+"\n", 1)
	}
	if err := os.WriteFile(path, []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
	b.open(t)
}

// worth returns what a lookup says that a value is worth, with the causes if reasons.
func (b *bench) worth(t testing.TB, value string, o api.LookupOptions) string {
	t.Helper()
	answers, err := b.Lookup(t.Context(), []string{value}, o)
	if err != nil {
		t.Fatal(err)
	}
	v := answers[0].Verdict
	if v == nil {
		return "nothing"
	}
	out := fmt.Sprintf("%s %d", v.Level, v.Score)
	if v.Guarded {
		out += " guarded"
	}
	for _, r := range v.Reasons {
		out += " " + r.Cause
	}
	return out
}

func (b *bench) decides(t testing.TB, asked ...api.PolicyRequest) []api.PolicyView {
	t.Helper()
	out, err := b.Decide(t.Context(), "desk", asked)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func allow(value string) api.PolicyRequest {
	return api.PolicyRequest{Value: value, Decision: api.DecisionAllow}
}

func deny(value string) api.PolicyRequest {
	return api.PolicyRequest{Value: value, Decision: api.DecisionDeny}
}

func removed(p api.PolicyRequest) api.PolicyRequest {
	p.Remove = true
	return p
}

// What is decided here changes verdicts at once, whoever waits is told, and it holds
// after a restart.
func TestDecide(t *testing.T) {
	b := newBench(t)
	b.configure(t, map[string]string{"never_block": "suppliers = [\"pacs.example\"]\nown = [\"192.0.2.0/24\"]"})
	b.state(t, "evil.example")
	why := api.LookupOptions{Reasons: true}
	if got := b.worth(t, "www.evil.example", why); got != "detect 80 seen" {
		t.Errorf("seen: %s", got)
	}
	changed := b.PolicyChanged()
	asked := deny("EVIL[.]example")
	asked.Why = "phishing"
	v := b.decides(t, asked, deny("unheard.example"))[0]
	want := api.PolicyView{Indicator: api.Indicator{Type: "domain", Value: "evil.example"}, Decision: "deny", At: v.At, By: "desk", Why: "phishing", Effect: "block"}
	if v != want || v.At == 0 {
		t.Errorf("denied: %+v", v)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody is told that the policy changed")
	}
	if got := b.worth(t, "www.evil.example", why); got != "block 80 denied seen" {
		t.Errorf("denied: %s", got)
	}
	if got, brief := b.worth(t, "unheard.example", why), b.worth(t, "x.unheard.example", api.LookupOptions{}); got != "block 0 denied" || brief != "block 0" {
		t.Errorf("denied, and nobody spoke of it: %s, %s", got, brief)
	}
	if view, found, err := b.Indicator(t.Context(), "", "unheard.example", 0); err != nil || !found || view.Verdict.Level != "block" {
		t.Errorf("%+v %v %v", view, found, err)
	}
	b.decides(t, allow("good.evil.example"))
	if got := b.worth(t, "good.evil.example", why); got != "none 80 seen allowed" {
		t.Errorf("allowed: %s", got)
	}
	if again := b.decides(t, deny("evil.example")); !again[0].Known || again[0].Why != "phishing" {
		t.Errorf("again: %+v", again)
	}

	// What is never blocked is not by that either, which is said.
	for value, level := range map[string]string{"10.1.2.3": "none", "192.0.2.7": "none", "x.pacs.example": "detect"} {
		if v := b.decides(t, deny(value))[0]; v.Effect != level || !strings.HasPrefix(v.Note, "it has no effect: ") || !strings.HasSuffix(v.Note, ": it is never blocked") {
			t.Errorf("deny %s: %+v", value, v)
		}
	}
	b.stop(t)
	b.open(t)
	if got := b.worth(t, "www.evil.example", why); got != "block 80 denied seen" {
		t.Errorf("after a restart: %s", got)
	}
	b.decides(t, removed(deny("evil.example")))
	if got := b.worth(t, "www.evil.example", why); got != "detect 80 seen" {
		t.Errorf("taken back: %s", got)
	}
	b.stop(t)
	b.open(t)
	if got := b.worth(t, "www.evil.example", api.LookupOptions{}); got != "detect 80" {
		t.Errorf("taken back, after a restart: %s", got)
	}
}

// Who, and why, are words of this house: a lower ceiling has the decisions alone.
func TestPoliciesAreListed(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		p := deny(fmt.Sprintf("n%d.example", i))
		p.Why = "secret"
		b.decides(t, p)
	}
	b.decides(t, allow("198.51.100.0/24"))
	var values []string
	for next, pages := "", 0; pages == 0 || next != ""; pages++ {
		page, cursor, err := b.Policies(t.Context(), api.PolicyQuery{Decision: "deny", Limit: 2, Next: next, Ceiling: notice.TLPAmber})
		if err != nil || len(page) > 2 || pages > 3 {
			t.Fatalf("%+v %v", page, err)
		}
		for _, p := range page {
			values = append(values, p.Value)
			if p.Why != "" || p.By != "" {
				t.Errorf("up to AMBER: %+v", p)
			}
		}
		next = cursor
	}
	if want := []string{"n0.example", "n1.example", "n2.example", "n3.example", "n4.example"}; !slices.Equal(values, want) {
		t.Errorf("%v", values)
	}
	all, _, err := b.Policies(t.Context(), api.PolicyQuery{Limit: 10, Ceiling: notice.TLPAmberStrict})
	if err != nil || len(all) != 6 || all[5].Why+all[1].Why != "secret"+"secret" && all[0].Why == "" {
		t.Errorf("%+v %v", all, err)
	}
	if _, _, err := b.Policies(t.Context(), api.PolicyQuery{Limit: 10, Next: "nonsense"}); err == nil {
		t.Error("a cursor of nowhere is taken")
	}
}

// What cannot be decided changes nothing, and the error names the place and the fix.
func TestDecideBadInput(t *testing.T) {
	b := newBench(t)
	b.decides(t, deny("evil.example"))
	long := deny("a.example")
	long.Why = strings.Repeat("x", api.PolicyWhyMax+1)
	for _, c := range []struct {
		bad           api.PolicyRequest
		field, reason string
	}{
		{allow("0.0.0.0/0"), "value", "wide"},
		{deny("::/0"), "value", "wide"},
		{allow("co.uk"), "value", "public suffix"},
		{deny("github.io"), "value", "public suffix"},
		{allow("evil.example"), "value", "evil.example is denied here, since 20"},
		{removed(allow("evil.example")), "value", "evil.example is denied here"},
		{removed(deny("good.example")), "value", "good.example is not denied here"},
		{removed(deny("first.example")), "value", "named twice"},
		{api.PolicyRequest{Value: "a.example", Decision: "forbid"}, "decision", "no decision"},
		{api.PolicyRequest{Value: "a.example", Type: "colour", Decision: "deny"}, "type", "colour"},
		{deny(""), "value", ""},
		{long, "why", "short"},
	} {
		_, err := b.Decide(t.Context(), "desk", []api.PolicyRequest{deny("first.example"), c.bad})
		var field *notice.FieldError
		if !errors.As(err, &field) || field.Field != "body.policies[1]."+c.field || !strings.Contains(field.Reason, c.reason) || field.Fix == "" {
			t.Errorf("%+v: %v", c.bad, err)
		}
		if all, _, _ := b.Policies(t.Context(), api.PolicyQuery{Limit: 10}); len(all) != 1 {
			t.Fatalf("%+v changed something: %+v", c.bad, all)
		}
	}
}

// A verdict under a ceiling is that of a node that never heard the rest.
func TestVerdictUnderCeiling(t *testing.T) {
	b := newBench(t)
	b.configure(t, map[string]string{"block": "min_members = 2"})
	b.told(t, b.author, crypto.Header{Audience: crypto.AudienceCommunity, TLP: uint8(notice.TLPGreen)}, nil, b.sighting(t, "evil.example"))
	b.told(t, b.other, crypto.Header{TLP: uint8(notice.TLPAmber)}, nil, b.sighting(t, "evil.example"))
	for _, o := range []api.LookupOptions{{}, {Reasons: true}} {
		for ceiling, want := range map[notice.TLP]string{notice.TLPClear: "nothing", notice.TLPGreen: "detect 80", notice.TLPAmber: "block 96", 0: "block 96"} {
			o.Ceiling = ceiling
			if got := b.worth(t, "evil.example", o); !strings.HasPrefix(got, want) || strings.Contains(got, "2 members") {
				t.Errorf("up to %s: %s, want %s", ceiling, got, want)
			}
		}
	}
}

// The verdict of a bulk lookup, which reads summaries, is that of all the words.
func TestBriefIsVerdict(t *testing.T) {
	b := newBench(t)
	b.configure(t, map[string]string{"block": "min_members = 2", "never_block": "suppliers = [\"v1.example\"]"})
	members := []*testkit.Member{b.author, b.other}
	last := map[*testkit.Member]*crypto.Envelope{}
	salt := 0
	names := []string{"v0.example", "a.v0.example", "v1.example", "198.51.100.7", "198.51.100.0/24", "http://v0.example/x", "mail@v0.example", "v2.example"}
	said := map[*testkit.Member][]crypto.ItemID{}
	rapid.Check(t, func(rt *rapid.T) {
		m := rapid.SampledFrom(members).Draw(rt, "member")
		n := b.sighting(t, rapid.SampledFrom(names).Draw(rt, "value"))
		salt++
		n.Salt = [16]byte{byte(salt >> 8), byte(salt), 7}
		seen := b.clock.now() - rapid.Int64Range(0, 100*24).Draw(rt, "hours ago")*time.Hour.Milliseconds()
		n.FirstSeen, n.LastSeen = seen, seen
		switch kind := rapid.IntRange(0, 6).Draw(rt, "kind"); {
		case kind <= 1:
			n.Kind, n.Count = notice.KindIndicator, 0
			n.Origin = &notice.Origin{Source: rapid.SampledFrom([]string{"misp:A", "misp:B"}).Draw(rt, "source"), ID: fmt.Sprint(salt)}
		case kind == 2:
			n = &notice.Notice{Kind: notice.KindDispute, Salt: n.Salt, Created: n.Created, Indicator: n.Indicator, Reason: "ours"}
		case kind == 3 && len(said[m]) > 0:
			id := rapid.SampledFrom(said[m]).Draw(rt, "taken back")
			n = &notice.Notice{Kind: notice.KindRetraction, Salt: n.Salt, Created: n.Created, Ref: &id}
		}
		h := crypto.Header{Audience: crypto.AudienceRegion, TLP: uint8(rapid.SampledFrom([]notice.TLP{notice.TLPAmber, notice.TLPGreen}).Draw(rt, "TLP"))}
		var id crypto.ItemID
		raw := encode(t, n)
		h.Time = b.clock.now()
		last[m] = m.Envelope(t, h, last[m], raw)
		b.takes(t, last[m], mesh.ViaSync)
		id = crypto.NewItemID(m.ID, crypto.LeafHash(raw))
		said[m] = append(said[m], id)
		b.clock.advance(time.Duration(rapid.IntRange(0, 12).Draw(rt, "hours")) * time.Hour)

		ceiling := rapid.SampledFrom([]notice.TLP{0, notice.TLPGreen, notice.TLPAmber}).Draw(rt, "ceiling")
		values := append([]string{"x.a.v0.example", "https://198.51.100.7/y"}, names...)
		brief, err := b.Lookup(t.Context(), values, api.LookupOptions{Ceiling: ceiling, Hosts: salt%2 == 0})
		if err != nil {
			rt.Fatal(err)
		}
		full, err := b.Lookup(t.Context(), values, api.LookupOptions{Ceiling: ceiling, Hosts: salt%2 == 0, Reasons: true})
		if err != nil {
			rt.Fatal(err)
		}
		for i := range values {
			x, y := brief[i].Verdict, full[i].Verdict
			if (x == nil) != (y == nil) || (x == nil) == brief[i].Known {
				rt.Fatalf("%s: %+v, %+v", values[i], brief[i], full[i])
			}
			if x != nil && (x.Level != y.Level || x.Score != y.Score || x.Guarded != y.Guarded) {
				rt.Fatalf("%s under %s: in brief %+v, by all words %+v", values[i], ceiling, x, y)
			}
		}
	})
}

func list(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const (
	resolvers = `{"name": "Resolvers", "type": "cidr", "matching_attributes": ["ip-dst"], "list": ["203.0.113.53"]}`
	popular   = `{"name": "Popular", "type": "hostname", "matching_attributes": ["domain"], "list": ["popular.example"]}`
)

// Warninglists are read at the start and again when they change; one that is broken
// since takes nothing away and is named.
func TestWarninglistsAreReadAgain(t *testing.T) {
	b := newBench(t)
	dir := filepath.Join(b.dir, "lists")
	list(t, dir, "resolvers.json", resolvers)
	b.configure(t, map[string]string{"warninglists": "dir = \"lists\"", "block": "min_members = 1"})
	b.state(t, "203.0.113.53")
	b.state(t, "popular.example")
	expect := func(when, resolver, name string, warnings ...string) {
		t.Helper()
		if got := b.worth(t, "203.0.113.53", api.LookupOptions{}); got != resolver {
			t.Errorf("%s the resolver is %s, want %s", when, got, resolver)
		}
		if got := b.worth(t, "www.popular.example", api.LookupOptions{}); got != name {
			t.Errorf("%s the name is %s, want %s", when, got, name)
		}
		status, err := b.Status(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		found := slices.DeleteFunc(status.Warnings, func(w string) bool { return !strings.Contains(w, "warninglist") })
		if len(found) != len(warnings) {
			t.Errorf("%s the status warns of %q, want %q", when, found, warnings)
			return
		}
		for i, w := range warnings {
			if !strings.Contains(found[i], w) {
				t.Errorf("%s the status warns of %q, want %q", when, found, warnings)
			}
		}
	}
	changed := func() {
		t.Helper()
		told := b.PolicyChanged()
		b.RefreshPolicies()
		select {
		case <-told:
			t.Error("read while it may still be written")
		default:
		}
		b.RefreshPolicies()
	}
	const blocked, kept = "block 80", "detect 80 guarded"
	expect("at first", kept, blocked)

	list(t, dir, "popular.json", popular)
	changed()
	expect("with another list", kept, kept)

	list(t, dir, "resolvers.json", resolvers[:40])
	changed()
	expect("with a broken list", kept, kept, "resolvers.json")

	list(t, dir, "office.json", `{"name": "Office", "list": `)
	list(t, dir, "resolvers.json", resolvers+" ")
	changed()
	expect("with a new one that is broken", kept, kept, "office.json")

	if err := errors.Join(os.Remove(filepath.Join(dir, "popular.json")), os.Remove(filepath.Join(dir, "office.json"))); err != nil {
		t.Fatal(err)
	}
	changed()
	expect("without a list", kept, blocked)

	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	changed()
	expect("without the directory", kept, blocked, "cannot be read")
	if err := os.Rename(dir+".old", dir); err != nil {
		t.Fatal(err)
	}
	changed()
	expect("with it again", kept, blocked)

	b.decides(t, deny("203.0.113.53"))
	expect("denied", blocked, blocked)
}

// BenchmarkVerdicts asks for 10,000 known values at once: by their summaries, by all
// that was said since the policy asks who said it, and with the reasons.
func BenchmarkVerdicts(b *testing.B) {
	for _, c := range []struct {
		name    string
		tables  map[string]string
		options api.LookupOptions
	}{
		{"summaries", nil, api.LookupOptions{}},
		{"words", map[string]string{"block": "families = [\"Qakbot\"]"}, api.LookupOptions{}},
		{"reasons", nil, api.LookupOptions{Reasons: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newBench(b)
			w.configure(b, c.tables)
			var last *crypto.Envelope
			values := make([]string, 0, 10_000)
			for len(values) < cap(values) {
				items := make([][]byte, 500)
				for i := range items {
					values = append(values, fmt.Sprintf("n%d.example", len(values)))
					items[i] = w.item(b, values[len(values)-1])
				}
				last = w.author.Envelope(b, crypto.Header{Time: w.clock.now()}, last, items...)
				w.takes(b, last, mesh.ViaSync)
			}
			for b.Loop() {
				answers, err := w.Lookup(b.Context(), values, c.options)
				if err != nil || answers[0].Verdict == nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(values)), "ns/value")
		})
	}
}
