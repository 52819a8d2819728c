package api_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/feed"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/verdict"
)

// fakeFeeds has one list, "fw", which only the consumers named may fetch.
type fakeFeeds struct {
	api.Feeds
	list      *feed.List
	consumers string // "" = any

	mu      sync.Mutex
	fetched []api.Fetch
}

func newFakeFeeds(t testing.TB, entries int) *fakeFeeds {
	p := feed.Policy{Name: "fw", Format: feed.Plain, Types: []notice.Type{notice.TypeIPv4}, Level: verdict.Block, TLP: notice.TLPAmber}
	l := feed.NewList(p)
	for n := range entries {
		i := notice.Indicator{Type: notice.TypeIPv4, Value: fmt.Sprintf("198.%d.%d.%d", n>>16, n>>8&255, n&255)}
		l.Apply(i, &feed.Decision{Entry: feed.Entry{Indicator: i, Since: 1, Seen: 1}}, false)
	}
	if _, err := l.Commit(time.Now().Add(-time.Hour).UnixMilli()); err != nil {
		t.Fatal(err)
	}
	return &fakeFeeds{list: l}
}

func (f *fakeFeeds) Feed(name string) (*feed.Snapshot, *feed.Policy, bool) {
	return f.list.Snapshot(), f.list.Policy(), name == "fw"
}
func (f *fakeFeeds) FeedFor(feed.Format) string        { return "" }
func (f *fakeFeeds) Pulled(_, _ string) (uint32, bool) { return 0, false }
func (f *fakeFeeds) MayFetch(_, consumer string) (may, before bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.fetched {
		before = before || x.Consumer == consumer && x.Refused == ""
	}
	return f.consumers == "" || f.consumers == consumer, before
}

func (f *fakeFeeds) Fetched(q api.Fetch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fetched = append(f.fetched, q)
}

func fetchFeed(t testing.TB, url string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	return a, string(body)
}

func TestFeedIsNotSentTwice(t *testing.T) {
	feeds := newFakeFeeds(t, 3)
	s := start(t, func(c *api.Config) { c.Feeds, c.FeedsListen = feeds, "127.0.0.1:0" })
	bearer := "Bearer " + s.secret["reader"]
	for _, base := range []string{s.URL(), "http://" + s.FeedsAddr()} {
		url := base + "/feeds/fw"
		a, body := fetchFeed(t, url, "Authorization", bearer)
		if a.StatusCode != 200 || strings.Count(body, "\n") != 3 || a.ContentLength != int64(len(body)) || a.Header.Get(api.FeedEntries) != "3" {
			t.Fatalf("%d %v %q", a.StatusCode, a.Header, body)
		}
		tag, modified := a.Header.Get("ETag"), a.Header.Get("Last-Modified")
		for _, tt := range []struct {
			header, value string
			want          int
		}{
			{"If-None-Match", tag, 304}, {"If-None-Match", `"other", W/` + tag, 304}, {"If-None-Match", "*", 304},
			{"If-None-Match", `"other"`, 200}, {"If-Modified-Since", modified, 304},
			{"If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT", 200}, {"If-Modified-Since", "nonsense", 200},
		} {
			a, body := fetchFeed(t, url, "Authorization", bearer, tt.header, tt.value)
			if a.StatusCode != tt.want || (len(body) == 0) != (tt.want == 304) {
				t.Errorf("%s %s: %d with %d bytes", tt.header, tt.value, a.StatusCode, len(body))
			}
		}
	}
	// The listener of feeds has nothing else.
	if a, _ := fetchFeed(t, "http://"+s.FeedsAddr()+"/v1/status", "Authorization", bearer); a.StatusCode != 404 {
		t.Errorf("status %d", a.StatusCode)
	}
}

func TestWhoMayFetchAFeed(t *testing.T) {
	feeds := newFakeFeeds(t, 3)
	var ahead atomic.Int64
	tokens, err := token.Open(filepath.Join(t.TempDir(), "tokens.json"), func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	if err != nil {
		t.Fatal(err)
	}
	secret := map[string]string{}
	for name, tlp := range map[string]notice.TLP{"reader": notice.TLPAmber, "reporter": notice.TLPAmber, "green": notice.TLPGreen, "late": notice.TLPAmber, "stranger": notice.TLPAmber} {
		expires := time.Time{}
		if name == "late" || name == "stranger" {
			expires = time.Now().Add(time.Hour)
		}
		if secret[name], _, err = tokens.Create(name, token.Reader, tlp, expires); err != nil {
			t.Fatal(err)
		}
	}
	late, stranger := secret["late"], secret["stranger"]
	s := start(t, func(c *api.Config) { c.Feeds, c.Tokens = feeds, tokens })
	url := s.URL() + "/feeds/fw"
	basic := func(user, password string) string {
		r, _ := http.NewRequest(http.MethodGet, url, nil)
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	want := func(what string, status int, url string, header ...string) {
		t.Helper()
		if a, body := fetchFeed(t, url, header...); a.StatusCode != status {
			t.Errorf("%s: %d %s", what, a.StatusCode, body)
		}
	}
	reader := secret["reader"]
	want("password", 200, url, "Authorization", basic("x", reader))
	want("user", 200, url, "Authorization", basic(reader, ""))
	want("secret path", 200, s.URL()+"/feeds/"+reader+"/fw")
	want("key", 200, url, "X-Api-Key", reader)
	want("nothing", 401, url)
	want("nonsense", 401, url, "Authorization", basic("x", "y"))
	want("too low", 403, url, "Authorization", "Bearer "+secret["green"])
	want("fetches before it expires", 200, url, "X-Api-Key", late)
	ahead.Store(int64(2 * time.Hour))
	want("expired, and fetched it before", 200, url, "X-Api-Key", late)
	want("expired, and never did", 401, url, "X-Api-Key", stranger)
	feeds.consumers = "other"
	want("not a consumer any more: it keeps what it has", 503, url, "X-Api-Key", reader)
	want("never was a consumer", 403, url, "X-Api-Key", secret["reporter"])
	if _, err := tokens.Revoke("late"); err != nil {
		t.Fatal(err)
	}
	want("revoked", 401, url, "X-Api-Key", late)
}

func BenchmarkFeedNotModified(b *testing.B) {
	feeds := newFakeFeeds(b, 1_000_000)
	tokens, err := token.Open(filepath.Join(b.TempDir(), "tokens.json"), nil)
	if err != nil {
		b.Fatal(err)
	}
	secret, _, err := tokens.Create("fw", token.Reader, notice.TLPAmber, time.Time{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := api.New(api.Config{Node: newFakeNode(), Tokens: tokens, Listen: "127.0.0.1:0", Feeds: feeds})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	feeds.fetched = nil
	for b.Loop() {
		a, _ := fetchFeed(b, s.URL()+"/feeds/fw", "X-Api-Key", secret, "If-None-Match", feeds.list.Snapshot().ETag())
		if a.StatusCode != 304 {
			b.Fatal(a.Status)
		}
	}
}
