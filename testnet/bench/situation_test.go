package bench_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
	"github.com/watchward/watchward/testnet/proc"
)

const (
	pictureMembers   = 200       // with the two that run
	pictureSightings = 1_000_000 // scaleEnv changes it
	pictureCalls     = 200       // of each kind
	// An hour has at most 20 alerts of spreading in words of their own.
	spreadSamples = 19
	// Each of the two speaks once in this time: nothing waits to be grouped.
	spreadPace = 1500 * time.Millisecond
	readPause  = 5 * time.Millisecond // between two lookups
	readLook   = time.Second          // between two looks whether all is read
)

// BenchmarkSituation runs two hospitals of a region of 200 as processes of their own.
// Both hold a million sightings of the last hour, all of which are in the picture, and
// what each member says of itself. It takes the start (to the first answer, and until
// all is in the picture; lookups meanwhile beside lookups later), the memory, the time
// of GET /v1/situation over HTTP beside that of the same bytes from a server that does
// nothing else, and the time from the second sighting, over the API of one hospital,
// to the alert that it spreads at the other, beside the time to its lookup there.
func BenchmarkSituation(b *testing.B) {
	sightings := scale(b, pictureSightings)
	binary, err := proc.Build(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		pictured(b, binary, sightings)
	}
	b.ReportMetric(0, "ns/op")
}

// crowded makes two hospitals of a region whose stores have so many sightings, and what
// each member says of itself.
func crowded(b *testing.B, sightings int) (here, there *hospital) {
	b.Helper()
	var names []string
	for i := range pictureMembers - 2 {
		names = append(names, fmt.Sprintf("Hospital %d", i+1))
	}
	r := testkit.NewRegion(b, "here", "there")
	own := r.Records[1:]
	authors := r.Admit(b, names...)
	here, there = enlist(b, r, r.Members[0], own...), enlist(b, r, r.Members[1], own...)
	knowAll(b, here.dir, r.Records)
	said := ofThemselves(b, authors)
	fillWith(b, here.dir, append([]func() []*crypto.Envelope{said}, batchesOf(b, authors, sightings, seenValues(sightings))...))
	if err := os.CopyFS(filepath.Join(there.dir, "store"), os.DirFS(filepath.Join(here.dir, "store"))); err != nil {
		b.Fatal(err)
	}
	return here, there
}

func pictured(b *testing.B, binary string, sightings int) {
	here, there := crowded(b, sightings)
	n := proc.At(binary, here.dir, "here")
	start := time.Now()
	launch(b, n)
	askOne(b, n, mixed(1).Value)
	b.ReportMetric(time.Since(start).Seconds(), "start-s")
	c := token(b, n)
	defer c.http.CloseIdleConnections()
	values := questions(lookupSmall*pictureCalls, sightings, 1)
	looked := start
	reading := c.lookups(b, values, func() bool {
		if time.Since(looked) < readLook {
			return true
		}
		looked = time.Now()
		return c.situation(b, "").Reading
	})
	b.ReportMetric(time.Since(start).Seconds(), "read-s")
	b.ReportMetric(mebibytes(anonymous(b, n.Pid())), "read-MiB")
	left := pictureCalls
	after := c.lookups(b, values, func() bool { left--; return left > 0 })
	b.ReportMetric(float64(len(reading)), "reading-calls")
	b.ReportMetric(milliseconds(quantile(reading, 0.99)), "reading-lookup-p99-ms")
	b.ReportMetric(milliseconds(quantile(after, 0.99)), "lookup-p99-ms")

	peak := watchMemory(b, n)
	c.views(b)
	b.ReportMetric(mebibytes(peak()), "peak-MiB")

	second := proc.At(binary, there.dir, "there")
	seed(b, there.dir, listens(b, n))
	launch(b, second)
	took, known := spreads(b, n, second)
	b.ReportMetric(milliseconds(quantile(took, 0.5)), "spreading-p50-ms")
	b.ReportMetric(milliseconds(slices.Max(took)), "spreading-max-ms")
	b.ReportMetric(milliseconds(quantile(known, 0.5)), "known-p50-ms")
	b.ReportMetric(milliseconds(slices.Max(known)), "known-max-ms")
}

// seenValues are values, one in a hundred of which ten members see.
func seenValues(sightings int) func(k int) notice.Indicator {
	return func(k int) notice.Indicator {
		if k%100 == 0 {
			return notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("shared-%d.example", k/100%(sightings/1000))}
		}
		return mixed(k)
	}
}

