package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// rights is what each route answers to nobody, a wrong token, a reader, a
// reporter and an admin. A route that is missing here fails the test.
var rights = map[string]struct {
	path, body string
	want       [5]int
}{
	"GET /v1/status":                              {"/v1/status", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/notices":                             {"/v1/notices", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/notices/{id}":                        {"/v1/notices/" + knownID, "", [5]int{401, 401, 200, 200, 200}},
	"POST /v1/notices":                            {"/v1/notices", `{"value":"evil.example"}`, [5]int{401, 401, 403, 201, 201}},
	"POST /v1/lookup":                             {"/v1/lookup", `{"values":["evil.example"]}`, [5]int{401, 401, 200, 200, 200}},
	"GET /v1/indicators":                          {"/v1/indicators?value=evil.example", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/members":                             {"/v1/members", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/alerts":                              {"/v1/alerts", "", [5]int{401, 401, 200, 200, 200}},
	"POST /v1/alerts/{id}/ack":                    {"/v1/alerts/1/ack", "", [5]int{401, 401, 403, 200, 200}},
	"POST /v1/alerts/test":                        {"/v1/alerts/test?sink=mail", "", [5]int{401, 401, 403, 403, 200}},
	"GET /v1/silences":                            {"/v1/silences", "", [5]int{401, 401, 200, 200, 200}},
	"POST /v1/silences":                           {"/v1/silences", `{"match":{"kind":["hit"]},"seconds":3600,"why":"scan"}`, [5]int{401, 401, 403, 201, 201}},
	"DELETE /v1/silences/{id}":                    {"/v1/silences/1", "", [5]int{401, 401, 403, 200, 200}},
	"GET /v1/stream":                              {"/v1/stream", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/export":                              {"/v1/export", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/bundle":                              {"/v1/bundle", "", [5]int{401, 401, 200, 200, 200}},
	"POST /v1/bundle":                             {"/v1/bundle", "a bundle", [5]int{401, 401, 403, 200, 200}},
	"POST /v1/region/invitations":                 {"/v1/region/invitations", `{}`, [5]int{401, 401, 403, 403, 201}},
	"GET /v1/region/requests":                     {"/v1/region/requests", "", [5]int{401, 401, 403, 403, 200}},
	"POST /v1/region/records":                     {"/v1/region/records", "records", [5]int{401, 401, 403, 403, 200}},
	"GET /v1/tokens":                              {"/v1/tokens", "", [5]int{401, 401, 403, 403, 200}},
	"POST /v1/tokens":                             {"/v1/tokens", `{"name":"new","role":"reader"}`, [5]int{401, 401, 403, 403, 201}},
	"DELETE /v1/tokens/{id}":                      {"/v1/tokens/absent", "", [5]int{401, 401, 403, 403, 404}},
	"GET /metrics":                                {"/metrics", "", [5]int{401, 401, 200, 200, 200}},
	"GET /healthz":                                {"/healthz", "", [5]int{200, 200, 200, 200, 200}},
	"GET /readyz":                                 {"/readyz", "", [5]int{200, 200, 200, 200, 200}},
	"GET /openapi.json":                           {"/openapi.json", "", [5]int{200, 200, 200, 200, 200}},
	"GET /v1/notices/{id}/proof":                  {"/v1/notices/" + knownID + "/proof", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/region/file":                         {"/v1/region/file?members=true", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/region/records":                      {"/v1/region/records?all=true", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/ledger/status":                       {"/v1/ledger/status", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/ledger/entries/{id}":                 {"/v1/ledger/entries/" + knownID + "?strong=true", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/ledger/receipts/{id}":                {"/v1/ledger/receipts/" + knownID, "", [5]int{401, 401, 200, 200, 200}},
	"POST /v1/ledger/transfer":                    {"/v1/ledger/transfer", `{}`, [5]int{401, 401, 403, 403, 200}},
	"GET /ledger/{region}/{epoch}/checkpoint":     {"/ledger/" + ledgerRegion + "/1/checkpoint", "", [5]int{401, 401, 200, 200, 200}},
	"GET /ledger/{region}/{epoch}/tile/{path...}": {"/ledger/" + ledgerRegion + "/1/tile/0/000", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/region/cuts":                         {"/v1/region/cuts?member=" + strings.Repeat("0", 64), "", [5]int{401, 401, 403, 403, 200}},
	"GET /v1/policies":                            {"/v1/policies", "", [5]int{401, 401, 200, 200, 200}},
	"POST /v1/policies":                           {"/v1/policies", `{"policies":[{"value":"evil.example","decision":"deny"}]}`, [5]int{401, 401, 403, 403, 200}},
	"POST /v1/exercise":                           {"/v1/exercise", `{}`, [5]int{401, 401, 403, 403, 201}},
	"GET /v1/exercise":                            {"/v1/exercise", "", [5]int{401, 401, 403, 403, 200}},
	"GET /v1/exercise/{number}":                   {"/v1/exercise/last", "", [5]int{401, 401, 403, 403, 200}},
	"DELETE /v1/exercise":                         {"/v1/exercise", "", [5]int{401, 401, 403, 403, 200}},
	"GET /v1/situation":                           {"/v1/situation", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/situation/report":                    {"/v1/situation/report", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/pack":                                {"/v1/pack", "", [5]int{401, 401, 200, 200, 200}},
	"POST /v1/pack":                               {"/v1/pack", `{}`, [5]int{401, 401, 403, 403, 200}},
	"GET /v1/incidents":                           {"/v1/incidents", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/incidents/{number}":                  {"/v1/incidents/2026-1", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/incidents/{number}/drafts/{stage}":   {"/v1/incidents/2026-1/drafts/final", "", [5]int{401, 401, 200, 200, 200}},
	"POST /v1/incidents":                          {"/v1/incidents", `{"title":"x"}`, [5]int{401, 401, 403, 201, 201}},
	"POST /v1/incidents/{number}":                 {"/v1/incidents/2026-1", `{"impact":"x"}`, [5]int{401, 401, 403, 200, 200}},
	"POST /v1/incidents/{number}/drafts":          {"/v1/incidents/2026-1/drafts", `{"stage":"final"}`, [5]int{401, 401, 403, 200, 200}},
	"POST /v1/incidents/{number}/send":            {"/v1/incidents/2026-1/send", `{"stage":"final","to":"CSIRT"}`, [5]int{401, 401, 403, 200, 200}},
	"POST /v1/incidents/{number}/close":           {"/v1/incidents/2026-1/close", `{"why":"x"}`, [5]int{401, 401, 403, 200, 200}},
	"GET /v1/filings/{id}":                        {"/v1/filings/" + knownID, "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/bridges":                             {"/v1/bridges", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/bridges/{name}":                      {"/v1/bridges/absent", "", [5]int{401, 401, 404, 404, 404}},
	"GET /v1/feeds":                               {"/v1/feeds", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/feeds/{name}":                        {"/v1/feeds/absent", "", [5]int{401, 401, 404, 404, 404}},
	"POST /v1/feeds/{name}/diff":                  {"/v1/feeds/absent/diff", `{}`, [5]int{401, 401, 403, 403, 404}},
	"POST /v1/feeds/{name}/accept":                {"/v1/feeds/absent/accept", "", [5]int{401, 401, 403, 403, 404}},
	"GET /v1/advisories":                          {"/v1/advisories", "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/advisories/{id}":                     {"/v1/advisories/" + knownID, "", [5]int{401, 401, 200, 200, 200}},
	"GET /v1/documents/{sha256}":                  {"/v1/documents/" + strings.Repeat("0", 64), "", [5]int{401, 401, 404, 404, 404}},
	"POST /v1/documents":                          {"/v1/documents", "x", [5]int{401, 401, 403, 200, 200}},
	"GET /v1/questions":                           {"/v1/questions", "", [5]int{401, 401, 200, 200, 200}},
	"POST /v1/hunt":                               {"/v1/hunt", `{"values":["evil.example"]}`, [5]int{401, 401, 200, 200, 200}},
	"GET /v1/logs":                                {"/v1/logs", "", [5]int{401, 401, 200, 200, 200}},
}

func TestRights(t *testing.T) {
	s := start(t, nil)
	foreign, err := token.Open(filepath.Join(t.TempDir(), "tokens.json"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.secret["wrong"], _, err = foreign.Create("foreign", token.Admin, notice.TLPRed, time.Time{}); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range s.Routes() {
		row, ok := rights[pattern]
		if !ok {
			t.Errorf("the route %q has no row in this table: who may use it?", pattern)
			continue
		}
		method, _, _ := strings.Cut(pattern, " ")
		for i, who := range []string{"", "wrong", "reader", "reporter", "admin"} {
			a := s.ask(t, who, method, row.path, row.body)
			if a.StatusCode != row.want[i] {
				t.Errorf("%s as %q: status %d, want %d: %s", pattern, who, a.StatusCode, row.want[i], a.body)
			}
			if a.StatusCode == 401 || a.StatusCode == 403 {
				if p := a.problem(t); !strings.Contains(p.Fix, "token") {
					t.Errorf("%s as %q: the fix does not say how to get a token: %s", pattern, who, a.body)
				}
				if a.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s as %q: no challenge", pattern, who)
				}
			}
		}
	}
	for pattern := range rights {
		if !slices.Contains(s.Routes(), pattern) {
			t.Errorf("the row %q names no route", pattern)
		}
	}
}

func TestWrongTokensAreToldApart(t *testing.T) {
	s := start(t, nil)
	good := s.secret["reader"]
	typo := "wwt_b" + good[5:]
	if typo == good {
		typo = "wwt_c" + good[5:]
	}
	gone, _, err := s.tokens.Create("gone", token.Admin, notice.TLPRed, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.tokens.Revoke("gone"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ header, word string }{
		"none":         {"", "no-token"},
		"basic":        {"Basic " + good, "no-token"},
		"typo":         {"Bearer " + typo, "mistyped-token"},
		"cut off":      {"Bearer " + good[:40], "mistyped-token"},
		"revoked":      {"Bearer " + gone, "bad-token"},
		"empty":        {"Bearer ", "mistyped-token"},
		"bare":         {"Bearer", "mistyped-token"},
		"another kind": {"Bearer ghp_0123456789", "mistyped-token"},
	} {
		a := s.ask(t, "", "GET", "/v1/status", "", "Authorization", c.header)
		if c.header == "" {
			a = s.ask(t, "", "GET", "/v1/status", "")
		}
		if p := a.problem(t); a.StatusCode != 401 || p.Word() != c.word {
			t.Errorf("%s: %d %s, want 401 %s", name, a.StatusCode, p.Word(), c.word)
		}
		if strings.Contains(a.body, good[4:20]) {
			t.Errorf("%s: the answer repeats the secret: %s", name, a.body)
		}
	}
	if a := s.ask(t, "", "GET", "/v1/status", "", "Authorization", "bearer "+good); a.StatusCode != 200 {
		t.Errorf("the scheme's case matters: %d", a.StatusCode)
	}
}

func TestRevokedTokenFailsAtOnce(t *testing.T) {
	s := start(t, nil)
	var made api.NewToken
	s.ask(t, "admin", "POST", "/v1/tokens", `{"name":"scanner","role":"reporter","ceiling":"green"}`).decode(t, &made)
	if made.Role != "reporter" || made.Ceiling != "GREEN" || made.Token == "" {
		t.Fatalf("made %+v", made)
	}
	s.secret["scanner"] = made.Token
	if a := s.ask(t, "scanner", "GET", "/v1/status", ""); a.StatusCode != 200 {
		t.Fatalf("new token: %d %s", a.StatusCode, a.body)
	}
	if a := s.ask(t, "admin", "GET", "/v1/tokens", ""); strings.Contains(a.body, made.Token) || !strings.Contains(a.body, "scanner") {
		t.Errorf("list: %s", a.body)
	}
	if a := s.ask(t, "admin", "DELETE", "/v1/tokens/"+made.ID, ""); a.StatusCode != 200 {
		t.Fatalf("revoke: %d %s", a.StatusCode, a.body)
	}
	if a := s.ask(t, "scanner", "GET", "/v1/status", ""); a.StatusCode != 401 {
		t.Errorf("revoked token: %d", a.StatusCode)
	}
}

func TestTokenCannotMakeStrongerToken(t *testing.T) {
	s := start(t, nil)
	a := s.ask(t, "green", "POST", "/v1/tokens", `{"name":"red","role":"reader","ceiling":"RED"}`)
	if p := a.problem(t); a.StatusCode != 403 || p.Word() != "low-ceiling" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	var made api.NewToken
	s.ask(t, "green", "POST", "/v1/tokens", `{"name":"same","role":"reader"}`).decode(t, &made)
	if made.Ceiling != "GREEN" {
		t.Errorf("the ceiling was not inherited: %+v", made)
	}
}

func TestCeilingHides(t *testing.T) {
	s := start(t, nil)
	for path, status := range map[string]int{
		"/v1/notices/" + knownID:             404,
		"/v1/notices/" + knownID + "/proof":  404,
		"/v1/indicators?value=evil.example":  404,
		"/metrics":                           403,
		"/v1/notices?search=evil.example":    200,
		"/v1/status":                         200,
		"/v1/indicators?value=other.example": 404,
	} {
		a := s.ask(t, "green", "GET", path, "")
		if a.StatusCode != status {
			t.Errorf("%s: %d, want %d: %s", path, a.StatusCode, status, a.body)
		}
		if strings.Contains(a.body, "St Anna\",\"created") || strings.Contains(a.body, `"notices":1`) {
			t.Errorf("%s leaks: %s", path, a.body)
		}
	}
	hidden := s.ask(t, "green", "GET", "/v1/notices/"+knownID, "").problem(t)
	absent := s.ask(t, "green", "GET", "/v1/notices/"+strings.Repeat("0", 40), "").problem(t)
	hidden.Errors, absent.Errors = nil, nil
	if fmt.Sprint(hidden) != fmt.Sprint(absent) {
		t.Errorf("hidden and absent differ:\n%v\n%v", hidden, absent)
	}
	if a := s.ask(t, "green", "POST", "/v1/lookup", `{"values":["evil.example"]}`); strings.Contains(a.body, "true") {
		t.Errorf("lookup leaks: %s", a.body)
	}
}

func TestHostAllowList(t *testing.T) {
	s := start(t, func(c *api.Config) { c.Hosts = []string{"Watchward.Hospital.example"} })
	for host, status := range map[string]int{
		"evil.example": 421, "evil.example:80": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
		"localhost": 200, "LOCALHOST:8460": 200, "localhost.": 200, "127.0.0.1:1": 200, "[::1]:8460": 200, "[::1]": 200,
		"192.0.2.1": 200, "watchward.hospital.example": 200, "watchward.hospital.example:443": 200,
	} {
		for _, path := range []string{"/healthz", "/v1/status"} {
			if a := s.ask(t, "reader", "GET", path, "", "Host", host); a.StatusCode != status {
				t.Errorf("host %s, %s: %d, want %d", host, path, a.StatusCode, status)
			}
		}
	}
}

func TestCrossOrigin(t *testing.T) {
	s := start(t, nil)
	for _, c := range []struct {
		name, method string
		headers      []string
		want         int
	}{
		{"program", "POST", nil, 200},
		{"same origin", "POST", []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"cross-site post", "POST", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"same-site post", "POST", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"old browser", "POST", []string{"Origin", "https://evil.example"}, 403},
		{"null origin", "POST", []string{"Origin", "null"}, 403},
		{"cross-site fetch", "GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"a link", "GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200},
	} {
		path, body := "/v1/lookup", `{"values":["evil.example"]}`
		if c.method == "GET" {
			path, body = "/v1/status", ""
		}
		if a := s.ask(t, "reader", c.method, path, body, c.headers...); a.StatusCode != c.want {
			t.Errorf("%s: %d, want %d: %s", c.name, a.StatusCode, c.want, a.body)
		}
	}
	if h := s.ask(t, "reader", "GET", "/v1/status", "").Header; h.Get("Access-Control-Allow-Origin") != "" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %v", h)
	}
}

func TestMethodsAndPaths(t *testing.T) {
	s := start(t, nil)
	a := s.ask(t, "admin", "PUT", "/v1/notices", "")
	if a.problem(t).Word() != "wrong-method" || a.StatusCode != 405 || a.Header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("PUT: %d %q %s", a.StatusCode, a.Header.Get("Allow"), a.body)
	}
	for _, path := range []string{"/", "/v1", "/v1/nothing", "/docs", "/openapi.yaml", "/schemas/Problem.json", "/debug/pprof/", "/v1/notices/a/b"} {
		if a := s.ask(t, "admin", "GET", path, ""); a.StatusCode != 404 || a.problem(t).Word() != "no-such-path" {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	if a := s.ask(t, "", "GET", "//v1/./status", ""); a.StatusCode != 401 {
		t.Errorf("an unclean path avoids the token: %d", a.StatusCode)
	}
	if a := s.ask(t, "reader", "HEAD", "/v1/status", ""); a.StatusCode != 200 {
		t.Errorf("HEAD: %d", a.StatusCode)
	}
}

func TestPanicIsHidden(t *testing.T) {
	s := start(t, nil)
	s.node.panics = true
	a := s.ask(t, "reader", "GET", "/v1/status", "")
	if p := a.problem(t); a.StatusCode != 500 || p.Word() != "internal" || strings.Contains(a.body, "insides") || strings.Contains(a.body, "goroutine") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestNodeErrors(t *testing.T) {
	s := start(t, nil)
	for name, c := range map[string]struct {
		err    error
		status int
		word   string
	}{
		"internal":    {fmt.Errorf("open /secret/path: %w", io.ErrUnexpectedEOF), 500, "internal"},
		"unavailable": {&api.Unavailable{Reason: "the disk is full", Fix: "make room"}, 503, "unavailable"},
		"too slow":    {fmt.Errorf("read: %w", context.DeadlineExceeded), 503, "too-slow"},
	} {
		s.node.fail = c.err
		a := s.ask(t, "reader", "GET", "/v1/notices", "")
		if p := a.problem(t); a.StatusCode != c.status || p.Word() != c.word || strings.Contains(a.body, "/secret") {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	s.node.fail = nil
	s.node.notReady = fmt.Errorf("open /secret/path")
	if a := s.ask(t, "", "GET", "/readyz", ""); a.StatusCode != 503 || strings.Contains(a.body, "secret") {
		t.Errorf("readyz: %d %s", a.StatusCode, a.body)
	}
}

func TestSlowHeaderIsCutOff(t *testing.T) {
	s := start(t, func(c *api.Config) { c.Limits.HeaderRead = 50 * time.Millisecond })
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("the connection was not closed: %v", err)
	}
}

// Who holds a connection in silence does not hold up the end, nor make it fail.
func TestSilentClientDoesNotFailTheEnd(t *testing.T) {
	s := start(t, nil)
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if a := s.ask(t, "reader", "GET", "/healthz", ""); a.StatusCode != 200 { // the one before it has been accepted
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestSlowBodyIsCutOff(t *testing.T) {
	s := start(t, func(c *api.Config) { c.Limits.BodyRead = 100 * time.Millisecond })
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "POST /v1/lookup HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", s.secret["reader"]); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("status %d, want 400", res.StatusCode)
	}
}

func TestLargeHeaderIsRefused(t *testing.T) {
	s := start(t, nil)
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The server answers and hangs up while we still write, so writing may fail.
	_, _ = fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Large: %s\r\n\r\n", strings.Repeat("x", 1<<20))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return // reset before the answer could be read: refused as well
	}
	defer res.Body.Close()
	if res.StatusCode != 431 {
		t.Errorf("status %d, want 431", res.StatusCode)
	}
}

func TestUnixSocketIsAdmin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	s := start(t, func(c *api.Config) { c.Socket = path })
	transport := dialSocket(path)
	get := func(authorization string) int {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://watchward/v1/tokens", nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	if got := get(""); got != 200 {
		t.Errorf("socket without a token: %d", got)
	}
	if got := get("Bearer " + s.secret["reader"]); got != 403 {
		t.Errorf("a token on the socket does not lower the rights: %d", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSocketOfDeadDaemonIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	s := start(t, func(c *api.Config) { c.Socket, c.Listen = path, "" })
	other, err := api.New(api.Config{Node: s.node, Tokens: s.tokens, Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err == nil || !strings.Contains(err.Error(), "another daemon") {
		t.Errorf("a living daemon's socket was taken: %v", err)
	}
	_ = other.Close()
}

func TestCloseLetsRequestsFinish(t *testing.T) {
	s := start(t, nil)
	s.node.block, s.node.blocked = make(chan struct{}), make(chan struct{})
	status := make(chan int)
	go func() { status <- s.ask(t, "reader", "GET", "/v1/status", "").StatusCode }()
	<-s.node.blocked
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	close(s.node.block)
	if got := <-status; got != 200 {
		t.Errorf("the running request got %d", got)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
