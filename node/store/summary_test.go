package store_test

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// A model says, from all envelopes at once and without any order, what the
// summaries must be.
type model struct {
	items map[crypto.ItemID]*modelItem
}

type modelItem struct {
	n        *notice.Notice
	author   crypto.MemberID
	tlp      notice.TLP
	expiry   int64
	exercise bool
}

func (m *model) add(e store.Entry) {
	h := &e.Envelope.Header
	for _, it := range e.Items {
		now := modelItem{it.Notice, h.Author, notice.TLP(h.TLP), min(it.Notice.DefaultExpiry(), h.Expiry), h.Exercise}
		old, ok := m.items[it.ID]
		if !ok {
			m.items[it.ID] = &now
			continue
		}
		old.tlp, old.expiry, old.exercise = min(old.tlp, now.tlp), max(old.expiry, now.expiry), old.exercise && now.exercise
	}
}

func (m *model) retracted(id crypto.ItemID) bool {
	for _, it := range m.items {
		if it.n.Kind == notice.KindRetraction && *it.n.Ref == id && it.author == m.items[id].author {
			return true
		}
	}
	return false
}

// about returns what an item is evidence of.
func (m *model) about(it *modelItem) *notice.Indicator {
	if it.n.Kind.HasPart() {
		return nil
	}
	if it.n.Indicator != nil || it.n.Kind == notice.KindRetraction {
		return it.n.Indicator
	}
	if target, ok := m.items[*it.n.Ref]; ok && target.n.Kind != notice.KindDispute && !target.n.Kind.HasPart() {
		return target.n.Indicator
	}
	return nil
}

func (m *model) summary(i notice.Indicator, ceiling notice.TLP, now int64) store.Summary {
	s := store.Summary{Indicator: i, First: math.MaxInt64}
	members, disputers, seen := map[crypto.MemberID]bool{}, map[crypto.MemberID]notice.TLP{}, false
	for id, it := range m.items {
		about := m.about(it)
		if about == nil || *about != i || it.tlp > ceiling || it.exercise || it.expiry <= now || m.retracted(id) {
			continue
		}
		if it.n.Kind == notice.KindDispute {
			if before, ok := disputers[it.author]; !ok || it.tlp < before {
				disputers[it.author] = it.tlp
			}
			continue
		}
		s.TLP = max(s.TLP, it.tlp)
		first, last := it.n.FirstSeen, it.n.LastSeen
		if first == 0 {
			first, last = it.n.Created, it.n.Created
		}
		s.First, s.Last, seen = min(s.First, first), max(s.Last, last), true
		if it.n.Kind == notice.KindSighting {
			s.Sightings += it.n.Count
			members[it.author] = true
		} else {
			s.Reports++
		}
	}
	s.Members, s.Disputes = len(members), len(disputers)
	for _, tlp := range disputers {
		s.TLP = max(s.TLP, tlp)
	}
	if !seen {
		s.First = 0
	}
	if !seen && s.Disputes == 0 {
		return store.Summary{}
	}
	return s
}

var values = []notice.Indicator{
	{Type: notice.TypeDomain, Value: "evil.example"}, {Type: notice.TypeIPv4, Value: "198.51.100.7"}, {Type: notice.TypeFilename, Value: "invoice.exe"},
}

// kindsTold are what a story has, the parts less often than the others.
var kindsTold = []notice.Kind{
	notice.KindIndicator, notice.KindSighting, notice.KindRetraction, notice.KindDispute,
	notice.KindIndicator, notice.KindSighting, notice.KindRetraction, notice.KindDispute,
	notice.KindQuestion, notice.KindMayday, notice.KindAssistance,
}

// part makes a notice that has a part, and speaks of another where it may.
func part(n *notice.Notice, i notice.Indicator, ids []crypto.ItemID, pick func(string, int) int) {
	switch n.Kind {
	case notice.KindQuestion: // makes nothing known
		n.Indicator = &i
	case notice.KindMayday:
		n.Mayday = &notice.Mayday{Text: "help"}
	case notice.KindAssistance:
		n.Assistance = &notice.Assistance{Act: notice.ActOffer, What: "beds", Quantity: 1}
	}
	if n.Kind != notice.KindQuestion && len(ids) > 0 && pick("refers", 2) == 0 {
		n.Ref = &ids[pick("ref", len(ids))]
	}
}