// ofThemselves makes what members say of themselves, an envelope each: a profile, ten
// services, three links that are cut, help that is asked for and that of the one before
// taken, and one in twenty a mayday.
func ofThemselves(b *testing.B, members []*testkit.Member) func() []*crypto.Envelope {
	at := time.Now().Add(-20 * time.Minute)
	var out []*crypto.Envelope
	var before *crypto.ItemID
	for i, m := range members {
		parts := []*notice.Notice{
			{Kind: notice.KindProfile, Profile: &notice.Profile{Name: m.Credential.Name, Contact: []string{fmt.Sprintf("+353 1 555 %04d", i)}}},
			{Kind: notice.KindAssistance, Assistance: &notice.Assistance{Act: notice.ActRequest, What: "ventilators", Quantity: 3}},
		}
		for d := range 10 {
			parts = append(parts, &notice.Notice{Kind: notice.KindService, Service: &notice.Service{Department: fmt.Sprint("Department ", d), State: notice.ServiceOpen}})
		}
		for l := range 3 {
			parts = append(parts, &notice.Notice{Kind: notice.KindLink, Link: &notice.Link{Supplier: fmt.Sprint("Supplier ", l), Link: "VPN",
				Direction: notice.DirectionBoth, State: notice.LinkCut, At: at.UnixMilli(), Reason: "ransomware there"}})
		}
		if before != nil {
			parts = append(parts, &notice.Notice{Kind: notice.KindAssistance, Ref: before, Assistance: &notice.Assistance{Act: notice.ActClaim, Quantity: 3}})
		}
		if i%20 == 0 {
			parts = append(parts, &notice.Notice{Kind: notice.KindMayday, Mayday: &notice.Mayday{Text: "ransom note"}})
		}
		items := make([][]byte, len(parts))
		for k, p := range parts {
			p.Salt, p.Created = [16]byte{byte(i), byte(i >> 8), byte(k)}, at.UnixMilli()
			raw, err := notice.Encode(p)
			if err != nil {
				b.Fatal(err)
			}
			items[k] = raw
		}
		id := crypto.NewItemID(m.ID, crypto.LeafHash(items[1]))
		before = &id
		header := crypto.Header{Time: at.UnixMilli(), Expiry: at.Add(90 * 24 * time.Hour).UnixMilli(), Epoch: 2} // sightings have the first
		out = append(out, m.Envelope(b, header, nil, items...))
	}
	return func() []*crypto.Envelope { return out }
}

// knowAll gives a node that does not run records of the others, more than an
// admission may have.
func knowAll(b *testing.B, dir string, records [][]byte) {
	b.Helper()
	s, err := store.Open(store.Options{Dir: filepath.Join(dir, "store")})
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(s.AddTrust(b.Context(), records), s.Close()); err != nil {
		b.Fatal(err)
	}
}

func launch(b *testing.B, n *proc.Node) {
	b.Helper()
	if err := n.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := n.Kill(); err != nil {
			b.Error(err)
		}
	})
}

// seed tells a node that does not run whom to dial.
func seed(b *testing.B, dir string, seeds []string) {
	b.Helper()
	path := filepath.Join(dir, node.ConfigFile)
	c, err := config.Load(path)
	if err != nil {
		b.Fatal(err)
	}
	c.Mesh.Seeds = seeds
	if err := errors.Join(os.Remove(path), config.Write(path, c)); err != nil { // it replaces no file
		b.Fatal(err)
	}
}

// A caller asks one node over HTTP, with a token.
type caller struct {
	http       http.Client
	url, token string
}

func token(b *testing.B, n *proc.Node) *caller {
	b.Helper()
	c, err := n.Client()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	t, err := c.CreateToken(b.Context(), api.TokenRequest{Name: "bench", Role: "reader", Ceiling: "AMBER"})
	if err != nil {
		b.Fatal(err)
	}
	return &caller{url: n.API(), token: t.Token}
}

func (c *caller) get(b *testing.B, path string) []byte {
	b.Helper()
	q, err := http.NewRequestWithContext(b.Context(), http.MethodGet, c.url+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+c.token)
	a, err := c.http.Do(q)
	if err != nil {
		b.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		b.Fatalf("%s: %s %.200s, %v", path, a.Status, body, err)
	}
	return body
}

func (c *caller) situation(b *testing.B, query string) (v api.Situation) {
	b.Helper()
	if err := json.Unmarshal(c.get(b, "/v1/situation"+query), &v); err != nil {
		b.Fatal(err)
	}
	return v
}

