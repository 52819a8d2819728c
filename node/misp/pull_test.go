package misp_test

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/inteltest"
	"github.com/watchward/watchward/node/misp"
)

const key = "4DzYxQ0cEXAMPLEKEYcEXAMPLEKEYcEXAMPLEKEY"

// A server answers as MISP does where we ask it: see DESIGN.md.
type server struct {
	t      testing.TB
	mu     sync.Mutex
	events []*remote
	paths  []string
}

// A remote event.
type remote struct {
	UUID        string
	Published   int64 // 0 = it is not
	Changed     int64
	Value       string
	Deleted     bool
	SightedAt   int64
	SightingID  string
	serverFails bool
	raw         string // instead of the event
}

func (e *remote) json(metadata bool) string {
	if e.raw != "" && !metadata {
		return e.raw
	}
	attributes, sighting := "", ""
	if e.SightedAt > 0 {
		sighting = fmt.Sprintf(`,"Sighting":[{"uuid":%q,"type":"0","date_sighting":"%d","source":"","Organisation":{"name":"CERT"}}]`, e.SightingID, e.SightedAt)
	}
	if !metadata {
		attributes = fmt.Sprintf(`,"Attribute":[{"uuid":%q,"type":"domain","value":%q,"to_ids":true,"deleted":%v%s}]`, uuidOf(e.Value), e.Value, e.Deleted, sighting)
	}
	return fmt.Sprintf(`{"Event":{"id":"7","uuid":%q,"info":"x","timestamp":"%d","publish_timestamp":"%d","published":%v,"Orgc":{"name":"CERT"},"Tag":[{"name":"tlp:green"}]%s}}`,
		e.UUID, e.Changed, e.Published, e.Published > 0, attributes)
}

