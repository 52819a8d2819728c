package bench_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
)

const (
	rosterRegions = 200
	rosterMembers = 15_000
)

// BenchmarkRoster loads what a store holds of 15,000 members in 200 regions, 100
// of them revoked, in the order of a store's keys, which is none; and takes the
// time of what is asked about the author of each envelope besides its signature.
func BenchmarkRoster(b *testing.B) {
	own, records := country(b)
	var roster *trust.Roster
	var loads []float64
	for b.Loop() {
		start := time.Now()
		roster = trust.NewRoster(own)
		if _, err := roster.AddAll(records); err != nil {
			b.Fatal(err)
		}
		loads = append(loads, time.Since(start).Seconds())
	}
	var authors []*trust.Credential
	for _, region := range roster.Regions() {
		authors = append(authors, roster.Members(region)...)
	}
	if len(authors) != rosterMembers || len(roster.Regions()) != rosterRegions {
		b.Fatalf("%d members in %d regions", len(authors), len(roster.Regions()))
	}
	b.ReportMetric(slices.Min(loads), "load-s")
	b.ReportMetric(known(b, roster, authors[:500]), "known-author-us")
	b.ReportMetric(heapOf(&roster), "heap-MiB")
	b.ReportMetric(0, "ns/op")
}

// heapOf lets go of a roster and returns how many MiB that freed.
func heapOf(roster **trust.Roster) float64 {
	var with, without runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&with)
	runtime.KeepAlive(*roster)
	*roster = nil
	runtime.GC()
	runtime.ReadMemStats(&without)
	return float64(with.HeapAlloc-without.HeapAlloc) / (1 << 20)
}

// known returns the µs that an author costs whose key has been parsed.
func known(b *testing.B, roster *trust.Roster, authors []*trust.Credential) float64 {
	b.Helper()
	const rounds = 100
	now := int64(testkit.Founded + 1)
	var start time.Time
	for round := range rounds + 1 {
		if round == 1 { // after the keys were parsed
			start = time.Now()
		}
		for _, a := range authors {
			c, ok := roster.Member(a.Region, a.Member, a.Serial)
			if !ok || !c.ValidAt(now) {
				b.Fatal("not a member")
			}
			roster.Revoked(c)
			if _, err := roster.Key(c); err != nil {
				b.Fatal(err)
			}
		}
	}
	return float64(time.Since(start).Microseconds()) / float64(rounds*len(authors))
}

// country returns the first of its regions, and the records of all, shuffled.
func country(b *testing.B) (crypto.Region, [][]byte) {
	b.Helper()
	regions := make([]*testkit.Region, rosterRegions)
	for i := range regions {
		names := make([]string, rosterMembers/rosterRegions)
		for j := range names {
			names[j] = fmt.Sprintf("hospital %d of %d", j, i)
		}
		regions[i] = testkit.NewRegionNamed(b, fmt.Sprintf("region %d", i), names...)
	}
	var records [][]byte
	for i, r := range regions {
		others := slices.Delete(slices.Clone(regions), i, i+1)
		r.Endorse(b, nil, others...)
		if i%2 == 0 {
			st, err := trust.Revoking(r.Charter, r.Members[0].Credential, nil, testkit.Founded)
			if err != nil {
				b.Fatal(err)
			}
			revocation, err := trust.Act(r.Charter, []*crypto.PrivateKey{r.Admission}, testkit.Founded, st)
			if err != nil {
				b.Fatal(err)
			}
			records = append(records, revocation...)
		}
		records = append(records, r.Records...)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	return regions[0].ID, records
}
