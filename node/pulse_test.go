package node_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// members are a node's members by name.
func (h *hospital) members(t testing.TB) map[string]api.MemberView {
	t.Helper()
	views, err := h.Members(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]api.MemberView{}
	for _, v := range views {
		out[v.Name] = v
	}
	return out
}

func (h *hospital) status(t testing.TB) api.Status {
	t.Helper()
	s, err := h.Status(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// silent are the names of those that a node sees as silent. All that it shows must say
// the same.
func (h *hospital) silent(t testing.TB) (names []string) {
	t.Helper()
	s := h.situation(t, 0)
	for _, m := range s.Members {
		if m.State == api.StateSilent {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	if s.Counts.Silent != len(names) {
		t.Fatalf("%s counts %d silent of %v", h.Name(), s.Counts.Silent, names)
	}
	return names
}

// Of four hospitals two see each other, one is stopped, and one comes back where nobody
// finds it. Whoever is not heard is silent, for its silence nobody is alerted, and all
// are OK again once they can meet. No hub is named in any configuration.
func TestSilence(t *testing.T) {
	t.Parallel()
	r := startRegion(t, 4)
	one, two, gone, lost := r.hospitals[0], r.hospitals[1], r.hospitals[2], r.hospitals[3]
	word := gone.submit(t, api.SubmitOptions{}, sighting("evil.example", r.clock.now()))[0]
	eventually(t, "all know it", func() bool {
		return !slices.ContainsFunc(r.hospitals, func(h *hospital) bool { _, known := h.notice(t, word.ID); return !known })
	})
	said := r.clock.now()
	for _, h := range r.hospitals {
		if s := h.status(t); s.States != (api.StateCounts{OK: 4}) || len(h.silent(t)) > 0 {
			t.Errorf("in its first seconds %s sees %+v", h.Name(), s.States)
		}
	}
	lost.stop(t)
	gone.stop(t)
	stopped := r.clock.now()
	if err := os.Remove(filepath.Join(lost.dir, "peers.json")); err != nil { // its new port is known to nobody
		t.Fatal(err)
	}
	lost.open(t)
	lost.start(t, nil)

	const within = 50 * time.Second // nobody is silent in the first 30 s
	for _, h := range []*hospital{one, two} {
		eventuallyIn(t, within, h.Name()+" sees who is silent", func() bool { return slices.Equal(h.silent(t), []string{"Hospital 3", "Hospital 4"}) })
		members := h.members(t)
		for _, name := range []string{"Hospital 1", "Hospital 2"} {
			if m := members[name]; m.State != api.StateOK || m.Since != 0 || m.HeardBy != "" {
				t.Errorf("%s sees %s as %s since %s", h.Name(), name, m.State, m.Since)
			}
		}
		if m := members["Hospital 3"]; m.State != api.StateSilent || int64(m.Since) < said-patience.Milliseconds() || int64(m.Since) > stopped+1000 {
			t.Errorf("%s sees %s as %s since %s; it was stopped at %s", h.Name(), m.Name, m.State, m.Since, api.Time(stopped))
		}
		if s := h.status(t); s.State != api.StateOK || s.States != (api.StateCounts{Silent: 2, OK: 2}) {
			t.Errorf("status of %s: %s, %+v", h.Name(), s.State, s.States)
		}
		if got := metric(t, h, "watchward_members_silent"); got != 2 {
			t.Errorf("the metric of %s counts %v silent", h.Name(), got)
		}
	}

	// Who hears nobody says so, goes by what it holds, and is well itself.
	eventuallyIn(t, within, "who is alone sees all others as silent", func() bool {
		return slices.Equal(lost.silent(t), []string{"Hospital 1", "Hospital 2", "Hospital 3"})
	})
	alone := lost.members(t)
	if m := alone["Hospital 3"]; m.HeardBy != "" || int64(m.Since) > said || int64(m.Since) < said-patience.Milliseconds() {
		t.Errorf("its last word was said before %s, and it was heard at %s by %q", api.Time(said), m.Since, m.HeardBy)
	}
	if m := alone["Hospital 2"]; m.HeardBy != "" || m.Since != 0 {
		t.Errorf("who said nothing was heard at %s by %q", m.Since, m.HeardBy)
	}
	if m := alone["Hospital 4"]; m.State != api.StateOK || !m.Self {
		t.Errorf("it sees itself as %s", m.State)
	}
	if s := lost.status(t); s.Peers != 0 || !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.HasPrefix(w, "no other member is connected: ") }) {
		t.Errorf("it has %d peers and warns of %q", s.Peers, s.Warnings)
	}
	for _, h := range []*hospital{one, two, lost} {
		if all, _, err := h.Alerts(t.Context(), api.AlertQuery{Limit: 10}); err != nil || len(all) > 0 {
			t.Errorf("silence alerts at %s: %+v, %v", h.Name(), all, err)
		}
	}

	// All find each other again: nobody was put out of anything.
	gone.open(t)
	gone.start(t, nil)
	r.meet(t)
	for _, h := range r.hospitals {
		eventuallyIn(t, within, h.Name()+" sees all as OK", func() bool { return h.status(t).States == api.StateCounts{OK: 4} })
		if got := metric(t, h, "watchward_members_silent"); got != 0 {
			t.Errorf("the metric of %s counts %v silent", h.Name(), got)
		}
	}
}

// A hospital's own words come before its silence, and are seen up to the ceiling alone.
// A revoked member has no state.
func TestStatesOfMembers(t *testing.T) {
	b := newBench(t)
	b.start(t, nil)
	b.told(t, b.author, crypto.Header{TLP: uint8(notice.TLPAmber)}, nil,
		b.word(notice.KindMayday, 1, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "ransom note"} }))
	state := func(ceiling notice.TLP, m crypto.MemberID) api.MemberView {
		views, err := b.Members(t.Context(), ceiling)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(views, func(v api.MemberView) bool { return v.ID == m.String() })
		return views[i]
	}
	eventually(t, "the author is under attack", func() bool { return state(0, b.author.ID).State == api.StateUnderAttack })
	if v := state(0, b.author.ID); v.Since == 0 || b.status(t).States.UnderAttack != 1 {
		t.Errorf("it is shown as %+v, and counted as %+v", v, b.status(t).States)
	}
	if v := state(notice.TLPGreen, b.author.ID); v.State != api.StateOK || v.Since != 0 {
		t.Errorf("up to GREEN it is shown as %+v", v)
	}
	if s, err := b.Status(t.Context(), notice.TLPGreen); err != nil || s.States.UnderAttack != 0 {
		t.Errorf("up to GREEN there are %+v, %v", s.States, err)
	}
	b.adds(t, revoke(t, b.region.Charter, b.region.Admission, b.other.Credential, b.clock.now()))
	if v := state(0, b.other.ID); v.State != "" {
		t.Errorf("a revoked member is shown as %+v", v)
	}
}
