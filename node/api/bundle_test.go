package api_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
)

func TestExportBundle(t *testing.T) {
	s := start(t, nil)
	a := s.ask(t, "reader", "GET", "/v1/bundle?audience=region&to=St+Anna&to=Riverside&kind=sighting&mine=true&part=3&after=5&size=2000000"+
		"&since=2026-01-31T00:00:00Z&created=2026-02-01T00:00:00.5Z", "")
	if a.StatusCode != 200 || a.body != "a bundle" || a.Header.Get("Content-Type") != api.BundleType {
		t.Fatalf("%d %s: %s", a.StatusCode, a.Header.Get("Content-Type"), a.body)
	}
	var part api.BundlePart
	if err := json.Unmarshal([]byte(a.Trailer.Get(api.BundleTrailer)), &part); err != nil || part.Notices != 3 || part.Next != 7 {
		t.Errorf("trailer %q, %v", a.Trailer.Get(api.BundleTrailer), err)
	}
	want := api.BundleQuery{
		Audience: crypto.AudienceRegion, To: []string{"St Anna", "Riverside"}, Kind: notice.KindSighting, Mine: true, Part: 3, After: 5, Size: 2_000_000,
		Since: 1_769_817_600_000, Created: 1_769_904_000_500, Ceiling: notice.TLPRed,
	}
	if !reflect.DeepEqual(s.node.bundleQuery, want) {
		t.Errorf("the node is asked for %+v, want %+v", s.node.bundleQuery, want)
	}
	s.ask(t, "green", "GET", "/v1/bundle", "")
	if q := s.node.bundleQuery; q.Audience != crypto.AudienceCommunity || q.Ceiling != notice.TLPGreen || q.Size != api.BundlePartDefault || q.Part != 1 {
		t.Errorf("by default the node is asked for %+v", q)
	}
	if a := s.ask(t, "reader", "GET", "/v1/bundle?after=9", ""); a.StatusCode != 204 || a.body != "" {
		t.Errorf("nothing to export: %d %s", a.StatusCode, a.body)
	}
}

func TestExportBundleRefuses(t *testing.T) {
	s := start(t, nil)
	for query, want := range map[string]struct {
		status int
		word   string
	}{
		"to=Riverside":                   {422, "bad-parameter"},
		"audience=named":                 {422, "bad-parameter"},
		"kind=rumour":                    {422, "bad-parameter"},
		"since=yesterday":                {422, "bad-parameter"},
		"created=now":                    {422, "bad-parameter"},
		"size=1000":                      {422, "bad-parameter"},
		"size=4294967296":                {422, "bad-parameter"},
		"part=0":                         {422, "bad-parameter"},
		"after=-1":                       {422, "bad-parameter"},
		"unknown=1":                      {422, "bad-parameter"},
		"audience=region&who=no-ceiling": {403, "low-ceiling"},
	} {
		who := "reader"
		query, low := strings.CutSuffix(query, "&who=no-ceiling")
		if low {
			who = "green"
		}
		a := s.ask(t, who, "GET", "/v1/bundle?"+query, "")
		if a.StatusCode != want.status || a.problem(t).Word() != want.word {
			t.Errorf("%s: %d %s", query, a.StatusCode, a.body)
		}
	}
	s.node.fail = &notice.FieldError{Field: "query.to", Reason: "no such member", Fix: "look at the list"}
	if p := s.ask(t, "reader", "GET", "/v1/bundle", "").problem(t); p.Status != 422 || p.Detail != "no such member" || p.Fix == "" {
		t.Errorf("a wrong name: %+v", p)
	}
	s.node.fail = errors.New("insides of the node")
	if a := s.ask(t, "reader", "GET", "/v1/bundle", ""); a.StatusCode != 500 || strings.Contains(a.body, "insides") {
		t.Errorf("a failure: %d %s", a.StatusCode, a.body)
	}
}

// A part that fails half way does not end like a whole one.
func TestExportBundleBreaksOff(t *testing.T) {
	s := start(t, nil)
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL()+"/v1/bundle?after=8", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.secret["reader"])
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(r)
	if err == nil {
		defer res.Body.Close()
		_, err = io.ReadAll(res.Body)
	}
	if err == nil {
		t.Error("it ended well")
	}
}

