package sim_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/testnet/sim"
)

func TestMain(m *testing.M) {
	if raceEnabled {
		runtime.GOMAXPROCS(1) // golang/go#78156: bubbles and the race detector
	}
	goleak.VerifyTestMain(m)
}

// Members of a scenario at most, under the race detector, which makes everything
// ten times slower, and in every run of the tests. What has more wants
// WATCHWARD_SIM=1 and some minutes.
const (
	racedMembers = 20
	usualMembers = 40
)

func largeAsked() bool { return os.Getenv("WATCHWARD_SIM") != "" || fullAsked() }

// sized is the size of a scenario under the race detector, in every run of the
// tests, and with WATCHWARD_SIM=1.
func sized(raced, usual, large int) int {
	switch {
	case raceEnabled:
		return raced
	case largeAsked():
		return large
	}
	return usual
}

// bubble runs a scenario in virtual time, beside others, since a world keeps one
// core busy, and stops everything at its end.
func bubble(t *testing.T, c sim.Config, scenario func(t *testing.T, w *sim.World)) {
	t.Helper()
	affordable(t, c)
	if !raceEnabled { // which has one core
		t.Parallel()
	}
	alone(t, c, scenario)
}

// affordable skips what is too large for this run.
func affordable(t *testing.T, c sim.Config) {
	t.Helper()
	n := c.Hubs + c.Listeners + c.Spokes
	switch {
	case testing.Short():
		t.Skip("SKIPPED: -short")
	case raceEnabled && n > racedMembers:
		t.Skipf("SKIPPED: %d members are too many for the race detector: run it without", n)
	case n > usualMembers && !largeAsked():
		t.Skipf("SKIPPED: %d members: run it with WATCHWARD_SIM=1", n)
	}
}

// alone is bubble for what measures the process: no other scenario runs meanwhile.
func alone(t *testing.T, c sim.Config, scenario func(t *testing.T, w *sim.World)) {
	t.Helper()
	affordable(t, c)
	began := time.Now()
	defer func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("took %.1f s of wall time, %d MiB from the system", time.Since(began).Seconds(), m.Sys>>20)
	}()
	synctest.Test(t, func(t *testing.T) {
		w := sim.New(t, c)
		defer w.Close()
		scenario(t, w)
	})
}

// warm is how long a region takes to find its shape.
const warm = time.Minute

// speak lets random members say something, one after the other.
func speak(w *sim.World, words int, every time.Duration) (said []sim.Word) {
	for range words {
		m := w.Members[w.Rand.IntN(len(w.Members))]
		said = append(said, m.Speak(crypto.Header{}, 600))
		time.Sleep(every)
	}
	return said
}

// judged are the bounds of a delivery.
type judged struct {
	p50, p99             float64 // times the flood bound's
	duplicates, payloads float64 // a delivery; 0 = not judged
}

// deliver starts everybody, lets members speak and judges how it came.
func deliver(t *testing.T, w *sim.World, words int, most judged) sim.Delivery {
	t.Helper()
	w.Start(w.Members...)
	time.Sleep(warm)
	repeated, accepted := counts(w)
	sent := total(w.Sent())
	idle := time.Now()
	time.Sleep(20 * time.Second)
	quiet := float64(total(w.Sent())-sent) / time.Since(idle).Seconds()
	sent = total(w.Sent())
	began := time.Now()
	said := speak(w, words, 250*time.Millisecond)
	spoken := time.Since(began)
	bytes := float64(total(w.Sent())-sent) - quiet*spoken.Seconds()
	time.Sleep(3 * time.Second)
	repeatedAfter, acceptedAfter := counts(w)
	time.Sleep(100 * time.Second) // sync brings what gossip lost
	d := sim.Measure(w, said, w.Members)
	t.Log(d)
	duplicates := (repeatedAfter - repeated) / (acceptedAfter - accepted)
	payload := 0
	for _, s := range said {
		payload += len(s.Raw)
	}
	payloads := bytes / float64(payload*(len(w.Members)-1))
	t.Logf("%.2f duplicates a delivery, %.2f × payload bytes a delivery (%.0f bytes/s and node without words)", duplicates, payloads, quiet/float64(len(w.Members)))
	if d.Lost > 0 {
		t.Errorf("seed %d: %d lost, first %s", d.Seed, d.Lost, d.FirstLost)
	}
	if raceEnabled {
		return d // of so few times none is judged
	}
	if d.Stretch(.5) > most.p50 || d.Stretch(.99) > most.p99 {
		t.Errorf("seed %d: p50 %.2f × and p99 %.2f × the flood bound, want at most %.2f and %.2f", d.Seed, d.Stretch(.5), d.Stretch(.99), most.p50, most.p99)
	}
	if most.duplicates > 0 && (duplicates > most.duplicates || payloads > most.payloads) {
		t.Errorf("seed %d: %.2f duplicates and %.2f × payload, want at most %.2f and %.2f", d.Seed, duplicates, payloads, most.duplicates, most.payloads)
	}
	return d
}

func counts(w *sim.World) (repeated, accepted float64) {
	const envelopes = "watchward_envelopes_total"
	return sim.Count(w, envelopes, "repeated", w.Members...), sim.Count(w, envelopes, "accepted", w.Members...)
}

func total(all []int64) (n int64) {
	for _, x := range all {
		n += x
	}
	return n
}

// Nine of ten hospitals dial out only.
func TestDeliveryThroughHubsToOutboundOnlySpokes(t *testing.T) {
	bubble(t, sim.Config{Seed: 1, Hubs: sized(4, 8, 15), Spokes: sized(12, 32, 135), Zones: 5}, func(t *testing.T, w *sim.World) {
		if len(w.Members) <= usualMembers { // of few hubs any detour shows
			deliver(t, w, sized(10, 40, 40), judged{p50: 1.5, p99: 1.6})
			return
		}
		deliver(t, w, 240, judged{p50: 1.25, p99: 1.25, duplicates: 5.5, payloads: 7})
	})
}

// Spokes come to hubs by themselves. Hubs look for one another all the same, or words
// would go from hub to hub by way of spokes.
func TestHubsLinkUpWhateverManySpokesCome(t *testing.T) {
	bubble(t, sim.Config{Seed: 21, Hubs: sized(4, 7, 7), Spokes: sized(12, 33, 33), Zones: 3}, func(t *testing.T, w *sim.World) {
		w.Start(w.Members...)
		time.Sleep(warm)
		links := w.Links()
		for i, hub := range w.Members {
			for j, other := range w.Members {
				if i != j && hub.Part == sim.Hub && other.Part == sim.Hub && !slices.Contains(links[i], j) {
					t.Errorf("seed 21: hubs %d and %d are not connected; %d others are to %d", i, j, len(links[i]), i)
				}
			}
		}
	})
}

// Hospitals that can all be dialled, without hubs.
func TestDeliveryAmongListeners(t *testing.T) {
	bubble(t, sim.Config{Seed: 2, Listeners: 100, Zones: 5}, func(t *testing.T, w *sim.World) {
		for _, m := range w.Members {
			m.Change = func(c *mesh.Config) { c.Seeds = []string{w.Members[0].Addr(), w.Members[1].Addr()} }
		}
		deliver(t, w, 60, judged{p50: 2, p99: 2, duplicates: 5.5, payloads: 7})
	})
}

// One datagram in twenty is lost, under real QUIC.
func TestDeliveryUnderFivePercentLoss(t *testing.T) {
	bubble(t, sim.Config{Seed: 3, Hubs: 10, Spokes: 90, Zones: 5, Loss: 0.05, QUIC: true}, func(t *testing.T, w *sim.World) {
		deliver(t, w, 40, judged{p50: 1.5, p99: 1.8}) // asked are 1.4 at p99: see DESIGN.md
	})
}

// Nearly a third of all segments is lost: nothing else is.
func TestDeliveryUnderThirtyPercentLoss(t *testing.T) {
	bubble(t, sim.Config{Seed: 17, Hubs: sized(4, 6, 6), Spokes: sized(12, 34, 34), Zones: 3, Loss: 0.3}, func(t *testing.T, w *sim.World) {
		deliver(t, w, sized(15, 40, 40), judged{p50: 6, p99: 15})
	})
}

