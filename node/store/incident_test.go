package store_test

import (
	"reflect"
	"testing"

	"github.com/watchward/watchward/node/incident"
	"github.com/watchward/watchward/node/store"
)

// Incidents outlive a restart, and of one number there is one.
func TestIncidents(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	a := &incident.Incident{Number: "2026-1", Title: "one", AwareAt: start, Ransom: incident.Ransom{Amount: "100"}}
	b := &incident.Incident{Number: "2026-10", Title: "two", AwareAt: start + 1}
	for _, i := range []*incident.Incident{a, b} {
		if err := s.KeepIncident(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	a.Title = "renamed"
	if err := s.KeepIncident(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, store.Options{Dir: dir})
	got, err := s.Incidents()
	if err != nil || len(got) != 2 || !reflect.DeepEqual(got[0], a) || !reflect.DeepEqual(got[1], b) {
		t.Errorf("%+v, %v", got, err)
	}
}
