package bench_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	lookupIndicators = 1_000_000 // scaleEnv changes it
	lookupValues     = 400_000   // a round; half of them known
	lookupRounds     = 5
	lookupCall       = 10_000 // values of a bulk call, as many as there may be
	lookupSmall      = 100    // values of a small call
	lookupSmallCalls = 2_000
	lookupParallel   = 2 // calls at once: the machine that is asked for has two cores

	fillEnvelopes = 64 // in one Append
	fillItems     = 512
	fillAuthors   = 8
)

// scaleEnv is the number of indicators, when it should not be a million.
const scaleEnv = "WATCHWARD_SCALE"

func scale(t testing.TB, otherwise int) int {
	t.Helper()
	text := os.Getenv(scaleEnv)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1000 {
		t.Fatalf("%s=%q: give a number of indicators from 1000 on", scaleEnv, text)
	}
	return n
}

// mixed is a value for each number, in the proportions in which feeds have
// them: of 1,000 there are 400 names, 250 addresses, 200 hashes, 149 URLs and a
// network.
func mixed(k int) notice.Indicator {
	number := uint32(k)
	at := func(net byte) string {
		return fmt.Sprintf("%d.%d.%d.%d", int(net)+int(number>>24), byte(number>>16), byte(number>>8), byte(number))
	}
	switch slot := k % 1000; {
	case slot < 400:
		return notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("cdn%d.evil-%d.com", k%97, k)}
	case slot < 650:
		return notice.Indicator{Type: notice.TypeIPv4, Value: at(45)}
	case slot < 850:
		sum := sha256.Sum256([]byte(strconv.Itoa(k)))
		return notice.Indicator{Type: notice.TypeSHA256, Value: hex.EncodeToString(sum[:])}
	case slot < 999:
		return notice.Indicator{Type: notice.TypeURL, Value: fmt.Sprintf("http://www.evil-%d.net/gate/%d.php?id=%d", k, k%13, k)}
	}
	return notice.Indicator{Type: notice.TypeCIDR, Value: fmt.Sprintf("150.%d.%d.0/24", byte(number/1000>>8), byte(number/1000))}
}

// absent is a value like those of mixed that no notice names.
func absent(k int) notice.Indicator {
	i := mixed(k)
	i.Value = strings.NewReplacer("evil-", "fine-", "45.", "95.", "150.", "160.").Replace(i.Value)
	if i.Type == notice.TypeSHA256 {
		sum := sha256.Sum256([]byte(i.Value))
		i.Value = hex.EncodeToString(sum[:])
	}
	return i
}

