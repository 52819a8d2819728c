package misp_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/misp"
	"github.com/watchward/watchward/node/notice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A shelf holds notices, as a node would.
type shelf struct {
	mu     sync.Mutex
	said   []intel.Stated
	stamps []int64 // µs, of the last change of each
	broken error
}

func (s *shelf) add(at time.Time, n ...intel.Stated) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range n {
		s.said, s.stamps = append(s.said, n), append(s.stamps, at.UnixMicro()+int64(len(s.said)%1000))
	}
}

func (s *shelf) retract(at time.Time, i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said[i].Retracted, s.stamps[i] = true, at.UnixMicro()
}

func eventOf(n *intel.Stated) misp.Event {
	tlp := n.TLP
	if n.Notice.Origin != nil {
		tlp = notice.Stricter(tlp, n.Notice.Origin.TLP)
	}
	return misp.Event{Author: n.Author, Day: n.Notice.Created / 86_400_000, TLP: tlp}
}

func (s *shelf) Events(context.Context) iter.Seq2[misp.Event, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	by := map[misp.Event]*misp.Event{}
	for i := range s.said {
		key := eventOf(&s.said[i])
		e := by[key]
		if e == nil {
			copied := key
			e = &copied
			by[key] = e
		}
		e.Name = s.said[i].AuthorName
		e.Changed = max(e.Changed, s.stamps[i])
		e.Notices++
	}
	var all []misp.Event
	for _, e := range by {
		all = append(all, *e)
	}
	slices.SortFunc(all, func(a, b misp.Event) int {
		return cmp.Or(cmp.Compare(b.Day, a.Day), bytes.Compare(a.Author[:], b.Author[:]), cmp.Compare(a.TLP, b.TLP))
	})
	return func(yield func(misp.Event, error) bool) {
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
		if s.broken != nil {
			yield(misp.Event{}, s.broken)
		}
	}
}

func (s *shelf) Event(ctx context.Context, uuid string) (misp.Event, bool, error) {
	for e, err := range s.Events(ctx) {
		if err != nil || e.UUID() == uuid {
			return e, err == nil, err
		}
	}
	return misp.Event{}, false, nil
}

func (s *shelf) Notices(_ context.Context, e misp.Event) iter.Seq2[intel.Stated, error] {
	return func(yield func(intel.Stated, error) bool) {
		s.mu.Lock()
		said := slices.Clone(s.said)
		s.mu.Unlock()
		slices.SortStableFunc(said, func(a, b intel.Stated) int { return cmp.Compare(a.Notice.Kind, b.Notice.Kind) })
		for _, n := range said {
			if of := eventOf(&n); of.Author == e.Author && of.Day == e.Day && of.TLP == e.TLP && !yield(n, nil) {
				return
			}
		}
	}
}

// A clock is set by hand.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	return c.at
}

// boundSmall is the bound of answers that tests exceed, in bytes.
const boundSmall = 1 << 20

// noon is when tests begin.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A recorder notes what is asked of a handler.
type recorder struct {
	http.Handler
	mu    sync.Mutex
	asked []string // "GET /manifest.json 304"
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	r.Handler.ServeHTTP(seen, request)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, fmt.Sprintf("%s %s %d", request.Method, request.URL.Path, seen.status))
}

// take returns what was asked since the last time.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// served starts a server of a handler, and a client of it.
func served(t testing.TB, h http.Handler, c misp.Config) (*misp.Client, *recorder) {
	t.Helper()
	r := &recorder{Handler: h}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c.URL, c.Transport, c.Plain = server.URL+c.URL, transport, true
	client, err := misp.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return client, r
}

func feed(s misp.Shelf, now func() time.Time) http.Handler {
	return misp.NewHandler(misp.HandlerConfig{
		Shelf: func(*http.Request) misp.Shelf { return s }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: now,
	})
}

// A basket is an Intake that keeps what it gets.
type basket struct {
	found  []intel.Found
	failed map[string]string
	at     []misp.Position
}

func (b *basket) intake() misp.Intake {
	b.found, b.failed, b.at = nil, map[string]string{}, nil
	return misp.Intake{
		Indicator: notice.Options{AllowSpecial: true},
		Found:     func(f intel.Found) error { b.found = append(b.found, f); return nil },
		Failed:    func(uuid string, err error) { b.failed[uuid] = err.Error() },
		Reached:   func(p misp.Position) error { b.at = append(b.at, p); return nil },
	}
}

// told is what was found, in short, sorted.
func (b *basket) told() []string {
	var out []string
	for _, f := range b.found {
		text := f.Reason
		if f.Notice != nil {
			text = f.Notice.Kind.String() + " " + f.Notice.Indicator.Value
		}
		if f.Withdrawn {
			text = "withdrawn " + text
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

func said(id byte, kind notice.Kind, value string, at time.Time) intel.Stated {
	s := intel.Stated{TLP: notice.TLPGreen, AuthorName: fmt.Sprintf("Hospital %d", id%4), Notice: &notice.Notice{
		Kind: kind, Created: at.UnixMilli(), Indicator: &notice.Indicator{Type: notice.TypeDomain, Value: value}}}
	s.ID[0], s.Author[0] = id, id%4
	if kind == notice.KindSighting {
		s.Notice.FirstSeen, s.Notice.LastSeen, s.Notice.Count = at.UnixMilli()-1000, at.UnixMilli(), 2
	}
	return s
}
