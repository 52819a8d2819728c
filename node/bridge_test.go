package node_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// configure adds to the configuration of a hospital that is not open.
func (h *hospital) configure(t testing.TB, text string) {
	t.Helper()
	path := filepath.Join(h.dir, node.ConfigFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(raw, "\n"+text...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// secret puts a secret into a file of a hospital, and returns the file's name.
func (h *hospital) secret(t testing.TB, name, secret string) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// token makes a token of a running hospital.
func (h *hospital) token(t testing.TB, name, role string, ceiling notice.TLP) string {
	t.Helper()
	admin, err := client.Open(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	made, err := admin.CreateToken(t.Context(), api.TokenRequest{Name: name, Role: role, Ceiling: ceiling.String()})
	if err != nil {
		t.Fatal(err)
	}
	return made.Token
}

// bridgeTo makes a hospital that is not open share with another, which runs and serves
// TAXII, both ways.
func (h *hospital) bridgeTo(t testing.TB, to *hospital, name, more string) {
	t.Helper()
	file := h.secret(t, name+".token", to.token(t, name+"-"+filepath.Base(h.dir), "reporter", notice.TLPAmber))
	h.configure(t, fmt.Sprintf(`[[bridge]]
name = %q
kind = "taxii"
url = "%s/taxii2/"
collection = "amber"
push_collection = "inbox"
token_file = %q
pull = true
share = true
push = "all"
ceiling = "AMBER"
every = "24h"
private = true
%s`, name, to.APIURL(), file, more))
}

// bridges lets a bridge go once; it must not fail.
func (h *hospital) bridges(t testing.TB, name string) {
	t.Helper()
	if why := h.BridgeOnce(t.Context(), name); why != "" {
		t.Fatalf("%s: bridge %s: %s", h.Name(), name, why)
	}
}

// words are what a hospital holds of a value: kind, marking, and what became of it.
func (h *hospital) words(t testing.TB, value string) (out []string) {
	t.Helper()
	all, _, err := h.Store().List(store.Query{Limit: store.ListMax, Takeback: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Notice.Kind == notice.KindRetraction || r.Notice.Indicator == nil || r.Notice.Indicator.Value != value {
			continue
		}
		said := r.Notice.Kind.String() + " " + r.TLP.String()
		if r.Retracted {
			said += " retracted"
		}
		out = append(out, said)
	}
	slices.Sort(out)
	return out
}

// hasWords waits until each of some hospitals holds these words of a value, and lets
// bridges go meanwhile.
func hasWords(t testing.TB, round func(), value string, want []string, at ...*hospital) {
	t.Helper()
	eventually(t, fmt.Sprintf("all hold %q of %s", want, value), func() bool {
		round()
		for _, h := range at {
			if !slices.Equal(h.words(t, value), want) {
				return false
			}
		}
		return true
	})
}

// bridgedRegions starts two regions of two hospitals. The first of one serves TAXII, the
// first of the other is bridged to it; with several, the second ones are likewise.
func bridgedRegions(t testing.TB, several bool, more string) (a, b *region, round func()) {
	t.Helper()
	a, b = makeRegions(t, 2)
	for _, h := range a.hospitals {
		h.exchanges(t, "share")
		h.open(t)
		h.start(t, nil)
	}
	a.meet(t)
	b.hospitals[0].bridgeTo(t, a.hospitals[0], "isac", more)
	if several {
		b.hospitals[1].bridgeTo(t, a.hospitals[1], "isac", more)
	}
	for _, h := range b.hospitals {
		h.open(t)
		h.BridgeTurns("isac", func() {}) // the test lets one go after the other
		h.start(t, nil)
	}
	b.meet(t)
	b.bridged(t, "isac")
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, h := range slices.Concat(a.hospitals, b.hospitals) {
			all, _, _ := h.Store().List(store.Query{Limit: store.ListMax, Takeback: true})
			for _, r := range all {
				if len(all) > 100 {
					break
				}
				t.Logf("%s: %s %s %v by %s retracted %t: %+v", h.Name(), r.ID, r.Notice.Kind, r.Notice.Indicator, r.Author, r.Retracted, r.Notice.Origin)
			}
			if d, ok := h.Bridge("isac"); ok {
				t.Logf("%s: %+v", h.Name(), d)
			}
		}
	})
	return a, b, func() {
		b.hospitals[0].bridges(t, "isac")
		if several { // two that take the same before they hear of each other both say it
			a.agree(t)
			b.agree(t)
			b.hospitals[1].bridges(t, "isac")
			a.agree(t)
			b.agree(t)
		}
	}
}

// bridged waits until all bridges of a name have gone the round with which they start.
func (r *region) bridged(t testing.TB, name string) {
	t.Helper()
	eventually(t, "all bridges have begun", func() bool {
		for _, h := range r.hospitals {
			if d, ok := h.Bridge(name); ok && d.State == "starting" {
				return false
			}
		}
		return true
	})
}

// agree waits until all hospitals of a region hold the same, and hand it out.
func (r *region) agree(t testing.TB) {
	t.Helper()
	eventually(t, "all of a region hold the same", func() bool {
		var want uint64
		for i, h := range r.hospitals {
			s, err := h.Store().Stats()
			if err != nil || s.Waiting > 0 || !h.HandsOutAll() {
				return false
			}
			if told := s.Within(notice.TLPAmber); i == 0 {
				want = told
			} else if told != want {
				return false
			}
		}
		return true
	})
}

func TestBridgeSharesBothWays(t *testing.T) { bridgeSharesBothWays(t, false) }

// Two bridges at once, of two nodes to two nodes.
func TestBridgesShareBothWays(t *testing.T) { bridgeSharesBothWays(t, true) }

func bridgeSharesBothWays(t *testing.T, several bool) {
	a, b, round := bridgedRegions(t, several, "")
	all := append(slices.Clone(a.hospitals), b.hospitals...)
	at := a.clock.now()
	there, here := a.hospitals[1], b.hospitals[1]
	seen := there.submit(t, amber, sighting("there.example", at))[0]
	indicator := api.Submission{Kind: "indicator", Value: "203.0.113.9", Context: &api.Context{Family: "QakBot"}}
	there.submit(t, green, indicator)
	mine := here.submit(t, green, sighting("here.example", at))[0]
	here.submit(t, local, sighting("kept.example", at))

	hasWords(t, round, "there.example", []string{"sighting AMBER"}, all...)
	hasWords(t, round, "203.0.113.9", []string{"indicator GREEN"}, all...)
	hasWords(t, round, "here.example", []string{"sighting GREEN"}, all...)
	if a.hospitals[0].knows(t, "kept.example") {
		t.Error("what is kept here went out")
	}
	v := b.hospitals[0].lookup(t, "there.example", 0)
	if !v.Known {
		t.Error("what came is not known")
	}

	// A dispute of what came, and of what was said first, each from the other side.
	relayed := b.hospitals[0].notices(t, "there.example")[0]
	here.submit(t, api.SubmitOptions{}, api.Submission{Kind: "dispute", Ref: relayed, Reason: "our own scanner"})
	hasWords(t, round, "there.example", []string{"dispute AMBER", "sighting AMBER"}, a.hospitals...)
	relayed = a.hospitals[0].notices(t, "here.example")[0]
	there.submit(t, api.SubmitOptions{}, api.Submission{Kind: "dispute", Ref: relayed, Reason: "a CDN"})
	hasWords(t, round, "here.example", []string{"dispute GREEN", "sighting GREEN"}, b.hospitals...)

	// What is taken back is taken back on the other side.
	here.submit(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: mine.ID, Reason: "a mistake"})
	hasWords(t, round, "here.example", []string{"sighting GREEN retracted"}, a.hospitals...)
	there.submit(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: seen.ID, Reason: "a mistake"})
	hasWords(t, round, "there.example", []string{"sighting AMBER retracted"}, b.hospitals...)

	// Nothing goes on after that.
	before := fmt.Sprint(all[0].total(t), all[2].total(t))
	for range 3 {
		round()
	}
	if after := fmt.Sprint(all[0].total(t), all[2].total(t)); after != before {
		t.Errorf("there were %s notices, and after three more rounds there are %s", before, after)
	}
}

// notices are the ids of what is held of a value, disputes apart.
func (h *hospital) notices(t testing.TB, value string) (ids []string) {
	t.Helper()
	all, _, err := h.Store().List(store.Query{Limit: store.ListMax, Takeback: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Notice.Kind != notice.KindDispute && r.Notice.Indicator != nil && r.Notice.Indicator.Value == value {
			ids = append(ids, r.ID.String())
		}
	}
	return ids
}

// total is how many notices a hospital holds.
func (h *hospital) total(t testing.TB) int {
	t.Helper()
	all, _, err := h.Store().List(store.Query{Limit: store.ListMax, Takeback: true})
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// What a service does wrong is one line in the status, and nothing here suffers.
func TestBridgeToAHostileService(t *testing.T) {
	busy := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "180000")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	html := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html>please log in</html>")
	}
	who := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }
	const taxii, misp = "kind = \"taxii\"\ncollection = \"all\"\n", "kind = \"misp\"\nkey_file = \"key\"\n"
	for name, c := range map[string]struct {
		serve      http.HandlerFunc
		kind, want string
		wait       time.Duration
	}{
		"429":          {busy, taxii, "429", 24 * time.Hour},
		"HTML":         {html, taxii, "text/html where TAXII was expected", 6 * time.Hour},
		"endless":      {endlessTAXII, taxii, "again and again", 6 * time.Hour},
		"401":          {who, taxii, "look at the credentials", 6 * time.Hour},
		"MISP: 429":    {busy, misp, "429", 24 * time.Hour},
		"MISP: HTML":   {html, misp, "web page", 0},
		"MISP: 401":    {who, misp, "make a key in MISP", 6 * time.Hour},
		"feed: absent": {http.NotFound, "kind = \"misp-feed\"\n", "is the url that of the server or of the feed's directory?", 6 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.serve)
			defer server.Close()
			dir := t.TempDir()
			makeNode(t, dir, "alone")
			h := &hospital{dir: dir, clock: &clock{}}
			h.secret(t, "key", "the-key")
			h.configure(t, fmt.Sprintf("[[bridge]]\nname = \"isac\"\nurl = \"%s/taxii2/\"\npull = true\nprivate = true\nevery = \"6h\"\n%s", server.URL, c.kind))
			h.open(t)
			defer h.stop(t)
			h.start(t, nil)
			if why := h.BridgeOnce(t.Context(), "isac"); !strings.Contains(why, c.want) {
				t.Fatalf("it fails by %q, want %q", why, c.want)
			}
			if d, _ := h.Bridge("isac"); time.UnixMilli(int64(d.Next)).Sub(h.clock.Now()) < c.wait-time.Minute {
				t.Errorf("the next try is at %v", time.UnixMilli(int64(d.Next)))
			}
			s, err := h.Status(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			lines := 0
			for _, w := range s.Warnings {
				if strings.HasPrefix(w, "bridge isac: not reached since ") && strings.Contains(w, ", next try ") && strings.Contains(w, c.want) {
					lines++
				}
			}
			if lines != 1 {
				t.Errorf("the status has %d lines of it: %q", lines, s.Warnings)
			}
			if n := len(h.alerts(t, "bridge-down")); n != 0 {
				t.Errorf("%d alerts of a service that fails since now", n)
			}
			h.clock.advance(25 * time.Hour)
			h.BridgeOnce(t.Context(), "isac")
			h.BridgeOnce(t.Context(), "isac")
			if n := len(h.alerts(t, "bridge-down")); n != 1 {
				t.Errorf("%d alerts of a service that fails since a day, want 1", n)
			}
			h.submit(t, local, sighting("still.example", h.clock.now()))
		})
	}
}

// endlessTAXII serves a collection whose every page is the same and promises more.
func endlessTAXII(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/taxii+json;version=2.1")
	switch r.URL.Path {
	case "/taxii2/":
		fmt.Fprint(w, `{"title":"endless","api_roots":["/root/"]}`)
	case "/root/":
		fmt.Fprint(w, `{"title":"root","versions":["application/taxii+json;version=2.1"],"max_content_length":1000000}`)
	case "/root/collections/":
		fmt.Fprint(w, `{"collections":[{"id":"91a7b528-80eb-42ed-a74d-c6fbd5a26116","title":"all","can_read":true,"can_write":false}]}`)
	default:
		fmt.Fprint(w, `{"more":true,"next":"again","objects":[{"type":"identity","spec_version":"2.1","id":"identity--91a7b528-80eb-42ed-a74d-c6fbd5a26116","created":"2026-01-01T00:00:00.000Z","modified":"2026-01-01T00:00:00.000Z","name":"x"}]}`)
	}
}
