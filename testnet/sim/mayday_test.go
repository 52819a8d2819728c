package sim_test

import (
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/testnet/sim"
)

// What flows while somebody is attacked: 1,000 sightings a second in envelopes of 64.
const (
	flowItems = 64
	flowSize  = 95 // bytes of a sighting; a million in a bundle are 93 each
	flowEvery = time.Second * flowItems / 1000
)

// maydays lets sightings flow for so many seconds, with an urgent word a second in
// between, and half a second later an ordinary one of the same size by the same member.
// It returns how the urgent words, the ordinary ones, and the sightings reached everybody.
func maydays(t *testing.T, w *sim.World, seconds int) (urgent, ordinary, flow sim.Delivery) {
	t.Helper()
	w.Start(w.Members...)
	time.Sleep(warm)
	anybody := func() *sim.Member { return w.Members[w.Rand.IntN(len(w.Members))] }
	attacked := anybody()
	var words, others, sightings []sim.Word
	const second = int(time.Second / flowEvery)
	for tick := range seconds * second {
		sightings = append(sightings, anybody().SpeakItems(crypto.Header{}, flowItems, flowSize))
		time.Sleep(flowEvery / 2)
		switch tick % second {
		case 0:
			attacked = anybody()
			words = append(words, attacked.Speak(crypto.Header{Urgent: true}, 200))
		case second / 2:
			others = append(others, attacked.Speak(crypto.Header{}, 200))
		}
		time.Sleep(flowEvery / 2)
	}
	time.Sleep(2 * time.Minute) // sync brings what gossip lost
	urgent, ordinary, flow = sim.Measure(w, words, w.Members), sim.Measure(w, others, w.Members), sim.Measure(w, sightings, w.Members)
	t.Logf("urgent:    %s", urgent)
	t.Logf("ordinary:  %s", ordinary)
	t.Logf("sightings: %s", flow)
	for _, d := range []sim.Delivery{urgent, ordinary, flow} {
		if d.Lost > 0 {
			t.Errorf("seed %d: %d lost, first %s", d.Seed, d.Lost, d.FirstLost)
		}
	}
	return urgent, ordinary, flow
}

// A mayday overtakes what flows.
func TestMaydayOvertakes(t *testing.T) {
	bubble(t, sim.Config{Seed: 31, Hubs: sized(4, 8, 15), Spokes: sized(12, 32, 135), Zones: 5}, func(t *testing.T, w *sim.World) {
		urgent, ordinary, flow := maydays(t, w, sized(4, 8, 20))
		if raceEnabled {
			return
		}
		for _, q := range []float64{.5, .99} {
			if u := urgent.Stretch(q); u >= ordinary.Stretch(q) || u >= flow.Stretch(q) {
				t.Errorf("seed %d: of %.0f %% an urgent word takes %.2f × the flood bound, an ordinary one %.2f ×, sightings %.2f ×",
					urgent.Seed, 100*q, u, ordinary.Stretch(q), flow.Stretch(q))
			}
		}
	})
}

// … and reaches a thousand hardly later than a flood without any work would.
func TestMaydayToAThousand(t *testing.T) {
	full(t)
	bubble(t, sim.Config{Seed: 32, Hubs: 100, Spokes: 900, Zones: 10}, func(t *testing.T, w *sim.World) {
		urgent, _, _ := maydays(t, w, 10)
		if s := urgent.Stretch(.99); s > 1.25 {
			t.Errorf("seed %d: p99 %.2f × the flood bound, want at most 1.25", urgent.Seed, s)
		}
	})
}
