package client_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/taxii/client"
)

// last is a header that says when the last object of a page was added.
func last(stamp string) string {
	return "X-TAXII-Date-Added-First: 1999-01-01T00:00:00.000000Z|X-TAXII-Date-Added-Last: " + stamp
}

const html = "<html><title>Sign in</title><body>password?</body></html>"

// A bubble's clock starts at 2000-01-01T00:00:00Z.
var polls = []struct {
	name     string
	from     string
	options  client.Options
	config   client.Config
	replies  []reply
	want     []int // numbers of objects, -1 between pages
	position string
	err      string // part of the error
	refused  string // the first refusal
	gap      bool
	took     [2]time.Duration // at least, less than; zero = less than a second
}{
	{name: "pages by next, with the filters beside it",
		from: "1999-01-01T00:00:00.000000Z", options: client.Options{Types: []string{"indicator", "sighting"}, Limit: 2},
		replies: []reply{
			{query: "added_after=1999-01-01T00:00:00.000000Z&limit=2&match[type]=indicator,sighting", body: envelope(`,"more":true,"next":"a"`, 1, 2), header: last("1999-02-01T00:00:00.5Z")},
			{query: "added_after=1999-01-01T00:00:00.000000Z&limit=2&match[type]=indicator,sighting&next=a", body: envelope(`,"more":false`, 3), header: last("1999-03-01T00:00:00Z")},
		}, want: []int{1, 2, -1, 3, -1}, position: "1999-03-01T00:00:00.000000Z"},
	{name: "an empty page", from: "1999-01-01T00:00:00.000000Z", replies: []reply{{body: `{}`}}, position: "1999-01-01T00:00:00.000000Z"},
	{name: "a header undefined on an empty page", from: "1999-01-01T00:00:00.000000Z",
		replies: []reply{{body: `{"more":false}`, header: "X-TAXII-Date-Added-First: undefined|X-TAXII-Date-Added-Last: undefined"}}, position: "1999-01-01T00:00:00.000000Z"},
	{name: "null objects", replies: []reply{{body: `{"objects":null,"more":false}`}}},
	{name: "JSON by another name, stamps without a zone", replies: []reply{{body: envelope("", 1), header: last("1999-03-01T00:00:00.123456") + "|Content-Type: application/json"}},
		want: []int{1, -1}, position: "1999-03-01T00:00:00.123456Z"},
	{name: "finer stamps than ours", replies: []reply{{body: envelope("", 1), header: last("1999-03-01T00:00:00.123456789Z")}}, want: []int{1, -1}, position: "1999-03-01T00:00:00.123456789Z"},

	{name: "more without next, and equal stamps across the page", options: client.Options{Limit: 2}, replies: []reply{
		{query: "limit=2", body: envelope(`,"more":true`, 1, 2), header: last("1999-02-01T00:00:00.000000Z")},
		{query: "added_after=1999-01-31T23:59:59.999999Z&limit=2", body: envelope(`,"more":false`, 2, 3), header: last("1999-02-01T00:00:00.000000Z")},
	}, want: []int{1, 2, -1, 3, -1}, position: "1999-02-01T00:00:00.000000Z"},
	{name: "more without next, and a page of equal stamps", options: client.Options{Limit: 2}, replies: []reply{
		{query: "limit=2", body: envelope(`,"more":true`, 1, 2), header: last("1999-02-01T00:00:00Z")},
		{query: "added_after=1999-01-31T23:59:59.999999Z&limit=2", body: envelope(`,"more":true`, 1, 2), header: last("1999-02-01T00:00:00Z")},
		{query: "added_after=1999-01-31T23:59:59.999999Z&limit=8", body: envelope(`,"more":false`, 1, 2, 3), header: last("1999-02-01T00:00:00Z")},
	}, want: []int{1, 2, -1, 3, -1}, position: "1999-02-01T00:00:00.000000Z"},
	{name: "more equal stamps than the server gives at once", options: client.Options{Limit: client.LimitMax}, replies: []reply{
		{body: envelope(`,"more":true`, 1, 2), header: last("1999-02-01T00:00:00Z")},
		{body: envelope(`,"more":true`, 1, 2), header: last("1999-02-01T00:00:00Z")},
		{query: "added_after=1999-02-01T00:00:00.000000Z&limit=10000", body: envelope("", 4), header: last("1999-02-02T00:00:00Z")},
	}, want: []int{1, 2, -1, -1, 4, -1}, position: "1999-02-02T00:00:00.000000Z", gap: true},
	{name: "more that is always true", replies: []reply{
		{body: envelope(`,"more":true`, 1, 2), header: last("1999-02-01T00:00:00Z")},
		{body: envelope(`,"more":true`, 2), header: last("1999-02-01T00:00:00Z")},
		{query: "added_after=1999-02-01T00:00:00.000000Z&limit=1000", body: `{"more":true}`},
	}, want: []int{1, 2, -1}, position: "1999-02-01T00:00:00.000000Z"},
	{name: "more, and no way to it", replies: []reply{{body: envelope(`,"more":true`, 1)}}, want: []int{1, -1}, err: "neither next nor"},
	{name: "no stamps: the position stays", from: "1999-01-01T00:00:00.000000Z", replies: []reply{{body: envelope(``, 1)}}, want: []int{1, -1}, position: "1999-01-01T00:00:00.000000Z"},
	{name: "stamps that go back", from: "1999-03-01T00:00:00.000000Z", replies: []reply{{body: envelope(``, 1), header: last("1999-02-01T00:00:00Z")}}, want: []int{1, -1}, position: "1999-03-01T00:00:00.000000Z"},
	{name: "a stamp of the future", replies: []reply{{body: envelope(``, 1), header: last("9999-01-01T00:00:00Z") + "|Date: Fri, 31 Dec 1999 12:00:05 GMT"}}, want: []int{1, -1}, position: "1999-12-31T12:00:00.000000Z"},
	{name: "a stamp of just now: there may be more beside it", replies: []reply{{body: envelope(``, 1), header: last("1999-12-31T12:00:03Z") + "|Date: Fri, 31 Dec 1999 12:00:05 GMT"}}, want: []int{1, -1}, position: "1999-12-31T12:00:00.000000Z"},

	{name: "a token that is stale", replies: []reply{
		{body: envelope(`,"more":true,"next":"a"`, 1, 2), header: last("1999-02-01T00:00:00Z")},
		{query: "limit=1000&next=a", status: 400, body: `{"title":"stale","http_status":"400"}`},
		{query: "added_after=1999-01-31T23:59:59.999999Z&limit=1000", body: envelope(`,"more":false`, 2, 3), header: last("1999-02-01T00:00:00Z")},
	}, want: []int{1, 2, -1, 3, -1}, position: "1999-02-01T00:00:00.000000Z"},
	{name: "a page by token that breaks off is not asked for by the token again", replies: []reply{
		{body: envelope(`,"more":true,"next":"a"`, 1, 2), header: last("1999-02-01T00:00:00Z")},
		{query: "limit=1000&next=a", do: brokenOff},
		{query: "added_after=1999-01-31T23:59:59.999999Z&limit=1000", body: envelope(`,"more":false`, 2, 3), header: last("1999-02-01T00:00:00Z")},
	}, want: []int{1, 2, -1, 3, -1}, position: "1999-02-01T00:00:00.000000Z"},
	{name: "a page by token whose connection closes is not asked for by the token again", replies: []reply{
		{body: envelope(`,"more":true,"next":"a"`, 1, 2), header: last("1999-02-01T00:00:00Z")},
		{query: "limit=1000&next=a", do: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{query: "added_after=1999-01-31T23:59:59.999999Z&limit=1000", body: envelope(`,"more":false`, 2, 3), header: last("1999-02-01T00:00:00Z")},
	}, want: []int{1, 2, -1, 3, -1}, position: "1999-02-01T00:00:00.000000Z"},
	{name: "a token that fails and a server that gives it again", replies: []reply{
		{body: envelope(`,"more":true,"next":"a"`, 1), header: last("1999-02-01T00:00:00Z")},
		{query: "limit=1000&next=a", status: 404},
		{body: envelope(`,"more":true,"next":"a"`, 1), header: last("1999-02-01T00:00:00Z")},
		{query: "added_after=1999-01-31T23:59:59.999999Z&limit=1000&next=a", status: 404},
	}, want: []int{1, -1}, position: "1999-01-31T23:59:59.999999Z", err: "404"},
	{name: "the same token for each page", replies: []reply{
		{body: envelope(`,"more":true,"next":"a"`, 1), header: last("1999-02-01T00:00:00Z")},
		{query: "limit=1000&next=a", body: envelope(`,"more":true,"next":"a"`, 2), header: last("1999-02-02T00:00:00Z")},
		{query: "limit=1000&next=a", body: envelope(`,"more":false`, 3), header: last("1999-02-03T00:00:00Z")},
	}, want: []int{1, -1, 2, -1, 3, -1}, position: "1999-02-03T00:00:00.000000Z"},
	{name: "the same page for each token", replies: []reply{
		{body: envelope(`,"more":true,"next":"a"`, 1, 2), header: last("1999-02-01T00:00:00Z")},
		{body: envelope(`,"more":true,"next":"b"`, 3, 4), header: last("1999-02-02T00:00:00Z")},
		{body: envelope(`,"more":true,"next":"c"`, 1, 2), header: last("1999-02-01T00:00:00Z")},
	}, want: []int{1, 2, -1, 3, 4, -1}, position: "1999-02-01T23:59:59.999999Z", err: "same page again"},
	{name: "next without more", replies: []reply{
		{body: envelope(`,"next":"a"`, 1), header: last("1999-02-01T00:00:00Z")},
		{query: "limit=1000&next=a", body: `{"next":"a"}`},
	}, want: []int{1, -1}, position: "1999-02-01T00:00:00.000000Z"},
	{name: "next after the last page", replies: []reply{{body: envelope(`,"more":false,"next":"a"`, 1), header: last("1999-02-01T00:00:00Z")}}, want: []int{1, -1}, position: "1999-02-01T00:00:00.000000Z"},
	{name: "added_after that is ignored", replies: []reply{
		{body: envelope(`,"more":true`, 1), header: last("1999-02-01T00:00:00Z")},
		{body: envelope(`,"more":true`, 1), header: last("1999-02-01T00:00:00Z")},
		{query: "added_after=1999-01-31T23:59:59.999999Z&limit=4000", body: envelope(`,"more":true`, 1), header: last("1999-02-01T00:00:00Z")},
		{query: "added_after=1999-01-31T23:59:59.999999Z&limit=10000", body: envelope(`,"more":true`, 1), header: last("1999-02-01T00:00:00Z")},
		{query: "added_after=1999-02-01T00:00:00.000000Z&limit=10000", body: envelope(`,"more":true`, 1), header: last("1999-02-01T00:00:00Z")},
	}, want: []int{1, -1, -1}, position: "1999-01-31T23:59:59.999999Z", gap: true, err: "same page again"},

	{name: "429 with Retry-After", replies: []reply{
		{status: 429, header: "Retry-After: 7"},
		{status: 503, header: "Retry-After: Sat, 01 Jan 2000 00:01:30 GMT|Date: Sat, 01 Jan 2000 00:01:00 GMT"},
		{body: envelope(``, 1)},
	}, want: []int{1, -1}, took: [2]time.Duration{37 * time.Second, 43 * time.Second}},
	{name: "a token is used again where the server did nothing with it", replies: []reply{
		{body: envelope(`,"more":true,"next":"a"`, 1), header: last("1999-02-01T00:00:00Z")},
		{query: "limit=1000&next=a", status: 429, header: "Retry-After: 7"},
		{query: "limit=1000&next=a", body: envelope(``, 2)},
	}, want: []int{1, -1, 2, -1}, position: "1999-02-01T00:00:00.000000Z", took: [2]time.Duration{7 * time.Second, 10 * time.Second}},
	{name: "429 with a Retry-After for the caller", replies: []reply{{status: 429, header: "Retry-After: 3600"}}, err: "429"},
	{name: "429 for ever", replies: []reply{{status: 429, header: "Retry-After: -1"}, {status: 429, header: "Retry-After: soon"}, {status: 429, header: "Retry-After: 0"}, {status: 429}},
		err: "429", took: [2]time.Duration{3500 * time.Millisecond, 8 * time.Second}},
	{name: "500 and then not", replies: []reply{{status: 500}, {status: 502, body: html}, {body: envelope(``, 1)}}, want: []int{1, -1}, took: [2]time.Duration{1500 * time.Millisecond, 4 * time.Second}},
	{name: "401", replies: []reply{{status: 401, body: `{"title":"No","description":"the token s3cret-t0ken is unknown","http_status":"401"}`}}, err: "401 Unauthorized: No: the token … is unknown: look at the credentials"},
	{name: "403 as a page", replies: []reply{{status: 403, body: html, header: "Content-Type: text/html"}}, err: "403 Forbidden: look at the credentials"},

	{name: "200 with HTML", replies: []reply{{body: html, header: "Content-Type: text/html; charset=utf-8"}}, err: "text/html"},
	{name: "200 with HTML that says it is TAXII", replies: []reply{{body: html}}, err: "broken at byte"},
	{name: "200 with nothing", replies: []reply{{}}, err: "broken at byte 0"},
	{name: "200 with other JSON", replies: []reply{{body: `{"message":"sign in"}`}}, err: "not an envelope"},
	{name: "200 with a list", replies: []reply{{body: `[]`}}, err: "not an envelope"},
	{name: "objects twice", replies: []reply{{body: `{"objects":[],"objects":[]}`}}, err: "twice"},
	{name: "more that is a text", replies: []reply{{body: `{"more":"true"}`}}, err: "broken at byte"},
	{name: "a next that is too long", replies: []reply{{body: `{"more":true,"next":"` + strings.Repeat("a", 5000) + `"}`}}, err: "next is longer"},
	{name: "something after the end", replies: []reply{{body: `{}{}`}}, err: "follows its end"},
	{name: "TAXII 2.0", replies: []reply{{body: `{}`, header: "Content-Type: application/taxii+json; version=2.0"}}, err: "it speaks TAXII 2.0"},
	{name: "packed in another way", replies: []reply{{body: `{}`, header: "Content-Encoding: br"}}, err: "packed with br"},
	{name: "a first page that breaks off is asked for again", replies: []reply{{do: brokenOff}, {body: envelope(``, 1)}}, want: []int{1, -1}, took: [2]time.Duration{500 * time.Millisecond, 2 * time.Second}},
	{name: "a bad object alone", replies: []reply{{body: `{"objects":[` + object(1) + `,{"type":"indicator"},5,null,{"type":"malware","id":7},{"type":"tool","id":"indicator--1"},` + object(2) + `]}`, header: last("1999-02-01T00:00:00Z")}},
		want: []int{1, 2, -1}, position: "1999-02-01T00:00:00.000000Z", refused: "objects[1]: its id is not its type with a UUID (5)"},
	{name: "ids that are too long, or no UUID", replies: []reply{{body: `{"objects":[{"type":"tool","id":"tool--00000000-0000-4000-8000-00000000000x"},{"type":"tool","id":"tool--` + strings.Repeat("a", 70_000) + `"},{"type":"` + strings.Repeat("a", 70_000) + `","id":"` + strings.Repeat("a", 70_000) + `--00000000-0000-4000-8000-000000000001"},{"type":"tool","id":"tool--{0000000000004000800000000000001}00"},` + object(2) + `]}`}},
		want: []int{2, -1}, refused: "tool--00000000-0000-4000-8000-00000000000x: its id is not its type with a UUID (4)"},
	{name: "an object that is too deep", replies: []reply{{body: `{"objects":[` + deep(client.DepthMax+1) + `,` + object(2) + `]}`}}, want: []int{2, -1}, refused: "objects[0]: it is nested deeper than 64 (1)"},
	{name: "an object that is too large", replies: []reply{{body: `{"objects":[{"a":"` + strings.Repeat("a", client.ObjectBytesMax) + `"},` + object(2) + `]}`}}, want: []int{2, -1}, refused: "objects[0]: it is larger than 1048576 bytes (1)"},
	{name: "a page of bad ones, more and no next", replies: []reply{
		{body: `{"objects":[1,2],"more":true}`, header: last("1999-02-01T00:00:00Z")},
		{query: "added_after=1999-01-31T23:59:59.999999Z&limit=1000", body: `{"objects":[` + object(3) + `]}`, header: last("1999-02-02T00:00:00Z")},
	}, want: []int{-1, 3, -1}, position: "1999-02-02T00:00:00.000000Z", refused: "objects[0]: it is not an object {…} (2)"},
	{name: "a page that is too large is asked for in parts", config: client.Config{PageBytes: 1000}, options: client.Options{Limit: 5}, replies: []reply{
		{query: "limit=5", body: envelope(``, 1, 2, 3, 4, 5)},
		{query: "limit=1", body: envelope(`,"more":true,"next":"a"`, 1), header: last("1999-02-01T00:00:00Z")},
		{query: "limit=1&next=a", body: envelope(``, 2), header: last("1999-02-02T00:00:00Z")},
	}, want: []int{1, -1, 2, -1}, position: "1999-02-02T00:00:00.000000Z"},
	{name: "a gzip bomb", config: client.Config{PageBytes: 1 << 20}, options: client.Options{Limit: 1}, replies: []reply{{do: bomb}}, err: "larger than 1048576 bytes"},
	{name: "a length that is too large", config: client.Config{PageBytes: 1 << 20}, options: client.Options{Limit: 1}, replies: []reply{{do: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", client.MediaType)
		w.Header().Set("Content-Length", "999999999")
		w.WriteHeader(200)
	}}}, err: "larger than 1048576 bytes"},
	{name: "a slow body", replies: []reply{{do: slow}, {do: slow}, {do: slow}, {body: envelope(``, 1)}}, want: []int{1, -1}, took: [2]time.Duration{180 * time.Second, 190 * time.Second}},
	{name: "no answer", replies: []reply{{do: silent}, {do: silent}, {do: silent}, {do: silent}}, err: "did not answer within 1m0s", took: [2]time.Duration{240 * time.Second, 250 * time.Second}},

	{name: "a redirect elsewhere", replies: []reply{{status: 302, header: "Location: http://thief.example/taxii2/"}}, err: "redirects to http://thief.example/taxii2/"},
	{name: "a redirect to another port", replies: []reply{{status: 301, header: "Location: http://taxii.example:8080/"}}, err: "redirects to http://taxii.example:8080/"},
	{name: "a redirect to another scheme", replies: []reply{{status: 301, header: "Location: https://taxii.example/"}}, err: "redirects to https://taxii.example/"},
	{name: "a redirect with a password", replies: []reply{{status: 301, header: "Location: http://a:b@taxii.example/"}}, err: "301 without a way"},
	{name: "a redirect within", replies: []reply{{status: 308, header: "Location: /other/?x=1"}, {query: "x=1", body: envelope(``, 1)}}, want: []int{1, -1}},
	{name: "a redirect in circles", replies: []reply{{status: 302, header: "Location: /a/"}, {status: 302, header: "Location: /b/"}, {status: 302, header: "Location: /c/"}, {status: 302, header: "Location: /a/"}}, err: "redirects more than 3 times"},
	{name: "a redirect to nowhere", replies: []reply{{status: 304}}, err: "304 without a way"},
	{name: "a kept position that is damaged", from: "yesterday", position: "yesterday", err: "the kept position yesterday is no time"},
}

