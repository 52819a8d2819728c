package store_test

import (
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// An alert gets another text in its place, and nothing else changes.
func TestRewordAlert(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	for _, a := range []store.Alert{{Time: start, Kind: "hit", Severity: "warning", Text: "1 line", Dedup: "one", TLP: notice.TLPAmber}, {Time: start, Kind: "hit", Severity: "warning", Text: "other", Dedup: "two"}} {
		if added, err := s.Alert(t.Context(), a); err != nil || !added {
			t.Fatal(err)
		}
	}
	if found, err := s.RewordAlerts(t.Context(), []store.Reworded{{Dedup: "one", Text: "5 lines"}, {Dedup: "absent", Text: "5 lines"}, {Dedup: "two", Text: "others"}}); err != nil || found != 2 {
		t.Fatalf("%v %v", found, err)
	}
	if _, err := s.RewordAlerts(t.Context(), []store.Reworded{{Dedup: "one", Text: "6 lines"}, {Dedup: "two", Text: strings.Repeat("x", store.AlertTextMax+1)}}); err == nil {
		t.Error("a text that is too long was taken")
	}
	if _, err := s.RewordAlerts(t.Context(), make([]store.Reworded, store.RewordMax+1)); err == nil {
		t.Error("more than there is room for was taken")
	}
	all, err := s.Alerts(0, 0, 10)
	if err != nil || len(all) != 2 || all[1].Text != "5 lines" || all[1].ID != 1 || all[1].TLP != notice.TLPAmber || all[1].Time != start || all[0].Text != "others" {
		t.Errorf("%+v %v", all, err)
	}
	if added, err := s.Alert(t.Context(), store.Alert{Time: start, Kind: "hit", Severity: "warning", Text: "again", Dedup: "one"}); err != nil || added {
		t.Errorf("the same again: %v %v", added, err)
	}
}

// A no of MayHave holds while Presences stays the same, and it changes for nothing else.
func TestPresences(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	s.AwaitPresence()
	w := writers(t, 1)[0]
	name := notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"}
	before := s.Presences()
	if before == 0 || s.MayHave(name.Key()) {
		t.Fatalf("at first: %d", before)
	}
	put(t, s, w.envelope(t, crypto.Header{}, sighting(name, 1, 1)))
	first := s.Presences()
	if first == before || !s.MayHave(name.Key()) {
		t.Errorf("after a new value: %d, before %d", first, before)
	}
	put(t, s, w.envelope(t, crypto.Header{}, sighting(name, 2, 1)))
	if got := s.Presences(); got != first {
		t.Errorf("after a known value: %d, before %d", got, first)
	}
	put(t, s, w.envelope(t, crypto.Header{}, sighting(notice.Indicator{Type: notice.TypeCIDR, Value: "198.51.100.0/24"}, 3, 1)))
	if got := s.Presences(); got == first {
		t.Error("after a new network it is the same")
	}
}