// Datagrams overtake one another, and a tenth is lost, under real QUIC.
func TestDeliveryUnderReordering(t *testing.T) {
	bubble(t, sim.Config{Seed: 18, Hubs: sized(3, 5, 5), Spokes: sized(7, 25, 25), Zones: 3, Loss: 0.1, Jitter: 40 * time.Millisecond, QUIC: true}, func(t *testing.T, w *sim.World) {
		deliver(t, w, sized(15, 20, 40), judged{p50: 4, p99: 10})
		w.Equal(w.Members...)
	})
}

// Members whose processors are forty times slower hold up nobody but themselves:
// what the others say takes hardly longer than before those were slow.
func TestSlowMembersHoldUpNobody(t *testing.T) {
	bubble(t, sim.Config{Seed: 19, Hubs: 8, Spokes: 72, Zones: 4}, func(t *testing.T, w *sim.World) {
		var quick, slow []*sim.Member
		for _, m := range w.Members {
			if m.Index%10 == 3 { // a hub and seven spokes
				slow = append(slow, m)
			} else {
				quick = append(quick, m)
			}
		}
		w.Start(w.Members...)
		time.Sleep(warm)
		before := speakOf(w, quick, 60, 250*time.Millisecond)
		for _, m := range slow {
			m.Slow(40)
		}
		said := speakOf(w, quick, 60, 250*time.Millisecond)
		time.Sleep(2 * time.Minute)
		was, is := sim.Measure(w, before, quick), sim.Measure(w, said, quick)
		t.Logf("before: %s", was)
		t.Logf("after:  %s", is)
		if worse := is.Stretch(.99) / was.Stretch(.99); is.Lost > 0 || worse > 1.25 {
			t.Errorf("seed %d: %d lost, p99 %.2f × what it was, want none and at most 1.25", is.Seed, is.Lost, worse)
		}
	})
}

// A member behind 64 kbit/s was away while the others said a megabyte. Urgent
// words overtake what it catches up with, both ways. It has four hubs, all of
// which send to it, over the one line.
func TestUrgentWordsOvertakeTheBacklogOfASlowMember(t *testing.T) {
	if raceEnabled {
		t.Skip("SKIPPED: what it measures is no matter of the race detector")
	}
	bubble(t, sim.Config{Seed: 20, Hubs: 4, Spokes: 8, Zones: 2}, func(t *testing.T, w *sim.World) {
		slow, others := w.Members[11], w.Members[:11]
		w.Slow(slow.Index, 64_000)
		w.Start(others...)
		time.Sleep(time.Minute)
		for i := range 60 {
			others[i%11].Speak(crypto.Header{}, 20<<10)
			time.Sleep(2 * time.Second)
		}
		for range 20 {
			slow.Sign(crypto.Header{}, make([]byte, 20<<10))
		}
		time.Sleep(2 * time.Minute) // settled
		held := len(others[0].IDs())
		w.Start(slow)
		time.Sleep(20 * time.Second)
		for round := range 4 {
			for _, from := range []*sim.Member{others[5], slow} {
				to := slow
				if from == slow {
					to = others[6]
				}
				e := from.Speak(crypto.Header{Urgent: true}, 200)
				time.Sleep(10 * time.Second)
				at, came := to.Arrived(e.ID)
				if took := at.Sub(e.At); !came || took > 3*time.Second {
					t.Errorf("round %d: an urgent word of %s: came %t, took %s", round, from.Credential.Name, came, took)
				} else {
					t.Logf("round %d: an urgent word of %s took %s", round, from.Credential.Name, took)
				}
			}
		}
		if len(slow.IDs()) >= held {
			t.Error("the backlog was through already: nothing was overtaken")
		}
		t.Logf("equal %s later", w.AwaitEqual(time.Hour, w.Members...))
	})
}

