package misp_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/inteltest"
	events "github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/misp"
	"github.com/watchward/watchward/node/notice"
)

// A pull gets what changed and nothing else: new notices, sightings, what was taken
// back; and a pull without news is one request without a body.
func TestFeedPullsWhatChanged(t *testing.T) {
	at := &clock{at: noon}
	s := &shelf{}
	s.add(noon.Add(-48*time.Hour), said(1, notice.KindIndicator, "old.example", noon.Add(-48*time.Hour)), said(2, notice.KindIndicator, "other.example", noon.Add(-48*time.Hour)))
	s.add(noon.Add(-time.Hour), said(5, notice.KindIndicator, "new.example", noon.Add(-time.Hour)))
	client, asked := served(t, feed(s, at.now), misp.Config{Now: at.now})
	var b basket
	position, err := client.PullFeed(t.Context(), misp.Position{}, b.intake())
	if want := []string{"indicator new.example", "indicator old.example", "indicator other.example"}; err != nil || !slices.Equal(b.told(), want) || len(b.failed) != 0 {
		t.Fatalf("%q, %v, %v", b.told(), b.failed, err)
	}
	if len(asked.take()) != 4 {
		t.Errorf("not the manifest and three events")
	}
	text, err := json.Marshal(position)
	if err != nil {
		t.Fatal(err)
	}
	pull := func() (out []string) {
		t.Helper()
		var kept misp.Position
		if err := json.Unmarshal(text, &kept); err != nil {
			t.Fatal(err)
		}
		position, err := client.PullFeed(t.Context(), kept, b.intake())
		if err != nil || len(b.failed) != 0 {
			t.Fatal(b.failed, err)
		}
		if text, err = json.Marshal(position); err != nil {
			t.Fatal(err)
		}
		return asked.take()
	}
	if got := pull(); !slices.Equal(got, []string{"GET /manifest.json 304"}) || len(b.found) != 0 {
		t.Errorf("no news: %q", got)
	}
	s.add(at.pass(time.Minute), said(9, notice.KindSighting, "new.example", noon.Add(-time.Hour)))
	at.pass(time.Minute)
	if got := pull(); len(got) != 2 || !slices.Equal(b.told(), []string{"indicator new.example", "sighting new.example"}) {
		t.Errorf("a sighting: %q, %q", got, b.told())
	}
	s.retract(at.pass(time.Minute), 0)
	at.pass(time.Minute)
	if got := pull(); len(got) != 2 || !slices.Equal(b.told(), []string{"withdrawn indicator old.example"}) {
		t.Errorf("taken back: %q, %q", got, b.told())
	}
	if f := b.found[0]; f.Notice.Origin.Source != "watchward:Hospital 1" || f.Item == nil || f.Item[0] != 1 || f.TLP != notice.TLPGreen {
		t.Errorf("%+v", f)
	}
	if got := pull(); len(got) != 1 {
		t.Errorf("no news: %q", got)
	}
}

// What a node holds comes out of the feed as it is, whatever it is.
func TestFeedRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		stated := inteltest.Stated(rt, 20)
		ids := map[string]bool{}
		for _, s := range stated {
			if ids[s.ID.String()] {
				rt.Skip("two of one id")
			}
			ids[s.ID.String()] = true
		}
		s := &shelf{}
		s.add(noon, stated...)
		at := clock{at: noon.Add(time.Hour)}
		handler := feed(s, at.now)
		client, err := misp.New(misp.Config{URL: "http://feed.example", Transport: through{handler}, Now: at.now})
		if err != nil {
			rt.Fatal(err)
		}
		var b basket
		if _, err := client.PullFeed(context.Background(), misp.Position{}, b.intake()); err != nil || len(b.failed) != 0 {
			rt.Fatalf("%v, %v", b.failed, err)
		}
		got := map[string]notice.Notice{}
		for _, f := range b.found {
			if f.Notice == nil || f.TLP != f.Notice.Origin.TLP {
				rt.Fatalf("%+v", f)
			}
			got[f.Item.String()] = *f.Notice
		}
		if len(got) != len(stated) {
			rt.Fatalf("%d of %d", len(got), len(stated))
		}
		for i, w := range inteltest.Expect(stated) {
			g := got[stated[i].ID.String()]
			if w.Kind != notice.KindIndicator && len(w.Origin.ID) > 36 && g.Origin.ID == "" { // no room for it
				w.Origin.ID = ""
			}
			if w.Kind == notice.KindDispute && w.Reason == "" {
				w.Reason = "marked as a false positive in MISP"
			}
			if !reflect.DeepEqual(g, w) {
				rt.Fatalf("\n got %s\nwant %s", inteltest.Show(g), inteltest.Show(w))
			}
		}
		sums := map[string]bool{}
		if err := client.Hashes(context.Background(), func(sum [md5.Size]byte, event string) error {
			sums[hex.EncodeToString(sum[:])] = true
			return nil
		}); err != nil {
			rt.Fatal(err)
		}
		for _, n := range stated {
			sum := md5.Sum([]byte(n.Notice.Indicator.Value))
			if !sums[hex.EncodeToString(sum[:])] {
				rt.Fatalf("hashes.csv has no %q", n.Notice.Indicator.Value)
			}
		}
	})
}

