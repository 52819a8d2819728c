package sim_test

import (
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/testnet/sim"
)

// Three regions that endorse each other. What is for the community reaches
// everybody, also after a time in which no region heard another; what is for a
// region stays in it.
func TestRegionsHearEachOther(t *testing.T) {
	bubble(t, sim.Config{Seed: 21, Regions: 3, Hubs: sized(3, 6, 9), Spokes: sized(6, 24, 81), Zones: 3}, func(t *testing.T, w *sim.World) {
		w.Start(w.Members...)
		time.Sleep(2 * time.Minute)
		community := crypto.Header{Audience: crypto.AudienceCommunity, TLP: uint8(notice.TLPGreen)}
		say := func(words int, every time.Duration) (open, own []sim.Word) {
			for range words {
				m := w.Members[w.Rand.IntN(len(w.Members))]
				open = append(open, m.Speak(community, 600))
				own = append(own, m.Speak(crypto.Header{}, 600))
				time.Sleep(every)
			}
			return open, own
		}
		open, own := say(20, time.Second)
		time.Sleep(5 * time.Second)
		d := sim.Measure(w, open, w.Members)
		t.Logf("to all regions: %v", d)
		if d.Lost > 0 || !raceEnabled && d.Stretch(.99) > 1.5 {
			t.Errorf("seed %d: lost %d (first %s), p99 %.2f ×, want at most 1.5 ×", w.Config.Seed, d.Lost, d.FirstLost, d.Stretch(.99))
		}
		w.Cut(func(from, to int) bool { return from%3 != to%3 })
		moreOpen, moreOwn := say(20, 15*time.Second)
		w.Heal()
		time.Sleep(4 * time.Minute)
		open, own = append(open, moreOpen...), append(own, moreOwn...)
		if d := sim.Measure(w, open, w.Members); d.Lost > 0 {
			t.Errorf("seed %d: after healing %d are lost, first %s", w.Config.Seed, d.Lost, d.FirstLost)
		}
		for _, home := range w.Regions {
			var members, others []*sim.Member
			for _, m := range w.Members {
				if m.Home == home {
					members = append(members, m)
				} else {
					others = append(others, m)
				}
			}
			w.Equal(members...)
			for _, word := range own {
				if word.By.Home != home {
					continue
				}
				if d := sim.Measure(w, []sim.Word{word}, members); d.Lost > 0 {
					t.Errorf("seed %d: in its own region %s is lost", w.Config.Seed, d.FirstLost)
				}
				for _, m := range others {
					if m.Has(word.Envelope) {
						t.Errorf("%s has a word that was for another region only", m.Credential.Name)
					}
				}
			}
		}
	})
}