func TestImportBundle(t *testing.T) {
	s := start(t, func(c *api.Config) { c.BodyMax = 1000 })
	body := strings.Repeat("x", 1<<20) // beyond the bound of ordinary bodies, which are held in memory
	a := s.ask(t, "reporter", "POST", "/v1/bundle", body, "Content-Type", api.BundleType)
	var got api.BundleAnswer
	if a.decode(t, &got); a.StatusCode != 200 || got.Read != 1<<20 {
		t.Errorf("%d: %s", a.StatusCode, a.body)
	}
	for _, list := range []string{`"refused":[]`, `"unknown":[]`, `"parts":[]`} {
		if !strings.Contains(a.body, list) {
			t.Errorf("%s is missing: %s", list, a.body)
		}
	}
	if a := s.ask(t, "reporter", "POST", "/v1/bundle?dry_run=true", "x"); !strings.Contains(a.body, `"contents":[{"kind":"","tlp":"`) {
		t.Errorf("a dry run: %s", a.body)
	}
	s.node.fail = &notice.FieldError{Field: "body", Reason: "this is no bundle", Fix: "give one"}
	if p := s.ask(t, "reporter", "POST", "/v1/bundle", body).problem(t); p.Status != 422 || p.Detail != "this is no bundle" {
		t.Errorf("no bundle: %+v", p)
	}
	s.node.fail = &api.Unavailable{Reason: "no region", Fix: "join one"}
	if p := s.ask(t, "reporter", "POST", "/v1/bundle", body).problem(t); p.Status != 503 || p.Fix != "join one" {
		t.Errorf("no region: %+v", p)
	}
}

// A client in the middle of a long file still hears why the node wants no more
// of it.
func TestImportBundleIsRefusedEarly(t *testing.T) {
	s := start(t, nil)
	long := strings.Repeat("x", 64<<20)
	for range 5 {
		for who, status := range map[string]int{"reader": 403, "reporter": 422} {
			s.node.fail = &notice.FieldError{Field: "body", Reason: "of another region", Fix: "give it to them"}
			c, err := client.New(client.Config{URL: s.URL(), Token: s.secret[who]})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.ImportBundle(t.Context(), io.LimitReader(endless{}, 64<<20))
			var e *client.Error
			if !errors.As(err, &e) || e.Problem == nil || e.Problem.Status != status {
				t.Errorf("as %s: %v", who, err)
			}
			c.Close()
		}
		// Nor does one that wants the connection closed lose it.
		if p := s.ask(t, "reader", "POST", "/v1/bundle", long).problem(t); p.Status != 403 {
			t.Errorf("on a connection of its own: %+v", p)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// stall begins to send a bundle and stops in the middle.
func (s *service) stall(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_, err = fmt.Fprintf(c, "POST /v1/bundle HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000\r\n\r\nand no more", s.secret["reporter"])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A client that stops sending is cut off, and told.
func TestImportBundleStalls(t *testing.T) {
	s := start(t, func(c *api.Config) { c.Limits.Answer = 50 * time.Millisecond })
	answer, err := io.ReadAll(s.stall(t))
	if err != nil || !strings.Contains(string(answer), "400 Bad Request") || !strings.Contains(string(answer), "cut-off") {
		t.Errorf("%s, %v", answer, err)
	}
}

// Who was refused and goes on sending takes no place of another.
func TestRefusedBundleHoldsNoPlace(t *testing.T) {
	s := start(t, nil)
	s.node.fail = &notice.FieldError{Field: "body", Reason: "this is no bundle", Fix: "give one"}
	for range 3 {
		c := s.stall(t)
		if _, err := c.Write(make([]byte, 100)); err != nil { // enough to be refused
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 422 {
			t.Errorf("%d instead of 422", res.StatusCode)
		}
		res.Body.Close()
	}
}

// Two at once and no more; and none of them outlives the server.
func TestBundlesAreFew(t *testing.T) {
	s := start(t, nil)
	s.node.importing = make(chan struct{}, 2)
	first, second := s.stall(t), s.stall(t)
	<-s.node.importing
	<-s.node.importing
	a := s.ask(t, "reporter", "POST", "/v1/bundle", "a bundle")
	if a.StatusCode != 503 || a.problem(t).Word() != "too-many-bundles" || a.Header.Get("Retry-After") == "" {
		t.Errorf("a third: %d %s", a.StatusCode, a.body)
	}
	start := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("closing took %s", took)
	}
	first.Close()
	second.Close()
}
