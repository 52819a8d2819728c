package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

func TestSubmitOne(t *testing.T) {
	s := start(t, nil)
	a := s.ask(t, "reporter", "POST", "/v1/notices?tlp=amber&allow_special=true", `{
		"value": "hxxp://evil[.]example/a", "first_seen": "2026-01-02T03:04:05+01:00", "count": 3,
		"context": {"family": "Emotet", "cve": null}, "origin": {"source": "misp:ESET", "id": "x", "tlp": "white"}, "reason": null}`,
		"Idempotency-Key", "key-1")
	if a.StatusCode != 201 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	got := s.node.submitted[0]
	if got.Kind != "sighting" || got.Value != "hxxp://evil[.]example/a" || got.FirstSeen.String() != "2026-01-02T02:04:05.000Z" ||
		got.Count != 3 || got.Context.Family != "Emotet" || got.Origin.TLP != "CLEAR" {
		t.Errorf("decoded %+v", got)
	}
	want := api.SubmitOptions{TLP: notice.TLPAmber, Idempotency: "key-1", AllowSpecial: true, Ceiling: notice.TLPRed, Caller: "reporter"}
	if s.node.options != want {
		t.Errorf("options %+v, want %+v", s.node.options, want)
	}
	var answer api.SubmitAnswer
	a.decode(t, &answer)
	if len(answer.Notices) != 1 || !strings.Contains(a.body, `"refused":[]`) || !strings.Contains(a.body, `"created":"2023-11-14T22:13:20.123Z"`) {
		t.Errorf("answer %s", a.body)
	}
}

func TestSubmitOptions(t *testing.T) {
	s := start(t, nil)
	for query, want := range map[string]api.SubmitOptions{
		"":                          {},
		"?share=false":              {Local: true},
		"?share=true&dry_run=true":  {DryRun: true},
		"?tlp=TLP:AMBER%2BSTRICT":   {TLP: notice.TLPAmberStrict},
		"?allow_special=false":      {},
		"?share=false&dry_run=true": {Local: true, DryRun: true},
	} {
		a := s.ask(t, "reporter", "POST", "/v1/notices"+query, `{"value":"evil.example"}`)
		want.Ceiling, want.Caller = notice.TLPRed, "reporter"
		if s.node.options != want {
			t.Errorf("%q: %+v, want %+v: %s", query, s.node.options, want, a.body)
		}
		if status := map[bool]int{false: 201, true: 200}[want.DryRun]; a.StatusCode != status {
			t.Errorf("%q: status %d, want %d", query, a.StatusCode, status)
		}
	}
	for _, query := range []string{"?tlp=PURPLE", "?share=maybe", "?shared=true", "?dry_run=1x"} {
		if a := s.ask(t, "reporter", "POST", "/v1/notices"+query, `{"value":"evil.example"}`); a.StatusCode != 422 || len(a.problem(t).Errors) == 0 {
			t.Errorf("%q: %d %s", query, a.StatusCode, a.body)
		}
	}
}

