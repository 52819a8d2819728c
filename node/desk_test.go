package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

func ptr[T any](v T) *T { return &v }

// A memory keeps what is written to it, by many at once.
type memory struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (m *memory) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.Write(b)
}

func (m *memory) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.String()
}

// opens opens an incident of which a ransom is known.
func (h *hospital) opens(t testing.TB, c api.IncidentChange) api.IncidentView {
	t.Helper()
	if c.Title == nil {
		c.Title = ptr("Ransomware in radiology")
	}
	v, err := h.OpenIncident(t.Context(), c, "desk", notice.TLPRed)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (h *hospital) incident(t testing.TB, number string) api.IncidentView {
	t.Helper()
	v, found, err := h.Incident(t.Context(), number, notice.TLPRed)
	if err != nil || !found {
		t.Fatalf("incident %s: found %v, %v", number, found, err)
	}
	return v
}

// files drafts a report and sends it.
func (h *hospital) files(t testing.TB, number, stage, to string) api.IncidentSent {
	t.Helper()
	if _, _, err := h.DraftIncident(t.Context(), number, stage, "desk"); err != nil {
		t.Fatal(err)
	}
	v, _, err := h.SendIncident(t.Context(), number, api.IncidentSend{Stage: stage, To: to}, "desk", notice.TLPRed)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// deadline is the state of a report.
func deadline(v api.IncidentView, stage string) string {
	for _, d := range v.Deadlines {
		if d.Stage == stage {
			return d.State
		}
	}
	return ""
}

// answers are what a node says to whoever may see everything, by each way to ask that its
// description names.
func answers(t *testing.T, h *hospital, ids map[string]string) map[string]string {
	t.Helper()
	_, secret := h.reader(t, notice.TLPRed)
	if admin, err := client.Open(h.dir); err != nil {
		t.Fatal(err)
	} else {
		made, err := admin.CreateToken(t.Context(), api.TokenRequest{Name: "all", Role: "admin", Ceiling: "RED"})
		admin.Close()
		if err != nil {
			t.Fatal(err)
		}
		secret = made.Token
	}
	get := func(path string) (string, int) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, h.APIURL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+secret)
		res, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil && !strings.HasPrefix(path, "/v1/stream") { // which goes on until nobody listens
			t.Fatalf("%s: %v", path, err)
		}
		return string(body), res.StatusCode
	}
	var described struct {
		Paths map[string]map[string]json.RawMessage
	}
	text, _ := get("/openapi.json")
	if err := json.Unmarshal([]byte(text), &described); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for path, methods := range described.Paths {
		if methods["get"] == nil {
			continue
		}
		asked := path
		for name, id := range ids {
			asked = strings.ReplaceAll(asked, "{"+name+"}", id)
		}
		if path == "/v1/stream" {
			asked += "?after=0"
		}
		if strings.Contains(asked, "{") {
			continue
		}
		if text, status := get(asked); status == http.StatusOK {
			out[path] = text
		}
	}
	for _, extra := range []string{"/v1/export?format=csv&tlp=AMBER&unmarked=true", "/v1/export?format=misp&tlp=AMBER&unmarked=true", "/v1/export?format=stix&tlp=AMBER&unmarked=true",
		"/v1/notices?limit=1000", "/v1/bundle?audience=region", "/v1/bundle?audience=community", "/v1/filings/" + ids["id"] + "?format=json"} {
		out[extra], _ = get(extra)
	}
	return out
}

// plaintext is every word that a node's store has, as it is encoded: the plaintext of what is
// sealed, gossiped, synchronised and bundled, there is no other.
func plaintext(t *testing.T, h *hospital) (out [][]byte) {
	t.Helper()
	for _, kind := range append(notice.Kinds(), 0) {
		records, _, err := h.Store().List(store.Query{Kind: kind, Limit: store.ListMax, Lapsed: true, Takeback: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			raw, err := notice.Encode(r.Notice)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, raw)
		}
	}
	return out
}

