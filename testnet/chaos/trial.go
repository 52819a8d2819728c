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
	Regions    int      `json:"regions"`
	RegionOf   []int    `json:"region_of"` // by hospital, from 0
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
	Green   bool    `json:"green,omitempty"` // for every region; otherwise AMBER, for the author's
	Arrived []int64 `json:"arrived_ms"`      // by hospital, by its clock, which is the same; -1 = not yet
}

// A Broken is a fault and how long it lasted.
type Broken struct {
	FromMS int64  `json:"from_ms"`
	ToMS   int64  `json:"to_ms"`
	Text   string `json:"text"`
	Nodes  []int  `json:"nodes"` // that missed something
}

// holds is the verdict when all is well.
const holds = "every invariant holds"

// errStopped is the verdict after Ctrl-C.
var errStopped = errors.New("stopped before all was healed: nothing was checked, and what was on its way counts as lost")

// Options of Run.
type Options struct {
	Hospitals int // in all
	Regions   int // that endorse each other
	Minutes   int
	Seed      uint64
	Out       io.Writer // gets the live table
}

// Run starts regions, breaks them for some minutes while words are said, heals
// them and checks the invariants. If they do not hold that is an error, beside
// the result.
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
	regions, clean, err := start(ctx, o.Hospitals, o.Regions, w, o.Out)
	defer func() {
		err = errors.Join(err, clean())
		if w != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if ctx.Err() != nil {
		return result, errStopped
	}
	if err != nil {
		return result, err
	}
	t := &trial{
		o: o, driver: fault.NewDriver(regions...), began: time.Now(), random: rand.New(rand.NewPCG(o.Seed, 2)),
		index: map[string]int{}, early: map[string][]arrival{}, broken: "nothing", down: make([]bool, o.Hospitals),
	}
	t.result = Result{Hospitals: o.Hospitals, Regions: o.Regions, Seed: o.Seed, Began: t.began.UTC().Format(time.RFC3339), Networks: w != nil}
	for i, r := range regions {
		for _, n := range r.Nodes {
			t.nodes, t.result.RegionOf = append(t.nodes, n), append(t.result.RegionOf, i)
		}
	}
	fmt.Fprintf(o.Out, "The same faults again: --seed %d\n\n", o.Seed)
	err = t.run(ctx)
	return t.result, err
}

type trial struct {
	o      Options
	nodes  []*proc.Node // of all regions
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
	for i := range t.nodes {
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
				if i.Name == "I2" && t.o.Regions > 1 {
					fmt.Fprintf(t.o.Out, "      no hospital of another region holds one of %d AMBER words\n", t.result.amber())
				}
			}
		}
	}
	t.result.Verdict = holds
	if ctx.Err() != nil { // which also fails what was being done
		err = errStopped
	}
	if err != nil {
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
		from, urgent := random.IntN(len(t.nodes)), random.IntN(urgentOne) == 0
		green := t.o.Regions > 1 && random.IntN(2) == 0
		t.mu.Lock()
		down := t.down[from]
		t.mu.Unlock()
		if !down {
			saying.Go(func() { t.say(ctx, Word{From: from, Urgent: urgent, Green: green}, fmt.Sprintf("word-%d.example", i)) })
		}
	}
}

func (t *trial) say(ctx context.Context, w Word, value string) {
	w.AtMS = t.ms()
	o := fault.Options{Urgent: w.Urgent, TLP: "AMBER"}
	if w.Green {
		o.TLP = "GREEN"
	}
	// What was begun is finished: a word cut off half way says nothing.
	err := t.driver.Say(context.WithoutCancel(ctx), t.node(w.From), o, value)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.result.Refused++
		delete(t.early, value)
		return
	}
	w.Arrived = make([]int64, len(t.nodes))
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
	c, err := client.New(client.Config{Socket: t.nodes[node].Socket()})
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
	if s := Summarize(t.result); s.Own.Missing+s.Across.Missing > 0 {
		return fmt.Errorf("%d deliveries are missing", s.Own.Missing+s.Across.Missing)
	}
	return nil
}

