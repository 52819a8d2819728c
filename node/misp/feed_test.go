package misp_test

import (
	"compress/gzip"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/inteltest"
	"github.com/watchward/watchward/node/misp"
)

// files serves a directory, as most feeds are.
type files map[string]string

func (f files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, ok := f[strings.TrimPrefix(r.URL.Path, "/feed/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = io.WriteString(w, text)
}

func file(name, value string, timestamp int64) string {
	return fmt.Sprintf(`{"Event":{"uuid":%q,"timestamp":"%d","Orgc":{"name":"CERT"},"Attribute":[{"type":"domain","value":%q,"to_ids":true}]}}`, uuidOf(name), timestamp, value)
}

func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Each bad file of a feed fails alone, and is asked for again only where that may help.
func TestBadFilesOfAFeed(t *testing.T) {
	good := file("good", "good.example", 100)
	f := files{
		uuidOf("good") + ".json": good, uuidOf("newer") + ".json": file("newer", "newer.example", 101), uuidOf("stale") + ".json": file("stale", "stale.example", 99),
		uuidOf("forged") + ".json": good, uuidOf("alter") + ".json": file("alter", "altered.example", 100), uuidOf("twice") + ".json": file("twice", "twice.example", 100) + file("twice", "again.example", 100),
		uuidOf("half") + ".json": good[:len(good)-3], uuidOf("none") + ".json": `{"response": []}`, uuidOf("same") + ".json": file("same", "same.example", 100),
	}
	var listed []string
	for _, name := range []string{"good", "newer", "stale", "forged", "twice", "half", "none", "gone"} {
		listed = append(listed, fmt.Sprintf(`%q:{"timestamp":"100"}`, uuidOf(name)))
	}
	listed = append(listed, fmt.Sprintf(`%q:{"timestamp":"100","integrity:sha256":%q}`, uuidOf("alter"), hashed("what it was")))
	listed = append(listed, fmt.Sprintf(`%q:{"timestamp":"100","integrity:sha256":%q}`, uuidOf("same"), hashed(f[uuidOf("same")+".json"])))
	f["manifest.json"] = "{" + strings.Join(listed, ",") + "}"
	client, asked := served(t, f, misp.Config{URL: "/feed/"})
	var b basket
	position, err := client.PullFeed(t.Context(), misp.Position{}, b.intake())
	if err != nil || !slices.Equal(b.told(), []string{"indicator good.example", "indicator newer.example", "indicator same.example", "indicator twice.example"}) {
		t.Errorf("%q, %v", b.told(), err)
	}
	for name, want := range map[string]string{"stale": "timestamp is 99", "forged": "another than its name", "alter": "SHA-256 is not", "twice": "twice", "half": "the file ends", "none": "no event", "gone": "404"} {
		if got := b.failed[uuidOf(name)]; !strings.Contains(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if len(b.failed) != 7 {
		t.Errorf("%q", slices.Collect(maps.Keys(b.failed)))
	}
	asked.take()
	f[uuidOf("stale")+".json"] = file("stale", "stale.example", 100)
	if _, err = client.PullFeed(t.Context(), position, b.intake()); err != nil || !slices.Equal(b.told(), []string{"indicator stale.example"}) || len(b.failed) != 1 || len(asked.take()) != 3 {
		t.Errorf("%q, %q, %v", b.told(), b.failed, err)
	}
}

// What a feed no longer lists is forgotten, and no news has no body, by a date too.
func TestFeedByDate(t *testing.T) {
	f := files{"manifest.json": fmt.Sprintf(`{%q:{"timestamp":"100"}}`, uuidOf("a")), uuidOf("a") + ".json": file("a", "a.example", 100)}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const modified = "Sun, 01 Mar 2026 12:00:00 GMT"
		if r.Header.Get("If-Modified-Since") == modified {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Last-Modified", modified)
		f.ServeHTTP(w, r)
	})
	client, asked := served(t, h, misp.Config{URL: "/feed"})
	var b basket
	position, err := client.PullFeed(t.Context(), misp.Position{}, b.intake())
	if err != nil || len(b.found) != 1 || len(position.Files) != 1 {
		t.Fatalf("%+v, %v", position, err)
	}
	asked.take()
	if position, err = client.PullFeed(t.Context(), position, b.intake()); err != nil || len(b.found) != 0 || !slices.Equal(asked.take(), []string{"GET /feed/manifest.json 304"}) {
		t.Errorf("%v", err)
	}
	f["manifest.json"], position.Modified = `{}`, ""
	if position, err = client.PullFeed(t.Context(), position, b.intake()); err != nil || len(position.Files) != 0 || len(b.found) != 0 {
		t.Errorf("%+v, %v", position, err)
	}
	full := errors.New("the store is full")
	in := b.intake()
	in.Found = func(intel.Found) error { return full }
	f["manifest.json"] = fmt.Sprintf(`{%q:{"timestamp":"100"}}`, uuidOf("a"))
	position.Modified = ""
	if position, err = client.PullFeed(t.Context(), position, in); err != full || len(position.Files) != 0 || position.Modified != "" {
		t.Errorf("%+v, %v", position, err)
	}
	in.Skip = func(uuid string) bool { return uuid == uuidOf("a") }
	if _, err = client.PullFeed(t.Context(), position, in); err != nil {
		t.Errorf("what is not wanted is fetched: %v", err)
	}
}

func TestHostileFeeds(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"a path":          {func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, `{"../../etc/passwd":{}}`) }, "is not the uuid"},
		"a web page":      {func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "<!DOCTYPE html>") }, "web page"},
		"unasked for 304": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(304) }, "304"},
		"a part":          {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(206) }, "206"},
		"a manifest without end": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
			_, _ = io.Copy(z, inteltest.Endless(' ', boundSmall+1))
			_ = z.Close()
		}, "the answer is too long"},
		"an event without end": {func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "manifest.json") {
				_, _ = fmt.Fprintf(w, `{%q:{"timestamp":"1"}}`, uuidOf("a"))
				return
			}
			w.Header().Set("Content-Encoding", "gzip")
			z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
			_, _ = io.Copy(z, inteltest.Endless(' ', boundSmall+1))
			_ = z.Close()
		}, "the answer is too long"},
		"an event forbidden": {func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "manifest.json") {
				_, _ = fmt.Fprintf(w, `{%q:{"timestamp":"1"}}`, uuidOf("a"))
				return
			}
			w.WriteHeader(403)
		}, "403"},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := served(t, c.answer, misp.Config{})
			client.Bound(boundSmall)
			var b basket
			_, err := client.PullFeed(t.Context(), misp.Position{}, b.intake())
			if failed := b.failed[uuidOf("a")]; failed != "" && err == nil {
				err = errors.New(failed)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || len(b.found) != 0 {
				t.Errorf("%v, %v", err, b.found)
			}
		})
	}
}

func TestHashesOfAFeed(t *testing.T) {
	sum := md5.Sum([]byte("evil.example"))
	f := files{"hashes.csv": hex.EncodeToString(sum[:]) + "," + uuidOf("a") + "\nbroken\n"}
	client, _ := served(t, f, misp.Config{URL: "/feed"})
	got := ""
	err := client.Hashes(t.Context(), func(have [md5.Size]byte, event string) error {
		if have == sum {
			got = event
		}
		return nil
	})
	if got != uuidOf("a") || err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("%q, %v", got, err)
	}
	enough := errors.New("enough")
	if err := client.Hashes(t.Context(), func([md5.Size]byte, string) error { return enough }); err != enough {
		t.Error(err)
	}
}
