package node_test

import (
	"encoding/json"
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

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// A mispServer answers as MISP does where a bridge asks it, and merges what it is given
// as MISP does: an event or attribute is taken if it is newer by a second.
type mispServer struct {
	mu     sync.Mutex
	now    func() time.Time
	events map[string]map[string]any
	told   int // sightings added

	fails func(path, body string) bool // answered with 500, if not nil
	posts int                          // such answers
}

func newMISP(t testing.TB, now func() time.Time) (*mispServer, string) {
	m := &mispServer{now: now, events: map[string]map[string]any{}}
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	return m, s.URL
}

func seconds(v any) int64 {
	n, _ := strconv.ParseInt(fmt.Sprint(v), 10, 64)
	return n
}

func listOf(v any) []any {
	l, _ := v.([]any)
	return l
}

func (m *mispServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	raw, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	if r.Header.Get("Authorization") != "the-key" {
		http.Error(w, `{"name":"Authentication failed."}`, http.StatusForbidden)
		return
	}
	path := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/"), "/metadata:1")
	if m.fails != nil && m.fails(path, string(raw)) {
		m.posts++
		http.Error(w, `{"message":"An Internal Error Has Occurred."}`, http.StatusInternalServerError)
		return
	}
	switch uuid, edit := strings.CutPrefix(path, "events/edit/"); {
	case edit && m.events[uuid] == nil:
		http.Error(w, `{"name":"Invalid event"}`, http.StatusNotFound)
	case edit || path == "events/add":
		m.put(w, raw)
	case path == "events/restSearch":
		m.search(w, raw)
	case path == "sightings/restSearch":
		m.sightings(w, raw)
	case path == "sightings/add":
		m.sight(w, raw)
	default:
		http.Error(w, "{}", http.StatusNotFound)
	}
}

func (m *mispServer) put(w http.ResponseWriter, raw []byte) {
	var in struct{ Event map[string]any }
	if err := json.Unmarshal(raw, &in); err != nil {
		http.Error(w, "{}", http.StatusBadRequest)
		return
	}
	uuid := in.Event["uuid"].(string)
	have := m.events[uuid]
	if have == nil {
		have = map[string]any{"Attribute": []any{}}
		m.events[uuid] = have
	} else if seconds(in.Event["timestamp"]) <= seconds(have["timestamp"]) {
		http.Error(w, `{"message":"Event could not be saved: Event in the request not newer than the local copy."}`, http.StatusForbidden)
		return
	}
	attributes := listOf(have["Attribute"])
	for _, a := range listOf(in.Event["Attribute"]) {
		a := a.(map[string]any)
		at := slices.IndexFunc(attributes, func(b any) bool { return b.(map[string]any)["uuid"] == a["uuid"] })
		switch {
		case at < 0:
			attributes = append(attributes, a)
		case seconds(a["timestamp"]) > seconds(attributes[at].(map[string]any)["timestamp"]):
			attributes[at] = a
		}
	}
	for k, v := range in.Event {
		have[k] = v
	}
	have["Attribute"] = attributes
	m.publish(have)
	fmt.Fprint(w, `{"Event":{}}`)
}

func (m *mispServer) publish(event map[string]any) {
	event["publish_timestamp"], event["published"] = strconv.FormatInt(m.now().Unix(), 10), true
}

func (m *mispServer) search(w http.ResponseWriter, raw []byte) {
	var q struct {
		Page             int
		Metadata         int
		PublishTimestamp int64 `json:"publish_timestamp"`
		EventID          []string
	}
	_ = json.Unmarshal(raw, &q)
	out := []any{}
	for uuid, e := range m.events {
		if q.Page > 1 || len(q.EventID) > 0 && !slices.Contains(q.EventID, uuid) || seconds(e["publish_timestamp"]) < q.PublishTimestamp {
			continue
		}
		shown := map[string]any{}
		for k, v := range e {
			if k != "Attribute" || q.Metadata == 0 {
				shown[k] = v
			}
		}
		out = append(out, map[string]any{"Event": shown})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"response": out})
}

// each calls f for every attribute.
func (m *mispServer) each(f func(event, attribute map[string]any)) {
	for _, e := range m.events {
		for _, a := range listOf(e["Attribute"]) {
			f(e, a.(map[string]any))
		}
	}
}

func (m *mispServer) sightings(w http.ResponseWriter, raw []byte) {
	var q struct{ Last int64 }
	_ = json.Unmarshal(raw, &q)
	out := []any{}
	m.each(func(e, a map[string]any) {
		for _, s := range listOf(a["Sighting"]) {
			s := s.(map[string]any)
			if seconds(s["date_sighting"]) >= q.Last {
				out = append(out, map[string]any{"Sighting": map[string]any{"uuid": s["uuid"], "date_sighting": s["date_sighting"], "Event": map[string]any{"uuid": e["uuid"]}}})
			}
		}
	})
	_ = json.NewEncoder(w).Encode(map[string]any{"response": out})
}

