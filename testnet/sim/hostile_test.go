package sim_test

import (
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/testnet/sim"
)

// speakOf lets some members say something in turn.
func speakOf(w *sim.World, members []*sim.Member, words int, every time.Duration) (said []sim.Word) {
	for range words {
		said = append(said, members[w.Rand.IntN(len(members))].Speak(crypto.Header{}, 600))
		time.Sleep(every)
	}
	return said
}

// unharmed checks what honest members said to one another.
func unharmed(t *testing.T, w *sim.World, said []sim.Word, honest []*sim.Member, p99 float64) {
	t.Helper()
	d := sim.Measure(w, said, honest)
	t.Log(d)
	if d.Lost > 0 || d.Stretch(.99) > p99 {
		t.Errorf("seed %d: %d lost (first %s), p99 %.2f × the flood bound, want none and at most %.2f", d.Seed, d.Lost, d.FirstLost, d.Stretch(.99), p99)
	}
}

// named checks that some honest member's log names a peer within a minute.
func named(t *testing.T, w *sim.World, m *sim.Member, as string, honest map[string]bool, since time.Time) {
	t.Helper()
	for _, l := range w.Journal.Find(m.PeerID(), as) {
		if honest[l.Who] && l.At.Sub(since) <= time.Minute {
			t.Logf("%s: %s", m.Credential.Name, l.Text)
			return
		}
	}
	t.Errorf("seed %d: nobody says of %s within a minute: %s", w.Config.Seed, m.Credential.Name, as)
}

// sayings is what an honest member's log says of each kind of hostile one.
var sayings = map[string]string{
	"breaks first": "envelope refused", "replays": "envelope refused", "says bad envelopes": "envelope refused",
	"lies about frontiers": "does not show it", "lies about the time": "clock is far off",
}

// Of two hundred members twenty are hostile, each in a way of its own. What the
// others say reaches all others in good time, and each hostile one is named.
func TestTwentyHostileAmongTwoHundred(t *testing.T) {
	bubble(t, sim.Config{Seed: 11, Hubs: 20, Spokes: 180, Zones: 5}, func(t *testing.T, w *sim.World) {
		hostile := append(append([]*sim.Member{}, w.Members[:4]...), w.Members[40:56]...)
		kind := map[*sim.Member]string{}
		var speakers []*sim.Member
		for i, m := range hostile {
			switch kind[m] = []string{"breaks first", "replays", "lies about frontiers", "lies about the time", "says bad envelopes"}[i%5]; kind[m] {
			case "breaks first":
				m.BreakFirst()
			case "replays":
				m.Replay()
			case "lies about frontiers":
				m.LieAboutFrontiers()
			case "lies about the time":
				m.Ahead = []time.Duration{365 * 24 * time.Hour, -365 * 24 * time.Hour}[i/5%2]
			default:
				speakers = append(speakers, m)
			}
		}
		honest := map[string]bool{}
		var members []*sim.Member
		for _, m := range w.Members {
			if kind[m] == "" {
				members = append(members, m)
				honest[m.Credential.Name] = true
			}
		}
		w.Start(members...)
		time.Sleep(warm)
		w.Start(hostile...)
		time.Sleep(20 * time.Second)
		for _, m := range speakers {
			m.SayBad()
		}
		acted := time.Now()
		said := speakOf(w, members, 60, 500*time.Millisecond)
		time.Sleep(2 * time.Minute)
		unharmed(t, w, said, members, 1.5)
		for _, m := range hostile {
			t.Logf("%s %s", m.Credential.Name, kind[m])
			named(t, w, m, sayings[kind[m]], honest, acted)
		}
		for _, reason := range []string{"signature", "region", "claim", "header"} {
			if sim.Count(w, "watchward_rejected_total", reason, members...) == 0 {
				t.Errorf("seed %d: nothing is counted as rejected for its %s", w.Config.Seed, reason)
			}
		}
		if sim.Count(w, "watchward_mesh_clocks_off", "", members...) == 0 {
			t.Errorf("seed %d: no clock is counted as far off", w.Config.Seed)
		}
		w.Equal(members...)
	})
}

