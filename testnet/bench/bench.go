// Package bench measures what a hospital feels: how fast foreign words become
// durable and searchable, how soon a report is answered at the others, what
// meeting again costs on the line, how fast files and lists go through. Every
// figure stands beside a baseline of the same run, because machines differ and
// their load does. The benchmarks are Go benchmarks in this package's tests; Run
// runs them and makes one table, of which RESULTS.md keeps the last.
package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/perf/benchfmt"
)

// A Figure is one thing that was asked for.
type Figure struct {
	Issue     int     // that asks for it
	Benchmark string  // without "Benchmark"
	Name      string  // for people
	Metric    string  // the unit under which the benchmark reports it
	Bound     float64 // what is asked; 0 = nothing
	AtLeast   bool    // the bound is a lower one
	Unit      string  // for people
	Base      string  // the unit of the baseline; "" = the metric is itself a ratio, or has none
	BaseName  string
}

// Figures are all that the issues ask of the code that is here.
var Figures = []Figure{
	{2, "Admission", "foreign sightings verified, durable, indexed", "sightings/s", 15_000, true, "/s", "raw-sightings/s", "raw Badger, same keys and values"},
	{2, "Admission", "… of raw Badger", "of-raw", 0.5, true, "×", "", ""},
	{2, "ReportToLookup", "report → lookup at both others, p50", "p50-ms", 15, false, "ms", "sync-p50-ms", "append 4 KiB and sync, p50"},
	{2, "ReportToLookup", "… p99", "p99-ms", 50, false, "ms", "sync-p99-ms", "append 4 KiB and sync, p99"},
	{2, "PartitionSync", "10,000 notices a side: bytes of payload", "of-payload", 1.05, false, "×", "", ""},
	{2, "PartitionSync", "… bytes beside it", "overhead-B", 16_000, false, "B", "", ""},
	{2, "EqualRound", "sync round of equals, 1,000 authors", "B/round", 1_000, false, "B", "", ""},
	{3, "Import", "MISP event of 100,000 attributes, end to end", "taken/s", 10_000, true, "/s", "", ""},
	{3, "Import", "… with --share", "shared/s", 0, true, "/s", "", ""},
	{3, "ImportSTIX", "STIX bundle of 100,000 objects, end to end", "objects/s", 10_000, true, "/s", "", ""},
	{3, "Lookup", "bulk lookup over HTTP, 1,000,000 indicators", "values/s", 200_000, true, "/s", "redis-values/s", "Redis, pipelined SMISMEMBER"},
	{3, "Lookup", "… beside grep -F -f", "values/s", 0, true, "/s", "grep-values/s", "grep -F -x -f"},
	{3, "Lookup", "100-value call, p99", "100-values-p99-ms", 2, false, "ms", "", ""},
	{3, "Million", "node of 1,000,000 indicators: RssAnon after filling", "filled-MiB", 300, false, "MiB", "", ""},
	{3, "Million", "… after a start and a million lookups, peak", "restarted-looked-up-peak-MiB", 300, false, "MiB", "", ""},
	{3, "Million", "… disk of encoded notices", "disk-of-encoded", 2.5, false, "×", "", ""},
	{3, "Million", "… start to answering", "start-s", 2, false, "s", "", ""},
	{3, "Bundle", "bundle of 1,000,000 sightings, export", "export-s", 60, false, "s", "copy-s", "copy and sync the same bytes"},
	{3, "Bundle", "… import", "import-s", 60, false, "s", "", ""},
	{4, "MonthOffline", "a month offline: 1,000,000 sightings of 200 authors from one peer", "month-s", 90, false, "s", "", ""},
	{4, "MonthOffline", "… bytes of payload", "of-payload", 1.05, false, "×", "", ""},
	{4, "MonthOffline", "… round trips before they flow", "round-trips", 3, false, "", "", ""},
	{4, "GossipProcesses", "12 processes, lines of 25 ms: admitted and streamed, p99", "p99-ms", 0, false, "ms", "plain-p99-ms", "plain GossipSub in the same places, p99"},
	{4, "GossipProcesses", "… of plain GossipSub", "of-plain", 1.1, false, "×", "", ""},
	{4, "GossipProcesses", "… without delay, p99", "near-p99-ms", 0, false, "ms", "near-plain-p99-ms", "plain GossipSub in the same places, p99"},
	{5, "Named", "RED → lookup at the named member, p99", "p99-ms", 20, false, "ms", "sync-p99-ms", "append 4 KiB and sync, p99"},
	{5, "Roster", "15,000 members in 200 regions: a stored roster loads", "load-s", 1, false, "s", "", ""},
	{5, "Roster", "… heap", "heap-MiB", 150, false, "MiB", "", ""},
	{5, "Roster", "… a known author, revocations present", "known-author-us", 5, false, "µs", "", ""},
	{6, "Ledger", "512-byte appends/s, 1 client", "ledger-1/s", 0, true, "/s", "etcd-1/s", "etcd, 3 members"},
	{6, "Ledger", "… 64 clients", "ledger-64/s", 0, true, "/s", "etcd-64/s", "etcd, 3 members"},
	{6, "Ledger", "… of etcd", "of-etcd-64", 3, true, "×", "", ""},
	{6, "Ledger", "… 256 clients", "ledger-256/s", 0, true, "/s", "etcd-256/s", "etcd, 3 members"},
	{6, "Ledger", "… of etcd", "of-etcd-256", 3, true, "×", "", ""},
	{6, "Ledger", "… 1,024 clients", "ledger-1024/s", 0, true, "/s", "etcd-1024/s", "etcd, 3 members"},
	{6, "Ledger", "commit, 1 client, p50", "ledger-1-p50-ms", 0, false, "ms", "append-sync-p50-ms", "append and sync, p50"},
	{6, "Ledger", "… of append and sync", "ledger-1-of-sync", 3.5, false, "×", "", ""},
	{6, "Ledger", "commit, 256 clients, p99", "ledger-256-p99-ms", 40, false, "ms", "etcd-256-p99-ms", "etcd, 3 members"},
	{6, "Receipt", "a word alone → receipt by a quorum, p99", "receipt-p99-ms", 250, false, "ms", "", ""},
	{6, "Receipt", "… witnessed too, p99", "witnessed-p99-ms", 1500, false, "ms", "", ""},
	{6, "LedgerReceipt", "an entry alone, without a node → receipt, p99", "receipt-p99-ms", 0, false, "ms", "committed-p99-ms", "committed, p99"},
	{6, "LedgerReceipt", "… witnessed too, p99", "witnessed-p99-ms", 0, false, "ms", "", ""},
	{6, "LedgerLeader", "leader killed → first commit, p99 of 30", "failover-p99-ms", 1000, false, "ms", "", ""},
	{6, "LedgerLeader", "lead handed over → first commit, p99 of 30", "transfer-p99-ms", 50, false, "ms", "", ""},
	{6, "LedgerMillion", "1,000,000 entries: start to serving", "start-s", 2, false, "s", "", ""},
	{6, "LedgerMillion", "… disk for tiles beside an entry", "tiles-B-beside-entry", 36, false, "B", "", ""},
	{6, "LedgerMillion", "… coordinator's RssAnon after filling", "filled-MiB", 256, false, "MiB", "", ""},
	{6, "LedgerMillion", "… audit, on one core", "audit/s/core", 100_000, true, "/s", "", ""},
	{6, "LedgerMillion", "receipt check, keys parsed, p50", "receipt-warm-ms", 0.5, false, "ms", "", ""},
	{6, "LedgerMillion", "… from the records, p50", "receipt-cold-ms", 3, false, "ms", "", ""},
	{7, "MaydayProcesses", "12 processes, lines of 25 ms, 1,000 sightings/s: mayday → alert, p50", "p50-ms", 0, false, "ms", "word-p50-ms", "an ordinary word → stream, p50"},
	{7, "MaydayProcesses", "… p99", "p99-ms", 0, false, "ms", "word-p99-ms", "an ordinary word → stream, p99"},
	{7, "MaydayProcesses", "… beside plain GossipSub, p99", "p99-ms", 0, false, "ms", "plain-p99-ms", "plain GossipSub in the same places, p99"},
	{7, "Situation", "200 members, 1,000,000 sightings: GET /v1/situation, p50", "situation-p50-ms", 20, false, "ms", "same-bytes-p50-ms", "the same bytes, ready made"},
	{7, "Situation", "… p99", "situation-p99-ms", 20, false, "ms", "same-bytes-p99-ms", "the same bytes, ready made"},
	{7, "Situation", "… with what changed in a day, p50", "changes-p50-ms", 20, false, "ms", "same-bytes-p50-ms", "the same bytes, ready made"},
	{7, "Situation", "second sighting at one hospital → alert at another, p50", "spreading-p50-ms", 100, false, "ms", "known-p50-ms", "its lookup there, p50"},
	{7, "Situation", "… the longest of 19", "spreading-max-ms", 100, false, "ms", "known-max-ms", "its lookup there, longest"},
	{7, "Situation", "… start to answering", "start-s", 2, false, "s", "", ""},
	{7, "Situation", "… start to all in the picture", "read-s", 0, false, "s", "", ""},
	{7, "Situation", "… lookups of 100 meanwhile, p99", "reading-lookup-p99-ms", 0, false, "ms", "lookup-p99-ms", "later, p99"},
	{7, "Situation", "… RssAnon when all is in the picture", "read-MiB", 300, false, "MiB", "", ""},
	{7, "Situation", "… while it is asked for, peak", "peak-MiB", 300, false, "MiB", "", ""},
	{8, "Logs", "eve.json against 1,000,000 indicators, a core", "lines/s/core", 200_000, true, "/s", "grep-lines/s", "grep -F -f"},
	{8, "Logs", "… a busy log: lookups of those without", "busy-of-idle", 0.9, true, "×", "", ""},
	{8, "Logs", "… line written → alert, p50", "alert-p50-ms", 0, false, "ms", "", ""},
	{8, "Logs", "… p99", "alert-p99-ms", 500, false, "ms", "", ""},
	{8, "Webhook", "report at one hospital → webhook of another called, p50", "hooked-p50-ms", 0, false, "ms", "", ""},
	{8, "Webhook", "… p99", "hooked-p99-ms", 100, false, "ms", "known-p99-ms", "its lookup there, p99"},
	{8, "Feeds", "feed of 1,000,000 entries: 304, p99", "unchanged-p99-ms", 1, false, "ms", "small-p99-ms", "a small answer of the same listener, p99"},
	{8, "Feeds", "… a report is in the feed, read whole, p99 of 50", "changed-p99-ms", 500, false, "ms", "whole-p50-ms", "reading the feed, p50"},
	{8, "Feeds", "… start to the whole feed", "start-s", 0, false, "s", "", ""},
	{9, "Exchange", "TAXII, 1,000,000 objects: a page of 1,000, p99", "page-p99-ms", 20, false, "ms", "medallion-page-p99-ms", "medallion, 2,000 of the same, p99"},
	{9, "Exchange", "… the whole pulled", "objects/s", 50_000, true, "/s", "medallion-objects/s", "medallion, 2,000 of the same"},
	{9, "Exchange", "… no news, p99", "no-news-p99-ms", 5, false, "ms", "", ""},
	{9, "Exchange", "… 1,000 indicators posted → known to a lookup, p99 of 30", "posted-p99-ms", 300, false, "ms", "", ""},
	{9, "Exchange", "… put on the shelf at the first start", "filled-objects/s", 0, true, "/s", "", ""},
	{9, "Bridge", "a bridge's round without news, 10,000 notices there, longest of 8", "no-news-ms", 5, false, "ms", "", ""},
	{10, "Document", "advisory with 8 MiB → on the disks of 49 others, p50 of 5", "p50-s", 5, false, "s", "copy-s", "the same bytes written and synced as often"},
	{10, "Document", "… the longest", "longest-s", 5, false, "s", "", ""},
	{10, "Document", "… its author sends it", "uploads", 3, false, "×", "", ""},
	{10, "Paper", "report of 200 members, 1,000,000 sightings, over HTTP, HTML: longest", "html-max-ms", 500, false, "ms", "", ""},
	{10, "Paper", "… Markdown", "md-max-ms", 500, false, "ms", "", ""},
	{10, "Paper", "… JSON", "json-max-ms", 500, false, "ms", "", ""},
	{10, "Paper", "… the pack", "pack-max-ms", 0, false, "ms", "", ""},
}

