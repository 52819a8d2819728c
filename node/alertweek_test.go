package node_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// A week of a region of 200, with the rules that everybody has: at most 15 pages.
func TestWeekOfARegion(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWeek(t, 20260601)
		for slot := range 7 * 24 * 6 {
			w.step(slot)
			time.Sleep(10 * time.Minute)
		}
		time.Sleep(24 * time.Hour)
		pages := w.person.count(alert.TypePage, alert.TypeRepeat, alert.TypeEscalation, alert.TypeSend)
		digests := w.person.count(alert.TypeDigest)
		t.Logf("seed %d: %d sightings, %d alerts stored; to a person: %d pages, %d digests, %d updates; to a sink up to GREEN: %d pages",
			w.seed, w.sightings, w.Store().LastAlert(), pages, digests, w.person.count(alert.TypeOver, alert.TypeUpdate), w.green.count(alert.TypePage))
		if pages > 15 || w.green.count(alert.TypePage) > 15 {
			t.Errorf("seed %d: %d pages in a week", w.seed, pages)
		}
		if digests < 7 || digests > 8 || w.sightings < 6_500 {
			t.Errorf("seed %d: %d digests, %d sightings", w.seed, digests, w.sightings)
		}
		for what, want := range map[string]int{"mayday": 1, "supplier": 1, "hit": 5, "seen-here": 2} {
			got := 0
			for _, m := range w.person.all() {
				if m.Type == alert.TypePage && m.Kind == what {
					got++
				}
			}
			if got != want {
				t.Errorf("seed %d: %d pages of kind %s, want %d", w.seed, got, what, want)
			}
		}
		if w.person.count(alert.TypeOver) != 1 {
			t.Error("nobody hears that the mayday is over")
		}
		if n := w.Store().LastAlert(); n < 60 {
			t.Errorf("only %d alerts: the week is too quiet to show anything", n)
		}
	})
}

// A week is a region whose members talk, by a seed, and one node that hears it.
type week struct {
	*bench
	t         *testing.T
	seed      uint64
	random    *rand.Rand
	last      map[*testkit.Member]*crypto.Envelope
	person    *slow
	green     *slow
	sightings int
	spreading []string
	mayday    crypto.ItemID
	hits      []string
	logs      *node.Watched
	salt      uint32
}

func newWeek(t *testing.T, seed uint64) *week {
	t.Helper()
	names := []string{"here"}
	for i := range 200 {
		names = append(names, fmt.Sprintf("hospital-%d", i))
	}
	r := testkit.NewRegion(t, names...)
	w := &week{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 1)), last: map[*testkit.Member]*crypto.Envelope{}, person: &slow{}, green: &slow{},
		bench: &bench{region: r, self: r.Members[0], hospital: &hospital{dir: t.TempDir(), clock: &clock{}}}}
	if err := keyfile.Save(filepath.Join(w.dir, "identity.key"), w.self.Identity); err != nil {
		t.Fatal(err)
	}
	makeNode(t, w.dir, "here")
	admission, err := canon.Marshal(node.Admission{Region: r.ID, Records: r.Records[:2], Seeds: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.Join(w.dir, admission); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if w.Node != nil {
			w.Close()
		}
	})
	w.Node = lab(t, w.dir, "here", config.Alerts{Sinks: []config.AlertSink{{Name: "person", Type: "smtp", TLP: "AMBER+STRICT"}, {Name: "green", Type: "chat"}}},
		map[string]*slow{"person": w.person, "green": w.green})
	w.logs = node.NewWatched(w.Node)
	for part := range slices.Chunk(r.Records[2:], 20) {
		w.adds(t, part)
	}
	w.say(w.self, w.word(notice.KindProfile, func(n *notice.Notice) {
		n.Profile = &notice.Profile{Name: "here", Contact: []string{"+41"}, Suppliers: []string{"Medilab", "Imago"}}
	}))
	return w
}

func (w *week) Close() {
	if err := w.Node.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *week) word(kind notice.Kind, fill func(*notice.Notice)) *notice.Notice {
	w.salt++
	n := &notice.Notice{Kind: kind, Salt: [16]byte{1, byte(w.salt), byte(w.salt >> 8), byte(w.salt >> 16)}, Created: time.Now().UnixMilli()}
	fill(n)
	return n
}