// through calls a handler without a network.
type through struct{ http.Handler }

func (h through) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// However changes and pulls fall into seconds, who pulls as MISP does, by the times of
// the manifest, ends with what the feed holds.
func TestFeedLosesNoChange(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		at, s := &clock{at: noon}, &shelf{}
		handler := feed(s, at.now)
		times, held := map[string]int64{}, map[string]string{}
		get := func(name string, into any) string {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+name, nil))
			if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
				rt.Fatal(err)
			}
			return w.Body.String()
		}
		pull := func(between func()) {
			var manifest map[string]struct{ Timestamp string }
			get("manifest.json", &manifest)
			between()
			for uuid, m := range manifest {
				listed, _ := strconv.ParseInt(m.Timestamp, 10, 64)
				if have, ok := times[uuid]; ok && listed <= have {
					continue
				}
				var event struct{ Event struct{ Timestamp string } }
				held[uuid] = get(uuid+".json", &event)
				times[uuid], _ = strconv.ParseInt(event.Event.Timestamp, 10, 64)
			}
		}
		count := byte(0)
		change := func() {
			now := at.pass(time.Duration(rapid.IntRange(0, 700).Draw(rt, "ms")) * time.Millisecond)
			if count > 0 && rapid.IntRange(0, 3).Draw(rt, "what") == 0 {
				s.retract(now, rapid.IntRange(0, int(count)-1).Draw(rt, "which"))
				return
			}
			count++
			s.add(now, said(count, notice.KindIndicator, fmt.Sprintf("v%d.example", count), noon))
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "pull") {
				pull(func() {
					if rapid.Bool().Draw(rt, "in between") {
						change()
					}
				})
			} else {
				change()
			}
		}
		at.pass(3 * time.Second)
		pull(func() {})
		for uuid, text := range held {
			var now any
			if get(uuid+".json", &now) != text {
				rt.Fatalf("MISP holds an old state of %s: %s", uuid, text)
			}
		}
	})
}