// Half of the hubs censor one member: two relay nothing of it, two send its
// envelopes on with a broken signature. It is heard all the same, by everybody:
// who has no honest hub among those it gossips with hears of it a heartbeat later.
func TestCensoringRelaysDoNotSilence(t *testing.T) {
	bubble(t, sim.Config{Seed: 12, Hubs: 8, Spokes: 52, Zones: 4}, func(t *testing.T, w *sim.World) {
		victim := w.Members[20]
		w.Members[0].Censor(victim.ID)
		w.Members[1].Censor(victim.ID)
		w.Members[2].BreakFirst()
		w.Members[3].BreakFirst()
		w.Start(w.Members...)
		time.Sleep(warm)
		said := speakOf(w, []*sim.Member{victim}, 30, 500*time.Millisecond)
		time.Sleep(10 * time.Minute)
		d := sim.Measure(w, said, w.Members[4:])
		t.Log(d)
		if late := sim.Quantile(d.Times, .99); d.Lost > 0 || late > 3*time.Second {
			t.Errorf("seed %d: %d lost, first %s; p99 %s", d.Seed, d.Lost, d.FirstLost, late)
		}
	})
}

// Most members want to be all that the others see. While every honest hub is down
// they become all peers of the spokes; the hubs they crowd as soon as those are
// back. Everybody has one honest hub among the addresses it was given, and that
// is enough: what honest members said comes to all of them within 20 minutes.
func TestEclipseEnds(t *testing.T) {
	const hubs, hostileHubs, honestSpokes = 4, 10, 10
	bubble(t, sim.Config{Seed: 27, Hubs: hubs + hostileHubs, Spokes: honestSpokes + 14, Zones: 3}, func(t *testing.T, w *sim.World) {
		honestHubs, spokes := w.Members[:hubs], w.Members[hubs+hostileHubs:hubs+hostileHubs+honestSpokes]
		honest := slices.Concat(honestHubs, spokes)
		hostile := slices.Concat(w.Members[hubs:hubs+hostileHubs], w.Members[hubs+hostileHubs+honestSpokes:])
		w.Eclipse(hostile, honest)
		for i, m := range honest {
			m.Change = func(c *mesh.Config) {
				c.Seeds = []string{w.Members[1+i%3].Addr()} // nobody is told of the first hub
				for j := range 3 {
					c.Seeds = append(c.Seeds, hostile[(i+j)%hostileHubs].Addr())
				}
			}
		}
		isHonest := map[string]bool{}
		for _, m := range honest {
			isHonest[m.PeerID()] = true
		}
		eclipsed := func() (names []string) {
			for _, m := range honest {
				if !slices.ContainsFunc(m.Mesh.Peers(), func(p mesh.Peer) bool { return isHonest[p.ID] }) {
					names = append(names, m.Credential.Name)
				}
			}
			return names
		}
		w.Start(hostile...)
		w.Start(honest...)
		time.Sleep(warm)
		w.Stop(honestHubs...)
		time.Sleep(3 * time.Minute) // longer than a connection that is cut lives
		w.Start(honestHubs[0])
		time.Sleep(time.Minute) // who is crowded by now dials nobody who comes later
		w.Start(honestHubs[1:]...)
		time.Sleep(20 * time.Second)
		caught := eclipsed()
		t.Logf("%d of %d have hostile peers only: %s", len(caught), len(honest), caught)
		said := speakOf(w, honest, 20, 5*time.Second)
		began := time.Now()
		for len(eclipsed()) > 0 && time.Since(began) < 10*time.Minute {
			time.Sleep(10 * time.Second)
		}
		t.Logf("%s later: %s", time.Since(began), eclipsed())
		t.Logf("equal %s later", w.AwaitEqual(10*time.Minute, honest...))
		if len(caught) < len(spokes)/2 {
			t.Errorf("seed %d: nothing was tried", w.Config.Seed)
		}
		if d := sim.Measure(w, said, honest); d.Lost > 0 {
			t.Errorf("seed %d: %d lost, first %s", w.Config.Seed, d.Lost, d.FirstLost)
		}
	})
}