// lookups asks for a hundred values after the other, as long as more says so, which is
// asked in between.
func (c *caller) lookups(b *testing.B, values []string, more func() bool) (took []time.Duration) {
	b.Helper()
	p := &plainClient{url: c.url + "/v1/lookup", token: c.token}
	defer p.http.CloseIdleConnections()
	for again := true; again; again = more() {
		from := len(took) * lookupSmall % len(values)
		took = append(took, p.calls(b, values[from:from+lookupSmall])...)
		time.Sleep(readPause)
	}
	return took
}

// views asks for the situation, and for what has changed, by turns with a server that
// has the same bytes already.
func (c *caller) views(b *testing.B) {
	b.Helper()
	v := c.situation(b, "")
	if v.Reading || len(v.Members) != pictureMembers || len(v.Maydays) != 10 || len(v.Spreading) == 0 || len(v.Services) == 0 {
		b.Fatalf("reading %t, %d members, %d maydays, %d spreading, %d services", v.Reading, len(v.Members), len(v.Maydays), len(v.Spreading), len(v.Services))
	}
	body := c.get(b, "/v1/situation")
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	defer plain.Close()
	same := &caller{url: plain.URL}
	defer same.http.CloseIdleConnections()
	since := "/v1/situation?since=" + time.Now().Add(-24*time.Hour).UTC().Format(time.RFC3339)
	var all, changed, base []time.Duration
	for range pictureCalls {
		for _, ask := range []struct {
			of   *caller
			path string
			took *[]time.Duration
		}{{c, "/v1/situation", &all}, {c, since, &changed}, {same, "/", &base}} {
			start := time.Now()
			ask.of.get(b, ask.path)
			*ask.took = append(*ask.took, time.Since(start))
		}
	}
	b.ReportMetric(float64(len(body))/1000, "situation-kB")
	b.ReportMetric(milliseconds(quantile(all, 0.5)), "situation-p50-ms")
	b.ReportMetric(milliseconds(quantile(all, 0.99)), "situation-p99-ms")
	b.ReportMetric(milliseconds(quantile(changed, 0.5)), "changes-p50-ms")
	b.ReportMetric(milliseconds(quantile(base, 0.5)), "same-bytes-p50-ms")
	b.ReportMetric(milliseconds(quantile(base, 0.99)), "same-bytes-p99-ms")
}

// spreads lets one hospital see a value, and then the other. It returns how long the
// alert took at the first from the report at the other, and lookup there.
func spreads(b *testing.B, first, second *proc.Node) (alerted, known []time.Duration) {
	b.Helper()
	a, err := first.Client()
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	z, err := second.Client()
	if err != nil {
		b.Fatal(err)
	}
	defer z.Close()
	ready := func() bool {
		v, err := z.Situation(b.Context(), time.Time{})
		if err != nil {
			b.Fatal(err)
		}
		return !v.Reading && v.Health.Peers > 0
	}
	eventually(b, "both have met and know the picture", 20*time.Millisecond, ready)
	begun := time.Now()
	for i := range spreadSamples {
		value := fmt.Sprintf("second-%d.example", i)
		ctx, cancel := context.WithTimeout(b.Context(), patience)
		defer cancel()
		submit(b, a, value)
		if err := await(ctx, z, value); err != nil {
			b.Fatal(err)
		}
		time.Sleep(spreadPace)
		var wait sync.WaitGroup
		start := time.Now()
		wait.Go(func() {
			eventually(b, value+" spreads", time.Millisecond, func() bool {
				got, err := a.Alerts(ctx, begun, 10, "")
				if err != nil {
					b.Error(err)
					return true
				}
				return slices.ContainsFunc(got.Alerts, func(v api.AlertView) bool { return strings.Contains(v.Text, value+" ") })
			})
			alerted = append(alerted, time.Since(start))
		})
		wait.Go(func() {
			eventually(b, value+" is known of two", time.Millisecond, func() bool {
				members := 0
				err := a.Lookup(ctx, []string{value}, client.LookupOptions{}, func(v api.LookupAnswer) error {
					members = v.Summary.Members
					return nil
				})
				if err != nil {
					b.Error(err)
				}
				return members > 1 || err != nil
			})
			known = append(known, time.Since(start))
		})
		submit(b, z, value)
		wait.Wait()
	}
	return alerted, known
}

func submit(b *testing.B, c *client.Client, value string) {
	b.Helper()
	answer, err := c.Submit(b.Context(), []api.Submission{{Kind: "sighting", Value: value}}, client.SubmitOptions{TLP: "AMBER"})
	if err != nil || len(answer.Notices) != 1 {
		b.Fatalf("submit: %+v, %v", answer, err)
	}
}
