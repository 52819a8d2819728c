package bench_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

const (
	feedFetches = 2_000 // of a feed that has not changed
	feedChanges = 50    // values that are reported, one after the other
	feedPoll    = 5 * time.Millisecond
)

// BenchmarkFeeds starts a node whose feed has a million names, as one that stopped
// leaves it, and takes the time over HTTP of a fetch when nothing has changed, beside
// that of a /healthz of the same listener; the time from a report over the API
// until the feed's answer with it is read whole, beside that of reading the whole feed;
// and the start. It measures once the picture has read all, which goes on after a start.
func BenchmarkFeeds(b *testing.B) {
	indicators := scale(b, lookupIndicators)
	r := testkit.NewRegion(b, append(authorNames(), "here")...)
	h := enlist(b, r, r.Members[fillAuthors], r.Records...)
	fillWith(b, h.dir, batchesOf(b, r.Members[:fillAuthors], indicators, func(k int) notice.Indicator {
		return notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("cdn%d.evil-%d.com", k%97, k)}
	}))
	path := filepath.Join(h.dir, node.ConfigFile)
	config, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(config, []byte("#min_members = 0"), []byte("min_members = 1"), 1), 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	extend(b, path, "\n[[feeds.list]]\nname = \"names\"\nformat = \"plain\"\ntypes = [\"domain\"]\nmax_entries = 2000000\n")
	h.open(b)
	h.start(b)
	defer h.stop(b)
	f := &fetcher{url: h.APIURL() + "/feeds/names"}
	defer f.http.CloseIdleConnections()
	f.await(b, h, indicators)
	h.stop(b)
	runtime.GC()
	for round := 0; b.Loop(); round++ {
		start := time.Now()
		h.open(b)
		h.start(b)
		f.url = h.APIURL() + "/feeds/names"
		f.await(b, h, indicators+round*feedChanges)
		b.ReportMetric(time.Since(start).Seconds(), "start-s")
		settled(b, h)
		var unchanged, small []time.Duration
		for range feedFetches {
			unchanged = append(unchanged, f.fetch(b, f.url, http.StatusNotModified))
			small = append(small, f.fetch(b, h.APIURL()+"/healthz", http.StatusOK))
		}
		b.ReportMetric(milliseconds(quantile(unchanged, 0.5)), "unchanged-p50-ms")
		b.ReportMetric(milliseconds(quantile(unchanged, 0.99)), "unchanged-p99-ms")
		b.ReportMetric(milliseconds(quantile(small, 0.99)), "small-p99-ms")
		var changed, whole []time.Duration
		for i := range feedChanges {
			value := fmt.Sprintf("change-%d-%d.example.net", round, i)
			began := time.Now()
			if _, err := h.Submit(b.Context(), []api.Submission{{Kind: "sighting", Value: value, TLP: "AMBER"}}, api.SubmitOptions{Local: true}); err != nil {
				b.Fatal(err)
			}
			eventually(b, value+" is in the feed", feedPoll, func() bool {
				return f.fetch(b, f.url, 0) > 0 && bytes.Contains(f.body.Bytes(), []byte(value))
			})
			changed = append(changed, time.Since(began))
			f.tag = ""
			whole = append(whole, f.fetch(b, f.url, http.StatusOK))
		}
		b.ReportMetric(milliseconds(quantile(changed, 0.5)), "changed-p50-ms")
		b.ReportMetric(milliseconds(quantile(changed, 0.99)), "changed-p99-ms")
		b.ReportMetric(milliseconds(quantile(whole, 0.5)), "whole-p50-ms")
		h.stop(b)
	}
	b.ReportMetric(0, "ns/op")
}

// settled returns when a node has read all that it goes through after a start, beside its
// other work.
func settled(b *testing.B, h *hospital) {
	b.Helper()
	eventually(b, "all is in the picture", 100*time.Millisecond, func() bool {
		v, err := h.Situation(b.Context(), 0, 0)
		return err == nil && !v.Reading
	})
	runtime.GC()
}

// A fetcher asks as a firewall does: with the tag of what it has.
type fetcher struct {
	http  http.Client
	url   string
	token string
	tag   string
	body  bytes.Buffer // of the last answer
}

// fetch returns what a fetch took; a status other than 0 must be the answer's.
func (f *fetcher) fetch(t testing.TB, url string, status int) time.Duration {
	t.Helper()
	start := time.Now()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+f.token)
	if f.tag != "" {
		r.Header.Set("If-None-Match", f.tag)
	}
	a, err := f.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	f.body.Reset()
	if _, err := io.Copy(&f.body, a.Body); err != nil {
		t.Fatal(err)
	}
	if status != 0 && a.StatusCode != status {
		t.Fatalf("%s: status %d, want %d: %.200s", url, a.StatusCode, status, f.body.Bytes())
	}
	if url == f.url && a.StatusCode == http.StatusOK {
		f.tag = a.Header.Get("Etag")
	}
	return time.Since(start)
}

// await returns when the feed has so many entries.
func (f *fetcher) await(t testing.TB, h *hospital, entries int) {
	t.Helper()
	secret, err := os.ReadFile(filepath.Join(h.dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	f.token, f.tag = strings.TrimSpace(string(secret)), ""
	eventually(t, "the feed is there", 20*time.Millisecond, func() bool {
		f.fetch(t, f.url, 0)
		return bytes.Count(f.body.Bytes(), []byte(".com\n"))+bytes.Count(f.body.Bytes(), []byte(".net\n")) == entries
	})
}
