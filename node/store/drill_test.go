package store_test

import (
	"reflect"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/store"
)

// Exercises outlive a restart, of one number there is one, and the oldest go.
func TestDrills(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	keep := func(d *store.Drill) {
		t.Helper()
		if err := s.KeepDrill(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	a := &store.Drill{Number: 1, Name: "one", By: "local-commands", Started: start, Until: start + 1}
	keep(a)
	a.Ended, a.Spent, a.Reached, a.Report = start+1, 1, []store.Reach{{Member: crypto.MemberID{1}, At: start}}, []byte("{}")
	keep(a)
	b := &store.Drill{Number: 2, Name: "two", Started: start + 2, Until: start + 3}
	keep(b)
	if err := s.KeepDrill(t.Context(), &store.Drill{Number: 3, Report: make([]byte, store.DrillReportMax+1)}); err == nil {
		t.Error("a report without bound is kept")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, store.Options{Dir: dir})
	got, err := s.Drills()
	if err != nil || len(got) != 2 || !reflect.DeepEqual(got[0], a) || got[1].Name != "two" || got[1].Ended != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	keep(&store.Drill{Number: store.DrillsMax + 1, Name: "later"})
	if got, err = s.Drills(); err != nil || len(got) != 2 || got[0].Number != 2 || got[1].Name != "later" {
		t.Errorf("the oldest stays: %+v, %v", got, err)
	}
}
