package taxii_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/intel/inteltest"
	"github.com/watchward/watchward/node/taxii"
)

const (
	feedPath  = "/taxii2/region/collections/" + feedID + "/"
	inboxPath = "/taxii2/region/collections/" + inboxID + "/objects/"
)

// A told is an error body.
type told struct {
	Title       string `json:"title"`
	Description string `json:"description"`
	Code        string `json:"error_code"`
	Status      any    `json:"http_status"`
}

func refused(t *testing.T, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	e := decode[told](t, w, status)
	if e.Status != fmt.Sprint(status) || e.Code != code || e.Title == "" || e.Description == "" {
		t.Errorf("%+v, want %s", e, code)
	}
}

func TestBadQueries(t *testing.T) {
	server := newServer(t, stocked(t), nil)
	for query, code := range map[string]string{
		"limit=0":                               "bad-limit",
		"limit=-1":                              "bad-limit",
		"limit=x":                               "bad-limit",
		"limit=":                                "bad-limit",
		"limit=+1":                              "bad-limit", // a space
		"limit=1.0":                             "bad-limit",
		"limit=1e3":                             "bad-limit",
		"limit=1&limit=2":                       "bad-query",
		"limit=%zz":                             "bad-query",
		"limit=1;next=x":                        "bad-query",
		"next=":                                 "bad-next",
		"next=x":                                "bad-next",
		"next=AAZHXvZM80OX4fbJ1LfbAt7JdQQ":      "bad-next", // of versions, in the transcript
		"added_after=":                          "bad-added-after",
		"added_after=2026-01-02":                "bad-added-after",
		"added_after=1767323045":                "bad-added-after",
		"added_after=yesterday":                 "bad-added-after",
		"added_after=2026-01-02T03:04:05":       "bad-added-after", // where?
		"added_after=2026-02-30T00:00:00Z":      "bad-added-after",
		"added_after=9999-12-31T23:59:59-12:00": "bad-added-after",
		"match[colour]=red":                     "bad-match",
		"match[type]=":                          "bad-match",
		"match[type]=indicator,":                "bad-match",
		"match[type]=a&match[type]=b":           "bad-query",
		"match[version]=newest":                 "bad-version",
		"match[id]=" + strings.Repeat("x,", taxii.MatchMax) + "x": "bad-match",
		"match[id]=" + strings.Repeat("x", 300):                   "bad-match",
		strings.Repeat("x", 100<<10):                              "bad-query",
	} {
		t.Run(query[:min(40, len(query))], func(t *testing.T) {
			refused(t, ask(server, "GET", feedPath+"objects/?"+query, ""), 400, code)
		})
	}
}

func TestLimits(t *testing.T) {
	server := newServer(t, stocked(t), nil)
	for limit, want := range map[string]int{"1": 1, "0003": 3, "4": 4, "1000": 4, "1000000000": 4, strings.Repeat("9", 40): 4} {
		e := decode[envelope](t, ask(server, "GET", feedPath+"objects/?limit="+limit, ""), 200)
		if len(e.Objects) != want || e.More != (want < 4) || e.More != (e.Next != "") {
			t.Errorf("limit %s: %d objects, more %v", limit, len(e.Objects), e.More)
		}
	}
}

func TestAddedAfterInItsSpellings(t *testing.T) {
	server := newServer(t, stocked(t), nil)
	for spelling, want := range map[string]int{
		"2026-01-02T03:04:05Z":             3, // the first has exactly this stamp
		"2026-01-02T03:04:05.0Z":           3,
		"2026-01-02T03:04:05.000Z":         3,
		"2026-01-02T03:04:05.000000Z":      3,
		"2026-01-02T03:04:05.000000999Z":   3,
		"2026-01-02t03:04:05z":             3,
		"2026-01-02T03:04:05%2B00:00":      3,
		"2026-01-02T05:04:05%2B02:00":      3,
		"2026-01-02T05:04:05+02:00":        3, // the plus is a space
		"2026-01-01T23:04:05.000000-04:00": 3,
		"2026-01-02T03:04:05.000002Z":      2,
		"2026-01-02T03:04:05.000001999Z":   3,
		"2026-01-02T03:04:04.999999Z":      4,
		"0001-01-01T00:00:00Z":             4,
		"9999-12-31T23:59:59Z":             0,
	} {
		e := decode[envelope](t, ask(server, "GET", feedPath+"objects/?added_after="+spelling, ""), 200)
		if len(e.Objects) != want {
			t.Errorf("%s: %d objects, want %d", spelling, len(e.Objects), want)
		}
	}
}

