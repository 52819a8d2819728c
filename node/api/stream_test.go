package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
)

// A follower reads a stream line by line.
type follower struct {
	*bufio.Scanner
	res *http.Response
}

func (s *service) follow(t *testing.T, who, query, last string) *follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL()+"/v1/stream"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.secret[who])
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); res.Body.Close() })
	if ct := res.Header.Get("Content-Type"); res.StatusCode != 200 || ct != "text/event-stream" {
		t.Fatalf("status %d, content type %s", res.StatusCode, ct)
	}
	f := &follower{bufio.NewScanner(res.Body), res}
	if got := f.line(t); got != ": watchward" {
		t.Fatalf("first line %q", got)
	}
	f.line(t)
	return f
}

func (f *follower) line(t *testing.T) string {
	t.Helper()
	if !f.Scan() {
		t.Fatalf("the stream ended: %v", f.Err())
	}
	return f.Text()
}

// event reads the next event and returns its id ("" = none) and value.
func (f *follower) event(t *testing.T) (id, value string) {
	t.Helper()
	for {
		line := f.line(t)
		key, text, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && value != "":
			return id, value
		case key == "id":
			id = text
		case key == "data":
			var n api.NoticeView
			if err := json.Unmarshal([]byte(text), &n); err != nil {
				t.Fatal(err)
			}
			value = n.Indicator.Value
		}
	}
}

func TestStreamResumes(t *testing.T) {
	s := start(t, nil)
	s.node.add(7, "a.example", "b.example")
	s.node.add(9, "c.example")
	var got []string
	f := s.follow(t, "reader", "?after=0", "")
	for range 3 {
		id, value := f.event(t)
		got = append(got, id+" "+value)
	}
	f.res.Body.Close()
	if want := "[ a.example 7 b.example 9 c.example]"; fmt.Sprint(got) != want {
		t.Fatalf("got %v, want %s", got, want)
	}
	f = s.follow(t, "reader", "?after=0", "7") // the header wins: browsers send it when they reconnect
	if id, value := f.event(t); id != "9" || value != "c.example" {
		t.Errorf("resumed at %s %s", id, value)
	}
	s.node.add(12, "d.example")
	if id, value := f.event(t); id != "12" || value != "d.example" {
		t.Errorf("live: %s %s", id, value)
	}
}

func TestStreamStartsNow(t *testing.T) {
	s := start(t, nil)
	s.node.add(1, "old.example")
	f := s.follow(t, "reader", "", "")
	if line := f.line(t); line != "id: 1" {
		t.Errorf("the position is not told first: %q", line)
	}
	s.node.add(2, "new.example")
	if id, value := f.event(t); id != "2" || value != "new.example" {
		t.Errorf("got %s %s", id, value)
	}
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if <-tick.C; time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func TestStreamKeepsToCeiling(t *testing.T) {
	s := start(t, func(c *api.Config) { c.Limits.Heartbeat = 20 * time.Millisecond })
	s.node.add(1, "evil.example")
	f := s.follow(t, "green", "?after=0", "")
	for range 4 {
		if line := f.line(t); line != "" && line != ": alive" {
			t.Errorf("got %q", line)
		}
	}
}

func TestStreamOutlivesTheAnswerLimit(t *testing.T) {
	s := start(t, func(c *api.Config) {
		c.Limits.Answer, c.Limits.BodyRead, c.Limits.Heartbeat = 50*time.Millisecond, 50*time.Millisecond, 20*time.Millisecond
	})
	f := s.follow(t, "reader", "", "")
	for start := time.Now(); time.Since(start) < 200*time.Millisecond; {
		f.line(t)
	}
}

func TestStreamBadStart(t *testing.T) {
	s := start(t, nil)
	if a := s.ask(t, "reader", "GET", "/v1/stream?after=-1", ""); a.StatusCode != 422 || a.problem(t).Errors[0].Location != "query.after" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := s.ask(t, "reader", "GET", "/v1/stream", "", "Last-Event-ID", "x"); a.StatusCode != 422 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestTooManyStreams(t *testing.T) {
	s := start(t, nil)
	var open []*follower
	for range api.StreamsMax {
		open = append(open, s.follow(t, "reader", "", ""))
	}
	if a := s.ask(t, "reader", "GET", "/v1/stream", ""); a.StatusCode != 503 || a.problem(t).Word() != "too-many-streams" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	open[0].res.Body.Close()
	wait(t, "a free place", func() bool { return s.ask(t, "reader", "GET", "/v1/stream", "").StatusCode == 200 })
}

// TestSlowStreamIsDropped has a client that never reads. The node must get rid
// of it, and must not hold more than the bound for it.
func TestSlowStreamIsDropped(t *testing.T) {
	s := start(t, func(c *api.Config) { c.Limits.StreamWrite = 50 * time.Millisecond })
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "GET /v1/stream?after=0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", s.secret["reader"]); err != nil {
		t.Fatal(err)
	}
	values := make([]string, 512)
	for i := range values {
		values[i] = strings.Repeat("x", 2000) + ".example"
	}
	for seq := range uint64(64) { // 64 MiB: more than any socket buffer
		s.node.add(seq+1, values...)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	wait(t, "the stream to end", func() bool {
		a := s.ask(t, "admin", "GET", "/metrics", "")
		return strings.Contains(a.body, `route="GET /v1/stream",status="200"} 1`)
	})
	if n, err := io.Copy(io.Discard, c); err == nil && n > 60<<20 {
		t.Errorf("the client got %d bytes without reading", n)
	}
}

func TestCloseEndsStreams(t *testing.T) {
	s := start(t, nil)
	f := s.follow(t, "reader", "", "")
	begin := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("Close took %s", took)
	}
	for f.Scan() {
	}
}
