package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

// lookupServer knows every value that begins with "evil", and counts what it was
// asked. before is called with each request's values.
func lookupServer(t *testing.T, before func(values []string)) (*client.Client, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q api.LookupRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || len(q.Values) == 0 || len(q.Values) > api.LookupMax {
			t.Errorf("%d values: %v", len(q.Values), err)
		}
		asked.Add(int64(len(q.Values)))
		if before != nil {
			before(q.Values)
		}
		out := api.LookupAnswers{Answers: []api.LookupAnswer{}}
		for _, v := range q.Values {
			if known := strings.HasPrefix(v, "evil"); known || !q.KnownOnly {
				out.Answers = append(out.Answers, api.LookupAnswer{Value: v, Known: known})
			}
		}
		_ = json.NewEncoder(w).Encode(out)
	}))
	t.Cleanup(s.Close)
	c, err := client.New(client.Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, &asked
}

// TestStreamInOrder: an input of many requests is answered line by line, in its
// order, although the first request is the last to be answered.
func TestStreamInOrder(t *testing.T) {
	const lines = 45_000
	var first atomic.Bool
	second := make(chan struct{})
	c, asked := lookupServer(t, func([]string) {
		if first.CompareAndSwap(false, true) {
			<-second
		} else {
			select {
			case <-second:
			default:
				close(second)
			}
		}
	})
	var in, want strings.Builder
	for i := range lines {
		name := "fine"
		if i%3 == 0 {
			name = "evil"
		}
		fmt.Fprintf(&in, "%s-%d.example?a&b\r\n\n", name, i)
		fmt.Fprintf(&want, "{\"value\":\"%s-%d.example?a&b\",\"known\":%v}\n", name, i, i%3 == 0)
	}
	var out strings.Builder
	l := lookup{client: c, json: true, out: &out}
	if err := l.stream(t.Context(), strings.NewReader(in.String())); err != nil {
		t.Fatal(err)
	}
	if out.String() != want.String() || l.unknown != lines*2/3 || asked.Load() != lines {
		t.Errorf("%d bytes, want %d; %d unknown; %d asked", out.Len(), want.Len(), l.unknown, asked.Load())
	}
	out.Reset()
	l = lookup{client: c, json: true, knownOnly: true, out: &out}
	if err := l.stream(t.Context(), strings.NewReader(in.String())); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != lines/3 || l.unknown != lines*2/3 {
		t.Errorf("known only: %d answers, %d unknown", n, l.unknown)
	}
}

// TestStreamAnswersAtOnce: whoever types one line gets its answer before the
// next.
func TestStreamAnswersAtOnce(t *testing.T) {
	c, _ := lookupServer(t, nil)
	in, typed := io.Pipe()
	printed, out := io.Pipe()
	done := make(chan error, 1)
	l := lookup{client: c, json: true, out: out}
	go func() { done <- l.stream(t.Context(), in) }()
	answers := bufio.NewReader(printed)
	for _, v := range []string{"evil.example", "fine.example"} {
		fmt.Fprintf(typed, "%s\nhalf-a-", v) // and the beginning of another
		answer, err := answers.ReadString('\n')
		if err != nil || !strings.Contains(answer, v) {
			t.Fatalf("%q: %v", answer, err)
		}
		fmt.Fprint(typed, "line\n")
		if answer, err = answers.ReadString('\n'); err != nil || !strings.Contains(answer, "half-a-line") {
			t.Fatalf("%q: %v", answer, err)
		}
	}
	if err := errors.Join(typed.Close(), <-done); err != nil {
		t.Fatal(err)
	}
}

// TestStreamRefusesInPlace: a line that can be no value is answered where it
// stands, and its neighbours are looked up.
func TestStreamRefusesInPlace(t *testing.T) {
	c, _ := lookupServer(t, nil)
	long := strings.Repeat("x", lineMax+1)
	longer := strings.Repeat("y", 3*linesBuffer+5)
	in := "\xef\xbb\xbfevil.a\n" + long + "\n\n \t\nbad\xff\xfe\nevil.b\n" + longer + "\nevil.c" // no end of line
	var out strings.Builder
	l := lookup{client: c, json: true, out: &out}
	if err := l.stream(t.Context(), strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	want := `{"value":"evil.a","known":true}
{"value":"` + long[:80] + `…","known":false,"reason":"` + lineTooLong + `"}
{"value":"bad` + "\ufffd" + `","known":false,"reason":"it is not valid UTF-8: save the text as UTF-8"}
{"value":"evil.b","known":true}
{"value":"` + longer[:80] + `…","known":false,"reason":"` + lineTooLong + `"}
{"value":"evil.c","known":true}
`
	if out.String() != want || l.unknown != 3 {
		t.Errorf("%d unknown; got\n%s\nwant\n%s", l.unknown, out.String(), want)
	}
}

// A broken writer is a pipe whose reader has gone.
type broken struct{ after int }

var errGone = errors.New("gone")

func (b *broken) Write(p []byte) (int, error) {
	if b.after -= len(p); b.after < 0 {
		return 0, errGone
	}
	return len(p), nil
}

// TestStreamEnds: what cannot be printed, asked or read ends it; nothing hangs.
func TestStreamEnds(t *testing.T) {
	c, asked := lookupServer(t, nil)
	endless := io.MultiReader(strings.NewReader("evil.example\n"), readerFunc(func(p []byte) (int, error) {
		return copy(p, "fine.example\n"), nil
	}))
	l := lookup{client: c, json: true, out: &broken{after: 1 << 20}}
	if err := l.stream(t.Context(), endless); err != errGone {
		t.Errorf("a broken pipe: %v", err)
	}
	if n := asked.Load(); n > 100*linesMax {
		t.Errorf("%d values were asked for a reader that had gone", n)
	}
	unreadable := io.MultiReader(strings.NewReader("evil.example\n"), readerFunc(func([]byte) (int, error) { return 0, errGone }))
	var out strings.Builder
	l = lookup{client: c, json: true, out: &out}
	if err := l.stream(t.Context(), unreadable); err != errGone || !strings.Contains(out.String(), "evil.example") {
		t.Errorf("an input that breaks off: %v, %q", err, out.String())
	}
	nobody, err := client.New(client.Config{Socket: filepath.Join(t.TempDir(), "none"), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	l = lookup{client: nobody, json: true, out: io.Discard}
	if err := l.stream(t.Context(), strings.NewReader(strings.Repeat("evil.example\n", 100_000))); client.ExitCode(err) != client.ExitUnreachable {
		t.Errorf("no node: %v", err)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