func TestOneBadNoticeNeverStopsTheOthers(t *testing.T) {
	s := start(t, nil)
	a := s.ask(t, "reporter", "POST", "/v1/notices", `{"notices": [
		{"value": "a.example"},
		{"value": "b.example", "colour": "red"},
		{"value": 7},
		"c.example",
		{"value": "192.168.1.4"},
		{"value": "d.example", "context": {"family": ["x", {"y": 1}]}},
		{"value": "e.example", "count": -1},
		{"value": "f.example", "count": 1e3},
		{"value": "g.example", "kind": "rumour"},
		{"value": "h.example", "tlp": "purple"},
		{"value": "i.example", "first_seen": "yesterday"},
		{"value": "j.example", "ref": "xyz"},
		{"value": "known.example"},
		null,
		{"value": "z.example", "count": 1000000000}
	]}`)
	if a.StatusCode != 201 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	var answer api.SubmitAnswer
	a.decode(t, &answer)
	if len(answer.Notices) != 2 || answer.Notices[0].Indicator.Value != "a.example" || !answer.Notices[1].Known {
		t.Errorf("taken: %s", a.body)
	}
	var got []string
	for _, r := range answer.Refused {
		if r.Reason == "" || r.Fix == "" {
			t.Errorf("refused without a reason or a fix: %+v", r)
		}
		got = append(got, fmt.Sprintf("%s %s %s", r.At, r.Field, r.Value))
	}
	want := []string{
		"notices[1] colour b.example", "notices[2] value 7", `notices[3]  "c.example"`, "notices[4] value 192.168.1.4",
		"notices[5] context.family d.example", "notices[6] count e.example", "notices[7] count f.example",
		"notices[8] kind g.example", "notices[9] tlp h.example", "notices[10] first_seen i.example",
		"notices[11] ref j.example", "notices[13]  null", "notices[14] count z.example",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("refused:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSubmitStatus(t *testing.T) {
	s := start(t, nil)
	for body, status := range map[string]int{
		`{"value":"new.example"}`:   201,
		`{"value":"known.example"}`: 200,
		`{"notices":[{"value":"known.example"},{"value":"new.example"}]}`: 201,
		`{"notices":[{"value":"known.example"},{"value":"192.168.1.4"}]}`: 200,
		`{"value":"192.168.1.4"}`:                                422,
		`{"notices":[{"value":"192.168.1.4"},{"colour":"red"}]}`: 422,
		`{"notices":[]}`:                                         422,
		`{"notices":{}}`:                                         422,
		`{"notices":[{"value":"new.example"}],"tlp":"AMBER"}`:    422,
		`{"notices":[{"value":"new.example"}]`:                   400,
	} {
		if a := s.ask(t, "reporter", "POST", "/v1/notices", body); a.StatusCode != status {
			t.Errorf("%s: %d, want %d: %s", body, a.StatusCode, status, a.body)
		}
	}
	p := s.ask(t, "reporter", "POST", "/v1/notices", `{"notices":[{"value":"192.168.1.4"},{"colour":"red"}]}`).problem(t)
	if p.Word() != "all-refused" || len(p.Errors) != 2 || p.Errors[0].Location != "body.notices[0].value" || p.Errors[1].Location != "body.notices[1].colour" {
		t.Errorf("%+v", p)
	}
}

// TestBadBodies sends each body to every route that takes one.
func TestBadBodies(t *testing.T) {
	s := start(t, func(c *api.Config) { c.BodyMax = 128 << 10 })
	deep := strings.Repeat(`{"value":`, 40) + `1` + strings.Repeat(`}`, 40)
	lists := strings.Repeat(`[`, 100_000)
	for name, c := range map[string]struct {
		body    string
		headers []string
		status  int
		in      string // part of the answer
	}{
		"nothing":               {" ", nil, 400, "line 1"},
		"truncated":             {`{"values":["evil.example"`, nil, 400, "line 1, column 26"},
		"cut in a text":         {"{\"values\":\n[\"evil", nil, 400, "line 2"},
		"trailing":              {`{"value":"evil.example"} {}`, nil, 400, "follows"},
		"trailing comma":        {`{"value":"evil.example",}`, nil, 400, "key"},
		"single quotes":         {`{'value':'evil.example'}`, nil, 400, "double quotes"},
		"comment":               {`{"value":"evil.example"/**/}`, nil, 400, ", or }"},
		"duplicate key":         {`{"value":"a.example","value":"b.example"}`, nil, 400, "twice"},
		"duplicate by escape":   {`{"value":"a.example","v\u0061lue":"b.example"}`, nil, 400, "twice"},
		"deep objects":          {deep, nil, 400, "deeper"},
		"deep lists":            {lists, nil, 400, "deeper"},
		"huge number":           {`{"count":` + strings.Repeat("9", 100) + `}`, nil, 400, "number"},
		"huge exponent":         {`{"count":1e999999999}`, nil, 422, ""},
		"not a number":          {`{"count":NaN}`, nil, 400, ""},
		"leading zero":          {`{"count":01}`, nil, 400, ""},
		"half a word":           {`famili`, nil, 400, ""},
		"half a word inside":    {`{"hosts":fals}`, nil, 400, ""},
		"hex":                   {`{"count":0x10}`, nil, 400, ""},
		"long text":             {`{"value":"` + strings.Repeat("a", 5000) + `"}`, nil, 400, "longer"},
		"long escaped text":     {`{"value":"` + strings.Repeat(`\n`, 5000) + `"}`, nil, 400, "longer"},
		"invalid UTF-8":         {"{\"value\":\"evil\xff.example\"}", nil, 400, "UTF-8"},
		"UTF-16":                {"\xff\xfe{\x00}\x00", nil, 400, "UTF-8"},
		"byte order mark":       {"\ufeff{}", nil, 400, "byte order mark"},
		"control character":     {"{\"value\":\"a\x00b\"}", nil, 400, "control"},
		"lone surrogate":        {`{"value":"\ud800"}`, nil, 400, "escape"},
		"swapped surrogates":    {`{"value":"\udc00\ud800"}`, nil, 400, "escape"},
		"bad escape":            {`{"value":"\x41"}`, nil, 400, "escape"},
		"many keys":             {manyKeys(100), nil, 400, "keys"},
		"a list":                {`["evil.example"]`, nil, 422, "an object"},
		"a text":                {`"evil.example"`, nil, 422, "an object"},
		"null":                  {`null`, nil, 422, "an object"},
		"unknown field":         {`{"colour":"red"}`, nil, 422, "colour"},
		"upper-case field":      {`{"Value":"evil.example","Values":[]}`, nil, 422, "not a field"},
		"over the limit":        {`{"value":"` + strings.Repeat("a", 129<<10) + `"}`, nil, 413, "131072"},
		"no content type":       {`{}`, []string{"Content-Type", ""}, 415, "application/json"},
		"form":                  {`value=evil.example`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "application/json"},
		"other charset":         {`{}`, []string{"Content-Type", "application/json; charset=latin1"}, 415, "UTF-8"},
		"compressed":            {`{}`, []string{"Content-Encoding", "gzip"}, 415, "Content-Encoding"},
		"broken content type":   {`{}`, []string{"Content-Type", "application/json; charset"}, 415, ""},
		"merge-patch":           {`{}`, []string{"Content-Type", "application/merge-patch+json"}, 415, ""},
		"charset is acceptable": {`{"colour":"red"}`, []string{"Content-Type", "application/json; charset=UTF-8"}, 422, "colour"},
	} {
		for _, path := range []string{"/v1/notices", "/v1/lookup", "/v1/tokens"} {
			a := s.ask(t, "admin", "POST", path, c.body, c.headers...)
			p := a.problem(t)
			if a.StatusCode != c.status || p.Fix == "" || !strings.Contains(a.body, c.in) {
				t.Errorf("%s to %s: %d, want %d with %q: %s", name, path, a.StatusCode, c.status, c.in, a.body)
			}
			if len(a.body) > 4000 {
				t.Errorf("%s to %s: the answer has %d bytes", name, path, len(a.body))
			}
		}
	}
	if s.node.submitted != nil || s.node.lookedUp != nil {
		t.Error("a bad body reached the node")
	}
	if list, _ := s.tokens.List(); len(list) != 4 {
		t.Error("a bad body made a token")
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":1`, i)
	}
	return "{" + b.String()[1:] + "}"
}

// TestBodyWithoutLength sends chunks, so that the limit must hold while reading.
func TestBodyWithoutLength(t *testing.T) {
	s := start(t, func(c *api.Config) { c.BodyMax = 1000 })
	body := `{"values":["` + strings.Repeat("a", 2000) + `"]}`
	if a := s.ask(t, "reader", "POST", "/v1/lookup", body, "Chunked", "yes"); a.StatusCode != 413 {
		t.Errorf("status %d, want 413: %s", a.StatusCode, a.body)
	}
}

func TestTooManyItems(t *testing.T) {
	s := start(t, nil)
	for n, status := range map[int]int{api.LookupMax: 200, api.LookupMax + 1: 422} {
		body := `{"values":["x"` + strings.Repeat(`,"x"`, n-1) + `]}`
		if a := s.ask(t, "reader", "POST", "/v1/lookup", body); a.StatusCode != status {
			t.Errorf("%d values: %d, want %d: %.200s", n, a.StatusCode, status, a.body)
		}
	}
	for n, status := range map[int]int{api.SubmissionsMax: 201, api.SubmissionsMax + 1: 422} {
		body := `{"notices":[{"value":"x"}` + strings.Repeat(`,{"value":"x"}`, n-1) + `]}`
		if a := s.ask(t, "reporter", "POST", "/v1/notices", body); a.StatusCode != status {
			t.Errorf("%d notices: %d, want %d: %.200s", n, a.StatusCode, status, a.body)
		}
	}
}

func TestListNotices(t *testing.T) {
	s := start(t, nil)
	var page api.NoticesAnswer
	s.ask(t, "reader", "GET", "/v1/notices?kind=sighting&author=me&search=evil&since=2026-01-01T00:00:00Z&limit=7&next=abc", "").decode(t, &page)
	want := api.Query{Kind: notice.KindSighting, Mine: true, Search: "evil", Since: 1_767_225_600_000, Limit: 7, Next: "abc", Ceiling: notice.TLPRed}
	if s.node.query != want {
		t.Errorf("query %+v, want %+v", s.node.query, want)
	}
	if len(page.Notices) != 1 || page.Next != "more" {
		t.Errorf("page %+v", page)
	}
	s.ask(t, "green", "GET", "/v1/notices", "")
	if want := (api.Query{Limit: 100, Ceiling: notice.TLPGreen}); s.node.query != want {
		t.Errorf("defaults %+v", s.node.query)
	}
	if a := s.ask(t, "green", "GET", "/v1/notices", ""); !strings.Contains(a.body, `"notices":[]`) {
		t.Errorf("an empty list is not []: %s", a.body)
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "kind=rumour", "author=you", "since=yesterday", "lmit=3", "next=broken", "search=" + strings.Repeat("x", 300)} {
		a := s.ask(t, "reader", "GET", "/v1/notices?"+query, "")
		name, _, _ := strings.Cut(query, "=")
		if p := a.problem(t); a.StatusCode != 422 || len(p.Errors) != 1 || p.Errors[0].Location != "query."+name {
			t.Errorf("%.20s: %d %s", query, a.StatusCode, a.body)
		}
	}
}

func TestNoticeWithProof(t *testing.T) {
	s := start(t, nil)
	var got api.NoticeAnswer
	whole := s.ask(t, "reader", "GET", "/v1/notices/"+knownID, "")
	whole.decode(t, &got)
	if !strings.Contains(whole.body, `"path":[]`) {
		t.Errorf("a proof of an only item has no list: %s", whole.body)
	}
	if got.ID != knownID || got.Proof == nil || got.Proof.Header[0] != 3 {
		t.Errorf("%+v", got)
	}
	if a := s.ask(t, "reader", "GET", "/v1/notices/xyz", ""); a.StatusCode != 422 || a.problem(t).Errors[0].Location != "path.id" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestIdempotencyKey(t *testing.T) {
	s := start(t, nil)
	for _, key := range []string{"with space", strings.Repeat("k", 129), "ümlaut"} {
		if a := s.ask(t, "reporter", "POST", "/v1/notices", `{"value":"x"}`, "Idempotency-Key", key); a.StatusCode != 422 {
			t.Errorf("%.20q: %d", key, a.StatusCode)
		}
	}
}
