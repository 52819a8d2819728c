package sim_test

import (
	"testing"
	"time"

	"github.com/watchward/watchward/testnet/sim"
)

// Verified, durable and visible at a member takes hardly longer than plain
// GossipSub takes to bring the same bytes over the same connections.
func TestOursAgainstPlainGossipSub(t *testing.T) {
	bubble(t, sim.Config{Seed: 9, Hubs: 10, Spokes: 90, Zones: 5}, func(t *testing.T, w *sim.World) {
		const every = 250 * time.Millisecond
		w.Start(w.Members...)
		time.Sleep(warm)
		links := w.Connections()
		said := speak(w, 60, every)
		time.Sleep(10 * time.Second)
		ours := sim.Measure(w, said, w.Members)
		w.Stop(w.Members...)
		plain := w.Plain(links)
		defer plain.Close()
		time.Sleep(warm)
		theirs := plain.Repeat(said, every)
		ratio := float64(sim.Quantile(ours.Times, .99)) / float64(sim.Quantile(theirs.Times, .99))
		t.Logf("ours:  %s", ours)
		t.Logf("plain: %s", theirs)
		t.Logf("p99 of ours is %.3f × that of plain GossipSub", ratio)
		if ours.Lost > 0 || theirs.Lost > 0 || ratio > 1.1 {
			t.Errorf("seed %d: ours lost %d, plain %d, ratio %.3f, want none and at most 1.1", ours.Seed, ours.Lost, theirs.Lost, ratio)
		}
	})
}