// TestNextIsBound: a next goes on with what it was given for, and with nothing else.
func TestNextIsBound(t *testing.T) {
	s := stocked(t)
	server := newServer(t, s, nil)
	first := decode[envelope](t, ask(server, "GET", feedPath+"objects/?limit=1&match[type]=indicator,sighting&added_after=2026-01-01T00:00:00Z", ""), 200)
	next := "&next=" + first.Next
	for _, good := range []string{
		feedPath + "objects/?limit=1&match[type]=indicator,sighting&added_after=2026-01-01T00:00:00Z" + next,
		feedPath + "objects/?limit=9&match[type]=sighting,indicator,indicator&added_after=2026-01-01T00:00:00.000Z" + next,
		"/taxii2/region/collections/community/objects/?match[type]=indicator,sighting&added_after=2026-01-01T00:00:00Z" + next,
	} {
		e := decode[envelope](t, ask(server, "GET", good, ""), 200)
		if len(e.Objects) == 0 || slices.Contains(e.ids(t), first.ids(t)[0]) {
			t.Errorf("%s: %v", good, e.ids(t))
		}
	}
	whole := "objects/?match[type]=indicator,sighting&added_after=2026-01-01T00:00:00Z" + next
	for _, foreign := range []string{
		feedPath + "objects/?limit=1" + next,
		feedPath + "objects/?match[type]=indicator&added_after=2026-01-01T00:00:00Z" + next,
		feedPath + "objects/?match[type]=indicator,sighting&added_after=2026-01-01T00:00:01Z" + next,
		feedPath + "objects/?match[type]=indicator,sighting&match[version]=all&added_after=2026-01-01T00:00:00Z" + next,
		feedPath + "manifest/?match[type]=indicator,sighting&added_after=2026-01-01T00:00:00Z" + next,
		"/taxii2/region/collections/" + deskID + "/" + whole,
		feedPath + whole + "A",
		feedPath + whole[:len(whole)-1],
		feedPath + "objects/?match[type]=indicator,sighting&added_after=2026-01-01T00:00:00Z&next=B" + first.Next[1:],
	} {
		refused(t, ask(server, "GET", foreign, ""), 400, "bad-next")
	}
	s.kept[feedID].Generation = "restored"
	refused(t, ask(server, "GET", feedPath+whole, ""), 400, "bad-next")
}

// pull follows more and next to the end, with or without the next.
func pull(t tb, h http.Handler, path string, query url.Values, byNext bool) (got []string, requests int) {
	query = url.Values(http.Header(query).Clone())
	for {
		w := ask(h, "GET", path+"?"+query.Encode(), "")
		e := decode[envelope](t, w, 200)
		for _, o := range e.Objects {
			got = append(got, string(o))
		}
		got = append(got, e.Versions...)
		requests++
		if !e.More {
			return got, requests
		}
		if byNext {
			query.Set("next", e.Next)
		} else {
			query.Set("added_after", w.Header().Get(taxii.DateLast))
		}
	}
}

