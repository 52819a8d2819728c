package bench_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/testnet/proc"
)

const (
	millionLookups  = 1_000_000 // lines of one watchward lookup
	millionPatience = 4 * time.Minute
)

// BenchmarkMillion runs watchward run as a process of its own, brings it a
// million values by sync, and takes what it needs: anonymous memory at its
// highest while it fills, then, after a restart, and after lookups of a million
// lines by watchward lookup; the disk; the time from the start of the process to
// the first answer to a lookup.
func BenchmarkMillion(b *testing.B) {
	indicators := scale(b, lookupIndicators)
	binary, err := proc.Build(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		million(b, binary, indicators)
	}
	b.ReportMetric(0, "ns/op")
}

func million(b *testing.B, binary string, indicators int) {
	r := testkit.NewRegion(b, append(authorNames(), "speaker", "here")...)
	h := enlist(b, r, r.Members[fillAuthors+1], r.Records...)
	n := proc.At(binary, h.dir, "here")
	if err := n.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := n.Kill(); err != nil {
			b.Error(err)
		}
	}()
	peak := watchMemory(b, n)
	took, encoded := bring(b, r, r.Members[fillAuthors], n, indicators)
	b.ReportMetric(float64(indicators)/took.Seconds(), "filled/s")
	b.ReportMetric(mebibytes(peak()), "fill-peak-MiB")
	b.ReportMetric(mebibytes(anonymous(b, n.Pid())), "filled-MiB")

	values := questions(millionLookups, indicators, 1)
	b.ReportMetric(lookupCommand(b, n, values, "--json"), "lookup-json-values/s")
	b.ReportMetric(lookupCommand(b, n, values), "lookup-table-values/s")
	b.ReportMetric(lookupCommand(b, n, values, "--known"), "lookup-known-values/s")
	b.ReportMetric(mebibytes(anonymous(b, n.Pid())), "looked-up-MiB")
	if err := n.Stop(); err != nil {
		b.Fatal(err)
	}
	disk := diskUsed(b, filepath.Join(h.dir, "store"))
	b.ReportMetric(mebibytes(disk), "disk-MiB")
	b.ReportMetric(float64(disk)/float64(encoded), "disk-of-encoded")

	var starts []float64
	for range lookupRounds {
		start := time.Now()
		if err := n.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		askOne(b, n, mixed(indicators/2).Value)
		starts = append(starts, time.Since(start).Seconds())
		b.ReportMetric(mebibytes(anonymous(b, n.Pid())), "restarted-MiB")
		if len(starts) == lookupRounds {
			break
		}
		if err := n.Stop(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(median(starts), "start-s")
	peak = watchMemory(b, n)
	lookupCommand(b, n, values, "--json")
	b.ReportMetric(mebibytes(peak()), "restarted-looked-up-peak-MiB")
}

// bring lets a speaker with the envelopes meet the node. It returns how long
// that took, and the bytes of the envelopes.
func bring(b *testing.B, r *testkit.Region, speaker *testkit.Member, n *proc.Node, indicators int) (time.Duration, int64) {
	b.Helper()
	encoded := int64(0)
	s := speakTo(b, r, speaker, listens(b, n))
	defer s.stop(b)
	var all []*crypto.Envelope
	for _, batch := range batches(b, r.Members[:fillAuthors], indicators) {
		all = append(all, batch()...)
	}
	for _, e := range all {
		encoded += int64(len(e.Raw))
	}
	s.hold(all)
	start := time.Now()
	id, err := peer.Decode(s.Peers()[0].ID)
	if err != nil {
		b.Fatal(err)
	}
	var result mesh.SyncResult
	ctx, cancel := context.WithTimeout(b.Context(), millionPatience)
	defer cancel()
	err = proc.Poll(ctx, func() error { // one session may be under way already
		if result, err = s.SyncNow(ctx, id); err != nil {
			return err
		}
		if got := status(b, n).Notices; got != int64(indicators) {
			return fmt.Errorf("the node has %d of %d notices: %+v", got, indicators, result)
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return time.Since(start), encoded
}

// lookupCommand returns values a second of watchward lookup, its start included.
func lookupCommand(b *testing.B, n *proc.Node, values []string, flags ...string) float64 {
	b.Helper()
	in := strings.Join(values, "\n") + "\n"
	start := time.Now()
	a, err := n.Run(b.Context(), strings.NewReader(in), append([]string{"lookup", "-"}, flags...)...)
	took := time.Since(start)
	if err != nil || a.Code != client.ExitNo { // half of them are unknown
		b.Fatalf("lookup: exit code %d: %v %s", a.Code, err, a.Err)
	}
	want := len(values)
	switch {
	case len(flags) == 0:
		want++ // the heading
	case flags[0] == "--known":
		want = want/2 + 1
	}
	if lines := strings.Count(a.Out, "\n"); lines != want {
		b.Fatalf("lookup %v: %d lines, want %d", flags, lines, want)
	}
	return float64(len(values)) / took.Seconds()
}

func askOne(b *testing.B, n *proc.Node, value string) {
	b.Helper()
	c, err := n.Client()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	known := false
	err = c.Lookup(b.Context(), []string{value}, client.LookupOptions{}, func(a api.LookupAnswer) error {
		known = a.Known
		return nil
	})
	if err != nil || !known {
		b.Fatalf("%s is not known: %v", value, err)
	}
}

func status(b *testing.B, n *proc.Node) api.Status {
	b.Helper()
	c, err := n.Client()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	s, err := c.Status(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func listens(b *testing.B, n *proc.Node) []string {
	b.Helper()
	return status(b, n).Listen
}

// watchMemory looks at a node's anonymous memory every so often. What it returns
// ends that, and returns the highest.
func watchMemory(b *testing.B, n *proc.Node) func() int64 {
	b.Helper()
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		highest := int64(0)
		for {
			highest = max(highest, anonymous(b, n.Pid()))
			select {
			case <-tick.C:
			case <-stop:
				peak <- highest
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-peak
	}
}

// anonymous returns RssAnon of a node in bytes, 0 where the system does not tell.
func anonymous(b *testing.B, pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("RssAnon:"))
	fields := strings.Fields(string(rest[:min(len(rest), 40)]))
	if len(fields) == 0 {
		return 0
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		b.Errorf("RssAnon: %v", err)
	}
	return kb << 10
}

// diskUsed returns the bytes of all files of a node that does not run: Badger
// cuts the room off that it had made for its logs.
func diskUsed(b *testing.B, dir string) (total int64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return total
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }
