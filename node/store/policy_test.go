package store_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// Policies outlive a restart, and of one value there is one.
func TestPolicies(t *testing.T) {
	dir := t.TempDir()
	evil, good, network := value(t, "evil.example"), value(t, "good.example"), value(t, "198.51.100.0/24")
	change := func(s *store.Store, set []store.Policy, gone ...notice.Indicator) {
		t.Helper()
		if err := s.ChangePolicies(t.Context(), set, gone); err != nil {
			t.Fatal(err)
		}
	}
	check := func(s *store.Store, want ...store.Policy) {
		t.Helper()
		got, err := s.Policies()
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(got, func(a, b store.Policy) int { return strings.Compare(a.Indicator.Value, b.Indicator.Value) })
		if !slices.Equal(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	s, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	a := store.Policy{Indicator: network, Denied: true, Time: start, By: "desk", Why: "seen by the provider"}
	b := store.Policy{Indicator: evil, Denied: true, Time: start + 1}
	c := store.Policy{Indicator: good, Time: start + 2, Why: "our own <update> server"}
	change(s, []store.Policy{a, b, c})
	check(s, a, b, c)
	b.Denied, b.Why = false, "a mistake"
	change(s, []store.Policy{b})
	change(s, nil, network, value(t, "never.example"))
	check(s, b, c)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, store.Options{Dir: dir})
	check(s, b, c)
	if err := s.ChangePolicies(t.Context(), []store.Policy{{Indicator: evil, Why: strings.Repeat("x", store.PolicyTextMax+1)}}, []notice.Indicator{good}); err == nil {
		t.Error("a text of any length is taken")
	}
	check(s, b, c)
}
