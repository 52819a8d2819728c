package taxii_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/taxii"
)

const (
	feedID  = "5a7c1f5e-8a5f-4f0e-9d4a-1c2b3d4e5f60"
	inboxID = "6b8d2060-9b60-4a1f-8e5b-2d3c4e5f6071"
	deskID  = "7c9e3171-ac71-4b20-9f6c-3e4d5f607182"
	staffID = "8daf4282-bd82-4c31-a07d-4f5e60718293"
)

// began is the time of all that these tests do.
var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// A shelf is a whole Shelf in memory: collections with several versions of objects,
// ceilings, and an inbox that refuses what a node refuses.
type shelf struct {
	mu     sync.Mutex // guards all below
	order  []string
	kept   map[string]*kept
	broken error // what Add says of everything
}

type kept struct {
	taxii.Collection
	visible func(taxii.Caller) bool
	stamps  taxii.Stamps
	objects []held // never changed in place: readers go on with what they have
}

type held struct {
	taxii.Object
	tlp     notice.TLP
	creator string
	at      time.Time // the version
}

// common is what these tests need of an object.
type common struct {
	ID       string   `json:"id"`
	Creator  string   `json:"created_by_ref"`
	Created  string   `json:"created"`
	Modified string   `json:"modified"`
	Spec     string   `json:"spec_version"`
	Markings []string `json:"object_marking_refs"`
}

var markings = map[string]notice.TLP{
	"marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487": notice.TLPClear,
	"marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb": notice.TLPGreen,
	"marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421": notice.TLPAmber,
	"marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003": notice.TLPAmberStrict,
	"marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1": notice.TLPRed,
}

func readHeld(raw []byte) (h held, err error) {
	var c common
	if err := json.Unmarshal(raw, &c); err != nil {
		return h, err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return h, err
	}
	h.ID, h.creator, h.Version, h.Spec, h.JSON = c.ID, c.Creator, c.Modified, c.Spec, line.Bytes()
	if h.Version == "" {
		h.Version = c.Created
	}
	if h.at, err = time.Parse(time.RFC3339Nano, h.Version); err != nil {
		return h, err
	}
	for _, m := range c.Markings {
		h.tlp = notice.Stricter(h.tlp, markings[m])
	}
	return h, nil
}

// put adds an object, which must not be there.
func (k *kept) put(h held, added int64) {
	h.Added = added
	k.objects = append(k.objects, h)
}

func (s *shelf) add(c taxii.Collection, visible func(taxii.Caller) bool) *kept {
	if s.kept == nil {
		s.kept = map[string]*kept{}
	}
	k := &kept{Collection: c, visible: visible}
	s.kept[c.ID] = k
	s.order = append(s.order, c.ID)
	return k
}

func (s *shelf) Collections(_ context.Context, who taxii.Caller) (list []taxii.Collection, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.order {
		k := s.kept[id]
		if !k.visible(who) {
			continue
		}
		c := k.Collection
		c.CanWrite = c.CanWrite && who.Role >= token.Reporter
		c.CanDelete = c.CanDelete && who.Role >= token.Admin
		list = append(list, c)
	}
	return list, nil
}

func (s *shelf) Objects(ctx context.Context, who taxii.Caller, collection string, q *taxii.Query) iter.Seq2[taxii.Object, error] {
	return func(yield func(taxii.Object, error) bool) {
		s.mu.Lock()
		objects := s.kept[collection].objects
		s.mu.Unlock()
		var seen []held
		for _, h := range objects {
			if h.tlp <= who.Ceiling && (q.Specs == nil || slices.Contains(q.Specs, specOf(h))) {
				seen = append(seen, h)
			}
		}
		for _, h := range seen {
			h.First, h.Last = true, true
			for _, other := range seen {
				h.First = h.First && (other.ID != h.ID || !other.at.Before(h.at))
				h.Last = h.Last && (other.ID != h.ID || !other.at.After(h.at))
			}
			if h.Added <= q.After || !q.Match(&h.Object) {
				continue
			}
			if err := ctx.Err(); err != nil {
				yield(taxii.Object{}, err)
				return
			}
			if !yield(h.Object, nil) {
				return
			}
		}
	}
}