// TestRansomNeverLeaves: a canary in each field about a ransom is searched in the plaintext
// of all that is said, in every answer of both nodes, in bundles, exports and feeds, in
// what sinks get, in the logs, and in the files beside the store. A canary in a field
// that is reported shows that the search finds.
func TestRansomNeverLeaves(t *testing.T) {
	r := makeRegion(t, 3)
	a, b, c := r.hospitals[0], r.hospitals[1], r.hospitals[2]
	hook, logs := newHook(t), map[*hospital]*memory{}
	a.tell(t, strings.Replace(hooked(t, hook), `tlp = "AMBER"`, `tlp = "AMBER+STRICT"`, 1)+`
[[feeds.list]]
name = "fw"
format = "plain"
types = ["domain"]
consumers = ["all"]
`)
	for _, h := range r.hospitals {
		logs[h] = &memory{}
		h.log = slog.New(slog.NewJSONHandler(logs[h], &slog.HandlerOptions{Level: slog.LevelDebug}))
		h.open(t)
		h.start(t, nil)
	}
	r.meet(t)
	canary := func(field string) *string { return ptr("canary-" + field) }
	i := a.opens(t, api.IncidentChange{Description: ptr("finds-me"), Impact: ptr("finds-me too"), Malicious: ptr("yes"),
		Ransom: &api.RansomChange{Demanded: ptr("yes"), Paid: ptr("no"), Intends: ptr("no"), Amount: canary("amount"), Currency: canary("currency"), Recipient: canary("recipient")}})
	a.submit(t, amber, sighting("evil.example", a.clock.now()))
	var sent api.IncidentSent
	for _, stage := range notice.Stages() {
		sent = a.files(t, i.Number, stage.String(), b.Name())
		eventually(t, stage.String()+" is confirmed", func() bool {
			return deadline(a.incident(t, i.Number), stage.String()) != api.DeadlineSent && a.delivery(t, sent.Notice.ID, b.Name()) == api.DeliveryDone
		})
	}
	late := a.opens(t, api.IncidentChange{Title: ptr("another"), Ransom: &api.RansomChange{Amount: canary("amount"), Currency: canary("currency"), Recipient: canary("recipient")}})
	a.clock.advance(25 * time.Hour)
	if _, _, err := a.UpdateIncident(t.Context(), late.Number, api.IncidentChange{Impact: ptr("x")}, "desk", notice.TLPRed); err != nil { // it looks at once
		t.Fatal(err)
	}
	eventually(t, "the sink hears that a report is overdue", func() bool {
		return slices.ContainsFunc(hook.texts(), func(s string) bool { return strings.Contains(s, "was due") && strings.Contains(s, late.Number) })
	})
	eventually(t, "the other is told", func() bool { return len(b.alerts(t, "filing")) == 4 })
	eventually(t, "the third heard what is for all", func() bool { return c.knows(t, "evil.example") })

	own := map[string]string{"number": i.Number, "id": sent.Notice.ID, "stage": "final", "name": "fw"}
	found := 0
	for h, ids := range map[*hospital]map[string]string{a: own, b: {"id": sent.Notice.ID}, c: {}} {
		for path, text := range answers(t, h, ids) {
			found += strings.Count(text, "finds-me")
			if strings.Contains(text, "canary-") && (h != a || path != "/v1/incidents/{number}") {
				t.Errorf("%s of %s has it: %s", path, h.Name(), text)
			}
			if path == "/v1/incidents/{number}" && strings.Count(text, "canary-") != 3 {
				t.Errorf("the house itself does not see it: %s", text)
			}
		}
		for _, raw := range plaintext(t, h) {
			found += bytes.Count(raw, []byte("finds-me"))
			if bytes.Contains(raw, []byte("canary-")) {
				t.Errorf("a word at %s has it: %q", h.Name(), raw)
			}
		}
		if text := logs[h].String(); strings.Contains(text, "canary-") || !strings.Contains(text, "level") {
			t.Errorf("the log of %s has it, or nothing: %s", h.Name(), text)
		}
	}
	if found < 10 {
		t.Errorf("what is reported was found %d times: the search is blind", found)
	}
	hook.mu.Lock()
	text := fmt.Sprint(hook.got)
	hook.mu.Unlock()
	if strings.Contains(text, "canary-") {
		t.Errorf("a sink got it: %s", text)
	}
	if v, _, err := a.Incident(t.Context(), i.Number, notice.TLPAmberStrict); err != nil || v.Ransom != nil {
		t.Errorf("with a ceiling of AMBER+STRICT it is %+v, %v", v.Ransom, err)
	}
	for _, h := range r.hospitals {
		h.stop(t)
		err := filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			if bytes.Contains(raw, []byte("canary-")) && (h != a || filepath.Base(filepath.Dir(path)) != "store") {
				t.Errorf("%s has it", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestLogWithoutRansom: the log tells of a ransom to who may see everything, and to
// nobody else that there is one; all else of it to both.
func TestLogWithoutRansom(t *testing.T) {
	b := newBench(t)
	i := b.opens(t, api.IncidentChange{Impact: ptr("no imaging"), Ransom: &api.RansomChange{Demanded: ptr("yes"), Recipient: ptr("x")}})
	if _, _, err := b.UpdateIncident(t.Context(), i.Number, api.IncidentChange{Ransom: &api.RansomChange{Paid: ptr("no")}}, "desk", notice.TLPRed); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.DraftIncident(t.Context(), i.Number, "early-warning", "desk"); err != nil {
		t.Fatal(err)
	}
	for ceiling, want := range map[notice.TLP]string{
		notice.TLPRed:         `["opened" "changed impact, ransom.demanded, ransom.recipient" "changed ransom.paid" "drafted early-warning"]`,
		notice.TLPAmberStrict: `["opened" "changed impact" "drafted early-warning"]`,
	} {
		v, _, err := b.Incident(t.Context(), i.Number, ceiling)
		if err != nil {
			t.Fatal(err)
		}
		var log []string
		for _, c := range v.Log {
			log = append(log, c.What)
		}
		if got := fmt.Sprintf("%q", log); got != want {
			t.Errorf("up to %s: %s, want %s", ceiling, got, want)
		}
	}
}

// TestIncidentsOutliveARestart: what was acknowledged is there after it, and numbers are
// given once, whoever asks at once.
func TestIncidentsOutliveARestart(t *testing.T) {
	b := newBench(t)
	var wait sync.WaitGroup
	numbers := make(chan string, 20)
	for range cap(numbers) {
		wait.Go(func() { numbers <- b.opens(t, api.IncidentChange{}).Number })
	}
	wait.Wait()
	close(numbers)
	seen := map[string]bool{}
	for n := range numbers {
		seen[n] = true
	}
	if len(seen) != cap(numbers) {
		t.Errorf("%d numbers for %d incidents", len(seen), cap(numbers))
	}
	i := b.opens(t, api.IncidentChange{Severity: ptr("high"), Ransom: &api.RansomChange{Amount: ptr("100")}})
	if _, _, err := b.DraftIncident(t.Context(), i.Number, "early-warning", "desk"); err != nil {
		t.Fatal(err)
	}
	before := b.incident(t, i.Number)
	b.stop(t)
	b.open(t)
	if after := b.incident(t, i.Number); fmt.Sprintf("%+v", after) != fmt.Sprintf("%+v", before) && after.Ransom.Amount != "100" {
		t.Errorf("%+v, before %+v", after, before)
	}
	if next := b.opens(t, api.IncidentChange{}); seen[next.Number] || next.Number == i.Number {
		t.Errorf("%s is given again", next.Number)
	}
}

// TestAwareAtIsRefused by whatever way it is asked for.
func TestAwareAtIsRefused(t *testing.T) {
	b := newBench(t)
	i := b.opens(t, api.IncidentChange{AwareAt: ptr(b.clock.Now().Add(-time.Hour).Format(time.RFC3339))})
	for _, at := range []string{b.clock.Now().Format(time.RFC3339), "2020-01-01T00:00:00Z", "unknown", ""} {
		field := &notice.FieldError{}
		_, _, err := b.UpdateIncident(t.Context(), i.Number, api.IncidentChange{AwareAt: &at}, "desk", notice.TLPRed)
		if !errors.As(err, &field) || field.Field != "aware_at" || field.Fix == "" {
			t.Errorf("%q: %v", at, err)
		}
	}
	if got := b.incident(t, i.Number); got.AwareAt != i.AwareAt {
		t.Errorf("it is %s, and was %s", got.AwareAt, i.AwareAt)
	}
}

// TestOverdueIsRaised: soon and overdue are one alert each, in the node's language,
// marked for the house, also after a restart; what is closed is not due.
func TestOverdueIsRaised(t *testing.T) {
	b := benchAt(t, t.TempDir(), &clock{})
	b.speaksGerman(t)
	b.clock.stop()
	b.open(t)
	i := b.opens(t, api.IncidentChange{})
	closed := b.opens(t, api.IncidentChange{})
	if _, _, err := b.CloseIncident(t.Context(), closed.Number, "not significant", "desk", notice.TLPRed); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		want  []string
	}{
		{time.Hour, nil},
		{21 * time.Hour, []string{"warning Frühwarnung zu Vorfall " + i.Number + " ist am"}},
		{24 * time.Hour, []string{"critical Frühwarnung zu Vorfall " + i.Number + " war am", "warning Frühwarnung"}},
		{74 * time.Hour, []string{"critical Meldung des Sicherheitsvorfalls", "critical Frühwarnung", "warning Frühwarnung"}},
	} {
		b.stop(t)
		b.clock.advance(c.after - b.sinceAware(i))
		b.clock.advance(time.Second)
		b.open(t)
		b.alone(t)
		check := func() bool {
			alerts := b.alerts(t, "deadline")
			if len(alerts) != len(c.want) {
				return false
			}
			for n, a := range alerts {
				if want := strings.Replace(c.want[n], " ", " NIS-2: ", 1); !strings.HasPrefix(a.Severity+" "+a.Text, want) || a.TLP != "AMBER+STRICT" {
					t.Errorf("after %s: %s %s, want %s", c.after, a.Severity, a.Text, want)
				}
			}
			return true
		}
		eventually(t, fmt.Sprintf("%d alerts after %s", len(c.want), c.after), check)
	}
	status, err := b.Status(t.Context(), 0)
	if err != nil || !slices.ContainsFunc(status.Warnings, func(w string) bool { return strings.Contains(w, "2 reports of incidents are overdue") }) {
		t.Errorf("%q, %v", status.Warnings, err)
	}
	if status, err = b.Status(t.Context(), notice.TLPAmber); err != nil || slices.ContainsFunc(status.Warnings, func(w string) bool { return strings.Contains(w, "overdue") }) {
		t.Errorf("below the house: %q, %v", status.Warnings, err)
	}
}

// speaksGerman sets the language of a node that is not open.
func (h *hospital) speaksGerman(t testing.TB) {
	t.Helper()
	path := filepath.Join(h.dir, node.ConfigFile)
	raw, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append([]byte("language = \"de\"\n"), bytes.Replace(raw, []byte("language = "), []byte("# language = "), 1)...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAlertsInGerman: what a person is paged for is in the node's language, with what
// stands around it; the words of others are theirs.
func TestAlertsInGerman(t *testing.T) {
	b := benchAt(t, t.TempDir(), &clock{})
	hook := newHook(t)
	b.speaksGerman(t)
	b.tell(t, strings.Replace(hooked(t, hook), `tlp = "AMBER"`, `tlp = "GREEN"`, 1))
	b.open(t)
	b.alone(t)
	_, _ = b.told(t, b.author, crypto.Header{TLP: uint8(notice.TLPAmber)}, nil, b.word(notice.KindMayday, 1, func(n *notice.Notice) {
		n.Mayday = &notice.Mayday{Text: "ransom note on radiology hosts"}
	}))
	eventually(t, "people are alerted", func() bool { return len(b.alerts(t, "mayday")) == 1 })
	if got := b.alerts(t, "mayday")[0].Text; got != "MAYDAY: author wird angegriffen und sagt: ransom note on radiology hosts. Ein Kontakt ist nicht bekannt. Rufen Sie zurück: Ein gestohlener Schlüssel kann lügen." {
		t.Errorf("%s", got)
	}
	eventually(t, "the sink below hears that there is something", func() bool {
		return slices.Contains(hook.texts(), "Eine Meldung über der Einstufung dieses Weges: siehe Knoten (watchward alerts).")
	})
}

func (h *hospital) sinceAware(i api.IncidentView) time.Duration {
	return time.Duration(h.clock.now()-int64(i.AwareAt)) * time.Millisecond
}

// TestFiling: a report is sealed for whom it names and confirmed; sent again it is the
// same; nobody else has it, and nobody makes one by hand.
func TestFiling(t *testing.T) {
	r := startRegion(t, 3)
	a, b, c := r.hospitals[0], r.hospitals[1], r.hospitals[2]
	i := a.opens(t, api.IncidentChange{Description: ptr("at night\nin radiology")})
	sent := a.files(t, i.Number, "early-warning", b.Name())
	if sent.Notice.Audience != "named" || sent.Notice.TLP != "AMBER+STRICT" || sent.Notice.Filing == nil {
		t.Fatalf("%+v", sent.Notice)
	}
	again, _, err := a.SendIncident(t.Context(), i.Number, api.IncidentSend{Stage: "early-warning", To: b.Name()}, "desk", notice.TLPRed)
	if err != nil || again.Notice.ID != sent.Notice.ID || len(again.Incident.Sent) != 1 {
		t.Errorf("sent again: %+v, %v", again, err)
	}
	eventually(t, "it is confirmed", func() bool { return deadline(a.incident(t, i.Number), "early-warning") == api.DeadlineMet })
	if got := a.incident(t, i.Number).Sent[0]; got.State != "delivered" || got.To != b.Name() || got.Since == 0 {
		t.Errorf("%+v", got)
	}
	got, found := b.notice(t, sent.Notice.ID)
	if !found || got.Filing.Description != "at night\nin radiology" || got.AuthorName != a.Name() {
		t.Errorf("%+v", got)
	}
	for _, format := range []string{"html", "json"} {
		page, found, err := b.ReportPage(t.Context(), api.ReportQuery{ID: sent.Notice.ID, Format: format, Ceiling: notice.TLPRed})
		if err != nil || !found || !bytes.Contains(page, []byte("at night")) {
			t.Errorf("%s: %v, %v: %s", format, found, err, page)
		}
		if _, found, err := b.ReportPage(t.Context(), api.ReportQuery{ID: sent.Notice.ID, Format: format, Ceiling: notice.TLPAmber}); found || err != nil {
			t.Errorf("%s is shown below its marking: %v", format, err)
		}
	}
	r.clock.settle()
	word := a.submit(t, amber, sighting("amber.example", a.clock.now()))[0]
	eventually(t, "the third hears what is for all", func() bool { _, found := c.notice(t, word.ID); return found })
	if _, found := c.notice(t, sent.Notice.ID); found {
		t.Error("it reached who was not named")
	}
	for name, s := range map[string]api.Submission{"without a report": {Kind: "filing", To: []string{b.Name()}, TLP: "RED"}, "with one": {Kind: "filing", To: []string{b.Name()}, TLP: "RED", Parts: api.Parts{Filing: got.Filing}}} {
		if refused := a.refuses(t, api.SubmitOptions{}, s); !strings.Contains(refused.Fix, "watchward incident send") {
			t.Errorf("by hand, %s: %+v", name, refused)
		}
	}
	for name, q := range map[string]api.IncidentSend{
		"to":    {Stage: "early-warning", To: "Nobody"},
		"tlp":   {Stage: "early-warning", To: b.Name(), TLP: "GREEN"},
		"stage": {Stage: "final", To: b.Name()},
	} {
		field := &notice.FieldError{}
		if _, _, err := a.SendIncident(t.Context(), i.Number, q, "desk", notice.TLPRed); !errors.As(err, &field) || field.Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFilingInAnExercise: a drill sends no report that would be taken for a real one; what
// is real goes out without the mark.
func TestFilingInAnExercise(t *testing.T) {
	r := startRegion(t, 2)
	a, b := r.hospitals[0], r.hospitals[1]
	i := a.opens(t, api.IncidentChange{Description: ptr("at night")})
	if _, err := a.StartExercise(t.Context(), "drill", time.Hour, "desk"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.DraftIncident(t.Context(), i.Number, "early-warning", "desk"); err != nil {
		t.Fatal(err)
	}
	q := api.IncidentSend{Stage: "early-warning", To: b.Name()}
	field := &notice.FieldError{}
	if _, _, err := a.SendIncident(t.Context(), i.Number, q, "desk", notice.TLPRed); !errors.As(err, &field) || field.Field != "real" {
		t.Errorf("in an exercise: %v", err)
	}
	if sent := a.incident(t, i.Number).Sent; len(sent) != 0 {
		t.Errorf("it was sent: %+v", sent)
	}
	q.Real = true
	sent, _, err := a.SendIncident(t.Context(), i.Number, q, "desk", notice.TLPRed)
	if err != nil || sent.Notice.Exercise {
		t.Fatalf("%+v, %v", sent.Notice, err)
	}
	eventually(t, "it arrives, as real", func() bool { v, found := b.notice(t, sent.Notice.ID); return found && !v.Exercise })
}

// TestFilingForAllIsRefused: a report that comes otherwise than sealed is a bad item.
func TestFilingForAllIsRefused(t *testing.T) {
	b := newBench(t)
	now := b.clock.now()
	word := b.word(notice.KindFiling, 1, func(n *notice.Notice) {
		n.Filing = &notice.Filing{Incident: "2026-1", Stage: notice.StageFinal, AwareAt: now - 1, Made: now, Title: "x"}
	})
	b.takes(t, b.author.Envelope(t, crypto.Header{Time: now}, nil, encode(t, word), b.item(t, "evil.example")), mesh.ViaSync)
	if found := b.list(t, notice.KindFiling); len(found) != 0 {
		t.Errorf("it is there: %+v", found)
	}
	if !b.knows(t, "evil.example") {
		t.Error("the word beside it is lost")
	}
}

// TestEvidence: a draft has what this house said itself in the span of the incident, and
// nothing that is stricter than AMBER, of others, or of another time. What was taken in
// from elsewhere was not seen here.
func TestEvidence(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	at := b.clock.now()
	seen := func(value string, at int64, count uint64) api.Submission {
		return api.Submission{Value: value, FirstSeen: api.Time(at - minute), LastSeen: api.Time(at), Count: count}
	}
	b.submit(t, amber, seen("evil.example", at, 3))
	b.submit(t, amber, seen("evil.example", at-5*minute, 4))
	b.submit(t, amber, seen("old.example", at-3*day, 1))
	for source, value := range map[string]string{"misp:ESET": "evil.example", "taxii:isac": "bridged.example", "logs": "logged.example"} {
		from := seen(value, at, 2)
		from.Origin = &api.Origin{Source: source, ID: value}
		b.submit(t, amber, from)
	}
	b.submit(t, api.SubmitOptions{Local: true}, seen("kept.example", at, 1))
	b.submit(t, api.SubmitOptions{Local: true, TLP: notice.TLPAmberStrict}, seen("strict.example", at, 1))
	b.submit(t, amber, api.Submission{Kind: "service", Parts: api.Parts{Service: &api.Service{Department: "Radiology", State: "closed"}}},
		api.Submission{Kind: "link", Parts: api.Parts{Link: &api.Link{Supplier: "LIS", Link: "VPN", State: "cut", At: api.Time(at)}}},
		api.Submission{Kind: "link", Parts: api.Parts{Link: &api.Link{Supplier: "PACS", Link: "VPN", State: "cut", At: api.Time(at - 5*day)}}},
		api.Submission{Kind: "assistance", Parts: api.Parts{Assistance: &api.Assistance{Act: "request", What: "mobile CT", Quantity: 2}}})
	_, _ = b.told(t, b.author, crypto.Header{TLP: uint8(notice.TLPAmber)}, nil, b.word(notice.KindService, 9, func(n *notice.Notice) {
		n.Service = &notice.Service{Department: "Theirs", State: notice.ServiceClosed}
	}))
	i := b.opens(t, api.IncidentChange{})
	v, _, err := b.DraftIncident(t.Context(), i.Number, "notification", "desk")
	if err != nil {
		t.Fatal(err)
	}
	f := v.Filing
	values := map[string]uint64{}
	for _, s := range f.Sightings {
		values[s.Value] = s.Count
	}
	if fmt.Sprint(values) != "map[evil.example:7 kept.example:1 logged.example:2]" || v.LeftOut != 1 {
		t.Errorf("%v, %d left out", values, v.LeftOut)
	}
	if len(f.Services) != 1 || f.Services[0].Department != "Radiology" || len(f.Links) != 1 || f.Links[0].Supplier != "LIS" || len(f.Assistance) != 1 || f.Assistance[0].Quantity != 2 {
		t.Errorf("%+v", f)
	}
	early, _, err := b.DraftIncident(t.Context(), i.Number, "early-warning", "desk")
	if err != nil || len(early.Filing.Sightings) != 0 || early.LeftOut != 0 {
		t.Errorf("an early warning has more than it should: %+v, %v", early, err)
	}
	// What began earlier is asked for from then on.
	if _, _, err := b.UpdateIncident(t.Context(), i.Number, api.IncidentChange{Began: ptr(time.UnixMilli(at - 6*day).UTC().Format(time.RFC3339))}, "desk", notice.TLPRed); err != nil {
		t.Fatal(err)
	}
	if v, _, err = b.DraftIncident(t.Context(), i.Number, "notification", "desk"); err != nil || len(v.Filing.Links) != 2 || len(v.Filing.Sightings) != 4 {
		t.Errorf("%+v, %v", v, err)
	}
}