// A region that was down as a whole starts again although every seed stays dead:
// the members remember one another's addresses.
func TestColdStartWithDeadSeeds(t *testing.T) {
	bubble(t, sim.Config{Seed: 25, Hubs: sized(4, 8, 8), Spokes: sized(12, 32, 32), Zones: 3}, func(t *testing.T, w *sim.World) {
		dir := t.TempDir()
		for _, m := range w.Members {
			m.Change = func(c *mesh.Config) {
				c.BookPath = filepath.Join(dir, m.Credential.Name)
				c.Seeds = []string{w.Members[0].Addr(), w.Members[1].Addr()}
			}
		}
		w.Start(w.Members...)
		time.Sleep(warm)
		w.Stop(w.Members...)
		time.Sleep(time.Hour)
		alive := w.Members[2:]
		w.Start(alive...)
		time.Sleep(warm)
		said := speakOf(w, alive, 20, 500*time.Millisecond)
		time.Sleep(2 * time.Minute)
		unharmed(t, w, said, alive, 1.6)
	})
}

// modelRound is what an equal round costs by the model: bytes both ways, as
// TestModelCostOfFifteenThousandMembers (package mesh) logs it.
const modelRound = 247

// What rounds of sync cost over real streams, beside the model's figure, and how
// many of them differ while members speak over a lossy network.
func TestSyncCostOfRounds(t *testing.T) {
	bubble(t, sim.Config{Seed: 26, Hubs: 5, Spokes: sized(35, 19, 35), Zones: 3, Loss: 0.02}, func(t *testing.T, w *sim.World) {
		const sessions, bytes = "watchward_sync_sessions_total", "watchward_sync_bytes_total"
		w.Start(w.Members...)
		time.Sleep(time.Minute)
		for _, m := range w.Members {
			m.Speak(crypto.Header{}, 300)
		}
		time.Sleep(5 * time.Minute)
		equal, spent := sim.Count(w, sessions, "equal", w.Members...), sim.Count(w, bytes, "", w.Members...)
		other := sim.Count(w, sessions, "", w.Members...) - equal
		quietFor := time.Duration(sized(0, 5, 10)) * time.Minute
		time.Sleep(quietFor)
		quiet := sim.Count(w, sessions, "equal", w.Members...) - equal
		round := (sim.Count(w, bytes, "", w.Members...) - spent) / quiet // at one end of a session, in and out
		if n := sim.Count(w, sessions, "", w.Members...) - equal - quiet - other; n > 0 {
			t.Errorf("%.0f of %.0f sessions between equal members were no equal ones", n, quiet)
		}
		t.Logf("an equal round is %.0f bytes both ways, %.2f rounds a minute and member", round, quiet/2/quietFor.Minutes()/float64(len(w.Members))) // each counts at both ends
		if round < modelRound || round > 1.25*modelRound {
			t.Errorf("an equal round is %.0f bytes, the model says %d", round, modelRound)
		}
		before := sim.Count(w, sessions, "different", w.Members...)
		all := sim.Count(w, sessions, "", w.Members...)
		for range sized(0, 30, 100) {
			w.Members[w.Rand.IntN(len(w.Members))].Speak(crypto.Header{}, 300)
			time.Sleep(6 * time.Second)
		}
		differ := sim.Count(w, sessions, "different", w.Members...) - before
		all = sim.Count(w, sessions, "", w.Members...) - all
		t.Logf("while ten words a minute are said, %.2f %% of %.0f rounds differ", 100*differ/all, all)
	})
}

func TestDeliveryAmongAThousand(t *testing.T) {
	full(t)
	bubble(t, sim.Config{Seed: 4, Hubs: 100, Spokes: 900, Zones: 10}, func(t *testing.T, w *sim.World) {
		deliver(t, w, 60, judged{p50: 1.2, p99: 1.25, duplicates: 5.5, payloads: 7})
	})
}

// full skips what takes minutes, unless it is asked for.
func full(t *testing.T) {
	t.Helper()
	if !fullAsked() {
		t.Skip("SKIPPED: takes minutes and gigabytes; set WATCHWARD_SIM_FULL=1 to run it")
	}
}

func fullAsked() bool { return os.Getenv("WATCHWARD_SIM_FULL") != "" }