func specOf(h held) string {
	if h.Spec == "" {
		return "2.1"
	}
	return h.Spec
}

func (s *shelf) Add(_ context.Context, who taxii.Caller, collection string, offers []taxii.Offer) (out []taxii.Outcome, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, s.broken
	}
	k := s.kept[collection]
	for _, o := range offers {
		out = append(out, k.offer(o))
	}
	return out, nil
}

func (k *kept) offer(o taxii.Offer) taxii.Outcome {
	h, err := readHeld(bytes.Clone(o.JSON))
	switch {
	case err != nil && !strings.Contains(err.Error(), "parsing time \"\""):
		return taxii.Outcome{Message: err.Error()}
	case o.Type == "marking-definition":
	case h.tlp == 0:
		return taxii.Outcome{Message: "it has no marking: add one of TLP 2.0"}
	case h.tlp == notice.TLPRed:
		return taxii.Outcome{Message: "TLP:RED is for named people and does not go through an inbox"}
	}
	h.Version = o.Version
	for _, other := range k.objects {
		switch {
		case other.ID != h.ID:
		case other.creator != h.creator:
			return taxii.Outcome{Message: "this id is of another creator: make an object of your own"}
		case other.Version == h.Version:
			return taxii.Outcome{Taken: true, Message: "known already"}
		}
	}
	k.put(h, k.stamps.Next(began))
	return taxii.Outcome{Taken: true}
}