// TestPages: whatever the limit and the filters, the pages together are what was asked
// for, each once, by next as by the last added stamp.
func TestPages(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := &shelf{}
		k := s.add(taxii.Collection{ID: feedID, Title: "Feed", CanRead: true}, everybody)
		for range rapid.IntRange(0, 30).Draw(rt, "objects") {
			h, err := readHeld([]byte(object(rapid.IntRange(0, 9).Draw(rt, "id"), fmt.Sprintf("2025-12-%02dT00:00:00.000Z", rapid.IntRange(1, 28).Draw(rt, "day")),
				rapid.SampledFrom([]string{"GREEN", "AMBER", "RED"}).Draw(rt, "marking"))))
			if err != nil {
				rt.Fatal(err)
			}
			if !slices.ContainsFunc(k.objects, func(o held) bool { return o.ID == h.ID && o.Version == h.Version }) {
				k.put(h, k.stamps.Next(began.Add(time.Duration(rapid.IntRange(-5, 5).Draw(rt, "clock"))*time.Microsecond)))
			}
		}
		server := newServer(t, s, nil)
		query := url.Values{}
		version := rapid.SampledFrom([]string{"", "last", "first", "all", "first,last", "2025-12-03T00:00:00Z,first"}).Draw(rt, "version")
		if version != "" {
			query.Set("match[version]", version)
		}
		if rapid.Bool().Draw(rt, "some ids") {
			query.Set("match[id]", "indicator--00000001-1111-4111-8111-111111111111,indicator--00000002-1111-4111-8111-111111111111")
		}
		if after := rapid.IntRange(-1, 40).Draw(rt, "after"); after >= 0 {
			query.Set("added_after", began.Add(time.Duration(after)*time.Microsecond).Format(time.RFC3339Nano))
		}
		var want []string
		for _, h := range k.objects {
			first, last := true, true
			for _, o := range k.objects {
				if o.ID == h.ID && o.tlp <= callers["amber"].Ceiling {
					first, last = first && !o.at.Before(h.at), last && !o.at.After(h.at)
				}
			}
			after, _ := time.Parse(time.RFC3339Nano, query.Get("added_after"))
			switch {
			case h.tlp > callers["amber"].Ceiling,
				query.Has("match[id]") && !strings.Contains(query.Get("match[id]"), h.ID),
				query.Has("added_after") && h.Added <= after.UnixMicro():
			case version == "all", (version == "" || strings.Contains(version, "last")) && last, strings.Contains(version, "first") && first,
				strings.Contains(version, "03T") && h.at.Day() == 3:
				want = append(want, string(h.JSON))
			}
		}
		limit := rapid.IntRange(1, 7).Draw(rt, "limit")
		query.Set("limit", fmt.Sprint(limit))
		for _, byNext := range []bool{true, false} {
			got, requests := pull(rt, server, feedPath+"objects/", query, byNext)
			if !slices.Equal(got, want) || requests != max(1, (len(want)+limit-1)/limit) {
				rt.Fatalf("by next %v, %d requests:\n%s\nwant\n%s", byNext, requests, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	})
}

// lines is a Shelf of one collection, with whatever objects a test gives.
type lines struct {
	taxii.Shelf
	objects iter.Seq2[taxii.Object, error]
}

func (l lines) Collections(context.Context, taxii.Caller) ([]taxii.Collection, error) {
	return []taxii.Collection{{ID: feedID, Title: "Feed", CanRead: true}}, nil
}

func (l lines) Objects(_ context.Context, _ taxii.Caller, _ string, q *taxii.Query) iter.Seq2[taxii.Object, error] {
	return func(yield func(taxii.Object, error) bool) {
		for o, err := range l.objects {
			if (err != nil || o.Added > q.After) && !yield(o, err) {
				return
			}
		}
	}
}

func indicator(n int) string { return fmt.Sprintf("indicator--%08x-1111-4111-8111-111111111111", n) }

// TestPageBytes: a page ends where it would grow too large, and one object that is larger
// than a page comes alone.
func TestPageBytes(t *testing.T) {
	sizes := []int{6 << 20, 6 << 20, 6 << 20, 20 << 20, 1, 1}
	server := newServer(t, lines{objects: func(yield func(taxii.Object, error) bool) {
		for i, size := range sizes {
			if !yield(taxii.Object{ID: indicator(i), Added: int64(i + 1), Last: true, JSON: []byte(`"` + strings.Repeat("x", size) + `"`)}, nil) {
				return
			}
		}
	}}, nil)
	var pages [][]int
	for next := ""; ; {
		e := decode[envelope](t, ask(server, "GET", feedPath+"objects/"+next, ""), 200)
		var page []int
		for _, o := range e.Objects {
			page = append(page, len(o)-2)
		}
		pages = append(pages, page)
		if !e.More {
			break
		}
		next = "?next=" + e.Next
	}
	if got, want := fmt.Sprint(pages), fmt.Sprint([][]int{{6 << 20, 6 << 20}, {6 << 20}, {20 << 20}, {1, 1}}); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestBrokenShelves: what fails midway is an error and never a page that looks whole, and
// of what is inside nothing is told.
func TestBrokenShelves(t *testing.T) {
	secret := errors.New("open /var/lib/secret: no such file")
	one := taxii.Object{ID: indicator(1), Added: 5, Last: true, JSON: []byte(`{}`)}
	for name, c := range map[string]struct {
		second taxii.Object
		err    error
		status int
		code   string
	}{
		"fails midway":         {err: secret, status: 500, code: "internal"},
		"the same stamp twice": {second: one, status: 500, code: "internal"},
		"stamps fall":          {second: taxii.Object{ID: indicator(2), Added: 4, Last: true}, status: 500, code: "internal"},
		"says it itself":       {err: &taxii.Error{Status: 503, Code: "starting", Title: "Not yet", Description: "the node starts: try again"}, status: 503, code: "starting"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, lines{objects: func(yield func(taxii.Object, error) bool) {
				_ = yield(one, nil) && yield(c.second, c.err)
			}}, nil)
			w := ask(server, "GET", feedPath+"objects/", "")
			refused(t, w, c.status, c.code)
			if strings.Contains(w.Body.String(), "secret") || w.Header().Get(taxii.DateLast) != "" {
				t.Errorf("%v\n%s", w.Header(), w.Body)
			}
		})
	}
	t.Run("Add", func(t *testing.T) {
		s := stocked(t)
		s.broken = secret
		w := ask(newServer(t, s, nil), "POST", inboxPath, `{"objects":[`+object(1, "2025-12-01T00:00:00Z", "GREEN")+`]}`, "As", "admin")
		refused(t, w, 500, "internal")
	})
	t.Run("too late", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequestWithContext(ctx, "GET", feedPath+"objects/", nil)
		r.SetBasicAuth("amber", "secret")
		w := httptest.NewRecorder()
		newServer(t, stocked(t), nil).ServeHTTP(w, r)
		refused(t, w, 503, "too-slow")
		if w.Header().Get("Retry-After") == "" {
			t.Errorf("%v", w.Header())
		}
	})
}