// Options of Run.
type Options struct {
	Root    string    // of the repository
	Only    string    // part of a benchmark's name; "" = all
	Write   bool      // put the table into RESULTS.md, between its marks
	Out     io.Writer // the table
	Log     io.Writer // what goes on
	Timeout time.Duration
}

// Run runs the benchmarks, one after the other, and prints what they measured
// beside what was asked. The error names each that failed; a bound that is missed
// is no error, and is shown as missed.
func Run(ctx context.Context, o Options) error {
	measured := map[string]map[string]float64{}
	var failed []error
	for _, name := range benchmarks(o.Only) {
		fmt.Fprintf(o.Log, "%s …\n", name)
		values, err := one(ctx, o, name)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
			continue
		}
		measured[name] = values
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s, commit %s, %s/%s, %d CPUs, %s, load average %s at the end. Command: `go run ./testnet bench`.\n\n",
		time.Now().UTC().Format(time.DateOnly), commit(ctx, o.Root), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), load())
	table(&text, measured)
	if _, err := o.Out.Write(text.Bytes()); err != nil {
		return err
	}
	if o.Write && len(measured) > 0 {
		failed = append(failed, keep(filepath.Join(o.Root, "testnet", "bench", "RESULTS.md"), text.String()))
	}
	return errors.Join(failed...)
}