func (w *week) say(m *testkit.Member, n *notice.Notice) crypto.ItemID {
	id, e := w.told(w.t, m, crypto.Header{Urgent: n.Kind == notice.KindMayday, Expiry: time.Now().Add(30 * 24 * time.Hour).UnixMilli()}, w.last[m], n)
	w.last[m] = e
	return id
}

func (w *week) other() *testkit.Member { return w.region.Members[1+w.random.IntN(200)] }

func (w *week) saw(m *testkit.Member, value, family string) {
	w.sightings++
	i, err := notice.Detect(value, notice.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.say(m, w.word(notice.KindSighting, func(n *notice.Notice) {
		n.Indicator, n.FirstSeen, n.LastSeen, n.Count = &i, n.Created, n.Created, 1+w.random.Uint64N(5)
		if family != "" {
			n.Context = &notice.Context{Family: family}
		}
	}))
}

// step is what is said in ten minutes.
func (w *week) step(slot int) {
	for range 5 + w.random.IntN(5) { // a thousand a day
		value := fmt.Sprintf("n%d.example", w.random.Uint32())
		switch w.random.IntN(40) {
		case 0: // something begins to spread
			w.spreading = append(w.spreading, value)
		case 1, 2:
			if len(w.spreading) > 0 {
				value = w.spreading[w.random.IntN(len(w.spreading))]
			}
		}
		w.saw(w.other(), value, []string{"", "", "", "Qakbot", "Emotet"}[w.random.IntN(5)])
	}
	day, ofDay := slot/144, slot%144
	raise := func(kind, severity, text, dedup string) {
		w.Raise(store.Alert{Kind: kind, Severity: severity, TLP: notice.TLPAmber, Text: text, Dedup: dedup})
	}
	if ofDay%48 == 7 {
		raise("question", "warning", "somebody asks", fmt.Sprintf("question/%d", slot))
	}
	if ofDay == 60 {
		raise("flood", "info", "a member says too much", fmt.Sprintf("flood/%d", day))
		raise("not-delivered", "warning", "a named word is not delivered", fmt.Sprintf("named/%d", day))
	}
	if day < 5 && ofDay == 80 { // a hit a day, of what another reported; it comes back all day and the next
		w.hits = append(w.hits, fmt.Sprintf("hit%d.example", day))
		w.sawID(w.hits[day])
	}
	if ofDay%6 == 0 {
		for _, value := range w.hits[max(0, len(w.hits)-2):] {
			if err := w.logs.Line([]string{"resolver", "proxy", "firewall"}[slot/6%3], "www."+value); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if (day == 2 || day == 4) && ofDay == 100 {
		value := fmt.Sprintf("old%d.example", day)
		w.Raise(store.Alert{Kind: "seen-here", Severity: "warning", TLP: notice.TLPAmber, Text: value + " was here", Refs: []crypto.ItemID{w.sawID(value)}, Dedup: value})
	}
	switch slot {
	case 200, 500: // in other regions, whose hospital shares something with this one
		raise("mayday", "warning", "MAYDAY of another region", fmt.Sprintf("mayday/%d", slot))
	case 300:
		w.mayday = w.say(w.region.Members[7], w.word(notice.KindMayday, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "ransom note"} }))
	case 360:
		w.say(w.region.Members[7], w.word(notice.KindRetraction, func(n *notice.Notice) { n.Ref, n.Reason = &w.mayday, "a drill of our own" }))
	case 310, 320, 330, 340:
		supplier := []string{"Medilab", "medilab ", "Elsewhere", "Medilab"}[(slot-310)/10]
		w.say(w.region.Members[10+slot/10-31], w.word(notice.KindLink, func(n *notice.Notice) {
			n.Link = &notice.Link{Supplier: strings.TrimSpace(supplier), Link: "VPN", Direction: notice.DirectionIn, State: notice.LinkCut, At: n.Created}
		}))
	}
	synctest.Wait()
}

// sawID reports a value and returns the notice.
func (w *week) sawID(value string) crypto.ItemID {
	i, err := notice.Detect(value, notice.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.sightings++
	return w.say(w.other(), w.word(notice.KindSighting, func(n *notice.Notice) {
		n.Indicator, n.FirstSeen, n.LastSeen, n.Count = &i, n.Created, n.Created, 1
	}))
}
