package bench_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/testnet/proc"
)

const (
	processes = 12 // of each kind
	wordsEach = 120
	// Each author speaks every 3 s: nothing waits to be grouped.
	wordPace  = 250 * time.Millisecond
	wordWait  = 10 * time.Second
	plainSize = 4200 // bytes, about what a sighting and its signature have
	plainPort = 8462
	lineDelay = 25 * time.Millisecond
	plainEnv  = "WATCHWARD_BENCH_PLAIN" // "place,host of the first,host of the second,…"
)

// BenchmarkGossipProcesses compares hospitals, processes with all that they do,
// with processes of GossipSub alone in the same places: networks of their own,
// every pair connected, lines of 25 ms and then without delay. A hospital's word
// counts from when its own author streams it, which is before it is signed, to
// when another hospital has verified it, put it on disk, indexed and streamed it;
// a plain message from when its author delivers it to itself.
func BenchmarkGossipProcesses(b *testing.B) {
	w, err := proc.NewNetwork(1)
	if errors.Is(err, proc.ErrNoNetwork) {
		b.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	var built proc.Builder
	defer built.Close()
	program, err := built.Binary(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ww") // b.TempDir is too long for a socket
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var names []string
	for i := range processes {
		names = append(names, fmt.Sprintf("Hospital %d", i+1))
	}
	region, err := proc.NewRegion(b.Context(), proc.Config{Binary: program, Dir: dir, Names: names, Network: w})
	if err != nil {
		b.Fatal(err)
	}
	defer region.Close()
	for b.Loop() {
		far, near := bothLines(b, region, hospitalWords)
		if err := region.Stop(region.Nodes...); err != nil {
			b.Fatal(err)
		}
		plainFar, plainNear := bothLines(b, region, plainWords)
		b.ReportMetric(milliseconds(quantile(far, 0.99)), "p99-ms")
		b.ReportMetric(milliseconds(quantile(plainFar, 0.99)), "plain-p99-ms")
		b.ReportMetric(milliseconds(quantile(near, 0.99)), "near-p99-ms")
		b.ReportMetric(milliseconds(quantile(plainNear, 0.99)), "near-plain-p99-ms")
		b.ReportMetric(milliseconds(quantile(far, 0.5)), "p50-ms")
		b.ReportMetric(milliseconds(quantile(plainFar, 0.5)), "plain-p50-ms")
		b.ReportMetric(float64(quantile(far, 0.99))/float64(quantile(plainFar, 0.99)), "of-plain")
	}
}

// bothLines lets processes speak over lines of lineDelay and then of none.
func bothLines(b *testing.B, region *proc.Region, start func(*testing.B, *proc.Region) *round) (far, near []time.Duration) {
	r := start(b, region)
	defer r.stop()
	for _, l := range []struct {
		delay time.Duration
		took  *[]time.Duration
	}{{lineDelay, &far}, {0, &near}} {
		if err := region.All(proc.Link{Delay: l.delay}); err != nil {
			b.Fatal(err)
		}
		r.words(b, processes) // connections learn their round trips
		*l.took = r.words(b, wordsEach)
	}
	return far, near
}

// A round is processes that say numbers and tell which they have got.
type round struct {
	say  func(place, number int) error
	stop func()
	next int

	mu  sync.Mutex
	got map[int]map[int]time.Time // by number and place
}

func (r *round) arrived(place, number int) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.got[number] == nil {
		r.got[number] = map[int]time.Time{}
	}
	if _, twice := r.got[number][place]; !twice {
		r.got[number][place] = now
	}
}

// words lets one place after the other say a number, and returns how long each
// took to each other place.
func (r *round) words(b *testing.B, count int) (took []time.Duration) {
	b.Helper()
	first := r.next
	pace := time.NewTicker(wordPace)
	defer pace.Stop()
	for range count {
		<-pace.C
		if err := r.say(r.next%processes, r.next); err != nil {
			b.Fatal(err)
		}
		r.next++
	}
	lost := func() (n int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for number := first; number < r.next; number++ {
			n += processes - len(r.got[number])
		}
		return n
	}
	for end := time.Now().Add(wordWait); lost() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%d of %d deliveries are missing", lost(), count*processes)
		}
	}
	for number := first; number < r.next; number++ {
		for place, at := range r.got[number] {
			if author := number % processes; place != author {
				took = append(took, at.Sub(r.got[number][author]))
			}
		}
	}
	return took
}