// benchmarks returns those with a figure, in order.
func benchmarks(only string) (names []string) {
	for _, f := range Figures {
		if strings.Contains(strings.ToLower(f.Benchmark), strings.ToLower(only)) && !slices.Contains(names, f.Benchmark) {
			names = append(names, f.Benchmark)
		}
	}
	return names
}

// one runs a benchmark in a process of its own, so that none inherits another's
// heap, and returns its values by unit.
func one(ctx context.Context, o Options, name string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	c := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark"+name+"$", "-benchtime", "1x",
		"-timeout", o.Timeout.String(), "./testnet/bench")
	c.Dir = o.Root
	c.Env = append(os.Environ(), "WATCHWARD_SCALE=1000000")
	c.WaitDelay = 10 * time.Second
	out, err := c.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(out))
	}
	values := map[string]float64{}
	r := benchfmt.NewReader(bytes.NewReader(out), name)
	for r.Scan() {
		result, ok := r.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		for _, v := range result.Values {
			unit, value := v.Unit, v.Value
			if v.OrigUnit != "" { // benchfmt turns ms and MB into s and B
				unit, value = v.OrigUnit, v.OrigValue
			}
			values[unit] = value
		}
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("it reported nothing\n%s", tail(out))
	}
	return values, errors.Join(r.Err())
}