func (m *mispServer) sight(w http.ResponseWriter, raw []byte) {
	var s struct{ UUID, Type, Source, Timestamp string }
	_ = json.Unmarshal(raw, &s)
	found := false
	m.each(func(_, a map[string]any) {
		if a["uuid"] == s.UUID {
			found = true
			m.told++
			a["Sighting"] = append(listOf(a["Sighting"]), map[string]any{
				"uuid": fmt.Sprintf("5be1e65d-8198-497b-bdf6-%012x", m.told), "type": s.Type, "source": s.Source, "date_sighting": s.Timestamp,
				"Organisation": map[string]any{"name": "Bridge"},
			})
		}
	})
	if !found {
		http.Error(w, `{"message":"No valid attributes found."}`, http.StatusForbidden)
		return
	}
	fmt.Fprint(w, `{"message":"Sighting added"}`)
}

// add adds an event of another organisation, with one domain.
func (m *mispServer) add(event, attribute, tag, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stamp := strconv.FormatInt(m.now().Unix(), 10)
	tags := []any{}
	if tag != "" {
		tags = append(tags, map[string]any{"name": tag})
	}
	e := map[string]any{
		"uuid": event, "info": "phishing", "timestamp": stamp, "date": "2026-03-01", "Orgc": map[string]any{"name": "CERT"}, "Tag": tags,
		"Attribute": []any{map[string]any{"uuid": attribute, "type": "domain", "value": value, "to_ids": true, "timestamp": stamp}},
	}
	m.publish(e)
	m.events[event] = e
}

// has counts the attributes with a value, deleted ones apart.
func (m *mispServer) has(value string) (count int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.each(func(_, a map[string]any) {
		if a["value"] == value && a["deleted"] != true {
			count++
		}
	})
	return count
}

// A MISP server stands between two regions, and others write there too.
func TestBridgesByMISP(t *testing.T) {
	a, b := makeRegions(t, 2)
	m, url := newMISP(t, a.clock.Now)
	for _, r := range []*region{a, b} {
		r.hospitals[0].configure(t, fmt.Sprintf("[[bridge]]\nname = \"csirt\"\nkind = \"misp\"\nurl = %q\nkey_file = %q\npull = true\nshare = true\npush = \"all\"\nevery = \"24h\"\nprivate = true\n",
			url, r.hospitals[0].secret(t, "misp.key", "the-key")))
		for _, h := range r.hospitals {
			h.open(t)
			h.start(t, nil)
		}
		r.meet(t)
	}
	a.bridged(t, "csirt")
	b.bridged(t, "csirt")
	round := func() {
		a.clock.advance(10 * time.Second)
		a.hospitals[0].bridges(t, "csirt")
		b.hospitals[0].bridges(t, "csirt")
	}
	all := slices.Concat(a.hospitals, b.hospitals)
	m.add("5be1e65d-8198-497b-bdf5-000000000001", "5be1e65d-8198-497b-bdf5-000000000002", "tlp:green", "cert.example")
	m.add("5be1e65d-8198-497b-bdf5-000000000003", "5be1e65d-8198-497b-bdf5-000000000004", "", "unmarked.example")
	there, here := a.hospitals[1], b.hospitals[1]
	said := there.submit(t, green, api.Submission{Kind: "indicator", Value: "there.example"})[0]
	here.submit(t, green, sighting("here.example", a.clock.now()))
	there.submit(t, amber, sighting("amber.example", a.clock.now()))

	hasWords(t, round, "cert.example", []string{"indicator GREEN"}, all...)
	hasWords(t, round, "there.example", []string{"indicator GREEN"}, all...)
	hasWords(t, round, "here.example", []string{"sighting GREEN"}, all...)
	if n := m.has("cert.example"); n != 1 {
		t.Errorf("what came from MISP is there %d times", n)
	}
	if n := m.has("amber.example"); n != 0 || here.knows(t, "amber.example") {
		t.Error("what is AMBER went over a bridge up to GREEN")
	}
	if here.knows(t, "unmarked.example") {
		t.Error("what has no marking was taken")
	}
	d, _ := b.hospitals[0].Bridge("csirt")
	if d.Refused != 1 || len(d.Reasons) != 1 || !strings.Contains(d.Reasons[0].Reason, "no marking") {
		t.Errorf("what was refused: %+v", d)
	}

	// A sighting of what the other organisation said is told of its attribute.
	here.submit(t, green, sighting("cert.example", a.clock.now()))
	hasWords(t, round, "cert.example", []string{"indicator GREEN", "sighting GREEN"}, all...)
	if n := m.has("cert.example"); n != 1 || m.told != 1 {
		t.Errorf("MISP has the value %d times, and was told of %d sightings", n, m.told)
	}

	// A dispute and a retraction cross.
	here.submit(t, api.SubmitOptions{}, api.Submission{Kind: "dispute", Ref: b.hospitals[0].notices(t, "there.example")[0], Reason: "a CDN"})
	hasWords(t, round, "there.example", []string{"dispute GREEN", "indicator GREEN"}, a.hospitals...)
	there.submit(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: said.ID, Reason: "a mistake"})
	hasWords(t, round, "there.example", []string{"indicator GREEN retracted"}, b.hospitals...)

	before := fmt.Sprint(all[0].total(t), all[2].total(t), m.told)
	for range 3 {
		round()
	}
	if after := fmt.Sprint(all[0].total(t), all[2].total(t), m.told); after != before {
		t.Errorf("there were %s, and after three more rounds there are %s", before, after)
	}
}