// A hundred uninvited identities at one hub: nobody is admitted, no protocol
// answers them, and the members notice nothing.
func TestAHundredSybilsAreNotAdmitted(t *testing.T) {
	bubble(t, sim.Config{Seed: 13, Hubs: sized(3, 5, 5), Spokes: sized(9, 25, 25), Zones: 3}, func(t *testing.T, w *sim.World) {
		w.Start(w.Members...)
		time.Sleep(warm)
		opened := make(chan string, 1000)
		var strangers []sim.Raw
		for i := range 100 {
			r := w.Raw(i, [32]byte{byte(i), 0xee})
			strangers = append(strangers, r)
		}
		defer func() {
			for _, r := range strangers {
				_ = r.Close()
			}
		}()
		done := make(chan struct{})
		for _, r := range strangers {
			go func() {
				defer func() { done <- struct{}{} }()
				id, err := r.Reach(w.Members[0])
				if err != nil {
					return
				}
				for _, p := range meshProtocols {
					if r.Pour(id, p, sim.Oversized) == nil {
						time.Sleep(time.Second)
					}
				}
				time.Sleep(10 * time.Second)
				if len(r.Network().Conns()) > 0 {
					opened <- r.ID().String()
				}
			}()
		}
		said := speakOf(w, w.Members, 40, 500*time.Millisecond)
		for range strangers {
			<-done
		}
		time.Sleep(30 * time.Second)
		unharmed(t, w, said, w.Members, 1.5)
		if len(opened) > 0 {
			t.Errorf("%d strangers are still connected, %s first", len(opened), <-opened)
		}
		for _, p := range w.Members[0].Mesh.Peers() {
			for _, r := range strangers {
				if p.ID == r.ID().String() {
					t.Errorf("stranger %s is a peer", p.ID)
				}
			}
		}
		if n := sim.Count(w, "watchward_rejected_total", "stranger", w.Members[0]); n == 0 {
			t.Error("no stranger is counted")
		} else {
			t.Logf("%.0f attempts of strangers counted", n)
		}
	})
}

// A member's streams that promise too much, say nothing or speak slowly cost it
// its stream. What is too much is named; the others notice nothing.
func TestOversizedAndSlowStreams(t *testing.T) {
	bubble(t, sim.Config{Seed: 14, Hubs: sized(3, 5, 5), Spokes: sized(9, 25, 25), Zones: 3}, func(t *testing.T, w *sim.World) {
		bad := w.Members[len(w.Members)-1]
		honest := w.Members[:len(w.Members)-1]
		w.Start(honest...)
		time.Sleep(warm)
		since := time.Now()
		r := w.Raw(0, bad.PeerSeed)
		defer r.Close()
		for _, hub := range w.Members[:3] {
			id, err := r.Reach(hub)
			if err == nil {
				err = r.Prove(id, bad)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range meshProtocols { // it is in no topic, so that the hub connects anew after a second
				_ = r.Pour(id, p, sim.Oversized)
				for range 100 { // far more than a peer may have
					_ = r.Pour(id, p, []byte{0})
				}
			}
		}
		said := speakOf(w, honest, 40, 500*time.Millisecond)
		time.Sleep(time.Minute)
		unharmed(t, w, said, honest, 1.5)
		names := map[string]bool{}
		for _, m := range honest {
			names[m.Credential.Name] = true
		}
		named(t, w, bad, "not what it should be", names, since)
	})
}

// Who has a member's peer key and not its other one is not heard on any
// protocol, whatever it pours into them, and is dropped after ten seconds and
// named; the member itself is heard as before.
func TestPeerKeyAloneIsNotHeard(t *testing.T) {
	for name, quic := range map[string]bool{"fabric": false, "quic": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, sim.Config{Seed: 17, Hubs: 3, Spokes: 5, QUIC: quic}, func(t *testing.T, w *sim.World) {
				w.Start(w.Members...)
				time.Sleep(warm)
				if n := sim.Count(w, "watchward_rejected_total", "session", w.Members...); n != 0 {
					t.Errorf("%.0f honest sessions refused", n)
				}
				victim, hub := w.Members[5], w.Members[0]
				since := time.Now()
				r := w.Raw(0, victim.PeerSeed)
				defer r.Close()
				id, err := r.Reach(hub)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range meshProtocols {
					_ = r.Pour(id, p, sim.Oversized)
				}
				time.Sleep(9 * time.Second)
				if len(r.Network().ConnsToPeer(id)) == 0 {
					t.Error("dropped before its time")
				}
				if said := w.Journal.Find(victim.PeerID(), "not what it should be"); len(said) > 0 {
					t.Errorf("it was heard: %s", said[0].Text)
				}
				time.Sleep(2 * time.Second)
				if len(r.Network().ConnsToPeer(id)) > 0 {
					t.Error("not dropped")
				}
				named(t, w, victim, "has not proved its keys", map[string]bool{hub.Credential.Name: true}, since)
				if n := sim.Count(w, "watchward_rejected_total", "session", w.Members...); n != 1 {
					t.Errorf("%.0f sessions are counted, want 1", n)
				}
				said := speakOf(w, w.Members[5:6], 10, 500*time.Millisecond)
				time.Sleep(5 * time.Second)
				unharmed(t, w, said, w.Members, 2)
			})
		})
	}
}

