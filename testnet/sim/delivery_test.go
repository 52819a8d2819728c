package sim_test

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/testnet/sim"
)

// bubble runs a scenario in virtual time and stops everything at its end.
func bubble(t *testing.T, c sim.Config, scenario func(t *testing.T, w *sim.World)) {
	t.Helper()
	began := time.Now()
	defer func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("took %.1f s of wall time, %d MiB from the system", time.Since(began).Seconds(), m.Sys>>20)
	}()
	synctest.Test(t, func(t *testing.T) {
		w := sim.New(t, c)
		defer func() { w.Stop(w.Members...) }()
		scenario(t, w)
	})
}

// warm is how long a region takes to find its shape.
const warm = 90 * time.Second

// speak lets random members say something, one after the other.
func speak(w *sim.World, words int, every time.Duration) (said []sim.Word) {
	for range words {
		m := w.Members[w.Rand.IntN(len(w.Members))]
		said = append(said, m.Speak(crypto.Header{}, 600))
		time.Sleep(every)
	}
	return said
}

func TestDeliveryTimesOfHubsAndSpokes(t *testing.T) {
	bubble(t, sim.Config{Seed: 1, Hubs: 15, Spokes: 135, Zones: 5}, func(t *testing.T, w *sim.World) {
		w.Start(w.Members...)
		time.Sleep(warm)
		said := speak(w, 40, 500*time.Millisecond)
		time.Sleep(10 * time.Second)
		d := w.Measure(said, w.Members...)
		t.Log(d)
	})
}