func deep(n int) string { return strings.Repeat(`{"a":`, n-1) + `{}` + strings.Repeat(`}`, n-1) }

func brokenOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", client.MediaType)
	w.Header().Set("Content-Length", "1000")
	fmt.Fprint(w, `{"objects":[`)
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// bomb unpacks to 1 GB.
func bomb(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", client.MediaType)
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	fmt.Fprint(z, `{"objects":["`)
	zeros := bytes.Repeat([]byte("0"), 1<<20)
	for range 1024 {
		if _, err := z.Write(zeros); err != nil || r.Context().Err() != nil {
			return
		}
	}
}

// slow sends a byte each second for ever.
func slow(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", client.MediaType)
	for {
		fmt.Fprint(w, " ")
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(time.Second):
		}
	}
}

func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestPoll(t *testing.T) {
	for _, c := range polls {
		t.Run(c.name, func(t *testing.T) {
			s := &script{t: t, replies: c.replies}
			bubble(t, s, c.config, func(t *testing.T, one *client.Client, n *network) {
				var got []int
				var refused string
				gap := false
				began := time.Now()
				p, err := one.Poll(t.Context(), inbox, client.Position{After: c.from}, c.options, func(page client.Page) error {
					for _, o := range page.Objects {
						got = append(got, number(o))
					}
					got = append(got, -1)
					if len(page.Refused) > 0 && refused == "" {
						refused = fmt.Sprintf("%s: %s (%d)", page.Refused[0].ID, page.Refused[0].Reason, page.Refusals)
					}
					gap = gap || page.Gap != ""
					return nil
				})
				took := time.Since(began)
				if !reflect.DeepEqual(got, c.want) {
					t.Errorf("it took %v and not %v", got, c.want)
				}
				if p.After != c.position {
					t.Errorf("the position is %q and not %q", p.After, c.position)
				}
				if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
					t.Errorf("the error is %v and not …%s…", err, c.err)
				}
				if refused != c.refused || gap != c.gap {
					t.Errorf("refused is %q and not %q, gap %v", refused, c.refused, gap)
				}
				if c.took[1] == 0 {
					c.took[1] = time.Second
				}
				if took < c.took[0] || took >= c.took[1] {
					t.Errorf("it took %v", took)
				}
				if s.left() != 0 || n.elsewhere() != nil {
					t.Errorf("%d replies are left, and it dialled %v", s.left(), n.elsewhere())
				}
			})
		})
	}
}

