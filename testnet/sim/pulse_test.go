package sim_test

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/watchward/watchward/mesh/pulse"
	"github.com/watchward/watchward/testnet/sim"
)

// The pulse over real meshes: who is gone is silent everywhere within 35 s, nobody
// else is, and after a partition all see all again within 30 s.
func TestPulse(t *testing.T) {
	bubble(t, sim.Config{Seed: 11, Hubs: 3, Listeners: 1, Spokes: sized(4, 8, 16), Loss: 0.05}, func(t *testing.T, w *sim.World) {
		w.Start(w.Members...)
		places := map[string]int{}
		var roster []string
		for _, m := range w.Members {
			places[string(m.Credential.Peer)] = m.Index
			roster = append(roster, string(m.Credential.Peer))
		}
		pulses := make([]*pulse.Pulse, len(w.Members))
		for _, m := range w.Members {
			p, err := pulse.New(pulse.Config{
				Self: string(m.Credential.Peer), Region: w.Region.ID.String(), Network: m.Mesh,
				Roster: func() []string { return roster }, Hub: m.Part != sim.Spoke,
				Dialable: m.Mesh.Dialable, Now: m.Now, Log: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			pulses[m.Index] = p
		}
		silent := func(i int) (out []int) {
			for _, s := range pulses[i].States() {
				if s.Silent {
					out = append(out, places[s.Peer])
				}
			}
			slices.Sort(out)
			return out
		}
		// agree waits until every node sees just those as silent that must be.
		agree := func(what string, patience time.Duration, want func(i int) []int) {
			t.Helper()
			from := time.Now()
			for {
				wrong := slices.IndexFunc(w.Members, func(m *sim.Member) bool { return !slices.Equal(silent(m.Index), want(m.Index)) })
				if wrong < 0 {
					t.Logf("%s: seen everywhere after %v", what, time.Since(from))
					return
				}
				if time.Since(from) > patience {
					t.Fatalf("seed %d: %s: after %v silent at %d are %v, not %v", w.Config.Seed, what, patience, wrong, silent(wrong), want(wrong))
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		nobody := func(int) []int { return nil }
		time.Sleep(2 * time.Minute)
		agree("all are here", 0, nobody)
		last := len(w.Members) - 1
		for _, gone := range []int{last, 0} {
			w.Cut(func(from, to int) bool { return from == gone || to == gone })
			agree("one is gone", 35*time.Second, func(i int) (out []int) {
				for j := range w.Members {
					if j != i && (j == gone || i == gone) {
						out = append(out, j)
					}
				}
				return out
			})
			time.Sleep(5 * time.Minute)
			w.Heal()
			agree("healed", 30*time.Second, nobody)
			time.Sleep(time.Minute)
			agree("all are here", 0, nobody)
		}
	})
}