func (s *shelf) Delete(_ context.Context, who taxii.Caller, collection string, q *taxii.Query) (n int, err error) {
	var going []int64
	for o, err := range s.Objects(context.Background(), who, collection, q) {
		if err != nil {
			return 0, err
		}
		going = append(going, o.Added)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kept[collection]
	k.objects = slices.DeleteFunc(slices.Clone(k.objects), func(h held) bool { return slices.Contains(going, h.Added) })
	return len(going), nil
}

var callers = map[string]taxii.Caller{
	"reader":   {Name: "reader", Role: token.Reader, Ceiling: notice.TLPGreen},
	"amber":    {Name: "amber", Role: token.Reader, Ceiling: notice.TLPAmber},
	"reporter": {Name: "reporter", Role: token.Reporter, Ceiling: notice.TLPAmber},
	"admin":    {Name: "admin", Role: token.Admin, Ceiling: notice.TLPAmber},
}

// identify goes by the user of Basic alone.
func identify(r *http.Request) (taxii.Caller, error) {
	user, _, _ := r.BasicAuth()
	who, ok := callers[user]
	if !ok {
		return who, &taxii.Error{Status: http.StatusUnauthorized, Code: "no-token", Title: "Not authorised", Description: "a token is missing: send it as password",
			Header: http.Header{"Www-Authenticate": {`Basic realm="watchward"`}}}
	}
	return who, nil
}

func everybody(taxii.Caller) bool { return true }

// object makes an indicator in STIX 2.1.
func object(n int, modified, marking string) string {
	tlp := map[string]string{}
	for ref, level := range markings {
		tlp[level.String()] = ref
	}
	refs := ""
	if marking != "" {
		refs = `,"object_marking_refs":["` + tlp[marking] + `"]`
	}
	return fmt.Sprintf(`{"type":"indicator","spec_version":"2.1","id":"indicator--%08x-1111-4111-8111-111111111111","created":"2025-12-01T00:00:00.000Z","modified":%q,"pattern":"[ipv4-addr:value = '198.51.100.%d']","pattern_type":"stix","valid_from":"2025-12-01T00:00:00Z"%s}`, n, modified, n%256, refs)
}

// stocked is a shelf with four collections and some objects.
func stocked(t testing.TB) *shelf {
	s := &shelf{}
	feed := s.add(taxii.Collection{ID: feedID, Alias: "community", Title: "Community", Description: "What everybody may know", CanRead: true}, everybody)
	s.add(taxii.Collection{ID: inboxID, Title: "Inbox", CanWrite: true}, everybody)
	desk := s.add(taxii.Collection{ID: deskID, Title: "Desk", CanRead: true, CanWrite: true, CanDelete: true}, everybody)
	s.add(taxii.Collection{ID: staffID, Title: "Staff", CanRead: true}, func(who taxii.Caller) bool { return who.Role >= token.Admin })
	fill(t, feed,
		`{"type":"identity","spec_version":"2.1","id":"identity--00000001-2222-4222-8222-222222222222","created":"2025-11-01T00:00:00.000Z","modified":"2025-11-01T00:00:00.000Z","name":"St. Example","identity_class":"organization"}`,
		object(1, "2025-12-01T00:00:00.000Z", "GREEN"),
		object(2, "2025-12-01T00:00:00.000Z", "AMBER"),
		object(1, "2025-12-02T00:00:00.000Z", "GREEN"),
		object(1, "2025-12-03T00:00:00.500Z", "AMBER"),
		`{"type":"sighting","spec_version":"2.1","id":"sighting--00000001-3333-4333-8333-333333333333","created":"2025-12-04T00:00:00.000Z","modified":"2025-12-04T00:00:00.000Z","sighting_of_ref":"indicator--00000001-1111-4111-8111-111111111111"}`,
	)
	fill(t, desk, object(7, "2025-12-01T00:00:00.000Z", "CLEAR"), object(7, "2025-12-02T00:00:00.000Z", "CLEAR"), object(8, "2025-12-01T00:00:00.000Z", "CLEAR"),
		object(9, "2025-12-01T00:00:00.000Z", "CLEAR"), object(9, "2025-12-02T00:00:00.000Z", "CLEAR"))
	return s
}

func fill(t testing.TB, k *kept, objects ...string) {
	for _, text := range objects {
		h, err := readHeld([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		k.put(h, k.stamps.Next(began))
	}
}

func newServer(t testing.TB, s taxii.Shelf, change func(*taxii.Config)) *taxii.Server {
	c := taxii.Config{
		Title: "Watchward of St. Example", Contact: "soc@example.org", Identify: identify,
		Roots: []taxii.Root{{Name: "region", Title: "The region", Shelf: s}},
		Log:   slog.New(slog.NewTextHandler(t.Output(), nil)), Now: func() time.Time { return began },
	}
	if change != nil {
		change(&c)
	}
	server, err := taxii.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// ask makes one request; header has pairs, and As is who asks.
func ask(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Accept", taxii.MediaType)
	if body != "" {
		r.Header.Set("Content-Type", taxii.MediaType)
	}
	as := "amber"
	for i := 0; i < len(header); i += 2 {
		switch {
		case header[i] == "As":
			as = header[i+1]
		case header[i+1] == "":
			r.Header.Del(header[i])
		default:
			r.Header.Set(header[i], header[i+1])
		}
	}
	r.SetBasicAuth(as, "secret")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// An envelope is any resource that has objects, as clients read it.
type envelope struct {
	More     bool              `json:"more"`
	Next     string            `json:"next"`
	Objects  []json.RawMessage `json:"objects"`
	Versions []string          `json:"versions"`
}

func (e envelope) ids(t testing.TB) (ids []string) {
	for _, raw := range e.Objects {
		var c common
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, c.ID)
	}
	return ids
}

// A tb is a test or a property.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

func decode[T any](t tb, w *httptest.ResponseRecorder, status int) (v T) {
	t.Helper()
	if w.Code != status || w.Header().Get("Content-Type") != taxii.MediaType {
		t.Fatalf("%d %s, want %d\n%s", w.Code, w.Header().Get("Content-Type"), status, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v\n%s", err, w.Body)
	}
	return v
}
