package bench_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

const (
	exchangeObjects  = 1_000_000
	exchangePosts    = 30    // of 1,000 indicators each
	medallionObjects = 2_000 // what it is given: a page of 20,000 takes it minutes
	taxiiMedia       = "application/taxii+json;version=2.1"
)

// BenchmarkExchange starts a node whose collection has a million STIX objects, which are
// half as many sightings with the indicator of each, and pulls all of it over HTTP in
// pages of 1,000, beside OASIS's own server (medallion, of WATCHWARD_PYTHON) with as many
// of the same objects as it is given. Then indicators are added to the inbox, 1,000 at
// once, until a lookup knows all of them. It measures once the picture has read
// all.
func BenchmarkExchange(b *testing.B) {
	objects := scale(b, exchangeObjects)
	r := testkit.NewRegion(b, append(authorNames(), "here")...)
	h := enlist(b, r, r.Members[fillAuthors], r.Records...)
	fillWith(b, h.dir, batchesOf(b, r.Members[:fillAuthors], objects/2, func(k int) notice.Indicator {
		return notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("cdn%d.evil-%d.com", k%97, k)}
	}))
	path := filepath.Join(h.dir, node.ConfigFile)
	config, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(config, []byte("#taxii = false"), []byte("taxii = true"), 1), 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	h.open(b)
	h.start(b)
	defer h.stop(b)
	t := &taxiiReader{url: h.APIURL() + "/taxii2/watchward/collections/amber/objects/", user: "any"}
	secret, err := os.ReadFile(filepath.Join(h.dir, "token"))
	if err != nil {
		b.Fatal(err)
	}
	t.password = strings.TrimSpace(string(secret))
	began := time.Now()
	awaitServed(b, t, objects)
	b.ReportMetric(float64(objects)/time.Since(began).Seconds(), "filled-objects/s")
	settled(b, h)
	for b.Loop() {
		pages, n, took, sample := t.pull(b, 0)
		if n < objects {
			b.Fatalf("%d objects were pulled, of %d", n, objects)
		}
		b.ReportMetric(milliseconds(quantile(pages, 0.5)), "page-p50-ms")
		b.ReportMetric(milliseconds(quantile(pages, 0.99)), "page-p99-ms")
		b.ReportMetric(float64(n)/took.Seconds(), "objects/s")
		b.ReportMetric(milliseconds(quantile(t.idle(b, 500), 0.99)), "no-news-p99-ms")
		besideMedallion(b, sample)
		b.ReportMetric(milliseconds(quantile(inboxed(b, h, t.password), 0.99)), "posted-p99-ms")
	}
	b.ReportMetric(0, "ns/op")
}

// A taxiiReader reads a collection page by page.
type taxiiReader struct {
	http                http.Client
	url, user, password string
	last                string // stamp of the last object of the last page
}

// A taxiiPage is an envelope of objects.
type taxiiPage struct {
	More    bool
	Next    string
	Objects []json.RawMessage
}

func readPage(b *testing.B, body []byte) (p taxiiPage) {
	b.Helper()
	if err := json.Unmarshal(body, &p); err != nil {
		b.Fatal(err)
	}
	return p
}

func (t *taxiiReader) raw(b *testing.B, query url.Values) []byte {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, t.url+"?"+query.Encode(), nil)
	if err != nil {
		b.Fatal(err)
	}
	r.SetBasicAuth(t.user, t.password)
	r.Header.Set("Accept", taxiiMedia)
	a, err := t.http.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		b.Fatal(a.Status, err)
	}
	if last := a.Header.Get("X-TAXII-Date-Added-Last"); last != "" {
		t.last = last
	}
	return body
}

// pull reads everything, and returns what each page took to be read whole, without
// taking it apart, and the first objects.
func (t *taxiiReader) pull(b *testing.B, most int) (pages []time.Duration, n int, took time.Duration, sample []json.RawMessage) {
	b.Helper()
	query := url.Values{"limit": {"1000"}}
	for {
		start := time.Now()
		body := t.raw(b, query)
		pages = append(pages, time.Since(start))
		took += pages[len(pages)-1]
		page := readPage(b, body)
		n += len(page.Objects)
		if len(sample) < medallionObjects {
			sample = append(sample, page.Objects...)
		}
		if !page.More || most > 0 && n >= most {
			return pages, n, took, sample
		}
		query.Set("next", page.Next)
	}
}

// idle asks again and again for what is newer than the last object.
func (t *taxiiReader) idle(b *testing.B, times int) (took []time.Duration) {
	b.Helper()
	query := url.Values{"limit": {"1000"}, "added_after": {t.last}}
	for range times {
		start := time.Now()
		if body := t.raw(b, query); len(body) > 4 {
			b.Fatalf("there is news: %.200s", body)
		}
		took = append(took, time.Since(start))
	}
	return took
}