// uuidOf makes a uuid of a short text.
func uuidOf(text string) string {
	return fmt.Sprintf("5be1e65d-8198-497b-bdf5-%012x", []byte(fmt.Sprintf("%-6.6s", text)))
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths = append(s.paths, r.URL.Path)
	if r.Header.Get("Authorization") != key {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"name":"Authentication failed. Your key is `+r.Header.Get("Authorization")+`","message":"Authentication failed. Your key is `+r.Header.Get("Authorization")+`","url":"/"}`)
		return
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Accept") != "application/json" {
		s.t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	switch path := strings.TrimPrefix(r.URL.Path, "/misp/"); {
	case path == "events/restSearch":
		s.search(w, r)
	case path == "sightings/restSearch":
		s.sightings(w, r)
	default:
		s.t.Errorf("%s", path)
	}
}

func (s *server) search(w http.ResponseWriter, r *http.Request) {
	var q struct {
		ReturnFormat                 string
		Page, Limit, Metadata        int
		Published                    *bool
		Publish_Timestamp, Timestamp int64
		EventID                      []string
		Deleted                      []int
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.ReturnFormat != "json" || q.Page < 1 || q.Limit < 1 {
		s.t.Errorf("%+v, %v", q, err)
	}
	var out []string
	for _, e := range s.events {
		wanted := len(q.EventID) == 0 || slices.Contains(q.EventID, e.UUID)
		if !wanted || q.Published != nil && *q.Published != (e.Published > 0) || e.Published < q.Publish_Timestamp || e.Changed < q.Timestamp {
			continue
		}
		if e.Deleted && !slices.Equal(q.Deleted, []int{0, 1}) && q.Metadata == 0 {
			s.t.Errorf("does not ask for what is deleted")
		}
		if e.serverFails && q.Metadata == 0 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		out = append(out, e.json(q.Metadata == 1))
	}
	from := min((q.Page-1)*q.Limit, len(out))
	out = out[from:min(from+q.Limit, len(out))]
	w.Header().Set("X-Result-Count", strconv.Itoa(q.Limit)) // as it is: no count of anything
	_, _ = io.WriteString(w, `{"response":[`+strings.Join(out, ",")+`]}`)
}

func (s *server) sightings(w http.ResponseWriter, r *http.Request) {
	var q struct{ Last int64 }
	_ = json.NewDecoder(r.Body).Decode(&q)
	var out []string
	for _, e := range s.events {
		if e.SightedAt > 0 && e.SightedAt >= q.Last {
			out = append(out, fmt.Sprintf(`{"Sighting":{"id":"3","attribute_id":"9","event_id":"7","uuid":%q,"date_sighting":"%d","Event":{"id":"7","uuid":%q,"Orgc":{"name":"CERT"}}}}`, e.SightingID, e.SightedAt, e.UUID))
		}
	}
	_, _ = io.WriteString(w, `{"response":[`+strings.Join(out, ",")+`]}`)
}

func (s *server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func TestPull(t *testing.T) {
	at := &clock{at: noon}
	s := &server{t: t}
	stamp := noon.Unix() - 3600
	for i := range 45 { // two batches and a bit, the newest first
		s.events = append(s.events, &remote{UUID: uuidOf(fmt.Sprintf("e%d", i)), Published: stamp - int64(i), Changed: 1, Value: fmt.Sprintf("v%d.example", i)})
	}
	s.events = append(s.events, &remote{UUID: uuidOf("draft"), Changed: stamp, Value: "draft.example"})
	client, asked := served(t, s, misp.Config{URL: "/misp/", Key: key, Now: at.now})
	var b basket
	in := b.intake()
	in.Sightings = true
	in.Skip = func(uuid string) bool { return uuid == uuidOf("e3") }
	position, err := client.Pull(t.Context(), misp.Position{}, in)
	if err != nil || len(b.found) != 44 || len(b.failed) != 0 || b.found[19].Notice.Indicator.Value != "v44.example" || slices.Contains(b.told(), "indicator draft.example") {
		t.Fatalf("%d %q, %v, %v", len(b.found), b.told(), b.failed, err)
	}
	if f := b.found[19]; f.TLP.String() != "GREEN" || f.Notice.Origin.Source != "misp:CERT" || f.Notice.Origin.ID != uuidOf("e44")+"/"+uuidOf("v44.example") {
		t.Errorf("%+v", f.Notice.Origin)
	}
	if got := asked.take(); len(got) != 2+3 {
		t.Errorf("lists until nothing is new, and three batches: %q", got)
	}
	pull := func() []string {
		t.Helper()
		text, err := json.Marshal(position)
		if err != nil {
			t.Fatal(err)
		}
		var kept misp.Position
		if err := json.Unmarshal(text, &kept); err != nil {
			t.Fatal(err)
		}
		in.Found, in.Failed, in.Reached = b.intake().Found, b.intake().Failed, b.intake().Reached
		if position, err = client.Pull(t.Context(), kept, in); err != nil || len(b.failed) != 0 {
			t.Fatalf("%v %v", b.failed, err)
		}
		return asked.take()
	}
	in.Sightings = false
	if got := pull(); len(got) != 1 || len(b.found) != 0 {
		t.Errorf("no news is one request: %q, %q", got, b.told())
	}
	in.Sightings = true
	if got := pull(); len(got) != 2 || len(b.found) != 0 {
		t.Errorf("and one for sightings: %q, %q", got, b.told())
	}
	// In the second that was had, in one long before, by deletion, and by a sighting alone.
	s.change(func() {
		s.events = append(s.events, &remote{UUID: uuidOf("same"), Published: stamp, Changed: 5, Value: "same.example"})
		s.events = append(s.events, &remote{UUID: uuidOf("late"), Published: stamp - 200, Changed: 5, Value: "late.example"})
		s.events[44].Published, s.events[44].Deleted = stamp+1, true
		s.events[30].SightedAt, s.events[30].SightingID = noon.Unix()-10, uuidOf("sight")
	})
	pull()
	if want := []string{"indicator late.example", "indicator same.example", "indicator v30.example", "sighting v30.example", "withdrawn indicator v44.example"}; !slices.Equal(b.told(), want) {
		t.Errorf("%q", b.told())
	}
	if got := pull(); len(got) != 2 || len(b.found) != 0 {
		t.Errorf("nothing comes twice: %q, %q", got, b.told())
	}
	if f, ok := position.Events.Seen[uuidOf("e44")]; !ok || f != stamp+1 {
		t.Errorf("%+v", position)
	}
}

// What a server's clock says of tomorrow is no reason to miss today.
func TestPullFromTheFuture(t *testing.T) {
	at := &clock{at: noon}
	s := &server{t: t, events: []*remote{{UUID: uuidOf("a"), Published: noon.Unix() + 86400, Value: "a.example"}}}
	client, asked := served(t, s, misp.Config{URL: "/misp", Key: key, Now: at.now})
	var b basket
	position, err := client.Pull(t.Context(), misp.Position{}, b.intake())
	if err != nil || len(b.found) != 1 || position.Events.Since != noon.Unix() {
		t.Fatalf("%+v, %v", position, err)
	}
	asked.take()
	s.change(func() {
		s.events = append(s.events, &remote{UUID: uuidOf("b"), Published: noon.Unix() + 5, Value: "b.example"})
	})
	if position, err = client.Pull(t.Context(), position, b.intake()); err != nil || !slices.Equal(b.told(), []string{"indicator b.example"}) {
		t.Errorf("%q, %+v, %v", b.told(), position, err)
	}
}

func TestPullUnpublished(t *testing.T) {
	s := &server{t: t, events: []*remote{{UUID: uuidOf("draft"), Changed: 7, Value: "draft.example"}}}
	client, _ := served(t, s, misp.Config{URL: "/misp", Key: key, Unpublished: true})
	var b basket
	position, err := client.Pull(t.Context(), misp.Position{}, b.intake())
	if err != nil || !slices.Equal(b.told(), []string{"indicator draft.example"}) || position.Events.Since != 7 {
		t.Errorf("%q, %+v, %v", b.told(), position, err)
	}
}

// One bad event fails alone; a server that fails at all of them is broken.
func TestPullFailsAlone(t *testing.T) {
	s := &server{t: t}
	for i := range 5 {
		s.events = append(s.events, &remote{UUID: uuidOf(fmt.Sprintf("e%d", i)), Published: int64(100 + i), Value: fmt.Sprintf("v%d.example", i)})
	}
	s.events[1].serverFails = true
	s.events[2].raw = `{"Event":{"uuid":"` + uuidOf("e2") + `","Attribute":[{"type":"domain"`
	s.events[3].raw = `{"Event":{"uuid":"` + uuidOf("other") + `","Attribute":[{"type":"domain","value":"forged.example"}]}}`
	client, asked := served(t, s, misp.Config{URL: "/misp", Key: key})
	var b basket
	position, err := client.Pull(t.Context(), misp.Position{}, b.intake())
	// What came before the bad one in the batch comes twice.
	if told := slices.Compact(b.told()); err != nil || !slices.Equal(told, []string{"indicator v0.example", "indicator v4.example"}) || len(b.failed) != 3 ||
		!strings.Contains(b.failed[uuidOf("e1")], "500") || !strings.Contains(b.failed[uuidOf("e2")], "byte") || !strings.Contains(b.failed[uuidOf("e3")], "not asked for") {
		t.Errorf("%q, %q, %v", told, b.failed, err)
	}
	asked.take()
	if _, err := client.Pull(t.Context(), position, b.intake()); err != nil || len(b.failed)+len(b.found) != 0 || len(asked.take()) != 1 {
		t.Errorf("a bad event is asked for again: %v, %v", b.failed, err)
	}
	for _, e := range s.events {
		e.serverFails = true
	}
	again, err := client.Pull(t.Context(), misp.Position{}, b.intake())
	if refused := (*misp.Error)(nil); !errors.As(err, &refused) || refused.Status != 500 || len(b.failed) != 0 || again.Events.Since != 0 {
		t.Errorf("%+v, %v, %v", again, b.failed, err)
	}
}

// A pull that broke off goes on where it was.
func TestPullGoesOn(t *testing.T) {
	s := &server{t: t}
	for i := range 60 {
		s.events = append(s.events, &remote{UUID: uuidOf(fmt.Sprintf("e%d", i)), Published: int64(10_000 + i), Value: fmt.Sprintf("v%d.example", i)})
	}
	client, asked := served(t, s, misp.Config{URL: "/misp", Key: key})
	full := errors.New("the store is full")
	var b basket
	in := b.intake()
	taken := 0
	in.Found = func(intel.Found) error {
		if taken++; taken > 45 {
			return full
		}
		return nil
	}
	position, err := client.Pull(t.Context(), misp.Position{}, in)
	if err != full || len(b.at) != 2 || position.Events.Since != 10_039 || b.at[1].Events.Since != 10_039 {
		t.Fatalf("%+v, %v", position, err)
	}
	asked.take()
	if _, err := client.Pull(t.Context(), position, b.intake()); err != nil || len(b.found) != 20 || len(asked.take()) != 2+1 {
		t.Errorf("%d, %v", len(b.found), err)
	}
	in = b.intake()
	in.Reached = func(misp.Position) error { return full }
	if _, err := client.Pull(t.Context(), misp.Position{}, in); err != full {
		t.Error(err)
	}
}

// Servers that mean harm, or know no better, end a pull with an error that says what
// is wrong. None of them gets the key to another host, or makes us wait or hold much.
func TestHostileServers(t *testing.T) {
	list := func(n, from int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `%s{"Event":{"uuid":"00000000-0000-4000-8000-%012d","publish_timestamp":"1"}}`, map[bool]string{true: ","}[i > 0], from+i)
		}
		return `{"response":[` + b.String() + `]}`
	}
	page := 0
	leaked := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed, with %v", r.Header)
	}))
	defer leaked.Close()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
		wait   time.Duration
	}{
		"a web page": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "<html>Log in</html>")
		}, "web page", 0},
		"a web page that says it is JSON": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "<html>Log in</html>")
		}, `'<' is not the start`, 0},
		"nothing":    {func(w http.ResponseWriter, r *http.Request) {}, "the file ends", 0},
		"other JSON": {func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, `{"name":"x","errors":[]}`) }, "no list of MISP", 0},
		"two lists":  {func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, `[] []`) }, "something follows", 0},
		"broken off": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"response":[`)
		}, "unexpected EOF", 0},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, leaked.URL+"/x", http.StatusTemporaryRedirect)
		}, leaked.URL + "/x (redirects are not followed", 0},
		"the key back": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(403)
			_, _ = io.WriteString(w, "no "+r.Header.Get("Authorization"))
		}, "403 Forbidden: no … (the key is refused", 0},
		"no key":   {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }, "Auth keys", 0},
		"not here": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }, "is the url that of the server", 0},
		"a terminal's": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, "\x1b[31mred\n"+strings.Repeat("x", 1<<20))
		}, "400 Bad Request: \ufffd[31mred", 0},
		"too much asked": {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Retry-After", "7"); w.WriteHeader(429) }, "asks to wait 7s", 7 * time.Second},
		"until a date": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", noon.Add(time.Minute).Format(http.TimeFormat))
			w.WriteHeader(503)
		}, "asks to wait 1m0s", time.Minute},
		"for ever": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "999999999")
			w.WriteHeader(503)
		}, "asks to wait 24h", 24 * time.Hour},
		"before now":    {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Retry-After", "-7"); w.WriteHeader(503) }, "503", 0},
		"endless pages": {func(w http.ResponseWriter, r *http.Request) { page++; _, _ = io.WriteString(w, list(1000, page*1000)) }, "more than 100000 events", 0},
		"deeply nested": {func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, strings.Repeat("[", 1_000_000)) }, "nested deeper", 0},
		"a bomb": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
			_, _ = io.Copy(z, inteltest.Endless(' ', boundSmall+1))
			_ = z.Close()
		}, "the answer is too long", 0},
		"silence": {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "nothing came for", 0},
		"silence in the middle": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"response":[`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "nothing came for", 0},
	} {
		t.Run(name, func(t *testing.T) {
			config := misp.Config{Key: key, Now: func() time.Time { return noon }}
			if strings.HasPrefix(name, "silence") {
				config.Timeout = 100 * time.Millisecond
			}
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				c.answer(w, r)
			})
			client, _ := served(t, h, config)
			client.Bound(boundSmall)
			var b basket
			from := misp.Position{Events: misp.Window{Since: 5}}
			at, err := client.Pull(t.Context(), from, b.intake())
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), key) || len(b.found) != 0 || at.Events.Since != 5 || len(err.Error()) > 1000 {
				t.Errorf("%v", err)
			}
			refused := (*misp.Error)(nil)
			if errors.As(err, &refused); c.wait != 0 && (refused == nil || refused.RetryAfter != c.wait || !refused.Temporary()) {
				t.Errorf("%+v", refused)
			}
		})
	}
}

// A server that knows no pages sends all it has each time.
func TestServerWithoutPages(t *testing.T) {
	asked := 0
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		_, _ = io.WriteString(w, `[{"Event":{"uuid":"`+uuidOf("a")+`","publish_timestamp":"9","Attribute":[{"type":"domain","value":"a.example"}]}}]`)
	})
	client, _ := served(t, h, misp.Config{Key: key, Limit: rate.NewLimiter(rate.Inf, 1)})
	var b basket
	if _, err := client.Pull(t.Context(), misp.Position{}, b.intake()); err != nil || len(b.found) != 1 || asked != 3 {
		t.Errorf("%d, %d, %v", len(b.found), asked, err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		config misp.Config
		want   string
	}{
		{misp.Config{URL: "misp.example"}, "no address"}, {misp.Config{URL: "ftp://misp.example"}, "no address"}, {misp.Config{URL: "https://u:p@misp.example"}, "no address"},
		{misp.Config{URL: "https://misp.example/?x"}, "no address"}, {misp.Config{URL: "http://misp.example", Key: key}, "over http"},
		{misp.Config{URL: "https://misp.example", Key: key + "\n"}, "without a line break"},
	} {
		if _, err := misp.New(c.config); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%+v: %v", c.config, err)
		}
	}
	for _, c := range []misp.Config{{URL: "https://misp.example/sub/", Key: key}, {URL: "http://feed.example"}, {URL: "http://misp.example", Key: key, Plain: true}} {
		if _, err := misp.New(c); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestWindowIsBounded(t *testing.T) {
	s := &server{t: t}
	for i := range 100 {
		s.events = append(s.events, &remote{UUID: uuidOf(fmt.Sprintf("e%d", i)), Published: int64(10_000 + 10*i), Value: fmt.Sprintf("v%d.example", i)})
	}
	client, _ := served(t, s, misp.Config{URL: "/misp", Key: key})
	var b basket
	position, err := client.Pull(t.Context(), misp.Position{}, b.intake())
	if err != nil || len(position.Events.Seen) != 31 { // those of five minutes
		t.Errorf("%d, %v", len(position.Events.Seen), err)
	}
}