// TestRetryAfter: what is too long to wait for is the caller's, bounded.
func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{"3600": time.Hour, "99999999999": client.RetryAfterMax, "18446744073709551616": 0} {
		s := &script{t: t, replies: []reply{{status: 503, header: "Retry-After: " + header}}}
		if want == 0 {
			s.replies = []reply{s.replies[0], s.replies[0], s.replies[0], s.replies[0]}
		}
		bubble(t, s, client.Config{}, func(t *testing.T, one *client.Client, _ *network) {
			_, err := one.Poll(t.Context(), inbox, client.Position{}, client.Options{}, nil)
			var fault *client.Error
			if !errors.As(err, &fault) || fault.RetryAfter != want || !fault.Passing || fault.Status != 503 {
				t.Errorf("%s: the error is %#v", header, err)
			}
		})
	}
}

// TestEndless: a server that always has more is left after a bounded number of pages,
// and the next poll goes on.
func TestEndless(t *testing.T) {
	for _, c := range []struct {
		name, err string
		requests  int
		page      func(w http.ResponseWriter, n int)
	}{
		{"new objects", "10000 pages", client.PagesMax, func(w http.ResponseWriter, n int) {
			at := time.Date(1999, 1, 1, 0, 0, n, 0, time.UTC).Format(time.RFC3339)
			reply{header: last(at), body: envelope(fmt.Sprintf(`,"more":true,"next":"%d"`, n), n)}.write(w)
		}},
		{"empty pages", "10 empty pages", client.EmptyMax, func(w http.ResponseWriter, n int) {
			reply{body: fmt.Sprintf(`{"more":true,"next":"%d"}`, n)}.write(w)
		}},
		{"one page", "same page again", 2, func(w http.ResponseWriter, n int) {
			reply{body: envelope(fmt.Sprintf(`,"more":true,"next":"%d"`, n), 1)}.write(w)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := 0
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { n++; c.page(w, n) })
			bubble(t, h, client.Config{}, func(t *testing.T, one *client.Client, _ *network) {
				_, err := one.Poll(t.Context(), inbox, client.Position{}, client.Options{}, func(client.Page) error { return nil })
				if err == nil || !strings.Contains(err.Error(), c.err) || n != c.requests {
					t.Errorf("after %d requests: %v", n, err)
				}
			})
		})
	}
}