// awaitServed returns when as many objects are on the shelf.
func awaitServed(b *testing.B, t *taxiiReader, objects int) {
	b.Helper()
	query := url.Values{"limit": {"1000"}}
	for n, end := 0, time.Now().Add(10*time.Minute); n < objects; {
		page := readPage(b, t.raw(b, query))
		if n += len(page.Objects); len(page.Objects) > 0 {
			query.Set("added_after", t.last)
		}
		if !page.More {
			time.Sleep(50 * time.Millisecond)
		}
		if time.Now().After(end) {
			b.Fatalf("%d objects are on the shelf, of %d", n, objects)
		}
	}
}

// besideMedallion pulls the same objects from medallion.
func besideMedallion(b *testing.B, objects []json.RawMessage) {
	b.Helper()
	python := os.Getenv("WATCHWARD_PYTHON")
	if python == "" {
		b.Log("NOT MEASURED beside medallion: WATCHWARD_PYTHON is not set to a Python that has it")
		return
	}
	objects = slices.DeleteFunc(objects[:min(len(objects), medallionObjects)], func(o json.RawMessage) bool {
		return bytes.Contains(o, []byte(`"type":"extension-definition"`)) // whose property version it takes for the object's
	})
	manifest := make([]map[string]string, len(objects))
	for i, o := range objects {
		var common struct{ ID, Modified, Created string }
		if err := json.Unmarshal(o, &common); err != nil {
			b.Fatal(err)
		}
		if common.Modified == "" {
			common.Modified = common.Created
		}
		manifest[i] = map[string]string{
			"id": common.ID, "version": common.Modified, "media_type": "application/stix+json;version=2.1",
			"date_added": time.Unix(1_700_000_000, int64(i)*1000).UTC().Format("2006-01-02T15:04:05.000000Z"),
		}
	}
	config, err := json.Marshal(map[string]any{
		"users": map[string]string{"analyst": "secret"}, "taxii": map[string]int{"max_page_size": 1000},
		"data": map[string]any{
			"/discovery": map[string]any{"title": "medallion", "default": "/api/", "api_roots": []string{"http://127.0.0.1:PORT/api/"}},
			"api": map[string]any{
				"information": map[string]any{"title": "One", "versions": []string{taxiiMedia}, "max_content_length": 1 << 20}, "status": []any{},
				"collections": []any{map[string]any{
					"id": "91a7b528-80eb-42ed-a74d-c6fbd5a26116", "title": "All", "can_read": true, "can_write": false,
					"media_types": []any{}, "manifest": manifest, "objects": objects,
				}},
			},
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	c := exec.CommandContext(b.Context(), python, "../../node/taxii/client/testdata/foreign.py")
	c.Stdin, c.Stderr = bytes.NewReader(config), b.Output()
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal("medallion does not start", err)
	}
	m := &taxiiReader{url: "http://127.0.0.1:" + strings.TrimSpace(port) + "/api/collections/91a7b528-80eb-42ed-a74d-c6fbd5a26116/objects/", user: "analyst", password: "secret"}
	defer m.http.CloseIdleConnections()
	pages, n, took, _ := m.pull(b, 5_000)
	b.ReportMetric(milliseconds(quantile(pages, 0.99)), "medallion-page-p99-ms")
	b.ReportMetric(float64(n)/took.Seconds(), "medallion-objects/s")
}

// inboxed is what it takes from the start of a POST of 1,000 indicators until a lookup
// knows all of them.
func inboxed(b *testing.B, h *hospital, secret string) (took []time.Duration) {
	b.Helper()
	runtime.GC()
	for round := range exchangePosts {
		var objects, values []string
		for i := range 1_000 {
			value := fmt.Sprintf("posted-%d-%d.example.net", round, i)
			values = append(values, value)
			objects = append(objects, fmt.Sprintf(`{"type":"indicator","spec_version":"2.1","id":"indicator--%08x-%04x-4222-8222-%012x",`+
				`"created":"2026-01-01T00:00:00Z","modified":"2026-01-01T00:00:00Z","object_marking_refs":["marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"],`+
				`"pattern":"[domain-name:value = '%s']","pattern_type":"stix","valid_from":"2026-01-01T00:00:00Z"}`, i, round, time.Now().UnixNano()&0xffffffffffff, value))
		}
		body := `{"objects":[` + strings.Join(objects, ",") + `]}`
		start := time.Now()
		r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, h.APIURL()+"/taxii2/watchward/collections/inbox/objects/", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		r.SetBasicAuth("any", secret)
		r.Header.Set("Content-Type", taxiiMedia)
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		answer, err := io.ReadAll(a.Body)
		_ = a.Body.Close()
		if err != nil || a.StatusCode != http.StatusAccepted || !bytes.Contains(answer, []byte(`"success_count":1000`)) {
			b.Fatalf("%s %v %.300s", a.Status, err, answer)
		}
		known, err := h.Lookup(b.Context(), values, api.LookupOptions{Ceiling: notice.TLPRed})
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		for _, k := range known {
			if !k.Known {
				b.Fatal(k.Value, "was taken, and is not known")
			}
		}
	}
	return took
}