// tail is the end of an output, as far as a person reads it.
func tail(out []byte) []byte { return out[max(0, len(out)-2000):] }

// table writes the figures as Markdown.
func table(w io.Writer, measured map[string]map[string]float64) {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "| issue\t| figure\t| asked\t| got\t| baseline of the same run\t| ratio\t| result\t|")
	fmt.Fprintln(t, "| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, f := range Figures {
		values, ran := measured[f.Benchmark]
		if !ran {
			continue
		}
		got, has := values[f.Metric]
		if !has {
			fmt.Fprintf(t, "| %d\t| %s\t| %s\t| not measured\t| \t| \t| \t|\n", f.Issue, f.Name, f.asked())
			continue
		}
		base, ratio := "", ""
		if b, ok := values[f.Base]; ok && b != 0 {
			base, ratio = fmt.Sprintf("%s %s %s", f.BaseName, number(b), f.Unit), number(got/b)
		} else if f.Base != "" {
			base = f.BaseName + ": not there"
		}
		fmt.Fprintf(t, "| %d\t| %s\t| %s\t| %s %s\t| %s\t| %s\t| %s\t|\n", f.Issue, f.Name, f.asked(), number(got), f.Unit, base, ratio, f.verdict(got))
	}
	_ = t.Flush() // to a buffer
}

func (f Figure) asked() string {
	switch {
	case f.Bound == 0:
		return "–"
	case f.AtLeast:
		return "≥ " + number(f.Bound) + " " + f.Unit
	}
	return "≤ " + number(f.Bound) + " " + f.Unit
}

func (f Figure) verdict(got float64) string {
	switch {
	case f.Bound == 0:
		return ""
	case f.AtLeast == (got >= f.Bound) || got == f.Bound:
		return "met"
	}
	return "**missed**"
}

// number shows four digits at most, and thousands apart.
func number(v float64) string {
	if v < 1000 {
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// The marks between which RESULTS.md keeps the last table.
const (
	tableBegins = "<!-- made by go run ./testnet bench -->"
	tableEnds   = "<!-- end -->"
)

// keep puts a table into a document in the place of the one before.
func keep(path, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !ok || !ends {
		return fmt.Errorf("%s has no place for the table: it needs the lines %q and %q", path, tableBegins, tableEnds)
	}
	return os.WriteFile(path, []byte(before+tableBegins+"\n"+text+tableEnds+after), 0o644)
}

func commit(ctx context.Context, root string) string {
	c := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=10")
	c.Dir = root
	out, err := c.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// load is the machine's load average over a minute, where it tells.
func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(raw), " ")
	return first
}
