package store_test

import (
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// Words has what was said of an indicator, counted or not, under a ceiling.
func TestWords(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	w := writers(t, 2)
	i := value(t, "evil.example")
	seen := sighting(i, 1, 3)
	seen.Context = &notice.Context{Family: "Qakbot"}
	told := sighting(i, 2, 1)
	told.Kind, told.Count = notice.KindIndicator, 0
	told.Origin = &notice.Origin{Source: "misp:ESET", ID: "7"}
	drill := sighting(i, 3, 1)
	amber := crypto.Header{TLP: uint8(notice.TLPAmber), Audience: crypto.AudienceRegion}
	a := w[0].envelope(t, amber, seen)
	put(t, s, a, w[1].envelope(t, crypto.Header{TLP: uint8(notice.TLPGreen), Audience: crypto.AudienceCommunity}, told))
	exercise := crypto.Header{TLP: uint8(notice.TLPAmber), Audience: crypto.AudienceRegion, Exercise: true}
	put(t, s, w[1].envelope(t, exercise, drill))
	id := a.Items[0].ID
	put(t, s, w[0].envelope(t, amber, &notice.Notice{Kind: notice.KindRetraction, Salt: salt(4), Created: start, Ref: &id},
		&notice.Notice{Kind: notice.KindDispute, Salt: salt(5), Created: start, Indicator: &i, Reason: "ours"}))

	words := func(ceiling notice.TLP) []store.Word {
		t.Helper()
		out, err := s.Words(i.Key(), ceiling)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	all := words(0)
	if len(all) != 4 || all[0].Kind != notice.KindDispute {
		t.Fatalf("%+v", all)
	}
	if got := all[1]; got.Author != w[1].ID || !got.Exercise || got.Last != drill.LastSeen {
		t.Errorf("the drill: %+v", got)
	}
	if got := all[2]; got.Kind != notice.KindIndicator || got.Source != "misp:ESET" || got.Family != "" || got.TLP != notice.TLPGreen {
		t.Errorf("the import: %+v", got)
	}
	if got := all[3]; got.ID != id || !got.Retracted || got.Family != "Qakbot" || got.Last != seen.LastSeen {
		t.Errorf("what was taken back: %+v", got)
	}
	if got := words(notice.TLPGreen); len(got) != 1 || got[0] != all[2] {
		t.Errorf("up to GREEN: %+v", got)
	}
}

// A member that says a thing a thousand times buries nobody, and its latest word is
// among those that are kept.
func TestWordsOfAFlood(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	w := writers(t, 2)
	i := value(t, "evil.example")
	put(t, s, w[1].envelope(t, crypto.Header{}, sighting(i, 5000, 1)))
	flood := make([]*notice.Notice, 900)
	for n := range flood {
		flood[n] = sighting(i, uint64(n), 1)
	}
	put(t, s, w[0].envelope(t, crypto.Header{}, flood...))
	words, err := s.Words(i.Key(), 0)
	if err != nil || len(words) != 17 {
		t.Fatalf("%d words, %v", len(words), err)
	}
	if got, want := words[0].Last, flood[899].LastSeen; got != want {
		t.Errorf("the latest is of %d, want %d", got, want)
	}
	if got := words[16]; got.Author != w[1].ID {
		t.Errorf("%+v", got)
	}
}
