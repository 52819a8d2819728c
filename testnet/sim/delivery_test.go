package sim_test

import (
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
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
		defer w.Close()
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
	time.Sleep(2 * time.Minute) // sync brings what gossip lost
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
	if d.Stretch(.5) > most.p50 || d.Stretch(.99) > most.p99 {
		t.Errorf("seed %d: p50 %.2f × and p99 %.2f × the flood bound, want at most %.2f and %.2f", d.Seed, d.Stretch(.5), d.Stretch(.99), most.p50, most.p99)
	}
	if most.duplicates > 0 && (duplicates > most.duplicates || payloads > most.payloads && w.Connections() != nil) {
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
	bubble(t, sim.Config{Seed: 1, Hubs: 15, Spokes: 135, Zones: 5}, func(t *testing.T, w *sim.World) {
		deliver(t, w, 60, judged{p50: 1.25, p99: 1.25, duplicates: 5.5, payloads: 7})
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
		deliver(t, w, 60, judged{p50: 1.25, p99: 1.4})
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
