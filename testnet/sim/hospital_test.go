package sim_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/testnet/sim"
)

// nodes runs a scenario among whole nodes: all members but some of the last,
// which are hostile and not started.
func nodes(t *testing.T, c sim.Config, hostile int, scenario func(t *testing.T, w *sim.World, hospitals []*sim.Hospital, hostile []*sim.Member)) {
	t.Helper()
	bubble(t, c, func(t *testing.T, w *sim.World) {
		honest := len(w.Members) - hostile
		hospitals := w.Hospitals(w.Members[:honest]...)
		defer func() {
			for _, h := range hospitals {
				h.Close()
			}
		}()
		for _, h := range hospitals {
			h.Open()
		}
		scenario(t, w, hospitals, w.Members[honest:])
	})
}

// meet lets time pass until every hospital has found a hub. They know nobody but
// the hubs, and nobody knows them: a hub hears 16 strangers at once, and whoever
// finds no room tries again within half a minute.
func meet(t *testing.T, hospitals []*sim.Hospital) {
	t.Helper()
	began := time.Now()
	for _, h := range hospitals {
		for h.Peers() == 0 {
			if time.Since(began) > 5*time.Minute {
				t.Fatalf("%s has met nobody", h.Credential.Name)
			}
			time.Sleep(time.Second)
		}
	}
	t.Logf("all had found a hub %s after they began", time.Since(began))
}

// Whole nodes, 200 of them where large scenarios run: what one reports is known at all others.
func TestWholeNodesKnowWhatOneReports(t *testing.T) {
	c := sim.Config{Seed: 21, Hubs: sized(2, 4, 20), Spokes: sized(4, 16, 180), Zones: 5}
	nodes(t, c, 0, func(t *testing.T, w *sim.World, hospitals []*sim.Hospital, _ []*sim.Member) {
		meet(t, hospitals)
		time.Sleep(warm)
		var said []sim.Word
		var values []string
		for i := range sized(5, 20, 40) {
			values = append(values, fmt.Sprintf("host-%d.evil.example", i))
			said = append(said, hospitals[w.Rand.IntN(len(hospitals))].Speak(api.SubmitOptions{}, values[i]))
			time.Sleep(2 * time.Second)
		}
		time.Sleep(2 * time.Minute)
		sim.Found(said, hospitals)
		d := sim.Measure(w, said, hospitals)
		t.Log(d)
		most := 1.5 // few hubs, so that any detour shows
		if len(hospitals) >= 200 {
			most = 1.25
		}
		if d.Lost > 0 || d.Stretch(.99) > most {
			t.Errorf("seed %d: %d lost, p99 %.2f × the flood bound", d.Seed, d.Lost, d.Stretch(.99))
		}
		for _, h := range hospitals {
			for _, v := range values {
				if !h.Knows(v) {
					t.Fatalf("seed %d: %s does not know %s", d.Seed, h.Credential.Name, v)
				}
			}
		}
	})
}

// Whole nodes: who is cut off is silent for all others, with the hub that heard it last,
// and sees all others as silent, itself not; when it is back, all see all again. Nobody
// else is ever silent.
func TestWholeNodesSeeWhoIsSilent(t *testing.T) {
	c := sim.Config{Seed: 23, Hubs: 3, Spokes: sized(3, 9, 47), Loss: 0.05}
	nodes(t, c, 0, func(t *testing.T, w *sim.World, hospitals []*sim.Hospital, _ []*sim.Member) {
		meet(t, hospitals)
		time.Sleep(5 * time.Minute)
		states := func(h *sim.Hospital) (silent []api.StateView) {
			s, err := h.Node.Situation(t.Context(), 0, 0)
			if err != nil || len(s.Members) != len(hospitals) {
				t.Fatalf("seed %d: %s shows %d members of %d: %v", w.Config.Seed, h.Credential.Name, len(s.Members), len(hospitals), err)
			}
			for _, m := range s.Members {
				if m.State == api.StateSilent {
					silent = append(silent, m)
				}
			}
			return silent
		}
		gone := hospitals[len(hospitals)-1]
		// agree waits until each hospital sees so many as silent.
		agree := func(what string, patience time.Duration, others, itself int) {
			t.Helper()
			for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
				wrong := ""
				for _, h := range hospitals {
					want := others
					if h == gone {
						want = itself
					}
					if got := states(h); len(got) != want {
						wrong = fmt.Sprintf("%s sees %+v", h.Credential.Name, got)
					}
				}
				if wrong == "" {
					t.Logf("%s: seen everywhere after %s", what, time.Since(began))
					return
				}
				if time.Since(began) > patience {
					t.Fatalf("seed %d: %s: after %s %s", w.Config.Seed, what, patience, wrong)
				}
			}
		}
		agree("all are here", 0, 0, 0)
		cut := time.Now()
		w.Cut(func(from, to int) bool { return from == gone.Index || to == gone.Index })
		agree("one is cut off", 35*time.Second, 1, len(hospitals)-1)
		for _, h := range hospitals {
			for _, m := range states(h) {
				since := time.UnixMilli(int64(m.Since))
				if h == gone {
					if m.Member == gone.ID.String() || m.HeardBy == "" {
						t.Errorf("seed %d: who is cut off shows %+v", w.Config.Seed, m)
					}
				} else if hub, err := strconv.Atoi(strings.TrimPrefix(m.HeardBy, "hospital-")); err != nil || hub >= w.Config.Hubs ||
					m.Member != gone.ID.String() || since.After(cut.Add(2*time.Second)) || since.Before(cut.Add(-12*time.Second)) {
					t.Errorf("seed %d: cut off at %s: %s shows %+v", w.Config.Seed, cut, h.Credential.Name, m)
				}
			}
		}
		time.Sleep(5 * time.Minute)
		w.Heal()
		agree("it is back", 30*time.Second, 0, 0)
		time.Sleep(time.Minute)
		agree("all are here", 0, 0, 0)
	})
}