// A Summary is what the live table shows.
type Summary struct {
	Own    Deliveries // of AMBER and GREEN words to the author's region
	Across Deliveries // of GREEN words to other regions
	Stray  int        // AMBER words at hospitals of another region
}

// Deliveries are of words to hospitals other than their author's.
type Deliveries struct {
	Delivered, Missing int
	P50, P99           time.Duration // of those delivered

	delays []int64 // milliseconds
}

// Summarize counts a result.
func Summarize(r Result) Summary {
	var s Summary
	for _, w := range r.Words {
		for node, at := range w.Arrived {
			own := r.own(w, node)
			switch {
			case node == w.From:
			case own:
				s.Own.count(w, at)
			case w.Green:
				s.Across.count(w, at)
			case at >= 0:
				s.Stray++
			}
		}
	}
	s.Own.finish()
	s.Across.finish()
	return s
}

func (d *Deliveries) count(w Word, at int64) {
	if at < 0 {
		d.Missing++
		return
	}
	d.delays = append(d.delays, at-w.AtMS)
}

func (d *Deliveries) finish() {
	slices.Sort(d.delays)
	d.Delivered, d.P50, d.P99 = len(d.delays), percentile(d.delays, 50), percentile(d.delays, 99)
	d.delays = nil
}

// own reports whether a hospital is in the region of a word's author.
func (r Result) own(w Word, node int) bool {
	return r.RegionOf[node] == r.RegionOf[w.From]
}

// due reports whether a word has to arrive at a hospital.
func (r Result) due(w Word, node int) bool {
	return node != w.From && (w.Green || r.own(w, node))
}

// amber is how many words are for one region only.
func (r Result) amber() (n int) {
	for _, w := range r.Words {
		if !w.Green {
			n++
		}
	}
	return n
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
	const deliveries = "  %9v  %7v  %8v  %8v"
	row := func(time, said any, own, across []any, broken string) {
		fmt.Fprintf(t.o.Out, "%6v  %6v"+deliveries, append([]any{time, said}, own...)...)
		if t.o.Regions > 1 {
			fmt.Fprintf(t.o.Out, "  |"+deliveries, across...)
		}
		fmt.Fprintf(t.o.Out, "  %s\n", broken)
	}
	first := "DELIVERED"
	if t.o.Regions > 1 {
		first = "IN REGION"
	}
	row("TIME", "SAID", []any{first, "MISSING", "P50", "P99"}, []any{"ACROSS", "MISSING", "P50", "P99"}, "BROKEN NOW")
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
		row(time.Since(t.began).Round(time.Second), said, s.Own.columns(), s.Across.columns(), broken)
	}
}

func (d Deliveries) columns() []any { return []any{d.Delivered, d.Missing, d.P50, d.P99} }

// Print prints what a trial found: lost is what was still missing at its end.
func (r Result) Print(out io.Writer) error {
	s := Summarize(r)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nacknowledged\t%d words\nrefused\t%d, by hospitals that were down\nfaults\t%d\n", len(r.Words), r.Refused, len(r.Faults))
	if r.Regions > 1 {
		fmt.Fprintf(t, "in the region\t%s\nacross regions\t%s\nAMBER across\t%d, and none may\n", s.Own, s.Across, s.Stray)
	} else {
		fmt.Fprintf(t, "delivered\t%d\nlost\t%d\np50\t%s\np99\t%s\n", s.Own.Delivered, s.Own.Missing, s.Own.P50, s.Own.P99)
	}
	fmt.Fprintf(t, "verdict\t%s\n", strings.ReplaceAll(r.Verdict, "\n", " "))
	return t.Flush()
}

func (d Deliveries) String() string {
	return fmt.Sprintf("%d delivered, %d lost, p50 %s, p99 %s", d.Delivered, d.Missing, d.P50, d.P99)
}
