package mesh_test

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
)

// onSimnet puts a node on a simulated network, over real QUIC.
func onSimnet(net *simnet.Simnet, place int, bits int) func(*mesh.Config) {
	return func(c *mesh.Config) {
		line := simnet.LinkSettings{BitsPerSecond: bits}
		c.Listen = []string{fmt.Sprintf("/ip4/%s/udp/8000/quic-v1", simnet.IntToPublicIPv4(place))}
		c.Transports = []libp2p.Option{
			libp2p.Transport(libp2pquic.NewTransport),
			simlibp2p.QUICSimnet(net, simnet.NodeBiDiLinkSettings{Downlink: line, Uplink: line}),
		}
	}
}

// Two nodes on a line of 64 kbit/s each have hours of bulk to tell the other. An
// urgent word overtakes it, both ways.
func TestUrgentOvertakesBulkOnASlowLink(t *testing.T) {
	const (
		bits    = 64_000
		goal    = 3 * time.Second
		backlog = 60
	)
	if raceEnabled { // golang/go#78156: bubbles and the race detector
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	synctest.Test(t, func(t *testing.T) {
		net := &simnet.Simnet{LatencyFunc: simnet.StaticLatency(20 * time.Millisecond)}
		net.Start()
		t.Cleanup(net.Close)
		r := testkit.NewRegion(t, "hub", "slow")
		hub := start(t, r, 0, both(deaf(mesh.ViaGossip), onSimnet(net, 1, 100_000_000)))
		slow := start(t, r, 1, both(deaf(mesh.ViaGossip), onSimnet(net, 2, bits)))
		var last []*crypto.Envelope
		for _, n := range []*node{hub, slow} {
			for i := range backlog {
				e := n.sign(t, crypto.Header{Time: settled() + int64(i)}, large(20<<10)...)
				if i == 0 { // the newest go first
					last = append(last, e)
				}
			}
		}
		if err := slow.AddSeeds(hub.addrs); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		for round := range 5 {
			for _, way := range [][2]*node{{hub, slow}, {slow, hub}} {
				from, to := way[0], way[1]
				began := time.Now()
				e := from.say(t, crypto.Header{Urgent: true}, []byte("mayday"))
				for !to.has(e) && time.Since(began) < time.Minute {
					time.Sleep(10 * time.Millisecond)
				}
				took := time.Since(began)
				t.Logf("round %d: %s's urgent word took %s", round, from.member.Credential.Name, took)
				if took > goal {
					t.Errorf("an urgent word of %s took %s, want at most %s", from.member.Credential.Name, took, goal)
				}
				time.Sleep(7 * time.Second)
			}
		}
		if slow.has(last[0]) || hub.has(last[1]) {
			t.Error("the backlog was through already: nothing was overtaken")
		}
		began := time.Now()
		for (!slow.has(last[0]) || !hub.has(last[1])) && time.Since(began) < time.Hour {
			time.Sleep(time.Second)
		}
		got := time.Since(began)
		t.Logf("the bulk was through after %s more", got)
		if !slow.has(last[0]) || !hub.has(last[1]) {
			t.Error("the backlog never came through")
		}
	})
}
