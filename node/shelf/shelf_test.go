package shelf_test

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/stix"
	"github.com/watchward/watchward/node/misp"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/shelf"
	"github.com/watchward/watchward/node/taxii"
)

// A world is a shelf beside a model of what it should give.
type world struct {
	t     *rapid.T
	dir   string
	shelf *shelf.Shelf
	now   time.Time
	items []*modelled
	// What a client that polls now and then has of the collection of each ceiling.
	clients [notice.TLPAmber + 1]client
	// What was last seen of an event of MISP, by its UUID.
	events map[string]seenEvent
}

type seenEvent struct {
	changed int64
	holds   string
}

// A modelled is a notice as it should be on the shelf.
type modelled struct {
	intel.Stated
	live    bool
	put     bool // before it was taken back
	created int64
}

type client struct {
	after int64
	has   map[string]string // id → JSON of the latest version
}

func newWorld(t *rapid.T) *world {
	dir, err := os.MkdirTemp("", "shelf")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, events: map[string]seenEvent{}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	for i := range w.clients {
		w.clients[i].has = map[string]string{}
	}
	w.open()
	return w
}

func (w *world) open() {
	var err error
	w.shelf, err = shelf.Open(shelf.Options{
		Dir: w.dir, Now: func() time.Time { return w.now }, Log: slog.New(slog.DiscardHandler),
		Stated: func(id crypto.ItemID) (intel.Stated, bool, error) {
			for _, m := range w.items {
				if m.ID == id && m.live {
					return m.Stated, true, nil
				}
			}
			return intel.Stated{}, false, nil
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	if err := w.shelf.Close(); err != nil {
		w.t.Fatal(err)
	}
	_ = os.RemoveAll(w.dir)
}

func (w *world) putAll(items ...shelf.Item) {
	if err := w.shelf.Put(items, 0); err != nil {
		w.t.Fatal(err)
	}
}

var tlps = []notice.TLP{notice.TLPClear, notice.TLPGreen, notice.TLPAmber}

// say puts a new notice of one of few values, by one of few authors.
func (w *world) say() {
	n := &notice.Notice{Created: w.now.UnixMilli()}
	value := notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("v%d.example", rapid.IntRange(0, 3).Draw(w.t, "value"))}
	s := intel.Stated{Notice: n, TLP: rapid.SampledFrom(tlps).Draw(w.t, "tlp"), AuthorName: "somebody"}
	s.Author[0] = byte(rapid.IntRange(1, 2).Draw(w.t, "author"))
	s.ID[0], s.ID[1] = byte(len(w.items)>>8), byte(len(w.items))
	switch n.Kind = rapid.SampledFrom([]notice.Kind{notice.KindIndicator, notice.KindSighting, notice.KindDispute}).Draw(w.t, "kind"); n.Kind {
	case notice.KindSighting:
		n.Count, n.FirstSeen, n.LastSeen = 1, n.Created, n.Created
		fallthrough
	case notice.KindIndicator:
		n.Indicator = &value
		if rapid.Bool().Draw(w.t, "context") {
			n.Context = &notice.Context{Family: "Qakbot"}
		}
	default:
		n.Indicator = &value
	}
	m := &modelled{Stated: s, live: true, put: true, created: n.Created}
	w.items = append(w.items, m)
	w.putAll(shelf.Item{Stated: s})
}

func (w *world) pick() *modelled {
	if len(w.items) == 0 {
		w.say()
	}
	return w.items[rapid.IntRange(0, len(w.items)-1).Draw(w.t, "item")]
}

func (w *world) collect(ceiling notice.TLP, after int64) (out []taxii.Object) {
	for o, err := range w.shelf.Objects(w.t.Context(), ceiling, &taxii.Query{After: after, All: true, Bodies: true}) {
		if err != nil {
			w.t.Fatal(err)
		}
		o.JSON = slices.Clone(o.JSON)
		out = append(out, o)
	}
	return out
}

// poll has a client read on, some objects a page.
func (w *world) poll(ceiling notice.TLP) {
	c := &w.clients[ceiling]
	for {
		n := 0
		for o, err := range w.shelf.Objects(w.t.Context(), ceiling, &taxii.Query{After: c.after, Last: true, Bodies: true}) {
			if err != nil {
				w.t.Fatal(err)
			}
			if o.Added <= c.after {
				w.t.Fatalf("%s, added at %d, comes to who has all up to %d", o.ID, o.Added, c.after)
			}
			c.after, c.has[o.ID] = o.Added, string(o.JSON)
			if n++; n == 3 {
				break
			}
		}
		if n < 3 {
			return
		}
	}
}

// want is what each item's own object should be, under a ceiling: id and text.
func (w *world) want(ceiling notice.TLP) map[string]string {
	out := map[string]string{}
	for _, m := range w.items {
		if m.live && m.TLP <= ceiling {
			if err := stix.Objects(m.Stated, func(string) bool { return false }, func(o stix.Object) error {
				if o.Own {
					out[o.ID] = string(o.JSON)
				}
				return nil
			}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	return out
}

func (w *world) check() {
	for _, ceiling := range tlps {
		want := w.want(ceiling)
		all := w.collect(ceiling, 0)
		byID, last := map[string][]taxii.Object{}, int64(0)
		for _, o := range all {
			if o.Added <= last {
				w.t.Fatalf("stamp %d after %d", o.Added, last)
			}
			last = o.Added
			byID[o.ID] = append(byID[o.ID], o)
		}
		for id, text := range want {
			if _, ok := byID[id]; !ok {
				w.t.Fatalf("ceiling %s: %s is not on the shelf", ceiling, id)
			}
			if got := latest(byID[id]); string(got.JSON) != text {
				w.t.Fatalf("ceiling %s: %s is\n%s, want\n%s", ceiling, id, got.JSON, text)
			}
		}
		for id, versions := range byID {
			kind := versions[0].Type()
			_, wanted := want[id]
			if own := kind == "sighting" || kind == "opinion"; own && !wanted {
				w.t.Fatalf("ceiling %s: %s is there and should not be", ceiling, id)
			}
			w.checkFlags(versions)
			for _, o := range versions {
				shelf.Refs(o.JSON, func(ref string) {
					if _, ok := byID[ref]; !ok && ref != "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d" { // OASIS's own
						w.t.Fatalf("ceiling %s: %s refers to %s, which is not there", ceiling, id, ref)
					}
				})
			}
			named := 0
			for o, err := range w.shelf.Objects(w.t.Context(), ceiling, &taxii.Query{IDs: []string{id}, All: true}) {
				if err != nil || !slices.ContainsFunc(versions, func(v taxii.Object) bool { return v.Added == o.Added }) {
					w.t.Fatal(o, err)
				}
				named++
			}
			if named != len(versions) {
				w.t.Fatalf("%s by its id has %d versions, want %d", id, named, len(versions))
			}
		}
		for _, hidden := range w.collect(notice.TLPAmber, 0) {
			if _, ok := byID[hidden.ID]; ok {
				continue
			}
			for o, err := range w.shelf.Objects(w.t.Context(), ceiling, &taxii.Query{IDs: []string{hidden.ID}, All: true}) {
				w.t.Fatalf("ceiling %s: %s is given to who asks for it by its id: %v", ceiling, o.ID, err)
			}
		}
		w.checkEvents(ceiling)
		w.poll(ceiling)
		for id, text := range want {
			if got := w.clients[ceiling].has[id]; got != text {
				w.t.Fatalf("ceiling %s: who polls has of %s\n%s, want\n%s", ceiling, id, got, text)
			}
		}
	}
}

func latest(versions []taxii.Object) taxii.Object {
	return slices.MaxFunc(versions, func(a, b taxii.Object) int {
		switch {
		case a.Version < b.Version:
			return -1
		case a.Version > b.Version:
			return 1
		}
		return 0
	})
}

func (w *world) checkFlags(versions []taxii.Object) {
	texts := map[string]bool{}
	for _, v := range versions {
		texts[v.Version] = true
	}
	order := slices.Sorted(maps.Keys(texts))
	if len(order) != len(versions) {
		w.t.Fatalf("%s has a version twice", versions[0].ID)
	}
	for _, v := range versions {
		if v.First != (v.Version == order[0]) || v.Last != (v.Version == order[len(order)-1]) {
			w.t.Fatalf("%s of %v: first %v, last %v", v.Version, order, v.First, v.Last)
		}
	}
}

// checkEvents sees that every notice is in one event, under its own marking.
func (w *world) checkEvents(ceiling notice.TLP) {
	events := w.shelf.Events(ceiling)
	got, count := map[crypto.ItemID]bool{}, 0
	for e, err := range events.Events(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		same, ok, err := events.Event(w.t.Context(), e.UUID())
		if err != nil || !ok || same != e {
			w.t.Fatal("an event is not found by its UUID", same, ok, err)
		}
		n, holds := 0, []byte(nil)
		for s, err := range events.Notices(w.t.Context(), e) {
			if err != nil || s.TLP != e.TLP || s.Author != e.Author || got[s.ID] {
				w.t.Fatal(s, e, err)
			}
			got[s.ID] = true
			holds = fmt.Append(holds, s.ID, s.Retracted)
			n++
		}
		switch before, ok := w.events[e.UUID()]; {
		case ok && before.holds != string(holds) && e.Changed <= before.changed:
			w.t.Fatalf("event %s holds something else, and has changed at %d as before", e.UUID(), e.Changed)
		case ok && e.Changed < before.changed:
			w.t.Fatalf("event %s has changed at %d, before at %d", e.UUID(), e.Changed, before.changed)
		}
		w.events[e.UUID()] = seenEvent{e.Changed, string(holds)}
		if n != e.Notices {
			w.t.Fatalf("event of %d notices says %d", n, e.Notices)
		}
		count += n
	}
	want := 0
	for _, m := range w.items {
		if m.live && m.TLP <= ceiling {
			want++
		}
	}
	if count != want {
		w.t.Fatalf("ceiling %s: events hold %d notices, want %d", ceiling, count, want)
	}
}

// In whatever order notices come, are taken back, are told to more or fewer people and
// go, the shelf gives what it should, and who polls misses nothing.
func TestShelf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		defer w.close()
		t.Repeat(map[string]func(*rapid.T){
			"say": func(*rapid.T) { w.say() },
			"again": func(*rapid.T) {
				if m := w.pick(); m.live {
					w.putAll(shelf.Item{Stated: m.Stated})
				}
			},
			"take back": func(*rapid.T) {
				if m := w.pick(); m.live {
					m.Retracted = true
					w.putAll(shelf.Item{Stated: m.Stated})
				}
			},
			"mark": func(*rapid.T) {
				if m := w.pick(); m.live && !m.Retracted {
					m.TLP = rapid.SampledFrom(tlps).Draw(t, "other tlp")
					w.putAll(shelf.Item{Stated: m.Stated})
				}
			},
			"gone": func(*rapid.T) {
				m := w.pick()
				m.live = false
				w.putAll(shelf.Item{Stated: intel.Stated{ID: m.ID}, Gone: true})
			},
			"sweep": func(*rapid.T) {
				if _, err := w.shelf.Sweep(w.t.Context()); err != nil {
					t.Fatal(err)
				}
				w.checkSwept()
			},
			"poll": func(*rapid.T) { w.poll(rapid.SampledFrom(tlps).Draw(t, "ceiling")) },
			"time": func(*rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(-1000, 100_000).Draw(t, "s")) * time.Second)
			},
			"start": func(*rapid.T) { w.restart() },
			"":      func(*rapid.T) { w.check() },
		})
	})
}

