package sim_test

import (
	"fmt"
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