// fail makes a server answer some requests with 500, and returns how many it did so far.
func (m *mispServer) fail(which func(path, body string) bool) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = which
	return m.posts
}

func noWrites(path, _ string) bool { return !strings.HasSuffix(path, "restSearch") }

// mispAlone makes a region of one that shares with a MISP server.
func mispAlone(t *testing.T) (*hospital, *mispServer) {
	t.Helper()
	h := makeRegion(t, 1).hospitals[0]
	m, url := newMISP(t, h.clock.Now)
	h.configure(t, fmt.Sprintf("[[bridge]]\nname = \"csirt\"\nkind = \"misp\"\nurl = %q\nkey_file = %q\npull = true\npush = \"all\"\nevery = \"1h\"\nprivate = true\n", url, h.secret(t, "misp.key", "the-key")))
	h.open(t)
	h.alone(t)
	eventually(t, "its first round by itself is over, and the next an hour away", func() bool {
		d, _ := h.Bridge("csirt")
		return d.Last != 0
	})
	return h, m
}

// hasEvents goes on until the server has a value.
func (m *mispServer) hasEvents(t *testing.T, h *hospital, value string) {
	t.Helper()
	eventually(t, "MISP has "+value, func() bool {
		h.BridgeOnce(t.Context(), "csirt")
		return m.has(value) == 1
	})
}

// An event or sighting at which MISP fails holds up no other, is tried again for hours, and
// is then given up.
func TestBridgeGoesPastWhatMISPFailsAt(t *testing.T) {
	h, m := mispAlone(t)
	m.add("5be1e65d-8198-497b-bdf5-000000000001", "5be1e65d-8198-497b-bdf5-000000000002", "tlp:clear", "cert.example")
	eventually(t, "it is taken", func() bool { h.BridgeOnce(t.Context(), "csirt"); return h.knows(t, "cert.example") })
	m.fail(func(path, body string) bool {
		return strings.Contains(body, "bad.example") || path == "sightings/add"
	})
	clear := api.SubmitOptions{TLP: notice.TLPClear} // of an event that comes first
	h.submit(t, clear, api.Submission{Kind: "indicator", Value: "bad.example"})
	h.submit(t, clear, sighting("cert.example", h.clock.now()))
	failed := func() int64 { d, _ := h.Bridge("csirt"); return d.Failed }
	for i := range 8 {
		value := fmt.Sprintf("good-%d.example", i)
		h.submit(t, green, api.Submission{Kind: "indicator", Value: value})
		m.hasEvents(t, h, value)
		if i < 3 && failed() != 0 {
			t.Fatalf("%d given up after %d hours", failed(), i)
		}
		h.clock.advance(time.Hour)
	}
	eventually(t, "both are given up", func() bool {
		h.clock.advance(time.Hour)
		h.BridgeOnce(t.Context(), "csirt")
		return failed() == 2
	})
	before := m.fail(noWrites)
	for range 3 {
		h.clock.advance(time.Hour)
		h.bridges(t, "csirt")
	}
	if after := m.fail(nil); after != before {
		t.Errorf("what was given up was tried again %d times", after-before)
	}
}

// A server that takes nothing is one error each round, and nothing is lost once it does.
func TestBridgeToAMISPThatTakesNothing(t *testing.T) {
	h, m := mispAlone(t)
	m.fail(noWrites)
	for i := range 10 {
		h.submit(t, green, api.Submission{Kind: "indicator", Value: fmt.Sprintf("v-%d.example", i)})
		h.clock.advance(24 * time.Hour) // each an event of its own
	}
	eventually(t, "all is handed out", h.HandsOutAll)
	for range 10 {
		before := m.fail(noWrites)
		why := h.BridgeOnce(t.Context(), "csirt")
		if asked := m.fail(noWrites) - before; asked == 0 || asked > 3 || !strings.Contains(why, "500") {
			t.Fatalf("it was asked %d times, and the error is %q", asked, why)
		}
	}
	m.fail(nil)
	for i := range 10 {
		m.hasEvents(t, h, fmt.Sprintf("v-%d.example", i))
	}
	if d, _ := h.Bridge("csirt"); d.Failed != 0 {
		t.Errorf("%d were given up: %+v", d.Failed, d.Reasons)
	}
}
