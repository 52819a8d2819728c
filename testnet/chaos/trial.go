package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/testnet/fault"
	"github.com/watchward/watchward/testnet/proc"
)

// Bounds and times of a trial.
const (
	minutesMax = 60
	sayEvery   = 250 * time.Millisecond
	rowEvery   = 2 * time.Second
	calmFor    = 5 * time.Second // before the first fault and between two
	brokenFor  = 10 * time.Second
	urgentOne  = 20              // one word in so many is urgent, as far as the node's budget goes
	settleMax  = 2 * time.Minute // until the last word is everywhere
)

// A Result is what a trial measured. Times are milliseconds from its start.
type Result struct {
	Hospitals  int      `json:"hospitals"`
	Seed       uint64   `json:"seed"`
	Began      string   `json:"began"`
	DurationMS int64    `json:"duration_ms"`
	Networks   bool     `json:"networks"` // each hospital had a network of its own
	Words      []Word   `json:"words"`    // that were acknowledged
	Refused    int      `json:"refused"`  // by a hospital that was down, or cut off in the middle
	Faults     []Broken `json:"faults"`
	Verdict    string   `json:"verdict"` // of the invariants at the end
}

// A Word was acknowledged at a hospital.
type Word struct {
	AtMS    int64   `json:"at_ms"` // when it was said, before the acknowledgement
	From    int     `json:"from"`
	Urgent  bool    `json:"urgent,omitempty"`
	Arrived []int64 `json:"arrived_ms"` // by hospital, by its clock, which is the same; -1 = not yet
}

// A Broken is a fault and how long it lasted.
type Broken struct {
	FromMS int64  `json:"from_ms"`
	ToMS   int64  `json:"to_ms"`
	Text   string `json:"text"`
	Nodes  []int  `json:"nodes"` // that missed something
}

// Options of Run.
type Options struct {
	Hospitals int
	Minutes   int
	Seed      uint64
	Out       io.Writer // gets the live table
}

// Run starts a region, breaks it for some minutes while words are said, heals
// it and checks the invariants. A region that does not keep them is an error,
// beside the result.
func Run(ctx context.Context, o Options) (result Result, err error) {
	if o.Minutes < 1 || o.Minutes > minutesMax {
		return result, fmt.Errorf("--minutes %d: choose 1 to %d", o.Minutes, minutesMax)
	}
	w, err := proc.NewNetwork(o.Seed)
	if errors.Is(err, proc.ErrNoNetwork) {
		fmt.Fprintf(o.Out, "NOTE: %v. On loopback hospitals are only killed and paused, and no network is cut.\n", err)
	} else if err != nil {
		return result, err
	}
	fmt.Fprintf(o.Out, "Building watchward and starting %d hospitals …\n", o.Hospitals)
	r, clean, err := start(ctx, o.Hospitals, w)
	defer func() {
		err = errors.Join(err, clean())
		if w != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if err != nil {
		return result, err
	}
	t := &trial{
		o: o, region: r, driver: fault.NewDriver(r), began: time.Now(), random: rand.New(rand.NewPCG(o.Seed, 2)),
		index: map[string]int{}, early: map[string][]arrival{}, broken: "nothing", down: make([]bool, len(r.Nodes)),
	}
	t.result = Result{Hospitals: o.Hospitals, Seed: o.Seed, Began: t.began.UTC().Format(time.RFC3339), Networks: w != nil}
	fmt.Fprintf(o.Out, "The same faults again: --seed %d\n\n", o.Seed)
	err = t.run(ctx)
	return t.result, err
}

type trial struct {
	o      Options
	region *proc.Region
	driver *fault.Driver
	began  time.Time
	random *rand.Rand // of the goroutine that breaks things

	mu     sync.Mutex // guards what follows
	result Result
	index  map[string]int       // of a value among the words
	early  map[string][]arrival // before the acknowledgement was read
	broken string               // what is being broken now
	down   []bool               // hospitals that are not asked to say anything now
}

type arrival struct {
	node int
	at   int64
}

func (t *trial) ms() int64 { return time.Since(t.began).Milliseconds() }

func (t *trial) run(ctx context.Context) error {
	watch, stop := context.WithCancel(ctx)
	defer stop()
	var watching sync.WaitGroup
	for i := range t.region.Nodes {
		watching.Go(func() { t.listen(watch, i) })
	}
	watching.Go(func() { t.table(watch) })
	trying, end := context.WithTimeout(ctx, time.Duration(t.o.Minutes)*time.Minute)
	defer end()
	var group errgroup.Group
	group.Go(func() error { t.talk(trying); return nil })
	group.Go(func() error { return t.breakThings(ctx, trying) })
	err := group.Wait()
	if err == nil && ctx.Err() == nil {
		settle, cancel := context.WithTimeout(ctx, settleMax)
		err = proc.Poll(settle, t.settled)
		cancel()
	}
	t.mu.Lock()
	t.result.DurationMS = t.ms()
	t.mu.Unlock()
	stop()
	watching.Wait()
	if err == nil && ctx.Err() == nil {
		fmt.Fprintln(t.o.Out, "\nAll is healed. Checking:")
		if err = t.driver.Check(ctx); err == nil {
			for _, i := range fault.Invariants {
				fmt.Fprintf(t.o.Out, "  %s  %s\n", i.Name, i.Text)
			}
		}
	}
	t.result.Verdict = "every invariant holds"
	if err = errors.Join(err, ctx.Err()); err != nil {
		t.result.Verdict = err.Error()
	}
	return err
}

// talk has words said at random hospitals.
func (t *trial) talk(ctx context.Context) {
	random := rand.New(rand.NewPCG(t.o.Seed, 3))
	tick := time.NewTicker(sayEvery)
	defer tick.Stop()
	var saying sync.WaitGroup
	defer saying.Wait()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		from, urgent := random.IntN(len(t.region.Nodes)), random.IntN(urgentOne) == 0
		t.mu.Lock()
		down := t.down[from]
		t.mu.Unlock()
		if !down {
			saying.Go(func() { t.say(ctx, from, urgent, fmt.Sprintf("word-%d.example", i)) })
		}
	}
}