// A member says far more than a hospital does: each node mutes it and says so;
// what the others report comes as fast as ever.
func TestFloodByAMemberIsMutedAndHarmsNobody(t *testing.T) {
	c := sim.Config{Seed: 22, Hubs: sized(2, 4, 5), Spokes: sized(3, 8, 25), Zones: 3}
	nodes(t, c, 1, func(t *testing.T, w *sim.World, hospitals []*sim.Hospital, hostile []*sim.Member) {
		loud := hostile[0]
		w.Start(loud)
		time.Sleep(warm)
		began := time.Now()
		var said []sim.Word
		for i := range 800 {
			loud.Say(crypto.Header{}, fmt.Appendf(nil, "noise %d", i))
			if i%40 == 0 {
				said = append(said, hospitals[w.Rand.IntN(len(hospitals))].Speak(api.SubmitOptions{}, fmt.Sprintf("host-%d.evil.example", i)))
			}
			time.Sleep(50 * time.Millisecond)
		}
		lines := w.Journal.Find("says too much", loud.Credential.Name)
		time.Sleep(2 * time.Minute)
		sim.Found(said, hospitals)
		d := sim.Measure(w, said, hospitals)
		t.Log(d)
		if d.Lost > 0 || d.Stretch(.99) > 1.5 {
			t.Errorf("seed %d: %d lost, p99 %.2f × the flood bound", d.Seed, d.Lost, d.Stretch(.99))
		}
		if len(lines) == 0 || lines[0].At.Sub(began) > time.Minute {
			t.Fatalf("seed %d: the flood is named by %d nodes within a minute", d.Seed, len(lines))
		}
		t.Logf("%d nodes name the flood, the first after %s", len(lines), lines[0].At.Sub(began))
	})
}

// An author that signs two envelopes with one number is named by alerts at
// everybody, and both words stay visible.
func TestForkIsNamedAtEveryNode(t *testing.T) {
	c := sim.Config{Seed: 23, Hubs: sized(2, 4, 4), Spokes: sized(5, 16, 16), Zones: 2}
	nodes(t, c, 1, func(t *testing.T, w *sim.World, hospitals []*sim.Hospital, hostile []*sim.Member) {
		forker := hostile[0]
		w.Start(forker)
		time.Sleep(warm)
		for i := range 4 {
			forker.Say(crypto.Header{}, fmt.Appendf(nil, "word %d", i))
			time.Sleep(time.Second)
		}
		e := forker.Fork(2, []byte("another word"))
		time.Sleep(time.Minute)
		for _, h := range hospitals {
			alerts, _, err := h.Node.Alerts(t.Context(), api.AlertQuery{Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, a := range alerts {
				found = found || a.Kind == "fork"
			}
			if _, came := h.Arrived(e.ID); !found || !came {
				t.Errorf("%s: alert %t, second word %t", h.Credential.Name, found, came)
			}
		}
	})
}

// Two members' clocks are a year off, one each way. The others keep their own
// time, and hear of one another as ever.
func TestClockLiarsDoNotMoveTheOthers(t *testing.T) {
	c := sim.Config{Seed: 24, Hubs: sized(2, 4, 4), Spokes: sized(6, 16, 16), Zones: 2}
	nodes(t, c, 2, func(t *testing.T, w *sim.World, hospitals []*sim.Hospital, liars []*sim.Member) {
		liars[0].Ahead, liars[1].Ahead = 365*24*time.Hour, -365*24*time.Hour
		w.Start(liars...)
		time.Sleep(warm)
		said := []sim.Word{hospitals[3].Speak(api.SubmitOptions{}, "evil.example")}
		time.Sleep(2 * time.Minute)
		sim.Found(said, hospitals)
		if d := sim.Measure(w, said, hospitals); d.Lost > 0 {
			t.Errorf("seed %d: %s", d.Seed, d.FirstLost)
		}
		if lines := w.Journal.Find("clock is", "off the median"); len(lines) > 0 {
			t.Errorf("%d members believe the liars: %s", len(lines), lines[0].Text)
		}
		for _, m := range liars {
			if len(w.Journal.Find("clock is far off", m.PeerID())) == 0 {
				t.Errorf("%s is named by nobody", m.Credential.Name)
			}
		}
	})
}
