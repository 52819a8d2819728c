package bench_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
)

const (
	entrySize    = 512
	votersOf     = 3
	rateRounds   = 3
	rateWarm     = 2 * time.Second
	syncsOfRound = 200
)

// rateClients are how many clients write at once, one after the other.
var rateClients = []int{1, 64, 256, 1024}

// rateLong is how long each of them is measured in each round.
func rateLong() time.Duration {
	long, err := time.ParseDuration(cmp.Or(os.Getenv("WATCHWARD_BENCH_LONG"), "5s"))
	if err != nil {
		panic("WATCHWARD_BENCH_LONG: " + err.Error())
	}
	return long
}

// BenchmarkLedger compares the ledger with etcd: three processes each, encrypted lines
// between them and to clients in further processes, 512-byte entries, each durable at
// a quorum before it is acknowledged. Rounds of one and the other take turns, and
// between them a file is appended to and synced, which is what no quorum can beat.
func BenchmarkLedger(b *testing.B) {
	dir := b.TempDir()
	c := startCluster(b, votersOf, 0)
	ours := c.loads(b)
	rival := startEtcd(b, dir)
	for b.Loop() {
		mine, theirs := map[int][]rate{}, map[int][]rate{}
		var syncs []time.Duration
		for round := range rateRounds + 1 {
			long := rateLong()
			if round == 0 { // files grow, connections are made, caches fill
				long = rateWarm
			}
			for _, clients := range rateClients {
				synced := appendAndSync(b, dir, syncsOfRound)
				r := run(b, ours, clients, long)
				if round > 0 {
					syncs = append(syncs, synced...)
					mine[clients] = append(mine[clients], r)
				}
				if rival == nil {
					continue
				}
				if r := run(b, rival.loads, clients, long); round > 0 {
					theirs[clients] = append(theirs[clients], r)
				}
			}
		}
		reportRates(b, mine, theirs, syncs)
	}
	b.ReportMetric(0, "ns/op")
}

// reportRates reports the medians of the rounds.
func reportRates(b *testing.B, mine, theirs map[int][]rate, syncs []time.Duration) {
	ours, etcd := map[int]rate{}, map[int]rate{}
	for _, clients := range rateClients {
		ours[clients] = middle(mine[clients])
		b.Logf("ledger %4d clients: %v", clients, ours[clients])
		if len(theirs) > 0 {
			etcd[clients] = middle(theirs[clients])
			b.Logf("etcd   %4d clients: %v", clients, etcd[clients])
		}
	}
	b.ReportMetric(ours[1].second, "ledger-1/s")
	b.ReportMetric(ours[64].second, "ledger-64/s")
	b.ReportMetric(ours[256].second, "ledger-256/s")
	b.ReportMetric(ours[1024].second, "ledger-1024/s")
	sync := milliseconds(quantile(syncs, 0.5))
	b.ReportMetric(sync, "append-sync-p50-ms")
	b.ReportMetric(milliseconds(ours[1].p50), "ledger-1-p50-ms")
	b.ReportMetric(milliseconds(ours[1].p50)/sync, "ledger-1-of-sync")
	b.ReportMetric(milliseconds(ours[256].p99), "ledger-256-p99-ms")
	if len(theirs) == 0 {
		return
	}
	b.ReportMetric(etcd[1].second, "etcd-1/s")
	b.ReportMetric(etcd[64].second, "etcd-64/s")
	b.ReportMetric(etcd[256].second, "etcd-256/s")
	b.ReportMetric(etcd[1024].second, "etcd-1024/s")
	b.ReportMetric(milliseconds(etcd[256].p99), "etcd-256-p99-ms")
	b.ReportMetric(ours[64].second/etcd[64].second, "of-etcd-64")
	b.ReportMetric(ours[256].second/etcd[256].second, "of-etcd-256")
}

// middle is the round with the median rate.
func middle(rounds []rate) rate {
	slices.SortFunc(rounds, func(a, b rate) int { return cmp.Compare(a.second, b.second) })
	return rounds[len(rounds)/2]
}

