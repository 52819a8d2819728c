package pulse_test

import (
	"io"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watchward/watchward/mesh/pulse"
)

// hostile makes a node say what tell returns, once a second, on every link that others
// open or that it opens to those who listen. It answers pings.
func (n *net) hostile(i int, tell func(to int) []pulse.Frame) {
	d := n.nodes[i]
	serve := func(peer string, s pulse.Stream) {
		to := n.places[peer]
		_, _ = s.Write(pulse.NewFrame(pulse.FrameHello, []byte{0, 1}).Bytes())
		go func() {
			for {
				for _, f := range tell(to) {
					if _, err := s.Write(f.Bytes()); err != nil {
						return
					}
				}
				time.Sleep(time.Second)
			}
		}()
		for {
			f, err := pulse.ReadFrame(s)
			if err != nil {
				_ = s.Reset()
				return
			}
			if f.Kind() == pulse.FramePing {
				_, _ = s.Write(pulse.NewFrame(pulse.FramePong, nil).Bytes())
			}
		}
	}
	n.mu.Lock()
	d.handlers = map[string]func(string, pulse.Stream){pulse.ProtocolLink: serve}
	d.allows = map[string]func(string) bool{pulse.ProtocolLink: func(string) bool { return true }}
	n.mu.Unlock()
	for j, other := range n.nodes {
		if other.listens && j != i {
			if s, err := d.Open(n.ctx, id(j), pulse.ProtocolLink); err == nil {
				go serve(id(j), s)
			}
		}
	}
}

// A hub that lies in every way at once: of a member that is gone that it hears it, of
// all others that it does not; by SWIM that those who live are dead, for good, and that
// the dead live. Nobody but the dead turns silent, and they do: a little later.
func TestHostileHub(t *testing.T) {
	t.Run("lies", func(t *testing.T) { hostileHub(t, 0) })
	t.Run("lies and floods", func(t *testing.T) { hostileHub(t, 200) })
}

func hostileHub(t *testing.T, pings int) {
	synctest.Test(t, func(t *testing.T) {
		const liar = 4
		n := newNet(t, 16, 5, 0.05)
		gone := map[int]bool{}
		defer func() {
			n.stop()
			time.Sleep(2 * time.Second) // the liar sees that its links have ended
		}()
		for i := range n.nodes {
			if i != liar {
				n.start(t, i)
			}
		}
		incarnation := uint32(1 << 20)
		var mu sync.Mutex // the liar tells each in a goroutine of its own
		n.hostile(liar, func(to int) (say []pulse.Frame) {
			mu.Lock()
			defer mu.Unlock()
			said := map[string]time.Duration{}
			incarnation++
			for i := range n.nodes {
				if gone[i] {
					said[id(i)] = 0
				}
				if !n.nodes[i].listens || i == liar || !n.nodes[to].listens {
					continue
				}
				name, accuser := pulse.NameOf(id(i)), pulse.NameOf(id((i+1)%4))
				word := message(5, accusation{math.MaxUint32, name, accuser})
				if gone[i] {
					word = message(4, aliveWord{incarnation, name, pulse.Address(name), 1, nil, ours})
				}
				say = append(say, pulse.NewFrame(pulse.FramePacket, labelled(label, word)))
			}
			say = append(say, pulse.NewFrame(pulse.FrameAges, pulse.Report(said)))
			for range pings {
				say = append(say, pulse.NewFrame(pulse.FramePing, nil))
			}
			return say
		})
		for _, victim := range []int{9, 1} { // a spoke, and a hub
			for range 4 * 60 {
				time.Sleep(time.Second)
				for i, d := range n.nodes {
					if d.pulse == nil || gone[i] {
						continue
					}
					for _, who := range n.silent(i) {
						if !gone[who] {
							t.Fatalf("at %d, %d is silent, and it is not", i, who)
						}
					}
				}
			}
			mu.Lock()
			gone[victim] = true
			mu.Unlock()
			n.breaks(alone(gone))
			n.nodes[victim].pulse.Close()
			from := time.Now()
			for i, d := range n.nodes {
				for d.pulse != nil && !gone[i] && !slices.Contains(n.silent(i), victim) {
					if time.Since(from) > pulse.LoneFor+10*time.Second {
						t.Fatalf("at %d, %d is not silent after %v, for a liar hears it", i, victim, time.Since(from))
					}
					time.Sleep(500 * time.Millisecond)
				}
			}
			took := time.Since(from)
			t.Logf("%d is silent everywhere after %v", victim, took)
			if pings == 0 && took < pulse.LoneFor-10*time.Second {
				t.Errorf("the liar was not listened to, so this says nothing: silent after %v", took)
			}
		}
	})
}

// What memberlist must not see ends the link on which it came, and so does what no
// node sends.
func TestForeignFramesEndTheLink(t *testing.T) {
	hello := pulse.NewFrame(pulse.FrameHello, []byte{0, 0})
	for name, frames := range map[string][]pulse.Frame{
		"compressed":          {hello, pulse.NewFrame(pulse.FramePacket, labelled(label, compressed(make([]byte, 1<<20))))},
		"encrypted":           {hello, pulse.NewFrame(pulse.FramePacket, labelled(label, append([]byte{10}, make([]byte, 40)...)))},
		"of a foreign label":  {hello, pulse.NewFrame(pulse.FramePacket, labelled("other", message(0, goodPing())))},
		"ages of no hub":      {hello, pulse.NewFrame(pulse.FrameAges, nil)},
		"two hellos":          {hello, hello},
		"no hello":            {pulse.NewFrame(pulse.FramePing, nil)},
		"a kind of its own":   {hello, pulse.NewFrame(77, nil)},
		"a later version":     {pulse.NewFrame(pulse.FrameHello, []byte{9, 0})},
		"longer than allowed": {hello, pulse.NewFrame(pulse.FramePing, []byte{1})},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newNet(t, 3, 2, 0)
			n.start(t, 0)
			defer n.stop()
			s, err := n.nodes[1].Open(t.Context(), id(0), pulse.ProtocolLink)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range frames {
				_, _ = s.Write(f.Bytes())
			}
			_ = s.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err = io.Copy(io.Discard, s); err != io.ErrClosedPipe {
				t.Errorf("%s: the link goes on: %v", name, err)
			}
		})
	}
}