type statusBody struct {
	ID        string
	Status    string
	Total     int `json:"total_count"`
	Success   int `json:"success_count"`
	Failure   int `json:"failure_count"`
	Pending   int `json:"pending_count"`
	Successes []struct{ ID, Version string }
	Failures  []struct{ ID, Version, Message string }
}

// TestOneBadOfAThousand: it fails alone (OpenTAXII), with its reason.
func TestOneBadOfAThousand(t *testing.T) {
	deep := `{"type":"indicator","id":"` + indicator(500) + `","x":` + strings.Repeat("[", 80) + strings.Repeat("]", 80) + `}`
	for name, c := range map[string]struct{ bad, id, message string }{
		"number":    {`17`, "objects[500]", "it is not an object"},
		"null":      {`null`, "objects[500]", "it is not an object"},
		"RED":       {object(500, "2025-12-01T00:00:00.000Z", "RED"), indicator(500), "TLP:RED"},
		"unmarked":  {object(500, "2025-12-01T00:00:00.000Z", ""), indicator(500), "no marking"},
		"deep":      {deep, "objects[500]", "deeper than 64"},
		"large":     {`{"x":"` + strings.Repeat("x", taxii.ObjectBytesMax) + `"}`, "objects[500]", "larger than"},
		"not UTF-8": {`{"x":"` + "\xff" + `"}`, "objects[500]", "UTF-8"},
		"key twice": {`{"id":"` + indicator(500) + `","id":"` + indicator(501) + `"}`, indicator(500), "comes twice"},
	} {
		t.Run(name, func(t *testing.T) {
			s := stocked(t)
			server := newServer(t, s, nil)
			var objects []string
			for i := range 1000 {
				objects = append(objects, object(i, "2025-12-01T00:00:00.000Z", "GREEN"))
			}
			objects[400] = strings.Replace(objects[400], `"pattern":`, `"name":"`+strings.Repeat(`\"[{`, 80)+`","pattern":`, 1) // not deep
			objects[500] = c.bad
			w := ask(server, "POST", inboxPath, `{"objects":[`+strings.Join(objects, ",")+`]}`, "As", "reporter")
			got := decode[statusBody](t, w, 202)
			if got.Status != "complete" || got.Total != 1000 || got.Success != 999 || got.Failure != 1 || got.Pending != 0 || len(got.Successes) != 999 {
				t.Fatalf("%s %d = %d + %d + %d", got.Status, got.Total, got.Success, got.Failure, got.Pending)
			}
			if f := got.Failures[0]; f.ID != c.id || !strings.Contains(f.Message, c.message) || f.Version == "" {
				t.Errorf("%+v, want %s: %s", f, c.id, c.message)
			}
			if n := len(s.kept[inboxID].objects); n != 999 {
				t.Errorf("the shelf has %d", n)
			}
		})
	}
}

