package bench_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

const (
	logLines    = 1_000_000 // of the eve.json that is read
	logNames    = 50_000    // names in it; the first are asked for most
	logHits     = 50        // values in it that are known, each in several lines
	logRounds   = 7         // of lookups, idle and busy in turn
	logBehind   = 16 << 20  // bytes that a busy log is ahead of its reader
	logAlerts   = 60        // lines whose alert is waited for
	logChunk    = 20_000    // lines that a busy log writes at once
	logHitEvery = 5_000     // lines
)

// eve writes lines as Suricata does: DNS, flows, HTTP and TLS of a hospital's clients.
// Every logHitEvery-th names a value that mixed knows.
func eve(w io.Writer, from, lines int, r *rand.Rand) error {
	names := rand.NewZipf(r, 1.2, 8, logNames-1)
	b := bufio.NewWriterSize(w, 1<<20)
	at := time.Now().UTC().Add(-time.Hour)
	for i := from; i < from+lines; i++ {
		at = at.Add(time.Millisecond)
		stamp := at.Format("2006-01-02T15:04:05.000000-0700")
		client := fmt.Sprintf("10.%d.%d.%d", r.IntN(4), r.IntN(256), r.IntN(256))
		n := names.Uint64()
		name := fmt.Sprintf("www%d.site-%d.com", n%7, n)
		addr := fmt.Sprintf("95.%d.%d.%d", byte(n>>16), byte(n>>8), byte(n))
		if i%logHitEvery == 0 {
			name = "a." + mixed(i/logHitEvery%logHits).Value
		}
		switch i % 10 {
		case 0, 1, 2, 3:
			fmt.Fprintf(b, `{"timestamp":"%s","flow_id":%d,"in_iface":"eth0","event_type":"dns","src_ip":"%s","src_port":%d,"dest_ip":"10.0.0.53","dest_port":53,"proto":"UDP","pkt_src":"wire/pcap","dns":{"type":"query","id":%d,"rrname":"%s","rrtype":"A","tx_id":0,"opcode":0}}`+"\n", stamp, r.Uint64()>>12, client, 1024+i%60000, i%65536, name)
		case 4, 5:
			fmt.Fprintf(b, `{"timestamp":"%s","flow_id":%d,"in_iface":"eth0","event_type":"dns","src_ip":"%s","dest_ip":"10.0.0.53","proto":"UDP","dns":{"version":2,"type":"answer","id":%d,"flags":"8180","qr":true,"rd":true,"ra":true,"rrname":"%s","rrtype":"A","rcode":"NOERROR","answers":[{"rrname":"%s","rrtype":"A","ttl":60,"rdata":"%s"}],"grouped":{"A":["%s"]}}}`+"\n", stamp, r.Uint64()>>12, client, i%65536, name, name, addr, addr)
		case 6, 7:
			fmt.Fprintf(b, `{"timestamp":"%s","flow_id":%d,"event_type":"flow","src_ip":"%s","src_port":%d,"dest_ip":"%s","dest_port":443,"proto":"TCP","app_proto":"tls","flow":{"pkts_toserver":12,"pkts_toclient":14,"bytes_toserver":1876,"bytes_toclient":6543,"start":"%s","end":"%s","age":2,"state":"closed","reason":"timeout","alerted":false}}`+"\n", stamp, r.Uint64()>>12, client, 1024+i%60000, addr, stamp, stamp)
		case 8:
			fmt.Fprintf(b, `{"timestamp":"%s","flow_id":%d,"event_type":"tls","src_ip":"%s","dest_ip":"%s","dest_port":443,"proto":"TCP","tls":{"subject":"CN=%s","issuerdn":"C=US, O=CA","serial":"0A:0B","fingerprint":"aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:%02x:%02x","sni":"%s","version":"TLS 1.3","notbefore":"2026-01-01T00:00:00","notafter":"2027-01-01T00:00:00"}}`+"\n", stamp, r.Uint64()>>12, client, addr, name, byte(n>>8), byte(n), name)
		default:
			fmt.Fprintf(b, `{"timestamp":"%s","flow_id":%d,"event_type":"http","src_ip":"%s","dest_ip":"%s","dest_port":80,"proto":"TCP","http":{"hostname":"%s","url":"/assets/%d.js?v=%d","http_user_agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64)","http_content_type":"text/javascript","http_method":"GET","protocol":"HTTP/1.1","status":200,"length":4711}}`+"\n", stamp, r.Uint64()>>12, client, addr, name, n%13, n)
		}
	}
	return b.Flush()
}