func TestFeedFiles(t *testing.T) {
	at, s := &clock{at: noon}, &shelf{}
	n := said(1, notice.KindIndicator, "evil.example", noon)
	s.add(noon, n)
	at.pass(time.Minute)
	e := eventOf(&n)
	e.Name = "Hospital 1"
	handler := feed(s, at.now)
	ask := func(method, path string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	for _, path := range []string{"/manifest.json", "//manifest.json", "/hashes.csv", "/" + e.UUID() + ".json"} {
		w := ask(http.MethodGet, path)
		tag, modified := w.Header().Get("ETag"), w.Header().Get("Last-Modified")
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), e.UUID()) || modified != "Sun, 01 Mar 2026 12:00:01 GMT" {
			t.Errorf("%s: %d %s %v", path, w.Code, w.Body, w.Header())
		}
		if got := ask(http.MethodHead, path); got.Code != http.StatusOK || got.Body.Len() != 0 || got.Header().Get("ETag") != tag {
			t.Errorf("HEAD %s: %d %s", path, got.Code, got.Body)
		}
		if again := ask(http.MethodGet, path); !bytes.Equal(again.Body.Bytes(), w.Body.Bytes()) {
			t.Errorf("%s is not the same twice", path)
		}
		for name, header := range map[string][2]string{
			"a tag": {"If-None-Match", tag}, "a weak one among others": {"If-None-Match", `"x", W/` + tag}, "any": {"If-None-Match", "*"}, "a time": {"If-Modified-Since", modified},
		} {
			if got := ask(http.MethodGet, path, header[0], header[1]); got.Code != http.StatusNotModified || got.Body.Len() != 0 {
				t.Errorf("%s, %s: %d %s", path, name, got.Code, got.Body)
			}
		}
		if got := ask(http.MethodGet, path, "If-None-Match", `"other"`, "If-Modified-Since", modified); got.Code != http.StatusOK {
			t.Errorf("%s: another tag: %d", path, got.Code)
		}
	}
	for path, want := range map[string]int{"/": 404, "/x": 404, "/../manifest.json": 404, "/5be1e65d-8198-497b-bdf5-5ec20a016219.json": 404, "/" + strings.ToUpper(e.UUID()) + ".json": 404} {
		if got := ask(http.MethodGet, path); got.Code != want || !strings.Contains(got.Body.String(), "manifest.json") {
			t.Errorf("%s: %d %s", path, got.Code, got.Body)
		}
	}
	if got := ask(http.MethodPost, "/manifest.json"); got.Code != http.StatusMethodNotAllowed || got.Header().Get("Allow") == "" {
		t.Errorf("POST: %d", got.Code)
	}
	s.broken = errors.New("the store is closed")
	for _, path := range []string{"/manifest.json", "/hashes.csv", "/5be1e65d-8198-497b-bdf5-5ec20a016219.json"} {
		if got := ask(http.MethodGet, path); got.Code != http.StatusInternalServerError || got.Header().Get("ETag") != "" || strings.Contains(got.Body.String(), "store") {
			t.Errorf("broken, %s: %d %s", path, got.Code, got.Body)
		}
	}
}

// A file that breaks off does not look whole, and what is stricter than its event is
// never sent.
func TestFeedBreaksOff(t *testing.T) {
	at := &clock{at: noon.Add(time.Hour)}
	n := said(1, notice.KindIndicator, "evil.example", noon)
	loose := &loose{}
	loose.add(noon, n)
	client, _ := served(t, feed(loose, at.now), misp.Config{Now: at.now})
	var b basket
	_, err := client.PullFeed(t.Context(), misp.Position{}, b.intake())
	if refused := (*misp.Error)(nil); !errors.As(err, &refused) || refused.Status != http.StatusInternalServerError || !refused.Temporary() || len(b.found) != 0 {
		t.Errorf("%v, %v", err, b.found)
	}
	err = client.Hashes(t.Context(), func([md5.Size]byte, string) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("hashes.csv breaks off: %v", err)
	}
}

// loose gives the first notice, and then a stricter one or an error.
type loose struct{ shelf }

func (l *loose) Notices(ctx context.Context, e misp.Event) iter.Seq2[intel.Stated, error] {
	return func(yield func(intel.Stated, error) bool) {
		for n := range l.shelf.Notices(ctx, e) {
			strict := n
			strict.TLP = notice.TLPAmber
			_ = yield(n, nil) && yield(strict, nil) && yield(n, io.ErrUnexpectedEOF)
		}
	}
}

func TestFeedIsBounded(t *testing.T) {
	many := &crowd{count: misp.EventsMax + 1}
	w := httptest.NewRecorder()
	feed(many, func() time.Time { return noon }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/manifest.json", nil))
	m, err := events.ReadManifest(w.Body)
	if err != nil || len(m) != misp.EventsMax || !strings.Contains(w.Header().Get(misp.HeaderTruncated), "left out") {
		t.Errorf("%d, %v, %q", len(m), err, w.Header().Get(misp.HeaderTruncated))
	}
}

// A crowd of events.
type crowd struct {
	shelf
	count int
}

func (c *crowd) Events(context.Context) iter.Seq2[misp.Event, error] {
	return func(yield func(misp.Event, error) bool) {
		for i := range c.count {
			if !yield(misp.Event{Day: int64(20_000 - i), Changed: int64(i), Notices: 1}, nil) {
				return
			}
		}
	}
}
