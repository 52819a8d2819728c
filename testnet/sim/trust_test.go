package sim_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/testnet/sim"
)

// news are trust records that members learn of while they run, by kind. When one
// is made its World must run already, so that nobody is born with it.
var news = map[string]func(w *sim.World) (record []byte, known func(*trust.Roster) bool){
	"credential": func(w *sim.World) ([]byte, func(*trust.Roster) bool) {
		m := w.Region.Admit(w, "newcomer")[0]
		return m.Record, func(r *trust.Roster) bool {
			_, ok := r.Member(w.Region.ID, m.ID, 1)
			return ok
		}
	},
	"revocation": func(w *sim.World) ([]byte, func(*trust.Roster) bool) {
		thief := w.Members[len(w.Members)-2].Credential
		revoke, err := trust.Revoking(w.Region.Charter, thief, nil, testkit.Founded)
		if err != nil {
			w.Fatal(err)
		}
		records, err := trust.Act(w.Region.Charter, []*crypto.PrivateKey{w.Region.Admission}, testkit.Founded, revoke)
		if err != nil {
			w.Fatal(err)
		}
		return records[0], func(r *trust.Roster) bool {
			_, revoked := r.Revoked(thief)
			return revoked
		}
	},
	"endorsements": func(w *sim.World) ([]byte, func(*trust.Roster) bool) {
		return w.Region.Endorse(w, nil), func(r *trust.Roster) bool { return r.Endorsements(w.Region.ID) != nil }
	},
}

// What a region decides is known to 99 of 100 members within a second, and to one
// that was away the moment it meets anybody.
func TestTrustRecordsReachEverybodyAtOnce(t *testing.T) {
	t.Run("credential", func(t *testing.T) { reachEverybody(t, "credential", sized(3, 6, 12), sized(9, 24, 88)) })
	t.Run("revocation", func(t *testing.T) { reachEverybody(t, "revocation", sized(3, 6, 12), sized(9, 24, 88)) })
	t.Run("endorsements", func(t *testing.T) { reachEverybody(t, "endorsements", sized(3, 6, 12), sized(9, 24, 88)) })
}

func TestTrustRecordsReachAThousandAtOnce(t *testing.T) {
	full(t)
	reachEverybody(t, "revocation", 100, 900)
}

func reachEverybody(t *testing.T, kind string, hubs, spokes int) {
	bubble(t, sim.Config{Seed: 27, Hubs: hubs, Spokes: spokes, Zones: 5, Apart: true}, func(t *testing.T, w *sim.World) {
		last := len(w.Members) - 1
		away, there := w.Members[last], w.Members[:last-1] // the one between them is the thief
		w.Start(append(slices.Clone(there), w.Members[last-1])...)
		time.Sleep(warm)
		record, known := news[kind](w)
		origin := there[w.Rand.IntN(len(there))]
		began := time.Now()
		await := learning(w, there, known)
		if err := origin.AddTrust(w.Context(), [][]byte{record}); err != nil {
			t.Fatal(err)
		}
		took := await()
		p50, p99, longest := sim.Quantile(took, .5), sim.Quantile(took, .99), sim.Quantile(took, 1)
		t.Logf("seed %d: known to %d of %d; to half of them in %s, to 99 %% in %s, to all in %s", w.Config.Seed, len(took), len(there), p50, p99, longest)
		if len(took) < len(there) || p99 > time.Second {
			t.Errorf("seed %d: known to %d of %d, to 99 %% in %s, want 1 s", w.Config.Seed, len(took), len(there), p99)
		}
		time.Sleep(5*time.Minute - time.Since(began))
		returned := time.Now()
		await = learning(w, []*sim.Member{away}, known)
		w.Start(away)
		met := time.Duration(0)
		for ; met < time.Minute && len(away.Mesh.Peers()) == 0; met = time.Since(returned) {
			time.Sleep(time.Millisecond)
		}
		took = await()
		if len(took) == 0 || took[0]-met > time.Second {
			t.Fatalf("seed %d: who was away met somebody after %s and knows it after %v", w.Config.Seed, met, took)
		}
		t.Logf("who was away met somebody after %s and knew it after %s", met, took[0])
	})
}

// learning begins to watch when members come to know something. The function that
// it returns waits for all of them, a minute at most, and returns how long it took
// those who know, sorted.
func learning(w *sim.World, members []*sim.Member, known func(*trust.Roster) bool) func() []time.Duration {
	began := time.Now()
	var (
		mu    sync.Mutex
		took  []time.Duration
		group sync.WaitGroup
	)
	stop := make(chan struct{})
	for _, m := range members {
		group.Go(func() {
			for {
				changed := m.Roster().Changed()
				if known(m.Roster()) {
					mu.Lock()
					took = append(took, time.Since(began))
					mu.Unlock()
					return
				}
				select {
				case <-changed:
				case <-stop:
					return
				}
			}
		})
	}
	return func() []time.Duration {
		w.Helper()
		timer := time.AfterFunc(time.Minute, func() { close(stop) })
		group.Wait()
		timer.Stop()
		slices.Sort(took)
		return took
	}
}