// BenchmarkLogs lets a node that knows a million values read an eve.json, with history
// and alerts, beside grep -F -f with the same values over the same file, which compares
// text alone and knows of no parents, networks, URLs in parts or inside addresses. Then
// lookups over HTTP, by turns with a log that is written as fast as it is read and
// without; then the time from a line to its durable alert.
func BenchmarkLogs(b *testing.B) {
	indicators := scale(b, lookupIndicators)
	r := testkit.NewRegion(b, append(authorNames(), "here")...)
	h := enlist(b, r, r.Members[fillAuthors], r.Records...)
	fill(b, h.dir, r.Members[:fillAuthors], indicators)
	logs := b.TempDir()
	settings := fmt.Sprintf("\n[[logs]]\nname = \"eve\"\npath = %q\n\n[[logs]]\nname = \"busy\"\npath = %q\n\n[[logs]]\nname = \"alerts\"\npath = %q\nformat = \"dnsmasq\"\n",
		filepath.Join(logs, "eve.json"), filepath.Join(logs, "busy.json"), filepath.Join(logs, "dns.log"))
	extend(b, filepath.Join(h.dir, node.ConfigFile), settings)
	h.open(b)
	h.start(b)
	defer h.stop(b)
	c, err := client.Open(h.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	token, err := c.CreateToken(b.Context(), api.TokenRequest{Name: "bench", Role: "reader", Ceiling: "AMBER"})
	if err != nil {
		b.Fatal(err)
	}
	p := &plainClient{url: h.APIURL() + "/v1/lookup", token: token.Token}
	defer p.http.CloseIdleConnections()
	grep := newGrep(b, indicators)
	random := rand.New(rand.NewPCG(1, 2))
	settled(b, h)
	for b.Loop() {
		made := filepath.Join(logs, "made")
		f, err := os.Create(made)
		if err == nil {
			err = eve(f, 0, logLines, random)
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			b.Fatal(err)
		}
		start, cpu := time.Now(), cpuTime(b)
		if err := os.Rename(made, filepath.Join(logs, "eve.json")); err != nil {
			b.Fatal(err)
		}
		eventually(b, "all lines are read", 10*time.Millisecond, func() bool { return logOf(b, h, "eve").Lines == logLines })
		took, spent := time.Since(start), cpuTime(b)-cpu
		v := logOf(b, h, "eve")
		if v.Hits != logLines/logHitEvery || v.Broken+v.Other+v.Cut != 0 {
			b.Fatalf("%+v", v)
		}
		b.ReportMetric(logLines/took.Seconds(), "lines/s")
		b.ReportMetric(logLines/spent.Seconds(), "lines/s/core")
		b.ReportMetric(grep.lines(b, filepath.Join(logs, "eve.json")), "grep-lines/s")
		b.Logf("%d lines: %s, %s of CPU", logLines, took, spent)
		busyLookups(b, h, p, filepath.Join(logs, "busy.json"), indicators, random)
		lineToAlert(b, h, filepath.Join(logs, "dns.log"))
	}
	b.ReportMetric(0, "ns/op")
}

// busyLookups reports what a busy log costs lookups.
func busyLookups(b *testing.B, h *hospital, p *plainClient, path string, indicators int, random *rand.Rand) {
	var text bytes.Buffer
	if err := eve(&text, 1, logChunk, random); err != nil {
		b.Fatal(err)
	}
	var idle, busy, ratio []float64
	for round := range logRounds {
		values := questions(lookupValues, indicators, uint64(round))
		idle = append(idle, p.rate(b, values, false))
		stop, done := make(chan struct{}), sync.WaitGroup{}
		done.Go(func() { keepBusy(b, h, path, text.Bytes(), stop) })
		eventually(b, "the log is behind", time.Millisecond, func() bool { return logOf(b, h, "busy").Lag > logBehind/2 })
		before := logOf(b, h, "busy").Lines
		began := time.Now()
		busy = append(busy, p.rate(b, values, false))
		took := time.Since(began)
		read := logOf(b, h, "busy").Lines - before
		close(stop)
		done.Wait()
		eventually(b, "the log is read", 10*time.Millisecond, func() bool { return logOf(b, h, "busy").Lag == 0 })
		ratio = append(ratio, busy[round]/idle[round])
		b.Logf("lookups of values/s: %.0f idle, %.0f busy with %.0f lines/s", idle[round], busy[round], float64(read)/took.Seconds())
	}
	b.ReportMetric(median(idle), "lookup-values/s")
	b.ReportMetric(median(busy), "busy-lookup-values/s")
	b.ReportMetric(median(ratio), "busy-of-idle")
}

// keepBusy writes a log ahead of its reader.
func keepBusy(b *testing.B, h *hospital, path string, text []byte, stop chan struct{}) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		b.Error(err)
		return
	}
	defer f.Close()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		for logOf(b, h, "busy").Lag < logBehind {
			if _, err := f.Write(text); err != nil {
				b.Error(err)
				return
			}
		}
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// lineToAlert reports the time from a line's writing to its durable alert.
func lineToAlert(b *testing.B, h *hospital, path string) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var took []time.Duration
	for i := range logAlerts {
		value := mixed(1000*(i+1) + 7).Value // a domain each
		began := time.Now()
		if _, err := fmt.Fprintf(f, "Nov 27 10:00:00 dnsmasq[1]: query[A] %s from 10.0.0.5\n", value); err != nil {
			b.Fatal(err)
		}
		eventually(b, "it is alerted", time.Millisecond, func() bool {
			all, _, err := h.Alerts(b.Context(), api.AlertQuery{Limit: 1})
			return err == nil && len(all) == 1 && strings.Contains(all[0].Text, value)
		})
		took = append(took, time.Since(began))
	}
	b.ReportMetric(milliseconds(quantile(took, 0.5)), "alert-p50-ms")
	b.ReportMetric(milliseconds(quantile(took, 0.99)), "alert-p99-ms")
}

func logOf(t testing.TB, h *hospital, name string) api.LogView {
	all, err := h.Logs(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, v := range all {
		if v.Name == name {
			return v
		}
	}
	return api.LogView{}
}

// extend appends to a file.
func extend(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// cpuTime is what this process has used of all cores.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// lines returns lines of a log a second in which grep finds any of its values.
func (g *grep) lines(t testing.TB, path string) float64 {
	t.Helper()
	start := time.Now()
	c := exec.CommandContext(t.Context(), "grep", "-F", "-c", "-f", g.list, path)
	c.Env = append(os.Environ(), "LC_ALL=C")
	out, err := c.Output()
	if err != nil {
		t.Fatalf("grep: %v", err)
	}
	took := time.Since(start)
	t.Logf("grep: %s lines in %s", bytes.TrimSpace(out), took)
	return logLines / took.Seconds()
}