// questions are values to ask, every second one known, in no order.
func questions(n, indicators int, seed uint64) []string {
	r := rand.New(rand.NewPCG(seed, 0))
	out := make([]string, n)
	for i := range out {
		k := r.IntN(indicators)
		if i%2 == 0 {
			out[i] = mixed(k).Value
		} else {
			out[i] = absent(k).Value
		}
	}
	r.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// fill puts sightings of so many values into the store of a node that does not
// run, as admission would, and returns the bytes of the envelopes.
func fill(t testing.TB, dir string, authors []*testkit.Member, indicators int) (size int64) {
	t.Helper()
	return fillWith(t, dir, batches(t, authors, indicators))
}

// fillWith puts envelopes into the store of a node that does not run.
func fillWith(t testing.TB, dir string, batches []func() []*crypto.Envelope) (size int64) {
	t.Helper()
	s, err := store.Open(store.Options{Dir: filepath.Join(dir, "store")})
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range batches {
		var entries []store.Entry
		for _, e := range batch() {
			size += int64(len(e.Raw))
			entries = append(entries, entryOf(t, e))
		}
		if _, err := s.Append(t.Context(), entries); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return size
}

// batches make envelopes when they are asked for, so that they need not all be
// in memory; in order, since chains go on from one to the next.
func batches(t testing.TB, authors []*testkit.Member, indicators int) []func() []*crypto.Envelope {
	t.Helper()
	return batchesOf(t, authors, indicators, mixed)
}

func batchesOf(t testing.TB, authors []*testkit.Member, indicators int, value func(k int) notice.Indicator) []func() []*crypto.Envelope {
	t.Helper()
	at := time.Now().Add(-20 * time.Minute)
	last := make([]*crypto.Envelope, len(authors))
	var out []func() []*crypto.Envelope
	for from := 0; from < indicators; from += fillEnvelopes * fillItems {
		out = append(out, func() (made []*crypto.Envelope) {
			for k := from; k < min(from+fillEnvelopes*fillItems, indicators); k += fillItems {
				who := k / fillItems % len(authors)
				header := crypto.Header{Time: at.UnixMilli(), Expiry: at.Add(90 * 24 * time.Hour).UnixMilli()}
				last[who] = authors[who].Envelope(t, header, last[who], sightings(t, k, min(fillItems, indicators-k), at, value)...)
				made = append(made, last[who])
			}
			return made
		})
	}
	return out
}

func authorNames() []string {
	names := make([]string, fillAuthors)
	for i := range names {
		names[i] = fmt.Sprintf("author %d", i)
	}
	return names
}

// BenchmarkLookup asks a node that knows a million values for bulk, over HTTP on
// loopback with a token: with a client that only sends and receives, and with
// the one of the commands. Server and clients share the cores. Beside each round,
// Redis answers SMISMEMBER on a set of the same values where redis-server is
// installed, and grep -F -f looks the values up in a file of them: both compare
// text alone, know of no networks, parents, counts or markings, and tell yes or
// no.
func BenchmarkLookup(b *testing.B) {
	indicators := scale(b, lookupIndicators)
	r := testkit.NewRegion(b, append(authorNames(), "here")...)
	h := enlist(b, r, r.Members[fillAuthors], r.Records...)
	start := time.Now()
	fill(b, h.dir, r.Members[:fillAuthors], indicators)
	b.Logf("filled with %d values in %s", indicators, time.Since(start))
	h.open(b)
	h.start(b)
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
	redis := startRedis(b, indicators)
	grep := newGrep(b, indicators)
	runtime.GC()

	var plain, known, typed, small, redisRates, grepRates []float64
	var took []time.Duration
	for b.Loop() {
		for round := range lookupRounds {
			values := questions(lookupValues, indicators, uint64(round))
			plain = append(plain, p.rate(b, values, false))
			known = append(known, p.rate(b, values, true))
			typed = append(typed, clientRate(b, c, values))
			if redis != nil {
				redisRates = append(redisRates, redis.rate(b, values))
			}
			grepRates = append(grepRates, grep.rate(b, values))
			times := p.calls(b, values)
			took = append(took, times...)
			small = append(small, milliseconds(quantile(times, 0.99)))
			b.Logf("values/s: plain %.0f, known only %.0f, client %.0f, Redis %.0f, grep %.0f; %d values p50 %s p99 %s",
				plain[round], known[round], typed[round], lastOf(redisRates), lastOf(grepRates), lookupSmall, quantile(times, 0.5), quantile(times, 0.99))
		}
	}
	b.ReportMetric(median(plain), "values/s")
	b.ReportMetric(median(known), "known-only-values/s")
	b.ReportMetric(median(typed), "client-values/s")
	b.ReportMetric(milliseconds(quantile(took, 0.5)), "100-values-p50-ms")
	b.ReportMetric(median(small), "100-values-p99-ms")
	if redis != nil {
		b.ReportMetric(median(redisRates), "redis-values/s")
	}
	b.ReportMetric(median(grepRates), "grep-values/s")
	b.ReportMetric(0, "ns/op")
}

func lastOf(rates []float64) float64 {
	if len(rates) == 0 {
		return 0
	}
	return rates[len(rates)-1]
}

// A plainClient is what curl would do: it sends texts made before, and takes the
// answers as bytes.
type plainClient struct {
	url, token string
	http       http.Client
}

// rate returns values a second.
func (p *plainClient) rate(t testing.TB, values []string, knownOnly bool) float64 {
	t.Helper()
	var bodies [][]byte
	for part := range slices.Chunk(values, lookupCall) {
		bodies = append(bodies, lookupBody(t, part, knownOnly))
	}
	answers := make([]int, len(bodies))
	group, _ := errgroup.WithContext(t.Context())
	group.SetLimit(lookupParallel)
	start := time.Now()
	for i, body := range bodies {
		group.Go(func() (err error) {
			answers[i], err = p.post(body)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	total := 0
	for _, n := range answers {
		total += n
	}
	if total != len(values)/2 {
		t.Fatalf("%d of %d values are known, want every second", total, len(values))
	}
	return float64(len(values)) / took.Seconds()
}

// calls returns the times of small calls, one after the other.
func (p *plainClient) calls(t testing.TB, values []string) []time.Duration {
	t.Helper()
	var out []time.Duration
	for part := range slices.Chunk(values[:min(len(values), lookupSmall*lookupSmallCalls)], lookupSmall) {
		body := lookupBody(t, part, false)
		start := time.Now()
		if _, err := p.post(body); err != nil {
			t.Fatal(err)
		}
		out = append(out, time.Since(start))
	}
	return out
}

// post returns how many values are known.
func (p *plainClient) post(body []byte) (int, error) {
	r, err := http.NewRequest(http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := p.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %d: %s: %w", answer.StatusCode, text, err)
	}
	return bytes.Count(text, []byte(`"known":true`)), nil
}

func lookupBody(t testing.TB, values []string, knownOnly bool) []byte {
	t.Helper()
	body, err := json.Marshal(api.LookupRequest{Values: values, KnownOnly: knownOnly})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// clientRate returns values a second of the client that the commands use.
func clientRate(t testing.TB, c *client.Client, values []string) float64 {
	t.Helper()
	known := 0
	start := time.Now()
	err := c.Lookup(t.Context(), values, client.LookupOptions{}, func(a api.LookupAnswer) error {
		if a.Known {
			known++
		}
		return nil
	})
	if err != nil || known != len(values)/2 {
		t.Fatalf("%d of %d values are known, want every second: %v", known, len(values), err)
	}
	return float64(len(values)) / time.Since(start).Seconds()
}
