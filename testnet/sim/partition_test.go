package sim_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/testnet/sim"
)

// halves are the members on either side of a partition.
func halves(w *sim.World) (here, there []*sim.Member) {
	for _, m := range w.Members {
		if m.Index%2 == 0 {
			here = append(here, m)
		} else {
			there = append(there, m)
		}
	}
	return here, there
}

// cuts are the ways in which a network breaks: which ordered pairs carry nothing.
var cuts = map[string]func(from, to int) bool{
	"in halves":             func(from, to int) bool { return from%2 != to%2 },
	"one way":               func(from, to int) bool { return from%2 == 0 && to%2 == 1 },
	"in a ring of thirds":   func(from, to int) bool { return (from+1)%3 == to%3 }, // a hears b hears c hears a
	"one hub from half":     func(from, to int) bool { return from == 0 && to%2 == 1 || to == 0 && from%2 == 1 },
	"one member from all":   func(from, to int) bool { return from == 7 || to == 7 },
	"hubs from one another": func(from, to int) bool { return from < 6 && to < 6 },
}

// Whatever way the network breaks, both sides go on, and after it has healed all
// hold the same: by ids, and by the roots of their frontiers.
func TestPartitionsHealToEqualSets(t *testing.T) {
	for name, cut := range cuts {
		lengths := []time.Duration{3 * time.Minute}
		switch {
		case raceEnabled:
			lengths[0] = time.Minute
		case largeAsked():
			lengths[0] = 10 * time.Minute
		case name == "in halves": // long enough for whoever dials to despair
			lengths[0] = 10 * time.Minute
		}
		if fullAsked() {
			lengths = append(lengths, 15*time.Second)
		}
		for _, lasts := range lengths {
			t.Run(fmt.Sprintf("%s for %s", name, lasts), func(t *testing.T) {
				if raceEnabled && name != "one way" {
					t.Skip("SKIPPED: under the race detector one shape has to do")
				}
				bubble(t, sim.Config{Seed: 5, Hubs: sized(4, 6, 6), Spokes: sized(8, 18, 34), Zones: 3}, func(t *testing.T, w *sim.World) {
					w.Start(w.Members...)
					time.Sleep(time.Minute)
					said := speak(w, 5, time.Second)
					w.Cut(cut)
					said = append(said, speak(w, 30, lasts/30)...)
					w.Heal()
					took := w.AwaitEqual(10*time.Minute, w.Members...)
					t.Logf("equal %s after healing", took)
					if took > 3*time.Minute { // redialled within 30 s, settled in 90, compared every 30
						t.Errorf("seed %d: equal only %s after healing", w.Config.Seed, took)
					}
					if d := sim.Measure(w, said, w.Members); d.Lost > 0 {
						t.Errorf("seed %d: %d lost, first %s", w.Config.Seed, d.Lost, d.FirstLost)
					}
				})
			})
		}
	}
}

// While the network is in halves, each goes on by itself.
func TestEachHalfOfAPartitionGoesOn(t *testing.T) {
	bubble(t, sim.Config{Seed: 6, Hubs: 8, Spokes: 42, Zones: 4}, func(t *testing.T, w *sim.World) {
		w.Start(w.Members...)
		time.Sleep(time.Minute)
		w.Cut(cuts["in halves"])
		time.Sleep(time.Minute) // connections that are cut end after 30 s
		here, there := halves(w)
		for _, side := range [][]*sim.Member{here, there} {
			var said []sim.Word
			for i := range 10 {
				said = append(said, side[i*2].Speak(crypto.Header{}, 300))
				time.Sleep(time.Second)
			}
			time.Sleep(5 * time.Second)
			if d := sim.Measure(w, said, side); d.Lost > 0 || sim.Quantile(d.Times, .99) > time.Second {
				t.Errorf("within one half: %s", d)
			}
		}
		for _, m := range there {
			if _, came := m.Arrived(anyOf(here)); came {
				t.Fatal("the cut carries something")
			}
		}
		w.Heal()
		t.Logf("equal %s after healing", w.AwaitEqual(10*time.Minute, w.Members...))
	})
}

func anyOf(members []*sim.Member) crypto.EnvelopeID {
	for id := range members[0].IDs() {
		return id
	}
	return crypto.EnvelopeID{}
}

// Members come and go for virtual hours under loss; what they say reaches all,
// and nothing grows.
func TestChurnForHoursGrowsNothing(t *testing.T) {
	alone(t, sim.Config{Seed: 8, Hubs: sized(3, 5, 5), Spokes: sized(7, 25, 25), Zones: 3, Loss: 0.02}, func(t *testing.T, w *sim.World) {
		w.Start(w.Members...)
		time.Sleep(2 * time.Minute)
		var said []sim.Word
		var goroutines, heap []int
		minutes := sized(6, 15, 60)
		if fullAsked() {
			minutes = 12 * 60
		}
		sampled := min(20, minutes/3)
		for minute := range minutes {
			gone := slices.Compact([]*sim.Member{w.Members[w.Rand.IntN(len(w.Members))], w.Members[w.Rand.IntN(len(w.Members))]})
			w.Stop(gone...)
			running := w.Running()
			for range 3 {
				said = append(said, running[w.Rand.IntN(len(running))].Speak(crypto.Header{}, 200))
				time.Sleep(15 * time.Second)
			}
			w.Start(gone...)
			time.Sleep(15 * time.Second)
			if minute%sampled == sampled-1 {
				time.Sleep(2 * time.Minute)
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				goroutines, heap = append(goroutines, runtime.NumGoroutine()), append(heap, int(m.HeapAlloc>>20))
			}
		}
		t.Logf("equal %s after the last one came back", w.AwaitEqual(10*time.Minute, w.Members...))
		if d := sim.Measure(w, said, w.Members); d.Lost > 0 {
			t.Errorf("seed %d: %d of %d words lost, first %s", w.Config.Seed, d.Lost, d.Words, d.FirstLost)
		}
		t.Logf("goroutines %v, heap MiB %v", goroutines, heap)
		if raceEnabled {
			return // so few members and minutes show no growth
		}
		first, last := goroutines[0], goroutines[len(goroutines)-1]
		if last > first+first/10 {
			t.Errorf("goroutines grew from %d to %d", first, last)
		}
		grown := len(said) * len(w.Members) * 6 >> 10 // MiB of what is held: each member keeps each word
		if first, last := heap[0], heap[len(heap)-1]; last > first+first/4+grown {
			t.Errorf("the heap grew from %d to %d MiB, of which %d are what was said", first, last, grown)
		}
	})
}
