package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/alert/sink"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// A hook is a webhook that notes what it gets, and may keep who calls waiting.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	got    []map[string]any
	signed []bool
	calls  int
	hold   chan struct{} // what is called waits for it; nil: nobody waits
}

const hookKey = "a key that nobody else has"

func newHook(t *testing.T) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		var m map[string]any
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Errorf("%v: %s", err, raw)
		}
		want := sink.Sign(hookKey, r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp"), raw)
		h.mu.Lock()
		h.calls++
		hold := h.hold
		h.mu.Unlock()
		if hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
				return
			}
		}
		h.mu.Lock()
		h.got, h.signed = append(h.got, m), append(h.signed, r.Header.Get("Webhook-Signature") == want && m["id"] == r.Header.Get("Idempotency-Key"))
		h.mu.Unlock()
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) texts() (out []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.got {
		out = append(out, fmt.Sprint(m["text"]))
	}
	return out
}

// telling is a bench with a configuration of alerts, which is not open.
func telling(t *testing.T, toml string) *bench {
	t.Helper()
	b := benchAt(t, t.TempDir(), &clock{})
	b.tell(t, toml)
	return b
}

func (h *hospital) tell(t *testing.T, toml string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(h.dir, node.ConfigFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("\n" + toml); err != nil {
		t.Fatal(err)
	}
}

func hooked(t *testing.T, h *hook) string {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(hookKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
[[alerts.sinks]]
name = "hook"
type = "webhook"
url = %q
secret_file = %q
private = true
tlp = "AMBER"
`, h.URL, key)
}

// What a rule chooses among notices is sent as it arrives, signed; what it does not
// choose, what is above the sink, and what was sent before is not.
func TestIndicatorReachesWebhook(t *testing.T) {
	h := newHook(t)
	b := telling(t, hooked(t, h)+`
[[alerts.rules]]
name = "all"
notice = ["sighting"]
type = ["domain"]
verdict = ["detect"]
do = "send"
`)
	b.open(t)
	b.start(t, nil)
	say := func(m *testkit.Member, prev *crypto.Envelope, tlp notice.TLP, value string) *crypto.Envelope {
		_, e := b.told(t, m, crypto.Header{TLP: uint8(tlp)}, prev, b.sighting(t, value))
		return e
	}
	last := say(b.author, nil, notice.TLPAmber, "evil.example")
	last = say(b.author, last, notice.TLPAmber, "198.51.100.7")
	eventually(t, "the webhook was called", func() bool { return len(h.texts()) == 1 })
	if text := h.texts()[0]; !strings.HasPrefix(text, "sighting of domain evil.example, by author. More: watchward show ") || !h.signed[0] {
		t.Errorf("signed %t: %s", h.signed[0], text)
	}
	if m := h.got[0]; m["value"] != "evil.example" || m["value_type"] != "domain" || m["tlp"] != "AMBER" || m["type"] != "send" || m["node"] != "here" || m["kind"] != "sighting" {
		t.Errorf("%v", m)
	}
	b.stop(t)
	b.open(t)
	b.start(t, nil)
	say(b.author, last, notice.TLPAmber, "second.example")
	eventually(t, "the webhook was called again", func() bool { return len(h.texts()) >= 2 })
	if texts := h.texts(); len(texts) != 2 || !strings.Contains(texts[1], "second.example") {
		t.Errorf("%q", texts)
	}
}

// An alert that was stored before a crash is told after it; what was being sent is sent
// again under the same id; nothing else is told twice.
func TestAlertsOutliveCrash(t *testing.T) {
	h := newHook(t)
	h.hold = make(chan struct{})
	b := telling(t, hooked(t, h))
	b.open(t)
	if !b.Raise(store.Alert{Kind: "hit", Severity: "warning", TLP: notice.TLPAmber, Text: "first", Dedup: "1"}) {
		t.Fatal("not stored")
	}
	b.stop(t) // before anybody decided
	b.open(t)
	b.start(t, nil)
	calls := func() int { h.mu.Lock(); defer h.mu.Unlock(); return h.calls }
	eventually(t, "the webhook is called", func() bool { return calls() == 1 })
	b.stop(t) // before it answered
	h.mu.Lock()
	h.hold = nil
	h.mu.Unlock()
	b.open(t)
	b.start(t, nil)
	eventually(t, "it is called again", func() bool { return len(h.texts()) == 1 })
	b.Raise(store.Alert{Kind: "hit", Severity: "warning", TLP: notice.TLPAmber, Text: "second", Dedup: "2"})
	eventually(t, "the second comes", func() bool { return len(h.texts()) == 2 })
	b.stop(t)
	b.open(t)
	b.start(t, nil)
	b.Raise(store.Alert{Kind: "hit", Severity: "warning", TLP: notice.TLPRed, Text: "hush", Dedup: "3"})
	eventually(t, "the third comes", func() bool { return len(h.texts()) == 3 })
	if got, want := h.texts(), []string{"first", "second", catalog.For("").Text(catalog.AlertAbove)}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	ids := map[any]bool{}
	for _, m := range h.got {
		ids[m["id"]] = true
	}
	if len(ids) != 3 {
		t.Errorf("ids %v", ids)
	}

	// Acknowledging is for those who may see it.
	if _, found, err := b.AckAlert(t.Context(), "1", "eva", notice.TLPGreen); found || err != nil {
		t.Errorf("acknowledged from below: %t, %v", found, err)
	}
	v, found, err := b.AckAlert(t.Context(), "1", "eva", notice.TLPAmber)
	if !found || err != nil || v.State != "acknowledged" || v.AckBy != "eva" {
		t.Errorf("%+v, %t, %v", v, found, err)
	}
	b.stop(t)
	b.open(t)
	if all := b.alerts(t, "hit"); len(all) != 3 || all[2].State != "acknowledged" || all[1].State != "open" {
		t.Errorf("%+v", all)
	}
}

// A slow is a sink that a test holds.
type slow struct {
	mu   sync.Mutex
	got  []alert.Message
	fail func(m alert.Message) error // nil: it takes everything
	hang bool
}

func (s *slow) Send(ctx context.Context, m alert.Message) error {
	s.mu.Lock()
	hang, fail := s.hang, s.fail
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if fail != nil {
		if err := fail(m); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, m)
	return nil
}

// all returns what it has.
func (s *slow) all() []alert.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func (s *slow) count(types ...string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.got {
		if slices.Contains(types, m.Type) {
			n++
		}
	}
	return n
}

// lab opens a node in virtual time, with sinks that a test holds.
func lab(t *testing.T, dir, name string, alerts config.Alerts, sinks map[string]*slow) *node.Node {
	t.Helper()
	settings := config.Default()
	settings.Name, settings.Alerts.Rules, settings.Alerts.Sinks = name, alerts.Rules, alerts.Sinks
	n, err := node.Open(node.Options{Dir: dir, Settings: settings, Version: "test", Lab: &node.Lab{
		Path: func(p mesh.Path) mesh.Path { return p },
		Sink: func(name string) sink.Sink { return sinks[name] },
	}})
	if err != nil {
		t.Fatal(err)
	}
	n.StartTelling()
	return n
}

// A sink that hangs for an hour harms no other, and has all of it after that, in order.
func TestSinkHangsForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		makeNode(t, dir, "here")
		good, bad := &slow{}, &slow{hang: true}
		n := lab(t, dir, "here", config.Alerts{Sinks: []config.AlertSink{{Name: "bad", Type: "webhook", TLP: "AMBER"}, {Name: "good", Type: "webhook", TLP: "AMBER"}}},
			map[string]*slow{"bad": bad, "good": good})
		defer n.Close()
		for i := range 60 {
			n.Raise(store.Alert{Kind: "hit", Severity: "warning", TLP: notice.TLPAmber, Text: fmt.Sprint(i), Dedup: fmt.Sprint(i)})
			from := time.Now()
			synctest.Wait()
			if got := good.count("page"); time.Since(from) != 0 || got < min(i+1, 10) {
				t.Fatalf("after alert %d the good sink has %d", i, got)
			}
			time.Sleep(time.Minute)
		}
		if len(bad.all()) != 0 {
			t.Fatal("the bad sink does not hang")
		}
		s, err := n.Status(t.Context(), 0)
		if err != nil || !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, `the sink "bad" fails since`) }) {
			t.Errorf("%v, warnings %q", err, s.Warnings)
		}
		bad.mu.Lock()
		bad.hang = false
		bad.mu.Unlock()
		time.Sleep(10 * time.Minute)
		texts := func(s *slow) (out []string) {
			for _, m := range s.all() {
				if m.Type == "page" {
					out = append(out, m.Text)
				}
			}
			return out
		}
		if got, want := texts(bad), texts(good); !slices.Equal(got, want) {
			t.Errorf("the bad one has %q, the good one %q", got, want)
		}
		ids := map[string]bool{}
		for _, m := range bad.all() {
			if ids[m.ID] {
				t.Errorf("%s came again", m.ID)
			}
			ids[m.ID] = true
		}
		failing, _, err := n.Alerts(t.Context(), api.AlertQuery{Limit: 100})
		if err != nil || !slices.ContainsFunc(failing, func(a api.AlertView) bool {
			return a.Kind == "sink-failing" && strings.Contains(a.Text, `The sink "bad" is not reached`)
		}) {
			t.Errorf("nobody hears that the sink fails: %v", err)
		}
	})
}

// What a sink will never take holds up nothing behind it, what is never taken has an end,
// and the next sink of a page hears of it at once.
func TestSinkRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		makeNode(t, dir, "here")
		picky := &slow{fail: func(m alert.Message) error {
			if m.Text == "bad" {
				return &sink.Refused{Reason: "400"}
			}
			return nil
		}}
		dead, next := &slow{fail: func(alert.Message) error { return errors.New("connection refused") }}, &slow{}
		n := lab(t, dir, "here", config.Alerts{
			Sinks: []config.AlertSink{{Name: "picky", Type: "webhook"}, {Name: "dead", Type: "webhook"}, {Name: "next", Type: "webhook"}},
			Rules: []config.AlertRule{
				{Name: "all", Kind: []string{"x"}, Do: "send", To: []string{"picky"}, Limit: 100},
				{Name: "page", Kind: []string{"hit"}, Do: "page", To: []string{"dead"}, Then: []string{"next"}, Limit: 100},
				{Name: "none", Do: "drop"},
			}}, map[string]*slow{"picky": picky, "dead": dead, "next": next})
		defer n.Close()
		n.Raise(store.Alert{Kind: "x", Severity: "info", Text: "bad"})
		n.Raise(store.Alert{Kind: "x", Severity: "info", Text: "good"})
		n.Raise(store.Alert{Kind: "hit", Severity: "info", Text: "page"})
		time.Sleep(time.Minute)
		if got := picky.all(); len(got) != 1 || got[0].Text != "good" {
			t.Errorf("%+v", got)
		}
		if next.count("escalation") != 1 {
			t.Errorf("nobody else is told: %+v", next.all())
		}
		time.Sleep(26 * time.Hour)
		dead.mu.Lock()
		dead.fail = nil
		dead.mu.Unlock()
		time.Sleep(time.Hour)
		if dead.count(alert.TypePage) != 0 {
			t.Errorf("what is a day old is sent: %+v", dead.all())
		}
	})
}

// Who is next in a page hears at once of what a sink's queue has no room for.
func TestFullQueueTellsTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		makeNode(t, dir, "here")
		stuck, next := &slow{hang: true}, &slow{}
		n := lab(t, dir, "here", config.Alerts{
			Sinks: []config.AlertSink{{Name: "stuck", Type: "webhook"}, {Name: "next", Type: "webhook"}},
			Rules: []config.AlertRule{{Name: "page", Kind: []string{"hit"}, Do: "page", To: []string{"stuck"}, Then: []string{"next"}, Limit: 10_000}, {Name: "none", Do: "drop"}},
		}, map[string]*slow{"stuck": stuck, "next": next})
		defer n.Close()
		for i := range 1002 {
			n.Raise(store.Alert{Kind: "hit", Severity: "warning", TLP: notice.TLPGreen, Text: fmt.Sprint(i), Dedup: fmt.Sprint(i)})
		}
		synctest.Wait()
		var texts []string
		for _, m := range next.all() {
			texts = append(texts, m.Type+" "+m.Text)
		}
		if want := []string{"escalation 1000", "escalation 1001"}; !slices.Equal(texts, want) {
			t.Errorf("the next sink has %q, want %q", texts, want)
		}
		last, _, err := n.Alerts(t.Context(), api.AlertQuery{Limit: 3})
		if err != nil || !slices.ContainsFunc(last, func(a api.AlertView) bool {
			return a.Kind == "sink-failing" && strings.Contains(a.Text, "1000 alerts wait for it")
		}) {
			t.Errorf("%+v, %v", last, err)
		}
	})
}

// What a sink's files are called starts at the node's directory.
func TestSinkFilesAreTheNodes(t *testing.T) {
	h := newHook(t)
	b := telling(t, fmt.Sprintf("[[alerts.sinks]]\nname = \"hook\"\ntype = \"webhook\"\nurl = %q\nsecret_file = \"hook.key\"\nprivate = true\n", h.URL))
	if err := os.WriteFile(filepath.Join(b.dir, "hook.key"), []byte(hookKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.open(t)
	b.start(t, nil)
	b.Raise(store.Alert{Kind: "hit", Severity: "warning", TLP: notice.TLPGreen, Text: "x", Dedup: "1"})
	eventually(t, "the webhook was called", func() bool { return len(h.texts()) == 1 })
	if !h.signed[0] {
		t.Error("it is not signed")
	}
}

// An alert that a rule makes is durable before what it is made of counts as decided.
func TestWhatARuleMakesComesFirst(t *testing.T) {
	b := telling(t, "")
	b.open(t)
	made := alert.Raised{Kind: "rule-limit", Severity: "warning", Text: strings.Repeat("x", store.AlertTextMax+1), TLP: notice.TLPGreen}
	if at, err := b.StepAlerting(made, 7); err == nil || at == 7 {
		t.Errorf("an alert that was not made is decided: up to %d, %v", at, err)
	}
	made.Text = "more than 10"
	if at, err := b.StepAlerting(made, 7); err != nil || at != 7 || len(b.alerts(t, made.Kind)) != 1 {
		t.Errorf("decided up to %d, %v", at, err)
	}
}
