package taxii_test

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/watchward/watchward/node/taxii"
)

// A wall is a Shelf of very many objects, each in one version, that costs next to nothing.
type wall struct {
	taxii.Shelf
	objects []taxii.Object
}

func (w *wall) Collections(context.Context, taxii.Caller) ([]taxii.Collection, error) {
	return []taxii.Collection{{ID: feedID, Title: "Feed", CanRead: true}}, nil
}

func (w *wall) Objects(_ context.Context, _ taxii.Caller, _ string, q *taxii.Query) iter.Seq2[taxii.Object, error] {
	return func(yield func(taxii.Object, error) bool) {
		from, _ := slices.BinarySearchFunc(w.objects, q.After+1, func(o taxii.Object, after int64) int { return int(o.Added - after) })
		for i := from; i < len(w.objects); i++ {
			if q.Match(&w.objects[i]) && !yield(w.objects[i], nil) {
				return
			}
		}
	}
}

// million has 1,000,000 objects; their texts are a few, for memory's sake.
var million = sync.OnceValue(func() *wall {
	w := &wall{}
	for i := range 1_000_000 {
		w.objects = append(w.objects, taxii.Object{ID: fmt.Sprintf("indicator--%08x-1111-4111-8111-111111111111", i), Version: "2025-12-01T00:00:00.000Z",
			Added: began.UnixMicro() + int64(i), First: true, Last: true, JSON: []byte(object(i%1000, "2025-12-01T00:00:00.000Z", "GREEN"))})
		if i >= 1000 {
			w.objects[i].JSON = w.objects[i%1000].JSON
		}
	}
	return w
})

// A sink is a response that nobody reads.
type sink struct {
	header http.Header
	bytes  int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { s.bytes += len(b); return len(b), nil }
func (s *sink) WriteHeader(int)             {}

// BenchmarkPage is what the server itself costs: a page of 1,000 out of 1,000,000.
func BenchmarkPage(b *testing.B) {
	for _, c := range []struct{ name, path string }{
		{"objects", "objects/?match[type]=indicator&added_after=2026-01-02T03:04:05.5Z"},
		{"manifest", "manifest/?added_after=2026-01-02T03:04:05.5Z"},
		{"nothing new", "objects/?added_after=2026-01-02T03:04:06Z"},
	} {
		b.Run(c.name, func(b *testing.B) {
			server := newServer(b, million(), nil)
			r := httptest.NewRequest("GET", feedPath+c.path, nil)
			r.Header.Set("Accept", taxii.MediaType)
			r.SetBasicAuth("amber", "secret")
			b.ReportAllocs()
			var bytes int
			for b.Loop() {
				w := &sink{header: http.Header{}}
				server.ServeHTTP(w, r)
				bytes = w.bytes
			}
			b.SetBytes(int64(bytes))
		})
	}
}

// BenchmarkPost is what an envelope of 1,000 costs before a Shelf sees it.
func BenchmarkPost(b *testing.B) {
	body := `{"objects":[` + object(0, "2025-12-01T00:00:00.000Z", "GREEN")
	for i := range 999 {
		body += "," + object(i+1, "2025-12-01T00:00:00.000Z", "GREEN")
	}
	body += "]}"
	server := newServer(b, taker{}, nil)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if w := ask(server, "POST", inboxPath, body, "As", "reporter"); w.Code != http.StatusAccepted {
			b.Fatal(w.Code, w.Body)
		}
	}
}

// A taker takes everything and keeps nothing.
type taker struct{ taxii.Shelf }

func (taker) Collections(context.Context, taxii.Caller) ([]taxii.Collection, error) {
	return []taxii.Collection{{ID: inboxID, Title: "Inbox", CanWrite: true}}, nil
}

func (taker) Add(_ context.Context, _ taxii.Caller, _ string, offers []taxii.Offer) ([]taxii.Outcome, error) {
	return slices.Repeat([]taxii.Outcome{{Taken: true}}, len(offers)), nil
}