// TestTooLargePost: 200 MB are refused at the bound, with and without a length told
// before, and never held.
func TestTooLargePost(t *testing.T) {
	const size = 200 << 20
	s := stocked(t)
	server := httptest.NewServer(newServer(t, s, nil))
	defer server.Close()
	for _, length := range []int64{size, -1} {
		body := io.MultiReader(strings.NewReader(`{"objects":["`), inteltest.Endless('x', size-20), strings.NewReader(`"]}`))
		r, err := http.NewRequest("POST", server.URL+inboxPath, body)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = length
		r.Header.Set("Content-Type", taxii.MediaType)
		r.Header.Set("Expect", "100-continue")
		r.SetBasicAuth("reporter", "secret")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		runtime.ReadMemStats(&after)
		if err != nil || answer.StatusCode != 413 || !strings.Contains(string(text), `"http_status":"413"`) || !strings.Contains(string(text), "10485760") {
			t.Errorf("%d %s %v", answer.StatusCode, text, err)
		}
		limit := uint64(64 << 20)
		if length > 0 { // nothing of it need be read
			limit = 8 << 20
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > limit {
			t.Errorf("%d bytes were allocated for a body of %d", got, size)
		}
	}
	if n := len(s.kept[inboxID].objects); n != 0 {
		t.Errorf("the shelf took %d", n)
	}
}

// TestTooManyObjects: their number is bounded whatever their size, and nothing is taken.
func TestTooManyObjects(t *testing.T) {
	s := stocked(t)
	w := ask(newServer(t, s, nil), "POST", inboxPath, `{"objects":[`+strings.Repeat("{},", taxii.ObjectsMax)+object(1, "2025-12-01T00:00:00Z", "GREEN")+`]}`, "As", "reporter")
	refused(t, w, 413, "too-large")
	w = ask(newServer(t, s, nil), "POST", inboxPath, `{"objects":[`+object(1, "2025-12-01T00:00:00Z", "GREEN")+strings.Repeat(",{}", taxii.ObjectsMax)+`]}`, "As", "reporter")
	refused(t, w, 413, "too-large")
	if n := len(s.kept[inboxID].objects); n != 0 {
		t.Errorf("the shelf took %d", n)
	}
}

// TestStatusesAreForgotten: after a day, or when there are too many.
func TestStatusesAreForgotten(t *testing.T) {
	now := began
	server := newServer(t, stocked(t), func(c *taxii.Config) { c.Now = func() time.Time { return now } })
	post := func(objects string) string {
		w := ask(server, "POST", inboxPath, `{"objects":[`+objects+`]}`, "As", "reporter")
		return "/taxii2/region/status/" + decode[statusBody](t, w, 202).ID + "/"
	}
	first := post("1")
	now = now.Add(taxii.StatusAge)
	decode[statusBody](t, ask(server, "GET", first, "", "As", "reporter"), 200)
	now = now.Add(time.Microsecond)
	refused(t, ask(server, "GET", first, "", "As", "reporter"), 404, "no-such-status")

	first = post("1")
	many := strings.Repeat("1,", taxii.ObjectsMax-1) + "1" // their status has about 1 MB
	for range 20 {
		post(many)
	}
	last := post("1")
	refused(t, ask(server, "GET", first, "", "As", "reporter"), 404, "no-such-status")
	decode[statusBody](t, ask(server, "GET", last, "", "As", "reporter"), 200)
}

// TestRoots: an API root has its own collections and statuses.
func TestRoots(t *testing.T) {
	server := newServer(t, stocked(t), func(c *taxii.Config) {
		c.Path = "/deep/taxii2/"
		c.Roots = append(c.Roots, taxii.Root{Name: "second", Title: "Second", Shelf: &shelf{}})
	})
	d := decode[struct {
		Default string
		Roots   []string `json:"api_roots"`
	}](t, ask(server, "GET", "/deep/taxii2", ""), 200)
	if d.Default != "/deep/taxii2/region/" || !slices.Equal(d.Roots, []string{"/deep/taxii2/region/", "/deep/taxii2/second/"}) {
		t.Errorf("%+v", d)
	}
	if w := ask(server, "GET", "/deep/taxii2/second/collections/", ""); w.Body.String() != "{}" || w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	refused(t, ask(server, "GET", "/deep/taxii2/second/collections/"+feedID+"/", ""), 404, "no-such-collection")
	w := ask(server, "POST", "/deep"+inboxPath, `{"objects":[1]}`, "As", "reporter")
	id := decode[statusBody](t, w, 202).ID
	refused(t, ask(server, "GET", "/deep/taxii2/second/status/"+id+"/", "", "As", "reporter"), 404, "no-such-status")
	decode[statusBody](t, ask(server, "GET", "/deep/taxii2/region/status/"+id, "", "As", "reporter"), 200)
	refused(t, ask(server, "GET", "/taxii2/", ""), 404, "no-such-path")
}

// TestHead: HEAD is GET without the body, by a real server.
func TestHead(t *testing.T) {
	server := httptest.NewServer(newServer(t, stocked(t), nil))
	defer server.Close()
	r, err := http.NewRequest("HEAD", server.URL+feedPath+"objects/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("amber", "secret")
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != 200 || answer.Header.Get(taxii.DateLast) != "2026-01-02T03:04:05.000005Z" || answer.ContentLength < 100 {
		t.Errorf("%d %v %d", answer.StatusCode, answer.Header, answer.ContentLength)
	}
}

func TestConfigsThatAreNone(t *testing.T) {
	good := taxii.Config{Title: "T", Identify: identify, Roots: []taxii.Root{{Name: "a", Title: "A", Shelf: &shelf{}}}}
	if _, err := taxii.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*taxii.Config){
		"path":      func(c *taxii.Config) { c.Path = "/taxii2" },
		"title":     func(c *taxii.Config) { c.Title = "" },
		"identify":  func(c *taxii.Config) { c.Identify = nil },
		"no roots":  func(c *taxii.Config) { c.Roots = nil },
		"root name": func(c *taxii.Config) { c.Roots = []taxii.Root{{Name: "a/b", Title: "A", Shelf: &shelf{}}} },
		"twice":     func(c *taxii.Config) { c.Roots = append(c.Roots, c.Roots[0]) },
		"shelf":     func(c *taxii.Config) { c.Roots = []taxii.Root{{Name: "a", Title: "A"}} },
	} {
		c := good
		c.Roots = slices.Clone(good.Roots)
		change(&c)
		if _, err := taxii.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestStamps: they rise whatever the clock does.
func TestStamps(t *testing.T) {
	s := taxii.After(began.UnixMicro() + 10)
	var got []int64
	for _, offset := range []time.Duration{0, 0, time.Second, -time.Hour, time.Second} {
		got = append(got, s.Next(began.Add(offset))-began.UnixMicro())
	}
	if want := []int64{11, 12, 1_000_000, 1_000_001, 1_000_002}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// samplesEnv names the directory of real files.
const samplesEnv = "WATCHWARD_SAMPLES"

// medallion reads the data set of OASIS's own server: its collections, with its stamps.
// Two of its objects were added at the same time, which a shelf may not have.
func medallion(t *testing.T) *shelf {
	dir := os.Getenv(samplesEnv)
	if dir == "" {
		t.Skipf("SKIPPED: the TAXII data set was not tried: set %s to the directory that holds taxii", samplesEnv)
	}
	text, err := os.ReadFile(filepath.Join(dir, "taxii", "medallion-default_data.json"))
	if err != nil {
		t.Fatal(err)
	}
	var data struct {
		Root struct {
			Collections []struct {
				ID, Title, Description string
				Read                   bool `json:"can_read"`
				Write                  bool `json:"can_write"`
				Objects                []json.RawMessage
				Manifest               []struct {
					Added     time.Time `json:"date_added"`
					ID        string
					Version   string
					MediaType string `json:"media_type"`
				}
			}
		} `json:"trustgroup1"`
	}
	if err := json.Unmarshal(text, &data); err != nil {
		t.Fatal(err)
	}
	s := &shelf{}
	for _, c := range data.Root.Collections {
		k := s.add(taxii.Collection{ID: c.ID, Title: c.Title, Description: c.Description, CanRead: c.Read, CanWrite: c.Write}, everybody)
		for _, m := range c.Manifest {
			i := slices.IndexFunc(c.Objects, func(raw json.RawMessage) bool {
				h, err := readHeld(raw)
				return err == nil && h.ID == m.ID && h.Version == m.Version
			})
			if i < 0 {
				t.Fatalf("no object for %+v", m)
			}
			h, _ := readHeld(c.Objects[i])
			h.Spec = strings.TrimPrefix(m.MediaType, "application/stix+json;version=")
			k.put(h, k.stamps.Next(m.Added))
		}
	}
	return s
}

func TestMedallionData(t *testing.T) {
	const (
		relationship = "relationship--2f9a9aa9-108a-4333-83e2-4fb25add0463"
		hash         = "indicator--cd981c25-8042-4166-8945-51178443bdac"
		site         = "indicator--6770298f-0fd8-471a-ab8c-1c658a46574e"
		green        = "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"
		ivy          = "malware--c0931cc6-c75e-47e5-9036-78fabc95d4ec"
		path         = "/taxii2/region/collections/91a7b528-80eb-42ed-a74d-c6fbd5a26116/"
	)
	server := newServer(t, medallion(t), nil)
	list := decode[struct{ Collections []struct{ ID string } }](t, ask(server, "GET", "/taxii2/region/collections/", ""), 200)
	if len(list.Collections) != 5 {
		t.Errorf("%d collections", len(list.Collections))
	}
	for query, want := range map[string][]string{
		"":                                                    {relationship, hash, green, ivy, site},
		"match[version]=all":                                  {relationship, hash, site, site, green, ivy, ivy, site},
		"match[version]=first":                                {relationship, hash, site, green, ivy},
		"match[type]=indicator":                               {hash, site},
		"match[type]=indicator,malware":                       {hash, ivy, site},
		"match[id]=" + ivy:                                    {ivy},
		"match[id]=" + ivy + "," + site:                       {ivy, site},
		"match[type]=malware&match[id]=" + site:               nil,
		"match[spec_version]=2.0":                             {ivy},
		"match[spec_version]=2.1&match[type]=malware":         {ivy},
		"match[version]=2016-12-25T12:30:59.444Z":             {site},
		"match[version]=2017-01-20T00:00:00Z":                 {green}, // has no modified: its created
		"added_after=2017-01-27T13:49:59.997000Z":             {ivy, site},
		"added_after=2017-01-27T13:49:59Z&match[version]=all": {ivy, ivy, site},
		"added_after=2018-01-01T00:00:00Z":                    nil,
	} {
		for _, limit := range []string{"", "&limit=1", "&limit=2"} {
			values, err := url.ParseQuery(query + limit)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := pull(t, server, path+"objects/", values, true)
			var e envelope
			for _, o := range got {
				e.Objects = append(e.Objects, json.RawMessage(o))
			}
			if ids := e.ids(t); !slices.Equal(ids, want) {
				t.Errorf("%s%s: %v, want %v", query, limit, ids, want)
			}
			if listed, _ := pull(t, server, path+"manifest/", values, true); len(listed) != len(want) {
				t.Errorf("%s%s: the manifest has %v", query, limit, listed)
			}
		}
	}
	versions, _ := pull(t, server, path+"objects/"+site+"/versions/", url.Values{"limit": {"1"}}, true)
	if want := []string{"2016-11-03T12:30:59.000Z", "2016-12-25T12:30:59.444Z", "2017-01-27T13:49:53.935Z"}; !slices.Equal(versions, want) {
		t.Errorf("%v, want %v", versions, want)
	}
	w := ask(server, "GET", path+"objects/", "")
	if first, last := w.Header().Get(taxii.DateFirst), w.Header().Get(taxii.DateLast); first != "2014-05-08T09:00:00.000000Z" || last != "2017-12-31T13:49:53.935000Z" {
		t.Errorf("%s to %s", first, last)
	}
	w = ask(server, "GET", "/taxii2/region/collections/52892447-4d7e-4f70-b94d-d7f22742ff63/objects/", "")
	if w.Code != 200 || w.Body.String() != "{}" || w.Header().Values(taxii.DateFirst) != nil {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	refused(t, ask(server, "GET", "/taxii2/region/collections/64993447-4d7e-4f70-b94d-d7f33742ee63/objects/", ""), 403, "no-read")
	refused(t, ask(server, "POST", "/taxii2/region/collections/52892447-4d7e-4f70-b94d-d7f22742ff63/objects/", `{"objects":[1]}`, "As", "admin"), 403, "no-write")
}

// A waiter is a Shelf whose Add begins, and ends when it is told to.
type waiter struct {
	taker
	began, end chan struct{}
}

func (w waiter) Add(ctx context.Context, who taxii.Caller, collection string, offers []taxii.Offer) ([]taxii.Outcome, error) {
	w.began <- struct{}{}
	<-w.end
	return w.taker.Add(ctx, who, collection, offers)
}

// TestEnvelopesWait: only a few are in memory at once; one whose time is over while it
// waits is told to come again.
func TestEnvelopesWait(t *testing.T) {
	w := waiter{began: make(chan struct{}), end: make(chan struct{})}
	server := newServer(t, w, nil)
	body := `{"objects":[` + object(1, "2025-12-01T00:00:00Z", "GREEN") + `]}`
	codes := make(chan int)
	for range taxii.PostsMax {
		go func() { codes <- ask(server, "POST", inboxPath, body).Code }()
		<-w.began
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "POST", inboxPath, strings.NewReader(body))
	r.Header.Set("Content-Type", taxii.MediaType)
	r.SetBasicAuth("reporter", "secret")
	late := httptest.NewRecorder()
	server.ServeHTTP(late, r)
	refused(t, late, 503, "busy")
	close(w.end)
	for range taxii.PostsMax {
		if code := <-codes; code != 202 {
			t.Error(code)
		}
	}
	go func() { <-w.began }()
	if w := ask(server, "POST", inboxPath, body); w.Code != 202 {
		t.Errorf("%d after the others", w.Code)
	}
}