// story draws envelopes of several authors that refer to each other.
func story(t *rapid.T, tt testing.TB, authors []*writer) []store.Entry {
	var ids []crypto.ItemID
	var said []*notice.Notice
	var by []int
	pick := func(s string, n int) int { return rapid.IntRange(0, n-1).Draw(t, s) }
	for k := range rapid.IntRange(1, 24).Draw(t, "notices") {
		author := pick("author", len(authors))
		n := &notice.Notice{Salt: salt(uint64(k)), Created: start + int64(pick("created", 5))*hour}
		i := values[pick("value", len(values))]
		n.Kind = kindsTold[pick("kind", len(kindsTold))]
		switch {
		case n.Kind.HasPart():
			part(n, i, ids, pick)
		case n.Kind == notice.KindSighting:
			n.Indicator, n.Count = &i, uint64(pick("count", 9)+1)
			n.FirstSeen = start - int64(pick("first", 10))*hour
			n.LastSeen = n.FirstSeen + int64(pick("last", 10))*hour
		case n.Kind == notice.KindIndicator:
			n.Indicator = &i
			if rapid.Bool().Draw(t, "short-lived") {
				n.ValidUntil = start + int64(pick("valid", 8)+1)*day
			}
		case len(ids) == 0 || n.Kind == notice.KindDispute && rapid.Bool().Draw(t, "of a value"):
			n.Kind, n.Indicator = notice.KindDispute, &i
		default:
			n.Ref = &ids[pick("ref", len(ids))]
		}
		b := raw(tt, n)
		ids = append(ids, crypto.NewItemID(authors[author].ID, crypto.LeafHash(b)))
		said, by = append(said, n), append(by, author)
	}
	var out []store.Entry
	for author, w := range authors {
		w.last = nil
		var mine []*notice.Notice
		for k, n := range said {
			if by[k] == author {
				mine = append(mine, n)
			}
		}
		for len(mine) > 0 {
			n := rapid.IntRange(1, len(mine)).Draw(t, "items")
			h := crypto.Header{TLP: uint8(pick("tlp", 3) + 1), Exercise: pick("exercise", 5) == 0, Expiry: start + int64(pick("expiry", 8)+2)*day}
			out = append(out, w.envelope(tt, h, mine[:n]...))
			if pick("again", 4) > 0 { // else the same words once more, in another envelope
				mine = mine[n:]
			} else {
				mine = mine[min(n, 1+n/2):]
			}
		}
	}
	return out
}