func (w *world) restart() {
	if err := w.shelf.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}

// checkSwept sees that nothing is there that no notice needs.
func (w *world) checkSwept() {
	needed := map[string]bool{}
	for _, m := range w.items {
		if m.live {
			if err := stix.Objects(m.Stated, func(string) bool { return false }, func(o stix.Object) error {
				needed[o.ID] = true
				return nil
			}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	for _, o := range w.collect(notice.TLPAmber, 0) {
		if !needed[o.ID] {
			w.t.Fatalf("%s is still there after a sweep: %s", o.ID, o.JSON)
		}
	}
}

// What is taken back and counts again has no version that could say so.
func TestBack(t *testing.T) {
	s := open(t, t.TempDir())
	item := shelf.Item{Stated: indicator(1, notice.TLPGreen)}
	put(t, s, item)
	item.Retracted = true
	put(t, s, item)
	item.Retracted = false
	if err := s.Put([]shelf.Item{item}, 0); !errors.Is(err, shelf.ErrBack) {
		t.Fatal("want ErrBack, not", err)
	}
	generation, last := s.Generation(), s.Last()
	if err := s.Reset(); err != nil {
		t.Fatal(err)
	}
	put(t, s, item)
	if s.Generation() == generation || s.Last() <= last {
		t.Errorf("generation %s after %s, stamp %d after %d: want both to be new", s.Generation(), generation, s.Last(), last)
	}
}

// What is withdrawn and was never handed out does not begin to be.
func TestHeld(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	item := shelf.Item{Stated: indicator(1, notice.TLPGreen), Held: true}
	item.Retracted = true
	put(t, s, item)
	if s.Last() != 0 {
		t.Error("it is on the shelf")
	}
	item.Held, item.Retracted = false, false
	put(t, s, item)
	item.Held, item.Retracted = true, true
	put(t, s, item)
	for o, err := range s.Objects(t.Context(), notice.TLPGreen, &taxii.Query{Types: []string{"indicator"}, Last: true, Bodies: true}) {
		if err != nil || !strings.Contains(string(o.JSON), `"revoked":true`) {
			t.Errorf("%s, %v", o.JSON, err)
		}
	}
}

// A directory that is damaged is begun anew under another generation, not refused: the
// store has all of it.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, shelf.Item{Stated: indicator(1, notice.TLPGreen)})
	generation := s.Generation()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	if s.Generation() == generation || s.Cursor() != 0 {
		t.Errorf("generation %s, cursor %d after damage", s.Generation(), s.Cursor())
	}
}

// What others gave is remembered, also when the shelf is made anew.
func TestForeign(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	long := make([]byte, shelf.ForeignTextMax+1)
	if err := s.Remember("isac", map[string]shelf.Foreign{"a": {Version: 5, Creator: "them", Text: []byte("{}")}, "b": {Text: long}}); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteNote("isac", []int{1, 2}); err != nil {
		t.Fatal(err)
	}
	if err := s.Reset(); err != nil {
		t.Fatal(err)
	}
	a, ok, err := s.Foreign("isac", "a")
	if err != nil || !ok || a.Version != 5 || a.Creator != "them" || string(a.Text) != "{}" {
		t.Error(a, ok, err)
	}
	if b, ok, err := s.Foreign("isac", "b"); err != nil || !ok || b.Text != nil {
		t.Error("a long text is kept", len(b.Text), ok, err)
	}
	if _, ok, err := s.Foreign("other", "a"); err != nil || ok {
		t.Error("one server's object is another's", ok, err)
	}
	var note []int
	if err := s.Note("isac", &note); err != nil || len(note) != 2 {
		t.Error(note, err)
	}
}

// Ids of others are keys however long they are, and what others give is not taken where
// the disk has little left.
func TestForeignBounds(t *testing.T) {
	full := errors.New("full")
	room := error(nil)
	s, err := shelf.Open(shelf.Options{Dir: t.TempDir(), Now: time.Now, Log: slog.New(slog.DiscardHandler), Room: func() error { return room }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	long, other := strings.Repeat("a", 70_000), strings.Repeat("a", 69_999)+"b"
	if err := s.Remember("isac", map[string]shelf.Foreign{long: {Version: 7}}); err != nil {
		t.Fatal(err)
	}
	if f, ok, err := s.Foreign("isac", long); err != nil || !ok || f.Version != 7 {
		t.Error(f, ok, err)
	}
	if _, ok, err := s.Foreign("isac", other); err != nil || ok {
		t.Error("another long id is taken for it", err)
	}
	room = full
	if err := s.Remember("isac", map[string]shelf.Foreign{"x": {}}); !errors.Is(err, full) {
		t.Error("a full disk:", err)
	}
	if _, ok, _ := s.Foreign("isac", "x"); ok {
		t.Error("it is remembered all the same")
	}
}

func open(t testing.TB, dir string) *shelf.Shelf {
	t.Helper()
	s, err := shelf.Open(shelf.Options{Dir: dir, Now: time.Now, Log: slog.New(slog.DiscardHandler), Stated: func(crypto.ItemID) (intel.Stated, bool, error) {
		return intel.Stated{}, false, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s *shelf.Shelf, items ...shelf.Item) {
	t.Helper()
	if err := s.Put(items, 0); err != nil {
		t.Fatal(err)
	}
}

func indicator(n uint64, tlp notice.TLP) intel.Stated {
	s := intel.Stated{TLP: tlp, AuthorName: "St Anna", Notice: &notice.Notice{
		Kind: notice.KindIndicator, Created: 1_770_000_000_000 + int64(n), ValidUntil: 1_780_000_000_000,
		Indicator: &notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("host%d.bad%d.example", n, n%1000)},
	}}
	s.Author[0] = byte(n % 200)
	r := rand.New(rand.NewPCG(n, 1))
	for i := range s.ID {
		s.ID[i] = byte(r.Uint32())
	}
	return s
}

var _ misp.Shelf = (*shelf.Shelf)(nil).Events(0)
