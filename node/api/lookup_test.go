package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestLookup(t *testing.T) {
	s := start(t, nil)
	a := s.ask(t, "reader", "POST", "/v1/lookup", `{"values":["evil.example","e\u0301.example","b.example","evil.example"],"hosts":true}`)
	want := `{"answers":[` +
		`{"value":"evil.example","type":"domain","known":true,"summary":{"first_seen":"2023-11-14T22:13:20.000Z","sightings":3,"members":2,"reports":0,"disputes":0,"tlp":"AMBER"},"verdict":{"level":"detect","score":79}},` +
		"{\"value\":\"e\u0301.example\",\"type\":\"domain\",\"known\":false}," +
		`{"value":"b.example","type":"domain","known":false},` +
		`{"value":"evil.example","type":"domain","known":true,"summary":{"first_seen":"2023-11-14T22:13:20.000Z","sightings":3,"members":2,"reports":0,"disputes":0,"tlp":"AMBER"},"verdict":{"level":"detect","score":79}}]}` + "\n"
	if a.StatusCode != 200 || a.body != want || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	a = s.ask(t, "reader", "POST", "/v1/lookup", `{"known_only":true,"values":["b.example","evil.example"]}`)
	var got api.LookupAnswers
	a.decode(t, &got)
	if len(got.Answers) != 1 || got.Answers[0].Value != "evil.example" {
		t.Errorf("known only: %s", a.body)
	}
	a = s.ask(t, "reader", "POST", "/v1/lookup", `{"values":["evil.example"],"reasons":true}`)
	if want := `"verdict":{"level":"detect","score":79,"reasons":[{"cause":"seen","raised":true,"text":"seen by 2 members","ids":["` + knownID + `"],"more":1}]}}]}`; !strings.Contains(a.body, want) {
		t.Errorf("reasons: %s", a.body)
	}
}

// TestAnswersAreJSON holds the hand-written encoder to what encoding/json makes
// of the same types.
func TestAnswersAreJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "a<b>&c", "\u2028\u2029\u2027", "\x00\x1f\x7f\b\f\n\r\t\"\\", "bad\xff\xc0utf8\xed\xa0\x80", "é\ufffd"}))
		answers := make([]api.LookupAnswer, rapid.IntRange(0, 3).Draw(t, "n"))
		for i := range answers {
			a := &answers[i]
			a.Value, a.Type, a.Reason = text.Draw(t, "value"), text.Draw(t, "type"), text.Draw(t, "reason")
			a.Known = rapid.Bool().Draw(t, "known")
			if rapid.Bool().Draw(t, "matched") {
				a.Matched = &api.Indicator{Type: text.Draw(t, "t"), Value: text.Draw(t, "v")}
			}
			if rapid.Bool().Draw(t, "summary") {
				a.Summary = &api.Summary{
					FirstSeen: api.Time(rapid.Int64Range(0, 1<<41).Draw(t, "first")), LastSeen: api.Time(rapid.Int64Range(0, 1<<41).Draw(t, "last")),
					Sightings: rapid.Uint64().Draw(t, "sightings"), Members: rapid.Int().Draw(t, "members"),
					Reports: rapid.Int().Draw(t, "reports"), Disputes: rapid.Int().Draw(t, "disputes"), TLP: text.Draw(t, "tlp"),
				}
			}
			if rapid.Bool().Draw(t, "verdict") {
				a.Verdict = drawVerdict(t, text)
			}
		}
		want, err := json.Marshal(api.LookupAnswers{Answers: answers})
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.TrimSuffix(api.AppendAnswers(nil, answers, false), []byte("\n")); !bytes.Equal(got, want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		var sure api.LookupAnswers // as encoding/json reads it: text that is no UTF-8 has become so
		if err := json.Unmarshal(want, &sure); err != nil {
			t.Fatal(err)
		}
		var back []api.VerdictView
		if err := api.DecodeAnswers(want, func(a api.LookupAnswer) error {
			if a.Verdict != nil {
				back = append(back, *a.Verdict)
			}
			return nil
		}); err != nil {
			return // numbers below 0, which the rest of an answer may have here
		}
		var verdicts []api.VerdictView
		for _, a := range sure.Answers {
			if a.Verdict != nil {
				verdicts = append(verdicts, *a.Verdict)
			}
		}
		if !reflect.DeepEqual(back, verdicts) {
			t.Fatalf("read back %+v, want %+v", back, verdicts)
		}
	})
}

func drawVerdict(t *rapid.T, text *rapid.Generator[string]) *api.VerdictView {
	v := &api.VerdictView{
		Level: text.Draw(t, "level"), Score: rapid.IntRange(0, 100).Draw(t, "score"), Guarded: rapid.Bool().Draw(t, "guarded"), Listed: rapid.Bool().Draw(t, "listed"),
		Expires: api.Time(rapid.Int64Range(0, 1<<41).Draw(t, "expires")),
	}
	if rapid.Bool().Draw(t, "verdict matched") {
		v.Matched = &api.Indicator{Type: text.Draw(t, "t"), Value: text.Draw(t, "v")}
	}
	for range rapid.IntRange(0, 3).Draw(t, "reasons") {
		v.Reasons = append(v.Reasons, api.VerdictReason{
			Cause: text.Draw(t, "cause"), Raised: rapid.Bool().Draw(t, "raised"), Text: text.Draw(t, "text"),
			IDs: rapid.SliceOfN(text, 0, 3).Draw(t, "ids"), More: rapid.IntRange(0, 1<<40).Draw(t, "more"),
		})
		if r := &v.Reasons[len(v.Reasons)-1]; len(r.IDs) == 0 {
			r.IDs = nil
		}
	}
	return v
}