func (t *trial) say(ctx context.Context, from int, urgent bool, value string) {
	at := t.ms()
	// What was begun is finished: a word cut off half way says nothing.
	err := t.driver.Say(context.WithoutCancel(ctx), t.region.Nodes[from], fault.Options{Urgent: urgent}, value)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.result.Refused++
		delete(t.early, value)
		return
	}
	w := Word{AtMS: at, From: from, Urgent: urgent, Arrived: make([]int64, len(t.region.Nodes))}
	for i := range w.Arrived {
		w.Arrived[i] = -1
	}
	for _, a := range t.early[value] {
		w.Arrived[a.node] = a.at
	}
	delete(t.early, value)
	t.index[value] = len(t.result.Words)
	t.result.Words = append(t.result.Words, w)
}

// listen follows what arrives at a hospital, through all its restarts.
func (t *trial) listen(ctx context.Context, node int) {
	c, err := client.New(client.Config{Socket: t.region.Nodes[node].Socket()})
	if err != nil {
		return // it has a socket's path always
	}
	defer c.Close()
	const again = 200 * time.Millisecond
	for ctx.Err() == nil {
		_ = c.Tail(ctx, 0, func(v api.NoticeView) error { // from the start: what was counted already is found so
			if v.Indicator != nil {
				t.arrived(v.Indicator.Value, arrival{node, int64(v.Received) - t.began.UnixMilli()})
			}
			return nil
		}, nil)
		select {
		case <-time.After(again):
		case <-ctx.Done():
		}
	}
}

func (t *trial) arrived(value string, a arrival) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, ok := t.index[value]; !ok {
		t.early[value] = append(t.early[value], a)
	} else if at := &t.result.Words[i].Arrived[a.node]; *at < 0 {
		*at = a.at
	}
}

// settled reports what has not arrived yet.
func (t *trial) settled() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := Summarize(t.result); s.Missing > 0 {
		return fmt.Errorf("%d deliveries are missing", s.Missing)
	}
	return nil
}

// A Summary is what the live table shows.
type Summary struct {
	Delivered, Missing int           // words at hospitals other than their author's
	P50, P99           time.Duration // of those delivered
}

// Summarize counts a result.
func Summarize(r Result) Summary {
	var s Summary
	var delays []int64
	for _, w := range r.Words {
		for node, at := range w.Arrived {
			switch {
			case node == w.From:
			case at < 0:
				s.Missing++
			default:
				delays = append(delays, at-w.AtMS)
			}
		}
	}
	slices.Sort(delays)
	s.Delivered, s.P50, s.P99 = len(delays), percentile(delays, 50), percentile(delays, 99)
	return s
}

// percentile is of sorted milliseconds; 0 if there are none.
func percentile(sorted []int64, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return time.Duration(sorted[(len(sorted)-1)*p/100]) * time.Millisecond
}

// table prints a row now and then.
func (t *trial) table(ctx context.Context) {
	const row = "%6s  %6v  %9v  %7v  %8s  %8s  %s\n"
	fmt.Fprintf(t.o.Out, row, "TIME", "SAID", "DELIVERED", "MISSING", "P50", "P99", "BROKEN NOW")
	tick := time.NewTicker(rowEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t.mu.Lock()
		s, said, broken := Summarize(t.result), len(t.result.Words), t.broken
		t.mu.Unlock()
		fmt.Fprintf(t.o.Out, row, time.Since(t.began).Round(time.Second), said, s.Delivered, s.Missing, s.P50, s.P99, broken)
	}
}

// Print prints what a trial found: lost is what was still missing at its end.
func (r Result) Print(out io.Writer) error {
	s := Summarize(r)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nacknowledged\t%d words\nrefused\t%d, by hospitals that were down\nfaults\t%d\ndelivered\t%d\nlost\t%d\np50\t%s\np99\t%s\nverdict\t%s\n",
		len(r.Words), r.Refused, len(r.Faults), s.Delivered, s.Missing, s.P50, s.P99, strings.ReplaceAll(r.Verdict, "\n", " "))
	return t.Flush()
}
