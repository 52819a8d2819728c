package misp

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	events "github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/notice"
)

// Limits of a Handler.
const (
	EventsMax = 50_000 // in a feed: the latest; the manifest's header says if there are more
	hashers   = 2      // readers of hashes.csv at once, which looks at all there is

	// HeaderTruncated says in the manifest's answer what was left out.
	HeaderTruncated = "Watchward-Truncated"
)

// An Event is what one author said on one day under one marking, as a Shelf has it.
// Its identity is all but Name, Changed and Notices: the same one is the same event
// of MISP, on every node.
type Event struct {
	Author crypto.MemberID
	Day    int64 // since 1970-01-01, UTC: of each notice always the same
	TLP    notice.TLP
	Part   int // of a day with more than events.EventNoticesMax notices, from 0

	Name    string // the author's
	Changed int64  // µs since 1970: later than before after each change of what the event holds, or of Name
	Notices int
}

func (e *Event) head() events.Head {
	day := time.Unix(e.Day*86400, 0).UTC()
	h := events.NewHead(e.Author.String(), e.Name, fmt.Sprintf("%s\x00%s\x00%d", day.Format(time.DateOnly), e.TLP, e.Part))
	h.Info, h.Date, h.TLP = e.Name+", "+day.Format(time.DateOnly), day.UnixMilli(), e.TLP
	if e.Part > 0 {
		h.Info += ", part " + strconv.Itoa(e.Part+1)
	}
	return h
}

// WriteEvent writes the event with notices of it, indicators first, for Client.PutEvent.
// A server takes it if what it has was changed in an earlier second than now.
func WriteEvent(w io.Writer, e Event, now time.Time, notices iter.Seq2[intel.Stated, error]) error {
	h := e.head()
	h.Changed = now.Unix()
	return events.WriteEvent(w, h, notices)
}

// UUID is the event's in MISP, and names its file.
func (e *Event) UUID() string {
	h := e.head()
	return h.UUID
}

// shown is the event's time of change (s) in the feed. MISP fetches an event again
// when this is later than what it has, so that no two contents may have the same: a
// change counts from the next second on, and what was fetched in the second of the
// change is fetched once more after it.
func (e *Event) shown(now time.Time) int64 { return min(e.Changed/1_000_000+1, now.Unix()) }

// A Shelf has what one reader of the feed may see. What it gives must be the same
// each time, in the same order, while nothing changes. It is asked concurrently.
type Shelf interface {
	// Events are all, the latest day first. Each holds a notice about a value.
	Events(ctx context.Context) iter.Seq2[Event, error]
	// Event is one of them.
	Event(ctx context.Context, uuid string) (e Event, ok bool, err error)
	// Notices are those of an event, at most events.EventNoticesMax, none with a
	// stricter marking than the event's; indicators before what is said of them. What
	// was taken back is Retracted, as long as a reader may have it. Sightings and
	// disputes may be in the event of the indicator they are of, or in their author's.
	Notices(ctx context.Context, e Event) iter.Seq2[intel.Stated, error]
}

// HandlerConfig says what a Handler serves.
type HandlerConfig struct {
	// Shelf returns what the one who asks may see. Who that is has been checked.
	Shelf func(*http.Request) Shelf
	Log   *slog.Logger
	Now   func() time.Time // nil = time.Now
}

// NewHandler returns the files of a feed that MISP pulls: manifest.json, an event each
// as UUID.json, and hashes.csv. Answers have an ETag and Last-Modified, so that a pull
// without news has no body; an event's file changes only if its notices do. It expects
// paths below the feed's directory. Files are made when asked for; what cannot be read
// to its end is an error, or a connection that breaks.
func NewHandler(c HandlerConfig) http.Handler {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &handler{c: c, hashers: make(chan struct{}, hashers)}
}

type handler struct {
	c       HandlerConfig
	hashers chan struct{}
}

// ServeHTTP implements http.Handler.
func (s *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-cache")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "a feed is only read: use GET", http.StatusMethodNotAllowed)
		return
	}
	// MISP joins the feed's URL and "/manifest.json" whether or not it ends in "/".
	name, shelf := strings.TrimLeft(r.URL.Path, "/"), s.c.Shelf(r)
	var err error
	switch uuid, isJSON := strings.CutSuffix(name, ".json"); {
	case name == events.ManifestName:
		err = s.manifest(w, r, shelf)
	case name == events.HashesName:
		err = s.hashes(w, r, shelf)
	case isJSON && events.EventFile(uuid) != "":
		err = s.event(w, r, shelf, uuid)
	default:
		notFound(w)
	}
	if err != nil && r.Context().Err() == nil {
		s.c.Log.Error("MISP feed failed", "file", intel.Show(name), "err", err)
		h.Del("ETag")
		h.Del("Last-Modified")
		http.Error(w, "the file cannot be made: the node's log says why", http.StatusInternalServerError)
	}
}

func notFound(w http.ResponseWriter) {
	http.Error(w, "no such file: this is a feed for MISP, which begins at "+events.ManifestName, http.StatusNotFound)
}