func TestOpenAPI(t *testing.T) {
	s := start(t, nil)
	got := s.ask(t, "", "GET", "/openapi.json", "").body
	golden := filepath.Join("testdata", "openapi.json")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("the OpenAPI description changed: if that is meant, run go test ./node/api -run OpenAPI -update and look at the difference")
	}
	for _, pattern := range s.Routes() {
		method, path, _ := strings.Cut(strings.Replace(pattern, "...}", "}", 1), " ")
		var doc struct {
			Paths map[string]map[string]any `json:"paths"`
		}
		if err := json.Unmarshal([]byte(got), &doc); err != nil {
			t.Fatal(err)
		}
		if doc.Paths[path][strings.ToLower(method)] == nil {
			t.Errorf("%s is not described", pattern)
		}
	}
	if strings.Contains(got, "ErrorModel") {
		t.Error("huma's own error shape is described")
	}
}

func TestTimeJSON(t *testing.T) {
	for ms, want := range map[api.Time]string{
		0: "1970-01-01T00:00:00.000Z", 1: "1970-01-01T00:00:00.001Z", 1_767_225_600_000: "2026-01-01T00:00:00.000Z",
	} {
		text, err := ms.MarshalText()
		var back api.Time
		if err != nil || string(text) != want || back.UnmarshalText(text) != nil || back != ms {
			t.Errorf("%d: %s, back %d", ms, text, back)
		}
	}
	var at api.Time
	for _, bad := range []string{"", "2026-01-01", "2026-01-01T00:00:00", "1969-12-31T23:59:59Z", "10000-01-01T00:00:00Z", "2026-13-01T00:00:00Z"} {
		if err := at.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was taken as %s", bad, at)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"values":["evil.example"],"hosts":true}`, `{"notices":[{"value":"a","count":3,"context":{"family":"x"}},{"v":[1e3]}]}`,
		`{"value":"\ud83d\ude00","first_seen":"2026-01-02T03:04:05Z"}`, `{"name":"a","role":"reader","expires":null}`,
		`[[[[`, `{"a":{"a":`, "\xff", "{}", `{"values":[1]}`, `"\u00"`, `{"notices":null}`, `{"":{"":[0]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		values, err := api.DecodeLookup(body)
		if err == nil {
			var want struct{ Values []string }
			if jsonErr := json.Unmarshal(body, &want); jsonErr != nil || !reflect.DeepEqual(values, want.Values) {
				t.Fatalf("took %q, encoding/json says %q, %v", values, want.Values, jsonErr)
			}
		}
		items, refused, err := api.DecodeSubmissions(body)
		if err == nil && (!json.Valid(body) || len(items)+len(refused) == 0 || !utf8.Valid(body)) {
			t.Fatalf("took what is no JSON, or nothing: %q", body)
		}
		checkProblem(t, err)
		checkProblem(t, api.DecodeToken(body))
	})
}

func checkProblem(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	p, ok := err.(*api.Problem)
	if !ok || p.Fix == "" || p.Detail == "" || len(p.Errors) == 0 || (p.Status != 400 && p.Status != 422) {
		t.Fatalf("not a complete problem: %#v", err)
	}
	if raw, err := json.Marshal(p); err != nil || len(raw) > 4096 {
		t.Fatalf("a problem of %d bytes, %v", len(raw), err)
	}
}

// instantNode answers lookups at no cost, so that the benchmark shows what HTTP
// and JSON cost.
type instantNode struct{ *fakeNode }

func (instantNode) Lookup(_ context.Context, values []string, _ api.LookupOptions) ([]api.LookupAnswer, error) {
	out := make([]api.LookupAnswer, len(values))
	for i, v := range values {
		out[i] = api.LookupAnswer{Value: v, Type: "domain"}
		if i%10 == 0 {
			out[i].Known, out[i].Summary = true, &api.Summary{Sightings: 3, Members: 2, FirstSeen: 1, LastSeen: 2, TLP: notice.TLPAmber.String()}
		}
	}
	return out, nil
}

func BenchmarkLookup(b *testing.B) {
	values := make([]string, api.LookupMax)
	for i := range values {
		values[i] = fmt.Sprintf("host-%d.example", i)
	}
	body, _ := json.Marshal(map[string]any{"values": values})
	s, secret := bench(b)
	b.ResetTimer()
	for b.Loop() {
		r := httptest.NewRequest("POST", "http://localhost/v1/lookup", bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+secret)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
	b.ReportMetric(float64(b.N)*api.LookupMax/b.Elapsed().Seconds(), "values/s")
}

func bench(b *testing.B) (*api.Server, string) {
	tokens, err := token.Open(filepath.Join(b.TempDir(), "tokens.json"), nil)
	if err != nil {
		b.Fatal(err)
	}
	secret, _, err := tokens.Create("bench", token.Reader, notice.TLPRed, time.Time{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := api.New(api.Config{Node: instantNode{newFakeNode()}, Tokens: tokens, Listen: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	return s, secret
}
