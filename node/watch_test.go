package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// A logged is a node of a region that reads logs: the directory logs beside its own.
type logged struct {
	*bench
	logs string
}

// newLogged makes a node with a configuration of logs; %s in it is the directory in
// which they are. It is open, and Start lets it read.
func newLogged(t *testing.T, settings string) *logged {
	t.Helper()
	l := &logged{bench: benchAt(t, t.TempDir(), &clock{}), logs: t.TempDir()}
	addSettings(t, l.dir, strings.ReplaceAll(settings, "%s", l.logs))
	l.open(t)
	return l
}

// addSettings adds to a node's configuration, which has most tables already.
func addSettings(t testing.TB, dir, settings string) {
	t.Helper()
	path := filepath.Join(dir, node.ConfigFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := string(text)
	for part := range strings.SplitSeq("\n"+settings, "\n[") {
		if head, rest, _ := strings.Cut(part, "]\n"); strings.HasPrefix(head, "[") || !strings.Contains(all, "\n["+head+"]\n") {
			all += "\n[" + part + "\n"
		} else {
			all = strings.Replace(all, "\n["+head+"]\n", "\n["+head+"]\n"+rest+"\n", 1)
		}
	}
	if err := os.WriteFile(path, []byte(strings.Replace(all, "\n[\n", "\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

const oneLog = `[[logs]]
name = "resolver"
path = "%s/dns.log"
format = "dnsmasq"
`

// query is a line of dnsmasq.
func query(name string) string {
	return "Nov 27 10:00:00 dnsmasq[1]: query[A] " + name + " from 10.0.0.5\n"
}

func (l *logged) write(t testing.TB, name, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(l.logs, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// knowsOf lets another member report values.
func (l *logged) knowsOf(t testing.TB, values ...string) {
	t.Helper()
	var items [][]byte
	for _, v := range values {
		items = append(items, l.item(t, v))
	}
	l.takes(t, l.author.Envelope(t, crypto.Header{Time: l.clock.now(), TLP: uint8(notice.TLPAmber)}, nil, items...), mesh.ViaSync)
}

// hit returns the alert of a value, "" if there is none.
func (l *logged) hit(t testing.TB, value string) string {
	t.Helper()
	for _, a := range l.alerts(t, "hit") {
		if strings.Contains(a.Text, " "+value+" ") || strings.Contains(a.Text, " "+value+",") {
			return a.Text
		}
	}
	return ""
}

func (l *logged) awaitHit(t testing.TB, value string) string {
	t.Helper()
	eventually(t, value+" is alerted", func() bool { return l.hit(t, value) != "" })
	return l.hit(t, value)
}

func (l *logged) log(t testing.TB, name string) api.LogView {
	t.Helper()
	all, err := l.Logs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("no log %s in %+v", name, all)
	return api.LogView{}
}

func (l *logged) warned(t testing.TB, text string) bool {
	t.Helper()
	return slices.ContainsFunc(l.status(t).Warnings, func(w string) bool { return strings.Contains(w, text) })
}

// A line that names what another hospital reported is an alert, once a day, with the
// line, what matched and how often; what nobody knows is none.
func TestLogHit(t *testing.T) {
	l := newLogged(t, oneLog)
	l.knowsOf(t, "evil.example", "last.example")
	l.start(t, nil)
	eventually(t, "what is known was held against an empty history", func() bool {
		at, err := l.Store().Cursor("history")
		return err == nil && at >= l.Store().Last()
	})
	l.write(t, "dns.log", query("fine.example")+query("a.evil.example")+query("b.evil.example"))
	text := l.awaitHit(t, "a.evil.example")
	for _, want := range []string{"HIT in log resolver: query a.evil.example, which matches domain evil.example (detect). 2 lines, ", "Why: "} {
		if !strings.Contains(text, want) {
			t.Errorf("the alert lacks %q: %s", want, text)
		}
	}
	if a := l.alerts(t, "hit")[0]; a.TLP != "AMBER" || a.Severity != "warning" || !strings.HasSuffix(a.Line, "query[A] a.evil.example from 10.0.0.5") {
		t.Errorf("it is marked %s, %s, with the line %q", a.TLP, a.Severity, a.Line)
	}
	if all, _, err := l.Alerts(t.Context(), api.AlertQuery{Ceiling: notice.TLPAmber, Limit: 10}); err != nil || len(all) != 1 || all[0].Line != "" || strings.Contains(all[0].Text, "10.0.0.5") {
		t.Errorf("under AMBER: %+v, %v", all, err)
	}
	l.write(t, "dns.log", query("evil.example")+query("last.example"))
	l.awaitHit(t, "last.example")
	if n := len(l.alerts(t, "hit")); n != 2 {
		t.Errorf("%d alerts of two values", n)
	}
	if v := l.log(t, "resolver"); v.Lines != 5 || v.Hits != 4 || v.Broken+v.Other+v.Cut != 0 || v.Format != "dnsmasq" || v.Problem != "" {
		t.Errorf("%+v", v)
	}
	l.stop(t) // which brings the counts up
	l.open(t)
	if text := l.hit(t, "a.evil.example"); !strings.Contains(text, " 3 lines, ") {
		t.Errorf("the count is not brought up: %s", text)
	}
}

// What is learnt later counts from then on, also of a value that was looked up before.
func TestLogHitsWhatComesLater(t *testing.T) {
	l := newLogged(t, oneLog)
	l.start(t, nil)
	l.write(t, "dns.log", query("evil.example"))
	eventually(t, "the line is read", func() bool { return l.log(t, "resolver").Lines == 1 })
	l.knowsOf(t, "evil.example")
	l.write(t, "dns.log", query("evil.example"))
	if text := l.awaitHit(t, "evil.example"); !strings.Contains(text, "1 line,") {
		t.Errorf("%s", text)
	}
}

// Drills, what was taken back and what is this house's own make no hits.
func TestLogHitsNothingElse(t *testing.T) {
	l := newLogged(t, oneLog)
	drill := l.author.Envelope(t, crypto.Header{Time: l.clock.now(), Exercise: true}, nil, l.item(t, "drill.example"))
	l.takes(t, drill, mesh.ViaSync)
	back := encode(t, l.sighting(t, "back.example"))
	said := l.author.Envelope(t, crypto.Header{Time: l.clock.now(), Exercise: false}, drill, back)
	l.takes(t, said, mesh.ViaSync)
	id := crypto.NewItemID(l.author.ID, crypto.LeafHash(back))
	taken := encode(t, l.word(notice.KindRetraction, 3, func(n *notice.Notice) { n.Ref = &id }))
	l.takes(t, l.author.Envelope(t, crypto.Header{Time: l.clock.now()}, said, taken), mesh.ViaSync)
	l.state(t, "10.9.8.7") // a special-use address that somebody insists on
	l.state(t, "last.example")
	l.write(t, "dns.log", query("drill.example")+query("back.example")+"Nov 27 10:00:00 dnsmasq[1]: reply x.example is 10.9.8.7\n"+query("last.example"))
	l.start(t, nil)
	l.awaitHit(t, "last.example")
	if all := l.alerts(t, "hit"); len(all) != 1 {
		t.Errorf("%+v", all)
	}
}

// After a crash lines are read again, and nobody is alerted again.
func TestLogsAfterCrash(t *testing.T) {
	l := newLogged(t, oneLog)
	l.knowsOf(t, "evil.example", "two.example", "three.example")
	l.write(t, "dns.log", query("evil.example"))
	l.start(t, nil)
	l.awaitHit(t, "evil.example")
	l.stop(t)
	state := filepath.Join(l.dir, "logs.json")
	before, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	l.write(t, "dns.log", query("two.example")+query("two.example"))
	l.open(t)
	l.start(t, nil)
	l.awaitHit(t, "two.example")
	l.stop(t)
	if err := os.WriteFile(state, before, 0o600); err != nil { // it stopped before it could write down how far it was
		t.Fatal(err)
	}
	l.write(t, "dns.log", query("three.example"))
	l.open(t)
	l.start(t, nil)
	l.awaitHit(t, "three.example")
	if v := l.log(t, "resolver"); v.Lines != 3 {
		t.Errorf("%d lines were read after the crash", v.Lines)
	}
	if n := len(l.alerts(t, "hit")); n != 3 {
		t.Errorf("%d alerts", n)
	}
	l.stop(t)
	for damage, text := range map[string][]byte{"cut": before[:len(before)/2], "other": []byte(`[1]`), "empty": nil} {
		if err := os.WriteFile(state, text, 0o600); err != nil {
			t.Fatal(err)
		}
		l.open(t)
		l.start(t, nil)
		eventually(t, damage+": all is read anew", func() bool { return l.log(t, "resolver").Lines == 4 })
		if n := len(l.alerts(t, "hit")); n != 3 {
			t.Errorf("%s: %d alerts", damage, n)
		}
		l.stop(t)
	}
}

// Zeek names its fields at the start of a file: that is known after a restart too.
func TestLogsHeaderAfterStart(t *testing.T) {
	l := newLogged(t, "[[logs]]\nname = \"zeek\"\npath = \"%s/*.log\"\n")
	l.knowsOf(t, "one.example", "two.example")
	line := func(name string) string {
		return "1795770000.1\tC1\t10.0.0.5\t5353\t10.0.0.53\t53\tudp\t" + name + "\n"
	}
	l.write(t, "dns.log", "#separator \\x09\n#path\tdns\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tquery\n"+line("one.example"))
	l.start(t, nil)
	l.awaitHit(t, "one.example")
	l.stop(t)
	l.write(t, "dns.log", line("two.example"))
	l.open(t)
	l.start(t, nil)
	l.awaitHit(t, "two.example")
	if v := l.log(t, "zeek"); v.Lines != 1 || v.Broken != 0 || v.Format != "zeek" {
		t.Errorf("%+v", v)
	}
}

// A flood of hits is one alert that says so.
func TestLogsFloodOfHits(t *testing.T) {
	l := newLogged(t, oneLog)
	var text strings.Builder
	const values = 230
	var items []string
	for i := range values {
		items = append(items, fmt.Sprintf("evil-%d.example", i))
		text.WriteString(query(items[i]))
	}
	l.knowsOf(t, items...)
	l.write(t, "dns.log", text.String())
	l.start(t, nil)
	eventually(t, "it is said that there are more", func() bool {
		return slices.ContainsFunc(l.alerts(t, "hit"), func(a api.AlertView) bool {
			return strings.Contains(a.Text, "more than 200 known values") && a.TLP == "RED"
		})
	})
	stored, err := l.Store().Alerts(0, 0, 1000)
	hits := slices.DeleteFunc(slices.Clone(stored), func(a store.Alert) bool { return a.Kind != "hit" })
	if err != nil || len(hits) != 201 || len(stored) > 202 { // and one that the hits are too many to page for each
		t.Errorf("%d alerts, %d of them hits, %v", len(stored), len(hits), err)
	}
	if v := l.log(t, "resolver"); v.Hits != values {
		t.Errorf("%d hits", v.Hits)
	}
}

// What is told of hits is what others know already: never a line, a user, an inside
// address, or the name below the one that is known.
func TestLogsShare(t *testing.T) {
	l := newLogged(t, strings.Replace(oneLog, "format =", "share = true\nformat =", 1))
	said := l.item(t, "evil.example")
	e := l.author.Envelope(t, crypto.Header{Time: l.clock.now(), TLP: uint8(notice.TLPAmber)}, nil, said)
	l.takes(t, e, mesh.ViaSync)
	l.submit(t, api.SubmitOptions{Local: true}, api.Submission{Kind: "indicator", Value: "kept.example", TLP: "AMBER+STRICT"})
	l.write(t, "dns.log", query("secret-of-anna.evil.example")+query("evil.example")+query("kept.example"))
	l.start(t, nil)
	told := func() (out []api.NoticeView) {
		all, _, err := l.Notices(t.Context(), api.Query{Kind: notice.KindSighting, Mine: true, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	eventually(t, "the hit is told", func() bool { return len(told()) == 1 })
	s := told()[0]
	if s.Indicator.Value != "evil.example" || s.Count != 2 || s.TLP != "AMBER" || s.Origin == nil || s.Origin.Source != "logs" || s.Audience != "region" {
		t.Errorf("%+v", s)
	}
	id, _ := crypto.ParseItemID(s.ID)
	r, found, err := l.Store().Record(id)
	if err != nil || !found {
		t.Fatal(err)
	}
	contents, err := notice.Contents(encode(t, r.Notice))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contents {
		if strings.Contains(c.Value, "anna") || strings.Contains(c.Value, "10.0.0.5") || strings.Contains(c.Value, "resolver") || strings.Contains(c.Value, "Hospital") {
			t.Errorf("what is told has %s: %s", c.Key, c.Value)
		}
	}
	l.awaitHit(t, "kept.example") // alerted here, and told to nobody
	if all := told(); len(all) != 1 {
		t.Errorf("%+v", all)
	}
	// The author takes its word back: what was told of hits of it is no reason for more.
	word := crypto.NewItemID(l.author.ID, crypto.LeafHash(said))
	l.takes(t, l.author.Envelope(t, crypto.Header{Time: l.clock.now(), TLP: uint8(notice.TLPAmber)}, e,
		encode(t, l.word(notice.KindRetraction, 9, func(n *notice.Notice) { n.Ref = &word })), l.item(t, "last.example")), mesh.ViaSync)
	hits := l.log(t, "resolver").Hits
	l.write(t, "dns.log", query("evil.example")+query("last.example"))
	l.awaitHit(t, "last.example")
	if got := l.log(t, "resolver").Hits; got != hits+1 {
		t.Errorf("%d hits after what was hit was taken back, before %d", got, hits)
	}
}

// At most a hundred values a day are told by machine, which is said.
func TestLogsShareBound(t *testing.T) {
	l := newLogged(t, strings.Replace(oneLog, "format =", "share = true\nformat =", 1))
	var text strings.Builder
	var items []string
	for i := range 120 {
		items = append(items, fmt.Sprintf("evil-%d.example", i))
		text.WriteString(query(items[i]))
	}
	l.knowsOf(t, items...)
	l.write(t, "dns.log", text.String())
	l.start(t, nil)
	eventually(t, "it is said", func() bool { return len(l.alerts(t, "hits-not-told")) == 1 })
	l.stop(t)
	l.open(t)
	l.write(t, "dns.log", query("evil-119.example"))
	l.start(t, nil)
	eventually(t, "the line is read", func() bool { return l.log(t, "resolver").Lines == 1 })
	all, _, err := l.Notices(t.Context(), api.Query{Kind: notice.KindSighting, Mine: true, Limit: 1000})
	if err != nil || len(all) != 100 {
		t.Errorf("%d were told, %v", len(all), err)
	}
}

// What this house denies is its own business: only what members' words alone have it watch
// for is told.
func TestLogsShareNotWhatIsDenied(t *testing.T) {
	l := newLogged(t, strings.Replace(oneLog, "format =", "share = true\nformat =", 1))
	back := l.item(t, "back.example")
	first := l.author.Envelope(t, crypto.Header{Time: l.clock.now()}, nil, back)
	l.takes(t, first, mesh.ViaSync)
	id := crypto.NewItemID(l.author.ID, crypto.LeafHash(back))
	taken := encode(t, l.word(notice.KindRetraction, 3, func(n *notice.Notice) { n.Ref = &id }))
	l.takes(t, l.author.Envelope(t, crypto.Header{Time: l.clock.now()}, first, taken, l.item(t, "both.example"), l.item(t, "last.example")), mesh.ViaSync)
	l.decides(t, deny("denied.example"), deny("back.example"), deny("both.example"))
	l.write(t, "dns.log", query("anna-ward3.denied.example")+query("anna.back.example")+query("anna.both.example")+query("last.example"))
	l.start(t, nil)
	for _, value := range []string{"anna-ward3.denied.example", "anna.back.example", "anna.both.example"} {
		l.awaitHit(t, value)
	}
	for _, a := range l.alerts(t, "hit") { // and what only this house knows goes to no sink but its own people's
		if own := a.About.Value == "anna-ward3.denied.example" || a.About.Value == "back.example"; own != (a.TLP == "AMBER+STRICT") {
			t.Errorf("%s is marked %s", a.About.Value, a.TLP)
		}
	}
	told := func() (out []string) {
		all, _, err := l.Notices(t.Context(), api.Query{Kind: notice.KindSighting, Mine: true, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range all {
			out = append(out, n.Indicator.Value)
		}
		slices.Sort(out)
		return out
	}
	eventually(t, "what others reported is told", func() bool { return len(told()) >= 2 })
	l.stop(t)
	l.open(t)
	if got := told(); !slices.Equal(got, []string{"both.example", "last.example"}) {
		t.Errorf("told: %q", got)
	}
}