// contents lists the events, the tag of all of them, and the time of the latest.
func (s *handler) contents(r *http.Request, shelf Shelf, now time.Time) (all []Event, tag string, latest int64, err error) {
	sum := sha256.New()
	for e, err := range shelf.Events(r.Context()) {
		if err != nil {
			return nil, "", 0, err
		}
		if all = append(all, e); len(all) > EventsMax {
			return all, etag(sum.Sum(nil)), latest, nil
		}
		shown := e.shown(now)
		latest = max(latest, shown)
		fmt.Fprintf(sum, "%s %d %d %d %q\n", e.UUID(), shown, e.Changed, e.Notices, e.Name)
	}
	return all, etag(sum.Sum(nil)), latest, nil
}

func etag(sum []byte) string { return `"` + hex.EncodeToString(sum[:16]) + `"` }

// manifest answers with what the feed holds.
func (s *handler) manifest(w http.ResponseWriter, r *http.Request, shelf Shelf) error {
	now := s.c.Now()
	all, tag, latest, err := s.contents(r, shelf, now)
	if err != nil {
		return err
	}
	if len(all) > EventsMax {
		all = all[:EventsMax]
		w.Header().Set(HeaderTruncated, fmt.Sprintf("the feed holds more than %d events: those before %s are left out",
			EventsMax, time.Unix(all[EventsMax-1].Day*86400, 0).UTC().Format(time.DateOnly)))
	}
	if had(w, r, tag, latest) {
		return nil
	}
	var out bytes.Buffer
	out.WriteByte('{')
	for i := range all {
		h := all[i].head()
		h.Changed = all[i].shown(now)
		entry, err := h.Entry()
		if err != nil {
			return err
		}
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, "\n%q:%s", h.UUID, entry)
	}
	out.WriteString("\n}\n")
	send(w, r, "application/json", out.Bytes())
	return nil
}

// event answers with one event.
func (s *handler) event(w http.ResponseWriter, r *http.Request, shelf Shelf, uuid string) error {
	e, ok, err := shelf.Event(r.Context(), uuid)
	switch {
	case err != nil:
		return err
	case !ok:
		notFound(w)
		return nil
	}
	h := e.head()
	h.Changed = e.shown(s.c.Now())
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %d %q", uuid, h.Changed, e.Changed, e.Notices, e.Name))
	if had(w, r, etag(sum[:]), h.Changed) {
		return nil
	}
	var out bytes.Buffer
	if err := events.WriteEvent(&out, h, shelf.Notices(r.Context(), e)); err != nil {
		return err
	}
	send(w, r, "application/json", out.Bytes())
	return nil
}

// hashes answers with the MD5 of every value, once an event.
func (s *handler) hashes(w http.ResponseWriter, r *http.Request, shelf Shelf) error {
	all, tag, latest, err := s.contents(r, shelf, s.c.Now())
	if err != nil {
		return err
	}
	if had(w, r, tag, latest) {
		return nil
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	if r.Method == http.MethodHead {
		return nil
	}
	select {
	case s.hashers <- struct{}{}:
		defer func() { <-s.hashers }()
	case <-r.Context().Done():
		return nil
	}
	for _, e := range all[:min(len(all), EventsMax)] {
		if err := s.eventHashes(w, r, shelf, e); err != nil {
			if r.Context().Err() == nil {
				s.c.Log.Error("MISP feed failed", "file", events.HashesName, "err", err)
			}
			panic(http.ErrAbortHandler) // a file that is not whole must not look so
		}
	}
	return nil
}

func (s *handler) eventHashes(w io.Writer, r *http.Request, shelf Shelf, e Event) error {
	uuid, once := e.UUID(), map[[md5.Size]byte]bool{}
	var out strings.Builder
	for n, err := range shelf.Notices(r.Context(), e) {
		if err != nil {
			return err
		}
		if sum, ok := events.Hash(&n); ok && !once[sum] {
			once[sum] = true
			out.WriteString(events.HashLine(sum, uuid))
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// had sets the validators, and answers where the client has this state (RFC 9110,
// 13.2.2).
func had(w http.ResponseWriter, r *http.Request, tag string, latest int64) bool {
	modified := time.Unix(latest, 0).UTC()
	w.Header().Set("ETag", tag)
	if latest > 0 {
		w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
	}
	same := false
	if list := r.Header.Values("If-None-Match"); len(list) > 0 {
		for t := range strings.SplitSeq(strings.Join(list, ","), ",") {
			t = strings.TrimSpace(t)
			same = same || t == "*" || strings.TrimPrefix(t, "W/") == tag
		}
	} else if since, err := http.ParseTime(r.Header.Get("If-Modified-Since")); err == nil {
		same = !modified.After(since)
	}
	if same {
		w.WriteHeader(http.StatusNotModified)
	}
	return same
}

func send(w http.ResponseWriter, r *http.Request, mediaType string, text []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(text)
	}
}
