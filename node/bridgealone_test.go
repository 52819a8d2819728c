package node_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/config"
)

// taxiiPages serves a collection page by page.
type taxiiPages struct {
	pages []string // objects, comma separated
	dead  atomic.Bool
	stuck atomic.Pointer[func(page int) bool] // such a page is not given
}

func (s *taxiiPages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/taxii+json;version=2.1")
	if s.dead.Load() {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if !strings.HasSuffix(r.URL.Path, "/objects/") {
		endlessTAXII(w, r)
		return
	}
	page := 0
	if next := r.URL.Query().Get("next"); next != "" {
		_, _ = fmt.Sscan(next, &page)
	}
	if stuck := s.stuck.Load(); stuck != nil && (*stuck)(page) {
		<-r.Context().Done()
		return
	}
	more := ""
	if page+1 < len(s.pages) {
		more = fmt.Sprintf(`"more":true,"next":"%d",`, page+1)
	}
	w.Header().Set("X-TAXII-Date-Added-Last", fmt.Sprintf("2026-03-01T12:00:0%d.000000Z", page))
	fmt.Fprintf(w, `{%s"objects":[%s]}`, more, s.pages[page])
}

const (
	greenMark = `"object_marking_refs":["marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"]`
	redMark   = `"object_marking_refs":["marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1"]`
)

// stixIndicator is an indicator of a domain, with a marking or none.
func stixIndicator(n int, value, mark string) string {
	if mark != "" {
		mark = "," + mark
	}
	return fmt.Sprintf(`{"type":"indicator","spec_version":"2.1","id":"indicator--91a7b528-80eb-42ed-a74d-%012d","created":"2026-03-01T00:00:00.000Z","modified":"2026-03-01T00:00:00.000Z","pattern":"[domain-name:value = '%s']","pattern_type":"stix","valid_from":"2026-03-01T00:00:00Z"%s}`, n, value, mark)
}

// bridgedAlone makes a node of no region that fetches from a server.
func bridgedAlone(t *testing.T, url, more string) *hospital {
	t.Helper()
	h := &hospital{dir: filepath.Join(t.TempDir(), "h"), clock: &clock{}}
	makeNode(t, h.dir, "alone")
	h.configure(t, fmt.Sprintf("[[bridge]]\nname = \"isac\"\nkind = \"taxii\"\nurl = \"%s/taxii2/\"\ncollection = \"all\"\npull = true\nevery = \"24h\"\n%s", url, more))
	return h
}

// Each object is judged alone, with a reason that people can read: a sighting that comes
// before what it sights waits for it, and what is worth nothing is not counted.
func TestBridgeTakesEachAlone(t *testing.T) {
	sighting := `{"type":"sighting","spec_version":"2.1","id":"sighting--91a7b528-80eb-42ed-a74d-000000000009","created":"2026-03-01T00:00:00.000Z","modified":"2026-03-01T00:00:00.000Z","sighting_of_ref":"indicator--91a7b528-80eb-42ed-a74d-000000000008","last_seen":"2026-03-01T00:00:00.000Z",` + greenMark + `}`
	s := &taxiiPages{pages: []string{
		strings.Join([]string{sighting, stixIndicator(1, "good.example", greenMark), stixIndicator(2, "unmarked.example", ""), stixIndicator(3, "red.example", redMark), `{"type":"indicator"}`, `7`,
			stixIndicator(4, "8.8.8.8.8", greenMark)}, ","),
		stixIndicator(8, "late.example", greenMark),
	}}
	server := httptest.NewServer(s)
	defer server.Close()
	h := bridgedAlone(t, server.URL, "private = true\n")
	h.open(t)
	defer h.stop(t)
	h.start(t, nil)
	for range 3 { // once more changes nothing
		h.bridges(t, "isac")
	}
	for value, want := range map[string][]string{
		"good.example": {"indicator GREEN"}, "late.example": {"indicator GREEN", "sighting GREEN"}, "unmarked.example": nil, "red.example": nil,
	} {
		if got := h.words(t, value); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
	d, _ := h.Bridge("isac")
	if d.Taken != 3 || d.Refused < 3 || d.Waiting != 0 {
		t.Errorf("taken %d, refused %d, waiting %d: %+v", d.Taken, d.Refused, d.Waiting, d.Reasons)
	}
	for _, r := range d.Reasons {
		if strings.Contains(r.Reason, "does not hold") {
			t.Errorf("what came before what it refers to was refused: %+v", r)
		}
	}
	for _, want := range []string{"it has no marking", "TLP:RED is for named people", "its id is not its type with a UUID", "it is not an object"} {
		if !slices.ContainsFunc(d.Reasons, func(r api.BridgeReason) bool { return strings.Contains(r.Reason, want) }) {
			t.Errorf("no reason says %q: %+v", want, d.Reasons)
		}
	}
}

// An id of any length stops no bridge: that of an object is refused alone, and one under
// which an object is known elsewhere is read past.
func TestBridgeReadsPastLongIDs(t *testing.T) {
	long := strings.Repeat("a", 70_000)
	known := strings.Replace(stixIndicator(1, "known.example", greenMark), `"pattern_type"`, `"external_references":[{"source_name":"other","external_id":"indicator--`+long+`"}],"pattern_type"`, 1)
	named := strings.Replace(stixIndicator(2, "named.example", greenMark), `"id":"indicator--`, `"id":"indicator--`+long, 1)
	s := &taxiiPages{pages: []string{known + "," + named, stixIndicator(3, "next.example", greenMark)}}
	server := httptest.NewServer(s)
	defer server.Close()
	h := bridgedAlone(t, server.URL, "private = true\n")
	h.open(t)
	defer h.stop(t)
	h.start(t, nil)
	h.bridges(t, "isac")
	for value, want := range map[string][]string{"known.example": {"indicator GREEN"}, "named.example": nil, "next.example": {"indicator GREEN"}} {
		if got := h.words(t, value); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

// A first read of many pages waits once for those who come first. One that does not come
// to an end in its time goes on where it was, and nothing is wrong as long as it gets on.
func TestBridgeReadsManyPages(t *testing.T) {
	s := &taxiiPages{pages: []string{stixIndicator(1, "one.example", greenMark), stixIndicator(2, "two.example", greenMark), stixIndicator(3, "three.example", greenMark)}}
	server := httptest.NewServer(s)
	defer server.Close()
	s.dead.Store(true) // until the round with which it starts is over
	h := makeRegion(t, 1).hospitals[0]
	h.configure(t, fmt.Sprintf("[[bridge]]\nname = \"isac\"\nkind = \"taxii\"\nurl = \"%s/taxii2/\"\ncollection = \"all\"\npull = true\nshare = true\nevery = \"24h\"\nprivate = true\n", server.URL))
	h.open(t)
	var waited int
	h.BridgeTurns("isac", func() { waited++ })
	h.alone(t)
	eventually(t, "it has begun", func() bool { d, _ := h.Bridge("isac"); return d.State != "starting" })
	h.BridgeSaw("isac")
	s.dead.Store(false)

	var end atomic.Pointer[func()]
	h.BridgeRounds("isac", func(e func()) { end.Store(&e) })
	stuck := func(at int) *func(int) bool {
		f := func(page int) bool {
			if page == at {
				(*end.Load())()
			}
			return page == at
		}
		return &f
	}
	s.stuck.Store(stuck(0))
	if why := h.BridgeOnce(t.Context(), "isac"); !strings.Contains(why, "did not come to an end") {
		t.Errorf("a round that got nowhere fails by %q", why)
	}
	s.stuck.Store(stuck(2))
	h.bridges(t, "isac")
	if got := h.words(t, "two.example"); len(got) != 1 || h.knows(t, "three.example") {
		t.Fatalf("what was read before the round ended: %q", got)
	}
	if waited != 1 {
		t.Errorf("it waited %d times in a round of two pages", waited)
	}
	s.stuck.Store(nil)
	h.bridges(t, "isac")
	if got := h.words(t, "three.example"); len(got) != 1 {
		t.Errorf("the next round did not go on: %q", got)
	}
}

// A service that is gone is one line in the log, and one when it is there again. What was
// come to is kept over a restart.
func TestBridgeBreaksAndIsWellAgain(t *testing.T) {
	s := &taxiiPages{pages: []string{stixIndicator(1, "good.example", greenMark)}}
	server := httptest.NewServer(s)
	defer server.Close()
	h := bridgedAlone(t, server.URL, "private = true\n")
	var log bytes.Buffer
	open := func() {
		t.Helper()
		settings, err := config.Load(filepath.Join(h.dir, node.ConfigFile))
		if err != nil {
			t.Fatal(err)
		}
		settings.API.Socket = ""
		h.Node, err = node.Open(node.Options{Dir: h.dir, Settings: settings, Version: "test", Now: h.clock.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		h.start(t, nil)
	}
	open()
	h.bridges(t, "isac")
	s.dead.Store(true)
	for range 3 {
		if why := h.BridgeOnce(t.Context(), "isac"); !strings.Contains(why, "403") {
			t.Fatalf("it fails by %q", why)
		}
	}
	before, _ := h.Bridge("isac")
	h.clock.advance(time.Hour)
	h.stop(t)
	open()
	if after, _ := h.Bridge("isac"); after.Taken != 1 || after.Last != before.Last || after.Since != before.Since {
		t.Errorf("after a restart it is %+v, before %+v", after, before)
	}
	if why := h.BridgeOnce(t.Context(), "isac"); !strings.Contains(why, "403") {
		t.Fatalf("it fails by %q", why)
	}
	s.dead.Store(false)
	h.bridges(t, "isac")
	h.bridges(t, "isac")
	h.stop(t)
	if n := strings.Count(log.String(), "a bridge does not reach its service"); n != 1 {
		t.Errorf("%d lines of a service that broke once:\n%s", n, log.String())
	}
	if n := strings.Count(log.String(), "a bridge reaches its service again"); n != 1 {
		t.Errorf("%d lines of a service that works again:\n%s", n, log.String())
	}
}

// An address inside is not reached unless that is meant, nor a dead one.
func TestBridgeReachesNoInside(t *testing.T) {
	inside := httptest.NewTLSServer(http.HandlerFunc(endlessTAXII))
	defer inside.Close()
	gone := httptest.NewServer(http.HandlerFunc(endlessTAXII))
	gone.Close()
	for url, c := range map[string]struct{ more, want string }{
		inside.URL: {"", "set private = true if that is meant"},
		gone.URL:   {"private = true\n", "it cannot be reached"},
	} {
		h := bridgedAlone(t, url, c.more)
		h.open(t)
		h.start(t, nil)
		eventually(t, "it says why", func() bool {
			d, _ := h.Bridge("isac")
			return strings.Contains(d.Reason, c.want)
		})
		h.stop(t)
	}
}

// A takesAll is a TAXII server that keeps what is pushed to it, by the first part of its
// address.
type takesAll struct {
	mu     sync.Mutex
	pushed map[string]string
}

func (s *takesAll) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	w.Header().Set("Content-Type", "application/taxii+json;version=2.1")
	switch {
	case r.Method == http.MethodPost:
		raw, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.pushed[name] += string(raw)
		s.mu.Unlock()
		w.WriteHeader(http.StatusAccepted)
		n := strings.Count(string(raw), `"spec_version"`)
		fmt.Fprintf(w, `{"id":"91a7b528-80eb-42ed-a74d-c6fbd5a26116","status":"complete","total_count":%d,"success_count":%d,"failure_count":0,"pending_count":0}`, n, n)
	case path == "taxii2/":
		fmt.Fprintf(w, `{"title":"takes all","api_roots":["/%s/root/"]}`, name)
	case path == "root/":
		fmt.Fprint(w, `{"title":"root","versions":["application/taxii+json;version=2.1"],"max_content_length":1000000}`)
	case path == "root/collections/":
		fmt.Fprint(w, `{"collections":[{"id":"91a7b528-80eb-42ed-a74d-c6fbd5a26116","title":"all","can_read":true,"can_write":true}]}`)
	default:
		fmt.Fprint(w, `{}`)
	}
}

func (s *takesAll) has(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pushed[name]
}

// pushesTo makes a hospital that is not open push all to a server, over one bridge a
// ceiling; "default" has none of its own.
func (h *hospital) pushesTo(t *testing.T, ceilings ...string) *takesAll {
	t.Helper()
	s := &takesAll{pushed: map[string]string{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	for _, c := range ceilings {
		more := fmt.Sprintf("ceiling = %q\n", c)
		if c == "default" {
			more = ""
		}
		h.configure(t, fmt.Sprintf("[[bridge]]\nname = %q\nkind = \"taxii\"\nurl = \"%s/%s/taxii2/\"\ncollection = \"all\"\npush = \"all\"\nevery = \"24h\"\nprivate = true\n%s", strings.ToLower(c), server.URL, c, more))
	}
	return s
}
