package store_test

import (
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// What is said of a notice is found by its id, also before the notice came, without
// what was taken back, expired or is marked above the ceiling.
func TestSpoken(t *testing.T) {
	c := newClock()
	s := open(t, store.Options{Now: c.Now})
	ws := writers(t, 2)
	request := &notice.Notice{Kind: notice.KindAssistance, Salt: salt(1), Created: start, Assistance: &notice.Assistance{Act: notice.ActRequest, What: "beds", Quantity: 2}}
	id := crypto.NewItemID(ws[0].ID, crypto.LeafHash(raw(t, request)))
	claim := func(n uint64) *notice.Notice {
		return &notice.Notice{Kind: notice.KindAssistance, Salt: salt(n), Created: start, Ref: &id, Assistance: &notice.Assistance{Act: notice.ActClaim, Quantity: 1}}
	}
	first := ws[1].envelope(t, crypto.Header{TLP: uint8(notice.TLPGreen)}, claim(2))
	strict := ws[1].envelope(t, crypto.Header{TLP: uint8(notice.TLPAmber)}, claim(3))
	short := ws[1].envelope(t, crypto.Header{TLP: uint8(notice.TLPGreen), Expiry: start + day}, claim(4))
	put(t, s, first, strict, short)
	said := func(ceiling notice.TLP) int {
		t.Helper()
		records, err := s.Spoken(id, ceiling)
		if err != nil {
			t.Fatal(err)
		}
		return len(records)
	}
	if got := said(0); got != 3 {
		t.Fatalf("before the request: %d, want 3", got)
	}
	put(t, s, ws[0].envelope(t, crypto.Header{TLP: uint8(notice.TLPGreen)}, request))
	if all, green := said(0), said(notice.TLPGreen); all != 3 || green != 2 {
		t.Errorf("all %d, under GREEN %d, want 3 and 2", all, green)
	}
	put(t, s, ws[1].envelope(t, crypto.Header{}, &notice.Notice{Kind: notice.KindRetraction, Salt: salt(5), Created: start, Ref: &first.Items[0].ID}))
	c.ms.Store(start + 2*day)
	if got := said(0); got != 1 {
		t.Errorf("after a retraction and an expiry: %d, want 1", got)
	}
	for ceiling, want := range map[notice.TLP]int{0: 2, notice.TLPGreen: 1} { // the request, and the strict claim
		list, _, err := s.List(store.Query{Kind: notice.KindAssistance, Ceiling: ceiling})
		if err != nil || len(list) != want {
			t.Errorf("listed under %s: %d, %v; want %d", ceiling, len(list), err, want)
		}
	}
	if list, _, err := s.List(store.Query{Kind: notice.KindAssistance, Search: "BED", Author: &ws[0].ID}); err != nil || len(list) != 1 {
		t.Errorf("searched: %d, %v", len(list), err)
	}
	// Erased and swept, nothing of it is left in the index.
	if err := s.Erase(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if list, _, err := s.List(store.Query{Kind: notice.KindAssistance, Author: &ws[0].ID, Lapsed: true, Takeback: true}); err != nil || len(list) != 0 {
		t.Errorf("after it was erased: %d, %v", len(list), err)
	}
}

// What one member says of a notice, or of a value, is found whatever others say, the
// first also where it was taken back.
func TestSpokenByOne(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	ws := writers(t, 3)
	question := &notice.Notice{Kind: notice.KindQuestion, Salt: salt(1), Created: start, Indicator: &values[0]}
	id := crypto.NewItemID(ws[0].ID, crypto.LeafHash(raw(t, question)))
	answer := func(n uint64) *notice.Notice {
		return &notice.Notice{Kind: notice.KindResponse, Salt: salt(n), Created: start, Ref: &id, Response: &notice.Response{Answer: notice.AnswerSeen}}
	}
	var many, sightings []*notice.Notice
	for n := range uint64(1000) { // as many as one call returns
		many, sightings = append(many, answer(100+n)), append(sightings, sighting(values[0], 2000+n, 1))
	}
	mine := ws[1].envelope(t, crypto.Header{}, answer(2), sighting(values[0], 3, 1), sighting(values[0], 4, 1))
	put(t, s, ws[2].envelope(t, crypto.Header{}, many...), ws[2].envelope(t, crypto.Header{}, sightings...), mine)
	back := func(n uint64, of crypto.ItemID) *notice.Notice {
		return &notice.Notice{Kind: notice.KindRetraction, Salt: salt(n), Created: start, Ref: &of}
	}
	put(t, s, ws[1].envelope(t, crypto.Header{}, back(5, mine.Items[0].ID), back(6, mine.Items[1].ID)))
	said, err := s.SpokenBy(id, ws[1].ID)
	if err != nil || len(said) != 1 || said[0].ID != mine.Items[0].ID || !said[0].Retracted {
		t.Errorf("of the question: %+v, %v; want the answer that was taken back", said, err)
	}
	seen, err := s.EvidenceBy(values[0].Key(), ws[1].ID, 0)
	if err != nil || len(seen) != 1 || seen[0].ID != mine.Items[2].ID {
		t.Errorf("of the value: %+v, %v; want the sighting that stands", seen, err)
	}
	if seen, err = s.EvidenceBy(values[0].Key(), ws[1].ID, notice.TLPClear); err != nil || len(seen) != 0 {
		t.Errorf("under CLEAR: %+v, %v", seen, err)
	}
}

// A million sightings are no reason why an open mayday is found later than at once.
func BenchmarkListMaydays(b *testing.B) {
	s := open(b, store.Options{})
	ws := writers(b, 2)
	for n := range uint64(200) {
		var notices []*notice.Notice
		for i := range uint64(500) {
			notices = append(notices, sighting(values[0], n*500+i, 1))
		}
		put(b, s, ws[0].envelope(b, crypto.Header{}, notices...))
	}
	put(b, s, ws[1].envelope(b, crypto.Header{}, &notice.Notice{Kind: notice.KindMayday, Salt: salt(1), Created: start, Mayday: &notice.Mayday{Text: "help"}}))
	for b.Loop() {
		if list, _, err := s.List(store.Query{Kind: notice.KindMayday, Limit: store.ListMax}); err != nil || len(list) != 1 {
			b.Fatal(len(list), err)
		}
	}
}

// Whoever says much of a notice hides nothing that another said of it.
func TestSpokenOfAFlood(t *testing.T) {
	s := open(t, store.Options{})
	ws := writers(t, 2)
	request := &notice.Notice{Kind: notice.KindAssistance, Salt: salt(1), Created: start, Assistance: &notice.Assistance{Act: notice.ActRequest, What: "beds", Quantity: 2}}
	id := crypto.NewItemID(ws[0].ID, crypto.LeafHash(raw(t, request)))
	put(t, s, ws[0].envelope(t, crypto.Header{}, request))
	for n := range uint64(10) {
		var claims []*notice.Notice
		for i := range uint64(500) {
			claims = append(claims, &notice.Notice{Kind: notice.KindAssistance, Salt: salt(100 + n*500 + i), Created: start, Ref: &id, Assistance: &notice.Assistance{Act: notice.ActClaim, Quantity: 1}})
		}
		put(t, s, ws[1].envelope(t, crypto.Header{}, claims...))
	}
	put(t, s, ws[0].envelope(t, crypto.Header{}, &notice.Notice{Kind: notice.KindAssistance, Salt: salt(2), Created: start, Ref: &id, Assistance: &notice.Assistance{Act: notice.ActClose}}))
	if answers, err := s.Answers(id, 0); err != nil || len(answers) != 0 {
		t.Errorf("%d answers, %v; want none", len(answers), err)
	}
	said, err := s.Spoken(id, 0)
	if err != nil || len(said) != 33 {
		t.Fatalf("%d words, %v; want 32 claims and the close", len(said), err)
	}
	for i, r := range said {
		if last := i == 32; (r.Author == ws[0].ID) != last || i > 0 && r.Local < said[i-1].Local {
			t.Fatalf("word %d of %s came at %d: want them as they came, the close last", i, r.Author, r.Local)
		}
	}
	answer := &notice.Notice{Kind: notice.KindResponse, Salt: salt(3), Created: start, Ref: &id, Response: &notice.Response{Answer: notice.AnswerSeen}}
	response := ws[0].envelope(t, crypto.Header{Audience: crypto.AudienceRegion, TLP: uint8(notice.TLPAmber)}, answer)
	put(t, s, response)
	for ceiling, want := range map[notice.TLP]int{0: 1, notice.TLPGreen: 0} {
		if answers, err := s.Answers(id, ceiling); err != nil || len(answers) != want {
			t.Errorf("answers under %s: %d, %v; want %d", ceiling, len(answers), err, want)
		}
	}
}