// Whatever the order, the batches and the time of reading, a summary is the sum
// over what counts.
func TestSummaryIsTheSumOfItsEvidence(t *testing.T) {
	t.Parallel()
	authors := writers(t, 4)
	rapid.Check(t, func(rt *rapid.T) {
		entries := story(rt, t, authors)
		order := rapid.Permutation(entries).Draw(rt, "order")
		c := newClock()
		s, err := store.Open(store.Options{InMemory: true, Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		m := &model{items: map[crypto.ItemID]*modelItem{}}
		check := func() {
			checkKinds(rt, s)
			for _, i := range values {
				for _, ceiling := range []notice.TLP{notice.TLPClear, notice.TLPGreen, notice.TLPAmber, notice.TLPRed} {
					got, _, err := s.Summary(i.Key(), ceiling)
					if err != nil {
						rt.Fatal(err)
					}
					if want := m.summary(i, ceiling, c.ms.Load()); got != want {
						rt.Fatalf("%s under %s, %d days in:\n got %+v\nwant %+v", i, ceiling, (c.ms.Load()-start)/day, got, want)
					}
				}
			}
		}
		for len(order) > 0 {
			n := rapid.IntRange(1, len(order)).Draw(rt, "batch")
			if rapid.Bool().Draw(rt, "at once") {
				appendAtOnce(t, s, order[:n])
			} else if _, err := s.Append(t.Context(), order[:n]); err != nil {
				rt.Fatal(err)
			}
			for _, e := range order[:n] {
				m.add(e)
			}
			order = order[n:]
			// The clock may be wrong for a while and be set back.
			c.ms.Store(start + rapid.Int64Range(-1, 12).Draw(rt, "day")*day)
			check()
		}
		for d := range int64(12) {
			c.ms.Store(start + d*day)
			check()
		}
	})
}

// checkKinds: what the index of a kind tells is what a look at everything tells, in
// the same order, page by page.
func checkKinds(t *rapid.T, s *store.Store) {
	for _, kind := range []notice.Kind{notice.KindQuestion, notice.KindMayday, notice.KindAssistance} {
		for _, q := range []store.Query{{}, {Ceiling: notice.TLPGreen}, {Takeback: true}, {Lapsed: true}} {
			q.Limit = store.ListMax
			all, _, err := s.List(q)
			if err != nil {
				t.Fatal(err)
			}
			all = slices.DeleteFunc(all, func(r store.Record) bool { return r.Notice.Kind != kind })
			var got []store.Record
			for q.Kind, q.Limit = kind, 2; ; {
				page, next, err := s.List(q)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, page...)
				if q.Cursor = next; next == "" {
					break
				}
			}
			if !slices.EqualFunc(got, all, func(a, b store.Record) bool { return a.ID == b.ID && a.Retracted == b.Retracted }) {
				t.Fatalf("%s by its index: %d, of all: %d, %+v", kind, len(got), len(all), q)
			}
		}
	}
}

// appendAtOnce appends each entry by a caller of its own, so that batches are
// staged on others that are still being committed.
func appendAtOnce(t *testing.T, s *store.Store, entries []store.Entry) {
	var wait sync.WaitGroup
	for _, e := range entries {
		wait.Go(func() {
			if _, err := s.Append(t.Context(), []store.Entry{e}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

// More members than a summary holds in itself are counted all the same, each
// once, through retraction and expiry.
func TestSummaryOfManyMembers(t *testing.T) {
	const n = 100
	authors := writers(t, n)
	c := newClock()
	s := open(t, store.Options{Now: c.Now})
	i := values[0]
	var entries []store.Entry
	for k, w := range authors {
		h := crypto.Header{TLP: uint8(notice.TLPGreen) + uint8(k%2), Expiry: start + int64(k+1)*day}
		entries = append(entries, w.envelope(t, h, sighting(i, uint64(k), 1)))
	}
	put(t, s, entries[:50]...)
	var again []store.Entry
	for _, w := range authors { // the same members once more
		again = append(again, w.envelope(t, crypto.Header{TLP: uint8(notice.TLPAmber), Expiry: start + 2*day}, sighting(i, 1000, 1)))
	}
	appendAtOnce(t, s, append(entries[50:], again...))
	count := func(ceiling notice.TLP, want int) {
		t.Helper()
		if got := summary(t, s, i, ceiling).Members; got != want {
			t.Fatalf("%d members under %s, want %d", got, ceiling, want)
		}
	}
	count(notice.TLPAmber, n)
	count(notice.TLPGreen, n/2)
	gone := entries[80].Items[0].ID
	put(t, s, authors[80].envelope(t, crypto.Header{TLP: uint8(notice.TLPGreen)}, &notice.Notice{Kind: notice.KindRetraction, Salt: salt(1), Created: start, Ref: &gone}))
	count(notice.TLPAmber, n) // its second sighting still counts
	count(notice.TLPGreen, n/2-1)
	c.ms.Store(start + 50*day)
	count(notice.TLPAmber, n-50-1)
	put(t, s, authors[0].envelope(t, crypto.Header{Time: c.ms.Load()}, sighting(i, 2000, 1))) // written anew, now inline
	count(notice.TLPAmber, n-50)
	c.ms.Store(start + 60*day)
	count(notice.TLPAmber, n-60)
	c.ms.Store(start + day) // set right again
	count(notice.TLPAmber, n)
}

// A summary that shrank and grows again remembers nothing of who left it.
func TestSummaryShrinksAndGrows(t *testing.T) {
	authors := writers(t, 80)
	c := newClock()
	s := open(t, store.Options{Now: c.Now})
	i := values[0]
	all := func(tlp notice.TLP, expiry int64) {
		for k, w := range authors {
			put(t, s, w.envelope(t, crypto.Header{Time: c.ms.Load(), TLP: uint8(tlp), Expiry: expiry}, sighting(i, uint64(k)+uint64(tlp)*1000, 1)))
		}
	}
	all(notice.TLPGreen, start+day)
	c.ms.Store(start + 2*day)
	put(t, s, authors[0].envelope(t, crypto.Header{Time: c.ms.Load()}, sighting(i, 5000, 1))) // one is left
	all(notice.TLPAmber, start+9*day)
	if green, amber := summary(t, s, i, notice.TLPGreen).Members, summary(t, s, i, notice.TLPAmber).Members; green != 0 || amber != 80 {
		t.Fatalf("%d members under GREEN, want 0; %d under AMBER, want 80", green, amber)
	}
}

func TestSummariesAnswersInOrder(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	w := writers(t, 1)[0]
	put(t, s, w.envelope(t, crypto.Header{}, sighting(values[0], 1, 1), sighting(values[2], 2, 5)))
	got, err := s.Summaries([]notice.Key{values[2].Key(), values[1].Key(), values[0].Key()}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got[0].Sightings, got[1], got[2].Sightings) != fmt.Sprint(5, store.Summary{}, 1) {
		t.Fatalf("%+v", got)
	}
}

func TestUnmarkedStaysInTheHouse(t *testing.T) {
	for _, tt := range []struct {
		tlp, ceiling notice.TLP
		want         bool
	}{
		{0, 0, true}, {0, notice.TLPRed, true}, {0, notice.TLPAmberStrict, true}, {0, notice.TLPAmber, false}, {0, notice.TLPClear, false},
		{notice.TLPAmber, notice.TLPAmber, true}, {notice.TLPAmber, notice.TLPGreen, false}, {notice.TLPRed, notice.TLPAmberStrict, false}, {9, notice.TLPAmber, false},
	} {
		if got := store.Visible(tt.tlp, tt.ceiling); got != tt.want {
			t.Errorf("%s under %s: %v", tt.tlp, tt.ceiling, got)
		}
	}
}
