package node_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const twoLogs = oneLog + `
[[logs]]
name = "second"
path = "%s/second.log"
format = "dnsmasq"
`

// reports lets another member report a value, and returns the notice.
func (l *logged) reports(t testing.TB, prev *crypto.Envelope, value, family string) (crypto.ItemID, *crypto.Envelope) {
	t.Helper()
	n := l.sighting(t, value)
	if family != "" {
		n.Context = &notice.Context{Family: family}
	}
	item := encode(t, n)
	e := l.author.Envelope(t, crypto.Header{Time: l.clock.now(), TLP: uint8(notice.TLPAmber)}, prev, item)
	l.takes(t, e, mesh.ViaSync)
	return crypto.NewItemID(l.author.ID, crypto.LeafHash(item)), e
}

// About hits of the own logs rules, groups, silences and inhibitions know the value, and
// what the words behind it say.
func TestHitIsAboutItsValue(t *testing.T) {
	h := newHook(t)
	l := newLogged(t, twoLogs+hooked(t, h)+`
[[alerts.rules]]
name = "family"
kind = ["hit"]
family = ["qakbot"]
author = ["author"]
verdict = ["detect"]
type = ["domain"]
do = "send"
`)
	evil, e := l.reports(t, nil, "evil.example", "")
	_, e = l.reports(t, e, "quiet.example", "")
	_, e = l.reports(t, e, "family.example", "Qakbot")
	last, _ := l.reports(t, e, "last.example", "")
	if _, err := l.Silence(t.Context(), api.SilenceRequest{Match: map[string][]string{"value": {"quiet.example"}}, Seconds: int64(time.Hour / time.Second), Why: "known"}, "eva"); err != nil {
		t.Fatal(err)
	}
	l.start(t, nil)
	eventually(t, "what is known was held against an empty history", func() bool {
		at, err := l.Store().Cursor("history")
		return err == nil && at >= l.Store().Last()
	})
	l.write(t, "dns.log", query("a.evil.example")+query("quiet.example")+query("family.example"))
	eventually(t, "the first log's are told", func() bool { return len(h.texts()) == 2 })
	l.write(t, "second.log", query("b.evil.example"))
	eventually(t, "the second log hits it too", func() bool { return len(l.alerts(t, "hit")) == 4 })
	l.Raise(store.Alert{Kind: "seen-here", Severity: "warning", TLP: notice.TLPAmber, Text: "evil.example was here", Refs: []crypto.ItemID{evil}, Dedup: "seen"})
	// A word may speak of something else than the line.
	l.Raise(store.Alert{Kind: "hit", Severity: "warning", TLP: notice.TLPAmber, Text: "about.example", Refs: []crypto.ItemID{evil}, About: &store.About{Type: notice.TypeDomain, Value: "about.example"}, Dedup: "about"})
	l.write(t, "dns.log", query("last.example"))
	eventually(t, "the last is told", func() bool { return len(h.texts()) >= 4 })
	h.mu.Lock()
	defer h.mu.Unlock()
	var got []string
	for _, m := range h.got {
		got = append(got, strings.Join([]string{m["type"].(string), m["kind"].(string), m["value_type"].(string), m["value"].(string)}, " "))
	}
	if want := []string{"page hit domain evil.example", "send hit domain family.example", "page hit domain about.example", "page hit domain last.example"}; !slices.Equal(got, want) {
		t.Errorf("told: %q, want %q", got, want)
	}
	if refs := h.got[0]["refs"].([]any); len(refs) != 1 || refs[0] != evil.String() {
		t.Errorf("refs %v, want %s", refs, evil)
	}
	all := l.alerts(t, "hit")
	if a := all[0]; a.About == nil || *a.About != (api.Indicator{Type: "domain", Value: "last.example"}) || !slices.Equal(a.Refs, []string{last.String()}) {
		t.Errorf("%+v", a)
	}
	states := map[string]string{}
	for _, a := range all {
		states[a.About.Value] += a.State + a.Group + " "
	}
	if s := strings.Fields(states["evil.example"]); len(s) != 2 || s[0] != s[1] || !strings.HasPrefix(states["quiet.example"], "silenced") {
		t.Errorf("%q", states)
	}
}

// The line of a hit names who sits where: only a sink that asks for lines gets it.
func TestLinesGoWhereTheyAreAskedFor(t *testing.T) {
	h, lined := newHook(t), newHook(t)
	l := newLogged(t, oneLog+hooked(t, h)+strings.Replace(hooked(t, lined), `name = "hook"`, "name = \"lined\"\nlines = true", 1))
	l.reports(t, nil, "evil.example", "")
	l.write(t, "dns.log", query("evil.example"))
	l.start(t, nil)
	eventually(t, "both are told", func() bool { return len(h.texts()) == 1 && len(lined.texts()) == 1 })
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, v := range h.got[0] {
		if text, ok := v.(string); ok && strings.Contains(text, "10.0.0.5") {
			t.Errorf("%s has the line: %s", key, text)
		}
	}
	lined.mu.Lock()
	defer lined.mu.Unlock()
	if got := lined.got[0]["line"]; got != strings.TrimSuffix(query("evil.example"), "\n") {
		t.Errorf("the line is %v", got)
	}
}

// A hit of what others said has their marking, also where it is a supplier; that something
// is denied here is for this house.
func TestHitsAreMarkedAsWhatMakesThem(t *testing.T) {
	l := newLogged(t, oneLog+"\n[never_block]\nsuppliers = [\"vendor.example\"]\n")
	l.reports(t, nil, "vendor.example", "")
	l.start(t, nil)
	l.decides(t, deny("denied.example"))
	l.write(t, "dns.log", query("vendor.example")+query("denied.example"))
	l.awaitHit(t, "vendor.example")
	l.awaitHit(t, "denied.example")
	for _, a := range l.alerts(t, "hit") {
		if want := map[string]string{"vendor.example": "AMBER", "denied.example": "AMBER+STRICT"}[a.About.Value]; a.TLP != want {
			t.Errorf("%s is %s, want %s", a.About.Value, a.TLP, want)
		}
	}
}
