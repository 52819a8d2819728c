package incident_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/incident"
	"github.com/watchward/watchward/node/notice"
)

const hour = int64(3_600_000) // ms

// when reads a time.
func when(t testing.TB, s string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}

func opened(t testing.TB, aware string) *incident.Incident {
	t.Helper()
	at := when(t, aware)
	i, err := incident.Open("2026-1", "Ransomware in radiology", at, at+hour, "desk")
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// dues writes deadlines as: stage due, and what is known of it.
func dues(i *incident.Incident) (out []string) {
	for _, d := range i.Deadlines() {
		text := d.Stage.String() + " "
		if d.Due == 0 {
			text += "after"
		} else {
			text += time.UnixMilli(d.Due).UTC().Format("2006-01-02T15:04Z")
		}
		for _, mark := range []struct {
			on   bool
			text string
		}{{d.Guessed, " guessed"}, {d.Met != 0, " met"}, {d.Sent != 0, " sent"}} {
			if mark.on {
				text += mark.text
			}
		}
		out = append(out, text)
	}
	return out
}

func ptr[T any](v T) *T { return &v }

func TestDeadlines(t *testing.T) {
	sent := func(stage notice.Stage, at string, delivered bool) func(*incident.Incident) {
		return func(i *incident.Incident) {
			s := incident.Sent{Stage: stage, At: when(t, at), To: "CSIRT", Member: "m", Notice: at}
			i.NoteSent(s, s.At, "desk")
			if delivered {
				i.NoteDelivery(s.Notice, s.Member, s.At+1, 0)
			}
		}
	}
	failed := func(i *incident.Incident) { i.NoteDelivery(i.Sent[0].Notice, "m", 0, i.Sent[0].At+1) }
	update := func(u incident.Update, now string) func(*incident.Incident) {
		return func(i *incident.Incident) {
			if err := i.Update(u, when(t, now), "desk"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		aware string
		then  []func(*incident.Incident)
		want  string
	}{
		"nothing sent": {"2026-11-28T09:09:00Z", nil,
			"early-warning 2026-11-29T09:09Z; notification 2026-12-01T09:09Z; progress 2027-01-01T09:09Z guessed; final after"},
		// At 3 in the morning of 25 October clocks went back: 24 hours are 24, on the wall 23.
		"the end of summer time": {"2026-10-24T12:30:00+02:00", nil,
			"early-warning 2026-10-25T10:30Z; notification 2026-10-27T10:30Z; progress 2026-11-27T10:30Z guessed; final after"},
		"the begin of summer time": {"2026-03-28T12:30:00+01:00", nil,
			"early-warning 2026-03-29T11:30Z; notification 2026-03-31T11:30Z; progress 2026-04-30T11:30Z guessed; final after"},
		"sent and not confirmed": {"2026-11-28T09:00:00Z", []func(*incident.Incident){sent(notice.StageEarlyWarning, "2026-11-28T20:00:00Z", false)},
			"early-warning 2026-11-29T09:00Z sent; notification 2026-12-01T09:00Z; progress 2027-01-01T09:00Z guessed; final after"},
		"confirmed": {"2026-11-28T09:00:00Z", []func(*incident.Incident){sent(notice.StageEarlyWarning, "2026-11-28T20:00:00Z", true)},
			"early-warning 2026-11-29T09:00Z met; notification 2026-12-01T09:00Z; progress 2027-01-01T09:00Z guessed; final after"},
		"not taken": {"2026-11-28T09:00:00Z", []func(*incident.Incident){sent(notice.StageNotification, "2026-11-28T20:00:00Z", false), failed},
			"early-warning 2026-11-29T09:00Z; notification 2026-12-01T09:00Z; progress 2027-01-01T09:00Z guessed; final after"},
		"notified at once": {"2026-11-28T09:00:00Z", []func(*incident.Incident){sent(notice.StageNotification, "2026-11-28T20:00:00Z", true)},
			"early-warning 2026-11-29T09:00Z met; notification 2026-12-01T09:00Z met; progress 2026-12-28T20:00Z; final after"},
		"handled before the month is over": {"2026-11-28T09:00:00Z", []func(*incident.Incident){sent(notice.StageNotification, "2026-11-30T20:00:00Z", true),
			update(incident.Update{Handled: ptr(when(t, "2026-12-10T00:00:00Z"))}, "2026-12-11T00:00:00Z")},
			"early-warning 2026-11-29T09:00Z met; notification 2026-12-01T09:00Z met; final 2026-12-30T20:00Z"},
		"handled later": {"2026-11-28T09:00:00Z", []func(*incident.Incident){sent(notice.StageNotification, "2026-11-30T20:00:00Z", true),
			sent(notice.StageProgress, "2026-12-30T12:00:00Z", true),
			update(incident.Update{Handled: ptr(when(t, "2027-01-31T08:00:00Z"))}, "2027-02-01T00:00:00Z")},
			"early-warning 2026-11-29T09:00Z met; notification 2026-12-01T09:00Z met; progress 2026-12-30T20:00Z met; final 2027-02-28T08:00Z"},
		"asked for": {"2026-11-28T09:00:00Z", []func(*incident.Incident){sent(notice.StageProgress, "2026-11-28T10:00:00Z", true),
			update(incident.Update{ProgressBy: ptr(when(t, "2026-11-30T12:00:00Z"))}, "2026-11-29T09:00:00Z")},
			"early-warning 2026-11-29T09:00Z; notification 2026-12-01T09:00Z; progress 2026-11-30T12:00Z; progress 2027-01-01T09:00Z guessed met; final after"},
		"the final one": {"2026-11-28T09:00:00Z", []func(*incident.Incident){sent(notice.StageFinal, "2026-11-29T08:00:00Z", true)},
			"early-warning 2026-11-29T09:00Z met; notification 2026-12-01T09:00Z met; final 2026-12-29T08:00Z met"},
	} {
		i := opened(t, c.aware)
		for _, f := range c.then {
			f(i)
		}
		if got := strings.Join(dues(i), "; "); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

// TestTwoDeadlinesInOneHour: an early warning and a notification that are due at 02:30 of
// the night in which summer time ends, one hour apart, are told apart on paper.
func TestTwoDeadlinesInOneHour(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skipf("SKIPPED: no time zones on this machine: %v", err)
	}
	shown := func(aware string, stage notice.Stage) string {
		i := opened(t, aware)
		f := draft(t, i, stage, incident.Evidence{})
		return page(t, incident.Page{Filing: &f, Marking: notice.TLPAmberStrict, Words: catalog.For("de"), Zone: berlin})
	}
	first := shown("2026-10-24T00:30:00Z", notice.StageEarlyWarning)
	second := shown("2026-10-22T01:30:00Z", notice.StageNotification)
	if want := "25. Oktober 2026, 02:30 MESZ (2026-10-25 00:30 UTC)"; !strings.Contains(first, want) {
		t.Errorf("the first is not due %s:\n%s", want, first)
	}
	if want := "25. Oktober 2026, 02:30 MEZ (2026-10-25 01:30 UTC)"; !strings.Contains(second, want) {
		t.Errorf("the second is not due %s:\n%s", want, second)
	}
}

// TestMonths: one month after the last days of months, and never later than a month.
func TestMonths(t *testing.T) {
	for from, want := range map[string]string{
		"2026-01-31T10:00:00Z": "2026-02-28T10:00Z", "2028-01-30T10:00:00Z": "2028-02-29T10:00Z", "2026-12-31T23:59:00Z": "2027-01-31T23:59Z",
		"2026-05-31T00:00:00Z": "2026-06-30T00:00Z", "2026-01-30T23:30:00Z": "2026-02-28T23:30Z", "2026-02-28T00:00:00Z": "2026-03-28T00:00Z",
	} {
		i := opened(t, from)
		i.NoteSent(incident.Sent{Stage: notice.StageNotification, At: i.AwareAt, To: "portal"}, i.AwareAt, "desk")
		if list := dues(i); list[2] != "progress "+want {
			t.Errorf("a month after %s: %s, want %s", from, list[2], want)
		}
	}
}

func TestAwareAtNeverChanges(t *testing.T) {
	i := opened(t, "2026-11-28T09:09:00Z")
	before := *i
	for name, at := range map[string]int64{"later": i.AwareAt + 1, "earlier": i.AwareAt - hour, "none": 0} {
		field := &notice.FieldError{}
		err := i.Update(incident.Update{AwareAt: &at, Impact: ptr("no imaging")}, i.AwareAt+2*hour, "desk")
		if !errors.As(err, &field) || field.Field != "aware_at" || field.Fix == "" || !reflect.DeepEqual(*i, before) {
			t.Errorf("%s: %v, and the incident is %+v", name, err, *i)
		}
	}
	if err := i.Update(incident.Update{AwareAt: ptr(i.AwareAt), Impact: ptr("no imaging")}, i.AwareAt+2*hour, "desk"); err != nil {
		t.Errorf("the same time: %v", err)
	}
	now := i.AwareAt
	for name, at := range map[string]int64{"in the future": now + 10*60_000, "long ago": now - 401*24*hour} {
		if _, err := incident.Open("2026-2", "x", at, now, "desk"); err == nil {
			t.Errorf("opened with an aware_at %s", name)
		}
	}
}

func TestRefused(t *testing.T) {
	now := when(t, "2026-11-28T12:00:00Z")
	for name, c := range map[string]struct {
		u     incident.Update
		field string
	}{
		"no title":                 {incident.Update{Title: ptr(" ")}, "title"},
		"began in the future":      {incident.Update{Began: ptr(now + hour)}, "began"},
		"handled before it began":  {incident.Update{Began: ptr(now - hour), Handled: ptr(now - 2*hour)}, "handled"},
		"a long text":              {incident.Update{Impact: ptr(strings.Repeat("x", notice.ProseMax+1))}, "impact"},
		"a text that hides":        {incident.Update{Cause: ptr("a\u202eb")}, "cause"},
		"a progress report before": {incident.Update{ProgressBy: ptr(when(t, "2026-11-28T09:00:00Z"))}, "progress_by"},
		"a long amount":            {incident.Update{Amount: ptr(strings.Repeat("x", 201))}, "ransom.amount"},
	} {
		i := opened(t, "2026-11-28T09:09:00Z")
		before := *i
		field := &notice.FieldError{}
		c.u.Description = ptr("all or nothing")
		if err := i.Update(c.u, now, "desk"); !errors.As(err, &field) || field.Field != c.field || field.Fix == "" || !reflect.DeepEqual(*i, before) {
			t.Errorf("%s: %v", name, err)
		}
	}
	i := opened(t, "2026-11-28T09:09:00Z")
	if err := i.Close("", now, "desk"); err == nil {
		t.Error("closed without a final report and without a word")
	}
	if err := i.Close("not significant", now, "desk"); err != nil {
		t.Fatal(err)
	}
	_, drafted := i.Draft(notice.StageFinal, incident.Evidence{}, now, "desk")
	_, ready := i.Ready(notice.StageFinal)
	for name, err := range map[string]error{"update": i.Update(incident.Update{Impact: ptr("x")}, now, "desk"), "close": i.Close("x", now, "desk"),
		"draft": drafted, "send": ready, "elsewhere": i.NoteElsewhere(notice.StageFinal, "portal", now, now, "desk")} {
		if err == nil {
			t.Errorf("%s: what is closed changes", name)
		}
	}
	if len(i.Alarms(now+1000*hour)) != 0 {
		t.Error("something is due of what is closed")
	}
}

func TestAlarms(t *testing.T) {
	i := opened(t, "2026-11-28T09:00:00Z")
	at := func(hours int64) (out []string) {
		for _, a := range i.Alarms(i.AwareAt + hours*hour) {
			out = append(out, fmt.Sprint(a.Stage, " ", a.Overdue))
		}
		return out
	}
	for hours, want := range map[int64]string{
		0: "[]", 19: "[]", 20: "[early-warning false]", 24: "[early-warning false]", 25: "[early-warning true]",
		60: "[early-warning true notification false]", 73: "[early-warning true notification true]", 5000: "[early-warning true notification true]",
	} {
		if got := fmt.Sprint(at(hours)); got != want {
			t.Errorf("after %d hours: %s, want %s", hours, got, want)
		}
	}
	i.NoteSent(incident.Sent{Stage: notice.StageNotification, At: i.AwareAt + 30*hour, To: "CSIRT", Member: "m", Notice: "n"}, i.AwareAt, "desk")
	if got := fmt.Sprint(at(73)); got != "[early-warning true notification true]" {
		t.Errorf("what is on its way has arrived: %s", got)
	}
	i.NoteDelivery("n", "m", i.AwareAt+31*hour, 0)
	if got := fmt.Sprint(at(73)); got != "[]" {
		t.Errorf("what has arrived is due: %s", got)
	}
	if got := fmt.Sprint(at(24 * 40)); got != "[progress true]" {
		t.Errorf("after 40 days: %s", got)
	}
}

func draft(t testing.TB, i *incident.Incident, stage notice.Stage, e incident.Evidence) notice.Filing {
	t.Helper()
	f, err := i.Draft(stage, e, i.AwareAt+2*hour, "desk")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func page(t testing.TB, p incident.Page) string {
	t.Helper()
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		t.Fatal(err)
	}
	return seen(out.String())
}

// seen is what a reader sees of a document, words one space apart.
func seen(document string) string {
	var words []string
	z := html.NewTokenizer(strings.NewReader(document))
	for z.Next() != html.ErrorToken {
		if token := z.Token(); token.Type == html.TextToken {
			words = append(words, strings.Fields(token.Data)...)
		}
	}
	return strings.Join(words, " ")
}

// TestOnlyWhatWasReadIsSent: without a draft, or with one that is older than what is
// known, nothing is ready. What is known of a ransom is in no draft, and so changes none.
func TestOnlyWhatWasReadIsSent(t *testing.T) {
	i := opened(t, "2026-11-28T09:09:00Z")
	if _, err := i.Ready(notice.StageEarlyWarning); err == nil {
		t.Error("ready without a draft")
	}
	want := draft(t, i, notice.StageEarlyWarning, incident.Evidence{})
	if got, err := i.Ready(notice.StageEarlyWarning); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := i.Update(incident.Update{Amount: ptr("100")}, i.AwareAt+3*hour, "desk"); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Ready(notice.StageEarlyWarning); err != nil {
		t.Errorf("a ransom makes a draft old: %v", err)
	}
	if err := i.Update(incident.Update{Malicious: ptr(notice.WhetherYes)}, i.AwareAt+3*hour, "desk"); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Ready(notice.StageEarlyWarning); err == nil {
		t.Error("an old draft is ready")
	}
}

// TestClockSetBack: what is drafted after it may be sent, until something changes.
func TestClockSetBack(t *testing.T) {
	i := opened(t, "2026-11-28T09:09:00Z")
	stage, now := notice.StageEarlyWarning, i.AwareAt+3*hour
	if err := i.Update(incident.Update{Malicious: ptr(notice.WhetherYes)}, now, "desk"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at          int64
		description string
	}{{now - hour, "back"}, {now - hour + 1, "on"}, {now - hour + 1, "at once"}, {now - 2*hour, "back again"}, {now + hour, "right again"}} {
		if _, err := i.Draft(stage, incident.Evidence{}, c.at, "desk"); err != nil {
			t.Fatal(err)
		}
		if _, err := i.Ready(stage); err != nil {
			t.Errorf("%s: a new draft is old: %v", c.description, err)
		}
		if err := i.Update(incident.Update{Description: &c.description}, c.at, "desk"); err != nil {
			t.Fatal(err)
		}
		if _, err := i.Ready(stage); err == nil {
			t.Errorf("%s: an old draft is ready", c.description)
		}
	}
}

// known is an incident of which everything is known, every text of it as made by text.
func known(t testing.TB, text func(field string) string) (*incident.Incident, incident.Evidence) {
	t.Helper()
	i := opened(t, "2026-11-28T09:09:00Z")
	at := i.AwareAt
	update := incident.Update{
		Title: ptr(text("title")), Began: ptr(at - 5*hour), Handled: ptr(at + hour), Malicious: ptr(notice.WhetherYes), CrossBorder: ptr(notice.WhetherYes),
		Severity: ptr(notice.SeverityHigh), Description: ptr(text("description")), Impact: ptr(text("impact")), Cause: ptr(text("cause")),
		Measures: ptr(text("measures")), Borders: ptr(text("borders")),
		Demanded: ptr(notice.WhetherYes), Paid: ptr(notice.WhetherNo), Intends: ptr(notice.WhetherNo),
		Amount: ptr(text("ransom.amount")), Currency: ptr(text("ransom.currency")), Recipient: ptr(text("ransom.recipient")),
	}
	if err := i.Update(update, at+hour, text("by")); err != nil {
		t.Fatal(err)
	}
	return i, incident.Evidence{
		Entity: text("entity"), Contact: []string{text("contact")},
		Sightings:  []notice.FiledSighting{{Type: notice.TypeFilename, Value: `c:\windows\` + strings.ToLower(text("value")) + ".exe", First: at, Last: at, Count: 3, Family: text("family")}},
		Services:   []notice.FiledService{{Department: text("department"), State: notice.ServiceClosed, At: at}},
		Links:      []notice.FiledLink{{Supplier: text("supplier"), Link: text("link"), State: notice.LinkCut, At: at, Reason: text("reason")}},
		Assistance: []notice.FiledAssistance{{Act: notice.ActRequest, What: text("what"), Quantity: 2, Unit: "u", At: at}},
	}
}

// TestRansomIsInNoReport: a canary in each field about a ransom is in the incident, and
// in no report of any stage, neither as bytes nor as a page.
func TestRansomIsInNoReport(t *testing.T) {
	i, e := known(t, func(field string) string { return "canary-" + strings.ReplaceAll(field, ".", "-") })
	for _, stage := range notice.Stages() {
		f := draft(t, i, stage, e)
		raw, err := canon.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		document := page(t, incident.Page{Filing: &f, Words: catalog.For("en"), Zone: time.UTC})
		for name, text := range map[string]string{"bytes": string(raw), "page": document} {
			if !strings.Contains(text, "canary-description") {
				t.Errorf("%s: the %s lack what is to be reported", stage, name)
			}
			if strings.Contains(strings.ToLower(text), "ransom") {
				t.Errorf("%s: a ransom is in the %s", stage, name)
			}
		}
	}
	if got := fmt.Sprintf("%+v", i.Ransom); strings.Count(got, "canary-ransom") != 3 {
		t.Errorf("the house does not know: %s", got)
	}
	for _, c := range i.Log {
		if strings.Contains(c.What, "canary-ransom") {
			t.Errorf("the log says what it was: %+v", c)
		}
	}
}

// TestRansomChangesNoReport: two incidents that differ in all that is known of a ransom
// and in nothing else have the same reports, byte for byte.
func TestRansomChangesNoReport(t *testing.T) {
	all := incident.Update{Demanded: ptr(notice.WhetherYes), Paid: ptr(notice.WhetherYes), Intends: ptr(notice.WhetherYes), Amount: ptr("1"), Currency: ptr("2"), Recipient: ptr("3")}
	a, b := opened(t, "2026-11-28T09:09:00Z"), opened(t, "2026-11-28T09:09:00Z")
	if err := a.Update(all, a.AwareAt+hour, "desk"); err != nil {
		t.Fatal(err)
	}
	if r := reflect.ValueOf(a.Ransom); r.NumField() != 6 {
		t.Fatal("a ransom has a field that is not tried here")
	} else {
		for n := range r.NumField() {
			if r.Field(n).IsZero() {
				t.Errorf("%s is not tried", r.Type().Field(n).Name)
			}
		}
	}
	for _, stage := range notice.Stages() {
		if got, want := draft(t, a, stage, incident.Evidence{}), draft(t, b, stage, incident.Evidence{}); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, without a ransom %+v", stage, got, want)
		}
	}
}

// TestHostileTextIsText: whatever a field says, a page has no element, attribute or style
// that its template does not have, and shows what was said.
func TestHostileTextIsText(t *testing.T) {
	shape := func(document string) (out []string) {
		z := html.NewTokenizer(strings.NewReader(document))
		for {
			switch z.Next() {
			case html.ErrorToken:
				return out
			case html.TextToken, html.CommentToken:
			default:
				token := z.Token()
				out = append(out, token.Type.String(), token.Data, fmt.Sprint(token.Attr))
			}
		}
	}
	made := func(text string) string {
		i, e := known(t, func(string) string { return text })
		e.Sightings[0].Value = `c:\windows\x.exe`
		i.Number = text[:min(len(text), notice.NumberMax)]
		f := draft(t, i, notice.StageFinal, e)
		var out bytes.Buffer
		if err := (incident.Page{Filing: &f, Words: catalog.For("en"), Zone: time.UTC, Author: text}).Write(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	style := func(document string) string {
		return document[strings.Index(document, "<style>"):strings.Index(document, "</style>")]
	}
	plain := shape(made("harmless"))
	for _, bad := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</style><script>x</script>`, `'; } body { background: url(//evil.example)`,
		`<!--`, `--><b>`, `{{.Number}}`, `</title><script src=//evil.example>`, `\3c script\3e`, `&lt;b&gt;`, `*/ } @import "//evil.example";`,
	} {
		document := made(bad)
		if got := shape(document); !slices.Equal(got, plain) {
			t.Errorf("%s changes the document:\n%s", bad, document)
		}
		if got := seen(document); strings.Count(got, strings.Join(strings.Fields(bad), " ")) < 10 {
			t.Errorf("%s is not shown as it is:\n%s", bad, got)
		}
		if got := style(document); got != style(made("harmless")) {
			t.Errorf("%s is style:\n%s", bad, got)
		}
	}
}

// TestPagesNeedNothing: neither script nor anything from elsewhere, in both languages.
func TestPagesNeedNothing(t *testing.T) {
	for _, lang := range catalog.Languages {
		for _, stage := range notice.Stages() {
			i, e := known(t, func(field string) string { return field })
			f := draft(t, i, stage, e)
			var out bytes.Buffer
			if err := (incident.Page{Filing: &f, Words: catalog.For(lang), Zone: time.UTC}).Write(&out); err != nil {
				t.Fatal(err)
			}
			for _, bad := range []string{"<script", "src=", "href=", "url(", "http", "%!", "incident."} {
				if strings.Contains(out.String(), bad) {
					t.Errorf("%s, %s: the page has %q", lang, stage, bad)
				}
			}
		}
	}
}

func TestUnknownMayBeReported(t *testing.T) {
	i := opened(t, "2026-11-28T09:09:00Z")
	for _, stage := range notice.Stages() {
		f := draft(t, i, stage, incident.Evidence{})
		text := page(t, incident.Page{Filing: &f, Words: catalog.For("en"), Zone: time.UTC})
		if n := strings.Count(text, "unknown"); n < len(incident.Unknown(&f)) || len(incident.Unknown(&f)) < 3 {
			t.Errorf("%s: %d times unknown, of %q:\n%s", stage, n, incident.Unknown(&f), text)
		}
		if !slices.Contains(incident.Unknown(&f), "contact") {
			t.Errorf("%s: whom to call is not among what is unknown: %q", stage, incident.Unknown(&f))
		}
		f = draft(t, i, stage, incident.Evidence{Contact: []string{"+353 1 555 0100"}})
		if slices.Contains(incident.Unknown(&f), "contact") {
			t.Errorf("%s: whom to call is known, and among %q", stage, incident.Unknown(&f))
		}
	}
}

// TestDraftsHaveRoom: however much the house said, a draft fits a filing, and says what
// it left out.
func TestDraftsHaveRoom(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		i, e := known(t, func(string) string { return strings.Repeat("x", 20) })
		count, long := rapid.IntRange(0, 300).Draw(r, "sightings"), rapid.IntRange(1, 2000).Draw(r, "bytes")
		e.Sightings = nil
		for range count {
			e.Sightings = append(e.Sightings, notice.FiledSighting{Type: notice.TypeFilename, Value: `c:\` + strings.Repeat("x", long), First: 1, Last: 1, Count: 1})
		}
		for len(e.Links) < rapid.IntRange(1, 100).Draw(r, "links") {
			e.Links = append(e.Links, notice.FiledLink{Supplier: "s", Link: "l", State: notice.LinkCut, At: 1, Reason: strings.Repeat("x", notice.TextMax)})
		}
		u := incident.Update{}
		for _, text := range []**string{&u.Description, &u.Impact, &u.Cause, &u.Measures, &u.Borders} {
			*text = ptr(strings.Repeat("x", notice.ProseMax))
		}
		if err := i.Update(u, i.AwareAt+hour, "desk"); err != nil {
			r.Fatal(err)
		}
		f, err := i.Draft(notice.StageFinal, e, i.AwareAt+2*hour, "desk")
		if err != nil {
			r.Fatal(err)
		}
		n := &notice.Notice{Kind: notice.KindFiling, Salt: [16]byte{1}, Created: i.AwareAt, Filing: &f}
		if _, err := notice.Encode(n); err != nil || len(f.Sightings)+int(f.More) != count {
			r.Fatalf("%d sightings and %d more of %d: %v", len(f.Sightings), f.More, count, err)
		}
	})
}

// TestKept: what was kept is what is read.
func TestKept(t *testing.T) {
	i, e := known(t, func(field string) string { return field })
	draft(t, i, notice.StageFinal, e)
	i.NoteSent(incident.Sent{Stage: notice.StageFinal, At: i.AwareAt, To: "CSIRT", Member: "m", Notice: "n"}, i.AwareAt, "desk")
	raw, err := canon.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	got := &incident.Incident{}
	if err := canon.Unmarshal(raw, got); err != nil || !reflect.DeepEqual(got, i) {
		t.Errorf("%+v, %v; want %+v", got, err, i)
	}
	for range incident.LogMax + 10 {
		i.Update(incident.Update{Impact: ptr(i.Facts.Impact + "x")}, i.AwareAt, "desk")
	}
	if len(i.Log) != incident.LogMax || i.Log[0].What != "opened" {
		t.Errorf("%d changes, the first %+v", len(i.Log), i.Log[0])
	}
}

// TestPictures writes the pages to a directory, for somebody to look at.
func TestPictures(t *testing.T) {
	dir := os.Getenv("WATCHWARD_PICTURES")
	if dir == "" {
		t.Skip("SKIPPED: set WATCHWARD_PICTURES to a directory to look at the reports")
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	i := opened(t, "2026-11-26T21:40:00Z")
	at := i.AwareAt
	err = i.Update(incident.Update{
		Title: ptr("Ransomware on radiology hosts"), Began: ptr(at - 19*hour), Malicious: ptr(notice.WhetherYes), CrossBorder: ptr(notice.WhetherNo), Severity: ptr(notice.SeverityHigh),
		Description: ptr("At 22:40 the night shift of radiology found a note on three workstations and no images. The antivirus had reported a loader on one of them in the morning.\n\nThe hospital cut radiology off at 22:58, closed the emergency department for stroke and trauma, and called the region for help."),
		Impact:      ptr("No imaging since 22:40. About 40 examinations a day are sent to Riverside General. No patient came to harm by what is known."),
		Measures:    ptr("Radiology and the laboratory's VPN are off. Backups of 25 November are whole and are being restored."),
	}, at+hour, "desk")
	if err != nil {
		t.Fatal(err)
	}
	e := incident.Evidence{Entity: "Sankt Anna Krankenhaus, Linz, AT", Contact: []string{"+43 732 555 0100 (duty officer)", "it-notfall@st-anna.example"},
		Services:   []notice.FiledService{{Department: "Stroke unit", State: notice.ServiceDiverted, At: at + hour, Until: at + 48*hour}, {Department: "Radiology", State: notice.ServiceClosed, At: at + hour}},
		Links:      []notice.FiledLink{{Supplier: "LIS GmbH", Link: "VPN to LIS", State: notice.LinkCut, At: at + hour, Reason: "they may be the way in"}},
		Assistance: []notice.FiledAssistance{{Act: notice.ActRequest, What: "mobile CT", Quantity: 1, Unit: "scanner", At: at + 2*hour}},
		Sightings: []notice.FiledSighting{
			{Type: notice.TypeDomain, Value: "cdn-update.evil.example", First: at - 9*hour, Last: at + hour, Count: 41, Family: "Cobalt Strike"},
			{Type: notice.TypeIPv4, Value: "198.51.100.77", First: at - 9*hour, Last: at + hour, Count: 1240},
			{Type: notice.TypeSHA256, Value: strings.Repeat("9f86d081884c7d65", 4), First: at - 19*hour, Last: at - 19*hour, Count: 1, Family: "Qakbot"},
			{Type: notice.TypeURL, Value: "http://cdn-update.evil.example/" + strings.Repeat("gate/", 20) + "load.php?id=1", First: at - 9*hour, Last: at, Count: 3},
		}}
	i.NoteSent(incident.Sent{Stage: notice.StageEarlyWarning, At: at + 5*hour, To: "CSIRT"}, at, "desk")
	for _, stage := range notice.Stages() {
		f := draft(t, i, stage, e)
		for _, lang := range catalog.Languages {
			var out bytes.Buffer
			p := incident.Page{Filing: &f, Marking: notice.TLPAmberStrict, Words: catalog.For(lang), Zone: berlin}
			if stage == notice.StageFinal {
				p.Author = "Sankt Anna Krankenhaus"
			}
			if err := p.Write(&out); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, stage.String()+"-"+lang+".html"), out.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}