// Two envelopes with one number, said at the end of a chain and in the middle of
// it, on either side of a partition: both reach everybody, and all roots agree.
func TestForksReachEverybody(t *testing.T) {
	bubble(t, sim.Config{Seed: 15, Hubs: sized(4, 6, 6), Spokes: sized(10, 34, 34), Zones: 3}, func(t *testing.T, w *sim.World) {
		w.Start(w.Members...)
		time.Sleep(time.Minute)
		a, b := w.Members[10], w.Members[11]
		for range 5 {
			a.Speak(crypto.Header{}, 100)
			b.Speak(crypto.Header{}, 100)
			time.Sleep(time.Second)
		}
		w.Cut(cuts["in halves"])
		time.Sleep(45 * time.Second)
		forks := []*crypto.Envelope{a.Fork(5, []byte("at the end")), b.Fork(3, []byte("in the middle"))}
		time.Sleep(20 * time.Second)
		w.Heal()
		t.Logf("equal %s after healing", w.AwaitEqual(10*time.Minute, w.Members...))
		for _, m := range w.Members {
			for _, e := range forks {
				if !m.Has(e) {
					t.Errorf("%s lacks the second word %d of %s", m.Credential.Name, e.Header.Seq, e.Header.Author)
				}
			}
		}
	})
}

// What another region's member signed is refused whichever topic it is brought
// to, and an old envelope is no news: nobody takes anything twice.
func TestReplayAcrossTopicsAndRegions(t *testing.T) {
	bubble(t, sim.Config{Seed: 16, Hubs: sized(3, 4, 4), Spokes: sized(7, 16, 16), Zones: 2}, func(t *testing.T, w *sim.World) {
		w.Start(w.Members...)
		time.Sleep(time.Minute)
		last := len(w.Members) - 1
		bad, honest := w.Members[last], w.Members[:last]
		since := time.Now()
		old := honest[5].Speak(crypto.Header{}, 100)
		time.Sleep(5 * time.Second)
		other := testkit.NewRegionNamed(t, "elsewhere", "author").Members[0].Envelope(t, crypto.Header{Time: time.Now().UnixMilli()}, nil, []byte("foreign"))
		for _, a := range []crypto.Audience{crypto.AudienceRegion, crypto.AudienceCommunity} {
			here := crypto.Header{Region: w.Region.ID, Audience: a}
			bad.Publish(&crypto.Envelope{Header: here, ID: other.ID, Raw: other.Raw})
			if a != old.Header.Audience {
				bad.Publish(&crypto.Envelope{Header: here, ID: old.ID, Raw: old.Raw})
			}
		}
		time.Sleep(15 * time.Minute) // longer than gossip remembers what it has seen
		accepted := sim.Count(w, "watchward_envelopes_total", "accepted", honest...)
		bad.Publish(old.Envelope)
		time.Sleep(time.Minute)
		if after := sim.Count(w, "watchward_envelopes_total", "accepted", honest...); after != accepted {
			t.Errorf("%.0f envelopes were taken again", after-accepted)
		}
		for _, m := range honest {
			if m.Has(other) {
				t.Errorf("%s holds another region's envelope", m.Credential.Name)
			}
		}
		names := map[string]bool{}
		for _, m := range honest {
			names[m.Credential.Name] = true
		}
		named(t, w, bad, "envelope refused", names, since)
		w.Equal(w.Members...)
	})
}

// meshProtocols are those of package mesh that take what a peer sends.
var meshProtocols = []protocol.ID{"/watchward/urgent/0", "/watchward/direct/0", "/watchward/pull/0", "/watchward/sync/0", "/meshsub/1.2.0"}