// TestStops: what the caller says counts, and a position is only of what was taken.
func TestStops(t *testing.T) {
	full := errors.New("the disk is full")
	s := &script{t: t, replies: []reply{
		{body: envelope(`,"more":true,"next":"a"`, 1), header: last("1999-02-01T00:00:00Z")},
		{body: envelope(`,"more":true,"next":"b"`, 2), header: last("1999-03-01T00:00:00Z")},
	}}
	bubble(t, s, client.Config{}, func(t *testing.T, one *client.Client, _ *network) {
		p, err := one.Poll(t.Context(), inbox, client.Position{}, client.Options{}, func(page client.Page) error {
			if number(page.Objects[0]) == 2 {
				return full
			}
			return nil
		})
		if err != full || p.After != "1999-01-31T23:59:59.999999Z" {
			t.Errorf("the poll ended at %q with %v", p.After, err)
		}
		kept, _ := json.Marshal(p)
		if string(kept) != `{"after":"1999-01-31T23:59:59.999999Z"}` {
			t.Errorf("the position is kept as %s", kept)
		}
	})
	s = &script{t: t, replies: []reply{{status: 503, header: "Retry-After: 100"}}}
	bubble(t, s, client.Config{}, func(t *testing.T, one *client.Client, _ *network) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		_, err := one.Poll(ctx, inbox, client.Position{}, client.Options{}, nil)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// TestRate: requests are no more than was said, whatever the server does.
func TestRate(t *testing.T) {
	n := 0
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n++
		reply{header: last("1999-01-01T00:00:" + strconv.Itoa(10+n) + "Z"), body: envelope(`,"more":`+strconv.FormatBool(n < 40)+`,"next":"a"`, n)}.write(w)
	})
	bubble(t, h, client.Config{Rate: 2}, func(t *testing.T, one *client.Client, _ *network) {
		began := time.Now()
		if _, err := one.Poll(t.Context(), inbox, client.Position{}, client.Options{}, func(client.Page) error { return nil }); err != nil || n != 40 {
			t.Fatalf("%d requests: %v", n, err)
		}
		if took := time.Since(began).Round(time.Millisecond); took != 19*time.Second {
			t.Errorf("40 requests took %v", took)
		}
	})
}

func TestBackoff(t *testing.T) {
	for failures, most := range map[int]time.Duration{-1: time.Second, 1: time.Second, 2: 2 * time.Second, 7: 64 * time.Second, 8: client.WaitMax, 1e9: client.WaitMax} {
		for range 100 {
			if d := client.Backoff(failures); d > most || d < most/2 {
				t.Fatalf("after %d failures it waits %v", failures, d)
			}
		}
	}
}