func hospitalWords(b *testing.B, region *proc.Region) *round {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var wait sync.WaitGroup
	r := &round{got: map[int]map[int]time.Time{}}
	clients := make([]*client.Client, processes)
	r.stop = func() {
		cancel()
		wait.Wait()
		for _, c := range clients {
			c.Close()
		}
	}
	for place, n := range region.Nodes {
		c, err := n.Client()
		if err != nil {
			b.Fatal(err)
		}
		clients[place] = c
		wait.Go(func() {
			_ = c.Tail(ctx, 0, func(v api.NoticeView) error {
				if v.Indicator == nil {
					return nil
				}
				if number, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(v.Indicator.Value, "w"), ".example")); err == nil {
					r.arrived(place, number)
				}
				return nil
			}, nil)
		})
	}
	r.say = func(place, number int) error {
		_, err := clients[place].Submit(ctx, []api.Submission{{Kind: "sighting", Value: fmt.Sprintf("w%d.example", number)}}, client.SubmitOptions{TLP: "GREEN"})
		return err
	}
	return r
}

func plainWords(b *testing.B, region *proc.Region) *round {
	b.Helper()
	r := &round{got: map[int]map[int]time.Time{}}
	var wait sync.WaitGroup
	var in []io.WriteCloser
	var commands []*exec.Cmd
	hosts := ""
	for _, n := range region.Nodes {
		hosts += "," + n.Host()
	}
	ready := make(chan struct{}, processes)
	for place, n := range region.Nodes {
		c := exec.Command(os.Args[0])
		c.Env, c.Stderr = append(os.Environ(), fmt.Sprintf("%s=%d%s", plainEnv, place, hosts)), os.Stderr
		stdin, err := c.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		stdout, err := c.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := n.StartBeside(c); err != nil {
			b.Fatal(err)
		}
		in, commands = append(in, stdin), append(commands, c)
		wait.Go(func() {
			lines := bufio.NewScanner(stdout)
			for lines.Scan() {
				if number, err := strconv.Atoi(lines.Text()); err == nil {
					r.arrived(place, number)
				} else {
					ready <- struct{}{}
				}
			}
		})
	}
	r.stop = func() {
		for _, w := range in { // the processes end with their input
			_ = w.Close()
		}
		wait.Wait()
		for _, c := range commands {
			if err := c.Wait(); err != nil {
				b.Error(err)
			}
		}
	}
	r.say = func(place, number int) error {
		_, err := fmt.Fprintln(in[place], number)
		return err
	}
	for range processes {
		select {
		case <-ready:
		case <-time.After(patience):
			b.Fatal("the plain processes have not met")
		}
	}
	return r
}

// plain is GossipSub alone as a process: it connects to all others, says the
// numbers that it reads and writes those that it gets.
func plain(spec string, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fields := strings.Split(spec, ",")
	place, err := strconv.Atoi(fields[0])
	if err != nil {
		return err
	}
	hosts := fields[1:]
	address := func(i int) string { return fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", hosts[i], plainPort) }
	h, err := libp2p.New(libp2p.Identity(plainKey(place)), libp2p.ListenAddrStrings(address(place)), libp2p.DisableMetrics())
	if err != nil {
		return err
	}
	defer h.Close()
	params := pubsub.DefaultGossipSubParams() // as the mesh has them
	params.HeartbeatInitialDelay, params.Dhi = 50*time.Millisecond, 8
	router, err := pubsub.NewGossipSub(ctx, h, pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(func(m *pb.Message) string { sum := sha256.Sum256(m.Data); return string(sum[:20]) }),
		pubsub.WithGossipSubParams(params), pubsub.WithFloodPublish(true))
	if err != nil {
		return err
	}
	topic, err := router.Join("plain")
	if err != nil {
		return err
	}
	sub, err := topic.Subscribe()
	if err != nil {
		return err
	}
	go func() {
		for {
			m, err := sub.Next(ctx)
			if err != nil {
				return
			}
			fmt.Fprintln(out, binary.BigEndian.Uint64(m.Data))
		}
	}()
	for i := range place {
		id, err := peer.IDFromPrivateKey(plainKey(i))
		if err != nil {
			return err
		}
		to := peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast(address(i))}}
		for h.Connect(ctx, to) != nil { // it starts as well
			time.Sleep(100 * time.Millisecond)
		}
	}
	for len(topic.ListPeers()) < len(hosts)-1 {
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Fprintln(out, "ready")
	for lines := bufio.NewScanner(in); lines.Scan(); {
		number, err := strconv.ParseUint(lines.Text(), 10, 64)
		if err != nil {
			return err
		}
		if err := topic.Publish(ctx, append(binary.BigEndian.AppendUint64(nil, number), make([]byte, plainSize-8)...)); err != nil {
			return err
		}
	}
	return nil
}

func plainKey(place int) p2pcrypto.PrivKey {
	seed := sha256.Sum256([]byte{byte(place)})
	key, err := p2pcrypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err) // of a key that was just made
	}
	return key
}