// appendAndSync times appending one entry to a file and syncing it.
func appendAndSync(t testing.TB, dir string, count int) (took []time.Duration) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "synced"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range count {
		entry := newEntry()
		start := time.Now()
		_, err := f.Write(entry)
		if err = errors.Join(err, f.Sync()); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	return took
}

// A cluster is the ledger of a region, each voter and witness a process.
type cluster struct {
	region *testkit.Region
	ca     *authority
	specs  []voterSpec
	files  []string
	procs  []*voterProc
}

type voterProc struct {
	command *exec.Cmd
	in      io.WriteCloser
}

// startCluster starts voters and witnesses, and waits for a leader.
func startCluster(t testing.TB, voters, witnesses int) *cluster {
	t.Helper()
	var names, watching []string
	for k := range voters {
		names = append(names, fmt.Sprintf("voter %d", k))
	}
	for k := range witnesses {
		watching = append(watching, fmt.Sprintf("witness %d", k))
	}
	c := &cluster{region: testkit.NewRegionLedger(t, "bench", names, watching)}
	dir := t.TempDir()
	c.ca = newAuthority(t, dir)
	pair := c.ca.issue(t, "voter")
	var peers []string
	for _, m := range c.region.Members {
		a, err := addressOf(m.Identity, freeAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, a)
	}
	for k, m := range c.region.Members {
		at := filepath.Join(dir, fmt.Sprint(k))
		s := voterSpec{
			Place: k, Dir: filepath.Join(at, "ledger"), Keys: filepath.Join(at, "identity.key"), Region: c.region.ID,
			Records: c.region.Records, Peers: peers, Clients: freeAddress(t), Pair: pair, Voter: k < voters,
		}
		raw, err := json.Marshal(s)
		file := filepath.Join(at, "spec")
		err = errors.Join(err, os.MkdirAll(at, 0o700), keyfile.Save(s.Keys, m.Identity), os.WriteFile(file, raw, 0o600))
		if err != nil {
			t.Fatal(err)
		}
		c.specs, c.files, c.procs = append(c.specs, s), append(c.files, file), append(c.procs, nil)
	}
	t.Cleanup(func() { c.stop(t) })
	for k := range c.specs {
		c.start(t, k)
	}
	k, _ := c.leader(t)
	k.close()
	return c
}

// start starts the process of a place and waits until it takes clients.
func (c *cluster) start(t testing.TB, place int) {
	t.Helper()
	p := &voterProc{command: exec.Command(os.Args[0])}
	p.command.Env, p.command.Stderr = append(os.Environ(), voterEnv+"="+c.files[place]), os.Stderr
	var err error
	if p.in, err = p.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	c.procs[place] = p
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(out, ready); err != nil {
		t.Fatalf("voter %d: %v", place, errors.Join(err, p.command.Wait()))
	}
}

// kill ends a process as a crash does.
func (c *cluster) kill(t testing.TB, place int) {
	t.Helper()
	if err := c.procs[place].command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.procs[place].command.Wait()
	c.procs[place] = nil
}

func (c *cluster) stop(t testing.TB) {
	for _, p := range c.procs {
		if p == nil {
			continue
		}
		if err := errors.Join(p.in.Close(), p.command.Wait()); err != nil {
			t.Errorf("a voter's process: %v", err)
		}
	}
}

// leader connects to whoever leads.
func (c *cluster) leader(t testing.TB) (k *link, place int) {
	t.Helper()
	k, place, err := dialLeader(c.ca.file, c.addresses())
	if err != nil {
		t.Fatal(err)
	}
	return k, place
}

func (c *cluster) addresses() (all []string) {
	for _, s := range c.specs {
		if s.Voter {
			all = append(all, s.Clients)
		}
	}
	return all
}

// loads starts processes of clients.
func (c *cluster) loads(t testing.TB) (all []*load) {
	t.Helper()
	for range loadProcesses {
		command := exec.Command(os.Args[0])
		command.Env = append(os.Environ(), appenderEnv+"="+c.ca.file+" "+strings.Join(c.addresses(), ","))
		all = append(all, startLoad(t, command))
	}
	return all
}
